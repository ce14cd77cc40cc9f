//! CDNI URI signing (RFC 9246): a signed JSON Web Token whose `cdniuc` says which URIs it opens.
//!
//! Every claim of section 2.1 is held to: `iss` through the policy's issuers, `aud`, `exp` and `nbf` (without leeway
//! unless the policy has one), `jti` as good for one use, `cdniv`, `cdnicrit`, `cdniip` ([`jwe`]), `cdniuc` ([`container`])
//! and the three of renewal ([`renewal`]). The header of a token stands in the token: one that is known beforehand
//! (section 2.2) is not.

mod container;
mod jwe;
mod posix;
mod renewal;

use std::sync::Arc;

use super::checks::Addresses;
use super::format::{Format, Genuine, KeySource, Renewal};
use super::jws::Jws;
use super::jws::json::Object;
use super::jws::keys::{Keys, check_audience};
use super::jwt::{REGEX_BYTES, issuer, network, scalars, times};
use super::terms::Terms;
use super::verdict::{Reuse, Verdict};
use super::{Presented, jwt};
use crate::config::formats;
use crate::config::model::{KeyKind, TokenKey};
use crate::reason::Reason;
use container::Container;
use renewal::{Renewer, Terms as RenewalTerms};

pub use container::hash_of;
pub use jwt::{SignError, Signer};

/// A verifier.
#[derive(Debug)]
pub struct Cdni {
    keys: Keys,
    options: formats::cdni::Cdni,
    renewer: Option<Renewer>,
}

impl Cdni {
    /// Prepares the keys.
    pub fn new(options: &formats::cdni::Cdni, keys: &[TokenKey]) -> Self {
        let renewer = keys
            .iter()
            .find(|key| Some(&key.id) == options.renewal.as_ref())
            .and_then(|key| Renewer::new(key, options.renewal_issuer.as_deref()));
        let mut algorithms = options.algorithms.clone();
        // What the node signs itself, it takes.
        algorithms.extend(renewer.as_ref().map(Renewer::alg).filter(|alg| !options.algorithms.contains(alg)));
        let mut issuers = options.issuers.clone();
        let own = renewer.as_ref().map(Renewer::key_id);
        if let (Some(own), Some(issuer)) = (own, &options.renewal_issuer) {
            issuers.entry(issuer.clone()).or_insert_with(|| vec![own.to_owned()]);
        }
        // A key that nobody else has may go on for every issuer; a shared one only for its own.
        let is_private = |key: &TokenKey| Some(key.id.as_str()) == own && key.kind == KeyKind::Private;
        let own = own.filter(|_| keys.iter().any(is_private));
        let keys = Keys::new(keys, options.jwks.as_ref(), &algorithms, &issuers, own);
        Cdni { keys, options: options.clone(), renewer }
    }

    fn terms(&self, claims: &Object) -> Result<Terms, Reason> {
        let unsupported = Reason::UnsupportedClaim;
        if claims.get("cdniv").is_some_and(|version| version.as_whole() != Some(1)) {
            return Err(unsupported);
        }
        if claims.get("cdnicrit").is_some() {
            // No extension is known, so whatever it lists is unknown.
            return Err(unsupported);
        }
        check_audience(claims, &self.options.audiences, false)?;
        let mut terms = times(claims)?;
        if let Some(id) = claims.get("jti") {
            terms.id = Some(id.as_text().ok_or(Reason::Malformed)?.to_owned());
            terms.once = true;
        }
        if let Some(subject) = claims.get("sub") {
            let subject = subject.as_text().ok_or(Reason::Malformed)?;
            let text =
                jwe::decrypt(subject, &self.keys.secrets).and_then(|text| String::from_utf8(text).ok());
            terms.subject = Some(text.unwrap_or_else(|| subject.to_owned()));
        }
        if let Some(address) = claims.get("cdniip") {
            let text = address.as_text().and_then(|text| jwe::decrypt(text, &self.keys.secrets));
            let text = text.and_then(|text| String::from_utf8(text).ok()).ok_or(unsupported)?;
            // The examples of appendix A.2 write brackets around it.
            let network = network(text.trim_start_matches('[').trim_end_matches(']')).ok_or(unsupported)?;
            terms.checks.push(Box::new(Addresses(vec![network])));
        }
        let container = claims.get("cdniuc").ok_or(Reason::Malformed)?.as_text().ok_or(Reason::Malformed)?;
        let container = Container::new(container).ok_or(unsupported)?;
        if matches!(container, Container::Regex(_)) {
            terms.more_bytes += 4 * REGEX_BYTES;
        }
        terms.checks.push(Box::new(container));
        let renewal = RenewalTerms::of(claims).ok_or(unsupported)?;
        terms.renews = self.renewer.is_some() && renewal.is_some_and(|renewal| renewal.by_cookie);
        terms.claims = scalars(claims);
        Ok(terms)
    }
}

impl Format for Cdni {
    fn authenticate(&self, token: &str, _request: &Presented<'_>) -> Result<Genuine, Reason> {
        let token = Jws::parse(token)?;
        let issuer = issuer(&token.claims)?;
        if issuer.is_some() && !self.keys.lists_issuers() {
            return Err(Reason::Issuer);
        }
        let key_id = self.keys.verify(&token, issuer)?;
        Ok(Genuine { key_id, terms: self.terms(&token.claims)?, reuse: Reuse::ForToken })
    }

    fn renew(&self, verdict: &Verdict, request: &Presented<'_>) -> Option<Renewal> {
        let renewer = self.renewer.as_ref()?;
        renewer.renew(&Jws::parse(&verdict.text).ok()?.claims, request)
    }

    fn renews_by_cookie(&self) -> bool {
        self.renewer.is_some()
    }

    fn source(&self) -> Option<Arc<dyn KeySource>> {
        self.keys.source.clone().map(|source| source as Arc<dyn KeySource>)
    }
}

#[cfg(test)]
mod tests;
