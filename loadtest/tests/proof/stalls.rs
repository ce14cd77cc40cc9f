//! Pictures that stand still, and pictures that come late: as many as the faults make, for as long as they make them.

use crate::{How, Trial};

/// Viewers of two films with segments of a second, who ask for the next one when two are ahead. For two seconds, in which everybody
/// asks, the answers of one film take six seconds.
const SCENARIO: &str = r#"
seed     = 21
duration = "13s"
warm-up  = "0s"

[[stream]]
name     = "slow"
kind     = "vod"
segment  = "1s"
length   = "1m"
bitrates = ["100k"]

[[stream]]
name     = "well"
kind     = "vod"
segment  = "1s"
length   = "1m"
bitrates = ["100k"]

[[audience.arrivals]]
viewers = 40
over    = "500ms"

[[group]]
abr          = "lowest"
start-buffer = "1s"
buffer       = "2s"

[[fault]]
at    = "3s"
over  = "2s"
paths = "/media/vod/slow/**/*.m4s"
delay = "6s"
"#;

const DELAY: f64 = 6.0;

/// The most that a viewer has ahead when it asks for the next segment.
const AHEAD_MAX: f64 = 2.0;

#[test]
fn a_segment_that_is_late_by_more_than_the_buffer_stalls_who_waits_for_it_and_for_as_long() {
    for how in How::BOTH {
        let told = Trial::of(SCENARIO).run(how, 0);
        // A viewer that waits asks for no other segment: each of them met the fault once.
        let hit = told.faults()[0];
        assert!((10..=30).contains(&hit), "{how:?}: {hit} of 40");
        assert_eq!(told.count("viewers/stalled"), hit, "{how:?}: {}", told.summary()["viewers"]);
        let mean = told.figure("viewers/stalled_seconds") / hit as f64;
        // It stands from when it has played what it had, to when the answer comes.
        assert!((DELAY - AHEAD_MAX..DELAY).contains(&mean), "{how:?}: {mean} s each");
        if how == How::Rehearsal {
            assert_eq!(told.count("viewers/stalls"), hit);
            assert!(mean < DELAY - AHEAD_MAX + 0.02, "{mean} s each");
        }
        assert_eq!(told.over_rows("stalls"), told.count("viewers/stalls"));
        let (stalled, played) =
            (told.figure("viewers/stalled_seconds"), told.figure("viewers/played_seconds"));
        assert!((told.figure("viewers/stall_ratio") - stalled / (stalled + played)).abs() < 1e-9);
        let missed =
            told.summary()["targets"].as_array().unwrap().iter().find(|one| one["target"] == "stall_ratio");
        assert_eq!(missed.unwrap()["met"], false);
        assert_eq!((told.count("requests/errors"), told.count("viewers/gave_up")), (0, 0));
    }
}

#[test]
fn a_delay_that_the_buffer_outlasts_stalls_nobody() {
    // Half of what is ahead.
    let scenario = SCENARIO.replace("\"6s\"", "\"1s\"").replace("\"13s\"", "\"8s\"");
    for how in How::BOTH {
        let told = Trial::of(&scenario).run(how, 0);
        assert!(told.faults()[0] >= 10, "{how:?}");
        assert_eq!((told.count("viewers/stalls"), told.count("viewers/stalled")), (0, 0), "{how:?}");
        assert_eq!(told.figure("viewers/stalled_seconds"), 0.0, "{how:?}");
        assert_eq!(told.count("viewers/started"), 40);
        // The slowest answers are those.
        let slowest = told.figure("ttfb_ms/max");
        assert!((990.0..2_500.0).contains(&slowest), "{how:?}: {slowest} ms");
    }
}

#[test]
fn a_viewer_that_gets_nothing_for_half_a_minute_gives_up_and_is_counted() {
    let scenario = SCENARIO.replace("\"6s\"", "\"5m\"").replace("\"13s\"", "\"50s\"");
    let told = Trial::of(&scenario.replace("over  = \"2s\"", "over  = \"47s\"")).run(How::Rehearsal, 0);
    // The request is given up after half a minute, and made once more; half a minute after the picture stopped, the viewer is.
    let (hit, gave_up) = (told.faults()[0], told.count("viewers/gave_up"));
    assert!((10..=30).contains(&gave_up) && hit == 2 * gave_up, "{hit} and {gave_up}");
    assert_eq!((told.count("viewers/stalls"), told.count("viewers/stalled")), (gave_up, gave_up));
    assert_eq!(told.errors(), [("timeout".to_owned(), gave_up)].into());
    let mean = told.figure("viewers/stalled_seconds") / gave_up as f64;
    assert!((30.0..30.02).contains(&mean), "{mean} s each");
}

/// A start takes two playlists, one after the other, and media.
const START: &str = r#"
seed     = 22
duration = "6s"
warm-up  = "0s"

[[stream]]
name     = "film"
kind     = "vod"
count    = 3
segment  = "1s"
length   = "1m"
bitrates = ["100k"]

[[audience.arrivals]]
viewers = 30
over    = "1s"

[[group]]
abr          = "lowest"
start-buffer = "1s"

[[fault]]
at    = "0s"
over  = "6s"
paths = "**/*.m3u8"
delay = "750ms"
"#;

#[test]
fn playlists_that_are_late_make_starts_that_are_late_by_just_that() {
    for how in How::BOTH {
        let told = Trial::of(START).run(how, 0);
        assert_eq!(told.faults(), [60], "{how:?}");
        assert_eq!(told.count("viewers/started"), 30, "{how:?}");
        // Twice the delay, and the exchanges themselves; a quantile is true to three digits.
        let most = if how == How::Rehearsal { 1_530.0 } else { 3_000.0 };
        for quantile in ["p50", "mean", "max"] {
            let after = told.figure(&format!("viewers/startup_ms/{quantile}"));
            assert!((1_498.0..most).contains(&after), "{how:?}: {quantile} of the start-up is {after} ms");
        }
        assert_eq!(told.count("viewers/stalls"), 0);
    }
    let end = START.find("[[fault]]").unwrap();
    let told = Trial::of(&START[..end]).run(How::Sockets, 0);
    let after = told.figure("viewers/startup_ms/p50");
    assert!(after < 1_000.0, "without the fault: {after} ms");
}

#[test]
fn a_throttled_body_takes_as_long_as_its_bytes_at_that_rate() {
    // A film of 100 kbit/s at half of that: segments take about two seconds each, and the picture stands half of the time.
    let throttle = START.replace("delay = \"750ms\"", "throttle = \"50k\"").replace("**/*.m3u8", "**/*.m4s");
    for how in How::BOTH {
        let told = Trial::of(&throttle).run(how, 0);
        assert!(told.faults()[0] >= 60, "{how:?}: {:?}", told.faults());
        // Lengths vary by some percent about the mean.
        let whole = told.figure("whole_ms/p50");
        assert!((1_700.0..3_500.0).contains(&whole), "{how:?}: {whole} ms");
        assert!(told.figure("ttfb_ms/p50") < 1_000.0, "{how:?}");
        assert_eq!(told.count("viewers/stalled"), 30, "{how:?}");
    }
}
