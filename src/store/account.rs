//! What a site with a quota holds of the memory tier, and which of its objects goes when it holds too much.
//!
//! A site without a quota has no account. The bytes of an account are those of the site's bodies in memory, in flight
//! ones included; the quota is enforced when an object comes to be kept: then the site's oldest ones go.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::config::model::Site;

/// Entries of the queue below which it is not searched for objects that have gone.
const QUEUE_SEARCHED_FROM: usize = 1024;

/// The accounts of the sites that have a quota, by the site's name.
#[derive(Debug, Default)]
pub struct Accounts(HashMap<String, Arc<Account>>);

/// One site's account.
#[derive(Debug)]
pub struct Account {
    bytes_max: u64,
    bytes: AtomicU64,
    kept: Mutex<Kept>,
}

/// Objects that were kept, oldest first, by the hash of their key and a number; some may have gone or been replaced.
#[derive(Debug, Default)]
struct Kept {
    queue: VecDeque<(u128, u64)>,
    /// The number of the newest object of each key.
    newest: HashMap<u128, u64>,
    next: u64,
    /// Length of the queue at which those that have gone are taken out.
    searched_at: usize,
}

impl Accounts {
    /// Accounts for the sites that have a quota of memory.
    pub fn new(sites: &[Site]) -> Accounts {
        let account = |site: &Site| Some((site.name.clone(), Account::new(site.quota.memory?)));
        Accounts(sites.iter().filter_map(account).collect())
    }

    /// The account of a site, if it has a quota.
    pub(super) fn of(&self, site: &str) -> Option<&Arc<Account>> {
        // Most nodes have no quota at all.
        if self.0.is_empty() { None } else { self.0.get(site) }
    }
}

impl Account {
    fn new(bytes_max: u64) -> Arc<Account> {
        Arc::new(Account { bytes_max, bytes: AtomicU64::new(0), kept: Mutex::default() })
    }

    pub(super) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(super) fn subtract(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Notes an object that is kept. `is_held` tells whether the object of a hash is still there.
    pub(super) fn keep(&self, hash: u128, is_held: impl Fn(u128) -> bool) {
        let mut kept = self.kept.lock();
        let kept = &mut *kept;
        kept.next += 1;
        kept.queue.push_back((hash, kept.next));
        kept.newest.insert(hash, kept.next);
        if kept.queue.len() > kept.searched_at.max(QUEUE_SEARCHED_FROM) {
            kept.newest.retain(|hash, _| is_held(*hash));
            kept.queue.retain(|(hash, number)| kept.newest.get(hash) == Some(number));
            kept.searched_at = 2 * kept.queue.len();
        }
    }

    /// The object that has to go next; None: the site holds no more than it may.
    pub(super) fn next_to_go(&self) -> Option<u128> {
        if self.bytes.load(Ordering::Acquire) <= self.bytes_max {
            return None;
        }
        let mut kept = self.kept.lock();
        while let Some((hash, number)) = kept.queue.pop_front() {
            if kept.newest.get(&hash) == Some(&number) {
                kept.newest.remove(&hash);
                return Some(hash);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn the_oldest_goes_while_there_is_more_than_the_quota() {
        let account = Account::new(100);
        for hash in 1..=3 {
            account.add(50);
            account.keep(hash, |_| true);
        }
        assert_eq!(account.next_to_go(), Some(1));
        account.subtract(50);
        assert_eq!(account.next_to_go(), None);
    }

    #[test]
    fn the_queue_does_not_grow_with_objects_that_have_gone() {
        let account = Account::new(100);
        for hash in 0..100_000 {
            account.keep(hash, |held| hash - held < 10);
        }
        assert!(account.kept.lock().queue.len() <= QUEUE_SEARCHED_FROM + 1);
    }

    #[test]
    fn an_object_that_is_kept_again_and_again_is_the_newest_and_stands_there_once() {
        let account = Account::new(100);
        account.keep(1, |_| true);
        for _ in 0..100_000 {
            account.keep(2, |_| true);
        }
        assert!(account.kept.lock().queue.len() <= QUEUE_SEARCHED_FROM + 1);
        account.keep(3, |_| true);
        account.add(150);
        assert_eq!(
            [account.next_to_go(), account.next_to_go(), account.next_to_go()],
            [Some(1), Some(2), Some(3)]
        );
    }
}
