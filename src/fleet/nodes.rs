//! The nodes of a fleet, as they say of themselves in Redis: how far each has applied what was told, which configuration it
//! runs, and when it was last seen.
//!
//! Decides whom an asker waits for: nodes seen within [`NODE_LIFE`] when it began to wait. One that has gone from the list
//! since has left in good order, for a silent one stands there for longer than anybody waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::scripts::Beaten;
use crate::watermark::Watermark;

/// How often a node says that it is there.
pub(super) const BEAT_EVERY: Duration = Duration::from_secs(1);

/// How long a node that is silent counts as one that is there.
pub const NODE_LIFE: Duration = Duration::from_secs(30);

/// The longest that anybody waits for others to apply a purge.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// How long a node that is silent stands in the list: longer than [`NODE_LIFE`] and [`WAIT_MAX`] together.
pub(super) const LISTED_LIFE: Duration = Duration::from_secs(90);

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Says {
    /// A random word of the process, so that two nodes of one name are found out.
    pub(super) run: String,
    /// The stream whose purges it applies; empty: none yet.
    pub(super) epoch: String,
    /// How far; empty: not known.
    pub(super) watermark: String,
    /// Digest of its configuration.
    pub(super) config: String,
    /// The tier that it belongs to. Nodes of other versions do not say.
    #[serde(default)]
    pub(super) tier: String,
    /// Version of the software.
    pub(super) version: String,
}

/// A node, as it was listed.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) name: String,
    /// How long ago it was seen when the list was read.
    pub(super) silent: Duration,
    pub(super) says: Says,
}

/// The nodes of a fleet at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    pub(super) epoch: String,
    pub(super) all: Vec<Node>,
    /// What was noted of the asker before.
    pub(super) before: Option<Says>,
}

/// Who has applied a purge, and who has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standings {
    pub(super) applied: Vec<String>,
    pub(super) missing: Vec<String>,
}

impl Nodes {
    /// What Redis has answered. What does not read is no node.
    pub(super) fn of(beaten: Beaten) -> Nodes {
        let (epoch, now, before, listed) = beaten;
        let now: u64 = now.parse().unwrap_or(0);
        let mut all: Vec<Node> =
            listed.into_iter().filter_map(|(name, noted)| node(name, &noted, now)).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Nodes { epoch, all, before: node(String::new(), &before, now).map(|node| node.says) }
    }

    /// Those that are there.
    pub(super) fn living(&self) -> impl Iterator<Item = &Node> {
        self.all.iter().filter(|node| node.silent <= NODE_LIFE)
    }

    /// How many different configurations the nodes of one tier run, at most: edges and shields differ as they should.
    pub(super) fn configurations(&self) -> usize {
        let mut tiers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for node in self.living() {
            tiers.entry(&node.says.tier).or_default().insert(&node.says.config);
        }
        tiers.values().map(BTreeSet::len).max().unwrap_or_default()
    }

    /// Who of these has applied what stands at a place.
    pub(super) fn standings(&self, asked: &BTreeSet<String>, at: Watermark) -> Standings {
        let mut standings = Standings::default();
        for name in asked {
            let has_applied = |node: &Node| {
                node.says.epoch == self.epoch
                    && node.says.watermark.parse().is_ok_and(|applied: Watermark| applied >= at)
            };
            match self.all.iter().find(|node| node.name == *name) {
                // It has left, and serves nobody.
                None => {}
                Some(node) if has_applied(node) => standings.applied.push(name.clone()),
                Some(_) => standings.missing.push(name.clone()),
            }
        }
        standings
    }
}

impl Node {
    /// As it is shown. `own`: the name of the node that shows it.
    pub(super) fn shown(&self, own: &str) -> Value {
        json!({
            "name": self.name,
            "this": self.name == own,
            "live": self.silent <= NODE_LIFE,
            "seen_seconds_ago": self.silent.as_secs(),
            "watermark": Some(&self.says.watermark).filter(|mark| !mark.is_empty()),
            "config": self.says.config,
            "tier": self.says.tier,
            "version": self.says.version,
        })
    }
}

/// None: it is none.
fn node(name: String, noted: &str, now: u64) -> Option<Node> {
    let (seen, says) = noted.split_once(' ')?;
    let silent = Duration::from_millis(now.saturating_sub(seen.parse().ok()?));
    Some(Node { name, silent, says: serde_json::from_str(says).ok()? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn listed(name: &str, seen: u64, epoch: &str, watermark: &str, config: &str) -> (String, String) {
        let text = |text: &str| text.to_owned();
        let (epoch, watermark, config) = (text(epoch), text(watermark), text(config));
        let (config, tier) = config.split_once('@').map_or((&*config, ""), |(config, tier)| (config, tier));
        let says = Says {
            run: text("r"),
            epoch,
            watermark,
            config: text(config),
            tier: text(tier),
            version: text("1"),
        };
        (text(name), format!("{seen} {}", serde_json::to_string(&says).unwrap()))
    }

    /// Tiers are looked at one by one; one that has left, or says no tier, changes nothing of that.
    #[test]
    fn configurations_are_compared_within_a_tier() {
        let now = 1_000_000;
        let count = |configs: &[&str]| {
            let listed = configs
                .iter()
                .enumerate()
                .map(|(number, config)| listed(&number.to_string(), now, "e", "", config));
            let gone = listed_silent(now);
            let all = listed.chain([gone]).collect();
            Nodes::of(("e".to_owned(), now.to_string(), String::new(), all)).configurations()
        };
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&["a@shield", "a@shield", "b@", "c@core"]), 1);
        assert_eq!(count(&["a@shield", "b@shield", "c@", "c@"]), 2);
        assert_eq!(count(&["a@shield", "b@", "c@", "d@"]), 3);
        let older =
            "1000000 {\"run\":\"r\",\"epoch\":\"\",\"watermark\":\"\",\"config\":\"a\",\"version\":\"0\"}";
        let older = node("old".to_owned(), older, now).unwrap();
        assert_eq!(older.says.tier, "");
    }

    fn listed_silent(now: u64) -> (String, String) {
        listed("gone", now - 31_000, "e", "", "x@shield")
    }

    #[test]
    fn a_node_has_applied_a_purge_when_it_says_so_of_the_same_stream() {
        let now = 1_000_000;
        let nodes = Nodes::of((
            "e".to_owned(),
            now.to_string(),
            String::new(),
            vec![
                listed("a", now, "e", "5-0", "c"),
                listed("b", now - 1000, "e", "4-9", "d"),
                listed("c", now, "older", "9-0", "c"),
                listed("d", now, "e", "", "c"),
                listed("e", now - 31_000, "e", "1-0", "f"),
                ("rubbish".to_owned(), "rubbish".to_owned()),
            ],
        ));
        let living: BTreeSet<String> = nodes.living().map(|node| node.name.clone()).collect();
        assert_eq!(living.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!(nodes.configurations(), 2);
        let at = Watermark { millis: 5, sequence: 0 };
        let mut asked = living;
        asked.insert("left".to_owned());
        let standings = nodes.standings(&asked, at);
        assert_eq!(
            (standings.applied, standings.missing),
            (vec!["a".into()], vec!["b".into(), "c".into(), "d".into()])
        );
    }
}
