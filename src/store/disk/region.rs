//! What stands in one region: reads its table of contents, or walks its records; reads and checks single records.
//!
//! Knows nothing of the index or of other regions. Recovery, verification, reclaim and hits read through it, so there
//! is one place that decides what a whole record is.

use std::io::{self, IoSlice};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::device::{DeviceFile, WRITE_SLICES_MAX};
use super::format::{
    BLOCK_BYTES, Corruption, RECORD_HEADER_BYTES, REGION_HEADER_BYTES, REGION_RECORDS_MAX, RecordHeader,
    TRAILER_BYTES, TocEntry, Trailer, decode_region_header, is_signed, u64_at,
};

/// Bytes that a walk reads at once: the head of an ordinary record, or several small records.
const WALK_WINDOW_BYTES: usize = 16 * 1024;

/// What all regions of a volume have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of one region.
    pub region_bytes: u64,
    /// The volume that the regions belong to.
    pub volume: u64,
    /// Seed of the checksums of heads.
    pub seed: u64,
}

/// The records of a region.
#[derive(Debug, PartialEq, Eq)]
pub struct Contents {
    /// In the order in which they were written.
    pub entries: Vec<TocEntry>,
    /// End of the last one, in bytes from the region's begin.
    pub tail: u64,
    /// Whether they come from a table of contents; else from a walk.
    pub sealed: bool,
    /// Whether the last record was begun and not finished; it is not among the entries.
    pub torn: bool,
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The device failed.
    #[error("reading the disk failed: {0}")]
    Io(#[from] io::Error),
    /// The bytes are not in the page cache, and the caller does not wait.
    #[error("not in the page cache")]
    WouldBlock,
    /// The bytes are not what was written.
    #[error("the record is damaged: {0}")]
    Corrupt(Corruption),
    /// The region has been used again since the look-up: not a fault, the object has gone.
    #[error("the region was used again")]
    Reclaimed,
}

/// The part of a record before its body, checked, and the first block of the body if it was read with it.
#[derive(Debug)]
pub struct RecordHead {
    /// The fixed part.
    pub header: RecordHeader,
    /// Checksum of each block of the body.
    pub checksums: Box<[u64]>,
    bytes: Bytes,
}

// === impl RecordHead ===

impl RecordHead {
    /// The key's text.
    pub fn key(&self) -> &[u8] {
        let begin = RECORD_HEADER_BYTES;
        self.bytes.get(begin..begin + usize::from(self.header.key_len)).unwrap_or_default()
    }

    /// The meta bytes.
    pub fn meta(&self) -> &[u8] {
        let begin = RECORD_HEADER_BYTES + usize::from(self.header.key_len);
        self.bytes.get(begin..begin + self.header.meta_len as usize).unwrap_or_default()
    }

    /// The first block of the body, checked. Empty if the body is.
    ///
    /// # Errors
    /// [`Corruption::Block`]; [`Corruption::Short`] if it was not read with the head.
    pub fn first_block(&self) -> Result<Bytes, Corruption> {
        let Some(checksum) = self.checksums.first() else { return Ok(Bytes::new()) };
        let begin = usize::try_from(self.header.head_bytes()).map_err(|_| Corruption::Length)?;
        let end = begin + block_len(self.header.body_len, 0);
        if self.bytes.len() < end {
            return Err(Corruption::Short);
        }
        let block = self.bytes.slice(begin..end);
        if xxh3_64(&block) == *checksum { Ok(block) } else { Err(Corruption::Block) }
    }

    /// Checks a head that stands at the begin of `bytes`.
    fn parse(bytes: Bytes, seed: u64) -> Result<RecordHead, Corruption> {
        let header = RecordHeader::decode(&bytes)?;
        let head_bytes = usize::try_from(header.head_bytes()).map_err(|_| Corruption::Length)?;
        let head = bytes.get(..head_bytes).ok_or(Corruption::Length)?;
        if !is_signed(head, seed) {
            return Err(Corruption::Checksum);
        }
        let first = RECORD_HEADER_BYTES + usize::from(header.key_len) + header.meta_len as usize;
        let checksums = (first..head_bytes).step_by(8).filter_map(|at| u64_at(head, at)).collect();
        Ok(RecordHead { header, checksums, bytes })
    }
}

/// Bytes of block `index` of a body; 0 behind its end.
pub fn block_len(body_len: u32, index: usize) -> usize {
    let begin = index.saturating_mul(BLOCK_BYTES);
    (body_len as usize).saturating_sub(begin).min(BLOCK_BYTES)
}

/// Reads `len` bytes at `offset`; the caller has bounded `len`.
///
/// # Errors
/// `Corrupt(Short)` if the file ends before; `WouldBlock` only if `cached_only`.
pub fn read_exact(
    file: &dyn DeviceFile,
    offset: u64,
    len: usize,
    cached_only: bool,
) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = offset + done as u64;
        let read = if cached_only { file.read_cached_at(rest, at) } else { file.read_at(rest, at) };
        match read {
            Ok(0) => return Err(ReadError::Corrupt(Corruption::Short)),
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && cached_only => {
                return Err(ReadError::WouldBlock);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// Writes all slices at `offset`.
///
/// # Errors
/// As the device says; some of the bytes may have been written.
pub fn write_all(file: &dyn DeviceFile, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let some = slices.get(..WRITE_SLICES_MAX).unwrap_or(slices);
        match file.write_vectored_at(some, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut slices, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads and checks the head of a record whose lengths are known, with the first block of its body if `with_first`.
///
/// # Errors
/// As [`read_exact`]; `Corrupt` if it is not a whole head of these lengths.
pub fn read_head(
    file: &dyn DeviceFile,
    layout: &Layout,
    entry: &TocEntry,
    with_first: bool,
    cached_only: bool,
) -> Result<RecordHead, ReadError> {
    let head = super::format::head_bytes(entry.key_len, entry.meta_len, entry.body_len);
    let first = if with_first { block_len(entry.body_len, 0) } else { 0 };
    let len = usize::try_from(head).unwrap_or(usize::MAX).saturating_add(first);
    if entry.offset() + len as u64 > layout.region_bytes {
        return Err(ReadError::Corrupt(Corruption::Length));
    }
    let bytes = read_exact(file, entry.offset(), len, cached_only)?;
    let head = RecordHead::parse(bytes.into(), layout.seed).map_err(ReadError::Corrupt)?;
    let same = (head.header.kind, head.header.key_len, head.header.meta_len, head.header.body_len)
        == (entry.kind, entry.key_len, entry.meta_len, entry.body_len);
    if same { Ok(head) } else { Err(ReadError::Corrupt(Corruption::Length)) }
}

/// Reads and checks one block of a body.
///
/// # Errors
/// As [`read_exact`]; `Corrupt(Block)`; `Corrupt(Length)` if the body has no such block.
pub fn read_block(
    file: &dyn DeviceFile,
    entry: &TocEntry,
    checksums: &[u64],
    index: usize,
    cached_only: bool,
) -> Result<Bytes, ReadError> {
    let checksum = checksums.get(index).ok_or(ReadError::Corrupt(Corruption::Length))?;
    let body = entry.offset() + super::format::head_bytes(entry.key_len, entry.meta_len, entry.body_len);
    let begin = body + index as u64 * BLOCK_BYTES as u64;
    let block = read_exact(file, begin, block_len(entry.body_len, index), cached_only)?;
    if xxh3_64(&block) == *checksum { Ok(block.into()) } else { Err(ReadError::Corrupt(Corruption::Block)) }
}

/// Reads a whole record and checks every byte of it, a block at a time.
///
/// # Errors
/// As [`read_head`] and [`read_block`]; `Corrupt(Epoch | Generation | Key)` if it is not the one that `entry` means.
pub fn check_record(
    file: &dyn DeviceFile,
    layout: &Layout,
    entry: &TocEntry,
    epoch: u64,
) -> Result<(), ReadError> {
    let head = read_head(file, layout, entry, false, false)?;
    check_identity(&head.header, entry, epoch).map_err(ReadError::Corrupt)?;
    (0..head.checksums.len())
        .try_for_each(|index| read_block(file, entry, &head.checksums, index, false).map(|_| ()))
}

/// Whether a head is the one that `entry` of a region of this epoch means.
///
/// # Errors
/// In what it differs.
pub fn check_identity(header: &RecordHeader, entry: &TocEntry, epoch: u64) -> Result<(), Corruption> {
    if header.epoch != epoch {
        Err(Corruption::Epoch)
    } else if header.generation != entry.generation {
        Err(Corruption::Generation)
    } else if header.hash != entry.hash {
        Err(Corruption::Key)
    } else {
        Ok(())
    }
}

/// Epoch of a region according to its file; none if the file holds no region of this volume.
///
/// # Errors
/// If the device fails.
pub fn read_epoch(file: &dyn DeviceFile, layout: &Layout, region: u16) -> io::Result<Option<u64>> {
    match read_exact(file, 0, 512, false) {
        Ok(bytes) => Ok(decode_region_header(&bytes, layout.volume, layout.seed, region)),
        Err(ReadError::Io(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// The records of a region: from its table of contents, else from a walk.
///
/// # Errors
/// If the device fails.
pub fn contents(file: &dyn DeviceFile, layout: &Layout, epoch: u64) -> io::Result<Contents> {
    match sealed_contents(file, layout, epoch)? {
        Some(contents) => Ok(contents),
        None => walk(file, layout, epoch),
    }
}

fn sealed_contents(file: &dyn DeviceFile, layout: &Layout, epoch: u64) -> io::Result<Option<Contents>> {
    let trailer_at = layout.region_bytes - TRAILER_BYTES as u64;
    let Some(bytes) = whole(read_exact(file, trailer_at, TRAILER_BYTES, false))? else { return Ok(None) };
    let trailer = Trailer::decode(&bytes, layout.region_bytes, layout.seed);
    let Some(trailer) = trailer.filter(|trailer| trailer.epoch == epoch) else { return Ok(None) };
    let toc_bytes = trailer.toc_bytes();
    let Ok(len) = usize::try_from(toc_bytes) else { return Ok(None) };
    let Some(toc) = whole(read_exact(file, trailer_at - toc_bytes, len, false))? else { return Ok(None) };
    let entries = trailer.decode_toc(&toc, layout.seed);
    Ok(entries.map(|entries| Contents { entries, tail: trailer.tail, sealed: true, torn: false }))
}

/// Bytes, none if the file ends before them.
fn whole(read: Result<Vec<u8>, ReadError>) -> io::Result<Option<Vec<u8>>> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ReadError::Io(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Goes from record to record by their headers, up to the first that is not whole. The last one's body is read too:
/// it is the one that an interrupted write leaves unfinished.
fn walk(file: &dyn DeviceFile, layout: &Layout, epoch: u64) -> io::Result<Contents> {
    let mut window = Window { begin: 0, bytes: Bytes::new() };
    let mut contents =
        Contents { entries: Vec::new(), tail: REGION_HEADER_BYTES, sealed: false, torn: false };
    let mut last = 0;
    while contents.entries.len() < REGION_RECORDS_MAX
        && let Some(head) = window.head(file, layout, contents.tail)?
    {
        let header = head.header;
        let end = contents.tail + header.record_bytes();
        if header.epoch != epoch || header.sequence <= last || end > layout.region_bytes {
            break;
        }
        contents.entries.push(TocEntry::new(&header, contents.tail));
        contents.tail = end;
        last = header.sequence;
    }
    if let Some(newest) = contents.entries.last().copied() {
        match check_record(file, layout, &newest, epoch) {
            Err(ReadError::Io(error)) => return Err(error),
            Err(_) => {
                contents.entries.pop();
                contents.tail = newest.offset();
                contents.torn = true;
            }
            Ok(()) => {}
        }
    }
    Ok(contents)
}

/// The bytes of a file that a walk read last.
struct Window {
    begin: u64,
    bytes: Bytes,
}

impl Window {
    /// The head of the record at `offset`, if there is a whole one.
    fn head(
        &mut self,
        file: &dyn DeviceFile,
        layout: &Layout,
        offset: u64,
    ) -> io::Result<Option<RecordHead>> {
        let Some(bytes) = self.at(file, layout, offset, RECORD_HEADER_BYTES)? else { return Ok(None) };
        let Ok(header) = RecordHeader::decode(&bytes) else { return Ok(None) };
        let Ok(len) = usize::try_from(header.head_bytes()) else { return Ok(None) };
        let Some(bytes) = self.at(file, layout, offset, len)? else { return Ok(None) };
        Ok(RecordHead::parse(bytes, layout.seed).ok())
    }

    /// `len` bytes at `offset`, none if they are not within the region.
    fn at(
        &mut self,
        file: &dyn DeviceFile,
        layout: &Layout,
        offset: u64,
        len: usize,
    ) -> io::Result<Option<Bytes>> {
        let left = layout.region_bytes.saturating_sub(offset);
        if (len as u64) > left {
            return Ok(None);
        }
        let inside = |window: &Window| {
            let begin = usize::try_from(offset.checked_sub(window.begin)?).ok()?;
            (begin.checked_add(len)? <= window.bytes.len()).then(|| window.bytes.slice(begin..begin + len))
        };
        if let Some(bytes) = inside(self) {
            return Ok(Some(bytes));
        }
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(len.max(WALK_WINDOW_BYTES));
        let Some(bytes) = whole(read_exact(file, offset, wanted, false))? else { return Ok(None) };
        *self = Window { begin: offset, bytes: bytes.into() };
        Ok(inside(self))
    }
}
