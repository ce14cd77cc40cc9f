//! The text of the demo's playlists (RFC 8216bis), as functions of the media and the live edge.
//!
//! Decides which tags stand where; what exists when is [`super::timeline`]'s. URIs are relative, so that a token in the
//! leading path segment reaches everything. Pure; called by the origin for each playlist request.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use super::timeline::{Edge, discontinuity_sequence, starts_loop};
use crate::demo::media::{Media, PART_DURATION, PARTS_PER_SEGMENT, Rendition, SEGMENT_DURATION};

/// Complete segments whose parts are still listed: three target durations (RFC 8216bis section 4.4.4.9).
const SEGMENTS_WITH_PARTS: u64 = 3;

/// The multivariant playlist, the same for all streams.
pub fn multivariant(media: &Media) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    for rendition in &media.renditions {
        let _ = write!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\",RESOLUTION={}x{},FRAME-RATE=24.000\n\
             {}/index.m3u8\n",
            rendition.peak_bits_per_second(),
            rendition.average_bits_per_second(),
            rendition.codecs,
            rendition.width,
            rendition.height,
            rendition.name,
        );
    }
    text
}

/// The media playlist of the loop played once.
pub fn vod(rendition: &Rendition) -> String {
    let mut text = head();
    text.push_str("#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    text.push_str(MAP);
    for segment in 0..rendition.segments.len() as u64 {
        push_segment(&mut text, segment);
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

/// The media playlist of the live stream: the window of complete segments.
pub fn live(edge: Edge) -> String {
    let mut text = head();
    push_live_head(&mut text, edge);
    for segment in edge.window() {
        push_segment_head(&mut text, edge, segment, segment == edge.window().start);
        push_segment(&mut text, segment);
    }
    text
}

/// The media playlist of the Low-Latency stream: the window, the parts near the edge, and the part that comes next.
pub fn low_latency(media: &Media, rendition: &Rendition, edge: Edge) -> String {
    let mut text = head();
    let part_seconds = PART_DURATION.as_secs_f64();
    let _ = write!(
        text,
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK={:.1},PART-HOLD-BACK={:.1}\n\
         #EXT-X-PART-INF:PART-TARGET={part_seconds:.3}\n",
        3.0 * SEGMENT_DURATION.as_secs_f64(),
        PART_HOLD_BACK * part_seconds,
    );
    push_live_head(&mut text, edge);
    let (window, open) = (edge.window(), edge.open_segment());
    for segment in window.clone() {
        push_segment_head(&mut text, edge, segment, segment == window.start);
        if segment + SEGMENTS_WITH_PARTS >= open {
            push_parts(&mut text, segment, PARTS_PER_SEGMENT as u64);
        }
        push_segment(&mut text, segment);
    }
    if edge.open_parts() > 0 {
        push_segment_head(&mut text, edge, open, false);
        push_parts(&mut text, open, edge.open_parts());
    }
    let _ = writeln!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"seg-{open}.part{}.m4s\"", edge.open_parts());
    let (last_segment, last_part) = edge.last_part();
    for other in media.renditions.iter().filter(|other| other.name != rendition.name) {
        let _ = writeln!(
            text,
            "#EXT-X-RENDITION-REPORT:URI=\"../{}/index.m3u8\",LAST-MSN={last_segment},LAST-PART={last_part}",
            other.name,
        );
    }
    text
}

/// Parts between the edge and where a Low-Latency player should play; RFC 8216bis section 4.4.3.8 asks for at least
/// two and recommends at least three.
const PART_HOLD_BACK: f64 = 3.0;

const MAP: &str = "#EXT-X-MAP:URI=\"init.mp4\"\n";

fn head() -> String {
    let mut text = String::with_capacity(4096);
    let _ = write!(text, "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:{}\n", SEGMENT_DURATION.as_secs());
    text
}

fn push_live_head(text: &mut String, edge: Edge) {
    let first = edge.window().start;
    let _ = write!(
        text,
        "#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-DISCONTINUITY-SEQUENCE:{}\n#EXT-X-INDEPENDENT-SEGMENTS\n",
        discontinuity_sequence(first),
    );
}

/// What stands before the parts and the URI of a live segment.
fn push_segment_head(text: &mut String, edge: Edge, segment: u64, first_of_playlist: bool) {
    if starts_loop(segment) {
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    if starts_loop(segment) || first_of_playlist {
        text.push_str(MAP);
    }
    let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", date_time(edge.starts_at(segment)));
}

fn push_parts(text: &mut String, segment: u64, count: u64) {
    for part in 0..count {
        // Only the first part of a segment starts with a key frame.
        let independent = if part == 0 { ",INDEPENDENT=YES" } else { "" };
        let _ = writeln!(
            text,
            "#EXT-X-PART:DURATION={:.3},URI=\"seg-{segment}.part{part}.m4s\"{independent}",
            PART_DURATION.as_secs_f64(),
        );
    }
}

fn push_segment(text: &mut String, segment: u64) {
    let _ = write!(text, "#EXTINF:{:.3},\nseg-{segment}.m4s\n", SEGMENT_DURATION.as_secs_f64());
}

/// A time of day as `EXT-X-PROGRAM-DATE-TIME` has it: ISO 8601 in UTC with milliseconds.
fn date_time(time: SystemTime) -> String {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since_epoch.as_secs() / 86_400, since_epoch.as_secs() % 86_400);
    let (year, month, day) = calendar_date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60,
        since_epoch.subsec_millis(),
    )
}

/// Year, month and day of a number of days since 1 January 1970, in the Gregorian calendar.
fn calendar_date(days_since_epoch: u64) -> (u64, u64, u64) {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_in_year = |year: u64| if is_leap(year) { 366 } else { 365 };
    let (mut year, mut day) = (1970, days_since_epoch);
    while day >= days_in_year(year) {
        day -= days_in_year(year);
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for days_in_month in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < days_in_month {
            break;
        }
        day -= days_in_month;
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests;
