//! Requests that go by the engine's own upstream path: the server they go to, the turn they take, and what is learned of
//! the group from them.
//!
//! Called by the proxy, which passes on what the engine tells it of the exchange.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderValue, Method, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use tokio::time::Instant;

use super::breaker::Pass;
use super::budget::Budget;
use super::error::{ErrorKind, OriginError};
use super::gate::{Class, Permit};
use super::metrics::{FellBack, OriginMetrics};
use super::server::{Reach, Server};
use super::{FetchReason, OriginGroup};
use super::{exchange, sign};
use crate::tier::{Identity, Role};

/// A server chosen for a request that goes by the engine's own upstream path.
pub struct UpstreamPeer {
    /// How the engine reaches it: timeouts set, upgrades refused. Over HTTP/2 it has a connection to itself, so that a
    /// viewer who reads slowly holds nobody else's answer.
    pub peer: Box<HttpPeer>,
    /// Whether what it says of errors was kept from the viewer.
    words_hidden: bool,
    /// The `Host` it expects.
    pub host: HeaderValue,
    /// Who this node is.
    pub identity: Arc<Identity>,
    /// What this node is to it, where it is another node.
    pub role: Option<Role>,
    reach: Arc<Reach>,
    /// Its authority; for logs, never for viewers.
    pub server: Arc<str>,
    address: SocketAddr,
    chosen: Arc<Server>,
    metrics: Arc<OriginMetrics>,
    /// When the whole transfer must have ended.
    until: Instant,
    /// Leave of the circuit; to be told what becomes of the request.
    pass: Option<Pass>,
    budget: Arc<Budget>,
    /// Whether there was no connection.
    unreached: bool,
    /// Whether the answer's status is none of failure.
    good: bool,
    /// Whether it has taken longer than it may as a whole.
    late: bool,
    /// Statuses that count as failures.
    failing: Arc<[u16]>,
    /// The turn; to be held until the request ends.
    pub permit: Permit,
}

impl OriginGroup {
    /// A server for a request that goes by the engine's own upstream path, and the turn to be held meanwhile. GET and HEAD
    /// go to the fallback where the circuit is open or no server is usable.
    ///
    /// # Errors
    ///
    /// When there is no turn, or the server's name cannot be resolved.
    pub async fn upstream_peer(&self, method: &Method) -> Result<UpstreamPeer, OriginError> {
        let safe = matches!(*method, Method::GET | Method::HEAD);
        let next = self.fallback.get().filter(|_| safe);
        let reason = match () {
            () if self.is_open() => Some(FellBack::CircuitOpen),
            () if self.is_down() => Some(FellBack::Unhealthy),
            () => None,
        };
        if let Some((next, reason)) = next.zip(reason)
            && let Some(peer) = self.peer_of(next, method, reason).await
        {
            return Ok(peer);
        }
        let (permit, mut pass) = match (self.enter(Class::Media, false).await, next) {
            // Meanwhile; or it is half open, and enough probes are under way.
            (Err(refused @ OriginError::CircuitOpen { .. }), Some(next)) if reason.is_none() => {
                return self.peer_of(next, method, FellBack::CircuitOpen).await.ok_or(refused);
            }
            (entered, _) => entered?,
        };
        self.budget.earn(Instant::now());
        let list = self.list().await?;
        let chosen = Arc::clone(&list.servers[self.choose(&list, None, &[])]);
        let address = chosen.first_address(&self.reach).await.inspect_err(|error| {
            self.metrics.error(error.kind());
            chosen.record.failed();
            tell(&mut pass, false);
        })?;
        Ok(UpstreamPeer {
            peer: Box::new(chosen.peer(address, &self.reach)),
            host: chosen.host.clone(),
            identity: Arc::clone(&self.reach.identity),
            role: self.reach.role,
            reach: Arc::clone(&self.reach),
            words_hidden: false,
            server: Arc::clone(&chosen.authority),
            address,
            chosen,
            metrics: Arc::clone(&self.metrics),
            until: Instant::now() + self.reach.timeouts.total,
            pass,
            budget: Arc::clone(&self.budget),
            unreached: false,
            good: false,
            late: false,
            failing: Arc::clone(&self.failing),
            permit,
        })
    }

    /// A server of the fallback.
    async fn peer_of(&self, next: &OriginGroup, method: &Method, reason: FellBack) -> Option<UpstreamPeer> {
        self.note_fallback(next, reason);
        // Boxed: each group on the way has a state of its own.
        Box::pin(next.upstream_peer(method)).await.ok()
    }
}

fn tell(pass: &mut Option<Pass>, good: bool) {
    if let Some(pass) = pass {
        pass.tell(Some(good));
    }
}

impl UpstreamPeer {
    /// Makes the header of a request ready to be sent: for the server's host, or `host`, the viewer's, where the group says
    /// so; signed. The last change to it.
    ///
    /// # Errors
    /// [`OriginError::Request`] when it cannot be sent.
    pub fn complete(&self, request: &mut RequestHeader, host: &str) -> Result<(), OriginError> {
        let target = request.uri.path().to_owned();
        let completed = request
            .insert_header(header::HOST, self.host.clone())
            .map_err(|error| error.to_string())
            .and_then(|()| sign::complete(request, &self.reach, Some(host), SystemTime::now()));
        completed.map_err(|reason| {
            self.metrics.error(ErrorKind::Request);
            OriginError::Request { target, reason }
        })
    }

    /// Takes out of the header of an answer, and notes for [`UpstreamPeer::hides_body`], what an object store says of an
    /// error.
    pub fn hide_words(&mut self, header: &mut ResponseHeader) {
        self.words_hidden = self.reach.hides_errors() && exchange::hide_words(header);
    }

    /// Whether the body of the answer is not for the viewer.
    pub fn hides_body(&self) -> bool {
        self.words_hidden
    }

    /// The engine has sent the request.
    pub fn count_request(&self) {
        self.metrics.request(FetchReason::Bypass);
    }

    /// The engine has received `bytes` of the answer's body.
    ///
    /// # Errors
    ///
    /// [`OriginError::TotalTimeout`]: the whole transfer takes longer than `timeouts.total`.
    pub fn count_body(&mut self, bytes: usize) -> Result<(), OriginError> {
        self.metrics.body(bytes);
        if Instant::now() < self.until {
            return Ok(());
        }
        self.late = true;
        self.metrics.error(ErrorKind::TotalTimeout);
        Err(OriginError::TotalTimeout { server: Arc::clone(&self.server) })
    }

    /// A header has arrived. An interim one (1xx) tells nothing; a good one is a success of the server when the body has come
    /// too ([`UpstreamPeer::ended`]).
    pub fn answered(&mut self, status: u16) {
        if status < 200 {
            return;
        }
        self.good = !self.failing.contains(&status);
        tell(&mut self.pass, self.good);
        if !self.good {
            self.chosen.record.failed();
        }
    }

    /// The exchange has come to its end, and nothing was wrong with it.
    pub fn ended(&mut self) {
        if self.good {
            self.chosen.record.succeeded();
        }
    }

    /// The engine could not connect: the server's next address takes its turn.
    pub fn connect_failed(&mut self) {
        self.unreached = true;
        self.metrics.error(ErrorKind::Connect);
        self.chosen.address_failed(self.address);
        self.chosen.record.failed();
        tell(&mut self.pass, false);
    }

    /// Whether the request may be sent again, by `retry.budget`; if so, it is counted.
    pub fn may_retry(&self) -> bool {
        let may = self.budget.spend(Instant::now());
        if may {
            self.metrics.retry()
        } else {
            self.metrics.budget_exhausted()
        }
        may
    }

    /// The exchange broke off, by the server's fault; not where it was ended here, for what may be the viewer's slowness.
    pub fn broke(&mut self) {
        if self.unreached || self.late {
            return;
        }
        self.chosen.record.broke();
        match &mut self.pass {
            Some(pass) if pass.is_told() => pass.afterwards().failed(),
            pass => tell(pass, false),
        }
    }
}
