//! One viewing of one title: which exchange is due when, and what its answer changes. It has no sockets, tasks or clock of its
//! own: [`super::flights`] sends what [`Player::plan`] asks for and brings the answers to [`Player::done`]; times come in. So a
//! viewer does the same whether its time is real or computed.
//!
//! Up to four exchanges are under way at once: a playlist and a piece of media for each of the two tracks.

mod abandon;
mod asking;
mod lists;
mod once;
mod pieces;

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use super::World;
use super::abr::Estimate;
use super::cmcd;
use super::deck::{Deck, Side, State, Why};
use super::live::Cursor;
use super::playlist::Playlist;
use super::purse::Purse;
use super::track::{Due, Loaded, Track};
use crate::fetch::{Exchange, Kind, Outcome};
use crate::measure::Met;
use crate::scenario::Group;

use abandon::Watch;
pub(crate) use asking::Ask;
use once::Once;

/// Exchanges of one viewer at a time.
pub(crate) const SLOTS: usize = 4;

/// The most redirects that are followed for one request.
const REDIRECTS_MAX: u8 = 5;

/// A viewer whose fresh token is refused too does not ask for another one before this has passed.
const REENTRY_MIN: Duration = Duration::from_secs(5);

/// What an exchange is for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Entry,
    /// A media playlist, and what it was asked to wait for.
    List {
        asked: Option<Cursor>,
    },
    /// An init segment, or a key.
    Once {
        digest: u64,
        is_key: bool,
    },
    Piece {
        after: Cursor,
        start_us: i64,
        duration_us: u32,
        bitrate: u64,
    },
    Hint {
        digest: u64,
    },
}

/// An exchange that is under way.
#[derive(Debug)]
struct Flight {
    purpose: Purpose,
    kind: Kind,
    /// As it stood in the playlist: without what is told in it.
    url: Rc<Url>,
    range: Option<(u64, Option<u64>)>,
    redirects: u8,
}

/// Who wants to see what, since when.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) viewer: u32,
    pub(crate) group: usize,
    /// As the portal gives it out, without a token.
    pub(crate) entry: Url,
    pub(crate) session: Option<Box<cmcd::Session>>,
    pub(crate) since: Instant,
    pub(crate) why: Why,
    /// What was learnt of the line before.
    pub(crate) estimate: Estimate,
}

#[derive(Debug)]
pub(crate) struct Player {
    world: Rc<World>,
    viewer: u32,
    group: usize,
    /// As the portal gives it out, without a token.
    entry: Rc<Url>,
    purse: Purse,
    session: Option<Box<cmcd::Session>>,
    /// What the entry was, and where it came from in the end; none: it is to be loaded.
    master: Option<(Rc<Playlist>, Rc<Url>)>,
    entry_due: Option<Due>,
    entry_failures: u32,
    /// When the last token was got in place of one that was refused.
    reentered: Option<Instant>,
    variant: Option<usize>,
    tracks: [Track; 2],
    deck: Deck,
    estimate: Estimate,
    /// Whether the timeline is that of the dates in the playlists; none: nothing is loaded.
    dated: Option<bool>,
    /// Ended playlists need not be loaded again when the viewer comes back to them.
    kept: Vec<(Rc<Url>, Loaded)>,
    /// What was fetched and is not fetched again.
    once: Once,
    flights: [Option<Flight>; SLOTS],
    /// Slots whose exchange is to be given up.
    given_up: [bool; SLOTS],
    /// The transfer that may be given up.
    watched: Option<Watch>,
    /// The next piece is of the rendition for which one was given up, whatever the rule says.
    stays_low: bool,
    /// Whether there was a stall since the last request.
    starved: bool,
    news: Vec<Met>,
    /// Not sent yet.
    asks: Vec<Ask>,
}

// === impl Player ===

impl Player {
    /// Somebody who begins to watch.
    pub(crate) fn new(world: &Rc<World>, wish: Wish) -> Self {
        let Wish { viewer, group, entry, session, since, why, estimate } = wish;
        let need = world.scenario.groups.get(group).map_or(Duration::ZERO, |g| g.start_buffer.min(g.buffer));
        let mut player = Self {
            world: Rc::clone(world),
            viewer,
            group,
            entry: Rc::new(entry),
            purse: Purse::empty(),
            session,
            master: None,
            entry_due: Some(Due { at: since, set: since }),
            entry_failures: 0,
            reentered: None,
            variant: None,
            tracks: [Track::new(since), Track::new(since)],
            deck: Deck::new(since, why, need),
            estimate,
            dated: None,
            kept: Vec::new(),
            once: Once::default(),
            flights: Default::default(),
            given_up: [false; SLOTS],
            watched: None,
            stays_low: false,
            starved: false,
            news: Vec::new(),
            asks: Vec::new(),
        };
        player.get_token(since);
        player
    }

    /// Lets time pass, and decides what is to be sent now.
    pub(crate) fn plan(&mut self, now: Instant) {
        self.deck.advance(now, &mut self.news);
        self.plan_look(now);
        self.plan_entry(now);
        for side in Side::BOTH {
            self.plan_list(side, now);
            self.plan_piece(side, now);
        }
    }

    /// When to plan again, if no answer comes before.
    pub(crate) fn wake(&self) -> Option<Instant> {
        let idle = |slot: usize| self.flights[slot].is_none();
        let entry = self.entry_due.filter(|_| idle(0)).map(|due| due.at);
        let lists = Side::BOTH.into_iter().filter(|side| idle(list_slot(*side)));
        let lists = lists.filter_map(|side| self.tracks[side as usize].reload.map(|due| due.at));
        let pieces = Side::BOTH.into_iter().filter_map(|side| self.piece_due(side));
        entry
            .into_iter()
            .chain(lists)
            .chain(pieces)
            .chain(self.deck.next_change())
            .chain(self.look_due())
            .min()
    }

    /// An answer is there.
    pub(crate) fn done(&mut self, slot: usize, exchange: &Exchange) {
        let Some(flight) = self.flights.get_mut(slot).and_then(Option::take) else { return };
        self.tell(&flight, exchange);
        if !exchange.headers.is_empty() {
            self.purse.take(&flight.url, &exchange.headers);
        }
        let status = exchange.status.map_or(0, |status| status.as_u16());
        let failed = matches!(exchange.outcome, Outcome::Failed(_));
        if !failed && (300..400).contains(&status) && self.follow(slot, &flight, exchange) {
            return;
        }
        // What was watched is over, unless it is elsewhere and watched there.
        self.watched.take_if(|_| slot == piece_slot(Side::Video));
        let good = !failed && (status == 200 || status == 206);
        if !failed && (status == 403 || status == 410) && self.enter_again(exchange.end) {
            return;
        }
        let side = side_of(slot);
        match flight.purpose {
            Purpose::Entry => self.entered(&flight.url, exchange, good),
            Purpose::List { asked } => self.listed(side, asked, &flight.url, exchange, good),
            Purpose::Once { .. } | Purpose::Piece { .. } | Purpose::Hint { .. } => {
                self.received(side, flight.purpose, exchange, good);
            }
        }
    }

    /// What is to be sent; asked once, after [`Player::take_given_up`].
    pub(crate) fn take_asks(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asks)
    }

    /// Slots whose exchanges are to be given up; asked once.
    pub(crate) fn take_given_up(&mut self) -> [bool; SLOTS] {
        std::mem::take(&mut self.given_up)
    }

    /// Goes to this share of the title, or of what of a live stream is still there. Nothing to go in yet: nothing happens.
    pub(crate) fn seek(&mut self, share: f64, now: Instant) {
        let Some(loaded) = self.tracks[0].current() else { return };
        let media = loaded.media();
        let (from_us, to_us) = match media.ended {
            true => (loaded.origin_us, loaded.origin_us + media.length_us(false)),
            false => (loaded.origin_us, loaded.begin_us()),
        };
        // To the millisecond, as timers have it.
        let to_us = from_us + ((to_us - from_us) as f64 / 1e3 * share.clamp(0.0, 1.0)) as i64 * 1_000;
        if self.deck.position_us().is_none() || self.deck.seek(to_us, now, &mut self.news) {
            return;
        }
        self.refetch(now);
    }

    /// Since when there is no picture, if there is none.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        match self.deck.state() {
            State::Waiting { since, .. } => Some(since),
            State::Playing | State::Ended { .. } => None,
        }
    }

    /// Whether there was a picture since the viewing began, or since the last seek.
    pub(crate) fn has_shown(&self) -> bool {
        !matches!(self.deck.state(), State::Waiting { why: Why::Arrival | Why::Action, .. })
    }

    /// When the title was over, if it is.
    pub(crate) fn ended_at(&self) -> Option<Instant> {
        match self.deck.state() {
            State::Ended { at } => Some(at),
            State::Playing | State::Waiting { .. } => None,
        }
    }

    /// Ends the viewing; returns what was learnt of the line.
    pub(crate) fn stop(&mut self, now: Instant) -> Estimate {
        self.deck.stop(now, &mut self.news);
        for slot in 0..SLOTS {
            self.give_up(slot);
        }
        for track in &mut self.tracks {
            if let Some(bytes) = track.hinted.take().and_then(|hinted| hinted.bytes) {
                self.news.push(Met::Wasted(bytes));
            }
        }
        std::mem::take(&mut self.estimate)
    }

    /// Tells the recorder what there is to tell.
    pub(crate) fn report(&mut self, now: Instant) {
        let behind = self.behind(now);
        for met in self.news.drain(..) {
            self.starved |= met == Met::StallBegan;
            self.world.met(self.viewer, met);
            if let (Met::Played { .. }, Some(behind)) = (met, behind) {
                self.world.met(self.viewer, Met::Behind(behind));
            }
        }
    }

    fn group(&self) -> Option<&Group> {
        self.world.scenario.groups.get(self.group)
    }

    /// The most that is held ahead, in microseconds.
    fn limit_us(&self) -> i64 {
        self.group().map_or(0, |group| super::deck::us(group.buffer))
    }

    /// How far the picture is behind: by the dates in the playlist, or else by the end of the playlist and its age.
    fn behind(&self, now: Instant) -> Option<Duration> {
        let loaded = self.tracks[0].loaded.as_ref().filter(|loaded| !loaded.media().ended)?;
        let position_us = self.deck.position_us().filter(|_| self.deck.state() == State::Playing)?;
        let edge_us = if self.dated == Some(true) {
            let wall = self.wall(now).duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
            super::deck::us(wall)
        } else {
            let age = now.saturating_duration_since(self.tracks[0].changed);
            let media = loaded.media();
            loaded.origin_us + media.length_us(media.low_latency()) + super::deck::us(age)
        };
        u64::try_from(edge_us - position_us).ok().map(Duration::from_micros)
    }

    fn wall(&self, now: Instant) -> std::time::SystemTime {
        self.world.wall_epoch + now.saturating_duration_since(self.world.epoch)
    }

    /// Fetches anew from where the playhead is.
    fn refetch(&mut self, now: Instant) {
        for side in Side::BOTH {
            self.tracks[side as usize].unpin(now);
            self.give_up(piece_slot(side));
        }
        self.pin(now);
    }

    fn give_up(&mut self, slot: usize) {
        self.given_up[slot] |= self.flights[slot].take().is_some();
        self.watched.take_if(|_| slot == piece_slot(Side::Video));
        self.asks.retain(|ask| ask.slot != slot);
    }

    fn get_token(&mut self, now: Instant) {
        if let (Some(mint), Some(token)) = (&self.world.mint, &self.world.scenario.token) {
            let issued = mint.issue(self.viewer, self.entry.path(), self.wall(now));
            self.purse = Purse::with(issued, token.carry);
        }
    }

    /// Gets another token and enters again, as a page does whose player is refused. What is held is played meanwhile.
    fn enter_again(&mut self, now: Instant) -> bool {
        let lately = self.reentered.is_some_and(|at| now.saturating_duration_since(at) < REENTRY_MIN);
        if self.world.mint.is_none() || lately {
            return false;
        }
        self.get_token(now);
        (self.reentered, self.master) = (Some(now), None);
        self.entry_due = Some(Due { at: now, set: now });
        self.kept.clear();
        (0..SLOTS).for_each(|slot| self.give_up(slot));
        for track in &mut self.tracks {
            (track.fresh, track.reload) = (false, None);
        }
        true
    }

    fn tell(&self, flight: &Flight, exchange: &Exchange) {
        let url = &flight.url;
        let recorder = &self.world.recorder;
        match url.query() {
            None => recorder.exchange(self.viewer, flight.kind, url.path(), exchange),
            Some(query) => {
                recorder.exchange(self.viewer, flight.kind, &format!("{}?{query}", url.path()), exchange);
            }
        }
    }
}

/// Slots: playlist of the picture (and the entry), of the sound; media of the picture, of the sound.
fn list_slot(side: Side) -> usize {
    side as usize
}

fn side_of(slot: usize) -> Side {
    if slot.is_multiple_of(2) { Side::Video } else { Side::Audio }
}

fn piece_slot(side: Side) -> usize {
    2 + side as usize
}
