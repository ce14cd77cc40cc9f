//! The picture: a playhead that goes in real time over what both tracks hold, stands still when one of them has nothing, and goes
//! on when there is enough again. It decides when the first picture comes, when a stall begins and ends, and what was played or
//! wasted; not what is fetched.
//!
//! Its times are those of what happened, not of when somebody looked: a stall begins at the instant at which the buffer is dry,
//! however late a timer is. [`super::player`] calls it.

use std::time::Duration;

use tokio::time::Instant;

use super::buffer::{Buffer, Held};
use crate::measure::Met;

/// Played media is told about in pieces of this length, in microseconds.
const TELL_US: i64 = 1_000_000;

/// Which of the two tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The picture, with its sound if that has no track of its own.
    Video,
    Audio,
}

/// What the playhead does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It stands still since then, for this reason.
    Waiting {
        since: Instant,
        why: Why,
    },
    Playing,
    /// The title is over since then.
    Ended {
        at: Instant,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// No picture yet since the arrival.
    Arrival,
    /// None since a zap or a seek.
    Action,
    /// The buffer ran dry.
    Stall,
}

#[derive(Debug)]
pub(crate) struct Deck {
    buffers: [Buffer; 2],
    audio: bool,
    state: State,
    /// Where the playhead is at `at`, in microseconds on the title's timeline; none: nobody said where to begin.
    position_us: Option<i64>,
    at: Instant,
    /// Media ahead that it takes to play, in microseconds.
    need_us: i64,
    /// Played and not told yet: microseconds, and their bitrate.
    played: (i64, u64),
}

// === impl Side ===

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Video, Self::Audio];
}

// === impl Deck ===

impl Deck {
    /// A picture that is waited for since then.
    pub(crate) fn new(since: Instant, why: Why, need: Duration) -> Self {
        Self {
            buffers: Default::default(),
            audio: false,
            state: State::Waiting { since, why },
            position_us: None,
            at: since,
            need_us: us(need),
            played: (0, 0),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Up to when time has passed.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    pub(crate) fn position_us(&self) -> Option<i64> {
        self.position_us
    }

    /// Whether sound comes on a track of its own. The picture then needs both.
    pub(crate) fn set_audio(&mut self, audio: bool) {
        self.audio = audio;
    }

    /// How much media ahead it takes to start, or to go on after a stall.
    pub(crate) fn set_need(&mut self, need_us: i64) {
        self.need_us = need_us.max(1);
    }

    pub(crate) fn end_us(&self, side: Side) -> Option<i64> {
        self.buffers[side as usize].end_us()
    }

    /// Media ahead of the playhead on a track, gaps included, in microseconds.
    pub(crate) fn ahead_us(&self, side: Side) -> i64 {
        let end_us = self.end_us(side).unwrap_or(i64::MIN);
        self.position_us.map_or(0, |position_us| end_us.saturating_sub(position_us).max(0))
    }

    /// From when on a track holds no more than `limit_us` ahead, or an earlier time if it always did; none: not as long as the
    /// picture stands still.
    pub(crate) fn room_at(&self, side: Side, limit_us: i64) -> Option<Instant> {
        let over_us = self.ahead_us(side) - limit_us;
        match self.state {
            State::Playing if over_us > 0 => Some(self.at + duration(over_us)),
            State::Playing => Some(self.at.checked_sub(duration(-over_us)).unwrap_or(self.at)),
            State::Waiting { since, .. } if over_us <= 0 => Some(since),
            State::Waiting { .. } | State::Ended { .. } => None,
        }
    }

    /// When the next thing happens by itself, if nothing comes: a stall or the end (a little after it, so that media that comes at
    /// that very instant is in time), or something to tell.
    pub(crate) fn next_change(&self) -> Option<Instant> {
        let position_us = self.position_us.filter(|_| self.state == State::Playing)?;
        let left_us = self.reach_us(position_us) - position_us + i64::from(!self.sealed());
        Some(self.at + duration(left_us.min(TELL_US - self.played.0)))
    }

    /// Lets time pass up to `now`.
    pub(crate) fn advance(&mut self, now: Instant, news: &mut Vec<Met>) {
        while let (State::Playing, Some(position_us)) = (self.state, self.position_us) {
            let span_us = us(now.saturating_duration_since(self.at));
            let left_us = self.reach_us(position_us) - position_us;
            let sealed = self.sealed();
            if span_us < left_us || (span_us == left_us && !sealed) {
                self.play(span_us, news);
                return;
            }
            self.play(left_us, news);
            if sealed {
                self.state = State::Ended { at: self.at };
                self.tell_played(news);
            } else if !self.jump(news) {
                self.state = State::Waiting { since: self.at, why: Why::Stall };
                self.tell_played(news);
                news.push(Met::StallBegan);
            }
        }
        self.at = self.at.max(now);
    }

    /// Adds what a track received, at that time.
    pub(crate) fn push(&mut self, side: Side, piece: Held, now: Instant, news: &mut Vec<Met>) {
        self.advance(now, news);
        waste(self.buffers[side as usize].push(piece), news);
        if let Some(position_us) = self.position_us {
            // What lies before the playhead was fetched to decode what follows it, and is not waste.
            self.skip(side as usize, position_us);
        }
        self.resume(news);
    }

    /// Nothing more comes on this track.
    pub(crate) fn seal(&mut self, side: Side, now: Instant, news: &mut Vec<Met>) {
        self.advance(now, news);
        self.buffers[side as usize].sealed = true;
        self.resume(news);
    }

    /// Puts the playhead somewhere, as at the beginning. It stands until there is enough.
    pub(crate) fn place(&mut self, position_us: i64) {
        self.position_us = Some(position_us);
    }

    /// Goes elsewhere on the viewer's wish. True: it plays on from what is held. False: nothing is held any more.
    pub(crate) fn seek(&mut self, to_us: i64, now: Instant, news: &mut Vec<Met>) -> bool {
        self.advance(now, news);
        let Some(position_us) = self.position_us else { return false };
        self.tell_played(news);
        self.end_stall(now, news);
        if !matches!(self.state, State::Waiting { why: Why::Arrival, .. }) {
            self.state = State::Waiting { since: now, why: Why::Action };
        }
        self.position_us = Some(to_us);
        let held = to_us >= position_us && self.reach_us(position_us) > to_us;
        for side in 0..self.buffers.len() {
            let wasted = if held { self.skip(side, to_us) } else { self.buffers[side].clear() };
            waste(wasted, news);
        }
        self.resume(news);
        held
    }

    /// Goes elsewhere because what comes next is gone: a stall, if it was playing.
    pub(crate) fn lose(&mut self, to_us: Option<i64>, now: Instant, news: &mut Vec<Met>) {
        self.advance(now, news);
        waste(self.buffers.iter_mut().map(Buffer::clear).sum(), news);
        if self.state == State::Playing {
            self.tell_played(news);
            self.state = State::Waiting { since: now, why: Why::Stall };
            news.push(Met::StallBegan);
        }
        self.position_us = to_us;
    }

    /// Stops for good: tells what was not told, and what is held is wasted.
    pub(crate) fn stop(&mut self, now: Instant, news: &mut Vec<Met>) {
        self.advance(now, news);
        self.tell_played(news);
        self.end_stall(now, news);
        waste(self.buffers.iter_mut().map(Buffer::clear).sum(), news);
        self.state = State::Ended { at: now };
    }

    /// Starts playing if there is enough.
    fn resume(&mut self, news: &mut Vec<Met>) {
        let State::Waiting { since, why } = self.state else { return };
        if self.position_us.is_none() {
            return;
        }
        while self.jump(news) {}
        let position_us = self.position_us.unwrap_or_default();
        let enough = |side: Side| {
            let buffer = &self.buffers[side as usize];
            let reach_us = buffer.reach_us(position_us);
            let blocked = reach_us > position_us && buffer.beyond_us(reach_us).is_some();
            buffer.sealed || blocked || reach_us - position_us >= self.need_us
        };
        if !self.sides().all(enough) {
            return;
        }
        let after = self.at.saturating_duration_since(since);
        news.push(match why {
            Why::Arrival => Met::Started { after, zapped: false },
            Why::Action => Met::Started { after, zapped: true },
            Why::Stall => Met::StallEnded { after },
        });
        self.state = State::Playing;
    }

    /// Goes over a gap at the playhead, if there is one that will not be filled.
    fn jump(&mut self, news: &mut Vec<Met>) -> bool {
        let Some(position_us) = self.position_us else { return false };
        let gap = |side: Side| {
            let buffer = &self.buffers[side as usize];
            buffer.beyond_us(position_us).filter(|_| buffer.reach_us(position_us) == position_us)
        };
        let Some(to_us) = self.sides().filter_map(gap).max() else { return false };
        for side in 0..self.buffers.len() {
            let wasted = self.skip(side, to_us);
            waste(wasted, news);
        }
        self.position_us = Some(to_us);
        true
    }

    /// Drops what lies before `to_us`; returns its bytes.
    fn skip(&mut self, side: usize, to_us: i64) -> u64 {
        let mut bytes = 0;
        self.buffers[side].take_to(to_us, |taken, _, _| bytes += taken);
        bytes
    }

    /// Plays so much of what is held.
    fn play(&mut self, span_us: i64, news: &mut Vec<Met>) {
        let to_us = self.position_us.unwrap_or_default() + span_us;
        let [video, audio] = &mut self.buffers;
        let played = &mut self.played;
        video.take_to(to_us, |_, mut span_us, bitrate| {
            if played.1 != bitrate {
                tell(played, news);
                played.1 = bitrate;
            }
            while played.0 + span_us >= TELL_US {
                span_us -= TELL_US - played.0;
                played.0 = TELL_US;
                tell(played, news);
            }
            played.0 += span_us;
        });
        audio.take_to(to_us, |_, _, _| {});
        self.position_us = Some(to_us);
        self.at += duration(span_us);
    }

    fn tell_played(&mut self, news: &mut Vec<Met>) {
        tell(&mut self.played, news);
    }

    fn end_stall(&mut self, now: Instant, news: &mut Vec<Met>) {
        if let State::Waiting { since, why: Why::Stall } = self.state {
            news.push(Met::StallEnded { after: now.saturating_duration_since(since) });
        }
    }

    fn sides(&self) -> impl Iterator<Item = Side> + use<> {
        Side::BOTH.into_iter().take(1 + usize::from(self.audio))
    }

    fn reach_us(&self, from_us: i64) -> i64 {
        let reach_us = |side: Side| {
            let buffer = &self.buffers[side as usize];
            let reach_us = buffer.reach_us(from_us);
            // A track that is over does not hold the other one up.
            if buffer.sealed && buffer.beyond_us(from_us).is_none() { None } else { Some(reach_us) }
        };
        let last_us = || self.sides().map(|side| self.buffers[side as usize].reach_us(from_us)).max();
        self.sides().filter_map(reach_us).min().or_else(last_us).unwrap_or(from_us)
    }

    /// Whether everything that will ever come is here, and without a gap.
    fn sealed(&self) -> bool {
        let from_us = self.position_us.unwrap_or_default();
        self.sides().all(|side| {
            let buffer = &self.buffers[side as usize];
            buffer.sealed && buffer.beyond_us(buffer.reach_us(from_us)).is_none()
        })
    }
}

fn tell((played_us, bitrate): &mut (i64, u64), news: &mut Vec<Met>) {
    if *played_us > 0 {
        news.push(Met::Played { media: duration(*played_us), bitrate: *bitrate });
    }
    *played_us = 0;
}

fn waste(bytes: u64, news: &mut Vec<Met>) {
    if bytes > 0 {
        news.push(Met::Wasted(bytes));
    }
}

/// Whole microseconds.
pub(crate) fn us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn duration(us: i64) -> Duration {
    Duration::from_micros(us.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests;
