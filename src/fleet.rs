//! What nodes share through Redis: revocations, tokens that are good once, and the streams that a subject has at once.
//!
//! Decides nothing about requests: it asks, within `fleet.timeout`, and says when nobody answered ([`Away`]); what
//! becomes of the request then is its token policy's. One task of the control thread ([`link`]) holds the connections,
//! brings what this node and the others know together whenever it has connected, and reads what is new from a stream in
//! Redis, the [`bus`]. While it is not connected nobody waits.
//!
//! Nothing in Redis is the only copy: nodes keep revocations themselves, and put those back that a server has lost.

mod bus;
mod link;
mod metrics;
mod scripts;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
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
use metrics::{Asked, FleetMetrics};
use scripts::Scripts;

/// How long a node that starts waits until it knows what others have revoked; then it serves without.
pub const START_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// Tells the link that a connection is of no use.
    broken: Notify,
    /// Whether the first attempt to connect has come to an end.
    tried: (Mutex<bool>, Condvar),
    logged: Mutex<Option<Instant>>,
    metrics: FleetMetrics,
}

impl Fleet {
    /// Starts to share: the link runs on `runtime` until that ends.
    ///
    /// # Errors
    /// When a metric is registered twice.
    pub fn start(
        config: &model::Fleet,
        keeper: Arc<dyn Keeper>,
        registry: &Registry,
        runtime: &Handle,
    ) -> Result<Arc<Fleet>, prometheus::Error> {
        let fleet = Arc::new(Fleet {
            connection: ArcSwapOption::empty(),
            reason: Mutex::new(Some("not connected yet".to_owned())),
            scripts: Scripts::new(),
            prefix: config.prefix.clone(),
            timeout: config.timeout,
            broken: Notify::new(),
            tried: (Mutex::new(false), Condvar::new()),
            logged: Mutex::new(None),
            metrics: FleetMetrics::register(registry)?,
        });
        runtime.spawn(link::run(Arc::clone(&fleet), config.clone(), keeper));
        Ok(fleet)
    }

    /// Waits until this node knows what the others know, or cannot, at most [`START_TIMEOUT`]. Blocks: for the start
    /// alone.
    pub fn wait_for_start(&self) {
        let (tried, changed) = &self.tried;
        changed.wait_while_for(&mut tried.lock(), |tried| !*tried, START_TIMEOUT);
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
        self.set_tried();
    }

    fn set_away(&self, error: &RedisError) {
        self.connection.store(None);
        self.metrics.up.set(0);
        let reason = told(error);
        self.log(&reason);
        *self.reason.lock() = Some(reason);
        self.set_tried();
    }

    fn set_tried(&self) {
        let (tried, changed) = &self.tried;
        *tried.lock() = true;
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
                "the fleet's Redis server is away: token policies say what becomes of requests"
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

/// What an error says, on one line.
fn told(error: &RedisError) -> String {
    error.to_string().escape_debug().to_string()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
