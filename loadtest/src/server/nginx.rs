//! Debian's nginx as a caching proxy: its configuration, how it is started, and purges, for which the open-source nginx has
//! nothing of its own: files of its cache are removed, as its operators do it.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::launch::{Launch, Ready, free_address, located, with_free_ports};
use super::{CONNECTIONS, Kind, Ports, Purged, Server, Setup, template};

const CONFIGURATION: &str = include_str!("../../peers/nginx.conf");

/// How long nginx may serve a removed file: `open_file_cache_valid`, and a little for its clock.
const OPEN_FILES_KEPT: Duration = Duration::from_millis(1200);

/// How far into a cache file its key is looked for, in bytes: behind a header of less than 400 bytes.
const KEY_WITHIN_BYTES: u64 = 8 * 1024;

/// Starts nginx in front of the origin.
pub(super) async fn start(setup: &Setup, origin: SocketAddr) -> Result<Server> {
    with_free_ports(async || start_once(setup, origin).await).await
}

async fn start_once(setup: &Setup, origin: SocketAddr) -> Result<Server> {
    let files = setup.folder(Kind::Nginx)?;
    let (http, h2c) = (free_address()?, free_address()?);
    let folder = files.path();
    let config = folder.join("nginx.conf");
    // Without this line the workers of a master that runs as root change to a user that cannot write here.
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    let text = template::fill(
        CONFIGURATION,
        &[
            ("user", user),
            ("folder", &folder.display().to_string()),
            ("threads", &setup.threads.to_string()),
            ("connections", &CONNECTIONS.to_string()),
            ("bytes", &setup.cache_bytes()?.to_string()),
            ("origin", &origin.to_string()),
            ("http", &http.to_string()),
            ("h2c", &h2c.to_string()),
        ],
    )?;
    std::fs::write(&config, text).with_context(|| config.display().to_string())?;
    let launch = Launch {
        name: "nginx",
        program: setup.nginx.clone(),
        args: vec![
            "-p".into(),
            folder.into(),
            "-c".into(),
            config.into_os_string(),
            "-e".into(),
            "stderr".into(),
        ],
        cpus: setup.cpus.clone(),
        ready: Ready::Accepts(http),
    };
    Server::launched(Kind::Nginx, launch, files, Ports { http, h2c, admin: None }).await
}

/// The version nginx names, or `None` when it is not installed.
pub(crate) async fn version(program: &Path) -> Option<String> {
    let output = Command::new(located(program)).arg("-v").output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.trim().strip_prefix("nginx version: nginx/").map(str::to_owned)
}

/// Removes the files of all objects whose key begins with the prefix.
pub(super) async fn purge(folder: Option<&Path>, prefix: &str) -> Result<Purged> {
    let cache = folder.context("nginx has no folder")?.join("cache");
    let prefix = prefix.to_owned();
    tokio::task::spawn_blocking(move || remove(&cache, prefix.as_bytes())).await.context("a thread")??;
    // Until then workers serve from descriptors that they hold open.
    tokio::time::sleep(OPEN_FILES_KEPT).await;
    Ok(Purged::Done)
}

/// Removes such files in this folder and those below.
fn remove(folder: &Path, prefix: &[u8]) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        // Nothing is cached yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| folder.display().to_string()),
    };
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if path.is_dir() {
            remove(&path, prefix)?;
        } else if key(&path).is_some_and(|key| key.starts_with(prefix)) {
            // nginx may have removed it meanwhile.
            std::fs::remove_file(&path).ok();
        }
    }
    Ok(())
}

/// The key of a cache file, which is a line of its own between nginx's header and the answer's. None of a file that is gone or
/// is still being written.
fn key(path: &Path) -> Option<Vec<u8>> {
    const MARK: &[u8] = b"\nKEY: ";
    let mut head = Vec::new();
    std::fs::File::open(path).ok()?.take(KEY_WITHIN_BYTES).read_to_end(&mut head).ok()?;
    let start = head.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let length = head[start..].iter().position(|byte| *byte == b'\n')?;
    Some(head[start..start + length].to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn files_are_removed_by_their_key_in_all_folders() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, key: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, format!("\x03\x00binary\nKEY: {key}\nHTTP/1.1 200 OK\r\n\r\n/live/body"))
                .unwrap();
            path
        };
        let gone = [file("a/bc/1", "/live/a.m4s"), file("a/2", "/live/b?x=1")];
        let stays = [file("a/bc/3", "/vod/live/"), file("4", "/liv")];
        remove(folder.path(), b"/live/").unwrap();
        assert!(gone.iter().all(|path| !path.exists()) && stays.iter().all(|path| path.exists()));
        remove(&folder.path().join("none"), b"/").unwrap();
    }
}
