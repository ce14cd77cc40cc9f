//! What may follow what.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;
use crate::hls::read::read;

/// A live playlist of target duration 2 s that lists `segments` from number `sequence` on.
fn live(sequence: u64, segments: usize) -> PlaylistFacts {
    tagged(sequence, segments, "")
}

fn tagged(sequence: u64, segments: usize, tags: &str) -> PlaylistFacts {
    let list = "#EXTINF:2,\na.ts\n".repeat(segments);
    let text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n{tags}{list}");
    read(text.as_bytes()).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn weigh(
    doubts: &mut Doubts,
    before: PlaylistFacts,
    came: PlaylistFacts,
    good: Good,
    seconds: u64,
) -> Weighed {
    doubts.weigh(Some(Before::Media(before)), &came, good, at(seconds))
}

fn first(before: PlaylistFacts, came: PlaylistFacts, good: Good) -> Weighed {
    weigh(&mut Doubts::default(), before, came, good, 0)
}

const BACKWARD: Weighed = Weighed::Doubted(Doubt::Backward);
const OLDER: Weighed = Weighed::Doubted(Doubt::Older);

#[test]
fn what_goes_on_follows_whatever_it_skips() {
    for (sequence, segments) in [(100, 5), (101, 5), (100, 6), (5000, 1), (98, 7)] {
        assert_eq!(
            first(live(100, 5), live(sequence, segments), Good::Usable),
            Weighed::Follows,
            "{sequence}"
        );
    }
}

#[test]
fn a_server_that_is_behind_is_older_and_never_a_restart() {
    for back in 1..=JITTER_SEGMENTS {
        assert_eq!(first(live(100, 5), live(100 - back, 5), Good::Usable), OLDER);
    }
    assert_eq!(first(live(100, 5), live(99 - JITTER_SEGMENTS, 5), Good::Usable), BACKWARD);
    assert_eq!(first(live(100, 5), live(99, 5), Good::Over), Weighed::FollowsBack);
}

#[test]
fn a_longer_window_is_no_way_back() {
    assert_eq!(first(live(100, 5), live(20, 90), Good::Usable), Weighed::Follows);
    // Nobody has looked for a while: it may as well be a new stream.
    assert_eq!(first(live(100, 5), live(0, 400), Good::Gone), Weighed::Restarts);
}

#[test]
fn a_new_discontinuity_another_init_section_and_a_revived_stream_say_that_they_begin_anew() {
    let restarted = "#EXT-X-DISCONTINUITY\n";
    assert_eq!(first(live(100, 5), tagged(0, 2, restarted), Good::Usable), Weighed::Restarts);
    assert_eq!(first(live(2, 2), tagged(0, 2, restarted), Good::Usable), Weighed::Restarts);
    let map = |name: &str| format!("#EXT-X-MAP:URI=\"{name}.mp4\"\n");
    assert_eq!(first(tagged(100, 5, &map("a")), tagged(0, 2, &map("b")), Good::Usable), Weighed::Restarts);
    assert_eq!(first(tagged(100, 5, &map("a")), tagged(0, 2, &map("a")), Good::Usable), BACKWARD);
    let ended = "#EXT-X-ENDLIST\n";
    assert_eq!(first(tagged(100, 5, ended), live(0, 2), Good::Usable), Weighed::Restarts);
    assert_eq!(first(tagged(100, 5, ended), tagged(0, 2, ended), Good::Usable), Weighed::Follows);
    // An ended one of before is no end of what is live.
    assert_eq!(first(live(100, 5), tagged(0, 20, ended), Good::Usable), BACKWARD);
}

/// A sliding window in which a segment in ten begins with a discontinuity and another init section.
fn with_breaks(sequence: u64, counts: bool) -> PlaylistFacts {
    let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n");
    if counts {
        text += &format!("#EXT-X-DISCONTINUITY-SEQUENCE:{}\n", sequence.div_ceil(10));
    }
    text += &format!("#EXT-X-MAP:URI=\"i{}.mp4\"\n", sequence / 10 % 2);
    for number in sequence..sequence + 6 {
        if number % 10 == 0 {
            text += &format!("#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"i{}.mp4\"\n", number / 10 % 2);
        }
        text += "#EXTINF:2,\na.ts\n";
    }
    read(text.as_bytes()).unwrap()
}

#[test]
fn a_server_that_is_behind_is_no_restart_whatever_breaks_have_left_the_window() {
    for counts in [false, true] {
        for sequence in 100..140 {
            for back in 1..6 {
                let weighed =
                    first(with_breaks(sequence, counts), with_breaks(sequence - back, counts), Good::Usable);
                assert_ne!(weighed, Weighed::Restarts, "{back} back from {sequence}, counted: {counts}");
            }
        }
    }
}

#[test]
fn a_delta_update_tells_nothing_of_discontinuities() {
    let full = |sequence| tagged(sequence, 5, "#EXT-X-DISCONTINUITY\n");
    let delta = tagged(100, 2, "#EXT-X-SKIP:SKIPPED-SEGMENTS=4\n");
    assert_eq!(first(delta, full(99), Good::Usable), OLDER);
    assert_eq!(first(delta, full(0), Good::Usable), BACKWARD);
}

#[test]
fn what_goes_back_and_grows_twice_is_followed() {
    let mut doubts = Doubts::default();
    let held = live(100, 5);
    assert_eq!(weigh(&mut doubts, held, live(0, 1), Good::Usable, 0), BACKWARD);
    assert_eq!(weigh(&mut doubts, held, live(0, 2), Good::Usable, 1), BACKWARD);
    assert_eq!(weigh(&mut doubts, held, live(0, 2), Good::Usable, 2), BACKWARD);
    assert_eq!(weigh(&mut doubts, held, live(0, 3), Good::Usable, 3), Weighed::Restarts);
}

#[test]
fn what_grows_faster_than_time_is_not_followed_yet() {
    let mut doubts = Doubts::default();
    for segments in 1..10 {
        assert_eq!(weigh(&mut doubts, live(100, 5), live(0, segments), Good::Usable, 0), BACKWARD);
    }
}

#[test]
fn a_good_answer_in_between_ends_the_suspicion() {
    let mut doubts = Doubts::default();
    for round in 0..20 {
        let seconds = 2 * round;
        let segments = usize::try_from(round).unwrap() + 1;
        assert_eq!(weigh(&mut doubts, live(100, 5), live(0, segments), Good::Usable, seconds), BACKWARD);
        let follows = weigh(&mut doubts, live(100, 5), live(101, 5), Good::Usable, seconds + 1);
        assert_eq!(follows, Weighed::Follows);
    }
}

#[test]
fn a_confirmation_in_between_ends_the_suspicion() {
    let mut doubts = Doubts::default();
    for segments in 1..20 {
        let seconds = 2 * segments as u64;
        assert_eq!(weigh(&mut doubts, live(100, 5), live(0, segments), Good::Usable, seconds), BACKWARD);
        doubts.confirm();
    }
}

#[test]
fn what_stands_still_is_doubted_beyond_the_window_and_followed_once_it_grows() {
    let mut doubts = Doubts::default();
    let held = live(100, 5);
    assert_eq!(weigh(&mut doubts, held, live(0, 5), Good::Usable, 0), BACKWARD);
    for seconds in [10, 100, 1000] {
        assert_eq!(weigh(&mut doubts, held, live(0, 5), Good::Over, seconds), BACKWARD);
    }
    assert_eq!(weigh(&mut doubts, held, live(1, 5), Good::Over, 1001), Weighed::Restarts);
}

#[test]
fn what_is_first_seen_after_the_window_or_after_a_purge_is_followed_at_once() {
    assert_eq!(first(live(100, 5), live(0, 5), Good::Over), Weighed::Restarts);
    assert_eq!(first(live(100, 5), live(0, 5), Good::Gone), Weighed::Restarts);
    let mut doubts = Doubts::default();
    assert_eq!(weigh(&mut doubts, live(100, 5), live(0, 5), Good::Usable, 0), BACKWARD);
    assert_eq!(weigh(&mut doubts, live(100, 5), live(0, 5), Good::Gone, 1), Weighed::Restarts);
}

#[test]
fn a_playlist_without_segments_replaces_none_that_has_some() {
    let empty = Weighed::Doubted(Doubt::NoSegments);
    assert_eq!(first(live(100, 5), live(105, 0), Good::Usable), empty);
    assert_eq!(first(live(100, 0), live(105, 0), Good::Usable), Weighed::Follows);
    let mut doubts = Doubts::default();
    assert_eq!(weigh(&mut doubts, live(100, 5), live(0, 0), Good::Over, 0), Weighed::FollowsEmpty);
    assert_eq!(weigh(&mut doubts, live(100, 5), live(0, 0), Good::Usable, 1), Weighed::FollowsEmpty);
    // What comes behind it is a new stream, although the one held is young.
    assert_eq!(weigh(&mut doubts, live(100, 5), live(0, 1), Good::Usable, 2), Weighed::Restarts);
}

#[test]
fn the_other_sort_is_kept_away_for_a_minute_at_most() {
    let multivariant = read(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n").unwrap();
    let doubted = Weighed::Doubted(Doubt::OtherSort);
    let mut doubts = Doubts::default();
    assert_eq!(weigh(&mut doubts, live(1, 5), multivariant, Good::Usable, 0), doubted);
    assert_eq!(weigh(&mut doubts, live(1, 5), multivariant, Good::Usable, 59), doubted);
    assert_eq!(weigh(&mut doubts, live(1, 5), multivariant, Good::Usable, 60), Weighed::FollowsBack);
    let mut doubts = Doubts::default();
    let reverse =
        |doubts: &mut Doubts, good| doubts.weigh(Some(Before::Multivariant), &live(1, 5), good, at(0));
    assert_eq!(reverse(&mut doubts, Good::Usable), doubted);
    assert_eq!(reverse(&mut doubts, Good::Over), Weighed::FollowsBack);
}

#[test]
fn the_log_is_told_of_changes_and_not_of_requests() {
    let mut doubts = Doubts::default();
    assert!(!doubts.is_news(None, at(0)));
    assert!(doubts.is_news(Some(Doubt::Empty), at(1)));
    assert!((2..100).all(|seconds| !doubts.is_news(Some(Doubt::Empty), at(seconds))));
    assert!(doubts.is_news(None, at(100)));
    // What comes and goes is told once in ten seconds.
    let told = (101..201).filter(|seconds| {
        let doubt = (seconds % 2 == 0).then_some(Doubt::Backward);
        doubts.is_news(doubt, at(*seconds))
    });
    assert!(told.count() <= 20);
}

proptest! {
    #[test]
    fn a_stream_that_only_grows_is_always_followed(steps in prop::collection::vec((0_u64..50, 1_usize..9), 1..60)) {
        let mut doubts = Doubts::default();
        let mut held = live(0, 1);
        for (seconds, (on, segments)) in steps.into_iter().enumerate() {
            let came = live(held.media_sequence + on, segments);
            prop_assume!(came.reach >= held.reach);
            prop_assert_eq!(weigh(&mut doubts, held, came, Good::Usable, seconds as u64), Weighed::Follows);
            held = came;
        }
    }

    /// Whatever comes, the one that is taken without a restart goes no further back than the jitter.
    #[test]
    fn nothing_goes_far_back_in_silence(a in (0_u64..99, 0_usize..9), b in (0_u64..99, 0_usize..9)) {
        let (held, came) = (live(a.0, a.1), live(b.0, b.1));
        let weighed = first(held, came, Good::Usable);
        if weighed == Weighed::Follows {
            prop_assert!(came.reach >= held.reach);
        }
    }
}
