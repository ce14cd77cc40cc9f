//! Origins: which server is asked, on which connection, how often again, and how many at once.
//!
//! Decides how an answer is got from an origin group; not whether it may be kept, nor what a viewer is told when it
//! fails. Called by the fill ([`OriginGroup::fetch`]), by requests that pass through to an origin
//! ([`OriginGroup::upstream_peer`]), and by the admin listener ([`OriginGroup::servers_health`]). Redirects are passed
//! on as they are, never followed.

mod error;
mod exchange;
mod gate;
mod health;
mod jitter;
mod metrics;
mod range;
mod resolve;
mod response;
mod server;
#[cfg(test)]
mod tests;
mod trust;

pub use error::{ErrorKind, OriginError, OriginSetupError};
pub use exchange::Framing;
pub use gate::Permit;
pub use metrics::OriginFamilies;
pub use range::{ContentRange, range_field};
pub use response::OriginResponse;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method};
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::watch;
use xxhash_rust::xxh3::Xxh3Default;

use crate::config::model::{Health, Origin, Retry};
use exchange::{Answered, exchange};
use gate::Gate;
use metrics::OriginMetrics;
use server::{Reach, Reuse, Server};

/// The pause before the second attempt, doubled for each further one. The real pause is random between half of it and
/// all of it.
const BACKOFF_BASE: Duration = Duration::from_millis(20);

/// The longest pause before an attempt: a player is waiting.
const BACKOFF_MAX: Duration = Duration::from_millis(200);

/// Idle connections kept over all groups, whatever their caps allow.
const POOL_CONNECTIONS_MAX: usize = 16_384;

/// Why an origin is asked; the word is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FetchReason {
    /// Nothing is held for the key.
    Miss,
    /// What is held must be confirmed or replaced.
    Revalidate,
    /// The answer is not to be kept.
    Bypass,
    /// An active health check.
    HealthCheck,
    /// Nobody has asked for it yet.
    Prefetch,
}

impl FetchReason {
    /// Every reason, in the order of the discriminants.
    pub const ALL: [FetchReason; 5] = [
        FetchReason::Miss,
        FetchReason::Revalidate,
        FetchReason::Bypass,
        FetchReason::HealthCheck,
        FetchReason::Prefetch,
    ];

    /// The word for this reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            FetchReason::Miss => "miss",
            FetchReason::Revalidate => "revalidate",
            FetchReason::Bypass => "bypass",
            FetchReason::HealthCheck => "health_check",
            FetchReason::Prefetch => "prefetch",
        }
    }
}

/// What is asked of an origin. It has no body.
#[derive(Clone, Debug)]
pub struct FetchRequest<'a> {
    /// GET or HEAD; other methods are sent once and never tried again.
    pub method: Method,
    /// Path and query, beginning with a slash.
    pub path_and_query: &'a str,
    /// Fields to send. They take the place of the default `User-Agent` and `Accept-Encoding: identity`; this node is
    /// added to their `Via`. `Host` and the fields of one connection are left out.
    pub headers: HeaderMap,
    /// Why; a metric label.
    pub reason: FetchReason,
    /// How long the origin may hold it on purpose before it answers, in all attempts together: added to
    /// `timeouts.first_byte`. Such requests take half of the group's turns at most. None: it is answered at once.
    pub hold: Option<Duration>,
}

/// The origin groups of a configuration. They share one connection pool, in which no connection serves two groups.
pub struct Origins {
    groups: Vec<Arc<OriginGroup>>,
}

/// One origin group: its servers, its cap, its retry rule.
pub struct OriginGroup {
    name: Arc<str>,
    servers: Vec<Arc<Server>>,
    turn: AtomicUsize,
    gate: Gate,
    retry: Retry,
    health: Option<Health>,
    reach: Reach,
    connector: Arc<Connector>,
    metrics: Arc<OriginMetrics>,
}

/// A server chosen for a request that goes by the engine's own upstream path.
pub struct UpstreamPeer {
    /// How the engine reaches it: HTTP/1.1, timeouts set, upgrades refused.
    pub peer: Box<HttpPeer>,
    /// The `Host` it expects.
    pub host: HeaderValue,
    /// Its authority; for logs, never for viewers.
    pub server: Arc<str>,
    address: SocketAddr,
    chosen: Arc<Server>,
    metrics: Arc<OriginMetrics>,
    /// The turn; to be held until the request ends.
    pub permit: Permit,
}

// === impl Origins ===

impl Origins {
    /// Sets up the groups of `config`, in its order. Nothing is connected yet.
    ///
    /// `families` outlives configurations: the health of servers that `config` no longer names is forgotten there.
    ///
    /// # Errors
    ///
    /// When `tls_ca` or the system's certificate authorities cannot be read, or a `Host` cannot be sent.
    pub fn new(config: &[Origin], families: &OriginFamilies) -> Result<Self, OriginSetupError> {
        let prepared = config.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        let connector = Arc::new(Connector::new(Some(connector_options(config)?)));
        families.forget_servers();
        let group = |(origin, Prepared { hosts, reach }): (&Origin, Prepared)| {
            let name: Arc<str> = origin.name.as_str().into();
            let servers = origin.servers.iter().zip(hosts).map(|(place, host)| {
                let gauge = families.healthy(&name, &place.authority());
                Arc::new(Server::new(place, host, gauge))
            });
            Arc::new(OriginGroup {
                servers: servers.collect(),
                turn: AtomicUsize::new(0),
                gate: Gate::new(Arc::clone(&name), &origin.limits),
                retry: origin.retry.clone(),
                health: origin.health.clone(),
                reach,
                connector: Arc::clone(&connector),
                metrics: Arc::new(families.group(&name)),
                name,
            })
        };
        Ok(Self { groups: config.iter().zip(prepared).map(group).collect() })
    }

    /// The group at place `i` of the configuration's list, as sites refer to it.
    ///
    /// # Panics
    ///
    /// When there is no such place; a checked configuration names only places that there are.
    pub fn group(&self, i: usize) -> &Arc<OriginGroup> {
        &self.groups[i]
    }

    /// All groups, in the order of the configuration.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<OriginGroup>> {
        self.groups.iter()
    }

    /// Starts the health checks on the current tokio runtime, one task per server of a group that has any.
    ///
    /// They end when `shutdown` becomes true, when its sender is dropped, or when the origins are.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start_health_checks(&self, shutdown: &watch::Receiver<bool>) {
        for group in &self.groups {
            let Some(health) = &group.health else { continue };
            for place in 0..group.servers.len() {
                tokio::spawn(health::watch(Arc::downgrade(group), place, health.clone(), shutdown.clone()));
            }
        }
    }
}

/// The parts of a group whose making can fail.
struct Prepared {
    hosts: Vec<HeaderValue>,
    reach: Reach,
}

fn prepare(origin: &Origin) -> Result<Prepared, OriginSetupError> {
    if origin.servers.is_empty() {
        return Err(OriginSetupError::NoServers { origin: origin.name.clone() });
    }
    let hosts = origin
        .servers
        .iter()
        .map(|place| server::host_value(origin, place))
        .collect::<Result<Vec<_>, _>>()?;
    let authorities = match &origin.tls_ca {
        Some(path) => Some(trust::load(path).map_err(|reason| OriginSetupError::TlsCa {
            origin: origin.name.clone(),
            path: path.clone(),
            reason,
        })?),
        None => None,
    };
    // The engine's pools do not tell connections apart by the authorities they were checked against.
    let mut pool_key = Xxh3Default::new();
    pool_key.update(origin.name.as_bytes());
    for authority in authorities.iter().flat_map(|list| list.iter()) {
        pool_key.update(authority.borrow_raw_cert());
    }
    let reach = Reach { timeouts: origin.timeouts.clone(), authorities, pool_key: pool_key.digest() };
    Ok(Prepared { hosts, reach })
}

fn connector_options(config: &[Origin]) -> Result<ConnectorOptions, OriginSetupError> {
    let idle = config.iter().fold(0_usize, |sum, origin| sum.saturating_add(origin.limits.connections));
    let mut options = ConnectorOptions::new(idle.clamp(1, POOL_CONNECTIONS_MAX));
    match config.iter().find(|origin| origin.servers.iter().any(|place| place.tls)) {
        Some(origin) => trust::check_system_roots()
            .map_err(|reason| OriginSetupError::SystemRoots { origin: origin.name.clone(), reason })?,
        // Without TLS no authorities are needed, and a machine without any must not keep the node from starting: the
        // engine loads them in any case, from this empty file.
        None => options.ca_file = Some("/dev/null".to_owned()),
    }
    Ok(options)
}

// === impl OriginGroup ===

impl OriginGroup {
    /// NAME of `[origin.NAME]`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The authority of each server and whether it counts as healthy. Without health checks all do.
    pub fn servers_health(&self) -> impl Iterator<Item = (&str, bool)> {
        self.servers.iter().map(|server| (&*server.authority, server.is_healthy()))
    }

    /// Gets an answer from the group: waits for a turn, asks a server, asks again where the retry rule says so.
    ///
    /// Tried again, up to `retry.attempts` in all: failures before an answer, where `on_connect`; the statuses of
    /// `on_status`. Never tried again: a server that takes too long to answer or answers malformed. A request on a
    /// pooled connection that turns out to be closed is repeated once on a new one; that is no attempt of its own. When
    /// the attempts run out with an answer in hand, that answer is returned.
    ///
    /// The turn is held until the answer's body has ended or the answer is dropped; an answer kept in hand while
    /// another server is asked shares the turn of its request. What the origin has held a request for is not given to it
    /// again with another attempt.
    ///
    /// # Errors
    ///
    /// The last attempt's, or why there was no turn.
    pub async fn fetch(&self, request: &FetchRequest<'_>) -> Result<OriginResponse, OriginError> {
        let permit = self.enter(request.hold.is_some()).await?;
        self.fetch_in_turn(request, permit, self.retry.attempts.max(1)).await
    }

    /// Gets an answer in a turn that has been taken before ([`OriginGroup::spare_turn`]), by one attempt at one server.
    ///
    /// # Errors
    ///
    /// The attempt's.
    pub async fn fetch_once(
        &self,
        request: &FetchRequest<'_>,
        turn: Permit,
    ) -> Result<OriginResponse, OriginError> {
        self.fetch_in_turn(request, turn, 1).await
    }

    /// A turn for what nobody waits for: one that is free at once, and of which enough remain for viewers. None: there
    /// is none, or all servers count as unhealthy.
    pub fn spare_turn(&self) -> Option<Permit> {
        let any_healthy = self.servers.iter().any(|server| server.is_healthy());
        any_healthy.then(|| self.gate.enter_spare())?
    }

    /// Asks a server, and others where the retry rule says so, `attempts` in all.
    async fn fetch_in_turn(
        &self,
        request: &FetchRequest<'_>,
        permit: Permit,
        attempts: u32,
    ) -> Result<OriginResponse, OriginError> {
        let permit = Arc::new(permit);
        let began = Instant::now();
        let safe = matches!(request.method, Method::GET | Method::HEAD);
        let attempts = if safe { attempts } else { 1 };
        let mut tried = Vec::new();
        let mut in_hand = None;
        let mut attempt = 1;
        loop {
            let place = self.choose(&tried);
            let last = attempt >= attempts;
            let hold = request.hold.map(|hold| hold.saturating_sub(began.elapsed()));
            match self.attempt(place, &FetchRequest { hold, ..request.clone() }, safe).await {
                Ok(answered) => {
                    let again = self.retry.on_status.contains(&answered.header.status.as_u16());
                    let response = self.response(place, answered, &permit).await;
                    if last || !again {
                        return Ok(response);
                    }
                    in_hand = Some(response);
                }
                Err(error) if last || !(self.retry.on_connect && error.is_connect()) => {
                    return in_hand.ok_or(error);
                }
                Err(error) => {
                    tracing::debug!(origin = %self.name, %error, "an attempt failed; another one follows");
                }
            }
            tried.push(place);
            self.metrics.retry();
            tokio::time::sleep(backoff(attempt)).await;
            attempt += 1;
        }
    }

    /// A server for a request that goes by the engine's own upstream path, and the turn to be held meanwhile.
    ///
    /// # Errors
    ///
    /// When there is no turn, or the server's name cannot be resolved.
    pub async fn upstream_peer(&self) -> Result<UpstreamPeer, OriginError> {
        let permit = self.enter(false).await?;
        let place = self.choose(&[]);
        let chosen = Arc::clone(&self.servers[place]);
        let address =
            chosen.first_address(&self.reach).await.inspect_err(|error| self.metrics.error(error.kind()))?;
        Ok(UpstreamPeer {
            peer: Box::new(chosen.peer(address, &self.reach)),
            host: chosen.host.clone(),
            server: Arc::clone(&chosen.authority),
            address,
            chosen,
            metrics: Arc::clone(&self.metrics),
            permit,
        })
    }

    async fn enter(&self, held: bool) -> Result<Permit, OriginError> {
        let permit = self.gate.enter(self.metrics.queued(), held).await;
        permit.inspect_err(|error| self.metrics.error(error.kind()))
    }

    /// The place of the server to ask: in turn among the healthy ones, those not `tried` yet first.
    ///
    /// With no healthy server all are taken for healthy: a wrong health check must not take a site down, and an
    /// attempt that fails costs no more than refusing at once.
    fn choose(&self, tried: &[usize]) -> usize {
        let any_healthy = self.servers.iter().any(|server| server.is_healthy());
        let usable = |place: &usize| !any_healthy || self.servers[*place].is_healthy();
        let untried = |place: &usize| usable(place) && !tried.contains(place);
        // Only first attempts move on: else a bad server would be met first by every request, not by each in its turn.
        let step = usize::from(tried.is_empty());
        let turn = self.turn.fetch_add(step, Ordering::Relaxed);
        self.nth(turn, untried).or_else(|| self.nth(turn, usable)).unwrap_or(0)
    }

    /// The `turn`-th of the places that `wanted` holds for, counted round and round.
    fn nth(&self, turn: usize, wanted: impl Fn(&usize) -> bool) -> Option<usize> {
        let places = || (0..self.servers.len()).filter(|place| wanted(place));
        places().nth(turn.checked_rem(places().count())?)
    }

    /// One attempt at one server, errors counted.
    async fn attempt(
        &self,
        place: usize,
        request: &FetchRequest<'_>,
        safe: bool,
    ) -> Result<Answered, OriginError> {
        let exchange = |reuse| {
            exchange(&self.servers[place], &self.connector, &self.reach, &self.metrics, request, reuse)
        };
        let first_try = if safe { Reuse::Allowed } else { Reuse::Fresh };
        let answered = match exchange(first_try).await {
            // The server had closed the pooled connection meanwhile: ordinary, and no sign of a fault.
            Err(OriginError::Closed { reused: true, .. }) if safe => exchange(Reuse::Fresh).await,
            other => other,
        };
        answered.inspect_err(|error| self.metrics.error(error.kind()))
    }

    async fn response(&self, place: usize, answered: Answered, permit: &Arc<Permit>) -> OriginResponse {
        OriginResponse::new(
            answered,
            Arc::clone(&self.servers[place].authority),
            Arc::clone(&self.connector),
            Arc::clone(permit),
            Arc::clone(&self.metrics),
            self.reach.timeouts.between_bytes,
        )
        .await
    }
}

/// The pause after attempt number `attempt`.
fn backoff(attempt: u32) -> Duration {
    let full =
        BACKOFF_BASE.saturating_mul(1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX)).min(BACKOFF_MAX);
    full / 2 + jitter::up_to(full / 2)
}

// === impl UpstreamPeer ===

impl UpstreamPeer {
    /// The engine has sent the request.
    pub fn count_request(&self) {
        self.metrics.request(FetchReason::Bypass);
    }

    /// The engine has received `bytes` of the answer's body.
    pub fn count_body(&self, bytes: usize) {
        self.metrics.body(bytes);
    }

    /// The engine could not connect: the server's next address takes its turn.
    pub fn connect_failed(&self) {
        self.metrics.error(ErrorKind::Connect);
        self.chosen.address_failed(self.address);
    }
}
