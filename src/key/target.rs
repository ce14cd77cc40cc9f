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
//! A target in normal form, which is the usual case, is recognised by one scan and copied nowhere.

use std::borrow::Cow;

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
    let plain = respell(sent.as_bytes())?;
    Ok(Cow::Owned(without_dots(&plain, merge_slashes)))
}

/// The normal form of a query; None: it says nothing.
///
/// # Errors
/// [`NotATarget`].
pub fn query(sent: &str) -> Result<Option<Cow<'_, str>>, NotATarget> {
    if sent.is_empty() {
        return Ok(None);
    }
    if is_normal_query(sent.as_bytes()) {
        return Ok(Some(without_leading_zeros(Cow::Borrowed(sent))));
    }
    let plain = respell(sent.as_bytes())?;
    let mut kept = String::with_capacity(plain.len());
    for parameter in plain.split('&').filter(|parameter| !parameter.is_empty()) {
        if !kept.is_empty() {
            kept.push('&');
        }
        kept.push_str(parameter);
    }
    Ok((!kept.is_empty()).then(|| without_leading_zeros(Cow::Owned(kept))))
}

/// The same query with its numbers in their one spelling.
fn without_leading_zeros(query: Cow<'_, str>) -> Cow<'_, str> {
    if !NUMBERS.iter().any(|name| query.contains(name)) {
        return query;
    }
    let respelled = |parameter: &str| NUMBERS.iter().find_map(|name| respelled_number(parameter, name));
    if !query.split('&').any(|parameter| respelled(parameter).is_some()) {
        return query;
    }
    let parameters = query.split('&').map(|sent| respelled(sent).map_or(Cow::Borrowed(sent), Cow::Owned));
    Cow::Owned(parameters.collect::<Vec<_>>().join("&"))
}

/// A parameter of this name (with its `=`) whose number has leading zeros, without them.
fn respelled_number(parameter: &str, name: &str) -> Option<String> {
    let digits = parameter.strip_prefix(name)?;
    let spelled_otherwise = digits.len() > 1 && digits.starts_with('0');
    if !spelled_otherwise || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let plain = digits.trim_start_matches('0');
    Some(format!("{name}{}", if plain.is_empty() { "0" } else { plain }))
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
pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether a byte other than `%` may stand in a path or query as it is.
fn stays(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,;=:@/?[]".contains(&byte)
}

fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

/// The byte that the two digits after a `%` stand for.
fn decoded(digits: Option<&[u8]>) -> Option<u8> {
    let [high, low] = digits? else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
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

fn is_normal_query(query: &[u8]) -> bool {
    // Before the first parameter stands as good as an `&`.
    let mut before = b'&';
    for (at, &byte) in query.iter().enumerate() {
        let normal = match byte {
            b'&' => before != b'&',
            b'%' => is_normal_encoding(query, at),
            _ => stays(byte),
        };
        if !normal {
            return false;
        }
        before = byte;
    }
    before != b'&'
}

fn is_dots(segment: Option<&[u8]>) -> bool {
    matches!(segment, Some(b"." | b".."))
}

/// The same text with every character in its one spelling.
fn respell(text: &[u8]) -> Result<String, NotATarget> {
    let mut plain = String::with_capacity(text.len() + 16);
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
    Ok(plain)
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
