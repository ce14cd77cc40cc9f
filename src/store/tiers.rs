//! The two tiers together: what goes from memory to disk, and what comes back.
//!
//! An object enters the disk at once as long as that evicts nothing; else when it is wanted a second time: at its first
//! hit, when a second request joined its fetch, or when its key was fetched before within `store.disk_admit_within`. It is
//! written again when memory evicts it and the disk has done so before. It comes back into memory when it is looked up,
//! block by block, readable from its first block on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::changes::Change;
use super::disk::tier::INDEX_SHARE_PERCENT;
use super::disk::{DiskError, DiskTier, Offered, Reason, Stored, Write};
use super::object::charge;
use super::{Object, PurgeMode, PurgeTarget, Store, Version, persist};
use crate::config::model::DiskAdmission;
use crate::key::{Key, site_id};

/// Bytes of budget taken before an object is read from disk: its first block, and what is read with it.
const FIRST_READ_BYTES: u64 = 1024 * 1024 + 128 * 1024;

/// How long an object waits for room before its disk's writer: fills come faster than disks write. It takes memory
/// meanwhile, and nobody waits for it.
pub const ROOM_WAIT: Duration = Duration::from_secs(5);

/// What the disks' index counts for, in percent of its tables: the allocator keeps some of those that it has outgrown.
const INDEX_PERCENT: u64 = 125;

/// Fills that wait for such room at once, at most; the object of a further one goes to disk when it is wanted again.
pub(super) const ROOM_WAITERS_MAX: usize = 256;

/// What an object in memory has to do with the disk.
#[derive(Debug, Default)]
pub struct DiskMark(AtomicU8);

/// Memory alone keeps it.
const MEMORY_ONLY: u8 = 0;
/// It goes to disk when it is wanted again.
const WAITING: u8 = 1;
/// It has been offered to the disk, or came from there.
const OFFERED: u8 = 2;
/// Another one has taken its place, or it has been removed: it goes nowhere.
const SUPERSEDED: u8 = 3;

impl DiskMark {
    /// The mark of an object that the disk may keep.
    pub fn waiting() -> DiskMark {
        DiskMark(AtomicU8::new(WAITING))
    }

    /// The mark of an object that the disk knows.
    pub fn offered() -> DiskMark {
        DiskMark(AtomicU8::new(OFFERED))
    }

    /// Whether it is to be offered when it is wanted again. Read by every hit, written once.
    pub(super) fn is_waiting(&self) -> bool {
        self.0.load(Ordering::Relaxed) == WAITING
    }

    pub(super) fn is_offered(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OFFERED
    }

    /// Claims the one offer. False: another request has.
    fn take_waiting(&self) -> bool {
        self.0.compare_exchange(WAITING, OFFERED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Takes the offer back: the next request makes it again.
    fn wait_again(&self) {
        let _ = self.0.compare_exchange(OFFERED, WAITING, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Keeps it off the disk from now on.
    pub(super) fn supersede(&self) {
        self.0.store(SUPERSEDED, Ordering::Release);
    }

    pub(super) fn is_superseded(&self) -> bool {
        self.0.load(Ordering::Acquire) == SUPERSEDED
    }

    /// The same mark for an object that takes this one's place around the same body.
    pub(super) fn again(&self) -> DiskMark {
        DiskMark(AtomicU8::new(self.0.load(Ordering::Relaxed)))
    }

    /// The mark that an admission gives.
    pub fn of(admission: DiskAdmission) -> DiskMark {
        match admission {
            DiskAdmission::Never => DiskMark(AtomicU8::new(MEMORY_ONLY)),
            DiskAdmission::Second | DiskAdmission::Always => DiskMark::waiting(),
        }
    }
}

/// An object that comes from disk: readable from its first block on.
pub struct Recalled {
    /// The object; its body grows until `rest` has been read. That of one in slices has no body yet.
    pub object: Arc<Object>,
    /// The version, where the object is kept in slices.
    pub version: Option<Version>,
    /// What has not been read yet; None: all of it is there.
    pub rest: Option<Stored>,
    /// What had changed under its key before it was looked up.
    pub since: Change,
}

impl Recalled {
    /// An object of which nothing is left to be read.
    pub fn whole(object: Arc<Object>) -> Recalled {
        Recalled { object, version: None, rest: None, since: Change::default() }
    }
}

/// Saves an object that memory evicts: one that is hot in memory is cold on disk, and may have been evicted there.
pub(super) fn save(disk: &DiskTier, object: &Object) {
    let absent = object.disk.is_offered() && object.body.is_complete() && !disk.contains(&object.key.text);
    if let Some(write) = absent.then(|| write_of(object)).flatten() {
        // What is shed is counted by the disk.
        disk.offer(write);
        take_back_if_superseded(disk, object);
    }
}

/// An object may have been removed or replaced while it was offered: then it does not stay on disk.
fn take_back_if_superseded(disk: &DiskTier, object: &Object) {
    if object.disk.is_superseded() {
        disk.remove(&object.key.text);
    }
}

/// What of an object is written.
fn write_of(object: &Object) -> Option<Write> {
    let chunks = object.body.as_whole().and_then(|body| body.chunks());
    Some(Write {
        key: object.key.text.clone(),
        site: site_id(object.key.site()),
        meta: persist::encode(object)?,
        body: chunks.unwrap_or_default().to_vec(),
        hold: Box::new(object.body.clone()),
    })
}

impl Store {
    /// Looks an object up on disk, and reads its first block.
    pub(super) async fn recall(&self, key: &Key) -> Option<Recalled> {
        let since = self.changes.of(key.hash);
        let disk = self.disk.as_ref().filter(|disk| disk.contains(&key.text))?;
        let mut reservation = self.reserve(FIRST_READ_BYTES).await?;
        let stored = disk.find(&key.text).await?;
        let Some(meta) = persist::decode(&stored.meta) else {
            disk.remove(&key.text);
            return None;
        };
        let bytes = charge(key, &meta.header, stored.body_len);
        if bytes > self.object_bytes_max {
            return None;
        }
        match bytes.checked_sub(reservation.bytes()) {
            Some(more) => reservation.absorb(self.reserve(more).await?),
            None => reservation.shrink_to(bytes),
        }
        let body = self.growing_body(key, Some(reservation));
        body.append(stored.first.clone());
        let object = Object {
            provenance: meta.provenance,
            variants: meta.variants.map(Arc::new),
            disk: DiskMark::offered(),
            purged_at: meta.purged_at,
            ..Object::new(key.clone(), meta.kind, meta.header, meta.lifetime, body.into())
        };
        let object = Arc::new(self.stands_on_disk(disk, object)?);
        if meta.version.is_some() {
            return Some(Recalled { object, version: meta.version, rest: None, since });
        }
        if stored.first.len() as u64 == stored.body_len {
            self.recalled(&object, since);
            return Some(Recalled { object, version: None, rest: None, since });
        }
        Some(Recalled { object, version: None, rest: Some(stored), since })
    }

    /// Counts what the disks' index takes now in the memory budget; no more than it may take, even if recovery has found
    /// more, so that objects can be fetched in any case.
    pub(super) fn count_disk_index(&self) {
        let Some(disk) = &self.disk else { return };
        let bytes =
            (disk.index_bytes() / 100 * INDEX_PERCENT).min(self.budget.total() / 100 * INDEX_SHARE_PERCENT);
        let mut held = self.disk_index.lock();
        match bytes.checked_sub(held.bytes()) {
            Some(more) => held.absorb(self.budget.take(more)),
            None => held.shrink_to(bytes),
        }
    }

    /// Takes an object into memory whose last block has come from disk, unless it was removed or replaced `since`.
    pub fn recalled(&self, object: &Arc<Object>, since: Change) {
        if let Some(body) = object.body.as_whole() {
            body.finish();
        }
        let hash = object.key.hash;
        if self.changes.of(hash) == since {
            self.put(Arc::clone(object));
        }
        if self.changes.of(hash) != since {
            object.disk.supersede();
            self.index.remove_if(&hash, |held| Arc::ptr_eq(held, object));
        }
    }

    /// Decides about the disk for an object that has just been kept in memory; what the disk holds under its key is
    /// another version.
    pub async fn admit_to_disk(&self, object: &Arc<Object>, admission: DiskAdmission) {
        let Some(disk) = self.disk.as_ref().filter(|_| object.body.is_complete()) else { return };
        let known = disk.contains(&object.key.text);
        if !object.disk.is_waiting() {
            if known {
                disk.remove(&object.key.text);
            }
            return;
        }
        // Asked in any case, so that it remembers the key.
        let seen =
            self.recent.as_ref().is_none_or(|recent| recent.seen_before(object.key.hash, Instant::now()));
        if admission == DiskAdmission::Always || known || seen || disk.has_room(&object.key.text) {
            self.write_behind(disk, object).await;
        }
    }

    /// Offers an object to the disk, and waits for room there, up to [`ROOM_WAIT`].
    async fn write_behind(&self, disk: &DiskTier, object: &Object) {
        let Ok(_waiting) = self.room_waiters.try_acquire() else {
            if object.disk.is_waiting() && disk.contains(&object.key.text) {
                // What stands there is older.
                disk.remove(&object.key.text);
            }
            return;
        };
        let Some(write) = claim(object) else { return };
        if disk.offer_within(write, ROOM_WAIT).await == Offered::Shed(Reason::QueueFull) {
            object.disk.wait_again();
        }
        take_back_if_superseded(disk, object);
    }

    /// Tells the disk of an object that is hit in memory, now and then: what is hot here is not to be evicted there, and
    /// is written again if it was, so that it outlives the process.
    pub fn keep_on_disk(&self, object: &Object) {
        let Some(disk) = self.disk.as_ref().filter(|_| object.disk.is_offered()) else { return };
        if !disk.touch(&object.key.text) {
            save(disk, object);
        }
    }

    /// Offers an object to the disk, the first time that it is wanted again.
    pub fn wanted_again(&self, object: &Arc<Object>) {
        let Some(disk) = &self.disk else { return };
        let Some(write) = claim(object) else { return };
        if disk.offer(write) == Offered::Shed(Reason::QueueFull) {
            object.disk.wait_again();
        }
        take_back_if_superseded(disk, object);
    }

    /// Tells the disk that an object's header or lifetime has changed and its body has not.
    pub(super) fn refresh_on_disk(&self, object: &Object) {
        if let (Some(disk), true, Some(meta)) =
            (&self.disk, object.disk.is_offered(), persist::encode(object))
        {
            disk.refresh(&object.key.text, meta);
        }
    }

    /// Whether the disk holds an object under a key of this text.
    pub fn is_on_disk(&self, text: &str) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.contains(text))
    }

    /// Largest object that every disk takes whole, in bytes; None: there is no disk.
    pub fn disk_object_bytes_max(&self) -> Option<u64> {
        self.disk.as_ref()?.object_bytes_max()
    }

    /// Removes everything from both tiers, and gives back the room: a hard purge of everything. What is in flight is not
    /// kept when it has come.
    ///
    /// # Errors
    /// When a disk could not be cleared for good: after a restart, what it holds may be served again.
    pub async fn clear(&self) -> Result<(), DiskError> {
        let purged = self.purge(&PurgeTarget::Everything, PurgeMode::Hard).await.map(drop);
        self.index.clear();
        let cleared = match &self.disk {
            Some(disk) => disk.clear().await,
            None => Ok(()),
        };
        purged.and(cleared)
    }

    /// Ends the disk tier: what is queued is written, within bounded time.
    pub async fn close(&self) {
        let Some(disk) = &self.disk else { return };
        if let Err(error) = disk.close().await {
            tracing::warn!(%error, "a disk is recovered at the next start");
        }
    }
}

/// What is written of an object; only for the first who asks.
fn claim(object: &Object) -> Option<Write> {
    let mine = object.disk.is_waiting() && object.body.is_complete() && object.disk.take_waiting();
    mine.then(|| write_of(object)).flatten()
}
