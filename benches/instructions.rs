//! Instructions that one turn of each case takes, counted by Callgrind through gungraun: `make micro` and `make bench`, where
//! valgrind is there.
//!
//! Counts do not depend on how busy the machine is. The processor that valgrind shows lacks the newest instructions, for
//! hashes and AES among them: counts of signatures are higher than what is executed without it. The cases are in
//! `benches/cases/`; those that need two threads are not counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "benchmarks")]
#![allow(missing_docs, clippy::disallowed_methods, reason = "what the macros make")]

#[allow(dead_code, reason = "made for times, too")]
#[path = "cases"]
mod cases {
    pub mod case;
    pub mod freshness;
    pub mod hit;
    pub mod key;
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
use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A turn. The case goes back, so that its end is not counted.
#[inline(always)]
fn turn<C: Case>(case: C) -> (u64, C) {
    (black_box(case.run(black_box(1))), case)
}

#[library_benchmark]
#[bench::segment(warmed(cases::key::segment()))]
#[bench::reload(warmed(cases::key::reload()))]
#[bench::respelled(warmed(cases::key::respelled()))]
fn key<C: Case>(case: C) -> (u64, C) {
    turn(case)
}

#[library_benchmark]
#[bench::edgeauth_cold(warmed(cases::token::edgeauth_cold()))]
#[bench::edgeauth_warm(warmed(cases::token::edgeauth_warm()))]
#[bench::jwt_hs256_cold(warmed(cases::token::jwt_hs256_cold()))]
#[bench::jwt_es256_cold(warmed(cases::token::jwt_es256_cold()))]
#[bench::jwt_es256_warm(warmed(cases::token::jwt_es256_warm()))]
fn token<C: Case>(case: C) -> (u64, C) {
    turn(case)
}

#[library_benchmark]
#[bench::hit(warmed(cases::store::hit()))]
#[bench::miss(warmed(cases::store::miss()))]
fn store<C: Case>(case: C) -> (u64, C) {
    turn(case)
}

#[library_benchmark]
#[bench::segment(warmed(cases::freshness::segment()))]
#[bench::live_playlist(warmed(cases::freshness::live_playlist()))]
#[bench::live_playlist_read(warmed(cases::freshness::live_playlist_read()))]
fn freshness<C: Case>(case: C) -> (u64, C) {
    turn(case)
}

#[library_benchmark]
#[bench::one(warmed(cases::range::one()))]
#[bench::eight(warmed(cases::range::eight()))]
fn range<C: Case>(case: C) -> (u64, C) {
    turn(case)
}

#[library_benchmark]
#[bench::split_live(warmed(cases::playlist::split_live()))]
#[bench::split_vod(warmed(cases::playlist::split_vod()))]
#[bench::gather_live(warmed(cases::playlist::gather_live()))]
#[bench::gather_vod(warmed(cases::playlist::gather_vod()))]
fn playlist<C: Case>(case: C) -> (u64, C) {
    turn(case)
}

#[library_benchmark]
#[bench::in_memory_4k(warmed(cases::hit::in_memory_4k()))]
#[bench::in_memory_playlist(warmed(cases::hit::in_memory_playlist()))]
fn hit<C: Case>(case: C) -> (u64, C) {
    turn(case)
}

library_benchmark_group!(name = request, benchmarks = [key, token, store, freshness, range, playlist, hit]);

// What caches of a processor that nobody has would miss is not asked.
main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"]));
    library_benchmark_groups = request
);
