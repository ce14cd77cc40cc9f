//! Requests that are made to be expensive: what anybody can send, and what somebody can send whose token is genuine.
//!
//! No request may take longer than [`NS_MAX`] apart from one check of a signature. Those that are refused are verified anew
//! each time; of those that are admitted the first is measured, and the further ones.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::COOKIE;
use serde_json::{Value, json};

use super::cases::{self, DIRECTORY, HOST, NOW, Request};
use super::keys::{self, Pairs};
use super::{Cost, Effort, nanoseconds};
use crate::admission::token::{Policy, Reason, TOKEN_BYTES_MAX, cloudfront, edgeauth, jwt, media_cdn};
use crate::config::formats::jwt::{Alg, Rule};
use crate::config::formats::{self, Word};
use crate::config::model::{TOKEN_KEYS_MAX, TOKEN_NAMES_MAX, TokenFormat, TokenKey, TokenPlace, TokenPolicy};

/// Nanoseconds that verification may take, apart from one check of a signature.
const NS_MAX: f64 = 1_000_000.0;

/// Bytes of a path, of a query and of cookies.
const TARGET_BYTES: usize = 8 << 10;

/// Bytes of a text that expressions are compared with at most.
const MATCHED_BYTES: usize = 1024;

/// How often each is measured.
const TIMED: Effort = Effort { cold: 50, passes: 50 };

/// A request that is made to be expensive.
pub(super) struct Worst {
    name: &'static str,
    policy: Policy,
    request: Request,
    /// Format and signature of the case with whose cost a signature is taken off.
    signature: Option<(&'static str, &'static str)>,
}

/// Measures all, and prints a row for each.
pub(super) fn bench(as_json: bool, out: &mut impl Write) -> Result<u8> {
    let pairs = Pairs::make()?;
    let mut rows = Vec::new();
    let mut all_below = true;
    if !as_json {
        writeln!(out, "{:<58} {:<18} {:>13} {:>14}", "request", "answer", "first, ns: p50", "further: p50")?;
    }
    for worst in all(&pairs)? {
        let answer = match worst.policy.admit(&worst.request.presented()) {
            Ok(_) => "admitted",
            Err(denied) => denied.reason.as_str(),
        };
        let (first, further) = worst.cost(TIMED);
        let signature = worst.signature.map_or(Ok(0.0), |case| signature(&pairs, case))?;
        let is_below = first.median.max(further.median) < NS_MAX + signature;
        all_below &= is_below;
        if as_json {
            rows.push(json!({
                "request": worst.name, "answer": answer, "signature_ns": signature.round(),
                "first_ns": first.json(), "further_ns": further.json(), "below_1_ms": is_below,
            }));
            continue;
        }
        let mark = if is_below { "" } else { "  more than 1 ms" };
        writeln!(
            out,
            "{:<58} {answer:<18} {:>13.0} {:>14.0}{mark}",
            worst.name, first.median, further.median
        )?;
    }
    if as_json {
        writeln!(out, "{}", json!({ "rows": rows, "below_1_ms": all_below }))?;
    } else {
        let verdict = if all_below { "below 1 ms for all (met)" } else { "not below 1 ms for all (missed)" };
        writeln!(out, "apart from one signature check: {verdict}")?;
    }
    Ok(0)
}

/// What the first request with a usual token of this kind costs.
fn signature(pairs: &Pairs, (format, signature): (&str, &str)) -> Result<f64> {
    let known = cases::MAKERS.iter().find(|(name, kind, _)| (*name, *kind) == (format, signature));
    let (_, _, make) = known.context("no such case")?;
    Ok(super::cold(&make(pairs)?, TIMED).median)
}

impl Worst {
    fn cost(&self, effort: Effort) -> (Cost, Cost) {
        let presented = self.request.presented();
        let timed = |forget: bool, count: usize| {
            let samples = (0..count).map(|_| {
                if forget {
                    self.policy.forget();
                }
                let start = Instant::now();
                let admitted = self.policy.admit(black_box(&presented));
                let taken = nanoseconds(start);
                drop(black_box(admitted));
                taken
            });
            Cost::of(samples.collect())
        };
        let first = timed(true, effort.cold);
        (first, timed(false, effort.passes))
    }
}

/// All of them.
pub(super) fn all(pairs: &Pairs) -> Result<Vec<Worst>> {
    let mut all = edgeauth()?;
    all.extend(jwt(pairs)?);
    all.extend(cat(pairs)?);
    all.extend(others(pairs)?);
    Ok(all)
}

fn many(make: impl Fn(usize) -> Result<TokenKey>) -> Result<Vec<TokenKey>> {
    (0..TOKEN_KEYS_MAX).map(make).collect()
}

fn policy(format: TokenFormat, keys: Vec<TokenKey>) -> Policy {
    Policy::from_config(&TokenPolicy::new("bench", format, keys), 16 << 20)
}

fn at(path: &str) -> Request {
    Request { path: path.to_owned(), normal: path.to_owned(), ..Request::plain() }
}

fn with_query(path: &str, query: String) -> Request {
    Request { query: Some(query), ..at(path) }
}

/// A path in the directory that tokens are for, filled up with a text.
fn long_path(fill: &str) -> String {
    let count = (TARGET_BYTES - DIRECTORY.len()) / fill.len();
    format!("{DIRECTORY}{}", fill.repeat(count))
}

/// A path as long as expressions are compared with, in which no `c` stands `gap` characters behind an `a`, though it looks so
/// all along.
fn almost(gap: usize) -> String {
    let mut path: Vec<u8> = DIRECTORY.into();
    let mut chance = 1_u32;
    while path.len() + HOST.len() + "https://".len() < MATCHED_BYTES {
        // Numerical Recipes' generator: the same path on each run.
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let is_behind = path.len().checked_sub(gap + 1).is_none_or(|at| path.get(at) == Some(&b'a'));
        path.push(match chance >> 30 {
            0 | 1 => b'a',
            2 if !is_behind => b'c',
            _ => b'b',
        });
    }
    String::from_utf8_lossy(&path).into_owned()
}

/// The largest that is not refused for its size.
fn at_bound(make: impl Fn(usize) -> Result<Worst>) -> Result<Worst> {
    let unsupported = |worst: &Worst| {
        let answer = worst.policy.admit(&worst.request.presented());
        answer.is_err_and(|denied| denied.reason == Reason::UnsupportedClaim)
    };
    for gap in (1..=900).rev().step_by(10) {
        // Some formats refuse it when it is signed.
        if let Some(worst) = make(gap).ok().filter(|worst| !unsupported(worst)) {
            return Ok(worst);
        }
    }
    bail!("no expression is taken")
}

fn edgeauth() -> Result<Vec<Worst>> {
    let format = || TokenFormat::EdgeAuth(Default::default());
    let keys = many(|at| keys::shared(Word::EdgeAuth, &format!("k{at}"), 32))?;
    let last = keys.last().context("no key")?.bytes.clone();
    let signed = |patterns: Vec<String>| {
        let claims = edgeauth::Claims {
            ip: None,
            start: None,
            expires: NOW + 3600,
            scope: edgeauth::Scope::Acl(patterns),
            id: None,
            data: None,
        };
        format!("hdnts={}", edgeauth::sign(&claims, &last.0, None))
    };
    let worst =
        |name, request| Worst { name, policy: policy(format(), keys.clone()), request, signature: None };
    let forged = |fill: &str| format!("hdnts=exp={}~id={fill}~hmac={}", NOW + 3600, "0".repeat(64));
    let url = with_query(&long_path("%2f-é "), format!("{}&{}", forged(""), "a=%7e&".repeat(1000)));
    let url = Request { normal: long_path("/-x "), ..url };
    let cookies = {
        let mut request = at(DIRECTORY);
        request.headers.insert(COOKIE, "h=;".repeat(TARGET_BYTES / 3).parse()?);
        request
    };
    let mut named = TokenPolicy::new("bench", format(), keys.clone());
    named.names = (0..TOKEN_NAMES_MAX).map(|at| format!("hdnt{at}")).collect();
    let named = Policy::from_config(&named, 16 << 20);
    let lists = {
        let mut request = with_query(DIRECTORY, "hdnt=&".repeat(TARGET_BYTES / 6));
        request.headers.insert(COOKIE, "hdnt=;".repeat(TARGET_BYTES / 6).parse()?);
        request
    };
    Ok(vec![
        worst(
            "edgeauth: a token of tildes",
            with_query(DIRECTORY, format!("hdnts={}", "~".repeat(TOKEN_BYTES_MAX))),
        ),
        worst(
            "edgeauth: a forged token of 4 KiB, encoded",
            with_query(DIRECTORY, forged(&"%41".repeat(1200))),
        ),
        worst("edgeauth: a forged token for one URL of 16 KiB", url),
        worst(
            "edgeauth: 1,000 patterns, a path of 8 KiB",
            with_query(&long_path("a"), signed(vec!["*b".into(); 1000])),
        ),
        worst(
            "edgeauth: a pattern of 3.8 KiB that almost matches",
            with_query(&long_path("a"), signed(vec![format!("*{}b", "a".repeat(3800))])),
        ),
        worst(
            "edgeauth: a pattern of 1,900 stars",
            with_query(&long_path("a"), signed(vec![format!("{}b", "*a".repeat(1900))])),
        ),
        worst("edgeauth: cookies of 8 KiB", cookies),
        worst("edgeauth: leading tokens of 8 KiB", at(&"/hdnts=~hmac=".repeat(TARGET_BYTES / 13))),
        Worst {
            name: "edgeauth: 16 names, query and cookies of 8 KiB",
            policy: named,
            request: lists,
            signature: None,
        },
    ])
}

fn jwt(pairs: &Pairs) -> Result<Vec<Worst>> {
    let key = keys::shared(Word::Jwt, "k1", 64)?;
    let options = formats::jwt::Jwt {
        algorithms: vec![Alg::HS256],
        claims: BTreeMap::from([("r".to_owned(), Rule::Regex), ("g".to_owned(), Rule::Glob)]),
        ..Default::default()
    };
    let signer = jwt::Signer::new(&key, Alg::HS256, None)?;
    let policy_of = || policy(TokenFormat::Jwt(options.clone()), vec![key.clone()]);
    let signed = |name, path: &str, claims: Value| -> Result<Worst> {
        let request = with_query(path, format!("token={}", signer.sign(&claims)?));
        Ok(Worst { name, policy: policy_of(), request, signature: None })
    };
    let forged = |name, payload: &str| {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        let token = format!("{header}.{}.AAAA", URL_SAFE_NO_PAD.encode(payload));
        Worst {
            name,
            policy: policy_of(),
            request: with_query(DIRECTORY, format!("token={token}")),
            signature: None,
        }
    };
    let members: Vec<_> = (0..128).map(|at| format!("\"{at:018}\":1")).collect();
    let forged_key = {
        let options =
            formats::jwt::Jwt { algorithms: vec![Alg::ES256], whole_site: true, ..Default::default() };
        let keys = many(|at| pairs.p256.public(Word::Jwt, &format!("k{at}")))?;
        let other = Pairs::make()?.p256.private(Word::Cdni, "x")?;
        let token = jwt::Signer::new(&other, Alg::ES256, None)?.sign(&json!({ "exp": NOW + 60 }))?;
        Worst {
            name: "jwt: a forged ES256 without kid, 16 keys",
            policy: policy(TokenFormat::Jwt(options), keys),
            request: with_query(DIRECTORY, format!("token={token}")),
            signature: Some(("jwt", "ES256")),
        }
    };
    let exp = NOW + 3600;
    Ok(vec![
        forged("jwt: 3,000 lists within each other", &format!("{{\"a\":{}", "[".repeat(3000))),
        forged("jwt: 128 members", &format!("{{{}}}", members.join(","))),
        signed(
            "jwt: 120 patterns, a path of 8 KiB",
            &long_path("a"),
            json!({ "exp": exp, "g": vec!["*b"; 120] }),
        )?,
        signed("jwt: 60 expressions", DIRECTORY, json!({ "exp": exp, "r": vec![".*[a-z]{9}x"; 60] }))?,
        signed(
            "jwt: an expression of 1 KB",
            DIRECTORY,
            json!({ "exp": exp, "r": "[a-c](x|y)".repeat(100) }),
        )?,
        signed(
            "jwt: an expression that grows",
            DIRECTORY,
            json!({ "exp": exp, "r": "((((x{9}){9}){9}){9}){9}" }),
        )?,
        at_bound(|gap| {
            let claims = json!({ "exp": exp, "r": format!("/.*a.{{{gap}}}c.*") });
            signed("jwt: an expression at its bound that almost matches", &almost(gap), claims)
        })?,
        forged_key,
    ])
}

fn cat(pairs: &Pairs) -> Result<Vec<Worst>> {
    let key = keys::shared(Word::Cat, "k1", 64)?;
    let options = formats::cat::Cat::default();
    let signed = |name, path: &str, claims: Value| -> Result<Worst> {
        let token = crate::admission::token::cat::sign(&claims, &key, None, &options)?;
        let policy = policy(TokenFormat::Cat(options.clone()), vec![key.clone()]);
        let request = with_query(path, format!("cat={token}"));
        Ok(Worst { name, policy, request, signature: None })
    };
    let forged = |name, bytes: &[u8], keys: Vec<TokenKey>, signature| Worst {
        name,
        policy: policy(TokenFormat::Cat(options.clone()), keys),
        request: with_query(DIRECTORY, format!("cat={}", URL_SAFE_NO_PAD.encode(bytes))),
        signature,
    };
    // COSE_Sign1 (RFC 9052 section 4.2) with ES256, without `kid`, and with 64 bytes that are no signature.
    let mut sign1 = vec![0xd2, 0x84, 0x43, 0xa1, 0x01, 0x26, 0xa0, 0x41, 0xa0, 0x58, 0x40];
    sign1.extend([0x42; 64]);
    let keys = many(|at| pairs.p256.public(Word::Cat, &format!("k{at}")))?;
    let headers: serde_json::Map<String, Value> = (0..4)
        .map(|at| (format!("x-{at}"), json!({ "regex": format!("a{{{at}}}.*(b|c)*[a-f]{{20}}{at}") })))
        .collect();
    let exp = NOW + 3600;
    Ok(vec![
        forged("cat: 3,000 arrays within each other", &[0x81; 3000], vec![key.clone()], None),
        forged("cat: a forged ES256 without kid, 16 keys", &sign1, keys, Some(("cat", "ES256"))),
        signed("cat: 4 expressions", DIRECTORY, json!({ "exp": exp, "cath": headers }))?,
        at_bound(|gap| {
            let claims = json!({ "exp": exp, "catu": { "path": { "regex": format!("/.*a.{{{gap}}}c.*") } } });
            signed("cat: an expression at its bound that almost matches", &almost(gap), claims)
        })?,
        signed(
            "cat: text of 2 KB in a path of 8 KiB",
            &long_path("a"),
            json!({ "exp": exp, "catu": { "path": { "contains": "a".repeat(2000) + "b" } } }),
        )?,
    ])
}

fn others(pairs: &Pairs) -> Result<Vec<Worst>> {
    let ed25519 = many(|at| keys::seed(Word::MediaCdn, &format!("k{at}")))?;
    let media = |name, request, signature| Worst {
        name,
        policy: policy(TokenFormat::MediaCdn(Default::default()), ed25519.clone()),
        request,
        signature,
    };
    let other = media_cdn::Signer::private(&keys::seed(Word::MediaCdn, "x")?.bytes.0).context("no key")?;
    let claims = media_cdn::Claims {
        target: media_cdn::Target::Prefix(format!("https://{HOST}/")),
        starts: None,
        expires: NOW + 60,
        session_id: None,
        data: None,
        headers: Vec::new(),
        ip_ranges: Vec::new(),
    };
    let forged = format!("edge-cache-token={}", media_cdn::sign(&claims, &other));
    let id = "K2JCJMDEHXQW5F";
    let private = pairs.rsa.private(Word::CloudFront, id)?.bytes;
    let claims = cloudfront::Claims::Custom(cloudfront::Statement {
        resource: format!("https://{HOST}/*{}b", "a".repeat(1800)),
        condition: cloudfront::Condition {
            end: cloudfront::Moment { seconds: NOW + 3600 },
            start: None,
            address: None,
        },
    });
    let cloudfront = Worst {
        name: "cloudfront: a resource of 1.8 KiB that almost matches",
        policy: policy(
            TokenFormat::CloudFront(Default::default()),
            vec![pairs.rsa.public(Word::CloudFront, id)?],
        ),
        request: with_query(&long_path("a"), cloudfront::sign(&claims, id, &private.0)?),
        signature: Some(("cloudfront", "RSA")),
    };
    let issuers = BTreeMap::from([("u".to_owned(), Vec::new())]);
    let cdni_options = formats::cdni::Cdni { issuers, ..Default::default() };
    let cdni = |name, path: &str, expression: &str| -> Result<Worst> {
        let signer = jwt::Signer::new(&pairs.p256.private(Word::Cdni, "k1")?, Alg::ES256, Some("k1"))?;
        let claims = json!({ "iss": "u", "exp": NOW + 60, "cdniuc": format!("regex:{expression}") });
        Ok(Worst {
            name,
            policy: policy(
                TokenFormat::Cdni(cdni_options.clone()),
                vec![pairs.p256.public(Word::Cdni, "k1")?],
            ),
            request: with_query(path, format!("URISigningPackage={}", signer.sign(&claims)?)),
            signature: Some(("cdni", "ES256")),
        })
    };
    let shared = |word: Word| many(|at| keys::shared(word, &at.to_string(), 32));
    let semicolons = |name, word, format| -> Result<Worst> {
        let mut config = TokenPolicy::new("bench", format, shared(word)?);
        config.places = vec![TokenPlace::PathParameter, TokenPlace::Query];
        let policy = Policy::from_config(&config, 16 << 20);
        Ok(Worst { name, policy, request: at(&long_path(";u")), signature: None })
    };
    let parameters: Vec<_> = (0..62).map(|at| format!("p{at}={}", "x".repeat(110))).collect();
    let query = format!("token=HS256-{}&expires={}&{}", "A".repeat(43), NOW + 60, parameters.join("&"));
    let link = format!("md5={}&expires={}&{}", "A".repeat(22), NOW + 60, "a&".repeat(TARGET_BYTES / 2));
    Ok(vec![
        media("media_cdn: leading tokens of 8 KiB", at(&"/edge-cache-token=~hmac=".repeat(340)), None),
        media(
            "media_cdn: a forged Ed25519, 16 keys",
            with_query(DIRECTORY, forged),
            Some(("media_cdn", "Ed25519")),
        ),
        cloudfront,
        at_bound(|gap| {
            let name = "cdni: an expression at its bound that almost matches";
            cdni(name, &almost(gap), &format!("https?://.*a.{{{gap}}}c.*"))
        })?,
        cdni("cdni: an expression that grows", DIRECTORY, "((((x{9}){9}){9}){9}){9}")?,
        semicolons(
            "url_sig: a path of 4,000 parameters",
            Word::UrlSig,
            TokenFormat::UrlSig(Default::default()),
        )?,
        Worst {
            name: "bunny: 62 signed parameters, 8 KiB, 16 keys",
            policy: policy(TokenFormat::Bunny(Default::default()), shared(Word::Bunny)?),
            request: with_query(&long_path("%41"), query),
            signature: None,
        },
        Worst {
            name: "secure_link: path and query of 8 KiB, 16 keys",
            policy: policy(TokenFormat::SecureLink(Default::default()), shared(Word::SecureLink)?),
            request: with_query(&long_path("%41"), link),
            signature: None,
        },
    ])
}

/// What becomes of each.
#[cfg(test)]
pub(super) fn answers(pairs: &Pairs) -> Result<Vec<(&'static str, &'static str)>> {
    let answer = |worst: Worst| match worst.policy.admit(&worst.request.presented()) {
        Ok(_) => (worst.name, "admitted"),
        Err(denied) => (worst.name, denied.reason.as_str()),
    };
    Ok(all(pairs)?.into_iter().map(answer).collect())
}
