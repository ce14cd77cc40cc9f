//! The way of a request, as a table of contents: this module alone knows the order of the stations.

mod bypass;
mod ctx;
mod lookup;
mod record;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONNECTION, HOST, RANGE, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};

use crate::admission::{client, cors, request};
use crate::asset;
use crate::cache::Policy;
use crate::clock::Clock;
use crate::coalesce::Coalescer;
use crate::config::model::{Limits, Server};
use crate::deliver::fields::{self, Told};
use crate::deliver::plan::{Plan, plan};
use crate::deliver::refuse::{self, Refused};
use crate::deliver::send;
use crate::observe::{Denial, Observer};
use crate::outcome::Outcome;
use crate::site::{Site, Sites, host_of};
use crate::store::Store;
use crate::store::object::HitHeader;

pub use ctx::RequestCtx;
use lookup::{Found, Missed, Wanted};

/// The data plane: everything a request meets.
pub struct Edge {
    /// Whose rules apply.
    pub sites: Sites,
    /// What is held.
    pub store: &'static Store,
    /// What is in flight.
    pub coalescer: Arc<Coalescer>,
    /// What is told.
    pub observer: Arc<Observer>,
    /// What time it is.
    pub clock: Clock,
    /// Timeouts and trusted proxies.
    pub server: Server,
    /// Bounds.
    pub limits: Limits,
}

/// Whether a request's header has come: the server gives a connection so long for it and no longer.
#[derive(Debug, Default)]
pub struct HeaderArrival(AtomicBool);

impl HeaderArrival {
    /// Whether it has come.
    pub fn has_come(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn mark(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What admission decided.
enum Admitted {
    /// The request goes on, for this path.
    On { path: String },
    /// The request is a preflight, answered by the site's rules.
    Preflight,
}

#[async_trait]
impl ProxyHttp for Edge {
    type CTX = RequestCtx;

    fn new_ctx(&self) -> RequestCtx {
        RequestCtx::new(self.clock.now())
    }

    fn on_connection_reuse(
        &self,
        _session: &mut Session,
        _ctx: &mut RequestCtx,
        context: Box<dyn std::any::Any + Send + Sync>,
    ) {
        if let Some(arrival) = context.downcast_ref::<Arc<HeaderArrival>>() {
            arrival.mark();
        }
    }

    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut RequestCtx) -> Result<()> {
        // The engine marks a connection that must close by no keep-alive: that stays.
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(self.server.idle_timeout.as_secs().max(1)));
        }
        session.set_pipelining_enabled(true);
        session.set_read_timeout(Some(self.server.request_timeout));
        session.set_write_timeout(Some(self.server.write_timeout));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<bool> {
        let admitted = match self.admit(session, ctx) {
            Ok(admitted) => admitted,
            Err(refused) => return self.refuse(session, ctx, refused).await,
        };
        let (Admitted::On { path }, Some(site)) = (admitted, ctx.site.clone()) else {
            return self.answer_preflight(session, ctx).await;
        };
        ctx.kind = asset::classify(&path);
        if self.passes_through(session.req_header(), &site, &path, ctx) {
            ctx.outcome = Outcome::Bypass;
            return Ok(false);
        }
        match self.find(session.req_header(), &site, &path, ctx).await {
            Ok(found) => self.deliver(session, ctx, &site, found).await.map(|()| true),
            Err(missed) => self.refuse(session, ctx, refused_by(missed)).await,
        }
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut RequestCtx) -> Result<Box<HttpPeer>> {
        bypass::choose_peer(ctx).await
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut RequestCtx,
        error: Box<Error>,
    ) -> Box<Error> {
        bypass::connect_failed(session.req_header(), ctx, error)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        bypass::prepare_request(session.req_header(), request, ctx)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        header: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        ctx.first_byte = Some(std::time::Instant::now());
        bypass::prepare_response(self.store, session.req_header(), header, ctx);
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<bytes::Bytes>,
        _end: bool,
        ctx: &mut RequestCtx,
    ) -> Result<Option<Duration>> {
        if let (Some(body), Some(upstream)) = (body, &ctx.upstream) {
            upstream.count_body(body.len());
        }
        Ok(None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut RequestCtx) -> FailToProxy {
        if ctx.error.is_none() {
            ctx.error = Some(error_word(error));
        }
        let status = bypass::status_of(error);
        if session.response_written().is_none() && status != 0 {
            let reason = ctx.error.unwrap_or("internal");
            let refused = Refused { status, reason, allow: None, outcome: Outcome::Error };
            // The client may have gone; there is nobody else to tell.
            let _ = self.refuse(session, ctx, refused).await;
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    fn persist_connection_context(
        &self,
        _session: &Session,
        _ctx: &RequestCtx,
    ) -> Option<Box<dyn std::any::Any + Send + Sync>> {
        // Its presence tells the server that the connection has carried a request.
        Some(Box::new(()))
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut RequestCtx) {
        record::record(&self.observer, session, error, ctx);
    }
}

impl Edge {
    /// Whose rules apply, and whether the request may go on by them.
    fn admit(&self, session: &Session, ctx: &mut RequestCtx) -> std::result::Result<Admitted, Refused> {
        let header = session.req_header();
        ctx.client = self.client_address(session);
        ctx.kind = asset::classify(header.uri.path());
        let form =
            request::check_form(&header.method, &header.uri, &header.headers, self.limits.request_target);
        form.map_err(|refusal| denied(ctx, refusal))?;
        if header.version == Version::HTTP_11 && !header.headers.contains_key(HOST) {
            // RFC 9112 section 3.2.
            return Err(denied(ctx, request::Refusal::TargetForm));
        }
        if is_framed_twice(session) {
            return Err(denied(ctx, request::Refusal::Body));
        }
        if session.is_http2() && matches!(header.method, Method::GET | Method::HEAD) && has_h2_body(session) {
            return Err(denied(ctx, request::Refusal::Body));
        }
        let site = self.sites.find(host(header)).ok_or_else(|| denied(ctx, request::Refusal::Host))?;
        ctx.site = Some(Arc::clone(site));
        if site.cors.is_some() && cors::is_preflight(&header.method, &header.headers) {
            return Ok(Admitted::Preflight);
        }
        request::check_method(&header.method, &site.methods).map_err(|refusal| denied(ctx, refusal))?;
        let Some(policy) = &site.token else {
            return Ok(Admitted::On { path: header.uri.path().to_owned() });
        };
        let cookies =
            header.headers.get_all(http::header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let now = self.clock.unix_seconds();
        match policy.admit(header.uri.path(), header.uri.query(), cookies, ctx.client, now) {
            Ok(admitted) => {
                ctx.session = admitted.session.map(std::borrow::Cow::into_owned);
                Ok(Admitted::On { path: admitted.path.to_owned() })
            }
            Err(refusal) => Err(denied(ctx, request::Refusal::Token(refusal.reason))),
        }
    }

    fn client_address(&self, session: &Session) -> std::net::IpAddr {
        let peer = session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip);
        let peer = peer.unwrap_or(std::net::IpAddr::from([0, 0, 0, 0]));
        let forwarded = session.req_header().headers.get_all("x-forwarded-for").iter();
        client::client_address(peer, forwarded, &self.server.trusted_proxies)
    }

    /// Whether the request goes to the origin by itself: by its method, or by a rule.
    fn passes_through(&self, header: &RequestHeader, site: &Site, path: &str, ctx: &RequestCtx) -> bool {
        !matches!(header.method, Method::GET | Method::HEAD)
            || Policy::new(&site.rules, path, ctx.kind).for_request().is_some_and(|rule| rule.bypass)
    }

    /// Look-up, and what comes of it.
    async fn find(
        &self,
        header: &RequestHeader,
        site: &Site,
        path: &str,
        ctx: &mut RequestCtx,
    ) -> std::result::Result<Found, Missed> {
        let wanted = Wanted {
            site,
            path,
            query: header.uri.query(),
            kind: ctx.kind,
            range: header.headers.get(RANGE).filter(|_| header.method == Method::GET),
            now: self.clock.now(),
            wait: self.limits.coalesce_wait,
        };
        let found = match lookup::fresh(self.store, &wanted) {
            Ok(found) => found,
            // Boxed, so that hits do not carry the state of a wait.
            Err((key, held)) => Box::pin(lookup::otherwise(&self.coalescer, &wanted, &key, held))
                .await
                .inspect_err(|missed| {
                    if *missed == Missed::WaitedTooLong {
                        self.observer.metrics.coalesce_timeout(Some(site.place));
                    }
                })?,
        };
        ctx.kind = found.object.kind;
        ctx.outcome = found.outcome;
        ctx.coalesce_wait = found.waited;
        ctx.error = found.reason;
        Ok(found)
    }

    /// Sends what was found.
    async fn deliver(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        site: &Site,
        mut found: Found,
    ) -> Result<()> {
        let request = session.req_header();
        let chosen = plan(&request.method, &request.headers, &found.object);
        if found.outcome == Outcome::Hit {
            found.outcome = lookup::outcome_of_fresh(&found.object, chosen, &request.method);
            ctx.outcome = found.outcome;
        }
        let mut header = self.header(ctx, &found, chosen);
        if let Some(cors) = &site.cors {
            fields::share(&mut header, cors.headers(&request.headers));
        }
        ctx.first_byte = Some(std::time::Instant::now());
        let downstream: &mut ServerSession = session.as_mut();
        // The ticket in `found` is held until the last byte.
        send::object(downstream, &found.object, chosen, header).await
    }

    /// The header of the answer; for a plain hit, made once a second and copied.
    fn header(&self, ctx: &mut RequestCtx, found: &Found, chosen: Plan) -> ResponseHeader {
        let now = self.clock.now();
        let age_seconds = found.object.lifetime.age_seconds(now);
        let ttl_seconds = found.object.lifetime.ttl_seconds(now);
        ctx.age_and_ttl = Some((i64::try_from(age_seconds).unwrap_or(i64::MAX), ttl_seconds));
        let told = Told { outcome: found.outcome, age_seconds, ttl_seconds, stored: found.object.shared };
        if found.outcome != Outcome::Hit || chosen != Plan::Whole {
            let mut header = fields::header(&found.object, chosen, &told);
            let milliseconds = ctx.begun.elapsed().as_secs_f64() * 1000.0;
            fields::set(
                &mut header,
                fields::SERVER_TIMING,
                fields::server_timing(found.outcome, Some(milliseconds)),
            );
            return header;
        }
        if let Some(ready) = &*found.object.hit_header.load()
            && (ready.age_seconds, ready.ttl_seconds) == (age_seconds, ttl_seconds)
        {
            return ready.header.clone();
        }
        let mut header = fields::header(&found.object, chosen, &told);
        fields::set(&mut header, fields::SERVER_TIMING, fields::server_timing(found.outcome, None));
        self.store.keep_on_disk(&found.object);
        let ready = HitHeader { age_seconds, ttl_seconds, header: header.clone() };
        found.object.hit_header.store(Some(Arc::new(ready)));
        header
    }

    async fn answer_preflight(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<bool> {
        ctx.outcome = Outcome::Bypass;
        ctx.first_byte = Some(std::time::Instant::now());
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = StatusCode::NO_CONTENT;
        let mut header = ResponseHeader::from(parts);
        if let Some(cors) = ctx.site.as_ref().and_then(|site| site.cors.as_ref()) {
            for (name, value) in cors.preflight(&session.req_header().headers) {
                fields::append(&mut header, name, value);
            }
        }
        send::head(session.as_mut(), header).await?;
        Ok(true)
    }

    /// Answers with a refusal or a failure.
    async fn refuse(&self, session: &mut Session, ctx: &mut RequestCtx, refused: Refused) -> Result<bool> {
        ctx.outcome = refused.outcome;
        if refused.outcome == Outcome::Error {
            ctx.error = Some(refused.reason);
        }
        ctx.first_byte = Some(std::time::Instant::now());
        let cors = ctx.site.as_ref().and_then(|site| site.cors.as_ref());
        let extra = cors.into_iter().flat_map(|cors| cors.headers(&session.req_header().headers));
        let (header, body) = refuse::response(&refused, extra);
        if refused.status == 400 {
            // What follows on this connection cannot be trusted to be a request.
            session.set_keepalive(None);
        }
        send::text(session.as_mut(), header, body).await?;
        Ok(true)
    }
}

/// The host asked for: of an absolute target, else of `Host`.
fn host(header: &RequestHeader) -> &str {
    let named = || header.headers.get(HOST).and_then(|host| host.to_str().ok());
    host_of(header.uri.authority().map(http::uri::Authority::as_str).or_else(named).unwrap_or_default())
}

/// Whether a request came with both `Content-Length` and `Transfer-Encoding` (RFC 9112 section 6.3). The engine has
/// taken the length away and marked the connection to close, which nothing else in such a request would explain.
fn is_framed_twice(session: &Session) -> bool {
    let headers = &session.req_header().headers;
    let asks_to_close =
        headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    headers.contains_key(TRANSFER_ENCODING) && session.get_keepalive().is_none() && !asks_to_close
}

/// Whether a request over HTTP/2 goes on after its header.
fn has_h2_body(session: &Session) -> bool {
    session.as_http2().is_some_and(|h2| !h2.is_body_empty())
}

/// A refusal of admission, noted for the record.
fn denied(ctx: &mut RequestCtx, refusal: request::Refusal) -> Refused {
    ctx.denial = Some(match refusal {
        request::Refusal::Token(reason) => Denial::Token(reason.as_str()),
        other => Denial::Other(other.as_str()),
    });
    let allow = match (refusal, &ctx.site) {
        (request::Refusal::Method, Some(site)) => Some(site.allow.clone()),
        _ => None,
    };
    Refused { status: refusal.status().as_u16(), reason: refusal.as_str(), allow, outcome: Outcome::Denied }
}

fn refused_by(missed: Missed) -> Refused {
    let (status, reason) = match missed {
        Missed::Failed(failure) => (failure.status, failure.reason),
        Missed::WaitedTooLong => (504, "coalesce_wait"),
        Missed::TooManyWaiters => (503, "too_many_waiters"),
    };
    Refused { status, reason, allow: None, outcome: Outcome::Error }
}

/// A word of a closed list for what broke a request off.
fn error_word(error: &Error) -> &'static str {
    match (error.esource(), error.etype()) {
        (_, ErrorType::WriteTimedout) => "write_timeout",
        (pingora::ErrorSource::Downstream, _) | (_, ErrorType::WriteError) => "client_gone",
        (_, ErrorType::ReadError) => "body_broken",
        (pingora::ErrorSource::Upstream, ErrorType::ReadTimedout) => "first_byte_timeout",
        (pingora::ErrorSource::Upstream, _) => "connect",
        _ => "internal",
    }
}
