//! An object: what the cache knows of one answer of an origin, and its body.

use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, ETAG, HeaderValue, LAST_MODIFIED};
use pingora::http::ResponseHeader;

use super::content::Content;
use super::tiers::DiskMark;
use crate::asset::Kind;
use crate::key::Key;

/// Bytes counted for an object beside its body, header fields and key: the structures that hold it.
pub const OVERHEAD_BYTES: u64 = 2048;

/// Bytes counted for one header field beside its text.
const FIELD_OVERHEAD_BYTES: u64 = 192;

/// How long an object may be used, and how (RFC 9111 section 4.2, RFC 5861).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// When the origin made the answer, as far as `Age` tells: the object's age counts from here.
    pub created: SystemTime,
    /// Until when it is fresh.
    pub fresh_until: SystemTime,
    /// How long after that it may be served while it is fetched anew.
    pub stale_while_revalidate: Duration,
    /// How long after that it may be served when the origin fails.
    pub stale_if_error: Duration,
}

impl Lifetime {
    /// Whether it is fresh at `now`.
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        now < self.fresh_until
    }

    /// Whether it may be served at `now` while it is fetched anew.
    pub fn bridges_revalidation(&self, now: SystemTime) -> bool {
        now < self.fresh_until + self.stale_while_revalidate
    }

    /// Whether it may be served at `now` because the origin fails.
    pub fn bridges_error(&self, now: SystemTime) -> bool {
        now < self.fresh_until + self.stale_if_error
    }

    /// Its age, in whole seconds (RFC 9111 section 5.1).
    pub fn age_seconds(&self, now: SystemTime) -> u64 {
        now.duration_since(self.created).unwrap_or_default().as_secs()
    }

    /// Freshness left, in whole seconds; negative: stale for so long.
    pub fn ttl_seconds(&self, now: SystemTime) -> i64 {
        let whole = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        match self.fresh_until.duration_since(now) {
            Ok(left) => whole(left),
            Err(past) => -whole(past.duration()),
        }
    }
}

/// One answer, kept or passing through. It never changes; a revalidation makes a new one around the same body.
#[derive(Debug)]
pub struct Object {
    /// What it answers.
    pub key: Key,
    /// What it is.
    pub kind: Kind,
    /// The header to answer with: status and end-to-end fields, `Cache-Control` for the viewer included, `Age` left out.
    pub header: ResponseHeader,
    /// How long it may be used.
    pub lifetime: Lifetime,
    /// Its bytes.
    pub body: Content,
    /// Whether it may answer other requests than the one it was fetched for.
    pub shared: bool,
    /// What it has to do with the disk.
    pub disk: DiskMark,
    /// The header of a plain hit with its `Age`, made once a second.
    pub hit_header: ArcSwapOption<HitHeader>,
}

/// A header made ready for hits within one second.
#[derive(Debug)]
pub struct HitHeader {
    /// Seconds of age that it tells.
    pub age_seconds: u64,
    /// Freshness left that it tells, in seconds.
    pub ttl_seconds: i64,
    /// The header.
    pub header: ResponseHeader,
}

impl Object {
    /// Its length, if the origin told it or the body is complete.
    pub fn length(&self) -> Option<u64> {
        match self.body.progress() {
            (len, true) => Some(len),
            _ => self.header.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok(),
        }
    }

    /// Its entity tag.
    pub fn etag(&self) -> Option<&HeaderValue> {
        self.header.headers.get(ETAG)
    }

    /// Its `Last-Modified`.
    pub fn last_modified(&self) -> Option<&HeaderValue> {
        self.header.headers.get(LAST_MODIFIED)
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.header.status
    }

    /// Bytes counted for it when its body has `body_len` bytes in memory.
    pub fn charge(&self, body_len: u64) -> u64 {
        charge(&self.key, &self.header, body_len)
    }
}

/// Bytes counted for an object with this key, header and length.
pub fn charge(key: &Key, header: &ResponseHeader, body_len: u64) -> u64 {
    let field = |(name, value): (&http::HeaderName, &HeaderValue)| {
        (name.as_str().len() + value.len()) as u64 + FIELD_OVERHEAD_BYTES
    };
    // The header is held twice when it is made ready for hits.
    let header_bytes: u64 = header.headers.iter().map(field).sum();
    // An origin may claim any length.
    (OVERHEAD_BYTES + key.text.len() as u64 + 2 * header_bytes).saturating_add(body_len)
}
