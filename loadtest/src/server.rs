//! A running server under measurement, whatever it is: its addresses and its process. Benchmarks and runs see only this; how
//! each kind is configured, started and purged stands in a file of its own below, its configuration in `loadtest/peers/`.
//!
//! Every server is an ordinary child process on ports of 127.0.0.1, with all its files in a temporary folder. No system
//! service is touched.

pub(crate) mod arguments;
pub(crate) mod ats;
pub(crate) mod launch;
pub(crate) mod nginx;
pub(crate) mod node;
pub(crate) mod template;
pub(crate) mod varnish;

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use tempfile::TempDir;

use crate::child::Guarded;
use crate::origin::Origin;
use crate::proc::STAT_BLOCK_BYTES;
use crate::scenario::Token;
use launch::Launch;

/// Connections that each peer is configured for: those of 10,000 viewers with HTTP/1.1, and room to spare.
const CONNECTIONS: u64 = 65_536;

/// Worker threads of a server, unless told.
const THREADS: u32 = 2;

/// A folder in memory.
const SHARED_MEMORY: &str = "/dev/shm";

/// What is measured. The word is the same in the tables, the raw rows and the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Kind {
    /// The node.
    Forebay,
    /// Debian's nginx.
    Nginx,
    /// Debian's Varnish.
    Varnish,
    /// Debian's Apache Traffic Server.
    Ats,
    /// No server at all: the clients ask the origin. Shows what the harness itself costs.
    Direct,
}

/// How a server is to be started.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The node's binary.
    pub(crate) forebay: PathBuf,
    /// nginx's binary.
    pub(crate) nginx: PathBuf,
    /// Varnish's binary, `varnishd`.
    pub(crate) varnish: PathBuf,
    /// Traffic Server's binary, `traffic_server`.
    pub(crate) ats: PathBuf,
    /// The memory tier, with its unit; of a peer, the size of its cache.
    pub(crate) memory: String,
    /// The disk tier; none leaves a server with memory alone.
    pub(crate) disk: Option<Disk>,
    /// Worker threads, or processes.
    pub(crate) threads: u32,
    /// Processors to run on, in `taskset -c` form; none leaves it to the kernel.
    pub(crate) cpus: Option<String>,
}

/// A disk tier: what stands in its folder outlives the node.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// The folder that holds it, in one of its own. A peer, when asked for beside it, has its cache there too.
    pub(crate) folder: PathBuf,
    /// The volume's size, with its unit.
    pub(crate) size: String,
}

/// A server that answers; dropping it ends its process and removes its files.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    /// Where it speaks HTTP/1.1.
    pub(crate) http: SocketAddr,
    /// Where it speaks HTTP/2 over plaintext with prior knowledge, if it does.
    pub(crate) h2c: Option<SocketAddr>,
    /// Where it tells its metrics, if it does.
    pub(crate) admin: Option<SocketAddr>,
    /// Its process; none for the origin, which is part of this one (or none of the server's), and while it is down.
    pub(crate) process: Option<Guarded>,
    /// How its process is started; none for the origin.
    launch: Option<Launch>,
    /// Its configuration and cache. Declared after the process, so that it is removed after the process has ended.
    files: Option<TempDir>,
}

/// Where a server that is started is to be asked.
#[derive(Clone, Copy, Debug)]
struct Ports {
    http: SocketAddr,
    h2c: SocketAddr,
    admin: Option<SocketAddr>,
}

/// Cached bodies that stand in files in memory (/dev/shm), which is memory that the server takes but that shows in none of its
/// processes. Varnish and the node have none such.
#[derive(Clone, Debug, Default)]
pub(crate) struct CacheFiles(Option<PathBuf>);

/// What became of a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purged {
    Done,
    /// The server has nothing for it.
    NotOffered,
}

// === impl Kind ===

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Forebay => "forebay",
            Self::Nginx => "nginx",
            Self::Varnish => "varnish",
            Self::Ats => "ats",
            Self::Direct => "direct",
        }
    }

    /// Whether it is somebody else's server: its failures are told and counted, but they are its own.
    pub(crate) fn is_peer(self) -> bool {
        matches!(self, Self::Nginx | Self::Varnish | Self::Ats)
    }

    /// The version it names, or `None` when it is not installed.
    pub(crate) async fn version(self, setup: &Setup) -> Option<String> {
        match self {
            Self::Forebay => node::version(&setup.forebay).await,
            Self::Nginx => nginx::version(&setup.nginx).await,
            Self::Varnish => varnish::version(&setup.varnish).await,
            Self::Ats => ats::version(&setup.ats).await,
            Self::Direct => Some("none".to_owned()),
        }
    }

    /// What is said of one that is not there: what it is called, and how to get it.
    pub(crate) fn missing(self, setup: &Setup) -> String {
        match self.package() {
            Some(package) => {
                format!("{}: not installed, skipped (Debian: apt-get install {package})", self.as_str())
            }
            None => format!(
                "{} --version does not run: build it (cargo build --release), or name another with --forebay PATH",
                setup.forebay.display()
            ),
        }
    }

    /// Debian's package of a peer.
    fn package(self) -> Option<&'static str> {
        match self {
            Self::Nginx => Some("nginx"),
            Self::Varnish => Some("varnish"),
            Self::Ats => Some("trafficserver"),
            Self::Forebay | Self::Direct => None,
        }
    }
}

// === impl Setup ===

impl Default for Setup {
    fn default() -> Self {
        Self {
            forebay: "target/release/forebay".into(),
            nginx: "nginx".into(),
            varnish: "varnishd".into(),
            ats: "traffic_server".into(),
            memory: "1GiB".to_owned(),
            disk: None,
            threads: THREADS,
            cpus: None,
        }
    }
}

impl Setup {
    /// A folder for a server's files: where the disk is, else in memory where /dev/shm is there.
    fn folder(&self, kind: Kind) -> Result<TempDir> {
        let place = self.disk.as_ref().map_or(Path::new(SHARED_MEMORY), |disk| &disk.folder);
        let mut builder = tempfile::Builder::new();
        let prefix = format!("forebay-bench-{}-", kind.as_str());
        builder.prefix(&prefix);
        let files = if place.is_dir() { builder.tempdir_in(place) } else { builder.tempdir() };
        files.context("a temporary folder")
    }

    /// How much a peer's cache may hold, in bytes.
    fn cache_bytes(&self) -> Result<u64> {
        template::bytes(self.disk.as_ref().map_or(&self.memory, |disk| &disk.size))
    }
}

// === impl Server ===

impl Server {
    /// Starts a server of this kind in front of the origin and waits until it answers.
    pub(crate) async fn start(kind: Kind, setup: &Setup, origin: &Origin) -> Result<Self> {
        Self::before(kind, setup, origin.address(), None).await
    }

    /// The same in front of an origin at this address, with a site that wants these tokens if there are any. The node alone has
    /// such a site: a peer passes tokens on, and so is no measure of a scenario with tokens.
    pub(crate) async fn before(
        kind: Kind,
        setup: &Setup,
        origin: SocketAddr,
        token: Option<&Token>,
    ) -> Result<Self> {
        match kind {
            Kind::Forebay => node::start_before(setup, origin, token).await,
            Kind::Nginx => nginx::start(setup, origin).await,
            Kind::Varnish => varnish::start(setup, origin).await,
            Kind::Ats => ats::start(setup, origin).await,
            Kind::Direct => Ok(Self {
                kind,
                http: origin,
                h2c: None,
                admin: None,
                process: None,
                launch: None,
                files: None,
            }),
        }
        .with_context(|| format!("starting {}", kind.as_str()))
    }

    /// Starts a configured server, whose files these are, and waits until it is ready.
    async fn launched(kind: Kind, launch: Launch, files: TempDir, ports: Ports) -> Result<Self> {
        let process = launch.start().await?;
        let Ports { http, h2c, admin } = ports;
        let (process, launch, files) = (Some(process), Some(launch), Some(files));
        Ok(Self { kind, http, h2c: Some(h2c), admin, process, launch, files })
    }

    /// Purges everything below a path, through whatever the server has for it, and returns when it is in force. A server
    /// that cannot expire objects, but only remove them, removes them also when `hard` is not asked for; Traffic Server
    /// purges by rule (see `loadtest/peers/ats/remap.config`), and so may purge more.
    pub(crate) async fn purge(&self, prefix: &str, hard: bool) -> Result<Purged> {
        match self.kind {
            Kind::Forebay => node::purge(self.admin, prefix, hard).await,
            Kind::Nginx => nginx::purge(self.files.as_ref().map(TempDir::path), prefix).await,
            Kind::Varnish => varnish::purge(self.http, prefix).await,
            Kind::Ats => ats::purge(self.http, prefix).await,
            Kind::Direct => Ok(Purged::NotOffered),
        }
        .with_context(|| format!("purging {prefix} of {}", self.kind.as_str()))
    }

    /// Ends the server (SIGTERM, or SIGKILL) and starts it anew on the same addresses with the same files; returns when it
    /// answers. Of a cache, what the product keeps is still there: all but Varnish keep what is on disk or in /dev/shm.
    pub(crate) async fn restart(&mut self, kill: bool) -> Result<()> {
        let Some(launch) = &self.launch else {
            return Err(anyhow::anyhow!("the origin stands in for a server: there is none to restart"));
        };
        if let Some(process) = self.process.take() {
            launch::end(process, kill).await.with_context(|| format!("ending {}", self.kind.as_str()))?;
        }
        self.process =
            Some(launch.start().await.with_context(|| format!("restarting {}", self.kind.as_str()))?);
        Ok(())
    }

    /// Where its cache stands in files in memory, if it does. To be read while the server runs, and after it was restarted.
    pub(crate) fn cache_files(&self) -> CacheFiles {
        let name = match self.kind {
            Kind::Nginx => "cache",
            Kind::Ats => "run",
            Kind::Forebay | Kind::Varnish | Kind::Direct => return CacheFiles::default(),
        };
        let folder = self.files.as_ref().map(TempDir::path);
        CacheFiles(folder.filter(|folder| folder.starts_with(SHARED_MEMORY)).map(|folder| folder.join(name)))
    }

    /// The id of the server's first process.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.process.as_ref().map(Guarded::id).context("the origin has no process of its own to measure")
    }
}

// === impl CacheFiles ===

impl CacheFiles {
    /// Those below this folder.
    #[cfg(test)]
    pub(crate) fn below(folder: &Path) -> Self {
        Self(Some(folder.to_owned()))
    }

    /// Bytes of memory that they take now.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.as_deref().map_or(0, folder_bytes)
    }
}

/// What the files below a folder take, as far as they are still there.
fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * STAT_BLOCK_BYTES,
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}

#[cfg(test)]
mod tests;
