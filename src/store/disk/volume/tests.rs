//! What a volume promises: its tests, and what they share.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod basics;
mod damage;
mod eviction;
mod faults;
mod measure;
mod model;
mod races;
mod restart;

use super::*;
use crate::store::disk::device::Directory;
use crate::store::disk::device::faulty::{Faults, Faulty};
use crate::store::disk::format::SUPERBLOCK_BYTES;
use crate::store::disk::recover::Recovered;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * 1024;

/// A directory, and what volume is in it.
struct Place {
    dir: tempfile::TempDir,
    options: VolumeOptions,
}

impl Place {
    fn new(regions: u64, region: u64) -> Place {
        let size = regions * region + SUPERBLOCK_BYTES;
        Place { dir: tempfile::tempdir().unwrap(), options: VolumeOptions { size, region: Some(region) } }
    }

    /// Eight regions of 64 KiB: a record takes 16 KiB at most.
    fn small() -> Place {
        Place::new(8, 64 * KIB)
    }

    fn device(&self) -> Arc<dyn Device> {
        Arc::new(Directory::new(self.dir.path()).unwrap())
    }

    fn open(&self) -> Volume {
        Volume::open(self.device(), self.options).unwrap()
    }

    fn open_recovered(&self) -> (Volume, Recovered) {
        let volume = self.open();
        let recovered = volume.recover(&AtomicBool::new(false));
        assert_eq!((recovered.unreadable_regions, recovered.stopped), (0, false));
        (volume, recovered)
    }

    fn open_faulty(&self, seed: u64) -> (Volume, Arc<Faults>) {
        let faulty = Faulty::new(self.device(), seed);
        let faults = faulty.faults();
        (Volume::open(Arc::new(faulty), self.options).unwrap(), faults)
    }

    fn file_bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.dir.path()).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }
}

/// Bytes that follow from key, version and length alone.
fn content(key: &str, version: u64, len: usize) -> Vec<u8> {
    let mut state = xxh3_128_with_seed(key.as_bytes(), version) as u64 | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn meta(key: &str, version: u64) -> Vec<u8> {
    format!("{key} {version}").into_bytes()
}

fn put(volume: &Volume, key: &str, version: u64, len: usize) -> Result<u64, AppendError> {
    put_for(volume, key, version, len, 1)
}

#[track_caller]
fn must_put(volume: &Volume, key: &str, version: u64, len: usize) {
    put(volume, key, version, len).unwrap();
}

fn put_for(volume: &Volume, key: &str, version: u64, len: usize, site: u16) -> Result<u64, AppendError> {
    let body = [Bytes::from(content(key, version, len))];
    let append = Append { key, site, meta: &meta(key, version), body: &body };
    volume.append(&[append]).pop().unwrap()
}

/// Meta and body.
type Bodied = (Vec<u8>, Vec<u8>);

/// Meta and body of the object under this key, if it is held.
fn get(volume: &Volume, key: &str) -> Option<Result<Bodied, ReadError>> {
    let location = volume.find(key)?;
    Some(read(volume, &location, key))
}

fn read(volume: &Volume, location: &Location, key: &str) -> Result<Bodied, ReadError> {
    let head = volume.read_head(location, key, false)?;
    let mut body = head.first.to_vec();
    for index in 1..location.blocks() {
        body.extend_from_slice(&volume.read_block(location, &head, index, false)?);
    }
    assert_eq!(body.len() as u64, head.body_len);
    Ok((head.meta.to_vec(), body))
}

#[track_caller]
fn assert_holds(volume: &Volume, key: &str, version: u64, len: usize) {
    let (found_meta, body) = get(volume, key).unwrap_or_else(|| panic!("{key} is not held")).unwrap();
    assert_eq!(found_meta, meta(key, version), "meta of {key}");
    assert!(body == content(key, version, len), "body of {key}");
}

/// The figures agree with the index.
#[track_caller]
fn assert_accounts(volume: &Volume) {
    let (mut count, mut bytes) = (0, 0);
    volume.for_each(|held| {
        count += 1;
        bytes += held.record_bytes;
    });
    assert_eq!(volume.stats().live.get(), (count, bytes));
    assert_eq!(volume.site_bytes().iter().map(|(_, bytes)| bytes).sum::<u64>(), bytes);
}
