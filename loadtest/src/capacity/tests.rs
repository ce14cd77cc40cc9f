//! What is printed, from computed runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use super::*;
use crate::measure::summary::{Usage, Verdict};
use crate::scenario::{Arrivals, Audience, Spread, Targets};

fn scenario(viewers: &[u32]) -> Scenario {
    let arrivals = |viewers: &u32| Arrivals {
        at: Duration::ZERO,
        over: Duration::from_secs(1),
        viewers: *viewers,
        spread: Spread::Even,
    };
    Scenario {
        name: "steady".into(),
        about: String::new(),
        seed: 1,
        duration: Duration::from_secs(10),
        warm_up: Duration::ZERO,
        streams: Vec::new(),
        audience: Audience { arrivals: viewers.iter().map(arrivals).collect(), stay: None, zipf: 0.0 },
        groups: Vec::new(),
        events: Vec::new(),
        faults: Vec::new(),
        token: None,
        targets: Targets::default(),
    }
}

fn summary(viewers: u32, holds: bool, pacing_p99: f64) -> Summary {
    let mut summary = Summary { seconds: 10.0, server_idle_bytes: Some(10 << 20), ..Summary::default() };
    summary.viewers.most = u64::from(viewers);
    summary.viewers.played_seconds = f64::from(viewers) * 10.0;
    summary.requests.gbit_per_second = 4.0;
    summary.requests.per_second = 1234.4;
    summary.server = Some(Usage { cpu_seconds: 5.0, resident_bytes: 110 << 20 });
    summary.pacing.p99 = pacing_p99;
    let measured = if holds { 0.1 } else { 2.5 };
    summary.targets = vec![Verdict {
        target: "startup_p95_seconds".into(),
        measured,
        at_most: 2.0,
        met: holds,
        ..Verdict::default()
    }];
    summary
}

async fn found(capacity: u32, late_from: u32, most: u32) -> Found {
    let bounds = Bounds { from: 1000, most, steps_max: 40, precision: 0.1 };
    let step = async |viewers: u32| {
        let pacing = if viewers >= late_from { 0.05 } else { 0.001 };
        Ok(trial::finished("forebay", &summary(viewers, viewers <= capacity, pacing)))
    };
    search::search(&bounds, step, |_| {}, || false).await.unwrap()
}

#[tokio::test]
async fn what_was_found_names_viewers_and_rates_and_cost_and_the_target_that_broke() {
    let text = told(Kind::Forebay, &scenario(&[1]), &found(2000, u32::MAX, 100_000).await).join("\n");
    for part in [
        "forebay carries 2000 viewers of steady at a time",
        "startup_p95_seconds breaks (2.5000, at most 2)",
        "4.00 Gbit/s, 1234 requests/s",
        // Half a processor and 100 MiB for 2,000 viewers.
        "forebay took 0.250 processors and, with what it has cached, 50.0 MiB",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("tester"), "{text}");
}

#[tokio::test]
async fn a_limit_of_the_testers_is_not_said_to_be_the_servers() {
    let found = found(100_000, 3000, 100_000).await;
    let text = told(Kind::Nginx, &scenario(&[1]), &found).join("\n");
    assert!(text.contains("the tester itself was the limit") && text.contains("limit, not nginx"), "{text}");
    assert!(!text.contains("breaks"), "{text}");
    assert_eq!(as_json(found.limit().unwrap())["tester_was_the_limit"], true);
}

#[tokio::test]
async fn nothing_carried_and_nothing_broken_are_told_as_such() {
    let text = told(Kind::Ats, &scenario(&[1]), &found(0, u32::MAX, 100_000).await).join("\n");
    assert!(text.contains("ats carries no audience") && text.contains("startup_p95_seconds"), "{text}");
    let text = told(Kind::Ats, &scenario(&[1]), &found(u32::MAX, u32::MAX, 5000).await).join("\n");
    assert!(
        text.contains("carries 5000 viewers") && text.contains("nothing has broken up to the most"),
        "{text}"
    );
}

#[tokio::test]
async fn a_step_is_one_line_whatever_was_measured() {
    let found = found(1500, u32::MAX, 100_000).await;
    for tried in &found.tried {
        let text = line(tried);
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains(if tried.broke.is_some() { "breaks" } else { "carried" }), "{text}");
    }
    let mut tried = Tried { viewers: 5, broke: None, summary: summary(5, true, 0.001) };
    (tried.summary.viewers.bitrate, tried.summary.viewers.abandoned) = (2_345_000.0, 17);
    let text = line(&tried);
    assert!(text.contains("stalled 0.000 %, 2.35 Mbit/s each, 17 segments given up, errors"), "{text}");
    let json = as_json(&tried);
    assert_eq!((&json["bitrate"], &json["abandoned"]), (&json!(2_345_000.0), &json!(17)));
    let bare = Tried { viewers: 5, broke: None, summary: Summary::default() };
    assert!(line(&bare).contains("CPU - per 1,000"), "{}", line(&bare));
}

#[tokio::test]
async fn a_break_that_was_met_once_is_said_to_be_such() {
    let found = async |steps_max| {
        let bounds = Bounds { from: 1000, most: 100_000, steps_max, precision: 0.1 };
        let step =
            async |viewers: u32| Ok(trial::finished("forebay", &summary(viewers, viewers <= 2000, 0.001)));
        search::search(&bounds, step, |_| {}, || false).await.unwrap()
    };
    let report = Report::new(json!({}));
    for (steps_max, is_once) in [(3, true), (4, false)] {
        let found = found(steps_max).await;
        let text = told(Kind::Forebay, &scenario(&[1]), &found).join("\n");
        assert!(text.contains("with 4000 startup_p95_seconds breaks"), "{text}");
        assert_eq!(text.contains("once only: the steps had come to their end"), is_once, "{text}");
        let json = found_json(Kind::Forebay, &scenario(&[1]), &found, &report);
        assert_eq!(json["broke_once_only"], is_once);
    }
}

#[tokio::test]
async fn a_search_that_ended_before_its_time_says_why_and_what_was_found() {
    let bounds = Bounds { from: 1000, most: 100_000, steps_max: 40, precision: 0.1 };
    let step = async |viewers: u32| {
        anyhow::ensure!(viewers <= 2000, "no port");
        Ok(trial::finished("forebay", &summary(viewers, true, 0.001)))
    };
    let found = search::search(&bounds, step, |_| {}, || false).await.unwrap();
    let text = told(Kind::Forebay, &scenario(&[1]), &found).join("\n");
    assert!(text.contains("ended before its time: no port") && text.contains("carries 2000"), "{text}");
    let json = found_json(Kind::Forebay, &scenario(&[1]), &found, &Report::new(json!({})));
    assert_eq!((&json["failed"], &json["carried"]["audience"]), (&json!("no port"), &json!(2000)));
}
