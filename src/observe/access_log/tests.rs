#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::mpsc::{SyncSender, sync_channel};

use serde_json::{Value, json};

use super::line::{FIELDS, HOST_BYTES_MAX, PATH_BYTES_MAX};
use super::*;
use crate::asset::Kind;
use crate::observe::cmcd::CMCD_BYTES_MAX;
use crate::observe::record::tests::hit;
use crate::observe::record::{Denial, Protocol};
use crate::outcome::Outcome;

/// Signals between a test and its writer, at most.
const SIGNALS_MAX: usize = 1024;

fn dropped() -> IntCounter {
    IntCounter::new("dropped", "Lost lines.").unwrap()
}

/// The line of one record, as it is written.
fn line(record: &Record<'_>) -> String {
    let mut out = Vec::new();
    Entry::new(record).write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn full() -> Record<'static> {
    Record {
        query: Some("lang=de"),
        protocol: Protocol::Http2,
        tls: true,
        range: Some("bytes=0-99"),
        coalesce_wait: Some(Duration::from_micros(1_500)),
        error: Some("origin_timeout"),
        age_s: Some(3),
        ttl_s: Some(-1),
        session: Some("viewer-7"),
        cmcd: Some("br=3200,sid=\"c\",bs"),
        user_agent: Some("player \"one\""),
        tls_fingerprint: Some("t13d1516h2_8daaf6152771_e5627efa2ab1"),
        hop: Some("edge-1"),
        aborted: true,
        ..hit()
    }
}

#[test]
fn a_line_has_every_field_in_its_order() {
    let line = line(&full());
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        value,
        json!({
            "ts": "2023-11-14T22:13:20.123Z", "site": "live.example.com", "client_ip": "192.0.2.7",
            "method": "GET", "host": "live.example.com", "path": "/live/ch1/720p/seg-12.m4s",
            "query": "lang=de", "proto": "h2", "tls": true, "status": 200, "outcome": "hit",
            "reason": "origin_timeout", "kind": "segment", "range": "bytes=0-99", "bytes": 4096,
            "ttfb_ms": 0.08, "total_ms": 0.12, "coalesced_wait_ms": 1.5, "age_s": 3, "ttl_s": -1,
            "session": "viewer-7", "cmcd": {"br": 3200, "sid": "c", "bs": true},
            "user_agent": "player \"one\"", "tls_fingerprint": "t13d1516h2_8daaf6152771_e5627efa2ab1",
            "node": "edge-1", "aborted": true,
        })
    );
    let places: Vec<_> = FIELDS.iter().map(|(name, _)| line.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{line}");
    assert_eq!(value.as_object().unwrap().len(), FIELDS.len());
}

#[test]
fn a_field_that_does_not_apply_is_left_out() {
    let record = Record {
        site: None,
        site_name: "",
        kind: Kind::Other,
        outcome: Outcome::Denied,
        status: 421,
        denial: Some(Denial::Other("site")),
        first_byte: None,
        ..hit()
    };
    let value: Value = serde_json::from_str(&line(&record)).unwrap();
    let names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    for absent in ["site", "query", "range", "ttfb_ms", "coalesced_wait_ms", "age_s", "session", "cmcd"] {
        assert!(!names.contains(&absent), "{absent} in {names:?}");
    }
    assert_eq!(value["reason"], "site");
    assert_eq!(value["host"], "live.example.com");
}

#[test]
fn texts_are_cut_at_a_character_and_control_characters_are_escaped() {
    let host = "é".repeat(HOST_BYTES_MAX); // two bytes each: the bound falls into one
    let path = format!("/{}", "p".repeat(PATH_BYTES_MAX));
    let cmcd = format!("br=1,cid=\"{}\"", "c".repeat(CMCD_BYTES_MAX));
    let user_agent = Some("a\nb\u{1b}[31m\"}\u{7f}");
    let line = line(&Record { host: &host, path: &path, cmcd: Some(&cmcd), user_agent, ..hit() });
    assert!(!line.chars().any(|c| c.is_ascii_control() && c != '\u{7f}'), "{line}");
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["host"], format!("{}\u{2026}", "é".repeat(HOST_BYTES_MAX / 2)));
    assert_eq!(value["path"], format!("{}\u{2026}", &path[..PATH_BYTES_MAX]));
    assert_eq!(value["cmcd"], json!({"br": 1}));
    assert_eq!(value["user_agent"], "a\nb\u{1b}[31m\"}\u{7f}");
}

#[test]
fn every_request_is_one_line_of_the_file_and_earlier_lines_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    std::fs::write(&path, "earlier\n").unwrap();
    let dropped = dropped();
    let log = AccessLog::start(&Destination::File(path.clone()), 10_000, &dropped).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1_000).for_each(|bytes| log.record(&Record { bytes, ..hit() })));
        }
    });
    until(|| log.close());
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0], dropped.get()), (4_001, "earlier", 0));
    let sum: u64 = lines[1..]
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, 4 * 999 * 1_000 / 2);
    log.record(&hit());
    assert_eq!(dropped.get(), 1, "a line after the end is counted as lost");
}

#[test]
fn a_line_is_written_without_waiting_for_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = AccessLog::start(&Destination::File(path.clone()), 16, &dropped()).unwrap();
    log.record(&hit());
    until(|| std::fs::read_to_string(&path).unwrap().ends_with("}\n"));
}

#[test]
fn a_renamed_file_is_left_at_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let log = AccessLog::start(&Destination::File(path.clone()), 16, &dropped()).unwrap();
    log.record(&hit());
    until(|| std::fs::metadata(&path).unwrap().len() > 0);
    std::fs::rename(&path, &old).unwrap();
    log.reopen();
    until(|| path.exists());
    log.record(&hit());
    until(|| log.close());
    for path in [path, old] {
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1, "{}", path.display());
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_that_names_it() {
    let path = PathBuf::from("/nonexistent/folder/access.log");
    let error = AccessLog::start(&Destination::File(path), 16, &dropped()).unwrap_err();
    assert!(
        error.to_string().contains("log.access: /nonexistent/folder/access.log cannot be opened"),
        "{error}"
    );
}

#[test]
fn a_log_that_is_off_takes_records_and_loses_nothing() {
    let dropped = dropped();
    let log = AccessLog::start(&Destination::Off, 1, &dropped).unwrap();
    log.record(&hit());
    log.reopen();
    until(|| log.close());
    assert_eq!(dropped.get(), 0);
}

/// Waits at each write until it is told what becomes of it: how many bytes are taken before it fails, or all.
struct Gate {
    verdicts: Receiver<Option<usize>>,
    begun: SyncSender<()>,
    written: Arc<parking_lot::Mutex<Vec<u8>>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.send(()).ok();
        match self.verdicts.recv().unwrap_or(None) {
            None => {
                self.written.lock().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            Some(taken) => {
                self.written.lock().extend_from_slice(&bytes[..taken]);
                Err(io::ErrorKind::StorageFull.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_queue_drops_and_counts_and_never_waits() {
    let (verdict, verdicts) = sync_channel(SIGNALS_MAX);
    let (begun, writes) = sync_channel(SIGNALS_MAX);
    let written = Arc::default();
    let dropped = dropped();
    let gate = Gate { verdicts, begun, written: Arc::clone(&written) };
    let log = AccessLog::start_with(Sink::Test(Box::new(gate)), 8, &dropped).unwrap();
    log.record(&hit());
    writes.recv().unwrap(); // the writer stands in the first write, and the queue is empty
    for _ in 0..20 {
        log.record(&hit());
    }
    assert_eq!(dropped.get(), 12);
    assert!(!log.close(), "a stuck destination does not hold up the end");
    drop(verdict);
    until(|| log.close());
    assert_eq!(written.lock().split(|byte| *byte == b'\n').count() - 1, 9);
}

#[test]
fn a_failed_write_is_counted_and_the_next_line_starts_on_a_line_of_its_own() {
    let (verdict, verdicts) = sync_channel(SIGNALS_MAX);
    let (begun, writes) = sync_channel(SIGNALS_MAX);
    let written = Arc::default();
    let dropped = dropped();
    let gate = Gate { verdicts, begun, written: Arc::clone(&written) };
    let log = AccessLog::start_with(Sink::Test(Box::new(gate)), 8, &dropped).unwrap();
    log.record(&hit());
    writes.recv().unwrap();
    verdict.send(Some(5)).unwrap();
    until(|| dropped.get() == 1);
    drop(verdict); // from now on everything is taken
    log.record(&hit());
    until(|| log.close());
    let text = String::from_utf8(written.lock().clone()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "{\"ts\""), "{text}");
    assert!(serde_json::from_str::<Value>(lines[1]).is_ok(), "{text}");
    assert_eq!(dropped.get(), 1);
}

/// Polls until `condition` holds; a minute without it fails.
fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not come true");
        thread::yield_now();
    }
}
