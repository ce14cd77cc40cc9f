//! How long ago each live playlist that viewers ask for has grown: `forebay_playlist_staleness_seconds`.
//!
//! Counted at each scrape. A playlist counts while a viewer has asked for it within the last minute, and as stale as it
//! was when it was asked for last: what nobody asks for is not fetched, and no sign of a stream that stands still. Of
//! the renditions of a stream the stalest counts, beside the target duration that it has.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts, Registry};

use super::metrics::names::{self, Family};
use super::viewers::{DIRECTORY_BYTES_MAX, STREAMS_MAX, Viewers};
use crate::clock::Clock;
use crate::playlists::{Playlist, Playlists};

/// How long ago a viewer may have asked for a playlist that counts.
const ASKED_WITHIN: Duration = Duration::from_secs(60);

/// A playlist that has not grown for so long, and the target duration it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stale {
    since: Duration,
    target: Duration,
}

/// Shows the families at each scrape.
pub struct Staleness {
    playlists: Arc<Playlists>,
    viewers: Arc<Viewers>,
    clock: Clock,
    /// Describe the families; never filled.
    families: [GaugeVec; 2],
}

impl Staleness {
    /// Shows both families in `registry` from now on. Streams are named as `viewers` names them.
    ///
    /// # Errors
    /// When the registry holds a family of that name already.
    pub fn register(
        playlists: &Arc<Playlists>,
        viewers: &Arc<Viewers>,
        clock: &Clock,
        registry: &Registry,
    ) -> Result<(), prometheus::Error> {
        let families = [family(names::STALENESS)?, family(names::TARGET_DURATION)?];
        let (playlists, viewers) = (Arc::clone(playlists), Arc::clone(viewers));
        registry.register(Box::new(Staleness { playlists, viewers, clock: clock.clone(), families }))
    }

    /// The stalest live playlist of each stream that viewers ask for, by site and stream, the stalest
    /// [`STREAMS_MAX`] apart.
    fn streams(&self) -> BTreeMap<(String, String), Stale> {
        let now = self.clock.now();
        let asked = self.playlists.list();
        let asked = asked.iter().filter(|playlist| playlist.is_asked_within(ASKED_WITHIN, now));
        let mut streams: BTreeMap<(String, String), Stale> = BTreeMap::new();
        for (playlist, stale) in asked.filter_map(|playlist| Some((playlist, stale(playlist)?))) {
            let at = self.name(playlist);
            streams.entry(at).and_modify(|held| *held = stale.max(*held)).or_insert(stale);
        }
        bounded(streams)
    }

    /// Site and stream of a playlist: as its viewers are counted, else its own directory.
    fn name(&self, playlist: &Playlist) -> (String, String) {
        let (site, target) = playlist.text().split_once(' ').unwrap_or_default();
        let path = target.split(['?', ' ']).next().unwrap_or_default();
        let own = || {
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            match directory.len() {
                0 => "/",
                1..=DIRECTORY_BYTES_MAX => directory,
                _ => names::OTHER,
            }
            .to_owned()
        };
        (site.to_owned(), self.viewers.stream_of(site, path).unwrap_or_else(own))
    }
}

/// How stale a live playlist was when a viewer asked for it last; None: it is not live.
fn stale(playlist: &Playlist) -> Option<Stale> {
    let latest = playlist.latest().filter(|latest| latest.facts.is_live())?;
    let since = playlist.asked()?.duration_since(latest.grown).unwrap_or_default();
    Some(Stale { since, target: latest.facts.target_duration })
}

/// The stalest streams; the others together as `other` of their site.
fn bounded(streams: BTreeMap<(String, String), Stale>) -> BTreeMap<(String, String), Stale> {
    if streams.len() <= STREAMS_MAX {
        return streams;
    }
    let mut by_staleness: Vec<_> = streams.into_iter().collect();
    by_staleness.sort_by_key(|(_, stale)| std::cmp::Reverse(*stale));
    let mut kept = BTreeMap::new();
    for (place, ((site, stream), stale)) in by_staleness.into_iter().enumerate() {
        let stream = if place < STREAMS_MAX { stream } else { names::OTHER.to_owned() };
        kept.entry((site, stream)).or_insert(stale);
    }
    kept
}

impl fmt::Debug for Staleness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staleness").finish_non_exhaustive()
    }
}

impl Collector for Staleness {
    fn desc(&self) -> Vec<&Desc> {
        self.families.iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Families of their own for each scrape: what nobody asks for leaves no series behind.
        let (Ok(since), Ok(target)) = (family(names::STALENESS), family(names::TARGET_DURATION)) else {
            return Vec::new();
        };
        for ((site, stream), stale) in self.streams() {
            since.with_label_values(&[&site, &stream]).set(stale.since.as_secs_f64());
            target.with_label_values(&[&site, &stream]).set(stale.target.as_secs_f64());
        }
        [since.collect(), target.collect()].concat()
    }
}

fn family(family: Family) -> Result<GaugeVec, prometheus::Error> {
    GaugeVec::new(Opts::new(family.name, family.help), family.labels)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use std::time::{Instant, UNIX_EPOCH};

    use super::*;
    use crate::hls::read::read;
    use crate::key::{Key, hash_of};

    struct Bench {
        clock: Clock,
        staleness: Staleness,
    }

    impl Bench {
        fn new(playlists: usize) -> Bench {
            let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
            let families = [family(names::STALENESS).unwrap(), family(names::TARGET_DURATION).unwrap()];
            let playlists = Arc::new(Playlists::new(playlists, 1));
            let viewers = Viewers::new(&["s"], Instant::now());
            let staleness = Staleness { playlists, viewers, clock: clock.clone(), families };
            Bench { clock, staleness }
        }

        fn learn(&self, target: &str, sequence: u64, tags: &str) {
            let text = format!(
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n{tags}#EXTINF:4,\na.ts\n"
            );
            let key = Key { hash: hash_of(target), text: target.into() };
            let playlist = self.staleness.playlists.get_or_insert(target);
            playlist.learn(read(text.as_bytes()).unwrap(), &key, self.clock.now(), false);
        }

        fn ask(&self, target: &str) {
            self.staleness.playlists.get_or_insert(target).mark_asked(self.clock.now());
        }

        fn advance(&self, seconds: u64) {
            self.clock.advance(Duration::from_secs(seconds));
        }

        fn seconds(&self, stream: &str) -> Option<u64> {
            let streams = self.staleness.streams();
            streams.get(&("s".to_owned(), stream.to_owned())).map(|stale| stale.since.as_secs())
        }
    }

    #[test]
    fn a_playlist_is_as_stale_as_it_was_when_it_was_asked_for_last() {
        let bench = Bench::new(10);
        bench.learn("s /live/v.m3u8", 1, "");
        assert_eq!(bench.seconds("/live"), None, "nobody has asked");
        bench.ask("s /live/v.m3u8");
        assert_eq!(bench.seconds("/live"), Some(0));
        bench.advance(30);
        assert_eq!(bench.seconds("/live"), Some(0), "nobody has asked since");
        bench.learn("s /live/v.m3u8", 1, "");
        bench.ask("s /live/v.m3u8");
        assert_eq!(bench.seconds("/live"), Some(30));
        bench.learn("s /live/v.m3u8", 2, "");
        assert_eq!(bench.seconds("/live"), Some(0));
        bench.advance(62);
        assert_eq!(bench.seconds("/live"), None, "its viewers have gone");
    }

    #[test]
    fn of_several_renditions_the_stalest_counts_and_an_ended_one_does_not() {
        let bench = Bench::new(10);
        for target in ["s /live/a.m3u8", "s /live/b.m3u8", "s /live/c.m3u8"] {
            bench.learn(target, 1, if target.ends_with("c.m3u8") { "#EXT-X-ENDLIST\n" } else { "" });
        }
        bench.advance(10);
        bench.learn("s /live/a.m3u8", 2, "");
        for target in ["s /live/a.m3u8", "s /live/b.m3u8", "s /live/c.m3u8"] {
            bench.ask(target);
        }
        assert_eq!(bench.seconds("/live"), Some(10));
    }

    #[test]
    fn series_are_bounded_and_the_stalest_are_told_apart() {
        let bench = Bench::new(4 * STREAMS_MAX);
        for place in 0..STREAMS_MAX + 50 {
            bench.learn(&format!("s /{place}/v.m3u8"), 1, "");
        }
        bench.learn(&format!("s {}/v.m3u8", "/long".repeat(200)), 1, "");
        bench.advance(20);
        for place in 0..STREAMS_MAX + 50 {
            let target = format!("s /{place}/v.m3u8");
            if place != 77 {
                bench.learn(&target, 2, "");
            }
            bench.ask(&target);
        }
        let streams = bench.staleness.streams();
        assert!(streams.len() <= STREAMS_MAX + 1);
        assert_eq!(bench.seconds("/77"), Some(20));
        assert_eq!(bench.seconds(names::OTHER), Some(0));
    }
}
