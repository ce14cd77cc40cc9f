//! What fetches ahead may take in all: so many at once, so many bytes (`limits.prefetch_requests`, `limits.prefetch_bytes`).
//!
//! A fetch claims its bytes before it begins: those that it is expected to have, then those that it turns out to have.
//! What there is no room for is not begun, and nothing waits: what is wanted in spite of that is asked for by viewers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::metrics::{Counters, Reason, Result};
use crate::clock::Clock;
use crate::coalesce::Unasked;
use crate::origin::Permit;
use crate::store::AheadMark;

/// The budget of a node.
#[derive(Debug)]
pub(super) struct Budget {
    taken: Mutex<Taken>,
    requests_max: usize,
    bytes_max: u64,
}

#[derive(Debug, Default)]
struct Taken {
    requests: usize,
    bytes: u64,
}

/// The part of the budget that a fetch may begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// Whatever is left.
    Whole,
    /// What is left of its half: what clients say must not keep out what playlists say.
    Half,
}

impl Budget {
    pub(super) fn new(requests_max: usize, bytes_max: u64) -> Arc<Budget> {
        Arc::new(Budget { taken: Mutex::default(), requests_max, bytes_max })
    }

    /// What an object is taken for of which nothing is known but that most have so many bytes: in a small budget, less.
    pub(super) fn guess(&self, bytes: u64) -> u64 {
        bytes.min(self.bytes_max / 4)
    }

    /// Takes a request and so many bytes. None: there is no room.
    pub(super) fn claim(self: &Arc<Budget>, bytes: u64, share: Share) -> Option<Claim> {
        let (requests_max, bytes_max) = match share {
            Share::Whole => (self.requests_max, self.bytes_max),
            Share::Half => (self.requests_max.div_ceil(2), self.bytes_max / 2),
        };
        let mut taken = self.taken.lock();
        if taken.requests >= requests_max || taken.bytes.saturating_add(bytes) > bytes_max {
            return None;
        }
        taken.requests += 1;
        taken.bytes += bytes;
        Some(Claim { budget: Arc::clone(self), bytes: Mutex::new(bytes) })
    }
}

/// What one fetch has taken; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    budget: Arc<Budget>,
    bytes: Mutex<u64>,
}

impl Claim {
    /// Takes so many bytes in all, in place of those taken before; fewer only if that is what there is to come. False:
    /// there is no room for them, and nothing has changed.
    fn takes(&self, needed: u64, told: bool) -> bool {
        let mut own = self.bytes.lock();
        if needed <= *own && !told {
            return true;
        }
        let mut taken = self.budget.taken.lock();
        let others = taken.bytes - *own;
        if others.saturating_add(needed) > self.budget.bytes_max {
            return false;
        }
        taken.bytes = others + needed;
        *own = needed;
        true
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut taken = self.budget.taken.lock();
        taken.requests -= 1;
        taken.bytes -= *self.bytes.get_mut();
    }
}

/// One fetch under way. What is not held when it is dropped has failed.
pub(super) struct Fetch {
    claim: Claim,
    turn: Mutex<Option<Permit>>,
    mark: Arc<AheadMark>,
    held: AtomicBool,
    /// Whether it has once asked for more than there is.
    outgrown: AtomicBool,
    counters: Arc<Counters>,
    reason: Reason,
    /// Told when the origin fails.
    pause: Arc<Pause>,
    grows: bool,
}

impl Fetch {
    pub(super) fn new(
        claim: Claim,
        turn: Permit,
        (counters, reason): (&Arc<Counters>, Reason),
        pause: &Arc<Pause>,
        grows: bool,
    ) -> Fetch {
        Fetch {
            claim,
            turn: Mutex::new(Some(turn)),
            mark: AheadMark::new(Arc::clone(&counters.objects)),
            held: AtomicBool::new(false),
            outgrown: AtomicBool::new(false),
            counters: Arc::clone(counters),
            reason,
            pause: Arc::clone(pause),
            grows,
        }
    }
}

impl Unasked for Fetch {
    fn turn(&self) -> Option<Permit> {
        self.turn.lock().take()
    }

    fn takes(&self, bytes: u64, told: bool) -> bool {
        let room = self.claim.takes(bytes, told);
        if !room && !self.outgrown.swap(true, Ordering::Relaxed) {
            self.counters.count(self.reason, Result::SkippedBudget);
        }
        room
    }

    fn grows(&self) -> bool {
        self.grows
    }

    fn origin_failed(&self) {
        self.pause.begin();
    }

    fn held(&self, bytes: u64) {
        self.held.store(true, Ordering::Relaxed);
        self.mark.note_whole(bytes);
    }

    fn mark(&self) -> Arc<AheadMark> {
        Arc::clone(&self.mark)
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if !*self.held.get_mut() {
            self.counters.count(self.reason, Result::Failed);
        }
    }
}

/// A time in which an origin that has failed is not asked ahead.
#[derive(Debug)]
pub(super) struct Pause {
    clock: Clock,
    /// When it ends, in seconds since 1970.
    until: AtomicU64,
}

impl Pause {
    /// How long it lasts, to a second.
    const SECONDS: u64 = 2;

    pub(super) fn new(clock: &Clock) -> Arc<Pause> {
        Arc::new(Pause { clock: clock.clone(), until: AtomicU64::new(0) })
    }

    fn begin(&self) {
        self.until.store(self.clock.unix_seconds() + Pause::SECONDS, Ordering::Relaxed);
    }

    pub(super) fn is_on(&self) -> bool {
        // One that ends later than any that begins now is of a clock that was wrong.
        let left = self.until.load(Ordering::Relaxed).saturating_sub(self.clock.unix_seconds());
        (1..=Pause::SECONDS).contains(&left)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn neither_requests_nor_bytes_are_exceeded_and_both_are_given_back() {
        let budget = Budget::new(2, 100);
        let first = budget.claim(60, Share::Whole).unwrap();
        assert!(budget.claim(41, Share::Whole).is_none(), "bytes");
        let second = budget.claim(40, Share::Whole).unwrap();
        assert!(budget.claim(0, Share::Whole).is_none(), "requests");
        drop(first);
        assert!(budget.claim(61, Share::Whole).is_none());
        drop(second);
        assert!(budget.claim(100, Share::Whole).is_some());
    }

    #[test]
    fn a_claim_grows_within_the_budget_alone_and_shrinks_when_the_length_is_told() {
        let budget = Budget::new(9, 100);
        let one = budget.claim(50, Share::Whole).unwrap();
        let other = budget.claim(30, Share::Whole).unwrap();
        assert!(one.takes(70, false) && !one.takes(71, false) && !one.takes(71, true));
        assert!(budget.claim(1, Share::Whole).is_none());
        assert!(one.takes(10, false), "what has grown to less than it was expected to keeps its claim");
        assert!(!other.takes(31, false));
        assert!(one.takes(10, true));
        assert!(other.takes(90, true));
        drop((one, other));
        assert!(budget.claim(100, Share::Whole).is_some());
    }

    #[test]
    fn a_pause_is_no_longer_than_it_may_be_whatever_the_clock_was() {
        let clock = Clock::manual(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_900_000_000));
        let pause = Pause::new(&clock);
        assert!(!pause.is_on());
        pause.begin();
        assert!(pause.is_on());
        clock.advance(std::time::Duration::from_secs(Pause::SECONDS));
        assert!(!pause.is_on());
        // It began when the clock was a day ahead.
        pause.until.store(clock.unix_seconds() + 86_400, Ordering::Relaxed);
        assert!(!pause.is_on());
    }

    #[test]
    fn what_clients_announce_begins_in_half_of_the_budget() {
        let budget = Budget::new(3, 100);
        assert!(budget.claim(51, Share::Half).is_none());
        let two = [budget.claim(20, Share::Half).unwrap(), budget.claim(20, Share::Half).unwrap()];
        assert!(budget.claim(1, Share::Half).is_none());
        assert!(budget.claim(60, Share::Whole).is_some());
        drop(two);
    }
}
