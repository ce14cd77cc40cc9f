//! The systemd unit, judged by systemd: `systemd-analyze verify` over the file that ships.
//!
//! The verifier asks for the programs that the unit starts, so that it sees a copy whose `/usr/bin/forebay` is the binary
//! under test; nothing else differs. Where systemd-analyze is not installed, the test says so and passes.

use std::error::Error;
use std::path::Path;
use std::process::Command;

const UNIT: &str = "systemd/forebay.service";
const INSTALLED: &str = "/usr/bin/forebay";

/// Reads a file of the repository.
fn read(path: &str) -> std::io::Result<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
}

#[test]
fn systemd_finds_no_fault_in_the_unit() -> Result<(), Box<dyn Error>> {
    let unit = read(UNIT)?;
    let here = unit.replace(INSTALLED, env!("CARGO_BIN_EXE_forebay"));
    assert_ne!(unit, here, "{UNIT} does not start {INSTALLED}");
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("forebay.service");
    std::fs::write(&copy, here)?;
    let output = match Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: systemd-analyze is not installed");
            return Ok(());
        }
        other => other?,
    };
    // Other units of the machine may be at fault too: a warning counts when it names this one.
    let warnings = String::from_utf8(output.stderr)?;
    let own: Vec<&str> = warnings.lines().filter(|line| line.contains("forebay")).collect();
    assert!(own.is_empty(), "systemd-analyze verify {UNIT}:\n{}", own.join("\n"));
    assert!(output.status.success(), "systemd-analyze verify {UNIT} failed ({}):\n{warnings}", output.status);
    Ok(())
}

/// The seconds after `NAME=` in the unit.
fn seconds(unit: &str, name: &str) -> Option<u64> {
    unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

#[test]
fn the_unit_checks_the_configuration_it_then_serves() -> Result<(), Box<dyn Error>> {
    let unit = read(UNIT)?;
    let line = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let checked = line("ExecStartPre=/usr/bin/forebay check ");
    assert_eq!(checked, "/etc/forebay/forebay.toml");
    assert_eq!(line("ExecStart=/usr/bin/forebay serve --config "), checked);
    Ok(())
}

#[test]
fn the_unit_waits_longer_for_the_end_than_the_node_drains_by_default() -> Result<(), Box<dyn Error>> {
    const DRAIN_DEFAULT_SECONDS: u64 = 30;
    let stop = seconds(&read(UNIT)?, "TimeoutStopSec").ok_or("TimeoutStopSec is not a number of seconds")?;
    assert!(stop > DRAIN_DEFAULT_SECONDS, "TimeoutStopSec={stop} cuts off the drain of 30 s");
    Ok(())
}
