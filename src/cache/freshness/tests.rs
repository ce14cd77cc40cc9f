//! Freshness by rule, by header and by kind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
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
    Some(PlaylistFacts { multivariant: false, target_duration, ended, can_block_reload: false })
}

fn judged(kind: Kind, header: &ResponseHeader, playlist: Option<PlaylistFacts>, times: &Times) -> Verdict {
    judge(&Fetched { header, kind, playlist, blocking: false, times, now: now() })
}

fn kept(kind: Kind, header: &ResponseHeader, playlist: Option<PlaylistFacts>, times: &Times) -> Lifetime {
    match judged(kind, header, playlist, times) {
        Verdict::Keep(_, lifetime) => lifetime,
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
    let Verdict::Keep(told, _) = judged(Kind::MediaPlaylist, &header, facts(6, false), &Times::default())
    else {
        panic!("kept");
    };
    assert_eq!(told.headers["cache-control"], "max-age=6");
}

#[test]
fn a_held_playlist_stays_for_six_target_durations() {
    let header = answer(200, &[]);
    let times = Times::default();
    let fetched = Fetched {
        header: &header,
        kind: Kind::MediaPlaylist,
        playlist: facts(2, false),
        blocking: true,
        times: &times,
        now: now(),
    };
    let Verdict::Keep(_, lifetime) = judge(&fetched) else { panic!("kept") };
    assert_eq!(lifetime.fresh_until, now() + seconds(12));
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
fn what_is_private_or_varies_or_sets_a_cookie_is_not_kept() {
    for (fields, refusal) in [
        (("cache-control", "no-store"), Refusal::NoStore),
        (("cache-control", "private, max-age=60"), Refusal::Private),
        (("set-cookie", "a=b"), Refusal::SetCookie),
        (("vary", "Accept-Encoding, Cookie"), Refusal::Vary),
        (("vary", "*"), Refusal::Vary),
        (("content-range", "bytes 0-1/2"), Refusal::Partial),
    ] {
        let verdict = judged(Kind::Segment, &answer(200, &[fields]), None, &Times::default());
        assert!(matches!(verdict, Verdict::Pass(_, why) if why == refusal), "{fields:?}");
    }
    let verdict = judged(Kind::Key, &answer(200, &[]), None, &Times::default());
    assert!(matches!(verdict, Verdict::Pass(_, Refusal::Kind)));
    kept(Kind::Segment, &answer(200, &[("vary", "Accept-Encoding, Origin")]), None, &Times::default());
}

#[test]
fn a_redirect_is_kept_by_a_rule_that_names_it() {
    let header = answer(302, &[("location", "/x")]);
    let verdict = judged(Kind::Other, &header, None, &Times::default());
    assert!(matches!(verdict, Verdict::Pass(_, Refusal::Status)));
    let times = Times { ttl: Some(seconds(60)), names_status: true, ..Times::default() };
    assert_eq!(kept(Kind::Other, &header, None, &times).fresh_until, now() + seconds(60));
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
    let Verdict::Keep(told, lifetime) = judged(Kind::Segment, &header, None, &times) else { panic!("kept") };
    assert_eq!(told.headers["cache-control"], "max-age=7");
    assert!(!told.headers.contains_key("expires"));
    assert_eq!(lifetime.fresh_until, now() + seconds(60));
}

#[test]
fn fields_of_one_connection_are_not_kept() {
    let header = answer(
        200,
        &[("connection", "close, x-hop"), ("x-hop", "1"), ("transfer-encoding", "chunked"), ("x-end", "1")],
    );
    let clean = end_to_end(&header);
    assert_eq!(clean.headers.len(), 1);
    assert_eq!(clean.headers["x-end"], "1");
}
