//! One server of an origin group: its name, its addresses, its health, and how the engine is told to reach it.
//!
//! Decides how a connection is opened: which addresses, how long each, what is trusted. Which server is asked is the
//! group's decision; what is said on the connection is [`super::exchange`]'s.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use http::HeaderValue;
use pingora::connectors::http::Connector;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora::utils::tls::CertKey;
use pingora::{BError, ErrorType};
use prometheus::IntGauge;

use super::eject::Record;
use super::error::{OriginError, OriginSetupError};
use super::members::Found;
use super::own::Own;
use super::owner::Rest;
use super::resolve::Addresses;
use super::ring::Load;
use super::sign::Signing;
use crate::config::model::{Origin, OriginHeaders, OriginServer, OriginTimeouts};
use crate::tier::{Identity, Role};

/// How long a connection may stand idle in the pool. Servers commonly close after 60 or 75 s; being first avoids the
/// race between their close and our next request. A server that announces less (`Keep-Alive: timeout=`) gets less.
pub(super) const POOL_IDLE: Duration = Duration::from_secs(50);

/// Requests under way at once on one connection of HTTP/2; of more, further ones have a connection of their own. A server
/// may allow fewer.
const H2_STREAMS_MAX: usize = 100;

/// Bytes that a server may send of one answer before they are read (RFC 9113 section 5.2): 160 Mbit/s at 100 ms.
const H2_STREAM_WINDOW: u32 = 2 << 20;

/// The same for all answers of a connection: as much as its streams may have, so that one that is read slowly, and keeps
/// what has come, holds none of the others.
const H2_CONNECTION_WINDOW: u32 = H2_STREAM_WINDOW * H2_STREAMS_MAX as u32;

/// How often a connection of HTTP/2 is asked whether it still lives; the engine gives it 5 s to answer.
const H2_PING_INTERVAL: Duration = Duration::from_secs(10);

/// The least time that a connection is given, so that none is asked for without any.
const CONNECT_TIME_MIN: Duration = Duration::from_millis(1);

/// Set in a peer's group key to keep pooled connections out of its reach.
const FRESH_ONLY: u64 = 1 << 63;

/// One server.
pub(super) struct Server {
    /// `host` or `host:port`; what logs and metrics call it.
    pub(super) authority: Arc<str>,
    /// The `Host` sent to it.
    pub(super) host: HeaderValue,
    /// The server name of TLS.
    sni: String,
    place: OriginServer,
    addresses: Addresses,
    healthy: AtomicBool,
    gauge: IntGauge,
    /// What became of the requests to it.
    pub(super) record: Arc<Record>,
    /// Requests under way.
    pub(super) load: Load,
    /// Whether it is left alone for a while.
    pub(super) rest: Rest,
    /// Held while a connection is asked for that many requests are to share.
    opening: tokio::sync::Mutex<()>,
    /// Whether it has chosen HTTP/1.1 where HTTP/2 was offered.
    speaks_http1: AtomicBool,
}

/// What a group's connections have in common.
pub(super) struct Reach {
    pub(super) timeouts: OriginTimeouts,
    /// The authorities trusted; None: the system's.
    pub(super) authorities: Option<Arc<CaType>>,
    /// What is shown to servers that ask for a certificate.
    pub(super) client: Option<Arc<CertKey>>,
    /// Keeps connections apart that were checked against other authorities, or made with another certificate.
    pub(super) pool_key: u64,
    /// Whether HTTP/2 is spoken.
    pub(super) http2: bool,
    /// Whether the host that the viewer asks for is sent.
    pub(super) forward_host: bool,
    /// Changes to the header of requests.
    pub(super) headers: OriginHeaders,
    /// What is signed, in this order.
    pub(super) signing: Vec<Signing>,
    /// Who this node is.
    pub(super) identity: Arc<Identity>,
    /// What this node is to the servers, where they are nodes of the next tier: requests say so.
    pub(super) role: Option<Role>,
}

impl Reach {
    /// Whether what servers say of errors is not for viewers: an object store quotes keys and names.
    pub(super) fn hides_errors(&self) -> bool {
        self.signing.iter().any(|signing| matches!(signing, Signing::S3(_)))
    }
}

/// Whether a pooled connection will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    /// A pooled connection, or a new one where there is none.
    Allowed,
    /// A new connection.
    Fresh,
}

/// An open connection to a server.
pub(super) struct Connection {
    pub(super) session: HttpSession,
    /// The key under which the connection goes back to the pool.
    pub(super) peer: HttpPeer,
    pub(super) reused: bool,
    /// Whether it may go back to the pool.
    pub(super) keeps: bool,
}

impl Connection {
    pub(super) fn is_http2(&self) -> bool {
        self.session.as_http2().is_some()
    }

    /// Gives up the exchange. A connection of HTTP/1.1 is closed; one of HTTP/2 loses this stream and goes on with
    /// others, but takes no new ones where it is `suspect`: it may be dead.
    pub(super) fn give_up(self, connector: &Connector, suspect: bool) {
        let HttpSession::H2(session) = &self.session else { return };
        if suspect || !self.keeps {
            session.conn.mark_shutdown();
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        // Of HTTP/2, the engine waits for nothing here: it is done when it is polled once.
        let release = pin!(connector.release_http_session(self.session, &self.peer, Some(POOL_IDLE)));
        let _ = release.poll(&mut Context::from_waker(Waker::noop()));
    }
}

/// The `Host` for `server` of `origin`.
pub(super) fn host_value(origin: &Origin, server: &OriginServer) -> Result<HeaderValue, OriginSetupError> {
    let host = origin.host.clone().unwrap_or_else(|| server.authority());
    let fits = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
    match HeaderValue::from_str(&host) {
        Ok(value) if fits => Ok(value),
        _ => Err(OriginSetupError::Host { origin: origin.name.clone(), host }),
    }
}

impl Server {
    /// A server counts as healthy until a check says otherwise.
    pub(super) fn new(
        place: &OriginServer,
        host: HeaderValue,
        sni: String,
        gauge: IntGauge,
        record: Arc<Record>,
    ) -> Self {
        gauge.set(1);
        Self {
            authority: place.authority().into(),
            host,
            sni,
            addresses: Addresses::new(&place.host, place.port),
            place: place.clone(),
            healthy: AtomicBool::new(true),
            gauge,
            record,
            load: Load::default(),
            rest: Rest::default(),
            opening: tokio::sync::Mutex::new(()),
            speaks_http1: AtomicBool::new(false),
        }
    }

    /// A server that a name stands for.
    pub(super) fn found(
        found: &Found,
        host: HeaderValue,
        sni: String,
        gauge: IntGauge,
        record: Arc<Record>,
    ) -> Self {
        Self {
            authority: found.authority.as_str().into(),
            addresses: Addresses::given(&found.place.host, found.addresses.clone()),
            ..Self::new(&found.place, host, sni, gauge, record)
        }
    }

    /// Whether it is to be asked: healthy by its checks, not ejected, and not left alone.
    pub(super) fn is_usable(&self) -> bool {
        self.healthy.load(Ordering::Relaxed) && !self.record.is_ejected() && !self.rest.is_on()
    }

    /// Where a certificate of its own can be looked at: host and port of an `https` server.
    pub(super) fn tls_place(&self) -> Option<(&str, u16)> {
        self.place.tls.then_some((self.place.host.as_str(), self.place.port))
    }

    /// Whether it is the node itself.
    pub(super) fn is_own(&self, own: &Own) -> bool {
        own.is(&self.authority, &self.place, &self.addresses.known())
    }

    /// Sets the health; true when this changed it.
    pub(super) fn set_healthy(&self, healthy: bool) -> bool {
        self.gauge.set(i64::from(healthy));
        self.healthy.swap(healthy, Ordering::Relaxed) != healthy
    }

    /// How the engine reaches the server at `address`, with a connection for each request.
    ///
    /// The server name of TLS is never empty: the engine checks no certificate without a name.
    pub(super) fn peer(&self, address: SocketAddr, reach: &Reach) -> HttpPeer {
        let timeouts = &reach.timeouts;
        let mut peer = HttpPeer::new(address, self.place.tls, self.sni.clone());
        peer.client_cert_key = reach.client.clone().filter(|_| self.place.tls);
        peer.group_key = reach.pool_key & !FRESH_ONLY;
        match (reach.http2, self.place.tls) {
            (false, _) => peer.options.set_http_version(1, 1),
            (true, true) => peer.options.set_http_version(2, 1),
            (true, false) => peer.options.set_http_version(2, 2),
        }
        peer.options.max_h2_streams = 1;
        peer.options.h2_stream_window_size = Some(H2_STREAM_WINDOW);
        peer.options.h2_connection_window_size = Some(H2_CONNECTION_WINDOW);
        peer.options.h2_ping_interval = reach.http2.then_some(H2_PING_INTERVAL);
        peer.options.total_connection_timeout = Some(timeouts.connect);
        peer.options.connection_timeout = Some(timeouts.connect);
        peer.options.read_timeout = Some(timeouts.first_byte.max(timeouts.between_bytes));
        peer.options.write_timeout = Some(timeouts.between_bytes);
        peer.options.idle_timeout = Some(POOL_IDLE);
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        peer.options.ca = reach.authorities.clone();
        peer
    }

    /// The same with connections of HTTP/2 that requests share.
    fn shared_peer(&self, address: SocketAddr, reach: &Reach) -> HttpPeer {
        let mut peer = self.peer(address, reach);
        if reach.http2 {
            peer.options.max_h2_streams = H2_STREAMS_MAX;
        }
        peer
    }

    /// The server wants HTTP/1.1 for what it was asked over HTTP/2 (RFC 9113 section 7).
    pub(super) fn wants_http1(&self, connector: &Connector, peer: &HttpPeer) {
        let mut fresh = peer.clone();
        fresh.options.max_h2_streams = 1;
        connector.prefer_h1(&fresh);
        fresh.group_key |= FRESH_ONLY;
        connector.prefer_h1(&fresh);
        connector.prefer_h1(peer);
        self.speaks_http1.store(true, Ordering::Relaxed);
    }

    /// The address to try first.
    pub(super) async fn first_address(&self, reach: &Reach) -> Result<SocketAddr, OriginError> {
        let mut addresses = self.resolve(reach.timeouts.connect).await?;
        if addresses.is_empty() {
            return Err(self.unresolved(std::io::ErrorKind::NotFound.into()));
        }
        Ok(addresses.swap_remove(0))
    }

    /// `address` could not be connected to.
    pub(super) fn address_failed(&self, address: SocketAddr) {
        self.addresses.failed(address);
    }

    /// A connection to the server: TCP and TLS within `timeouts.connect`, all its addresses tried in turn.
    pub(super) async fn connect(
        &self,
        connector: &Connector,
        reach: &Reach,
        reuse: Reuse,
    ) -> Result<Connection, OriginError> {
        let deadline = Instant::now() + reach.timeouts.connect;
        let addresses = self.resolve(reach.timeouts.connect).await?;
        let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let mut last = None;
        for address in addresses {
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                break;
            }
            // One dead address must not use up the time of those after it.
            let share = remaining / left.max(1);
            left -= 1;
            match self.connect_to(address, connector, reach, reuse, share).await {
                Ok(connection) => {
                    self.addresses.worked(address);
                    return Ok(connection);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| OriginError::ConnectTimeout { server: Arc::clone(&self.authority) }))
    }

    async fn connect_to(
        &self,
        address: SocketAddr,
        connector: &Connector,
        reach: &Reach,
        reuse: Reuse,
        limit: Duration,
    ) -> Result<Connection, OriginError> {
        let late = || OriginError::ConnectTimeout { server: Arc::clone(&self.authority) };
        let began = Instant::now();
        let shares = reach.http2 && reuse == Reuse::Allowed && !self.speaks_http1.load(Ordering::Relaxed);
        // One opens a connection, and the others find it: else each of a crowd would open one of its own.
        let opening = match shares {
            true => Some(tokio::time::timeout(limit, self.opening.lock()).await.map_err(|_elapsed| late())?),
            false => None,
        };
        let left = limit.saturating_sub(began.elapsed()).max(CONNECT_TIME_MIN);
        let pooled = self.shared_peer(address, reach);
        let mut peer = if reuse == Reuse::Fresh { self.peer(address, reach) } else { pooled.clone() };
        peer.options.total_connection_timeout = Some(left);
        if reuse == Reuse::Fresh {
            peer.group_key |= FRESH_ONLY;
        }
        // Boxed: the engine's future for a TLS handshake would make every caller's future as large.
        let mut opened = Box::pin(connector.get_http_session(&peer)).await;
        if opened.as_ref().is_err_and(|error| *error.etype() == ErrorType::H2Error) {
            // A pooled connection that has died; the engine has taken it out of the pool.
            opened = Box::pin(connector.get_http_session(&peer)).await;
        }
        drop(opening);
        let (session, reused) = opened.map_err(|error| self.not_connected(error))?;
        let is_http2 = session.as_http2().is_some();
        if reach.http2 {
            self.speaks_http1.store(!is_http2, Ordering::Relaxed);
        }
        // One of HTTP/2 that was made for one request takes no others, and is of no use to the pool.
        let keeps = !is_http2 || reuse == Reuse::Allowed;
        Ok(Connection { session, peer: pooled, reused, keeps })
    }

    async fn resolve(&self, limit: Duration) -> Result<Vec<SocketAddr>, OriginError> {
        match tokio::time::timeout(limit, self.addresses.list()).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(source)) => Err(self.unresolved(source)),
            Err(_elapsed) => Err(self.unresolved(std::io::ErrorKind::TimedOut.into())),
        }
    }

    fn unresolved(&self, source: std::io::Error) -> OriginError {
        OriginError::Resolve { server: Arc::clone(&self.authority), source }
    }

    fn not_connected(&self, source: BError) -> OriginError {
        let server = Arc::clone(&self.authority);
        match source.etype() {
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
                OriginError::ConnectTimeout { server }
            }
            ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert => OriginError::Tls { server, source },
            _ => OriginError::Connect { server, source },
        }
    }
}
