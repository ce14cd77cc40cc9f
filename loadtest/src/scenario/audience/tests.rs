#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::scenario::file;

/// A scenario with these arrivals (inline tables) and these other lines at its top.
fn scenario(top: &str, arrivals: &str, tables: &str) -> Scenario {
    let text = format!(
        "duration = \"100s\"\n{top}\n[audience]\nstay = \"20s\"\narrivals = [{arrivals}]\n\
         [[stream]]\nname = \"film\"\nkind = \"vod\"\ncount = 50\n{tables}"
    );
    file::parse("test", &text).unwrap()
}

fn seconds(tickets: &[Ticket]) -> Vec<f64> {
    tickets.iter().map(|ticket| ticket.arrives.as_secs_f64()).collect()
}

/// What is random about a viewer, without what depends on the others.
fn alone(ticket: &Ticket) -> (u64, Option<Duration>, usize, usize) {
    (ticket.seed, ticket.stays, ticket.group, ticket.title)
}

#[test]
fn the_same_seed_gives_the_same_tickets_and_another_one_others() {
    let one = tickets(&scenario("seed = 5", "{ viewers = 100, over = \"10s\", spread = \"random\" }", ""));
    assert_eq!(
        one,
        tickets(&scenario("seed = 5", "{ viewers = 100, over = \"10s\", spread = \"random\" }", ""))
    );
    let other = tickets(&scenario("seed = 6", "{ viewers = 100, over = \"10s\", spread = \"random\" }", ""));
    assert!(one.iter().zip(&other).all(|(one, other)| one.seed != other.seed));
}

#[test]
fn tickets_are_numbered_in_order_of_arrival_and_no_two_have_one_seed() {
    let all = tickets(&scenario(
        "",
        "{ at = \"50s\", viewers = 500, over = \"20s\", spread = \"rush\" }, { viewers = 500, over = \"90s\", spread = \"random\" }",
        "",
    ));
    assert_eq!(all.len(), 1_000);
    assert!(all.is_sorted_by_key(|ticket| ticket.arrives));
    assert!(all.iter().zip(0..).all(|(ticket, number)| ticket.viewer == number));
    let seeds: std::collections::BTreeSet<u64> = all.iter().map(|ticket| ticket.seed).collect();
    assert_eq!(seeds.len(), all.len());
}

#[test]
fn who_comes_too_changes_nothing_about_a_viewer() {
    let few = scenario("", "{ viewers = 10, over = \"10s\", spread = \"rush\" }", "");
    let many = scenario(
        "",
        "{ viewers = 1000, over = \"10s\", spread = \"rush\" }, { viewers = 5, at = \"1s\" }",
        "",
    );
    let many = tickets(&many);
    for ticket in tickets(&few) {
        assert!(many.iter().any(|other| other.arrives == ticket.arrives && alone(other) == alone(&ticket)));
    }
}

#[test]
fn how_viewers_are_spread_changes_only_when_they_come() {
    let of = |spread: &str| {
        let mut all =
            tickets(&scenario("", &format!("{{ viewers = 50, over = \"10s\", spread = \"{spread}\" }}"), ""));
        all.sort_by_key(|ticket| ticket.seed);
        all.iter().map(alone).collect::<Vec<_>>()
    };
    assert_eq!(of("even"), of("random"));
    assert_eq!(of("even"), of("rush"));
}

#[test]
fn even_arrivals_are_at_equal_distances() {
    let all = tickets(&scenario("", "{ at = \"10s\", over = \"20s\", viewers = 5 }", ""));
    assert_eq!(seconds(&all), [10.0, 14.0, 18.0, 22.0, 26.0]);
}

#[test]
fn random_arrivals_are_uniform_and_a_rush_has_most_in_the_middle() {
    // Shares of the viewers who have come by a quarter, a half and three quarters of the time.
    for (spread, expected) in [("random", [0.25, 0.5, 0.75]), ("rush", [0.1464, 0.5, 0.8536])] {
        let arrivals = format!("{{ at = \"10s\", over = \"40s\", viewers = 20000, spread = \"{spread}\" }}");
        let all = seconds(&tickets(&scenario("", &arrivals, "")));
        assert!(all[0] >= 10.0 && *all.last().unwrap() <= 50.0);
        for (by, expected) in [20.0, 30.0, 40.0].into_iter().zip(expected) {
            let share = all.iter().filter(|at| **at < by).count() as f64 / all.len() as f64;
            assert!((share - expected).abs() < 0.02, "{spread}: {share} by {by}s, not {expected}");
        }
    }
}

#[test]
fn stays_are_exponential_with_the_mean_that_is_written() {
    let all = tickets(&scenario("", "{ viewers = 20000 }", ""));
    let stays: Vec<f64> = all.iter().map(|ticket| ticket.stays.unwrap().as_secs_f64()).collect();
    let mean = stays.iter().sum::<f64>() / stays.len() as f64;
    assert!((mean - 20.0).abs() < 1.0, "{mean}");
    let longer = stays.iter().filter(|stay| **stay > 20.0).count() as f64 / stays.len() as f64;
    assert!((longer - (-1.0_f64).exp()).abs() < 0.02, "{longer}");
}

#[test]
fn groups_have_their_shares_of_the_audience() {
    let groups = "[[group]]\nname = \"a\"\nshare = 3\n[[group]]\nname = \"b\"\n";
    let scenario = scenario("", "{ viewers = 20000 }", groups);
    let of_first = tickets(&scenario).iter().filter(|ticket| ticket.group == 0).count() as f64;
    assert!((of_first / 20_000.0 - 0.75).abs() < 0.02, "{of_first}");
    assert_eq!(pick(&scenario.groups, 0.999_999_999), 1);
    assert_eq!(pick(&scenario.groups, 1.0), 1);
}
