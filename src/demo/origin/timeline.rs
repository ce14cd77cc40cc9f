//! What is on air when: the live edge as a function of the time of day.
//!
//! The stream begins at midnight UTC, a day before the day on which the origin is started. Part `k` lasts from `k` to
//! `k + 1` half seconds after that and exists once it has ended, so the same clock always gives the same stream, an
//! origin restarted on the same day continues where it was, and there never is a stream without a past. Segment `n` is
//! the parts `4n` to `4n + 3`, with the media of place `n mod 12` of the loop. Pure; called by [`super::playlist`] and
//! by the origin itself.
//!
//! Numbers counted from the epoch would be simpler, but hls.js 1.7 walks through all discontinuity numbers below the
//! current one at each reload: some 75 million of them block a player for more than half a second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::demo::media::{LOOP_SEGMENTS, PART_DURATION, PARTS_PER_SEGMENT, SEGMENT_DURATION};

/// Complete segments in a live playlist.
pub const WINDOW_SEGMENTS: u64 = 6;

/// Complete segments that can be fetched: those of the window, and as many again and one more that have left it
/// (RFC 8216bis section 6.2.2 asks for the duration of the playlist and of the segment).
pub const AVAILABLE_SEGMENTS: u64 = 2 * WINDOW_SEGMENTS + 1;

/// How many parts ahead of the last one a blocking reload may ask for: three seconds' worth (RFC 8216bis section
/// 6.2.5.2, Advance Part Limit).
pub const ADVANCE_PARTS: u64 = 6;

const DAY_SECONDS: u64 = 86_400;
const PARTS: u64 = PARTS_PER_SEGMENT as u64;
const PART_MILLIS: u64 = PART_DURATION.as_millis() as u64;

/// When the stream began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeline {
    start: SystemTime,
}

/// A part of the live stream, counted from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartNumber(u64);

/// The live edge: how much of the stream exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    timeline: Timeline,
    /// Parts that have ended since the beginning; the number of the first one that has not.
    parts: u64,
}

impl PartNumber {
    /// Part `part` of segment `segment`; None past the end of the numbers.
    pub fn new(segment: u64, part: u64) -> Option<PartNumber> {
        segment.checked_mul(PARTS)?.checked_add(part).map(PartNumber)
    }

    /// The last part of segment `segment`.
    pub fn last_of(segment: u64) -> Option<PartNumber> {
        PartNumber::new(segment, PARTS - 1)
    }
}

impl Timeline {
    /// The timeline of a stream that is joined at this time.
    pub fn joined_at(now: SystemTime) -> Timeline {
        let days = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / DAY_SECONDS;
        Timeline { start: UNIX_EPOCH + Duration::from_secs(days.saturating_sub(1) * DAY_SECONDS) }
    }

    /// The edge at a time of day.
    pub fn edge(self, now: SystemTime) -> Edge {
        let since_start = now.duration_since(self.start).unwrap_or_default();
        let parts = since_start.as_millis() / u128::from(PART_MILLIS);
        Edge { timeline: self, parts: u64::try_from(parts).unwrap_or(u64::MAX) }
    }

    /// When a part exists: the end of its last picture.
    pub fn exists_at(self, part: PartNumber) -> SystemTime {
        self.start + Duration::from_millis(part.0.saturating_add(1).saturating_mul(PART_MILLIS))
    }
}

impl Edge {
    /// The segment that is being made; every earlier one is complete.
    pub fn open_segment(self) -> u64 {
        self.parts / PARTS
    }

    /// Parts of the open segment that exist, 0 to 3.
    pub fn open_parts(self) -> u64 {
        self.parts % PARTS
    }

    /// Segment and place of the last part that exists.
    pub fn last_part(self) -> (u64, u64) {
        let last = self.parts.saturating_sub(1);
        (last / PARTS, last % PARTS)
    }

    /// Whether a part has ended.
    pub fn has(self, part: PartNumber) -> bool {
        part.0 < self.parts
    }

    /// Whether a part is the one that ends next: the one a playlist hints at.
    pub fn is_next(self, part: PartNumber) -> bool {
        part.0 == self.parts
    }

    /// Whether a part is further ahead than a request may ask for.
    pub fn is_too_far(self, part: PartNumber) -> bool {
        part.0.saturating_add(1) > self.parts.saturating_add(ADVANCE_PARTS)
    }

    /// The complete segments of the window, first and last.
    pub fn window(self) -> std::ops::Range<u64> {
        let open = self.open_segment();
        open.saturating_sub(WINDOW_SEGMENTS)..open
    }

    /// When the first picture of a segment of the window is on air.
    pub fn starts_at(self, segment: u64) -> SystemTime {
        self.timeline.start + SEGMENT_DURATION * u32::try_from(segment).unwrap_or(u32::MAX)
    }

    /// Whether a segment has not expired; it may not exist yet.
    pub fn keeps(self, segment: u64) -> bool {
        segment >= self.open_segment().saturating_sub(AVAILABLE_SEGMENTS)
    }
}

/// Place of a segment in the loop.
pub fn loop_place(segment: u64) -> usize {
    usize::try_from(segment % LOOP_SEGMENTS as u64).unwrap_or_default()
}

/// Whether the media starts again with this segment, so that its timestamps do not follow those before.
pub fn starts_loop(segment: u64) -> bool {
    loop_place(segment) == 0
}

/// `EXT-X-DISCONTINUITY-SEQUENCE` of a playlist that starts with this segment: the discontinuities that have left it.
/// The tag before the first segment itself is still in the playlist (RFC 8216bis section 6.2.2).
pub fn discontinuity_sequence(first_segment: u64) -> u64 {
    first_segment.saturating_sub(1) / LOOP_SEGMENTS as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    /// The edge this long after the beginning.
    fn at_millis(millis: u64) -> Edge {
        let timeline = Timeline::joined_at(UNIX_EPOCH + Duration::from_secs(DAY_SECONDS));
        timeline.edge(UNIX_EPOCH + Duration::from_millis(millis))
    }

    #[test]
    fn a_part_exists_from_the_moment_it_has_ended() {
        let part = PartNumber::new(100, 2).unwrap();
        let timeline = at_millis(0).timeline;
        let end = timeline.exists_at(part);
        assert_eq!(end, UNIX_EPOCH + Duration::from_millis(201_500));
        let before = timeline.edge(end - Duration::from_millis(1));
        assert!(!before.has(part) && before.is_next(part));
        assert!(timeline.edge(end).has(part));
    }

    #[test]
    fn an_origin_restarted_on_the_same_day_continues_the_stream() {
        let noon = UNIX_EPOCH + Duration::from_secs(20_000 * DAY_SECONDS + DAY_SECONDS / 2);
        let later = noon + Duration::from_secs(3_600);
        assert_eq!(Timeline::joined_at(noon), Timeline::joined_at(later));
        assert_eq!(
            Timeline::joined_at(noon).edge(later).open_segment(),
            (DAY_SECONDS + DAY_SECONDS / 2 + 3_600) / 2
        );
    }

    #[test]
    fn a_stream_joined_at_midnight_has_a_past() {
        let midnight = UNIX_EPOCH + Duration::from_secs(20_000 * DAY_SECONDS);
        let edge = Timeline::joined_at(midnight).edge(midnight);
        assert_eq!(edge.window().count(), 6);
        assert_eq!(edge.starts_at(edge.open_segment()), midnight);
    }

    #[test]
    fn a_day_is_a_whole_number_of_loops() {
        assert_eq!(DAY_SECONDS % (LOOP_SEGMENTS as u64 * SEGMENT_DURATION.as_secs()), 0);
    }

    #[test]
    fn the_window_holds_the_last_six_complete_segments() {
        assert_eq!(at_millis(200_000).window(), 94..100);
        assert_eq!(at_millis(201_999).window(), 94..100);
        assert_eq!(at_millis(202_000).window(), 95..101);
    }

    #[test]
    fn the_last_part_of_a_just_started_segment_is_the_one_before_it() {
        assert_eq!(at_millis(200_000).last_part(), (99, 3));
        assert_eq!(at_millis(200_500).last_part(), (100, 0));
    }

    #[test]
    fn every_segment_keeps_its_discontinuity_sequence_while_the_window_slides() {
        let number_of = |segment: u64, first: u64| {
            discontinuity_sequence(first) + (first..=segment).filter(|s| starts_loop(*s)).count() as u64
        };
        for segment in 12..60 {
            let numbers: Vec<u64> = (segment - 5..=segment).map(|first| number_of(segment, first)).collect();
            assert!(numbers.iter().all(|n| *n == numbers[0]), "segment {segment}: {numbers:?}");
        }
    }

    #[test]
    fn times_before_the_epoch_and_numbers_past_the_end_do_no_harm() {
        let timeline = Timeline::joined_at(UNIX_EPOCH - Duration::from_secs(5));
        assert_eq!(timeline.edge(UNIX_EPOCH - Duration::from_secs(5)).window(), 0..0);
        assert_eq!(PartNumber::new(u64::MAX, 0), None);
        let far = PartNumber::new(u64::MAX / 4, 3).unwrap();
        assert!(at_millis(1_000).is_too_far(far));
        assert!(timeline.exists_at(far) > UNIX_EPOCH);
        assert!(at_millis(1_000).starts_at(u64::MAX) > UNIX_EPOCH);
    }
}
