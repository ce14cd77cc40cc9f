//! Decides whether a disk is used: for reads, for writes, or not at all any more.
//!
//! It is told how each operation on the disk ended and says what follows. It does no work on the disk itself; the
//! readers and the writer ask it before they do theirs. A disk that is taken out stays out until the node starts
//! again: what it held may have been replaced or purged since.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Failures in a row of one kind of operation after which a disk is taken out.
pub const FAILURES_IN_A_ROW_MAX: u32 = 8;

/// Failures among the last 64 operations of one kind after which a disk is taken out.
pub const FAILURES_OF_64_MAX: u32 = 16;

/// How long one read, or one write beside its bytes, may take until the disk counts as slow.
pub const SLOW_AFTER: Duration = Duration::from_secs(2);

/// How long a slow disk is spared writes.
pub const SLOW_PAUSE: Duration = Duration::from_secs(5);

/// How long a full file system is spared writes at first; doubled each time it is still full, up to
/// [`FULL_PAUSE_MAX`].
pub const FULL_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause of writes to a full file system.
pub const FULL_PAUSE_MAX: Duration = Duration::from_secs(60);

/// "No such device or address" and "no such device", on every Unix.
const GONE: [i32; 2] = [6, 19];

/// What is done to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A read that the page cache could not answer.
    Read,
    /// A write, or making writes durable.
    Write,
}

/// How an operation ended that did not go well.
#[derive(Clone, Copy, Debug)]
pub enum Trouble<'a> {
    /// The operating system refused it.
    Io(&'a io::Error),
    /// It did not end in time.
    Late,
}

/// Why a disk takes no writes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Taken out.
    Out,
    /// Its file system is read-only.
    ReadOnly,
    /// Its file system is full; tried again after a while.
    Full,
    /// It was slow; tried again after a while.
    Slow,
}

/// The health of one disk.
#[derive(Debug)]
pub struct Health {
    path: PathBuf,
    start: Instant,
    slow_write_after: Duration,
    out: AtomicBool,
    read_only: AtomicBool,
    /// The last 64 operations, the latest in the lowest bit; one is a failure.
    reads: AtomicU64,
    writes: AtomicU64,
    /// Until when, in milliseconds since `start`.
    full_until: AtomicU64,
    slow_until: AtomicU64,
    /// The last pause for a full file system, in milliseconds; zero while it is not full.
    full_pause: AtomicU64,
}

impl Operation {
    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Read => "read",
            Operation::Write => "write",
        }
    }
}

impl Health {
    /// A disk in good health, of which one write may take `write_time` for the bytes that it writes.
    pub fn new(path: &Path, write_time: Duration) -> Health {
        Health {
            path: path.to_path_buf(),
            start: Instant::now(),
            slow_write_after: SLOW_AFTER + write_time,
            out: AtomicBool::new(false),
            read_only: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            full_until: AtomicU64::new(0),
            slow_until: AtomicU64::new(0),
            full_pause: AtomicU64::new(0),
        }
    }

    /// Whether the disk has been taken out.
    pub fn is_out(&self) -> bool {
        self.out.load(Ordering::Acquire)
    }

    /// Whether writes have stopped because its file system is read-only.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    /// Why no write is taken at `now`; None: writes are welcome.
    pub fn pause(&self, now: Instant) -> Option<Pause> {
        let now = self.millis(now);
        if self.is_out() {
            Some(Pause::Out)
        } else if self.is_read_only() {
            Some(Pause::ReadOnly)
        } else if now < self.full_until.load(Ordering::Relaxed) {
            Some(Pause::Full)
        } else if now < self.slow_until.load(Ordering::Relaxed) {
            Some(Pause::Slow)
        } else {
            None
        }
    }

    /// Notes an operation that went well and took `elapsed`.
    pub fn went_well(&self, operation: Operation, elapsed: Duration, now: Instant) {
        self.shift(operation, false);
        if operation == Operation::Write {
            self.full_pause.store(0, Ordering::Relaxed);
        }
        if elapsed > self.slow_after(operation) {
            self.spare(operation, elapsed, now);
        }
    }

    /// Notes an operation that failed. The disk may be out, read-only or full from here on; each is logged when it
    /// begins.
    pub fn went_wrong(&self, operation: Operation, trouble: Trouble<'_>, now: Instant) {
        match trouble {
            Trouble::Late => {
                self.spare(operation, self.slow_after(operation), now);
                self.count_failure(operation, &"it does not answer in time");
            }
            Trouble::Io(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => self.note_full(error, now),
                io::ErrorKind::ReadOnlyFilesystem => self.note_read_only(error),
                io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle => self.take_out(error),
                _ if error.raw_os_error().is_some_and(|code| GONE.contains(&code)) => self.take_out(error),
                _ => self.count_failure(operation, error),
            },
        }
    }

    /// How long an operation may take until the disk counts as slow.
    pub fn slow_after(&self, operation: Operation) -> Duration {
        match operation {
            Operation::Read => SLOW_AFTER,
            Operation::Write => self.slow_write_after,
        }
    }

    /// Spares the disk writes for a while, because an operation took, or takes, as long as `elapsed`.
    pub fn spare(&self, operation: Operation, elapsed: Duration, now: Instant) {
        let now = self.millis(now);
        let until = self.slow_until.fetch_max(now + SLOW_PAUSE.as_millis() as u64, Ordering::Relaxed);
        if until <= now {
            tracing::warn!(
                path = %self.path.display(), operation = operation.as_str(), seconds = elapsed.as_secs_f64(),
                "disk is slow: writes pause; check its load (iostat) and its health (smartctl)"
            );
        }
    }

    /// Takes the disk out at once.
    pub fn take_out(&self, cause: &dyn std::fmt::Display) {
        if !self.out.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                path = %self.path.display(), %cause,
                "disk is taken out: it is neither read nor written until the node starts again; check the device (dmesg, \
                 smartctl) and its mount, replace it or take it out of store.disk, then restart"
            );
        }
    }

    fn note_full(&self, cause: &io::Error, now: Instant) {
        let last = self.full_pause.load(Ordering::Relaxed);
        let [first, longest] = [FULL_PAUSE, FULL_PAUSE_MAX].map(|pause| pause.as_millis() as u64);
        let pause = if last == 0 { first } else { (last * 2).min(longest) };
        self.full_pause.store(pause, Ordering::Relaxed);
        self.full_until.store(self.millis(now) + pause, Ordering::Relaxed);
        if last == 0 {
            tracing::warn!(
                path = %self.path.display(), %cause,
                "disk is full: reads go on, writes are tried again later; free space on its file system, or lower its size \
                 in store.disk"
            );
        }
    }

    fn note_read_only(&self, cause: &io::Error) {
        if !self.read_only.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                path = %self.path.display(), %cause,
                "disk is read-only: reads go on, writes stop until the node starts again; check the device (dmesg), mount \
                 it writable, then restart"
            );
        }
    }

    fn count_failure(&self, operation: Operation, cause: &dyn std::fmt::Display) {
        let history = self.shift(operation, true);
        if history.trailing_ones() >= FAILURES_IN_A_ROW_MAX || history.count_ones() >= FAILURES_OF_64_MAX {
            self.take_out(cause);
        }
    }

    fn shift(&self, operation: Operation, failed: bool) -> u64 {
        let history = match operation {
            Operation::Read => &self.reads,
            Operation::Write => &self.writes,
        };
        let next = |bits: u64| bits << 1 | u64::from(failed);
        let before = history.fetch_update(Ordering::AcqRel, Ordering::Acquire, |bits| Some(next(bits)));
        next(before.unwrap_or_default())
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn health() -> (Health, Instant) {
        let health = Health::new(Path::new("/disk"), Duration::ZERO);
        let start = health.start;
        (health, start)
    }

    fn fail(health: &Health, operation: Operation, error: &io::Error, now: Instant) {
        health.went_wrong(operation, Trouble::Io(error), now);
    }

    fn input_output_error() -> io::Error {
        io::Error::from_raw_os_error(5)
    }

    #[test]
    fn single_errors_are_borne_and_repeated_ones_take_the_disk_out() {
        let (health, now) = health();
        for _ in 0..20 {
            fail(&health, Operation::Read, &input_output_error(), now);
            for _ in 0..7 {
                health.went_well(Operation::Read, Duration::ZERO, now);
            }
        }
        assert!(!health.is_out(), "an error in eight operations is borne");
        for failure in 0..FAILURES_IN_A_ROW_MAX {
            assert!(!health.is_out(), "after {failure} failures in a row");
            fail(&health, Operation::Read, &input_output_error(), now);
            health.went_well(Operation::Write, Duration::ZERO, now);
        }
        assert!(health.is_out());
        assert_eq!(health.pause(now), Some(Pause::Out));
    }

    #[test]
    fn a_disk_on_which_every_third_write_fails_is_taken_out() {
        let (health, now) = health();
        for step in 0..64 {
            match step % 3 {
                0 => fail(&health, Operation::Write, &input_output_error(), now),
                _ => health.went_well(Operation::Write, Duration::ZERO, now),
            }
        }
        assert!(health.is_out());
    }

    #[test]
    fn a_disk_that_is_gone_is_taken_out_at_once() {
        for code in [2, 6, 19, 116] {
            let (health, now) = health();
            fail(&health, Operation::Write, &io::Error::from_raw_os_error(code), now);
            assert!(health.is_out(), "error {code}");
        }
    }

    #[test]
    fn a_full_disk_is_spared_writes_for_longer_each_time_and_a_write_that_fits_resets_it() {
        let (health, mut now) = health();
        let full = io::Error::from_raw_os_error(28);
        let mut pause = FULL_PAUSE;
        for _ in 0..10 {
            fail(&health, Operation::Write, &full, now);
            assert_eq!(health.pause(now + pause - Duration::from_millis(1)), Some(Pause::Full));
            now += pause;
            assert_eq!(health.pause(now), None, "tried again after {pause:?}");
            pause = (pause * 2).min(FULL_PAUSE_MAX);
        }
        health.went_well(Operation::Write, Duration::ZERO, now);
        fail(&health, Operation::Write, &full, now);
        assert_eq!(health.pause(now + FULL_PAUSE), None);
        assert!(!health.is_out(), "a full disk is not a broken one");
    }

    #[test]
    fn a_read_only_disk_takes_no_writes_any_more_and_is_read() {
        let (health, now) = health();
        fail(&health, Operation::Write, &io::Error::from_raw_os_error(30), now);
        assert_eq!(health.pause(now + Duration::from_secs(86_400)), Some(Pause::ReadOnly));
        assert!(!health.is_out());
    }

    #[test]
    fn a_slow_write_pauses_writes_and_a_disk_that_never_answers_is_taken_out() {
        let (health, now) = health();
        health.went_well(Operation::Write, SLOW_AFTER * 2, now);
        assert_eq!(health.pause(now), Some(Pause::Slow));
        assert_eq!(health.pause(now + SLOW_PAUSE), None);
        for _ in 0..FAILURES_IN_A_ROW_MAX {
            health.went_wrong(Operation::Read, Trouble::Late, now);
        }
        assert!(health.is_out());
    }
}
