//! What follows from a media playlist: when it is loaded again, where playing begins, and what is fetched next. Pure: times and
//! places come in, answers go out. [`super::track`] keeps the state.

use std::time::Duration;

use super::playlist::{Media, Part, Resource};

/// Backward playlists in a row after which a viewer whose buffer is dry takes the stream for one that was started anew.
pub(crate) const BACKWARD_MAX: u32 = 3;

/// A place that is this close to the end of a segment, in microseconds, is the beginning of the next.
const NEAR_US: i64 = super::buffer::JOINT_US;

/// The next thing of a track: a segment, and how many of its parts are behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor {
    pub(crate) msn: u64,
    pub(crate) part: usize,
}

/// What is to be fetched.
#[derive(Debug, PartialEq)]
pub(crate) enum Next<'a> {
    Segment(&'a Resource, u32),
    Part(&'a Resource, u32),
    /// A part that is announced: the server answers when it is there (section 4.4.5.3).
    Hint(&'a Resource),
    /// Not there, and never will be: goes on so many microseconds later.
    Gap(Cursor, u32),
    /// Nothing until the playlist has gone on.
    Wait,
    /// It is no longer in the playlist.
    Gone,
    /// The title is over.
    End,
}

/// How a playlist compares with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Changed,
    Same,
    /// It ends before the one before, or begins before it.
    Backward,
}

// === impl Change ===

impl Change {
    /// Compares two states of one playlist (section 6.2.1: a server removes from the front and appends).
    pub(crate) fn between(before: &Media, after: &Media) -> Self {
        if after.first < before.first || edge(after) < edge(before) {
            return Self::Backward;
        }
        let same = after.first == before.first && edge(after) == edge(before) && after.ended == before.ended;
        if same { Self::Same } else { Self::Changed }
    }
}

/// What the next update of a playlist brings: a segment, and the part of it.
pub(crate) fn edge(media: &Media) -> Cursor {
    Cursor { msn: media.open(), part: media.parts(media.open()).len() }
}

/// From the time at which a playlist's loading began to that of the next one (section 6.3.4): a target duration if it had changed,
/// half of one if not.
pub(crate) fn pace(media: &Media, change: Change) -> Duration {
    let target = Duration::from_micros(u64::from(media.target_us));
    if change == Change::Changed { target } else { target / 2 }
}

/// The directives of a blocking reload (section 6.2.5.2), if the server offers it.
pub(crate) fn blocking(media: &Media) -> Option<(Cursor, String)> {
    let next = edge(media);
    (media.can_block && !media.ended).then(|| (next, directives(next, media.part_target_us.is_some())))
}

/// The directives that ask for a playlist with this in it.
pub(crate) fn directives(Cursor { msn, part }: Cursor, with_part: bool) -> String {
    if with_part { format!("_HLS_msn={msn}&_HLS_part={part}") } else { format!("_HLS_msn={msn}") }
}

/// What a Low-Latency playlist of this age lacks: the last part that is there by now, at the least. A viewer who is about to begin
/// asks for that before it does (appendix C: a cache on the way may keep a playlist for half a target duration, and whoever begins
/// by an old one stays behind for as long as it is old). None: it lacks none, as far as `Age` can tell, which is in whole seconds.
pub(crate) fn tune_in(media: &Media, age: Duration) -> Option<Cursor> {
    let part_us = u64::from(media.part_target_us.filter(|_| media.low_latency())?.max(1));
    let target_us = u64::from(media.target_us);
    // An `Age` that cannot be true for a live playlist is not believed, as hls.js does.
    let old_us = u64::try_from(age.as_micros()).unwrap_or(u64::MAX).min(target_us * 3 / 2);
    let missing = usize::try_from(old_us / part_us).ok().filter(|missing| *missing > 0)?;
    let edge = edge(media);
    let listed = edge.msn.checked_sub(1).map_or(0, |last| media.parts(last).len());
    let guessed = usize::try_from((target_us + part_us / 2) / part_us).unwrap_or(1).max(1);
    let of_segment = if listed > 0 { listed } else { guessed };
    let part = edge.part + missing - 1;
    Some(Cursor { msn: edge.msn + (part / of_segment) as u64, part: part % of_segment })
}

/// Whether a playlist has what was waited for.
pub(crate) fn has(media: &Media, asked: Cursor) -> bool {
    media.ended || edge(media) > asked
}

/// How far from its end a live playlist is played, in microseconds (sections 4.4.3.8 and 6.3.3).
pub(crate) fn hold_back_us(media: &Media) -> i64 {
    let low = media.part_hold_back_us.filter(|_| media.low_latency());
    let three = media.target_us.saturating_mul(3);
    i64::from(low.or(media.hold_back_us).unwrap_or(three))
}

/// The longest thing that comes in one go, in microseconds: a part or a segment.
pub(crate) fn unit_us(media: &Media) -> i64 {
    i64::from(media.part_target_us.filter(|_| media.low_latency()).unwrap_or(media.target_us))
}

/// From the beginning of the first segment to where playing begins, in microseconds.
pub(crate) fn begin_us(media: &Media) -> i64 {
    if media.ended {
        return 0;
    }
    (media.length_us(media.low_latency()) - hold_back_us(media)).max(0)
}

/// Where to begin fetching for a place so many microseconds after the beginning of the first segment, and where what is fetched
/// there begins.
pub(crate) fn locate(media: &Media, place_us: i64) -> (Cursor, i64) {
    let (mut msn, mut start_us) = (media.first, 0);
    for duration_us in media.durations_us() {
        if start_us + duration_us - NEAR_US.min(duration_us / 2) > place_us {
            break;
        }
        (msn, start_us) = (msn + 1, start_us + duration_us);
    }
    if !media.low_latency() {
        return (Cursor { msn, part: 0 }, start_us);
    }
    let (mut best, mut part_us) = ((0, start_us), start_us);
    for (index, part) in media.parts(msn).iter().enumerate() {
        if part_us > place_us + NEAR_US.min(i64::from(part.duration_us) / 2) {
            break;
        }
        if part.independent {
            best = (index, part_us);
        }
        part_us += i64::from(part.duration_us);
    }
    (Cursor { msn, part: best.0 }, best.1)
}

/// What comes at this place.
pub(crate) fn next(media: &Media, cursor: Cursor, by_parts: bool) -> Next<'_> {
    let parts = media.parts(cursor.msn);
    let Some(piece) = media.segment(cursor.msn) else { return open(media, cursor, parts) };
    if cursor.part > 0 || by_parts {
        match parts.get(cursor.part) {
            Some(part) => return of_part(cursor, part),
            None if !parts.is_empty() => return next(media, after_segment(cursor), false),
            None => {}
        }
    }
    if piece.gap {
        return Next::Gap(after_segment(cursor), piece.duration_us);
    }
    Next::Segment(piece.resource, piece.duration_us)
}

/// The place after a segment.
pub(crate) fn after_segment(cursor: Cursor) -> Cursor {
    Cursor { msn: cursor.msn + 1, part: 0 }
}

/// The same place, once the last part of a segment is behind: the beginning of the next.
pub(crate) fn settle(media: &Media, cursor: Cursor) -> Cursor {
    let parts = media.parts(cursor.msn).len();
    let over = cursor.part > 0 && cursor.msn < media.open() && cursor.part >= parts && parts > 0;
    if over { after_segment(cursor) } else { cursor }
}

fn of_part(cursor: Cursor, part: &Part) -> Next<'_> {
    if part.gap {
        return Next::Gap(Cursor { part: cursor.part + 1, ..cursor }, part.duration_us);
    }
    Next::Part(&part.resource, part.duration_us)
}

/// What comes in or after the segment that is not whole.
fn open<'a>(media: &'a Media, cursor: Cursor, parts: &'a [Part]) -> Next<'a> {
    if cursor.msn < media.first {
        return Next::Gone;
    }
    if media.ended {
        return Next::End;
    }
    if cursor.msn > media.open() || !media.low_latency() {
        return Next::Wait;
    }
    match (parts.get(cursor.part), &media.hint) {
        (Some(part), _) => of_part(cursor, part),
        // A hint that goes to the end of a growing resource would end with the segment, and is left to the playlist to cut.
        (None, Some(hint)) if cursor.part == parts.len() && !open_ended(hint) => Next::Hint(hint),
        (None, _) => Next::Wait,
    }
}

fn open_ended(hint: &Resource) -> bool {
    matches!(hint.range(), Some((_, None)))
}

#[cfg(test)]
mod tests;
