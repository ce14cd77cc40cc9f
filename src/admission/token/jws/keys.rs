//! The keys of a policy whose tokens are JSON Web Signatures: which of them may have signed a token, and whether one has.
//!
//! A key verifies with the algorithms of its own kind alone, whatever the token says, and only with those that the
//! policy lists. It is chosen by `kid`, or where a token names none, by `iss`. A shared key in a set that anybody can
//! fetch is not taken, nor one that has the name of a key of the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, crypto};
use serde_json::Value;

use super::{Jws, algorithm, decode};
use crate::admission::token::KEYS_TRIED_MAX;
use crate::admission::token::jwks::Source;
use crate::config::formats::jwks::{self, Jwks};
use crate::config::formats::jwt::Alg;
use crate::config::model::{KeyKind, TokenKey};
use crate::reason::Reason;

/// Keys of one set; further ones are left out.
pub const KEYS_MAX: usize = 64;

/// A key that verifies.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name in logs, and what `kid` names.
    pub id: Arc<str>,
    verifier: DecodingKey,
    /// The curve of an elliptic key.
    p384: bool,
    /// The one algorithm that it is for, where it says so.
    only: Option<String>,
}

/// A shared key that decrypts claims.
#[derive(Clone)]
pub struct Secret {
    /// What `kid` names.
    pub id: Arc<str>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Secret").field(&self.id).finish()
    }
}

/// What a JSON Web Key is for.
pub enum Use {
    /// Signatures.
    Sign(Key),
    /// Encryption.
    Encrypt(Secret),
}

impl Key {
    fn new(id: &str, verifier: DecodingKey) -> Option<Key> {
        let length = verifier.try_get_as_bytes().map(<[u8]>::len).ok();
        let is_sound = match verifier.family() {
            AlgorithmFamily::Hmac => length.is_some_and(|length| length > 0),
            AlgorithmFamily::Ec => matches!(length, Some(65 | 97)),
            AlgorithmFamily::Ed => length == Some(32),
            AlgorithmFamily::Rsa => true,
        };
        let p384 = length == Some(97);
        is_sound.then(|| Key { id: id.into(), verifier, p384, only: None })
    }

    /// Whether it verifies signatures of this algorithm.
    fn fits(&self, algorithm: Algorithm, name: &str) -> bool {
        let fits_curve = match algorithm {
            Algorithm::ES256 => !self.p384,
            Algorithm::ES384 => self.p384,
            _ => true,
        };
        fits_curve
            && self.verifier.family() == algorithm.family()
            && self.only.as_ref().is_none_or(|only| only == name)
    }

    /// One of a policy's keys; a private one verifies what it signs. None: it is for encryption, or unsound.
    pub fn of(key: &TokenKey) -> Option<Use> {
        let bytes = &key.bytes.0;
        if bytes.starts_with(b"{") {
            return from_jwk(&serde_json::from_slice(bytes).ok()?, &key.id, true);
        }
        let verifier = match key.kind {
            KeyKind::Shared => DecodingKey::from_secret(bytes),
            KeyKind::Public => jwks::public(bytes)?,
            KeyKind::Private => public_half(&jwks::private(bytes)?)?,
        };
        Key::new(&key.id, verifier).map(Use::Sign)
    }
}

/// The bytes of a shared key, which may be written as a JSON Web Key.
pub(super) fn secret(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.starts_with(b"{") {
        return Some(bytes.to_vec());
    }
    let jwk: Value = serde_json::from_slice(bytes).ok()?;
    jwk.get("k").and_then(Value::as_str).and_then(decode)
}

/// The one algorithm that a key is for, where it is a JSON Web Key that says so.
pub(super) fn declared(bytes: &[u8]) -> Option<String> {
    let jwk: Value = serde_json::from_slice(bytes).ok().filter(|_| bytes.starts_with(b"{"))?;
    jwk.get("alg").and_then(Value::as_str).map(str::to_owned)
}

fn public_half(key: &EncodingKey) -> Option<DecodingKey> {
    let algorithms: &[Algorithm] = match key.family() {
        AlgorithmFamily::Ec => &[Algorithm::ES256, Algorithm::ES384],
        AlgorithmFamily::Ed => &[Algorithm::EdDSA],
        AlgorithmFamily::Rsa => &[Algorithm::RS256],
        AlgorithmFamily::Hmac => &[],
    };
    let jwk = algorithms.iter().find_map(|algorithm| Jwk::from_encoding_key(key, *algorithm).ok())?;
    DecodingKey::from_jwk(&jwk).ok()
}

/// A JSON Web Key. `name` is what it is called without a `kid`. None: it is of no use, or a shared one where `shared`
/// keys are not taken.
fn from_jwk(value: &Value, name: &str, shared: bool) -> Option<Use> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    let id = jwk.common.key_id.as_deref().unwrap_or(name);
    let is_of_encryption = jwk.common.public_key_use == Some(PublicKeyUse::Encryption);
    let coordinates = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(octets) => {
            let bytes = decode(&octets.value).filter(|_| shared)?;
            if is_of_encryption {
                return Some(Use::Encrypt(Secret { id: id.into(), bytes }));
            }
            if bytes.len() < jwks::SECRET_BYTES_MIN {
                return None;
            }
            None
        }
        AlgorithmParameters::EllipticCurve(point) => match point.curve {
            EllipticCurve::P256 => Some((point.x.as_str(), Some(point.y.as_str()), 32)),
            EllipticCurve::P384 => Some((point.x.as_str(), Some(point.y.as_str()), 48)),
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            Some((pair.x.as_str(), None, 32))
        }
        AlgorithmParameters::RSA(_) => None,
        _ => return None,
    };
    let has_length = |text: &str, length| decode(text).is_some_and(|bytes| bytes.len() == length);
    let is_sound = coordinates
        .is_none_or(|(x, y, length)| has_length(x, length) && y.is_none_or(|y| has_length(y, length)));
    if is_of_encryption || !is_sound {
        return None;
    }
    let only = value.get("alg").and_then(Value::as_str).map(str::to_owned);
    Key::new(id, DecodingKey::from_jwk(&jwk).ok()?).map(|key| Use::Sign(Key { only, ..key }))
}

/// The keys of a set (RFC 7517 section 5); those that are of no use are left out. None: it is no set, or none of its
/// keys is of use.
pub fn from_set(set: &Value, shared: bool) -> Option<Vec<Use>> {
    let listed = set.get("keys")?.as_array()?;
    let numbered = listed.iter().take(KEYS_MAX).enumerate();
    let keys: Vec<Use> =
        numbered.filter_map(|(place, key)| from_jwk(key, &format!("jwks{place}"), shared)).collect();
    (listed.is_empty() || !keys.is_empty()).then_some(keys)
}

/// The keys of a policy.
#[derive(Debug)]
pub struct Keys {
    fixed: Vec<Key>,
    /// Shared keys that decrypt claims.
    pub secrets: Vec<Secret>,
    /// Where further keys come from.
    pub source: Option<Arc<Source>>,
    algorithms: Vec<(Algorithm, &'static str)>,
    issuers: BTreeMap<String, Vec<String>>,
    /// The key of the node's own, which may sign for every issuer.
    own: Option<String>,
}

impl Keys {
    /// Prepares the keys.
    pub fn new(
        keys: &[TokenKey],
        jwks: Option<&Jwks>,
        algorithms: &[Alg],
        issuers: &BTreeMap<String, Vec<String>>,
        own: Option<&str>,
    ) -> Keys {
        let mut all = Keys {
            fixed: Vec::new(),
            secrets: Vec::new(),
            source: None,
            algorithms: algorithms.iter().map(|alg| algorithm(*alg)).collect(),
            issuers: issuers.clone(),
            own: own.map(str::to_owned),
        };
        all.take(keys.iter().filter_map(Key::of));
        match jwks {
            Some(Jwks::Text(text)) => {
                let set: Value = serde_json::from_str(text).unwrap_or_default();
                all.take(from_set(&set, true).unwrap_or_default());
            }
            Some(Jwks::Url(fetch)) => all.source = Some(Arc::new(Source::new(fetch.clone()))),
            None => {}
        }
        all
    }

    fn take(&mut self, keys: impl IntoIterator<Item = Use>) {
        for key in keys {
            match key {
                Use::Sign(key) => self.fixed.push(key),
                Use::Encrypt(secret) => self.secrets.push(secret),
            }
        }
    }

    /// Whether the policy lists issuers.
    pub fn lists_issuers(&self) -> bool {
        !self.issuers.is_empty()
    }

    /// Verifies a token's signature; gives the name of the key. `issuer` is its `iss`.
    ///
    /// # Errors
    /// [`Reason::BadMac`], [`Reason::UnknownKey`], [`Reason::Issuer`], or [`Reason::Unavailable`] where keys that come
    /// from outside have not come.
    pub fn verify(&self, token: &Jws<'_>, issuer: Option<&str>) -> Result<Arc<str>, Reason> {
        let listed = self.algorithms.iter().find(|(_, name)| *name == token.alg);
        let &(algorithm, name) = listed.ok_or(Reason::BadMac)?;
        let of_issuer = match issuer.filter(|_| self.lists_issuers()) {
            Some(issuer) => Some(self.issuers.get(issuer).ok_or(Reason::Issuer)?),
            None => None,
        };
        let may_sign = |key: &Key| {
            self.own.as_deref() == Some(&*key.id)
                || of_issuer.is_none_or(|ids| ids.is_empty() || ids.iter().any(|id| **id == *key.id))
        };
        let fetched = self.source.as_ref().map(|source| source.keys());
        // Who writes a set that is fetched must not take the name of a key that others are trusted by.
        let is_free = |key: &&Key| {
            self.own.as_deref() != Some(&*key.id) && !self.fixed.iter().any(|fixed| fixed.id == key.id)
        };
        let fetched_keys = || fetched.iter().flatten().flat_map(|keys| keys.iter()).filter(is_free);
        let keys = || self.fixed.iter().chain(fetched_keys());
        let is_away = matches!(fetched, Some(None));
        if let Some(kid) = &token.kid {
            let mut named = keys().filter(|key| *key.id == **kid).peekable();
            if named.peek().is_none() {
                return Err(if is_away { Reason::Unavailable } else { Reason::UnknownKey });
            }
            let mut fitting = named.filter(|key| key.fits(algorithm, name)).take(KEYS_TRIED_MAX);
            let key = fitting.find(|key| is_signed(token, key, algorithm)).ok_or(Reason::BadMac)?;
            return if may_sign(key) { Ok(Arc::clone(&key.id)) } else { Err(Reason::Issuer) };
        }
        let mut fitting =
            keys().filter(|key| may_sign(key) && key.fits(algorithm, name)).take(KEYS_TRIED_MAX);
        match fitting.find(|key| is_signed(token, key, algorithm)) {
            Some(key) => Ok(Arc::clone(&key.id)),
            None if is_away => Err(Reason::Unavailable),
            None => Err(Reason::BadMac),
        }
    }
}

fn is_signed(token: &Jws<'_>, key: &Key, algorithm: Algorithm) -> bool {
    crypto::verify(token.signature, token.signed.as_bytes(), &key.verifier, algorithm).unwrap_or(false)
}

/// Whether a token for these (`aud`) is for one of those that the policy names; `*` is any (RFC 7519 section 4.1.3).
///
/// # Errors
/// [`Reason::Audience`], or [`Reason::Malformed`] where they are no texts.
pub(in crate::admission::token) fn check_audience(
    claims: &super::Object,
    audiences: &[String],
    required: bool,
) -> Result<(), Reason> {
    let Some(named) = claims.get("aud") else {
        return if required { Err(Reason::Audience) } else { Ok(()) };
    };
    let named = named.as_texts().ok_or(Reason::Malformed)?;
    let is_any = audiences.iter().any(|audience| audience == "*");
    let is_one = named.iter().any(|named| audiences.iter().any(|audience| audience == named));
    if is_any || is_one { Ok(()) } else { Err(Reason::Audience) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use serde_json::json;

    /// RFC 8037 appendix A.4, whose payload is no JSON.
    #[test]
    fn the_vector_of_rfc_8037_verifies_and_no_other_text() {
        let jwk =
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        let Some(Use::Sign(key)) = from_jwk(&jwk, "rfc", false) else { panic!("a key") };
        let token = |signed| Jws {
            alg: "EdDSA".into(),
            kid: None,
            header: super::super::Object::default(),
            claims: super::super::Object::default(),
            signed,
            signature: "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        };
        let signed = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        assert!(is_signed(&token(signed), &key, Algorithm::EdDSA));
        assert!(!is_signed(&token(&signed[1..]), &key, Algorithm::EdDSA));
        assert!(!is_signed(&token(signed), &key, Algorithm::HS256));
    }

    #[test]
    fn a_shared_key_in_a_public_set_is_not_taken() {
        let set = json!({ "keys": [{ "kty": "oct", "kid": "s", "k": super::super::encode([7; 32]) }] });
        assert!(from_set(&set, false).is_none());
        assert_eq!(from_set(&set, true).unwrap().len(), 1);
        assert_eq!(from_set(&json!({ "keys": [] }), false).unwrap().len(), 0);
        assert!(from_set(&json!({}), false).is_none());
    }

    #[test]
    fn a_set_has_so_many_keys_and_no_more() {
        let key =
            |at: usize| json!({ "kty": "oct", "kid": at.to_string(), "k": super::super::encode([7; 32]) });
        let keys: Vec<_> = (0..=KEYS_MAX).map(key).collect();
        assert_eq!(from_set(&json!({ "keys": keys }), true).unwrap().len(), KEYS_MAX);
    }
}
