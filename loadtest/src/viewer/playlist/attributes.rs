//! Values in tags: attribute lists (RFC 8216bis, section 4.2), durations and byte ranges.

use anyhow::{Context, Result, ensure};

use super::SECONDS_MAX;

/// The attributes of a tag, one after another: `NAME=VALUE`, a quoted value without its quotes.
pub(super) fn attributes(list: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let (name, value) = rest.split_once('=')?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"')?;
                (value, after.strip_prefix(',').unwrap_or(after))
            }
            None => value.split_once(',').unwrap_or((value, "")),
        };
        rest = after;
        Some((name.trim(), value))
    })
}

/// A decimal number of seconds, as microseconds.
pub(super) fn micros(text: &str) -> Result<u32> {
    let seconds: f64 = text.trim().parse().with_context(|| format!("{text:?} is no number of seconds"))?;
    ensure!((0.0..=SECONDS_MAX).contains(&seconds), "{text} seconds are beyond {SECONDS_MAX}");
    Ok((seconds * 1e6).round() as u32)
}

/// `n[@o]`: a length, and where it begins.
pub(super) fn byte_range(text: &str) -> Result<(u64, Option<u64>)> {
    let (length, offset) = match text.split_once('@') {
        Some((length, offset)) => (length, Some(number(offset)?)),
        None => (text, None),
    };
    Ok((number(length)?, offset))
}

pub(super) fn number(text: &str) -> Result<u64> {
    text.trim().parse().with_context(|| format!("{text:?} is no number"))
}
