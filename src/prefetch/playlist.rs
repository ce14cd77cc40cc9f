//! What a refreshed live playlist has fetched ahead: what it lists that the one before it did not, and what it hints at.
//!
//! A playlist that is seen for the first time has nothing fetched: its first viewer is under way to what he needs.

use std::collections::VecDeque;

use http::{HeaderMap, Method};

use super::budget::Share;
use super::metrics::{Reason, Result};
use super::{Place, Prefetcher, Target, asked, is_plain};
use crate::asset::Kind;
use crate::cache::Held;
use crate::coalesce::{Extent, Learned};
use crate::config::model::Prefetch;
use crate::hls::Reach;
use crate::hls::names::{Named, names_around};
use crate::hls::variables::Around;
use crate::key::reference::path_of;
use crate::key::{Key, query_of};
use crate::site::Site;
use crate::store::content::slice_of;

/// New segments that are fetched after a refresh: the newest ones. A playlist that was not looked at for long has many.
const SEGMENTS_MAX: usize = 2;

/// The same for parts.
const PARTS_MAX: usize = 4;

/// Hints of a playlist that count: one of a part, one of an init segment.
const HINTS_MAX: usize = 2;

/// Known segments, and parts, that tell how large the next one will be.
const KNOWN_MAX: usize = 3;

/// Target durations within which a viewer must have asked for a playlist.
const VIEWED_WITHIN: u32 = 2;

/// What a playlist names, sorted by what is made of it.
#[derive(Debug, Default)]
struct Ahead<'t> {
    /// The latest init segment.
    init: Option<Named<'t>>,
    parts: VecDeque<Named<'t>>,
    segments: VecDeque<Named<'t>>,
    hints: VecDeque<Named<'t>>,
    /// Segments and parts that the playlist before it listed too.
    known_parts: VecDeque<Named<'t>>,
    known_segments: VecDeque<Named<'t>>,
}

impl<'t> Ahead<'t> {
    /// Reads a playlist of which all up to `before` is known.
    fn of(text: &'t str, around: &Around<'_>, wanted: Prefetch, before: Reach) -> Ahead<'t> {
        let mut ahead = Ahead::default();
        names_around(text, around, |named| ahead.take(named, wanted, before));
        if ahead.segments.is_empty() && ahead.parts.is_empty() {
            ahead.init = None;
        }
        ahead
    }

    fn take(&mut self, named: Named<'t>, wanted: Prefetch, before: Reach) {
        let is_new = named.msn.is_some_and(|msn| !before.holds(msn, named.part));
        match named.kind {
            _ if named.gap => {}
            _ if named.hint && wanted.hints => push(&mut self.hints, named, HINTS_MAX),
            _ if named.hint => {}
            Kind::Init if wanted.segments => self.init = Some(named),
            Kind::Part if !is_new => push(&mut self.known_parts, named, KNOWN_MAX),
            Kind::Segment if !is_new => push(&mut self.known_segments, named, KNOWN_MAX),
            Kind::Part if wanted.segments => push(&mut self.parts, named, PARTS_MAX),
            Kind::Segment if wanted.segments => push(&mut self.segments, named, SEGMENTS_MAX),
            _ => {}
        }
    }

    /// What is to be fetched and why, what players need first in front; and known ones like it.
    fn wanted(&self) -> impl Iterator<Item = (&Named<'t>, Reason, &VecDeque<Named<'t>>)> {
        let (parts, segments) = (&self.known_parts, &self.known_segments);
        let init = self.init.iter().map(move |named| (named, Reason::Segment, parts));
        let new_parts = self.parts.iter().map(move |named| (named, Reason::Part, parts));
        let new_segments = self.segments.iter().map(move |named| (named, Reason::Segment, segments));
        let hints = self.hints.iter().map(move |named| (named, Reason::Hint, parts));
        init.chain(new_parts).chain(new_segments).chain(hints)
    }
}

/// Keeps the newest ones.
fn push<'t>(list: &mut VecDeque<Named<'t>>, named: Named<'t>, most: usize) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(named);
}

impl Prefetcher {
    /// Has fetched what a refreshed playlist is the first to name, if its rule asks for it and it has viewers.
    pub(super) fn look_at(&self, place: &Place, learned: &Learned<'_>) {
        let Some(before) = learned.before.filter(|before| before.reach < learned.facts.reach) else { return };
        let (site, target) = (&place.site, learned.key.target());
        let (path, query) = (path_of(target), query_of(target));
        let headers = HeaderMap::new();
        let held = site.held(&Method::GET, &headers);
        let playlist = asked((path, query), Kind::MediaPlaylist, &headers, &held);
        let chosen = site.policy(&playlist).for_request().map(|(_, rule)| rule.prefetch);
        let Some(wanted) = chosen.filter(|wanted| wanted.segments || wanted.hints) else { return };
        if !learned.facts.is_live() || !is_plain(site, &playlist) {
            return;
        }
        let Ok(text) = std::str::from_utf8(learned.text) else { return };
        let imported = self.playlists.assets.defined(&site.name, path);
        let around = Around { query, imported: imported.as_deref().unwrap_or_default() };
        let ahead = Ahead::of(text, &around, wanted, before.reach);
        let window = learned.facts.target_duration * VIEWED_WITHIN;
        let playlist = self.playlists.get(&learned.key.text);
        let is_viewed = playlist.is_some_and(|playlist| playlist.is_asked_within(window, self.clock.now()));
        for (named, reason, alike) in ahead.wanted() {
            if !is_viewed {
                place.counters.count(reason, Result::SkippedIdle);
                continue;
            }
            let Some((path, query)) = site.resolve(&named.uri, path) else { continue };
            // A part is asked for with the segment that it is of; of a segment in a larger object, that place is.
            let first = named.range.map(|range| range.start).filter(|_| named.kind == Kind::Segment);
            let target = Target {
                path: &path,
                query: query.as_deref(),
                host: learned.host,
                extent: first.map_or(Extent::Whole, |first| Extent::From(slice_of(first))),
                grows: named.range.is_some()
                    && named.kind == Kind::Part
                    && named.msn.is_some_and(|msn| msn >= learned.facts.reach.next),
            };
            let known = || self.largest(site, learned.key.target(), alike);
            self.fetch(place, &target, (reason, Share::Whole), known);
        }
    }

    /// Bytes of the largest of these that is held; None: none of them is, or none is known to have any.
    fn largest(&self, site: &Site, playlist: &str, named: &VecDeque<Named<'_>>) -> Option<u64> {
        let document = path_of(playlist);
        let length = |named: &Named<'_>| {
            let (path, query) = site.resolve(&named.uri, document)?;
            let (headers, held) = (HeaderMap::new(), Held::default());
            let asked = asked((&path, query.as_deref()), site.kind(&path), &headers, &held);
            let key = site.with_key(&asked, |hash, text| Key { hash, text: text.into() }).ok()?;
            let object = self.store.get(key.hash, &key.text)?;
            object.length().filter(|_| object.status().is_success())
        };
        named.iter().filter_map(length).max().filter(|bytes| *bytes > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENTS: Prefetch = Prefetch { segments: true, hints: false, cmcd: false };
    const HINTS: Prefetch = Prefetch { segments: false, hints: true, cmcd: false };

    const LOW_LATENCY: &str = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:10\n#EXT-X-MAP:URI=\"init.mp4\"\n\
        #EXTINF:2,\n10.m4s\n#EXT-X-PART:DURATION=1,URI=\"11.0.m4s\"\n#EXT-X-PART:DURATION=1,URI=\"11.1.m4s\"\n\
        #EXTINF:2,\n11.m4s\n#EXT-X-PART:DURATION=1,URI=\"12.0.m4s\"\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"12.1.m4s\"\n";

    fn wanted(text: &str, wanted: Prefetch, before: Reach) -> Vec<String> {
        let ahead = Ahead::of(text, &Around::default(), wanted, before);
        ahead.wanted().map(|(named, _, _)| named.uri.clone().into_owned()).collect()
    }

    #[test]
    fn what_is_new_is_wanted_and_what_is_known_is_not() {
        let before = |next, parts| Reach { next, parts };
        let new = |before| wanted(LOW_LATENCY, SEGMENTS, before);
        assert_eq!(new(before(11, 1)), ["init.mp4", "11.1.m4s", "12.0.m4s", "11.m4s"]);
        assert_eq!(new(before(12, 0)), ["init.mp4", "12.0.m4s"]);
        assert!(new(before(12, 1)).is_empty());
        assert_eq!(wanted(LOW_LATENCY, HINTS, before(12, 0)), ["12.1.m4s"]);
    }

    #[test]
    fn of_many_new_ones_the_newest_are_wanted() {
        let segments: String = (0..9).map(|number| format!("#EXTINF:2,\n{number}.ts\n")).collect();
        let text = format!("#EXTM3U\n{segments}");
        assert_eq!(wanted(&text, SEGMENTS, Reach { next: 1, parts: 0 }), ["7.ts", "8.ts"]);
        let parts: String =
            (0..9).map(|part| format!("#EXT-X-PART:DURATION=1,URI=\"0.{part}.ts\"\n")).collect();
        let text = format!("#EXTM3U\n{parts}");
        let newest = ["0.5.ts", "0.6.ts", "0.7.ts", "0.8.ts"];
        assert_eq!(wanted(&text, SEGMENTS, Reach { next: 0, parts: 2 }), newest);
    }

    #[test]
    fn what_is_missing_is_not_wanted() {
        let text = "#EXTM3U\n#EXTINF:2,\n0.ts\n#EXT-X-GAP\n#EXTINF:2,\n1.ts\n\
            #EXT-X-PART:DURATION=1,URI=\"2.0.ts\",GAP=YES\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n";
        assert!(wanted(text, SEGMENTS, Reach { next: 1, parts: 0 }).is_empty());
    }
}
