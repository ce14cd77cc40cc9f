//! How a stored object is validated and brought up to date (RFC 9111 sections 3.2, 4.3.1, 4.3.4 and 4.3.5).

use http::HeaderMap;
use http::header::{
    AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, EXPIRES, HeaderName,
    HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, SET_COOKIE, VARY,
};
use pingora::http::ResponseHeader;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::age::told;
use super::changed::{as_received, is_made_of};
use super::date::Dated;
use super::directives::{Deciding, TARGETS};
use super::header::REPRESENTATION_DIGESTS;
use super::header::connection_options;
use super::storing::dropped_fields;
use crate::store::Lifetime;

/// Fields of a stored header that no later answer changes: those of the body as it is stored, the one that the choice
/// of this answer among others was made by (section 3.2), and the one that would make the object unfit to be shared.
const UNCHANGED: [HeaderName; 7] = [
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    CONTENT_RANGE,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    VARY,
    SET_COOKIE,
];

/// What the answer to a HEAD request means for a stored answer to GET (section 4.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadUpdate {
    /// It is the same representation: its header is brought up to date ([`merge_confirmed`]).
    Update,
    /// It is another one: what is stored is stale.
    Stale,
    /// It says nothing of what is stored.
    Unrelated,
}

/// The fields that make a request conditional on a stored header (section 4.3.1); none, if it has no validator.
pub fn conditional_fields(stored: &ResponseHeader) -> HeaderMap {
    let mut fields = HeaderMap::new();
    if let Some(etag) = entity_tag(&stored.headers) {
        fields.insert(IF_NONE_MATCH, etag.clone());
    }
    if let Some(date) = last_modified(&stored.headers) {
        fields.insert(IF_MODIFIED_SINCE, date.clone());
    }
    fields
}

/// Whether a 304 bears on the stored answer that the request was conditional on (section 4.3.4).
///
/// A strong entity tag must be the stored one; a weak one must match it, or else a date of modification must. A 304
/// without any validator is taken at its word: the request named the validators of one stored answer.
pub fn confirms(stored: &ResponseHeader, received: &ResponseHeader) -> bool {
    let (old, new) = (&*as_received(&stored.headers, &received.headers), &received.headers);
    match (entity_tag(old), entity_tag(new)) {
        (Some(old), Some(new)) if is_strong(new) => old == new,
        (Some(old), Some(new)) => opaque(old) == opaque(new),
        // The date counts for a strong validator (RFC 9110 section 8.8.2.2), or else the tag identifies nothing stored.
        (None, Some(new)) if is_strong(new) => is_strong_date(old) && same_date(old, received) == Some(true),
        _ => same_date(old, received).unwrap_or(true),
    }
}

/// The stored header with the fields of a later answer in place of its own (section 3.2). Fields of one connection and
/// those that the later answer limits to one user are not taken over. An answer without `Date` was made when it came:
/// the old one goes.
pub fn merge_confirmed(stored: &ResponseHeader, received: &ResponseHeader) -> ResponseHeader {
    let mut merged = stored.clone();
    let hop = connection_options(&received.headers);
    let deciding = Deciding::of(&received.headers);
    // What is of the origin's bytes is not of a text that was changed before it was kept.
    let changed = is_changed(stored, received);
    let of_bytes =
        |name: &HeaderName| *name == ETAG || *name == LAST_MODIFIED || REPRESENTATION_DIGESTS.contains(name);
    merged.remove_header(&DATE);
    merged.remove_header(&AGE);
    for name in received.headers.keys() {
        let limited = dropped_fields(&deciding).any(|dropped| dropped == name);
        if UNCHANGED.contains(name) || hop.contains(name) || limited || (changed && of_bytes(name)) {
            continue;
        }
        merged.remove_header(name);
        for value in received.headers.get_all(name) {
            // A name and a value that came in a header fit into one.
            let _ = merged.append_header(name, value);
        }
    }
    merged
}

/// The lifetime of an object that is confirmed by an answer that came at `now`: `judged`, from its merged header, if the
/// answer says anything of freshness or a rule sets it; else as long as was named before, counted anew as it was then. The
/// stored header may tell viewers another time than the origin told the node, so it is not the measure; and neither is
/// what was left when the object came, in which the age it had then is part of the sum.
pub fn confirmed_lifetime(
    held: &Lifetime,
    judged: Lifetime,
    received: &ResponseHeader,
    by_rule: bool,
    now: SystemTime,
) -> Lifetime {
    let says = |name: &HeaderName| received.headers.contains_key(name);
    if by_rule || says(&CACHE_CONTROL) || says(&EXPIRES) || TARGETS.iter().any(says) {
        return judged;
    }
    let fresh_until = if held.from_coming {
        now + held.span.saturating_sub(told(&received.headers))
    } else {
        judged.created + held.span
    };
    Lifetime { created: judged.created, fresh_until, purged: None, ..*held }
}

/// What the answer to a HEAD request means for a stored header (section 4.3.5). A length that the stored header does
/// not tell is another length.
pub fn head_updates(stored: &ResponseHeader, head: &ResponseHeader) -> HeadUpdate {
    if head.status != http::StatusCode::OK || stored.status != http::StatusCode::OK {
        return HeadUpdate::Unrelated;
    }
    if is_changed(stored, head) {
        return HeadUpdate::Update;
    }
    let told = [ETAG, LAST_MODIFIED, CONTENT_LENGTH];
    let differs = |name: &HeaderName| {
        head.headers.contains_key(name) && head.headers.get(name) != stored.headers.get(name)
    };
    if told.iter().any(differs) { HeadUpdate::Stale } else { HeadUpdate::Update }
}

/// Whether what is stored was made of what an answer names, by a change of its text.
fn is_changed(stored: &ResponseHeader, named: &ResponseHeader) -> bool {
    let tags = stored.headers.get(ETAG).zip(named.headers.get(ETAG));
    tags.is_some_and(|(kept, origins)| is_made_of(kept, origins))
}

/// The entity tag (RFC 9110 section 8.8.3), if there is one of the right form.
fn entity_tag(headers: &HeaderMap) -> Option<&HeaderValue> {
    let tag = headers.get(ETAG)?;
    let inner = opaque(tag).strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (!inner.iter().any(|byte| *byte == b'"' || *byte <= b' ' || *byte == 0x7f)).then_some(tag)
}

fn is_strong(tag: &HeaderValue) -> bool {
    !tag.as_bytes().starts_with(b"W/")
}

fn opaque(tag: &HeaderValue) -> &[u8] {
    tag.as_bytes().strip_prefix(b"W/").unwrap_or(tag.as_bytes())
}

/// `Last-Modified`, if it is a date.
fn last_modified(headers: &HeaderMap) -> Option<&HeaderValue> {
    Dated::of(headers, &LAST_MODIFIED, UNIX_EPOCH).time().and_then(|_| headers.get(LAST_MODIFIED))
}

/// Whether both were last modified at the same time; None: the later answer does not say.
fn same_date(old: &HeaderMap, received: &ResponseHeader) -> Option<bool> {
    let new = received.headers.get(LAST_MODIFIED)?;
    Some(old.get(LAST_MODIFIED).is_some_and(|old| old == new))
}

/// Whether a second lies between `Last-Modified` and `Date`, so that no two versions can share the former.
fn is_strong_date(headers: &HeaderMap) -> bool {
    let time = |name: &HeaderName| -> Option<SystemTime> { Dated::of(headers, name, UNIX_EPOCH).time() };
    let (Some(changed), Some(made)) = (time(&LAST_MODIFIED), time(&DATE)) else { return false };
    made.duration_since(changed).is_ok_and(|span| span >= Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
