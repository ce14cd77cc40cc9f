//! What `format = "cat"` can be told.

use std::collections::BTreeMap;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::super::diagnostic::Report;
use super::super::raw;
use super::{KeyError, KeyKind};

/// Bytes of a shared key at least.
pub const SHARED_KEY_BYTES_MIN: usize = 16;

/// Bits of an RSA key at least.
pub const RSA_BITS_MIN: usize = 2048;

/// The number below which numbers of claims are for private use (RFC 8392 section 9.1).
const PRIVATE_BELOW: i64 = -65_536;

/// `[token.NAME.cat]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Raw {
    /// Algorithms that tokens may be signed with: `HS256`, `HS256/64` (a tag of 8 bytes), `ES256`, `PS256`. A key in
    /// `secret_file` is hexadecimal, at least 16 bytes, and for the first two; those in `public_key_file` and
    /// `private_key_file` are PEM (`PUBLIC KEY`, `PRIVATE KEY`), P-256 or RSA of at least 2048 bits.
    pub(in crate::config) algorithms: Vec<Algorithm>,
    /// Whose reading counts where implementations differ: `cta`, `node_cat`, `rust_cat`, `akamai`. `cta`: `deadline` of
    /// `catr` is seconds before the end, a regular expression (of ASCII text, up to 1024 bytes, at most 4 in a token)
    /// matches the whole part, `catpor` other than 0 is refused.
    /// `node_cat`: regular expressions match anywhere, `catpor` is an array that begins with a probability. `rust_cat`:
    /// they match anywhere, `deadline` is a time, `catpor` is percent. `akamai`: they match anywhere, and `catr` numbers
    /// cookie parameters, header parameters and status 6, 7 and 8.
    pub(in crate::config) dialect: Dialect,
    /// Issuers (`iss`) whose tokens are taken. Empty: any, and tokens that name none.
    #[schemars(example = ["auth.example.com"])]
    pub(in crate::config) issuers: Vec<String>,
    /// Audiences (`aud`) that the node stands for; each token has to name one. Empty: tokens that name an audience are
    /// refused (RFC 8392 section 3.1.3).
    #[schemars(example = ["cdn.example.com"])]
    pub(in crate::config) audiences: Vec<String>,
    /// Numbers of private claims that are passed over, all below -65536 (RFC 8392 section 9.1): one that has a meaning
    /// for everybody would be a condition that nobody looks at. A token with any other claim that the node does not know
    /// is refused.
    #[schemars(example = [-65537])]
    pub(in crate::config) ignored_claims: Vec<i64>,
    /// Key identifiers (`kid`) in hexadecimal, by the `id` of the key, where they are not the `id` itself.
    #[schemars(example = example_kids())]
    pub(in crate::config) kids: BTreeMap<String, String>,
    /// `id`s of the keys with which `catif` may have tokens signed for its answers. None: a token that asks for it is
    /// refused.
    #[schemars(example = ["k1"])]
    pub(in crate::config) catif_keys: Vec<String>,
    /// The issuer of tokens that the node signs for `catif` and that leave theirs open.
    #[schemars(example = &"edge.example.com")]
    pub(in crate::config) issuer: Option<String>,
    /// Whether ES256 signatures with the higher of their two values of `s` are taken. Many issuers make such, and anyone
    /// can turn one into the other: one token then has two texts. Uses are counted by `cti`, whichever text it has.
    pub(in crate::config) high_s: bool,
}

impl Default for Raw {
    fn default() -> Raw {
        Raw {
            algorithms: vec![Algorithm::Hs256, Algorithm::Es256, Algorithm::Ps256],
            dialect: Dialect::Cta,
            issuers: Vec::new(),
            audiences: Vec::new(),
            ignored_claims: Vec::new(),
            kids: BTreeMap::new(),
            catif_keys: Vec::new(),
            issuer: None,
            high_s: true,
        }
    }
}

fn example_kids() -> BTreeMap<String, String> {
    BTreeMap::from([("k1".to_owned(), "0a1b2c3d".to_owned())])
}

/// An algorithm of COSE (RFC 9053, RFC 8230).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    #[serde(rename = "HS256")]
    Hs256,
    /// The same, cut to 64 bits.
    #[serde(rename = "HS256/64")]
    Hs256Cut,
    /// ECDSA with P-256 and SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PSS with SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 4] =
        [Algorithm::Hs256, Algorithm::Hs256Cut, Algorithm::Es256, Algorithm::Ps256];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "HS256",
            Algorithm::Hs256Cut => "HS256/64",
            Algorithm::Es256 => "ES256",
            Algorithm::Ps256 => "PS256",
        }
    }

    /// Its number in the registry of COSE algorithms.
    pub const fn number(self) -> i128 {
        match self {
            Algorithm::Hs256 => 5,
            Algorithm::Hs256Cut => 4,
            Algorithm::Es256 => -7,
            Algorithm::Ps256 => -37,
        }
    }
}

/// Whose reading counts where implementations differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// CTA-5007.
    #[default]
    Cta,
    /// Eyevinn's `node-cat`.
    NodeCat,
    /// Fastly's `common-access-token`.
    RustCat,
    /// Akamai's library for EdgeWorkers.
    Akamai,
}

/// What such tokens are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cat {
    /// Algorithms taken; at least one.
    pub algorithms: Vec<Algorithm>,
    /// Whose reading counts where implementations differ.
    pub dialect: Dialect,
    /// Issuers taken; empty: any.
    pub issuers: Vec<String>,
    /// Audiences that the node stands for.
    pub audiences: Vec<String>,
    /// Numbers of claims that are passed over.
    pub ignored_claims: Vec<i64>,
    /// `kid`s of keys, by their `id`, where they differ from it.
    pub kids: BTreeMap<String, Vec<u8>>,
    /// `id`s of keys that sign for `catif`.
    pub catif_keys: Vec<String>,
    /// The issuer of tokens signed for `catif`.
    pub issuer: Option<String>,
    /// Whether ES256 signatures with a high `s` are taken.
    pub high_s: bool,
}

impl Default for Cat {
    fn default() -> Cat {
        Cat::of(&Raw::default(), BTreeMap::new())
    }
}

impl Cat {
    fn of(raw: &Raw, kids: BTreeMap<String, Vec<u8>>) -> Cat {
        Cat {
            algorithms: raw.algorithms.clone(),
            dialect: raw.dialect,
            issuers: raw.issuers.clone(),
            audiences: raw.audiences.clone(),
            ignored_claims: raw.ignored_claims.clone(),
            kids,
            catif_keys: raw.catif_keys.clone(),
            issuer: raw.issuer.clone(),
            high_s: raw.high_s,
        }
    }
}

pub(super) const NAMES: &[&str] = &["CTA-Common-Access-Token", "Common-Access-Token", "cat", "CAT"];

pub(super) fn resolve(report: &mut Report, key: &str, raw: &Raw, keys: &[raw::TokenKey]) -> Cat {
    if raw.algorithms.is_empty() {
        report.mistake(&format!("{key}.algorithms"), "is empty", "write an algorithm, or remove it");
    }
    let is_key = |id: &str| keys.iter().any(|key| key.id == id);
    let mut kids = BTreeMap::new();
    for (id, kid) in &raw.kids {
        let place = format!("{key}.kids.{id}");
        if !is_key(id) {
            report.mistake(&place, "is no key of this policy", "write the `id` of one of its keys");
        }
        match hex::decode(kid) {
            Ok(kid) if !kid.is_empty() => drop(kids.insert(id.clone(), kid)),
            _ => {
                let reason = format!("\"{}\" is not hexadecimal", kid.escape_debug());
                report.mistake(&place, reason, "write two digits for each byte of the identifier");
            }
        }
    }
    for (at, number) in raw.ignored_claims.iter().enumerate().filter(|(_, number)| **number >= PRIVATE_BELOW)
    {
        let place = format!("{key}.ignored_claims[{at}]");
        let reason = format!("{number} is not the number of a private claim");
        report.mistake(&place, reason, "write a number below -65536, or remove it");
    }
    for (at, id) in raw.catif_keys.iter().enumerate() {
        let place = format!("{key}.catif_keys[{at}]");
        match keys.iter().find(|key| key.id == *id) {
            None => {
                let reason = format!("\"{}\" is no key of this policy", id.escape_debug());
                report.mistake(&place, reason, "write the `id` of one of its keys");
            }
            Some(key) if key.public_key_file.is_some() => {
                let reason = format!("\"{id}\" only verifies");
                report.mistake(&place, reason, "give its private_key_file in place of public_key_file");
            }
            Some(_) => {}
        }
    }
    Cat::of(raw, kids)
}

/// A key's bytes: those of a shared key, or DER of SubjectPublicKeyInfo (RFC 5280) or PKCS #8 (RFC 5208).
pub(super) fn key(kind: KeyKind, text: &str) -> Result<Vec<u8>, KeyError> {
    match kind {
        KeyKind::Shared => {
            let bytes = super::hexadecimal(text)?;
            if bytes.len() < SHARED_KEY_BYTES_MIN {
                let reason = format!("holds a key of {} bytes", bytes.len());
                return Err(KeyError::new(
                    reason,
                    format!("make one of at least {SHARED_KEY_BYTES_MIN}: openssl rand -hex 32"),
                ));
            }
            Ok(bytes)
        }
        KeyKind::Public => {
            let pem = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).map_err(|_| {
                let reason = "does not hold a PEM section \"PUBLIC KEY\"";
                KeyError::new(reason, "convert it: openssl pkey -pubin -in FILE -pubout")
            })?;
            Public::from_der(&pem).map(|_| pem.to_vec()).ok_or_else(no_such_key)
        }
        KeyKind::Private => {
            let pem = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
                let reason = "does not hold a PEM section \"PRIVATE KEY\"";
                KeyError::new(reason, "convert it: openssl pkcs8 -topk8 -nocrypt -in FILE")
            })?;
            let der = pem.secret_pkcs8_der().to_vec();
            Private::from_der(&der).map(|_| der).ok_or_else(no_such_key)
        }
    }
}

fn no_such_key() -> KeyError {
    KeyError::new(
        format!("holds neither a key of P-256 nor an RSA key of {RSA_BITS_MIN} to 8192 bits"),
        "make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
    )
}

/// A key that verifies, as its algorithm takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Public {
    /// A point of P-256, uncompressed.
    P256(Vec<u8>),
    /// RSAPublicKey (RFC 8017 appendix A.1.1).
    Rsa(Vec<u8>),
}

impl Public {
    /// A key from its SubjectPublicKeyInfo. None: it is of another kind.
    pub fn from_der(der: &[u8]) -> Option<Public> {
        let (rest, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
        let bits = info.subject_public_key.data.to_vec();
        if !rest.is_empty() {
            return None;
        }
        match info.parsed().ok()? {
            x509_parser::public_key::PublicKey::EC(point)
                if point.key_size() == 256
                    && bits.len() == 65
                    && bits.first() == Some(&4)
                    && is_p256(&info) =>
            {
                Some(Public::P256(bits))
            }
            x509_parser::public_key::PublicKey::RSA(key)
                if (RSA_BITS_MIN..=8192).contains(&rsa_bits(key.modulus)) =>
            {
                Some(Public::Rsa(bits))
            }
            _ => None,
        }
    }
}

/// Whether the curve is P-256 (RFC 5480 section 2.1.1.1).
fn is_p256(info: &SubjectPublicKeyInfo<'_>) -> bool {
    let curve = info.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    curve.is_some_and(|oid| oid.to_id_string() == "1.2.840.10045.3.1.7")
}

fn rsa_bits(modulus: &[u8]) -> usize {
    let start = modulus.iter().position(|byte| *byte != 0).unwrap_or(modulus.len());
    let first = modulus.get(start).map_or(0, |byte| byte.leading_zeros() as usize);
    (modulus.len() - start) * 8 - first
}

/// A key that signs.
pub enum Private {
    /// Of P-256.
    P256(Box<EcdsaKeyPair>),
    /// RSA.
    Rsa(Box<RsaKeyPair>),
}

impl Private {
    /// A key from its PKCS #8. None: it is of another kind.
    pub fn from_der(der: &[u8]) -> Option<Private> {
        let random = SystemRandom::new();
        let p256 = || EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random).ok();
        let rsa = || RsaKeyPair::from_pkcs8(der).ok();
        p256()
            .map(|key| Private::P256(Box::new(key)))
            .or_else(|| rsa().map(|key| Private::Rsa(Box::new(key))))
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> Public {
        match self {
            Private::P256(key) => Public::P256(key.public_key().as_ref().to_vec()),
            Private::Rsa(key) => Public::Rsa(key.public_key().as_ref().to_vec()),
        }
    }
}
