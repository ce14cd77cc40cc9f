//! A device that misbehaves on demand: errors, delays, flipped bits, short writes. For tests of whatever stands on a
//! device, here and in integration tests; nothing that serves requests uses it.
//!
//! The switches are atomics in [`Faults`]: they act at once, on files that are open too. What is random comes from a
//! seed, so that a failure can be repeated.

use std::any::Any;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::{Device, DeviceFile};

/// How often a delayed operation looks whether the delay still holds.
const DELAY_STEP: Duration = Duration::from_millis(5);

/// What goes wrong. Everything is off at first.
#[derive(Debug, Default)]
pub struct Faults {
    write_errno: AtomicI32,
    read_errno: AtomicI32,
    delay_us: AtomicU64,
    uncached: AtomicBool,
    flip_one_in: AtomicU64,
    cut_writes_at: AtomicU64,
    writes_left: AtomicU64,
    random: AtomicU64,
}

/// A device whose operations go wrong as [`Faults`] say.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Device>,
    faults: Arc<Faults>,
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn DeviceFile>,
    faults: Arc<Faults>,
}

/// `errno` of a full disk.
pub const ENOSPC: i32 = Errno::NOSPC.raw_os_error();
/// `errno` of a read-only file system.
pub const EROFS: i32 = Errno::ROFS.raw_os_error();
/// `errno` of a failing disk.
pub const EIO: i32 = Errno::IO.raw_os_error();

// === impl Faults ===

impl Faults {
    /// Writes, creations, removals and syncs fail with this `errno`; 0 lets them through.
    pub fn fail_writes(&self, errno: i32) {
        self.writes_left.store(0, Ordering::SeqCst);
        self.write_errno.store(errno, Ordering::SeqCst);
    }

    /// As [`Faults::fail_writes`], after this many more operations that change something.
    pub fn fail_writes_after(&self, operations: u64, errno: i32) {
        self.writes_left.store(operations, Ordering::SeqCst);
        self.write_errno.store(errno, Ordering::SeqCst);
    }

    /// Reads fail with this `errno`; 0 lets them through.
    pub fn fail_reads(&self, errno: i32) {
        self.read_errno.store(errno, Ordering::SeqCst);
    }

    /// Each operation that goes to the disk takes this much longer, those under way included. Nothing is found in the
    /// page cache meanwhile, which is as quick as ever.
    pub fn delay(&self, delay: Duration) {
        self.delay_us.store(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Whether nothing is found in the page cache: every read goes to the disk.
    pub fn uncached(&self, uncached: bool) {
        self.uncached.store(uncached, Ordering::SeqCst);
    }

    /// One read in this many comes with one bit flipped; 0 for none.
    pub fn flip_bits(&self, one_in: u64) {
        self.flip_one_in.store(one_in, Ordering::SeqCst);
    }

    /// A write call writes at most this many bytes; 0 for no limit.
    pub fn cut_writes(&self, bytes: u64) {
        self.cut_writes_at.store(bytes, Ordering::SeqCst);
    }

    fn before(&self) {
        let start = Instant::now();
        while start.elapsed() < self.delayed() {
            #[allow(
                clippy::disallowed_methods,
                reason = "a slow disk blocks its caller: that is what is tested"
            )]
            std::thread::sleep(DELAY_STEP.min(self.delayed()));
        }
    }

    fn delayed(&self) -> Duration {
        Duration::from_micros(self.delay_us.load(Ordering::SeqCst))
    }

    fn finds_cached(&self) -> bool {
        !self.uncached.load(Ordering::SeqCst) && self.delayed().is_zero()
    }

    fn change(&self) -> io::Result<()> {
        self.before();
        let spent = |left: u64| left.checked_sub(1);
        if self.writes_left.try_update(Ordering::SeqCst, Ordering::SeqCst, spent).is_ok() {
            return Ok(());
        }
        errno(self.write_errno.load(Ordering::SeqCst))
    }

    fn read(&self) -> io::Result<()> {
        self.before();
        errno(self.read_errno.load(Ordering::SeqCst))
    }

    /// The next number of a splitmix64 sequence.
    fn next_random(&self) -> u64 {
        let state = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn damage(&self, read: &mut [u8]) {
        let one_in = self.flip_one_in.load(Ordering::SeqCst);
        if one_in == 0 || read.is_empty() || !self.next_random().is_multiple_of(one_in) {
            return;
        }
        let random = self.next_random();
        let place = usize::try_from(random >> 3).unwrap_or(0) % read.len();
        if let Some(byte) = read.get_mut(place) {
            *byte ^= 1 << (random & 7);
        }
    }
}

fn errno(errno: i32) -> io::Result<()> {
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

// === impl Faulty ===

impl Faulty {
    /// A device over `inner` with all switches off; what is random follows from `seed`.
    pub fn new(inner: Arc<dyn Device>, seed: u64) -> Faulty {
        Faulty { inner, faults: Arc::new(Faults { random: AtomicU64::new(seed), ..Faults::default() }) }
    }

    /// The switches.
    pub fn faults(&self) -> Arc<Faults> {
        Arc::clone(&self.faults)
    }

    fn wrap(&self, inner: Arc<dyn DeviceFile>) -> Arc<dyn DeviceFile> {
        Arc::new(FaultyFile { inner, faults: self.faults() })
    }
}

impl Device for Faulty {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DeviceFile>> {
        self.faults.read()?;
        self.inner.open(name).map(|file| self.wrap(file))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DeviceFile>> {
        self.faults.change()?;
        self.inner.create(name, len).map(|file| self.wrap(file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.faults.read()?;
        self.inner.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.faults.change()?;
        self.inner.remove(name)
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.inner.lock()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.faults.read()?;
        self.inner.free_bytes()
    }
}

impl DeviceFile for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.faults.read()?;
        let read = self.inner.read_at(buf, offset)?;
        self.faults.damage(buf.get_mut(..read).unwrap_or_default());
        Ok(read)
    }

    fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if !self.faults.finds_cached() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.faults.read()?;
        let read = self.inner.read_cached_at(buf, offset)?;
        self.faults.damage(buf.get_mut(..read).unwrap_or_default());
        Ok(read)
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.faults.change()?;
        let cut = usize::try_from(self.faults.cut_writes_at.load(Ordering::SeqCst)).unwrap_or(usize::MAX);
        match slices.iter().find(|slice| !slice.is_empty()) {
            Some(first) if cut > 0 => {
                let part = first.get(..cut.min(first.len())).unwrap_or_default();
                self.inner.write_vectored_at(&[IoSlice::new(part)], offset)
            }
            _ => self.inner.write_vectored_at(slices, offset),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.change()?;
        self.inner.sync_data()
    }

    fn len_bytes(&self) -> io::Result<u64> {
        self.faults.read()?;
        self.inner.len_bytes()
    }
}
