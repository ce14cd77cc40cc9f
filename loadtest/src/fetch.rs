//! One exchange, as a viewer sees it: what is asked for, how the body is treated, and what came of it.
//!
//! Viewers ask through [`Fetch`]: in a run that is [`crate::wire`] (sockets), in a rehearsal [`crate::rehearse`] (no sockets, and
//! time that is computed). Times are [`tokio::time::Instant`], so that both have the same clock.

use std::cell::Cell;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;
use url::Url;

/// What a viewer asks with: one per viewer. A future that is dropped gives the exchange up, as a player does that changes the
/// stream: its connection is closed (HTTP/1.1) or its stream reset (HTTP/2).
pub(crate) trait Fetch {
    /// One GET. Never fails: what went wrong is in the exchange.
    async fn get(&self, get: Get<'_>) -> Exchange;

    /// Closes all connections, as a viewer does that leaves.
    fn leave(&self);

    /// The exchanges that were given up since this was asked last. None also from whoever does not count.
    fn take_dropped(&self) -> Vec<GivenUp> {
        Vec::new()
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Get<'a> {
    pub(crate) url: &'a Url,
    /// First and last position of a byte range; no last one: to the end.
    pub(crate) range: Option<(u64, Option<u64>)>,
    /// Fields beside those that every player sends (`CMCD-*`, `Cookie`, a token).
    pub(crate) fields: &'a [(HeaderName, HeaderValue)],
    /// When the request was to be sent: waiting for a connection or a late timer counts as latency.
    pub(crate) due: Instant,
    pub(crate) body: Body,
    /// Where it is told how far the exchange is, as often as something comes; none: nobody looks.
    pub(crate) progress: Option<&'a Cell<Progress>>,
}

/// How far an exchange is that is under way, for who may give it up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// When the request was handed over to a connection; none: nothing was told yet.
    pub(crate) sent: Option<Instant>,
    /// When the head of the answer was there; none: it is not yet.
    pub(crate) first_byte: Option<Instant>,
    /// Bytes of the body that came.
    pub(crate) bytes: u64,
    /// Those of the whole body, if they are announced.
    pub(crate) length: Option<u64>,
}

/// What an object of a stream is, for who asks and for who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Multivariant,
    Playlist,
    /// A blocking playlist reload.
    Reload,
    /// What segments are encrypted with.
    Key,
    Init,
    Segment,
    Part,
}

/// How a body is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Kept whole, up to so many bytes.
    Text { bytes_max: usize },
    /// Counted, checked against what the origin's path says ([`crate::content::expected`]), and dropped.
    Media,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) due: Instant,
    /// When the request was handed over to a connection.
    pub(crate) sent: Instant,
    /// When the head of the answer was there; none: it never was.
    pub(crate) first_byte: Option<Instant>,
    /// When the exchange was over.
    pub(crate) end: Instant,
    /// None: there was no answer.
    pub(crate) status: Option<StatusCode>,
    /// Header fields of the answer; empty unless the body is text or the status not 200 or 206.
    pub(crate) headers: HeaderMap,
    pub(crate) cache: Cache,
    /// Bytes of the body that came.
    pub(crate) bytes: u64,
    /// The body, if it was asked for as text.
    pub(crate) text: Bytes,
    /// Whether a new connection was made for it.
    pub(crate) connected: bool,
    pub(crate) outcome: Outcome,
}

/// An exchange that was given up, as far as it had come: it was due, the server may have been asked, and
/// may have sent some of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GivenUp {
    pub(crate) due: Instant,
    /// When the head of the answer was there; none: it was not yet.
    pub(crate) first_byte: Option<Instant>,
    pub(crate) cache: Cache,
    /// Bytes of the body that had come.
    pub(crate) bytes: u64,
    /// Whether a new connection was made for it.
    pub(crate) connected: bool,
}

/// How an exchange ended. A status of 4xx or 5xx is an answer, and `Whole`: the viewer decides what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// All of it came, and nothing was wrong with it.
    Whole,
    /// All of it came, and at least one byte is not what the origin has for this path.
    Mismatch,
    Failed(Failure),
}

/// Why an exchange failed. The word is the same in rows and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// No connection.
    Connect,
    Tls,
    /// Nothing more came for too long.
    Timeout,
    /// The connection ended before the announced end of the body, or before the answer.
    Short,
    /// Another length than the origin has for this path.
    Length,
    /// What came is no HTTP.
    Protocol,
    /// A text longer than its limit.
    TooLong,
}

/// What the nearest cache says of its answer (RFC 9211; else `X-Cache`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) enum Cache {
    Hit,
    /// Answered stale (a hit whose ttl is negative, or as the cache names it).
    Stale,
    /// Confirmed at the origin.
    Revalidated,
    /// Waited for another's fetch.
    Collapsed,
    Miss,
    /// Not looked up.
    Bypass,
    /// It does not say.
    #[default]
    Unknown,
}

// === impl Get ===

impl Get<'_> {
    /// Tells who looks.
    pub(crate) fn tell(&self, progress: Progress) {
        if let Some(told) = self.progress {
            told.set(progress);
        }
    }
}

// === impl Kind ===

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Multivariant, Self::Playlist, Self::Reload, Self::Key, Self::Init, Self::Segment, Self::Part];

    /// The word in rows, reports, traces and the origin's ledger.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Multivariant => "multivariant",
            Self::Playlist => "playlist",
            Self::Reload => "reload",
            Self::Key => "key",
            Self::Init => "init",
            Self::Segment => "segment",
            Self::Part => "part",
        }
    }

    /// Whether its time to the first byte is what a row tells.
    pub(crate) fn is_media(self) -> bool {
        matches!(self, Self::Segment | Self::Part)
    }
}

// === impl Failure ===

impl Failure {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Short => "short",
            Self::Length => "length",
            Self::Protocol => "protocol",
            Self::TooLong => "too-long",
        }
    }
}

// === impl Cache ===

impl Cache {
    pub(crate) const ALL: [Self; 7] =
        [Self::Hit, Self::Stale, Self::Revalidated, Self::Collapsed, Self::Miss, Self::Bypass, Self::Unknown];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Collapsed => "collapsed",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the origin was not asked for this answer.
    pub(crate) fn is_hit(self) -> bool {
        matches!(self, Self::Hit | Self::Stale | Self::Collapsed)
    }
}
