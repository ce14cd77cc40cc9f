//! Time, from outside: the wall clock that freshness, tokens and logs read.
//!
//! Everything that compares times of day takes a [`Clock`], so that a test can hold time still or move it. Durations
//! within one request are measured with [`std::time::Instant`] where they are needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source of the time of day. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Clock(Source::System)
    }

    /// A clock that stands still at `start` until [`Clock::advance`] moves it; clones move together.
    pub fn manual(start: SystemTime) -> Self {
        let nanos = start.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Clock(Source::Manual(Arc::new(AtomicU64::new(u64::try_from(nanos).unwrap_or(u64::MAX)))))
    }

    /// The time of day.
    pub fn now(&self) -> SystemTime {
        match &self.0 {
            Source::System => SystemTime::now(),
            Source::Manual(nanos) => UNIX_EPOCH + Duration::from_nanos(nanos.load(Ordering::Acquire)),
        }
    }

    /// Whole seconds since the Unix epoch, as tokens count them.
    pub fn unix_seconds(&self) -> u64 {
        self.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// Moves a manual clock forward; the system clock stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(nanos) = &self.0 {
            nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told_and_clones_move_with_it() {
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let clone = clock.clone();
        assert_eq!(clone.unix_seconds(), 1_700_000_000);
        clock.advance(Duration::from_millis(2_500));
        assert_eq!(clone.unix_seconds(), 1_700_000_002);
    }
}
