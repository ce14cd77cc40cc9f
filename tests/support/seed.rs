//! Seeds of random tests: printed, so that a run can be repeated.

use std::io::Write;

/// A seed: `SEED` of the environment, else a new one.
pub fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    // Shown with a failure.
    let _ = writeln!(std::io::stderr(), "SEED={seed}");
    seed
}
