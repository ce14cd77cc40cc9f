#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::hls::variables::{VALUE_BYTES_MAX, VARIABLES_MAX};
use proptest::prelude::*;

fn places(text: &str) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    find(text, |place| places.push(place));
    places
}

/// The bytes of each URI, as they stand.
fn standing(text: &str) -> Vec<&str> {
    places(text).into_iter().map(|place| &text[place.at]).collect()
}

#[test]
fn every_attribute_that_holds_a_uri_is_found_and_no_other() {
    for (tag, attributes) in TAGS {
        for attribute in attributes {
            let text = format!("#EXTM3U\n#{tag}:A=1,B=\"x,URI=\",{attribute}=\"u/{attribute}.x\",C=\"y\"\n");
            assert_eq!(standing(&text), [format!("u/{attribute}.x")], "{tag}");
        }
    }
    let other = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,URI=\"no\"\n#EXT-X-START:TIME-OFFSET=\"no\"\n#EXT-X-MAP:XURI=\"no\"\n\
                 #EXT-X-PRIVATE:URI=\"no\"\n# URI=\"no\"\n#EXTINF:2,URI=\"no\"\n#EXT-X-MAPS:URI=\"no\"\n";
    assert_eq!(standing(other), [""; 0]);
}

#[test]
fn lines_are_uris_unless_they_are_tags_or_comments() {
    let text = "\u{feff}#EXTM3U\r\n\r\n#EXTINF:4,a title\r\nseg 1.ts?x=1\r\n  two.ts \t\n# comment\n#EXT-X-ENDLIST\nlast.ts";
    assert_eq!(standing(text), ["seg 1.ts?x=1", "two.ts", "last.ts"]);
}

#[test]
fn attribute_lists_are_read_as_they_come() {
    // White space after commas, values without quotes, an attribute without a value, empty strings.
    let text = "#EXT-X-KEY:METHOD=AES-128, URI=\"k?a,b=c\",IV=0x1,KEYFORMAT=\"\",URI=\"\"\n";
    assert_eq!(standing(text), ["k?a,b=c"]);
    assert_eq!(standing("#EXT-X-MAP:BYTERANGE,URI=\"i.mp4\"\n"), ["i.mp4"]);
    assert_eq!(standing("#EXT-X-MAP:A=x=y,URI=\"i.mp4\"\r\n"), ["i.mp4"]);
    assert_eq!(standing("#EXT-X-MAP:URI=\"never closed\n#EXTINF:1,\na.ts\n"), ["a.ts"]);
    assert_eq!(standing("#EXT-X-MAP:URI=plain\n"), [""; 0]);
    let both = "#EXT-X-DATERANGE:ID=\"a\",X-ASSET-URI=\"one.m3u8\",X-COM=\"b\",X-ASSET-LIST=\"two.json\"\n";
    assert_eq!(standing(both), ["one.m3u8", "two.json"]);
}

#[test]
fn variables_are_replaced_in_what_a_uri_says_and_not_where_it_stands() {
    let text = "#EXTM3U\n{$a}/early.ts\n#EXT-X-DEFINE:NAME=\"a\",VALUE=\"https://x.example\"\n\
                #EXT-X-DEFINE:NAME=\"a\",VALUE=\"second\"\n#EXT-X-DEFINE:QUERYPARAM=\"q\"\n{$a}/s.ts?{$q}{$\n\
                #EXT-X-MAP:URI=\"{$a}/i.mp4\"\n";
    let said: Vec<_> = places(text).into_iter().map(|place| place.says.into_owned()).collect();
    let expected = ["{$a}/early.ts", "https://x.example/s.ts?{$q}{$", "https://x.example/i.mp4"];
    assert_eq!(said, expected);
    assert_eq!(standing(text), ["{$a}/early.ts", "{$a}/s.ts?{$q}{$", "{$a}/i.mp4"]);
}

#[test]
fn variables_are_bounded_in_number_length_and_result() {
    let long = "v".repeat(VALUE_BYTES_MAX);
    let text = format!("#EXT-X-DEFINE:NAME=\"l\",VALUE=\"{long}x\"\n{{$l}}\n");
    assert_eq!(places(&text)[0].says, "{$l}");
    let text = format!("#EXT-X-DEFINE:NAME=\"l\",VALUE=\"{long}\"\n{}\n{{$l}}\n", "{$l}".repeat(9));
    let found = places(&text);
    assert_eq!((found[0].says.len(), found[1].says.len()), ("{$l}".len() * 9, VALUE_BYTES_MAX));
    let many: String =
        (0..=VARIABLES_MAX).map(|i| format!("#EXT-X-DEFINE:NAME=\"n{i}\",VALUE=\"v{i}\"\n")).collect();
    let text = format!("{many}{{$n{}}}{{$n{VARIABLES_MAX}}}\n", VARIABLES_MAX - 1);
    assert_eq!(places(&text)[0].says, format!("v{}{{$n{VARIABLES_MAX}}}", VARIABLES_MAX - 1));
}

#[test]
fn the_same_uris_are_found_as_by_a_reader_of_playlists() {
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:2,\na.m4s\n#EXTINF:2,\nb.m4s\n";
    let mut lines = Vec::new();
    let options = quick_m3u8::config::ParsingOptionsBuilder::new().with_parsing_for_map().build();
    let mut reader = quick_m3u8::Reader::from_str(text, options);
    while let Some(line) = reader.read_line().unwrap() {
        match line {
            quick_m3u8::HlsLine::Uri(uri) => lines.push(uri.to_string()),
            quick_m3u8::HlsLine::KnownTag(quick_m3u8::tag::KnownTag::Hls(
                quick_m3u8::tag::hls::Tag::Map(map),
            )) => {
                lines.push(map.uri().to_owned());
            }
            _ => {}
        }
    }
    assert_eq!(standing(text), lines);
}

/// A line of a playlist, and the URI that it has.
fn line() -> impl Strategy<Value = (String, Option<String>)> {
    let uri = "[a-z0-9/:.?&=_~%-]{1,20}";
    let attribute = (0..TAGS.len(), uri, "[a-z,=]{0,8}").prop_map(|(tag, uri, other)| {
        let (tag, attributes) = TAGS[tag];
        (format!("#{tag}:X=1,Y=\"{other}\",{}=\"{uri}\",Z=\"{other}\"", attributes[0]), Some(uri))
    });
    prop_oneof![
        uri.prop_map(|uri| (uri.clone(), Some(uri))),
        attribute,
        "#[ -~]{0,4}".prop_map(|comment| (comment, None)),
        Just((String::new(), None)),
        "#EXTINF:[0-9],[ -~]{0,12}".prop_map(|tag| (tag, None)),
    ]
}

#[test]
fn a_place_says_what_makes_it_a_uri() {
    let text = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n# comment\nv.m3u8\nstray\n#EXT-X-STREAM-INF:A=1\n#EXTINF:2,\nseg\n\
                #EXT-X-DATERANGE:ID=\"a\",X-ASSET-LIST=\"l\"\r\n";
    let stands: Vec<_> = places(text).into_iter().map(|place| place.stands).collect();
    let list = "ID=\"a\",X-ASSET-LIST=\"l\"\r";
    let expected = [
        Stands::Variant,
        Stands::Segment,
        Stands::Segment,
        Stands::Attribute { tag: "EXT-X-DATERANGE", name: "X-ASSET-LIST", list },
    ];
    assert_eq!(stands, expected);
}

proptest! {
    #[test]
    fn exactly_the_uris_of_a_playlist_are_found(
        lines in prop::collection::vec((line(), prop::bool::ANY), 0..40),
        bom in prop::bool::ANY,
    ) {
        let mut text = String::from(if bom { "\u{feff}#EXTM3U\n" } else { "#EXTM3U\n" });
        let mut expected = Vec::new();
        for ((line, uri), carriage) in lines {
            text.push_str(&line);
            text.push_str(if carriage { "\r\n" } else { "\n" });
            expected.extend(uri);
        }
        prop_assert_eq!(standing(&text), expected);
    }

    #[test]
    fn places_stand_in_order_and_inside_any_text(text in "(\\PC|[\r\n\",={$}#]|#EXT-X-MAP:|URI=\"|#EXT-X-DEFINE:NAME=\"a\",VALUE=\"){0,80}") {
        let mut end = 0;
        for place in places(&text) {
            prop_assert!(place.at.start >= end && place.at.start < place.at.end, "{place:?}");
            prop_assert!(text.get(place.at.clone()).is_some());
            end = place.at.end;
        }
    }
}
