//! What was met in one interval, by the viewers of one thread or, merged, of all threads and processes.
//!
//! Counts and distributions of the interval, and by how much the numbers of viewers in each state changed in it: changes can be
//! added up whenever they come, so a late or a doubled drain of one thread puts nothing wrong. Filled by [`super::Recorder`],
//! sent as JSON by those who join a run, read by [`super::Chronicle`]. Its size is bounded: by the kinds and the words that
//! there are, the digits of a distribution, and the viewers that stand still.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::spread::Spread;
use super::{Met, State};
use crate::fetch::{Cache, Exchange, GivenUp, Kind, Outcome};
use crate::scenario::adjust::DURATION_MAX;
use crate::scenario::file::rules::VIEWERS_MAX;

/// Failures that are kept word for word in one book, and of these of one kind; further ones are counted.
const EXAMPLES_MAX: usize = 12;
const EXAMPLES_OF_WORD_MAX: usize = 3;

/// Bytes of a path in an example; the rest is cut off.
const EXAMPLE_PATH_BYTES_MAX: usize = 160;

/// Words of errors that one book tells apart, at most: there is one for each failure, and one for each status from 400 to 599.
/// Further ones are counted as [`OTHER`].
const WORDS_MAX: usize = 256;

/// The longest word of an error, and the longest example (a word, a path that was cut, and a viewer), in bytes.
const WORD_BYTES_MAX: usize = 32;
const EXAMPLE_BYTES_MAX: usize = WORD_BYTES_MAX + EXAMPLE_PATH_BYTES_MAX + 48;

/// The word of errors beyond [`WORDS_MAX`] words.
const OTHER: &str = "other";

/// A timer that is shorter counts as one of this length. A player does something about once for each part or segment, so this is
/// the pace that lateness disturbs; against what is left of a wait, it would be a measure of how short that is: the runtime's timers
/// go by milliseconds, and one of 20 ms is up to 5 % late on an idle machine.
pub(super) const TIMER_MIN: Duration = Duration::from_millis(500);

/// Lateness is recorded in parts per million of the timer's time.
pub(super) const PER_MILLION: f64 = 1e6;

/// One interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Book {
    pub(super) changes: Changes,
    pub(super) arrived: u64,
    pub(super) left: u64,
    pub(super) gave_up: u64,
    /// From arrival to the first picture, of those that got one, whether they zapped meanwhile or not.
    pub(super) starts: Spread,
    /// From a zap or a seek to the picture, of those that had had one before.
    pub(super) zaps: Spread,
    /// From arrival to giving up, of those that never got one.
    pub(super) in_vain: Spread,
    /// From arrival to leaving for another reason, of those that had none until then.
    pub(super) left_waiting: Spread,
    /// Since arrival, of those that have none at the end of the interval.
    pub(super) waiting: Spread,
    /// Stalls that began.
    pub(super) stalls: u64,
    /// Viewers whose picture stood still for some of the interval: numbers in order, each once (within one thread).
    pub(super) stalling: Vec<u32>,
    pub(super) stalled_time: Duration,
    pub(super) played_time: Duration,
    /// Played time by its bitrate.
    pub(super) played_bits: u64,
    pub(super) behind: Spread,
    pub(super) switches: u64,
    /// Segments that were given up for a lower rendition.
    pub(super) abandoned: u64,
    pub(super) wasted_bytes: u64,
    pub(super) bad_playlists: u64,
    /// By how much timers were late, in parts per million of their time, or of [`TIMER_MIN`] if that is longer.
    pub(super) late: Spread,
    pub(super) cells: Vec<Cell>,
    pub(super) connections: u64,
    pub(super) mismatches: u64,
    /// By word: `connect`, `short`, ..., `status-503`.
    pub(super) errors: BTreeMap<String, u64>,
    /// Some of the failures and wrong bodies: the word, the path, and who met it.
    pub(super) examples: Vec<String>,
}

/// By how much the numbers of viewers changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Changes {
    pub(super) there: i64,
    pub(super) starting: i64,
    pub(super) stalled: i64,
}

/// Exchanges of one kind that one cache word came with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cell {
    #[serde(serialize_with = "write_kind", deserialize_with = "read_kind")]
    pub(super) kind: Kind,
    #[serde(serialize_with = "write_cache", deserialize_with = "read_cache")]
    pub(super) cache: Cache,
    /// Those that were given up are among them.
    pub(super) requests: u64,
    /// With what had come of those.
    pub(super) bytes: u64,
    /// From the time a request was due to the head of its answer.
    pub(super) ttfb: Spread,
    /// From the time a request was due to the end of its body, where the body came whole and was what was asked for.
    pub(super) whole: Spread,
}

// === impl Book ===

impl Book {
    /// An exchange is over.
    pub(super) fn exchange(&mut self, viewer: u32, kind: Kind, path: &str, exchange: &Exchange) {
        let &Exchange { due, first_byte, cache, bytes, connected, .. } = exchange;
        let cell = self.asked(kind, GivenUp { due, first_byte, cache, bytes, connected });
        let is_success = exchange.status.is_some_and(|status| status.is_success());
        if is_success && !matches!(exchange.outcome, Outcome::Failed(_)) {
            cell.whole.record_time(exchange.end.saturating_duration_since(exchange.due));
        }
        if exchange.outcome == Outcome::Mismatch {
            self.mismatches += 1;
            self.example("mismatch", path, viewer);
        }
        if let Some(word) = error_word(exchange) {
            self.example(&word, path, viewer);
            *self.errors.entry(word).or_default() += 1;
        }
    }

    /// An exchange was given up: it counts as asked for, with what came of it, and is neither whole nor an error.
    pub(super) fn gave_up_exchange(&mut self, kind: Kind, given_up: &GivenUp) {
        self.asked(kind, *given_up);
    }

    /// Something that is only counted.
    pub(super) fn count(&mut self, met: Met) {
        match met {
            Met::Switched { .. } => self.switches += 1,
            Met::Abandoned => self.abandoned += 1,
            Met::Behind(behind) => self.behind.record_time(behind),
            Met::Played { media, bitrate } => {
                self.played_time += media;
                self.played_bits += (media.as_secs_f64() * bitrate as f64) as u64;
            }
            Met::Wasted(bytes) => self.wasted_bytes += bytes,
            // A timer of no time cannot be late by a share of it.
            Met::Late { by, interval } if !interval.is_zero() => {
                self.late
                    .record((by.as_secs_f64() / interval.max(TIMER_MIN).as_secs_f64() * PER_MILLION) as u64);
            }
            Met::BadPlaylist => self.bad_playlists += 1,
            // What changes how a viewer is, the recorder looks after.
            _ => {}
        }
    }

    /// Takes over what another thread or process has, or what came later.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.changes.merge(other.changes);
        for (ours, theirs) in [
            (&mut self.arrived, other.arrived),
            (&mut self.left, other.left),
            (&mut self.gave_up, other.gave_up),
            (&mut self.stalls, other.stalls),
            (&mut self.played_bits, other.played_bits),
            (&mut self.switches, other.switches),
            (&mut self.abandoned, other.abandoned),
            (&mut self.wasted_bytes, other.wasted_bytes),
            (&mut self.bad_playlists, other.bad_playlists),
            (&mut self.connections, other.connections),
            (&mut self.mismatches, other.mismatches),
        ] {
            *ours = ours.saturating_add(theirs);
        }
        for (ours, theirs) in [
            (&mut self.starts, &other.starts),
            (&mut self.zaps, &other.zaps),
            (&mut self.in_vain, &other.in_vain),
            (&mut self.left_waiting, &other.left_waiting),
            (&mut self.waiting, &other.waiting),
            (&mut self.behind, &other.behind),
            (&mut self.late, &other.late),
        ] {
            ours.merge(theirs);
        }
        self.stalling.extend(&other.stalling);
        self.stalled_time = self.stalled_time.saturating_add(other.stalled_time);
        self.played_time = self.played_time.saturating_add(other.played_time);
        for cell in &other.cells {
            self.cell(cell.kind, cell.cache).merge(cell);
        }
        for (word, count) in &other.errors {
            let is_known = self.errors.len() < WORDS_MAX || self.errors.contains_key(word);
            let word = if is_known { word.as_str() } else { OTHER };
            let ours = self.errors.entry(word.to_owned()).or_default();
            *ours = ours.saturating_add(*count);
        }
        for example in &other.examples {
            if self.has_room_for(example.split(' ').next().unwrap_or_default()) {
                self.examples.push(example.clone());
            }
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.cells.iter().fold(0, |sum, cell| sum.saturating_add(cell.requests))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.cells.iter().fold(0, |sum, cell| sum.saturating_add(cell.bytes))
    }

    /// Requests, and bytes, that the cache answered without the origin.
    pub(super) fn hits(&self) -> (u64, u64) {
        let hits = self.cells.iter().filter(|cell| cell.cache.is_hit());
        hits.fold((0, 0), |sum, cell| (sum.0.saturating_add(cell.requests), sum.1.saturating_add(cell.bytes)))
    }

    pub(super) fn errors_count(&self) -> u64 {
        self.errors.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Whether this can be what a program met in a second of a run: an error says what cannot. For books that come from elsewhere.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.errors.len() <= WORDS_MAX, "{} words of errors, over {WORDS_MAX}", self.errors.len());
        let is_word = |word: &str| {
            (1..=WORD_BYTES_MAX).contains(&word.len())
                && word.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        };
        ensure!(
            self.errors.keys().all(|word| is_word(word)),
            "a word of an error that is over {WORD_BYTES_MAX} bytes, or no word"
        );
        ensure!(self.examples.len() <= EXAMPLES_MAX, "{} examples, over {EXAMPLES_MAX}", self.examples.len());
        ensure!(
            self.examples.iter().all(|one| one.len() <= EXAMPLE_BYTES_MAX && !one.contains(char::is_control)),
            "an example that is over {EXAMPLE_BYTES_MAX} bytes, or has control characters"
        );
        ensure!(self.stalling.iter().all(|viewer| *viewer < VIEWERS_MAX), "a viewer beyond {VIEWERS_MAX}");
        let day_us = u64::try_from(DURATION_MAX.as_micros())?;
        let times = [&self.starts, &self.zaps, &self.in_vain, &self.left_waiting, &self.waiting];
        let of_cells = self.cells.iter().flat_map(|cell| [&cell.ttfb, &cell.whole]);
        ensure!(
            times.into_iter().chain(of_cells).all(|times| times.is_within(day_us)),
            "a time of over a day"
        );
        let late_most = DURATION_MAX.as_secs_f64() / TIMER_MIN.as_secs_f64() * PER_MILLION;
        ensure!(self.late.is_within(late_most as u64), "a timer that was late by over a day");
        // How far behind a picture is, its dates say: they may be of years ago.
        ensure!(self.behind.is_within(u64::MAX), "a distribution whose sum is beyond its values");
        let together = DURATION_MAX.saturating_mul(VIEWERS_MAX);
        ensure!(
            self.stalled_time.max(self.played_time) <= together,
            "more time than {VIEWERS_MAX} viewers have in a day"
        );
        Ok(())
    }

    /// Times to the first byte, and to the last, of segments and parts.
    pub(super) fn media(&self) -> (Spread, Spread) {
        let mut spreads = (Spread::default(), Spread::default());
        for cell in self.cells.iter().filter(|cell| cell.kind.is_media()) {
            spreads.0.merge(&cell.ttfb);
            spreads.1.merge(&cell.whole);
        }
        spreads
    }

    /// Mean bitrate of what was played, in bits per second; 0 when nothing was.
    pub(super) fn bitrate(&self) -> f64 {
        let seconds = self.played_time.as_secs_f64();
        if seconds > 0.0 { self.played_bits as f64 / seconds } else { 0.0 }
    }

    /// What every exchange counts as, however far it came.
    fn asked(&mut self, kind: Kind, asked: GivenUp) -> &mut Cell {
        self.connections += u64::from(asked.connected);
        let cell = self.cell(kind, asked.cache);
        cell.requests += 1;
        cell.bytes += asked.bytes;
        if let Some(first_byte) = asked.first_byte {
            cell.ttfb.record_time(first_byte.saturating_duration_since(asked.due));
        }
        cell
    }

    fn cell(&mut self, kind: Kind, cache: Cache) -> &mut Cell {
        let found = self.cells.iter().position(|cell| cell.kind == kind && cell.cache == cache);
        let index = found.unwrap_or_else(|| {
            self.cells.push(Cell::new(kind, cache));
            self.cells.len() - 1
        });
        &mut self.cells[index]
    }

    /// Whether one more example of this word is kept.
    fn has_room_for(&self, word: &str) -> bool {
        let of_word = self.examples.iter().filter(|example| example.split(' ').next() == Some(word)).count();
        self.examples.len() < EXAMPLES_MAX && of_word < EXAMPLES_OF_WORD_MAX
    }

    fn example(&mut self, word: &str, path: &str, viewer: u32) {
        if self.has_room_for(word) {
            let end = path.floor_char_boundary(EXAMPLE_PATH_BYTES_MAX);
            let cut = if end < path.len() { "…" } else { "" };
            self.examples.push(format!("{word} {}{cut} (viewer {viewer})", &path[..end]));
        }
    }
}

/// What is wrong with an exchange, in one word; wrong bytes are counted apart.
fn error_word(exchange: &Exchange) -> Option<String> {
    if let Outcome::Failed(failure) = exchange.outcome {
        return Some(failure.as_str().to_owned());
    }
    let status = exchange.status.filter(|status| status.is_client_error() || status.is_server_error())?;
    Some(format!("status-{}", status.as_u16()))
}

// === impl Changes ===

impl Changes {
    /// A viewer is so now.
    pub(super) fn enter(&mut self, state: State) {
        self.add(state, 1);
    }

    /// A viewer is no longer so.
    pub(super) fn leave(&mut self, state: State) {
        self.add(state, -1);
    }

    fn merge(&mut self, other: Self) {
        self.there = self.there.saturating_add(other.there);
        self.starting = self.starting.saturating_add(other.starting);
        self.stalled = self.stalled.saturating_add(other.stalled);
    }

    fn add(&mut self, state: State, by: i64) {
        self.there += by;
        match state {
            State::Starting(_) => self.starting += by,
            State::Stalled { .. } => self.stalled += by,
            State::Playing => {}
        }
    }
}

// === impl Cell ===

impl Cell {
    fn new(kind: Kind, cache: Cache) -> Self {
        Self { kind, cache, requests: 0, bytes: 0, ttfb: Spread::default(), whole: Spread::default() }
    }

    fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.ttfb.merge(&other.ttfb);
        self.whole.merge(&other.whole);
    }
}

fn write_kind<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

fn read_kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    let word = String::deserialize(deserializer)?;
    let found = Kind::ALL.into_iter().find(|kind| kind.as_str() == word);
    found.ok_or_else(|| serde::de::Error::custom(format!("no kind of request: {word:?}")))
}

fn write_cache<S: Serializer>(cache: &Cache, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(cache.as_str())
}

fn read_cache<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cache, D::Error> {
    let word = String::deserialize(deserializer)?;
    let found = Cache::ALL.into_iter().find(|cache| cache.as_str() == word);
    found.ok_or_else(|| serde::de::Error::custom(format!("no word of a cache: {word:?}")))
}
