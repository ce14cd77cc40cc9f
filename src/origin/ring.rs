//! Who owns what: the order in which the servers of a group come for a key, by consistent hashing with bounded load.
//!
//! Decides from names and weights alone, so that every node comes to the same order, whatever order it has learned its
//! servers in. Whether a server can be asked is the group's decision: it takes the next one in this order.

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pingora_ketama::{Bucket, Continuum};
use xxhash_rust::xxh3::xxh3_128;

use super::FetchRequest;

/// The largest weight of a server on the ring: larger ones are scaled down. Each unit is 160 points.
pub(super) const WEIGHT_MAX: u32 = 10;

/// How much more than the mean of requests under way a server may have, in quarters: 1.25 times.
const LOAD_QUARTERS: usize = 5;

/// Requests under way that are nobody's too many: each that is passed on costs a fetch elsewhere, and is to tell of a server that
/// has too much to do, not of chance. Of n requests that fall evenly, the root of n more are nothing unusual at one server: a
/// quarter more is one such step at 16 requests, which happens all the time, and nearly three at 128.
pub(super) const LOAD_FREE: usize = 128;

/// The servers of a group on a circle.
pub(super) struct Ring {
    continuum: Continuum,
    /// The place in the group's list that a point's name stands for.
    places: HashMap<SocketAddr, usize>,
}

impl Ring {
    /// A ring of servers with these names and weights; their places are those in the order given. Of two with one name
    /// the first counts.
    pub(super) fn new<'a>(servers: impl IntoIterator<Item = (&'a str, u32)>) -> Ring {
        let mut places = HashMap::new();
        let mut named: Vec<(&str, u32, SocketAddr)> = Vec::new();
        for (place, (name, weight)) in servers.into_iter().enumerate() {
            let point = point_of(name);
            if let std::collections::hash_map::Entry::Vacant(vacant) = places.entry(point) {
                vacant.insert(place);
                named.push((name, weight.max(1), point));
            }
        }
        // Where points of two servers fall together, the order decides.
        named.sort_unstable();
        let divisor = named.iter().fold(0, |divisor, (_, weight, _)| common_divisor(divisor, *weight)).max(1);
        let largest = named.iter().map(|(_, weight, _)| weight / divisor).max().unwrap_or(1);
        let scaled = |weight: u32| match weight / divisor {
            weight if largest <= WEIGHT_MAX => weight,
            weight => (weight.saturating_mul(WEIGHT_MAX) / largest).max(1),
        };
        let buckets: Vec<Bucket> =
            named.iter().map(|(_, weight, point)| Bucket::new(*point, scaled(*weight))).collect();
        Ring { continuum: Continuum::new(&buckets), places }
    }

    /// The places of all servers in the order in which they come for a key, its owner first.
    pub(super) fn order(&self, placement: u64) -> impl Iterator<Item = usize> {
        let mut left = self.places.len();
        let mut index = self.continuum.node_idx(&placement.to_be_bytes());
        let mut given = vec![false; left];
        std::iter::from_fn(move || {
            while left > 0 {
                let place = *self.places.get(self.continuum.get_addr(&mut index)?)?;
                let seen = given.get_mut(place)?;
                if !std::mem::replace(seen, true) {
                    left -= 1;
                    return Some(place);
                }
            }
            None
        })
    }
}

/// What the ring knows a server by: its name in the shape of an address.
fn point_of(name: &str) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from(xxh3_128(name.as_bytes())).into(), 0)
}

fn common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// Whether a server with so many requests under way, of so many at `servers` servers, passes the next one on.
pub(super) fn is_laden(under_way: usize, of: usize, servers: usize) -> bool {
    // The request to be placed counts.
    let bound = (of + 1).saturating_mul(LOAD_QUARTERS).div_ceil(servers.max(1).saturating_mul(4));
    under_way >= bound.max(LOAD_FREE)
}

/// Requests under way at a server.
#[derive(Default)]
pub(super) struct Load(Arc<AtomicUsize>);

/// One of them, until it is dropped.
pub(super) struct Busy(Arc<AtomicUsize>);

impl Load {
    pub(super) fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts a request; None: one that is held on purpose, which is no work.
    pub(super) fn enter(&self, request: &FetchRequest<'_>) -> Option<Busy> {
        request.hold.is_none().then(|| self.add())
    }

    fn add(&self) -> Busy {
        self.0.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(&self.0))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    const KEYS: usize = 10_000;

    fn ring(names: &[String]) -> Ring {
        Ring::new(names.iter().map(|name| (name.as_str(), 1)))
    }

    fn owner<'a>(ring: &Ring, names: &'a [String], key: u64) -> &'a str {
        &names[ring.order(key).next().unwrap()]
    }

    /// Losing one of N servers moves its keys and no others, gaining one takes about 1/N from all; a different order of
    /// the same servers moves none.
    #[test]
    fn one_server_more_or_less_moves_its_share_of_the_keys() {
        for seed in 0..12_u64 {
            eprintln!("seed {seed}");
            let mut random = StdRng::seed_from_u64(seed);
            let count = random.random_range(2..=12_usize);
            let mut names: Vec<String> =
                (0..count).map(|n| format!("10.{}.0.{n}:8080", random.random_range(0..250_u8))).collect();
            let all = ring(&names);
            let gone = random.random_range(0..count);
            let mut fewer = names.clone();
            let lost = fewer.remove(gone);
            let without = ring(&fewer);
            let keys: Vec<u64> = (0..KEYS).map(|_| random.random()).collect();
            let mut moved = 0;
            for key in &keys {
                let before = owner(&all, &names, *key);
                let after = owner(&without, &fewer, *key);
                if before == lost {
                    moved += 1;
                    // They go where the ring says they go when the owner is passed over.
                    let next = all.order(*key).map(|place| &names[place]).find(|name| **name != lost);
                    assert_eq!(next.unwrap(), after);
                } else {
                    assert_eq!(before, after, "a key moved that was not the lost server's");
                }
            }
            let fair = KEYS / count;
            assert!(moved > fair / 2 && moved < fair * 2, "{moved} of {KEYS} keys moved, {count} servers");
            let owned: Vec<String> = keys.iter().map(|key| owner(&all, &names, *key).to_owned()).collect();
            names.reverse();
            let reversed = ring(&names);
            assert!(keys.iter().zip(owned).all(|(key, owned)| owner(&reversed, &names, *key) == owned));
        }
    }

    #[test]
    fn the_order_names_each_server_once() {
        let names: Vec<String> = (0..7).map(|n| format!("edge-{n}")).collect();
        let ring = ring(&names);
        for key in 0..500_u64 {
            let mut order: Vec<usize> = ring.order(key.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
            assert_eq!(order.len(), 7);
            order.sort_unstable();
            order.dedup();
            assert_eq!(order.len(), 7);
        }
        assert_eq!(Ring::new([]).order(1).count(), 0);
    }

    /// A server of twice the weight owns about twice as much, whatever unit weights are written in.
    #[test]
    fn weights_are_shares() {
        let share = |weights: [u32; 3]| {
            let ring = Ring::new([("a", weights[0]), ("b", weights[1]), ("c", weights[2])]);
            let mut random = StdRng::seed_from_u64(7);
            (0..KEYS).filter(|_| ring.order(random.random()).next() == Some(0)).count()
        };
        assert_eq!(share([100, 50, 50]), share([2, 1, 1]));
        let half = share([2, 1, 1]);
        assert!((KEYS * 4 / 10..KEYS * 6 / 10).contains(&half), "{half}");
        let most = share([65_535, 1, 1]);
        assert!((KEYS * 7 / 10..KEYS * 95 / 100).contains(&most), "{most}");
    }

    /// However keys fall, no server has more than 1.25 times its share, rounded up, and nobody is turned away.
    #[test]
    fn the_load_of_each_server_is_bounded() {
        for seed in 0..8_u64 {
            eprintln!("seed {seed}");
            let mut random = StdRng::seed_from_u64(seed);
            let count = random.random_range(2..=9_usize);
            let names: Vec<String> = (0..count).map(|n| format!("edge-{n}")).collect();
            let ring = ring(&names);
            let loads: Vec<Load> = names.iter().map(|_| Load::default()).collect();
            let mut under_way = Vec::new();
            // Few keys, so that without a bound one server would have most of it.
            let keys: Vec<u64> = (0..3).map(|_| random.random()).collect();
            for asked in 0..1500_usize {
                let all: usize = loads.iter().map(Load::now).sum();
                let key = keys[random.random_range(0..keys.len())];
                let place = ring.order(key).find(|place| !is_laden(loads[*place].now(), all, count));
                let place = place.expect("somebody has room");
                under_way.push(loads[place].add());
                let bound = ((all + 1) * 5).div_ceil(4 * count).max(LOAD_FREE);
                assert!(
                    loads[place].now() <= bound,
                    "{} of {} at one of {count}",
                    loads[place].now(),
                    all + 1
                );
                if asked % 3 == 2 {
                    under_way.swap_remove(random.random_range(0..under_way.len()));
                }
            }
            drop(under_way);
            assert_eq!(loads.iter().map(Load::now).sum::<usize>(), 0);
        }
    }
}
