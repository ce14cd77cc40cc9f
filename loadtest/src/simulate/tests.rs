//! What the model promises.
#![allow(clippy::unwrap_used, reason = "tests")]

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    sizes: Arguments,
}

fn sum_of(counts: &[u64]) -> u64 {
    counts.iter().sum()
}

fn sizes(words: &str) -> Arguments {
    Line::parse_from(["simulate"].into_iter().chain(words.split_whitespace())).sizes
}

/// A thousand times as many viewers, and the origin is asked as often: live objects are fetched once in their time of life.
#[test]
fn the_origin_is_asked_as_often_whatever_the_number_of_viewers() {
    let sizes = sizes("--edges 7 --shields 2 --channels 3 --variants 2 --rounds 5 --on-demand 0");
    for seed in 1..=3 {
        let sizes = Arguments { seed, ..sizes.clone() };
        let (few, many) = (simulate(&sizes, 100), simulate(&sizes, 100_000));
        assert_eq!(sum_of(&many.edges), 1000 * sum_of(&few.edges), "seed {seed}");
        assert!(many.live <= sizes.live_most(), "seed {seed}: {} requests", many.live);
        assert!(many.live as f64 <= 1.1 * few.live as f64, "seed {seed}: {} after {}", many.live, few.live);
        // What edges ask of each other is bounded by the nodes, not by viewers: a copy for each, and the first request.
        assert!(sum_of(&many.owners) <= 2 * 7 * sizes.live_most(), "seed {seed}: {:?}", many.owners);
        // Without owners each edge asks.
        assert!(many.alone > 5 * many.live, "seed {seed}: {} beside {}", many.alone, many.live);
    }
}

/// Nothing of the catalogue is fetched twice, though most of it is asked for more than once.
#[test]
fn an_object_of_the_catalogue_is_fetched_once() {
    let sizes = sizes("--catalogue 300 --on-demand 100 --rounds 10");
    let counts = simulate(&sizes, 2_000);
    assert_eq!((counts.live, sum_of(&counts.edges)), (0, 20_000));
    assert!((290..=300).contains(&counts.on_demand), "{counts:?}");
}

#[test]
fn the_same_seed_says_the_same_and_another_another() {
    let first = sizes("");
    assert_eq!(simulate(&first, 500), simulate(&first, 500));
    assert_ne!(simulate(&first, 500), simulate(&Arguments { seed: 2, ..first }, 500));
}

/// A node that joins takes its share of the keys and no more, and one that leaves gives its share away; between the others
/// nothing moves.
#[test]
fn keys_move_to_a_node_that_joins_and_from_one_that_leaves_and_no_others() {
    for nodes in [2, 5, 12, 40] {
        for (more, share) in [(true, 1.0 / f64::from(nodes + 1)), (false, 1.0 / f64::from(nodes))] {
            let moved = moved(nodes, more);
            assert!(
                (0.5 * share..=1.6 * share).contains(&moved.all),
                "{nodes} nodes: {moved:?}, not {share}"
            );
            assert!(moved.needless < 0.001, "{nodes} nodes: {moved:?}");
        }
    }
}

#[test]
fn popularity_is_that_of_zipf() {
    let shares = popularity(3, 1.0);
    let expected = [6.0 / 11.0, 9.0 / 11.0, 1.0];
    assert!(shares.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-12), "{shares:?}");
    let mut random = Random(1);
    let mut drawn = [0_u32; 3];
    for _ in 0..11_000 {
        drawn[random.pick(&shares) as usize] += 1;
    }
    assert!((5_700..6_300).contains(&drawn[0]) && (1_800..2_200).contains(&drawn[2]), "{drawn:?}");
}

#[test]
fn numbers_are_grouped() {
    assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
}
