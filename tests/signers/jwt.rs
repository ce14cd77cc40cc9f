//! JSON Web Tokens by jose, PyJWT and joserfc, in every algorithm that a policy can take.

use forebay::admission::token::{Policy, Presented, Reason};
use serde_json::{Value, json};

use crate::bench::{END, START, get, only_as_it_is, policy, refused};
use crate::scripts::{KEYS, tokens};

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// An algorithm, the private key of its orders, and the public key of its policy; without them, the secret.
type Algorithm = (&'static str, Option<(&'static str, &'static str)>);

fn algorithms() -> Vec<Algorithm> {
    let of = |(private, public): &'static (String, String)| Some((private.as_str(), public.as_str()));
    let (rsa, p256, p384, ed25519) = (of(&KEYS.rsa), of(&KEYS.p256), of(&KEYS.p384), of(&KEYS.ed25519));
    let shared = ["HS256", "HS384", "HS512"].map(|alg| (alg, None));
    let of_rsa = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].map(|alg| (alg, rsa));
    let curves = [("ES256", p256), ("ES384", p384), ("EdDSA", ed25519)];
    shared.into_iter().chain(of_rsa).chain(curves).collect()
}

fn order((alg, pair): Algorithm) -> Value {
    let claims = json!({
        "iss": "https://issuer.example", "sub": "viewer 7", "aud": ["edge"], "nbf": START, "exp": END,
        "path": "/live/ch1", "methods": ["GET", "HEAD"], "hosts": ["live.example.com"],
    });
    let header = json!({ "alg": alg, "kid": "k1", "typ": "JWT" });
    match pair {
        Some((private, _)) => json!({ "header": header, "claims": claims, "pem": private }),
        None => json!({ "header": header, "claims": claims, "secret": SECRET }),
    }
}

fn policy_of((alg, pair): Algorithm, audience: &str) -> Policy {
    let (kind, text) = pair.map_or(("secret_file", SECRET), |(_, public)| ("public_key_file", public));
    let table = format!(
        "format = \"jwt\"\nkeys = [{{ id = \"k1\", {kind} = \"key\" }}]\n[token.viewer.jwt]\n\
         algorithms = [\"{alg}\"]\nissuers = {{ \"https://issuer.example\" = [\"k1\"] }}\n\
         audiences = [\"{audience}\"]\nclaims = {{ path = \"prefix\", methods = \"method\", hosts = \"host\" }}"
    );
    policy(&table, &[("key", text)])
}

fn every_algorithm_verifies(script: &str) {
    let algorithms = algorithms();
    let orders: Vec<Value> = algorithms.iter().map(|algorithm| order(*algorithm)).collect();
    let made = tokens(script, &orders);
    let live = get("/live/ch1/a.ts");
    for (algorithm, token) in algorithms.iter().zip(&made) {
        let (policy, query) = (policy_of(*algorithm, "edge"), format!("token={token}"));
        only_as_it_is(&policy, &query, &live);
        let reason = |request: &Presented<'_>| refused(&policy, &query, request);
        assert_eq!(reason(&get("/live/ch10/a.ts")), Reason::Path);
        assert_eq!(reason(&Presented { host: "vod.example.com", ..live }), Reason::Host);
        assert_eq!(reason(&Presented { method: "POST", ..live }), Reason::Method);
        assert_eq!(reason(&Presented { now_unix: END, ..live }), Reason::Expired);
        assert_eq!(reason(&Presented { now_unix: START - 1, ..live }), Reason::NotYet);
        assert_eq!(refused(&policy_of(*algorithm, "core"), &query, &live), Reason::Audience);
    }
    // A key is good for its own algorithms only.
    for (algorithm, token) in algorithms.iter().zip(made.iter().cycle().skip(1)) {
        let reason = refused(&policy_of(*algorithm, "edge"), &format!("token={token}"), &live);
        assert!(matches!(reason, Reason::BadMac | Reason::UnknownKey), "{}: {reason:?}", algorithm.0);
    }
}

#[test]
fn tokens_of_jose_verify_and_no_altered_one_does() {
    every_algorithm_verifies("jose.mjs");
}

#[test]
fn tokens_of_pyjwt_verify_and_no_altered_one_does() {
    every_algorithm_verifies("pyjwt.py");
}

#[test]
fn tokens_of_joserfc_verify_and_no_altered_one_does() {
    every_algorithm_verifies("joserfc_jwt.py");
}
