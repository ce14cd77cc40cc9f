//! Every key of a scenario's file: what it says, its default and its range. One table, from which values are checked and the
//! reference (`loadtest/scenarios/README.md`) is written; a test holds both to the keys that are really read.

use super::units::{Rate, Share, Time};

/// One key.
#[derive(Debug)]
pub(crate) struct Rule {
    /// The table it stands in: empty for the top.
    pub(crate) table: &'static str,
    pub(crate) key: &'static str,
    /// What is written there.
    pub(crate) form: Form,
    pub(crate) without: Without,
    /// Least and greatest value, both included, as they would be written; empty where there is none.
    pub(crate) range: (&'static str, &'static str),
    pub(crate) says: &'static str,
}

/// What is written for a key.
#[derive(Debug)]
pub(crate) enum Form {
    Time,
    Rate,
    Share,
    Number,
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A text or a list, described.
    Text(&'static str),
}

/// What holds when a key is not there.
#[derive(Debug)]
pub(crate) enum Without {
    Required,
    /// This value.
    Is(&'static str),
    /// What the words say.
    Means(&'static str),
}

/// A value that has a least and a greatest one.
pub(crate) trait Measure: Copy + PartialOrd + std::fmt::Display {
    fn parse(text: &str) -> Result<Self, String>;
}

/// A whole number.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Number(pub(crate) u64);

use Form::{Flag, Text, Word};
use Without::{Is, Means, Required};

/// The most viewers of a scenario: a ticket each, of which every thread has its share in memory.
pub(crate) const VIEWERS_MAX: u32 = 2_000_000;

/// The most titles and channels of a scenario, copies counted.
pub(crate) const TITLES_MAX: u32 = 200_000;

/// The most tables of one kind (`[[stream]]`, `[[group]]`, ...).
pub(crate) const TABLES_MAX: usize = 1_000;

/// The most renditions of a stream.
pub(crate) const BITRATES_MAX: usize = 16;

/// The longest name of a stream or a group, and the longest path or glob, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 40;
pub(crate) const PATH_BYTES_MAX: usize = 200;

/// The longest `about`, in bytes.
pub(crate) const ABOUT_BYTES_MAX: usize = 400;

pub(crate) const KINDS: &[&str] = &["live", "low-latency", "vod"];
pub(crate) const PARTS: &[&str] = &["files", "ranges"];
pub(crate) const SPREADS: &[&str] = &["even", "random", "rush"];
pub(crate) const PROTOCOLS: &[&str] = &["h1", "h2"];
pub(crate) const ABRS: &[&str] = &["throughput", "buffer", "lowest", "highest"];
pub(crate) const CARRIES: &[&str] = &["path", "query", "cookie", "header"];
pub(crate) const CMCD_CARRIES: &[&str] = &["query", "headers"];

/// No range.
const ANY: (&str, &str) = ("", "");

/// Declares each key, with what is said of it as its comment, and the list of all.
macro_rules! rules {
    ($($(#[doc = $says:literal])+ $name:ident = ($table:literal, $key:literal): $form:expr, $without:expr, $range:expr;)+) => {
        $($(#[doc = $says])+
        pub(crate) const $name: Rule = Rule {
            table: $table, key: $key, form: $form, without: $without, range: $range, says: concat!($($says),+),
        };)+

        /// All keys, in the order of the reference.
        pub(crate) const ALL: &[&Rule] = &[$(&$name),+];
    };
}

rules! {
    /// What the scenario asks of a server, in one sentence.
    ABOUT = ("", "about"): Text("text, at most 400 bytes"), Is(""), ANY;
    /// From which all that is random follows.
    SEED = ("", "seed"): Form::Number, Is("1"), ("0", "9223372036854775807");
    /// From the start of the run to its end. Viewers who are still there then, leave.
    DURATION = ("", "duration"): Form::Time, Is("1m"), ("1s", "1d");
    /// Not counted in the summary, from the start on, while caches fill. Shorter than `duration`.
    WARM_UP = ("", "warm-up"): Form::Time, Means("a sixth of `duration`, at most 10s"), ("0s", "1d");

    /// Its name on the origin. With a `count` above 1, copies are called NAME-0, NAME-1 and so on.
    STREAM_NAME = ("stream", "name"): Text("`a` to `z`, digits and `-`, at most 40 bytes"), Required, ANY;
    /// Live, Low-Latency live (RFC 8216bis) or on demand.
    STREAM_KIND = ("stream", "kind"): Word(KINDS), Required, ANY;
    /// Channels or titles of this kind. The first one is the most popular.
    STREAM_COUNT = ("stream", "count"): Form::Number, Is("1"), ("1", "200000");
    /// Length of a segment.
    STREAM_SEGMENT = ("stream", "segment"): Form::Time, Is("4s"), ("500ms", "20s");
    /// Length of a part, at most that of a segment. Of `low-latency` alone.
    STREAM_PART = ("stream", "part"): Form::Time, Means("a quarter of `segment`, at most 1s"), ("100ms", "20s");
    /// Segments in the playlist. Not of `vod`.
    STREAM_WINDOW = ("stream", "window"): Form::Number, Is("6"), ("3", "1000");
    /// Length of a title. Of `vod` alone.
    STREAM_LENGTH = ("stream", "length"): Form::Time, Is("10m"), ("10s", "1d");
    /// Bits per second of each video rendition.
    STREAM_BITRATES = ("stream", "bitrates"): Text("list of 1 to 16 bit rates, ascending"), Is("[\"800k\", \"2M\", \"4M\"]"), ("16k", "200M");
    /// Bits per second of a separate audio rendition.
    STREAM_AUDIO = ("stream", "audio"): Form::Rate, Means("audio is in the video's segments"), ("8k", "10M");
    /// Whether a part is a file of its own or a byte range of its segment, which then grows. Of `low-latency` alone.
    STREAM_PARTS = ("stream", "parts"): Word(PARTS), Is("files"), ANY;
    /// Playlists say that segments are encrypted (AES-128), so many with one key. Bodies are the same either way.
    STREAM_KEY_EVERY = ("stream", "key-every"): Form::Number, Means("nothing is encrypted"), ("1", "100000");

    /// Mean of an exponential distribution of how long a viewer stays.
    AUDIENCE_STAY = ("audience", "stay"): Form::Time, Means("to the end of the run, or of the title"), ("1s", "1d");
    /// Popularity: of the titles a group watches, in the order of the file, the n-th is chosen in proportion to 1 /
    /// n^zipf. 0: all alike.
    AUDIENCE_ZIPF = ("audience", "zipf"): Text("number"), Is("0"), ("0", "4");

    /// When the first ones come, from the start of the run.
    ARRIVALS_AT = ("audience.arrivals", "at"): Form::Time, Is("0s"), ("0s", "1d");
    /// From the first to the last one. `at` and `over` end within `duration`.
    ARRIVALS_OVER = ("audience.arrivals", "over"): Form::Time, Is("0s"), ("0s", "1d");
    /// How many come. Over all arrivals at most 2000000.
    ARRIVALS_VIEWERS = ("audience.arrivals", "viewers"): Form::Number, Required, ("1", "2000000");
    /// At equal distances, at random and independently of each other (Poisson), or most in the middle.
    ARRIVALS_SPREAD = ("audience.arrivals", "spread"): Word(SPREADS), Is("even"), ANY;

    /// Its name in reports.
    GROUP_NAME = ("group", "name"): Text("`a` to `z`, digits and `-`, at most 40 bytes"), Is("all"), ANY;
    /// Its part of the audience beside those of the other groups: 3 and 1 are three quarters and one quarter.
    GROUP_SHARE = ("group", "share"): Text("number"), Is("1"), ("0.001", "1000");
    /// HTTP/1.1 on up to six connections, or HTTP/2 on one.
    GROUP_PROTOCOL = ("group", "protocol"): Word(PROTOCOLS), Is("h1"), ANY;
    /// What the rendition is chosen by.
    GROUP_ABR = ("group", "abr"): Word(ABRS), Is("throughput"), ANY;
    /// Media that is there before the picture starts, or goes on after a stall. At most `buffer`.
    GROUP_START_BUFFER = ("group", "start-buffer"): Form::Time, Is("2s"), ("0s", "1m");
    /// The most a viewer holds ahead.
    GROUP_BUFFER = ("group", "buffer"): Form::Time, Is("30s"), ("1s", "10m");
    /// Whether a segment is given up for one of a lower rendition when the buffer would run dry before its rest is there. Of
    /// `throughput` and `buffer` alone; never before the first byte or the first picture, never where no length is announced, never
    /// a part. Over sockets it hangs on times: `false` for runs that are to be the same.
    GROUP_ABANDON = ("group", "abandon"): Flag, Is("true"), ANY;
    /// Whether keys of encrypted streams are fetched: each once for a title, before the first segment that wants it.
    GROUP_KEYS = ("group", "keys"): Flag, Is("true"), ANY;
    /// The most a viewer receives, in bits per second. It does not read faster.
    GROUP_LINE = ("group", "line"): Form::Rate, Means("as it comes"), ("16k", "10G");
    /// Mean time between seeks to a random place (exponential).
    GROUP_SEEK = ("group", "seek-every"): Form::Time, Means("never"), ("100ms", "1d");
    /// Mean time between changes to another stream (exponential).
    GROUP_ZAP = ("group", "zap-every"): Form::Time, Means("never"), ("100ms", "1d");
    /// What the player tells of itself (CTA-5004, CTA-5004-A).
    GROUP_CMCD = ("group", "cmcd"): Text("table"), Means("nothing is told"), ANY;
    /// Streams that the group watches.
    GROUP_WATCHES = ("group", "watches"): Text("list of stream names"), Means("all"), ANY;

    /// Of CMCD.
    CMCD_VERSION = ("group.cmcd", "version"): Form::Number, Is("1"), ("1", "2");
    /// In the URL, or in four header fields.
    CMCD_CARRY = ("group.cmcd", "carry"): Word(CMCD_CARRIES), Is("query"), ANY;

    /// How the token goes from the entry to the segments.
    TOKEN_CARRY = ("token", "carry"): Word(CARRIES), Is("path"), ANY;
    /// From its issue to its end. With `cookie` at least 1m.
    TOKEN_LIFETIME = ("token", "lifetime"): Form::Time, Is("1h"), ("1s", "30d");
    /// When all tokens that were given out before end at once. Not with `cookie`, whose tokens are the server's own.
    TOKEN_WAVE = ("token", "wave-at"): Form::Time, Means("never"), ("1s", "1d");

    /// When it is done, within `duration`.
    EVENT_AT = ("event", "at"): Form::Time, Required, ("0s", "1d");
    /// Purges everything below this path.
    EVENT_PURGE = ("event", "purge"): Text("path"), Means("-"), ANY;
    /// Of `purge`: removes instead of marking as stale.
    EVENT_HARD = ("event", "hard"): Flag, Is("false"), ANY;
    /// Asks the server to end (SIGTERM) and starts it anew.
    EVENT_RESTART = ("event", "restart"): Flag, Is("false"), ANY;
    /// Kills the server and starts it anew.
    EVENT_KILL = ("event", "kill"): Flag, Is("false"), ANY;

    /// When it begins, within `duration`.
    FAULT_AT = ("fault", "at"): Form::Time, Required, ("0s", "1d");
    /// How long it lasts.
    FAULT_OVER = ("fault", "over"): Form::Time, Required, ("1ms", "1d");
    /// Which requests may be hit: `*` is within a path segment, `**` is not.
    FAULT_PATHS = ("fault", "paths"): Text("glob over the path on the origin, at most 200 bytes"), Is("**"), ANY;
    /// Which part of those is hit.
    FAULT_SHARE = ("fault", "share"): Form::Share, Is("1"), ("0", "1");
    /// The answer begins so much later.
    FAULT_DELAY = ("fault", "delay"): Form::Time, Means("-"), ("1ms", "5m");
    /// This status in place of the answer.
    FAULT_STATUS = ("fault", "status"): Form::Number, Means("-"), ("200", "599");
    /// The body goes at so many bits per second.
    FAULT_THROTTLE = ("fault", "throttle"): Form::Rate, Means("-"), ("1k", "10G");
    /// The connection is closed after this share of the body.
    FAULT_BREAK = ("fault", "break"): Form::Share, Means("-"), ("0", "0.999");
    /// The announced length is so many bytes more, or less, than the body's.
    FAULT_LENGTH = ("fault", "length"): Text("number of bytes, not 0"), Means("-"), ("-1000000", "1000000");
    /// One byte is another one, at this share of the body.
    FAULT_CORRUPT = ("fault", "corrupt"): Form::Share, Means("-"), ("0", "0.999");
    /// Live playlists do not go on.
    FAULT_STALE = ("fault", "stale"): Flag, Is("false"), ANY;
    /// Live playlists are those of so many segments ago.
    FAULT_BACKWARD = ("fault", "backward"): Form::Number, Means("-"), ("1", "1000");
    /// Connections are closed without an answer.
    FAULT_OUTAGE = ("fault", "outage"): Flag, Is("false"), ANY;

    /// Time stalled by time watched.
    TARGET_STALL = ("targets", "stall-ratio"): Form::Share, Is("0.1%"), ("0", "1");
    /// From arrival to the first picture, 95th percentile.
    TARGET_STARTUP = ("targets", "startup-p95"): Form::Time, Is("2s"), ("1ms", "10m");
    /// Failed requests by requests.
    TARGET_ERROR = ("targets", "error-ratio"): Form::Share, Is("0.01%"), ("0", "1");
}

// === impl Rule ===

impl Rule {
    /// Table and key, as they are named in errors.
    pub(crate) fn name(&self) -> String {
        if self.table.is_empty() { self.key.to_owned() } else { format!("{}.{}", self.table, self.key) }
    }

    /// The value that holds when the key is not there, if it is one that can be written.
    pub(crate) fn default<T: Measure>(&self) -> Result<Option<T>, String> {
        match self.without {
            Is(text) => T::parse(text).map(Some),
            Required | Means(_) => Ok(None),
        }
    }

    /// Why a value may not be, and what may.
    pub(crate) fn check<T: Measure>(&self, value: T) -> Result<T, String> {
        let (least, most) = self.range;
        let outside = (!least.is_empty() && value < T::parse(least)?)
            || (!most.is_empty() && value > T::parse(most)?)
            // Not a number: neither less nor more.
            || value.partial_cmp(&value).is_none();
        if outside { Err(format!("{value} is out of range; write {least} to {most}")) } else { Ok(value) }
    }
}

// === impl Form ===

impl Form {
    /// What is written, in the words of the reference.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Time => "time".to_owned(),
            Self::Rate => "bit rate".to_owned(),
            Self::Share => "share".to_owned(),
            Self::Number => "whole number".to_owned(),
            Self::Flag => "`true`, `false`".to_owned(),
            Self::Word(words) => {
                words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
            }
            Self::Text(told) => (*told).to_owned(),
        }
    }
}

// === impl Measure ===

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.0.partial_cmp(&other.0)
    }
}

impl PartialOrd for Rate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.0.partial_cmp(&other.0)
    }
}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.0.partial_cmp(&other.0)
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Measure for Time {
    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Measure for Rate {
    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Measure for Share {
    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Measure for Number {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("\"{text}\" is no whole number; write one in digits"))
    }
}

impl Measure for i64 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("\"{text}\" is no whole number; write one in digits"))
    }
}

impl Measure for f64 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("\"{text}\" is no number; write one in digits"))
    }
}
