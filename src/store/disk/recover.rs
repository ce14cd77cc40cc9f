//! Recovery: gives the index what stood on disk when the volume was opened, while it already serves.
//!
//! Newest region first: tables of contents of sealed regions, a walk over the records of one that is not. What was
//! written or removed meanwhile wins over what is found. Called once after opening, on a thread of its own.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::format::{Kind, TocEntry};
use super::index::{Inserted, MetaAt};
use super::region::{self, Contents};
use super::volume::Volume;

/// What a recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Objects that are served again.
    pub objects: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Regions read.
    pub regions: u64,
    /// Objects that a newer one replaces, or that were removed, or whose region was used again meanwhile.
    pub superseded: u64,
    /// Records that were begun and not finished.
    pub torn: u64,
    /// Regions that the device did not let be read, or finished after a kill.
    pub unreadable_regions: u64,
    /// The first error of the device, or of writing the removals that waited for the end.
    pub error: Option<String>,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

/// What newer regions said of objects in older ones.
#[derive(Default)]
struct Replay {
    /// The newest meta record of each hash: the generation that it belongs to, and where it is.
    metas: HashMap<u128, (u64, MetaAt)>,
}

impl Volume {
    /// Makes all that stood on disk findable, as it is found. Ends early if `stop` becomes true.
    pub fn recover(&self, stop: &AtomicBool) -> Recovered {
        let mut recovered = Recovered::default();
        let mut regions = self.take_unrecovered();
        let mut replay = Replay::default();
        let mut newest = true;
        while let Some((epoch, region)) = regions.pop() {
            if stop.load(Ordering::Relaxed) {
                recovered.stopped = true;
                return recovered;
            }
            match self.recover_region(epoch, region, newest, &mut replay, &mut recovered) {
                Ok(()) => recovered.regions += 1,
                Err(error) => {
                    recovered.unreadable_regions += 1;
                    recovered.error.get_or_insert_with(|| error.to_string());
                }
            }
            newest = false;
        }
        if let Err(error) = self.recovery_ended() {
            // The removals stay in the queue; the next append writes them.
            recovered.error.get_or_insert_with(|| error.to_string());
        }
        recovered
    }

    fn recover_region(
        &self,
        epoch: u64,
        region: u16,
        newest: bool,
        replay: &mut Replay,
        recovered: &mut Recovered,
    ) -> io::Result<()> {
        let Some(file) = self.open_file(region) else { return Ok(()) };
        let contents = region::contents(file, self.layout(), epoch)?;
        recovered.torn += u64::from(contents.torn);
        for entry in contents.entries.iter().rev() {
            self.replay(entry, region, epoch, replay, recovered);
        }
        self.continue_or_seal(region, epoch, contents, newest)
    }

    fn replay(
        &self,
        entry: &TocEntry,
        region: u16,
        epoch: u64,
        replay: &mut Replay,
        recovered: &mut Recovered,
    ) {
        match entry.kind {
            Kind::Tombstone => self.found_removal(entry.hash, entry.generation),
            Kind::Meta => {
                let meta = MetaAt { region, epoch, place: entry.place, meta_len: entry.meta_len };
                replay.metas.entry(entry.hash).or_insert((entry.generation, meta));
            }
            Kind::Object => {
                let meta = replay.metas.get(&entry.hash);
                let meta =
                    meta.filter(|(generation, _)| *generation == entry.generation).map(|(_, meta)| *meta);
                match self.admit(entry, region, epoch, meta) {
                    Inserted::Refused => recovered.superseded += 1,
                    Inserted::New | Inserted::Replaced(_) => {
                        recovered.objects += 1;
                        recovered.bytes += entry.record_bytes();
                    }
                }
            }
        }
    }

    /// The newest region is written on, if nothing was written yet; another one without a table of contents gets one.
    fn continue_or_seal(&self, region: u16, epoch: u64, contents: Contents, newest: bool) -> io::Result<()> {
        if newest && self.continue_region(region, epoch, &contents)? {
            return Ok(());
        }
        if contents.sealed { Ok(()) } else { self.seal_found(region, epoch, contents) }
    }
}
