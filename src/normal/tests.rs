#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::hosts::change;
use super::parameters::drop;
use super::*;
use crate::config::model::HostChange;

fn names() -> Vec<String> {
    ["sid", "s%27n"].map(str::to_owned).to_vec()
}

fn dropped(text: &str) -> String {
    drop(text, Syntax::Hls, &names()).unwrap().unwrap_or_else(|| text.to_owned())
}

fn changes() -> Vec<HostChange> {
    let change = |host: &str, port, to: &str| HostChange { host: host.to_owned(), port, to: to.to_owned() };
    vec![
        change("a.example", None, "cdn.example:8443"),
        change("b.example", Some(8443), ""),
        change("c.example", Some(443), "d.example"),
        change("[::1]", None, "e.example"),
    ]
}

/// Each URI, without what is dropped.
const URIS: [(&str, &str); 17] = [
    ("a.ts", "a.ts"),
    ("a.ts?sid=1", "a.ts"),
    ("a.ts?sid", "a.ts"),
    ("a.ts?sid=1#f?sid=2", "a.ts#f?sid=2"),
    ("a.ts?x=1&sid=1", "a.ts?x=1"),
    ("a.ts?sid=1&x=1&sid=2&y", "a.ts?x=1&y"),
    ("a.ts?s%69d=1&x=1", "a.ts?x=1"),
    ("a.ts?s'n=1", "a.ts"),
    ("a.ts?sidx=1&xsid=2&x=sid=3", "a.ts?sidx=1&xsid=2&x=sid=3"),
    ("a.ts?&&sid=1&", "a.ts?&&"),
    ("?sid=1", ""),
    ("/sid=1/a.ts?Sid=1", "/sid=1/a.ts?Sid=1"),
    ("https://other.example/a?b?sid=2&sid=1", "https://other.example/a?b?sid=2"),
    ("skd://key?sid=1", "skd://key"),
    ("data:text/plain,a?sid=1", "data:text/plain,a"),
    ("a.ts?%=1&%s=2&sid%=3", "a.ts?%=1&%s=2&sid%=3"),
    ("{$x}?sid=1&y={$x}", "{$x}?y={$x}"),
];

/// What is taken out of a variable makes a parameter of what stands behind it.
#[test]
fn a_parameter_that_appears_when_another_goes_is_dropped_too() {
    let text = "#EXTM3U\n#EXT-X-DEFINE:NAME=\"v\",VALUE=\"/..?x\"\n{$v}\n{$v}/{$n?x\n{$v}&x=1\n";
    let names = ["x".to_owned()];
    let dropped = parameters::drop(text, Syntax::Hls, &names).unwrap().unwrap();
    assert_eq!(dropped.matches('?').count(), 0, "{dropped}");
    assert_eq!(parameters::drop(&dropped, Syntax::Hls, &names).unwrap(), None);
}

#[test]
fn parameters_go_from_every_uri_and_from_nothing_else() {
    for (uri, without) in URIS {
        let text = |uri: &str| {
            format!(
                "#EXTM3U\n# {uri}?sid=1\n#EXT-X-MAP:URI=\"{uri}\",X=\"?sid=1\"\r\n{uri}\r\n#EXTINF:1,?sid=1\nb.ts\n"
            )
        };
        let expected = text(without).replacen(&format!("# {without}?"), &format!("# {uri}?"), 1);
        // A line that says nothing is none.
        let made = dropped(&text(uri));
        assert_eq!(made, expected, "{uri}");
        assert_eq!(drop(&made, Syntax::Hls, &names()).unwrap(), None, "{uri}: nothing is left to drop");
    }
}

#[test]
fn variables_lose_what_is_dropped_where_it_can_be_told() {
    for (text, expected) in [
        // The value of a parameter that goes is needed by nobody.
        (
            "#EXT-X-DEFINE:NAME=\"s\",VALUE=\"1\"\na.ts?sid={$s}\nb.ts?x=1&sid={$s}\n",
            "#EXT-X-DEFINE:NAME=\"s\",VALUE=\"\"\na.ts\nb.ts?x=1\n",
        ),
        (
            "#EXT-X-DEFINE:NAME=\"s\",VALUE=\"1\"\na.ts?sid={$s}\nb-{$s}.ts\n",
            "#EXT-X-DEFINE:NAME=\"s\",VALUE=\"1\"\na.ts\nb-{$s}.ts\n",
        ),
        // Of the name of the parameter, it is imported by others.
        ("#EXT-X-DEFINE:NAME=\"sid\",VALUE=\"1\"\na.ts\n", "#EXT-X-DEFINE:NAME=\"sid\",VALUE=\"\"\na.ts\n"),
        // It holds the parameter, and more.
        (
            "#EXT-X-DEFINE:NAME=\"q\",VALUE=\"x=1&sid=2\"\n{$u}a.ts?{$q}\n",
            "#EXT-X-DEFINE:NAME=\"q\",VALUE=\"x=1\"\n{$u}a.ts?x=1\n",
        ),
        (
            "#EXT-X-DEFINE:NAME=\"u\",VALUE=\"/v?sid=2\"\n{$u}&x=1\n",
            "#EXT-X-DEFINE:NAME=\"u\",VALUE=\"/v\"\n/v?x=1\n",
        ),
        // It stays where what changes is beside it.
        (
            "#EXT-X-DEFINE:NAME=\"u\",VALUE=\"/v\"\n{$u}?sid=1\n",
            "#EXT-X-DEFINE:NAME=\"u\",VALUE=\"/v\"\n{$u}\n",
        ),
        // A folder that is called as the parameter is none.
        (
            "#EXT-X-DEFINE:NAME=\"d\",VALUE=\"sid\"\n{$d}/a.ts?sid=1\n",
            "#EXT-X-DEFINE:NAME=\"d\",VALUE=\"sid\"\n{$d}/a.ts\n",
        ),
        (
            "#EXT-X-DEFINE:NAME=\"q\",VALUE=\"sid&x=1\"\na.ts?{$q}\n",
            "#EXT-X-DEFINE:NAME=\"q\",VALUE=\"x=1\"\na.ts?x=1\n",
        ),
        ("#EXT-X-DEFINE:QUERYPARAM=\"sid\"\na.ts?sid={$sid}\n", "#EXT-X-DEFINE:QUERYPARAM=\"sid\"\na.ts\n"),
    ] {
        assert_eq!(dropped(text), expected);
    }
}

#[test]
fn manifests_lose_parameters_in_their_own_spelling() {
    let text = "<MPD><BaseURL>https://a.example/?sid=1</BaseURL><Period>\
        <SegmentTemplate media='$Number$.m4s?a=1&amp;sid=2&amp;b=3' initialization=\"i.mp4?sid=1&#38;x=2\"/><!-- ?sid=1 --></Period></MPD>";
    let expected = "<MPD><BaseURL>https://a.example/</BaseURL><Period>\
        <SegmentTemplate media='$Number$.m4s?a=1&amp;b=3' initialization=\"i.mp4?x=2\"/><!-- ?sid=1 --></Period></MPD>";
    assert_eq!(drop(text, Syntax::Dash, &names()).unwrap().unwrap(), expected);
    let hosted = expected.replace("https://a.example/", "https://cdn.example:8443/");
    assert_eq!(change(expected, Syntax::Dash, &changes()).unwrap().unwrap(), hosted);
    assert!(drop("<MPD>", Syntax::Dash, &names()).is_err());
    assert_eq!(drop("<MPD><a/></MPD>", Syntax::Dash, &names()).unwrap(), None);
}

#[test]
fn manifests_lose_parameters_wherever_they_say_them() {
    let text = |first: &str, further: &str, plain: &str| {
        format!(
            "<MPD xmlns:xlink=\"x\"><Location><![CDATA[m.mpd{first}]]></Location><Period xlink:href='p.xml?a=1{further}'>\
             <UTCTiming schemeIdUri=\"urn:x\" value=\"https://t.example/now{first}\"/>\
             <ContentProtection><dashif:Laurl> https://l.example/{first} </dashif:Laurl><a>&lt;x{first}<b/></a></ContentProtection>\
             <c label='R&D ?{plain}'><![CDATA[u?a=1{plain}&b=<2>]]></c><BaseURL>b/?a=1{further}</BaseURL><!-- ?sid=1 --></Period></MPD>"
        )
    };
    let made = drop(&text("?sid=1", "&amp;sid=1", "&sid=1"), Syntax::Dash, &names()).unwrap().unwrap();
    // Beside other elements a text is no URI.
    assert_eq!(made, text("", "", "").replace("&lt;x<b/>", "&lt;x?sid=1<b/>"));
    assert_eq!(drop(&made, Syntax::Dash, &names()).unwrap(), None);
}

#[test]
fn hosts_become_others_with_their_own_port_alone() {
    for (uri, expected) in [
        ("https://a.example/x?y", "https://cdn.example:8443/x?y"),
        ("http://A.Example.:80", "http://cdn.example:8443"),
        ("https://a.example:443#f", "https://cdn.example:8443#f"),
        ("//a.example/x", "//cdn.example:8443/x"),
        ("https://a.example:80/x", "https://a.example:80/x"),
        ("https://a.example:/x", "https://cdn.example:8443/x"),
        ("https://b.example:8443/x?y", "/x?y"),
        ("https://b.example:8443", "/"),
        ("https://b.example:8443?x", "/?x"),
        ("https://b.example:8443//x/y", "/.//x/y"),
        ("https://b.example/x", "https://b.example/x"),
        ("https://c.example/x", "https://d.example/x"),
        ("//c.example/x", "//c.example/x"),
        ("http://[::1]/x", "http://e.example/x"),
        ("https://user@a.example/x", "https://user@a.example/x"),
        ("a.example/x", "a.example/x"),
        ("/https://a.example/", "/https://a.example/"),
        ("{$v}/x", "https://cdn.example:8443/v/x"),
        ("https://{$h}/x", "https://cdn.example:8443/x"),
        ("https://a.example/{$h}", "https://cdn.example:8443/{$h}"),
    ] {
        let text = |uri: &str| {
            format!(
                "#EXTM3U\n#EXT-X-DEFINE:NAME=\"v\",VALUE=\"https://a.example/v\"\n#EXT-X-DEFINE:NAME=\"h\",VALUE=\"a.example\"\n\
                 # https://a.example/\n#EXT-X-KEY:METHOD=AES-128,URI=\"{uri}\",X=\"https://a.example/\"\n{uri} \n"
            )
        };
        let made = change(&text(uri), Syntax::Hls, &changes()).unwrap();
        assert_eq!(made.is_some(), uri != expected, "{uri}");
        assert_eq!(made.unwrap_or_else(|| text(uri)), text(expected), "{uri}");
    }
}

/// A playlist with parameters that are dropped, and the same without them.
fn playlists() -> impl Strategy<Value = (String, String)> {
    let parameter =
        prop_oneof![Just("sid=1"), Just("sid="), Just("s'n=x"), Just("a=1"), Just("b"), Just("_HLS_msn=1")];
    let uri =
        ("(https://a\\.example/|/|\\.\\./)?[a-c]{1,3}", prop::collection::vec(parameter, 0..5), "(#f)?");
    prop::collection::vec((uri, 0..4_u8, "[a-z =,]{0,9}"), 0..20).prop_map(|lines| {
        let (mut text, mut plain) = ("#EXTM3U\n".to_owned(), "#EXTM3U\n".to_owned());
        for ((path, parameters, fragment), form, noise) in lines {
            let spell = |parameters: &[&str]| {
                let query =
                    if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
                let uri = format!("{path}{query}{fragment}");
                match form {
                    0 => format!("#EXTINF:1,{noise}\n{uri}\n"),
                    1 => format!("#EXT-X-PART:DURATION=1,URI=\"{uri}\",X=\"{noise}?sid=1\"\r\n"),
                    2 => format!("#{noise}?sid=1\n\n  {uri}\t\n"),
                    _ => format!("#EXT-X-MEDIA:X={noise},URI=\"{uri}\"\n"),
                }
            };
            let kept: Vec<&str> = parameters
                .iter()
                .copied()
                .filter(|one| !one.starts_with("sid") && !one.starts_with("s'n"))
                .collect();
            text.push_str(&spell(&parameters));
            plain.push_str(&spell(&kept));
        }
        (text, plain)
    })
}

proptest! {
    #[test]
    fn what_is_dropped_is_all_that_changes((text, plain) in playlists()) {
        prop_assert_eq!(dropped(&text), &*plain);
        prop_assert_eq!(drop(&plain, Syntax::Hls, &names()).unwrap(), None, "without any, the text is as it was");
        prop_assert_eq!(drop(&text, Syntax::Hls, &[]).unwrap(), None);
        prop_assert_eq!(change(&text, Syntax::Hls, &[]).unwrap(), None);
        let other = text.replace("https://a.example/", "https://cdn.example:8443/");
        prop_assert_eq!(change(&text, Syntax::Hls, &changes()).unwrap().unwrap_or_else(|| text.clone()), other);
    }

    #[test]
    fn no_text_is_too_strange(text in "(\\PC|[\r\n\",={$}#?/.:&]|sid=1|#EXT-X-DEFINE:NAME=\"a\",VALUE=\"|\\{\\$a\\}|#EXT-X-MAP:URI=\"|https://a.example|<MPD>|<BaseURL>|</BaseURL>|</MPD>){0,60}") {
        for syntax in [Syntax::Hls, Syntax::Dash] {
            let _ = drop(&text, syntax, &names());
            let _ = change(&text, syntax, &changes());
        }
    }
}
