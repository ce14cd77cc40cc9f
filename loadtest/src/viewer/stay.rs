//! One viewer's stay: title after title, with its zaps and seeks, until it leaves, is at the end, or gives up. It decides what is
//! watched and when that ends; how a title is played is [`super::player`]'s.

use std::rc::Rc;
use std::time::Duration;

use rand_pcg::Pcg64Mcg;
use tokio::time::Instant;
use url::Url;

use super::abr::Estimate;
use super::cmcd;
use super::deck::Why;
use super::player::{Ask, Player, SLOTS, Wish};
use super::whims::{Whim, sequence};
use super::{Target, World};
use crate::fetch::{Exchange, GivenUp, Kind};
use crate::measure::Met;
use crate::scenario::audience::Ticket;

/// How long a viewer looks at a picture that does not come, or does not go on. Before its first picture a zap or a seek does not
/// begin that anew.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a viewer that zaps chooses again, if it chose what it has.
const CHOICES_MAX: usize = 8;

/// Kinds of random sequences.
const SEEKS: u64 = 1;
const ZAPS: u64 = 2;
const ZAP_TITLES: u64 = 3;
const NEXT_TITLES: u64 = 4;

#[derive(Debug)]
pub(crate) struct Stay {
    world: Rc<World>,
    ticket: Ticket,
    /// None: it has left.
    player: Option<Player>,
    title: usize,
    /// Titles so far; each is a session of its own.
    titles: u64,
    seeks: Whim,
    zaps: Whim,
    zap_titles: Pcg64Mcg,
    next_titles: Pcg64Mcg,
    leaves: Instant,
    /// Since when it has had no picture at all; none: it has seen one.
    in_the_dark: Option<Instant>,
    /// Exchanges to be given up that belonged to the title before.
    given_up: [bool; SLOTS],
}

/// What happens next by itself.
#[derive(Clone, Copy, Debug)]
enum Act {
    Leave,
    GiveUp,
    Zap,
    Seek,
}

// === impl Stay ===

impl Stay {
    /// A viewer that comes now, or should have come then.
    pub(crate) fn new(world: Rc<World>, ticket: Ticket, arrived: Instant) -> Self {
        let group = world.scenario.groups.get(ticket.group);
        let (seek_every, zap_every) = group.map_or((None, None), |group| (group.seek_every, group.zap_every));
        let end = world.epoch + world.scenario.duration;
        let leaves =
            ticket.stays.and_then(|stays| arrived.checked_add(stays)).map_or(end, |leaves| leaves.min(end));
        let seed = ticket.seed;
        let mut stay = Self {
            player: None,
            title: ticket.title,
            titles: 0,
            seeks: Whim::new(seed, SEEKS, seek_every, arrived),
            zaps: Whim::new(seed, ZAPS, zap_every, arrived),
            zap_titles: sequence(seed, ZAP_TITLES),
            next_titles: sequence(seed, NEXT_TITLES),
            leaves,
            in_the_dark: Some(arrived),
            given_up: [false; SLOTS],
            world,
            ticket,
        };
        stay.met(Met::Arrived);
        stay.player = stay.sit(arrived, Why::Arrival, Estimate::default());
        stay
    }

    /// Does everything that is due; false: the viewer has left.
    pub(crate) fn step(&mut self, now: Instant) -> bool {
        while let Some((at, act)) = self.next_act().filter(|(at, _)| *at <= now) {
            self.report(at);
            self.act(at, act);
            if self.player.is_none() {
                return false;
            }
        }
        while let Some(player) = &mut self.player {
            player.plan(now);
            let Some(ended) = player.ended_at() else { break };
            self.next_title(ended);
        }
        self.report(now);
        self.player.is_some()
    }

    /// An answer is there.
    pub(crate) fn done(&mut self, slot: usize, exchange: &Exchange) {
        if let Some(player) = &mut self.player {
            player.done(slot, exchange);
        }
        self.report(exchange.end);
    }

    /// When to do the next step.
    pub(crate) fn wake(&self) -> Instant {
        let player = self.player.as_ref().and_then(Player::wake);
        let act = self.next_act().map(|(at, _)| at);
        player.into_iter().chain(act).min().unwrap_or(self.leaves)
    }

    /// Slots whose exchanges are to be given up; asked once.
    pub(crate) fn take_given_up(&mut self) -> [bool; SLOTS] {
        let mut slots = std::mem::take(&mut self.given_up);
        let now = self.player.as_mut().map(Player::take_given_up).unwrap_or_default();
        slots.iter_mut().zip(now).for_each(|(slot, now)| *slot |= now);
        slots
    }

    /// What is to be sent; asked once, after [`Stay::take_given_up`].
    pub(crate) fn take_asks(&mut self) -> Vec<Ask> {
        self.player.as_mut().map(Player::take_asks).unwrap_or_default()
    }

    /// Exchanges were given up, as it was asked.
    pub(crate) fn gave_up(&self, exchanges: &[(Kind, GivenUp)]) {
        for (kind, given_up) in exchanges {
            self.world.recorder.gave_up(*kind, given_up);
        }
        let bytes = exchanges.iter().map(|(_, given_up)| given_up.bytes).sum();
        if bytes > 0 {
            self.met(Met::Wasted(bytes));
        }
    }

    /// Tells the recorder.
    pub(crate) fn met(&self, met: Met) {
        self.world.met(self.ticket.viewer, met);
    }

    fn next_act(&self) -> Option<(Instant, Act)> {
        let waiting = self.player.as_ref()?.waiting_since();
        let waiting = waiting.map(|since| (self.in_the_dark.unwrap_or(since) + PATIENCE, Act::GiveUp));
        let zap = self.zaps.next().map(|at| (at, Act::Zap));
        let seek = self.seeks.next().map(|at| (at, Act::Seek));
        let acts = [Some((self.leaves, Act::Leave)), waiting, zap, seek];
        acts.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn act(&mut self, at: Instant, act: Act) {
        match act {
            Act::Leave => drop(self.stand_up(at)),
            Act::GiveUp => {
                self.stand_up(at);
                self.met(Met::GaveUp);
            }
            Act::Seek => {
                let share = self.seeks.take();
                if let Some(player) = &mut self.player {
                    player.seek(share, at);
                }
            }
            Act::Zap => {
                self.zaps.take();
                let estimate = self.stand_up(at);
                self.title = self.another();
                self.player = self.sit(at, Why::Action, estimate);
            }
        }
    }

    /// The title is over: the next one, if the viewer stays for longer than a title.
    fn next_title(&mut self, at: Instant) {
        let estimate = self.stand_up(at);
        if self.ticket.stays.is_none() {
            return;
        }
        let group = self.world.scenario.groups.get(self.ticket.group);
        if let (Some(group), Target::Server(_)) = (group, &self.world.target) {
            self.title = self.world.catalogue.choose(group, &mut self.next_titles);
        }
        self.player = self.sit(at, Why::Action, estimate);
    }

    /// Ends what is watched.
    fn stand_up(&mut self, at: Instant) -> Estimate {
        let Some(mut player) = self.player.take() else { return Estimate::default() };
        let estimate = player.stop(at);
        let slots = player.take_given_up();
        self.given_up.iter_mut().zip(slots).for_each(|(slot, now)| *slot |= now);
        player.report(at);
        estimate
    }

    /// Begins to watch the title.
    fn sit(&mut self, at: Instant, why: Why, estimate: Estimate) -> Option<Player> {
        let entry = self.entry()?;
        self.titles += 1;
        let group = self.world.scenario.groups.get(self.ticket.group);
        let session = group.and_then(|group| group.cmcd).map(|cmcd| {
            let seed = self.ticket.seed.wrapping_add(self.titles);
            Box::new(cmcd::Session::new(cmcd, seed, entry.path()))
        });
        let (viewer, group) = (self.ticket.viewer, self.ticket.group);
        let wish = Wish { viewer, group, entry, session, since: at, why, estimate };
        Some(Player::new(&self.world, wish))
    }

    fn entry(&self) -> Option<Url> {
        match &self.world.target {
            Target::Stream(url) => Some(url.clone()),
            Target::Server(server) => server.join(&self.world.catalogue.titles.get(self.title)?.entry).ok(),
        }
    }

    /// Another title than the one that is watched, if there is one.
    fn another(&mut self) -> usize {
        let Some(group) = self.world.scenario.groups.get(self.ticket.group) else { return self.title };
        if matches!(self.world.target, Target::Stream(_)) {
            return self.title;
        }
        let mut choices = (0..CHOICES_MAX).map(|_| self.world.catalogue.choose(group, &mut self.zap_titles));
        choices.find(|title| *title != self.title).unwrap_or(self.title)
    }

    fn report(&mut self, now: Instant) {
        if let Some(player) = &mut self.player {
            player.report(now);
            if player.has_shown() {
                self.in_the_dark = None;
            }
        }
    }
}
