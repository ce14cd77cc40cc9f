//! Which paths a claim opens, in the three ways that are no patterns of `acl`: exactly, by first segments, by regular
//! expression.
//!
//! Texts are compared percent-decoded on both sides, expressions with the path in its normal form. A path that climbs is
//! opened by none ([`acl`]). Expressions are of bounded size, take time linear in the path, and match all of it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use regex::bytes::{Regex, RegexBuilder};

use crate::admission::token::terms::Check;
use crate::admission::token::{Presented, acl};
use crate::reason::Reason;

/// Bytes that the compiled expressions of a claim may take together; those of their match states are bounded by four times
/// as many. What an expression costs grows with this and with the text.
pub(in crate::admission::token) const REGEX_BYTES: usize = 4 << 10;

/// Bytes of the expressions of a claim together.
pub(in crate::admission::token) const REGEX_TEXT_BYTES_MAX: usize = 1024;

/// Bytes of a text that an expression is compared with; it matches no longer one.
pub(in crate::admission::token) const MATCHED_BYTES_MAX: usize = 1024;

/// Groups within each other in an expression.
const REGEX_DEPTH_MAX: u32 = 32;

/// The path is one of these, percent-decoded.
#[derive(Debug)]
pub(super) struct Exact(Vec<Vec<u8>>);

/// The path begins with the segments of one of these, percent-decoded.
#[derive(Debug)]
pub(super) struct Prefixes(Vec<Vec<u8>>);

/// One of these matches the path.
#[derive(Debug)]
pub(super) struct Matches(Pattern);

/// Regular expressions of ASCII text, one of which matches the whole of it.
#[derive(Debug)]
pub(in crate::admission::token) struct Pattern(Regex);

impl Exact {
    /// None: one is no path.
    pub(super) fn new(paths: &[&str]) -> Option<Exact> {
        paths.iter().map(|path| decoded(path)).collect::<Option<_>>().map(Exact)
    }
}

impl Prefixes {
    /// None: one is no path.
    pub(super) fn new(paths: &[&str]) -> Option<Prefixes> {
        paths.iter().map(|path| decoded(path)).collect::<Option<_>>().map(Prefixes)
    }
}

impl Matches {
    /// None: one is no expression, or beyond a bound.
    pub(super) fn new(patterns: &[&str]) -> Option<Matches> {
        Pattern::any(patterns).map(Matches)
    }
}

impl Pattern {
    /// Compiles an expression. None: it is none, or beyond a bound.
    pub(in crate::admission::token) fn new(pattern: &str) -> Option<Pattern> {
        Pattern::any(&[pattern])
    }

    /// Compiles expressions into one, within the bounds of one. None: one of them is none, or they are beyond a bound.
    fn any(patterns: &[&str]) -> Option<Pattern> {
        if patterns.iter().map(|pattern| pattern.len()).sum::<usize>() > REGEX_TEXT_BYTES_MAX {
            return None;
        }
        // Each by itself first, so that no parenthesis of it closes the group around it.
        let is_whole = |pattern: &&str| {
            let mut parser = regex_syntax::ParserBuilder::new();
            parser.unicode(false).utf8(false).nest_limit(REGEX_DEPTH_MAX).build().parse(pattern).is_ok()
        };
        let groups: Vec<_> = patterns.iter().map(|pattern| format!("(?:{pattern})")).collect();
        let whole = patterns.iter().all(is_whole).then(|| format!(r"\A(?:{})\z", groups.join("|")))?;
        build(&whole).map(Pattern)
    }

    /// Whether one of them matches all of a text.
    pub(in crate::admission::token) fn matches(&self, text: &str) -> bool {
        text.len() <= MATCHED_BYTES_MAX && self.0.is_match(text.as_bytes())
    }
}

fn build(pattern: &str) -> Option<Regex> {
    let mut builder = RegexBuilder::new(pattern);
    builder.unicode(false).size_limit(REGEX_BYTES).dfa_size_limit(4 * REGEX_BYTES);
    // Two groups more are around it.
    builder.nest_limit(REGEX_DEPTH_MAX + 2);
    builder.build().ok()
}

fn decoded(path: &str) -> Option<Vec<u8>> {
    let decoded: Cow<'_, [u8]> = percent_decode_str(path).into();
    decoded.starts_with(b"/").then(|| decoded.into_owned())
}

fn require(request: &Presented<'_>, covers: impl FnOnce(&[u8]) -> bool) -> Result<(), Reason> {
    let path: Cow<'_, [u8]> = percent_decode_str(request.normal).into();
    if !acl::climbs(&path) && covers(&path) { Ok(()) } else { Err(Reason::Path) }
}

impl Check for Exact {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        require(request, |path| self.0.iter().any(|listed| listed == path))
    }
}

impl Check for Prefixes {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let begins = |path: &[u8], prefix: &[u8]| {
            let rest = path.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/") || prefix.ends_with(b"/"))
        };
        require(request, |path| self.0.iter().any(|prefix| begins(path, prefix)))
    }
}

impl Check for Matches {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        require(request, |_| self.0.matches(request.normal))
    }
}
