//! A run in 80 columns, for a terminal: the verdict first, then the figures, then requests by kind.

use super::facts::{self, Fact, Group};
use super::paint::Paint;
use super::unit::Unit;
use super::words;
use crate::measure::summary::{Quantiles, Summary};

/// Columns of a terminal.
pub(crate) const COLUMNS: usize = 80;

/// The summary of a run, as lines. `title` says what was run, and at what.
pub(crate) fn summary(title: &str, summary: &Summary, paint: Paint) -> String {
    let mut text = format!("\n{}\n\n", paint.bold(title));
    let all = words::all_met(&summary.targets);
    let verdict = words::verdict(&summary.targets);
    line(&mut text, &if all { paint.good(&verdict) } else { paint.bad(&verdict) });
    if let Some(warning) = words::warning(summary) {
        for part in wrap(&warning, COLUMNS) {
            line(&mut text, &paint.warn(&part));
        }
    }
    text.push('\n');
    targets(&mut text, summary, paint);
    figures(&mut text, summary, paint);
    kinds(&mut text, summary, paint);
    errors(&mut text, summary, paint);
    text
}

fn targets(text: &mut String, summary: &Summary, paint: Paint) {
    let rows: Vec<Vec<String>> = summary
        .targets
        .iter()
        .map(|target| {
            let (name, unit) = words::target(&target.target);
            vec![name.to_owned(), words::measured(target), format!("at most {}", unit.write(target.at_most))]
        })
        .collect();
    for (row, target) in pad(&rows, 1).iter().zip(&summary.targets) {
        let word = words::met(target);
        let word = match target {
            _ if target.unmeasured => paint.warn(word),
            _ if target.met => paint.good(word),
            _ => paint.bad(word),
        };
        line(text, &format!("  {row}  {word}"));
    }
}

/// Two figures on a line, so that all of them are seen at once.
fn figures(text: &mut String, summary: &Summary, paint: Paint) {
    let facts = facts::of(summary);
    for group in Group::ALL {
        let facts: Vec<&Fact> =
            facts.iter().filter(|fact| fact.group == group && fact.value.is_some()).collect();
        if facts.is_empty() {
            continue;
        }
        line(text, &format!("\n{}", paint.bold(group.as_str())));
        let half = facts.len().div_ceil(2);
        for index in 0..half {
            let cell = |fact: &Fact| format!("{:25} {:>11}", fact.name, fact.text());
            let second = facts.get(half + index).map_or_else(String::new, |fact| cell(fact));
            line(text, format!("  {}  {second}", cell(facts[index])).trim_end());
        }
    }
}

fn kinds(text: &mut String, summary: &Summary, paint: Paint) {
    if summary.kinds.is_empty() {
        return;
    }
    line(text, &format!("\n{}", paint.bold("requests by kind and cache, times as p50 and p99")));
    let head = ["", "cache", "requests", "bytes", "TTFB", "p99", "whole", "p99"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let time = |quantiles: &Quantiles, value: f64| {
        if quantiles.count > 0 { Unit::Milliseconds.write(value) } else { "-".to_owned() }
    };
    rows.extend(summary.kinds.iter().map(|kind| {
        vec![
            kind.kind.clone(),
            kind.cache.clone(),
            Unit::Count.tick(kind.requests as f64),
            Unit::Bytes.write(kind.bytes as f64),
            time(&kind.ttfb_ms, kind.ttfb_ms.p50),
            time(&kind.ttfb_ms, kind.ttfb_ms.p99),
            time(&kind.whole_ms, kind.whole_ms.p50),
            time(&kind.whole_ms, kind.whole_ms.p99),
        ]
    }));
    for (index, row) in pad(&rows, 2).iter().enumerate() {
        line(text, &if index == 0 { paint.dim(row) } else { row.clone() });
    }
}

fn errors(text: &mut String, summary: &Summary, paint: Paint) {
    let requests = &summary.requests;
    if !requests.errors_by.is_empty() {
        let words: Vec<String> =
            requests.errors_by.iter().map(|(word, count)| format!("{word} {count}")).collect();
        line(text, &format!("\n{}", paint.bold("errors")));
        for part in wrap(&words.join(", "), COLUMNS - 2) {
            line(text, &format!("  {part}"));
        }
    }
    for example in requests.examples.iter().take(3) {
        line(text, &format!("  {}", paint.dim(&cut(example, COLUMNS - 2))));
    }
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// Rows with their cells under each other, two columns apart; the first so many to the left, the others to the right.
pub(crate) fn pad(rows: &[Vec<String>], left: usize) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column < left { format!("{cell:width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Lines of at most so many characters, broken between words.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let current = &mut lines[last];
        if current.is_empty() {
            current.push_str(word);
        } else if current.chars().count() + 1 + word.chars().count() <= columns {
            current.push(' ');
            current.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// At most so many characters.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::output::sample;

    #[test]
    fn a_summary_fits_a_terminal_and_begins_with_the_verdict() {
        let run = sample::run(1, "forebay");
        let text = summary("kick-off at forebay", &run.summary, Paint::plain());
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{} columns: {line}", line.chars().count());
        }
        let first: Vec<&str> = text.lines().filter(|line| !line.is_empty()).take(2).collect();
        assert_eq!(first, ["kick-off at forebay", words::verdict(&run.summary.targets).as_str()]);
        for part in ["stall ratio", "start-up p95", "segment", "hit", "server CPU", "late p99", "status-503"]
        {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_run_of_nothing_can_be_told() {
        let text = summary("x", &Summary::default(), Paint::plain());
        assert!(text.contains("No targets"), "{text}");
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        let run = sample::run(1, "forebay");
        assert!(summary("x", &run.summary, Paint::coloured()).contains("\u{1b}[1mx\u{1b}[0m"));
    }

    #[test]
    fn long_texts_are_broken_or_cut() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(cut("abcdef", 4), "abc…");
    }
}
