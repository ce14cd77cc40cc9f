//! How much of what the fleet tells a node has taken in: the place of the last message in the bus.

use std::fmt;
use std::str::FromStr;

/// A place in the bus, as Redis numbers its entries: `MILLISECONDS-SEQUENCE`. Places are ordered as the entries are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark {
    /// The time of the entry by the clock of Redis, in milliseconds since 1970.
    pub millis: u64,
    /// Its number within that millisecond.
    pub sequence: u64,
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)
    }
}

/// Not a place in the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not MILLISECONDS-SEQUENCE")]
pub struct NoWatermark;

impl FromStr for Watermark {
    type Err = NoWatermark;

    fn from_str(text: &str) -> Result<Watermark, NoWatermark> {
        let (millis, sequence) = text.split_once('-').ok_or(NoWatermark)?;
        let number = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| is_number).ok_or(NoWatermark)
        };
        Ok(Watermark { millis: number(millis)?, sequence: number(sequence)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_it_is_written_and_later_ones_are_greater() {
        let places = ["0-0", "5-1", "5-2", "40-0", "1790000000000-18446744073709551615"];
        let read: Vec<Watermark> = places.iter().filter_map(|text| text.parse().ok()).collect();
        assert_eq!(read.iter().map(Watermark::to_string).collect::<Vec<_>>(), places);
        assert!(read.is_sorted_by(|a, b| a < b), "{read:?}");
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", "-", "1", "1-", "-1", "+1-0", "1-+0", " 1-0", "1-0-0", "18446744073709551616-0"] {
            assert_eq!(text.parse::<Watermark>(), Err(NoWatermark), "{text:?}");
        }
    }
}
