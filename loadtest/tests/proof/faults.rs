//! Answers that are wrong in a known way: as many as the origin gave, of the kind that it gave, and nothing else.

use std::collections::BTreeMap;

use crate::{How, Trial};

/// Viewers of six titles, of which each has a fault of its own for three seconds; then all of them are well again, and there are four
/// seconds for what is under way. One viewer asks for one piece at a time, so that none is given up.
const SCENARIO: &str = r#"
seed     = 11
duration = "7s"
warm-up  = "0s"

[[stream]]
name     = "bytes"
kind     = "vod"
segment  = "500ms"
length   = "1m"
bitrates = ["100k"]

[[stream]]
name     = "shorter"
kind     = "vod"
segment  = "500ms"
length   = "1m"
bitrates = ["100k"]

[[stream]]
name     = "longer"
kind     = "vod"
segment  = "500ms"
length   = "1m"
bitrates = ["100k"]

[[stream]]
name     = "broken"
kind     = "vod"
segment  = "500ms"
length   = "1m"
bitrates = ["100k"]

[[stream]]
name     = "busy"
kind     = "vod"
segment  = "500ms"
length   = "1m"
bitrates = ["100k"]

[[stream]]
name     = "lost"
kind     = "vod"
segment  = "500ms"
length   = "1m"
bitrates = ["100k"]

[[audience.arrivals]]
viewers = 60
over    = "1s"
spread  = "random"

[[group]]
abr          = "lowest"
start-buffer = "1s"
buffer       = "3s"

[[fault]]
at      = "0s"
over    = "3s"
paths   = "/media/vod/bytes/**/*.m4s"
share   = "30%"
corrupt = SHARE

[[fault]]
at     = "0s"
over   = "3s"
paths  = "/media/vod/shorter/**/*.m4s"
share  = "30%"
length = -7

[[fault]]
at     = "0s"
over   = "3s"
paths  = "/media/vod/longer/**/*.m4s"
share  = "30%"
length = 1000

[[fault]]
at    = "0s"
over  = "3s"
paths = "/media/vod/broken/**/*.m4s"
share = "30%"
break = SHARE

[[fault]]
at     = "0s"
over   = "3s"
paths  = "/media/vod/busy/**/*.m4s"
share  = "30%"
status = 503

[[fault]]
at     = "0s"
over   = "3s"
paths  = "/media/vod/lost/*.m3u8"
share  = "50%"
status = 404
"#;

fn each_is_told(share: &str) {
    for how in How::BOTH {
        // Wrong bytes are what makes a run fail.
        let told = Trial::of(&SCENARIO.replace("SHARE", share)).run(how, 1);
        let faults = told.faults();
        assert!(faults.iter().all(|met| *met > 0), "{how:?}: {faults:?}");
        let [corrupt, shorter, longer, broken, busy, lost] = faults[..] else { panic!("{faults:?}") };
        assert_eq!(told.count("requests/mismatches"), corrupt, "{how:?}");
        let expected =
            [("length", shorter + longer), ("short", broken), ("status-503", busy), ("status-404", lost)];
        let expected: BTreeMap<_, _> = expected.map(|(word, count)| (word.to_owned(), count)).into();
        assert_eq!(told.errors(), expected, "{how:?}: {faults:?}");
        assert_eq!(told.count("requests/errors"), expected.values().sum::<u64>());
        assert_eq!(told.over_rows("errors"), expected.values().sum::<u64>());
        assert_eq!(told.over_rows("mismatches"), corrupt);
        assert_eq!(told.count("requests/bad_playlists"), 0);
        assert_eq!(told.spoiled(), Vec::<String>::new());
        // Each is shown where it was.
        let places = [
            ("mismatch", "/bytes/"),
            ("short", "/broken/"),
            ("status-503", "/busy/"),
            ("status-404", "/lost/"),
        ];
        for example in told.examples() {
            let place = places.iter().find(|(word, _)| example.starts_with(&format!("{word} ")));
            let is_there = match place {
                Some((_, place)) => example.contains(place),
                None => example.contains("/shorter/") || example.contains("/longer/"),
            };
            assert!(is_there, "{how:?}: {example}");
        }
    }
}

#[test]
fn wrong_bytes_lengths_broken_transfers_and_statuses_are_told_one_by_one() {
    each_is_told("0.5");
}

#[test]
fn a_first_byte_that_is_wrong_and_a_body_of_none_are_told_too() {
    each_is_told("0.0");
}

#[test]
fn without_a_fault_there_is_nothing_to_tell() {
    let end = SCENARIO.find("[[fault]]").unwrap();
    for how in How::BOTH {
        let told = Trial::of(&SCENARIO[..end]).run(how, 0);
        assert_eq!(told.faults(), Vec::<u64>::new());
        assert_eq!((told.count("requests/errors"), told.count("requests/mismatches")), (0, 0), "{how:?}");
        assert_eq!((told.errors(), told.examples()), (BTreeMap::new(), vec![]), "{how:?}");
        // Each answer was counted by both sides; what was under way at the end, by the origin alone.
        let (asked, answered) = (told.count("origin/requests"), told.count("requests/count"));
        assert!((answered..=answered + 60).contains(&asked), "{how:?}: {answered} of {asked}");
        assert_eq!(told.count("viewers/arrived"), 60);
    }
}

/// A tenth of a second without an origin at a time, for all; viewers ask about twice a second.
const OUTAGE: &str = r#"
seed     = 12
duration = "7s"
warm-up  = "0s"

[[stream]]
name     = "channel"
kind     = "live"
segment  = "500ms"
bitrates = ["100k"]

[[audience.arrivals]]
viewers = 20

[[group]]
abr          = "lowest"
start-buffer = "500ms"

[[fault]]
at     = "2s"
over   = "2s"
outage = true
"#;

#[test]
fn an_outage_is_told_by_all_who_ask_meanwhile_and_by_nobody_later() {
    let told = Trial::of(OUTAGE).run(How::Rehearsal, 0);
    let (faults, errors) = (told.faults()[0], told.errors());
    assert!(faults >= 20, "{faults}");
    assert_eq!(errors, [("short".to_owned(), faults)].into());

    let told = Trial::of(OUTAGE).run(How::Sockets, 0);
    let (faults, errors) = (told.faults()[0], told.errors());
    let short = errors.get("short").copied().unwrap_or_default();
    assert_eq!(told.count("requests/errors"), short, "{errors:?}");
    // Who is refused on a connection that was good before asks once more on another one: two refusals are one error, or none when
    // the outage has just ended.
    assert!(short >= 20 && (short..=2 * short + 2 * 20).contains(&faults), "{short} of {faults}");
    let seconds = told.0["rows"].as_array().unwrap().iter().filter(|row| row["errors"] != 0);
    let seconds: Vec<_> = seconds.map(|row| row["second"].as_u64().unwrap()).collect();
    assert!(seconds.iter().all(|second| (3..=5).contains(second)), "{seconds:?}");
}
