//! Instructions that one turn of each case takes, counted by Callgrind through gungraun: `make micro` and `make bench`, where
//! valgrind is there.
//!
//! Counts do not depend on how busy the machine is. The processor that valgrind shows lacks the newest instructions, for
//! hashes and AES among them: counts of signatures are higher than what is executed without it. The cases are in
//! `benches/cases/`; those that are timed alone (`benches/cases/list.rs`) are not counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "benchmarks")]
#![allow(missing_docs, clippy::disallowed_methods, reason = "what the macros make")]

#[allow(dead_code, reason = "made for times, too")]
#[path = "cases"]
mod cases {
    pub mod case;
    pub mod freshness;
    pub mod hit;
    pub mod key;
    pub mod list;
    pub mod objects;
    pub mod playlist;
    pub mod range;
    pub mod site;
    pub mod store;
    pub mod text;
    pub mod token;
}

use std::hint::black_box;

use cases::case::{Case, warmed};
use cases::list::each_case;
use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A turn. The case goes back, so that its end is not counted.
#[inline(always)]
fn turn<C: Case>(case: C) -> (u64, C) {
    (black_box(case.run(black_box(1))), case)
}

/// A benchmark for each case of the list that is counted.
macro_rules! count {
    ($(
        $group:ident { $($name:ident)* }
        $(+ threads($threads:literal) { $($threaded:ident)* })?
        $(+ timed { $($timed:ident)* })?
    )*) => {
        $(
            #[library_benchmark]
            $(#[bench::$name(warmed(cases::$group::$name()))])*
            fn $group<C: Case>(case: C) -> (u64, C) {
                turn(case)
            }
        )*
        library_benchmark_group!(name = request, benchmarks = [$($group),*]);
    };
}

each_case!(count);

// What caches of a processor that nobody has would miss is not asked.
main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"]));
    library_benchmark_groups = request
);
