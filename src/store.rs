//! Keeps objects: in memory, and under it on disks, each within a hard budget.
//!
//! Complete objects stand in an index with S3-FIFO-like eviction (`quick_cache`); whatever is in flight, or evicted but
//! still being read, counts in the same budget. The engine's cache state machine writes through [`storage`]; look-ups
//! of requests take [`Store::get`], which copies nothing. An object too large to be kept whole is kept in slices, which
//! are objects of their own ([`content`]).

pub mod account;
pub mod ahead;
pub mod arena;
pub mod body;
pub mod budget;
pub mod carried;
mod changes;
pub mod content;
pub mod disk;
pub mod encoded;
pub mod hot;
pub mod object;
pub mod purges;
pub mod persist;
pub mod storage;
pub mod tiers;
pub mod variants;
pub mod version;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use tokio::sync::Semaphore;

use crate::key::Key;

pub use account::Accounts;
pub use ahead::{AheadCounters, AheadMark};
use arena::Arena;
pub use body::{Body, BodyError, Reader};
pub use budget::{Budget, Reservation};
use changes::Changes;
pub use content::{Content, ContentReader, SLICE_BYTES, SliceSource, Sliced};
use disk::metrics::BYTES_HELP;
use disk::{DiskTier, Doorkeeper};
use hot::HotBodies;
pub use object::{Lifetime, Object, Provenance};
use purges::Purges;
pub use purges::{PurgeMode, PurgeTarget};
pub use variants::Variants;
pub use version::Version;

/// Bytes of budget per shard of the index, at least: a smaller shard would evict for want of room in itself alone.
const SHARD_BYTES: u64 = 64 * 1024 * 1024;

/// Shards of the index at most: one object may take a tenth of the budget, and must fit its shard.
const SHARDS_MAX: u64 = 8;

/// Expected size of an object, for the first size of the index's tables.
const TYPICAL_OBJECT_BYTES: u64 = 256 * 1024;

/// How long a fill waits for memory that slow readers of evicted objects hold.
pub const MEMORY_WAIT: Duration = Duration::from_secs(30);

/// How often a fill that waits for memory tries to evict again.
const EVICT_AGAIN: Duration = Duration::from_millis(50);

/// The memory tier.
pub struct Store {
    index: Cache<u128, Arc<Object>, Charge, BuildHasherDefault<KeyIsHash>, Evictions>,
    budget: Arc<Budget>,
    /// Held by the fill whose turn it is to wait for memory: first come, first served.
    turn: tokio::sync::Mutex<()>,
    /// Largest object that is kept, in bytes.
    object_bytes_max: u64,
    /// What sites with a quota hold.
    accounts: Accounts,
    /// The tier under the memory.
    disk: Option<Arc<DiskTier>>,
    /// Fills that may wait for room before a disk's writer.
    room_waiters: Semaphore,
    /// What the index of the disks takes of the memory.
    disk_index: Mutex<Reservation>,
    /// Keys fetched of late: those fetched again are worth disk space. None: so is every key.
    recent: Option<Doorkeeper>,
    /// Objects being written through the engine's storage interface, by their write tag.
    growing: Mutex<HashMap<u64, Arc<Object>>>,
    next_tag: AtomicU64,
    filler: AtomicU64,
    /// What has been purged.
    purges: Purges,
    /// What has been removed and replaced.
    changes: Changes,
    /// Where hot bodies are sent from, and where they say that they are hot.
    hot: Option<(Arc<Arena>, HotBodies)>,
    metrics: StoreMetrics,
}

/// What the store tells: bytes and objects held, and objects evicted.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    bytes: IntGauge,
    capacity: IntGauge,
    objects: IntGauge,
    evictions: IntCounter,
    over_quota: IntCounter,
    shed: IntCounter,
    arena: IntGauge,
    moves: IntCounter,
    purges: IntCounterVec,
    purge_entries: IntGauge,
    purged_objects: IntCounter,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("budget", &self.budget).field("objects", &self.index.len()).finish()
    }
}

impl StoreMetrics {
    /// Registers the store's metrics.
    ///
    /// # Errors
    /// When they are registered already.
    pub fn new(registry: &Registry) -> Result<StoreMetrics, prometheus::Error> {
        let memory = |name: &str, help: &str| Opts::new(name, help).const_label("tier", "memory");
        let evicted = |reason: &str| {
            let help = "Objects removed from the cache, by reason.";
            IntCounter::with_opts(memory("forebay_cache_evictions_total", help).const_label("reason", reason))
        };
        let metrics = StoreMetrics {
            bytes: IntGauge::with_opts(memory("forebay_cache_bytes", BYTES_HELP))?,
            capacity: IntGauge::with_opts(memory("forebay_cache_capacity_bytes", "The budget, in bytes."))?,
            objects: IntGauge::with_opts(memory("forebay_cache_objects", "Complete objects held."))?,
            evictions: evicted("size")?,
            over_quota: evicted("quota")?,
            shed: evicted("no_memory")?,
            arena: IntGauge::with_opts(memory(
                "forebay_cache_arena_bytes",
                "Bytes of hot bodies that the kernel sends without a copy; they are part of forebay_cache_bytes.",
            ))?,
            moves: IntCounter::with_opts(memory(
                "forebay_cache_moves_total",
                "Bodies that proved hot and were moved to where the kernel sends them without a copy.",
            ))?,
            purges: IntCounterVec::new(
                Opts::new("forebay_purges_total", "Purges, by what they named and how."),
                &["scope", "mode"],
            )?,
            purge_entries: IntGauge::new(
                "forebay_purge_entries",
                "Things remembered as purged, so that what was fetched before is not served.",
            )?,
            purged_objects: evicted("purge")?,
        };
        for scope in PurgeTarget::SCOPES {
            for mode in [PurgeMode::Soft, PurgeMode::Hard] {
                metrics.purges.with_label_values(&[scope, mode.as_str()]);
            }
        }
        let all: [Box<dyn Collector>; 11] = [
            Box::new(metrics.bytes.clone()),
            Box::new(metrics.capacity.clone()),
            Box::new(metrics.objects.clone()),
            Box::new(metrics.evictions.clone()),
            Box::new(metrics.over_quota.clone()),
            Box::new(metrics.shed.clone()),
            Box::new(metrics.arena.clone()),
            Box::new(metrics.moves.clone()),
            Box::new(metrics.purges.clone()),
            Box::new(metrics.purge_entries.clone()),
            Box::new(metrics.purged_objects.clone()),
        ];
        all.into_iter().try_for_each(|collector| registry.register(collector))?;
        Ok(metrics)
    }

    /// Counts a purge. Rare: the labels are looked up.
    fn purged(&self, target: &PurgeTarget, mode: PurgeMode) {
        self.purges.with_label_values(&[target.scope(), mode.as_str()]).inc();
    }
}

impl Store {
    /// A store of `memory` bytes, in which one object may take at most `object_share` percent, over a disk tier that
    /// takes an object when it is wanted a second time within `admit_within`.
    pub fn new(
        memory: u64,
        object_share: u8,
        accounts: Accounts,
        disk: Option<Arc<DiskTier>>,
        admit_within: Duration,
        metrics: StoreMetrics,
    ) -> Store {
        let shards_by_share = (100 / u64::from(object_share.max(1))).clamp(1, SHARDS_MAX);
        let shards = (memory / SHARD_BYTES).clamp(1, shards_by_share);
        // The library takes a power of two: the next lower one.
        let shards = 1_usize << shards.ilog2();
        let items = usize::try_from(memory / TYPICAL_OBJECT_BYTES).unwrap_or(usize::MAX).max(64);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items)
            .weight_capacity(memory)
            .shards(shards)
            .build();
        let evictions = Evictions { count: metrics.evictions.clone(), disk: disk.clone() };
        let index = match options {
            Ok(options) => Cache::with_options(options, Charge, BuildHasherDefault::default(), evictions),
            // Only missing options are refused, and both are given.
            Err(_) => Cache::with(items, memory, Charge, BuildHasherDefault::default(), evictions),
        };
        metrics.capacity.set(i64::try_from(memory).unwrap_or(i64::MAX));
        let budget = Budget::new(memory);
        Store {
            index,
            room_waiters: Semaphore::new(tiers::ROOM_WAITERS_MAX),
            disk_index: Mutex::new(budget.take(0)),
            purges: Purges::open(disk.as_deref()),
            changes: Changes::default(),
            budget,
            turn: tokio::sync::Mutex::new(()),
            object_bytes_max: memory / 100 * u64::from(object_share),
            accounts,
            disk,
            recent: (!admit_within.is_zero()).then(|| Doorkeeper::new(admit_within)),
            growing: Mutex::default(),
            next_tag: AtomicU64::new(1),
            filler: AtomicU64::new(0),
            hot: None,
            metrics,
        }
    }

    /// The object under this key, fresh or stale; none that was purged hard. Two keys of one hash are told apart by
    /// their text.
    pub fn get(&self, hash: u128, text: &str) -> Option<Arc<Object>> {
        let object = self.find(hash, text)?;
        if object.disk.is_waiting() {
            self.wanted_again(&object);
        }
        Some(object)
    }

    fn find(&self, hash: u128, text: &str) -> Option<Arc<Object>> {
        let object = self.index.get(&hash).filter(|object| &*object.key.text == text)?;
        self.stands(object)
    }

    /// Keeps what a fill has completed, unless it was purged hard while it came, or a later fetch has come before it.
    pub fn keep(&self, object: &Arc<Object>) {
        let generation = object.provenance.generation;
        let is_later =
            |held: &Arc<Object>| held.key.text == object.key.text && held.provenance.generation > generation;
        if self.is_gone(object) || self.index.peek(&object.key.hash).as_ref().is_some_and(is_later) {
            object.disk.supersede();
        } else {
            self.insert(Arc::clone(object));
        }
    }

    /// Keeps a complete object in place of what stands under its key.
    pub fn insert(&self, object: Arc<Object>) {
        self.changes.note(object.key.hash);
        self.put(object);
    }

    fn put(&self, object: Arc<Object>) {
        self.watch(&object);
        let account = self.accounts.of(&object.key).map(Arc::clone);
        let hash = object.key.hash;
        // The index tells of a replaced object as of an evicted one.
        if let Some(replaced) = self.index.peek(&hash).filter(|held| !Arc::ptr_eq(held, &object)) {
            replaced.disk.supersede();
        }
        self.index.insert(hash, object);
        for account in account.iter().flat_map(|account| account.chain()) {
            account.keep(hash, |hash| self.index.peek(&hash).is_some());
            while let Some(oldest) = account.next_to_go() {
                if self.index.remove(&oldest).is_some() {
                    self.metrics.over_quota.inc();
                }
            }
        }
    }

    /// Removes the object under this key from both tiers. One in slices goes with those that are here, for the room they
    /// take: no later head finds them.
    pub fn remove(&self, hash: u128, text: &str) -> bool {
        self.changes.note(hash);
        let on_disk = |text: &str| self.disk.as_ref().is_some_and(|disk| disk.remove(text));
        let removed = self.index.remove(&hash);
        if let Some((_, object)) = &removed {
            object.disk.supersede();
        }
        if let Some(sliced) = removed.as_ref().and_then(|(_, object)| object.body.as_sliced()) {
            for slice in sliced.keys(text) {
                self.index.remove(&slice.hash);
                on_disk(&slice.text);
            }
        }
        on_disk(text) || removed.is_some()
    }

    /// Removes this very object, if it still stands under its key.
    pub fn remove_this(&self, object: &Arc<Object>) {
        let held = self.index.peek(&object.key.hash);
        if held.is_some_and(|held| Arc::ptr_eq(&held, object)) {
            self.remove(object.key.hash, &object.key.text);
        }
    }

    /// A body to be written, counted for the site of its key.
    fn growing_body(&self, key: &Key, mut reservation: Option<Reservation>) -> Arc<Body> {
        if let (Some(account), Some(held)) = (self.accounts.of(key), &mut reservation) {
            held.charge_to(account);
        }
        Body::growing(None, reservation)
    }

    /// Largest object that is kept, in bytes.
    pub fn object_bytes_max(&self) -> u64 {
        self.object_bytes_max
    }

    /// The budget that every body counts in.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Takes `bytes` of the budget, evicting what is least wanted, and waits up to [`MEMORY_WAIT`] for readers to let
    /// go of what is evicted already. None: there is no room.
    pub async fn reserve(&self, bytes: u64) -> Option<Reservation> {
        self.count_disk_index();
        let deadline = tokio::time::Instant::now() + MEMORY_WAIT;
        if let Ok(_free) = self.turn.try_lock()
            && let Some(reservation) = self.take_evicting(bytes)
        {
            return Some(reservation);
        }
        let Ok(_turn) = tokio::time::timeout_at(deadline, self.turn.lock()).await else {
            self.metrics.shed.inc();
            return None;
        };
        loop {
            let freed = self.budget.freed();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(reservation) = self.take_evicting(bytes) {
                return Some(reservation);
            }
            // An object that has become complete meanwhile can be evicted, and gives nothing back by itself.
            let again = tokio::time::Instant::now() + EVICT_AGAIN;
            if tokio::time::timeout_at(again.min(deadline), freed).await.is_err() && again >= deadline {
                self.metrics.shed.inc();
                return None;
            }
        }
    }

    /// Takes `bytes` of the budget, evicting what is least wanted, without waiting. None: there is no room now.
    pub fn take(&self, bytes: u64) -> Option<Reservation> {
        self.take_evicting(bytes)
    }

    /// As [`Store::take`], for what can be done without: no more is evicted for it than one shard gives.
    pub fn take_spare(&self, bytes: u64) -> Option<Reservation> {
        self.budget.try_take(bytes).or_else(|| {
            self.make_room(bytes);
            self.budget.try_take(bytes)
        })
    }

    /// Sets the gauges to what is held now; called before metrics are read.
    pub fn update_gauges(&self) {
        self.count_disk_index();
        self.metrics.bytes.set(i64::try_from(self.budget.used()).unwrap_or(i64::MAX));
        self.metrics.objects.set(i64::try_from(self.index.len()).unwrap_or(i64::MAX));
        self.metrics.purge_entries.set(i64::try_from(self.purge_entries()).unwrap_or(i64::MAX));
        if let Some(disk) = &self.disk {
            disk.update_gauges();
        }
        if let Some((arena, _)) = &self.hot {
            self.metrics.arena.set(i64::try_from(arena.bytes()).unwrap_or(i64::MAX));
        }
    }

    /// Tries to take bytes, evicting shard by shard. What the index evicts is free at once unless it is being read.
    fn take_evicting(&self, bytes: u64) -> Option<Reservation> {
        let rounds = 4 * self.index.num_shards();
        for _ in 0..rounds {
            if let Some(reservation) = self.budget.try_take(bytes) {
                return Some(reservation);
            }
            self.make_room(bytes);
        }
        self.budget.try_take(bytes)
    }

    /// Has the index evict what is least wanted in one shard: it gets an object that needs the missing bytes beyond
    /// what the shard has free, and that goes at once.
    fn make_room(&self, bytes: u64) {
        // More may be used than there is: the disks' index takes what it needs.
        let missing = self.budget.used().saturating_add(bytes).saturating_sub(self.budget.total());
        let idle = self.index.capacity().saturating_sub(self.index.weight()) / self.index.num_shards() as u64;
        let weight = (idle + missing).min(self.index.shard_capacity());
        let place = self.filler.fetch_add(1, Ordering::Relaxed);
        // One shard after the other: the index takes the bits from the 32nd on for the shard. One of them has no more
        // free than all have on average, so a round over all of them evicts what is missing.
        let shard = place % self.index.num_shards() as u64;
        let hash = u128::from(shard << 32 | place & u64::from(u32::MAX));
        self.index.insert(hash, Arc::new(storage::filler(hash, weight)));
        self.index.remove(&hash);
    }
}

/// Weighs an object by the bytes it was charged with.
#[derive(Clone)]
struct Charge;

impl Weighter<u128, Arc<Object>> for Charge {
    fn weight(&self, _key: &u128, object: &Arc<Object>) -> u64 {
        object.charge(object.body.held_bytes())
    }
}

/// Counts evictions, and saves on disk what was wanted again and has left it meanwhile.
#[derive(Clone)]
struct Evictions {
    count: IntCounter,
    disk: Option<Arc<DiskTier>>,
}

/// An evicted object. It goes to disk, or for good, when it is dropped: after the shard's lock.
struct Evicted {
    object: Arc<Object>,
    disk: Option<Arc<DiskTier>>,
}

impl Drop for Evicted {
    fn drop(&mut self) {
        if let Some(disk) = &self.disk {
            tiers::save(disk, &self.object);
        }
    }
}

impl Lifecycle<u128, Arc<Object>> for Evictions {
    type RequestState = Vec<Evicted>;

    fn on_evict(&self, state: &mut Self::RequestState, _key: u128, object: Arc<Object>) {
        if !object.disk.is_superseded() {
            self.count.inc();
        }
        state.push(Evicted { object, disk: self.disk.clone() });
    }
}

/// The key is a hash already.
#[derive(Default)]
struct KeyIsHash(u64);

impl Hasher for KeyIsHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "folds 128 bits of hash into 64")]
    fn write_u128(&mut self, hash: u128) {
        self.0 = (hash >> 64) as u64 ^ hash as u64;
    }
}

#[cfg(test)]
mod tests;
