//! The normal form of a request's target: one spelling for all that mean the same.
//!
//! Decides what of a path and a query is spelling and what is meaning. Made once, at the entry, and then everything is
//! decided by it: the scope of tokens, the rules, the kind, the key, and what the origin is asked for. So no two of
//! them can take one request for two. By RFC 3986 section 6.2.2:
//!
//! - An encoded unreserved character stands for itself; other encodings stay, in upper case. `%2F` is no `/`.
//! - A byte that may not stand in a target as it is gets encoded: what is not ASCII, and `\ " < > ^ { | }` and the grave
//!   accent. `[` and `]`, which many clients leave alone, stay.
//! - Dot segments are removed (section 5.2.4), duplicate slashes merged where the site says so (`merge_slashes`).
//! - Of a query, empty parameters are dropped; without any other, there is no query.
//! - `_HLS_msn` and `_HLS_part` (RFC 8216bis section 6.2.5) are numbers: without leading zeros.
//!
//! What is in no key and goes to no origin, a token in the query, may keep its own spelling ([`query_leaving`]).
//!
//! A target in normal form, which is the usual case, is recognised by one scan and copied nowhere.

use std::borrow::Cow;
use std::ops::Range;

/// Parameters that are numbers.
const NUMBERS: [&str; 2] = ["_HLS_msn=", "_HLS_part="];

/// What has no normal form: a `%` that no two hexadecimal digits follow, or a control character, encoded or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed percent-encoding or a control character")]
pub struct NotATarget;

/// The normal form of a path that begins with `/`.
///
/// # Errors
/// [`NotATarget`].
pub fn path(sent: &str, merge_slashes: bool) -> Result<Cow<'_, str>, NotATarget> {
    if is_normal_path(sent.as_bytes(), merge_slashes) {
        return Ok(Cow::Borrowed(sent));
    }
    let mut plain = String::with_capacity(sent.len() + 16);
    respell(sent.as_bytes(), &mut plain)?;
    Ok(Cow::Owned(without_dots(&plain, merge_slashes)))
}

/// The normal form of a query; None: it says nothing.
///
/// # Errors
/// [`NotATarget`].
pub fn query(sent: &str) -> Result<Option<Cow<'_, str>>, NotATarget> {
    query_leaving(sent, |_| false)
}

/// The same, but that parameters which `is_left` picks keep their encodings as they were sent, as long as they could stand so
/// in a target and their names are in normal form. They are to be dropped from whatever the query is used for.
///
/// # Errors
/// As [`query`].
pub fn query_leaving(sent: &str, is_left: impl Fn(&str) -> bool) -> Result<Option<Cow<'_, str>>, NotATarget> {
    // From the first parameter that changes on: all that come before it are as they were sent.
    let mut changed: Option<String> = None;
    let mut from = 0;
    while let Some(rest) = sent.get(from..) {
        let spelling = Spelling::of(rest.as_bytes());
        let parameter = rest.get(..spelling.len).unwrap_or_default();
        let stays = !parameter.is_empty()
            && ((spelling.is_normal && leading_zeros(parameter).is_none())
                || (spelling.may_be_left && is_left(parameter)));
        if !stays || changed.is_some() {
            let kept = changed.get_or_insert_with(|| {
                let mut kept = String::with_capacity(sent.len() + 16);
                kept.push_str(sent.get(..from.saturating_sub(1)).unwrap_or_default());
                kept
            });
            if !kept.is_empty() && !parameter.is_empty() {
                kept.push('&');
            }
            let begin = kept.len();
            if stays {
                kept.push_str(parameter);
            } else {
                respell(parameter.as_bytes(), kept)?;
                if let Some(zeros) = kept.get(begin..).and_then(leading_zeros) {
                    kept.replace_range(begin + zeros.start..begin + zeros.end, "");
                }
            }
        }
        from += spelling.len + 1;
    }
    let plain = changed.map_or(Cow::Borrowed(sent), Cow::Owned);
    Ok((!plain.is_empty()).then_some(plain))
}

/// The leading zeros of a parameter that is a number.
fn leading_zeros(parameter: &str) -> Option<Range<usize>> {
    NUMBERS.iter().find_map(|name| {
        let digits = parameter.strip_prefix(name)?;
        let kept = digits.trim_start_matches('0').len().max(1);
        let is_spelled_otherwise = kept < digits.len() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_spelled_otherwise.then(|| name.len()..parameter.len() - kept)
    })
}

/// The text of a target; bytes that are no UTF-8 are encoded, as they would be in its normal form.
pub fn text(sent: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(sent) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            let mut text = String::with_capacity(sent.len() * 3);
            for byte in sent {
                if byte.is_ascii() {
                    text.push(char::from(*byte));
                } else {
                    text.push_str(percent_encoding::percent_encode_byte(*byte));
                }
            }
            Cow::Owned(text)
        }
    }
}

/// RFC 3986 section 2.3.
pub(super) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether a byte other than `%` may stand in a path or query as it is: looked up, for it is asked of each byte of a target.
const STAYS: [bool; 256] = {
    let mut stays = [false; 256];
    let mut byte = 0;
    while byte < stays.len() {
        let others = matches!(
            byte as u8,
            b'!' | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
                | b'/'
                | b'?'
                | b'['
                | b']'
        );
        stays[byte] = others || is_unreserved(byte as u8);
        byte += 1;
    }
    stays
};

fn stays(byte: u8) -> bool {
    STAYS[usize::from(byte)]
}

fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

/// The byte that the two digits after a `%` stand for.
fn decoded(digits: Option<&[u8]>) -> Option<u8> {
    let [high, low] = digits? else { return None };
    Some(digit(*high)? << 4 | digit(*low)?)
}

/// The number that a hexadecimal digit stands for.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Whether the encoding that begins at `at` is there, in upper case, and needed.
fn is_normal_encoding(text: &[u8], at: usize) -> bool {
    let digits = text.get(at + 1..at + 3);
    digits.is_some_and(|digits| !digits.iter().any(u8::is_ascii_lowercase))
        && decoded(digits).is_some_and(|byte| !is_unreserved(byte) && !is_control(byte))
}

fn is_normal_path(path: &[u8], merge_slashes: bool) -> bool {
    let mut segment = 0;
    for (at, &byte) in path.iter().enumerate() {
        match byte {
            b'/' => {
                let empty = merge_slashes && at > 0 && at == segment;
                if empty || is_dots(path.get(segment..at)) {
                    return false;
                }
                segment = at + 1;
            }
            b'%' => {
                if !is_normal_encoding(path, at) {
                    return false;
                }
            }
            b'?' => return false,
            _ => {
                if !stays(byte) {
                    return false;
                }
            }
        }
    }
    path.first() == Some(&b'/') && !is_dots(path.get(segment..))
}

/// How a parameter is spelled.
struct Spelling {
    /// Its bytes.
    len: usize,
    /// Whether every character of it has its one spelling.
    is_normal: bool,
    /// Whether its name has that, and all of it is a part of a target whatever its encodings are.
    may_be_left: bool,
}

impl Spelling {
    /// That of the first parameter of a query.
    fn of(query: &[u8]) -> Spelling {
        let mut spelling = Spelling { len: query.len(), is_normal: true, may_be_left: true };
        let (mut at, mut in_name) = (0, true);
        while let Some(&byte) = query.get(at) {
            at += 1;
            match byte {
                b'&' => {
                    spelling.len = at - 1;
                    break;
                }
                b'%' => {
                    let is_sound = decoded(query.get(at..at + 2)).is_some_and(|byte| !is_control(byte));
                    spelling.is_normal &= is_sound && is_normal_encoding(query, at - 1);
                    spelling.may_be_left &= is_sound && !in_name;
                }
                byte => {
                    in_name &= byte != b'=';
                    spelling.is_normal &= stays(byte);
                    spelling.may_be_left &= stays(byte);
                }
            }
        }
        spelling
    }
}

fn is_dots(segment: Option<&[u8]>) -> bool {
    matches!(segment, Some(b"." | b".."))
}

/// Appends the same text with every character in its one spelling.
fn respell(text: &[u8], plain: &mut String) -> Result<(), NotATarget> {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let byte = if byte == b'%' {
            let byte = decoded(text.get(at + 1..at + 3)).ok_or(NotATarget)?;
            at += 3;
            if is_control(byte) {
                return Err(NotATarget);
            }
            if !is_unreserved(byte) {
                plain.push_str(percent_encoding::percent_encode_byte(byte));
                continue;
            }
            byte
        } else {
            at += 1;
            byte
        };
        if is_control(byte) {
            return Err(NotATarget);
        }
        if stays(byte) {
            plain.push(char::from(byte));
        } else {
            plain.push_str(percent_encoding::percent_encode_byte(byte));
        }
    }
    Ok(())
}

/// RFC 3986 section 5.2.4, with duplicate slashes merged before.
pub(crate) fn without_dots(path: &str, merge_slashes: bool) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_slash = false;
    let inner = path.strip_prefix('/').unwrap_or(path);
    let mut segments = inner.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => ends_in_slash = last,
            ".." => {
                kept.pop();
                ends_in_slash = last;
            }
            "" if last => ends_in_slash = true,
            "" if merge_slashes => {}
            segment => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if ends_in_slash || kept.is_empty() {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests;
