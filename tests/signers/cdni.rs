//! CDNI URI signing (RFC 9246) by general libraries for signed and encrypted JSON, jose and joserfc: its claims are put
//! together here, `cdniip` and `sub` are encrypted by them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forebay::admission::token::{Policy, Presented, Reason};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::bench::{CLIENT, END, START, get, only_as_it_is, policy, refused};
use crate::scripts::{KEYS, tokens};

/// The shared key of encrypted claims.
const ENCRYPTION: [u8; 16] = [0x5A; 16];

fn policy_of(curve: &str) -> Policy {
    let jwk = json!({ "kty": "oct", "use": "enc", "kid": "e1", "k": URL_SAFE_NO_PAD.encode(ENCRYPTION) });
    let table = "format = \"cdni\"\nkeys = [{ id = \"k1\", public_key_file = \"key\" }, \
                 { id = \"e1\", secret_file = \"jwk\" }]\ncdni = { issuers = { \"uCDN Inc\" = [\"k1\"] } }";
    policy(table, &[("key", curve), ("jwk", &jwk.to_string())])
}

/// An order for a token by the key in PEM.
fn order(pem: &str, container: &str, address: Option<&str>) -> Value {
    let mut claims = json!({
        "iss": "uCDN Inc", "sub": "viewer 7", "nbf": START, "exp": END, "cdniv": 1, "cdniuc": container,
    });
    if let Some(address) = address {
        claims["cdniip"] = address.into();
    }
    let encrypted: &[&str] = if address.is_some() { &["cdniip", "sub"] } else { &[] };
    json!({
        "header": { "alg": "ES256", "kid": "k1" }, "claims": claims, "pem": pem, "encrypted": encrypted,
        "encryption": URL_SAFE_NO_PAD.encode(ENCRYPTION),
    })
}

fn signed_and_encrypted_claims_hold(script: &str) {
    let (private, public) = &KEYS.p256;
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest("https://live.example.com/live/a.ts?v=1"));
    let orders = [
        order(private, "regex:https://live\\.example\\.com/live/[^/]*\\.ts(\\?.*)?", Some("192.0.2.0/24")),
        order(private, &format!("hash:sha-256;{hash}"), Some(CLIENT)),
        order(private, "regex:https?://.*/live/.*", None),
    ];
    let made = tokens(script, &orders);
    let [pattern, hash, open] = made.try_into().map(|made: [String; 3]| made).expect("a token for each");
    let [pattern, hash, open] = [pattern, hash, open].map(|token| format!("URISigningPackage={token}"));

    let (policy, live) = (policy_of(public), get("/live/a.ts"));
    only_as_it_is(&policy, &pattern, &live);
    assert_eq!(refused(&policy, &pattern, &get("/live/b/a.ts")), Reason::Path);
    assert_eq!(refused(&policy, &pattern, &Presented { secure: false, ..live }), Reason::Path);
    assert_eq!(refused(&policy, &pattern, &Presented { host: "liveXexample.com", ..live }), Reason::Path);
    let other = "198.51.100.1".parse().expect("an address");
    assert_eq!(refused(&policy, &pattern, &Presented { client: other, ..live }), Reason::Ip);
    assert_eq!(refused(&policy, &pattern, &Presented { now_unix: END, ..live }), Reason::Expired);
    assert_eq!(refused(&policy, &pattern, &Presented { now_unix: START - 1, ..live }), Reason::NotYet);

    only_as_it_is(&policy, &format!("v=1&{hash}"), &live);
    assert_eq!(refused(&policy, &format!("v=2&{hash}"), &live), Reason::Path);
    let other = "192.0.2.11".parse().expect("an address");
    assert_eq!(refused(&policy, &format!("v=1&{hash}"), &Presented { client: other, ..live }), Reason::Ip);

    only_as_it_is(&policy, &open, &Presented { client: other, secure: false, ..live });
    assert_eq!(refused(&policy, &open, &get("/vod/a.ts")), Reason::Path);
}

#[test]
fn uri_signing_packages_of_jose_verify_and_no_altered_one_does() {
    signed_and_encrypted_claims_hold("jose.mjs");
}

#[test]
fn uri_signing_packages_of_joserfc_verify_and_no_altered_one_does() {
    signed_and_encrypted_claims_hold("joserfc_jwt.py");
}
