#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use http::header::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::admission::token::{Admission, Denied, Policy};
use crate::config::formats::{KeyKind, Word};
use crate::config::model::{Secret, TokenFormat, TokenPlace, TokenPolicy};

mod encoding;
mod meaning;

const SECRET: &str = "403697de87af64611c1d32a05dab0fe1fcb715a86ab435f1ec99192d79569388";
const NOW: u64 = 1_750_000_000;

/// `{4: 1963080379, 5: 1742161068, 6: 1742161068}`
const TIMES: &str = "2D3RhEOhAQWhBFBha2FtYWlfa2V5X2hzMjU2U6MEGnUCOrsGGmfXRKwFGmfXRKxYIOM6yRx830uqAamWFv1amFYRa5vaV2z5lIQTqFEvFh8z";
/// `{1: "jonas", 5: 1742169406, 6: 1742169406}`
const ISSUER: &str = "2D3RhEOhAQWhBFBha2FtYWlfa2V5X2hzMjU2VKMBZWpvbmFzBhpn12U-BRpn12U-WCDf1xHvhcnvyXUxd-DP4RAbayc8nC2PLJPPPbF3S00ruw";
/// `kid` in the protected map, and `catr` by cookie.
const RENEWED: &str = "2D3RhFGiAQUETFN5bW1ldHJpYzI1NqBY-qcBZ2V5ZXZpbm4CeF41NmE1OGQ4OS0yYWJjLTRmZGMtOTM0Yy1jNzk5ODk0ZGIyNjc6NzEyZGUzYWJmMjgyMDMyYzdjMjY6OGEzMTg0M2YtNGIxZi00ODY4LWIyMzQtNjQxNTI2ZDAxMWU4BBpoMBvFBRpoMBuJBhpoMBuJB1gkYzdhNDlmZmQtY2M3OS00Y2U1LTkzMzEtNmIxMjZiY2RkMWRkGQFDpQABARg8AhgeA3dDVEEtQ29tbW9uLUFjY2Vzcy1Ub2tlbgWEZlNlY3VyZXJEb21haW49LnR2NHBsYXkuc2VmcGF0aD0vbVNhbWVTaXRlPU5vbmVYICmzyUJdc5QJKHDrqakTajuSnARci7xvCaAeb212P3Lr";
/// `{1: "example", 2: "user123", 3: "service", 4: 1762282198, 6: 1762282078, 7: bytes}`
const AUDIENCE: &str = "2D3RhEOhAQWhBExTeW1tZXRyaWMyNTZYS6YHWCA1YmJjNDI2NWVmYTAxOGI4YjU4Y2I5OTQyY2IwODFmMQFnZXhhbXBsZQQaaQpK1gYaaQpKXgJndXNlcjEyMwNnc2VydmljZVggNRE3wudeG0Fd-vJMZiLpNRO6WU9lrtByioSvzuAEi7U";

fn key(id: &str, kind: KeyKind, text: &str) -> TokenKey {
    TokenKey { id: id.to_owned(), kind, bytes: Secret(Word::Cat.key(kind, text).unwrap()) }
}

fn shared(id: &str) -> TokenKey {
    key(id, KeyKind::Shared, SECRET)
}

fn ec() -> TokenKey {
    key("ec", KeyKind::Private, include_str!("tests/ec.pem"))
}

fn rsa() -> TokenKey {
    key("rsa", KeyKind::Private, include_str!("tests/rsa.pem"))
}

fn policy_of(options: &cat::Cat, keys: Vec<TokenKey>) -> Policy {
    Policy::from_config(&TokenPolicy::new("viewer", TokenFormat::Cat(options.clone()), keys), 1 << 20)
}

/// A policy with the keys of the vectors and `k1`.
fn policy_with(options: &cat::Cat) -> Policy {
    policy_of(options, vec![shared("k1"), shared("akamai_key_hs256"), shared("Symmetric256")])
}

fn admit(policy: &Policy, token: &str, request: &Presented<'_>) -> Result<Admission, Denied> {
    let query = match request.query {
        Some(query) => format!("{query}&CAT={token}"),
        None => format!("CAT={token}"),
    };
    policy.admit(&Presented { query: Some(&query), ..*request })
}

fn reason(policy: &Policy, token: &str, request: &Presented<'_>) -> Reason {
    admit(policy, token, request).map(|admission| format!("{admission:?}")).unwrap_err().reason
}

/// A token with these claims, whether or not a policy would take it.
fn token_of(claims: &Json) -> String {
    payload_signed(&cbor::encode(&names::from_json(claims, Holds::Claims)))
}

fn payload_signed(payload: &[u8]) -> String {
    let key = Key::new(&shared("k1"), None).unwrap();
    cose::seal(Algorithm::Hs256, b"k1", payload, |signed| key.prove(Algorithm::Hs256, signed)).unwrap()
}

fn says(claims: &Json, request: &Presented<'_>) -> Result<(), Reason> {
    says_with(&cat::Cat::default(), claims, request)
}

fn says_with(options: &cat::Cat, claims: &Json, request: &Presented<'_>) -> Result<(), Reason> {
    let admitted = admit(&policy_with(options), &token_of(claims), request);
    admitted.map(drop).map_err(|denied| denied.reason)
}

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    fields.iter().map(field).collect()
}
