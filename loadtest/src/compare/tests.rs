//! Rounds, tables and remarks from computed runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::cell::Cell;

use anyhow::bail;

use super::rounds::{Run, rounds};
use super::*;
use crate::measure::summary::{OriginSide, PerObject, Quantiles, Summary, Usage, Verdict};

const SERVERS: [Kind; 3] = [Kind::Forebay, Kind::Nginx, Kind::Varnish];

/// A run of 10 s with 600 viewers, whose server took so much CPU.
fn summary(cpu_seconds: f64) -> Summary {
    let mut summary = Summary { seconds: 10.0, ..Summary::default() };
    summary.viewers.played_seconds = 6000.0;
    summary.viewers.startup_ms = Quantiles { count: 600, p95: 250.0, ..Quantiles::default() };
    (summary.viewers.bitrate, summary.viewers.abandoned) = (2_345_000.0, 17);
    summary.requests.count = 1000;
    summary.requests.bytes = 2_000_000_000;
    summary.requests.hit_ratio = 0.985;
    summary.ttfb_ms = Quantiles { count: 900, p50: 0.5, p99: 7.25, ..Quantiles::default() };
    summary.server = Some(Usage { cpu_seconds, resident_bytes: 64 << 20 });
    let asked = PerObject { objects: 40, requests: 42, ..PerObject::default() };
    summary.origin =
        Some(OriginSide { per_object: [("segment".to_owned(), asked)].into(), ..OriginSide::default() });
    summary
}

/// CPU by server and round: the machine is half as fast in round 1.
fn cpu(kind: Kind, round: u32) -> f64 {
    let own = match kind {
        Kind::Forebay => 2.0,
        Kind::Nginx => 3.0,
        _ => 5.0,
    };
    own * if round == 1 { 2.0 } else { 1.0 }
}

async fn compared() -> Vec<Run> {
    let run = async |kind: Kind, round| Ok(trial::finished(kind.as_str(), &summary(cpu(kind, round))));
    rounds(&SERVERS, 3, run, || false).await
}

fn row<'a>(table: &'a table::Table, name: &str) -> &'a [String] {
    table.rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{name}: {table:?}"))
}

#[tokio::test]
async fn every_server_is_run_once_in_each_round_and_another_one_is_first() {
    let runs = compared().await;
    let order: Vec<_> = runs.iter().map(|run| (run.round, run.kind.as_str())).collect();
    assert_eq!(
        order,
        [
            (0, "forebay"),
            (0, "nginx"),
            (0, "varnish"),
            (1, "nginx"),
            (1, "varnish"),
            (1, "forebay"),
            (2, "varnish"),
            (2, "forebay"),
            (2, "nginx"),
        ]
    );
}

#[tokio::test]
async fn medians_are_of_the_rounds_and_ratios_within_them() {
    let [medians, ratios] = table::tables(&SERVERS, &compared().await);
    assert_eq!(medians.header(), ["", "forebay", "nginx", "varnish"]);
    assert_eq!(ratios.header(), ["", "nginx", "varnish"]);
    let minutes = "CPU s/1,000 viewer-min";
    assert_eq!(row(&medians, minutes)[1..], ["20.0 (20.0..40.0)", "30.0 (30.0..60.0)", "50.0 (50.0..100)"]);
    // The slow round meets both sides of its ratio.
    assert_eq!(row(&ratios, minutes)[1..], ["1.50", "2.50"]);
    for (name, cell) in [
        ("start-up p95 ms", "250"),
        ("stalled %", "0.00"),
        ("bitrate Mbit/s", "2.35"),
        ("segments given up", "17"),
        ("hits %", "98.5"),
        ("origin asks/segment", "1.05"),
        ("segment TTFB p50 ms", "0.50"),
        ("segment TTFB p99 ms", "7.25"),
        ("CPU s/GB", "1.00 (1.00..2.00)"),
        ("memory peak MiB", "64"),
    ] {
        assert_eq!(row(&medians, name)[1], cell, "{name}");
    }
}

#[test]
fn a_run_is_a_line_of_the_figures_that_it_has() {
    let line = figures::line(&summary(2.0));
    assert!(
        line.starts_with("start-up p95 ms 250, stalled % 0.00, bitrate Mbit/s 2.35, segments given up 17"),
        "{line}"
    );
    assert!(line.ends_with("CPU s/GB 1.00, memory peak MiB 64"), "{line}");
    assert_eq!(figures::line(&Summary::default()), "segments given up 0, errors 0, wrong bodies 0");
}

#[tokio::test]
async fn what_was_not_measured_is_a_dash_and_nothing_is_a_multiple_of_zero() {
    let run = async |kind: Kind, _| {
        let mut summary = if kind == Kind::Varnish { Summary::default() } else { summary(1.0) };
        summary.requests.errors = u64::from(kind == Kind::Nginx);
        Ok(trial::finished(kind.as_str(), &summary))
    };
    let [medians, ratios] = table::tables(&SERVERS, &rounds(&SERVERS, 1, run, || false).await);
    assert_eq!(row(&medians, "start-up p95 ms")[3], "-");
    assert_eq!(row(&medians, "memory peak MiB")[3], "-");
    assert_eq!(row(&medians, "errors")[1..], ["0", "1", "0"]);
    assert_eq!(row(&ratios, "errors")[1..], ["-", "1.00"]);
}

#[tokio::test]
async fn a_run_that_fails_is_told_and_the_others_count() {
    let run = async |kind: Kind, round| {
        if kind == Kind::Nginx && round == 0 {
            bail!("no port");
        }
        let mut finished = trial::finished(kind.as_str(), &summary(1.0));
        if kind == Kind::Varnish && round == 1 {
            finished.spoiled.push("the server has ended".into());
        }
        finished.summary.requests.mismatches = u64::from(kind == Kind::Forebay);
        Ok(finished)
    };
    let runs = rounds(&SERVERS, 2, run, || false).await;
    let failures: Vec<_> = runs
        .iter()
        .flat_map(|run| run.failures().into_iter().map(|text| (run.kind, run.round, text)))
        .collect();
    assert_eq!(
        failures,
        [
            (Kind::Forebay, 0, "1 bodies with a wrong byte".to_owned()),
            (Kind::Nginx, 0, "no port".to_owned()),
            (Kind::Varnish, 1, "the server has ended".to_owned()),
            (Kind::Forebay, 1, "1 bodies with a wrong byte".to_owned()),
        ]
    );
    let json = table::as_json(&SERVERS, &runs);
    assert_eq!(json["nginx"]["memory_peak_mib"]["value"]["count"], 1);
    assert_eq!(json["nginx"]["memory_peak_mib"]["ratio_to_first"]["median"], 1.0);
    assert_eq!(json["forebay"]["memory_peak_mib"]["ratio_to_first"], serde_json::Value::Null);
    assert_eq!(runs[1].as_json()["failed"], "no port");
    assert_eq!(runs[0].as_json()["figures"]["mismatches"], 1.0);

    // Of the node it is an error of the comparison; of a peer it is told.
    let mut report = Report::new(json!({}));
    for run in runs.iter().filter(|run| run.kind != Kind::Forebay) {
        run.failures().iter().for_each(|text| report.failure(run.kind, text));
    }
    assert_eq!(report.finish(None).unwrap(), ExitCode::SUCCESS);
    run_failures(&runs, &mut report);
    assert_eq!(report.finish(None).unwrap(), ExitCode::FAILURE);
}

fn run_failures(runs: &[Run], report: &mut Report) {
    for run in runs {
        run.failures().iter().for_each(|text| report.failure(run.kind, text));
    }
}

#[tokio::test]
async fn missed_targets_and_a_late_tester_are_named_by_server() {
    let run = async |kind: Kind, round| {
        let mut summary = summary(1.0);
        summary.pacing.p99 = if kind == Kind::Nginx && round == 1 { 0.05 } else { 0.001 };
        let met = kind != Kind::Varnish;
        summary.targets = vec![Verdict {
            target: "stall_ratio".into(),
            measured: 0.5,
            at_most: 0.1,
            met,
            ..Verdict::default()
        }];
        Ok(trial::finished(kind.as_str(), &summary))
    };
    let remarks = table::remarks(&SERVERS, &rounds(&SERVERS, 3, run, || false).await);
    assert_eq!(remarks.len(), 2, "{remarks:?}");
    let late = "nginx: the tester was late itself in 1 of 3 rounds (late p99 5 %, at most 2 %)";
    assert!(remarks[0].starts_with(late), "{remarks:?}");
    assert_eq!(remarks[1], "varnish: stall_ratio missed in 3 of 3 rounds");
}

#[tokio::test]
async fn who_wants_it_to_end_gets_the_whole_runs_by_then() {
    let made = Cell::new(0);
    let run = async |kind: Kind, _| {
        made.set(made.get() + 1);
        Ok(trial::finished(kind.as_str(), &summary(1.0)))
    };
    let runs = rounds(&SERVERS, 3, run, || made.get() >= 5).await;
    assert_eq!((made.get(), runs.len(), rounds::count(&runs)), (5, 4, 2));
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_left_out_unless_ratios_are_to_it() {
    let setup = Setup { nginx: "/no/such/nginx".into(), ..Setup::default() };
    let scenario = crate::run::fake::scenario(1, 10);
    let report = Report::new(json!({}));
    let servers = taking_part(&scenario, &setup, &[Kind::Direct, Kind::Nginx], &report).await.unwrap();
    assert_eq!(servers, [Kind::Direct]);
    let error = taking_part(&scenario, &setup, &[Kind::Nginx, Kind::Direct], &report).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("nginx: not installed") && text.contains("first of --servers"), "{text}");
}
