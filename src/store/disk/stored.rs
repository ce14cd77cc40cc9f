//! An object found on a disk, and how its body is read: the first block with the look-up, the others one ahead.
//!
//! Network threads never wait for a disk: a read tries the page cache first, and what is not there is read by the
//! disk's own threads, for a limited time. What to do when a read fails (fetch from the origin) is the caller's.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::drive::{Drive, READ_TIMEOUT};
use super::queue::{Body, Queued, Waiting};
use super::readers::Pending;
use super::volume::{BLOCK_BYTES, Head, Location, ReadError};

/// Bytes of body that a [`Stored`] holds at most, the block that its last read gave included: what its reader may want
/// to reserve.
pub const STORED_BYTES_MAX: usize = 2 * BLOCK_BYTES;

/// Look-ups of one object when its region is used again between look-up and read.
const LOOK_UPS_MAX: usize = 3;

/// Why a block was not read.
#[derive(Debug, thiserror::Error)]
pub enum DiskReadError {
    /// The disk failed.
    #[error("reading the disk failed: {0}")]
    Io(#[source] io::Error),
    /// The disk did not answer within [`READ_TIMEOUT`].
    #[error("the disk did not answer in time")]
    Late,
    /// Too many reads wait for the disk.
    #[error("too many reads wait for the disk")]
    Busy,
    /// The bytes are damaged; the object is no longer held.
    #[error("the object on disk is damaged")]
    Corrupt,
    /// The object has been removed or evicted since it was found.
    #[error("the object has left the disk")]
    Gone,
    /// The disk has been taken out, or the tier closed.
    #[error("the disk is out of use")]
    Out,
}

/// An object found on a disk, or on its way there.
pub struct Stored {
    /// What was known of it beside its body, with the last refresh.
    pub meta: Bytes,
    /// Bytes of its body.
    pub body_len: u64,
    /// The body's begin; empty if the body is.
    pub first: Bytes,
    rest: Rest,
}

enum Rest {
    Waiting { body: Arc<Body>, next: usize },
    Disk(Box<OnDisk>),
}

struct OnDisk {
    drive: Arc<Drive>,
    key: Arc<str>,
    location: Location,
    head: Arc<Head>,
    /// The block that [`Stored::next`] gives next.
    next: usize,
    /// That block, being read.
    ahead: Option<Ahead>,
}

struct Ahead {
    pending: Pending<Result<Bytes, DiskReadError>>,
    /// Set when somebody waits for it.
    deadline: Option<Instant>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored").field("body_len", &self.body_len).finish_non_exhaustive()
    }
}

impl Stored {
    /// Checksums (xxh3-64) of the body's blocks, each [`BLOCK_BYTES`] long but the last. Empty for an object that has
    /// not been written yet: it stands in memory, and reading it does not fail.
    pub fn checksums(&self) -> &[u64] {
        match &self.rest {
            Rest::Waiting { .. } => &[],
            Rest::Disk(disk) => &disk.head.checksums,
        }
    }

    /// The bytes that follow what was given before, at first those after [`Stored::first`]; None at the end.
    /// Cancel-safe. After [`DiskReadError::Late`] and [`DiskReadError::Busy`] the same bytes may be asked for again.
    ///
    /// # Errors
    /// [`DiskReadError`]: the rest has to come from elsewhere.
    pub async fn next(&mut self) -> Result<Option<Bytes>, DiskReadError> {
        match &mut self.rest {
            Rest::Waiting { body, next } => {
                let chunk = body.chunks.get(*next).cloned();
                *next += 1;
                Ok(chunk)
            }
            Rest::Disk(disk) => disk.next().await,
        }
    }

    fn waiting(write: &Queued) -> Stored {
        let first = write.body.chunks.first().cloned().unwrap_or_default();
        let rest = Rest::Waiting { body: Arc::clone(&write.body), next: 1 };
        Stored { meta: write.meta.clone(), body_len: write.body.len, first, rest }
    }
}

impl OnDisk {
    async fn next(&mut self) -> Result<Option<Bytes>, DiskReadError> {
        if self.next >= self.head.checksums.len() {
            return Ok(None);
        }
        if self.drive.health.is_out() {
            return Err(DiskReadError::Out);
        }
        if self.ahead.is_none() {
            match self.drive.volume.read_block(&self.location, &self.head, self.next, true) {
                Ok(block) => {
                    self.next += 1;
                    return Ok(Some(block));
                }
                Err(ReadError::WouldBlock) => self.ahead = Some(self.read_next()?),
                Err(error) => return Err(self.drive.read_failed_at(&self.key, error)),
            }
        }
        let Some(ahead) = &mut self.ahead else { return Err(DiskReadError::Gone) };
        let deadline = *ahead.deadline.get_or_insert_with(|| Instant::now() + READ_TIMEOUT);
        let read = self.drive.answer(&mut ahead.pending, deadline).await;
        self.ahead = None;
        let block = read?;
        self.next += 1;
        if self.next < self.head.checksums.len() {
            // No room for it: it is read when it is asked for.
            self.ahead = self.read_next().ok();
        }
        Ok(Some(block))
    }

    fn read_next(&self) -> Result<Ahead, DiskReadError> {
        let (location, head, index) = (self.location, Arc::clone(&self.head), self.next);
        let pending = self
            .drive
            .submit(&self.key, move |volume, _key| volume.read_block(&location, &head, index, false))?;
        Ok(Ahead { pending, deadline: None })
    }
}

impl Drive {
    /// The object under this key. None also when the disk does not answer in time.
    pub(super) async fn find(self: &Arc<Self>, key: &str) -> Option<Stored> {
        for _ in 0..LOOK_UPS_MAX {
            let newer = match self.queue.look_up(key) {
                Waiting::Removed => return None,
                Waiting::Write(write) => return Some(Stored::waiting(&write)),
                Waiting::Refresh(meta) => Some(meta),
                Waiting::Nothing => None,
            };
            let location = self.volume.find(key)?;
            let head = match self.volume.read_head(&location, key, true) {
                Ok(head) => head,
                Err(ReadError::WouldBlock) => match self.read_head(&location, key).await {
                    Ok(head) => head,
                    Err(DiskReadError::Gone) => continue,
                    Err(_) => return None,
                },
                Err(ReadError::Reclaimed) => continue,
                Err(error) => {
                    self.read_failed_at(key, error);
                    return None;
                }
            };
            // It may have been removed while it was read.
            if matches!(self.queue.look_up(key), Waiting::Removed) || !self.volume.contains(key) {
                return None;
            }
            let first = head.first.clone();
            let meta = newer.unwrap_or_else(|| head.meta.clone());
            let body_len = head.body_len;
            let head = Arc::new(Head { first: Bytes::new(), meta: Bytes::new(), ..head });
            let disk =
                OnDisk { drive: Arc::clone(self), key: key.into(), location, head, next: 1, ahead: None };
            return Some(Stored { meta, body_len, first, rest: Rest::Disk(Box::new(disk)) });
        }
        None
    }

    /// Whether there is an object under this key.
    pub(super) fn touch(&self, key: &str) -> bool {
        match self.queue.look_up(key) {
            Waiting::Removed => false,
            Waiting::Write(_) => true,
            Waiting::Refresh(_) | Waiting::Nothing => self.volume.find(key).is_some(),
        }
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        match self.queue.look_up(key) {
            Waiting::Removed => false,
            Waiting::Write(_) => true,
            Waiting::Refresh(_) | Waiting::Nothing => self.volume.contains(key),
        }
    }

    async fn read_head(self: &Arc<Self>, location: &Location, key: &str) -> Result<Head, DiskReadError> {
        let location = *location;
        let key: Arc<str> = key.into();
        let mut pending = self.submit(&key, move |volume, key| volume.read_head(&location, key, false))?;
        self.answer(&mut pending, Instant::now() + READ_TIMEOUT).await
    }
}
