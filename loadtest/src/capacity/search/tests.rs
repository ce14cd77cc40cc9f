//! The search against computed servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::cell::Cell;

use anyhow::bail;

use super::*;
use crate::measure::summary::Verdict;
use crate::trial;

const BOUNDS: Bounds = Bounds { from: 100, most: 100_000, steps_max: 60, precision: 0.05 };

/// A run in which the server holds, or misses its start-up time.
fn run(viewers: u32, holds: bool) -> Finished {
    let mut summary = Summary { seconds: 10.0, ..Summary::default() };
    summary.viewers.most = u64::from(viewers);
    summary.targets = vec![
        Verdict {
            target: "stall_ratio".into(),
            measured: 0.0,
            at_most: 0.001,
            met: true,
            ..Verdict::default()
        },
        Verdict {
            target: "startup_p95_seconds".into(),
            measured: 2.5,
            at_most: 2.0,
            met: holds,
            ..Verdict::default()
        },
    ];
    trial::finished("forebay", &summary)
}

async fn find(bounds: &Bounds, mut holds: impl FnMut(u32) -> bool) -> Found {
    search(bounds, async |viewers| Ok(run(viewers, holds(viewers))), |_| {}, || false).await.unwrap()
}

fn ends(found: &Found) -> (Option<u32>, Option<u32>) {
    (found.carried().map(|tried| tried.viewers), found.limit().map(|tried| tried.viewers))
}

#[tokio::test]
async fn the_place_where_a_server_breaks_is_found_as_closely_as_asked_wherever_it_is() {
    for capacity in [1, 2, 3, 99, 100, 101, 640, 4_711, 51_234, 99_999] {
        for precision in [0.01, 0.05, 0.5] {
            let bounds = Bounds { precision, ..BOUNDS };
            let found = find(&bounds, |viewers| viewers <= capacity).await;
            let (Some(good), Some(bad)) = ends(&found) else { panic!("{capacity}: {found:?}") };
            assert!(good <= capacity && bad > capacity, "{capacity}: {good} and {bad}");
            assert!(
                bad - good == 1 || f64::from(bad - good) <= f64::from(good) * precision,
                "{good} and {bad}"
            );
            assert!(found.is_narrow && !found.is_testers(), "{capacity}");
        }
    }
}

#[tokio::test]
async fn a_server_that_never_breaks_is_tried_up_to_the_most_and_no_further() {
    let found = find(&Bounds { most: 1_000, ..BOUNDS }, |_| true).await;
    assert_eq!(
        found.tried.iter().map(|tried| tried.viewers).collect::<Vec<_>>(),
        [100, 200, 400, 800, 1_000]
    );
    assert_eq!(ends(&found), (Some(1_000), None));
    assert!(found.is_narrow);
}

#[tokio::test]
async fn a_server_that_breaks_at_once_is_tried_down_to_one_viewer() {
    let found = find(&BOUNDS, |_| false).await;
    assert_eq!(ends(&found), (None, Some(1)));
    assert!(found.is_narrow && found.tried.len() < 20);
    let found = find(&BOUNDS, |viewers| viewers <= 7).await;
    assert_eq!(ends(&found), (Some(7), Some(8)));
}

#[tokio::test]
async fn one_bad_run_decides_nothing() {
    // Every first run with an audience is bad, every second one tells the truth.
    let mut seen = std::collections::HashSet::new();
    let found = find(&BOUNDS, |viewers| !seen.insert(viewers) && viewers <= 1_000).await;
    let (good, bad) = ends(&found);
    assert!(
        good.unwrap() <= 1_000 && bad.unwrap() > 1_000 && bad.unwrap() - good.unwrap() <= 50,
        "{found:?}"
    );
}

#[tokio::test]
async fn with_noise_the_search_ends_and_what_it_says_was_measured() {
    for seed in 1_u64..200 {
        let mut state = seed;
        let found = find(&BOUNDS, |viewers| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Breaks somewhere between 3,000 and 5,000, as it comes.
            viewers < 3_000 + (state >> 40) as u32 % 2_000
        })
        .await;
        let (Some(good), Some(bad)) = ends(&found) else { panic!("seed {seed}: {found:?}") };
        assert!(
            good < bad && good < 5_000 && bad >= 3_000 && found.is_narrow,
            "seed {seed}: {good} and {bad}"
        );
        assert!(found.carried().unwrap().broke.is_none() && found.limit().unwrap().broke.is_some());
    }
}

#[tokio::test]
async fn the_steps_come_to_an_end_and_what_was_found_by_then_is_told() {
    for steps_max in 1..12 {
        let bounds = Bounds { steps_max, ..BOUNDS };
        let found = find(&bounds, |viewers| viewers <= 3_000).await;
        assert_eq!(found.tried.len(), steps_max as usize);
        assert!(!found.is_narrow, "{steps_max}");
        // The last of an odd number of breaks had no second run.
        let broken = found.tried.iter().rev().take_while(|tried| tried.broke.is_some()).count();
        assert_eq!(found.is_once, broken % 2 == 1, "{steps_max}: {found:?}");
        let (good, bad) = ends(&found);
        assert!(good.is_some_and(|good| good <= 3_000) && bad.is_none_or(|bad| bad > 3_000), "{steps_max}");
    }
}

#[tokio::test]
async fn a_tester_that_is_late_is_named_in_place_of_the_server() {
    let late = async |viewers: u32| {
        let mut finished = run(viewers, viewers <= 700);
        finished.summary.pacing.p99 = if viewers > 500 { 0.03 } else { 0.001 };
        Ok(finished)
    };
    let found = search(&BOUNDS, late, |_| {}, || false).await.unwrap();
    assert!(found.is_testers(), "{found:?}");
    let (good, bad) = ends(&found);
    assert!(good.unwrap() <= 500 && bad.unwrap() > 500);
    assert!(found.limit().unwrap().broke.as_ref().unwrap().text().contains("tester was late itself"));
}

#[tokio::test]
async fn who_wants_it_to_end_gets_what_was_found_by_then() {
    let (runs, over) = (Cell::new(0), Cell::new(false));
    let step = async |viewers| {
        runs.set(runs.get() + 1);
        // Interrupted within the third run, which is then no whole one.
        over.set(runs.get() == 3);
        Ok(run(viewers, true))
    };
    let mut told = Vec::new();
    let found = search(&BOUNDS, step, |tried| told.push(tried.viewers), || over.get()).await.unwrap();
    assert_eq!((runs.get(), told, ends(&found)), (3, vec![100, 200], (Some(200), None)));
}

#[tokio::test]
async fn a_run_that_is_none_to_go_by_ends_the_search_and_says_why() {
    let step = async |viewers| {
        let mut finished = run(viewers, true);
        finished.spoiled.push("the server has ended".into());
        Ok(finished)
    };
    let error = search(&BOUNDS, step, |_| {}, || false).await.unwrap_err();
    assert!(error.to_string().contains("100 viewers") && error.to_string().contains("the server has ended"));
    let failed = async |_: u32| bail!("no port");
    assert!(search(&BOUNDS, failed, |_| {}, || false).await.is_err());
}

#[tokio::test]
async fn a_run_that_fails_after_something_was_carried_ends_the_search_with_what_was_found() {
    for spoils in [true, false] {
        let step = async |viewers| {
            if viewers <= 200 {
                return Ok(run(viewers, true));
            }
            if !spoils {
                bail!("no port");
            }
            let mut finished = run(viewers, true);
            finished.spoiled.push("the server has ended".into());
            Ok(finished)
        };
        let found = search(&BOUNDS, step, |_| {}, || false).await.unwrap();
        assert_eq!((ends(&found), found.tried.len(), found.is_narrow), ((Some(200), None), 2, false));
        let why = found.failed.unwrap();
        assert!(why.contains(if spoils { "the server has ended" } else { "no port" }), "{why}");
    }
}
