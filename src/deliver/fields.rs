//! The fields that the node adds to an answer: `Age`, `Cache-Status` (RFC 9211), `Via`, `Server-Timing`, and those of
//! the plan.

use std::fmt::Write as _;

use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, AGE, CACHE_CONTROL,
    CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, EXPIRES, HeaderName, HeaderValue, LAST_MODIFIED, VARY, VIA,
};
use pingora::http::ResponseHeader;

use super::encode::Selected;
use super::encoding;
use super::multipart::Multipart;
use super::plan::Plan;
use super::range::VERY_LARGE_LAST;
use crate::cache::{CONTENT_DIGESTS, REPRESENTATION_DIGESTS, tell_expires};
use crate::config::model::HeaderChanges;
use crate::outcome::Outcome;
use crate::store::Object;
use crate::tier::Names;

/// `Cache-Status` (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// `Server-Timing`.
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Bytes set aside for the text of a `Cache-Status` member.
const CACHE_STATUS_BYTES: usize = 64;

/// Why a request went to the origin (RFC 9211 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// A rule says so.
    Bypass,
    /// By its method.
    Method,
    /// Nothing is held under its key.
    UriMiss,
    /// What is held answers requests with other fields.
    VaryMiss,
    /// What is held was stale.
    Stale,
    /// What is held could be used, and the client does not take it.
    Request,
    /// A part of what is held was missing.
    Partial,
    /// Nothing that could be used is held; nothing more is known, for no answer has come.
    Miss,
}

impl Forward {
    const fn as_str(self) -> &'static str {
        match self {
            Forward::Bypass => "bypass",
            Forward::Method => "method",
            Forward::UriMiss => "uri-miss",
            Forward::VaryMiss => "vary-miss",
            Forward::Stale => "stale",
            Forward::Request => "request",
            Forward::Partial => "partial",
            Forward::Miss => "miss",
        }
    }
}

/// Fields of a representation that an answer without it does not have, beside those that a 304 keeps (RFC 9110 sections
/// 8.3 to 8.6 and 15.4.5; RFC 9530).
const REPRESENTATION: [HeaderName; 5] =
    [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_DISPOSITION];

/// Fields that describe the object in answers that tell of it; an answer of the node's own has none of them.
const VALIDATION: [HeaderName; 4] = [CONTENT_LOCATION, ETAG, EXPIRES, LAST_MODIFIED];

/// What a request's answer says of how it came about.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What the node is called.
    pub names: &'a Names,
    /// What became of it.
    pub outcome: Outcome,
    /// Why the origin was asked; None: it was not.
    pub forward: Option<Forward>,
    /// The status that the origin answered with, where it is known.
    pub status: Option<u16>,
    /// Age of the object, in seconds.
    pub age_seconds: u64,
    /// Freshness left, in seconds.
    pub ttl_seconds: i64,
    /// Whether the object is, or will be, stored.
    pub stored: bool,
    /// The key, where the site tells it.
    pub key: Option<&'a str>,
    /// A word in place of the outcome's.
    pub detail: Option<&'static str>,
}

impl<'a> Told<'a> {
    /// Of an answer that comes from no object.
    pub fn without_object(
        names: &'a Names,
        outcome: Outcome,
        forward: Option<Forward>,
        status: Option<u16>,
    ) -> Told<'a> {
        Told {
            names,
            outcome,
            forward,
            status,
            age_seconds: 0,
            ttl_seconds: 0,
            stored: false,
            key: None,
            detail: None,
        }
    }
}

/// The header of an answer from an object.
pub fn header(object: &Object, selected: &Selected, plan: &Plan, told: &Told<'_>) -> ResponseHeader {
    let mut header = object.header.clone();
    tell_expires(&mut header, object.lifetime.created);
    if selected.varies {
        encoding::vary(&mut header);
    }
    if let Some(coded) = &selected.coded {
        encoding::encode_header(&mut header, coded.coding, coded.content.progress().0);
    }
    match plan {
        Plan::Whole => {}
        Plan::NotModified => as_not_modified(&mut header),
        Plan::Failed => as_refused(&mut header, StatusCode::PRECONDITION_FAILED),
        Plan::Part { start, end, len } => as_part(&mut header, *start, *end, *len),
        Plan::Onward { start } => as_onward(&mut header, *start),
        Plan::Parts(multipart) => as_parts(&mut header, multipart),
        Plan::Unsatisfiable(len) => as_unsatisfiable(&mut header, *len),
    }
    if object.status() == StatusCode::OK {
        set(&mut header, ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    if !matches!(told.outcome, Outcome::Bypass) && !matches!(plan, Plan::Failed | Plan::Unsatisfiable(_)) {
        set(&mut header, AGE, HeaderValue::from(told.age_seconds));
    }
    append(&mut header, CACHE_STATUS, cache_status(told));
    append(&mut header, VIA, told.names.via.clone());
    header
}

/// The member of `Cache-Status` for this node (RFC 9211 section 2). A list that came with the answer stays in front of
/// it.
pub fn cache_status(told: &Told<'_>) -> HeaderValue {
    let mut text = String::with_capacity(CACHE_STATUS_BYTES);
    text.push_str(&told.names.cache_status);
    // Writing to a string cannot fail.
    match told.forward {
        Some(forward) => {
            let _ = write!(text, "; fwd={}", forward.as_str());
            if let Some(status) = told.status {
                let _ = write!(text, "; fwd-status={status}");
            }
        }
        None if matches!(told.outcome, Outcome::Hit | Outcome::HitStale) => text.push_str("; hit"),
        None => {}
    }
    if !matches!(told.outcome, Outcome::Bypass | Outcome::Denied | Outcome::Error) {
        let _ = write!(text, "; ttl={}", told.ttl_seconds);
    }
    if told.stored && matches!(told.outcome, Outcome::Miss | Outcome::HitRevalidated | Outcome::Coalesced) {
        text.push_str("; stored");
    }
    if told.outcome == Outcome::Coalesced {
        text.push_str("; collapsed");
    }
    if let Some(key) = told.key {
        push_key(&mut text, key);
    }
    text.push_str("; detail=");
    text.push_str(told.detail.unwrap_or(told.outcome.as_str()));
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("forebay"))
}

/// The `key` parameter, a string (RFC 9651 section 3.3.3); left out where the key does not fit into one.
fn push_key(text: &mut String, key: &str) {
    if !key.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return;
    }
    text.push_str("; key=\"");
    for letter in key.chars() {
        if matches!(letter, '"' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text.push('"');
}

/// `Server-Timing` of a request that took `milliseconds` to its first byte.
pub fn server_timing(outcome: Outcome, milliseconds: Option<f64>) -> HeaderValue {
    let text = match milliseconds {
        Some(milliseconds) => format!("edge;desc={};dur={milliseconds:.1}", outcome.as_str()),
        None => format!("edge;desc={}", outcome.as_str()),
    };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("edge"))
}

/// Keeps what a cache is guided by: `Cache-Control`, `Content-Location`, `Date`, `ETag`, `Expires`, `Vary`; and
/// `Last-Modified` where there is no tag.
fn as_not_modified(header: &mut ResponseHeader) {
    // A status below 600 is always taken.
    let _ = header.set_status(StatusCode::NOT_MODIFIED);
    remove(header, &REPRESENTATION);
    remove(header, &CONTENT_DIGESTS);
    remove(header, &REPRESENTATION_DIGESTS);
    if header.headers.contains_key(ETAG) {
        header.remove_header(&LAST_MODIFIED);
    }
}

/// An answer that says nothing of the object but that this request is not served: no cache may keep it for others.
fn as_refused(header: &mut ResponseHeader, status: StatusCode) {
    let _ = header.set_status(status);
    remove(header, &REPRESENTATION);
    remove(header, &CONTENT_DIGESTS);
    remove(header, &REPRESENTATION_DIGESTS);
    remove(header, &VALIDATION);
    set(header, CACHE_CONTROL, HeaderValue::from_static("no-store"));
    set(header, CONTENT_LENGTH, HeaderValue::from(0_u64));
}

fn remove(header: &mut ResponseHeader, names: &[HeaderName]) {
    for name in names {
        header.remove_header(name);
    }
}

/// So many bytes from one on; how many nobody knows, and the last position says so (RFC 8673 section 2.2).
fn as_onward(header: &mut ResponseHeader, start: u64) {
    let _ = header.set_status(StatusCode::PARTIAL_CONTENT);
    remove(header, &CONTENT_DIGESTS);
    if let Ok(range) = HeaderValue::from_str(&format!("bytes {start}-{VERY_LARGE_LAST}/*")) {
        set(header, CONTENT_RANGE, range);
    }
}

/// The parts have the object's type, the answer has one of its own, and no `Content-Range` (RFC 9110 section 15.3.7.2).
fn as_parts(header: &mut ResponseHeader, multipart: &Multipart) {
    let _ = header.set_status(StatusCode::PARTIAL_CONTENT);
    remove(header, &CONTENT_DIGESTS);
    set(header, CONTENT_TYPE, multipart.content_type());
    set(header, CONTENT_LENGTH, HeaderValue::from(multipart.content_length()));
}

fn as_part(header: &mut ResponseHeader, start: u64, end: u64, len: Option<u64>) {
    let _ = header.set_status(StatusCode::PARTIAL_CONTENT);
    remove(header, &CONTENT_DIGESTS);
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
    as_refused(header, StatusCode::RANGE_NOT_SATISFIABLE);
    if let Ok(range) = HeaderValue::from_str(&format!("bytes */{len}")) {
        set(header, CONTENT_RANGE, range);
    }
}

/// Sets a field. A well-formed name and value are always taken.
pub fn set(header: &mut ResponseHeader, name: HeaderName, value: HeaderValue) {
    let _ = header.insert_header(name, value);
}

/// Makes a rule's changes.
pub fn change(header: &mut ResponseHeader, changes: &HeaderChanges) {
    for name in &changes.remove {
        header.remove_header(name);
    }
    for (name, value) in &changes.set {
        set(header, name.clone(), value.clone());
    }
}

/// Sets a site's fields of cross-origin sharing. `Vary` stands beside the origin's own, the others replace them; a page
/// that the site does not name is allowed by no word of the origin.
pub fn share(header: &mut ResponseHeader, cors: impl Iterator<Item = (HeaderName, HeaderValue)>) {
    header.remove_header(&ACCESS_CONTROL_ALLOW_ORIGIN);
    header.remove_header(&ACCESS_CONTROL_ALLOW_CREDENTIALS);
    for (name, value) in cors {
        if name == VARY {
            append(header, name, value);
        } else {
            set(header, name, value);
        }
    }
}

/// Adds fields that are for this viewer alone to an answer that is no failure.
pub fn append_all(header: &mut ResponseHeader, fields: &[(HeaderName, HeaderValue)]) {
    if header.status.as_u16() < 400 {
        for (name, value) in fields {
            append(header, name.clone(), value.clone());
        }
        if !fields.is_empty() {
            super::carry::make_private(header);
        }
    }
}

/// Adds a field beside those of the same name.
pub fn append(header: &mut ResponseHeader, name: HeaderName, value: HeaderValue) {
    let _ = header.append_header(name, value);
}
