//! Writes: records into the open region, in one vectored write for many; tables of contents; the superblock.
//!
//! One writer at a time. The index is told after a write has succeeded: an error leaves it as it was, and the same
//! place is written again by the next append. What a failed write left there is not believed by recovery, because
//! sequence numbers are never used twice.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{KEY_BYTES_MAX, META_BYTES_MAX, RegionState, Volume, again, write_superblock};
use crate::store::disk::device::DeviceFile;
use crate::store::disk::format::{
    ALIGN, BLOCK_BYTES, Kind, REGION_HEADER_BYTES, REGION_RECORDS_MAX, RecordHeader, Superblock,
    TOC_ENTRY_BYTES, TRAILER_BYTES, TocEntry, encode_footer, encode_region_header, record_bytes, region_name,
};
use crate::store::disk::index::MetaAt;
use crate::store::disk::region;

/// Bytes that are written at once, unless a single record is larger.
const BATCH_BYTES: u64 = 8 * 1024 * 1024;

/// An object to be written.
#[derive(Clone, Copy, Debug)]
pub struct Append<'a> {
    /// Text of its key, 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: &'a str,
    /// Its site.
    pub site: u16,
    /// Its meta bytes, up to [`META_BYTES_MAX`].
    pub meta: &'a [u8],
    /// Its body, in whatever pieces it is there.
    pub body: &'a [Bytes],
}

/// Why an object was not written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The key is empty or longer than [`KEY_BYTES_MAX`].
    #[error("a key of {0} bytes cannot be stored: 1 to {KEY_BYTES_MAX} bytes can")]
    Key(usize),
    /// There are more meta bytes than [`META_BYTES_MAX`].
    #[error("{0} meta bytes cannot be stored: up to {META_BYTES_MAX} can")]
    Meta(usize),
    /// The record is larger than three eighths of a region.
    #[error("a record of {bytes} bytes cannot be stored: up to {most} can, three eighths of a region")]
    TooLarge {
        /// Bytes that it would take.
        bytes: u64,
        /// Bytes that it may take.
        most: u64,
    },
    /// The volume has been closed.
    #[error("the volume is closed")]
    Closed,
    /// The device failed.
    #[error("writing to the disk failed: {0}")]
    Io(#[from] io::Error),
}

/// What the writer alone knows.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) open: Option<OpenRegion>,
    /// Whether a region was begun since the volume was opened: older ones are not continued then.
    pub(super) began: bool,
    closed: bool,
    /// The region that holds removals which may not stand on the disk itself yet.
    unsynced: Option<u16>,
    superblock: Superblock,
    superblock_file: Arc<dyn DeviceFile>,
}

/// The region that is written to.
#[derive(Debug)]
pub(super) struct OpenRegion {
    pub(super) region: u16,
    pub(super) epoch: u64,
    pub(super) tail: u64,
    pub(super) toc: Vec<TocEntry>,
}

/// A record to be written.
struct Record<'a> {
    kind: Kind,
    site: u16,
    key: &'a [u8],
    meta: &'a [u8],
    body: &'a [Bytes],
    hash: u128,
    /// The generation that it refers to; an object has a new one.
    generation: Option<u64>,
}

/// A record of which all but its place in the write is settled.
struct Staged<'a> {
    /// Which of the results is its.
    result: usize,
    head: Vec<u8>,
    body: &'a [Bytes],
    header: RecordHeader,
}

type Results = Vec<Result<u64, AppendError>>;

// === impl Volume: what callers write ===

impl Volume {
    /// Writes objects, and the removals that wait. Each replaces what stood under its key; the result is its
    /// generation. Reclaims the oldest region when the open one is full: this may take the time of writing half a
    /// region.
    ///
    /// # Errors
    /// For each object [`AppendError`]; after an error nothing has changed for its key.
    pub fn append(&self, entries: &[Append<'_>]) -> Results {
        let mut writer = self.writer.lock();
        // A failure is told by the objects' own writes; the removals stay in the queue.
        let _ = self.write_removals(&mut writer);
        let records = entries.iter().map(|entry| Record {
            kind: Kind::Object,
            site: entry.site,
            key: entry.key.as_bytes(),
            meta: entry.meta,
            body: entry.body,
            hash: self.hash(entry.key),
            generation: None,
        });
        self.write_records(&mut writer, records)
    }

    /// Writes newer meta bytes for the object under this key; its body stays where it is. False if there is none.
    ///
    /// # Errors
    /// [`AppendError`]; the object keeps its old meta bytes then.
    pub fn append_meta(&self, key: &str, meta: &[u8]) -> Result<bool, AppendError> {
        let mut writer = self.writer.lock();
        let hash = self.hash(key);
        let Some(location) = self.look_up(hash, false) else { return Ok(false) };
        if usize::from(location.found.record.key_len) != key.len() {
            return Ok(false);
        }
        let record = Record {
            kind: Kind::Meta,
            site: location.site(),
            key: key.as_bytes(),
            meta,
            body: &[],
            hash,
            generation: Some(location.generation()),
        };
        self.write_records(&mut writer, std::iter::once(record))
            .into_iter()
            .collect::<Result<Vec<u64>, _>>()?;
        Ok(true)
    }

    /// Writes the removals that wait, and returns when they stand on the disk itself.
    ///
    /// # Errors
    /// [`AppendError`]; what was not written stays in the queue.
    pub fn flush_tombstones(&self) -> Result<(), AppendError> {
        let mut writer = self.writer.lock();
        self.write_removals(&mut writer)?;
        // They may have been written with an append, and not been synced.
        if let Some(region) = writer.unsynced {
            self.region_file(region)?.sync_data()?;
            writer.unsynced = None;
        }
        Ok(())
    }

    /// Voids all that the volume holds, for good. Its files stay, for what comes next.
    ///
    /// # Errors
    /// [`AppendError`]; nothing is served any more all the same, until a restart.
    pub fn clear(&self) -> Result<(), AppendError> {
        let mut writer = self.writer.lock();
        if writer.closed {
            return Err(AppendError::Closed);
        }
        writer.open = None;
        writer.began = true;
        self.regions.iter().for_each(|state| state.admits.store(0, Ordering::SeqCst));
        self.void_everything();
        self.regions.iter().for_each(|state| state.epoch.store(0, Ordering::SeqCst));
        self.write_barrier(&mut writer)
    }

    /// Writes what a quick start needs and ends the writing: removals, the open region's table of contents, the
    /// superblock. Reading goes on; the directory is given back when the volume is dropped.
    ///
    /// # Errors
    /// [`AppendError`]; the next start recovers as after a crash then.
    pub fn seal_and_close(&self) -> Result<(), AppendError> {
        let mut writer = self.writer.lock();
        if writer.closed {
            return Ok(());
        }
        let removals = self.write_removals(&mut writer);
        writer.closed = true;
        if let Some(open) = writer.open.take() {
            self.seal(&open)?;
        }
        removals?;
        writer.superblock.clean = true;
        self.write_superblock(&mut writer)
    }
}

// === impl Volume: records ===

impl Volume {
    /// Writes records in order, as many as may be at once. The results are their generations.
    fn write_records<'a>(&self, writer: &mut Writer, records: impl Iterator<Item = Record<'a>>) -> Results {
        self.appending.store(true, Ordering::SeqCst);
        let mut results = Results::new();
        let mut staged: Vec<Staged<'a>> = Vec::new();
        let mut staged_bytes = 0;
        for record in records {
            results.push(Err(AppendError::Closed));
            let result = results.len() - 1;
            let room = self.check(writer, &record).and_then(|bytes| {
                let fits = writer.open.as_ref().is_some_and(|open| {
                    open.fits(self.layout.region_bytes, staged_bytes + bytes, staged.len() + 1)
                });
                if !fits || staged_bytes + bytes > BATCH_BYTES {
                    self.commit(writer, std::mem::take(&mut staged), &mut results);
                    staged_bytes = 0;
                }
                self.make_room(writer, bytes)?;
                Ok(bytes)
            });
            match (room, &writer.open) {
                (Ok(bytes), Some(open)) => {
                    staged_bytes += bytes;
                    staged.push(self.stage(&record, open.epoch, result));
                }
                (Err(error), _) => set(&mut results, result, Err(error)),
                (Ok(_), None) => {}
            }
        }
        self.commit(writer, staged, &mut results);
        self.appending.store(false, Ordering::SeqCst);
        results
    }

    /// Bytes that the record takes, if it can be written at all.
    fn check(&self, writer: &Writer, record: &Record<'_>) -> Result<u64, AppendError> {
        if writer.closed {
            return Err(AppendError::Closed);
        }
        if record.kind != Kind::Tombstone && !(1..=KEY_BYTES_MAX).contains(&record.key.len()) {
            return Err(AppendError::Key(record.key.len()));
        }
        if record.meta.len() > META_BYTES_MAX {
            return Err(AppendError::Meta(record.meta.len()));
        }
        let most = self.record_bytes_max();
        let body = record.body_len();
        let (key_len, meta_len) = record.lens();
        match u32::try_from(body).map(|body| record_bytes(key_len, meta_len, body)) {
            Ok(bytes) if bytes <= most => Ok(bytes),
            Ok(bytes) => Err(AppendError::TooLarge { bytes, most }),
            Err(_) => Err(AppendError::TooLarge { bytes: body, most }),
        }
    }

    fn stage<'a>(&self, record: &Record<'a>, epoch: u64, result: usize) -> Staged<'a> {
        let sequence = self.next_sequence.fetch_add(1, Ordering::SeqCst);
        let (key_len, meta_len) = record.lens();
        let header = RecordHeader {
            kind: record.kind,
            site: record.site,
            key_len,
            meta_len,
            body_len: u32::try_from(record.body_len()).unwrap_or(u32::MAX),
            epoch,
            sequence,
            generation: record.generation.unwrap_or(sequence),
            hash: record.hash,
        };
        let checksums = block_checksums(record.body);
        let head = header.encode_head(record.key, record.meta, &checksums, self.layout.seed);
        Staged { result, head, body: record.body, header }
    }

    /// Writes what is staged, for which there is room, and tells the index.
    fn commit(&self, writer: &mut Writer, staged: Vec<Staged<'_>>, results: &mut Results) {
        let Some(open) = writer.open.as_mut().filter(|_| !staged.is_empty()) else { return };
        const FILL: [u8; ALIGN as usize] = [0; ALIGN as usize];
        let mut slices: Vec<IoSlice<'_>> = Vec::new();
        for one in &staged {
            slices.push(IoSlice::new(&one.head));
            slices.extend(one.body.iter().map(|piece| IoSlice::new(piece)));
            let used = one.header.head_bytes() + u64::from(one.header.body_len);
            let fill = usize::try_from(one.header.record_bytes() - used).unwrap_or(0);
            slices.push(IoSlice::new(FILL.get(..fill).unwrap_or_default()));
        }
        if let Err(error) = self.put(open.region, &mut slices, open.tail) {
            staged.iter().for_each(|one| set(results, one.result, Err(again(&error).into())));
            return;
        }
        for one in staged {
            let entry = open.push(&one.header);
            self.stats.appended.add(one.header.record_bytes());
            self.tell_index(&entry, open.region, open.epoch);
            set(results, one.result, Ok(entry.generation));
        }
    }

    /// Makes a record that has been written count.
    fn tell_index(&self, entry: &TocEntry, region: u16, epoch: u64) {
        match entry.kind {
            Kind::Object => {
                self.admit(entry, region, epoch, None);
            }
            Kind::Meta => {
                let meta = MetaAt { region, epoch, place: entry.place, meta_len: entry.meta_len };
                self.index.set_meta(entry.hash, entry.generation, meta);
            }
            Kind::Tombstone => {
                let mut removals = self.removals.lock();
                if removals.unwritten.get(&entry.hash) == Some(&entry.generation) {
                    removals.unwritten.remove(&entry.hash);
                }
            }
        }
    }

    /// Writes the removals that wait.
    fn write_removals(&self, writer: &mut Writer) -> Result<(), AppendError> {
        if self.removals.lock().barrier_unwritten {
            self.write_barrier(writer)?;
        }
        let waiting: HashMap<u128, u64> = self.removals.lock().unwritten.clone();
        let records = waiting.iter().map(|(hash, sequence)| Record {
            kind: Kind::Tombstone,
            site: 0,
            key: &[],
            meta: &[],
            body: &[],
            hash: *hash,
            generation: Some(*sequence),
        });
        let results = self.write_records(writer, records);
        if !results.is_empty() {
            // Those before it were synced when they were sealed.
            writer.unsynced = writer.open.as_ref().map(|open| open.region);
        }
        results.into_iter().collect::<Result<Vec<u64>, _>>().map(drop)
    }

    fn write_barrier(&self, writer: &mut Writer) -> Result<(), AppendError> {
        if writer.closed {
            return Err(AppendError::Closed);
        }
        writer.superblock.barrier = self.barrier.load(Ordering::SeqCst);
        self.write_superblock(writer)?;
        let mut removals = self.removals.lock();
        removals.barrier_unwritten = self.barrier.load(Ordering::SeqCst) != writer.superblock.barrier;
        Ok(())
    }

    fn write_superblock(&self, writer: &mut Writer) -> Result<(), AppendError> {
        let mut next = writer.superblock.clone();
        next.slot += 1;
        next.next_sequence = self.next_sequence.load(Ordering::SeqCst);
        let written = write_superblock(&*writer.superblock_file, &next)?;
        // Only now: after a failure the same slot is written again, and the other one stays whole.
        writer.superblock = next;
        self.stats.written_bytes.fetch_add(written, Ordering::Relaxed);
        Ok(())
    }
}

// === impl Volume: regions ===

impl Volume {
    /// Sees to it that the open region has room for a record of so many bytes.
    fn make_room(&self, writer: &mut Writer, bytes: u64) -> Result<(), AppendError> {
        if writer.open.as_ref().is_some_and(|open| open.fits(self.layout.region_bytes, bytes, 1)) {
            return Ok(());
        }
        if let Some(full) = writer.open.take() {
            // If this fails the region stays as it is: recovery walks it.
            self.seal(&full)?;
        }
        let free = match self.free_region() {
            Some(free) => free,
            // Only after a reclaim that was cut short.
            None => self.reclaim_oldest(None)?,
        };
        let mut open = self.begin(self.with_file(free)?)?;
        writer.began = true;
        let reclaimed = if self.free_region().is_none() {
            self.reclaim_oldest(Some(&mut open)).map(|_| ())
        } else {
            Ok(())
        };
        writer.open = Some(open);
        Ok(reclaimed?)
    }

    /// A free region that has a file: `free`, or the oldest of several in use where the file system has no room for
    /// another file.
    fn with_file(&self, free: u16) -> io::Result<u16> {
        let Err(error) = self.region_file(free) else { return Ok(free) };
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let in_use = self.regions.iter().filter(|state| state.epoch.load(Ordering::SeqCst) > 0).count();
        if !full || in_use < 2 {
            return Err(error);
        }
        let oldest = self.reclaim_oldest(None).map_err(|_| error)?;
        self.cramped.store(true, Ordering::Relaxed);
        Ok(oldest)
    }

    /// A region without contents, if possible one that has a file.
    fn free_region(&self) -> Option<u16> {
        let is_free = |state: &RegionState| state.epoch.load(Ordering::SeqCst) == 0;
        let has_file = |state: &RegionState| is_free(state) && state.file.get().is_some();
        let free =
            self.regions.iter().position(has_file).or_else(|| self.regions.iter().position(is_free))?;
        u16::try_from(free).ok()
    }

    /// Begins a region anew. Nothing in it is valid from here on.
    fn begin(&self, region: u16) -> io::Result<OpenRegion> {
        let epoch = self.next_sequence.fetch_add(1, Ordering::SeqCst);
        let header = encode_region_header(self.layout.volume, self.layout.seed, region, epoch);
        self.put(region, &mut [IoSlice::new(&header)], 0)?;
        self.unseal(region)?;
        if let Some(state) = self.region(region) {
            state.epoch.store(epoch, Ordering::SeqCst);
            state.admits.store(epoch, Ordering::SeqCst);
        }
        Ok(OpenRegion { region, epoch, tail: REGION_HEADER_BYTES, toc: Vec::new() })
    }

    /// Takes the trailer off a region, on the disk itself.
    pub(in crate::store::disk) fn unseal(&self, region: u16) -> io::Result<()> {
        let nothing = [0; TRAILER_BYTES];
        self.put(region, &mut [IoSlice::new(&nothing)], self.layout.region_bytes - TRAILER_BYTES as u64)?;
        self.region_file(region)?.sync_data()
    }

    /// Writes the table of contents of a region, on the disk itself.
    pub(super) fn seal(&self, open: &OpenRegion) -> io::Result<()> {
        let footer = encode_footer(&open.toc, open.epoch, open.tail, self.layout.seed);
        self.put(open.region, &mut [IoSlice::new(&footer)], self.layout.region_bytes - footer.len() as u64)?;
        self.region_file(open.region)?.sync_data()
    }

    /// The file of a region, made if there is none.
    fn region_file(&self, region: u16) -> io::Result<&Arc<dyn DeviceFile>> {
        let state: &RegionState = self.region(region).ok_or(io::ErrorKind::NotFound)?;
        if state.file.get().is_none() {
            let file = self.device.create(&region_name(region), self.layout.region_bytes)?;
            // Only the writer makes files.
            let _ = state.file.set(file);
        }
        state.file.get().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Writes all slices to a region. After an error the disk may hold more than the index knows.
    pub(super) fn put(&self, region: u16, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
        let written = self.region_file(region).and_then(|file| region::write_all(&**file, slices, offset));
        match &written {
            Ok(()) => self.stats.written_bytes.fetch_add(bytes, Ordering::Relaxed),
            Err(_) => u64::from(self.doubtful.swap(true, Ordering::SeqCst)),
        };
        written
    }
}

// === impl Writer, OpenRegion, Record ===

impl Writer {
    pub(super) fn new(superblock: Superblock, superblock_file: Arc<dyn DeviceFile>) -> Writer {
        Writer { open: None, began: false, closed: false, unsynced: None, superblock, superblock_file }
    }

    /// Whether a region found at start may be continued.
    pub(in crate::store::disk) fn may_continue(&self) -> bool {
        !self.began && !self.closed && self.open.is_none()
    }
}

impl OpenRegion {
    /// Whether records of so many bytes fit, with the table of contents.
    pub(super) fn fits(&self, region_bytes: u64, bytes: u64, records: usize) -> bool {
        let entries = self.toc.len() + records;
        let footer = (entries * TOC_ENTRY_BYTES + TRAILER_BYTES) as u64;
        entries <= REGION_RECORDS_MAX && self.tail + bytes + footer <= region_bytes
    }

    /// Counts a record that has been written at the tail.
    pub(super) fn push(&mut self, header: &RecordHeader) -> TocEntry {
        let entry = TocEntry::new(header, self.tail);
        self.tail += header.record_bytes();
        self.toc.push(entry);
        entry
    }
}

impl Record<'_> {
    fn body_len(&self) -> u64 {
        self.body.iter().map(|piece| piece.len() as u64).sum()
    }

    /// Bytes of key and meta; they have been bounded.
    fn lens(&self) -> (u16, u32) {
        let key = u16::try_from(self.key.len()).unwrap_or(u16::MAX);
        (key, u32::try_from(self.meta.len()).unwrap_or(u32::MAX))
    }
}

fn set(results: &mut Results, at: usize, result: Result<u64, AppendError>) {
    if let Some(place) = results.get_mut(at) {
        *place = result;
    }
}

/// xxh3-64 of each block of a body that comes in pieces.
pub(super) fn block_checksums(body: &[Bytes]) -> Vec<u64> {
    let mut checksums = Vec::new();
    let mut state: Option<(Xxh3, usize)> = None;
    for piece in body {
        let mut rest: &[u8] = piece;
        while !rest.is_empty() {
            let held = state.as_ref().map_or(0, |(_, held)| *held);
            let (now, later) = rest.split_at(rest.len().min(BLOCK_BYTES - held));
            rest = later;
            if held == 0 && now.len() == BLOCK_BYTES {
                checksums.push(xxh3_64(now));
                continue;
            }
            let (hasher, held) = state.get_or_insert_with(|| (Xxh3::new(), 0));
            hasher.update(now);
            *held += now.len();
            if *held == BLOCK_BYTES {
                checksums.push(hasher.digest());
                state = None;
            }
        }
    }
    checksums.extend(state.map(|(hasher, _)| hasher.digest()));
    checksums
}
