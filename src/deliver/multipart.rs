//! Several ranges of a body in one answer: `multipart/byteranges` (RFC 9110 section 14.6). Pure.
//!
//! Decides the bytes between the parts, and so the length of the whole before any of it is sent. The boundary is drawn
//! anew for each answer: nobody can write a body that holds it.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderValue;

/// Random bytes in a boundary.
const BOUNDARY_BYTES: usize = 16;

/// The string that stands between parts (RFC 2046 section 5.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary(String);

impl Boundary {
    /// A boundary that nobody knows yet; None: the system has no random numbers.
    pub fn random() -> Option<Boundary> {
        let mut bytes = [0; BOUNDARY_BYTES];
        getrandom::fill(&mut bytes).ok()?;
        Some(Boundary(hex::encode(bytes)))
    }
}

/// A body of several parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    parts: Vec<Range<u64>>,
    len: u64,
    content_type: Option<HeaderValue>,
    boundary: Boundary,
}

impl Multipart {
    /// These parts, in this order, of a body of `len` bytes and this `Content-Type`.
    pub fn new(
        parts: Vec<Range<u64>>,
        len: u64,
        content_type: Option<HeaderValue>,
        boundary: Boundary,
    ) -> Multipart {
        Multipart { parts, len, content_type, boundary }
    }

    /// The parts, first to before last byte of each.
    pub fn parts(&self) -> &[Range<u64>] {
        &self.parts
    }

    /// The value of the answer's own `Content-Type`.
    pub fn content_type(&self) -> HeaderValue {
        let text = format!("multipart/byteranges; boundary={}", self.boundary.0);
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("multipart/byteranges"))
    }

    /// What stands before the bytes of a part: the delimiter, and the part's header with its empty line.
    pub fn head(&self, place: usize) -> Bytes {
        let Some(part) = self.parts.get(place) else { return Bytes::new() };
        let mut head = Vec::new();
        if place > 0 {
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"--");
        head.extend_from_slice(self.boundary.0.as_bytes());
        if let Some(content_type) = &self.content_type {
            head.extend_from_slice(b"\r\nContent-Type: ");
            head.extend_from_slice(content_type.as_bytes());
        }
        let range = format!("\r\nContent-Range: bytes {}-{}/{}\r\n\r\n", part.start, part.end - 1, self.len);
        head.extend_from_slice(range.as_bytes());
        Bytes::from(head)
    }

    /// What stands behind the last part.
    pub fn tail(&self) -> Bytes {
        Bytes::from(format!("\r\n--{}--\r\n", self.boundary.0))
    }

    /// Length of the whole answer, in bytes.
    pub fn content_length(&self) -> u64 {
        let framing: usize = (0..self.parts.len()).map(|place| self.head(place).len()).sum();
        let bytes: u64 = self.parts.iter().map(|part| part.end - part.start).sum();
        bytes + (framing + self.tail().len()) as u64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Read back by the rules of RFC 2046 alone: split at the delimiter, each piece a header, an empty line, bytes.
        #[test]
        fn the_body_reads_back_and_is_as_long_as_it_said(
            body in prop::collection::vec(prop::sample::select(b"-\r\n:ab".to_vec()), 1..200),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..50), 1..6),
            typed: bool,
        ) {
            let parts: Vec<Range<u64>> = cuts
                .iter()
                .map(|(start, len)| start.index(body.len())..body.len().min(start.index(body.len()) + len))
                .map(|part| part.start as u64..part.end as u64)
                .collect();
            let content_type = typed.then(|| HeaderValue::from_static("video/mp4"));
            let len = body.len() as u64;
            let multipart = Multipart::new(parts.clone(), len, content_type, Boundary::random().unwrap());
            let bytes_of = |part: &Range<u64>| body[part.start as usize..part.end as usize].to_vec();
            let mut sent = Vec::new();
            for (place, part) in parts.iter().enumerate() {
                sent.extend_from_slice(&multipart.head(place));
                sent.extend_from_slice(&bytes_of(part));
            }
            sent.extend_from_slice(&multipart.tail());
            prop_assert_eq!(sent.len() as u64, multipart.content_length());

            // The first delimiter has no line end before it.
            let sent: String = format!("\r\n{}", String::from_utf8(sent).unwrap());
            let delimiter = format!("\r\n--{}", multipart.boundary.0);
            let pieces: Vec<&str> = sent.split(&delimiter).collect();
            prop_assert_eq!(pieces.len(), parts.len() + 2);
            prop_assert_eq!((pieces[0], pieces[pieces.len() - 1]), ("", "--\r\n"));
            for (piece, part) in pieces[1..].iter().zip(&parts) {
                let (head, read) = piece.split_once("\r\n\r\n").unwrap();
                prop_assert_eq!(read.as_bytes(), bytes_of(part));
                let range = format!("\r\nContent-Range: bytes {}-{}/{len}", part.start, part.end - 1);
                prop_assert!(head.ends_with(&range), "{}", head);
                prop_assert_eq!(head.contains("\r\nContent-Type: video/mp4"), typed);
            }
        }
    }

    #[test]
    fn the_form_is_that_of_the_example_in_the_standard() {
        let multipart = Multipart::new(
            vec![500..1000, 7000..8000],
            8000,
            Some(HeaderValue::from_static("application/pdf")),
            Boundary("THIS_STRING_SEPARATES".to_owned()),
        );
        assert_eq!(multipart.content_type(), "multipart/byteranges; boundary=THIS_STRING_SEPARATES");
        assert_eq!(
            multipart.head(0),
            "--THIS_STRING_SEPARATES\r\nContent-Type: application/pdf\r\nContent-Range: bytes 500-999/8000\r\n\r\n"
        );
        assert_eq!(
            multipart.head(1),
            "\r\n--THIS_STRING_SEPARATES\r\nContent-Type: application/pdf\r\nContent-Range: bytes 7000-7999/8000\r\n\r\n"
        );
        assert_eq!(multipart.tail(), "\r\n--THIS_STRING_SEPARATES--\r\n");
        let framing = multipart.head(0).len() + multipart.head(1).len() + multipart.tail().len();
        assert_eq!(multipart.content_length(), 1500 + framing as u64);
    }

    #[test]
    fn no_two_boundaries_are_the_same() {
        let (one, other) = (Boundary::random().unwrap(), Boundary::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.0.len(), 2 * BOUNDARY_BYTES);
    }
}
