//! A live Low-Latency stream on paper: which parts there are, what its playlist says of them (RFC 8216bis), and what
//! paths and queries name. Parts are counted through: the number of a part says its segment and its place in it.

use std::fmt::Write;

/// Parts of a segment.
pub(crate) const PARTS_PER_SEGMENT: u64 = 4;

/// The part up to which the stream exists when it is started.
pub(crate) const FIRST_EDGE: u64 = 100 * PARTS_PER_SEGMENT - 1;

/// Where the playlist is.
pub(crate) const PLAYLIST: &str = "/live/index.m3u8";

/// Segments that are whole and listed, and those of them with their parts.
const WINDOW_SEGMENTS: u64 = 6;
const WINDOW_SEGMENTS_WITH_PARTS: u64 = 3;

/// What a request to the stream's origin is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The playlist as it is.
    Playlist,
    /// The playlist as soon as it has this part.
    Reload(u64),
    /// A part.
    Part(u64),
}

/// The number of a part, counted through.
pub(crate) fn number(segment: u64, part: u64) -> Option<u64> {
    (part < PARTS_PER_SEGMENT).then_some(segment.checked_mul(PARTS_PER_SEGMENT)?.checked_add(part)?)
}

/// The target that waits for a part.
pub(crate) fn reload_target(part: u64) -> String {
    format!("{PLAYLIST}?_HLS_msn={}&_HLS_part={}", part / PARTS_PER_SEGMENT, part % PARTS_PER_SEGMENT)
}

/// The path of a part.
pub(crate) fn part_path(part: u64) -> String {
    format!("/live/{}.{}.m4s", part / PARTS_PER_SEGMENT, part % PARTS_PER_SEGMENT)
}

/// What a target names; `None` for what the stream does not have.
pub(crate) fn wanted(target: &str) -> Option<Wanted> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path == PLAYLIST {
        if query.is_empty() {
            return Some(Wanted::Playlist);
        }
        let directive = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        return number(directive("_HLS_msn")?, directive("_HLS_part")?).map(Wanted::Reload);
    }
    let (segment, part) = path.strip_prefix("/live/")?.strip_suffix(".m4s")?.split_once('.')?;
    number(segment.parse().ok()?, part.parse().ok()?).map(Wanted::Part)
}

/// The playlist when `edge` is the last part.
pub(crate) fn playlist(edge: u64, part_ms: u64) -> String {
    let (open, open_parts) = ((edge + 1) / PARTS_PER_SEGMENT, (edge + 1) % PARTS_PER_SEGMENT);
    let first = open.saturating_sub(WINDOW_SEGMENTS);
    let (part_seconds, segment_seconds) = (part_ms as f64 / 1e3, (part_ms * PARTS_PER_SEGMENT) as f64 / 1e3);
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:{}\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={:.3}\n\
         #EXT-X-PART-INF:PART-TARGET={part_seconds:.3}\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-MAP:URI=\"init.mp4\"\n",
        segment_seconds.ceil(),
        3.0 * part_seconds,
    );
    let push_parts = |text: &mut String, segment: u64, parts: u64| {
        for part in 0..parts {
            let _ = writeln!(text, "#EXT-X-PART:DURATION={part_seconds:.3},URI=\"{segment}.{part}.m4s\"");
        }
    };
    for segment in first..open {
        if segment + WINDOW_SEGMENTS_WITH_PARTS >= open {
            push_parts(&mut text, segment, PARTS_PER_SEGMENT);
        }
        let _ = write!(text, "#EXTINF:{segment_seconds:.3},\n{segment}.m4s\n");
    }
    push_parts(&mut text, open, open_parts);
    let _ = writeln!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{open}.{open_parts}.m4s\"");
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_is_understood() {
        for part in [0, 3, 4, 401] {
            assert_eq!(wanted(&reload_target(part)), Some(Wanted::Reload(part)));
            assert_eq!(wanted(&part_path(part)), Some(Wanted::Part(part)));
        }
        assert_eq!(wanted(PLAYLIST), Some(Wanted::Playlist));
        for other in
            ["/live/1.4.m4s", "/live/1.m4s", "/live/index.m3u8?_HLS_msn=1", "/live/index.m3u8?a", "/"]
        {
            assert_eq!(wanted(other), None, "{other}");
        }
    }

    #[test]
    fn a_playlist_ends_with_its_last_part_and_hints_at_the_next() {
        for edge in FIRST_EDGE..FIRST_EDGE + 9 {
            let text = playlist(edge, 500);
            let name = |part| part_path(part).replace("/live/", "");
            let last = text.lines().rfind(|line| line.starts_with("#EXT-X-PART:")).unwrap();
            assert!(last.contains(&name(edge)), "{text}");
            let hint = text.lines().next_back().unwrap();
            assert!(hint.starts_with("#EXT-X-PRELOAD-HINT:") && hint.contains(&name(edge + 1)), "{text}");
            assert_eq!(text.matches("#EXTINF:2.000").count() as u64, WINDOW_SEGMENTS);
            assert!(text.contains("#EXT-X-TARGETDURATION:2\n"), "{text}");
        }
    }
}
