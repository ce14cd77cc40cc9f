//! How far this node has applied what the fleet was told: looks how the stream stands, applies what is behind, and decides
//! when something was missed.
//!
//! Each entry names the place of the one before it, and the epoch. A chain that does not hold (the stream was trimmed past
//! this node's place, or Redis has lost what it had told somebody) means that nobody can say what was purged: then all that
//! this node holds is expired, softly, so that origins that fail are covered still. Who finds that Redis has gone back
//! begins a new epoch, by which all others find it too.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};
use tokio::task::JoinSet;

use super::Fleet;
use super::bus::{self, Entry};
use super::message::PurgeId;
use super::metrics::{Direction, Expired};
use super::nodes::{LISTED_LIFE, Nodes, Says};
use super::scripts::{Beaten, Looked};
use super::state::Standing;
use crate::store::purges::{PurgeMode, PurgeTarget};
use crate::watermark::Watermark;

/// Purges that are told in one step.
const STEP_PURGES: usize = 100;

/// Targets whose notes on disks are waited for together: fewer than disks let wait.
const STEP_TARGETS: usize = 256;

/// Why what this node has applied cannot be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Entries were trimmed before they were read.
    Missed,
    /// Entries that were told are not there any more.
    Lost,
}

/// Why a session has ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The connection broke.
    Broken(RedisError),
    /// The stream is not the one that was read so far.
    Doubted,
}

impl From<RedisError> for Ended {
    fn from(error: RedisError) -> Ended {
        Ended::Broken(error)
    }
}

/// Looks how the stream stands. Where this node cannot say that it goes on from where it was, it expires all it holds, and
/// goes on from the end.
pub(super) async fn look(fleet: &Fleet, connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let purges = &fleet.purges;
    let known = purges.standing.load_full();
    // What Redis has told of this node's own purges, it had; if it does not have that any more, it has lost something.
    let told = purges.told.lock().clone();
    let furthest = known.as_ref().map(|known| {
        let told = told.as_ref().filter(|told| told.epoch == known.epoch).map(|told| told.at);
        (&*known.epoch, told.map_or(known.at, |told| told.max(known.at)))
    });
    let doubt = *purges.doubt.lock();
    let new = PurgeId::random().to_string();
    let call = fleet.scripts.look(&fleet.prefix, &new, furthest, doubt == Some(Doubt::Lost));
    let looked: Looked = call.invoke_async(connection).await?;
    let (epoch, last, first, before_first) = looked;
    let place = |text: &str| text.parse::<Watermark>().ok();
    let last = place(&last).unwrap_or_default();
    let oldest = place(&first).map_or(last, |_| place(&before_first).unwrap_or_default());
    let reason = match &known {
        None => Some(Expired::Unknown),
        Some(known) if known.epoch != epoch => Some(Expired::Lost),
        Some(known) if oldest > known.at || doubt.is_some() => Some(Expired::Missed),
        Some(_) => None,
    };
    let Some(reason) = reason else { return Ok(()) };
    // First: while disks note that all is expired, nothing of before is taken for what was fetched after it.
    purges.applied.begin_at(last);
    let has_before = purges.has_disks || purges.is_serving.load(Ordering::Acquire);
    if has_before {
        expire(fleet, reason).await;
    }
    *purges.doubt.lock() = None;
    stand(fleet, Standing { epoch, at: last }).await;
    Ok(())
}

/// Applies what is behind this node's place, until there is nothing more.
pub(super) async fn catch_up(fleet: &Fleet, connection: &mut MultiplexedConnection) -> Result<(), Ended> {
    loop {
        let at = fleet.watermark().unwrap_or_default();
        let entries = bus::purges_behind(connection, &fleet.prefix, at).await?;
        if entries.is_empty() {
            *fleet.purges.complete.lock() = Instant::now();
            return Ok(());
        }
        apply(fleet, entries).await?;
    }
}

/// Applies entries in their order, on disks too, and moves the standing behind them.
pub(super) async fn apply(fleet: &Fleet, entries: Vec<Entry>) -> Result<(), Ended> {
    let purges = &fleet.purges;
    let Some(standing) = purges.standing.load_full() else { return Err(Ended::Doubted) };
    let mut at = standing.at;
    let mut doubt = None;
    let mut noting = JoinSet::new();
    for entry in entries {
        doubt = match entry.prev.cmp(&at) {
            _ if entry.epoch != standing.epoch => Some(Doubt::Missed),
            std::cmp::Ordering::Greater => Some(Doubt::Missed),
            std::cmp::Ordering::Less => Some(Doubt::Lost),
            std::cmp::Ordering::Equal => None,
        };
        if doubt.is_some() {
            break;
        }
        at = entry.at;
        let Some(message) = entry.purge else { continue };
        if !purges.applied.read(message.id, entry.at, purges.store.generation()) {
            continue;
        }
        purges.metrics.count(Direction::Applied);
        for target in &message.targets {
            // As `purge::audit` logs what this node was asked for itself.
            let (site, named) = target.named();
            tracing::info!(
                target: "forebay::audit",
                result = "applied",
                by = "fleet",
                node = message.node,
                id = %message.id,
                at = %entry.at,
                what = target.scope(),
                site,
                named,
                mode = message.mode.as_str(),
                "purge"
            );
            noting.spawn(purges.store.purge(target, message.mode));
            if noting.len() >= STEP_TARGETS {
                settle(fleet, &mut noting).await;
            }
        }
    }
    settle(fleet, &mut noting).await;
    if at != standing.at {
        stand(fleet, Standing { epoch: standing.epoch.clone(), at }).await;
    }
    match doubt {
        None => Ok(()),
        Some(doubt) => {
            *purges.doubt.lock() = Some(doubt);
            Err(Ended::Doubted)
        }
    }
}

/// Tells what waits.
pub(super) async fn drain(fleet: &Fleet, connection: &mut MultiplexedConnection) -> Result<(), Ended> {
    loop {
        let outbox = Arc::clone(&fleet.purges.outbox);
        // It fails only while the runtime ends.
        let step = tokio::task::spawn_blocking(move || outbox.lock().first(STEP_PURGES)).await;
        let step = step.unwrap_or_default();
        if step.is_empty() {
            return Ok(());
        }
        let epoch = fleet.epoch();
        let mut ids = Vec::with_capacity(step.len());
        let mut ended = None;
        for message in &step {
            let call = fleet.scripts.tell(&fleet.prefix, &epoch, message, fleet.retention);
            match call.invoke_async::<Option<String>>(connection).await {
                Ok(Some(place)) => {
                    fleet.purges.noted(message.id, place.parse().unwrap_or_default(), &epoch);
                    ids.push(message.id);
                }
                Ok(None) => ended = Some(Ended::Doubted),
                Err(error) => ended = Some(Ended::Broken(error)),
            }
            if ended.is_some() {
                break;
            }
        }
        if !ids.is_empty() {
            tracing::info!(purges = ids.len(), "purges that had waited for Redis are told");
            let outbox = Arc::clone(&fleet.purges.outbox);
            let _ = tokio::task::spawn_blocking(move || outbox.lock().told(&ids)).await;
        }
        if let Some(ended) = ended {
            return Err(ended);
        }
    }
}

/// Says that this node is there, and reads who else is.
pub(super) async fn beat(fleet: &Fleet, connection: &mut MultiplexedConnection) -> Result<(), Ended> {
    if fleet.is_leaving.load(Ordering::Relaxed) {
        return Ok(());
    }
    let standing = fleet.purges.standing.load_full();
    let (epoch, watermark) =
        standing.map(|standing| (standing.epoch.clone(), standing.at.to_string())).unwrap_or_default();
    let says = Says {
        run: fleet.run.clone(),
        epoch,
        watermark,
        config: fleet.digest.clone(),
        tier: fleet.tier.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let text = serde_json::to_string(&says).unwrap_or_default();
    let mut nodes = list(fleet, connection, &text).await?;
    let is_other = nodes.before.as_ref().is_some_and(|before| before.run != fleet.run);
    // The first time it may be what this node said before it was started again.
    if fleet.has_beaten.swap(true, Ordering::Relaxed) && is_other && *fleet.field.lock() == fleet.name {
        tracing::error!(name = fleet.name, "two nodes have the same fleet.name: give each its own");
        *fleet.field.lock() = format!("{}~{}", fleet.name, fleet.run);
        // The other one notes itself there again.
        let mut leave = redis::cmd("HDEL");
        leave.arg(format!("{}:nodes", fleet.prefix)).arg(&fleet.name);
        let _: u64 = leave.query_async(connection).await?;
        nodes = list(fleet, connection, &text).await?;
    }
    let before = fleet.purges.nodes.load().configurations();
    let configurations = nodes.configurations();
    let is_known = nodes.epoch == says.epoch;
    if before != configurations && configurations > 1 {
        tracing::warn!(configurations, "nodes of one tier run different configurations");
    } else if before > 1 && configurations == 1 {
        tracing::info!("all nodes of a tier run the same configuration");
    }
    fleet.purges.nodes.store(Arc::new(nodes));
    if is_known { Ok(()) } else { Err(Ended::Doubted) }
}

/// Notes what this node says of itself, and reads what all say.
async fn list(fleet: &Fleet, connection: &mut MultiplexedConnection, says: &str) -> RedisResult<Nodes> {
    let field = fleet.field.lock().clone();
    let call = fleet.scripts.beat(&fleet.prefix, &field, says, LISTED_LIFE);
    Ok(Nodes::of(call.invoke_async::<Beaten>(connection).await?))
}

/// Expires all that this node holds.
async fn expire(fleet: &Fleet, reason: Expired) {
    tracing::warn!(
        reason = reason.as_str(),
        "what other nodes have purged meanwhile cannot be known: all that is held is expired"
    );
    fleet.purges.metrics.expired(reason);
    let mut noting = JoinSet::new();
    noting.spawn(fleet.purges.store.purge(&PurgeTarget::Everything, PurgeMode::Soft));
    settle(fleet, &mut noting).await;
}

/// Waits until disks have noted purges. Where one cannot, the purge is in force and the place of it is not noted either, so
/// that a restart applies it again.
async fn settle(fleet: &Fleet, noting: &mut JoinSet<Result<u64, crate::store::disk::DiskError>>) {
    while let Some(noted) = noting.join_next().await {
        let error = match noted {
            Ok(Ok(_)) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the node is ending".to_owned(),
        };
        if !fleet.purges.is_held.swap(true, Ordering::Relaxed) {
            tracing::error!(error, "a disk cannot note a purge of another node: a restart applies it again");
        }
    }
}

/// Moves the standing, and notes it.
async fn stand(fleet: &Fleet, standing: Standing) {
    if !fleet.purges.is_held.load(Ordering::Relaxed) {
        let (outbox, noted) = (Arc::clone(&fleet.purges.outbox), standing.clone());
        // It fails only while the runtime ends.
        let _ = tokio::task::spawn_blocking(move || outbox.lock().stand(&noted)).await;
    }
    fleet.purges.standing.store(Some(Arc::new(standing)));
    fleet.purges.moved.notify_waiters();
}
