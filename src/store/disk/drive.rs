//! One disk of the tier: its volume, the queue before its writer, the threads that read it, and its health.
//!
//! Here is decided what an error of the volume means for the disk. Which disk a key belongs to is decided by the tier;
//! what is written in which order, by the writer.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::format::{Corruption, record_bytes};
use super::health::{Health, Operation, Pause, Trouble};
use super::metrics::{DiskMetrics, Followed, Missed, OneDisk, Reason, gauge};
use super::notes::Notes;
use super::queue::{Queue, Removed};
use super::quota::Quotas;
use super::readers::{Pending, Readers};
use super::stored::DiskReadError;
use super::tier::DiskError;
use super::volume::{Eviction, ReadError, Volume};

/// How long a reader waits for the disk before it does without.
pub const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a write that is slow already may go on until the disk is taken out.
pub const WRITE_HANGS_AFTER: Duration = Duration::from_secs(30);

/// A disk that writes fewer bytes than this in a second is slow. One write may be of a batch, half a region that is
/// copied, and a whole one that is made durable.
const SLOW_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;

/// One disk.
pub(super) struct Drive {
    pub(super) path: PathBuf,
    /// Tells the disks apart in the choice of a key's disk; the same after a restart.
    pub(super) seed: u64,
    /// Configured bytes.
    pub(super) size: u64,
    pub(super) volume: Volume,
    pub(super) health: Health,
    pub(super) queue: Queue,
    /// Held by the offer whose turn it is to wait for room in the queue.
    pub(super) turn: tokio::sync::Mutex<()>,
    pub(super) readers: Readers,
    pub(super) notes: Notes,
    /// This disk's share of them.
    pub(super) quotas: Quotas,
    pub(super) metrics: OneDisk,
    pub(super) shared: DiskMetrics,
    /// Ends recovery.
    pub(super) stop: AtomicBool,
    pub(super) recovering: AtomicBool,
    /// A removal that this disk should know of cannot be written to it.
    pub(super) removals_lost: AtomicBool,
    /// Removals so far, and how many of them the disk has.
    removals: AtomicU64,
    durable: AtomicU64,
    /// It has been said that the file system is smaller than the disk's size.
    cramped_told: AtomicBool,
    start: Instant,
    /// When the write that runs began, in milliseconds since `start`, plus one; zero: none runs.
    writing_since: AtomicU64,
    /// Whether that write has been counted as late.
    late: AtomicBool,
    followed: FollowedFigures,
}

/// Figures of one disk, as an operator asks for them.
#[derive(Clone, Debug, Serialize)]
pub struct DiskStat {
    /// The directory.
    pub path: PathBuf,
    /// `ready`, `recovering`, `slow`, `full`, `read_only` or `out`.
    pub state: &'static str,
    /// The budget in bytes.
    pub capacity_bytes: u64,
    /// Bytes of the objects held.
    pub bytes: u64,
    /// Objects held.
    pub objects: u64,
    /// Bytes of memory that the index takes.
    pub index_bytes: u64,
    /// Bytes that wait for the writer.
    pub queue_bytes: u64,
    /// Bytes of objects written since the start.
    pub written_bytes: u64,
    /// Bytes written to the disk since the start, with all that is written beside objects or again.
    pub host_bytes: u64,
    /// Regions used again since the start.
    pub reclaimed_regions: u64,
    /// Reads that failed since the start.
    pub read_errors: u64,
    /// Writes that failed since the start.
    pub write_errors: u64,
    /// Objects dropped since the start because they were damaged.
    pub corrupt: u64,
    /// Why what stood in the directory at the start was discarded.
    pub discarded: Option<String>,
    /// Bytes of each site.
    pub sites: Vec<SiteStat>,
}

/// What a site has on a disk.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SiteStat {
    /// The number that the site's objects carry.
    pub site: u16,
    /// Bytes of its objects.
    pub bytes: u64,
}

/// What a disk is made of.
pub(super) struct Parts {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) volume: Volume,
    pub(super) queue: Queue,
    pub(super) readers: Readers,
    pub(super) notes: Notes,
    pub(super) quotas: Quotas,
    pub(super) metrics: DiskMetrics,
}

#[derive(Default)]
struct FollowedFigures {
    written: Followed,
    host: Followed,
    evicted: Followed,
    over_quota: Followed,
    corrupt: [Followed; Corruption::ALL.len()],
}

impl Drive {
    pub(super) fn new(parts: Parts) -> Drive {
        let region = parts.volume.region_bytes();
        Drive {
            seed: xxhash_rust::xxh3::xxh3_64(parts.path.as_os_str().as_encoded_bytes()),
            size: parts.size,
            volume: parts.volume,
            health: Health::new(&parts.path, Duration::from_secs(region / SLOW_BYTES_PER_SECOND * 3 / 2)),
            queue: parts.queue,
            turn: tokio::sync::Mutex::new(()),
            readers: parts.readers,
            notes: parts.notes,
            quotas: parts.quotas,
            metrics: parts.metrics.one_disk(&parts.path),
            shared: parts.metrics,
            stop: AtomicBool::new(false),
            recovering: AtomicBool::new(true),
            removals_lost: AtomicBool::new(false),
            removals: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            cramped_told: AtomicBool::new(false),
            start: Instant::now(),
            writing_since: AtomicU64::new(0),
            late: AtomicBool::new(false),
            followed: FollowedFigures::default(),
            path: parts.path,
        }
    }

    /// Has a reading thread do `read`, of the object under `key`.
    ///
    /// # Errors
    /// When too much waits already, or the disk is out.
    pub(super) fn submit<T: Send + 'static>(
        self: &Arc<Self>,
        key: &Arc<str>,
        read: impl FnOnce(&Volume, &str) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<Pending<Result<T, DiskReadError>>, DiskReadError> {
        let (drive, key) = (Arc::clone(self), Arc::clone(key));
        let work = move || {
            let start = Instant::now();
            if drive.health.is_out() {
                return Err(DiskReadError::Out);
            }
            let read = read(&drive.volume, &key);
            drive.metrics.took(Operation::Read, start.elapsed());
            if !matches!(read, Err(ReadError::Io(_))) {
                drive.health.went_well(Operation::Read, start.elapsed(), Instant::now());
            }
            read.map_err(|error| drive.read_failed_at(&key, error))
        };
        if let Some(pending) = self.readers.submit(work) {
            return Ok(pending);
        }
        self.shared.missed(Missed::QueueFull);
        if self.readers.is_silent_for(READ_TIMEOUT) {
            self.trouble(Operation::Read, Trouble::Late);
        }
        Err(DiskReadError::Busy)
    }

    /// Waits for a reading thread's answer until `deadline`. Cancel-safe.
    pub(super) async fn answer<T>(
        &self,
        pending: &mut Pending<Result<T, DiskReadError>>,
        deadline: tokio::time::Instant,
    ) -> Result<T, DiskReadError> {
        match tokio::time::timeout_at(deadline, &mut pending.answer).await {
            Ok(Ok(read)) => read,
            Ok(Err(_stopped)) => Err(DiskReadError::Out),
            Err(_elapsed) => {
                self.shared.missed(Missed::Late);
                // If others were answered meanwhile, the queue is long; that is no fault of the disk's.
                if self.readers.is_silent_since(pending) {
                    self.trouble(Operation::Read, Trouble::Late);
                }
                Err(DiskReadError::Late)
            }
        }
    }

    /// What an error of the volume means to a reader. An error of the disk is noted, and the object is dropped, so that
    /// one bad place is not met again and again.
    pub(super) fn read_failed_at(&self, key: &str, error: ReadError) -> DiskReadError {
        match error {
            ReadError::Io(error) => {
                self.remove(key);
                self.trouble(Operation::Read, Trouble::Io(&error));
                DiskReadError::Io(error)
            }
            ReadError::Corrupt(_) => DiskReadError::Corrupt,
            ReadError::Reclaimed => DiskReadError::Gone,
            ReadError::WouldBlock => DiskReadError::Busy,
        }
    }

    /// Notes a failed operation, and draws the consequences.
    pub(super) fn trouble(&self, operation: Operation, trouble: Trouble<'_>) {
        self.metrics.failed(operation);
        self.health.went_wrong(operation, trouble, Instant::now());
        self.draw_consequences();
    }

    /// Drops what waits for a disk that takes no more writes.
    pub(super) fn draw_consequences(&self) {
        let reason = if self.health.is_out() {
            self.metrics.out.set(1);
            Reason::Out
        } else if self.health.is_read_only() {
            Reason::ReadOnly
        } else {
            return;
        };
        self.shed(reason);
    }

    /// Drops what waits for the writer. What an object on the disk was to be replaced by counts more than that object.
    pub(super) fn shed(&self, reason: Reason) {
        let shed = self.queue.shed();
        self.shared.shed(reason, shed.len() as u64);
        for key in shed {
            self.remove(&key);
        }
    }

    /// Why no write is taken now.
    pub(super) fn pause(&self, now: Instant) -> Option<Pause> {
        self.watch_writer(now);
        self.health.pause(now)
    }

    /// Removes a key from the queue, from the writer's hand and from the volume. Says whether it was there.
    pub(super) fn remove(&self, key: &str) -> bool {
        let remove = || {
            let stored = self.volume.remove(key);
            let to_write = !self.health.is_out() && !self.health.is_read_only();
            if to_write {
                self.removals.fetch_add(1, Ordering::AcqRel);
            } else if stored || self.recovering.load(Ordering::Acquire) {
                self.removals_lost.store(true, Ordering::Release);
            }
            Removed { stored, to_write }
        };
        self.queue.remove(key, remove)
    }

    /// What to tell those who ask for removals to be durable, when the disk takes none any more.
    pub(super) fn unwritable(&self) -> Option<Result<(), DiskError>> {
        if !self.health.is_out() && !self.health.is_read_only() {
            return None;
        }
        Some(if self.has_all_removals() {
            Ok(())
        } else {
            Err(DiskError::NotDurable { path: self.path.clone() })
        })
    }

    /// Whether no removal would be undone by a restart.
    pub(super) fn has_all_removals(&self) -> bool {
        let pending = self.removals.load(Ordering::Acquire) > self.durable.load(Ordering::Acquire);
        !pending && !self.removals_lost.load(Ordering::Acquire)
    }

    /// Writes removals, and says whether the disk has them all. The writer's.
    pub(super) fn write_removals<E>(
        &self,
        flush: impl FnOnce(&Volume) -> Result<(), E>,
        failure: impl FnOnce(&Result<(), E>) -> Option<std::io::Error>,
    ) -> bool {
        if self.health.is_out() || self.health.is_read_only() {
            return self.has_all_removals();
        }
        let until = self.removals.load(Ordering::Acquire);
        let written = self.write(flush, failure).is_ok();
        if written {
            self.durable.fetch_max(until, Ordering::AcqRel);
        }
        written && !self.removals_lost.load(Ordering::Acquire)
    }

    /// Runs one write of the writer, and notes how it went: `failure` is the error of the device in its result.
    pub(super) fn write<T>(
        &self,
        write: impl FnOnce(&Volume) -> T,
        failure: impl FnOnce(&T) -> Option<std::io::Error>,
    ) -> T {
        let start = Instant::now();
        self.late.store(false, Ordering::Release);
        self.writing_since.store(self.millis(start) + 1, Ordering::Release);
        let written = write(&self.volume);
        self.writing_since.store(0, Ordering::Release);
        self.metrics.took(Operation::Write, start.elapsed());
        if self.volume.is_cramped() && !self.cramped_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                path = %self.path.display(), size = self.size,
                "the file system has no room for all of a disk's size: it goes on within the room that it has; free space \
                 there, or lower its size in store.disk"
            );
        }
        match failure(&written) {
            Some(error) => self.trouble(Operation::Write, Trouble::Io(&error)),
            None => self.health.went_well(Operation::Write, start.elapsed(), Instant::now()),
        }
        written
    }

    /// Bytes that an object takes on this disk.
    pub(super) fn record_bytes(&self, key: &str, meta: &[u8], body_len: u64) -> u64 {
        let lens = (u16::try_from(key.len()), u32::try_from(meta.len()), u32::try_from(body_len));
        match lens {
            (Ok(key), Ok(meta), Ok(body)) => record_bytes(key, meta, body),
            _ => u64::MAX,
        }
    }

    /// Sets the gauges and counters that follow the volume's figures.
    pub(super) fn follow(&self) {
        self.watch_writer(Instant::now());
        let stats = self.volume.stats();
        let followed = &self.followed;
        self.shared.written_bytes.inc_by(followed.written.growth(stats.appended.get().1));
        self.shared.host_bytes.inc_by(followed.host.growth(stats.written_bytes.load(Ordering::Relaxed)));
        self.shared.evicted_size.inc_by(followed.evicted.growth(stats.evictions(Eviction::Size).get().0));
        self.shared
            .evicted_quota
            .inc_by(followed.over_quota.growth(stats.evictions(Eviction::Quota).get().0));
        for (kind, followed) in Corruption::ALL.into_iter().zip(&followed.corrupt) {
            match followed.growth(stats.corruptions(kind).load(Ordering::Relaxed)) {
                0 => {}
                objects => self.metrics.corrupt(kind.as_str(), objects),
            }
        }
        self.metrics.out.set(gauge(u64::from(self.health.is_out())));
    }

    /// The figures.
    pub(super) fn stat(&self) -> DiskStat {
        let stats = self.volume.stats();
        let (objects, bytes) = stats.live.get();
        let corrupt = Corruption::ALL.into_iter().map(|kind| stats.corruptions(kind).load(Ordering::Relaxed));
        let mut sites: Vec<SiteStat> =
            self.volume.site_bytes().into_iter().map(|(site, bytes)| SiteStat { site, bytes }).collect();
        sites.sort_by_key(|stat| stat.site);
        DiskStat {
            path: self.path.clone(),
            state: self.state(Instant::now()),
            capacity_bytes: self.volume.capacity_bytes(),
            bytes,
            objects,
            index_bytes: self.volume.index_bytes(),
            queue_bytes: self.queue.bytes(),
            written_bytes: stats.appended.get().1,
            host_bytes: stats.written_bytes.load(Ordering::Relaxed),
            reclaimed_regions: stats.reclaimed_regions.load(Ordering::Relaxed),
            read_errors: self.metrics.errors(Operation::Read),
            write_errors: self.metrics.errors(Operation::Write),
            corrupt: corrupt.sum(),
            discarded: self.volume.discarded().map(str::to_string),
            sites,
        }
    }

    fn state(&self, now: Instant) -> &'static str {
        match self.pause(now) {
            Some(Pause::Out) => "out",
            Some(Pause::ReadOnly) => "read_only",
            Some(Pause::Full) => "full",
            Some(Pause::Slow) => "slow",
            None if self.recovering.load(Ordering::Acquire) => "recovering",
            None => "ready",
        }
    }

    /// Notes a write that lasts too long, while it lasts.
    fn watch_writer(&self, now: Instant) {
        let since = self.writing_since.load(Ordering::Acquire);
        if since == 0 {
            return;
        }
        let lasted = Duration::from_millis((self.millis(now) + 1).saturating_sub(since));
        let limit = self.health.slow_after(Operation::Write);
        if lasted > limit {
            self.health.spare(Operation::Write, lasted, now);
            if !self.late.swap(true, Ordering::AcqRel) {
                self.trouble(Operation::Write, Trouble::Late);
            }
        }
        if lasted > limit + WRITE_HANGS_AFTER && !self.health.is_out() {
            self.health.take_out(&"a write does not end");
            self.draw_consequences();
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }
}
