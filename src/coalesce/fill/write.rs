//! Keeps an answer: writes it to the store as it comes, readable from its header on.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use parking_lot::Mutex;
use pingora_cache::meta::CacheMeta;
use pingora_cache::{HttpCache, NoCacheReason};

use super::{Answer, Failure, Fill};
use crate::asset::Kind;
use crate::cache::Kept;
use crate::coalesce::State;
use crate::store::Object;
use crate::store::object::charge;
use crate::store::storage::{Admission, Hit, cache_key, cache_meta};

/// Bytes of budget taken at a time for a body whose length is not known.
pub(super) const STEP_BYTES: u64 = 256 * 1024;

impl Fill<'_> {
    /// Writes an answer to the store, readable from its header on.
    pub(in crate::coalesce) async fn keep(
        &self,
        cache: &mut HttpCache,
        kept: Kept,
        kind: Kind,
        mut answer: Answer,
    ) -> Result<(), Failure> {
        self.give_own(&kept);
        if let Some(version) = self.version_to_slice(&kept.header, kind, &answer) {
            return self.keep_slices(kept, version, 0, answer.response).await;
        }
        let Kept { mut header, lifetime, tags, .. } = kept;
        let store = self.coalescer.store;
        let told = answer.length();
        if let Some(len) = told {
            // A static name and a number.
            let _ = header.insert_header(CONTENT_LENGTH, len);
        }
        let bytes = charge(&self.flight.key, &header, told.unwrap_or(STEP_BYTES));
        if bytes > store.object_bytes_max() {
            let provenance = self.provenance(tags);
            return self.stream(header, lifetime, kind, Some(provenance), answer).await;
        }
        self.count_ahead(told.unwrap_or(STEP_BYTES), told.is_some())?;
        let reservation = store.reserve(bytes).await.ok_or(Failure::NO_MEMORY)?;
        let reservation = Arc::new(Mutex::new(Some(reservation)));
        let disk = self.disk_admission(header.status, kind, &lifetime);
        let provenance = self.provenance(tags);
        let meta = cache_meta(header, Admission { kind, lifetime, provenance, disk, reservation });
        let object = begin_write(cache, meta).await.ok_or(Failure::INTERNAL)?;
        if !answer.whole {
            self.flight.publish(State::Answered(Arc::clone(&object)));
        }
        let small = answer.whole;
        let mut passed_on = false;
        match self.write(cache, &object, &mut answer, told).await {
            Written::Whole => {
                self.finish_write(cache).await;
                if object.body.is_complete() {
                    self.note_held_ahead(object.body.progress().0);
                }
                self.remove_if_invalidated(&object);
                passed_on = self.is_only_passed_on(&object);
                if passed_on {
                    store.remove_this(&object);
                }
                self.coalescer.uncacheable.remove(&self.flight.slot);
            }
            Written::Outgrown(data) => {
                let body = object.body.as_whole().ok_or(Failure::INTERNAL)?;
                body.limit_to(self.coalescer.limits.window);
                // Ends the write; the body goes on through its window.
                cache.disable(NoCacheReason::ResponseTooLarge);
                body.append(data);
                self.stream_on(&mut answer, body).await;
            }
            // A write that is not finished breaks off with the state machine that holds it.
            Written::Broken => {}
        }
        if small {
            // Small, and here already: readers find it complete.
            self.flight.publish(State::Answered(Arc::clone(&object)));
        }
        // Whoever comes from now on finds it in the store, or that it has been removed.
        self.coalescer.land(self.flight);
        if passed_on {
            return Ok(());
        }
        store.admit_to_disk(&object, disk).await;
        if self.flight.was_joined() {
            store.wanted_again(&object);
        }
        Ok(())
    }

    /// Sets aside what is for the one who asked alone.
    pub(in crate::coalesce) fn give_own(&self, kept: &Kept) {
        if !kept.own.is_empty() {
            // It is set once: one fetch has one answer.
            let _ = self.flight.own.set(kept.own.clone());
        }
    }

    /// The engine's cache state machine, on this key.
    pub(in crate::coalesce) fn engine_cache(&self) -> HttpCache {
        let mut cache = HttpCache::new();
        cache.enable(self.coalescer.store, None, None, None, None);
        cache.set_cache_key(cache_key(&self.flight.key));
        cache
    }

    /// Writes the body as it comes.
    async fn write(
        &self,
        cache: &mut HttpCache,
        object: &Arc<Object>,
        answer: &mut Answer,
        told: Option<u64>,
    ) -> Written {
        let mut room = told.is_none().then_some(STEP_BYTES);
        let mut deserted = false;
        for data in std::mem::take(&mut answer.read) {
            if let Some(ended) = self.write_piece(cache, object, data, &mut room).await {
                return ended;
            }
        }
        while !answer.whole {
            let next = {
                let next = self.next(&mut answer.response, &mut answer.place);
                tokio::pin!(next);
                loop {
                    tokio::select! {
                        next = &mut next => break next,
                        () = self.flight.desertion(), if !deserted => {
                            deserted = self.goes_on(object, told);
                            if !deserted && self.coalescer.abandon(self.flight) {
                                return Written::Broken;
                            }
                        }
                    }
                }
            };
            match next {
                Ok(Some(data)) => {
                    if let Some(ended) = self.write_piece(cache, object, data, &mut room).await {
                        return ended;
                    }
                }
                Ok(None) => answer.whole = true,
                Err(error) => {
                    self.note_broken(&error);
                    return Written::Broken;
                }
            }
        }
        Written::Whole
    }

    /// Writes one piece. Some: the write ends here.
    async fn write_piece(
        &self,
        cache: &mut HttpCache,
        object: &Arc<Object>,
        data: Bytes,
        room: &mut Option<u64>,
    ) -> Option<Written> {
        let store = self.coalescer.store;
        if let Some(room) = room {
            while *room < data.len() as u64 {
                if object.charge(object.body.progress().0 + STEP_BYTES) > store.object_bytes_max() {
                    return Some(Written::Outgrown(data));
                }
                if self.count_ahead(object.body.progress().0 + STEP_BYTES, false).is_err() {
                    return Some(Written::Broken);
                }
                match (store.reserve(STEP_BYTES).await, object.body.as_whole()) {
                    (Some(step), Some(body)) => body.hold(step),
                    _ => return Some(Written::Broken),
                }
                *room += STEP_BYTES;
            }
            *room -= data.len() as u64;
        }
        match cache.miss_handler()?.write_body(data, false).await {
            Ok(()) => None,
            Err(_) => Some(Written::Broken),
        }
    }

    pub(in crate::coalesce) async fn finish_write(&self, cache: &mut HttpCache) {
        if let Err(error) = cache.finish_miss_handler().await {
            tracing::warn!(key = %self.flight.key.text, %error, "a fetch ended short");
        }
    }

    /// Whether a fetch that nobody wants any more is worth ending: what belongs to a stream will be wanted again soon,
    /// anything else goes by `limits.abandon_below`.
    fn goes_on(&self, object: &Object, told: Option<u64>) -> bool {
        let (here, _) = object.body.progress();
        let share = u64::from(self.coalescer.limits.abandon_below);
        let streamed =
            object.kind.is_playlist() || matches!(object.kind, Kind::Segment | Kind::Part | Kind::Init);
        streamed || told.is_some_and(|told| here.saturating_mul(100) >= told.saturating_mul(share))
    }

    /// Removes what was held in place of an answer that is not kept. What an origin gives to a client with credentials
    /// says nothing of what it gives to others.
    pub(in crate::coalesce) fn forget_unkept(&self) {
        if self.job.authorization.is_none() && !self.job.wishes.no_store {
            self.coalescer.store.remove(self.flight.key.hash, &self.flight.key.text);
        }
    }

    /// Removes an object again that this fetch has kept, if its key was invalidated meanwhile.
    pub(in crate::coalesce) fn remove_if_invalidated(&self, object: &Arc<Object>) {
        if self.coalescer.is_invalidated(self.flight) {
            self.coalescer.store.remove_this(object);
        }
    }
}

/// Takes the state machine from a miss, or a stale hit, to a write in progress; gives the object that is written.
pub(in crate::coalesce) async fn begin_write(cache: &mut HttpCache, meta: CacheMeta) -> Option<Arc<Object>> {
    cache.set_cache_meta(meta);
    cache.set_miss_handler().await.ok()?;
    let reader = cache.miss_body_reader()?;
    Some(Arc::clone(&reader.as_any().downcast_ref::<Hit>()?.object))
}

/// How a write came out.
enum Written {
    /// All of it is there.
    Whole,
    /// It broke off, or nobody wants it any more.
    Broken,
    /// It is larger than is kept; this piece has not been written.
    Outgrown(Bytes),
}
