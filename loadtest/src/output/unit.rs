//! How figures are written for people: few digits, a unit, and the same everywhere. Called by the text and the HTML.

/// What a figure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Things that are counted.
    Count,
    /// Things per second.
    PerSecond,
    Milliseconds,
    Seconds,
    /// A share, from 0 to 1; written as percent.
    Share,
    BitsPerSecond,
    Bytes,
    /// Processors that are busy all the time.
    Cpus,
    Microseconds,
    /// A plain number.
    Number,
}

impl Unit {
    /// A value with its unit.
    pub(crate) fn write(self, value: f64) -> String {
        match self {
            Self::Count => count(value),
            Self::PerSecond => format!("{}/s", compact(value)),
            Self::Milliseconds => milliseconds(value),
            Self::Seconds => milliseconds(value * 1e3),
            Self::Microseconds => milliseconds(value / 1e3),
            Self::Share => format!("{} %", significant(value * 100.0)),
            Self::BitsPerSecond => scaled(value, "bit/s"),
            Self::Bytes => scaled(value, "B"),
            Self::Cpus => format!("{} CPU", cpus(value)),
            Self::Number => significant(value),
        }
    }

    /// What stands at an axis: short, and without what the plot's head says.
    pub(crate) fn tick(self, value: f64) -> String {
        match self {
            Self::Count | Self::PerSecond => compact(value),
            Self::Cpus => cpus(value),
            Self::BitsPerSecond => scaled(value, ""),
            _ => self.write(value),
        }
        .trim_end()
        .to_owned()
    }

    /// What stands in the plot's head.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "per second",
            Self::BitsPerSecond => "bit/s",
            Self::Cpus => "busy processors",
            // The texts at the axis have the unit.
            _ => "",
        }
    }
}

/// A whole number with its thousands apart; a mean that is none with one decimal.
fn count(value: f64) -> String {
    if value.fract() != 0.0 && value.abs() < 1_000.0 {
        return significant(value);
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// 950, 1.2k, 34k, 5.6M.
fn compact(value: f64) -> String {
    match value.abs() {
        large if large >= 999_500_000.0 => format!("{}G", significant(value / 1e9)),
        large if large >= 999_500.0 => format!("{}M", significant(value / 1e6)),
        large if large >= 999.5 => format!("{}k", significant(value / 1e3)),
        _ => significant(value),
    }
}

/// With the prefix of a power of 1,000.
fn scaled(value: f64, unit: &str) -> String {
    let (divisor, prefix) = match value.abs() {
        large if large >= 999.5e9 => (1e12, "T"),
        large if large >= 999.5e6 => (1e9, "G"),
        large if large >= 999.5e3 => (1e6, "M"),
        large if large >= 999.5 => (1e3, "k"),
        _ => (1.0, ""),
    };
    format!("{} {prefix}{unit}", significant(value / divisor))
}

fn milliseconds(value: f64) -> String {
    match value.abs() {
        0.0 => "0 ms".to_owned(),
        short if short < 0.9995 => format!("{} µs", significant(value * 1e3)),
        long if long >= 999.5 => format!("{} s", significant(value / 1e3)),
        _ => format!("{} ms", significant(value)),
    }
}

/// Below a thousandth of a processor nothing is told apart.
fn cpus(value: f64) -> String {
    significant((value * 1_000.0).round() / 1_000.0)
}

/// Three digits, without zeros at the end of a fraction.
fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let decimals = (2.0 - value.abs().log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A time of the run: `45 s`, or `1:30` (minutes), or `1:02:00` in a run that is that long.
pub(crate) fn clock(seconds: f64, run_seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    if run_seconds < 120.0 {
        format!("{whole} s")
    } else if run_seconds < 3_600.0 {
        format!("{}:{:02}", whole / 60, whole % 60)
    } else {
        format!("{}:{:02}:{:02}", whole / 3_600, whole / 60 % 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let written = |unit: Unit, value: f64| unit.write(value);
        assert_eq!(written(Unit::Count, 1_234_567.0), "1,234,567");
        assert_eq!(written(Unit::Count, 0.0), "0");
        assert_eq!(written(Unit::Count, 12.0), "12");
        assert_eq!(written(Unit::PerSecond, 12_345.0), "12.3k/s");
        assert_eq!(written(Unit::PerSecond, 999_999.0), "1M/s");
        assert_eq!(written(Unit::Milliseconds, 0.4211), "421 µs");
        assert_eq!(written(Unit::Milliseconds, 12.0), "12 ms");
        assert_eq!(written(Unit::Milliseconds, 2_345.0), "2.35 s");
        assert_eq!(written(Unit::Seconds, 2.0), "2 s");
        assert_eq!(written(Unit::Share, 0.9823), "98.2 %");
        assert_eq!(written(Unit::Share, 0.0001), "0.01 %");
        assert_eq!(written(Unit::BitsPerSecond, 8.3e9), "8.3 Gbit/s");
        assert_eq!(written(Unit::Bytes, 312_400_000.0), "312 MB");
        assert_eq!(written(Unit::Cpus, 1.234), "1.23 CPU");
    }

    #[test]
    fn a_clock_has_the_form_of_the_runs_length() {
        assert_eq!(clock(90.0, 100.0), "90 s");
        assert_eq!(clock(90.0, 300.0), "1:30");
        assert_eq!(clock(90.0, 7_200.0), "0:01:30");
    }
}
