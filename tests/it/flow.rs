//! How requests and fetches meet: credentials, what clients say of caching, what is not to be shared, confirmation,
//! invalidation, and what `Cache-Status` tells of it.

use crate::support::client::{Request, Response};
use crate::support::content::content;
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin, Recorded};
use crate::support::wait::{Gate, within};

const MIB: usize = 1024 * 1024;

fn with(path: &str, name: &str, value: &str) -> Request {
    Request::get(path).header(name, value)
}

fn status(response: &Response) -> &str {
    response.get("cache-status").expect("Cache-Status")
}

/// Answers with the request's credentials, and this `Cache-Control`.
fn who(control: &'static str) -> impl Fn(&Recorded, usize) -> Answer {
    move |request, _| {
        Answer::ok(request.header("authorization").unwrap_or("nobody").to_owned()).cache_control(control)
    }
}

/// Viewers with credentials who wait for one key: unless the origin says that the answer is for all, nobody gets
/// another's.
#[tokio::test]
async fn an_answer_to_credentials_goes_to_nobody_else() {
    const PATH: &str = "/who.bin";
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let (held, answer) = (gate.clone(), who("max-age=600"));
    origin.script(PATH, move |request, nth| answer(request, nth).hold(&held));
    let edge = Setup::before(&origin).start().await;
    let mut viewers = Vec::new();
    for viewer in 0..20 {
        let name = if viewer % 4 == 0 { "nobody".to_owned() } else { format!("Bearer {viewer}") };
        let request = if viewer % 4 == 0 { Request::get(PATH) } else { with(PATH, "authorization", &name) };
        viewers.push((name, edge.open(&request).await));
    }
    origin.await_requests(PATH, 2).await;
    gate.open();
    for (name, mut viewer) in viewers {
        let response = within("an answer", viewer.response("GET")).await;
        // The answer to those without is for all, and may have come first.
        assert!(
            [name.as_str(), "nobody"].iter().any(|own| response.whole() == own),
            "{:?} for {name}",
            response.body
        );
    }
    // Those without are one fetch, and what it brought answers everybody from now on.
    assert_eq!(origin.recorded().iter().filter(|r| r.header("authorization").is_none()).count(), 1);
    let later = edge.ask(&with(PATH, "authorization", "Bearer 9")).await;
    assert_eq!((later.whole().as_ref(), later.outcome()), (&b"nobody"[..], "hit"));
}

/// What the origin says is for all is one fetch, whatever credentials it was made with.
#[tokio::test]
async fn a_public_answer_to_credentials_is_shared() {
    const PATH: &str = "/public.bin";
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    origin.script(PATH, move |_, _| Answer::ok("all").cache_control("public, max-age=600").hold(&held));
    let edge = Setup::before(&origin).start().await;
    let mut viewers = Vec::new();
    for viewer in 0..10 {
        viewers.push(edge.open(&with(PATH, "authorization", &format!("Bearer {viewer}"))).await);
    }
    origin.await_requests(PATH, 1).await;
    gate.open();
    for mut viewer in viewers {
        assert_eq!(within("an answer", viewer.response("GET")).await.whole(), "all");
    }
    assert_eq!(edge.get(PATH).await.outcome(), "hit");
    assert_eq!(origin.requests(PATH), 1);
}

/// A client with bad credentials ends nothing that others share: neither what is held nor their fetch.
#[tokio::test]
async fn bad_credentials_harm_nobody_else() {
    const PATH: &str = "/a.bin";
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    origin.script(PATH, move |request, nth| match request.header("authorization") {
        Some(_) => Answer::status(401),
        None if nth == 0 => Answer::ok("a").etag("\"1\"").cache_control("max-age=0, stale-if-error=600"),
        None => Answer::ok("b").cache_control("max-age=600").hold(&held),
    });
    let edge = Setup::before(&origin).start().await;
    assert_eq!(edge.get(PATH).await.whole(), "a");
    for _ in 0..2 {
        assert_eq!(edge.ask(&with(PATH, "authorization", "x")).await.status(), 401);
    }
    let mut viewers = Vec::new();
    for _ in 0..10 {
        viewers.push(edge.open(&Request::get(PATH)).await);
    }
    origin.await_requests(PATH, 4).await;
    assert_eq!(edge.ask(&with(PATH, "authorization", "x")).await.status(), 401);
    gate.open();
    for mut viewer in viewers {
        assert_eq!(within("an answer", viewer.response("GET")).await.whole(), "b");
    }
    assert_eq!(origin.recorded().iter().filter(|r| r.header("authorization").is_none()).count(), 2);
}

/// A client that wants nothing from the origin gets what is held, in memory, or 504; slices included.
#[tokio::test]
async fn only_if_cached_never_reaches_the_origin() {
    let origin = Origin::start().await;
    origin.on("/a.bin", Answer::ok("a").cache_control("max-age=600"));
    let body = content(1, 4 * MIB);
    origin.on("/big.bin", Answer::ok(body.clone()).etag("\"1\"").ranges().cache_control("max-age=600"));
    let edge = Setup::before(&origin).limits("slice_above = \"1MiB\"").start().await;
    let only = |path: &str| with(path, "cache-control", "Only-If-Cached");

    let missed = edge.ask(&only("/a.bin")).await;
    assert_eq!((missed.status(), missed.outcome()), (504, "only_if_cached"));
    assert!(!status(&missed).contains("fwd="), "{}", status(&missed));
    assert_eq!(origin.recorded().len(), 0);
    edge.get("/a.bin").await;
    assert_eq!(edge.ask(&only("/a.bin")).await.outcome(), "hit");

    edge.ask(&Request::get("/big.bin").range("bytes=1048576-1048600")).await;
    // Its slice may still be on the way.
    edge.await_metric("forebay_cache_objects", &[], 3.0).await;
    let fetches = origin.recorded().len();
    let held = edge.ask(&only("/big.bin").range("bytes=1048580-1048590")).await;
    assert_eq!(held.whole(), &body[1_048_580..1_048_591]);
    for range in ["bytes=0-10", "bytes=1048580-2097152", "bytes=0-"] {
        assert_eq!(edge.ask(&only("/big.bin").range(range)).await.status(), 504, "{range}");
    }
    assert_eq!(edge.ask(&only("/big.bin")).await.status(), 504);
    assert_eq!(origin.recorded().len(), fetches);
}

/// The same for what is on disk alone.
#[tokio::test]
async fn only_if_cached_finds_what_is_on_disk() {
    let origin = Origin::start().await;
    origin.on("/a.bin", Answer::ok("a").cache_control("max-age=600"));
    let folder = tempfile::tempdir().unwrap();
    let setup =
        Setup::before(&origin).store(&format!("disk = [{{ path = {:?}, size = \"64MiB\" }}]", folder.path()));
    let edge = setup.start().await;
    edge.get("/a.bin").await;
    edge.get("/a.bin").await;
    edge.stop().await;
    let edge = setup.start().await;
    let only = |path: &str| with(path, "cache-control", "only-if-cached");
    assert_eq!(edge.ask(&only("/b.bin")).await.status(), 504);
    let found = edge.ask(&only("/a.bin")).await;
    assert_eq!((found.whole().as_ref(), found.outcome()), (&b"a"[..], "hit"));
    assert_eq!(origin.recorded().len(), 1);
}

/// Waiters for an answer that turns out to be nobody else's are let go at once, side by side; those who come later do
/// not wait at all.
#[tokio::test]
async fn a_hundred_waiters_for_what_is_not_shared_go_on_side_by_side() {
    const PATH: &str = "/own.bin";
    let origin = Origin::start().await;
    let (first, rest) = (Gate::closed(), Gate::closed());
    let gates = (first.clone(), rest.clone());
    origin.script(PATH, move |_, nth| {
        let answer = Answer::ok(format!("{nth:03}")).cache_control("no-store");
        // The first one's header comes, and its body does not.
        if nth == 0 { answer.hold(&gates.0).gate_at(1, &gates.1) } else { answer.hold(&gates.1) }
    });
    let edge = Setup::before(&origin).origin("limits = { connections = 200 }").start().await;
    let mut viewers = Vec::new();
    for _ in 0..100 {
        viewers.push(edge.open(&Request::get(PATH)).await);
    }
    origin.await_requests(PATH, 1).await;
    first.open();
    // All of them at once: none is answered before all have asked.
    origin.await_requests(PATH, 100).await;
    rest.open();
    let mut bodies = Vec::new();
    for mut viewer in viewers {
        bodies.push(within("an answer", viewer.response("GET")).await.whole().clone());
    }
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 100, "an answer went to two viewers");
}

/// A key that was not to be kept is kept again as soon as its origin lets it.
#[tokio::test]
async fn a_key_that_may_be_kept_again_is() {
    const PATH: &str = "/a.bin";
    let origin = Origin::start().await;
    let unkept = Answer::ok("own").cache_control("no-store");
    origin.on_each(PATH, vec![unkept.clone(), unkept, Answer::ok("all").cache_control("max-age=600")]);
    let edge = Setup::before(&origin).start().await;
    for outcome in ["bypass", "bypass", "miss", "hit"] {
        assert_eq!(edge.get(PATH).await.outcome(), outcome);
    }
    assert_eq!(origin.requests(PATH), 3);
}

/// Errors are kept for as long as their status and kind allow.
#[tokio::test]
async fn an_error_is_kept_as_its_status_allows() {
    let origin = Origin::start().await;
    origin.on("/gone.jpg", Answer::status(410).cache_control("max-age=600"));
    origin.on("/missing.jpg", Answer::status(404).cache_control("max-age=600"));
    origin.on("/denied.jpg", Answer::status(403));
    origin.on("/own.jpg", Answer::status(404).cache_control("no-store"));
    let edge = Setup::before(&origin).start().await;
    for path in ["/gone.jpg", "/missing.jpg"] {
        edge.get(path).await;
        assert_eq!(edge.get(path).await.outcome(), "hit", "{path}");
    }
    for path in ["/denied.jpg", "/own.jpg"] {
        edge.get(path).await;
        assert_eq!(edge.get(path).await.outcome(), "bypass", "{path}");
    }
}

/// A 304 that names another version than the one held is no answer: the origin is asked once more, without conditions.
#[tokio::test]
async fn a_304_for_another_version_is_not_believed() {
    const PATH: &str = "/a.bin";
    let origin = Origin::start().await;
    origin.script(PATH, |request, nth| match (nth, request.header("if-none-match")) {
        (0, _) => Answer::ok("one").header("etag", "\"1\"").cache_control("max-age=0"),
        (_, Some(_)) => Answer::status(304).header("etag", "\"2\"").cache_control("max-age=600"),
        (_, None) => Answer::ok("two").header("etag", "\"2\"").cache_control("max-age=600"),
    });
    let edge = Setup::before(&origin).start().await;
    assert_eq!(edge.get(PATH).await.whole(), "one");
    let second = edge.get(PATH).await;
    assert_eq!((second.whole().as_ref(), second.outcome()), (&b"two"[..], "miss"));
    assert!(status(&second).contains("fwd=stale; fwd-status=200"), "{}", status(&second));
    assert_eq!(edge.get(PATH).await.outcome(), "hit");
    assert_eq!(origin.requests(PATH), 3);
}

/// While it is fetched anew, all viewers get the stale one at once, and the origin one request.
#[tokio::test]
async fn a_stale_object_is_refreshed_once_beside_its_viewers() {
    const PATH: &str = "/a.bin";
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    origin.script(PATH, move |_, nth| match nth {
        0 => Answer::ok("old").cache_control("max-age=0, stale-while-revalidate=600"),
        _ => Answer::ok("new").cache_control("max-age=600").hold(&held),
    });
    let edge = Setup::before(&origin).start().await;
    edge.get(PATH).await;
    for _ in 0..10 {
        let stale = edge.get(PATH).await;
        assert_eq!((stale.whole().as_ref(), stale.outcome()), (&b"old"[..], "hit_stale"));
        assert!(status(&stale).starts_with("forebay; hit; ttl="), "{}", status(&stale));
    }
    origin.await_requests(PATH, 2).await;
    gate.open();
    within("the new one", async { while edge.get(PATH).await.whole() != "new" {} }).await;
    assert_eq!(origin.requests(PATH), 2);
}

/// An origin whose answer to a method that changes something names the places that it has changed.
async fn changing(origin: &Origin, location: (&'static str, &'static str), code: u16) -> Edge {
    for path in ["/list.json", "/item.json", "/other.json"] {
        origin.script(path, move |request, nth| match request.method.as_str() {
            "GET" => Answer::ok(format!("{nth}")).cache_control("max-age=600"),
            _ => Answer::status(code).header(location.0, location.1),
        });
    }
    let edge = Setup::before(origin).site("methods = [\"GET\", \"POST\", \"PATCH\"]").start().await;
    for path in ["/list.json", "/item.json", "/other.json"] {
        edge.get(path).await;
        assert_eq!(edge.get(path).await.outcome(), "hit");
    }
    edge
}

/// What `Location` and `Content-Location` name on the same origin is invalidated with the target.
#[tokio::test]
async fn a_change_invalidates_its_target_and_what_its_answer_names() {
    for (name, value) in [
        ("location", "item.json"),
        ("location", "http://edge.test/item.json"),
        ("content-location", "/x/../item.json#part"),
    ] {
        let origin = Origin::start().await;
        let edge = changing(&origin, (name, value), 201).await;
        let changed = edge.ask(&Request::new("PATCH", "/list.json").body("x")).await;
        assert_eq!(changed.status(), 201);
        assert!(status(&changed).starts_with("forebay; fwd=method"), "{}", status(&changed));
        assert_eq!(edge.get("/list.json").await.outcome(), "miss", "{name}: {value}");
        assert_eq!(edge.get("/item.json").await.outcome(), "miss", "{name}: {value}");
        assert_eq!(edge.get("/other.json").await.outcome(), "hit");
    }
}

/// What another origin's address is, and what an error says, invalidates nothing.
#[tokio::test]
async fn a_change_invalidates_nothing_elsewhere_and_nothing_when_it_failed() {
    let origin = Origin::start().await;
    let edge = changing(&origin, ("location", "http://other.test/item.json"), 201).await;
    edge.ask(&Request::new("POST", "/list.json").body("x")).await;
    assert_eq!(edge.get("/item.json").await.outcome(), "hit");
    let origin = Origin::start().await;
    let edge = changing(&origin, ("location", "/item.json"), 409).await;
    edge.ask(&Request::new("POST", "/list.json").body("x")).await;
    for path in ["/list.json", "/item.json"] {
        assert_eq!(edge.get(path).await.outcome(), "hit");
    }
}

/// A fetch that was under way when its key was invalidated answers those who wait for it, and nobody afterwards.
#[tokio::test]
async fn a_fetch_under_way_when_its_key_is_invalidated_is_not_kept() {
    const PATH: &str = "/a.json";
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    origin.script(PATH, move |request, nth| match (request.method.as_str(), nth) {
        ("GET", 0) => Answer::ok("before").cache_control("max-age=600").hold(&held),
        ("GET", _) => Answer::ok("after").cache_control("max-age=600"),
        _ => Answer::status(204),
    });
    let edge = Setup::before(&origin).site("methods = [\"GET\", \"POST\"]").start().await;
    let mut waiting = edge.open(&Request::get(PATH)).await;
    origin.await_requests(PATH, 1).await;
    assert_eq!(edge.ask(&Request::new("POST", PATH).body("x")).await.status(), 204);
    assert_eq!(edge.get(PATH).await.whole(), "after");
    gate.open();
    assert_eq!(within("the first", waiting.response("GET")).await.whole(), "before");
    let last = edge.get(PATH).await;
    assert_eq!(last.whole(), "after");
}

/// `Cache-Status` says why the origin was asked and what it answered, behind what caches before it have said.
#[tokio::test]
async fn cache_status_tells_the_whole_way() {
    let origin = Origin::start().await;
    let answer = Answer::ok("a").etag("\"1\"").header("cache-status", "upstream; hit");
    origin.on("/a.bin", answer.clone().cache_control("max-age=600"));
    origin.on("/stale.bin", answer.clone().cache_control("max-age=0"));
    origin.on("/own.bin", answer.cache_control("no-store"));
    origin.script("/v.bin", |_, _| Answer::ok("a").header("vary", "x-a").cache_control("max-age=600"));
    let edge = Setup::before(&origin)
        .site("cache_status_key = true")
        .more("[[site.rule]]\npath = \"/by/*\"\nbypass = true")
        .start()
        .await;
    let all = |response: &Response| {
        let lines = response.head.headers.iter().filter(|(name, _)| name == "cache-status");
        lines.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ")
    };
    for (request, expected) in [
        (Request::get("/a.bin?b=1"), "upstream; hit, forebay; fwd=uri-miss; fwd-status=200; ttl="),
        (Request::get("/a.bin?b=1"), "upstream; hit, forebay; hit; ttl="),
        (with("/a.bin?c=1", "if-none-match", "\"1\""), "forebay; fwd=uri-miss; fwd-status=200; ttl="),
        (Request::get("/stale.bin"), "fwd=uri-miss"),
        (Request::get("/stale.bin"), "forebay; fwd=stale; fwd-status=304; ttl="),
        (Request::get("/own.bin"), "forebay; fwd=uri-miss; fwd-status=200; key="),
        (Request::get("/v.bin"), "forebay; fwd=uri-miss"),
        (with("/v.bin", "x-a", "1"), "forebay; fwd=vary-miss; fwd-status=200; ttl="),
        (Request::get("/by/a.bin"), "forebay; fwd=bypass; fwd-status=404; detail=bypass"),
    ] {
        let response = edge.ask(&request).await;
        assert!(all(&response).contains(expected), "{request:?}: {}", all(&response));
    }
    let keyed = edge.get("/a.bin?b=1").await;
    assert!(all(&keyed).contains("; key=\"* /a.bin?b=1\"; detail=hit"), "{}", all(&keyed));
    let varied = edge.ask(&with("/v.bin", "x-a", "1")).await;
    assert!(all(&varied).contains("; key=\"* /v.bin\"; detail=hit"), "{}", all(&varied));
    let denied = edge.ask(&Request::new("DELETE", "/a.bin")).await;
    assert_eq!(all(&denied), "forebay; detail=denied");
}
