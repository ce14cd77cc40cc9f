//! The shared tier: small objects that one node has fetched, in Redis for all of them.
//!
//! Decides where a value stands, what it looks like ([`value`]) and how long it stays, who of several nodes fetches it, and
//! what the purges of the fleet mean for it; what is shared, and what becomes of it in a node, is decided by the fill
//! ([`crate::coalesce::fill::share`]), which alone calls this. Nobody waits for Redis for longer than `fleet.share.timeout`,
//! and after that not at all for [`REST`].
//!
//! Keys, with the prefix before each: `share:DIGEST` is the value, and ends when nothing of it may be used any more;
//! `share:turn:DIGEST` is the turn of the node that fetches it, and ends with what is waited for it.

mod metrics;
mod value;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use prometheus::Registry;
use redis::Script;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant as Deadline;

use super::metrics::Asked;
use super::{Fleet, Watermark, millis};
use crate::clock::Clock;
use crate::coalesce::fill::share::{Look, Mark, Shelf, Spot, Stamp, Told, life_left};
use crate::config::model;
use crate::playlists::MadeHere;
use crate::store::Object;
use metrics::{ShareMetrics, Write};
use value::{HEAD_BYTES, Unusable};

/// How long nothing is asked after an answer has not come in time.
const REST: Duration = Duration::from_secs(1);

/// How long nodes that ask for what is not shared do not wait for one another.
const UNSHARED_FOR: Duration = Duration::from_secs(10);

/// Bytes of a value beside the body: key, header and tags. One with more is not shared.
const ENVELOPE_BYTES_MAX: u64 = 32 * 1024;

/// Bytes of a key that are made of the digest: as many as a digest of 128 bits.
const DIGEST_BYTES: usize = 16;

/// Gives what stands there unless it is known, or else says whose turn it is.
const LOOK: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'string' then
  if redis.call('STRLEN', KEYS[1]) > tonumber(ARGV[2]) then return {'foreign', '', now} end
  if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then
    return {'value', redis.call('GET', KEYS[1]), now}
  end
elseif kind ~= 'none' then
  return {'foreign', '', now}
end
local turn = redis.call('GET', KEYS[2])
if turn == 'unshared' then return {'unshared', '', now} end
if turn then return {'wait', '', now} end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
return {'turn', '', now}
";

/// Puts a value there, with the time by the clock of Redis in its head.
const PUT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], ARGV[1] .. string.format('%016.0f', now) .. ARGV[2], 'PX', ARGV[3])
return 1
";

/// Ends a turn, if it is still the same.
const END: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], 'unshared', 'PX', ARGV[2])
return 1
";

/// What of the fleet's purges a node has taken in.
pub trait Purges: Send + Sync + 'static {
    /// How far it has read them. None: it is not known, and nothing that is fetched now is shared.
    fn watermark(&self) -> Option<Watermark>;

    /// The generation of the store just before the first purge after that place. None: that is longer ago than is
    /// remembered, and nothing that was fetched then is used.
    fn generation_at(&self, place: Watermark) -> Option<u64>;
}

impl Purges for Fleet {
    fn watermark(&self) -> Option<Watermark> {
        Fleet::watermark(self)
    }

    fn generation_at(&self, place: Watermark) -> Option<u64> {
        Fleet::generation_at(self, place)
    }
}

/// The shared tier.
pub struct Share {
    fleet: Arc<Fleet>,
    config: model::Share,
    purges: Arc<dyn Purges>,
    clock: Clock,
    look: Script,
    put: Script,
    end: Script,
    /// Until when nothing is asked: milliseconds since `began`.
    rests_until: AtomicU64,
    began: Instant,
    metrics: ShareMetrics,
}

impl Share {
    /// A tier in the Redis server of a fleet.
    ///
    /// # Errors
    /// When a metric is registered twice.
    pub fn new(
        fleet: Arc<Fleet>,
        config: model::Share,
        purges: Arc<dyn Purges>,
        clock: Clock,
        registry: &Registry,
    ) -> Result<Share, prometheus::Error> {
        Ok(Share {
            fleet,
            config,
            purges,
            clock,
            look: Script::new(LOOK),
            put: Script::new(PUT),
            end: Script::new(END),
            rests_until: AtomicU64::new(0),
            began: Instant::now(),
            metrics: ShareMetrics::register(registry)?,
        })
    }

    /// The names of a value and of the turn to fetch it.
    fn names(&self, spot: Spot<'_>) -> (String, String) {
        let digest = Sha256::new().chain_update(spot.rules.to_le_bytes()).chain_update(spot.key).finalize();
        let digest = hex::encode(digest.get(..DIGEST_BYTES).unwrap_or_default());
        let prefix = &self.fleet.prefix;
        (format!("{prefix}:share:{digest}"), format!("{prefix}:share:turn:{digest}"))
    }

    fn value_bytes_max(&self) -> u64 {
        self.config.object_max + ENVELOPE_BYTES_MAX
    }

    /// Calls a script, within the time that there is. None: it was not answered.
    async fn call<T: redis::FromRedisValue>(&self, call: &redis::ScriptInvocation<'_>) -> Option<T> {
        let elapsed = || millis(self.began.elapsed());
        if elapsed() < self.rests_until.load(Ordering::Relaxed) {
            return None;
        }
        let by = Deadline::now() + self.config.timeout;
        let asked = self
            .fleet
            .ask(Asked::Share, by, async |connection| call.invoke_async::<T>(connection).await)
            .await;
        if asked.is_err() && Deadline::now() >= by {
            self.rests_until.store(elapsed() + millis(REST), Ordering::Relaxed);
        }
        asked.ok()
    }

    /// What a value is worth here.
    /// `asked`: no later than when Redis gave its time.
    fn read(&self, spot: Spot<'_>, bytes: &[u8], redis_now: u64, asked: Instant) -> Look {
        let stamp = value::stamp_of(bytes);
        match value::decode(bytes, spot, (redis_now, asked), self.clock.now()) {
            Ok((place, mut shared)) => match self.purges.generation_at(place) {
                Some(generation) => {
                    shared.generation = generation;
                    Look::Found(Box::new(shared))
                }
                None => Look::Refused(stamp, Told::Purged),
            },
            Err(Unusable::OtherKey) => Look::Refused(stamp, Told::Miss),
            Err(Unusable::Damaged) => Look::Refused(stamp, Told::Damaged),
        }
    }
}

#[async_trait]
impl Shelf for Share {
    fn object_bytes_max(&self) -> u64 {
        self.config.object_max
    }

    fn wait(&self) -> Duration {
        self.config.wait
    }

    fn mark(&self) -> Option<Mark> {
        let at = Instant::now();
        self.purges.watermark().map(|place| Mark { place: (place.millis, place.sequence), at })
    }

    async fn look(&self, spot: Spot<'_>, seen: Option<Stamp>, life: Duration) -> Look {
        let (value, turn) = self.names(spot);
        let Ok(number) = getrandom::u64() else { return Look::Away };
        let seen = seen.map(value::head_of).unwrap_or_default();
        let mut call = self.look.prepare_invoke();
        call.key(value).key(turn).arg(&seen[..]).arg(self.value_bytes_max() + HEAD_BYTES as u64);
        call.arg(number).arg(millis(life).max(1));
        let asked = Instant::now();
        let Some((word, bytes, now)) = self.call::<(String, Vec<u8>, u64)>(&call).await else {
            return Look::Away;
        };
        match word.as_str() {
            "value" => self.read(spot, &bytes, now, asked),
            "turn" => Look::Turn(number),
            "wait" => Look::Wait,
            "unshared" => Look::Unshared,
            // It is overwritten by whoever has fetched.
            _ => Look::Foreign,
        }
    }

    async fn put(&self, spot: Spot<'_>, object: &Object, made: Option<MadeHere>, mark: Mark) {
        let now = self.clock.now();
        let life = life_left(&object.lifetime, now);
        let encoded = value::encode(spot, object, made, mark, now)
            .filter(|(_, rest)| rest.len() as u64 <= self.value_bytes_max() && !life.is_zero());
        let Some((head, rest)) = encoded else { return self.metrics.wrote(Write::Refused) };
        let (value, _) = self.names(spot);
        let mut call = self.put.prepare_invoke();
        call.key(value).arg(&head[..]).arg(rest).arg(millis(life).max(1));
        let stored = self.call::<u64>(&call).await.is_some();
        self.metrics.wrote(if stored { Write::Stored } else { Write::Away });
    }

    async fn end(&self, spot: Spot<'_>, turn: u64, unshared: bool) {
        let (_, name) = self.names(spot);
        let mut call = self.end.prepare_invoke();
        call.key(name).arg(turn).arg(if unshared { millis(UNSHARED_FOR) } else { 0 });
        // One that is not ended ends by itself.
        let _ = self.call::<u64>(&call).await;
    }

    fn count(&self, told: Told) {
        self.metrics.told(told);
    }
}
