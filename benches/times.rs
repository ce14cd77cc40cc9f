//! Times of what the node does for a request, taken by criterion: `make micro`, and in short by `make bench`.
//!
//! Decides how long is measured and what is printed; the cases are in `benches/cases/`. Beside each time stands the count of
//! instructions that `benches/instructions.rs` has left, where it was run before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "benchmarks")]

#[path = "cases"]
mod cases {
    pub mod all;
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
mod table;

use std::hint::black_box;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion};

use cases::all::{self, Visitor};
use cases::case::{Case, warmed};
use table::{Row, Table};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What each case takes in the short form; `make micro` asks for more.
const WARM_UP: Duration = Duration::from_millis(200);
const MEASURED: Duration = Duration::from_millis(700);
const SAMPLES: usize = 20;
const RESAMPLES: usize = 10_000;

fn main() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("criterion");
    let criterion = Criterion::default().without_plots().output_directory(&folder);
    let criterion = criterion.warm_up_time(WARM_UP).measurement_time(MEASURED);
    let criterion = criterion.sample_size(SAMPLES).nresamples(RESAMPLES).configure_from_args();
    let mut times = Times { criterion, table: Table::new(folder) };
    all::visit(&mut times);
    times.criterion.final_summary();
    // Otherwise each case has been tried once, and there are no times.
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    if asked("--bench") && !asked("--test") && !asked("--list") {
        // Whoever has closed the output has no use for it.
        let _ = times.table.print(&mut std::io::stdout().lock());
    }
}

struct Times {
    criterion: Criterion,
    table: Table,
}

impl Times {
    fn measure<C: Case>(
        &mut self,
        (group, name): (&str, &str),
        make: fn() -> C,
        take: impl Fn(&mut Bencher<'_>, &C),
    ) {
        let mut made = None;
        self.criterion.benchmark_group(group).bench_function(name, |bencher| {
            take(bencher, made.get_or_insert_with(|| warmed(make())));
        });
        if let Some(case) = made {
            self.table.push(Row { group: group.to_owned(), name: name.to_owned(), body: case.body_bytes() });
        }
    }
}

impl Visitor for Times {
    fn visit<C: Case>(&mut self, group: &str, name: &str, make: fn() -> C) {
        self.measure((group, name), make, |bencher, case| {
            bencher.iter_custom(|turns| taken_by(case, turns));
        });
    }

    fn visit_threads<C: Case + Sync>(&mut self, group: &str, name: &str, threads: usize, make: fn() -> C) {
        self.measure((group, name), make, |bencher, case| {
            bencher.iter_custom(|turns| taken_by_threads(case, turns, threads));
        });
    }
}

/// How long so many turns take.
fn taken_by<C: Case>(case: &C, turns: u64) -> Duration {
    let mut taken = Duration::ZERO;
    let mut done = 0;
    while done < turns {
        let until = if C::TURNS_MAX == 0 { turns } else { turns.min(done + C::TURNS_MAX) };
        case.forget();
        let start = Instant::now();
        for turn in done..until {
            black_box(case.run(black_box(turn)));
        }
        taken += start.elapsed();
        done = until;
    }
    taken
}

/// How long each of several threads takes for so many turns, the slowest one counted.
fn taken_by_threads<C: Case + Sync>(case: &C, turns: u64, threads: usize) -> Duration {
    let begin = Barrier::new(threads);
    std::thread::scope(|scope| {
        let thread = |place: usize| {
            let begin = &begin;
            scope.spawn(move || {
                let first = place as u64 * turns;
                begin.wait();
                let start = Instant::now();
                for turn in first..first + turns {
                    black_box(case.run(black_box(turn)));
                }
                start.elapsed()
            })
        };
        let threads: Vec<_> = (0..threads).map(thread).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap_or_default()
    })
}
