//! Runs one target under libFuzzer: the one that `FUZZ_TARGET` names. `SEEDS=FOLDER` writes its seeds there and ends.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;
use std::{env, fs};

use forebay_fuzz::{Fuzzed, TARGETS};
use rustix::time::{ClockId, clock_gettime};

thread_local! {
    static FUZZED: OnceLock<Fuzzed> = const { OnceLock::new() };
}

/// The CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn fuzzed() -> Fuzzed {
    let wanted = env::var("FUZZ_TARGET").unwrap_or_default();
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let target = TARGETS.iter().find(|target| target.name == wanted);
    let target =
        target.unwrap_or_else(|| panic!("FUZZ_TARGET is \"{wanted}\", none of {}", names.join(", ")));
    (target.make)(cpu_time)
}

libfuzzer_sys::fuzz_target!(
    init: {
        if let Some(folder) = env::var_os("SEEDS") {
            for (number, seed) in fuzzed().seeds.iter().enumerate() {
                fs::write(std::path::Path::new(&folder).join(format!("seed-{number}")), seed).expect("a seed is written");
            }
            std::process::exit(0);
        }
    },
    |data: &[u8]| {
        FUZZED.with(|fuzzed_once| (fuzzed_once.get_or_init(fuzzed).run)(data));
    }
);
