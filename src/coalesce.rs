//! One fetch per key: a request joins the fetch in flight, or starts it.
//!
//! A fetch belongs to no viewer: it runs as a task of its own ([`fill`]), and everybody who wants its object, the one
//! who started it included, holds a [`Ticket`]. Requests wait for the answer's header only; bytes reach them through
//! the growing body. A key whose answers may not be shared is remembered, so that nobody queues behind it.

pub mod fill;
pub mod slices;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::model::Limits;
use crate::key::Key;
use crate::store::{Object, Store};

pub use fill::{Failure, Job};
pub use slices::Extent;

/// Shards of the table of fetches in flight.
const SHARDS: usize = 64;

/// Keys remembered as uncacheable at most, and as not to be had in slices.
const UNCACHEABLE_KEYS_MAX: usize = 65_536;

/// Fetches in flight, by the hash of their key.
type Shard = Mutex<HashMap<u128, Arc<Flight>>>;

/// The fetches in flight.
pub struct Coalescer {
    store: &'static Store,
    clock: Clock,
    limits: Limits,
    /// What is fresh for less than this stays in memory (`store.disk_ttl_min`).
    disk_ttl_min: Duration,
    flights: Box<[Shard]>,
    /// Keys whose last answer could not be shared, and until when that is remembered.
    uncacheable: Cache<u128, Instant>,
    /// Keys whose origin would not give the slices of what it had begun with, and until when that is remembered.
    unsliceable: Cache<u128, Instant>,
}

/// What a fetch has come to.
#[derive(Clone, Debug)]
pub enum State {
    /// The origin has been asked.
    Asked,
    /// Its answer is readable, growing or complete.
    Answered(Arc<Object>),
    /// It was on disk: fresh, or stale and good enough while it is fetched anew.
    Recalled(Arc<Object>),
    /// The origin has confirmed what was held.
    Confirmed(Arc<Object>),
    /// Its answer is for the one who asked alone.
    Unshared(Arc<Object>),
    /// There is no answer; what was on disk may stand in for it.
    Failed(Failure, Option<Arc<Object>>),
}

/// A fetch in flight.
#[derive(Debug)]
pub struct Flight {
    key: Key,
    state: watch::Sender<State>,
    /// Requests that hold a ticket.
    tickets: AtomicUsize,
    /// Wakes the fill when the last ticket is given back.
    deserted: Notify,
    /// Whether a second request has joined it.
    joined: AtomicBool,
    /// It goes on without tickets: a refresh that nobody waits for, or a slice.
    background: bool,
}

/// A request's part in a fetch; held until the request has been answered whole.
#[derive(Debug)]
pub struct Ticket {
    flight: Arc<Flight>,
    /// Whether this request started the fetch.
    pub started: bool,
}

/// What [`Coalescer::join`] found.
#[derive(Debug)]
pub enum Joined {
    /// A fetch, started or joined.
    Flight(Ticket),
    /// One that ended between the caller's look-up and now.
    Landed(Arc<Object>),
    /// Too many requests wait for it already.
    Full,
}

impl std::fmt::Debug for Coalescer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coalescer").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Coalescer {
    /// A table without fetches.
    pub fn new(
        store: &'static Store,
        clock: Clock,
        limits: Limits,
        disk_ttl_min: Duration,
    ) -> Arc<Coalescer> {
        let flights = (0..SHARDS).map(|_| Mutex::default()).collect();
        let uncacheable = Cache::new(UNCACHEABLE_KEYS_MAX);
        let unsliceable = Cache::new(UNCACHEABLE_KEYS_MAX);
        Arc::new(Coalescer { store, clock, limits, disk_ttl_min, flights, uncacheable, unsliceable })
    }

    /// Joins the fetch for this key, or starts it with the job that `job` makes. `seen` is what the caller found held.
    pub fn join(
        self: &Arc<Self>,
        hash: u128,
        text: &str,
        seen: Option<&Arc<Object>>,
        job: impl FnOnce() -> Job,
    ) -> Joined {
        if self.is_uncacheable(hash) {
            let flight = Flight::new(Key { hash, text: text.into() }, false);
            return Joined::Flight(self.launch(flight, job()));
        }
        self.join_as(hash, text, seen, false, job)
    }

    /// Joins the fetch for this key, or starts it; one in the background goes on without tickets.
    fn join_as(
        self: &Arc<Self>,
        hash: u128,
        text: &str,
        seen: Option<&Arc<Object>>,
        background: bool,
        job: impl FnOnce() -> Job,
    ) -> Joined {
        let mut flights = self.shard(hash).lock();
        if let Some(flight) = flights.get(&hash).filter(|flight| &*flight.key.text == text) {
            if flight.tickets.load(Ordering::Acquire) >= self.limits.waiters {
                return Joined::Full;
            }
            return Joined::Flight(Ticket::take(flight, false));
        }
        // A fetch leaves the table after its object has come into the store: look there again.
        let landed = self.store.get(hash, text);
        if let Some(object) = landed.filter(|object| !seen.is_some_and(|seen| Arc::ptr_eq(seen, object))) {
            return Joined::Landed(object);
        }
        let flight = Flight::new(Key { hash, text: text.into() }, background);
        flights.insert(hash, Arc::clone(&flight));
        drop(flights);
        Joined::Flight(self.launch(flight, job()))
    }

    /// Fetches a key for this request alone.
    pub fn fetch_alone(self: &Arc<Self>, key: Key, job: Job) -> Ticket {
        self.launch(Flight::new(key, false), job)
    }

    /// Starts a fetch that nobody waits for, unless one is in flight.
    pub fn refresh(self: &Arc<Self>, hash: u128, text: &str, job: impl FnOnce() -> Job) {
        let mut flights = self.shard(hash).lock();
        if let Entry::Vacant(place) = flights.entry(hash) {
            let flight = Flight::new(Key { hash, text: text.into() }, true);
            place.insert(Arc::clone(&flight));
            drop(flights);
            self.launch(flight, job());
        }
    }

    fn launch(self: &Arc<Self>, flight: Arc<Flight>, job: Job) -> Ticket {
        let ticket = Ticket::take(&flight, true);
        tokio::spawn(fill::run(Arc::clone(self), flight, job));
        ticket
    }

    fn shard(&self, hash: u128) -> &Shard {
        #[allow(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let place = (hash >> 7) as usize % SHARDS;
        &self.flights[place]
    }

    /// Takes a fetch out of the table, if it still stands there.
    fn land(&self, flight: &Arc<Flight>) {
        let mut flights = self.shard(flight.key.hash).lock();
        if flights.get(&flight.key.hash).is_some_and(|held| Arc::ptr_eq(held, flight)) {
            flights.remove(&flight.key.hash);
        }
    }

    /// Takes a fetch out of the table that nobody wants any more. False: somebody has joined it meanwhile.
    fn abandon(&self, flight: &Arc<Flight>) -> bool {
        let mut flights = self.shard(flight.key.hash).lock();
        // Tickets are handed out under the same lock.
        if flight.has_tickets() {
            return false;
        }
        if flights.get(&flight.key.hash).is_some_and(|held| Arc::ptr_eq(held, flight)) {
            flights.remove(&flight.key.hash);
        }
        true
    }

    fn is_uncacheable(&self, hash: u128) -> bool {
        is_remembered(&self.uncacheable, hash)
    }

    fn remember_uncacheable(&self, hash: u128) {
        self.uncacheable.insert(hash, Instant::now() + self.limits.uncacheable_memory);
    }
}

/// Whether a key is remembered; one whose time is over is forgotten.
fn is_remembered(keys: &Cache<u128, Instant>, hash: u128) -> bool {
    let Some(until) = keys.get(&hash) else { return false };
    let remembered = Instant::now() < until;
    if !remembered {
        keys.remove(&hash);
    }
    remembered
}

impl Flight {
    fn new(key: Key, background: bool) -> Arc<Flight> {
        Arc::new(Flight {
            key,
            state: watch::Sender::new(State::Asked),
            tickets: AtomicUsize::new(0),
            deserted: Notify::new(),
            joined: AtomicBool::new(false),
            background,
        })
    }

    fn publish(&self, state: State) {
        self.state.send_replace(state);
    }

    /// Publishes an end that says nothing to those who have been given a stale object already.
    fn publish_unless_recalled(&self, end: State) {
        self.state.send_if_modified(|state| {
            let open = !matches!(state, State::Recalled(_));
            if open {
                *state = end;
            }
            open
        });
    }

    /// Whether more than one request has wanted it.
    fn was_joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }

    /// Whether nobody wants it any more.
    fn is_deserted(&self) -> bool {
        !self.background && !self.has_tickets()
    }

    fn has_tickets(&self) -> bool {
        self.tickets.load(Ordering::Acquire) > 0
    }

    /// Resolves once no request holds a ticket, whoever the fetch belongs to.
    async fn tickets_gone(&self) {
        loop {
            let deserted = self.deserted.notified();
            tokio::pin!(deserted);
            deserted.as_mut().enable();
            if !self.has_tickets() {
                return;
            }
            deserted.await;
        }
    }

    /// Resolves once nobody wants it any more.
    async fn desertion(&self) {
        loop {
            let deserted = self.deserted.notified();
            tokio::pin!(deserted);
            deserted.as_mut().enable();
            if self.is_deserted() {
                return;
            }
            deserted.await;
        }
    }
}

impl Ticket {
    fn take(flight: &Arc<Flight>, started: bool) -> Ticket {
        flight.tickets.fetch_add(1, Ordering::AcqRel);
        if !started {
            flight.joined.store(true, Ordering::Relaxed);
        }
        Ticket { flight: Arc::clone(flight), started }
    }

    /// Waits for the answer's header; None: it did not come within `wait`.
    pub async fn answer(&self, wait: Option<Duration>) -> Option<State> {
        let mut state = self.flight.state.subscribe();
        let answered = state.wait_for(|state| !matches!(state, State::Asked));
        match wait {
            Some(wait) => tokio::time::timeout(wait, answered).await.ok()?,
            None => answered.await,
        }
        // The sender lives as long as the ticket.
        .ok()
        .map(|state| state.clone())
    }

    /// The key of the fetch.
    pub fn key(&self) -> &Key {
        &self.flight.key
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.flight.tickets.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.flight.deserted.notify_waiters();
        }
    }
}
