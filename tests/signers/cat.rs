//! Common Access Tokens by @eyevinn/cat, and by cwt, which signs any claims with COSE.

use forebay::admission::token::{Policy, Presented, Reason};
use serde_json::{Value, json};

use crate::bench::{END, NOW, START, get, only_as_it_is, policy, refused};
use crate::scripts::{KEYS, tokens};

const KEY: &str = "403697de87af64611c1d32a05dab0fe1fcb715a86ab435f1ec99192d79569388";

fn policy_of(key: &str, options: &str) -> Policy {
    let kind = if key == KEY { "secret_file" } else { "public_key_file" };
    let table = format!(
        "format = \"cat\"\nkeys = [{{ id = \"k1\", {kind} = \"key\" }}]\n\
         cat = {{ audiences = [\"edge\"], issuers = [\"issuer\"]{options} }}"
    );
    policy(&table, &[("key", key)])
}

/// What holds of every token of this file: it is for `GET` of what lies below `/live/` and ends in `.ts`, at one host.
#[track_caller]
fn is_held_to_what_it_says(policy: &Policy, token: &str) {
    let (query, live) = (format!("cat={token}"), get("/live/a.ts"));
    only_as_it_is(policy, &query, &live);
    let reason = |request: &Presented<'_>| refused(policy, &query, request);
    assert_eq!(reason(&get("/vod/a.ts")), Reason::Path);
    assert_eq!(reason(&get("/live/a.m4s")), Reason::Path);
    assert_eq!(reason(&Presented { method: "POST", ..live }), Reason::Method);
    assert_eq!(reason(&Presented { now_unix: END, ..live }), Reason::Expired);
    assert_eq!(reason(&Presented { now_unix: START - 1, ..live }), Reason::NotYet);
    assert_ne!(reason(&Presented { host: "vod.example.com", ..live }), Reason::BadMac);
}

#[test]
fn tokens_of_eyevinn_cat_verify_and_no_altered_one_does() {
    let claims = json!({
        "iss": "issuer", "sub": "viewer 7", "aud": ["edge", "core"], "nbf": START, "exp": END, "iat": NOW,
        "catu": {
            "host": { "exact-match": "live.example.com" },
            "path": { "prefix-match": "/live/" },
            "extension": { "exact-match": ".ts" },
        },
        "catm": ["GET", "HEAD"], "catnip": ["192.0.2.0/24", "2001:db8::/32"], "catv": 1,
    });
    let made = tokens("eyevinn-cat.mjs", &[json!({ "claims": claims, "key": KEY, "kid": "k1" })]);
    for dialect in ["cta", "node_cat"] {
        let policy = policy_of(KEY, &format!(", dialect = \"{dialect}\""));
        for token in &made {
            is_held_to_what_it_says(&policy, token);
            let other = "198.51.100.1".parse().expect("an address");
            let stranger = Presented { client: other, ..get("/live/a.ts") };
            assert_eq!(refused(&policy, &format!("cat={token}"), &stranger), Reason::Ip);
        }
    }
}

#[test]
fn tokens_of_cwt_verify_and_no_altered_one_does() {
    // By number: `catu` of host, path and extension; `catm`.
    let claims = json!({
        "1": "issuer", "3": "edge", "4": END, "5": START, "6": NOW,
        "312": { "1": { "0": "live.example.com" }, "3": { "1": "/live/" }, "8": { "0": ".ts" } },
        "313": ["GET"],
    });
    let order = |alg: &str, key: Option<&str>, tagged: bool| -> Value {
        let (name, key) = key.map_or(("key", KEY), |pem| ("pem", pem));
        json!({ "alg": alg, "claims": claims, "kid": "k1", "tagged": tagged, name: key })
    };
    let algorithms = [
        ("HMAC 256/256", "HS256", None),
        ("HMAC 256/64", "HS256/64", None),
        ("ES256", "ES256", Some(&KEYS.p256)),
        ("PS256", "PS256", Some(&KEYS.rsa)),
    ];
    let orders: Vec<Value> = algorithms
        .iter()
        .flat_map(|(alg, _, pair)| {
            [true, false].map(|tagged| order(alg, pair.map(|(private, _)| private.as_str()), tagged))
        })
        .collect();
    let made = tokens("cwt_cat.py", &orders);
    for ((_, algorithm, pair), both) in algorithms.iter().zip(made.chunks(2)) {
        let key = pair.map_or(KEY, |(_, public)| public.as_str());
        // OpenSSL does not care which of its two values `s` has.
        let policy = policy_of(key, &format!(", algorithms = [\"{algorithm}\"], high_s = true"));
        both.iter().for_each(|token| is_held_to_what_it_says(&policy, token));
        for stranger in algorithms.iter().map(|(_, word, _)| word).filter(|word| *word != algorithm) {
            let policy = policy_of(key, &format!(", algorithms = [\"{stranger}\"], high_s = true"));
            let reason = refused(&policy, &format!("cat={}", both[0]), &get("/live/a.ts"));
            assert_eq!(reason, Reason::UnknownKey, "{algorithm} where only {stranger} is taken");
        }
    }
}
