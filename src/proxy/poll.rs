//! Polls of live playlists on behalf of viewers whose reloads the node holds in an origin's place.
//!
//! Decides when an origin is asked whether its playlist has grown: one poll at a time for each playlist, only while
//! somebody waits. A poll is due when the playlist is due to grow, and after that every quarter of its target duration,
//! of its part target duration where it has parts; never more often than each [`POLL_FLOOR`], whatever the playlist says
//! and however viewers come and go. What others have fetched meanwhile puts it off. How the origin is asked is handed in:
//! as by any request, so that others share the fetch, and guards and purges see it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::playlists::{Latest, Playlist};
use crate::wake::Watched;

/// Polls in a target duration (part target duration) from when a playlist was due to grow.
const POLLS_PER_TARGET: u32 = 4;

/// The shortest time from one poll of a playlist to the next.
pub(super) const POLL_FLOOR: Duration = Duration::from_millis(250);

/// How an origin is asked, once.
pub(super) type Ask = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Polled> + Send>> + Send + Sync>;

/// What a poll has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polled {
    /// The origin has been asked, whatever came of it.
    Asked,
    /// It is of no use to ask again: what comes is not shared.
    Over,
}

/// The polls under way.
pub struct Polls {
    clock: Clock,
    /// By the text of the playlist's key. As many as playlists with a viewer who waits, or has within the last pause.
    under_way: Arc<Mutex<HashMap<Box<str>, Arc<Poll>>>>,
    polls: IntCounterVec,
}

struct Poll {
    playlist: Arc<Playlist>,
    waiters: AtomicUsize,
    over: Watched<bool>,
}

/// A viewer's part in the polls of a playlist: they go on while there is one.
pub(super) struct Waiting(Arc<Poll>);

impl Polls {
    /// None under way; the counter is registered.
    ///
    /// # Errors
    /// When it is registered already.
    pub fn new(clock: Clock, registry: &Registry) -> Result<Polls, prometheus::Error> {
        let help = "Polls of live playlists for viewers whose reloads the node holds, by site and result: grown, \
                    unchanged (failed ones included).";
        let polls = IntCounterVec::new(Opts::new("forebay_playlist_polls_total", help), &["site", "result"])?;
        registry.register(Box::new(polls.clone()))?;
        Ok(Polls { clock, under_way: Arc::default(), polls })
    }

    /// Has a playlist polled while the answer is held; `ask` makes what asks the origin, where nothing does yet.
    pub(super) fn ensure(&self, playlist: &Arc<Playlist>, ask: impl FnOnce() -> Ask) -> Waiting {
        let mut under_way = self.under_way.lock();
        // A playlist that was forgotten and learned again is another one: who waits for it is told by that.
        let known = under_way.get(playlist.text()).filter(|poll| Arc::ptr_eq(&poll.playlist, playlist));
        if let Some(poll) = known {
            return Waiting::join(poll);
        }
        let (waiters, over) = (AtomicUsize::new(0), Watched::new(false));
        let poll = Arc::new(Poll { playlist: Arc::clone(playlist), waiters, over });
        under_way.insert(playlist.text().into(), Arc::clone(&poll));
        let waiting = Waiting::join(&poll);
        drop(under_way);
        // Without the lock: a runtime that is ending drops the task at once, which takes itself out.
        let ending = Ending { under_way: Arc::clone(&self.under_way), poll };
        tokio::spawn(run(ending, self.clock.clone(), self.polls.clone(), ask()));
        waiting
    }

    /// Playlists that are polled, or have been within the last pause.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.under_way.lock().len()
    }
}

impl Waiting {
    fn join(poll: &Arc<Poll>) -> Waiting {
        poll.waiters.fetch_add(1, Ordering::AcqRel);
        Waiting(Arc::clone(poll))
    }

    /// Resolves when the playlist is not polled any more: it is of no use to wait.
    pub(super) async fn over(&self) {
        self.0.over.wait_for(|over| *over).await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Takes a poll out of the table when its task ends, even by a panic, and tells who still waits.
struct Ending {
    under_way: Arc<Mutex<HashMap<Box<str>, Arc<Poll>>>>,
    poll: Arc<Poll>,
}

impl Ending {
    /// Takes it out if nobody waits. Viewers come under the same lock.
    fn if_deserted(&self) -> bool {
        let mut under_way = self.under_way.lock();
        let deserted = self.poll.waiters.load(Ordering::Acquire) == 0;
        if deserted {
            self.take_out(&mut under_way);
        }
        deserted
    }

    fn take_out(&self, under_way: &mut HashMap<Box<str>, Arc<Poll>>) {
        let text = self.poll.playlist.text();
        if under_way.get(text).is_some_and(|held| Arc::ptr_eq(held, &self.poll)) {
            under_way.remove(text);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.take_out(&mut self.under_way.lock());
        self.poll.over.set(true);
    }
}

async fn run(ending: Ending, clock: Clock, polls: IntCounterVec, ask: Ask) {
    let playlist = Arc::clone(&ending.poll.playlist);
    let site = playlist.text().split(' ').next().unwrap_or_default();
    let mut reached = playlist.reached();
    let (mut grown, mut fetched) = (Seen::default(), Seen::default());
    let mut asked: Option<Instant> = None;
    loop {
        let latest = playlist.latest();
        let due = latest.as_deref().map(|latest| {
            let grown = grown.at(latest.grown, &clock) + due_after(&playlist, latest);
            let step = step(latest);
            let others = fetched.at(latest.fetched, &clock) + step;
            asked.map_or(grown, |asked| grown.max(asked + step)).max(others)
        });
        let due = due.or(asked.map(|asked| asked + POLL_FLOOR)).unwrap_or_else(Instant::now);
        if Instant::now() < due {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = reached.changed() => if ending.if_deserted() { return },
            }
            continue;
        }
        if ending.if_deserted() {
            return;
        }
        asked = Some(Instant::now());
        let before = latest.map(|latest| latest.facts.reach);
        let polled = ask().await;
        let has_grown = playlist.latest().map(|latest| latest.facts.reach) != before;
        polls.with_label_values(&[site, if has_grown { "grown" } else { "unchanged" }]).inc();
        if polled == Polled::Over || playlist.latest().is_some_and(|latest| latest.facts.ended) {
            return;
        }
    }
}

/// How long after it has grown a playlist is due to grow again.
fn due_after(playlist: &Playlist, latest: &Latest) -> Duration {
    playlist.made_here().map_or(latest.facts.target_duration, |made| made.due_after)
}

/// From one poll to the next.
fn step(latest: &Latest) -> Duration {
    let target = latest.facts.part_target.unwrap_or(latest.facts.target_duration);
    (target / POLLS_PER_TARGET).max(POLL_FLOOR)
}

/// A time of day, and when it was on the clock that pauses are measured by.
#[derive(Default)]
struct Seen(Option<(SystemTime, Instant)>);

impl Seen {
    fn at(&mut self, time: SystemTime, clock: &Clock) -> Instant {
        if let Some((_, at)) = self.0.filter(|(seen, _)| *seen == time) {
            return at;
        }
        let ago = clock.now().duration_since(time).unwrap_or_default();
        let now = Instant::now();
        let at = now.checked_sub(ago).unwrap_or(now);
        self.0 = Some((time, at));
        at
    }
}

#[cfg(test)]
mod tests;
