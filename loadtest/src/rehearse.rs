//! A run without sockets: viewers ask the origin's timeline itself, and the time that an exchange takes is computed. It says,
//! in seconds, exactly what a scenario will ask of a server.
//!
//! An exchange is asked for at once, reaches the origin after [`ONE_WAY`], and its first byte is there as long after the answer
//! began. Bodies share the viewer's line ([`line`]). There is no cache, no limit of connections, and no second try. Instants in
//! exchanges are the computed ones; a runtime's timers may wake the viewer up to a millisecond later.

mod line;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::RANGE;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::{Instant, sleep_until};

use self::line::{Fill, Line};
use crate::content::{self, MEDIA};
use crate::fetch::{Body, Cache, Exchange, Failure, Fetch, Get, GivenUp, Outcome, Progress};
use crate::stage::ledger::{Book, OBJECTS_MAX};
use crate::stage::process::Ledger;
use crate::stage::{Answer, Asked, Content, Stage};

/// From the viewer to the origin, and back: an exchange takes two milliseconds before its first byte.
const ONE_WAY: Duration = Duration::from_millis(1);

/// How long nothing may come before an exchange is given up.
const QUIET_MAX: Duration = Duration::from_secs(30);

/// The origin of a rehearsal, which all viewers ask: its timeline, and the book of what it was asked for.
#[derive(Debug)]
pub(crate) struct Source {
    stage: Stage,
    book: Book,
    connections: Cell<u64>,
}

/// How a viewer is connected in a rehearsal.
#[derive(Debug)]
pub(crate) struct Rehearsed {
    source: Rc<Source>,
    epoch: Instant,
    line: Rc<Line>,
    /// Connections that are open and not in use.
    idle: Cell<u32>,
    /// Exchanges that were given up, until somebody asks.
    dropped: RefCell<Vec<GivenUp>>,
}

/// What came of a body.
#[derive(Clone, Copy, Debug)]
struct Came {
    bytes: u64,
    end: Instant,
    failure: Option<Failure>,
}

/// An exchange, as far as it has come, without what is on the line just now. Dropped before it is over, it was given up.
#[derive(Debug)]
struct Underway<'a> {
    viewer: &'a Rehearsed,
    come: GivenUp,
    is_over: bool,
}

// === impl Source ===

impl Source {
    /// One that nobody has asked for anything yet.
    pub(crate) fn new(stage: Stage) -> Self {
        Self { stage, book: Book::new(OBJECTS_MAX), connections: Cell::new(0) }
    }

    /// What it was asked for so far.
    pub(crate) fn ledger(&self) -> Ledger {
        let connections = self.connections.get();
        Ledger { connections, faults: self.stage.faults_met(), ..self.book.ledger() }
    }
}

// === impl Rehearsed ===

impl Rehearsed {
    /// `line` is in bits per second; each exchange takes two milliseconds before its first byte.
    pub(crate) fn new(source: Rc<Source>, epoch: Instant, line: u64) -> Self {
        Self {
            source,
            epoch,
            line: Rc::new(Line::new(line)),
            idle: Cell::new(0),
            dropped: RefCell::default(),
        }
    }

    /// What the origin says to what it gets a way later, and the path as it knows it: a token may stand before.
    fn ask<'a>(&self, get: &'a Get<'_>, sent: Instant) -> (Answer, &'a str) {
        let path = get.url.path();
        let path = path.rfind(MEDIA).map_or(path, |start| &path[start..]);
        let mut headers: HeaderMap = get.fields.iter().cloned().collect();
        if let Some((first, last)) = get.range {
            let last = last.map(|last| last.to_string()).unwrap_or_default();
            if let Ok(range) = HeaderValue::from_str(&format!("bytes={first}-{last}")) {
                headers.insert(RANGE, range);
            }
        }
        let now = (sent + ONE_WAY).saturating_duration_since(self.epoch);
        let asked = Asked { path, query: get.url.query(), headers: &headers };
        let answer = self.source.stage.answer(asked, now);
        self.source.book.note(asked, &answer);
        (answer, path)
    }

    /// The body on the line, as far as it comes and is announced.
    async fn body(&self, get: &Get<'_>, answer: &Answer, exchange: &Exchange, come: &mut GivenUp) -> Came {
        let comes = answer.body.bytes().min(answer.breaks_after.unwrap_or(u64::MAX));
        let bytes = if answer.chunked { comes } else { comes.min(answer.length) };
        let (sent, first_byte) = (Some(exchange.sent), exchange.first_byte);
        let mut came = Came { bytes: 0, end: exchange.end, failure: None };
        while came.bytes < bytes {
            let step = answer.grows.iter().find(|(there, _)| came.bytes < *there);
            let (upto, from) = match step {
                Some((there, at)) => (bytes.min(*there), self.epoch + *at + ONE_WAY),
                None => (bytes, came.end),
            };
            if from > came.end + QUIET_MAX {
                came.end += QUIET_MAX;
                came.failure = Some(Failure::Timeout);
                sleep_until(came.end).await;
                return came;
            }
            sleep_until(from).await;
            let fill = Fill { from: from.max(came.end), bytes: upto - came.bytes, bits_max: answer.throttle };
            let (before, length) = (came.bytes, (!answer.chunked).then_some(answer.length));
            let told = get
                .progress
                .map(|_| move |more| get.tell(Progress { sent, first_byte, bytes: before + more, length }));
            came.end = self.line.carry(fill, told).await;
            self.source.book.sent(upto - came.bytes);
            (came.bytes, come.bytes) = (upto, upto);
        }
        let is_short = if answer.chunked { answer.breaks_after.is_some() } else { bytes < answer.length };
        came.failure = is_short.then_some(Failure::Short);
        came
    }

    /// Takes a connection; true when a new one had to be made.
    fn connects(&self) -> bool {
        let idle = self.idle.get();
        self.idle.set(idle.saturating_sub(1));
        self.source.connections.set(self.source.connections.get() + u64::from(idle == 0));
        idle == 0
    }

    /// The exchange, once it is sent; `come` is told how far it is.
    async fn exchange(&self, get: &Get<'_>, sent: Instant, come: &mut GivenUp) -> Exchange {
        let (answer, path) = self.ask(get, sent);
        let mut exchange = Exchange {
            due: get.due,
            sent,
            first_byte: None,
            end: sent,
            status: None,
            headers: HeaderMap::new(),
            cache: Cache::Unknown,
            bytes: 0,
            text: Bytes::new(),
            connected: come.connected,
            outcome: Outcome::Whole,
        };
        let first_byte = self.epoch + answer.at + ONE_WAY;
        if first_byte > sent + QUIET_MAX {
            exchange.end = sent + QUIET_MAX;
            exchange.outcome = Outcome::Failed(Failure::Timeout);
        } else {
            exchange.end = first_byte;
        }
        sleep_until(exchange.end).await;
        let Some(status) = answer.status.and_then(|status| StatusCode::from_u16(status).ok()) else {
            exchange.outcome = Outcome::Failed(Failure::Short);
            return exchange;
        };
        if exchange.outcome != Outcome::Whole {
            return exchange;
        }
        exchange.first_byte = Some(first_byte);
        come.first_byte = Some(first_byte);
        exchange.status = Some(status);
        if let Some(failure) = refused(get, &answer, path) {
            exchange.outcome = Outcome::Failed(failure);
            return exchange;
        }
        let came = self.body(get, &answer, &exchange, come).await;
        (exchange.bytes, exchange.end) = (came.bytes, came.end);
        exchange.outcome = match came.failure {
            Some(failure) => Outcome::Failed(failure),
            None if answer.corrupt.is_some() && is_checked(get, &answer) => Outcome::Mismatch,
            None => Outcome::Whole,
        };
        if came.failure.is_none() && answer.breaks_after.is_none() {
            self.idle.set(self.idle.get() + 1);
        }
        let is_media = get.body == Body::Media;
        if !is_media {
            exchange.text = text(&answer, path, came.bytes);
        }
        if !is_media || !matches!(status.as_u16(), 200 | 206) {
            exchange.headers = answer.headers;
        }
        exchange
    }
}

impl Fetch for Rehearsed {
    async fn get(&self, get: Get<'_>) -> Exchange {
        let sent = Instant::now().max(get.due);
        sleep_until(sent).await;
        let connected = self.connects();
        let come = GivenUp { due: get.due, first_byte: None, cache: Cache::Unknown, bytes: 0, connected };
        let mut underway = Underway { viewer: self, come, is_over: false };
        let exchange = self.exchange(&get, sent, &mut underway.come).await;
        underway.is_over = true;
        exchange
    }

    fn leave(&self) {
        self.idle.set(0);
    }

    fn take_dropped(&self) -> Vec<GivenUp> {
        self.dropped.take()
    }
}

// === impl Underway ===

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let viewer = self.viewer;
            // What was on the line was dropped before this.
            let partly = viewer.line.take_given_up();
            viewer.source.book.sent(partly);
            let given_up = GivenUp { bytes: self.come.bytes + partly, ..self.come };
            viewer.dropped.borrow_mut().push(given_up);
        }
    }
}

/// Whether the body is compared with what its path says.
fn is_checked(get: &Get<'_>, answer: &Answer) -> bool {
    get.body == Body::Media && matches!(answer.status, Some(200 | 206))
}

/// Why the body is not even waited for, if the head says already that it is the wrong one.
fn refused(get: &Get<'_>, answer: &Answer, path: &str) -> Option<Failure> {
    if answer.chunked {
        return None;
    }
    if let Body::Text { bytes_max } = get.body {
        return (answer.length > bytes_max as u64).then_some(Failure::TooLong);
    }
    let expected = content::expected(path).filter(|_| is_checked(get, answer))?;
    let wanted = match get.range {
        Some((first, last)) if answer.status == Some(206) => last
            .map_or(expected.bytes, |last| last.saturating_add(1).min(expected.bytes))
            .saturating_sub(first),
        _ => expected.bytes,
    };
    (answer.length != wanted).then_some(Failure::Length)
}

/// The text that came.
fn text(answer: &Answer, path: &str, bytes: u64) -> Bytes {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut text = match &answer.body {
        Content::Text(text) => text[..bytes.min(text.len())].to_vec(),
        // Media that is asked for as a text, within the limit of texts.
        Content::Media { offset, .. } => {
            let mut out = vec![0; bytes];
            content::Content::of(path).fill(*offset, &mut out);
            out
        }
    };
    let corrupt = answer.corrupt.and_then(|position| usize::try_from(position).ok());
    if let Some(byte) = corrupt.and_then(|position| text.get_mut(position)) {
        *byte ^= 1;
    }
    text.into()
}

#[cfg(test)]
mod tests;
