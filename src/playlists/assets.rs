//! The assets that playlists name: what each is, how much of it is there, and which stream it belongs to.
//!
//! Tables by the hash of site and path, each bounded: what has not been used for longest goes first, and is learned again
//! with the next playlist that names it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;

use crate::asset::{self, Kind};
use crate::key::hash_within;

/// Directories above an asset whose live playlists are taken for those of its stream: its own, and one more.
const LEVELS: usize = 2;

/// What is known of assets.
#[derive(Debug)]
pub struct Assets {
    /// Kinds by the hash of site and path.
    named: Cache<u128, Kind>,
    /// Bytes that playlists have named of an asset by ranges of parts, by the same hash.
    bytes: Cache<u128, u64>,
    /// Media that live playlists list, by the same hash.
    listed: Cache<u128, ()>,
    /// Whether any asset has been named: until then no look-up is made.
    any_named: AtomicBool,
    /// By the hash of site and path of a media playlist: what the multivariant playlist that names it defines.
    defined: Cache<u128, Arc<Defined>>,
    /// Target durations of live media playlists, by the hash of site and path, and the shortest of a directory.
    targets: Cache<u128, Duration>,
    /// Multivariant playlists by the renditions that they name; both as hashes of site and path.
    streams: Cache<u128, u128>,
}

/// Names and values of variables (RFC 8216bis section 4.4.2.3).
pub type Defined = [(Box<str>, Box<str>)];

impl Assets {
    /// None known. Holds what `playlists` playlists say and `named` assets at most.
    pub fn new(playlists: usize, named: usize) -> Assets {
        Assets {
            named: Cache::new(named),
            // Only segments at the live edge have parts.
            bytes: Cache::new(playlists),
            listed: Cache::new(named),
            any_named: AtomicBool::new(false),
            defined: Cache::new(playlists),
            targets: Cache::new(playlists.saturating_mul(2)),
            streams: Cache::new(playlists),
        }
    }

    /// What a playlist has named this path of a site as; None: nothing has.
    pub fn kind_of(&self, site: &str, path: &str) -> Option<Kind> {
        self.any_named.load(Ordering::Relaxed).then(|| self.named.get(&hash_within(site, path)))?
    }

    /// Bytes from the start of the asset at this path that playlists have named as parts: they are there, or coming.
    pub fn bytes_of(&self, site: &str, path: &str) -> u64 {
        self.bytes.get(&hash_within(site, path)).unwrap_or_default()
    }

    /// A playlist names a part of the asset at this path of a site that ends before this byte.
    pub fn name_bytes(&self, site: &str, path: &str, end: u64) {
        let hash = hash_within(site, path);
        if self.bytes.peek(&hash).is_none_or(|known| known < end) {
            self.bytes.insert(hash, end);
        }
    }

    /// A playlist names this path of a site (normal form, no query) as that. Kept only where it tells more than the
    /// extension does, and of a key always, unless that is called a playlist: what has been named a key stays one, whatever else names it.
    pub fn name(&self, site: &str, path: &str, kind: Kind) {
        let by_extension = asset::classify(path);
        let tells = overrules(kind, by_extension);
        if !tells && (kind != by_extension || !self.any_named.load(Ordering::Relaxed)) {
            return;
        }
        let hash = hash_within(site, path);
        match self.named.peek(&hash) {
            Some(Kind::Key) => {}
            Some(known) if known == kind => {}
            Some(_) if !tells => drop(self.named.remove(&hash)),
            None if !tells => {}
            _ => {
                self.named.insert(hash, kind);
                self.any_named.store(true, Ordering::Relaxed);
            }
        }
    }

    /// A live playlist lists the asset at this path of a site: it is there.
    pub fn list_asset(&self, site: &str, path: &str) {
        let hash = hash_within(site, path);
        if self.listed.peek(&hash).is_none() {
            self.listed.insert(hash, ());
        }
    }

    /// Whether a live playlist has listed the asset at this path of a site.
    pub fn is_listed(&self, site: &str, path: &str) -> bool {
        self.listed.get(&hash_within(site, path)).is_some()
    }

    /// A multivariant playlist that defines these variables names this path of a site as a media playlist.
    pub fn define(&self, site: &str, path: &str, variables: &Arc<Defined>) {
        let hash = hash_within(site, path);
        if self.defined.peek(&hash).as_ref() != Some(variables) {
            self.defined.insert(hash, Arc::clone(variables));
        }
    }

    /// What the multivariant playlist defines that names this media playlist, if that is known.
    pub fn defined(&self, site: &str, path: &str) -> Option<Arc<Defined>> {
        if self.defined.is_empty() { None } else { self.defined.get(&hash_within(site, path)) }
    }

    /// A live media playlist at this path has this target duration; None: it is none any more.
    pub fn note_target(&self, site: &str, path: &str, target: Option<Duration>) {
        let at = hash_within(site, path);
        let known = self.targets.peek(&at);
        if known != target {
            match target {
                Some(target) => self.targets.insert(at, target),
                None => drop(self.targets.remove(&at)),
            }
        }
        let Some(directory) = directories(path).next().map(|directory| hash_within(site, directory)) else {
            return;
        };
        match (target, self.targets.peek(&directory)) {
            (Some(target), shortest) if shortest.is_none_or(|shortest| target < shortest) => {
                self.targets.insert(directory, target);
            }
            // Another one that is still live there says so with its next answer.
            (None, Some(shortest)) if Some(shortest) == known => drop(self.targets.remove(&directory)),
            _ => {}
        }
    }

    /// The target duration of the live media playlist at this path.
    pub fn target_of(&self, site: &str, path: &str) -> Option<Duration> {
        self.targets.get(&hash_within(site, path))
    }

    /// The shortest target duration of live media playlists in the directory of a path, or in the one above that.
    pub fn target_around(&self, site: &str, path: &str) -> Option<Duration> {
        directories(path).take(LEVELS).find_map(|directory| self.target_of(site, directory))
    }

    /// A multivariant playlist names a rendition; both are paths of the site.
    pub fn note_rendition(&self, site: &str, multivariant: &str, rendition: &str) {
        let (stream, rendition) = (hash_within(site, multivariant), hash_within(site, rendition));
        if self.streams.peek(&rendition) != Some(stream) {
            self.streams.insert(rendition, stream);
        }
    }

    /// A number for the stream of a media playlist: that of the multivariant one that names it, else its own.
    pub fn stream_of(&self, site: &str, path: &str) -> u128 {
        let own = hash_within(site, path);
        self.streams.get(&own).unwrap_or(own)
    }
}

/// Whether what a playlist names an asset as counts for more than its extension. A line of a playlist may be a playlist
/// itself, as in lists of channels, and a rendition a file of subtitles. No key is called a playlist: whoever names another
/// playlist so would have it fetched for each viewer, and read by none.
fn overrules(kind: Kind, by_extension: Kind) -> bool {
    match kind {
        Kind::Key => !by_extension.is_playlist() && by_extension != Kind::Manifest,
        Kind::MediaPlaylist => matches!(by_extension, Kind::Other | Kind::Api),
        _ => {
            kind != by_extension
                && !by_extension.is_playlist()
                && !matches!(by_extension, Kind::Key | Kind::Manifest)
        }
    }
}

/// The directories above a path, innermost first, with the slash at their end.
fn directories(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/').filter_map(|(at, _)| path.get(..=at))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn a_named_asset_is_of_its_kind_on_its_site_alone() {
        let assets = Assets::new(10, 10);
        assert_eq!(assets.kind_of("s", "/a.bin"), None);
        assets.name("s", "/a.bin", Kind::Key);
        assets.name_bytes("s", "/b", 700);
        assets.name_bytes("s", "/b", 300);
        assert_eq!(assets.bytes_of("s", "/b"), 700);
        assert_eq!(assets.bytes_of("s", "/c"), 0);
        assert_eq!(assets.kind_of("s", "/a.bin"), Some(Kind::Key));
        assert_eq!(assets.kind_of("t", "/a.bin"), None);
    }

    #[test]
    fn a_name_counts_where_it_tells_more_than_the_extension() {
        let assets = Assets::new(10, 10);
        for (path, kind) in [
            ("/a.ts", Kind::Segment),
            ("/live.m3u8", Kind::Segment),
            ("/a.mpd", Kind::Segment),
            ("/live.m3u8", Kind::Key),
            ("/a.mpd", Kind::Key),
            ("/1.key", Kind::Segment),
            ("/subtitles.vtt", Kind::MediaPlaylist),
            ("/v.m3u8", Kind::MediaPlaylist),
        ] {
            assets.name("s", path, kind);
            assert_eq!(assets.kind_of("s", path), None, "{path}");
        }
        for (path, kind) in [
            ("/a.html", Kind::Segment),
            ("/a.jpg", Kind::Segment),
            ("/0.m4s", Kind::Part),
            ("/a.php", Kind::MediaPlaylist),
            ("/1.key", Kind::Key),
            ("/k.ts", Kind::Key),
        ] {
            assets.name("s", path, kind);
            assert_eq!(assets.kind_of("s", path), Some(kind), "{path}");
        }
        // What is named otherwise later is that, unless it is a key.
        assets.name("s", "/0.m4s", Kind::Segment);
        assert_eq!(assets.kind_of("s", "/0.m4s"), None);
        assets.name("s", "/k.ts", Kind::Segment);
        assets.name("s", "/1.key", Kind::Segment);
        assert_eq!(assets.kind_of("s", "/k.ts"), Some(Kind::Key));
        assert_eq!(assets.kind_of("s", "/1.key"), Some(Kind::Key));
    }

    #[test]
    fn the_target_duration_of_a_stream_is_known_around_its_playlists_while_they_are_live() {
        let assets = Assets::new(10, 10);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assets.note_target("s", "/live/a/1.m3u8", seconds(6));
        assets.note_target("s", "/live/a/2.m3u8", seconds(4));
        assert_eq!(assets.target_of("s", "/live/a/1.m3u8"), seconds(6));
        for path in ["/live/a/1.ts", "/live/a/hd/1.ts"] {
            assert_eq!(assets.target_around("s", path), seconds(4), "{path}");
        }
        for (site, path) in [("s", "/live/1.ts"), ("s", "/live/a/b/c/1.ts"), ("t", "/live/a/1.ts")] {
            assert_eq!(assets.target_around(site, path), None, "{path}");
        }
        assets.note_target("s", "/live/a/2.m3u8", None);
        assert_eq!(assets.target_of("s", "/live/a/2.m3u8"), None);
        assert_eq!(assets.target_around("s", "/live/a/1.ts"), None);
        assets.note_target("s", "/live/a/1.m3u8", seconds(6));
        assert_eq!(assets.target_around("s", "/live/a/1.ts"), seconds(6));
    }

    #[test]
    fn renditions_of_one_multivariant_playlist_are_one_stream() {
        let assets = Assets::new(10, 10);
        assert_ne!(assets.stream_of("s", "/a/1.m3u8"), assets.stream_of("s", "/a/2.m3u8"));
        for rendition in ["/a/1.m3u8", "/a/2.m3u8"] {
            assets.note_rendition("s", "/a.m3u8", rendition);
        }
        assert_eq!(assets.stream_of("s", "/a/1.m3u8"), assets.stream_of("s", "/a/2.m3u8"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let assets = Assets::new(8, 8);
        for place in 0..1000 {
            assets.name("s", &format!("/{place}"), Kind::Segment);
            assets.name_bytes("s", &format!("/{place}"), 1);
            assets.list_asset("s", &format!("/{place}"));
            assets.define("s", &format!("/{place}"), &Arc::from([("a".into(), "b".into())]));
            assets.note_target("s", &format!("/{place}.m3u8"), Some(Duration::from_secs(2)));
            assets.note_rendition("s", "/a.m3u8", &format!("/{place}.m3u8"));
        }
        assert!(assets.defined.len() <= 8);
        assert!(assets.targets.len() <= 16 && assets.streams.len() <= 8);
        assert!(assets.named.len() <= 8);
        assert!(assets.bytes.len() <= 8 && assets.listed.len() <= 8);
        assert!(!assets.is_listed("s", "/unknown") && assets.is_listed("s", "/999"));
    }
}
