#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use super::model::{AccessLog, HostPattern};
use super::{Config, parse};

const MINIMAL: &str = include_str!("../../conf/examples/minimal.toml");

fn minimal() -> Config {
    parse(MINIMAL, Path::new("minimal.toml")).unwrap()
}

fn mistakes(text: &str) -> String {
    parse(text, Path::new("f.toml")).unwrap_err().to_string()
}

#[test]
fn the_minimal_file_loads_with_every_default() {
    let config = minimal();
    assert_eq!(config.server.http, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(config.server.admin, Some("127.0.0.1:9090".parse().unwrap()));
    assert_eq!(config.server.threads, None);
    assert!(!config.server.h2c);
    assert_eq!(config.server.request_timeout, Duration::from_secs(10));
    assert_eq!(config.server.idle_timeout, Duration::from_secs(60));
    assert_eq!(config.server.write_timeout, Duration::from_secs(30));
    assert_eq!(config.server.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.store.memory, 1 << 30);
    let limits = &config.limits;
    assert_eq!((limits.connections, limits.waiters, limits.request_target), (100_000, 100_000, 8192));
    assert_eq!((limits.playlist, limits.window), (4 << 20, 8 << 20));
    assert_eq!((limits.object_share, limits.abandon_below), (10, 50));
    assert_eq!(limits.coalesce_wait, Duration::from_secs(10));
    assert_eq!(limits.uncacheable_memory, Duration::from_secs(60));
    assert_eq!((&config.log.access, config.log.queue), (&AccessLog::Stdout, 8192));
    let origin = &config.origins[0];
    assert_eq!((origin.name.as_str(), origin.servers[0].authority()), ("main", "127.0.0.1:8000".to_owned()));
    assert_eq!((origin.limits.connections, origin.limits.queue_length), (256, 10_000));
    assert_eq!(
        (origin.limits.queue, origin.timeouts.connect),
        (Duration::from_secs(2), Duration::from_secs(2))
    );
    assert_eq!((origin.retry.attempts, origin.retry.on_connect), (2, true));
    assert_eq!(origin.retry.on_status, [502, 503, 504]);
    assert_eq!(origin.retry.resume, 3);
    let site = &config.sites[0];
    assert_eq!((site.name.as_str(), site.hosts.as_slice()), ("*", [HostPattern::Any].as_slice()));
    assert_eq!(site.methods, ["GET", "HEAD", "OPTIONS"]);
}

#[test]
fn every_mistake_of_a_file_is_reported_in_the_order_of_its_lines() {
    let text = "[server]\nhtpp = ['127.0.0.1:0']\nthreads = '4'\n[store]\nmemory = '1GB'\n[origin.main]\n\
                servers = ['ftp://a']\n[[site]]\nhosts = ['*']\norigin = 'mian'\n\
                [[site.rule]]\nttl = 5\nbypas = true\n";
    let mistakes = mistakes(text);
    let places: Vec<_> =
        mistakes.lines().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        places,
        [
            "f.toml:2 server.htpp",
            "f.toml:3 server.threads",
            "f.toml:5 store.memory",
            "f.toml:7 origin.main.servers[0]",
            "f.toml:10 site[0].origin",
            "f.toml:12 site[0].rule[0].ttl",
            "f.toml:13 site[0].rule[0].bypas",
        ],
        "{mistakes}"
    );
}

#[test]
fn keys_are_found_on_their_lines_however_tables_are_written() {
    let text = "site = [\n  { hosts = ['*'],\n    origin = 'a',\n    rule = [{ path = '/a' },\n      { ttl = 'x' }] }]\n\
                server.http = ['127.0.0.1:0']\norigin.a.servers = ['http://a']\norigin.a.retry.attempts = 0\n";
    let mistakes = mistakes(text);
    assert!(mistakes.starts_with("f.toml:5: site[0].rule[1].ttl: "), "{mistakes}");
    assert!(mistakes.contains("\nf.toml:8: origin.a.retry.attempts: "), "{mistakes}");
    assert_eq!(mistakes.lines().count(), 2, "{mistakes}");
}

#[test]
fn a_window_that_is_not_written_gives_way_to_a_small_store() {
    let small = MINIMAL.replace("1GiB", "16MiB");
    let config = parse(&small, Path::new("f.toml")).unwrap();
    assert_eq!(config.limits.window, 4 << 20);
    let written = format!("{small}\n[limits]\nwindow = '8MiB'\n");
    assert!(mistakes(&written).contains("limits.window: \"8MiB\" is more than a quarter of store.memory"));
}

#[test]
fn one_kind_or_status_may_stand_without_brackets() {
    let text = format!("{MINIMAL}\n[[site.rule]]\nkind = 'segment'\nstatus = 404\nttl = '1s'\n");
    let rule = &parse(&text, Path::new("f.toml")).unwrap().sites[0].rules[0];
    assert_eq!(
        (rule.kinds.as_slice(), rule.status.as_slice()),
        ([crate::asset::Kind::Segment].as_slice(), [404].as_slice())
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake_of_its_own() {
    let error = super::load(Path::new("/nonexistent/forebay.toml")).unwrap_err().to_string();
    assert_eq!(
        error,
        "/nonexistent/forebay.toml:1: cannot be read: No such file or directory (os error 2); \
         name a configuration file that can be read"
    );
}

/// Any text yields a model or mistakes, never a panic; cut-off files are the likely ones.
#[test]
fn no_prefix_of_a_file_makes_the_reader_panic() {
    for end in (0..MINIMAL.len()).filter(|end| MINIMAL.is_char_boundary(*end)) {
        if let Err(mistakes) = parse(&MINIMAL[..end], Path::new("f.toml")) {
            assert!(!mistakes.0.is_empty());
        }
    }
}
