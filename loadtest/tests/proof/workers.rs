//! Several processes in one run.

use std::collections::BTreeMap;
use std::io::Read;

use crate::{How, Trial, joins, sequences, wait_for_viewers, waits_for_workers};

/// Films that everybody has asked for to the end in the first seconds, so that the sums are the same however fast that was.
const SCENARIO: &str = r#"
seed     = 51
duration = "8s"
warm-up  = "0s"

[[stream]]
name     = "film"
kind     = "vod"
count    = 5
segment  = "1s"
length   = "20s"
bitrates = ["100k"]

[[audience.arrivals]]
viewers = 30
over    = "1s"
spread  = "random"

[[group]]
abr          = "highest"
start-buffer = "1s"
buffer       = "1m"
"#;

#[test]
fn what_two_workers_did_is_in_sum_what_one_process_does() {
    let trial = Trial::of(SCENARIO);
    let traces = [trial.path("a.trace"), trial.path("b.trace")];
    let (mut run, address, mut says) = waits_for_workers(&trial, "2", &[]);
    let mut workers = traces.each_ref().map(|trace| joins(&address, trace));
    let mut said = String::new();
    says.read_to_string(&mut said).unwrap();
    assert_eq!(run.code(), Some(0), "{said}");
    assert_eq!(workers.each_mut().map(|worker| worker.code()), [Some(0), Some(0)]);
    let shared = trial.told("run");
    let (alone, asked) = trial.traced("alone", &["--server=direct"]);

    for sum in ["requests/count", "requests/bytes", "viewers/arrived", "viewers/started", "origin/requests"] {
        assert_eq!(shared.count(sum), alone.count(sum), "{sum}");
    }
    assert_eq!(shared.count("requests/count"), 30 * 23);
    assert_eq!((shared.count("requests/errors"), shared.count("requests/mismatches")), (0, 0));
    assert!(shared.figure("tester/cpu_seconds") > 0.0);
    let [first, second] = traces.map(|trace| sequences(&trace));
    assert!(first.keys().all(|viewer| !second.contains_key(viewer)));
    assert_eq!((first.len(), second.len()), (15, 15));
    let both: BTreeMap<_, _> = first.into_iter().chain(second).collect();
    assert_eq!(both, asked);
}

#[test]
fn a_worker_that_is_killed_is_named_and_the_others_go_on_to_the_end() {
    let trial = Trial::of(&SCENARIO.replace("\"20s\"", "\"1m\""));
    let traces = [trial.path("a.trace"), trial.path("b.trace")];
    let (mut run, address, mut says) = waits_for_workers(&trial, "2", &[]);
    let [doomed, mut other] = traces.each_ref().map(|trace| joins(&address, trace));
    wait_for_viewers(&traces[0]);
    // It is killed when it is dropped.
    drop(doomed);
    let mut said = String::new();
    says.read_to_string(&mut said).unwrap();
    assert_eq!((run.code(), other.code()), (Some(1), Some(0)), "{said}");
    let told = trial.told("run");
    let lost: Vec<_> = told.spoiled();
    assert!(lost.len() == 1 && lost[0].starts_with("worker ") && lost[0].contains(" was lost: "), "{lost:?}");
    assert!(said.contains(&lost[0]), "{said}");
    let marks = told.0["marks"].to_string();
    assert!(marks.contains(" was lost: "), "{marks}");
    // The run has all of its seconds, and the other one's viewers were there to the last.
    assert_eq!(told.0["rows"].as_array().unwrap().len(), 8);
    let theirs = sequences(&traces[1]);
    assert_eq!(theirs.len(), 15);
    assert!(told.count("viewers/arrived") >= 15 && told.figure("viewers/played_seconds") >= 15.0);
    assert_eq!(told.count("requests/mismatches"), 0);
}

#[test]
fn faults_are_told_by_workers_as_by_one_process() {
    let fault = "\n[[fault]]\nat = \"0s\"\nover = \"2s\"\npaths = \"**/*.m4s\"\nshare = 0.1\ncorrupt = 0.5\n";
    let trial = Trial::of(&format!("{SCENARIO}{fault}"));
    let (mut run, address, mut says) = waits_for_workers(&trial, "2", &[]);
    let _workers = ["a.trace", "b.trace"].map(|trace| joins(&address, &trial.path(trace)));
    let mut said = String::new();
    says.read_to_string(&mut said).unwrap();
    assert_eq!(run.code(), Some(1), "{said}");
    let told = trial.told("run");
    assert!(told.faults()[0] > 10, "{:?}", told.faults());
    assert_eq!(told.count("requests/mismatches"), told.faults()[0]);
    // The same requests meet the same faults in the same number, in any order.
    let rehearsed = trial.run(How::Rehearsal, 1);
    assert_eq!(rehearsed.count("requests/mismatches"), rehearsed.faults()[0]);
}
