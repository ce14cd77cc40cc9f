#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::single_range_in_vec_init, reason = "a part is a range")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Ranges that the tests allow.
const MOST: usize = 16;

fn parts(field: &str, len: u64) -> RangeRequest {
    parse(field, len, MOST)
}

#[test]
fn each_form_asks_for_its_bytes() {
    let part = |start, end| RangeRequest::Parts(vec![start..end]);
    for (field, len, expected) in [
        ("bytes=0-0", 10, part(0, 1)),
        ("bytes=2-5", 10, part(2, 6)),
        ("Bytes=2-500", 10, part(2, 10)),
        ("bytes= 2-5 ", 10, part(2, 6)),
        ("bytes=9-", 10, part(9, 10)),
        ("bytes=-3", 10, part(7, 10)),
        ("bytes=-30", 10, part(0, 10)),
        ("bytes=-0", 10, RangeRequest::Unsatisfiable),
        ("bytes=-0", 0, RangeRequest::Unsatisfiable),
        ("bytes=-5", 0, RangeRequest::Whole),
        ("bytes=0-", 0, RangeRequest::Unsatisfiable),
        ("bytes=10-", 10, RangeRequest::Unsatisfiable),
        ("bytes=0-18446744073709551615", 10, part(0, 10)),
        ("bytes=0-99999999999999999999999", 10, part(0, 10)),
        ("bytes=5-2", 10, RangeRequest::Whole),
        ("bytes=", 10, RangeRequest::Whole),
        ("bytes=,", 10, RangeRequest::Whole),
        ("bytes=a-b", 10, RangeRequest::Whole),
        ("bytes=+1-2", 10, RangeRequest::Whole),
        ("bytes=1 - 2", 10, RangeRequest::Whole),
        ("bytes =1-2", 10, RangeRequest::Whole),
        ("bytes=--1", 10, RangeRequest::Whole),
        ("bytes=0-1-2", 10, RangeRequest::Whole),
        ("items=0-1", 10, RangeRequest::Whole),
        ("bytes", 10, RangeRequest::Whole),
        ("", 10, RangeRequest::Whole),
    ] {
        assert_eq!(parts(field, len), expected, "{field} of {len}");
    }
}

#[test]
fn several_ranges_are_joined_where_they_touch_and_keep_their_order() {
    for (field, expected) in [
        ("bytes=0-1,3-4", vec![0..2, 3..5]),
        ("bytes=8-9,0-1", vec![8..10, 0..2]),
        ("bytes=0-1,2-3", vec![0..4]),
        ("bytes=0-5,2-3", vec![0..6]),
        ("bytes=6-7,0-1,4-5", vec![4..8, 0..2]),
        ("bytes=0-1,6-7,2-5", vec![0..8]),
        ("bytes=0-0, ,-1,", vec![0..1, 9..10]),
        ("bytes=0-0,50-60,5-5", vec![0..1, 5..6]),
        ("bytes=50-60,5-5,-0", vec![5..6]),
    ] {
        assert_eq!(parts(field, 10), RangeRequest::Parts(expected), "{field}");
    }
    assert_eq!(parts("bytes=10-,50-60,-0", 10), RangeRequest::Unsatisfiable);
    assert_eq!(parts("bytes=0-0,x", 10), RangeRequest::Whole, "one that is malformed spoils all");
}

#[test]
fn more_ranges_than_the_limit_are_ignored() {
    assert_eq!(parse("bytes=0-0,2-2", 10, 2), RangeRequest::Parts(vec![0..1, 2..3]));
    assert_eq!(parse("bytes=0-0,2-2,4-4", 10, 2), RangeRequest::Whole);
    assert_eq!(parse("bytes=0-0,90-,90-", 10, 2), RangeRequest::Whole, "those that select nothing count");
    assert_eq!(first_byte("bytes=5-5,7-7,9-9", 2), None);
}

#[test]
fn the_first_byte_asked_for_is_known_without_the_length() {
    for (field, expected) in [
        ("bytes=0-", None),
        ("bytes=0-0", Some(0)),
        ("bytes=5-", Some(5)),
        ("bytes=5-9", Some(5)),
        ("bytes=-5", Some(0)),
        ("bytes= -5", Some(0)),
        ("bytes=-0", None),
        ("bytes=9-5", None),
        ("bytes=7-8,3-4", Some(3)),
        ("bytes=-5,7-8", Some(7)),
        ("bytes=-5,-9", Some(0)),
        ("bytes=7-8,0-", None),
        ("items=5-", None),
        ("bytes=18446744073709551615-", None),
    ] {
        assert_eq!(first_byte(field, MOST), expected, "{field}");
    }
}

/// The bytes that one range selects, counted one by one.
fn counted(spec: Spec, len: u64) -> BTreeSet<u64> {
    let selects = |byte: &u64| match spec {
        Spec::From(first) => *byte >= first,
        Spec::Bounded(first, last) => (first..=last).contains(byte),
        Spec::Suffix(bytes) => *byte + bytes >= len,
    };
    (0..len).filter(selects).collect()
}

fn any_spec() -> impl Strategy<Value = Spec> {
    prop_oneof![
        (0u64..60).prop_map(Spec::From),
        (0u64..60, 0u64..20).prop_map(|(first, more)| Spec::Bounded(first, first + more)),
        (0u64..60).prop_map(Spec::Suffix),
    ]
}

fn written(specs: &[Spec]) -> String {
    let texts = specs.iter().map(|spec| match spec {
        Spec::From(first) => format!("{first}-"),
        Spec::Bounded(first, last) => format!("{first}-{last}"),
        Spec::Suffix(bytes) => format!("-{bytes}"),
    });
    format!("bytes={}", texts.collect::<Vec<_>>().join(", "))
}

proptest! {
    #[test]
    fn parts_agree_with_counting(asked in prop::collection::vec(any_spec(), 1..8), len in 0u64..50) {
        let expected: BTreeSet<u64> = asked.iter().flat_map(|spec| counted(*spec, len)).collect();
        match parts(&written(&asked), len) {
            RangeRequest::Parts(parts) => {
                let sent: Vec<u64> = parts.iter().cloned().flatten().collect();
                prop_assert_eq!(sent.len(), expected.len(), "no byte twice");
                prop_assert_eq!(&sent.into_iter().collect::<BTreeSet<_>>(), &expected);
                for part in &parts {
                    prop_assert!(part.start < part.end && part.end <= len);
                    prop_assert!(parts.iter().all(|other| other.end != part.start), "touching parts are one");
                }
                // Each part stands where its foremost range was asked for.
                let place = |part: &Range<u64>| {
                    asked.iter().position(|spec| counted(*spec, len).iter().any(|byte| part.contains(byte)))
                };
                prop_assert!(parts.iter().map(place).is_sorted());
            }
            RangeRequest::Unsatisfiable => prop_assert!(expected.is_empty()),
            RangeRequest::Whole => {
                prop_assert!(len == 0 && asked.iter().any(|spec| matches!(spec, Spec::Suffix(1..))));
            }
        }
    }

    #[test]
    fn arbitrary_fields_give_parts_within_the_body(field in "bytes=[0-9, -]{0,40}", len: u64) {
        if let RangeRequest::Parts(parts) = parts(&field, len) {
            prop_assert!(!parts.is_empty() && parts.len() <= MOST);
            prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= len));
        }
    }

    #[test]
    fn the_first_byte_is_the_lowest_that_is_sent(asked in prop::collection::vec(any_spec(), 1..8)) {
        // Long enough that every range is satisfied, and that no suffix reaches a named range.
        let len = 1_000_000;
        let named = asked.iter().any(|spec| !matches!(spec, Spec::Suffix(_)));
        match (parts(&written(&asked), len), first_byte(&written(&asked), MOST)) {
            (RangeRequest::Parts(parts), Some(first)) if named => {
                prop_assert_eq!(parts.iter().map(|part| part.start).min(), Some(first));
            }
            (RangeRequest::Parts(parts), None) => prop_assert_eq!(parts, vec![0..len]),
            (RangeRequest::Parts(_), first) => prop_assert_eq!(first, Some(0)),
            (RangeRequest::Unsatisfiable, first) => prop_assert_eq!(first, None),
            (RangeRequest::Whole, _) => prop_assert!(false),
        }
    }
}
