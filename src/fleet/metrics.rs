//! What is counted of the fleet: whether Redis is there, what was asked of it, and what became of purges.

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// What is asked of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Asked {
    /// Whether a token is used for the first time.
    Replay,
    /// Whether a stream may go on.
    Stream,
    /// To tell a revocation.
    Revocation,
    /// To tell a purge.
    Purge,
    /// Who is there.
    Nodes,
    /// What the shared tier holds, or is to hold.
    Share,
}

/// The words of [`Asked`], in the order of the discriminants.
const WORDS: [&str; 6] = ["replay", "stream", "revocation", "purge", "nodes", "share"];

/// Which way a purge went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From this node to the others.
    Told,
    /// From another node to this one.
    Applied,
}

/// Why all that is held was expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Expired {
    /// What this node had applied was not known.
    Unknown,
    /// It was away for longer than Redis remembers.
    Missed,
    /// Redis has lost what it was told.
    Lost,
}

/// The words of [`Expired`], in the order of the discriminants.
const REASONS: [&str; 3] = ["unknown", "missed", "lost"];

impl Expired {
    pub(super) const fn as_str(self) -> &'static str {
        REASONS[self as usize]
    }
}

/// The handles of purges.
pub(super) struct PurgeMetrics {
    told: IntCounter,
    applied: IntCounter,
    expired: [IntCounter; REASONS.len()],
    pub(super) outbox: IntGauge,
    pub(super) behind: Gauge,
    pub(super) nodes: IntGauge,
    pub(super) configurations: IntGauge,
}

impl PurgeMetrics {
    pub(super) fn register(registry: &Registry) -> Result<PurgeMetrics, prometheus::Error> {
        let purges = IntCounterVec::new(
            Opts::new("forebay_fleet_purges_total", "Purges that were told to the fleet, or applied for it."),
            &["direction"],
        )?;
        let expired = IntCounterVec::new(
            Opts::new(
                "forebay_fleet_expired_total",
                "Times that all objects were expired, since purges may have been missed.",
            ),
            &["reason"],
        )?;
        let outbox = IntGauge::new("forebay_fleet_outbox_purges", "Purges that wait until Redis is back.")?;
        let behind = Gauge::new(
            "forebay_fleet_watermark_seconds",
            "Time since the node knew that it had applied every purge of the fleet.",
        )?;
        let nodes = IntGauge::new("forebay_fleet_nodes", "Nodes of the fleet, this one included.")?;
        let configurations = IntGauge::new(
            "forebay_fleet_config_versions",
            "Different configurations that nodes of one tier run, at most.",
        )?;
        registry.register(Box::new(purges.clone()))?;
        registry.register(Box::new(expired.clone()))?;
        registry.register(Box::new(behind.clone()))?;
        for gauge in [&outbox, &nodes, &configurations] {
            registry.register(Box::new(gauge.clone()))?;
        }
        Ok(PurgeMetrics {
            told: purges.with_label_values(&["told"]),
            applied: purges.with_label_values(&["applied"]),
            expired: REASONS.map(|reason| expired.with_label_values(&[reason])),
            outbox,
            behind,
            nodes,
            configurations,
        })
    }

    pub(super) fn count(&self, direction: Direction) {
        match direction {
            Direction::Told => self.told.inc(),
            Direction::Applied => self.applied.inc(),
        }
    }

    pub(super) fn expired(&self, reason: Expired) {
        self.expired[reason as usize].inc();
    }
}

/// The handles.
pub(super) struct FleetMetrics {
    pub(super) up: IntGauge,
    /// By question: answered, and not.
    asked: [(IntCounter, IntCounter); WORDS.len()],
}

impl FleetMetrics {
    pub(super) fn register(registry: &Registry) -> Result<FleetMetrics, prometheus::Error> {
        let up =
            IntGauge::new("forebay_fleet_up", "Whether the fleet's Redis server is there (1) or not (0).")?;
        let asked = IntCounterVec::new(
            Opts::new("forebay_fleet_requests_total", "What was asked of the fleet's Redis server."),
            &["request", "result"],
        )?;
        registry.register(Box::new(up.clone()))?;
        registry.register(Box::new(asked.clone()))?;
        let handles =
            |word| (asked.with_label_values(&[word, "answered"]), asked.with_label_values(&[word, "away"]));
        Ok(FleetMetrics { up, asked: WORDS.map(handles) })
    }

    pub(super) fn asked(&self, what: Asked, is_answered: bool) {
        let (answered, away) = &self.asked[what as usize];
        if is_answered { answered.inc() } else { away.inc() }
    }
}
