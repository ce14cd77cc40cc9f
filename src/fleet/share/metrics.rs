//! What is counted of the shared tier.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::coalesce::fill::share::Told;

/// The words of [`Told`], in the order of the discriminants.
const TOLD: [&str; 8] = ["hit", "stale", "miss", "late", "purged", "damaged", "unshared", "away"];

/// What has become of a value that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Write {
    /// It is there.
    Stored,
    /// It is too long, or its time is over.
    Refused,
    /// Redis did not answer, or is not asked.
    Away,
}

/// The words of [`Write`], in the order of the discriminants.
const WRITES: [&str; 3] = ["stored", "refused", "away"];

/// The handles.
pub(super) struct ShareMetrics {
    told: [IntCounter; TOLD.len()],
    writes: [IntCounter; WRITES.len()],
}

impl ShareMetrics {
    pub(super) fn register(registry: &Registry) -> Result<ShareMetrics, prometheus::Error> {
        let family = |name: &str, help: &str| {
            let family = IntCounterVec::new(Opts::new(name, help), &["result"])?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let told = family(
            "forebay_share_requests_total",
            "Fetches that looked for their object in the shared tier first, by what came of it.",
        )?;
        let writes = family(
            "forebay_share_writes_total",
            "Objects that were to be written to the shared tier, by what came of it.",
        )?;
        Ok(ShareMetrics {
            told: TOLD.map(|word| told.with_label_values(&[word])),
            writes: WRITES.map(|word| writes.with_label_values(&[word])),
        })
    }

    pub(super) fn told(&self, told: Told) {
        if let Some(counter) = self.told.get(told as usize) {
            counter.inc();
        }
    }

    pub(super) fn wrote(&self, write: Write) {
        if let Some(counter) = self.writes.get(write as usize) {
            counter.inc();
        }
    }
}
