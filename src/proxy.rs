//! The way of a request, as a table of contents: this module alone knows the order of the stations.

mod admit;
mod announce;
mod answer;
mod bypass;
mod carry;
mod cmsd;
mod ctx;
pub(crate) mod edge_made;
mod entitle;
pub(crate) mod entry;
mod health;
mod invalidate;
mod lookup;
mod newest;
mod parking;
mod poll;
mod purge;
mod record;
mod reload;
mod steer;
mod tier;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use http::header::{CACHE_CONTROL, HOST, PRAGMA, RANGE};
use ipnet::IpNet;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};

use crate::admission::ja4::Ja4;
use crate::admission::rate::KeyRate;
use crate::admission::request::host_of;
use crate::asset::Kind;
use crate::cache::RequestDirectives;
use crate::clock::Clock;
use crate::coalesce::Coalescer;
use crate::config::model::{Limits, Server};
use crate::deliver::carry::Carrier;
use crate::deliver::encode::Encoder;
use crate::deliver::refuse::Refused;
use crate::observe::Observer;
use crate::outcome::Outcome;
use crate::peers::Peers;
use crate::prefetch::Prefetcher;
use crate::purge::Purger;
use crate::site::{Asked, Site, Sites};
use crate::store::Store;
use crate::tier::{Hop, Identity, Role, TierMetrics};

use admit::Admitted;
use answer::refused_by;
pub use ctx::RequestCtx;
use edge_made::Directed;
use entitle::Decided;
pub use entitle::Entitlements;
pub use health::Health;
use lookup::{Found, Missed, NotFresh, Wanted};
pub use parking::Parking;
pub use poll::Polls;
pub use steer::Steerer;

/// The data plane: everything a request meets.
pub struct Edge {
    /// Whose rules apply.
    pub sites: Arc<Sites>,
    /// What is held.
    pub store: &'static Store,
    /// What is in flight.
    pub coalescer: Arc<Coalescer>,
    /// What fetches ahead.
    pub prefetcher: Arc<Prefetcher>,
    /// Who is held.
    pub parking: Parking,
    /// What asks origins for viewers who are held.
    pub polls: Polls,
    /// What makes encoded copies.
    pub encoder: Encoder,
    /// What puts viewers' tokens into playlists.
    pub carrier: Carrier,
    /// What is told.
    pub observer: Arc<Observer>,
    /// What time it is.
    pub clock: Clock,
    /// Timeouts and trusted proxies.
    pub server: Server,
    /// Bounds.
    pub limits: Limits,
    /// Does what `PURGE` asks for.
    pub purger: Arc<Purger>,
    /// Whether good tokens still hold.
    pub entitlements: Arc<Entitlements>,
    /// How often clients may ask for keys.
    pub key_rate: KeyRate,
    /// Clients whose `PURGE` purges; empty: the method means nothing.
    pub purge_from: Vec<IpNet>,
    /// What the node is called in `CMSD-Dynamic`.
    pub cmsd_node: String,
    /// What steering needs to know.
    pub steerer: Steerer,
    /// The other nodes of the tier.
    pub peers: Option<Arc<Peers>>,
    /// Who this node is to others, and whom it takes for one.
    pub identity: Arc<Identity>,
    /// What is counted of them.
    pub tier: TierMetrics,
    /// How long a request of another node waits until this one knows of the purges that that one knows of.
    pub catch_up_wait: Duration,
    /// What answers health checks on viewers' listeners.
    pub health: Option<Health>,
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
        if let Some(health) = self.health_check(session) {
            ctx.is_health_check = true;
            return Box::pin(self.answer_health_check(session, health)).await;
        }
        let admitted = match self.admit(session, ctx) {
            Err(refused) if admit::lacks_keys(ctx) => {
                Box::pin(self.admit_with_new_keys(session, ctx, refused)).await
            }
            admitted => admitted,
        };
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => return self.refuse(session, ctx, refused).await,
        };
        // By HEAD a peer asks whether this node is there, and nothing else.
        let is_probe = |hop: &Hop| hop.role == Role::Peer && session.req_header().method == Method::HEAD;
        if ctx.hop.as_ref().is_some_and(|hop| hop.watermark.is_some() && !is_probe(hop)) {
            // Boxed, so that hits do not carry the state of a wait.
            Box::pin(self.catch_up(ctx)).await;
        }
        let site = match (admitted, ctx.site.clone()) {
            (Admitted::On, Some(site)) => site,
            (Admitted::Purge, Some(site)) => return Box::pin(self.purge(session, ctx, &site)).await,
            _ => return self.answer_preflight(session, ctx).await,
        };
        let held = match self.entitle(session, ctx, &site) {
            Decided::Holds => Ok(()),
            Decided::Refused(reason) => Err(reason),
            // Boxed, so that hits do not carry the state of a wait.
            Decided::Ask(question) => Box::pin(self.entitlements.ask(question)).await,
        };
        if let Err(reason) = held {
            let refused = self.not_entitled(session, ctx, reason);
            return self.refuse(session, ctx, refused).await;
        }
        if let Err(instead) = self.renew(session, ctx) {
            return self.refuse(session, ctx, instead).await;
        }
        if let Some(steering) = site.steers(path_of(session.req_header(), ctx)) {
            return Box::pin(self.steer(session, ctx, &site, steering)).await;
        }
        ctx.kind = site.kind(path_of(session.req_header(), ctx));
        ctx.held = site.held(&session.req_header().method, &session.req_header().headers);
        if ctx.kind == Kind::Key
            && ctx.hop.is_none()
            && let Err(refused) = self.count_key(ctx)
        {
            return self.refuse(session, ctx, refused).await;
        }
        let asked = asked(session.req_header(), ctx);
        if passes_through(&session.req_header().method, &site, &asked) {
            ctx.outcome = Outcome::Bypass;
            return Ok(false);
        }
        let found = if reload::is_directed(ctx.kind, session.req_header()) {
            let directed = Directed::of(&site, &asked);
            // Boxed, so that hits do not carry the state of a wait.
            Box::pin(self.find_directed(session, ctx, &site, directed.as_ref())).await?
        } else {
            let wanted = self.wanted((session.req_header(), ctx), &site, asked);
            let found = self.find(&wanted).await.map_err(refused_by);
            found.map(|found| self.newest(&wanted, found))
        };
        match found {
            Ok(found) => {
                ctx.kind = found.object.kind;
                ctx.outcome = found.outcome;
                ctx.coalesce_wait = found.waited;
                ctx.error = found.reason;
                self.prefetcher.note_answer(&site, &found.object);
                self.hear(session, ctx, &site);
                let has_waited = found.waited.is_some();
                let delivered = self.deliver(session, ctx, &site, found).await;
                if has_waited {
                    // Others whom the same answer has woken are sent it before this one's next request is read.
                    tokio::task::yield_now().await;
                }
                delivered.map(|()| true)
            }
            Err(refused) => self.refuse(session, ctx, refused).await,
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<Box<HttpPeer>> {
        bypass::choose_peer(&session.req_header().method, ctx).await
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
        let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        bypass::prepare_request(session.req_header(), request, tls, ctx)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        header: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        ctx.first_byte = Some(std::time::Instant::now());
        if let Some(upstream) = &mut ctx.upstream {
            upstream.answered(header.status.as_u16());
        }
        let over_tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        invalidate::invalidate(self, session.req_header(), header, ctx, over_tls).await;
        if let Some(upstream) = &mut ctx.upstream {
            upstream.hide_words(header);
        }
        bypass::prepare_response(session.req_header(), header, ctx, &self.identity.names);
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<bytes::Bytes>,
        _end: bool,
        ctx: &mut RequestCtx,
    ) -> Result<Option<Duration>> {
        if let Some(bytes) = body {
            bypass::count_body(bytes.len(), ctx)?;
            if ctx.upstream.as_ref().is_some_and(|upstream| upstream.hides_body()) {
                bytes.clear();
            }
            self.steerer.egress.iter().for_each(|egress| egress.add(bytes.len()));
        }
        Ok(None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut RequestCtx) -> FailToProxy {
        if ctx.error.is_none() {
            ctx.error = Some(error_word(error));
        }
        bypass::exchange_failed(ctx, error);
        let status = bypass::status_of(error);
        if session.response_written().is_none() && status != 0 {
            let reason = ctx.error.unwrap_or("internal");
            let passed = ctx.outcome == Outcome::Bypass;
            let forward = passed.then(|| bypass::forward(&session.req_header().method));
            let refused = Refused {
                status,
                reason,
                allow: None,
                fields: Vec::new(),
                outcome: Outcome::Error,
                forward,
                detail: None,
            };
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
        if let Some(upstream) = ctx.upstream.as_mut().filter(|_| error.is_none()) {
            upstream.ended();
        }
        if !ctx.is_health_check {
            record::record(&self.observer, session, error, ctx);
        }
    }
}

impl Edge {
    /// What a request wants.
    fn wanted<'a>(
        &self,
        (header, ctx): (&'a RequestHeader, &'a RequestCtx),
        site: &'a Arc<Site>,
        asked: Asked<'a>,
    ) -> Wanted<'a> {
        // Most requests say nothing of caching: for them no rule is asked.
        let says = header.headers.contains_key(CACHE_CONTROL) || header.headers.contains_key(PRAGMA);
        let from_peer = ctx.hop.as_ref().is_some_and(|hop| hop.role == Role::Peer);
        // Nodes ask one another only for what they mean.
        let obeyed = says
            && (from_peer || site.policy(&asked).for_request().is_some_and(|(_, rule)| rule.obey_client));
        Wanted {
            site,
            directives: RequestDirectives::of(&header.headers, obeyed),
            asked,
            range: header.headers.get(RANGE).filter(|_| header.method == Method::GET),
            ranges_max: self.limits.ranges,
            now: self.clock.now(),
            wait: self.limits.coalesce_wait,
            holds: false,
            host: host(header),
            hop: ctx.hop.as_ref(),
        }
    }

    /// Look-up, and what comes of it.
    async fn find(&self, wanted: &Wanted<'_>) -> std::result::Result<Found, Missed> {
        let found = self.find_any(wanted).await?;
        Ok(match wanted.is_from_peer() {
            true => Found { object: lookup::direct(found.object), ..found },
            false => found,
        })
    }

    async fn find_any(&self, wanted: &Wanted<'_>) -> std::result::Result<Found, Missed> {
        match lookup::fresh(self.store, wanted) {
            Ok(found) => Ok(found),
            // Boxed, so that hits do not carry the state of a wait.
            Err(NotFresh::Place(place)) => {
                Box::pin(lookup::otherwise(&self.coalescer, self.store, wanted, place)).await.inspect_err(
                    |missed| {
                        if *missed == Missed::WaitedTooLong {
                            self.observer.metrics.coalesce_timeout(Some(wanted.site.place));
                        }
                    },
                )
            }
            Err(NotFresh::Unkeyable) => Err(Missed::Unkeyable),
        }
    }
}

/// The path of a request that has been admitted, without its token.
fn path_of<'a>(header: &'a RequestHeader, ctx: &RequestCtx) -> &'a str {
    header.uri.path().get(ctx.token_bytes..).unwrap_or("/")
}

/// The request as the rules see it.
fn asked<'a>(header: &'a RequestHeader, ctx: &'a RequestCtx) -> Asked<'a> {
    Asked {
        path: path_of(header, ctx),
        query: header.uri.query(),
        kind: ctx.kind,
        headers: &header.headers,
        claims: ctx.claims(),
        held: &ctx.held,
    }
}

/// Whether the request goes to the origin by itself: by its method, by a rule, because it is for an encryption key or a
/// licence, which is never shared, or because it has no key.
pub(crate) fn passes_through(method: &Method, site: &Site, asked: &Asked<'_>) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
        || asked.kind == Kind::Key
        || site.policy(asked).for_request().is_some_and(|(_, rule)| {
            rule.bypass || (rule.key.is_of_request() && site.with_key(asked, |_, _| ()).is_err())
        })
}

/// The fingerprint of the client's ClientHello, where the server has looked at it.
fn ja4(session: &Session) -> Option<&Ja4> {
    session.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
}

/// The host asked for.
fn host(header: &RequestHeader) -> &str {
    host_of(authority(header))
}

/// The same with its port.
fn authority(header: &RequestHeader) -> &str {
    let named = || header.headers.get(HOST).and_then(|host| host.to_str().ok());
    header.uri.authority().map(http::uri::Authority::as_str).or_else(named).unwrap_or_default()
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
