#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

fn write(key: &str, len: usize) -> Write {
    let body = vec![Bytes::from(vec![1; len])];
    Write { key: key.into(), site: 0, meta: Bytes::from_static(b"m"), body, hold: Box::new(()) }
}

fn keys(batch: &Batch) -> Vec<&str> {
    batch.items.iter().map(|item| &*item.key).collect()
}

const STORED: Removed = Removed { stored: true, to_write: true };
const UNKNOWN: Removed = Removed { stored: false, to_write: false };

#[test]
fn what_is_put_in_comes_out_once_and_in_order_and_is_seen_until_it_is_done() {
    let queue = Queue::new(1 << 20);
    for key in ["a", "b", "c"] {
        queue.offer(write(key, 10)).unwrap();
    }
    let batch = queue.take();
    assert_eq!(keys(&batch), ["a", "b", "c"]);
    assert!(matches!(queue.look_up("b"), Waiting::Write(held) if held.body.len == 10));
    queue.done(batch.items, |key| panic!("{key} was not removed"));
    assert!(matches!(queue.look_up("b"), Waiting::Nothing));
    assert_eq!(queue.bytes(), 0);
}

#[test]
fn a_later_write_of_a_key_takes_the_place_of_one_that_waits_and_its_memory_is_let_go() {
    let queue = Queue::new(1 << 20);
    let hold = Arc::new(());
    queue.offer(Write { hold: Box::new(Arc::clone(&hold)), ..write("a", 10) }).unwrap();
    assert_eq!(Arc::strong_count(&hold), 2);
    queue.offer(write("a", 20)).unwrap();
    assert_eq!(Arc::strong_count(&hold), 1);
    let batch = queue.take();
    assert!(matches!(&batch.items[..], [Item { job: Job::Write(held), .. }] if held.body.len == 20));
}

#[test]
fn a_removal_takes_back_a_write_that_waits() {
    let queue = Queue::new(1 << 20);
    queue.offer(write("a", 10)).unwrap();
    assert!(queue.remove("a", || UNKNOWN));
    assert!(!queue.remove("a", || UNKNOWN));
    queue.offer(write("b", 10)).unwrap();
    let batch = queue.take();
    assert_eq!(keys(&batch), ["b"]);
    assert!(!batch.removals, "the volume had nothing: there is no tombstone to write");
}

#[test]
fn a_removal_wins_over_the_write_in_hand_and_a_write_after_it_wins_over_the_removal() {
    let queue = Queue::new(1 << 20);
    queue.offer(write("a", 10)).unwrap();
    let batch = queue.take();
    assert!(queue.remove("a", || UNKNOWN), "the write in hand counts as there");
    assert!(matches!(queue.look_up("a"), Waiting::Removed), "though the volume may have it by now");
    queue.offer(write("a", 20)).unwrap();
    assert!(matches!(queue.look_up("a"), Waiting::Write(held) if held.body.len == 20));
    let mut removed = Vec::new();
    queue.done(batch.items, |key| removed.push(key.to_string()));
    assert_eq!(removed, ["a"], "what was in hand has to leave the volume");
    let batch = queue.take();
    assert!(batch.removals);
    assert!(matches!(&batch.items[..], [Item { job: Job::Write(held), .. }] if held.body.len == 20));
    queue.done(batch.items, |key| panic!("the later write of {key} stays"));
}

#[test]
fn newer_metadata_joins_the_write_that_waits_or_is_in_hand_and_never_an_older_body() {
    let queue = Queue::new(1 << 20);
    queue.offer(write("a", 10)).unwrap();
    assert!(queue.refresh("a", Bytes::from_static(b"newer"), || false));
    let batch = queue.take();
    assert!(matches!(&batch.items[..], [Item { job: Job::Write(held), .. }] if *held.meta == *b"newer"));
    assert!(queue.refresh("a", Bytes::from_static(b"newest"), || false));
    let is_newest = |held: &Queued| *held.meta == *b"newest" && held.body.len == 10;
    assert!(
        matches!(queue.look_up("a"), Waiting::Write(held) if is_newest(&held)),
        "the volume may have an older one"
    );
    queue.done(batch.items, |_| ());
    let batch = queue.take();
    assert!(matches!(&batch.items[..], [Item { job: Job::Write(held), .. }] if is_newest(held)));
    queue.done(batch.items, |_| ());
    assert!(queue.refresh("a", Bytes::from_static(b"once more"), || true));
    assert!(matches!(queue.look_up("a"), Waiting::Refresh(meta) if *meta == *b"once more"));
    assert!(queue.refresh("unknown", Bytes::new(), || false));
    assert!(matches!(queue.look_up("unknown"), Waiting::Nothing), "nothing is kept of what the volume lacks");
}

#[test]
fn the_queue_is_bounded_in_bytes_and_one_object_larger_than_all_of_it_goes_alone() {
    let queue = Queue::new(1000);
    queue.offer(write("large", 5000)).unwrap();
    let (back, reason) = queue.offer(write("a", 1)).unwrap_err();
    assert_eq!((&*back.key, reason), ("a", Reason::QueueFull));
    let batch = queue.take();
    assert!(queue.offer(write("a", 1)).is_err(), "what is in hand still counts");
    queue.done(batch.items, |_| ());
    queue.offer(write("a", 1)).unwrap();
}

#[test]
fn the_queue_is_bounded_in_entries_also_when_they_are_removed_again_while_the_disk_hangs() {
    let queue = Queue::new(u64::MAX);
    for _ in 0..QUEUE_ENTRIES_MAX {
        queue.offer(write("a", 1)).unwrap();
        queue.remove("a", || UNKNOWN);
    }
    assert!(queue.offer(write("a", 1)).is_err());
    queue.stop(Some(Instant::now() + std::time::Duration::from_secs(60)), None);
    assert!(queue.take().close.is_some(), "what was taken back is passed over");
}

#[test]
fn a_batch_is_bounded() {
    let queue = Queue::new(u64::MAX);
    for key in 0..20 {
        queue.offer(write(&key.to_string(), 1 << 20)).unwrap();
    }
    let batch = queue.take();
    assert_eq!(batch.items.len(), 7);
    queue.done(batch.items, |_| ());
    for key in 100..100 + 2 * BATCH_ENTRIES_MAX {
        queue.offer(write(&key.to_string(), 1)).unwrap();
    }
    while queue.bytes() > 0 {
        let batch = queue.take();
        assert!(batch.items.len() <= BATCH_ENTRIES_MAX);
        queue.done(batch.items, |_| ());
    }
}

#[test]
fn nothing_is_seen_between_a_clearing_and_its_end_but_what_came_after_it() {
    let queue = Queue::new(1 << 20);
    queue.offer(write("hand", 1)).unwrap();
    let batch = queue.take();
    queue.offer(write("waits", 1)).unwrap();
    let (answer, _told) = oneshot::channel();
    queue.clear(answer);
    queue.offer(write("after", 1)).unwrap();
    for key in ["hand", "waits", "disk"] {
        assert!(matches!(queue.look_up(key), Waiting::Removed), "{key}");
    }
    let mut removed = 0;
    queue.done(batch.items, |_| removed += 1);
    assert_eq!(removed, 1);
    let batch = queue.take();
    assert_eq!((keys(&batch), batch.clear.len()), (vec!["after"], 1));
    queue.cleared(1);
    assert!(matches!(queue.look_up("disk"), Waiting::Nothing));
    assert!(matches!(queue.look_up("after"), Waiting::Write(_)));
}

#[tokio::test]
async fn a_stopped_queue_takes_nothing_drains_until_its_deadline_and_tells_the_writer_to_close() {
    let queue = Queue::new(1 << 20);
    queue.offer(write("a", 1)).unwrap();
    let (answer, _told) = oneshot::channel();
    queue.stop(Some(Instant::now() + std::time::Duration::from_secs(60)), Some(answer));
    assert_eq!(queue.offer(write("b", 1)).unwrap_err().1, Reason::Closing);
    let batch = queue.take();
    assert_eq!((keys(&batch), batch.close.is_none()), (vec!["a"], true));
    queue.done(batch.items, |_| ());
    assert!(matches!(queue.take().close, Some(Some(_))));

    let queue = Queue::new(1 << 20);
    queue.offer(write("a", 1)).unwrap();
    queue.stop(None, None);
    let batch = queue.take();
    assert!(batch.items.is_empty() && batch.close.is_some(), "out of time: nothing more is written");
    let (answer, told) = oneshot::channel();
    queue.persist(answer);
    assert!(matches!(told.await, Ok(Err(DiskError::Closed))));
    assert!(queue.remove("a", || STORED));
}
