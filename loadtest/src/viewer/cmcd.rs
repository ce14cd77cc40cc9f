//! What a player tells of itself with each request (CTA-5004, CTA-5004-A): version 1 or 2, in the query or in header fields.
//!
//! Decides which keys go with which request, how values are rounded and written, and into which field each key goes.
//! What is true, the player says ([`Told`]). Of version 2 it is the request mode.

use std::cell::Cell;
use std::fmt::Write;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::fetch::Kind;
use crate::scenario::{Cmcd, CmcdCarry};

/// The longest content id, in characters, by version (CTA-5004 table 1, `cid`; CTA-5004-A allows more).
const CONTENT_CHARS_MAX: [usize; 2] = [64, 128];

/// The longest URI that is told as what comes next, in bytes; of a longer one nothing is told.
const NEXT_BYTES_MAX: usize = 512;

/// All that is not unreserved in a URI (RFC 3986 section 2.3) is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is told of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) kind: Kind,
    /// Bits per second of the rendition, the highest there is, and what was measured. 0: unknown.
    pub(crate) bitrate: u64,
    pub(crate) top_bitrate: u64,
    pub(crate) throughput: Option<u64>,
    pub(crate) duration: Option<Duration>,
    pub(crate) buffer: Duration,
    /// Whether the picture stood still since the last request.
    pub(crate) starved: bool,
    /// Whether it starts, or starts again.
    pub(crate) startup: bool,
    pub(crate) audio: bool,
    pub(crate) live: bool,
    pub(crate) low_latency: bool,
    /// What comes next, relative to this URL.
    pub(crate) next: Option<&'a str>,
    /// How far behind the live edge (version 2).
    pub(crate) behind: Option<Duration>,
}

/// A session's identity: one viewer's play of one content. A viewer that comes back to a content has the same session again,
/// unless its seed is another one.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    cmcd: Cmcd,
    /// `sid`, in the form of a UUID.
    id: Box<str>,
    /// `cid`.
    content: Box<str>,
    /// Whether segments of the picture have no sound in them.
    audio_apart: Cell<bool>,
    /// `sn` of the next request (version 2).
    number: Cell<u64>,
    state: Cell<State>,
}

/// `sta` (version 2): what the viewer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Playing,
    Seeking,
    Rebuffering,
}

/// The header fields, each with keys of its own (CTA-5004 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shard {
    Object,
    Request,
    Session,
    Status,
}

/// The pairs of one request, by key.
#[derive(Default)]
struct Pairs(Vec<(&'static str, Shard, String)>);

// === impl Session ===

impl Session {
    pub(crate) fn new(cmcd: Cmcd, seed: u64, content: &str) -> Self {
        let limit = CONTENT_CHARS_MAX[usize::from(cmcd.version > 1)];
        Self {
            cmcd,
            id: uuid(seed, content).into(),
            content: content.chars().filter(|c| c.is_ascii_graphic()).take(limit).collect(),
            audio_apart: Cell::new(false),
            number: Cell::new(0),
            state: Cell::new(State::Starting),
        }
    }

    /// Tells that the stream has its sound in segments of their own, once that is known.
    pub(crate) fn audio_is_apart(&self, apart: bool) {
        self.audio_apart.set(apart);
    }

    /// The URL to ask for, and the fields that go with it.
    pub(crate) fn tell(
        &self,
        url: &Url,
        told: &Told<'_>,
        fields: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Url {
        let pairs = self.pairs(told);
        let mut url = url.clone();
        match self.cmcd.carry {
            CmcdCarry::Query => {
                let before = url.query().map(|query| format!("{query}&")).unwrap_or_default();
                let text = pairs.text(|_| true);
                url.set_query(Some(&format!("{before}CMCD={}", utf8_percent_encode(&text, ENCODED))));
            }
            CmcdCarry::Headers => {
                for (shard, name) in Shard::ALL {
                    let text = pairs.text(|of| of == shard);
                    if let (false, Ok(value)) = (text.is_empty(), HeaderValue::from_str(&text)) {
                        fields.push((HeaderName::from_static(name), value));
                    }
                }
            }
        }
        url
    }

    /// All that is said of one request.
    fn pairs(&self, told: &Told<'_>) -> Pairs {
        let second = self.cmcd.version > 1;
        let object = self.object(told);
        // Of objects that play (CTA-5004: `bl`, `br`, `d` and `tb` are of `a`, `v` and `av`).
        let plays = matches!(told.kind, Kind::Segment | Kind::Part);
        let mut pairs = Pairs::default();
        let listed = |value: u64| if second { format!("({value};{object})") } else { value.to_string() };
        if plays {
            pairs.put("bl", Shard::Request, listed(nearest(told.buffer.as_millis() as u64, 100) * 100));
            pairs.put_some("d", Shard::Object, told.duration.map(|length| length.as_millis().to_string()));
        }
        // Playlists name no bit rate for an audio rendition.
        if plays && !told.audio {
            for (key, bits) in [("br", told.bitrate), ("tb", told.top_bitrate)] {
                pairs.put_some(key, Shard::Object, (bits > 0).then(|| listed(nearest(bits, 1_000))));
            }
        }
        let throughput = told.throughput.map(|bits| nearest(bits, 100_000) * 100);
        pairs.put_some(
            "mtp",
            Shard::Request,
            throughput.map(|rate| if second { format!("({rate})") } else { rate.to_string() }),
        );
        pairs.put_some("nor", Shard::Request, told.next.and_then(|next| self.next_object(next)));
        pairs.put_set("bs", Shard::Status, told.starved);
        pairs.put_set("su", Shard::Request, told.startup);
        pairs.put("ot", Shard::Object, object.to_owned());
        pairs.put("cid", Shard::Session, quoted(&self.content));
        pairs.put("sid", Shard::Session, quoted(&self.id));
        pairs.put("sf", Shard::Session, "h".to_owned());
        pairs.put_some("st", Shard::Session, self.stream(told).map(str::to_owned));
        // Said only when the picture does not go at its own pace.
        let rate = if second { Shard::Status } else { Shard::Session };
        pairs.put_some("pr", rate, told.startup.then(|| "0".to_owned()));
        if second {
            let behind = told.behind.filter(|_| told.live).map(|behind| behind.as_millis().to_string());
            pairs.put_some("ltc", Shard::Request, behind);
            pairs.put("sn", Shard::Request, self.number.replace(self.number.get() + 1).to_string());
            pairs.put("sta", Shard::Request, self.now(told).to_owned());
            pairs.put("v", Shard::Session, "2".to_owned());
        }
        pairs
    }

    /// `ot`.
    fn object(&self, told: &Told<'_>) -> &'static str {
        match told.kind {
            Kind::Multivariant | Kind::Playlist | Kind::Reload => "m",
            Kind::Key => "k",
            Kind::Init => "i",
            Kind::Segment | Kind::Part if told.audio => "a",
            Kind::Segment | Kind::Part if self.audio_apart.get() => "v",
            Kind::Segment | Kind::Part => "av",
        }
    }

    /// `st`; none: before a media playlist has said it, nobody knows.
    fn stream(&self, told: &Told<'_>) -> Option<&'static str> {
        match (told.live, told.kind) {
            (true, _) if told.low_latency && self.cmcd.version > 1 => Some("ll"),
            (true, _) => Some("l"),
            (false, Kind::Multivariant | Kind::Playlist) => None,
            (false, _) => Some("v"),
        }
    }

    /// `nor`: of version 1 one encoded path, of version 2 a list.
    fn next_object(&self, next: &str) -> Option<String> {
        if next.is_empty() || next.len() > NEXT_BYTES_MAX || !next.bytes().all(|c| c.is_ascii_graphic()) {
            return None;
        }
        Some(match self.cmcd.version {
            1 => quoted(&utf8_percent_encode(next, ENCODED).to_string()),
            _ => format!("({})", quoted(next)),
        })
    }

    /// `sta`, from what it was: a start after play that is no want of media is a seek.
    fn now(&self, told: &Told<'_>) -> &'static str {
        let state = match (told.startup, told.starved, self.state.get()) {
            (false, _, _) => State::Playing,
            (true, true, _) => State::Rebuffering,
            (true, false, State::Playing) => State::Seeking,
            (true, false, before) => before,
        };
        self.state.set(state);
        match state {
            State::Starting => "s",
            State::Playing => "p",
            State::Seeking => "k",
            State::Rebuffering => "r",
        }
    }
}

// === impl Shard ===

impl Shard {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Object, "cmcd-object"),
        (Self::Request, "cmcd-request"),
        (Self::Session, "cmcd-session"),
        (Self::Status, "cmcd-status"),
    ];
}

// === impl Pairs ===

impl Pairs {
    /// Adds a pair; an empty value is a key that stands alone, which means true.
    fn put(&mut self, key: &'static str, shard: Shard, value: String) {
        let place = self.0.partition_point(|(other, ..)| *other < key);
        self.0.insert(place, (key, shard, value));
    }

    fn put_some(&mut self, key: &'static str, shard: Shard, value: Option<String>) {
        if let Some(value) = value {
            self.put(key, shard, value);
        }
    }

    /// Adds a key that is said only when it is true.
    fn put_set(&mut self, key: &'static str, shard: Shard, set: bool) {
        if set {
            self.put(key, shard, String::new());
        }
    }

    /// Those of some fields, in order of their keys (CTA-5004 section 3.2: alphabetical, separated by commas).
    fn text(&self, of: impl Fn(Shard) -> bool) -> String {
        let mut text = String::new();
        for (key, _, value) in self.0.iter().filter(|(_, shard, _)| of(*shard)) {
            let comma = if text.is_empty() { "" } else { "," };
            let equals = if value.is_empty() { "" } else { "=" };
            // Writing to a string does not fail.
            write!(text, "{comma}{key}{equals}{value}").ok();
        }
        text
    }
}

/// How many units a value is, to the nearest one.
fn nearest(value: u64, unit: u64) -> u64 {
    value.saturating_add(unit / 2) / unit
}

/// As a string of structured fields (RFC 8941 section 3.3.3).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A UUID (RFC 9562 section 5.4) that follows from a seed and a name.
fn uuid(seed: u64, name: &str) -> String {
    let bits = xxh3_128_with_seed(name.as_bytes(), seed);
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (4 << 76) | (2 << 62);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests;
