//! What is measured: viewers tell a [`Recorder`] of their thread what they meet; each second that becomes a [`Book`]; the books
//! of all threads and processes are merged, and the [`Chronicle`] makes rows and the summary of them.
//!
//! Here are the words of viewers and what a thread keeps of each of its viewers. What is counted stands in [`book`], how
//! distributions are kept in [`spread`], what becomes of it in [`chronicle`] and [`verdict`]. Called by viewers and by a run.

pub(crate) mod book;
pub(crate) mod chronicle;
pub(crate) mod spread;
pub(crate) mod summary;
mod verdict;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::book::Book;
pub(crate) use self::chronicle::{Chronicle, Sides};
use crate::fetch::{Exchange, GivenUp, Kind};

/// What a viewer meets beside exchanges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Met {
    Arrived,
    /// A picture, so long after the arrival, or after the zap or seek (`zapped`). Zaps count as starts of their own, unless the
    /// viewer has had no picture since it came: then its wait since the arrival is what counts.
    Started {
        after: Duration,
        zapped: bool,
    },
    StallBegan,
    StallEnded {
        after: Duration,
    },
    /// Another rendition, in bits per second.
    Switched {
        from: u64,
        to: u64,
    },
    /// A segment that was too slow was given up for one of a lower rendition.
    Abandoned,
    /// How far the picture is behind the live edge; told about once a second of play.
    Behind(Duration),
    /// So much was played, at so many bits per second; told about once a second of play, and at the end.
    Played {
        media: Duration,
        bitrate: u64,
    },
    /// Bytes that were received and never played (given up, sought away from, replaced, left).
    Wasted(u64),
    /// A request that a timer was to send was sent so much later; the timer was for `interval`.
    Late {
        by: Duration,
        interval: Duration,
    },
    /// A playlist that went back (a lower media sequence, or fewer segments) or did not parse.
    BadPlaylist,
    /// The viewer gave up: nothing to play for too long. It is gone with that, whether it says [`Self::Left`] too or not.
    GaveUp,
    Left,
}

/// A thread's book; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    desk: Rc<RefCell<Desk>>,
}

/// What a thread keeps: what was gathered since the last drain, and how each of its viewers is now.
struct Desk {
    book: Book,
    viewers: HashMap<u32, State>,
    is_closed: bool,
}

/// How a viewer is.
#[derive(Clone, Copy, Debug)]
enum State {
    /// No picture yet, since then.
    Starting(Instant),
    Playing,
    /// The picture stands still since then; of the stall so much is in a book already.
    Stalled {
        since: Instant,
        counted: Duration,
    },
}

// === impl Recorder ===

impl Recorder {
    /// An empty book.
    pub(crate) fn new() -> Self {
        let desk = Desk { book: Book::default(), viewers: HashMap::new(), is_closed: false };
        Self { desk: Rc::new(RefCell::new(desk)) }
    }

    /// The run is over: who leaves from now on leaves because of that. It was there to the end, and what it did not come to play
    /// is no waste.
    pub(crate) fn close(&self) {
        self.desk.borrow_mut().is_closed = true;
    }

    /// An exchange is over.
    pub(crate) fn exchange(&self, viewer: u32, kind: Kind, path: &str, exchange: &Exchange) {
        let desk = &mut *self.desk.borrow_mut();
        desk.book.exchange(viewer, kind, path, exchange);
    }

    /// An exchange was given up.
    pub(crate) fn gave_up(&self, kind: Kind, given_up: &GivenUp) {
        self.desk.borrow_mut().book.gave_up_exchange(kind, given_up);
    }

    /// A viewer has met something.
    pub(crate) fn met(&self, viewer: u32, met: Met) {
        self.desk.borrow_mut().met(viewer, met, Instant::now());
    }

    /// What was gathered since the last drain. A stall that goes on is counted up to now.
    pub(crate) fn drain(&self) -> Book {
        self.desk.borrow_mut().drain(Instant::now())
    }
}

// === impl Desk ===

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("viewers", &self.viewers.len()).finish_non_exhaustive()
    }
}

impl Desk {
    fn met(&mut self, viewer: u32, met: Met, now: Instant) {
        if self.is_closed && matches!(met, Met::Left | Met::Wasted(_)) {
            return;
        }
        let book = &mut self.book;
        match met {
            Met::Arrived => {
                book.arrived += 1;
                self.enter(viewer, State::Starting(now), now);
            }
            Met::Started { after, zapped } => {
                match self.viewers.get(&viewer) {
                    // It zapped before it saw anything: this is the first picture since it came, and it has waited since then.
                    Some(State::Starting(since)) if zapped => {
                        book.starts.record_time(now.saturating_duration_since(*since).max(after));
                    }
                    _ if zapped => book.zaps.record_time(after),
                    _ => book.starts.record_time(after),
                }
                self.enter(viewer, State::Playing, now);
            }
            Met::StallBegan => {
                book.stalls += 1;
                self.enter(viewer, State::Stalled { since: now, counted: Duration::ZERO }, now);
            }
            Met::StallEnded { after } => self.end_stall(viewer, Some(after), now),
            Met::GaveUp => {
                if self.leave(viewer, now, true) {
                    self.book.gave_up += 1;
                }
            }
            // One that gave up is gone already.
            Met::Left => {
                if self.leave(viewer, now, false) {
                    self.book.left += 1;
                }
            }
            Met::Switched { .. }
            | Met::Abandoned
            | Met::Behind(_)
            | Met::Played { .. }
            | Met::Wasted(_)
            | Met::Late { .. }
            | Met::BadPlaylist => {
                book.count(met);
            }
        }
    }

    /// The viewer is so now, whatever it was.
    fn enter(&mut self, viewer: u32, state: State, now: Instant) {
        self.end_stall(viewer, None, now);
        if let Some(before) = self.viewers.insert(viewer, state) {
            self.book.changes.leave(before);
        }
        self.book.changes.enter(state);
    }

    /// A stall of the viewer is over, if it had one. Its length is what the viewer says, else what the clock says.
    fn end_stall(&mut self, viewer: u32, after: Option<Duration>, now: Instant) {
        let Some(state) = self.viewers.get_mut(&viewer) else { return };
        let State::Stalled { since, counted } = *state else { return };
        let whole = after.unwrap_or_else(|| now.saturating_duration_since(since));
        self.book.stalled_time += whole.saturating_sub(counted);
        self.book.stalling.push(viewer);
        self.book.changes.leave(*state);
        *state = State::Playing;
        self.book.changes.enter(*state);
    }

    /// Whether the viewer was there.
    fn leave(&mut self, viewer: u32, now: Instant, gave_up: bool) -> bool {
        self.end_stall(viewer, None, now);
        let Some(state) = self.viewers.remove(&viewer) else { return false };
        self.book.changes.leave(state);
        if let State::Starting(since) = state {
            let waits = if gave_up { &mut self.book.in_vain } else { &mut self.book.left_waiting };
            waits.record_time(now.saturating_duration_since(since));
        }
        true
    }

    fn drain(&mut self, now: Instant) -> Book {
        for (viewer, state) in &mut self.viewers {
            match state {
                State::Starting(since) => {
                    self.book.waiting.record_time(now.saturating_duration_since(*since));
                }
                State::Stalled { since, counted } => {
                    let whole = now.saturating_duration_since(*since);
                    self.book.stalled_time += whole.saturating_sub(*counted);
                    *counted = whole.max(*counted);
                    self.book.stalling.push(*viewer);
                }
                State::Playing => {}
            }
        }
        let mut book = std::mem::take(&mut self.book);
        book.stalling.sort_unstable();
        book.stalling.dedup();
        book
    }
}

#[cfg(test)]
mod tests;
