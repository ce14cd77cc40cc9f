//! Builds the stations of a request's way, and what stands beside it: the store, the origins, the fleet, purges, tokens.
//!
//! Decides the order in which they come to be: a station is built after those that it asks. What goes on by itself runs on
//! the control thread. Nothing listens yet; called once, by [`Node::start`](super::Node::start).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::connections::Connections;
use super::load::{self, LoadGauges};
use super::{Devices, StartError, keys};
use crate::admin::{Explained, Readiness};
use crate::admission::rate::KeyRate;
use crate::clock::Clock;
use crate::coalesce::Coalescer;
use crate::config::model::Config;
use crate::deliver::carry::Carrier;
use crate::deliver::encode::Encoder;
use crate::fleet::share::Share;
use crate::fleet::{Fleet, Joining};
use crate::key::site_id;
use crate::observe::{AccessLog, Metrics, Observer, Staleness, Viewers};
use crate::origin::{OriginFamilies, Origins, Own};
use crate::peers::Peers;
use crate::prefetch::Prefetcher;
use crate::proxy::{Edge, Entitlements, Health, Parking, Polls};
use crate::purge::Purger;
use crate::purge::forward::Forwarder;
use crate::purge::hook::Hook;
use crate::revoke::Revoker;
use crate::revoke::ledger::Ledger;
use crate::site::Sites;
use crate::store::arena::Arena;
use crate::store::disk::{DiskMetrics, DiskTier, Quotas};
use crate::store::{Accounts, Store, StoreMetrics};
use crate::tier::{Identity, TierMetrics};

/// How long a request of another node waits for purges that this one does not know of, where no bus says how long.
const CATCH_UP_WAIT: Duration = Duration::from_millis(100);

/// How often revocations, used tokens and streams that have ended are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// What every station is built on.
pub(super) struct Ground<'a> {
    pub(super) config: &'a Config,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
    /// The control thread.
    pub(super) control: Handle,
    /// Where viewers are listened for.
    pub(super) listeners: Vec<SocketAddr>,
    /// Tells when the node is asked to stop.
    pub(super) draining: watch::Receiver<bool>,
}

/// All that was built.
pub(super) struct Stations {
    /// The request's way.
    pub(super) edge: Edge,
    pub(super) origins: Origins,
    pub(super) store: &'static Store,
    /// Where hot bodies are sent from.
    pub(super) arena: Option<Arc<Arena>>,
    pub(super) fleet: Option<Arc<Fleet>>,
    pub(super) hook: Option<Hook>,
    pub(super) revoker: Revoker,
    pub(super) explained: Explained,
    load: Option<LoadGauges>,
}

impl Stations {
    pub(super) fn build(ground: &Ground<'_>, devices: &Devices<'_>) -> Result<Stations, StartError> {
        let &Ground { config, ref clock, ref metrics, ref control, .. } = ground;
        let registry = metrics.registry();
        let identity = Arc::new(Identity::new(&config.fleet, clock.clone()));
        let (origins, peers) = origins(ground, &identity)?;
        let observer = observer(ground)?;
        let ledger = ledger(ground)?;
        let (store, arena) = store(ground, devices)?;
        let sites = Arc::new(Sites::new(config, &origins));
        keys::start(control, &sites, metrics);
        let (steerer, load) = load::steerer(ground, &sites)?;
        let fleet = fleet(ground, store, &ledger)?;
        if let Some(fleet) = &fleet {
            identity.follow(Arc::clone(fleet) as _);
        }
        let purger = purger(ground, &sites, store, fleet.clone())?;
        let entitlements = Entitlements::new(&config.limits, ledger, fleet.clone(), clock.clone(), registry)?;
        let entitlements = Arc::new(entitlements);
        control.spawn(sweep(Arc::clone(&entitlements)));
        let playlists = Arc::clone(sites.playlists());
        Staleness::register(&playlists, &observer.viewers, clock, registry)?;
        let (limits, ttl_min) = (config.limits.clone(), config.store.disk_ttl_min);
        let coalescer = Coalescer::new(store, playlists, clock.clone(), limits, ttl_min, registry)?;
        if let Some(peers) = &peers {
            coalescer.ask_peers(Arc::clone(peers));
        }
        share(ground, fleet.as_ref(), &coalescer)?;
        let prefetcher = Prefetcher::start(
            &sites,
            &coalescer,
            (store, clock),
            &config.limits,
            registry,
            ground.draining.clone(),
        )?;
        let policies = config.tokens.iter().map(|policy| policy.name.clone()).collect();
        Ok(Stations {
            origins,
            store,
            arena,
            hook: config.purge.hook.as_ref().map(|hook| Hook::new(hook, clock.clone())),
            revoker: entitlements.revoker(policies),
            explained: Explained {
                sites: Arc::clone(&sites),
                limits: crate::explain::Limits::of(config),
                clock: clock.clone(),
            },
            load,
            edge: Edge {
                sites,
                entitlements,
                store,
                carrier: Carrier::new(store, config.limits.playlist),
                encoder: Encoder::new(store, config.limits.playlist, registry)?,
                coalescer,
                prefetcher,
                parking: Parking::new(&config.limits),
                polls: Polls::new(clock.clone(), registry)?,
                observer,
                clock: clock.clone(),
                server: config.server.clone(),
                limits: config.limits.clone(),
                purger,
                key_rate: KeyRate::new(config.limits.key_requests, config.limits.key_clients),
                purge_from: config.purge.method_from.clone(),
                cmsd_node: config
                    .fleet
                    .name
                    .as_ref()
                    .map_or_else(|| "forebay".to_owned(), |name| format!("forebay-{name}")),
                steerer,
                peers,
                identity,
                tier: TierMetrics::register(registry)?,
                catch_up_wait: config.fleet.bus.as_ref().map_or(CATCH_UP_WAIT, |bus| bus.timeout),
                health: health(ground),
            },
            fleet,
        })
    }

    /// Starts what goes on until `stopping`, or until the node has ended.
    pub(super) fn start(
        &mut self,
        ground: &Ground<'_>,
        connections: &Arc<Connections>,
        stopping: &watch::Receiver<bool>,
    ) {
        let Edge { sites, observer, steerer, .. } = &self.edge;
        let (sites, observer, egress) = (Arc::clone(sites), Arc::clone(observer), steerer.egress.clone());
        ground.control.spawn(load::watch(sites, self.load.take(), egress, observer, Arc::clone(connections)));
        // Health checks and discovery end with the stop signal; fetches of a draining node go on without them.
        let _entered = ground.control.enter();
        self.origins.start_health_checks(stopping);
        self.origins.start_discovery(ground.config.server.resolver, stopping);
    }
}

fn observer(ground: &Ground<'_>) -> Result<Arc<Observer>, StartError> {
    let &Ground { config, ref metrics, .. } = ground;
    let sites: Vec<&str> = config.sites.iter().map(|site| site.name.as_str()).collect();
    let viewers = Viewers::new(&sites, Instant::now());
    viewers.register(metrics.registry())?;
    let access_log = AccessLog::start(&config.log.access, config.log.queue, metrics.access_log_dropped())
        .map_err(StartError::AccessLog)?;
    let tls_fingerprints = config.log.tls_fingerprint;
    Ok(Arc::new(Observer { metrics: Arc::clone(metrics), access_log, viewers, tls_fingerprints }))
}

/// The origins, and the other nodes that are asked as origins are.
fn origins(
    ground: &Ground<'_>,
    identity: &Arc<Identity>,
) -> Result<(Origins, Option<Arc<Peers>>), StartError> {
    let &Ground { config, ref metrics, .. } = ground;
    let own = Own {
        told: config.fleet.peers.as_ref().and_then(|peers| peers.own.clone()),
        name: config.fleet.name.clone(),
        listeners: ground.listeners.clone(),
    };
    let families = OriginFamilies::new(metrics.registry())?;
    let origins = Origins::of(config, (&own, identity), &families)?;
    let peers = Peers::new(&config.fleet, origins.peers(), metrics.registry())?;
    ground.readiness.watch("origins", Box::new(origins.open_circuits()));
    Ok((origins, peers))
}

/// The revocations that the node knows of.
fn ledger(ground: &Ground<'_>) -> Result<Arc<Ledger>, StartError> {
    let (config, registry) = (ground.config, ground.metrics.registry());
    let (file, limit) = (config.revocation.file.as_deref(), config.limits.revocations);
    Ok(Arc::new(Ledger::open(file, limit, ground.clock.clone(), registry)?))
}

/// The store, its disks opened, and where hot bodies are sent from.
fn store(
    ground: &Ground<'_>,
    devices: &Devices<'_>,
) -> Result<(&'static Store, Option<Arc<Arena>>), StartError> {
    let &Ground { config, ref metrics, .. } = ground;
    let disk = match &*config.store.disks {
        [] => None,
        disks => {
            let quotas = config.sites.iter().filter_map(|site| Some((site_id(&site.name), site.quota.disk?)));
            let disk_metrics = DiskMetrics::new(metrics.registry())?;
            Some(DiskTier::open(disks, &Quotas::new(quotas), config.store.memory, devices, disk_metrics)?)
        }
    };
    let mut store = Store::new(
        config.store.memory,
        config.limits.object_share,
        Accounts::new(&config.sites),
        disk,
        config.store.disk_admit_within,
        StoreMetrics::new(metrics.registry())?,
    );
    store.use_clock(ground.clock.clone());
    let arena = arena(config);
    let mover = arena.clone().map(|arena| store.use_arena(arena));
    // The engine's storage interface asks for a store that lives as long as the process.
    let store: &'static Store = Box::leak(Box::new(store));
    if let Some(mover) = mover {
        ground.control.spawn(mover.run(store));
    }
    Ok((store, arena))
}

/// None where nobody would be sent bodies from there, or the system refuses.
fn arena(config: &Config) -> Option<Arc<Arena>> {
    if !config.server.zero_copy || config.server.http.is_empty() {
        return None;
    }
    Arena::new(config.store.memory)
        .inspect_err(|error| tracing::info!(%error, "zero_copy: not available, bodies are sent by copying"))
        .ok()
}

/// What this node shares with others; waits until it has applied what they have purged and revoked, or cannot.
fn fleet(
    ground: &Ground<'_>,
    store: &'static Store,
    ledger: &Arc<Ledger>,
) -> Result<Option<Arc<Fleet>>, StartError> {
    let config = ground.config;
    let Some(bus) = &config.fleet.bus else { return Ok(None) };
    let joining = Joining {
        name: config.fleet.name.clone(),
        digest: config.digest.clone(),
        tier: config.tier(),
        store,
        has_disks: !config.store.disks.is_empty(),
        keeper: Arc::clone(ledger) as _,
    };
    let fleet = Fleet::start(bus, joining, ground.metrics.registry(), &ground.control)?;
    let watched = Arc::clone(&fleet);
    ground.readiness.watch("fleet", Box::new(move || watched.warning()));
    fleet.wait_for_start();
    Ok(Some(fleet))
}

/// What purges, and passes purges on.
fn purger(
    ground: &Ground<'_>,
    sites: &Arc<Sites>,
    store: &'static Store,
    fleet: Option<Arc<Fleet>>,
) -> Result<Arc<Purger>, StartError> {
    let config = ground.config;
    let purger = Arc::new(Purger::new(Arc::clone(sites), store, config.limits.request_target, fleet));
    if !config.purge.forward.is_empty() {
        let (registry, clock) = (ground.metrics.registry(), ground.clock.clone());
        let forwarder = Forwarder::start(&config.purge, clock, registry, &ground.control)?;
        purger.forward_by(Arc::new(forwarder));
    }
    Ok(purger)
}

/// Has small objects shared, where a rule asks for it.
fn share(ground: &Ground<'_>, fleet: Option<&Arc<Fleet>>, coalescer: &Coalescer) -> Result<(), StartError> {
    let config = ground.config;
    let shared = config.sites.iter().any(|site| site.rules.iter().any(|rule| rule.shared));
    if let Some(fleet) = fleet.filter(|_| shared) {
        let (fleet, purges) = (Arc::clone(fleet), Arc::clone(fleet) as _);
        let (clock, registry) = (ground.clock.clone(), ground.metrics.registry());
        coalescer.use_shelf(Arc::new(Share::new(fleet, config.fleet.share, purges, clock, registry)?));
    }
    Ok(())
}

/// What answers health checks on viewers' listeners.
fn health(ground: &Ground<'_>) -> Option<Health> {
    let path = ground.config.server.health_path.as_ref()?;
    let readiness = Arc::clone(&ground.readiness);
    Some(Health::new(path, Arc::new(move || readiness.is_ready()), &ground.metrics))
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
