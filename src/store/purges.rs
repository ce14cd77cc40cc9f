//! Purges: what is no longer to be served, whatever its lifetime says.
//!
//! A purge looks at no object. It notes its generation for what it names ([`table`]), in memory and on every disk, and
//! each object notes the generation at which its fetch began: a look-up that finds an object compares one number, and
//! only after a purge looks whether that names the object. One that was purged hard is removed then, one that was purged
//! softly is replaced by one around the same body whose lifetime has ended: whoever serves, refreshes or confirms objects
//! sees lifetimes alone. Slices are not looked at: a head is the only way to them ([`super::Version`]).

mod names;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use quick_cache::sync::EntryAction;

use super::disk::{DiskError, DiskTier, Note};
use super::{Object, Store};
use crate::clock::Clock;
use names::{Known, Name};
use table::{Table, Verdict};

pub use names::tag_hash;
pub use table::PURGES_MAX;

/// What a purge names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PurgeTarget {
    /// One path and query of a site, as its key has them, with all variants and slices, and with what was asked for there with
    /// directives (`_HLS_*`).
    Url {
        /// The site's name.
        site: String,
        /// Path and query, normalised, the parameters that count alone.
        target: String,
    },
    /// All paths of a site that begin so.
    Prefix {
        /// The site's name.
        site: String,
        /// Beginning of the path, normalised.
        path: String,
    },
    /// All objects that carry a tag.
    Tag {
        /// The site's name; None: of every site.
        site: Option<String>,
        /// The tag.
        tag: String,
    },
    /// All objects of a site.
    Site(String),
    /// All objects.
    Everything,
}

/// What becomes of purged objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PurgeMode {
    /// They are expired: asked for again before they are served, and kept for when the origin fails.
    #[default]
    Soft,
    /// They are not served again.
    Hard,
}

impl PurgeTarget {
    /// Every word of [`PurgeTarget::scope`].
    pub const SCOPES: [&str; 5] = ["url", "prefix", "tag", "site", "everything"];

    /// What kind of thing is named: the word in metrics and logs.
    pub fn scope(&self) -> &'static str {
        match self {
            PurgeTarget::Url { .. } => "url",
            PurgeTarget::Prefix { .. } => "prefix",
            PurgeTarget::Tag { .. } => "tag",
            PurgeTarget::Site(_) => "site",
            PurgeTarget::Everything => "everything",
        }
    }

    /// The site that it is about, and what of it is named: the fields `site` and `named` of logs.
    pub fn named(&self) -> (Option<&str>, Option<&str>) {
        match self {
            PurgeTarget::Url { site, target } => (Some(site), Some(target)),
            PurgeTarget::Prefix { site, path } => (Some(site), Some(path)),
            PurgeTarget::Tag { site, tag } => (site.as_deref(), Some(tag)),
            PurgeTarget::Site(site) => (Some(site), None),
            PurgeTarget::Everything => (None, None),
        }
    }
}

impl PurgeMode {
    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            PurgeMode::Soft => "soft",
            PurgeMode::Hard => "hard",
        }
    }
}

/// Bits of a generation below the number of the start. The purges of one start that these do not hold count on into the
/// next numbers, which the clock has passed by then: nobody purges 4096 things in a millisecond. Until the year 2039 each
/// generation is a number that every reader of JSON takes exactly (below 2^53).
const START_SHIFT: u32 = 12;

/// The highest number of a start that a clock gives, in the year 2248: far from overflow.
const START_MAX: u64 = 1 << 43;

/// The purges in force, and the generation that they have come to.
#[derive(Debug)]
pub(super) struct Purges {
    /// The generation of the latest purge: the number of the start in the high bits. With disks, that is the millisecond
    /// of the start, or the next higher one that no disk knows: a disk that was out of use for some starts then has lower
    /// ones than the disks that noted purges meanwhile.
    latest: AtomicU64,
    table: Arc<RwLock<Table>>,
    boot: u64,
    clock: Clock,
}

impl Purges {
    /// The purges that the disks remember; their journals are begun anew.
    pub(super) fn open(disk: Option<&DiskTier>) -> Purges {
        let mut table = Table::new(PURGES_MAX);
        let notes = disk.map(DiskTier::take_notes).unwrap_or_default();
        let last = notes.iter().filter_map(|note| table.take_in(note)).max().unwrap_or(0);
        let clock = Clock::system();
        let boot =
            last.saturating_add(1).max(if disk.is_some() { millis(clock.now()).min(START_MAX) } else { 0 });
        if let Some(disk) = disk {
            disk.begin_journals(&|| table.notes(boot));
        }
        let latest = AtomicU64::new(boot << START_SHIFT);
        Purges { latest, table: Arc::new(RwLock::new(table)), boot, clock }
    }

    fn latest(&self) -> u64 {
        self.latest.load(Ordering::Acquire)
    }

    /// Notes a purge, in memory; gives its generation, and what disks are to remember.
    fn note(&self, target: &PurgeTarget, mode: PurgeMode) -> (u64, Note) {
        let mut table = self.table.write();
        let generation = self.latest() + 1;
        let note = table.note(Name::of(target), mode, generation, self.clock.now());
        // After the table: who reads the number finds the entry.
        self.latest.store(generation, Ordering::Release);
        (generation, note)
    }

    /// Whether no purge has come since an object was looked at.
    #[inline]
    fn has_checked(&self, object: &Object) -> bool {
        object.checked.load(Ordering::Acquire) == self.latest()
    }

    /// What purges have made of an object. What they have not touched is noted to be so.
    fn judge(&self, object: &Object) -> Verdict {
        let latest = self.latest();
        if object.checked.load(Ordering::Acquire) == latest {
            return Verdict::Stands;
        }
        let since = object.provenance.generation.max(object.purged_at);
        let judge = || self.table.read().judge(&Known::of(object), since);
        let verdict = if object.key.is_slice() { Verdict::Stands } else { judge() };
        if verdict == Verdict::Stands {
            object.checked.store(latest, Ordering::Release);
        }
        verdict
    }
}

/// Milliseconds since 1970.
fn millis(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

impl Store {
    /// Takes the time of purges from this clock.
    pub fn use_clock(&mut self, clock: Clock) {
        self.purges.clock = clock;
    }

    /// The generation of fetches that begin now.
    pub fn generation(&self) -> u64 {
        self.purges.latest()
    }

    /// Purges: in force for every look-up from the moment this returns, and for fetches under way. What it returns waits
    /// for the disks to note it, and gives the generation that it began. Takes the same time however many objects there
    /// are.
    ///
    /// # Errors
    /// When a disk could not note it: it is in force, and may be forgotten at a restart.
    pub fn purge(
        &self,
        target: &PurgeTarget,
        mode: PurgeMode,
    ) -> impl Future<Output = Result<u64, DiskError>> + Send + 'static + use<> {
        let (generation, note) = self.purges.note(target, mode);
        self.metrics.purged(target, mode);
        let (table, boot) = (Arc::clone(&self.purges.table), self.purges.boot);
        let disk = self.disk.clone();
        async move {
            if let Some(disk) = disk {
                disk.note(note, &(Arc::new(move || table.read().notes(boot)) as _)).await?;
            }
            Ok(generation)
        }
    }

    /// Objects in memory that a purge would name now; one in slices is one. Looks at every object.
    pub fn count_named(&self, target: &PurgeTarget) -> u64 {
        let named = |object: &Arc<Object>| {
            !object.key.text.is_empty()
                && !object.key.is_slice()
                && Known::of(object).is_named_by(target)
                && !self.is_gone(object)
        };
        self.index.iter().filter(|(_, object)| named(object)).count() as u64
    }

    /// Whether a purge has named an object since its fetch began.
    pub fn is_purged(&self, object: &Object) -> bool {
        self.purges.judge(object) != Verdict::Stands
    }

    /// Whether an object is not to be served any more, not even because the origin fails.
    pub fn is_gone(&self, object: &Object) -> bool {
        self.purges.judge(object) == Verdict::Gone
    }

    /// Things remembered as purged.
    pub(super) fn purge_entries(&self) -> usize {
        self.purges.table.read().len()
    }

    /// What a look-up in memory gives of what it has found.
    pub(super) fn stands(&self, object: Arc<Object>) -> Option<Arc<Object>> {
        if self.purges.has_checked(&object) {
            return Some(object);
        }
        match self.purges.judge(&object) {
            Verdict::Stands => Some(object),
            Verdict::Expired { generation, at } => {
                let expired = Arc::new(object.expired(generation, at));
                self.replace(&object, &expired);
                Some(expired)
            }
            Verdict::Gone => {
                self.remove_purged(&object);
                None
            }
        }
    }

    /// What a look-up on disk gives of what it has found.
    pub(super) fn stands_on_disk(&self, disk: &DiskTier, object: Object) -> Option<Object> {
        match self.purges.judge(&object) {
            Verdict::Stands => Some(object),
            Verdict::Expired { generation, at } => Some(object.expired(generation, at)),
            Verdict::Gone => {
                disk.remove_purged(&object.key.text);
                None
            }
        }
    }

    /// Puts an object in memory in the place of another one around the same body, if that is still there.
    fn replace(&self, old: &Arc<Object>, new: &Arc<Object>) {
        let mut replaced = None;
        let _vacant = self.index.entry(&old.key.hash, Some(std::time::Duration::ZERO), |_, held| {
            if Arc::ptr_eq(held, old) {
                replaced = Some(std::mem::replace(held, Arc::clone(new)));
            }
            EntryAction::Retain(())
        });
        if let Some(replaced) = replaced {
            replaced.disk.supersede();
            self.watch(new);
        }
    }

    /// Removes an object from both tiers, if it is still there.
    fn remove_purged(&self, object: &Arc<Object>) {
        let hash = object.key.hash;
        if self.index.remove_if(&hash, |held| Arc::ptr_eq(held, object)).is_some() {
            self.metrics.purged_objects.inc();
            object.disk.supersede();
            if let Some(disk) = &self.disk {
                disk.remove_purged(&object.key.text);
            }
        }
    }
}

#[cfg(test)]
mod tests;
