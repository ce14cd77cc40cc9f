//! Medians of the figures, and each server's figures as a multiple of the first one's. Ratios are taken round by round: both runs
//! of a ratio had the machine at about the same time.

use serde_json::{Map, Value, json};

use super::figures::{FIGURES, Figure, shown};
use super::rounds::Run;
use crate::measure::summary::Pacing;
use crate::output::words::{LATE_REMEDY, tester_was_late};
use crate::report::median_min_max;
use crate::server::Kind;

/// A table of the report: a row for each figure, a column for each server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// The medians, and the ratios to the first server.
pub(crate) fn tables(servers: &[Kind], runs: &[Run]) -> [Table; 2] {
    let header = |servers: &[Kind]| {
        let names = servers.iter().map(|kind| kind.as_str().to_owned());
        std::iter::once(String::new()).chain(names).collect()
    };
    let first = servers.first().copied();
    let peers = servers.get(1..).unwrap_or_default();
    let medians = FIGURES.iter().map(|figure| {
        let cells = servers.iter().map(|kind| cell(&values(figure, *kind, runs), figure.digits));
        std::iter::once(figure.name.to_owned()).chain(cells).collect()
    });
    let ratios = FIGURES.iter().map(|figure| {
        let cells = peers.iter().map(|kind| {
            let ratios = first.map(|first| ratios(figure, first, *kind, runs)).unwrap_or_default();
            cell(&ratios, 2)
        });
        std::iter::once(figure.name.to_owned()).chain(cells).collect()
    });
    [
        Table { header: header(servers), rows: medians.collect() },
        Table { header: header(peers), rows: ratios.collect() },
    ]
}

/// What is to be known beside the tables: targets that were missed, and rounds in which the tester was late itself.
pub(crate) fn remarks(servers: &[Kind], runs: &[Run]) -> Vec<String> {
    let mut remarks = Vec::new();
    for kind in servers {
        let own: Vec<_> = runs.iter().filter(|run| run.kind == *kind).collect();
        let summaries: Vec<_> = own.iter().filter_map(|run| run.summary()).collect();
        let late: Vec<_> = summaries.iter().map(|one| one.pacing).filter(Pacing::is_late).collect();
        if let Some(worst) = late.iter().map(|pacing| pacing.p99).max_by(f64::total_cmp) {
            let when = format!(" in {} of {} rounds", late.len(), own.len());
            remarks.push(format!("{}: {}: {LATE_REMEDY}", kind.as_str(), tester_was_late(&when, worst)));
        }
        // In how many rounds each target was missed.
        let mut missed: Vec<(&str, usize)> = Vec::new();
        for verdict in
            summaries.iter().flat_map(|summary| &summary.targets).filter(|verdict| verdict.is_missed())
        {
            match missed.iter_mut().find(|(target, _)| *target == verdict.target) {
                Some((_, rounds)) => *rounds += 1,
                None => missed.push((&verdict.target, 1)),
            }
        }
        for (target, rounds) in missed {
            remarks.push(format!("{}: {target} missed in {rounds} of {} rounds", kind.as_str(), own.len()));
        }
    }
    remarks
}

/// Each server: medians, ends and ratios, by the key of the figure.
pub(crate) fn as_json(servers: &[Kind], runs: &[Run]) -> Value {
    let told = |values: &[f64]| {
        let (median, min, max) = median_min_max(values);
        (!values.is_empty())
            .then(|| json!({ "median": median, "min": min, "max": max, "count": values.len() }))
    };
    let mut all = Map::new();
    for kind in servers {
        let mut figures = Map::new();
        for figure in &FIGURES {
            let ratio = told(&ratios(figure, servers[0], *kind, runs)).filter(|_| *kind != servers[0]);
            let value = told(&values(figure, *kind, runs));
            figures.insert(figure.key.to_owned(), json!({ "value": value, "ratio_to_first": ratio }));
        }
        all.insert(kind.as_str().to_owned(), Value::Object(figures));
    }
    Value::Object(all)
}

/// The figure in each round of the server that has one.
fn values(figure: &Figure, kind: Kind, runs: &[Run]) -> Vec<f64> {
    let own = runs.iter().filter(|run| run.kind == kind);
    own.filter_map(|run| (figure.value)(run.summary()?)).collect()
}

/// The server's figure by the first one's, in each round that has both. Nothing is a multiple of zero; where both are zero, they are
/// the same.
fn ratios(figure: &Figure, first: Kind, kind: Kind, runs: &[Run]) -> Vec<f64> {
    let value = |kind: Kind, round: u32| {
        let run = runs.iter().find(|run| run.kind == kind && run.round == round)?;
        (figure.value)(run.summary()?)
    };
    let rounds = runs.iter().filter(|run| run.kind == kind).map(|run| run.round);
    let ratio = |round| match (value(kind, round)?, value(first, round)?) {
        (0.0, 0.0) => Some(1.0),
        (_, 0.0) => None,
        (own, first) => Some(own / first),
    };
    rounds.filter_map(ratio).collect()
}

/// The median, and the two ends where they can be told apart.
fn cell(values: &[f64], digits: usize) -> String {
    if values.is_empty() {
        return "-".to_owned();
    }
    let (median, min, max) = median_min_max(values);
    let [median, min, max] = [median, min, max].map(|value| shown(value, digits));
    if min == max { median } else { format!("{median} ({min}..{max})") }
}

// === impl Table ===

impl Table {
    pub(crate) fn header(&self) -> Vec<&str> {
        self.header.iter().map(String::as_str).collect()
    }
}
