//! Requests with credentials (RFC 9111 section 3.5).
//!
//! | section | requirement | test |
//! |---|---|---|
//! | 3.5 | an answer to a request with `Authorization` is not used for others | `an_answer_to_credentials_is_not_shared` |
//! | 3.5 | but with `public`, `s-maxage` or `must-revalidate` | `an_answer_to_credentials_is_shared_where_the_origin_says_so` |
//! | RFC 9110 11.6.2 | credentials reach the origin | `credentials_reach_the_origin` |

use super::{Answer, Bench, Request};

fn with(path: &str, credentials: &str) -> Request {
    Request::get(path).header("authorization", credentials)
}

/// Answers that tell whose they are.
fn own(bench: &Bench, path: &str, control: &'static str) {
    bench.origin.script(path, move |request, _| {
        let whose = request.header("authorization").unwrap_or("nobody").to_owned();
        Answer::ok(whose).cache_control(control)
    });
}

#[tokio::test]
async fn an_answer_to_credentials_is_not_shared() {
    let bench = Bench::start().await;
    for control in
        ["max-age=3600", "max-age=3600, proxy-revalidate", "max-age=3600, no-transform", "foo, max-age=3600"]
    {
        let path = bench.path();
        own(&bench, &path, control);
        for whose in ["Basic QTph", "Basic Qjpi", "Basic QTph", "Bearer x"] {
            assert_eq!(bench.ask(&with(&path, whose)).await.whole(), whose, "{control}");
        }
        assert_eq!(bench.get(&path).await.whole(), "nobody", "{control}");
        assert_eq!(bench.origin.requests(&path), 5, "{control}");
    }
    // The same by Expires.
    let path = bench.path();
    bench.origin.on(&path, bench.answer(&[("expires", "{now+3600}")]));
    bench.ask(&with(&path, "Basic QTph")).await;
    bench.ask(&with(&path, "Basic Qjpi")).await;
    assert_eq!(bench.origin.requests(&path), 2);
}

#[tokio::test]
async fn an_answer_to_credentials_is_shared_where_the_origin_says_so() {
    let bench = Bench::start().await;
    for control in
        ["max-age=3600, public", "s-maxage=3600", "max-age=3600, must-revalidate", "max-age=0, s-maxage=60"]
    {
        let path = bench.path();
        bench.origin.on(&path, Answer::ok("for all").cache_control(control));
        bench.ask(&with(&path, "Basic QTph")).await;
        assert_eq!(bench.ask(&with(&path, "Basic Qjpi")).await.whole(), "for all");
        assert_eq!(bench.get(&path).await.whole(), "for all");
        assert_eq!(bench.origin.requests(&path), 1, "{control}");
    }
}

#[tokio::test]
async fn credentials_reach_the_origin() {
    let bench = Bench::start().await;
    own(&bench, "/page", "no-cache");
    for whose in ["Basic QTph", "Bearer x"] {
        assert_eq!(bench.ask(&with("/page", whose)).await.whole(), whose);
        assert_eq!(bench.origin.last("/page").header("authorization"), Some(whose));
    }
    bench.get("/page").await;
    assert_eq!(bench.origin.last("/page").header("authorization"), None);
}

/// An answer that was stored for a request without credentials is a public one.
#[tokio::test]
async fn a_public_answer_serves_also_those_with_credentials_or_is_asked_for_anew() {
    let bench = Bench::start().await;
    bench.origin.on("/page", Answer::ok("for all").cache_control("max-age=3600, public"));
    bench.get("/page").await;
    assert_eq!(bench.ask(&with("/page", "Basic QTph")).await.whole(), "for all");
}

#[tokio::test]
async fn a_challenge_is_passed_on_and_not_reused_for_credentials() {
    let bench = Bench::start().await;
    bench.origin.script("/page", |request, _| match request.header("authorization") {
        Some(_) => Answer::ok("open").cache_control("no-cache"),
        None => Answer::status(401).header("www-authenticate", "Basic realm=\"a\"").cache_control("no-cache"),
    });
    let challenged = bench.get("/page").await;
    assert_eq!((challenged.status(), challenged.get("www-authenticate")), (401, Some("Basic realm=\"a\"")));
    assert_eq!(bench.ask(&with("/page", "Basic QTph")).await.whole(), "open");
    assert_eq!(bench.get("/page").await.status(), 401);
}
