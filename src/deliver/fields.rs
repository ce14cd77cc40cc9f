//! The fields that the node adds to an answer: `Age`, `Cache-Status` (RFC 9211), `Via`, `Server-Timing`, and those of
//! the plan.

use std::fmt::Write as _;

use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, AGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, VARY, VIA,
};
use pingora::http::ResponseHeader;

use super::plan::Plan;
use crate::outcome::Outcome;
use crate::store::Object;

/// `Cache-Status` (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// `Server-Timing`.
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Bytes set aside for the text of a `Cache-Status` member.
const CACHE_STATUS_BYTES: usize = 64;

/// What a request's answer says of how it came about.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// What became of it.
    pub outcome: Outcome,
    /// Age of the object, in seconds.
    pub age_seconds: u64,
    /// Freshness left, in seconds.
    pub ttl_seconds: i64,
    /// Whether the object is, or will be, stored.
    pub stored: bool,
}

/// The header of an answer from an object.
pub fn header(object: &Object, plan: Plan, told: &Told) -> ResponseHeader {
    let mut header = object.header.clone();
    match plan {
        Plan::Whole => {}
        Plan::NotModified => as_not_modified(&mut header),
        Plan::Part { start, end, len } => as_part(&mut header, start, end, len),
        Plan::Unsatisfiable(len) => as_unsatisfiable(&mut header, len),
    }
    if object.status() == StatusCode::OK {
        set(&mut header, ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    if !matches!(told.outcome, Outcome::Bypass) {
        set(&mut header, AGE, HeaderValue::from(told.age_seconds));
    }
    append(&mut header, CACHE_STATUS, cache_status(told));
    append(&mut header, VIA, HeaderValue::from_static("1.1 forebay"));
    header
}

/// The member of `Cache-Status` for this node.
pub fn cache_status(told: &Told) -> HeaderValue {
    let mut text = String::with_capacity(CACHE_STATUS_BYTES);
    text.push_str("forebay; ");
    text.push_str(match told.outcome {
        Outcome::Hit | Outcome::HitStale => "hit",
        Outcome::HitRevalidated => "fwd=stale; fwd-status=304",
        Outcome::Coalesced => "fwd=uri-miss; collapsed",
        Outcome::Miss => "fwd=uri-miss",
        Outcome::Bypass => "fwd=bypass",
        Outcome::Denied | Outcome::Error => "fwd=request",
    });
    if !matches!(told.outcome, Outcome::Bypass | Outcome::Denied | Outcome::Error) {
        // Writing to a string cannot fail.
        let _ = write!(text, "; ttl={}", told.ttl_seconds);
    }
    if told.stored && matches!(told.outcome, Outcome::Miss | Outcome::HitRevalidated | Outcome::Coalesced) {
        text.push_str("; stored");
    }
    text.push_str("; detail=");
    text.push_str(told.outcome.as_str());
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("forebay"))
}

/// `Server-Timing` of a request that took `milliseconds` to its first byte.
pub fn server_timing(outcome: Outcome, milliseconds: Option<f64>) -> HeaderValue {
    let text = match milliseconds {
        Some(milliseconds) => format!("edge;desc={};dur={milliseconds:.1}", outcome.as_str()),
        None => format!("edge;desc={}", outcome.as_str()),
    };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("edge"))
}

fn as_not_modified(header: &mut ResponseHeader) {
    // A status below 600 is always taken.
    let _ = header.set_status(StatusCode::NOT_MODIFIED);
    header.remove_header(&CONTENT_LENGTH);
    header.remove_header(&CONTENT_TYPE);
}

fn as_part(header: &mut ResponseHeader, start: u64, end: u64, len: Option<u64>) {
    let _ = header.set_status(StatusCode::PARTIAL_CONTENT);
    let last = end - 1;
    let range = match len {
        Some(len) => format!("bytes {start}-{last}/{len}"),
        None => format!("bytes {start}-{last}/*"),
    };
    if let Ok(range) = HeaderValue::from_str(&range) {
        set(header, CONTENT_RANGE, range);
    }
    set(header, CONTENT_LENGTH, HeaderValue::from(end - start));
}

fn as_unsatisfiable(header: &mut ResponseHeader, len: u64) {
    let _ = header.set_status(StatusCode::RANGE_NOT_SATISFIABLE);
    if let Ok(range) = HeaderValue::from_str(&format!("bytes */{len}")) {
        set(header, CONTENT_RANGE, range);
    }
    header.remove_header(&CONTENT_TYPE);
    set(header, CONTENT_LENGTH, HeaderValue::from(0_u64));
}

/// Sets a field. A well-formed name and value are always taken.
pub fn set(header: &mut ResponseHeader, name: HeaderName, value: HeaderValue) {
    let _ = header.insert_header(name, value);
}

/// Sets a site's fields of cross-origin sharing. `Vary` stands beside the origin's own, the others replace them.
pub fn share(header: &mut ResponseHeader, cors: impl Iterator<Item = (HeaderName, HeaderValue)>) {
    for (name, value) in cors {
        if name == VARY {
            append(header, name, value);
        } else {
            set(header, name, value);
        }
    }
}

/// Adds a field beside those of the same name.
pub fn append(header: &mut ResponseHeader, name: HeaderName, value: HeaderValue) {
    let _ = header.append_header(name, value);
}
