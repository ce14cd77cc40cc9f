//! How often one client may ask for keys and licences (`limits.key_requests`).
//!
//! A token bucket for each client, kept as the one time at which it will be full again (the generic cell rate algorithm):
//! a client may ask for a minute's worth at once, and then at the pace of the limit. Asked only for keys, which a player
//! fetches a few times an hour; nothing of it is on the way of media. Rate limiting crates bound the rate, but not how many
//! clients they remember: here the table is bounded, and a client that has been silent for longest is forgotten first.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quick_cache::sync::Cache;

use super::client::network_of;

/// A minute, in microseconds.
const MINUTE: u64 = 60_000_000;

/// Who asks for how much.
#[derive(Debug)]
pub struct KeyRate {
    /// When the bucket of a client will be full again, in microseconds since 1970.
    full_at: Cache<u64, Arc<AtomicU64>>,
    /// Microseconds that one request takes.
    each: u64,
    /// Keys the hash that clients are told apart by.
    identity: RandomState,
}

/// Who asks: as narrow as is known.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    /// A session that a token names, and the name of the policy that the token is of: what others call the same is another one.
    Session {
        /// Name of the policy.
        policy: &'a str,
        /// Name of the session.
        session: &'a str,
    },
    /// An address; of IPv6, its network of 64 bits, which is one household's.
    Address(IpAddr),
}

impl KeyRate {
    /// Lets each client ask `per_minute` times in a minute, and remembers so many clients.
    pub fn new(per_minute: u32, clients: usize) -> KeyRate {
        KeyRate {
            full_at: Cache::new(clients),
            each: (MINUTE / u64::from(per_minute.max(1))).max(1),
            identity: RandomState::new(),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// How long the client has to wait, where it has asked too often.
    pub fn take(&self, asker: Asker<'_>, now: SystemTime) -> Result<(), Duration> {
        let who = match asker {
            Asker::Session { policy, session } => self.identity.hash_one((policy, session)),
            Asker::Address(address) => self.identity.hash_one(network_of(address)),
        };
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let now = u64::try_from(now).unwrap_or(u64::MAX / 2);
        // Made for one who is not known: its bucket is full.
        let made =
            self.full_at.get_or_insert_with(&who, || Ok::<_, std::convert::Infallible>(Arc::default()));
        let Ok(full_at) = made;
        // Farther ahead than any request puts it, a clock that was wrong has put it.
        let known = |held: u64| if held > now.saturating_add(2 * MINUTE) { 0 } else { held };
        let after = |held: u64| known(held).max(now).saturating_add(self.each);
        let taken = full_at.try_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            (after(held) <= now.saturating_add(MINUTE)).then(|| after(held))
        });
        taken.map(drop).map_err(|held| Duration::from_micros(after(held) - now - MINUTE))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    const START: SystemTime = UNIX_EPOCH;

    fn of(session: &str) -> Asker<'_> {
        Asker::Session { policy: "p", session }
    }

    fn at(seconds: u64) -> SystemTime {
        START + Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn a_client_asks_for_a_minutes_worth_at_once_and_then_at_the_pace() {
        let rate = KeyRate::new(6, 100);
        let ask = |seconds| rate.take(of("a"), at(seconds));
        for _ in 0..6 {
            assert_eq!(ask(0), Ok(()));
        }
        assert_eq!(ask(0), Err(Duration::from_secs(10)));
        assert_eq!(ask(4), Err(Duration::from_secs(6)), "refusals cost nothing");
        assert_eq!(ask(10), Ok(()));
        assert_eq!(ask(10), Err(Duration::from_secs(10)));
        assert_eq!(rate.take(of("b"), at(10)), Ok(()));
        for _ in 0..6 {
            assert_eq!(ask(1000), Ok(()), "a bucket holds no more than it holds");
        }
        assert!(ask(1000).is_err());
    }

    #[test]
    fn a_household_of_ipv6_is_one_client() {
        let rate = KeyRate::new(1, 100);
        let ask = |address: &str| rate.take(Asker::Address(address.parse().unwrap()), at(0));
        assert_eq!(ask("2001:db8:1:2::1"), Ok(()));
        assert!(ask("2001:db8:1:2:ffff::9").is_err());
        assert_eq!(ask("2001:db8:1:3::1"), Ok(()));
        assert_eq!(ask("192.0.2.1"), Ok(()));
        assert!(ask("192.0.2.1").is_err());
        assert_eq!(ask("192.0.2.2"), Ok(()));
    }

    #[test]
    fn sessions_of_one_name_are_as_many_as_there_are_policies() {
        let rate = KeyRate::new(1, 100);
        let ask = |policy, session| rate.take(Asker::Session { policy, session }, at(0));
        assert_eq!(ask("one", "a"), Ok(()));
        assert!(ask("one", "a").is_err());
        assert_eq!(ask("other", "a"), Ok(()));
        assert_eq!(ask("on", "ea"), Ok(()), "where one name ends is told");
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_out() {
        let rate = KeyRate::new(2, 100);
        for _ in 0..2 {
            assert_eq!(rate.take(of("a"), at(86_400)), Ok(()));
        }
        let wait = rate.take(of("a"), at(86_399)).unwrap_err();
        assert_eq!(wait, Duration::from_secs(31), "a second is none of these");
        assert_eq!(rate.take(of("a"), at(0)), Ok(()));
        assert_eq!(rate.take(of("a"), at(0)), Ok(()));
        assert_eq!(rate.take(of("a"), at(0)), Err(Duration::from_secs(30)));
    }

    #[test]
    fn clients_that_are_remembered_are_bounded() {
        let rate = KeyRate::new(1, 64);
        for place in 0..10_000 {
            assert_eq!(rate.take(of(&place.to_string()), at(0)), Ok(()));
        }
        assert!(rate.full_at.len() <= 64);
    }

    #[test]
    fn requests_at_the_same_time_take_no_more_than_there_is() {
        let rate = KeyRate::new(100, 64);
        let taken: usize = std::thread::scope(|scope| {
            let ask = || (0..100).filter(|_| rate.take(of("a"), at(0)).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
    }
}
