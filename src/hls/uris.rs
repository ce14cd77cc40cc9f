//! Finds the URIs of a playlist: where each one stands in the text, what it says, and what makes it a URI.
//!
//! Decides which places of a playlist hold URIs (RFC 8216bis section 4): lines that are neither tag nor comment, and the
//! attributes in [`TAGS`]. Changes nothing; what becomes of a URI is decided by [`crate::carry`], what it names by
//! [`super::names`].
//!
//! Variables (section 4.3) are replaced in what a URI *says*, by the `EXT-X-DEFINE` lines before it
//! ([`super::variables`]). One that is not defined there stays as `{$NAME}`.

use std::borrow::Cow;
use std::ops::Range;

use super::attributes::Attributes;
use super::variables::{Around, Variables};

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
    /// What makes it a URI.
    pub stands: Stands<'t>,
}

/// What makes a place one of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands<'t> {
    /// A line that follows `EXT-X-STREAM-INF`: a variant.
    Variant,
    /// Any other line: a media segment.
    Segment,
    /// An attribute of a tag.
    Attribute {
        /// The tag, one of [`TAGS`].
        tag: &'static str,
        /// The attribute's name.
        name: &'static str,
        /// All attributes of the tag, as they stand.
        list: &'t str,
    },
}

/// What stands in a playlist: a URI, or a tag by which its neighbours are understood.
pub(super) enum Line<'t> {
    /// A URI, of a line or of a tag.
    Uri(Place<'t>),
    /// `EXTINF` or an `EXT-X-` tag, before its own URIs: its name, and what follows the colon.
    Tag(&'t str, &'t str),
}

/// Calls `found` with every URI of a playlist, in the order of the text. One pass; only URIs with variables are copied.
pub fn find<'t>(text: &'t str, mut found: impl FnMut(Place<'t>)) {
    read(text, &Around::default(), |line, _| {
        if let Line::Uri(place) = line {
            found(place);
        }
    });
}

/// Calls `found` with every tag and every URI of a playlist, and the variables defined before it. Returns all of them.
pub(super) fn read<'t>(
    text: &'t str,
    around: &Around<'_>,
    mut found: impl FnMut(Line<'t>, &Variables<'t>),
) -> Variables<'t> {
    let mut reader = Reader { variables: Variables::default(), after_variant: false };
    let mut start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    while start < text.len() {
        let rest = text.get(start..).unwrap_or_default();
        let end = memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
        let line = rest.get(..end).unwrap_or_default();
        reader.take(line, start, around, &mut found);
        start += end + 1;
    }
    reader.variables
}

struct Reader<'t> {
    variables: Variables<'t>,
    /// Whether the next line is that of a variant.
    after_variant: bool,
}

impl<'t> Reader<'t> {
    fn take(
        &mut self,
        line: &'t str,
        start: usize,
        around: &Around<'_>,
        found: &mut impl FnMut(Line<'t>, &Variables<'t>),
    ) {
        let bare = line.trim_ascii();
        if bare.is_empty() {
            return;
        }
        if !bare.starts_with('#') {
            let at = start + (line.len() - line.trim_ascii_start().len());
            let stands =
                if std::mem::take(&mut self.after_variant) { Stands::Variant } else { Stands::Segment };
            let place = Place { at: at..at + bare.len(), says: self.variables.resolve(bare), stands };
            return found(Line::Uri(place), &self.variables);
        }
        let Some((name, list)) = tag(line) else {
            if let Some(says) = bare.strip_prefix("#EXTINF:") {
                self.after_variant = false;
                found(Line::Tag("EXTINF", says), &self.variables);
            }
            return;
        };
        match name {
            "EXT-X-DEFINE" => return self.variables.define(list, around),
            "EXT-X-STREAM-INF" => self.after_variant = true,
            _ => {}
        }
        found(Line::Tag(name, list), &self.variables);
        let Some(&(tag, wanted)) = TAGS.iter().find(|(known, _)| *known == name) else { return };
        let list_at = start + (line.len() - line.trim_ascii_start().len()) + "#:".len() + name.len();
        for attribute in Attributes::of(list).filter(|attribute| attribute.quoted) {
            let Some(&name) = wanted.iter().find(|name| **name == attribute.name) else { continue };
            if !attribute.value.is_empty() {
                let at = list_at + attribute.at;
                let says = self.variables.resolve(attribute.value);
                let stands = Stands::Attribute { tag, name, list };
                let place = Place { at: at..at + attribute.value.len(), says, stands };
                found(Line::Uri(place), &self.variables);
            }
        }
    }
}

/// The name of a tag, and what follows its colon; nothing, where it has none.
fn tag(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_ascii_start().strip_prefix('#').filter(|tag| tag.starts_with("EXT-X-"))?;
    Some(line.split_once(':').unwrap_or((line.trim_ascii_end(), "")))
}

#[cfg(test)]
mod tests;
