//! A run as a user has it: the binary, its exit code and its files. The viewers ask the synthetic origin itself, so that no server
//! is needed; each run is short and small.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Twenty viewers within a second, of whom nobody chooses a rendition by how fast the machine is.
const SCENARIO: &str = r#"
about    = "Twenty viewers of two channels."
seed     = 7
duration = "6s"
warm-up  = "1s"

[[stream]]
name     = "channel"
kind     = "live"
count    = 2
segment  = "2s"
bitrates = ["200k", "400k"]

[audience]
zipf = 0.8

[[audience.arrivals]]
viewers = 20
over    = "1s"
spread  = "random"

[[group]]
name     = "all"
protocol = "h1"
abr      = "lowest"
"#;

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("twenty.toml"), SCENARIO).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `run` of the scenario, with nothing kept but `NAME.json`.
    fn run(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay-loadtest"));
        command.arg("run").arg(self.path("twenty.toml")).args(["--no-runs", "--quiet"]).args(arguments);
        command.arg("--json").arg(self.path(&format!("{name}.json")));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(&format!("{name}.json"))).unwrap()).unwrap()
    }
}

/// Ends with this exit code; shows what it said if not.
fn ends_with(child: Child, code: i32) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
}

/// What each viewer asked for, one after the other, without times.
fn sequences(trace: &Path) -> BTreeMap<u32, Vec<String>> {
    let mut viewers: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for line in fs::read_to_string(trace).unwrap().lines() {
        let mut words = line.splitn(3, ' ');
        let viewer = words.next().unwrap().parse().unwrap();
        words.next().unwrap();
        viewers.entry(viewer).or_default().push(words.next().unwrap().to_owned());
    }
    viewers
}

#[test]
fn a_rehearsal_repeated_is_the_same_request_for_request_and_another_seed_is_another() {
    let place = Place::new();
    let rehearse = |name: &str, seed: &str| {
        let trace = place.path(name);
        let trace = trace.to_str().unwrap();
        let command =
            place.run(name, &["--rehearse", "--duration=5m", "--seed", seed, "--trace", trace]).spawn();
        ends_with(command.unwrap(), 0);
        fs::read(trace).unwrap()
    };
    let (first, second) = (rehearse("first", "1"), rehearse("second", "1"));
    assert!(first.len() > 10_000, "{} bytes", first.len());
    assert_eq!(first, second);
    let (first, second) = (place.json("first"), place.json("second"));
    assert_eq!((&first["rows"], &first["summary"]), (&second["rows"], &second["summary"]));
    assert_eq!(first["rows"].as_array().unwrap().len(), 300);
    assert_ne!(rehearse("third", "2"), rehearse("fourth", "1"));
}

#[test]
fn a_run_repeated_asks_the_same_of_each_viewer_and_every_byte_is_right() {
    let place = Place::new();
    let run = |name: &str| {
        let trace = place.path(name);
        let arguments = ["--server=direct", "--trace", trace.to_str().unwrap()];
        ends_with(place.run(name, &arguments).spawn().unwrap(), 0);
        let run = place.json(name);
        assert_eq!(run["spoiled"], serde_json::json!([]), "{run}");
        assert_eq!(run["summary"]["requests"]["mismatches"], 0);
        assert_eq!(run["summary"]["requests"]["errors"], 0, "{}", run["summary"]["requests"]);
        assert_eq!(run["rows"].as_array().unwrap().len(), 6);
        assert!(run["summary"]["origin"]["requests"].as_u64().unwrap() > 0, "{}", run["summary"]["origin"]);
        sequences(&trace)
    };
    let (first, second) = (run("first"), run("second"));
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    assert_eq!(first.len(), 20);
    for (viewer, asked) in &first {
        // How far each one came when the run ended is the machine's.
        let common = asked.len().min(second[viewer].len());
        assert!(common >= 4, "viewer {viewer}: {asked:?}");
        assert_eq!(asked[..common], second[viewer][..common], "viewer {viewer}");
    }
}

#[test]
fn an_interrupted_run_keeps_what_there_is_and_says_so() {
    let place = Place::new();
    let trace = place.path("trace");
    let arguments = ["--server=direct", "--duration=10m", "--trace", trace.to_str().unwrap()];
    let mut child = place.run("run", &arguments).spawn().unwrap();
    let id = rustix::process::Pid::from_child(&child);
    // The trace is made when the run begins, and written to when there is a page of it.
    while fs::metadata(&trace).map_or(0, |trace| trace.len()) == 0 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was interrupted");
        #[allow(clippy::disallowed_methods, reason = "waits for another process's file")]
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    ends_with(child, 130);
    let run = place.json("run");
    assert!(run["spoiled"][0].as_str().unwrap().contains("interrupted"), "{}", run["spoiled"]);
    let rows = run["rows"].as_array().unwrap();
    assert!(!rows.is_empty() && rows.len() < 600);
    assert_eq!(rows.iter().map(|row| row["arrived"].as_u64().unwrap()).sum::<u64>(), 20);
}

#[test]
fn two_workers_that_join_do_the_run_together() {
    let place = Place::new();
    let mut coordinator = place.run("run", &["--server=direct", "--workers=2"]).spawn().unwrap();
    let mut said = BufReader::new(coordinator.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    let workers: Vec<_> = (0..2)
        .map(|worker| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_forebay-loadtest"));
            command
                .args(["join", &address, "--threads=1", "--trace"])
                .arg(place.path(&format!("trace-{worker}")));
            command.stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(coordinator.wait().unwrap().code(), Some(0), "{line}{rest}");
    workers.into_iter().for_each(|worker| ends_with(worker, 0));
    let run = place.json("run");
    let arrived = run["rows"].as_array().unwrap().iter().map(|row| row["arrived"].as_u64().unwrap());
    assert_eq!(arrived.sum::<u64>(), 20);
    let mut viewers = Vec::new();
    for worker in 0..2 {
        let theirs: Vec<_> = sequences(&place.path(&format!("trace-{worker}"))).into_keys().collect();
        assert!(theirs.iter().all(|viewer| viewer % 2 == theirs[0] % 2), "{theirs:?}");
        viewers.extend(theirs);
    }
    viewers.sort_unstable();
    assert_eq!(viewers, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_run_that_cannot_be_done_ends_with_1_and_says_why() {
    let place = Place::new();
    let output = place.run("run", &["--forebay=/no/such/binary"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/no/such/binary"), "{said}");
}

#[test]
fn a_trace_that_cannot_be_written_whole_spoils_the_run_and_keeps_what_was_measured() {
    let place = Place::new();
    for (name, against) in [("played", "--server=direct"), ("rehearsed", "--rehearse")] {
        ends_with(place.run(name, &[against, "--trace", "/dev/full"]).spawn().unwrap(), 1);
        let run = place.json(name);
        assert!(run["spoiled"][0].as_str().unwrap().contains("the trace is not whole"), "{name}: {run}");
        assert!(run["summary"]["requests"]["count"].as_u64().unwrap() > 0, "{name}: {run}");
        assert_eq!(run["version"], 1);
    }
}
