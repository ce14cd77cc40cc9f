//! `forebay-loadtest run`: what is typed becomes a plan, the result is written where told, and the exit code says how it ended.
//! 0: it was done (a missed target is a finding, unless `--strict`); 1: wrong bytes, or a run that could not be done as it should;
//! 130: it was interrupted, and what there was by then is written all the same.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::net::TcpListener;
use url::Url;

use super::crew::THREADS_MAX;
use super::hands::Hands;
use super::stop::Stop;
use super::{Against, Finished, Plan, pins, run_until};
use crate::join::coordinator::{WORKERS_MAX, Workers};
use crate::output;
use crate::proc;
use crate::scenario::Scenario;
use crate::scenario::adjust::{DURATION_MAX, DURATION_MIN};
use crate::scenario::file::{self, rules::VIEWERS_MAX};
use crate::server::Kind;
use crate::server::arguments::SetupArguments;
use crate::viewer::Target;
use crate::wire::Reach;

/// The exit code of a process ended from outside, as shells have it for SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// What `forebay-loadtest run` is given.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// A scenario: a TOML file, or the name of one that comes with this program (forebay-loadtest scenarios)
    scenario: PathBuf,
    #[command(flatten)]
    against: AgainstArguments,
    #[command(flatten)]
    setup: SetupArguments,
    /// Viewers in all, instead of the scenario's; shared among its arrivals as there
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(VIEWERS_MAX)))]
    viewers: Option<u32>,
    /// What all random choices follow from, instead of the scenario's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Length of the run, instead of the scenario's, as 90s or 5m; events, faults and arrivals move with it
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Threads of viewers; as many as there are processors for them, unless told
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<usize>,
    /// Processes that let the viewers watch, instead of this one: each joins with forebay-loadtest join ADDRESS
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(WORKERS_MAX)), conflicts_with_all = ["rehearse", "trace", "threads"])]
    workers: Option<u32>,
    /// Where they join
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", requires = "workers")]
    listen: SocketAddr,
    /// Write every request of every viewer to this file, a line each
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report to this file as HTML
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Keep scenario, result, rows and report in a folder below this one
    #[arg(long, value_name = "DIR", default_value = "loadtest/runs")]
    runs: PathBuf,
    /// Do not keep the run in that folder
    #[arg(long, conflicts_with = "runs")]
    no_runs: bool,
    /// End with 1 when a target is missed or unmeasured
    #[arg(long)]
    strict: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

/// Who is asked: one of these.
#[derive(Clone, Debug, Args)]
struct AgainstArguments {
    /// Start a server of this kind in front of the synthetic origin
    #[arg(long, value_name = "KIND", default_value = "forebay", conflicts_with_all = ["target", "stream", "rehearse"])]
    server: Kind,
    /// Ask a server that runs already, in front of the synthetic origin (--origin)
    #[arg(long, value_name = "URL", value_parser = web_url, conflicts_with_all = ["stream", "rehearse"])]
    target: Option<Url>,
    /// Ask for one playlist of your own: every viewer watches it, whatever the scenario's streams are
    #[arg(long, value_name = "URL", value_parser = web_url, conflicts_with = "rehearse")]
    stream: Option<Url>,
    /// Ask nobody: compute in no time what the scenario asks of a server
    #[arg(long)]
    rehearse: bool,
    /// Where the synthetic origin listens for the server at --target; without it, one runs elsewhere (forebay-loadtest origin)
    #[arg(long, value_name = "ADDRESS", requires = "target")]
    origin: Option<SocketAddr>,
    /// Connect to this address, whatever host the URL names
    #[arg(long, value_name = "ADDRESS")]
    connect_to: Option<SocketAddr>,
    /// A file of certificate authorities (PEM) to trust beside the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Trust any certificate
    #[arg(long)]
    insecure: bool,
}

// === impl AgainstArguments ===

impl AgainstArguments {
    /// Whether a server is started.
    fn is_started(&self) -> bool {
        self.target.is_none() && self.stream.is_none() && !self.rehearse
    }
}

/// Runs a scenario.
pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let plan = plan(arguments)?;
    let stop = Stop::on_signals()?;
    let running = async {
        let hands = match arguments.workers {
            Some(count) => Hands::Workers(workers(arguments.listen, count, &plan, &stop).await?),
            None => Hands::Own { threads: plan.threads },
        };
        Box::pin(run_until(&plan, hands, &stop)).await
    };
    let finished = match running.await {
        Ok(finished) => finished,
        Err(error) if stop.is_asked() => {
            say(&format!("{error:#}"));
            return Ok(ExitCode::from(INTERRUPTED));
        }
        Err(error) => return Err(error),
    };
    for why in &finished.spoiled {
        say(&format!("not as it should be: {why}"));
    }
    for target in finished.summary.targets.iter().filter(|target| arguments.strict && target.unmeasured) {
        say(&format!(
            "{} is unmeasured, which --strict takes for missed: let viewers come after the warm-up",
            target.target
        ));
    }
    write(arguments, &finished)?;
    Ok(exit_code(&finished, stop.is_asked(), arguments.strict))
}

/// A line for who reads along; results go to standard output.
pub(crate) fn say(text: &str) {
    // Nobody reads any more: the exit code and the files still tell.
    writeln!(std::io::stderr(), "{text}").ok();
}

/// So many threads, or one for each processor of this list (any that this process may use, without one).
pub(crate) fn threads_or_all(threads: Option<usize>, cpus: Option<&str>) -> Result<usize> {
    Ok(match (threads, cpus) {
        (Some(threads), _) => threads,
        (None, Some(cpus)) => pins::count(cpus)?,
        (None, None) => proc::allowed_cpus()?.len().clamp(1, THREADS_MAX),
    })
}

/// A number of threads, as typed.
pub(crate) fn threads(text: &str) -> Result<usize> {
    let threads = text.parse().context("not a number")?;
    ensure!((1..=THREADS_MAX).contains(&threads), "from 1 to {THREADS_MAX}");
    Ok(threads)
}

/// Where to ask, as typed.
fn web_url(text: &str) -> Result<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.with_context(|| {
        format!("{text:?} is no URL that viewers can ask: write http://HOST:PORT/ or https://HOST/")
    })
}

fn plan(arguments: &Arguments) -> Result<Plan> {
    let scenario = adjusted(arguments, file::load(&arguments.scenario)?);
    // What is not on this machine, or not there at all, needs no processors of its own.
    let pins = if arguments.against.is_started() { pins::split()? } else { None };
    let against = against(arguments, pins.as_ref().map(|(server, _)| server.as_str()))?;
    Ok(Plan {
        threads: threads_or_all(arguments.threads, pins.as_ref().map(|(_, others)| others.as_str()))?,
        scenario,
        against,
        pins,
        trace: arguments.trace.clone(),
        shows: !arguments.quiet,
    })
}

fn adjusted(arguments: &Arguments, mut scenario: Scenario) -> Scenario {
    if let Some(viewers) = arguments.viewers {
        scenario = scenario.with_viewers(viewers);
    }
    if let Some(seed) = arguments.seed {
        scenario = scenario.with_seed(seed);
    }
    if let Some(duration) = arguments.duration {
        scenario = scenario.with_duration(duration);
    }
    scenario
}

/// Who is asked; a server that is started is one for these processors.
fn against(arguments: &Arguments, cpus: Option<&str>) -> Result<Against> {
    let AgainstArguments { server, target, stream, rehearse, origin, connect_to, ca, insecure } =
        &arguments.against;
    let target = match (target, stream) {
        _ if *rehearse => return Ok(Against::Rehearsal),
        (Some(url), _) => Target::Server(url.clone()),
        (None, Some(url)) => Target::Stream(url.clone()),
        (None, None) => {
            ensure!(
                arguments.workers.is_none() || arguments.listen.ip().is_loopback(),
                "workers on other machines cannot reach a server that is started here, on 127.0.0.1: start one where they reach \
                 it, and name it with --target"
            );
            return Ok(Against::Started(*server, arguments.setup.setup(cpus)?));
        }
    };
    let authorities =
        ca.as_deref().map(|path| std::fs::read(path).with_context(|| path.display().to_string()));
    let reach = Reach { connect_to: *connect_to, authorities: authorities.transpose()?, insecure: *insecure };
    Ok(Against::Running { target, reach, origin: *origin })
}

async fn workers(listen: SocketAddr, count: u32, plan: &Plan, stop: &Stop) -> Result<Workers> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr().context("the listener's address")?;
    say(&format!(
        "scenario {}: waiting for {count} workers, each with forebay-loadtest join {address}",
        plan.scenario.name
    ));
    Workers::gather(&listener, count, stop, |text| say(&text)).await
}

/// Writes the result wherever it is to be: a place that cannot be written keeps it from no other. The first failure is returned,
/// the others are said.
fn write(arguments: &Arguments, finished: &Finished) -> Result<()> {
    let json = arguments.json.as_deref().map_or(Ok(()), |path| output::write_json(path, finished));
    let runs = std::slice::from_ref(finished);
    let html = arguments.html.as_deref().map_or(Ok(()), |path| output::write_html(path, runs));
    let kept = if arguments.no_runs || arguments.against.rehearse {
        Ok(())
    } else {
        output::runs::keep(&arguments.runs, finished)
            .map(|folder| say(&format!("kept in {}", folder.display())))
            .context("the run is not kept (--runs names another folder, --no-runs keeps none)")
    };
    let mut failures = [json, html, kept].into_iter().filter_map(Result::err);
    let first = failures.next();
    for error in failures {
        say(&format!("{error:#}"));
    }
    first.map_or(Ok(()), Err)
}

fn exit_code(finished: &Finished, interrupted: bool, strict: bool) -> ExitCode {
    ExitCode::from(code(finished, interrupted, strict))
}

fn code(finished: &Finished, interrupted: bool, strict: bool) -> u8 {
    let is_wrong = finished.summary.requests.mismatches > 0;
    let is_missed = strict && finished.summary.targets.iter().any(|verdict| !verdict.met);
    match (interrupted, is_wrong || is_missed || !finished.spoiled.is_empty()) {
        (true, _) => INTERRUPTED,
        (false, is_failure) => u8::from(is_failure),
    }
}

/// A time as it is typed: `90s`, `5m`, `1h 30m`, or `90` for seconds.
pub(crate) fn duration(text: &str) -> Result<Duration> {
    let parsed = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let parsed: jiff::SignedDuration =
                text.parse().ok().with_context(|| format!("{text:?} is no time: write 90s, 5m or 1h"))?;
            Duration::try_from(parsed).ok().with_context(|| format!("{text:?} is below zero"))?
        }
    };
    if !(DURATION_MIN..=DURATION_MAX).contains(&parsed) {
        bail!("{text}: a run takes from 1 second to {} hours", DURATION_MAX.as_secs() / 3600);
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests;
