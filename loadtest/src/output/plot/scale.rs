//! Axes: which values of a scale are written beside it, and where a value lies.

/// Shares that are all above this one have an axis that begins with it.
pub(super) const UPPER_TENTH: f64 = 0.9;

/// Lines across a plot, without the one at zero.
const STEPS: f64 = 4.0;

/// Steps of an axis, at most.
const STEPS_MAX: f64 = 10.0;

/// The least and the most that an axis goes to: beyond, steps have no exact size, or none at all.
const MOST: std::ops::RangeInclusive<f64> = 1e-300..=1e300;

/// Powers of ten that an axis can have.
const POWERS: std::ops::RangeInclusive<i32> = -300..=300;

/// Times below a plot, at most.
const TIMES_MAX: f64 = 6.0;

/// Powers of ten of a logarithmic axis, at most: what lies below has no meaning beside the most.
const DECADES_MAX: i32 = 6;

/// Distances between times, in seconds.
const TIME_STEPS: [f64; 17] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0,
    21_600.0, 43_200.0,
];

/// A vertical axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From 0 to so many steps of this size.
    Linear { step: f64, steps: u32 },
    /// From one power of ten to another.
    Log { from: i32, to: i32 },
    /// Shares between 90 and 100 %.
    UpperTenth,
}

impl Scale {
    /// From zero to at least `most`, in round steps.
    pub(super) fn linear(most: f64) -> Self {
        let most = if most > 0.0 && most.is_finite() { most.clamp(*MOST.start(), *MOST.end()) } else { 1.0 };
        let power = 10_f64.powf((most / STEPS).log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| step * STEPS >= most * 0.999_999)
            .unwrap_or(power * 10.0);
        Self::Linear { step, steps: (most / step * 0.999_999).ceil().clamp(1.0, STEPS_MAX) as u32 }
    }

    /// Powers of ten around the values.
    pub(super) fn logarithmic(least: f64, most: f64) -> Self {
        let within = |power: f64| (power as i32).clamp(*POWERS.start(), *POWERS.end());
        let to = within((most.log10() - 1e-9).ceil());
        let from = within((least.log10() + 1e-9).floor());
        Self::Log { from: from.clamp(to - DECADES_MAX, to - 1), to }
    }

    /// From 90 to 100 %.
    pub(super) fn upper_tenth() -> Self {
        Self::UpperTenth
    }

    /// What has to be said about an axis that does not begin with zero.
    pub(super) fn remark(self) -> Option<&'static str> {
        match self {
            Self::Linear { .. } => None,
            Self::Log { .. } => Some("logarithmic"),
            Self::UpperTenth => Some("from 90 % on"),
        }
    }

    /// Values that are written beside it, from the lowest.
    pub(super) fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear { step, steps } => (0..=steps).map(|index| f64::from(index) * step).collect(),
            Self::Log { from, to } => (from..=to).map(|power| 10_f64.powi(power)).collect(),
            Self::UpperTenth => vec![0.9, 0.925, 0.95, 0.975, 1.0],
        }
    }

    /// Where a value lies, from 0 (the bottom) to 1.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { step, steps } => value / (step * f64::from(steps)),
            Self::UpperTenth => (value - UPPER_TENTH) / (1.0 - UPPER_TENTH),
            Self::Log { .. } if value <= 0.0 => 0.0,
            Self::Log { from, to } => (value.log10() - f64::from(from)) / f64::from(to - from),
        };
        place.clamp(0.0, 1.0)
    }

    /// Whether a value lies on it.
    pub(super) fn holds(self, value: f64) -> bool {
        self.ticks().last().is_some_and(|last| value <= last * 1.000_001)
    }
}

/// Times to write below a plot of so many seconds.
pub(super) fn times(seconds: f64) -> Vec<f64> {
    let step = TIME_STEPS.into_iter().find(|step| seconds / step <= TIMES_MAX);
    let step = step.unwrap_or_else(|| (seconds / TIMES_MAX / 86_400.0).ceil() * 86_400.0);
    (0..=(seconds / step + 1e-9) as u32).map(|index| f64::from(index) * step).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn an_axis_is_round_and_holds_all_values() {
        for most in [0.0, 0.001, 0.9, 1.0, 7.3, 10.0, 99.0, 100.0, 1_234.0, 9.99e9] {
            let scale = Scale::linear(most);
            let ticks = scale.ticks();
            assert!((2..=6).contains(&ticks.len()), "{most}: {ticks:?}");
            assert!(*ticks.last().unwrap() >= most * 0.999_99, "{most}: {ticks:?}");
            assert!(scale.place(most) >= 0.0 && scale.holds(most), "{most}");
        }
        assert_eq!(Scale::linear(10_000.0).ticks(), [0.0, 2_500.0, 5_000.0, 7_500.0, 10_000.0]);
    }

    #[test]
    fn a_logarithmic_axis_has_whole_powers() {
        let scale = Scale::logarithmic(0.3, 2_000.0);
        assert_eq!(scale, Scale::Log { from: -1, to: 4 });
        assert_eq!((scale.place(0.1), scale.place(1e4), scale.place(0.0)), (0.0, 1.0, 0.0));
        assert_eq!(Scale::logarithmic(10.0, 10.0).ticks().len(), 2);
        assert_eq!(Scale::logarithmic(1e-9, 1e3).ticks().len(), 7);
    }

    #[test]
    fn an_axis_of_values_that_nobody_measures_has_few_values_beside_it_all_the_same() {
        let odd = [
            5e-324,
            1e-310,
            1e-300,
            f64::MIN_POSITIVE,
            1e300,
            1e308,
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
            -1.0,
        ];
        for value in odd {
            let ticks = Scale::linear(value).ticks();
            assert!((2..=11).contains(&ticks.len()) && ticks.is_sorted(), "{value}: {ticks:?}");
            for other in odd.into_iter().chain([0.0, 1.0]) {
                let scale = Scale::logarithmic(other, value);
                assert!((2..=7).contains(&scale.ticks().len()), "{other} to {value}: {scale:?}");
                assert!(!scale.place(1.0).is_nan());
            }
            assert!(times(value).len() <= 7, "{value}");
        }
    }

    #[test]
    fn times_are_few_and_round_for_runs_of_any_length() {
        assert_eq!(times(60.0), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        for seconds in [1.0, 7.0, 45.0, 121.0, 3_600.0, 90_000.0, 1e6] {
            assert!((2..=7).contains(&times(seconds).len()), "{seconds}: {:?}", times(seconds));
        }
    }
}
