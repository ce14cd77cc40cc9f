//! What is sent for an object: all of it, a part, several, only its header, or word that the client has it already or
//! wants another one. Pure.
//!
//! Towards viewers the node is a gateway, to which the requirements on an origin server apply (RFC 9110 section 3.7): it
//! evaluates all preconditions, `If-Match` and `If-Unmodified-Since` included, which a cache in between may ignore.
//!
//! While a body grows whose length nobody has told, a range is answered once it is certain:
//! - `bytes=A-B` when byte B is here, as `bytes A-B/*`; when the end comes first, by the length that is known then. Where a
//!   playlist has named bytes up to B (RFC 8216bis sections 4.4.4.2 and 4.4.4.9), when byte A is here, and the bytes as they
//!   come; should the body end before B, the transfer breaks off.
//! - `bytes=A-9007199254740991` when byte A is here, as `bytes A-9007199254740991/*`, for as long as bytes come: by that
//!   position the client says that it knows of RFC 8673, and only then may an answer promise bytes nobody has seen.
//! - `bytes=0-` at once, by the whole: to ignore `Range` is always right (section 14.2), and nothing waits.
//! - Any other open range, a suffix and several ranges when the end has come. RFC 8673 section 2.1 would have `bytes=A-`
//!   answered by what is here, which a client that does not know of it takes for the rest of the body.
//!
//! A body that is not kept cannot be waited for: nobody would read it meanwhile. There such a range is ignored.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{
    CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use http::{Method, StatusCode};

use super::encode::Selected;
use super::multipart::{Boundary, Multipart};
use super::range::{self, RangeRequest, Spec, VERY_LARGE_LAST};
use crate::store::{BodyError, Object};

/// What `Last-Modified` must be older than `Date` by, to tell versions apart (RFC 9110 section 8.8.2.2).
const DATE_SETTLED: Duration = Duration::from_secs(1);

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The representation as it is.
    Whole,
    /// The bytes from `start` to before `end`, of `len` in all (None: not known yet).
    Part {
        /// First byte.
        start: u64,
        /// Byte after the last.
        end: u64,
        /// Length of the whole.
        len: Option<u64>,
    },
    /// The bytes from `start` on, for as long as they come (RFC 8673).
    Onward {
        /// First byte; it is here.
        start: u64,
    },
    /// Several parts.
    Parts(Arc<Multipart>),
    /// 304 (RFC 9110 section 15.4.5).
    NotModified,
    /// 412 (section 15.5.13).
    Failed,
    /// 416, for a body of so many bytes (section 15.5.17).
    Unsatisfiable(u64),
}

/// What a plan cannot be made without: bytes of a growing body up to before this one, or its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untold(u64);

/// What plans are made by, beside request and object.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Ranges that a request may ask for (`limits.ranges`).
    pub ranges_max: usize,
    /// Bytes of the object that playlists have named.
    pub named: u64,
    /// Where boundaries come from.
    pub boundary: fn() -> Option<Boundary>,
}

impl Plan {
    /// The first byte of the body that is sent; None: nothing of it is.
    pub fn first_byte(&self) -> Option<u64> {
        match self {
            Plan::Whole => Some(0),
            Plan::Part { start, .. } | Plan::Onward { start } => Some(*start),
            Plan::Parts(multipart) => multipart.parts().first().map(|part| part.start),
            Plan::NotModified | Plan::Failed | Plan::Unsatisfiable(_) => None,
        }
    }
}

impl Untold {
    /// Waits for it; then another plan can be made. As long as the origin goes on sending, and the body does not outgrow
    /// what is kept, this does not end.
    ///
    /// # Errors
    /// [`BodyError`] when the body breaks off.
    pub async fn wait(self, object: &Object) -> Result<(), BodyError> {
        match object.body.as_whole() {
            Some(body) => body.arrival(self.0).await,
            None => Ok(()),
        }
    }
}

/// Decides by the request's preconditions, in the order of RFC 9110 section 13.2.2. Only the object as it is is
/// sent in parts; a text with a viewer's token in it is compared by its tag alone, for its date says nothing of the token.
///
/// # Errors
/// [`Untold`], when it is too early to tell.
pub fn plan(
    method: &Method,
    request: &HeaderMap,
    object: &Object,
    selected: &Selected,
    terms: &Terms,
) -> Result<Plan, Untold> {
    // Preconditions and ranges bear on a 200 alone (sections 13.2.1 and 14.2).
    if object.status() != StatusCode::OK {
        return Ok(Plan::Whole);
    }
    let conditions = Conditions { request, object, selected };
    if conditions.fail() {
        return Ok(Plan::Failed);
    }
    if conditions.hold_no_news() {
        return Ok(Plan::NotModified);
    }
    match single(request, &RANGE).and_then(|field| field.to_str().ok()) {
        Some(field) if *method == Method::GET && selected.is_identity() && conditions.allow_range() => {
            part(field, object, terms)
        }
        _ => Ok(Plan::Whole),
    }
}

fn part(field: &str, object: &Object, terms: &Terms) -> Result<Plan, Untold> {
    let Some(len) = object.length() else { return growing_part(field, object, terms) };
    Ok(match range::parse(field, len, terms.ranges_max) {
        RangeRequest::Whole => Plan::Whole,
        RangeRequest::Parts(parts) => match parts.as_slice() {
            [part] => Plan::Part { start: part.start, end: part.end, len: Some(len) },
            _ => several(parts, len, object, terms).unwrap_or(Plan::Whole),
        },
        RangeRequest::Unsatisfiable => Plan::Unsatisfiable(len),
    })
}

/// Several parts, unless they would take more than the whole, or cannot be read in their order.
fn several(parts: Vec<std::ops::Range<u64>>, len: u64, object: &Object, terms: &Terms) -> Option<Plan> {
    if !object.body.is_kept() {
        return None;
    }
    let content_type = object.header.headers.get(CONTENT_TYPE).cloned();
    let multipart = Multipart::new(parts, len, content_type, (terms.boundary)()?);
    (multipart.content_length() < len).then(|| Plan::Parts(Arc::new(multipart)))
}

/// A range of a body of untold length: see the module's documentation.
fn growing_part(field: &str, object: &Object, terms: &Terms) -> Result<Plan, Untold> {
    let Some(specs) = range::specs(field, terms.ranges_max) else { return Ok(Plan::Whole) };
    let (here, _) = object.body.progress();
    let until = match *specs.as_slice() {
        [Spec::From(0)] => return Ok(Plan::Whole),
        [Spec::Bounded(start, VERY_LARGE_LAST)] if start < here => return Ok(Plan::Onward { start }),
        [Spec::Bounded(start, VERY_LARGE_LAST)] => start.saturating_add(1),
        [Spec::Bounded(start, last)] if last < here || (start < here && last < terms.named) => {
            return Ok(Plan::Part { start, end: last.saturating_add(1), len: None });
        }
        [Spec::Bounded(start, last)] if last < terms.named => start.saturating_add(1),
        [Spec::Bounded(_, last)] => last.saturating_add(1),
        _ => u64::MAX,
    };
    if object.body.is_kept() { Err(Untold(until)) } else { Ok(Plan::Whole) }
}

/// The preconditions of a request, against what it would be answered with.
struct Conditions<'a> {
    request: &'a HeaderMap,
    object: &'a Object,
    selected: &'a Selected,
}

impl Conditions<'_> {
    /// `If-Match` by strong comparison, else `If-Unmodified-Since` (sections 13.1.1 and 13.1.4).
    fn fail(&self) -> bool {
        if self.request.contains_key(IF_MATCH) {
            let etag = self.etag().filter(|etag| !is_weak(etag.as_bytes()));
            let matches =
                |tag: &[u8]| tag == b"*" || etag.as_ref().is_some_and(|etag| tag == etag.as_bytes());
            return !self.request.get_all(IF_MATCH).iter().any(|list| tags(list.as_bytes()).any(matches));
        }
        match (self.date_of(&IF_UNMODIFIED_SINCE), self.object.last_modified().and_then(date)) {
            (Some(since), Some(modified)) => modified > since,
            _ => false,
        }
    }

    /// `If-None-Match` by weak comparison, else `If-Modified-Since` (sections 13.1.2 and 13.1.3); without
    /// `Last-Modified`, by when the answer was made (RFC 9111 section 4.3.2).
    fn hold_no_news(&self) -> bool {
        if self.request.contains_key(IF_NONE_MATCH) {
            let etag = self.etag();
            let matches = |tag: &[u8]| {
                tag == b"*" || etag.as_ref().is_some_and(|etag| opaque(tag) == opaque(etag.as_bytes()))
            };
            return self.request.get_all(IF_NONE_MATCH).iter().any(|list| tags(list.as_bytes()).any(matches));
        }
        let Some(since) = self.date_of(&IF_MODIFIED_SINCE) else { return false };
        if self.selected.rewritten.is_some() {
            return false;
        }
        let modified = match self.object.last_modified() {
            Some(modified) => date(modified),
            None => Some(self.made()),
        };
        modified.is_some_and(|modified| modified <= since)
    }

    /// `If-Range`: strong comparison of an entity tag, or the very date, if it tells versions apart (section 13.1.5).
    fn allow_range(&self) -> bool {
        if !self.request.contains_key(IF_RANGE) {
            return true;
        }
        let Some(condition) = single(self.request, &IF_RANGE) else { return false };
        if condition.as_bytes().starts_with(b"\"") {
            return self.etag().as_deref() == Some(condition);
        }
        let settled = |modified: SystemTime| modified + DATE_SETTLED <= self.made();
        self.object.last_modified() == Some(condition) && date(condition).is_some_and(settled)
    }

    /// The tag of the representation selected.
    fn etag(&self) -> Option<Cow<'_, HeaderValue>> {
        self.object.etag().map(|etag| self.selected.tag(etag))
    }

    /// When the answer was made: `Date`, else when it came.
    fn made(&self) -> SystemTime {
        self.object.header.headers.get(DATE).and_then(date).unwrap_or(self.object.lifetime.created)
    }

    /// A date in the request; one that is no date, or stands there twice, is ignored.
    fn date_of(&self, name: &HeaderName) -> Option<SystemTime> {
        single(self.request, name).and_then(date)
    }
}

/// The value of a field that is no list: None if it stands there more than once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The entity tags of a list; a comma inside quotes belongs to its tag.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let at_comma = move |byte: &u8| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    };
    list.split(at_comma).map(<[u8]>::trim_ascii)
}

fn is_weak(tag: &[u8]) -> bool {
    tag.starts_with(b"W/")
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests;
