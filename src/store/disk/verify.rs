//! Verification: reads every record of a volume and says which are not whole, and where; changes nothing.
//!
//! Works on a directory that a node is running on: it takes no lock, and what is rewritten while it is read is not
//! reported. [`stat`] only reads tables of contents. Called by `forebay cache verify` and `forebay cache stat`.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::device::{Device, DeviceFile};
use super::format::{
    Corruption, Kind, SUPERBLOCK_BYTES, SuperblockFault, TocEntry, region_name, region_of_name,
};
use super::region::{self, Contents, Layout, ReadError};
use super::volume::open::read_superblock;

/// Damaged records that are listed one by one, at most; all are counted.
pub const LISTED_MAX: usize = 1000;

/// Why a directory cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no volume.
    #[error("there is no cache in this directory: it has no superblock")]
    NoVolume,
    /// A node would discard it.
    #[error("this is no cache that this program can use: {0}; a node discards it when it starts")]
    Unusable(#[from] SuperblockFault),
    /// The device failed.
    #[error("reading {name} failed: {source}")]
    Io {
        /// The file.
        name: String,
        /// The device's error.
        source: io::Error,
    },
}

/// What a volume holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Configured size when it was opened last, in bytes.
    pub size: u64,
    /// Bytes of one region.
    pub region_bytes: u64,
    /// Bytes of its files.
    pub file_bytes: u64,
    /// Whether it was closed in order, and not opened since.
    pub clean: bool,
    /// Regions with records.
    pub regions: u64,
    /// Of these, without a table of contents: the one that is written, or was when the node was killed.
    pub open_regions: u64,
    /// Records of all kinds.
    pub records: u64,
    /// Bytes of all records.
    pub record_bytes: u64,
    /// Objects that a start would serve.
    pub objects: u64,
    /// Bytes of their records.
    pub object_bytes: u64,
    /// The same by site: objects and bytes.
    pub sites: BTreeMap<u16, (u64, u64)>,
}

/// A record that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Its region.
    pub region: u16,
    /// Where it begins in the region's file, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub corruption: Corruption,
}

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the volume holds.
    pub stat: Stat,
    /// Records that are whole, and their bytes.
    pub whole: (u64, u64),
    /// Records that are not, by what is wrong.
    pub bad: BTreeMap<Corruption, u64>,
    /// The first [`LISTED_MAX`] of them.
    pub listed: Vec<Bad>,
    /// Records that were begun and not finished: what a kill leaves, no damage.
    pub torn: u64,
    /// Regions that were used again while they were read: the rest of them was passed over.
    pub overtaken_regions: u64,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

/// What a volume holds, from its tables of contents.
///
/// # Errors
/// [`VerifyError`].
pub fn stat(device: &dyn Device) -> Result<Stat, VerifyError> {
    read(device, &mut Report::default(), |_, _, _| Ok(true)).map(|(stat, _)| stat)
}

/// Reads and checks every record, a block at a time. Ends early if `stop` becomes true.
///
/// # Errors
/// [`VerifyError`]. Damage is none: it is in the report.
pub fn verify(device: &dyn Device, stop: &AtomicBool) -> Result<Report, VerifyError> {
    let mut report = Report::default();
    let (stat, torn) = read(device, &mut report, |report, region, contents| {
        check_region(report, region, contents, stop)?;
        Ok(!report.stopped)
    })?;
    Ok(Report { stat, torn, ..report })
}

/// One region being read.
struct RegionRead<'a> {
    file: &'a dyn DeviceFile,
    layout: Layout,
    region: u16,
    epoch: u64,
}

/// Goes through the regions, newest first, while `check` says so. Returns what they hold, and torn records.
fn read(
    device: &dyn Device,
    report: &mut Report,
    mut check: impl FnMut(&mut Report, &RegionRead<'_>, &Contents) -> io::Result<bool>,
) -> Result<(Stat, u64), VerifyError> {
    let failed = |name: &str| {
        let name = name.to_owned();
        move |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound if name == "the superblock" => VerifyError::NoVolume,
            _ => VerifyError::Io { name, source },
        }
    };
    let superblock = read_superblock(device).map_err(failed("the superblock"))??;
    let layout = Layout { region_bytes: superblock.region, volume: superblock.volume, seed: superblock.seed };
    let mut stat = Stat {
        size: superblock.size,
        region_bytes: superblock.region,
        file_bytes: SUPERBLOCK_BYTES,
        clean: superblock.clean,
        ..Stat::default()
    };
    let mut regions = Vec::new();
    for region in
        device.list().map_err(failed("the directory"))?.iter().filter_map(|name| region_of_name(name))
    {
        let name = region_name(region);
        let file = device.open(&name).map_err(failed(&name))?;
        stat.file_bytes += file.len_bytes().map_err(failed(&name))?;
        if let Some(epoch) = region::read_epoch(&*file, &layout, region).map_err(failed(&name))? {
            regions.push((epoch, region));
        }
    }
    regions.sort_unstable();
    let mut live = Live { barrier: superblock.barrier, ..Live::default() };
    let mut torn = 0;
    for (epoch, region) in regions.into_iter().rev() {
        let name = region_name(region);
        let file = device.open(&name).map_err(failed(&name))?;
        let contents = region::contents(&*file, &layout, epoch).map_err(failed(&name))?;
        stat.regions += 1;
        stat.open_regions += u64::from(!contents.sealed);
        torn += u64::from(contents.torn);
        contents.entries.iter().rev().for_each(|entry| live.count(entry, &mut stat));
        let read = RegionRead { file: &*file, layout, region, epoch };
        if !check(report, &read, &contents).map_err(failed(&name))? {
            break;
        }
    }
    Ok((stat, torn))
}

/// Checks every record of a region.
fn check_region(
    report: &mut Report,
    read: &RegionRead<'_>,
    contents: &Contents,
    stop: &AtomicBool,
) -> io::Result<()> {
    for entry in &contents.entries {
        if stop.load(Ordering::Relaxed) {
            report.stopped = true;
            return Ok(());
        }
        match region::check_record(read.file, &read.layout, entry, read.epoch) {
            Ok(()) => {
                report.whole.0 += 1;
                report.whole.1 += entry.record_bytes();
            }
            Err(ReadError::Corrupt(corruption)) => {
                if region::read_epoch(read.file, &read.layout, read.region)? != Some(read.epoch) {
                    report.overtaken_regions += 1;
                    return Ok(());
                }
                *report.bad.entry(corruption).or_default() += 1;
                if report.listed.len() < LISTED_MAX {
                    report.listed.push(Bad { region: read.region, offset: entry.offset(), corruption });
                }
            }
            Err(ReadError::Io(error)) => return Err(error),
            Err(ReadError::WouldBlock | ReadError::Reclaimed) => {}
        }
    }
    Ok(())
}

/// Which objects a start would serve: the newest of each key that was not removed.
#[derive(Default)]
struct Live {
    barrier: u64,
    /// By hash: nothing up to this generation counts any more.
    done: HashMap<u128, u64>,
}

impl Live {
    fn count(&mut self, entry: &TocEntry, stat: &mut Stat) {
        stat.records += 1;
        stat.record_bytes += entry.record_bytes();
        let done = self.done.get(&entry.hash).copied();
        let counts = done.is_none_or(|done| done < entry.generation) && entry.generation >= self.barrier;
        if entry.kind == Kind::Meta || !counts {
            return;
        }
        self.done.insert(entry.hash, entry.generation);
        if entry.kind == Kind::Object {
            let bytes = entry.record_bytes();
            stat.objects += 1;
            stat.object_bytes += bytes;
            let site = stat.sites.entry(entry.site).or_default();
            *site = (site.0 + 1, site.1 + bytes);
        }
    }
}
