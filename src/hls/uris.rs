//! Finds the URIs of a playlist: where each one stands in the text, and what it says.
//!
//! Decides which places of a playlist hold URIs (RFC 8216bis section 4): lines that are neither tag nor comment, and the
//! attributes in [`TAGS`]. Reads nothing else and changes nothing; what becomes of a URI is decided by [`crate::carry`].
//!
//! Variables (section 4.3) are replaced in what a URI *says*, by the `NAME` and `VALUE` of `EXT-X-DEFINE` lines before
//! it. One that is not defined there (`IMPORT`, `QUERYPARAM`), or beyond a bound, stays as `{$NAME}`.

use std::borrow::Cow;
use std::ops::Range;

/// Variables of a playlist whose values are taken; further ones count as not defined.
pub const VARIABLES_MAX: usize = 64;

/// Bytes of a variable's value; a variable with a longer one counts as not defined.
pub const VALUE_BYTES_MAX: usize = 4096;

/// Bytes of a URI whose variables are replaced; a longer one is taken as it stands.
pub const RESOLVED_BYTES_MAX: usize = 16 * 1024;

/// Tags with URIs, and the attributes that hold them, all quoted strings. `EXT-X-IMAGE-STREAM-INF` is of no
/// specification; players of thumbnails know it.
pub const TAGS: [(&str, &[&str]); 12] = [
    ("EXT-X-MAP", &["URI"]),
    ("EXT-X-PART", &["URI"]),
    ("EXT-X-KEY", &["URI"]),
    ("EXT-X-PRELOAD-HINT", &["URI"]),
    ("EXT-X-RENDITION-REPORT", &["URI"]),
    ("EXT-X-MEDIA", &["URI"]),
    ("EXT-X-I-FRAME-STREAM-INF", &["URI"]),
    ("EXT-X-IMAGE-STREAM-INF", &["URI"]),
    ("EXT-X-SESSION-KEY", &["URI"]),
    ("EXT-X-SESSION-DATA", &["URI"]),
    ("EXT-X-CONTENT-STEERING", &["SERVER-URI"]),
    ("EXT-X-DATERANGE", &["X-ASSET-URI", "X-ASSET-LIST"]),
];

/// A URI where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'t> {
    /// Its bytes in the text, without quotes and white space around them.
    pub at: Range<usize>,
    /// What it says: those bytes with variables replaced. Borrowed where there are none.
    pub says: Cow<'t, str>,
}

/// Calls `found` with every URI of a playlist, in the order of the text. One pass; only URIs with variables are copied.
pub fn find<'t>(text: &'t str, mut found: impl FnMut(Place<'t>)) {
    let mut variables = Variables::default();
    let mut start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    while start < text.len() {
        let rest = text.get(start..).unwrap_or_default();
        let end = memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
        let line = rest.get(..end).unwrap_or_default();
        read_line(line, start, &mut variables, &mut found);
        start += end + 1;
    }
}

fn read_line<'t>(
    line: &'t str,
    start: usize,
    variables: &mut Variables<'t>,
    found: &mut impl FnMut(Place<'t>),
) {
    let bare = line.trim_ascii();
    if bare.is_empty() {
        return;
    }
    if !bare.starts_with('#') {
        let at = start + (line.len() - line.trim_ascii_start().len());
        found(Place { at: at..at + bare.len(), says: variables.resolve(bare) });
        return;
    }
    let Some((name, list)) = tag(line) else { return };
    if name == "EXT-X-DEFINE" {
        return variables.define(list);
    }
    let Some((_, wanted)) = TAGS.iter().find(|(known, _)| *known == name) else { return };
    let list_at = start + (line.len() - list.len());
    for attribute in Attributes::of(list) {
        if wanted.contains(&attribute.name) && !attribute.value.is_empty() {
            let at = list_at + attribute.at;
            let says = variables.resolve(attribute.value);
            found(Place { at: at..at + attribute.value.len(), says });
        }
    }
}

/// The name of a tag that has attributes, and these.
fn tag(line: &str) -> Option<(&str, &str)> {
    line.trim_ascii_start().strip_prefix('#')?.split_once(':').filter(|(name, _)| name.starts_with("EXT-X-"))
}

/// An attribute whose value is a quoted string.
struct Attribute<'t> {
    name: &'t str,
    /// Without the quotes.
    value: &'t str,
    /// Where the value begins in the list.
    at: usize,
}

/// The quoted attributes of a list (RFC 8216bis section 4.2), in their order. A quote that is not closed ends it.
struct Attributes<'t> {
    list: &'t str,
    at: usize,
}

impl<'t> Attributes<'t> {
    fn of(list: &'t str) -> Attributes<'t> {
        Attributes { list, at: 0 }
    }
}

impl<'t> Iterator for Attributes<'t> {
    type Item = Attribute<'t>;

    fn next(&mut self) -> Option<Attribute<'t>> {
        loop {
            let rest = self.list.get(self.at..)?;
            let stop = memchr::memchr2(b'=', b',', rest.as_bytes())?;
            let after = self.at + stop + 1;
            let value = self.list.get(after..)?;
            if rest.as_bytes().get(stop) == Some(&b',') {
                self.at = after;
                continue;
            }
            let name = rest.get(..stop)?.trim_ascii();
            if let Some(quoted) = value.strip_prefix('"') {
                let len = memchr::memchr(b'"', quoted.as_bytes())?;
                self.at = after + len + 2;
                return Some(Attribute { name, value: quoted.get(..len)?, at: after + 1 });
            }
            // A value without quotes ends at the comma, whatever it holds.
            self.at = after + memchr::memchr(b',', value.as_bytes())? + 1;
        }
    }
}

/// The variables defined so far.
#[derive(Default)]
struct Variables<'t>(Vec<(&'t str, &'t str)>);

impl<'t> Variables<'t> {
    fn define(&mut self, list: &'t str) {
        let (mut name, mut value) = (None, None);
        for attribute in Attributes::of(list) {
            match attribute.name {
                "NAME" => name = Some(attribute.value),
                "VALUE" => value = Some(attribute.value),
                _ => {}
            }
        }
        let (Some(name), Some(value)) = (name, value) else { return };
        if self.0.len() < VARIABLES_MAX && value.len() <= VALUE_BYTES_MAX && self.get(name).is_none() {
            self.0.push((name, value));
        }
    }

    fn get(&self, name: &str) -> Option<&'t str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// A URI with its variables replaced, once: a value is taken as it stands.
    fn resolve(&self, uri: &'t str) -> Cow<'t, str> {
        if self.0.is_empty() || !uri.contains("{$") {
            return Cow::Borrowed(uri);
        }
        let mut says = String::with_capacity(uri.len());
        let mut rest = uri;
        while let Some((before, after)) = rest.split_once("{$") {
            says.push_str(before);
            let value = after.split_once('}').and_then(|(name, tail)| Some((self.get(name)?, tail)));
            match value {
                Some((value, tail)) => {
                    says.push_str(value);
                    rest = tail;
                }
                None => {
                    says.push_str("{$");
                    rest = after;
                }
            }
            if says.len() > RESOLVED_BYTES_MAX {
                return Cow::Borrowed(uri);
            }
        }
        says.push_str(rest);
        Cow::Owned(says)
    }
}

#[cfg(test)]
mod tests;
