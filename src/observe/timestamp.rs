//! Times of day as RFC 3339 text, for every line the node logs.
//!
//! Only UTC with milliseconds (RFC 3339 section 5.6), the one form the node writes. Called by the access log's writer and
//! by the formatter of the node's own messages.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A time of day, written `2023-11-14T22:13:20.123Z`. Times before 1970 are written as 1970.
pub(crate) struct Timestamp(pub(crate) SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let milli = since.subsec_millis();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// Year, month and day of a count of days since 1970-01-01, in the Gregorian calendar. Counts in years that begin on 1
/// March, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468; // from 0000-03-01
    const DAYS_IN_ERA: u64 = 146_097; // 400 years
    let days = days + DAYS_TO_1970;
    let (era, day_of_era) = (days / DAYS_IN_ERA, days % DAYS_IN_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use super::*;

    #[test]
    fn known_instants_are_written_as_rfc_3339_has_them() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp(UNIX_EPOCH + Duration::from_millis(millis)).to_string(), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn every_second_agrees_with_the_http_date_of_it(second in 0_u64..250_000_000_000) {
            let time = UNIX_EPOCH + Duration::from_secs(second);
            let ours = Timestamp(time).to_string();
            let date = httpdate::fmt_http_date(time); // Sun, 06 Nov 1994 08:49:37 GMT
            let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
                .iter()
                .position(|name| *name == &date[8..11])
                .unwrap() + 1;
            let expected = format!("{}-{month:02}-{}T{}.000Z", &date[12..16], &date[5..7], &date[17..25]);
            proptest::prop_assert_eq!(ours, expected);
        }
    }
}
