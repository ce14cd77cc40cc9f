#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Instant;

use super::names::{CODES, METRICS};
use super::*;
use crate::clock::Clock;
use crate::hls;
use crate::key::Key;
use crate::observe::record::tests::hit;
use crate::playlists::Playlists;

fn text(metrics: &Metrics) -> String {
    String::from_utf8(metrics.render().unwrap()).unwrap()
}

/// The lines of one family that carry values, without histogram buckets.
fn lines<'a>(text: &'a str, family: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(family) && !line.contains("_bucket{")).collect()
}

#[test]
fn a_request_is_counted_in_every_family_it_belongs_to() {
    let metrics = Metrics::new(&["a.example", "b.example"]).unwrap();
    let record = Record { site: Some(1), ..hit() };
    metrics.record(&record);
    metrics.record(&Record { status: 206, bytes: 4, ..record });
    let text = text(&metrics);
    assert_eq!(
        lines(&text, "forebay_requests_total"),
        [
            "forebay_requests_total{code=\"200\",kind=\"segment\",outcome=\"hit\",site=\"b.example\"} 1",
            "forebay_requests_total{code=\"206\",kind=\"segment\",outcome=\"hit\",site=\"b.example\"} 1",
        ]
    );
    assert_eq!(
        lines(&text, "forebay_response_bytes_total"),
        ["forebay_response_bytes_total{kind=\"segment\",outcome=\"hit\",site=\"b.example\"} 4100"]
    );
    let count = "_count{kind=\"segment\",outcome=\"hit\",site=\"b.example\"} 2";
    assert!(text.contains(&format!("forebay_time_to_first_byte_seconds{count}")), "{text}");
    assert!(text.contains(&format!("forebay_request_duration_seconds{count}")), "{text}");
    assert!(text.contains("le=\"0.00005\"") && text.contains("le=\"30\""), "{text}");
}

#[test]
fn a_combination_nobody_touched_has_no_series() {
    let metrics = Metrics::new(&["a.example"]).unwrap();
    let untouched = text(&metrics);
    for family in ["forebay_requests_total", "forebay_response_bytes_total", "forebay_token_denied_total"] {
        assert_eq!(lines(&untouched, family), Vec::<&str>::new());
    }
    metrics.record(&hit());
    assert_eq!(lines(&text(&metrics), "forebay_requests_total").len(), 1);
    assert!(!text(&metrics).contains("outcome=\"miss\""));
}

#[test]
fn a_request_without_a_site_and_a_rare_status_have_words_of_their_own() {
    let metrics = Metrics::new(&["a.example"]).unwrap();
    metrics.record(&Record { site: None, status: 421, outcome: Outcome::Denied, kind: Kind::Other, ..hit() });
    for status in [0, 299, 599, 600, 999, u16::MAX] {
        metrics.record(&Record { status, ..hit() });
    }
    let text = text(&metrics);
    assert_eq!(
        lines(&text, "forebay_requests_total"),
        [
            "forebay_requests_total{code=\"421\",kind=\"other\",outcome=\"denied\",site=\"none\"} 1",
            "forebay_requests_total{code=\"other\",kind=\"segment\",outcome=\"hit\",site=\"a.example\"} 6",
        ]
    );
}

#[test]
fn latencies_fall_into_their_buckets_and_the_counts_of_all_threads_are_added_up() {
    let metrics = Metrics::new(&["a.example"]).unwrap();
    let nanos = [0, 50_000, 50_001, 2_500_000, 30_000_000_000, 30_000_000_001];
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                for nanos in nanos {
                    let total = Duration::from_nanos(nanos);
                    metrics.record(&Record { total, first_byte: None, bytes: 3, ..hit() });
                }
            });
        }
    });
    let text = text(&metrics);
    let labels = "kind=\"segment\",outcome=\"hit\",site=\"a.example\"";
    for (bound, count) in [
        ("0.00005", 40),
        ("0.0001", 60),
        ("0.001", 60),
        ("0.0025", 80),
        ("10", 80),
        ("30", 100),
        ("+Inf", 120),
    ] {
        let line = format!("forebay_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}\n");
        assert!(text.contains(&line), "{line} in {text}");
    }
    assert!(text.contains(&format!("forebay_request_duration_seconds_count{{{labels}}} 120\n")), "{text}");
    assert!(text.contains(&format!("forebay_request_duration_seconds_sum{{{labels}}} 1200.052")), "{text}");
    assert!(text.contains(&format!("forebay_response_bytes_total{{{labels}}} 360\n")), "{text}");
    assert!(!text.contains("forebay_time_to_first_byte_seconds"), "nothing was answered: {text}");
}

#[test]
fn every_listed_code_has_its_own_label() {
    let metrics = Metrics::new(&["a.example"]).unwrap();
    for status in CODES {
        metrics.record(&Record { status, ..hit() });
    }
    let text = text(&metrics);
    for status in CODES {
        let line = format!(
            "forebay_requests_total{{code=\"{status}\",kind=\"segment\",outcome=\"hit\",site=\"a.example\"}} 1"
        );
        assert!(text.contains(&line), "{line} in {text}");
    }
}

#[test]
fn only_refusals_for_the_token_are_token_denials_and_their_reasons_are_bounded() {
    let metrics = Metrics::new(&["a.example"]).unwrap();
    let denied = Record { outcome: Outcome::Denied, status: 403, ..hit() };
    metrics.record(&Record { denial: Some(Denial::Token("expired")), ..denied });
    metrics.record(&Record { denial: Some(Denial::Token("path")), ..denied });
    metrics.record(&Record { denial: Some(Denial::Token("expired")), ..denied });
    metrics.record(&Record { denial: Some(Denial::Other("method")), ..denied });
    assert_eq!(
        lines(&text(&metrics), "forebay_token_denied_total"),
        [
            "forebay_token_denied_total{reason=\"expired\",site=\"a.example\"} 2",
            "forebay_token_denied_total{reason=\"path\",site=\"a.example\"} 1",
        ]
    );
    for number in 0..100 {
        let reason: &'static str = Box::leak(format!("reason{number}").into_boxed_str());
        metrics.record(&Record { denial: Some(Denial::Token(reason)), ..denied });
    }
    let text = text(&metrics);
    assert_eq!(lines(&text, "forebay_token_denied_total").len(), REASONS_MAX + 1);
    assert!(text.contains("forebay_token_denied_total{reason=\"other\",site=\"a.example\"} 70"), "{text}");
}

#[test]
fn coalesced_requests_and_their_waits_and_timeouts_are_counted_per_site() {
    let metrics = Metrics::new(&["a.example"]).unwrap();
    metrics.record(&hit());
    let wait = Some(Duration::from_millis(500));
    metrics.record(&Record { outcome: Outcome::Coalesced, coalesce_wait: wait, ..hit() });
    metrics.record(&Record { outcome: Outcome::Error, coalesce_wait: wait, status: 503, ..hit() });
    metrics.coalesce_timeout(Some(0));
    let text = text(&metrics);
    assert!(text.contains("forebay_coalesced_requests_total{site=\"a.example\"} 2"), "{text}");
    assert!(text.contains("forebay_coalesce_wait_seconds_sum{site=\"a.example\"} 1\n"), "{text}");
    assert!(text.contains("forebay_coalesce_timeouts_total{site=\"a.example\"} 1"), "{text}");
}

#[test]
fn the_node_tells_its_version_its_process_and_its_last_reload() {
    let metrics = Metrics::new(&[]).unwrap();
    metrics.connections().set(3);
    metrics.connections_refused().inc();
    metrics.config_reloaded(false);
    let text = text(&metrics);
    let version = concat!("forebay_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1");
    assert!(text.contains(version), "{text}");
    assert!(text.contains("\nforebay_connections 3\n"), "{text}");
    assert!(text.contains("\nforebay_connections_refused_total 1\n"), "{text}");
    assert!(text.contains("\nforebay_config_last_reload_successful 0\n"), "{text}");
    assert!(text.contains("\nforebay_access_log_dropped_total 0\n"), "{text}");
    #[cfg(target_os = "linux")]
    assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
}

#[test]
fn metric_names_are_unique_prefixed_and_end_in_their_unit() {
    let names: BTreeSet<_> = METRICS.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), METRICS.len());
    for family in METRICS {
        assert!(family.name.starts_with("forebay_"), "{}", family.name);
        assert!(family.help.ends_with('.'), "{}", family.name);
        if family.unit == "seconds" {
            assert!(family.name.ends_with("_seconds"), "{}", family.name);
        }
    }
}

#[test]
fn every_listed_family_is_registered_under_its_name_and_help() {
    let metrics = Metrics::new(&["a.example"]).unwrap();
    let viewers = crate::observe::Viewers::new(&["a.example"], Instant::now());
    viewers.register(metrics.registry()).unwrap();
    viewers.record(&hit(), Instant::now());
    let (playlists, clock) = (Arc::new(Playlists::new(1, 1)), Clock::system());
    let key = Key { hash: 0, text: "a.example /v.m3u8".into() };
    let playlist = playlists.get_or_insert(&key.text);
    playlist.learn(hls::read::read(b"#EXTM3U\n").unwrap(), &key, clock.now(), false);
    playlist.mark_asked(clock.now());
    crate::observe::Staleness::register(&playlists, &viewers, &clock, metrics.registry()).unwrap();
    metrics.record(&Record { outcome: Outcome::Coalesced, denial: Some(Denial::Token("expired")), ..hit() });
    metrics.coalesce_timeout(None);
    metrics.parked(Some(0)).inc();
    metrics.parking_refused(Some(0), "parked");
    metrics.late_hold(Some(0));
    metrics.jwks_refresh("viewer", "changed");
    metrics.proxy_protocol_refused("missing").inc();
    metrics.health_checks("200").inc();
    let text = text(&metrics);
    for family in METRICS {
        assert!(text.contains(&format!("# HELP {} {}\n", family.name, family.help)), "{}", family.name);
    }
    for line in text.lines().filter(|line| line.starts_with("# HELP forebay_")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(METRICS.iter().any(|family| family.name == name), "{name} is not in the table");
    }
}

/// Rules and dashboard name only what exists: families of the table, those that origins, disks and fleets register, and rules of
/// the file itself.
#[test]
fn rules_and_dashboard_name_only_metrics_that_exist() {
    let rules = include_str!("../../../conf/prometheus/rules.yml");
    let dashboard = include_str!("../../../conf/grafana/forebay.json");
    let others = [
        "forebay_cache_bytes",
        "forebay_cache_evictions_total",
        "forebay_prefetch_bytes_total",
        "forebay_origin_breaker_state",
        "forebay_origin_certificate_expiry_seconds",
        "forebay_origin_ejected",
        "forebay_origin_errors_total",
        "forebay_origin_fallbacks_total",
        "forebay_origin_first_byte_seconds",
        "forebay_origin_requests_total",
        "forebay_origin_response_bytes_total",
        "forebay_disk_out",
        "forebay_disk_corrupt_total",
        "forebay_disk_writes_shed_total",
        "forebay_fleet_config_versions",
        "forebay_fleet_nodes",
        "forebay_fleet_outbox_purges",
        "forebay_fleet_purges_total",
        "forebay_fleet_watermark_seconds",
        "forebay_hop_behind_total",
        "forebay_hop_refused_total",
        "forebay_hop_requests_total",
        "forebay_loops_total",
        "forebay_origin_queued_requests",
        "forebay_origin_rate_limited_total",
        "forebay_origin_resumes_total",
        "forebay_origin_retry_budget_exhausted_total",
        "forebay_origin_servers",
        "forebay_peer_requests_total",
        "forebay_purge_forwards_pending",
        "forebay_purge_forwards_total",
        "forebay_fleet_expired_total",
        "forebay_fleet_up",
        "forebay_playlist_guarded_total",
        "forebay_stream_restarts_total",
        "forebay_token_replays_full_total",
        "forebay_token_revocations_lost_total",
    ];
    let recorded: BTreeSet<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    assert!(recorded.len() >= 4, "{recorded:?}");
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    for text in [rules, dashboard] {
        let mut seen = 0;
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            for word in line.split(|c| !is_name(c)).filter(|word| word.contains("forebay_")) {
                let family = ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end));
                let family = family.unwrap_or(word);
                let known = METRICS.iter().any(|known| known.name == family);
                assert!(known || others.contains(&family) || recorded.contains(word), "{word}");
                seen += 1;
            }
        }
        assert!(seen > 10);
    }
    // Where an origin fails, nodes lose each other or purges wait, both say so.
    for family in [
        "forebay_origin_breaker_state",
        "forebay_origin_ejected",
        "forebay_origin_fallbacks_total",
        "forebay_origin_resumes_total",
        "forebay_hop_refused_total",
        "forebay_loops_total",
        "forebay_peer_requests_total",
        "forebay_fleet_up",
        "forebay_fleet_watermark_seconds",
        "forebay_fleet_config_versions",
        "forebay_purge_forwards_pending",
    ] {
        assert!(rules.contains(family) && dashboard.contains(family), "{family}");
    }
}

/// No two panels of the dashboard have one number, or lie on each other.
#[test]
fn panels_of_the_dashboard_are_apart() {
    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../../conf/grafana/forebay.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut numbers, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(numbers.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let grid = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for y in grid("y")..grid("y") + grid("h") {
            for x in grid("x")..grid("x") + grid("w") {
                assert!(x < 24 && places.insert((x, y)), "{panel}");
            }
        }
    }
}
