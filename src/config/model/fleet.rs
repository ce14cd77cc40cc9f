//! `[fleet]`, checked: what nodes share, and which of them are asked as origins are.

use std::path::PathBuf;
use std::time::Duration;

use super::{Origin, Secret};

/// Name of the origin group that peers are: of no group in a file, whose names have no dot.
pub const PEERS: &str = "fleet.peers";

/// `[fleet]`
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// The node's name. None: it has none of its own.
    pub name: Option<String>,
    /// Keys that nodes share: the first one signs, all of them verify.
    pub keys: Vec<NodeKey>,
    /// Where they meet; None: this one decides for itself.
    pub bus: Option<Bus>,
    /// The nodes of this tier; None: this one asks its origins for everything.
    pub peers: Option<Peers>,
    /// How small objects are shared.
    pub share: Share,
}

/// `peers` of `[fleet]`, and what belongs to it.
#[derive(Clone, Debug)]
pub struct Peers {
    /// The nodes as an origin group that goes by owners.
    pub group: Origin,
    /// Which of them this node is, where that is said.
    pub own: Option<String>,
    /// Requests for a key within `window` that make it hot.
    pub hot_requests: u32,
    /// The time within which they count.
    pub window: Duration,
    /// Nodes that may fetch a hot key from the origin.
    pub spread: usize,
}

/// `share` of `[fleet]`.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Bytes of a body; a longer one is not shared.
    pub object_max: u64,
    /// How long one question to Redis may take.
    pub timeout: Duration,
    /// How long a fetch waits for that of another node.
    pub wait: Duration,
}

impl Default for Share {
    fn default() -> Share {
        Share { object_max: 64 * 1024, timeout: Duration::from_millis(20), wait: Duration::from_secs(2) }
    }
}

/// A key that nodes share.
#[derive(Clone, Debug)]
pub struct NodeKey {
    /// Its name.
    pub id: String,
    /// The key.
    pub secret: Secret,
}

/// `bus` of `[fleet]`, and what belongs to it.
#[derive(Clone, Debug)]
pub struct Bus {
    /// The Redis server, without its password.
    pub redis: redis::ConnectionInfo,
    /// Its password.
    pub password: Option<Secret>,
    /// What every key in Redis begins with.
    pub prefix: String,
    /// How long a request may wait for Redis.
    pub timeout: Duration,
    /// The file of what is applied, and what is yet to be told; None: they live in memory.
    pub state: Option<PathBuf>,
    /// How long Redis keeps purges.
    pub retention: Duration,
    /// Bytes of purges that may wait for Redis.
    pub outbox: u64,
}
