//! Whether an answer may be kept, for how long, and what its viewers are told.
//!
//! A rule wins over the origin's header, the origin's header over the default of the asset kind; a live playlist is
//! capped in any case, and so is an error. Built on RFC 9111 sections 3 and 4.2, RFC 5861, and RFC 8216bis
//! appendix B.1.

use std::time::{Duration, SystemTime};

use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, CONTENT_RANGE, DATE, EXPIRES, HeaderName, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VARY, VIA,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use pingora::http::ResponseHeader;
use pingora_cache::cache_control::CacheControl;

use super::Times;
use crate::asset::Kind;
use crate::hls::PlaylistFacts;
use crate::store::Lifetime;

/// Freshness of a segment, part or init segment of which the origin says nothing.
const SEGMENT_TTL: Duration = Duration::from_secs(24 * 3600);

/// Freshness of an ended playlist of which the origin says nothing.
const ENDED_TTL: Duration = Duration::from_secs(3600);

/// Freshness of a multivariant playlist, and of a DASH manifest, of which the origin says nothing.
const MULTIVARIANT_TTL: Duration = Duration::from_secs(5);

/// Freshness of an error for an HLS asset where no target duration is known; also the longest an origin may set.
const NEGATIVE_TTL: Duration = Duration::from_secs(1);

/// How long an ended playlist or a segment may be served when the origin fails.
const LASTING_STALE_IF_ERROR: Duration = Duration::from_secs(24 * 3600);

/// Target durations that a live playlist may be served for when the origin fails.
const LIVE_STALE_IF_ERROR_TARGETS: u32 = 3;

/// Target durations that a held (blocking) playlist request stays fresh (RFC 8216bis appendix B.1).
const BLOCKING_TARGETS: u32 = 6;

/// Longest freshness taken from anywhere: a year.
const TTL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Statuses kept without a rule that names them. Redirects are not: they are kept by rule alone.
const KEPT_STATUSES: [u16; 12] = [200, 203, 204, 404, 405, 410, 414, 500, 501, 502, 503, 504];

/// An answer of the origin, with what is known about it.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// Status and fields as received.
    pub header: &'a ResponseHeader,
    /// What it is.
    pub kind: Kind,
    /// What the playlist says, where it is one and was read.
    pub playlist: Option<PlaylistFacts>,
    /// Whether the request named a media sequence number to wait for (`_HLS_msn`).
    pub blocking: bool,
    /// What the rules say.
    pub times: &'a Times,
    /// When it came.
    pub now: SystemTime,
}

/// Why an answer is not kept. The word stands in `Cache-Status` and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `no-store` (RFC 9111 section 5.2.2.5).
    NoStore,
    /// `private` (section 5.2.2.7).
    Private,
    /// It sets a cookie.
    SetCookie,
    /// It varies by a field that is not part of the key.
    Vary,
    /// Its status is not kept.
    Status,
    /// Keys and licences are never shared.
    Kind,
    /// A part of an object that was not asked for in part.
    Partial,
}

impl Refusal {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::NoStore => "no_store",
            Refusal::Private => "private",
            Refusal::SetCookie => "set_cookie",
            Refusal::Vary => "vary",
            Refusal::Status => "status",
            Refusal::Kind => "kind",
            Refusal::Partial => "partial",
        }
    }
}

/// Whether an answer is kept.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is, with this header and for so long.
    Keep(Box<ResponseHeader>, Lifetime),
    /// It is not; the one who asked gets it with this header.
    Pass(Box<ResponseHeader>, Refusal),
}

/// Judges an answer.
pub fn judge(fetched: &Fetched<'_>) -> Verdict {
    let control = CacheControl::from_resp_headers(fetched.header);
    let mut header = Box::new(end_to_end(fetched.header));
    if let Some(refusal) = refusal(fetched, control.as_ref()) {
        return Verdict::Pass(header, refusal);
    }
    let age = fetched.header.headers.get(AGE).and_then(seconds).unwrap_or_default();
    let ttl = ttl(fetched, control.as_ref());
    let (stale_while_revalidate, stale_if_error) = stale_windows(fetched, control.as_ref());
    let lifetime = Lifetime {
        created: fetched.now.checked_sub(age).unwrap_or(fetched.now),
        fresh_until: fetched.now + ttl.saturating_sub(age),
        stale_while_revalidate,
        stale_if_error,
    };
    if let Some(value) = viewer_cache_control(fetched, control.as_ref()) {
        // A static name and a value made of digits and letters.
        let _ = header.insert_header(CACHE_CONTROL, value);
        header.remove_header(&EXPIRES);
    }
    Verdict::Keep(header, lifetime)
}

/// A copy without the fields that belong to one connection (RFC 9110 section 7.6.1) or are set anew on the way out.
pub fn end_to_end(received: &ResponseHeader) -> ResponseHeader {
    let named: Vec<HeaderName> = received
        .headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let dropped = [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, AGE, VIA];
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = received.status;
    parts.headers = HeaderMap::with_capacity(received.headers.len() + 8);
    for (name, value) in &received.headers {
        let hop = dropped.contains(name)
            || named.contains(name)
            || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "proxy-authenticate");
        if !hop {
            // Copied: a received value shares the whole buffer that the header was read into.
            parts
                .headers
                .append(name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap_or(value.clone()));
        }
    }
    ResponseHeader::from(parts)
}

fn refusal(fetched: &Fetched<'_>, control: Option<&CacheControl>) -> Option<Refusal> {
    let headers = &fetched.header.headers;
    let status = fetched.header.status;
    let by_rule = fetched.times.names_status;
    if fetched.kind == Kind::Key {
        Some(Refusal::Kind)
    } else if status == StatusCode::PARTIAL_CONTENT || headers.contains_key(CONTENT_RANGE) {
        Some(Refusal::Partial)
    } else if !by_rule && !is_kept_status(status) {
        Some(Refusal::Status)
    } else if headers.contains_key(SET_COOKIE) {
        Some(Refusal::SetCookie)
    } else if varies(headers) {
        Some(Refusal::Vary)
    } else if fetched.times.ttl.is_some() {
        // A rule that sets a time wins over the origin's directives.
        None
    } else if control.is_some_and(CacheControl::no_store) {
        Some(Refusal::NoStore)
    } else if control.is_some_and(CacheControl::private) {
        Some(Refusal::Private)
    } else {
        None
    }
}

fn is_kept_status(status: StatusCode) -> bool {
    KEPT_STATUSES.contains(&status.as_u16())
}

/// Whether the answer depends on a field of the request that the node lets differ: it asks with the same
/// `Accept-Encoding` and without `Origin` for everybody.
fn varies(headers: &HeaderMap) -> bool {
    let names = headers.get_all(VARY).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.map(<[u8]>::trim_ascii).any(|name| {
        !name.is_empty()
            && !name.eq_ignore_ascii_case(b"accept-encoding")
            && !name.eq_ignore_ascii_case(b"origin")
            && !name.to_ascii_lowercase().starts_with(b"access-control-request-")
    })
}

fn ttl(fetched: &Fetched<'_>, control: Option<&CacheControl>) -> Duration {
    let chosen = fetched
        .times
        .ttl
        .or_else(|| explicit(fetched, control))
        .unwrap_or_else(|| default_ttl(fetched))
        .min(TTL_MAX);
    let is_error = fetched.header.status.is_client_error() || fetched.header.status.is_server_error();
    match live(fetched) {
        _ if is_error && fetched.times.ttl.is_none() && is_hls(fetched.kind) => chosen.min(NEGATIVE_TTL),
        _ if fetched.header.status.is_server_error() && fetched.times.ttl.is_none() => {
            chosen.min(NEGATIVE_TTL)
        }
        // A live playlist that were kept longer would freeze the stream.
        Some(target) if fetched.blocking => chosen.min(target * BLOCKING_TARGETS),
        Some(target) => chosen.min(target),
        None => chosen,
    }
}

/// The origin's own word (RFC 9111 section 4.2.1); a word that cannot be read counts as stale.
fn explicit(fetched: &Fetched<'_>, control: Option<&CacheControl>) -> Option<Duration> {
    if let Some(control) = control {
        if control.no_cache() {
            return Some(Duration::ZERO);
        }
        let read = |directive: pingora::Result<Option<u32>>| match directive {
            Ok(seconds) => seconds.map(|seconds| Duration::from_secs(seconds.into())),
            Err(_) => Some(Duration::ZERO),
        };
        let lifetime = read(control.s_maxage()).or_else(|| read(control.max_age()));
        if lifetime.is_some() {
            return lifetime;
        }
    }
    let expires = fetched.header.headers.get(EXPIRES)?;
    let date = fetched.header.headers.get(DATE).and_then(http_date).unwrap_or(fetched.now);
    Some(http_date(expires).and_then(|at| at.duration_since(date).ok()).unwrap_or_default())
}

fn default_ttl(fetched: &Fetched<'_>) -> Duration {
    let status = fetched.header.status;
    if status.is_client_error() || status.is_server_error() {
        return NEGATIVE_TTL;
    }
    match (fetched.kind, live(fetched)) {
        (_, Some(target)) if fetched.blocking => target * BLOCKING_TARGETS,
        (_, Some(target)) => target / 2,
        (Kind::MediaPlaylist, None) => ENDED_TTL,
        (Kind::MultivariantPlaylist | Kind::Manifest, None) => MULTIVARIANT_TTL,
        (Kind::Segment | Kind::Part | Kind::Init, None) => SEGMENT_TTL,
        (Kind::Key | Kind::Image | Kind::Api | Kind::Other, None) => Duration::ZERO,
    }
}

/// The windows of RFC 5861: rule, then header, then kind. `must-revalidate` closes them unless a rule opens them.
fn stale_windows(fetched: &Fetched<'_>, control: Option<&CacheControl>) -> (Duration, Duration) {
    let strict = control
        .is_some_and(|control| control.must_revalidate() || control.proxy_revalidate() || control.no_cache());
    let told = |directive: fn(&CacheControl) -> pingora::Result<Option<u32>>| {
        control.and_then(|control| directive(control).ok().flatten()).map(|s| Duration::from_secs(s.into()))
    };
    let is_error = fetched.header.status.is_client_error() || fetched.header.status.is_server_error();
    let (default_swr, default_sie) = match (fetched.kind, live(fetched)) {
        _ if is_error => (Duration::ZERO, Duration::ZERO),
        (_, Some(target)) => (target / 2, target * LIVE_STALE_IF_ERROR_TARGETS),
        (
            Kind::MediaPlaylist | Kind::MultivariantPlaylist | Kind::Segment | Kind::Part | Kind::Init,
            None,
        ) => (Duration::ZERO, LASTING_STALE_IF_ERROR),
        _ => (Duration::ZERO, Duration::ZERO),
    };
    let choose = |rule: Option<Duration>, told: Option<Duration>, default: Duration| {
        let unless_strict = if strict { Duration::ZERO } else { told.unwrap_or(default) };
        rule.unwrap_or(unless_strict).min(TTL_MAX)
    };
    let swr =
        choose(fetched.times.stale_while_revalidate, told(CacheControl::stale_while_revalidate), default_swr);
    let sie = choose(fetched.times.stale_if_error, told(CacheControl::stale_if_error), default_sie);
    (swr, sie)
}

/// What viewers are told in place of the origin's word: a rule's time, or the cap of a live playlist.
fn viewer_cache_control(fetched: &Fetched<'_>, control: Option<&CacheControl>) -> Option<HeaderValue> {
    let seconds = if let Some(browser_ttl) = fetched.times.browser_ttl {
        browser_ttl.as_secs()
    } else {
        let cap = live(fetched)? * if fetched.blocking { BLOCKING_TARGETS } else { 1 };
        let told = control.and_then(|control| control.max_age().ok().flatten()).map(u64::from);
        if control.is_some_and(|control| control.no_cache() || control.no_store()) {
            return None;
        }
        told.map_or(cap.as_secs(), |told| told.min(cap.as_secs()))
    };
    HeaderValue::from_str(&format!("max-age={seconds}")).ok()
}

/// The target duration of a live media playlist.
fn live(fetched: &Fetched<'_>) -> Option<Duration> {
    let facts = fetched.playlist?;
    (!facts.ended && !facts.multivariant).then_some(facts.target_duration)
}

fn is_hls(kind: Kind) -> bool {
    kind.is_playlist() || matches!(kind, Kind::Segment | Kind::Part | Kind::Init)
}

fn seconds(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn http_date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests;
