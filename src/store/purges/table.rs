//! The purges in force: for each thing that was purged, the latest soft and the latest hard generation. Pure.
//!
//! Decides what has become of an object fetched at a generation. The table is bounded: beyond [`PURGES_MAX`] entries the
//! oldest are folded into a floor, below which every object counts as purged.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::names::{Known, Name};
use super::{PurgeMode, START_SHIFT};
use crate::store::disk::{NOTE_BYTES, Note};

/// Things that are remembered as purged, at most, each with its latest soft and its latest hard purge. Beyond it the
/// purges of the oldest count for every object that was fetched before them, whatever it is. 64 bytes each in a disk's
/// journal, about 150 in memory.
pub const PURGES_MAX: usize = 65_536;

/// The latest purges of one thing. A generation of 0: there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    soft: u64,
    /// When the soft one was: milliseconds since 1970.
    soft_at: u64,
    hard: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    stamp: Stamp,
    prefix_len: Option<u32>,
}

/// What purges have made of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Stands,
    /// Its lifetime ended.
    Expired {
        /// The latest purge that names it.
        generation: u64,
        /// When its lifetime ended.
        at: SystemTime,
    },
    /// It is not to be served.
    Gone,
}

/// The purges in force.
#[derive(Debug)]
pub(super) struct Table {
    entries: HashMap<u128, Entry>,
    /// By latest generation, the oldest first.
    order: BTreeSet<(u64, u128)>,
    /// How many prefixes there are of each length.
    prefix_lens: BTreeMap<u32, usize>,
    /// What counts for every object.
    floor: Stamp,
    entries_max: usize,
}

/// What stands at the beginning of a [`Note`].
const NOTE_ENTRY: u8 = 1;
const NOTE_FLOOR: u8 = 2;
const NOTE_BOOT: u8 = 3;
const NO_PREFIX: u32 = u32::MAX;

impl Stamp {
    fn latest(&self) -> u64 {
        self.soft.max(self.hard)
    }

    /// Takes over whatever is later in another one.
    fn raise(&mut self, other: Stamp) {
        if other.soft > self.soft {
            (self.soft, self.soft_at) = (other.soft, other.soft_at);
        }
        self.hard = self.hard.max(other.hard);
    }
}

impl Table {
    pub(super) fn new(entries_max: usize) -> Table {
        Table {
            entries: HashMap::new(),
            order: BTreeSet::new(),
            prefix_lens: BTreeMap::new(),
            floor: Stamp::default(),
            entries_max,
        }
    }

    /// Things remembered as purged.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Notes a purge; a name of None is everything. Gives what is to be remembered of it.
    pub(super) fn note(
        &mut self,
        name: Option<Name>,
        mode: PurgeMode,
        generation: u64,
        now: SystemTime,
    ) -> Note {
        let stamp = match mode {
            PurgeMode::Soft => Stamp { soft: generation, soft_at: since_epoch(now), hard: 0 },
            PurgeMode::Hard => Stamp { hard: generation, ..Stamp::default() },
        };
        match name {
            Some(name) => self.raise(name, stamp),
            None => self.raise_floor(stamp),
        }
        encode(name, stamp)
    }

    /// What has become of an object that was fetched at generation `since`.
    pub(super) fn judge(&self, known: &Known<'_>, since: u64) -> Verdict {
        let mut hard = self.floor.hard;
        let mut soft: Option<(u64, u64)> = None;
        let mut weigh = |stamp: &Stamp| {
            hard = hard.max(stamp.hard);
            if stamp.soft > since {
                let (latest, first) = soft.unwrap_or((0, u64::MAX));
                soft = Some((latest.max(stamp.soft), first.min(stamp.soft_at)));
            }
        };
        weigh(&self.floor);
        // Nothing later is remembered than the last of these.
        if self.order.last().is_some_and(|(latest, _)| *latest > since) {
            known.each(self.prefix_lens.keys().copied(), |name| {
                if let Some(entry) = self.entries.get(&name) {
                    weigh(&entry.stamp);
                }
            });
        }
        match soft {
            _ if hard > since => Verdict::Gone,
            Some((generation, at)) => {
                Verdict::Expired { generation, at: UNIX_EPOCH + Duration::from_millis(at) }
            }
            None => Verdict::Stands,
        }
    }

    fn raise(&mut self, name: Name, stamp: Stamp) {
        let mut entry = Entry { stamp: Stamp::default(), prefix_len: name.prefix_len };
        if let Some(earlier) = self.take(name.hash) {
            entry.stamp = earlier.stamp;
        }
        entry.stamp.raise(stamp);
        let (soft, hard) = (self.floor.soft.max(self.floor.hard), self.floor.hard);
        if entry.stamp.soft <= soft && entry.stamp.hard <= hard {
            // It says no more than the floor.
            return;
        }
        self.put(name.hash, entry);
        while self.entries.len() > self.entries_max {
            let Some((_, oldest)) = self.order.first().copied() else { break };
            if let Some(folded) = self.take(oldest) {
                self.floor.raise(folded.stamp);
            }
        }
    }

    /// Everything is purged: what has been said of single things before is said of all now.
    fn raise_floor(&mut self, stamp: Stamp) {
        self.floor.raise(stamp);
        let Stamp { soft, hard, .. } = self.floor;
        let held: Vec<(u128, Entry)> = self.entries.iter().map(|(name, entry)| (*name, *entry)).collect();
        for (name, mut entry) in held {
            self.take(name);
            if entry.stamp.soft <= soft.max(hard) {
                (entry.stamp.soft, entry.stamp.soft_at) = (0, 0);
            }
            if entry.stamp.hard <= hard {
                entry.stamp.hard = 0;
            }
            if entry.stamp.latest() > 0 {
                self.put(name, entry);
            }
        }
    }

    fn put(&mut self, name: u128, entry: Entry) {
        self.order.insert((entry.stamp.latest(), name));
        if let Some(len) = entry.prefix_len {
            *self.prefix_lens.entry(len).or_default() += 1;
        }
        self.entries.insert(name, entry);
    }

    fn take(&mut self, name: u128) -> Option<Entry> {
        let entry = self.entries.remove(&name)?;
        self.order.remove(&(entry.stamp.latest(), name));
        if let Some(len) = entry.prefix_len
            && let Some(count) = self.prefix_lens.get_mut(&len)
        {
            *count -= 1;
            if *count == 0 {
                self.prefix_lens.remove(&len);
            }
        }
        Some(entry)
    }
}

// === impl Table: what is kept on disks ===

impl Table {
    /// All that is to be remembered, the number of this start included.
    pub(super) fn notes(&self, boot: u64) -> Vec<Note> {
        let entries = self.entries.iter().map(|(hash, entry)| {
            encode(Some(Name { hash: *hash, prefix_len: entry.prefix_len }), entry.stamp)
        });
        let boot = encode_as(NOTE_BOOT, NO_PREFIX, Stamp { hard: boot, ..Stamp::default() }, 0);
        [boot, encode(None, self.floor)].into_iter().chain(entries).collect()
    }

    /// Takes in what was remembered; gives the number of the start, where the note tells it. None: it is no note.
    pub(super) fn take_in(&mut self, note: &Note) -> Option<u64> {
        let field = |at: usize| Some(u64::from_le_bytes(note.get(at..at + 8)?.try_into().ok()?));
        let prefix_len = u32::from_le_bytes(note.get(4..8)?.try_into().ok()?);
        let stamp = Stamp { soft: field(8)?, soft_at: field(16)?.min(MILLIS_MAX), hard: field(24)? };
        let hash = u128::from_le_bytes(note.get(32..48)?.try_into().ok()?);
        match *note.first()? {
            NOTE_ENTRY => {
                let prefix_len = (prefix_len != NO_PREFIX).then_some(prefix_len);
                self.raise(Name { hash, prefix_len }, stamp);
            }
            NOTE_FLOOR => self.raise_floor(stamp),
            NOTE_BOOT => return Some(stamp.hard),
            _ => return None,
        }
        Some(stamp.latest() >> START_SHIFT)
    }
}

/// The latest time that is read back: far from overflow.
const MILLIS_MAX: u64 = 1 << 50;

fn since_epoch(time: SystemTime) -> u64 {
    let span = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(span.as_millis()).unwrap_or(MILLIS_MAX).min(MILLIS_MAX)
}

fn encode(name: Option<Name>, stamp: Stamp) -> Note {
    match name {
        Some(name) => encode_as(NOTE_ENTRY, name.prefix_len.unwrap_or(NO_PREFIX), stamp, name.hash),
        None => encode_as(NOTE_FLOOR, NO_PREFIX, stamp, 0),
    }
}

fn encode_as(kind: u8, prefix_len: u32, stamp: Stamp, hash: u128) -> Note {
    let mut note = [0; NOTE_BYTES];
    let parts: [(usize, &[u8]); 6] = [
        (0, &[kind]),
        (4, &prefix_len.to_le_bytes()),
        (8, &stamp.soft.to_le_bytes()),
        (16, &stamp.soft_at.to_le_bytes()),
        (24, &stamp.hard.to_le_bytes()),
        (32, &hash.to_le_bytes()),
    ];
    for (at, bytes) in parts {
        if let Some(place) = note.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
    note
}
