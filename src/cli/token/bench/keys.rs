//! Keys for one run. They pass through the readers of key files, so that they are what a configuration gives.

use anyhow::{Result, anyhow, ensure};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::config::formats::Word;
use crate::config::model::{KeyKind, Secret, TokenKey};

/// Characters of a line of PEM (RFC 7468 section 2).
const PEM_LINE: usize = 64;

/// Both halves of a key, as PEM.
pub(super) struct Pair {
    public: String,
    private: String,
}

/// A pair of each kind.
pub(super) struct Pairs {
    pub(super) rsa: Pair,
    pub(super) p256: Pair,
    pub(super) ed25519: Pair,
}

impl Pairs {
    pub(super) fn make() -> Result<Pairs> {
        let failed = |_| anyhow!("the system gives no keys");
        let rsa = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
        let rsa_private: Pkcs8V1Der<'_> = rsa.as_der().map_err(failed)?;
        let rsa_public: PublicKeyX509Der<'_> = rsa.public_key().as_der().map_err(failed)?;
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
        let p256_public: PublicKeyX509Der<'_> = p256.public_key().as_der().map_err(failed)?;
        let ed25519 = Ed25519KeyPair::generate().map_err(failed)?;
        let ed25519_public: PublicKeyX509Der<'_> = ed25519.public_key().as_der().map_err(failed)?;
        let pair = |public: &[u8], private: &[u8]| Pair {
            public: pem("PUBLIC KEY", public),
            private: pem("PRIVATE KEY", private),
        };
        Ok(Pairs {
            rsa: pair(rsa_public.as_ref(), rsa_private.as_ref()),
            p256: pair(p256_public.as_ref(), p256.to_pkcs8v1().map_err(failed)?.as_ref()),
            ed25519: pair(ed25519_public.as_ref(), ed25519.to_pkcs8v1().map_err(failed)?.as_ref()),
        })
    }
}

impl Pair {
    /// What verifies, for a policy.
    pub(super) fn public(&self, word: Word, id: &str) -> Result<TokenKey> {
        key(word, KeyKind::Public, id, &self.public)
    }

    /// What signs.
    pub(super) fn private(&self, word: Word, id: &str) -> Result<TokenKey> {
        key(word, KeyKind::Private, id, &self.private)
    }
}

/// A shared key, made at random: as many characters as given, of which all formats take hexadecimal digits.
pub(super) fn shared(word: Word, id: &str, characters: usize) -> Result<TokenKey> {
    let mut bytes = vec![0; characters / 2];
    getrandom::fill(&mut bytes).map_err(|_| anyhow!("the system gives no random bytes"))?;
    key(word, KeyKind::Shared, id, &hex::encode(bytes))
}

/// A private key of Ed25519 in bare form.
pub(super) fn seed(word: Word, id: &str) -> Result<TokenKey> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| anyhow!("the system gives no random bytes"))?;
    key(word, KeyKind::Private, id, &STANDARD.encode(bytes))
}

fn key(word: Word, kind: KeyKind, id: &str, text: &str) -> Result<TokenKey> {
    let bytes = word.key(kind, text)?;
    ensure!(!bytes.is_empty(), "the key is empty");
    Ok(TokenKey { id: id.to_owned(), kind, bytes: Secret(bytes) })
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while let Some((line, more)) = rest.split_at_checked(PEM_LINE) {
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    if !rest.is_empty() {
        pem.push_str(rest);
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
