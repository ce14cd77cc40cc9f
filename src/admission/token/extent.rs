//! How much of a path a signature covers, in formats that leave it open ([`Extent`]): the text that is signed for a path,
//! and what such a token says of other paths.

use super::Presented;
use super::acl;
use super::terms::{Check, Terms};
use super::verdict::Reuse;
pub use crate::config::formats::extent::Extent;
use crate::reason::Reason;

/// Digits of a time in formats that put it behind a text without a delimiter: the seconds from 2001 to 2286 have ten.
/// With another number of them, what is signed for one path and time could be read as another path and time.
const TIME_DIGITS: usize = 10;

/// Why there is no token for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The path has fewer directories than are signed.
    #[error("the path has fewer directories than the policy's tokens are for")]
    Directories,
    /// The path does not begin with the prefix.
    #[error("the path does not begin with the prefix that the policy's tokens are for")]
    Prefix,
    /// The time does not have ten digits.
    #[error("the time is not within the years 2001 to 2286, whose seconds have ten digits")]
    Time,
}

/// The text that is signed for a path.
pub(super) fn text<'p>(extent: &'p Extent, path: &'p str) -> Result<&'p str, SignError> {
    match extent {
        Extent::Path => Ok(path),
        Extent::Directories(count) => leading(path, *count).ok_or(SignError::Directories),
        Extent::Prefix(prefix) if acl::begins(prefix, path) => Ok(prefix),
        Extent::Prefix(_) => Err(SignError::Prefix),
    }
}

/// The texts that may have been signed for a request. A path is tried as received and in normal form, since issuers sign
/// what they link, or what it means; of a part of it, only the normal form says what it opens.
///
/// # Errors
/// [`Reason::Path`]: no token is for such a path.
pub(super) fn texts<'r>(
    extent: &'r Extent,
    request: &Presented<'r>,
) -> Result<impl Iterator<Item = &'r str>, Reason> {
    let (first, other) = match extent {
        Extent::Path => (request.path, Some(request.normal).filter(|normal| *normal != request.path)),
        _ => (text(extent, request.normal).map_err(|_| Reason::Path)?, None),
    };
    Ok(std::iter::once(first).chain(other))
}

/// Adds to the terms of a genuine token what it covers beyond the path it came with; `signed` is the text that was
/// signed. A token for one path has to be verified for each.
pub(super) fn hold(extent: &Extent, signed: &str, terms: &mut Terms) -> Reuse {
    if *extent == Extent::Path {
        return Reuse::ForUrl;
    }
    terms.acl = acl::from_prefix(signed);
    terms.checks.push(Box::new(Below { extent: extent.clone(), signed: signed.to_owned() }));
    Reuse::ForToken
}

/// A time in its ten digits; another number of them is none.
pub(super) fn time(digits: &str) -> Option<u64> {
    let fits = digits.len() == TIME_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| digits.parse().ok()).flatten()
}

/// The ten digits of a time.
pub(super) fn digits(time: u64) -> Result<String, SignError> {
    let digits = time.to_string();
    if digits.len() == TIME_DIGITS { Ok(digits) } else { Err(SignError::Time) }
}

/// The path begins with this text, and is one for which it would have been signed.
#[derive(Debug)]
struct Below {
    extent: Extent,
    signed: String,
}

impl Check for Below {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let is_signed = text(&self.extent, request.normal) == Ok(self.signed.as_str());
        if is_signed && acl::begins(&self.signed, request.normal) { Ok(()) } else { Err(Reason::Path) }
    }
}

/// The leading directories of a path, with the slash behind the last.
fn leading(path: &str, count: usize) -> Option<&str> {
    let (slash, _) = path.match_indices('/').nth(count)?;
    path.get(..=slash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_counted_from_the_front_and_end_with_a_slash() {
        for (count, expected) in [(1, Some("/live/")), (2, Some("/live/ch1/")), (3, None)] {
            assert_eq!(leading("/live/ch1/a.ts", count), expected, "{count}");
        }
        assert_eq!(leading("/live/ch1/", 2), Some("/live/ch1/"));
        assert_eq!(leading("/a.ts", 1), None);
    }

    /// A slash that is encoded divides no directories, in a token that is known as in one that is not.
    #[test]
    fn what_is_remembered_of_a_token_covers_the_paths_that_it_is_signed_for() {
        let extent = Extent::Directories(2);
        let mut terms = Terms::default();
        assert_eq!(hold(&extent, "/live/ch1/", &mut terms), Reuse::ForToken);
        for path in [
            "/live/ch1/a.ts",
            "/live/ch1/hd/a.ts",
            "/live%2Fch1/a.ts",
            "/live/ch2/a.ts",
            "/live/ch1/..%2Fa.ts",
        ] {
            let request = Presented::get(path, 0);
            let is_signed =
                texts(&extent, &request).is_ok_and(|mut texts| texts.any(|text| text == "/live/ch1/"));
            let expected = is_signed && !path.contains("..");
            assert_eq!(terms.allow(&request, 0).is_ok(), expected, "{path}");
        }
        assert!(terms.allow(&Presented::get("/live/ch1/a.ts", 0), 0).is_ok());
    }

    #[test]
    fn a_time_has_ten_digits() {
        assert_eq!(time("1700000000"), Some(1_700_000_000));
        for text in ["", "170000000", "17000000000", "+700000000", "1700000 00", "170000000x"] {
            assert_eq!(time(text), None, "{text}");
        }
        assert_eq!(digits(1_700_000_000).as_deref(), Ok("1700000000"));
        assert_eq!(digits(999_999_999), Err(SignError::Time));
        assert_eq!(digits(10_000_000_000), Err(SignError::Time));
    }
}
