//! What is sent for an object: all of it, a part, only its header, or word that the client has it already. Pure.

use http::header::{HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{Method, StatusCode};

use super::range::{self, RangeRequest};
use crate::store::Object;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The object as it is.
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
    /// 304 (RFC 9110 section 15.4.5).
    NotModified,
    /// 416, for a body of so many bytes (section 15.5.17).
    Unsatisfiable(u64),
}

impl Plan {
    /// The first byte of the body that is sent; None: nothing of it is.
    pub fn first_byte(&self) -> Option<u64> {
        match *self {
            Plan::Whole => Some(0),
            Plan::Part { start, .. } => Some(start),
            Plan::NotModified | Plan::Unsatisfiable(_) => None,
        }
    }
}

/// Decides by the request's preconditions, in the order of RFC 9110 section 13.2.2.
pub fn plan(method: &Method, request: &HeaderMap, object: &Object) -> Plan {
    // Preconditions and ranges bear on a 200 alone (sections 13.2.1 and 14.2).
    if object.status() != StatusCode::OK {
        return Plan::Whole;
    }
    if is_not_modified(request, object) {
        return Plan::NotModified;
    }
    match request.get(RANGE).and_then(|field| field.to_str().ok()) {
        Some(field) if *method == Method::GET && if_range_holds(request, object) => part(field, object),
        _ => Plan::Whole,
    }
}

fn part(field: &str, object: &Object) -> Plan {
    let Some(len) = object.length() else { return growing_part(field, object) };
    match range::parse(field, len) {
        RangeRequest::Whole => Plan::Whole,
        RangeRequest::Part { start, end } => Plan::Part { start, end, len: Some(len) },
        RangeRequest::Unsatisfiable => Plan::Unsatisfiable(len),
    }
}

/// A part of a body of untold length: only if all of it has arrived, and both its ends are named.
fn growing_part(field: &str, object: &Object) -> Plan {
    let (here, _) = object.body.progress();
    match range::parse(field, u64::MAX) {
        RangeRequest::Part { start, end } if end <= here => Plan::Part { start, end, len: None },
        _ => Plan::Whole,
    }
}

/// `If-None-Match` by weak comparison, else `If-Modified-Since` (sections 13.1.2 and 13.1.3).
fn is_not_modified(request: &HeaderMap, object: &Object) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        let Some(etag) = object.etag() else { return false };
        let matches = |tag: &[u8]| tag == b"*" || opaque(tag) == opaque(etag.as_bytes());
        return request.get_all(IF_NONE_MATCH).iter().any(|list| tags(list.as_bytes()).any(matches));
    }
    match (request.get(IF_MODIFIED_SINCE).and_then(date), object.last_modified().and_then(date)) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

/// `If-Range`: strong comparison of an entity tag, or the very date (section 13.1.5).
fn if_range_holds(request: &HeaderMap, object: &Object) -> bool {
    let Some(condition) = request.get(IF_RANGE) else { return true };
    let strong = !condition.as_bytes().starts_with(b"W/");
    if condition.as_bytes().starts_with(b"\"") || !strong {
        return strong && object.etag() == Some(condition);
    }
    object.last_modified() == Some(condition)
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

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

fn date(value: &HeaderValue) -> Option<std::time::SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::asset::Kind;
    use crate::key::Key;
    use crate::store::{Body, Lifetime};
    use bytes::Bytes;
    use pingora::http::ResponseHeader;
    use std::time::{Duration, UNIX_EPOCH};

    const MODIFIED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

    fn object(status: u16, told: bool, complete: bool) -> Object {
        let mut header = ResponseHeader::build_no_case(status, None).unwrap();
        header.insert_header("etag", "\"v1,a\"").unwrap();
        header.insert_header("last-modified", MODIFIED).unwrap();
        if told {
            header.insert_header("content-length", 10).unwrap();
        }
        let body = Body::growing(None, None);
        body.append(Bytes::from_static(b"01234"));
        if complete {
            body.append(Bytes::from_static(b"56789"));
            body.finish();
        }
        let lifetime = Lifetime {
            created: UNIX_EPOCH,
            fresh_until: UNIX_EPOCH,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
        };
        let key = Key { hash: 1, text: "0 /".into() };
        let hit_header = Default::default();
        let (body, disk) = (body.into(), Default::default());
        Object { key, kind: Kind::Segment, header, lifetime, body, shared: true, disk, hit_header }
    }

    fn planned(object: &Object, fields: &[(&'static str, &str)]) -> Plan {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        plan(&Method::GET, &headers, object)
    }

    #[test]
    fn a_client_that_has_it_is_told_so() {
        let object = object(200, true, true);
        for fields in [
            [("if-none-match", "\"v1,a\"")],
            [("if-none-match", "\"x\", W/\"v1,a\"")],
            [("if-none-match", "*")],
            [("if-modified-since", MODIFIED)],
        ] {
            assert_eq!(planned(&object, &fields), Plan::NotModified, "{fields:?}");
        }
        assert_eq!(
            planned(&object, &[("if-none-match", "\"v2\""), ("if-modified-since", MODIFIED)]),
            Plan::Whole
        );
        assert_eq!(planned(&object, &[("if-modified-since", "Tue, 14 Nov 2023 22:13:19 GMT")]), Plan::Whole);
        assert_eq!(planned(&object, &[("if-modified-since", "yesterday")]), Plan::Whole);
    }

    #[test]
    fn a_range_is_honoured_while_the_object_grows_if_its_length_is_told() {
        for complete in [false, true] {
            let object = object(200, true, complete);
            let plan = planned(&object, &[("range", "bytes=2-7")]);
            assert_eq!(plan, Plan::Part { start: 2, end: 8, len: Some(10) });
            assert_eq!(planned(&object, &[("range", "bytes=10-")]), Plan::Unsatisfiable(10));
        }
    }

    #[test]
    fn a_range_of_untold_length_is_honoured_if_it_is_here() {
        let growing = object(200, false, false);
        assert_eq!(planned(&growing, &[("range", "bytes=0-4")]), Plan::Part { start: 0, end: 5, len: None });
        assert_eq!(planned(&growing, &[("range", "bytes=0-5")]), Plan::Whole);
        assert_eq!(planned(&growing, &[("range", "bytes=-2")]), Plan::Whole);
    }

    #[test]
    fn a_range_holds_only_for_the_same_object() {
        let object = object(200, true, true);
        let part = Plan::Part { start: 0, end: 1, len: Some(10) };
        for (condition, expected) in [
            ("\"v1,a\"", part),
            (MODIFIED, part),
            ("\"v2\"", Plan::Whole),
            ("W/\"v1,a\"", Plan::Whole),
            ("Tue, 14 Nov 2023 22:13:21 GMT", Plan::Whole),
        ] {
            assert_eq!(
                planned(&object, &[("range", "bytes=0-0"), ("if-range", condition)]),
                expected,
                "{condition}"
            );
        }
    }

    #[test]
    fn preconditions_bear_on_a_200_alone() {
        let object = object(404, true, true);
        assert_eq!(planned(&object, &[("range", "bytes=0-0"), ("if-none-match", "*")]), Plan::Whole);
    }
}
