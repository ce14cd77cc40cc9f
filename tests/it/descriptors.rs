//! The limit on open descriptors: what a node does about the one that it is started with.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Ended by its own id, whatever comes of the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a node whose limits the shell has set so before, and returns it with all that it wrote until it served.
fn start_under(limits: &str) -> (Started, Vec<String>) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("forebay.toml");
    let text = "[server]\nhttp = [\"127.0.0.1:0\"]\n[limits]\nconnections = 700\n[origin.main]\n\
                servers = [\"http://127.0.0.1:9\"]\n[[site]]\nhosts = [\"*\"]\norigin = \"main\"\n";
    std::fs::write(&file, text).expect("a writable directory");
    let child = Command::new("sh")
        .args(["-c", &format!("{limits}; exec \"$0\" serve --config \"$1\""), env!("CARGO_BIN_EXE_forebay")])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell and the built binary");
    let mut started = Started(child);
    let lines = BufReader::new(started.0.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let mut written = Vec::new();
    for line in lines {
        let is_ready = line.contains("\"ready\"");
        written.push(line);
        if is_ready {
            return (started, written);
        }
    }
    panic!("the node ended at start:\n{}", written.join("\n"));
}

/// The soft and the hard limit of a process.
fn limits(started: &Started) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{}/limits", started.0.id())).expect("a running node");
    let line = text.lines().find(|line| line.starts_with("Max open files")).expect("the limit");
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
    (numbers.next().expect("a number"), numbers.next().expect("a number"))
}

#[test]
fn a_low_limit_on_descriptors_is_raised_to_the_hard_one() {
    let (started, written) = start_under("ulimit -Sn 300; ulimit -Hn 1000");
    assert_eq!(limits(&started), (1000, 1000));
    let said = written.iter().any(|line| line.contains("limits.connections"));
    assert!(!said, "1,000 are enough for 700 connections:\n{}", written.join("\n"));
}

#[test]
fn a_hard_limit_that_is_too_low_for_the_connections_is_named() {
    let (started, written) = start_under("ulimit -Sn 300; ulimit -Hn 300");
    assert_eq!(limits(&started), (300, 300));
    let named = |line: &String| line.contains("limits.connections") && line.contains("300");
    assert!(written.iter().any(named), "{}", written.join("\n"));
}
