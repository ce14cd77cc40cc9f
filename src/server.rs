//! Runs a node: binds its addresses, starts its stations, drains and ends.
//!
//! Every address is bound before anything is started, so that a node either starts whole or not at all. Each thread that
//! serves viewers has sockets of its own; the operator's listener and health checks run beside them.

mod connections;
mod descriptors;
mod drain;
mod error;
mod hello;
mod keys;
mod listen;
mod load;
pub mod proxy_protocol;
mod stations;
mod threads;
pub mod tls;
mod zero_copy;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::configuration::ServerConf;
use pingora_proxy::http_proxy;
use tokio::sync::watch;

use crate::admin::{self, AdminState, Explained, Readiness};
use crate::clock::Clock;
use crate::config::model::{Config, Disk};
use crate::fleet::Fleet;
use crate::observe::{Metrics, Observer, log};
use crate::proxy::{Edge, Entitlements};
use crate::purge::Purger;
use crate::purge::hook::Hook;
use crate::revoke::Revoker;
use crate::store::Store;
use crate::store::arena::Arena;
use crate::store::disk::device::Device;
use crate::store::disk::directory;
use connections::{Connections, Counted, Timed};
use proxy_protocol::ProxyProtocol;
use stations::{Ground, Stations};
use threads::{Threads, ViewerThread};

pub use drain::Drain;
pub use error::StartError;

/// How often a draining node looks whether its connections have ended.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// Bytes of a connection's read buffer: a request header of ordinary size.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Bytes of a connection's write buffer: a header and a small body leave in one write.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;

/// Idle connections of the engine's own upstream path.
const UPSTREAM_POOL_CONNECTIONS: usize = 128;

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
    control: Threads,
    drain_delay: Duration,
    drain_timeout: Duration,
    connections: Arc<Connections>,
    store: &'static Store,
    fleet: Option<Arc<Fleet>>,
    serve: Serve,
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
        descriptors::raise(config.limits.connections);
        let threads = threads::count(&config.server);
        let mut sockets = listen::bind(&config.server, threads)?;
        let tls = (0..threads).map(|_| tls::settings(&config.server)).collect::<Result<Vec<_>, _>>()?;
        let sites: Vec<&str> = config.sites.iter().map(|site| site.name.as_str()).collect();
        let metrics = Metrics::new(&sites)?;
        let readiness = Arc::new(Readiness::new());
        let drain = Drain::new(Arc::clone(&readiness));
        let control = Threads::control()?;
        let viewer_threads = ViewerThread::all(&config.server)?;
        let ground = Ground {
            config,
            clock,
            metrics: Arc::clone(&metrics),
            readiness: Arc::clone(&readiness),
            control: control.handle().clone(),
            listeners: [sockets.http_addresses(), sockets.https_addresses()].concat(),
            draining: drain.draining(),
        };
        let mut stations = Stations::build(&ground, devices)?;
        let connections = Connections::new(&metrics, config.limits.connections);
        stations.start(&ground, &connections, &drain.stopping());

        let Stations { edge, store, arena, fleet, .. } = stations;
        let observer = Arc::clone(&edge.observer);
        let asked = Asked {
            purger: Arc::clone(&edge.purger),
            hook: stations.hook,
            explained: stations.explained,
            revoker: Arc::new(stations.revoker),
            entitlements: Arc::clone(&edge.entitlements),
            fleet: fleet.clone(),
            store,
        };
        let header_limit = config.server.request_timeout;
        let proxy = config.server.proxy_protocol.as_ref();
        let proxy = proxy.map(|proxy| ProxyProtocol::new(proxy, header_limit, &metrics));
        let app = counted(edge, config, &connections, (arena, proxy.clone()));
        let node = Node {
            http: sockets.http_addresses(),
            https: sockets.https_addresses(),
            admin: sockets.admin_address(),
            observer,
            drain_delay: config.server.drain_delay,
            drain_timeout: config.server.drain_timeout,
            connections: Arc::clone(&connections),
            store,
            fleet,
            serve: serve(app.clone(), drain.stopping()),
            drain: Arc::clone(&drain),
            control,
        };
        let fingerprints = config.asks_for_fingerprints().then(|| hello::fingerprints(header_limit));
        let before_tls = proxy_protocol::before_tls(proxy.as_ref(), fingerprints);
        for (thread, tls) in viewer_threads.into_iter().zip(tls) {
            let service = sockets.take_service(tls, before_tls.clone(), app.clone());
            thread.serve(service, drain.stopping(), Arc::clone(&connections))?;
        }
        if let Some(listener) = sockets.take_admin() {
            let state = admin_state(config, metrics, &readiness, &drain, asked);
            node.control.handle().spawn(async move {
                let closed = async move { connections.closed_for_good().await };
                if let Err(error) = admin::serve(listener, state, closed).await {
                    tracing::error!(%error, "the admin listener ended");
                }
            });
        }
        node.announce();
        readiness.set_started();
        log::ready();
        Ok(node)
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
        self.drain.asked().await;
    }

    /// Stops accepting after `server.drain_delay`, waits until connections have ended (at most `server.drain_timeout`), and ends.
    pub async fn shutdown(self) {
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
        drop(self.control);
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

/// What operators ask by way of the operator's listener.
struct Asked {
    purger: Arc<Purger>,
    hook: Option<Hook>,
    explained: Explained,
    revoker: Arc<Revoker>,
    entitlements: Arc<Entitlements>,
    fleet: Option<Arc<Fleet>>,
    store: &'static Store,
}

fn admin_state(
    config: &Config,
    metrics: Arc<Metrics>,
    readiness: &Arc<Readiness>,
    drain: &Arc<Drain>,
    asked: Asked,
) -> AdminState {
    let Asked { purger, hook, explained, revoker, entitlements, fleet, store } = asked;
    let (drain, shared) = (Arc::clone(drain), fleet.clone());
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
        revoker,
        fleet,
        explained,
        collectors: vec![
            Box::new(|| store.update_gauges()),
            Box::new(move || entitlements.update_gauges()),
            Box::new(move || shared.iter().for_each(|fleet| fleet.update_gauges())),
        ],
    }
}
