//! When an answer that is no longer fresh is used (RFC 9111 section 4.2.4).
//!
//! | section | requirement | test |
//! |---|---|---|
//! | 4.2.4 | without a word of the origin, nothing stale while the origin answers | `a_stale_answer_is_not_used_while_the_origin_answers` |
//! | 4.2.4, 5.2.2.2, 5.2.2.8, 5.2.2.10, 5.2.2.4 | never, where a directive forbids it | `what_forbids_stale_use_is_kept_to_when_the_origin_is_down` |
//! | 5.2.2.2 | an error of the gateway then | `what_forbids_stale_use_is_kept_to_when_the_origin_is_down` |
//! | RFC 5861 4 | `stale-if-error` allows it | see `swr` |
//! | 4.2.4 | a stale answer tells its age | `a_stale_answer_tells_its_age` |

use super::{Answer, Bench, Fetched, Row, Validated, Wrong, age_of};

#[tokio::test]
async fn a_stale_answer_is_not_used_while_the_origin_answers() {
    let rows: &[Row] = &[
        ("with a tag", &[("cache-control", "max-age=60"), ("age", "61"), ("etag", "\"a\"")], Validated),
        ("without a validator", &[("cache-control", "max-age=60"), ("age", "61")], Fetched),
        ("stale-if-error", &[("cache-control", "max-age=60, stale-if-error=600"), ("age", "61")], Fetched),
    ];
    Bench::start().await.hold(rows).await;
}

#[tokio::test]
async fn what_forbids_stale_use_is_kept_to_when_the_origin_is_down() {
    let mut bench = Bench::start().await;
    let mut wrong = Wrong::default();
    let rows = [
        "max-age=60, must-revalidate",
        "max-age=60, proxy-revalidate",
        "s-maxage=60",
        "max-age=60, must-revalidate, stale-if-error=600",
        "max-age=60, proxy-revalidate, stale-if-error=600",
        "max-age=60, must-revalidate, stale-while-revalidate=600",
        "max-age=3600, no-cache",
        "max-age=3600, no-cache, stale-if-error=600",
        "max-age=60",
    ];
    for (number, control) in rows.iter().enumerate() {
        let path = format!("/stale-{number}");
        bench.origin.on(&path, Answer::ok("old").cache_control(control).etag("\"a\""));
        bench.get(&path).await;
    }
    bench.advance(100);
    bench.origin.stop().await;
    for (number, control) in rows.iter().enumerate() {
        let response = bench.get(&format!("/stale-{number}")).await;
        wrong.note(matches!(response.status(), 502..=504), || format!("{control}: {}", response.status()));
        wrong.note(response.whole() != "old", || format!("{control}: the stale body"));
    }
    wrong.none();
}

#[tokio::test]
async fn an_error_of_the_origin_is_passed_on_where_stale_use_is_forbidden() {
    let bench = Bench::start().await;
    for control in
        ["max-age=60, must-revalidate", "max-age=60, proxy-revalidate", "s-maxage=60", "max-age=60"]
    {
        for status in [500, 502, 503, 504] {
            let path = bench.path();
            let good = Answer::ok("old").cache_control(control).etag("\"a\"");
            bench.origin.on_each(&path, vec![good, Answer::status(status).body("broken")]);
            bench.get(&path).await;
            bench.advance(100);
            assert_eq!(bench.get(&path).await.status(), status, "{control}");
        }
    }
}

#[tokio::test]
async fn a_stale_answer_tells_its_age() {
    let mut bench = Bench::start().await;
    bench.origin.on("/page", Answer::ok("old").cache_control("max-age=60, stale-if-error=600"));
    bench.get("/page").await;
    bench.advance(100);
    bench.origin.stop().await;
    let stale = bench.get("/page").await;
    assert_eq!((stale.status(), stale.whole()), (200, &"old".into()));
    assert_eq!(age_of(&stale), 100);
}
