//! Runs that are ended before their time.

use std::fs;
use std::io::Read;

use crate::{Guarded, Trial, joins, wait_for, wait_for_viewers, waits_for_workers};

const SCENARIO: &str = r#"
seed     = 61
duration = "10m"
warm-up  = "0s"

[[stream]]
name     = "film"
kind     = "vod"
segment  = "1s"
length   = "5m"
bitrates = ["100k"]

[[audience.arrivals]]
viewers = 30

[[group]]
abr          = "highest"
start-buffer = "1s"
buffer       = "20s"
"#;

/// Processes that this one has started and that are there still.
fn children(process: u32) -> Vec<u32> {
    let of_thread =
        |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let lists: Vec<String> = threads.flatten().map(of_thread).collect();
    lists.iter().flat_map(|list| list.split_whitespace()).map(|child| child.parse().unwrap()).collect()
}

/// Whether a process with this number is there and is one of the tester's.
fn is_there(process: u32) -> bool {
    let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&command).contains("forebay-loadtest")
}

#[test]
fn an_interrupt_ends_a_run_with_130_and_what_there_is_and_ends_all_that_it_started() {
    let trial = Trial::of(SCENARIO);
    let trace = trial.path("trace");
    let arguments = ["--server=direct", "--trace", trace.to_str().unwrap()];
    let mut run = Guarded(trial.command("run", &arguments).spawn().unwrap());
    wait_for_viewers(&trace);
    let children = children(run.0.id());
    assert!(!children.is_empty() && children.iter().all(|child| is_there(*child)), "{children:?}");
    run.interrupt();
    assert_eq!(run.code(), Some(130));
    // Whoever waits for a process that lost its parent may take a moment.
    wait_for("the end of its children", || !children.iter().any(|child| is_there(*child)));
    let told = trial.told("run");
    assert!(told.spoiled()[0].contains("interrupted after"), "{:?}", told.spoiled());
    assert_eq!((told.count("viewers/arrived"), told.over_rows("arrived")), (30, 30));
    assert!(told.count("requests/count") >= 30 && told.count("requests/errors") == 0, "{}", told.summary());
    assert!(told.0["rows"].as_array().unwrap().len() < 300);
    let marks = told.0["marks"].to_string();
    assert!(marks.contains("interrupted"), "{marks}");
}

#[test]
fn an_interrupt_of_a_shared_run_ends_its_workers_too_and_keeps_what_they_told() {
    let trial = Trial::of(SCENARIO);
    let (mut run, address, mut says) = waits_for_workers(&trial, "2", &[]);
    let traces = [trial.path("a.trace"), trial.path("b.trace")];
    let mut workers = traces.each_ref().map(|trace| joins(&address, trace));
    traces.iter().for_each(|trace| wait_for_viewers(trace));
    run.interrupt();
    let mut said = String::new();
    says.read_to_string(&mut said).unwrap();
    assert_eq!(run.code(), Some(130), "{said}");
    assert_eq!(workers.each_mut().map(|worker| worker.code()), [Some(0), Some(0)]);
    let told = trial.told("run");
    assert_eq!(told.count("viewers/arrived"), 30);
    assert!(told.spoiled().iter().any(|why| why.contains("interrupted")), "{:?}", told.spoiled());
    assert!(!told.spoiled().iter().any(|why| why.contains("lost")), "{:?}", told.spoiled());
}

#[test]
fn an_interrupt_while_workers_are_waited_for_ends_it_with_130_and_nothing() {
    let trial = Trial::of(SCENARIO);
    let (mut run, _, mut says) = waits_for_workers(&trial, "1", &[]);
    run.interrupt();
    let mut said = String::new();
    says.read_to_string(&mut said).unwrap();
    assert_eq!(run.code(), Some(130), "{said}");
    assert!(said.contains("0 of 1 joined") && !trial.path("run.json").exists(), "{said}");
}
