//! What a volume holds, in memory: from a key's hash to the place of its record.
//!
//! Sharded; a look-up takes one shard's lock for reading, and no input or output happens under a lock. Does not know
//! what is on disk: the volume tells it after a write, recovery tells it what it finds.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU8, Ordering};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;
use parking_lot::RwLock;

use super::format::{ALIGN, Kind, TocEntry, record_bytes};

/// Shards of the index: a power of two.
const SHARDS: usize = 256;

/// The index of a volume.
#[derive(Debug)]
pub struct Index {
    shards: Box<[RwLock<Shard>]>,
}

#[derive(Debug, Default)]
struct Shard {
    entries: Table<Entry>,
    /// Where the newer meta bytes of an entry stand, for those that have any.
    metas: Table<MetaAt>,
}

type Table<T> = HashMap<u128, T, BuildHasherDefault<KeyIsHash>>;

/// One object: 32 bytes, and 16 of its hash.
#[derive(Debug)]
pub struct Entry {
    generation: u64,
    place: u32,
    meta_len: u32,
    body_len: u32,
    region: u16,
    key_len: u16,
    site: u16,
    has_meta: bool,
    hits: AtomicU8,
}

/// Where newer meta bytes of an object stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaAt {
    /// The region.
    pub region: u16,
    /// The region's epoch.
    pub epoch: u64,
    /// Begin of the meta record, in units of [`ALIGN`].
    pub place: u32,
    /// Bytes of meta.
    pub meta_len: u32,
}

/// An object as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its record.
    pub record: TocEntry,
    /// The region that the record is in.
    pub region: u16,
    /// Its newer meta bytes.
    pub meta: Option<MetaAt>,
    /// How often it was looked up since it was written, up to 255.
    pub hits: u8,
}

/// What became of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// There was nothing under the hash.
    New,
    /// In place of an older generation.
    Replaced(Found),
    /// The same or a newer generation is there, or the caller's condition did not hold.
    Refused,
}

/// Passes the low half of a hash on as it is: it is a seeded hash of the key already.
#[derive(Default)]
pub struct KeyIsHash(u64);

// === impl Index ===

impl Default for Index {
    fn default() -> Self {
        Index { shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }
}

impl Index {
    /// The object of this hash, with what `under_lock` says of its region while it is sure to be in it. Counts as a hit
    /// if `mark`.
    pub fn find<T>(&self, hash: u128, mark: bool, under_lock: impl FnOnce(u16) -> T) -> Option<(Found, T)> {
        let shard = self.shard(hash).read();
        let entry = shard.entries.get(&hash)?;
        if mark {
            let hits = entry.hits.load(Ordering::Relaxed);
            // Two at once may count as one: what counts is whether, and about how often.
            entry.hits.store(hits.saturating_add(1), Ordering::Relaxed);
        }
        Some((shard.found(hash, entry), under_lock(entry.region)))
    }

    /// Whether there is an object of this hash; no hit.
    pub fn contains(&self, hash: u128) -> bool {
        self.shard(hash).read().entries.contains_key(&hash)
    }

    /// Puts an object in, unless one of the same or a newer generation is there or `admit`, asked under the lock, says
    /// no. A record that is no object is refused.
    pub fn insert(
        &self,
        record: &TocEntry,
        region: u16,
        meta: Option<MetaAt>,
        admit: impl FnOnce() -> bool,
    ) -> Inserted {
        if record.kind != Kind::Object {
            return Inserted::Refused;
        }
        let mut shard = self.shard(record.hash).write();
        let shard = &mut *shard;
        let old = shard.entries.get(&record.hash).map(|entry| shard.found(record.hash, entry));
        if old.is_some_and(|old| old.record.generation >= record.generation) || !admit() {
            return Inserted::Refused;
        }
        shard.entries.insert(record.hash, Entry::new(record, region, meta.is_some()));
        match meta {
            Some(meta) => shard.metas.insert(record.hash, meta),
            None => shard.metas.remove(&record.hash),
        };
        old.map_or(Inserted::New, Inserted::Replaced)
    }

    /// Moves an object from the place that `from` says to `to`, if it is still there, and calls `then` under the lock;
    /// its hits begin at 0 again.
    pub fn relocate(&self, from: &Found, to: &TocEntry, region: u16, then: impl FnOnce()) -> bool {
        let mut shard = self.shard(to.hash).write();
        let same = |entry: &&mut Entry| entry.is_at(from);
        let Some(entry) = shard.entries.get_mut(&to.hash).filter(same) else { return false };
        *entry = Entry::new(to, region, false);
        shard.metas.remove(&to.hash);
        then();
        true
    }

    /// Gives an object of this generation newer meta bytes.
    pub fn set_meta(&self, hash: u128, generation: u64, meta: MetaAt) -> bool {
        let mut shard = self.shard(hash).write();
        match shard.entries.entry(hash) {
            Slot::Occupied(mut slot) if slot.get().generation == generation => slot.get_mut().has_meta = true,
            _ => return false,
        }
        shard.metas.insert(hash, meta);
        true
    }

    /// Removes the object of this hash if `condition` holds of it.
    pub fn remove_if(&self, hash: u128, condition: impl FnOnce(&Found) -> bool) -> Option<Found> {
        let mut shard = self.shard(hash).write();
        let found = shard.found(hash, shard.entries.get(&hash)?);
        if !condition(&found) {
            return None;
        }
        shard.entries.remove(&hash);
        shard.metas.remove(&hash);
        Some(found)
    }

    /// Removes every object of which `condition` holds, and tells `removed` of it. Goes through the whole index, a
    /// shard at a time.
    pub fn remove_all(&self, mut condition: impl FnMut(&Found) -> bool, mut removed: impl FnMut(Found)) {
        for shard in &self.shards {
            let mut shard = shard.write();
            let Shard { entries, metas } = &mut *shard;
            entries.retain(|hash, entry| {
                let found = entry.found(*hash, metas);
                let gone = condition(&found);
                if gone {
                    metas.remove(hash);
                    removed(found);
                }
                !gone
            });
        }
    }

    /// Shows every object, a shard at a time under its lock for reading: `see` is quick and does not call the index.
    pub fn for_each(&self, mut see: impl FnMut(Found)) {
        for shard in &self.shards {
            let shard = shard.read();
            shard.entries.iter().for_each(|(hash, entry)| see(shard.found(*hash, entry)));
        }
    }

    /// Bytes of memory that the index takes.
    pub fn bytes(&self) -> u64 {
        let fixed = std::mem::size_of_val::<[RwLock<Shard>]>(&self.shards) as u64;
        let tables = self.shards.iter().map(|shard| {
            let shard = shard.read();
            (shard.entries.allocation_size() + shard.metas.allocation_size()) as u64
        });
        fixed + tables.sum::<u64>()
    }

    /// The shard comes from the high half of the hash: the tables within use the low half.
    fn shard(&self, hash: u128) -> &RwLock<Shard> {
        let [.., byte] = (hash >> 64).to_be_bytes();
        // There are as many shards as a byte has values.
        &self.shards[usize::from(byte)]
    }
}

impl Shard {
    fn found(&self, hash: u128, entry: &Entry) -> Found {
        entry.found(hash, &self.metas)
    }
}

// === impl Entry ===

impl Entry {
    fn new(record: &TocEntry, region: u16, has_meta: bool) -> Entry {
        Entry {
            generation: record.generation,
            place: record.place,
            meta_len: record.meta_len,
            body_len: record.body_len,
            region,
            key_len: record.key_len,
            site: record.site,
            has_meta,
            hits: AtomicU8::new(0),
        }
    }

    fn found(&self, hash: u128, metas: &Table<MetaAt>) -> Found {
        let record = TocEntry {
            kind: Kind::Object,
            site: self.site,
            key_len: self.key_len,
            meta_len: self.meta_len,
            body_len: self.body_len,
            place: self.place,
            generation: self.generation,
            hash,
        };
        let meta = if self.has_meta { metas.get(&hash).copied() } else { None };
        Found { record, region: self.region, meta, hits: self.hits.load(Ordering::Relaxed) }
    }

    fn is_at(&self, found: &Found) -> bool {
        (self.generation, self.region, self.place)
            == (found.record.generation, found.region, found.record.place)
    }
}

// === impl Found ===

impl Found {
    /// Bytes that the record takes on disk.
    pub const fn record_bytes(&self) -> u64 {
        record_bytes(self.record.key_len, self.record.meta_len, self.record.body_len)
    }

    /// Whether this is the same record of the same object.
    pub fn is_at(&self, other: &Found) -> bool {
        (self.record.generation, self.region, self.record.place)
            == (other.record.generation, other.region, other.record.place)
    }
}

impl MetaAt {
    /// Begin of the meta record, in bytes from the region's begin.
    pub const fn offset(&self) -> u64 {
        self.place as u64 * ALIGN
    }
}

// === impl KeyIsHash ===

impl Hasher for KeyIsHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only reached for keys that are not `u128`, of which there are none; a plain fold keeps it right all the same.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, hash: u128) {
        // The low half, wholly.
        self.0 = u64::try_from(hash & u128::from(u64::MAX)).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use xxhash_rust::xxh3::xxh3_128_with_seed;

    fn record(number: u64, generation: u64) -> TocEntry {
        TocEntry {
            kind: Kind::Object,
            site: 1,
            key_len: 40,
            meta_len: 300,
            body_len: 1 << 20,
            place: 512,
            generation,
            hash: xxh3_128_with_seed(&number.to_le_bytes(), 7),
        }
    }

    #[test]
    fn a_tracked_object_costs_at_most_256_bytes() {
        let index = Index::default();
        let mut count = 0;
        // At every fill of the tables, not at a lucky one; small counts pay the fixed part.
        for target in [20_000, 40_000, 60_000, 100_000, 130_000] {
            while count < target {
                let meta = MetaAt { region: 1, epoch: 1, place: 1, meta_len: 1 };
                // Every one with newer meta bytes: the dearest case.
                index.insert(&record(count, 1), 0, Some(meta), || true);
                count += 1;
            }
            let each = index.bytes() / count;
            assert!(each <= 256, "{each} bytes for each of {count}");
        }
        assert_eq!(std::mem::size_of::<(u128, Entry)>(), 48);
    }

    #[test]
    fn the_newer_generation_wins_whatever_comes_first() {
        let index = Index::default();
        assert_eq!(index.insert(&record(1, 5), 0, None, || true), Inserted::New);
        assert_eq!(index.insert(&record(1, 4), 1, None, || true), Inserted::Refused);
        assert_eq!(index.insert(&record(1, 5), 1, None, || true), Inserted::Refused);
        assert!(
            matches!(index.insert(&record(1, 6), 2, None, || true), Inserted::Replaced(old) if old.region == 0)
        );
        assert_eq!(index.insert(&record(1, 7), 3, None, || false), Inserted::Refused);
        let (found, ()) = index.find(record(1, 0).hash, false, |_| ()).unwrap();
        assert_eq!((found.region, found.record.generation), (2, 6));
    }

    #[test]
    fn an_object_is_moved_only_from_where_it_was() {
        let index = Index::default();
        index.insert(&record(1, 5), 0, None, || true);
        let (old, ()) = index.find(record(1, 5).hash, true, |_| ()).unwrap();
        assert!(index.relocate(&old, &TocEntry { place: 9, ..record(1, 5) }, 3, || ()));
        assert!(
            !index.relocate(&old, &TocEntry { place: 10, ..record(1, 5) }, 4, || ()),
            "it is elsewhere by now"
        );
        let (new, ()) = index.find(record(1, 5).hash, false, |_| ()).unwrap();
        assert_eq!((new.region, new.record.place, new.hits), (3, 9, 0));
    }
}
