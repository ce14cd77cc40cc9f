//! What a playlist names: for each asset what it is, what its URI says, and which bytes of it are meant.
//!
//! One pass over the places that [`super::uris`] finds. Decides the kind of each (RFC 8216bis section 4.4), its byte range
//! with the offsets that are left out (section 4.4.4.2), and where segments and parts stand in the stream. Names come in
//! the order of the text. A URI is not looked at: it may be of another host, or `data:`; [`crate::key::reference`] tells.
//!
//! Not named: `EXT-X-SESSION-DATA`, `EXT-X-CONTENT-STEERING`, `EXT-X-DATERANGE`, hints of unknown types, and what cannot be
//! known: a sub-range whose offset follows from segments that a delta update leaves out.

use std::borrow::Cow;
use std::time::Duration;

use super::attributes::value;
use super::read::seconds;
use super::uris::{self, Line, Place, Stands};
use super::variables::{Around, Variables};
use crate::asset::Kind;

/// An asset that a playlist names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<'t> {
    /// What it is: a media playlist (variants, renditions, I-frame streams, rendition reports), a segment, a part, an
    /// initialization section, a key, or an image (segments of a playlist with `EXT-X-IMAGES-ONLY`).
    pub kind: Kind,
    /// Its URI as the playlist says it, with variables replaced as far as they are known.
    pub uri: Cow<'t, str>,
    /// The bytes of it that are meant. None: all.
    pub range: Option<ByteRange>,
    /// Of a segment, a part and the hint of a part: its media sequence number, or that of the segment it belongs to.
    pub msn: Option<u64>,
    /// Of a part and the hint of one: its place in the segment, from 0.
    pub part: Option<u64>,
    /// Of a segment or part that is there: how long it plays, in seconds as the playlist writes them (`EXTINF`, `DURATION`).
    pub seconds: Option<&'t str>,
    /// Whether it is only announced (`EXT-X-PRELOAD-HINT`, section 4.4.5.3).
    pub hint: bool,
    /// Whether it is missing (`EXT-X-GAP`, `GAP=YES`): no one is to ask for it.
    pub gap: bool,
}

/// A sub-range of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Its first byte.
    pub start: u64,
    /// Its length in bytes. None: to the end, as of a hint whose end is not known.
    pub len: Option<u64>,
}

/// Calls `found` with every asset that a playlist names. Variables that it does not define itself are left as they stand.
pub fn names<'t>(text: &'t str, found: impl FnMut(Named<'t>)) {
    names_around(text, &Around::default(), found);
}

/// The same, with values for the variables that are defined elsewhere. Returns the playlist's variables.
pub fn names_around<'t>(
    text: &'t str,
    around: &Around<'_>,
    mut found: impl FnMut(Named<'t>),
) -> Variables<'t> {
    let mut reader = Reader::default();
    uris::read(text, around, |line, variables| match line {
        Line::Tag(name, list) => reader.tag(name, list, variables),
        Line::Uri(place) => {
            if let Some(named) = reader.uri(place, variables) {
                found(named);
            }
        }
    })
}

/// A byte range as it is written: its length and, where it is given, its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    len: u64,
    offset: Option<u64>,
}

#[derive(Debug, Default)]
struct Reader<'t> {
    /// Number of the next segment.
    msn: u64,
    /// Parts of it so far.
    parts: u64,
    /// `EXT-X-BYTERANGE`, `EXTINF` and `EXT-X-GAP` of it.
    range: Option<Written>,
    seconds: Option<&'t str>,
    gap: bool,
    /// Where the sub-range of the latest segment, or part, ended, and of which resource.
    segment_end: Option<(Cow<'t, str>, u64)>,
    part_end: Option<(Cow<'t, str>, u64)>,
    /// Whether segments are left out, and none has followed them.
    skipped: bool,
    multivariant: bool,
    images: bool,
}

impl<'t> Named<'t> {
    /// Of this kind, whole, there, and with no place in the stream.
    fn plain(kind: Kind, uri: Cow<'t, str>) -> Named<'t> {
        Named { kind, uri, range: None, msn: None, part: None, seconds: None, hint: false, gap: false }
    }

    /// How long it plays: from a millisecond to an hour; anything else counts as not said.
    pub fn duration(&self) -> Option<Duration> {
        seconds(self.seconds?.parse().ok()?)
    }
}

impl<'t> Reader<'t> {
    fn tag(&mut self, name: &str, list: &'t str, variables: &Variables<'t>) {
        match name {
            "EXT-X-MEDIA-SEQUENCE" => self.msn = number(list).unwrap_or(self.msn),
            "EXT-X-SKIP" => {
                let skipped = value(list, "SKIPPED-SEGMENTS").and_then(number).unwrap_or(0);
                self.msn = self.msn.saturating_add(skipped);
                self.skipped = true;
            }
            "EXT-X-BYTERANGE" => self.range = Written::of(&variables.resolve(list)),
            "EXTINF" => self.seconds = list.split(',').next().map(str::trim_ascii),
            "EXT-X-GAP" => self.gap = true,
            "EXT-X-STREAM-INF" => self.multivariant = true,
            "EXT-X-IMAGES-ONLY" => self.images = true,
            _ => {}
        }
    }

    fn uri(&mut self, place: Place<'t>, variables: &Variables<'t>) -> Option<Named<'t>> {
        let uri = place.says;
        let plain = Named::plain;
        match place.stands {
            Stands::Variant => Some(plain(Kind::MediaPlaylist, uri)),
            Stands::Segment => self.segment(uri),
            Stands::Attribute { tag, list, .. } => match tag {
                "EXT-X-MEDIA"
                | "EXT-X-I-FRAME-STREAM-INF"
                | "EXT-X-IMAGE-STREAM-INF"
                | "EXT-X-RENDITION-REPORT" => Some(plain(Kind::MediaPlaylist, uri)),
                "EXT-X-KEY" | "EXT-X-SESSION-KEY" => Some(plain(Kind::Key, uri)),
                "EXT-X-MAP" => {
                    let range = written(list, variables);
                    let range = range.map(|range| range.from(range.offset.unwrap_or(0)));
                    Some(Named { range, ..plain(Kind::Init, uri) })
                }
                "EXT-X-PART" => self.part(uri, list, variables),
                "EXT-X-PRELOAD-HINT" => {
                    let (kind, msn, part) = match value(list, "TYPE")? {
                        "PART" => (Kind::Part, Some(self.msn), Some(self.parts)),
                        "MAP" => (Kind::Init, None, None),
                        _ => return None,
                    };
                    let start = value(list, "BYTERANGE-START").and_then(number);
                    let len = value(list, "BYTERANGE-LENGTH").and_then(number);
                    let range = (start.is_some() || len.is_some())
                        .then_some(ByteRange { start: start.unwrap_or(0), len });
                    Some(Named { range, msn, part, hint: true, ..plain(kind, uri) })
                }
                _ => None,
            },
        }
    }

    fn segment(&mut self, uri: Cow<'t, str>) -> Option<Named<'t>> {
        let msn = self.msn;
        self.msn = msn.saturating_add(1);
        self.parts = 0;
        let (range, seconds, gap) = (self.range.take(), self.seconds.take(), std::mem::take(&mut self.gap));
        if self.multivariant {
            return None;
        }
        let unknown = std::mem::take(&mut self.skipped) && range.is_some_and(|range| range.offset.is_none());
        let range = range.map(|range| range.after(self.segment_end.as_ref(), &uri));
        self.segment_end = if unknown { None } else { end_of(range, &uri) };
        // What follows a sub-range of unknown offset is as unknown.
        self.skipped = unknown;
        let kind = if self.images { Kind::Image } else { Kind::Segment };
        let named = Named { range, msn: Some(msn), seconds, gap, ..Named::plain(kind, uri) };
        (!unknown).then_some(named)
    }

    fn part(&mut self, uri: Cow<'t, str>, list: &'t str, variables: &Variables<'t>) -> Option<Named<'t>> {
        let part = self.parts;
        self.parts = part.saturating_add(1);
        let range = written(list, variables).map(|range| range.after(self.part_end.as_ref(), &uri));
        self.part_end = end_of(range, &uri);
        let (seconds, gap) = (value(list, "DURATION"), value(list, "GAP") == Some("YES"));
        let (msn, part) = (Some(self.msn), Some(part));
        Some(Named { range, msn, part, seconds, gap, ..Named::plain(Kind::Part, uri) })
    }
}

impl Written {
    /// Reads `LENGTH[@OFFSET]` (section 4.4.4.2).
    fn of(text: &str) -> Option<Written> {
        match text.split_once('@') {
            Some((len, offset)) => Some(Written { len: number(len)?, offset: Some(number(offset)?) }),
            None => Some(Written { len: number(text)?, offset: None }),
        }
    }

    /// The range. Without an offset it begins where the one before ended, of the same resource; else at the first byte.
    fn after(&self, before: Option<&(Cow<'_, str>, u64)>, uri: &str) -> ByteRange {
        let follows = || before.filter(|(resource, _)| resource == uri).map_or(0, |(_, end)| *end);
        self.from(self.offset.unwrap_or_else(follows))
    }

    fn from(&self, start: u64) -> ByteRange {
        ByteRange { start, len: Some(self.len) }
    }
}

/// The `BYTERANGE` of a tag.
fn written<'t>(list: &'t str, variables: &Variables<'t>) -> Option<Written> {
    Written::of(&variables.resolve(value(list, "BYTERANGE")?))
}

fn end_of<'t>(range: Option<ByteRange>, uri: &Cow<'t, str>) -> Option<(Cow<'t, str>, u64)> {
    let range = range?;
    Some((uri.clone(), range.start.saturating_add(range.len?)))
}

/// A decimal number (section 4.2).
fn number(text: &str) -> Option<u64> {
    let text = text.trim_ascii();
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests;
