//! What nodes share through Redis: purges, revocations, tokens that are good once, and the streams that a subject has at
//! once.
//!
//! Decides nothing about requests: it asks, within `fleet.timeout`, and says when nobody answered ([`Away`]); what
//! becomes of the request then is its token policy's. One task of the control thread ([`link`]) holds the connections,
//! brings what this node and the others know together whenever it has connected, and reads what is new from a stream in
//! Redis, the [`bus`]. While it is not connected nobody waits.
//!
//! Nothing in Redis is the only copy: nodes keep revocations themselves, and put those back that a server has lost; a node
//! that cannot know what was purged meanwhile expires all it holds.

// What is told.
pub mod message;
// What this node holds of it.
mod applied;
mod state;
mod outbox;
mod purges;
// Who else is there.
pub mod nodes;
// The way there.
mod scripts;
mod bus;
mod standing;
mod link;
mod metrics;
pub mod share;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::{Condvar, Mutex};
use prometheus::Registry;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant as Deadline;

use crate::admission::replay::Digest;
use crate::admission::revocation::Record;
use crate::admission::streams::Stream;
use crate::config::model;
use crate::store::Store;
pub use crate::watermark::{NoWatermark, Watermark};
use applied::Applied;
use message::PurgeId;
use metrics::{Asked, FleetMetrics, PurgeMetrics};
use nodes::Nodes;
use outbox::Outbox;
use purges::Purges;
pub use purges::{ASKED_LIFE, Spread};
use scripts::Scripts;

/// How long a node that starts waits for Redis; then it serves without knowing what others have revoked and purged.
pub const START_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a node that starts and has reached Redis takes to apply what others have purged; then it serves, and goes on.
pub const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(60);

/// Time between two lines in the log about Redis not answering.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Who keeps what other nodes were told. Called on threads that may wait for a disk.
pub trait Keeper: Send + Sync + 'static {
    /// All that this node knows.
    fn records(&self) -> Vec<Arc<Record>>;
    /// Takes in what others know, where it is news.
    fn merge(&self, records: Vec<Record>);
}

/// Redis did not answer in time, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fleet's Redis server does not answer")]
pub struct Away;

/// What nodes share.
pub struct Fleet {
    /// What is asked of Redis goes this way; None: it is away.
    connection: ArcSwapOption<MultiplexedConnection>,
    /// Why it is away.
    reason: Mutex<Option<String>>,
    scripts: Scripts,
    prefix: String,
    timeout: Duration,
    retention: Duration,
    /// This node's name.
    name: String,
    /// A random word of this process.
    run: String,
    /// Where it stands in the list of nodes: its name, unless another node has the same.
    field: Mutex<String>,
    has_beaten: AtomicBool,
    is_leaving: AtomicBool,
    /// Digest of its configuration.
    digest: String,
    tier: String,
    purges: Purges,
    /// Tells the link that a connection is of no use.
    broken: Notify,
    /// How far the first attempt to connect has come.
    start: (Mutex<StartPhase>, Condvar),
    logged: Mutex<Option<Instant>>,
    metrics: FleetMetrics,
}

/// How far a node that starts has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartPhase {
    /// It tries to reach Redis.
    Trying,
    /// It has reached it, and applies what it has missed.
    CatchingUp,
    /// It knows what the others know, or cannot.
    Over,
}

/// What a node brings along.
pub struct Joining {
    /// `fleet.name`; None: it is known by its host's name and something random.
    pub name: Option<String>,
    /// Digest of its configuration.
    pub digest: String,
    /// The tier that it belongs to: nodes of one should have the same digest.
    pub tier: String,
    /// Where purges are applied.
    pub store: &'static Store,
    /// Whether objects may have outlived the last start.
    pub has_disks: bool,
    /// Who keeps revocations.
    pub keeper: Arc<dyn Keeper>,
}

/// Why a node cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The file of its state cannot be used.
    #[error("fleet.state: {}: {error}; name a file in a folder that exists and that the node may write in", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A metric is registered twice.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Fleet {
    /// Starts to share: the link runs on `runtime` until that ends.
    ///
    /// # Errors
    /// [`FleetError`].
    pub fn start(
        config: &model::Bus,
        joining: Joining,
        registry: &Registry,
        runtime: &Handle,
    ) -> Result<Arc<Fleet>, FleetError> {
        let run = PurgeId::random().to_string();
        let name = joining.name.unwrap_or_else(|| own_name(&run));
        let (outbox, damage) = Outbox::open(config.state.as_deref(), &name, config.outbox)
            .map_err(|error| FleetError::State { path: config.state.clone().unwrap_or_default(), error })?;
        if let Some(damage) = damage {
            tracing::error!(
                damage,
                "fleet.state cannot be relied on: all that is held is expired here, and on the other nodes too, since \
                 it may have held purges that they have not been told"
            );
        }
        let standing = outbox.standing();
        let applied = Applied::default();
        for id in outbox.ids() {
            applied.begin(id, 0);
        }
        if let Some(standing) = &standing {
            applied.begin_at(standing.at);
        }
        let purges = Purges {
            store: joining.store,
            has_disks: joining.has_disks,
            is_serving: AtomicBool::new(false),
            applied,
            standing: ArcSwapOption::new(standing.map(Arc::new)),
            told: Mutex::new(None),
            doubt: Mutex::new(None),
            is_held: AtomicBool::new(false),
            moved: Notify::new(),
            seen: outbox.seen(),
            outbox: Arc::new(Mutex::new(outbox)),
            added: Notify::new(),
            nodes: ArcSwap::from_pointee(Nodes::default()),
            complete: Mutex::new(Instant::now()),
            metrics: PurgeMetrics::register(registry)?,
        };
        let fleet = Arc::new(Fleet {
            connection: ArcSwapOption::empty(),
            reason: Mutex::new(Some("not connected yet".to_owned())),
            scripts: Scripts::new(),
            prefix: config.prefix.clone(),
            timeout: config.timeout,
            retention: config.retention,
            field: Mutex::new(name.clone()),
            name,
            run,
            has_beaten: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
            digest: joining.digest,
            tier: joining.tier,
            purges,
            broken: Notify::new(),
            start: (Mutex::new(StartPhase::Trying), Condvar::new()),
            logged: Mutex::new(None),
            metrics: FleetMetrics::register(registry)?,
        });
        runtime.spawn(link::run(Arc::clone(&fleet), config.clone(), joining.keeper));
        Ok(fleet)
    }

    /// Waits until this node has applied what the others know, or cannot: at most [`START_TIMEOUT`] for Redis, and
    /// [`CATCH_UP_TIMEOUT`] once that is reached. Blocks: for the start alone.
    pub fn wait_for_start(&self) {
        let (phase, changed) = &self.start;
        let mut phase = phase.lock();
        changed.wait_while_for(&mut phase, |phase| *phase == StartPhase::Trying, START_TIMEOUT);
        changed.wait_while_for(&mut phase, |phase| *phase == StartPhase::CatchingUp, CATCH_UP_TIMEOUT);
        self.purges.is_serving.store(true, Ordering::Release);
    }

    /// Until when a request that asks now waits for answers, however many it asks for.
    pub fn deadline(&self) -> Deadline {
        Deadline::now() + self.timeout
    }

    /// Uses an identifier that is good once, for as long as its token is good. False: it was used before. Waits until `by`.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn use_once(&self, digest: Digest, life: Duration, by: Deadline) -> Result<bool, Away> {
        let key = format!("{}:replay:{}", self.prefix, digest.to_hex());
        let mut command = redis::cmd("SET");
        command.arg(key).arg(1).arg("NX").arg("PX").arg(millis(life).max(1));
        let answer = self.ask(Asked::Replay, by, async |connection| {
            command.query_async::<Option<String>>(connection).await
        });
        Ok(answer.await?.is_some())
    }

    /// Decides over a stream for all nodes, and notes it if it goes on. False: the subject has as many as it may. Waits
    /// until `by`.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn admit_stream(&self, stream: &Stream, by: Deadline) -> Result<bool, Away> {
        let key = format!("{}:streams:{}", self.prefix, stream.subject.to_hex());
        let mut call = self.scripts.admit_stream.key(key);
        call.arg(stream.session.to_hex()).arg(stream.limit).arg(millis(stream.window));
        self.ask(Asked::Stream, by, async |connection| call.invoke_async::<bool>(connection).await).await
    }

    /// Tells the other nodes. They are told later where Redis is away now.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn tell(&self, records: &[Arc<Record>]) -> Result<(), Away> {
        for record in records {
            let call = self.scripts.put(&self.prefix, record);
            let told = self.ask(Asked::Revocation, self.deadline(), async |connection| {
                call.invoke_async::<bool>(connection).await
            });
            if told.await.is_err() {
                // What is left is told when the link has connected anew.
                self.broken.notify_one();
                return Err(Away);
            }
        }
        Ok(())
    }

    /// Why Redis is away; None: it is there.
    pub fn away(&self) -> Option<String> {
        self.reason.lock().clone()
    }

    /// Asks, and waits until `by`.
    async fn ask<T>(
        &self,
        what: Asked,
        by: Deadline,
        question: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, Away> {
        let connection = self.connection.load_full();
        let Some(connection) = connection else {
            self.metrics.asked(what, false);
            return Err(Away);
        };
        let mut connection = MultiplexedConnection::clone(&connection);
        let reason = match tokio::time::timeout_at(by, question(&mut connection)).await {
            Ok(Ok(answer)) => {
                self.metrics.asked(what, true);
                return Ok(answer);
            }
            Ok(Err(error)) => {
                if error.is_unrecoverable_error() {
                    self.broken.notify_one();
                }
                told(&error)
            }
            Err(_) => "no answer within fleet.timeout".to_owned(),
        };
        self.metrics.asked(what, false);
        self.log(&reason);
        Err(Away)
    }

    fn set_here(&self, connection: MultiplexedConnection) {
        self.connection.store(Some(Arc::new(connection)));
        self.metrics.up.set(1);
        *self.reason.lock() = None;
        *self.logged.lock() = None;
        tracing::info!("the fleet's Redis server is there");
        self.set_start(StartPhase::Over);
    }

    fn set_away(&self, error: &RedisError) {
        self.connection.store(None);
        self.metrics.up.set(0);
        let reason = told(error);
        self.log(&reason);
        *self.reason.lock() = Some(reason);
        self.set_start(StartPhase::Over);
    }

    /// There is no way back.
    fn set_start(&self, reached: StartPhase) {
        let (phase, changed) = &self.start;
        let mut phase = phase.lock();
        if *phase != StartPhase::Over {
            *phase = reached;
        }
        changed.notify_all();
    }

    /// Logs that Redis does not answer, now and then.
    fn log(&self, reason: &str) {
        let mut logged = self.logged.lock();
        if logged.is_none_or(|at| at.elapsed() >= LOG_PAUSE) {
            *logged = Some(Instant::now());
            drop(logged);
            tracing::warn!(
                reason,
                "the fleet's Redis server is away: token policies say what becomes of requests, and purges wait"
            );
        }
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("prefix", &self.prefix)
            .field("away", &self.away())
            .finish_non_exhaustive()
    }
}

/// The name of a node that was given none.
fn own_name(run: &str) -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let host: String = host.chars().filter(|c| is_plain(*c)).take(48).collect();
    let run: String = run.chars().take(8).collect();
    format!("{host}-{run}")
}

/// What an error says, on one line.
fn told(error: &RedisError) -> String {
    error.to_string().escape_debug().to_string()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
