//! One fetch per key: a request joins the fetch in flight, or starts it.
//!
//! A fetch belongs to no viewer: it runs as a task of its own ([`fill`]), and everybody who wants its object, the one
//! who started it included, holds a [`Ticket`]. Requests wait for the answer's header only; bytes reach them through
//! the growing body. A key whose answers may not be shared is remembered, so that nobody queues behind it. Requests with
//! `Authorization` share fetches among themselves alone: what the origin gives one of them may be nothing for others. So do
//! those that say to have passed the same networks (`CDN-Loop`).

pub mod ahead;
pub mod fill;
mod guard;
mod own_purges;
pub mod slices;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderMap;
use http::HeaderName;
use parking_lot::Mutex;
use prometheus::Registry;
use quick_cache::sync::Cache;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::asset::Kind;
use crate::clock::Clock;
use crate::config::model::Limits;
use crate::key::variant::primary_text;
use crate::key::{Key, hash_of};
use crate::peers::Peers;
use crate::playlists::Playlists;
use crate::store::{Object, Store};
use crate::tier::loops::Passed;
use crate::wake::Watched;

pub use ahead::{Foresight, Learned, Unasked};
use fill::change::ChangeMetrics;
use fill::share::Shelf;
pub use fill::{Failure, Job};
use own_purges::OwnPurges;
pub use slices::Extent;

/// Shards of the table of fetches in flight.
const SHARDS: usize = 64;

/// Keys remembered as uncacheable at most, and as not to be had in slices, and as invalidated.
const UNCACHEABLE_KEYS_MAX: usize = 65_536;

/// What tells the place of fetches with `Authorization` from that of others of their key.
const AUTHORIZED: u128 = 0x5A17_C0DE_0A07_4011_2E5E_21B0_77A1_9E0D;

/// The same for fetches that go by another node.
const RELAYED: u128 = 0x0F0E_EBA7_71D3_44C2_9B61_5A0C_E8D7_2F35;

/// Fetches in flight, by their slot.
type Shard = Mutex<HashMap<u128, Arc<Flight>>>;

/// Answers of one site and kind that must have varied alike, one after the other, before the next one is expected to: a
/// wrong guess keeps one answer many times.
const VARIED_ALIKE: u32 = 4;

/// Names of fields and answers in a row that named them, by site and kind.
type Varied = HashMap<(Box<str>, Kind), (Arc<[HeaderName]>, u32)>;

/// The fetches in flight.
pub struct Coalescer {
    store: &'static Store,
    /// What is known of playlists.
    playlists: Arc<Playlists>,
    clock: Clock,
    limits: Limits,
    /// What is fresh for less than this stays in memory (`store.disk_ttl_min`).
    disk_ttl_min: Duration,
    flights: Box<[Shard]>,
    /// Keys whose last answer could not be shared, and until when that is remembered.
    uncacheable: Cache<u128, Instant>,
    /// Keys whose origin would not give the slices of what it had begun with, and until when that is remembered.
    unsliceable: Cache<u128, Instant>,
    /// Keys that were invalidated, and when: a fetch that began before is not kept.
    invalidated: Cache<u128, Instant>,
    /// Where nodes put small objects for each other.
    shelf: OnceLock<Arc<dyn Shelf>>,
    /// Purges that no other node is told of.
    own_purges: OwnPurges,
    /// Who is told of playlists.
    foresight: OnceLock<Arc<dyn Foresight>>,
    /// By which fields the last answer of a site and kind varied. As many as there are sites, times kinds.
    varied: Mutex<Varied>,
    /// What changes of texts have come to.
    changed: ChangeMetrics,
    /// What is remembered of playlists whose fetch has failed.
    guard: guard::Guard,
    /// The other nodes of the tier.
    peers: OnceLock<Arc<Peers>>,
}

/// What sets fetches apart from others of their key: requests share one only with those of which the same is true. Those of
/// other nodes are answered by fetches that go to the origin, and join none that goes to another node: two nodes that each
/// take the other for the owner would wait for one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    apart: u128,
    /// The node that the key belongs to is asked, and not the origin.
    pub relayed: bool,
}

impl Lane {
    /// Of requests with `Authorization`, and with this list of networks passed. What anybody may have written in it can end a
    /// fetch (508), which is nobody else's business.
    pub fn new(authorized: bool, passed: Option<&Passed>, relayed: bool) -> Lane {
        let foreign = passed.map(|passed| &*passed.foreign).filter(|foreign| !foreign.is_empty());
        let by_list = foreign.map_or(0, |foreign| hash_of(&String::from_utf8_lossy(foreign)));
        Lane { apart: if authorized { by_list ^ AUTHORIZED } else { by_list }, relayed }
    }

    /// Of requests of which nothing is to be told.
    pub fn plain(relayed: bool) -> Lane {
        Lane { apart: 0, relayed }
    }

    /// The place in the table of fetches of the key with this hash.
    pub(crate) fn slot(self, hash: u128) -> u128 {
        let slot = hash ^ self.apart;
        if self.relayed { slot ^ RELAYED } else { slot }
    }

    /// The lane of a fetch.
    fn of(job: &Job) -> Lane {
        Lane::new(job.authorization.is_some(), job.cdn_loop.as_ref(), job.relayed)
    }
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
    /// Answers under its key vary, by what this marker says: each request has a key of its own.
    Varies(Arc<Object>),
    /// Its answer is for the one who asked alone.
    Unshared(Arc<Object>),
    /// There is no answer; what was on disk may stand in for it.
    Failed(Failure, Option<Arc<Object>>),
}

/// A fetch in flight.
#[derive(Debug)]
pub struct Flight {
    key: Key,
    /// Its place in the table.
    slot: u128,
    began: Instant,
    state: Watched<State>,
    /// Requests that hold a ticket.
    tickets: AtomicUsize,
    /// Wakes the fill when the last ticket is given back.
    deserted: Notify,
    /// Whether a second request has joined it.
    joined: AtomicBool,
    /// The part in the fetch that goes on with its answer under a variant's key, for the one who started this one.
    next: Mutex<Option<Ticket>>,
    /// Whether its key was invalidated while it was in the table: nothing of it is kept.
    invalidated: AtomicBool,
    /// Fields of its answer that are for the one who started it alone.
    own: OnceLock<HeaderMap>,
    /// It goes on without tickets: a refresh that nobody waits for, or a slice.
    background: bool,
}

/// A request's part in a fetch; held until the request has been answered whole.
#[derive(Debug)]
pub struct Ticket {
    flight: Arc<Flight>,
    /// Whether this request started the fetch: no purge that came before the request is later than the fetch.
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
    /// None: the last one of this playlist has failed just now, and its origin is left alone for a moment.
    Failing(Failure),
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
        playlists: Arc<Playlists>,
        clock: Clock,
        limits: Limits,
        disk_ttl_min: Duration,
        registry: &Registry,
    ) -> Result<Arc<Coalescer>, prometheus::Error> {
        let flights = (0..SHARDS).map(|_| Mutex::default()).collect();
        let uncacheable = Cache::new(UNCACHEABLE_KEYS_MAX);
        let unsliceable = Cache::new(UNCACHEABLE_KEYS_MAX);
        let invalidated = Cache::new(UNCACHEABLE_KEYS_MAX);
        Ok(Arc::new(Coalescer {
            store,
            playlists,
            clock,
            limits,
            disk_ttl_min,
            flights,
            uncacheable,
            unsliceable,
            invalidated,
            shelf: OnceLock::new(),
            own_purges: OwnPurges::default(),
            foresight: OnceLock::new(),
            varied: Mutex::default(),
            changed: ChangeMetrics::register(registry)?,
            guard: guard::Guard::new(registry)?,
            peers: OnceLock::new(),
        }))
    }

    /// Shares small objects by way of this shelf from now on; the first one stays.
    pub fn use_shelf(&self, shelf: Arc<dyn Shelf>) {
        let _ = self.shelf.set(shelf);
    }

    /// Notes that this node is about to purge what no other node is told of: what was put on the shelf before does not come
    /// back from there.
    pub fn begin_own_purge(&self) {
        if self.shelf.get().is_some() {
            self.own_purges.begin(self.store.generation());
        }
    }

    /// Joins the fetch for this key, or starts it with the job that `job` makes. `seen` is what the caller found held;
    /// `lane` says which requests it may share it with.
    pub fn join(
        self: &Arc<Self>,
        key: &Key,
        lane: Lane,
        seen: Option<&Arc<Object>>,
        job: impl FnOnce() -> Job,
    ) -> Joined {
        let slot = lane.slot(key.hash);
        if self.is_uncacheable(slot) {
            return Joined::Flight(self.launch(Flight::new(key.clone(), slot, false), job()));
        }
        self.join_as(key, slot, seen, false, job)
    }

    /// Joins the fetch in this slot, or starts it; one in the background goes on without tickets.
    fn join_as(
        self: &Arc<Self>,
        key: &Key,
        slot: u128,
        seen: Option<&Arc<Object>>,
        background: bool,
        job: impl FnOnce() -> Job,
    ) -> Joined {
        let mut flights = self.shard(slot).lock();
        if let Some(flight) = flights.get(&slot).filter(|flight| flight.key.text == key.text) {
            if flight.tickets.load(Ordering::Acquire) >= self.limits.waiters {
                return Joined::Full;
            }
            return Joined::Flight(Ticket::take(flight, false));
        }
        // A fetch leaves the table after its object has come into the store: look there again.
        let landed = self.store.get(key.hash, &key.text).filter(|object| !object.is_purged());
        if let Some(object) = landed.filter(|object| !seen.is_some_and(|seen| Arc::ptr_eq(seen, object))) {
            return Joined::Landed(object);
        }
        // Noted before a fetch leaves the table.
        if let Some(failure) = self.failing_in(slot) {
            return Joined::Failing(failure);
        }
        let flight = Flight::new(key.clone(), slot, background);
        flights.insert(slot, Arc::clone(&flight));
        drop(flights);
        Joined::Flight(self.launch(flight, job()))
    }

    /// Fetches a key for this request alone.
    pub fn fetch_alone(self: &Arc<Self>, key: Key, job: Job) -> Ticket {
        let slot = Lane::of(&job).slot(key.hash);
        self.launch(Flight::new(key, slot, false), job)
    }

    /// Starts a fetch that nobody waits for, unless one is in flight, or has failed just now.
    pub fn refresh(self: &Arc<Self>, key: &Key, lane: Lane, job: impl FnOnce() -> Job) {
        let slot = lane.slot(key.hash);
        if self.failing_in(slot).is_some() {
            return;
        }
        let mut flights = self.shard(slot).lock();
        if let Entry::Vacant(place) = flights.entry(slot) {
            let flight = Flight::new(key.clone(), slot, true);
            place.insert(Arc::clone(&flight));
            drop(flights);
            self.launch(flight, job());
        }
    }

    /// Invalidates a key (RFC 9111 section 4.4): what is held is removed, with all variants, and what is being fetched
    /// answers those who wait for it and is not kept. True: something was held.
    pub fn invalidate(&self, hash: u128, text: &str) -> bool {
        self.invalidated.insert(hash, Instant::now());
        // Those of one key may be in any place.
        for shard in &*self.flights {
            shard.lock().retain(|_, flight| {
                let named = flight.key.hash == hash && &*flight.key.text == text;
                if named {
                    flight.invalidated.store(true, Ordering::Release);
                }
                !named
            });
        }
        // After the mark: a fetch that keeps its object looks at the mark afterwards.
        self.store.remove(hash, text)
    }

    /// By which fields the last answers of this site and kind varied, [`VARIED_ALIKE`] in a row: a first guess for a key
    /// of which nothing is known.
    pub fn varied(&self, site: &str, kind: Kind) -> Option<Arc<[HeaderName]>> {
        let varied = self.varied.lock();
        let (names, in_a_row) = varied.get(&(site.into(), kind))?;
        (*in_a_row >= VARIED_ALIKE).then(|| Arc::clone(names))
    }

    fn note_varied(&self, site: &str, kind: Kind, names: &[HeaderName]) {
        let mut varied = self.varied.lock();
        if names.is_empty() {
            varied.remove(&(site.into(), kind));
            return;
        }
        let (held, in_a_row) = varied.entry((site.into(), kind)).or_insert_with(|| (names.into(), 0));
        if **held == *names {
            *in_a_row = in_a_row.saturating_add(1);
        } else {
            (*held, *in_a_row) = (names.into(), 1);
        }
    }

    fn launch(self: &Arc<Self>, flight: Arc<Flight>, job: Job) -> Ticket {
        let ticket = Ticket::take(&flight, true);
        tokio::spawn(fill::run(Arc::clone(self), flight, job));
        ticket
    }

    fn shard(&self, slot: u128) -> &Shard {
        #[allow(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let place = (slot >> 7) as usize % SHARDS;
        &self.flights[place]
    }

    /// Takes a fetch out of the table, if it still stands there.
    fn land(&self, flight: &Arc<Flight>) {
        let mut flights = self.shard(flight.slot).lock();
        if flights.get(&flight.slot).is_some_and(|held| Arc::ptr_eq(held, flight)) {
            flights.remove(&flight.slot);
        }
    }

    /// Takes a fetch out of the table that nobody wants any more. False: somebody has joined it meanwhile.
    fn abandon(&self, flight: &Arc<Flight>) -> bool {
        let mut flights = self.shard(flight.slot).lock();
        // Tickets are handed out under the same lock.
        if flight.has_tickets() {
            return false;
        }
        if flights.get(&flight.slot).is_some_and(|held| Arc::ptr_eq(held, flight)) {
            flights.remove(&flight.slot);
        }
        true
    }

    /// Whether an answer is not for this ticket's request, which has joined the fetch, or taken over one that was under
    /// way: a purge has named it since that began, and may have been answered before the request came.
    pub fn is_overtaken(&self, ticket: &Ticket, state: Option<&State>) -> bool {
        if ticket.started {
            return false;
        }
        match state {
            Some(State::Answered(object) | State::Recalled(object) | State::Confirmed(object)) => {
                self.store.is_purged(object)
            }
            Some(State::Failed(_, Some(bridge))) => self.store.is_gone(bridge),
            _ => false,
        }
    }

    /// Has nobody join a fetch any more, because a purge has overtaken it: the next request starts another one.
    pub fn leave_behind(&self, ticket: &Ticket) {
        self.land(&ticket.flight);
    }

    fn is_uncacheable(&self, slot: u128) -> bool {
        is_remembered(&self.uncacheable, slot)
    }

    fn remember_uncacheable(&self, slot: u128) {
        self.uncacheable.insert(slot, Instant::now() + self.limits.uncacheable_memory);
    }

    /// Whether a key was invalidated since a moment; None: at any time that is remembered.
    fn is_invalidated_since(&self, key: &Key, began: Option<std::time::Instant>) -> bool {
        self.invalidated.get(&key.hash).is_some_and(|at| began.is_none_or(|began| at.into_std() >= began))
    }

    /// Whether the key of a fetch was invalidated since it began, or that of which its own is a variant.
    fn is_invalidated(&self, flight: &Flight) -> bool {
        let since = |hash| self.invalidated.get(&hash).is_some_and(|at| at >= flight.began);
        flight.invalidated.load(Ordering::Acquire)
            || since(flight.key.hash)
            || primary_text(&flight.key.text).is_some_and(|text| since(hash_of(text)))
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
    fn new(key: Key, slot: u128, background: bool) -> Arc<Flight> {
        Arc::new(Flight {
            key,
            slot,
            began: Instant::now(),
            state: Watched::new(State::Asked),
            tickets: AtomicUsize::new(0),
            deserted: Notify::new(),
            joined: AtomicBool::new(false),
            next: Mutex::default(),
            invalidated: AtomicBool::new(false),
            own: OnceLock::new(),
            background,
        })
    }

    fn publish(&self, state: State) {
        self.state.set(state);
    }

    /// Publishes an end that says nothing to those who have been given a stale object already.
    fn publish_unless_recalled(&self, end: State) {
        self.state.modify(|state| {
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
        let answered = self.flight.state.wait_for(|state| !matches!(state, State::Asked));
        match wait {
            Some(wait) => tokio::time::timeout(wait, answered).await.ok(),
            None => Some(answered.await),
        }
    }

    /// Fields of the answer that are for the one who started the fetch alone; nobody else is given them.
    pub fn own(&self) -> Option<&HeaderMap> {
        self.flight.own.get().filter(|_| self.started)
    }

    /// The part in the fetch that this one's answer goes on in, as one of several: for the one who started this, and
    /// once, if that is the one with the key of this text. None: each request looks for its own.
    pub fn next(&self, text: &str) -> Option<Ticket> {
        let mut next = self.flight.next.lock();
        let mine = self.started && next.as_ref().is_some_and(|next| *next.key().text == *text);
        if mine { next.take() } else { None }
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
