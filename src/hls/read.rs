//! Reads what a playlist says about itself, as far as freshness depends on it.

use std::time::Duration;

use super::directives::Reload;
use quick_m3u8::config::ParsingOptionsBuilder;
use quick_m3u8::tag::{HlsPlaylistType, KnownTag, hls};
use quick_m3u8::{HlsLine, Reader};
use xxhash_rust::xxh3::xxh3_64;

/// Target duration taken for a media playlist that states none.
pub const TARGET_DURATION_DEFAULT: Duration = Duration::from_secs(6);

/// What a playlist says about itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaylistFacts {
    /// It lists variants rather than segments (RFC 8216bis section 4.4.6).
    pub multivariant: bool,
    /// `EXT-X-TARGETDURATION`, the longest a segment may be (section 4.4.3.1).
    pub target_duration: Duration,
    /// `EXT-X-ENDLIST`, or `EXT-X-PLAYLIST-TYPE:VOD`: it will not change (sections 4.4.3.4, 4.4.3.5).
    pub ended: bool,
    /// `CAN-BLOCK-RELOAD=YES` (section 4.4.3.8).
    pub can_block_reload: bool,
    /// `CAN-SKIP-UNTIL`: it can be had as a delta update (section 4.4.3.8).
    pub can_skip: bool,
    /// `PART-TARGET`, the longest a part may be (section 4.4.3.7). None: it has no parts.
    pub part_target: Option<Duration>,
    /// `EXT-X-MEDIA-SEQUENCE`, the number of the first segment (section 4.4.3.2).
    pub media_sequence: u64,
    /// `EXT-X-DISCONTINUITY-SEQUENCE` (section 4.4.3.3).
    pub discontinuity_sequence: u64,
    /// Whether it states that number: it counts what has left its window.
    pub counts_discontinuities: bool,
    /// `EXT-X-DISCONTINUITY` lines (section 4.4.4.3); those of segments that are left out are not there.
    pub discontinuities: u64,
    /// `EXT-X-SKIP`: it is a delta update (section 4.4.5.2).
    pub delta: bool,
    /// The last `EXT-X-MAP` (section 4.4.4.5): a hash of its URI without host and query. None: it has none.
    pub map: Option<u64>,
    /// All of them, each as one bit by its hash.
    pub maps: u64,
    /// How far it goes.
    pub reach: Reach,
    /// Parts of the last whole segment that are listed; 0: it is listed without parts.
    pub last_parts: u64,
}

/// How far a media playlist goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reach {
    /// Media sequence number of the segment after the last whole one.
    pub next: u64,
    /// Parts of that segment that are listed.
    pub parts: u64,
}

impl Reach {
    /// Whether a playlist that goes this far holds a segment, or a part of it (RFC 8216bis section 6.2.5.2).
    pub fn holds(&self, msn: u64, part: Option<u64>) -> bool {
        match part {
            _ if msn < self.next => true,
            Some(part) => msn == self.next && part < self.parts,
            None => false,
        }
    }
}

impl PlaylistFacts {
    /// Nothing read yet.
    const NONE: PlaylistFacts = PlaylistFacts {
        multivariant: false,
        target_duration: TARGET_DURATION_DEFAULT,
        ended: false,
        can_block_reload: false,
        can_skip: false,
        part_target: None,
        media_sequence: 0,
        discontinuity_sequence: 0,
        counts_discontinuities: false,
        discontinuities: 0,
        delta: false,
        map: None,
        maps: 0,
        reach: Reach { next: 0, parts: 0 },
        last_parts: 0,
    };

    /// Whether it holds what a reload asks for. A part beyond those of a whole segment is the first one of the next (RFC
    /// 8216bis section 6.2.5.2); how many parts older segments had need not be known.
    pub fn holds(&self, reload: Reload) -> bool {
        let past_its_end = |part: u64| self.last_parts > 0 && part >= self.last_parts;
        match reload.part {
            Some(part) if reload.msn.checked_add(1) == Some(self.reach.next) && past_its_end(part) => {
                self.reach.parts > 0
            }
            part => self.reach.holds(reload.msn, part),
        }
    }

    /// Whether it is a media playlist that will grow.
    pub fn is_live(&self) -> bool {
        !self.multivariant && !self.ended
    }

    /// Whether it lists neither a segment nor a part.
    pub fn is_empty(&self) -> bool {
        self.reach.next <= self.media_sequence && self.reach.parts == 0
    }

    /// Whether its last init section is none of another one's; false where either has none.
    pub fn has_other_map(&self, other: &PlaylistFacts) -> bool {
        other.map.is_some() && self.map.is_some_and(|map| other.maps & bit_of(map) == 0)
    }

    /// Discontinuities since the stream began, as far as it tells. None: it is a delta update, and does not.
    pub fn discontinuities_in_all(&self) -> Option<u64> {
        (!self.delta).then(|| self.discontinuity_sequence.saturating_add(self.discontinuities))
    }
}

/// Why a text is no playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaylistError {
    /// It does not begin with `#EXTM3U` (RFC 8216bis section 4.4.1.1).
    #[error("it does not begin with #EXTM3U")]
    NoHeader,
    /// It is not UTF-8 (section 4.1), or has a line that cannot be read.
    #[error("it has a line that cannot be read")]
    Unreadable,
}

/// Reads a whole playlist.
///
/// # Errors
/// [`PlaylistError`].
pub fn read(text: &[u8]) -> Result<PlaylistFacts, PlaylistError> {
    let text = std::str::from_utf8(text).map_err(|_| PlaylistError::Unreadable)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !matches!(text.lines().next(), Some(first) if first.trim_end() == "#EXTM3U") {
        return Err(PlaylistError::NoHeader);
    }
    let mut facts = PlaylistFacts::NONE;
    let mut listed: u64 = 0;
    let options = ParsingOptionsBuilder::new()
        .with_parsing_for_targetduration()
        .with_parsing_for_endlist()
        .with_parsing_for_playlist_type()
        .with_parsing_for_server_control()
        .with_parsing_for_stream_inf()
        .with_parsing_for_media_sequence()
        .with_parsing_for_discontinuity_sequence()
        .with_parsing_for_part_inf()
        .with_parsing_for_part()
        .with_parsing_for_skip()
        .with_parsing_for_discontinuity()
        .with_parsing_for_map()
        .build();
    let mut reader = Reader::from_str(text, options);
    while let Some(line) = reader.read_line().map_err(|_| PlaylistError::Unreadable)? {
        match line {
            HlsLine::KnownTag(KnownTag::Hls(hls::Tag::Skip(skip))) => {
                listed = listed.saturating_add(skip.skipped_segments());
                facts.delta = true;
            }
            HlsLine::KnownTag(KnownTag::Hls(tag)) => facts.learn(&tag),
            HlsLine::Uri(_) => {
                listed = listed.saturating_add(1);
                facts.last_parts = std::mem::take(&mut facts.reach.parts);
            }
            _ => {}
        }
    }
    facts.reach.next = facts.media_sequence.saturating_add(listed);
    Ok(facts)
}

impl PlaylistFacts {
    fn learn(&mut self, tag: &hls::Tag<'_>) {
        match tag {
            hls::Tag::StreamInf(_) => self.multivariant = true,
            hls::Tag::Endlist(_) => self.ended = true,
            hls::Tag::PlaylistType(kind) => self.ended |= kind.playlist_type() == HlsPlaylistType::Vod,
            hls::Tag::ServerControl(control) => {
                self.can_block_reload = control.can_block_reload();
                self.can_skip = control.can_skip_until().is_some();
            }
            hls::Tag::MediaSequence(sequence) => self.media_sequence = sequence.media_sequence(),
            hls::Tag::DiscontinuitySequence(sequence) => {
                self.discontinuity_sequence = sequence.discontinuity_sequence();
                self.counts_discontinuities = true;
            }
            hls::Tag::Discontinuity(_) => self.discontinuities = self.discontinuities.saturating_add(1),
            hls::Tag::Map(map) => {
                let hash = xxh3_64(without_host(map.uri()).as_bytes());
                self.map = Some(hash);
                self.maps |= bit_of(hash);
            }
            hls::Tag::PartInf(info) => self.part_target = seconds(info.part_target()),
            hls::Tag::Part(_) => self.reach.parts = self.reach.parts.saturating_add(1),
            // A duration of zero would make every copy stale at once.
            hls::Tag::Targetduration(duration) => {
                self.target_duration = Duration::from_secs(duration.target_duration().clamp(1, 3600));
            }
            _ => {}
        }
    }
}

/// A URI without its host, which may be that of one of several servers, and its query, which may be of one session.
fn without_host(uri: &str) -> &str {
    let uri = uri.split('?').next().unwrap_or(uri);
    match uri.split_once("//") {
        Some((scheme, rest)) if scheme.is_empty() || scheme.ends_with(':') => {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default()
        }
        _ => uri,
    }
}

fn bit_of(hash: u64) -> u64 {
    1 << (hash % 64)
}

/// A duration from a millisecond to an hour; anything else counts as not said.
pub(super) fn seconds(written: f64) -> Option<Duration> {
    let duration = Duration::try_from_secs_f64(written).ok()?;
    (Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&duration).then_some(duration)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_live_media_playlist_tells_its_target_duration() {
        let facts = read(b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\na.m4s\n").unwrap();
        assert_eq!(facts.target_duration, Duration::from_secs(2));
        assert!(!facts.ended && !facts.multivariant && !facts.can_block_reload);
    }

    #[test]
    fn an_ended_playlist_is_known_by_its_end_or_its_type() {
        assert!(read(b"#EXTM3U\r\n#EXT-X-TARGETDURATION:2\r\n#EXT-X-ENDLIST\r\n").unwrap().ended);
        assert!(read(b"#EXTM3U\n#EXT-X-PLAYLIST-TYPE:VOD\n").unwrap().ended);
        assert!(!read(b"#EXTM3U\n#EXT-X-PLAYLIST-TYPE:EVENT\n").unwrap().ended);
    }

    #[test]
    fn a_multivariant_playlist_lists_variants() {
        assert!(read(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n").unwrap().multivariant);
    }

    #[test]
    fn low_latency_is_announced_by_server_control() {
        let text = b"#EXTM3U\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.0\n";
        assert!(read(text).unwrap().can_block_reload);
    }

    #[test]
    fn a_live_playlist_tells_how_far_it_goes() {
        let text = b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-MEDIA-SEQUENCE:7\n\
            #EXT-X-DISCONTINUITY-SEQUENCE:3\n#EXT-X-SKIP:SKIPPED-SEGMENTS=10\n#EXT-X-PART:DURATION=0.5,URI=\"a.0\"\n\
            #EXTINF:4,\na\n#EXT-X-PART:DURATION=0.5,URI=\"b.0\"\n#EXT-X-PART:DURATION=0.5,URI=\"b.1\"\n\
            #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"b.2\"\n";
        let facts = read(text).unwrap();
        assert_eq!(facts.reach, Reach { next: 18, parts: 2 });
        assert_eq!((facts.media_sequence, facts.discontinuity_sequence), (7, 3));
        assert_eq!(facts.part_target, Some(Duration::from_millis(500)));
        let holds = |msn, part| facts.reach.holds(msn, part);
        assert!(holds(17, None) && holds(17, Some(99)) && holds(18, Some(1)));
        assert!(!holds(18, None) && !holds(18, Some(2)) && !holds(19, Some(0)));
    }

    #[test]
    fn a_part_beyond_a_whole_segment_is_the_first_of_the_next() {
        let part = |uri: &str| format!("#EXT-X-PART:DURATION=0.5,URI=\"{uri}\"\n");
        let whole = format!(
            "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:6\n#EXTINF:1,\n6\n{}#EXTINF:1,\n7\n",
            part("7.0") + &part("7.1")
        );
        let of = |msn, part| Reload { msn, part: Some(part) };
        let facts = read(whole.as_bytes()).unwrap();
        assert_eq!((facts.last_parts, facts.reach), (2, Reach { next: 8, parts: 0 }));
        assert!(facts.holds(of(7, 1)) && facts.holds(of(6, 9)) && facts.holds(Reload { msn: 7, part: None }));
        assert!(!facts.holds(of(7, 2)) && !facts.holds(of(7, u64::MAX)) && !facts.holds(of(u64::MAX, 0)));
        let next = read((whole + &part("8.0")).as_bytes()).unwrap();
        assert!(
            next.holds(of(7, 2)) && next.holds(of(7, 3)) && next.holds(of(8, 0)) && !next.holds(of(8, 1))
        );
    }

    #[test]
    fn what_begins_anew_is_told_by_discontinuities_and_the_init_section() {
        let text = |map: &str| {
            format!(
                "#EXTM3U\n#EXT-X-DISCONTINUITY-SEQUENCE:2\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"{map}\"\n\
                 #EXTINF:2,\na\n"
            )
        };
        let facts = |map: &str| read(text(map).as_bytes()).unwrap();
        assert_eq!(facts("a.mp4").discontinuities_in_all(), Some(3));
        let delta = text("a.mp4") + "#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n";
        assert_eq!(read(delta.as_bytes()).unwrap().discontinuities_in_all(), None);
        assert_eq!(facts("a.mp4?s=1").map, facts("a.mp4?s=2").map);
        assert_ne!(facts("a.mp4").map, facts("b.mp4").map);
        assert_eq!(facts("https://one/x/a.mp4").map, facts("/x/a.mp4").map);
        assert_eq!(facts("//two:8080/x/a.mp4").map, facts("/x/a.mp4").map);
        assert_ne!(facts("x//a.mp4").map, facts("y//a.mp4").map);
        assert!(!facts("a.mp4").is_empty());
        assert!(read(b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n").unwrap().is_empty());
    }

    #[test]
    fn what_does_not_begin_as_a_playlist_is_none() {
        for text in [&b""[..], b"<html>", b"#EXTM3", b"#EXTM3U8\n", b"\n#EXTM3U\n"] {
            assert_eq!(read(text), Err(PlaylistError::NoHeader), "{text:?}");
        }
        assert_eq!(read(b"#EXTM3U\n\xff\n"), Err(PlaylistError::Unreadable));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_fail_otherwise(text in "\\PC*", tail in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(format!("#EXTM3U\n{text}").as_bytes());
            let _ = read(&tail);
        }
    }
}
