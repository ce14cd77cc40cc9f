//! The cap on an origin group: so many requests at once, so many waiting, each for so long.
//!
//! Decides only whether a request may go; which server it goes to is not its business. Called by the group before
//! every fetch and every passed-through request; health checks do not pass here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::OriginError;
use crate::config::model::OriginLimits;

/// A turn with an origin group; dropping it gives the turn to the next one.
#[derive(Debug)]
pub struct Permit(#[expect(dead_code, reason = "held for its Drop")] OwnedSemaphorePermit);

/// The cap and its queue.
pub(super) struct Gate {
    origin: Arc<str>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    limits: OriginLimits,
}

impl Gate {
    pub(super) fn new(origin: Arc<str>, limits: &OriginLimits) -> Self {
        let turns = limits.connections.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            origin,
            turns: Arc::new(Semaphore::new(turns)),
            waiting: AtomicUsize::new(0),
            limits: limits.clone(),
        }
    }

    /// Takes a turn: at once when there is one, else after waiting in line.
    ///
    /// Turns are given in the order of arrival. `gauge` shows how many wait.
    pub(super) async fn enter(&self, gauge: &IntGauge) -> Result<Permit, OriginError> {
        if let Ok(permit) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(Permit(permit));
        }
        let full = || OriginError::QueueFull { origin: Arc::clone(&self.origin) };
        let _place = Place::take(&self.waiting, self.limits.queue_length, gauge).ok_or_else(full)?;
        match tokio::time::timeout(self.limits.queue, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Permit(permit)),
            // The semaphore is never closed; were it, nothing could be let in.
            Ok(Err(_closed)) => Err(full()),
            Err(_elapsed) => Err(OriginError::QueueTimeout { origin: Arc::clone(&self.origin) }),
        }
    }
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
