//! The synthetic origin as a user runs it: the binary with a scenario of its own writing, HTTP by hand, and the control port. Nothing
//! of the tester's code is shared.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A running origin; dropping it ends it.
struct Origin {
    child: Child,
    media: String,
    control: String,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn seconds(seconds: u64) -> Value {
    json!({ "secs": seconds, "nanos": 0 })
}

fn scenario() -> Value {
    let stream = json!({
        "name": "cup", "kind": "low-latency", "count": 2, "segment": seconds(2), "part": seconds(1), "window": 6,
        "length": seconds(60), "bitrates": [800_000], "audio": null, "parts_are_ranges": false,
    });
    let fault = json!({
        "at": seconds(100), "over": seconds(50), "paths": "**/*.m4s", "share": 1.0, "what": { "break": 0.5 },
    });
    json!({
        "name": "by hand", "about": "", "seed": 1, "duration": seconds(60), "warm_up": seconds(0), "streams": [stream],
        "audience": { "arrivals": [], "stay": null, "zipf": 0.0 }, "groups": [], "events": [], "faults": [fault], "token": null,
        "targets": { "stall_ratio": 0.0, "startup_p95": seconds(2), "error_ratio": 0.0 },
    })
}

fn start(folder: &std::path::Path, arguments: &[&str]) -> Origin {
    let file = folder.join("scenario.json");
    std::fs::write(&file, scenario().to_string()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_forebay-loadtest"))
        .arg("origin")
        .arg(&file)
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let listening: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let address = |name: &str| listening[name].as_str().unwrap().to_owned();
    Origin { child, media: address("media"), control: address("control") }
}

/// Status line, and body.
fn get(address: &str, target: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let end = all.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    (head.lines().next().unwrap().to_owned(), all[end + 4..].to_vec())
}

fn text(address: &str, target: &str) -> String {
    let (status, body) = get(address, target);
    assert_eq!(status, "HTTP/1.1 200 OK", "{target}");
    String::from_utf8(body).unwrap()
}

fn order(address: &str, order: &Value) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    writeln!(stream, "{order}").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn an_origin_that_waits_stands_still_and_begins_when_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let origin = start(folder.path(), &["--waits"]);
    let entry = text(&origin.media, "/media/live/cup-1/index.m3u8");
    let rendition = entry.lines().find(|line| !line.starts_with('#')).unwrap();
    let playlist = format!("/media/live/cup-1/{rendition}");
    let first = text(&origin.media, &playlist);
    assert!(first.contains("#EXT-X-MEDIA-SEQUENCE:9994\n"), "{first}");
    // The second channel is half a segment ahead of the first.
    assert!(first.contains("URI=\"v0/10000.0.") && first.contains("TYPE=PART,URI=\"v0/10000.1."), "{first}");

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let epoch = u64::try_from(now.as_nanos()).unwrap() - 101_500_000_000;
    assert_eq!(order(&origin.control, &json!({ "begin": { "wall_epoch_ns": epoch } })), json!("begun"));
    // A hundred seconds are fifty segments; and a fault has begun.
    let later = text(&origin.media, &playlist);
    let sequence: u64 =
        later.split("MEDIA-SEQUENCE:").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert!((10_044..10_060).contains(&sequence), "{later}");
    let uri = later.lines().find(|line| line.ends_with(".m4s")).unwrap();
    let (_, body) = get(&origin.media, &format!("/media/live/cup-1/{uri}"));
    let whole: usize = uri.rsplit('.').nth(1).unwrap().parse().unwrap();
    assert_eq!(body.len(), whole / 2);

    let ledger = order(&origin.control, &json!("ledger"))["ledger"].clone();
    assert_eq!(
        (&ledger["requests"], &ledger["faults"], &ledger["beyond"]),
        (&json!(2), &json!([1]), &json!(0)),
        "{ledger}"
    );
    assert_eq!(ledger["kinds"]["segment"]["objects"], 1, "{ledger}");
    assert_eq!(ledger["bytes"], later.len() + body.len(), "{ledger}");
}

#[test]
fn a_scenario_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.json");
    std::fs::write(&file, "{}").unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_forebay-loadtest")).arg("origin").arg(&file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains("other.json") && text.contains("scenario.json"),
        "{text}"
    );
}
