//! How a request is made of what is wanted: the token's fields, what the player tells of itself, redirects.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::time::Instant;
use url::Url;

use super::{Flight, Player, Purpose, REDIRECTS_MAX, side_of};
use crate::fetch::{Body, Exchange, Kind, Progress};
use crate::measure::Met;
use crate::viewer::cmcd::Told;
use crate::viewer::deck::{Side, duration};
use crate::viewer::live::{self, Next};
use crate::viewer::playlist::PLAYLIST_BYTES_MAX;

/// A request that is to be sent.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) slot: usize,
    pub(crate) kind: Kind,
    pub(crate) url: Rc<Url>,
    pub(crate) range: Option<(u64, Option<u64>)>,
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
    pub(crate) due: Instant,
    pub(crate) body: Body,
    /// Where it is to be told how far it is.
    pub(crate) progress: Option<Rc<Cell<Progress>>>,
}

impl Player {
    /// Sends something; `length_us` is that of the media in it.
    pub(super) fn ask(&mut self, slot: usize, flight: Flight, due: Instant, length_us: Option<u32>) {
        let mut fields = Vec::new();
        self.purse.fields(&flight.url, &mut fields);
        let url = self.told(slot, &flight, length_us, &mut fields);
        let body = match flight.purpose {
            Purpose::Entry | Purpose::List { .. } => Body::Text { bytes_max: PLAYLIST_BYTES_MAX },
            Purpose::Once { .. } | Purpose::Piece { .. } | Purpose::Hint { .. } => Body::Media,
        };
        let (kind, range) = (flight.kind, flight.range);
        let ask = Ask { slot, kind, url, range, fields, due, body, progress: self.progress(slot) };
        self.flights[slot] = Some(flight);
        self.starved = false;
        self.asks.push(ask);
    }

    /// Tells how late a request is that a timer was to send.
    pub(super) fn tell_late(&mut self, due: Instant, set: Instant, now: Instant) {
        let interval = due.saturating_duration_since(set);
        if interval > Duration::ZERO {
            self.news.push(Met::Late { by: now.saturating_duration_since(due), interval });
        }
    }

    /// Goes where an answer says. False: it does not say, or says so too often.
    pub(super) fn follow(&mut self, slot: usize, flight: &Flight, exchange: &Exchange) -> bool {
        let location =
            exchange.headers.get(http::header::LOCATION).and_then(|location| location.to_str().ok());
        let url = location.and_then(|location| flight.url.join(location).ok());
        let Some(url) = url.filter(|url| flight.redirects < REDIRECTS_MAX && url.has_host()) else {
            return false;
        };
        let &Flight { purpose, kind, range, redirects, .. } = flight;
        let flight = Flight { purpose, kind, url: Rc::new(url), range, redirects: redirects + 1 };
        let length_us = match purpose {
            Purpose::Piece { duration_us, .. } => Some(duration_us),
            _ => None,
        };
        self.ask(slot, flight, exchange.end, length_us);
        true
    }

    /// The URL with what the player tells of itself, if it does.
    fn told(
        &self,
        slot: usize,
        flight: &Flight,
        length_us: Option<u32>,
        fields: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Rc<Url> {
        let Some(session) = &self.session else { return Rc::clone(&flight.url) };
        let side = side_of(slot);
        let variants = self.master.as_ref().and_then(|(master, _)| master.multivariant());
        let variants = variants.map(|multivariant| &*multivariant.variants);
        let chosen = self.variant.and_then(|variant| variants?.get(variant));
        let media = self.tracks[0].loaded.as_ref().map(|loaded| loaded.media());
        let next = self.after(side, flight);
        let told = Told {
            kind: flight.kind,
            bitrate: chosen.map_or(0, |variant| variant.bitrate),
            top_bitrate: variants.and_then(|variants| variants.last()).map_or(0, |variant| variant.bitrate),
            throughput: self.estimate.bits(),
            duration: length_us.map(|us| duration(i64::from(us))),
            buffer: duration(self.deck.ahead_us(side)),
            starved: self.starved,
            startup: self.waiting_since().is_some(),
            audio: side == Side::Audio,
            live: media.is_some_and(|media| !media.ended),
            low_latency: media.is_some_and(|media| media.low_latency()),
            next: next.as_deref(),
            behind: self.behind(self.deck.at()),
        };
        Rc::new(session.tell(&flight.url, &told, fields))
    }

    /// What comes after a piece, relative to it.
    fn after(&self, side: Side, flight: &Flight) -> Option<String> {
        let Purpose::Piece { after, .. } = flight.purpose else { return None };
        let loaded = self.tracks[side as usize].current()?;
        let (Next::Segment(resource, _) | Next::Part(resource, _)) = live::next(loaded.media(), after, false)
        else {
            return None;
        };
        let next = loaded.base.join(loaded.media().uri(resource)).ok()?;
        flight.url.make_relative(&next)
    }
}

/// The kind of a media playlist's load.
pub(super) fn list_kind(blocks: bool) -> Kind {
    if blocks { Kind::Reload } else { Kind::Playlist }
}
