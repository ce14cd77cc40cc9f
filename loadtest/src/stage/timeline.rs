//! When which segment and part of a stream is there, how long each lasts and how many bytes it has. Arithmetic alone, in
//! nanoseconds of the stream's own time, which has been going on for [`LEAD_SEGMENTS`] segments when the run begins. The texts are
//! [`super::playlist`]'s, the paths [`super::path`]'s. Called by everything of the stage.

use std::time::Duration;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::content::OBJECT_BYTES_MAX;
use crate::scenario::{Stream, StreamKind};

/// Segments of a live stream that were there before the run began; also the first media sequence number of the run plus the window.
pub(super) const LEAD_SEGMENTS: u64 = 10_000;

/// The most segments of a live playlist; a longer window is cut to it. Half of what there is, so that a playlist can go back.
pub(super) const WINDOW_SEGMENTS_MAX: u64 = LEAD_SEGMENTS / 2;

/// How much a segment's length in bytes differs from the mean at most, in thousandths.
pub(super) const SPREAD_PERMILLE: u64 = 50;

/// Bits per second of a stream that names no bitrate.
const BITRATE_MIN: u64 = 1_000;

/// The shortest segment and part.
const PIECE_MIN: Duration = Duration::from_millis(10);

/// The longest, so that no product of times overflows.
const PIECE_MAX: Duration = Duration::from_secs(3600);

/// A stream of the scenario, in whole numbers; all its copies have it in common.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) kind: StreamKind,
    /// Lengths in nanoseconds.
    pub(super) segment_ns: u64,
    pub(super) part_ns: u64,
    pub(super) length_ns: u64,
    /// Parts of a segment; the last one may be shorter than the others (RFC 8216bis, 4.4.4.9).
    pub(super) parts: u64,
    /// Segments of a live playlist.
    pub(super) window: u64,
    /// Segments that stay after they have left the playlist (6.2.2).
    keeps: u64,
    pub(super) bitrates: Vec<u64>,
    pub(super) audio: Option<u64>,
    pub(super) parts_are_ranges: bool,
    /// Segments that have a key in common; none: nothing is encrypted.
    pub(super) key_every: Option<u64>,
}

/// One of a stream's renditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Track {
    /// By index of its bitrate.
    Video(usize),
    Audio,
}

/// How far a live stream has come: so many whole segments, and so many parts of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) segments: u64,
    pub(super) parts: u64,
}

/// Lengths in bytes of one rendition's objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes<'a> {
    program: &'a Program,
    bitrate: u64,
    seed: u64,
}

// === impl Track ===

impl Track {
    /// The folder of its media, below that of the title; its playlist has the same name and `.m3u8`.
    pub(super) fn folder(self) -> String {
        match self {
            Self::Video(index) => format!("v{index}"),
            Self::Audio => "audio".to_owned(),
        }
    }
}

// === impl Program ===

impl Program {
    /// `back` is how long the origin's faults may hold a playlist back: what such a playlist names is kept for longer.
    pub(super) fn of(stream: &Stream, back: Duration) -> Self {
        let segment_ns = piece_ns(stream.segment);
        let low = stream.kind == StreamKind::LowLatency;
        let part_ns = if low { piece_ns(stream.part).min(segment_ns) } else { segment_ns };
        let mut program = Self {
            kind: stream.kind,
            segment_ns,
            part_ns,
            length_ns: u64::try_from(stream.length.as_nanos()).unwrap_or(u64::MAX).max(1),
            parts: segment_ns.div_ceil(part_ns),
            window: 0,
            keeps: 0,
            bitrates: stream.bitrates.clone(),
            audio: stream.audio,
            parts_are_ranges: low && stream.parts_are_ranges,
            key_every: stream.key_every.map(|every| u64::from(every.max(1))),
        };
        // Three target durations must remain in a live playlist (6.2.2).
        let least = (3 * program.target_seconds() * 1_000_000_000).div_ceil(segment_ns);
        program.window = u64::from(stream.window).max(least).min(WINDOW_SEGMENTS_MAX);
        let back = u64::try_from(back.as_nanos()).unwrap_or(u64::MAX).div_ceil(segment_ns);
        program.keeps = (program.window + 2).saturating_add(back);
        program
    }

    pub(super) fn is_live(&self) -> bool {
        self.kind != StreamKind::Vod
    }

    pub(super) fn is_low_latency(&self) -> bool {
        self.kind == StreamKind::LowLatency
    }

    /// The target duration: no segment, rounded to seconds, is longer (4.4.3.1).
    pub(super) fn target_seconds(&self) -> u64 {
        let longest = if self.is_live() { self.segment_ns } else { self.segment_ns.min(self.length_ns) };
        ((longest + 500_000_000) / 1_000_000_000).max(1)
    }

    pub(super) fn target_ns(&self) -> u64 {
        self.target_seconds() * 1_000_000_000
    }

    /// How far from its end a playlist's segments may be left out (CAN-SKIP-UNTIL, 4.4.3.8: at least six target durations), if the
    /// playlist is so long that any are.
    pub(super) fn skip_until_ns(&self) -> Option<u64> {
        let until = 6 * self.target_ns();
        (self.is_low_latency() && self.window * self.segment_ns > until).then_some(until)
    }

    /// The number of a segment's key, if it is encrypted.
    pub(super) fn key_of(&self, msn: u64) -> Option<u64> {
        self.key_every.map(|every| msn / every)
    }

    /// Renditions, video first.
    pub(super) fn tracks(&self) -> impl Iterator<Item = Track> + '_ {
        (0..self.bitrates.len()).map(Track::Video).chain(self.audio.map(|_| Track::Audio))
    }

    /// Segments of a VOD title.
    pub(super) fn segments_in_all(&self) -> u64 {
        self.length_ns.div_ceil(self.segment_ns)
    }

    /// How long a segment is; the last one of a title may be shorter.
    pub(super) fn segment_length_ns(&self, msn: u64) -> u64 {
        if self.is_live() {
            return self.segment_ns;
        }
        self.length_ns.saturating_sub(msn.saturating_mul(self.segment_ns)).min(self.segment_ns)
    }

    /// Where a part begins in its segment; the one after the last is the segment's end.
    pub(super) fn part_start_ns(&self, part: u64) -> u64 {
        part.saturating_mul(self.part_ns).min(self.segment_ns)
    }

    /// How far the stream has come at a time of its own.
    pub(super) fn edge(&self, stream_ns: u64) -> Edge {
        Edge {
            segments: stream_ns / self.segment_ns,
            parts: if self.is_low_latency() { stream_ns % self.segment_ns / self.part_ns } else { 0 },
        }
    }

    /// When, in the stream's time, a segment is there as a whole.
    pub(super) fn segment_published_ns(&self, msn: u64) -> u64 {
        msn.saturating_add(1).saturating_mul(self.segment_ns)
    }

    /// When a part is there.
    pub(super) fn part_published_ns(&self, msn: u64, part: u64) -> u64 {
        msn.saturating_mul(self.segment_ns).saturating_add(self.part_start_ns(part.saturating_add(1)))
    }

    /// When a segment and its parts are taken away.
    pub(super) fn removed_ns(&self, msn: u64) -> u64 {
        let segments = self.window.saturating_add(self.keeps);
        self.segment_published_ns(msn).saturating_add(segments.saturating_mul(self.segment_ns))
    }

    /// `seed` is the title's ([`seed_of`]).
    pub(super) fn sizes(&self, track: Track, seed: u64) -> Sizes<'_> {
        let (bitrate, salt) = match track {
            Track::Video(index) => (self.bitrates.get(index).copied().unwrap_or(0), index as u64),
            Track::Audio => (self.audio.unwrap_or(0), u64::MAX),
        };
        Sizes {
            program: self,
            bitrate: bitrate.max(BITRATE_MIN),
            seed: xxh3_64_with_seed(&salt.to_le_bytes(), seed),
        }
    }
}

fn piece_ns(length: Duration) -> u64 {
    u64::try_from(length.clamp(PIECE_MIN, PIECE_MAX).as_nanos()).unwrap_or(u64::MAX)
}

/// From which the lengths of a title's objects follow.
pub(super) fn seed_of(title: &str) -> u64 {
    xxh3_64(title.as_bytes())
}

// === impl Edge ===

impl Edge {
    /// Parts from the beginning of the stream on.
    pub(super) fn part_count(self, program: &Program) -> u64 {
        self.segments * program.parts + self.parts
    }
}

// === impl Sizes ===

impl Sizes<'_> {
    /// A few percent more or less than the bitrate says; the mean over the segments is the bitrate.
    pub(super) fn segment_bytes(&self, msn: u64) -> u64 {
        let mean = u128::from(self.bitrate) * u128::from(self.program.segment_length_ns(msn)) / 8_000_000_000;
        let permille = 1000 - SPREAD_PERMILLE
            + xxh3_64_with_seed(&msn.to_le_bytes(), self.seed) % (2 * SPREAD_PERMILLE + 1);
        let bytes = mean * u128::from(permille) / 1000;
        u64::try_from(bytes).unwrap_or(u64::MAX).clamp(self.program.parts, OBJECT_BYTES_MAX)
    }

    /// Where a part begins in its segment; parts together are the segment.
    pub(super) fn part_offset(&self, msn: u64, part: u64) -> u64 {
        let start = u128::from(self.program.part_start_ns(part));
        let offset = u128::from(self.segment_bytes(msn)) * start / u128::from(self.program.segment_ns);
        // Not over the segment's length, which is an u64.
        u64::try_from(offset).unwrap_or(u64::MAX)
    }

    pub(super) fn part_bytes(&self, msn: u64, part: u64) -> u64 {
        self.part_offset(msn, part + 1) - self.part_offset(msn, part)
    }

    /// An initialisation segment is as long as its boxes: some hundred bytes.
    pub(super) fn init_bytes(&self) -> u64 {
        700 + self.seed % 300
    }
}
