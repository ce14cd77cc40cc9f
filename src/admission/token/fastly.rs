//! Tokens as Fastly's VCL makes and verifies them: `EXPIRY_MAC`, verified and signed.
//!
//! EXPIRY is the end in seconds since the Unix epoch, MAC the hexadecimal HMAC of what the policy signs of the path
//! ([`Extent`](super::extent::Extent)) and EXPIRY, with nothing between the two. So EXPIRY has ten digits: with fewer or
//! more, a token for `/seg1` and a time would be one for `/seg` and a later time. The query takes no part.

use std::sync::Arc;

use super::format::{Format, Genuine};
use super::mac::{self, Code};
use super::terms::{self, Terms};
use super::{Presented, extent};
use crate::config::formats;
use crate::config::model::TokenKey;
use crate::reason::Reason;

pub use super::extent::SignError;

/// Makes a token for a path, as it will be requested. `secret` is the key's bytes, `options` are those of the policy.
///
/// # Errors
/// [`SignError`].
pub fn sign(
    path: &str,
    expires: u64,
    secret: &[u8],
    options: &formats::fastly::Fastly,
) -> Result<String, SignError> {
    let digits = extent::digits(expires)?;
    let mut mac = Code::new(options.hash, secret);
    mac.update(extent::text(&options.extent, path)?.as_bytes());
    mac.update(digits.as_bytes());
    Ok(format!("{digits}_{}", hex::encode(mac.bytes())))
}

/// The fields of a token's text, taken apart but not authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields<'t> {
    /// Seconds since the Unix epoch from which it is no longer good.
    pub expires: u64,
    digits: &'t str,
    mac: Vec<u8>,
}

impl<'t> Fields<'t> {
    /// Takes a token's text apart. None: it is malformed, by the rules at the head of this file, or its MAC is not as many
    /// lower-case hexadecimal digits as a hash has.
    pub fn parse(token: &'t str) -> Option<Self> {
        let (digits, mac) = token.split_once('_')?;
        Some(Fields { expires: extent::time(digits)?, digits, mac: mac::from_hex(mac)? })
    }

    fn terms(&self) -> Terms {
        Terms {
            expires: Some(self.expires),
            claims: terms::Claims::new([("expires", self.digits.to_owned())]),
            ..Terms::default()
        }
    }
}

/// A verifier of these tokens, with the state of each key after its set-up.
pub struct Fastly {
    keys: Vec<(Arc<str>, Code)>,
    options: formats::fastly::Fastly,
}

impl Fastly {
    /// Prepares the keys, in the order in which they are tried.
    pub fn new(options: &formats::fastly::Fastly, keys: &[TokenKey]) -> Self {
        let state = |key: &TokenKey| (key.id.as_str().into(), Code::new(options.hash, &key.bytes.0));
        Fastly { keys: keys.iter().map(state).collect(), options: options.clone() }
    }
}

impl std::fmt::Debug for Fastly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fastly").field("keys", &self.keys.len()).field("options", &self.options).finish()
    }
}

impl Format for Fastly {
    fn authenticate(&self, token: &str, request: &Presented<'_>) -> Result<Genuine, Reason> {
        let fields = Fields::parse(token)
            .filter(|fields| fields.mac.len() == self.options.hash.bytes())
            .ok_or(Reason::Malformed)?;
        for text in extent::texts(&self.options.extent, request)? {
            for (key_id, key) in &self.keys {
                let mut mac = key.clone();
                mac.update(text.as_bytes());
                mac.update(fields.digits.as_bytes());
                if mac.is(&fields.mac) {
                    let mut terms = fields.terms();
                    let reuse = extent::hold(&self.options.extent, text, &mut terms);
                    return Ok(Genuine { key_id: Arc::clone(key_id), terms, reuse });
                }
            }
        }
        Err(Reason::BadMac)
    }
}

#[cfg(test)]
mod tests;
