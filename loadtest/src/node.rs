//! Starts the node: writes its configuration, runs `forebay serve`, and reads from its log which ports it got.
//!
//! It relies on the node's outer contract alone: the configuration file and the JSON lines `listening` and `ready`.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ChildStderr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::oneshot;

use crate::child::Guarded;
use crate::server::{Disk, Kind, Server, Setup};

/// How long the node may take until it is ready.
const START_WAIT_MAX: Duration = Duration::from_secs(15);

/// How many of the last log lines are shown when it does not get ready.
const LOG_LINES_SHOWN: usize = 20;

/// The longest log line that is read, in bytes; the rest of a longer one is read as further lines.
const LOG_LINE_BYTES_MAX: u64 = 64 * 1024;

/// What one log line means to the harness.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Listening { listener: String, address: SocketAddr },
    Ready,
    Other,
}

/// Where the node speaks HTTP, and where it tells its metrics.
type Addresses = (SocketAddr, Option<SocketAddr>);

/// Starts the node in front of the origin, on ports the kernel chooses.
pub(crate) async fn start(setup: &Setup, origin: SocketAddr) -> Result<Server> {
    start_with(setup, origin, ANY_HOST, &[]).await
}

/// The same with these sites and their token policies; `files` stand beside the configuration, by name.
pub(crate) async fn start_with(
    setup: &Setup,
    origin: SocketAddr,
    sites: &str,
    beside: &[(&str, &str)],
) -> Result<Server> {
    let files = tempfile::Builder::new().prefix("forebay-bench-").tempdir().context("a temporary folder")?;
    let config = files.path().join("forebay.toml");
    let disk = setup.disk.as_ref().map(disk_tier).transpose()?.unwrap_or_default();
    for (name, text) in beside {
        let path = files.path().join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    std::fs::write(&config, configuration(setup, &disk, origin, sites))
        .with_context(|| config.display().to_string())?;
    let args = ["serve".as_ref(), "--config".as_ref(), config.as_os_str()];
    let mut process = Guarded::start(&setup.forebay, &args, setup.cpus.as_deref())?;
    let log = process.take_stderr().context("the node's log")?;
    let (tell, told) = oneshot::channel();
    // Reads to the end, so that the node never waits for its log to be taken; ends with the node.
    std::thread::Builder::new()
        .name("node-log".into())
        .spawn(move || follow(log, tell))
        .context("a thread")?;
    let (http, admin) = tokio::time::timeout(START_WAIT_MAX, told)
        .await
        .with_context(|| format!("no line \"ready\" in the node's log within {START_WAIT_MAX:?}"))?
        .context("the thread that reads the node's log has ended")??;
    Ok(Server {
        kind: Kind::Forebay,
        http,
        h2c: Some(http),
        admin,
        process: Some(process),
        _files: Some(files),
    })
}

/// The version the node names, or `None` when the binary does not run.
pub(crate) async fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// The line of the disk tier, whose folder it makes.
fn disk_tier(disk: &Disk) -> Result<String> {
    let path = disk.folder.join("volume");
    std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    let path = path.to_str().with_context(|| format!("{}: not UTF-8", path.display()))?;
    // JSON's way to write a string is one that TOML understands.
    Ok(format!("disk = [{{ path = {}, size = \"{}\" }}]", serde_json::to_string(path)?, disk.size))
}

/// One site for every host.
const ANY_HOST: &str = "[[site]]\nhosts  = [\"*\"]\norigin = \"main\"\n";

fn configuration(setup: &Setup, disk: &str, origin: SocketAddr, sites: &str) -> String {
    let Setup { memory, threads, .. } = setup;
    format!(
        r#"[server]
http    = ["127.0.0.1:0"]
admin   = "127.0.0.1:0"
threads = {threads}
h2c     = true

[store]
memory = "{memory}"
{disk}

[log]
access = "off"

[origin.main]
servers = ["http://{origin}"]

{sites}"#
    )
}

/// Reads the log to its end. Tells, once, where the node is when it is ready, or why it will not be.
fn follow(log: ChildStderr, tell: oneshot::Sender<Result<Addresses>>) {
    let mut log = BufReader::new(log);
    let mut last = VecDeque::new();
    let found = until_ready(&mut log, &mut last);
    let shown = Vec::from(last).join("\n");
    // Nobody listens any more only when the start was given up.
    tell.send(found.with_context(|| format!("the node's log ended with:\n{shown}"))).ok();
    std::io::copy(&mut log, &mut std::io::sink()).ok();
}

fn until_ready(log: &mut impl BufRead, last: &mut VecDeque<String>) -> Result<Addresses> {
    let (mut http, mut admin) = (None, None);
    loop {
        let mut line = Vec::new();
        std::io::Read::take(&mut *log, LOG_LINE_BYTES_MAX).read_until(b'\n', &mut line).context("the log")?;
        if line.is_empty() {
            bail!("the node ended before it was ready");
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        match understand(&line) {
            Said::Listening { listener, address } if listener == "http" => http = Some(address),
            Said::Listening { listener, address } if listener == "admin" => admin = Some(address),
            Said::Ready => {
                return Ok((http.context("the node is ready but has named no http address")?, admin));
            }
            Said::Listening { .. } | Said::Other => {}
        }
        if last.len() == LOG_LINES_SHOWN {
            last.pop_front();
        }
        last.push_back(line);
    }
}

fn understand(line: &str) -> Said {
    let Ok(entry) = serde_json::from_str::<Value>(line) else { return Said::Other };
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    match text("message") {
        Some("ready") => Said::Ready,
        Some("listening") => match (text("listener"), text("address").and_then(|text| text.parse().ok())) {
            (Some(listener), Some(address)) => Said::Listening { listener: listener.to_owned(), address },
            _ => Said::Other,
        },
        _ => Said::Other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn the_addresses_are_taken_from_the_log() {
        let log = concat!(
            "a line that is not JSON\n",
            "{\"level\":\"INFO\",\"message\":\"listening\",\"listener\":\"admin\",\"address\":\"127.0.0.1:1\"}\n",
            "{\"message\":\"listening\",\"listener\":\"http\",\"address\":\"127.0.0.1:2\"}\n",
            "{\"message\":\"ready\"}\n",
        );
        let found = until_ready(&mut log.as_bytes(), &mut VecDeque::new()).unwrap();
        assert_eq!(found, ("127.0.0.1:2".parse().unwrap(), Some("127.0.0.1:1".parse().unwrap())));
    }

    #[test]
    fn a_node_that_ends_early_is_an_error_and_its_last_lines_are_kept() {
        let mut last = VecDeque::new();
        let log = (0..100).map(|n| format!("line {n}\n")).collect::<String>();
        assert!(until_ready(&mut log.as_bytes(), &mut last).is_err());
        assert_eq!(last.len(), LOG_LINES_SHOWN);
        assert_eq!(last.back().unwrap(), "line 99");
    }

    #[test]
    fn ready_without_an_address_is_an_error() {
        assert!(until_ready(&mut "{\"message\":\"ready\"}\n".as_bytes(), &mut VecDeque::new()).is_err());
    }
}
