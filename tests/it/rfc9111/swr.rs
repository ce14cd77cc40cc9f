//! Stale answers that the origin allows (RFC 5861).
//!
//! | section | requirement | test |
//! |---|---|---|
//! | 3 | `stale-while-revalidate`: answered at once, and fetched anew behind it | `what_is_stale_is_answered_while_it_is_fetched_anew` |
//! | 3 | not beyond its window | `the_window_of_stale_while_revalidate_ends` |
//! | 3, 4 | a window counts from the end of freshness, also where that was before the answer came | `a_window_counts_from_the_end_of_freshness` |
//! | 3 | one refresh, however many ask | `one_refresh_for_all_who_ask` |
//! | 4 | `stale-if-error` for 500, 502, 503 and 504 | `errors_are_bridged` |
//! | 4 | and for an origin that is away | `an_absent_origin_is_bridged` |
//! | 4 | not beyond its window | `the_window_of_stale_if_error_ends` |
//! | 4 | an answer that is no such error is not bridged | `other_answers_are_not_bridged` |

use super::{Answer, Bench, Request, Wrong};

#[tokio::test]
async fn what_is_stale_is_answered_while_it_is_fetched_anew() {
    let bench = Bench::start().await;
    for control in ["max-age=60, stale-while-revalidate=600", "stale-while-revalidate=600, max-age=60"] {
        let path = bench.path();
        let old = Answer::ok("old").cache_control(control);
        bench.origin.on_each(&path, vec![old, Answer::ok("new").cache_control("max-age=3600")]);
        bench.get(&path).await;
        bench.advance(100);
        assert_eq!(bench.get(&path).await.whole(), "old", "{control}");
        bench.origin.await_requests(&path, 2).await;
        crate::support::wait::within("the new answer", async {
            while bench.get(&path).await.whole() != "new" {}
        })
        .await;
        assert_eq!(bench.origin.requests(&path), 2);
    }
}

#[tokio::test]
async fn the_window_of_stale_while_revalidate_ends() {
    let bench = Bench::start().await;
    for (after, expected) in [(59, "old"), (659, "old"), (660, "new"), (10_000, "new")] {
        let path = bench.path();
        let old = Answer::ok("old").cache_control("max-age=60, stale-while-revalidate=600");
        bench.origin.on_each(&path, vec![old, Answer::ok("new").cache_control("max-age=3600")]);
        bench.get(&path).await;
        bench.advance(after);
        assert_eq!(bench.get(&path).await.whole(), expected, "after {after} s");
    }
}

#[tokio::test]
async fn a_window_counts_from_the_end_of_freshness() {
    let bench = Bench::start().await;
    // Stale for 40 s when it came: of its windows of 50 s, 10 are left.
    for (after, whole) in [(9, "old"), (10, "new")] {
        for window in ["stale-while-revalidate=50", "stale-if-error=50"] {
            let path = bench.path();
            let old = Answer::ok("old").cache_control(&format!("max-age=60, {window}")).header("age", "100");
            let broken = window.starts_with("stale-if");
            let next = if broken { Answer::status(503).body("new") } else { Answer::ok("new") };
            bench.origin.on_each(&path, vec![old, next.cache_control("max-age=3600")]);
            bench.get(&path).await;
            bench.advance(after);
            assert_eq!(bench.get(&path).await.whole(), whole, "{window} after {after} s");
        }
    }
}

/// Also of those who say what they are in `Range`, and HEAD.
#[tokio::test]
async fn one_refresh_for_all_who_ask() {
    let bench = Bench::start().await;
    let gate = crate::support::wait::Gate::closed();
    let old = Answer::ok("old").cache_control("max-age=60, stale-while-revalidate=600").etag("\"a\"");
    let new = Answer::ok("new").cache_control("max-age=3600").etag("\"b\"").hold(&gate);
    bench.origin.on_each("/page", vec![old, new]);
    bench.get("/page").await;
    bench.advance(100);
    for _ in 0..5 {
        for request in [
            Request::get("/page"),
            Request::head("/page"),
            Request::get("/page").range("bytes=0-0"),
            Request::get("/page").header("if-none-match", "\"a\""),
        ] {
            let stale = bench.ask(&request).await;
            assert_eq!(stale.outcome(), "hit_stale", "{request:?}");
        }
    }
    bench.origin.await_requests("/page", 2).await;
    gate.open();
    crate::support::wait::within("the new answer", async {
        while bench.get("/page").await.whole() != "new" {
            tokio::time::sleep(crate::support::wait::LOOK_EVERY).await;
        }
    })
    .await;
    assert_eq!(bench.origin.requests("/page"), 2);
}

#[tokio::test]
async fn errors_are_bridged() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    for status in [500, 502, 503, 504] {
        let path = bench.path();
        let old = Answer::ok("old").cache_control("max-age=60, stale-if-error=600").etag("\"a\"");
        bench.origin.on_each(&path, vec![old, Answer::status(status).body("broken")]);
        bench.get(&path).await;
        bench.advance(100);
        let response = bench.get(&path).await;
        wrong.note(response.whole() == "old", || format!("{status}: {}", response.status()));
    }
    wrong.none();
}

#[tokio::test]
async fn an_absent_origin_is_bridged() {
    let mut bench = Bench::start().await;
    bench.origin.on("/page", Answer::ok("old").cache_control("max-age=60, stale-if-error=600"));
    bench.get("/page").await;
    bench.advance(100);
    bench.origin.stop().await;
    assert_eq!(bench.get("/page").await.whole(), "old");
    bench.origin.restart();
    bench.origin.on("/page", Answer::ok("new").cache_control("max-age=60"));
    crate::support::wait::within("the origin's answer", async {
        while bench.get("/page").await.whole() != "new" {
            tokio::time::sleep(crate::support::wait::LOOK_EVERY).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_window_of_stale_if_error_ends() {
    let bench = Bench::start().await;
    for (after, expected) in [(659, 200), (660, 503), (10_000, 503)] {
        let path = bench.path();
        let old = Answer::ok("old").cache_control("max-age=60, stale-if-error=600");
        bench.origin.on_each(&path, vec![old, Answer::status(503)]);
        bench.get(&path).await;
        bench.advance(after);
        assert_eq!(bench.get(&path).await.status(), expected, "after {after} s");
    }
}

#[tokio::test]
async fn other_answers_are_not_bridged() {
    let bench = Bench::start().await;
    for status in [400, 401, 403, 404, 410, 501, 505, 507, 599] {
        let path = bench.path();
        let old = Answer::ok("old").cache_control("max-age=60, stale-if-error=600").etag("\"a\"");
        bench.origin.on_each(&path, vec![old, Answer::status(status).body("gone")]);
        bench.get(&path).await;
        bench.advance(100);
        assert_eq!(bench.get(&path).await.status(), status);
    }
}
