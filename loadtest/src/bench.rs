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
use crate::server::{Kind, Setup};
use crate::{nginx, node};

/// Descriptors that a thousand clients, the origin and the harness need in one process.
const DESCRIPTORS_MIN: u64 = 4096;

/// Worker threads of a server, where a benchmark does not say otherwise.
const THREADS: u32 = 2;

/// What `forebay-loadtest bench` is given.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    bench: Bench,
    /// The node's binary
    #[arg(long, global = true, value_name = "PATH", default_value = "target/release/forebay")]
    forebay: PathBuf,
    /// The nginx binary
    #[arg(long, global = true, value_name = "PATH", default_value = "nginx")]
    nginx: PathBuf,
    /// What is measured, in this order; `direct` lets the clients ask the origin itself
    #[arg(long, global = true, value_delimiter = ',', default_values = ["forebay", "nginx"])]
    servers: Vec<Kind>,
    /// Write the raw rows, with the facts of the machine, to this file
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// All benchmarks with their default sizes, and one summary
    All,
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

/// Runs what was asked for. Fails only when nothing can be measured at all.
pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let setup = Setup {
        forebay: arguments.forebay.clone(),
        nginx: arguments.nginx.clone(),
        memory: "1GiB".to_owned(),
        disk: None,
        threads: THREADS,
        cpus: None,
    };
    let descriptors = machine::raise_descriptor_limit()?;
    let mut report = Report::new(machine::facts(&setup).await);
    if descriptors < DESCRIPTORS_MIN {
        report.say(&format!(
            "the limit of open descriptors is {descriptors}, a thousand clients need {DESCRIPTORS_MIN}: raise the hard \
             limit (ulimit -Hn, or LimitNOFILE= of the service this runs in)"
        ));
    }
    let plan = Plan { servers: available(&setup, &arguments.servers, &report).await?, setup, descriptors };
    let all = matches!(arguments.bench, Bench::All);
    if all || matches!(arguments.bench, Bench::Hits(_)) {
        let arguments =
            if let Bench::Hits(own) = &arguments.bench { own.clone() } else { hits::Arguments::default() };
        note("hits", Box::pin(hits::run(&plan, &arguments, &mut report)).await, &mut report);
    }
    if all || matches!(arguments.bench, Bench::Carry(_)) {
        let arguments =
            if let Bench::Carry(own) = &arguments.bench { own.clone() } else { carry::Arguments::default() };
        note("carry", Box::pin(carry::run(&plan, &arguments, &mut report)).await, &mut report);
    }
    if all || matches!(arguments.bench, Bench::Herd(_)) {
        let arguments =
            if let Bench::Herd(own) = &arguments.bench { own.clone() } else { herd::Arguments::default() };
        note("herd", Box::pin(herd::run(&plan, &arguments, &mut report)).await, &mut report);
    }
    if all || matches!(arguments.bench, Bench::StalledReader(_)) {
        let arguments = if let Bench::StalledReader(own) = &arguments.bench {
            own.clone()
        } else {
            stalled::Arguments::default()
        };
        note("stalled-reader", Box::pin(stalled::run(&plan, &arguments, &mut report)).await, &mut report);
    }
    if all || matches!(arguments.bench, Bench::Memory(_)) {
        let arguments = if let Bench::Memory(own) = &arguments.bench {
            own.clone()
        } else {
            memory::Arguments::default()
        };
        note("memory", Box::pin(memory::run(&plan, &arguments, &mut report)).await, &mut report);
    }
    if all || matches!(arguments.bench, Bench::Parked(_)) {
        let arguments = if let Bench::Parked(own) = &arguments.bench {
            own.clone()
        } else {
            parked::Arguments::default()
        };
        note("parked", Box::pin(parked::run(&plan, &arguments, &mut report)).await, &mut report);
    }
    if all || matches!(arguments.bench, Bench::Purge(_)) {
        let arguments =
            if let Bench::Purge(own) = &arguments.bench { own.clone() } else { purge::Arguments::default() };
        note("purge", Box::pin(purge::run(&plan, &arguments, &mut report)).await, &mut report);
    }
    if all || matches!(arguments.bench, Bench::Traces(_)) {
        let arguments = if let Bench::Traces(own) = &arguments.bench {
            own.clone()
        } else {
            traces::Arguments::default()
        };
        note("traces", Box::pin(traces::run(&plan, &arguments, &mut report)).await, &mut report);
    }
    if all || matches!(arguments.bench, Bench::Disk(_)) {
        let arguments =
            if let Bench::Disk(own) = &arguments.bench { own.clone() } else { disk::Arguments::default() };
        Box::pin(disk::run(&plan, &arguments, &mut report)).await;
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
        let there = match kind {
            Kind::Forebay => node::version(&setup.forebay).await.is_some(),
            Kind::Nginx => nginx::version(&setup.nginx).await.is_some(),
            Kind::Direct => true,
        };
        match (there, kind) {
            (true, _) => servers.push(*kind),
            (false, Kind::Forebay) => bail!(
                "{} --version does not run: build it (cargo build --release), name another with --forebay PATH, or \
                 measure without it (--servers nginx)",
                setup.forebay.display()
            ),
            (false, _) => report.say("nginx: not installed, skipped (Debian: apt-get install nginx)"),
        }
    }
    Ok(servers)
}
