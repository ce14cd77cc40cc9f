//! Content codings towards viewers (RFC 9110 section 12.5.3): which objects are sent encoded, in which coding a request
//! takes its answer, and what the tag and the header of an encoded representation are. Pure.
//!
//! Playlists, manifests and JSON are text that shrinks to a fraction; media does not shrink, and is never touched.

use std::borrow::Cow;

use http::StatusCode;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, VARY,
};
use pingora::http::ResponseHeader;

use crate::asset::Kind;
use crate::cache::directives::Directives;
use crate::cache::{CONTENT_DIGESTS, REPRESENTATION_DIGESTS};
use crate::config::model::Coding;
use crate::store::Object;

/// Media types sent encoded whatever the path says: HLS, DASH, JSON.
const TYPES: [&str; 6] = [
    "application/vnd.apple.mpegurl",
    "application/x-mpegurl",
    "audio/mpegurl",
    "audio/x-mpegurl",
    "application/dash+xml",
    "application/json",
];

/// A weight (RFC 9110 section 12.4.2), in thousandths.
type Weight = u16;

/// The weight of a member without one.
const FULL: Weight = 1000;

/// What an `Accept-Encoding` field says.
#[derive(Debug, Default)]
struct Accepted {
    codings: [Option<Weight>; Coding::ALL.len()],
    identity: Option<Weight>,
    any: Option<Weight>,
}

/// Whether an object is sent encoded to those who take it, once all of it is here. Nothing that its origin has encoded,
/// or forbids to transform (RFC 9111 section 5.2.2.6), is.
pub fn is_eligible(object: &Object) -> bool {
    let headers = &object.header.headers;
    let is_text = match object.kind {
        Kind::MultivariantPlaylist | Kind::MediaPlaylist | Kind::Manifest | Kind::Api => true,
        Kind::Other => headers.get(CONTENT_TYPE).is_some_and(is_text_type),
        Kind::Segment | Kind::Part | Kind::Init | Kind::Key | Kind::Image => false,
    };
    is_text
        && object.shared
        && object.status() == StatusCode::OK
        && !headers.contains_key(CONTENT_ENCODING)
        && !forbids_transform(headers)
}

/// Whether `Cache-Control`, of a request or an answer, has `no-transform` (RFC 9111 sections 5.2.1.6 and 5.2.2.6).
pub fn forbids_transform(headers: &HeaderMap) -> bool {
    Directives::of_cache_control(headers).no_transform
}

/// The coding that a request takes an answer in: the one of the highest weight, of equals the one that stands first in
/// `preference`. None: the answer goes as it is, which it also does when the request accepts nothing at all.
pub fn choose(request: &HeaderMap, preference: &[Coding]) -> Option<Coding> {
    let accepted = Accepted::read(request);
    let weight = |coding: Coding| accepted.codings[coding as usize].or(accepted.any).unwrap_or(0);
    let mut best: Option<(Coding, Weight)> = None;
    for &coding in preference {
        let weight = weight(coding);
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((coding, weight));
        }
    }
    // Identity is acceptable unless it is excluded; it is preferred only by a weight of its own.
    best.filter(|(_, weight)| *weight >= accepted.identity.unwrap_or(0)).map(|(coding, _)| coding)
}

/// The entity tag of an object's representation in a coding: another one for each, since the bytes differ (RFC 9110
/// section 8.8.3.3).
pub fn tag(tag: &HeaderValue, coding: Option<Coding>) -> Cow<'_, HeaderValue> {
    coding.map_or(Cow::Borrowed(tag), |coding| tag_with(tag, coding.as_str()))
}

/// An entity tag with a word inside its quotes: that of another representation.
pub fn tag_with<'t>(tag: &'t HeaderValue, word: &str) -> Cow<'t, HeaderValue> {
    // Some origins send tags without quotes.
    let (opened, quote) = match tag.as_bytes().strip_suffix(b"\"") {
        Some(opened) => (opened, "\""),
        None => (tag.as_bytes(), ""),
    };
    let coded = [opened, b"-", word.as_bytes(), quote.as_bytes()].concat();
    HeaderValue::from_bytes(&coded).map_or(Cow::Borrowed(tag), Cow::Owned)
}

/// Makes a header that of the representation in a coding, `len` bytes long.
pub fn encode_header(header: &mut ResponseHeader, coding: Coding, len: u64) {
    let etag = header.headers.get(ETAG).map(|etag| tag(etag, Some(coding)).into_owned());
    if let Some(etag) = etag {
        super::fields::set(header, ETAG, etag);
    }
    // They are of the bytes that the origin sent (RFC 9530).
    for name in CONTENT_DIGESTS.iter().chain(&REPRESENTATION_DIGESTS) {
        header.remove_header(name);
    }
    super::fields::set(header, CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    super::fields::set(header, CONTENT_LENGTH, HeaderValue::from(len));
}

/// Says that the answer depends on `Accept-Encoding`, in one field with what it depends on already.
pub fn vary(header: &mut ResponseHeader) {
    let name = ACCEPT_ENCODING.as_str();
    if members(&header.headers, &VARY).any(|member| member == "*" || member.eq_ignore_ascii_case(name)) {
        return;
    }
    let mut names: Vec<&str> = members(&header.headers, &VARY).collect();
    names.push("Accept-Encoding");
    if let Ok(value) = HeaderValue::from_str(&names.join(", ")) {
        super::fields::set(header, VARY, value);
    }
}

impl Accepted {
    /// Reads the field; a member that is malformed is left out, and of several for one coding the first counts.
    fn read(request: &HeaderMap) -> Accepted {
        let mut accepted = Accepted::default();
        for member in members(request, &ACCEPT_ENCODING) {
            let (name, parameter) = match member.split_once(';') {
                Some((name, parameter)) => (name.trim(), Some(parameter.trim())),
                None => (member, None),
            };
            let Some(weight) = parameter.map_or(Some(FULL), weight) else { continue };
            if let Some(place) = accepted.place(name) {
                place.get_or_insert(weight);
            }
        }
        accepted
    }

    fn place(&mut self, name: &str) -> Option<&mut Option<Weight>> {
        if name == "*" {
            return Some(&mut self.any);
        }
        if name.eq_ignore_ascii_case("identity") {
            return Some(&mut self.identity);
        }
        // RFC 9110 section 8.4.1.3.
        let name = if name.eq_ignore_ascii_case("x-gzip") { "gzip" } else { name };
        let coding = Coding::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.as_str()))?;
        Some(&mut self.codings[coding as usize])
    }
}

/// A weight: `q=` and a number from 0 to 1 with at most three digits behind the point.
fn weight(parameter: &str) -> Option<Weight> {
    let value = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(whole, "0" | "1") || fraction.len() > 3 || !digits {
        return None;
    }
    let mut thousandths = Weight::from(whole == "1") * FULL;
    for (digit, worth) in fraction.bytes().zip([100, 10, 1]) {
        thousandths += Weight::from(digit - b'0') * worth;
    }
    (thousandths <= FULL).then_some(thousandths)
}

/// The members of a field that is a list of tokens.
fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|member| !member.is_empty())
}

fn is_text_type(value: &HeaderValue) -> bool {
    let Ok(value) = value.to_str() else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim();
    let is_json = essence.len() > 5 && essence.as_bytes()[essence.len() - 5..].eq_ignore_ascii_case(b"+json");
    is_json || TYPES.iter().any(|known| essence.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests;
