//! Makes a playlist delta update of a full playlist (RFC 8216bis sections 4.4.5.2 and 6.2.5.1).
//!
//! Left out are the segments further from the end than the Skip Boundary, with every tag that is applied to them:
//! `EXT-X-KEY`, `EXT-X-MAP` and `EXT-X-BITRATE` too, which go on to apply to what follows, because the client merges the
//! update with the playlist that it has. What a line between them means that no specification knows is told by where it
//! stands: it goes with the segment after it. Tags of the playlist and its date ranges stay, wherever they stand, so that
//! an update for `_HLS_skip=v2` is the same one. All that stays is as it was, byte for byte, but for the number of
//! `EXT-X-VERSION`.

use std::time::Duration;

use super::announce::{SKIP_BOUNDARY_TARGETS, seconds};
use super::text::{attribute, bare, line_end, lines, tag};

/// The lowest `EXT-X-VERSION` of a playlist with `EXT-X-SKIP` (section 8).
const VERSION: u64 = 9;

/// Tags of media segments (section 4.4.4).
const OF_SEGMENTS: [&str; 9] = [
    "EXTINF",
    "EXT-X-BYTERANGE",
    "EXT-X-DISCONTINUITY",
    "EXT-X-KEY",
    "EXT-X-MAP",
    "EXT-X-PROGRAM-DATE-TIME",
    "EXT-X-GAP",
    "EXT-X-BITRATE",
    "EXT-X-PART",
];

/// Tags of the whole playlist, and of its metadata (sections 4.4.1 to 4.4.3 and 4.4.5).
const OF_PLAYLIST: [&str; 15] = [
    "EXTM3U",
    "EXT-X-VERSION",
    "EXT-X-INDEPENDENT-SEGMENTS",
    "EXT-X-START",
    "EXT-X-DEFINE",
    "EXT-X-TARGETDURATION",
    "EXT-X-MEDIA-SEQUENCE",
    "EXT-X-DISCONTINUITY-SEQUENCE",
    "EXT-X-PLAYLIST-TYPE",
    "EXT-X-I-FRAMES-ONLY",
    "EXT-X-PART-INF",
    "EXT-X-SERVER-CONTROL",
    "EXT-X-DATERANGE",
    "EXT-X-PRELOAD-HINT",
    "EXT-X-RENDITION-REPORT",
];

/// What a line is to a delta update.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Uri,
    OfSegment,
    OfPlaylist,
    /// Goes by where it stands.
    Other,
}

/// The delta update of a full playlist. None: it goes in full, because it is no live media playlist, does not announce a
/// Skip Boundary, is a delta update itself, has nothing that could be left out, or says a duration that is none.
pub fn delta(text: &str) -> Option<String> {
    let skipped = skippable(text)?;
    let has_version = lines(text).any(|line| tag(line).is_some_and(|(name, _)| name == "EXT-X-VERSION"));
    let end = line_end(text);
    let mut update = String::with_capacity(text.len());
    let (mut passed, mut begun) = (0, false);
    for (at, line) in lines(text).enumerate() {
        let kind = if passed < skipped { of(line) } else { Line::OfPlaylist };
        match kind {
            Line::Other if !begun => update.push_str(line),
            Line::OfPlaylist => push_versioned(&mut update, line),
            Line::Uri | Line::OfSegment | Line::Other => {
                if !begun {
                    update.push_str(&format!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}{end}"));
                }
                begun = true;
                passed += u64::from(kind == Line::Uri);
            }
        }
        if at == 0 && !has_version {
            update.push_str(&format!("#EXT-X-VERSION:{VERSION}{end}"));
        }
    }
    Some(update)
}

/// How many segments are left out; None: no update is made.
fn skippable(text: &str) -> Option<u64> {
    let (mut durations, mut duration) = (Vec::new(), None);
    let (mut boundary, mut target) = (None, Duration::ZERO);
    for line in lines(text) {
        if of(line) == Line::Uri {
            durations.push(duration.take()?);
            continue;
        }
        match tag(line) {
            Some(("EXTINF", written)) => duration = Some(seconds(written)?),
            Some(("EXT-X-TARGETDURATION", written)) => target = seconds(written)?,
            Some(("EXT-X-SERVER-CONTROL", list)) => {
                boundary = attribute(list, "CAN-SKIP-UNTIL").and_then(|at| seconds(list.get(at)?));
            }
            Some(("EXT-X-ENDLIST" | "EXT-X-SKIP" | "EXT-X-STREAM-INF", _)) => return None,
            _ => {}
        }
    }
    let boundary = boundary?.max(target.checked_mul(SKIP_BOUNDARY_TARGETS)?);
    let mut after = Duration::ZERO;
    let mut left = durations.len() as u64;
    for duration in durations.iter().rev() {
        if after > boundary {
            break;
        }
        after = after.checked_add(*duration)?;
        left -= 1;
    }
    (left > 0).then_some(left)
}

fn of(line: &str) -> Line {
    match tag(line) {
        Some((name, _)) if OF_SEGMENTS.contains(&name) => Line::OfSegment,
        Some((name, _)) if OF_PLAYLIST.contains(&name) => Line::OfPlaylist,
        Some(_) => Line::Other,
        None if bare(line).is_empty() || bare(line).starts_with('#') => Line::Other,
        None => Line::Uri,
    }
}

/// Appends a line; the version that it tells is the one that the update needs, at the least.
fn push_versioned(update: &mut String, line: &str) {
    let told = tag(line).filter(|(name, _)| *name == "EXT-X-VERSION").map(|(_, version)| version);
    match told {
        Some(told) if told.trim_ascii().parse().unwrap_or(0) < VERSION => {
            let (head, rest) = line.split_once(':').unwrap_or((line, ""));
            let end = rest.trim_ascii_end().len();
            update.push_str(&format!("{head}:{VERSION}{}", rest.get(end..).unwrap_or_default()));
        }
        _ => update.push_str(line),
    }
}

#[cfg(test)]
mod tests;
