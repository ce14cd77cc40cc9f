//! Freshness by rule, by header and by kind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod dice;
mod model;
mod oracle;
mod storing;

use super::*;
use proptest::prelude::*;
use std::time::UNIX_EPOCH;

const NOW: Duration = Duration::from_secs(1_700_000_000);

fn now() -> SystemTime {
    UNIX_EPOCH + NOW
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn answer(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut header = ResponseHeader::build_no_case(status, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, *value).unwrap();
    }
    header
}

fn facts(target: u64, ended: bool) -> Option<PlaylistFacts> {
    let target_duration = seconds(target);
    Some(PlaylistFacts { target_duration, ended, ..crate::hls::read::read(b"#EXTM3U").unwrap() })
}

fn fetched<'a>(
    header: &'a ResponseHeader,
    kind: Kind,
    playlist: Option<PlaylistFacts>,
    times: &'a Times,
) -> Fetched<'a> {
    Fetched {
        header,
        kind,
        said: Said { playlist, manifest: None },
        blocking: false,
        stream: None,
        times,
        asked: now(),
        now: now(),
        authorized: false,
        keyed_by_it: false,
        no_store: false,
    }
}

fn judged(kind: Kind, header: &ResponseHeader, playlist: Option<PlaylistFacts>, times: &Times) -> Verdict {
    judge(&fetched(header, kind, playlist, times))
}

fn kept(kind: Kind, header: &ResponseHeader, playlist: Option<PlaylistFacts>, times: &Times) -> Lifetime {
    match judged(kind, header, playlist, times) {
        Verdict::Keep(kept) => kept.lifetime,
        Verdict::Pass(_, refusal) => panic!("not kept: {refusal:?}"),
    }
}

fn told(
    kind: Kind,
    header: &ResponseHeader,
    playlist: Option<PlaylistFacts>,
    times: &Times,
) -> ResponseHeader {
    match judged(kind, header, playlist, times) {
        Verdict::Keep(kept) => kept.header,
        Verdict::Pass(_, refusal) => panic!("not kept: {refusal:?}"),
    }
}

fn ttl_of(kind: Kind, fields: &[(&'static str, &str)], playlist: Option<PlaylistFacts>) -> Duration {
    kept(kind, &answer(200, fields), playlist, &Times::default()).fresh_until.duration_since(now()).unwrap()
}

#[test]
fn each_kind_has_its_default() {
    assert_eq!(ttl_of(Kind::Segment, &[], None), SEGMENT_TTL);
    assert_eq!(ttl_of(Kind::Init, &[], None), SEGMENT_TTL);
    assert_eq!(ttl_of(Kind::MediaPlaylist, &[], facts(6, false)), seconds(3));
    assert_eq!(ttl_of(Kind::MediaPlaylist, &[], facts(6, true)), ENDED_TTL);
    assert_eq!(ttl_of(Kind::MultivariantPlaylist, &[], None), MULTIVARIANT_TTL);
    assert_eq!(ttl_of(Kind::Api, &[], None), Duration::ZERO);
}

#[test]
fn the_origin_wins_over_the_default_and_a_rule_over_both() {
    assert_eq!(ttl_of(Kind::Segment, &[("cache-control", "max-age=60")], None), seconds(60));
    assert_eq!(ttl_of(Kind::Segment, &[("cache-control", "max-age=60, s-maxage=90")], None), seconds(90));
    let times = Times { ttl: Some(seconds(5)), ..Times::default() };
    let header = answer(200, &[("cache-control", "no-store")]);
    assert_eq!(kept(Kind::Segment, &header, None, &times).fresh_until, now() + seconds(5));
}

#[test]
fn a_live_playlist_is_capped_at_its_target_duration() {
    assert_eq!(
        ttl_of(Kind::MediaPlaylist, &[("cache-control", "max-age=86400")], facts(6, false)),
        seconds(6)
    );
    let header = answer(200, &[("cache-control", "max-age=86400")]);
    let told = told(Kind::MediaPlaylist, &header, facts(6, false), &Times::default());
    assert_eq!(told.headers["cache-control"], "max-age=6");
}

#[test]
fn a_held_playlist_stays_for_six_target_durations() {
    let header = answer(200, &[]);
    let times = Times::default();
    let fetched =
        Fetched { blocking: true, ..fetched(&header, Kind::MediaPlaylist, facts(2, false), &times) };
    let Verdict::Keep(kept) = judge(&fetched) else { panic!("kept") };
    assert_eq!(kept.lifetime.fresh_until, now() + seconds(12));
}

#[test]
fn an_error_is_kept_for_a_moment_whatever_the_origin_says() {
    let lifetime =
        kept(Kind::Segment, &answer(404, &[("cache-control", "max-age=3600")]), None, &Times::default());
    assert_eq!(lifetime.fresh_until, now() + NEGATIVE_TTL);
    assert_eq!(lifetime.stale_if_error, Duration::ZERO);
    let lifetime =
        kept(Kind::Api, &answer(503, &[("cache-control", "max-age=3600")]), None, &Times::default());
    assert_eq!(lifetime.fresh_until, now() + NEGATIVE_TTL);
}

/// Freshness of an error of a live stream whose target duration is 6 s.
fn error_of_live(kind: Kind, status: u16, listed: bool, blocking: bool) -> Duration {
    let header = answer(status, &[("cache-control", "max-age=3600")]);
    let times = Times::default();
    let stream = Some(StreamTold { target_duration: seconds(6), listed });
    let fetched = Fetched { stream, blocking, ..fetched(&header, kind, None, &times) };
    let Verdict::Keep(kept) = judge(&fetched) else { panic!("kept") };
    assert_eq!(
        (kept.lifetime.stale_while_revalidate, kept.lifetime.stale_if_error),
        (Duration::ZERO, Duration::ZERO)
    );
    kept.lifetime.fresh_until.duration_since(now()).unwrap()
}

#[test]
fn the_absence_of_what_is_live_is_kept_by_what_it_is() {
    for kind in [Kind::MediaPlaylist, Kind::MultivariantPlaylist] {
        assert_eq!(error_of_live(kind, 404, false, false), seconds(6));
        assert_eq!(error_of_live(kind, 404, false, true), seconds(24));
    }
    for kind in [Kind::Segment, Kind::Init] {
        assert_eq!(error_of_live(kind, 404, false, false), Duration::ZERO);
        assert_eq!(error_of_live(kind, 410, true, false), seconds(6));
    }
    // A part that is listed may be one that is only hinted at.
    assert_eq!(error_of_live(Kind::Part, 404, true, false), Duration::ZERO);
    // What fails may be well again in a moment.
    for kind in [Kind::MediaPlaylist, Kind::Segment, Kind::Part] {
        assert_eq!(error_of_live(kind, 503, true, true), NEGATIVE_TTL);
    }
}

#[test]
fn a_multivariant_playlist_follows_its_renditions() {
    let (header, times) = (answer(200, &[]), Times::default());
    let stream = Some(StreamTold { target_duration: seconds(6), listed: false });
    let fetched = Fetched { stream, ..fetched(&header, Kind::MultivariantPlaylist, None, &times) };
    let Verdict::Keep(kept) = judge(&fetched) else { panic!("kept") };
    assert_eq!(kept.lifetime.fresh_until, now() + seconds(3));
    assert_eq!(kept.lifetime.stale_if_error, LASTING_STALE_IF_ERROR);
}

#[test]
fn a_manifest_is_kept_by_its_update_period() {
    let judged = |dynamic, update_period: Option<u64>, fields: &[(&'static str, &str)]| {
        let (header, times) = (answer(200, fields), Times::default());
        let manifest = Some(ManifestFacts { dynamic, update_period: update_period.map(seconds) });
        let said = Said { playlist: None, manifest };
        let Verdict::Keep(kept) = judge(&Fetched { said, ..fetched(&header, Kind::Manifest, None, &times) })
        else {
            panic!("kept")
        };
        let Lifetime { fresh_until, stale_while_revalidate, stale_if_error, .. } = kept.lifetime;
        let told = kept.header.headers.get("cache-control").map(|value| value.to_str().unwrap().to_owned());
        (fresh_until.duration_since(now()).unwrap(), stale_while_revalidate, stale_if_error, told)
    };
    let told = |seconds: u64| Some(format!("max-age={seconds}"));
    assert_eq!(judged(true, Some(4), &[]), (seconds(2), seconds(2), seconds(12), told(4)));
    let capped = judged(true, Some(4), &[("cache-control", "max-age=86400")]);
    assert_eq!(capped, (seconds(4), seconds(2), seconds(12), told(4)));
    let unknown = judged(true, None, &[]);
    assert_eq!(unknown, (MULTIVARIANT_TTL, Duration::ZERO, Duration::ZERO, None));
    assert_eq!(judged(false, None, &[]), (ENDED_TTL, Duration::ZERO, LASTING_STALE_IF_ERROR, None));
}

#[test]
fn an_error_or_what_was_waited_for_answers_a_blocking_reload() {
    let reload = |msn| Reload { msn, part: None };
    let playlist = crate::hls::read::read(b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:2,\na\n").ok();
    assert!(is_blocking(reload(7), playlist) && is_blocking(reload(9), None));
    assert!(!is_blocking(reload(8), playlist));
}

#[test]
fn age_counts_against_freshness_and_moves_creation_back() {
    let lifetime = kept(
        Kind::Segment,
        &answer(200, &[("cache-control", "max-age=60"), ("age", "45")]),
        None,
        &Times::default(),
    );
    assert_eq!(lifetime.fresh_until, now() + seconds(15));
    assert_eq!(lifetime.age_seconds(now()), 45);
}

#[test]
fn expires_counts_from_date_and_an_unreadable_one_is_stale() {
    let date = httpdate::fmt_http_date(now());
    let expires = httpdate::fmt_http_date(now() + seconds(30));
    assert_eq!(ttl_of(Kind::Other, &[("date", &date), ("expires", &expires)], None), seconds(30));
    assert_eq!(ttl_of(Kind::Segment, &[("expires", "0")], None), Duration::ZERO);
    assert_eq!(ttl_of(Kind::Segment, &[("cache-control", "max-age=soon")], None), Duration::ZERO);
}

#[test]
fn stale_windows_follow_the_kind_the_header_and_the_rule() {
    let windows = |fields: &[(&'static str, &str)], playlist, times: &Times| {
        let lifetime = kept(Kind::MediaPlaylist, &answer(200, fields), playlist, times);
        (lifetime.stale_while_revalidate, lifetime.stale_if_error)
    };
    let none = Times::default();
    assert_eq!(windows(&[], facts(4, false), &none), (seconds(2), seconds(12)));
    assert_eq!(windows(&[], facts(4, true), &none), (Duration::ZERO, LASTING_STALE_IF_ERROR));
    let told = [("cache-control", "max-age=1, stale-while-revalidate=9, stale-if-error=8")];
    assert_eq!(windows(&told, facts(4, false), &none), (seconds(9), seconds(8)));
    let strict = [("cache-control", "max-age=1, must-revalidate")];
    assert_eq!(windows(&strict, facts(4, false), &none), (Duration::ZERO, Duration::ZERO));
    let rule = Times { stale_if_error: Some(seconds(70)), ..Times::default() };
    assert_eq!(windows(&strict, facts(4, false), &rule).1, seconds(70));
}

#[test]
fn a_rule_sets_what_browsers_are_told() {
    let times = Times { browser_ttl: Some(seconds(7)), ..Times::default() };
    let header = answer(200, &[("cache-control", "max-age=60"), ("expires", "0")]);
    let Verdict::Keep(kept) = judged(Kind::Segment, &header, None, &times) else { panic!("kept") };
    assert_eq!(kept.header.headers["cache-control"], "max-age=7");
    assert!(!kept.header.headers.contains_key("expires"));
    assert_eq!(kept.lifetime.fresh_until, now() + seconds(60));
}

/// The date so many seconds after now; negative: before.
fn date_at(offset: i64) -> String {
    let span = Duration::from_secs(offset.unsigned_abs());
    httpdate::fmt_http_date(if offset < 0 { now() - span } else { now() + span })
}

fn refused(kind: Kind, status: u16, fields: &[(&'static str, &str)], times: &Times) -> Option<Refusal> {
    match judged(kind, &answer(status, fields), None, times) {
        Verdict::Keep(_) => None,
        Verdict::Pass(_, refusal) => Some(refusal),
    }
}

fn rule(ttl: u64) -> Times {
    Times { ttl: Some(seconds(ttl)), ..Times::default() }
}

#[test]
fn an_error_is_kept_by_status_and_kind() {
    let ttl = |kind, status, fields: &[(&'static str, &str)], times: &Times| {
        kept(kind, &answer(status, fields), None, times).fresh_until.duration_since(now()).unwrap()
    };
    let none = Times::default();
    let hour = [("cache-control", "max-age=3600")];
    assert_eq!(ttl(Kind::Image, 404, &[], &none), NEGATIVE_TTL);
    assert_eq!(ttl(Kind::Image, 404, &hour, &none), seconds(3600));
    assert_eq!(ttl(Kind::Segment, 404, &hour, &none), NEGATIVE_TTL);
    assert_eq!(ttl(Kind::Segment, 403, &hour, &none), NEGATIVE_TTL);
    assert_eq!(ttl(Kind::Image, 503, &hour, &none), NEGATIVE_TTL);
    assert_eq!(ttl(Kind::Segment, 404, &[("cache-control", "max-age=0")], &none), Duration::ZERO);
    assert_eq!(ttl(Kind::Segment, 404, &hour, &rule(20)), seconds(20));
    assert_eq!(ttl(Kind::Image, 503, &[("cache-control", "public")], &rule(20)), seconds(20));
}

#[test]
fn a_targeted_field_decides_in_place_of_cache_control_and_expires() {
    let far = date_at(600);
    for (fields, ttl) in [
        (&[("cdn-cache-control", "max-age=60"), ("cache-control", "no-store")][..], 60),
        (&[("cdn-cache-control", "max-age=60"), ("cache-control", "private, s-maxage=5")], 60),
        (&[("cdn-cache-control", "s-maxage=7, max-age=60"), ("expires", &far)], 7),
        (&[("forebay-cache-control", "max-age=9"), ("cdn-cache-control", "max-age=60")], 9),
        (&[("forebay-cache-control", "max-age=bad bad"), ("cdn-cache-control", "max-age=60")], 60),
        (&[("cdn-cache-control", ""), ("cache-control", "max-age=3")], 3),
        // It says nothing of freshness, and nobody else is heard.
        (&[("cdn-cache-control", "public"), ("cache-control", "max-age=3"), ("expires", &far)], 0),
        (&[("cdn-cache-control", "no-cache, max-age=60")], 0),
    ] {
        assert_eq!(ttl_of(Kind::Other, fields, None), seconds(ttl), "{fields:?}");
    }
    let private = [("cdn-cache-control", "private"), ("cache-control", "public, max-age=60")];
    assert_eq!(refused(Kind::Other, 200, &private, &Times::default()), Some(Refusal::Private));
}

#[test]
fn expires_is_read_in_every_form() {
    let (date, later) = (date_at(0), date_at(30));
    let ttl = |fields: &[(&'static str, &str)]| ttl_of(Kind::Other, fields, None).as_secs();
    assert_eq!(ttl(&[("expires", &later)]), 30, "without Date it counts from when it came");
    assert_eq!(ttl(&[("expires", &later), ("date", "yesterday")]), 30);
    assert_eq!(ttl(&[("expires", &later), ("date", &date_at(10))]), 20, "a clock that runs ahead");
    assert_eq!(ttl(&[("expires", &later.to_uppercase()), ("date", &date)]), 30);
    // 2023-11-14T22:13:50Z is half a minute after now.
    assert_eq!(ttl(&[("expires", "Tuesday, 14-Nov-23 22:13:50 GMT")]), 30);
    assert_eq!(ttl(&[("expires", "Tue Nov 14 22:13:50 2023")]), 30);
    assert_eq!(ttl(&[("expires", &later), ("expires", &later)]), 30);
    for stale in [
        "0",
        "-1",
        "",
        "now",
        &date,
        &date_at(-1),
        "Mon, 01 Jan 1900 00:00:00 GMT",
        "Tue, 14 Nov 2023 22:13:50 CET",
    ] {
        assert_eq!(ttl(&[("expires", stale), ("date", &date)]), 0, "{stale}");
        assert_eq!(
            ttl_of(Kind::Segment, &[("expires", stale), ("date", &date)], None),
            Duration::ZERO,
            "{stale}"
        );
    }
    assert_eq!(ttl(&[("expires", &later), ("expires", &date_at(60))]), 0, "two that disagree");
    assert_eq!(ttl(&[("expires", &later), ("cache-control", "max-age=5")]), 5);
    assert_eq!(ttl(&[("expires", &later), ("cache-control", "max-age=x")]), 0);
    assert_eq!(ttl(&[("expires", "0"), ("cache-control", "s-maxage=5, max-age=9")]), 5);
    assert_eq!(ttl(&[("expires", "Fri, 31 Dec 9999 23:59:59 GMT")]), TTL_MAX.as_secs());
}

#[test]
fn freshness_is_guessed_from_last_modified_where_nothing_is_said() {
    let ttl = |kind, status, fields: &[(&'static str, &str)]| {
        kept(kind, &answer(status, fields), None, &Times::default())
            .fresh_until
            .duration_since(now())
            .unwrap()
    };
    let (thousand, old, future) = (date_at(-1000), date_at(-100 * 24 * 3600), date_at(1000));
    let changed = [("last-modified", thousand.as_str())];
    for kind in [Kind::Image, Kind::Api, Kind::Other] {
        assert_eq!(ttl(kind, 200, &changed), seconds(100), "{kind:?}");
        assert_eq!(ttl(kind, 200, &[("last-modified", &old)]), HEURISTIC_TTL_MAX);
        assert_eq!(ttl(kind, 200, &[("last-modified", &future)]), Duration::ZERO);
        assert_eq!(ttl(kind, 200, &[("last-modified", "long ago")]), Duration::ZERO);
        assert_eq!(ttl(kind, 200, &[changed[0], ("expires", "0")]), Duration::ZERO);
        assert_eq!(ttl(kind, 200, &[changed[0], ("cache-control", "max-age=x")]), Duration::ZERO);
        assert_eq!(ttl(kind, 200, &[changed[0], ("cache-control", "no-cache")]), Duration::ZERO);
        assert_eq!(ttl(kind, 200, &[changed[0], ("cache-control", "must-revalidate")]), seconds(100));
        assert_eq!(ttl(kind, 200, &[changed[0], ("age", "40")]), seconds(60));
        assert_eq!(ttl(kind, 404, &[("last-modified", &old)]), NEGATIVE_TTL);
        assert_eq!(ttl(kind, 302, &[changed[0], ("cache-control", "public")]), seconds(100));
        assert_eq!(ttl(kind, 302, &[changed[0], ("cache-control", "max-age=5")]), seconds(5));
    }
    assert_eq!(ttl(Kind::Segment, 200, &changed), SEGMENT_TTL);
    assert_eq!(ttl(Kind::Manifest, 200, &changed), MULTIVARIANT_TTL);
    // A rule that names a status alone leaves a status that is not cacheable by itself without freshness.
    let (header, named) = (answer(299, &changed), Times { names_status: true, ..Times::default() });
    assert_eq!(kept(Kind::Other, &header, None, &named).fresh_until, now());
}

#[test]
fn age_is_the_longest_that_caches_and_clocks_tell() {
    let age = |fields: &[(&'static str, &str)], delay: u64| {
        let (header, times) = (answer(200, fields), Times::default());
        let fetched =
            Fetched { asked: now() - seconds(delay), ..fetched(&header, Kind::Other, None, &times) };
        let Verdict::Keep(kept) = judge(&fetched) else { panic!("kept") };
        kept.lifetime.age_seconds(now())
    };
    let (past, future) = (date_at(-20), date_at(20));
    for (fields, delay, expected) in [
        (&[][..], 0, 0),
        (&[], 3, 3),
        (&[("age", "7")], 3, 10),
        (&[("date", &past)], 3, 20),
        (&[("date", &past), ("age", "19")], 3, 22),
        (&[("date", &future)], 0, 0),
        (&[("date", &future), ("age", "7")], 3, 10),
        (&[("date", "soon"), ("age", "7")], 0, 7),
        (&[("date", &past), ("date", &date_at(-5))], 0, 0),
        (&[("age", "7, 9")], 0, 7),
        (&[("age", "7"), ("age", "9")], 0, 7),
        (&[("age", "x, 9")], 0, 0),
        (&[("age", "-7")], 0, 0),
        (&[("age", "7.5")], 0, 0),
        (&[("age", "\"7\"")], 0, 0),
        (&[("age", "")], 0, 0),
        (&[("age", "99999999999999999999")], 0, 1 << 31),
    ] {
        assert_eq!(age(fields, delay), expected, "{fields:?} {delay}");
    }
}

#[test]
fn a_time_of_the_origin_counts_from_the_making_and_one_of_the_node_from_the_coming() {
    let late = [("date", date_at(-5))];
    let fields = [("date", late[0].1.as_str())];
    let with = |field| [fields[0], field];
    assert_eq!(ttl_of(Kind::Segment, &with(("cache-control", "max-age=60")), None), seconds(55));
    assert_eq!(ttl_of(Kind::Segment, &fields, None), SEGMENT_TTL);
    assert_eq!(ttl_of(Kind::MediaPlaylist, &fields, facts(6, false)), seconds(3));
    assert_eq!(
        ttl_of(Kind::MediaPlaylist, &with(("cache-control", "max-age=8")), facts(6, false)),
        seconds(3)
    );
    assert_eq!(ttl_of(Kind::MediaPlaylist, &with(("age", "2")), facts(6, false)), seconds(1));
    let header = answer(200, &with(("age", "2")));
    assert_eq!(kept(Kind::Segment, &header, None, &rule(60)).fresh_until, now() + seconds(58));
}

#[test]
fn what_forbids_stale_answers_closes_the_windows() {
    let windows = |control: &str| {
        let header = answer(200, &[("cache-control", control)]);
        let lifetime = kept(Kind::Segment, &header, None, &Times::default());
        (lifetime.stale_while_revalidate.as_secs(), lifetime.stale_if_error.as_secs(), lifetime.strict)
    };
    let day = LASTING_STALE_IF_ERROR.as_secs();
    assert_eq!(windows("max-age=1"), (0, day, false));
    assert_eq!(windows("max-age=1, stale-while-revalidate=5, stale-if-error=x"), (5, 0, false));
    for control in ["must-revalidate", "proxy-revalidate", "no-cache"] {
        assert_eq!(windows(&format!("{control}, stale-while-revalidate=5, stale-if-error=5")), (0, 0, true));
    }
    assert_eq!(windows("no-cache=\"x\""), (0, day, false));
    // The kind's own window is closed, the origin's own is open.
    assert_eq!(windows("s-maxage=1"), (0, 0, true));
    assert_eq!(windows("s-maxage=1, stale-while-revalidate=5, stale-if-error=6"), (5, 6, true));
}

#[test]
fn windows_of_an_origin_are_capped_by_kind() {
    let told = [("cache-control", "max-age=1, stale-while-revalidate=99999999, stale-if-error=99999999")];
    let windows = |kind, status, playlist| {
        let lifetime = kept(kind, &answer(status, &told), playlist, &Times::default());
        (lifetime.stale_while_revalidate, lifetime.stale_if_error)
    };
    assert_eq!(windows(Kind::Other, 200, None), (STALE_WINDOW_MAX, STALE_WINDOW_MAX));
    assert_eq!(windows(Kind::Image, 404, None), (STALE_WINDOW_MAX, STALE_WINDOW_MAX));
    assert_eq!(windows(Kind::MediaPlaylist, 200, facts(4, false)), (seconds(12), seconds(24)));
    assert_eq!(windows(Kind::Segment, 404, None), (Duration::ZERO, Duration::ZERO));
    assert_eq!(windows(Kind::Other, 503, None), (Duration::ZERO, Duration::ZERO));
}

#[test]
fn immutable_is_noted_unless_the_playlist_is_live() {
    let header = answer(200, &[("cache-control", "public, max-age=60, immutable, must-revalidate")]);
    assert!(kept(Kind::Segment, &header, None, &Times::default()).immutable);
    assert!(!kept(Kind::MediaPlaylist, &header, facts(6, false), &Times::default()).immutable);
    let browser = Times { browser_ttl: Some(seconds(7)), ..Times::default() };
    let told_of = |kind, playlist, times: &Times| {
        told(kind, &header, playlist, times).headers["cache-control"].to_str().unwrap().to_owned()
    };
    assert_eq!(told_of(Kind::Segment, None, &browser), "max-age=7, public, must-revalidate, immutable");
    let live = told_of(Kind::MediaPlaylist, facts(6, false), &Times::default());
    assert_eq!(live, "max-age=6, public, must-revalidate");
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange_for_a_header(
        status in 100..1000_u16,
        fields in prop::collection::vec((0..12_usize, prop::collection::vec(any::<u8>(), 0..40)), 0..6),
        kind in 0..Kind::ALL.len(),
    ) {
        const NAMES: [&str; 12] = [
            "cache-control", "cdn-cache-control", "forebay-cache-control", "expires", "date", "age",
            "last-modified", "vary", "surrogate-key", "cache-groups", "connection", "set-cookie",
        ];
        let mut header = answer(status, &[]);
        for (name, bytes) in fields {
            if let Ok(value) = http::HeaderValue::from_bytes(&bytes) {
                header.append_header(NAMES[name], value).unwrap();
            }
        }
        for kind in [Kind::ALL[kind], Kind::MediaPlaylist] {
            let _ = judged(kind, &header, facts(u64::from(status), false), &Times::default());
        }
    }
}
