//! A running server under measurement, whatever it is: its addresses and its process. The benchmarks see only this;
//! how each kind is started stands in `node` and `nginx`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;
use tempfile::TempDir;

use crate::child::Guarded;
use crate::origin::Origin;
use crate::{nginx, node};

/// What is measured. The word is the same in the tables, the raw rows and the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The node.
    Forebay,
    /// Debian's nginx.
    Nginx,
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
    /// The node's memory tier, with its unit.
    pub(crate) memory: String,
    /// The node's disk tier; none leaves it with memory alone.
    pub(crate) disk: Option<Disk>,
    /// The node's worker threads; nginx has two.
    pub(crate) threads: u32,
    /// Processors to run on, in `taskset -c` form; none leaves it to the kernel.
    pub(crate) cpus: Option<String>,
}

/// A disk tier: what stands in its folder outlives the node.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// The folder that holds it, in one of its own. nginx, when asked for beside it, has its cache there too.
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
    /// Its process; none for the origin, which is part of this one.
    pub(crate) process: Option<Guarded>,
    /// Its configuration and cache. Declared after the process, so that it is removed after the process has ended.
    pub(crate) _files: Option<TempDir>,
}

// === impl Kind ===

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Forebay => "forebay",
            Self::Nginx => "nginx",
            Self::Direct => "direct",
        }
    }
}

// === impl Server ===

impl Server {
    /// Starts a server of this kind in front of the origin and waits until it answers.
    pub(crate) async fn start(kind: Kind, setup: &Setup, origin: &Origin) -> Result<Self> {
        match kind {
            Kind::Forebay => node::start(setup, origin.address()).await,
            Kind::Nginx => nginx::start(setup, origin.address()).await,
            Kind::Direct => {
                Ok(Self { kind, http: origin.address(), h2c: None, admin: None, process: None, _files: None })
            }
        }
        .with_context(|| format!("starting {}", kind.as_str()))
    }

    /// The id of the server's first process.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.process.as_ref().map(Guarded::id).context("the origin has no process of its own to measure")
    }
}
