//! The bus: two streams in Redis that tell every node what another one was told, in order. One is of revocations, one of
//! purges, so that many of the one push none of the other out.
//!
//! An entry says what it is about in its field `kind`; a kind that this node does not know is passed over, so that nodes
//! of different versions share one. A node remembers the last entry it has read of each, and goes on from there when it has
//! connected again. Whether it has missed any is [`super::standing`]'s business.

use std::time::Duration;

use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};

use super::message::Message;
use super::scripts;
use crate::admission::revocation::Record;
use crate::store::purges::PurgeMode;
use crate::watermark::Watermark;

/// How long one read waits for something new. That nothing comes within this and a little more means that Redis is away.
pub(super) const READ_WAIT: Duration = Duration::from_secs(1);

/// Entries that one read takes of each stream.
const READ_ENTRIES_MAX: usize = 500;

/// The place in the stream of revocations up to which a node has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place(String);

/// An entry of the stream of purges.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its place.
    pub(super) at: Watermark,
    /// The place of the entry before it.
    pub(super) prev: Watermark,
    /// Which stream it was written to.
    pub(super) epoch: String,
    /// The purge; None: it is about something else.
    pub(super) purge: Option<Message>,
}

/// What one read has brought.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) revocations: Vec<Record>,
    /// Behind the revocations.
    pub(super) place: Place,
    pub(super) purges: Vec<Entry>,
}

/// The end of the stream of revocations, now.
pub(super) async fn end(connection: &mut MultiplexedConnection, prefix: &str) -> RedisResult<Place> {
    let mut command = redis::cmd("XREVRANGE");
    command.arg(revocations(prefix)).arg("+").arg("-").arg("COUNT").arg(1);
    let last: StreamRangeReply = command.query_async(connection).await?;
    Ok(Place(last.ids.into_iter().next().map_or("0-0".to_owned(), |entry| entry.id)))
}

/// Waits for entries behind two places. What it has read is lost where it is not polled to its end.
pub(super) async fn read(
    mut connection: MultiplexedConnection,
    prefix: String,
    mut place: Place,
    purges_at: Watermark,
) -> RedisResult<Read> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(READ_ENTRIES_MAX).arg("BLOCK").arg(super::millis(READ_WAIT));
    command.arg("STREAMS").arg(revocations(&prefix)).arg(purges(&prefix));
    command.arg(&place.0).arg(purges_at.to_string());
    let read: Option<StreamReadReply> = command.query_async(&mut connection).await?;
    let (mut told, mut entries) = (Vec::new(), Vec::new());
    for stream in read.into_iter().flat_map(|read| read.keys) {
        if stream.key == purges(&prefix) {
            entries.extend(stream.ids.iter().filter_map(entry));
            continue;
        }
        for entry in stream.ids {
            let text = |name: &str| entry.get::<String>(name).unwrap_or_default();
            if text("kind") == "revocation" {
                told.extend(scripts::record(&text("what"), &text("value")));
            }
            place.0 = entry.id;
        }
    }
    Ok(Read { revocations: told, place, purges: entries })
}

/// Purges behind a place, as many as one read takes; does not wait.
pub(super) async fn purges_behind(
    connection: &mut MultiplexedConnection,
    prefix: &str,
    place: Watermark,
) -> RedisResult<Vec<Entry>> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(READ_ENTRIES_MAX).arg("STREAMS").arg(purges(prefix)).arg(place.to_string());
    let read: Option<StreamReadReply> = command.query_async(connection).await?;
    let entries = read.into_iter().flat_map(|read| read.keys).flat_map(|stream| stream.ids);
    Ok(entries.filter_map(|read| entry(&read)).collect())
}

/// None: Redis numbers no entry so.
fn entry(entry: &StreamId) -> Option<Entry> {
    let text = |name: &str| entry.get::<String>(name).unwrap_or_default();
    let purge = (text("kind") == "purge").then(|| {
        Message::of_text(&text("purge")).unwrap_or_else(|_| {
            let mode =
                if text("mode") == PurgeMode::Soft.as_str() { PurgeMode::Soft } else { PurgeMode::Hard };
            tracing::error!(
                at = entry.id,
                "a purge of the fleet does not read: everything is purged in its place"
            );
            Message::everything("", mode)
        })
    });
    let prev = text("prev").parse().unwrap_or_default();
    Some(Entry { at: entry.id.parse().ok()?, prev, epoch: text("epoch"), purge })
}

fn revocations(prefix: &str) -> String {
    format!("{prefix}:bus")
}

fn purges(prefix: &str) -> String {
    format!("{prefix}:purges")
}
