//! Tokens that are good once: which identifiers have been used, remembered until their tokens end.
//!
//! Decides for this node alone; `fleet` asks for all nodes. An identifier is kept as a digest, whatever its length. When
//! as many are remembered as may be, and none has ended, a token that cannot be noted is not good for anything
//! ([`Use::Full`]): admitted unnoted, it could be used again. Called for tokens that ask for it, after signature and
//! scope were found good.

use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// Locks that the table is spread over.
const SHARDS: usize = 64;

/// Stands for a policy and an identifier: half of SHA-256, the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest([u8; 16]);

impl Digest {
    /// Of an identifier under a policy; the same identifier under two policies is two.
    pub fn of(policy: &str, id: &[u8]) -> Digest {
        let mut hash = Sha256::new();
        hash.update((policy.len() as u64).to_le_bytes());
        hash.update(policy.as_bytes());
        hash.update(id);
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash.finalize()[..16]);
        Digest(digest)
    }

    /// As hexadecimal text.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    fn hash(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    fn shard(self) -> usize {
        usize::from(self.0[15]) % SHARDS
    }
}

/// What the use of an identifier comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It was not used before, and is noted now.
    First,
    /// It was used before.
    Again,
    /// It could not be noted.
    Full,
}

/// The identifiers that were used.
#[derive(Debug)]
pub struct Replays {
    shards: Box<[Mutex<HashTable<Noted>>]>,
    count: AtomicUsize,
    limit: usize,
}

#[derive(Clone, Copy, Debug)]
struct Noted {
    digest: Digest,
    /// Seconds since the Unix epoch.
    until: u64,
}

impl Replays {
    /// None yet, and at most `limit`.
    pub fn new(limit: usize) -> Replays {
        Replays {
            shards: (0..SHARDS).map(|_| Mutex::new(HashTable::new())).collect(),
            count: AtomicUsize::new(0),
            limit,
        }
    }

    /// Uses an identifier whose token is good until `until`. Times in seconds since the Unix epoch.
    pub fn note(&self, digest: Digest, until: u64, now: u64) -> Use {
        let mut shard = self.shards[digest.shard()].lock();
        if let Some(known) = shard.find_mut(digest.hash(), |noted| noted.digest == digest) {
            let used = if known.until > now { Use::Again } else { Use::First };
            known.until = known.until.max(until);
            return used;
        }
        if !self.take_place() {
            self.forget_ended(&mut shard, now);
            if !self.take_place() {
                return Use::Full;
            }
        }
        shard.insert_unique(digest.hash(), Noted { digest, until }, |noted| noted.digest.hash());
        Use::First
    }

    /// Whether an identifier was used here before, without using it.
    pub fn knows(&self, digest: Digest, now: u64) -> bool {
        let shard = self.shards[digest.shard()].lock();
        shard.find(digest.hash(), |noted| noted.digest == digest).is_some_and(|noted| noted.until > now)
    }

    /// Forgets the identifiers of tokens that have ended. Called now and then.
    pub fn sweep(&self, now: u64) {
        for shard in &self.shards {
            self.forget_ended(&mut shard.lock(), now);
        }
    }

    /// Identifiers remembered.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take_place(&self) -> bool {
        let more = |count| (count < self.limit).then_some(count + 1);
        self.count.try_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn forget_ended(&self, shard: &mut HashTable<Noted>, now: u64) {
        let before = shard.len();
        shard.retain(|noted| noted.until > now);
        self.count.fetch_sub(before - shard.len(), Ordering::Relaxed);
        if shard.capacity() > 4 * shard.len().max(16) {
            shard.shrink_to_fit(|noted| noted.digest.hash());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use std::sync::atomic::AtomicUsize;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    #[test]
    fn an_identifier_is_good_once_until_its_token_has_ended() {
        let replays = Replays::new(10);
        let digest = Digest::of("p", b"id");
        assert!(!replays.knows(digest, NOW));
        assert_eq!(replays.note(digest, NOW + 10, NOW), Use::First);
        assert!(replays.knows(digest, NOW + 9));
        assert_eq!(replays.note(digest, NOW + 10, NOW + 9), Use::Again);
        assert_eq!(replays.note(Digest::of("q", b"id"), NOW + 10, NOW), Use::First, "another policy's");
        assert_eq!(replays.note(digest, NOW + 30, NOW + 10), Use::First, "its end has passed");
        assert_eq!(replays.len(), 2);
    }

    #[test]
    fn policy_and_identifier_do_not_run_together() {
        assert_ne!(Digest::of("ab", b"c"), Digest::of("a", b"bc"));
        assert_ne!(Digest::of("", b""), Digest::of("", b"\0"));
        assert_eq!(Digest::of("p", &[7; 4096]).to_hex().len(), 32);
    }

    #[test]
    fn when_all_places_are_taken_nothing_is_good_that_could_not_be_noted() {
        let replays = Replays::new(3);
        let id = |n: u64| Digest::of("p", &n.to_le_bytes());
        for n in 0..3 {
            assert_eq!(replays.note(id(n), NOW + 10 + n, NOW), Use::First);
        }
        assert_eq!(replays.note(id(3), NOW + 10, NOW), Use::Full);
        assert_eq!(replays.note(id(0), NOW + 10, NOW), Use::Again, "what was noted stays so");
        replays.sweep(NOW + 10);
        assert_eq!(replays.len(), 2);
        assert_eq!(replays.note(id(3), NOW + 20, NOW + 10), Use::First);
        replays.sweep(NOW + 20);
        assert!(replays.is_empty());
    }

    #[test]
    fn of_many_who_use_an_identifier_at_once_one_is_the_first() {
        let replays = Replays::new(1000);
        for round in 0..200_u64 {
            let digest = Digest::of("p", &round.to_le_bytes());
            let first = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        if replays.note(digest, NOW + 10, NOW) == Use::First {
                            first.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
            assert_eq!(first.into_inner(), 1);
        }
    }
}
