//! A run repeated asks for the same things; another seed asks for others.

use std::collections::BTreeMap;
use std::process::Child;

use crate::{Trial, tester};

/// Films that are asked for to their end in the first second or two by the ones, and bit by bit by the others.
const FILMS: &str = r#"
seed     = 41
duration = "10s"
warm-up  = "0s"

[[stream]]
name     = "film"
kind     = "vod"
count    = 30
segment  = "1s"
length   = "20s"
bitrates = ["50k", "100k"]

[audience]
zipf = 0.8

[[audience.arrivals]]
viewers = 40
over    = "1s"
spread  = "random"

[[group]]
name         = "ahead"
abr          = "highest"
start-buffer = "1s"
buffer       = "30s"

[[group]]
name         = "behind"
abr          = "lowest"
start-buffer = "1s"
buffer       = "2s"
"#;

/// Entry, playlist, init segment and twenty segments.
const WHOLE_FILM: usize = 23;

fn ends_well(name: &str, child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn each_scenario_that_comes_with_the_binary_is_rehearsed_the_same_each_time() {
    let list = tester().arg("scenarios").stdout(std::process::Stdio::piped()).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let names: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() >= 12 && names.contains(&"low-latency"), "{names:?}");
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let seeds = ["1", "1", "2"];
        let trace = |at: usize| folder.path().join(format!("{name}.{at}"));
        let runs = seeds.iter().enumerate().map(|(at, seed)| {
            let mut command = tester();
            command.args([
                "run",
                name,
                "--rehearse",
                "--quiet",
                "--viewers=40",
                "--duration=40s",
                "--seed",
                seed,
            ]);
            command.arg("--trace").arg(trace(at)).spawn().unwrap()
        });
        let runs: Vec<Child> = runs.collect();
        runs.into_iter().for_each(|run| ends_well(name, run));
        let [first, second, other] = [0, 1, 2].map(|at| std::fs::read(trace(at)).unwrap());
        assert!(first.len() > 5_000, "{name}: {} bytes", first.len());
        assert!(first == second, "{name}: two rehearsals with one seed differ");
        assert!(first != other, "{name}: another seed asks for the same");
    }
}

#[test]
fn a_rehearsal_repeated_has_the_same_rows_and_the_same_summary() {
    let trial = Trial::of(FILMS);
    let rehearse = |name: &str| trial.traced(name, &["--rehearse", "--duration=5m"]).0;
    let (first, second) = (rehearse("first"), rehearse("second"));
    assert_eq!((&first.0["rows"], first.summary()), (&second.0["rows"], second.summary()));
    assert_eq!(first.0["rows"].as_array().unwrap().len(), 300);
}

#[test]
fn over_sockets_a_viewer_asks_for_the_same_as_far_as_it_comes_and_as_in_the_rehearsal() {
    let trial = Trial::of(FILMS);
    let (_, rehearsed) = trial.traced("rehearsed", &["--rehearse"]);
    let ((told, first), (_, second), (_, others)) = std::thread::scope(|scope| {
        let first = scope.spawn(|| trial.traced("first", &["--server=direct"]));
        let second = scope.spawn(|| trial.traced("second", &["--server=direct"]));
        let others = scope.spawn(|| trial.traced("others", &["--server=direct", "--seed=42"]));
        (first.join().unwrap(), second.join().unwrap(), others.join().unwrap())
    });
    assert_eq!((told.count("requests/errors"), told.count("requests/mismatches")), (0, 0));
    assert_eq!((told.spoiled().len(), told.0["rows"].as_array().unwrap().len()), (0, 10));
    for other in [&second, &rehearsed] {
        same_as_far_as_they_come(&first, other);
    }
    let whole = first.values().filter(|asked| asked.len() == WHOLE_FILM).count();
    assert!((10..=30).contains(&whole), "{whole} of 40 had all of a film");
    let differ = first.iter().filter(|(viewer, asked)| asked[0] != others[viewer][0]).count();
    assert!(differ >= 20, "of 40 viewers with another seed {differ} watch something else");
}

/// Of two runs each viewer has the same sequence, of which the end of a run may have cut off the end: one is the beginning of the
/// other. Nothing cuts off the sequence of a viewer that had all of its film in the first seconds.
fn same_as_far_as_they_come(first: &BTreeMap<u32, Vec<String>>, second: &BTreeMap<u32, Vec<String>>) {
    assert_eq!(first.len(), 40);
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    for (viewer, asked) in first {
        let other = &second[viewer];
        let common = asked.len().min(other.len());
        assert!(common >= 5, "viewer {viewer}: {asked:?} and {other:?}");
        assert_eq!(asked[..common], other[..common], "viewer {viewer}");
        // The ones ahead watch in the highest rendition.
        if asked.iter().any(|line| line.contains("/v1/")) {
            assert_eq!((asked.len(), other.len()), (WHOLE_FILM, WHOLE_FILM), "viewer {viewer}");
        }
    }
}
