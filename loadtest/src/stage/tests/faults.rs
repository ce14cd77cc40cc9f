//! Faults on paper: who is hit, what is done to the answer, and how live playlists stand still or go back.

use super::super::sample::{ask, fault, get, ms, scenario, stage, wall_epoch};
use super::*;
use crate::scenario::{Fault, Wrong};

const LIVE: &str = "/media/live/sport/v0.m3u8";
const LOW: &str = "/media/live/news/v0.m3u8";

fn sequence(stage: &Stage, now: Duration) -> u64 {
    let text = get(stage, LIVE, now);
    text.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")?.parse().ok()).unwrap()
}

#[test]
fn a_fault_is_there_from_its_beginning_to_its_end_and_nowhere_else() {
    let stage = stage(vec![Fault { paths: "/media/live/*/v0.m3u8".into(), ..fault(Wrong::Status(503)) }]);
    let status = |path, now| ask(&stage, path, now, &[]).status.unwrap();
    for (now, expected) in [(2_999, 200), (3_000, 503), (9_999, 503), (10_000, 200)] {
        assert_eq!(status(LIVE, ms(now)), expected, "{now}");
        assert_eq!(status("/media/live/sport/v1.m3u8", ms(now)), 200, "{now}");
        assert_eq!(status("/media/vod/film/v0.m3u8", ms(now)), 200, "{now}");
    }
    assert_eq!(stage.faults_met(), [2]);
}

#[test]
fn a_repeat_hits_the_same_requests_another_seed_hits_others_and_the_share_holds() {
    let pattern = |seed| {
        let mut scenario = scenario(vec![Fault { share: 0.3, ..fault(Wrong::Status(500)) }]);
        scenario.seed = seed;
        let stage = Stage::new(&scenario, wall_epoch());
        (0..3000).map(|_| ask(&stage, LIVE, ms(5_000), &[]).status == Some(500)).collect::<Vec<_>>()
    };
    let first = pattern(1);
    assert_eq!(first, pattern(1));
    assert_ne!(first, pattern(2));
    let hits = first.iter().filter(|hit| **hit).count();
    assert!((800..1000).contains(&hits), "{hits}");
}

#[test]
fn none_are_hit_with_a_share_of_0_and_all_with_1() {
    for (share, hits) in [(0.0, 0), (1.0, 500)] {
        let stage = stage(vec![Fault { share, ..fault(Wrong::Outage) }]);
        let met = (0..500).filter(|_| ask(&stage, LIVE, ms(5_000), &[]).status.is_none()).count();
        assert_eq!((met, stage.faults_met()), (hits, vec![hits as u64]));
    }
}

#[test]
fn each_fault_does_to_an_answer_what_it_is_called() {
    let plain = ask(&stage(vec![]), "/media/vod/film/v0.m3u8", ms(5_000), &[]);
    let bytes = plain.length;
    let with = |what| ask(&stage(vec![fault(what)]), "/media/vod/film/v0.m3u8", ms(5_000), &[]);
    assert_eq!(with(Wrong::Delay(ms(250))).at, ms(5_250));
    assert_eq!(with(Wrong::Throttle(8_000)).throttle, Some(8_000));
    assert_eq!(with(Wrong::Break(0.5)).breaks_after, Some(bytes / 2));
    assert_eq!(with(Wrong::Break(1.0)).breaks_after, Some(bytes - 1));
    let longer = with(Wrong::Length(10));
    assert_eq!((longer.length, longer.breaks_after, longer.body.bytes()), (bytes + 10, Some(bytes), bytes));
    assert_eq!(with(Wrong::Length(-10)).length, bytes - 10);
    assert_eq!(with(Wrong::Length(i64::MIN)).length, 0);
    assert_eq!(with(Wrong::Corrupt(0.0)).corrupt, Some(0));
    assert_eq!(with(Wrong::Corrupt(1.0)).corrupt, Some(bytes - 1));
    assert_eq!(with(Wrong::Status(404)).status, Some(404));
    let gone = with(Wrong::Outage);
    assert_eq!((gone.status, gone.body.bytes(), gone.headers.len()), (None, 0, 0));
}

#[test]
fn a_title_cannot_be_stale_and_what_is_unaffected_is_not_counted() {
    let stage = stage(vec![fault(Wrong::Stale), fault(Wrong::Break(0.5))]);
    get(&stage, "/media/vod/film/v0.m3u8", ms(5_000));
    assert_eq!(stage.faults_met(), [0, 1]);
    let tag = ask(&stage, LIVE, ms(5_000), &[]).headers["etag"].to_str().unwrap().to_owned();
    // An answer without a body cannot be broken off.
    ask(&stage, LIVE, ms(5_000), &[("if-none-match", &tag)]);
    assert_eq!(stage.faults_met(), [2, 2]);
}

#[test]
fn stale_playlists_stand_still_and_go_on_where_they_would_be() {
    let stage = stage(vec![fault(Wrong::Stale)]);
    let seen: Vec<u64> =
        [0, 3_999, 4_000, 9_999, 10_000, 12_000].map(|now| sequence(&stage, ms(now))).to_vec();
    // At 4 s a segment is published that is not shown; at 10 s two were.
    assert_eq!(seen, [9994, 9994, 9994, 9994, 9996, 9997]);
    // A reload that waits gets its answer when the fault is over.
    let reload = ask(&stage, &format!("{LOW}?_HLS_msn=10001&_HLS_part=2"), ms(5_000), &[]);
    assert_eq!((reload.status, reload.at), (Some(200), ms(10_000)));
    // What is there already is shown at once; and nobody is held for more than three target durations.
    let known = ask(&stage, &format!("{LOW}?_HLS_msn=10001&_HLS_part=1"), ms(5_000), &[]);
    assert_eq!((known.status, known.at), (Some(200), ms(5_000)));
    let late = ask(&stage, &format!("{LOW}?_HLS_msn=10001&_HLS_part=2"), ms(3_500), &[]);
    assert_eq!((late.status, late.at), (Some(503), ms(9_500)));
}

#[test]
fn backward_playlists_are_those_of_so_many_segments_ago_and_name_what_is_there() {
    let stage = stage(vec![fault(Wrong::Backward(8))]);
    assert_eq!(sequence(&stage, ms(2_999)), 9994);
    assert_eq!(sequence(&stage, ms(3_000)), 9986);
    assert_eq!(sequence(&stage, ms(8_000)), 9988);
    assert_eq!(sequence(&stage, ms(10_000)), 9996);
    let text = get(&stage, LIVE, ms(9_000));
    for uri in text.lines().filter(|line| !line.starts_with('#')) {
        assert_eq!(
            ask(&stage, &format!("/media/live/sport/{uri}"), ms(9_000), &[]).status,
            Some(200),
            "{uri}"
        );
    }
    // Who knows better asks for what is too far ahead for such an origin.
    assert_eq!(ask(&stage, &format!("{LOW}?_HLS_msn=10001&_HLS_part=2"), ms(3_100), &[]).status, Some(400));
}

#[test]
fn further_back_than_there_is_anything_is_the_beginning() {
    let stage = stage(vec![fault(Wrong::Backward(u32::MAX))]);
    assert_eq!(sequence(&stage, ms(5_000)), 0);
}

#[test]
fn an_outage_ends_the_wait_of_who_is_held() {
    let stage = stage(vec![fault(Wrong::Outage)]);
    let held = ask(&stage, &format!("{LOW}?_HLS_msn=10001&_HLS_part=1"), ms(2_700), &[]);
    assert_eq!((held.status, held.at), (None, ms(3_000)), "{held:?}");
    let in_time = ask(&stage, &format!("{LOW}?_HLS_msn=10001&_HLS_part=0"), ms(2_400), &[]);
    assert_eq!((in_time.status, in_time.at), (Some(200), ms(2_500)));
    assert_eq!(stage.faults_met(), [1]);
}

#[test]
fn several_faults_come_together_and_the_gravest_hides_the_others() {
    let stage = stage(vec![
        fault(Wrong::Delay(ms(100))),
        fault(Wrong::Delay(ms(20))),
        fault(Wrong::Throttle(9_000)),
        fault(Wrong::Throttle(5_000)),
        Fault { at: ms(5_000), ..fault(Wrong::Status(500)) },
        Fault { at: ms(8_000), ..fault(Wrong::Outage) },
    ]);
    let answer = ask(&stage, LIVE, ms(4_000), &[]);
    assert_eq!((answer.at, answer.throttle, answer.status), (ms(4_120), Some(5_000), Some(200)));
    let answer = ask(&stage, LIVE, ms(5_000), &[]);
    assert_eq!((answer.at, answer.throttle, answer.status), (ms(5_120), None, Some(500)));
    assert_eq!(ask(&stage, LIVE, ms(8_000), &[]).status, None);
    assert_eq!(stage.faults_met(), [2, 2, 1, 1, 1, 1]);
}

#[test]
fn a_glob_is_over_folders_and_one_that_is_none_is_named() {
    for (paths, path, is_match) in [
        ("**/*.m4s", "/media/live/a/v0/1.2.m4s", true),
        ("**/*.m4s", "/media/live/a/v0.m3u8", false),
        ("/media/live/*", "/media/live/a/v0.m3u8", false),
        ("/media/live/**", "/media/live/a/v0.m3u8", true),
        ("**/v[01].m3u8", "/media/live/a/v1.m3u8", true),
        ("**", "/anything", true),
    ] {
        assert_eq!(super::super::faults::glob(paths).unwrap().is_match(path), is_match, "{paths} {path}");
    }
    let error = super::super::faults::glob("a[").unwrap_err();
    assert!(format!("{error:#}").contains("'a[' is no glob"), "{error:#}");
}
