//! Match maps: what `catu` says of a part of the URI and `cath` of a header field. All of its entries must hold
//! (unverified: libraries look at the first, or at all).
//!
//! Regular expressions are of ASCII text and run in time linear to it, after the signature is known to be good. They are compiled once
//! and kept by their text, so that a token that is remembered holds none.

use std::fmt;
use std::sync::Arc;

use quick_cache::sync::Cache;
use regex::bytes::{Regex, RegexBuilder};
use sha2::{Digest, Sha256, Sha512_256};

use super::cbor::Value;
use crate::reason::Reason;

/// Regular expressions that are kept compiled, of all tokens of a policy.
const PATTERNS_MAX: usize = 64;

/// Bytes of a regular expression.
const PATTERN_BYTES_MAX: usize = 1024;

/// Bytes that a compiled one takes, and four times as many for what it remembers while it matches.
const COMPILED_BYTES_MAX: usize = 4 << 10;

/// Bytes of a text that one is compared with; it matches no longer one.
const MATCHED_BYTES_MAX: usize = 1024;

/// Regular expressions of a token.
pub(super) const EXPRESSIONS_MAX: usize = 4;

/// Groups within each other in a regular expression.
const NEST_MAX: u32 = 32;

/// Regular expressions in a claim, or in claims: entries of this number with a text, or with a list that begins with one.
pub(super) fn expressions(value: &Value) -> usize {
    let is_text = |value: &Value| matches!(value, Value::Text(_));
    match value {
        Value::Array(items) => items.iter().map(expressions).sum(),
        Value::Map(entries) => {
            let of = |(key, value): &(Value, Value)| match (key.as_int(), value) {
                (Some(label::REGEX), Value::Text(_)) => 1,
                (Some(label::REGEX), Value::Array(items)) if items.first().is_some_and(is_text) => 1,
                _ => expressions(value),
            };
            entries.iter().map(of).sum()
        }
        Value::Tag(_, value) => expressions(value),
        _ => 0,
    }
}

/// Entries of a match map.
pub(super) mod label {
    pub(in super::super) const EXACT: i128 = 0;
    pub(in super::super) const PREFIX: i128 = 1;
    pub(in super::super) const SUFFIX: i128 = 2;
    pub(in super::super) const CONTAINS: i128 = 3;
    pub(in super::super) const REGEX: i128 = 4;
    pub(in super::super) const SHA256: i128 = -1;
    pub(in super::super) const SHA512_256: i128 = -2;
}

#[derive(Debug)]
enum Match {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex { pattern: String, groups: Vec<Option<String>> },
    Sha256([u8; 32]),
    Sha512([u8; 32]),
}

/// A match map.
#[derive(Debug)]
pub(super) struct Matches {
    all: Vec<Match>,
    patterns: Arc<Patterns>,
}

impl Matches {
    /// Reads one. Texts are brought to lower case where the part is compared without regard to it.
    pub(super) fn read(value: &Value, patterns: &Arc<Patterns>, lower: bool) -> Result<Matches, Reason> {
        let entries = value.as_map().filter(|entries| !entries.is_empty()).ok_or(Reason::Malformed)?;
        let all = entries.iter().map(|(key, value)| {
            let key = key.as_int().ok_or(Reason::UnsupportedClaim)?;
            read_one(key, value, patterns, lower)
        });
        Ok(Matches { all: all.collect::<Result<_, _>>()?, patterns: Arc::clone(patterns) })
    }

    /// Whether all hold for a text. `also` is another spelling of it, which an entry for the whole text may name instead.
    pub(super) fn hold(&self, text: &str, also: Option<&str>) -> bool {
        self.all.iter().all(|one| match one {
            Match::Exact(_) | Match::Sha256(_) | Match::Sha512(_) => {
                self.holds(one, text) || also.is_some_and(|also| self.holds(one, also))
            }
            _ => self.holds(one, text),
        })
    }

    fn holds(&self, one: &Match, text: &str) -> bool {
        match one {
            Match::Exact(whole) => text == whole,
            Match::Prefix(start) => text.starts_with(start.as_str()),
            Match::Suffix(end) => text.ends_with(end.as_str()),
            Match::Contains(inner) => text.contains(inner.as_str()),
            Match::Sha256(digest) => Sha256::digest(text).as_slice() == digest,
            Match::Sha512(digest) => Sha512_256::digest(text).as_slice() == digest,
            Match::Regex { pattern, groups } => {
                let Some(regex) = self.patterns.get(pattern) else { return false };
                if text.len() > MATCHED_BYTES_MAX {
                    return false;
                }
                if groups.is_empty() {
                    return regex.is_match(text.as_bytes());
                }
                let Some(found) = regex.captures(text.as_bytes()) else { return false };
                groups.iter().enumerate().all(|(at, group)| match group {
                    Some(group) => {
                        found.get(at + 1).is_some_and(|found| found.as_bytes() == group.as_bytes())
                    }
                    None => true,
                })
            }
        }
    }
}

fn read_one(key: i128, value: &Value, patterns: &Patterns, lower: bool) -> Result<Match, Reason> {
    let text = || {
        let text = value.as_text().ok_or(Reason::Malformed)?;
        Ok(if lower { text.to_ascii_lowercase() } else { text.to_owned() })
    };
    let digest = || match value {
        Value::Bytes(bytes) => <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| Reason::Malformed),
        _ => Err(Reason::Malformed),
    };
    Ok(match key {
        label::EXACT => Match::Exact(match value {
            // A port may be written as the number it is.
            Value::Int(number) => number.to_string(),
            _ => text()?,
        }),
        label::PREFIX => Match::Prefix(text()?),
        label::SUFFIX => Match::Suffix(text()?),
        label::CONTAINS => Match::Contains(text()?),
        label::REGEX => regex(value, patterns)?,
        label::SHA256 => Match::Sha256(digest()?),
        label::SHA512_256 => Match::Sha512(digest()?),
        _ => return Err(Reason::UnsupportedClaim),
    })
}

/// `[pattern, group ...]`: each group must have captured its text; null, or none at all: anything.
fn regex(value: &Value, patterns: &Patterns) -> Result<Match, Reason> {
    let (pattern, groups) = match value {
        Value::Text(pattern) => (pattern.as_str(), &[][..]),
        Value::Array(items) => match items.split_first() {
            Some((Value::Text(pattern), groups)) => (pattern.as_str(), groups),
            _ => return Err(Reason::Malformed),
        },
        _ => return Err(Reason::Malformed),
    };
    let compiled = patterns.get(pattern).ok_or(Reason::UnsupportedClaim)?;
    if groups.len() >= compiled.captures_len() {
        return Err(Reason::Malformed);
    }
    let groups = groups.iter().map(|group| match group {
        Value::Text(text) => Ok(Some(text.clone())),
        Value::Null => Ok(None),
        _ => Err(Reason::Malformed),
    });
    Ok(Match::Regex { pattern: pattern.to_owned(), groups: groups.collect::<Result<_, _>>()? })
}

/// Compiled regular expressions, by their text.
pub(super) struct Patterns {
    cache: Cache<Box<str>, Arc<Regex>>,
    whole: bool,
}

impl Patterns {
    /// None yet. `whole`: they match the whole text or not at all.
    pub(super) fn new(whole: bool) -> Patterns {
        Patterns { cache: Cache::new(PATTERNS_MAX), whole }
    }

    /// The expression of a text. None: it is none, or takes too much.
    fn get(&self, pattern: &str) -> Option<Arc<Regex>> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return None;
        }
        if let Some(known) = self.cache.get(pattern) {
            return Some(known);
        }
        let compile = |text: &str| {
            let mut builder = RegexBuilder::new(text);
            builder.unicode(false).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(4 * COMPILED_BYTES_MAX);
            builder.nest_limit(NEST_MAX + 1).build().ok()
        };
        // What is no expression by itself must not become one between the anchors.
        let mut parser = regex_syntax::ParserBuilder::new();
        parser.unicode(false).utf8(false).nest_limit(NEST_MAX).build().parse(pattern).ok()?;
        let regex = match self.whole {
            true => compile(&format!(r"\A(?:{pattern})\z"))?,
            false => compile(pattern)?,
        };
        let regex = Arc::new(regex);
        self.cache.insert(pattern.into(), Arc::clone(&regex));
        Some(regex)
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patterns").field("len", &self.cache.len()).finish_non_exhaustive()
    }
}
