//! Opens a volume: lock, superblock, regions. Quick: reads one block of each region and scans nothing.
//!
//! Decides what of a directory's contents is used: what this program cannot use is discarded with a reason, never an
//! error, and files that are not the volume's are left alone.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::append::Writer;
use super::{RegionState, Removals, Volume, VolumeStats, write_superblock};
use crate::store::disk::device::{Device, DeviceFile, remedy};
use crate::store::disk::format::{
    Kind, SEQUENCE_MAX, SUPERBLOCK_BYTES, Superblock, SuperblockFault, region_of_name,
};
use crate::store::disk::index::Index;
use crate::store::disk::region::{self, Layout, ReadError};

/// Bytes of a region at least. Small ones are for tests: a record takes three eighths of a region at most.
pub const REGION_BYTES_MIN: u64 = 64 * 1024;

/// Bytes of a region at most.
pub const REGION_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Regions of a volume at least: one of them is always empty.
pub const REGIONS_MIN: u64 = 8;

/// Regions of a volume at most.
pub const REGIONS_MAX: u64 = u16::MAX as u64;

/// Bytes of a volume at least, when the region's size is not chosen: 32 MiB and the superblock.
pub const SIZE_BYTES_MIN: u64 = REGIONS_MIN * REGION_DEFAULT_MIN + SUPERBLOCK_BYTES;

const REGION_DEFAULT_MIN: u64 = 4 * 1024 * 1024;
const REGION_DEFAULT_MAX: u64 = 512 * 1024 * 1024;
const SUPERBLOCK: &str = "superblock";

/// Numbers that are skipped after a volume was not closed in order: more than it can have used since its superblock
/// and its region headers were written.
const SEQUENCE_SKIP: u64 = 1 << 40;

/// What a volume is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeOptions {
    /// Bytes of all its files together at most.
    pub size: u64,
    /// Bytes of one region: a multiple of 4096, [`REGION_BYTES_MIN`] to [`REGION_BYTES_MAX`]. Not given: as it stands on
    /// disk, else a power of two near a 64th of `size`, 4 MiB to 512 MiB.
    pub region: Option<u64>,
}

/// Why a volume could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Another process has it open.
    #[error(
        "the cache directory is in use: {0}; give each node a directory of its own, or stop the other one"
    )]
    Locked(io::Error),
    /// The device failed.
    #[error("{doing} failed: {source}; {}", remedy(.source))]
    Io {
        /// What was being done.
        doing: String,
        /// The device's error.
        source: io::Error,
    },
    /// The configured size holds too few regions.
    #[error(
        "a disk cache of {size} bytes is too small: with regions of {region} bytes it takes {least} at least"
    )]
    TooSmall {
        /// As configured, in bytes.
        size: u64,
        /// Bytes of a region.
        region: u64,
        /// The smallest size, in bytes.
        least: u64,
    },
    /// The configured region size is impossible.
    #[error(
        "a region of {0} bytes is impossible: take a multiple of 4096 from {REGION_BYTES_MIN} to {REGION_BYTES_MAX}"
    )]
    Region(u64),
    /// The configured size holds more regions than can be counted.
    #[error("regions of {region} bytes are too many for a disk cache of {size} bytes: {REGIONS_MAX} at most")]
    TooManyRegions {
        /// As configured, in bytes.
        size: u64,
        /// Bytes of a region.
        region: u64,
    },
    /// The system has no random numbers.
    #[error("no random numbers from the system: {0}")]
    Random(getrandom::Error),
}

/// The superblock in use, and how it came to be.
struct Opened {
    superblock: Superblock,
    file: Arc<dyn DeviceFile>,
    discarded: Option<String>,
}

/// The regions as they stand on disk.
struct Found {
    regions: Box<[RegionState]>,
    /// (epoch, region), the oldest first.
    used: Vec<(u64, u16)>,
}

impl Volume {
    /// Opens the volume of this directory, or makes one. What stands in it is served after [`Volume::recover`].
    ///
    /// # Errors
    /// [`VolumeError`]; contents that cannot be used are none, see [`Volume::discarded`].
    pub fn open(device: Arc<dyn Device>, options: VolumeOptions) -> Result<Volume, VolumeError> {
        check(&options)?;
        let lock = device.lock().map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => VolumeError::Locked(error),
            _ => failed("locking the directory")(error),
        })?;
        let Opened { mut superblock, file, discarded } = open_superblock(&*device, &options)?;
        let layout =
            Layout { region_bytes: superblock.region, volume: superblock.volume, seed: superblock.seed };
        let removed = drop_regions(&*device, &layout, region_count(options.size, layout.region_bytes))?;
        let Found { regions, mut used } = find_regions(&*device, &layout, options.size)?;
        if !superblock.clean {
            let newest = used.last().map_or(0, |(epoch, _)| *epoch);
            superblock.next_sequence = superblock.next_sequence.max(newest) + SEQUENCE_SKIP;
        }
        superblock.clean = false;
        superblock.size = options.size;
        superblock.slot += 1;
        let written = write_superblock(&*file, &superblock).map_err(failed("writing the superblock"))?;
        free_one(&regions, &mut used);
        let volume = Volume {
            device,
            layout,
            regions,
            index: Index::default(),
            stats: VolumeStats::default(),
            sites: Mutex::default(),
            removals: Mutex::new(Removals {
                recovering: (!used.is_empty()).then(|| removed.iter().copied().collect()),
                unwritten: removed.into_iter().collect(),
                barrier_unwritten: false,
            }),
            next_sequence: AtomicU64::new(superblock.next_sequence.max(1)),
            barrier: AtomicU64::new(superblock.barrier),
            writer: Mutex::new(Writer::new(superblock, file)),
            appending: AtomicBool::new(false),
            doubtful: AtomicBool::new(false),
            cramped: AtomicBool::new(false),
            unrecovered: Mutex::new(used),
            discarded,
            _lock: lock,
        };
        volume.stats.written_bytes.fetch_add(written, Ordering::Relaxed);
        Ok(volume)
    }
}

/// Reads the superblock of a volume that may be in use.
///
/// # Errors
/// If the device fails; `NotFound` if there is none.
pub(in crate::store::disk) fn read_superblock(
    device: &dyn Device,
) -> io::Result<Result<Superblock, SuperblockFault>> {
    let file = device.open(SUPERBLOCK)?;
    let len = usize::try_from(file.len_bytes()?.min(SUPERBLOCK_BYTES)).unwrap_or(0);
    match region::read_exact(&*file, 0, len, false) {
        Ok(bytes) => Ok(Superblock::decode(&bytes)),
        Err(ReadError::Io(error)) => Err(error),
        Err(_) => Ok(Err(SuperblockFault::Foreign)),
    }
}

fn failed(doing: impl Into<String>) -> impl FnOnce(io::Error) -> VolumeError {
    let doing = doing.into();
    move |source| VolumeError::Io { doing, source }
}

fn check(options: &VolumeOptions) -> Result<(), VolumeError> {
    let size = options.size;
    if let Some(region) = options.region
        && (!(REGION_BYTES_MIN..=REGION_BYTES_MAX).contains(&region) || !region.is_multiple_of(4096))
    {
        return Err(VolumeError::Region(region));
    }
    let region = options.region.unwrap_or(default_region(size));
    let least = REGIONS_MIN * region + SUPERBLOCK_BYTES;
    if size < least {
        return Err(VolumeError::TooSmall { size, region, least });
    }
    if (size - SUPERBLOCK_BYTES) / region > REGIONS_MAX {
        return Err(VolumeError::TooManyRegions { size, region });
    }
    Ok(())
}

/// Bytes of a region whose largest record has room for most segments.
const REGION_FOR_SEGMENTS: u64 = 16 << 20;

/// A power of two near a 64th of the size, within bounds, and large enough for most segments where the size allows it.
fn default_region(size: u64) -> u64 {
    let near = (size / 64).max(REGION_FOR_SEGMENTS.min(size / 16)).max(1);
    let below = 1 << near.ilog2();
    let nearest: u64 = if near - below > below / 2 { below * 2 } else { below };
    nearest.clamp(REGION_DEFAULT_MIN, REGION_DEFAULT_MAX)
}

fn region_count(size: u64, region: u64) -> u16 {
    u16::try_from(size.saturating_sub(SUPERBLOCK_BYTES) / region).unwrap_or(u16::MAX)
}

/// The superblock on disk if it can be used as configured; else all contents are discarded and a new one is made.
fn open_superblock(device: &dyn Device, options: &VolumeOptions) -> Result<Opened, VolumeError> {
    let names = device.list().map_err(failed("listing the directory"))?;
    let reason = match read_superblock(device) {
        Ok(Ok(superblock)) => match unusable(&superblock, options) {
            None => {
                let file =
                    device.create(SUPERBLOCK, SUPERBLOCK_BYTES).map_err(failed("opening the superblock"))?;
                return Ok(Opened { superblock, file, discarded: None });
            }
            reason => reason,
        },
        Ok(Err(fault)) => Some(fault.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let left_over = names.iter().any(|name| region_of_name(name).is_some());
            left_over.then(|| "it has regions and no superblock".to_owned())
        }
        Err(error) => return Err(failed("reading the superblock")(error)),
    };
    // Regions first: should this be interrupted, the old superblock still says that they are of no use.
    for name in names.iter().filter(|name| region_of_name(name).is_some()) {
        device.remove(name).map_err(failed(format!("removing {name}")))?;
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(VolumeError::Random)?;
    let random = u128::from_le_bytes(random);
    let superblock = Superblock {
        slot: 0,
        volume: u64::try_from(random >> 64).unwrap_or_default(),
        seed: u64::try_from(random & u128::from(u64::MAX)).unwrap_or_default(),
        size: options.size,
        region: options.region.unwrap_or(default_region(options.size)),
        barrier: 0,
        next_sequence: 1,
        clean: true,
    };
    let file = device.create(SUPERBLOCK, SUPERBLOCK_BYTES).map_err(failed("making the superblock"))?;
    // Both slots, so that none of an old one is left.
    write_superblock(&*file, &superblock).map_err(failed("writing the superblock"))?;
    let second = Superblock { slot: 1, ..superblock };
    write_superblock(&*file, &second).map_err(failed("writing the superblock"))?;
    Ok(Opened { superblock: second, file, discarded: reason })
}

/// Why a whole superblock is of no use for these options.
fn unusable(superblock: &Superblock, options: &VolumeOptions) -> Option<String> {
    let region = superblock.region;
    if let Some(wanted) = options.region.filter(|wanted| *wanted != region) {
        return Some(format!("its regions have {region} bytes, the configuration says {wanted}"));
    }
    let possible = (REGION_BYTES_MIN..=REGION_BYTES_MAX).contains(&region) && region.is_multiple_of(4096);
    let count = options.size.saturating_sub(SUPERBLOCK_BYTES).checked_div(region).unwrap_or(0);
    if !possible || !(REGIONS_MIN..=REGIONS_MAX).contains(&count) {
        return Some(format!("its regions of {region} bytes do not suit a size of {} bytes", options.size));
    }
    let used_up = superblock.next_sequence > SEQUENCE_MAX / 2;
    used_up.then(|| "its sequence numbers are used up".to_owned())
}

/// Removes the regions beyond the configured size. Returns the removals that they tell: those hold for what is kept.
fn drop_regions(device: &dyn Device, layout: &Layout, keep: u16) -> Result<Vec<(u128, u64)>, VolumeError> {
    let mut removed = Vec::new();
    let names = device.list().map_err(failed("listing the directory"))?;
    for name in names {
        let Some(region) = region_of_name(&name).filter(|region| *region >= keep) else { continue };
        let tombstones = || -> io::Result<Vec<(u128, u64)>> {
            let file = device.open(&name)?;
            let Some(epoch) = region::read_epoch(&*file, layout, region)? else { return Ok(Vec::new()) };
            let contents = region::contents(&*file, layout, epoch)?;
            let tombstones = contents.entries.iter().filter(|entry| entry.kind == Kind::Tombstone);
            Ok(tombstones.map(|entry| (entry.hash, entry.generation)).collect())
        };
        removed.extend(tombstones().map_err(failed(format!("reading {name} before its removal")))?);
        device.remove(&name).map_err(failed(format!("removing {name}")))?;
    }
    // The newest removal of a hash last: it stays when they are put into a map.
    removed.sort_unstable_by_key(|(_, sequence)| *sequence);
    Ok(removed)
}

/// Opens the regions that exist. One of another length is removed: it is none of this volume's.
fn find_regions(device: &dyn Device, layout: &Layout, size: u64) -> Result<Found, VolumeError> {
    let count = region_count(size, layout.region_bytes);
    let regions: Box<[RegionState]> = (0..count).map(|_| RegionState::default()).collect();
    let mut used = Vec::new();
    for name in device.list().map_err(failed("listing the directory"))? {
        let Some(region) = region_of_name(&name) else { continue };
        let Some(state) = regions.get(usize::from(region)) else { continue };
        let file = device.open(&name).map_err(failed(format!("opening {name}")))?;
        if file.len_bytes().map_err(failed(format!("opening {name}")))? != layout.region_bytes {
            device.remove(&name).map_err(failed(format!("removing {name}")))?;
            continue;
        }
        let epoch = region::read_epoch(&*file, layout, region).map_err(failed(format!("reading {name}")))?;
        if let Some(epoch) = epoch {
            state.epoch.store(epoch, Ordering::SeqCst);
            state.admits.store(epoch, Ordering::SeqCst);
            used.push((epoch, region));
        }
        // Nobody else has the state yet.
        let _ = state.file.set(file);
    }
    used.sort_unstable();
    Ok(Found { regions, used })
}

/// Frees the oldest region if all are in use. That one was about to be freed when the volume was left.
fn free_one(regions: &[RegionState], used: &mut Vec<(u64, u16)>) {
    if used.len() < regions.len() || used.is_empty() {
        return;
    }
    let (_, oldest) = used.remove(0);
    if let Some(state) = regions.get(usize::from(oldest)) {
        state.admits.store(0, Ordering::SeqCst);
        state.epoch.store(0, Ordering::SeqCst);
    }
}
