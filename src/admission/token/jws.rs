//! JSON Web Signatures in compact form (RFC 7515), as JSON Web Tokens and CDNI URI signing use them.
//!
//! Takes the three parts apart strictly, so that a token has one spelling: base64url without padding and with zero
//! trailing bits, JSON without a name twice. What would change the meaning of a token or name a key by itself is refused:
//! `crit`, `b64`, `jku`, `x5u`, `jwk`, `cty`. Keys are chosen in [`keys`]; what claims mean is the formats' matter.

pub mod json;
pub mod keys;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde::Serialize;

use crate::config::formats::jwks;
use crate::config::formats::jwt::Alg;
use crate::config::model::{KeyKind, TokenKey};
use crate::reason::Reason;
use json::{Json, Object};

/// Parameters of a header that make a token mean or trust something else.
const REFUSED_PARAMETERS: [&str; 6] = ["crit", "b64", "jku", "x5u", "jwk", "cty"];

/// A token, taken apart but not authenticated.
#[derive(Clone, Debug, PartialEq)]
pub struct Jws<'t> {
    /// `alg`, as written.
    pub alg: String,
    /// `kid`
    pub kid: Option<String>,
    /// The header.
    pub header: Object,
    /// The claims.
    pub claims: Object,
    signed: &'t str,
    signature: &'t str,
}

impl<'t> Jws<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`Reason::Malformed`], or [`Reason::UnsupportedClaim`] for a header that asks for something else.
    pub fn parse(token: &'t str) -> Result<Jws<'t>, Reason> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Reason::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Reason::Malformed)?;
        if signature.is_empty() || decode(signature).is_none() {
            return Err(Reason::Malformed);
        }
        let object = |part: &str| Object::parse(&decode(part)?);
        let header = object(header).ok_or(Reason::Malformed)?;
        let claims = object(payload).ok_or(Reason::Malformed)?;
        let alg = header.get("alg").and_then(Json::as_text).ok_or(Reason::Malformed)?.to_owned();
        let kid = match header.get("kid") {
            Some(kid) => Some(kid.as_text().ok_or(Reason::Malformed)?.to_owned()),
            None => None,
        };
        if REFUSED_PARAMETERS.iter().any(|name| header.get(name).is_some()) {
            return Err(Reason::UnsupportedClaim);
        }
        Ok(Jws { alg, kid, header, claims, signed, signature })
    }
}

/// The bytes of canonical base64url.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Base64url without padding.
pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The algorithm of a word of the configuration.
pub(super) const fn algorithm(alg: Alg) -> (Algorithm, &'static str) {
    match alg {
        Alg::HS256 => (Algorithm::HS256, "HS256"),
        Alg::HS384 => (Algorithm::HS384, "HS384"),
        Alg::HS512 => (Algorithm::HS512, "HS512"),
        Alg::RS256 => (Algorithm::RS256, "RS256"),
        Alg::RS384 => (Algorithm::RS384, "RS384"),
        Alg::RS512 => (Algorithm::RS512, "RS512"),
        Alg::PS256 => (Algorithm::PS256, "PS256"),
        Alg::PS384 => (Algorithm::PS384, "PS384"),
        Alg::PS512 => (Algorithm::PS512, "PS512"),
        Alg::ES256 => (Algorithm::ES256, "ES256"),
        Alg::ES384 => (Algorithm::ES384, "ES384"),
        Alg::EdDSA => (Algorithm::EdDSA, "EdDSA"),
    }
}

/// Why nothing can be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The key is of another kind than the algorithm.
    #[error("the key does not sign with this algorithm")]
    Key,
    /// The claims are no JSON.
    #[error("the claims cannot be written as JSON")]
    Claims,
}

/// Signs tokens.
pub struct Signer {
    key: EncodingKey,
    alg: Alg,
    header: String,
}

impl Signer {
    /// A signer with one of a policy's keys; `kid` stands in the header of its tokens.
    ///
    /// # Errors
    /// [`SignError::Key`].
    pub fn new(key: &TokenKey, alg: Alg, kid: Option<&str>) -> Result<Signer, SignError> {
        let bytes = &key.bytes.0;
        let encoding = match key.kind {
            KeyKind::Shared => EncodingKey::from_secret(&keys::secret(bytes).ok_or(SignError::Key)?),
            KeyKind::Private => jwks::private(bytes).ok_or(SignError::Key)?,
            KeyKind::Public => return Err(SignError::Key),
        };
        let mut header = Object::default();
        header.set("alg", Json::Text(algorithm(alg).1.to_owned()));
        if let Some(kid) = kid {
            header.set("kid", Json::Text(kid.to_owned()));
        }
        let header = encode(serde_json::to_vec(&header).map_err(|_| SignError::Claims)?);
        let signer = Signer { key: encoding, alg, header };
        // A key that is no such key says so now.
        signer.sign(&Object::default()).map(|_| signer)
    }

    /// A signer with the first algorithm that a key signs with, or the one that it is for: `HS256` for a shared one.
    ///
    /// # Errors
    /// [`SignError::Key`].
    pub fn of(key: &TokenKey, kid: Option<&str>) -> Result<Signer, SignError> {
        let only = keys::declared(&key.bytes.0);
        let is_meant = |alg: &Alg| only.as_ref().is_none_or(|only| *only == algorithm(*alg).1);
        let algs =
            [Alg::HS256, Alg::HS384, Alg::HS512, Alg::ES256, Alg::ES384, Alg::EdDSA, Alg::RS256].into_iter();
        algs.filter(is_meant).find_map(|alg| Signer::new(key, alg, kid).ok()).ok_or(SignError::Key)
    }

    /// The algorithm.
    pub fn alg(&self) -> Alg {
        self.alg
    }

    /// A token with these claims, which become an object.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, SignError> {
        let claims = serde_json::to_vec(claims).map_err(|_| SignError::Claims)?;
        let mut token = format!("{}.{}", self.header, encode(claims));
        let signature =
            crypto::sign(token.as_bytes(), &self.key, algorithm(self.alg).0).map_err(|_| SignError::Key)?;
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("alg", &self.alg).finish_non_exhaustive()
    }
}
