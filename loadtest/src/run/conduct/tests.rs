//! What a run comes to when sources tell, fall silent, or make no sense, and when it is interrupted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use tokio::sync::mpsc::{self, Sender};

use super::*;
use crate::measure::{Met, Recorder};
use crate::run::fake;
use crate::run::usage::Root;
use crate::server::CacheFiles;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn progress() -> Progress {
    Progress::new("fake", "nobody", ms(60_000), false)
}

/// So many who arrived.
fn book(arrived: u32) -> Box<Book> {
    let recorder = Recorder::new();
    (0..arrived).for_each(|viewer| recorder.met(viewer, Met::Arrived));
    Box::new(recorder.drain())
}

async fn second(news: &Sender<News>, source: usize, second: u32, arrived: u32) {
    let usage = Some(Usage { cpu_seconds: 0.5, resident_bytes: 1 << 40 });
    let what = What::Second { second, book: book(arrived), usage };
    news.send(News { source, what }).await.unwrap();
}

async fn end(news: &Sender<News>, source: usize) {
    news.send(News { source, what: What::Ended { spoiled: Vec::new() } }).await.unwrap();
}

/// What a run of so many seconds with two sources comes to.
async fn came<F: Future<Output = ()>>(
    seconds: u64,
    stop: &Stop,
    tell: impl FnOnce(Sender<News>, Instant) -> F,
) -> Came {
    let scenario = fake::scenario(10, seconds);
    let epoch = Instant::now() + ms(100);
    let (news, mut told) = mpsc::channel(16);
    let (tells, mut happened) = mpsc::channel(16);
    tells.send(Happened { after: ms(1_500), text: "something".to_owned(), spoils: false }).await.unwrap();
    drop(tells);
    let names = vec!["worker 0".to_owned(), "worker 1".to_owned()];
    let meter = Meter::start(Root::default(), CacheFiles::default(), None).unwrap();
    let mut conductor = Conductor::new(&scenario, epoch, names, meter, None, progress());
    let (listened, ()) = tokio::join!(conductor.listen(&mut told, &mut happened, stop), tell(news, epoch));
    listened.unwrap();
    conductor.finish()
}

#[tokio::test(start_paused = true)]
async fn rows_have_what_all_sources_told_and_what_workers_took() {
    let came = came(3, &Stop::new(), |news, epoch| async move {
        for at in 1..=3 {
            sleep_until(epoch + ms(u64::from(at) * 1000)).await;
            second(&news, 0, at, at).await;
            second(&news, 1, at, 10).await;
        }
        end(&news, 0).await;
        end(&news, 1).await;
    })
    .await;
    let rows: Vec<_> = came.rows.iter().map(|row| (row.second, row.arrived)).collect();
    assert_eq!(rows, [(1, 11), (2, 12), (3, 13)]);
    for row in &came.rows {
        let tester = row.tester.unwrap();
        assert!(tester.cpu_seconds > 0.9 && tester.resident_bytes > 2 << 40, "{row:?}");
        assert!(row.server.is_none() && row.origin.is_none());
    }
    assert_eq!(came.marks, [(1.5, "something".to_owned())]);
    assert!(came.spoiled.is_empty(), "{:?}", came.spoiled);
    assert_eq!(came.summary.viewers.arrived, 36);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_lost_is_named_and_the_run_goes_on_with_what_it_told() {
    let came = came(4, &Stop::new(), |news, epoch| async move {
        for at in 1..=4 {
            sleep_until(epoch + ms(u64::from(at) * 1000)).await;
            second(&news, 0, at, 1).await;
            if at <= 2 {
                second(&news, 1, at, 1).await;
            }
        }
        news.send(News { source: 1, what: What::Lost { why: "its connection ended".to_owned() } })
            .await
            .unwrap();
        end(&news, 0).await;
    })
    .await;
    let rows: Vec<_> = came.rows.iter().map(|row| (row.second, row.arrived)).collect();
    assert_eq!(rows, [(1, 2), (2, 2), (3, 1), (4, 1)]);
    assert_eq!(came.spoiled, ["worker 1 was lost: its connection ended"]);
    assert!(came.marks.iter().any(|(_, text)| text.contains("worker 1 was lost")), "{:?}", came.marks);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_makes_no_sense_is_lost_and_its_second_is_not_counted_twice() {
    let came = came(2, &Stop::new(), |news, epoch| async move {
        sleep_until(epoch + ms(1000)).await;
        second(&news, 0, 1, 1).await;
        second(&news, 1, 1, 1).await;
        second(&news, 1, 1, 100).await;
        second(&news, 7, 1, 100).await;
        sleep_until(epoch + ms(2000)).await;
        second(&news, 0, 2, 1).await;
        end(&news, 0).await;
    })
    .await;
    assert_eq!(came.summary.viewers.arrived, 3);
    assert!(
        came.spoiled.iter().any(|why| why.contains("worker 1") && why.contains("no sense")),
        "{:?}",
        came.spoiled
    );
}

#[tokio::test(start_paused = true)]
async fn a_source_that_tells_of_seconds_to_come_is_lost_and_the_others_are_not() {
    let came = came(2, &Stop::new(), |news, epoch| async move {
        sleep_until(epoch + ms(1000)).await;
        second(&news, 0, 1, 1).await;
        second(&news, 1, 1, 1).await;
        // Twice, and the other would be over a minute behind.
        second(&news, 1, 60, 100).await;
        second(&news, 1, 120, 100).await;
        sleep_until(epoch + ms(2000)).await;
        second(&news, 0, 2, 1).await;
        end(&news, 0).await;
    })
    .await;
    let rows: Vec<_> = came.rows.iter().map(|row| (row.second, row.arrived)).collect();
    assert_eq!(rows, [(1, 2), (2, 1)]);
    assert!(came.spoiled.iter().all(|why| why.contains("worker 1")), "{:?}", came.spoiled);
    assert!(came.spoiled[0].contains("second 60 when the run's clock is at 1 s"), "{:?}", came.spoiled);
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_run_has_the_seconds_that_there_were() {
    let stop = Stop::new();
    let asks = stop.clone();
    let came = came(60, &stop, |news, epoch| async move {
        sleep_until(epoch + ms(1000)).await;
        second(&news, 0, 1, 3).await;
        second(&news, 1, 1, 4).await;
        sleep_until(epoch + ms(1700)).await;
        asks.ask();
        second(&news, 0, 2, 1).await;
        end(&news, 0).await;
        // It was a little later, and its clock had gone on.
        second(&news, 1, 2, 1).await;
        second(&news, 1, 3, 1).await;
        end(&news, 1).await;
    })
    .await;
    let rows: Vec<_> = came.rows.iter().map(|row| (row.second, row.arrived)).collect();
    assert_eq!(rows, [(1, 7), (2, 2), (3, 1)]);
    assert!(came.marks.contains(&(1.7, "interrupted".to_owned())), "{:?}", came.marks);
}

#[tokio::test(start_paused = true)]
async fn marks_do_not_fill_the_memory() {
    let scenario = fake::scenario(1, 1);
    let meter = Meter::start(Root::default(), CacheFiles::default(), None).unwrap();
    let mut conductor = Conductor::new(&scenario, Instant::now(), Vec::new(), meter, None, progress());
    for at in 0..(MARKS_MAX + 10) as u64 {
        conductor.mark(ms(at), "again".to_owned());
    }
    assert_eq!(conductor.finish().marks.len(), MARKS_MAX);
}
