//! The table that `benches/times.rs` prints: what criterion and gungraun have left in files, side by side.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A case that was measured.
pub(crate) struct Row {
    /// Its group.
    pub(crate) group: String,
    /// Its name in the group.
    pub(crate) name: String,
    /// Bytes of body that a turn brings.
    pub(crate) body: Option<u64>,
}

/// What was measured.
pub(crate) struct Table {
    rows: Vec<Row>,
    /// Where criterion leaves times.
    times: PathBuf,
}

/// Nanoseconds: the median, and the interval that it lies in with 95 %.
struct Time {
    median: f64,
    low: f64,
    high: f64,
}

impl Table {
    /// An empty one; times are left in this folder.
    pub(crate) fn new(times: PathBuf) -> Table {
        Table { rows: Vec::new(), times }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Prints it.
    pub(crate) fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let heads = ["one turn", "time", "95 % interval", "body", "instructions"];
        let [case, time, interval, body, counted] = heads;
        writeln!(out, "\n{case:<30} {time:>10} {interval:>22} {body:>12} {counted:>13}")?;
        for row in &self.rows {
            let Some(time) = self.time(row) else { continue };
            let case = format!("{}/{}", row.group, row.name);
            let interval = format!("{} .. {}", duration(time.low), duration(time.high));
            let counted = instructions(row).map_or_else(|| "-".to_owned(), grouped);
            let body = row.body.map_or_else(|| "-".to_owned(), |bytes| rate(bytes, time.median));
            writeln!(
                out,
                "{case:<30} {:>10} {interval:>22} {body:>12} {counted:>13}",
                duration(time.median)
            )?;
        }
        Ok(())
    }

    fn time(&self, row: &Row) -> Option<Time> {
        let path = self.times.join(&row.group).join(&row.name).join("new/estimates.json");
        let median = read(&path)?.get("median")?.clone();
        let interval = median.get("confidence_interval")?;
        Some(Time {
            median: median.get("point_estimate")?.as_f64()?,
            low: interval.get("lower_bound")?.as_f64()?,
            high: interval.get("upper_bound")?.as_f64()?,
        })
    }
}

/// What gungraun has counted for the case, if it has.
fn instructions(row: &Row) -> Option<u64> {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join("gungraun/forebay/instructions/request");
    let summary = read(&folder.join(format!("{}.{}", row.group, row.name)).join("summary.json"))?;
    summary.pointer("/profiles/0/data/total/metrics/Ir/values/new")?.as_u64()
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Nanoseconds in the unit that fits.
fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.1} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns => format!("{:.2} ms", ns / 1e6),
    }
}

/// Bytes in so many nanoseconds: one of each is a gigabyte per second.
#[allow(clippy::cast_precision_loss, reason = "bodies are small")]
fn rate(bytes: u64, nanoseconds: f64) -> String {
    let rate = bytes as f64 / nanoseconds;
    if rate < 1.0 { format!("{:.0} MB/s", rate * 1e3) } else { format!("{rate:.2} GB/s") }
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
