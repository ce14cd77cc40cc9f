#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
use rand::{RngExt, SeedableRng};

use super::*;

fn media(text: &str) -> Media {
    match Playlist::parse(text).unwrap() {
        Playlist::Media(media) => media,
        Playlist::Multivariant(_) => panic!("a media playlist"),
    }
}

fn multivariant(text: &str) -> Multivariant {
    match Playlist::parse(text).unwrap() {
        Playlist::Multivariant(multivariant) => multivariant,
        Playlist::Media(_) => panic!("a multivariant playlist"),
    }
}

fn error(text: &str) -> String {
    format!("{:#}", Playlist::parse(text).unwrap_err())
}

const LOW: &str = "#EXTM3U\r
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5,HOLD-BACK=6.0
#EXT-X-PART-INF:PART-TARGET=0.5
#EXT-X-MEDIA-SEQUENCE:40
#EXT-X-MAP:URI=\"init.mp4\"
#EXTINF:2.00000,a title, with a comma
40.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:02.500+00:00
#EXT-X-PART:DURATION=0.5,URI=\"41.m4s\",BYTERANGE=\"1000@0\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.5,URI=\"41.m4s\",BYTERANGE=\"500\"
#EXTINF:1.0,
41.m4s
#EXT-X-PART:DURATION=0.5,URI=\"42.0.m4s?a=1,2\",INDEPENDENT=YES
#EXT-X-PRELOAD-HINT:TYPE=MAP,URI=\"other.mp4\"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"42.m4s\",BYTERANGE-START=700
#EXT-X-RENDITION-REPORT:URI=\"../v1.m3u8\",LAST-MSN=42,LAST-PART=0
";

#[test]
fn a_low_latency_playlist_is_read_with_its_parts_and_its_hint() {
    let media = media(LOW);
    assert_eq!((media.first, media.len(), media.open(), media.target_us), (40, 2, 42, 2_000_000));
    assert_eq!((media.part_target_us, media.part_hold_back_us), (Some(500_000), Some(1_500_000)));
    assert!(media.low_latency() && media.can_block && !media.ended);
    let uri = |resource: &Resource| (media.uri(resource).to_owned(), resource.range());
    let parts = |msn| media.parts(msn).iter().map(|part| uri(&part.resource)).collect::<Vec<_>>();
    assert_eq!(parts(40), []);
    let ranges = [("41.m4s".into(), Some((0, Some(999)))), ("41.m4s".into(), Some((1_000, Some(1_499))))];
    assert_eq!(parts(41), ranges, "a range without an offset goes on where the one before ended");
    assert_eq!(parts(42), [("42.0.m4s?a=1,2".into(), None)]);
    assert_eq!((parts(39).len(), parts(43).len()), (0, 0));
    assert_eq!(media.parts(41).iter().map(|part| part.independent).collect::<Vec<_>>(), [true, false]);
    assert_eq!(uri(media.segment(41).unwrap().resource), ("41.m4s".into(), None));
    assert!(media.segment(42).is_none() && media.segment(39).is_none());
    assert_eq!(uri(media.hint.as_ref().unwrap()), ("42.m4s".into(), Some((700, None))));
    assert_eq!(uri(media.map(42).unwrap()), ("init.mp4".into(), None));
    assert_eq!(
        (media.length_us(false), media.length_us(true), media.offset_us(41)),
        (3_000_000, 3_500_000, 2_000_000)
    );
    let began = "2026-01-01T00:00:00.5Z".parse::<jiff::Timestamp>().unwrap();
    assert_eq!(
        media.began_us,
        Some(began.as_microsecond()),
        "the first segment began two seconds before the second"
    );
}

#[test]
fn ranges_of_one_file_gaps_and_changes_of_the_init_segment_are_read() {
    let media = media(
        "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MAP:URI=\"all.mp4\",BYTERANGE=\"700@0\"\n\
         #EXTINF:4,\n#EXT-X-BYTERANGE:1000@700\nall.mp4\n#EXTINF:3.96,\n#EXT-X-BYTERANGE:900\nall.mp4\n\
         #EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"b.mp4\"\n#EXT-X-GAP\n#EXTINF:4,\nb1.m4s\n#EXT-X-ENDLIST\n",
    );
    assert!(media.ended && !media.low_latency());
    let ranges: Vec<_> = (0..3).map(|msn| media.segment(msn).unwrap().resource.range()).collect();
    assert_eq!(ranges, [Some((700, Some(1_699))), Some((1_700, Some(2_599))), None]);
    let maps: Vec<_> = (0..3).map(|msn| media.uri(media.map(msn).unwrap())).collect();
    assert_eq!(maps, ["all.mp4", "all.mp4", "b.mp4"]);
    assert_eq!((0..3).map(|msn| media.segment(msn).unwrap().gap).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(media.durations_us().collect::<Vec<_>>(), [4_000_000, 3_960_000, 4_000_000]);
}

#[test]
fn variants_are_in_order_of_their_peak_with_their_own_audio() {
    let multivariant = multivariant(
        "#EXTM3U\n#EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"hi\",NAME=\"s\",URI=\"subtitles.m3u8\"\n\
         #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"hi\",NAME=\"de\",URI=\"de.m3u8\"\n\
         #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"hi\",NAME=\"en\",DEFAULT=YES,URI=\"en.m3u8?a=b\"\n\
         #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"in\",NAME=\"in\",DEFAULT=YES\n\
         #EXT-X-STREAM-INF:BANDWIDTH=5000000,AVERAGE-BANDWIDTH=4000000,CODECS=\"avc1.64,mp4a.40\",AUDIO=\"hi\"\nhigh.m3u8\n\
         #EXT-X-STREAM-INF:AUDIO=\"in\",BANDWIDTH=800000\nlow.m3u8\n\
         #EXT-X-STREAM-INF:BANDWIDTH=5000000,AUDIO=\"hi\"\nhttps://other/high.m3u8\n\
         #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=100,URI=\"frames.m3u8\"\n",
    );
    let variants: Vec<_> =
        multivariant.variants.iter().map(|v| (v.peak, v.bitrate, &*v.uri, v.audio.as_deref())).collect();
    let expected =
        [(800_000, 800_000, "low.m3u8", None), (5_000_000, 4_000_000, "high.m3u8", Some("en.m3u8?a=b"))];
    assert_eq!(variants, expected);
}

#[test]
fn what_a_player_cannot_do_with_is_an_error_that_says_why() {
    for (text, says) in [
        ("", "begins with #EXTM3U"),
        ("\u{feff}#EXTM3U\n#EXTINF:4,\na\n", "begins with #EXTM3U"),
        ("<html>", "begins with #EXTM3U"),
        ("#EXTM3U\n", "without variants and without segments"),
        ("#EXTM3U\n#EXTINF:4,\na\n", "without EXT-X-TARGETDURATION"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:0\n", "without EXT-X-TARGETDURATION"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:4\na\n", "a without EXTINF"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:x,\na\n", "no number of seconds"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:-1,\na\n", "beyond 3600"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:NaN,\na\n", "beyond 3600"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:99999\n", "beyond 3600"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:-1\n", "no number"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:18446744073709551615\n", "sequence number"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-BYTERANGE:5\n#EXTINF:4,\na\n", "a range without offset"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-PART:DURATION=1\n", "without URI"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n", "delta update"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na\n#EXTINF:4,\nb\n", "of a multivariant and of a media"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:CODECS=\"x\"\na\n", "without BANDWIDTH"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n", "without a URI"),
    ] {
        let error = error(text);
        assert!(error.contains(says), "{text:?}: {error}");
    }
}

#[test]
fn every_list_has_its_limit() {
    let head = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n";
    let segments = |count| format!("{head}{}", "#EXTINF:4,\na\n".repeat(count));
    assert_eq!(media(&segments(SEGMENTS_MAX)).len(), SEGMENTS_MAX);
    assert!(error(&segments(SEGMENTS_MAX + 1)).contains("more than 25000 segments"));
    let parts = |count| format!("{head}{}", "#EXT-X-PART:DURATION=1,URI=\"a\"\n".repeat(count));
    assert_eq!(media(&parts(PARTS_MAX)).parts(0).len(), PARTS_MAX);
    assert!(error(&parts(PARTS_MAX + 1)).contains("more than 8192 parts"));
    let map = |n: usize| format!("#EXT-X-MAP:URI=\"a\",BYTERANGE=\"9@{n}\"\n");
    let maps = |count| format!("{head}{}", (0..count).map(map).collect::<String>());
    media(&maps(MAPS_MAX));
    assert!(error(&maps(MAPS_MAX + 1)).contains("more than 1024 EXT-X-MAP"));
    let variants: String =
        (0..=VARIANTS_MAX).map(|n| format!("#EXT-X-STREAM-INF:BANDWIDTH={n}\nv\n")).collect();
    assert!(error(&format!("#EXTM3U\n{variants}")).contains("more than 128 variants"));
    let renditions = "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\"\n".repeat(RENDITIONS_MAX + 1);
    let renditions = format!("#EXTM3U\n{renditions}#EXT-X-STREAM-INF:BANDWIDTH=1\na\n");
    assert!(error(&renditions).contains("more than 512 renditions"));
    let long = format!("#EXTM3U\n#{}", " ".repeat(PLAYLIST_BYTES_MAX));
    assert!(error(&long).contains("more than 4194304 bytes"));
}

#[test]
fn a_map_that_is_told_again_before_each_segment_is_kept_once() {
    let told = |n: usize| {
        let offset = n % 2 * 700;
        format!("#EXT-X-MAP:URI=\"init.mp4\",BYTERANGE=\"700@{offset}\"\n#EXTINF:4,\n{n}.m4s\n")
    };
    let count = 2 * MAPS_MAX;
    let list =
        media(&format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n{}", (0..count).map(told).collect::<String>()));
    for msn in 0..count as u64 {
        let map = list.map(msn).unwrap();
        let offset = msn % 2 * 700;
        assert_eq!((list.uri(map), map.range()), ("init.mp4", Some((offset, Some(offset + 699)))));
    }
    assert!(std::ptr::eq(list.map(0).unwrap(), list.map(2).unwrap()));
}

#[test]
fn a_hint_at_bytes_beyond_all_is_an_error() {
    let hint = |range: &str| {
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"a\",{range}\n")
    };
    for range in
        ["BYTERANGE-START=18446744073709551615", "BYTERANGE-START=18446744073709551000,BYTERANGE-LENGTH=700"]
    {
        assert!(error(&hint(range)).contains("beyond all bytes"), "{range}");
    }
    let list = media(&hint("BYTERANGE-START=18446744073709551000,BYTERANGE-LENGTH=5"));
    let range = list.hint.unwrap().range();
    assert_eq!(range, Some((18_446_744_073_709_551_000, Some(18_446_744_073_709_551_004))));
}

#[test]
fn a_segment_takes_little_memory() {
    let list =
        media(&format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n{}", "#EXTINF:4,\nv0/1234.m4s\n".repeat(900)));
    assert_eq!(list.len(), 900);
    assert!(std::mem::size_of_val(list.segment(0).unwrap().resource) <= 16);
}

#[test]
fn no_text_at_all_makes_it_panic() {
    let seed = 7;
    let mut random = rand_pcg::Pcg64Mcg::seed_from_u64(seed);
    let mut read = 0;
    for round in 0..20_000 {
        let mut text = LOW.as_bytes().to_vec();
        for _ in 0..random.random_range(0..6) {
            let at = random.random_range(8..text.len());
            match random.random_range(0..3) {
                0 => text[at] = *b"0123456789:,=\"\n#@AX\xE9-".get(random.random_range(0..20)).unwrap(),
                1 => drop(text.remove(at)),
                _ => {
                    let to = random.random_range(at..text.len().min(at + 80));
                    text.copy_within(at..to, 8);
                }
            }
        }
        let mut text = String::from_utf8_lossy(&text).into_owned();
        if random.random_range(0..4) == 0 {
            let near = u64::MAX - random.random_range(0..3_000);
            text = text.replace("START=700", &format!("START={near},BYTERANGE-LENGTH=1500"));
        }
        let Ok(Playlist::Media(media)) = Playlist::parse(&text) else { continue };
        read += 1;
        for msn in media.first.saturating_sub(1)..media.open() + 2 {
            let _ = (media.segment(msn), media.parts(msn), media.map(msn), media.offset_us(msn));
        }
        let _ = media.hint.as_ref().map(Resource::range);
        assert!(media.length_us(true) >= media.length_us(false), "seed {seed}, round {round}: {text}");
    }
    assert!(read > 1_000, "seed {seed}: {read} of 20000 are still playlists");
}

#[test]
fn the_key_of_a_segment_is_the_last_one_named_before_it_that_a_player_fetches_itself() {
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:5\n#EXTINF:2,\na\n\
                #EXT-X-KEY:METHOD=AES-128,URI=\"k/1?a=1,2\",IV=0x1\n#EXTINF:2,\nb\n\
                #EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://x\",KEYFORMAT=\"com.apple.streamingkeydelivery\"\n#EXTINF:2,\nc\n\
                #EXT-X-KEY:METHOD=AES-128,URI=\"k/2\",KEYFORMAT=\"identity\"\n#EXTINF:2,\nd\n\
                #EXT-X-KEY:METHOD=AES-128,URI=\"k/1?a=1,2\"\n#EXTINF:2,\ne\n\
                #EXT-X-KEY:METHOD=NONE\n#EXTINF:2,\nf\n#EXT-X-KEY:METHOD=AES-128,URI=\"k/3\"\n";
    let media = media(text);
    let keys: Vec<_> = (5..=11).map(|msn| media.key(msn).map(|key| media.uri(key))).collect();
    let first = Some("k/1?a=1,2");
    assert_eq!(
        keys,
        [None, first, first, Some("k/2"), first, None, Some("k/3")],
        "the open one has the last"
    );
    assert!(error(&text.replace("URI=\"k/3\"", "IV=0x1")).contains("EXT-X-KEY without URI"));
}

#[test]
fn there_is_no_more_than_one_key_for_each_segment_that_can_be() {
    let keys: String = (0..=KEYS_MAX).map(|n| format!("#EXT-X-KEY:METHOD=AES-128,URI=\"k/{n}\"\n")).collect();
    let text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n{keys}#EXTINF:2,\na\n");
    assert!(error(&text).contains("more than 25000 EXT-X-KEY"), "{}", error(&text));
}
