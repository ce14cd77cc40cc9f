//! `Range` and `Content-Range` between node and origin (RFC 9110 sections 14.2 and 14.4). Pure.
//!
//! Decides what a part of an origin's answer is a part of; whether it is used is the fetch's decision. What viewers
//! ask for is read elsewhere.

use std::str::FromStr;

use http::HeaderValue;

/// A `Content-Range` whose length is told: the bytes from `first` to `last`, of `total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte.
    pub first: u64,
    /// Last byte, not before the first.
    pub last: u64,
    /// Length of the whole, greater than `last`.
    pub total: u64,
}

impl ContentRange {
    /// Reads the field. None: it is malformed, of another unit, of a part that is not there, or does not tell the length
    /// of the whole.
    pub fn parse(field: &HeaderValue) -> Option<ContentRange> {
        let (unit, rest) = field.to_str().ok()?.trim().split_once(' ')?;
        let (range, total) = rest.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let range = ContentRange { first: number(first)?, last: number(last)?, total: number(total)? };
        let sound =
            unit.eq_ignore_ascii_case("bytes") && range.first <= range.last && range.last < range.total;
        sound.then_some(range)
    }

    /// Bytes of the part.
    pub fn bytes(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// The value of a `Range` field for the bytes from `first` to `last`.
pub fn range_field(first: u64, last: u64) -> HeaderValue {
    // Digits alone, which a value may hold.
    HeaderValue::from_str(&format!("bytes={first}-{last}")).unwrap_or(HeaderValue::from_static("bytes=0-0"))
}

/// The value of a `Range` field for all bytes from `first` on.
pub fn range_from(first: u64) -> HeaderValue {
    // Digits alone, which a value may hold.
    HeaderValue::from_str(&format!("bytes={first}-")).unwrap_or(HeaderValue::from_static("bytes=0-"))
}

fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { u64::from_str(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_sound_content_range_is_read_and_no_other() {
        let read = |field: &str| ContentRange::parse(&HeaderValue::from_str(field).unwrap());
        assert_eq!(read("bytes 0-0/1"), Some(ContentRange { first: 0, last: 0, total: 1 }));
        assert_eq!(read("Bytes 5-9/10"), Some(ContentRange { first: 5, last: 9, total: 10 }));
        for field in [
            "",
            "bytes",
            "bytes 0-9",
            "bytes 0-9/*",
            "bytes */10",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "items 0-1/2",
            "bytes +0-1/2",
            "bytes 0-1/18446744073709551616",
            "bytes -1/2",
            "bytes=0-1/2",
        ] {
            assert_eq!(read(field), None, "{field}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_lies_within_the_whole(field in "bytes [0-9]{1,20}-[0-9]{1,20}/[0-9]{1,20}") {
            if let Some(range) = ContentRange::parse(&HeaderValue::from_str(&field).unwrap()) {
                prop_assert!(range.first <= range.last && range.last < range.total);
                prop_assert_eq!(range.bytes(), range.last - range.first + 1);
            }
        }
    }
}
