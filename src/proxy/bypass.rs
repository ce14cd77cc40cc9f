//! Requests that pass through: by method, or by rule. They take the engine's own path to the origin, and nothing of
//! them is kept.

use http::Method;
use http::header::{CACHE_CONTROL, COOKIE, EXPIRES, HOST, HeaderName, HeaderValue, REFERER, VIA};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use super::ctx::RequestCtx;
use crate::admission::token::{self, Claims};
use crate::asset::Kind;
use crate::cache::{Policy, hide_from_viewers, tell_expires, tier};
use crate::deliver::carry;
use crate::deliver::fields::{self as answer, CACHE_STATUS, Forward, Told};
use crate::fields;
use crate::outcome::Outcome;
use crate::tier::loops::{self, CDN_LOOP};
use crate::tier::{Asking, HOP, Names};

/// Servers tried for a request that may be repeated.
const ATTEMPTS_MAX: u32 = 2;

/// Takes a turn at the origin, and a server.
pub(super) async fn choose_peer(method: &Method, ctx: &mut RequestCtx) -> Result<Box<HttpPeer>> {
    let Some(site) = ctx.site.clone() else {
        return Error::e_explain(ErrorType::InternalError, "a request without a site passes nowhere");
    };
    // A turn taken for an attempt that failed is given back before the next.
    ctx.upstream = None;
    ctx.attempts += 1;
    let upstream = site.origin.upstream_peer(method).await.map_err(|error| {
        // What the node keeps from an origin is told by its state, not once for each request.
        if error.is_refusal() {
            tracing::debug!(%error, "a request was not passed through");
        } else {
            tracing::warn!(%error, "a request could not be passed through");
        }
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
    let repeatable = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let mut again = repeatable && ctx.attempts < ATTEMPTS_MAX;
    if let Some(upstream) = &mut ctx.upstream {
        upstream.connect_failed();
        tracing::warn!(server = %upstream.server, %error, "a request could not be passed through");
        again = again && upstream.may_retry();
    }
    error.set_retry(again);
    error
}

/// Counts bytes of the answer's body that the engine has received.
///
/// # Errors
/// The whole transfer takes too long.
pub(super) fn count_body(bytes: usize, ctx: &mut RequestCtx) -> Result<()> {
    let Some(upstream) = &mut ctx.upstream else { return Ok(()) };
    upstream.count_body(bytes).map_err(|error| {
        tracing::warn!(%error, "a request could not be passed through");
        ctx.error = Some(error.as_str());
        Error::explain(ErrorType::ReadTimedout, error.as_str()).into_up()
    })
}

/// Notes that the exchange with the server has failed after it had begun.
pub(super) fn exchange_failed(ctx: &mut RequestCtx, error: &Error) {
    let is_its = *error.esource() == ErrorSource::Upstream
        && !matches!(error.etype(), ErrorType::WriteError | ErrorType::WriteTimedout);
    if let Some(upstream) = ctx.upstream.as_mut().filter(|_| is_its) {
        upstream.broke();
    }
}

/// The request as the origin gets it: in normal form and without the token, for the origin's own host, and without what
/// a client could use to be taken for another ([`crate::fields`]). The engine leaves out what belongs to the
/// connection.
pub(super) fn prepare_request(
    received: &RequestHeader,
    request: &mut RequestHeader,
    tls: bool,
    ctx: &mut RequestCtx,
) -> Result<()> {
    let Some(upstream) = &ctx.upstream else { return Ok(()) };
    upstream.count_request();
    let names = &upstream.identity.names;
    request.append_header(VIA, names.via.clone())?;
    if let Some(own) = loops::own(names) {
        request.append_header(CDN_LOOP, own)?;
    }
    let withheld: Vec<HeaderName> =
        request.headers.keys().filter(|name| fields::is_withheld(name.as_str())).cloned().collect();
    for name in &withheld {
        request.remove_header(name);
    }
    if let Ok(client) = HeaderValue::from_str(&ctx.client.to_string()) {
        request.insert_header(HeaderName::from_static("x-forwarded-for"), client)?;
    }
    let scheme = HeaderValue::from_static(if tls { "https" } else { "http" });
    request.insert_header(HeaderName::from_static("x-forwarded-proto"), scheme)?;
    if let Some(policy) = ctx.site.as_ref().and_then(|site| site.token.as_ref()) {
        take_token_out(policy, received, request, ctx)?;
    }
    upstream.complete(request, super::host(received)).map_err(|error| {
        tracing::debug!(%error, "a request cannot be passed through");
        Error::explain(ErrorType::HTTPStatus(error.status()), error.as_str()).into_up()
    })?;
    sign(received, request, ctx)
}

/// Says to a node of the next tier who asks, last of all: what is signed is what is sent.
fn sign(received: &RequestHeader, request: &mut RequestHeader, ctx: &RequestCtx) -> Result<()> {
    let (Some(upstream), Some(site)) = (&ctx.upstream, &ctx.site) else { return Ok(()) };
    let Some(role) = upstream.role else { return Ok(()) };
    let host = request.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let claims = site.keyed_claims(&super::asked(received, ctx));
    let hop = upstream.identity.sign(&Asking {
        role,
        method: request.method.as_str(),
        host,
        target: request.raw_path(),
        nodes: ctx.hop.as_ref().map_or(0, |hop| hop.nodes),
        hold: None,
        claims: claims.as_ref().unwrap_or(&Claims::NONE),
    });
    hop.map_or(Ok(()), |hop| request.insert_header(HOP, hop))
}

/// Takes the token out of everything that it may stand in.
fn take_token_out(
    policy: &token::Policy,
    received: &RequestHeader,
    request: &mut RequestHeader,
    ctx: &RequestCtx,
) -> Result<()> {
    let path = super::path_of(received, ctx);
    let query = received.uri.query().map(|query| policy.strip_query(query)).filter(|query| !query.is_empty());
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    request.set_raw_path(target.as_bytes())?;
    let referer = request.headers.get(REFERER).map(|referer| referer.to_str().unwrap_or_default());
    if let Some(referer) = referer.map(|referer| without_token(referer, policy)) {
        request.remove_header(&REFERER);
        if let Some(referer) = referer {
            request.insert_header(REFERER, referer)?;
        }
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

/// The URL of the page that a request comes from, without token; None: it is no URL, and goes no further.
fn without_token(referer: &str, policy: &token::Policy) -> Option<String> {
    let url: http::Uri = referer.parse().ok()?;
    let (scheme, authority) = (url.scheme_str()?, url.authority()?);
    let path = policy.strip_path(url.path()).1;
    let query = url.query().map(|query| policy.strip_query(query)).filter(|query| !query.is_empty());
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    Some(format!("{scheme}://{authority}{path}{query}"))
}

/// Why a request passes through.
pub(super) fn forward(method: &Method) -> Forward {
    if matches!(*method, Method::GET | Method::HEAD) { Forward::Bypass } else { Forward::Method }
}

/// The answer as the viewer gets it.
pub(super) fn prepare_response(
    request: &RequestHeader,
    header: &mut ResponseHeader,
    ctx: &RequestCtx,
    names: &Names,
) {
    let forward = forward(&request.method);
    let told = Told::without_object(names, Outcome::Bypass, Some(forward), Some(header.status.as_u16()));
    hide_from_viewers(header);
    tell_expires(header, ctx.started);
    answer::append(header, CACHE_STATUS, answer::cache_status(&told));
    answer::append(header, VIA, names.via.clone());
    if ctx.kind == Kind::Key {
        carry::make_private(header);
        answer::set(header, CACHE_CONTROL, HeaderValue::from_static("no-store"));
        header.remove_header(&EXPIRES);
    }
    let Some(site) = &ctx.site else { return };
    let rules = Policy::new(&site.rules, &ctx.held, super::path_of(request, ctx), ctx.kind);
    if let Some(rule) = rules.for_answer(header.status.as_u16(), ctx.kind) {
        answer::change(header, &rule.headers);
    }
    if let Some(cors) = ctx.cors(site) {
        answer::share(header, cors.headers(&request.headers));
    }
    answer::append_all(header, &ctx.fields);
    if ctx.hop.is_some() {
        tier::tell_unshared(header);
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
