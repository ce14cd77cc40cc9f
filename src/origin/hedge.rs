//! When a second request is sent for a playlist or manifest whose answer is late.
//!
//! Decides the time, and keeps the share of such requests. The race itself is in [`super::fetch`]. The time within which
//! most answers begin is read from a histogram of recent ones, in steps of a fifth.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::budget::Budget;
use crate::config::model::{Hedge, HedgeAfter};

/// Answers that must be known before their times say anything.
const KNOWN_MIN: u32 = 20;

/// Answers after which all counts are halved, so that old ones fade.
const KNOWN_MAX: u32 = 1000;

/// Requests that may be sent twice in any case.
const FLOOR: u32 = 1;

/// Steps of the histogram from 1 ms on, each a quarter power of two: up to 64 s.
const STEPS: usize = 64;

/// The second requests of a group.
pub(super) struct Hedger {
    rule: Hedge,
    times: Mutex<Times>,
    share: Budget,
}

/// How long recent answers took to begin.
struct Times {
    counts: [u32; STEPS],
    all: u32,
}

impl Hedger {
    pub(super) fn new(rule: &Hedge) -> Self {
        let times = Mutex::new(Times { counts: [0; STEPS], all: 0 });
        Self { share: Budget::new(rule.share_percent, FLOOR), rule: rule.clone(), times }
    }

    /// A request is sent. When the second one is due; None: it is not known yet.
    pub(super) fn due(&self) -> Option<Duration> {
        self.share.earn(Instant::now());
        let due = match self.rule.after {
            HedgeAfter::Time(time) => time,
            HedgeAfter::Percentile(percent) => self.times.lock().percentile(percent)?,
        };
        Some(due.max(self.rule.after_min))
    }

    /// Whether one more may be sent twice.
    pub(super) fn spend(&self) -> bool {
        self.share.spend(Instant::now())
    }

    /// An answer has begun after this time, or had not when the other one did.
    pub(super) fn note(&self, time: Duration) {
        self.times.lock().note(time);
    }
}

impl Times {
    fn note(&mut self, time: Duration) {
        let step = (4.0 * (time.as_secs_f64() * 1000.0).max(1.0).log2()).ceil() as usize;
        self.counts[step.min(STEPS - 1)] += 1;
        self.all += 1;
        if self.all >= KNOWN_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.all = self.counts.iter().sum();
        }
    }

    /// A time within which so many percent of the answers began.
    fn percentile(&self, percent: u32) -> Option<Duration> {
        if self.all < KNOWN_MIN {
            return None;
        }
        let wanted = (self.all * percent).div_ceil(100);
        let mut within = 0;
        let step = self.counts.iter().position(|count| {
            within += count;
            within >= wanted
        });
        let millis = (step.unwrap_or(STEPS - 1) as f64 / 4.0).exp2();
        Some(Duration::from_secs_f64(millis / 1000.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(after: HedgeAfter) -> Hedge {
        Hedge { after, after_min: Duration::from_millis(5), share_percent: 10 }
    }

    #[test]
    fn the_percentile_is_within_a_fifth_and_needs_some_answers() {
        for percent in [50, 90, 95, 99] {
            let hedger = Hedger::new(&rule(HedgeAfter::Percentile(percent)));
            for millis in 1..KNOWN_MIN {
                hedger.note(Duration::from_millis(millis.into()));
                assert_eq!(hedger.due(), None);
            }
            let hedger = Hedger::new(&rule(HedgeAfter::Percentile(percent)));
            (1..=900).for_each(|millis| hedger.note(Duration::from_millis(millis)));
            let exact = 9.0 * f64::from(percent);
            let found = hedger.due().unwrap_or_default().as_secs_f64() * 1000.0;
            assert!(found >= exact && found <= exact * 1.2, "p{percent}: {found} for {exact}");
        }
    }

    #[test]
    fn old_answers_fade_and_the_least_time_holds() {
        let hedger = Hedger::new(&rule(HedgeAfter::Percentile(95)));
        (0..900).for_each(|_| hedger.note(Duration::from_secs(3)));
        (0..10_000).for_each(|_| hedger.note(Duration::from_millis(1)));
        assert_eq!(hedger.due(), Some(Duration::from_millis(5)));
        hedger.note(Duration::from_secs(1_000_000));
        hedger.note(Duration::ZERO);
    }

    #[test]
    fn a_share_is_sent_twice() {
        let hedger = Hedger::new(&rule(HedgeAfter::Time(Duration::from_secs(1))));
        for _ in 0..100 {
            assert_eq!(hedger.due(), Some(Duration::from_secs(1)));
        }
        assert_eq!((0..100).filter(|_| hedger.spend()).count(), 11);
    }
}
