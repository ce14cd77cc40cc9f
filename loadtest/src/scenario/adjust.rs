//! A scenario with another audience, seed or duration than its file says: for `--viewers`, `--seed` and `--duration`, and for the
//! search for a capacity. What comes out holds every limit that the file would have been held to.

use std::time::Duration;

use super::Scenario;
use super::file::rules::VIEWERS_MAX;

/// The shortest and the longest run.
pub(crate) const DURATION_MIN: Duration = Duration::from_secs(1);
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(86_400);

/// What takes less than this part of a run (1 / 4) is a moment: a crowd that comes at once, an outage. It stays as long as it is
/// when the run gets longer. What takes more is a phase of the run, and is stretched with it.
const MOMENT_PART: u32 = 4;

impl Scenario {
    /// How many come in all.
    pub(crate) fn viewers(&self) -> u32 {
        self.audience.arrivals.iter().map(|arrivals| arrivals.viewers).sum()
    }

    /// With this many viewers in all, from 1 to [`VIEWERS_MAX`]: each of the arrivals keeps its part of them, rounded
    /// so that the sum is exact.
    pub(crate) fn with_viewers(mut self, viewers: u32) -> Self {
        let viewers = u64::from(viewers.clamp(1, VIEWERS_MAX));
        let before = u64::from(self.viewers()).max(1);
        let (mut come, mut came) = (0, 0);
        for arrivals in &mut self.audience.arrivals {
            come += u64::from(arrivals.viewers);
            let by_then = come * viewers / before;
            arrivals.viewers = (by_then - came) as u32;
            came = by_then;
        }
        self.audience.arrivals.retain(|arrivals| arrivals.viewers > 0);
        self
    }

    pub(crate) fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// With this duration, from [`DURATION_MIN`] to [`DURATION_MAX`]. What happens, happens at the same share of the run; what
    /// takes time is stretched if it is a phase, and stays as it is if it is a moment and fits. The number of viewers stays, and so
    /// does what they are like.
    pub(crate) fn with_duration(mut self, duration: Duration) -> Self {
        let duration = duration.clamp(DURATION_MIN, DURATION_MAX);
        let before = self.duration;
        let share = |time: Duration| time.as_secs_f64() / before.as_secs_f64();
        let at = |time: Duration| duration.mul_f64(share(time)).min(duration);
        let over = |from: Duration, time: Duration| {
            let stretched = time.saturating_mul(MOMENT_PART) >= before || duration < before;
            let time = if stretched { duration.mul_f64(share(time)) } else { time };
            time.min(duration.saturating_sub(from))
        };
        for arrivals in &mut self.audience.arrivals {
            arrivals.at = at(arrivals.at);
            arrivals.over = over(arrivals.at, arrivals.over);
        }
        for fault in &mut self.faults {
            // A fault may be there to the end, and after it.
            fault.at = at(fault.at);
            fault.over = over(fault.at, fault.over).max(Duration::from_millis(1));
        }
        self.events.iter_mut().for_each(|event| event.at = at(event.at));
        self.warm_up = if duration < before { at(self.warm_up) } else { self.warm_up };
        if let Some(wave) = self.token.as_mut().and_then(|token| token.wave_at.as_mut()) {
            *wave = at(*wave);
        }
        self.duration = duration;
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::scenario::{file, presets};

    const TEXT: &str = "duration = \"100s\"\nwarm-up = \"10s\"\n\
        audience = { arrivals = [{ viewers = 1 }, { viewers = 2, at = \"20s\", over = \"10s\" }, { viewers = 4, over = \"80s\" }] }\n\
        stream = [{ name = \"a\", kind = \"live\" }]\n\
        fault = [{ at = \"50s\", over = \"15s\", outage = true }]\n\
        event = [{ at = \"60s\", restart = true }]\n\
        token = { wave-at = \"40s\" }\n";

    fn scenario() -> Scenario {
        file::parse("test", TEXT).unwrap()
    }

    fn seconds(time: Duration) -> f64 {
        time.as_secs_f64()
    }

    #[test]
    fn any_number_of_viewers_is_met_exactly_and_keeps_its_shape() {
        for viewers in [1, 2, 3, 7, 8, 700, 12_345, VIEWERS_MAX] {
            let scaled = scenario().with_viewers(viewers);
            assert_eq!(scaled.viewers(), viewers);
            assert!(scaled.audience.arrivals.iter().all(|arrivals| arrivals.viewers > 0));
        }
        let scaled = scenario().with_viewers(700);
        let counts: Vec<u32> = scaled.audience.arrivals.iter().map(|arrivals| arrivals.viewers).collect();
        assert_eq!(counts, [100, 200, 400]);
    }

    #[test]
    fn a_longer_run_stretches_its_phases_and_leaves_its_moments() {
        let long = scenario().with_duration(Duration::from_secs(300));
        let arrivals = &long.audience.arrivals;
        assert_eq!((seconds(arrivals[1].at), seconds(arrivals[1].over)), (60.0, 10.0));
        assert_eq!(seconds(arrivals[2].over), 240.0);
        assert_eq!((seconds(long.faults[0].at), seconds(long.faults[0].over)), (150.0, 15.0));
        assert_eq!(seconds(long.events[0].at), 180.0);
        assert_eq!(seconds(long.token.unwrap().wave_at.unwrap()), 120.0);
        assert_eq!(seconds(long.warm_up), 10.0);
    }

    #[test]
    fn a_shorter_run_has_all_that_the_longer_one_has() {
        let short = scenario().with_duration(Duration::from_secs(10));
        let arrivals = &short.audience.arrivals;
        assert_eq!((seconds(arrivals[1].at), seconds(arrivals[1].over)), (2.0, 1.0));
        assert_eq!((seconds(short.faults[0].at), seconds(short.faults[0].over)), (5.0, 1.5));
        assert_eq!(seconds(short.warm_up), 1.0);
        assert_eq!(short.viewers(), 7);
    }

    #[test]
    fn whatever_is_asked_for_the_run_holds_its_own_limits() {
        for preset in presets::ALL {
            for duration in
                [Duration::ZERO, Duration::from_millis(1_500), Duration::from_secs(600), Duration::MAX]
            {
                let scenario =
                    file::parse(preset.name, preset.text).unwrap().with_duration(duration).with_viewers(0);
                assert_eq!(scenario.viewers(), 1);
                let end = scenario.duration;
                assert!(
                    (DURATION_MIN..=DURATION_MAX).contains(&end) && scenario.warm_up < end,
                    "{}",
                    preset.name
                );
                assert!(scenario.audience.arrivals.iter().all(|arrivals| arrivals.at + arrivals.over <= end));
                assert!(scenario.faults.iter().all(|fault| fault.at <= end && !fault.over.is_zero()));
                assert!(scenario.events.iter().all(|event| event.at <= end));
            }
        }
    }

    #[test]
    fn no_event_and_no_fault_of_a_scenario_is_lost_in_a_run_that_is_short() {
        for preset in presets::ALL {
            for seconds in [1, 2, 5, 16, 40] {
                let whole = file::parse(preset.name, preset.text).unwrap();
                let short = whole.clone().with_duration(Duration::from_secs(seconds));
                let what = format!("{} in {seconds} s", preset.name);
                assert_eq!(short.events.len(), whole.events.len(), "{what}");
                assert_eq!(short.faults.len(), whole.faults.len(), "{what}");
                assert!(short.events.iter().all(|event| event.at < short.duration), "{what}");
                assert!(short.faults.iter().all(|fault| fault.at + fault.over <= short.duration), "{what}");
                assert!(short.warm_up < short.duration, "{what}");
            }
        }
        let of = |name: &str, seconds| {
            let preset = presets::find(name).unwrap();
            file::parse(name, preset.text).unwrap().with_duration(Duration::from_secs(seconds))
        };
        let restart = of("node-restart", 16);
        let times: Vec<_> = restart.events.iter().map(|event| event.at.as_secs_f64().round()).collect();
        assert_eq!(
            (times, restart.events[0].what.clone()),
            (vec![5.0, 11.0], crate::scenario::Deed::Restart)
        );
        let outage = of("origin-outage", 40).faults.remove(1);
        assert_eq!(outage.what, crate::scenario::Wrong::Outage);
        assert!((17.0..18.0).contains(&seconds(outage.at)) && (6.0..7.0).contains(&seconds(outage.over)));
    }

    #[test]
    fn another_seed_changes_nothing_else() {
        let seeded = scenario().with_seed(9);
        assert_eq!(seeded.seed, 9);
        assert_eq!(seeded.with_seed(1), scenario());
    }
}
