//! What a request says of caching (RFC 9111 section 5.2.1), and whether a stored object answers it.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

use super::directives::Members;
use crate::store::Lifetime;

/// Longest that a viewer's `max-stale` holds for, with or without a value: a day.
pub const MAX_STALE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The directives of a request. The default is a request without any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// Section 5.2.1.1; zero if it cannot be read, the shortest if it is there several times.
    pub max_age: Option<Duration>,
    /// Section 5.2.1.2, at most [`MAX_STALE_MAX`]; left out if it cannot be read, the shortest of several.
    pub max_stale: Option<Duration>,
    /// Section 5.2.1.3; left out if it cannot be read, the longest of several.
    pub min_fresh: Option<Duration>,
    /// Section 5.2.1.4, or `Pragma: no-cache` without `Cache-Control` (section 5.4).
    pub no_cache: bool,
    /// Section 5.2.1.5.
    pub no_store: bool,
    /// Section 5.2.1.7: 504 rather than a request to the origin.
    pub only_if_cached: bool,
}

/// Whether a stored object answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Usable,
    /// It is stale and does, because the request says so (`max-stale`).
    UsableStale,
    /// The origin must be asked first, unless a window of RFC 5861 lets it be used.
    Validate,
}

impl RequestDirectives {
    /// The directives of a request with these fields. Unless requests are obeyed, `only-if-cached` alone counts: it costs
    /// the origin nothing.
    pub fn of(headers: &HeaderMap, obeyed: bool) -> RequestDirectives {
        let mut directives = RequestDirectives::default();
        if !headers.contains_key(CACHE_CONTROL) {
            directives.no_cache = obeyed && headers.contains_key(PRAGMA) && has_pragma_no_cache(headers);
            return directives;
        }
        for member in headers.get_all(CACHE_CONTROL).iter().flat_map(Members::of) {
            let seconds = member.seconds();
            match member.name.to_ascii_lowercase().as_slice() {
                b"only-if-cached" => directives.only_if_cached = true,
                _ if !obeyed => {}
                b"max-age" => shortest(&mut directives.max_age, Some(seconds.unwrap_or_default())),
                b"max-stale" if member.has_argument() => {
                    shortest(&mut directives.max_stale, seconds.map(|seconds| seconds.min(MAX_STALE_MAX)));
                }
                b"max-stale" if member.is_clean => {
                    shortest(&mut directives.max_stale, Some(MAX_STALE_MAX));
                }
                b"min-fresh" => directives.min_fresh = directives.min_fresh.max(seconds),
                b"no-cache" => directives.no_cache = true,
                b"no-store" => directives.no_store = true,
                _ => {}
            }
        }
        directives
    }

    /// Whether the request says nothing that bears on a stored object.
    pub fn is_empty(&self) -> bool {
        !self.no_cache && self.max_age.is_none() && self.max_stale.is_none() && self.min_fresh.is_none()
    }
}

/// Whether an object of this lifetime answers a request with these directives at `now`.
///
/// A fresh object that is `immutable` (RFC 8246) is not asked for again because of `max-age`, which is what a browser's
/// reload sends; `no-cache`, which is what a forced one sends, has the origin asked (section 2.1).
pub fn standing(lifetime: &Lifetime, directives: &RequestDirectives, now: SystemTime) -> Standing {
    let is_fresh = lifetime.is_fresh(now);
    if directives.is_empty() {
        return if is_fresh { Standing::Usable } else { Standing::Validate };
    }
    let age = now.duration_since(lifetime.created).unwrap_or_default();
    let too_old = directives.max_age.is_some_and(|most| age > most) && !(is_fresh && lifetime.immutable);
    let wanted_until = directives.min_fresh.map(|least| now + least);
    let too_soon_stale = wanted_until.is_some_and(|until| lifetime.fresh_until < until);
    if directives.no_cache || too_old || too_soon_stale {
        return Standing::Validate;
    }
    if is_fresh {
        return Standing::Usable;
    }
    let past = now.duration_since(lifetime.fresh_until).unwrap_or_default();
    match directives.max_stale {
        Some(most) if past <= most && !lifetime.is_strict() => Standing::UsableStale,
        _ => Standing::Validate,
    }
}

fn shortest(held: &mut Option<Duration>, read: Option<Duration>) {
    *held = match (*held, read) {
        (Some(held), Some(read)) => Some(held.min(read)),
        (held, read) => held.or(read),
    };
}

fn has_pragma_no_cache(headers: &HeaderMap) -> bool {
    let mut members = headers.get_all(PRAGMA).iter().flat_map(Members::of);
    members.any(|member| member.name.eq_ignore_ascii_case(b"no-cache"))
}

#[cfg(test)]
mod tests;
