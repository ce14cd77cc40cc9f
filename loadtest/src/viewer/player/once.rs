//! What a title's player has fetched and does not fetch again: keys and init segments, each in a list of its own, so that a stream
//! with a key for every few segments does not push out the init segments that are in use. What is used is the last to be forgotten.

/// The most keys that are remembered: a player that goes back beyond so many fetches them again.
const KEYS_KEPT_MAX: usize = 64;

/// The most init segments that are remembered: one for each rendition, and change of it.
const INITS_KEPT_MAX: usize = 64;

/// By digest of their URL and range.
#[derive(Debug, Default)]
pub(super) struct Once {
    pub(super) keys: Recent<KEYS_KEPT_MAX>,
    pub(super) inits: Recent<INITS_KEPT_MAX>,
}

/// Digests in the order of their use, the latest last.
#[derive(Debug, Default)]
pub(super) struct Recent<const MAX: usize>(Vec<u64>);

// === impl Recent ===

impl<const MAX: usize> Recent<MAX> {
    /// Whether it is there; used with that.
    pub(super) fn uses(&mut self, digest: u64) -> bool {
        let found = self.0.iter().position(|kept| *kept == digest);
        if let Some(at) = found {
            self.0[at..].rotate_left(1);
        }
        found.is_some()
    }

    /// It was fetched.
    pub(super) fn add(&mut self, digest: u64) {
        if self.uses(digest) {
            return;
        }
        if self.0.len() >= MAX {
            self.0.remove(0);
        }
        self.0.push(digest);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_is_forgotten_first() {
        let mut kept: Recent<3> = Recent::default();
        (1..=3).for_each(|digest| kept.add(digest));
        assert!(kept.uses(1));
        kept.add(4);
        kept.add(4);
        assert_eq!(kept.0, [3, 1, 4]);
        assert!(!kept.uses(2) && kept.uses(3));
    }
}
