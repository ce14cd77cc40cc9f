//! The forebay load tester: an independent judge that shares no code with the node. It knows the node by its outer
//! contract only: a binary, a configuration file, log lines, HTTP.

// What is measured, and with what.
mod bench;
mod capacity;
mod compare;
mod trial;
mod report;
mod simulate;

// A run: what it is to do, who watches, how they ask, what they are shown, what is measured.
mod run;
mod join;
mod scenario;
mod viewer;
mod token;
mod fetch;
mod wire;
mod rehearse;
mod stage;
mod measure;
mod output;

// What is under measurement.
mod child;
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

use self::run::command::INTERRUPTED;
use self::run::stop::Stop;

/// What is shown below the commands.
const EXAMPLES: &str = "\
Begin with one of these:
  forebay-loadtest scenarios            What there is to run
  forebay-loadtest run steady           The node before a synthetic origin, and viewers
  forebay-loadtest compare quick        The node beside nginx, Varnish and Traffic Server, in four minutes
  forebay-loadtest capacity quick       How many viewers the node carries";

/// Viewers for forebay and its peers: how many a server carries, what they meet, and what it costs.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure the node, and its peers beside it, on this machine's loopback.
    Bench(bench::Arguments),
    /// Let the viewers of a scenario watch, and measure what they meet and what it costs the server.
    Run(Box<run::command::Arguments>),
    /// Take part in a run that another process, or machine, conducts.
    Join(join::Arguments),
    /// Be the synthetic origin of a scenario, until ended: for a server that is set up by hand.
    Origin(stage::process::Arguments),
    Scenarios(scenario::presets::Arguments),
    /// Find out how many viewers of a scenario a server carries.
    Capacity(capacity::Arguments),
    /// Run a scenario against the node and its peers, in turns, and compare.
    Compare(compare::Arguments),
    /// Tell finished runs again: one, or several beside each other.
    Report(output::Arguments),
    /// Compute what tiers of nodes ask of their origin while their viewers grow, without running any.
    Simulate(simulate::Arguments),
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match Arguments::parse().command {
        Command::Scenarios(arguments) => scenario::presets::run(&arguments).map(done),
        Command::Report(arguments) => output::report(&arguments).map(done),
        Command::Simulate(arguments) => simulate::run(&arguments),
        // These end by themselves when they are interrupted, with what there is by then.
        Command::Run(arguments) => Box::pin(run::command::run(&arguments)).await,
        Command::Join(arguments) => Box::pin(join::run(&arguments)).await,
        Command::Capacity(arguments) => Box::pin(capacity::run(&arguments)).await,
        Command::Compare(arguments) => Box::pin(compare::run(&arguments)).await,
        Command::Bench(arguments) => until_interrupted(Box::pin(bench::run(&arguments))).await,
        Command::Origin(arguments) => until_interrupted(Box::pin(stage::process::run(&arguments))).await,
    }
}

/// Leaving by a signal drops what was started, and so ends the servers.
async fn until_interrupted(
    running: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals()?;
    tokio::select! {
        code = running => code,
        () = stop.asked() => Ok(ExitCode::from(INTERRUPTED)),
    }
}
