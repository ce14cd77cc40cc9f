//! Conditions, confirmations, and headers brought up to date.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use proptest::prelude::*;

const DAY: &str = "Tue, 01 Sep 2026 10:00:00 GMT";
const NEXT: &str = "Tue, 01 Sep 2026 10:00:01 GMT";

fn answer(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut header = ResponseHeader::build_no_case(status, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, *value).unwrap();
    }
    header
}

#[test]
fn a_request_is_conditional_on_both_validators() {
    let fields = conditional_fields(&answer(200, &[("etag", "W/\"a\""), ("last-modified", DAY)]));
    assert_eq!(
        (&fields["if-none-match"], &fields["if-modified-since"]),
        (&"W/\"a\"".parse().unwrap(), &DAY.parse().unwrap())
    );
    for fields in [
        &[][..],
        &[("etag", "a")],
        &[("etag", "\"a")],
        &[("etag", "\"a\"b\"")],
        &[("last-modified", "yesterday")],
    ] {
        assert!(conditional_fields(&answer(200, fields)).is_empty(), "{fields:?}");
    }
}

#[test]
fn a_confirmation_bears_on_the_answer_that_it_names() {
    let (a, b) = (("etag", "\"a\""), ("etag", "\"b\""));
    let (weak_a, weak_b) = (("etag", "W/\"a\""), ("etag", "W/\"b\""));
    let (day, next, date) = (("last-modified", DAY), ("last-modified", NEXT), ("date", NEXT));
    for (stored, received, confirmed) in [
        (&[a][..], &[a][..], true),
        (&[a], &[b], false),
        (&[a, day], &[a, next], true),
        (&[a, day], &[b, day], false),
        // A strong tag identifies what was stored with the same strong one.
        (&[weak_a], &[a], false),
        (&[a], &[weak_a], true),
        (&[weak_a], &[weak_a], true),
        (&[weak_a], &[weak_b], false),
        (&[day], &[day], true),
        (&[day], &[next], false),
        (&[a, day], &[day], true),
        (&[a, day], &[next], false),
        (&[a], &[day], false),
        (&[day, date], &[a, day], true),
        (&[day, ("date", DAY)], &[a, day], false),
        (&[day], &[weak_a, day], true),
        (&[day], &[weak_a, next], false),
        (&[a, day], &[], true),
        (&[], &[], true),
        (&[], &[a], false),
    ] {
        assert_eq!(
            confirms(&answer(200, stored), &answer(304, received)),
            confirmed,
            "{stored:?} {received:?}"
        );
    }
}

#[test]
fn fields_of_a_confirmation_replace_the_stored_ones() {
    let stored = answer(
        200,
        &[
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("content-type", "text/plain"),
            ("etag", "W/\"a\""),
            ("vary", "accept-encoding"),
            ("x-old", "1"),
            ("x-new", "1"),
            ("x-new", "2"),
            ("date", DAY),
        ],
    );
    let received = answer(
        304,
        &[
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("content-range", "bytes 0-1/2"),
            ("content-type", "text/html"),
            ("etag", "\"a\""),
            ("vary", "cookie"),
            ("set-cookie", "a=b"),
            ("x-new", "3"),
            ("x-new", "4"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("x-user", "me"),
            ("cache-control", "max-age=60, private=\"x-user\""),
            ("age", "7"),
        ],
    );
    let merged = merge_confirmed(&stored, &received);
    assert_eq!(merged.status, 200);
    for (name, values) in [
        ("content-length", &["5"][..]),
        ("content-encoding", &["gzip"]),
        ("content-range", &[]),
        ("content-type", &["text/html"]),
        ("etag", &["\"a\""]),
        ("vary", &["accept-encoding"]),
        ("set-cookie", &[]),
        ("x-old", &["1"]),
        ("x-new", &["3", "4"]),
        ("x-hop", &[]),
        ("x-user", &[]),
        ("cache-control", &["max-age=60, private=\"x-user\""]),
        ("age", &["7"]),
        // The old date would make the object as old as it was.
        ("date", &[]),
    ] {
        let found: Vec<_> = merged.headers.get_all(name).iter().collect();
        assert_eq!(found, values, "{name}");
    }
    assert_eq!(merge_confirmed(&stored, &answer(304, &[("date", NEXT)])).headers["date"], NEXT);
}

#[test]
fn a_confirmation_that_says_nothing_of_freshness_renews_the_old_lifetime() {
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let held = Lifetime {
        created: at(100),
        fresh_until: at(700),
        span: Duration::from_secs(600),
        from_coming: false,
        stale_while_revalidate: Duration::from_secs(3),
        stale_if_error: Duration::from_secs(4),
        strict: true,
        immutable: true,
        purged: None,
    };
    let judged = Lifetime {
        created: at(900),
        fresh_until: at(905),
        span: Duration::from_secs(5),
        from_coming: false,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        strict: false,
        immutable: false,
        purged: None,
    };
    let renewed = |held: &Lifetime, fields: &[(&'static str, &str)], by_rule| {
        confirmed_lifetime(held, judged, &answer(304, fields), by_rule, at(950))
    };
    let anew = Lifetime { created: at(900), fresh_until: at(1500), ..held };
    for held in [held, held.purged(at(101))] {
        assert_eq!(renewed(&held, &[("etag", "\"a\"")], false), anew);
    }
    assert_eq!(renewed(&held, &[], true), judged);
    for name in ["cache-control", "expires", "cdn-cache-control", "forebay-cache-control"] {
        assert_eq!(renewed(&held, &[(name, "")], false), judged, "{name}");
    }
    // A time of the node's own counts from when the confirmation came, less the time that it lay in caches.
    let own = Lifetime { from_coming: true, ..held };
    assert_eq!(renewed(&own, &[], false).fresh_until, at(950 + 600));
    assert_eq!(renewed(&own, &[("age", "20")], false).fresh_until, at(950 + 580));
    // What was stale when it came, or was purged since, is fresh for as long as was named, and no longer.
    for fresh_until in [100, 400] {
        let late = Lifetime { fresh_until: at(fresh_until), ..held };
        assert_eq!(renewed(&late, &[], false), anew, "{fresh_until}");
    }
    let never = Lifetime { created: at(100), fresh_until: at(101), span: Duration::ZERO, ..held };
    assert_eq!(renewed(&never, &[], false).fresh_until, at(900));
}

#[test]
fn an_answer_to_head_updates_or_ends_what_is_stored() {
    let stored = answer(200, &[("etag", "\"a\""), ("last-modified", DAY), ("content-length", "5")]);
    for (status, fields, update) in [
        (200, &[("etag", "\"a\""), ("last-modified", DAY), ("content-length", "5")][..], HeadUpdate::Update),
        (200, &[("etag", "\"a\"")], HeadUpdate::Update),
        (200, &[("content-length", "5")], HeadUpdate::Update),
        (200, &[], HeadUpdate::Update),
        (200, &[("etag", "\"b\"")], HeadUpdate::Stale),
        (200, &[("etag", "W/\"a\"")], HeadUpdate::Stale),
        (200, &[("etag", "\"a\""), ("last-modified", NEXT)], HeadUpdate::Stale),
        (200, &[("etag", "\"a\""), ("content-length", "6")], HeadUpdate::Stale),
        (404, &[("etag", "\"b\"")], HeadUpdate::Unrelated),
        (304, &[("etag", "\"a\"")], HeadUpdate::Unrelated),
    ] {
        assert_eq!(head_updates(&stored, &answer(status, fields)), update, "{status} {fields:?}");
    }
    let bare = answer(200, &[]);
    assert_eq!(head_updates(&bare, &answer(200, &[("etag", "\"a\"")])), HeadUpdate::Stale);
    assert_eq!(head_updates(&answer(404, &[]), &bare), HeadUpdate::Unrelated);
}

#[test]
fn what_was_changed_before_it_was_kept_is_confirmed_by_the_origins_own_tag() {
    for (kept, named, same) in [
        ("\"a-fb000000000000002a\"", "\"a\"", true),
        ("W/\"a-fb000000000000002a\"", "\"a\"", false),
        ("W/\"a-fb000000000000002a\"", "W/\"a\"", true),
        ("\"a-fb000000000000002a\"", "\"a-fb000000000000002a\"", true),
        ("\"a-fb000000000000002a\"", "\"b\"", false),
        ("\"a-fb2a\"", "\"a\"", false),
    ] {
        let stored = answer(200, &[("etag", kept), ("content-length", "5"), ("x-note", "old")]);
        let told = [("etag", named), ("last-modified", NEXT), ("repr-digest", "x"), ("x-note", "new")];
        let received = answer(304, &told);
        assert_eq!(confirms(&stored, &received), same, "{kept} {named}");
        if same && kept != named {
            let merged = merge_confirmed(&stored, &received);
            assert_eq!(merged.headers.get("etag").unwrap(), kept);
            assert_eq!(
                (merged.headers.get("last-modified"), merged.headers.get("repr-digest")),
                (None, None)
            );
            assert_eq!(merged.headers.get("x-note").unwrap(), "new");
            let head = answer(200, &[("etag", named), ("last-modified", NEXT), ("content-length", "9")]);
            assert_eq!(head_updates(&stored, &head), HeadUpdate::Update);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange_for_a_validator(
        stored in prop::collection::vec((0..5_usize, prop::collection::vec(any::<u8>(), 0..20)), 0..5),
        received in prop::collection::vec((0..5_usize, prop::collection::vec(any::<u8>(), 0..20)), 0..5),
    ) {
        let header = |status, fields: Vec<(usize, Vec<u8>)>| {
            let mut header = answer(status, &[]);
            for (name, bytes) in fields {
                let name = ["etag", "last-modified", "date", "connection", "cache-control"][name];
                if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                    header.append_header(name, value).unwrap();
                }
            }
            header
        };
        let (stored, received) = (header(200, stored), header(304, received));
        let _ = conditional_fields(&stored);
        let _ = confirms(&stored, &received);
        let _ = head_updates(&stored, &received);
        let _ = merge_confirmed(&stored, &received);
    }
}
