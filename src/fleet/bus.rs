//! The bus: a stream in Redis that tells every node what another one was told, in order.
//!
//! An entry says what it is about in its field `kind`; a kind that this node does not know is passed over, so that nodes
//! of different versions share one. A node remembers the last entry it has read, and goes on from there when it has
//! connected again.

use std::time::Duration;

use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamRangeReply, StreamReadReply};

use super::scripts;
use crate::admission::revocation::Record;

/// How long one read waits for something new. That nothing comes within this and a little more means that Redis is away.
pub(super) const READ_WAIT: Duration = Duration::from_secs(1);

/// Entries that one read takes.
const READ_ENTRIES_MAX: usize = 500;

/// What an entry tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Something was revoked or restored.
    Revocation(Record),
}

/// The place up to which a node has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place(String);

/// The end of the bus, now.
pub(super) async fn end(connection: &mut MultiplexedConnection, prefix: &str) -> RedisResult<Place> {
    let mut command = redis::cmd("XREVRANGE");
    command.arg(key(prefix)).arg("+").arg("-").arg("COUNT").arg(1);
    let last: StreamRangeReply = command.query_async(connection).await?;
    Ok(Place(last.ids.into_iter().next().map_or("0-0".to_owned(), |entry| entry.id)))
}

/// Waits for entries behind a place, and moves it behind them.
pub(super) async fn read(
    connection: &mut MultiplexedConnection,
    prefix: &str,
    place: &mut Place,
) -> RedisResult<Vec<Event>> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(READ_ENTRIES_MAX).arg("BLOCK").arg(super::millis(READ_WAIT));
    command.arg("STREAMS").arg(key(prefix)).arg(&place.0);
    let read: Option<StreamReadReply> = command.query_async(connection).await?;
    let entries = read.into_iter().flat_map(|read| read.keys).flat_map(|key| key.ids);
    let mut events = Vec::new();
    for entry in entries {
        let text = |name: &str| entry.get::<String>(name).unwrap_or_default();
        if text("kind") == "revocation" {
            events.extend(scripts::record(&text("what"), &text("value")).map(Event::Revocation));
        }
        place.0 = entry.id;
    }
    Ok(events)
}

fn key(prefix: &str) -> String {
    format!("{prefix}:bus")
}
