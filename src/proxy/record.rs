//! Makes the record of a finished request.

use std::borrow::Cow;
use std::time::Instant;

use http::HeaderMap;
use http::header::{RANGE, USER_AGENT};
use pingora::Error;
use pingora::proxy::Session;

use super::{RequestCtx, host, ja4, path_of};
use crate::admission::ja4::Ja4;
use crate::key::is_named;
use crate::observe::cmcd::Cmcd;
use crate::observe::{Observer, Protocol, Record};

/// Tells the observer of a request that has ended. Neither the token nor what rules drop of its query is in
/// anything that is told.
pub(super) fn record(observer: &Observer, session: &Session, error: Option<&Error>, ctx: &RequestCtx) {
    let ended = Instant::now();
    let header = session.req_header();
    let site = ctx.site.as_deref();
    let policy = site.and_then(|site| site.token.as_deref());
    // Where no site matched, no policy says what of the target is a token: none of it is told.
    let path = if site.is_some() { header.uri.path() } else { "" };
    let path = match policy {
        Some(policy) if ctx.token.is_none() => policy.told_path(path),
        Some(policy) => policy.strip_path(path).1,
        None => Cow::Borrowed(path),
    };
    let query = header
        .uri
        .query()
        .filter(|_| site.is_some())
        .map(|query| policy.map_or(Cow::Borrowed(query), |policy| policy.strip_query(query)));
    let cmcd = query.as_deref().and_then(cmcd_of).or_else(|| cmcd_headers(&header.headers));
    // What a viewer has for itself is as good as a token to its origin.
    let dropped: Vec<&str> = site.into_iter().flat_map(|site| site.dropped(path_of(header, ctx))).collect();
    // What a player says it will ask for next has the token too, and the rest.
    let cmcd = cmcd.map(|cmcd| match policy {
        None if dropped.is_empty() => cmcd,
        _ => Cmcd::without_next_object(&cmcd).into_owned(),
    });
    let is_told =
        |parameter: &str| !is_cmcd(parameter) && !dropped.iter().any(|name| is_named(parameter, name));
    let query = query.map(|query| told_of(query, is_told)).filter(|query| !query.is_empty());
    let text = |name| header.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let record = Record {
        site: site.map(|site| site.place),
        site_name: site.map_or("", |site| &site.name),
        kind: ctx.kind,
        outcome: ctx.outcome,
        status: session.response_written().map_or(0, |written| written.status.as_u16()),
        denial: ctx.denial,
        error: ctx.error,
        method: header.method.as_str(),
        host: host(header),
        path: &path,
        query: query.as_deref(),
        protocol: if session.is_http2() { Protocol::Http2 } else { Protocol::Http1 },
        tls: session.digest().is_some_and(|digest| digest.ssl_digest.is_some()),
        client: ctx.client,
        range: text(RANGE),
        bytes: session.body_bytes_sent() as u64,
        first_byte: ctx.first_byte.map(|at| at.duration_since(ctx.begun)),
        total: ended.duration_since(ctx.begun),
        coalesce_wait: ctx.coalesce_wait,
        age_s: ctx.age_and_ttl.map(|(age, _)| age),
        ttl_s: ctx.age_and_ttl.map(|(_, ttl)| ttl),
        session: ctx.token.as_ref().and_then(|token| token.terms().session.as_deref()),
        cmcd: cmcd.as_deref(),
        user_agent: text(USER_AGENT),
        tls_fingerprint: ja4(session).filter(|_| observer.tls_fingerprints).map(Ja4::as_str),
        hop: ctx.hop.as_ref().map(|hop| &*hop.name),
        aborted: error.is_some(),
        started: ctx.started,
    };
    observer.record(&record, ended);
}

/// What a player says of itself, in the query or else in header fields.
pub(super) fn cmcd(session: &Session) -> Option<String> {
    session.req_header().uri.query().and_then(cmcd_of).or_else(|| cmcd_headers(&session.req_header().headers))
}

fn is_cmcd(parameter: &str) -> bool {
    parameter.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("CMCD="))
}

/// The decoded value of the `CMCD` parameter.
pub(super) fn cmcd_of(query: &str) -> Option<String> {
    let value = query.split('&').find(|parameter| is_cmcd(parameter))?.get(5..)?;
    Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// What the CMCD fields say, joined.
pub(super) fn cmcd_headers(headers: &HeaderMap) -> Option<String> {
    let names = ["cmcd-request", "cmcd-object", "cmcd-status", "cmcd-session"];
    let values: Vec<&str> = names.iter().filter_map(|name| headers.get(*name)?.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn told_of(query: Cow<'_, str>, is_told: impl Fn(&str) -> bool) -> Cow<'_, str> {
    if query.split('&').all(&is_told) {
        return query;
    }
    Cow::Owned(query.split('&').filter(|parameter| is_told(parameter)).collect::<Vec<_>>().join("&"))
}
