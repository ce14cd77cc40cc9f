//! Countries and their subdivisions by their codes (ISO 3166-1 alpha-2, ISO 3166-2).
//!
//! Decides what is a code and which one lies within another, and not whether a country of that code exists: the lists
//! change, and the database of the day has the last word.

use std::fmt;

/// Bytes of the longest code, such as `GB-WBK`.
const CODE_BYTES_MAX: usize = 6;

/// A country (`US`) or a subdivision of one (`US-CA`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Territory {
    code: [u8; CODE_BYTES_MAX],
    bytes: u8,
}

impl Territory {
    /// The territory of a code: two capital letters and, for a subdivision, `-` and one to three letters or digits, capitals
    /// too. None: it is no code.
    pub fn parse(code: &str) -> Option<Territory> {
        let (country, subdivision) = match code.split_once('-') {
            Some((country, subdivision)) => (country, Some(subdivision)),
            None => (code, None),
        };
        Territory::of_country(country)
            .and_then(|country| subdivision.map_or(Some(country), |code| country.subdivision(code)))
    }

    fn of_country(code: &str) -> Option<Territory> {
        let [first, second] = *code.as_bytes() else { return None };
        let is_code = first.is_ascii_uppercase() && second.is_ascii_uppercase();
        is_code.then_some(Territory { code: [first, second, 0, 0, 0, 0], bytes: 2 })
    }

    /// The subdivision of this country with this code of its own, without the country's (`CA`). None: it is no code, or
    /// this is no country.
    pub fn subdivision(self, code: &str) -> Option<Territory> {
        let is_code = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        if self.is_subdivision() || !(1..=3).contains(&code.len()) || !code.bytes().all(is_code) {
            return None;
        }
        let mut territory = Territory { bytes: 3 + code.len() as u8, ..self };
        territory.code[2] = b'-';
        territory.code.iter_mut().skip(3).zip(code.bytes()).for_each(|(place, byte)| *place = byte);
        Some(territory)
    }

    /// Whether it is a subdivision, and not a country.
    pub const fn is_subdivision(self) -> bool {
        self.bytes > 2
    }

    /// The country that it is or lies in.
    pub const fn country(self) -> Territory {
        let [first, second, ..] = self.code;
        Territory { code: [first, second, 0, 0, 0, 0], bytes: 2 }
    }

    /// Whether `other` is this territory or a subdivision of it. `US` holds `US-CA`, and not the other way round.
    pub fn holds(self, other: Territory) -> bool {
        self == other || self == other.country()
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        let code = self.code.get(..usize::from(self.bytes)).unwrap_or_default();
        // It is made of ASCII alone.
        std::str::from_utf8(code).unwrap_or_default()
    }
}

impl fmt::Debug for Territory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Territory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn territory(code: &str) -> Territory {
        Territory::parse(code).unwrap()
    }

    #[test]
    fn codes_are_read_and_shown_as_they_are() {
        for code in ["SE", "US-CA", "GB-WBK", "AT-9", "FR-75C"] {
            assert_eq!(territory(code).to_string(), code);
        }
        for code in
            ["", "S", "se", "SWE", "US-", "US-ca", "US-CALI", "-CA", "US-C-", "U1", "ÅÄ", "US_CA", "US-C A"]
        {
            assert_eq!(Territory::parse(code), None, "{code}");
        }
    }

    #[test]
    fn a_country_holds_its_subdivisions_and_no_other_way_round() {
        assert!(territory("US").holds(territory("US")));
        assert!(territory("US").holds(territory("US-CA")));
        assert!(territory("US-CA").holds(territory("US-CA")));
        assert!(!territory("US-CA").holds(territory("US")));
        assert!(!territory("US-CA").holds(territory("US-C")));
        assert!(!territory("CA").holds(territory("US-CA")));
        assert_eq!(territory("US-CA").country(), territory("US"));
        assert_eq!(territory("US").subdivision("CA"), Some(territory("US-CA")));
        assert_eq!(territory("US-CA").subdivision("X"), None);
    }
}
