//! The way of one fetch: a turn, a server, further attempts, a second request where the first is late.
//!
//! Decides what is tried again, and what counts as a failure of a server or of the group. Which server is asked is
//! [`super::OriginGroup`]'s decision, another group [`super::fallback`]'s.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use super::breaker::Pass;
use super::error::{ErrorKind, OriginError};
use super::exchange::{Answered, exchange};
use super::gate::{Class, Permit};
use super::jitter;
use super::members::List;
use super::metrics::Hedged;
use super::response::{Account, OriginResponse};
use super::ring::Busy;
use super::server::{Reuse, Server};
use super::{FetchReason, FetchRequest, OriginGroup};

/// An answer that has begun, the server it comes from, and the turn it was got in.
type Begun = (Arc<Server>, Answered, Turn);

/// What is held while an answer comes: the turn with the group, and what its server has to do.
pub(super) type Turn = (Arc<Permit>, Option<Busy>);

impl OriginGroup {
    /// Gets an answer from the group, or from its fallback: waits for a turn, asks a server, asks again where the retry
    /// rule says so.
    ///
    /// Tried again, up to `retry.attempts` in all and within `retry.budget`: failures before an answer, where `on_connect`;
    /// the statuses of `on_status`. A failure before an answer costs nothing of the budget where another server is well. Never tried again: a server that takes too long to answer or answers malformed. A
    /// request on a pooled connection that turns out to be closed is repeated once on a new one; that is no attempt of
    /// its own. When the attempts run out with an answer in hand, that answer is returned.
    ///
    /// The turn is held until the answer's body has ended or the answer is dropped; an answer kept in hand while
    /// another server is asked shares the turn of its request. What the origin has held a request for is not given to it
    /// again with another attempt.
    ///
    /// # Errors
    ///
    /// The last attempt's, or why nothing was sent.
    pub async fn fetch(&self, request: &FetchRequest<'_>) -> Result<OriginResponse, OriginError> {
        match self.fallback.get() {
            None => self.fetch_here(request).await,
            // Boxed: each group on the way has a state of its own.
            Some(next) => Box::pin(self.fetch_or_fall_back(next, request)).await,
        }
    }

    /// Gets an answer in a turn that has been taken before ([`OriginGroup::spare_turn`]), by one attempt at one server.
    ///
    /// # Errors
    ///
    /// The attempt's.
    pub async fn fetch_once(
        &self,
        request: &FetchRequest<'_>,
        turn: Permit,
    ) -> Result<OriginResponse, OriginError> {
        let pass = self.admit(request.hold.is_some())?;
        self.fetch_in_turn(request, (turn, pass), 1).await
    }

    /// A turn for what nobody waits for: one that is free at once, and of which enough remain for viewers. None: there
    /// is none, no server is usable, or the circuit is not closed.
    pub fn spare_turn(&self) -> Option<Permit> {
        let may = !self.is_down() && self.breaker.as_ref().is_none_or(|breaker| breaker.is_closed());
        may.then(|| self.gate.enter_spare())?
    }

    /// Gets an answer from this group's own servers.
    pub(super) async fn fetch_here(&self, request: &FetchRequest<'_>) -> Result<OriginResponse, OriginError> {
        let (class, held) = (Class::of(request.kind), request.hold.is_some());
        let leave = self.enter(class, held).await?;
        self.fetch_in_turn(request, leave, self.retry.attempts.max(1)).await
    }

    /// Takes a turn, and leave of the circuit to use it. Who waits for a turn while the circuit opens is refused then.
    pub(super) async fn enter(
        &self,
        class: Class,
        held: bool,
    ) -> Result<(Permit, Option<Pass>), OriginError> {
        if self.is_open() {
            self.metrics.error(ErrorKind::CircuitOpen);
            return Err(OriginError::CircuitOpen { origin: Arc::clone(&self.name) });
        }
        let permit =
            self.gate.enter(class, held).await.inspect_err(|error| self.metrics.error(error.kind()))?;
        Ok((permit, self.admit(held)?))
    }

    fn admit(&self, held: bool) -> Result<Option<Pass>, OriginError> {
        let pass = self.breaker.as_ref().map(|breaker| breaker.admit(held)).transpose();
        pass.inspect_err(|error| self.metrics.error(error.kind()))
    }

    /// Asks a server, and others where the retry rule says so, `attempts` in all.
    async fn fetch_in_turn(
        &self,
        request: &FetchRequest<'_>,
        (permit, mut pass): (Permit, Option<Pass>),
        attempts: u32,
    ) -> Result<OriginResponse, OriginError> {
        self.budget.earn(Instant::now());
        // Boxed: the state of two exchanges would make every caller's future as large.
        let result = Box::pin(self.attempts(request, permit, pass.as_ref(), attempts)).await;
        if let Some(pass) = &mut pass {
            let status = result.as_ref().map(|response| response.header.status.as_u16());
            pass.tell(self.judge(status, request.hold.is_some()));
        }
        result
    }

    async fn attempts(
        &self,
        request: &FetchRequest<'_>,
        permit: Permit,
        pass: Option<&Pass>,
        attempts: u32,
    ) -> Result<OriginResponse, OriginError> {
        let permit = Arc::new(permit);
        let list = self.list().await?;
        let began = Instant::now();
        let safe = matches!(request.method, Method::GET | Method::HEAD);
        let attempts = if safe { attempts } else { 1 };
        let mut tried = Vec::new();
        let mut in_hand = None;
        let mut attempt = 1;
        loop {
            let hold = request.hold.map(|hold| hold.saturating_sub(began.elapsed()));
            let request = FetchRequest { hold, ..request.clone() };
            let outcome = match self.try_one(&request, (&list, &mut tried), &permit, attempt).await {
                Ok((server, answered, turn)) => {
                    Ok(self.response(&server, answered, turn, (&request, pass)).await)
                }
                Err(error) => Err(error),
            };
            let again = match &outcome {
                Ok(response) => self.is_retryable(response.header.status.as_u16()),
                Err(error) => self.retry.on_connect && error.is_connect(),
            };
            // What no server has had yet costs none of them more than it costs the one that it should have gone to.
            let unsent = outcome.as_ref().is_err_and(|error| error.is_unsent());
            let spared = unsent && tried.len() < list.servers.len();
            // An answer in hand is better than a later error.
            let best = match (outcome, in_hand.take()) {
                (Err(_), Some(answer)) => Ok(answer),
                (outcome, _) => outcome,
            };
            let moves =
                matches!(&best, Err(error) if error.is_connect()) && self.moves_on(&request, &list, &tried);
            let may = again && attempt < attempts && self.may_again(moves || spared);
            if !may || self.wait_again(attempt).await.is_err() {
                return best;
            }
            match best {
                Ok(answer) => in_hand = Some(answer),
                Err(error) => {
                    tracing::debug!(origin = %self.name, %error, "an attempt failed; another one follows");
                }
            }
            attempt += 1;
        }
    }

    /// Whether one more attempt is allowed, by the circuit, and by the budget unless it is for a server that is well.
    fn may_again(&self, moves: bool) -> bool {
        !self.is_open() && (moves || self.spend_budget())
    }

    /// Whether the next attempt goes to a server that has not been asked yet, and has not failed last. What a server that died
    /// has left undone is then no more work than was there, however many requests it takes with it: the budget is for
    /// servers that fail under what they are asked.
    fn moves_on(&self, request: &FetchRequest<'_>, list: &List, tried: &[usize]) -> bool {
        let next = self.choose(list, Some(request.placement), tried);
        let is_well = |server: &Arc<Server>| server.is_usable() && server.record.is_well();
        !tried.contains(&next) && list.servers.get(next).is_some_and(is_well)
    }

    fn spend_budget(&self) -> bool {
        let may = self.budget.spend(Instant::now());
        if !may {
            self.metrics.budget_exhausted();
        }
        may
    }

    /// Waits until the next attempt may be made: the pause, and the rate.
    async fn wait_again(&self, attempt: u32) -> Result<(), OriginError> {
        self.metrics.retry();
        tokio::time::sleep(backoff(attempt, (self.retry.backoff, self.retry.backoff_max))).await;
        self.gate.again().await.inspect_err(|error| self.metrics.error(error.kind()))
    }

    /// One attempt: at one server, or at two where the first is late.
    async fn try_one(
        &self,
        request: &FetchRequest<'_>,
        (list, tried): (&List, &mut Vec<usize>),
        permit: &Arc<Permit>,
        attempt: u32,
    ) -> Result<Begun, OriginError> {
        let place = self.choose(list, Some(request.placement), tried);
        tried.push(place);
        let server = &list.servers[place];
        let due = if attempt == 1 { self.hedge_due(request) } else { None };
        match due {
            None => {
                let busy = server.load.enter(request);
                let answered = self.attempt(server, request).await?;
                Ok((Arc::clone(server), answered, (Arc::clone(permit), busy)))
            }
            // Boxed: two exchanges, and rare.
            Some(due) => Box::pin(self.race(server, request, (list, tried, permit), due)).await,
        }
    }

    /// When a second request is due, where there may be one.
    fn hedge_due(&self, request: &FetchRequest<'_>) -> Option<Duration> {
        if self.is_hedged(request) { self.hedger.as_ref()?.due() } else { None }
    }

    pub(super) fn is_hedged(&self, request: &FetchRequest<'_>) -> bool {
        self.hedger.is_some()
            && request.method == Method::GET
            && request.hold.is_none()
            && request.reason != FetchReason::Prefetch
            && Class::of(request.kind) == Class::List
    }

    /// Asks `server`, and after `due` another one too; the first good answer counts, and the other request is
    /// dropped with its connection.
    async fn race(
        &self,
        server: &Arc<Server>,
        request: &FetchRequest<'_>,
        (list, tried, permit): (&List, &mut Vec<usize>, &Arc<Permit>),
        due: Duration,
    ) -> Result<Begun, OriginError> {
        let began = Instant::now();
        let busy = server.load.enter(request);
        let mut first = Box::pin(self.attempt(server, request));
        if let Ok(result) = tokio::time::timeout(due, &mut first).await {
            return Ok((Arc::clone(server), result?, (Arc::clone(permit), busy)));
        }
        let Some(turn) = self.hedge_turn() else {
            self.metrics.hedge(Hedged::Skipped);
            return Ok((Arc::clone(server), first.await?, (Arc::clone(permit), busy)));
        };
        let place = self.choose(list, Some(request.placement), tried);
        tried.push(place);
        let other = &list.servers[place];
        let busy_too = other.load.enter(request);
        let mut second = Box::pin(self.attempt(other, request));
        let (mut of_first, mut of_second) = (None, None);
        let won = loop {
            tokio::select! {
                result = &mut first, if of_first.is_none() => {
                    if self.is_good(of_first.insert(result)) {
                        break Hedged::Lost;
                    }
                }
                result = &mut second, if of_second.is_none() => {
                    if self.is_good(of_second.insert(result)) {
                        break Hedged::Won;
                    }
                }
                else => break Hedged::Failed,
            }
        };
        self.metrics.hedge(won);
        if won == Hedged::Won
            && of_first.is_none()
            && let Some(hedger) = &self.hedger
        {
            // It would have taken longer than this: left out, the slow ones would not count.
            hedger.note(began.elapsed());
        }
        let first = of_first
            .map(|result| result.map(|answered| (Arc::clone(server), answered, (Arc::clone(permit), busy))));
        let second = of_second
            .map(|result| result.map(|answered| (Arc::clone(other), answered, (Arc::new(turn), busy_too))));
        match (first, second) {
            (_, Some(Ok(second))) if won == Hedged::Won => Ok(second),
            (Some(Ok(first)), _) => Ok(first),
            (_, Some(Ok(second))) => Ok(second),
            (Some(Err(error)), _) | (None, Some(Err(error))) => Err(error),
            // One of them has ended, or the race would go on.
            (None, None) => Err(OriginError::FirstByteTimeout { server: Arc::clone(&server.authority) }),
        }
    }

    /// A turn for a second request, if it may be sent.
    fn hedge_turn(&self) -> Option<Permit> {
        let may = self.hedger.as_ref().is_some_and(|hedger| hedger.spend()) && self.may_again(false);
        may.then(|| self.gate.enter_now(Class::List))?
    }

    fn is_good(&self, result: &Result<Answered, OriginError>) -> bool {
        result.as_ref().is_ok_and(|answered| !self.is_retryable(answered.header.status.as_u16()))
    }

    /// One exchange with one server, errors counted and laid at its door.
    pub(super) async fn attempt(
        &self,
        server: &Server,
        request: &FetchRequest<'_>,
    ) -> Result<Answered, OriginError> {
        let began = Instant::now();
        let safe = matches!(request.method, Method::GET | Method::HEAD);
        let exchange = |reuse| exchange(server, &self.connector, &self.reach, &self.metrics, request, reuse);
        let first_try = if safe { Reuse::Allowed } else { Reuse::Fresh };
        let answered = match exchange(first_try).await {
            // The server had closed the pooled connection meanwhile: ordinary, and no sign of a fault.
            // Nor is it one that the rate keeps it from being sent once more.
            Err(OriginError::Closed { reused: true, .. }) if safe => match self.gate.again().await {
                Ok(()) => exchange(Reuse::Fresh).await,
                Err(refused) => Err(refused),
            },
            other => other,
        };
        let status = answered.as_ref().map(|answered| answered.header.status.as_u16());
        if self.judge(status, request.hold.is_some()) == Some(false) {
            server.record.failed();
        }
        if let Some(hedger) = self.hedger.as_ref().filter(|_| answered.is_ok() && self.is_hedged(request)) {
            hedger.note(began.elapsed());
        }
        answered.inspect_err(|error| self.metrics.error(error.kind()))
    }

    /// Whether an answer of this status is tried again.
    pub(super) fn is_retryable(&self, status: u16) -> bool {
        self.retry.on_status.contains(&status)
    }

    /// Whether a server has done what it was asked; None: it was not asked, or what it said tells nothing. Statuses such as
    /// 404 are good answers. A reload that the origin has held in vain may be answered late, or by 503: the stream stands,
    /// not the server (RFC 8216bis section 6.2.5.2).
    pub(super) fn judge(&self, result: Result<u16, &OriginError>, held: bool) -> Option<bool> {
        match result {
            Ok(status) if self.failing.contains(&status) => (!held).then_some(false),
            Ok(_) => Some(true),
            Err(OriginError::FirstByteTimeout { .. }) if held => None,
            Err(error) => error.is_of_server().then_some(false),
        }
    }

    pub(super) async fn response(
        &self,
        server: &Server,
        answered: Answered,
        turn: Turn,
        (request, pass): (&FetchRequest<'_>, Option<&Pass>),
    ) -> OriginResponse {
        let good = self.judge(Ok(answered.header.status.as_u16()), request.hold.is_some()) == Some(true);
        let account =
            Account { record: Arc::clone(&server.record), good, circuit: pass.map(Pass::afterwards) };
        OriginResponse::new(
            answered,
            Arc::clone(&server.authority),
            Arc::clone(&self.connector),
            turn,
            (Arc::clone(&self.metrics), account),
            self.reach.timeouts.between_bytes,
        )
        .await
    }
}

/// The pause after attempt number `attempt`: doubled each time, and random between half of it and all of it.
pub(super) fn backoff(attempt: u32, (first, longest): (Duration, Duration)) -> Duration {
    let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    let full = first.saturating_mul(doubled).min(longest);
    full / 2 + jitter::up_to(full / 2)
}
