//! A distribution, as it is gathered: a histogram of two significant digits (1 %), with the exact mean and the exact maximum.
//!
//! It takes no memory while it is empty, and is written as the few values that it has. Times are in microseconds. Called by
//! [`super::book`].

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::summary::Quantiles;

/// Significant decimal digits of a value.
const DIGITS: u8 = 2;

/// Values as they are gathered, and merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    /// None: nothing was recorded.
    histogram: Option<Box<Histogram<u64>>>,
    sum: u128,
    max: u64,
}

/// How it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    sum: u128,
    max: u64,
    /// A value and how often it was there, by turns; ascending.
    counts: Vec<u64>,
}

impl Spread {
    /// One more value.
    pub(crate) fn record(&mut self, value: u64) {
        if self.record_many(value, 1) {
            self.sum += u128::from(value);
            self.max = self.max.max(value);
        }
    }

    /// One more time, in microseconds.
    pub(crate) fn record_time(&mut self, time: Duration) {
        self.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many values there are.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, |histogram| histogram.len())
    }

    /// Mean of the values; 0 when there are none.
    pub(crate) fn mean(&self) -> f64 {
        if self.count() == 0 { 0.0 } else { self.sum as f64 / self.count() as f64 }
    }

    /// The value below which this share of the values is; 0 when there are none.
    pub(crate) fn at(&self, quantile: f64) -> f64 {
        self.histogram
            .as_ref()
            .map_or(0.0, |histogram| histogram.value_at_quantile(quantile).min(self.max) as f64)
    }

    /// Takes over another's values.
    pub(crate) fn merge(&mut self, other: &Self) {
        let Some(theirs) = &other.histogram else { return };
        match &mut self.histogram {
            // Both grow as they need to: adding cannot fail.
            Some(ours) => ours.add(theirs.as_ref()).unwrap_or_default(),
            None => self.histogram = Some(theirs.clone()),
        }
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// Takes over those of another's values that are at least so much.
    pub(crate) fn merge_from(&mut self, other: &Self, least: u64) {
        let Some(theirs) = &other.histogram else { return };
        for value in theirs.iter_recorded() {
            let at = value.value_iterated_to().min(other.max);
            if at >= least && self.record_many(at, value.count_at_value()) {
                self.sum = self.sum.saturating_add(u128::from(at) * u128::from(value.count_at_value()));
                self.max = self.max.max(at);
            }
        }
    }

    /// Whether no value is more than this (as far as the digits that are kept can tell), and the sum is one of such values.
    pub(crate) fn is_within(&self, most: u64) -> bool {
        let kept = self.histogram.as_ref().map_or(0, |histogram| histogram.max());
        let near = most.saturating_add(most / 64);
        kept <= near && self.max <= most && self.sum <= u128::from(self.count()) * u128::from(self.max)
    }

    /// As it is reported, each value divided by so much.
    pub(crate) fn quantiles(&self, divisor: f64) -> Quantiles {
        Quantiles {
            count: self.count(),
            mean: self.mean() / divisor,
            p50: self.at(0.50) / divisor,
            p95: self.at(0.95) / divisor,
            p99: self.at(0.99) / divisor,
            max: self.max as f64 / divisor,
        }
    }

    /// Of times: in milliseconds.
    pub(crate) fn milliseconds(&self) -> Quantiles {
        self.quantiles(1_000.0)
    }

    /// Whether it went in.
    fn record_many(&mut self, value: u64, count: u64) -> bool {
        if self.histogram.is_none() {
            // The digits are within what the histogram allows, so there always is one.
            self.histogram = Histogram::new(DIGITS).ok().map(Box::new);
        }
        // It grows with what is recorded: to 58 halvings of 128 counts, or 60 KB, for any value at all.
        self.histogram.as_mut().is_some_and(|histogram| histogram.record_n(value, count).is_ok())
    }
}

impl Serialize for Spread {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut counts = Vec::new();
        if let Some(histogram) = &self.histogram {
            for value in histogram.iter_recorded() {
                counts.extend([value.value_iterated_to(), value.count_at_value()]);
            }
        }
        Written { sum: self.sum, max: self.max, counts }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Spread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let mut spread = Self::default();
        let (pairs, rest) = written.counts.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(D::Error::custom("a distribution has a value without a count"));
        }
        for [value, count] in pairs {
            if !spread.record_many(*value, *count) {
                return Err(D::Error::custom(format!("{value} cannot be in a distribution")));
            }
        }
        (spread.sum, spread.max) = (written.sum, written.max);
        Ok(spread)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    fn of(values: &[u64]) -> Spread {
        let mut spread = Spread::default();
        values.iter().for_each(|value| spread.record(*value));
        spread
    }

    #[test]
    fn quantiles_are_within_one_percent_and_mean_and_maximum_are_exact() {
        let seed = 7;
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut values: Vec<u64> = (0..20_000).map(|_| random.random_range(1..5_000_000)).collect();
        let spread = of(&values);
        values.sort_unstable();
        for quantile in [0.5, 0.95, 0.99] {
            let exact = values[(quantile * values.len() as f64) as usize] as f64;
            let found = spread.at(quantile);
            assert!((found / exact - 1.0).abs() < 0.01, "seed {seed}: {quantile} is {found}, not {exact}");
        }
        let mean = values.iter().sum::<u64>() as f64 / values.len() as f64;
        assert!((spread.mean() - mean).abs() < 1e-6);
        assert_eq!(spread.quantiles(1.0).max, *values.last().unwrap() as f64);
    }

    #[test]
    fn what_is_written_and_read_and_merged_is_as_if_it_were_recorded_in_one_place() {
        let (a, b) = ([5, 70_000, 70_000, u64::MAX], [1, 5, 123_456_789]);
        let read = |spread: &Spread| -> Spread {
            serde_json::from_str(&serde_json::to_string(spread).unwrap()).unwrap()
        };
        let mut merged = read(&of(&a));
        merged.merge(&read(&of(&b)));
        merged.merge(&Spread::default());
        let whole = of(&[a.as_slice(), b.as_slice()].concat());
        assert_eq!(merged.quantiles(1.0), whole.quantiles(1.0));
        assert_eq!(read(&Spread::default()), Spread::default());
    }

    #[test]
    fn an_empty_one_takes_no_memory_and_is_all_zeros() {
        assert!(std::mem::size_of::<Spread>() <= 48);
        assert_eq!(Spread::default().milliseconds(), Quantiles::default());
    }

    #[test]
    fn a_value_without_a_count_is_refused() {
        let error = serde_json::from_str::<Spread>(r#"{"sum":1,"max":1,"counts":[1]}"#).unwrap_err();
        assert!(error.to_string().contains("without a count"), "{error}");
    }

    #[test]
    fn only_values_from_a_limit_on_are_taken_over() {
        let mut spread = of(&[10]);
        spread.merge_from(&of(&[20, 1_000, 2_000]), 1_000);
        assert_eq!((spread.count(), spread.quantiles(1.0).max), (3, 2_000.0));
    }
}
