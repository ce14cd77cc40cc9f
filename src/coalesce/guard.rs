//! What stands in for a playlist or manifest that could not be had, how long its origin is left alone then, and what is
//! counted of both.
//!
//! A fetch that fails is remembered for a quarter of a target duration: whoever asks meanwhile is answered by what is
//! held, or with the same failure, and the origin is not asked. What an answer means is decided in
//! [`fill`](super::fill).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use prometheus::{IntCounterVec, Opts, Registry};
use quick_cache::sync::Cache;

use super::{Coalescer, Failure};
use crate::asset::Kind;
use crate::hls::directives::{Directives, Skip};
use crate::key::variant::primary_text;
use crate::key::{Key, hash_of, query_of, undirected};
use crate::playlists::succession::{Doubt, Good};
use crate::store::Object;

/// Keys whose last fetch has failed that are remembered at most, and beginnings of paths that were purged for a restart.
const REMEMBERED_MAX: usize = 4096;

/// How long the origin is left alone after a failure, where no target duration is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The share of a target duration that it is left alone for: a quarter, within these bounds.
const RETRY_DIVISOR: u32 = 4;
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Target durations within which restarts of one stream's renditions are one restart.
const RESTART_TARGETS: u32 = 3;

/// What is counted.
#[derive(Clone, Debug)]
struct GuardMetrics {
    guarded: IntCounterVec,
    restarts: IntCounterVec,
}

/// What is remembered.
#[derive(Debug)]
pub(super) struct Guard {
    /// Slots of fetches that have failed, until when the origin is left alone, and why.
    failing: Cache<u128, (SystemTime, Failure)>,
    /// When a restart was last acted on, by stream and by what was purged.
    restarts: Cache<u128, SystemTime>,
    metrics: GuardMetrics,
}

/// What is held of a playlist, of all that it is held under.
#[derive(Clone, Debug)]
pub(super) struct StandIn {
    /// The best object; None: there is none.
    pub(super) object: Option<Arc<Object>>,
    /// Whether that may be served because the origin fails.
    pub(super) serves: bool,
    /// What it is worth to compare with.
    pub(super) good: Good,
}

impl GuardMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When they are registered already.
    fn new(registry: &Registry) -> Result<GuardMetrics, prometheus::Error> {
        let guarded = Opts::new(
            "forebay_playlist_guarded_total",
            "Answers of origins that did not take a good playlist's place, by reason.",
        );
        let restarts = Opts::new(
            "forebay_stream_restarts_total",
            "Live streams that began anew, whose segments were purged.",
        );
        let metrics = GuardMetrics {
            guarded: IntCounterVec::new(guarded, &["site", "reason"])?,
            restarts: IntCounterVec::new(restarts, &["site"])?,
        };
        registry.register(Box::new(metrics.guarded.clone()))?;
        registry.register(Box::new(metrics.restarts.clone()))?;
        Ok(metrics)
    }
}

impl Guard {
    /// Nothing remembered; the families are registered.
    ///
    /// # Errors
    /// When they are registered already.
    pub(super) fn new(registry: &Registry) -> Result<Guard, prometheus::Error> {
        let metrics = GuardMetrics::new(registry)?;
        Ok(Guard { failing: Cache::new(REMEMBERED_MAX), restarts: Cache::new(REMEMBERED_MAX), metrics })
    }

    pub(super) fn count(&self, site: &str, doubt: Doubt) {
        self.metrics.guarded.with_label_values(&[site, doubt.as_str()]).inc();
    }

    /// Counts a restart, once for all renditions of a stream.
    pub(super) fn count_restart(&self, site: &str, stream: u128, target: Duration, now: SystemTime) {
        if self.is_first(stream, target * RESTART_TARGETS, now) {
            self.metrics.restarts.with_label_values(&[site]).inc();
        }
    }

    /// Whether what begins so is to be purged: it has not been within a target duration, for another rendition whose
    /// segments begin alike.
    pub(super) fn is_to_purge(&self, site: &str, beginning: &str, target: Duration, now: SystemTime) -> bool {
        self.is_first(hash_of(&[site, beginning].join(" ")), target, now)
    }

    fn is_first(&self, what: u128, span: Duration, now: SystemTime) -> bool {
        let lately = |at: SystemTime| now.duration_since(at).is_ok_and(|since| since < span);
        let first = !self.restarts.get(&what).is_some_and(lately);
        if first {
            self.restarts.insert(what, now);
        }
        first
    }
}

impl Coalescer {
    /// Why the last fetch of a playlist failed, while its origin is left alone for it.
    pub(super) fn failing_in(&self, slot: u128) -> Option<Failure> {
        let (until, failure) = self.guard.failing.get(&slot)?;
        let failing = self.clock.now() < until;
        if !failing {
            self.guard.failing.remove(&slot);
        }
        failing.then_some(failure)
    }

    /// Remembers a failure of a playlist that is known, or forgets it.
    pub(super) fn note_failing(&self, key: &Key, slot: u128, failure: Option<Failure>) {
        let Some(failure) = failure else {
            self.guard.failing.remove(&slot);
            return;
        };
        let latest = self.playlists.get(&key.text).and_then(|playlist| playlist.latest());
        let live = latest.map(|latest| latest.facts).filter(|facts| facts.is_live());
        let span = live
            .map_or(RETRY_AFTER, |facts| (facts.target_duration / RETRY_DIVISOR).clamp(RETRY_MIN, RETRY_MAX));
        self.guard.failing.insert(slot, (self.clock.now() + span, failure));
    }

    /// What may be served of a playlist whose origin fails, if anything.
    pub fn stand_in_for(&self, key: &Key, held: Option<&Arc<Object>>) -> Option<Arc<Object>> {
        let stand_in = self.stand_in(key, held);
        stand_in.object.filter(|_| stand_in.serves)
    }

    /// What is held of a playlist: the object that its latest good answer is in, that under its own key (`held`), or that
    /// under the key without directives.
    pub(super) fn stand_in(&self, key: &Key, held: Option<&Arc<Object>>) -> StandIn {
        let now = self.clock.now();
        let playlist = self.playlists.get(&key.text);
        let latest = playlist.and_then(|playlist| playlist.latest());
        let is_good = |object: &Arc<Object>| {
            object.status() == StatusCode::OK
                && (object.kind.is_playlist() || object.kind == Kind::Manifest)
                && object.body.is_complete()
                // A marker has no body of its own.
                && object.variants.is_none()
                && !self.store.is_gone(object)
        };
        let latest = latest.as_ref().and_then(|latest| {
            let object =
                stands_for(&latest.key, key).then(|| self.store.get(latest.key.hash, &latest.key.text))??;
            // What was held for a long time under a key of its own is not young for that.
            let span = latest.facts.target_duration / 2 + object.lifetime.stale_if_error;
            let young = latest.key.text == key.text || !latest.facts.is_live() || now < latest.fetched + span;
            Some((object, young))
        });
        let plain = || {
            let text = undirected(&key.text);
            let is_other = *text != *key.text && primary_text(&key.text).is_none();
            is_other.then(|| self.store.get(hash_of(&text), &text)).flatten()
        };
        let own = held.cloned().or_else(|| self.store.get(key.hash, &key.text));
        let others = own.into_iter().chain(plain()).map(|object| (object, true));
        let mut best = StandIn { object: None, serves: false, good: Good::Gone };
        for (object, young) in latest.into_iter().chain(others).filter(|(object, _)| is_good(object)) {
            let serves = young && object.lifetime.bridges_error(now);
            if best.object.is_some() && !serves {
                continue;
            }
            let good = match serves {
                // Whoever purges wants what the origin says, whatever that is.
                _ if object.is_purged() => Good::Gone,
                true => Good::Usable,
                false => Good::Over,
            };
            best = StandIn { object: Some(object), serves, good };
            if serves {
                break;
            }
        }
        best
    }
}

/// Whether what one key of a playlist holds answers a request for another: neither is one of several variants, and it is
/// in full, or the delta update that is asked for.
fn stands_for(held: &Key, asked: &Key) -> bool {
    let skip = |key: &Key| Directives::of(query_of(key.target())).map(|directives| directives.skip);
    let is_in_full = || skip(held).is_ok_and(|held| held == Skip::None || skip(asked) == Ok(held));
    held.text == asked.text || (count_alike(held, asked) && is_in_full())
}

/// Whether what two keys of a playlist hold may be compared: neither is one of several variants, or they are one.
pub(super) fn count_alike(one: &Key, other: &Key) -> bool {
    one.text == other.text || (primary_text(&one.text).is_none() && primary_text(&other.text).is_none())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use std::time::UNIX_EPOCH;

    use super::*;

    fn guard() -> Guard {
        Guard::new(&Registry::new()).unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_begins_alike_is_purged_once_in_a_target_duration_on_each_site() {
        let (guard, target) = (guard(), Duration::from_secs(4));
        assert!(guard.is_to_purge("a", "/live/", target, at(0)));
        assert!(!guard.is_to_purge("a", "/live/", target, at(3)));
        assert!(guard.is_to_purge("b", "/live/", target, at(3)));
        assert!(guard.is_to_purge("a", "/live/x", target, at(3)));
        assert!(guard.is_to_purge("a", "/live/", target, at(4)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let guard = guard();
        for place in 0..3 * REMEMBERED_MAX as u64 {
            guard.is_to_purge("a", &format!("/{place}"), Duration::from_secs(4), at(0));
            guard.failing.insert(u128::from(place), (at(1), Failure::INTERNAL));
        }
        assert!(guard.restarts.len() <= REMEMBERED_MAX && guard.failing.len() <= REMEMBERED_MAX);
    }

    #[test]
    fn a_delta_update_stands_for_nothing_but_itself() {
        let key = |text: &str| Key { hash: hash_of(text), text: text.into() };
        let (plain, skip) = (key("s /v.m3u8"), key("s /v.m3u8?_HLS_skip=YES"));
        let (reload, both) = (key("s /v.m3u8?_HLS_msn=7"), key("s /v.m3u8?_HLS_msn=7&_HLS_skip=YES"));
        for (held, asked, stands) in [
            (&plain, &skip, true),
            (&plain, &reload, true),
            (&reload, &plain, true),
            (&skip, &plain, false),
            (&skip, &both, true),
            (&both, &reload, false),
        ] {
            assert_eq!(stands_for(held, asked), stands, "{} for {}", held.text, asked.text);
        }
        let (one, other) = (key("s /v.m3u8 ~1-2"), key("s /v.m3u8 ~1-3"));
        assert!(stands_for(&one, &one) && !stands_for(&one, &other) && !stands_for(&plain, &one));
    }
}
