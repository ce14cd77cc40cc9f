//! Byte ranges (RFC 9110 section 14): what a `Range` field asks of a body. Pure.
//!
//! Ranges that overlap or touch become one, which stands where the first of them was asked for (section 15.3.7.2). Those
//! that cannot be satisfied are left out. A field that is malformed, of another unit, or asks for more ranges than
//! `limits.ranges`, is ignored (section 14.2).

use std::ops::Range;

/// The last position by which a client asks for all that comes (RFC 8673 section 2.2): 2^53 - 1.
pub const VERY_LARGE_LAST: u64 = (1 << 53) - 1;

/// What a `Range` field asks of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeRequest {
    /// Nothing that is honoured: the whole is sent.
    Whole,
    /// These bytes, first to before last of each part: one part at least, none empty, none touching another, in the
    /// order in which they were asked for.
    Parts(Vec<Range<u64>>),
    /// Nothing of the body (section 15.5.17).
    Unsatisfiable,
}

/// One range as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    /// From a byte to the end.
    From(u64),
    /// From a byte to another one, that one included.
    Bounded(u64, u64),
    /// So many bytes at the end.
    Suffix(u64),
}

/// Reads a `Range` field against a body of `len` bytes; `ranges_max` is the most that may be asked for.
pub fn parse(field: &str, len: u64, ranges_max: usize) -> RangeRequest {
    let Some(specs) = specs(field, ranges_max) else { return RangeRequest::Whole };
    let mut parts = Vec::with_capacity(specs.len());
    for spec in specs {
        match spec {
            // Satisfiable, and nothing that a Content-Range could say (section 14.4): the whole, which is empty.
            Spec::Suffix(1..) if len == 0 => return RangeRequest::Whole,
            Spec::Suffix(0) => {}
            Spec::Suffix(bytes) => parts.push(len.saturating_sub(bytes)..len),
            Spec::From(first) | Spec::Bounded(first, _) if first >= len => {}
            Spec::From(first) => parts.push(first..len),
            Spec::Bounded(first, last) => parts.push(first..last.saturating_add(1).min(len)),
        }
    }
    if parts.is_empty() { RangeRequest::Unsatisfiable } else { RangeRequest::Parts(merged(&parts)) }
}

/// The ranges that a field asks for; None: it is ignored.
pub fn specs(field: &str, ranges_max: usize) -> Option<Vec<Spec>> {
    let (unit, set) = field.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = Vec::with_capacity(1);
    // Empty members of a list mean nothing (section 5.6.1.2).
    for member in set.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|m| !m.is_empty()) {
        if specs.len() == ranges_max {
            return None;
        }
        specs.push(spec(member)?);
    }
    (!specs.is_empty()).then_some(specs)
}

/// The first byte that a `Range` field asks for, of an object of which nothing is known: the lowest one, wherever in the
/// field it stands. None: it asks for all of the object, or for nothing that is honoured. For the last bytes of an
/// object it is the first one, whose answer tells the length.
pub fn first_byte(field: &str, ranges_max: usize) -> Option<u64> {
    let specs = specs(field, ranges_max)?;
    let named = specs.iter().filter_map(|spec| match *spec {
        Spec::From(u64::MAX) | Spec::Suffix(_) => None,
        Spec::From(first) | Spec::Bounded(first, _) => Some(first),
    });
    match named.min() {
        Some(0) if specs.contains(&Spec::From(0)) => None,
        Some(first) => Some(first),
        None => specs.iter().any(|spec| matches!(spec, Spec::Suffix(1..))).then_some(0),
    }
}

fn spec(text: &str) -> Option<Spec> {
    match text.split_once('-')? {
        ("", suffix) => number(suffix).map(Spec::Suffix),
        (first, "") => number(first).map(Spec::From),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::Bounded(first, last))
        }
    }
}

/// Digits alone; a number past 64 bits counts as the largest.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Joins parts that overlap or touch. Each joined part stands at the place of its foremost member.
fn merged(parts: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut by_start: Vec<(usize, Range<u64>)> = parts.iter().cloned().enumerate().collect();
    by_start.sort_by_key(|(_, part)| part.start);
    let mut joined: Vec<(usize, Range<u64>)> = Vec::with_capacity(parts.len());
    for (place, part) in by_start {
        match joined.last_mut().filter(|(_, last)| part.start <= last.end) {
            Some((first_place, last)) => {
                last.end = last.end.max(part.end);
                *first_place = place.min(*first_place);
            }
            None => joined.push((place, part)),
        }
    }
    joined.sort_by_key(|(place, _)| *place);
    joined.into_iter().map(|(_, part)| part).collect()
}

#[cfg(test)]
mod tests;
