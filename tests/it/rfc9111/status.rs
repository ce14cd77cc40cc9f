//! `Cache-Status` (RFC 9211).
//!
//! | section | requirement | test |
//! |---|---|---|
//! | 2 | a list of structured fields, one member for each cache | `every_answer_has_a_member_of_this_cache` |
//! | 2 | what a cache before it said stays, in front | `members_of_other_caches_stay_in_front` |
//! | 2.1, 2.2 | `hit` excludes `fwd` | `each_way_of_an_answer_has_its_parameters` |
//! | 2.2 | `fwd` and its words | `each_way_of_an_answer_has_its_parameters` |
//! | 2.3 | `fwd-status`, where the origin's differs | `each_way_of_an_answer_has_its_parameters` |
//! | 2.1, 2.2 | what is stale, when the origin fails: it went forward, and says what the origin said | `a_stale_answer_in_place_of_an_error_went_forward` |
//! | 2.3 | the status of a confirmation, also for those who waited for it | `those_who_wait_for_a_confirmation_are_told_of_it` |
//! | 2.1, 2.2 | a refusal is neither a hit nor forwarded | `refusals_say_that_nothing_was_forwarded` |
//! | 2.2 | an error in place of an answer says why the origin was asked | `errors_say_why_the_origin_was_asked` |
//! | 2.4 | `ttl`: freshness left, negative when stale | `ttl_is_the_freshness_left` |
//! | 2.5 | `stored` only where it is | `each_way_of_an_answer_has_its_parameters` |
//! | 2.6 | `collapsed` | `a_request_that_waits_for_another_says_so` |

use super::{Answer, Bench, Request, Response};
use crate::support::wait::Gate;

/// The last member, and its parameters in order.
#[track_caller]
fn member(response: &Response) -> Vec<String> {
    let fields = response.head.headers.iter().filter(|(name, _)| name == "cache-status");
    let members: Vec<&str> = fields.flat_map(|(_, value)| value.split(',')).collect();
    let last = members.last().unwrap_or_else(|| panic!("no Cache-Status: {:?}", response.head));
    last.split(';').map(|part| part.trim().to_owned()).collect()
}

fn value_of(response: &Response, name: &str) -> Option<String> {
    member(response).iter().find_map(|part| part.strip_prefix(&format!("{name}=")).map(str::to_owned))
}

#[track_caller]
fn has(response: &Response, present: &[&str], absent: &[&str]) {
    let parts = member(response);
    assert_eq!(parts[0], "forebay");
    for part in present {
        assert!(parts.iter().any(|p| p == part), "no {part} in {parts:?}");
    }
    for name in absent {
        let is = |p: &String| p == name || p.starts_with(&format!("{name}="));
        assert!(!parts.iter().any(is), "{name} in {parts:?}");
    }
}

#[tokio::test]
async fn every_answer_has_a_member_of_this_cache() {
    let bench = Bench::with(|setup| setup.site("methods = [\"GET\", \"HEAD\", \"POST\"]")).await;
    bench.origin.on("/page", Answer::ok("b").cache_control("max-age=60"));
    bench.origin.on("/own", Answer::ok("b").cache_control("no-store"));
    for request in [
        Request::get("/page"),
        Request::get("/page"),
        Request::head("/page"),
        Request::get("/own"),
        Request::get("/none"),
        Request::new("POST", "/page").body("x"),
        Request::get("/page").range("bytes=0-0"),
        Request::get("/page").header("if-none-match", "*"),
    ] {
        let response = bench.ask(&request).await;
        assert_eq!(member(&response)[0], "forebay", "{request:?}");
        assert!(value_of(&response, "detail").is_some(), "{request:?}");
    }
}

#[tokio::test]
async fn members_of_other_caches_stay_in_front() {
    let bench = Bench::start().await;
    let answer = Answer::ok("b").cache_control("max-age=60").header("cache-status", "Upper; hit; ttl=5");
    bench.origin.on("/page", answer);
    for _ in 0..2 {
        let response = bench.get("/page").await;
        let values = response.head.headers.iter().filter(|(name, _)| name == "cache-status");
        let all: Vec<String> = values.map(|(_, value)| value.clone()).collect();
        let all = all.join(", ");
        assert!(all.starts_with("Upper; hit; ttl=5, forebay;"), "{all}");
    }
}

#[tokio::test]
async fn each_way_of_an_answer_has_its_parameters() {
    let bench = Bench::with(|setup| {
        setup
            .site("methods = [\"GET\", \"HEAD\", \"POST\"]")
            .more("[[site.rule]]\npath = \"/through/*\"\nbypass = true\n[[site.rule]]\npath = \"/obey/*\"\nobey_client = true")
    })
    .await;
    let fresh = || Answer::ok("b").cache_control("max-age=60").etag("\"a\"");
    bench.origin.on("/page", fresh());
    bench.origin.on("/own", Answer::ok("b").cache_control("no-store"));
    bench.origin.on("/through/page", fresh());
    bench.origin.on("/obey/page", fresh());
    bench.origin.on("/changed", fresh());
    bench
        .origin
        .on_each("/changed", vec![fresh(), Answer::ok("c").cache_control("max-age=60").etag("\"b\"")]);
    bench.origin.script("/varies", |request, _| {
        let value = request.header("x-test").unwrap_or_default().to_owned();
        Answer::ok(value).cache_control("max-age=60").header("vary", "x-test")
    });

    has(&bench.get("/page").await, &["fwd=uri-miss", "stored", "detail=miss"], &["hit", "collapsed"]);
    has(&bench.get("/page").await, &["hit", "detail=hit"], &["fwd", "fwd-status", "stored", "collapsed"]);
    has(&bench.ask(&Request::head("/page")).await, &["hit"], &["fwd"]);
    has(&bench.get("/own").await, &["fwd=uri-miss"], &["hit", "stored"]);
    has(&bench.get("/through/page").await, &["fwd=bypass", "detail=bypass"], &["hit", "stored"]);
    let post = bench.ask(&Request::new("POST", "/page").body("x")).await;
    has(&post, &["fwd=method"], &["hit", "stored"]);
    has(&bench.get("/none").await, &["fwd=uri-miss"], &["hit"]);

    let varying = |value: &str| Request::get("/varies").header("x-test", value);
    bench.ask(&varying("1")).await;
    has(&bench.ask(&varying("2")).await, &["fwd=vary-miss", "stored"], &["hit"]);
    has(&bench.ask(&varying("2")).await, &["hit"], &["fwd"]);

    bench.get("/obey/page").await;
    let asked = Request::get("/obey/page").header("cache-control", "no-cache");
    has(&bench.ask(&asked).await, &["fwd=request"], &["hit"]);

    bench.get("/page").await;
    bench.get("/changed").await;
    bench.advance(100);
    has(&bench.get("/page").await, &["fwd=stale", "fwd-status=304", "detail=hit_revalidated"], &["hit"]);
    has(&bench.get("/changed").await, &["fwd=stale", "stored"], &["hit"]);
}

/// Refusals of the cache itself are no hits.
#[tokio::test]
async fn only_if_cached_says_that_nothing_was_forwarded() {
    let bench = Bench::start().await;
    let response = bench.ask(&Request::get("/page").header("cache-control", "only-if-cached")).await;
    assert_eq!(response.status(), 504);
    has(&response, &[], &["hit", "stored", "collapsed"]);
}

#[tokio::test]
async fn ttl_is_the_freshness_left() {
    let bench = Bench::start().await;
    let answer = Answer::ok("b").cache_control("max-age=60, stale-while-revalidate=600").header("age", "10");
    bench.origin.on("/page", answer);
    bench.get("/page").await;
    for (seconds, ttl) in [(0, "50"), (49, "1")] {
        bench.advance(seconds);
        assert_eq!(value_of(&bench.get("/page").await, "ttl").as_deref(), Some(ttl));
    }
    bench.advance(31);
    let stale = bench.get("/page").await;
    has(&stale, &["hit"], &["fwd"]);
    assert_eq!(value_of(&stale, "ttl").as_deref(), Some("-30"));
}

#[tokio::test]
async fn a_request_that_waits_for_another_says_so() {
    let bench = Bench::start().await;
    let gate = Gate::closed();
    bench.origin.on("/page", Answer::ok("the body").cache_control("max-age=60").gate_at(3, &gate));
    let mut first = client_of(&bench, "/page").await;
    assert_eq!(first.head("GET").await.outcome(), "miss");
    let mut second = client_of(&bench, "/page").await;
    let head = second.head("GET").await;
    gate.open();
    let told = head.get("cache-status").unwrap_or_default();
    assert!(told.contains("fwd=uri-miss") && told.contains("; collapsed") && !told.contains("hit"), "{told}");
    assert_eq!(bench.origin.requests("/page"), 1);
}

async fn client_of(bench: &Bench, path: &str) -> crate::support::client::Http1 {
    let mut connection = crate::support::client::Http1::connect(bench.node.http()).await;
    connection.send(&Request::get(path)).await;
    connection
}

#[tokio::test]
async fn a_stale_answer_in_place_of_an_error_went_forward() {
    let mut bench = Bench::start().await;
    let old = || Answer::ok("old").cache_control("max-age=60, stale-if-error=6000");
    for status in [500, 503] {
        let path = bench.path();
        bench.origin.on_each(&path, vec![old(), Answer::status(status)]);
        bench.get(&path).await;
        bench.advance(100);
        let stale = bench.get(&path).await;
        has(
            &stale,
            &["fwd=stale", &format!("fwd-status={status}"), "ttl=-40", "detail=hit_stale"],
            &["hit", "stored"],
        );
    }
    bench.origin.on("/away", old());
    bench.get("/away").await;
    bench.advance(100);
    bench.origin.stop().await;
    let stale = bench.get("/away").await;
    has(&stale, &["fwd=stale", "detail=hit_stale"], &["hit", "fwd-status", "stored"]);
    has(&bench.get("/none").await, &["fwd=miss", "detail=error"], &["hit", "fwd-status", "stored", "ttl"]);
}

/// Whether a request has come while another's is at the origin shows in its answer alone: tried until it has.
#[tokio::test]
async fn those_who_wait_for_a_confirmation_are_told_of_it() {
    const TRIES_MAX: usize = 500;
    let bench = Bench::start().await;
    let mut found = None;
    for _ in 0..TRIES_MAX {
        let (path, gate) = (bench.path(), Gate::closed());
        let old = Answer::ok("old").cache_control("max-age=60").etag("\"a\"");
        bench.origin.on_each(&path, vec![old.clone(), old.hold(&gate)]);
        bench.get(&path).await;
        bench.advance(100);
        let mut first = client_of(&bench, &path).await;
        bench.origin.await_requests(&path, 2).await;
        let mut second = client_of(&bench, &path).await;
        tokio::time::sleep(crate::support::wait::LOOK_EVERY).await;
        gate.open();
        assert_eq!(first.head("GET").await.outcome(), "hit_revalidated");
        let head = second.head("GET").await;
        if head.outcome() == "coalesced" {
            found = head.get("cache-status").map(str::to_owned);
            break;
        }
    }
    let told = found.expect("a request that waits");
    assert!(told.contains("fwd=stale; fwd-status=304;") && told.contains("; collapsed"), "{told}");
}

#[tokio::test]
async fn refusals_say_that_nothing_was_forwarded() {
    let bench = Bench::start().await;
    for (request, status) in [(Request::new("POST", "/page").body("x"), 405), (Request::get("/%zz"), 400)] {
        let refused = bench.ask(&request).await;
        assert_eq!(refused.status(), status, "{request:?}");
        has(&refused, &["detail=denied"], &["hit", "fwd", "fwd-status", "stored", "ttl", "collapsed"]);
    }
}

#[tokio::test]
async fn errors_say_why_the_origin_was_asked() {
    let mut bench = Bench::with(|setup| {
        let through = "[[site.rule]]\npath = \"/through/*\"\nbypass = true";
        setup.site("methods = [\"GET\", \"HEAD\", \"POST\"]").more(through)
    })
    .await;
    bench.origin.stop().await;
    for (request, forward) in [
        (Request::get("/page"), "fwd=miss"),
        (Request::get("/through/page"), "fwd=bypass"),
        (Request::new("POST", "/page").body("x"), "fwd=method"),
    ] {
        let error = bench.ask(&request).await;
        assert_eq!(error.status(), 502, "{request:?}");
        has(&error, &[forward, "detail=error"], &["hit", "fwd-status", "stored", "ttl", "collapsed"]);
    }
}
