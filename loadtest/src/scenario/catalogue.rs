//! All titles and channels of a scenario, one by one, and how popular each is.

use rand_distr::{Distribution, Zipf};
use rand_pcg::Pcg64Mcg;

use super::{Group, Scenario, Stream, StreamKind};

/// What can be watched.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    /// Name of each, and the index of its [`super::Stream`].
    pub(crate) titles: Vec<Title>,
    /// Where the titles of each stream begin, and the stream's name.
    streams: Vec<Range>,
    /// Exponent of popularity by rank.
    zipf: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Title {
    pub(crate) name: String,
    pub(crate) stream: usize,
    /// Path of its multivariant playlist on the origin: `/media/live/NAME/index.m3u8` or `/media/vod/NAME/index.m3u8`.
    pub(crate) entry: String,
}

/// The titles of one stream, which follow each other.
#[derive(Clone, Debug)]
struct Range {
    name: String,
    first: usize,
    count: usize,
}

// === impl Catalogue ===

impl Catalogue {
    pub(crate) fn of(scenario: &Scenario) -> Self {
        let (mut titles, mut streams) = (Vec::new(), Vec::with_capacity(scenario.streams.len()));
        for (index, stream) in scenario.streams.iter().enumerate() {
            streams.push(Range {
                name: stream.name.clone(),
                first: titles.len(),
                count: stream.count as usize,
            });
            titles.extend(stream.titles().map(|name| {
                let entry = format!("/media/{}/{name}/index.m3u8", stream.folder());
                Title { name, stream: index, entry }
            }));
        }
        Self { titles, streams, zipf: scenario.audience.zipf }
    }

    /// A title for somebody of the group, by popularity: of those that the group watches, in the order of the file, the n-th
    /// in proportion to 1 / n^zipf.
    pub(crate) fn choose(&self, group: &Group, random: &mut Pcg64Mcg) -> usize {
        let watched = || self.streams.iter().filter(|stream| group.watches(&stream.name));
        let count: usize = watched().map(|stream| stream.count).sum();
        // Neither the count nor the exponent of a checked scenario is one that has no distribution.
        let rank = Zipf::new(count as f64, self.zipf).map_or(1, |zipf| zipf.sample(random) as usize);
        let mut place = rank.clamp(1, count.max(1)) - 1;
        for stream in watched() {
            match place.checked_sub(stream.count) {
                Some(rest) => place = rest,
                None => return stream.first + place,
            }
        }
        0
    }
}

// === impl Stream ===

impl Stream {
    /// The names of its copies: NAME-0, NAME-1, ... of several, NAME of one.
    pub(crate) fn titles(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.count)
            .map(|copy| if self.count == 1 { self.name.clone() } else { format!("{}-{copy}", self.name) })
    }

    /// The folder of its titles below `/media/`.
    pub(crate) fn folder(&self) -> &'static str {
        match self.kind {
            StreamKind::Live | StreamKind::LowLatency => "live",
            StreamKind::Vod => "vod",
        }
    }
}

// === impl Group ===

impl Group {
    /// Whether its viewers watch the stream of this name.
    fn watches(&self, stream: &str) -> bool {
        self.watches.is_empty() || self.watches.iter().any(|name| name == stream)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use rand::SeedableRng;

    use super::*;
    use crate::scenario::file;

    fn scenario(text: &str) -> Scenario {
        let audience = "[audience]\nzipf = 1\narrivals = [{ viewers = 1 }]\n";
        file::parse("test", &format!("{audience}\n{text}")).unwrap()
    }

    /// How often each title is chosen in so many draws.
    fn drawn(scenario: &Scenario, group: usize, times: usize) -> Vec<usize> {
        let catalogue = Catalogue::of(scenario);
        let mut random = Pcg64Mcg::seed_from_u64(7);
        let mut counts = vec![0; catalogue.titles.len()];
        for _ in 0..times {
            counts[catalogue.choose(&scenario.groups[group], &mut random)] += 1;
        }
        counts
    }

    #[test]
    fn copies_are_numbered_and_lie_where_their_kind_says() {
        let scenario = scenario(
            "[[stream]]\nname = \"news\"\nkind = \"live\"\n\
             [[stream]]\nname = \"fast\"\nkind = \"low-latency\"\n\
             [[stream]]\nname = \"film\"\nkind = \"vod\"\ncount = 2\n",
        );
        let titles = Catalogue::of(&scenario).titles;
        let found: Vec<_> =
            titles.iter().map(|title| (title.name.as_str(), title.stream, title.entry.as_str())).collect();
        assert_eq!(
            found,
            [
                ("news", 0, "/media/live/news/index.m3u8"),
                ("fast", 1, "/media/live/fast/index.m3u8"),
                ("film-0", 2, "/media/vod/film-0/index.m3u8"),
                ("film-1", 2, "/media/vod/film-1/index.m3u8"),
            ]
        );
    }

    #[test]
    fn titles_are_chosen_in_proportion_to_their_rank() {
        let scenario = scenario("[[stream]]\nname = \"film\"\nkind = \"vod\"\ncount = 10\n");
        let times = 100_000;
        let counts = drawn(&scenario, 0, times);
        let whole: f64 = (1..=10).map(|rank| 1.0 / f64::from(rank)).sum();
        for (rank, count) in (1..).zip(&counts) {
            let expected = times as f64 / f64::from(rank) / whole;
            // Six standard deviations of a count.
            assert!(
                (*count as f64 - expected).abs() < 6.0 * expected.sqrt(),
                "rank {rank}: {count}, not {expected}"
            );
        }
    }

    #[test]
    fn a_group_gets_only_what_it_watches_and_ranks_only_that() {
        let scenario = scenario(
            "[[stream]]\nname = \"a\"\nkind = \"live\"\ncount = 3\n\
             [[stream]]\nname = \"b\"\nkind = \"vod\"\ncount = 2\n\
             [[stream]]\nname = \"c\"\nkind = \"live\"\n\
             [[group]]\nname = \"some\"\nwatches = [\"c\", \"b\"]\n",
        );
        let counts = drawn(&scenario, 0, 11_000);
        assert_eq!(counts[..3], [0, 0, 0]);
        // 1, 1/2 and 1/3 of the whole of 11/6.
        for (count, expected) in counts[3..].iter().zip([6_000.0, 3_000.0, 2_000.0]) {
            assert!((*count as f64 - expected).abs() < 6.0 * f64::sqrt(expected), "{counts:?}");
        }
    }

    #[test]
    fn without_an_exponent_all_titles_are_alike() {
        let mut scenario = scenario("[[stream]]\nname = \"film\"\nkind = \"vod\"\ncount = 8\n");
        scenario.audience.zipf = 0.0;
        for count in drawn(&scenario, 0, 80_000) {
            assert!((count as f64 - 10_000.0).abs() < 600.0, "{count}");
        }
    }
}
