//! The synthetic origin of a scenario: live, Low-Latency and VOD streams whose every byte follows from its path, and faults on
//! demand. [`Stage`] is pure: what is asked when, and what the answer is. [`serve`] speaks HTTP for it, [`process`] is the process of
//! its own that a run starts, and [`crate::rehearse`] asks it without sockets.

// On paper: what there is when, how it is called and written down, what is wrong with it.
mod timeline;
mod path;
mod playlist;
mod reload;
mod channel;
pub(crate) mod faults;
mod reply;

// Over sockets.
mod control;
pub(crate) mod ledger;
pub(crate) mod process;
pub(crate) mod serve;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use http::header::DATE;
use jiff::{SignedDuration, Timestamp};

use self::channel::{Channel, Title};
use self::faults::Faults;
use self::path::Named;
use self::timeline::Program;
use crate::fetch::Kind;
use crate::scenario::Scenario;

/// The streams of a scenario on their timeline, which begins with the run. Live streams have been on for longer than their
/// window then.
#[derive(Debug)]
pub(crate) struct Stage {
    programs: Vec<Program>,
    /// By folder: `live/NAME`, `vod/NAME`.
    titles: HashMap<Box<str>, Title>,
    faults: Faults,
    epoch: Timestamp,
}

/// What is asked of the origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
}

/// What the origin does about it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// When the answer begins, on the timeline: now, or when what is waited for is there, or after a fault's delay.
    pub(crate) at: Duration,
    /// None: the connection is closed without an answer.
    pub(crate) status: Option<u16>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Content,
    /// Announced in `Content-Length`.
    pub(crate) length: u64,
    /// The connection is closed after so many bytes of the body.
    pub(crate) breaks_after: Option<u64>,
    /// Position of a byte that is another one than it should be, in the body of the answer.
    pub(crate) corrupt: Option<u64>,
    /// Bits per second; none: as fast as it is taken.
    pub(crate) throttle: Option<u64>,
    /// How the body grows: so many bytes of it are there from then on. Empty: all of it is there.
    pub(crate) grows: Vec<(u64, Duration)>,
    /// No length is announced: the end of what grows is not said before it is there.
    pub(crate) chunked: bool,
    /// None: nothing of a stream, or nothing at all: an error, or no answer.
    pub(crate) kind: Option<Kind>,
    /// Which version of a live playlist it is: whole segments and further parts so far.
    pub(crate) version: Option<(u64, u64)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Text(Bytes),
    /// So many bytes of this path's content from this position on.
    Media {
        offset: u64,
        bytes: u64,
    },
}

// === impl Content ===

impl Content {
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Media { bytes, .. } => *bytes,
        }
    }
}

// === impl Stage ===

impl Stage {
    /// Faults whose glob is none are met by nobody: check with [`faults::glob`] where the scenario is read.
    pub(crate) fn new(scenario: &Scenario, wall_epoch: SystemTime) -> Self {
        let streams = &scenario.streams;
        let program = |stream| Program::of(stream, faults::back_max(scenario, stream.segment));
        let programs: Vec<Program> = streams.iter().map(program).collect();
        let mut titles = HashMap::new();
        for (index, (stream, program)) in streams.iter().zip(&programs).enumerate() {
            let folder = if program.is_live() { "live" } else { "vod" };
            for copy in 0..stream.count {
                let name = match stream.count {
                    1 => format!("{folder}/{}", stream.name),
                    _ => format!("{folder}/{}-{copy}", stream.name),
                };
                let ahead = u128::from(program.segment_ns) * u128::from(copy) / u128::from(stream.count);
                let ahead_ns = u64::try_from(ahead).unwrap_or(0);
                let title = Title { program: index, ahead_ns, seed: timeline::seed_of(&name) };
                titles.insert(name.into_boxed_str(), title);
            }
        }
        let epoch = Timestamp::try_from(wall_epoch).unwrap_or(Timestamp::UNIX_EPOCH);
        Self { programs, titles, faults: Faults::of(scenario), epoch }
    }

    /// The answer to what is asked at this time of the run. Which requests a fault hits depends on how many it has matched.
    pub(crate) fn answer(&self, asked: Asked<'_>, now: Duration) -> Answer {
        let found = self.find(asked.path);
        let is_live_playlist =
            matches!(found, Some((channel, Named::Playlist(_))) if channel.program.is_live());
        let hits = self.faults.hits(asked.path, now, is_live_playlist);
        if hits.is_outage() {
            return Answer::nobody(now);
        }
        let mut answer = match (hits.status(), found) {
            (Some(status), _) => Answer::short(now, status, "a fault of the origin\n", None),
            (None, Some((channel, named))) => channel.answer(named, asked, now, hits.shown()),
            (None, None) => Answer::refused(now, 404, "there is no such title or file\n"),
        };
        hits.apply(&mut answer);
        if let Some(at) = self.faults.outage_between(asked.path, now, answer.at) {
            return Answer::nobody(at);
        }
        let date = i64::try_from(answer.at.as_nanos()).map(SignedDuration::from_nanos);
        let date = date.ok().and_then(|after| self.epoch.checked_add(after).ok()).unwrap_or(self.epoch);
        if let Ok(date) = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date) {
            answer.set(DATE, &date);
        }
        answer
    }

    /// How often each fault was met, in the order of the scenario.
    pub(crate) fn faults_met(&self) -> Vec<u64> {
        self.faults.met()
    }

    fn find(&self, path: &str) -> Option<(Channel<'_>, Named)> {
        let (folder, rest) = path::title_and_rest(path)?;
        let title = *self.titles.get(folder)?;
        let channel = Channel { program: self.programs.get(title.program)?, title, epoch: self.epoch };
        Some((channel, path::named(channel.program, title.seed, rest)?))
    }
}

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
