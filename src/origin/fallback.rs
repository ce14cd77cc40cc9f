//! Another group in a group's stead: when it is asked, and when its answer counts.
//!
//! It is asked when this group's circuit is open, when none of its servers is usable, and when a request has failed after
//! its last attempt; not when the request could not be sent for the group's own limits, since what those refuse should
//! not become another group's load. An error of the fallback is no reason to give up what the first group said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::error::OriginError;
use super::metrics::FellBack;
use super::response::OriginResponse;
use super::{FetchRequest, OriginGroup};

/// How long no request must have gone to the fallback for the group to be called well again.
const QUIET: Duration = Duration::from_secs(10);

/// Whether a fallback is in use; for the log.
pub(super) struct InUse {
    on: AtomicBool,
    last: Mutex<Instant>,
}

impl InUse {
    pub(super) fn new() -> Self {
        Self { on: AtomicBool::new(false), last: Mutex::new(Instant::now()) }
    }

    /// It is used; true: it was not before.
    fn begin(&self) -> bool {
        *self.last.lock() = Instant::now();
        !self.on.swap(true, Ordering::AcqRel)
    }

    /// The group has answered by itself; true: it was in use, and has not been for a while.
    fn end(&self) -> bool {
        self.on.load(Ordering::Acquire)
            && self.last.lock().elapsed() >= QUIET
            && self.on.swap(false, Ordering::AcqRel)
    }
}

impl OriginGroup {
    /// Gets an answer from this group or, where it has none to give, from `next`.
    pub(super) async fn fetch_or_fall_back(
        &self,
        next: &Arc<OriginGroup>,
        request: &FetchRequest<'_>,
    ) -> Result<OriginResponse, OriginError> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return self.fetch_here(request).await;
        }
        let began = Instant::now();
        if self.is_down() {
            // Last of all its own servers are tried after all: the checks may be wrong.
            return match self.ask_next(next, request, FellBack::Unhealthy, began).await {
                Some(response) => Ok(response),
                None => self.fetch_here(request).await,
            };
        }
        let result = self.fetch_here(request).await;
        let reason = match &result {
            Err(OriginError::CircuitOpen { .. }) => FellBack::CircuitOpen,
            Err(error) if error.is_of_server() => FellBack::Failed,
            Ok(response) if request.hold.is_none() && self.is_retryable(response.header.status.as_u16()) => {
                FellBack::Failed
            }
            Ok(_) => {
                self.note_well();
                return result;
            }
            Err(_) => return result,
        };
        match self.ask_next(next, request, reason, began).await {
            Some(response) => Ok(response),
            None => result,
        }
    }

    /// The answer of `next`, if it is one: what it does not have, or cannot give, says nothing for this group.
    async fn ask_next(
        &self,
        next: &Arc<OriginGroup>,
        request: &FetchRequest<'_>,
        reason: FellBack,
        began: Instant,
    ) -> Option<OriginResponse> {
        self.note_fallback(next, reason);
        let hold = request.hold.map(|hold| hold.saturating_sub(began.elapsed()));
        match next.fetch(&FetchRequest { hold, ..request.clone() }).await {
            Ok(response) if response.header.status.as_u16() < 400 => Some(response),
            Ok(response) => {
                tracing::debug!(origin = %next.name, status = response.header.status.as_u16(), "the fallback has no answer");
                None
            }
            Err(error) => {
                tracing::debug!(origin = %next.name, %error, "the fallback has failed");
                None
            }
        }
    }

    /// Counts a request for which the fallback is asked, and says so once.
    pub(super) fn note_fallback(&self, next: &OriginGroup, reason: FellBack) {
        self.metrics.fallback(reason);
        if self.in_use.begin() {
            tracing::warn!(origin = %self.name, fallback = %next.name, "requests go to the fallback of an origin");
        }
    }

    fn note_well(&self) {
        if self.in_use.end() {
            tracing::info!(origin = %self.name, "an origin answers again: its fallback is not asked any more");
        }
    }
}
