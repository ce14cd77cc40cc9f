//! The bytes on disk: superblock, region header, record header, table of contents. Pure: encodes and decodes, reads
//! and writes nothing, and believes no length that it has not bounded.
//!
//! All numbers are little-endian. A volume has a `superblock` of two slots and regions `region-00000`, ... of equal
//! size. A region is a header, records at multiples of [`ALIGN`], and, once it is full, a table of contents that ends
//! in a trailer at the region's end. A record is its header, the key's text, the meta bytes, one checksum for each
//! block of the body, and the body.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Version of the format. Another one on disk is discarded.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes of a body that share one checksum; the last block of a body may be shorter.
pub const BLOCK_BYTES: usize = 1024 * 1024;

/// Meta bytes of one record at most.
pub const META_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a key's text at most.
pub const KEY_BYTES_MAX: usize = 16 * 1024;

/// Records begin at multiples of this many bytes.
pub const ALIGN: u64 = 8;

/// Bytes of the superblock file: two slots, written in turn.
pub const SUPERBLOCK_BYTES: u64 = 2 * SLOT_BYTES as u64;

/// Bytes of one slot of the superblock.
pub const SLOT_BYTES: usize = 4096;

/// Bytes before the first record of a region.
pub const REGION_HEADER_BYTES: u64 = 4096;

/// Bytes of a record before its key.
pub const RECORD_HEADER_BYTES: usize = 72;

/// Bytes of one entry of a table of contents.
pub const TOC_ENTRY_BYTES: usize = 48;

/// Bytes of the trailer, the last of a region.
pub const TRAILER_BYTES: usize = 64;

/// Records of one region at most: bounds the table of contents, in memory and on disk.
pub const REGION_RECORDS_MAX: usize = 256 * 1024;

/// Sequence numbers beyond this are believed to be damage.
pub const SEQUENCE_MAX: u64 = 1 << 62;

const SUPERBLOCK_MAGIC: u64 = u64::from_le_bytes(*b"forebayV");
const REGION_MAGIC: u64 = u64::from_le_bytes(*b"forebayR");
const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"fbRC");
const TRAILER_MAGIC: u32 = u32::from_le_bytes(*b"fbTC");
const REGION_HEADER_USED: usize = 48;

/// What a volume is, and whether it was closed in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Which slot is the newer one: the greater number.
    pub slot: u64,
    /// Tells the regions of this volume from others.
    pub volume: u64,
    /// Seed of the hash of keys and of the checksums of heads.
    pub seed: u64,
    /// Configured size, in bytes.
    pub size: u64,
    /// Bytes of one region.
    pub region: u64,
    /// Whatever was written under a lower sequence number is void.
    pub barrier: u64,
    /// Lower bound of the sequence numbers not used yet; exact if `clean`.
    pub next_sequence: u64,
    /// Whether the volume was closed in order.
    pub clean: bool,
}

/// Why a superblock is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockFault {
    /// Not written by forebay, or overwritten.
    #[error("its superblock is none of forebay's, or is damaged")]
    Foreign,
    /// Another version of the format.
    #[error("its format is version {0}, this program writes version {FORMAT_VERSION}")]
    Version(u32),
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object: meta and body.
    Object,
    /// Newer meta bytes for the object of the same hash and generation.
    Meta,
    /// Objects of this hash that are older than this generation are removed.
    Tombstone,
}

/// The fixed part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What it is.
    pub kind: Kind,
    /// The site whose bytes these are.
    pub site: u16,
    /// Bytes of the key's text.
    pub key_len: u16,
    /// Bytes of meta.
    pub meta_len: u32,
    /// Bytes of the body.
    pub body_len: u32,
    /// Epoch of the region that it was written to.
    pub epoch: u64,
    /// Grows from record to record within a region.
    pub sequence: u64,
    /// Which version of the key's object: kept when the record is copied.
    pub generation: u64,
    /// Hash of the key's text.
    pub hash: u128,
}

/// One record, as the table of contents tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TocEntry {
    /// What it is.
    pub kind: Kind,
    /// The site whose bytes these are.
    pub site: u16,
    /// Bytes of the key's text.
    pub key_len: u16,
    /// Bytes of meta.
    pub meta_len: u32,
    /// Bytes of the body.
    pub body_len: u32,
    /// Where the record begins in its region, in units of [`ALIGN`].
    pub place: u32,
    /// Which version of the key's object.
    pub generation: u64,
    /// Hash of the key's text.
    pub hash: u128,
}

/// The end of a sealed region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Epoch of the region when it was sealed.
    pub epoch: u64,
    /// Entries of the table of contents, which stands before the trailer.
    pub count: u32,
    /// End of the last record, in bytes from the region's begin.
    pub tail: u64,
    /// Checksum of the table of contents.
    pub toc_checksum: u64,
}

/// Blocks of a body of this length.
pub const fn blocks_of(body_len: u64) -> u64 {
    body_len.div_ceil(BLOCK_BYTES as u64)
}

/// Bytes of a record before its body.
pub const fn head_bytes(key_len: u16, meta_len: u32, body_len: u32) -> u64 {
    RECORD_HEADER_BYTES as u64 + key_len as u64 + meta_len as u64 + 8 * blocks_of(body_len as u64)
}

/// Bytes that a record takes, with what fills it up to [`ALIGN`].
pub const fn record_bytes(key_len: u16, meta_len: u32, body_len: u32) -> u64 {
    (head_bytes(key_len, meta_len, body_len) + body_len as u64).next_multiple_of(ALIGN)
}

/// Name of the file of a region.
pub fn region_name(region: u16) -> String {
    format!("region-{region:05}")
}

/// The region whose file has this name.
pub fn region_of_name(name: &str) -> Option<u16> {
    let region = name.strip_prefix("region-")?.parse().ok()?;
    (region_name(region) == name).then_some(region)
}

// === reading numbers ===

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

fn u128_at(bytes: &[u8], at: usize) -> Option<u128> {
    array(bytes, at).map(u128::from_le_bytes)
}

/// Puts the checksum of all that follows the first eight bytes into the first eight bytes.
fn sign(bytes: &mut [u8], seed: u64) {
    if let Some((first, rest)) = bytes.split_first_chunk_mut::<8>() {
        *first = xxh3_64_with_seed(rest, seed).to_le_bytes();
    }
}

/// Whether the first eight bytes are the checksum of all that follows them.
pub(super) fn is_signed(bytes: &[u8], seed: u64) -> bool {
    bytes
        .split_first_chunk::<8>()
        .is_some_and(|(first, rest)| u64::from_le_bytes(*first) == xxh3_64_with_seed(rest, seed))
}

// === impl Superblock ===

impl Superblock {
    /// The bytes of one slot.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&SUPERBLOCK_MAGIC.to_le_bytes());
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&u32::from(self.clean).to_le_bytes());
        let numbers =
            [self.slot, self.volume, self.seed, self.size, self.region, self.barrier, self.next_sequence];
        numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        bytes.resize(SLOT_BYTES, 0);
        sign(&mut bytes, 0);
        bytes
    }

    /// The newer one of the slots that are whole.
    ///
    /// # Errors
    /// If no slot is whole: another version if a slot tells one, else damage or a foreign file.
    pub fn decode(bytes: &[u8]) -> Result<Superblock, SuperblockFault> {
        let slots = bytes.chunks(SLOT_BYTES).map(Superblock::decode_slot);
        let mut best = Err(SuperblockFault::Foreign);
        for slot in slots {
            best = match (best, slot) {
                (Ok(one), Ok(other)) => Ok(if other.slot > one.slot { other } else { one }),
                (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
                (Err(SuperblockFault::Foreign), Err(fault)) | (Err(fault), Err(_)) => Err(fault),
            };
        }
        best
    }

    fn decode_slot(bytes: &[u8]) -> Result<Superblock, SuperblockFault> {
        Superblock::parse(bytes).ok_or(SuperblockFault::Foreign)?
    }

    fn parse(bytes: &[u8]) -> Option<Result<Superblock, SuperblockFault>> {
        if bytes.len() < SLOT_BYTES || u64_at(bytes, 8)? != SUPERBLOCK_MAGIC {
            return None;
        }
        // Another version may be checked by another sum: the version is believed before.
        let version = u32_at(bytes, 16)?;
        if version != FORMAT_VERSION {
            return Some(Err(SuperblockFault::Version(version)));
        }
        let superblock = Superblock {
            clean: u32_at(bytes, 20)? == 1,
            slot: u64_at(bytes, 24)?,
            volume: u64_at(bytes, 32)?,
            seed: u64_at(bytes, 40)?,
            size: u64_at(bytes, 48)?,
            region: u64_at(bytes, 56)?,
            barrier: u64_at(bytes, 64)?,
            next_sequence: u64_at(bytes, 72)?,
        };
        let plausible = superblock.barrier < SEQUENCE_MAX && superblock.next_sequence < SEQUENCE_MAX;
        (is_signed(bytes, 0) && plausible).then_some(Ok(superblock))
    }
}

// === region header ===

/// The bytes at the begin of a region that belongs to `volume` since `epoch`.
pub fn encode_region_header(volume: u64, seed: u64, region: u16, epoch: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REGION_HEADER_USED);
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&REGION_MAGIC.to_le_bytes());
    bytes.extend_from_slice(&volume.to_le_bytes());
    bytes.extend_from_slice(&epoch.to_le_bytes());
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&u32::from(region).to_le_bytes());
    bytes.resize(REGION_HEADER_USED, 0);
    sign(&mut bytes, seed);
    bytes
}

/// The epoch in a region's header, if it is this volume's and this region's.
pub fn decode_region_header(bytes: &[u8], volume: u64, seed: u64, region: u16) -> Option<u64> {
    let bytes = bytes.get(..REGION_HEADER_USED)?;
    let epoch = u64_at(bytes, 24)?;
    let right = u64_at(bytes, 8)? == REGION_MAGIC
        && u64_at(bytes, 16)? == volume
        && u32_at(bytes, 32)? == FORMAT_VERSION
        && u32_at(bytes, 36)? == u32::from(region)
        && (1..SEQUENCE_MAX).contains(&epoch);
    (right && is_signed(bytes, seed)).then_some(epoch)
}

// === impl Kind ===

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Kind::Object => 1,
            Kind::Meta => 2,
            Kind::Tombstone => 3,
        }
    }

    const fn of(code: u8) -> Option<Kind> {
        match code {
            1 => Some(Kind::Object),
            2 => Some(Kind::Meta),
            3 => Some(Kind::Tombstone),
            _ => None,
        }
    }
}

/// Whether the lengths are ones that this program writes.
fn plausible(kind: Kind, key_len: u16, meta_len: u32, body_len: u32) -> bool {
    usize::from(key_len) <= KEY_BYTES_MAX
        && meta_len as usize <= META_BYTES_MAX
        && match kind {
            Kind::Object => key_len > 0,
            Kind::Meta => key_len > 0 && body_len == 0,
            Kind::Tombstone => key_len == 0 && meta_len == 0 && body_len == 0,
        }
}

// === impl RecordHeader ===

impl RecordHeader {
    /// Header, key, meta and block checksums, signed: all of a record that stands before its body.
    pub fn encode_head(&self, key: &[u8], meta: &[u8], checksums: &[u64], seed: u64) -> Vec<u8> {
        let mut bytes =
            Vec::with_capacity(RECORD_HEADER_BYTES + key.len() + meta.len() + 8 * checksums.len());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&RECORD_MAGIC.to_le_bytes());
        bytes.extend_from_slice(&[FORMAT_VERSION.to_le_bytes()[0], 0, self.kind.code(), 0]);
        bytes.extend_from_slice(&self.site.to_le_bytes());
        bytes.extend_from_slice(&self.key_len.to_le_bytes());
        bytes.extend_from_slice(&self.meta_len.to_le_bytes());
        bytes.extend_from_slice(&u64::from(self.body_len).to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&self.hash.to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(meta);
        checksums.iter().for_each(|checksum| bytes.extend_from_slice(&checksum.to_le_bytes()));
        sign(&mut bytes, seed);
        bytes
    }

    /// The header at the begin of `bytes`. Its checksum covers the whole head: see [`RecordHeader::head_bytes`].
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<RecordHeader, Corruption> {
        let short = Corruption::Short;
        if u32_at(bytes, 8).ok_or(short)? != RECORD_MAGIC {
            return Err(Corruption::Magic);
        }
        if u32::from(u16_at(bytes, 12).ok_or(short)?) != FORMAT_VERSION {
            return Err(Corruption::Version);
        }
        let kind = bytes.get(14).copied().and_then(Kind::of).ok_or(Corruption::Length)?;
        let header = RecordHeader {
            kind,
            site: u16_at(bytes, 16).ok_or(short)?,
            key_len: u16_at(bytes, 18).ok_or(short)?,
            meta_len: u32_at(bytes, 20).ok_or(short)?,
            body_len: u32::try_from(u64_at(bytes, 24).ok_or(short)?).map_err(|_| Corruption::Length)?,
            epoch: u64_at(bytes, 32).ok_or(short)?,
            sequence: u64_at(bytes, 40).ok_or(short)?,
            generation: u64_at(bytes, 48).ok_or(short)?,
            hash: u128_at(bytes, 56).ok_or(short)?,
        };
        if plausible(kind, header.key_len, header.meta_len, header.body_len) {
            Ok(header)
        } else {
            Err(Corruption::Length)
        }
    }

    /// Bytes of the record before its body.
    pub const fn head_bytes(&self) -> u64 {
        head_bytes(self.key_len, self.meta_len, self.body_len)
    }

    /// Bytes that the record takes.
    pub const fn record_bytes(&self) -> u64 {
        record_bytes(self.key_len, self.meta_len, self.body_len)
    }
}

// === impl TocEntry ===

impl TocEntry {
    /// The entry of a record that begins at `offset`, a multiple of [`ALIGN`] below 32 GiB.
    pub fn new(header: &RecordHeader, offset: u64) -> TocEntry {
        TocEntry {
            kind: header.kind,
            site: header.site,
            key_len: header.key_len,
            meta_len: header.meta_len,
            body_len: header.body_len,
            place: u32::try_from(offset / ALIGN).unwrap_or(u32::MAX),
            generation: header.generation,
            hash: header.hash,
        }
    }

    /// Where the record begins in its region, in bytes.
    pub const fn offset(&self) -> u64 {
        self.place as u64 * ALIGN
    }

    /// Bytes that the record takes.
    pub const fn record_bytes(&self) -> u64 {
        record_bytes(self.key_len, self.meta_len, self.body_len)
    }

    fn encode_into(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.hash.to_le_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        for number in [self.place, self.meta_len, self.body_len] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.key_len.to_le_bytes());
        bytes.extend_from_slice(&self.site.to_le_bytes());
        bytes.extend_from_slice(&[self.kind.code(), 0, 0, 0, 0, 0, 0, 0]);
    }

    fn decode(bytes: &[u8], tail: u64) -> Option<TocEntry> {
        let entry = TocEntry {
            hash: u128_at(bytes, 0)?,
            generation: u64_at(bytes, 16)?,
            place: u32_at(bytes, 24)?,
            meta_len: u32_at(bytes, 28)?,
            body_len: u32_at(bytes, 32)?,
            key_len: u16_at(bytes, 36)?,
            site: u16_at(bytes, 38)?,
            kind: Kind::of(*bytes.get(40)?)?,
        };
        let inside = entry.offset() >= REGION_HEADER_BYTES && entry.offset() + entry.record_bytes() <= tail;
        let right = plausible(entry.kind, entry.key_len, entry.meta_len, entry.body_len);
        (inside && right).then_some(entry)
    }
}

/// A table of contents with its trailer, to be written so that it ends at the region's end.
pub fn encode_footer(entries: &[TocEntry], epoch: u64, tail: u64, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * TOC_ENTRY_BYTES + TRAILER_BYTES);
    entries.iter().for_each(|entry| entry.encode_into(&mut bytes));
    let toc_checksum = xxh3_64_with_seed(&bytes, seed);
    let mut trailer = Vec::with_capacity(TRAILER_BYTES);
    trailer.extend_from_slice(&[0; 8]);
    trailer.extend_from_slice(&TRAILER_MAGIC.to_le_bytes());
    trailer.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    trailer.extend_from_slice(&epoch.to_le_bytes());
    trailer.extend_from_slice(&(entries.len() as u64).to_le_bytes());
    trailer.extend_from_slice(&tail.to_le_bytes());
    trailer.extend_from_slice(&toc_checksum.to_le_bytes());
    trailer.resize(TRAILER_BYTES, 0);
    sign(&mut trailer, seed);
    bytes.extend_from_slice(&trailer);
    bytes
}

impl Trailer {
    /// Bytes of the table of contents.
    pub const fn toc_bytes(&self) -> u64 {
        self.count as u64 * TOC_ENTRY_BYTES as u64
    }

    /// The trailer in the last bytes of a region of `region_bytes`, if it is whole and its numbers fit the region.
    pub fn decode(bytes: &[u8], region_bytes: u64, seed: u64) -> Option<Trailer> {
        let bytes = bytes.get(..TRAILER_BYTES)?;
        let trailer = Trailer {
            epoch: u64_at(bytes, 16)?,
            count: u32::try_from(u64_at(bytes, 24)?).ok()?,
            tail: u64_at(bytes, 32)?,
            toc_checksum: u64_at(bytes, 40)?,
        };
        let known = u32_at(bytes, 8)? == TRAILER_MAGIC && u32_at(bytes, 12)? == FORMAT_VERSION;
        let room = region_bytes.checked_sub(TRAILER_BYTES as u64)?.checked_sub(trailer.toc_bytes())?;
        let fits = trailer.count as usize <= REGION_RECORDS_MAX && trailer.tail <= room;
        (known && fits && is_signed(bytes, seed)).then_some(trailer)
    }

    /// The entries of the table of contents, if all are whole and within the region's records.
    pub fn decode_toc(&self, bytes: &[u8], seed: u64) -> Option<Vec<TocEntry>> {
        if bytes.len() as u64 != self.toc_bytes() || xxh3_64_with_seed(bytes, seed) != self.toc_checksum {
            return None;
        }
        bytes.chunks_exact(TOC_ENTRY_BYTES).map(|entry| TocEntry::decode(entry, self.tail)).collect()
    }
}

/// What is wrong with a record. The word is the same in metrics, the log and the report of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Corruption {
    /// There is no record.
    Magic,
    /// The record is of another version of the format.
    Version,
    /// The record belongs to an earlier use of the region.
    Epoch,
    /// The record is another version of the object than the index says.
    Generation,
    /// A length is impossible, or other than the index says.
    Length,
    /// The head does not match its checksum.
    Checksum,
    /// The record is another key's.
    Key,
    /// A block of the body does not match its checksum.
    Block,
    /// The file ends before the record.
    Short,
}

impl Corruption {
    /// All of them, in the order of their counters.
    pub const ALL: [Corruption; 9] = [
        Corruption::Magic,
        Corruption::Version,
        Corruption::Epoch,
        Corruption::Generation,
        Corruption::Length,
        Corruption::Checksum,
        Corruption::Key,
        Corruption::Block,
        Corruption::Short,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Corruption::Magic => "magic",
            Corruption::Version => "version",
            Corruption::Epoch => "epoch",
            Corruption::Generation => "generation",
            Corruption::Length => "length",
            Corruption::Checksum => "checksum",
            Corruption::Key => "key",
            Corruption::Block => "block",
            Corruption::Short => "short",
        }
    }
}

impl std::fmt::Display for Corruption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
