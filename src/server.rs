//! Runs a node: binds its addresses, starts its stations, drains and ends.
//!
//! Every address is bound before anything is started, so that a node either starts whole or not at all. Each thread that
//! serves viewers has sockets of its own; the operator's listener and health checks run beside them.

mod connections;
mod descriptors;
mod hello;
mod keys;
mod listen;
pub mod proxy_protocol;
pub mod tls;
mod zero_copy;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ListenFds;
use pingora::server::configuration::ServerConf;
use pingora::services::Service as _;
use pingora::services::listening::Service;
use pingora_proxy::http_proxy;
use prometheus::IntGauge;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};

use crate::admin::{self, AdminState, Explained, Readiness};
use crate::admission::rate::KeyRate;
use crate::clock::Clock;
use crate::coalesce::Coalescer;
use crate::config::model::{Config, Disk};
use crate::deliver::carry::Carrier;
use crate::deliver::encode::Encoder;
use crate::fleet::share::Share;
use crate::fleet::{Fleet, FleetError, Joining};
use crate::key::site_id;
use crate::observe::{AccessLog, Metrics, Observer, Staleness, Viewers, log};
use crate::origin::{OriginFamilies, OriginSetupError, Origins, Own};
use crate::peers::Peers;
use crate::prefetch::Prefetcher;
use crate::proxy::{Edge, Entitlements, Health, Parking, Polls, Steerer};
use crate::purge::Purger;
use crate::purge::forward::{ForwardError, Forwarder};
use crate::purge::hook::Hook;
use crate::revoke::Revoker;
use crate::revoke::ledger::{Ledger, LedgerError};
use crate::site::{Site, Sites};
use crate::steering::{Load, SteeringFamilies};
use crate::store::arena::Arena;
use crate::store::disk::device::Device;
use crate::store::disk::{DiskError, DiskMetrics, DiskTier, Quotas, directory};
use crate::store::{Accounts, Store, StoreMetrics};
use crate::tier::{Identity, TierMetrics};
use crate::wake;
use connections::{Connections, Counted, Timed};
use proxy_protocol::ProxyProtocol;

/// How long a request of another node waits for purges that this one does not know of, where no bus says how long.
const CATCH_UP_WAIT: Duration = Duration::from_millis(100);

/// How often a draining node looks whether its connections have ended.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// How often revocations, used tokens and streams that have ended are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How often steering looks at the load.
const LOAD_EVERY: Duration = Duration::from_secs(1);

/// Bytes of a connection's read buffer: a request header of ordinary size.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Bytes of a connection's write buffer: a header and a small body leave in one write.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;

/// Idle connections of the engine's own upstream path.
const UPSTREAM_POOL_CONNECTIONS: usize = 128;

/// Why a node cannot start. Nothing has been started then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("{key}: {address} cannot be bound: {source}; free the address, or choose another")]
    Bind {
        /// The configuration key, with the place in its list.
        key: String,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate or its key cannot be used.
    #[error("server.https: {0}; name a PEM certificate chain and its key")]
    Tls(String),
    /// An origin group cannot be set up.
    #[error(transparent)]
    Origin(#[from] OriginSetupError),
    /// The access log cannot be opened.
    #[error("log.access: {0}; name a file that can be appended to, \"stdout\" or \"off\"")]
    AccessLog(crate::observe::access_log::AccessLogError),
    /// A disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The revocations cannot be read.
    #[error("revocation.file: {0}")]
    Revocations(#[from] LedgerError),
    /// The node cannot take part in its fleet.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// Purges cannot be passed on.
    #[error("purge.forward_state: {0}")]
    Forward(#[from] ForwardError),
    /// A metric is registered twice.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Threads cannot be started.
    #[error("threads: {0}")]
    Threads(std::io::Error),
}

impl StartError {
    /// The configuration key at fault, where it is one.
    pub fn key(&self) -> &str {
        match self {
            StartError::Bind { key, .. } => key,
            StartError::Tls(_) => "server.https",
            StartError::Origin(_) => "origin",
            StartError::AccessLog(_) => "log.access",
            StartError::Disk(_) => "store.disk",
            StartError::Revocations(_) => "revocation.file",
            StartError::Fleet(_) => "fleet.state",
            StartError::Forward(_) => "purge.forward_state",
            StartError::Metrics(_) | StartError::Threads(_) => "server",
        }
    }
}

/// What makes devices of configured disks.
pub type Devices<'a> = dyn Fn(&Disk) -> std::io::Result<Arc<dyn Device>> + 'a;

/// Serves a connection until it ends.
type Serve = Box<dyn Fn(Stream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A running node.
pub struct Node {
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    drain: Arc<Drain>,
    observer: Arc<Observer>,
    control_runtime: Option<Runtime>,
    drain_delay: Duration,
    drain_timeout: Duration,
    connections: Arc<Connections>,
    store: &'static Store,
    fleet: Option<Arc<Fleet>>,
    serve: Serve,
}

/// Tells a node to stop; may be told more than once.
pub struct Drain {
    /// It is asked to stop.
    begun: watch::Sender<bool>,
    /// It takes no new connections.
    stop: watch::Sender<bool>,
    asked: Notify,
    readiness: Arc<Readiness>,
}

impl Drain {
    /// Says that the node is not ready any more, and has [`Node::stopped`] return.
    pub fn start(&self) {
        self.readiness.set_draining();
        self.begun.send_replace(true);
        self.asked.notify_one();
    }

    /// Stops accepting.
    fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl Node {
    /// Binds every address and starts the node. `config` is checked already.
    ///
    /// # Errors
    /// [`StartError`]; nothing has been started then.
    pub fn start(config: &Config, clock: Clock) -> Result<Node, StartError> {
        Node::start_on(config, clock, &directory)
    }

    /// As [`Node::start`], with the disks that `devices` makes of the configured folders.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn start_on(config: &Config, clock: Clock, devices: &Devices<'_>) -> Result<Node, StartError> {
        let threads = config.server.threads.map_or_else(cores, std::num::NonZero::get);
        descriptors::raise(config.limits.connections);
        let mut sockets = listen::bind(&config.server, threads)?;
        let tls = (0..threads).map(|_| tls::settings(&config.server)).collect::<Result<Vec<_>, _>>()?;
        let sites: Vec<&str> = config.sites.iter().map(|site| site.name.as_str()).collect();
        let metrics = Metrics::new(&sites)?;
        let families = OriginFamilies::new(metrics.registry())?;
        let identity = Arc::new(Identity::new(&config.fleet, clock.clone()));
        let peers = config.fleet.peers.as_ref();
        let own = Own {
            told: peers.and_then(|peers| peers.own.clone()),
            name: config.fleet.name.clone(),
            listeners: [sockets.http_addresses(), sockets.https_addresses()].concat(),
        };
        let origins = Origins::of(config, (&own, &identity), &families)?;
        let peers = Peers::new(&config.fleet, origins.peers(), metrics.registry())?;
        let viewers = Viewers::new(&sites, Instant::now());
        viewers.register(metrics.registry())?;
        let access_log = AccessLog::start(&config.log.access, config.log.queue, metrics.access_log_dropped())
            .map_err(StartError::AccessLog)?;
        let observer = Arc::new(Observer {
            metrics: Arc::clone(&metrics),
            access_log,
            viewers,
            tls_fingerprints: config.log.tls_fingerprint,
        });
        let (file, limit) = (config.revocation.file.as_deref(), config.limits.revocations);
        let ledger = Arc::new(Ledger::open(file, limit, clock.clone(), metrics.registry())?);
        let mut store = store(config, &metrics, devices)?;
        store.use_clock(clock.clone());
        let arena = arena(config);
        let mover = arena.clone().map(|arena| store.use_arena(arena));
        // The engine's storage interface asks for a store that lives as long as the process.
        let store: &'static Store = Box::leak(Box::new(store));
        let control_runtime = control_runtime()?;
        if let Some(mover) = mover {
            control_runtime.spawn(mover.run(store));
        }
        let viewer_runtimes = (0..threads).map(|_| viewer_runtime()).collect::<Result<Vec<_>, _>>()?;

        let (stop, stopping) = watch::channel(false);
        let readiness = Arc::new(Readiness::new());
        readiness.watch("origins", Box::new(origins.open_circuits()));
        let (begun, draining) = watch::channel(false);
        let drain = Drain { begun, stop, asked: Notify::new(), readiness: Arc::clone(&readiness) };
        let drain = Arc::new(drain);
        let connections = Connections::new(&metrics, config.limits.connections);
        let sites = Arc::new(Sites::new(config, &origins));
        keys::start(&control_runtime, &sites, &metrics);
        let steerer = steerer(&sites, &metrics, &readiness)?;
        let (steered, counted_by) = (Arc::clone(&sites), Arc::clone(&observer));
        let explained = Explained {
            sites: Arc::clone(&sites),
            limits: crate::explain::Limits::of(config),
            clock: clock.clone(),
        };
        let fleet = fleet(config, (store, &ledger), &metrics, &control_runtime, &readiness)?;
        if let Some(fleet) = &fleet {
            identity.follow(Arc::clone(fleet) as _);
        }
        let target_bytes_max = config.limits.request_target;
        let purger = Arc::new(Purger::new(Arc::clone(&sites), store, target_bytes_max, fleet.clone()));
        if !config.purge.forward.is_empty() {
            let (registry, runtime) = (metrics.registry(), control_runtime.handle());
            purger.forward_by(Arc::new(Forwarder::start(&config.purge, clock.clone(), registry, runtime)?));
        }
        let hook = config.purge.hook.as_ref().map(|hook| Hook::new(hook, clock.clone()));
        let entitlements =
            Entitlements::new(&config.limits, ledger, fleet.clone(), clock.clone(), metrics.registry())?;
        let entitlements = Arc::new(entitlements);
        let policies = config.tokens.iter().map(|policy| policy.name.clone()).collect();
        let revoker = entitlements.revoker(policies);
        control_runtime.spawn(sweep(Arc::clone(&entitlements)));
        let playlists = Arc::clone(sites.playlists());
        Staleness::register(&playlists, &observer.viewers, &clock, metrics.registry())?;
        let (limits, ttl_min) = (config.limits.clone(), config.store.disk_ttl_min);
        let coalescer = Coalescer::new(store, playlists, clock.clone(), limits, ttl_min, metrics.registry())?;
        if let Some(peers) = &peers {
            coalescer.ask_peers(Arc::clone(peers));
        }
        share(config, fleet.as_ref(), &coalescer, &clock, &metrics)?;
        let prefetcher = Prefetcher::start(
            &sites,
            &coalescer,
            (store, &clock),
            &config.limits,
            metrics.registry(),
            draining,
        )?;
        let edge = Edge {
            sites,
            entitlements: Arc::clone(&entitlements),
            store,
            carrier: Carrier::new(store, config.limits.playlist),
            encoder: Encoder::new(store, config.limits.playlist, metrics.registry())?,
            coalescer,
            prefetcher,
            parking: Parking::new(&config.limits),
            polls: Polls::new(clock.clone(), metrics.registry())?,
            observer: Arc::clone(&observer),
            clock,
            server: config.server.clone(),
            limits: config.limits.clone(),
            purger: Arc::clone(&purger),
            key_rate: KeyRate::new(config.limits.key_requests, config.limits.key_clients),
            purge_from: config.purge.method_from.clone(),
            cmsd_node: config
                .fleet
                .name
                .as_ref()
                .map_or_else(|| "forebay".to_owned(), |name| format!("forebay-{name}")),
            steerer: steerer.0,
            peers,
            identity,
            tier: TierMetrics::register(metrics.registry())?,
            catch_up_wait: config.fleet.bus.as_ref().map_or(CATCH_UP_WAIT, |bus| bus.timeout),
            health: health(config, &readiness, &metrics),
        };
        control_runtime.spawn(watch_load(steered, steerer.1, counted_by, Arc::clone(&connections)));
        {
            // Health checks and discovery end with the stop signal; fetches of a draining node go on without them.
            let _entered = control_runtime.enter();
            origins.start_health_checks(&stopping);
            origins.start_discovery(config.server.resolver, &stopping);
        }
        let header_limit = config.server.request_timeout;
        let proxy = config.server.proxy_protocol.as_ref();
        let proxy = proxy.map(|proxy| ProxyProtocol::new(proxy, header_limit, &metrics));
        let app = counted(edge, config, &connections, (arena, proxy.clone()));
        let node = Node {
            http: sockets.http_addresses(),
            https: sockets.https_addresses(),
            admin: sockets.admin_address(),
            drain: Arc::clone(&drain),
            observer,
            drain_delay: config.server.drain_delay,
            drain_timeout: config.server.drain_timeout,
            connections: Arc::clone(&connections),
            store,
            fleet: fleet.clone(),
            serve: serve(app.clone(), stopping.clone()),
            control_runtime: None,
        };
        let admin_listener = sockets.take_admin();
        let fingerprints = config.asks_for_fingerprints().then(|| hello::fingerprints(header_limit));
        let before_tls = proxy_protocol::before_tls(proxy.as_ref(), fingerprints);
        for (runtime, tls) in viewer_runtimes.into_iter().zip(tls) {
            let (service, fds) = sockets.take_service(tls, before_tls.clone(), app.clone());
            serve_viewers(runtime, service, fds, stopping.clone(), Arc::clone(&connections))?;
        }
        if let Some(listener) = admin_listener {
            let shared = fleet.clone();
            let collectors: Vec<Box<dyn Fn() + Send + Sync>> = vec![
                Box::new(|| store.update_gauges()),
                Box::new(move || entitlements.update_gauges()),
                Box::new(move || shared.iter().for_each(|fleet| fleet.update_gauges())),
            ];
            let asked = (purger, hook, explained, revoker, fleet);
            let state = admin_state(config, metrics, store, &readiness, &drain, asked, collectors);
            let closed = stopped_for_good(Arc::clone(&connections));
            control_runtime.spawn(async move {
                if let Err(error) = admin::serve(listener, state, closed).await {
                    tracing::error!(%error, "the admin listener ended");
                }
            });
        }
        node.announce();
        readiness.set_started();
        log::ready();
        Ok(Node { control_runtime: Some(control_runtime), ..node })
    }

    /// Addresses of the plaintext listeners, with the ports really bound.
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http
    }

    /// Addresses of the TLS listeners.
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.https
    }

    /// Address of the operator's listener.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Serves a plaintext connection that came by no listener, until it ends: all of a request's way but the system's part.
    /// For benchmarks.
    #[doc(hidden)]
    pub async fn serve(&self, stream: Stream) {
        (self.serve)(stream).await;
    }

    /// What stops the node.
    pub fn drain(&self) -> Arc<Drain> {
        Arc::clone(&self.drain)
    }

    /// Opens the access log's file anew, after it was renamed.
    pub fn reopen_access_log(&self) {
        self.observer.access_log.reopen();
    }

    /// Returns when somebody has asked the node to stop.
    pub async fn stopped(&self) {
        self.drain.asked.notified().await;
    }

    /// Stops accepting after `server.drain_delay`, waits until connections have ended (at most `server.drain_timeout`), and ends.
    pub async fn shutdown(mut self) {
        self.drain.start();
        tracing::info!(connections = self.connections.open(), "draining");
        tokio::time::sleep(self.drain_delay).await;
        self.drain.stop();
        let deadline = Instant::now() + self.drain_timeout;
        while self.connections.open() > 0 && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        let left = self.connections.open();
        if left > 0 {
            tracing::warn!(connections = left, "drain_timeout has passed: connections are cut");
        }
        self.connections.close_for_good();
        if let Some(fleet) = &self.fleet {
            fleet.leave().await;
        }
        self.store.close().await;
        if let Some(runtime) = self.control_runtime.take() {
            runtime.shutdown_background();
        }
        let observer = Arc::clone(&self.observer);
        // Writing what is queued may block.
        let written = tokio::task::spawn_blocking(move || observer.access_log.close()).await;
        if !matches!(written, Ok(true)) {
            tracing::warn!("access lines were left unwritten");
        }
        tracing::info!("stopped");
    }

    fn announce(&self) {
        self.http.iter().for_each(|address| log::listening("http", *address));
        self.https.iter().for_each(|address| log::listening("https", *address));
        self.admin.iter().for_each(|address| log::listening("admin", *address));
    }
}

/// The store, its disks opened.
fn store(config: &Config, metrics: &Metrics, devices: &Devices<'_>) -> Result<Store, StartError> {
    let disk = match &*config.store.disks {
        [] => None,
        disks => {
            let quotas = config.sites.iter().filter_map(|site| Some((site_id(&site.name), site.quota.disk?)));
            let disk_metrics = DiskMetrics::new(metrics.registry())?;
            Some(DiskTier::open(disks, &Quotas::new(quotas), config.store.memory, devices, disk_metrics)?)
        }
    };
    let store_metrics = StoreMetrics::new(metrics.registry())?;
    Ok(Store::new(
        config.store.memory,
        config.limits.object_share,
        Accounts::new(&config.sites),
        disk,
        config.store.disk_admit_within,
        store_metrics,
    ))
}

/// Where hot bodies are sent from; None where nobody would be sent them from there, or the system refuses.
fn arena(config: &Config) -> Option<Arc<Arena>> {
    if !config.server.zero_copy || config.server.http.is_empty() {
        return None;
    }
    Arena::new(config.store.memory)
        .inspect_err(|error| tracing::info!(%error, "zero_copy: not available, bodies are sent by copying"))
        .ok()
}

/// The engine around the data plane, with its connections counted.
fn counted(
    edge: Edge,
    config: &Config,
    connections: &Arc<Connections>,
    (arena, header): (Option<Arc<Arena>>, Option<Arc<ProxyProtocol>>),
) -> impl ServerApp + Clone + Send + Sync + 'static {
    let conf = ServerConf {
        max_retries: 2,
        upstream_keepalive_pool_size: UPSTREAM_POOL_CONNECTIONS,
        ..ServerConf::default()
    };
    let mut proxy = http_proxy(&Arc::new(conf), edge);
    let options = proxy.server_options.get_or_insert_default();
    options.h2c = config.server.h2c;
    options.h2_idle_timeout = Some(config.server.idle_timeout);
    let timed = Timed::new(proxy, config.server.request_timeout, config.server.idle_timeout);
    Counted::new(timed, Arc::clone(connections), arena, header)
}

/// What serves connections that came by no listener.
fn serve(app: impl ServerApp + Send + Sync + 'static, stopping: watch::Receiver<bool>) -> Serve {
    let app = Arc::new(app);
    Box::new(move |stream| {
        let (app, stopping) = (Arc::clone(&app), stopping.clone());
        Box::pin(async move { drop(app.process_new(stream, &stopping).await) })
    })
}

fn admin_state(
    config: &Config,
    metrics: Arc<Metrics>,
    store: &'static Store,
    readiness: &Arc<Readiness>,
    drain: &Arc<Drain>,
    (purger, hook, explained, revoker, fleet): (
        Arc<Purger>,
        Option<Hook>,
        Explained,
        Revoker,
        Option<Arc<Fleet>>,
    ),
    collectors: Vec<Box<dyn Fn() + Send + Sync>>,
) -> AdminState {
    let drain = Arc::clone(drain);
    AdminState {
        metrics,
        readiness: Arc::clone(readiness),
        token: config.server.admin_token.clone(),
        drain: Arc::new(move || drain.start()),
        clear: Arc::new(move || {
            Box::pin(async move { store.clear().await.map_err(|error| error.to_string()) })
        }),
        purger,
        hook,
        revoker: Arc::new(revoker),
        fleet,
        explained,
        collectors,
    }
}

/// What this node shares with others; waits until it has applied what they have purged and revoked, or cannot.
fn fleet(
    config: &Config,
    (store, ledger): (&'static Store, &Arc<Ledger>),
    metrics: &Metrics,
    control_runtime: &Runtime,
    readiness: &Readiness,
) -> Result<Option<Arc<Fleet>>, StartError> {
    let Some(bus) = &config.fleet.bus else { return Ok(None) };
    let joining = Joining {
        name: config.fleet.name.clone(),
        digest: config.digest.clone(),
        tier: config.tier(),
        store,
        has_disks: !config.store.disks.is_empty(),
        keeper: Arc::clone(ledger) as _,
    };
    let fleet = Fleet::start(bus, joining, metrics.registry(), control_runtime.handle())?;
    let watched = Arc::clone(&fleet);
    readiness.watch("fleet", Box::new(move || watched.warning()));
    fleet.wait_for_start();
    Ok(Some(fleet))
}

/// Has small objects shared, where a rule asks for it.
fn share(
    config: &Config,
    fleet: Option<&Arc<Fleet>>,
    coalescer: &Coalescer,
    clock: &Clock,
    metrics: &Metrics,
) -> Result<(), StartError> {
    let shared = config.sites.iter().any(|site| site.rules.iter().any(|rule| rule.shared));
    if let Some(fleet) = fleet.filter(|_| shared) {
        let (fleet, purges) = (Arc::clone(fleet), Arc::clone(fleet) as _);
        let share = Share::new(fleet, config.fleet.share, purges, clock.clone(), metrics.registry())?;
        coalescer.use_shelf(Arc::new(share));
    }
    Ok(())
}

/// Has what has ended forgotten, until the runtime ends.
async fn sweep(entitlements: Arc<Entitlements>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let entitlements = Arc::clone(&entitlements);
        // Millions of entries take a while: not on a thread that serves. It fails only while the runtime ends.
        let _ = tokio::task::spawn_blocking(move || entitlements.sweep()).await;
    }
}

/// What steering asks of the node, and the gauges of its sections.
fn steerer(
    sites: &Sites,
    metrics: &Metrics,
    readiness: &Arc<Readiness>,
) -> Result<(Steerer, Vec<IntGauge>), prometheus::Error> {
    if sites.steering().is_empty() {
        return Ok((Steerer { ready: Arc::new(|| true), series: Vec::new() }, Vec::new()));
    }
    let families = SteeringFamilies::new(metrics.registry())?;
    let of_site =
        |site: &Arc<Site>| site.steering.as_ref().map(|steering| families.of_site(&site.name, steering));
    let series = sites.all().iter().map(of_site).collect();
    let gauges = sites.steering().iter().map(|steering| families.overloaded(steering)).collect();
    let readiness = Arc::clone(readiness);
    Ok((Steerer { ready: Arc::new(move || readiness.is_ready()), series }, gauges))
}

/// What answers health checks on viewers' listeners.
fn health(config: &Config, readiness: &Arc<Readiness>, metrics: &Metrics) -> Option<Health> {
    let readiness = Arc::clone(readiness);
    let path = config.server.health_path.as_ref()?;
    Some(Health::new(path, Arc::new(move || readiness.is_ready()), metrics))
}

/// Tells steering what the node has to do, until the runtime ends; ends at once where no load matters.
async fn watch_load(
    sites: Arc<Sites>,
    gauges: Vec<IntGauge>,
    observer: Arc<Observer>,
    connections: Arc<Connections>,
) {
    let bounds = || sites.steering().iter().map(|steering| steering.bounds());
    let by_viewers = bounds().any(|bounds| bounds.viewers.is_some());
    if !by_viewers && bounds().all(|bounds| bounds.connections.is_none()) {
        return;
    }
    loop {
        let viewers = if by_viewers { observer.viewers.snapshot(Instant::now()) } else { Vec::new() };
        let load = Load {
            viewers: viewers.iter().map(|stream| stream.viewers).sum(),
            connections: connections.open() as u64,
        };
        for (steering, gauge) in sites.steering().iter().zip(&gauges) {
            gauge.set(i64::from(steering.observe(&load)));
        }
        tokio::time::sleep(LOAD_EVERY).await;
    }
}

async fn stopped_for_good(connections: Arc<Connections>) {
    connections.closed_for_good().await;
}

/// The operator's listener and health checks: a thread of their own.
fn control_runtime() -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("forebay-control")
        .enable_all()
        .build()
        .map_err(StartError::Threads)
}

/// One of the threads that serve viewers: a connection stays with it, and wakes nobody else's.
///
/// What another thread has woken goes before what has become readable, and one that it tells of many viewers ([`wake`]) wakes them
/// in a row: whom one answer wakes are sent it before the next requests of those who have it are read.
fn viewer_runtime() -> Result<Runtime, StartError> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().global_queue_interval(1).build().map_err(StartError::Threads)
}

/// Starts a thread that accepts viewers until `stopping`, and serves them until the node has ended.
fn serve_viewers<A: ServerApp + Send + Sync + 'static>(
    runtime: Runtime,
    mut service: Service<A>,
    fds: ListenFds,
    stopping: watch::Receiver<bool>,
    connections: Arc<Connections>,
) -> Result<(), StartError> {
    let serve = async move {
        wake::relay_here();
        service.start_service(Some(fds), stopping, 1).await;
        connections.closed_for_good().await;
    };
    std::thread::Builder::new()
        .name("forebay-viewers".to_owned())
        .spawn(move || runtime.block_on(serve))
        .map(drop)
        .map_err(StartError::Threads)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl Connections {
    /// Connections open now.
    fn open(&self) -> usize {
        self.count().load(Ordering::Acquire)
    }
}
