//! Sequences of requests that a seed gives, and what a plain cache would make of them: the yardstick for the node's
//! hit ratio. Pure; called by the benchmark of traces, and for random orders by others.

use std::collections::{BTreeMap, HashMap};

/// Random numbers that a seed gives (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

/// Popularity by Zipf's law: the object of rank r (from 1) is asked for in proportion to 1 / r^exponent. Which object has
/// which rank, the seed decides, so that neighbours in the catalogue are not neighbours in popularity.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    /// The sum of the weights up to each rank.
    cumulated: Vec<f64>,
    object_of_rank: Vec<u32>,
}

/// A cache that evicts what was used least recently, of objects that all have one size.
#[derive(Clone, Debug)]
pub(crate) struct Lru {
    capacity: usize,
    /// When each object that is held was used last.
    used_at: HashMap<u32, u64>,
    by_use: BTreeMap<u64, u32>,
    clock: u64,
}

// === impl Random ===

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The numbers below `count` in random order.
    pub(crate) fn order(&mut self, count: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..count).collect();
        for last in (1..order.len()).rev() {
            let other = self.next() % (last as u64 + 1);
            order.swap(last, other as usize);
        }
        order
    }
}

// === impl Zipf ===

impl Zipf {
    /// A catalogue of `objects` objects.
    pub(crate) fn new(objects: u32, exponent: f64, random: &mut Random) -> Self {
        let mut sum = 0.0;
        let weight = |rank: u32| f64::from(rank).powf(-exponent);
        let cumulated = (1..=objects).map(|rank| {
            sum += weight(rank);
            sum
        });
        Self { cumulated: cumulated.collect(), object_of_rank: random.order(objects) }
    }

    /// The next request: the number of an object.
    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        let at = random.fraction() * self.cumulated.last().copied().unwrap_or_default();
        let rank = self.cumulated.partition_point(|sum| *sum <= at);
        self.object_of_rank.get(rank).copied().unwrap_or_default()
    }
}

// === impl Lru ===

impl Lru {
    /// A cache that holds this many objects.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, used_at: HashMap::new(), by_use: BTreeMap::new(), clock: 0 }
    }

    /// Asks for an object; says whether it was held. It is afterwards.
    pub(crate) fn ask(&mut self, object: u32) -> bool {
        self.clock += 1;
        let before = self.used_at.insert(object, self.clock);
        if let Some(before) = before {
            self.by_use.remove(&before);
        }
        self.by_use.insert(self.clock, object);
        if self.by_use.len() > self.capacity
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.used_at.remove(&oldest);
        }
        before.is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn what_was_used_least_recently_goes_first() {
        let mut lru = Lru::new(2);
        let hits: Vec<bool> = [1, 2, 1, 3, 1, 2, 3].into_iter().map(|object| lru.ask(object)).collect();
        assert_eq!(hits, [false, false, true, false, true, false, false]);
        assert_eq!(lru.used_at.len(), 2);
    }

    #[test]
    fn a_seed_gives_one_sequence_and_another_seed_another() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            let zipf = Zipf::new(1000, 0.9, &mut random);
            (0..100).map(|_| zipf.draw(&mut random)).collect::<Vec<u32>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn popularity_follows_the_law() {
        let mut random = Random::new(5);
        let zipf = Zipf::new(100, 1.0, &mut random);
        let mut counts = [0_u32; 100];
        for _ in 0..100_000 {
            counts[zipf.draw(&mut random) as usize] += 1;
        }
        let of_rank = |rank: usize| f64::from(counts[zipf.object_of_rank[rank - 1] as usize]);
        assert!(counts.iter().all(|count| *count > 0));
        assert!((of_rank(1) / of_rank(2) - 2.0).abs() < 0.2, "{counts:?}");
        assert!((of_rank(1) / of_rank(10) - 10.0).abs() < 1.5, "{counts:?}");
    }

    #[test]
    fn an_order_has_every_number_once() {
        let mut order = Random::new(9).order(1000);
        assert_ne!(order, (0..1000).collect::<Vec<u32>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<u32>>());
    }
}
