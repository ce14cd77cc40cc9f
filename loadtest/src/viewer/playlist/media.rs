//! Media playlists (RFC 8216bis, sections 4.4.3 to 4.4.5): segments, parts, and what the server says of itself. Kept small: URIs
//! in one text, durations as 32 bits of microseconds, ranges only where there are any.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};

use super::attributes::{attributes, byte_range, micros, number};
use super::{KEYS_MAX, MAPS_MAX, PARTS_MAX, SEGMENTS_MAX};

/// A media playlist.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Media {
    /// `EXT-X-TARGETDURATION`, in microseconds.
    pub(crate) target_us: u32,
    /// Media sequence number of the first segment.
    pub(crate) first: u64,
    /// Nothing will be added any more (`EXT-X-ENDLIST`).
    pub(crate) ended: bool,
    /// `PART-TARGET`, in microseconds.
    pub(crate) part_target_us: Option<u32>,
    pub(crate) can_block: bool,
    /// `HOLD-BACK` and `PART-HOLD-BACK`, in microseconds.
    pub(crate) hold_back_us: Option<u32>,
    pub(crate) part_hold_back_us: Option<u32>,
    /// When the first segment began, in microseconds since 1970 (`EXT-X-PROGRAM-DATE-TIME`).
    pub(crate) began_us: Option<i64>,
    /// The part that comes next (`EXT-X-PRELOAD-HINT` of type PART).
    pub(crate) hint: Option<Resource>,
    segments: Vec<Segment>,
    parts: Vec<Part>,
    maps: Vec<Resource>,
    keys: Vec<Resource>,
    /// Of the segment that is not whole: index in `keys` and one; 0: none.
    open_key: u16,
    uris: String,
}

/// One thing to fetch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resource {
    /// First byte and length in `uris`.
    uri: (u32, u32),
    range: Option<Box<Range>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Range {
    offset: u64,
    /// None: to the end.
    length: Option<u64>,
}

#[derive(Debug, PartialEq)]
struct Segment {
    resource: Resource,
    duration_us: u32,
    /// Index in `parts` after the last of its own.
    parts_end: u32,
    /// Index in `maps` and one; 0: none.
    map: u16,
    /// Index in `keys` and one; 0: none.
    key: u16,
    gap: bool,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) resource: Resource,
    pub(crate) duration_us: u32,
    pub(crate) independent: bool,
    pub(crate) gap: bool,
}

/// A segment as the player sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) duration_us: u32,
    /// Not there (`EXT-X-GAP`): it is not to be fetched.
    pub(crate) gap: bool,
}

/// What the lines before a segment's URI say of it.
#[derive(Default)]
struct Reading {
    media: Media,
    duration_us: Option<u32>,
    range: Option<(u64, Option<u64>)>,
    /// Where the last range of this resource ended: the next one begins there if it does not say where.
    last_range: Option<(Resource, u64)>,
    last_part: Option<(Resource, u64)>,
    map: u16,
    /// What `map` is of each `EXT-X-MAP` so far, by URI and range.
    maps: HashMap<(String, Option<Range>), u16>,
    /// What `key` is of each URI so far, and of what comes next.
    keys: HashMap<String, u16>,
    key: u16,
    gap: bool,
    /// Index of the segment after the first date, and the date.
    date: Option<(usize, i64)>,
    target: bool,
}

// === impl Media ===

impl Media {
    pub(super) fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut reading = Reading::default();
        for line in lines {
            match line.strip_prefix('#') {
                Some(tag) => reading.tag(tag)?,
                None => reading.segment(line)?,
            }
        }
        ensure!(reading.target, "a media playlist without EXT-X-TARGETDURATION");
        let mut media = reading.media;
        media.open_key = reading.key;
        if let Some((index, date_us)) = reading.date {
            let before: i64 = media.segments.iter().take(index).map(|s| i64::from(s.duration_us)).sum();
            media.began_us = Some(date_us - before);
        }
        media.segments.shrink_to_fit();
        media.parts.shrink_to_fit();
        media.uris.shrink_to_fit();
        Ok(media)
    }

    /// Number of whole segments.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }

    /// Media sequence number of the segment that is not whole yet, or not there at all.
    pub(crate) fn open(&self) -> u64 {
        self.first + self.segments.len() as u64
    }

    /// The segment of this number, if it is listed.
    pub(crate) fn segment(&self, msn: u64) -> Option<Piece<'_>> {
        let segment = self.segments.get(self.index(msn)?)?;
        let Segment { resource, duration_us, gap, .. } = segment;
        Some(Piece { resource, duration_us: *duration_us, gap: *gap })
    }

    /// The parts of a segment that are listed: those of the open one too.
    pub(crate) fn parts(&self, msn: u64) -> &[Part] {
        let Some(index) = self.index(msn).filter(|index| *index <= self.segments.len()) else { return &[] };
        let end_of = |index: usize| self.segments.get(index).map(|segment| segment.parts_end as usize);
        let start = index.checked_sub(1).and_then(end_of).unwrap_or(0);
        let end = end_of(index).unwrap_or(self.parts.len());
        self.parts.get(start..end).unwrap_or(&[])
    }

    /// The init segment of a segment (the open one has that of the last one).
    pub(crate) fn map(&self, msn: u64) -> Option<&Resource> {
        let segment = self.segments.get(self.index(msn)?).or_else(|| self.segments.last());
        let map = segment.map_or(self.maps.len(), |segment| segment.map as usize);
        self.maps.get(map.checked_sub(1)?)
    }

    /// The key of a segment, as one that a player fetches itself (section 4.4.4.4).
    pub(crate) fn key(&self, msn: u64) -> Option<&Resource> {
        let segment = self.segments.get(self.index(msn)?);
        let key = segment.map_or(self.open_key, |segment| segment.key);
        self.keys.get(usize::from(key).checked_sub(1)?)
    }

    /// Durations of all segments, in microseconds, in order.
    pub(crate) fn durations_us(&self) -> impl Iterator<Item = i64> {
        self.segments.iter().map(|segment| i64::from(segment.duration_us))
    }

    /// From the start of the first segment to the start of this one (or to the end of the last).
    pub(crate) fn offset_us(&self, msn: u64) -> i64 {
        let count = usize::try_from(msn.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.durations_us().take(count).sum()
    }

    /// From the start of the first segment to the end of the last whole one; with the open one's parts if told so.
    pub(crate) fn length_us(&self, with_parts: bool) -> i64 {
        let open = self.parts(self.open()).iter().map(|part| i64::from(part.duration_us)).sum::<i64>();
        self.durations_us().sum::<i64>() + if with_parts { open } else { 0 }
    }

    /// Whether it is to be played by parts: the server has them, blocks, and says how far to hold back (section 4.4.3.8).
    pub(crate) fn low_latency(&self) -> bool {
        self.part_target_us.is_some() && self.can_block && self.part_hold_back_us.is_some() && !self.ended
    }

    /// The text of a resource's URI.
    pub(crate) fn uri(&self, resource: &Resource) -> &str {
        let (start, length) = (resource.uri.0 as usize, resource.uri.1 as usize);
        self.uris.get(start..start + length).unwrap_or("")
    }

    fn index(&self, msn: u64) -> Option<usize> {
        usize::try_from(msn.checked_sub(self.first)?).ok()
    }

    /// Keeps a URI; one that is the last one's is kept once.
    fn keep(&mut self, uri: &str) -> (u32, u32) {
        let length = uri.len() as u32;
        if !uri.is_empty() && self.uris.ends_with(uri) {
            return (self.uris.len() as u32 - length, length);
        }
        let start = self.uris.len() as u32;
        self.uris.push_str(uri);
        (start, length)
    }
}

// === impl Resource ===

impl Resource {
    /// First and last position, as they are asked for; none: the whole resource.
    pub(crate) fn range(&self) -> Option<(u64, Option<u64>)> {
        let Range { offset, length } = **self.range.as_ref()?;
        Some((offset, length.map(|length| offset.saturating_add(length).saturating_sub(1))))
    }
}

// === impl Reading ===

impl Reading {
    fn tag(&mut self, tag: &str) -> Result<()> {
        let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
        match name {
            "EXTINF" => self.duration_us = Some(micros(value.split(',').next().unwrap_or(""))?),
            "EXT-X-TARGETDURATION" => {
                self.media.target_us = micros(value)?;
                self.target = self.media.target_us > 0;
            }
            "EXT-X-MEDIA-SEQUENCE" => {
                ensure!(self.media.segments.is_empty(), "EXT-X-MEDIA-SEQUENCE after a segment");
                self.media.first = number(value)?;
                ensure!(self.media.first < u64::MAX / 2, "a media sequence number of {}", self.media.first);
            }
            "EXT-X-ENDLIST" => self.media.ended = true,
            "EXT-X-BYTERANGE" => self.range = Some(byte_range(value)?),
            "EXT-X-GAP" => self.gap = true,
            "EXT-X-MAP" => self.map(value)?,
            "EXT-X-KEY" => self.key(value)?,
            "EXT-X-PROGRAM-DATE-TIME" if self.date.is_none() => {
                let date: Option<jiff::Timestamp> = value.parse().ok();
                self.date = date.map(|date| (self.media.segments.len(), date.as_microsecond()));
            }
            "EXT-X-SERVER-CONTROL" => self.server_control(value)?,
            "EXT-X-PART-INF" => {
                for (_, target) in attributes(value).filter(|(name, _)| *name == "PART-TARGET") {
                    self.media.part_target_us = Some(micros(target)?).filter(|target| *target > 0);
                }
            }
            "EXT-X-PART" => self.part(value)?,
            "EXT-X-PRELOAD-HINT" => self.hint(value)?,
            "EXT-X-SKIP" => bail!("a delta update that was not asked for"),
            _ => {}
        }
        Ok(())
    }

    fn segment(&mut self, uri: &str) -> Result<()> {
        let duration_us = self.duration_us.take().with_context(|| format!("{uri} without EXTINF"))?;
        ensure!(self.media.segments.len() < SEGMENTS_MAX, "more than {SEGMENTS_MAX} segments");
        let range = self.range.take();
        let resource = Self::resource(&mut self.media, uri, range, &mut self.last_range)?;
        let parts_end = self.media.parts.len() as u32;
        let gap = std::mem::take(&mut self.gap);
        self.media.segments.push(Segment {
            resource,
            duration_us,
            parts_end,
            map: self.map,
            key: self.key,
            gap,
        });
        Ok(())
    }

    fn part(&mut self, list: &str) -> Result<()> {
        ensure!(self.media.parts.len() < PARTS_MAX, "more than {PARTS_MAX} parts");
        let (mut uri, mut duration_us, mut range) = (None, None, None);
        let (mut independent, mut gap) = (false, false);
        for (name, value) in attributes(list) {
            match name {
                "URI" => uri = Some(value),
                "DURATION" => duration_us = Some(micros(value)?),
                "BYTERANGE" => range = Some(byte_range(value)?),
                "INDEPENDENT" => independent = value == "YES",
                "GAP" => gap = value == "YES",
                _ => {}
            }
        }
        let uri = uri.context("EXT-X-PART without URI")?;
        let duration_us = duration_us.context("EXT-X-PART without DURATION")?;
        let resource = Self::resource(&mut self.media, uri, range, &mut self.last_part)?;
        self.media.parts.push(Part { resource, duration_us, independent, gap });
        Ok(())
    }

    fn map(&mut self, list: &str) -> Result<()> {
        let (mut uri, mut range) = (None, None);
        for (name, value) in attributes(list) {
            match name {
                "URI" => uri = Some(value),
                "BYTERANGE" => range = Some(byte_range(value)?),
                _ => {}
            }
        }
        let uri = uri.context("EXT-X-MAP without URI")?;
        let range = range.map(|(length, offset)| (length, Some(offset.unwrap_or(0))));
        // Some packagers write it before each segment.
        let known = range.map(|(length, offset)| Range { offset: offset.unwrap_or(0), length: Some(length) });
        let known = (uri.to_owned(), known);
        if let Some(map) = self.maps.get(&known) {
            self.map = *map;
            return Ok(());
        }
        ensure!(self.media.maps.len() < MAPS_MAX, "more than {MAPS_MAX} EXT-X-MAP");
        let map = Self::resource(&mut self.media, uri, range, &mut None)?;
        self.media.maps.push(map);
        self.map = self.media.maps.len() as u16;
        self.maps.insert(known, self.map);
        Ok(())
    }

    /// A key that a player fetches itself. Those of a `KEYFORMAT` are a DRM's, which is not modelled.
    fn key(&mut self, list: &str) -> Result<()> {
        let (mut uri, mut is_none, mut is_own) = (None, false, true);
        for (name, value) in attributes(list) {
            match name {
                "METHOD" => is_none = value == "NONE",
                "URI" => uri = Some(value),
                "KEYFORMAT" => is_own = value == "identity",
                _ => {}
            }
        }
        if is_none {
            self.key = 0;
        }
        if is_none || !is_own {
            return Ok(());
        }
        let uri = uri.context("EXT-X-KEY without URI")?;
        if let Some(key) = self.keys.get(uri) {
            self.key = *key;
            return Ok(());
        }
        ensure!(self.media.keys.len() < KEYS_MAX, "more than {KEYS_MAX} EXT-X-KEY");
        let key = Self::resource(&mut self.media, uri, None, &mut None)?;
        self.media.keys.push(key);
        self.key = self.media.keys.len() as u16;
        self.keys.insert(uri.to_owned(), self.key);
        Ok(())
    }

    fn hint(&mut self, list: &str) -> Result<()> {
        let (mut uri, mut is_part, mut start, mut length) = (None, false, None, None);
        for (name, value) in attributes(list) {
            match name {
                "TYPE" => is_part = value == "PART",
                "URI" => uri = Some(value),
                "BYTERANGE-START" => start = Some(number(value)?),
                "BYTERANGE-LENGTH" => length = Some(number(value)?),
                _ => {}
            }
        }
        if is_part {
            let uri = self.media.keep(uri.context("EXT-X-PRELOAD-HINT without URI")?);
            let ranged = start.is_some() || length.is_some();
            let offset = start.unwrap_or(0);
            // Without a length there is one byte at the least.
            offset.checked_add(length.unwrap_or(1)).context("a hint at a range beyond all bytes")?;
            let range = ranged.then(|| Box::new(Range { offset, length }));
            self.media.hint = Some(Resource { uri, range });
        }
        Ok(())
    }

    fn server_control(&mut self, list: &str) -> Result<()> {
        for (name, value) in attributes(list) {
            match name {
                "CAN-BLOCK-RELOAD" => self.media.can_block = value == "YES",
                "HOLD-BACK" => self.media.hold_back_us = Some(micros(value)?),
                "PART-HOLD-BACK" => self.media.part_hold_back_us = Some(micros(value)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// A resource; a range without an offset goes on where the last one of the same URI ended (section 4.4.4.2).
    fn resource(
        media: &mut Media,
        uri: &str,
        range: Option<(u64, Option<u64>)>,
        last: &mut Option<(Resource, u64)>,
    ) -> Result<Resource> {
        let before = last.take().filter(|(resource, _)| media.uri(resource) == uri);
        // A segment's whole is listed after its parts: parts of one resource share its text.
        let kept = match &before {
            Some((resource, _)) => resource.uri,
            None => media.keep(uri),
        };
        let Some((length, offset)) = range else { return Ok(Resource { uri: kept, range: None }) };
        let offset = offset
            .or(before.map(|(_, end)| end))
            .with_context(|| format!("{uri}: a range without offset"))?;
        let end = offset.checked_add(length).context("a range beyond all bytes")?;
        let resource = Resource { uri: kept, range: Some(Box::new(Range { offset, length: Some(length) })) };
        *last = Some((resource.clone(), end));
        Ok(resource)
    }
}
