//! The store as the engine's cache state machine sees it: `pingora_cache::Storage`.
//!
//! The fill drives that state machine and writes through it. An object is visible here from the moment its header is
//! in: a look-up for its key, or for the tag of its write, gets a reader of the growing body.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, Result};
use pingora_cache::key::CacheHashKey;
use pingora_cache::storage::streaming_write::U64WriteId;
use pingora_cache::storage::{
    HandleHit, HandleMiss, HitHandler, MissFinishType, MissHandler, PurgeOutcome, PurgeTarget, PurgeType,
};
use pingora_cache::trace::SpanHandle;
use pingora_cache::{CacheKey, CacheMeta, Storage};

use super::tiers::{DiskMark, Recalled};
use super::{Body, Content, ContentReader, Lifetime, Object, Provenance, Reservation, Store};
use crate::asset::Kind;
use crate::config::model::DiskAdmission;
use crate::key::Key;

/// What the state machine does not carry by itself; rides in the extensions of [`CacheMeta`].
#[derive(Clone, Debug)]
pub struct Admission {
    /// What the object is.
    pub kind: Kind,
    /// Its lifetime, to the millisecond.
    pub lifetime: Lifetime,
    /// What purges know it by.
    pub provenance: Provenance,
    /// Whether the disk keeps it.
    pub disk: DiskAdmission,
    /// The budget its body takes; given to the body when the write begins.
    pub reservation: Arc<parking_lot::Mutex<Option<Reservation>>>,
}

/// The engine's form of a key.
pub fn cache_key(key: &Key) -> CacheKey {
    let mut cache_key = CacheKey::new(key.text.as_bytes(), "");
    cache_key.set_primary_bin_override(key.hash.to_be_bytes());
    cache_key
}

/// The engine's form of what is known of an object.
pub fn cache_meta(header: ResponseHeader, admission: Admission) -> CacheMeta {
    let seconds = |span: Duration| u32::try_from(span.as_secs()).unwrap_or(u32::MAX);
    let lifetime = admission.lifetime;
    let mut meta = CacheMeta::new(
        lifetime.fresh_until,
        lifetime.created,
        seconds(lifetime.stale_while_revalidate),
        seconds(lifetime.stale_if_error),
        header,
    );
    meta.extensions_mut().insert(admission);
    meta
}

/// An object without a body that weighs `bytes`: it makes the index evict.
pub(super) fn filler(hash: u128, bytes: u64) -> Object {
    let header = ResponseHeader::from(http::Response::new(()).into_parts().0);
    let long_ago = SystemTime::UNIX_EPOCH;
    let lifetime = Lifetime::ended(long_ago);
    let body = Body::of_weight(bytes.saturating_sub(super::object::OVERHEAD_BYTES));
    Object::new(Key { hash, text: "".into() }, Kind::Other, header, lifetime, body.into())
}

fn key_of(key: &CacheKey) -> Result<Key> {
    let text = key
        .primary_key_str()
        .ok_or_else(|| Error::explain(ErrorType::InternalError, "a cache key that is not text"))?;
    Ok(Key { hash: u128::from_be_bytes(key.primary_bin()), text: text.into() })
}

fn admission_of(meta: &CacheMeta) -> Result<&Admission> {
    let none = || Error::explain(ErrorType::InternalError, "cache metadata without admission");
    meta.extensions().get::<Admission>().ok_or_else(none)
}

fn object_of(key: Key, meta: &CacheMeta, body: Content, disk: DiskMark) -> Result<Object> {
    let admission = admission_of(meta)?;
    let header = meta.response_header_copy();
    let provenance = admission.provenance.clone();
    Ok(Object { disk, provenance, ..Object::new(key, admission.kind, header, admission.lifetime, body) })
}

impl Store {
    pub(super) fn look_up(&self, hash: u128) -> Option<Arc<Object>> {
        // Not with the lock held: a purge is looked up.
        let growing = || self.growing.lock().values().find(|object| object.key.hash == hash).cloned();
        let held = self.index.get(&hash).and_then(|held| self.stands(held));
        held.or_else(|| growing().filter(|object| !self.is_purged(object)))
    }
}

fn found(held: Recalled) -> (CacheMeta, HitHandler) {
    let object = Arc::clone(&held.object);
    let admission = Admission {
        kind: object.kind,
        lifetime: object.lifetime,
        provenance: object.provenance.clone(),
        disk: DiskAdmission::default(),
        reservation: Arc::default(),
    };
    let meta = cache_meta(object.header.clone(), admission);
    let reader = object.body.reader();
    (meta, Box::new(Hit { object, recalled: Some(held), reader }))
}

#[async_trait]
impl Storage for Store {
    async fn lookup(
        &'static self,
        key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let key = key_of(key)?;
        if let Some(object) = self.look_up(key.hash).filter(|held| held.key.text == key.text) {
            return Ok(Some(found(Recalled::whole(object))));
        }
        Ok(self.recall(&key).await.map(found))
    }

    async fn lookup_streaming_write(
        &'static self,
        _key: &CacheKey,
        tag: Option<&[u8]>,
        _trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let tag = tag.and_then(|tag| U64WriteId::try_from(tag).ok()).map(u64::from);
        Ok(tag
            .and_then(|tag| self.growing.lock().get(&tag).cloned())
            .map(|object| found(Recalled::whole(object))))
    }

    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _trace: &SpanHandle,
    ) -> Result<MissHandler> {
        let (key, admission) = (key_of(key)?, admission_of(meta)?);
        let body = self.growing_body(&key, admission.reservation.lock().take());
        let disk = DiskMark::of(admission.disk);
        let object = Arc::new(object_of(key, meta, Arc::clone(&body).into(), disk)?);
        let tag = self.next_tag.fetch_add(1, Ordering::Relaxed);
        self.growing.lock().insert(tag, Arc::clone(&object));
        Ok(Box::new(Miss { store: self, object, body, tag, tag_bytes: tag.into(), finished: false }))
    }

    async fn purge(
        &'static self,
        target: PurgeTarget<'_>,
        _type: PurgeType,
        _trace: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        let hash = match target {
            PurgeTarget::Active(key) => u128::from_be_bytes(key.primary_bin()),
            PurgeTarget::Exact(entry) => u128::from_be_bytes(entry.key().primary_bin()),
        };
        // The engine's target has no text, which the disk needs: what is in memory lends its own.
        let removed = self.look_up(hash).is_some_and(|held| self.remove(hash, &held.key.text));
        Ok(if removed { PurgeOutcome::Purged(None) } else { PurgeOutcome::NotFound })
    }

    async fn update_meta(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _trace: &SpanHandle,
    ) -> Result<bool> {
        let key = key_of(key)?;
        let Some(held) = self.get(key.hash, &key.text) else { return Ok(false) };
        let object = object_of(key, meta, held.body.clone(), held.disk.again())?;
        let object =
            Arc::new(Object { encoded: held.encoded.again(), carried: held.carried.again(), ..object });
        self.refresh_on_disk(&object);
        self.insert(object);
        Ok(true)
    }

    fn support_streaming_partial_write(&self) -> bool {
        true
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self
    }
}

/// A reader, as the engine sees it.
pub struct Hit {
    /// The object read.
    pub object: Arc<Object>,
    /// What was looked up, for the fill to take.
    pub recalled: Option<Recalled>,
    reader: ContentReader,
}

#[async_trait]
impl HandleHit for Hit {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let broken = |e| Error::because(ErrorType::ReadError, "reading a cached body", e);
        self.reader.next().await.map_err(broken)
    }

    async fn finish(
        self: Box<Self>,
        _storage: &'static (dyn Storage + Sync),
        _key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<()> {
        Ok(())
    }

    fn can_seek(&self) -> bool {
        true
    }

    fn seek(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        self.reader.seek(start as u64, end.map(|end| end as u64));
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}

/// The write of one object. Dropped before it is finished, it breaks the body off.
struct Miss {
    store: &'static Store,
    object: Arc<Object>,
    body: Arc<Body>,
    tag: u64,
    tag_bytes: U64WriteId,
    finished: bool,
}

#[async_trait]
impl HandleMiss for Miss {
    async fn write_body(&mut self, data: Bytes, _eof: bool) -> Result<()> {
        self.body.append(data);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<MissFinishType> {
        let len = self.body.progress().0;
        let told = self.object.length();
        if told.is_some_and(|told| told != len) {
            let context = format!("{len} bytes of {}", told.unwrap_or_default());
            return Err(Error::explain(ErrorType::ReadError, context));
        }
        self.body.settle(self.object.charge(len));
        self.body.finish();
        self.finished = true;
        self.store.keep(&self.object);
        Ok(MissFinishType::Created(usize::try_from(len).unwrap_or(usize::MAX)))
    }

    fn streaming_write_tag(&self) -> Option<&[u8]> {
        Some(self.tag_bytes.as_bytes())
    }
}

impl Drop for Miss {
    fn drop(&mut self) {
        self.store.growing.lock().remove(&self.tag);
        // A body that has outgrown its share streams on through its window.
        if !self.finished && self.body.is_kept() {
            self.body.fail();
        }
    }
}
