//! `forebay cache stat|verify|clear`: what stands on the disks of a configuration, whether it is whole, and its end.
//!
//! Reads the disks themselves, also under a running node. Clearing is the node's own doing while one runs: it is asked
//! on its admin listener. Called by [`crate::cli`].

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::admin::Node;
use super::check::EXIT_BAD_CONFIGURATION;
use crate::config::model::{Config, Disk};
use crate::store::disk::device::Directory;
use crate::store::disk::verify::{self, Report, Stat};
use crate::store::disk::volume::{Volume, VolumeError, VolumeOptions};

/// Exit status of a disk that holds damaged records (`EX_DATAERR` of sysexits).
const EXIT_DAMAGED: u8 = 65;

/// Exit status where a disk or the node cannot be used (`EX_IOERR` of sysexits).
const EXIT_FAILED: u8 = 74;

/// What is asked, and of which configuration.
#[derive(Debug, Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what the disks hold.
    Stat(On),
    /// Read every record on the disks; exits 65 if any is damaged. A node drops such a record when it meets it.
    Verify(On),
    /// Remove everything from the disks; on a running node, from its memory too.
    Clear(On),
}

/// Does one of the commands; gives the exit status.
type Act = fn(&Config, &On, &mut dyn Write) -> Result<u8>;

#[derive(Debug, Args)]
struct On {
    /// The configuration file.
    #[arg(long, short, env = "FOREBAY_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Print JSON, a line for each disk.
    #[arg(long)]
    json: bool,
}

/// Does what was asked for.
pub fn run(args: &CacheArgs) -> ExitCode {
    let (on, act): (&On, Act) = match &args.command {
        Command::Stat(on) => (on, stat),
        Command::Verify(on) => (on, verify),
        Command::Clear(on) => (on, clear),
    };
    let config = match crate::config::load(&on.config) {
        Ok(config) => config,
        Err(mistakes) => return fail(EXIT_BAD_CONFIGURATION, &mistakes.to_string()),
    };
    if config.store.disks.is_empty() {
        let file = on.config.display();
        return fail(EXIT_BAD_CONFIGURATION, &format!("{file}: store.disk: names no disk; add one"));
    }
    match act(&config, on, &mut std::io::stdout().lock()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(EXIT_FAILED, &format!("{error:#}")),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    // Where standard error cannot be written to, the exit status still tells.
    let _ = writeln!(std::io::stderr().lock(), "{message}");
    ExitCode::from(code)
}

fn stat(config: &Config, on: &On, out: &mut dyn Write) -> Result<u8> {
    for disk in &config.store.disks {
        let stat = verify::stat(&directory(disk)?).with_context(|| place(disk))?;
        if on.json {
            writeln!(out, "{}", with_path(disk, stat_json(&stat)))?;
        } else {
            write_stat(disk, &stat, out)?;
        }
    }
    Ok(0)
}

fn verify(config: &Config, on: &On, out: &mut dyn Write) -> Result<u8> {
    let mut damaged = false;
    for disk in &config.store.disks {
        let never = AtomicBool::new(false);
        let report = verify::verify(&directory(disk)?, &never).with_context(|| place(disk))?;
        damaged |= !report.bad.is_empty();
        if on.json {
            writeln!(out, "{}", with_path(disk, report_json(&report)))?;
        } else {
            write_report(disk, &report, out)?;
        }
    }
    Ok(if damaged { EXIT_DAMAGED } else { 0 })
}

fn clear(config: &Config, on: &On, out: &mut dyn Write) -> Result<u8> {
    let mut cleared = 0;
    for disk in &config.store.disks {
        if !clear_stopped(disk).with_context(|| place(disk))? {
            // The node has all of them, and its memory.
            clear_running(config)?;
            cleared = config.store.disks.len();
            break;
        }
        cleared += 1;
    }
    if on.json {
        writeln!(out, "{}", json!({ "cleared": cleared }))?;
    } else {
        writeln!(out, "cleared {cleared} disk{}", if cleared == 1 { "" } else { "s" })?;
    }
    Ok(0)
}

/// Clears a disk that no node uses. False: a node does.
fn clear_stopped(disk: &Disk) -> Result<bool> {
    std::fs::metadata(&disk.path)?;
    let device = Arc::new(Directory::new(&disk.path)?);
    let volume = match Volume::open(device, VolumeOptions { size: disk.size, region: None }) {
        Err(VolumeError::Locked(_)) => return Ok(false),
        opened => opened?,
    };
    volume.clear()?;
    volume.seal_and_close()?;
    Ok(true)
}

/// Has the running node clear its store.
fn clear_running(config: &Config) -> Result<()> {
    let answered = Node::of(config).context("a node uses these disks")?.post("/cache/clear", None)?;
    ensure!((200..300).contains(&answered.status), "{}", answered.refusal());
    Ok(())
}

fn directory(disk: &Disk) -> Result<Directory> {
    Ok(Directory::read_only(&disk.path)?)
}

fn place(disk: &Disk) -> String {
    disk.path.display().to_string()
}

fn with_path(disk: &Disk, mut value: Value) -> Value {
    value["path"] = place(disk).into();
    value
}

fn stat_json(stat: &Stat) -> Value {
    json!({
        "size_bytes": stat.size,
        "file_bytes": stat.file_bytes,
        "region_bytes": stat.region_bytes,
        "regions": stat.regions,
        "closed_in_order": stat.clean,
        "records": stat.records,
        "record_bytes": stat.record_bytes,
        "objects": stat.objects,
        "object_bytes": stat.object_bytes,
    })
}

fn report_json(report: &Report) -> Value {
    let bad: serde_json::Map<String, Value> =
        report.bad.iter().map(|(what, count)| (what.as_str().to_owned(), (*count).into())).collect();
    let listed = report
        .listed
        .iter()
        .map(|bad| json!({ "region": bad.region, "offset": bad.offset, "reason": bad.corruption.as_str() }));
    json!({
        "whole_records": report.whole.0,
        "whole_bytes": report.whole.1,
        "damaged_records": bad,
        "damaged": listed.collect::<Vec<_>>(),
        "torn_records": report.torn,
        "regions_rewritten_meanwhile": report.overtaken_regions,
    })
}

fn write_stat(disk: &Disk, stat: &Stat, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "{}", place(disk))?;
    writeln!(out, "  objects          {} in {}", stat.objects, mebibytes(stat.object_bytes))?;
    writeln!(out, "  records          {} in {}", stat.records, mebibytes(stat.record_bytes))?;
    writeln!(out, "  files            {} of {}", mebibytes(stat.file_bytes), mebibytes(stat.size))?;
    writeln!(out, "  regions          {} of {}", stat.regions, mebibytes(stat.region_bytes))?;
    writeln!(out, "  closed in order  {}", if stat.clean { "yes" } else { "no, or in use" })?;
    Ok(())
}

fn write_report(disk: &Disk, report: &Report, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "{}", place(disk))?;
    writeln!(out, "  whole    {} records in {}", report.whole.0, mebibytes(report.whole.1))?;
    writeln!(out, "  damaged  {} records", report.bad.values().sum::<u64>())?;
    for (what, count) in &report.bad {
        writeln!(out, "    {count} by {}", what.as_str())?;
    }
    for bad in &report.listed {
        writeln!(out, "    region {} at byte {}: {}", bad.region, bad.offset, bad.corruption.as_str())?;
    }
    if report.torn > 0 {
        writeln!(out, "  torn     {} records that a kill cut off: no damage", report.torn)?;
    }
    Ok(())
}

/// Bytes for people to read.
#[allow(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}
