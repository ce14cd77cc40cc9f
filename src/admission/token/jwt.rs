//! JSON Web Tokens (RFC 7519) whose claims say which paths they open.
//!
//! Authenticates ([`super::jws`]) and turns claims into terms by the policy's table of claims. Refused before any path is
//! looked at: a token without an end, for another audience, of another issuer, without any claim of paths where the
//! policy does not open the whole site, or with a claim in a form that its rule cannot be held to.

mod scope;

use std::sync::Arc;

use ipnet::IpNet;

use super::Presented;
use super::checks::{Addresses, Countries, Globs, Hosts, Methods};
use super::format::{Format, Genuine, KeySource};
use super::jws::Jws;
use super::jws::json::{Json, Object};
use super::jws::keys::{Keys, check_audience};
use super::terms::{Check, Claims, Terms};
use super::verdict::Reuse;
use crate::config::formats;
use crate::config::formats::jwt::Rule;
use crate::config::model::TokenKey;
use crate::reason::Reason;
use scope::{Exact, Matches, Prefixes};
pub(super) use scope::{Pattern, REGEX_BYTES};

pub use super::jws::{SignError, Signer};

/// A verifier.
#[derive(Debug)]
pub struct Jwt {
    keys: Keys,
    options: formats::jwt::Jwt,
}

impl Jwt {
    /// Prepares the keys.
    pub fn new(options: &formats::jwt::Jwt, keys: &[TokenKey]) -> Self {
        let keys = Keys::new(keys, options.jwks.as_ref(), &options.algorithms, &options.issuers, None);
        Jwt { keys, options: options.clone() }
    }

    /// What a genuine token says.
    fn terms(&self, claims: &Object) -> Result<Terms, Reason> {
        let options = &self.options;
        let mut terms = Terms { once: options.single_use, ..times(claims)? };
        if terms.expires.is_none() && !options.allow_without_exp {
            return Err(Reason::Malformed);
        }
        check_audience(claims, &options.audiences, !options.audiences.is_empty())?;
        let mut path_claims = 0;
        for (name, rule) in &options.claims {
            let Some(value) = claims.get(name) else { continue };
            path_claims += usize::from(rule.is_of_paths());
            apply(&mut terms, *rule, value).ok_or(Reason::UnsupportedClaim)?;
        }
        if path_claims == 0 && !options.whole_site {
            return Err(Reason::Path);
        }
        if path_claims > 1 {
            // Several hold together; one pattern of them would say too much.
            terms.acl = None;
        }
        if terms.once && terms.id.is_none() {
            return Err(Reason::Malformed);
        }
        terms.claims = scalars(claims);
        Ok(terms)
    }
}

impl Format for Jwt {
    fn authenticate(&self, token: &str, _request: &Presented<'_>) -> Result<Genuine, Reason> {
        let token = Jws::parse(token)?;
        let issuer = issuer(&token.claims)?;
        if issuer.is_none() && self.keys.lists_issuers() {
            return Err(Reason::Issuer);
        }
        let key_id = self.keys.verify(&token, issuer)?;
        Ok(Genuine { key_id, terms: self.terms(&token.claims)?, reuse: Reuse::ForToken })
    }

    fn source(&self) -> Option<Arc<dyn KeySource>> {
        self.keys.source.clone().map(|source| source as Arc<dyn KeySource>)
    }
}

/// `iss`
///
/// # Errors
/// [`Reason::Malformed`]: it is no text.
pub(super) fn issuer(claims: &Object) -> Result<Option<&str>, Reason> {
    match claims.get("iss") {
        Some(issuer) => issuer.as_text().map(Some).ok_or(Reason::Malformed),
        None => Ok(None),
    }
}

/// `nbf` and `exp`.
///
/// # Errors
/// [`Reason::Malformed`]: one is no time.
pub(super) fn times(claims: &Object) -> Result<Terms, Reason> {
    let time = |name: &str, round_up| match claims.get(name) {
        Some(value) => value.as_seconds(round_up).map(Some).ok_or(Reason::Malformed),
        None => Ok(None),
    };
    Ok(Terms { not_before: time("nbf", true)?, expires: time("exp", false)?, ..Terms::default() })
}

/// The texts, numbers and truth values among claims.
pub(super) fn scalars(claims: &Object) -> Claims {
    Claims::new(claims.iter().filter_map(|(name, value)| Some((name, value.scalar()?))))
}

/// Adds what a claim says. None: it cannot be held to.
fn apply(terms: &mut Terms, rule: Rule, value: &Json) -> Option<()> {
    let check: Box<dyn Check> = match rule {
        Rule::Exact => Box::new(Exact::new(&value.as_texts()?)?),
        Rule::Prefix => Box::new(Prefixes::new(&value.as_texts()?)?),
        Rule::Glob => {
            let globs = value.as_texts()?.join("!");
            terms.acl = Some(globs.clone());
            Box::new(Globs(globs))
        }
        Rule::Regex => {
            let patterns = value.as_texts()?;
            terms.more_bytes += 4 * REGEX_BYTES;
            Box::new(Matches::new(&patterns)?)
        }
        Rule::Ip => Box::new(Addresses(value.as_texts()?.into_iter().map(network).collect::<Option<_>>()?)),
        Rule::Country => Box::new(Countries(mapped(value, str::to_ascii_uppercase)?)),
        Rule::Method => Box::new(Methods(mapped(value, str::to_ascii_uppercase)?)),
        Rule::Host => Box::new(Hosts(mapped(value, str::to_ascii_lowercase)?)),
        Rule::Session => {
            terms.session = Some(value.scalar()?);
            return Some(());
        }
        Rule::Subject => {
            terms.subject = Some(value.scalar()?);
            return Some(());
        }
        Rule::Id => {
            terms.id = Some(value.scalar()?);
            return Some(());
        }
        Rule::Streams => {
            terms.streams = Some(u32::try_from(value.as_whole()?).ok()?);
            return Some(());
        }
    };
    terms.checks.push(check);
    Some(())
}

fn mapped(value: &Json, map: impl Fn(&str) -> String) -> Option<Vec<String>> {
    Some(value.as_texts()?.into_iter().map(map).collect())
}

/// An address or a network; an IPv4 address in IPv6 form is an IPv4 address.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let address = text.parse::<std::net::IpAddr>().ok();
    address.map(|address| IpNet::from(address.to_canonical())).or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests;
