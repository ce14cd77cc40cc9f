//! `forebay-loadtest compare`: the same scenario against the node and its peers, in turns, several rounds. [`rounds`] makes the runs,
//! [`table`] makes medians and ratios of them; both know runs as functions and results alone. A peer that is not there is named and
//! left out; what a peer gets wrong is told and counted, and is the peer's.

mod figures;
mod rounds;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use crate::machine;
use crate::report::Report;
use crate::run::Finished;
use crate::run::command::INTERRUPTED;
use crate::run::stop::Stop;
use crate::scenario::{Scenario, file};
use crate::server::{Kind, Setup};
use crate::trial::{self, Common};
use rounds::Run;

/// What `forebay-loadtest compare` is given.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// A scenario: a TOML file, or the name of one that comes with this program (forebay-loadtest scenarios)
    #[arg(default_value = "steady")]
    scenario: PathBuf,
    /// What is measured, separated by commas; ratios are to the first one
    #[arg(long, value_delimiter = ',', value_name = "KIND", default_values = ["forebay", "nginx", "varnish", "ats"])]
    servers: Vec<Kind>,
    /// Rounds: each server is run once in each
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Print the tables in Markdown
    #[arg(long)]
    markdown: bool,
    #[command(flatten)]
    common: Common,
}

/// Compares, and prints the tables.
pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let scenario = file::load(&arguments.scenario)?;
    let setup = arguments.common.setup()?;
    machine::raise_descriptor_limit()?;
    let mut report = Report::new(machine::facts(&setup).await);
    let servers = taking_part(&scenario, &setup, &arguments.servers, &report).await?;
    report.heading(&format!(
        "compare: {}, {} rounds of {} s against each of {}",
        scenario.name,
        arguments.rounds,
        scenario.duration.as_secs(),
        servers.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
    ));
    report.say(&scenario.about);
    let stop = Stop::on_signals()?;
    let runs = {
        let run = async |kind: Kind, round: u32| -> Result<Finished> {
            let finished = Box::pin(arguments.common.run(scenario.clone(), kind, &stop)).await?;
            let figures = figures::line(&finished.summary);
            report.say(&format!("round {} of {}, {}: {figures}", round + 1, arguments.rounds, kind.as_str()));
            Ok(finished)
        };
        Box::pin(rounds::rounds(&servers, arguments.rounds, run, || stop.is_asked())).await
    };
    tell(&scenario, &servers, &runs, arguments.markdown, &mut report);
    let code = report.finish(None)?;
    if let Some(path) = &arguments.common.json {
        trial::write_json(path, &as_json(&scenario, &servers, &runs, &report))?;
    }
    Ok(if stop.is_asked() { ExitCode::from(INTERRUPTED) } else { code })
}

/// Who can run the scenario, in the order asked for. Who cannot is named. The first one has to be there, since ratios are to it, and the
/// node wherever it stands.
async fn taking_part(
    scenario: &Scenario,
    setup: &Setup,
    wanted: &[Kind],
    report: &Report,
) -> Result<Vec<Kind>> {
    let mut servers = Vec::new();
    for kind in wanted {
        let missing = if kind.version(setup).await.is_none() {
            Some(kind.missing(setup))
        } else {
            cannot_run(scenario, *kind)
        };
        match missing {
            None if servers.contains(kind) => {
                report.say(&format!("{}: named twice, run once", kind.as_str()))
            }
            None => servers.push(*kind),
            Some(why) => {
                ensure!(*kind != Kind::Forebay, "{why}; or compare without it (--servers nginx,varnish)");
                ensure!(
                    wanted.first() != Some(kind),
                    "{why}; ratios are to the first of --servers, so it cannot be left out: name another one first"
                );
                report.say(&why);
            }
        }
    }
    ensure!(!servers.is_empty(), "no server is left to compare: install one, or name others with --servers");
    Ok(servers)
}

/// Why a server that is there cannot run this scenario as it is meant, if so.
fn cannot_run(scenario: &Scenario, kind: Kind) -> Option<String> {
    (scenario.token.is_some() && kind != Kind::Forebay)
        .then(|| format!("{}: does not check the tokens of {}, skipped", kind.as_str(), scenario.name))
}

/// Prints the tables, and what is to be known beside them.
fn tell(scenario: &Scenario, servers: &[Kind], runs: &[Run], markdown: bool, report: &mut Report) {
    let [medians, ratios] = table::tables(servers, runs);
    let print = if markdown { Report::markdown } else { Report::table };
    report.heading(&format!("{}: median (min..max) of {} rounds", scenario.name, rounds::count(runs)));
    print(report, &medians.header(), &medians.rows);
    if servers.len() > 1 {
        report.heading(&format!("times {}'s, by round", servers[0].as_str()));
        print(report, &ratios.header(), &ratios.rows);
    }
    for text in table::remarks(servers, runs) {
        report.say(&text);
    }
    for run in runs {
        for text in run.failures() {
            report.failure(run.kind, &format!("round {}: {text}", run.round + 1));
        }
    }
}

fn as_json(scenario: &Scenario, servers: &[Kind], runs: &[Run], report: &Report) -> serde_json::Value {
    json!({
        "version": 1,
        "scenario": serde_json::to_value(scenario).context("the scenario").unwrap_or_default(),
        "machine": report.machine(),
        "servers": table::as_json(servers, runs),
        "runs": runs.iter().map(Run::as_json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests;
