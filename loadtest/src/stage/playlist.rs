//! The texts of the origin's playlists: multivariant, VOD, live, and Low-Latency with its parts, hints, reports and delta updates
//! (RFC 8216bis; sections are named where a rule comes from one). URIs are relative, so that a token in the path is inherited. Which
//! text is asked for, and when, is [`super::Stage`]'s to say.

use std::fmt::Write;

use jiff::Timestamp;

use super::path::{KEYS, init_file, key_file, part_file, segment_file};
use super::timeline::{Edge, Program, SPREAD_PERMILLE, Sizes, Track};

/// Bits per second up to which a picture has this size.
const PICTURES: [(u64, &str); 6] = [
    (500_000, "416x234"),
    (1_000_000, "640x360"),
    (2_500_000, "960x540"),
    (4_500_000, "1280x720"),
    (12_000_000, "1920x1080"),
    (u64::MAX, "3840x2160"),
];

/// A live playlist, before it is text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live<'a> {
    pub(super) program: &'a Program,
    pub(super) track: Track,
    pub(super) sizes: Sizes<'a>,
    pub(super) edge: Edge,
    /// Wall-clock time of the beginning of segment 0, in nanoseconds since 1970.
    pub(super) began_ns: i128,
    /// Whether segments that a delta update may leave out are left out.
    pub(super) skips: bool,
}

/// Which renditions there are (4.4.6). It does not change.
pub(super) fn multivariant(program: &Program) -> String {
    let mut text = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n".to_owned();
    let audio = program.audio.unwrap_or(0);
    if program.audio.is_some() {
        text.push_str(
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Main\",LANGUAGE=\"en\",DEFAULT=YES,AUTOSELECT=YES,\
             CHANNELS=\"2\",URI=\"audio.m3u8\"\n",
        );
    }
    for (index, bitrate) in program.bitrates.iter().enumerate() {
        let mean = bitrate + audio;
        let peak = (mean * (1000 + SPREAD_PERMILLE)).div_ceil(1000);
        let picture = PICTURES.iter().find(|(upto, _)| bitrate <= upto).map_or("3840x2160", |(_, size)| size);
        let group = if program.audio.is_some() { ",AUDIO=\"audio\"" } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={mean},CODECS=\"avc1.640028,mp4a.40.2\",\
             RESOLUTION={picture},FRAME-RATE=25.000{group}\nv{index}.m3u8"
        );
    }
    text
}

/// A whole title.
pub(super) fn vod(program: &Program, track: Track, sizes: Sizes<'_>) -> String {
    let folder = track.folder();
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:{}\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"{folder}/{}\"\n",
        program.target_seconds(),
        init_file(sizes),
    );
    for msn in 0..program.segments_in_all() {
        key(&mut text, program, msn, 0);
        let length = seconds(program.segment_length_ns(msn));
        let _ = writeln!(text, "#EXTINF:{length},\n{folder}/{}", segment_file(sizes, msn));
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

/// The key from this segment on (4.4.4.4), if it is another one than before, or the segment is the first of the list.
fn key(text: &mut String, program: &Program, msn: u64, first: u64) {
    let Some(number) = program.key_of(msn) else { return };
    if msn == first || program.key_of(msn - 1) != Some(number) {
        let _ = writeln!(text, "#EXT-X-KEY:METHOD=AES-128,URI=\"{KEYS}/{}\"", key_file(number));
    }
}

// === impl Live ===

impl Live<'_> {
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let Edge { segments, parts } = self.edge;
        let first = segments.saturating_sub(self.program.window);
        let skipped = if self.skips { self.skippable(first) } else { 0 };
        self.head(&mut text, first, skipped);
        for msn in first + skipped..segments {
            key(&mut text, self.program, msn, first + skipped);
            self.date(&mut text, msn);
            if self.has_parts(msn) {
                self.parts(&mut text, msn, self.program.parts);
            }
            let (length, file) = (seconds(self.program.segment_ns), segment_file(self.sizes, msn));
            let _ = writeln!(text, "#EXTINF:{length},\n{}/{file}", self.track.folder());
        }
        if self.program.is_low_latency() {
            if parts > 0 {
                key(&mut text, self.program, segments, first + skipped);
                self.date(&mut text, segments);
                self.parts(&mut text, segments, parts);
            }
            self.hint(&mut text);
            self.reports(&mut text);
        }
        text
    }

    fn head(&self, text: &mut String, first: u64, skipped: u64) {
        let low = self.program.is_low_latency();
        let version = if low { 9 } else { 6 };
        let target = self.program.target_seconds();
        let _ = writeln!(text, "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target}");
        if low {
            let part = seconds(self.program.part_ns);
            let hold_back = seconds(3 * self.program.part_ns);
            let _ = write!(
                text,
                "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={hold_back},HOLD-BACK={}",
                3 * target
            );
            if let Some(until) = self.program.skip_until_ns() {
                let _ = write!(text, ",CAN-SKIP-UNTIL={}", seconds(until));
            }
            let _ = writeln!(text, "\n#EXT-X-PART-INF:PART-TARGET={part}");
        }
        let _ = writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-INDEPENDENT-SEGMENTS");
        if skipped > 0 {
            // What belongs to the segments left out is left out too, the map with them (6.2.5.1).
            let _ = writeln!(text, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}");
        } else {
            let _ = writeln!(text, "#EXT-X-MAP:URI=\"{}/{}\"", self.track.folder(), init_file(self.sizes));
        }
    }

    /// Where the playlist ends, in the stream's time.
    fn end_ns(&self) -> u64 {
        self.edge.segments * self.program.segment_ns + self.program.part_start_ns(self.edge.parts)
    }

    /// Segments that are as a whole beyond the skip boundary (4.4.3.8).
    fn skippable(&self, first: u64) -> u64 {
        let Some(until) = self.program.skip_until_ns() else { return 0 };
        (self.end_ns().saturating_sub(until) / self.program.segment_ns).saturating_sub(first)
    }

    /// Parts of segments that are further than three target durations from the end are no longer listed (6.2.2).
    fn has_parts(&self, msn: u64) -> bool {
        let end_ns = self.program.segment_published_ns(msn);
        self.program.is_low_latency() && end_ns + 3 * self.program.target_ns() > self.end_ns()
    }

    fn date(&self, text: &mut String, msn: u64) {
        let at = self.began_ns + i128::from(msn) * i128::from(self.program.segment_ns);
        let at = Timestamp::from_nanosecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
        let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{at:.3}");
    }

    fn parts(&self, text: &mut String, msn: u64, parts: u64) {
        let folder = self.track.folder();
        for part in 0..parts {
            let length = self.program.part_start_ns(part + 1) - self.program.part_start_ns(part);
            let _ = write!(text, "#EXT-X-PART:DURATION={},URI=\"{folder}/", seconds(length));
            let _ = if self.program.parts_are_ranges {
                let (bytes, offset) = (self.sizes.part_bytes(msn, part), self.sizes.part_offset(msn, part));
                write!(text, "{}\",BYTERANGE=\"{bytes}@{offset}\"", segment_file(self.sizes, msn))
            } else {
                write!(text, "{}\"", part_file(self.sizes, msn, part))
            };
            text.push_str(if part == 0 { ",INDEPENDENT=YES\n" } else { "\n" });
        }
    }

    /// The part that comes next (4.4.5.3).
    fn hint(&self, text: &mut String) {
        let Edge { segments: msn, parts: part } = self.edge;
        let _ = write!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{}/", self.track.folder());
        let _ = if self.program.parts_are_ranges {
            let (bytes, offset) = (self.sizes.part_bytes(msn, part), self.sizes.part_offset(msn, part));
            let file = segment_file(self.sizes, msn);
            writeln!(text, "{file}\",BYTERANGE-START={offset},BYTERANGE-LENGTH={bytes}")
        } else {
            writeln!(text, "{}\"", part_file(self.sizes, msn, part))
        };
    }

    /// How far the other renditions are (4.4.5.4): as far as this one.
    fn reports(&self, text: &mut String) {
        let last = self.edge.part_count(self.program).saturating_sub(1);
        let (msn, part) = (last / self.program.parts, last % self.program.parts);
        for other in self.program.tracks().filter(|other| *other != self.track) {
            let _ = writeln!(
                text,
                "#EXT-X-RENDITION-REPORT:URI=\"{}.m3u8\",LAST-MSN={msn},LAST-PART={part}",
                other.folder()
            );
        }
    }
}

/// Seconds with microseconds.
fn seconds(ns: u64) -> String {
    let micros = (ns + 500) / 1000;
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}
