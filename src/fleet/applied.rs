//! What this node has applied of the fleet's purges: which it knows, where in the stream they stand, and the generations of
//! the store that they began. Pure, but for its lock.
//!
//! A purge that comes twice, because its own node told it or somebody told it again, is recognised by its identifier. The
//! memory is bounded ([`KNOWN_MAX`]); one that is forgotten and comes again is applied again, which is harmless.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use super::message::PurgeId;
use crate::watermark::Watermark;

/// Purges that are remembered.
pub(super) const KNOWN_MAX: usize = 16_384;

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Applied(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<PurgeId, Known>,
    /// The oldest first.
    order: VecDeque<PurgeId>,
    /// Of this node's own that no place is known of: the generation before each.
    untold: HashMap<PurgeId, u64>,
    /// For places in the stream, in order: the least generation before the purge there and all behind it.
    steps: VecDeque<(Watermark, u64)>,
    /// Behind this place all are among the steps. None: nothing has been read yet.
    from: Option<Watermark>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// Whether this node was asked for it before anybody told it.
    is_own: bool,
    before: u64,
    at: Option<Watermark>,
}

impl Applied {
    /// Notes a purge of this node's own, before it is applied at `generation`. False: it was read, and so is applied. One
    /// that this node was asked for before is applied again: a disk could not note it.
    pub(super) fn begin(&self, id: PurgeId, generation: u64) -> bool {
        let mut inner = self.0.lock();
        if inner.know(id, Known { is_own: true, before: generation, at: None }) {
            inner.untold.insert(id, generation);
        }
        inner.known.get(&id).is_none_or(|known| known.is_own)
    }

    /// Has one purge stand for others that will never be told themselves.
    pub(super) fn replace(&self, others: &[PurgeId], by: PurgeId, generation: u64) {
        let mut inner = self.0.lock();
        let before = others.iter().filter_map(|id| inner.untold.remove(id)).min();
        let before = before.unwrap_or(generation);
        if inner.know(by, Known { is_own: true, before, at: None }) {
            inner.untold.insert(by, before);
        }
    }

    /// Notes where Redis has put one of this node's own.
    pub(super) fn told(&self, id: PurgeId, at: Watermark) {
        let mut inner = self.0.lock();
        if let Some(known) = inner.known.get_mut(&id) {
            known.at = Some(at);
        }
        // It was read before a restart, when nobody had said yet that it was told.
        if inner.read_to() >= Some(at) {
            inner.untold.remove(&id);
        }
    }

    /// Notes a purge that was read at a place, before it is applied at `generation`. False: it is applied already.
    pub(super) fn read(&self, id: PurgeId, at: Watermark, generation: u64) -> bool {
        let mut inner = self.0.lock();
        let is_new = inner.know(id, Known { is_own: false, before: generation, at: Some(at) });
        let mut before = generation;
        if let Some(known) = inner.known.get_mut(&id) {
            known.at = Some(at);
            before = known.before;
        }
        inner.untold.remove(&id);
        inner.step(at, before);
        is_new
    }

    /// Everything that stands in the stream up to a place is applied, and what was before it is not remembered.
    pub(super) fn begin_at(&self, at: Watermark) {
        let mut inner = self.0.lock();
        inner.steps.clear();
        inner.from = Some(at);
        // What was told stands before that place, or is lost: it is not read any more.
        let Inner { untold, known, .. } = &mut *inner;
        untold.retain(|id, _| known.get(id).is_none_or(|known| known.at.is_none()));
    }

    /// Where a purge stands. None: it is not known, or not told.
    pub(super) fn place(&self, id: PurgeId) -> Option<Watermark> {
        self.0.lock().known.get(&id)?.at
    }

    /// The generation just before the first purge behind a place was applied; `generation` is the store's now. None: that
    /// is longer ago than is remembered.
    pub(super) fn generation_at(&self, place: Watermark, generation: u64) -> Option<u64> {
        let inner = self.0.lock();
        if inner.from.is_none_or(|from| place < from) {
            return None;
        }
        let next = inner.steps.partition_point(|(at, _)| *at <= place);
        let told = inner.steps.get(next).map(|(_, before)| *before);
        let untold = inner.untold.values().min().copied();
        Some(told.into_iter().chain(untold).fold(generation, u64::min))
    }
}

impl Inner {
    /// The last place that was read.
    fn read_to(&self) -> Option<Watermark> {
        self.steps.back().map(|(at, _)| *at).max(self.from)
    }

    /// False: it is known already.
    fn know(&mut self, id: PurgeId, known: Known) -> bool {
        if self.known.contains_key(&id) {
            return false;
        }
        // What waits stays known: it comes back. The outbox bounds how many there are.
        for _ in 0..self.order.len() {
            if self.known.len() < KNOWN_MAX {
                break;
            }
            let Some(oldest) = self.order.pop_front() else { break };
            if self.untold.contains_key(&oldest) {
                self.order.push_back(oldest);
            } else {
                self.known.remove(&oldest);
            }
        }
        self.order.push_back(id);
        self.known.insert(id, known);
        true
    }

    fn step(&mut self, at: Watermark, before: u64) {
        for (_, least) in self.steps.iter_mut().rev().take_while(|(_, least)| *least > before) {
            *least = before;
        }
        self.steps.push_back((at, before));
        if self.steps.len() > KNOWN_MAX
            && let Some((forgotten, _)) = self.steps.pop_front()
        {
            self.from = self.from.max(Some(forgotten));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn at(millis: u64) -> Watermark {
        Watermark { millis, sequence: 0 }
    }

    #[test]
    fn a_place_stands_for_the_generation_before_the_first_purge_behind_it() {
        let applied = Applied::default();
        assert_eq!(applied.generation_at(at(5), 10), None, "nothing is known yet");
        applied.begin_at(at(4));
        assert_eq!(applied.generation_at(at(3), 10), None);
        assert_eq!(applied.generation_at(at(4), 10), Some(10));
        assert!(applied.read(PurgeId::random(), at(5), 10));
        assert!(applied.read(PurgeId::random(), at(8), 11));
        let found = [4, 5, 7, 8, 9].map(|place| applied.generation_at(at(place), 12));
        assert_eq!(found, [Some(10), Some(11), Some(11), Some(12), Some(12)]);
        let (told, waiting) = (PurgeId::random(), PurgeId::random());
        applied.begin(told, 12);
        applied.told(told, at(9));
        applied.begin(waiting, 13);
        applied.begin_at(at(20));
        assert_eq!(applied.generation_at(at(8), 14), None);
        assert_eq!(applied.generation_at(at(20), 14), Some(13), "what was told is lost, what waits is not");
    }

    /// What a node was asked for itself it applies before it stands anywhere, and perhaps before what stands before it.
    #[test]
    fn a_purge_that_was_applied_before_it_was_told_counts_from_then() {
        let applied = Applied::default();
        applied.begin_at(at(4));
        let own = PurgeId::random();
        assert!(applied.begin(own, 10) && applied.begin(own, 12));
        assert_eq!(applied.generation_at(at(4), 11), Some(10));
        let others = PurgeId::random();
        assert!(applied.read(others, at(5), 11) && !applied.begin(others, 11));
        assert_eq!(applied.place(own), None);
        applied.told(own, at(6));
        assert_eq!(applied.place(own), Some(at(6)));
        assert!(!applied.read(own, at(6), 12), "it is not applied again");
        let found = [4, 5, 6].map(|place| applied.generation_at(at(place), 12));
        assert_eq!(found, [Some(10), Some(10), Some(12)]);
    }

    #[test]
    fn one_purge_stands_for_those_that_it_replaces() {
        let applied = Applied::default();
        applied.begin_at(at(4));
        let (first, second, all) = (PurgeId::random(), PurgeId::random(), PurgeId::random());
        applied.begin(first, 10);
        applied.begin(second, 11);
        applied.replace(&[first, second], all, 12);
        assert_eq!(applied.generation_at(at(4), 12), Some(10));
        assert!(!applied.read(all, at(5), 12));
        assert_eq!(
            (applied.generation_at(at(4), 12), applied.generation_at(at(5), 12)),
            (Some(10), Some(12))
        );
    }

    /// After a restart: the answer about one that waited says that it stands where this node has read already.
    #[test]
    fn what_turns_out_to_have_been_read_long_ago_waits_no_more() {
        let applied = Applied::default();
        let waited = PurgeId::random();
        applied.begin(waited, 0);
        applied.begin_at(at(9));
        assert_eq!(applied.generation_at(at(9), 5), Some(0));
        applied.told(waited, at(7));
        assert_eq!(applied.generation_at(at(9), 5), Some(5));
    }

    /// However many: one that is applied again would take what was fetched since.
    #[test]
    fn what_waits_is_not_forgotten() {
        let applied = Applied::default();
        applied.begin_at(at(0));
        let own: Vec<_> = (0..KNOWN_MAX + 10).map(|_| PurgeId::random()).collect();
        assert!(own.iter().all(|id| applied.begin(*id, 3)));
        for (id, place) in own.iter().zip(1..) {
            assert!(!applied.read(*id, at(place), 3), "{place}");
        }
        let inner = applied.0.lock();
        assert!(inner.known.len() <= KNOWN_MAX + 10 && inner.untold.is_empty());
        assert_eq!(inner.known.len(), inner.order.len());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let applied = Applied::default();
        applied.begin_at(at(0));
        let first = PurgeId::random();
        applied.read(first, at(1), 1);
        for place in 2..KNOWN_MAX as u64 + 2 {
            applied.read(PurgeId::random(), at(place), place);
        }
        assert_eq!(applied.place(first), None);
        assert_eq!(applied.generation_at(at(0), u64::MAX), None);
        assert_eq!(applied.generation_at(at(1), u64::MAX), Some(2));
        let inner = applied.0.lock();
        assert_eq!(
            (inner.known.len(), inner.order.len(), inner.steps.len()),
            (KNOWN_MAX, KNOWN_MAX, KNOWN_MAX)
        );
    }
}
