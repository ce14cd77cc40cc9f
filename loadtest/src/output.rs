//! What people and programs get to see of a run: progress while it goes on, a summary in the terminal, `run.json` by the
//! published schema, `rows.csv`, and one HTML page; and several runs beside each other.
//!
//! Decides nothing about a run: all figures are [`crate::measure`]'s. Called by whoever runs one, and by
//! `forebay-loadtest report`.

pub(crate) mod compare;
pub(crate) mod html;
pub(crate) mod progress;
pub(crate) mod runs;
pub(crate) mod text;

mod charts;
mod facts;
mod paint;
mod plot;
mod rows;
#[cfg(test)]
mod sample;
mod scenario;
#[cfg(test)]
mod schema;
mod unit;
pub(crate) mod words;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use self::paint::Paint;
use crate::run::Finished;

/// The version of `run.json` that this binary writes and reads.
pub(crate) const RUN_VERSION: u32 = 1;

/// Bytes of a `run.json` that is read: a day of rows is about 100 MB.
const RUN_BYTES_MAX: u64 = 256 << 20;

/// Runs beside each other: as many as there are colours.
const RUNS_MAX: usize = charts::TONES.len();

/// `forebay-loadtest report`: finished runs, once more or beside each other.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// `run.json` of each run; the others are compared with the first.
    #[arg(required = true, value_name = "RUN.json")]
    runs: Vec<PathBuf>,
    /// Write an HTML page, too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Renders runs that are finished: one as its run did, several beside each other.
pub(crate) fn report(arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.runs.len() <= RUNS_MAX,
        "at most {RUNS_MAX} runs can stand beside each other, these are {}",
        arguments.runs.len()
    );
    let runs: Vec<Finished> = arguments.runs.iter().map(|path| read(path)).collect::<Result<_>>()?;
    let stdout = std::io::stdout();
    let text = match runs.as_slice() {
        [run] => text::summary(&title(run), &run.summary, Paint::of(&stdout)),
        several => compare::text(several),
    };
    // Nobody reads any more: the page is still to be written.
    stdout.lock().write_all(text.as_bytes()).ok();
    arguments.html.as_deref().map_or(Ok(()), |path| write_html(path, &runs))
}

/// Writes a run as JSON, by the schema `loadtest/schema/run.json`.
pub(crate) fn write_json(path: &Path, run: &Finished) -> Result<()> {
    std::fs::write(path, json(run)?).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes the HTML page of one run, or of several beside each other.
pub(crate) fn write_html(path: &Path, runs: &[Finished]) -> Result<()> {
    std::fs::write(path, html::page(runs)).with_context(|| format!("cannot write {}", path.display()))
}

/// Reads what [`write_json`] wrote.
pub(crate) fn read(path: &Path) -> Result<Finished> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut text = String::new();
    file.take(RUN_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("reading {}", path.display()))?;
    ensure!(text.len() as u64 <= RUN_BYTES_MAX, "{} is longer than {RUN_BYTES_MAX} bytes", path.display());
    let value: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
    match value.get("version").and_then(Value::as_u64) {
        Some(version) if version == u64::from(RUN_VERSION) => {}
        Some(version) => bail!(
            "{} is a run of version {version}, and this is a report of version {RUN_VERSION}: use the forebay-loadtest that wrote it",
            path.display()
        ),
        None => bail!("{} is no run: it has no version; give the run.json of a run's folder", path.display()),
    }
    serde_json::from_value(value).with_context(|| format!("{} is no run", path.display()))
}

/// What was run, and at what.
fn title(run: &Finished) -> String {
    format!("{} at {}", scenario::text(&run.scenario, "name"), run.server)
}

fn json(run: &Finished) -> Result<String> {
    Ok(serde_json::to_string_pretty(run).context("the run as JSON")? + "\n")
}

#[cfg(test)]
mod tests;
