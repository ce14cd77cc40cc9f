//! A run, second by second: books become rows, and what came after the warm-up becomes the summary.
//!
//! The one who runs it calls [`Chronicle::second`] once a second with the merged books of all threads and processes, and with
//! what the kernel and the origin say; it does no reading of its own.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::book::{Book, PER_MILLION};
use super::spread::Spread;
use super::summary::{KindOf, OriginSide, Pacing, PerObject, Requests, Row, Summary, Usage, Viewers};
use super::verdict;
use crate::scenario::Targets;
use crate::stage::process::Ledger;

/// The share of a second that must have passed between two readings for a second's CPU to be divided by it; a row whose sides
/// were read sooner after those before (as in a rehearsal, or at an early end) counts as what it is called.
const INTERVAL_SECONDS_MIN: f64 = 0.25;

/// What is seen from outside at the end of a second. CPU is since the start of the process, memory is now; the ledger is since
/// the start of the run.
#[derive(Clone, Debug)]
pub(crate) struct Sides {
    /// When they were read.
    pub(crate) at: Instant,
    /// None: it is not ours to see, or is not there just now.
    pub(crate) server: Option<Usage>,
    pub(crate) origin: Option<Usage>,
    pub(crate) tester: Usage,
    pub(crate) ledger: Option<Ledger>,
}

/// What has become of a run so far.
#[derive(Debug)]
pub(crate) struct Chronicle {
    warm_up: Duration,
    /// When the sides of the last row were read.
    last: Instant,
    rows: Vec<Row>,
    /// All books since the end of the warm-up.
    total: Book,
    /// Viewers who are there now, and of these who has no picture yet, and whose stands still.
    there: i64,
    starting: i64,
    stalled: i64,
    /// The most viewers at the end of a counted second, and all who stalled in one.
    most: u64,
    /// Sum of the viewers at the end of each counted second.
    viewer_seconds: u64,
    stalled_ever: HashSet<u32>,
    /// How long those without a picture had waited at the end of the last second.
    waiting: Spread,
    seconds: u32,
    server: Meter,
    origin: Meter,
    tester: Meter,
    /// Of the origin, at the end of the warm-up and now.
    ledger_before: Ledger,
    ledger: Option<Ledger>,
}

/// One process tree over time.
#[derive(Debug, Default)]
struct Meter {
    /// CPU seconds that it had when it was last seen.
    cpu_seconds: f64,
    /// Seconds in which it was not seen since.
    unseen_seconds: f64,
    /// CPU, and the most memory, in counted seconds.
    counted: Option<Usage>,
}

// === impl Sides ===

impl Default for Sides {
    /// Nobody was looked at, now.
    fn default() -> Self {
        Self { at: Instant::now(), server: None, origin: None, tester: Usage::default(), ledger: None }
    }
}

// === impl Chronicle ===

impl Chronicle {
    /// A run that began at the epoch. Seconds that end within the warm-up make rows, but are not in the summary.
    pub(crate) fn new(warm_up: Duration, epoch: Instant) -> Self {
        Self {
            warm_up,
            last: epoch,
            rows: Vec::new(),
            total: Book::default(),
            there: 0,
            starting: 0,
            stalled: 0,
            most: 0,
            viewer_seconds: 0,
            stalled_ever: HashSet::new(),
            waiting: Spread::default(),
            seconds: 0,
            server: Meter::default(),
            origin: Meter::default(),
            tester: Meter::default(),
            ledger_before: Ledger::default(),
            ledger: None,
        }
    }

    /// The row of the second that ends now, so many seconds after the epoch: everything that was gathered since the last one.
    pub(crate) fn second(&mut self, second: u32, book: Book, sides: Sides) -> Row {
        // A book may come much later than its second was over: what is divided by is the time between the readings.
        let passed = sides.at.saturating_duration_since(self.last).as_secs_f64();
        self.last = sides.at;
        let nominal = second.saturating_sub(self.rows.last().map_or(0, |row| row.second));
        let interval = if passed < INTERVAL_SECONDS_MIN { f64::from(nominal.max(1)) } else { passed };
        let is_counted = Duration::from_secs(u64::from(second)) > self.warm_up;

        self.there = self.there.saturating_add(book.changes.there);
        self.starting = self.starting.saturating_add(book.changes.starting);
        self.stalled = self.stalled.saturating_add(book.changes.stalled);
        let (ttfb, whole) = book.media();
        let (hits, hit_bytes) = book.hits();
        let mut started = book.starts.clone();
        started.merge(&book.zaps);
        let (origin_requests, origin_bytes) = self.take_ledger(sides.ledger, is_counted);
        let row = Row {
            second,
            viewers: of(self.there),
            stalled: of(self.stalled),
            starting: of(self.starting),
            arrived: count(book.arrived),
            left: count(book.left),
            gave_up: count(book.gave_up),
            stalls: count(book.stalls),
            requests: book.requests(),
            hits,
            errors: book.errors_count(),
            mismatches: book.mismatches,
            bytes: book.bytes(),
            hit_bytes,
            ttfb_ms: ttfb.milliseconds(),
            whole_ms: whole.milliseconds(),
            startup_ms: started.milliseconds(),
            behind_live_ms: book.behind.milliseconds(),
            bitrate: book.bitrate(),
            origin_requests,
            origin_bytes,
            server: self.server.second(sides.server, interval, is_counted),
            origin: self.origin.second(sides.origin, interval, is_counted),
            tester: self.tester.second(Some(sides.tester), interval, is_counted),
            pacing: pacing(&book.late),
        };
        if is_counted {
            self.count(&row, &book, nominal);
        }
        self.waiting = book.waiting;
        self.rows.push(row.clone());
        row
    }

    /// What the run came to. `server_idle_bytes` is the server's resident memory before the first viewer.
    pub(crate) fn finish(self, targets: &Targets, server_idle_bytes: Option<u64>) -> (Summary, Vec<Row>) {
        let verdicts = verdict::of(targets, &self.total, &self.waiting);
        let summary = Summary {
            ttfb_ms: self.total.media().0.milliseconds(),
            seconds: f64::from(self.seconds),
            viewers: self.viewers(),
            requests: self.requests(),
            kinds: self.kinds(),
            origin: self.origin_side(),
            server: self.server.counted,
            server_idle_bytes,
            tester: self.tester.counted.unwrap_or_default(),
            pacing: pacing(&self.total.late),
            targets: verdicts,
            whole_ms: self.total.media().1.milliseconds(),
        };
        (summary, self.rows)
    }

    /// A second after the warm-up.
    fn count(&mut self, row: &Row, book: &Book, nominal: u32) {
        // Of a row that holds more than its second, what lies in the warm-up is not told apart, and counts.
        self.seconds += nominal.max(1);
        self.viewer_seconds += u64::from(row.viewers) * u64::from(nominal.max(1));
        self.most = self.most.max(u64::from(row.viewers));
        self.stalled_ever.extend(&book.stalling);
        self.total.merge(book);
        // These have done their work: only who ever stalled and who waits at the end matter.
        self.total.stalling.clear();
        self.total.waiting = Spread::default();
    }

    /// Requests and bytes of the origin since the last second.
    fn take_ledger(&mut self, ledger: Option<Ledger>, is_counted: bool) -> (u64, u64) {
        let Some(ledger) = ledger else { return (0, 0) };
        let before = self.ledger.take().unwrap_or_default();
        let since =
            (ledger.requests.saturating_sub(before.requests), ledger.bytes.saturating_sub(before.bytes));
        if !is_counted {
            self.ledger_before = ledger.clone();
        }
        self.ledger = Some(ledger);
        since
    }

    fn viewers(&self) -> Viewers {
        let total = &self.total;
        let (stalled, played) = (total.stalled_time.as_secs_f64(), total.played_time.as_secs_f64());
        Viewers {
            arrived: total.arrived,
            most: self.most,
            mean: share(self.viewer_seconds as f64, f64::from(self.seconds)),
            started: total.starts.count(),
            gave_up: total.gave_up,
            startup_ms: total.starts.milliseconds(),
            zap_ms: total.zaps.milliseconds(),
            stalls: total.stalls,
            stalled: self.stalled_ever.len() as u64,
            stalled_seconds: stalled,
            played_seconds: played,
            stall_ratio: share(stalled, stalled + played),
            behind_live_ms: total.behind.milliseconds(),
            bitrate: total.bitrate(),
            switches: total.switches,
            abandoned: total.abandoned,
        }
    }

    fn requests(&self) -> Requests {
        let total = &self.total;
        let seconds = f64::from(self.seconds.max(1));
        let (count, bytes, errors) = (total.requests(), total.bytes(), total.errors_count());
        let (hits, hit_bytes) = total.hits();
        Requests {
            count,
            per_second: count as f64 / seconds,
            bytes,
            gbit_per_second: bytes as f64 * 8.0 / 1e9 / seconds,
            wasted_bytes: total.wasted_bytes,
            hit_ratio: share(hits as f64, count as f64),
            hit_ratio_bytes: share(hit_bytes as f64, bytes as f64),
            errors,
            error_ratio: share(errors as f64, count as f64),
            errors_by: total.errors.clone(),
            mismatches: total.mismatches,
            bad_playlists: total.bad_playlists,
            connections: total.connections,
            examples: total.examples.clone(),
        }
    }

    fn kinds(&self) -> Vec<KindOf> {
        let mut cells: Vec<_> = self.total.cells.iter().collect();
        cells.sort_by_key(|cell| (cell.kind, cell.cache));
        cells
            .into_iter()
            .map(|cell| KindOf {
                kind: cell.kind.as_str().to_owned(),
                cache: cell.cache.as_str().to_owned(),
                requests: cell.requests,
                bytes: cell.bytes,
                ttfb_ms: cell.ttfb.milliseconds(),
                whole_ms: cell.whole.milliseconds(),
            })
            .collect()
    }

    fn origin_side(&self) -> Option<OriginSide> {
        let (ledger, before) = (self.ledger.as_ref()?, &self.ledger_before);
        let per_object = ledger.kinds.iter().map(|(kind, asked)| {
            let mean = share(asked.requests as f64, asked.objects as f64);
            let per_object = PerObject {
                objects: asked.objects,
                requests: asked.requests,
                mean,
                most: asked.most,
                most_for: asked.most_for.clone(),
            };
            (kind.clone(), per_object)
        });
        Some(OriginSide {
            requests: ledger.requests.saturating_sub(before.requests),
            bytes: ledger.bytes.saturating_sub(before.bytes),
            connections: ledger.connections.saturating_sub(before.connections),
            per_object: per_object.collect::<BTreeMap<_, _>>(),
            faults: since(&ledger.faults, &before.faults),
            usage: self.origin.counted.unwrap_or_default(),
        })
    }
}

// === impl Meter ===

impl Meter {
    /// Its CPU per second in an interval of so many seconds, and its memory at the end.
    fn second(&mut self, seen: Option<Usage>, interval: f64, is_counted: bool) -> Option<Usage> {
        let interval = interval + self.unseen_seconds;
        let Some(seen) = seen else {
            self.unseen_seconds = interval;
            return None;
        };
        self.unseen_seconds = 0.0;
        let since = seen.cpu_seconds - self.cpu_seconds;
        // Less than before: it was started anew, and all of it is new.
        let used = if since < 0.0 { seen.cpu_seconds } else { since };
        self.cpu_seconds = seen.cpu_seconds;
        if is_counted {
            let counted = self.counted.get_or_insert_default();
            counted.cpu_seconds += used;
            counted.resident_bytes = counted.resident_bytes.max(seen.resident_bytes);
        }
        Some(Usage { cpu_seconds: used / interval, resident_bytes: seen.resident_bytes })
    }
}

fn pacing(late: &Spread) -> Pacing {
    let shares = late.quantiles(PER_MILLION);
    Pacing { timers: shares.count, mean: shares.mean, p99: shares.p99 }
}

/// What was added to each count. There are none before the first ledger.
fn since(counts: &[u64], before: &[u64]) -> Vec<u64> {
    let before = before.iter().copied().chain(std::iter::repeat(0));
    counts.iter().zip(before).map(|(count, before)| count.saturating_sub(before)).collect()
}

/// A share; 0 of nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// A number of viewers. The changes of a thread that is late may make it negative for a second.
fn of(viewers: i64) -> u32 {
    u32::try_from(viewers.max(0)).unwrap_or(u32::MAX)
}

fn count(events: u64) -> u32 {
    u32::try_from(events).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
