//! Fetches ahead of the first request: what a refreshed playlist names, what it hints at, and what players announce.
//!
//! Decides what is worth fetching before anybody asks, and whether there is room for it ([`budget`]); the fetch itself is
//! an ordinary one ([`crate::coalesce::ahead`]), of the key that a viewer without any header fields has. Where a key is
//! made of more than site and target, nothing is fetched ahead: nobody knows what the request will have. Told of
//! playlists by the coalescer, and by the proxy of requests that have been admitted ([`next`]).

mod budget;
mod metrics;
pub mod next;
mod playlist;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use http::{HeaderMap, Method};
use prometheus::Registry;
use tokio::sync::watch;

use crate::admission::token::Claims;
use crate::asset::Kind;
use crate::cache::{Held, RequestDirectives};
use crate::clock::Clock;
use crate::coalesce::{Coalescer, Extent, Foresight, Job, Learned};
use crate::config::model::{Limits, Prefetch};
use crate::hls::Directives;
use crate::key::Key;
use crate::playlists::Playlists;
use crate::site::{Asked, Site, Sites};
use crate::store::{Object, SLICE_BYTES, Store};
use budget::{Budget, Fetch, Pause, Share};
use metrics::{Counters, Families, Reason, Result};

/// Bytes that an object is expected to have of which nothing is known: a segment of 4 s at 4 Mbit/s.
const UNKNOWN_BYTES: u64 = 2 * 1024 * 1024;

/// What fetches ahead.
pub struct Prefetcher {
    /// By the site's place; None: no rule of it has anything fetched ahead.
    places: Vec<Option<Arc<Place>>>,
    /// Places of sites by their names.
    names: HashMap<String, usize>,
    playlists: Arc<Playlists>,
    /// It holds this one.
    coalescer: Weak<Coalescer>,
    store: &'static Store,
    clock: Clock,
    budget: Arc<Budget>,
    /// True while the node drains.
    stopping: watch::Receiver<bool>,
}

/// A site that has something fetched ahead.
struct Place {
    site: Arc<Site>,
    counters: Arc<Counters>,
    pause: Arc<Pause>,
    /// Whether any of its rules goes by what players announce.
    listens: bool,
}

/// What is to be fetched: a path and a query of the site, in normal form.
struct Target<'a> {
    path: &'a str,
    query: Option<&'a str>,
    extent: Extent,
    /// Whether it is not complete yet, as far as is known.
    grows: bool,
    /// The host that a viewer has asked for what names it.
    host: Option<&'a Arc<str>>,
}

impl Prefetcher {
    /// Sets up fetching ahead for the sites whose rules ask for it, and has the coalescer tell of playlists. Ends when
    /// `stopping` becomes true.
    ///
    /// # Errors
    /// When its metrics are registered already.
    pub fn start(
        sites: &Sites,
        coalescer: &Arc<Coalescer>,
        (store, clock): (&'static Store, &Clock),
        limits: &Limits,
        registry: &Registry,
        stopping: watch::Receiver<bool>,
    ) -> std::result::Result<Arc<Prefetcher>, prometheus::Error> {
        let families = Families::new(registry)?;
        let place = |site: &Arc<Site>| {
            let wanted = |wanted: fn(&Prefetch) -> bool| site.rules.iter().any(|rule| wanted(&rule.prefetch));
            wanted(|prefetch| *prefetch != Prefetch::default()).then(|| {
                Arc::new(Place {
                    site: Arc::clone(site),
                    counters: families.of(&site.name),
                    pause: Pause::new(clock),
                    listens: wanted(|prefetch| prefetch.cmcd),
                })
            })
        };
        let places: Vec<_> = sites.all().iter().map(place).collect();
        let asks = places.iter().any(Option::is_some);
        let prefetcher = Arc::new(Prefetcher {
            places,
            names: sites.names().enumerate().map(|(place, name)| (name.to_owned(), place)).collect(),
            playlists: Arc::clone(sites.playlists()),
            coalescer: Arc::downgrade(coalescer),
            store,
            clock: clock.clone(),
            budget: Budget::new(limits.prefetch_requests, limits.prefetch_bytes),
            stopping,
        });
        if asks {
            coalescer.tell(Arc::clone(&prefetcher) as _);
        }
        Ok(prefetcher)
    }

    /// A request is answered with this object. One that was fetched ahead has been of use, and a playlist has a viewer.
    pub fn note_answer(&self, site: &Site, object: &Object) {
        if let Some(mark) = &object.provenance.ahead {
            mark.note_use();
        }
        if object.kind == Kind::MediaPlaylist
            && self.place(site).is_some()
            && let Some(playlist) = self.playlists.get(&object.key.text)
        {
            playlist.mark_asked(self.clock.now());
        }
    }

    fn place(&self, site: &Site) -> Option<&Arc<Place>> {
        self.places.get(site.place)?.as_ref()
    }

    /// Starts a fetch, unless there is something against it; what that is, is counted where it says something of the
    /// node. `known` tells how many bytes objects like this one have; None: nobody knows.
    fn fetch(
        &self,
        place: &Place,
        target: &Target<'_>,
        (reason, share): (Reason, Share),
        known: impl FnOnce() -> Option<u64>,
    ) {
        let site = &place.site;
        let kind = site.kind(target.path);
        let Some(coalescer) = self.coalescer.upgrade() else { return };
        let headers = HeaderMap::new();
        let held = site.held(&Method::GET, &headers);
        let asked = asked((target.path, target.query), kind, &headers, &held);
        if *self.stopping.borrow() || !is_media(kind) || !is_plain(site, &asked) {
            return;
        }
        let Ok(key) = site.with_key(&asked, |hash, text| Key { hash, text: text.into() }) else { return };
        let relayed = coalescer.is_others(&key, kind);
        if self.is_of_no_use(&key) || !coalescer.may_fetch_ahead(&key, relayed) {
            return;
        }
        if coalescer.varied(&site.name, kind).is_some() {
            // Whoever comes will ask for another variant.
            return;
        }
        let count = |result| place.counters.count(reason, result);
        let most = match target.extent {
            Extent::Whole => u64::MAX,
            Extent::From(_) | Extent::Slice(..) => SLICE_BYTES,
        };
        let expected = known().unwrap_or_else(|| self.budget.guess(UNKNOWN_BYTES)).min(most);
        let Some(claim) = self.budget.claim(expected, share) else { return count(Result::SkippedBudget) };
        let turn = if place.pause.is_on() { None } else { site.origin.spare_turn() };
        let Some(turn) = turn else { return count(Result::SkippedOrigin) };
        let job = || {
            count(Result::Started);
            let fetch = Fetch::new(claim, turn, (&place.counters, reason), &place.pause, target.grows);
            Job {
                site: Arc::clone(site),
                origin: Arc::clone(&site.origin),
                rules: Arc::clone(&site.rules),
                held: held.clone(),
                forward: HeaderMap::new(),
                keyed: Arc::default(),
                kind,
                directives: Directives::default(),
                stale: None,
                extent: target.extent.clone(),
                names: Arc::default(),
                selected: HeaderMap::new(),
                passed_on: HeaderMap::new(),
                authorization: None,
                cors: site.cors.is_some(),
                wishes: RequestDirectives::default(),
                last_try: false,
                ahead: Some(Arc::new(fetch)),
                relayed,
                host: target.host.cloned(),
                hop: None,
                conditions: None,
                claims: None,
                cdn_loop: None,
            }
        };
        coalescer.fetch_ahead(&key, relayed, job);
    }

    /// Whether what is held under a key makes a fetch useless: it is fresh, or good, or on disk. An error that has
    /// ended is asked for again.
    fn is_of_no_use(&self, key: &Key) -> bool {
        let now = self.clock.now();
        let is_good = |held: &Object| {
            held.variants.is_some() || held.lifetime.is_fresh(now) || held.status().is_success()
        };
        let held = self.store.get(key.hash, &key.text);
        held.is_some_and(|held| is_good(&held)) || self.store.is_on_disk(&key.text)
    }
}

impl Foresight for Prefetcher {
    fn learned(&self, learned: &Learned<'_>) {
        let place = self.names.get(learned.key.site()).and_then(|place| self.places.get(*place)?.as_ref());
        if let Some(place) = place {
            self.look_at(place, learned);
        }
    }
}

/// The request of a viewer without any header fields.
fn asked<'a>(
    (path, query): (&'a str, Option<&'a str>),
    kind: Kind,
    headers: &'a HeaderMap,
    held: &'a Held,
) -> Asked<'a> {
    const NO_CLAIMS: &Claims = &Claims::NONE;
    Asked { path, query, kind, headers, claims: NO_CLAIMS, held }
}

/// Whether its key is made of site and target alone, whatever fields a request for it has.
fn is_plain(site: &Site, asked: &Asked<'_>) -> bool {
    let chosen = site.policy(asked).for_request();
    let by_fields =
        || site.rules.iter().any(|rule| rule.request_headers.is_some() && rule.is_path_of(asked.path));
    !chosen.is_some_and(|(_, rule)| rule.bypass || rule.key.is_of_request()) && !by_fields()
}

/// Whether it is what players play: neither a playlist, which changes, nor a key, which is nobody else's.
fn is_media(kind: Kind) -> bool {
    matches!(kind, Kind::Segment | Kind::Part | Kind::Init)
}
