//! `[steering.NAME]`, checked.

use std::collections::BTreeMap;
use std::time::Duration;

/// `[steering.NAME]`
#[derive(Clone, Debug)]
pub struct Steering {
    /// NAME.
    pub name: String,
    /// Where the manifest is served.
    pub path: String,
    /// How long players go by a manifest: whole seconds.
    pub ttl: Duration,
    /// In the order of their priority; their IDs differ. Either all have a weight, or none.
    pub pathways: Vec<Pathway>,
    /// Place of this node's own.
    pub node: usize,
    /// Whether the node's tag takes the place of an origin's.
    pub replace: bool,
    /// Where players ask once the node drains.
    pub successor: Option<String>,
    /// Load beyond which the node's own pathway comes last.
    pub overload: Overload,
}

/// One of `pathways`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pathway {
    /// Its ID.
    pub id: String,
    /// What makes its URIs of the node's own. None: playlists name them, or it is the node's.
    pub replacement: Option<Replacement>,
    /// Its share of the players; None: the order of the list is everybody's.
    pub weight: Option<u32>,
}

/// `URI-REPLACEMENT` (RFC 8216bis section 7.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The host, with or without port.
    pub host: Option<String>,
    /// Query parameters.
    pub params: BTreeMap<String, String>,
}

/// `overload`; without bounds there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload {
    /// Viewers.
    pub viewers: Option<u64>,
    /// Connections.
    pub connections: Option<u64>,
    /// Bits of bodies sent in a second.
    pub egress: Option<u64>,
    /// Percent of a bound below which it is over.
    pub until: u8,
}

/// What a rule puts into multivariant playlists and manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteeringTag {
    /// Where the steering manifest is: an absolute path.
    pub server_uri: String,
    /// The pathway that variants without one belong to, and that players begin with.
    pub pathway: String,
    /// Whether it takes the place of an origin's.
    pub replace: bool,
}
