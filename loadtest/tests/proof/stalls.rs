//! Pictures that stand still, and pictures that come late: as many as the faults make, for as long as they make them.

use crate::{How, Trial, timely};

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
    How::each(|how| {
        let told = Trial::of(SCENARIO).run(how, 0);
        // A viewer that waits asks for no other segment: each of them met the fault once.
        let hit = told.faults()[0];
        let mean = told.figure("viewers/stalled_seconds") / hit.max(1) as f64;
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
        assert_eq!(told.count("requests/errors"), 0);
        timely((10..=30).contains(&hit), format!("{hit} of 40"))?;
        timely(told.count("viewers/stalled") == hit, &told.summary()["viewers"])?;
        timely(missed.unwrap()["met"] == false && told.count("viewers/gave_up") == 0, told.summary())?;
        // It stands from when it has played what it had, to when the answer comes.
        timely((DELAY - AHEAD_MAX..DELAY).contains(&mean), format!("{mean} s each"))
    });
}

#[test]
fn a_delay_that_the_buffer_outlasts_stalls_nobody() {
    // Half of what is ahead.
    let scenario = SCENARIO.replace("\"6s\"", "\"1s\"").replace("\"13s\"", "\"8s\"");
    How::each(|how| {
        let told = Trial::of(&scenario).run(how, 0);
        assert_eq!(told.count("requests/errors"), 0, "{how:?}");
        let hit = told.faults()[0];
        timely(hit >= 10, format!("{hit} of 40"))?;
        // The slowest answers are those: none is there sooner, however fast the machine is.
        let slowest = told.figure("ttfb_ms/max");
        assert!(slowest >= 990.0, "{how:?}: {slowest} ms");
        timely(slowest < 2_500.0, format!("{slowest} ms"))?;
        let is_calm = told.count("viewers/stalls") == 0 && told.figure("viewers/stalled_seconds") == 0.0;
        timely(is_calm && told.count("viewers/stalled") == 0, &told.summary()["viewers"])?;
        timely(told.count("viewers/started") == 40, &told.summary()["viewers"])
    });
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
    How::each(|how| {
        let told = Trial::of(START).run(how, 0);
        timely(told.faults() == [60], format!("{:?} late playlists", told.faults()))?;
        timely(told.count("viewers/started") == 30, &told.summary()["viewers"])?;
        // Twice the delay, and the exchanges themselves; a quantile is true to three digits.
        let most = if how == How::Rehearsal { 1_530.0 } else { 3_000.0 };
        for quantile in ["p50", "mean", "max"] {
            let after = told.figure(&format!("viewers/startup_ms/{quantile}"));
            assert!(after >= 1_498.0, "{how:?}: {quantile} of the start-up is {after} ms");
            timely(after < most, format!("{quantile} of the start-up is {after} ms"))?;
        }
        timely(told.count("viewers/stalls") == 0, &told.summary()["viewers"])
    });
    let end = START.find("[[fault]]").unwrap();
    let told = Trial::of(&START[..end]).run(How::Sockets, 0);
    let after = told.figure("viewers/startup_ms/p50");
    assert!(after < 1_000.0, "without the fault: {after} ms");
}

#[test]
fn a_throttled_body_takes_as_long_as_its_bytes_at_that_rate() {
    // A film of 100 kbit/s at half of that: segments take about two seconds each, and the picture stands half of the time.
    let throttle = START.replace("delay = \"750ms\"", "throttle = \"50k\"").replace("**/*.m3u8", "**/*.m4s");
    How::each(|how| {
        let told = Trial::of(&throttle).run(how, 0);
        assert_eq!(told.count("requests/errors"), 0, "{how:?}");
        // Lengths vary by some percent about the mean.
        let whole = told.figure("whole_ms/p50");
        assert!(whole >= 1_700.0, "{how:?}: {whole} ms");
        timely(whole < 3_500.0, format!("{whole} ms"))?;
        timely(told.faults()[0] >= 60, format!("{:?} segments", told.faults()))?;
        let ttfb = told.figure("ttfb_ms/p50");
        timely(ttfb < 1_000.0, format!("{ttfb} ms to the first byte"))?;
        timely(told.count("viewers/stalled") == 30, &told.summary()["viewers"])
    });
}

/// A film whose higher rendition comes at less than half of its rate from the second second on; nobody has more than four ahead, and
/// who has them goes to that rendition, whatever was measured.
const SLOW_ABOVE: &str = r#"
seed     = 23
duration = "12s"
warm-up  = "0s"

[[stream]]
name     = "film"
kind     = "vod"
segment  = "2s"
length   = "1m"
bitrates = ["100k", "1M"]

[[audience.arrivals]]
viewers = 10
over    = "500ms"

[[group]]
abr          = "buffer"
start-buffer = "1s"
buffer       = "4s"

[[fault]]
at       = "2s"
over     = "10s"
paths    = "**/v1/*.m4s"
throttle = "400k"
"#;

#[test]
fn a_segment_that_is_too_slow_is_given_up_for_a_lower_rendition_before_the_picture_stands() {
    let patient = SLOW_ABOVE.replace("[[group]]", "[[group]]\nabandon = false");
    How::each(|how| {
        let told = Trial::of(SLOW_ABOVE).run(how, 0);
        let given_up = told.count("viewers/abandoned");
        assert!(given_up <= told.faults()[0], "{how:?}: {given_up} of {:?}", told.faults());
        assert_eq!(told.count("requests/errors"), 0, "{how:?}");
        if how == How::Rehearsal {
            // What is given up was asked for, and sent as far as it came.
            for what in ["count", "bytes"] {
                let origin = told.count(if what == "count" { "origin/requests" } else { "origin/bytes" });
                assert_eq!(told.count(&format!("requests/{what}")), origin, "{what}");
            }
        }
        timely(given_up >= 10, format!("{given_up} segments given up"))?;
        timely(told.count("requests/wasted_bytes") > given_up * 10_000, told.summary())?;
        timely(told.count("viewers/stalls") == 0, &told.summary()["viewers"])
    });
    How::each(|how| {
        let told = Trial::of(&patient).run(how, 0);
        assert_eq!(told.count("viewers/abandoned"), 0, "{how:?}");
        timely(told.count("viewers/stalled") == 10, &told.summary()["viewers"])
    });
}
