//! Media: which piece is due when, and what its answer does to the picture.

use std::rc::Rc;

use tokio::time::Instant;
use url::Url;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Flight, Player, Purpose, piece_slot};
use crate::fetch::{Exchange, Kind, Outcome};
use crate::measure::Met;
use crate::viewer::buffer::Held;
use crate::viewer::deck::Side;
use crate::viewer::live::{self, Cursor, Next};
use crate::viewer::playlist::Resource;
use crate::viewer::track::{Hinted, Loaded, TRIES_MAX, backoff};

/// What comes next on a track, made out.
enum Wanted {
    /// Nothing to fetch: goes on behind it.
    Skip(Cursor),
    Fetch(Flight, Option<u32>),
}

impl Player {
    /// When the next piece of a track is to be asked for; none: not before something else happens.
    pub(super) fn piece_due(&self, side: Side) -> Option<Instant> {
        let track = &self.tracks[side as usize];
        if self.flights[piece_slot(side)].is_some() {
            return None;
        }
        let (loaded, cursor, next) = track.next()?;
        match next {
            Next::Segment(..) | Next::Part(..) | Next::Gap(..) => {}
            Next::Hint(hint) => {
                let digest = locate(loaded, hint).map(|(_, digest)| digest);
                if track.hinted.map(|hinted| hinted.digest) == digest {
                    return None;
                }
            }
            Next::Wait | Next::Gone | Next::End => return None,
        }
        if self.key_is_coming(side, loaded, cursor) {
            return None;
        }
        let room = self.deck.room_at(side, self.limit_us())?.max(track.ready);
        Some(track.retry.map_or(room, |retry| room.max(retry)))
    }

    pub(super) fn plan_piece(&mut self, side: Side, now: Instant) {
        let mut chosen = side == Side::Audio || self.stays_low;
        while let Some(due) = self.piece_due(side).filter(|due| *due <= now) {
            let at_start = self.tracks[side as usize].next().is_some_and(|(_, cursor, _)| cursor.part == 0);
            if !std::mem::replace(&mut chosen, true) && at_start {
                let variant = self.choose();
                if self.variant.is_some_and(|current| current != variant) {
                    self.tune(variant, due);
                    continue;
                }
            }
            match self.wanted(side) {
                Some(Wanted::Skip(after)) => {
                    self.tracks[side as usize].go_to(after);
                    self.settle(side, now);
                }
                Some(Wanted::Fetch(flight, length_us)) => {
                    self.tell_late(due, self.tracks[side as usize].ready, now);
                    self.watch(side, &flight, due);
                    self.ask(piece_slot(side), flight, due, length_us);
                }
                None => return,
            }
        }
    }

    /// Media is there, or is not.
    pub(super) fn received(&mut self, side: Side, purpose: Purpose, exchange: &Exchange, good: bool) {
        let end = exchange.end;
        self.tracks[side as usize].ready = end;
        if let Purpose::Once { is_key: true, .. } = purpose {
            // The other one may have waited for it.
            let other = &mut self.tracks[1 - side as usize];
            other.ready = other.ready.max(end);
        }
        self.stays_low &= side == Side::Audio || !matches!(purpose, Purpose::Piece { .. });
        if !good {
            return self.missed(side, purpose, exchange);
        }
        self.sample(side, purpose, exchange);
        match purpose {
            Purpose::Once { digest, is_key } => {
                if is_key {
                    self.once.keys.add(digest);
                } else {
                    self.once.inits.add(digest);
                }
                self.tracks[side as usize].failures = 0;
            }
            Purpose::Piece { after, start_us, duration_us, bitrate, .. } => {
                self.tracks[side as usize].go_to(after);
                self.hold(side, start_us, duration_us, bitrate, exchange.bytes, end);
            }
            Purpose::Hint { digest } => {
                self.tracks[side as usize].hinted = Some(Hinted { digest, bytes: Some(exchange.bytes) });
            }
            Purpose::Entry | Purpose::List { .. } => {}
        }
        self.settle(side, end);
    }

    /// Looks at what a track has come to: a hinted part that is listed now, the end of the title, or a place that is gone.
    pub(super) fn settle(&mut self, side: Side, now: Instant) {
        self.settle_hint(side, now);
        match self.tracks[side as usize].next() {
            Some((_, _, Next::End)) => self.deck.seal(side, now, &mut self.news),
            Some((_, _, Next::Gone)) => self.lost(now),
            _ => {}
        }
    }

    /// A part that came by its hint is taken as soon as the playlist says how long it is, or wasted if it says something else.
    fn settle_hint(&mut self, side: Side, now: Instant) {
        let track = &self.tracks[side as usize];
        let (Some(hinted), Some((loaded, cursor, next))) = (track.hinted, track.next()) else { return };
        let (resource, duration_us) = match next {
            Next::Part(resource, duration_us) => (Some(resource), Some(duration_us)),
            Next::Hint(resource) => (Some(resource), None),
            _ => (None, None),
        };
        let same =
            resource.and_then(|resource| locate(loaded, resource)).is_some_and(|(_, d)| d == hinted.digest);
        match (hinted.bytes, duration_us) {
            _ if next == Next::Wait => {}
            (_, None) if same => {}
            (Some(bytes), Some(duration_us)) if same => {
                let start_us = loaded.start_us(cursor);
                self.tracks[side as usize].go_to(Cursor { part: cursor.part + 1, ..cursor });
                self.hold(side, start_us, duration_us, self.bitrate(), bytes, now);
            }
            (bytes, _) => {
                self.tracks[side as usize].hinted = None;
                self.news.extend(bytes.map(Met::Wasted));
            }
        }
    }

    /// What is to be fetched for the next piece: itself, or its key or init segment first.
    fn wanted(&mut self, side: Side) -> Option<Wanted> {
        let (loaded, cursor, next) = self.tracks[side as usize].next()?;
        let (resource, duration_us, kind) = match next {
            Next::Segment(resource, duration_us) => (resource, Some(duration_us), Kind::Segment),
            Next::Part(resource, duration_us) => (resource, Some(duration_us), Kind::Part),
            Next::Hint(resource) => (resource, None, Kind::Part),
            Next::Gap(after, _) => return Some(Wanted::Skip(after)),
            Next::Wait | Next::Gone | Next::End => return None,
        };
        let flight =
            |url, range, kind, purpose| Flight { purpose, kind, url: Rc::new(url), range, redirects: 0 };
        let key = self.key(loaded, cursor);
        if let Some((url, digest)) = key.filter(|(_, digest)| !self.once.keys.uses(*digest)) {
            let purpose = Purpose::Once { digest, is_key: true };
            return Some(Wanted::Fetch(flight(url, None, Kind::Key, purpose), None));
        }
        if let Some(map) = loaded.media().map(cursor.msn)
            && let Some((url, digest)) =
                locate(loaded, map).filter(|(_, digest)| !self.once.inits.uses(*digest))
        {
            return Some(Wanted::Fetch(
                flight(url, map.range(), Kind::Init, Purpose::Once { digest, is_key: false }),
                None,
            ));
        }
        let after = match kind {
            Kind::Segment => live::after_segment(cursor),
            _ => Cursor { part: cursor.part + 1, ..cursor },
        };
        let Some((url, digest)) = locate(loaded, resource) else { return Some(Wanted::Skip(after)) };
        let purpose = match duration_us {
            Some(duration_us) => {
                let whole = Cursor { part: 0, ..cursor };
                let start_us = loaded.start_us(if kind == Kind::Segment { whole } else { cursor });
                Purpose::Piece { after, start_us, duration_us, bitrate: self.bitrate() }
            }
            None => Purpose::Hint { digest },
        };
        Some(Wanted::Fetch(flight(url, resource.range(), kind, purpose), duration_us))
    }

    /// The key that has to be there before what comes here, if there is one.
    fn key(&self, loaded: &Loaded, cursor: Cursor) -> Option<(Url, u64)> {
        let key = loaded.media().key(cursor.msn).filter(|_| self.group().is_some_and(|group| group.keys))?;
        // Others are not fetched but known already (`data:`), or a DRM's.
        locate(loaded, key).filter(|(url, _)| matches!(url.scheme(), "http" | "https"))
    }

    /// Whether the key that a track lacks is under way for the other one, and waited for.
    fn key_is_coming(&self, side: Side, loaded: &Loaded, cursor: Cursor) -> bool {
        let other = if side == Side::Video { Side::Audio } else { Side::Video };
        let flight = self.flights[piece_slot(other)].as_ref();
        let Some(Purpose::Once { digest: coming, is_key: true }) = flight.map(|flight| flight.purpose) else {
            return false;
        };
        self.key(loaded, cursor).is_some_and(|(_, digest)| digest == coming)
    }

    /// What could not be had is tried again after a while, and left out after some tries.
    fn missed(&mut self, side: Side, purpose: Purpose, exchange: &Exchange) {
        let end = exchange.end;
        if matches!(exchange.outcome, Outcome::Failed(_)) && exchange.bytes > 0 {
            self.news.push(Met::Wasted(exchange.bytes));
        }
        let track = &mut self.tracks[side as usize];
        if let Purpose::Hint { digest } = purpose {
            // The playlist will say where the part is.
            track.hinted = Some(Hinted { digest, bytes: None });
            return self.settle(side, end);
        }
        track.failures += 1;
        if track.failures < TRIES_MAX {
            track.retry = Some(end + backoff(track.failures));
            return;
        }
        let after = match (purpose, track.next()) {
            (Purpose::Piece { after, .. }, _) => Some(after),
            (_, Some((_, cursor, _))) => Some(live::after_segment(cursor)),
            _ => None,
        };
        if let Some(after) = after {
            track.go_to(after);
        }
        self.settle(side, end);
    }

    /// Gives a piece to the deck.
    fn hold(&mut self, side: Side, start_us: i64, duration_us: u32, bitrate: u64, bytes: u64, at: Instant) {
        let bitrate = match bitrate {
            0 => bytes.saturating_mul(8_000_000) / u64::from(duration_us.max(1)),
            declared => declared,
        };
        let piece = Held { start_us, end_us: start_us + i64::from(duration_us), bytes, bitrate };
        self.deck.push(side, piece, at, &mut self.news);
    }

    /// Of the variant that is played, in bits per second; 0: nobody says.
    fn bitrate(&self) -> u64 {
        let multivariant = self.master.as_ref().and_then(|(master, _)| master.multivariant());
        let variant = self.variant.and_then(|variant| multivariant?.variants.get(variant));
        variant.map_or(0, |variant| variant.bitrate)
    }

    /// What a transfer says of the line. A part may be held back until it is there: only its body counts.
    fn sample(&mut self, side: Side, purpose: Purpose, exchange: &Exchange) {
        let from = match purpose {
            Purpose::Hint { .. } => exchange.first_byte.unwrap_or(exchange.sent),
            _ => exchange.sent,
        };
        if side == Side::Video {
            self.estimate.sample(exchange.bytes, exchange.end.saturating_duration_since(from));
        }
    }
}

/// The URL of a resource, and a digest of it and its range.
fn locate(loaded: &Loaded, resource: &Resource) -> Option<(Url, u64)> {
    let url = loaded.base.join(loaded.media().uri(resource)).ok()?;
    let digest = digest(&url, resource.range());
    Some((url, digest))
}

fn digest(url: &Url, range: Option<(u64, Option<u64>)>) -> u64 {
    let seed = range.map_or(0, |(first, last)| first.rotate_left(32) ^ last.unwrap_or(1) ^ 1);
    xxh3_64_with_seed(url.as_str().as_bytes(), seed)
}
