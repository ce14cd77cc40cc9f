//! Tokens of claims: JSON Web Tokens, CDNI URI signing and Common Access Tokens. What `--claims` says goes before what other
//! arguments make.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::patterns::{expression, is_literal, literal, prefix, suffix};
use super::{Job, Made};
use crate::admission::token::jws::json::{Json, Object};
use crate::admission::token::jws::{SignError, Signer};
use crate::admission::token::{cat, cdni};
use crate::cli::token::order::Scope;
use crate::config::formats;
use crate::config::formats::cat::Algorithm;
use crate::config::formats::jwt::{Alg, Rule};
use crate::config::model::KeyKind;

pub(super) fn jwt(job: &Job<'_>, options: &formats::jwt::Jwt) -> Result<Made> {
    let order = job.order;
    let mut claims = times(job)?;
    let has_paths =
        options.claims.iter().any(|(name, rule)| rule.is_of_paths() && claims.get(name).is_some());
    let is_open = options.whole_site && !order.gives("--acl") && !order.gives("--url");
    if !has_paths && !is_open {
        let (name, value) = path_claim(job, options)?;
        claims.set(&name, value);
    }
    let one = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
    let texts = [
        ("--ip", Rule::Ip, order.network().into_iter().collect()),
        ("--country", Rule::Country, order.country.clone()),
        ("--method", Rule::Method, order.method.clone()),
        ("--id", Rule::Session, one(&order.id)),
        ("--subject", Rule::Subject, one(&order.subject)),
    ];
    let streams = order.streams.map(|streams| Json::Number(streams.into()));
    let texts = texts.into_iter().filter_map(|(name, rule, texts)| Some((name, rule, listed(texts)?)));
    for (argument, rule, value) in texts.chain(streams.map(|streams| ("--streams", Rule::Streams, streams))) {
        let name = options.claims.iter().find(|(_, known)| **known == rule).map(|(name, _)| name);
        let name = name.with_context(|| {
            let word = word(rule);
            format!("{argument}: the policy has no claim that says so: add one, as with --set claims.{word}={word}")
        })?;
        add(&mut claims, name, value);
    }
    if options.single_use {
        let id = options.claims.iter().find(|(_, rule)| **rule == Rule::Id).map_or("jti", |(name, _)| name);
        add(&mut claims, id, Json::Text(super::session::random()?));
    }
    if let Some(audience) = options.audiences.first() {
        add(&mut claims, "aud", Json::Text(audience.clone()));
    }
    let is_of_key = |ids: &&Vec<String>| ids.is_empty() || ids.contains(&job.key.id);
    if let Some((issuer, _)) = options.issuers.iter().find(|(_, ids)| is_of_key(ids)) {
        add(&mut claims, "iss", Json::Text(issuer.clone()));
    }
    sealed(job, &options.algorithms, &claims)
}

pub(super) fn cdni(job: &Job<'_>, options: &formats::cdni::Cdni) -> Result<Made> {
    let mut claims = times(job)?;
    if let Some(subject) = &job.order.subject {
        add(&mut claims, "sub", Json::Text(subject.clone()));
    }
    if claims.get("cdniuc").is_none() {
        let container = match job.scope()? {
            Scope::One(_) => {
                let url = job.url()?;
                if url.site.is_empty() {
                    bail!("--url {}: a token of \"cdni\" is for a URI: write scheme and host too", url.path);
                }
                cdni::hash_of(&url.with(&super::normal(&url.path)?, url.query.as_deref()))
            }
            Scope::Patterns(patterns) => {
                let site =
                    job.target.map(|target| target.site.to_ascii_lowercase()).filter(|it| !it.is_empty());
                let site = site.map_or("https?://[^/]*".to_owned(), |site| literal(&site));
                // A query is none of the path's, and a pattern says nothing of it.
                let query =
                    if patterns.iter().all(|pattern| pattern.ends_with('*')) { "" } else { r"(\?.*)?" };
                format!("regex:{site}{}{query}", expression(&patterns))
            }
        };
        claims.set("cdniuc", Json::Text(container));
    }
    sealed(job, &options.algorithms, &claims)
}

pub(super) fn cat(job: &Job<'_>, options: &formats::cat::Cat) -> Result<Made> {
    let order = job.order;
    let mut claims = times(job)?;
    let mut more = serde_json::Map::new();
    if claims.get("catu").is_none() {
        more.insert("catu".to_owned(), json!({ "path": path_match(&job.scope()?, job)? }));
    }
    let mut push = |name: &str, value: Value| drop(more.insert(name.to_owned(), value));
    if let Some(network) = order.network() {
        push("catnip", json!([network]));
    }
    if let Some(id) = &order.id {
        push("cti", json!(id));
    }
    if let Some(subject) = &order.subject {
        push("sub", json!(subject));
    }
    if !order.method.is_empty() {
        push("catm", json!(order.method));
    }
    if !order.country.is_empty() {
        push("catgeoiso3166", json!(order.country));
    }
    if !order.header.is_empty() {
        let header = |(name, value): &(http::HeaderName, http::HeaderValue)| {
            (name.to_string(), json!({ "exact": String::from_utf8_lossy(value.as_bytes()) }))
        };
        push("cath", Value::Object(order.header.iter().map(header).collect()));
    }
    if let Some(issuer) = options.issuers.first() {
        push("iss", json!(issuer));
    }
    if let Some(audience) = options.audiences.first() {
        push("aud", json!(audience));
    }
    let more = Object::parse(&serde_json::to_vec(&more)?).context("the claims cannot be written as JSON")?;
    for (name, value) in more.iter() {
        add(&mut claims, name, value.clone());
    }
    let takes = |algorithm| options.algorithms.contains(&algorithm);
    let is_cut = job.key.kind == KeyKind::Shared && !takes(Algorithm::Hs256) && takes(Algorithm::Hs256Cut);
    let claims = serde_json::to_value(&claims)?;
    Ok(Made::Value(cat::sign(&claims, job.key, is_cut.then_some(Algorithm::Hs256Cut), options)?))
}

/// The claims that were given, with start, end and time of issue.
fn times(job: &Job<'_>) -> Result<Object> {
    let mut claims = job.order.claims.clone().unwrap_or_default();
    add(&mut claims, "iat", Json::Number(job.now.into()));
    if let Some(start) = job.order.start {
        add(&mut claims, "nbf", Json::Number(start.into()));
    }
    add(&mut claims, "exp", Json::Number(job.end()?.into()));
    Ok(claims)
}

/// Adds a claim that is not there yet.
fn add(claims: &mut Object, name: &str, value: Json) {
    if claims.get(name).is_none() {
        claims.set(name, value);
    }
}

/// A text, or a list of texts; None: there are none.
fn listed(mut texts: Vec<String>) -> Option<Json> {
    match texts.len() {
        0 | 1 => texts.pop().map(Json::Text),
        _ => Some(Json::List(texts.into_iter().map(Json::Text).collect())),
    }
}

/// The claim that says which paths a token opens, by the first rule of the policy that can say it.
fn path_claim(job: &Job<'_>, options: &formats::jwt::Jwt) -> Result<(String, Json)> {
    let scope = job.scope()?;
    let rules = options.claims.iter().filter(|(_, rule)| rule.is_of_paths());
    for (name, rule) in rules.clone() {
        let texts = match (&scope, rule) {
            (Scope::Patterns(patterns), Rule::Glob) => Some(patterns.clone()),
            (Scope::Patterns(patterns), Rule::Prefix) => {
                let whole =
                    |pattern: &String| prefix(pattern).filter(|it| it.ends_with('/')).map(str::to_owned);
                patterns.iter().map(whole).collect()
            }
            (Scope::Patterns(patterns), Rule::Exact) => {
                patterns.iter().all(|pattern| is_literal(pattern)).then(|| patterns.clone())
            }
            (Scope::Patterns(patterns), Rule::Regex) => Some(vec![expression(patterns)]),
            (Scope::One(_), Rule::Exact) => Some(vec![job.url()?.path]),
            (Scope::One(_), Rule::Regex) => Some(vec![literal(&super::normal(&job.url()?.path)?)]),
            (Scope::One(_), Rule::Glob) => Some(vec![job.url()?.path])
                .filter(|paths| paths.iter().all(|path| !path.contains(['*', '?', '!']))),
            _ => None,
        };
        if let Some(value) = texts.and_then(listed) {
            return Ok((name.clone(), value));
        }
    }
    let known = rules.map(|(name, rule)| format!("{name} = {}", word(*rule))).collect::<Vec<_>>().join(", ");
    bail!(
        "no claim of the policy can say which paths the token opens (it has: {known}): give --acl DIRECTORY/* or --url, \
         whichever it can say, or add a claim, as with --set claims.path=glob"
    )
}

/// A match of `catu`.
fn path_match(scope: &Scope, job: &Job<'_>) -> Result<Value> {
    Ok(match scope {
        Scope::One(_) => json!({ "exact": super::normal(&job.url()?.path)? }),
        Scope::Patterns(patterns) => match patterns.as_slice() {
            [pattern] if is_literal(pattern) => json!({ "exact": pattern }),
            [pattern] if prefix(pattern).is_some() => json!({ "prefix": prefix(pattern) }),
            [pattern] if suffix(pattern).is_some() => json!({ "suffix": suffix(pattern) }),
            several => json!({ "regex": format!("^{}$", expression(several)) }),
        },
    })
}

/// Signs with the first of the policy's algorithms that the key is for.
fn sealed(job: &Job<'_>, algorithms: &[Alg], claims: &Object) -> Result<Made> {
    let bytes = &job.key.bytes.0;
    let own = bytes.starts_with(b"{").then(|| serde_json::from_slice::<Value>(bytes).ok()).flatten();
    let own = own.and_then(|jwk| jwk.get("kid").and_then(Value::as_str).map(str::to_owned));
    let named = Some(&job.key.id).filter(|id| job.chosen.is_named(id)).cloned();
    let kid = own.or(named);
    let signers = algorithms.iter().map(|alg| Signer::new(job.key, *alg, kid.as_deref()));
    let signer = signers.into_iter().find_map(Result::ok).ok_or(SignError::Key).with_context(|| {
        format!(
            "key {}: it signs with none of the algorithms that the policy takes ({algorithms:?}): add its own, as with \
             --set algorithms=[\"ES256\"]",
            job.chosen.key_name(&job.key.id)
        )
    })?;
    Ok(Made::Value(signer.sign(claims)?))
}

fn word(rule: Rule) -> String {
    serde_json::to_value(rule).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
