//! `forebay-loadtest capacity`: how many viewers of a scenario a server carries. The audience is doubled until a target breaks, then
//! the place between is halved; each step is a whole run. [`search`] decides which audience is tried next and says what was
//! found; it knows runs as a function alone. What is measured is the run's.

mod search;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::machine;
use crate::measure::summary::Summary;
use crate::output::words::LATE_REMEDY;
use crate::report::Report;
use crate::run::Finished;
use crate::run::command::{self, INTERRUPTED};
use crate::run::stop::Stop;
use crate::scenario::file::rules::VIEWERS_MAX;
use crate::scenario::{Scenario, file};
use crate::server::Kind;
use crate::trial::{self, Common, viewers_mean};
use search::{Bounds, Broke, Found, Tried};

/// What `forebay-loadtest capacity` is given.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// A scenario: a TOML file, or the name of one that comes with this program (forebay-loadtest scenarios)
    #[arg(default_value = "steady")]
    scenario: PathBuf,
    /// What is measured
    #[arg(long, value_name = "KIND", default_value = "forebay")]
    server: Kind,
    /// Viewers of the first step; those of the scenario, unless told
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(VIEWERS_MAX)))]
    from: Option<u32>,
    /// Never more viewers than this
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(VIEWERS_MAX)))]
    most: u32,
    /// Runs at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    steps: u32,
    /// How close the two ends come, as a share of the audience that is carried, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    precision: u32,
    /// Length of each step, instead of the scenario's, as 90s or 5m
    #[arg(long, value_name = "TIME", value_parser = command::duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

/// Searches, and prints what was found.
pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let loaded = file::load(&arguments.scenario)?;
    let scenario = match arguments.duration {
        Some(duration) => loaded.with_duration(duration),
        None => loaded,
    };
    let setup = arguments.common.setup()?;
    let kind = arguments.server;
    machine::raise_descriptor_limit()?;
    let mut report = Report::new(machine::facts(&setup).await);
    if kind.version(&setup).await.is_none() {
        anyhow::bail!("{}", kind.missing(&setup));
    }
    let bounds = Bounds {
        from: arguments.from.unwrap_or_else(|| scenario.viewers()).clamp(1, arguments.most),
        most: arguments.most,
        steps_max: arguments.steps,
        precision: f64::from(arguments.precision) / 100.0,
    };
    report.heading(&format!(
        "capacity: {} of {}, from {} viewers on",
        scenario.name,
        kind.as_str(),
        bounds.from
    ));
    let stop = Stop::on_signals()?;
    let found = {
        let step = async |viewers: u32| -> Result<Finished> {
            let scenario = scenario.clone().with_viewers(viewers);
            let running = arguments.common.run(scenario, kind, &stop);
            Box::pin(running).await.with_context(|| format!("{viewers} viewers"))
        };
        let tell = |tried: &Tried| report.say(&line(tried));
        Box::pin(search::search(&bounds, step, tell, || stop.is_asked())).await?
    };
    for text in told(kind, &scenario, &found) {
        report.say(&text);
    }
    for tried in &found.tried {
        report.row(as_json(tried));
    }
    if let Some(path) = &arguments.common.json {
        trial::write_json(path, &found_json(kind, &scenario, &found, &report))?;
    }
    Ok(match (stop.is_asked(), &found.failed) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, Some(_)) => ExitCode::FAILURE,
        (false, None) => ExitCode::SUCCESS,
    })
}

/// What a server took for each 1,000 viewers: processors, and bytes of memory beyond those it had before the first one. None where
/// it is not measured.
fn per_thousand(summary: &Summary) -> (Option<f64>, Option<f64>) {
    let usage = summary.server.as_ref();
    let (mean, most) = (viewers_mean(summary) / 1e3, summary.viewers.most as f64 / 1e3);
    let cpu =
        usage.filter(|_| mean > 0.0 && summary.seconds > 0.0).map(|u| u.cpu_seconds / summary.seconds / mean);
    let grown = |resident: u64| resident.saturating_sub(summary.server_idle_bytes.unwrap_or(0)) as f64;
    (cpu, usage.filter(|_| most > 0.0).map(|u| grown(u.resident_bytes) / most))
}

/// A step, as it is told when it is done.
fn line(tried: &Tried) -> String {
    let Tried { viewers, summary, .. } = tried;
    let (cpu, _) = per_thousand(summary);
    let figures = format!(
        "{} at a time, {:.2} Gbit/s, {:.0} requests/s, start-up p95 {:.0} ms, stalled {:.3} %, {:.2} Mbit/s each, \
         {} segments given up, errors {:.3} %, CPU {} per 1,000",
        summary.viewers.most,
        summary.requests.gbit_per_second,
        summary.requests.per_second,
        summary.viewers.startup_ms.p95,
        summary.viewers.stall_ratio * 100.0,
        summary.viewers.bitrate / 1e6,
        summary.viewers.abandoned,
        summary.requests.error_ratio * 100.0,
        cpu.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.2}")),
    );
    format!(
        "{viewers:>7} viewers: {}; {figures}",
        tried.broke.as_ref().map_or("carried".to_owned(), Broke::text)
    )
}

/// What was found, in a few lines.
fn told(kind: Kind, scenario: &Scenario, found: &Found) -> Vec<String> {
    let name = kind.as_str();
    let mut lines = vec![String::new()];
    if let Some(why) = &found.failed {
        lines.push(format!("the search ended before its time: {why}"));
    }
    let limit = match (&found.limit(), found.is_narrow) {
        (None, _) if found.carried().is_some_and(|tried| tried.viewers >= found.bounds.most) => {
            format!("nothing has broken up to the most that was to be tried, {} viewers", found.bounds.most)
        }
        (None, _) => "no break was found in the steps that were made".to_owned(),
        (Some(broken), is_narrow) => {
            let rough = match (is_narrow, found.is_once) {
                (true, _) => "",
                (false, true) => " (once only: the steps had come to their end)",
                (false, false) if found.failed.is_some() => " (the place was not found closely)",
                (false, false) => " (the steps came to their end before the place was found closely)",
            };
            let text = broken.broke.as_ref().map_or_else(String::new, Broke::text);
            format!("with {} {text}{rough}", broken.viewers)
        }
    };
    let Some(carried) = found.carried() else {
        lines.push(format!("{name} carries no audience of {} that was tried: {limit}", scenario.name));
        return lines;
    };
    let summary = &carried.summary;
    lines.push(format!(
        "{name} carries {} viewers of {} at a time ({} in all); {limit}",
        summary.viewers.most, scenario.name, carried.viewers
    ));
    if found.is_testers() {
        lines.push(format!("the tester itself was the limit, not {name}: {LATE_REMEDY}"));
    }
    let (cpu, memory) = per_thousand(summary);
    lines.push(format!(
        "{:.2} Gbit/s, {:.0} requests/s; for each 1,000 viewers {name} took {} processors and, with what it has cached, {} MiB",
        summary.requests.gbit_per_second,
        summary.requests.per_second,
        cpu.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.3}")),
        memory.map_or_else(|| "-".to_owned(), |bytes| format!("{:.1}", bytes / f64::from(1 << 20))),
    ));
    lines
}

fn as_json(tried: &Tried) -> Value {
    let (cpu, memory) = per_thousand(&tried.summary);
    json!({
        "audience": tried.viewers,
        "viewers_most": tried.summary.viewers.most,
        "carried": tried.broke.is_none(),
        "broke": tried.broke.as_ref().map(Broke::text),
        "tester_was_the_limit": matches!(tried.broke, Some(Broke::Tester { .. })),
        "gbit_per_second": tried.summary.requests.gbit_per_second,
        "requests_per_second": tried.summary.requests.per_second,
        "bitrate": tried.summary.viewers.bitrate,
        "abandoned": tried.summary.viewers.abandoned,
        "server_processors_per_1000_viewers": cpu,
        "server_bytes_per_1000_viewers": memory,
        "pacing_p99": tried.summary.pacing.p99,
        "targets": tried.summary.targets,
    })
}

fn found_json(kind: Kind, scenario: &Scenario, found: &Found, report: &Report) -> Value {
    json!({
        "server": kind.as_str(),
        "scenario": scenario.name,
        "machine": report.machine(),
        "carried": found.carried().map(as_json),
        "broke": found.limit().map(as_json),
        "broke_once_only": found.is_once,
        "tester_was_the_limit": found.is_testers(),
        "failed": found.failed,
        "steps": found.tried.iter().map(as_json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests;
