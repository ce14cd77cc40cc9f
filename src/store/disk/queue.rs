//! What waits for the writer of one disk: for each key, the state that the disk is to have.
//!
//! The tier puts in what is to be written, refreshed or removed; the writer takes batches out. Whatever was asked last
//! for a key wins over what still waits and over what the writer has in hand. A reader sees a waiting write as if it
//! were on the disk. Nothing here touches the disk, and nothing blocks but the writer's own wait for work.

use std::any::Any;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use super::metrics::Reason;
use super::tier::DiskError;

/// Entries that wait for one disk's writer, at most; an entry that was removed while it waited counts until its turn.
pub const QUEUE_ENTRIES_MAX: usize = 4096;

/// Purges that wait at the same time until they are durable on one disk, at most.
pub const PERSIST_WAITERS_MAX: usize = 1024;

/// Bytes that one batch of the writer carries, unless a single object is larger.
pub const BATCH_BYTES: u64 = 8 * 1024 * 1024;

/// Entries of one batch, at most.
pub const BATCH_ENTRIES_MAX: usize = 64;

/// Bytes counted for an entry beside its key, metadata and body.
const ENTRY_OVERHEAD_BYTES: u64 = 256;

/// An object on its way to the disk.
pub struct Write {
    /// The text of its key.
    pub key: Box<str>,
    /// The site whose quota it counts in.
    pub site: u16,
    /// What is known of it beside its body; the disk does not look into it.
    pub meta: Bytes,
    /// Its body, in order.
    pub body: Vec<Bytes>,
    /// Dropped when the write is done or given up: keeps the memory of the body reserved.
    pub hold: Box<dyn Any + Send>,
}

/// A write that waits or is in the writer's hand.
pub(super) struct Queued {
    pub(super) key: Arc<str>,
    pub(super) site: u16,
    pub(super) meta: Bytes,
    pub(super) body: Arc<Body>,
}

/// The body of a write, and what keeps its memory reserved.
pub(super) struct Body {
    pub(super) chunks: Vec<Bytes>,
    pub(super) len: u64,
    _hold: Mutex<Box<dyn Any + Send>>,
}

/// What is to happen to a key.
#[derive(Clone)]
pub(super) enum Job {
    Write(Arc<Queued>),
    Refresh(Bytes),
}

/// One job of a batch.
pub(super) struct Item {
    pub(super) key: Arc<str>,
    pub(super) job: Job,
    sequence: u64,
}

/// What the writer does next, in this order.
#[derive(Default)]
pub(super) struct Batch {
    /// Told when the volume has been cleared.
    pub(super) clear: Vec<Answer>,
    /// Whether tombstones may wait in the volume.
    pub(super) removals: bool,
    /// Told when tombstones are on the disk.
    pub(super) persist: Vec<Answer>,
    /// At most one of each key.
    pub(super) items: Vec<Item>,
    /// Told when the volume is closed. The queue is empty, or out of time, when this is set.
    pub(super) close: Option<Option<Answer>>,
}

/// What a removal from the volume did.
#[derive(Clone, Copy)]
pub(super) struct Removed {
    /// It was there.
    pub(super) stored: bool,
    /// There may be a tombstone to write.
    pub(super) to_write: bool,
}

/// Tells one who waits how it went.
pub(super) type Answer = oneshot::Sender<Result<(), DiskError>>;

/// What the queue knows of a key.
pub(super) enum Waiting {
    /// Nothing: the volume knows.
    Nothing,
    /// It has been removed, though the volume may not know yet.
    Removed,
    /// It is here.
    Write(Arc<Queued>),
    /// The volume has it, with older metadata.
    Refresh(Bytes),
}

pub(super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    room: Notify,
    /// Entries, removals in hand and clearings: zero lets a look-up pass without the lock.
    busy: AtomicUsize,
    bytes: AtomicU64,
    /// In bytes; a single entry may exceed it when nothing else waits.
    bytes_max: u64,
}

#[derive(Default)]
struct State {
    /// In order of arrival. A ticket whose entry is gone or is another's is passed over.
    order: VecDeque<(u64, Arc<str>)>,
    entries: HashMap<Arc<str>, Entry>,
    /// Keys that the writer has in hand and that were removed since.
    doomed: HashSet<Arc<str>>,
    in_hand: Vec<(u64, Arc<str>, u64)>,
    bytes: u64,
    sequence: u64,
    removals: bool,
    persist: Vec<Answer>,
    clear: Vec<Answer>,
    /// Clearings that are not done yet.
    clearing: usize,
    stop: Option<Stop>,
}

struct Entry {
    sequence: u64,
    job: Job,
    bytes: u64,
    in_hand: bool,
}

struct Stop {
    /// Until when the queue is still written; None: not at all.
    drain_until: Option<Instant>,
    answer: Option<Answer>,
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Write").field("key", &self.key).field("site", &self.site).finish_non_exhaustive()
    }
}

impl Queued {
    fn new(write: Write) -> Queued {
        let len = write.body.iter().map(|chunk| chunk.len() as u64).sum();
        let body = Body { chunks: write.body, len, _hold: Mutex::new(write.hold) };
        Queued { key: write.key.into(), site: write.site, meta: write.meta, body: Arc::new(body) }
    }

    fn bytes(&self) -> u64 {
        entry_bytes(&self.key, &self.meta) + self.body.len
    }
}

fn entry_bytes(key: &str, meta: &Bytes) -> u64 {
    ENTRY_OVERHEAD_BYTES + key.len() as u64 + meta.len() as u64
}

impl Queue {
    /// A queue of at most `bytes_max` bytes.
    pub(super) fn new(bytes_max: u64) -> Queue {
        Queue {
            state: Mutex::default(),
            work: Condvar::new(),
            room: Notify::new(),
            busy: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            bytes_max,
        }
    }

    /// Bytes that wait or are in the writer's hand.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Resolves when room may have become free since it was made and enabled.
    pub(super) fn room(&self) -> tokio::sync::futures::Notified<'_> {
        self.room.notified()
    }

    /// Puts in a write, in place of what waits under its key; gives it back when there is no room.
    pub(super) fn offer(&self, write: Write) -> Result<(), (Write, Reason)> {
        let mut state = self.state.lock();
        let bytes =
            entry_bytes(&write.key, &write.meta) + write.body.iter().map(|c| c.len() as u64).sum::<u64>();
        if state.stop.is_some() {
            return Err((write, Reason::Closing));
        }
        if !state.has_room(&write.key, bytes, self.bytes_max) {
            return Err((write, Reason::QueueFull));
        }
        let queued = Arc::new(Queued::new(write));
        let replaced = state.put(Arc::clone(&queued.key), queued.bytes(), Job::Write(queued));
        self.tell(state);
        drop(replaced);
        Ok(())
    }

    /// Puts in newer metadata of a key that `on_disk` says the volume has; merges it into a write that waits. False:
    /// there is no room for it.
    pub(super) fn refresh(&self, key: &str, meta: Bytes, on_disk: impl FnOnce() -> bool) -> bool {
        let mut state = self.state.lock();
        let waiting = state.entries.get(key).map(|entry| (entry.job.clone(), entry.in_hand));
        let job = match waiting {
            // Also one in the writer's hand: what is on disk until that is done is older.
            Some((Job::Write(write), _)) => Job::Write(Arc::new(Queued {
                key: Arc::clone(&write.key),
                site: write.site,
                meta,
                body: Arc::clone(&write.body),
            })),
            Some(_) => Job::Refresh(meta),
            None if on_disk() && !state.is_removed(key) => Job::Refresh(meta),
            None => return true,
        };
        let bytes = match &job {
            Job::Write(write) => write.bytes(),
            Job::Refresh(meta) => entry_bytes(key, meta),
        };
        if state.stop.is_some() || !state.has_room(key, bytes, self.bytes_max) {
            return false;
        }
        let replaced = state.put(key.into(), bytes, job);
        self.tell(state);
        drop(replaced);
        true
    }

    /// Takes a key out, also of the writer's hand. `remove` takes it out of the volume.
    pub(super) fn remove(&self, key: &str, remove: impl FnOnce() -> Removed) -> bool {
        let mut state = self.state.lock();
        let waited = state.drop_entry(key);
        let in_hand =
            state.in_hand.iter().find(|(_, held, _)| &**held == key).map(|(_, held, _)| Arc::clone(held));
        let doomed = in_hand.map(|held| state.doomed.insert(held)).unwrap_or_default();
        let removed = remove();
        state.removals |= removed.to_write;
        self.tell(state);
        waited.is_some() || doomed || removed.stored
    }

    /// Empties the queue and asks for the volume to be cleared; until then nothing of it is seen.
    pub(super) fn clear(&self, answer: Answer) {
        let mut state = self.state.lock();
        let dropped = state.drop_all();
        state.clearing += 1;
        state.clear.push(answer);
        self.tell(state);
        drop(dropped);
    }

    /// Asks to be told when every removal until now is durable.
    pub(super) fn persist(&self, answer: Answer) {
        let mut state = self.state.lock();
        let closed = state.stop.is_some();
        if closed || state.persist.len() >= PERSIST_WAITERS_MAX {
            drop(state);
            let _ = answer.send(Err(if closed { DiskError::Closed } else { DiskError::TooManyPurges }));
            return;
        }
        state.persist.push(answer);
        self.tell(state);
    }

    /// Drops what waits; gives the keys of the writes among it.
    pub(super) fn shed(&self) -> Vec<Arc<str>> {
        if self.busy.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut state = self.state.lock();
        let dropped = state.drop_waiting();
        self.tell(state);
        let write = |entry: &Entry| match &entry.job {
            Job::Write(write) => Some(Arc::clone(&write.key)),
            Job::Refresh(_) => None,
        };
        dropped.iter().filter_map(write).collect()
    }

    /// Takes no more, and has the writer end: after what waits is written or `drain_until` has come, or at once.
    pub(super) fn stop(&self, drain_until: Option<Instant>, answer: Option<Answer>) {
        let mut state = self.state.lock();
        if let Some(earlier) = &state.stop
            && (earlier.answer.is_some() || answer.is_none())
        {
            if let Some(answer) = answer {
                let _ = answer.send(Err(DiskError::Closed));
            }
            return;
        }
        state.stop = Some(Stop { drain_until, answer });
        self.tell(state);
    }

    /// What waits under this key.
    pub(super) fn look_up(&self, key: &str) -> Waiting {
        if self.busy.load(Ordering::Acquire) == 0 {
            return Waiting::Nothing;
        }
        let state = self.state.lock();
        match state.entries.get(key).map(|entry| &entry.job) {
            Some(Job::Write(write)) => Waiting::Write(Arc::clone(write)),
            _ if state.is_removed(key) => Waiting::Removed,
            Some(Job::Refresh(meta)) => Waiting::Refresh(meta.clone()),
            None => Waiting::Nothing,
        }
    }

    /// Waits for work. Every item is to be given back by [`Queue::done`], clearings by [`Queue::cleared`].
    pub(super) fn take(&self) -> Batch {
        let mut state = self.state.lock();
        loop {
            let batch = state.next_batch();
            if let Some(batch) = batch {
                self.busy.store(state.busy(), Ordering::Release);
                return batch;
            }
            self.work.wait(&mut state);
        }
    }

    /// Ends a batch's items, written or not. `remove` is called for each key that was removed meanwhile: it must not
    /// stand in the volume any more when this returns.
    pub(super) fn done(&self, items: Vec<Item>, mut remove: impl FnMut(&str)) {
        let mut state = self.state.lock();
        for item in &items {
            let ours = |entry: &Entry| entry.sequence == item.sequence;
            if state.entries.get(&item.key).is_some_and(ours) {
                state.entries.remove(&item.key);
            }
            if state.doomed.remove(&item.key) {
                remove(&item.key);
                state.removals = true;
            }
        }
        let freed: u64 = state.in_hand.drain(..).map(|(_, _, bytes)| bytes).sum();
        state.bytes -= freed;
        self.tell(state);
        drop(items);
    }

    /// Notes that so many clearings are done.
    pub(super) fn cleared(&self, clearings: usize) {
        let mut state = self.state.lock();
        state.clearing = state.clearing.saturating_sub(clearings);
        self.tell(state);
    }

    /// Publishes what has changed, and lets go of the lock.
    fn tell(&self, state: parking_lot::MutexGuard<'_, State>) {
        self.busy.store(state.busy(), Ordering::Release);
        let before = self.bytes.swap(state.bytes, Ordering::Relaxed);
        let freed = state.bytes < before || state.stop.is_some() || state.order.len() < QUEUE_ENTRIES_MAX;
        drop(state);
        self.work.notify_one();
        if freed {
            self.room.notify_waiters();
        }
    }
}

impl State {
    fn busy(&self) -> usize {
        self.entries.len() + self.doomed.len() + self.clearing
    }

    fn is_removed(&self, key: &str) -> bool {
        self.clearing > 0 || self.doomed.contains(key)
    }

    fn has_room(&self, key: &str, bytes: u64, bytes_max: u64) -> bool {
        let replaced = self.entries.get(key).filter(|entry| !entry.in_hand).map(|entry| entry.bytes);
        let others = self.bytes - replaced.unwrap_or_default();
        let fits = others == 0 || others.saturating_add(bytes) <= bytes_max;
        fits && (replaced.is_some() || self.order.len() < QUEUE_ENTRIES_MAX)
    }

    /// Puts in a job, in place of one that waits under its key.
    fn put(&mut self, key: Arc<str>, bytes: u64, job: Job) -> Option<Job> {
        self.bytes += bytes;
        if let Some(entry) = self.entries.get_mut(&key).filter(|entry| !entry.in_hand) {
            self.bytes -= entry.bytes;
            entry.bytes = bytes;
            return Some(std::mem::replace(&mut entry.job, job));
        }
        self.sequence += 1;
        let entry = Entry { sequence: self.sequence, job, bytes, in_hand: false };
        self.order.push_back((self.sequence, Arc::clone(&key)));
        self.entries.insert(key, entry);
        None
    }

    /// Takes an entry out. One in the writer's hand stays counted until it is done.
    fn drop_entry(&mut self, key: &str) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        if !entry.in_hand {
            self.bytes -= entry.bytes;
        }
        Some(entry)
    }

    /// Takes out what the writer does not have in hand.
    fn drop_waiting(&mut self) -> Vec<Entry> {
        self.order.clear();
        let dropped: Vec<Entry> =
            self.entries.extract_if(|_, entry| !entry.in_hand).map(|(_, entry)| entry).collect();
        self.bytes -= dropped.iter().map(|entry| entry.bytes).sum::<u64>();
        dropped
    }

    fn drop_all(&mut self) -> Vec<Entry> {
        let mut dropped = self.drop_waiting();
        dropped.extend(self.entries.drain().map(|(_, entry)| entry));
        self.doomed.extend(self.in_hand.iter().map(|(_, key, _)| Arc::clone(key)));
        dropped
    }

    fn next_batch(&mut self) -> Option<Batch> {
        let items = match &self.stop {
            Some(Stop { drain_until, .. }) if drain_until.is_none_or(|until| Instant::now() >= until) => {
                Vec::new()
            }
            _ => self.next_items(),
        };
        let mut batch = Batch {
            clear: std::mem::take(&mut self.clear),
            removals: std::mem::take(&mut self.removals),
            persist: std::mem::take(&mut self.persist),
            items,
            close: None,
        };
        if batch.items.is_empty()
            && let Some(stop) = &mut self.stop
        {
            batch.close = Some(stop.answer.take());
        }
        let idle = batch.items.is_empty()
            && batch.clear.is_empty()
            && batch.persist.is_empty()
            && !batch.removals
            && batch.close.is_none();
        (!idle).then_some(batch)
    }

    fn next_items(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        let mut bytes = 0;
        while items.len() < BATCH_ENTRIES_MAX {
            let Some((sequence, key)) = self.order.front() else { break };
            let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.sequence == *sequence) else {
                self.order.pop_front();
                continue;
            };
            if !items.is_empty() && bytes + entry.bytes > BATCH_BYTES {
                break;
            }
            bytes += entry.bytes;
            entry.in_hand = true;
            self.in_hand.push((*sequence, Arc::clone(key), entry.bytes));
            items.push(Item { key: Arc::clone(key), job: entry.job.clone(), sequence: *sequence });
            self.order.pop_front();
        }
        items
    }
}

#[cfg(test)]
mod tests;
