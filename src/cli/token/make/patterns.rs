//! Tokens for path patterns: EdgeAuth and Media CDN. And what a pattern is as a prefix, or as an expression.

use anyhow::{Context, Result, ensure};

use super::{Job, Made};
use crate::admission::token::{edgeauth, media_cdn};
use crate::cli::token::order::Scope;
use crate::config::formats;
use crate::config::model::KeyKind;

pub(super) fn edge_auth(job: &Job<'_>, options: &formats::edgeauth::EdgeAuth) -> Result<Made> {
    let order = job.order;
    let claims = edgeauth::Claims {
        ip: order.address()?,
        start: order.start,
        expires: job.end()?,
        scope: match job.scope()? {
            Scope::Patterns(patterns) => edgeauth::Scope::Acl(patterns),
            Scope::One(_) => edgeauth::Scope::Url(job.url()?.path),
        },
        id: order.id.clone(),
        data: order.data.clone(),
    };
    let salt = job.chosen.config.salt.as_ref().map(|salt| salt.0.as_slice());
    let signing = edgeauth::Signing { hash: options.hash, salt };
    Ok(Made::Value(edgeauth::sign_with(&claims, job.secret(), &signing)))
}

pub(super) fn media_cdn(job: &Job<'_>, options: &formats::media_cdn::MediaCdn) -> Result<Made> {
    let order = job.order;
    let header = |(name, value): &(http::HeaderName, http::HeaderValue)| {
        let value =
            value.to_str().with_context(|| format!("--header {name}: its value is not visible ASCII"))?;
        Ok((name.to_string(), value.to_owned()))
    };
    let claims = media_cdn::Claims {
        target: match job.scope()? {
            Scope::Patterns(patterns) => media_cdn::Target::Globs(patterns),
            Scope::One(_) => media_cdn::Target::Path(job.url()?.path),
        },
        starts: order.start,
        expires: job.end()?,
        session_id: order.id.clone(),
        data: order.data.clone(),
        headers: order.header.iter().map(header).collect::<Result<_>>()?,
        ip_ranges: order.ip.iter().map(ToString::to_string).collect(),
    };
    ensure!(
        !matches!(&claims.target, media_cdn::Target::Globs(patterns) if patterns.len() > 5),
        "--acl: a token of \"media_cdn\" has at most five patterns: sign several"
    );
    let signer = match job.key.kind {
        KeyKind::Private => media_cdn::Signer::private(job.secret()).context("the key is none of Ed25519")?,
        _ => media_cdn::Signer::shared(options.hash, job.secret()),
    };
    Ok(Made::Value(media_cdn::sign(&claims, &signer)))
}

/// The beginning of paths that a pattern stands for, where it stands for one.
pub(super) fn prefix(pattern: &str) -> Option<&str> {
    pattern.strip_suffix('*').filter(|prefix| is_literal(prefix))
}

/// The end of paths that a pattern stands for, where it stands for one.
pub(super) fn suffix(pattern: &str) -> Option<&str> {
    pattern.strip_prefix('*').filter(|suffix| is_literal(suffix))
}

/// Whether a text is no pattern.
pub(super) fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['*', '?'])
}

/// Patterns as one regular expression, which says the same in the syntax of POSIX.
pub(super) fn expression(patterns: &[String]) -> String {
    let one = |pattern: &String| {
        pattern
            .chars()
            .map(|letter| match letter {
                '*' => ".*".to_owned(),
                '?' => ".".to_owned(),
                other => escaped(other),
            })
            .collect::<String>()
    };
    match patterns {
        [pattern] => one(pattern),
        several => format!("({})", several.iter().map(one).collect::<Vec<_>>().join("|")),
    }
}

/// A text as a regular expression of itself.
pub(super) fn literal(text: &str) -> String {
    text.chars().map(escaped).collect()
}

fn escaped(letter: char) -> String {
    if r".\+*?()|[]{}^$".contains(letter) { format!("\\{letter}") } else { letter.to_string() }
}
