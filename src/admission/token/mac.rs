//! Message authentication codes (RFC 2104) with the hash that a policy is told: the state of a key after its set-up.

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;

use crate::config::formats::hash::Hash;

/// Bytes of a block of each of the hashes; a longer key is hashed first.
pub const BLOCK_BYTES: usize = 64;

/// A code that is being computed. Made once for a key, then cloned for each text.
#[derive(Clone)]
pub enum Code {
    /// With SHA-256.
    Sha256(Hmac<Sha256>),
    /// With SHA-1.
    Sha1(Hmac<Sha1>),
    /// With MD5.
    Md5(Hmac<Md5>),
}

impl Code {
    /// The state of a key after its set-up.
    pub fn new(hash: Hash, secret: &[u8]) -> Code {
        match hash {
            Hash::Sha256 => Code::Sha256(Hmac::new(&block::<Sha256>(secret).into())),
            Hash::Sha1 => Code::Sha1(Hmac::new(&block::<Sha1>(secret).into())),
            Hash::Md5 => Code::Md5(Hmac::new(&block::<Md5>(secret).into())),
        }
    }

    /// Adds a part of the text.
    pub fn update(&mut self, part: &[u8]) {
        match self {
            Code::Sha256(mac) => mac.update(part),
            Code::Sha1(mac) => mac.update(part),
            Code::Md5(mac) => mac.update(part),
        }
    }

    /// Whether `code` is the whole code of the text, compared in constant time.
    pub fn is(self, code: &[u8]) -> bool {
        match self {
            Code::Sha256(mac) => mac.verify_slice(code).is_ok(),
            Code::Sha1(mac) => mac.verify_slice(code).is_ok(),
            Code::Md5(mac) => mac.verify_slice(code).is_ok(),
        }
    }

    /// The code of the text.
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Code::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Code::Sha1(mac) => mac.finalize().into_bytes().to_vec(),
            Code::Md5(mac) => mac.finalize().into_bytes().to_vec(),
        }
    }
}

/// A key brought to the length of a block, as RFC 2104 section 2 has it, which is what makes the set-up infallible.
fn block<D: Digest>(secret: &[u8]) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let hashed;
    let key = if secret.len() > block.len() {
        hashed = D::digest(secret);
        hashed.as_slice()
    } else {
        secret
    };
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    block
}

/// The bytes of a code in hexadecimal: lower case alone, since a token has one spelling, and a length that a hash has.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let hashes = [Hash::Sha256, Hash::Sha1, Hash::Md5];
    let fits = hashes.iter().any(|hash| text.len() == 2 * hash.bytes());
    if !fits || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    hex::decode(text).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    /// RFC 2202 sections 2 and 3, RFC 4231 section 4.3.
    #[test]
    fn codes_are_those_of_the_standards() {
        let code = |hash| {
            let mut code = Code::new(hash, b"Jefe");
            code.update(b"what do ya want ");
            code.update(b"for nothing?");
            hex::encode(code.bytes())
        };
        assert_eq!(code(Hash::Md5), "750c783e6ab0b503eaa86e310a5db738");
        assert_eq!(code(Hash::Sha1), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(code(Hash::Sha256), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn keys_longer_than_a_block_are_hashed_as_the_standard_has_it() {
        for length in [0, 1, 63, 64, 65, 200] {
            let secret = vec![7; length];
            let standard = Hmac::<Sha256>::new_from_slice(&secret).unwrap().chain_update(b"text").finalize();
            let mut ours = Code::new(Hash::Sha256, &secret);
            ours.update(b"text");
            assert_eq!(ours.bytes(), standard.into_bytes().to_vec(), "{length}");
        }
    }

    #[test]
    fn a_code_is_compared_whole() {
        let code = Code::new(Hash::Sha1, b"key");
        let right = code.clone().bytes();
        assert!(code.clone().is(&right));
        assert!(!code.clone().is(&right[..19]));
        assert!(!code.is(&[]));
    }

    #[test]
    fn a_code_has_one_spelling() {
        assert_eq!(from_hex(&"0a".repeat(16)), Some(vec![10; 16]));
        for text in ["", "0a", &"0A".repeat(16), &"0g".repeat(16), &"0a".repeat(17)] {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }
}
