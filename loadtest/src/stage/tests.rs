#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod faults;
mod media;
mod walk;

use std::time::Duration;

use super::sample::{ask, get, ms, scenario, stage, wall_epoch};
use super::*;
use crate::content;

/// Fills what the playlists cannot say by themselves: lengths in bytes.
fn bytes_masked(text: &str) -> String {
    let mask = |line: &str| {
        if !line.contains(".m4s") && !line.contains(".mp4") {
            return line.to_owned();
        }
        let end = line.find(".m4s").or_else(|| line.find(".mp4")).unwrap();
        let start = line[..end].rfind('.').unwrap();
        format!("{}.B{}", &line[..start], &line[end..])
    };
    text.lines().map(mask).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_multivariant_playlist_names_each_rendition_with_its_mean_and_its_peak() {
    let text = get(&stage(vec![]), "/media/live/sport/index.m3u8", Duration::ZERO);
    let expected = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n\
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Main\",LANGUAGE=\"en\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",URI=\"audio.m3u8\"\n\
        #EXT-X-STREAM-INF:BANDWIDTH=487200,AVERAGE-BANDWIDTH=464000,CODECS=\"avc1.640028,mp4a.40.2\",RESOLUTION=416x234,FRAME-RATE=25.000,AUDIO=\"audio\"\nv0.m3u8\n\
        #EXT-X-STREAM-INF:BANDWIDTH=1747200,AVERAGE-BANDWIDTH=1664000,CODECS=\"avc1.640028,mp4a.40.2\",RESOLUTION=960x540,FRAME-RATE=25.000,AUDIO=\"audio\"\nv1.m3u8\n";
    assert_eq!(text, expected);
}

#[test]
fn a_live_playlist_slides_by_a_segment_exactly_when_one_is_published() {
    let stage = stage(vec![]);
    let at = |now| bytes_masked(&get(&stage, "/media/live/sport/v1.m3u8", now));
    let first = at(Duration::ZERO);
    let expected = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:9994\n#EXT-X-INDEPENDENT-SEGMENTS\n\
        #EXT-X-MAP:URI=\"v1/init.B.mp4\"\n\
        #EXT-X-PROGRAM-DATE-TIME:2025-12-31T23:59:36.000Z\n#EXTINF:4.000000,\nv1/9994.B.m4s\n\
        #EXT-X-PROGRAM-DATE-TIME:2025-12-31T23:59:40.000Z\n#EXTINF:4.000000,\nv1/9995.B.m4s\n\
        #EXT-X-PROGRAM-DATE-TIME:2025-12-31T23:59:44.000Z\n#EXTINF:4.000000,\nv1/9996.B.m4s\n\
        #EXT-X-PROGRAM-DATE-TIME:2025-12-31T23:59:48.000Z\n#EXTINF:4.000000,\nv1/9997.B.m4s\n\
        #EXT-X-PROGRAM-DATE-TIME:2025-12-31T23:59:52.000Z\n#EXTINF:4.000000,\nv1/9998.B.m4s\n\
        #EXT-X-PROGRAM-DATE-TIME:2025-12-31T23:59:56.000Z\n#EXTINF:4.000000,\nv1/9999.B.m4s";
    assert_eq!(first, expected);
    assert_eq!(at(Duration::from_nanos(3_999_999_999)), first);
    let next = at(Duration::from_secs(4));
    assert!(next.contains("#EXT-X-MEDIA-SEQUENCE:9995\n") && next.ends_with("\nv1/10000.B.m4s"), "{next}");
}

#[test]
fn a_low_latency_playlist_has_parts_hint_reports_and_its_server_control() {
    let text = get(&stage(vec![]), "/media/live/news/v0.m3u8", ms(3_600));
    let masked = bytes_masked(&text);
    let (head, rest) = masked.split_once("#EXT-X-PROGRAM-DATE-TIME").unwrap();
    assert_eq!(
        head,
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.500000,HOLD-BACK=6\n\
         #EXT-X-PART-INF:PART-TARGET=0.500000\n#EXT-X-MEDIA-SEQUENCE:9995\n#EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-MAP:URI=\"v0/init.B.mp4\"\n"
    );
    let tail = rest.rsplit_once("#EXT-X-PROGRAM-DATE-TIME").unwrap().1;
    assert_eq!(
        tail,
        ":2026-01-01T00:00:02.000Z\n\
         #EXT-X-PART:DURATION=0.500000,URI=\"v0/10001.0.B.m4s\",INDEPENDENT=YES\n\
         #EXT-X-PART:DURATION=0.500000,URI=\"v0/10001.1.B.m4s\"\n\
         #EXT-X-PART:DURATION=0.500000,URI=\"v0/10001.2.B.m4s\"\n\
         #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"v0/10001.3.B.m4s\"\n\
         #EXT-X-RENDITION-REPORT:URI=\"v1.m3u8\",LAST-MSN=10001,LAST-PART=2\n\
         #EXT-X-RENDITION-REPORT:URI=\"audio.m3u8\",LAST-MSN=10001,LAST-PART=2"
    );
    // Three target durations before the end at 20003.5 s is within segment 9998, whose parts are there; those of 9997 are not.
    assert!(masked.contains("v0/9998.0.B.m4s") && !masked.contains("v0/9997.0.B.m4s"), "{masked}");
}

#[test]
fn a_title_ends_with_its_rest_and_is_always_the_same() {
    let stage = stage(vec![]);
    let text = get(&stage, "/media/vod/film/audio.m3u8", Duration::ZERO);
    assert_eq!(
        bytes_masked(&text),
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:4\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"audio/init.B.mp4\"\n\
         #EXTINF:4.000000,\naudio/0.B.m4s\n#EXTINF:4.000000,\naudio/1.B.m4s\n#EXTINF:4.000000,\naudio/2.B.m4s\n\
         #EXTINF:4.000000,\naudio/3.B.m4s\n#EXTINF:3.000000,\naudio/4.B.m4s\n#EXT-X-ENDLIST"
    );
    // Directives are nothing to what has ended (6.2.5.2).
    assert_eq!(
        get(&stage, "/media/vod/film/audio.m3u8?_HLS_msn=99&_HLS_part=1", Duration::from_secs(999)),
        text
    );
}

#[test]
fn a_delta_update_is_the_end_of_the_full_playlist() {
    let mut scenario = scenario(vec![]);
    scenario.streams[1].window = 20;
    let stage = Stage::new(&scenario, wall_epoch());
    for now in (0..9_000).step_by(250).map(ms) {
        let full = get(&stage, "/media/live/news/v0.m3u8", now);
        let delta = get(&stage, "/media/live/news/v0.m3u8?_HLS_skip=YES", now);
        assert!(full.contains(",CAN-SKIP-UNTIL=12.000000\n"), "{full}");
        let (head, tail) = delta.split_once("#EXT-X-SKIP:SKIPPED-SEGMENTS=").unwrap();
        let (skipped, tail) = tail.split_once('\n').unwrap();
        assert!(full.starts_with(head) && full.ends_with(tail), "{delta}\n{full}");
        // What is left out is more than six target durations from the end: 20 segments of 2 s less those.
        let parts = now.as_millis() % 2000 / 500;
        assert_eq!(skipped, "14", "{parts} parts");
        assert_eq!(full.matches("#EXTINF").count() - delta.matches("#EXTINF").count(), 14);
        assert!(!delta.contains("EXT-X-MAP"), "{delta}");
    }
    // Where there is nothing to leave out, nothing is announced, and the whole is given.
    scenario.streams[1].window = 6;
    let stage = Stage::new(&scenario, wall_epoch());
    let full = get(&stage, "/media/live/news/v0.m3u8", Duration::ZERO);
    assert!(!full.contains("CAN-SKIP-UNTIL"), "{full}");
    assert_eq!(get(&stage, "/media/live/news/v0.m3u8?_HLS_skip=YES", Duration::ZERO), full);
}

#[test]
fn a_live_playlist_is_never_shorter_than_three_target_durations() {
    for (segment, window, least) in [(2_600, 1, 4), (4_000, 1, 3), (500, 2, 6), (1_400, 9, 9), (400, 1, 8)] {
        let mut scenario = scenario(vec![]);
        (scenario.streams[0].segment, scenario.streams[0].window) = (ms(segment), window);
        let text = get(&Stage::new(&scenario, wall_epoch()), "/media/live/sport/v0.m3u8", ms(10));
        assert_eq!(text.matches("#EXTINF").count(), least, "{segment} ms, {window}: {text}");
    }
}

#[test]
fn copies_of_a_channel_do_not_publish_all_at_once() {
    let mut scenario = scenario(vec![]);
    scenario.streams[0].count = 4;
    let stage = Stage::new(&scenario, wall_epoch());
    let sequence = |copy: u32, now| {
        let text = get(&stage, &format!("/media/live/sport-{copy}/v0.m3u8"), now);
        text.lines()
            .find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")?.parse::<u64>().ok())
            .unwrap()
    };
    for copy in 0..4 {
        let at = Duration::from_secs(u64::from(4 - copy));
        assert_eq!(sequence(copy, at - Duration::from_nanos(1)), 9994, "{copy}");
        assert_eq!(sequence(copy, at), 9995, "{copy}");
    }
    assert_eq!(ask(&stage, "/media/live/sport/v0.m3u8", Duration::ZERO, &[]).status, Some(404));
    assert_eq!(ask(&stage, "/media/live/sport-4/v0.m3u8", Duration::ZERO, &[]).status, Some(404));
}

#[test]
fn segments_are_as_long_as_the_bitrate_says_on_the_average_and_differ() {
    let mut scenario = scenario(vec![]);
    scenario.streams[2].length = Duration::from_secs(4 * 2000);
    let text = get(&Stage::new(&scenario, wall_epoch()), "/media/vod/film/v1.m3u8", Duration::ZERO);
    let sizes: Vec<u64> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|uri| content::expected(&format!("/media/vod/film/{uri}")).unwrap().bytes)
        .collect();
    let (mean, wanted) = (sizes.iter().sum::<u64>() as f64 / sizes.len() as f64, 1_600_000.0 * 4.0 / 8.0);
    assert!((mean / wanted - 1.0).abs() < 0.003, "{mean} {wanted}");
    let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
    assert!(*least >= 760_000 && *most <= 840_000 && most - least > 70_000, "{least} {most}");
}

#[test]
fn what_may_be_kept_for_how_long_is_said_as_appendix_b_wants_it() {
    let stage = stage(vec![]);
    let keeps = |target: &str| {
        let answer = ask(&stage, target, Duration::from_secs(1), &[]);
        answer.headers["cache-control"].to_str().unwrap().to_owned()
    };
    assert_eq!(keeps("/media/live/sport/index.m3u8"), "public, max-age=60");
    assert_eq!(keeps("/media/live/sport/v0.m3u8"), "public, max-age=2");
    assert_eq!(keeps("/media/live/news/v0.m3u8"), "public, max-age=1");
    assert_eq!(keeps("/media/live/news/v0.m3u8?_HLS_msn=10000&_HLS_part=2"), "public, max-age=12");
    assert_eq!(keeps("/media/vod/film/v0.m3u8"), "public, max-age=3600");
    let vod = get(&stage, "/media/vod/film/v0.m3u8", Duration::ZERO);
    let segment = vod.lines().find(|line| !line.starts_with('#')).unwrap();
    assert_eq!(keeps(&format!("/media/vod/film/{segment}")), "public, max-age=86400, immutable");
    assert_eq!(keeps("/media/vod/film/v0/0.1.m4s"), "no-store");
    assert_eq!(keeps("/media/live/news/v0.m3u8?_HLS_msn=99999"), "no-store");
}
