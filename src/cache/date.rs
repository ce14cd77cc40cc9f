//! Dates of HTTP (RFC 9110 section 5.6.7) as a cache reads them (RFC 9111 section 4.2).
//!
//! All three forms, without regard to case; a zone other than `GMT` makes a date invalid; a year of two digits is the
//! latest that is not more than 50 years ahead. Who reads a date decides what an invalid one means.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName};

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Seconds of a day.
const DAY: i64 = 24 * 3600;

/// How far ahead a date with a year of two digits may lie, in seconds: 50 years.
const TWO_DIGITS_AHEAD_MAX: i64 = 18_262 * DAY;

/// What a field that holds one date says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dated {
    /// There is no such field.
    Absent,
    /// It cannot be read, or several field lines disagree.
    Invalid,
    /// This time.
    At(SystemTime),
}

impl Dated {
    /// What the field of this name says; `now` completes years of two digits.
    pub(super) fn of(headers: &HeaderMap, name: &HeaderName, now: SystemTime) -> Dated {
        let mut times = headers.get_all(name).iter().map(|value| parse(value.as_bytes(), now));
        match times.next() {
            None => Dated::Absent,
            Some(Some(time)) if times.all(|other| other == Some(time)) => Dated::At(time),
            Some(_) => Dated::Invalid,
        }
    }

    /// The time, if there is one.
    pub(super) fn time(self) -> Option<SystemTime> {
        match self {
            Dated::At(time) => Some(time),
            Dated::Absent | Dated::Invalid => None,
        }
    }
}

/// The time that a date names.
pub(super) fn parse(value: &[u8], now: SystemTime) -> Option<SystemTime> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?.to_ascii_lowercase();
    let seconds = match text.split_once(", ") {
        Some((day, rest)) if DAYS.contains(&day) => rfc850(rest, now),
        Some((day, rest)) if is_short_day(day) => imf_fixdate(rest),
        Some(_) => None,
        None => asctime(&text),
    }?;
    let span = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) }
}

/// `06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &str) -> Option<i64> {
    let [day, month, year, time, "gmt"] = parts(text, ' ')? else { return None };
    at(digits(year, 4)?, month, digits(day, 2)?, time)
}

/// `06-Nov-94 08:49:37 GMT`
fn rfc850(text: &str, now: SystemTime) -> Option<i64> {
    let [date, time, "gmt"] = parts(text, ' ')? else { return None };
    let [day, month, year] = parts(date, '-')?;
    let (day, short) = (digits(day, 2)?, digits(year, 2)?);
    let now = i64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).ok()?;
    let this_year = 1970 + now.div_euclid(DAY) * 400 / 146_097;
    let nearest = this_year - this_year.rem_euclid(100) + short;
    let candidates = [nearest + 100, nearest, nearest - 100, nearest - 200];
    candidates
        .into_iter()
        .filter_map(|year| at(year, month, day, time))
        .find(|then| *then <= now.saturating_add(TWO_DIGITS_AHEAD_MAX))
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &str) -> Option<i64> {
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let words: [&str; 5] = std::array::from_fn(|_| words.next().unwrap_or_default());
    let [weekday, month, day, time, year] = words;
    let known = is_short_day(weekday) && text.ends_with(year);
    let day = digits(day, day.len().clamp(1, 2))?;
    if known { at(digits(year, 4)?, month, day, time) } else { None }
}

/// Seconds since 1970 of a day and a time of day.
fn at(year: i64, month: &str, day: i64, time: &str) -> Option<i64> {
    let [hour, minute, second] = parts(time, ':')?;
    let (hour, minute, second) = (digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?);
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=days_of_month).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years begin in March, so that a leap day is the last of its year.
    let march_year = year - i64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = march_year * 365 + march_year.div_euclid(4) - march_year.div_euclid(100)
        + march_year.div_euclid(400)
        + day_of_year
        - 719_468;
    // A leap second is the nearest time before it that can be told.
    Some(days * DAY + hour * 3600 + minute * 60 + second.min(59))
}

fn is_short_day(day: &str) -> bool {
    day.len() == 3 && DAYS.iter().any(|name| name.starts_with(day))
}

/// The parts of a text, if they are so many.
fn parts<const N: usize>(text: &str, separator: char) -> Option<[&str; N]> {
    let mut parts = text.split(separator);
    let found: [&str; N] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    (parts.next().is_none() && found.iter().all(|part| !part.is_empty())).then_some(found)
}

/// The number that so many digits make.
fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    fn seconds(text: &str) -> Option<u64> {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000); // 2027
        parse(text.as_bytes(), now).map(|time| time.duration_since(UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn all_three_forms_name_the_same_time() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "sun, 06 nov 1994 08:49:37 gmt",
            "SUNDAY, 06-NOV-94 08:49:37 GMT",
        ] {
            assert_eq!(seconds(text), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_invalid() {
        for text in [
            "",
            "0",
            "-1",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 +0100",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 29 Feb 1995 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Son, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994 GMT",
            "1994-11-06T08:49:37Z",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn a_year_of_two_digits_is_at_most_fifty_years_ahead() {
        let year = |text: &str| seconds(text).unwrap() / (365 * 24 * 3600 + 6 * 3600) + 1970;
        assert_eq!(year("Monday, 01-Jun-76 00:00:00 GMT"), 2076);
        assert_eq!(year("Monday, 01-Jun-78 00:00:00 GMT"), 1978);
        assert_eq!(year("Monday, 01-Jun-26 00:00:00 GMT"), 2026);
    }

    #[test]
    fn a_date_before_1970_and_a_leap_second_can_be_told() {
        let parsed = parse(b"Mon, 01 Jan 1900 00:00:00 GMT", SystemTime::now()).unwrap();
        assert_eq!(UNIX_EPOCH.duration_since(parsed).unwrap().as_secs(), 2_208_988_800);
        assert_eq!(
            seconds("Sat, 31 Dec 2016 23:59:60 GMT"),
            Some(seconds("Sat, 31 Dec 2016 23:59:59 GMT").unwrap())
        );
    }

    proptest! {
        #[test]
        fn what_the_crate_writes_is_read_back(at in 0_u64..250_000_000_000) {
            let time = UNIX_EPOCH + Duration::from_secs(at);
            prop_assert_eq!(parse(httpdate::fmt_http_date(time).as_bytes(), time), Some(time));
        }

        #[test]
        fn no_bytes_are_too_strange_for_a_date(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&bytes, SystemTime::now());
        }

        #[test]
        fn almost_dates_are_read_or_refused(text in "[a-zA-Z]{3,9},? [0-9]{1,3}[- ][A-Z][a-z]{2}[- ][0-9]{1,5} [0-9:]{1,9} (GMT|UTC)?") {
            let _ = parse(text.as_bytes(), SystemTime::now());
        }
    }
}
