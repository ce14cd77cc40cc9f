//! Reads what is left of an object on disk into its body. What cannot be read there comes from the origin, and only if it
//! is the same, byte for byte: the record's checksums say so.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use xxhash_rust::xxh3::xxh3_64;

use super::Fill;
use super::resume::Place;
use crate::origin::{FetchReason, OriginResponse};
use crate::store::disk::{BLOCK_BYTES, DiskReadError, Stored};
use crate::store::tiers::{DiskMark, Recalled};
use crate::store::{Body, Content, Object};

impl Fill<'_> {
    /// Reads the blocks that are not in memory yet; the object is in the memory tier afterwards, or its body is broken.
    pub(super) async fn recall_rest(&self, held: Recalled) {
        let (Some(mut rest), Some(body)) = (held.rest, held.object.body.as_whole()) else { return };
        let whole = match read(&mut rest, body).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(key = %self.flight.key.text, %error, "a disk read broke off; asking the origin");
                Box::pin(self.mend(&rest, body)).await.is_some()
            }
        };
        if whole {
            self.coalescer.store.recalled(&held.object, held.since);
        } else {
            body.fail();
        }
    }

    /// Gives the head of an object in slices the means to come by them.
    pub(super) async fn recall_head(&self, held: Recalled) -> Option<Recalled> {
        let body = Content::Sliced(self.sliced(&held.object.header, held.version?).await.ok()?);
        let header = held.object.header.clone();
        let key = self.flight.key.clone();
        let object = Arc::new(Object {
            provenance: held.object.provenance.clone(),
            disk: DiskMark::offered(),
            purged_at: held.object.purged_at,
            ..Object::new(key, held.object.kind, header, held.object.lifetime, body)
        });
        self.coalescer.store.recalled(&object, held.since);
        Some(Recalled::whole(object))
    }

    /// Reads the rest of a body from the origin. None: it could not be had, or is another version.
    async fn mend(&self, rest: &Stored, body: &Body) -> Option<()> {
        let response = self.ask_origin(&self.request(self.headers(), FetchReason::Miss)).await.ok()?;
        if response.header.status != StatusCode::OK {
            return None;
        }
        let place = self.place_of(&response);
        let mut answer = InBlocks { fill: self, response, place, spare: BytesMut::new() };
        for (place, expected) in rest.checksums().iter().enumerate() {
            let start = (place * BLOCK_BYTES) as u64;
            let len = rest.body_len.saturating_sub(start).min(BLOCK_BYTES as u64);
            let block = answer.next(usize::try_from(len).ok()?).await?;
            if xxh3_64(&block) != *expected {
                return None;
            }
            if start >= body.progress().0 {
                body.append(block);
            }
        }
        // Longer than what was stored: another version.
        (answer.spare.is_empty()
            && matches!(self.next(&mut answer.response, &mut answer.place).await, Ok(None)))
        .then_some(())
    }
}

async fn read(rest: &mut Stored, body: &Body) -> Result<(), DiskReadError> {
    while let Some(block) = rest.next().await? {
        body.append(block);
    }
    Ok(())
}

/// An answer, cut as a record on disk is.
struct InBlocks<'a> {
    fill: &'a Fill<'a>,
    response: OriginResponse,
    /// How far it has come.
    place: Place,
    /// What came with the last block and belongs to the next.
    spare: BytesMut,
}

impl InBlocks<'_> {
    /// The next `len` bytes; None: there are not so many.
    async fn next(&mut self, len: usize) -> Option<Bytes> {
        while self.spare.len() < len {
            let next = self.fill.next(&mut self.response, &mut self.place).await;
            self.spare.extend_from_slice(&next.inspect_err(|error| self.fill.note_broken(error)).ok()??);
        }
        Some(self.spare.split_to(len).freeze())
    }
}
