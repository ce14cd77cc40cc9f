//! Verdicts: what verification has found out about a token, kept until it ends, so that a signature is checked once.
//!
//! A verdict holds the token's text and what beside it was signed; a look-up compares both, so that no hash decides who
//! gets in. It says that the token is genuine and what its terms are; whether they admit a request is evaluated for each
//! request. The keys of the table are hashed with a number of the process, so that nobody can aim at one place of it.

use std::net::IpAddr;
use std::sync::Arc;

use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, Weighter};
use xxhash_rust::xxh3::Xxh3;

use super::{Presented, Terms};

/// Bytes counted for a verdict beside its texts: terms and checks.
const OVERHEAD_BYTES: usize = 1024;

/// How a verdict may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// For every request with the token: the signature covers nothing else.
    ForToken,
    /// For requests with the token to the same URL by the same client: the signature covers URL or address.
    ForUrl,
    /// Not at all: the signature covers something else of the request.
    Never,
}

/// A genuine token.
#[derive(Debug)]
pub struct Verdict {
    /// The text that was verified, percent-encoding undone where that made it genuine.
    pub text: Box<str>,
    /// The key that verified it.
    pub key_id: Arc<str>,
    /// What it says.
    pub terms: Terms,
    /// The text as it was received.
    received: Box<str>,
    /// What beside its text was signed.
    bound: Option<Bound>,
}

#[derive(Debug, PartialEq, Eq)]
struct Bound {
    secure: bool,
    host: Box<str>,
    path: Box<str>,
    query: Option<Box<str>>,
    client: IpAddr,
}

impl Bound {
    fn is_of(&self, request: &Presented<'_>) -> bool {
        self.secure == request.secure
            && *self.host == *request.host
            && *self.path == *request.path
            && self.query.as_deref() == request.query
            && self.client == request.client
    }
}

impl Verdict {
    /// A verdict on a token.
    pub fn new(received: &str, text: &str, key_id: Arc<str>, terms: Terms) -> Verdict {
        Verdict { text: text.into(), key_id, terms, received: received.into(), bound: None }
    }

    /// The same, for this URL and client alone.
    pub fn bound_to(self, request: &Presented<'_>) -> Verdict {
        let bound = Bound {
            secure: request.secure,
            host: request.host.into(),
            path: request.path.into(),
            query: request.query.map(Into::into),
            client: request.client,
        };
        Verdict { bound: Some(bound), ..self }
    }

    fn bytes(&self) -> usize {
        let bound = self.bound.as_ref().map_or(0, |bound| {
            bound.host.len() + bound.path.len() + bound.query.as_ref().map_or(0, |query| query.len())
        });
        // The terms repeat parts of the text, at most all of it.
        OVERHEAD_BYTES + 3 * self.text.len() + self.received.len() + bound + self.terms.more_bytes
    }
}

/// The verdicts of a policy, within a budget of bytes.
pub(super) struct Verdicts {
    cache: Cache<u128, Arc<Verdict>, ByBytes, DefaultHashBuilder, Quiet>,
    seed: u64,
}

impl Verdicts {
    /// A table of so many bytes.
    pub(super) fn new(bytes: u64) -> Verdicts {
        let mut seed = [0; 8];
        // Without random bytes the table works all the same: texts are compared.
        let _ = getrandom::fill(&mut seed);
        let places = usize::try_from(bytes).unwrap_or(usize::MAX) / (2 * OVERHEAD_BYTES);
        let cache = Cache::with(places.max(16), bytes, ByBytes, DefaultHashBuilder::default(), Quiet);
        Verdicts { cache, seed: u64::from_ne_bytes(seed) }
    }

    /// The verdict on a token as received, for a request.
    pub(super) fn get(&self, received: &str, request: &Presented<'_>) -> Option<Arc<Verdict>> {
        if let Some(verdict) = self.cache.get(&self.of_token(received))
            && *verdict.received == *received
            && verdict.bound.is_none()
        {
            return Some(verdict);
        }
        let verdict = self.cache.get(&self.of_url(received, request))?;
        let is_it = *verdict.received == *received
            && verdict.bound.as_ref().is_some_and(|bound| bound.is_of(request));
        is_it.then_some(verdict)
    }

    /// Keeps a verdict.
    pub(super) fn keep(&self, verdict: &Arc<Verdict>, request: &Presented<'_>) {
        let key = match verdict.bound {
            None => self.of_token(&verdict.received),
            Some(_) => self.of_url(&verdict.received, request),
        };
        self.cache.insert(key, Arc::clone(verdict));
    }

    /// Bytes that the verdicts take.
    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.cache.weight()
    }

    /// Forgets everything: after the keys have changed.
    pub(super) fn clear(&self) {
        self.cache.clear();
    }

    fn of_token(&self, received: &str) -> u128 {
        xxhash_rust::xxh3::xxh3_128_with_seed(received.as_bytes(), self.seed)
    }

    fn of_url(&self, received: &str, request: &Presented<'_>) -> u128 {
        let mut hash = Xxh3::with_seed(self.seed);
        for part in [received, request.host, request.path, request.query.unwrap_or_default()] {
            hash.update(part.as_bytes());
            hash.update(&[0]);
        }
        hash.digest128()
    }
}

impl std::fmt::Debug for Verdicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verdicts").field("len", &self.cache.len()).finish()
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<u128, Arc<Verdict>> for ByBytes {
    fn weight(&self, _: &u128, verdict: &Arc<Verdict>) -> u64 {
        verdict.bytes() as u64
    }
}

#[derive(Clone)]
struct Quiet;

impl Lifecycle<u128, Arc<Verdict>> for Quiet {
    type RequestState = ();

    fn on_evict(&self, (): &mut Self::RequestState, _: u128, _: Arc<Verdict>) {}
}
