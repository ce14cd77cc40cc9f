//! What a hit costs: CPU of the whole server per request, the node and nginx in turns under the same load by wrk.
//!
//! Before anything is measured, each server has shown that it answers from its cache and byte for byte.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::json;

use super::Plan;
use crate::content::Object;
use crate::origin::Origin;
use crate::report::{Report, median_min_max};
use crate::run::pins;
use crate::server::{Kind, Server};
use crate::{http1, proc, wrk};

/// The sizes measured, with their names and the most the node may cost as a multiple of nginx.
pub(super) const SIZES: [(&str, u64, f64); 2] = [("4 KB", 4 * 1024, 1.3), ("512 KB", 512 * 1024, 1.0)];

/// Worker threads of each server, and of wrk.
pub(super) const THREADS: usize = 2;

/// How long each server is under load before the first round, in seconds.
pub(super) const WARM_UP_SECONDS: u32 = 1;

/// Connections over which a hit is checked byte for byte, so that each worker of a server is likely to answer some.
const CHECKED_CONNECTIONS: usize = 8;

/// How long an object may take to become a hit after it was first fetched.
const BECOMES_HIT_MAX: Duration = Duration::from_secs(5);

/// The smallest share of the bytes due that wrk must have read: it prints three digits, and stops within a response.
const BYTES_READ_SHARE_MIN: f64 = 0.98;

/// How much is measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Rounds of each server, in turns
    #[arg(long, default_value_t = Self::default().rounds, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Seconds of one round
    #[arg(long, default_value_t = Self::default().seconds, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Connections of wrk
    #[arg(long, default_value_t = Self::default().connections, value_parser = clap::value_parser!(u32).range(2..=4096))]
    connections: u32,
    /// Leave the processors to the kernel also where there are four or more
    #[arg(long)]
    no_pin: bool,
}

/// One server in one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) cpu_us_per_request: f64,
    pub(super) cpu_ms_per_gb: f64,
    /// CPU of wrk: over loopback the sender's work may turn up with the receiver.
    client_cpu_us_per_request: f64,
    pub(super) requests_per_second: f64,
}

// === impl Arguments ===

impl Default for Arguments {
    fn default() -> Self {
        Self { rounds: 5, seconds: 3, connections: 64, no_pin: false }
    }
}

impl Arguments {
    /// Sizes for a look rather than a figure to quote.
    pub(super) fn quick() -> Self {
        Self { rounds: 3, seconds: 2, ..Self::default() }
    }
}

/// Measures every size on every server and prints a table per size.
pub(crate) async fn run(plan: &Plan, arguments: &Arguments, report: &mut Report) -> Result<()> {
    report.heading("hits: CPU of the whole server per hit, HTTP/1.1");
    if wrk::version().await.is_none() {
        report.say("wrk: not installed, skipped (Debian: apt-get install wrk)");
        return Ok(());
    }
    let pins = if arguments.no_pin { None } else { pins::split()? };
    report.say(&match &pins {
        Some((servers, client)) => format!("servers on processors {servers}, wrk on {client}"),
        None => "processors left to the kernel".to_owned(),
    });
    report.say(&format!(
        "TCP congestion control: {}",
        proc::congestion_control().unwrap_or_else(|| "unknown".to_owned())
    ));
    let (server_cpus, client_cpus) = pins.unzip();
    let mut setup = plan.setup("1GiB");
    setup.cpus = server_cpus;
    let load = wrk::Load {
        threads: THREADS as u32,
        connections: arguments.connections,
        seconds: arguments.seconds,
        cpus: client_cpus,
        host: None,
    };
    let origin = Origin::start()?;
    let mut servers = Vec::new();
    for kind in plan.servers.iter().filter(|kind| **kind != Kind::Direct) {
        servers.push(Server::start(*kind, &setup, &origin).await?);
    }
    for (name, size, ratio_max) in SIZES {
        let object = Object::new("hit", size, Duration::ZERO);
        for server in &servers {
            check_hit(server, &object).await.with_context(|| server.kind.as_str())?;
            wrk::run(&wrk::Load { seconds: WARM_UP_SECONDS, ..load.clone() }, &url(server, &object)).await?;
        }
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); servers.len()];
        for round in 0..arguments.rounds {
            for (server, samples) in servers.iter().zip(&mut samples) {
                let sample = measure(server, &object, &load).await.with_context(|| server.kind.as_str())?;
                report.row(json!({
                    "bench": "hits", "server": server.kind.as_str(), "object_bytes": size, "round": round,
                    "cpu_us_per_request": sample.cpu_us_per_request, "cpu_ms_per_gb": sample.cpu_ms_per_gb,
                    "client_cpu_us_per_request": sample.client_cpu_us_per_request,
                    "requests_per_second": sample.requests_per_second,
                }));
                samples.push(sample);
            }
        }
        print(name, ratio_max, &servers, &samples, report);
        // Each server has fetched the object once; more means that what was measured were not hits.
        let asked = origin.requests(&object);
        ensure!(asked <= servers.len() as u64, "{}: {asked} origin requests", object.path);
    }
    Ok(())
}

/// Fetches the object until it is a hit, then checks it on fresh connections.
pub(super) async fn check_hit(server: &Server, object: &Object) -> Result<()> {
    let mut client = http1::Client::connect(server.http).await?;
    let deadline = Instant::now() + BECOMES_HIT_MAX;
    while !client.get(object).await?.hit {
        if Instant::now() > deadline {
            bail!("{}: not a hit after {BECOMES_HIT_MAX:?} of requests", object.path);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..CHECKED_CONNECTIONS {
        let timing = http1::Client::connect(server.http).await?.get(object).await?;
        ensure!(timing.hit, "{}: first a hit, then none", object.path);
    }
    Ok(())
}

pub(super) async fn measure(server: &Server, object: &Object, load: &wrk::Load) -> Result<Sample> {
    let pid = server.pid()?;
    let before = (proc::tree_cpu(pid)?, proc::ended_children_cpu()?);
    let outcome = wrk::run(load, &url(server, object)).await?;
    let cpu = proc::tree_cpu(pid)?.saturating_sub(before.0).as_secs_f64();
    let client_cpu = proc::ended_children_cpu()?.saturating_sub(before.1).as_secs_f64();
    ensure!(outcome.errors == 0, "{}: wrk counted {} errors", object.path, outcome.errors);
    ensure!(outcome.requests > 0, "{}: wrk completed no request", object.path);
    let body_bytes = (outcome.requests * object.size) as f64;
    ensure!(outcome.bytes >= body_bytes * BYTES_READ_SHARE_MIN, "{}: wrk read too few bytes", object.path);
    Ok(Sample {
        cpu_us_per_request: cpu * 1e6 / outcome.requests as f64,
        cpu_ms_per_gb: cpu * 1e3 / (body_bytes / 1e9),
        client_cpu_us_per_request: client_cpu * 1e6 / outcome.requests as f64,
        requests_per_second: outcome.requests as f64 / outcome.seconds,
    })
}

fn print(name: &str, ratio_max: f64, servers: &[Server], samples: &[Vec<Sample>], report: &mut Report) {
    let column =
        |samples: &[Sample], value: fn(&Sample) -> f64| -> Vec<f64> { samples.iter().map(value).collect() };
    let cell = |values: &[f64], digits: usize| {
        let (median, min, max) = median_min_max(values);
        format!("{median:.digits$} ({min:.digits$}..{max:.digits$})")
    };
    let mut rows = Vec::new();
    for (server, samples) in servers.iter().zip(samples) {
        rows.push(vec![
            server.kind.as_str().to_owned(),
            cell(&column(samples, |s| s.cpu_us_per_request), 1),
            cell(&column(samples, |s| s.cpu_ms_per_gb), 0),
            cell(&column(samples, |s| s.client_cpu_us_per_request), 1),
            cell(&column(samples, |s| s.requests_per_second), 0),
        ]);
    }
    let of = |kind| servers.iter().position(|server| server.kind == kind).map(|index| &samples[index]);
    if let (Some(node), Some(nginx)) = (of(Kind::Forebay), of(Kind::Nginx)) {
        let ratios = |value: fn(&Sample) -> f64| -> Vec<f64> {
            node.iter().zip(nginx).map(|(node, nginx)| value(node) / value(nginx)).collect()
        };
        let cpu = ratios(|s| s.cpu_us_per_request);
        let rate = cell(&ratios(|s| s.requests_per_second), 2);
        let client = cell(&ratios(|s| s.client_cpu_us_per_request), 2);
        rows.push(vec!["forebay / nginx".into(), cell(&cpu, 2), cell(&cpu, 2), client, rate]);
        let (median, _, _) = median_min_max(&cpu);
        report.target(&format!("{name} hit: CPU beside nginx's"), Some(median), ratio_max, "times");
    }
    report.table(
        &[&format!("{name} hit"), "CPU µs/request", "CPU ms/GB", "wrk's µs/request", "requests/s"],
        &rows,
    );
}

pub(super) fn url(server: &Server, object: &Object) -> String {
    format!("http://{}{}", server.http, object.path)
}
