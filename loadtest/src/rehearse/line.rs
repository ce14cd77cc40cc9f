//! The line of one viewer: what comes over it at the same time shares it evenly, and what cannot take its share leaves the rest to
//! the others (max-min fairness). Times are computed, exactly and in order; the runtime's timers only wake who waits. Called by
//! [`super::Rehearsed`].

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Below so many bytes nothing is left of a body: what rounding leaves.
const NOTHING: f64 = 1e-6;

/// The longest time that is computed.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// A line of so many bits per second, and what is on it.
#[derive(Debug)]
pub(super) struct Line {
    bytes_per_second: f64,
    state: RefCell<State>,
    /// Something came or went.
    changed: Notify,
    /// Bytes that came for whoever did not wait for the rest.
    given_up: Cell<u64>,
}

#[derive(Debug)]
struct State {
    /// Up to when it is computed.
    now: Option<Instant>,
    flows: Vec<Flow>,
    next_id: u64,
}

#[derive(Debug)]
struct Flow {
    id: u64,
    /// When its first byte may come.
    from: Instant,
    left: f64,
    /// The most it takes, in bytes per second.
    most: f64,
    rate: f64,
    ended: Option<Instant>,
}

/// Bytes that are to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    pub(super) from: Instant,
    pub(super) bytes: u64,
    /// The most it takes, in bits per second.
    pub(super) bits_max: Option<u64>,
}

/// A flow, as long as somebody waits for it.
#[derive(Debug)]
struct OnLine {
    line: Rc<Line>,
    id: u64,
    /// Of it, all told; 0 when whoever waited has been told of the end.
    bytes: Cell<u64>,
}

// === impl Line ===

impl Line {
    /// A line of 0 is one of 1 bit per second.
    pub(super) fn new(bits_per_second: u64) -> Self {
        Self {
            bytes_per_second: bits_per_second.max(1) as f64 / 8.0,
            state: RefCell::new(State { now: None, flows: Vec::new(), next_id: 0 }),
            changed: Notify::new(),
            given_up: Cell::default(),
        }
    }

    /// Carries these bytes; returns when the last one was there. Given up, they take no share any more. `told` hears how many have
    /// come, as often as somebody looks.
    pub(super) async fn carry(self: &Rc<Self>, fill: Fill, told: Option<impl Fn(u64)>) -> Instant {
        let flow = self.enter(fill);
        let end = match told {
            None => flow.end().await,
            Some(told) => {
                let mut end = pin!(flow.end());
                poll_fn(|context| {
                    told(flow.came());
                    end.as_mut().poll(context)
                })
                .await
            }
        };
        flow.bytes.set(0);
        end
    }

    /// So many bytes came of something that was given up.
    pub(super) fn give_up(&self, bytes: u64) {
        self.given_up.set(self.given_up.get() + bytes);
    }

    /// Bytes that came of what was given up since this was asked last.
    pub(super) fn take_given_up(&self) -> u64 {
        self.given_up.take()
    }

    fn enter(self: &Rc<Self>, fill: Fill) -> OnLine {
        let mut state = self.state.borrow_mut();
        let id = state.next_id;
        state.next_id += 1;
        let most = fill.bits_max.map_or(f64::INFINITY, |bits| bits.max(1) as f64 / 8.0);
        // What is past is computed; who comes late by a timer's milliseconds begins where that ends.
        let from = state.now.map_or(fill.from, |now| now.max(fill.from));
        state.flows.push(Flow { id, from, left: fill.bytes as f64, most, rate: 0.0, ended: None });
        drop(state);
        self.changed.notify_waiters();
        OnLine { line: Rc::clone(self), id, bytes: Cell::new(fill.bytes) }
    }
}

// === impl OnLine ===

impl OnLine {
    /// When the last byte was there, then.
    async fn end(&self) -> Instant {
        let line = &self.line;
        loop {
            let changed = line.changed.notified();
            let expected = {
                let mut state = line.state.borrow_mut();
                state.advance(Instant::now(), line.bytes_per_second);
                match state.end_of(self.id) {
                    Ok(end) => return end,
                    Err(expected) => expected,
                }
            };
            tokio::select! {
                () = sleep_until(expected) => {}
                () = changed => {}
            }
        }
    }

    /// Bytes that have come by now.
    fn came(&self) -> u64 {
        let mut state = self.line.state.borrow_mut();
        state.advance(Instant::now(), self.line.bytes_per_second);
        let flow = state.flows.iter().find(|flow| flow.id == self.id && flow.ended.is_none());
        self.bytes.get().saturating_sub(flow.map_or(0, |flow| flow.left.max(0.0).ceil() as u64))
    }
}

impl Drop for OnLine {
    fn drop(&mut self) {
        self.line.give_up(self.came());
        let mut state = self.line.state.borrow_mut();
        state.flows.retain(|flow| flow.id != self.id);
        drop(state);
        self.line.changed.notify_waiters();
    }
}

// === impl State ===

impl State {
    /// Computes what happened up to now: each beginning and each end in its order.
    fn advance(&mut self, to: Instant, bytes_per_second: f64) {
        let begins = self.flows.iter().filter(|flow| flow.ended.is_none()).map(|flow| flow.from).min();
        let mut now = match (self.now, begins) {
            (Some(now), _) => now,
            (None, Some(begins)) => begins.min(to),
            (None, None) => to,
        };
        while now < to {
            share(&mut self.flows, now, bytes_per_second);
            let next = self.flows.iter().filter_map(|flow| flow.next_event(now)).min().unwrap_or(to).min(to);
            let passed = next.saturating_duration_since(now).as_secs_f64();
            for flow in self.flows.iter_mut().filter(|flow| flow.ended.is_none()) {
                let is_end = flow.expected_end(now).is_some_and(|end| end <= next);
                flow.left -= flow.rate * passed;
                if is_end || (flow.left < NOTHING && flow.from <= next) {
                    flow.ended = Some(next);
                }
            }
            now = next;
        }
        self.now = Some(now);
        share(&mut self.flows, now, bytes_per_second);
    }

    /// When this flow ended, or else when something happens next, as it looks now.
    fn end_of(&self, id: u64) -> Result<Instant, Instant> {
        let now = self.now.unwrap_or_else(Instant::now);
        match self.flows.iter().find(|flow| flow.id == id) {
            Some(Flow { ended: None, .. }) => {
                let next = self.flows.iter().filter_map(|flow| flow.next_event(now)).min();
                Err(next.unwrap_or(now + LONGEST))
            }
            Some(Flow { ended: Some(end), .. }) => Ok(*end),
            None => Ok(now),
        }
    }
}

/// Gives each its share: those that take less than an even one first.
fn share(flows: &mut [Flow], now: Instant, bytes_per_second: f64) {
    let mut open: Vec<&mut Flow> = Vec::with_capacity(flows.len());
    for flow in flows.iter_mut() {
        flow.rate = 0.0;
        if flow.ended.is_none() && flow.from <= now {
            open.push(flow);
        }
    }
    open.sort_by(|a, b| a.most.total_cmp(&b.most));
    let (mut rest, mut count) = (bytes_per_second, open.len());
    for flow in open {
        flow.rate = flow.most.min(rest / count as f64);
        rest -= flow.rate;
        count -= 1;
    }
}

// === impl Flow ===

impl Flow {
    /// When it would end at this rate.
    fn expected_end(&self, now: Instant) -> Option<Instant> {
        if self.ended.is_some() || self.rate <= 0.0 {
            return None;
        }
        // Rounded up: not before its last byte.
        let nanos = (self.left.max(0.0) / self.rate * 1e9).ceil().min(LONGEST.as_nanos() as f64);
        Some(now + Duration::from_nanos(nanos as u64))
    }

    /// Its beginning, if that is to come, or its end.
    fn next_event(&self, now: Instant) -> Option<Instant> {
        if self.ended.is_none() && self.from > now { Some(self.from) } else { self.expected_end(now) }
    }
}
