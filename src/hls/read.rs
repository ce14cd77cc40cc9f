//! Reads what a playlist says about itself, as far as freshness depends on it.

use std::time::Duration;

use quick_m3u8::config::ParsingOptionsBuilder;
use quick_m3u8::tag::{HlsPlaylistType, KnownTag, hls};
use quick_m3u8::{HlsLine, Reader};

/// Target duration taken for a media playlist that states none.
pub const TARGET_DURATION_DEFAULT: Duration = Duration::from_secs(6);

/// What a playlist says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaylistFacts {
    /// It lists variants rather than segments (RFC 8216bis section 4.4.6).
    pub multivariant: bool,
    /// `EXT-X-TARGETDURATION`, the longest a segment may be (section 4.4.3.1).
    pub target_duration: Duration,
    /// `EXT-X-ENDLIST`, or `EXT-X-PLAYLIST-TYPE:VOD`: it will not change (sections 4.4.3.4, 4.4.3.5).
    pub ended: bool,
    /// `CAN-BLOCK-RELOAD=YES` (section 4.4.3.8).
    pub can_block_reload: bool,
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
    let mut facts = PlaylistFacts {
        multivariant: false,
        target_duration: TARGET_DURATION_DEFAULT,
        ended: false,
        can_block_reload: false,
    };
    let options = ParsingOptionsBuilder::new()
        .with_parsing_for_targetduration()
        .with_parsing_for_endlist()
        .with_parsing_for_playlist_type()
        .with_parsing_for_server_control()
        .with_parsing_for_stream_inf()
        .build();
    let mut reader = Reader::from_str(text, options);
    while let Some(line) = reader.read_line().map_err(|_| PlaylistError::Unreadable)? {
        if let HlsLine::KnownTag(KnownTag::Hls(tag)) = line {
            facts.learn(&tag);
        }
    }
    Ok(facts)
}

impl PlaylistFacts {
    fn learn(&mut self, tag: &hls::Tag<'_>) {
        match tag {
            hls::Tag::StreamInf(_) => self.multivariant = true,
            hls::Tag::Endlist(_) => self.ended = true,
            hls::Tag::PlaylistType(kind) => self.ended |= kind.playlist_type() == HlsPlaylistType::Vod,
            hls::Tag::ServerControl(control) => self.can_block_reload = control.can_block_reload(),
            // A duration of zero would make every copy stale at once.
            hls::Tag::Targetduration(duration) => {
                self.target_duration = Duration::from_secs(duration.target_duration().clamp(1, 3600));
            }
            _ => {}
        }
    }
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
