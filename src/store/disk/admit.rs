//! Decides whether a key has been asked for often enough to enter the disk: on its second request within a window.
//!
//! It remembers hashes of keys only, in memory of a fixed size, and is asked by the store for keys that it does not
//! hold. What the rules say of an object (kind, `disk = "never"`, lifetime) is decided by the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Keys that are remembered at most. Eight bytes each: 4 MiB.
pub const RECENT_KEYS: usize = 1 << 19;

/// Longest window, in seconds: what the time stamps of slots can tell apart.
const WINDOW_SECONDS_MAX: u64 = TICK_MASK / 2;

/// Slots that a key may stand in. The one that was asked for longest ago makes room.
const WAYS: usize = 8;

/// Bits of a slot that tell when its key was last asked for, in seconds; the rest tells the key.
const TICK_BITS: u32 = 24;

const TICK_MASK: u64 = (1 << TICK_BITS) - 1;

/// The keys that were asked for lately. Two keys are taken for one with a probability below 2^-36.
#[derive(Debug)]
pub struct Doorkeeper {
    /// Zero is an empty slot.
    slots: Box<[AtomicU64]>,
    /// In seconds.
    window: u64,
    start: Instant,
}

impl Doorkeeper {
    /// A doorkeeper that remembers [`RECENT_KEYS`] keys, each for `window` (whole seconds, at least one, at most about
    /// 97 days).
    pub fn new(window: Duration) -> Doorkeeper {
        Doorkeeper::with_keys(RECENT_KEYS, window)
    }

    fn with_keys(keys: usize, window: Duration) -> Doorkeeper {
        let slots = keys.next_power_of_two().max(WAYS);
        Doorkeeper {
            slots: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            window: window.as_secs().clamp(1, WINDOW_SECONDS_MAX),
            start: Instant::now(),
        }
    }

    /// Whether this key was asked for within the window before `now`. The question counts as a request.
    ///
    /// Of two threads that ask at the same moment both may be told no; the next request is told yes.
    pub fn seen_before(&self, hash: u128, now: Instant) -> bool {
        let tick = now.saturating_duration_since(self.start).as_secs() & TICK_MASK;
        let tag = tag_of(hash);
        let bucket = self.bucket(hash);
        let mut oldest = (0, 0, 0);
        for (place, slot) in bucket.iter().enumerate() {
            let value = slot.load(Ordering::Relaxed);
            let age = tick.wrapping_sub(value & TICK_MASK) & TICK_MASK;
            if value != 0 && value >> TICK_BITS == tag {
                slot.store(tag << TICK_BITS | tick, Ordering::Relaxed);
                return age <= self.window;
            }
            let age = if value == 0 { u64::MAX } else { age + 1 };
            if age > oldest.0 {
                oldest = (age, place, value);
            }
        }
        if let Some(slot) = bucket.get(oldest.1) {
            // Lost to another thread: this key is forgotten, and asked for once more than it would have to be.
            let entry = tag << TICK_BITS | tick;
            let _ = slot.compare_exchange(oldest.2, entry, Ordering::Relaxed, Ordering::Relaxed);
        }
        false
    }

    /// Bytes of memory that it takes, always.
    pub fn memory(&self) -> u64 {
        std::mem::size_of_val(&*self.slots) as u64
    }

    #[allow(clippy::cast_possible_truncation, reason = "takes the low bits of a hash")]
    fn bucket(&self, hash: u128) -> &[AtomicU64] {
        let start = hash as usize & (self.slots.len() - 1) & !(WAYS - 1);
        self.slots.get(start..start + WAYS).unwrap_or_default()
    }
}

/// What tells a key from others of its bucket; never zero.
#[allow(clippy::cast_possible_truncation, reason = "takes the high bits of a hash")]
fn tag_of(hash: u128) -> u64 {
    (hash >> (64 + TICK_BITS)) as u64 & (u64::MAX >> TICK_BITS) | 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use std::collections::HashMap;

    use xxhash_rust::xxh3::xxh3_128;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(3600);

    fn hash(key: u64) -> u128 {
        xxh3_128(&key.to_le_bytes())
    }

    fn random(state: &mut u64) -> f64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[test]
    fn a_key_is_seen_on_its_second_request_within_the_window_and_no_later() {
        let doorkeeper = Doorkeeper::with_keys(64, WINDOW);
        let start = Instant::now();
        assert!(!doorkeeper.seen_before(hash(1), start));
        assert!(doorkeeper.seen_before(hash(1), start + WINDOW));
        assert!(!doorkeeper.seen_before(hash(1), start + WINDOW * 2 + Duration::from_secs(3)));
        assert!(doorkeeper.seen_before(hash(1), start + WINDOW * 2 + Duration::from_secs(4)));
        assert!(!doorkeeper.seen_before(hash(2), start));
    }

    #[test]
    fn a_scan_admits_nothing_however_long_it_is() {
        let doorkeeper = Doorkeeper::with_keys(1 << 14, WINDOW);
        let start = Instant::now();
        let admitted = (0..200_000_u64)
            .filter(|key| doorkeeper.seen_before(hash(*key), start + Duration::from_millis(*key)))
            .count();
        assert_eq!(admitted, 0);
    }

    #[test]
    fn of_a_zipf_trace_what_is_popular_is_admitted_at_its_second_request_though_a_scan_runs_beside_it() {
        let seed = 0x5EED_1234_u64;
        eprintln!("seed {seed:#x}");
        let mut state = seed;
        let objects = 20_000_usize;
        let weights: Vec<f64> = (1..=objects).map(|rank| 1.0 / (rank as f64).powf(0.9)).collect();
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let cumulated: Vec<f64> = weights
            .iter()
            .map(|weight| {
                sum += weight / total;
                sum
            })
            .collect();
        let doorkeeper = Doorkeeper::with_keys(1 << 14, WINDOW);
        let start = Instant::now();
        let mut requests: HashMap<usize, (u32, Option<u32>)> = HashMap::new();
        for step in 0..100_000_u64 {
            let now = start + Duration::from_millis(step * 10);
            assert!(!doorkeeper.seen_before(hash(1 << 40 | step), now), "the scan's key {step}");
            let point = random(&mut state);
            let object = cumulated.partition_point(|share| *share < point);
            let entry = requests.entry(object).or_default();
            entry.0 += 1;
            if doorkeeper.seen_before(hash(object as u64), now) {
                entry.1.get_or_insert(entry.0);
            }
        }
        let first_requests = requests.values().filter(|(_, admitted)| *admitted == Some(1)).count();
        assert_eq!(first_requests, 0, "no first request admits");
        let hot =
            (0..200).filter(|object| requests.get(object).is_some_and(|(_, at)| *at == Some(2))).count();
        assert!(hot >= 198, "{hot} of the 200 hottest objects were admitted at their second request");
        let once = requests.values().filter(|(count, admitted)| *count == 1 && admitted.is_some()).count();
        assert_eq!(once, 0, "nothing asked for once is admitted");
    }

    #[test]
    fn memory_is_fixed() {
        let doorkeeper = Doorkeeper::new(WINDOW);
        assert_eq!(doorkeeper.memory(), 8 * RECENT_KEYS as u64);
    }
}
