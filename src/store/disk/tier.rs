//! The disks together: which one a key belongs to, what is found, taken, removed and told.
//!
//! A key belongs to one disk by weighted rendezvous hashing over the disks that are in use: when one is taken out, only
//! its share moves. What may enter at all ([`super::admit`]) and what an object's metadata mean is the store's, which
//! calls this.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::io::Errno;
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::device::{Device, Directory, remedy};
use super::drive::{DiskStat, Drive, Parts};
use super::metrics::{DiskMetrics, Reason, gauge};
use super::notes::Notes;
use super::queue::{Queue, Write};
use super::quota::Quotas;
use super::readers::{READ_THREADS, Readers};
use super::stored::Stored;
use super::volume::{AppendError, KEY_BYTES_MAX, META_BYTES_MAX, Volume, VolumeError, VolumeOptions};
use super::writer;
use crate::config::model::Disk;

/// Share of the memory budget, in percent, that bodies may hold while they wait for the disks' writers, all disks
/// together. Beyond it, one object of any size may wait for each disk.
pub const QUEUE_SHARE_PERCENT: u64 = 10;

/// Share of the memory budget, in percent, that the index of what is on disk may take: beyond it, objects under new keys
/// are not written. It leaves room for objects to be fetched through memory in any case.
pub const INDEX_SHARE_PERCENT: u64 = 75;

/// How long the writers go on with what waits when the tier is closed.
pub const CLOSE_DRAIN: Duration = Duration::from_secs(5);

/// How long closing waits for a disk in all; one that hangs is left as it is, as after a crash.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a clearing or a durable removal waits for a disk.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long nobody waits for room in a queue after somebody has waited in vain.
pub const IMPATIENCE: Duration = Duration::from_secs(5);

/// What can go wrong with the tier as a whole.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The directory cannot be used.
    #[error("store.disk: {path}: {source}; {}", remedy(.source))]
    Device {
        /// The directory.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// The volume in it cannot be opened.
    #[error("store.disk: {path}: {source}")]
    Volume {
        /// The directory.
        path: PathBuf,
        /// Why, and what to do.
        source: VolumeError,
    },
    /// No thread could be started for a disk.
    #[error("store.disk: {path}: no thread can be started for it: {source}; raise the limit of processes")]
    Thread {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The volume could not be closed in order.
    #[error("disk {path}: not closed in order, it is recovered at the next start: {source}")]
    Close {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: AppendError,
    },
    /// A removal holds now, but not after a restart.
    #[error(
        "disk {path}: a removal cannot be written to it: it holds until the node starts again; clear the disk \
         (`forebay cache clear`) before it is used again"
    )]
    NotDurable {
        /// The directory.
        path: PathBuf,
    },
    /// The disk did not answer in time.
    #[error("disk {path}: no answer within {ANSWER_TIMEOUT:?}; check the device")]
    Late {
        /// The directory.
        path: PathBuf,
    },
    /// Too many purges wait for the disk.
    #[error("too many purges wait for the disk; try again later")]
    TooManyPurges,
    /// The tier has been closed.
    #[error("the disk tier is closed")]
    Closed,
}

impl DiskError {
    /// Whether the device is at fault, not the configuration.
    fn is_of_the_device(&self) -> bool {
        let (DiskError::Device { source, .. }
        | DiskError::Volume { source: VolumeError::Io { source, .. }, .. }) = self
        else {
            return false;
        };
        let broken = [Errno::IO, Errno::NXIO, Errno::NODEV, Errno::STALE].map(Errno::raw_os_error);
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
        ) || source.raw_os_error().is_some_and(|code| broken.contains(&code))
    }
}

/// What became of an offered write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It waits for the writer, and is found from now on.
    Queued,
    /// It is not written.
    Shed(Reason),
}

/// The disk tier.
pub struct DiskTier {
    pub(super) drives: Vec<Arc<Drive>>,
    /// Disks that the node has started without.
    pub(super) left_out: Vec<PathBuf>,
    /// Bytes of memory that the index may take: beyond them, no new keys are written.
    index_bytes_max: u64,
    metrics: DiskMetrics,
    /// Until when nobody waits for room: somebody has in vain.
    impatient_until: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for DiskTier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.drives.iter().map(|drive| &drive.path)).finish()
    }
}

/// The device of a configured disk: its directory, which must exist. One that is missing may be a file system that is not
/// mounted: it is not made on the one below.
///
/// # Errors
/// As the file system says.
pub fn directory(disk: &Disk) -> io::Result<Arc<dyn Device>> {
    std::fs::metadata(&disk.path)?;
    Ok(Arc::new(Directory::new(&disk.path)?))
}

// === impl DiskTier: opening and closing ===

impl DiskTier {
    /// Opens the disks, each through what `device` makes of it, and starts their threads. What they hold is found as
    /// recovery, which goes on behind this, comes to it. `quotas` are of sites' bytes on all disks together; `memory`
    /// is the memory budget, of which [`QUEUE_SHARE_PERCENT`] may wait to be written.
    ///
    /// # Errors
    /// [`DiskError`], naming the directory and what to do, for the first disk that is configured wrongly. One that is full,
    /// read-only or broken is left out, as when it becomes so later.
    pub fn open(
        disks: &[Disk],
        quotas: &Quotas,
        memory: u64,
        device: impl Fn(&Disk) -> io::Result<Arc<dyn Device>>,
        metrics: DiskMetrics,
    ) -> Result<Arc<DiskTier>, DiskError> {
        let mut tier = DiskTier {
            drives: Vec::with_capacity(disks.len()),
            left_out: Vec::new(),
            index_bytes_max: memory / 100 * INDEX_SHARE_PERCENT,
            metrics,
            impatient_until: Mutex::default(),
        };
        let all = disks.iter().map(|disk| disk.size).fold(0, u64::saturating_add);
        let queue_bytes = memory / 100 * QUEUE_SHARE_PERCENT / (disks.len() as u64).max(1);
        for disk in disks {
            let path = || disk.path.clone();
            let (volume, notes) = match open_volume(disk, &device) {
                Err(error) if error.is_of_the_device() => {
                    // As when it fails later: one broken disk does not keep a node from starting again.
                    tracing::error!(%error, "the node starts without a disk");
                    tier.metrics.one_disk(&disk.path).out.set(1);
                    tier.left_out.push(path());
                    continue;
                }
                opened => opened?,
            };
            let thread = |source| DiskError::Thread { path: path(), source };
            let drive = Arc::new(Drive::new(Parts {
                path: path(),
                size: disk.size,
                volume,
                queue: Queue::new(queue_bytes),
                readers: Readers::start("disk-read", READ_THREADS).map_err(thread)?,
                notes,
                quotas: quotas.share(disk.size, all),
                metrics: tier.metrics.clone(),
            }));
            // From here on the tier ends the disk's threads, also if the next disk cannot be opened.
            tier.drives.push(Arc::clone(&drive));
            let writing = Arc::clone(&drive);
            spawn("disk-write", move || writer::run(&writing)).map_err(thread)?;
            spawn("disk-recover", move || writer::recover(&drive)).map_err(thread)?;
        }
        let capacity: u64 = tier.drives.iter().map(|drive| drive.volume.capacity_bytes()).sum();
        tier.metrics.capacity.set(gauge(capacity));
        Ok(Arc::new(tier))
    }

    /// Bytes of the largest object that every disk takes, with its key and metadata; None: there is no disk.
    pub fn object_bytes_max(&self) -> Option<u64> {
        self.drives.iter().map(|drive| drive.volume.record_bytes_max()).min()
    }

    /// Bytes of memory that the index of what is on the disks takes.
    pub fn index_bytes(&self) -> u64 {
        self.drives.iter().map(|drive| drive.volume.index_bytes()).sum()
    }

    /// Whether a disk is still finding out what it holds.
    pub fn is_recovering(&self) -> bool {
        self.drives.iter().any(|drive| drive.recovering.load(Ordering::Acquire))
    }

    /// Ends the tier: writes what waits for up to [`CLOSE_DRAIN`], and closes the volumes in order, so that the next
    /// start need not search. Returns after [`CLOSE_TIMEOUT`] at the latest.
    ///
    /// # Errors
    /// For the first disk that could not be closed in order; the others are closed all the same.
    pub async fn close(&self) -> Result<(), DiskError> {
        let drain_until = Instant::now() + CLOSE_DRAIN;
        let closing = self.ask(CLOSE_TIMEOUT, |drive, answer| {
            drive.stop.store(true, Ordering::Release);
            if drive.health.is_out() {
                drive.queue.stop(None, None);
                let _ = answer.send(Ok(()));
            } else {
                drive.queue.stop(Some(drain_until), Some(answer));
            }
        });
        let closed = closing.await;
        self.drives.iter().for_each(|drive| drive.readers.stop());
        closed
    }

    /// Has each disk's writer do something, and waits until all have answered or `timeout` has passed.
    async fn ask(
        &self,
        timeout: Duration,
        ask: impl Fn(&Drive, super::queue::Answer),
    ) -> Result<(), DiskError> {
        let deadline = tokio::time::Instant::now() + timeout;
        let asked: Vec<_> = self
            .drives
            .iter()
            .map(|drive| {
                let (answer, told) = oneshot::channel();
                ask(drive, answer);
                (drive, told)
            })
            .collect();
        let mut result = Ok(());
        for (drive, told) in asked {
            let answer = match tokio::time::timeout_at(deadline, told).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_ended)) => Err(DiskError::Closed),
                Err(_elapsed) => Err(DiskError::Late { path: drive.path.clone() }),
            };
            result = result.and(answer);
        }
        result
    }
}

fn open_volume(
    disk: &Disk,
    device: impl Fn(&Disk) -> io::Result<Arc<dyn Device>>,
) -> Result<(Volume, Notes), DiskError> {
    let failed = |source| DiskError::Device { path: disk.path.clone(), source };
    let device = device(disk).map_err(failed)?;
    let options = VolumeOptions { size: disk.size, region: None };
    let volume = Volume::open(Arc::clone(&device), options)
        .map_err(|source| DiskError::Volume { path: disk.path.clone(), source })?;
    let notes = Notes::open(device, volume.has_unrecovered()).map_err(failed)?;
    Ok((volume, notes))
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_string()).spawn(run).map(drop)
}

// === impl DiskTier: objects ===

impl DiskTier {
    /// Whether there is an object under this key. Takes no input or output.
    pub fn contains(&self, key: &str) -> bool {
        self.place(key).is_some_and(|drive| drive.contains(key))
    }

    /// Counts a hit in memory of the object under this key for it on disk, too; says whether it is there.
    pub fn touch(&self, key: &str) -> bool {
        self.place(key).is_some_and(|drive| drive.touch(key))
    }

    /// Whether the disk that this key belongs to can take more without evicting anything.
    pub fn has_room(&self, key: &str) -> bool {
        self.place(key).is_some_and(|drive| drive.volume.has_room())
    }

    /// The object under this key, with the begin of its body; None also when its disk does not answer in time, and the
    /// object has to come from elsewhere. Cancel-safe. Never waits on the calling thread.
    pub async fn find(&self, key: &str) -> Option<Stored> {
        self.place(key)?.find(key).await
    }

    /// Takes an object to be written, in place of what is held under its key; never waits.
    pub fn offer(&self, write: Write) -> Offered {
        self.told(self.try_offer(write))
    }

    /// As [`DiskTier::offer`], and waits for room in the queue for up to `within`. Once that was in vain, the disks are
    /// behind, and nobody waits for [`IMPATIENCE`]: what waits takes memory. Cancel-safe: a write that is given up is
    /// dropped.
    pub async fn offer_within(&self, write: Write, within: Duration) -> Offered {
        let deadline = tokio::time::Instant::now() + within;
        let Some(drive) = self.place(&write.key).cloned() else {
            return self.told(Err((write, Reason::Out)));
        };
        // First come, first served.
        let turn = tokio::time::timeout_at(deadline, drive.turn.lock()).await;
        let mut write = write;
        loop {
            let room = drive.queue.room();
            tokio::pin!(room);
            room.as_mut().enable();
            match self.try_offer(write) {
                Err((back, Reason::QueueFull)) if turn.is_ok() && self.is_patient() => write = back,
                other => return self.told(other),
            }
            if tokio::time::timeout_at(deadline, room).await.is_err() {
                *self.impatient_until.lock() = Some(Instant::now() + IMPATIENCE);
                return self.told(Err((write, Reason::QueueFull)));
            }
        }
    }

    /// Takes newer metadata of an object, after the origin has said that its body is unchanged. Nothing if the object
    /// is not held.
    pub fn refresh(&self, key: &str, meta: Bytes) {
        let Some(drive) = self.place(key) else { return };
        if meta.len() > META_BYTES_MAX {
            self.metrics.shed(Reason::TooLarge, 1);
        } else if let Some(pause) = drive.pause(Instant::now()) {
            if drive.contains(key) {
                self.metrics.shed(pause.into(), 1);
            }
        } else if !drive.queue.refresh(key, meta, || drive.volume.contains(key)) {
            self.metrics.shed(Reason::QueueFull, 1);
        }
    }

    /// Removes the object under this key, from every disk that has one, from their queues too: it is not found any more.
    /// Says whether there was one. After a crash it may be back; see [`DiskTier::remove_durably`].
    pub fn remove(&self, key: &str) -> bool {
        // Also disks that the key does not belong to now: it may have when one of them was not there.
        self.drives.iter().map(|drive| drive.remove(key)).filter(|removed| *removed).count() > 0
    }

    /// As [`DiskTier::remove`], of an object that a purge has named.
    pub fn remove_purged(&self, key: &str) {
        if self.remove(key) {
            self.metrics.evicted_purge.inc();
        }
    }

    /// As [`DiskTier::remove`], and returns when the object will not be back after a crash either.
    ///
    /// # Errors
    /// [`DiskError`] if that could not be made sure; the object is removed all the same.
    pub async fn remove_durably(&self, key: &str) -> Result<bool, DiskError> {
        let removed = self.remove(key);
        self.persist_removals().await.map(|()| removed)
    }

    /// Returns when all removals until now are on the disks: once for many of them.
    ///
    /// # Errors
    /// As [`DiskTier::remove_durably`].
    pub async fn persist_removals(&self) -> Result<(), DiskError> {
        self.ask(ANSWER_TIMEOUT, |drive, answer| match drive.unwritable() {
            Some(told) => {
                let _ = answer.send(told);
            }
            None => drive.queue.persist(answer),
        })
        .await
    }

    /// Removes everything, for good. Nothing is found any more from the first poll on.
    ///
    /// # Errors
    /// [`DiskError`] for the first disk on which that could not be written.
    pub async fn clear(&self) -> Result<(), DiskError> {
        self.ask(ANSWER_TIMEOUT, |drive, answer| {
            if drive.health.is_out() {
                drive.removals_lost.store(true, Ordering::Release);
                let _ = answer.send(Err(DiskError::NotDurable { path: drive.path.clone() }));
            } else {
                drive.queue.clear(answer);
            }
        })
        .await
    }

    fn is_patient(&self) -> bool {
        self.impatient_until.lock().is_none_or(|until| Instant::now() >= until)
    }

    /// Puts a write into its disk's queue, or gives it back.
    fn try_offer(&self, write: Write) -> Result<(), (Write, Reason)> {
        let Some(drive) = self.place(&write.key) else { return Err((write, Reason::Out)) };
        let bytes: u64 = write.body.iter().map(|chunk| chunk.len() as u64).sum();
        if write.key.len() > KEY_BYTES_MAX
            || write.meta.len() > META_BYTES_MAX
            || drive.record_bytes(&write.key, &write.meta, bytes) > drive.volume.record_bytes_max()
        {
            return Err((write, Reason::TooLarge));
        }
        if let Some(pause) = drive.pause(Instant::now()) {
            return Err((write, pause.into()));
        }
        if self.index_bytes() > self.index_bytes_max && !drive.contains(&write.key) {
            return Err((write, Reason::IndexFull));
        }
        for other in self.drives.iter().filter(|other| !Arc::ptr_eq(other, drive)) {
            if other.contains(&write.key) {
                other.remove(&write.key);
            }
        }
        drive.queue.offer(write)
    }

    /// Says what became of a write. What one that is shed was to replace is older than what the store has, and goes.
    fn told(&self, offered: Result<(), (Write, Reason)>) -> Offered {
        match offered {
            Ok(()) => Offered::Queued,
            Err((write, reason)) => {
                self.metrics.shed(reason, 1);
                if self.contains(&write.key) {
                    self.remove(&write.key);
                }
                Offered::Shed(reason)
            }
        }
    }

    /// The disk that a key belongs to, of those in use.
    fn place(&self, key: &str) -> Option<&Arc<Drive>> {
        let mut best: Option<(f64, &Arc<Drive>)> = None;
        for drive in self.drives.iter().filter(|drive| !drive.health.is_out()) {
            let score = score(key, drive.seed, drive.size);
            if best.is_none_or(|(highest, _)| score > highest) {
                best = Some((score, drive));
            }
        }
        best.map(|(_, drive)| drive)
    }
}

/// How much a key is drawn to a disk: an exponential variable with the disk's size as its mean, so that each disk has
/// the highest score for its share of the keys.
#[allow(clippy::cast_precision_loss, reason = "52 bits of a hash, and shares that need not be exact")]
fn score(key: &str, seed: u64, size: u64) -> f64 {
    let uniform = ((xxh3_64_with_seed(key.as_bytes(), seed) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    size as f64 / -uniform.ln()
}

// === impl DiskTier: figures ===

impl DiskTier {
    /// The figures of each disk.
    pub fn stat(&self) -> Vec<DiskStat> {
        self.drives.iter().map(|drive| drive.stat()).collect()
    }

    /// Sets the metrics to what is held now; called before metrics are read.
    pub fn update_gauges(&self) {
        self.drives.iter().for_each(|drive| drive.follow());
        // What stands on a disk that is out is not held: nobody gets it.
        let in_use = || self.drives.iter().filter(|drive| !drive.health.is_out());
        let live = || in_use().map(|drive| drive.volume.stats().live.get());
        self.metrics.objects.set(gauge(live().map(|(objects, _)| objects).sum()));
        self.metrics.bytes.set(gauge(live().map(|(_, bytes)| bytes).sum()));
        self.metrics.queue_bytes.set(gauge(self.drives.iter().map(|drive| drive.queue.bytes()).sum()));
    }
}

impl Drop for DiskTier {
    fn drop(&mut self) {
        for drive in &self.drives {
            drive.stop.store(true, Ordering::Release);
            drive.queue.stop(None, None);
            drive.readers.stop();
        }
    }
}

#[cfg(test)]
mod tests;
