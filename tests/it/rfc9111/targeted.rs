//! Fields for caches like this one (RFC 9213).
//!
//! | section | requirement | test |
//! |---|---|---|
//! | 2.1 | a dictionary of structured fields; what is none is ignored | `a_targeted_field_is_a_dictionary` |
//! | 2.2 | the first valid field of the target list decides, `Cache-Control` and `Expires` do not | `a_targeted_field_decides` |
//! | 2.2 | an empty or invalid field is passed over | `a_targeted_field_is_a_dictionary` |
//! | 3 | `CDN-Cache-Control` is passed on | `the_field_for_networks_is_passed_on` |

use super::{Answer, Bench, Fetched, Reused, Row, Validated};

#[tokio::test]
async fn a_targeted_field_decides() {
    let rows: &[Row] = &[
        ("alone", &[("cdn-cache-control", "max-age=3600")], Reused),
        (
            "over a smaller one",
            &[("cdn-cache-control", "max-age=3600"), ("cache-control", "max-age=0")],
            Reused,
        ),
        (
            "over a larger one",
            &[("cdn-cache-control", "max-age=0"), ("cache-control", "max-age=3600")],
            Fetched,
        ),
        ("over s-maxage", &[("cdn-cache-control", "max-age=0"), ("cache-control", "s-maxage=3600")], Fetched),
        ("over no-store", &[("cdn-cache-control", "max-age=3600"), ("cache-control", "no-store")], Reused),
        ("over private", &[("cdn-cache-control", "max-age=3600"), ("cache-control", "private")], Reused),
        ("over no-cache", &[("cdn-cache-control", "max-age=3600"), ("cache-control", "no-cache")], Reused),
        ("no-store", &[("cdn-cache-control", "no-store"), ("cache-control", "max-age=3600")], Fetched),
        ("private", &[("cdn-cache-control", "private"), ("cache-control", "max-age=3600")], Fetched),
        (
            "no-cache",
            &[("cdn-cache-control", "no-cache"), ("cache-control", "max-age=3600"), ("etag", "\"a\"")],
            Validated,
        ),
        ("s-maxage in it", &[("cdn-cache-control", "s-maxage=3600"), ("cache-control", "max-age=0")], Reused),
        (
            "over Expires in the past",
            &[("cdn-cache-control", "max-age=3600"), ("expires", "{now-60}")],
            Reused,
        ),
        (
            "over Expires in the future",
            &[("cdn-cache-control", "max-age=0"), ("expires", "{now+60}")],
            Fetched,
        ),
        (
            "Expires does not stand in for a time that it does not name",
            &[("cdn-cache-control", "must-revalidate"), ("expires", "{now+3600}")],
            Fetched,
        ),
        (
            "Cache-Control does not stand in for a time that it does not name",
            &[("cdn-cache-control", "must-revalidate"), ("cache-control", "max-age=3600")],
            Fetched,
        ),
        ("Age counts", &[("cdn-cache-control", "max-age=3600"), ("age", "3600")], Fetched),
        ("the name is case-insensitive", &[("CDN-Cache-Control", "max-age=3600")], Reused),
    ];
    Bench::start().await.hold(rows).await;
}

#[tokio::test]
async fn a_targeted_field_is_a_dictionary() {
    const OTHER: (&str, &str) = ("cache-control", "max-age=0");
    let rows: &[Row] = &[
        ("several members", &[("cdn-cache-control", "public, max-age=3600"), OTHER], Reused),
        (
            "two lines",
            &[("cdn-cache-control", "public"), ("cdn-cache-control", "max-age=3600"), OTHER],
            Reused,
        ),
        ("parameters are ignored", &[("cdn-cache-control", "max-age=3600;foo=bar"), OTHER], Reused),
        (
            "unknown members are ignored",
            &[("cdn-cache-control", "foo=\"a, b\", max-age=3600"), OTHER],
            Reused,
        ),
        ("the last of two counts: large", &[("cdn-cache-control", "max-age=0, max-age=3600"), OTHER], Reused),
        ("the last of two counts: 0", &[("cdn-cache-control", "max-age=3600, max-age=0"), OTHER], Fetched),
        ("a large number", &[("cdn-cache-control", "max-age=2147483648"), OTHER], Reused),
        ("capitals make it invalid", &[("cdn-cache-control", "MAX-AGE=3600"), OTHER], Fetched),
        (
            "blank before the sign of equality makes it invalid",
            &[("cdn-cache-control", "max-age =3600"), OTHER],
            Fetched,
        ),
        ("a comma at the end makes it invalid", &[("cdn-cache-control", "max-age=3600,"), OTHER], Fetched),
        (
            "what is no dictionary makes it invalid",
            &[("cdn-cache-control", "max-age=3600, &&&&"), OTHER],
            Fetched,
        ),
        ("single quotes make it invalid", &[("cdn-cache-control", "max-age='3600'"), OTHER], Fetched),
        (
            "an empty field is passed over",
            &[("cdn-cache-control", ""), ("cache-control", "max-age=3600")],
            Reused,
        ),
        (
            "an invalid one, too",
            &[("cdn-cache-control", "max-age=,"), ("cache-control", "max-age=3600")],
            Reused,
        ),
        (
            "an invalid one with no-store",
            &[("cdn-cache-control", "no-store,,"), ("cache-control", "max-age=3600")],
            Reused,
        ),
        ("a string is no number", &[("cdn-cache-control", "max-age=\"3600\""), OTHER], Fetched),
        ("a decimal is no number of seconds", &[("cdn-cache-control", "max-age=3600.5"), OTHER], Fetched),
        ("a negative number", &[("cdn-cache-control", "max-age=-3600"), OTHER], Fetched),
    ];
    Bench::start().await.hold(rows).await;
}

/// The list of this cache: the field under its own name comes first.
#[tokio::test]
async fn the_target_list_is_kept_to() {
    let rows: &[Row] = &[
        ("its own", &[("forebay-cache-control", "max-age=3600"), ("cache-control", "max-age=0")], Reused),
        (
            "before that of networks",
            &[("forebay-cache-control", "max-age=3600"), ("cdn-cache-control", "no-store")],
            Reused,
        ),
        (
            "also as a prohibition",
            &[("forebay-cache-control", "no-store"), ("cdn-cache-control", "max-age=3600")],
            Fetched,
        ),
        (
            "an invalid one is passed over",
            &[("forebay-cache-control", "MAX-AGE=0,"), ("cdn-cache-control", "max-age=3600")],
            Reused,
        ),
        (
            "others' names mean nothing",
            &[("other-cache-control", "max-age=0"), ("cache-control", "max-age=3600")],
            Reused,
        ),
    ];
    Bench::start().await.hold(rows).await;
}

#[tokio::test]
async fn the_field_for_networks_is_passed_on() {
    let bench = Bench::start().await;
    let answer = Answer::ok("b").header("cdn-cache-control", "max-age=3600").cache_control("max-age=5");
    bench.origin.on("/page", answer);
    for _ in 0..2 {
        let response = bench.get("/page").await;
        assert_eq!(response.get("cdn-cache-control"), Some("max-age=3600"));
        assert_eq!(response.get("cache-control"), Some("max-age=5"));
    }
}

/// Stale windows and prohibitions of a targeted field hold as those of `Cache-Control`.
#[tokio::test]
async fn directives_of_a_targeted_field_mean_the_same() {
    let mut bench = Bench::start().await;
    bench
        .origin
        .on("/bridged", Answer::ok("old").header("cdn-cache-control", "max-age=60, stale-if-error=600"));
    let strict = Answer::ok("old").header("cdn-cache-control", "max-age=60, must-revalidate");
    bench.origin.on("/strict", strict.cache_control("max-age=60, stale-if-error=600"));
    for path in ["/bridged", "/strict"] {
        bench.get(path).await;
    }
    bench.advance(100);
    bench.origin.stop().await;
    assert_eq!(bench.get("/bridged").await.whole(), "old");
    assert!(matches!(bench.get("/strict").await.status(), 502..=504));
}
