//! What the store promises, by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::asset::Kind;
use crate::config::model::DiskAdmission;
use crate::key::Key;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora_cache::trace::Span;
use pingora_cache::{HttpCache, Storage};
use std::time::SystemTime;

const MIB: u64 = 1024 * 1024;

fn store(memory: u64) -> &'static Store {
    let metrics = StoreMetrics::new(&Registry::new()).unwrap();
    Box::leak(Box::new(Store::new(memory, 10, Accounts::default(), None, Duration::ZERO, metrics)))
}

fn key(place: u64) -> Key {
    Key { hash: u128::from(place) * 0x1_0000_0001_0000_0001, text: format!("0 /{place}").into() }
}

fn lifetime() -> Lifetime {
    let now = SystemTime::now();
    Lifetime {
        created: now,
        fresh_until: now + Duration::from_secs(60),
        span: Duration::from_secs(60),
        from_coming: false,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        strict: false,
        immutable: false,
        purged: None,
    }
}

/// Writes an object the way a fill does: through the engine's state machine.
pub(super) async fn write(store: &'static Store, place: u64, len: usize) -> Option<Arc<Object>> {
    let key = key(place);
    let header = ResponseHeader::build_no_case(200, None).unwrap();
    let reservation = store.reserve(object::charge(&key, &header, len as u64)).await?;
    let admission = storage::Admission {
        provenance: Default::default(),
        kind: Kind::Segment,
        lifetime: lifetime(),
        disk: DiskAdmission::default(),
        reservation: Arc::new(Mutex::new(Some(reservation))),
    };
    let mut cache = HttpCache::new();
    cache.enable(store, None, None, None, None);
    cache.set_cache_key(storage::cache_key(&key));
    cache.cache_miss();
    cache.set_cache_meta(storage::cache_meta(header, admission));
    cache.set_miss_handler().await.unwrap();
    let object = {
        let reader = cache.miss_body_reader().unwrap();
        Arc::clone(&reader.as_any().downcast_ref::<storage::Hit>().unwrap().object)
    };
    cache.miss_handler().unwrap().write_body(Bytes::from(vec![place as u8; len]), true).await.unwrap();
    cache.finish_miss_handler().await.unwrap();
    Some(object)
}

#[tokio::test]
async fn the_budget_is_never_exceeded_and_recent_objects_are_found() {
    let store = store(16 * MIB);
    for place in 0..500 {
        write(store, place, 200_000).await.unwrap();
        assert!(store.budget().used() <= 16 * MIB);
        let key = key(place);
        assert!(store.get(key.hash, &key.text).is_some(), "{place}");
    }
    assert!(store.index.len() > 60, "the budget is used: {} objects", store.index.len());
}

#[tokio::test]
async fn an_object_evicted_while_it_is_read_still_counts() {
    let store = store(16 * MIB);
    let mut readers = Vec::new();
    for place in 0..9 {
        readers.push(write(store, place, 1_500_000).await.unwrap().body.reader());
    }
    for place in 9..12 {
        write(store, place, 500_000).await.unwrap();
    }
    assert!(store.budget().used() <= 16 * MIB);
    let mut first = readers.remove(0);
    let mut read = 0;
    while let Some(data) = first.next().await.unwrap() {
        assert!(data.iter().all(|byte| *byte == 0));
        read += data.len();
    }
    assert_eq!(read, 1_500_000);
}

#[tokio::test(start_paused = true)]
async fn memory_held_by_readers_is_waited_for_and_then_refused() {
    let store = store(16 * MIB);
    let held = store.reserve(16 * MIB).await.unwrap();
    assert!(store.reserve(MIB).await.is_none());
    let waiting = tokio::spawn(store.reserve(MIB));
    tokio::task::yield_now().await;
    drop(held);
    assert!(waiting.await.unwrap().is_some());
}

#[tokio::test]
async fn two_keys_of_one_hash_are_told_apart() {
    let store = store(16 * MIB);
    write(store, 7, 10).await.unwrap();
    assert!(store.get(key(7).hash, "0 /other").is_none());
}

#[tokio::test]
async fn a_write_that_is_dropped_breaks_its_readers_and_is_not_kept() {
    let store = store(16 * MIB);
    let key = key(1);
    let admission = storage::Admission {
        provenance: Default::default(),
        kind: Kind::Segment,
        lifetime: lifetime(),
        disk: DiskAdmission::default(),
        reservation: Arc::default(),
    };
    let meta = storage::cache_meta(ResponseHeader::build_no_case(200, None).unwrap(), admission);
    let trace = Span::inactive().handle();
    let mut miss = store.get_miss_handler(&storage::cache_key(&key), &meta, &trace).await.unwrap();
    miss.write_body(Bytes::from_static(b"abc"), false).await.unwrap();
    let (_, mut hit) = store.lookup(&storage::cache_key(&key), &trace).await.unwrap().unwrap();
    assert_eq!(hit.read_body().await.unwrap().unwrap(), "abc");
    drop(miss);
    assert!(hit.read_body().await.is_err());
    assert!(store.get(key.hash, &key.text).is_none());
}

/// The disks' index grows in steps, and takes what it needs: objects make room for it.
#[tokio::test(start_paused = true)]
async fn what_is_taken_beyond_the_budget_is_made_up_for_by_evictions() {
    let store = store(64 * MIB);
    for place in 0..1000 {
        write(store, place, 60_000).await.unwrap();
    }
    let index = store.budget().take(16 * MIB);
    assert!(store.budget().used() > store.budget().total());
    let waited = tokio::time::Instant::now();
    write(store, 1000, 60_000).await.unwrap();
    assert!(waited.elapsed() < MEMORY_WAIT, "nobody gives anything back");
    assert!(store.budget().used() <= store.budget().total());
    drop(index);
}
