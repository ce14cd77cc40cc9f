//! Validation: of what is stored at the origin, and of what a viewer has at the node (RFC 9111 sections 4.3.1 to 4.3.3,
//! RFC 9110 section 13).
//!
//! | section | requirement | test |
//! |---|---|---|
//! | 4.3.1 | `If-None-Match` with the stored tag, weak or strong | `the_stored_validators_are_sent` |
//! | 4.3.1 | `If-Modified-Since` with the stored date | `the_stored_validators_are_sent` |
//! | 4.3.3 | 304: what is stored is used | `a_confirmed_answer_is_used` |
//! | 4.3.3 | a full answer takes its place | `a_full_answer_takes_the_place_of_what_was_stored` |
//! | 4.3.3 | an error: passed on, or stale where allowed | `an_error_instead_of_a_confirmation_leaves_what_is_stored` |
//! | 4.3.2; RFC 9110 13.1.2 | a viewer's `If-None-Match`, weak comparison, lists, `*` | `a_viewers_tags_are_compared_weakly` |
//! | 4.3.2; RFC 9110 13.1.3 | a viewer's `If-Modified-Since` | `a_viewers_date_is_compared` |
//! | RFC 9110 13.2.2 | tags come before dates | `tags_come_before_dates` |
//! | RFC 9110 15.4.5 | fields of a 304 | `a_304_has_the_fields_that_a_200_would_have` |

use super::{Answer, Bench, Request, Use, Wrong};

const BODY: &str = "the body";

#[tokio::test]
async fn the_stored_validators_are_sent() {
    let bench = Bench::start().await;
    let date = bench.date(-100);
    for tag in ["\"a\"", "W/\"a\"", "\"a,b\"", "\"\"", "\"\u{e4}\""] {
        let path = bench.path();
        bench.origin.on(&path, Answer::ok(BODY).cache_control("max-age=0").etag(tag));
        bench.get(&path).await;
        bench.get(&path).await;
        assert_eq!(bench.origin.last(&path).header("if-none-match"), Some(tag));
    }
    bench.origin.on("/dated", Answer::ok(BODY).cache_control("max-age=0").last_modified(&date));
    bench.get("/dated").await;
    bench.get("/dated").await;
    assert_eq!(bench.origin.last("/dated").header("if-modified-since"), Some(&*date));
}

/// A condition is never made up, and an answer without a validator is fetched whole.
#[tokio::test]
async fn no_validator_no_condition() {
    let bench = Bench::start().await;
    bench.origin.on("/page", Answer::ok(BODY).cache_control("max-age=0"));
    for _ in 0..3 {
        assert_eq!(bench.get("/page").await.whole(), BODY);
        let last = bench.origin.last("/page");
        for name in ["if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "if-range"] {
            assert_eq!(last.header(name), None);
        }
    }
    assert_eq!(bench.origin.requests("/page"), 3);
}

#[tokio::test]
async fn a_confirmed_answer_is_used() {
    let bench = Bench::start().await;
    for (name, value) in [("etag", "\"a\""), ("etag", "W/\"a\""), ("last-modified", "{now-100}")] {
        let path = bench.path();
        let first = bench.answer(&[("cache-control", "max-age=60"), (name, value)]);
        bench.origin.on(&path, first);
        bench.get(&path).await;
        bench.advance(100);
        for _ in 0..2 {
            let response = bench.get(&path).await;
            assert_eq!((response.status(), response.whole()), (200, &BODY.into()), "{value}");
        }
        assert_eq!(bench.last_use(&path, 2), Use::Validated);
        assert_eq!(bench.origin.requests(&path), 2, "{value}: fresh again");
    }
}

#[tokio::test]
async fn a_full_answer_takes_the_place_of_what_was_stored() {
    let bench = Bench::start().await;
    let old = Answer::ok("old").cache_control("max-age=60").etag("\"old\"").header("x-of", "old");
    let new = Answer::ok("new").cache_control("max-age=60").etag("\"new\"");
    bench.origin.on_each("/page", vec![old, new]);
    bench.get("/page").await;
    bench.advance(100);
    for _ in 0..2 {
        let response = bench.get("/page").await;
        assert_eq!((response.whole(), response.get("etag")), (&"new".into(), Some("\"new\"")));
        assert_eq!(response.get("x-of"), None, "a field of the old answer");
    }
    assert_eq!(bench.origin.requests("/page"), 2);
}

/// A full answer that may not be stored takes the old one's place as well: the old one is not used again.
#[tokio::test]
async fn what_was_replaced_by_an_answer_that_is_not_stored_is_not_used_again() {
    let bench = Bench::start().await;
    let old = Answer::ok("old").cache_control("max-age=60, stale-if-error=6000").etag("\"old\"");
    let new = Answer::ok("new").cache_control("no-store");
    bench.origin.on_each("/page", vec![old, new, Answer::status(503)]);
    bench.get("/page").await;
    bench.advance(100);
    assert_eq!(bench.get("/page").await.whole(), "new");
    assert_ne!(bench.get("/page").await.whole(), "old");
}

#[tokio::test]
async fn an_error_instead_of_a_confirmation_leaves_what_is_stored() {
    let bench = Bench::start().await;
    let good = Answer::ok(BODY).cache_control("max-age=60").etag("\"a\"");
    bench.origin.on("/page", good.clone());
    bench.get("/page").await;
    bench.advance(100);
    bench.origin.on("/page", Answer::status(503));
    assert_eq!(bench.get("/page").await.status(), 503);
    bench.advance(100);
    bench.origin.on("/page", good);
    assert_eq!(bench.get("/page").await.whole(), BODY);
    assert_eq!(bench.origin.last("/page").header("if-none-match"), Some("\"a\""), "it is still stored");
}

#[tokio::test]
async fn a_viewers_tags_are_compared_weakly() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    for (stored, asked, status) in [
        ("\"a\"", "\"a\"", 304),
        ("\"a\"", "W/\"a\"", 304),
        ("W/\"a\"", "\"a\"", 304),
        ("W/\"a\"", "W/\"a\"", 304),
        ("\"a\"", "\"b\"", 200),
        ("\"a\"", "\"A\"", 200),
        ("\"a\"", "\"b\", \"a\"", 304),
        ("\"a\"", "\"b\",\"a\",\"c\"", 304),
        ("\"a\"", "\"b\", \"c\"", 200),
        ("\"a,b\"", "\"x\", \"a,b\"", 304),
        ("\"b\"", "\"a,\"b\"\"", 200),
        ("\"a\"", "*", 304),
        ("\"a\"", "a", 200),
    ] {
        let path = bench.path();
        bench.origin.on(&path, Answer::ok(BODY).cache_control("max-age=3600").etag(stored));
        bench.get(&path).await;
        let response = bench.ask(&Request::get(&path).header("if-none-match", asked)).await;
        // A list that is malformed may match or not: both are allowed where quotes are unbalanced.
        let malformed = asked == "\"a,\"b\"\"" || asked == "a";
        wrong.note(malformed || response.status() == status, || {
            format!("{asked} of {stored}: {}", response.status())
        });
        wrong.note(response.status() != 304 || response.whole().is_empty(), || {
            format!("{asked}: a 304 with a body")
        });
        wrong.note(bench.origin.requests(&path) == 1, || format!("{asked} of {stored}: the origin is asked"));
    }
    wrong.none();
}

/// Tags on several lines are one list.
#[tokio::test]
async fn tags_on_several_lines_are_one_list() {
    let bench = Bench::start().await;
    bench.origin.on("/page", Answer::ok(BODY).cache_control("max-age=3600").etag("\"a\""));
    bench.get("/page").await;
    let request = Request::get("/page").header("if-none-match", "\"x\"").header("if-none-match", "\"a\"");
    assert_eq!(bench.ask(&request).await.status(), 304);
}

#[tokio::test]
async fn a_viewers_date_is_compared() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    bench
        .origin
        .on("/page", bench.answer(&[("cache-control", "max-age=3600"), ("last-modified", "{now-100}")]));
    bench.get("/page").await;
    for (since, status) in [
        ("{now-100}", 304),
        ("{now-50}", 304),
        ("{now-101}", 200),
        ("{rfc850-100}", 304),
        ("{asctime-100}", 304),
        ("{asctime-101}", 200),
        ("yesterday", 200),
        ("", 200),
        ("0", 200),
    ] {
        let response =
            bench.ask(&Request::get("/page").header("if-modified-since", &bench.fill(since))).await;
        wrong.note(response.status() == status, || format!("{since}: {}", response.status()));
    }
    wrong.note(bench.origin.requests("/page") == 1, || "the origin is asked".to_owned());
    wrong.none();
}

/// Without `Last-Modified` the date of the answer stands for it (RFC 9111 section 4.3.2).
#[tokio::test]
async fn a_viewers_date_is_compared_with_that_of_the_answer_where_there_is_no_other() {
    let bench = Bench::start().await;
    bench.origin.on("/page", bench.answer(&[("cache-control", "max-age=3600"), ("date", "{now-100}")]));
    bench.get("/page").await;
    let older = bench.ask(&Request::get("/page").header("if-modified-since", &bench.date(-200))).await;
    assert_eq!(older.status(), 200, "made after it");
}

#[tokio::test]
async fn tags_come_before_dates() {
    let bench = Bench::start().await;
    let fields = [("cache-control", "max-age=3600"), ("etag", "\"a\""), ("last-modified", "{now-100}")];
    bench.origin.on("/page", bench.answer(&fields));
    bench.get("/page").await;
    for (tag, since, status) in [("\"a\"", -200, 304), ("\"b\"", -50, 200), ("\"a\"", -50, 304)] {
        let request = Request::get("/page").header("if-none-match", tag);
        let response = bench.ask(&request.header("if-modified-since", &bench.date(since))).await;
        assert_eq!(response.status(), status, "{tag}, {since}");
    }
}

#[tokio::test]
async fn a_304_has_the_fields_that_a_200_would_have() {
    let bench = Bench::start().await;
    let fields = [
        ("cache-control", "max-age=3600"),
        ("etag", "\"a\""),
        ("date", "{now}"),
        ("expires", "{now+60}"),
        ("vary", "accept-language"),
        ("content-location", "/there"),
    ];
    bench.origin.on("/page", bench.answer(&fields));
    let whole = bench.get("/page").await;
    let confirmed = bench.ask(&Request::get("/page").header("if-none-match", "\"a\"")).await;
    assert_eq!(confirmed.status(), 304);
    for (name, _) in fields {
        assert_eq!(confirmed.get(name), whole.get(name), "{name}");
    }
    assert_eq!(confirmed.head.count("age"), 1);
}

/// A viewer's condition is answered also when what is stored has to be validated first.
#[tokio::test]
async fn a_viewers_condition_is_held_against_what_has_been_validated() {
    let bench = Bench::start().await;
    let of = |tag: &str, body: &str| Answer::ok(body.to_owned()).cache_control("max-age=60").etag(tag);
    bench.origin.on_each("/same", vec![of("\"a\"", "a")]);
    bench.origin.on_each("/other", vec![of("\"a\"", "a"), of("\"b\"", "b")]);
    for path in ["/same", "/other"] {
        bench.get(path).await;
    }
    bench.advance(100);
    let with = |path: &str| Request::get(path).header("if-none-match", "\"a\"");
    assert_eq!(bench.ask(&with("/same")).await.status(), 304);
    let other = bench.ask(&with("/other")).await;
    assert_eq!((other.status(), other.whole()), (200, &"b".into()));
}

/// A viewer who has what is not stored yet: the answer to a condition is never stored as the whole.
#[tokio::test]
async fn a_condition_of_the_first_viewer_does_not_spoil_what_is_stored() {
    let bench = Bench::start().await;
    bench.origin.on("/page", Answer::ok(BODY).cache_control("max-age=3600").etag("\"a\""));
    let first = bench.ask(&Request::get("/page").header("if-none-match", "\"a\"")).await;
    assert_eq!(first.status(), 304);
    for _ in 0..2 {
        let response = bench.get("/page").await;
        assert_eq!((response.status(), response.whole()), (200, &BODY.into()));
    }
}

/// `If-Match` and `If-Unmodified-Since` (RFC 9110 sections 13.1.1 and 13.1.4): 412, never a wrong body.
#[tokio::test]
async fn conditions_that_fail_are_answered_412() {
    let bench = Bench::start().await;
    let fields = [("cache-control", "max-age=3600"), ("etag", "\"a\""), ("last-modified", "{now-100}")];
    bench.origin.on("/page", bench.answer(&fields));
    bench.get("/page").await;
    for (name, value, status) in [
        ("if-match", "\"a\"".to_owned(), 200),
        ("if-match", "\"b\"".to_owned(), 412),
        ("if-match", "W/\"a\"".to_owned(), 412),
        ("if-match", "*".to_owned(), 200),
        ("if-unmodified-since", bench.date(-50), 200),
        ("if-unmodified-since", bench.date(-200), 412),
    ] {
        let response = bench.ask(&Request::get("/page").header(name, &value)).await;
        assert_eq!(response.status(), status, "{name}: {value}");
    }
}
