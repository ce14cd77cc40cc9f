//! What a site with a quota holds of the memory tier, and which of its objects goes when it holds too much.
//!
//! A site without a quota has no account. A rule keyed by user always has one, within that of its site, so that one user
//! after the other cannot push out what everybody asks for. The bytes of an account are those of the site's bodies in memory, in flight
//! ones included; the quota is enforced when an object comes to be kept: then the account's oldest ones go.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::config::model::{Rule, Site};
use crate::key::Key;

/// Entries of the queue below which it is not searched for objects that have gone.
const QUEUE_SEARCHED_FROM: usize = 1024;

/// The accounts of the sites that have a quota, or a rule with one, by the site's name.
#[derive(Debug, Default)]
pub struct Accounts(HashMap<String, OfSite>);

/// The accounts of one site.
#[derive(Debug)]
struct OfSite {
    /// Its own.
    whole: Option<Arc<Account>>,
    /// Those of its rules, by place.
    rules: Vec<Option<Arc<Account>>>,
}

/// One site's account, or one rule's.
#[derive(Debug)]
pub struct Account {
    /// The site's, for a rule's: what counts here counts there, too.
    above: Option<Arc<Account>>,
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
    /// Accounts for the sites and rules that have a quota of memory.
    pub fn new(sites: &[Site]) -> Accounts {
        let accounts = sites.iter().map(|site| (site.name.clone(), OfSite::new(site)));
        Accounts(accounts.filter(|(_, accounts)| !accounts.is_empty()).collect())
    }

    /// The account that an object of this key counts in, if there is one: its rule's, or its site's.
    pub(super) fn of(&self, key: &Key) -> Option<&Arc<Account>> {
        // Most nodes have no quota at all.
        if self.0.is_empty() {
            return None;
        }
        let accounts = self.0.get(key.site())?;
        let of_rule = key.user_rule().and_then(|place| accounts.rules.get(place)?.as_ref());
        of_rule.or(accounts.whole.as_ref())
    }
}

impl OfSite {
    fn new(site: &Site) -> OfSite {
        let whole = site.quota.memory.map(|bytes_max| Account::new(bytes_max, None));
        let of_rule = |rule: &Rule| rule.quota.map(|bytes_max| Account::new(bytes_max, whole.clone()));
        let rules = site.rules.iter().map(of_rule).collect();
        OfSite { whole, rules }
    }

    fn is_empty(&self) -> bool {
        self.whole.is_none() && self.rules.iter().all(Option::is_none)
    }
}

impl Account {
    fn new(bytes_max: u64, above: Option<Arc<Account>>) -> Arc<Account> {
        Arc::new(Account { above, bytes_max, bytes: AtomicU64::new(0), kept: Mutex::default() })
    }

    /// This account and the one above it.
    pub(super) fn chain(&self) -> impl Iterator<Item = &Account> {
        std::iter::once(self).chain(self.above.as_deref())
    }

    pub(super) fn add(&self, bytes: u64) {
        for account in self.chain() {
            account.bytes.fetch_add(bytes, Ordering::AcqRel);
        }
    }

    pub(super) fn subtract(&self, bytes: u64) {
        for account in self.chain() {
            account.bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
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
        let account = Account::new(100, None);
        for hash in 1..=3 {
            account.add(50);
            account.keep(hash, |_| true);
        }
        assert_eq!(account.next_to_go(), Some(1));
        account.subtract(50);
        assert_eq!(account.next_to_go(), None);
    }

    #[test]
    fn what_counts_for_a_rule_counts_for_its_site_and_not_the_other_way_round() {
        let site = Account::new(100, None);
        let rule = Account::new(30, Some(Arc::clone(&site)));
        rule.add(40);
        rule.keep(1, |_| true);
        assert_eq!((rule.next_to_go(), site.next_to_go()), (Some(1), None));
        rule.subtract(40);
        site.add(90);
        rule.add(20);
        site.keep(2, |_| true);
        assert_eq!((rule.next_to_go(), site.next_to_go()), (None, Some(2)));
    }

    #[test]
    fn the_queue_does_not_grow_with_objects_that_have_gone() {
        let account = Account::new(100, None);
        for hash in 0..100_000 {
            account.keep(hash, |held| hash - held < 10);
        }
        assert!(account.kept.lock().queue.len() <= QUEUE_SEARCHED_FROM + 1);
    }

    #[test]
    fn an_object_that_is_kept_again_and_again_is_the_newest_and_stands_there_once() {
        let account = Account::new(100, None);
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
