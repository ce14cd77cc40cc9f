//! What the node knows of MPEG-DASH: how long a manifest (an MPD, ISO/IEC 23009-1) holds, and where it holds URIs.
//!
//! Decides which places those are ([`ATTRIBUTES`], [`ELEMENTS`]), and by what each one is resolved: the URL of the MPD, or
//! the `BaseURL` elements around it. Changes nothing; what becomes of a URI is decided by [`crate::carry`].
//!
//! Not looked at: remote elements (`xlink:href`), licence servers, clocks (`UTCTiming`), and a location that is written
//! with CDATA, comments or elements inside; a manifest with such a `BaseURL` is not read.

pub mod steering;

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

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

/// Elements whose text is a URI (sections 5.3.1.2, 5.6 and 5.15; ETSI TS 103 998 for the last one).
pub const ELEMENTS: [&str; 4] = ["BaseURL", "Location", "PatchLocation", "ContentSteering"];

/// Bounds of an update period: one of zero would make every copy stale at once.
const UPDATE_PERIOD_MIN: Duration = Duration::from_secs(1);
const UPDATE_PERIOD_MAX: Duration = Duration::from_secs(3600);

/// What a manifest says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestFacts {
    /// `type="dynamic"`: it may change (section 5.3.1.2).
    pub dynamic: bool,
    /// `minimumUpdatePeriod` of one that is dynamic, from a second to an hour. None: it does not say that it will change.
    pub update_period: Option<Duration>,
}

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

/// Reads what a whole manifest says about itself; None: it is no well-formed MPD.
pub fn facts(text: &[u8]) -> Option<ManifestFacts> {
    let mut reader = Reader::from_str(std::str::from_utf8(text).ok()?);
    let mut depth: usize = 0;
    let mut facts = None;
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => {
                if depth == 0 {
                    facts = Some(facts_of_root(&tag).filter(|_| facts.is_none())?);
                }
                depth += 1;
            }
            Event::Empty(tag) if depth == 0 => facts = Some(facts_of_root(&tag).filter(|_| facts.is_none())?),
            Event::End(_) => depth = depth.checked_sub(1)?,
            Event::Eof => return facts.filter(|_| depth == 0),
            _ => {}
        }
    }
}

fn facts_of_root(tag: &BytesStart<'_>) -> Option<ManifestFacts> {
    if tag.local_name().as_ref() != "MPD" {
        return None;
    }
    let mut facts = ManifestFacts { dynamic: false, update_period: None };
    for attribute in tag.attributes().with_checks(false) {
        let attribute = attribute.ok()?;
        match attribute.key.into_inner() {
            "type" => facts.dynamic = attribute.value.trim_ascii() == "dynamic",
            "minimumUpdatePeriod" => {
                facts.update_period = duration(attribute.value.trim_ascii())
                    .map(|period| period.clamp(UPDATE_PERIOD_MIN, UPDATE_PERIOD_MAX));
            }
            _ => {}
        }
    }
    Some(ManifestFacts { update_period: facts.update_period.filter(|_| facts.dynamic), ..facts })
}

/// A duration of XML Schema without years and months, which have no fixed length.
fn duration(text: &str) -> Option<Duration> {
    let (days, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (text.strip_prefix('P')?, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    for (part, units) in [(days, &[('D', 86_400.0)][..]), (time, &[('H', 3600.0), ('M', 60.0), ('S', 1.0)])] {
        let mut rest = part;
        for (unit, length) in units {
            let Some((number, after)) = rest.split_once(*unit) else { continue };
            if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
                return None;
            }
            seconds += number.parse::<f64>().ok()? * length;
            rest = after;
        }
        if !rest.is_empty() {
            return None;
        }
    }
    Duration::try_from_secs_f64(seconds).ok()
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

/// Calls `found` with all that a manifest says where it may say a URI of some sort: the value of every attribute, the text of
/// every element without others inside, and every CDATA section. The last argument is true where nothing is
/// escaped: in the latter, and where the escapes cannot be read. One pass.
///
/// # Errors
/// [`ManifestError::Malformed`]; something may have been told by then.
pub fn find_said(text: &str, mut found: impl FnMut(Range<usize>, &str, bool)) -> Result<(), ManifestError> {
    let mut reader = Reader::from_str(text);
    let mut tell = |at: Option<Range<usize>>, cdata: bool| {
        let at = at.ok_or(ManifestError::Malformed)?;
        let raw = text.get(at.clone()).ok_or(ManifestError::Malformed)?;
        let start = at.start + (raw.len() - raw.trim_ascii_start().len());
        let raw = raw.trim_ascii();
        let at = start..start + raw.len();
        match quick_xml::escape::unescape(raw).ok().filter(|_| !cdata) {
            Some(says) => found(at, &says, false),
            None => found(at, raw, true),
        }
        Ok(())
    };
    let place = |part: &str| offset_in(text, part).map(|start| start..start + part.len());
    // Where the text of the element began that is open, as long as nothing else is in it.
    let mut start = None;
    loop {
        match reader.read_event().map_err(|_| ManifestError::Malformed)? {
            Event::Start(tag) => {
                for attribute in tag.attributes().with_checks(false) {
                    tell(place(&attribute.map_err(|_| ManifestError::Malformed)?.value), false)?;
                }
                start = place(&tag).map(|at| at.end + ">".len());
            }
            Event::Empty(tag) => {
                start = None;
                for attribute in tag.attributes().with_checks(false) {
                    tell(place(&attribute.map_err(|_| ManifestError::Malformed)?.value), false)?;
                }
            }
            Event::End(end) => {
                let end = place(end.name().into_inner()).map(|at| at.start.saturating_sub("</".len()));
                if let Some((start, end)) = start.take().zip(end) {
                    tell(Some(start..end), false)?;
                }
            }
            Event::CData(data) => {
                start = None;
                tell(place(&data), true)?;
            }
            Event::Text(_) | Event::GeneralRef(_) => {}
            Event::Eof => return Ok(()),
            _ => start = None,
        }
    }
}

/// Where a part of a text stands in it; None: it is a copy.
fn offset_in(text: &str, part: &str) -> Option<usize> {
    let offset = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    (offset + part.len() <= text.len()).then_some(offset)
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
        offset_in(self.text, part)
    }
}

#[cfg(test)]
mod tests;
