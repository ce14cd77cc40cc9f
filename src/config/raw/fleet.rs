//! `[revocation]` and `[fleet]` as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, OneOrMany, Size};

/// `[revocation]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Revocation {
    /// File that revocations are noted in, one line each, before they are answered; the node creates it, in a folder that
    /// exists. A relative path starts at the folder of this file. Without it they live in memory: a restart forgets those
    /// that no other node of the fleet knows.
    #[schemars(example = "/var/lib/forebay/revocations")]
    pub(in crate::config) file: Option<String>,
}

/// `[fleet]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Fleet {
    /// The node's name, to other nodes and in what it tells of itself (`Cache-Status`, `Via`, `CMSD-Dynamic`): up to 64
    /// letters, digits, `.`, `-` and `_`. No two nodes of a fleet have the same. Without it the node calls itself
    /// `forebay`, and by another name after each start where nodes have to be told apart (`CDN-Loop`, the list of the fleet).
    #[schemars(example = "edge-1")]
    pub(in crate::config) name: Option<String>,
    /// Keys that nodes of all tiers share, the one to sign with first: a request that is signed with one of them comes
    /// from another node, which has checked its token.
    #[schemars(example = [NodeKey::example()])]
    pub(in crate::config) keys: Vec<NodeKey>,
    /// The Redis server (5.0 or newer) that the nodes share: `redis://[USER@]HOST[:PORT][/DB]`, or
    /// `redis+unix:///SOCKET`. Without it each node decides for itself.
    #[schemars(example = "redis://127.0.0.1:6379/0")]
    pub(in crate::config) bus: Option<String>,
    /// File with the password: visible ASCII, surrounding white space ignored.
    #[schemars(example = "/etc/forebay/redis.password")]
    pub(in crate::config) password_file: Option<String>,
    /// What every key in Redis begins with: letters, digits, `-` and `_`. Nodes with the same prefix are a fleet.
    pub(in crate::config) prefix: String,
    /// How long a request may wait for Redis. 1ms to 10s.
    pub(in crate::config) timeout: Duration,
    /// The nodes of this tier, this one among them, by their viewers' listeners: each key belongs to one of them, which
    /// alone asks the origin for it; the others ask that one. Written as `servers` of an origin group, one or a list, the
    /// same on every node. Needs `fleet.keys`.
    #[schemars(example = "dns://forebay.cdn.svc.cluster.local:8080")]
    pub(in crate::config) peers: Option<OneOrMany<String>>,
    /// Which of `peers` this node is: `HOST:PORT` as it stands there, or its address and port where `peers` is a name.
    /// Default: the one with an address and port that the node listens on, or whose host is `fleet.name`, alone or before a
    /// dot.
    #[schemars(example = "10.0.0.1:8080")]
    #[serde(rename = "self")]
    pub(in crate::config) own: Option<String>,
    /// When a node keeps what belongs to another one.
    pub(in crate::config) hot: Hot,
    /// How many nodes may fetch a hot key from the origin: its owner, and those next to it. Each of the others asks
    /// one of them.
    #[schemars(range(min = 1, max = 16))]
    pub(in crate::config) spread: u32,
    /// File that the node notes in which purges of the fleet it has applied, and those it has yet to tell; the node creates
    /// it, in a folder that exists. A relative path starts at the folder of this file. Without it a node with disks expires
    /// all that it holds when it starts, and a kill forgets purges that were given while Redis was away.
    #[schemars(example = "/var/lib/forebay/fleet")]
    pub(in crate::config) state: Option<String>,
    /// How long Redis keeps purges for nodes that are away. A node that was away for longer expires all that it holds when
    /// it comes back. 1m to 90d.
    pub(in crate::config) retention: Duration,
    /// Room for purges that wait until Redis is back. When it is full, the oldest ones become one purge of everything.
    /// 64KiB to 1GiB.
    pub(in crate::config) outbox: Size,
    /// How small objects are shared, where a rule says `shared = true`.
    pub(in crate::config) share: Sharing,
}

/// `hot` of `[fleet]`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Hot {
    /// Requests for a key within `window` that make it hot: a node keeps what belongs to another one while it is. Those that
    /// come while it is fetched share the fetch in any case. Playlists are always kept. 1 keeps everything.
    #[schemars(range(min = 1, max = 1000))]
    pub(in crate::config) requests: u32,
    /// 1s to 1h.
    pub(in crate::config) window: Duration,
}

impl Default for Hot {
    fn default() -> Hot {
        Hot { requests: 2, window: Duration::new("10s") }
    }
}

/// `share` of `[fleet]`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Sharing {
    /// Bytes of a body; a longer one is not shared. 1KiB to 4MiB.
    pub(in crate::config) object_max: Size,
    /// How long one question to Redis may take; then the origin is asked, and Redis not at all for a second. 1ms to 1s.
    pub(in crate::config) timeout: Duration,
    /// How long a fetch waits for that of another node before it asks the origin itself; for a playlist whose origin holds
    /// the request, so much longer. `"0s"` does not wait. Up to 30s.
    pub(in crate::config) wait: Duration,
}

impl Default for Sharing {
    fn default() -> Sharing {
        Sharing { object_max: Size::new("64KiB"), timeout: Duration::new("20ms"), wait: Duration::new("2s") }
    }
}

impl Default for Fleet {
    fn default() -> Fleet {
        Fleet {
            name: None,
            keys: Vec::new(),
            bus: None,
            password_file: None,
            prefix: "forebay".to_owned(),
            timeout: Duration::new("100ms"),
            peers: None,
            own: None,
            hot: Hot::default(),
            spread: 1,
            state: None,
            retention: Duration::new("1d"),
            outbox: Size::new("4MiB"),
            share: Sharing::default(),
        }
    }
}

/// A key that nodes share.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct NodeKey {
    /// Its name in signatures and in the log: letters, digits, `-` and `_`.
    #[schemars(example = &"n1")]
    pub(in crate::config) id: String,
    /// File that holds it: at least 32 characters, surrounding white space ignored.
    #[schemars(example = "/etc/forebay/keys/nodes")]
    pub(in crate::config) secret_file: String,
}

impl NodeKey {
    fn example() -> NodeKey {
        NodeKey { id: "n1".to_owned(), secret_file: "/etc/forebay/keys/nodes".to_owned() }
    }
}
