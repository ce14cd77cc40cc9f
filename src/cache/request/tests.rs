//! Request directives, and what they make of a stored object.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use std::time::UNIX_EPOCH;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn obeyed(value: &str) -> RequestDirectives {
    RequestDirectives::of(&headers(&[("cache-control", value)]), true)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Made at 1000, fresh until 1060.
fn lifetime() -> Lifetime {
    Lifetime {
        created: UNIX_EPOCH + seconds(1000),
        fresh_until: UNIX_EPOCH + seconds(1060),
        span: seconds(60),
        from_coming: false,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        strict: false,
        immutable: false,
        purged: None,
    }
}

fn at(lifetime: &Lifetime, age: u64, value: &str) -> Standing {
    standing(lifetime, &obeyed(value), lifetime.created + seconds(age))
}

#[test]
fn every_request_directive_is_read() {
    let read = RequestDirectives::of(
        &headers(&[
            ("cache-control", "Max-Age=60, max-stale=\"5\", min-fresh=7"),
            ("cache-control", "no-cache, no-store, only-if-cached, no-transform, x=\"y, z\""),
        ]),
        true,
    );
    let expected = RequestDirectives {
        max_age: Some(seconds(60)),
        max_stale: Some(seconds(5)),
        min_fresh: Some(seconds(7)),
        no_cache: true,
        no_store: true,
        only_if_cached: true,
    };
    assert_eq!(read, expected);
    assert_eq!(obeyed("max-stale").max_stale, Some(MAX_STALE_MAX));
    assert_eq!(obeyed("max-stale=99999999").max_stale, Some(MAX_STALE_MAX));
}

#[test]
fn what_cannot_be_read_never_makes_an_object_more_usable() {
    assert_eq!(obeyed("max-age=x").max_age, Some(Duration::ZERO));
    assert_eq!(obeyed("max-age=60, max-age=30").max_age, Some(seconds(30)));
    assert_eq!(obeyed("max-stale=x").max_stale, None);
    assert_eq!(obeyed("max-stale=").max_stale, None);
    assert_eq!(obeyed("max-stale x").max_stale, None);
    assert_eq!(obeyed("max-stale=60, max-stale=30").max_stale, Some(seconds(30)));
    assert_eq!(obeyed("max-stale, max-stale=30").max_stale, Some(seconds(30)));
    assert_eq!(obeyed("min-fresh=60, min-fresh=x, min-fresh=90").min_fresh, Some(seconds(90)));
}

#[test]
fn only_if_cached_counts_even_if_requests_are_not_obeyed() {
    let all = "max-age=0, max-stale, min-fresh=9, no-cache, no-store, only-if-cached";
    let read = RequestDirectives::of(&headers(&[("cache-control", all)]), false);
    assert_eq!(read, RequestDirectives { only_if_cached: true, ..RequestDirectives::default() });
    assert!(read.is_empty());
    let pragma = headers(&[("pragma", "no-cache")]);
    assert_eq!(RequestDirectives::of(&pragma, false), RequestDirectives::default());
}

#[test]
fn pragma_counts_only_without_cache_control() {
    let read = |fields: &[(&'static str, &str)]| RequestDirectives::of(&headers(fields), true).no_cache;
    assert!(read(&[("pragma", "No-Cache")]));
    assert!(read(&[("pragma", "x=\"y\", no-cache")]));
    assert!(!read(&[("pragma", "x=\"no-cache\"")]));
    assert!(!read(&[("pragma", "no-cache"), ("cache-control", "max-age=60")]));
    assert!(!read(&[("pragma", "no-cache"), ("cache-control", "")]));
}

#[test]
fn without_directives_freshness_alone_decides() {
    assert_eq!(at(&lifetime(), 59, ""), Standing::Usable);
    assert_eq!(at(&lifetime(), 60, ""), Standing::Validate);
    assert_eq!(at(&lifetime(), 59, "only-if-cached"), Standing::Usable);
}

#[test]
fn max_age_is_the_greatest_age_that_is_taken() {
    assert_eq!(at(&lifetime(), 30, "max-age=30"), Standing::Usable);
    assert_eq!(at(&lifetime(), 31, "max-age=30"), Standing::Validate);
    assert_eq!(at(&lifetime(), 1, "max-age=0"), Standing::Validate);
    assert_eq!(at(&lifetime(), 61, "max-age=600"), Standing::Validate, "stale is stale");
    assert_eq!(at(&lifetime(), 70, "max-age=600, max-stale=60"), Standing::UsableStale);
    assert_eq!(at(&lifetime(), 70, "max-age=65, max-stale=60"), Standing::Validate);
}

#[test]
fn min_fresh_is_the_least_freshness_that_is_taken() {
    assert_eq!(at(&lifetime(), 30, "min-fresh=30"), Standing::Usable);
    assert_eq!(at(&lifetime(), 30, "min-fresh=31"), Standing::Validate);
    assert_eq!(at(&lifetime(), 61, "min-fresh=1, max-stale"), Standing::Validate);
}

#[test]
fn max_stale_is_the_longest_staleness_that_is_taken() {
    assert_eq!(at(&lifetime(), 70, "max-stale=10"), Standing::UsableStale);
    assert_eq!(at(&lifetime(), 71, "max-stale=10"), Standing::Validate);
    assert_eq!(at(&lifetime(), 60 + 24 * 3600, "max-stale"), Standing::UsableStale);
    assert_eq!(at(&lifetime(), 61 + 24 * 3600, "max-stale"), Standing::Validate);
    assert_eq!(at(&lifetime(), 30, "max-stale"), Standing::Usable);
}

#[test]
fn an_object_that_its_origin_forbids_to_serve_stale_is_not_served_by_max_stale() {
    let strict = Lifetime { strict: true, ..lifetime() };
    assert_eq!(at(&strict, 60, "max-stale"), Standing::Validate);
    assert_eq!(at(&strict, 30, "max-stale"), Standing::Usable);
}

#[test]
fn no_cache_has_the_origin_asked() {
    assert_eq!(at(&lifetime(), 1, "no-cache"), Standing::Validate);
    assert_eq!(at(&lifetime(), 1, "no-cache, max-stale"), Standing::Validate);
    let immutable = Lifetime { immutable: true, ..lifetime() };
    assert_eq!(at(&immutable, 1, "no-cache"), Standing::Validate);
}

#[test]
fn a_reload_does_not_validate_what_is_immutable_and_fresh() {
    let immutable = Lifetime { immutable: true, ..lifetime() };
    assert_eq!(at(&immutable, 30, "max-age=0"), Standing::Usable);
    assert_eq!(at(&immutable, 60, "max-age=0"), Standing::Validate);
    assert_eq!(at(&immutable, 61, "max-age=0, max-stale"), Standing::Validate);
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange_for_a_request(
        control in prop::collection::vec(any::<u8>(), 0..60),
        pragma in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut map = HeaderMap::new();
        for (name, bytes) in [(CACHE_CONTROL, control), (PRAGMA, pragma)] {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                map.append(name, value);
            }
        }
        let directives = RequestDirectives::of(&map, true);
        let _ = standing(&lifetime(), &directives, UNIX_EPOCH + seconds(1070));
    }

    /// No directive but `max-stale` makes usable what is stale, and none lets more than its own time pass.
    #[test]
    fn nothing_stale_is_usable_without_max_stale(
        age in 0_u64..200, max_age in proptest::option::of(0_u64..200),
        min_fresh in proptest::option::of(0_u64..200), max_stale in proptest::option::of(0_u64..200),
    ) {
        let directives = RequestDirectives {
            max_age: max_age.map(seconds), min_fresh: min_fresh.map(seconds), max_stale: max_stale.map(seconds),
            ..RequestDirectives::default()
        };
        let standing = standing(&lifetime(), &directives, lifetime().created + seconds(age));
        let fresh_for = 60_i64 - i64::try_from(age).unwrap();
        let taken = max_age.is_none_or(|most| age <= most)
            && min_fresh.is_none_or(|least| fresh_for >= i64::try_from(least).unwrap());
        let stale_for = u64::try_from(-fresh_for).unwrap_or_default();
        let expected = match () {
            () if taken && fresh_for > 0 => Standing::Usable,
            () if taken && max_stale.is_some_and(|most| stale_for <= most) => Standing::UsableStale,
            () => Standing::Validate,
        };
        prop_assert_eq!(standing, expected);
    }
}
