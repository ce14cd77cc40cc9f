//! Playlists: the entry, the variant, and media playlists that are loaded again and again.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use super::{Flight, Player, Purpose, asking, list_slot, piece_slot};
use crate::fetch::{Exchange, Kind};
use crate::measure::Met;
use crate::scenario::Abr;
use crate::viewer::abr::{self, Situation};
use crate::viewer::deck::{Side, us};
use crate::viewer::live::{self, BACKWARD_MAX, Change, Cursor};
use crate::viewer::playlist::{Playlist, shared};
use crate::viewer::track::{Due, Loaded, TUNES_MAX, backoff};

impl Player {
    pub(super) fn plan_entry(&mut self, now: Instant) {
        let Some(due) = self.entry_due.filter(|due| due.at <= now && self.flights[0].is_none()) else {
            return;
        };
        self.entry_due = None;
        self.tell_late(due.at, due.set, now);
        let url = Rc::new(self.purse.entry(&self.entry));
        let flight =
            Flight { purpose: Purpose::Entry, kind: Kind::Multivariant, url, range: None, redirects: 0 };
        self.ask(0, flight, due.at, None);
    }

    pub(super) fn plan_list(&mut self, side: Side, now: Instant) {
        let slot = list_slot(side);
        let track = &mut self.tracks[side as usize];
        let Some(due) = track.reload.filter(|due| due.at <= now && self.flights[slot].is_none()) else {
            return;
        };
        let Some(url) = &track.url else { return };
        let blocking = match track.tune {
            Some(cursor) => Some((cursor, live::directives(cursor, true))),
            None => {
                track.current().filter(|_| !track.plain).and_then(|loaded| live::blocking(loaded.media()))
            }
        };
        let asked = blocking.as_ref().map(|(cursor, _)| *cursor);
        let url = match blocking {
            Some((_, directives)) => Rc::new(with_directives(url, &directives)),
            None => Rc::clone(url),
        };
        track.reload = None;
        self.tell_late(due.at, due.set, now);
        let kind = asking::list_kind(asked.is_some());
        let flight = Flight { purpose: Purpose::List { asked }, kind, url, range: None, redirects: 0 };
        self.ask(slot, flight, due.at, None);
    }

    /// The entry is there: a choice of variants, or a media playlist of its own.
    pub(super) fn entered(&mut self, url: &Rc<Url>, exchange: &Exchange, good: bool) {
        let end = exchange.end;
        let Some(playlist) = self.read(exchange, good) else {
            self.entry_failures += 1;
            self.entry_due = Some(Due { at: end + backoff(self.entry_failures), set: end });
            return;
        };
        self.entry_failures = 0;
        self.master = Some((Rc::clone(&playlist), Rc::clone(url)));
        let Some(multivariant) = playlist.multivariant() else {
            self.variant = Some(0);
            let track = &mut self.tracks[Side::Video as usize];
            track.aim(Rc::clone(url), end);
            track.unpin(end);
            track.reload = None;
            self.install(Side::Video, &playlist, url, exchange);
            return;
        };
        let last = multivariant.variants.len().saturating_sub(1);
        let variant = self.variant.take().map_or_else(|| self.choose(), |variant| variant.min(last));
        self.tune(variant, end);
    }

    /// A media playlist is there, or is not.
    pub(super) fn listed(
        &mut self,
        side: Side,
        asked: Option<Cursor>,
        url: &Rc<Url>,
        exchange: &Exchange,
        good: bool,
    ) {
        let read = self.read(exchange, good).filter(|playlist| playlist.media().is_some());
        let is_first = side == Side::Video && self.deck.position_us().is_none();
        let track = &mut self.tracks[side as usize];
        let again = Some(Due { at: exchange.end, set: exchange.end });
        let tuned = track.tune.take();
        let Some(playlist) = read else {
            if tuned.is_some() {
                // It had one, if an old one.
                (track.tunes, track.reload) = (TUNES_MAX, again);
                return;
            }
            track.list_failures += 1;
            // What cannot wait for the future may still know the present.
            track.plain = asked.is_some();
            track.reload = Some(Due { at: exchange.end + backoff(track.list_failures), set: exchange.end });
            return;
        };
        let media = playlist.media().filter(|_| is_first && track.tunes < TUNES_MAX);
        if let Some(lacks) = media.and_then(|media| live::tune_in(media, age(exchange))) {
            (track.tune, track.tunes, track.reload) = (Some(lacks), track.tunes + 1, again);
            return;
        }
        self.install(side, &playlist, url, exchange);
        self.pace(side, asked, exchange);
    }

    /// Another variant, from the next piece on.
    pub(super) fn tune(&mut self, variant: usize, now: Instant) {
        let Some((master, base)) = self.master.clone() else { return };
        let variants = master.multivariant().map_or(&[][..], |multivariant| &multivariant.variants);
        let Some(chosen) = variants.get(variant) else { return };
        let before = self.variant.and_then(|before| variants.get(before)).map(|before| before.bitrate);
        if let Some(from) = before.filter(|_| self.variant != Some(variant)) {
            self.news.push(Met::Switched { from, to: chosen.bitrate });
        }
        self.variant = Some(variant);
        self.deck.set_audio(chosen.audio.is_some());
        if let Some(session) = &self.session {
            session.audio_is_apart(chosen.audio.is_some());
        }
        self.aim(Side::Video, base.join(&chosen.uri).ok(), now);
        self.aim(Side::Audio, chosen.audio.as_ref().and_then(|uri| base.join(uri).ok()), now);
    }

    /// The variant that the viewer's rule chooses now.
    pub(super) fn choose(&self) -> usize {
        let Some((master, _)) = &self.master else { return 0 };
        let Some(multivariant) = master.multivariant() else { return 0 };
        let rates: Vec<u64> = multivariant.variants.iter().map(|variant| variant.peak).collect();
        let live_us =
            |media: &crate::viewer::playlist::Media| live::hold_back_us(media) - live::unit_us(media);
        let media = self.tracks[0].loaded.as_ref().map(|loaded| loaded.media()).filter(|media| !media.ended);
        let situation = Situation {
            rates: &rates,
            current: self.variant,
            ahead_us: self.deck.ahead_us(Side::Video),
            ahead_us_max: media.map_or(i64::MAX, live_us).min(self.limit_us()),
        };
        abr::choose(self.group().map_or(Abr::Throughput, |group| group.abr), &self.estimate, &situation)
    }

    /// Follows a playlist, or none.
    fn aim(&mut self, side: Side, url: Option<Url>, now: Instant) {
        let track = &mut self.tracks[side as usize];
        if url.is_some() && track.fresh && track.url.as_deref() == url.as_ref() {
            return;
        }
        track.unpin(now);
        let Some(url) = url else {
            (track.url, track.fresh, track.reload) = (None, false, None);
            self.give_up(list_slot(side));
            self.give_up(piece_slot(side));
            return;
        };
        track.aim(Rc::new(url), now);
        let kept = self.kept.iter().find(|(kept, _)| track.url.as_ref() == Some(kept));
        if let Some((_, loaded)) = kept {
            (track.loaded, track.fresh, track.reload) = (Some(loaded.clone()), true, None);
        }
        self.give_up(list_slot(side));
        self.give_up(piece_slot(side));
        self.pin(now);
    }

    /// The playlist of an answer.
    fn read(&mut self, exchange: &Exchange, good: bool) -> Option<Rc<Playlist>> {
        let read = good.then(|| shared::parse(&exchange.text))?;
        if read.is_err() {
            self.news.push(Met::BadPlaylist);
        }
        read.ok()
    }

    /// Takes a media playlist in place of the one before, unless it goes back.
    fn install(&mut self, side: Side, playlist: &Rc<Playlist>, url: &Rc<Url>, exchange: &Exchange) {
        let Some(media) = playlist.media() else { return };
        let end = exchange.end;
        let stands = self.waiting_since().is_some();
        // What could not be asked for before, can be from now on.
        let idle = self.piece_due(side).is_none();
        let track = &mut self.tracks[side as usize];
        track.list_failures = 0;
        let change = track.current().map_or(Change::Changed, |before| Change::between(before.media(), media));
        track.change = change;
        let mut anew = false;
        if change == Change::Backward {
            self.news.push(Met::BadPlaylist);
            track.backward += 1;
            anew = stands && track.backward >= BACKWARD_MAX;
            if !anew {
                return;
            }
        }
        if change != Change::Same {
            track.changed = exchange.due;
        }
        let origin_us = self.origin_us(side, media, anew);
        let ended = media.ended;
        let track = &mut self.tracks[side as usize];
        if idle {
            track.ready = track.ready.max(end);
        }
        track.loaded = Loaded::new(Rc::clone(playlist), Rc::clone(url), origin_us);
        (track.fresh, track.backward, track.plain) = (true, 0, false);
        if let (true, Some(loaded), Some(url)) = (ended, &track.loaded, &track.url)
            && !self.kept.iter().any(|(kept, _)| kept == url)
        {
            self.kept.push((Rc::clone(url), loaded.clone()));
        }
        if anew { self.lost(end) } else { self.pin(end) }
    }

    /// When the playlist is loaded again (section 6.3.4): at once if the server blocks, else a target duration after this time, or
    /// half of one if nothing had changed.
    fn pace(&mut self, side: Side, asked: Option<Cursor>, exchange: &Exchange) {
        let track = &mut self.tracks[side as usize];
        let Some(loaded) = track.current() else { return };
        let media = loaded.media();
        if media.ended {
            return;
        }
        let set = exchange.end;
        // A server that answers too early does not block, whatever it says: asking at once would be a loop.
        let kept = asked.is_none_or(|asked| live::has(media, asked)) && track.change != Change::Backward;
        let at = match live::blocking(media) {
            Some(_) if kept => set,
            _ => (exchange.due + live::pace(media, track.change)).max(set),
        };
        track.reload = Some(Due { at, set });
    }

    /// Where a playlist begins on the title's timeline: as before if it is the same rendition's; by its date if the title goes by
    /// dates; else by its sequence numbers.
    fn origin_us(&mut self, side: Side, media: &crate::viewer::playlist::Media, anew: bool) -> i64 {
        let track = &self.tracks[side as usize];
        let dated = *self.dated.get_or_insert(media.began_us.is_some());
        if let Some(before) = track.current().filter(|_| !anew) {
            return before.origin_of(media);
        }
        if let Some(began_us) = media.began_us.filter(|_| dated) {
            return began_us;
        }
        let other = &self.tracks[1 - side as usize];
        match track.loaded.as_ref().or(other.loaded.as_ref()) {
            Some(before) if anew => before.start_us(live::edge(before.media())),
            Some(before) => before.origin_of(media),
            None => 0,
        }
    }

    /// Puts playhead and tracks in their places, as far as these are known now.
    pub(super) fn pin(&mut self, now: Instant) {
        if let Some(loaded) = self.tracks[0].current() {
            let media = loaded.media();
            let wanted = self.group().map_or(0, |group| us(group.start_buffer.min(group.buffer)));
            let room_us =
                if media.ended { i64::MAX } else { live::hold_back_us(media) - live::unit_us(media) };
            let (need_us, begin_us) = (wanted.min(room_us.max(live::unit_us(media))), loaded.begin_us());
            self.deck.set_need(need_us);
            if self.deck.position_us().is_none() {
                self.deck.place(begin_us);
            }
        }
        let Some(position_us) = self.deck.position_us() else { return };
        for side in Side::BOTH {
            let place_us = self.deck.end_us(side).map_or(position_us, |end_us| end_us.max(position_us));
            let track = &mut self.tracks[side as usize];
            if track.cursor.is_none() {
                track.pin(place_us);
            }
            self.settle(side, now);
        }
    }

    /// What came next is gone: the viewer goes to where it would begin now.
    pub(super) fn lost(&mut self, now: Instant) {
        let begin_us = self.tracks[0].current().map(Loaded::begin_us);
        self.deck.lose(begin_us, now, &mut self.news);
        self.refetch(now);
    }
}

/// How old an answer is, as the caches on its way say (RFC 9111, section 5.1).
fn age(exchange: &Exchange) -> Duration {
    let age = exchange.headers.get(http::header::AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(age.unwrap_or(0))
}

/// Adds delivery directives to a URL; `_HLS_msn` stands before `_HLS_part`, as their order is to be (section 6.2.5).
fn with_directives(url: &Url, directives: &str) -> Url {
    let mut url = url.clone();
    let query = url.query().filter(|query| !query.is_empty()).map(|query| format!("{query}&{directives}"));
    url.set_query(Some(query.as_deref().unwrap_or(directives)));
    url
}
