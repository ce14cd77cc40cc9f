//! Eviction: takes the oldest region for what comes next, and writes again what in it was asked for.
//!
//! Decides which objects are worth their bytes: those with hits since they were written, the most hits per byte
//! first, at most half a region of them. Called by the writer when it begins the last free region.

use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::append::OpenRegion;
use super::{Location, ReadError, RegionState, Volume};
use crate::store::disk::format::{REGION_RECORDS_MAX, RecordHeader, TOC_ENTRY_BYTES};
use crate::store::disk::index::Found;
use crate::store::disk::region;
use crate::store::disk::stats::Eviction;

/// Why a record was not copied.
enum CopyError {
    /// It could not be read: it alone is lost.
    Read,
    /// The open region could not be written: nothing more is copied.
    Write(io::Error),
}

impl Volume {
    /// Frees the oldest region; what has hits goes to `open`. Returns the region that is free now.
    ///
    /// # Errors
    /// If `open` cannot be written; the region is free all the same. `NotFound` if no other region is in use.
    pub(super) fn reclaim_oldest(&self, open: Option<&mut OpenRegion>) -> io::Result<u16> {
        let keep = open.as_ref().map(|open| open.region);
        let epoch = |state: &RegionState| state.epoch.load(Ordering::SeqCst);
        let in_use = |(state, region): &(&RegionState, u16)| Some(*region) != keep && epoch(state) > 0;
        let oldest = self.regions.iter().zip(0_u16..).filter(in_use).min_by_key(|(state, _)| epoch(state));
        let Some((state, region)) = oldest else { return Err(io::ErrorKind::NotFound.into()) };
        state.admits.store(0, Ordering::SeqCst);
        let mut hot = Vec::new();
        self.index.remove_all(
            |found| {
                let here = found.region == region;
                if here && found.hits > 0 {
                    hot.push(*found);
                }
                here && found.hits == 0
            },
            |found| self.evicted(&found, Eviction::Size),
        );
        let copied = open.map_or(Ok(()), |open| self.reinsert(&mut hot, open));
        self.index.remove_all(|found| found.region == region, |found| self.evicted(&found, Eviction::Size));
        state.epoch.store(0, Ordering::SeqCst);
        self.stats.reclaimed_regions.fetch_add(1, Ordering::Relaxed);
        copied.map(|()| region)
    }

    /// Copies the best of `hot`, up to half a region.
    fn reinsert(&self, hot: &mut [Found], open: &mut OpenRegion) -> io::Result<()> {
        // Hits per byte, compared without division: most first.
        hot.sort_by(|one, other| {
            let weight = |a: &Found, b: &Found| u64::from(a.hits) * b.record_bytes();
            weight(other, one).cmp(&weight(one, other))
        });
        let mut room = self.layout.region_bytes / 2;
        for found in hot.iter() {
            // Newer meta bytes may be longer than those they replace.
            let longer = found.meta.map_or(0, |meta| u64::from(meta.meta_len));
            let bytes = found.record_bytes() + longer + TOC_ENTRY_BYTES as u64;
            if bytes > room || open.toc.len() >= REGION_RECORDS_MAX / 2 {
                continue;
            }
            match self.copy(found, open) {
                Ok(()) => room -= bytes,
                Err(CopyError::Read) => {}
                Err(CopyError::Write(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Copies one record to the open region's end, a block at a time, with its newest meta bytes, and tells the index.
    fn copy(&self, found: &Found, open: &mut OpenRegion) -> Result<(), CopyError> {
        let hash = found.record.hash;
        let Some(location) = self.look_up(hash, false).filter(|now| now.found.is_at(found)) else {
            return Err(CopyError::Read);
        };
        let unreadable = |error: ReadError| {
            self.judge(&location, error);
            CopyError::Read
        };
        let head = self.read_record(&location, true, false).map_err(unreadable)?;
        let meta = self.newest_meta(&location, &head, false).map_err(unreadable)?;
        let header = RecordHeader {
            meta_len: u32::try_from(meta.len()).unwrap_or(u32::MAX),
            epoch: open.epoch,
            sequence: self.next_sequence.fetch_add(1, Ordering::SeqCst),
            ..head.header
        };
        let first = head.first_block().map_err(|fault| unreadable(ReadError::Corrupt(fault)))?;
        let encoded = header.encode_head(head.key(), &meta, &head.checksums, self.layout.seed);
        let mut at = open.tail;
        let mut write = |bytes: &[u8], more: &Bytes| {
            let mut slices = [IoSlice::new(bytes), IoSlice::new(more)];
            let written = self.put(open.region, &mut slices, at);
            at += (bytes.len() + more.len()) as u64;
            written.map_err(CopyError::Write)
        };
        write(&encoded, &first)?;
        for index in 1..head.checksums.len() {
            let file = self.file(found.region).map_err(unreadable)?;
            let block = region::read_block(file, &location.found.record, &head.checksums, index, false);
            write(&[], &block.map_err(unreadable)?)?;
        }
        self.moved(&location, &header, open);
        Ok(())
    }

    /// Tells the index of a copy, unless the object was removed or replaced meanwhile.
    fn moved(&self, from: &Location, header: &RecordHeader, open: &mut OpenRegion) {
        let entry = open.push(header);
        self.stats.reinserted.add(header.record_bytes());
        self.relocate(&from.found, &entry, open.region);
    }
}
