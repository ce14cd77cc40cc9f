//! Debian's Apache Traffic Server: its configuration in a folder of its own (a runroot), how it is started, and its purges. It
//! runs without its manager, as an ordinary process.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::launch::{Launch, Ready, free_address, located, with_free_ports};
use super::{CONNECTIONS, Kind, Ports, Purged, Server, Setup, template};
use crate::http1::Client;

const RUNROOT: &str = include_str!("../../peers/ats/runroot.yaml");
const RECORDS: &str = include_str!("../../peers/ats/records.config");
const REMAP: &str = include_str!("../../peers/ats/remap.config");
const STORAGE: &str = include_str!("../../peers/ats/storage.config");
const IP_ALLOW: &str = include_str!("../../peers/ats/ip_allow.yaml");
const LIVE: &str = include_str!("../../peers/ats/live.lua");
const X_CACHE: &str = include_str!("../../peers/ats/x-cache.config");

/// Files that it looks for and warns of when they are not there; none of them has to say anything.
const EMPTY: [&str; 7] = [
    "cache.config",
    "hosting.config",
    "parent.config",
    "plugin.config",
    "sni.yaml",
    "ssl_multicert.config",
    "volume.config",
];

/// The smallest storage that it makes stripes of, in bytes.
const STORAGE_BYTES_MIN: u64 = 256 << 20;

/// The paths of the rules of remap.config: each is purged as a whole.
const RULES: [&str; 3] = ["/media/live/", "/media/vod/", "/"];

/// Starts Traffic Server in front of the origin.
pub(super) async fn start(setup: &Setup, origin: SocketAddr) -> Result<Server> {
    with_free_ports(async || start_once(setup, origin).await).await
}

async fn start_once(setup: &Setup, origin: SocketAddr) -> Result<Server> {
    let files = setup.folder(Kind::Ats)?;
    let http = free_address()?;
    write(setup, files.path(), http, origin)?;
    let mut root = std::ffi::OsString::from("--run-root=");
    root.push(files.path());
    let launch = Launch {
        name: "ats",
        program: setup.ats.clone(),
        args: vec![root],
        cpus: setup.cpus.clone(),
        ready: Ready::Answers(http),
    };
    Server::launched(Kind::Ats, launch, files, Ports { http, h2c: http, admin: None }).await
}

/// The version Traffic Server names, or `None` when it is not installed.
pub(crate) async fn version(program: &Path) -> Option<String> {
    let output = Command::new(located(program)).arg("--version").output().await.ok()?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let rest = text.split_once("Traffic Server ")?.1;
    rest.split_whitespace().next().map(str::to_owned)
}

/// Purges the rules that have what is below the prefix.
pub(super) async fn purge(http: SocketAddr, prefix: &str) -> Result<Purged> {
    let mut client = Client::connect(http).await?;
    for rule in rules(prefix) {
        let answer = client.ask("PURGE", rule, &[("X-Purge", "below")], "").await?;
        ensure!(answer.status == 200, "{rule}: status {}", answer.status);
    }
    Ok(Purged::Done)
}

/// The rules that may have something below the prefix: the longest one that the prefix is below of, and all that are below the
/// prefix.
fn rules(prefix: &str) -> Vec<&'static str> {
    let own = RULES.iter().position(|rule| prefix.starts_with(rule));
    let wanted = |(index, rule): (usize, &&str)| Some(index) == own || rule.starts_with(prefix);
    RULES.iter().enumerate().filter(|entry| wanted(*entry)).map(|(_, rule)| *rule).collect()
}

/// Writes its folders and files.
fn write(setup: &Setup, folder: &Path, http: SocketAddr, origin: SocketAddr) -> Result<()> {
    let bytes = setup.cache_bytes()?.max(STORAGE_BYTES_MIN).to_string();
    let name = folder.to_str().with_context(|| format!("{}: not UTF-8", folder.display()))?;
    let run = folder.join("run");
    let etc = folder.join("etc");
    for folder in [&run, &etc] {
        std::fs::create_dir(folder).with_context(|| folder.display().to_string())?;
    }
    let (port, host) = (http.port().to_string(), http.ip().to_string());
    let (threads, connections) = (setup.threads.to_string(), CONNECTIONS.to_string());
    let ram_bytes = template::bytes(&setup.memory)?.to_string();
    let records = [
        ("port", port.as_str()),
        ("host", &host),
        ("threads", &threads),
        ("connections", &connections),
        ("ram_bytes", &ram_bytes),
    ];
    let (origin, storage) = (origin.to_string(), run.display().to_string());
    let texts = [
        (folder.join("runroot.yaml"), template::fill(RUNROOT, &[("folder", name)])),
        (etc.join("records.config"), template::fill(RECORDS, &records)),
        (etc.join("remap.config"), template::fill(REMAP, &[("folder", name), ("origin", &origin)])),
        (etc.join("storage.config"), template::fill(STORAGE, &[("storage", &storage), ("bytes", &bytes)])),
        (etc.join("ip_allow.yaml"), Ok(IP_ALLOW.to_owned())),
        (etc.join("live.lua"), Ok(LIVE.to_owned())),
        (etc.join("x-cache.config"), Ok(X_CACHE.to_owned())),
    ];
    for (path, text) in texts {
        let text = text.with_context(|| path.display().to_string())?;
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    for name in EMPTY {
        let path = etc.join(name);
        std::fs::write(&path, "").with_context(|| path.display().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_reaches_every_rule_that_may_have_something_below_and_no_other() {
        assert_eq!(rules("/"), ["/media/live/", "/media/vod/", "/"]);
        assert_eq!(rules("/media/"), ["/media/live/", "/media/vod/", "/"]);
        assert_eq!(rules("/media/live/"), ["/media/live/"]);
        assert_eq!(rules("/media/live/one/"), ["/media/live/"]);
        assert_eq!(rules("/media/v"), ["/media/vod/", "/"]);
        assert_eq!(rules("/other/"), ["/"]);
    }
}
