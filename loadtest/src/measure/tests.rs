#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
use http::{HeaderMap, StatusCode};
use tokio::time::advance;

use super::*;
use crate::fetch::{Cache, Failure, GivenUp, Outcome};

/// A whole answer of 1,000 bytes with this status, 10 ms after it was due to its head, 30 ms to its end.
pub(super) fn exchange(status: u16) -> Exchange {
    let due = Instant::now();
    Exchange {
        due,
        sent: due + Duration::from_millis(1),
        first_byte: Some(due + Duration::from_millis(10)),
        end: due + Duration::from_millis(30),
        status: Some(StatusCode::from_u16(status).unwrap()),
        headers: HeaderMap::new(),
        cache: Cache::Hit,
        bytes: 1_000,
        text: bytes::Bytes::new(),
        connected: false,
        outcome: Outcome::Whole,
    }
}

/// Viewers there, starting, stalled, as a book changes them.
fn changes(book: &Book) -> (i64, i64, i64) {
    (book.changes.there, book.changes.starting, book.changes.stalled)
}

async fn pass(milliseconds: u64) {
    advance(Duration::from_millis(milliseconds)).await;
}

fn started(after_ms: u64) -> Met {
    Met::Started { after: Duration::from_millis(after_ms), zapped: false }
}

#[tokio::test(start_paused = true)]
async fn states_follow_a_viewer_from_arrival_to_leaving() {
    let recorder = Recorder::new();
    recorder.met(7, Met::Arrived);
    assert_eq!(changes(&recorder.drain()), (1, 1, 0));
    pass(300).await;
    recorder.met(7, started(300));
    assert_eq!(changes(&recorder.drain()), (0, -1, 0));
    recorder.met(7, Met::StallBegan);
    assert_eq!(changes(&recorder.drain()), (0, 0, 1));
    recorder.met(7, Met::Left);
    recorder.met(7, Met::Left);
    let book = recorder.drain();
    assert_eq!((changes(&book), book.left), ((-1, 0, -1), 1));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_is_gone_once_whether_it_says_that_it_left_or_not() {
    let recorder = Recorder::new();
    (0..2).for_each(|viewer| recorder.met(viewer, Met::Arrived));
    pass(30_000).await;
    recorder.met(0, Met::GaveUp);
    recorder.met(0, Met::Left);
    recorder.met(1, Met::GaveUp);
    let book = recorder.drain();
    assert_eq!((changes(&book), book.gave_up, book.left), ((0, 0, 0), 2, 0));
    assert_eq!((book.in_vain.count(), book.in_vain.mean()), (2, 30e6));
    assert_eq!(book.left_waiting.count(), 0);
    recorder.met(2, Met::Arrived);
    pass(700).await;
    recorder.met(2, Met::Left);
    let book = recorder.drain();
    assert_eq!((book.in_vain.count(), book.left_waiting.mean()), (0, 700e3));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_because_the_run_is_over_was_there_to_the_end() {
    let recorder = Recorder::new();
    for viewer in 0..3 {
        recorder.met(viewer, Met::Arrived);
    }
    recorder.met(0, started(0));
    recorder.met(1, Met::Left);
    recorder.met(1, Met::Wasted(5));
    pass(400).await;
    recorder.close();
    for viewer in [0, 2] {
        recorder.met(viewer, Met::Played { media: Duration::from_millis(400), bitrate: 1 });
        recorder.met(viewer, Met::Wasted(1_000));
        recorder.met(viewer, Met::Left);
    }
    let book = recorder.drain();
    assert_eq!((changes(&book), book.left, book.wasted_bytes), ((2, 1, 0), 1, 5));
    assert_eq!((book.played_time.as_millis(), book.waiting.mean()), (800, 400e3));
}

#[tokio::test(start_paused = true)]
async fn a_stall_is_counted_while_it_lasts_and_its_parts_add_up_to_its_length() {
    let recorder = Recorder::new();
    recorder.met(1, Met::Arrived);
    recorder.met(1, started(0));
    recorder.met(1, Met::StallBegan);
    let mut parts = Vec::new();
    for _ in 0..2 {
        pass(1_000).await;
        parts.push(recorder.drain());
    }
    pass(500).await;
    recorder.met(1, Met::StallEnded { after: Duration::from_millis(2_500) });
    pass(500).await;
    parts.push(recorder.drain());
    let times: Vec<u128> = parts.iter().map(|book| book.stalled_time.as_millis()).collect();
    assert_eq!(times, [1_000, 1_000, 500]);
    assert!(parts.iter().all(|book| book.stalling == [1]));
    assert_eq!(parts.iter().map(|book| book.stalls).sum::<u64>(), 1);
    assert_eq!(recorder.drain(), Book::default());
}

#[tokio::test(start_paused = true)]
async fn a_zap_or_a_leaving_ends_a_stall() {
    let recorder = Recorder::new();
    for viewer in 0..2 {
        recorder.met(viewer, Met::Arrived);
        recorder.met(viewer, Met::StallBegan);
    }
    pass(700).await;
    recorder.met(0, Met::Started { after: Duration::from_millis(100), zapped: true });
    recorder.met(1, Met::Left);
    let book = recorder.drain();
    assert_eq!((changes(&book), book.stalled_time.as_millis()), ((1, 0, 0), 1_400));
    assert_eq!((book.zaps.count(), book.starts.count()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn who_zaps_before_the_first_picture_has_waited_for_it_since_the_arrival() {
    let recorder = Recorder::new();
    recorder.met(0, Met::Arrived);
    pass(8_300).await;
    recorder.met(0, Met::Started { after: Duration::from_millis(300), zapped: true });
    let book = recorder.drain();
    assert_eq!((book.starts.count(), book.starts.mean(), book.zaps.count()), (1, 8_300e3, 0));
    recorder.met(0, Met::Started { after: Duration::from_millis(200), zapped: true });
    let book = recorder.drain();
    assert_eq!((book.starts.count(), book.zaps.count(), book.zaps.mean()), (0, 1, 200e3));
}

#[tokio::test(start_paused = true)]
async fn errors_have_their_words_and_a_wrong_body_is_no_error() {
    let recorder = Recorder::new();
    recorder.exchange(0, Kind::Segment, "/ok", &exchange(200));
    recorder.exchange(0, Kind::Segment, "/gone", &exchange(503));
    let failed = |failure| Exchange { outcome: Outcome::Failed(failure), ..exchange(200) };
    recorder.exchange(0, Kind::Part, "/short", &failed(Failure::Short));
    recorder.exchange(0, Kind::Part, "/connect", &Exchange { status: None, ..failed(Failure::Connect) });
    recorder.exchange(3, Kind::Init, "/wrong", &Exchange { outcome: Outcome::Mismatch, ..exchange(200) });
    let book = recorder.drain();
    let words: Vec<(&str, u64)> = book.errors.iter().map(|(word, count)| (word.as_str(), *count)).collect();
    assert_eq!(words, [("connect", 1), ("short", 1), ("status-503", 1)]);
    assert_eq!((book.requests(), book.mismatches, book.errors_count()), (5, 1, 3));
    assert_eq!(book.examples.last().unwrap(), "mismatch /wrong (viewer 3)");
    // A refusal and a broken body are no measure of how long a segment takes.
    let (ttfb, whole) = book.media();
    assert_eq!((ttfb.count(), whole.count()), (4, 1));
    assert_eq!((ttfb.milliseconds().mean, whole.milliseconds().mean), (10.0, 30.0));
}

#[tokio::test(start_paused = true)]
async fn lateness_is_a_share_of_the_timer() {
    let recorder = Recorder::new();
    for by in [0, 20] {
        let (by, interval) = (Duration::from_millis(by), Duration::from_secs(2));
        recorder.met(0, Met::Late { by, interval });
    }
    recorder.met(0, Met::Late { by: Duration::from_secs(1), interval: Duration::ZERO });
    let book = recorder.drain();
    assert_eq!((book.late.count(), book.late.mean()), (2, 5_000.0));
}

#[tokio::test(start_paused = true)]
async fn lateness_of_a_short_timer_is_a_share_of_what_a_player_acts_in() {
    let recorder = Recorder::new();
    // A tick of the clock is no lateness to speak of, and a tester that is late is so whatever its timers are set for.
    for (by, interval) in [(1, 5), (50, 20)] {
        let (by, interval) = (Duration::from_millis(by), Duration::from_millis(interval));
        recorder.met(0, Met::Late { by, interval });
    }
    let book = recorder.drain();
    assert_eq!((book.late.count(), book.late.mean()), (2, (2_000.0 + 100_000.0) / 2.0));
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_was_asked_for_and_came_as_far_as_it_did_but_is_neither_whole_nor_an_error() {
    let recorder = Recorder::new();
    recorder.exchange(1, Kind::Segment, "/a", &exchange(200));
    let due = Instant::now();
    let first_byte = Some(due + Duration::from_millis(30));
    let given_up = GivenUp { due, first_byte, cache: Cache::Hit, bytes: 300, connected: true };
    recorder.gave_up(Kind::Segment, &given_up);
    recorder
        .gave_up(Kind::Segment, &GivenUp { first_byte: None, cache: Cache::Unknown, bytes: 0, ..given_up });
    let book = recorder.drain();
    assert_eq!((book.requests(), book.bytes(), book.hits()), (3, 1_300, (2, 1_300)));
    assert_eq!((book.connections, book.errors_count(), book.mismatches), (2, 0, 0));
    let (ttfb, whole) = book.media();
    assert_eq!((ttfb.count(), ttfb.mean()), (2, 20e3), "what had no first byte has no time to it");
    assert_eq!((whole.count(), whole.mean()), (1, 30e3));
}

#[tokio::test(start_paused = true)]
async fn a_book_survives_being_sent() {
    let recorder = Recorder::new();
    recorder.met(1, Met::Arrived);
    recorder.met(1, started(250));
    recorder.met(1, Met::Played { media: Duration::from_millis(1_500), bitrate: 3_000_000 });
    recorder.met(1, Met::Behind(Duration::from_secs(6)));
    recorder.met(1, Met::StallBegan);
    recorder.exchange(1, Kind::Segment, "/a", &exchange(404));
    let book = recorder.drain();
    let sent: Book = serde_json::from_str(&serde_json::to_string(&book).unwrap()).unwrap();
    sent.check().unwrap();
    let mut merged = Book::default();
    merged.merge(&sent);
    merged.merge(&Book::default());
    let mut once = Book::default();
    once.merge(&book);
    assert_eq!(merged, once);
    assert_eq!(merged.bitrate(), 3e6);
}

#[tokio::test(start_paused = true)]
async fn what_a_book_keeps_of_failures_is_bounded() {
    let recorder = Recorder::new();
    let path = "/é".repeat(500);
    for _ in 0..1_000 {
        recorder.exchange(0, Kind::Segment, &path, &exchange(500));
    }
    let book = recorder.drain();
    let mut merged = book.clone();
    merged.merge(&book);
    assert_eq!(merged.examples.len(), 3);
    for status in 400..450 {
        recorder.exchange(0, Kind::Segment, "/a", &exchange(status));
    }
    merged.merge(&recorder.drain());
    assert_eq!(merged.examples.len(), 12);
    assert!(merged.examples.iter().all(|example| example.len() < 200));
    assert_eq!(merged.errors_count(), 2_050);
}

#[test]
fn books_that_add_up_beyond_all_numbers_are_merged_without_a_panic() {
    let text = serde_json::to_string(&Book::default()).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let whole = serde_json::json!({"secs": u64::MAX, "nanos": 999_999_999});
    (value["stalled_time"], value["played_time"]) = (whole.clone(), whole);
    for key in ["arrived", "left", "gave_up", "stalls", "played_bits", "wasted_bytes", "connections"] {
        value[key] = u64::MAX.into();
    }
    value["changes"] = serde_json::json!({"there": i64::MIN, "starting": i64::MAX, "stalled": i64::MAX});
    value["errors"] = serde_json::json!({"short": u64::MAX, "connect": 1});
    let spread = serde_json::json!({"sum": u64::MAX, "max": u64::MAX, "counts": [u64::MAX, u64::MAX]});
    let cell = serde_json::json!({
        "kind": "segment", "cache": "hit", "requests": u64::MAX, "bytes": u64::MAX, "ttfb": spread, "whole": spread,
    });
    value["starts"] = spread;
    value["cells"] = serde_json::json!([cell, cell]);
    let book: Book = serde_json::from_value(value).unwrap();
    let mut merged = book.clone();
    merged.merge(&book);
    merged.merge(&book);
    assert_eq!((merged.arrived, merged.requests(), merged.bytes()), (u64::MAX, u64::MAX, u64::MAX));
    assert_eq!((merged.errors_count(), merged.stalled_time), (u64::MAX, Duration::MAX));
    assert!(book.check().is_err());
}

#[test]
fn a_book_that_cannot_be_of_a_second_is_refused_with_what_is_wrong() {
    let with = |key: &str, value: serde_json::Value| -> String {
        let mut book = serde_json::to_value(Book::default()).unwrap();
        book[key] = value;
        format!("{:#}", serde_json::from_value::<Book>(book).unwrap().check().unwrap_err())
    };
    let many: std::collections::BTreeMap<String, u64> =
        (0..257).map(|n| (format!("status-{n}"), 1)).collect();
    let long = "a".repeat(300);
    let over = serde_json::json!({"sum": 86_400_000_001_u64, "max": 86_400_000_001_u64, "counts": [86_400_000_001_u64, 1]});
    let sum = serde_json::json!({"sum": 11, "max": 10, "counts": [10, 1]});
    for (key, value, says) in [
        ("errors", serde_json::json!(many), "257 words of errors, over 256"),
        ("errors", serde_json::json!({long.as_str(): 1}), "over 32 bytes"),
        ("errors", serde_json::json!({"\u{1b}[2J": 1}), "no word"),
        ("examples", serde_json::json!([long]), "over 240 bytes"),
        ("examples", serde_json::json!(vec!["a"; 13]), "13 examples, over 12"),
        ("examples", serde_json::json!(["a\nb"]), "control characters"),
        ("stalling", serde_json::json!([2_000_000]), "a viewer beyond"),
        ("starts", over, "a time of over a day"),
        ("waiting", sum, "a time of over a day"),
        ("played_time", serde_json::json!({"secs": u64::MAX, "nanos": 0}), "more time than"),
    ] {
        let error = with(key, value);
        assert!(error.contains(says), "{key}: {error}");
    }
}

#[test]
fn errors_of_ever_new_words_do_not_fill_the_memory() {
    let mut merged = Book::default();
    for number in 0..1_000 {
        let mut book = Book::default();
        book.errors.insert(format!("word-{number}"), 2);
        merged.merge(&book);
    }
    assert!(merged.errors.len() <= 257, "{}", merged.errors.len());
    assert_eq!(merged.errors_count(), 2_000);
}

/// What a worker sends in a second is bounded: here are 10,000 viewers who all stand still, every kind with every word of a cache, and
/// times of all lengths.
#[tokio::test(start_paused = true)]
async fn the_fullest_book_is_below_one_megabyte_as_json() {
    let recorder = Recorder::new();
    for viewer in 0..10_000 {
        recorder.met(viewer, Met::Arrived);
        recorder.met(viewer, Met::StallBegan);
        let mut one = exchange(200);
        let time = Duration::from_micros(1_000 + u64::from(viewer) * 997);
        (one.first_byte, one.end) = (Some(one.due + time), one.due + time * 2);
        one.cache = Cache::ALL[viewer as usize % 7];
        recorder.exchange(viewer, Kind::ALL[viewer as usize / 7 % Kind::ALL.len()], "/a", &one);
    }
    let book = recorder.drain();
    book.check().unwrap();
    let bytes = serde_json::to_string(&book).unwrap().len();
    assert!(bytes < 1_000_000, "{bytes} bytes");
}
