#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::admission::token::jws::keys::Secret as Encryption;
use crate::admission::token::{Admission, Policy};
use crate::config::formats::cdni::Cdni as Options;
use crate::config::formats::jwks::Jwks;
use crate::config::formats::jwt::Alg;
use crate::config::model::{KeyKind, Secret, TokenFormat, TokenPlace, TokenPolicy};

const NOW: u64 = 1_700_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// The set of RFC 9246 appendix A, public half.
const RFC_KEYS: &str = r#"{ "keys": [
  { "kty": "EC", "kid": "P5UpOv0eMq1wcxLf7WxIg09JdSYGYFDOWkldueaImf0", "use": "sig", "alg": "ES256", "crv": "P-256",
    "x": "be807S4O7dzB6I4hTiCUvmxCI6FuxWba1xYBlLSSsZ8", "y": "rOGC4vI69g-WF9AGEVI37sNNwbjIzBxSjLvIL7f3RBA" },
  { "kty": "oct", "kid": "f-WbjxBC3dPuI3d24kP2hfvos7Qz688UTi6aB0hN998", "use": "enc", "alg": "A128GCM",
    "k": "4uFxxV7fhNmrtiah2d1fFg" }
] }"#;

/// Appendix A.1.
const SIMPLE: &str = "\
eyJhbGciOiJFUzI1NiIsImtpZCI6IlA1VXBPdjBlTXExd2N4TGY3V3hJZzA5SmRTWUdZRkRPV2tsZHVlYUltZjAifQ.eyJleHAiOjE2NDY4Njc\
zNjksImlzcyI6InVDRE4gSW5jIiwiY2RuaXVjIjoiaGFzaDpzaGEtMjU2OzJ0ZGVyZldQYTg2S3U3WW56VzUxWVVwN2RHVWpCU18zU1czRUx4N\
GhtV1kifQ.TaNlJM3D96i_9J9XvlICO6FUIDFTqt3E2YJkEUOLfcH0b89wYRKTbJ9Yj6h_GRgSoZoQO0cps3yUPcWGK3smCw";

/// Appendix A.2.
const COMPLEX: &str = "\
eyJhbGciOiJFUzI1NiIsImtpZCI6IlA1VXBPdjBlTXExd2N4TGY3V3hJZzA5SmRTWUdZRkRPV2tsZHVlYUltZjAifQ.eyJhdWQiOiJkQ0ROIEx\
MQyIsInN1YiI6ImV5SmxibU1pT2lKQk1USTRSME5OSWl3aVlXeG5Jam9pWkdseUlpd2lhMmxrSWpvaVppMVhZbXA0UWtNelpGQjFTVE5rTWpSc\
lVESm9ablp2Y3pkUmVqWTRPRlZVYVRaaFFqQm9Uams1T0NKOS4uQ0xBdTgweGNsYzhCcC1VaS42UDFBM0Y2aXAyRHYuQ29oZHRMTHBnQm5UdlJ\
KUUNGdXotZyIsImNkbmlpcCI6ImV5SmxibU1pT2lKQk1USTRSME5OSWl3aVlXeG5Jam9pWkdseUlpd2lhMmxrSWpvaVppMVhZbXA0UWtNelpGQ\
jFTVE5rTWpSclVESm9ablp2Y3pkUmVqWTRPRlZVYVRaaFFqQm9Uams1T0NKOS4uYVVEREZFUUJJYzNuV2pPYi5iR1hXVEhQa250bVBDS24wcFB\
QTkVRLml5VHR0bkZ5Yk8yWUJMcXdsX1lTakEiLCJjZG5pdiI6MSwiZXhwIjoxNjQ2ODY3MzY5LCJpYXQiOjE2NDY2OTQ1NjksImlzcyI6InVDR\
E4gSW5jIiwianRpIjoiNURBYWZMaFpBZmhzYmUiLCJuYmYiOjE2NDY3ODA5NjksImNkbml1YyI6InJlZ2V4Omh0dHA6Ly9jZG5pXFwuZXhhbXB\
sZS9mb28vYmFyL1swLTldezN9XFwucG5nIn0.IjmVX0uD5MYqArc-M08uEsEeoDQn8kuYXZ9HGHDmDDxsHikT0c8jcX8xYD0z3LzQclMG65i1k\
T2sRbZ7isUw8w";

/// Appendix A.3, the first.
const CHAINED: &str = "\
eyJhbGciOiJFUzI1NiIsImtpZCI6IlA1VXBPdjBlTXExd2N4TGY3V3hJZzA5SmRTWUdZRkRPV2tsZHVlYUltZjAifQ.eyJjZG5pZXRzIjozMCw\
iY2RuaXN0dCI6MSwiY2RuaXN0ZCI6MiwiZXhwIjoxNjQ2ODY3MzY5LCJjZG5pdWMiOiJyZWdleDpodHRwOi8vY2RuaVxcLmV4YW1wbGUvZm9vL\
2Jhci9bMC05XXszfVxcLnRzIn0.tlPvoKw3BCClw4Lx9PQu7MK6b2IN55ZoCPSaxovGK0zS53Wpb1MbJBow7G8LiGR39h6-2Iq7PWUSr3MdTIz\
HYw";

/// Appendix A.3, the one that follows it.
const RENEWED: &str = "\
eyJhbGciOiJFUzI1NiIsImtpZCI6IlA1VXBPdjBlTXExd2N4TGY3V3hJZzA5SmRTWUdZRkRPV2tsZHVlYUltZjAifQ.eyJjZG5pZXRzIjozMCw\
iY2RuaXN0dCI6MSwiY2RuaXN0ZCI6MiwiZXhwIjoxNjQ2ODY3Mzk5LCJjZG5pdWMiOiJyZWdleDpodHRwOi8vY2RuaVxcLmV4YW1wbGUvZm9vL\
2Jhci9bMC05XXszfVxcLnRzIn0.ivY5d_fKGd-OHTpUs8uJUrnHvt-rduzu5H4zM7167pUUAghub53FqDQ5G16jRYX2sY73mA_uLpYDdb-CPts\
8FA";

/// Appendix A.2: `cdniip`.
const ADDRESS: &str = "\
eyJlbmMiOiJBMTI4R0NNIiwiYWxnIjoiZGlyIiwia2lkIjoiZi1XYmp4QkMzZFB1STNkMjRrUDJoZnZvczdRejY4OFVUaTZhQjBoTjk5OCJ9..\
aUDDFEQBIc3nWjOb.bGXWTHPkntmPCKn0pPPNEQ.iyTttnFybO2YBLqwl_YSjA";

/// Appendix A.2: `sub`.
const SUBJECT: &str = "\
eyJlbmMiOiJBMTI4R0NNIiwiYWxnIjoiZGlyIiwia2lkIjoiZi1XYmp4QkMzZFB1STNkMjRrUDJoZnZvczdRejY4OFVUaTZhQjBoTjk5OCJ9..\
CLAu80xclc8Bp-Ui.6P1A3F6ip2Dv.CohdtLLpgBnTvRJQCFuz-g";

fn key(id: &str, kind: KeyKind, bytes: impl AsRef<[u8]>) -> TokenKey {
    TokenKey { id: id.into(), kind, bytes: Secret(bytes.as_ref().to_vec()) }
}

fn shared() -> TokenKey {
    key("k1", KeyKind::Shared, SECRET)
}

fn policy(options: Options, keys: Vec<TokenKey>) -> Policy {
    Policy::from_config(&TokenPolicy::new("cdni", TokenFormat::Cdni(options), keys), 1 << 20)
}

fn rfc_policy() -> Policy {
    let options = Options {
        jwks: Some(Jwks::Text(RFC_KEYS.into())),
        issuers: BTreeMap::from([("uCDN Inc".into(), Vec::new())]),
        audiences: vec!["dCDN LLC".into()],
        ..Options::default()
    };
    policy(options, Vec::new())
}

fn own_options() -> Options {
    Options { algorithms: vec![Alg::HS256], ..Options::default() }
}

fn own() -> Policy {
    policy(own_options(), vec![shared()])
}

fn sign(claims: &Value) -> String {
    Signer::new(&shared(), Alg::HS256, Some("k1")).unwrap().sign(claims).unwrap()
}

/// A request of a client for `http://cdni.example` and this target.
fn request(target: &str, now: u64) -> Presented<'_> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Presented { host: "cdni.example", query, ..Presented::get(path, now) }
}

fn admit(policy: &Policy, token: &str, request: &Presented<'_>) -> Result<Admission, Reason> {
    let token = format!("URISigningPackage={token}");
    let query = request.query.map_or(token.clone(), |query| format!("{query}&{token}"));
    policy.admit(&Presented { query: Some(&query), ..*request }).map_err(|denied| denied.reason)
}

fn reason(policy: &Policy, token: &str, request: &Presented<'_>) -> Option<Reason> {
    admit(policy, token, request).err()
}

/// Why a token that opens everything and says this too is refused.
fn refuses(options: Options, more: &Value) -> Option<Reason> {
    let mut claims = json!({ "cdniuc": "regex:.*" });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let keys = vec![shared(), encryption()];
    reason(&policy(options, keys), &sign(&claims), &request("/a/b.ts", NOW))
}

fn encryption() -> TokenKey {
    let jwk = json!({ "kty": "oct", "use": "enc", "kid": "e", "k": super::super::jws::encode([9; 16]) });
    key("e", KeyKind::Shared, jwk.to_string())
}

#[test]
fn the_simple_vector_opens_its_uri_until_it_ends() {
    let policy = rfc_policy();
    let at = |target, now| reason(&policy, SIMPLE, &request(target, now));
    assert_eq!(at("/foo/bar", 1_646_867_368), None);
    assert_eq!(at("/foo/bar", 1_646_867_369), Some(Reason::Expired));
    assert_eq!(at("/foo/baz", 1_646_867_368), Some(Reason::Path));
    assert_eq!(at("/foo/bar?x=1", 1_646_867_368), Some(Reason::Path));
    assert_eq!(
        hash_of("http://cdni.example/foo/bar"),
        "hash:sha-256;2tderfWPa86Ku7YnzW51YUp7dGUjBS_3SW3ELx4hmWY"
    );
    let secure = Presented { secure: true, ..request("/foo/bar", NOW - 60_000_000) };
    assert_eq!(reason(&policy, SIMPLE, &secure), Some(Reason::Path), "https is another scheme");
}

#[test]
fn the_complex_vector_holds_in_every_claim() {
    let policy = rfc_policy();
    let client = |address: &str| Presented {
        client: address.parse().unwrap(),
        ..request("/foo/bar/123.png", 1_646_800_000)
    };
    let admission = admit(&policy, COMPLEX, &client("2001:db8:1::7")).unwrap();
    let terms = admission.terms();
    assert_eq!(
        (terms.subject.as_deref(), terms.id.as_deref(), terms.once),
        (Some("UserToken"), Some("5DAafLhZAfhsbe"), true)
    );
    assert_eq!(reason(&policy, COMPLEX, &client("2001:db9::1")), Some(Reason::Ip));
    assert_eq!(reason(&policy, COMPLEX, &client("192.0.2.1")), Some(Reason::Ip));
    let at = |path, now| Presented { client: "2001:db8::1".parse().unwrap(), ..request(path, now) };
    assert_eq!(reason(&policy, COMPLEX, &at("/foo/bar/123.png", 1_646_780_968)), Some(Reason::NotYet));
    assert_eq!(reason(&policy, COMPLEX, &at("/foo/bar/123.png", 1_646_780_969)), None);
    assert_eq!(reason(&policy, COMPLEX, &at("/foo/bar/1234.png", 1_646_800_000)), Some(Reason::Path));
}

#[test]
fn the_renewed_vector_follows_from_the_first() {
    let policy = rfc_policy();
    let (first, second) = (Jws::parse(CHAINED).unwrap().claims, Jws::parse(RENEWED).unwrap().claims);
    let pair = rcgen::KeyPair::generate().unwrap();
    let renewer = Renewer::new(&key("own", KeyKind::Private, pair.serialize_pem()), None).unwrap();
    let request = request("/foo/bar/001.ts", 1_646_867_369);
    let next = renewed(&renewer.renew(&first, &request).unwrap());
    assert_eq!(Jws::parse(&next.0).unwrap().claims, second);
    assert_eq!(next.1, "; Path=/foo/bar; Max-Age=30; HttpOnly");
    for token in [CHAINED, RENEWED] {
        assert_eq!(reason(&policy, token, &self::request("/foo/bar/001.ts", 1_646_867_368)), None);
    }
}

/// The token of a cookie, and what follows it.
fn renewed(renewal: &Renewal) -> (String, String) {
    let Renewal::Fields(fields) = renewal else { panic!("fields") };
    let [(name, value)] = fields.as_slice() else { panic!("one field") };
    assert_eq!(name, "set-cookie");
    let value = value.to_str().unwrap().strip_prefix("URISigningPackage=").unwrap();
    let (token, attributes) = value.split_at(value.find(';').unwrap());
    (token.to_owned(), attributes.to_owned())
}

#[test]
fn encrypted_claims_open_with_their_key_alone() {
    let bytes = super::super::jws::decode("4uFxxV7fhNmrtiah2d1fFg").unwrap();
    let secret = |id: &str, bytes: &[u8]| Encryption { id: id.into(), bytes: bytes.to_vec() };
    let kid = "f-WbjxBC3dPuI3d24kP2hfvos7Qz688UTi6aB0hN998";
    let good = [secret("other", &[1; 16]), secret(kid, &bytes)];
    assert_eq!(jwe::decrypt(ADDRESS, &good).unwrap(), b"[2001:db8::1/32]");
    assert_eq!(jwe::decrypt(SUBJECT, &good).unwrap(), b"UserToken");
    assert_eq!(jwe::decrypt(ADDRESS, &[secret("other", &bytes)]), None);
    assert_eq!(jwe::decrypt(ADDRESS, &[secret(kid, &[1; 16])]), None);
    assert_eq!(jwe::decrypt(ADDRESS, &[secret(kid, &[1; 5])]), None);
    for place in 0..ADDRESS.len() {
        let mut bytes = ADDRESS.as_bytes().to_vec();
        bytes[place] ^= 1;
        let spoilt = String::from_utf8(bytes).unwrap();
        assert_eq!(jwe::decrypt(&spoilt, &good), None, "{spoilt}");
    }
    for spoilt in ["", "....", "a.b.c.d", &format!("{ADDRESS}."), &ADDRESS.replacen("..", ".AAAA.", 1)] {
        assert_eq!(jwe::decrypt(spoilt, &good), None, "{spoilt}");
    }
}

fn encrypted(text: &str, header: &Value, content_key: &[u8], wrapped: &[u8]) -> String {
    use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let encode = |bytes: &[u8]| super::super::jws::encode(bytes);
    let protected = encode(header.to_string().as_bytes());
    let algorithm = if content_key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
    let key = LessSafeKey::new(UnboundKey::new(algorithm, content_key).unwrap());
    let mut sealed = text.as_bytes().to_vec();
    let nonce = Nonce::assume_unique_for_key([3; 12]);
    key.seal_in_place_append_tag(nonce, Aad::from(protected.as_bytes()), &mut sealed).unwrap();
    let (text, tag) = sealed.split_at(sealed.len() - 16);
    [protected, encode(wrapped), encode(&[3; 12]), encode(text), encode(tag)].join(".")
}

#[test]
fn every_form_of_encryption_opens() {
    use aws_lc_rs::key_wrap::{AES_128, AES_256, AesKek, KeyWrap};
    let secrets = |bytes: &[u8]| [Encryption { id: "e".into(), bytes: bytes.to_vec() }];
    for (enc, length) in [("A128GCM", 16), ("A256GCM", 32)] {
        let content_key = vec![5; length];
        let direct = encrypted("x", &json!({ "alg": "dir", "enc": enc }), &content_key, b"");
        assert_eq!(jwe::decrypt(&direct, &secrets(&content_key)).unwrap(), b"x");
        for (alg, size) in [("A128KW", 16), ("A256KW", 32)] {
            let key = vec![6; size];
            let mut buffer = [0; 48];
            let kek = AesKek::new(if size == 16 { &AES_128 } else { &AES_256 }, &key).unwrap();
            let wrapped = kek.wrap(&content_key, &mut buffer).unwrap().to_vec();
            let text = encrypted("x", &json!({ "alg": alg, "enc": enc }), &content_key, &wrapped);
            assert_eq!(jwe::decrypt(&text, &secrets(&key)).unwrap(), b"x", "{alg} {enc}");
            assert_eq!(jwe::decrypt(&text, &secrets(&vec![7; size])), None, "{alg} {enc}");
        }
    }
    for header in [
        json!({ "alg": "dir", "enc": "A128CBC-HS256" }),
        json!({ "alg": "RSA-OAEP", "enc": "A128GCM" }),
        json!({ "alg": "dir", "enc": "A256GCM" }),
        json!({ "alg": "dir", "enc": "A128GCM", "zip": "DEF" }),
        json!({ "alg": "dir", "enc": "A128GCM", "crit": ["x"] }),
        json!({ "alg": "dir", "enc": "A128GCM", "kid": "f" }),
    ] {
        let text = encrypted("x", &header, &[5; 16], b"");
        assert_eq!(jwe::decrypt(&text, &secrets(&[5; 16])), None, "{header}");
    }
}

#[test]
fn each_claim_is_held_to() {
    let audience = || Options { audiences: vec!["us".into()], ..own_options() };
    let address = |text: &str| encrypted(text, &json!({ "alg": "dir", "enc": "A128GCM" }), &[9; 16], b"");
    for (more, expected) in [
        (json!({}), None),
        (json!({ "cdniv": 1 }), None),
        (json!({ "cdniv": 2 }), Some(Reason::UnsupportedClaim)),
        (json!({ "cdniv": "1" }), Some(Reason::UnsupportedClaim)),
        (json!({ "cdnicrit": "x", "x": 1 }), Some(Reason::UnsupportedClaim)),
        (json!({ "cdnicrit": "" }), Some(Reason::UnsupportedClaim)),
        (json!({ "x": 1 }), None),
        (json!({ "iss": "uCDN Inc" }), Some(Reason::Issuer)),
        (json!({ "iss": 1 }), Some(Reason::Malformed)),
        (json!({ "aud": "us" }), None),
        (json!({ "aud": ["them", "us"] }), None),
        (json!({ "aud": "them" }), Some(Reason::Audience)),
        (json!({ "exp": NOW }), Some(Reason::Expired)),
        (json!({ "exp": NOW + 1 }), None),
        (json!({ "nbf": NOW + 1 }), Some(Reason::NotYet)),
        (json!({ "nbf": NOW }), None),
        (json!({ "exp": "1" }), Some(Reason::Malformed)),
        (json!({ "jti": "1" }), None),
        (json!({ "jti": 1 }), Some(Reason::Malformed)),
        (json!({ "sub": 1 }), Some(Reason::Malformed)),
        (json!({ "cdniip": address("127.0.0.1") }), None),
        (json!({ "cdniip": address("127.0.0.0/8") }), None),
        (json!({ "cdniip": address("[::1/128]") }), Some(Reason::Ip)),
        (json!({ "cdniip": address("here") }), Some(Reason::UnsupportedClaim)),
        (json!({ "cdniip": "127.0.0.1" }), Some(Reason::UnsupportedClaim)),
        (json!({ "cdniip": ADDRESS }), Some(Reason::UnsupportedClaim)),
        (json!({ "cdniuc": null }), Some(Reason::Malformed)),
        (json!({ "cdniuc": "path:/a" }), Some(Reason::UnsupportedClaim)),
        (json!({ "cdniuc": "hash:sha-1;AAAA" }), Some(Reason::UnsupportedClaim)),
        (json!({ "cdniuc": "hash:sha-256;AAAA" }), Some(Reason::UnsupportedClaim)),
        (json!({ "cdniuc": "regex:(" }), Some(Reason::UnsupportedClaim)),
        (json!({ "cdnistt": 1 }), Some(Reason::UnsupportedClaim)),
        (json!({ "cdniets": 30 }), Some(Reason::UnsupportedClaim)),
        (json!({ "cdniets": 30, "cdnistt": 0 }), None),
        (json!({ "cdniets": 30, "cdnistt": 1 }), None),
        (json!({ "cdniets": 30, "cdnistt": 2 }), None),
        (json!({ "cdniets": 30, "cdnistt": 3 }), Some(Reason::UnsupportedClaim)),
        (json!({ "cdniets": "30", "cdnistt": 1 }), Some(Reason::UnsupportedClaim)),
        (json!({ "cdniets": 30, "cdnistt": 1, "cdnistd": -1 }), Some(Reason::UnsupportedClaim)),
        (json!({ "cdnistd": 1.5 }), Some(Reason::UnsupportedClaim)),
    ] {
        assert_eq!(refuses(audience(), &more), expected, "{more}");
    }
    assert_eq!(reason(&own(), &sign(&json!({})), &request("/a", NOW)), Some(Reason::Malformed), "no cdniuc");
}

#[test]
fn an_issuer_signs_with_its_own_keys_alone() {
    let options = |keys: &[&str]| Options {
        issuers: BTreeMap::from([("a".into(), keys.iter().map(|key| (*key).to_owned()).collect())]),
        ..own_options()
    };
    assert_eq!(refuses(options(&["k1"]), &json!({ "iss": "a" })), None);
    assert_eq!(refuses(options(&["k2"]), &json!({ "iss": "a" })), Some(Reason::Issuer));
    assert_eq!(refuses(options(&["k1"]), &json!({ "iss": "b" })), Some(Reason::Issuer));
    assert_eq!(refuses(options(&["k1"]), &json!({})), None, "the claim is optional");
}

#[test]
fn a_shared_key_that_renews_signs_for_no_further_issuer() {
    let issuers = BTreeMap::from([("a".into(), vec!["k2".into()])]);
    let options =
        Options { issuers, renewal: Some("k1".into()), renewal_issuer: Some("us".into()), ..own_options() };
    assert_eq!(refuses(options.clone(), &json!({ "iss": "a" })), Some(Reason::Issuer));
    assert_eq!(refuses(options, &json!({ "iss": "us" })), None);
}

#[test]
fn the_uri_is_compared_in_normal_form_and_without_the_token() {
    let opens = |claim: &str, request: &Presented<'_>| {
        reason(&own(), &sign(&json!({ "cdniuc": claim })), request).is_none()
    };
    let hash = |uri: &str| hash_of(uri);
    let at = |host, target| Presented { host, ..request(target, NOW) };
    assert!(opens(&hash("http://cdni.example/a?x=1&y=%2F~"), &at("CDNI.example:80", "/a?x=1&y=%2f%7e")));
    assert!(opens(&hash("http://cdni.example:8080/a"), &at("cdni.example:8080", "/a")));
    assert!(!opens(&hash("http://cdni.example/a"), &at("cdni.example:8080", "/a")));
    assert!(!opens(&hash("http://cdni.example/a"), &at("cdni.example:443", "/a")));
    let secure = Presented { secure: true, ..at("cdni.example:443", "/a") };
    assert!(opens(&hash("https://cdni.example/a"), &secure));
    assert!(opens("regex:http://cdni\\.example/a/.*", &request("/a/b/c.ts?q=1", NOW)));
    assert!(!opens("regex:http://cdni\\.example/a", &request("/a/b", NOW)), "the whole URI");
    assert!(!opens("regex:/a/.*", &request("/a/b", NOW)), "the whole URI");
    assert!(!opens("regex:http://cdni\\.example/a/.*", &request("/a/..%2Fb", NOW)), "a path that climbs");
    let example = "regex:[^:]*\\://[^/]*/folder/content/quality_[^/]*/segment.{3}\\.mp4(\\?.*)?";
    assert!(opens(example, &request("/folder/content/quality_hd/segment001.mp4", NOW)));
    assert!(opens(example, &request("/folder/content/quality_hd/segment001.mp4?a=b", NOW)));
    assert!(!opens(example, &request("/folder/content/quality_hd/x/segment001.mp4", NOW)));
}

#[test]
fn the_token_stands_in_path_query_or_cookie() {
    let policy = own();
    let token = sign(&json!({ "cdniuc": hash_of("http://cdni.example/a/b.ts;v=1?x=1") }));
    let parameter = format!("URISigningPackage={token}");
    let place = |path: &str, query: &str, cookie: Option<&str>| {
        let mut headers = http::HeaderMap::new();
        headers.extend(cookie.map(|cookie| (http::header::COOKIE, cookie.parse().unwrap())));
        let normal = policy.strip_path(path).1;
        let whole = Presented {
            path,
            normal: &normal,
            query: Some(query),
            headers: &headers,
            host: "cdni.example",
            ..Presented::get("/", NOW)
        };
        policy.admit(&whole).map(|admission| admission.place).map_err(|denied| denied.reason)
    };
    let plain = "/a/b.ts;v=1";
    assert_eq!(place(plain, &format!("x=1&{parameter}"), None), Ok(TokenPlace::Query));
    assert_eq!(place(plain, &format!("{parameter}&x=1"), None), Ok(TokenPlace::Query));
    assert_eq!(place(&format!("/a/b.ts;{parameter};v=1"), "x=1", None), Ok(TokenPlace::PathParameter));
    assert_eq!(place(&format!("/a;{parameter}/b.ts;v=1"), "x=1", None), Ok(TokenPlace::PathParameter));
    assert_eq!(place(plain, "x=1", Some(&parameter)), Ok(TokenPlace::Cookie));
    assert_eq!(
        place(&format!("{plain};{parameter}"), &format!("x=1&{parameter}"), None),
        Err(Reason::Malformed)
    );
    assert_eq!(place(plain, "x=1", None), Err(Reason::Missing));
}

#[test]
fn a_renewed_token_carries_all_claims_and_is_admitted() {
    let options = || Options {
        renewal: Some("own".into()),
        renewal_issuer: Some("dCDN".into()),
        issuers: BTreeMap::from([("uCDN".into(), vec!["k1".into()])]),
        audiences: vec!["us".into()],
        ..own_options()
    };
    let pair = rcgen::KeyPair::generate().unwrap();
    let keys = || vec![shared(), key("own", KeyKind::Private, pair.serialize_pem())];
    let policy = policy(options(), keys());
    let token = sign(&json!({ "iss": "uCDN", "aud": "us", "exp": NOW + 5, "iat": NOW - 5, "jti": "first",
        "sub": SUBJECT, "cdniets": 30, "cdnistt": 1, "cdnistd": 1, "cdniuc": "regex:.*", "more": [1, {}] }));
    let (request, _) = (Presented { secure: true, ..request("/live/a/1.ts", NOW) }, ());
    let admission = admit(&policy, &token, &request).unwrap();
    let (next, attributes) = renewed(&policy.renew(&admission, &request).unwrap());
    assert_eq!(attributes, "; Path=/live; Max-Age=30; HttpOnly; Secure; SameSite=None");
    let (before, after) = (Jws::parse(&token).unwrap().claims, Jws::parse(&next).unwrap().claims);
    for (name, value) in before.iter() {
        let expected = match name {
            "iss" => json!("dCDN"),
            "exp" => json!(NOW + 30),
            "iat" => json!(NOW),
            _ => serde_json::to_value(value).unwrap(),
        };
        let found = serde_json::to_value(after.get(name).unwrap()).unwrap();
        assert!(if name == "jti" { found != expected } else { found == expected }, "{name}: {found}");
    }
    assert_eq!(before.iter().count(), after.iter().count());
    let later = Presented { now_unix: NOW + 29, ..request };
    let admission = admit(&policy, &next, &later).unwrap();
    assert_eq!(&*admission.verdict.key_id, "own");
    assert!(policy.renew(&admission, &later).is_some(), "and again");
    let end = Presented { now_unix: NOW + 30, ..request };
    assert_eq!(reason(&policy, &next, &end), Some(Reason::Expired));
}

/// A live playlist is asked for again and again by the URL that the stream began with, the cookie beside it.
#[test]
fn a_renewed_token_in_a_cookie_outlives_the_one_in_the_url_and_hides_none() {
    let options = || Options { renewal: Some("k1".into()), ..own_options() };
    let policy = policy(options(), vec![shared()]);
    let renewing =
        |opens: &str, exp| sign(&json!({ "exp": exp, "cdniuc": opens, "cdniets": 30, "cdnistt": 1 }));
    let first = renewing("regex:.*/live/.*", NOW + 5);
    let start = request("/live/a.m3u8", NOW);
    let admission = admit(&policy, &first, &start).unwrap();
    let (next, _) = renewed(&policy.renew(&admission, &start).unwrap());
    let with = |policy: &Policy, url: &str, cookies: &[&str], now| {
        let cookies: Vec<_> = cookies.iter().map(|token| format!("URISigningPackage={token}")).collect();
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::COOKIE, cookies.join("; ").parse().unwrap());
        let request = Presented { headers: &headers, ..request("/live/a.m3u8", now) };
        admit(policy, url, &request).map(|admission| admission.place)
    };
    assert_eq!(with(&policy, &first, &[&next], NOW + 1), Ok(TokenPlace::Cookie));
    assert_eq!(with(&policy, &first, &[&next], NOW + 29), Ok(TokenPlace::Cookie));
    assert_eq!(with(&policy, &first, &[&next], NOW + 30), Err(Reason::Expired));
    let of_another = renewing("regex:.*/vod/.*", NOW + 99);
    assert_eq!(with(&policy, &first, &[&of_another], NOW), Ok(TokenPlace::Query));
    assert_eq!(with(&policy, &first, &["x"], NOW), Ok(TokenPlace::Query));
    assert_eq!(with(&policy, &first, &[&of_another], NOW + 5), Err(Reason::Expired));
    assert_eq!(with(&policy, &of_another, &["x"], NOW), Err(Reason::Path));
    assert_eq!(with(&policy, &first, &[&next, &next], NOW), Err(Reason::Malformed), "two of one name");
    // Where nothing is renewed, a second one could only hide the first.
    assert_eq!(with(&own(), &first, &[&next], NOW), Err(Reason::Malformed));
}

#[test]
fn a_token_renewed_with_a_json_web_key_is_admitted() {
    let jwk = |more: Value| {
        let mut jwk = json!({ "kty": "oct", "k": super::super::jws::encode(SECRET) });
        jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key("own", KeyKind::Shared, jwk.to_string())
    };
    let token = sign(&json!({ "cdniuc": "regex:.*", "cdniets": 30, "cdnistt": 1 }));
    for more in [json!({}), json!({ "kid": "2026-1" }), json!({ "kid": "2026-1", "alg": "HS512" })] {
        let options =
            Options { renewal: Some("own".into()), renewal_issuer: Some("dCDN".into()), ..own_options() };
        let policy = policy(options, vec![shared(), jwk(more.clone())]);
        let request = request("/live/1.ts", NOW);
        let admission = admit(&policy, &token, &request).unwrap();
        let (next, _) = renewed(&policy.renew(&admission, &request).unwrap());
        assert_eq!(reason(&policy, &next, &request), None, "{more}");
    }
}

#[test]
fn a_token_is_renewed_only_where_it_asks_for_it_and_its_path_is_long_enough() {
    let pair = rcgen::KeyPair::generate().unwrap();
    let private = key("own", KeyKind::Private, pair.serialize_pem());
    let options = Options { renewal: Some("own".into()), ..own_options() };
    let renewing = policy(options, vec![shared(), private]);
    let renewed = |policy: &Policy, more: Value, path: &str| {
        let mut claims = json!({ "cdniuc": "regex:.*" });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let request = request(path, NOW);
        let admission = admit(policy, &sign(&claims), &request).unwrap();
        policy.renew(&admission, &request).map(|renewal| self::renewed(&renewal).1)
    };
    let path = |depth: u64, path: &str| {
        let by_cookie = json!({ "cdniets": 30, "cdnistt": 1, "cdnistd": depth });
        let attributes = renewed(&renewing, by_cookie, path)?;
        Some(attributes.strip_prefix("; Path=")?.split(';').next()?.to_owned())
    };
    assert_eq!(path(0, "/a/b/c").as_deref(), Some("/"));
    assert_eq!(path(1, "/a/b/c").as_deref(), Some("/a"));
    assert_eq!(path(2, "/a/b/c").as_deref(), Some("/a/b"));
    assert_eq!(path(3, "/a/b/c").as_deref(), Some("/a/b/c"));
    assert_eq!(path(4, "/a/b/c"), None);
    assert_eq!(path(1, "/a;v=1/b"), None, "no cookie can name it");
    for more in [json!({}), json!({ "cdniets": 30, "cdnistt": 0 }), json!({ "cdniets": 30, "cdnistt": 2 })] {
        assert_eq!(renewed(&renewing, more.clone(), "/a/b"), None, "{more}");
    }
    assert_eq!(renewed(&own(), json!({ "cdniets": 30, "cdnistt": 1 }), "/a/b"), None, "no key renews");
}

#[test]
fn a_token_with_any_bit_flipped_is_refused() {
    let policy = rfc_policy();
    let request = request("/foo/bar", 1_646_867_368);
    assert_eq!(reason(&policy, SIMPLE, &request), None);
    for place in 0..SIMPLE.len() {
        for bit in 0..8 {
            let mut bytes = SIMPLE.as_bytes().to_vec();
            bytes[place] ^= 1 << bit;
            let Ok(spoilt) = String::from_utf8(bytes) else { continue };
            assert!(admit(&policy, &spoilt, &request).is_err(), "bit {bit} of byte {place}");
        }
    }
}

#[test]
fn posix_expressions_mean_what_posix_says() {
    let matches = |pattern: &str, text: &str| {
        posix::translated(pattern)
            .and_then(|pattern| super::super::jwt::Pattern::new(&pattern))
            .map(|pattern| pattern.matches(text))
    };
    for (pattern, matching, other) in [
        (r"[\.]", &["\\", "."][..], &["a"][..]),
        (r"[]a]", &["]", "a"], &["b"]),
        (r"[^]a]", &["b"], &["]", "a"]),
        (r"[a-c-]", &["b", "-"], &["d"]),
        (r"[-a]", &["-", "a"], &["b"]),
        (r"[a&&b]", &["a", "&", "b"], &["c"]),
        (r"[a~~b]", &["~"], &["c"]),
        (r"[[]", &["["], &["a"]),
        (r"[[:digit:]x]+", &["1x2"], &["y", ":"]),
        (r"[!--]", &["!", "-", ","], &["."]),
        (r"\d+", &["12"], &["a", "1a"]),
        (r"a\.b\-c\/", &["a.b-c/"], &["axb-c/"]),
        (r"(a|bc)d{2,3}", &["add", "bcddd"], &["ad", "a", "bcdddd"]),
        (r"^a$", &["a"], &["ab", "ba"]),
    ] {
        for text in matching {
            assert_eq!(matches(pattern, text), Some(true), "{pattern} {text}");
        }
        for text in other {
            assert_eq!(matches(pattern, text), Some(false), "{pattern} {text}");
        }
    }
    for pattern in [
        "(",
        ")",
        "a)|(b",
        "[",
        "[a",
        "[]",
        "[b-a]",
        "(?i)a",
        "(?:a)",
        r"\b",
        r"\1",
        r"a\",
        "[[.x.]]",
        "[[=x=]]",
        "[[:foo:]]",
        "[a-[b]]",
        "*",
        "é",
    ] {
        assert_eq!(matches(pattern, "a"), None, "{pattern}");
    }
}

proptest! {
    #[test]
    fn what_is_signed_is_admitted_and_nothing_else(
        path in "(/[a-zA-Z0-9_.~-]{0,7}x){1,4}",
        by_hash in any::<bool>(),
        life in 1_u64..1_000_000,
    ) {
        let uri = format!("http://cdni.example{path}");
        let opens = if by_hash { hash_of(&uri) } else { format!("regex:{}", uri.replace('.', "\\.")) };
        let token = sign(&json!({ "exp": NOW + life, "cdniuc": opens }));
        let good = request(&path, NOW);
        prop_assert_eq!(reason(&own(), &token, &good), None);
        for elsewhere in [format!("/UP{path}"), format!("{path}x"), format!("{path}?a=1")] {
            prop_assert_eq!(reason(&own(), &token, &request(&elsewhere, NOW)), Some(Reason::Path), "{}", elsewhere);
        }
        for host in ["cdni.example.org", "xcdni.example", "cdni.example:8080"] {
            prop_assert_eq!(reason(&own(), &token, &Presented { host, ..good }), Some(Reason::Path), "{}", host);
        }
        prop_assert_eq!(reason(&own(), &token, &Presented { now_unix: NOW + life, ..good }), Some(Reason::Expired));
        let other = policy(own_options(), vec![key("k1", KeyKind::Shared, [&SECRET[..31], b"x"].concat())]);
        prop_assert_eq!(reason(&other, &token, &good), Some(Reason::BadMac));
    }
}
