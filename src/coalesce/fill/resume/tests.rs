#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

const DATE: &str = "Tue, 01 Sep 2026 10:00:00 GMT";

fn header(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut header = ResponseHeader::build(status, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, *value).unwrap();
    }
    header
}

fn now() -> SystemTime {
    httpdate::parse_http_date(DATE).unwrap() + Duration::from_secs(60)
}

/// A body of 10 bytes with this validator, of which 4 have come.
fn broken_with(name: &'static str, validator: &str, framing: Framing) -> Place {
    let mut place = Place::of(&header(200, &[(name, validator)]), framing, now());
    assert_eq!(place.take(Bytes::from_static(b"0123")), "0123");
    place
}

fn broken() -> Place {
    broken_with("etag", "\"a\"", Framing::Length(10))
}

#[test]
fn only_a_strong_validator_of_a_whole_answer_lets_a_body_go_on() {
    let may = |status, fields: &[(&'static str, &str)]| {
        Place::of(&header(status, fields), Framing::Length(10), now()).may_go_on(3)
    };
    assert!(may(200, &[("etag", "\"a\"")]));
    assert!(may(200, &[("last-modified", DATE)]));
    for (status, fields) in [
        (200, &[][..]),
        (200, &[("etag", "W/\"a\"")]),
        (200, &[("last-modified", DATE), ("date", DATE)]),
        (200, &[("etag", "\"a\""), ("content-encoding", "gzip")]),
        (404, &[("etag", "\"a\"")]),
        (206, &[("etag", "\"a\"")]),
    ] {
        assert!(!may(status, fields), "{status} {fields:?}");
    }
    assert!(!Place::of(&header(200, &[("etag", "\"a\"")]), Framing::Length(10), now()).may_go_on(0));
}

#[test]
fn what_is_asked_for_is_what_is_missing() {
    assert_eq!(broken().wanted(), "bytes=4-");
    // Word of the end may be all that is missing: the last byte that came is asked for again.
    assert_eq!(broken_with("etag", "\"a\"", Framing::Chunked).wanted(), "bytes=3-");
    let version = Version { len: 100, validator: HeaderValue::from_static("\"a\""), epoch: 1 };
    let mut slice = Place::of_part(&version, 40, 60);
    slice.take(Bytes::from_static(b"01234"));
    assert_eq!(slice.wanted(), "bytes=45-59");
}

#[test]
fn a_part_is_joined_only_where_it_continues_what_has_come() {
    let rest = |place: &Place, fields: &[(&'static str, &str)], len| {
        place.rest_in(&header(206, fields), Framing::Length(len))
    };
    let joined = Rest { total: Some(10), until: Some(10), behind: 0 };
    let same = ("etag", "\"a\"");
    assert_eq!(rest(&broken(), &[same, ("content-range", "bytes 4-9/10")], 6), Ok(joined));
    let shorter = Rest { until: Some(8), ..joined };
    assert_eq!(rest(&broken(), &[same, ("content-range", "bytes 4-7/10")], 4), Ok(shorter));
    for (fields, len, why) in [
        (vec![same, ("content-range", "bytes 3-9/10")], 7, NoRest::Refused),
        (vec![same, ("content-range", "bytes 5-9/10")], 5, NoRest::Refused),
        (vec![same, ("content-range", "bytes 4-9/10")], 5, NoRest::Refused),
        (vec![same, ("content-range", "bytes 4-9/*")], 6, NoRest::Refused),
        (vec![same], 6, NoRest::Refused),
        (vec![same, ("content-range", "bytes 4-10/11")], 7, NoRest::Changed),
        (vec![("etag", "\"b\""), ("content-range", "bytes 4-9/10")], 6, NoRest::Changed),
        (vec![("etag", "W/\"a\""), ("content-range", "bytes 4-9/10")], 6, NoRest::Changed),
        (vec![("content-range", "bytes 4-9/10")], 6, NoRest::Changed),
        (vec![same, ("content-range", "bytes 4-9/10"), ("content-encoding", "gzip")], 6, NoRest::Changed),
    ] {
        assert_eq!(rest(&broken(), &fields, len), Err(why), "{fields:?}");
    }
    let dated = broken_with("last-modified", DATE, Framing::Length(10));
    let part = ("content-range", "bytes 4-9/10");
    assert_eq!(rest(&dated, &[part], 6), Ok(joined), "a date need not be repeated");
    let later = ("last-modified", "Tue, 01 Sep 2026 10:00:01 GMT");
    assert_eq!(rest(&dated, &[later, part], 6), Err(NoRest::Changed));
}

#[test]
fn a_whole_answer_is_read_again_only_if_it_says_that_it_is_the_same() {
    let whole = |place: &Place, fields: &[(&'static str, &str)], framing| {
        place.rest_in(&header(200, fields), framing)
    };
    let same = [("etag", "\"a\"")];
    let again = Rest { total: Some(10), until: Some(10), behind: 4 };
    assert_eq!(whole(&broken(), &same, Framing::Length(10)), Ok(again));
    assert_eq!(whole(&broken(), &same, Framing::Chunked), Ok(again));
    assert_eq!(whole(&broken(), &same, Framing::Length(11)), Err(NoRest::Changed));
    assert_eq!(whole(&broken(), &same, Framing::Close), Err(NoRest::Refused));
    assert_eq!(whole(&broken(), &[], Framing::Length(10)), Err(NoRest::Changed));
    let dated = broken_with("last-modified", DATE, Framing::Length(10));
    assert_eq!(whole(&dated, &[], Framing::Length(10)), Err(NoRest::Changed), "a date must be there");
    assert_eq!(whole(&dated, &[("last-modified", DATE)], Framing::Length(10)), Ok(again));
    let untold = broken_with("etag", "\"a\"", Framing::Chunked);
    assert_eq!(whole(&untold, &same, Framing::Chunked), Ok(Rest { total: None, until: None, behind: 4 }));
    assert_eq!(whole(&untold, &same, Framing::Length(3)), Err(NoRest::Changed), "shorter than what came");
}

#[test]
fn another_tag_tells_of_another_version_even_if_it_is_weak() {
    let tagged = |tag: &str| header(206, &[("etag", tag)]);
    let none = header(206, &[]);
    assert!(is_retagged(&tagged("W/\"a\""), &tagged("W/\"b\"")));
    assert!(!is_retagged(&tagged("W/\"a\""), &tagged("W/\"a\"")));
    assert!(!is_retagged(&tagged("W/\"a\""), &none) && !is_retagged(&none, &tagged("\"a\"")));
}

#[test]
fn what_is_left_out_of_one_body_is_bounded() {
    let version = |at: u64| {
        let len = 10 * LEFT_OUT_BYTES_MAX;
        Place::of_part(&Version { len, validator: HeaderValue::from_static("\"a\""), epoch: 1 }, at, len)
    };
    let whole = |place: &Place| {
        place.rest_in(&header(200, &[("etag", "\"a\"")]), Framing::Length(10 * LEFT_OUT_BYTES_MAX))
    };
    assert!(whole(&version(LEFT_OUT_BYTES_MAX)).is_ok());
    assert_eq!(whole(&version(LEFT_OUT_BYTES_MAX + 1)), Err(NoRest::Refused));
    let mut place = version(LEFT_OUT_BYTES_MAX);
    place.left_out = 1;
    assert_eq!(whole(&place), Err(NoRest::Refused));
}

#[test]
fn errors_may_pass_and_refusals_do_not() {
    for (status, why) in [
        (500, NoRest::Error),
        (503, NoRest::Error),
        (429, NoRest::Error),
        (408, NoRest::Error),
        (416, NoRest::Refused),
        (404, NoRest::Refused),
        (302, NoRest::Refused),
    ] {
        assert_eq!(broken().rest_in(&header(status, &[]), Framing::Length(0)), Err(why), "{status}");
    }
}

#[test]
fn attempts_count_in_a_row_and_in_all() {
    let mut place = broken();
    (place.idle, place.attempts) = (3, 3);
    assert!(!place.may_go_on(3) && place.may_go_on(4));
    place.take(Bytes::from_static(b"4"));
    assert!(place.may_go_on(3), "a byte has come");
    place.attempts = RESUMES_MAX;
    assert!(!place.may_go_on(10));
}

proptest! {
    /// However answers are cut, and wherever they begin again, what is taken is each byte of the whole once, in order.
    #[test]
    fn what_is_taken_is_the_whole_once(
        len in 1_usize..200,
        told in any::<bool>(),
        answers in proptest::collection::vec((any::<bool>(), 0_usize..200, 1_usize..20), 0..40),
    ) {
        let whole: Vec<u8> = (0..len).map(|byte| u8::try_from(byte).unwrap()).collect();
        let framing = if told { Framing::Length(len as u64) } else { Framing::Chunked };
        let tag = ("etag", "\"a\"");
        let mut place = Place::of(&header(200, &[tag]), framing, UNIX_EPOCH);
        let mut taken = Vec::new();
        let mut start = 0;
        for (ranged, sent, piece) in answers.into_iter().chain([(true, 200, 7)]) {
            for data in whole[start..(start + sent).min(len)].chunks(piece) {
                taken.extend_from_slice(&place.take(Bytes::copy_from_slice(data)));
            }
            if place.is_at_end() {
                break;
            }
            start = if ranged { usize::try_from(place.first_wanted()).unwrap() } else { 0 };
            let range = format!("bytes {start}-{}/{len}", len - 1);
            let rest = if ranged {
                place.rest_in(&header(206, &[tag, ("content-range", &range)]), Framing::Length((len - start) as u64))
            } else {
                place.rest_in(&header(200, &[tag]), framing)
            };
            place.go_on_with(rest.unwrap());
        }
        for data in whole[start..].chunks(7) {
            taken.extend_from_slice(&place.take(Bytes::copy_from_slice(data)));
        }
        prop_assert_eq!(taken, whole);
    }
}
