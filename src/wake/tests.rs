#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Wake;
use std::time::Duration;

use super::*;

/// Counts how often it is woken, and on which thread last.
#[derive(Default)]
struct Counting {
    wakes: AtomicUsize,
    thread: Mutex<Option<std::thread::ThreadId>>,
}

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        *self.thread.lock() = Some(std::thread::current().id());
        self.wakes.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(rung: &mut Rung<'_>, waker: &Arc<Counting>) -> bool {
    let waker = Waker::from(Arc::clone(waker));
    Pin::new(rung).poll(&mut Context::from_waker(&waker)).is_ready()
}

#[test]
fn a_ring_is_for_those_who_wait_and_for_those_who_are_about_to() {
    let bell = Bell::new();
    let waker = Arc::new(Counting::default());
    let (mut waits, mut about_to) = (bell.rung(), bell.rung());
    assert!(!poll(&mut waits, &waker));
    bell.ring();
    assert!(poll(&mut waits, &waker) && poll(&mut about_to, &waker));
    assert_eq!(waker.wakes.load(Ordering::SeqCst), 1);
    let mut later = bell.rung();
    assert!(!poll(&mut later, &waker), "a ring of before");
}

#[test]
fn who_no_longer_waits_is_forgotten_and_the_place_is_anothers() {
    let bell = Bell::new();
    let (gone, other) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
    let mut first = bell.rung();
    assert!(!poll(&mut first, &gone));
    drop(first);
    assert_eq!(bell.waiting(), 0);
    let mut second = bell.rung();
    assert!(!poll(&mut second, &other) && !poll(&mut second, &other));
    assert_eq!(bell.waiting(), 1);
    bell.ring();
    assert_eq!((gone.wakes.load(Ordering::SeqCst), other.wakes.load(Ordering::SeqCst)), (0, 1));
    // One that was woken and never polled again leaves nothing behind, and takes nobody's place.
    let mut third = bell.rung();
    assert!(!poll(&mut third, &gone));
    drop(second);
    assert_eq!(bell.waiting(), 1);
}

#[test]
fn who_is_polled_by_another_task_is_woken_there() {
    let bell = Bell::new();
    let (before, after) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
    let mut rung = bell.rung();
    assert!(!poll(&mut rung, &before) && !poll(&mut rung, &after));
    bell.ring();
    assert_eq!((before.wakes.load(Ordering::SeqCst), after.wakes.load(Ordering::SeqCst)), (0, 1));
}

/// A runtime on a thread of its own, as viewers have it; the second tells it to end.
fn thread() -> (tokio::runtime::Handle, tokio::sync::oneshot::Sender<()>, std::thread::JoinHandle<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (handle, (stop, stopped)) = (runtime.handle().clone(), tokio::sync::oneshot::channel());
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            relay_here();
            stopped.await.ok();
        });
    });
    (handle, stop, thread)
}

#[test]
fn each_thread_wakes_its_own() {
    let bell = Arc::new(Bell::new());
    let (handle, stop, running) = thread();
    let wakers: Vec<Arc<Counting>> = (0..3).map(|_| Arc::default()).collect();
    let (parked, is_parked) = std::sync::mpsc::sync_channel(1);
    let waits = {
        let (bell, wakers) = (Arc::clone(&bell), wakers.clone());
        handle.spawn(async move {
            let mut all: Vec<_> = wakers.iter().map(|_| bell.rung()).collect();
            assert!(all.iter_mut().zip(&wakers).all(|(rung, waker)| !poll(rung, waker)));
            parked.send(()).unwrap();
            bell.rung().await;
        })
    };
    is_parked.recv_timeout(Duration::from_secs(60)).unwrap();
    // The task's own wait may come a moment later: it is rung for until it has ended.
    while !waits.is_finished() {
        bell.ring();
        std::thread::yield_now();
    }
    assert!(wakers.iter().all(|waker| waker.wakes.load(Ordering::SeqCst) == 1));
    assert!(wakers.iter().all(|waker| *waker.thread.lock() == Some(running.thread().id())));
    stop.send(()).unwrap();
    running.join().unwrap();
}

#[test]
fn who_waited_on_a_thread_that_has_ended_stops_nobody() {
    let bell = Arc::new(Bell::new());
    let (handle, stop, running) = thread();
    let waker: Arc<Counting> = Arc::default();
    let kept = {
        let (bell, waker) = (Arc::clone(&bell), Arc::clone(&waker));
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        handle.spawn(async move {
            let (mut one, mut two) = (bell.rung(), bell.rung());
            assert!(!poll(&mut one, &waker) && !poll(&mut two, &waker));
            // They go on waiting, although their thread ends.
            std::mem::forget((one, two));
            tell.send(Arc::clone(&bell)).unwrap();
        });
        told.recv_timeout(Duration::from_secs(60)).unwrap()
    };
    stop.send(()).unwrap();
    running.join().unwrap();
    kept.ring();
    assert_eq!(waker.wakes.load(Ordering::SeqCst), 2, "woken from here");
}

/// A thread that is busy is told of so many rings and no more; those of further rings are woken from where it is rung.
#[test]
fn of_more_rings_than_a_thread_can_be_told_of_nobody_is_lost() {
    let (handle, stop, running) = thread();
    let rings = RELAYED_RINGS_MAX + 10;
    let bells: Arc<Vec<Bell>> = Arc::new((0..rings).map(|_| Bell::new()).collect());
    let wakers: Arc<Vec<[Arc<Counting>; RELAYED_MIN]>> =
        Arc::new((0..rings).map(|_| <_>::default()).collect());
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let (go_on, may_go_on) = std::sync::mpsc::sync_channel::<()>(1);
    {
        let (bells, wakers) = (Arc::clone(&bells), Arc::clone(&wakers));
        handle.spawn(async move {
            for (bell, wakers) in bells.iter().zip(wakers.iter()) {
                for waker in wakers {
                    let mut rung = bell.rung();
                    assert!(!poll(&mut rung, waker));
                    // It goes on waiting.
                    std::mem::forget(rung);
                }
            }
            tell.send(()).unwrap();
            // Busy: nothing else runs on this thread meanwhile.
            may_go_on.recv().unwrap();
        });
    }
    told.recv_timeout(Duration::from_secs(60)).unwrap();
    bells.iter().for_each(Bell::ring);
    let woken = |place: usize| wakers[place].iter().map(|waker| waker.wakes.load(Ordering::SeqCst)).sum();
    for place in 0..rings {
        let expected = if place < RELAYED_RINGS_MAX { 0 } else { RELAYED_MIN };
        assert_eq!((place, woken(place)), (place, expected));
    }
    go_on.send(()).unwrap();
    let patience = std::time::Instant::now() + Duration::from_secs(60);
    while (0..rings).any(|place| woken(place) < RELAYED_MIN) && std::time::Instant::now() < patience {
        std::thread::yield_now();
    }
    for (place, wakers) in wakers.iter().enumerate() {
        let own =
            Some(if place < RELAYED_RINGS_MAX { running.thread().id() } else { std::thread::current().id() });
        for waker in wakers {
            assert_eq!((place, waker.wakes.load(Ordering::SeqCst)), (place, 1), "once");
            assert_eq!((place, *waker.thread.lock()), (place, own), "and there");
        }
    }
    stop.send(()).unwrap();
    running.join().unwrap();
}

/// Threads with a relay and without wait, give up and ring at random; nobody waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_forgotten_while_others_come_and_go() {
    let seed: u64 = rand::random();
    let value = Arc::new(Watched::new(0_u64));
    let threads: Vec<_> = (0..3).map(|_| thread()).collect();
    let here = tokio::runtime::Handle::current();
    let goal = 500;
    let mut tasks = Vec::new();
    for index in 0..64_u64 {
        let handle = threads.get(index as usize % 4).map_or(&here, |(handle, ..)| handle);
        let value = Arc::clone(&value);
        tasks.push(handle.spawn(async move {
            let mut next = seed.wrapping_add(index);
            loop {
                next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if next >> 62 == 0 {
                    // One that gives up at once.
                    tokio::select! {
                        biased;
                        _ = value.wait_for(|value| *value >= goal) => return,
                        () = tokio::task::yield_now() => {}
                    }
                } else {
                    let mut watcher = value.watch();
                    if watcher.get() >= goal {
                        return;
                    }
                    watcher.changed().await;
                }
            }
        }));
    }
    for _ in 0..goal {
        value.modify(|value| {
            *value += 1;
            true
        });
        tokio::task::yield_now().await;
    }
    for task in tasks {
        let ended = tokio::time::timeout(Duration::from_secs(60), task).await;
        ended.unwrap_or_else(|_| panic!("seed {seed}: never woken")).unwrap();
    }
    for (_, stop, running) in threads {
        stop.send(()).unwrap();
        running.join().unwrap();
    }
}

#[tokio::test]
async fn a_watcher_is_told_of_what_it_has_not_seen() {
    let value = Watched::new(1);
    let mut watcher = value.watch();
    assert!(!watcher.has_changed());
    value.modify(|value| {
        *value = 2;
        false
    });
    assert!(!watcher.has_changed(), "nobody was to be told");
    value.set(3);
    assert!(watcher.has_changed());
    watcher.changed().await;
    assert!(!watcher.has_changed());
    assert_eq!((watcher.get(), value.wait_for(|value| *value == 3).await), (3, 3));
}
