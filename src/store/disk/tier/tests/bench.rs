//! Disks for tests: real directories behind a device that misbehaves on demand, tells when a thread other than the
//! disk's own waits for it, and has a page cache of everything or nothing.

use std::any::Any;
use std::io::IoSlice;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use parking_lot::{Condvar, Mutex};
use prometheus::Registry;

use super::super::*;
use crate::store::disk::DiskReadError;
use crate::store::disk::device::faulty::{Faults, Faulty};
use crate::store::disk::device::{DeviceFile, Directory};

/// The memory budget: 10 MiB of it for the queues.
pub(super) const MEMORY: u64 = 100 << 20;

/// Long enough for any machine; a test that waits for this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Regions of 16 MiB: objects of up to 4 MiB. Files are made as they are needed.
const DISK_BYTES: u64 = 1 << 30;

/// Disks, and what a tier on them is opened with.
pub(super) struct Bench {
    pub(super) disks: Vec<TestDisk>,
    pub(super) quotas: Quotas,
    pub(super) registry: Registry,
}

pub(super) struct TestDisk {
    folder: tempfile::TempDir,
    pub(super) faults: Arc<Faults>,
    pub(super) gate: Arc<Gate>,
    device: Arc<dyn Device>,
}

/// Holds up every blocking operation while it is closed.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
    met: AtomicBool,
    /// Only the disk's own threads may wait for it from here on.
    armed: AtomicBool,
    /// Whether the page cache has everything, or nothing.
    pub(super) cached: AtomicBool,
}

#[derive(Debug)]
struct GatedDevice {
    inner: Faulty,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct GatedFile {
    inner: Arc<dyn DeviceFile>,
    gate: Arc<Gate>,
}

impl Bench {
    pub(super) fn new(disks: usize) -> Bench {
        let disks = (0..disks).map(|_| TestDisk::new()).collect();
        Bench { disks, quotas: Quotas::default(), registry: Registry::new() }
    }

    pub(super) fn open(&self) -> Arc<DiskTier> {
        self.try_open(&self.registry).unwrap()
    }

    /// Ends a tier as a crash would, unless it was closed, and opens its disks again.
    pub(super) async fn reopen(&mut self, tier: Arc<DiskTier>) -> Arc<DiskTier> {
        assert_eq!(Arc::strong_count(&tier), 1);
        drop(tier);
        self.open_when_free().await
    }

    /// Opens the disks when their threads of before have ended, and waits for the end of recovery.
    pub(super) async fn open_when_free(&mut self) -> Arc<DiskTier> {
        let mut opened = None;
        until("the disks are free", || {
            self.registry = Registry::new();
            opened = self.try_open(&self.registry).ok();
            opened.is_some()
        })
        .await;
        let tier = opened.unwrap();
        until("recovery ends", || !tier.is_recovering()).await;
        tier
    }

    fn try_open(&self, registry: &Registry) -> Result<Arc<DiskTier>, DiskError> {
        let disk = |disk: &TestDisk| Disk { path: disk.path().to_path_buf(), size: DISK_BYTES };
        let configs: Vec<_> = self.disks.iter().map(disk).collect();
        let device = |config: &Disk| {
            let disk = self.disks.iter().find(|disk| disk.path() == config.path).unwrap();
            Ok(Arc::clone(&disk.device))
        };
        let arm =
            |armed: bool| self.disks.iter().for_each(|disk| disk.gate.armed.store(armed, Ordering::SeqCst));
        arm(false);
        let tier =
            DiskTier::open(&configs, &self.quotas, MEMORY, device, DiskMetrics::new(registry).unwrap());
        arm(true);
        tier
    }
}

impl TestDisk {
    fn new() -> TestDisk {
        let folder = tempfile::tempdir().unwrap();
        let gate = Arc::new(Gate::default());
        let faulty = Faulty::new(Arc::new(Directory::new(folder.path()).unwrap()), 0x5EED);
        let faults = faulty.faults();
        let device = Arc::new(GatedDevice { inner: faulty, gate: Arc::clone(&gate) });
        TestDisk { folder, faults, gate, device }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Gate {
    pub(super) fn close(&self) {
        self.met.store(false, Ordering::SeqCst);
        *self.closed.lock() = true;
    }

    pub(super) fn open(&self) {
        *self.closed.lock() = false;
        self.opened.notify_all();
    }

    pub(super) async fn wait_until_met(&self) {
        until("the closed gate is met", || self.met.load(Ordering::SeqCst)).await;
    }

    fn pass(&self) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        let allowed = name.starts_with("disk-") || !self.armed.load(Ordering::SeqCst);
        assert!(allowed, "the thread {name} waits for the disk");
        let mut closed = self.closed.lock();
        while *closed {
            self.met.store(true, Ordering::SeqCst);
            let waited = self.opened.wait_for(&mut closed, PATIENCE);
            assert!(!waited.timed_out(), "the gate was left closed");
        }
    }
}

impl GatedDevice {
    fn wrap(&self, inner: Arc<dyn DeviceFile>) -> Arc<dyn DeviceFile> {
        Arc::new(GatedFile { inner, gate: Arc::clone(&self.gate) })
    }
}

impl Device for GatedDevice {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DeviceFile>> {
        self.gate.pass();
        self.inner.open(name).map(|file| self.wrap(file))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DeviceFile>> {
        self.gate.pass();
        self.inner.create(name, len).map(|file| self.wrap(file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.gate.pass();
        self.inner.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.gate.pass();
        self.inner.remove(name)
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.inner.lock()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.gate.pass();
        self.inner.free_bytes()
    }
}

impl DeviceFile for GatedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.gate.pass();
        self.inner.read_at(buf, offset)
    }

    fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.gate.cached.load(Ordering::SeqCst) {
            return self.inner.read_at(buf, offset);
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.gate.pass();
        self.inner.write_vectored_at(slices, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.inner.sync_data()
    }

    fn len_bytes(&self) -> io::Result<u64> {
        self.gate.pass();
        self.inner.len_bytes()
    }
}

/// The body that belongs to a seed.
pub(super) fn body(seed: u64, len: usize) -> Vec<u8> {
    let words = (0..len as u64 / 8 + 1)
        .flat_map(|word| (word ^ seed << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    words.take(len).collect()
}

/// A write of that body, in chunks as the memory tier has them.
pub(super) fn write(key: &str, seed: u64, len: usize) -> Write {
    let body = Bytes::from(body(seed, len));
    let chunks = (0..len).step_by(256 << 10).map(|at| body.slice(at..len.min(at + (256 << 10)))).collect();
    Write { key: key.into(), site: 0, meta: Bytes::from_static(b"meta"), body: chunks, hold: Box::new(()) }
}

/// All of a body.
pub(super) async fn read_all(mut stored: Stored) -> Result<Vec<u8>, DiskReadError> {
    let mut all = stored.first.to_vec();
    while let Some(block) = stored.next().await? {
        all.extend_from_slice(&block);
    }
    Ok(all)
}

/// Waits until nothing waits for the writers.
pub(super) async fn settled(tier: &DiskTier) {
    until("the queues are empty", || tier.drives.iter().all(|drive| drive.queue.bytes() == 0)).await;
}

pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, poll).await.is_ok(), "{what}: not within {PATIENCE:?}");
}
