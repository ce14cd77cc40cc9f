//! What is counted of purges that are passed on.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// What has come of passing a purge on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Outcome {
    /// The receiver has taken it.
    Taken,
    /// An attempt failed; there may be more of it.
    Failed,
    /// The receiver will not have it.
    Refused,
    /// It was sent as often, or for as long, as it may.
    GivenUp,
    /// It was not sent: too many wait.
    Full,
}

/// The words of [`Outcome`], in the order of the discriminants.
const WORDS: [&str; 5] = ["taken", "failed", "refused", "given_up", "full"];

impl Outcome {
    pub(super) fn as_str(self) -> &'static str {
        WORDS.get(self as usize).copied().unwrap_or_default()
    }
}

/// The handles of one place.
pub(super) struct ForwardMetrics {
    outcomes: [IntCounter; WORDS.len()],
    pending: IntGauge,
}

impl ForwardMetrics {
    /// Those of each place, in order.
    pub(super) fn register(
        registry: &Registry,
        names: &[&str],
    ) -> Result<Vec<ForwardMetrics>, prometheus::Error> {
        let outcomes = IntCounterVec::new(
            Opts::new(
                "forebay_purge_forwards_total",
                "Purges passed on, by what came of it; result \"failed\" counts attempts that are made again.",
            ),
            &["target", "result"],
        )?;
        let pending = IntGaugeVec::new(
            Opts::new("forebay_purge_forwards_pending", "Purges that are still to be passed on."),
            &["target"],
        )?;
        registry.register(Box::new(outcomes.clone()))?;
        registry.register(Box::new(pending.clone()))?;
        let of = |name: &&str| ForwardMetrics {
            outcomes: WORDS.map(|word| outcomes.with_label_values(&[name, word])),
            pending: pending.with_label_values(&[name]),
        };
        Ok(names.iter().map(of).collect())
    }

    pub(super) fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            counter.inc();
        }
    }

    pub(super) fn pending(&self, purges: usize) {
        self.pending.set(i64::try_from(purges).unwrap_or(i64::MAX));
    }
}
