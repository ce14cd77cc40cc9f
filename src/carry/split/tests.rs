#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use proptest::prelude::*;

const PATH: &str = "/live/ch1/index.m3u8";
const OWN: &str = "own.example";

fn split_of(text: &str, form: Form, syntax: Syntax, path: &str) -> Split {
    let terms = Terms {
        form,
        syntax,
        path,
        is_own: &|host| is_same_host(host, OWN),
        is_token: &|parameter| parameter.starts_with("tok="),
        has_token: &|path| path.starts_with("/tok="),
    };
    split(text.as_bytes(), &terms).unwrap()
}

/// What a viewer gets.
fn given(text: &str, split: &Split, viewer: &Viewer<'_>) -> String {
    let mut given = String::new();
    let mut from = 0;
    for edit in split.edits(viewer) {
        given.push_str(&text[from..edit.at]);
        given.push_str(edit.head);
        given.push_str(edit.text);
        given.push_str(edit.tail);
        from = edit.at + edit.skip;
    }
    given.push_str(&text[from..]);
    assert_eq!(split.len_for(viewer), given.len() as u64, "{given}");
    assert_eq!(split.touches(viewer), split.edits(viewer).next().is_some());
    given
}

fn by_query(text: &str, syntax: Syntax) -> String {
    let viewer = Viewer { token: "tok=T", query: "", inherits: false, host: "asked.example" };
    given(text, &split_of(text, Form::Query, syntax, PATH), &viewer)
}

fn by_path(text: &str, inherits: bool, syntax: Syntax) -> String {
    let viewer = Viewer { token: "/tok=T", query: "", inherits, host: "asked.example" };
    given(text, &split_of(text, Form::Path, syntax, PATH), &viewer)
}

/// Each URI by query, by path, and by path where it inherits.
const URIS: [(&str, &str, &str, &str); 32] = [
    ("a.ts", "a.ts?tok=T", "/tok=T/live/ch1/a.ts", "a.ts"),
    ("v/a.ts?x=1", "v/a.ts?x=1&tok=T", "/tok=T/live/ch1/v/a.ts?x=1", "v/a.ts?x=1"),
    ("a.ts?", "a.ts?tok=T", "/tok=T/live/ch1/a.ts?", "a.ts?"),
    ("a.ts?x&", "a.ts?x&tok=T", "/tok=T/live/ch1/a.ts?x&", "a.ts?x&"),
    ("a.ts#t", "a.ts?tok=T#t", "/tok=T/live/ch1/a.ts#t", "a.ts#t"),
    ("a.ts?x#t?y", "a.ts?x&tok=T#t?y", "/tok=T/live/ch1/a.ts?x#t?y", "a.ts?x#t?y"),
    ("?x=1", "?x=1&tok=T", "/tok=T/live/ch1/index.m3u8?x=1", "?x=1"),
    ("./a.ts", "./a.ts?tok=T", "/tok=T/live/ch1/a.ts", "./a.ts"),
    ("../a.ts", "../a.ts?tok=T", "/tok=T/live/a.ts", "../a.ts"),
    ("../../a.ts", "../../a.ts?tok=T", "/tok=T/a.ts", "../../a.ts"),
    ("../../../a.ts", "../../../a.ts?tok=T", "/tok=T/a.ts", "/tok=T/a.ts"),
    ("./.././a.ts", "./.././a.ts?tok=T", "/tok=T/live/a.ts", "./.././a.ts"),
    ("x/../a.ts?y=/../", "x/../a.ts?y=/../&tok=T", "/tok=T/live/ch1/a.ts?y=/../", "x/../a.ts?y=/../"),
    ("../x/../../../a.ts", "../x/../../../a.ts?tok=T", "/tok=T/a.ts", "/tok=T/a.ts"),
    ("..", "..?tok=T", "/tok=T/live/", ".."),
    (".?x", ".?x&tok=T", "/tok=T/live/ch1/?x", ".?x"),
    ("/a.ts", "/a.ts?tok=T", "/tok=T/a.ts", "/tok=T/a.ts"),
    ("/x/../../a.ts?y", "/x/../../a.ts?y&tok=T", "/tok=T/a.ts?y", "/tok=T/a.ts?y"),
    (
        "https://own.example/a.ts",
        "https://own.example/a.ts?tok=T",
        "https://own.example/tok=T/a.ts",
        "https://own.example/tok=T/a.ts",
    ),
    (
        "HTTP://OWN.example:81/a",
        "HTTP://OWN.example:81/a?tok=T",
        "HTTP://OWN.example:81/tok=T/a",
        "HTTP://OWN.example:81/tok=T/a",
    ),
    ("//own.example/a", "//own.example/a?tok=T", "//own.example/tok=T/a", "//own.example/tok=T/a"),
    (
        "https://asked.example?x",
        "https://asked.example?x&tok=T",
        "https://asked.example/tok=T/?x",
        "https://asked.example/tok=T/?x",
    ),
    (
        "https://other.example/a.ts",
        "https://other.example/a.ts",
        "https://other.example/a.ts",
        "https://other.example/a.ts",
    ),
    (
        "data:text/plain;base64,AAAA",
        "data:text/plain;base64,AAAA",
        "data:text/plain;base64,AAAA",
        "data:text/plain;base64,AAAA",
    ),
    ("skd://key", "skd://key", "skd://key", "skd://key"),
    ("a.ts?tok=own", "a.ts?tok=own", "/tok=T/live/ch1/a.ts?tok=own", "a.ts?tok=own"),
    ("/tok=own/a.ts", "/tok=own/a.ts?tok=T", "/tok=own/a.ts", "/tok=own/a.ts"),
    ("{$unknown}/a.ts", "{$unknown}/a.ts", "{$unknown}/a.ts", "{$unknown}/a.ts"),
    ("a{$unknown}.ts", "a{$unknown}.ts?tok=T", "/tok=T/live/ch1/a{$unknown}.ts", "a{$unknown}.ts"),
    ("{$cdn}/a.ts", "{$cdn}/a.ts", "{$cdn}/a.ts", "{$cdn}/a.ts"),
    (
        "{$own}/a.ts",
        "{$own}/a.ts?tok=T",
        "https://own.example/tok=T/x/a.ts",
        "https://own.example/tok=T/x/a.ts",
    ),
    ("{$up}a.ts{$query}", "{$up}a.ts{$query}&tok=T", "/tok=T/live/a.ts?q", "{$up}a.ts{$query}"),
];

const DEFINES: &str = "#EXTM3U\n#EXT-X-DEFINE:NAME=\"cdn\",VALUE=\"https://other.example\"\n\
    #EXT-X-DEFINE:NAME=\"own\",VALUE=\"https://own.example/x\"\n#EXT-X-DEFINE:NAME=\"up\",VALUE=\"../\"\n\
    #EXT-X-DEFINE:NAME=\"query\",VALUE=\"?q\"\n";

#[test]
fn each_uri_of_a_playlist_gets_the_token_where_it_goes() {
    for (uri, query, path, inherited) in URIS {
        let whole = |uri: &str| {
            format!(
                "{DEFINES}#EXT-X-MAP:URI=\"{uri}\",BYTERANGE=\"1@0\"\r\n#EXTINF:2,\r\n{uri}\r\n# {uri}\n{uri}"
            )
            .replace(&format!("# {uri}"), "# comment")
        };
        let text = whole(uri);
        assert_eq!(by_query(&text, Syntax::Hls), whole(query), "{uri}");
        assert_eq!(by_path(&text, false, Syntax::Hls), whole(path), "{uri}");
        assert_eq!(by_path(&text, true, Syntax::Hls), whole(inherited), "{uri}");
    }
}

#[test]
fn a_host_is_the_sites_own_for_those_who_asked_it() {
    let text = "#EXTM3U\nhttps://a.example/1.ts\nhttps://b.example/1.ts\n";
    let split = split_of(text, Form::Query, Syntax::Hls, PATH);
    let viewer = |host| Viewer { token: "tok=T", query: "", inherits: false, host };
    let expected = "#EXTM3U\nhttps://a.example/1.ts\nhttps://b.example/1.ts?tok=T\n";
    assert_eq!(given(text, &split, &viewer("B.example")), expected);
    assert!(!split.touches(&viewer("c.example")));
}

#[test]
fn what_inherits_is_not_touched_at_all() {
    let text = "#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4\"\na.ts\n";
    let split = split_of(text, Form::Path, Syntax::Hls, PATH);
    assert!(!split.touches(&Viewer { token: "/tok=T", query: "", inherits: true, host: OWN }));
    assert!(split.touches(&Viewer { token: "/tok=T", query: "", inherits: false, host: OWN }));
}

#[test]
fn a_split_is_small() {
    let text: String = (0..10_000).map(|i| format!("#EXTINF:4,\nsegment-{i:06}.m4s\n")).collect();
    for form in [Form::Query, Form::Path] {
        let split = split_of(&text, form, Syntax::Hls, PATH);
        assert!(split.held_bytes() < 10_000 * 12 + 512, "{}", split.held_bytes());
    }
}

#[test]
fn what_is_written_out_is_bounded() {
    let long = "x/".repeat(2000);
    let text = format!("#EXT-X-DEFINE:NAME=\"l\",VALUE=\"../{long}\"\n{}", "{$l}a\n{$l}b\n".repeat(100));
    let terms = Terms {
        form: Form::Path,
        syntax: Syntax::Hls,
        path: PATH,
        is_own: &|_| false,
        is_token: &|_| false,
        has_token: &|_| false,
    };
    let split = split(text.as_bytes(), &terms);
    assert!(split.is_ok_and(|split| split.held_bytes() < 20_000), "the same twice is kept once");
    let lines: String = (0..100).map(|i| format!("{{$l}}{i}\n")).collect();
    let text = format!("#EXT-X-DEFINE:NAME=\"l\",VALUE=\"../{long}\"\n{lines}");
    assert_eq!(super::split(text.as_bytes(), &terms).map(|_| ()), Err(NotSplit::TooLong));
    assert_eq!(super::split(b"\xff", &terms), Err(NotSplit::NoText));
}

// === Manifests ===

const MPD: &str = r#"<?xml version="1.0"?>
<MPD><ProgramInformation/>
 <Location>../live.mpd?x=1</Location>
 <Period>
  <AdaptationSet><SegmentTemplate media="$RepresentationID$/$Number$.m4s" initialization='/init.mp4?a=1&amp;b=2'/></AdaptationSet>
  <AdaptationSet><BaseURL>https://other.example/d/</BaseURL><SegmentTemplate media="a.m4s" index="/i"/></AdaptationSet>
  <AdaptationSet><BaseURL>https://own.example/d/</BaseURL><SegmentList><SegmentURL media="a.m4s"/></SegmentList></AdaptationSet>
 </Period>
</MPD>"#;

#[test]
fn a_manifest_gets_the_token_by_query_wherever_its_own_uris_stand() {
    let expected = MPD
        .replace("live.mpd?x=1", "live.mpd?x=1&amp;tok=T")
        .replace("$Number$.m4s", "$Number$.m4s?tok=T")
        .replace("b=2", "b=2&amp;tok=T")
        .replace("own.example/d/", "own.example/d/?tok=T")
        .replace("SegmentURL media=\"a.m4s\"", "SegmentURL media=\"a.m4s?tok=T\"");
    assert_eq!(by_query(MPD, Syntax::Dash), expected);
}

#[test]
fn a_manifest_not_asked_for_below_the_token_is_given_a_base_below_it() {
    let inherited =
        MPD.replace("'/init.mp4", "'/tok=T/init.mp4").replace("own.example/d/", "own.example/tok=T/d/");
    assert_eq!(by_path(MPD, true, Syntax::Dash), inherited);
    let expected = inherited
        .replace("<Location>../", "<Location>/tok=T/live/")
        .replace("<Location>", "<BaseURL>/tok=T/live/ch1/</BaseURL><Location>");
    assert_eq!(by_path(MPD, false, Syntax::Dash), expected);
}

#[test]
fn a_base_of_the_manifests_own_is_extended_instead() {
    let text = "<MPD><BaseURL>dash/</BaseURL><BaseURL>/x/</BaseURL><Period><SegmentTemplate media='a.m4s'/></Period></MPD>";
    let expected = "<MPD><BaseURL>/tok=T/live/ch1/dash/</BaseURL><BaseURL>/tok=T/x/</BaseURL><Period><SegmentTemplate media='a.m4s'/></Period></MPD>";
    assert_eq!(by_path(text, false, Syntax::Dash), expected);
}

#[test]
fn bases_side_by_side_count_when_they_are_all_of_the_site() {
    let text = |other: &str| {
        format!(
            "<MPD><BaseURL>https://own.example/</BaseURL><BaseURL>https://{other}/</BaseURL><Period><SegmentTemplate media='a.m4s'/></Period></MPD>"
        )
    };
    assert!(by_query(&text("own.example"), Syntax::Dash).contains("'a.m4s?tok=T'"));
    assert!(by_query(&text("other.example"), Syntax::Dash).contains("'a.m4s'"));
    assert!(by_query(&text("other.example"), Syntax::Dash).contains("https://other.example/<"));
    let asked = text("asked.example").replace("own.example", "asked.example");
    assert!(by_query(&asked, Syntax::Dash).contains("'a.m4s?tok=T'"));
}

#[test]
fn a_manifest_gets_the_parameter_beside_the_token_of_its_base() {
    let text = "<MPD><Location>a.mpd#t</Location><Period><SegmentTemplate media='$Number$.m4s?x=1' index='/i?a=1&amp;b=2'/></Period></MPD>";
    let split = split_of(text, Form::PathAndQuery, Syntax::Dash, PATH);
    let viewer = |inherits| Viewer { token: "/tok=T", query: "sid=1&amp;s=2", inherits, host: OWN };
    let expected = "<MPD><BaseURL>/tok=T/live/ch1/</BaseURL><Location>/tok=T/live/ch1/a.mpd?sid=1&amp;s=2#t</Location><Period>\
        <SegmentTemplate media='$Number$.m4s?x=1&amp;sid=1&amp;s=2' index='/tok=T/i?a=1&amp;b=2&amp;sid=1&amp;s=2'/></Period></MPD>";
    assert_eq!(given(text, &split, &viewer(false)), expected);
    let inherits =
        expected.replace("/tok=T/live/ch1/a", "a").replace("<BaseURL>/tok=T/live/ch1/</BaseURL>", "");
    assert_eq!(given(text, &split, &viewer(true)), inherits);
}

#[test]
fn a_folder_with_marks_of_xml_is_escaped() {
    let text = "<MPD><Period/></MPD>";
    let split = split_of(text, Form::Path, Syntax::Dash, "/a&b's/x.mpd");
    let viewer = Viewer { token: "/tok=T", query: "", inherits: false, host: OWN };
    let expected = "<MPD><BaseURL>/tok=T/a&amp;b&apos;s/</BaseURL><Period/></MPD>";
    assert_eq!(given(text, &split, &viewer), expected);
}

// === Against a model ===

/// RFC 3986 section 5.2.2 for `http` references without user information.
fn resolved(reference: &str, host: &str, base: &str) -> String {
    let (before, after) = reference.split_at(path_of(reference).len());
    if let Some(rest) = reference.strip_prefix("https://") {
        let (host, _) = rest.split_once('/').unwrap();
        return resolved(&reference["https://".len() + host.len()..], host, base);
    }
    let path = match before {
        "" => base.to_owned(),
        path if path.starts_with('/') => target::without_dots(path, false),
        path => target::without_dots(&format!("{}{path}", folder(base)), false),
    };
    format!("https://{host}{path}{after}")
}

fn uri() -> impl Strategy<Value = String> {
    let path =
        prop::collection::vec(prop_oneof!["[a-c]{1,2}", Just("..".to_owned()), Just(".".to_owned())], 1..6);
    let start =
        prop_oneof![Just(""), Just("/"), Just("https://own.example/"), Just("https://other.example/")];
    let query = prop_oneof![Just(""), Just("?x=1"), Just("?"), Just("?x&"), Just("?a/../b")];
    let fragment = prop_oneof![Just(""), Just("#f"), Just("#f?x")];
    (start, path, query, fragment)
        .prop_map(|(start, path, query, fragment)| format!("{start}{}{query}{fragment}", path.join("/")))
}

fn playlist() -> impl Strategy<Value = (String, Vec<String>)> {
    prop::collection::vec((uri(), prop::bool::ANY), 0..20).prop_map(|uris| {
        let line = |(uri, tag): &(String, bool)| match tag {
            true => format!("#EXT-X-PART:DURATION=1,URI=\"{uri}\",X=\",\"\n"),
            false => format!("#EXTINF:1,{uri}\r\n{uri}\r\n"),
        };
        let text: String = uris.iter().map(line).collect();
        (format!("#EXTM3U\n{text}"), uris.into_iter().map(|(uri, _)| uri).collect())
    })
}

fn uris_of(text: &str) -> Vec<String> {
    let mut uris = Vec::new();
    hls::uris::find(text, |place| uris.push(place.says.into_owned()));
    uris
}

proptest! {
    /// What a player asks for is what it would have asked for, and the token.
    #[test]
    fn every_uri_leads_where_it_did_with_the_token(
        (text, uris) in playlist(),
        base in "(/[a-c]{1,2}){0,3}/index",
        inherits in prop::bool::ANY,
    ) {
        let viewer = Viewer { token: "/tok=T", query: "", inherits, host: OWN };
        let given_text = given(&text, &split_of(&text, Form::Path, Syntax::Hls, &base), &viewer);
        let requested = if inherits { format!("/tok=T{base}") } else { base.clone() };
        let after = uris_of(&given_text);
        prop_assert_eq!(after.len(), uris.len());
        for (uri, after) in uris.iter().zip(&after) {
            let wanted = resolved(uri, OWN, &base).replace("https://own.example/", "https://own.example/tok=T/");
            prop_assert_eq!(resolved(after, OWN, &requested), wanted, "{} became {}", uri, after);
        }
        let viewer = Viewer { token: "tok=T", ..viewer };
        let given_text = given(&text, &split_of(&text, Form::Query, Syntax::Hls, &base), &viewer);
        for (uri, after) in uris.iter().zip(&uris_of(&given_text)) {
            let parts = |uri: &str| {
                let (uri, fragment) = uri.split_once('#').map_or((uri, None), |(uri, f)| (uri, Some(f.to_owned())));
                let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
                let query: Vec<_> = query.split('&').filter(|p| !p.is_empty()).map(str::to_owned).collect();
                (path.to_owned(), query, fragment)
            };
            let (path, mut query, fragment) = parts(uri);
            if !uri.starts_with("https://other") {
                query.push("tok=T".to_owned());
            }
            prop_assert_eq!(parts(after), (path, query, fragment));
        }
    }

    /// Beside a token in the path, a parameter goes where it would go into the text that has the token already.
    #[test]
    fn path_and_query_are_what_one_is_after_the_other(
        (text, _) in playlist(),
        base in "(/[a-c]{1,2}){0,3}/index",
        inherits in prop::bool::ANY,
    ) {
        let viewer = Viewer { token: "/tok=T", query: "sid=1", inherits, host: OWN };
        let both = given(&text, &split_of(&text, Form::PathAndQuery, Syntax::Hls, &base), &viewer);
        let path = given(&text, &split_of(&text, Form::Path, Syntax::Hls, &base), &viewer);
        let viewer = Viewer { token: "sid=1", query: "", ..viewer };
        prop_assert_eq!(both, given(&path, &split_of(&path, Form::Query, Syntax::Hls, &base), &viewer));
    }

    /// Taking the insertions out gives the text back; so nothing else has changed.
    #[test]
    fn nothing_but_what_is_inserted_is_new(
        text in "(\\PC|[\r\n\",={$}#?/.:&]|#EXT-X-MAP:URI=\"|https://own.example|\\.\\./|<MPD>|<BaseURL>|</BaseURL>|</MPD>){0,60}",
    ) {
        for syntax in [Syntax::Hls, Syntax::Dash] {
            for form in [Form::Query, Form::Path, Form::PathAndQuery] {
                let terms = Terms { form, syntax, path: PATH, is_own: &|host| host == OWN, is_token: &|_| false, has_token: &|_| false };
                let Ok(split) = split(text.as_bytes(), &terms) else { continue };
                let viewer = Viewer { token: "T", query: "Q", inherits: false, host: OWN };
                given(&text, &split, &viewer);
                let mut end = 0;
                for edit in split.edits(&viewer) {
                    prop_assert!(edit.at >= end && text.get(edit.at..edit.at + edit.skip).is_some());
                    end = edit.at + edit.skip;
                }
            }
        }
    }
}

/// Whether a generated URI is one that a token goes with.
fn carries(uri: &str) -> bool {
    let foreign = ["data:", "skd:", "https://other.example"];
    !foreign.iter().any(|foreign| uri.starts_with(foreign))
}

/// The texts between ranges of a text.
fn around<'t>(text: &'t str, places: &[std::ops::Range<usize>]) -> Vec<&'t str> {
    let starts = std::iter::once(0).chain(places.iter().map(|place| place.end));
    let ends = places.iter().map(|place| place.start).chain(std::iter::once(text.len()));
    starts.zip(ends).map(|(start, end)| &text[start..end]).collect()
}

proptest! {
    /// A token is in the URIs of the site, all of them, and nowhere else; without it the text is as it was, byte for byte.
    #[test]
    fn exactly_the_uris_of_a_playlist_change(made in hls::generated::playlist(), by_path in prop::bool::ANY) {
        let (form, token) = if by_path { (Form::Path, "/tok=T") } else { (Form::Query, "tok=T") };
        let split = split_of(&made.text, form, Syntax::Hls, PATH);
        let viewer = Viewer { token, query: "", inherits: false, host: "asked.example" };
        let with_token = given(&made.text, &split, &viewer);
        let mut places = Vec::new();
        hls::uris::find(&with_token, |place| places.push(place.at));
        prop_assert_eq!(around(&with_token, &places), around(&made.text, &made.uris));
        for (place, before) in places.iter().zip(&made.uris) {
            let (now, before) = (&with_token[place.clone()], &made.text[before.clone()]);
            prop_assert_eq!(now.matches("tok=T").count(), usize::from(carries(before)), "{} became {}", before, now);
            prop_assert!(carries(before) || now == before, "{before} became {now}");
        }
        // Taken out again.
        let (mut again, mut at, mut from) = (String::new(), 0, 0);
        for edit in split.edits(&viewer) {
            again.push_str(&with_token[at..at + edit.at - from]);
            again.push_str(&made.text[edit.at..edit.at + edit.skip]);
            at += edit.at - from + edit.head.len() + token.len() + edit.tail.len();
            from = edit.at + edit.skip;
        }
        again.push_str(&with_token[at..]);
        prop_assert_eq!(again, made.text);
    }

    /// With nothing to insert, what is written is what was read.
    #[test]
    fn a_playlist_into_which_nothing_is_put_is_as_it_was(made in hls::generated::playlist()) {
        let terms = Terms {
            form: Form::Query,
            syntax: Syntax::Hls,
            path: PATH,
            is_own: &|_| false,
            is_token: &|_| true,
            has_token: &|_| false,
        };
        let carries_one = |uri: &str| uri.contains('?') || uri.starts_with("https://") || !carries(uri);
        let untouched = made.uris.iter().all(|uri| carries_one(&made.text[uri.clone()]));
        let split = split(made.text.as_bytes(), &terms).unwrap();
        let viewer = Viewer { token: "", query: "", inherits: true, host: "asked.example" };
        prop_assert_eq!(split.edits(&viewer).next().is_none(), untouched);
        // By path, what is relative inherits the token: only what is not has to be touched.
        let split = split_of(&made.text, Form::Path, Syntax::Hls, "/a/b/c/d/index.m3u8");
        let from_root = |uri: &str| uri.starts_with('/') || uri.starts_with("https://own.example");
        let roots = made.uris.iter().filter(|uri| from_root(&made.text[(*uri).clone()])).count();
        prop_assert_eq!(split.edits(&viewer).count(), roots);
        if roots == 0 {
            prop_assert_eq!(given(&made.text, &split, &viewer), made.text);
        }
    }
}
