//! Origins: which server is asked, on which connection, how often again, and how many at once.
//!
//! Decides how an answer is got from an origin group, and how the group is kept from harm; not whether the answer may be
//! kept, nor what a viewer is told when there is none. Called by the fill ([`OriginGroup::fetch`]), by requests that pass
//! through to an origin ([`OriginGroup::upstream_peer`]), and by the admin listener ([`OriginGroup::servers_health`]).
//! Redirects are passed on as they are, never followed.

// How an answer is got.
mod error;
mod exchange;
mod fallback;
mod fetch;
mod passing;
mod proof;
mod range;
mod resolve;
mod response;
mod s3;
mod server;
mod sign;
mod trust;
// Who the servers are, and which of them a key belongs to.
mod discover;
mod members;
mod own;
mod owner;
mod ring;
// What keeps the servers from harm.
mod breaker;
mod bucket;
mod budget;
mod certificate;
mod eject;
mod gate;
mod health;
mod hedge;
mod jitter;
mod window;
// What it tells.
mod metrics;
#[cfg(test)]
mod tests;

pub use error::{ErrorKind, OriginError, OriginSetupError};
pub use exchange::Framing;
pub use gate::Permit;
pub use metrics::{OriginFamilies, Resumption};
pub use own::Own;
pub use owner::{Owner, Peer};
pub use passing::UpstreamPeer;
pub use range::{ContentRange, range_field, range_from};
pub use response::OriginResponse;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderMap, Method};
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use tokio::sync::watch;
use xxhash_rust::xxh3::Xxh3Default;

use crate::admission::token::Claims;
use crate::asset::Kind;
use crate::config::model::{Config, Discovered, Health, Origin, OriginServer, PEERS, Retry, S3Style};
use crate::tier::loops::Passed;
use crate::tier::{Identity, Role};
use breaker::Breaker;
use budget::Budget;
use fallback::InUse;
use gate::Gate;
use hedge::Hedger;
use members::{List, Members};
use metrics::OriginMetrics;
use server::{Reach, Server};
use sign::Signing;

/// Further attempts within `retry.budget` that are allowed in any case: as many as it takes to eject a server.
const BUDGET_FLOOR: u32 = 5;

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
    /// The body of an earlier answer broke off, and the rest of it is wanted.
    Resume,
}

impl FetchReason {
    /// Every reason, in the order of the discriminants.
    pub const ALL: [FetchReason; 6] = [
        FetchReason::Miss,
        FetchReason::Revalidate,
        FetchReason::Bypass,
        FetchReason::HealthCheck,
        FetchReason::Prefetch,
        FetchReason::Resume,
    ];

    /// The word for this reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            FetchReason::Miss => "miss",
            FetchReason::Revalidate => "revalidate",
            FetchReason::Bypass => "bypass",
            FetchReason::HealthCheck => "health_check",
            FetchReason::Prefetch => "prefetch",
            FetchReason::Resume => "resume",
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
    /// What is asked for, as far as that decides who goes first.
    pub kind: Kind,
    /// Which of equal servers it belongs to: the same number for one object on every node ([`crate::key::Key::placement`]).
    pub placement: u64,
    /// The host that the viewer has asked for, without its port: sent as `Host` where the group says so, and to nodes of the
    /// next tier. None: nobody knows.
    pub host: Option<&'a str>,
    /// What the viewer's token says, as far as the key is made of it: nodes of the next tier are told.
    pub claims: Option<&'a Claims>,
    /// The viewer's fields that rules have asked for: nodes are told, whose rules ask for the same, and nobody else.
    pub conditions: Option<&'a HeaderMap>,
    /// `CDN-Loop` of the viewer's request, which this node adds itself to.
    pub cdn_loop: Option<&'a Passed>,
}

/// The origin groups of a configuration. They share one connection pool, in which no connection serves two groups.
pub struct Origins {
    groups: Vec<Arc<OriginGroup>>,
    /// Names that stand for servers, of each group.
    discovered: Vec<Vec<Discovered>>,
    /// The nodes of this tier.
    peers: Option<Arc<OriginGroup>>,
}

/// One origin group: its servers, its cap, its retry rule.
pub struct OriginGroup {
    name: Arc<str>,
    members: Members,
    turn: AtomicUsize,
    gate: Gate,
    breaker: Option<Arc<Breaker>>,
    retry: Retry,
    /// The statuses that count as failures of a server: those of 5xx that are tried again.
    failing: Arc<[u16]>,
    budget: Arc<Budget>,
    hedger: Option<Hedger>,
    /// The group that is asked in this one's stead, and whether it is.
    fallback: OnceLock<Arc<OriginGroup>>,
    in_use: InUse,
    health: Option<Health>,
    reach: Arc<Reach>,
    connector: Arc<Connector>,
    metrics: Arc<OriginMetrics>,
    families: OriginFamilies,
}

// === impl Origins ===

impl Origins {
    /// Sets up the groups of `config`, in its order. Nothing is connected yet.
    ///
    /// `families` outlives configurations: the health of servers that `config` no longer names is forgotten there.
    ///
    /// # Errors
    ///
    /// When the files of `tls` or the system's certificate authorities cannot be read, or a `Host` cannot be sent.
    pub fn new(config: &[Origin], families: &OriginFamilies) -> Result<Self, OriginSetupError> {
        Origins::around(config.iter(), (&Own::default(), &Arc::new(Identity::default())), families)
    }

    /// The groups of a whole configuration: those of sites, and the nodes of its tier, of which this one is `own`. To other
    /// nodes, and in what it adds to requests, this one is `identity`.
    ///
    /// # Errors
    ///
    /// As [`Origins::new`].
    pub fn of(
        config: &Config,
        (own, identity): (&Own, &Arc<Identity>),
        families: &OriginFamilies,
    ) -> Result<Self, OriginSetupError> {
        let peers = config.fleet.peers.as_ref();
        // Behind the groups of sites, which refer to them by place.
        let groups = config.origins.iter().chain(peers.map(|peers| &peers.group));
        let origins = Origins::around(groups, (own, identity), families)?;
        let peers = peers.and(origins.groups.last()).cloned();
        Ok(Self { peers, ..origins })
    }

    fn around<'a>(
        config: impl Iterator<Item = &'a Origin>,
        (own, identity): (&Own, &Arc<Identity>),
        families: &OriginFamilies,
    ) -> Result<Self, OriginSetupError> {
        let config: Vec<&Origin> = config.collect();
        families.forget_servers();
        let prepare = |origin| prepare(origin, (own, identity), families);
        let prepared = config.iter().copied().map(prepare).collect::<Result<Vec<_>, _>>()?;
        let connector = Arc::new(Connector::new(Some(connector_options(&config)?)));
        let group = |(origin, Prepared { members, reach }): (&Origin, Prepared)| {
            let name: Arc<str> = origin.name.as_str().into();
            let metrics = Arc::new(families.group(&name));
            let breaker = origin.breaker.as_ref();
            Arc::new(OriginGroup {
                members,
                turn: AtomicUsize::new(0),
                gate: Gate::new(Arc::clone(&name), &origin.limits, metrics.of_gate()),
                breaker: breaker.map(|rule| Breaker::new(Arc::clone(&name), rule, families.breaker(&name))),
                retry: origin.retry.clone(),
                failing: origin.retry.on_status.iter().copied().filter(|status| *status >= 500).collect(),
                budget: Arc::new(Budget::new(origin.retry.budget_percent, BUDGET_FLOOR)),
                hedger: origin.hedge.as_ref().map(Hedger::new),
                fallback: OnceLock::new(),
                in_use: InUse::new(),
                health: origin.health.clone(),
                reach: Arc::new(reach),
                connector: Arc::clone(&connector),
                metrics,
                families: families.clone(),
                name,
            })
        };
        let groups: Vec<Arc<OriginGroup>> = config.iter().copied().zip(prepared).map(group).collect();
        for (origin, group) in config.iter().zip(&groups) {
            if let Some(next) = origin.fallback.and_then(|place| groups.get(place)) {
                // Set once, here.
                let _ = group.fallback.set(Arc::clone(next));
            }
        }
        let discovered = config.iter().map(|origin| origin.discovered.clone()).collect();
        Ok(Self { groups, discovered, peers: None })
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

    /// The nodes of this tier; None: it is the only one.
    pub fn peers(&self) -> Option<&Arc<OriginGroup>> {
        self.peers.as_ref()
    }

    /// Names the groups that nothing is sent to, for an operator; None: there are none. It outlives what it was asked of.
    pub fn open_circuits(&self) -> impl Fn() -> Option<String> + Send + Sync + 'static {
        let groups = self.groups.clone();
        move || {
            let open = groups.iter().filter(|group| group.is_open()).map(|group| &*group.name);
            let open = open.collect::<Vec<_>>().join(", ");
            (!open.is_empty()).then(|| format!("most requests fail, so nothing is sent to: {open}"))
        }
    }

    /// Starts the health checks on the current tokio runtime, one task per server of a group that has any, and a task for
    /// each bucket whose credentials are read again when they change.
    ///
    /// They end when `shutdown` becomes true, when its sender is dropped, or when the origins are.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start_health_checks(&self, shutdown: &watch::Receiver<bool>) {
        for group in &self.groups {
            for signing in &group.reach.signing {
                if let Signing::S3(bucket) = signing {
                    tokio::spawn(s3::watch(Arc::downgrade(bucket), shutdown.clone()));
                }
            }
            group.watch(&group.members.now().servers, shutdown);
        }
    }

    /// Starts to look up the names that stand for servers on the current tokio runtime, one task per group that has any;
    /// servers that join are checked as the others are. `resolver` is asked, or the DNS servers of the system.
    ///
    /// They end as health checks do.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start_discovery(&self, resolver: Option<SocketAddr>, shutdown: &watch::Receiver<bool>) {
        for (group, names) in self.groups.iter().zip(&self.discovered).filter(|(_, names)| !names.is_empty())
        {
            let (group, names) = (Arc::downgrade(group), names.clone());
            tokio::spawn(discover::follow(group, names, resolver, shutdown.clone()));
        }
    }
}

/// The parts of a group whose making can fail.
struct Prepared {
    members: Members,
    reach: Reach,
}

fn prepare(
    origin: &Origin,
    (own, identity): (&Own, &Arc<Identity>),
    families: &OriginFamilies,
) -> Result<Prepared, OriginSetupError> {
    if origin.servers.is_empty() && origin.discovered.is_empty() {
        return Err(OriginSetupError::NoServers { origin: origin.name.clone() });
    }
    let members = Members::new(origin, own.clone(), families)?;
    let tls = &origin.tls;
    let authorities = tls.ca.as_ref().map(|path| {
        let refuse =
            |reason| OriginSetupError::TlsCa { origin: origin.name.clone(), path: path.clone(), reason };
        trust::load(path, tls.ca_only).map_err(refuse)
    });
    let client = tls.client.as_ref().map(|client| {
        let path = client.certificate.clone();
        let refuse = |reason| OriginSetupError::TlsClient { origin: origin.name.clone(), path, reason };
        trust::client(&client.certificate, &client.key).map_err(refuse)
    });
    let (authorities, client) = (authorities.transpose()?, client.transpose()?);
    // The engine's pools do not tell connections apart by the authorities they were checked against, and by certificates
    // only as far as their serial numbers differ.
    let mut pool_key = Xxh3Default::new();
    pool_key.update(origin.name.as_bytes());
    for authority in authorities.iter().flat_map(|list| list.iter()) {
        pool_key.update(authority.borrow_raw_cert());
    }
    for certificate in client.iter() {
        pool_key.update(certificate.leaf().borrow_raw_cert());
    }
    let bucket = origin.s3.as_ref().map(|s3| Signing::S3(Arc::new(s3::Bucket::new(s3))));
    let proof = origin.proof.as_ref().map(|proof| Signing::Proof(proof::Proof::new(proof)));
    let reach = Reach {
        timeouts: origin.timeouts.clone(),
        authorities,
        client,
        pool_key: pool_key.digest(),
        http2: origin.http2,
        forward_host: origin.forward_host || (origin.tier && origin.host.is_none()),
        headers: origin.headers.clone(),
        signing: bucket.into_iter().chain(proof).collect(),
        identity: Arc::clone(identity),
        role: match origin.tier {
            true if origin.name == PEERS => Some(Role::Peer),
            true => Some(Role::Edge),
            false => None,
        },
    };
    Ok(Prepared { members, reach })
}

/// The server name of TLS for a server.
fn sni(origin: &Origin, place: &OriginServer) -> String {
    let bucket = origin.s3.as_ref().filter(|s3| s3.style == S3Style::Virtual);
    match (&origin.tls.sni, bucket) {
        (Some(sni), _) => sni.clone(),
        (None, Some(s3)) => format!("{}.{}", s3.bucket, place.host),
        (None, None) => place.host.clone(),
    }
}

fn connector_options(config: &[&Origin]) -> Result<ConnectorOptions, OriginSetupError> {
    let idle = config.iter().fold(0_usize, |sum, origin| sum.saturating_add(origin.limits.connections));
    let mut options = ConnectorOptions::new(idle.clamp(1, POOL_CONNECTIONS_MAX));
    let needs_roots = |origin: &&&Origin| {
        let names = origin.discovered.iter().map(|name| name.tls);
        !origin.tls.ca_only && origin.servers.iter().map(|place| place.tls).chain(names).any(|tls| tls)
    };
    match config.iter().find(needs_roots) {
        Some(origin) => trust::check_system_roots()
            .map_err(|reason| OriginSetupError::SystemRoots { origin: origin.name.clone(), reason })?,
        // Without TLS, or with authorities of the groups' own, none of the system's are needed, and a machine without any must not keep the node from starting: the
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

    /// Whether its servers are nodes of the next tier.
    pub fn is_tier(&self) -> bool {
        self.reach.role.is_some()
    }

    /// Attempts in a row without a byte to go on with a body that broke off (`retry.resume`); 0 to 10.
    pub fn resumes_in_a_row(&self) -> u32 {
        self.retry.resume
    }

    /// The pause before attempt number `attempt` to go on with a body that broke off, counted from 1.
    pub fn pause(&self, attempt: u32) -> Duration {
        fetch::backoff(attempt, (self.retry.backoff, self.retry.backoff_max))
    }

    /// Counts what became of a body that broke off.
    pub fn count_resumption(&self, result: Resumption) {
        self.metrics.resumption(result);
    }

    /// The authority of each server and whether it is usable: healthy, and not ejected.
    pub fn servers_health(&self) -> Vec<(Arc<str>, bool)> {
        let list = self.members.now();
        list.servers.iter().map(|server| (Arc::clone(&server.authority), server.is_usable())).collect()
    }

    /// Whether the group can be expected to answer, itself or by its fallback: a server is usable, and the circuit is not
    /// open.
    pub fn is_available(&self) -> bool {
        (!self.is_open() && !self.is_down()) || self.fallback.get().is_some_and(|next| next.is_available())
    }

    /// Whether nothing is sent to the group because most requests have failed.
    pub fn is_open(&self) -> bool {
        self.breaker.as_ref().is_some_and(|breaker| breaker.is_open())
    }

    /// Whether no server is usable.
    fn is_down(&self) -> bool {
        !self.members.now().servers.iter().any(|server| server.is_usable())
    }

    /// The servers, as soon as there are any.
    async fn list(&self) -> Result<Arc<List>, OriginError> {
        let list = self.members.ready(self.reach.timeouts.connect).await;
        let none = || OriginError::NoServers { origin: Arc::clone(&self.name) };
        list.ok_or_else(none).inspect_err(|error| self.metrics.error(error.kind()))
    }

    /// Checks these servers until they leave, where the group checks its servers.
    fn watch(self: &Arc<Self>, servers: &[Arc<Server>], shutdown: &watch::Receiver<bool>) {
        let Some(health) = &self.health else { return };
        for server in servers {
            let (group, server) = (Arc::downgrade(self), Arc::clone(server));
            tokio::spawn(health::watch(group, server, health.clone(), shutdown.clone()));
        }
    }

    /// The place of the server to ask: in the order of the key, or in turn, among the usable ones, those not `tried` yet first,
    /// and of those the ones that have not just broken off a body. `placement` is None for what passes through.
    ///
    /// With no usable server all are taken for usable: a wrong health check must not take a site down, and an attempt
    /// that fails costs no more than refusing at once.
    fn choose(&self, list: &List, placement: Option<u64>, tried: &[usize]) -> usize {
        let any_usable = list.servers.iter().any(|server| server.is_usable());
        let usable = |place: &usize| !any_usable || list.servers[*place].is_usable();
        let untried = |place: &usize| usable(place) && !tried.contains(place);
        let reliable = |place: &usize| untried(place) && !list.servers[*place].record.is_shunned();
        let first = |key, wanted: &dyn Fn(&usize) -> bool| list.owner(key, wanted);
        let owner =
            |key| first(key, &reliable).or_else(|| first(key, &untried)).or_else(|| first(key, &usable));
        if let Some(place) = placement.and_then(owner) {
            return place;
        }
        // Only first attempts move on: else a bad server would be met first by every request, not by each in its turn.
        let step = usize::from(tried.is_empty());
        let turn = self.turn.fetch_add(step, Ordering::Relaxed);
        let found = list.nth(turn, reliable).or_else(|| list.nth(turn, untried));
        found.or_else(|| list.nth(turn, usable)).unwrap_or(0)
    }
}
