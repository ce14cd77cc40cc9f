#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const HEAD: &str = "#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-TARGETDURATION:2\n\
    #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0\n#EXT-X-MEDIA-SEQUENCE:100\n";

fn segments(count: usize) -> String {
    (0..count).fold(String::new(), |text, n| format!("{text}#EXTINF:2.0,\ns{n}.ts\n"))
}

/// Lines of a playlist as a client sees them: those of the whole playlist, and blocks of lines that end with a URI. The
/// last block may have none.
fn parted(text: &str) -> (Vec<&str>, Vec<String>) {
    let (mut of_playlist, mut blocks, mut begun) = (Vec::new(), vec![String::new()], false);
    for line in lines(text) {
        let kind = of(line);
        begun |= matches!(kind, Line::OfSegment | Line::Uri)
            || tag(line).is_some_and(|(name, _)| name == "EXT-X-SKIP");
        if kind == Line::OfPlaylist || !begun {
            of_playlist.push(line);
            continue;
        }
        blocks.last_mut().unwrap().push_str(line);
        if kind == Line::Uri {
            blocks.push(String::new());
        }
    }
    (of_playlist, blocks)
}

/// What a client makes of an update and the playlist that it has: the segments that are left out are taken from that.
fn merge(held: &str, update: &str) -> (Vec<String>, Vec<String>) {
    let (of_playlist, mut blocks) = parted(update);
    let at = blocks[0].find("#EXT-X-SKIP:").expect("a delta update");
    let line = blocks[0][at..].lines().next().unwrap().to_owned();
    let count: usize = line.strip_prefix("#EXT-X-SKIP:SKIPPED-SEGMENTS=").unwrap().parse().unwrap();
    let end = blocks[0][at..].find('\n').map_or(blocks[0].len(), |end| at + end + 1);
    blocks[0].replace_range(at..end, "");
    let mut merged = parted(held).1[..count].to_vec();
    merged.extend(blocks);
    (of_playlist.into_iter().map(str::to_owned).collect(), merged)
}

#[test]
fn segments_beyond_the_boundary_are_left_out_and_counted() {
    // Six target durations after a segment are the boundary itself; one more is beyond it.
    let text = format!("{HEAD}{}", segments(8));
    let expected = format!(
        "{}#EXT-X-SKIP:SKIPPED-SEGMENTS=1\n{}",
        HEAD.replace("VERSION:4", "VERSION:9"),
        segments(8).replace("#EXTINF:2.0,\ns0.ts\n", "")
    );
    assert_eq!(delta(&text).unwrap(), expected);
    assert_eq!(delta(&format!("{HEAD}{}", segments(7))), None);
    let crlf = text.replace('\n', "\r\n");
    assert_eq!(delta(&crlf).unwrap(), expected.replace('\n', "\r\n"));
    let facts = crate::hls::read::read(expected.as_bytes()).unwrap();
    assert_eq!((facts.media_sequence, facts.reach.next), (100, 108));
}

#[test]
fn a_boundary_below_six_target_durations_is_taken_as_six() {
    let text = format!("{}{}", HEAD.replace("CAN-SKIP-UNTIL=12.0", "CAN-SKIP-UNTIL=2.0"), segments(20));
    assert!(delta(&text).unwrap().contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=13\n"));
    let text = format!("{}{}", HEAD.replace("CAN-SKIP-UNTIL=12.0", "CAN-SKIP-UNTIL=24"), segments(20));
    assert!(delta(&text).unwrap().contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=7\n"));
}

#[test]
fn what_applies_to_the_skipped_is_skipped_and_the_playlists_own_stays() {
    let text = format!(
        "{HEAD}#EXT-VENDOR-HEAD\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n\
         #EXT-X-DATERANGE:ID=\"a\",START-DATE=\"2026-01-01T00:00:00Z\"\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z\n\
         #EXT-X-CUE-OUT:30\n# a comment\n\n#EXTINF:2,\n#EXT-X-BYTERANGE:1@0\nold.ts\n#EXT-X-DISCONTINUITY\n#EXT-X-GAP\n\
         #EXT-X-PART:DURATION=2,URI=\"p\"\n#EXT-X-DEFINE:NAME=\"x\",VALUE=\"y\"\n#EXTINF:2,\nold2.ts\n#EXT-X-KEY:METHOD=NONE\n\
         #EXT-X-CUE-IN\n{}#EXT-X-RENDITION-REPORT:URI=\"a\"\n",
        segments(7)
    );
    let expected = format!(
        "{}#EXT-VENDOR-HEAD\n#EXT-X-SKIP:SKIPPED-SEGMENTS=2\n\
         #EXT-X-DATERANGE:ID=\"a\",START-DATE=\"2026-01-01T00:00:00Z\"\n#EXT-X-DEFINE:NAME=\"x\",VALUE=\"y\"\n\
         #EXT-X-KEY:METHOD=NONE\n#EXT-X-CUE-IN\n{}#EXT-X-RENDITION-REPORT:URI=\"a\"\n",
        HEAD.replace("VERSION:4", "VERSION:9"),
        segments(7)
    );
    assert_eq!(delta(&text).unwrap(), expected);
}

#[test]
fn the_version_is_the_one_that_an_update_needs() {
    let body = segments(9);
    let at =
        |version: &str| delta(&format!("{}{body}", HEAD.replace("#EXT-X-VERSION:4\n", version))).unwrap();
    assert!(at("").starts_with("#EXTM3U\n#EXT-X-VERSION:9\n"));
    for (told, is) in [("8 \n", "9 \n"), ("x\n", "9\n"), ("9\n", "9\n"), ("12\n", "12\n")] {
        let update = at(&format!("#EXT-X-VERSION:{told}"));
        assert!(update.starts_with(&format!("#EXTM3U\n#EXT-X-VERSION:{is}")), "{told}: {update}");
    }
}

#[test]
fn what_cannot_be_updated_so_goes_in_full() {
    let body = segments(20);
    assert!(delta(&format!("{HEAD}{body}")).is_some());
    for text in [
        format!("{HEAD}{body}#EXT-X-ENDLIST\n"),
        format!("{HEAD}#EXT-X-SKIP:SKIPPED-SEGMENTS=4\n{body}"),
        format!("{}{body}", HEAD.replace(",CAN-SKIP-UNTIL=12.0", "")),
        format!("{}{body}", HEAD.replace("12.0", "\"12.0\"")),
        format!("{HEAD}{}", body.replacen("#EXTINF:2.0", "#EXTINF:soon", 1)),
        format!("{HEAD}{}", body.replacen("#EXTINF:2.0,\n", "", 1)),
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n".to_owned(),
        String::new(),
    ] {
        assert_eq!(delta(&text), None, "{text}");
    }
}

fn segment() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "#EXT-X-DISCONTINUITY",
        "#EXT-X-MAP:URI=\"i.mp4\"",
        "#EXT-X-KEY:METHOD=AES-128,URI=\"k,1\"",
        "#EXT-X-BITRATE:900",
        "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z",
        "#EXT-X-GAP",
        "#EXT-X-PART:DURATION=1,URI=\"p\"",
        "#EXT-X-DATERANGE:ID=\"a\"",
        "#EXT-X-CUE-OUT:3",
        "# comment",
        "",
    ]);
    (prop::collection::vec(line, 0..4), 1u32..4000, 0u32..1000).prop_map(|(tags, millis, name)| {
        let mut text = tags.iter().fold(String::new(), |text, tag| format!("{text}{tag}\n"));
        let _ = write!(text, "#EXTINF:{}.{:03},\ns{name}.ts\n", millis / 1000, millis % 1000);
        text
    })
}

proptest! {
    #[test]
    fn an_update_merged_with_what_was_held_is_the_full_playlist(
        blocks in prop::collection::vec(segment(), 0..40), tail in "(#EXT-X-PART:DURATION=1,URI=\"q\"\n){0,3}", crlf: bool,
    ) {
        let mut text = format!("{HEAD}{}{tail}", blocks.concat());
        if crlf {
            text = text.replace('\n', "\r\n");
        }
        if let Some(update) = delta(&text) {
            prop_assert!(update.len() < text.len() + 40);
            let (of_playlist, merged) = merge(&text, &update);
            let (expected, full) = parted(&text);
            prop_assert_eq!(merged, full);
            let expected: Vec<String> = expected.into_iter().map(|line| line.replace("VERSION:4", "VERSION:9")).collect();
            prop_assert_eq!(of_playlist, expected);
        }
    }

    #[test]
    fn no_text_makes_an_update_that_loses_a_line_behind_the_boundary(text in "\\PC*", count in 0usize..30) {
        let _ = delta(&text);
        let full = format!("{HEAD}{}", segments(count));
        let update = delta(&full);
        prop_assert_eq!(update.is_some(), count > 7);
        if let Some(update) = update {
            let first = format!("#EXTINF:2.0,\ns{}.ts\n", count - 7);
            let rest = full.find(&first).and_then(|at| full.get(at..)).unwrap();
            prop_assert!(update.ends_with(rest));
        }
    }
}
