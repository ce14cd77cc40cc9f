//! The header of an answer as it is stored and as viewers get it: what is taken out, what is told in place of the
//! origin's word.

use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, DATE, EXPIRES, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderValue};
use pingora::http::ResponseHeader;

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use super::date::Dated;
use super::directives::{CDN_CACHE_CONTROL, Directives, FOREBAY_CACHE_CONTROL, FOREBAY_TTL};
use super::tags::{CACHE_TAG, FOREBAY_TAGS, SURROGATE_KEY};

/// Fields that belong to one connection (RFC 9110 section 7.6.1), to a proxy (RFC 9111 section 3.1), or are set anew on
/// the way out.
const DROPPED: [HeaderName; 9] =
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, AGE, VIA, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION];

/// The same, of names without a constant.
const DROPPED_WORDS: [&str; 3] = ["keep-alive", "proxy-connection", "proxy-authentication-info"];

/// Fields that an origin, or a node of the next tier, writes for this node and not for viewers.
const FOR_THE_NODE: [HeaderName; 6] = [
    FOREBAY_CACHE_CONTROL,
    SURROGATE_KEY,
    HeaderName::from_static("surrogate-control"),
    CACHE_TAG,
    FOREBAY_TTL,
    FOREBAY_TAGS,
];

/// Digests of the bytes of one message (RFC 9530 section 2): those of a whole are not those of a part.
pub const CONTENT_DIGESTS: [HeaderName; 2] =
    [HeaderName::from_static("content-digest"), HeaderName::from_static("content-md5")];

/// Digests of a representation (RFC 9530 section 3), whatever is sent of it: each coding has its own.
pub const REPRESENTATION_DIGESTS: [HeaderName; 2] =
    [HeaderName::from_static("repr-digest"), HeaderName::from_static("digest")];

/// Whether the field stands in no stored header.
fn is_dropped(name: &HeaderName) -> bool {
    DROPPED.contains(name) || DROPPED_WORDS.contains(&name.as_str()) || FOR_THE_NODE.contains(name)
}

/// The names that `Connection` lists.
pub(super) fn connection_options(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(CONNECTION).iter().map(HeaderValue::as_bytes);
    let names = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    names.filter_map(|name| HeaderName::from_bytes(name).ok()).collect()
}

/// A copy for viewers: without fields of one connection and those meant for the node, and with a `Date` (RFC 9110
/// section 6.6.1) if the origin sent none that can be read.
pub(super) fn for_viewers(received: &ResponseHeader, now: SystemTime) -> ResponseHeader {
    let named = connection_options(&received.headers);
    let from_node = received.headers.contains_key(FOREBAY_TTL);
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = received.status;
    parts.headers = HeaderMap::with_capacity(received.headers.len() + 8);
    for (name, value) in &received.headers {
        let is_nodes = from_node && *name == CDN_CACHE_CONTROL;
        if !is_nodes && !is_dropped(name) && !named.contains(name) {
            // Copied: a received value shares the whole buffer that the header was read into.
            parts
                .headers
                .append(name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap_or(value.clone()));
        }
    }
    if Dated::of(&parts.headers, &DATE, now).time().is_none()
        && let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(now))
    {
        parts.headers.insert(DATE, date);
    }
    ResponseHeader::from(parts)
}

/// Takes out what an origin says to this node alone, in an answer that is passed through.
pub fn hide_from_viewers(header: &mut ResponseHeader) {
    if header.headers.contains_key(FOREBAY_TTL) {
        // A node of the next tier has written it, and not the origin.
        header.remove_header(&CDN_CACHE_CONTROL);
    }
    for name in &FOR_THE_NODE {
        header.remove_header(name);
    }
}

/// Says by `max-age` what a header says by `Expires` alone. `Expires` is a time of the clock, and its lifetime is what it
/// is later than `Date` (RFC 9111 section 4.2.1); but the `Date` that viewers get is that of the moment at which they get
/// it, and the age would be taken off twice. `now` tells which century a year of two digits is in.
pub fn tell_expires(header: &mut ResponseHeader, now: SystemTime) {
    if !header.headers.contains_key(EXPIRES)
        || Directives::of_cache_control(&header.headers).max_age.is_some()
    {
        return;
    }
    let time = |name: &HeaderName| Dated::of(&header.headers, name, now).time();
    let (Some(expires), Some(date)) = (time(&EXPIRES), time(&DATE)) else { return };
    let lifetime = expires.duration_since(date).unwrap_or_default();
    // A static name and a value made of digits and letters.
    let _ = header.append_header(CACHE_CONTROL, format!("max-age={}", lifetime.as_secs()));
}

/// Replaces the times of `Cache-Control` and `Expires` by a freshness for viewers; what else the origin said that bears
/// on caches and browsers stays.
pub(super) fn set_viewer_freshness(
    header: &mut ResponseHeader,
    freshness: Duration,
    told: &Directives,
    live: bool,
) {
    let words = [
        (told.public, "public"),
        (told.private.is_whole(), "private"),
        (told.must_revalidate, "must-revalidate"),
        (told.proxy_revalidate, "proxy-revalidate"),
        (told.no_transform, "no-transform"),
        // A live playlist changes, whatever its origin says.
        (told.immutable && !live, "immutable"),
    ];
    let mut value = format!("max-age={}", freshness.as_secs());
    for (_, word) in words.into_iter().filter(|(is_told, _)| *is_told) {
        // Writing to a string does not fail.
        let _ = write!(value, ", {word}");
    }
    // A static name and a value made of digits and letters.
    let _ = header.insert_header(CACHE_CONTROL, value);
    header.remove_header(&EXPIRES);
}
