//! Threads of viewers: who runs where, that they end, and what they cost with viewers who do nothing but keep time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::*;
use crate::proc::Processes;
use crate::run::fake;
use crate::run::news::NEWS_MAX;

fn common(duration: Duration) -> (Common, mpsc::Receiver<News>) {
    let (news, told) = mpsc::channel(NEWS_MAX);
    let epoch = Instant::now() + Duration::from_millis(50);
    (Common { epoch, duration, stop: Stop::new(), news, cpus: None }, told)
}

/// Everything that is told until nobody is left who could.
async fn all(common: Common, mut told: mpsc::Receiver<News>) -> Vec<News> {
    drop(common);
    let mut all = Vec::new();
    while let Some(news) = told.recv().await {
        all.push(news);
    }
    all
}

fn ended(all: &[News]) -> Vec<(usize, Vec<String>)> {
    let mut ended: Vec<_> = all
        .iter()
        .filter_map(|news| match &news.what {
            What::Ended { spoiled } => Some((news.source, spoiled.clone())),
            What::Lost { why } => Some((news.source, vec![why.clone()])),
            What::Second { .. } => None,
        })
        .collect();
    ended.sort();
    ended
}

#[test]
fn a_viewers_number_says_which_worker_and_which_thread_it_belongs_to() {
    let all = fake::tickets(100, Duration::ZERO, Duration::from_secs(1));
    let numbers = |lists: &[Vec<Ticket>]| -> Vec<Vec<u32>> {
        lists.iter().map(|list| list.iter().map(|ticket| ticket.viewer).collect()).collect()
    };
    let lists = numbers(&by_thread(all.clone(), 1, 3));
    assert!(lists.iter().enumerate().all(|(at, list)| list.iter().all(|viewer| *viewer as usize % 3 == at)));
    let mut theirs = all;
    theirs.retain(|ticket| ticket.viewer % 4 == 1);
    let lists = numbers(&by_thread(theirs, 4, 2));
    assert_eq!((lists[0].len(), lists[1].len()), (13, 12));
    assert_eq!(lists[0][..3], [1, 9, 17]);
    assert!(lists.concat().iter().all(|viewer| viewer % 4 == 1));
}

#[tokio::test]
async fn every_thread_tells_of_every_second_and_of_its_end() {
    let (common, told) = common(Duration::from_millis(1_100));
    let lists = by_thread(fake::tickets(50, Duration::ZERO, Duration::from_millis(900)), 1, 3);
    let (epoch, end) = (common.epoch, common.duration);
    let crew = Crew::start(lists, &common, move |recorder: &Recorder| {
        let recorder = recorder.clone();
        Ok(move |ticket| fake::watch(recorder.clone(), ticket, epoch, end))
    })
    .unwrap();
    let all = all(common, told).await;
    crew.join();
    assert_eq!(ended(&all), [(0, vec![]), (1, vec![]), (2, vec![])]);
    for source in 0..3 {
        let seconds: Vec<_> = all
            .iter()
            .filter(|news| news.source == source)
            .filter_map(
                |news| if let What::Second { second, .. } = &news.what { Some(*second) } else { None },
            )
            .collect();
        assert_eq!(seconds, [1, 2], "thread {source}");
    }
}

#[tokio::test]
async fn a_thread_that_breaks_or_cannot_begin_says_so() {
    let (common, told) = common(Duration::from_secs(600));
    let number = Arc::new(AtomicU64::new(0));
    let crew = Crew::start(vec![Vec::new(), Vec::new()], &common, move |_: &Recorder| {
        assert!(number.fetch_add(1, Ordering::Relaxed) != 0, "a defect that this test makes");
        if number.load(Ordering::Relaxed) == 2 {
            anyhow::bail!("no such network");
        }
        Ok(|_: Ticket| async {})
    })
    .unwrap();
    let all = all(common, told).await;
    crew.join();
    let mut why: Vec<_> = ended(&all).into_iter().flat_map(|(_, why)| why).collect();
    why.sort();
    assert_eq!(why.len(), 2);
    assert!(why[0].contains("defect") && why[1].contains("no such network"), "{why:?}");
}

#[tokio::test]
async fn a_crew_that_is_to_stop_ends_long_before_its_run() {
    let (common, told) = common(Duration::from_secs(600));
    let stop = common.stop.clone();
    let lists = by_thread(fake::tickets(20, Duration::ZERO, Duration::ZERO), 1, 2);
    let epoch = common.epoch;
    let crew = Crew::start(lists, &common, move |recorder: &Recorder| {
        let recorder = recorder.clone();
        Ok(move |ticket| fake::watch(recorder.clone(), ticket, epoch, Duration::from_secs(600)))
    })
    .unwrap();
    stop.ask();
    let all = all(common, told).await;
    crew.join();
    assert_eq!(ended(&all).len(), 2);
}

/// How late timers of viewers who do nothing else are, and what they cost: `cargo test --release pacing_of -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement: it takes 15 s and shows figures"]
async fn pacing_of_viewers_who_do_nothing_but_keep_time() {
    for viewers in [5_000, 10_000] {
        let (mut common, told) = common(Duration::from_secs(7));
        common.epoch += Duration::from_millis(500);
        let cpus = crate::proc::allowed_cpus().unwrap();
        common.cpus = (cpus.len() >= 4).then(|| cpus[cpus.len() / 2..].to_vec());
        let late_us = Arc::new(std::sync::Mutex::new(Histogram::<u64>::new(3).unwrap()));
        let (epoch, shared) = (common.epoch, Arc::clone(&late_us));
        let lists = by_thread(fake::tickets(viewers, Duration::ZERO, Duration::from_secs(1)), 1, 2);
        let own = std::process::id();
        let resident = crate::proc::resident_bytes(own).unwrap();
        let cpu = Processes::now().unwrap().cpu(own).unwrap();
        let crew = Crew::start(lists, &common, move |_: &Recorder| {
            let shared = Arc::clone(&shared);
            Ok(move |ticket: Ticket| {
                let shared = Arc::clone(&shared);
                async move {
                    for tick in 0..5 {
                        let due = epoch + ticket.arrives + Duration::from_secs(tick);
                        sleep_until(due).await;
                        let late = u64::try_from(due.elapsed().as_micros()).unwrap();
                        shared.lock().unwrap().record(late).unwrap();
                    }
                }
            })
        })
        .unwrap();
        let grown = sleep_until(epoch + Duration::from_secs(3));
        grown.await;
        let grown = crate::proc::resident_bytes(own).unwrap().saturating_sub(resident);
        all(common, told).await;
        crew.join();
        let cpu = Processes::now().unwrap().cpu(own).unwrap() - cpu;
        let late_us = late_us.lock().unwrap();
        eprintln!(
            "{viewers} viewers, a timer each second, 2 threads: late p50 {} us, p99 {} us, max {} us (of 1 s: mean {:.4} %), CPU \
             {cpu:?} in 7 s, {} bytes a viewer",
            late_us.value_at_quantile(0.5),
            late_us.value_at_quantile(0.99),
            late_us.max(),
            late_us.mean() / 10_000.0,
            grown / u64::from(viewers),
        );
        assert_eq!(late_us.len(), u64::from(viewers) * 5);
    }
}
