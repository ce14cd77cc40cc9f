#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::hls::PlaylistFacts;
use crate::hls::generated::playlist;
use proptest::prelude::*;

/// Each name in short: kind, URI, range, number.
fn named(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    names(text, |named| {
        let mut line = format!("{} {}", named.kind.as_str(), named.uri);
        if let Some(range) = named.range {
            let len = range.len.map_or("..".to_owned(), |len| len.to_string());
            line += &format!(" {len}@{}", range.start);
        }
        match (named.msn, named.part) {
            (Some(msn), Some(part)) => line += &format!(" #{msn}.{part}"),
            (Some(msn), None) => line += &format!(" #{msn}"),
            _ => assert!(named.part.is_none()),
        }
        line += if named.hint { " hint" } else { "" };
        line += if named.gap { " gap" } else { "" };
        found.push(line);
    });
    found
}

#[test]
fn a_multivariant_playlist_names_playlists_and_session_keys() {
    let text = "#EXTM3U\n#EXT-X-SESSION-KEY:METHOD=AES-128,URI=\"k\"\n#EXT-X-SESSION-DATA:DATA-ID=\"a\",URI=\"d.json\"\n\
        #EXT-X-CONTENT-STEERING:SERVER-URI=\"s\"\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",URI=\"a\"\n\
        #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv\nstray.ts\n";
    assert_eq!(named(text), ["key k", "media_playlist a", "media_playlist i", "media_playlist v"]);
}

#[test]
fn segments_and_parts_have_their_numbers() {
    let text = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n#EXT-X-MAP:URI=\"i\"\n#EXTINF:4,\na\n\
        #EXT-X-PART:DURATION=1,URI=\"b.0\"\n#EXT-X-PART:DURATION=1,URI=\"b.1\",GAP=YES\n#EXT-X-GAP\n#EXTINF:2,\nb\n\
        #EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXT-X-PART:DURATION=1,URI=\"c.0\"\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"c.1\"\n#EXT-X-PRELOAD-HINT:TYPE=MAP,URI=\"j\"\n\
        #EXT-X-PRELOAD-HINT:TYPE=NEW,URI=\"n\"\n#EXT-X-RENDITION-REPORT:URI=\"r\",LAST-MSN=12\n";
    let expected = [
        "init i",
        "segment a #10",
        "part b.0 #11.0",
        "part b.1 #11.1 gap",
        "segment b #11 gap",
        "key k",
        "part c.0 #12.0",
        "part c.1 #12.1 hint",
        "init j hint",
        "media_playlist r",
    ];
    assert_eq!(named(text), expected);
}

#[test]
fn a_byte_range_without_an_offset_follows_the_one_before_of_the_same_resource() {
    let text = "#EXTM3U\n#EXT-X-MAP:URI=\"f\",BYTERANGE=\"100\"\n#EXTINF:4,\n#EXT-X-BYTERANGE:10@100\nf\n\
        #EXTINF:4,\n#EXT-X-BYTERANGE:20\nf\n#EXT-X-BYTERANGE:5\n#EXTINF:4,\ng\n#EXTINF:4,\nf\n\
        #EXT-X-BYTERANGE:7\nf\n#EXT-X-PART:URI=\"h\",BYTERANGE=\"8@16\"\n#EXT-X-PART:URI=\"h\",BYTERANGE=\"8\"\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"h\",BYTERANGE-START=32\n\
        #EXT-X-PRELOAD-HINT:TYPE=MAP,URI=\"f\",BYTERANGE-LENGTH=9\n";
    let expected = [
        "init f 100@0",
        "segment f 10@100 #0",
        "segment f 20@110 #1",
        "segment g 5@0 #2",
        "segment f #3",
        "segment f 7@0 #4",
        "part h 8@16 #5.0",
        "part h 8@24 #5.1",
        "part h ..@32 #5.2 hint",
        "init f 9@0 hint",
    ];
    assert_eq!(named(text), expected);
}

#[test]
fn a_range_that_follows_from_what_is_left_out_is_not_named() {
    let text = "#EXTM3U\n#EXT-X-SKIP:SKIPPED-SEGMENTS=2\n#EXT-X-BYTERANGE:10\nf\n#EXT-X-BYTERANGE:10\nf\n\
        #EXT-X-BYTERANGE:10@40\nf\n#EXT-X-BYTERANGE:10\nf\n";
    assert_eq!(named(text), ["segment f 10@40 #4", "segment f 10@50 #5"]);
}

#[test]
fn pictures_are_no_segments() {
    let text = "#EXTM3U\n#EXT-X-IMAGES-ONLY\n#EXTINF:6,\nt/1.jpg\n";
    assert_eq!(named(text), ["image t/1.jpg #0"]);
}

#[test]
fn numbers_beyond_all_bounds_end_nothing() {
    let text = "#EXT-X-MEDIA-SEQUENCE:18446744073709551615\n#EXT-X-SKIP:SKIPPED-SEGMENTS=9\n#EXT-X-BYTERANGE:5@18446744073709551615\n\
        a\n#EXT-X-BYTERANGE:5\na\n#EXT-X-BYTERANGE:18446744073709551616\na\n";
    let last = u64::MAX;
    assert_eq!(
        named(text),
        [
            format!("segment a 5@{last} #{last}"),
            format!("segment a 5@{last} #{last}"),
            format!("segment a #{last}")
        ]
    );
}

/// What the maker of a playlist knows of what it says.
fn known(facts: &PlaylistFacts) -> impl PartialEq + std::fmt::Debug {
    let says = (facts.multivariant, facts.ended, facts.can_block_reload, facts.can_skip);
    let numbers = (facts.media_sequence, facts.discontinuity_sequence, facts.reach);
    (says, facts.target_duration, facts.part_target, numbers)
}

proptest! {
    /// What is read from a playlist is what its maker knows of it.
    #[test]
    fn playlists_are_read_as_they_were_made(made in playlist()) {
        let facts = crate::hls::read::read(made.text.as_bytes()).unwrap();
        prop_assert_eq!(known(&facts), known(&made.facts), "{}", made.text);
        let mut found = Vec::new();
        names(&made.text, |named| found.push((named.kind, named.msn, named.part, named.hint, named.gap)));
        prop_assert_eq!(found, made.names, "{}", made.text);
        let mut places = Vec::new();
        uris::find(&made.text, |place| places.push(place.at));
        prop_assert_eq!(places, made.uris, "{}", made.text);
    }

    /// Any text: nothing panics, and nothing is named that is no URI.
    #[test]
    fn no_text_makes_names_fail(
        made in playlist(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), "[\"=,:#@{$}\n0-9]|EXT-X-"), 0..8),
    ) {
        let mut text = made.text;
        for (at, piece) in damage {
            let mut at = at.index(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            text.insert_str(at, &piece);
        }
        let facts = crate::hls::read::read(text.as_bytes());
        let mut uris = 0;
        uris::find(&text, |_| uris += 1);
        let mut found = 0;
        names(&text, |_| found += 1);
        prop_assert!(found <= uris);
        if let Ok(facts) = facts {
            prop_assert!(facts.reach.next >= facts.media_sequence);
        }
    }
}
