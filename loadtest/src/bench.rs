//! The benchmarks behind `make bench`: which ones there are, on which servers they run, and how the run ends. A
//! benchmark measures and reports; a missed target is a finding, not a failure. Wrong bytes and errors are failures.

mod carry;
mod disk;
mod herd;
mod hits;
mod memory;
mod parked;
mod purge;
mod stalled;
mod traces;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::machine;
use crate::report::Report;
use crate::server::arguments::Programs;
use crate::server::{Kind, Setup};

/// Descriptors that a thousand clients, the origin and the harness need in one process.
const DESCRIPTORS_MIN: u64 = 4096;

/// What `forebay-loadtest bench` is given.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    bench: Bench,
    #[command(flatten)]
    programs: Programs,
    /// What is measured, in this order, separated by commas; direct lets the clients ask the origin itself
    #[arg(long, global = true, value_delimiter = ',', value_name = "KIND", default_values = ["forebay", "nginx"])]
    servers: Vec<Kind>,
    /// Write the raw rows, with the facts of the machine, to this file
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// All benchmarks with their default sizes, and one summary
    All,
    /// All benchmarks with smaller sizes, in a few minutes (make bench)
    Quick,
    /// CPU per 4 KB and per 512 KB hit
    Hits(hits::Arguments),
    /// CPU per hit of a live playlist with the viewer's token written into it
    Carry(carry::Arguments),
    /// Many clients ask at once for one cold object
    Herd(herd::Arguments),
    /// A first viewer that never reads, and the one who comes second
    StalledReader(stalled::Arguments),
    /// Peak resident memory under a working set that is far larger than the memory tier
    Memory(memory::Arguments),
    /// Viewers that wait for the next part of a live stream: how often its origin is asked, how late they are woken
    Parked(parked::Arguments),
    /// How long purges take among a million objects, and that nothing purged is served
    Purge(purge::Arguments),
    /// Hit ratio under a Zipf trace, without and with a scan, beside plain LRU
    Traces(traces::Arguments),
    /// Throughput, CPU, memory and start-up of the disk tier
    Disk(disk::Arguments),
}

/// What every benchmark gets: where the servers are and which of them to measure.
#[derive(Debug)]
struct Plan {
    setup: Setup,
    servers: Vec<Kind>,
    /// Descriptors that this process may have open, and each server that it starts.
    descriptors: u64,
}

// === impl Plan ===

impl Plan {
    /// How to start a server with a memory tier of this size, on processors left to the kernel.
    fn setup(&self, memory: &str) -> Setup {
        Setup { memory: memory.to_owned(), ..self.setup.clone() }
    }
}

/// The sizes of a benchmark, if it is asked for.
macro_rules! sizes {
    ($bench:expr, $variant:ident, $module:ident) => {
        match $bench {
            Bench::$variant(own) => Some(own.clone()),
            Bench::All => Some($module::Arguments::default()),
            Bench::Quick => Some($module::Arguments::quick()),
            _ => None,
        }
    };
}

/// Runs what was asked for. Fails only when nothing can be measured at all.
pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let setup = arguments.programs.setup();
    let descriptors = machine::raise_descriptor_limit()?;
    let mut report = Report::new(machine::facts(&setup).await);
    if descriptors < DESCRIPTORS_MIN {
        report.say(&format!(
            "the limit of open descriptors is {descriptors}, a thousand clients need {DESCRIPTORS_MIN}: raise the hard \
             limit (ulimit -Hn, or LimitNOFILE= of the service this runs in)"
        ));
    }
    let plan = Plan { servers: available(&setup, &arguments.servers, &report).await?, setup, descriptors };
    if let Some(sizes) = sizes!(&arguments.bench, Hits, hits) {
        note("hits", Box::pin(hits::run(&plan, &sizes, &mut report)).await, &mut report);
    }
    if let Some(sizes) = sizes!(&arguments.bench, Carry, carry) {
        note("carry", Box::pin(carry::run(&plan, &sizes, &mut report)).await, &mut report);
    }
    if let Some(sizes) = sizes!(&arguments.bench, Herd, herd) {
        note("herd", Box::pin(herd::run(&plan, &sizes, &mut report)).await, &mut report);
    }
    if let Some(sizes) = sizes!(&arguments.bench, StalledReader, stalled) {
        note("stalled-reader", Box::pin(stalled::run(&plan, &sizes, &mut report)).await, &mut report);
    }
    if let Some(sizes) = sizes!(&arguments.bench, Memory, memory) {
        note("memory", Box::pin(memory::run(&plan, &sizes, &mut report)).await, &mut report);
    }
    if let Some(sizes) = sizes!(&arguments.bench, Parked, parked) {
        note("parked", Box::pin(parked::run(&plan, &sizes, &mut report)).await, &mut report);
    }
    if let Some(sizes) = sizes!(&arguments.bench, Purge, purge) {
        note("purge", Box::pin(purge::run(&plan, &sizes, &mut report)).await, &mut report);
    }
    if let Some(sizes) = sizes!(&arguments.bench, Traces, traces) {
        note("traces", Box::pin(traces::run(&plan, &sizes, &mut report)).await, &mut report);
    }
    if let Some(sizes) = sizes!(&arguments.bench, Disk, disk) {
        Box::pin(disk::run(&plan, &sizes, &mut report)).await;
    }
    report.finish(arguments.json.as_deref())
}

/// A benchmark that could not be completed is an error of the run; the others still run.
fn note(bench: &str, outcome: Result<()>, report: &mut Report) {
    if let Err(error) = outcome {
        report.error(format!("{bench}: {error:#}"));
    }
}

/// The servers that are there, in the order asked for. A missing peer is named and left out; a missing node is an
/// error, for without it nothing is measured that anybody asked about.
async fn available(setup: &Setup, wanted: &[Kind], report: &Report) -> Result<Vec<Kind>> {
    let mut servers = Vec::new();
    for kind in wanted {
        match (kind.version(setup).await, kind) {
            (Some(_), _) => servers.push(*kind),
            (None, Kind::Forebay) => {
                bail!("{}, or measure without it (--servers nginx)", Kind::Forebay.missing(setup));
            }
            (None, _) => report.say(&kind.missing(setup)),
        }
    }
    Ok(servers)
}
