//! How old an answer is (RFC 9111 sections 4.2.3 and 5.1).
//!
//! | section | requirement | test |
//! |---|---|---|
//! | 4, 5.1 | a stored answer carries `Age` | `a_stored_answer_tells_its_age` |
//! | 4.2.1, 5.3 | `Expires` and the `Date` of the moment say no less than the origin | `expires_is_told_as_max_age`, `expires_of_a_304_is_told_as_max_age` |
//! | 5.1 | an answer that is passed on keeps its age | `an_answer_that_is_not_kept_has_the_age_that_it_came_with` |
//! | 4.2.3 | age grows while it is stored | `age_grows_with_residence` |
//! | 4.2.3 | `Age` and `Date` as received count | `what_was_old_when_it_came_is_old` |
//! | 4.2.3 | the larger of apparent and told age counts | `the_larger_age_counts` |
//! | 5.1 | the first value counts; one that is no number is ignored | `age_is_read_as_the_text_says` |
//! | 1.2.2 | a value too large counts as the largest | `age_is_read_as_the_text_says` |

use super::{Answer, Bench, Fetched, Request, Reused, Row, Wrong, age_of};

#[tokio::test]
async fn a_stored_answer_tells_its_age() {
    let bench = Bench::start().await;
    let answer = bench.answer(&[("cache-control", "max-age=3600"), ("date", "{now}")]);
    bench.origin.on("/page", answer);
    bench.get("/page").await;
    assert_eq!(age_of(&bench.get("/page").await), 0);
}

#[tokio::test]
async fn age_grows_with_residence() {
    let bench = Bench::start().await;
    let answer = bench.answer(&[("cache-control", "max-age=3600"), ("age", "100"), ("date", "{now-100}")]);
    bench.origin.on("/page", answer);
    bench.get("/page").await;
    for seconds in [0, 1, 59, 600] {
        let before = age_of(&bench.get("/page").await);
        bench.advance(seconds);
        assert_eq!(age_of(&bench.get("/page").await), before + seconds);
    }
    assert_eq!(age_of(&bench.get("/page").await), 760);
    assert_eq!(bench.origin.requests("/page"), 1);
}

#[tokio::test]
async fn the_larger_age_counts() {
    let bench = Bench::start().await;
    for (age, date, expected) in
        [("10", "{now-200}", 200), ("200", "{now-10}", 200), ("30", "{now+500}", 30), ("0", "{now}", 0)]
    {
        let path = bench.path();
        let answer = bench.answer(&[("cache-control", "max-age=3600"), ("age", age), ("date", date)]);
        bench.origin.on(&path, answer);
        bench.get(&path).await;
        assert_eq!(age_of(&bench.get(&path).await), expected, "Age: {age}, Date: {date}");
    }
}

#[tokio::test]
async fn what_was_old_when_it_came_is_old() {
    let rows: &[Row] = &[
        ("younger than its lifetime", &[("cache-control", "max-age=100"), ("age", "50")], Reused),
        ("as old as its lifetime", &[("cache-control", "max-age=100"), ("age", "100")], Fetched),
        ("older than its lifetime", &[("cache-control", "max-age=100"), ("age", "101")], Fetched),
        (
            "made longer ago than its lifetime",
            &[("cache-control", "max-age=100"), ("date", "{now-200}")],
            Fetched,
        ),
        ("made within its lifetime", &[("cache-control", "max-age=100"), ("date", "{now-50}")], Reused),
        ("made in the future", &[("cache-control", "max-age=100"), ("date", "{now+50}")], Reused),
        ("s-maxage counts from the making", &[("cache-control", "s-maxage=100"), ("age", "100")], Fetched),
        (
            "Expires counts from the making",
            &[("expires", "{now+50}"), ("date", "{now}"), ("age", "60")],
            Fetched,
        ),
        (
            "Expires in the future of an old answer",
            &[("expires", "{now+50}"), ("date", "{now-100}"), ("age", "100")],
            Reused,
        ),
    ];
    Bench::start().await.hold(rows).await;
}

#[tokio::test]
async fn age_is_read_as_the_text_says() {
    let rows: &[Row] = &[
        ("a word is no age", &[("cache-control", "max-age=3600"), ("age", "old")], Reused),
        ("a negative number is no age", &[("cache-control", "max-age=3600"), ("age", "-7200")], Reused),
        ("an empty value is no age", &[("cache-control", "max-age=3600"), ("age", "")], Reused),
        ("leading zeros do not count", &[("cache-control", "max-age=3600"), ("age", "0000000000")], Reused),
        ("2147483647 is old", &[("cache-control", "max-age=3600"), ("age", "2147483647")], Fetched),
        ("2147483648 is old", &[("cache-control", "max-age=3600"), ("age", "2147483648")], Fetched),
        ("2147483649 is old", &[("cache-control", "max-age=3600"), ("age", "2147483649")], Fetched),
        ("99999999999 is old", &[("cache-control", "max-age=3600"), ("age", "99999999999")], Fetched),
        (
            "more than 64 bits is old",
            &[("cache-control", "max-age=3600"), ("age", "99999999999999999999")],
            Fetched,
        ),
        ("the first member counts: old", &[("cache-control", "max-age=3600"), ("age", "7200, 0")], Fetched),
        ("the first member counts: young", &[("cache-control", "max-age=3600"), ("age", "0, 7200")], Reused),
        (
            "the first line counts: old",
            &[("cache-control", "max-age=3600"), ("age", "7200"), ("age", "0")],
            Fetched,
        ),
        (
            "the first line counts: young",
            &[("cache-control", "max-age=3600"), ("age", "0"), ("age", "7200")],
            Reused,
        ),
    ];
    Bench::start().await.hold(rows).await;
}

/// The engine puts the present time into `Date`, so that `Expires` alone would say too little by the age that `Age` tells
/// beside it: `max-age` says the same, and what an origin writes itself stays.
#[tokio::test]
async fn expires_is_told_as_max_age() {
    let through = "[[site.rule]]\npath = \"/through/*\"\nbypass = true";
    let bench = Bench::with(|setup| setup.more(through)).await;
    let mut wrong = Wrong::default();
    for (fields, told) in [
        (&[("expires", "{now+600}"), ("date", "{now}")][..], &["max-age=600"][..]),
        (&[("expires", "{now+600}"), ("date", "{now-60}")], &["max-age=660"]),
        (&[("expires", "{rfc850+600}"), ("date", "{now}")], &["max-age=600"]),
        (&[("expires", "{now-60}"), ("date", "{now}")], &["max-age=0"]),
        (
            &[("cache-control", "public"), ("expires", "{now+600}"), ("date", "{now}")],
            &["public", "max-age=600"],
        ),
        (
            &[("cache-control", "s-maxage=9"), ("expires", "{now+600}"), ("date", "{now}")],
            &["s-maxage=9", "max-age=600"],
        ),
        (
            &[("cache-control", "no-store"), ("expires", "{now+600}"), ("date", "{now}")],
            &["no-store", "max-age=600"],
        ),
        (&[("cache-control", "max-age=5"), ("expires", "{now+600}"), ("date", "{now}")], &["max-age=5"]),
        (&[("expires", "0"), ("date", "{now}")], &[]),
        (&[("date", "{now}")], &[]),
    ] {
        for folder in ["", "/through"] {
            let path = format!("{folder}{}", bench.path());
            bench.origin.on(&path, bench.answer(fields).etag("\"a\""));
            for _ in 0..2 {
                for request in [
                    Request::get(&path),
                    Request::head(&path),
                    Request::get(&path).range("bytes=0-1"),
                    Request::get(&path).header("if-none-match", "\"a\""),
                ] {
                    let response = bench.ask(&request).await;
                    let lines = response.head.headers.iter().filter(|(name, _)| name == "cache-control");
                    let found: Vec<&str> = lines.map(|(_, value)| &**value).collect();
                    wrong.note(found == told, || format!("{folder} {fields:?}: {found:?}, not {told:?}"));
                }
            }
        }
    }
    wrong.none();
}

/// What a 304 says by `Expires` is told in place of what was told before.
#[tokio::test]
async fn expires_of_a_304_is_told_as_max_age() {
    let bench = Bench::start().await;
    let first = [("expires", "{now+60}"), ("date", "{now}"), ("etag", "\"a\"")];
    let second = [("expires", "{now+1000}"), ("date", "{now+100}"), ("etag", "\"a\"")];
    let second = second.iter().fold(Answer::status(304), |answer, (n, v)| answer.header(n, &bench.fill(v)));
    bench.origin.on_each("/page", vec![bench.answer(&first), second]);
    assert_eq!(bench.get("/page").await.get("cache-control"), Some("max-age=60"));
    bench.advance(100);
    for _ in 0..2 {
        let response = bench.get("/page").await;
        assert_eq!(
            (response.head.count("cache-control"), response.get("cache-control")),
            (1, Some("max-age=900"))
        );
    }
    bench.advance(899);
    bench.get("/page").await;
    assert_eq!(bench.origin.requests("/page"), 2, "fresh for what is told");
}

/// An answer that is not kept is passed on with the `Age` that it came with.
#[tokio::test]
async fn an_answer_that_is_not_kept_has_the_age_that_it_came_with() {
    let bench = Bench::start().await;
    for control in ["private, max-age=60", "no-store", "max-age=60"] {
        let path = bench.path();
        let vary = if control == "max-age=60" { "*" } else { "x-none" };
        let answer = Answer::ok("b").cache_control(control).header("age", "50").header("vary", vary);
        bench.origin.on(&path, answer);
        for _ in 0..2 {
            assert_eq!(age_of(&bench.get(&path).await), 50, "{control}");
        }
    }
}
