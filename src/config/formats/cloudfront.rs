//! What `format = "cloudfront"` can be told.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RsaKeyPair};
use rustls_pki_types::pem::{self, SectionKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::super::diagnostic::Report;
use super::{KeyError, KeyKind};

/// Bits of an RSA key: what CloudFront takes.
const RSA_BITS_MIN: usize = 2048;

/// Bytes of an uncompressed point of P-256.
const POINT_BYTES: usize = 65;

/// `[token.NAME.cloudfront]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Raw {
    /// Whether a token for `http://` URLs is good for `https://` too, and the other way round: where TLS ends before the
    /// node. The keys' `id` are the values of `Key-Pair-Id`, their files (`public_key_file`) PEM with an RSA key of 2048
    /// bits or more, or an ECDSA key on P-256.
    #[serde(default)]
    pub(in crate::config) any_scheme: bool,
}

/// What such tokens are like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudFront {
    /// Whether the scheme of a URL does not matter.
    pub any_scheme: bool,
}

pub(super) const NAMES: &[&str] = &[];

pub(super) fn resolve(_report: &mut Report, _key: &str, raw: &Raw) -> CloudFront {
    CloudFront { any_scheme: raw.any_scheme }
}

/// A key's bytes from PEM. Of a public key: `RSAPublicKey` in DER (RFC 8017 appendix A.1.1), or the uncompressed point. Of a
/// private one: PKCS #8, or `RSAPrivateKey`, in DER.
pub(super) fn key(kind: KeyKind, text: &str) -> Result<Vec<u8>, KeyError> {
    let remedy = match kind {
        KeyKind::Shared => {
            let reason = "is of no use: tokens of this format are verified with public keys";
            return Err(KeyError::new(reason, "give `public_key_file`"));
        }
        KeyKind::Public => "name a file with a section \"-----BEGIN PUBLIC KEY-----\"",
        KeyKind::Private => "name a file with a section \"-----BEGIN PRIVATE KEY-----\", not encrypted",
    };
    let no_pem = || KeyError::new("holds no key in PEM", remedy);
    let mut input = text.as_bytes();
    let (section, der) = pem::from_buf(&mut input).ok().flatten().ok_or_else(no_pem)?;
    match (kind, section) {
        (KeyKind::Private, SectionKind::PrivateKey | SectionKind::RsaPrivateKey) => private(der),
        (KeyKind::Public, SectionKind::PublicKey) => public(&der),
        _ => Err(no_pem()),
    }
}

fn unfit() -> KeyError {
    let reason = "holds neither an RSA key of 2048 bits or more nor an ECDSA key on P-256";
    KeyError::new(reason, "make one: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048")
}

fn private(der: Vec<u8>) -> Result<Vec<u8>, KeyError> {
    let is_rsa = RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der)).is_ok();
    let random = SystemRandom::new();
    let is_ecdsa = || EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der, &random).is_ok();
    if is_rsa || is_ecdsa() { Ok(der) } else { Err(unfit()) }
}

fn public(der: &[u8]) -> Result<Vec<u8>, KeyError> {
    let (rest, info) = SubjectPublicKeyInfo::from_der(der).map_err(|_| unfit())?;
    let bytes = info.subject_public_key.data.to_vec();
    let fits = match info.parsed().map_err(|_| unfit())? {
        PublicKey::RSA(key) => {
            let modulus = key.modulus.iter().skip_while(|byte| **byte == 0);
            modulus.count() * 8 >= RSA_BITS_MIN
        }
        // The curve is told from others by the length of its points.
        PublicKey::EC(point) => point.data().len() == POINT_BYTES && bytes.first() == Some(&4),
        _ => false,
    };
    if fits && rest.is_empty() { Ok(bytes) } else { Err(unfit()) }
}
