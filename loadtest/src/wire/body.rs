//! What becomes of a body: a text is kept, media are counted, hashed and dropped. It decides which length and which bytes a
//! body has to have; what they hash to is [`super::known`]'s, and how the pieces come is [`super::h1`]'s and [`super::h2`]'s.

use std::fmt;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use xxhash_rust::xxh3::Xxh3;

use super::head::{Head, carries_media};
use super::known::{Known, Stretch};
use crate::content::{Expected, expected};
use crate::fetch::{Body, Failure, Get, Outcome};

/// What was asked for, as far as the body of the answer is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    body: Body,
    range: Option<(u64, Option<u64>)>,
    expected: Option<Expected>,
}

/// Where the pieces of one body go, in order.
pub(crate) struct Sink {
    bytes: u64,
    use_: Use,
}

enum Use {
    Text {
        text: BytesMut,
        bytes_max: usize,
    },
    Check {
        stretch: Stretch,
        hasher: Box<Xxh3>,
    },
    /// Not the synthetic origin's, or no media.
    Count,
}

// === impl Wanted ===

impl Wanted {
    pub(crate) fn of(get: &Get<'_>) -> Self {
        let expected = if get.body == Body::Media { expected(get.url.path()) } else { None };
        Self { body: get.body, range: get.range, expected }
    }

    /// Whether somebody reads the fields of the answer, whatever its status.
    pub(crate) fn reads_fields(&self) -> bool {
        self.body != Body::Media
    }

    /// Where the body of this answer goes. Fails if its length is already known to be wrong.
    pub(crate) fn sink(&self, head: &Head) -> Result<Sink, Failure> {
        let use_ = match (self.body, self.expected) {
            (Body::Text { bytes_max }, _) => {
                if head.length.is_some_and(|length| length > bytes_max as u64) {
                    return Err(Failure::TooLong);
                }
                Use::Text { text: BytesMut::new(), bytes_max }
            }
            (Body::Media, Some(expected)) if carries_media(head.status) => {
                let stretch = self.stretch(expected, head)?;
                if head.length.is_some_and(|length| length != stretch.bytes) {
                    return Err(Failure::Length);
                }
                Use::Check { stretch, hasher: Box::new(Xxh3::new()) }
            }
            (Body::Media, _) => Use::Count,
        };
        Ok(Sink { bytes: 0, use_ })
    }

    /// Which bytes of the object the answer has to have: the whole, or the range that was asked for and no other. The length of
    /// the whole may be told as less than it will be, since a segment may still grow.
    fn stretch(&self, expected: Expected, head: &Head) -> Result<Stretch, Failure> {
        let Expected { content, bytes } = expected;
        if head.status != StatusCode::PARTIAL_CONTENT {
            return Ok(Stretch { content, first: 0, bytes });
        }
        let told = head.range.ok_or(Failure::Protocol)?;
        let (first, last) = self.range.unwrap_or((0, None));
        let end = last.map_or(bytes, |last| last.saturating_add(1).min(bytes));
        let exact =
            told.first == first && told.last + 1 == end && told.total.is_none_or(|total| total <= bytes);
        if exact { Ok(Stretch { content, first, bytes: end - first }) } else { Err(Failure::Length) }
    }
}

// === impl Sink ===

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Sink {
    /// The next bytes. Fails if they are more than may come.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.bytes += bytes.len() as u64;
        match &mut self.use_ {
            Use::Text { text, bytes_max } => {
                if self.bytes > *bytes_max as u64 {
                    return Err(Failure::TooLong);
                }
                text.extend_from_slice(bytes);
            }
            Use::Check { stretch, hasher } => {
                if self.bytes > stretch.bytes {
                    return Err(Failure::Length);
                }
                hasher.update(bytes);
            }
            Use::Count => {}
        }
        Ok(())
    }

    /// How many bytes came.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The text so far; nothing of any other body.
    pub(crate) fn take_text(&mut self) -> Bytes {
        match &mut self.use_ {
            Use::Text { text, .. } => text.split().freeze(),
            Use::Check { .. } | Use::Count => Bytes::new(),
        }
    }

    /// What the body was, now that its end has come.
    pub(crate) fn verdict(&self, known: &Known) -> Outcome {
        match &self.use_ {
            Use::Check { stretch, .. } if self.bytes != stretch.bytes => Outcome::Failed(Failure::Length),
            Use::Check { stretch, hasher } if known.hash(*stretch) != hasher.digest() => Outcome::Mismatch,
            Use::Text { .. } | Use::Check { .. } | Use::Count => Outcome::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use http::HeaderMap;

    use super::*;
    use crate::fetch::Cache;
    use crate::wire::head::ContentRange;

    const PATH: &str = "/media/vod/a/v0/1.1000.m4s";

    fn wanted(body: Body, range: Option<(u64, Option<u64>)>) -> Wanted {
        Wanted { body, range, expected: expected(PATH) }
    }

    fn head(status: u16, length: Option<u64>, range: Option<(u64, u64, Option<u64>)>) -> Head {
        let range = range.map(|(first, last, total)| ContentRange { first, last, total });
        let status = StatusCode::from_u16(status).unwrap();
        Head { status, length, range, cache: Cache::Unknown, fields: HeaderMap::new() }
    }

    fn content(first: u64, bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        expected(PATH).unwrap().content.fill(first, &mut out);
        out
    }

    /// What comes of this body, in pieces of so many bytes.
    fn verdict(wanted: Wanted, head: &Head, body: &[u8], piece: usize) -> Outcome {
        let known = Known::new(10);
        let mut sink = match wanted.sink(head) {
            Ok(sink) => sink,
            Err(failure) => return Outcome::Failed(failure),
        };
        for bytes in body.chunks(piece) {
            if let Err(failure) = sink.push(bytes) {
                return Outcome::Failed(failure);
            }
        }
        sink.verdict(&known)
    }

    #[test]
    fn media_are_whole_when_every_byte_is_the_origins_and_one_other_byte_is_found_anywhere() {
        let (wanted, head) = (wanted(Body::Media, None), head(200, Some(1000), None));
        for piece in [1, 7, 64, 999, 1000] {
            let mut body = content(0, 1000);
            assert_eq!(verdict(wanted, &head, &body, piece), Outcome::Whole, "{piece}");
            for at in [0, 1, 500, 998, 999] {
                body[at] ^= 1;
                assert_eq!(verdict(wanted, &head, &body, piece), Outcome::Mismatch, "{at} of {piece}");
                body[at] ^= 1;
            }
        }
    }

    #[test]
    fn another_length_than_the_origins_is_told_as_such_announced_or_not() {
        let wanted = wanted(Body::Media, None);
        let length = Outcome::Failed(Failure::Length);
        for announced in [0, 999, 1001] {
            assert_eq!(wanted.sink(&head(200, Some(announced), None)).unwrap_err(), Failure::Length);
        }
        for bytes in [0, 999, 1001] {
            assert_eq!(verdict(wanted, &head(200, None, None), &content(0, bytes), 100), length, "{bytes}");
        }
        // The answer of an error has any length.
        assert_eq!(verdict(wanted, &head(503, Some(5), None), b"sorry", 2), Outcome::Whole);
    }

    #[test]
    fn a_part_has_to_be_the_one_that_was_asked_for() {
        let asked = wanted(Body::Media, Some((100, Some(199))));
        let whole = |head: &Head, body: &[u8]| verdict(asked, head, body, 33);
        assert_eq!(whole(&head(206, None, Some((100, 199, Some(1000)))), &content(100, 100)), Outcome::Whole);
        assert_eq!(whole(&head(206, Some(100), Some((100, 199, None))), &content(100, 100)), Outcome::Whole);
        assert_eq!(whole(&head(206, None, Some((100, 199, Some(200)))), &content(100, 100)), Outcome::Whole);
        assert_eq!(whole(&head(206, None, Some((100, 199, None))), &content(101, 100)), Outcome::Mismatch);
        // A server may send the whole instead (RFC 9110 section 14.2).
        assert_eq!(whole(&head(200, Some(1000), None), &content(0, 1000)), Outcome::Whole);
        for (first, last, total) in
            [(0, 99, Some(1000)), (100, 198, None), (100, 200, None), (100, 199, Some(1001))]
        {
            let failure = asked.sink(&head(206, None, Some((first, last, total)))).unwrap_err();
            assert_eq!(failure, Failure::Length, "{first}-{last}/{total:?}");
        }
        assert_eq!(asked.sink(&head(206, None, None)).unwrap_err(), Failure::Protocol);
        for range in [(900, None), (900, Some(5000)), (900, Some(u64::MAX))] {
            let head = head(206, None, Some((900, 999, Some(1000))));
            assert_eq!(
                verdict(wanted(Body::Media, Some(range)), &head, &content(900, 100), 9),
                Outcome::Whole
            );
        }
        // Beyond the end there is nothing that could be exact.
        let beyond = wanted(Body::Media, Some((2000, None)));
        assert_eq!(beyond.sink(&head(206, None, Some((2000, 2001, None)))).unwrap_err(), Failure::Length);
    }

    #[test]
    fn a_text_is_kept_up_to_its_limit() {
        let wanted = wanted(Body::Text { bytes_max: 10 }, None);
        let mut sink = wanted.sink(&head(200, Some(10), None)).unwrap();
        sink.push(b"01234").unwrap();
        sink.push(b"56789").unwrap();
        assert_eq!(sink.take_text(), "0123456789");
        assert_eq!(wanted.sink(&head(200, Some(11), None)).unwrap_err(), Failure::TooLong);
        assert_eq!(
            verdict(wanted, &head(200, None, None), b"01234567890", 4),
            Outcome::Failed(Failure::TooLong)
        );
    }
}
