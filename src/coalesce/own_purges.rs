//! Purges that no other node is told of: of a stream that began anew, and what an answer to an unsafe method invalidates.
//!
//! Decides by the time that has passed which of them came after a fetch of another node; those that the fleet is told of
//! have places, and are the fleet's business. Asked by the shared tier's station alone. Pure, but for its lock.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::Mutex;

/// Purges that are remembered; what was fetched before the oldest of them counts as fetched before all purges.
const REMEMBERED_MAX: usize = 1024;

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct OwnPurges(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// When each was, and the store's generation before it; in order.
    steps: VecDeque<(Instant, u64)>,
    /// The last one that is not among them any more.
    forgotten: Option<Instant>,
}

impl OwnPurges {
    /// Notes one that is about to be applied at `generation`.
    pub(super) fn begin(&self, generation: u64) {
        let mut remembered = self.0.lock();
        // Under the lock, so that they are in order.
        remembered.steps.push_back((Instant::now(), generation));
        if remembered.steps.len() > REMEMBERED_MAX {
            remembered.forgotten = remembered.steps.pop_front().map(|(at, _)| at);
        }
    }

    /// The generation at which a fetch counts as begun, that began at `began` (None: nobody knows how long ago), and at
    /// `generation` by the purges of the fleet.
    pub(super) fn before(&self, began: Option<Instant>, generation: u64) -> u64 {
        let remembered = self.0.lock();
        let is_later = |at: Instant| began.is_none_or(|began| at >= began);
        if remembered.forgotten.is_some_and(is_later) {
            return 0;
        }
        let first = remembered.steps.partition_point(|(at, _)| !is_later(*at));
        remembered.steps.get(first).map_or(generation, |(_, before)| generation.min(*before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_counts_as_begun_before_the_purges_that_came_after_it() {
        let purges = OwnPurges::default();
        assert_eq!(purges.before(None, 9), 9);
        let first = Instant::now();
        purges.begin(3);
        let second = Instant::now();
        purges.begin(5);
        let last = Instant::now() + std::time::Duration::from_millis(1);
        let found = [None, Some(first), Some(second), Some(last)].map(|began| purges.before(began, 9));
        assert_eq!(found, [3, 3, 5, 9]);
        assert_eq!(purges.before(Some(second), 4), 4, "a purge of the fleet came before");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let purges = OwnPurges::default();
        let first = Instant::now();
        (0..2 * REMEMBERED_MAX as u64).for_each(|generation| purges.begin(generation + 1));
        assert_eq!(purges.before(Some(first), u64::MAX), 0);
        assert_eq!(purges.0.lock().steps.len(), REMEMBERED_MAX);
    }
}
