//! How often the origin was asked for each object. An object is a path and a byte range, of a live playlist each version of it by
//! path and query; what the query of media says makes no other object. What is not there, or is an error, is `other`: a
//! further try for it is no second fetch. Kept by [`super::serve`] and by a rehearsal's origin, told by [`super::control`].

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

use super::process::{Asked as Counted, Ledger};
use super::{Answer, Asked, Content};
use crate::fetch::Kind;

/// Objects that are told apart: about 50 MB. Requests for further ones count in `Ledger::requests` and `Ledger::beyond` alone.
pub(crate) const OBJECTS_MAX: usize = 2 << 20;

/// What was asked for since the run began.
#[derive(Debug)]
pub(crate) struct Book {
    objects_max: usize,
    requests: AtomicU64,
    bytes: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Requests by the hash of the object's name.
    objects: HashMap<u64, u32>,
    /// By kind; of what is none of them too.
    kinds: BTreeMap<Option<Kind>, Counted>,
    beyond: u64,
}

// === impl Book ===

impl Book {
    pub(crate) fn new(objects_max: usize) -> Self {
        Self { objects_max, requests: AtomicU64::new(0), bytes: AtomicU64::new(0), seen: Mutex::default() }
    }

    /// A request, and what will be answered.
    pub(crate) fn note(&self, asked: Asked<'_>, answer: &Answer) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let name = name(asked, answer);
        let hash = xxh3_64(name.as_bytes());
        let mut seen = self.seen();
        let is_new = !seen.objects.contains_key(&hash);
        if is_new && seen.objects.len() >= self.objects_max {
            seen.beyond += 1;
            return;
        }
        let count = seen.objects.entry(hash).or_default();
        *count = count.saturating_add(1);
        let count = u64::from(*count);
        let kind = seen.kinds.entry(answer.kind).or_default();
        kind.objects += u64::from(is_new);
        kind.requests += 1;
        if count > kind.most {
            kind.most = count;
            if kind.most_for != name {
                kind.most_for = name;
            }
        }
    }

    /// So many bytes of a body went to the kernel.
    pub(crate) fn sent(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Everything but connections and faults, which are not known here.
    pub(crate) fn ledger(&self) -> Ledger {
        let seen = self.seen();
        Ledger {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            kinds: seen.kinds.iter().map(|(kind, asked)| (word(*kind).to_owned(), asked.clone())).collect(),
            beyond: seen.beyond,
            ..Ledger::default()
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a kind in [`Ledger::kinds`].
fn word(kind: Option<Kind>) -> &'static str {
    kind.map_or("other", Kind::as_str)
}

/// The name of the object: `PATH`, `PATH?QUERY#SEGMENTS.PARTS`, `PATH@FIRST+BYTES`, `PATH!STATUS`.
fn name(asked: Asked<'_>, answer: &Answer) -> String {
    let mut name = asked.path.to_owned();
    // Writing to a string does not fail.
    let _ = match (answer.kind, answer.version, &answer.body, answer.status) {
        (None, .., status) => write!(name, "!{}", status.unwrap_or(0)),
        (_, Some((segments, parts)), ..) => match asked.query {
            Some(query) => write!(name, "?{query}#{segments}.{parts}"),
            None => write!(name, "#{segments}.{parts}"),
        },
        (.., Content::Media { offset, bytes }, Some(206)) => write!(name, "@{offset}+{bytes}"),
        _ => Ok(()),
    };
    name
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::time::Duration;

    use super::*;
    use crate::stage::Stage;
    use crate::stage::sample::{headers, ms, stage};

    fn note(book: &Book, stage: &Stage, target: &str, now: Duration, fields: &[(&'static str, &str)]) {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let headers = headers(fields);
        let asked = Asked { path, query, headers: &headers };
        book.note(asked, &stage.answer(asked, now));
    }

    fn kind(book: &Book, name: &str) -> (u64, u64, u64) {
        let kind = &book.ledger().kinds[name];
        (kind.objects, kind.requests, kind.most)
    }

    #[test]
    fn each_version_of_a_live_playlist_is_an_object_and_each_way_to_ask_for_it() {
        let (book, stage) = (Book::new(100), stage(vec![]));
        let path = "/media/live/sport/v0.m3u8";
        for now in [0, 1_000, 3_999, 4_000, 4_001] {
            note(&book, &stage, path, ms(now), &[]);
        }
        assert_eq!(kind(&book, "playlist"), (2, 5, 3));
        assert_eq!(book.ledger().kinds["playlist"].most_for, format!("{path}#10000.0"));
        note(&book, &stage, &format!("{path}?session=1"), ms(0), &[]);
        assert_eq!(kind(&book, "playlist"), (3, 6, 3));
        for query in
            ["_HLS_msn=10000&_HLS_part=0", "_HLS_msn=10000&_HLS_part=1", "_HLS_msn=10000&_HLS_part=0"]
        {
            note(&book, &stage, &format!("/media/live/news/v0.m3u8?{query}"), ms(0), &[]);
        }
        assert_eq!(kind(&book, "reload"), (2, 3, 2));
    }

    #[test]
    fn media_is_one_object_whatever_the_query_and_each_range_is_another() {
        let (book, stage) = (Book::new(100), stage(vec![]));
        let text = crate::stage::sample::get(&stage, "/media/vod/film/v0.m3u8", ms(0));
        let path = format!("/media/vod/film/{}", text.lines().find(|line| line.ends_with(".m4s")).unwrap());
        note(&book, &stage, &path, ms(0), &[]);
        note(&book, &stage, &format!("{path}?CMCD=br%3D1"), ms(0), &[]);
        for range in ["bytes=0-99", "bytes=0-99", "bytes=100-199"] {
            note(&book, &stage, &path, ms(0), &[("range", range)]);
        }
        assert_eq!(kind(&book, "segment"), (3, 5, 2));
    }

    #[test]
    fn objects_beyond_the_limit_are_counted_and_not_told_apart() {
        let (book, stage) = (Book::new(3), stage(vec![]));
        for now in (0..8).chain(0..8) {
            note(&book, &stage, "/media/live/sport/v0.m3u8", ms(now * 4_000), &[]);
        }
        let ledger = book.ledger();
        assert_eq!((ledger.requests, ledger.beyond), (16, 10));
        assert_eq!(kind(&book, "playlist"), (3, 6, 2));
    }
}
