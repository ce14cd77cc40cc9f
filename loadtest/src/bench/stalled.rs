//! A first viewer that never reads: what it costs the second viewer of the same cold object. The same round is also
//! made with a first viewer that does read; the difference between the two is the delay.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use tokio::task::JoinSet;

use super::Plan;
use crate::content::{OBJECT_BYTES_MAX, Object};
use crate::origin::Origin;
use crate::report::{Report, median_min_max};
use crate::server::{Kind, Server};
use crate::{http1, http2};

/// The most the second viewer may be delayed, in milliseconds.
const DELAY_MS_MAX: f64 = 100.0;

/// How much is measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Rounds with and rounds without the stalled viewer, each with an object of its own
    #[arg(long, default_value_t = Self::default().rounds, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Size of the object in bytes
    #[arg(long, default_value_t = Self::default().object_bytes, value_parser = clap::value_parser!(u64).range(1..=OBJECT_BYTES_MAX))]
    object_bytes: u64,
    /// Over how many milliseconds the origin spreads the object
    #[arg(long, default_value_t = Self::default().pace_ms, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pace_ms: u64,
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Http1,
    Http2,
}

/// A first viewer that stays away from its socket or its window until this is dropped.
#[derive(Debug)]
enum Stalled {
    Http1 { _viewer: http1::Stalled },
    Http2 { _viewer: http2::Stalled },
}

/// The second viewer's times in all rounds, in milliseconds, and how often the origin was asked at most in one.
#[derive(Debug, Default)]
struct Times {
    with_stalled: Vec<f64>,
    without: Vec<f64>,
    failed: u32,
    origin_requests_max: u64,
}

// === impl Arguments ===

impl Default for Arguments {
    fn default() -> Self {
        Self { rounds: 5, object_bytes: 32_000_000, pace_ms: 500 }
    }
}

impl Arguments {
    /// Sizes for a look rather than a figure to quote.
    pub(super) fn quick() -> Self {
        Self { rounds: 2, ..Self::default() }
    }
}

// === impl Protocol ===

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }

    async fn stall(self, server: &Server, object: &Object) -> Result<Stalled> {
        Ok(match self {
            Self::Http1 => Stalled::Http1 { _viewer: http1::Stalled::start(server.http, object).await? },
            Self::Http2 => {
                let h2c = server.h2c.context("no address for HTTP/2 over plaintext")?;
                Stalled::Http2 { _viewer: http2::Stalled::start(h2c, object).await? }
            }
        })
    }
}

/// Measures both protocols on every server and prints one table.
pub(crate) async fn run(plan: &Plan, arguments: &Arguments, report: &mut Report) -> Result<()> {
    report.heading(&format!(
        "stalled-reader: a first viewer that never reads, one cold object of {} bytes that the origin sends over {} ms",
        arguments.object_bytes, arguments.pace_ms
    ));
    let mut rows = Vec::new();
    for kind in &plan.servers {
        let origin = Origin::start()?;
        let server = Server::start(*kind, &plan.setup("1GiB"), &origin).await?;
        for protocol in [Protocol::Http1, Protocol::Http2] {
            if matches!(protocol, Protocol::Http2) && server.h2c.is_none() {
                continue;
            }
            let times = measure(protocol, &server, &origin, arguments, report).await?;
            rows.push(row(*kind, protocol, &times, report));
        }
    }
    report.table(
        &[
            "second viewer",
            "protocol",
            "first reads ms",
            "first stalls ms",
            "delay ms",
            "failed",
            "origin requests",
        ],
        &rows,
    );
    Ok(())
}

async fn measure(
    protocol: Protocol,
    server: &Server,
    origin: &Origin,
    arguments: &Arguments,
    report: &mut Report,
) -> Result<Times> {
    let mut times = Times::default();
    let name = protocol.as_str().replace(['/', '.'], "-");
    for round in 0..arguments.rounds {
        for stalls in [false, true] {
            let name = format!("stalled-{name}-{round}-{stalls}");
            let object = Object::new(&name, arguments.object_bytes, Duration::from_millis(arguments.pace_ms));
            let second = second_viewer(protocol, server, origin, &object, stalls).await;
            times.origin_requests_max = times.origin_requests_max.max(origin.requests(&object));
            report.row(json!({
                "bench": "stalled-reader", "server": server.kind.as_str(), "protocol": protocol.as_str(), "round": round,
                "first_viewer": if stalls { "stalls" } else { "reads" }, "origin_requests": origin.requests(&object),
                "second_viewer_ms": second.as_ref().ok().map(|time| time.as_secs_f64() * 1e3),
            }));
            match second {
                Ok(time) if stalls => times.with_stalled.push(time.as_secs_f64() * 1e3),
                Ok(time) => times.without.push(time.as_secs_f64() * 1e3),
                Err(error) => {
                    times.failed += 1;
                    report.failure(server.kind, &format!("stalled-reader: {}: {error:#}", protocol.as_str()));
                    // Each further round might take as long as this one before it fails.
                    return Ok(times);
                }
            }
        }
    }
    Ok(times)
}

/// The time of a second viewer who comes when the origin has been asked for the first.
async fn second_viewer(
    protocol: Protocol,
    server: &Server,
    origin: &Origin,
    object: &Object,
    first_stalls: bool,
) -> Result<Duration> {
    let mut reading = JoinSet::new();
    let mut stalled = None;
    if first_stalls {
        stalled = Some(protocol.stall(server, object).await.context("the first viewer")?);
    } else {
        reading.spawn(whole(protocol, server.http, server.h2c, object.clone()));
    }
    tokio::time::timeout(http1::EXCHANGE_MAX, origin.asked_for(object))
        .await
        .context("the first viewer's request did not reach the origin")?;
    let time = whole(protocol, server.http, server.h2c, object.clone()).await;
    for first in reading.join_all().await {
        first.context("the first viewer")?;
    }
    drop(stalled);
    time
}

async fn whole(
    protocol: Protocol,
    http: SocketAddr,
    h2c: Option<SocketAddr>,
    object: Object,
) -> Result<Duration> {
    match protocol {
        Protocol::Http1 => {
            let timing = http1::Client::connect(http).await?.get(&object).await?;
            Ok(timing.last_byte_at - timing.asked_at)
        }
        Protocol::Http2 => http2::get(h2c.context("no address for HTTP/2 over plaintext")?, &object).await,
    }
}

fn row(kind: Kind, protocol: Protocol, times: &Times, report: &mut Report) -> Vec<String> {
    let cell = |values: &[f64]| {
        let (median, min, max) = median_min_max(values);
        if values.is_empty() { "never".to_owned() } else { format!("{median:.0} ({min:.0}..{max:.0})") }
    };
    // The slowest with a stalled viewer against the median without: one late viewer is one too many.
    let (without, _, _) = median_min_max(&times.without);
    let (_, _, slowest) = median_min_max(&times.with_stalled);
    let complete = !times.with_stalled.is_empty() && !times.without.is_empty() && times.failed == 0;
    let delay = complete.then_some(slowest - without);
    if kind == Kind::Forebay {
        report.target(&format!("stalled-reader: delay, {}", protocol.as_str()), delay, DELAY_MS_MAX, "ms");
    }
    vec![
        kind.as_str().to_owned(),
        protocol.as_str().to_owned(),
        cell(&times.without),
        cell(&times.with_stalled),
        delay.map_or_else(|| "-".to_owned(), |delay| format!("{delay:.0}")),
        times.failed.to_string(),
        times.origin_requests_max.to_string(),
    ]
}
