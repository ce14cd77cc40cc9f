//! What a viewer has to know of the head of an answer, whichever version of HTTP it came by. Framing of HTTP/1.1 is
//! [`super::h1`]'s.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::cache_status;
use crate::fetch::{Cache, Failure};

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// The announced length of the body, in bytes.
    pub(crate) length: Option<u64>,
    pub(crate) range: Option<ContentRange>,
    pub(crate) cache: Cache,
    /// All fields, where somebody wants them; else none.
    pub(crate) fields: HeaderMap,
}

/// A satisfied range (RFC 9110 section 14.4): first and last position, and the length of the whole if it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) total: Option<u64>,
}

// === impl Head ===

impl Head {
    /// Reads the fields; all of them are kept if `keeps` is set, or the status is another than 200 or 206. Two lengths
    /// that differ are no HTTP (RFC 9110 section 8.6).
    pub(crate) fn read<'a>(
        status: StatusCode,
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
        keeps: bool,
    ) -> Result<Self, Failure> {
        let keeps = keeps || !carries_media(status);
        let mut head =
            Self { status, length: None, range: None, cache: Cache::Unknown, fields: HeaderMap::new() };
        let (mut cache_status, mut x_cache) = (None, None);
        for (name, value) in fields {
            if name.eq_ignore_ascii_case("content-length") {
                head.announce(number(value).ok_or(Failure::Protocol)?)?;
            } else if name.eq_ignore_ascii_case("content-range") {
                head.range = ContentRange::parse(value);
            } else if name.eq_ignore_ascii_case("cache-status") {
                cache_status = Some(value);
            } else if name.eq_ignore_ascii_case("x-cache") {
                x_cache = Some(value);
            }
            if keeps {
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Failure::Protocol)?;
                let value = HeaderValue::from_bytes(value).map_err(|_| Failure::Protocol)?;
                head.fields.try_append(name, value).map_err(|_| Failure::Protocol)?;
            }
        }
        head.cache = cache_status::parse(cache_status, x_cache);
        Ok(head)
    }

    fn announce(&mut self, length: u64) -> Result<(), Failure> {
        match self.length.replace(length) {
            Some(other) if other != length => Err(Failure::Protocol),
            _ => Ok(()),
        }
    }
}

/// Whether an answer of this status has what was asked for in its body.
pub(crate) fn carries_media(status: StatusCode) -> bool {
    matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT)
}

/// Decimal digits and nothing else, up to 2^64 - 1.
fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

// === impl ContentRange ===

impl ContentRange {
    /// `bytes FIRST-LAST/TOTAL`, or `*` as the total.
    fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let (unit, rest) = text.split_at_checked(6)?;
        let (range, total) = rest.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| number(text.trim().as_bytes());
        let (first, last) = (number(first)?, number(last)?);
        let total = if total.trim() == "*" { None } else { Some(number(total)?) };
        let sound = unit.eq_ignore_ascii_case("bytes ")
            && first <= last
            && last < u64::MAX
            && total.is_none_or(|total| last < total);
        sound.then_some(Self { first, last, total })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn read(status: u16, fields: &[(&str, &str)], keeps: bool) -> Result<Head, Failure> {
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        Head::read(StatusCode::from_u16(status).unwrap(), fields, keeps)
    }

    #[test]
    fn fields_are_kept_only_for_those_who_read_them() {
        let fields = [("Set-Cookie", "a=b"), ("set-cookie", "c=d"), ("X-Cache", "HIT")];
        assert!(read(200, &fields, false).unwrap().fields.is_empty());
        assert!(read(206, &fields, false).unwrap().fields.is_empty());
        assert_eq!(read(200, &fields, true).unwrap().fields.get_all("set-cookie").iter().count(), 2);
        assert_eq!(read(403, &fields, false).unwrap().fields.len(), 3);
        assert_eq!(read(200, &fields, false).unwrap().cache, Cache::Hit);
    }

    #[test]
    fn a_length_is_digits_and_said_once_or_twice_the_same() {
        let length = |values: &[&str]| {
            let fields: Vec<_> = values.iter().map(|value| ("Content-Length", *value)).collect();
            read(200, &fields, false).map(|head| head.length)
        };
        assert_eq!(length(&["17"]).unwrap(), Some(17));
        assert_eq!(length(&["17", "17"]).unwrap(), Some(17));
        for wrong in [&["17", "18"][..], &["+17"], &["-1"], &["1 7"], &[""], &["18446744073709551616"]] {
            assert_eq!(length(wrong).unwrap_err(), Failure::Protocol, "{wrong:?}");
        }
    }

    #[test]
    fn a_range_is_read_as_it_is_or_not_at_all() {
        let range = |value: &str| ContentRange::parse(value.as_bytes());
        let some = |first, last, total| Some(ContentRange { first, last, total });
        assert_eq!(range("bytes 0-9/10"), some(0, 9, Some(10)));
        assert_eq!(range("bytes 5-9/*"), some(5, 9, None));
        for wrong in ["bytes */10", "bytes 9-5/10", "bytes 0-10/10", "bytes 0-9", "items 0-9/10", "", "ä"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }
}
