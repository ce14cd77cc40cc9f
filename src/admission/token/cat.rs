//! Common Access Tokens (CTA-5007): claims in CBOR ([`claims`]), signed with COSE ([`cose`]), in base64url.
//!
//! A token is authenticated by the key that its `kid` names, or by any of the policy's where it names none; keys and
//! algorithms that do not belong together are not tried. Then each claim becomes a condition, evaluated per request. The
//! specification has an edition and several implementations that differ; `dialect` says whose reading counts, and where
//! none was to be had, the stricter one does. A path that climbs (`..`, in any spelling) is refused whatever a token says.
//!
//! Not supported, and so refused where a token has them: `enc`, `cnf`, `catdpop`, `cattpk`, `catgeocoord`, `catgeoalt`,
//! `geohash`, fingerprints other than JA4, and claims without a condition within composite claims.

mod cbor;
mod claims;
mod conditions;
mod cose;
mod keys;
mod matching;
mod names;
mod renewal;
mod reply;

use std::fmt;
use std::sync::Arc;

use self::cbor::{Map, Value};
use self::cose::Envelope;
use self::keys::Key;
use self::matching::Patterns;
use self::names::Holds;
use self::renewal::Catr;
use super::format::{Format, Genuine, Renewal};
use super::verdict::{Reuse, Verdict};
use super::{KEYS_TRIED_MAX, Presented, TOKEN_BYTES_MAX};
use crate::config::formats::cat::{self, Algorithm, Dialect};
use crate::config::model::TokenKey;
use crate::reason::Reason;

/// What tokens are read by.
struct Rules {
    options: cat::Cat,
    keys: Vec<Key>,
    patterns: Arc<Patterns>,
    /// A number of the process, by which chance is drawn.
    seed: u64,
}

impl Rules {
    fn new(options: &cat::Cat, keys: &[TokenKey]) -> Rules {
        let key = |key: &TokenKey| Key::new(key, options.kids.get(&key.id));
        Rules {
            keys: keys.iter().filter_map(key).collect(),
            // The libraries search. That CTA-5007 means the whole part is unverified, and the stricter reading.
            patterns: Arc::new(Patterns::new(options.dialect == Dialect::Cta)),
            options: options.clone(),
            seed: keys::random().map_or(0, u64::from_ne_bytes),
        }
    }

    fn ignores(&self, label: i128) -> bool {
        self.options.ignored_claims.iter().any(|ignored| i128::from(*ignored) == label)
    }

    /// The place of the key that signed a token.
    fn signer(&self, envelope: &Envelope) -> Result<usize, Reason> {
        let algorithm = envelope.algorithm;
        if !self.options.algorithms.contains(&algorithm) {
            return Err(Reason::UnknownKey);
        }
        let is_named = |key: &Key| envelope.kid.as_ref().is_none_or(|kid| *kid == key.kid);
        if !self.keys.iter().any(is_named) {
            return Err(Reason::UnknownKey);
        }
        let signed = envelope.signed();
        let mut tried = self.keys.iter().enumerate().filter(|(_, key)| is_named(key) && key.fits(algorithm));
        let verifies =
            |(_, key): &(usize, &Key)| key.verifies(algorithm, &signed, &envelope.proof, self.options.high_s);
        let found = tried.by_ref().take(KEYS_TRIED_MAX).find(verifies);
        found.map(|(place, _)| place).ok_or(Reason::BadMac)
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// A verifier.
#[derive(Debug)]
pub struct Cat {
    rules: Arc<Rules>,
}

impl Cat {
    /// Prepares the keys.
    pub fn new(options: &cat::Cat, keys: &[TokenKey]) -> Self {
        Cat { rules: Arc::new(Rules::new(options, keys)) }
    }
}

impl Format for Cat {
    fn authenticate(&self, token: &str, _request: &Presented<'_>) -> Result<Genuine, Reason> {
        let envelope = Envelope::parse(token)?;
        let signer = self.rules.signer(&envelope)?;
        let terms = claims::terms(&self.rules, &claims::of(&envelope.payload)?, signer)?;
        let key_id = self.rules.keys.get(signer).map(|key| Arc::clone(&key.id)).ok_or(Reason::UnknownKey)?;
        Ok(Genuine { key_id, terms, reuse: Reuse::ForToken })
    }

    fn renew(&self, verdict: &Verdict, request: &Presented<'_>) -> Option<Renewal> {
        let envelope = Envelope::parse(&verdict.text).ok()?;
        let claims = claims::of(&envelope.payload).ok()?;
        let renewal = cbor::get(&claims, names::claim::CATR)?;
        let renewal = Catr::read(renewal, self.rules.options.dialect).ok()?;
        let key = self.rules.keys.iter().find(|key| key.id == verdict.key_id)?;
        renewal.renew(envelope.algorithm, key, &claims, request)
    }

    fn renews_by_cookie(&self) -> bool {
        self.rules.keys.iter().any(Key::signs)
    }
}

/// The text of a token with these claims. None: the key does not sign so, or the text would be too long.
fn seal(algorithm: Algorithm, key: &Key, claims: &Map) -> Option<String> {
    let payload = cbor::encode(&Value::Map(claims.clone()));
    let token = cose::seal(algorithm, &key.kid, &payload, |signed| key.prove(algorithm, signed))?;
    (token.len() <= TOKEN_BYTES_MAX).then_some(token)
}

/// Why no token was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The claims are no object of JSON.
    #[error("the claims are no JSON object: write {{\"exp\": 1900000000, ...}}")]
    NotAnObject,
    /// The key only verifies, or is for another algorithm.
    #[error("the key does not sign with this algorithm")]
    Key,
    /// A policy would refuse it.
    #[error("the token would be refused as {}: {}", .0.as_str(), .0.explanation())]
    Refused(Reason),
}

/// Makes a token. `claims` are JSON by name, as [`inspect`] shows them: `{"exp": 1900000000, "catu": {"path": {"prefix":
/// "/live/"}}}`; what has no name is written by its number. Its `kid` is the key's `id`, or what `options` have for it.
/// Without `algorithm`, it is that of the key: HS256, ES256 or PS256.
///
/// # Errors
/// [`SignError`]; a token that a policy with these options would refuse for what it says is one.
pub fn sign(
    claims: &serde_json::Value,
    key: &TokenKey,
    algorithm: Option<Algorithm>,
    options: &cat::Cat,
) -> Result<String, SignError> {
    let Value::Map(claims) = names::from_json(claims, Holds::Claims) else {
        return Err(SignError::NotAnObject);
    };
    let rules = Arc::new(Rules::new(options, std::slice::from_ref(key)));
    claims::terms(&rules, &claims, 0).map_err(SignError::Refused)?;
    let key = rules.keys.first().ok_or(SignError::Key)?;
    let algorithm = algorithm.unwrap_or(key.algorithm());
    let payload = cbor::encode(&Value::Map(claims));
    let token = cose::seal(algorithm, &key.kid, &payload, |signed| key.prove(algorithm, signed));
    let token = token.ok_or(SignError::Key)?;
    if token.len() > TOKEN_BYTES_MAX { Err(SignError::Refused(Reason::Malformed)) } else { Ok(token) }
}

/// What a token says, unverified.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspected {
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// The key that it names: visible characters, or bytes as `h'0a1b'`.
    pub kid: Option<String>,
    /// Its claims by name, as JSON: an object.
    pub claims: serde_json::Value,
}

/// Shows what a token says, without verifying it.
///
/// # Errors
/// [`Reason::Malformed`].
pub fn inspect(token: &str) -> Result<Inspected, Reason> {
    let envelope = Envelope::parse(token)?;
    let claims = Value::Map(claims::of(&envelope.payload)?);
    Ok(Inspected {
        algorithm: envelope.algorithm,
        kid: envelope.kid.as_deref().map(names::shown),
        claims: names::to_json(&claims, Holds::Claims),
    })
}

#[cfg(test)]
mod tests;
