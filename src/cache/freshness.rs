//! Whether an answer may be kept, for how long, and what its viewers are told.
//!
//! A rule wins over the origin's header, the origin's header over the default of the asset kind; a live playlist is
//! capped in any case, and so is an error. What a node of the next tier has decided wins over all of it
//! ([`super::tier`]). Built on RFC 9111 sections 3 and 4.2, RFC 5861, and RFC 8216bis
//! appendix B.1. What a header may not be stored with is in `storing`, how old it is in `age`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, EXPIRES, HeaderName, LAST_MODIFIED};
use pingora::http::ResponseHeader;

use super::Times;
use super::age::Age;
use super::date::Dated;
use super::directives::{Deciding, Directives};
use super::header::{for_viewers, set_viewer_freshness};
use super::source::{TtlCap, TtlFrom, TtlSource};
use super::storing::{Refusal, dropped_fields, refusal, varying_fields};
use super::tags;
use super::tier::Left;
use crate::asset::Kind;
use crate::dash::ManifestFacts;
use crate::hls::{PlaylistFacts, Reload};
use crate::store::Lifetime;

/// Freshness of a segment, part or init segment of which the origin says nothing.
const SEGMENT_TTL: Duration = Duration::from_secs(24 * 3600);

/// Freshness of an ended playlist and of a static DASH manifest of which the origin says nothing.
const ENDED_TTL: Duration = Duration::from_secs(3600);

/// Freshness of a multivariant playlist of whose renditions nothing is known, and of a DASH manifest without
/// `minimumUpdatePeriod`, of which the origin says nothing.
const MULTIVARIANT_TTL: Duration = Duration::from_secs(5);

/// Freshness of an error of which the origin says nothing; also the longest an origin may set for an error of an HLS
/// asset of whose stream nothing is known, and for a server error of any kind.
const NEGATIVE_TTL: Duration = Duration::from_secs(1);

/// Longest freshness that is guessed from `Last-Modified` (RFC 9111 section 4.2.2): a day.
const HEURISTIC_TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// The share of the time since `Last-Modified` that is guessed as freshness: a tenth.
const HEURISTIC_DIVISOR: u32 = 10;

/// How long an ended playlist or a segment may be served when the origin fails.
const LASTING_STALE_IF_ERROR: Duration = Duration::from_secs(24 * 3600);

/// Target durations that a live playlist may be served for when the origin fails.
const LIVE_STALE_IF_ERROR_TARGETS: u32 = 3;

/// Most target durations that an origin's `stale-while-revalidate` holds for on a live playlist.
const LIVE_STALE_WHILE_REVALIDATE_TARGETS_MAX: u32 = 3;

/// Most target durations that an origin's `stale-if-error` holds for on a live playlist.
const LIVE_STALE_IF_ERROR_TARGETS_MAX: u32 = 6;

/// Longest that an origin's windows (RFC 5861) hold for on anything else but an error: 30 days.
const STALE_WINDOW_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Target durations that a held (blocking) playlist request stays fresh (RFC 8216bis appendix B.1).
const BLOCKING_TARGETS: u32 = 6;

/// Target durations that an error is fresh which answers a blocking reload (RFC 8216bis appendix B.1).
const BLOCKING_ERROR_TARGETS: u32 = 4;

/// Longest freshness taken from anywhere: a year.
const TTL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// An answer of the origin, with what is known about it.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// Status and fields as received.
    pub header: &'a ResponseHeader,
    /// What it is.
    pub kind: Kind,
    /// What the playlist or manifest says, where it is one and was read.
    pub said: Said,
    /// Whether it is the answer to a blocking reload ([`is_blocking`]).
    pub blocking: bool,
    /// What is known of the live stream that it belongs to: of an error, and of a multivariant playlist.
    pub stream: Option<StreamTold>,
    /// What the rules say.
    pub times: &'a Times,
    /// When the request was sent.
    pub asked: SystemTime,
    /// When the header came.
    pub now: SystemTime,
    /// Whether the request that it answers had `Authorization` (RFC 9111 section 3.5).
    pub authorized: bool,
    /// Whether the key holds `Authorization`: then an answer to a request with it may be kept if a rule's `ttl` says so.
    /// Another part of the key, a cookie or a claim, does not tell apart whom that answer is for.
    pub keyed_by_it: bool,
    /// Whether the viewer's request had `no-store` and is obeyed (section 5.2.1.5).
    pub no_store: bool,
}

/// What an answer says about itself, as far as freshness depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Said {
    /// Of a playlist that was read.
    pub playlist: Option<PlaylistFacts>,
    /// Of a DASH manifest that was read.
    pub manifest: Option<ManifestFacts>,
}

/// What playlists that passed through say of a live stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamTold {
    /// The shortest target duration of its renditions that are known.
    pub target_duration: Duration,
    /// Whether a playlist lists what is asked for, as a segment or an init section.
    pub listed: bool,
}

/// Whether an answer is one to a blocking reload: a playlist that holds what was asked for, or an error.
pub fn is_blocking(reload: Reload, playlist: Option<PlaylistFacts>) -> bool {
    playlist.is_none_or(|facts| facts.holds(reload))
}

/// Whether an answer is kept.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is.
    Keep(Box<Kept>),
    /// It is not; the one who asked gets it with this header.
    Pass(Box<ResponseHeader>, Refusal),
}

/// What is kept of an answer.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Status and fields to store and to answer with.
    pub header: ResponseHeader,
    /// How long it may be used.
    pub lifetime: Lifetime,
    /// Hashes of its tags, sorted, each once; None: it names none, and an object that it confirms keeps its own.
    pub tags: Option<Arc<[u64]>>,
    /// Fields that `private` or `no-cache` name: for the one who asked alone (RFC 9111 sections 5.2.2.4 and 5.2.2.7).
    pub own: HeaderMap,
    /// Request fields that it varies by (RFC 9111 section 4.1), lower case, sorted, each once.
    pub vary: Box<[HeaderName]>,
}

/// Judges an answer.
pub fn judge(fetched: &Fetched<'_>) -> Verdict {
    let headers = &fetched.header.headers;
    let deciding = Deciding::of(headers);
    let mut header = for_viewers(fetched.header, fetched.now);
    if let Some(refusal) = refusal(fetched, &deciding) {
        return Verdict::Pass(Box::new(header), refusal);
    }
    let Some(vary) = varying_fields(headers) else { return Verdict::Pass(Box::new(header), Refusal::Vary) };
    let Ok(tags) = tags::of(headers) else { return Verdict::Pass(Box::new(header), Refusal::Tags) };
    let mut own = HeaderMap::new();
    for name in dropped_fields(&deciding) {
        for value in header.headers.get_all(name) {
            own.append(name.clone(), value.clone());
        }
        header.remove_header(name);
    }
    let told = Directives::of_cache_control(headers);
    if let Some(freshness) = viewer_freshness(fetched, &told) {
        set_viewer_freshness(&mut header, freshness, &told, live(fetched).is_some());
    }
    Verdict::Keep(Box::new(Kept { header, lifetime: lifetime(fetched, &deciding), tags, own, vary }))
}

fn lifetime(fetched: &Fetched<'_>, deciding: &Deciding) -> Lifetime {
    let age = Age::of(&fetched.header.headers, fetched.asked, fetched.now);
    let created = fetched.now.checked_sub(age.initial).unwrap_or(fetched.now);
    if let Some(left) = Left::told(&fetched.header.headers) {
        // Its `Date` is of the moment at which it was sent, by another clock.
        let old = age.told + fetched.now.duration_since(fetched.asked).unwrap_or_default();
        return Lifetime {
            created: fetched.now.checked_sub(old).unwrap_or(fetched.now),
            fresh_until: fetched.now + left.fresh.min(TTL_MAX),
            span: left.fresh.min(TTL_MAX),
            from_coming: true,
            stale_while_revalidate: left.stale_while_revalidate.min(TTL_MAX),
            stale_if_error: left.stale_if_error.min(TTL_MAX),
            strict: left.strict,
            immutable: left.immutable,
            purged: None,
        };
    }
    let (ttl, source) = chosen(fetched, deciding);
    let (ttl, cap) = (ttl.min(TTL_MAX), cap(fetched).map(|cap| cap.min(TTL_MAX)));
    let capped = cap.filter(|cap| *cap < ttl);
    let overdue =
        if source.is_of_origin() { age.initial.saturating_sub(ttl) } else { age.told.saturating_sub(ttl) };
    let (stale_while_revalidate, stale_if_error) = stale_windows(fetched, &deciding.directives, overdue);
    Lifetime {
        created,
        fresh_until: fetched.now + freshness_left((ttl, source), cap, age),
        span: capped.unwrap_or(ttl),
        from_coming: capped.is_some() || !source.is_of_origin(),
        stale_while_revalidate,
        stale_if_error,
        strict: deciding.directives.forbids_stale(),
        immutable: deciding.directives.immutable && live(fetched).is_none(),
        purged: None,
    }
}

/// How long the answer is fresh from now on. A time that its origin means counts from its making (RFC 9111 section
/// 4.2.3); a time of the node's own, and a cap, from when it came, less the time that it lay in caches before.
fn freshness_left((ttl, source): (Duration, TtlSource), cap: Option<Duration>, age: Age) -> Duration {
    let from_now = |own: Duration| own.saturating_sub(age.told);
    let left = if source.is_of_origin() { ttl.saturating_sub(age.initial) } else { from_now(ttl) };
    cap.map_or(left, |cap| left.min(from_now(cap)))
}

/// What names the freshness of an answer, and what shortens it. Of an answer that is kept.
pub fn ttl_from(fetched: &Fetched<'_>) -> TtlFrom {
    if Left::told(&fetched.header.headers).is_some() {
        return TtlFrom { source: TtlSource::Tier, targeted: false, cap: None };
    }
    let deciding = Deciding::of(&fetched.header.headers);
    let (ttl, source) = chosen(fetched, &deciding);
    let by = if live(fetched).is_some() { TtlCap::LivePlaylist } else { TtlCap::Error };
    let cap = cap(fetched).filter(|cap| *cap < ttl).map(|_| by);
    TtlFrom { source, targeted: source.is_directive() && deciding.targeted, cap }
}

/// The time that counts, before anything shortens it: a rule's, the origin's, a guess, or the kind's.
fn chosen(fetched: &Fetched<'_>, deciding: &Deciding) -> (Duration, TtlSource) {
    let default = if is_error(fetched) { TtlSource::Error } else { TtlSource::Kind };
    let rule = fetched.times.ttl.map(|ttl| (ttl, TtlSource::Rule));
    rule.or_else(|| explicit(fetched, deciding))
        .or_else(|| heuristic(fetched, deciding).map(|ttl| (ttl, TtlSource::LastModified)))
        .unwrap_or_else(|| (default_ttl(fetched), default))
}

/// The longest freshness of an answer, whoever names it.
fn cap(fetched: &Fetched<'_>) -> Option<Duration> {
    let by_rule = fetched.times.ttl.is_some();
    if !by_rule && caps_errors(fetched) {
        return Some(error_ttl(fetched));
    }
    // A live playlist that were kept longer would freeze the stream.
    live(fetched).map(|target| target * if fetched.blocking { BLOCKING_TARGETS } else { 1 })
}

/// The origin's own word (RFC 9111 section 4.2.1); a word that cannot be read counts as stale.
fn explicit(fetched: &Fetched<'_>, deciding: &Deciding) -> Option<(Duration, TtlSource)> {
    let directives = &deciding.directives;
    if directives.no_cache.is_whole() {
        return Some((Duration::ZERO, TtlSource::NoCache));
    }
    let expires = || match Dated::of(&fetched.header.headers, &EXPIRES, fetched.now) {
        _ if deciding.targeted => None,
        Dated::Absent => None,
        Dated::Invalid => Some(Duration::ZERO),
        Dated::At(at) => Some(at.duration_since(date(fetched)).unwrap_or_default()),
    };
    let s_maxage = directives.s_maxage.map(|ttl| (ttl, TtlSource::SMaxage));
    let max_age = || directives.max_age.map(|ttl| (ttl, TtlSource::MaxAge));
    s_maxage.or_else(max_age).or_else(|| expires().map(|ttl| (ttl, TtlSource::Expires)))
}

/// A tenth of the time since the last change (RFC 9111 section 4.2.2), for kinds that have no default of the node's
/// own, and answers that are cacheable without a word of the origin, or by `public`.
fn heuristic(fetched: &Fetched<'_>, deciding: &Deciding) -> Option<Duration> {
    let status = fetched.header.status;
    let cacheable = matches!(status.as_u16(), 200 | 203 | 204) || deciding.directives.public;
    if has_own_default(fetched.kind) || is_error(fetched) || !cacheable {
        return None;
    }
    let changed = Dated::of(&fetched.header.headers, &LAST_MODIFIED, fetched.now).time()?;
    let unchanged = date(fetched).duration_since(changed).unwrap_or_default();
    Some((unchanged / HEURISTIC_DIVISOR).min(HEURISTIC_TTL_MAX))
}

/// When the answer was made, as its origin says; else when it came.
fn date(fetched: &Fetched<'_>) -> SystemTime {
    Dated::of(&fetched.header.headers, &DATE, fetched.now).time().unwrap_or(fetched.now)
}

/// How long an error is kept. A segment that is not there yet will be in a moment: at the live edge its absence answers
/// those who have waited for it, and nobody else.
fn error_ttl(fetched: &Fetched<'_>) -> Duration {
    let Some(stream) = fetched.stream.filter(|_| fetched.header.status.is_client_error()) else {
        return NEGATIVE_TTL;
    };
    match fetched.kind {
        Kind::MediaPlaylist | Kind::MultivariantPlaylist if fetched.blocking => {
            stream.target_duration * BLOCKING_ERROR_TARGETS
        }
        Kind::MediaPlaylist | Kind::MultivariantPlaylist => stream.target_duration,
        Kind::Segment | Kind::Init if stream.listed => stream.target_duration,
        Kind::Segment | Kind::Part | Kind::Init => Duration::ZERO,
        _ => NEGATIVE_TTL,
    }
}

fn default_ttl(fetched: &Fetched<'_>) -> Duration {
    if is_error(fetched) {
        return error_ttl(fetched);
    }
    if fetched.header.status.is_redirection() {
        return Duration::ZERO;
    }
    match (fetched.kind, live(fetched)) {
        (_, Some(target)) if fetched.blocking => target * BLOCKING_TARGETS,
        (_, Some(target)) => target / 2,
        (Kind::MediaPlaylist, None) => ENDED_TTL,
        (Kind::MultivariantPlaylist, None) => {
            fetched.stream.map_or(MULTIVARIANT_TTL, |stream| stream.target_duration / 2)
        }
        (Kind::Manifest, None) if is_static(fetched) => ENDED_TTL,
        (Kind::Manifest, None) => MULTIVARIANT_TTL,
        (Kind::Segment | Kind::Part | Kind::Init, None) => SEGMENT_TTL,
        (Kind::Key | Kind::Image | Kind::Api | Kind::Other, None) => Duration::ZERO,
    }
}

/// Whether an answer of this kind is fresh for a while although its origin says nothing.
pub(super) fn has_own_default(kind: Kind) -> bool {
    is_hls(kind) || kind == Kind::Manifest
}

/// The windows of RFC 5861: rule, then header within the caps of the kind, then kind. A directive that forbids to serve
/// what is stale (RFC 9111 section 4.2.4) closes them unless a rule opens them; `s-maxage` alone leaves open what the
/// origin itself has opened beside it. What the origin opens counts from the end of freshness, which was so long ago
/// (`overdue`) when the answer came.
fn stale_windows(fetched: &Fetched<'_>, directives: &Directives, overdue: Duration) -> (Duration, Duration) {
    let closed = directives.must_revalidate || directives.proxy_revalidate || directives.no_cache.is_whole();
    let by_word_only = directives.s_maxage.is_some();
    let (default_swr, default_sie) = match (fetched.kind, live(fetched)) {
        _ if is_error(fetched) || by_word_only => (Duration::ZERO, Duration::ZERO),
        (_, Some(target)) => (target / 2, target * LIVE_STALE_IF_ERROR_TARGETS),
        (
            Kind::MediaPlaylist | Kind::MultivariantPlaylist | Kind::Segment | Kind::Part | Kind::Init,
            None,
        ) => (Duration::ZERO, LASTING_STALE_IF_ERROR),
        (Kind::Manifest, None) if is_static(fetched) => (Duration::ZERO, LASTING_STALE_IF_ERROR),
        _ => (Duration::ZERO, Duration::ZERO),
    };
    let (most_swr, most_sie) = match live(fetched) {
        _ if caps_errors(fetched) => (Duration::ZERO, Duration::ZERO),
        Some(target) => {
            (target * LIVE_STALE_WHILE_REVALIDATE_TARGETS_MAX, target * LIVE_STALE_IF_ERROR_TARGETS_MAX)
        }
        None => (STALE_WINDOW_MAX, STALE_WINDOW_MAX),
    };
    let choose =
        |rule: Option<Duration>, told: Option<Duration>, most: Duration, default: Duration| match rule {
            Some(rule) => rule.min(TTL_MAX),
            None if closed => Duration::ZERO,
            None => told.map_or(default, |told| told.min(most).saturating_sub(overdue)),
        };
    let times = fetched.times;
    let swr = choose(times.stale_while_revalidate, directives.stale_while_revalidate, most_swr, default_swr);
    let sie = choose(times.stale_if_error, directives.stale_if_error, most_sie, default_sie);
    (swr, sie)
}

/// The freshness that viewers are told in place of the origin's word: a rule's, or at most the cap of a live playlist.
fn viewer_freshness(fetched: &Fetched<'_>, told: &Directives) -> Option<Duration> {
    if fetched.times.browser_ttl.is_some() {
        return fetched.times.browser_ttl;
    }
    let cap = live(fetched)? * if fetched.blocking { BLOCKING_TARGETS } else { 1 };
    if told.no_cache.is_whole() || told.no_store {
        return None;
    }
    Some(told.max_age.map_or(cap, |told| told.min(cap)))
}

/// The target duration of a live media playlist, or the update period of a manifest.
fn live(fetched: &Fetched<'_>) -> Option<Duration> {
    let period = || fetched.said.manifest?.update_period;
    match fetched.said.playlist {
        Some(facts) => facts.is_live().then_some(facts.target_duration),
        None => period(),
    }
}

/// Whether it is a manifest that will not change.
fn is_static(fetched: &Fetched<'_>) -> bool {
    fetched.said.manifest.is_some_and(|manifest| !manifest.dynamic)
}

fn is_error(fetched: &Fetched<'_>) -> bool {
    fetched.header.status.is_client_error() || fetched.header.status.is_server_error()
}

/// Whether an error is kept for a moment only: every error of an HLS asset, and server errors of all kinds.
fn caps_errors(fetched: &Fetched<'_>) -> bool {
    fetched.header.status.is_server_error() || (is_error(fetched) && is_hls(fetched.kind))
}

fn is_hls(kind: Kind) -> bool {
    kind.is_playlist() || matches!(kind, Kind::Segment | Kind::Part | Kind::Init)
}

#[cfg(test)]
mod tests;
