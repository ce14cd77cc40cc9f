//! The folder of a run: `DATE-MACHINE/SCENARIO-SERVER/` with `scenario.json`, `run.json`, `rows.csv` and `report.html`.
//!
//! Nothing that is there is ever overwritten: a run of the same name gets a number.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::Value;

use super::{html, rows, scenario};
use crate::run::Finished;

/// Runs of one name on one day.
const SAME_NAME_MAX: u32 = 1_000;

/// Characters of a part of a folder's name.
const SLUG_CHARACTERS_MAX: usize = 40;

/// Words of a processor's name that say nothing.
const EMPTY_WORDS: [&str; 9] = ["intel", "amd", "r", "tm", "cpu", "processor", "core", "with", "radeon"];

/// Writes a run below this folder (`loadtest/runs`), and says where.
pub(crate) fn keep(root: &Path, run: &Finished) -> Result<PathBuf> {
    let day = root.join(format!("{}-{}", day(run), machine(&run.machine)));
    fs::create_dir_all(&day).with_context(|| format!("cannot make {}", day.display()))?;
    let name = format!("{}-{}", slug(scenario::text(&run.scenario, "name")), slug(&run.server));
    let folder = make(&day, &name)?;
    let write = |file: &str, text: String| {
        let path = folder.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let scenario = serde_json::to_string_pretty(&run.scenario).context("the scenario as JSON")?;
    write("scenario.json", scenario + "\n")?;
    write("run.json", super::json(run)?)?;
    write("rows.csv", rows::csv(&run.rows))?;
    write("report.html", html::page(std::slice::from_ref(run)))?;
    Ok(folder)
}

/// A folder that was not there before.
fn make(day: &Path, name: &str) -> Result<PathBuf> {
    for number in 1..=SAME_NAME_MAX {
        let folder = day.join(if number == 1 { name.to_owned() } else { format!("{name}-{number}") });
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", folder.display())),
        }
    }
    bail!("{} holds {SAME_NAME_MAX} runs called {name}; move some away", day.display())
}

/// The day of the run, as the facts of the machine have it; else today's (UTC).
fn day(run: &Finished) -> String {
    let told =
        run.machine.get("date").and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
    told.unwrap_or_else(Timestamp::now).strftime("%Y-%m-%d").to_string()
}

/// The machine in a word: its processor and how many cores it has.
fn machine(facts: &Value) -> String {
    let cpu = facts.get("cpu").and_then(Value::as_str).unwrap_or("unknown");
    // What stands behind the @ is the clock, and what is in brackets a trademark.
    let cpu = cpu.split('@').next().unwrap_or(cpu).replace("(R)", " ").replace("(TM)", " ");
    let words: Vec<String> = slug(&cpu)
        .split('-')
        .filter(|word| !EMPTY_WORDS.contains(word) && !word.is_empty())
        .take(3)
        .map(str::to_owned)
        .collect();
    let name = if words.is_empty() { "unknown".to_owned() } else { words.join("-") };
    let cores = facts.get("cores").and_then(Value::as_u64);
    cores.map_or_else(|| name.clone(), |cores| format!("{name}-{cores}c"))
}

/// Lower-case letters, digits and single dashes: a name for a file on any system.
fn slug(text: &str) -> String {
    let text: String = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        .unwrap_or(text)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let words: Vec<&str> = text.split('-').filter(|word| !word.is_empty()).collect();
    let slug: String = words.join("-").chars().take(SLUG_CHARACTERS_MAX).collect();
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "unnamed".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use serde_json::json;

    use super::*;
    use crate::output::sample;

    #[test]
    fn a_run_is_kept_whole_and_never_overwrites_another() {
        let root = tempfile::tempdir().unwrap();
        let run = sample::run(1, "forebay");
        let first = keep(root.path(), &run).unwrap();
        let second = keep(root.path(), &run).unwrap();
        assert!(first.ends_with("2026-11-21-epyc-7763-64-4c/kick-off-forebay"), "{}", first.display());
        assert!(second.ends_with("kick-off-forebay-2"), "{}", second.display());
        let mut files: Vec<_> = fs::read_dir(&first)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(files, ["report.html", "rows.csv", "run.json", "scenario.json"]);
        let read = crate::output::read(&first.join("run.json")).unwrap();
        assert_eq!((read.summary.requests.count, read.rows.len()), (run.summary.requests.count, 120));
    }

    #[test]
    fn names_are_good_for_any_file_system() {
        assert_eq!(slug("https://Edge.example:8443/live/a b"), "edge-example-8443-live-a-b");
        assert_eq!(slug("../.."), "unnamed");
        assert!(slug(&"x-".repeat(100)).len() <= SLUG_CHARACTERS_MAX);
        let cpu = |text: &str| machine(&json!({"cpu": text, "cores": 8}));
        assert_eq!(cpu("Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz"), "xeon-platinum-8370c-8c");
        assert_eq!(cpu("AMD EPYC 7763 64-Core Processor"), "epyc-7763-64-8c");
        assert_eq!(machine(&json!({})), "unknown");
    }
}
