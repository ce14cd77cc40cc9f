//! Many clients ask at once for one object nobody has: how often the origin is asked, and when the clients have their
//! first byte. All connections stand before the first request is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::Plan;
use crate::content::{OBJECT_BYTES_MAX, Object};
use crate::http1::{Client, Timing};
use crate::origin::Origin;
use crate::report::{Report, median_min_max};
use crate::server::{Kind, Server};

/// Connections that are being made at the same time.
const CONNECTING_MAX: usize = 64;

/// The most the median first byte may come after the origin's own, in milliseconds.
const BEHIND_ORIGIN_MS_MAX: f64 = 50.0;

/// How large the herd is and what it asks for.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Clients, one connection each
    #[arg(long, default_value_t = Self::default().clients, value_parser = clap::value_parser!(u32).range(1..=8000))]
    clients: u32,
    /// Size of the object in bytes
    #[arg(long, default_value_t = Self::default().object_bytes, value_parser = clap::value_parser!(u64).range(1..=OBJECT_BYTES_MAX))]
    object_bytes: u64,
    /// Over how many milliseconds the origin spreads the object
    #[arg(long, default_value_t = Self::default().pace_ms, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pace_ms: u64,
    /// Rounds, each with an object of its own and fresh connections
    #[arg(long, default_value_t = Self::default().rounds, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

/// One herd on one server.
#[derive(Debug)]
struct Outcome {
    origin_requests: u64,
    /// Whole and exact bodies.
    exact: u64,
    errors: Vec<String>,
    /// From a client's request to the first byte of its body, in microseconds.
    first_byte_us: Histogram<u64>,
    /// From the origin's first byte to a client's first byte, in microseconds.
    behind_origin_us: Histogram<u64>,
    last_byte_us: Histogram<u64>,
}

// === impl Arguments ===

impl Default for Arguments {
    fn default() -> Self {
        Self { clients: 1000, object_bytes: 2_000_000, pace_ms: 1000, rounds: 3 }
    }
}

impl Arguments {
    /// Sizes for a look rather than a figure to quote.
    pub(super) fn quick() -> Self {
        Self { rounds: 2, ..Self::default() }
    }
}

/// Sends the herd to every server and prints one table.
pub(crate) async fn run(plan: &Plan, arguments: &Arguments, report: &mut Report) -> Result<()> {
    let Arguments { clients, object_bytes, pace_ms, rounds } = *arguments;
    report.heading(&format!(
        "herd: {clients} clients at once, one cold object of {object_bytes} bytes that the origin sends over {pace_ms} ms"
    ));
    let mut rows = Vec::new();
    for kind in &plan.servers {
        let origin = Origin::start()?;
        let server = Server::start(*kind, &plan.setup("1GiB"), &origin).await?;
        let (mut behind, mut asked, mut errors) = (Vec::new(), 0, 0);
        for round in 0..rounds {
            let object = Object::new(&format!("herd-{round}"), object_bytes, Duration::from_millis(pace_ms));
            let outcome = stampede(server.http, &origin, &object, clients).await?;
            rows.push(row(*kind, round, &outcome, report));
            behind.push(milliseconds(&outcome.behind_origin_us, 0.5));
            asked = asked.max(outcome.origin_requests);
            errors += outcome.errors.len();
        }
        if *kind == Kind::Forebay {
            let measured = |value| (errors == 0).then_some(value);
            report.target("herd: origin requests", measured(asked as f64), 1.0, "");
            let (median, _, _) = median_min_max(&behind);
            report.target(
                "herd: median first byte behind the origin's",
                measured(median),
                BEHIND_ORIGIN_MS_MAX,
                "ms",
            );
        }
    }
    let header = [
        "herd",
        "origin requests",
        "exact",
        "errors",
        "TTFB p50 ms",
        "p99 ms",
        "p50 behind origin ms",
        "all p50 ms",
    ];
    report.table(&header, &rows);
    Ok(())
}

/// Connects all clients, releases them together, and waits for the last.
async fn stampede(host: SocketAddr, origin: &Origin, object: &Object, clients: u32) -> Result<Outcome> {
    let (release, released) = watch::channel(false);
    let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
    let (connected, mut all_connected) = watch::channel(0);
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (object, mut released) = (object.clone(), released.clone());
        let (connecting, connected) = (Arc::clone(&connecting), connected.clone());
        tasks.spawn(async move {
            let client = {
                let _permit = connecting.acquire().await;
                Client::connect(host).await
            };
            connected.send_modify(|count| *count += 1);
            // The sender is dropped only after it has sent.
            released.wait_for(|released| *released).await.ok();
            client?.get(&object).await
        });
    }
    all_connected.wait_for(|count| *count == clients).await.context("the clients")?;
    release.send_replace(true);
    let results = tasks.join_all().await;
    judge(origin, object, results)
}

fn judge(origin: &Origin, object: &Object, results: Vec<Result<Timing>>) -> Result<Outcome> {
    let histogram = || Histogram::new(3).context("a histogram");
    let mut outcome = Outcome {
        origin_requests: origin.requests(object),
        exact: 0,
        errors: Vec::new(),
        first_byte_us: histogram()?,
        behind_origin_us: histogram()?,
        last_byte_us: histogram()?,
    };
    let origin_first = origin.first_byte_at(object);
    for result in results {
        match result {
            Ok(timing) => {
                outcome.exact += 1;
                let us = |time: Duration| time.as_micros() as u64;
                outcome.first_byte_us.record(us(timing.first_byte_at - timing.asked_at))?;
                outcome.last_byte_us.record(us(timing.last_byte_at - timing.asked_at))?;
                let origin_first = origin_first.context("a body that the origin has not sent")?;
                outcome.behind_origin_us.record(us(timing.first_byte_at - origin_first))?;
            }
            Err(error) => outcome.errors.push(format!("{error:#}")),
        }
    }
    Ok(outcome)
}

fn row(kind: Kind, round: u32, outcome: &Outcome, report: &mut Report) -> Vec<String> {
    let name = kind.as_str();
    let times = [
        milliseconds(&outcome.first_byte_us, 0.5),
        milliseconds(&outcome.first_byte_us, 0.99),
        milliseconds(&outcome.behind_origin_us, 0.5),
        milliseconds(&outcome.last_byte_us, 0.5),
    ];
    report.row(json!({
        "bench": "herd", "server": name, "round": round, "origin_requests": outcome.origin_requests,
        "exact": outcome.exact, "errors": outcome.errors.len(), "first_byte_ms_p50": times[0],
        "first_byte_ms_p99": times[1], "behind_origin_ms_p50": times[2], "last_byte_ms_p50": times[3],
    }));
    for error in &outcome.errors {
        report.failure(kind, &format!("herd: {error}"));
    }
    let counts = [outcome.origin_requests, outcome.exact, outcome.errors.len() as u64];
    let mut row = vec![name.to_owned()];
    row.extend(counts.map(|count| count.to_string()));
    row.extend(times.map(|time| format!("{time:.1}")));
    row
}

fn milliseconds(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}
