//! Playlists as a player reads them (RFC 8216bis, section 4): what can be chosen, and what there is to fetch. It is written for
//! the load tester alone and knows nothing of the node's own reading of playlists. Every list in it is bounded; a text that breaks
//! a rule a player depends on is an error, and the caller keeps what it had.
//!
//! Viewers of one thread who read the same text share one [`Playlist`] ([`shared`]): ten thousand viewers of one title do not keep
//! ten thousand lists of its segments.

mod attributes;
mod media;
mod multivariant;
pub(crate) mod shared;
#[cfg(test)]
mod tests;

use anyhow::{Result, bail, ensure};

pub(crate) use media::{Media, Part, Resource};
pub(crate) use multivariant::Multivariant;

/// The longest playlist a viewer takes, in bytes.
pub(crate) const PLAYLIST_BYTES_MAX: usize = 4 << 20;

/// The most segments of a media playlist: a day in pieces of four seconds, and some.
const SEGMENTS_MAX: usize = 25_000;

/// The most parts of a media playlist.
const PARTS_MAX: usize = 8_192;

/// The most different `EXT-X-MAP` of a media playlist.
const MAPS_MAX: usize = 1_024;

/// The most different keys of a media playlist: one for each segment.
const KEYS_MAX: usize = SEGMENTS_MAX;

/// The most variants of a multivariant playlist.
const VARIANTS_MAX: usize = 128;

/// The most renditions of a multivariant playlist.
const RENDITIONS_MAX: usize = 512;

/// The longest duration of anything in a playlist, in seconds.
const SECONDS_MAX: f64 = 3_600.0;

/// A playlist of either kind.
#[derive(Debug, PartialEq)]
pub(crate) enum Playlist {
    Multivariant(Multivariant),
    Media(Media),
}

// === impl Playlist ===

impl Playlist {
    /// Reads a playlist. Which kind it is, its tags say (section 4.1: it cannot be both).
    pub(crate) fn parse(text: &str) -> Result<Self> {
        ensure!(text.len() <= PLAYLIST_BYTES_MAX, "a playlist of more than {PLAYLIST_BYTES_MAX} bytes");
        let mut lines = text.lines().map(str::trim_end);
        ensure!(lines.next() == Some("#EXTM3U"), "a playlist begins with #EXTM3U");
        let lines = lines.filter(|line| !line.is_empty());
        let chooses = |line: &str| line.starts_with("#EXT-X-STREAM-INF:");
        let lists = |line: &str| line.starts_with("#EXT-X-TARGETDURATION:") || line.starts_with("#EXTINF:");
        match (lines.clone().any(chooses), lines.clone().any(lists)) {
            (true, false) => Ok(Self::Multivariant(Multivariant::parse(lines)?)),
            (false, true) => Ok(Self::Media(Media::parse(lines)?)),
            (true, true) => bail!("a playlist with tags of a multivariant and of a media playlist"),
            (false, false) => bail!("a playlist without variants and without segments"),
        }
    }

    pub(crate) fn media(&self) -> Option<&Media> {
        match self {
            Self::Media(media) => Some(media),
            Self::Multivariant(_) => None,
        }
    }

    pub(crate) fn multivariant(&self) -> Option<&Multivariant> {
        match self {
            Self::Multivariant(multivariant) => Some(multivariant),
            Self::Media(_) => None,
        }
    }
}
