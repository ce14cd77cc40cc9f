//! How much the node sends, to viewers and to other nodes: bytes of bodies, counted as they are written, and their rate.
//!
//! Counted in parts that threads have to themselves, so that one that sends waits for no other. Headers, TLS and what a socket still
//! holds are not seen: it is what the node has to do, not what a network carries.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Parts that a count is kept in; of more threads, some share one.
const SHARDS: usize = 32;

/// What a rate is the mean of: longer than a segment, which all viewers of a live stream ask for at once.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Looks that are remembered at most; the oldest gives way.
const LOOKS_MAX: usize = 64;

/// Bytes of bodies sent since the start.
#[derive(Debug, Default)]
pub struct Egress {
    shards: [Shard; SHARDS],
}

/// One thread's part, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(AtomicU64);

/// The rate of a count that is looked at now and then.
#[derive(Debug, Default)]
pub struct Rate {
    /// When it was looked at and what it was then: those of the last [`WINDOW`], and one before.
    looks: VecDeque<(Instant, u64)>,
}

// === impl Egress ===

impl Egress {
    /// So many bytes are being sent.
    pub fn add(&self, bytes: usize) {
        if let Some(Shard(count)) = self.shards.get(shard_of_this_thread()) {
            count.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Bytes sent since the start.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().fold(0, |sum, Shard(count)| sum.wrapping_add(count.load(Ordering::Relaxed)))
    }
}

fn shard_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    // A thread that ends has no part of its own any more.
    SHARD.try_with(|shard| *shard).unwrap_or(0)
}

// === impl Rate ===

impl Rate {
    /// Takes in what the count is now. Gives bits per second, on the average of the last [`WINDOW`]; of a count that has been looked at for
    /// less, as though it had stood still before.
    pub fn observe(&mut self, bytes: u64, now: Instant) -> u64 {
        while self.looks.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW)
            || self.looks.len() >= LOOKS_MAX
        {
            self.looks.pop_front();
        }
        self.looks.push_back((now, bytes));
        let Some((since, before)) = self.looks.front() else { return 0 };
        let span = now.duration_since(*since).max(WINDOW).as_millis();
        let bits = u128::from(bytes.wrapping_sub(*before)) * 8;
        u64::try_from(bits * 1000 / span).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_send_is_counted_together() {
        let egress = Egress::default();
        std::thread::scope(|scope| {
            for thread in 0..2 * SHARDS {
                let egress = &egress;
                scope.spawn(move || (0..100).for_each(|_| egress.add(thread)));
            }
        });
        assert_eq!(egress.bytes(), 100 * (0..2 * SHARDS as u64).sum::<u64>());
    }

    #[test]
    fn a_rate_is_the_mean_of_ten_seconds() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let mut at = |second: u64, bytes| rate.observe(bytes, start + Duration::from_secs(second));
        assert_eq!(at(0, 5_000), 0, "what was sent before is not known to be new");
        assert_eq!(at(1, 1_005_000), 800_000);
        for second in 2..=10 {
            assert_eq!(at(second, 1_005_000), 800_000, "second {second}");
        }
        assert_eq!(at(11, 1_005_000), 0);
        // Looked at late, it is the mean of all the time between.
        assert_eq!(at(31, 3_005_000), 800_000);
    }

    #[test]
    fn looks_are_bounded_however_often_it_is_looked_at() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        for milliseconds in 0..10 * LOOKS_MAX as u64 {
            rate.observe(milliseconds, start + Duration::from_millis(milliseconds));
        }
        assert!(rate.looks.len() <= LOOKS_MAX);
    }
}
