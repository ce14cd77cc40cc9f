//! What an authenticated token says, whatever its format: its terms. One evaluation for all formats.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::Presented;
use crate::reason::Reason;

/// A condition of a token on the requests that it admits.
pub trait Check: fmt::Debug + Send + Sync {
    /// Whether a request fulfils it.
    ///
    /// # Errors
    /// The reason why it does not.
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason>;

    /// The condition as a session token repeats it: its name and its text there ([`super::checks::of_repeated`]). None: it
    /// holds for the request of the playlist alone.
    fn repeated(&self) -> Option<(&'static str, String)> {
        None
    }
}

/// Where an answer in place of the policy's comes from.
pub trait Reply: fmt::Debug + Send + Sync {
    /// The answer to a request that is refused. None: there is none after all.
    fn answer(&self, request: &Presented<'_>) -> Option<Arc<Answer>>;
}

/// What an authenticated token says.
#[derive(Debug, Default)]
pub struct Terms {
    /// Seconds since the Unix epoch from which it is good.
    pub not_before: Option<u64>,
    /// Seconds since the Unix epoch from which it is no longer good. None: it does not end.
    pub expires: Option<u64>,
    /// The session it was made for.
    pub session: Option<String>,
    /// Whom it was made for.
    pub subject: Option<String>,
    /// What tells it from every other token (`jti`, `cti`).
    pub id: Option<String>,
    /// Whether it is good for one use ([`Terms::id`] tells which).
    pub once: bool,
    /// Streams that its subject may have at once.
    pub streams: Option<u32>,
    /// Path patterns it covers, as a list joined by `!`, where it has such a scope: what a session token may repeat.
    pub acl: Option<String>,
    /// What it says by name, for keys to be made of.
    pub claims: Claims,
    /// Conditions, in the order in which they are evaluated.
    pub checks: Vec<Box<dyn Check>>,
    /// Answers that it asks for in place of the policy's, by reason.
    pub answers: Vec<(Reason, Arc<dyn Reply>)>,
    /// Whether its format may renew it ([`super::Format::renew`]).
    pub renews: bool,
    /// Bytes that it takes beside its text, such as those of compiled expressions.
    pub more_bytes: usize,
    /// Seconds since the Unix epoch before which its format is not asked to.
    pub renews_from: u64,
}

impl Terms {
    /// Evaluates all conditions: times first, `leeway` seconds wider on both sides.
    ///
    /// # Errors
    /// The first reason why a request is not admitted.
    pub fn allow(&self, request: &Presented<'_>, leeway: u64) -> Result<(), Reason> {
        if self.expires.is_some_and(|end| request.now_unix >= end.saturating_add(leeway)) {
            return Err(Reason::Expired);
        }
        if self.not_before.is_some_and(|start| request.now_unix.saturating_add(leeway) < start) {
            return Err(Reason::NotYet);
        }
        self.checks.iter().try_for_each(|check| check.check(request))
    }

    /// The answer that it asks for in place of the policy's.
    pub fn answer(&self, reason: Reason, request: &Presented<'_>) -> Option<Arc<Answer>> {
        self.answers.iter().find(|(known, _)| *known == reason)?.1.answer(request)
    }
}

/// An answer in place of the one asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status, from 300 to 499.
    pub status: u16,
    /// Its fields.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

/// What an admitted token says, by name: what a rule's `key.claims` may name. The names are those of the token's format
/// (EdgeAuth: `id`, `data`, `ip`, `acl`), the values as written in the text that was signed.
///
/// Of a verified token only; without one, it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(Vec<(String, String)>);

impl Claims {
    /// No claims.
    pub const NONE: Claims = Claims(Vec::new());

    /// Claims of these names and values.
    pub fn new<N: Into<String>>(claims: impl IntoIterator<Item = (N, String)>) -> Claims {
        Claims(claims.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// The value of a claim; None: the token has no such claim.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All of them, in the order of the token.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
