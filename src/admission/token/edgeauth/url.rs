//! The texts that generators sign as `url` of an EdgeAuth token: which of them a request may have been signed as.

use percent_encoding::percent_decode_str;

use super::super::Presented;

/// One of the texts that a generator may have signed as `url` for a path: with or without the query, from the path as
/// it is or decoded, escaped in one of three ways. At most twelve for one path.
#[derive(Clone, Copy)]
pub(super) struct UrlForm {
    query: bool,
    decoded: bool,
    escape: Escape,
}

/// How generators escape a `url`: not at all, or everything but a set of characters, with lower-case digits.
#[derive(Clone, Copy)]
enum Escape {
    Raw,
    /// Python's `quote_plus`: a space is `+`, `~` stays.
    Python,
    /// Node's `encodeURIComponent`, with `~`, `'` and `*` escaped as well.
    Node,
}

pub(super) fn forms(request: &Presented<'_>) -> impl Iterator<Item = UrlForm> + use<> {
    let with_query = request.parameters().next().is_some();
    let encoded = request.path.contains('%') || request.query.is_some_and(|query| query.contains('%'));
    let queries = [false, true].into_iter().take(1 + usize::from(with_query));
    queries.flat_map(move |query| {
        let decodings = [false, true].into_iter().take(1 + usize::from(encoded));
        decodings.flat_map(move |decoded| {
            let escapes = [Escape::Raw, Escape::Python, Escape::Node].into_iter();
            escapes.map(move |escape| UrlForm { query, decoded, escape })
        })
    })
}

impl UrlForm {
    /// Appends the text of a request.
    pub(super) fn append(self, to: &mut Vec<u8>, request: &Presented<'_>) {
        self.append_text(to, request.path);
        if self.query {
            for (place, parameter) in request.parameters().enumerate() {
                self.append_text(to, if place == 0 { "?" } else { "&" });
                self.append_text(to, parameter);
            }
        }
    }

    fn append_text(self, to: &mut Vec<u8>, text: &str) {
        if self.decoded {
            percent_decode_str(text).for_each(|byte| self.escape.append(to, byte));
        } else if matches!(self.escape, Escape::Raw) {
            to.extend_from_slice(text.as_bytes());
        } else {
            text.bytes().for_each(|byte| self.escape.append(to, byte));
        }
    }
}

impl Escape {
    fn append(self, to: &mut Vec<u8>, byte: u8) {
        let stays = match self {
            Escape::Raw => true,
            Escape::Python => byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte),
            Escape::Node => byte.is_ascii_alphanumeric() || b"-_.!()".contains(&byte),
        };
        match (self, byte) {
            _ if stays => to.push(byte),
            (Escape::Python, b' ') => to.push(b'+'),
            _ => to.extend_from_slice(&lower_hex(byte)),
        }
    }
}

/// `%xx`.
pub(super) fn lower_hex(byte: u8) -> [u8; 3] {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
    [b'%', digit(byte >> 4), digit(byte & 15)]
}
