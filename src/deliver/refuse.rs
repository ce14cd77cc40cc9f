//! Refusals and failures as responses: the one place where they become HTTP.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VIA,
};
use pingora::http::ResponseHeader;

use super::fields::{self, CACHE_STATUS, Forward, Told};
use crate::outcome::Outcome;
use crate::tier::Names;

/// Seconds after which a client that met a full queue may ask again.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Why a request is not answered with what it asked for.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The status: 4xx from admission, 5xx from the origin's side.
    pub status: u16,
    /// A word of a closed list; the same in log and metrics.
    pub reason: &'static str,
    /// Further fields of the answer.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// `Allow`, for 405.
    pub allow: Option<HeaderValue>,
    /// Whether admission refused it, or answering it failed.
    pub outcome: Outcome,
    /// Why the origin was asked, if it was.
    pub forward: Option<Forward>,
    /// The word in `Cache-Status`, in place of the outcome's.
    pub detail: Option<&'static str>,
}

/// The response: never stored by anyone, with the reason's word as its text. `extra` are the site's CORS fields, so
/// that a player sees the status rather than a network error.
pub fn response(
    refused: &Refused,
    names: &Names,
    extra: impl Iterator<Item = (HeaderName, HeaderValue)>,
) -> (ResponseHeader, Bytes) {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = http::StatusCode::from_u16(refused.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    let mut header = ResponseHeader::from(parts);
    let body = Bytes::from(format!("{}\n", refused.reason));
    fields::set(&mut header, CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields::set(&mut header, CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    fields::set(&mut header, CONTENT_LENGTH, HeaderValue::from(body.len()));
    if let Some(allow) = &refused.allow {
        fields::set(&mut header, ALLOW, allow.clone());
    }
    for (name, value) in &refused.fields {
        fields::append(&mut header, name.clone(), value.clone());
    }
    if refused.status == 503 {
        fields::set(&mut header, RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    let detail = refused.detail;
    let told = Told { detail, ..Told::without_object(names, refused.outcome, refused.forward, None) };
    fields::set(&mut header, CACHE_STATUS, fields::cache_status(&told));
    fields::set(&mut header, VIA, names.via.clone());
    for (name, value) in extra {
        fields::append(&mut header, name, value);
    }
    (header, body)
}
