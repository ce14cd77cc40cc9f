//! What a viewer does of its own accord: when it seeks and where to, when it zaps and what to. All from its seed, each in a
//! sequence of its own, so that the n-th seek is the same whatever the server did meanwhile.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;
use tokio::time::Instant;

/// The shortest time between two whims of a kind: nobody presses faster.
const WHIM_MIN: Duration = Duration::from_millis(250);

/// The longest, so that a time cannot overflow.
const WHIM_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// A thing that is done again and again, after times with this mean.
#[derive(Debug)]
pub(crate) struct Whim {
    random: Pcg64Mcg,
    mean: Option<Duration>,
    next: Option<Instant>,
}

// === impl Whim ===

impl Whim {
    /// `kind` tells a viewer's sequences apart. No mean: it is never done.
    pub(crate) fn new(seed: u64, kind: u64, mean: Option<Duration>, from: Instant) -> Self {
        let mut whim = Self { random: sequence(seed, kind), mean, next: None };
        whim.schedule(from);
        whim
    }

    /// When it is done next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// It is done now: where to (a share, from 0 to 1), and then the next time.
    pub(crate) fn take(&mut self) -> f64 {
        let share = self.random.random();
        if let Some(now) = self.next {
            self.schedule(now);
        }
        share
    }

    fn schedule(&mut self, from: Instant) {
        self.next = self.mean.map(|mean| {
            let factor: f64 = Exp1.sample(&mut self.random);
            let wait = Duration::try_from_secs_f64(mean.as_secs_f64() * factor).unwrap_or(WHIM_MAX);
            // Whole milliseconds, as timers have them.
            from + Duration::from_millis(wait.clamp(WHIM_MIN, WHIM_MAX).as_millis() as u64)
        });
    }
}

/// A sequence of random numbers of its own for each kind of whim.
pub(crate) fn sequence(seed: u64, kind: u64) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(seed ^ kind.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn first(seed: u64, kind: u64, from: Instant) -> Vec<(Duration, f64)> {
        let mut whim = Whim::new(seed, kind, Some(Duration::from_secs(60)), from);
        (0..2_000).map(|_| (whim.next().unwrap() - from, whim.take())).collect()
    }

    #[test]
    fn whims_follow_from_the_seed_and_two_kinds_are_two_sequences() {
        let from = Instant::now();
        assert_eq!(first(7, 1, from), first(7, 1, from));
        assert_ne!(first(7, 1, from), first(7, 2, from));
        assert_ne!(first(7, 1, from), first(8, 1, from));
    }

    #[test]
    fn whims_come_at_their_mean_and_places_are_spread_evenly() {
        let whims = first(7, 1, Instant::now());
        let mean = whims.last().unwrap().0.as_secs_f64() / whims.len() as f64;
        assert!((55.0..65.0).contains(&mean), "seed 7: {mean}");
        let low = whims.iter().filter(|(_, share)| *share < 0.25).count();
        assert!((400..600).contains(&low), "seed 7: {low} of 2000");
    }

    #[test]
    fn nobody_is_faster_than_the_fastest_and_without_a_mean_nothing_happens() {
        let from = Instant::now();
        let mut whim = Whim::new(1, 1, Some(Duration::from_nanos(1)), from);
        for n in 1..100 {
            assert_eq!(whim.next(), Some(from + WHIM_MIN * n));
            whim.take();
        }
        assert_eq!(Whim::new(1, 1, None, from).next(), None);
    }
}
