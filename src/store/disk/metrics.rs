//! What the disk tier tells: metrics of all disks, and one disk's own, looked up once when it is opened.
//!
//! Counts nothing by itself and decides nothing. Figures that the volumes count are read from them when metrics are
//! asked for; the rest is counted where it happens.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::health::{Operation, Pause};

/// Upper bounds of the histogram of disk operations, in seconds: from an NVMe's read to a disk that does not answer.
const OPERATION_BUCKETS_SECONDS: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];

/// Why a write was not made. The word is the same in metrics and documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The queue of the disk's writer had no room.
    QueueFull,
    /// Larger than a volume takes, by its key, metadata or body.
    TooLarge,
    /// Larger than its site's quota.
    Quota,
    /// The file system is full.
    DiskFull,
    /// The file system is read-only.
    ReadOnly,
    /// The disk is slow, and spared for a while.
    Slow,
    /// The disk is taken out.
    Out,
    /// The write failed.
    Error,
    /// The index takes all the memory that it may.
    IndexFull,
    /// The node is about to end.
    Closing,
}

/// Why an object that the disk had could not be read in time. The word is the same in metrics and documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// The queue of the disk's readers had no room.
    QueueFull,
    /// The disk did not answer in time.
    Late,
}

/// Metrics of all disks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DiskMetrics {
    pub(super) bytes: IntGauge,
    pub(super) capacity: IntGauge,
    pub(super) objects: IntGauge,
    pub(super) evicted_size: IntCounter,
    pub(super) evicted_quota: IntCounter,
    pub(super) evicted_purge: IntCounter,
    pub(super) queue_bytes: IntGauge,
    pub(super) written_bytes: IntCounter,
    pub(super) host_bytes: IntCounter,
    shed: [IntCounter; Reason::ALL.len()],
    missed: [IntCounter; Missed::ALL.len()],
    operations: HistogramVec,
    errors: IntCounterVec,
    corrupt: IntCounterVec,
    out: IntGaugeVec,
}

/// Metrics of one disk.
#[derive(Debug)]
pub(super) struct OneDisk {
    seconds: [Histogram; 2],
    errors: [IntCounter; 2],
    /// One when the disk is taken out.
    pub(super) out: IntGauge,
    corrupt: IntCounterVec,
    disk: String,
}

/// A counter that follows a figure counted elsewhere.
#[derive(Debug, Default)]
pub(super) struct Followed(AtomicU64);

impl Reason {
    /// Every reason, in the order of their counters.
    pub const ALL: [Reason; 10] = [
        Reason::QueueFull,
        Reason::TooLarge,
        Reason::Quota,
        Reason::DiskFull,
        Reason::ReadOnly,
        Reason::Slow,
        Reason::Out,
        Reason::Error,
        Reason::IndexFull,
        Reason::Closing,
    ];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::QueueFull => "queue_full",
            Reason::TooLarge => "too_large",
            Reason::Quota => "quota",
            Reason::DiskFull => "disk_full",
            Reason::ReadOnly => "read_only",
            Reason::Slow => "slow",
            Reason::Out => "out",
            Reason::Error => "error",
            Reason::IndexFull => "index_full",
            Reason::Closing => "closing",
        }
    }
}

impl From<Pause> for Reason {
    fn from(pause: Pause) -> Reason {
        match pause {
            Pause::Out => Reason::Out,
            Pause::ReadOnly => Reason::ReadOnly,
            Pause::Full => Reason::DiskFull,
            Pause::Slow => Reason::Slow,
        }
    }
}

impl Missed {
    /// Every reason, in the order of their counters.
    pub const ALL: [Missed; 2] = [Missed::QueueFull, Missed::Late];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Missed::QueueFull => "queue_full",
            Missed::Late => "late",
        }
    }
}

impl DiskMetrics {
    /// Registers the metrics of the disk tier.
    ///
    /// # Errors
    /// When they are registered already.
    pub fn new(registry: &Registry) -> Result<DiskMetrics, prometheus::Error> {
        let disk = |name: &str, help: &str| Opts::new(name, help).const_label("tier", "disk");
        let evicted = |reason: &str| {
            let help = "Objects removed from the cache, by reason.";
            IntCounter::with_opts(disk("forebay_cache_evictions_total", help).const_label("reason", reason))
        };
        let by_reason = |name: &str, help: &str, reason: &str| {
            IntCounter::with_opts(Opts::new(name, help).const_label("reason", reason))
        };
        let shed = |reason: Reason| {
            let help = "Objects not written to disk, by reason.";
            by_reason("forebay_disk_writes_shed_total", help, reason.as_str())
        };
        let missed = |reason: Missed| {
            let help = "Reads given up because the disk could not answer in time, by reason.";
            by_reason("forebay_disk_reads_shed_total", help, reason.as_str())
        };
        let seconds = HistogramOpts::new("forebay_disk_operation_seconds", "Time that disk operations take.");
        let metrics = DiskMetrics {
            bytes: IntGauge::with_opts(disk("forebay_cache_bytes", BYTES_HELP))?,
            capacity: IntGauge::with_opts(disk("forebay_cache_capacity_bytes", "The budget, in bytes."))?,
            objects: IntGauge::with_opts(disk("forebay_cache_objects", "Complete objects held."))?,
            evicted_size: evicted("size")?,
            evicted_quota: evicted("quota")?,
            evicted_purge: evicted("purge")?,
            queue_bytes: IntGauge::new(
                "forebay_disk_queue_bytes",
                "Bytes that wait for the disks' writers.",
            )?,
            written_bytes: IntCounter::new(
                "forebay_disk_written_bytes_total",
                "Bytes of objects given to be written.",
            )?,
            host_bytes: IntCounter::new(
                "forebay_disk_host_bytes_total",
                "Bytes written to the disks, with all that is written beside objects or again.",
            )?,
            shed: all(Reason::ALL, shed)?,
            missed: all(Missed::ALL, missed)?,
            operations: HistogramVec::new(
                seconds.buckets(OPERATION_BUCKETS_SECONDS.to_vec()),
                &["disk", "operation"],
            )?,
            errors: IntCounterVec::new(
                Opts::new("forebay_disk_errors_total", "Disk operations that failed or did not end in time."),
                &["disk", "operation"],
            )?,
            corrupt: IntCounterVec::new(
                Opts::new(
                    "forebay_disk_corrupt_total",
                    "Objects dropped because their bytes were damaged, by reason.",
                ),
                &["disk", "reason"],
            )?,
            out: IntGaugeVec::new(
                Opts::new("forebay_disk_out", "Whether a disk is taken out after errors: 1 or 0."),
                &["disk"],
            )?,
        };
        metrics.collectors().into_iter().try_for_each(|collector| registry.register(collector))?;
        Ok(metrics)
    }

    /// Counts a write that was not made.
    pub(super) fn shed(&self, reason: Reason, writes: u64) {
        if let Some(counter) = self.shed.get(reason as usize) {
            counter.inc_by(writes);
        }
    }

    /// Counts a read that was given up.
    pub(super) fn missed(&self, reason: Missed) {
        if let Some(counter) = self.missed.get(reason as usize) {
            counter.inc();
        }
    }

    /// The metrics of the disk at `path`.
    pub(super) fn one_disk(&self, path: &Path) -> OneDisk {
        let disk = path.display().to_string();
        let both = [Operation::Read, Operation::Write];
        OneDisk {
            seconds: both.map(|operation| self.operations.with_label_values(&[&*disk, operation.as_str()])),
            errors: both.map(|operation| self.errors.with_label_values(&[&*disk, operation.as_str()])),
            out: self.out.with_label_values(&[&*disk]),
            corrupt: self.corrupt.clone(),
            disk,
        }
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let mut all: Vec<Box<dyn Collector>> = vec![
            Box::new(self.bytes.clone()),
            Box::new(self.capacity.clone()),
            Box::new(self.objects.clone()),
            Box::new(self.evicted_size.clone()),
            Box::new(self.evicted_quota.clone()),
            Box::new(self.evicted_purge.clone()),
            Box::new(self.queue_bytes.clone()),
            Box::new(self.written_bytes.clone()),
            Box::new(self.host_bytes.clone()),
            Box::new(self.operations.clone()),
            Box::new(self.errors.clone()),
            Box::new(self.corrupt.clone()),
            Box::new(self.out.clone()),
        ];
        let counters = self.shed.iter().chain(&self.missed);
        all.extend(counters.map(|counter| Box::new(counter.clone()) as Box<dyn Collector>));
        all
    }
}

impl OneDisk {
    pub(super) fn took(&self, operation: Operation, elapsed: Duration) {
        let [read, write] = &self.seconds;
        let histogram = if operation == Operation::Read { read } else { write };
        histogram.observe(elapsed.as_secs_f64());
    }

    pub(super) fn failed(&self, operation: Operation) {
        let [read, write] = &self.errors;
        let counter = if operation == Operation::Read { read } else { write };
        counter.inc();
    }

    /// Errors of this kind of operation so far.
    pub(super) fn errors(&self, operation: Operation) -> u64 {
        let [read, write] = &self.errors;
        if operation == Operation::Read { read.get() } else { write.get() }
    }

    /// Counts objects dropped because they were damaged. Rare: the label is looked up.
    pub(super) fn corrupt(&self, reason: &str, objects: u64) {
        self.corrupt.with_label_values(&[&*self.disk, reason]).inc_by(objects);
    }
}

impl Followed {
    /// How much the figure has grown since the last call.
    pub(super) fn growth(&self, figure: u64) -> u64 {
        figure.saturating_sub(self.0.fetch_max(figure, Ordering::AcqRel))
    }
}

/// The same text for both tiers: a metric has one.
pub const BYTES_HELP: &str =
    "Bytes in use: of the memory budget (kept, in flight, evicted but still read), or of objects on disk.";

fn all<T, const N: usize>(
    reasons: [T; N],
    make: impl Fn(T) -> Result<IntCounter, prometheus::Error>,
) -> Result<[IntCounter; N], prometheus::Error> {
    let counters = reasons.into_iter().map(make).collect::<Result<Vec<_>, _>>()?;
    counters.try_into().map_err(|_| prometheus::Error::Msg("as many counters as reasons".to_string()))
}

/// A gauge's value, of a figure that may exceed it.
pub(super) fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::store::StoreMetrics;

    #[test]
    fn both_tiers_register_their_metrics_under_the_same_names() {
        let registry = Registry::new();
        StoreMetrics::new(&registry).unwrap();
        let metrics = DiskMetrics::new(&registry).unwrap();
        metrics.bytes.set(5);
        let families = registry.gather();
        let bytes = families.iter().find(|family| family.name() == "forebay_cache_bytes").unwrap();
        let tiers: Vec<_> = bytes.get_metric().iter().map(|metric| metric.get_label()[0].value()).collect();
        assert_eq!(tiers, ["disk", "memory"]);
        assert!(DiskMetrics::new(&registry).is_err(), "registered twice");
    }

    #[test]
    fn every_reason_is_counted_under_its_own_word() {
        let registry = Registry::new();
        let metrics = DiskMetrics::new(&registry).unwrap();
        for (count, reason) in (1..).zip(Reason::ALL) {
            metrics.shed(reason, count);
        }
        let families = registry.gather();
        let shed = families.iter().find(|f| f.name() == "forebay_disk_writes_shed_total").unwrap();
        for (count, reason) in (1_u32..).zip(Reason::ALL) {
            let metric =
                shed.get_metric().iter().find(|m| m.get_label()[0].value() == reason.as_str()).unwrap();
            assert!((metric.get_counter().get_value() - f64::from(count)).abs() < 0.1, "{}", reason.as_str());
        }
    }

    #[test]
    fn a_followed_figure_is_counted_once() {
        let followed = Followed::default();
        assert_eq!([followed.growth(5), followed.growth(5), followed.growth(9)], [5, 0, 4]);
    }
}
