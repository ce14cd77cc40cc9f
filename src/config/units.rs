//! Units in values: sizes (`64MiB`), durations (`500ms`), bit rates (`8Gbit/s`) and shares (`20%`).
//!
//! Decides how a written quantity is read, and what to write instead of one that cannot be. Ranges are the business of
//! whoever asks.

use std::time::Duration;

/// Units of sizes, with their bytes.
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Units of durations, with their milliseconds.
const DURATIONS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of bit rates, with their bits per second: decimal ones, as networks are sold.
const BIT_RATES: [(&str, u64); 5] = [
    ("Tbit/s", 1_000_000_000_000),
    ("Gbit/s", 1_000_000_000),
    ("Mbit/s", 1_000_000),
    ("kbit/s", 1_000),
    ("bit/s", 1),
];

/// Other ways to write a unit, in lower case, with the one to write.
const SIZE_ALIASES: [(&str, &str); 16] = [
    ("b", "B"),
    ("byte", "B"),
    ("bytes", "B"),
    ("k", "KiB"),
    ("kb", "KiB"),
    ("ki", "KiB"),
    ("kib", "KiB"),
    ("m", "MiB"),
    ("mb", "MiB"),
    ("mi", "MiB"),
    ("mib", "MiB"),
    ("g", "GiB"),
    ("gb", "GiB"),
    ("gi", "GiB"),
    ("gib", "GiB"),
    ("tb", "TiB"),
];

/// As [`SIZE_ALIASES`], for durations.
const DURATION_ALIASES: [(&str, &str); 12] = [
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
];

/// As [`SIZE_ALIASES`], for bit rates.
const BIT_RATE_ALIASES: [(&str, &str); 8] = [
    ("tbps", "Tbit/s"),
    ("gbps", "Gbit/s"),
    ("mbps", "Mbit/s"),
    ("kbps", "kbit/s"),
    ("bps", "bit/s"),
    ("gbit", "Gbit/s"),
    ("mbit", "Mbit/s"),
    ("kbit", "kbit/s"),
];

/// A quantity that cannot be read: why, and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; {remedy}")]
pub struct UnitError {
    /// What is wrong with it.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

/// Reads a size in bytes: a whole number and one of `B`, `KiB`, `MiB`, `GiB`, `TiB`.
///
/// # Errors
/// When there is no number, no unit, another unit (decimal ones such as `MB` included), or more than 2^64 - 1 bytes.
pub fn size(text: &str) -> Result<u64, UnitError> {
    quantity(text, "size", "64MiB", "B, KiB, MiB, GiB or TiB", &SIZES, &SIZE_ALIASES)
}

/// Reads a duration: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
///
/// # Errors
/// When there is no number, no unit, another unit, or more than 2^64 - 1 milliseconds.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    quantity(text, "duration", "10s", "ms, s, m, h or d", &DURATIONS, &DURATION_ALIASES)
        .map(Duration::from_millis)
}

/// Reads a bit rate in bits per second: a whole number and one of `bit/s`, `kbit/s`, `Mbit/s`, `Gbit/s`, `Tbit/s`.
///
/// # Errors
/// When there is no number, no unit, another unit (such as `Gbps`), or more than 2^64 - 1 bits per second.
pub fn bit_rate(text: &str) -> Result<u64, UnitError> {
    let known = "bit/s, kbit/s, Mbit/s, Gbit/s or Tbit/s";
    quantity(text, "bit rate", "8Gbit/s", known, &BIT_RATES, &BIT_RATE_ALIASES)
}

/// Reads a share: a whole number of percent, from `0%` to `100%`.
///
/// # Errors
/// When there is no number, no `%`, or more than 100.
pub fn percent(text: &str) -> Result<u32, UnitError> {
    let error = |reason: String| UnitError {
        reason,
        remedy: "write a whole number from 0 to 100 and %, such as \"20%\"".to_owned(),
    };
    let number = text
        .strip_suffix('%')
        .filter(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.ok_or_else(|| error(format!("\"{}\" is not a share", text.escape_debug())))?;
    number
        .parse()
        .ok()
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| error(format!("\"{text}\" is out of range")))
}

/// Writes a size with the largest unit that leaves a whole number.
pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES, "0B")
}

/// Writes a duration with the largest unit that leaves a whole number of it; parts below a millisecond are left out.
pub fn show_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &DURATIONS, "0s")
}

fn show(amount: u64, units: &[(&str, u64)], zero: &str) -> String {
    match units.iter().find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", amount / factor),
        None => zero.to_owned(),
    }
}

fn quantity(
    text: &str,
    what: &str,
    example: &str,
    known: &str,
    units: &[(&str, u64)],
    aliases: &[(&str, &str)],
) -> Result<u64, UnitError> {
    let error = |reason: String, remedy: String| Err(UnitError { reason, remedy });
    let example = format!("write a whole number and a unit ({known}), such as \"{example}\"");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() || unit.starts_with(['.', ',', '_']) {
        return error(format!("\"{text}\" is not a {what}"), example);
    }
    if unit.is_empty() {
        return error(format!("\"{text}\" has no unit"), example);
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let plain = unit.trim().to_ascii_lowercase();
        let meant = units.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(&plain));
        let meant =
            meant.or_else(|| aliases.iter().find(|(alias, _)| *alias == plain).map(|(_, name)| *name));
        let remedy = meant.map_or(example, |name| format!("write \"{number}{name}\""));
        return error(format!("\"{}\" is not a unit of a {what}", unit.trim()), remedy);
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor)) {
        Some(amount) => Ok(amount),
        None => error(format!("\"{text}\" is too large"), "write a smaller number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn bit_rates_are_decimal() {
        for (text, bits) in [
            ("8Gbit/s", 8_000_000_000),
            ("1kbit/s", 1_000),
            ("25bit/s", 25),
            ("2Tbit/s", 2_000_000_000_000),
            ("300Mbit/s", 300_000_000),
        ] {
            assert_eq!(bit_rate(text), Ok(bits), "{text}");
        }
        for (text, remedy) in [
            ("8Gbps", "write \"8Gbit/s\""),
            ("8gbit/s", "write \"8Gbit/s\""),
            ("8 mbps", "write \"8Mbit/s\""),
            ("99999999999Tbit/s", "write a smaller number"),
        ] {
            assert_eq!(bit_rate(text).unwrap_err().remedy, remedy, "{text}");
        }
        for text in ["", "8", "1.5Gbit/s", "8GB", "-1Gbit/s"] {
            assert!(bit_rate(text).unwrap_err().remedy.contains("such as \"8Gbit/s\""), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_in_binary_units() {
        for (text, bytes) in [
            ("10B", 10),
            ("0B", 0),
            ("512KiB", 512 << 10),
            ("64MiB", 64 << 20),
            ("2GiB", 2 << 30),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(show_size(bytes), text);
        }
        assert_eq!(show_size(1536), "1536B");
        assert_eq!(show_size(3 << 19), "1536KiB");
    }

    #[test]
    fn durations_are_read_in_their_units() {
        for (text, millis) in
            [("500ms", 500), ("6s", 6_000), ("5m", 300_000), ("1h", 3_600_000), ("1d", 86_400_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(show_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_decimal_unit_is_refused_with_the_binary_one_named() {
        let error = size("64MB").unwrap_err();
        assert_eq!(error.to_string(), "\"MB\" is not a unit of a size; write \"64MiB\"");
        assert_eq!(size("2gib").unwrap_err().remedy, "write \"2GiB\"");
        assert_eq!(size("2 GiB").unwrap_err().remedy, "write \"2GiB\"");
        assert_eq!(duration("5min").unwrap_err().remedy, "write \"5m\"");
        assert_eq!(duration("5 S").unwrap_err().remedy, "write \"5s\"");
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "10",
            "MiB",
            "-1MiB",
            "1.5GiB",
            "1_000B",
            "20000000TiB",
            "99999999999999999999B",
            "٣B",
            "1XiB",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1.5s", "1h30m", "1w", "18446744073709551615d", "∞"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
