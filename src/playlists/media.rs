//! What playlists say of single segments and parts beyond their kind: how long each plays, and what a player asks for after it.
//!
//! A table by the hash of site, path and sub-range, as bounded as that of named assets. Filled for sites alone that tell it to players
//! ([`crate::deliver::cmsd`]), from playlists that everybody gets alike. What comes after an asset that two playlists name,
//! or one names twice, is not told: nobody knows by which one a player goes, and one of them may be a single session's. Nor is how long it
//! plays, where they say different things of that.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quick_cache::sync::Cache;

use crate::hls::ByteRange;
use crate::key::hash_within;

/// Bytes of a name of what comes next, as it is sent; a longer one is not told.
pub const NEXT_BYTES_MAX: usize = 512;

/// All that is not unreserved (RFC 3986 section 2.3), a slash included: what a URI component is encoded by.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is known of segments and parts.
#[derive(Debug)]
pub struct Media {
    told: Cache<u128, Entry>,
    telling: Mutex<()>,
}

/// What has been said of one asset.
#[derive(Clone, Debug)]
struct Entry {
    /// A number for the one place of a playlist where it has been named. None: there are several, and never again one.
    by: Option<u128>,
    /// None: they contradict each other.
    told: Option<Arc<Told>>,
}

/// What playlists say of one segment or part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// How long it plays.
    pub duration: Option<Duration>,
    /// What a player asks for after it.
    pub next: Option<Next>,
}

/// What comes after a segment or part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// Its path, relative to what comes before it and percent-encoded as a URI component. None: it is of the same resource.
    pub path: Option<Box<str>>,
    /// The bytes of it that are meant. None: all.
    pub range: Option<ByteRange>,
}

/// An asset as a playlist names it: its path in normal form, and the bytes of it that are meant.
pub type At<'a> = (&'a str, Option<ByteRange>);

// === impl Media ===

impl Media {
    /// Nothing known. Holds what is said of `named` assets at most.
    pub fn new(named: usize) -> Media {
        Media { told: Cache::new(named), telling: Mutex::default() }
    }

    /// What is known of an asset of a site. None: nothing, or two things.
    pub fn get(&self, site: &str, asset: At<'_>) -> Option<Arc<Told>> {
        if self.told.is_empty() { None } else { self.told.get(&hash(site, asset))?.told }
    }

    /// A playlist says this of an asset of a site. `by` is a number for its place in the playlist: while the asset has been named there
    /// alone, the playlist may change its mind.
    pub fn tell(&self, site: &str, asset: At<'_>, by: u128, told: Told) {
        let hash = hash(site, asset);
        // Else of two that speak at once, one would not be noticed.
        let _one_at_a_time = self.telling.lock();
        let entry = match self.told.peek(&hash) {
            None => Some(Entry { by: Some(by), told: Some(Arc::new(told)) }),
            Some(before) => before.and(by, told),
        };
        if let Some(entry) = entry {
            self.told.insert(hash, entry);
        }
    }
}

// === impl Entry ===

impl Entry {
    /// What is known once `by` has said this too; None: nothing else than before.
    fn and(&self, by: u128, told: Told) -> Option<Entry> {
        let before = self.told.as_deref()?;
        if self.by == Some(by) {
            return (*before != told).then(|| Entry { by: Some(by), told: Some(Arc::new(told)) });
        }
        let agree = !contradict(before.duration.as_ref(), told.duration.as_ref());
        let both = agree.then(|| Told { duration: told.duration.or(before.duration), next: None });
        let is_new = self.by.is_some() || both.as_ref() != Some(before);
        is_new.then(|| Entry { by: None, told: both.map(Arc::new) })
    }
}

fn contradict<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

// === impl Next ===

impl Next {
    /// What comes after an asset at the path `from`. None: its name is too long to be sent, or it has no bytes.
    pub fn after(from: &str, (path, range): At<'_>) -> Option<Next> {
        if range.is_some_and(|range| range.len == Some(0)) {
            return None;
        }
        if path == from && range.is_some() {
            return Some(Next { path: None, range });
        }
        let path = utf8_percent_encode(&relative(from, path), COMPONENT).to_string();
        (path.len() <= NEXT_BYTES_MAX).then(|| Next { path: Some(path.into()), range })
    }
}

/// A reference that leads from one path to another (RFC 3986 section 4.2), both in normal form. It never has to leave the directory
/// that both are in, so what stands before that in a viewer's URL, as a token may, stays.
fn relative(from: &str, to: &str) -> String {
    let alike = from.bytes().zip(to.bytes()).take_while(|(one, other)| one == other).count();
    let common = from.as_bytes().get(..alike).and_then(|alike| memchr::memrchr(b'/', alike));
    let common = common.map_or(0, |last| last + 1);
    let (from, to) = (from.get(common..).unwrap_or_default(), to.get(common..).unwrap_or_default());
    let up = "../".repeat(from.matches('/').count());
    let first = to.split('/').next().unwrap_or_default();
    // Else it would be taken for a root, for a scheme, or for the document itself.
    let here = if up.is_empty() && (first.is_empty() || first.contains(':')) { "./" } else { "" };
    [&*up, here, to].concat()
}

fn hash(site: &str, (path, range): At<'_>) -> u128 {
    match range {
        None => hash_within(site, path),
        // No path holds a space.
        Some(ByteRange { start, len }) => {
            hash_within(site, &format!("{path} {start} {}", len.unwrap_or(u64::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::key::reference::path_beside;

    fn told(seconds: u64, next: Option<&str>) -> Told {
        let next = next.and_then(|next| Next::after("/v/1.m4s", (next, None)));
        Told { duration: Some(Duration::from_secs(seconds)), next }
    }

    #[test]
    fn what_comes_next_is_named_from_what_comes_before() {
        for (from, to, named) in [
            ("/live/7.m4s", "/live/8.m4s", "8.m4s"),
            ("/live/a/7.m4s", "/live/b/c/8.m4s", "..%2Fb%2Fc%2F8.m4s"),
            ("/live/77.m4s", "/live/7/8.m4s", "7%2F8.m4s"),
            ("/a", "/b:c", ".%2Fb%3Ac"),
            ("/a/b", "/a/", ".%2F"),
            ("/a", "//b", ".%2F%2Fb"),
            ("/a/b", "/c", "..%2Fc"),
            ("/a%2Fb", "/a%2Fc", "a%252Fc"),
        ] {
            assert_eq!(Next::after(from, (to, None)).unwrap().path.as_deref(), Some(named), "{from} {to}");
        }
        let range = Some(ByteRange { start: 5, len: Some(2) });
        assert_eq!(Next::after("/a", ("/a", range)), Some(Next { path: None, range }));
        assert_eq!(Next::after("/a", ("/a", Some(ByteRange { start: 5, len: Some(0) }))), None);
        assert_eq!(Next::after("/a", (&format!("/{}", "b".repeat(NEXT_BYTES_MAX + 1)), None)), None);
    }

    #[test]
    fn what_comes_next_is_told_while_one_playlist_alone_has_said_it() {
        let media = Media::new(10);
        let at = ("/v/1.m4s", None);
        let tell = |by, told| {
            media.tell("s", at, by, told);
            media.get("s", at).map(|told| (*told).clone())
        };
        assert_eq!(tell(1, told(4, None)), Some(told(4, None)));
        assert_eq!(tell(1, told(4, Some("/v/2.m4s"))), Some(told(4, Some("/v/2.m4s"))));
        assert_eq!(
            tell(1, told(2, Some("/v/3.m4s"))),
            Some(told(2, Some("/v/3.m4s"))),
            "it changes its mind"
        );
        assert_eq!(tell(2, told(2, None)), Some(told(2, None)), "another one that is behind");
        for by in [2, 1, 1, 3] {
            let said = tell(by, told(2, Some("/v/2.m4s")));
            assert_eq!(said, Some(told(2, None)), "never again, whoever says it: {by}");
        }
        let unknown = Told { duration: None, ..told(2, None) };
        assert_eq!(tell(4, unknown), Some(told(2, None)));
    }

    #[test]
    fn how_long_it_plays_is_told_as_long_as_all_agree() {
        let media = Media::new(10);
        let at = ("/v/1.m4s", None);
        let tell = |by, told| {
            media.tell("s", at, by, told);
            media.get("s", at).map(|told| (*told).clone())
        };
        tell(1, Told::default());
        assert_eq!(tell(2, told(4, None)), Some(told(4, None)));
        assert_eq!(tell(1, told(2, Some("/v/2.m4s"))), None);
        assert_eq!(tell(1, told(4, Some("/v/2.m4s"))), None, "for good");
    }

    #[test]
    fn what_says_nothing_new_is_not_written() {
        let media = Media::new(10);
        let at = ("/v/1.m4s", None);
        let tell = |by| {
            media.tell("s", at, by, told(4, Some("/v/2.m4s")));
            media.get("s", at).unwrap()
        };
        assert!(Arc::ptr_eq(&tell(1), &tell(1)));
        assert!(Arc::ptr_eq(&tell(2), &tell(1)), "nor once several have said it");
    }

    #[test]
    fn assets_are_told_apart_by_site_path_and_range_and_are_bounded() {
        let media = Media::new(100);
        let range = |start, len| Some(ByteRange { start, len });
        media.tell("s", ("/a", range(0, Some(5))), 1, told(1, None));
        let known = |site, path, range| media.get(site, (path, range)).is_some();
        assert!(known("s", "/a", range(0, Some(5))));
        assert!(
            !known("s", "/a", None)
                && !known("s", "/a", range(0, None))
                && !known("t", "/a", range(0, Some(5)))
        );
        for number in 0..1000 {
            media.tell("s", (&format!("/{number}"), None), 1, told(1, None));
        }
        assert!(media.told.len() <= 100);
    }

    proptest! {
        /// Who asks for what is named comes to what was meant.
        #[test]
        fn a_relative_path_leads_where_it_was_made_for(
            from in "(/[ab:]{1,3}){1,4}",
            to in "(/[ab:~%]{0,2}[ab]){0,4}/?",
        ) {
            let to = if to.is_empty() { "/".to_owned() } else { to.replace('%', "%25") };
            prop_assert_eq!(path_beside(&relative(&from, &to), &from), Some(to));
        }
    }
}
