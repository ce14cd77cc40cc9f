//! What a run is to do: streams, an audience, what its viewers are like, what happens meanwhile, and what is good enough.
//!
//! These are the values that everything else works with; they cannot be wrong. How they are written in TOML, and every limit
//! on them, stands in [`file`]; the scenarios that come with the binary are `loadtest/scenarios/*.toml`. When who arrives, and
//! what each one is like, follows from the seed alone ([`audience`], [`catalogue`]).

// How a scenario is written, those that come with the binary, and how one is changed from the command line.
pub(crate) mod file;
pub(crate) mod presets;
pub(crate) mod adjust;

// What follows from the seed.
pub(crate) mod audience;
pub(crate) mod catalogue;

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A whole scenario. It is sent as JSON to those who join a run and to the origin's process, who need not validate it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// What the scenario asks of a server, in one sentence.
    pub(crate) about: String,
    /// From which all that is random follows.
    pub(crate) seed: u64,
    /// From the start of the run to its end. Viewers who are still there then, leave.
    pub(crate) duration: Duration,
    /// Not counted in the summary, from the start on: caches fill. Rows have it.
    pub(crate) warm_up: Duration,
    pub(crate) streams: Vec<Stream>,
    pub(crate) audience: Audience,
    /// What viewers are like, by share; shares sum to 1.
    pub(crate) groups: Vec<Group>,
    /// What is done to the server meanwhile, in order of time.
    pub(crate) events: Vec<Event>,
    /// What is wrong with the origin, and when.
    pub(crate) faults: Vec<Fault>,
    /// Tokens that the site wants; none: it is open.
    pub(crate) token: Option<Token>,
    pub(crate) targets: Targets,
}

/// What the origin has to show. Stream `n` of several copies is called `NAME-n`, from 0 on; a single one is called `NAME`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) kind: StreamKind,
    /// How many copies: channels, titles. From 1 on.
    pub(crate) count: u32,
    /// Length of a segment.
    pub(crate) segment: Duration,
    /// Length of a part; of meaning for `LowLatency` alone.
    pub(crate) part: Duration,
    /// Segments in a live playlist.
    pub(crate) window: u32,
    /// Length of a VOD title.
    pub(crate) length: Duration,
    /// Bits per second of each video rendition, ascending; at least one.
    pub(crate) bitrates: Vec<u64>,
    /// Bits per second of a separate audio rendition; none: audio is in the video's segments.
    pub(crate) audio: Option<u64>,
    /// Whether parts are byte ranges of their segment, which then grows, instead of files.
    pub(crate) parts_are_ranges: bool,
    /// Segments that have a key in common; none: nothing is encrypted. Bodies are the same either way: nobody decrypts them.
    pub(crate) key_every: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StreamKind {
    Live,
    LowLatency,
    Vod,
}

/// Who comes when. Open: nobody waits for anybody else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Audience {
    pub(crate) arrivals: Vec<Arrivals>,
    /// Mean of an exponential distribution of how long a viewer stays; none: to the end of the run (or of the title).
    pub(crate) stay: Option<Duration>,
    /// Exponent of the streams' popularity by rank; 0: all the same.
    pub(crate) zipf: f64,
}

/// Viewers who come between `at` and `at + over`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Arrivals {
    pub(crate) at: Duration,
    pub(crate) over: Duration,
    pub(crate) viewers: u32,
    pub(crate) spread: Spread,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Spread {
    /// At equal distances.
    Even,
    /// At random, independently of each other: a Poisson process.
    Random,
    /// Most in the middle (half a period of a raised cosine): how people come to a kick-off.
    Rush,
}

/// What some of the viewers are like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) share: f64,
    pub(crate) protocol: Protocol,
    pub(crate) abr: Abr,
    /// Media a viewer plays only after it has so much, at the start and after a stall.
    pub(crate) start_buffer: Duration,
    /// The most a viewer holds ahead.
    pub(crate) buffer: Duration,
    /// Whether keys are fetched, each once for a title, before the first segment that wants it.
    pub(crate) keys: bool,
    /// Whether a segment that is too slow is given up for one of a lower rendition; of meaning where the rendition is chosen by
    /// throughput or buffer.
    pub(crate) abandon: bool,
    /// The most a viewer receives, in bits per second; none: as it comes.
    pub(crate) line: Option<u64>,
    /// Mean time between seeks to a random place (exponential); VOD and live windows.
    pub(crate) seek_every: Option<Duration>,
    /// Mean time between changes to another stream (exponential).
    pub(crate) zap_every: Option<Duration>,
    pub(crate) cmcd: Option<Cmcd>,
    /// Names of the streams that the group watches (as in [`Stream::name`]); empty: all.
    pub(crate) watches: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Protocol {
    /// HTTP/1.1 on up to six connections.
    H1,
    /// HTTP/2 on one; over plaintext with prior knowledge.
    H2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Abr {
    Throughput,
    Buffer,
    Lowest,
    Highest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Cmcd {
    /// 1 or 2.
    pub(crate) version: u8,
    pub(crate) carry: CmcdCarry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CmcdCarry {
    Query,
    Headers,
}

/// The tokens of a run: viewers get one at the entry, as from a portal, and carry it as the mode says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) carry: Carry,
    /// From arrival to expiry.
    pub(crate) lifetime: Duration,
    /// When all tokens that were given out before end at once, whatever their lifetime; none: never.
    pub(crate) wave_at: Option<Duration>,
}

/// How the token goes from the entry to the segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Carry {
    /// A leading path segment, which relative URIs inherit.
    Path,
    /// A query parameter, which the server writes into playlists.
    Query,
    /// A cookie that the server sets at the entry.
    Cookie,
    /// A request header on everything.
    Header,
}

/// Something that is done to the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) what: Deed,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Deed {
    /// Everything below a path is purged, softly or hard.
    Purge { prefix: String, hard: bool },
    /// The server is asked to end (SIGTERM) and started anew on its addresses.
    Restart,
    /// The server is killed and started anew on its addresses.
    Kill,
}

/// Something that is wrong with the origin for a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) at: Duration,
    pub(crate) over: Duration,
    /// Which paths, as a glob over the path on the origin (`**/*.m4s`).
    pub(crate) paths: String,
    /// Which share of the matching requests, from 0 (none) to 1; who is hit follows from the seed and the count of matches.
    pub(crate) share: f64,
    pub(crate) what: Wrong,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wrong {
    /// The answer begins later.
    Delay(Duration),
    /// This status instead.
    Status(u16),
    /// The body goes at so many bits per second.
    Throttle(u64),
    /// The connection is closed after this share of the body.
    Break(f64),
    /// The announced length is the body's and so many bytes more (or less), and the connection is closed after the body.
    Length(i64),
    /// One byte of the body is another one, at this share of it.
    Corrupt(f64),
    /// Playlists do not go on from the beginning of the fault.
    Stale,
    /// Playlists are those of so many segments ago.
    Backward(u32),
    /// Nobody is there: connections are closed without an answer.
    Outage,
}

/// What a run has to hold to be good enough. A ratio is a share, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Targets {
    /// Time stalled by time watched.
    pub(crate) stall_ratio: f64,
    /// 95th percentile of the time from arrival to the first picture.
    pub(crate) startup_p95: Duration,
    /// Failed requests by requests.
    pub(crate) error_ratio: f64,
}

impl Default for Targets {
    fn default() -> Self {
        Self { stall_ratio: 0.001, startup_p95: Duration::from_secs(2), error_ratio: 0.0001 }
    }
}
