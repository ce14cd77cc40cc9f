//! How many requests may be sent in a second: a bucket of tokens.
//!
//! Pure: the time comes from outside. It is kept as the time at which the bucket will be full again (the generic cell rate
//! algorithm of ITU-T I.371), so that nothing is rounded in the origin's disfavour: over any time `t`, no more than
//! `burst + per_second * t` tokens are given. Called by [`super::gate`].

use std::time::Duration;

use tokio::time::Instant;

use crate::config::model::Rate;

const SECOND: Duration = Duration::from_secs(1);

/// The bucket; full at first.
#[derive(Debug)]
pub(super) struct Bucket {
    /// The time in which one token comes, rounded up.
    interval: Duration,
    burst: u32,
    /// When it will be full.
    full: Instant,
}

impl Bucket {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let interval = SECOND.as_nanos().div_ceil(u128::from(rate.per_second.max(1)));
        let interval = Duration::from_nanos(u64::try_from(interval).unwrap_or(u64::MAX));
        Self { interval, burst: rate.burst.max(1), full: now }
    }

    /// Takes a token that is there; false: there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let there = self.next(now).is_zero();
        if there {
            self.full = self.full.max(now) + self.interval;
        }
        there
    }

    /// How long until there is a token.
    pub(super) fn next(&self, now: Instant) -> Duration {
        let lacking = self.full.saturating_duration_since(now);
        lacking.saturating_sub(self.interval * (self.burst - 1))
    }

    /// Whether there is one, and a quarter of the bucket behind it.
    pub(super) fn has_spare(&self, now: Instant) -> bool {
        let lacking = self.full.saturating_duration_since(now);
        lacking <= self.interval * (self.burst - 1 - self.burst / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_any_time_no_more_than_the_burst_and_the_rate_are_given() {
        for (per_second, burst) in [(1, 1), (3, 1), (7, 4), (1000, 100), (30_000, 5)] {
            let began = Instant::now();
            let mut bucket = Bucket::new(Rate { per_second, burst }, began);
            let mut given = Vec::new();
            for step in 0..20_000_u64 {
                // Uneven steps, a pause in the middle.
                let micros = step * 137 + (step % 4) * 31 + if step > 10_000 { 2_000_000 } else { 0 };
                let now = began + Duration::from_micros(micros);
                if bucket.take(now) {
                    given.push(now);
                }
            }
            for (first, from) in given.iter().enumerate() {
                for last in [first, first + 1, first + burst as usize, given.len() - 1] {
                    let Some(to) = given.get(last) else { continue };
                    let most = f64::from(burst) + f64::from(per_second) * (*to - *from).as_secs_f64();
                    assert!(
                        (last - first + 1) as f64 <= most + 1e-6,
                        "{per_second}/{burst}: {first}..{last}"
                    );
                }
            }
            let whole = given.last().map_or(0.0, |last| (*last - began).as_secs_f64());
            let least = (f64::from(per_second) * (whole - 2.0) * 0.9).min(19_000.0);
            assert!(given.len() as f64 >= least, "{per_second}/{burst}: {}", given.len());
        }
    }

    #[test]
    fn what_is_spare_leaves_a_quarter() {
        let now = Instant::now();
        for (burst, spare) in [(1, 1), (4, 3), (100, 75)] {
            let mut bucket = Bucket::new(Rate { per_second: 1, burst }, now);
            let taken = (0..burst).take_while(|_| bucket.has_spare(now) && bucket.take(now)).count();
            assert_eq!(taken, spare, "of {burst}");
        }
    }

    #[test]
    fn the_wait_for_a_token_is_told() {
        let now = Instant::now();
        let mut bucket = Bucket::new(Rate { per_second: 10, burst: 2 }, now);
        assert!(bucket.take(now) && bucket.take(now) && !bucket.take(now));
        assert_eq!(bucket.next(now), Duration::from_millis(100));
        assert!(bucket.take(now + Duration::from_millis(100)));
    }
}
