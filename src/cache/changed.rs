//! Texts that are changed before they are kept: the header of what has become of an origin's text.
//!
//! Its entity tag is the origin's with a word of its own, `-fb` and the digits of what was changed, so that it is told from
//! the origin's text and from one changed in another way. The origin is asked to confirm its own tag. There are no dates to
//! compare and no digests: they are of other bytes.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, ETAG, HeaderValue, LAST_MODIFIED};
use pingora::http::ResponseHeader;

use super::{CONTENT_DIGESTS, REPRESENTATION_DIGESTS};

/// What begins the word.
const WORD: &str = "-fb";

/// Digits after it.
const DIGITS: usize = 16;

/// How a text was changed: the same number for the same changes, also after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed(pub u64);

impl Changed {
    /// Makes a header that of the changed text, `len` bytes long.
    pub fn tell(self, header: &mut ResponseHeader, len: u64) {
        let tag = header.headers.get(ETAG).map(|tag| self.tag(tag));
        // A static name and a value that came in a header, or a number.
        match tag {
            Some(Some(tag)) => drop(header.insert_header(ETAG, tag)),
            Some(None) => drop(header.remove_header(&ETAG)),
            None => {}
        }
        header.remove_header(&LAST_MODIFIED);
        for name in CONTENT_DIGESTS.iter().chain(&REPRESENTATION_DIGESTS) {
            header.remove_header(name);
        }
        let _ = header.insert_header(CONTENT_LENGTH, len);
    }

    /// The tag of the text, made of the origin's; None: that is none.
    fn tag(self, origins: &HeaderValue) -> Option<HeaderValue> {
        let opened = origins.as_bytes().strip_suffix(b"\"")?;
        let word = format!("{WORD}{:016x}\"", self.0);
        HeaderValue::from_bytes(&[opened, word.as_bytes()].concat()).ok()
    }

    /// The header to ask the origin by whether a kept text still holds: with the origin's own tag. None: it was changed in
    /// another way, or has no tag, and has to be had anew.
    pub fn asked_by(self, kept: &ResponseHeader) -> Option<ResponseHeader> {
        let tag = kept.headers.get(ETAG)?;
        let (origins, digits) = split(tag.as_bytes())?;
        if digits != format!("{:016x}", self.0).as_bytes() {
            return None;
        }
        let mut asked = kept.clone();
        asked.insert_header(ETAG, HeaderValue::from_bytes(&origins).ok()?).ok()?;
        Some(asked)
    }
}

/// Whether a tag that the origin sends is the one that a kept text's tag was made of.
pub(super) fn is_made_of(kept: &HeaderValue, origins: &HeaderValue) -> bool {
    split(kept.as_bytes()).is_some_and(|(inner, _)| opaque(&inner) == opaque(origins.as_bytes()))
}

/// The stored fields, the origin's own tag in place of the one made of it, where `received` names that.
pub(super) fn as_received<'h>(stored: &'h HeaderMap, received: &HeaderMap) -> Cow<'h, HeaderMap> {
    let (Some(kept), Some(named)) = (stored.get(ETAG), received.get(ETAG)) else {
        return Cow::Borrowed(stored);
    };
    let origins = split(kept.as_bytes()).filter(|_| is_made_of(kept, named));
    let Some(origins) = origins.and_then(|(origins, _)| HeaderValue::from_bytes(&origins).ok()) else {
        return Cow::Borrowed(stored);
    };
    let mut fields = stored.clone();
    fields.insert(ETAG, origins);
    Cow::Owned(fields)
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// A tag without its word, and the word's digits.
fn split(tag: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let opened = tag.strip_suffix(b"\"")?;
    let (origins, word) = opened.split_at_checked(opened.len().checked_sub(WORD.len() + DIGITS)?)?;
    let digits = word.strip_prefix(WORD.as_bytes())?;
    let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    digits.iter().all(is_hex).then(|| ([origins, b"\""].concat(), digits))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn header(fields: &[(&'static str, &str)]) -> ResponseHeader {
        let mut header = ResponseHeader::build(200, None).unwrap();
        for (name, value) in fields {
            header.append_header(*name, *value).unwrap();
        }
        header
    }

    #[test]
    fn a_changed_text_has_a_tag_of_its_own_and_nothing_that_is_of_other_bytes() {
        for (origins, expected) in [
            ("\"v1\"", Some("\"v1-fb000000000000002a\"")),
            ("W/\"v1\"", Some("W/\"v1-fb000000000000002a\"")),
            ("unquoted", None),
        ] {
            let mut told =
                header(&[("etag", origins), ("last-modified", "x"), ("repr-digest", "x"), ("x", "y")]);
            told.append_header("content-md5", "x").unwrap();
            Changed(42).tell(&mut told, 7);
            assert_eq!(told.headers.get("etag").map(|tag| tag.to_str().unwrap()), expected);
            let names: Vec<_> =
                told.headers.keys().map(|name| name.as_str()).filter(|name| *name != "etag").collect();
            assert_eq!(names, ["x", "content-length"]);
        }
    }

    #[test]
    fn the_origin_is_asked_by_its_own_tag_and_only_for_what_was_changed_in_the_same_way() {
        let mut kept = header(&[("etag", "W/\"v-fb1\"")]);
        Changed(42).tell(&mut kept, 1);
        let asked = Changed(42).asked_by(&kept).unwrap();
        assert_eq!(asked.headers.get("etag").unwrap(), "W/\"v-fb1\"");
        assert!(Changed(43).asked_by(&kept).is_none());
        for plain in ["\"v1\"", "\"-fb\"", "\"v-fb00000000000000XY\"", "v"] {
            assert!(Changed(42).asked_by(&header(&[("etag", plain)])).is_none(), "{plain}");
        }
        assert!(Changed(42).asked_by(&header(&[])).is_none());
    }
}
