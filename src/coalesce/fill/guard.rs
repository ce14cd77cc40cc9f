//! The playlist guard: whether what an origin has sent takes the place of the good playlist that is held, and what
//! follows where a stream begins anew.
//!
//! What cannot be read never takes it; what goes back does by [`succession`](crate::playlists::succession). What does not
//! is a failure like any other: what is held is served for as long as it may be. A new stream counts its segments from
//! the beginning, so what is held under such names is purged: everything whose path begins as those that the playlist
//! lists, before and now, cut before the number in which they differ. Names that are alike but for their numbers go
//! together; a directory, or a site, is never purged whole.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use xxhash_rust::xxh3::xxh3_64;

use super::{Failure, Fill};
use crate::coalesce::guard::{StandIn, count_alike};
use crate::hls::{PlaylistFacts, read, uris};
use crate::key::reference::path_beside;
use crate::playlists::succession::{Before, Doubt, Good, Weighed};
use crate::store::Object;
use crate::store::purges::{PurgeMode, PurgeTarget};

/// Init sections of a playlist that are purged one by one; of more, what all their paths begin with is.
const MAPS_MAX: usize = 8;

/// Sorts of segments' names that are looked at; what has more of them does not count in its names.
const SORTS_MAX: usize = 8;

/// What it means that an answer is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Whether it is to be remembered what it says.
    pub(super) learns: bool,
    /// Whether it goes back.
    pub(super) anew: bool,
    /// The generation at which it is kept.
    pub(super) generation: u64,
}

/// An answer that has been read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came<'a> {
    pub(super) status: StatusCode,
    /// What it says, where it is a playlist.
    pub(super) playlist: Option<PlaylistFacts>,
    /// Its text.
    pub(super) read: &'a [Bytes],
}

impl Fill<'_> {
    /// Judges an answer that has been read; what it says is in `answer`.
    ///
    /// # Errors
    /// The failure that it amounts to, where it does not take the place of what is held.
    pub(super) fn guard(&self, answer: &Came<'_>) -> Result<Taken, Failure> {
        let taken = Taken { learns: true, anew: false, generation: self.generation };
        let Some(came) = answer.playlist else { return Ok(taken) };
        let (key, now) = (&self.flight.key, self.coalescer.clock.now());
        let held = self.coalescer.stand_in(key, self.job.stale.as_ref());
        let Some(before) = self.before(&held) else { return Ok(taken) };
        let playlist = self.coalescer.playlists.get_or_insert(&key.text);
        let guards = self.rule(answer.status, self.job.kind).is_none_or(|rule| rule.guard);
        let good = if guards { held.good } else { Good::Gone };
        let weighed = playlist.weigh(Some(before), &came, good, now);
        if let Weighed::Doubted(doubt) = weighed {
            return Err(self.doubted(doubt));
        }
        if playlist.is_news(None, now) {
            tracing::info!(key = %key.text, "the origin's playlist is good again");
        }
        Ok(match weighed {
            Weighed::FollowsEmpty => Taken { learns: false, ..taken },
            Weighed::FollowsBack if came.multivariant => {
                playlist.forget();
                taken
            }
            Weighed::FollowsBack => Taken { anew: guards, ..taken },
            // What begins anew for one user does not for others, whose segments it may name.
            Weighed::Restarts if guards && key.user_rule().is_none() => {
                let generation = self.restart(answer, &came, held.object.as_ref());
                Taken { anew: true, generation, ..taken }
            }
            Weighed::Restarts => Taken { anew: true, ..taken },
            Weighed::Follows | Weighed::Doubted(_) => taken,
        })
    }

    /// The origin has confirmed the playlist that is held: what came of other servers of it was theirs alone.
    pub(super) fn note_confirmed(&self) {
        let Some(playlist) = self.coalescer.playlists.get(&self.flight.key.text) else { return };
        playlist.confirm();
        if playlist.is_news(None, self.coalescer.clock.now()) {
            tracing::info!(key = %self.flight.key.text, "the origin's playlist is good again");
        }
    }

    /// Whether a good answer of this playlist or manifest has been seen.
    pub(super) fn has_good(&self) -> bool {
        let key = &self.flight.key;
        let is_known =
            || self.coalescer.playlists.get(&key.text).is_some_and(|known| known.latest().is_some());
        self.coalescer.stand_in(key, self.job.stale.as_ref()).object.is_some() || is_known()
    }

    /// Counts an answer that does not take the place of a good one, tells the log if that is news, and gives the failure
    /// that it amounts to.
    pub(super) fn doubted(&self, doubt: Doubt) -> Failure {
        let key = &self.flight.key;
        self.coalescer.guard.count(key.site(), doubt);
        let playlist = self.coalescer.playlists.get_or_insert(&key.text);
        // That a server is behind is the way of the world.
        if doubt != Doubt::Older && playlist.is_news(Some(doubt), self.coalescer.clock.now()) {
            tracing::warn!(key = %key.text, reason = doubt.as_str(), "guarded: the origin's answer is not taken for the playlist");
        }
        Failure::BAD_PLAYLIST
    }

    /// What there was before.
    fn before(&self, held: &StandIn) -> Option<Before> {
        let known = self.coalescer.playlists.get(&self.flight.key.text).and_then(|known| known.latest());
        // Several variants of one playlist need not count alike.
        if let Some(latest) = known.filter(|latest| count_alike(&latest.key, &self.flight.key)) {
            return Some(Before::Media(latest.facts));
        }
        // Known to the disk, or no longer to the table.
        let facts = super::facts_of(held.object.as_ref()?.body.as_whole()?)?;
        Some(if facts.multivariant { Before::Multivariant } else { Before::Media(facts) })
    }

    /// A stream has begun anew: purges what it lists under the names of before. Gives the generation at which the
    /// playlist is kept, which is not purged with them.
    fn restart(&self, answer: &Came<'_>, came: &PlaylistFacts, before: Option<&Arc<Object>>) -> u64 {
        let (store, now) = (self.coalescer.store, self.coalescer.clock.now());
        let (key, guard) = (&self.flight.key, &self.coalescer.guard);
        let (site, path) = (key.site(), self.path());
        let texts = before.and_then(|before| before.body.as_whole()?.chunks()).map(|chunks| chunks.concat());
        let mut names = Names::default();
        for text in answer.read.iter().map(|data| &**data).chain(texts.as_deref()) {
            names.take(path, std::str::from_utf8(text).unwrap_or_default());
        }
        let asked_at = store.generation() == self.generation;
        self.coalescer.begin_own_purge();
        let mut purged = Vec::new();
        for beginning in names.beginnings() {
            if guard.is_to_purge(site, &beginning, came.target_duration, now) {
                let target = PurgeTarget::Prefix { site: site.to_owned(), path: beginning.clone() };
                // In force from here on; what is awaited is that disks have noted it.
                let noted = store.purge(&target, PurgeMode::Hard);
                let text = key.text.clone();
                tokio::spawn(async move {
                    if let Err(error) = noted.await {
                        tracing::warn!(key = %text, %error, "a disk could not note the purge of a stream that began anew");
                    }
                });
                purged.push(beginning);
            }
        }
        guard.count_restart(
            site,
            self.coalescer.playlists.assets.stream_of(site, path),
            came.target_duration,
            now,
        );
        let purged = purged.join(", ");
        tracing::warn!(key = %key.text, purged, "the stream has begun anew; what it had under these paths is purged");
        // Where an operator has purged anything since the origin was asked, that counts for the playlist too.
        if asked_at { store.generation() } else { self.generation }
    }
}

/// What the paths of a stream's media begin with.
#[derive(Debug, Default)]
struct Names {
    /// Of segments and parts: those that are alike but for their numbers.
    sorts: Vec<Sort>,
    maps: Vec<String>,
}

/// Names that are alike but for their numbers. What a playlist inserts from elsewhere (advertisements) is another sort
/// than its own media, and has nothing in common with them that were to be purged.
#[derive(Debug)]
struct Sort {
    /// Hash of a name without its numbers.
    hash: u64,
    /// What all have in common.
    common: String,
    /// Whether there is more than one.
    several: bool,
}

impl Names {
    /// Takes in what a playlist at `path` lists.
    fn take(&mut self, path: &str, text: &str) {
        uris::find(text, |place| {
            let line =
                text.get(..place.at.start).and_then(|before| before.rsplit('\n').next()).unwrap_or_default();
            let line = line.trim_ascii_start();
            let is_map = line.starts_with("#EXT-X-MAP:");
            if !(line.is_empty() || is_map || line.starts_with("#EXT-X-PART:")) {
                return;
            }
            let Some(name) = path_beside(&place.says, path) else { return };
            if !is_map || (self.maps.len() >= MAPS_MAX && !self.maps.contains(&name)) {
                self.fold(name);
            } else if !self.maps.contains(&name) {
                self.maps.push(name);
            }
        });
    }

    fn fold(&mut self, name: String) {
        let hash = hash_without_numbers(&name);
        let Some(sort) = self.sorts.iter_mut().find(|sort| sort.hash == hash) else {
            if self.sorts.len() < SORTS_MAX {
                self.sorts.push(Sort { hash, common: name, several: false });
            }
            return;
        };
        let common = &mut sort.common;
        if **common != *name {
            let same = common.char_indices().zip(name.chars()).find(|((_, one), other)| one != other);
            let len = same.map_or(common.len().min(name.len()), |((at, _), _)| at);
            common.truncate(len);
            sort.several = true;
        }
    }

    /// What is purged, each once, none a beginning of another.
    fn beginnings(&self) -> Vec<String> {
        let mut all: Vec<String> = self.sorts.iter().flat_map(Sort::beginnings).collect();
        all.extend(self.maps.iter().cloned());
        // What begins as another comes behind it.
        all.sort_unstable();
        all.dedup_by(|later, earlier| later.starts_with(&**earlier));
        all
    }
}

impl Sort {
    /// What all of them begin with before their number, which a whole directory does not: its digits then as well.
    fn beginnings(&self) -> Vec<String> {
        let common = &self.common;
        let before = if self.several {
            common.trim_end_matches(|c: char| c.is_ascii_digit())
        } else {
            // Of one name nobody knows which number counts; it is taken to stand in the file's name.
            let name_at = common.rfind('/').map_or(0, |at| at + 1);
            let number = common.get(name_at..).and_then(|name| name.find(|c: char| c.is_ascii_digit()));
            let Some(number) = number else { return vec![common.clone()] };
            common.get(..name_at + number).unwrap_or(common)
        };
        if before.ends_with('/') {
            ('0'..='9').map(|digit| format!("{before}{digit}")).collect()
        } else {
            vec![before.to_owned()]
        }
    }
}

/// A hash of a name in which each number counts as one letter.
fn hash_without_numbers(name: &str) -> u64 {
    let mut mask = Vec::with_capacity(name.len());
    for byte in name.bytes() {
        let byte = if byte.is_ascii_digit() { b'0' } else { byte };
        if byte != b'0' || mask.last() != Some(&b'0') {
            mask.push(byte);
        }
    }
    xxh3_64(&mask)
}

/// What the text of a body that is no playlist lacks.
pub(super) fn doubt_of(text: &[u8], error: Option<read::PlaylistError>) -> Doubt {
    match error {
        _ if text.trim_ascii().is_empty() => Doubt::Empty,
        Some(read::PlaylistError::Unreadable) => Doubt::Unreadable,
        _ => Doubt::NotAPlaylist,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn beginnings(path: &str, lists: &[&str]) -> Vec<String> {
        let mut names = Names::default();
        lists.iter().for_each(|list| names.take(path, &format!("#EXTM3U\n{list}")));
        names.beginnings()
    }

    fn digits_in(directory: &str) -> Vec<String> {
        ('0'..='9').map(|digit| format!("{directory}{digit}")).collect()
    }

    #[test]
    fn what_is_purged_begins_as_all_names_of_a_stream_and_as_few_others_as_can_be() {
        for (path, lists, expected) in [
            ("/live/ch1/v.m3u8", &["seg0.ts\nseg1.ts", "seg5000.ts"][..], &["/live/ch1/seg"][..]),
            // Channels in one directory.
            ("/live/ch1.m3u8", &["ch1_000.ts\nch1_001.ts", "ch1_777.ts"], &["/live/ch1_"]),
            ("/a/v.m3u8", &["v12/seg_0.ts?x=1"], &["/a/v12/seg_"]),
            // Advertisements between its own segments.
            ("/a/v.m3u8", &["../ads/7/1.ts?x\n/a/s/x2.ts\n/a/s/x3.ts"], &["/a/s/x", "/ads/7/*"]),
            ("/a/v.m3u8", &["ad_1.ts\nseg_2.ts\nseg_3.ts"], &["/a/ad_", "/a/seg_"]),
            // A directory for each day.
            ("/a/v.m3u8", &["20261121/1.ts\n20261122/2.ts"], &["/a/*"]),
            ("/a/v.m3u8", &["stream.ts\nstream.ts"], &["/a/stream.ts"]),
            ("/a/v.m3u8", &["seg1.ts\nseg2.ts\nseg3.vtt"], &["/a/seg"]),
            (
                "/a/v.m3u8",
                &["#EXT-X-MAP:URI=\"init.mp4\"\n#EXT-X-PART:DURATION=1,URI=\"p0.0.m4s\"\np0.m4s\np1.m4s"],
                &["/a/init.mp4", "/a/p"],
            ),
            (
                "/a/v.m3u8",
                &["#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"z\""],
                &[],
            ),
            // Names that begin with their numbers never take a directory, nor a site, with them.
            ("/live/ch1.m3u8", &["ch1/0.ts", "ch1/99.ts"], &["/live/ch1/*"]),
            ("/a/v.m3u8", &["720p_0.ts"], &["/a/*"]),
            ("/a/v.m3u8", &["https://cdn.example/s/1.ts\nhttps://cdn.example/s/2.ts"], &["/s/*"]),
            ("/a/v.m3u8", &["#EXT-X-MAP:URI=\"init.mp4\"\n0.m4s\n1.m4s"], &["/a/*", "/a/init.mp4"]),
            ("/v.m3u8", &["0.ts\n1.ts"], &["/*"]),
        ] {
            let expand = |begin: &&str| match begin.strip_suffix('*') {
                Some(directory) => digits_in(directory),
                None => vec![(*begin).to_owned()],
            };
            let expected: Vec<String> = expected.iter().flat_map(expand).collect();
            assert_eq!(beginnings(path, lists), expected, "{path} {lists:?}");
        }
    }

    #[test]
    fn init_sections_beyond_a_bound_are_purged_by_what_they_have_in_common() {
        let list: String = (0..100).map(|n| format!("#EXT-X-MAP:URI=\"i{n}.mp4\"\ns{n}.m4s\n")).collect();
        assert_eq!(beginnings("/a/v.m3u8", &[&list]), ["/a/i", "/a/s"]);
    }

    #[test]
    fn sorts_of_names_are_bounded() {
        let list: String = (0..1000).map(|n| format!("{}1.ts\n", "x".repeat(1 + n % 100))).collect();
        assert_eq!(beginnings("/a/v.m3u8", &[&list]), ["/a/x"]);
        let list: String = ('a'..='z').map(|letter| format!("{letter}1.ts\n{letter}2.ts\n")).collect();
        assert_eq!(beginnings("/a/v.m3u8", &[&list]).len(), SORTS_MAX);
    }
}
