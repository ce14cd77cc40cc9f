//! What is counted of fetches ahead, by site.

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::store::AheadCounters;

/// What a fetch ahead was for; the word is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reason {
    /// A playlist lists a new segment, or a new init segment.
    Segment,
    /// A playlist lists a new part.
    Part,
    /// A playlist hints at what comes next.
    Hint,
    /// A player has announced it.
    Cmcd,
}

/// What became of it; the word is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Result {
    /// The origin was asked.
    Started,
    /// Nothing of it is held: it broke off, or was withdrawn.
    Failed,
    /// There was no room in the budget.
    SkippedBudget,
    /// The rendition has no viewers.
    SkippedIdle,
    /// The origin is unhealthy or has failed not long ago, or had no turn to spare.
    SkippedOrigin,
    /// What a player announced is not to be fetched for it.
    Refused,
}

impl Reason {
    const ALL: [(Reason, &'static str); 4] = [
        (Reason::Segment, "segment"),
        (Reason::Part, "part"),
        (Reason::Hint, "hint"),
        (Reason::Cmcd, "cmcd"),
    ];
}

impl Result {
    const ALL: [(Result, &'static str); 6] = [
        (Result::Started, "started"),
        (Result::Failed, "failed"),
        (Result::SkippedBudget, "skipped_budget"),
        (Result::SkippedIdle, "skipped_idle"),
        (Result::SkippedOrigin, "skipped_origin"),
        (Result::Refused, "refused"),
    ];
}

/// The families.
pub(super) struct Families {
    fetches: IntCounterVec,
    objects: IntCounterVec,
    bytes: IntCounterVec,
}

/// The counters of one site, looked up once.
#[derive(Debug)]
pub(super) struct Counters {
    /// By reason, then by result.
    fetches: [[IntCounter; Result::ALL.len()]; Reason::ALL.len()],
    /// What has become of the objects.
    pub(super) objects: Arc<AheadCounters>,
}

impl Families {
    pub(super) fn new(registry: &Registry) -> std::result::Result<Families, prometheus::Error> {
        let family = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        Ok(Families {
            fetches: family(
                "forebay_prefetch_total",
                "Fetches ahead of the first request, by what they were for and what became of them.",
                &["site", "reason", "result"],
            )?,
            objects: family(
                "forebay_prefetch_objects_total",
                "Objects fetched ahead that a viewer has asked for (used), or that have left the memory before (wasted).",
                &["site", "result"],
            )?,
            bytes: family("forebay_prefetch_bytes_total", "Bytes of these objects.", &["site", "result"])?,
        })
    }

    pub(super) fn of(&self, site: &str) -> Arc<Counters> {
        let objects = AheadCounters {
            used: self.objects.with_label_values(&[site, "used"]),
            used_bytes: self.bytes.with_label_values(&[site, "used"]),
            wasted: self.objects.with_label_values(&[site, "wasted"]),
            wasted_bytes: self.bytes.with_label_values(&[site, "wasted"]),
        };
        let fetches = Reason::ALL.map(|(_, reason)| {
            Result::ALL.map(|(_, result)| self.fetches.with_label_values(&[site, reason, result]))
        });
        Arc::new(Counters { fetches, objects: Arc::new(objects) })
    }
}

impl Counters {
    pub(super) fn count(&self, reason: Reason, result: Result) {
        self.fetches[reason as usize][result as usize].inc();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_reason_and_result_has_its_own_counter() {
        let registry = Registry::new();
        let counters = Families::new(&registry).unwrap().of("s");
        let mut times = 0;
        for (reason, _) in Reason::ALL {
            for (result, _) in Result::ALL {
                times += 1;
                (0..times).for_each(|_| counters.count(reason, result));
            }
        }
        let families = registry.gather();
        let fetches = families.iter().find(|family| family.name() == "forebay_prefetch_total").unwrap();
        let label = |metric: &prometheus::proto::Metric, name: &str| {
            metric.get_label().iter().find(|label| label.name() == name).unwrap().value().to_owned()
        };
        let mut expected = 0.0;
        for (_, reason) in Reason::ALL {
            for (_, result) in Result::ALL {
                expected += 1.0;
                let one = fetches
                    .get_metric()
                    .iter()
                    .find(|metric| label(metric, "reason") == reason && label(metric, "result") == result);
                assert_eq!(one.unwrap().get_counter().get_value(), expected, "{reason} {result}");
            }
        }
    }
}
