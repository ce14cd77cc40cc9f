//! What the paths of the origin name: playlists, keys, initialisation segments, segments and parts, each in one spelling only.
//! Whether something is there at a time is not decided here. Called by [`super::Stage`]; the URIs in playlists are made here too.

use super::timeline::{Program, Sizes, Track};

/// The folder of a title's keys.
pub(super) const KEYS: &str = "keys";

/// A key of AES-128, in bytes (RFC 8216bis, 4.4.4.4).
pub(super) const KEY_BYTES: u64 = 16;

/// What is at a path below the folder of a title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Multivariant,
    Playlist(Track),
    /// The key of this number: all renditions have it in common.
    Key(u64),
    Init(Track),
    Segment(Track, u64),
    /// Media sequence number, and index in the segment.
    Part(Track, u64, u64),
}

/// Splits `/media/live/NAME/REST` into `live/NAME` and `REST`.
pub(super) fn title_and_rest(path: &str) -> Option<(&str, &str)> {
    let below = path.strip_prefix(crate::content::MEDIA)?;
    let (kind, name) = below.split_once('/')?;
    let (name, rest) = name.split_once('/')?;
    Some((&below[..kind.len() + 1 + name.len()], rest))
}

/// What the rest of a path names. A name with another length in bytes, or another spelling of a number, names nothing: there
/// are not two URLs of one object.
pub(super) fn named(program: &Program, seed: u64, rest: &str) -> Option<Named> {
    if rest == "index.m3u8" {
        return Some(Named::Multivariant);
    }
    if let Some(folder) = rest.strip_suffix(".m3u8") {
        return Some(Named::Playlist(track(program, folder)?));
    }
    let (folder, file) = rest.split_once('/')?;
    if folder == KEYS {
        let number = file.split('.').next()?.parse().ok().filter(|_| program.key_every.is_some())?;
        return (key_file(number) == file).then_some(Named::Key(number));
    }
    let track = track(program, folder)?;
    let sizes = program.sizes(track, seed);
    let found = if file.starts_with("init.") {
        Named::Init(track)
    } else {
        let mut numbers = file.strip_suffix(".m4s")?.split('.').map(|number| number.parse().ok());
        let (msn, second, third) = (numbers.next()??, numbers.next()??, numbers.next());
        match third {
            None => Named::Segment(track, msn),
            Some(_) if program.is_low_latency() && !program.parts_are_ranges && second < program.parts => {
                Named::Part(track, msn, second)
            }
            Some(_) => return None,
        }
    };
    let spelled = match found {
        Named::Init(_) => init_file(sizes),
        Named::Segment(_, msn) => segment_file(sizes, msn),
        Named::Part(_, msn, part) => part_file(sizes, msn, part),
        Named::Multivariant | Named::Playlist(_) | Named::Key(_) => return None,
    };
    (spelled == file).then_some(found)
}

fn track(program: &Program, folder: &str) -> Option<Track> {
    program.tracks().find(|track| track.folder() == folder)
}

/// Below the folder [`KEYS`] of the title.
pub(super) fn key_file(number: u64) -> String {
    format!("{number}.{KEY_BYTES}.key")
}

pub(super) fn init_file(sizes: Sizes<'_>) -> String {
    format!("init.{}.mp4", sizes.init_bytes())
}

pub(super) fn segment_file(sizes: Sizes<'_>, msn: u64) -> String {
    format!("{msn}.{}.m4s", sizes.segment_bytes(msn))
}

pub(super) fn part_file(sizes: Sizes<'_>, msn: u64, part: u64) -> String {
    format!("{msn}.{part}.{}.m4s", sizes.part_bytes(msn, part))
}
