//! What each playlist must say at chosen moments.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use super::*;
use crate::demo::origin::timeline::Timeline;

/// The open segment is 100 when this many milliseconds have passed; 96 and 108 start a loop.
const SEGMENT_100: u64 = 200_000;

fn edge(millis: u64) -> Edge {
    Timeline::joined_at(UNIX_EPOCH).edge(UNIX_EPOCH + Duration::from_millis(millis))
}

fn lines_with<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(start)).collect()
}

fn low_latency_at(millis: u64) -> String {
    let media = Media::load().unwrap();
    low_latency(&media, &media.renditions[0], edge(millis))
}

#[test]
fn the_multivariant_playlist_names_every_rendition() {
    let text = multivariant(&Media::load().unwrap());
    assert_eq!(lines_with(&text, "#EXT-X-STREAM-INF:").len(), 3);
    for uri in ["180p/index.m3u8", "360p/index.m3u8", "540p/index.m3u8"] {
        assert!(text.lines().any(|line| line == uri), "{text}");
    }
}

#[test]
fn the_vod_playlist_lists_the_loop_once_and_ends() {
    let media = Media::load().unwrap();
    let text = vod(&media.renditions[0]);
    assert_eq!(lines_with(&text, "seg-").len(), 12);
    assert_eq!(lines_with(&text, "#EXT-X-MAP:").len(), 1);
    assert!(text.ends_with("#EXT-X-ENDLIST\n"));
}

#[test]
fn the_live_playlist_slides_and_marks_the_loop() {
    let text = live(edge(SEGMENT_100));
    let segments: Vec<String> = (94..100).map(|n| format!("seg-{n}.m4s")).collect();
    assert_eq!(lines_with(&text, "seg-"), segments);
    assert_eq!(lines_with(&text, "#EXT-X-MEDIA-SEQUENCE:"), ["#EXT-X-MEDIA-SEQUENCE:94"]);
    assert_eq!(lines_with(&text, "#EXT-X-DISCONTINUITY-SEQUENCE:"), ["#EXT-X-DISCONTINUITY-SEQUENCE:7"]);
    let before_loop = text.split("seg-95.m4s\n").nth(1).unwrap();
    assert!(
        before_loop.starts_with(
            "#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:03:12.000Z\n\
             #EXTINF:2.000,\nseg-96.m4s\n"
        ),
        "{text}"
    );
}

#[test]
fn a_playlist_that_starts_with_the_loop_has_one_map_and_keeps_the_discontinuity() {
    let text = live(edge(2_000 * 102));
    assert_eq!(lines_with(&text, "#EXT-X-DISCONTINUITY-SEQUENCE:"), ["#EXT-X-DISCONTINUITY-SEQUENCE:7"]);
    assert_eq!(lines_with(&text, "#EXT-X-MAP:").len(), 1);
    assert!(lines_with(&text, "#EXT-X-DISCONTINUITY").contains(&"#EXT-X-DISCONTINUITY"));
}

#[test]
fn the_low_latency_playlist_lists_recent_parts_the_next_part_and_the_other_renditions() {
    let text = low_latency_at(SEGMENT_100 + 1_000);
    let parts = lines_with(&text, "#EXT-X-PART:");
    assert_eq!(parts.len(), 3 * 4 + 2);
    assert_eq!(parts[0], "#EXT-X-PART:DURATION=0.500,URI=\"seg-97.part0.m4s\",INDEPENDENT=YES");
    assert_eq!(parts[13], "#EXT-X-PART:DURATION=0.500,URI=\"seg-100.part1.m4s\"");
    assert_eq!(
        lines_with(&text, "#EXT-X-PRELOAD-HINT:"),
        ["#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"seg-100.part2.m4s\""]
    );
    assert_eq!(
        lines_with(&text, "#EXT-X-RENDITION-REPORT:"),
        [
            "#EXT-X-RENDITION-REPORT:URI=\"../360p/index.m3u8\",LAST-MSN=100,LAST-PART=1",
            "#EXT-X-RENDITION-REPORT:URI=\"../540p/index.m3u8\",LAST-MSN=100,LAST-PART=1"
        ]
    );
}

#[test]
fn a_just_started_segment_is_only_hinted_at() {
    let text = low_latency_at(SEGMENT_100);
    assert!(text.contains("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"seg-100.part0.m4s\""), "{text}");
    assert!(text.contains("LAST-MSN=99,LAST-PART=3"), "{text}");
    assert_eq!(text.matches("seg-100").count(), 1, "{text}");
}

#[test]
fn the_parts_of_a_loop_start_stand_after_its_discontinuity() {
    let text = low_latency_at(2_000 * 96 + 500);
    let after = text.split("#EXT-X-DISCONTINUITY\n").nth(1).unwrap();
    assert!(after.starts_with("#EXT-X-MAP:URI=\"init.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:"), "{text}");
    assert!(after.lines().nth(2).unwrap().contains("seg-96.part0.m4s"), "{text}");
}

#[test]
fn dates_follow_the_gregorian_calendar() {
    let of =
        |seconds: u64, millis: u64| date_time(UNIX_EPOCH + Duration::from_millis(seconds * 1_000 + millis));
    assert_eq!(of(0, 0), "1970-01-01T00:00:00.000Z");
    assert_eq!(of(951_827_696, 5), "2000-02-29T12:34:56.005Z");
    assert_eq!(of(1_700_000_000, 500), "2023-11-14T22:13:20.500Z");
    assert_eq!(of(1_735_689_599, 999), "2024-12-31T23:59:59.999Z");
}
