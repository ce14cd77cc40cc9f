//! One server of an origin group: its name, its addresses, its health, and how the engine is told to reach it.
//!
//! Decides how a connection is opened: which addresses, how long each, what is trusted. Which server is asked is the
//! group's decision; what is said on the connection is [`super::exchange`]'s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use pingora::connectors::http::Connector;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{BError, ErrorType};
use prometheus::IntGauge;

use super::error::{OriginError, OriginSetupError};
use super::resolve::Addresses;
use crate::config::model::{Origin, OriginServer, OriginTimeouts};

/// How long a connection may stand idle in the pool. Servers commonly close after 60 or 75 s; being first avoids the
/// race between their close and our next request. A server that announces less (`Keep-Alive: timeout=`) gets less.
pub(super) const POOL_IDLE: Duration = Duration::from_secs(50);

/// Set in a peer's group key to keep pooled connections out of its reach.
const FRESH_ONLY: u64 = 1 << 63;

/// One server.
pub(super) struct Server {
    /// `host` or `host:port`; what logs and metrics call it.
    pub(super) authority: Arc<str>,
    /// The `Host` sent to it.
    pub(super) host: HeaderValue,
    place: OriginServer,
    addresses: Addresses,
    healthy: AtomicBool,
    gauge: IntGauge,
}

/// What a group's connections have in common.
pub(super) struct Reach {
    pub(super) timeouts: OriginTimeouts,
    /// The authorities trusted; None: the system's.
    pub(super) authorities: Option<Arc<CaType>>,
    /// Keeps connections apart that were checked against other authorities.
    pub(super) pool_key: u64,
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
    pub(super) fn new(place: &OriginServer, host: HeaderValue, gauge: IntGauge) -> Self {
        gauge.set(1);
        Self {
            authority: place.authority().into(),
            host,
            addresses: Addresses::new(&place.host, place.port),
            place: place.clone(),
            healthy: AtomicBool::new(true),
            gauge,
        }
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Sets the health; true when this changed it.
    pub(super) fn set_healthy(&self, healthy: bool) -> bool {
        self.gauge.set(i64::from(healthy));
        self.healthy.swap(healthy, Ordering::Relaxed) != healthy
    }

    /// How the engine reaches the server at `address`.
    ///
    /// The server name of TLS is the server's host and never empty: the engine checks no certificate without a name.
    pub(super) fn peer(&self, address: SocketAddr, reach: &Reach) -> HttpPeer {
        let timeouts = &reach.timeouts;
        let mut peer = HttpPeer::new(address, self.place.tls, self.place.host.clone());
        peer.group_key = reach.pool_key & !FRESH_ONLY;
        peer.options.set_http_version(1, 1);
        peer.options.total_connection_timeout = Some(timeouts.connect);
        peer.options.connection_timeout = Some(timeouts.connect);
        peer.options.read_timeout = Some(timeouts.first_byte.max(timeouts.between_bytes));
        peer.options.write_timeout = Some(timeouts.between_bytes);
        peer.options.idle_timeout = Some(POOL_IDLE);
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        peer.options.ca = reach.authorities.clone();
        peer
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
        let mut peer = self.peer(address, reach);
        peer.options.total_connection_timeout = Some(limit);
        if reuse == Reuse::Fresh {
            peer.group_key |= FRESH_ONLY;
        }
        // Boxed: the engine's future for a TLS handshake would make every caller's future as large.
        let opened = Box::pin(connector.get_http_session(&peer)).await;
        peer.group_key &= !FRESH_ONLY;
        match opened {
            Ok((session, reused)) => Ok(Connection { session, peer, reused }),
            Err(error) => Err(self.not_connected(error)),
        }
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
