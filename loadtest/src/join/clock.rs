//! How far a worker's clock is from the coordinator's: it asks several times, and believes the answer that was back first. Clocks
//! are monotonic, in microseconds from a moment of their own.

use anyhow::{Context, Result};
use tokio::time::Instant;

/// How often a worker asks.
pub(crate) const QUESTIONS: u32 = 20;

/// A clock that counts from when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    zero: Instant,
}

/// One answer: when it was asked for and had, by the own clock, and what the other clock said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) asked_us: u64,
    pub(crate) had_us: u64,
    pub(crate) other_us: u64,
}

/// What the other clock says more than the own one, and how far off that may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offset {
    us: i64,
    /// Half the time that the answer took: it cannot be wrong by more.
    pub(crate) error_us: u64,
}

// === impl Clock ===

impl Clock {
    pub(crate) fn new() -> Self {
        Self { zero: Instant::now() }
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.us_of(Instant::now())
    }

    /// What it says at that moment.
    pub(crate) fn us_of(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.zero).as_micros()).unwrap_or(u64::MAX)
    }

    /// When the other clock says this; an error where that is before this one was made, or beyond all times.
    pub(crate) fn moment(&self, offset: Offset, other_us: u64) -> Result<Instant> {
        let own_us = i64::try_from(other_us).ok().and_then(|other_us| other_us.checked_sub(offset.us));
        let own_us =
            own_us.and_then(|us| u64::try_from(us).ok()).context("a moment before the worker began")?;
        let moment = self.zero.checked_add(std::time::Duration::from_micros(own_us));
        moment.context("a moment that never comes")
    }
}

// === impl Offset ===

impl Offset {
    /// From the answer that took the shortest time; none without answers.
    pub(crate) fn of(answers: &[Answer]) -> Option<Self> {
        let best = answers.iter().min_by_key(|answer| answer.had_us.saturating_sub(answer.asked_us))?;
        let took = best.had_us.saturating_sub(best.asked_us);
        let middle = i64::try_from(best.asked_us + took / 2).ok()?;
        let us = i64::try_from(best.other_us).ok()?.checked_sub(middle)?;
        Some(Self { us, error_us: took.div_ceil(2) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::time::Duration;

    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    #[test]
    fn the_offset_is_never_wrong_by_more_than_it_says() {
        for seed in 0..500 {
            let mut random = Pcg64Mcg::seed_from_u64(seed);
            let truth: i64 = random.random_range(-1_000_000_000..1_000_000_000);
            let mut now = 2_000_000_000_u64;
            let answers: Vec<_> = (0..QUESTIONS)
                .map(|_| {
                    let (there, back) = (random.random_range(0..5_000), random.random_range(0..5_000));
                    let other_us = u64::try_from(i64::try_from(now + there).unwrap() + truth).unwrap();
                    let answer = Answer { asked_us: now, had_us: now + there + back, other_us };
                    now += 10_000;
                    answer
                })
                .collect();
            let offset = Offset::of(&answers).unwrap();
            let wrong = (offset.us - truth).unsigned_abs();
            assert!(wrong <= offset.error_us, "seed {seed}: wrong by {wrong} us, {offset:?}");
            assert!(offset.error_us <= 5_000, "seed {seed}: {offset:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn both_mean_the_same_moment() {
        let coordinator = Clock::new();
        tokio::time::advance(Duration::from_secs(100)).await;
        let worker = Clock::new();
        let answer = Answer { asked_us: 0, had_us: 0, other_us: coordinator.now_us() };
        let offset = Offset::of(&[answer]).unwrap();
        let start = Instant::now() + Duration::from_secs(2);
        assert_eq!(worker.moment(offset, coordinator.us_of(start)).unwrap(), start);
        assert!(worker.moment(offset, 1).is_err());
        assert!(worker.moment(offset, u64::MAX).is_err());
        assert_eq!(Offset::of(&[]), None);
    }
}
