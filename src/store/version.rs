//! The version of an object that comes in parts: its length, and the validator that tells it from any other. Pure.
//!
//! Decides which validators may join parts into a whole (RFC 9110 sections 8.8.1 and 13.1.5), and whether a part belongs
//! to a version. Asking for parts is the fetch's affair.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, DATE, ETAG, HeaderValue, LAST_MODIFIED};
use xxhash_rust::xxh3::Xxh3;

/// How much older than the answer a `Last-Modified` must be to be a strong validator (RFC 9110 section 8.8.2.2): within
/// a second of the change, there may be two versions of one date.
const DATE_SETTLED: Duration = Duration::from_secs(1);

/// Length of the largest object that is kept in slices, in bytes: an origin may claim any, and what is done for each of
/// its slices must end. A larger one streams through a window.
pub const SLICED_BYTES_MAX: u64 = 64 << 30;

/// A version: what its parts have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Length of the whole, in bytes.
    pub len: u64,
    /// A strong entity tag, or a date of modification: what `If-Range` is sent with.
    pub validator: HeaderValue,
    /// Tells apart heads of the same version: one that was removed or purged is not followed by one that finds its
    /// slices, in memory or on disk. 0 until a head is kept ([`Version::begin_epoch`]).
    pub epoch: u64,
}

impl Version {
    /// The version that an answer with these fields has, received at `now`, of a whole of `len` bytes. None: nothing in
    /// it tells versions apart, or its bytes are coded.
    pub fn of(headers: &HeaderMap, len: u64, now: SystemTime) -> Option<Version> {
        if len > SLICED_BYTES_MAX {
            return None;
        }
        Some(Version { len, validator: joining_validator(headers, now)?, epoch: 0 })
    }

    /// Whether a part with these fields is of this version. An entity tag must be there. A date need not be, in an
    /// answer to `If-Range` (RFC 9110 section 15.3.7).
    pub fn has_part(&self, headers: &HeaderMap) -> bool {
        names_version(&self.validator, headers).unwrap_or(!is_tag(&self.validator))
    }

    /// The version of a new head, in place of the one with the version `held`: slices of the same version are met again
    /// through the head that has fetched them, and through no other.
    pub fn begin_epoch(self, held: Option<&Version>) -> Version {
        let same = held.filter(|held| held.len == self.len && held.validator == self.validator);
        let epoch = same.map_or_else(|| getrandom::u64().unwrap_or_else(|_| fallback()), |held| held.epoch);
        Version { epoch, ..self }
    }

    /// A hash that is the same on every machine and after every restart.
    pub fn hash(&self) -> u128 {
        let mut hash = Xxh3::new();
        hash.update(&self.epoch.to_le_bytes());
        hash.update(&self.len.to_le_bytes());
        hash.update(self.validator.as_bytes());
        hash.digest128()
    }
}

/// The validator by which parts of an answer with these fields, received at `now`, may be joined: a strong entity tag, or
/// a date of modification that is past change. None: nothing in it tells versions apart, or its bytes are coded.
pub fn joining_validator(headers: &HeaderMap, now: SystemTime) -> Option<HeaderValue> {
    if headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let tag = headers.get(ETAG).filter(|tag| is_tag(tag));
    tag.or_else(|| settled_date(headers, now)).cloned()
}

/// Whether an answer with these fields is of the version with this validator. None: it does not say.
pub fn names_version(validator: &HeaderValue, headers: &HeaderMap) -> Option<bool> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Some(false);
    }
    let name = if is_tag(validator) { ETAG } else { LAST_MODIFIED };
    headers.get(name).map(|found| found == validator)
}

/// Whether a validator is a strong entity tag.
fn is_tag(validator: &HeaderValue) -> bool {
    validator.as_bytes().starts_with(b"\"")
}

/// An epoch where the system has no random numbers.
fn fallback() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// A `Last-Modified` that is a strong validator.
fn settled_date(headers: &HeaderMap, now: SystemTime) -> Option<&HeaderValue> {
    let date = |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
    let validator = headers.get(LAST_MODIFIED)?;
    let made = headers.get(DATE).and_then(date).unwrap_or(now);
    (date(validator)? + DATE_SETTLED <= made).then_some(validator)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    const DAY: &str = "Tue, 01 Sep 2026 10:00:00 GMT";
    const NEXT_SECOND: &str = "Tue, 01 Sep 2026 10:00:01 GMT";

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn version(of: &[(&'static str, &'static str)]) -> Option<Version> {
        Version::of(&fields(of), 10, httpdate::parse_http_date(DAY).unwrap())
    }

    #[test]
    fn a_strong_tag_or_a_settled_date_tells_versions_apart_and_nothing_else_does() {
        let validator = |of| version(of).map(|version| version.validator);
        assert_eq!(validator(&[("etag", "\"a\""), ("last-modified", DAY)]).unwrap(), "\"a\"");
        assert_eq!(validator(&[("last-modified", DAY), ("date", NEXT_SECOND)]).unwrap(), DAY);
        assert_eq!(
            validator(&[("etag", "W/\"a\""), ("last-modified", DAY), ("date", NEXT_SECOND)]).unwrap(),
            DAY
        );
        for none in [
            &[][..],
            &[("etag", "W/\"a\"")],
            &[("last-modified", DAY)],
            &[("last-modified", DAY), ("date", DAY)],
            &[("last-modified", "yesterday"), ("date", NEXT_SECOND)],
            &[("etag", "\"a\""), ("content-encoding", "gzip")],
        ] {
            assert_eq!(version(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_part_of_another_version_is_none_of_this_one() {
        let tagged = version(&[("etag", "\"a\"")]).unwrap();
        assert!(tagged.has_part(&fields(&[("etag", "\"a\"")])));
        for other in [&[][..], &[("etag", "\"b\"")], &[("etag", "W/\"a\"")]] {
            assert!(!tagged.has_part(&fields(other)), "{other:?}");
        }
        assert!(!tagged.has_part(&fields(&[("etag", "\"a\""), ("content-encoding", "gzip")])));
        let dated = version(&[("last-modified", DAY), ("date", NEXT_SECOND)]).unwrap();
        assert!(dated.has_part(&fields(&[])) && dated.has_part(&fields(&[("last-modified", DAY)])));
        assert!(!dated.has_part(&fields(&[("last-modified", NEXT_SECOND)])));
    }

    #[test]
    fn a_head_meets_the_slices_of_the_head_that_it_replaces_and_of_no_other() {
        let first = version(&[("etag", "\"a\"")]).unwrap().begin_epoch(None);
        let same = || version(&[("etag", "\"a\"")]).unwrap();
        assert_eq!(same().begin_epoch(Some(&first)).hash(), first.hash());
        assert_ne!(same().begin_epoch(None).hash(), first.hash());
        let other = version(&[("etag", "\"b\"")]).unwrap().begin_epoch(Some(&first));
        assert_ne!(other.epoch, first.epoch);
    }

    #[test]
    fn versions_differ_in_their_hash() {
        let version =
            |len, tag: &'static str, epoch| Version { len, validator: HeaderValue::from_static(tag), epoch };
        let of = |len, tag| version(len, tag, 3).hash();
        assert_ne!(version(1, "\"a\"", 1).hash(), version(1, "\"a\"", 2).hash());
        assert_eq!(of(1, "\"a\""), of(1, "\"a\""));
        assert_ne!(of(1, "\"a\""), of(2, "\"a\""));
        assert_ne!(of(1, "\"a\""), of(1, "\"b\""));
    }
}
