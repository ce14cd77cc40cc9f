//! Waking many who wait for one thing. Viewers' threads each have a runtime of their own, and to wake a task of another
//! runtime costs a system call: for a thousand viewers of one answer a thousand of them, one after the other, before the last has
//! been told. So a [`Bell`] knows who waits on which thread: each thread is told once, and wakes its own.
//!
//! It decides nothing about what is waited for. [`Watched`] is a value with a bell: tokio's `watch`, rung this way.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Fewer waiters of a thread than this are woken from where the bell is rung: a way round would be no shorter.
const RELAYED_MIN: usize = 2;

/// Rings that a thread may be told of before it has woken those of the first: beyond, they are woken from where it is rung.
const RELAYED_RINGS_MAX: usize = 1024;

/// Rung for all who wait at that moment.
#[derive(Debug, Default)]
pub struct Bell {
    /// How often it was rung.
    strikes: AtomicU64,
    waiting: Mutex<Vec<Group>>,
}

/// Those who wait on one thread.
#[derive(Debug)]
struct Group {
    /// None: a thread without a relay.
    relay: Option<Relay>,
    wakers: Vec<Option<Waker>>,
    /// Places of `wakers` that are empty.
    free: Vec<usize>,
}

/// Where a thread is told whom it has to wake.
#[derive(Clone, Debug)]
struct Relay {
    thread: u64,
    tell: Sender<Vec<Option<Waker>>>,
}

/// Resolves when the bell has been rung since this was made.
#[derive(Debug)]
pub struct Rung<'a> {
    bell: &'a Bell,
    /// Strikes when it was made.
    seen: u64,
    /// Its group and its place there, once it waits.
    place: Option<(usize, usize)>,
}

/// A value, and who waits for it to change.
#[derive(Debug)]
pub struct Watched<T> {
    value: RwLock<T>,
    changed: Bell,
}

/// One who watches a value, and how much of it has been seen.
#[derive(Debug)]
pub struct Watcher<'a, T> {
    watched: &'a Watched<T>,
    seen: u64,
}

thread_local! {
    static RELAY: OnceCell<Relay> = const { OnceCell::new() };
}

/// From now on this thread is told once of each ring and wakes its own. To be called on the thread of a runtime of its own, and
/// within it; a second call changes nothing.
pub fn relay_here() {
    static THREADS: AtomicU64 = AtomicU64::new(0);
    RELAY.with(|relay| {
        relay.get_or_init(|| {
            let (tell, told) = channel(RELAYED_RINGS_MAX);
            tokio::spawn(wake_all(told));
            Relay { thread: THREADS.fetch_add(1, Ordering::Relaxed), tell }
        });
    });
}

async fn wake_all(mut told: Receiver<Vec<Option<Waker>>>) {
    while let Some(wakers) = told.recv().await {
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

fn thread_of(relay: Option<&Relay>) -> Option<u64> {
    relay.map(|relay| relay.thread)
}

/// The place of a thread's group, which is made if there is none.
fn group_of(waiting: &mut Vec<Group>, relay: Option<&Relay>) -> usize {
    let thread = thread_of(relay);
    let known = waiting.iter().position(|group| thread_of(group.relay.as_ref()) == thread);
    known.unwrap_or_else(|| {
        waiting.push(Group { relay: relay.cloned(), wakers: Vec::new(), free: Vec::new() });
        waiting.len() - 1
    })
}

// === impl Bell ===

impl Bell {
    /// Nobody waits, and it was not rung.
    pub fn new() -> Bell {
        Bell::default()
    }

    /// Wakes all who wait.
    pub fn ring(&self) {
        let groups = {
            let mut waiting = self.waiting.lock();
            self.strikes.fetch_add(1, Ordering::AcqRel);
            std::mem::take(&mut *waiting)
        };
        // A thread that is about to end has none.
        let here = RELAY.try_with(|relay| thread_of(relay.get())).ok().flatten();
        // Other threads first: they work while this one goes on.
        let (own, others): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|group| thread_of(group.relay.as_ref()) == here);
        others.into_iter().chain(own).for_each(|group| group.wake(here));
    }

    /// What resolves once the bell is rung from now on.
    pub fn rung(&self) -> Rung<'_> {
        Rung { bell: self, seen: self.strikes.load(Ordering::Acquire), place: None }
    }

    /// How many wait.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.waiting.lock().iter().map(|group| group.wakers.len() - group.free.len()).sum()
    }
}

// === impl Group ===

impl Group {
    fn wake(self, here: Option<u64>) {
        let count = self.wakers.len() - self.free.len();
        let wakers = match self.relay {
            Some(relay) if Some(relay.thread) != here && count >= RELAYED_MIN => {
                // A thread that is behind, or has ended, is not told.
                relay.tell.try_send(self.wakers).map_or_else(TrySendError::into_inner, |()| Vec::new())
            }
            _ => self.wakers,
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn put(&mut self, waker: &Waker) -> usize {
        let waker = Some(waker.clone());
        match self.free.pop() {
            Some(place) => {
                self.wakers[place] = waker;
                place
            }
            None => {
                self.wakers.push(waker);
                self.wakers.len() - 1
            }
        }
    }
}

// === impl Rung ===

impl Future for Rung<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let bell = self.bell;
        let has_rung = || bell.strikes.load(Ordering::Acquire) != self.seen;
        if has_rung() {
            return Poll::Ready(());
        }
        let mut waiting = bell.waiting.lock();
        // Rings come under the same lock.
        if has_rung() {
            return Poll::Ready(());
        }
        let waker = context.waker();
        if let Some((group, place)) = self.place {
            let held = &mut waiting[group].wakers[place];
            let other = !held.as_ref().is_some_and(|held| held.will_wake(waker));
            let before = other.then(|| held.replace(waker.clone()));
            // Without the lock: with a waker goes what only that held.
            drop(waiting);
            drop(before);
            return Poll::Pending;
        }
        let group = RELAY
            .try_with(|relay| group_of(&mut waiting, relay.get()))
            .unwrap_or_else(|_| group_of(&mut waiting, None));
        let place = waiting[group].put(waker);
        self.place = Some((group, place));
        Poll::Pending
    }
}

impl Drop for Rung<'_> {
    fn drop(&mut self) {
        let Some((group, place)) = self.place else { return };
        // After a ring nobody's place is what it was. Those it has woken need no lock to know.
        let has_rung = || self.bell.strikes.load(Ordering::Acquire) != self.seen;
        if has_rung() {
            return;
        }
        let mut waiting = self.bell.waiting.lock();
        if !has_rung() {
            let group = &mut waiting[group];
            let waker = group.wakers[place].take();
            group.free.push(place);
            // Without the lock: with a waker goes what only that held.
            drop(waiting);
            drop(waker);
        }
    }
}

// === impl Watched ===

impl<T: Clone> Watched<T> {
    /// Begins with this value.
    pub fn new(value: T) -> Watched<T> {
        Watched { value: RwLock::new(value), changed: Bell::new() }
    }

    /// The value as it is.
    pub fn get(&self) -> T {
        self.value.read().clone()
    }

    /// Another value: wakes all who wait.
    pub fn set(&self, value: T) {
        let before = std::mem::replace(&mut *self.value.write(), value);
        self.changed.ring();
        // Without the lock, and last: it may be large.
        drop(before);
    }

    /// Changes the value; wakes all who wait if `change` says so.
    pub fn modify(&self, change: impl FnOnce(&mut T) -> bool) {
        let tells = change(&mut self.value.write());
        if tells {
            self.changed.ring();
        }
    }

    /// The value, once it is such a one.
    pub async fn wait_for(&self, is_such: impl Fn(&T) -> bool) -> T {
        loop {
            let changed = self.changed.rung();
            {
                let value = self.value.read();
                if is_such(&value) {
                    return value.clone();
                }
            }
            changed.await;
        }
    }

    /// One who has seen the value as it is.
    pub fn watch(&self) -> Watcher<'_, T> {
        Watcher { watched: self, seen: self.changed.strikes.load(Ordering::Acquire) }
    }
}

// === impl Watcher ===

impl<T: Clone> Watcher<'_, T> {
    /// The value as it is, which has been seen then.
    pub fn get(&mut self) -> T {
        // First what has been told, then what that was: a change between the two is told again.
        self.seen = self.watched.changed.strikes.load(Ordering::Acquire);
        self.watched.get()
    }

    /// Whether it was told of a change since it was last seen.
    pub fn has_changed(&self) -> bool {
        self.watched.changed.strikes.load(Ordering::Acquire) != self.seen
    }

    /// Resolves once the value has changed since it was last seen, which it has been then.
    pub async fn changed(&mut self) {
        Rung { bell: &self.watched.changed, seen: self.seen, place: None }.await;
        self.seen = self.watched.changed.strikes.load(Ordering::Acquire);
    }
}

#[cfg(test)]
mod tests;
