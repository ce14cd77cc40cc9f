//! What the search for a capacity ([`crate::capacity`]) and the comparison ([`crate::compare`]) have in common: their arguments, the
//! plan of a run that follows from them, and where runs are kept. What is run how often is theirs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::measure::summary::Summary;
use crate::output;
use crate::run::command::{self, threads_or_all};
use crate::run::hands::Hands;
use crate::run::stop::Stop;
use crate::run::{self, Against, Finished, Plan, pins};
use crate::scenario::Scenario;
use crate::server::arguments::SetupArguments;
use crate::server::{Kind, Setup};

/// How servers are started and viewers run.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    setup: SetupArguments,
    /// Threads of viewers; by default one for each of their processors
    #[arg(long, value_name = "N", value_parser = command::threads)]
    threads: Option<usize>,
    /// Leave the processors to the kernel also where there are four or more
    #[arg(long)]
    no_pin: bool,
    /// Write what was found, with the figures of each run, to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Keep scenario, result, rows and report of each run in a folder below this one
    #[arg(long, value_name = "FOLDER")]
    runs: Option<PathBuf>,
}

// === impl Common ===

impl Common {
    /// How servers are started.
    pub(crate) fn setup(&self) -> Result<Setup> {
        self.setup.setup(self.pins()?.as_ref().map(|(server, _)| server.as_str()))
    }

    /// Processors of the server, and of viewers and origin, where they are split.
    fn pins(&self) -> Result<Option<(String, String)>> {
        if self.no_pin { Ok(None) } else { pins::split() }
    }

    /// Runs this scenario against a server of this kind, to its end or until it is to stop, and keeps the run where runs are to be
    /// kept. A run that cannot be kept is told, and is a run all the same.
    pub(crate) async fn run(&self, scenario: Scenario, kind: Kind, stop: &Stop) -> Result<Finished> {
        let plan = self.plan(scenario, kind)?;
        let hands = Hands::Own { threads: plan.threads };
        let finished = Box::pin(run::run_until(&plan, hands, stop)).await?;
        if let Some(runs) = &self.runs
            && let Err(error) = output::runs::keep(runs, &finished)
        {
            command::say(&format!("this run is not kept: {error:#}"));
        }
        Ok(finished)
    }

    fn plan(&self, scenario: Scenario, kind: Kind) -> Result<Plan> {
        let pins = self.pins()?;
        Ok(Plan {
            scenario,
            against: Against::Started(
                kind,
                self.setup.setup(pins.as_ref().map(|(server, _)| server.as_str()))?,
            ),
            threads: threads_or_all(self.threads, pins.as_ref().map(|(_, others)| others.as_str()))?,
            pins,
            trace: None,
            // Many runs: each is told in a line when it is over.
            shows: false,
        })
    }
}

/// How many viewers watched on average: time with a picture, moving or not, by the time that was counted.
pub(crate) fn viewers_mean(summary: &Summary) -> f64 {
    (summary.viewers.played_seconds + summary.viewers.stalled_seconds)
        / summary.seconds.max(f64::MIN_POSITIVE)
}

pub(crate) fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context("JSON")?;
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// Finished runs for tests: what was not measured is zero.
#[cfg(test)]
pub(crate) fn finished(server: &str, summary: &Summary) -> Finished {
    let text = serde_json::json!({
        "version": 1, "server": server, "machine": null, "scenario": null, "rows": [], "marks": [], "spoiled": [],
        "summary": summary,
    });
    serde_json::from_value(text).unwrap_or_else(|error| unreachable!("{error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn viewers_are_counted_by_the_time_they_watched() {
        let mut summary = Summary { seconds: 10.0, ..Summary::default() };
        summary.viewers.played_seconds = 95.0;
        summary.viewers.stalled_seconds = 5.0;
        assert!((viewers_mean(&summary) - 10.0).abs() < 1e-9);
        assert!(viewers_mean(&Summary::default()).abs() < 1e-9);
    }
}
