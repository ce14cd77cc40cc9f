//! Giving up a segment that is too slow, as hls.js does: from half of its length on it is looked at again and again, and if the
//! buffer would run dry before the rest is there, and a lower rendition would be there sooner, that one is fetched in its place.
//!
//! It goes by the transfer itself: before its first byte there is nothing to go by, and nothing is given up. Nor are parts, which
//! are short, nor what comes before the first picture, nor where the rendition is a fixed one.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Flight, Player, Purpose, piece_slot};
use crate::fetch::{Kind, Progress};
use crate::measure::Met;
use crate::scenario::Abr;
use crate::viewer::deck::{Side, duration};

/// The time between two looks at a transfer. hls.js looks every 100 ms: ten thousand viewers cannot.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A transfer that may be given up.
#[derive(Debug)]
pub(super) struct Watch {
    progress: Rc<Cell<Progress>>,
    since: Instant,
    length_us: i64,
    next: Instant,
}

/// How long a transfer will take, and another one would, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Outlook {
    left_us: f64,
    /// Bits per microsecond.
    rate: f64,
    /// To the first byte.
    wait_us: f64,
}

// === impl Outlook ===

impl Outlook {
    /// None: nothing has come yet, or nobody says how much it is.
    fn of(progress: Progress, since: Instant, now: Instant) -> Option<Self> {
        let first_byte = progress.first_byte?;
        let streamed_us = now.saturating_duration_since(first_byte).as_micros() as f64;
        let rate = progress.bytes as f64 * 8.0 / streamed_us.max(1.0);
        let left = progress.length?.saturating_sub(progress.bytes) as f64 * 8.0;
        let wait_us = first_byte.saturating_duration_since(since).as_micros() as f64;
        (rate > 0.0).then(|| Self { left_us: left / rate, rate, wait_us })
    }

    /// The rendition to change to, if the rest comes too late: the highest below `current` that would be there before the buffer
    /// is dry, or else the lowest, if that is there sooner than the rest.
    fn better(&self, rates: &[u64], current: usize, length_us: i64, ahead_us: i64) -> Option<usize> {
        if self.left_us <= ahead_us as f64 {
            return None;
        }
        let takes_us = |rate: u64| self.wait_us + length_us as f64 / 1e6 * rate as f64 / self.rate;
        let lower = rates.get(..current)?;
        let fits = lower.iter().rposition(|rate| takes_us(*rate) < ahead_us as f64).unwrap_or(0);
        (takes_us(*lower.get(fits)?) < self.left_us).then_some(fits)
    }
}

// === impl Player ===

impl Player {
    /// A piece is to be asked for: whether it will be watched, which only the picture is. What was watched of it already is not any
    /// more.
    pub(super) fn watch(&mut self, side: Side, flight: &Flight, due: Instant) {
        if side != Side::Video {
            return;
        }
        let Purpose::Piece { duration_us, .. } = flight.purpose else { return };
        let lowers = |abr| matches!(abr, Abr::Throughput | Abr::Buffer);
        let gives_up = self.group().is_some_and(|group| group.abandon && lowers(group.abr));
        let has_lower = self.variant.is_some_and(|variant| variant > 0);
        let is_watched = flight.kind == Kind::Segment && gives_up && has_lower;
        self.watched = is_watched.then(|| {
            let length_us = i64::from(duration_us);
            let next = due + duration(length_us / 2);
            Watch { progress: Rc::default(), since: due, length_us, next }
        });
    }

    /// Where the transfer in this slot is to tell how far it is, if somebody looks.
    pub(super) fn progress(&self, slot: usize) -> Option<Rc<Cell<Progress>>> {
        let watch = self.watched.as_ref().filter(|_| slot == piece_slot(Side::Video))?;
        Some(Rc::clone(&watch.progress))
    }

    /// When a transfer is looked at next.
    pub(super) fn look_due(&self) -> Option<Instant> {
        self.watched.as_ref().map(|watch| watch.next)
    }

    /// Looks at the transfer that is watched, and gives it up for a lower rendition if that is better.
    pub(super) fn plan_look(&mut self, now: Instant) {
        let shown = self.has_shown();
        let ahead_us = self.deck.ahead_us(Side::Video);
        let Some(watch) = self.watched.as_mut().filter(|watch| watch.next <= now) else { return };
        watch.next = now + LOOK_EVERY;
        let (progress, length_us) = (watch.progress.get(), watch.length_us);
        let Some(outlook) = Outlook::of(progress, watch.since, now).filter(|_| shown) else { return };
        let Some((master, _)) = &self.master else { return };
        let (Some(multivariant), Some(current)) = (master.multivariant(), self.variant) else { return };
        let rates: Vec<u64> = multivariant.variants.iter().map(|variant| variant.peak).collect();
        let Some(lower) = outlook.better(&rates, current, length_us, ahead_us) else { return };
        // As of a whole segment: with the way to the first byte.
        let sent = progress.sent.unwrap_or(now);
        self.estimate.sample(progress.bytes, now.saturating_duration_since(sent));
        self.news.push(Met::Abandoned);
        self.stays_low = true;
        self.tune(lower, now);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    const RATES: [u64; 3] = [500_000, 1_000_000, 4_000_000];
    const S: i64 = 1_000_000;

    /// Of two megabytes (four seconds at 4 Mbit/s), so many after three seconds, of which the first was the wait.
    fn outlook(bytes: u64) -> Option<Outlook> {
        let since = Instant::now();
        let first_byte = Some(since + Duration::from_secs(1));
        Outlook::of(
            Progress { sent: Some(since), first_byte, bytes, length: Some(2_000_000) },
            since,
            since + Duration::from_secs(3),
        )
    }

    #[test]
    fn what_will_be_there_in_time_is_waited_for_and_what_will_not_goes_to_the_highest_that_will() {
        // 4 Mbit/s: the other half takes two seconds more.
        let half = outlook(1_000_000).unwrap();
        assert_eq!(half.better(&RATES, 2, 4 * S, 2 * S), None);
        // A second of waiting and a second of transfer at 1 Mbit/s, or half of one at 500 kbit/s.
        assert_eq!(half.better(&RATES, 2, 4 * S, 2 * S - 1), Some(0));
        let fifth = outlook(400_000).unwrap();
        assert_eq!(fifth.better(&RATES, 2, 4 * S, 4 * S), Some(1), "8 s more, or 3.5 s at 1 Mbit/s");
        assert_eq!(fifth.better(&RATES, 2, 4 * S, 3 * S), Some(0), "or 2.25 s at 500 kbit/s");
        assert_eq!(fifth.better(&RATES, 2, 4 * S, S), Some(0), "nothing is in time: the soonest");
    }

    #[test]
    fn what_is_nearly_there_is_not_given_up_for_something_that_takes_as_long() {
        assert_eq!(outlook(1_900_000).unwrap().better(&RATES, 2, 4 * S, 0), None, "0.1 s more");
        assert_eq!(outlook(400_000).unwrap().better(&RATES, 0, 4 * S, 0), None, "there is nothing lower");
    }

    #[test]
    fn before_the_first_byte_there_is_nothing_to_go_by() {
        assert_eq!(outlook(0), None);
        let now = Instant::now();
        assert_eq!(Outlook::of(Progress::default(), now, now + Duration::from_secs(9)), None);
    }
}
