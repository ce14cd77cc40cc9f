//! Random spread for pauses, so that many nodes, or many requests of one, do not act in step.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A random duration from nothing to `most`.
///
/// Good enough to spread load; the randomness is that of the standard library's hash keys.
pub(super) fn up_to(most: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8) >> 32;
    most.mul_f64(random as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_and_bounded() {
        let most = Duration::from_millis(200);
        let pauses: Vec<Duration> = (0..64).map(|_| up_to(most)).collect();
        assert!(pauses.iter().all(|pause| *pause <= most));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
