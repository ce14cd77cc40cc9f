//! Media: which is there when, ranges and conditions; and what is refused of reloads.

use super::super::sample::{ask, get, ms, scenario, stage, wall_epoch};
use super::*;
use crate::fetch::Kind;

/// The URI in a playlist that begins so, as a path.
fn path_of(stage: &Stage, playlist: &str, begins: &str, now: Duration) -> String {
    let text = get(stage, playlist, now);
    let start = text.find(begins).unwrap_or_else(|| panic!("{begins}: {text}"));
    let uri = text[start..].split(['"', '\n']).next().unwrap();
    format!("{}/{uri}", playlist.rsplit_once('/').unwrap().0)
}

fn with_ranges() -> Stage {
    let mut scenario = scenario(vec![]);
    scenario.streams[1].parts_are_ranges = true;
    Stage::new(&scenario, wall_epoch())
}

#[test]
fn a_segment_is_there_when_it_is_published_and_for_as_long_as_the_specification_wants_after_it_left() {
    let stage = stage(vec![]);
    let path = path_of(&stage, "/media/live/sport/v0.m3u8", "v0/10000.", Duration::from_secs(4));
    let status = |now| ask(&stage, &path, now, &[]).status;
    assert_eq!(status(Duration::from_nanos(3_999_999_999)), Some(404));
    assert_eq!(status(Duration::from_secs(4)), Some(200));
    // It leaves the playlist of six after 24 s, and has to stay for its own length and the playlist's after that.
    assert_eq!(status(Duration::from_secs(4 + 24 + 4 + 24)), Some(200));
    assert_eq!(status(Duration::from_secs(4 + 24 + 8 + 24)), Some(404));
}

#[test]
fn one_part_ahead_is_waited_for_and_no_further_one() {
    let stage = stage(vec![]);
    let now = ms(700);
    let hinted = path_of(&stage, "/media/live/news/v0.m3u8", "v0/10000.1.", now);
    let answer = ask(&stage, &hinted, now, &[]);
    assert_eq!((answer.status, answer.at), (Some(200), ms(1000)));
    let later = path_of(&stage, "/media/live/news/v0.m3u8", "v0/10000.2.", ms(1500));
    assert_eq!(ask(&stage, &later, now, &[]).status, Some(404));
    // A whole segment is no hint.
    let segment = path_of(&stage, "/media/live/news/v0.m3u8", "v0/10000.", ms(9_990));
    assert_eq!(ask(&stage, &segment, ms(1_999), &[]).status, Some(404), "{segment}");
}

#[test]
fn a_growing_segment_is_answered_part_by_part() {
    let stage = with_ranges();
    let now = ms(700);
    let path = path_of(&stage, "/media/live/news/v0.m3u8", "v0/10000.", now);
    let bytes = content::expected(&path).unwrap().bytes;
    let offset = |part: u64| bytes * part / 4;
    let whole = ask(&stage, &path, now, &[]);
    let steps: Vec<(u64, Duration)> = (1..=4).map(|part| (offset(part), ms(500 * part))).collect();
    assert_eq!((whole.status, whole.at, &whole.grows, whole.length), (Some(200), now, &steps, bytes));

    // The part that comes next, from its beginning on, and up to its end.
    let open = ask(&stage, &path, now, &[("range", &format!("bytes={}-", offset(1)))]);
    assert_eq!((open.status, open.at, open.chunked), (Some(206), ms(1000), false));
    assert_eq!(open.headers["content-range"], format!("bytes {}-{}/{bytes}", offset(1), bytes - 1));
    assert_eq!(open.grows.last(), Some(&(bytes - offset(1), ms(2000))));
    let closed = ask(&stage, &path, now, &[("range", &format!("bytes={}-{}", offset(1), offset(2) - 1))]);
    assert_eq!((closed.at, closed.length, closed.kind), (ms(1000), offset(2) - offset(1), Some(Kind::Part)));

    // A very large last position means: to the end, wherever that is (RFC 8673).
    let live = ask(&stage, &path, now, &[("range", &format!("bytes={}-9007199254740991", offset(1)))]);
    assert_eq!((live.status, live.chunked), (Some(206), true));
    assert_eq!(live.headers["content-range"], format!("bytes {}-9007199254740991/*", offset(1)));
    let after = ask(&stage, &path, ms(2000), &[("range", &format!("bytes={}-9007199254740991", offset(1)))]);
    assert_eq!(after.headers["content-range"], format!("bytes {}-{}/{bytes}", offset(1), bytes - 1));

    // What is hinted at by nobody is not there.
    let beyond = ask(&stage, &path, now, &[("range", &format!("bytes={}-", offset(2)))]);
    assert_eq!(beyond.status, Some(416));
    let next = path_of(&stage, "/media/live/news/v0.m3u8", "v0/10001.", ms(2000));
    assert_eq!(ask(&stage, &next, ms(1_999), &[]).status, Some(404));
}

#[test]
fn ranges_are_those_of_rfc_9110() {
    let stage = stage(vec![]);
    let path = path_of(&stage, "/media/vod/film/v0.m3u8", "v0/1.", Duration::ZERO);
    let bytes = content::expected(&path).unwrap().bytes;
    let tag = ask(&stage, &path, Duration::ZERO, &[]).headers["etag"].to_str().unwrap().to_owned();
    let whole = (200, 0, bytes);
    for (range, expected) in [
        ("bytes=0-0", (206, 0, 1)),
        ("bytes=10-19", (206, 10, 10)),
        ("bytes=10-", (206, 10, bytes - 10)),
        ("bytes=-7", (206, bytes - 7, 7)),
        ("bytes=-99999999", (206, 0, bytes)),
        ("bytes=5-99999999", (206, 5, bytes - 5)),
        ("bytes=5-4", whole),
        ("bytes=0-1,3-4", whole),
        ("bytes=a-4", whole),
        ("bytes=+1-4", whole),
        ("bytes=-", whole),
        ("items=0-1", whole),
    ] {
        let answer = ask(&stage, &path, Duration::ZERO, &[("range", range)]);
        let Content::Media { offset, bytes: length } = answer.body else { panic!("{range}: {answer:?}") };
        assert_eq!((answer.status.unwrap(), offset, length), expected, "{range}");
        assert_eq!(answer.length, length, "{range}");
    }
    for range in [format!("bytes={bytes}-"), "bytes=-0".to_owned()] {
        let answer = ask(&stage, &path, Duration::ZERO, &[("range", &range)]);
        assert_eq!(
            (answer.status, answer.headers["content-range"].to_str().unwrap()),
            (Some(416), &*format!("bytes */{bytes}"))
        );
    }
    let status = |fields: &[(&'static str, &str)]| ask(&stage, &path, Duration::ZERO, fields).status;
    assert_eq!(status(&[("range", "bytes=0-0"), ("if-range", &tag)]), Some(206));
    assert_eq!(status(&[("range", "bytes=0-0"), ("if-range", "\"other\"")]), Some(200));
    assert_eq!(status(&[("if-none-match", &tag)]), Some(304));
    assert_eq!(status(&[("if-none-match", &format!("\"a\", W/{tag}"))]), Some(304));
    assert_eq!(status(&[("if-none-match", "\"other\"")]), Some(200));
}

#[test]
fn a_playlist_has_another_tag_when_it_has_changed_and_no_other_time() {
    let stage = stage(vec![]);
    let tag =
        |now| ask(&stage, "/media/live/sport/v0.m3u8", now, &[]).headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(tag(ms(0)), tag(ms(3_999)));
    assert_ne!(tag(ms(3_999)), tag(ms(4_000)));
    let known = tag(ms(0));
    let again = ask(&stage, "/media/live/sport/v0.m3u8", ms(3_999), &[("if-none-match", &known)]);
    assert_eq!((again.status, again.body.bytes(), again.version), (Some(304), 0, Some((10_000, 0))));
    let changed = ask(&stage, "/media/live/sport/v0.m3u8", ms(4_000), &[("if-none-match", &known)]);
    assert_eq!(changed.status, Some(200));
    assert_eq!(changed.headers["date"], "Thu, 01 Jan 2026 00:00:04 GMT");
}

#[test]
fn reloads_are_held_answered_or_refused_by_how_far_ahead_they_are() {
    let stage = stage(vec![]);
    // Three parts of segment 10000 are there, of four.
    let now = ms(1_600);
    for (query, status, at) in [
        ("_HLS_msn=9999", 200, now),
        ("_HLS_msn=0&_HLS_part=0", 200, now),
        ("_HLS_msn=10000&_HLS_part=2", 200, now),
        ("_HLS_msn=10000&_HLS_part=3", 200, ms(2_000)),
        ("_HLS_msn=10000", 200, ms(2_000)),
        // One beyond the last part is the first of the next segment.
        ("_HLS_msn=10000&_HLS_part=4", 200, ms(2_500)),
        ("_HLS_msn=10000&_HLS_part=77", 200, ms(2_500)),
        ("_HLS_msn=10001&_HLS_part=0&_HLS_skip=YES", 200, ms(2_500)),
        ("_HLS_msn=10001", 200, ms(4_000)),
        // Six parts of half a second are three seconds: that of segment 10002 is the seventh.
        ("_HLS_msn=10001&_HLS_part=3", 200, ms(4_000)),
        ("_HLS_msn=10002&_HLS_part=0", 400, now),
        ("_HLS_msn=10002", 400, now),
        ("_HLS_msn=18446744073709551615", 400, now),
        ("_HLS_msn=18446744073709551615&_HLS_part=9", 400, now),
        ("_HLS_part=1", 400, now),
        ("_HLS_msn=x", 400, now),
        ("_HLS_msn=-1", 400, now),
        ("_HLS_msn=10000&_HLS_msn=10000", 400, now),
        ("_HLS_msn=99999999999999999999", 400, now),
        ("other=1", 200, now),
    ] {
        let answer = ask(&stage, &format!("/media/live/news/v0.m3u8?{query}"), now, &[]);
        assert_eq!((answer.status, answer.at), (Some(status), at), "{query}");
    }
    // A stream without parts has no reload that blocks: it does not say that it had one.
    let answer = ask(&stage, "/media/live/sport/v0.m3u8?_HLS_msn=99999", now, &[]);
    assert_eq!((answer.status, answer.at, answer.kind), (Some(200), now, Some(Kind::Playlist)));
}

#[test]
fn what_is_spelled_in_another_way_is_not_there() {
    let stage = stage(vec![]);
    let path = path_of(&stage, "/media/vod/film/v0.m3u8", "v0/1.", Duration::ZERO);
    assert_eq!(ask(&stage, &path, Duration::ZERO, &[]).status, Some(200));
    for other in [
        path.replace("v0/1.", "v0/01."),
        path.replace("v0/1.", "v0/+1."),
        path.replace("v0/1.", "v1/1."),
        path.replace("v0/1.", "v0/5."),
        path.replace("v0/", "v2/"),
        path.replace("/vod/", "/live/"),
        path.replace(".m4s", ".mp4"),
        path.replace("/media/", "/token/media/"),
        path.replace(".m4s", "0.m4s"),
        path.replace("v0/1.", "v0/1.0."),
        format!("{path}/"),
        "/".into(),
        String::new(),
        "/media/vod/film".into(),
        "/media/live/news/v0/18446744073709551615.1.m4s".into(),
        "/media/live/news/v0/18446744073709551615.3.1.m4s".into(),
    ] {
        assert_eq!(ask(&stage, &other, Duration::ZERO, &[]).status, Some(404), "{other}");
    }
}

#[test]
fn keys_are_named_before_their_first_segment_and_are_there_when_that_begins() {
    let mut scenario = scenario(vec![]);
    scenario.streams.iter_mut().for_each(|stream| stream.key_every = Some(4));
    let stage = Stage::new(&scenario, wall_epoch());
    let keys = |path: &str, now| {
        let text = get(&stage, path, now);
        let lines = text.lines().filter(|line| line.starts_with("#EXT-X-KEY") || !line.starts_with('#'));
        lines
            .map(|line| line.split('"').nth(1).map_or("segment".to_owned(), str::to_owned))
            .collect::<Vec<_>>()
    };
    let vod = keys("/media/vod/film/v0.m3u8", ms(0));
    assert_eq!(vod[..6], ["keys/0.16.key", "segment", "segment", "segment", "segment", "keys/1.16.key"]);
    // Segment 9994 is the first of the list, and 9996 has the next key.
    let live = keys("/media/live/sport/v0.m3u8", ms(0));
    assert_eq!(live[..4], ["keys/2498.16.key", "segment", "segment", "keys/2499.16.key"], "{live:?}");
    assert_eq!(live.iter().filter(|line| line.starts_with("keys/")).count(), 2);
    let status = |path: &str, now| ask(&stage, path, now, &[]).status;
    // Segment 10000 is the one that begins with the run, 10004 begins four segments later.
    assert_eq!(status("/media/live/sport/keys/2500.16.key", ms(0)), Some(200));
    assert_eq!(status("/media/live/sport/keys/2501.16.key", ms(15_999)), Some(404));
    let key = ask(&stage, "/media/live/sport/keys/2501.16.key", ms(16_000), &[]);
    assert_eq!((key.status, key.length, key.kind), (Some(200), 16, Some(Kind::Key)));
    for wrong in ["02500.16.key", "2500.17.key", "2500.key", "2500.16.m4s", "x.16.key"] {
        assert_eq!(status(&format!("/media/live/sport/keys/{wrong}"), ms(0)), Some(404), "{wrong}");
    }
    // A title of five segments has two.
    for (number, expected) in [(0, 200), (1, 200), (2, 404), (u64::MAX, 404)] {
        let path = format!("/media/vod/film/keys/{number}.16.key");
        assert_eq!(status(&path, ms(0)), Some(expected), "{number}");
    }
    assert_eq!(ask(&sample::stage(vec![]), "/media/vod/film/keys/0.16.key", ms(0), &[]).status, Some(404));
}
