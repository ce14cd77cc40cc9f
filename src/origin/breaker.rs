//! The circuit breaker of an origin group: whether it is left alone for a while.
//!
//! Decides from what became of the requests of the last seconds. Closed, everything goes; when most have failed it opens,
//! and nothing goes; after a while it is half open, and a few go, whose success closes it. What counts as a failure is the
//! group's decision ([`super::fetch`]). Called before every request and after it.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::time::Instant;

use super::error::OriginError;
use super::window::Window;
use crate::config::model;

/// The circuit of one group.
pub(super) struct Breaker {
    origin: Arc<str>,
    rule: model::Breaker,
    gauge: IntGauge,
    circuit: Mutex<Circuit>,
}

struct Circuit {
    state: State,
    window: Window,
    /// Grows with every change of state: what began before it says nothing of the state that there is.
    epoch: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    HalfOpen {
        /// Probes under way.
        out: u32,
        /// Probes that have succeeded.
        good: u32,
    },
    Open {
        until: Instant,
    },
}

/// Leave to send one request. Dropped untold, it says nothing of the group.
pub(super) struct Pass {
    breaker: Arc<Breaker>,
    epoch: u64,
    told: bool,
}

/// The word of a request that ended after its answer had begun.
#[derive(Clone)]
pub(super) struct Afterwards {
    breaker: Arc<Breaker>,
    epoch: u64,
}

impl Breaker {
    /// Closed.
    pub(super) fn new(origin: Arc<str>, rule: &model::Breaker, gauge: IntGauge) -> Arc<Self> {
        let window = Window::new(rule.window, Instant::now());
        gauge.set(0);
        let circuit = Mutex::new(Circuit { state: State::Closed, window, epoch: 0 });
        Arc::new(Self { origin, rule: rule.clone(), gauge, circuit })
    }

    /// Whether nothing may be sent.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.circuit.lock().state, State::Open { until } if Instant::now() < until)
    }

    /// Whether everything may be sent.
    pub(super) fn is_closed(&self) -> bool {
        self.circuit.lock().state == State::Closed
    }

    /// Leave to send a request. One that the origin is to hold is no probe: it would tell too late.
    ///
    /// # Errors
    ///
    /// [`OriginError::CircuitOpen`]: the circuit is open, or half open with enough probes under way.
    pub(super) fn admit(self: &Arc<Self>, held: bool) -> Result<Pass, OriginError> {
        let mut circuit = self.circuit.lock();
        if matches!(circuit.state, State::Open { until } if Instant::now() >= until) {
            self.change(&mut circuit, State::HalfOpen { out: 0, good: 0 });
        }
        let may = match &mut circuit.state {
            State::Closed => true,
            State::HalfOpen { out, good } => {
                let may = !held && *out + *good < self.rule.probes;
                *out += u32::from(may);
                may
            }
            State::Open { .. } => false,
        };
        if !may {
            return Err(OriginError::CircuitOpen { origin: Arc::clone(&self.origin) });
        }
        Ok(Pass { breaker: Arc::clone(self), epoch: circuit.epoch, told: false })
    }

    /// What became of a request of this epoch; None: nothing that says anything.
    fn tell(&self, epoch: u64, good: Option<bool>, all: u32) {
        let mut circuit = self.circuit.lock();
        if circuit.epoch != epoch {
            return;
        }
        let now = Instant::now();
        match (&mut circuit.state, good) {
            (State::Closed, Some(good)) => {
                circuit.window.add(now, all, u32::from(!good));
                if !good && self.is_too_much(circuit.window.sums(now)) {
                    self.open(&mut circuit, now);
                }
            }
            (State::HalfOpen { .. }, Some(false)) => self.open(&mut circuit, now),
            (State::HalfOpen { out, good }, word) => {
                *out = out.saturating_sub(1);
                *good += u32::from(word.is_some());
                if *good >= self.rule.probes {
                    self.change(&mut circuit, State::Closed);
                }
            }
            (State::Closed | State::Open { .. }, _) => {}
        }
    }

    fn is_too_much(&self, (requests, failures): (u32, u32)) -> bool {
        let share = u64::from(requests) * u64::from(self.rule.failures_percent);
        requests >= self.rule.requests && u64::from(failures) * 100 >= share
    }

    fn open(&self, circuit: &mut Circuit, now: Instant) {
        let (requests, failures) = circuit.window.sums(now);
        if circuit.state == State::Closed {
            tracing::warn!(origin = %self.origin, requests, failures, "the circuit of an origin opens: most requests fail");
        } else {
            tracing::warn!(origin = %self.origin, "the circuit of an origin opens again: a probe has failed");
        }
        self.change(circuit, State::Open { until: now + self.rule.open });
    }

    fn change(&self, circuit: &mut Circuit, state: State) {
        circuit.state = state;
        circuit.epoch += 1;
        circuit.window.clear();
        self.gauge.set(match state {
            State::Closed => 0,
            State::HalfOpen { .. } => 1,
            State::Open { .. } => 2,
        });
        match state {
            State::Closed => {
                tracing::info!(origin = %self.origin, "the circuit of an origin is closed again")
            }
            State::HalfOpen { .. } => {
                tracing::info!(origin = %self.origin, "the circuit of an origin is half open: it is probed");
            }
            State::Open { .. } => {}
        }
    }
}

impl Pass {
    /// What became of the request; None: nothing that says anything of the group.
    pub(super) fn tell(&mut self, good: Option<bool>) {
        if !std::mem::replace(&mut self.told, true) {
            self.breaker.tell(self.epoch, good, 1);
        }
    }

    /// Whether it has been told.
    pub(super) fn is_told(&self) -> bool {
        self.told
    }

    /// For what can be known only later.
    pub(super) fn afterwards(&self) -> Afterwards {
        Afterwards { breaker: Arc::clone(&self.breaker), epoch: self.epoch }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.tell(None);
    }
}

impl Afterwards {
    /// The request has failed after all; it is counted among all requests already.
    pub(super) fn failed(&self) {
        self.breaker.tell(self.epoch, Some(false), 0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use std::time::Duration;

    use super::*;

    const OPEN: Duration = Duration::from_secs(5);

    fn breaker() -> Arc<Breaker> {
        let rule = model::Breaker {
            failures_percent: 50,
            requests: 4,
            window: Duration::from_secs(10),
            open: OPEN,
            probes: 2,
        };
        Breaker::new("main".into(), &rule, IntGauge::new("state", "state").unwrap())
    }

    fn request(breaker: &Arc<Breaker>, good: bool) {
        breaker.admit(false).unwrap().tell(Some(good));
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_when_the_share_has_failed_and_enough_were_sent() {
        let breaker = breaker();
        for good in [false, false, false] {
            request(&breaker, good);
        }
        assert!(breaker.is_closed(), "three are not enough");
        request(&breaker, true);
        assert!(breaker.is_closed(), "a success opens nothing");
        request(&breaker, false);
        assert!(breaker.is_open());
        assert_eq!(breaker.gauge.get(), 2);
        assert_eq!(breaker.admit(false).err().unwrap().as_str(), "circuit_open");
    }

    #[tokio::test(start_paused = true)]
    async fn fewer_failures_and_old_ones_leave_it_closed() {
        let breaker = breaker();
        for place in 0..100 {
            request(&breaker, place % 5 != 0);
        }
        assert!(breaker.is_closed());
        let breaker = self::breaker();
        for _ in 0..100 {
            request(&breaker, false);
            tokio::time::advance(Duration::from_secs(5)).await;
        }
        assert!(breaker.is_closed(), "two in a window are not enough");
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_lets_the_probes_through_and_their_success_closes_it() {
        let breaker = breaker();
        (0..4).for_each(|_| request(&breaker, false));
        tokio::time::advance(OPEN).await;
        assert!(!breaker.is_open() && !breaker.is_closed());
        assert!(breaker.admit(true).is_err(), "what is held is no probe");
        let mut first = breaker.admit(false).unwrap();
        let second = breaker.admit(false).unwrap();
        assert!(breaker.admit(false).is_err(), "two probes at once");
        assert_eq!(breaker.gauge.get(), 1);
        drop(second);
        let mut second = breaker.admit(false).unwrap();
        first.tell(Some(true));
        assert!(breaker.admit(false).is_err(), "one has succeeded, the other is under way");
        second.tell(Some(true));
        assert!(breaker.is_closed());
        assert_eq!(breaker.gauge.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_fails_opens_it_again_and_late_words_count_for_nothing() {
        let breaker = breaker();
        let mut late = breaker.admit(false).unwrap();
        (0..4).for_each(|_| request(&breaker, false));
        tokio::time::advance(OPEN).await;
        let mut probe = breaker.admit(false).unwrap();
        let other = breaker.admit(false).unwrap();
        late.tell(Some(true));
        assert!(breaker.admit(false).is_err(), "what began before says nothing of the probes");
        probe.tell(Some(false));
        assert!(breaker.is_open());
        let afterwards = other.afterwards();
        drop(other);
        tokio::time::advance(OPEN).await;
        request(&breaker, true);
        request(&breaker, true);
        afterwards.failed();
        assert!(breaker.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_breaks_makes_its_request_a_failure() {
        let breaker = breaker();
        let mut passes: Vec<_> = (0..4).map(|_| breaker.admit(false).unwrap()).collect();
        passes.iter_mut().for_each(|pass| pass.tell(Some(true)));
        passes[0].afterwards().failed();
        assert!(breaker.is_closed());
        passes[1].afterwards().failed();
        assert!(breaker.is_open());
    }
}
