//! Answers as HTTP has them: header fields, conditions (RFC 9110, 13) and byte ranges (14), what a cache may keep for how long. What
//! is there and when is decided by [`super::Stage`], who calls this.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use xxhash_rust::xxh3::xxh3_64;

use super::{Answer, Content};
use crate::fetch::Kind;

pub(super) const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";

/// Media, which never changes under its name.
pub(super) const KEEPS_MEDIA: &str = "public, max-age=86400, immutable";

/// What comes later, or is wrong with the request: not to be kept.
pub(super) const KEEPS_NOTHING: &str = "no-store";

/// What is another text soon: not to be sent again without asking. Nothing that a cache would remember against it.
pub(super) const KEEPS_TO_ASK: &str = "no-cache";

/// The last position of a range that means the end of a resource whose length is not known yet (RFC 8673).
pub(super) const VERY_LARGE: u64 = (1 << 53) - 1;

/// What is asked for of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Whole,
    /// From the first to the last position, which the body has; `endless` when the request named a very large last one.
    Range {
        first: u64,
        last: u64,
        endless: bool,
    },
    Unsatisfiable,
}

/// One object's bytes, of which a request may want some.
#[derive(Clone, Copy, Debug)]
pub(super) struct Media<'a> {
    pub(super) path: &'a str,
    pub(super) kind: Kind,
    pub(super) bytes: u64,
    pub(super) content_type: &'static str,
}

// === impl Answer ===

impl Answer {
    /// The connection is closed.
    pub(super) fn nobody(at: Duration) -> Self {
        Self { status: None, ..Self::short(at, 200, "", None) }
    }

    /// A status and a line of text that says why.
    pub(super) fn short(at: Duration, status: u16, why: &'static str, kind: Option<Kind>) -> Self {
        let has_body = status >= 200 && !matches!(status, 204 | 205 | 304);
        let text = Bytes::from_static(if has_body { why.as_bytes() } else { b"" });
        let mut headers = HeaderMap::new();
        if !text.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        Self {
            at,
            status: Some(status),
            headers,
            length: text.len() as u64,
            body: Content::Text(text),
            breaks_after: None,
            corrupt: None,
            throttle: None,
            grows: Vec::new(),
            chunked: false,
            kind,
            version: None,
        }
    }

    /// The same, of nothing of a stream, and not to be kept.
    pub(super) fn refused(at: Duration, status: u16, why: &'static str) -> Self {
        let mut answer = Self::short(at, status, why, None);
        answer.set(CACHE_CONTROL, KEEPS_NOTHING);
        answer
    }

    /// A playlist, or that it has not changed.
    pub(super) fn playlist(at: Duration, text: String, keeps: &str, asked: &HeaderMap, kind: Kind) -> Self {
        let tag = format!("\"{:016x}\"", xxh3_64(text.as_bytes()));
        let mut answer = if is_known(asked, &tag) {
            Self::short(at, 304, "", Some(kind))
        } else {
            let text = Bytes::from(text);
            Self {
                length: text.len() as u64,
                body: Content::Text(text),
                ..Self::short(at, 200, "", Some(kind))
            }
        };
        answer.set(CONTENT_TYPE, PLAYLIST_TYPE);
        answer.set(CACHE_CONTROL, keeps);
        answer.set(ETAG, &tag);
        answer
    }

    pub(super) fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }
}

// === impl Media ===

impl Media<'_> {
    fn tag(&self) -> String {
        format!("\"{:x}-{:016x}\"", self.bytes, xxh3_64(self.path.as_bytes()))
    }

    /// What of it is asked for. Several ranges, and what is no range, are no range to this origin.
    pub(super) fn span(&self, asked: &HeaderMap) -> Span {
        let Some(range) = asked.get(RANGE).and_then(|value| value.to_str().ok()) else { return Span::Whole };
        if asked.get(IF_RANGE).is_some_and(|tag| tag.as_bytes() != self.tag().as_bytes()) {
            return Span::Whole;
        }
        let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
            return Span::Whole;
        };
        let number =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
        match (number(first), number(last)) {
            (Some(first), last) if last.is_some() || range.ends_with('-') => match last {
                Some(last) if last < first => Span::Whole,
                _ if first >= self.bytes => Span::Unsatisfiable,
                last => Span::Range {
                    first,
                    last: last.unwrap_or(u64::MAX).min(self.bytes - 1),
                    endless: last.is_some_and(|last| last >= VERY_LARGE),
                },
            },
            (None, Some(0)) if first.is_empty() => Span::Unsatisfiable,
            (None, Some(suffix)) if first.is_empty() => {
                Span::Range { first: self.bytes.saturating_sub(suffix), last: self.bytes - 1, endless: false }
            }
            _ => Span::Whole,
        }
    }

    /// The object, or the span of it, or that it is as known. `grows` says when further bytes of it are there; an endless range of
    /// something that grows is answered as RFC 8673 says.
    pub(super) fn answer(
        &self,
        at: Duration,
        span: Span,
        asked: &HeaderMap,
        grows: Vec<(u64, Duration)>,
    ) -> Answer {
        let tag = self.tag();
        let (offset, bytes) = match span {
            Span::Whole => (0, self.bytes),
            Span::Range { first, last, .. } => (first, last - first + 1),
            Span::Unsatisfiable => {
                let mut answer = Answer::refused(at, 416, "no byte of it is in the range\n");
                answer.set(CONTENT_RANGE, &format!("bytes */{}", self.bytes));
                return answer;
            }
        };
        let mut answer = if is_known(asked, &tag) {
            Answer::short(at, 304, "", Some(self.kind))
        } else {
            let status = if span == Span::Whole { 200 } else { 206 };
            let body = Content::Media { offset, bytes };
            Answer { body, length: bytes, ..Answer::short(at, status, "", Some(self.kind)) }
        };
        answer.set(CONTENT_TYPE, self.content_type);
        answer.set(CACHE_CONTROL, KEEPS_MEDIA);
        answer.set(ETAG, &tag);
        answer.set(ACCEPT_RANGES, "bytes");
        if let (Span::Range { first, last, endless }, Some(206)) = (span, answer.status) {
            answer.chunked = endless && !grows.is_empty();
            let range = if answer.chunked {
                format!("bytes {first}-{VERY_LARGE}/*")
            } else {
                format!("bytes {first}-{last}/{}", self.bytes)
            };
            answer.set(CONTENT_RANGE, &range);
        }
        if answer.status != Some(304) {
            answer.grows = grows;
        }
        answer
    }
}

/// Whether the asker has what there is (weak comparison, RFC 9110, 13.1.2).
fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == tag)
    })
}
