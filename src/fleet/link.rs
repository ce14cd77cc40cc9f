//! The task that holds the connections to Redis: connects, catches up, tells what has waited, reads the bus, says that the
//! node is there, and begins anew when that breaks.
//!
//! Two connections: one for what is asked, one that waits for the bus. The wait is also how a server that is there but
//! silent is found. Whoever asks gets a connection only while this node has caught up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::bus::{self, Place};
use super::nodes::BEAT_EVERY;
use super::standing::{self, Ended};
use super::{Fleet, Keeper, StartPhase, scripts};
use crate::admission::revocation::{Identity, Record};
use crate::config::model;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long Redis may take for what no request waits for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Pauses between attempts to connect: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How often what is in force is read as a whole beside the bus, so that nothing stays missed.
const READ_WHOLE_EVERY: Duration = Duration::from_secs(600);

/// Fields that one step of reading the whole asks for.
const STEP_FIELDS: usize = 1000;

/// Records that one step of telling the whole sends.
const STEP_RECORDS: usize = 200;

/// Runs until the runtime ends.
pub(super) async fn run(fleet: Arc<Fleet>, config: model::Bus, keeper: Arc<dyn Keeper>) {
    let mut pause = PAUSES.0;
    let mut place = None;
    loop {
        let connected = Instant::now();
        match session(&fleet, &config, &keeper, &mut place).await {
            Ok(()) => {}
            Err(Ended::Broken(error)) => fleet.set_away(&error),
            // Redis is there: what it holds is looked at anew.
            Err(Ended::Doubted) => {}
        }
        pause = if connected.elapsed() > PAUSES.1 { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
        tokio::time::sleep(pause).await;
    }
}

/// One connection's life; ends with why it did.
async fn session(
    fleet: &Arc<Fleet>,
    config: &model::Bus,
    keeper: &Arc<dyn Keeper>,
    place: &mut Option<Place>,
) -> Result<(), Ended> {
    let client = client(config)?;
    let answers = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT));
    let waits = answers.clone().set_response_timeout(Some(bus::READ_WAIT + ANSWER_TIMEOUT));
    let mut asking = client.get_multiplexed_async_connection_with_config(&answers).await?;
    let reading = client.get_multiplexed_async_connection_with_config(&waits).await?;
    // The end first, the whole after: what comes in between is read twice, and not missed.
    let mut at = match place {
        Some(place) => place.clone(),
        None => bus::end(&mut asking, &fleet.prefix).await?,
    };
    standing::look(fleet, &mut asking).await?;
    fleet.set_start(StartPhase::CatchingUp);
    standing::catch_up(fleet, &mut asking).await?;
    let known = read_whole(fleet, keeper, &mut asking).await?;
    tell_whole(fleet, keeper, &mut asking, &known).await?;
    drop(known);
    standing::drain(fleet, &mut asking).await?;
    standing::beat(fleet, &mut asking).await?;
    *place = Some(at.clone());
    // What was told to be broken until now is an earlier connection.
    let _ = std::pin::pin!(fleet.broken.notified()).enable();
    let mut broken = std::pin::pin!(fleet.broken.notified());
    fleet.set_here(asking.clone());
    let mut whole = every(READ_WHOLE_EVERY);
    let mut beats = every(BEAT_EVERY);
    let read = |at: &Place| {
        let behind = fleet.watermark().unwrap_or_default();
        Box::pin(bus::read(reading.clone(), fleet.prefix.clone(), at.clone(), behind))
    };
    let mut reader = read(&at);
    loop {
        tokio::select! {
            brought = &mut reader => {
                let brought = brought?;
                at = brought.place;
                *place = Some(at.clone());
                if !brought.revocations.is_empty() {
                    merge(keeper, brought.revocations).await;
                }
                if brought.purges.is_empty() {
                    *fleet.purges.complete.lock() = std::time::Instant::now();
                } else {
                    standing::apply(fleet, brought.purges).await?;
                    standing::beat(fleet, &mut asking).await?;
                }
                reader = read(&at);
            }
            () = &mut broken => {
                let error: RedisError = (ErrorKind::Io, "a connection broke").into();
                return Err(error.into());
            }
            () = fleet.purges.added.notified() => standing::drain(fleet, &mut asking).await?,
            _ = beats.tick() => standing::beat(fleet, &mut asking).await?,
            _ = whole.tick() => drop(read_whole(fleet, keeper, &mut asking).await?),
        }
    }
}

/// Ticks, the first after one period.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn client(config: &model::Bus) -> RedisResult<Client> {
    let mut settings = config.redis.redis_settings().clone();
    if let Some(password) = &config.password {
        settings = settings.set_password(String::from_utf8_lossy(&password.0));
    }
    Client::open(config.redis.clone().set_redis_settings(settings))
}

/// Takes in what is in force in Redis, and tells what that is. Removes what has ended.
async fn read_whole(
    fleet: &Fleet,
    keeper: &Arc<dyn Keeper>,
    connection: &mut MultiplexedConnection,
) -> RedisResult<HashMap<Identity, u64>> {
    let key = format!("{}:revocations", fleet.prefix);
    let mut known = HashMap::new();
    let mut cursor = 0_u64;
    loop {
        let mut step = redis::cmd("HSCAN");
        step.arg(&key).arg(cursor).arg("COUNT").arg(STEP_FIELDS);
        let (next, fields): (u64, Vec<(String, String)>) = step.query_async(connection).await?;
        if !fields.is_empty() {
            let mut prune = fleet.scripts.prune.key(&key);
            for (field, _) in &fields {
                prune.arg(field);
            }
            let _: u64 = prune.invoke_async(connection).await?;
        }
        let records: Vec<Record> =
            fields.iter().filter_map(|(field, value)| scripts::record(field, value)).collect();
        known.extend(records.iter().map(|record| (record.identity.clone(), record.at)));
        merge(keeper, records).await;
        if next == 0 {
            return Ok(known);
        }
        cursor = next;
    }
}

/// Tells what this node knows and Redis does not.
async fn tell_whole(
    fleet: &Fleet,
    keeper: &Arc<dyn Keeper>,
    connection: &mut MultiplexedConnection,
    known: &HashMap<Identity, u64>,
) -> RedisResult<()> {
    let mut records = records(keeper).await;
    records.retain(|record| known.get(&record.identity).is_none_or(|at| *at < record.at));
    for step in records.chunks(STEP_RECORDS) {
        let calls: Vec<_> = step.iter().map(|record| fleet.scripts.put(&fleet.prefix, record)).collect();
        let mut pipeline = redis::pipe();
        for call in &calls {
            pipeline.invoke_script(call);
        }
        if let Some(call) = calls.first() {
            call.load_async(connection).await?;
        }
        let _: Vec<bool> = pipeline.query_async(connection).await?;
    }
    Ok(())
}

/// The keeper may wait for a disk.
async fn merge(keeper: &Arc<dyn Keeper>, records: Vec<Record>) {
    let keeper = Arc::clone(keeper);
    // It fails only while the runtime ends.
    let _ = tokio::task::spawn_blocking(move || keeper.merge(records)).await;
}

async fn records(keeper: &Arc<dyn Keeper>) -> Vec<Arc<Record>> {
    let keeper = Arc::clone(keeper);
    tokio::task::spawn_blocking(move || keeper.records()).await.unwrap_or_default()
}
