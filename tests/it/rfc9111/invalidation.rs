//! Unsafe methods invalidate what they change (RFC 9111 section 4.4).
//!
//! | section | requirement | test |
//! |---|---|---|
//! | 4.4 | the target of an unsafe method, also of an unknown one | `an_unsafe_method_invalidates_its_target` |
//! | 4.4 | a safe method does not | `a_safe_method_invalidates_nothing` |
//! | 4.4 | `Location` and `Content-Location` of the same origin | `what_an_answer_names_is_invalidated` |
//! | 4.4 | never of another origin | `nothing_of_another_origin_is_invalidated` |
//! | 4.4 | not by an error | `an_error_invalidates_nothing` |
//! | 4.4 | what is being fetched, of a large object and of another variant | `what_was_asked_for_before_is_not_kept` |
//! | RFC 9875 2, 3 | groups that an answer to an unsafe method names, of the same site | `groups_are_invalidated` |
//! | 4 | an unsafe method is written through to the origin | `an_unsafe_method_reaches_the_origin` |

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Answer, Bench, Request, Wrong};
use crate::support::client::Http1;
use crate::support::wait::Gate;

const UNSAFE: [&str; 5] = ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"];

async fn bench() -> Bench {
    Bench::with(|setup| {
        setup
            .site("methods = [\"GET\", \"HEAD\", \"OPTIONS\", \"POST\", \"PUT\", \"DELETE\", \"PATCH\", \"M-SEARCH\"]")
            .hosts("[\"edge.test\", \"alias.test\"]")
            .more("[[site]]\nhosts = [\"other.test\"]\norigin = \"main\"")
    })
    .await
}

/// Has `GET path` answered and stored; `method` is answered with the status and the fields.
async fn stored(bench: &Bench, path: &str, status: u16, fields: &[(&str, String)]) {
    let unsafe_answer = fields.iter().fold(Answer::status(status), |answer, (n, v)| answer.header(n, v));
    bench.origin.script(path, move |request, _| match &*request.method {
        "GET" => Answer::ok("b").cache_control("max-age=3600"),
        _ => unsafe_answer.clone(),
    });
    bench.get(path).await;
}

/// Whether GET is answered without the origin.
async fn is_held(bench: &Bench, path: &str) -> bool {
    let before = bench.origin.requests(path);
    bench.get(path).await;
    bench.origin.requests(path) == before
}

#[tokio::test]
async fn an_unsafe_method_invalidates_its_target() {
    let bench = bench().await;
    let mut wrong = Wrong::default();
    for method in UNSAFE {
        for status in [200, 201, 204, 301, 303] {
            let path = bench.path();
            stored(&bench, &path, status, &[]).await;
            assert!(is_held(&bench, &path).await, "{method}");
            let answered = bench.ask(&Request::new(method, &path).body("x")).await.status();
            wrong.note(answered == status, || format!("{method}: {answered}, not {status}"));
            wrong.note(!is_held(&bench, &path).await, || format!("{method}, {status}: still used"));
        }
    }
    wrong.none();
}

#[tokio::test]
async fn a_safe_method_invalidates_nothing() {
    let bench = bench().await;
    for method in ["HEAD", "OPTIONS"] {
        let path = bench.path();
        stored(&bench, &path, 200, &[]).await;
        bench.ask(&Request::new(method, &path)).await;
        assert!(is_held(&bench, &path).await, "{method}");
    }
}

#[tokio::test]
async fn what_an_answer_names_is_invalidated() {
    let bench = bench().await;
    let mut wrong = Wrong::default();
    for method in UNSAFE {
        for name in ["location", "content-location"] {
            for form in ["PATH", "http://edge.test/PATH", "//edge.test/PATH"] {
                let (target, named) = (bench.path(), bench.path());
                let value = form.replace("/PATH", &named).replace("PATH", &named);
                stored(&bench, &named, 200, &[]).await;
                stored(&bench, &target, 201, &[(name, value.clone())]).await;
                bench.ask(&Request::new(method, &target).body("x")).await;
                wrong.note(!is_held(&bench, &named).await, || {
                    format!("{method}, {name}: {value}: still used")
                });
            }
        }
    }
    wrong.none();
}

/// A reference that is relative to the target.
#[tokio::test]
async fn a_relative_reference_is_resolved() {
    let bench = bench().await;
    for (named, value) in [("/a/b/c", "c"), ("/a/d", "../d"), ("/a/b/e?x=1", "e?x=1"), ("/f", "/f#part")] {
        stored(&bench, named.split('?').next().unwrap(), 200, &[]).await;
        bench.get(named).await;
        stored(&bench, "/a/b/target", 201, &[("location", value.to_owned())]).await;
        let path = named.split('?').next().unwrap();
        let before = bench.origin.requests(path);
        bench.ask(&Request::new("POST", "/a/b/target").body("x")).await;
        bench.get(named).await;
        assert_eq!(bench.origin.requests(path), before + 1, "{value}");
    }
}

#[tokio::test]
async fn nothing_of_another_origin_is_invalidated() {
    let bench = bench().await;
    let mut wrong = Wrong::default();
    for name in ["location", "content-location"] {
        for host in
            ["http://other.test", "//other.test", "http://elsewhere.test", "https://elsewhere.test:444"]
        {
            let (target, named) = (bench.path(), bench.path());
            stored(&bench, &named, 200, &[]).await;
            let other = Request::get(&named).host("other.test");
            bench.ask(&other).await;
            stored(&bench, &target, 201, &[(name, format!("{host}{named}"))]).await;
            bench.ask(&Request::new("POST", &target).body("x")).await;
            wrong.note(is_held(&bench, &named).await, || format!("{name}: {host}: of the same site"));
            let before = bench.origin.requests(&named);
            bench.ask(&other).await;
            wrong.note(bench.origin.requests(&named) == before, || {
                format!("{name}: {host}: of the other site")
            });
        }
    }
    wrong.none();
}

#[tokio::test]
async fn an_error_invalidates_nothing() {
    let bench = bench().await;
    let mut wrong = Wrong::default();
    for method in UNSAFE {
        for status in [400, 403, 404, 409, 500, 503] {
            let (target, named) = (bench.path(), bench.path());
            stored(&bench, &named, 200, &[]).await;
            stored(&bench, &target, status, &[("location", named.clone())]).await;
            bench.ask(&Request::new(method, &target).body("x")).await;
            wrong.note(is_held(&bench, &target).await, || format!("{method}, {status}: the target is gone"));
            wrong
                .note(is_held(&bench, &named).await, || format!("{method}, {status}: what it names is gone"));
        }
    }
    wrong.none();
}

/// Other targets stay, also those that begin alike.
#[tokio::test]
async fn only_what_is_named_is_invalidated() {
    let bench = bench().await;
    let others = ["/a", "/a/b/c", "/a/bc", "/A/b"];
    for path in others {
        stored(&bench, path, 200, &[]).await;
    }
    stored(&bench, "/a/b", 200, &[]).await;
    bench.ask(&Request::new("DELETE", "/a/b")).await;
    for path in others {
        assert!(is_held(&bench, path).await, "{path}");
    }
    assert!(!is_held(&bench, "/a/b").await);
}

#[tokio::test]
async fn all_variants_are_invalidated() {
    let bench = bench().await;
    bench.origin.script("/page", |request, _| match &*request.method {
        "GET" => Answer::ok(request.header("x-test").unwrap_or("none").to_owned())
            .cache_control("max-age=3600")
            .header("vary", "x-test"),
        _ => Answer::status(204),
    });
    let with = |value: &str| Request::get("/page").header("x-test", value);
    for value in ["1", "2"] {
        bench.ask(&with(value)).await;
    }
    bench.ask(&Request::new("DELETE", "/page")).await;
    for value in ["1", "2"] {
        let before = bench.origin.requests("/page");
        assert_eq!(bench.ask(&with(value)).await.whole(), value);
        assert!(bench.origin.requests("/page") > before, "variant {value} is still used");
    }
}

#[tokio::test]
async fn what_was_asked_for_before_is_not_kept() {
    let bench = Bench::with(|setup| {
        setup.site("methods = [\"GET\", \"HEAD\", \"DELETE\"]").limits("slice_above = \"1MiB\"")
    })
    .await;
    for path in ["/film", "/page"] {
        let gate = Gate::closed();
        let (held, deleted, large) = (gate.clone(), AtomicBool::new(false), path == "/film");
        bench.origin.script(path, move |request, _| {
            if request.method != "GET" {
                deleted.store(true, Ordering::SeqCst);
                return Answer::status(204);
            }
            let (after, which) = (deleted.load(Ordering::SeqCst), request.header("x-test").unwrap_or("none"));
            let len = if large { 2 * 1024 * 1024 } else { 5 };
            let answer = Answer::ok(vec![if after { b'n' } else { b'o' }; len])
                .cache_control("max-age=3600")
                .etag(if after { "\"n\"" } else { "\"o\"" });
            let answer = if large { answer.ranges() } else { answer.header("vary", "x-test") };
            if after || which != "held" { answer } else { answer.hold(&held) }
        });
        let with = |value: &str| Request::get(path).header("x-test", value);
        if !large {
            bench.ask(&with("other")).await;
        }
        let mut held = Http1::connect(bench.node.http()).await;
        held.send(&with("held")).await;
        bench.origin.await_requests(path, if large { 1 } else { 2 }).await;
        assert_eq!(bench.ask(&Request::new("DELETE", path)).await.status(), 204);
        if !large {
            assert_eq!(bench.ask(&with("other")).await.whole()[0], b'n');
        }
        gate.open();
        held.response("GET").await;
        assert_eq!(bench.ask(&with("held")).await.whole()[0], b'n', "{path}");
    }
}

#[tokio::test]
async fn an_unsafe_method_reaches_the_origin() {
    let bench = bench().await;
    for method in UNSAFE {
        let path = bench.path();
        stored(&bench, &path, 200, &[]).await;
        for nth in 1..=2 {
            bench.ask(&Request::new(method, &path).body(format!("body {nth}"))).await;
            let last = bench.origin.last(&path);
            assert_eq!((&*last.method, &*last.body), (method, format!("body {nth}").as_bytes()));
        }
    }
}

/// Strings are compared as they are, parameters mean nothing, and a field that is no list of strings is ignored.
#[tokio::test]
async fn groups_are_invalidated() {
    let bench = bench().await;
    let mut wrong = Wrong::default();
    for (method, status, named, expected) in [
        ("POST", 200, "\"scripts\"", true),
        ("DELETE", 204, "\"other\", \"scripts\";a=1", true),
        ("M-SEARCH", 303, "\"scripts\"", true),
        ("POST", 200, "\"Scripts\"", false),
        ("POST", 200, "scripts", false),
        ("POST", 200, "\"scripts", false),
        ("POST", 500, "\"scripts\"", false),
        ("GET", 200, "\"scripts\"", false),
        ("OPTIONS", 200, "\"scripts\"", false),
    ] {
        let (path, plain, change) = (bench.path(), bench.path(), bench.path());
        let of = |groups: &str| Answer::ok("b").cache_control("max-age=3600").header("cache-groups", groups);
        bench.origin.on(&path, of("\"styles\", \"scripts\""));
        bench.origin.on(&plain, of("\"styles\""));
        bench.origin.on(&change, Answer::status(status).header("cache-group-invalidation", named));
        let elsewhere = Request::get(&path).host("other.test");
        for _ in 0..2 {
            bench.get(&path).await;
            bench.get(&plain).await;
            bench.ask(&elsewhere).await;
        }
        bench.ask(&Request::new(method, &change)).await;
        let gone = bench.get(&path).await.outcome() != "hit";
        wrong.note(gone == expected, || format!("{method} {status} {named}: {gone}"));
        let others = [bench.get(&plain).await, bench.ask(&elsewhere).await];
        let held = others.iter().all(|other| other.outcome() == "hit");
        wrong.note(held, || format!("{method} {status} {named}: another group, or another site's"));
    }
    wrong.none();
}
