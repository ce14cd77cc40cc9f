#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
use tokio::time::advance;

use super::*;
use crate::fetch::Kind;
use crate::measure::tests::exchange;
use crate::measure::{Met, Recorder};
use crate::stage::process::Asked;

const SECOND: Duration = Duration::from_secs(1);

fn usage(cpu_seconds: f64, resident_bytes: u64) -> Usage {
    Usage { cpu_seconds, resident_bytes }
}

fn sides(cpu_seconds: f64, requests: u64) -> Sides {
    let asked =
        Asked { objects: requests / 2, requests, most: 3, most_for: "/media/live/a/v0/1.1.m4s".to_owned() };
    let kinds = [("segment".to_owned(), asked)].into();
    Sides {
        at: Instant::now(),
        server: Some(usage(cpu_seconds, 1_000 * requests)),
        origin: None,
        tester: usage(cpu_seconds / 2.0, 5),
        ledger: Some(Ledger { requests, bytes: requests * 100, connections: 2, kinds, ..Ledger::default() }),
    }
}

/// Two threads, two viewers each on one of them, ten seconds.
#[tokio::test(start_paused = true)]
async fn viewers_of_several_threads_are_counted_together_even_if_a_drain_comes_late() {
    let epoch = Instant::now();
    let (one, other) = (Recorder::new(), Recorder::new());
    let mut chronicle = Chronicle::new(Duration::ZERO, epoch);
    for viewer in [0, 2] {
        one.met(viewer, Met::Arrived);
        other.met(viewer + 1, Met::Arrived);
    }
    advance(SECOND).await;
    // The other thread's first book is only there with its second one.
    let late = other.drain();
    let row = chronicle.second(1, one.drain(), Sides::default());
    assert_eq!((row.viewers, row.starting), (2, 2));
    other.met(1, Met::Started { after: SECOND, zapped: false });
    other.met(1, Met::StallBegan);
    other.met(3, Met::Left);
    advance(SECOND).await;
    let mut book = one.drain();
    book.merge(&late);
    book.merge(&other.drain());
    let row = chronicle.second(2, book, Sides::default());
    assert_eq!((row.viewers, row.starting, row.stalled), (3, 2, 1));
    assert_eq!((row.arrived, row.left, row.stalls), (2, 1, 1));
    assert_eq!(row.startup_ms.p50, 1_000.0);
}

#[tokio::test(start_paused = true)]
async fn the_warm_up_makes_rows_and_is_not_in_the_summary() {
    let epoch = Instant::now();
    let recorder = Recorder::new();
    let mut chronicle = Chronicle::new(2 * SECOND, epoch);
    recorder.met(0, Met::Arrived);
    recorder.met(0, Met::StallBegan);
    for second in 1..=5 {
        advance(SECOND).await;
        recorder.exchange(0, Kind::Segment, "/a", &exchange(200));
        if second == 4 {
            recorder.met(0, Met::StallEnded { after: 4 * SECOND });
        }
        recorder.met(0, Met::Played { media: SECOND, bitrate: 1_000 });
        let cpu = f64::from(second) * 0.5;
        chronicle.second(second, recorder.drain(), sides(cpu, u64::from(second) * 10));
    }
    let (summary, rows) = chronicle.finish(&Targets::default(), Some(77));
    assert_eq!(rows.iter().map(|row| row.second).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!((summary.seconds, summary.requests.count, summary.requests.per_second), (3.0, 3, 1.0));
    // The stall began in the warm-up: its time after it counts, its beginning does not, and the viewer is one who stalled.
    let viewers = &summary.viewers;
    assert_eq!((viewers.stalls, viewers.stalled, viewers.stalled_seconds), (0, 1, 2.0));
    assert_eq!((viewers.played_seconds, viewers.stall_ratio, viewers.bitrate), (3.0, 0.4, 1_000.0));
    assert_eq!((viewers.arrived, viewers.most), (0, 1));
    assert_eq!(summary.server, Some(usage(1.5, 50_000)));
    assert_eq!((summary.server_idle_bytes, summary.tester.cpu_seconds), (Some(77), 0.75));
    let origin = summary.origin.unwrap();
    assert_eq!((origin.requests, origin.bytes), (30, 3_000));
    let per_object = &origin.per_object["segment"];
    assert_eq!((per_object.objects, per_object.mean, per_object.most), (25, 2.0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_stall_that_goes_on_at_the_end_has_its_time_counted() {
    let epoch = Instant::now();
    let recorder = Recorder::new();
    let mut chronicle = Chronicle::new(Duration::ZERO, epoch);
    recorder.met(0, Met::Arrived);
    recorder.met(0, Met::StallBegan);
    for second in 1..=7 {
        advance(SECOND).await;
        chronicle.second(second, recorder.drain(), Sides::default());
    }
    let (summary, _) = chronicle.finish(&Targets::default(), None);
    assert_eq!((summary.viewers.stalled_seconds, summary.viewers.stall_ratio), (7.0, 1.0));
    assert!(!summary.targets[0].met, "{:?}", summary.targets);
}

#[tokio::test(start_paused = true)]
async fn cpu_is_per_second_whenever_the_row_is_made_and_a_restart_begins_anew() {
    let mut chronicle = Chronicle::new(Duration::ZERO, Instant::now());
    let mut row = |second, cpu: Option<f64>| {
        let server = cpu.map(|cpu| usage(cpu, 1));
        let row = chronicle.second(second, Book::default(), Sides { server, ..Sides::default() });
        row.server.map(|server| server.cpu_seconds)
    };
    advance(SECOND).await;
    assert_eq!(row(1, Some(1.5)), Some(1.5));
    advance(SECOND * 3 / 2).await;
    assert_eq!(row(2, Some(3.0)), Some(1.0));
    advance(SECOND / 2).await;
    assert_eq!(row(3, None), None);
    advance(SECOND).await;
    assert_eq!(row(4, Some(0.75)), Some(0.5));
    let (summary, _) = chronicle.finish(&Targets::default(), None);
    assert_eq!(summary.server.unwrap().cpu_seconds, 3.75);
}

#[tokio::test(start_paused = true)]
async fn cpu_is_divided_by_the_time_between_the_readings_however_late_the_books_come() {
    let epoch = Instant::now();
    let mut chronicle = Chronicle::new(Duration::ZERO, epoch);
    let read: Vec<Sides> = (1..=3)
        .map(|second| Sides {
            at: epoch + SECOND * second,
            server: Some(usage(f64::from(second) * 0.5, 1)),
            ..Sides::default()
        })
        .collect();
    // A worker told of three seconds at once.
    advance(SECOND * 5).await;
    let rows =
        read.into_iter().zip(1..).map(|(sides, second)| chronicle.second(second, Book::default(), sides));
    let cpu: Vec<f64> = rows.map(|row| row.server.unwrap().cpu_seconds).collect();
    assert_eq!(cpu, [0.5, 0.5, 0.5]);
}

#[tokio::test(start_paused = true)]
async fn requests_and_bytes_of_the_origin_are_of_their_second() {
    let mut chronicle = Chronicle::new(Duration::ZERO, Instant::now());
    let told: Vec<(u64, u64)> = [Some(10), None, Some(35)]
        .into_iter()
        .zip(1..)
        .map(|(requests, second)| {
            let ledger = requests.and_then(|requests| sides(0.0, requests).ledger);
            let row = chronicle.second(second, Book::default(), Sides { ledger, ..Sides::default() });
            (row.origin_requests, row.origin_bytes)
        })
        .collect();
    assert_eq!(told, [(10, 1_000), (0, 0), (25, 2_500)]);
}
