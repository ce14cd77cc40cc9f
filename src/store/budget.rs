//! The memory budget: one number that every body in memory is counted in, from before its first byte until its last
//! reader has gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::account::Account;

/// A hard bound on bytes. Counted: bodies that are kept, bodies in flight, bodies evicted but still being read, and
/// what is known of an object beside its body.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    used: AtomicU64,
    freed: Notify,
}

/// Bytes taken from a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
    /// The account of a site with a quota, which the bytes count in too.
    account: Option<Arc<Account>>,
}

impl Budget {
    /// A budget of `total` bytes.
    pub fn new(total: u64) -> Arc<Budget> {
        Arc::new(Budget { total, used: AtomicU64::new(0), freed: Notify::new() })
    }

    /// The bound, in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes taken now; more than [`Budget::total`] only by [`Budget::take`].
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// Takes `bytes` if they are free.
    pub fn try_take(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.total);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        Some(Reservation { budget: Arc::clone(self), bytes, account: None })
    }

    /// Takes `bytes` whether they are free or not: for what is held already and can only be made up for.
    pub(super) fn take(self: &Arc<Self>, bytes: u64) -> Reservation {
        self.used.fetch_add(bytes, Ordering::AcqRel);
        Reservation { budget: Arc::clone(self), bytes, account: None }
    }

    /// Resolves when bytes have been given back since it was made and enabled.
    pub fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }
}

impl Reservation {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts the bytes in a site's account, too.
    pub(super) fn charge_to(&mut self, account: &Arc<Account>) {
        account.add(self.bytes);
        self.account = Some(Arc::clone(account));
    }

    /// Adds another reservation of the same budget, charged to nobody, to this one.
    pub fn absorb(&mut self, mut other: Reservation) {
        let more = std::mem::take(&mut other.bytes);
        self.bytes += more;
        if let Some(account) = &self.account {
            account.add(more);
        }
    }

    /// Gives back what is held beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        self.give_back(surplus);
    }

    fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            if let Some(account) = &self.account {
                account.subtract(bytes);
            }
            self.budget.used.fetch_sub(bytes, Ordering::AcqRel);
            self.budget.freed.notify_waiters();
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_and_all_is_given_back() {
        let budget = Budget::new(100);
        let mut first = budget.try_take(60).unwrap();
        assert!(budget.try_take(41).is_none());
        let second = budget.try_take(40).unwrap();
        assert_eq!(budget.used(), 100);
        first.absorb(second);
        assert_eq!((first.bytes(), budget.used()), (100, 100));
        first.shrink_to(30);
        assert_eq!((first.bytes(), budget.used()), (30, 30));
        drop(first);
        assert_eq!(budget.used(), 0);
        assert!(budget.try_take(u64::MAX).is_none());
    }
}
