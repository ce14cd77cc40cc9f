//! Notes that something under a key was removed or replaced, for those who are about to put there what they have read from
//! disk: that may be what was removed.
//!
//! Keys share counters: what has changed under one key may look as if it had under another. That costs a copy in memory.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters: few keys of those that change while an object is read share one.
const COUNTERS: usize = 4096;

/// Changes so far, by key.
#[derive(Debug)]
pub(super) struct Changes(Box<[AtomicU64]>);

/// What had changed under a key at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change(u64);

impl Default for Changes {
    fn default() -> Changes {
        Changes((0..COUNTERS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Changes {
    /// Notes a change. Called before it is made: who puts something there afterwards and finds this noted takes it away
    /// again, who does not is followed by the change itself.
    pub(super) fn note(&self, hash: u128) {
        self.counter(hash).fetch_add(1, Ordering::SeqCst);
    }

    /// What has changed until now.
    pub(super) fn of(&self, hash: u128) -> Change {
        Change(self.counter(hash).load(Ordering::SeqCst))
    }

    fn counter(&self, hash: u128) -> &AtomicU64 {
        #[allow(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let place = (hash >> 17) as usize % COUNTERS;
        &self.0[place]
    }
}
