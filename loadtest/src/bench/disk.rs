//! What the disk tier gives and what it costs, in four measurements that share nothing but the folder they use: hits
//! from disk beside raw reads, memory hits with and without a disk tier, memory per tracked object, and start-up.

mod presence;
mod throughput;
mod tracked;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use tempfile::TempDir;

use super::{Plan, note};
use crate::report::Report;
use crate::server::Kind;

/// What is measured and how much.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// The measurements to make
    #[arg(long, value_delimiter = ',', default_values = ["throughput", "presence", "tracked"])]
    only: Vec<Measurement>,
    /// Where the files go; the throughput measurement needs three times its catalogue [default: a temporary folder]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// throughput: objects of 2 MiB
    #[arg(long, default_value_t = Self::default().catalogue, value_parser = clap::value_parser!(u32).range(16..=100_000))]
    catalogue: u32,
    /// throughput: rounds, in turns
    #[arg(long, default_value_t = Self::default().rounds, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// presence: rounds, in turns
    #[arg(long, default_value_t = Self::default().hit_rounds, value_parser = clap::value_parser!(u32).range(1..=1000))]
    hit_rounds: u32,
    /// presence: seconds of one round
    #[arg(long, default_value_t = Self::default().hit_seconds, value_parser = clap::value_parser!(u32).range(1..=600))]
    hit_seconds: u32,
    /// tracked: objects on disk when memory is measured
    #[arg(long, default_value_t = Self::default().tracked, value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
    tracked: u32,
    /// tracked: objects on disk when start-up is measured
    #[arg(long, default_value_t = Self::default().start_up, value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
    start_up: u32,
}

/// One of the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// Hits from disk beside raw reads of the same bytes
    Throughput,
    /// CPU of memory hits, with and without a disk tier
    Presence,
    /// Start-up, and memory per tracked object
    Tracked,
}

// === impl Measurement ===

impl Measurement {
    fn as_str(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Presence => "presence",
            Self::Tracked => "tracked",
        }
    }
}

// === impl Arguments ===

impl Default for Arguments {
    fn default() -> Self {
        Self {
            only: vec![Measurement::Throughput, Measurement::Presence, Measurement::Tracked],
            folder: None,
            catalogue: 1024,
            rounds: 3,
            hit_rounds: 5,
            hit_seconds: 2,
            tracked: 1_000_000,
            start_up: 100_000,
        }
    }
}

impl Arguments {
    /// Sizes for a look rather than a figure to quote.
    pub(super) fn quick() -> Self {
        Self {
            catalogue: 256,
            rounds: 1,
            hit_rounds: 3,
            hit_seconds: 1,
            tracked: 200_000,
            start_up: 20_000,
            ..Self::default()
        }
    }
}

/// Makes the measurements asked for; one that cannot be completed does not keep the others from being made.
pub(crate) async fn run(plan: &Plan, arguments: &Arguments, report: &mut Report) {
    let node = plan.servers.contains(&Kind::Forebay);
    for measurement in &arguments.only {
        // Raw reads and nginx can be measured without the node; the others are about the node alone.
        if !node && *measurement != Measurement::Throughput {
            report.heading(&format!("disk: {}", measurement.as_str()));
            report.say("forebay: not among --servers, skipped");
            continue;
        }
        let what = format!("disk {}", measurement.as_str());
        match measurement {
            Measurement::Throughput => {
                note(&what, Box::pin(throughput::run(plan, arguments, report)).await, report);
            }
            Measurement::Presence => {
                note(&what, Box::pin(presence::run(plan, arguments, report)).await, report);
            }
            Measurement::Tracked => {
                note(&what, Box::pin(tracked::run(plan, arguments, report)).await, report);
            }
        }
    }
}

/// A folder for one measurement, below the one that was named or in the system's place for temporary files. Removed
/// with all that is in it when it is dropped: to be declared before the servers that use it.
pub(super) fn folder(parent: Option<&Path>) -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("forebay-bench-disk-");
    match parent {
        Some(parent) => builder.tempdir_in(parent).with_context(|| parent.display().to_string()),
        None => builder.tempdir().context("a temporary folder"),
    }
}
