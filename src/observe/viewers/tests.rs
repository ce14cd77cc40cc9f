#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::observe::record::tests::hit;

/// Viewers told apart by a fixed key, so that estimates are the same in every run.
type Fixed = Viewers<BuildHasherDefault<DefaultHasher>>;

fn viewers(sites: &[&str]) -> (Fixed, Instant) {
    let start = Instant::now();
    (Viewers::with_identity(sites, start, BuildHasherDefault::default()), start)
}

fn counts<S: BuildHasher>(viewers: &Viewers<S>, now: Instant) -> Vec<(String, u64)> {
    viewers.snapshot(now).into_iter().map(|stream| (stream.stream, stream.viewers)).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_request_belongs_to_the_longest_known_directory_above_it() {
    let (viewers, now) = viewers(&["a.example"]);
    viewers.learn(0, "/live/", now);
    viewers.learn(0, "/live/ch1", now);
    viewers.learn(0, "/live/ch", now);
    for (session, path) in [
        ("a", "/live/ch1/720p/seg-1.m4s"),
        ("b", "/live/ch1/index.m3u8"),
        ("c", "/live/ch12/seg-1.m4s"),
        ("d", "/live/seg-1.m4s"),
        ("e", "/vod/seg-1.m4s"),
        ("f", "/live"),
    ] {
        viewers.record(&Record { session: Some(session), path, ..hit() }, now);
    }
    let expected = [("/live", 2), ("/live/ch1", 2), ("other", 2)];
    assert_eq!(counts(&viewers, now), expected.map(|(stream, viewers)| (stream.to_owned(), viewers)));
}

#[test]
fn a_delivered_multivariant_playlist_is_learned_also_at_the_root() {
    let (viewers, now) = viewers(&["a.example"]);
    let playlist = Record { kind: Kind::MultivariantPlaylist, path: "/live/ch1/index.m3u8", ..hit() };
    viewers.record(&playlist, now);
    assert_eq!(counts(&viewers, now), [("/live/ch1".to_owned(), 1)]);
    viewers.record(&Record { path: "/index.m3u8", ..playlist }, now);
    assert_eq!(counts(&viewers, now), [("/".to_owned(), 1), ("/live/ch1".to_owned(), 1)]);
}

#[test]
fn a_viewer_is_the_token_id_else_the_cmcd_session_else_address_and_user_agent() {
    let (viewers, now) = viewers(&["a.example"]);
    let other_client = IpAddr::from([192, 0, 2, 8]);
    for _ in 0..3 {
        for record in [
            Record { session: Some("s1"), cmcd: Some("sid=\"c1\""), ..hit() },
            Record { session: Some("s1"), cmcd: Some("sid=\"c2\""), client: other_client, ..hit() },
            Record { session: Some("s2"), ..hit() },
            Record { cmcd: Some("sid=\"c1\""), ..hit() },
            Record { cmcd: Some("br=3,sid=\"c1\""), client: other_client, ..hit() },
            Record { cmcd: Some("sid=\"s1\""), ..hit() },
            Record { cmcd: Some("br=3"), ..hit() },
            Record { user_agent: Some("one"), ..hit() },
            Record { user_agent: Some("two"), ..hit() },
            Record { user_agent: Some("two"), client: other_client, ..hit() },
        ] {
            viewers.record(&record, now);
        }
    }
    // s1, s2; c1, the CMCD session s1; no agent, one, two, two at another address.
    assert_eq!(counts(&viewers, now), [("other".to_owned(), 8)]);
}

#[test]
fn only_delivered_parts_of_a_stream_make_a_viewer() {
    let (viewers, now) = viewers(&["a.example"]);
    for record in [
        Record { status: 403, outcome: Outcome::Denied, ..hit() },
        Record { status: 404, ..hit() },
        Record { status: 200, outcome: Outcome::Error, ..hit() },
        Record { method: "HEAD", ..hit() },
        Record { kind: Kind::Image, ..hit() },
        Record { kind: Kind::Api, ..hit() },
        Record { site: None, ..hit() },
        Record { site: Some(7), ..hit() },
    ] {
        viewers.record(&record, now);
    }
    assert_eq!(viewers.snapshot(now), []);
    viewers.record(&Record { status: 206, ..hit() }, now);
    viewers.record(&Record { status: 304, ..hit() }, now);
    assert_eq!(counts(&viewers, now), [("other".to_owned(), 1)]);
}

#[test]
fn a_viewer_counts_for_25_seconds_at_least_and_30_at_most() {
    for offset_ms in [0, 2_500, 4_999] {
        let (viewers, start) = viewers(&["a.example"]);
        let begin = start + seconds(100) + Duration::from_millis(offset_ms);
        viewers.record(&hit(), begin);
        assert_eq!(counts(&viewers, begin), [("other".to_owned(), 1)]);
        assert_eq!(counts(&viewers, begin + seconds(25)), [("other".to_owned(), 1)]);
        assert_eq!(counts(&viewers, begin + seconds(30)), []);
    }
}

#[test]
fn a_viewer_who_stays_is_one_viewer_in_every_slice() {
    let (viewers, start) = viewers(&["a.example"]);
    viewers.learn(0, "/live", start);
    for second in 0..200 {
        let now = start + seconds(second);
        viewers.record(&Record { session: Some("s"), ..hit() }, now);
        assert_eq!(counts(&viewers, now), [("/live".to_owned(), 1)], "after {second} s");
    }
}

#[test]
fn ten_thousand_viewers_are_estimated_within_5_percent() {
    let (viewers, start) = viewers(&["a.example"]);
    viewers.learn(0, "/live/ch1", start);
    // Each asks four times, over the whole window.
    for round in 0..4 {
        for viewer in 0..10_000_u32 {
            let client = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + viewer));
            viewers.record(&Record { client, ..hit() }, start + seconds(round * 7));
        }
    }
    let counted = counts(&viewers, start + seconds(24));
    let (stream, viewers) = &counted[0];
    assert_eq!((counted.len(), stream.as_str()), (1, "/live/ch1"));
    assert!((9_500..=10_500).contains(viewers), "{viewers}");
}

#[test]
fn two_thousand_streams_are_a_thousand_and_other() {
    let (viewers, now) = viewers(&["a.example", "b.example"]);
    for number in 0..2_000 {
        let path = format!("/live/{number}/index.m3u8");
        let record = Record { site: Some(number % 2), kind: Kind::MultivariantPlaylist, ..hit() };
        viewers.record(&Record { path: &path, session: Some(&path), ..record }, now);
    }
    let all = viewers.snapshot(now);
    assert_eq!(all.len(), STREAMS_MAX + 2);
    let other: u64 = all.iter().filter(|stream| stream.stream == "other").map(|stream| stream.viewers).sum();
    assert!((950..=1_050).contains(&other), "{other}");
}

#[test]
fn an_idle_stream_disappears_comes_back_and_gives_its_place_away_when_all_are_taken() {
    let (viewers, start) = viewers(&["a.example"]);
    for number in 0..STREAMS_MAX {
        viewers.learn(0, &format!("/live/{number}"), start);
    }
    let later = start + seconds(20);
    let segment = Record { path: "/live/7/seg.m4s", ..hit() };
    viewers.record(&segment, later);
    viewers.learn(0, "/new", later);
    viewers.record(&Record { path: "/new/seg.m4s", ..hit() }, later);
    assert_eq!(counts(&viewers, later), [("/live/7".to_owned(), 1), ("other".to_owned(), 1)]);

    // After a window every stream but number 7 is idle: all 999 others give way, and it does not.
    let later = start + seconds(40);
    for number in 0..STREAMS_MAX {
        viewers.learn(0, &format!("/new/{number}"), later);
        viewers.record(&Record { path: &format!("/new/{number}/seg.m4s"), ..hit() }, later);
    }
    let counted = counts(&viewers, later);
    assert_eq!(counted.len(), STREAMS_MAX + 1); // number 7, 999 new ones, other
    assert!(counted.contains(&("/live/7".to_owned(), 1)));

    // Idle, and not replaced: it is known still.
    let later = start + seconds(100);
    assert_eq!(counts(&viewers, later), []);
    viewers.record(&segment, later);
    assert_eq!(counts(&viewers, later), [("/live/7".to_owned(), 1)]);
}

#[test]
fn directories_beyond_their_bounds_are_other_and_cost_no_search() {
    let (viewers, now) = viewers(&["a.example"]);
    let deep = "/d".repeat(DIRECTORY_LEVELS_MAX);
    let long = format!("/{}", "l".repeat(DIRECTORY_BYTES_MAX - 1));
    for (directory, known) in
        [(&deep, true), (&format!("{deep}/d"), false), (&long, true), (&format!("{long}l"), false)]
    {
        viewers.learn(0, directory, now);
        assert_eq!(viewers.sites[0].streams.load().contains_key(directory.as_str()), known, "{directory}");
        let path = format!("{directory}/seg.m4s");
        viewers.record(&Record { path: &path, session: Some(&path), ..hit() }, now);
    }
    // Below `deep` counts as `deep`; what is too long is other.
    assert_eq!(counts(&viewers, now), [(deep, 2), (long, 1), ("other".to_owned(), 1)]);
    assert_eq!(directories(&"/".repeat(8_000)).count(), DIRECTORY_LEVELS_MAX + 1);
}

#[test]
fn viewers_seen_by_many_threads_at_once_are_all_counted() {
    let (viewers, now) = viewers(&["a.example"]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let viewers = &viewers;
            scope.spawn(move || {
                for viewer in 0..100 {
                    let session = format!("{thread}-{}", viewer / 4);
                    viewers.record(&Record { session: Some(&session), ..hit() }, now);
                }
            });
        }
    });
    assert_eq!(counts(&viewers, now), [("other".to_owned(), 100)]);
}

#[test]
fn the_gauge_shows_streams_with_viewers_and_no_others() {
    let registry = Registry::new();
    let viewers = Viewers::new(&["a.example"], Instant::now());
    viewers.register(&registry).unwrap();
    assert!(registry.gather().is_empty());
    viewers.learn(0, "/idle", Instant::now());
    viewers.learn(0, "/live/ch1", Instant::now());
    viewers.record(&hit(), Instant::now());
    let families = registry.gather();
    assert_eq!(families[0].name(), "forebay_viewers");
    let [metric] = families[0].get_metric() else { panic!("{families:?}") };
    let labels: Vec<_> = metric.get_label().iter().map(|label| label.value()).collect();
    assert_eq!((labels, metric.get_gauge().get_value()), (vec!["a.example", "/live/ch1"], 1.0));
}
