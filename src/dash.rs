//! What the node knows of MPEG-DASH: where a manifest (an MPD, ISO/IEC 23009-1) holds URIs.
//!
//! Decides which places those are ([`ATTRIBUTES`], [`ELEMENTS`]), and by what each one is resolved: the URL of the MPD, or
//! the `BaseURL` elements around it. Changes nothing; what becomes of a URI is decided by [`crate::carry`].
//!
//! Not looked at: remote elements (`xlink:href`), licence servers, clocks (`UTCTiming`), and a location that is written
//! with CDATA, comments or elements inside; a manifest with such a `BaseURL` is not read.

use std::borrow::Cow;
use std::ops::Range;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// `BaseURL` elements around one place; a manifest with more is not read.
pub const BASES_MAX: usize = 32;

/// Attributes that hold URIs, by the local name of their element (sections 5.3.9.2 to 5.3.9.4).
pub const ATTRIBUTES: [(&str, &[&str]); 5] = [
    ("SegmentTemplate", &["media", "initialization", "index", "bitstreamSwitching"]),
    ("SegmentURL", &["media", "index"]),
    ("Initialization", &["sourceURL"]),
    ("RepresentationIndex", &["sourceURL"]),
    ("BitstreamSwitching", &["sourceURL"]),
];

/// Elements whose text is a URI (sections 5.3.1.2, 5.6 and 5.15).
pub const ELEMENTS: [&str; 3] = ["BaseURL", "Location", "PatchLocation"];

/// What the URI at a place is resolved by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against<'b> {
    /// The URL of the MPD: a location, or a `BaseURL` of the MPD itself.
    Document,
    /// The `BaseURL` elements around it, outermost first, each with the depth of the element that it is for; without
    /// any, the URL of the MPD.
    Bases(&'b [(usize, String)]),
}

/// A URI where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'t> {
    /// Its bytes in the text, without quotes and white space around them.
    pub at: Range<usize>,
    /// What it says: those bytes with character references replaced. Borrowed where there are none.
    pub says: Cow<'t, str>,
}

/// Where an MPD without a `BaseURL` of its own can be given one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening<'t> {
    /// The byte before which it goes.
    pub at: usize,
    /// What its name begins with: the prefix of the MPD's namespace and a colon, or nothing.
    pub prefix: &'t str,
}

/// Why a text is no manifest that can be told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is not well-formed XML, or not an MPD.
    #[error("it is not a well-formed MPD")]
    Malformed,
    /// A `BaseURL` is written with CDATA, comments or elements inside.
    #[error("a BaseURL holds more than text")]
    Base,
    /// More than [`BASES_MAX`] `BaseURL` elements bear on one place.
    #[error("more than {BASES_MAX} BaseURL elements bear on one place")]
    TooManyBases,
}

/// Calls `found` with every URI of a manifest, in the order of the text. Gives where the MPD can be given a `BaseURL`;
/// None: it has one, or has no children. One pass.
///
/// # Errors
/// [`ManifestError`]; some URIs may have been told by then.
pub fn find<'t>(
    text: &'t str,
    found: impl FnMut(Place<'t>, Against<'_>),
) -> Result<Option<Opening<'t>>, ManifestError> {
    let mut reader = Reader::from_str(text);
    let mut walk = Walk {
        text,
        depth: 0,
        bases: Vec::new(),
        has_own_base: false,
        opening: None,
        prefix: None,
        content: None,
        found,
    };
    loop {
        match reader.read_event().map_err(|_| ManifestError::Malformed)? {
            Event::Start(tag) => {
                walk.open(&tag)?;
                walk.content = walk.content_of(&tag);
                walk.depth += 1;
            }
            Event::Empty(tag) => walk.open(&tag)?,
            Event::End(end) => {
                let end = walk.offset(end.name().into_inner()).map(|at| at.saturating_sub("</".len()));
                walk.close(end)?;
            }
            // A text may have references in it, and nothing else.
            Event::CData(_) | Event::Comment(_) | Event::PI(_) => walk.leave()?,
            Event::Eof => break,
            _ => {}
        }
    }
    if walk.depth != 0 || walk.prefix.is_none() {
        return Err(ManifestError::Malformed);
    }
    Ok(walk.opening.filter(|_| !walk.has_own_base))
}

/// An element whose text is a URI.
struct Content {
    is_base: bool,
    /// Its first byte.
    start: usize,
}

/// What is known on the way through a manifest.
struct Walk<'t, F> {
    text: &'t str,
    /// Elements that are open.
    depth: usize,
    /// `BaseURL`s in scope, each with the depth of its parent.
    bases: Vec<(usize, String)>,
    has_own_base: bool,
    opening: Option<Opening<'t>>,
    /// That of the root, once it has been seen.
    prefix: Option<&'t str>,
    /// The text that is being read.
    content: Option<Content>,
    found: F,
}

impl<'t, F: FnMut(Place<'t>, Against<'_>)> Walk<'t, F> {
    fn open(&mut self, tag: &BytesStart<'_>) -> Result<(), ManifestError> {
        self.leave()?;
        let name = tag.local_name();
        let name = name.as_ref();
        match self.depth {
            0 => self.open_root(tag)?,
            1 if name != "ProgramInformation" && self.opening.is_none() => {
                let at = self.offset(tag).map(|at| at.saturating_sub("<".len()));
                let prefix = self.prefix.unwrap_or_default();
                self.opening = at.map(|at| Opening { at, prefix });
            }
            _ => {}
        }
        let Some((_, wanted)) = ATTRIBUTES.iter().find(|(known, _)| *known == name) else { return Ok(()) };
        for attribute in tag.attributes().with_checks(false) {
            let attribute = attribute.map_err(|_| ManifestError::Malformed)?;
            if !wanted.contains(&attribute.key.into_inner()) {
                continue;
            }
            let start = self.offset(&attribute.value).ok_or(ManifestError::Malformed)?;
            self.tell(start..start + attribute.value.len(), false)?;
        }
        Ok(())
    }

    /// Only an MPD is told about.
    fn open_root(&mut self, tag: &BytesStart<'_>) -> Result<(), ManifestError> {
        let name = tag.name();
        let at = self.offset(name.into_inner()).ok_or(ManifestError::Malformed)?;
        let whole = self.text.get(at..at + name.as_ref().len()).unwrap_or_default();
        let prefix = whole.strip_suffix("MPD").filter(|prefix| prefix.is_empty() || prefix.ends_with(':'));
        self.prefix = Some(prefix.filter(|_| self.prefix.is_none()).ok_or(ManifestError::Malformed)?);
        Ok(())
    }

    /// What is being read holds more than text.
    fn leave(&mut self) -> Result<(), ManifestError> {
        match self.content.take() {
            // Whose the URIs below it are, nobody would know.
            Some(Content { is_base: true, .. }) => Err(ManifestError::Base),
            _ => Ok(()),
        }
    }

    fn content_of(&self, tag: &BytesStart<'_>) -> Option<Content> {
        let name = tag.local_name();
        let place = ELEMENTS.iter().position(|known| *known == name.as_ref())?;
        let start = self.offset(tag)? + tag.len() + ">".len();
        Some(Content { is_base: place == 0, start })
    }

    /// An element ends, its end tag at `end`.
    fn close(&mut self, end: Option<usize>) -> Result<(), ManifestError> {
        self.depth = self.depth.saturating_sub(1);
        match (self.content.take(), end) {
            (Some(Content { is_base, start }), Some(end)) if start <= end => {
                // A base bears on what follows inside the element that is open now.
                self.tell_content(start..end, is_base)
            }
            _ => {
                self.bases.retain(|(depth, _)| *depth <= self.depth);
                Ok(())
            }
        }
    }

    fn tell_content(&mut self, at: Range<usize>, is_base: bool) -> Result<(), ManifestError> {
        let Some(says) = self.tell(at, !is_base || self.depth == 1)? else { return Ok(()) };
        if is_base {
            self.has_own_base |= self.depth == 1;
            if self.bases.len() == BASES_MAX {
                return Err(ManifestError::TooManyBases);
            }
            self.bases.push((self.depth, says.into_owned()));
        }
        Ok(())
    }

    /// Tells of the URI that stands at `at`, if there is one; gives what it says.
    fn tell(&mut self, at: Range<usize>, of_document: bool) -> Result<Option<Cow<'t, str>>, ManifestError> {
        let raw = self.text.get(at.clone()).ok_or(ManifestError::Malformed)?;
        let start = at.start + (raw.len() - raw.trim_ascii_start().len());
        let uri = raw.trim_ascii();
        if uri.is_empty() {
            return Ok(None);
        }
        let says = quick_xml::escape::unescape(uri).map_err(|_| ManifestError::Malformed)?;
        let place = Place { at: start..start + uri.len(), says: says.clone() };
        let against = if of_document { Against::Document } else { Against::Bases(&self.bases) };
        (self.found)(place, against);
        Ok(Some(says))
    }

    /// Where a part of the text stands in it; None: it is a copy.
    fn offset(&self, part: &str) -> Option<usize> {
        let offset = (part.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize)?;
        (offset + part.len() <= self.text.len()).then_some(offset)
    }
}

#[cfg(test)]
mod tests;
