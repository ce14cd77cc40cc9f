//! A viewer's line: how fast it receives, over all of its connections together. It decides when the next bytes may be read
//! and how many; who reads them waits that long ([`super::stream`]), so that the kernel's buffers fill and the server is held
//! up as by a slow line. It has no clock of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The largest piece that is read at once, in time on the line.
const SLICE: Duration = Duration::from_millis(20);

/// The smallest piece that is read at once, in bytes: about an Ethernet frame's payload.
const SLICE_BYTES_MIN: usize = 1460;

/// The largest piece that is read at once, in bytes.
const SLICE_BYTES_MAX: usize = 64 * 1024;

/// How much time a line may make up for when its reader came late: timers are no better than a millisecond.
const CREDIT: Duration = Duration::from_millis(20);

/// What the kernel may hold of a connection ahead of its reader, in time on the line.
const AHEAD: Duration = Duration::from_millis(200);

/// Bounds of the kernel's receive buffer for [`AHEAD`], in bytes.
const AHEAD_BYTES: (u64, u64) = (16 * 1024, 4 * 1024 * 1024);

/// A line of one viewer, shared by its connections.
#[derive(Debug)]
pub(crate) struct Line {
    bits_per_s: u64,
    /// When what was read so far would have come through the line.
    free_at: Mutex<Instant>,
}

// === impl Line ===

impl Line {
    /// A line of so many bits per second (at least one), free from now on.
    pub(crate) fn new(bits_per_s: u64, now: Instant) -> Arc<Self> {
        Arc::new(Self { bits_per_s: bits_per_s.max(1), free_at: Mutex::new(now) })
    }

    /// How many bytes may be read now, or when to ask again.
    pub(crate) fn room(&self, now: Instant) -> Result<usize, Instant> {
        let free_at = *self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        if free_at > now { Err(free_at) } else { Ok(self.slice_bytes()) }
    }

    /// So many bytes were read.
    pub(crate) fn took(&self, bytes: usize, now: Instant) {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*free_at).max(now.checked_sub(CREDIT).unwrap_or(now));
        *free_at = start + Duration::from_secs_f64(bytes as f64 * 8.0 / self.bits_per_s as f64);
    }

    /// The receive buffer for a connection of this line, in bytes.
    pub(crate) fn receive_buffer_bytes(&self) -> u32 {
        self.bytes_in(AHEAD).clamp(AHEAD_BYTES.0, AHEAD_BYTES.1) as u32
    }

    fn slice_bytes(&self) -> usize {
        (self.bytes_in(SLICE) as usize).clamp(SLICE_BYTES_MIN, SLICE_BYTES_MAX)
    }

    fn bytes_in(&self, time: Duration) -> u64 {
        (self.bits_per_s as f64 / 8.0 * time.as_secs_f64()) as u64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    /// Reads all that may be read for so long; a reader comes `late` after the time it was told.
    fn read_for(bits_per_s: u64, time: Duration, late: Duration) -> u64 {
        let start = Instant::now();
        let line = Line::new(bits_per_s, start);
        let (mut now, mut total) = (start, 0);
        while now < start + time {
            match line.room(now) {
                Ok(bytes) => {
                    line.took(bytes, now);
                    total += bytes as u64;
                }
                Err(at) => now = at + late,
            }
        }
        total
    }

    #[test]
    fn a_line_carries_its_rate_though_readers_come_late() {
        for bits_per_s in [64_000, 3_000_000, 50_000_000, 400_000_000] {
            for late_ms in [0, 1, 3] {
                let read = read_for(bits_per_s, Duration::from_secs(20), Duration::from_millis(late_ms));
                let expected = bits_per_s as f64 / 8.0 * 20.0;
                let ratio = read as f64 / expected;
                // A piece more than the time allows is under way at the end.
                assert!((0.98..1.02).contains(&ratio), "{bits_per_s} bit/s, {late_ms} ms late: {ratio}");
            }
        }
    }

    #[test]
    fn a_line_that_was_idle_makes_up_for_no_more_than_its_credit() {
        let start = Instant::now();
        let line = Line::new(8_000_000, start);
        let mut now = start + Duration::from_secs(3600);
        let mut total = 0;
        let end = now + Duration::from_millis(100);
        while now < end {
            match line.room(now) {
                Ok(bytes) => {
                    line.took(bytes, now);
                    total += bytes;
                }
                Err(at) => now = at,
            }
        }
        // 100 ms, the credit, and a piece.
        assert!(total <= 140_000, "{total}");
    }

    #[test]
    fn the_kernel_holds_little_of_a_slow_line_and_never_more_than_its_limit() {
        let bytes = |bits| Line::new(bits, Instant::now()).receive_buffer_bytes();
        assert_eq!(bytes(0), 16 * 1024);
        assert_eq!(bytes(8_000_000), 200_000);
        assert_eq!(bytes(u64::MAX), 4 * 1024 * 1024);
    }
}
