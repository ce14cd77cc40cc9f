//! A playlist as text: its lines with their ends, tags, and the values of attributes where they stand.

use std::ops::Range;

/// The lines of a text, each with its end.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n')
}

/// A line without its end and without white space around it.
pub(super) fn bare(line: &str) -> &str {
    line.trim_start_matches('\u{feff}').trim_ascii()
}

/// How the first line of a text ends: what an inserted line ends with.
pub(super) fn line_end(text: &str) -> &'static str {
    if lines(text).next().is_some_and(|first| first.ends_with("\r\n")) { "\r\n" } else { "\n" }
}

/// The name of a tag, and what stands after its colon; None: the line is no tag.
pub(super) fn tag(line: &str) -> Option<(&str, &str)> {
    let tag = bare(line).strip_prefix('#').filter(|tag| tag.starts_with("EXT"))?;
    Some(tag.split_once(':').unwrap_or((tag, "")))
}

/// Where the value of an attribute stands in a list (RFC 8216bis section 4.2), quotes included; None: it is not there.
pub(super) fn attribute(list: &str, name: &str) -> Option<Range<usize>> {
    let mut at = 0;
    while let Some(rest) = list.get(at..).filter(|rest| !rest.is_empty()) {
        let end = at + end_of_member(rest);
        let member = list.get(at..end)?;
        if let Some((found, value)) = member.split_once('=')
            && found.trim_ascii() == name
        {
            let start = end - value.len();
            return Some(start..start + value.trim_ascii_end().len());
        }
        at = end + 1;
    }
    None
}

/// The length of the first member of a list: to its comma, those between quotes left out.
fn end_of_member(list: &str) -> usize {
    let mut quoted = false;
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    list.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn an_attribute_is_found_where_it_stands() {
        let value = |list, name| attribute(list, name).map(|at| &list[at]);
        let list = "A=1,B=\"x,A=2,C=3\", C=4 ,D=";
        assert_eq!(value(list, "A"), Some("1"));
        assert_eq!(value(list, "B"), Some("\"x,A=2,C=3\""));
        assert_eq!(value(list, "C"), Some("4"));
        assert_eq!(value(list, "D"), Some(""));
        assert_eq!(value(list, "E"), None);
        assert_eq!(value("", "A"), None);
        assert_eq!(value(",,A=1", "A"), Some("1"));
    }

    #[test]
    fn a_tag_is_known_by_its_name() {
        assert_eq!(tag("#EXT-X-MAP:URI=\"a:b\"\r\n"), Some(("EXT-X-MAP", "URI=\"a:b\"")));
        assert_eq!(tag("\u{feff}#EXTM3U\n"), Some(("EXTM3U", "")));
        assert_eq!(tag("# EXT-X-MAP:\n"), None);
        assert_eq!(tag("a.ts\n"), None);
    }
}
