//! The tester on trial: known faults are put into the synthetic origin, and what a run reports is held to what the origin says that
//! it did, over sockets and in computed time; runs are repeated, shared among processes, and ended before their time. Every run is
//! the binary as a user has it, against the origin itself, so that no server is needed.
//!
//! What is true at any speed is asserted, and never tried twice. Times, and counts that follow from them (who stalled, for how long,
//! how many met a fault), hold over sockets as long as an exchange over loopback takes less than the second or two that the scenarios leave for
//! it: faults end some seconds before the run does, and buffers hold seconds where nothing is to stall. Where a machine stood still
//! for longer, the run is made again, a few times at the most ([`How::each`]), and each attempt in vain is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod direct;
mod ends;
mod faults;
mod interrupt;
mod keys;
mod playlists;
mod repeat;
mod stalls;
mod workers;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// How a scenario is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Over sockets, against the origin.
    Sockets,
    /// In computed time.
    Rehearsal,
}

/// A scenario in a folder of its own.
struct Trial {
    folder: TempDir,
}

/// What `run.json` says.
struct Told(Value);

/// A process that is ended with the test, whatever becomes of that.
struct Guarded(Child);

/// How often something is to be found in a run over sockets until it counts as not so.
const ATTEMPTS: usize = 3;

impl How {
    const BOTH: [Self; 2] = [Self::Sockets, Self::Rehearsal];

    /// Tries it both ways: in computed time at once, and over sockets in a few runs until one is as it should be. What is true at
    /// any speed, `found` asserts, and that ends the test at once; what hangs on times, it returns as an error, since a machine
    /// that stands still for a second or two stalls viewers by itself.
    fn each(found: impl Fn(Self) -> Result<(), String>) {
        found(Self::Rehearsal).unwrap();
        for attempt in 1..=ATTEMPTS {
            let Err(error) = found(Self::Sockets) else { return };
            eprintln!("attempt {attempt} of {ATTEMPTS} over sockets: {error}");
            assert!(attempt < ATTEMPTS, "not in {ATTEMPTS} runs: {error}");
        }
    }

    fn argument(self) -> &'static str {
        match self {
            Self::Sockets => "--server=direct",
            Self::Rehearsal => "--rehearse",
        }
    }
}

impl Trial {
    fn of(scenario: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("trial.toml"), scenario).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `run` of the scenario, with nothing kept but `NAME.json`.
    fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = tester();
        command.arg("run").arg(self.path("trial.toml")).args(["--no-runs", "--quiet"]).args(arguments);
        command.arg("--json").arg(self.path(&format!("{name}.json")));
        command
    }

    /// Runs it to its end; it is to end with this code.
    fn run(&self, how: How, code: i32) -> Told {
        let output = self.command("run", &[how.argument()]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let told = self.told("run");
        assert_eq!(output.status.code(), Some(code), "{how:?}: {said}{}", told.summary());
        told
    }

    /// Runs it to its end, and returns what each viewer asked for beside it.
    fn traced(&self, name: &str, arguments: &[&str]) -> (Told, BTreeMap<u32, Vec<String>>) {
        let trace = self.path(&format!("{name}.trace"));
        let arguments = [arguments, &["--trace", trace.to_str().unwrap()]].concat();
        let output = self.command(name, &arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (self.told(name), sequences(&trace))
    }

    fn told(&self, name: &str) -> Told {
        Told(serde_json::from_slice(&fs::read(self.path(&format!("{name}.json"))).unwrap()).unwrap())
    }
}

impl Told {
    fn summary(&self) -> &Value {
        &self.0["summary"]
    }

    /// A count of the summary, as `viewers/stalls`.
    fn count(&self, path: &str) -> u64 {
        self.number(path).as_u64().unwrap_or_else(|| panic!("{path} is no count: {}", self.summary()))
    }

    fn figure(&self, path: &str) -> f64 {
        self.number(path).as_f64().unwrap_or_else(|| panic!("{path} is no number: {}", self.summary()))
    }

    fn number(&self, path: &str) -> &Value {
        self.summary().pointer(&format!("/{path}")).unwrap_or_else(|| panic!("no {path}: {}", self.summary()))
    }

    /// How many requests met each fault, as the origin says.
    fn faults(&self) -> Vec<u64> {
        serde_json::from_value(self.number("origin/faults").clone()).unwrap()
    }

    /// Errors by their word, as viewers met them.
    fn errors(&self) -> BTreeMap<String, u64> {
        serde_json::from_value(self.number("requests/errors_by").clone()).unwrap()
    }

    fn examples(&self) -> Vec<String> {
        serde_json::from_value(self.number("requests/examples").clone()).unwrap()
    }

    fn spoiled(&self) -> Vec<String> {
        serde_json::from_value(self.0["spoiled"].clone()).unwrap()
    }

    /// The sum of something over all seconds.
    fn over_rows(&self, key: &str) -> u64 {
        self.0["rows"].as_array().unwrap().iter().map(|row| row[key].as_u64().unwrap()).sum()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Guarded {
    fn interrupt(&self) {
        let process = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    }

    /// Its exit code when it has ended by itself, which may take as long as a run and no longer.
    fn code(&mut self) -> Option<i32> {
        let mut ended = None;
        wait_for("the end of a process", || {
            ended = self.0.try_wait().unwrap();
            ended.is_some()
        });
        ended.and_then(|status| status.code())
    }
}

/// The binary, not started yet.
fn tester() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay-loadtest"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A run that waits for so many workers: the process, where they join, and what it says after that.
fn waits_for_workers(
    trial: &Trial,
    count: &str,
    arguments: &[&str],
) -> (Guarded, String, BufReader<ChildStderr>) {
    let arguments = [&["--server=direct", "--workers", count, "--listen=127.0.0.1:0"], arguments].concat();
    let mut run = Guarded(trial.command("run", &arguments).spawn().unwrap());
    let mut says = BufReader::new(run.0.stderr.take().unwrap());
    let mut line = String::new();
    says.read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(line.contains("workers"), "{line}");
    (run, address, says)
}

/// A worker that writes its viewers' requests to this file.
fn joins(address: &str, trace: &Path) -> Guarded {
    let mut command = tester();
    command.stderr(Stdio::null()).args(["join", address, "--threads=1", "--trace"]).arg(trace);
    Guarded(command.spawn().unwrap())
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

/// Something that hangs on times; where it is not so, what was found instead.
fn timely(is_so: bool, found: impl std::fmt::Display) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(found.to_string()) }
}

/// Waits until something is so, for a minute at the most.
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if is_so() {
            return;
        }
        #[allow(clippy::disallowed_methods, reason = "waits for what another process does")]
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("waited in vain for {what}");
}

/// Waits until viewers watch: there is a page of a trace.
fn wait_for_viewers(trace: &Path) {
    wait_for("the first viewers", || fs::metadata(trace).is_ok_and(|trace| trace.len() > 0));
}
