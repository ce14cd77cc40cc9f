//! `forebay token bench`: what it costs to admit one request, by format of its token.
//!
//! Keys and tokens are made for the run, the policy and its verdicts are those of the node. *Cold* is the first request
//! with a token: each pass has a policy that is new and knows nobody, made outside the time that is taken, and each
//! request is timed by itself. *Warm* is every further one: its verdict is known, and a pass over all viewers is timed as one. What it
//! costs to read a request and to answer it is no part of either.

mod cases;
mod keys;
mod worst;

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use crate::admission::token::Policy;
use cases::Case;

/// Nanoseconds below which a request whose verdict is known is to stay.
const WARM_NS_MAX: f64 = 1000.0;

/// Requests timed for *cold*, and passes for *warm*.
const TIMED: Effort = Effort { cold: 1024, passes: 1000 };

/// Arguments of `forebay token bench`.
#[derive(Args, Debug)]
pub(super) struct BenchArgs {
    /// The only format that is measured; `session` are the node's own tokens.
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(cases::formats()))]
    format: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Measure requests that are made to be expensive instead.
    #[arg(long)]
    worst: bool,
}

/// How much is timed.
#[derive(Clone, Copy)]
struct Effort {
    cold: usize,
    passes: usize,
}

/// Nanoseconds for one request.
#[derive(Clone, Copy)]
struct Cost {
    median: f64,
    p99: f64,
}

impl Cost {
    fn of(mut samples: Vec<f64>) -> Cost {
        samples.sort_by(f64::total_cmp);
        let at = |hundredths: usize| {
            let place = (samples.len() * hundredths / 100).min(samples.len().saturating_sub(1));
            samples.get(place).copied().unwrap_or_default()
        };
        Cost { median: at(50), p99: at(99) }
    }

    fn json(self) -> serde_json::Value {
        json!({ "median": self.median.round(), "p99": self.p99.round() })
    }
}

/// Measures, and prints a row for each format.
pub(super) fn bench(args: &BenchArgs, out: &mut impl Write) -> Result<u8> {
    if args.worst {
        return worst::bench(args.json, out);
    }
    measure(args.format.as_deref(), args.json, TIMED, out)
}

fn measure(format: Option<&str>, as_json: bool, effort: Effort, out: &mut impl Write) -> Result<u8> {
    let pairs = keys::Pairs::make()?;
    let mut rows = Vec::new();
    if !as_json {
        writeln!(
            out,
            "{:<12} {:<9} {:<14} {:>12} {:>13} {:>9} {:>13} {:>9}",
            "format",
            "signature",
            "stands in",
            "token, bytes",
            "cold, ns: p50",
            "p99",
            "warm, ns: p50",
            "p99"
        )?;
    }
    let mut all_below = true;
    for (name, signature, make) in cases::MAKERS {
        if format.is_some_and(|wanted| wanted != name) {
            continue;
        }
        let case = make(&pairs).with_context(|| format!("{name} {signature}"))?;
        let (cold, warm) = (cold(&case, effort), warm(&case, effort));
        all_below &= warm.median < WARM_NS_MAX;
        let (place, bytes) = (case.place.as_str(), case.token_bytes);
        if as_json {
            rows.push(json!({
                "format": name, "signature": signature, "place": place, "token_bytes": bytes,
                "cold_ns": cold.json(), "warm_ns": warm.json(),
            }));
            continue;
        }
        writeln!(
            out,
            "{name:<12} {signature:<9} {place:<14} {bytes:>12} {:>13.0} {:>9.0} {:>13.0} {:>9.0}",
            cold.median, cold.p99, warm.median, warm.p99
        )?;
    }
    if as_json {
        writeln!(out, "{}", json!({ "rows": rows, "warm_below_1_us": all_below }))?;
    } else {
        let verdict =
            if all_below { "below 1 µs for all (met)" } else { "not below 1 µs for all (missed)" };
        writeln!(out, "warm, median: {verdict}")?;
    }
    Ok(0)
}

/// One request with a token that is not known.
fn cold(case: &Case, effort: Effort) -> Cost {
    let mut samples = Vec::with_capacity(effort.cold + case.requests.len());
    while samples.len() < effort.cold {
        let policy = case.cold_policy();
        for request in &case.requests {
            let presented = request.presented();
            let start = Instant::now();
            let admitted = policy.admit(black_box(&presented));
            samples.push(nanoseconds(start));
            // What it takes to forget it is no part of the time.
            drop(black_box(admitted));
        }
    }
    Cost::of(samples)
}

/// One request with a token that is known.
fn warm(case: &Case, effort: Effort) -> Cost {
    let presented: Vec<_> = case.requests.iter().map(cases::Request::presented).collect();
    let pass = |policy: &Policy| {
        for request in &presented {
            let _ = black_box(policy.admit(black_box(request)));
        }
    };
    pass(&case.policy);
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let requests = presented.len() as f64;
    let samples = (0..effort.passes).map(|_| {
        let start = Instant::now();
        pass(&case.policy);
        nanoseconds(start) / requests
    });
    Cost::of(samples.collect())
}

#[allow(clippy::cast_precision_loss, reason = "a benchmark is over before it matters")]
fn nanoseconds(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64
}

#[cfg(test)]
mod tests;
