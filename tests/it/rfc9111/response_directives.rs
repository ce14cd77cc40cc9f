//! The directives of an answer, and how they are read (RFC 9111 sections 5.2, 5.2.2 and 5.2.3).
//!
//! | section | requirement | test |
//! |---|---|---|
//! | 5.2 | names are case-insensitive; several lines are one list | `directives_are_read_in_all_their_forms` |
//! | 5.2 | arguments: token and quoted string | `directives_are_read_in_all_their_forms` |
//! | 4.2.1 | twice with different values: the first, or stale | `a_directive_that_is_there_twice_is_not_stretched` |
//! | 4.2.1 | what is no number of seconds is stale | `what_is_no_number_of_seconds_is_not_fresh` |
//! | 5.2.3 | unknown directives are ignored | `unknown_directives_are_ignored` |
//! | 5.2.2.3 | `must-understand` | `must_understand_overrules_no_store_for_statuses_that_are_understood` |
//! | 5.2.2.4, 5.2.2.7 | limited to fields | `directives_that_are_limited_to_fields_keep_those_from_others` |
//! | 5.2.2.4, 5.2.2.7 | and the one who asked gets them | `a_cookie_that_is_kept_from_others_reaches_the_one_who_asked` |
//! | 5.2.2.9 | `public` is no freshness of its own | `public_is_no_freshness` |
//! | 5.2.2.6 | viewers get the directives as they are | `viewers_get_the_directives_of_the_origin` |

use super::{Answer, Bench, Fetched, Reused, Row, Use, Validated, Wrong};

#[tokio::test]
async fn directives_are_read_in_all_their_forms() {
    let rows: &[Row] = &[
        ("plain", &[("cache-control", "max-age=3600")], Reused),
        ("capitals", &[("cache-control", "MAX-AGE=3600")], Reused),
        ("mixed case", &[("cache-control", "Max-aGe=3600")], Reused),
        ("s-maxage in capitals", &[("cache-control", "S-MAXAGE=3600")], Reused),
        ("no-store in capitals", &[("cache-control", "NO-STORE, max-age=3600")], Fetched),
        (
            "no-cache in mixed case",
            &[("cache-control", "No-Cache, max-age=3600"), ("etag", "\"a\"")],
            Validated,
        ),
        ("quoted", &[("cache-control", "max-age=\"3600\"")], Reused),
        ("leading zeros", &[("cache-control", "max-age=003600")], Reused),
        ("blanks around", &[("cache-control", "  max-age=3600  ")], Reused),
        ("blanks between", &[("cache-control", "public  ,   max-age=3600")], Reused),
        ("tabs between", &[("cache-control", "public\t,\tmax-age=3600")], Reused),
        ("no blank between", &[("cache-control", "public,max-age=3600")], Reused),
        ("empty members", &[("cache-control", ", ,max-age=3600, ,")], Reused),
        ("second of two lines", &[("cache-control", "public"), ("cache-control", "max-age=3600")], Reused),
        (
            "no-store of two lines",
            &[("cache-control", "no-store"), ("cache-control", "max-age=3600")],
            Fetched,
        ),
        ("behind an unknown one", &[("cache-control", "foobar, max-age=3600")], Reused),
        ("behind one with an argument", &[("cache-control", "foo=bar, max-age=3600")], Reused),
        ("behind a quoted comma", &[("cache-control", "foo=\"bar, baz\", max-age=3600")], Reused),
        ("behind a quoted quote", &[("cache-control", "foo=\"b\\\"a, max-age=0, r\", max-age=3600")], Reused),
        ("not within quotes", &[("cache-control", "foo=\"max-age=3600\"")], Fetched),
        ("no-store not within quotes", &[("cache-control", "foo=\"a, no-store, b\", max-age=3600")], Reused),
        ("no name that ends so", &[("cache-control", "x-max-age=3600")], Fetched),
        ("no name that begins so", &[("cache-control", "max-age-x=3600")], Fetched),
        ("no-storex is not no-store", &[("cache-control", "no-storex, max-age=3600")], Reused),
        ("an argument where none belongs", &[("cache-control", "no-store=1, max-age=3600")], Fetched),
        ("an empty field", &[("cache-control", "")], Fetched),
    ];
    Bench::start().await.hold(rows).await;
}

#[tokio::test]
async fn a_directive_that_is_there_twice_is_not_stretched() {
    let rows: &[Row] = &[
        ("the same twice", &[("cache-control", "max-age=3600, max-age=3600")], Reused),
        ("first 0", &[("cache-control", "max-age=0, max-age=3600")], Fetched),
        ("first 0, two lines", &[("cache-control", "max-age=0"), ("cache-control", "max-age=3600")], Fetched),
        ("both past", &[("cache-control", "max-age=10, max-age=20"), ("age", "30")], Fetched),
        ("s-maxage, first 0", &[("cache-control", "s-maxage=0, s-maxage=3600")], Fetched),
    ];
    Bench::start().await.hold(rows).await;
}

#[tokio::test]
async fn what_is_no_number_of_seconds_is_not_fresh() {
    let rows: &[Row] = &[
        ("a word", &[("cache-control", "max-age=foo")], Fetched),
        ("nothing", &[("cache-control", "max-age=")], Fetched),
        ("no argument", &[("cache-control", "max-age")], Fetched),
        ("empty quotes", &[("cache-control", "max-age=\"\"")], Fetched),
        ("negative", &[("cache-control", "max-age=-3600")], Fetched),
        ("single quotes", &[("cache-control", "max-age='3600'")], Fetched),
        ("letters before", &[("cache-control", "max-age=a3600")], Fetched),
        ("a word, over Expires", &[("cache-control", "max-age=foo"), ("expires", "{now+3600}")], Fetched),
        ("s-maxage a word, over max-age", &[("cache-control", "s-maxage=foo, max-age=3600")], Fetched),
        ("in hexadecimal", &[("cache-control", "max-age=0x3600")], Fetched),
        ("with a sign", &[("cache-control", "max-age=+3600")], Fetched),
        ("blank before the sign of equality", &[("cache-control", "max-age =3600")], Fetched),
        ("blank behind it", &[("cache-control", "max-age= 3600")], Fetched),
    ];
    Bench::start().await.hold(rows).await;
}

#[tokio::test]
async fn unknown_directives_are_ignored() {
    let rows: &[Row] = &[
        ("an unknown one", &[("cache-control", "foo, max-age=3600")], Reused),
        ("with an argument", &[("cache-control", "max-age=3600, foo=0")], Reused),
        ("with a quoted argument", &[("cache-control", "max-age=3600, foo=\"no-store\"")], Reused),
        (
            "directives of requests",
            &[("cache-control", "max-stale, min-fresh=1, only-if-cached, max-age=60")],
            Reused,
        ),
        ("an unknown one alone", &[("cache-control", "foo")], Fetched),
    ];
    Bench::start().await.hold(rows).await;
}

#[tokio::test]
async fn must_understand_overrules_no_store_for_statuses_that_are_understood() {
    let bench = Bench::start().await;
    for (status, control, expected) in [
        (200, "no-store, must-understand, max-age=3600", Reused),
        (404, "must-understand, no-store, max-age=3600", Reused),
        (299, "no-store, must-understand, max-age=3600", Fetched),
        (499, "must-understand, max-age=3600", Fetched),
        (200, "must-understand, max-age=3600", Reused),
        (200, "must-understand", Fetched),
    ] {
        let answer = Answer::status(status).body("b").cache_control(control);
        let found = bench.second_use_after(answer, 2).await;
        assert_eq!(found, expected, "status {status}: {control}");
    }
}

/// A field that `private` or `no-cache` names is not sent to anybody else without the origin; a cache may take such a
/// directive for one of the whole answer.
#[tokio::test]
async fn directives_that_are_limited_to_fields_keep_those_from_others() {
    let bench = Bench::start().await;
    for control in [
        "max-age=3600, private=\"x-own\"",
        "max-age=3600, private=\"x-other, X-Own\"",
        "max-age=3600, no-cache=\"x-own\"",
        "max-age=3600, no-cache=x-own",
    ] {
        let path = bench.path();
        bench.origin.script(&path, {
            let control = control.to_owned();
            move |_, nth| {
                Answer::ok("b").cache_control(&control).header("x-own", &nth.to_string()).header("x-all", "1")
            }
        });
        assert_eq!(bench.get(&path).await.get("x-own"), Some("0"), "{control}: the one who asked");
        let second = bench.get(&path).await;
        assert_ne!(second.get("x-own"), Some("0"), "{control}");
        assert_eq!(second.get("x-all"), Some("1"), "{control}");
    }
}

/// A cookie that `no-cache` or `private` keeps from others still reaches the one who asked.
#[tokio::test]
async fn a_cookie_that_is_kept_from_others_reaches_the_one_who_asked() {
    let bench = Bench::start().await;
    for control in ["max-age=3600, no-cache=\"set-cookie\"", "max-age=3600, private=\"set-cookie\""] {
        let path = bench.path();
        let control = control.to_owned();
        bench.origin.script(&path, move |_, nth| {
            Answer::ok("b").cache_control(&control).header("set-cookie", &format!("user={nth}"))
        });
        assert_eq!(bench.get(&path).await.get("set-cookie"), Some("user=0"), "{path}");
        assert_ne!(bench.get(&path).await.get("set-cookie"), Some("user=0"), "{path}");
    }
}

#[tokio::test]
async fn public_is_no_freshness() {
    let rows: &[Row] = &[
        ("alone", &[("cache-control", "public")], Fetched),
        ("with a tag", &[("cache-control", "public"), ("etag", "\"a\"")], Validated),
        ("stale", &[("cache-control", "public, max-age=60"), ("age", "60")], Fetched),
    ];
    Bench::start().await.hold(rows).await;
}

#[tokio::test]
async fn revalidation_directives_leave_what_is_fresh_alone() {
    let rows: &[Row] = &[
        ("must-revalidate", &[("cache-control", "max-age=3600, must-revalidate")], Reused),
        ("proxy-revalidate", &[("cache-control", "max-age=3600, proxy-revalidate")], Reused),
        ("immutable", &[("cache-control", "max-age=3600, immutable")], Reused),
        ("immutable is no freshness", &[("cache-control", "immutable")], Fetched),
        (
            "immutable, stale",
            &[("cache-control", "max-age=60, immutable"), ("age", "61"), ("etag", "\"a\"")],
            Validated,
        ),
        ("no-transform", &[("cache-control", "max-age=3600, no-transform")], Reused),
        (
            "must-revalidate, stale",
            &[("cache-control", "max-age=60, must-revalidate"), ("age", "61"), ("etag", "\"a\"")],
            Validated,
        ),
    ];
    Bench::start().await.hold(rows).await;
}

#[tokio::test]
async fn viewers_get_the_directives_of_the_origin() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    for control in [
        "max-age=3600",
        "public, max-age=60, s-maxage=3600",
        "max-age=60, no-transform",
        "foo=\"a, b\", max-age=5",
        "no-cache",
        "no-store",
        "private",
    ] {
        let path = bench.path();
        bench.origin.on(&path, Answer::ok("b").cache_control(control));
        for _ in 0..2 {
            let response = bench.get(&path).await;
            wrong.note(response.get("cache-control") == Some(control), || {
                format!("{control}: {:?}", response.get("cache-control"))
            });
        }
    }
    wrong.none();
}

/// `Expires` and unknown fields beside them pass as they are, too.
#[tokio::test]
async fn viewers_get_expires_of_the_origin() {
    let bench = Bench::start().await;
    for value in ["{now+3600}", "{now-3600}", "0", "never"] {
        let path = bench.path();
        bench.origin.on(&path, bench.answer(&[("expires", value), ("cache-control", "s-maxage=60")]));
        let sent = bench.fill(value);
        for _ in 0..2 {
            assert_eq!(bench.get(&path).await.get("expires"), Some(&*sent));
        }
        assert_eq!(bench.last_use(&path, 2), Use::Reused);
    }
}
