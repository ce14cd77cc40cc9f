//! What stands in an access line: field names, their order, and the bounds of their texts.
//!
//! [`Entry::new`] runs on the request's thread and only copies; [`Entry::write`] runs on the writer's and formats. Field
//! names are stable. A field that does not apply is left out; times are in milliseconds with three decimals; control
//! characters are escaped as JSON has it. A text beyond its bound is cut at a character and ends in an ellipsis.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::asset::Kind;
use crate::observe::cmcd::{CMCD_BYTES_MAX, Cmcd};
use crate::observe::record::{Denial, Protocol, Record};
use crate::observe::timestamp::Timestamp;
use crate::outcome::Outcome;

/// Bytes of `site`.
pub const SITE_BYTES_MAX: usize = 255;
/// Bytes of `method`.
pub const METHOD_BYTES_MAX: usize = 32;
/// Bytes of `host`.
pub const HOST_BYTES_MAX: usize = 255;
/// Bytes of `path`.
pub const PATH_BYTES_MAX: usize = 2048;
/// Bytes of `query`.
pub const QUERY_BYTES_MAX: usize = 2048;
/// Bytes of `range`.
pub const RANGE_BYTES_MAX: usize = 128;
/// Bytes of `session`.
pub const SESSION_BYTES_MAX: usize = 128;
/// Bytes of `user_agent`.
pub const USER_AGENT_BYTES_MAX: usize = 512;

/// Bytes of `tls_fingerprint`.
pub const TLS_FINGERPRINT_BYTES_MAX: usize = 36;

/// Bytes of `node`.
pub const NODE_BYTES_MAX: usize = 64;

/// Every field, in the order of the line, with what it says.
pub const FIELDS: &[(&str, &str)] = &[
    ("ts", "when the request came in: RFC 3339, UTC, milliseconds"),
    ("site", "the site's name; absent where none matched"),
    ("client_ip", "address of the client, after trusted proxies"),
    ("method", "request method"),
    ("host", "host asked for"),
    ("path", "path without the token"),
    ("query", "query without token, CMCD and what a rule drops (drop_parameters)"),
    ("proto", "h1 or h2"),
    ("tls", "whether the client came over TLS"),
    ("status", "status sent; 0: the client left before there was one"),
    ("outcome", "what became of the request; the word of the metrics"),
    ("reason", "why it was refused or failed"),
    ("kind", "asset kind"),
    ("range", "Range header"),
    ("bytes", "body bytes sent"),
    ("ttfb_ms", "time to the answer's first byte"),
    ("total_ms", "time to the answer's last byte"),
    ("coalesced_wait_ms", "time spent waiting for another request's fetch"),
    ("age_s", "age of the stored object"),
    ("ttl_s", "freshness left to the stored object; negative: stale for so long"),
    ("session", "the token's id"),
    (
        "cmcd",
        "what the player says: sid, ot, br, bl, mtp (and br_by, bl_by, mtp_by: by object type), bs, su, nor, v",
    ),
    ("user_agent", "User-Agent header"),
    ("tls_fingerprint", "JA4 of the client, with log.tls_fingerprint; absent where it is not known"),
    ("node", "the node that the request came from; absent for a viewer's"),
    ("aborted", "whether the transfer broke off before its end"),
];

/// The texts of a record that are copied.
#[derive(Clone, Copy)]
enum Text {
    Site,
    Method,
    Host,
    Path,
    Query,
    Range,
    Session,
    Cmcd,
    UserAgent,
    TlsFingerprint,
    Node,
}

/// Number of [`Text`]s.
const TEXTS: usize = 11;
/// The end of a text that is absent.
const ABSENT: u16 = u16::MAX;
/// What a text that was cut ends in.
const ELLIPSIS: &str = "\u{2026}";

/// A record that owns what it needs: one allocation.
pub(super) struct Entry {
    /// All texts, one behind the other.
    texts: String,
    /// Where each ends in `texts`; [`ABSENT`] where there is none.
    ends: [u16; TEXTS],
    kind: Kind,
    outcome: Outcome,
    denial: Option<Denial>,
    error: Option<&'static str>,
    protocol: Protocol,
    tls: bool,
    aborted: bool,
    status: u16,
    client: IpAddr,
    bytes: u64,
    first_byte: Option<Duration>,
    total: Duration,
    coalesce_wait: Option<Duration>,
    age_s: Option<i64>,
    ttl_s: Option<i64>,
    started: SystemTime,
}

impl Entry {
    pub(super) fn new(record: &Record<'_>) -> Entry {
        let texts: [(Option<&str>, usize); TEXTS] = [
            (Some(record.site_name).filter(|name| !name.is_empty()), SITE_BYTES_MAX),
            (Some(record.method), METHOD_BYTES_MAX),
            (Some(record.host), HOST_BYTES_MAX),
            (Some(record.path), PATH_BYTES_MAX),
            (record.query, QUERY_BYTES_MAX),
            (record.range, RANGE_BYTES_MAX),
            (record.session, SESSION_BYTES_MAX),
            // One byte more than is read: the reader sees that it was cut.
            (record.cmcd, CMCD_BYTES_MAX + 1),
            (record.user_agent, USER_AGENT_BYTES_MAX),
            (record.tls_fingerprint, TLS_FINGERPRINT_BYTES_MAX),
            (record.hop, NODE_BYTES_MAX),
        ];
        let (texts, ends) = pack(&texts);
        Entry {
            texts,
            ends,
            kind: record.kind,
            outcome: record.outcome,
            denial: record.denial,
            error: record.error,
            protocol: record.protocol,
            tls: record.tls,
            aborted: record.aborted,
            status: record.status,
            client: record.client,
            bytes: record.bytes,
            first_byte: record.first_byte,
            total: record.total,
            coalesce_wait: record.coalesce_wait,
            age_s: record.age_s,
            ttl_s: record.ttl_s,
            started: record.started,
        }
    }

    /// Appends the line, without its end.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(out, &self.line())
    }

    fn line(&self) -> Line<'_> {
        Line {
            ts: Timestamp(self.started),
            site: self.text(Text::Site),
            client_ip: self.client,
            method: self.text(Text::Method),
            host: self.text(Text::Host),
            path: self.text(Text::Path),
            query: self.text(Text::Query),
            proto: self.protocol.as_str(),
            tls: self.tls,
            status: self.status,
            outcome: self.outcome.as_str(),
            reason: self.denial.map(Denial::reason).or(self.error),
            kind: self.kind.as_str(),
            range: self.text(Text::Range),
            bytes: self.bytes,
            ttfb_ms: self.first_byte.map(milliseconds),
            total_ms: milliseconds(self.total),
            coalesced_wait_ms: self.coalesce_wait.map(milliseconds),
            age_s: self.age_s,
            ttl_s: self.ttl_s,
            session: self.text(Text::Session),
            cmcd: self.text(Text::Cmcd).map(Cmcd::parse).filter(|cmcd| !cmcd.is_empty()),
            user_agent: self.text(Text::UserAgent),
            tls_fingerprint: self.text(Text::TlsFingerprint),
            node: self.text(Text::Node),
            aborted: self.aborted,
        }
    }

    fn text(&self, text: Text) -> Option<&str> {
        let end = self.ends[text as usize];
        if end == ABSENT {
            return None;
        }
        let before = self.ends[..text as usize].iter().rev().find(|end| **end != ABSENT);
        self.texts.get(usize::from(before.copied().unwrap_or(0))..usize::from(end))
    }
}

/// The texts, each cut to its bound, one behind the other; and where each ends.
fn pack(texts: &[(Option<&str>, usize); TEXTS]) -> (String, [u16; TEXTS]) {
    let bytes =
        texts.iter().map(|(text, max)| text.map_or(0, |text| text.len().min(max + ELLIPSIS.len()))).sum();
    let mut packed = String::with_capacity(bytes);
    let mut ends = [ABSENT; TEXTS];
    for (end, (text, max)) in ends.iter_mut().zip(texts) {
        let Some(text) = text else {
            continue;
        };
        if text.len() <= *max {
            packed.push_str(text);
        } else {
            packed.push_str(&text[..text.floor_char_boundary(*max)]);
            packed.push_str(ELLIPSIS);
        }
        *end = packed.len() as u16; // the sum of all bounds is far below
    }
    (packed, ends)
}

/// Milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// The line; its fields are [`FIELDS`].
#[derive(Serialize)]
struct Line<'a> {
    #[serde(serialize_with = "displayed")]
    ts: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'a str>,
    client_ip: IpAddr,
    method: Option<&'a str>,
    host: Option<&'a str>,
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    proto: &'static str,
    tls: bool,
    status: u16,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<&'a str>,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttfb_ms: Option<f64>,
    total_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    coalesced_wait_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_s: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_s: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmcd: Option<Cmcd<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_fingerprint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    aborted: bool,
}

fn displayed<S: Serializer>(value: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// The sum of all bounds fits the ends of [`Entry`].
const _: () = assert!(
    SITE_BYTES_MAX
        + METHOD_BYTES_MAX
        + HOST_BYTES_MAX
        + PATH_BYTES_MAX
        + QUERY_BYTES_MAX
        + RANGE_BYTES_MAX
        + SESSION_BYTES_MAX
        + CMCD_BYTES_MAX
        + USER_AGENT_BYTES_MAX
        + TLS_FINGERPRINT_BYTES_MAX
        + TEXTS * 4
        < ABSENT as usize
);
