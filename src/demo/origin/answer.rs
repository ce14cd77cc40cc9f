//! From an object to an HTTP answer: entity tags, conditions and ranges (RFC 9110 sections 13 and 14).
//!
//! Decides 200, 206, 304 or 416 for something that exists. Which object it is, and whether it exists, was decided
//! before, by [`super`].

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;

use crate::demo::media::Object;

/// How an object is labelled.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Cache-Control`.
    pub cache_control: &'static str,
    /// Whether parts of it can be asked for with `Range`.
    pub ranges: bool,
}

/// Answers a GET or HEAD for an object. The body of a HEAD is taken off by the server.
pub fn object(request: &HeaderMap, object: &Object, label: Label) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    let headers = answer.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&object.etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(label.cache_control));
    if matches_any(request, header::IF_NONE_MATCH, &object.etag) {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        return answer;
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(label.content_type));
    let length = object.bytes.len();
    let mut body = object.bytes.clone();
    if label.ranges {
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        match wanted_range(request, object) {
            Wanted::Whole => {}
            Wanted::Slice(first, last) => {
                headers.insert(header::CONTENT_RANGE, value(format!("bytes {first}-{last}/{length}")));
                body = object.bytes.slice(first..=last);
                *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            }
            Wanted::Nothing => {
                headers.insert(header::CONTENT_RANGE, value(format!("bytes */{length}")));
                body = Bytes::new();
                *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            }
        }
    }
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    *answer.body_mut() = Body::from(body);
    answer
}

/// An answer in words, for what is not there or not right.
pub fn refusal(status: StatusCode, reason: impl Into<String>) -> Response<Body> {
    let mut answer = Response::new(Body::from(reason.into() + "\n"));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// There is none that counts.
    Whole,
    /// First and last byte.
    Slice(usize, usize),
    /// It lies outside the object.
    Nothing,
}

/// One range is honoured; several, or one that is not understood, are ignored, as RFC 9110 section 14.2 allows.
fn wanted_range(request: &HeaderMap, object: &Object) -> Wanted {
    if request.contains_key(header::IF_RANGE) && !matches_any(request, header::IF_RANGE, &object.etag) {
        return Wanted::Whole;
    }
    let range = request.get(header::RANGE).and_then(|range| range.to_str().ok());
    let Some((first, last)) =
        range.and_then(|range| range.strip_prefix("bytes=")).and_then(|r| r.split_once('-'))
    else {
        return Wanted::Whole;
    };
    let length = object.bytes.len();
    match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) if first > last => Wanted::Whole,
        (Ok(first), _) if first >= length && (last.is_empty() || last.parse::<usize>().is_ok()) => {
            Wanted::Nothing
        }
        (Ok(first), Ok(last)) => Wanted::Slice(first, last.min(length - 1)),
        (Ok(first), Err(_)) if last.is_empty() => Wanted::Slice(first, length - 1),
        (Err(_), Ok(0)) if first.is_empty() => Wanted::Nothing,
        (Err(_), Ok(suffix)) if first.is_empty() && length > 0 => {
            Wanted::Slice(length.saturating_sub(suffix), length - 1)
        }
        _ => Wanted::Whole,
    }
}

/// Whether a condition header names this entity tag, or any.
fn matches_any(request: &HeaderMap, name: header::HeaderName, etag: &str) -> bool {
    request
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
        })
}

fn value(text: String) -> HeaderValue {
    // Digits and ASCII punctuation only, so that it always is a header value.
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    const LABEL: Label = Label { content_type: "video/mp4", cache_control: "max-age=3600", ranges: true };

    fn ten_bytes() -> Object {
        Object::new(Bytes::from_static(b"0123456789"))
    }

    fn asked(headers: &[(header::HeaderName, &str)]) -> Response<Body> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        object(&headers, &ten_bytes(), LABEL)
    }

    fn content_range(answer: &Response<Body>) -> &str {
        answer.headers()[header::CONTENT_RANGE].to_str().unwrap()
    }

    #[test]
    fn a_range_inside_is_answered_206() {
        let expected = [
            ("bytes=0-0", "bytes 0-0/10"),
            ("bytes=7-", "bytes 7-9/10"),
            ("bytes=5-99", "bytes 5-9/10"),
            ("bytes=-3", "bytes 7-9/10"),
            ("bytes=-99", "bytes 0-9/10"),
        ];
        for (range, answered) in expected {
            let answer = asked(&[(header::RANGE, range)]);
            assert_eq!(
                (answer.status(), content_range(&answer)),
                (StatusCode::PARTIAL_CONTENT, answered),
                "{range}"
            );
        }
    }

    #[test]
    fn a_range_outside_is_answered_416_with_the_length() {
        for range in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            let answer = asked(&[(header::RANGE, range)]);
            assert_eq!(
                (answer.status(), content_range(&answer)),
                (StatusCode::RANGE_NOT_SATISFIABLE, "bytes */10"),
                "{range}"
            );
        }
    }

    #[test]
    fn a_range_that_is_not_understood_is_ignored() {
        for range in ["bytes=3-2", "bytes=0-1,4-5", "bytes=x-", "items=0-1", "bytes=-"] {
            assert_eq!(asked(&[(header::RANGE, range)]).status(), StatusCode::OK, "{range}");
        }
    }

    #[test]
    fn a_range_of_another_version_is_answered_whole() {
        let range = (header::RANGE, "bytes=5-");
        assert_eq!(asked(&[range.clone(), (header::IF_RANGE, "\"other\"")]).status(), StatusCode::OK);
        let same = ten_bytes().etag;
        assert_eq!(asked(&[range, (header::IF_RANGE, &same)]).status(), StatusCode::PARTIAL_CONTENT);
    }

    #[test]
    fn a_known_entity_tag_is_answered_304() {
        let etag = ten_bytes().etag;
        for tags in [etag.clone(), format!("\"a\", W/{etag}"), "*".to_owned()] {
            let answer = asked(&[(header::IF_NONE_MATCH, &tags)]);
            assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{tags}");
            assert_eq!(answer.headers()[header::ETAG], etag);
        }
        assert_eq!(asked(&[(header::IF_NONE_MATCH, "\"a\"")]).status(), StatusCode::OK);
    }
}
