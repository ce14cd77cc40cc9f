//! What is counted of the fleet: whether Redis is there, and what was asked of it.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

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
}

/// The words of [`Asked`], in the order of the discriminants.
const WORDS: [&str; 3] = ["replay", "stream", "revocation"];

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
