//! The runs of a comparison: every server once in each round, and another one first in each, so that a change of the machine's speed
//! meets all of them. A run that fails is a result too; the others go on.

use anyhow::Result;
use serde_json::{Value, json};

use super::figures::FIGURES;
use crate::measure::summary::Summary;
use crate::run::Finished;
use crate::server::Kind;

/// One server in one round.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) kind: Kind,
    /// From 0 on.
    pub(crate) round: u32,
    /// What it came to, or why it came to nothing.
    pub(crate) outcome: Result<Summary, String>,
}

/// Makes the runs: `run` is one, of a server in a round. `is_over` ends the comparison; the run that was under way does not count.
pub(crate) async fn rounds(
    servers: &[Kind],
    rounds: u32,
    mut run: impl AsyncFnMut(Kind, u32) -> Result<Finished>,
    is_over: impl Fn() -> bool,
) -> Vec<Run> {
    let mut runs = Vec::new();
    for round in 0..rounds {
        for turn in 0..servers.len() {
            let kind = servers[(turn + round as usize) % servers.len()];
            if is_over() {
                return runs;
            }
            let outcome = match run(kind, round).await {
                Ok(finished) if finished.spoiled.is_empty() => Ok(finished.summary),
                Ok(finished) => Err(finished.spoiled.join("; ")),
                Err(error) => Err(format!("{error:#}")),
            };
            if is_over() {
                return runs;
            }
            runs.push(Run { kind, round, outcome });
        }
    }
    runs
}

/// Rounds that were begun.
pub(crate) fn count(runs: &[Run]) -> u32 {
    runs.iter().map(|run| run.round + 1).max().unwrap_or(0)
}

// === impl Run ===

impl Run {
    pub(crate) fn summary(&self) -> Option<&Summary> {
        self.outcome.as_ref().ok()
    }

    /// What the server got wrong: a run that failed, and wrong bodies. Failed requests are a figure of the tables, since some
    /// scenarios have them.
    pub(crate) fn failures(&self) -> Vec<String> {
        match &self.outcome {
            Err(why) => vec![why.clone()],
            Ok(summary) if summary.requests.mismatches > 0 => {
                vec![format!("{} bodies with a wrong byte", summary.requests.mismatches)]
            }
            Ok(_) => Vec::new(),
        }
    }

    /// Figures of the run, by key; what was not measured is null.
    pub(crate) fn as_json(&self) -> Value {
        let figures = self.summary().map(|summary| {
            let figure =
                |figure: &super::figures::Figure| (figure.key.to_owned(), json!((figure.value)(summary)));
            FIGURES.iter().map(figure).collect::<serde_json::Map<_, _>>()
        });
        json!({
            "server": self.kind.as_str(),
            "round": self.round,
            "failed": self.outcome.as_ref().err(),
            "figures": figures,
            "targets": self.summary().map(|summary| &summary.targets),
            "pacing_p99": self.summary().map(|summary| summary.pacing.p99),
        })
    }
}
