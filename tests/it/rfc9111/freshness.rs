//! How long an answer is fresh (RFC 9111 sections 4.2, 4.2.1, 4.2.2 and 5.3).
//!
//! | section | requirement | test |
//! |---|---|---|
//! | 4.2.1 | `s-maxage`, then `max-age`, then `Expires` | `the_first_of_s_maxage_max_age_and_expires_counts` |
//! | 5.3 | a date that cannot be read has passed | `expires_is_read_as_the_text_says` |
//! | RFC 9110 5.6.7 | all three forms of dates are read | `expires_is_read_as_the_text_says` |
//! | 4.2 | an answer is fresh until its lifetime has passed, and not after | `freshness_ends_when_its_time_has_passed` |
//! | 4.2.2 | without explicit freshness, a part of the time since the last change | `freshness_is_guessed_from_the_last_change` |
//! | 4.2.2 | explicit freshness is never overruled by a guess | `a_guess_never_overrules_what_is_told` |
//! | 4.2.2 | only what is cacheable by its status is guessed at | `statuses_that_are_not_cacheable_by_themselves_are_not_guessed_at` |
//! | 5.4 | `Pragma` of an answer means nothing | `pragma_of_an_answer_means_nothing` |

use super::{Answer, Bench, Fetched, Reused, Row, Validated, Wrong};

#[tokio::test]
async fn the_first_of_s_maxage_max_age_and_expires_counts() {
    let rows: &[Row] = &[
        ("max-age", &[("cache-control", "max-age=3600")], Reused),
        ("s-maxage", &[("cache-control", "s-maxage=3600")], Reused),
        ("Expires", &[("expires", "{now+3600}"), ("date", "{now}")], Reused),
        ("Expires without Date", &[("expires", "{now+3600}")], Reused),
        ("s-maxage over a smaller max-age", &[("cache-control", "max-age=0, s-maxage=3600")], Reused),
        ("s-maxage over a larger max-age", &[("cache-control", "s-maxage=0, max-age=3600")], Fetched),
        ("s-maxage over Expires", &[("cache-control", "s-maxage=3600"), ("expires", "{now-60}")], Reused),
        ("s-maxage=0 over Expires", &[("cache-control", "s-maxage=0"), ("expires", "{now+60}")], Fetched),
        ("max-age over Expires", &[("cache-control", "max-age=3600"), ("expires", "{now-60}")], Reused),
        ("max-age over a wrong Expires", &[("cache-control", "max-age=3600"), ("expires", "0")], Reused),
        ("max-age=0 over Expires", &[("cache-control", "max-age=0"), ("expires", "{now+60}")], Fetched),
        (
            "an unknown directive leaves Expires",
            &[("cache-control", "public"), ("expires", "{now+60}")],
            Reused,
        ),
        ("nothing at all", &[], Fetched),
    ];
    Bench::start().await.hold(rows).await;
}

#[tokio::test]
async fn expires_is_read_as_the_text_says() {
    let rows: &[Row] = &[
        ("in the past", &[("expires", "{now-60}")], Fetched),
        ("now", &[("expires", "{now}"), ("date", "{now}")], Fetched),
        ("equal to Date, both in the future", &[("expires", "{now+60}"), ("date", "{now+60}")], Fetched),
        ("before Date, both in the future", &[("expires", "{now+30}"), ("date", "{now+60}")], Fetched),
        ("obsolete form of RFC 850", &[("expires", "{rfc850+3600}")], Reused),
        ("obsolete form of asctime", &[("expires", "{asctime+3600}")], Reused),
        ("RFC 850, in the past", &[("expires", "{rfc850-3600}")], Fetched),
        ("asctime, in the past", &[("expires", "{asctime-3600}")], Fetched),
        ("0", &[("expires", "0")], Fetched),
        ("-1", &[("expires", "-1")], Fetched),
        ("empty", &[("expires", "")], Fetched),
        ("a number of seconds", &[("expires", "3600")], Fetched),
        ("an ISO date", &[("expires", "2099-01-01T00:00:00Z")], Fetched),
        ("another zone", &[("expires", "Thu, 18 Aug 2050 02:01:18 EST")], Fetched),
        ("no zone", &[("expires", "Thu, 18 Aug 2050 02:01:18")], Fetched),
        ("a year of two digits", &[("expires", "Thu, 18 Aug 50 02:01:18 GMT")], Fetched),
        ("no seconds", &[("expires", "Thu, 18 Aug 2050 02:01 GMT")], Fetched),
        ("an hour of one digit", &[("expires", "Thu, 18 Aug 2050 2:01:18 GMT")], Fetched),
        ("no such month", &[("expires", "Thu, 18 Foo 2050 02:01:18 GMT")], Fetched),
        ("no such hour", &[("expires", "Thu, 18 Aug 2050 25:01:18 GMT")], Fetched),
        ("wrong, with a last change", &[("expires", "0"), ("last-modified", "{now-864000}")], Validated),
    ];
    Bench::start().await.hold(rows).await;
}

#[tokio::test]
async fn freshness_ends_when_its_time_has_passed() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    for (fields, after, expected) in [
        (&[("cache-control", "max-age=60")][..], 59, Reused),
        (&[("cache-control", "max-age=60")][..], 60, Fetched),
        (&[("cache-control", "max-age=60")][..], 61, Fetched),
        (&[("cache-control", "s-maxage=60")][..], 59, Reused),
        (&[("cache-control", "s-maxage=60")][..], 60, Fetched),
        (&[("expires", "{now+60}")][..], 59, Reused),
        (&[("expires", "{now+60}")][..], 60, Fetched),
        (&[("expires", "{now+60}"), ("date", "{now-40}")][..], 59, Reused),
        (&[("expires", "{now+60}"), ("date", "{now-40}")][..], 60, Fetched),
        (&[("cache-control", "max-age=2147483648")][..], 864_000, Reused),
        (&[("cache-control", "max-age=99999999999999999999")][..], 864_000, Reused),
    ] {
        let found = bench.second_use_after(bench.answer(fields), after).await;
        wrong.note(found == expected, || format!("{fields:?} after {after} s: {found:?}"));
    }
    wrong.none();
}

#[tokio::test]
async fn freshness_is_guessed_from_the_last_change() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    // A tenth of a thousand seconds.
    for (after, expected) in [(0, Reused), (50, Reused), (1000, Validated)] {
        let answer = bench.answer(&[("last-modified", "{now-1000}"), ("date", "{now}")]);
        let found = bench.second_use_after(answer, after).await;
        wrong.note(found == expected, || format!("after {after} s: {found:?}"));
    }
    for status in [200, 203, 404, 405, 410, 414] {
        let answer = bench.fields(Answer::status(status).body("b"), &[("last-modified", "{now-864000}")]);
        let found = bench.second_use(answer).await;
        wrong.note(found == Reused, || format!("status {status}: {found:?}"));
    }
    wrong.none();
}

#[tokio::test]
async fn a_guess_never_overrules_what_is_told() {
    let rows: &[Row] = &[
        ("max-age=0", &[("cache-control", "max-age=0"), ("last-modified", "{now-864000}")], Validated),
        ("no-cache", &[("cache-control", "no-cache"), ("last-modified", "{now-864000}")], Validated),
        ("no-store", &[("cache-control", "no-store"), ("last-modified", "{now-864000}")], Fetched),
        ("Expires in the past", &[("expires", "{now-60}"), ("last-modified", "{now-864000}")], Validated),
        ("a last change in the future", &[("last-modified", "{now+864000}")], Validated),
        ("a last change that is no date", &[("last-modified", "yesterday")], Fetched),
        ("a last change now", &[("last-modified", "{now}"), ("date", "{now}")], Validated),
    ];
    Bench::start().await.hold(rows).await;
}

#[tokio::test]
async fn statuses_that_are_not_cacheable_by_themselves_are_not_guessed_at() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    for status in [201, 202, 302, 303, 307, 400, 403, 409, 418, 499] {
        let answer = bench.fields(Answer::status(status).body("b"), &[("last-modified", "{now-864000}")]);
        // An error may be kept for a second by the node's own choice.
        let found = bench.second_use_after(answer, 2).await;
        wrong.note(found != Reused, || format!("status {status} is reused"));
    }
    wrong.none();
}

#[tokio::test]
async fn pragma_of_an_answer_means_nothing() {
    let rows: &[Row] = &[
        ("beside max-age", &[("pragma", "no-cache"), ("cache-control", "max-age=3600")], Reused),
        ("beside Expires", &[("pragma", "no-cache"), ("expires", "{now+3600}")], Reused),
        ("beside a last change", &[("pragma", "no-cache"), ("last-modified", "{now-864000}")], Reused),
        ("an unknown word", &[("pragma", "foo"), ("cache-control", "max-age=3600")], Reused),
    ];
    Bench::start().await.hold(rows).await;
}
