#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

/// The steering of a configuration with these lines in its section.
fn steering(lines: &str) -> Steering {
    let text = format!(
        "[server]\nhttp = [\"127.0.0.1:0\"]\n[origin.main]\nservers = [\"http://127.0.0.1:1\"]\n\
         [[site]]\nhosts = [\"*\"]\norigin = \"main\"\nsteering = \"cdns\"\n[steering.cdns]\n{lines}"
    );
    let config = crate::config::parse(&text, Path::new("test.toml")).unwrap();
    Steering::new(config.steering[0].clone())
}

const THREE: &str = "pathways = [{ id = \"a\" }, { id = \"edge\", node = true }, { id = \"b\", host = \"b.example:8443\", params = { cdn = \"b\" } }]\n";
const WELL: Standing = Standing { ready: true, has_origin: true };

fn weighted(weights: [u32; 3]) -> Steering {
    let [edge, b, c] = weights;
    steering(&format!(
        "pathways = [{{ id = \"edge\", node = true, weight = {edge} }}, {{ id = \"b\", weight = {b} }}, {{ id = \"c\", weight = {c} }}]"
    ))
}

fn manifest(steering: &Steering, standing: Standing, player: u64, query: Option<&str>) -> Value {
    let reload = steering.reload_uri(standing, query);
    serde_json::from_str(&steering.manifest(&steering.order(standing, player), reload.as_deref())).unwrap()
}

#[test]
fn a_manifest_has_the_members_of_the_specification_and_no_others() {
    let steering = steering(&format!("ttl = \"30s\"\n{THREE}"));
    let expected = json!({
        "VERSION": 1,
        "TTL": 30,
        "PATHWAY-PRIORITY": ["a", "edge", "b"],
        "PATHWAY-CLONES": [{
            "BASE-ID": "edge", "ID": "b",
            "URI-REPLACEMENT": { "HOST": "b.example:8443", "PARAMS": { "cdn": "b" } },
        }],
    });
    assert_eq!(manifest(&steering, WELL, 1, Some("x=1")), expected);
}

#[test]
fn without_replacements_there_are_no_clones() {
    let steering = steering("pathways = [{ id = \"edge\", node = true }, { id = \"b\" }]");
    let expected = json!({ "VERSION": 1, "TTL": 300, "PATHWAY-PRIORITY": ["edge", "b"] });
    assert_eq!(manifest(&steering, WELL, 1, None), expected);
}

#[test]
fn the_own_pathway_comes_last_while_the_node_cannot_do_it_and_stays_in_the_list() {
    let steering = steering(THREE);
    for standing in [Standing { ready: false, ..WELL }, Standing { has_origin: false, ..WELL }] {
        assert_eq!(steering.order(standing, 7), [0, 2, 1], "{standing:?}");
    }
    assert_eq!(steering.order(WELL, 7), [0, 1, 2]);
}

#[test]
fn a_node_that_drains_sends_players_to_its_successor_with_their_token() {
    let steering = steering(&format!("successor = \"https://b.example/steer?n=1\"\n{THREE}"));
    let drains = Standing { ready: false, ..WELL };
    let query = "hdnts=exp~1&_HLS_pathway=edge&_HLS_throughput=5";
    assert_eq!(
        manifest(&steering, drains, 1, Some(query))["RELOAD-URI"],
        "https://b.example/steer?n=1&hdnts=exp~1"
    );
    assert_eq!(
        manifest(&steering, drains, 1, Some("_HLS_pathway=edge"))["RELOAD-URI"],
        "https://b.example/steer?n=1"
    );
    assert_eq!(manifest(&steering, WELL, 1, Some(query)).get("RELOAD-URI"), None);
}

#[test]
fn overload_ends_only_well_below_the_bounds() {
    let steering =
        steering(&format!("overload = {{ viewers = 100, connections = 50, until = 80 }}\n{THREE}"));
    let observe = |viewers, connections| steering.observe(&Load { viewers, connections, egress: 0 });
    assert!(!observe(100, 50), "at the bound is not beyond it");
    assert!(observe(101, 0));
    assert_eq!(steering.order(WELL, 1), [0, 2, 1]);
    assert!(observe(100, 0) && observe(80, 0), "still too near");
    assert!(observe(79, 51), "another bound holds it");
    assert!(observe(79, 40));
    assert!(!observe(79, 39));
    assert_eq!(steering.order(WELL, 1), [0, 1, 2]);
    assert!(!observe(100, 50), "and begins beyond the bound again");
    assert!(observe(0, 51));
}

#[test]
fn what_is_sent_is_a_load_of_its_own() {
    let steering = steering(&format!("overload = {{ egress = \"8Mbit/s\", until = 50 }}\n{THREE}"));
    let observe = |egress| steering.observe(&Load { viewers: 1_000_000, connections: 1_000_000, egress });
    for (egress, overloaded) in
        [(8_000_000, false), (8_000_001, true), (4_000_000, true), (3_999_999, false), (8_000_000, false)]
    {
        assert_eq!(observe(egress), overloaded, "{egress}");
        assert_eq!(steering.is_overloaded(), overloaded, "{egress}");
    }
}

/// 10,000 players, told apart by address and agent: each share is within 2 percent of all of what its weight says (more than
/// four standard deviations), and each player has its place again on another node with the same configuration.
#[test]
fn weights_hold_their_shares_of_ten_thousand_players() {
    let (node, other) = (weighted([70, 20, 10]), weighted([70, 20, 10]));
    let mut first = [0_u32; 3];
    let mut second_of_edge = [0_u32; 3];
    for number in 0..10_000_u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
        let told_by: &[&[u8]] = &[b"client", address.as_bytes(), b"agent"];
        let order = node.order(WELL, node.player(told_by));
        assert_eq!(order, other.order(WELL, other.player(told_by)));
        first[order[0]] += 1;
        if order[0] == 0 {
            second_of_edge[order[1]] += 1;
        }
    }
    for (share, weight) in first.iter().zip([7_000_u32, 2_000, 1_000]) {
        assert!(share.abs_diff(weight) <= 200, "{first:?}");
    }
    // Whom the node gives away is shared by the others as their weights say: 2 to 1.
    let (b, c) = (f64::from(second_of_edge[1]), f64::from(second_of_edge[2]));
    assert!((1.7..2.4).contains(&(b / c)), "{second_of_edge:?}");
}

#[test]
fn a_weight_of_nothing_comes_last_for_everybody() {
    let steering = weighted([1, 0, 1]);
    assert!((0..1000).all(|player| steering.order(WELL, player)[2] == 1));
}

#[test]
fn what_players_say_is_read_and_bounded() {
    let steering = steering(THREE);
    let reports = |query: &str| reports(query, steering.pathways());
    assert_eq!(reports("x=1&_HLS_pathway=edge&_HLS_throughput=5140000"), [(1, 5_140_000)]);
    let dash = "_DASH_pathway=%22b,a%22&_DASH_throughput=8000,9000";
    assert_eq!(reports(dash), [(2, 8000), (0, 9000)]);
    assert_eq!(reports(&format!("_HLS_pathway=a&_HLS_throughput={THROUGHPUT_MAX}")), [(0, THROUGHPUT_MAX)]);
    for malformed in [
        "_HLS_pathway=edge",
        "_HLS_throughput=1",
        "_HLS_pathway=&_HLS_throughput=",
        "_HLS_pathway=nobody&_HLS_throughput=1",
        "_HLS_pathway=edge&_HLS_throughput=-1",
        "_HLS_pathway=edge&_HLS_throughput=+1",
        "_HLS_pathway=edge&_HLS_throughput=1.5",
        "_HLS_pathway=edge&_HLS_throughput=1000000000001",
        "_HLS_pathway=edge&_HLS_throughput=99999999999999999999999",
        "_HLS_pathway=%ff&_HLS_throughput=1",
        "_HLS_pathway&_HLS_throughput",
    ] {
        assert_eq!(reports(malformed), [], "{malformed}");
    }
    let many = |value: &str| vec![value; REPORTS_MAX + 5].join(",");
    let query = format!("_DASH_pathway={}&_DASH_throughput={}", many("a"), many("1"));
    assert_eq!(reports(&query).len(), REPORTS_MAX);
    let long = format!("_DASH_pathway={}&_DASH_throughput=1", "a,".repeat(5000));
    assert_eq!(reports(&long), []);
}

proptest! {
    /// Whatever the weights, the player and the standing: every pathway is named once; a player whose first pathway is not
    /// this node's keeps it when the node is demoted.
    #[test]
    fn an_order_names_each_pathway_once_and_moves_nobody_without_need(
        weights in prop::array::uniform3(0..=1000_u32),
        player: u64,
        ready: bool,
        has_origin: bool,
    ) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let steering = weighted(weights);
        let standing = Standing { ready, has_origin };
        let (well, now) = (steering.order(WELL, player), steering.order(standing, player));
        let mut sorted = now.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, [0, 1, 2]);
        if standing == WELL || well[0] != 0 {
            prop_assert_eq!(well[0], now[0]);
        }
        if standing != WELL {
            prop_assert_eq!(now[2], 0);
        }
    }

    #[test]
    fn no_query_of_a_player_breaks_anything(query in "[ -~]{0,200}", extra in "[_A-Za-z=,&%\"0-9]{0,80}") {
        let steering = steering(THREE);
        let query = format!("{query}&_HLS_pathway=edge&_DASH_throughput={extra}");
        let told = reports(&query, steering.pathways());
        prop_assert!(told.len() <= REPORTS_MAX && told.iter().all(|(place, bits)| *place < 3 && *bits <= THROUGHPUT_MAX));
        let left = without_directives(&query);
        prop_assert!(!left.split('&').any(|parameter| parameter.starts_with("_HLS_") || parameter.starts_with("_DASH_")));
    }
}
