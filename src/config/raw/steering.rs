//! `[steering.NAME]` as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BitRate, Duration};

/// `[steering.NAME]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Steering {
    /// Path at which the sites that refer to it serve the steering manifest; what their origin has there is not reached.
    /// Tokens have to admit it as they admit playlists.
    #[serde(default = "Steering::path")]
    pub(in crate::config) path: String,
    /// How long players go by a manifest before they ask again (`TTL`). 1s to 1d, whole seconds.
    #[serde(default = "Steering::ttl")]
    pub(in crate::config) ttl: Duration,
    /// The pathways, that is the networks to fetch from, in the order of their priority; 2 to 16. A pathway with `host` or `params`
    /// is told to players as a clone of this node's own; one without is named in the playlists already.
    #[schemars(length(min = 2, max = 16), example = [Pathway::node(), Pathway::other()])]
    pub(in crate::config) pathways: Vec<Pathway>,
    /// Whether rules with `steering` put the node's tag in the place of one that the origin's playlist has.
    #[serde(default)]
    pub(in crate::config) replace: bool,
    /// The steering server that players are sent to (`RELOAD-URI`) once this node drains: an absolute URL. Directives aside, the
    /// query of the request goes with it, a token in it too. Without it they ask the same URL again.
    #[schemars(example = "https://cdn-b.example.com/steering.json")]
    pub(in crate::config) successor: Option<String>,
    /// Load beyond which this node's own pathway comes last. Without it load does not matter. It does come last while the
    /// node drains, and while no server of the site's origin is healthy.
    pub(in crate::config) overload: Option<Overload>,
}

impl Steering {
    fn path() -> String {
        "/steering.json".to_owned()
    }

    fn ttl() -> Duration {
        Duration::new("300s")
    }
}

/// One of `pathways`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Pathway {
    /// The pathway's ID in playlists (`PATHWAY-ID`) and manifests (`serviceLocation`), and in metrics: letters, digits, `.`, `-` and
    /// `_`.
    #[schemars(example = &"edge")]
    pub(in crate::config) id: String,
    /// Whether it is this node's own; one is.
    #[serde(default)]
    pub(in crate::config) node: bool,
    /// The host that takes the place of this node's in URIs (`HOST`), with or without port.
    #[schemars(example = "cdn-b.example.com")]
    pub(in crate::config) host: Option<String>,
    /// Query parameters that URIs get (`PARAMS`).
    #[serde(default)]
    #[schemars(example = BTreeMap::from([("cdn", "b")]))]
    pub(in crate::config) params: BTreeMap<String, String>,
    /// Its share of the players, in proportion to that of the others; a player keeps its place, on every node with this
    /// configuration. Without weights the order of the list is everybody's.
    #[schemars(range(min = 0, max = 1000), example = 70)]
    pub(in crate::config) weight: Option<u32>,
}

impl Pathway {
    fn node() -> Pathway {
        Pathway { id: "edge".to_owned(), node: true, host: None, params: BTreeMap::new(), weight: Some(70) }
    }

    fn other() -> Pathway {
        let host = Some("cdn-b.example.com".to_owned());
        Pathway { id: "cdn-b".to_owned(), node: false, host, params: BTreeMap::new(), weight: Some(30) }
    }
}

/// `overload` of `[steering.NAME]`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Overload {
    /// Viewers of all sites (`forebay_viewers`).
    #[schemars(range(min = 1, max = 1_000_000_000), example = 20_000)]
    pub(in crate::config) viewers: Option<u64>,
    /// Viewers' connections open at once (`forebay_connections`).
    #[schemars(range(min = 1, max = 1_000_000_000), example = 8_000)]
    pub(in crate::config) connections: Option<u64>,
    /// Bits of bodies sent to viewers and other nodes in a second, on the average of 10 seconds
    /// (`forebay_steering_egress_bits_per_second`): less than the network of the node carries, since headers and TLS are not
    /// counted. From `1kbit/s`.
    #[schemars(example = BitRate::new("8Gbit/s"))]
    pub(in crate::config) egress: Option<BitRate>,
    /// Percent of each bound below which the load must fall for the pathway to have its place back.
    #[serde(default = "Overload::until")]
    #[schemars(range(min = 1, max = 99))]
    pub(in crate::config) until: u8,
}

impl Overload {
    fn until() -> u8 {
        80
    }
}

/// `steering` of a rule.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Steered {
    Switch(bool),
    Pathway(String),
}
