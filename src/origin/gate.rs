//! The cap on an origin group: so many requests at once, so many waiting, each for so long.
//!
//! Decides only whether a request may go; which server it goes to is not its business. Called by the group before
//! every fetch and every passed-through request; health checks do not pass here. A request that the origin holds on
//! purpose keeps its turn for seconds without a byte: such requests take half of the turns at most, and line up in half of
//! the queue, so that there is always a place for a segment. A group with a single turn has no half.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::error::OriginError;
use crate::config::model::OriginLimits;

/// The part of the turns that what nobody waits for leaves to viewers: one in so many, and one at the least.
const SPARE_SHARE: usize = 4;

/// A turn with an origin group; dropping it gives the turn to the next one.
#[derive(Debug)]
pub struct Permit {
    #[expect(dead_code, reason = "held for its Drop")]
    turn: OwnedSemaphorePermit,
    /// One of those for requests that are held.
    #[expect(dead_code, reason = "held for its Drop")]
    held: Option<OwnedSemaphorePermit>,
}

/// The cap and its queue.
pub(super) struct Gate {
    origin: Arc<str>,
    turns: Arc<Semaphore>,
    /// Those of them that requests may take which the origin holds.
    held: Arc<Semaphore>,
    waiting: AtomicUsize,
    limits: OriginLimits,
}

impl Gate {
    pub(super) fn new(origin: Arc<str>, limits: &OriginLimits) -> Self {
        let turns = limits.connections.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            origin,
            turns: Arc::new(Semaphore::new(turns)),
            held: Arc::new(Semaphore::new((turns / 2).max(1))),
            waiting: AtomicUsize::new(0),
            limits: limits.clone(),
        }
    }

    /// Takes a turn: at once when there is one, else after waiting in line. `held` says that the origin will hold the
    /// request.
    ///
    /// Turns are given in the order of arrival, among those that are held and among all. `gauge` shows how many wait.
    pub(super) async fn enter(&self, gauge: &IntGauge, held: bool) -> Result<Permit, OriginError> {
        let until = Instant::now() + self.limits.queue;
        let places = self.limits.queue_length;
        let held =
            if held { Some(self.take(&self.held, gauge, (until, places.div_ceil(2))).await?) } else { None };
        Ok(Permit { turn: self.take(&self.turns, gauge, (until, places)).await?, held })
    }

    async fn take(
        &self,
        turns: &Arc<Semaphore>,
        gauge: &IntGauge,
        (until, places): (Instant, usize),
    ) -> Result<OwnedSemaphorePermit, OriginError> {
        if let Ok(turn) = Arc::clone(turns).try_acquire_owned() {
            return Ok(turn);
        }
        let full = || OriginError::QueueFull { origin: Arc::clone(&self.origin) };
        let _place = Place::take(&self.waiting, places, gauge).ok_or_else(full)?;
        match timeout_at(until, Arc::clone(turns).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            // The semaphore is never closed; were it, nothing could be let in.
            Ok(Err(_closed)) => Err(full()),
            Err(_elapsed) => Err(OriginError::QueueTimeout { origin: Arc::clone(&self.origin) }),
        }
    }

    /// Takes a turn for what nobody waits for, if one is free at once and enough are left for viewers.
    pub(super) fn enter_spare(&self) -> Option<Permit> {
        let turn = Arc::clone(&self.turns).try_acquire_owned().ok()?;
        // Looked at with the turn taken: two that take one at once both see the other's.
        (self.turns.available_permits() >= left_to_viewers(self.limits.connections))
            .then(|| Permit { turn, held: None })
    }
}

/// Turns of this cap that are left to viewers.
fn left_to_viewers(turns: usize) -> usize {
    turns.div_ceil(SPARE_SHARE)
}

/// A place in the queue, given up on drop, so that a waiter that goes away is not counted any longer.
struct Place<'a> {
    waiting: &'a AtomicUsize,
    gauge: &'a IntGauge,
}

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, places: usize, gauge: &'a IntGauge) -> Option<Self> {
        waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| (taken < places).then_some(taken + 1))
            .ok()?;
        gauge.inc();
        Some(Self { waiting, gauge })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        self.gauge.dec();
    }
}
