//! Requests that pass through: by method, or by rule. They take the engine's own path to the origin, and nothing of
//! them is kept.

use http::header::{COOKIE, HOST, HeaderName, HeaderValue, VIA};
use http::{Method, Uri};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use super::ctx::RequestCtx;
use super::lookup::with_site_key;
use crate::deliver::fields::{self, CACHE_STATUS, Told};
use crate::outcome::Outcome;
use crate::store::Store;

/// Servers tried for a request that may be repeated.
const ATTEMPTS_MAX: u32 = 2;

/// Fields by which a client could make an origin answer for another target than the one that was admitted.
const OVERRIDES: [&str; 7] = [
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-forwarded-host",
    "forwarded",
];

/// Takes a turn at the origin, and a server.
pub(super) async fn choose_peer(ctx: &mut RequestCtx) -> Result<Box<HttpPeer>> {
    let Some(site) = ctx.site.clone() else {
        return Error::e_explain(ErrorType::InternalError, "a request without a site passes nowhere");
    };
    // A turn taken for an attempt that failed is given back before the next.
    ctx.upstream = None;
    ctx.attempts += 1;
    let upstream = site.origin.upstream_peer().await.map_err(|error| {
        tracing::warn!(%error, "a request could not be passed through");
        ctx.error = Some(error.as_str());
        Error::explain(ErrorType::HTTPStatus(error.status()), error.as_str()).into_up()
    })?;
    let peer = upstream.peer.clone();
    ctx.upstream = Some(upstream);
    Ok(peer)
}

/// Notes that a server cannot be reached; another is tried.
pub(super) fn connect_failed(
    request: &RequestHeader,
    ctx: &mut RequestCtx,
    mut error: Box<Error>,
) -> Box<Error> {
    if let Some(upstream) = &ctx.upstream {
        upstream.connect_failed();
        tracing::warn!(server = %upstream.server, %error, "a request could not be passed through");
    }
    let repeatable = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    error.set_retry(repeatable && ctx.attempts < ATTEMPTS_MAX);
    error
}

/// The request as the origin gets it: without the token, for the origin's own host.
pub(super) fn prepare_request(
    received: &RequestHeader,
    request: &mut RequestHeader,
    ctx: &mut RequestCtx,
) -> Result<()> {
    let Some(upstream) = &ctx.upstream else { return Ok(()) };
    upstream.count_request();
    request.insert_header(HOST, upstream.host.clone())?;
    request.append_header(VIA, HeaderValue::from_static("1.1 forebay"))?;
    for name in OVERRIDES {
        request.remove_header(name);
    }
    let forwarded = HeaderValue::from_str(&ctx.client.to_string());
    if let Ok(forwarded) = forwarded {
        request.insert_header(HeaderName::from_static("x-forwarded-for"), forwarded)?;
    }
    let Some(policy) = ctx.site.as_ref().and_then(|site| site.token.as_ref()) else { return Ok(()) };
    let (_, path) = policy.strip_path(received.uri.path());
    let query = received.uri.query().map(|query| policy.strip_query(query)).filter(|query| !query.is_empty());
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    if let Ok(uri) = target.parse::<Uri>() {
        request.set_uri(uri);
    }
    let cookies: Vec<String> = received
        .headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|cookie| cookie.to_str().ok())
        .map(|cookie| policy.strip_cookie(cookie).into_owned())
        .filter(|cookie| !cookie.is_empty())
        .collect();
    request.remove_header(&COOKIE);
    for cookie in cookies {
        request.append_header(COOKIE, cookie)?;
    }
    Ok(())
}

/// The answer as the viewer gets it. An answer to an unsafe method that is no error invalidates what is held for its
/// target (RFC 9111 section 4.4).
pub(super) fn prepare_response(
    store: &Store,
    request: &RequestHeader,
    header: &mut ResponseHeader,
    ctx: &RequestCtx,
) {
    let told = Told { outcome: Outcome::Bypass, age_seconds: 0, ttl_seconds: 0, stored: false };
    fields::append(header, CACHE_STATUS, fields::cache_status(&told));
    fields::append(header, VIA, HeaderValue::from_static("1.1 forebay"));
    let Some(site) = &ctx.site else { return };
    if let Some(cors) = &site.cors {
        fields::share(header, cors.headers(&request.headers));
    }
    let is_safe = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if !is_safe && (header.status.is_success() || header.status.is_redirection()) {
        let path =
            site.token.as_ref().map_or(request.uri.path(), |policy| policy.strip_path(request.uri.path()).1);
        with_site_key(site, path, request.uri.query(), ctx.kind, |hash, text| store.remove(hash, text));
    }
}

/// The status that a failed request is answered with; 0: the client has gone, nothing is.
pub(super) fn status_of(error: &Error) -> u16 {
    match (error.esource(), error.etype()) {
        (_, ErrorType::HTTPStatus(status)) => *status,
        (ErrorSource::Downstream, ErrorType::InvalidHTTPHeader) => 400,
        (ErrorSource::Downstream, _) | (_, ErrorType::WriteError | ErrorType::WriteTimedout) => 0,
        (ErrorSource::Upstream, ErrorType::ReadTimedout | ErrorType::ConnectTimedout) => 504,
        _ => 502,
    }
}
