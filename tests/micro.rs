//! Every case of the micro-benchmarks does what it says that it does; nothing is measured. The cases are in `benches/cases/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

#[allow(dead_code, reason = "made for benchmarks, of which this is none")]
#[path = "../benches/cases"]
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

use std::collections::BTreeSet;

use cases::all::{self, Visitor};
use cases::case::Case;

/// Turns that each case takes: more than there are viewers.
const TURNS: u64 = 100;

#[derive(Default)]
struct Checked(BTreeSet<String>);

impl Visitor for Checked {
    fn visit<C: Case>(&mut self, group: &str, name: &str, make: fn() -> C) {
        let case = make();
        for turn in 0..TURNS {
            assert_eq!(case.run(turn), case.expected(), "{group}/{name}, turn {turn}");
        }
        assert!(self.0.insert(format!("{group}/{name}")), "{group}/{name} stands twice");
    }

    fn visit_threads<C: Case + Sync>(&mut self, group: &str, name: &str, threads: usize, make: fn() -> C) {
        let case = make();
        std::thread::scope(|scope| {
            for place in 0..threads as u64 {
                let case = &case;
                scope.spawn(move || {
                    for turn in place * TURNS..(place + 1) * TURNS {
                        assert_eq!(case.run(turn), case.expected(), "{group}/{name}, turn {turn}");
                    }
                });
            }
        });
        assert!(self.0.insert(format!("{group}/{name}")), "{group}/{name} stands twice");
    }
}

#[test]
fn every_micro_benchmark_does_what_it_is_named_after() {
    let mut checked = Checked::default();
    all::visit(&mut checked);
    for group in ["key", "token", "store", "freshness", "range", "playlist", "hit"] {
        assert!(checked.0.iter().any(|case| case.starts_with(&format!("{group}/"))), "no case of {group}");
    }
}
