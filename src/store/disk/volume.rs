//! A volume: objects in one directory, within a hard budget, found in memory and read in a single read.
//!
//! Any number of threads find and read; one thread writes ([`Volume::append`] and its kin take turns). What is live
//! and where is the index's; which record is whole is [`super::region`]'s. Which objects are worth keeping, and what
//! to do about a device that fails, the tier above decides: errors are handed to it. Everything here blocks.

mod append;
pub(super) mod open;
mod reclaim;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::device::{Device, DeviceFile};
use super::format::{Corruption, Kind, Superblock, TocEntry, blocks_of};
use super::index::{Found, Index, Inserted, MetaAt};
use super::region::{self, Contents, Layout, RecordHead};
use append::OpenRegion;

pub use super::format::{BLOCK_BYTES, KEY_BYTES_MAX, META_BYTES_MAX};
pub use super::region::ReadError;
pub use super::stats::{Eviction, VolumeStats};
pub use append::{Append, AppendError};
pub use open::{
    REGION_BYTES_MAX, REGION_BYTES_MIN, REGIONS_MAX, REGIONS_MIN, SIZE_BYTES_MIN, VolumeError, VolumeOptions,
};

/// Removals that wait for their tombstones to be written, at most, or, while recovery runs, are remembered with those that
/// it finds. A removal beyond it clears the whole volume: a removed object never comes back.
pub const REMOVALS_MAX: usize = 256 * 1024;

/// One volume.
#[derive(Debug)]
pub struct Volume {
    device: Arc<dyn Device>,
    layout: Layout,
    regions: Box<[RegionState]>,
    index: Index,
    stats: VolumeStats,
    sites: Mutex<HashMap<u16, u64>>,
    removals: Mutex<Removals>,
    writer: Mutex<append::Writer>,
    next_sequence: AtomicU64,
    /// Whatever is older than this sequence number is void.
    barrier: AtomicU64,
    /// An append is between its sequence numbers and the index.
    appending: AtomicBool,
    /// A write failed: the disk may hold records that the index was not told of.
    doubtful: AtomicBool,
    /// A region was used again before its time, because the file system has no room for another.
    cramped: AtomicBool,
    /// Regions found at start whose records are not in the index yet: (epoch, region).
    unrecovered: Mutex<Vec<(u64, u16)>>,
    discarded: Option<String>,
    /// Last, so that it is given back after all else is done.
    _lock: Box<dyn Any + Send + Sync>,
}

/// A region's file, and which use of it this is.
#[derive(Debug, Default)]
struct RegionState {
    file: OnceLock<Arc<dyn DeviceFile>>,
    /// The epoch of what stands in it; 0 if nothing does.
    epoch: AtomicU64,
    /// The same, but 0 as soon as its reclaim begins: whether the index may still be given its records.
    admits: AtomicU64,
}

/// Removals that are not on disk yet, or that recovery must know of.
#[derive(Debug)]
struct Removals {
    /// By hash: objects of a lower generation are gone.
    unwritten: HashMap<u128, u64>,
    /// The same, for as long as recovery runs.
    recovering: Option<HashMap<u128, u64>>,
    /// The barrier is not in the superblock yet.
    barrier_unwritten: bool,
}

/// What is known when a removal is remembered.
struct Added {
    /// Whether there was room for it.
    fits: bool,
    /// The earlier removal of this key that waits.
    earlier: Option<u64>,
    /// Whether recovery runs: it may have met something to remove.
    recovering: bool,
}

/// Where an object stands, as of its look-up.
#[derive(Clone, Copy, Debug)]
pub struct Location {
    found: Found,
    epoch: u64,
}

/// What comes before the body, and the first block of it.
#[derive(Clone, Debug)]
pub struct Head {
    /// The newest meta bytes.
    pub meta: Bytes,
    /// Bytes of the body.
    pub body_len: u64,
    /// xxh3-64 of each block of the body.
    pub checksums: Box<[u64]>,
    /// The first block, checked; empty if the body is.
    pub first: Bytes,
    /// Which version of the key's object this is: never the same for two appends.
    pub generation: u64,
}

/// An object as [`Volume::for_each`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Seeded hash of its key.
    pub hash: u128,
    /// Its site.
    pub site: u16,
    /// Bytes of its body.
    pub body_len: u64,
    /// Bytes that it takes on disk.
    pub record_bytes: u64,
    /// Hits since it was written, up to 255.
    pub hits: u8,
}

// === impl Volume: what is held ===

impl Volume {
    /// Where the object under this key stands; counts as a hit. Takes no input or output.
    pub fn find(&self, key: &str) -> Option<Location> {
        self.look_up(self.hash(key), true)
    }

    /// Whether there is an object under this key; no hit.
    pub fn contains(&self, key: &str) -> bool {
        self.index.contains(self.hash(key))
    }

    /// Whether it can take more without evicting anything.
    pub fn has_room(&self) -> bool {
        // One region is always empty.
        self.regions.iter().filter(|state| state.epoch.load(Ordering::Relaxed) == 0).nth(1).is_some()
    }

    /// Shows every object. Goes through the whole index; `see` is quick and does not call the volume.
    pub fn for_each(&self, mut see: impl FnMut(Held)) {
        self.index.for_each(|found| {
            see(Held {
                hash: found.record.hash,
                site: found.record.site,
                body_len: u64::from(found.record.body_len),
                record_bytes: found.record_bytes(),
                hits: found.hits,
            });
        });
    }

    /// Bytes on disk of each site's live objects.
    pub fn site_bytes(&self) -> Vec<(u16, u64)> {
        self.sites.lock().iter().map(|(site, bytes)| (*site, *bytes)).collect()
    }

    /// Bytes on disk of one site's live objects.
    pub fn bytes_of_site(&self, site: u16) -> u64 {
        self.sites.lock().get(&site).copied().unwrap_or(0)
    }

    /// The figures.
    pub fn stats(&self) -> &VolumeStats {
        &self.stats
    }

    /// Bytes of memory that the index takes. Locks each shard for a moment.
    pub fn index_bytes(&self) -> u64 {
        self.index.bytes()
    }

    /// Bytes of the volume's files once all regions are in use: at most the configured size.
    pub fn capacity_bytes(&self) -> u64 {
        super::format::SUPERBLOCK_BYTES + self.layout.region_bytes * self.regions.len() as u64
    }

    /// Bytes of one region.
    pub fn region_bytes(&self) -> u64 {
        self.layout.region_bytes
    }

    /// Bytes of one record at most: three eighths of a region, so that it fits behind what a reclaim writes again.
    pub fn record_bytes_max(&self) -> u64 {
        self.layout.region_bytes / 8 * 3
    }

    /// Whether the file system has not had room for all of the regions: the volume makes do with those that it has.
    pub fn is_cramped(&self) -> bool {
        self.cramped.load(Ordering::Relaxed)
    }

    /// Why what stood in the directory was discarded when it was opened, if it was.
    pub fn discarded(&self) -> Option<&str> {
        self.discarded.as_deref()
    }

    pub(super) fn hash(&self, key: &str) -> u128 {
        xxh3_128_with_seed(key.as_bytes(), self.layout.seed)
    }

    fn look_up(&self, hash: u128, mark: bool) -> Option<Location> {
        // The epoch is read while the entry is sure to be in the region: reclaim removes entries before it changes it.
        let epoch_of =
            |region: u16| self.region(region).map_or(0, |state| state.epoch.load(Ordering::SeqCst));
        let (found, epoch) = self.index.find(hash, mark, epoch_of)?;
        Some(Location { found, epoch })
    }

    fn region(&self, region: u16) -> Option<&RegionState> {
        self.regions.get(usize::from(region))
    }
}

// === impl Volume: reading ===

impl Volume {
    /// Reads what comes before the body and the first block, in one read (two after a revalidation). With
    /// `cached_only` it does not wait for the disk.
    ///
    /// # Errors
    /// [`ReadError`]; after `Corrupt` the object is no longer held.
    pub fn read_head(&self, location: &Location, key: &str, cached_only: bool) -> Result<Head, ReadError> {
        let read = || {
            let head = self.read_record(location, true, cached_only)?;
            if head.key() != key.as_bytes() {
                return Err(ReadError::Corrupt(Corruption::Key));
            }
            let first = head.first_block().map_err(ReadError::Corrupt)?;
            let meta = self.newest_meta(location, &head, cached_only)?;
            Ok(Head {
                meta,
                body_len: u64::from(head.header.body_len),
                checksums: head.checksums,
                first,
                generation: head.header.generation,
            })
        };
        read().map_err(|error| self.judge(location, error))
    }

    /// Reads block `index` of the body, [`BLOCK_BYTES`] long unless it is the last. With `cached_only` it does not wait
    /// for the disk.
    ///
    /// # Errors
    /// [`ReadError`]; after `Corrupt` the object is no longer held.
    pub fn read_block(
        &self,
        location: &Location,
        head: &Head,
        index: usize,
        cached_only: bool,
    ) -> Result<Bytes, ReadError> {
        debug_assert_eq!(head.generation, location.generation(), "a head of this location");
        debug_assert!(index < head.checksums.len(), "a block of this body");
        let read = || {
            let file = self.file(location.found.region)?;
            region::read_block(file, &location.found.record, &head.checksums, index, cached_only)
        };
        read().map_err(|error| self.judge(location, error))
    }

    fn file(&self, region: u16) -> Result<&dyn DeviceFile, ReadError> {
        let file = self.region(region).and_then(|state| state.file.get());
        file.map(|file| &**file).ok_or(ReadError::Reclaimed)
    }

    fn read_record(
        &self,
        location: &Location,
        with_first: bool,
        cached_only: bool,
    ) -> Result<RecordHead, ReadError> {
        let record = &location.found.record;
        let file = self.file(location.found.region)?;
        let head = region::read_head(file, &self.layout, record, with_first, cached_only)?;
        region::check_identity(&head.header, record, location.epoch).map_err(ReadError::Corrupt)?;
        Ok(head)
    }

    /// The meta bytes of the object's meta record, if it has one, else those of its own record.
    fn newest_meta(
        &self,
        location: &Location,
        head: &RecordHead,
        cached_only: bool,
    ) -> Result<Bytes, ReadError> {
        let Some(meta) = location.found.meta else { return Ok(Bytes::copy_from_slice(head.meta())) };
        let record = TocEntry {
            kind: Kind::Meta,
            meta_len: meta.meta_len,
            body_len: 0,
            place: meta.place,
            ..location.found.record
        };
        let file = self.file(meta.region)?;
        let newer = region::read_head(file, &self.layout, &record, false, cached_only)?;
        region::check_identity(&newer.header, &record, meta.epoch).map_err(ReadError::Corrupt)?;
        Ok(Bytes::copy_from_slice(newer.meta()))
    }

    /// Tells damage from a region that was used again since the look-up. What is damaged is dropped.
    fn judge(&self, location: &Location, error: ReadError) -> ReadError {
        let ReadError::Corrupt(corruption) = error else { return error };
        let is_still = |region: u16, epoch: u64| {
            self.region(region).is_some_and(|state| state.epoch.load(Ordering::SeqCst) == epoch)
        };
        let same_meta = |meta: MetaAt| is_still(meta.region, meta.epoch);
        if !is_still(location.found.region, location.epoch) || !location.found.meta.is_none_or(same_meta) {
            return ReadError::Reclaimed;
        }
        self.stats.corruptions(corruption).fetch_add(1, Ordering::Relaxed);
        let same = |found: &Found| found.is_at(&location.found);
        if let Some(dropped) = self.index.remove_if(location.found.record.hash, same) {
            self.evicted(&dropped, Eviction::Corrupt);
        }
        ReadError::Corrupt(corruption)
    }
}

// === impl Volume: removing ===

impl Volume {
    /// Removes the object under this key, at once and for good: its tombstone goes to disk with the next append or
    /// [`Volume::flush_tombstones`]. Says whether there was one. Takes no input or output.
    pub fn remove(&self, key: &str) -> bool {
        let hash = self.hash(key);
        // The order matters: an append that this does not see takes a later number, and is newer than the removal.
        let sequence = self.next_sequence.fetch_add(1, Ordering::SeqCst);
        let may_be_unseen = self.appending.load(Ordering::SeqCst) || self.doubtful.load(Ordering::SeqCst);
        let Added { fits, earlier, recovering } = self.removals.lock().add(hash, sequence);
        let removed = self.index.remove_if(hash, |found| found.record.generation < sequence);
        if let Some(found) = &removed {
            self.evicted(found, Eviction::Removed);
        } else if !may_be_unseen && !recovering {
            self.removals.lock().cancel(hash, sequence, earlier);
        }
        if !fits {
            self.void_everything();
        }
        removed.is_some()
    }

    /// Evicts the objects of a site that were written first, until `bytes` of its bytes are given back or nothing is
    /// left; says how many bytes. Goes through the whole index: give back some percent of a quota at once, not an
    /// object at a time. They may come back with a restart, when the quota is held to again.
    pub fn evict_oldest_of_site(&self, site: u16, bytes: u64) -> u64 {
        // The oldest objects that together have `bytes`; the newest of them on top.
        let mut oldest: BinaryHeap<(u64, u64, u128)> = BinaryHeap::new();
        let mut sum = 0;
        self.index.for_each(|found| {
            if found.record.site != site {
                return;
            }
            let size = found.record_bytes();
            let generation = found.record.generation;
            if sum >= bytes && oldest.peek().is_none_or(|top| top.0 < generation) {
                return;
            }
            oldest.push((generation, size, found.record.hash));
            sum += size;
            while let Some(top) = oldest.peek().filter(|top| sum - top.1 >= bytes) {
                sum -= top.1;
                oldest.pop();
            }
        });
        let mut given = 0;
        for (generation, _, hash) in oldest {
            if let Some(found) = self.index.remove_if(hash, |found| found.record.generation == generation) {
                self.evicted(&found, Eviction::Quota);
                given += found.record_bytes();
            }
        }
        given
    }

    /// Voids all that is held, in memory; the writer makes it last with its next step.
    fn void_everything(&self) {
        let barrier = self.next_sequence.fetch_add(1, Ordering::SeqCst);
        self.barrier.fetch_max(barrier, Ordering::SeqCst);
        self.removals.lock().barrier_raised(barrier);
        self.index.remove_all(
            |found| found.record.generation < barrier,
            |found| self.evicted(&found, Eviction::Cleared),
        );
    }
}

// === impl Volume: accounts ===

impl Volume {
    /// Gives the index a record, unless it is void, removed, or of a region that is being reclaimed.
    pub(super) fn admit(&self, record: &TocEntry, region: u16, epoch: u64, meta: Option<MetaAt>) -> Inserted {
        let admits = || {
            let removed = self.removals.lock().removes(record.hash, record.generation);
            let void = record.generation < self.barrier.load(Ordering::SeqCst);
            let admitted = self.admits(region, epoch) && !removed && !void;
            if admitted {
                // Before anybody can find it, and remove it.
                self.account_in(record);
            }
            admitted
        };
        let inserted = self.index.insert(record, region, meta, admits);
        if let Inserted::Replaced(old) = &inserted {
            self.account_out(old);
        }
        inserted
    }

    /// Tells the index that a record was copied, unless the object was removed or replaced meanwhile.
    fn relocate(&self, from: &Found, to: &TocEntry, region: u16) {
        self.index.relocate(from, to, region, || {
            // The copy may have other meta bytes.
            self.account_in(to);
            self.account_out(from);
        });
    }

    fn evicted(&self, found: &Found, reason: Eviction) {
        self.account_out(found);
        self.stats.evictions(reason).add(found.record_bytes());
    }

    fn account_in(&self, record: &TocEntry) {
        let bytes = record.record_bytes();
        self.stats.live.add(bytes);
        *self.sites.lock().entry(record.site).or_default() += bytes;
    }

    fn account_out(&self, found: &Found) {
        let bytes = found.record_bytes();
        self.stats.live.subtract(bytes);
        if let Some(of_site) = self.sites.lock().get_mut(&found.record.site) {
            *of_site = of_site.saturating_sub(bytes);
        }
    }
}

// === impl Volume: what recovery asks ===

impl Volume {
    /// Whether regions were found at start that recovery has not come to.
    pub(super) fn has_unrecovered(&self) -> bool {
        !self.unrecovered.lock().is_empty()
    }

    /// The regions found at start, the oldest first: once.
    pub(super) fn take_unrecovered(&self) -> Vec<(u64, u16)> {
        std::mem::take(&mut *self.unrecovered.lock())
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn open_file(&self, region: u16) -> Option<&dyn DeviceFile> {
        self.file(region).ok()
    }

    pub(super) fn found_removal(&self, hash: u128, sequence: u64) {
        self.removals.lock().found(hash, sequence);
    }

    /// Nothing older can turn up any more: removals need not be remembered once they are written.
    pub(super) fn recovery_ended(&self) -> Result<(), AppendError> {
        let waiting = {
            let mut removals = self.removals.lock();
            removals.recovering = None;
            !removals.unwritten.is_empty()
        };
        if waiting { self.flush_tombstones() } else { Ok(()) }
    }

    /// Makes a region found at start the open one, if nothing was begun meanwhile.
    pub(super) fn continue_region(&self, region: u16, epoch: u64, contents: &Contents) -> io::Result<bool> {
        let mut writer = self.writer.lock();
        if !writer.may_continue() || !self.admits(region, epoch) {
            return Ok(false);
        }
        if contents.sealed {
            self.unseal(region)?;
        }
        writer.open = Some(OpenRegion { region, epoch, tail: contents.tail, toc: contents.entries.clone() });
        Ok(true)
    }

    /// Gives a region found at start a table of contents, unless it has been used again.
    pub(super) fn seal_found(&self, region: u16, epoch: u64, contents: Contents) -> io::Result<()> {
        let writer = self.writer.lock();
        if writer.open.as_ref().is_some_and(|open| open.region == region) || !self.admits(region, epoch) {
            return Ok(());
        }
        self.seal(&OpenRegion { region, epoch, tail: contents.tail, toc: contents.entries })
    }

    fn admits(&self, region: u16, epoch: u64) -> bool {
        self.region(region).is_some_and(|state| state.admits.load(Ordering::SeqCst) == epoch)
    }
}

// === impl Removals ===

impl Removals {
    /// Remembers a removal.
    fn add(&mut self, hash: u128, sequence: u64) -> Added {
        let earlier = self.unwritten.insert(hash, sequence);
        if let Some(recovering) = &mut self.recovering {
            raise(recovering, hash, sequence);
        }
        let remembered = self.recovering.as_ref().map_or(0, HashMap::len).max(self.unwritten.len());
        Added { fits: remembered <= REMOVALS_MAX, earlier, recovering: self.recovering.is_some() }
    }

    /// Forgets a removal of which nothing was there to remove, but not an `earlier` one of the same key that is not on
    /// disk yet. While recovery runs there may be something, on disk.
    fn cancel(&mut self, hash: u128, sequence: u64, earlier: Option<u64>) {
        if self.recovering.is_none() && self.unwritten.get(&hash) == Some(&sequence) {
            match earlier {
                Some(earlier) => self.unwritten.insert(hash, earlier),
                None => self.unwritten.remove(&hash),
            };
        }
    }

    fn removes(&self, hash: u128, generation: u64) -> bool {
        let newer = |removals: &HashMap<u128, u64>| removals.get(&hash).is_some_and(|at| *at > generation);
        newer(&self.unwritten) || self.recovering.as_ref().is_some_and(newer)
    }

    /// All that is older than `barrier` is void: removals before it have nothing left to remove.
    fn barrier_raised(&mut self, barrier: u64) {
        self.barrier_unwritten = true;
        self.unwritten.retain(|_, sequence| *sequence > barrier);
        if let Some(recovering) = &mut self.recovering {
            recovering.retain(|_, sequence| *sequence > barrier);
        }
    }

    /// A removal found on disk.
    fn found(&mut self, hash: u128, sequence: u64) {
        if let Some(recovering) = &mut self.recovering {
            raise(recovering, hash, sequence);
        }
    }
}

/// Sets the number of a hash unless it has a greater one.
fn raise(removals: &mut HashMap<u128, u64>, hash: u128, sequence: u64) {
    let at = removals.entry(hash).or_default();
    *at = (*at).max(sequence);
}

// === impl Location ===

impl Location {
    /// Bytes of the body.
    pub fn body_len(&self) -> u64 {
        u64::from(self.found.record.body_len)
    }

    /// Blocks of the body.
    pub fn blocks(&self) -> usize {
        usize::try_from(blocks_of(self.body_len())).unwrap_or(usize::MAX)
    }

    /// Bytes that the object takes on disk.
    pub fn record_bytes(&self) -> u64 {
        self.found.record_bytes()
    }

    /// Which version of the key's object this is: never the same for two appends.
    pub fn generation(&self) -> u64 {
        self.found.record.generation
    }

    /// The site whose object it is.
    pub fn site(&self) -> u16 {
        self.found.record.site
    }
}

/// The same error once more, for another of those that it befell.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// The two slots of a superblock, of which the older one is written next.
fn write_superblock(file: &dyn DeviceFile, superblock: &Superblock) -> io::Result<u64> {
    let bytes = superblock.encode();
    let slot = bytes.len() as u64 * (superblock.slot % 2);
    region::write_all(file, &mut [io::IoSlice::new(&bytes)], slot)?;
    file.sync_data()?;
    Ok(bytes.len() as u64)
}
