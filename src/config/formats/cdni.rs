//! What `format = "cdni"` can be told.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::diagnostic::{Report, join};
use super::jwks::{self, Jwks};
use super::jwt::Alg;
use super::{KeyError, KeyKind};

/// `[token.NAME.cdni]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Raw {
    /// Signature algorithms that are taken, as for `jwt`. `HS256` and its like have to be named.
    algorithms: Vec<Alg>,
    /// A JSON Web Key Set, beside `keys`. A shared key for encryption (`"use": "enc"`), in a key file or a file with a
    /// set, decrypts `cdniip` and `sub`.
    jwks: Option<jwks::Raw>,
    /// Issuers whose tokens are taken (`iss`), each with the keys that may sign for it, by `id` or `kid`; `[]`: any of
    /// the policy's keys. A token of any other issuer is refused; one without an issuer is not.
    #[schemars(example = BTreeMap::from([("uCDN", ["k1"])]))]
    issuers: BTreeMap<String, Vec<String>>,
    /// Names of which a token that names its audience (`aud`) must name one; `["*"]`: any.
    audiences: Vec<String>,
    /// `id` of the key that signs renewed tokens: one with `private_key_file`, or `secret_file`. Without it, tokens are
    /// not renewed.
    #[schemars(example = &"k1")]
    renewal: Option<String>,
    /// Issuer (`iss`) of renewed tokens. By default that of the token that is renewed.
    #[schemars(example = &"dCDN")]
    renewal_issuer: Option<String>,
}

impl Default for Raw {
    fn default() -> Raw {
        Raw {
            algorithms: Cdni::default().algorithms,
            jwks: None,
            issuers: BTreeMap::new(),
            audiences: Vec::new(),
            renewal: None,
            renewal_issuer: None,
        }
    }
}

/// What such tokens are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cdni {
    /// Algorithms that are taken.
    pub algorithms: Vec<Alg>,
    /// Keys beside the policy's.
    pub jwks: Option<Jwks>,
    /// Issuers that are taken, and the keys of each.
    pub issuers: BTreeMap<String, Vec<String>>,
    /// Audiences, one of which a token with an audience must name; `*` is any.
    pub audiences: Vec<String>,
    /// The key that signs renewed tokens.
    pub renewal: Option<String>,
    /// Their issuer.
    pub renewal_issuer: Option<String>,
}

impl Default for Cdni {
    fn default() -> Cdni {
        Cdni {
            algorithms: vec![Alg::ES256, Alg::ES384, Alg::EdDSA, Alg::RS256, Alg::PS256],
            jwks: None,
            issuers: BTreeMap::new(),
            audiences: Vec::new(),
            renewal: None,
            renewal_issuer: None,
        }
    }
}

pub(super) const NAMES: &[&str] = &["URISigningPackage"];

pub(super) fn resolve(report: &mut Report, key: &str, raw: &Raw) -> Cdni {
    if raw.algorithms.is_empty() {
        let remedy = "list the algorithms of your issuers, for instance [\"ES256\"]";
        report.mistake(&join(key, "algorithms"), "is empty: no token can be verified", remedy);
    }
    if raw.renewal.is_none() && raw.renewal_issuer.is_some() {
        let reason = "has no effect: no key renews tokens";
        report.mistake(&join(key, "renewal_issuer"), reason, "add renewal, or remove it");
    }
    Cdni {
        algorithms: raw.algorithms.clone(),
        jwks: raw.jwks.as_ref().map(|raw| jwks::resolve(report, &join(key, "jwks"), raw)),
        issuers: raw.issuers.clone(),
        audiences: raw.audiences.clone(),
        renewal: raw.renewal.clone(),
        renewal_issuer: raw.renewal_issuer.clone(),
    }
}

/// A key's bytes.
pub(super) fn key(kind: KeyKind, text: &str) -> Result<Vec<u8>, KeyError> {
    jwks::key(kind, text)
}
