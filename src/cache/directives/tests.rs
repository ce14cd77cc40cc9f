//! What is read out of `Cache-Control` and of targeted fields.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use proptest::prelude::*;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn control(value: &str) -> Directives {
    Directives::of_cache_control(&headers(&[("cache-control", value)]))
}

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

fn names(names: &[&'static str]) -> Scope {
    Scope::Fields(names.iter().map(|name| HeaderName::from_static(name)).collect())
}

#[test]
fn every_directive_is_read_in_any_case_from_all_lines() {
    let read = Directives::of_cache_control(&headers(&[
        ("cache-control", "Max-Age=60, S-MAXAGE=\"90\" ,, must-revalidate,proxy-revalidate"),
        ("cache-control", ""),
        (
            "cache-control",
            "\tpublic, must-understand, no-transform, no-store, immutable, x-own=\"a, no-cache\"",
        ),
        ("cache-control", "stale-while-revalidate=5, stale-if-error=6"),
    ]));
    let expected = Directives {
        max_age: seconds(60),
        s_maxage: seconds(90),
        must_revalidate: true,
        proxy_revalidate: true,
        must_understand: true,
        no_store: true,
        no_transform: true,
        public: true,
        immutable: true,
        stale_while_revalidate: seconds(5),
        stale_if_error: seconds(6),
        ..Directives::default()
    };
    assert_eq!(read, expected);
    assert_eq!(control("private, no-cache").private, Scope::Whole);
    assert_eq!(control("private, no-cache").no_cache, Scope::Whole);
}

#[test]
fn unknown_directives_are_ignored() {
    for value in
        ["", " , ", "community=\"UCI\"", "maxage=5", "max_age=5", "=5", "\"max-age=5\"", "x=\"public"]
    {
        assert_eq!(control(value), Directives::default(), "{value}");
    }
}

#[test]
fn seconds_that_cannot_be_read_are_zero() {
    for value in [
        "max-age",
        "max-age=",
        "max-age=\"\"",
        "max-age=-1",
        "max-age=+1",
        "max-age=1.5",
        "max-age=1e3",
        "max-age=0x10",
        "max-age=soon",
        "max-age='60'",
        "max-age=60;x",
        "max-age=60 60",
        "max-age =60",
        "max-age= 60",
        "max-age 60",
        "max-age=\"60",
        "max-age=\"60\"1",
        "max-age=\"6 0\"",
        "max-age=6\u{660}",
    ] {
        assert_eq!(control(value).max_age, seconds(0), "{value}");
        let window = value.replace("max-age", "stale-if-error");
        assert_eq!(control(&window).stale_if_error, seconds(0), "{window}");
    }
    for value in ["max-age=0060", "max-age=\"60\"", "max-age=\"6\\0\"", " max-age=60\t", "MAX-AGE=60"] {
        assert_eq!(control(value).max_age, seconds(60), "{value}");
    }
}

#[test]
fn seconds_beyond_two_to_the_31_are_capped() {
    for value in ["2147483648", "2147483649", "4294967296", "18446744073709551616", &"9".repeat(400)] {
        assert_eq!(control(&format!("max-age={value}")).max_age, seconds(1 << 31), "{value}");
    }
    assert_eq!(control("max-age=2147483647").max_age, seconds((1 << 31) - 1));
}

#[test]
fn a_lifetime_named_twice_is_stale_unless_both_agree() {
    assert_eq!(control("max-age=60, max-age=60").max_age, seconds(60));
    assert_eq!(control("max-age=60, max-age=\"60\"").max_age, seconds(60));
    for value in
        ["max-age=60, max-age=30", "max-age=30, max-age=60", "max-age=60, max-age=x", "max-age=x, max-age=60"]
    {
        assert_eq!(control(value).max_age, seconds(0), "{value}");
    }
    let lines = headers(&[("cache-control", "s-maxage=60"), ("cache-control", "s-maxage=61")]);
    assert_eq!(Directives::of_cache_control(&lines).s_maxage, seconds(0));
    assert_eq!(control("stale-if-error=9, stale-if-error=5").stale_if_error, seconds(5));
}

#[test]
fn field_names_limit_no_cache_and_private() {
    assert_eq!(control("private=\"Set-Cookie, x-user\"").private, names(&["set-cookie", "x-user"]));
    assert_eq!(control("private=set-cookie").private, names(&["set-cookie"]));
    assert_eq!(control("no-cache=\"a\", no-cache=\"b\"").no_cache, names(&["a", "b"]));
    assert_eq!(control("no-cache=\"a\", no-cache").no_cache, Scope::Whole);
    assert_eq!(control("no-cache, no-cache=\"a\"").no_cache, Scope::Whole);
}

#[test]
fn a_limit_that_cannot_be_kept_is_none() {
    for value in [
        "private=",
        "private=\"\"",
        "private=\" , \"",
        "private=\"a b\"",
        "private=\"a",
        "private=\"a\" b",
        "private=\"content-type\"",
        "private=\"x, Vary\"",
        "private =\"a\"",
    ] {
        assert_eq!(control(value).private, Scope::Whole, "{value}");
    }
}

#[test]
fn a_malformed_member_restricts_and_permits_nothing() {
    assert!(control("no-store foo").no_store);
    assert!(control("no-store=1").no_store);
    assert!(control("must-revalidate=x").must_revalidate);
    assert!(!control("public foo").public);
    assert!(!control("public=x").public);
    assert!(!control("must-understand=x").must_understand);
    assert!(control("immutable=x").immutable, "its argument has no meaning");
    assert!(!control("immutable x").immutable);
}

#[test]
fn a_quoted_string_hides_what_is_in_it() {
    let read = control("x=\"no-store, \\\", private\", max-age=5");
    assert_eq!(read, Directives { max_age: seconds(5), ..Directives::default() });
    assert!(!control("x=\"a, no-store").no_store, "it has no end, and nothing after it is a directive");
}

#[test]
fn the_first_valid_targeted_field_decides() {
    let deciding = |fields: &[(&'static str, &str)]| {
        let deciding = Deciding::of(&headers(fields));
        (deciding.directives.max_age, deciding.targeted)
    };
    let (own, cdn, plain) = (
        ("forebay-cache-control", "max-age=1"),
        ("cdn-cache-control", "max-age=2"),
        ("cache-control", "max-age=3"),
    );
    assert_eq!(deciding(&[plain, cdn, own]), (seconds(1), true));
    assert_eq!(deciding(&[plain, cdn]), (seconds(2), true));
    assert_eq!(deciding(&[plain]), (seconds(3), false));
    for value in ["", " ", "max-age=", "Max-Age=60", "max-age=60,", "max-age=60 60", "&", "no-store, \u{e9}"]
    {
        assert_eq!(deciding(&[("forebay-cache-control", value), cdn, plain]), (seconds(2), true), "{value}");
        assert_eq!(deciding(&[("cdn-cache-control", value), plain]), (seconds(3), false), "{value}");
    }
    assert_eq!(deciding(&[("cdn-cache-control", "x-unknown"), plain]), (None, true), "valid, and not empty");
    assert_eq!(deciding(&[("surrogate-control", "max-age=9"), plain]), (seconds(3), false));
    assert_eq!(
        deciding(&[("cdn-cache-control", "max-age=4"), ("cdn-cache-control", "public")]),
        (seconds(4), true)
    );
}

#[test]
fn a_targeted_field_is_a_dictionary() {
    let read = |value: &str| Deciding::of(&headers(&[("cdn-cache-control", value)])).directives;
    assert_eq!(read("max-age=60;x=1, max-age=30").max_age, seconds(30), "the last of two members counts");
    assert_eq!(read("max-age=99999999999").max_age, seconds(1 << 31));
    for value in ["max-age=-1", "max-age=1.5", "max-age=\"60\"", "max-age", "max-age=?0", "max-age=(60)"] {
        assert_eq!(read(value).max_age, seconds(0), "{value}");
    }
    assert_eq!(read("private=\"x-user\"").private, names(&["x-user"]));
    assert_eq!(read("private=x-user").private, names(&["x-user"]));
    assert_eq!(read("private=(\"x-user\")").private, Scope::Whole);
    assert_eq!(read("no-cache, no-store;a=b, must-revalidate=?0").no_cache, Scope::Whole);
    assert!(read("no-store;a=b").no_store && read("must-revalidate=?0").must_revalidate);
    assert!(read("public").public && !read("public=?0").public);
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange_for_directives(
        lines in prop::collection::vec((0..3_usize, prop::collection::vec(any::<u8>(), 0..60)), 0..4),
    ) {
        let mut map = HeaderMap::new();
        for (field, bytes) in lines {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                map.append([CACHE_CONTROL, FOREBAY_CACHE_CONTROL, CDN_CACHE_CONTROL][field].clone(), value);
            }
        }
        let _ = Deciding::of(&map);
    }

    /// Whatever stands around it, a directive that forbids is heard, unless a quoted-string holds it.
    #[test]
    fn no_store_is_never_lost(before in "[a-z0-9=, ;-]{0,20}", after in "[a-z0-9=, \"\\\\;-]{0,20}") {
        let value = format!("{before}, no-store, {after}");
        prop_assert!(control(&value).no_store, "{}", value);
    }
}
