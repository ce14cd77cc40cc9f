#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::admission::token::{Admission, Policy, probe};
use crate::config::formats::jwks::Jwks;
use crate::config::formats::jwt::{Alg, Jwt as Options};
use crate::config::model::{KeyKind, Secret, TokenFormat, TokenPolicy};

const NOW: u64 = 1_700_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// The claims of RFC 7515 appendix A.1 to A.3.
const RFC_7515_CLAIMS: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn key(id: &str, kind: KeyKind, bytes: impl AsRef<[u8]>) -> TokenKey {
    TokenKey { id: id.into(), kind, bytes: Secret(bytes.as_ref().to_vec()) }
}

fn shared() -> TokenKey {
    key("k1", KeyKind::Shared, SECRET)
}

/// A policy whose claim `path` is a prefix.
fn options() -> Options {
    Options {
        algorithms: vec![Alg::HS256],
        claims: BTreeMap::from([
            ("path".into(), Rule::Prefix),
            ("sid".into(), Rule::Session),
            ("sub".into(), Rule::Subject),
            ("jti".into(), Rule::Id),
        ]),
        ..Options::default()
    }
}

fn with_claim(name: &str, rule: Rule) -> Options {
    let mut options = options();
    options.claims.insert(name.to_owned(), rule);
    options
}

fn policy(options: Options, keys: Vec<TokenKey>) -> Policy {
    Policy::from_config(&TokenPolicy::new("viewer", TokenFormat::Jwt(options), keys), 1 << 20)
}

fn sign(claims: &Value) -> String {
    Signer::new(&shared(), Alg::HS256, None).unwrap().sign(claims).unwrap()
}

/// The claims of a token that opens `/live`, and those that are given.
fn claims(more: &Value) -> Value {
    let mut claims = json!({ "exp": NOW + 600, "path": "/live" });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn admit_at(policy: &Policy, token: &str, request: &Presented<'_>) -> Result<Admission, Reason> {
    let query = format!("token={token}");
    policy.admit(&Presented { query: Some(&query), ..*request }).map_err(|denied| denied.reason)
}

fn admit(policy: &Policy, token: &str) -> Result<Admission, Reason> {
    admit_at(policy, token, &Presented::get("/live/a.ts", NOW))
}

fn reason(policy: &Policy, token: &str) -> Option<Reason> {
    admit(policy, token).err()
}

/// The reason with which these options refuse these claims, beside [`claims`].
fn refuses(options: Options, more: &Value) -> Option<Reason> {
    reason(&policy(options, vec![shared()]), &sign(&claims(more)))
}

fn elliptic(algorithm: &'static rcgen::SignatureAlgorithm) -> rcgen::KeyPair {
    rcgen::KeyPair::generate_for(algorithm).unwrap()
}

fn rfc_7515(algorithm: Alg, jwk: &Value, header_and_signature: (&str, &str)) {
    let (header, signature) = header_and_signature;
    let token = format!("{header}.{RFC_7515_CLAIMS}.{signature}");
    let options = Options { algorithms: vec![algorithm], whole_site: true, ..Options::default() };
    let kind = if jwk["kty"] == "oct" { KeyKind::Shared } else { KeyKind::Public };
    let policy = policy(options, vec![key("rfc", kind, jwk.to_string())]);
    let at = |now| {
        admit_at(&policy, &token, &Presented::get("/", now)).map(|admission| {
            let terms = admission.terms();
            assert_eq!(terms.claims.get("iss"), Some("joe"));
            assert_eq!(terms.claims.get("http://example.com/is_root"), Some("true"));
            assert_eq!(&*admission.verdict.key_id, "rfc");
        })
    };
    assert_eq!(at(1_300_819_379), Ok(()));
    assert_eq!(at(1_300_819_380), Err(Reason::Expired));
}

#[test]
fn the_vectors_of_rfc_7515_are_admitted_until_they_end() {
    rfc_7515(
        Alg::HS256,
        &json!({ "kty": "oct",
            "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow" }),
        ("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
    );
    rfc_7515(
        Alg::RS256,
        &json!({ "kty": "RSA", "e": "AQAB",
            "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL\
-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2\
CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuX\
poQ" }),
        (
            "eyJhbGciOiJSUzI1NiJ9",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJ\
dbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12\
jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
    );
    rfc_7515(
        Alg::ES256,
        &json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }),
        (
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
    );
}

#[test]
fn each_kind_of_key_verifies_with_its_own_algorithms_alone() {
    let rsa = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&rsa).unwrap();
    let rsa = rcgen::KeyPair::try_from(der.as_ref()).unwrap();
    let p256 = elliptic(&rcgen::PKCS_ECDSA_P256_SHA256);
    let p384 = elliptic(&rcgen::PKCS_ECDSA_P384_SHA384);
    let edwards = elliptic(&rcgen::PKCS_ED25519);
    let kinds: [(&[Alg], &rcgen::KeyPair); 4] = [
        (&[Alg::RS256, Alg::RS384, Alg::RS512, Alg::PS256, Alg::PS384, Alg::PS512], &rsa),
        (&[Alg::ES256], &p256),
        (&[Alg::ES384], &p384),
        (&[Alg::EdDSA], &edwards),
    ];
    let all: Vec<Alg> = kinds.iter().flat_map(|(algs, _)| algs.iter().copied()).chain([Alg::HS256]).collect();
    for (place, (algs, pair)) in kinds.iter().enumerate() {
        let private = key("own", KeyKind::Private, pair.serialize_pem());
        for alg in *algs {
            let token = Signer::new(&private, *alg, None).unwrap().sign(&claims(&json!({}))).unwrap();
            for (other, (_, pair)) in kinds.iter().enumerate() {
                let public = key("public", KeyKind::Public, pair.public_key_pem());
                let options = Options { algorithms: all.clone(), ..options() };
                let expected = (place != other).then_some(Reason::BadMac);
                assert_eq!(
                    reason(&policy(options, vec![public.clone()]), &token),
                    expected,
                    "{alg:?} {other}"
                );
                let allowed: Vec<Alg> = all.iter().copied().filter(|known| known != alg).collect();
                let options = Options { algorithms: allowed, ..self::options() };
                assert_eq!(reason(&policy(options, vec![public]), &token), Some(Reason::BadMac), "{alg:?}");
            }
        }
        for alg in all.iter().filter(|alg| !algs.contains(alg)) {
            assert_eq!(Signer::new(&private, *alg, None).unwrap_err(), SignError::Key, "{alg:?} {place}");
        }
    }
}

/// A public key is known to everybody: as a shared secret it must verify nothing.
#[test]
fn a_public_key_is_no_shared_secret() {
    let pair = elliptic(&rcgen::PKCS_ECDSA_P256_SHA256);
    let pem = pair.public_key_pem();
    let options = Options { algorithms: vec![Alg::HS256, Alg::ES256], ..options() };
    let policy = policy(options, vec![key("k1", KeyKind::Public, pem.trim())]);
    for secret in [pem.trim().as_bytes().to_vec(), pem.as_bytes().to_vec(), pair.public_key_raw().to_vec()] {
        let forged = key("k1", KeyKind::Shared, secret);
        for kid in [None, Some("k1")] {
            let token = Signer::new(&forged, Alg::HS256, kid).unwrap().sign(&claims(&json!({}))).unwrap();
            assert_eq!(reason(&policy, &token), Some(Reason::BadMac));
        }
    }
}

fn with_header(header: &Value) -> String {
    let signed = format!(
        "{}.{}",
        super::super::jws::encode(header.to_string()),
        super::super::jws::encode(claims(&json!({})).to_string())
    );
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{signed}.{signature}")
}

#[test]
fn a_header_that_asks_for_more_than_a_key_is_refused() {
    let policy = policy(options(), vec![shared()]);
    assert_eq!(reason(&policy, &with_header(&json!({ "alg": "HS256", "typ": "JWT" }))), None);
    for (more, expected) in [
        (json!({ "crit": ["exp"] }), Reason::UnsupportedClaim),
        (json!({ "b64": false }), Reason::UnsupportedClaim),
        (json!({ "jku": "https://evil.example/jwks" }), Reason::UnsupportedClaim),
        (json!({ "x5u": "https://evil.example/cert" }), Reason::UnsupportedClaim),
        (json!({ "jwk": { "kty": "oct", "k": "AAAA" } }), Reason::UnsupportedClaim),
        (json!({ "cty": "JWT" }), Reason::UnsupportedClaim),
        (json!({ "kid": 1 }), Reason::Malformed),
        (json!({ "kid": "k2" }), Reason::UnknownKey),
        (json!({ "alg": "none" }), Reason::BadMac),
        (json!({ "alg": "NONE" }), Reason::BadMac),
        (json!({ "alg": "hs256" }), Reason::BadMac),
        (json!({ "alg": "HS512" }), Reason::BadMac),
        (json!({ "alg": null }), Reason::Malformed),
    ] {
        let mut header = json!({ "alg": "HS256" });
        for (name, value) in more.as_object().unwrap() {
            header[name] = value.clone();
        }
        assert_eq!(reason(&policy, &with_header(&header)), Some(expected), "{header}");
    }
}

#[test]
fn a_token_without_a_signature_is_none() {
    let policy = policy(Options { algorithms: vec![Alg::HS256], ..options() }, vec![shared()]);
    let good = sign(&claims(&json!({})));
    let unsigned = &good[..=good.rfind('.').unwrap()];
    let none =
        format!("{}.{}.", super::super::jws::encode(r#"{"alg":"none"}"#), good.split('.').nth(1).unwrap());
    for token in [unsigned, none.as_str(), "", ".", "..", "a.b.c", &good.replace('.', "")] {
        assert_eq!(reason(&policy, token), Some(Reason::Malformed), "{token}");
    }
    assert_eq!(reason(&policy, &format!("{good}.x")), Some(Reason::Malformed));
}

fn no_flipped_bit_is_admitted(policy: &Policy, good: &str) {
    assert_eq!(reason(policy, good), None);
    for place in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.as_bytes().to_vec();
            bytes[place] ^= 1 << bit;
            // What is no UTF-8 cannot stand in a request's target as text.
            let Ok(spoilt) = String::from_utf8(bytes) else { continue };
            assert!(admit(policy, &spoilt).is_err(), "bit {bit} of byte {place}: {spoilt}");
        }
    }
}

#[test]
fn a_token_with_any_bit_flipped_is_refused() {
    no_flipped_bit_is_admitted(&policy(options(), vec![shared()]), &sign(&claims(&json!({ "sid": "s1" }))));
    let pair = elliptic(&rcgen::PKCS_ED25519);
    let private = key("k1", KeyKind::Private, pair.serialize_pem());
    let token = Signer::new(&private, Alg::EdDSA, Some("k1")).unwrap().sign(&claims(&json!({}))).unwrap();
    let options = Options { algorithms: vec![Alg::EdDSA], ..options() };
    let public = key("k1", KeyKind::Public, pair.public_key_pem());
    no_flipped_bit_is_admitted(&policy(options, vec![public]), &token);
}

#[test]
fn a_token_has_one_spelling() {
    let policy = policy(options(), vec![shared()]);
    let good = sign(&claims(&json!({})));
    assert_eq!(reason(&policy, &good), None);
    for spoilt in [
        format!("{good}="),
        format!("{good}%3D"),
        good.replacen('.', ".=", 1),
        format!(" {good}").replace(' ', "%20"),
        good.replacen('.', "..", 1),
    ] {
        assert!(admit(&policy, &spoilt).is_err(), "{spoilt}");
    }
    // 32 bytes leave two bits over in the last character; those must be zero.
    let last = good.chars().last().unwrap();
    let same = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars().filter(|c| {
        let token = format!("{}{c}", &good[..good.len() - 1]);
        admit(&policy, &token).is_ok()
    });
    assert_eq!(same.collect::<Vec<_>>(), [last]);
}

#[test]
fn a_claim_named_twice_is_malformed() {
    let policy = policy(options(), vec![shared()]);
    let text = format!(r#"{{"exp":{},"path":"/vod","path":"/live"}}"#, NOW + 600);
    let header = super::super::jws::encode(r#"{"alg":"HS256"}"#);
    let signed = format!("{header}.{}", super::super::jws::encode(text));
    let secret = jsonwebtoken::EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &secret, Algorithm::HS256).unwrap();
    assert_eq!(reason(&policy, &format!("{signed}.{signature}")), Some(Reason::Malformed));
}

#[test]
fn times_are_held_to() {
    for (more, expected) in [
        (json!({ "exp": NOW }), Some(Reason::Expired)),
        (json!({ "exp": NOW + 1 }), None),
        (json!({ "exp": 1_700_000_000.9 }), Some(Reason::Expired)),
        (json!({ "nbf": NOW }), None),
        (json!({ "nbf": NOW + 1 }), Some(Reason::NotYet)),
        (json!({ "nbf": 1_700_000_000.1 }), Some(Reason::NotYet)),
        (json!({ "exp": "soon" }), Some(Reason::Malformed)),
        (json!({ "exp": -1 }), Some(Reason::Malformed)),
        (json!({ "exp": null }), Some(Reason::Malformed)),
        (json!({ "nbf": [] }), Some(Reason::Malformed)),
    ] {
        assert_eq!(refuses(options(), &more), expected, "{more}");
    }
    let endless = sign(&json!({ "path": "/live" }));
    assert_eq!(reason(&policy(options(), vec![shared()]), &endless), Some(Reason::Malformed));
    let allowing = Options { allow_without_exp: true, ..options() };
    assert_eq!(reason(&policy(allowing, vec![shared()]), &endless), None);
}

#[test]
fn issuer_and_audience_are_held_to() {
    let issuers = |keys: &[&str]| Options {
        issuers: BTreeMap::from([("a".to_owned(), keys.iter().map(|key| (*key).to_owned()).collect())]),
        ..options()
    };
    assert_eq!(refuses(issuers(&[]), &json!({ "iss": "a" })), None);
    assert_eq!(refuses(issuers(&["k1"]), &json!({ "iss": "a" })), None);
    assert_eq!(refuses(issuers(&[]), &json!({ "iss": "b" })), Some(Reason::Issuer));
    assert_eq!(refuses(issuers(&[]), &json!({})), Some(Reason::Issuer));
    assert_eq!(refuses(issuers(&[]), &json!({ "iss": 1 })), Some(Reason::Malformed));
    // A key of another issuer: without `kid` it is not tried, with it it is not its own.
    assert_eq!(refuses(issuers(&["k2"]), &json!({ "iss": "a" })), Some(Reason::BadMac));
    let token = Signer::new(&shared(), Alg::HS256, Some("k1")).unwrap().sign(&claims(&json!({ "iss": "a" })));
    assert_eq!(reason(&policy(issuers(&["k2"]), vec![shared()]), &token.unwrap()), Some(Reason::Issuer));

    let audiences = |names: &[&str]| Options {
        audiences: names.iter().map(|name| (*name).to_owned()).collect(),
        ..options()
    };
    assert_eq!(refuses(options(), &json!({ "aud": "x" })), Some(Reason::Audience));
    assert_eq!(refuses(audiences(&["*"]), &json!({ "aud": "x" })), None);
    assert_eq!(refuses(audiences(&["x"]), &json!({ "aud": "x" })), None);
    assert_eq!(refuses(audiences(&["x"]), &json!({ "aud": ["y", "x"] })), None);
    assert_eq!(refuses(audiences(&["x"]), &json!({ "aud": ["y"] })), Some(Reason::Audience));
    assert_eq!(refuses(audiences(&["x"]), &json!({})), Some(Reason::Audience));
    assert_eq!(refuses(audiences(&["x"]), &json!({ "aud": ["x", 1] })), Some(Reason::Malformed));
}

#[test]
fn each_rule_of_paths_opens_what_it_says() {
    let opens = |rule, value: Value, path: &str| {
        let options = Options { claims: BTreeMap::from([("p".into(), rule)]), ..Options::default() };
        let policy = policy(Options { algorithms: vec![Alg::HS256], ..options }, vec![shared()]);
        let token = sign(&json!({ "exp": NOW + 600, "p": value }));
        admit_at(&policy, &token, &Presented::get(path, NOW)).err()
    };
    for (rule, value, opened, closed) in [
        (Rule::Exact, json!("/a/b"), &["/a/b"][..], &["/a/b/", "/a/bc", "/a", "/A/b"][..]),
        (Rule::Exact, json!(["/a", "/b c"]), &["/a", "/b%20c"], &["/c", "/"]),
        (
            Rule::Prefix,
            json!("/a"),
            &["/a", "/a/", "/a/b"],
            &["/ab", "/", "/b/a", "/a/..%2Fb", "/a/%2E%2E%2Fb"],
        ),
        (Rule::Prefix, json!("/a/"), &["/a/", "/a/b"], &["/a", "/ab"]),
        (Rule::Prefix, json!(["/a", "/b"]), &["/a/x", "/b/x"], &["/c/x"]),
        (Rule::Glob, json!("/a/*!/b/?.ts"), &["/a/x/y", "/b/1.ts"], &["/b/12.ts", "/c"]),
        (Rule::Glob, json!(["/a/*", "/b"]), &["/a/x", "/b"], &["/b/x"]),
        (Rule::Regex, json!("/a/[0-9]+"), &["/a/1", "/a/123"], &["/a/", "/a/1x", "/x/a/1", "/a/1/b"]),
        (Rule::Regex, json!("/a|/b"), &["/a", "/b"], &["/ab", "/a/b"]),
        (Rule::Regex, json!(["/a", "/b"]), &["/a", "/b"], &["/c"]),
    ] {
        for path in opened {
            assert_eq!(opens(rule, value.clone(), path), None, "{rule:?} {value} {path}");
        }
        for path in closed {
            assert_eq!(opens(rule, value.clone(), path), Some(Reason::Path), "{rule:?} {value} {path}");
        }
    }
    for (rule, value) in [
        (Rule::Exact, json!("a")),
        (Rule::Prefix, json!("")),
        (Rule::Prefix, json!(1)),
        (Rule::Prefix, json!(["/a", null])),
        (Rule::Glob, json!({})),
        (Rule::Regex, json!("(")),
        (Rule::Regex, json!("a)|(.*")),
        (Rule::Regex, json!("(?:x{1000}){1000}")),
        (Rule::Regex, json!("(".repeat(100) + &")".repeat(100))),
    ] {
        assert_eq!(opens(rule, value.clone(), "/a"), Some(Reason::UnsupportedClaim), "{rule:?} {value}");
    }
}

#[test]
fn an_empty_list_opens_nothing() {
    for rule in [Rule::Exact, Rule::Prefix, Rule::Glob, Rule::Regex] {
        assert_eq!(refuses(with_claim("p", rule), &json!({ "p": [] })), Some(Reason::Path), "{rule:?}");
    }
}

#[test]
fn without_a_claim_of_paths_a_token_opens_the_site_only_where_the_policy_says_so() {
    let token = sign(&json!({ "exp": NOW + 600 }));
    assert_eq!(reason(&policy(options(), vec![shared()]), &token), Some(Reason::Path));
    let whole = Options { whole_site: true, ..options() };
    assert_eq!(reason(&policy(whole.clone(), vec![shared()]), &token), None);
    assert_eq!(refuses(whole, &json!({ "path": "/vod" })), Some(Reason::Path), "a claim still holds");
}

#[test]
fn several_claims_of_paths_hold_together() {
    let options = || with_claim("glob", Rule::Glob);
    assert_eq!(refuses(options(), &json!({ "glob": "*.ts" })), None);
    assert_eq!(refuses(options(), &json!({ "glob": "*.mp4" })), Some(Reason::Path));
    assert_eq!(refuses(options(), &json!({ "glob": "*", "path": "/vod" })), Some(Reason::Path));
}

#[test]
fn claims_about_the_request_are_held_to() {
    let rule = |rule| with_claim("c", rule);
    assert_eq!(refuses(rule(Rule::Ip), &json!({ "c": "127.0.0.1" })), None);
    assert_eq!(refuses(rule(Rule::Ip), &json!({ "c": "::ffff:127.0.0.1" })), None);
    assert_eq!(refuses(rule(Rule::Ip), &json!({ "c": ["10.0.0.0/8", "127.0.0.0/8"] })), None);
    assert_eq!(refuses(rule(Rule::Ip), &json!({ "c": "192.0.2.1" })), Some(Reason::Ip));
    assert_eq!(refuses(rule(Rule::Ip), &json!({ "c": [] })), Some(Reason::Ip));
    assert_eq!(refuses(rule(Rule::Ip), &json!({ "c": "localhost" })), Some(Reason::UnsupportedClaim));
    assert_eq!(refuses(rule(Rule::Method), &json!({ "c": ["get"] })), None);
    assert_eq!(refuses(rule(Rule::Method), &json!({ "c": "HEAD" })), Some(Reason::Method));
    assert_eq!(refuses(rule(Rule::Country), &json!({ "c": "se" })), Some(Reason::Geo));
    assert_eq!(refuses(rule(Rule::Host), &json!({ "c": "a.example" })), Some(Reason::Host));
    let policy = policy(rule(Rule::Host), vec![shared()]);
    let request = Presented { host: "A.example:80", ..Presented::get("/live/a.ts", NOW) };
    let token = sign(&claims(&json!({ "c": ["b.example", "a.Example"] })));
    assert!(admit_at(&policy, &token, &request).is_ok());
}

#[test]
fn what_a_token_says_of_itself_is_told() {
    let mut options = with_claim("max_streams", Rule::Streams);
    options.single_use = true;
    options.claims.insert("acl".into(), Rule::Glob);
    options.claims.remove("path");
    let policy = policy(options.clone(), vec![shared()]);
    let more =
        json!({ "sid": "s", "sub": "u", "jti": 7, "max_streams": 2, "acl": ["/live/*", "/k"], "plan": "hd" });
    let mut claims = claims(&more);
    claims.as_object_mut().unwrap().remove("path");
    let admission = admit(&policy, &sign(&claims)).unwrap();
    let terms = admission.terms();
    assert_eq!((terms.session.as_deref(), terms.subject.as_deref()), (Some("s"), Some("u")));
    assert_eq!((terms.id.as_deref(), terms.once, terms.streams), (Some("7"), true, Some(2)));
    assert_eq!(terms.acl.as_deref(), Some("/live/*!/k"));
    assert_eq!((terms.claims.get("plan"), terms.claims.get("max_streams")), (Some("hd"), Some("2")));
    assert_eq!(terms.claims.get("acl"), None, "a list is no value of a key");
    assert_eq!(terms.expires, Some(NOW + 600));
    let without_id = json!({ "exp": NOW + 600, "acl": "/*" });
    assert_eq!(reason(&policy, &sign(&without_id)), Some(Reason::Malformed));
    let negative = json!({ "exp": NOW + 600, "acl": "/*", "jti": "1", "max_streams": -1 });
    assert_eq!(reason(&policy, &sign(&negative)), Some(Reason::UnsupportedClaim));
}

#[test]
fn a_key_is_chosen_by_its_name_and_without_one_each_is_tried() {
    let second = key("k2", KeyKind::Shared, [b'x'; 32]);
    let policy = policy(options(), vec![shared(), second.clone()]);
    let signed = |kid| Signer::new(&second, Alg::HS256, kid).unwrap().sign(&claims(&json!({}))).unwrap();
    assert_eq!(&*admit(&policy, &signed(None)).unwrap().verdict.key_id, "k2");
    assert_eq!(&*admit(&policy, &signed(Some("k2"))).unwrap().verdict.key_id, "k2");
    assert_eq!(reason(&policy, &signed(Some("k1"))), Some(Reason::BadMac));
    assert_eq!(reason(&policy, &signed(Some("k3"))), Some(Reason::UnknownKey));
}

#[test]
fn the_keys_of_a_set_verify_and_those_of_no_use_are_left_out() {
    let pair = elliptic(&rcgen::PKCS_ECDSA_P256_SHA256);
    let point = pair.public_key_raw();
    let (x, y) = point[1..].split_at(32);
    let jwk = |more: Value| {
        let mut jwk = json!({ "kty": "EC", "crv": "P-256", "kid": "a",
            "x": super::super::jws::encode(x), "y": super::super::jws::encode(y) });
        for (name, value) in more.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    };
    let private = key("a", KeyKind::Private, pair.serialize_pem());
    let token = Signer::new(&private, Alg::ES256, Some("a")).unwrap().sign(&claims(&json!({}))).unwrap();
    let with = |keys: Value| {
        let options = Options {
            algorithms: vec![Alg::ES256],
            jwks: Some(Jwks::Text(json!({ "keys": keys }).to_string())),
            ..options()
        };
        reason(&policy(options, Vec::new()), &token)
    };
    assert_eq!(with(json!([jwk(json!({}))])), None);
    assert_eq!(with(json!([{ "kty": "XX" }, 1, jwk(json!({ "use": "sig", "alg": "ES256" }))])), None);
    for more in [
        json!({ "use": "enc" }),
        json!({ "kid": "b" }),
        json!({ "crv": "P-384" }),
        json!({ "x": "AAAA" }),
        json!({ "kty": "oct" }),
    ] {
        assert_eq!(with(json!([jwk(more.clone())])), Some(Reason::UnknownKey), "{more}");
    }
    assert_eq!(with(json!([jwk(json!({ "alg": "ES384" }))])), Some(Reason::BadMac));
}

#[test]
fn a_removed_key_counts_no_more_once_verdicts_are_forgotten() {
    let policy = policy(options(), vec![shared()]);
    let token = sign(&claims(&json!({})));
    let first = admit(&policy, &token).unwrap();
    assert!(Arc::ptr_eq(&first.verdict, &admit(&policy, &token).unwrap().verdict), "kept");
    policy.forget();
    assert!(!Arc::ptr_eq(&first.verdict, &admit(&policy, &token).unwrap().verdict), "found out anew");
}

proptest! {
    #[test]
    fn what_is_signed_is_admitted_and_nothing_else(
        secret in prop::collection::vec(any::<u8>(), 32..100),
        path in "(/[a-zA-Z0-9_.~-]{0,7}x){1,4}",
        alg in prop::sample::select(vec![Alg::HS256, Alg::HS384, Alg::HS512]),
        life in 1_u64..1_000_000,
        sub in "\\PC{0,20}",
    ) {
        let key = |bytes: &[u8]| key("k1", KeyKind::Shared, [b"x", bytes].concat());
        let of = |algorithms: Vec<Alg>, bytes: &[u8]| {
            policy(Options { algorithms, ..with_claim("host", Rule::Host) }, vec![key(bytes)])
        };
        let claims = json!({ "exp": NOW + life, "path": path, "host": "h", "sub": &sub });
        let token = Signer::new(&key(&secret), alg, Some("k1")).unwrap().sign(&claims).unwrap();
        let request = Presented { host: "h", ..Presented::get(&path, NOW) };
        let policy = of(vec![alg], &secret);
        let admitted = admit_at(&policy, &token, &request);
        prop_assert!(admitted.is_ok(), "{token} for {path}: {admitted:?}");
        prop_assert_eq!(admitted.unwrap().terms().subject.clone(), Some(sub));
        let reason = |policy: &Policy, request: &Presented<'_>| admit_at(policy, &token, request).err();
        for elsewhere in [format!("/UP{path}"), format!("{path}x")] {
            let other = Presented { path: &elsewhere, normal: &elsewhere, ..request };
            prop_assert_eq!(reason(&policy, &other), Some(Reason::Path));
        }
        prop_assert_eq!(reason(&policy, &Presented { host: "hh", ..request }), Some(Reason::Host));
        prop_assert_eq!(reason(&policy, &Presented { now_unix: NOW + life, ..request }), Some(Reason::Expired));
        prop_assert_eq!(reason(&of(vec![alg], &[&secret[..], &[1]].concat()), &request), Some(Reason::BadMac));
        let others = [Alg::HS256, Alg::HS384, Alg::HS512].into_iter().filter(|other| *other != alg).collect();
        prop_assert_eq!(reason(&of(others, &secret), &request), Some(Reason::BadMac));
    }

    #[test]
    fn no_text_is_admitted_without_the_key(text in "(eyJhbGciOiJIUzI1NiJ9|eyJhbGciOiJub25lIn0|e30|\\.|[A-Za-z0-9_-]{43}|\\PC){0,8}") {
        prop_assert!(admit(&policy(options(), vec![shared()]), &text).is_err());
    }
}

#[test]
fn expressions_are_bounded_together_and_so_is_the_path_they_are_compared_with() {
    let policy = || policy(with_claim("r", Rule::Regex), vec![shared()]);
    let refused = |expressions: Vec<String>, path: &str| {
        let token = sign(&json!({ "exp": NOW + 600, "r": expressions }));
        probe::refusal(&policy(), "token", &token, &Presented::get(path, NOW))
    };
    let one = "/live/[a-z]*".to_owned();
    assert_eq!(refused(vec![one.clone()], "/live/a"), None);
    assert_eq!(refused(vec!["/x".into(), one.clone(), "/y".into()], "/live/a"), None);
    assert_eq!(refused(vec!["/x)|(/live/a".into(), one.clone()], "/live/a"), Some(Reason::UnsupportedClaim));
    let many = |count: usize| vec!["/live/[a-z]".to_owned(); count];
    assert_eq!(refused(many(scope::REGEX_TEXT_BYTES_MAX / 11), "/live/a"), None);
    assert_eq!(
        refused(many(scope::REGEX_TEXT_BYTES_MAX / 11 + 1), "/live/a"),
        Some(Reason::UnsupportedClaim)
    );
    let path = |bytes: usize| format!("/live/{}", "a".repeat(bytes - "/live/".len()));
    assert_eq!(refused(vec![one.clone()], &path(scope::MATCHED_BYTES_MAX)), None);
    assert_eq!(refused(vec![one], &path(scope::MATCHED_BYTES_MAX + 1)), Some(Reason::Path));
}
