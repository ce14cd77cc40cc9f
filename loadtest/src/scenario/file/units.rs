//! Units in the values of a scenario: times (`4s`), bit rates (`2.5M`) and shares (`0.1%`).
//!
//! Decides how a written quantity is read and how one is written back. Ranges are the business of the rules.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// A time as it is written: a number and `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Time(pub(crate) Duration);

/// Bits per second as they are written: a number and `k`, `M` or `G` (powers of 1,000), or none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate(pub(crate) u64);

/// A part of a whole, from 0 to 1, or in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

/// The longest text that is read as a quantity, in bytes.
const QUANTITY_BYTES_MAX: usize = 32;

/// The longest time that can be written, in seconds: a year. Rules have narrower ranges.
const TIME_S_MAX: f64 = 366.0 * 86_400.0;

/// The highest rate that can be written, in bits per second. Rules have narrower ranges.
const RATE_MAX: f64 = 1e15;

/// Units of times in seconds, longest first, as they are written back.
const TIMES: [(&str, f64); 5] = [("d", 86_400.0), ("h", 3_600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001)];

/// Units of rates in bits per second, highest first.
const RATES: [(&str, f64); 3] = [("G", 1e9), ("M", 1e6), ("k", 1e3)];

const TIME_REMEDY: &str = "write a number and its unit, such as \"500ms\", \"4s\" or \"2m\"";
const RATE_REMEDY: &str = "write bits per second with a unit, such as \"800k\" or \"2.5M\"";
const SHARE_REMEDY: &str = "write a number from 0 to 1, or percent, such as \"0.1%\"";

/// The number and the unit of a quantity.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    if text.len() > QUANTITY_BYTES_MAX {
        return None;
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// The text without what is not to be in a message: it may be of any length.
fn shown(text: &str) -> String {
    text.chars().take(QUANTITY_BYTES_MAX).collect()
}

// === impl Time ===

impl Time {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{}\" is no time; {TIME_REMEDY}", shown(text));
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let (_, seconds) = TIMES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let seconds = number * seconds;
        if seconds > TIME_S_MAX {
            return Err(format!("\"{}\" is longer than a year; {TIME_REMEDY}", shown(text)));
        }
        // Whole microseconds: what is written is what is computed with, whatever the fraction.
        Ok(Self(Duration::from_micros((seconds * 1e6).round() as u64)))
    }
}

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        for (unit, seconds) in TIMES {
            let whole = (seconds * 1e6) as u128;
            if micros != 0 && micros.is_multiple_of(whole) {
                return write!(f, "{}{unit}", micros / whole);
            }
        }
        write!(f, "{}s", self.0.as_secs_f64())
    }
}

// === impl Rate ===

impl Rate {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{}\" is no bit rate; {RATE_REMEDY}", shown(text));
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let factor = match unit {
            "" => 1.0,
            _ => RATES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1,
        };
        let bits = number * factor;
        if bits > RATE_MAX { Err(wrong()) } else { Ok(Self(bits.round() as u64)) }
    }
}

impl Display for Rate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match RATES.iter().find(|(_, factor)| self.0 as f64 >= *factor) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 as f64 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

// === impl Share ===

impl Share {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{}\" is no share; {SHARE_REMEDY}", shown(text));
        match split(text).ok_or_else(wrong)? {
            (number, "%") => Ok(Self(number / 100.0)),
            (number, "") => Ok(Self(number)),
            _ => Err(wrong()),
        }
    }
}

impl Display for Share {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

// === impl Deserialize ===

/// Reads a quantity from a string by `of_text`, and from a number by `of_number`.
struct Quantity<T> {
    of_text: fn(&str) -> Result<T, String>,
    of_number: fn(f64) -> Result<T, String>,
}

impl<T> Visitor<'_> for Quantity<T> {
    type Value = T;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.of_text)(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        (self.of_number)(number as f64).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        (self.of_number)(number).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let of_number = |number: f64| Err(format!("{number} is a time without a unit; {TIME_REMEDY}"));
        from.deserialize_any(Quantity { of_text: Self::parse, of_number })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let of_number = |number: f64| Self::parse(&number.to_string());
        from.deserialize_any(Quantity { of_text: Self::parse, of_number })
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Quantity { of_text: Self::parse, of_number: |number| Ok(Self(number)) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn times_are_read_in_every_unit_and_written_back_as_they_are_best_read() {
        for (text, millis, back) in [
            ("500ms", 500, "500ms"),
            ("4s", 4_000, "4s"),
            ("1.5s", 1_500, "1500ms"),
            ("90s", 90_000, "90s"),
            ("2m", 120_000, "2m"),
            ("1h", 3_600_000, "1h"),
            ("1 d", 86_400_000, "1d"),
            ("0s", 0, "0s"),
        ] {
            let time = Time::parse(text).unwrap();
            assert_eq!(
                (time.0, time.to_string()),
                (Duration::from_millis(millis), back.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn rates_are_powers_of_a_thousand() {
        for (text, bits, back) in [
            ("800k", 800_000, "800k"),
            ("2.5M", 2_500_000, "2.5M"),
            ("10G", 10_000_000_000, "10G"),
            ("12", 12, "12"),
        ] {
            let rate = Rate::parse(text).unwrap();
            assert_eq!((rate.0, rate.to_string()), (bits, back.to_owned()), "{text}");
        }
    }

    #[test]
    fn shares_may_be_percent() {
        assert!((Share::parse("0.1%").unwrap().0 - 0.001).abs() < 1e-12);
        assert_eq!(Share::parse("0.25").unwrap(), Share(0.25));
    }

    #[test]
    fn what_is_no_quantity_is_told_with_what_to_write() {
        for text in ["", "s", "4", "4 fortnights", "-4s", "1e3s", "4s4", "..s", &"9".repeat(99)] {
            let error = Time::parse(text).unwrap_err();
            assert!(error.contains("such as \"500ms\"") && error.len() < 200, "{text}: {error}");
        }
        for text in ["", "M", "2.5Mbit", "2.5m", "99999999G", "-1k"] {
            assert!(Rate::parse(text).unwrap_err().contains("\"2.5M\""), "{text}");
        }
        for text in ["", "%", "half", "10 %%"] {
            assert!(Share::parse(text).unwrap_err().contains("percent"), "{text}");
        }
        assert!(Time::parse("9999999999d").unwrap_err().contains("longer than a year"));
    }
}
