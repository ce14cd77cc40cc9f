//! Keys, and what they sign and verify. A key's kind decides on its algorithms, so that none is used for another's.

use std::fmt;
use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{self, UnparsedPublicKey};
use ring::{hmac, rand};
use subtle::ConstantTimeEq;

use crate::config::formats::KeyKind;
use crate::config::formats::cat::{Algorithm, Private, Public};
use crate::config::model::TokenKey;

/// Bytes of the tag of `HS256/64`.
const CUT_BYTES: usize = 8;

/// The order of P-256's group (FIPS 186-5), and half of it.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xde,
    0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// A key.
pub(super) struct Key {
    /// Its name in logs.
    pub(super) id: Arc<str>,
    /// Its name in tokens.
    pub(super) kid: Vec<u8>,
    material: Material,
}

enum Material {
    Shared(hmac::Key),
    Public(Public),
    Private(Private, Public),
}

impl Key {
    /// A key of the configuration. None: its bytes are none, which the configuration has seen to.
    pub(super) fn new(key: &TokenKey, kid: Option<&Vec<u8>>) -> Option<Key> {
        let bytes = key.bytes.0.as_slice();
        let material = match key.kind {
            KeyKind::Shared => Material::Shared(hmac::Key::new(hmac::HMAC_SHA256, bytes)),
            KeyKind::Public => Material::Public(Public::from_der(bytes)?),
            KeyKind::Private => {
                let private = Private::from_der(bytes)?;
                let public = private.public();
                Material::Private(private, public)
            }
        };
        let kid = kid.cloned().unwrap_or_else(|| key.id.as_bytes().to_vec());
        Some(Key { id: key.id.as_str().into(), kid, material })
    }

    /// Whether it signs.
    pub(super) fn signs(&self) -> bool {
        !matches!(self.material, Material::Public(_))
    }

    /// The algorithm it signs with by itself.
    pub(super) fn algorithm(&self) -> Algorithm {
        match &self.material {
            Material::Shared(_) => Algorithm::Hs256,
            Material::Public(Public::P256(_)) | Material::Private(Private::P256(_), _) => Algorithm::Es256,
            Material::Public(Public::Rsa(_)) | Material::Private(Private::Rsa(_), _) => Algorithm::Ps256,
        }
    }

    /// Whether it verifies what is signed by an algorithm.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        match self.algorithm() {
            Algorithm::Hs256 => matches!(algorithm, Algorithm::Hs256 | Algorithm::Hs256Cut),
            own => own == algorithm,
        }
    }

    /// Whether `proof` is its tag or signature of `signed`. Tags are compared in constant time.
    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &[u8], proof: &[u8], high_s: bool) -> bool {
        match (&self.material, algorithm) {
            (Material::Shared(key), Algorithm::Hs256) => hmac::verify(key, signed, proof).is_ok(),
            (Material::Shared(key), Algorithm::Hs256Cut) => {
                let tag = hmac::sign(key, signed);
                tag.as_ref().get(..CUT_BYTES).is_some_and(|tag| bool::from(tag.ct_eq(proof)))
            }
            (Material::Public(key) | Material::Private(_, key), algorithm) => match (key, algorithm) {
                (Public::P256(point), Algorithm::Es256) => {
                    let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
                    (high_s || is_low(proof)) && key.verify(signed, proof).is_ok()
                }
                (Public::Rsa(rsa), Algorithm::Ps256) => {
                    let key = UnparsedPublicKey::new(&signature::RSA_PSS_2048_8192_SHA256, rsa);
                    key.verify(signed, proof).is_ok()
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Its tag or signature. None: it does not sign by this algorithm, or the system gives no random bytes.
    pub(super) fn prove(&self, algorithm: Algorithm, signed: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match (&self.material, algorithm) {
            (Material::Shared(key), Algorithm::Hs256) => Some(hmac::sign(key, signed).as_ref().to_vec()),
            (Material::Shared(key), Algorithm::Hs256Cut) => {
                hmac::sign(key, signed).as_ref().get(..CUT_BYTES).map(<[u8]>::to_vec)
            }
            (Material::Private(Private::P256(key), _), Algorithm::Es256) => {
                let mut proof = key.sign(&random, signed).ok()?.as_ref().to_vec();
                lower(&mut proof);
                Some(proof)
            }
            (Material::Private(Private::Rsa(key), _), Algorithm::Ps256) => {
                let mut proof = vec![0; key.public().modulus_len()];
                key.sign(&signature::RSA_PSS_SHA256, &random, signed, &mut proof).ok()?;
                Some(proof)
            }
            _ => None,
        }
    }
}

/// Whether `s` is the lower of its two values: `r` and `s` have 32 bytes each.
fn is_low(proof: &[u8]) -> bool {
    proof.len() == 64 && proof.get(32..).is_some_and(|s| s <= HALF_ORDER.as_slice())
}

/// Puts the lower value of `s` in its place.
fn lower(proof: &mut [u8]) {
    if is_low(proof) {
        return;
    }
    if let Some(s) = proof.get_mut(32..) {
        negate(s);
    }
}

/// The other value of `s`: the order less it.
pub(super) fn negate(s: &mut [u8]) {
    let mut borrow = 0_i16;
    for (s, order) in s.iter_mut().zip(ORDER).rev() {
        let difference = i16::from(order) - i16::from(*s) - borrow;
        borrow = i16::from(difference < 0);
        *s = difference.rem_euclid(256) as u8;
    }
}

/// Random bytes. None: the system gives none.
pub(super) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    rand::SecureRandom::fill(&SystemRandom::new(), &mut bytes).ok()?;
    Some(bytes)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}
