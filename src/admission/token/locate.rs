//! Where tokens stand in a request: leading path segment, query parameter, cookie. Finds and removes them by name.
//!
//! Knows nothing of what a token says. Names and delimiters are recognised in percent-encoded spelling too, so that
//! no spelling of a token reaches a cache key, an origin or a log. Called by [`super::find`].

use std::borrow::Cow;

/// A path, taken apart at its leading token segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segments<'a> {
    /// The first token segment's name (its place in the list of names) and text.
    pub(super) token: Option<(usize, &'a str)>,
    /// Token segments taken off.
    pub(super) count: usize,
    /// All that was taken off, as received.
    pub(super) prefix: &'a str,
    /// The path after it, never empty.
    pub(super) rest: &'a str,
}

/// Takes every leading `/NAME=TOKEN` off `path`; `length` tells where a token ends.
pub(super) fn split_path<'a>(
    path: &'a str,
    names: &[String],
    length: impl Fn(usize, &str) -> usize,
) -> Segments<'a> {
    let mut segments = Segments { token: None, count: 0, prefix: "", rest: path };
    while let Some((name, text)) =
        segments.rest.strip_prefix('/').and_then(|segment| named(segment, names, true))
    {
        let (token, rest) = text.split_at_checked(length(name, text)).unwrap_or((text, ""));
        segments.token = segments.token.or(Some((name, token)));
        segments.count += 1;
        segments.prefix = path.get(..path.len() - rest.len()).unwrap_or(path);
        segments.rest = rest;
    }
    if segments.count > 0 && segments.rest.is_empty() {
        segments.rest = "/";
    }
    segments
}

/// A path without its first parameter `;NAME=TOKEN` of one of these names (RFC 3986 section 3.3), and that token.
pub(super) struct Parameter<'a> {
    /// The name's place in the list.
    pub(super) name: usize,
    /// The token's text.
    pub(super) token: &'a str,
    /// The path without it.
    pub(super) rest: String,
    /// Whether there is another.
    pub(super) again: bool,
}

/// Takes the parameters of these names out of a path; it ends at the next `;` or `/`.
pub(super) fn path_parameter<'a>(path: &'a str, names: &[String]) -> Option<Parameter<'a>> {
    let mut first: Option<Parameter<'a>> = None;
    let mut from = 0;
    let mut kept = String::new();
    for at in memchr::memchr_iter(b';', path.as_bytes()) {
        let Some((name, text)) = path.get(at + 1..).and_then(|text| named(text, names, true)) else {
            continue;
        };
        let length = text.find([';', '/']).unwrap_or(text.len());
        if kept.capacity() == 0 {
            kept.reserve(path.len());
        }
        kept.push_str(path.get(from..at).unwrap_or_default());
        from = path.len() - text.len() + length;
        match &mut first {
            Some(first) => first.again = true,
            None => {
                let token = text.get(..length).unwrap_or_default();
                first = Some(Parameter { name, token, rest: String::new(), again: false });
            }
        }
    }
    let mut first = first?;
    kept.push_str(path.get(from..).unwrap_or_default());
    first.rest = if kept.is_empty() { "/".to_owned() } else { kept };
    Some(first)
}

/// The token in a query parameter `NAME=TOKEN`: the name's place in the list, and the text. A bare name is an empty
/// token.
pub(super) fn parameter<'a>(parameter: &'a str, names: &[String]) -> Option<(usize, &'a str)> {
    named(parameter, names, false)
}

/// The token in a cookie pair `NAME=TOKEN`, white space and quotes around it taken off (RFC 6265 section 4.1.1).
pub(super) fn cookie<'a>(pair: &'a str, names: &[String]) -> Option<(usize, &'a str)> {
    let (name, token) = named(pair.trim(), names, false)?;
    let token = token.strip_prefix('"').and_then(|token| token.strip_suffix('"')).unwrap_or(token);
    Some((name, token))
}

/// `text`, a list divided by `separator`, without the members that `is_token` picks; the others are joined by `joint`.
pub(super) fn without<'t>(
    text: &'t str,
    separator: char,
    joint: &str,
    is_token: impl Fn(&str) -> bool,
) -> Cow<'t, str> {
    if !text.split(separator).any(&is_token) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    for member in text.split(separator).filter(|member| !is_token(member)) {
        if !kept.is_empty() {
            kept.push_str(joint);
        }
        kept.push_str(if separator == ';' { member.trim() } else { member });
    }
    Cow::Owned(kept)
}

/// The text after the first of some `literals`, which may be percent-encoded, as offset into `text`. They begin with the
/// same byte. Goes through the text once, so that one who repeats one of them does not have it searched for another each
/// time.
pub(super) fn end_of_first(text: &str, literals: &[&str]) -> Option<usize> {
    let first = literals.first()?.bytes().next()?;
    let candidates = memchr::memchr2_iter(first, b'%', text.as_bytes());
    let mut ends = candidates.filter_map(|offset| {
        let text = text.get(offset..)?;
        literals.iter().find_map(|literal| strip_encoded(text, literal))
    });
    ends.next().map(|rest| text.len() - rest.len())
}

/// Where a path first names a token, in any segment or parameter and behind encoded delimiters too: the offset of the name.
pub(super) fn named_anywhere(path: &str, names: &[String]) -> Option<usize> {
    let behind = |(at, byte): (usize, u8)| match byte {
        b'/' | b';' => Some(at + 1),
        b'%' => match path.as_bytes().get(at + 1..at + 3) {
            Some(&[high, low]) => matches!(hex_byte(high, low), Some(b'/' | b';')).then_some(at + 3),
            _ => None,
        },
        _ => None,
    };
    let is_named = |at: &usize| path.get(*at..).is_some_and(|text| named(text, names, true).is_some());
    path.bytes().enumerate().filter_map(behind).find(is_named)
}

/// Whether a byte may stand in a path as it is (RFC 3986 section 3.3, and `/`); `%` may not, it starts an encoding.
pub(super) fn may_stand_in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte)
}

fn named<'a>(text: &'a str, names: &[String], needs_equals: bool) -> Option<(usize, &'a str)> {
    names.iter().enumerate().find_map(|(place, name)| {
        let rest = strip_encoded(text, name)?;
        match strip_encoded(rest, "=") {
            Some(token) => Some((place, token)),
            None if rest.is_empty() && !needs_equals => Some((place, rest)),
            None => None,
        }
    })
}

/// `text` after `literal` (ASCII), any byte of which may be percent-encoded.
fn strip_encoded<'t>(text: &'t str, literal: &str) -> Option<&'t str> {
    let mut rest = text.as_bytes();
    for expected in literal.bytes() {
        rest = match rest {
            [byte, tail @ ..] if *byte == expected => tail,
            [b'%', high, low, tail @ ..] if hex_byte(*high, *low) == Some(expected) => tail,
            _ => return None,
        };
    }
    text.get(text.len() - rest.len()..)
}

/// The byte that two hexadecimal digits stand for.
pub(super) fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn names() -> Vec<String> {
        vec!["hdnts".to_owned(), "hdnea".to_owned()]
    }

    fn to_slash(_: usize, text: &str) -> usize {
        text.find('/').unwrap_or(text.len())
    }

    #[test]
    fn every_spelling_of_a_name_is_found() {
        for text in ["hdnts=abc", "%68dnts=abc", "hdnts%3Dabc", "hdnts%3dabc", "%68%64%6E%74%73%3Dabc"] {
            assert_eq!(parameter(text, &names()), Some((0, "abc")), "{text}");
        }
        assert_eq!(parameter("hdnts", &names()), Some((0, "")));
        for text in ["hdntsx=abc", "xhdnts=abc", "hdnt", "", "%", "%6", "%68", "hdnts%3", "Hdnts=abc"] {
            assert_eq!(parameter(text, &names()), None, "{text}");
        }
    }

    #[test]
    fn a_path_is_taken_apart_at_its_token() {
        let split = |path| split_path(path, &names(), to_slash);
        let plain = split("/live/a.ts");
        assert_eq!((plain.prefix, plain.rest, plain.count), ("", "/live/a.ts", 0));
        let one = split("/hdnts=abc/live/a.ts");
        assert_eq!((one.prefix, one.rest, one.token), ("/hdnts=abc", "/live/a.ts", Some((0, "abc"))));
        let two = split("/hdnea=abc/hdnts=def/live/a.ts");
        assert_eq!((two.prefix, two.rest, two.count), ("/hdnea=abc/hdnts=def", "/live/a.ts", 2));
        assert_eq!(split("/hdnts=abc").rest, "/");
        assert_eq!(split("/hdnts").rest, "/hdnts");
        assert_eq!(split("/live/hdnts=abc/a.ts").count, 0);
    }

    #[test]
    fn a_path_parameter_is_cut_out_of_any_segment() {
        let cut = |path| path_parameter(path, &names()).map(|found| (found.token, found.rest, found.again));
        assert_eq!(cut("/a;hdnts=x/b.ts"), Some(("x", "/a/b.ts".to_owned(), false)));
        assert_eq!(cut("/a/b.ts;hdnts=x"), Some(("x", "/a/b.ts".to_owned(), false)));
        assert_eq!(cut("/a/;v=1;%68dnts=x;w=2/b.ts"), Some(("x", "/a/;v=1;w=2/b.ts".to_owned(), false)));
        assert_eq!(cut("/a;hdnts=x/b;hdnea=y"), Some(("x", "/a/b".to_owned(), true)));
        assert_eq!(cut("/a;hdntsx=x/b"), None);
        assert_eq!(cut("/a;hdnts/b"), None);
    }

    #[test]
    fn tokens_are_removed_from_queries_and_cookies_and_all_else_stays() {
        let is_token = |text: &str| parameter(text, &names()).is_some();
        assert_eq!(without("a=1&hdnts=x&b=%20", '&', "&", is_token), "a=1&b=%20");
        assert!(matches!(without("a=1&&b", '&', "&", is_token), Cow::Borrowed("a=1&&b")));
        assert_eq!(without("hdnts=x", '&', "&", is_token), "");
        let is_cookie = |text: &str| cookie(text, &names()).is_some();
        assert_eq!(without("a=1; hdnts=\"x\";b=2", ';', "; ", is_cookie), "a=1; b=2");
        assert_eq!(cookie(" hdnts=\"x\" ", &names()), Some((0, "x")));
    }

    #[test]
    fn an_encoded_delimiter_is_found_where_it_ends() {
        for text in ["ab~hmac=12", "ab%7Ehmac%3D12", "ab%7ehmac=12", "ab%41~hmac%3d12"] {
            let end = end_of_first(text, &["~hmac="]).unwrap();
            assert_eq!(&text[end..], "12", "{text}");
        }
        assert_eq!(end_of_first("ab~hma=12", &["~hmac="]), None);
        assert_eq!(end_of_first("é~hmac", &["~hmac="]), None);
        let both = ["~Signature=", "~hmac="];
        assert_eq!(end_of_first("a~hmac=1~Signature=2", &both), Some("a~hmac=".len()));
        assert_eq!(end_of_first("a~Signature=2~hmac=1", &both), Some("a~Signature=".len()));
    }
}
