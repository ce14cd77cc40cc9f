//! What the node knows of the playlists that have passed through it, and of the assets that they name.
//!
//! A playlist is held under several keys: as it is, and for each set of directives (`_HLS_*`). All of them are one playlist
//! here, found by the text of its key without directives ([`key::undirected`]). Written by fills when an answer is kept,
//! read by whoever decides about the next request. Nothing here is an object: what is held is looked up in the store, so
//! a purge or an eviction needs no word here. All tables are bounded (`limits.playlists`, `limits.named_assets`); what
//! has not been used for longest goes first, and is learned again with the next answer. What is known of single assets is
//! in [`assets`] and [`media`].

pub mod assets;
pub mod media;
pub mod succession;

use std::cell::Cell;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::hls::directives::{Directives, Skip};
use crate::hls::read::TARGET_DURATION_DEFAULT;
use crate::hls::{PlaylistFacts, Reach};
use crate::key::variant::primary_text;
use crate::key::{self, Key, hash_of, query_of};
use crate::wake::{Watched, Watcher};
use assets::Assets;
use media::Media;
use succession::{Before, Doubt, Doubts, Good, Weighed};

/// Target durations that a request is held at most until a playlist grows (RFC 8216bis section 6.2.5.2).
const HOLD_TARGETS: u32 = 3;

/// Bells by which those are told who wait for a playlist to be known.
const NEWS: usize = 64;

/// Target durations for which a reload in full has those of delta updates share its fetch.
const IN_FULL_TARGETS: u32 = 2;

/// The longest hold, whatever target duration a playlist states.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// The playlists, and the assets that they name.
#[derive(Debug)]
pub struct Playlists {
    playlists: Cache<u128, Arc<Playlist>>,
    /// Rung when one is known that was not: by its hash, so that few wake for one that they do not wait for.
    news: [Watched<()>; NEWS],
    /// What they name.
    pub assets: Assets,
    /// What they say of segments and parts beyond that, for sites that tell it.
    pub media: Media,
}

/// One playlist, whatever directives it is asked for with.
#[derive(Debug)]
pub struct Playlist {
    /// The text of its key without directives.
    text: Box<str>,
    latest: ArcSwapOption<Latest>,
    /// The latest in full, without segments, and without segments and date ranges: by [`Skip`].
    answers: [ArcSwapOption<Latest>; 3],
    /// How far the latest goes: wakes who waits for more.
    reach: Watched<Reach>,
    /// When a viewer last asked for it, in milliseconds since 1970.
    asked: AtomicU64,
    /// When one last asked by a reload in full, in the same way.
    asked_in_full: AtomicU64,
    /// How far its assets have been named.
    named: Mutex<Option<NamedTo>>,
    made_here: ArcSwapOption<MadeHere>,
    /// What has come that did not follow the latest.
    doubts: Mutex<Doubts>,
}

/// How far the assets of a media playlist have been named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedTo {
    /// Media sequence number of the first segment that has not been.
    pub next: u64,
    /// Hash of the URI of the one before, as the playlist says it: another one is another stream.
    pub last: u64,
    /// When all of them were named: some may have been forgotten since.
    pub at: SystemTime,
}

/// What the node does for a playlist in its origin's place (`low_latency` of a rule).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeHere {
    /// It holds reloads, and asks the origin for all of them.
    pub reload: bool,
    /// It makes delta updates.
    pub delta: bool,
    /// How long after it has grown it is due to grow again.
    pub due_after: Duration,
}

/// What its latest good answer says.
#[derive(Clone, Debug)]
pub struct Latest {
    /// The playlist.
    pub facts: PlaylistFacts,
    /// Key of the object that holds it; perhaps no more.
    pub key: Key,
    /// When it came, or was last confirmed.
    pub fetched: SystemTime,
    /// When its reach was first seen.
    pub grown: SystemTime,
}

// === impl Playlists ===

impl Playlists {
    /// None known. Holds `playlists` playlists and `named` assets at most.
    pub fn new(playlists: usize, named: usize) -> Playlists {
        Playlists {
            playlists: Cache::new(playlists),
            news: std::array::from_fn(|_| Watched::new(())),
            assets: Assets::new(playlists, named),
            media: Media::new(named),
        }
    }

    /// The playlist that a key is one of, if it is known.
    pub fn get(&self, key_text: &str) -> Option<Arc<Playlist>> {
        let text = key::undirected(key_text);
        self.playlists.get(&hash_of(&text)).filter(|playlist| *playlist.text == *text)
    }

    /// The same; one that is not known is from now on.
    pub fn get_or_insert(&self, key_text: &str) -> Arc<Playlist> {
        let text = key::undirected(key_text);
        let hash = hash_of(&text);
        let is_new = Cell::new(false);
        let new = || {
            is_new.set(true);
            Arc::new(Playlist::new(&text))
        };
        // At once for all who ask: what one of them learns is for the others.
        let Ok(mut playlist) = self.playlists.get_or_insert_with(&hash, || Ok::<_, Infallible>(new()));
        if *playlist.text != *text {
            playlist = new();
            self.playlists.insert(hash, Arc::clone(&playlist));
        }
        if is_new.get() {
            self.news_of(hash).set(());
        }
        playlist
    }

    /// The playlist that a key is one of, once it is known.
    pub async fn known(&self, key_text: &str) -> Arc<Playlist> {
        let news = self.news_of(hash_of(&key::undirected(key_text)));
        loop {
            let mut news = news.watch();
            if let Some(playlist) = self.get(key_text) {
                return playlist;
            }
            news.changed().await;
        }
    }

    fn news_of(&self, hash: u128) -> &Watched<()> {
        #[allow(clippy::cast_possible_truncation, reason = "the remainder is small")]
        &self.news[(hash % NEWS as u128) as usize]
    }

    /// All that are known.
    pub fn list(&self) -> Vec<Arc<Playlist>> {
        self.playlists.iter().map(|(_, playlist)| playlist).collect()
    }
}

// === impl Playlist ===

impl Playlist {
    fn new(text: &str) -> Playlist {
        Playlist {
            text: text.into(),
            latest: ArcSwapOption::empty(),
            answers: [const { ArcSwapOption::const_empty() }; 3],
            reach: Watched::new(Reach::default()),
            asked: AtomicU64::new(0),
            asked_in_full: AtomicU64::new(0),
            named: Mutex::new(None),
            made_here: ArcSwapOption::empty(),
            doubts: Mutex::default(),
        }
    }

    /// How far its assets have been named; None: not at all.
    pub fn named_to(&self) -> Option<NamedTo> {
        *self.named.lock()
    }

    /// Its assets have been named so far.
    pub fn set_named_to(&self, to: NamedTo) {
        *self.named.lock() = Some(to);
    }

    /// The text of its key without directives.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the latest good answer says; None: there has been none.
    pub fn latest(&self) -> Option<Arc<Latest>> {
        self.latest.load_full()
    }

    /// The latest good answer that is one to a request for this delta update, or for the playlist in full, whatever else
    /// it names; its key is not that of a variant. None: there has been none.
    pub fn answer_to(&self, skip: Skip) -> Option<Arc<Latest>> {
        self.answers[skip as usize].load_full()
    }

    /// A good answer has come, and is held under `key`: wakes who waits for it. One that goes less far than the latest
    /// changes nothing, unless `anew`: the stream has begun again.
    pub fn learn(&self, facts: PlaylistFacts, key: &Key, now: SystemTime, anew: bool) {
        let learn = |place: &ArcSwapOption<Latest>| {
            place.rcu(|held| {
                let (further, grown) = match held {
                    Some(held) if held.facts.reach == facts.reach => (true, held.grown),
                    Some(held) => (anew || held.facts.reach < facts.reach || facts.ended, now),
                    None => (true, now),
                };
                let learned = || Arc::new(Latest { facts, key: key.clone(), fetched: now, grown });
                if further { Some(learned()) } else { held.clone() }
            });
        };
        learn(&self.latest);
        if anew {
            self.answers.iter().for_each(|answer| answer.store(None));
        }
        // In this form it may be the first one that goes so far.
        let further = answered_skip(key).is_some_and(|skip| {
            let reach = || self.answer_to(skip).map(|latest| latest.facts.reach);
            let before = reach();
            learn(&self.answers[skip as usize]);
            reach() > before
        });
        self.reach.modify(|reach| {
            // Whoever waits for an ended one has to be told as well.
            let moved = anew || *reach < facts.reach || facts.ended;
            if moved {
                *reach = facts.reach;
            }
            // What ends does not grow: nobody waits any longer.
            moved || further || facts.ended
        });
    }

    /// Forgets what the latest answer said: it is no media playlist any more, or not shared.
    pub fn forget(&self) {
        self.latest.store(None);
        self.answers.iter().for_each(|answer| answer.store(None));
    }

    /// Whether an answer that can be read may take the place of what there was before.
    pub fn weigh(
        &self,
        before: Option<Before>,
        came: &PlaylistFacts,
        good: Good,
        now: SystemTime,
    ) -> Weighed {
        self.doubts.lock().weigh(before, came, good, now)
    }

    /// The latest good answer has been confirmed: what came before that and did not follow is forgotten.
    pub fn confirm(&self) {
        self.doubts.lock().confirm();
    }

    /// Notes what has become of an answer; None: it was taken. True: the log is to be told, for it is news.
    pub fn is_news(&self, doubt: Option<Doubt>, now: SystemTime) -> bool {
        self.doubts.lock().is_news(doubt, now)
    }

    /// Tells of every reach from now on.
    pub fn reached(&self) -> Watcher<'_, Reach> {
        self.reach.watch()
    }

    /// What the node does for it in its origin's place, as its latest answer and the rules say; None: no answer has come,
    /// or no rule has the node do anything.
    pub fn made_here(&self) -> Option<MadeHere> {
        self.made_here.load().as_deref().copied()
    }

    /// An answer has come by which the node does this for it.
    pub fn make_here(&self, made: MadeHere) {
        if self.made_here() != Some(made) {
            self.made_here.store(Some(Arc::new(made)));
        }
    }

    /// A viewer asks for it.
    pub fn mark_asked(&self, now: SystemTime) {
        mark(&self.asked, now);
    }

    /// A viewer reloads it in full.
    pub fn mark_asked_in_full(&self, now: SystemTime) {
        mark(&self.asked_in_full, now);
    }

    /// Whether its origin is asked for all of it, where a delta update is waited for: somebody waits for all of it anyway, as a
    /// viewer of late has, or the origin makes no updates.
    pub fn is_asked_in_full(&self, now: SystemTime) -> bool {
        self.latest.load().as_ref().is_some_and(|latest| {
            let window = latest.facts.target_duration * IN_FULL_TARGETS;
            !latest.facts.can_skip || is_within(&self.asked_in_full, window, now)
        })
    }

    /// When a viewer last asked for it, to a second; None: nobody has.
    pub fn asked(&self) -> Option<SystemTime> {
        let asked = self.asked.load(Ordering::Relaxed);
        (asked > 0).then(|| UNIX_EPOCH + Duration::from_millis(asked))
    }

    /// Whether a viewer has asked for it within so long; to a second.
    pub fn is_asked_within(&self, window: Duration, now: SystemTime) -> bool {
        is_within(&self.asked, window, now)
    }
}

/// Notes a time, to a second: hits of one second share a write.
fn mark(place: &AtomicU64, now: SystemTime) {
    let now = millis(now);
    if now.abs_diff(place.load(Ordering::Relaxed)) >= 1000 {
        place.store(now, Ordering::Relaxed);
    }
}

/// Whether a time that was noted so is within a window before this one.
fn is_within(place: &AtomicU64, window: Duration, now: SystemTime) -> bool {
    let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    millis(now).saturating_sub(place.load(Ordering::Relaxed)) <= window.saturating_add(1000)
}

/// How long a request is held at most until a playlist grows of which this is known.
pub fn hold(latest: Option<&Latest>) -> Duration {
    let target = latest.map_or(TARGET_DURATION_DEFAULT, |latest| latest.facts.target_duration);
    (target * HOLD_TARGETS).min(HOLD_MAX)
}

/// Which requests an answer under a key is one to, beside its own: those with the same `_HLS_skip`. None: it is one of
/// several by fields of the request, or something was asked for that is not known here.
fn answered_skip(key: &Key) -> Option<Skip> {
    let directives = Directives::of(query_of(key.target())).ok()?;
    (!directives.other && primary_text(&key.text).is_none()).then_some(directives.skip)
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::hls;

    fn facts(sequence: u64, segments: usize) -> PlaylistFacts {
        let text =
            format!("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n{}", "#EXTINF:2,\na.ts\n".repeat(segments));
        hls::read::read(text.as_bytes()).unwrap()
    }

    fn key(text: &str) -> Key {
        Key { hash: hash_of(text), text: text.into() }
    }

    #[test]
    fn all_directives_of_a_playlist_are_one_playlist() {
        let playlists = Playlists::new(10, 10);
        let plain = playlists.get_or_insert("s /a.m3u8?x=1");
        let directed = playlists.get("s /a.m3u8?_HLS_msn=1&_HLS_part=2&x=1").unwrap();
        assert!(Arc::ptr_eq(&plain, &directed));
        assert!(playlists.get("s /a.m3u8").is_none());
        assert!(playlists.get("s /a.m3u8?x=1 @c.a=1").is_none());
    }

    #[tokio::test]
    async fn who_waits_for_a_playlist_is_told_when_it_is_known() {
        let playlists = Arc::new(Playlists::new(10, 10));
        let waits = Arc::clone(&playlists);
        let waiting = tokio::spawn(async move { waits.known("s /a.m3u8?_HLS_msn=1").await });
        playlists.get_or_insert("s /b.m3u8");
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let known = playlists.get_or_insert("s /a.m3u8");
        let told = tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&told, &known));
        assert!(Arc::ptr_eq(&playlists.known("s /a.m3u8").await, &known), "at once, if it is known");
    }

    #[test]
    fn the_origin_is_asked_in_full_while_somebody_wants_that() {
        let playlists = Playlists::new(10, 10);
        let playlist = playlists.get_or_insert("s /a.m3u8");
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(!playlist.is_asked_in_full(at(100)), "nothing is known of it");
        playlist.learn(PlaylistFacts { can_skip: true, ..facts(5, 3) }, &key("s /a.m3u8"), at(100), false);
        assert!(!playlist.is_asked_in_full(at(100)));
        playlist.mark_asked_in_full(at(100));
        // Two target durations of 6 s, and a second.
        assert!(playlist.is_asked_in_full(at(113)) && !playlist.is_asked_in_full(at(114)));
        playlist.learn(PlaylistFacts { can_skip: false, ..facts(6, 3) }, &key("s /a.m3u8"), at(114), false);
        assert!(playlist.is_asked_in_full(at(114)), "no updates are announced");
    }

    #[test]
    fn the_latest_goes_furthest_and_those_who_wait_are_told() {
        let playlists = Playlists::new(10, 10);
        let playlist = playlists.get_or_insert("s /a.m3u8");
        let mut reached = playlist.reached();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        playlist.learn(facts(5, 3), &key("one"), at(1), false);
        assert_eq!(reached.get(), Reach { next: 8, parts: 0 });
        playlist.learn(facts(4, 3), &key("late"), at(2), false);
        assert_eq!(&*playlist.latest().unwrap().key.text, "one");
        playlist.learn(facts(5, 3), &key("again"), at(3), false);
        let latest = playlist.latest().unwrap();
        assert_eq!((latest.grown, latest.fetched), (at(1), at(3)));
        playlist.learn(facts(0, 2), &key("anew"), at(4), true);
        assert_eq!(reached.get(), Reach { next: 2, parts: 0 });
    }

    #[test]
    fn a_playlist_that_several_learn_of_at_once_is_one_playlist() {
        let playlists = Playlists::new(5000, 10);
        let (threads, rounds) = (4, 1000);
        let barrier = std::sync::Barrier::new(threads);
        let learn_of = |round| {
            barrier.wait();
            playlists.get_or_insert(&format!("s /{round}.m3u8"))
        };
        let learned: Vec<Vec<Arc<Playlist>>> = std::thread::scope(|scope| {
            let all = || (0..rounds).map(learn_of).collect();
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(all)).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for other in &learned[1..] {
            assert!(learned[0].iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other)));
        }
    }

    #[test]
    fn an_answer_is_one_to_requests_in_the_same_form() {
        let playlists = Playlists::new(10, 10);
        let playlist = playlists.get_or_insert("s /a.m3u8");
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let text = |skip| playlist.answer_to(skip).map(|latest| latest.key.text.to_string());
        playlist.learn(facts(5, 3), &key("s /a.m3u8?_HLS_msn=7"), at(1), false);
        playlist.learn(facts(6, 3), &key("s /a.m3u8?_HLS_msn=8&_HLS_skip=YES"), at(2), false);
        playlist.learn(facts(7, 3), &key("s /a.m3u8?_HLS_msn=9&_HLS_new=1"), at(3), false);
        playlist.learn(facts(7, 3), &key("s /a.m3u8 ~1-2"), at(4), false);
        assert_eq!(text(Skip::None).as_deref(), Some("s /a.m3u8?_HLS_msn=7"));
        assert_eq!(text(Skip::Segments).as_deref(), Some("s /a.m3u8?_HLS_msn=8&_HLS_skip=YES"));
        assert_eq!(text(Skip::SegmentsAndDateRanges), None);
        assert_eq!(playlist.latest().unwrap().facts.reach.next, 10);
        playlist.learn(facts(1, 3), &key("s /a.m3u8"), at(5), true);
        assert_eq!((text(Skip::None).as_deref(), text(Skip::Segments)), (Some("s /a.m3u8"), None));
    }

    #[test]
    fn those_who_wait_are_told_of_an_answer_in_another_form_that_goes_as_far_as_the_latest() {
        let playlist = Playlist::new("s /a.m3u8");
        let mut reached = playlist.reached();
        let mut tells = |query: &str| {
            playlist.learn(facts(5, 3), &key(&format!("s /a.m3u8{query}")), UNIX_EPOCH, false);
            let told = reached.has_changed();
            reached.get();
            told
        };
        assert!(tells("?_HLS_msn=7"));
        assert!(!tells("?_HLS_msn=6"), "it goes no further");
        assert!(tells("?_HLS_msn=7&_HLS_skip=YES"));
        assert!(!tells("?_HLS_skip=YES"));
    }

    #[test]
    fn a_hold_lasts_three_target_durations_and_a_minute_at_most() {
        assert_eq!(hold(None), TARGET_DURATION_DEFAULT * 3);
        let playlist = Playlist::new("s /a.m3u8");
        for (target, lasts) in [(2, 6), (3600, 60)] {
            let facts = PlaylistFacts { target_duration: Duration::from_secs(target), ..facts(5, 3) };
            playlist.learn(facts, &key("s /a.m3u8"), UNIX_EPOCH, false);
            assert_eq!(hold(playlist.latest().as_deref()), Duration::from_secs(lasts));
        }
    }

    #[test]
    fn the_end_of_a_playlist_is_told_although_it_has_not_grown() {
        let playlist = Playlist::new("s /a.m3u8");
        playlist.learn(facts(5, 3), &key("s /a.m3u8"), UNIX_EPOCH, false);
        let mut reached = playlist.reached();
        playlist.learn(facts(5, 3), &key("s /a.m3u8"), UNIX_EPOCH, false);
        assert!(!reached.has_changed());
        playlist.learn(PlaylistFacts { ended: true, ..facts(5, 3) }, &key("s /a.m3u8"), UNIX_EPOCH, false);
        assert!(reached.has_changed());
        assert_eq!(reached.get(), Reach { next: 8, parts: 0 });
        assert!(playlist.latest().unwrap().facts.ended);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let playlists = Playlists::new(8, 8);
        for place in 0..1000 {
            playlists.get_or_insert(&format!("s /{place}.m3u8"));
        }
        assert!(playlists.list().len() <= 8);
    }

    #[test]
    fn a_playlist_knows_when_it_was_asked_for() {
        let playlist = Playlist::new("s /a.m3u8");
        let now = SystemTime::now();
        assert!(!playlist.is_asked_within(Duration::from_secs(60), now));
        playlist.mark_asked(now);
        assert!(playlist.is_asked_within(Duration::from_secs(4), now + Duration::from_secs(5)));
        assert!(!playlist.is_asked_within(Duration::from_secs(4), now + Duration::from_secs(6)));
    }
}
