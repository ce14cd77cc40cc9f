#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::*;

const TEXT: &str = "#EXTM3U\r\n#EXT-X-INDEPENDENT-SEGMENTS\r\n\
    #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"hi\",NAME=\"en\",URI=\"en-hi.m3u8\"\r\n\
    #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"lo\",NAME=\"en\",URI=\"en-lo.m3u8\"\r\n\
    #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"hi\",NAME=\"en\",URI=\"sub.m3u8\"\r\n\
    #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"of-nobody\",NAME=\"x\",URI=\"x.m3u8\"\r\n\
    # the small one\r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=1000,RESOLUTION=640x360,CODECS=\"avc1.4d401e,mp4a.40.2\",AUDIO=\"lo\",SUBTITLES=\"hi\"\r\n360.m3u8\r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=5000,RESOLUTION=1920x1080,FRAME-RATE=59.94,CODECS=\"hvc1.1.6,mp4a.40.2\",AUDIO=\"hi\"\r\n# between\r\n\r\n1080.m3u8\r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=200,CODECS=\"mp4a.40.2\",AUDIO=\"lo\"\r\naudio.m3u8\r\n\
    #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=90,RESOLUTION=1920x1080,CODECS=\"hvc1.1.6\",URI=\"i1080.m3u8\"\r\n\
    #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=20,RESOLUTION=640x360,CODECS=\"avc1.4d401e\",URI=\"i360.m3u8\"\r\n\
    #EXT-X-IMAGE-STREAM-INF:BANDWIDTH=9,RESOLUTION=320x180,CODECS=\"jpeg\",URI=\"t.m3u8\"\r\n\
    #EXT-X-SESSION-KEY:METHOD=NONE\r\n#EXT-X-STREAM-INF:BANDWIDTH=3000,RESOLUTION=1280x720,FRAME-RATE=60,CODECS=\"avc1.64001f\"\r\n720.m3u8";

fn codecs(prefixes: &[&str]) -> VariantBounds {
    VariantBounds {
        codecs: prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(),
        ..VariantBounds::default()
    }
}

fn heights(least: Option<u64>, most: Option<u64>) -> VariantBounds {
    VariantBounds { height: (least, most), ..VariantBounds::default() }
}

fn bandwidths(least: Option<u64>, most: Option<u64>) -> VariantBounds {
    VariantBounds { bandwidth: (least, most), ..VariantBounds::default() }
}

/// The playlists that a text names, in its order.
fn names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    super::super::uris::find(text, |place| names.push(place.says.trim_end_matches(".m3u8").to_owned()));
    names
}

fn chosen(bounds: &VariantBounds, order: Option<VariantOrder>) -> Vec<String> {
    let chosen = choose(TEXT, bounds, order);
    assert!(!chosen.none_within);
    names(chosen.text.as_deref().unwrap_or(TEXT))
}

#[test]
fn variants_within_the_bounds_stay_and_renditions_go_with_the_last_that_names_them() {
    for (bounds, expected) in [
        (
            VariantBounds::default(),
            &["en-hi", "en-lo", "sub", "x", "360", "1080", "audio", "i1080", "i360", "t", "720"][..],
        ),
        (heights(None, Some(720)), &["en-lo", "sub", "x", "360", "audio", "i360", "t", "720"]),
        (heights(Some(361), None), &["en-hi", "en-lo", "x", "1080", "audio", "i1080", "720"]),
        (bandwidths(Some(1001), Some(5000)), &["en-hi", "x", "1080", "720"]),
        (codecs(&["avc1", "mp4a"]), &["en-lo", "sub", "x", "360", "audio", "i360", "720"]),
        (codecs(&["mp4a"]), &["en-lo", "x", "audio"]),
    ] {
        assert_eq!(chosen(&bounds, None), expected, "{bounds:?}");
    }
    assert_eq!(choose(TEXT, &VariantBounds::default(), None), Chosen::default());
}

#[test]
fn variants_are_ordered_in_their_places() {
    let order = |by, down| Some(VariantOrder { by, down });
    let all = VariantBounds::default();
    for (order, expected) in [
        (order(OrderBy::Height, false), &["audio", "360", "720", "i360", "i1080", "t", "1080"][..]),
        (order(OrderBy::Height, true), &["1080", "720", "360", "i1080", "i360", "t", "audio"]),
        (order(OrderBy::Bandwidth, true), &["1080", "720", "360", "i1080", "i360", "t", "audio"]),
        (order(OrderBy::Bandwidth, false), &["audio", "360", "720", "i360", "i1080", "t", "1080"]),
        (order(OrderBy::FrameRate, true), &["720", "1080", "360", "i1080", "i360", "t", "audio"]),
    ] {
        assert_eq!(chosen(&all, order)[4..], *expected, "{order:?}");
    }
    let text = choose(TEXT, &all, order(OrderBy::Height, true)).text.unwrap();
    // What stands in a variant goes with it; what stands before it stays.
    assert!(text.contains("# the small one\r\n#EXT-X-STREAM-INF:BANDWIDTH=5000"), "{text}");
    assert!(text.contains("AUDIO=\"hi\"\r\n# between\r\n\r\n1080.m3u8\r\n#EXT"), "{text}");
    assert!(text.ends_with("AUDIO=\"lo\"\r\naudio.m3u8"), "{text}");
    assert_eq!(text.len(), TEXT.len());
    assert_eq!(
        chosen(&heights(None, Some(720)), order(OrderBy::Height, true))[3..],
        ["720", "360", "i360", "t", "audio"]
    );
}

#[test]
fn bounds_that_leave_nothing_to_play_filter_nothing() {
    for bounds in [heights(Some(5000), Some(6000)), bandwidths(None, Some(1)), codecs(&["av01"])] {
        let text = TEXT
            .replace("RESOLUTION", "X")
            .replace("CODECS=\"mp4a.40.2\"", "RESOLUTION=1x1,CODECS=\"mp4a\"")
            .replace("X=", "RESOLUTION=")
            .replace("CODECS=\"avc1.64001f\"", "RESOLUTION=1x1,CODECS=\"avc1\"");
        let chosen = choose(&text, &bounds, None);
        assert!(chosen.none_within && chosen.text.is_none(), "{bounds:?}");
    }
    let none = choose("#EXTM3U\n#EXTINF:1,\na.ts\n", &heights(None, Some(1)), None);
    assert_eq!(none, Chosen::default(), "a media playlist has no variants");
}

#[test]
fn variables_are_resolved_for_a_decision() {
    let text = "#EXTM3U\n#EXT-X-DEFINE:NAME=\"c\",VALUE=\"hvc1.1\"\n#EXT-X-DEFINE:NAME=\"g\",VALUE=\"aud\"\n\
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{$g}\",NAME=\"a\"\n\
        #EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"{$c}\",AUDIO=\"aud\"\na.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2,CODECS=\"avc1\"\n{$g}.m3u8\n";
    let made = choose(text, &codecs(&["avc1"]), None).text.unwrap();
    assert!(
        made.ends_with("VALUE=\"aud\"\n#EXT-X-STREAM-INF:BANDWIDTH=2,CODECS=\"avc1\"\n{$g}.m3u8\n"),
        "{made}"
    );
}

/// A variant of the generator: height, bandwidth, group, comment between.
type Drawn = (Option<u64>, u64, Option<u8>, bool);

fn ladder() -> impl Strategy<Value = (Vec<Drawn>, bool)> {
    let variant = (prop::option::of(1..6_u64), 1..9_u64, prop::option::of(0..3_u8), prop::bool::ANY);
    (prop::collection::vec(variant, 0..9), prop::bool::ANY)
}

fn write((variants, returns): &(Vec<Drawn>, bool), keep: impl Fn(&Drawn) -> bool) -> String {
    let mut text = "#EXTM3U\n# head\n".to_owned();
    let kept: Vec<&Drawn> = variants.iter().filter(|one| keep(one)).collect();
    for group in 0..3 {
        let is_named = |one: &&Drawn| one.2 == Some(group);
        if variants.iter().any(|one| is_named(&one)) <= kept.iter().any(is_named) {
            text.push_str(&format!(
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{group}\",NAME=\"n\",URI=\"{group}.m3u8\"\n"
            ));
        }
    }
    for (place, drawn) in variants.iter().enumerate() {
        let (height, bandwidth, group, between) = drawn;
        text.push_str(&format!("#X-BEFORE:{place}\n"));
        if keep(drawn) {
            let height = height.map_or(String::new(), |height| format!(",RESOLUTION=1x{height}"));
            let group = group.map_or(String::new(), |group| format!(",AUDIO=\"{group}\""));
            let between = if *between { "# between, \n\n" } else { "" };
            text.push_str(&format!(
                "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth}{height}{group}\n{between}v.m3u8?{place}\n"
            ));
        }
    }
    text.push_str("# end");
    if *returns { text.replace('\n', "\r\n") } else { text }
}

proptest! {
    #[test]
    fn a_filter_takes_out_what_it_says_and_nothing_else(ladder in ladder(), most in 0..6_u64, least in 0..9_u64) {
        let bounds = VariantBounds { height: (None, Some(most)), bandwidth: (Some(least), None), codecs: Vec::new() };
        let within = |(height, bandwidth, ..): &Drawn| height.is_none_or(|height| height <= most) && *bandwidth >= least;
        let text = write(&ladder, |_| true);
        let made = choose(&text, &bounds, None);
        let any = ladder.0.iter().any(within);
        prop_assert_eq!(made.none_within, !any && !ladder.0.is_empty());
        let expected = if any { write(&ladder, within) } else { text.clone() };
        prop_assert_eq!(made.text.unwrap_or_else(|| text.clone()), expected);
        prop_assert_eq!(choose(&text, &VariantBounds::default(), None), Chosen::default());
    }

    #[test]
    fn an_order_moves_variants_and_nothing_else(ladder in ladder(), down in prop::bool::ANY) {
        let text = write(&ladder, |_| true);
        let order = VariantOrder { by: OrderBy::Bandwidth, down };
        let made = choose(&text, &VariantBounds::default(), Some(order)).text.unwrap_or_else(|| text.clone());
        let mut sorted = ladder.0.iter().enumerate().collect::<Vec<_>>();
        sorted.sort_by_key(|(_, one)| if down { 9 - one.1 } else { one.1 });
        let places: Vec<String> = sorted.iter().map(|(place, _)| format!("v.m3u8?{place}")).collect();
        let found: Vec<&str> = made.lines().filter(|line| line.starts_with("v.m3u8")).collect();
        prop_assert_eq!(found, places);
        let others = |text: &str| text.lines().filter(|line| line.starts_with("#X-") || line.starts_with("#EXT-X-MEDIA")).map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(others(&made), others(&text));
        let mut lines: [Vec<&str>; 2] = [text.split('\n').collect(), made.split('\n').collect()];
        lines.iter_mut().for_each(|lines| lines.sort_unstable());
        prop_assert_eq!(&lines[0], &lines[1]);
    }

    #[test]
    fn no_text_is_too_strange(text in "(\\PC|[\r\n\",=x]|#EXT-X-STREAM-INF:|BANDWIDTH=1|RESOLUTION=1x2|#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"|AUDIO=\"|#EXT-X-DEFINE:NAME=\"){0,60}") {
        let order = VariantOrder { by: OrderBy::Height, down: true };
        let _ = choose(&text, &bandwidths(Some(1), Some(2)), Some(order));
    }
}
