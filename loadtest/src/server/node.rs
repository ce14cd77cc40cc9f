//! The node: its configuration, how it is started, and its purges.
//!
//! It relies on the node's outer contract alone: the configuration file, the JSON line `ready`, and `POST /purge`.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use super::launch::{Launch, Ready, free_address, with_free_ports};
use super::{Disk, Kind, Ports, Purged, Server, Setup, template};
use crate::http1::Client;
use crate::scenario::Token;
use crate::token;

const CONFIGURATION: &str = include_str!("../../peers/forebay.toml");

/// One site for every host.
const ANY_HOST: &str = include_str!("../../peers/forebay-site.toml");

/// Starts the node in front of the origin, open to everybody.
pub(crate) async fn start(setup: &Setup, origin: SocketAddr) -> Result<Server> {
    start_with(setup, origin, ANY_HOST, &[]).await
}

/// The same with a site that wants these tokens, if there are any.
pub(super) async fn start_before(setup: &Setup, origin: SocketAddr, token: Option<&Token>) -> Result<Server> {
    let Some(token) = token else { return start(setup, origin).await };
    let (sites, files) = token::site(token);
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    start_with(setup, origin, &sites, &files).await
}

/// The same with these sites and their token policies; `files` stand beside the configuration, by name.
pub(crate) async fn start_with(
    setup: &Setup,
    origin: SocketAddr,
    sites: &str,
    beside: &[(&str, &str)],
) -> Result<Server> {
    with_free_ports(async || start_once(setup, origin, sites, beside).await).await
}

async fn start_once(
    setup: &Setup,
    origin: SocketAddr,
    sites: &str,
    beside: &[(&str, &str)],
) -> Result<Server> {
    // Not where peers have theirs: what the node keeps in memory is its own, and its disk has a folder by itself.
    let files = tempfile::Builder::new().prefix("forebay-bench-").tempdir().context("a temporary folder")?;
    let (http, admin) = (free_address()?, free_address()?);
    let config = files.path().join("forebay.toml");
    for (name, text) in beside {
        let path = files.path().join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    let text = template::fill(
        CONFIGURATION,
        &[
            ("http", &http.to_string()),
            ("admin", &admin.to_string()),
            ("threads", &setup.threads.to_string()),
            ("memory", &setup.memory),
            ("disk", &setup.disk.as_ref().map(disk_tier).transpose()?.unwrap_or_default()),
            ("origin", &format!("http://{origin}")),
            ("sites", sites),
        ],
    )?;
    std::fs::write(&config, text).with_context(|| config.display().to_string())?;
    let launch = Launch {
        name: "forebay",
        program: setup.forebay.clone(),
        args: vec!["serve".into(), "--config".into(), config.into_os_string()],
        cpus: setup.cpus.clone(),
        ready: Ready::Says(is_ready),
    };
    Server::launched(Kind::Forebay, launch, files, Ports { http, h2c: http, admin: Some(admin) }).await
}

/// The version the node names, or `None` when the binary does not run.
pub(crate) async fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Purges what is below the prefix, of all sites.
pub(super) async fn purge(admin: Option<SocketAddr>, prefix: &str, hard: bool) -> Result<Purged> {
    let admin = admin.context("the node has no admin listener")?;
    let order = json!({ "prefix": prefix, "site": "*", "mode": if hard { "hard" } else { "soft" } });
    let answer = Client::connect(admin).await?.plain("POST", "/purge", &order.to_string()).await?;
    let said = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 200, "status {}: {said}", answer.status);
    Ok(Purged::Done)
}

/// The line of the disk tier, whose folder it makes.
fn disk_tier(disk: &Disk) -> Result<String> {
    let path = disk.folder.join("volume");
    std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    let path = path.to_str().with_context(|| format!("{}: not UTF-8", path.display()))?;
    // JSON's way to write a string is one that TOML understands.
    Ok(format!("disk = [{{ path = {}, size = \"{}\" }}]", serde_json::to_string(path)?, disk.size))
}

/// Whether a line of the log says that the node is ready.
fn is_ready(line: &str) -> bool {
    serde_json::from_str::<Value>(line)
        .is_ok_and(|entry| entry.get("message").and_then(Value::as_str) == Some("ready"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn the_line_ready_is_told_from_all_others() {
        assert!(is_ready("{\"level\":\"INFO\",\"message\":\"ready\"}"));
        for line in
            ["", "ready", "{\"message\":\"not ready\"}", "{\"message\":\"listening\",\"address\":\"ready\"}"]
        {
            assert!(!is_ready(line), "{line}");
        }
    }

    #[test]
    fn the_disk_tier_is_a_line_of_toml_whatever_the_folder_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk { folder: folder.path().join("a \"b\""), size: "1GiB".into() };
        let line: toml::Table = disk_tier(&disk).unwrap().parse().unwrap();
        let path = line["disk"][0]["path"].as_str().unwrap();
        assert_eq!(Path::new(path), disk.folder.join("volume"));
        assert!(Path::new(path).is_dir());
    }
}
