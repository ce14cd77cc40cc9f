//! Playlists of the sizes that players of live channels and films are sent.

use std::fmt::Write as _;

/// Target duration of the live playlist, in seconds.
pub const LIVE_TARGET_SECONDS: u64 = 4;

/// Segments of the live playlist.
const LIVE_SEGMENTS: u64 = 15;

/// Parts of a segment of it; the last three segments list them.
const PARTS: u64 = 4;

/// Segments of the film: two hours of 6 s.
const VOD_SEGMENTS: u64 = 1200;

/// A Low-Latency playlist at its live edge.
pub fn live() -> String {
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:{LIVE_TARGET_SECONDS}\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3.0,CAN-SKIP-UNTIL=24.0\n\
         #EXT-X-PART-INF:PART-TARGET=1.0\n#EXT-X-MEDIA-SEQUENCE:1234552\n#EXT-X-MAP:URI=\"init.mp4\"\n"
    );
    for place in 0..LIVE_SEGMENTS {
        let msn = 1_234_552 + place;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "#EXT-X-PROGRAM-DATE-TIME:2027-01-15T07:{:02}:{:02}.000Z",
            place / 15 + 58,
            place * 4 % 60
        );
        if place + 3 >= LIVE_SEGMENTS {
            for part in 0..PARTS {
                let _ = writeln!(
                    text,
                    "#EXT-X-PART:DURATION=1.0,URI=\"segment-{msn}.{part}.m4s\",INDEPENDENT=YES"
                );
            }
        }
        let _ = writeln!(text, "#EXTINF:4.00000,\nsegment-{msn}.m4s");
    }
    let next = 1_234_552 + LIVE_SEGMENTS;
    let _ = writeln!(text, "#EXT-X-PART:DURATION=1.0,URI=\"segment-{next}.0.m4s\",INDEPENDENT=YES");
    let _ = writeln!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"segment-{next}.1.m4s\"");
    for other in ["720p", "480p"] {
        let _ = writeln!(
            text,
            "#EXT-X-RENDITION-REPORT:URI=\"../{other}/index.m3u8\",LAST-MSN={next},LAST-PART=0"
        );
    }
    text
}

/// The live playlist when its stream has ended.
pub fn ended() -> String {
    live() + "#EXT-X-ENDLIST\n"
}

/// A film.
pub fn vod() -> String {
    let mut text = String::from(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:6\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MAP:URI=\"init.mp4\"\n",
    );
    for place in 0..VOD_SEGMENTS {
        let _ = writeln!(text, "#EXTINF:6.00000,\nsegment-{place:05}.m4s");
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

/// URIs in a text: every one is of the site.
pub fn uris(text: &str) -> u64 {
    text.lines().filter(|line| !line.starts_with('#') || line.contains("URI=\"")).count() as u64
}
