//! EdgeAuth 2.0 tokens made from the published format alone, so that the node's own signer is not its own judge.
//!
//! A token is `~`-joined fields followed by `~hmac=` and the lower-case hexadecimal HMAC-SHA256 of the text before it; a
//! URL token also hashes `~url=PATH`, which is not sent.

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A key as an operator writes it into a secret file.
pub const KEY_HEX: &str = "52a152a152a152a152a152a152a1";

/// Another valid key, unknown to the node unless a test configures it.
pub const OTHER_KEY_HEX: &str = "00112233445566778899aabbccddeeff";

/// Seconds since the Unix epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

/// Lower-case hexadecimal HMAC-SHA256 of `text` under the hexadecimal `key`.
fn mac(key_hex: &str, text: &str) -> String {
    let key = hex::decode(key_hex).expect("a hexadecimal key");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key length");
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// A token over `fields` as they stand (an ACL token).
pub fn sign(key_hex: &str, fields: &str) -> String {
    format!("{fields}~hmac={}", mac(key_hex, fields))
}

/// A token for one path, which is hashed but not sent.
pub fn sign_url(key_hex: &str, fields: &str, path: &str) -> String {
    format!("{fields}~hmac={}", mac(key_hex, &format!("{fields}~url={path}")))
}

/// A token for `acl`, valid for an hour.
pub fn valid(acl: &str) -> String {
    sign(KEY_HEX, &format!("exp={}~acl={acl}", now() + 3600))
}

/// The value of `Forebay-Signature` for a body: HMAC-SHA256 over `TIME.BODY`, the key's text being the key.
pub fn sign_body(key: &str, id: &str, time: u64, body: &str) -> String {
    format!("t={time}, id={id}, v1={}", mac(&hex::encode(key), &format!("{time}.{body}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the published generators.
    #[test]
    fn published_vectors_are_reproduced() {
        assert_eq!(
            sign(KEY_HEX, "st=1700000000~exp=1700003600~acl=/*"),
            "st=1700000000~exp=1700003600~acl=/*~hmac=cb48ba343c1783ea520789ffa7b9f87bab56a6ee64fbf10e222af079375df216"
        );
        assert_eq!(
            sign_url(KEY_HEX, "exp=1700003600", "/vod/a b/master.m3u8"),
            "exp=1700003600~hmac=3e9dfdd65b2ab389cbc3c45ffcaff3d0e46be9a9f90a13c00c08db4be993bfa2"
        );
    }
}
