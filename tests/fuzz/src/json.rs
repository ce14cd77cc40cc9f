//! Formats of signed JSON: JSON Web Tokens and CDNI URI signing. The body is a line with the header, and the claims.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forebay::admission::token::jws::Jws;
use forebay::config::formats::TokenFormat;
use forebay::config::formats::cdni::Cdni;
use forebay::config::formats::jwt::{Alg, Jwt, Rule};
use forebay::config::model::{KeyKind, Secret, TokenKey};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use std::collections::BTreeMap;

use super::macs::{config, strange};
use super::request::{Asked, input, line};
use super::tokens::{Bench, END, SECRET, shown, target};
use super::{Clock, Fuzzed};

const HEADER: &str = "{\"alg\":\"HS256\",\"kid\":\"0\"}\n";

/// The shared key of encrypted claims.
const ENCRYPTION: [u8; 16] = [0x5A; 16];

/// A JWE of a text (`dir`, A128GCM).
fn encrypted(text: &str) -> String {
    let protected = URL_SAFE_NO_PAD.encode("{\"alg\":\"dir\",\"enc\":\"A128GCM\"}");
    let key = UnboundKey::new(&AES_128_GCM, &ENCRYPTION).map(LessSafeKey::new).expect("a key of 16 bytes");
    let (nonce, mut sealed) = ([1; NONCE_LEN], text.as_bytes().to_vec());
    let aad = Aad::from(protected.as_bytes());
    let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed);
    let parts = [nonce.as_slice(), &sealed, tag.expect("a short text").as_ref()]
        .map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{protected}..{}", parts.join("."))
}

fn sign(asked: &Asked) -> Option<String> {
    let (header, claims) = line(&asked.body);
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), text.as_bytes());
    Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac)))
}

fn inspect(token: &str) {
    shown(Jws::parse(token));
}

/// A claim for every rule.
pub fn jwt(clock: Clock) -> Fuzzed {
    let rules = [
        ("path", Rule::Prefix),
        ("file", Rule::Exact),
        ("glob", Rule::Glob),
        ("re", Rule::Regex),
        ("ip", Rule::Ip),
        ("country", Rule::Country),
        ("method", Rule::Method),
        ("host", Rule::Host),
        ("sid", Rule::Session),
        ("sub", Rule::Subject),
        ("jti", Rule::Id),
        ("n", Rule::Streams),
    ];
    let options = Jwt {
        algorithms: vec![Alg::HS256],
        issuers: BTreeMap::from([("i".to_owned(), Vec::new())]),
        audiences: vec!["edge".to_owned()],
        allow_without_exp: true,
        claims: rules.map(|(name, rule)| (name.to_owned(), rule)).into(),
        whole_site: true,
        ..Jwt::default()
    };
    let bench = Bench::new(&config(TokenFormat::Jwt(options)), strange(), inspect, sign);
    let claims = [
        format!("{{\"iss\":\"i\",\"aud\":\"edge\",\"exp\":{END}}}"),
        format!(
            "{{\"iss\":\"i\",\"aud\":[\"edge\"],\"exp\":{END}.5,\"nbf\":1,\"path\":\"/live\",\"glob\":\"/l*/a.?s!/x\",\
             \"re\":\"/live/[a-z]{{1,3}}\\\\.(ts|m4s)\",\"file\":[\"/live/a.ts\"],\"ip\":\"192.0.2.0/24\",\
             \"method\":[\"GET\"],\"host\":\"*.example.com\",\"sid\":\"s\",\"sub\":\"u\",\"jti\":\"j\",\"n\":2}}"
        ),
        "{\"iss\":\"i\",\"aud\":\"edge\",\"re\":[\"(?i)/LIVE/.*\",\"[^/]+\"],\"x\":{\"y\":[1,true,null,\"\\u00e9\"]}}".to_owned(),
    ];
    let signed = claims
        .iter()
        .map(|claims| input(1, 0, 0, "/live/a.ts", "v=1", format!("{HEADER}{claims}").as_bytes()));
    target(vec![bench], signed.collect(), clock)
}

/// Every claim of RFC 9246.
pub fn cdni(clock: Clock) -> Fuzzed {
    let options = Cdni {
        algorithms: vec![Alg::HS256],
        issuers: BTreeMap::from([("i".to_owned(), Vec::new())]),
        audiences: vec!["edge".to_owned()],
        renewal: Some("0".to_owned()),
        ..Cdni::default()
    };
    let mut config = config(TokenFormat::Cdni(options));
    let jwk = format!("{{\"kty\":\"oct\",\"use\":\"enc\",\"k\":\"{}\"}}", URL_SAFE_NO_PAD.encode(ENCRYPTION));
    config.keys.push(TokenKey { id: "e".to_owned(), kind: KeyKind::Shared, bytes: Secret(jwk.into_bytes()) });
    let bench = Bench::new(&config, strange(), inspect, sign);
    let claims = [
        format!("{{\"exp\":{END},\"cdniuc\":\"regex:https://live.example.com/live/[^/]*[.]ts([?].*)?\"}}"),
        format!(
            "{{\"iss\":\"i\",\"aud\":\"edge\",\"exp\":{END},\"nbf\":1,\"cdniv\":1,\"cdniets\":30,\"cdnistt\":1,\
             \"cdnistd\":1,\"cdniuc\":\"regex:.*([[:alpha:]]{{1,3}}|[^[:digit:]])[.]ts.*\"}}"
        ),
        format!(
            "{{\"sub\":\"u\",\"jti\":\"j\",\"cdniip\":\"{}\",\"cdniuc\":\"regex:.*\"}}",
            encrypted("192.0.2.0/24")
        ),
        "{\"cdniuc\":\"hash:sha-256;AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}".to_owned(),
    ];
    let signed = claims
        .iter()
        .map(|claims| input(1, 0, 0, "/live/a.ts", "v=1", format!("{HEADER}{claims}").as_bytes()));
    target(vec![bench], signed.collect(), clock)
}
