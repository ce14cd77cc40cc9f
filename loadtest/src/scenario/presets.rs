//! The scenarios that come with the binary (`loadtest/scenarios/*.toml`), and the command that lists and prints them.

use std::io::Write;

use anyhow::{Context, Result};
use clap::Args;

use super::file;

/// A scenario that comes with the binary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preset {
    pub(crate) name: &'static str,
    /// Its file.
    pub(crate) text: &'static str,
}

/// List the scenarios that come with the binary, or print one as a file to start from.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// The scenario to print; without it, all are listed
    #[arg(conflicts_with = "keys")]
    name: Option<String>,
    /// Print every key that a scenario can have: what is written, its default, its range
    #[arg(long)]
    keys: bool,
}

macro_rules! presets {
    ($($name:literal),+ $(,)?) => {
        /// All of them, from the plain to the peculiar.
        pub(crate) const ALL: &[Preset] =
            &[$(Preset { name: $name, text: include_str!(concat!("../../scenarios/", $name, ".toml")) }),+];
    };
}

presets![
    "quick",
    "steady",
    "ramp",
    "kick-off",
    "vod-zipf",
    "low-latency",
    "seek-storm",
    "zapping",
    "slow-readers",
    "token-wave",
    "origin-outage",
    "purge",
    "node-restart",
];

/// The scenario of this name.
pub(crate) fn find(name: &str) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.name == name)
}

/// What to write instead of a name that none has.
pub(crate) fn remedy(written: &str) -> String {
    match file::most_like(written, ALL.iter().map(|preset| preset.name)) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => format!(
            "write a file, or one of {}",
            ALL.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Lists them, or prints one.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let text = match &arguments.name {
        Some(name) => {
            find(name).with_context(|| format!("{name}: no such scenario; {}", remedy(name)))?.text.to_owned()
        }
        None if arguments.keys => file::reference::text(),
        None => list()?,
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // Who reads no further has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output"),
    }
}

/// A line each: name, viewers, duration and what it asks of a server.
fn list() -> Result<String> {
    let mut lines = String::new();
    for preset in ALL {
        let scenario = file::parse(preset.name, preset.text)?;
        let (viewers, seconds) = (scenario.viewers(), scenario.duration.as_secs());
        lines += &format!("{:<14} {viewers:>6} viewers {seconds:>4} s  {}\n", preset.name, scenario.about);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn every_scenario_that_comes_with_the_binary_can_be_run_and_says_what_it_is() {
        assert_eq!(ALL.len(), 13);
        for preset in ALL {
            let scenario = file::parse(preset.name, preset.text).unwrap_or_else(|error| panic!("{error:#}"));
            assert_eq!(scenario.name, preset.name);
            assert!(scenario.about.ends_with('.') && scenario.about.len() > 30, "{}", preset.name);
            let seconds = scenario.duration.as_secs();
            let is_long = (60..=120).contains(&seconds) || preset.name == "quick";
            assert!(is_long, "{}: {seconds} s", preset.name);
            assert!(preset.text.starts_with("# "), "{}: no comment at its top", preset.name);
        }
    }

    #[test]
    fn every_file_in_the_folder_comes_with_the_binary() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".toml").map(str::to_owned))
            .collect();
        let mut names: Vec<&str> = ALL.iter().map(|preset| preset.name).collect();
        files.sort();
        names.sort_unstable();
        assert_eq!(files, names);
    }

    #[test]
    fn the_list_has_a_line_for_each() {
        let list = list().unwrap();
        assert_eq!(list.lines().count(), ALL.len());
        assert!(list.lines().zip(ALL).all(|(line, preset)| line.starts_with(preset.name)));
    }

    #[test]
    fn a_name_that_none_has_is_told_with_the_one_that_was_meant() {
        let error = run(&Arguments { name: Some("kickoff".into()), keys: false }).unwrap_err().to_string();
        assert!(error.ends_with("did you mean \"kick-off\"?"), "{error}");
        let error = run(&Arguments { name: Some("???".into()), keys: false }).unwrap_err().to_string();
        assert!(error.contains("quick, steady, ramp"), "{error}");
    }
}
