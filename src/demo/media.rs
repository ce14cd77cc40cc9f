//! The demo's media: what `scripts/make-media.sh` made, embedded in the binary and cut into parts.
//!
//! Decides what a rendition is called, how large it is, and where the parts of its segments lie. When a segment is on
//! air is [`super::origin::timeline`]'s business; how it is announced is [`super::origin::playlist`]'s.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// The duration of every segment.
pub const SEGMENT_DURATION: Duration = Duration::from_secs(2);

/// The duration of every part.
pub const PART_DURATION: Duration = Duration::from_millis(500);

/// Parts in a segment.
pub const PARTS_PER_SEGMENT: usize = 4;

/// Segments in the loop. Picture and sound both end exactly with the last one.
pub const LOOP_SEGMENTS: usize = 12;

/// The embedded media cannot be used: the files under `src/demo/media` are not what `scripts/make-media.sh` makes.
#[derive(Debug, Error)]
pub enum MediaError {
    /// A segment is not a row of whole MP4 boxes.
    #[error(
        "{rendition}/seg-{segment}.m4s: the MP4 box at byte {offset} is damaged; run scripts/make-media.sh"
    )]
    Box {
        /// The rendition's name.
        rendition: &'static str,
        /// The segment's place in the loop.
        segment: usize,
        /// Where the box starts.
        offset: usize,
    },
    /// A segment has another number of fragments than parts are announced.
    #[error(
        "{rendition}/seg-{segment}.m4s has {fragments} fragments, not {PARTS_PER_SEGMENT}; run scripts/make-media.sh"
    )]
    Fragments {
        /// The rendition's name.
        rendition: &'static str,
        /// The segment's place in the loop.
        segment: usize,
        /// The number found.
        fragments: usize,
    },
}

/// All renditions, lowest first.
#[derive(Clone, Debug)]
pub struct Media {
    /// The renditions.
    pub renditions: Vec<Rendition>,
}

/// One rendition: an initialization section and the segments of the loop.
#[derive(Clone, Debug)]
pub struct Rendition {
    /// Its directory in paths, such as `360p`.
    pub name: &'static str,
    /// Width of the picture in pixels.
    pub width: u32,
    /// Height of the picture in pixels.
    pub height: u32,
    /// The `CODECS` attribute (RFC 6381).
    pub codecs: &'static str,
    /// The media initialization section.
    pub init: Object,
    /// The segments in order, [`LOOP_SEGMENTS`] of them.
    pub segments: Vec<Segment>,
}

/// One segment and its parts, which are slices of it.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The whole segment.
    pub whole: Object,
    /// Its parts in order, [`PARTS_PER_SEGMENT`] of them; together they are the whole.
    pub parts: Vec<Object>,
}

/// Bytes with their entity tag.
#[derive(Clone, Debug)]
pub struct Object {
    /// The bytes, shared.
    pub bytes: Bytes,
    /// A strong entity tag, quotes included (RFC 9110 section 8.8.3).
    pub etag: String,
}

impl Media {
    /// Cuts the embedded media into parts.
    ///
    /// # Errors
    /// [`MediaError`] when a segment is not [`PARTS_PER_SEGMENT`] whole fragments.
    pub fn load() -> Result<Media, MediaError> {
        let renditions = EMBEDDED.iter().map(Rendition::load).collect::<Result<_, _>>()?;
        Ok(Media { renditions })
    }

    /// The rendition of this name.
    pub fn rendition(&self, name: &str) -> Option<&Rendition> {
        self.renditions.iter().find(|rendition| rendition.name == name)
    }
}

impl Rendition {
    fn load(embedded: &Embedded) -> Result<Rendition, MediaError> {
        let mut segments = Vec::with_capacity(LOOP_SEGMENTS);
        for (place, bytes) in embedded.segments.iter().enumerate() {
            segments.push(Segment::cut(embedded.name, place, bytes)?);
        }
        Ok(Rendition {
            name: embedded.name,
            width: embedded.width,
            height: embedded.height,
            codecs: embedded.codecs,
            init: Object::new(Bytes::from_static(embedded.init)),
            segments,
        })
    }

    /// The highest bit rate of any segment, in bits per second (`BANDWIDTH`).
    pub fn peak_bits_per_second(&self) -> u64 {
        let largest =
            self.segments.iter().map(|segment| segment.whole.bytes.len() as u64).max().unwrap_or_default();
        largest * 8 / SEGMENT_DURATION.as_secs()
    }

    /// The bit rate over the whole loop, in bits per second (`AVERAGE-BANDWIDTH`).
    pub fn average_bits_per_second(&self) -> u64 {
        let bytes: u64 = self.segments.iter().map(|segment| segment.whole.bytes.len() as u64).sum();
        bytes * 8 / (SEGMENT_DURATION.as_secs() * LOOP_SEGMENTS as u64)
    }
}

impl Segment {
    /// Cuts a segment after each `mdat` box: what stands before it (`styp`, `sidx`, `moof`) belongs to the same part.
    fn cut(rendition: &'static str, place: usize, bytes: &'static [u8]) -> Result<Segment, MediaError> {
        let whole = Bytes::from_static(bytes);
        let (mut parts, mut part_start, mut offset) = (Vec::with_capacity(PARTS_PER_SEGMENT), 0, 0);
        while offset < bytes.len() {
            let damaged = MediaError::Box { rendition, segment: place, offset };
            let Some((size, kind)) = box_header(&bytes[offset..]) else { return Err(damaged) };
            offset += size;
            if &kind == b"mdat" {
                parts.push(Object::new(whole.slice(part_start..offset)));
                part_start = offset;
            }
        }
        if parts.len() != PARTS_PER_SEGMENT || part_start != bytes.len() {
            return Err(MediaError::Fragments { rendition, segment: place, fragments: parts.len() });
        }
        Ok(Segment { whole: Object::new(whole), parts })
    }
}

impl Object {
    /// The bytes with a tag made from their content.
    pub fn new(bytes: Bytes) -> Object {
        let etag = format!("\"{:016x}\"", xxh3_64(&bytes));
        Object { bytes, etag }
    }
}

/// Size and type of the box that `bytes` starts with, when all of it is there (ISO/IEC 14496-12 section 4.2; sizes of
/// 32 bits only).
fn box_header(bytes: &[u8]) -> Option<(usize, [u8; 4])> {
    let size = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = bytes.get(4..8)?.try_into().ok()?;
    (size >= 8 && size <= bytes.len()).then_some((size, kind))
}

/// A rendition as it lies in `src/demo/media`.
struct Embedded {
    name: &'static str,
    width: u32,
    height: u32,
    codecs: &'static str,
    init: &'static [u8],
    segments: [&'static [u8]; LOOP_SEGMENTS],
}

macro_rules! embedded {
    ($name:literal, $width:literal x $height:literal, $codecs:literal, $($segment:literal)+) => {
        Embedded {
            name: $name,
            width: $width,
            height: $height,
            codecs: $codecs,
            init: include_bytes!(concat!("media/", $name, "/init.mp4")),
            segments: [$(include_bytes!(concat!("media/", $name, "/seg-", $segment, ".m4s"))),+],
        }
    };
}

const EMBEDDED: [Embedded; 3] = [
    embedded!("180p", 320 x 180, "avc1.4d401e,mp4a.40.2", 0 1 2 3 4 5 6 7 8 9 10 11),
    embedded!("360p", 640 x 360, "avc1.4d401e,mp4a.40.2", 0 1 2 3 4 5 6 7 8 9 10 11),
    embedded!("540p", 960 x 540, "avc1.4d401f,mp4a.40.2", 0 1 2 3 4 5 6 7 8 9 10 11),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn the_parts_of_a_segment_are_the_segment() {
        for rendition in Media::load().unwrap().renditions {
            assert_eq!(rendition.segments.len(), LOOP_SEGMENTS);
            for segment in rendition.segments {
                let joined: Vec<u8> = segment.parts.iter().flat_map(|part| part.bytes.to_vec()).collect();
                assert_eq!(joined, segment.whole.bytes);
            }
        }
    }

    #[test]
    fn the_announced_codec_is_the_one_in_the_initialization_section() {
        for rendition in Media::load().unwrap().renditions {
            let init = &rendition.init.bytes;
            let place = init.windows(4).position(|window| window == b"avcC").unwrap();
            // AVCDecoderConfigurationRecord: version, profile, compatibility, level (ISO/IEC 14496-15 section 5.3.3).
            let codec = format!("avc1.{}", hex::encode(&init[place + 5..place + 8]));
            assert_eq!(rendition.codecs.split(',').next(), Some(codec.as_str()), "{}", rendition.name);
        }
    }

    #[test]
    fn the_media_stays_small() {
        let bytes: usize =
            EMBEDDED.iter().map(|r| r.init.len() + r.segments.iter().map(|s| s.len()).sum::<usize>()).sum();
        assert!(bytes < 4_000_000, "{bytes} bytes");
    }

    #[test]
    fn a_truncated_segment_is_refused() {
        let whole = EMBEDDED[0].segments[0];
        assert!(matches!(Segment::cut("180p", 0, &whole[..whole.len() - 1]), Err(MediaError::Box { .. })));
        assert!(matches!(Segment::cut("180p", 0, &[0, 0, 0, 1, 0]), Err(MediaError::Box { offset: 0, .. })));
        assert!(matches!(Segment::cut("180p", 0, &[]), Err(MediaError::Fragments { fragments: 0, .. })));
    }
}
