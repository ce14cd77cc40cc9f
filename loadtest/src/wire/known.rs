//! What the origin's bodies hash to: computed once for an object and a range, and kept for the next viewers who receive the
//! same. Shared by all threads of a process. The content itself is [`crate::content`]'s.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh3::Xxh3;

use crate::content::Content;

/// Hashes that are kept at most; about 4 MB.
pub(crate) const KNOWN_MAX: usize = 65_536;

/// Content is computed in pieces of so many bytes.
const PIECE_BYTES: usize = 16 * 1024;

/// Bytes of an object, from a position on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stretch {
    pub(crate) content: Content,
    pub(crate) first: u64,
    pub(crate) bytes: u64,
}

/// Hashes by stretch, at most a given number of them: when half of it is new, what was not asked for since is forgotten.
#[derive(Debug)]
pub(crate) struct Known {
    half: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Stretch, u64>,
    old: HashMap<Stretch, u64>,
}

// === impl Stretch ===

impl Stretch {
    /// The hash of these bytes, computed.
    fn hash(&self) -> u64 {
        let mut hasher = Xxh3::new();
        let mut piece = [0; PIECE_BYTES];
        let mut done = 0;
        while done < self.bytes {
            let count = (self.bytes - done).min(PIECE_BYTES as u64) as usize;
            self.content.fill(self.first + done, &mut piece[..count]);
            hasher.update(&piece[..count]);
            done += count as u64;
        }
        hasher.digest()
    }
}

// === impl Known ===

impl Known {
    /// Keeps so many hashes, at least two.
    pub(crate) fn new(max: usize) -> Self {
        Self { half: (max / 2).max(1), generations: Mutex::default() }
    }

    /// The hash of these bytes: from memory, or computed.
    pub(crate) fn hash(&self, stretch: Stretch) -> u64 {
        if let Some(hash) = self.lock().find(&stretch, self.half) {
            return hash;
        }
        // Without the lock: it takes a millisecond for some megabytes.
        let hash = stretch.hash();
        self.lock().keep(stretch, hash, self.half);
        hash
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Generations ===

impl Generations {
    fn find(&mut self, stretch: &Stretch, half: usize) -> Option<u64> {
        if let Some(hash) = self.young.get(stretch) {
            return Some(*hash);
        }
        let hash = self.old.remove(stretch)?;
        self.keep(*stretch, hash, half);
        Some(hash)
    }

    fn keep(&mut self, stretch: Stretch, hash: u64, half: usize) {
        if self.young.len() >= half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(stretch, hash);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    fn stretch(name: &str, first: u64, bytes: u64) -> Stretch {
        Stretch { content: Content::of(name), first, bytes }
    }

    #[test]
    fn a_hash_is_that_of_the_origins_bytes_computed_or_remembered() {
        let known = Known::new(8);
        for (first, bytes) in [(0, 0), (0, 1), (3, 40_000), (0, 16_384), (16_383, 16_386)] {
            let mut whole = vec![0; (first + bytes) as usize];
            Content::of("/media/a").fill(0, &mut whole);
            let expected = xxh3_64(&whole[first as usize..]);
            let stretch = stretch("/media/a", first, bytes);
            assert_eq!(known.hash(stretch), expected, "{first}+{bytes}, computed");
            assert_eq!(known.hash(stretch), expected, "{first}+{bytes}, remembered");
        }
    }

    #[test]
    fn no_more_hashes_are_kept_than_the_limit_and_those_in_use_stay() {
        let known = Known::new(10);
        let used = stretch("/media/used", 0, 10);
        for index in 0..1000 {
            known.hash(used);
            known.hash(stretch("/media/a", index, 10));
            let generations = known.lock();
            assert!(generations.young.len() + generations.old.len() <= 10, "{index}");
            assert!(generations.young.contains_key(&used) || generations.old.contains_key(&used), "{index}");
        }
    }
}
