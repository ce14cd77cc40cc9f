//! Content steering (RFC 8216bis section 7, ETSI TS 103 998): in which order players are told to use the pathways.
//!
//! Decides that order from the configuration, the node's standing and load, and who the player is. Serves nothing: the
//! answer is [`crate::proxy`]'s. This node's own pathway comes last while the node drains, has no healthy origin or is
//! overloaded; it stays in the list, for players that nobody else can serve.

pub mod egress;
mod metrics;
mod report;

use std::cmp::Ordering as Order;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64_with_seed};

use crate::config::model::{self, Overload, Pathway};
pub use metrics::{SteeringFamilies, SteeringSeries};
pub use report::{REPORTS_MAX, THROUGHPUT_MAX, reports, without_directives};

/// One section of steering, and whether the node is overloaded by its bounds.
pub struct Steering {
    config: model::Steering,
    overloaded: AtomicBool,
}

/// How much the node has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Viewers of all sites.
    pub viewers: u64,
    /// Viewers' connections that are open.
    pub connections: u64,
    /// Bits of bodies sent in a second.
    pub egress: u64,
}

/// Whether the node can do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// It has started, and does not drain.
    pub ready: bool,
    /// A server of the site's origin is healthy.
    pub has_origin: bool,
}

/// A steering manifest (RFC 8216bis section 7.2; TS 103 998 has the same members).
#[derive(Serialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
struct Manifest<'a> {
    version: u8,
    ttl: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reload_uri: Option<&'a str>,
    pathway_priority: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pathway_clones: Vec<Clone<'a>>,
}

/// A pathway made of another one (section 7.3).
#[derive(Serialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
struct Clone<'a> {
    base_id: &'a str,
    id: &'a str,
    uri_replacement: UriReplacement<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
struct UriReplacement<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    params: &'a std::collections::BTreeMap<String, String>,
}

impl Steering {
    /// Not overloaded yet.
    pub fn new(config: model::Steering) -> Steering {
        Steering { config, overloaded: AtomicBool::new(false) }
    }

    /// NAME of `[steering.NAME]`.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Where its manifest is served.
    pub fn path(&self) -> &str {
        &self.config.path
    }

    /// The pathways, in the order of the configuration.
    pub fn pathways(&self) -> &[Pathway] {
        &self.config.pathways
    }

    /// Its bounds of load.
    pub fn bounds(&self) -> &Overload {
        &self.config.overload
    }

    /// Takes in what the node has to do now. Gives whether it is overloaded.
    pub fn observe(&self, load: &Load) -> bool {
        let overloaded = is_overloaded(&self.config.overload, load, self.is_overloaded());
        self.overloaded.store(overloaded, Ordering::Relaxed);
        overloaded
    }

    /// Whether it was when that was last taken in.
    pub fn is_overloaded(&self) -> bool {
        self.overloaded.load(Ordering::Relaxed)
    }

    /// The places of the pathways in the order that a player is told, never empty. `player` is what [`Steering::player`] gives.
    pub fn order(&self, standing: Standing, player: u64) -> Vec<usize> {
        let demoted = !standing.ready || !standing.has_origin || self.is_overloaded();
        order(&self.config, demoted, player)
    }

    /// A number for a player, told by what does not change while it plays. The same on every node with this section, and
    /// after a restart, so that a player keeps its pathway.
    pub fn player(&self, told_by: &[&[u8]]) -> u64 {
        let mut hash = Xxh3Default::new();
        for part in std::iter::once(self.config.name.as_bytes()).chain(told_by.iter().copied()) {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.digest()
    }

    /// Where a player is sent for its next manifest, if not where it asked: to the successor, once the node is not ready.
    /// `query` is that of its request.
    pub fn reload_uri(&self, standing: Standing, query: Option<&str>) -> Option<String> {
        let successor = self.config.successor.as_ref().filter(|_| !standing.ready)?;
        let query = query.map(without_directives).filter(|query| !query.is_empty());
        let mark = if successor.contains('?') { '&' } else { '?' };
        Some(query.map_or_else(|| successor.clone(), |query| format!("{successor}{mark}{query}")))
    }

    /// The manifest, as JSON. `order` is what [`Steering::order`] gives.
    pub fn manifest(&self, order: &[usize], reload_uri: Option<&str>) -> String {
        let own = self.config.pathways.get(self.config.node).map_or("", |pathway| &pathway.id);
        let pathways = || order.iter().filter_map(|place| self.config.pathways.get(*place));
        let clone = |pathway: &'_ Pathway| pathway.replacement.is_some();
        let manifest = Manifest {
            version: 1,
            ttl: self.config.ttl.as_secs(),
            reload_uri,
            pathway_priority: pathways().map(|pathway| pathway.id.as_str()).collect(),
            pathway_clones: self
                .config
                .pathways
                .iter()
                .filter(|pathway| clone(pathway))
                .filter_map(|pathway| {
                    let replacement = pathway.replacement.as_ref()?;
                    let (host, params) = (replacement.host.as_deref(), &replacement.params);
                    let uri_replacement = UriReplacement { host, params };
                    Some(Clone { base_id: own, id: &pathway.id, uri_replacement })
                })
                .collect(),
        };
        // Of text and numbers alone: it cannot fail.
        serde_json::to_string(&manifest).unwrap_or_default()
    }
}

/// Overloaded from beyond a bound until the load is below the share of each bound that ends it.
fn is_overloaded(bounds: &Overload, load: &Load, was: bool) -> bool {
    let bounded = [
        (bounds.viewers, load.viewers),
        (bounds.connections, load.connections),
        (bounds.egress, load.egress),
    ];
    let mut bounded = bounded.into_iter().filter_map(|(bound, load)| Some((bound?, load)));
    if was {
        let share = |bound: u64| u128::from(bound) * u128::from(bounds.until);
        bounded.any(|(bound, load)| u128::from(load) * 100 >= share(bound))
    } else {
        bounded.any(|(bound, load)| load > bound)
    }
}

/// By weight where there are weights, else as configured; this node's own last where it is demoted.
fn order(config: &model::Steering, demoted: bool, player: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..config.pathways.len()).collect();
    if config.pathways.iter().any(|pathway| pathway.weight.is_some()) {
        let draw = |place: &usize| {
            config.pathways.get(*place).map_or(f64::INFINITY, |pathway| draw(pathway, player))
        };
        let mut drawn: Vec<(f64, usize)> = order.iter().map(|place| (draw(place), *place)).collect();
        drawn.sort_by(|one, other| one.0.partial_cmp(&other.0).unwrap_or(Order::Equal));
        order = drawn.into_iter().map(|(_, place)| place).collect();
    }
    if demoted {
        order.retain(|place| *place != config.node);
        order.push(config.node);
    }
    order
}

/// The lowest draw wins, in proportion to the weights (an exponential race). One pathway's does not depend on the others, so
/// that players of one that is gone spread over the rest, and nobody else moves.
fn draw(pathway: &Pathway, player: u64) -> f64 {
    let weight = pathway.weight.unwrap_or_default();
    if weight == 0 {
        return f64::INFINITY;
    }
    // 53 bits, all that a double holds; never 0, whose logarithm is infinite.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    let uniform =
        ((xxh3_64_with_seed(pathway.id.as_bytes(), player) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -uniform.ln() / f64::from(weight)
}

#[cfg(test)]
mod tests;
