//! One track of a title as a viewer follows it, picture or sound: its playlist, when that is loaded again, where it is on the
//! timeline, and what comes next. [`super::player`] moves it; the rules are in [`super::live`].

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use super::live::{self, Change, Cursor, Next};
use super::playlist::{Media, Playlist};

/// How often a player asks for a piece before it goes on without.
pub(crate) const TRIES_MAX: u32 = 6;

/// How often a viewer asks for a newer playlist before it begins with the one it has.
pub(crate) const TUNES_MAX: u32 = 3;

/// The wait after a first failure, and the longest one: it doubles with each (as hls.js does).
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(8);

/// How far from zero a playlist can be on a title's timeline, in microseconds (73,000 years): a playlist whose numbers jump by more
/// is put there, so that places in it, and distances between them, can be computed.
const PLACE_US_MAX: i64 = i64::MAX / 4;

/// A playlist that was loaded, and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// It is a media playlist.
    playlist: Rc<Playlist>,
    /// What its URIs are relative to: where it came from in the end.
    pub(crate) base: Rc<Url>,
    /// Where its first segment begins on the title's timeline, in microseconds.
    pub(crate) origin_us: i64,
}

/// Something that a timer is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) at: Instant,
    /// When that was decided.
    pub(crate) set: Instant,
}

/// A part that was fetched by its hint; how long it is, the playlist will say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hinted {
    /// Of its URL and range.
    pub(crate) digest: u64,
    /// None: the server did not have it.
    pub(crate) bytes: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Track {
    /// Of its playlist; none: there is no such track, or not yet.
    pub(crate) url: Option<Rc<Url>>,
    pub(crate) loaded: Option<Loaded>,
    /// Whether what is loaded belongs to `url`. What does not, tells where the new one is on the timeline.
    pub(crate) fresh: bool,
    /// What comes next; none: it follows from the place.
    pub(crate) cursor: Option<Cursor>,
    /// Whether the parts of a whole segment are fetched one by one: playing began in the middle of it.
    pub(crate) by_parts: bool,
    pub(crate) reload: Option<Due>,
    /// Whether the last blocking reload failed: the next one does not block.
    pub(crate) plain: bool,
    /// Before playing begins: what the playlist is to have, and how often that was asked for.
    pub(crate) tune: Option<Cursor>,
    pub(crate) tunes: u32,
    /// Failures in a row, of the playlist and of the piece that is next.
    pub(crate) list_failures: u32,
    pub(crate) failures: u32,
    /// What the last playlist was, and when the loading of the last changed one began.
    pub(crate) change: Change,
    pub(crate) changed: Instant,
    /// Backward playlists in a row.
    pub(crate) backward: u32,
    /// Since when the next piece could have been asked for, as far as the track is concerned.
    pub(crate) ready: Instant,
    /// Not before then: the last try failed.
    pub(crate) retry: Option<Instant>,
    pub(crate) hinted: Option<Hinted>,
}

// === impl Loaded ===

impl Loaded {
    /// None: it is no media playlist. Where it begins is kept within [`PLACE_US_MAX`].
    pub(crate) fn new(playlist: Rc<Playlist>, base: Rc<Url>, origin_us: i64) -> Option<Self> {
        playlist.media()?;
        Some(Self { playlist, base, origin_us: origin_us.clamp(-PLACE_US_MAX, PLACE_US_MAX) })
    }

    pub(crate) fn media(&self) -> &Media {
        static NONE: std::sync::LazyLock<Media> = std::sync::LazyLock::new(Media::default);
        self.playlist.media().unwrap_or(&NONE)
    }

    /// Where a place in the playlist begins on the title's timeline.
    pub(crate) fn start_us(&self, cursor: Cursor) -> i64 {
        let media = self.media();
        let parts = media.parts(cursor.msn).iter().take(cursor.part);
        let before: i64 = parts.map(|part| i64::from(part.duration_us)).sum();
        self.origin_us + media.offset_us(cursor.msn) + before
    }

    /// Where another playlist of the same title begins, by its sequence numbers.
    pub(crate) fn origin_of(&self, other: &Media) -> i64 {
        let media = self.media();
        if other.first <= media.first {
            return self.origin_us - other.offset_us(media.first);
        }
        let missing = other.first.saturating_sub(media.open());
        let missing_us =
            i64::try_from(missing).unwrap_or(i64::MAX).saturating_mul(i64::from(media.target_us));
        self.origin_us.saturating_add(media.offset_us(other.first)).saturating_add(missing_us)
    }

    /// Where playing begins: at the start, or as far from the live edge as it is to be.
    pub(crate) fn begin_us(&self) -> i64 {
        self.origin_us + live::begin_us(self.media())
    }
}

// === impl Track ===

impl Track {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            url: None,
            loaded: None,
            fresh: false,
            cursor: None,
            by_parts: false,
            reload: None,
            plain: false,
            tune: None,
            tunes: 0,
            list_failures: 0,
            failures: 0,
            change: Change::Changed,
            changed: now,
            backward: 0,
            ready: now,
            retry: None,
            hinted: None,
        }
    }

    /// Follows another playlist from now on.
    pub(crate) fn aim(&mut self, url: Rc<Url>, now: Instant) {
        (self.url, self.fresh, self.plain) = (Some(url), false, false);
        (self.tune, self.tunes) = (None, 0);
        (self.list_failures, self.backward) = (0, 0);
        self.reload = Some(Due { at: now, set: now });
    }

    /// What is fetched next follows from the place, not from what was fetched last.
    pub(crate) fn unpin(&mut self, now: Instant) {
        (self.cursor, self.hinted, self.failures, self.retry) = (None, None, 0, None);
        self.ready = self.ready.max(now);
    }

    /// What is loaded, if it is of the playlist that is followed.
    pub(crate) fn current(&self) -> Option<&Loaded> {
        self.loaded.as_ref().filter(|_| self.fresh)
    }

    /// Begins at a place of the timeline.
    pub(crate) fn pin(&mut self, place_us: i64) {
        let Some(loaded) = self.current() else { return };
        let (cursor, start_us) = live::locate(loaded.media(), place_us - loaded.origin_us);
        let whole = cursor.part == 0 && start_us + loaded.origin_us >= place_us - super::buffer::JOINT_US;
        self.by_parts = !whole && loaded.media().low_latency();
        self.cursor = Some(cursor);
    }

    /// What is next, and where.
    pub(crate) fn next(&self) -> Option<(&Loaded, Cursor, Next<'_>)> {
        let loaded = self.current()?;
        let cursor = live::settle(loaded.media(), self.cursor?);
        Some((loaded, cursor, live::next(loaded.media(), cursor, self.by_parts)))
    }

    /// Goes on behind what is there now.
    pub(crate) fn go_to(&mut self, cursor: Cursor) {
        if self.cursor.is_some_and(|before| before.msn != cursor.msn) {
            self.by_parts = false;
        }
        (self.cursor, self.failures, self.retry, self.hinted) = (Some(cursor), 0, None, None);
    }
}

/// How long to wait after so many failures in a row.
pub(crate) fn backoff(failures: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn list(first: u64) -> Rc<Playlist> {
        let text = format!(
            "#EXTM3U\n#EXT-X-TARGETDURATION:3600\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXTINF:3600,\na\n#EXTINF:3600,\nb\n"
        );
        Rc::new(Playlist::parse(&text).unwrap())
    }

    #[test]
    fn places_can_be_computed_however_far_the_numbers_of_a_playlist_jump() {
        let base = Rc::new(Url::parse("http://edge/a.m3u8").unwrap());
        let last = u64::MAX / 2 - 1;
        let mut loaded = Loaded::new(list(0), Rc::clone(&base), 0).unwrap();
        for first in [last, 0, last, last / 2, last] {
            let next = list(first);
            let origin_us = loaded.origin_of(next.media().unwrap());
            loaded = Loaded::new(next, Rc::clone(&base), origin_us).unwrap();
            assert!(loaded.origin_us.abs() <= PLACE_US_MAX);
            assert!(loaded.begin_us() >= loaded.origin_us);
            let cursor = Cursor { msn: first + 1, part: 0 };
            assert_eq!(loaded.start_us(cursor), loaded.origin_us + 3_600_000_000);
            let mut track = Track::new(Instant::now());
            (track.fresh, track.loaded) = (true, Some(loaded.clone()));
            for place_us in [-PLACE_US_MAX, 0, PLACE_US_MAX] {
                track.pin(place_us);
                assert!(track.next().is_some());
            }
        }
        let near = list(12);
        let loaded = Loaded::new(list(10), base, 5).unwrap();
        assert_eq!(loaded.origin_of(near.media().unwrap()), 5 + 2 * 3_600_000_000);
    }
}
