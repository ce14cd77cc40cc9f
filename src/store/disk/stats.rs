//! What a volume counts. Atomics alone: read at any time by whoever makes metrics of them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::format::Corruption;

/// Why an object is no longer held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// Its region was used again, and it had no hit, or too few.
    Size,
    /// Its site was over its quota.
    Quota,
    /// Its record was damaged.
    Corrupt,
    /// It was removed by its key.
    Removed,
    /// The volume was cleared.
    Cleared,
}

/// Events, and their bytes.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many.
    pub count: AtomicU64,
    /// Bytes of their records.
    pub bytes: AtomicU64,
}

/// The figures of one volume, since it was opened.
#[derive(Debug, Default)]
pub struct VolumeStats {
    /// Objects in the index, and the bytes of their records.
    pub live: Tally,
    /// Records appended for the caller (objects, meta, tombstones).
    pub appended: Tally,
    /// Records appended again because they had hits when their region was reclaimed.
    pub reinserted: Tally,
    /// Regions reclaimed.
    pub reclaimed_regions: AtomicU64,
    /// Bytes written to the device in all: with headers, tables of contents and reinsertions.
    pub written_bytes: AtomicU64,
    evictions: [Tally; Eviction::ALL.len()],
    corruptions: [AtomicU64; Corruption::ALL.len()],
}

impl Eviction {
    /// All of them, in the order of their counters.
    pub const ALL: [Eviction; 5] =
        [Eviction::Size, Eviction::Quota, Eviction::Corrupt, Eviction::Removed, Eviction::Cleared];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Eviction::Size => "size",
            Eviction::Quota => "quota",
            Eviction::Corrupt => "corrupt",
            Eviction::Removed => "removed",
            Eviction::Cleared => "cleared",
        }
    }
}

impl Tally {
    /// One more, of so many bytes.
    pub fn add(&self, bytes: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// One less, of so many bytes.
    pub(super) fn subtract(&self, bytes: u64) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many, and their bytes.
    pub fn get(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl VolumeStats {
    /// Objects dropped for this reason.
    pub fn evictions(&self, reason: Eviction) -> &Tally {
        // One counter for each reason, in the order of their declaration.
        &self.evictions[reason as usize]
    }

    /// Damaged records found by reads, of this kind.
    pub fn corruptions(&self, kind: Corruption) -> &AtomicU64 {
        &self.corruptions[kind as usize]
    }

    /// Bytes written to the device for each byte appended; 1.0 before anything is.
    pub fn write_amplification(&self) -> f64 {
        let (_, appended) = self.appended.get();
        let written = self.written_bytes.load(Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
        if appended == 0 { 1.0 } else { written as f64 / appended as f64 }
    }
}
