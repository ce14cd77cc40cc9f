//! The fuzz targets' seeds, and simple mutations of them, run through the targets: what must never happen does not.
//!
//! That is no fuzzing, and says nothing of time; `make fuzz` fuzzes. It keeps the targets and their seeds in order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(dead_code, missing_docs, unreachable_pub, unexpected_cfgs, reason = "a package of its own")]

#[path = "fuzz/src/lib.rs"]
mod fuzz;
#[path = "support/seed.rs"]
mod seed;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fuzz::TARGETS;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Mutations of each seed.
const MUTATIONS: usize = 60;

/// Bytes that decide, in one format or another.
const TELLING: &[u8] = b"%&=~/;!.?*+-_{}[]\"\\\n\0\x7f\x80\xff0129";

/// A clock that stands still: no limit on time holds in a debug build.
fn still() -> Duration {
    Duration::ZERO
}

#[test]
fn no_simple_mutation_of_a_seed_gets_past_a_parser() {
    let mut random = StdRng::seed_from_u64(seed::seed());
    for target in TARGETS {
        // Shown with a failure.
        let _ = writeln!(std::io::stderr(), "target {}", target.name);
        let fuzzed = (target.make)(still);
        assert!(!fuzzed.seeds.is_empty(), "{} has no seeds", target.name);
        for seed in fuzzed.seeds.iter().chain(&found_before(target.name)) {
            (fuzzed.run)(seed);
            for _ in 0..MUTATIONS {
                (fuzzed.run)(&mutated(seed, &mut random));
            }
        }
    }
}

/// What fuzzing has found in a target and is mended: files whose names begin with the target's and a hyphen.
fn found_before(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_its = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_prefix(target).is_some_and(|rest| rest.starts_with('-'))
    };
    files.filter(is_its).map(|path| fs::read(path).unwrap()).collect()
}

/// A seed with up to three bytes changed, put in or left out, or a part of it repeated or cut off.
fn mutated(seed: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.random_range(1..=3) {
        let at = random.random_range(0..=bytes.len());
        let telling = *TELLING.choose(random).unwrap();
        match random.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = telling,
            2 => bytes.insert(at, telling),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            _ => {
                let from = random.random_range(0..=at);
                let part = bytes[from..at].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}
