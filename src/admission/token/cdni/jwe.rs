//! Encrypted claims: JSON Web Encryption in compact form (RFC 7516), with a shared key.
//!
//! `alg` is `dir`, or `A128KW` or `A256KW`; `enc` is `A128GCM` or `A256GCM` (RFC 7518 sections 4.4, 4.5 and 5.3). What
//! asks for anything else is not decrypted.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::key_wrap::{AES_128, AES_256, AesKek, KeyWrap};

use crate::admission::token::jws;
use crate::admission::token::jws::json::{Json, Object};
use crate::admission::token::jws::keys::Secret;

/// The plain text of a claim. None: it is no such text, or no key opens it.
pub(super) fn decrypt(text: &str, secrets: &[Secret]) -> Option<Vec<u8>> {
    let mut parts = text.split('.');
    let protected = parts.next()?;
    let mut part = || jws::decode(parts.next()?);
    let (wrapped, nonce, mut sealed, tag) = (part()?, part()?, part()?, part()?);
    if parts.next().is_some() || tag.len() != 16 {
        return None;
    }
    sealed.extend_from_slice(&tag);
    let header = Object::parse(&jws::decode(protected)?)?;
    if ["crit", "zip"].iter().any(|name| header.get(name).is_some()) {
        return None;
    }
    let word = |name: &str| header.get(name).and_then(Json::as_text);
    let (alg, enc, kid) = (word("alg")?, word("enc")?, word("kid"));
    let named = secrets.iter().filter(|secret| kid.is_none_or(|kid| kid == &*secret.id));
    named.filter_map(|secret| open(&secret.bytes, alg, enc, (protected, &wrapped, &nonce, &sealed))).next()
}

fn open(
    key: &[u8],
    alg: &str,
    enc: &str,
    (protected, wrapped, nonce, sealed): (&str, &[u8], &[u8], &[u8]),
) -> Option<Vec<u8>> {
    let unwrapped;
    let content_key = match alg {
        "dir" if wrapped.is_empty() => key,
        "A128KW" => {
            unwrapped = unwrap(AesKek::new(&AES_128, key).ok()?, wrapped)?;
            &unwrapped
        }
        "A256KW" => {
            unwrapped = unwrap(AesKek::new(&AES_256, key).ok()?, wrapped)?;
            &unwrapped
        }
        _ => return None,
    };
    let algorithm = match enc {
        "A128GCM" => &AES_128_GCM,
        "A256GCM" => &AES_256_GCM,
        _ => return None,
    };
    let key = LessSafeKey::new(UnboundKey::new(algorithm, content_key).ok()?);
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut text = sealed.to_vec();
    let length = key.open_in_place(nonce, Aad::from(protected.as_bytes()), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

fn unwrap(key: AesKek, wrapped: &[u8]) -> Option<Vec<u8>> {
    let mut content_key = vec![0; wrapped.len()];
    Some(key.unwrap(wrapped, &mut content_key).ok()?.to_vec())
}
