//! The caps on an origin group: so many requests at once, so many in a second, so many waiting, each for so long.
//!
//! Decides only whether and when a request may go; which server it goes to is not its business. Called by the group before
//! every fetch and every passed-through request; health checks do not pass here. Who has to wait does so in line: what has
//! a turn already and is sent once more, then playlists and manifests, then everything else; in each line by order of
//! arrival. A turn that is given back goes straight to the first of them. A request that the origin holds on purpose keeps
//! its turn for seconds without a byte: such requests take half of the turns at most, and line up in half of the queue, so
//! that there is always a place for a segment. A group with a single turn has no half.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::bucket::Bucket;
use super::error::OriginError;
use crate::asset::Kind;
use crate::config::model::OriginLimits;

/// The part of the turns that what nobody waits for leaves to viewers: one in so many, and one at the least.
const SPARE_SHARE: usize = 4;

/// Who goes before whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Class {
    /// What has a turn already, and wants to send its request once more.
    Again,
    /// Playlists and manifests: without them nobody knows what to ask for.
    List,
    /// Everything else.
    Media,
}

impl Class {
    const COUNT: usize = 3;

    /// The class of an asset of this kind.
    pub(super) fn of(kind: Kind) -> Self {
        if kind.is_playlist() || kind == Kind::Manifest { Class::List } else { Class::Media }
    }
}

/// A turn with an origin group; dropping it gives the turn to the next one.
pub struct Permit {
    gate: Arc<Shared>,
    turn: bool,
    /// One of those for requests that are held.
    held: bool,
}

/// The caps and their queue.
pub(super) struct Gate(Arc<Shared>);

struct Shared {
    origin: Arc<str>,
    limits: OriginLimits,
    queued: IntGauge,
    rate_limited: IntCounter,
    state: Mutex<State>,
}

struct State {
    /// Turns that nobody has.
    free: usize,
    /// Those of them that requests may take which the origin holds.
    held_free: usize,
    bucket: Option<Bucket>,
    lines: [VecDeque<Waiter>; Class::COUNT],
    /// Requests that the origin will hold and that have to wait for others of their sort.
    held_line: VecDeque<Waiter>,
    waiting: usize,
    last_id: u64,
    /// Whether a task waits for the next token.
    ticking: bool,
}

struct Waiter {
    id: u64,
    held: bool,
    go: oneshot::Sender<Permit>,
}

// === impl Gate ===

impl Gate {
    pub(super) fn new(
        origin: Arc<str>,
        limits: &OriginLimits,
        (queued, rate_limited): (IntGauge, IntCounter),
    ) -> Self {
        let turns = limits.connections.max(1);
        let state = State {
            free: turns,
            held_free: (turns / 2).max(1),
            bucket: limits.rate.map(|rate| Bucket::new(rate, Instant::now())),
            lines: Default::default(),
            held_line: VecDeque::new(),
            waiting: 0,
            last_id: 0,
            ticking: false,
        };
        Self(Arc::new(Shared {
            origin,
            limits: limits.clone(),
            queued,
            rate_limited,
            state: Mutex::new(state),
        }))
    }

    /// Takes a turn: at once when there is one, else after waiting in line. `held` says that the origin will hold the
    /// request.
    pub(super) async fn enter(&self, class: Class, held: bool) -> Result<Permit, OriginError> {
        let until = Instant::now() + self.0.limits.queue;
        let mut waiting = match self.0.enter_or_line_up(class, held)? {
            Entered::Now(permit) => return Ok(permit),
            Entered::Later(waiting) => waiting,
        };
        match timeout_at(until, &mut waiting.granted).await {
            Ok(Ok(permit)) => {
                waiting.in_line = false;
                Ok(permit)
            }
            // The sender goes with its place in line, which only this one gives up.
            Ok(Err(_)) | Err(_) => {
                let short = self.0.state.lock().is_short_of_tokens(class, held, Instant::now());
                Err(self.0.refused(short, |origin| OriginError::QueueTimeout { origin }))
            }
        }
    }

    /// Waits until a request that has a turn may be sent once more.
    pub(super) async fn again(&self) -> Result<(), OriginError> {
        match self.0.limits.rate {
            Some(_) => self.enter(Class::Again, false).await.map(drop),
            None => Ok(()),
        }
    }

    /// Takes a turn if there is one at once, and nobody waits for it.
    pub(super) fn enter_now(&self, class: Class) -> Option<Permit> {
        let mut state = self.0.state.lock();
        state.take(class, false, Instant::now()).then(|| Permit::new(&self.0, true, false))
    }

    /// Takes a turn for what nobody waits for, if one is free at once and enough are left for viewers.
    pub(super) fn enter_spare(&self) -> Option<Permit> {
        let mut state = self.0.state.lock();
        let now = Instant::now();
        let left = state.free.saturating_sub(1) >= left_to_viewers(self.0.limits.connections);
        let tokens = state.bucket.as_ref().is_none_or(|bucket| bucket.has_spare(now));
        (left && tokens && state.take(Class::Media, false, now)).then(|| Permit::new(&self.0, true, false))
    }
}

/// Turns of this cap that are left to viewers.
fn left_to_viewers(turns: usize) -> usize {
    turns.div_ceil(SPARE_SHARE)
}

/// Whether a request may go.
enum Entered {
    Now(Permit),
    Later(Waiting),
}

impl Shared {
    fn enter_or_line_up(self: &Arc<Self>, class: Class, held: bool) -> Result<Entered, OriginError> {
        let mut state = self.state.lock();
        let now = Instant::now();
        if state.take(class, held, now) {
            return Ok(Entered::Now(Permit::new(self, class != Class::Again, held)));
        }
        let short = state.is_short_of_tokens(class, held, now);
        if short {
            self.rate_limited.inc();
        }
        let for_held = held && (state.held_free == 0 || !state.held_line.is_empty());
        let places = self.limits.queue_length;
        if state.waiting >= if for_held { places.div_ceil(2) } else { places } {
            return Err(self.refused(short, |origin| OriginError::QueueFull { origin }));
        }
        let (go, granted) = oneshot::channel();
        state.last_id += 1;
        let waiter = Waiter { id: state.last_id, held, go };
        let waiting = Waiting { gate: Arc::clone(self), id: waiter.id, in_line: true, granted };
        if for_held {
            state.held_line.push_back(waiter);
        } else {
            state.held_free -= usize::from(held);
            state.lines[class as usize].push_back(waiter);
        }
        state.waiting += 1;
        self.queued.inc();
        self.serve(&mut state, now);
        Ok(Entered::Later(waiting))
    }

    fn refused(&self, short_of_tokens: bool, error: impl FnOnce(Arc<str>) -> OriginError) -> OriginError {
        let origin = Arc::clone(&self.origin);
        if short_of_tokens { OriginError::RateLimited { origin } } else { error(origin) }
    }

    /// Lets go who may go.
    fn serve(self: &Arc<Self>, state: &mut State, now: Instant) {
        while let Some(class) = state.next_class() {
            if !state.bucket.as_mut().is_none_or(|bucket| bucket.take(now)) {
                return self.tick(state);
            }
            let Some(Waiter { held, go, .. }) = state.lines[class as usize].pop_front() else { return };
            let turn = class != Class::Again;
            state.free -= usize::from(turn);
            if let Err(mut permit) = go.send(Permit::new(self, turn, held)) {
                // Nobody is there to take it: the lock is held, so it is given back here, not by its drop.
                state.give_back(&mut permit);
            }
        }
    }

    /// Sees to it that the lines go on when there is a token.
    fn tick(self: &Arc<Self>, state: &mut State) {
        // Without a runtime there is nobody who waits in it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !std::mem::replace(&mut state.ticking, true) {
            runtime.spawn(ticks(Arc::downgrade(self)));
        }
    }

    /// What the task that waits for tokens does: how long it is to wait; None: nobody waits for one.
    fn on_tick(self: &Arc<Self>) -> Option<Duration> {
        let mut state = self.state.lock();
        let now = Instant::now();
        self.serve(&mut state, now);
        let next = state.next_class().and_then(|_| state.bucket.as_ref()).map(|bucket| bucket.next(now));
        state.ticking = next.is_some();
        next
    }
}

async fn ticks(gate: Weak<Shared>) {
    while let Some(pause) = gate.upgrade().and_then(|gate| gate.on_tick()) {
        tokio::time::sleep(pause).await;
    }
}

impl State {
    /// Whether only tokens keep such a request from going.
    fn is_short_of_tokens(&self, class: Class, held: bool, now: Instant) -> bool {
        let has_turn = class == Class::Again || (self.free > 0 && (!held || self.held_free > 0));
        has_turn && self.bucket.as_ref().is_some_and(|bucket| !bucket.next(now).is_zero())
    }

    /// Takes what such a request needs, if all of it is there and nobody goes before it.
    fn take(&mut self, class: Class, held: bool, now: Instant) -> bool {
        let turn = class != Class::Again;
        let is_first = self.lines[..=class as usize].iter().all(VecDeque::is_empty);
        let may = is_first
            && (!turn || self.free > 0)
            && (!held || (self.held_free > 0 && self.held_line.is_empty()))
            && self.bucket.as_mut().is_none_or(|bucket| bucket.take(now));
        if may {
            self.free -= usize::from(turn);
            self.held_free -= usize::from(held);
        }
        may
    }

    /// The line whose first one has all it needs but a token.
    fn next_class(&mut self) -> Option<Class> {
        while self.held_free > 0
            && let Some(waiter) = self.held_line.pop_front()
        {
            self.held_free -= 1;
            self.lines[Class::List as usize].push_back(waiter);
        }
        let mut classes = [Class::Again, Class::List, Class::Media].into_iter();
        let waits = |class: &Class| !self.lines[*class as usize].is_empty();
        classes.find(|class| waits(class) && (*class == Class::Again || self.free > 0))
    }

    fn give_back(&mut self, permit: &mut Permit) {
        self.free += usize::from(std::mem::take(&mut permit.turn));
        self.held_free += usize::from(std::mem::take(&mut permit.held));
    }

    /// Takes a waiter out of its line, and what it was given of the turns for those that are held.
    fn leave(&mut self, id: u64) {
        let place = |line: &VecDeque<Waiter>| line.iter().position(|waiter| waiter.id == id);
        if let Some(at) = place(&self.held_line) {
            self.held_line.remove(at);
            return;
        }
        for line in &mut self.lines {
            if let Some(waiter) = place(line).and_then(|at| line.remove(at)) {
                self.held_free += usize::from(waiter.held);
                return;
            }
        }
    }
}

// === impl Permit ===

impl Permit {
    fn new(gate: &Arc<Shared>, turn: bool, held: bool) -> Self {
        Self { gate: Arc::clone(gate), turn, held }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.turn || self.held {
            let gate = Arc::clone(&self.gate);
            let mut state = gate.state.lock();
            state.give_back(self);
            gate.serve(&mut state, Instant::now());
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("origin", &self.gate.origin).field("held", &self.held).finish()
    }
}

/// A place in line, given up on drop, so that a waiter that goes away is not counted any longer.
struct Waiting {
    gate: Arc<Shared>,
    id: u64,
    in_line: bool,
    granted: oneshot::Receiver<Permit>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        state.waiting -= 1;
        self.gate.queued.dec();
        if self.in_line {
            state.leave(self.id);
            // What it had of the turns for those that are held may let another one go.
            self.gate.serve(&mut state, Instant::now());
        }
    }
}
