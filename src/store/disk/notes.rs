//! What each disk must not forget: notes of purges, in a [`journal`] of its own.
//!
//! A note is on all disks before its purge is answered; many that come together cost one write. Decides what becomes of a
//! disk whose journal is missing or damaged (what it holds is dropped, for nobody can tell what of it was purged) and of
//! one that takes no notes (the purge holds, and its answer says so). What notes mean is the store's.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::device::Device;
use super::drive::Drive;
use super::health::{Operation, Trouble};
use super::journal::{self, Journal, Kept, Note};
use super::queue::PERSIST_WAITERS_MAX;
use super::tier::{ANSWER_TIMEOUT, DiskError, DiskTier};

/// All that is to be remembered: what a journal is begun anew with.
pub type Remembered = Arc<dyn Fn() -> Vec<Note> + Send + Sync>;

/// The notes of one disk.
#[derive(Debug)]
pub(super) struct Notes {
    device: Arc<dyn Device>,
    /// What stood there at the start, until the journal is begun.
    kept: Mutex<Kept>,
    /// Whether objects stood there at the start.
    objects: bool,
    waiting: Mutex<Waiting>,
    /// How many of the notes so far are durable.
    durable: AtomicU64,
    /// None: it is to be begun anew, after the number.
    file: Mutex<(Option<Journal>, u64)>,
    /// Held by whoever writes.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Notes that wait to be written.
#[derive(Debug, Default)]
struct Waiting {
    notes: Vec<Note>,
    /// Notes so far.
    count: u64,
}

impl Notes {
    /// Reads what a disk has noted. `objects`: whether there are any on it.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn open(device: Arc<dyn Device>, objects: bool) -> io::Result<Notes> {
        let kept = journal::read(&*device)?;
        Ok(Notes {
            device,
            file: Mutex::new((None, kept.epoch)),
            kept: Mutex::new(kept),
            objects,
            waiting: Mutex::default(),
            durable: AtomicU64::new(0),
            turn: Arc::default(),
        })
    }

    /// Why what the disk holds cannot be believed; None: it can.
    fn doubt(&self) -> Option<&'static str> {
        let kept = self.kept.lock();
        let missing = (!kept.found && self.objects).then_some("it is missing");
        kept.damage.or(missing).filter(|_| self.objects)
    }

    /// Puts a note with those that wait; gives its number. None: too many wait.
    fn add(&self, note: Note) -> Option<u64> {
        let mut waiting = self.waiting.lock();
        if waiting.notes.len() >= PERSIST_WAITERS_MAX {
            return None;
        }
        waiting.notes.push(note);
        waiting.count += 1;
        Some(waiting.count)
    }

    fn has(&self, number: u64) -> bool {
        self.durable.load(Ordering::Acquire) >= number
    }

    /// Writes what waits. After a failure, and when the journal is full, it is begun anew with all that is remembered.
    fn write(&self, remembered: &dyn Fn() -> Vec<Note>) -> io::Result<()> {
        let mut file = self.file.lock();
        let (notes, until) = {
            let mut waiting = self.waiting.lock();
            (std::mem::take(&mut waiting.notes), waiting.count)
        };
        let (journal, after) = &mut *file;
        let written = match journal.as_mut().filter(|journal| journal.has_room(notes.len())) {
            Some(journal) => journal.write(&notes),
            None => Journal::begin(&*self.device, *after, &remembered()).map(|begun| {
                *after = begun.epoch();
                *journal = Some(begun);
            }),
        };
        match &written {
            Ok(()) => {
                self.durable.fetch_max(until, Ordering::AcqRel);
            }
            Err(_) => *journal = None,
        }
        written
    }
}

impl DiskTier {
    /// All that the disks have noted before this start: once.
    pub fn take_notes(&self) -> Vec<Note> {
        self.drives.iter().flat_map(|drive| std::mem::take(&mut drive.notes.kept.lock().notes)).collect()
    }

    /// Begins the disks' journals. A disk whose own one was missing or damaged is cleared before; one that takes none is
    /// taken out. Called once, before anything is looked up. Blocks.
    pub fn begin_journals(&self, remembered: &dyn Fn() -> Vec<Note>) {
        for drive in &self.drives {
            if let Err(error) = drive.begin_journal(remembered) {
                drive.metrics.failed(Operation::Write);
                drive.health.take_out(&error);
                drive.draw_consequences();
            }
        }
    }

    /// Notes something on every disk, and returns when it stands there.
    ///
    /// # Errors
    /// [`DiskError`] for the first disk that has not noted it; the others have all the same.
    pub async fn note(&self, note: Note, remembered: &Remembered) -> Result<(), DiskError> {
        let mut noting = JoinSet::new();
        for drive in self.drives.iter().cloned() {
            let remembered = Arc::clone(remembered);
            noting.spawn(async move { drive.note(note, &remembered).await });
        }
        let mut result = match self.left_out.first() {
            Some(path) => Err(DiskError::NotDurable { path: path.clone() }),
            None => Ok(()),
        };
        while let Some(noted) = noting.join_next().await {
            result = result.and(noted.unwrap_or(Err(DiskError::Closed)));
        }
        result
    }
}

impl Drive {
    fn begin_journal(&self, remembered: &dyn Fn() -> Vec<Note>) -> io::Result<()> {
        if let Some(reason) = self.notes.doubt() {
            tracing::error!(
                path = %self.path.display(), reason,
                "the journal of purges cannot be relied on: what the disk holds is dropped, and fetched anew"
            );
            self.metrics.corrupt("journal", 1);
            self.volume.clear().map_err(io::Error::other)?;
        }
        self.notes.write(remembered)
    }

    /// Notes something; what comes while another note is being written waits, and is written in one go.
    async fn note(self: Arc<Self>, note: Note, remembered: &Remembered) -> Result<(), DiskError> {
        let lost = || DiskError::NotDurable { path: self.path.clone() };
        if self.health.is_out() || self.health.is_read_only() {
            return Err(lost());
        }
        let number = self.notes.add(note).ok_or(DiskError::TooManyPurges)?;
        let deadline = tokio::time::Instant::now() + ANSWER_TIMEOUT;
        let late = |_elapsed| DiskError::Late { path: self.path.clone() };
        let turn = Arc::clone(&self.notes.turn).lock_owned();
        let turn = tokio::time::timeout_at(deadline, turn).await.map_err(late)?;
        if self.notes.has(number) {
            return Ok(());
        }
        let (drive, remembered) = (Arc::clone(&self), Arc::clone(remembered));
        let writing = tokio::task::spawn_blocking(move || {
            // Held until the write ends, however long its caller waits: one thread for each disk at most.
            let _turn = turn;
            let written = drive.notes.write(&*remembered);
            if let Err(error) = &written {
                tracing::error!(path = %drive.path.display(), %error, "a disk cannot note a purge");
                drive.trouble(Operation::Write, Trouble::Io(error));
            }
            written
        });
        match tokio::time::timeout_at(deadline, writing).await.map_err(late)? {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(lost()),
        }
    }
}
