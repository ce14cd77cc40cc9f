//! Byte ranges (RFC 9110 section 14). Pure.

/// What a `Range` field asks of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeRequest {
    /// Nothing that is honoured: the whole is sent. Also for several ranges at once (section 14.2 leaves that open).
    Whole,
    /// The bytes from `start` to before `end`.
    Part {
        /// First byte.
        start: u64,
        /// Byte after the last.
        end: u64,
    },
    /// Nothing of the body (section 15.5.17).
    Unsatisfiable,
}

/// Reads a `Range` field against a body of `len` bytes. A field that is malformed or of another unit is ignored
/// (section 14.2).
pub fn parse(field: &str, len: u64) -> RangeRequest {
    let Some(spec) = field
        .split_once('=')
        .and_then(|(unit, spec)| unit.trim().eq_ignore_ascii_case("bytes").then(|| spec.trim()))
    else {
        return RangeRequest::Whole;
    };
    match spec.split_once('-') {
        Some(("", suffix)) => match number(suffix) {
            Some(0) => RangeRequest::Unsatisfiable,
            Some(_) if len == 0 => RangeRequest::Unsatisfiable,
            Some(suffix) => RangeRequest::Part { start: len.saturating_sub(suffix), end: len },
            None => RangeRequest::Whole,
        },
        Some((first, "")) => number(first).map_or(RangeRequest::Whole, |start| part(start, u64::MAX, len)),
        Some((first, last)) => match (number(first), number(last)) {
            (Some(start), Some(last)) if start <= last => part(start, last.saturating_add(1), len),
            _ => RangeRequest::Whole,
        },
        None => RangeRequest::Whole,
    }
}

/// The first byte that a `Range` field asks for, of an object of which nothing is known; None: it asks for all of it, or
/// for nothing that is honoured. For the last bytes of an object it is the first one, whose answer tells the length.
pub fn first_byte(field: &str) -> Option<u64> {
    let is_suffix = field.split_once('=').is_some_and(|(_, spec)| spec.trim_start().starts_with('-'));
    match parse(field, u64::MAX) {
        RangeRequest::Part { .. } if is_suffix => Some(0),
        RangeRequest::Part { start: 0, end: u64::MAX } => None,
        RangeRequest::Part { start, .. } => Some(start),
        RangeRequest::Whole | RangeRequest::Unsatisfiable => None,
    }
}

fn part(start: u64, end: u64, len: u64) -> RangeRequest {
    if start < len { RangeRequest::Part { start, end: end.min(len) } } else { RangeRequest::Unsatisfiable }
}

/// Digits alone; a number past 64 bits counts as the largest.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_form_asks_for_its_bytes() {
        let part = |start, end| RangeRequest::Part { start, end };
        for (field, len, expected) in [
            ("bytes=0-0", 10, part(0, 1)),
            ("bytes=2-5", 10, part(2, 6)),
            ("Bytes = 2-500", 10, RangeRequest::Part { start: 2, end: 10 }),
            ("bytes=9-", 10, part(9, 10)),
            ("bytes=-3", 10, part(7, 10)),
            ("bytes=-30", 10, part(0, 10)),
            ("bytes=-0", 10, RangeRequest::Unsatisfiable),
            ("bytes=-5", 0, RangeRequest::Unsatisfiable),
            ("bytes=0-", 0, RangeRequest::Unsatisfiable),
            ("bytes=10-", 10, RangeRequest::Unsatisfiable),
            ("bytes=0-18446744073709551615", 10, part(0, 10)),
            ("bytes=0-99999999999999999999999", 10, part(0, 10)),
            ("bytes=5-2", 10, RangeRequest::Whole),
            ("bytes=0-1,3-4", 10, RangeRequest::Whole),
            ("bytes=", 10, RangeRequest::Whole),
            ("bytes=a-b", 10, RangeRequest::Whole),
            ("bytes=+1-2", 10, RangeRequest::Whole),
            ("items=0-1", 10, RangeRequest::Whole),
            ("", 10, RangeRequest::Whole),
        ] {
            assert_eq!(parse(field, len), expected, "{field} of {len}");
        }
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
            ("bytes=0-1,3-4", None),
            ("items=5-", None),
            ("bytes=18446744073709551615-", None),
        ] {
            assert_eq!(first_byte(field), expected, "{field}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_body_and_is_never_empty(field in "bytes=[0-9]{0,22}-[0-9]{0,22}", len: u64) {
            if let RangeRequest::Part { start, end } = parse(&field, len) {
                prop_assert!(start < end && end <= len);
            }
        }

        #[test]
        fn first_and_last_agree_with_counting(first in 0u64..50, last in 0u64..50, len in 0u64..40) {
            let expected: Vec<u64> = (0..len).filter(|byte| (first..=last).contains(byte)).collect();
            match parse(&format!("bytes={first}-{last}"), len) {
                RangeRequest::Part { start, end } => prop_assert_eq!((start..end).collect::<Vec<_>>(), expected),
                RangeRequest::Unsatisfiable => prop_assert!(first <= last && expected.is_empty()),
                RangeRequest::Whole => prop_assert!(first > last),
            }
        }
    }
}
