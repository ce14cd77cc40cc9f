//! What a reload may ask for: a little more than the playlist has (RFC 8216bis section 6.2.5.2).

use std::time::Duration;

use crate::hls::{PlaylistFacts, Reload};

/// Segments beyond the last one that may be asked for.
const SEGMENTS_AHEAD: u64 = 2;

/// The Advance Part Limit of parts of a second and more; that of shorter ones is this many seconds of them.
const PARTS_AHEAD: u64 = 3;

/// Target durations after which nothing is known of how far a playlist goes.
const KNOWN_FOR_TARGETS: u32 = 6;

/// Segments, or parts, that come in the time that the longest of them takes: they may be shorter.
const SHORTER: u64 = 2;

/// Whether a reload asks for more than a playlist can have, of which this was known so long ago.
///
/// A playlist that nobody has asked for meanwhile has gone on by itself: in each target duration begun it may have got
/// two segments, in each part target begun two parts, and after six target durations everything may be.
pub(in crate::proxy) fn is_beyond(facts: &PlaylistFacts, known_for: Duration, reload: Reload) -> bool {
    if !facts.is_live() || known_for > facts.target_duration * KNOWN_FOR_TARGETS {
        return false;
    }
    let grown = begun(known_for, facts.target_duration) * SHORTER;
    let reach = facts.reach;
    // The first segment that the playlist does not have is one ahead of its last.
    if reload.msn > reach.next.saturating_add(SEGMENTS_AHEAD - 1 + grown) {
        return true;
    }
    let (Some(part), Some(part_target)) = (reload.part, facts.part_target) else { return false };
    let ahead = match reload.msn.checked_sub(reach.next) {
        // How many parts the segment before has is not known: it counts as whole.
        Some(0) => part.saturating_add(1).saturating_sub(reach.parts),
        Some(1) => part.saturating_add(1),
        _ => return false,
    };
    ahead > advance_part_limit(part_target) + begun(known_for, part_target) * SHORTER
}

fn advance_part_limit(part_target: Duration) -> u64 {
    let millis = u64::try_from(part_target.as_millis()).unwrap_or(u64::MAX).clamp(1, 1000);
    (PARTS_AHEAD * 1000).div_ceil(millis)
}

/// How many of these have begun.
fn begun(elapsed: Duration, each: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos().div_ceil(each.as_nanos().max(1))).unwrap_or(u64::MAX / SHORTER)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::hls;

    const NOW: Duration = Duration::ZERO;

    /// Segments 10 to 12, and two parts of 13.
    fn facts(part_target: &str, more: &str) -> PlaylistFacts {
        let text = format!(
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n{part_target}#EXT-X-MEDIA-SEQUENCE:10\n{}{}{more}",
            "#EXTINF:4,\na\n".repeat(3),
            "#EXT-X-PART:DURATION=0.5,URI=\"p\"\n".repeat(2)
        );
        hls::read::read(text.as_bytes()).unwrap()
    }

    fn of(msn: u64, part: impl Into<Option<u64>>) -> Reload {
        Reload { msn, part: part.into() }
    }

    #[test]
    fn two_segments_ahead_may_be_asked_for_and_not_three() {
        let facts = facts("", "");
        for (msn, beyond) in [(0, false), (12, false), (13, false), (14, false), (15, true), (u64::MAX, true)]
        {
            assert_eq!(is_beyond(&facts, NOW, of(msn, None)), beyond, "{msn}");
        }
    }

    #[test]
    fn three_seconds_of_parts_may_be_asked_for_or_three_parts() {
        let half = facts("#EXT-X-PART-INF:PART-TARGET=0.5\n", "");
        for (msn, part, beyond) in [
            (13, 2, false),
            (13, 7, false),
            (13, 8, true),
            (14, 0, false),
            (14, 5, false),
            (14, 6, true),
            (13, u64::MAX, true),
            (14, u64::MAX, true),
            (12, u64::MAX, false),
        ] {
            assert_eq!(is_beyond(&half, NOW, of(msn, part)), beyond, "{msn} {part}");
        }
        let long = facts("#EXT-X-PART-INF:PART-TARGET=1.5\n", "");
        assert!(!is_beyond(&long, NOW, of(13, 4)) && is_beyond(&long, NOW, of(13, 5)));
        let third = facts("#EXT-X-PART-INF:PART-TARGET=0.33334\n", "");
        assert!(!is_beyond(&third, NOW, of(13, 11)) && is_beyond(&third, NOW, of(13, 12)));
        assert!(!is_beyond(&facts("", ""), NOW, of(13, 99)), "without parts there is no last one");
    }

    #[test]
    fn a_playlist_goes_on_while_nobody_asks_for_it() {
        let facts = facts("#EXT-X-PART-INF:PART-TARGET=0.5\n", "");
        let after = |millis| Duration::from_millis(millis);
        assert!(is_beyond(&facts, NOW, of(16, None)) && !is_beyond(&facts, after(1), of(16, None)));
        assert!(
            is_beyond(&facts, after(4000), of(17, None)) && !is_beyond(&facts, after(4001), of(17, None))
        );
        assert!(is_beyond(&facts, NOW, of(13, 9)) && !is_beyond(&facts, after(500), of(13, 9)));
        assert!(is_beyond(&facts, after(24_000), of(1000, None)));
        assert!(!is_beyond(&facts, after(24_001), of(1000, None)), "nothing is known any more");
    }

    #[test]
    fn an_ended_playlist_has_no_bound() {
        assert!(!is_beyond(&facts("", "#EXT-X-ENDLIST\n"), NOW, of(1000, None)));
    }
}
