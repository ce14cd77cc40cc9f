//! The lines of a playlist as they stand in its text, and the attributes of its tags (RFC 8216bis sections 4.1 and 4.2).

use std::ops::Range;

/// A line, without what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'t> {
    /// Its first byte in the text.
    pub start: usize,
    /// What it says, a carriage return at its end left out.
    pub says: &'t str,
    /// The byte after what ends it: where the next line begins.
    pub next: usize,
}

/// The lines of a text. A byte order mark is no part of the first.
pub fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    std::iter::from_fn(move || {
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let end = memchr::memchr(b'\n', rest.as_bytes());
        let says = rest.get(..end.unwrap_or(rest.len()))?;
        let line = Line {
            start,
            says: says.strip_suffix('\r').unwrap_or(says),
            next: start + end.map_or(rest.len(), |end| end + 1),
        };
        start = line.next;
        Some(line)
    })
}

impl<'t> Line<'t> {
    /// The bytes of what it says.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.says.len()
    }

    /// Whether it is a URI: neither empty nor a tag or comment.
    pub fn is_uri(&self) -> bool {
        let bare = self.says.trim_ascii();
        !bare.is_empty() && !bare.starts_with('#')
    }

    /// The attributes of a tag of this name (`EXT-X-...`); None: it is none.
    pub fn attributes_of(&self, name: &str) -> Option<Attributes<'t>> {
        let tag = self.says.trim_ascii_start().strip_prefix('#')?.strip_prefix(name)?;
        let list = tag.strip_prefix(':')?;
        Some(Attributes { list, at: 0, base: self.start + (self.says.len() - list.len()) })
    }
}

/// An attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute<'t> {
    /// Its name.
    pub name: &'t str,
    /// Its value, without quotes.
    pub value: &'t str,
    /// The bytes of the value in the text, without quotes.
    pub at: Range<usize>,
}

/// The attributes of a tag, in their order. A quote that is not closed ends them.
#[derive(Clone, Debug)]
pub struct Attributes<'t> {
    list: &'t str,
    at: usize,
    base: usize,
}

impl<'t> Attributes<'t> {
    /// The value of the first attribute of this name.
    pub fn value(&self, name: &str) -> Option<&'t str> {
        self.clone().find(|attribute| attribute.name == name).map(|attribute| attribute.value)
    }
}

impl<'t> Iterator for Attributes<'t> {
    type Item = Attribute<'t>;

    fn next(&mut self) -> Option<Attribute<'t>> {
        loop {
            let rest = self.list.get(self.at..).filter(|rest| !rest.is_empty())?;
            let stop = memchr::memchr2(b'=', b',', rest.as_bytes())?;
            let after = self.at + stop + 1;
            if rest.as_bytes().get(stop) == Some(&b',') {
                self.at = after;
                continue;
            }
            let name = rest.get(..stop)?.trim_ascii();
            let rest = self.list.get(after..)?;
            let (start, len) = match rest.strip_prefix('"') {
                Some(quoted) => (after + 1, memchr::memchr(b'"', quoted.as_bytes())?),
                None => (after, memchr::memchr(b',', rest.as_bytes()).unwrap_or(rest.len())),
            };
            self.at = start + len + usize::from(start > after);
            let value = self.list.get(start..start + len)?;
            return Some(Attribute { name, value, at: self.base + start..self.base + start + len });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn lines_are_told_with_their_places() {
        let text = "\u{feff}#EXTM3U\r\n\n a.ts \nlast";
        let found: Vec<_> =
            lines(text).map(|line| (line.start, line.says, line.next, line.is_uri())).collect();
        let expected = [
            (3, "#EXTM3U", 12, false),
            (12, "", 13, false),
            (13, " a.ts ", 20, true),
            (20, "last", 24, true),
        ];
        assert_eq!(found, expected);
        assert_eq!(lines("").count(), 0);
    }

    #[test]
    fn attributes_are_told_with_their_places() {
        let text = "#EXTM3U\n#EXT-X-A:B=1,C=\"x,y=\",D=,,E=\"\",F=2x3";
        let line = lines(text).nth(1).unwrap();
        let list = line.attributes_of("EXT-X-A").unwrap();
        let found: Vec<_> = list.clone().map(|one| (one.name, one.value)).collect();
        assert_eq!(found, [("B", "1"), ("C", "x,y="), ("D", ""), ("E", ""), ("F", "2x3")]);
        for one in list.clone() {
            assert_eq!(text.get(one.at), Some(one.value));
        }
        assert_eq!(list.value("C"), Some("x,y="));
        assert!(line.attributes_of("EXT-X-").is_none() && line.attributes_of("EXT-X-AB").is_none());
        assert_eq!(Line { start: 0, says: "#X:A=\"open", next: 10 }.attributes_of("X").unwrap().count(), 0);
    }
}
