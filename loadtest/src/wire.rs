//! How viewers reach a server over sockets: connections as a browser has them, and bodies that are counted, checked and
//! dropped. [`Network`] is what the viewers of a process share, a [`Browser`] is one viewer's; it asks on the thread it was made on.
//!
//! An exchange goes from [`Browser::get`] over a connection of its [`host`] ([`dial`] makes it, [`h1`] or [`h2`] speak on
//! it) into a [`body`]. What an answer means is for the viewer to decide; redirects are not followed.

pub(crate) mod body;
pub(crate) mod cache_status;
pub(crate) mod dial;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod head;
pub(crate) mod host;
pub(crate) mod known;
pub(crate) mod line;
pub(crate) mod stream;
pub(crate) mod tls;

#[cfg(test)]
mod tests;

use std::cell::{OnceCell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::HeaderMap;
use rustls::ClientConfig;
use tokio::time::Instant;
use url::{Position, Url};

use self::dial::{Dial, Names};
use self::h2::Multiplexed;
use self::host::{Connection, Host, Lease};
use self::known::{KNOWN_MAX, Known};
use self::line::Line;
use crate::fetch::{Cache, Exchange, Failure, Fetch, Get, GivenUp, Outcome};
use crate::machine::raise_descriptor_limit;
use crate::scenario::Protocol;

/// What viewers call themselves.
const USER_AGENT: &str = concat!("forebay-loadtest/", env!("CARGO_PKG_VERSION"));

/// What viewers accept: no content coding is asked for, so that a text is what its bytes say.
const ACCEPT: &str = "*/*";

/// Hosts to which a viewer has connections at most, besides those that it asks just now.
const HOSTS_MAX: usize = 8;

/// What all viewers of a process share: where the server is, whom they trust, what bodies hash to.
#[derive(Debug)]
pub(crate) struct Network {
    connect_to: Option<SocketAddr>,
    trust: ClientConfig,
    names: Names,
    known: Known,
    patience: Patience,
    /// The most descriptors that this process may have.
    descriptors: u64,
    shortage: OnceLock<String>,
}

/// How a process is to reach the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    /// Connect here, whatever host a URL names (`curl --connect-to`).
    pub(crate) connect_to: Option<SocketAddr>,
    /// PEM of further certificate authorities.
    pub(crate) authorities: Option<Vec<u8>>,
    /// Any certificate is good.
    pub(crate) insecure: bool,
}

/// How long a viewer waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For a connection, and as long again for TLS.
    connect_max: Duration,
    /// For the next byte of an answer, the first included: longer than a server may hold a playlist back (RFC 8216bis
    /// section 6.2.5.2: three target durations).
    quiet_max: Duration,
}

/// The connections of one viewer: up to six (HTTP/1.1) or one (HTTP/2) for each scheme, host and port.
#[derive(Debug)]
pub(crate) struct Browser {
    network: Arc<Network>,
    viewer: u32,
    protocol: Protocol,
    line: Option<Arc<Line>>,
    /// What it offers in a handshake, once it has to.
    offer: OnceCell<Arc<ClientConfig>>,
    hosts: RefCell<Vec<Rc<Host>>>,
    /// Exchanges that were given up, until somebody asks.
    dropped: RefCell<Vec<GivenUp>>,
}

/// An exchange. Dropped before it is over, it was given up.
#[derive(Debug)]
struct Underway<'a> {
    exchange: Exchange,
    is_over: bool,
    dropped: &'a RefCell<Vec<GivenUp>>,
}

/// Scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    is_tls: bool,
    /// As in a URL: an IPv6 address is in brackets.
    name: Box<str>,
    port: u16,
}

/// An exchange that came to no end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken {
    failure: Failure,
    /// Whether anything of an answer came.
    answered: bool,
}

/// A try that failed: why, and whether it may be tried again.
#[derive(Clone, Copy, Debug)]
struct Failed {
    failure: Failure,
    /// The connection had been used before and may have been closed by then: which one it was, where there is only one.
    stale: Option<u32>,
}

// === impl Network ===

impl Network {
    /// Raises the limit of open descriptors to what the process may have.
    pub(crate) fn new(reach: Reach) -> Result<Arc<Self>> {
        Self::with(reach, Patience::default())
    }

    fn with(reach: Reach, patience: Patience) -> Result<Arc<Self>> {
        let Reach { connect_to, authorities, insecure } = reach;
        Ok(Arc::new(Self {
            connect_to,
            trust: tls::trust(authorities.as_deref(), insecure)?,
            names: Names::default(),
            known: Known::new(KNOWN_MAX),
            patience,
            descriptors: raise_descriptor_limit()?,
            shortage: OnceLock::new(),
        }))
    }

    /// The connections of one viewer, none yet. On loopback each viewer has an address of its own. `line` is the most that
    /// it receives, in bits per second.
    pub(crate) fn browser(self: &Arc<Self>, viewer: u32, protocol: Protocol, line: Option<u64>) -> Browser {
        Browser {
            network: self.clone(),
            viewer,
            protocol,
            line: line.map(|bits_per_s| Line::new(bits_per_s, Instant::now())),
            offer: OnceCell::new(),
            hosts: RefCell::default(),
            dropped: RefCell::default(),
        }
    }

    /// What this machine ran short of, if it did, and what to do about it: then connections failed that are no fault of the
    /// server's.
    pub(crate) fn shortage(&self) -> Option<&str> {
        self.shortage.get().map(String::as_str)
    }

    /// An error of the system says what the machine is short of.
    pub(crate) fn note_shortage(&self, error: &io::Error) {
        if let Some(text) = dial::shortage(error, self.descriptors) {
            self.shortage.get_or_init(|| text);
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect_max: Duration::from_secs(10), quiet_max: Duration::from_secs(30) }
    }
}

// === impl Browser ===

impl Fetch for Browser {
    async fn get(&self, get: Get<'_>) -> Exchange {
        // Boxed, so that a viewer who asks for nothing has no room for it.
        Box::pin(self.fetch(get)).await
    }

    fn leave(&self) {
        self.hosts.borrow_mut().clear();
    }

    fn take_dropped(&self) -> Vec<GivenUp> {
        self.dropped.take()
    }
}

impl Browser {
    async fn fetch(&self, get: Get<'_>) -> Exchange {
        let mut underway =
            Underway { exchange: nothing_yet(get.due), is_over: false, dropped: &self.dropped };
        let exchange = &mut underway.exchange;
        let result = match Site::of(get.url) {
            None => Err(Failure::Protocol),
            Some(site) => {
                let host = self.host(site);
                match self.attempt(&host, &get, exchange, None).await {
                    Err(Failed { stale: Some(stale), .. }) => {
                        *exchange = nothing_yet(get.due);
                        self.attempt(&host, &get, exchange, Some(stale)).await
                    }
                    result => result,
                }
                .map_err(|failed| failed.failure)
            }
        };
        exchange.outcome = result.unwrap_or_else(|failure| {
            exchange.end = Instant::now();
            Outcome::Failed(failure)
        });
        underway.finish()
    }

    /// One try; on a connection that is new, or later than a stale one.
    async fn attempt(
        &self,
        host: &Host,
        get: &Get<'_>,
        exchange: &mut Exchange,
        stale: Option<u32>,
    ) -> Result<Outcome, Failed> {
        if self.protocol == Protocol::H2 {
            let lease = self.lease(host, stale.unwrap_or(0), &mut exchange.connected).await?;
            if let Some(lease) = lease {
                return self.ask_h2(lease, get, exchange).await;
            }
        }
        self.ask_h1(host, get, exchange, stale.is_some()).await
    }

    async fn ask_h1(
        &self,
        host: &Host,
        get: &Get<'_>,
        exchange: &mut Exchange,
        anew: bool,
    ) -> Result<Outcome, Failed> {
        let _slot = host.slot().await;
        if anew {
            host.drop_idle();
        }
        let mut connection = match host.take_idle(Instant::now()) {
            Some(connection) => connection,
            None => Connection { stream: self.dial(host).await?, used: false, since: Instant::now() },
        };
        exchange.connected = !connection.used;
        let quiet_max = self.network.patience.quiet_max;
        let result =
            h1::exchange(&mut connection.stream, get, quiet_max, &self.network.known, exchange).await;
        match result {
            Ok((outcome, keeps_alive)) => {
                if keeps_alive {
                    host.put_idle(Connection { used: true, since: exchange.end, ..connection });
                }
                Ok(outcome)
            }
            Err(broken) => Err(Failed::of(broken, connection.used.then_some(0))),
        }
    }

    async fn ask_h2(&self, lease: Lease, get: &Get<'_>, exchange: &mut Exchange) -> Result<Outcome, Failed> {
        let stale = (!exchange.connected).then_some(lease.generation);
        let quiet_max = self.network.patience.quiet_max;
        let result = h2::exchange(lease.sender, get, quiet_max, &self.network.known, exchange).await;
        result.map_err(|broken| Failed::of(broken, stale))
    }

    /// The connection of HTTP/2 that is later than `after`, made if there is none; none: the server has no HTTP/2.
    async fn lease(&self, host: &Host, after: u32, connected: &mut bool) -> Result<Option<Lease>, Failed> {
        if host.refuses_h2.get() {
            return Ok(None);
        }
        if let Some(lease) = host.lease(after) {
            return Ok(Some(lease));
        }
        let _opening = host.opening().await;
        // Somebody else of this viewer may have made it meanwhile.
        if host.refuses_h2.get() {
            return Ok(None);
        }
        if let Some(lease) = host.lease(after) {
            return Ok(Some(lease));
        }
        let stream = self.dial(host).await?;
        if host.site.is_tls && !stream.agreed_on_h2() {
            host.refuses_h2.set(true);
            host.put_idle(Connection { stream, used: false, since: Instant::now() });
            return Ok(None);
        }
        *connected = true;
        let multiplexed = Multiplexed::open(stream, self.network.patience.quiet_max).await?;
        host.put_multiplexed(multiplexed).map(Some).ok_or(Failed { failure: Failure::Short, stale: None })
    }

    async fn dial(&self, host: &Host) -> Result<stream::Stream, Failure> {
        let offer = || tls::offer(&self.network.trust, self.protocol);
        let dial = Dial {
            network: &self.network,
            viewer: self.viewer,
            site: &host.site,
            line: self.line.clone(),
            tls: host.site.is_tls.then(|| self.offer.get_or_init(offer).clone()),
        };
        dial.connect().await
    }

    /// The connections to a host. When there are too many hosts, the first one that nobody asks just now is left.
    fn host(&self, site: Site) -> Rc<Host> {
        let mut hosts = self.hosts.borrow_mut();
        if let Some(host) = hosts.iter().find(|host| host.site == site) {
            return host.clone();
        }
        if hosts.len() >= HOSTS_MAX
            && let Some(at) = hosts.iter().position(|host| Rc::strong_count(host) == 1)
        {
            hosts.remove(at);
        }
        let host = Rc::new(Host::new(site));
        hosts.push(host.clone());
        host
    }
}

/// An exchange of which nothing has happened.
fn nothing_yet(due: Instant) -> Exchange {
    let now = Instant::now();
    Exchange {
        due,
        sent: now,
        first_byte: None,
        end: now,
        status: None,
        headers: HeaderMap::new(),
        cache: Cache::Unknown,
        bytes: 0,
        text: Bytes::new(),
        connected: false,
        outcome: Outcome::Failed(Failure::Connect),
    }
}

// === impl Underway ===

impl Underway<'_> {
    /// The exchange, which is over: it was not given up.
    fn finish(mut self) -> Exchange {
        self.is_over = true;
        let due = self.exchange.due;
        std::mem::replace(&mut self.exchange, nothing_yet(due))
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let &mut Exchange { due, first_byte, cache, bytes, connected, .. } = &mut self.exchange;
            self.dropped.borrow_mut().push(GivenUp { due, first_byte, cache, bytes, connected });
        }
    }
}

// === impl Failed ===

impl Failed {
    /// An exchange on a connection that was used before (`used`: which one) may be tried again if nothing was heard (RFC 9112
    /// section 9.3.1, RFC 9113 section 8.7).
    fn of(broken: Broken, used: Option<u32>) -> Self {
        let stale = used.filter(|_| !broken.answered && broken.failure == Failure::Short);
        Self { failure: broken.failure, stale }
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, stale: None }
    }
}

// === impl Site ===

impl Site {
    /// The site of an `http` or `https` URL; none: of any other.
    fn of(url: &Url) -> Option<Self> {
        let is_tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        Some(Self { is_tls, name: url.host_str()?.into(), port: url.port_or_known_default()? })
    }

    /// The name without brackets.
    fn bare_name(&self) -> &str {
        self.name.trim_start_matches('[').trim_end_matches(']')
    }
}

/// A server's name in a URL, with its port if that is not the scheme's own: what `Host` says.
pub(crate) fn authority(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

/// The value of `Range` (RFC 9110 section 14.2).
fn range_field(first: u64, last: Option<u64>) -> String {
    last.map_or_else(|| format!("bytes={first}-"), |last| format!("bytes={first}-{last}"))
}
