//! Purges of the fleet, as the rest of the node sees them: telling one, waiting for others to apply it, and how far this
//! node has come. What is read from the stream is applied by [`super::standing`].

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant as Deadline;

use super::applied::Applied;
use super::message::{Message, PurgeId};
use super::metrics::{Asked, Direction, PurgeMetrics};
use super::nodes::{LISTED_LIFE, Nodes, Standings};
use super::outbox::{Outbox, Seen};
use super::scripts::Beaten;
use super::standing::Doubt;
use super::state::Standing;
use super::{Away, CATCH_UP_TIMEOUT, Fleet, millis};
use crate::store::Store;
use crate::tier::CatchUp;
use crate::watermark::Watermark;

/// How long Redis may take for what no viewer waits for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often somebody who waits for other nodes looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long Redis remembers what an idempotency key stands for.
pub const ASKED_LIFE: Duration = Duration::from_secs(3600);

/// What a node holds of the fleet's purges.
pub(super) struct Purges {
    pub(super) store: &'static Store,
    /// Whether objects may have outlived the last start.
    pub(super) has_disks: bool,
    /// Whether the node serves, and so may hold what was purged elsewhere.
    pub(super) is_serving: AtomicBool,
    pub(super) applied: Applied,
    pub(super) standing: ArcSwapOption<Standing>,
    /// The latest place that Redis has told this node of.
    pub(super) told: Mutex<Option<Standing>>,
    /// Why what this node has applied cannot be relied on.
    pub(super) doubt: Mutex<Option<Doubt>>,
    /// Whether a disk could not note a purge: a restart begins where this one did.
    pub(super) is_held: AtomicBool,
    /// The standing has moved.
    pub(super) moved: Notify,
    /// Locked on threads that may wait for a disk.
    pub(super) outbox: Arc<Mutex<Outbox>>,
    pub(super) seen: Arc<Seen>,
    /// There is something in the outbox.
    pub(super) added: Notify,
    pub(super) nodes: ArcSwap<Nodes>,
    /// When this node knew last that it has applied all there is.
    pub(super) complete: Mutex<Instant>,
    pub(super) metrics: PurgeMetrics,
}

/// What has become of a purge in the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Where it stands in the stream; None: Redis does not have it yet, and is told later.
    pub at: Option<Watermark>,
    /// Why Redis is away; None: it is there.
    pub away: Option<String>,
    /// Who has applied it and who has not, as far as was waited for and is known.
    pub standings: Option<(Vec<String>, Vec<String>)>,
    /// Why a kill of this node would have the others never told.
    pub trouble: Option<String>,
}

impl Spread {
    /// Whether all that were to apply it have.
    pub fn is_everywhere(&self) -> bool {
        self.standings.as_ref().is_some_and(|(_, missing)| missing.is_empty())
    }
}

// === impl Fleet ===

impl Fleet {
    /// Notes a purge that this node was asked for, before it applies it. False: it has applied it already, for another node
    /// that was asked for it too.
    pub fn begin_purge(&self, id: PurgeId) -> bool {
        self.purges.applied.begin(id, self.purges.store.generation())
    }

    /// Tells the other nodes of a purge that this one has applied. Where Redis is away it is kept, and told later; it is
    /// noted in `fleet.state` when this returns.
    pub async fn tell_purge(self: Arc<Self>, message: Message) {
        let id = message.id;
        if let Ok(at) = self.put(&message).await {
            return self.purges.noted(id, at, &self.epoch());
        }
        let (fleet, outbox) = (Arc::clone(&self), Arc::clone(&self.purges.outbox));
        // It fails only while the runtime ends.
        let _ = tokio::task::spawn_blocking(move || {
            if let Some(folded) = outbox.lock().put(message) {
                tracing::warn!(
                    purges = folded.ids.len(),
                    "fleet.outbox is full: the oldest purges in it have become one of everything"
                );
                let generation = fleet.purges.store.generation();
                fleet.purges.applied.replace(&folded.ids, folded.into, generation);
            }
        })
        .await;
        self.purges.added.notify_one();
    }

    /// What has become of a purge: at once, or when all nodes that are there have applied it, or after `wait`.
    pub async fn follow_purge(&self, id: PurgeId, wait: Option<Duration>) -> Spread {
        let by = Deadline::now() + wait.unwrap_or_default();
        let mut asked = None;
        loop {
            let spread = Spread {
                at: self.place(id).await,
                away: self.away(),
                standings: None,
                trouble: self.purges.seen.trouble.lock().clone(),
            };
            if wait.is_none() {
                return spread;
            }
            let standings = match spread.at {
                Some(at) => self.standings(&mut asked, at, by).await,
                None => None,
            };
            let is_over = standings.as_ref().is_some_and(|standings| standings.missing.is_empty());
            if is_over || Deadline::now() >= by {
                let shown = standings.map(|standings| (standings.applied, standings.missing));
                return Spread { standings: shown, ..spread };
            }
            tokio::time::sleep_until(by.min(Deadline::now() + LOOK_EVERY)).await;
        }
    }

    /// Where a purge stands, as this node knows, or else Redis.
    async fn place(&self, id: PurgeId) -> Option<Watermark> {
        let known = self.purges.applied.place(id);
        if known.is_some() || self.away().is_some() {
            return known;
        }
        let mut get = redis::cmd("GET");
        get.arg(format!("{}:told:{id}", self.prefix));
        let by = self.deadline();
        let told = self
            .ask(Asked::Purge, by, async |connection| get.query_async::<Option<String>>(connection).await);
        told.await.ok().flatten()?.parse().ok()
    }

    /// Who of the nodes that were there at the first call has applied what stands at a place. None: Redis is away.
    async fn standings(
        &self,
        asked: &mut Option<BTreeSet<String>>,
        at: Watermark,
        by: Deadline,
    ) -> Option<Standings> {
        let call = self.scripts.beat(&self.prefix, "", "", LISTED_LIFE);
        // The last look may come after the deadline, and is answered too.
        let by = by.max(Deadline::now() + self.timeout);
        let answer =
            self.ask(Asked::Nodes, by, async |connection| call.invoke_async::<Beaten>(connection).await);
        let nodes = Nodes::of(answer.await.ok()?);
        let asked = asked.get_or_insert_with(|| nodes.living().map(|node| node.name.clone()).collect());
        Some(nodes.standings(asked, at))
    }

    /// How far this node has applied what the fleet was told. None: not known.
    pub fn watermark(&self) -> Option<Watermark> {
        self.purges.standing.load().as_ref().map(|standing| standing.at)
    }

    /// Waits until this node has applied what stands at a place. False: it has not, by then.
    pub async fn reach(&self, place: Watermark, by: Deadline) -> bool {
        loop {
            let mut moved = std::pin::pin!(self.purges.moved.notified());
            moved.as_mut().enable();
            if self.watermark().is_some_and(|at| at >= place) {
                return true;
            }
            if tokio::time::timeout_at(by, moved).await.is_err() {
                return false;
            }
        }
    }

    /// The generation of the store just before the first purge behind a place was applied here. None: that is longer ago
    /// than is remembered.
    pub fn generation_at(&self, place: Watermark) -> Option<u64> {
        self.purges.applied.generation_at(place, self.purges.store.generation())
    }

    /// Notes what an idempotency key stands for, unless it is noted already; gives what was noted. Known for
    /// [`ASKED_LIFE`].
    ///
    /// # Errors
    /// [`Away`].
    pub async fn asked(&self, digest: &str, stands_for: &str) -> Result<Option<String>, Away> {
        let key = format!("{}:asked:{digest}", self.prefix);
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(stands_for).arg("NX").arg("PX").arg(millis(ASKED_LIFE));
        let by = Deadline::now() + ANSWER_TIMEOUT;
        let is_new = self
            .ask(Asked::Purge, by, async |connection| set.query_async::<Option<String>>(connection).await);
        if is_new.await?.is_some() {
            return Ok(None);
        }
        let mut get = redis::cmd("GET");
        get.arg(&key);
        self.ask(Asked::Purge, by, async |connection| get.query_async::<Option<String>>(connection).await)
            .await
    }

    /// Notes what has become of an idempotency key.
    pub async fn answered(&self, digest: &str, stands_for: &str) {
        let mut set = redis::cmd("SET");
        set.arg(format!("{}:asked:{digest}", self.prefix)).arg(stands_for);
        set.arg("PX").arg(millis(ASKED_LIFE));
        let by = Deadline::now() + ANSWER_TIMEOUT;
        // Without it another node that is asked the same purges again, which does no harm.
        let _ = self
            .ask(Asked::Purge, by, async |connection| set.query_async::<Option<String>>(connection).await)
            .await;
    }

    /// This node's name in the fleet.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What does not work and the node serves without; None: everything works.
    pub fn warning(&self) -> Option<String> {
        let waiting = self.purges.seen.waiting.load(Ordering::Relaxed);
        let mut parts: Vec<String> = self.away().into_iter().collect();
        if waiting > 0 {
            parts.push(format!("{waiting} purges wait until it is back"));
        }
        if let Some(trouble) = &*self.purges.seen.trouble.lock() {
            parts.push(format!("fleet.state cannot be written: {trouble}"));
        }
        if self.watermark().is_none() {
            parts.push("what other nodes have purged is not known".to_owned());
        }
        if self.purges.is_held.load(Ordering::Relaxed) {
            parts.push("a disk could not note purges of other nodes".to_owned());
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// What `GET /api/fleet` shows.
    pub fn overview(&self) -> Value {
        let nodes = self.purges.nodes.load();
        let standing = self.purges.standing.load_full();
        let away = self.away();
        json!({
            "node": *self.field.lock(),
            "bus": if away.is_some() { "away" } else { "here" },
            "reason": away,
            "epoch": standing.as_ref().map(|standing| &standing.epoch),
            "watermark": standing.as_ref().map(|standing| standing.at.to_string()),
            "config": self.digest,
            "version": env!("CARGO_PKG_VERSION"),
            "outbox": self.purges.seen.waiting.load(Ordering::Relaxed),
            "config_versions": nodes.configurations(),
            "nodes": nodes.all.iter().map(|node| node.shown(&self.field.lock())).collect::<Vec<_>>(),
        })
    }

    /// Sets the gauges to what is so now; called before metrics are read.
    pub fn update_gauges(&self) {
        let metrics = &self.purges.metrics;
        let waiting = self.purges.seen.waiting.load(Ordering::Relaxed);
        metrics.outbox.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        metrics.behind.set(self.purges.complete.lock().elapsed().as_secs_f64());
        let nodes = self.purges.nodes.load();
        metrics.nodes.set(i64::try_from(nodes.living().count()).unwrap_or(i64::MAX));
        metrics.configurations.set(i64::try_from(nodes.configurations()).unwrap_or(i64::MAX));
    }

    /// Takes this node from the list: nobody waits for it any more. For the end of the node.
    pub async fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
        let field = self.field.lock().clone();
        let mut command = redis::cmd("HDEL");
        command.arg(format!("{}:nodes", self.prefix)).arg(field);
        let by = Deadline::now() + Duration::from_secs(1);
        // Where Redis is away the others find out by its silence.
        let _ =
            self.ask(Asked::Nodes, by, async |connection| command.query_async::<u64>(connection).await).await;
    }

    pub(super) fn epoch(&self) -> String {
        self.purges.standing.load().as_ref().map(|standing| standing.epoch.clone()).unwrap_or_default()
    }

    /// Puts a purge in the stream.
    async fn put(&self, message: &Message) -> Result<Watermark, Away> {
        let epoch = self.epoch();
        let call = self.scripts.tell(&self.prefix, &epoch, message, self.retention);
        let by = Deadline::now() + ANSWER_TIMEOUT.max(self.timeout);
        let told = self
            .ask(Asked::Purge, by, async |connection| call.invoke_async::<Option<String>>(connection).await);
        // Where the stream is another one by now, the link finds out when it tells what waits.
        told.await?.and_then(|place| place.parse().ok()).ok_or(Away)
    }
}

impl Purges {
    /// Redis has put a purge of this node's at a place.
    pub(super) fn noted(&self, id: PurgeId, at: Watermark, epoch: &str) {
        self.applied.told(id, at);
        self.metrics.count(Direction::Told);
        let mut told = self.told.lock();
        let is_later = told.as_ref().is_none_or(|told| told.epoch != epoch || told.at < at);
        if is_later {
            *told = Some(Standing { epoch: epoch.to_owned(), at });
        }
    }
}

/// Requests of other nodes wait here until this one knows of the purges that those know of.
impl CatchUp for Fleet {
    fn watermark(&self) -> Option<Watermark> {
        Fleet::watermark(self)
    }

    fn reach(&self, watermark: Watermark) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(Fleet::reach(self, watermark, Deadline::now() + CATCH_UP_TIMEOUT))
    }
}
