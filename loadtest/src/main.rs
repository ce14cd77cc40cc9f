//! The forebay load tester: an independent judge that shares no code with the node. It knows the node by its outer
//! contract only: a binary, a configuration file, log lines, HTTP.

// What is measured, and with what.
mod bench;
mod report;
mod simulate;

// What is under measurement.
mod child;
mod nginx;
mod node;
mod server;

// What asks and what answers.
mod content;
mod crowd;
mod http1;
mod http2;
mod origin;
mod trace;
mod wrk;

// What the machine says.
mod machine;
mod metrics;
mod proc;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Load tester and benchmarks for forebay.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure the node, and nginx beside it, on this machine's loopback.
    Bench(bench::Arguments),
    /// Compute what tiers of nodes ask of their origin while their viewers grow, without running any.
    Simulate(simulate::Arguments),
}

/// The exit code of a process ended from outside, as shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = match Arguments::parse().command {
        Command::Bench(arguments) => arguments,
        Command::Simulate(arguments) => return simulate::run(&arguments),
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Leaving by a signal drops what was started, and so ends the servers.
    tokio::select! {
        code = bench::run(&arguments) => code,
        _ = interrupt.recv() => Ok(ExitCode::from(INTERRUPTED)),
        _ = terminate.recv() => Ok(ExitCode::from(INTERRUPTED)),
    }
}
