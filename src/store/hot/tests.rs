//! What moving hot bodies promises.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use crate::store::Accounts;
use std::time::Duration;

use bytes::Bytes;
use prometheus::Registry;

use super::super::tests::write;
use super::super::{Reader, StoreMetrics};
use super::*;

const MIB: u64 = 1024 * 1024;

/// A store of so many bytes with an arena, and what moves its bodies.
fn store(memory: u64) -> (&'static Store, Arc<Arena>, Mover) {
    let metrics = StoreMetrics::new(&Registry::new()).unwrap();
    let mut store = Store::new(memory, 10, Accounts::default(), None, Duration::ZERO, metrics);
    let arena = Arena::new(memory).unwrap();
    let mover = store.use_arena(Arc::clone(&arena));
    (Box::leak(Box::new(store)), arena, mover)
}

async fn body(store: &'static Store, place: u64, len: usize) -> Arc<Body> {
    let object = write(store, place, len).await.unwrap();
    Arc::clone(object.body.as_whole().unwrap())
}

fn send(body: &Arc<Body>, times: u32) {
    (0..times).for_each(|_| body.sent_plain());
}

/// Moves what has been asked for until now.
fn move_all(store: &'static Store, mover: &mut Mover) {
    while let Ok(body) = mover.hot.try_recv() {
        store.move_body(&body, &mover.arena, &mover.old_copies);
    }
}

async fn read_all(mut reader: Reader) -> Vec<u8> {
    let mut read = Vec::new();
    while let Some(data) = reader.next().await.unwrap() {
        read.extend_from_slice(&data);
    }
    read
}

#[tokio::test]
async fn a_body_moves_when_it_has_been_sent_often_enough_and_not_before() {
    let (store, arena, mut mover) = store(64 * MIB);
    let body = body(store, 1, 1_300_000).await;
    let held = store.budget().used();
    send(&body, HOT_SENDS - 1);
    move_all(store, &mut mover);
    assert!(!body.is_moved());
    assert_eq!((arena.bytes(), store.metrics.moves.get()), (0, 0));
    send(&body, 1);
    move_all(store, &mut mover);
    assert!(body.is_moved());
    assert_eq!(store.metrics.moves.get(), 1);
    assert!(arena.bytes() >= 1_300_000);
    assert!(body.chunks().unwrap().iter().all(|chunk| arena.offset_of(chunk).is_some()));
    assert_eq!(read_all(Reader::new(Arc::clone(&body))).await, vec![1; 1_300_000]);
    assert_eq!(store.budget().used(), held);
    // It is not counted any more, and moves no second time.
    send(&body, 10 * HOT_SENDS);
    assert!(mover.hot.try_recv().is_err());
}

#[tokio::test]
async fn the_task_moves_what_is_hot() {
    let (store, arena, mover) = store(64 * MIB);
    let moving = tokio::spawn(mover.run(store));
    let body = body(store, 1, 100_000).await;
    send(&body, HOT_SENDS);
    tokio::time::timeout(Duration::from_secs(30), async {
        while !body.is_moved() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert!(arena.bytes() >= 100_000);
    moving.abort();
}

#[tokio::test]
async fn small_and_huge_bodies_and_those_without_an_arena_stay_where_they_are() {
    let (store, arena, mut mover) = store(256 * MIB);
    for (place, len) in [MOVED_BYTES_MIN - 1, MOVED_BYTES_MAX + 1].into_iter().enumerate() {
        let body = body(store, place as u64, usize::try_from(len).unwrap()).await;
        send(&body, 10 * HOT_SENDS);
        assert!(mover.hot.try_recv().is_err(), "{len}");
    }
    assert_eq!(arena.bytes(), 0);
    let metrics = StoreMetrics::new(&Registry::new()).unwrap();
    let without: &'static Store =
        Box::leak(Box::new(Store::new(16 * MIB, 10, Accounts::default(), None, Duration::ZERO, metrics)));
    let body = body(without, 1, 100_000).await;
    send(&body, 10 * HOT_SENDS);
    move_all(store, &mut mover);
    assert!(!body.is_moved());
    assert_eq!(read_all(Reader::new(body)).await, vec![1; 100_000]);
}

#[tokio::test]
async fn both_copies_count_until_the_last_reader_of_the_old_one_has_gone() {
    let (store, _arena, mut mover) = store(64 * MIB);
    let body = body(store, 1, 1_300_000).await;
    let held = store.budget().used();
    let mut reader = Reader::new(Arc::clone(&body));
    let old: Bytes = reader.next().await.unwrap().unwrap();
    let part = old.slice(5..6);
    drop(old);
    send(&body, HOT_SENDS);
    move_all(store, &mut mover);
    assert_eq!(store.budget().used(), held + 1_300_000);
    assert_eq!(mover.old_copies.used(), 1_300_000);
    assert_eq!(read_all(reader).await.len(), 1_300_000 - crate::store::body::CHUNK_BYTES);
    assert_eq!(&*part, [1]);
    drop(part);
    assert_eq!((store.budget().used(), mover.old_copies.used()), (held, 0));
}

#[tokio::test]
async fn a_full_cache_makes_room_for_a_hot_body_and_never_exceeds_its_budget() {
    let (store, arena, mut mover) = store(16 * MIB);
    for place in 0..40 {
        write(store, place, 500_000).await.unwrap();
    }
    let body = body(store, 40, 500_000).await;
    assert!(store.budget().used() + 500_000 > store.budget().total());
    let _reader = body.chunks();
    send(&body, HOT_SENDS);
    move_all(store, &mut mover);
    assert!(body.is_moved());
    assert!(store.budget().used() <= store.budget().total());
    assert!(arena.bytes() >= 500_000);
}

#[tokio::test]
async fn a_body_for_whose_copies_there_is_no_room_is_counted_anew() {
    let (store, arena, mut mover) = store(16 * MIB);
    let body = body(store, 1, 1_000_000).await;
    let taken = mover.old_copies.try_take(mover.old_copies.total()).unwrap();
    send(&body, HOT_SENDS);
    move_all(store, &mut mover);
    assert_eq!((body.is_moved(), arena.bytes()), (false, 0));
    drop(taken);
    send(&body, HOT_SENDS - 1);
    assert!(mover.hot.try_recv().is_err());
    send(&body, 1);
    move_all(store, &mut mover);
    assert!(body.is_moved());
}

#[tokio::test]
async fn moves_that_would_have_to_wait_long_are_left_out() {
    let (store, _arena, mut mover) = store(16 * MIB);
    let mut bodies = Vec::new();
    for place in 0..=MOVES_WAITING_MAX as u64 {
        bodies.push(body(store, place, 100_000).await);
        send(&bodies[bodies.len() - 1], HOT_SENDS);
    }
    move_all(store, &mut mover);
    let moved = |body: &Arc<Body>| body.is_moved();
    assert_eq!(bodies.iter().filter(|body| moved(body)).count(), MOVES_WAITING_MAX);
    send(bodies.last().unwrap(), HOT_SENDS);
    move_all(store, &mut mover);
    assert!(bodies.iter().all(moved));
}

#[tokio::test]
async fn an_arena_without_a_slot_leaves_a_body_where_it_is() {
    let metrics = StoreMetrics::new(&Registry::new()).unwrap();
    let mut store = Store::new(16 * MIB, 10, Accounts::default(), None, Duration::ZERO, metrics);
    let arena = Arena::new(MOVED_BYTES_MIN).unwrap();
    let mut mover = store.use_arena(Arc::clone(&arena));
    let store: &'static Store = Box::leak(Box::new(store));
    let body = body(store, 1, 1_300_000).await;
    let held = store.budget().used();
    send(&body, HOT_SENDS);
    move_all(store, &mut mover);
    assert_eq!((body.is_moved(), arena.bytes(), store.budget().used()), (false, 0, held));
    assert_eq!(read_all(Reader::new(body)).await.len(), 1_300_000);
}
