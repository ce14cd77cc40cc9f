//! `playlist` of `[[site.rule]]` as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `playlist` of a rule.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Playlist {
    /// Query parameters that the origin puts into every URI, such as its session id. They are removed from the URIs of the
    /// copy that is kept, and are no part of any key of these paths, whatever else the rule asks for; no fetch has them.
    /// A viewer whose own request has one (512 bytes of value at most) gets it back in every URI of the site. At most 8.
    #[serde(default)]
    #[schemars(example = ["sid"])]
    pub(in crate::config) drop_parameters: Vec<String>,
    /// Hosts of absolute URIs, `HOST` or `HOST:PORT`, each with the one that takes its place; `""` makes them paths of the
    /// host that the viewer asked. A host without port stands for the scheme's own. At most 32.
    #[serde(default)]
    #[schemars(example = BTreeMap::from([("origin.example", "cdn.example")]))]
    pub(in crate::config) hosts: BTreeMap<String, String>,
    /// Which variants of multivariant playlists there are, and in which order.
    pub(in crate::config) variants: Option<Variants>,
}

/// `variants` of a rule's `playlist`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Variants {
    /// The largest height of the picture, in pixels. A variant without `RESOLUTION` stays.
    #[schemars(example = 1080)]
    pub(in crate::config) height_max: Option<u64>,
    /// The smallest height.
    #[schemars(example = 240)]
    pub(in crate::config) height_min: Option<u64>,
    /// The largest `BANDWIDTH`, in bits a second.
    #[schemars(example = 8_000_000)]
    pub(in crate::config) bandwidth_max: Option<u64>,
    /// The smallest `BANDWIDTH`.
    #[schemars(example = 300_000)]
    pub(in crate::config) bandwidth_min: Option<u64>,
    /// What every codec of a variant must begin with one of. A variant without `CODECS` stays. At most 32.
    #[serde(default)]
    #[schemars(example = ["avc1", "mp4a"])]
    pub(in crate::config) codecs: Vec<String>,
    /// The order of the variants; `-` stands for the largest first. Many players begin with the first. Default: the origin's.
    #[schemars(example = &"-bandwidth")]
    pub(in crate::config) order: Option<Order>,
    /// Bounds by a claim of the site's verified token, in place of the rule's own. Each value that is listed has a copy of its
    /// own of these playlists; with any other, and without the claim, the rule's own bounds hold.
    pub(in crate::config) by_claim: Option<ByClaim>,
}

/// `order` of `variants`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(in crate::config) enum Order {
    #[serde(rename = "bandwidth")]
    Bandwidth,
    #[serde(rename = "-bandwidth")]
    BandwidthDown,
    #[serde(rename = "height")]
    Height,
    #[serde(rename = "-height")]
    HeightDown,
    #[serde(rename = "frame_rate")]
    FrameRate,
    #[serde(rename = "-frame_rate")]
    FrameRateDown,
}

/// `by_claim` of `variants`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ByClaim {
    /// The name of the claim (EdgeAuth: `id`, `data`, `ip`, `acl`).
    #[schemars(example = &"plan")]
    pub(in crate::config) claim: String,
    /// Its values, each with what holds for it; `{}` is without bounds. At most 64.
    #[schemars(example = BTreeMap::from([("basic", BTreeMap::from([("height_max", 480)]))]))]
    pub(in crate::config) values: BTreeMap<String, Bounds>,
}

/// A value of `by_claim`: bounds as those of the rule.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Bounds {
    /// As the rule's.
    #[schemars(example = 480)]
    pub(in crate::config) height_max: Option<u64>,
    /// As the rule's.
    #[schemars(example = 240)]
    pub(in crate::config) height_min: Option<u64>,
    /// As the rule's.
    #[schemars(example = 1_500_000)]
    pub(in crate::config) bandwidth_max: Option<u64>,
    /// As the rule's.
    #[schemars(example = 300_000)]
    pub(in crate::config) bandwidth_min: Option<u64>,
    /// As the rule's.
    #[serde(default)]
    #[schemars(example = ["avc1", "mp4a"])]
    pub(in crate::config) codecs: Vec<String>,
}
