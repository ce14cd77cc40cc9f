//! What formats whose token is several parameters share: the parameters taken apart, and the spellings of a path that a
//! signature over part of it may be checked with. Says nothing about what a parameter means.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{Presented, TOKEN_FIELDS_MAX};

/// The parameters of a token, values with percent-encoding undone, in the order in which they were received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameters<'t>(Vec<(&'t str, Cow<'t, str>)>);

impl<'t> Parameters<'t> {
    /// Takes `a=b<separator>c=d` apart. None: a name comes twice, a parameter has no value, a value is no text, or there
    /// are more than [`TOKEN_FIELDS_MAX`].
    pub(super) fn parse(text: &'t str, separator: char) -> Option<Parameters<'t>> {
        let mut parameters: Vec<(&str, Cow<'_, str>)> = Vec::with_capacity(8);
        for piece in text.split(separator) {
            let (name, value) = piece.split_once('=')?;
            let twice = parameters.iter().any(|(known, _)| *known == name);
            if twice || parameters.len() == TOKEN_FIELDS_MAX {
                return None;
            }
            parameters.push((name, percent_decode_str(value).decode_utf8().ok()?));
        }
        Some(Parameters(parameters))
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_ref())
    }

    /// The name of the last one.
    pub(super) fn last(&self) -> Option<&'t str> {
        self.0.last().map(|(name, _)| *name)
    }

    /// Whether these names are all there are.
    pub(super) fn are_among(&self, names: &[&str]) -> bool {
        self.0.iter().all(|(name, _)| names.contains(name))
    }
}

/// Seconds since the Unix epoch, of the years 2001 to 2286: ten decimal digits. Signed texts have no delimiter before or
/// behind them, so with any other number of digits one text could be read as another path and another end.
pub(super) fn seconds(text: &str) -> Option<u64> {
    number(text).filter(|_| text.len() == 10)
}

/// A number: decimal digits only, no sign, no white space, no zero in front.
pub(super) fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

/// Lower-case hexadecimal digits of exactly so many bytes: one signature has one spelling.
pub(super) fn lower_hex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

/// The spellings of a request's path that part of a path may be compared with: the normal form, and the path as received
/// where it is that path in other percent-encoding. A path that climbs (`..`) is not: its first segments are not those of
/// what is served.
pub(super) fn spellings<'r>(request: &Presented<'r>) -> impl Iterator<Item = &'r str> + use<'r> {
    let same = request.path != request.normal
        && percent_decode_str(request.path).eq(percent_decode_str(request.normal));
    std::iter::once(request.normal).chain(same.then_some(request.path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn parameters_are_taken_apart_and_nothing_doubtful_is() {
        let parameters = Parameters::parse("a=1&b=%2Fx%3d", '&').unwrap();
        assert_eq!(
            (parameters.get("a"), parameters.get("b"), parameters.get("c")),
            (Some("1"), Some("/x="), None)
        );
        assert_eq!(parameters.last(), Some("b"));
        assert!(parameters.are_among(&["b", "a"]) && !parameters.are_among(&["a"]));
        for text in ["", "a", "a=1&", "a=1&a=2", "a=%ff"] {
            assert_eq!(Parameters::parse(text, '&'), None, "{text}");
        }
        let many = |count: usize| (0..count).map(|at| format!("p{at}=")).collect::<Vec<_>>().join("&");
        assert!(Parameters::parse(&many(TOKEN_FIELDS_MAX), '&').is_some());
        assert!(Parameters::parse(&many(TOKEN_FIELDS_MAX + 1), '&').is_none());
    }

    #[test]
    fn numbers_and_digests_have_one_spelling() {
        assert_eq!(
            (number("0"), number("12"), seconds("1700000000")),
            (Some(0), Some(12), Some(1_700_000_000))
        );
        for text in ["", "+1", " 1", "1.0", "012", "99999999999999999999"] {
            assert_eq!(number(text), None, "{text}");
        }
        for text in ["", "999999999", "0999999999", "11700000000"] {
            assert_eq!(seconds(text), None, "{text}");
        }
        assert_eq!(lower_hex("0aff"), Some([0x0a, 0xff]));
        assert_eq!(
            (lower_hex::<2>("0aFF"), lower_hex::<2>("0af"), lower_hex::<2>("0aff00")),
            (None, None, None)
        );
    }

    #[test]
    fn a_path_that_climbs_is_no_spelling_of_where_it_leads() {
        let paths = |path, normal| {
            let request = Presented { path, normal, ..Presented::get("/", 0) };
            spellings(&request).collect::<Vec<_>>()
        };
        assert_eq!(paths("/a%2db", "/a-b"), ["/a-b", "/a%2db"]);
        assert_eq!(paths("/a", "/a"), ["/a"]);
        assert_eq!(paths("/a/../b", "/b"), ["/b"]);
    }
}
