//! What the benchmarks found: text tables on standard output while they run, a summary of the targets at the end, raw
//! rows as JSON on request, and the exit code.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::server::Kind;

/// Errors that are kept word for word; further ones are counted.
const ERRORS_KEPT_MAX: usize = 20;

/// Failures of a peer that are shown.
const PEER_FAILURES_SHOWN_MAX: u64 = 5;

/// A measured value beside the most it should be.
#[derive(Clone, Debug)]
struct Target {
    what: String,
    /// None when errors have spoiled the measurement.
    measured: Option<f64>,
    at_most: f64,
    unit: &'static str,
}

/// Everything found so far.
#[derive(Debug)]
pub(crate) struct Report {
    machine: Value,
    rows: Vec<Value>,
    targets: Vec<Target>,
    errors: Vec<String>,
    errors_count: u64,
    peer_failures_count: u64,
}

// === impl Target ===

impl Target {
    fn is_met(&self) -> bool {
        self.measured.is_some_and(|measured| measured <= self.at_most)
    }

    fn word(&self) -> &'static str {
        if self.is_met() { "met" } else { "missed" }
    }
}

// === impl Report ===

impl Report {
    /// A report that begins with the facts of the machine.
    pub(crate) fn new(machine: Value) -> Self {
        let report = Self {
            machine,
            rows: Vec::new(),
            targets: Vec::new(),
            errors: Vec::new(),
            errors_count: 0,
            peer_failures_count: 0,
        };
        for (name, value) in report.machine.as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            report.say(&format!("{name:9} {}", if value == "null" { "not found" } else { &value }));
        }
        report
    }

    /// The facts of the machine.
    pub(crate) fn machine(&self) -> &Value {
        &self.machine
    }

    /// One line of text, at once.
    pub(crate) fn say(&self, line: &str) {
        // Nobody reads any more: the exit code and the JSON file still tell.
        writeln!(std::io::stdout(), "{line}").ok();
    }

    /// A heading.
    pub(crate) fn heading(&self, text: &str) {
        self.say(&format!("\n== {text}"));
    }

    /// A table: the first column to the left, the others to the right.
    pub(crate) fn table(&self, header: &[&str], rows: &[Vec<String>]) {
        for line in table(header, rows) {
            self.say(&line);
        }
    }

    /// The same in Markdown, for a document.
    pub(crate) fn markdown(&self, header: &[&str], rows: &[Vec<String>]) {
        for line in markdown(header, rows) {
            self.say(&line);
        }
    }

    /// A raw row for the JSON file.
    pub(crate) fn row(&mut self, row: Value) {
        self.rows.push(row);
    }

    /// A value that has a target; none when errors have spoiled its measurement, which misses it.
    pub(crate) fn target(&mut self, what: &str, measured: Option<f64>, at_most: f64, unit: &'static str) {
        self.targets.push(Target { what: what.to_owned(), measured, at_most, unit });
    }

    /// Wrong bytes, a failed exchange, or a benchmark that could not be run.
    pub(crate) fn error(&mut self, text: String) {
        self.errors_count += 1;
        if self.errors.len() < ERRORS_KEPT_MAX {
            self.say(&format!("error: {text}"));
            self.errors.push(text);
        }
    }

    /// A failed exchange with a server. A peer's failures are shown and counted in the rows, but they are the peer's.
    pub(crate) fn failure(&mut self, server: Kind, text: &str) {
        if server.is_peer() {
            self.peer_failures_count += 1;
            if self.peer_failures_count <= PEER_FAILURES_SHOWN_MAX {
                self.say(&format!("{}: {text}", server.as_str()));
            }
        } else {
            self.error(format!("{}: {text}", server.as_str()));
        }
    }

    /// Prints the summary, writes the JSON file, and says how the process is to end: 1 after any error, else 0.
    pub(crate) fn finish(&self, json: Option<&Path>) -> Result<ExitCode> {
        if !self.targets.is_empty() {
            self.heading("summary");
            let number = |value: f64| format!("{value:.2}");
            let rows: Vec<_> = self
                .targets
                .iter()
                .map(|t| {
                    vec![
                        t.what.clone(),
                        t.measured.map_or_else(|| "errors".into(), number),
                        number(t.at_most),
                        t.unit.into(),
                        t.word().into(),
                    ]
                })
                .collect();
            self.table(&["target", "measured", "at most", "unit", ""], &rows);
        }
        self.say(&format!("errors: {}", self.errors_count));
        if let Some(path) = json {
            let text = serde_json::to_string_pretty(&self.as_json()).context("the report as JSON")?;
            std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(if self.errors_count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn as_json(&self) -> Value {
        let targets: Vec<_> = self
            .targets
            .iter()
            .map(|t| {
                json!({"what": t.what, "measured": t.measured, "at_most": t.at_most, "unit": t.unit, "verdict": t.word()})
            })
            .collect();
        json!({
            "machine": self.machine,
            "rows": self.rows,
            "targets": targets,
            "errors": self.errors,
            "errors_count": self.errors_count,
        })
    }
}

/// The middle of the values, and the two ends; zeros when there are none.
pub(crate) fn median_min_max(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return (0.0, 0.0, 0.0) };
    let middle = sorted.len() / 2;
    let median =
        if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
    (median, *first, *last)
}

fn table(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    padded(header, rows).into_iter().map(|cells| cells.join("  ").trim_end().to_owned()).collect()
}

fn markdown(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut lines = padded(header, rows);
    let rule = |(column, cell): (usize, &String)| {
        let dashes = "-".repeat(cell.chars().count().saturating_sub(1));
        if column == 0 { format!(":{dashes}") } else { format!("{dashes}:") }
    };
    let rules = lines[0].iter().enumerate().map(rule).collect();
    lines.insert(1, rules);
    lines.into_iter().map(|cells| format!("| {} |", cells.join(" | "))).collect()
}

/// The header and the rows, all cells of a column equally wide.
fn padded(header: &[&str], rows: &[Vec<String>]) -> Vec<Vec<String>> {
    let header: Vec<String> = header.iter().map(ToString::to_string).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&header).chain(rows).collect();
    let width = |column: usize| {
        all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect()
    };
    all.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [vec!["a".into(), "1".into()], vec!["long".into(), "µs".into()]];
        assert_eq!(table(&["", "value"], &rows), ["      value", "a         1", "long     µs"]);
    }

    #[test]
    fn a_table_for_a_document_reads_as_one_in_a_terminal() {
        let rows = [vec!["a".into(), "1".into()], vec!["long".into(), "µs".into()]];
        let lines = markdown(&["", "value"], &rows);
        assert_eq!(lines, ["|      | value |", "| :--- | ----: |", "| a    |     1 |", "| long |    µs |"]);
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        assert_eq!(median_min_max(&[3.0, 1.0, 2.0]), (2.0, 1.0, 3.0));
        assert_eq!(median_min_max(&[4.0, 1.0, 2.0, 3.0]), (2.5, 1.0, 4.0));
        assert_eq!(median_min_max(&[]), (0.0, 0.0, 0.0));
    }

    #[test]
    fn a_missed_target_is_no_failure_and_an_error_is() {
        let mut report = Report::new(json!({}));
        report.target("x", Some(2.0), 1.0, "times");
        report.target("z", None, 1.0, "times");
        report.target("y", Some(1.0), 1.0, "times");
        assert_eq!(report.finish(None).unwrap(), ExitCode::SUCCESS);
        let json = report.as_json();
        assert_eq!(
            [0, 1, 2].map(|index| json["targets"][index]["verdict"].clone()),
            [json!("missed"), json!("missed"), json!("met")]
        );
        report.failure(Kind::Nginx, "wrong byte");
        report.failure(Kind::Varnish, "wrong byte");
        report.failure(Kind::Ats, "wrong byte");
        assert_eq!(report.finish(None).unwrap(), ExitCode::SUCCESS);
        report.failure(Kind::Forebay, "wrong byte");
        assert_eq!(report.finish(None).unwrap(), ExitCode::FAILURE);
    }
}
