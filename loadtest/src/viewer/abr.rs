//! Which rendition comes next: by the throughput that was measured, by the buffer, or always the lowest or the highest. Pure; it
//! is asked before each segment.
//!
//! The throughput rule has the shape of hls.js's: two exponentially weighted means, of which the lower one counts, and more room
//! wanted for going up than for staying. The buffer rule is BBA-0 (Huang et al., *A Buffer-Based Approach to Rate Adaptation*,
//! SIGCOMM 2014): a reservoir that is kept full at the lowest rate, and a cushion over which the rate rises.

use std::time::Duration;

use crate::scenario::Abr;

/// Half-lives of the two means, in seconds of transfer.
const HALF_LIVES: [f64; 2] = [3.0, 9.0];

/// What is assumed before anything was measured, in bits per second.
const DEFAULT_BITS: f64 = 500_000.0;

/// The shortest time that a transfer is counted with: shorter ones say more of buffers on the way than of the way.
const SAMPLE_MIN: Duration = Duration::from_millis(50);

/// The least bytes that say something of the way.
const SAMPLE_BYTES_MIN: u64 = 16 << 10;

/// The share of the throughput that a rendition may take to stay, and to be gone up to.
const STAY: f64 = 0.95;
const UP: f64 = 0.7;

/// The shares of the buffer that are reservoir, and reservoir and cushion.
const RESERVOIR: f64 = 0.25;
const FULL: f64 = 0.9;

/// What a viewer knows of its line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Estimate {
    means: [Mean; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    weight: f64,
}

/// What a choice depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    /// Bits per second that each rendition takes, ascending; at least one.
    pub(crate) rates: &'a [u64],
    /// The one that is played; none: the first choice.
    pub(crate) current: Option<usize>,
    /// Media ahead, and the most that can be, in microseconds.
    pub(crate) ahead_us: i64,
    pub(crate) ahead_us_max: i64,
}

// === impl Estimate ===

impl Estimate {
    /// So many bytes took so long.
    pub(crate) fn sample(&mut self, bytes: u64, took: Duration) {
        if bytes < SAMPLE_BYTES_MIN {
            return;
        }
        let seconds = took.max(SAMPLE_MIN).as_secs_f64();
        for (mean, half_life) in self.means.iter_mut().zip(HALF_LIVES) {
            let keep = 0.5_f64.powf(seconds / half_life);
            mean.sum = mean.sum * keep + (bytes as f64 * 8.0 / seconds) * (1.0 - keep);
            mean.weight = mean.weight * keep + (1.0 - keep);
        }
    }

    /// Bits per second; none: nothing was measured.
    pub(crate) fn bits(&self) -> Option<u64> {
        let bits = self.means.iter().filter(|mean| mean.weight > 0.0).map(|mean| mean.sum / mean.weight);
        bits.reduce(f64::min).map(|bits| bits as u64)
    }
}

/// The rendition to go on with.
pub(crate) fn choose(abr: Abr, estimate: &Estimate, situation: &Situation<'_>) -> usize {
    let last = situation.rates.len().saturating_sub(1);
    match abr {
        Abr::Lowest => 0,
        Abr::Highest => last,
        Abr::Throughput => by_throughput(estimate, situation),
        Abr::Buffer => by_buffer(situation).min(last),
    }
}

fn by_throughput(estimate: &Estimate, Situation { rates, current, .. }: &Situation<'_>) -> usize {
    let bits = estimate.bits().map_or(DEFAULT_BITS, |bits| bits as f64);
    let fits = |index: usize, rate: u64| {
        let share = if current.is_some_and(|current| index <= current) { STAY } else { UP };
        rate as f64 <= bits * share
    };
    rates.iter().enumerate().rev().find(|(index, rate)| fits(*index, **rate)).map_or(0, |(index, _)| index)
}

fn by_buffer(situation: &Situation<'_>) -> usize {
    let Situation { rates, current, ahead_us, ahead_us_max } = *situation;
    let (Some(current), Some(lowest), Some(highest)) = (current, rates.first(), rates.last()) else {
        return 0;
    };
    let current = current.min(rates.len() - 1);
    let filled = ahead_us as f64 / ahead_us_max.max(1) as f64;
    if filled <= RESERVOIR {
        return 0;
    }
    if filled >= FULL {
        return rates.len() - 1;
    }
    let wanted = *lowest as f64 + (highest - lowest) as f64 * (filled - RESERVOIR) / (FULL - RESERVOIR);
    let above = rates.get(current + 1).is_some_and(|rate| *rate as f64 <= wanted);
    let below = current > 0 && rates[current - 1] as f64 >= wanted;
    if above {
        // The highest that is not above what is wanted.
        rates.iter().rposition(|rate| *rate as f64 <= wanted).unwrap_or(current)
    } else if below {
        // The lowest that is not below it.
        rates.iter().position(|rate| *rate as f64 >= wanted).unwrap_or(current)
    } else {
        current
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    const RATES: [u64; 4] = [400_000, 1_200_000, 2_500_000, 5_000_000];

    fn at(current: Option<usize>, ahead_seconds: f64) -> Situation<'static> {
        let ahead_us = (ahead_seconds * 1e6) as i64;
        Situation { rates: &RATES, current, ahead_us, ahead_us_max: 20_000_000 }
    }

    fn line(bits: u64) -> Estimate {
        let mut estimate = Estimate::default();
        (0..20).for_each(|_| estimate.sample(bits / 8, Duration::from_secs(1)));
        estimate
    }

    #[test]
    fn a_steady_line_is_measured_as_it_is() {
        let bits = line(3_000_000).bits().unwrap();
        assert!(bits.abs_diff(3_000_000) < 10, "{bits}");
        assert_eq!(Estimate::default().bits(), None);
    }

    #[test]
    fn a_line_that_breaks_down_counts_sooner_than_one_that_recovers() {
        let mut estimate = line(8_000_000);
        (0..6).for_each(|_| estimate.sample(125_000, Duration::from_secs(1)));
        let down = estimate.bits().unwrap();
        assert!(down < 3_000_000, "{down}: two half-lives of the fast mean");
        (0..6).for_each(|_| estimate.sample(1_000_000, Duration::from_secs(1)));
        let up = estimate.bits().unwrap();
        assert!((4_000_000..7_000_000).contains(&up), "{up}: the slow mean holds it back");
    }

    #[test]
    fn small_and_short_transfers_do_not_make_a_fast_line() {
        let mut estimate = Estimate::default();
        estimate.sample(SAMPLE_BYTES_MIN - 1, Duration::from_millis(1));
        assert_eq!(estimate.bits(), None);
        estimate.sample(100_000, Duration::from_micros(1));
        assert_eq!(estimate.bits(), Some(16_000_000), "as if it had taken 50 ms");
    }

    #[test]
    fn throughput_wants_more_room_to_go_up_than_to_stay() {
        let choose = |bits, current| choose(Abr::Throughput, &line(bits), &at(current, 0.0));
        assert_eq!(choose(3_000_000, Some(1)), 1, "2.5 of 3 Mbit/s are more than 70 %");
        assert_eq!(choose(3_000_000, Some(2)), 2, "and less than 95 %");
        assert_eq!(choose(3_600_000, Some(1)), 2);
        assert_eq!(choose(2_000_000, Some(3)), 1);
        assert_eq!(choose(100_000, Some(3)), 0);
        assert_eq!(choose(100_000_000, None), 3);
        assert_eq!(super::choose(Abr::Throughput, &Estimate::default(), &at(None, 0.0)), 0);
    }

    #[test]
    fn the_buffer_rule_fills_the_reservoir_first_and_then_rises_with_the_cushion() {
        let choose = |current, ahead| choose(Abr::Buffer, &Estimate::default(), &at(current, ahead));
        assert_eq!(choose(None, 0.0), 0);
        assert_eq!(choose(Some(3), 5.0), 0, "the reservoir is a quarter");
        assert_eq!(choose(Some(0), 18.0), 3, "nine tenths are full");
        let up: Vec<usize> = (0..=20)
            .scan(0, |now, ahead| {
                *now = choose(Some(*now), f64::from(ahead));
                Some(*now)
            })
            .collect();
        assert!(up.is_sorted() && up.contains(&1) && up.contains(&2), "{up:?}");
        assert_eq!(choose(Some(1), 9.0), 1, "between two rates it stays");
        assert_eq!(choose(Some(2), 9.0), 2, "whichever of the two it has");
        assert_eq!(choose(Some(3), 7.0), 1, "far below it goes down");
    }

    #[test]
    fn lowest_and_highest_stay_where_they_are() {
        assert_eq!(choose(Abr::Lowest, &line(1 << 40), &at(Some(2), 20.0)), 0);
        assert_eq!(choose(Abr::Highest, &line(1), &at(Some(0), 0.0)), 3);
    }
}
