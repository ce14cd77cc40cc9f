#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use proptest::prelude::*;

/// What each place says, and the bases that bear on it; None: it is resolved by the URL of the MPD.
type Told = Vec<(String, Option<Vec<String>>)>;

fn told(text: &str) -> Told {
    let mut told = Vec::new();
    find(text, |place, against| {
        let bases = match against {
            Against::Document => None,
            Against::Bases(bases) => Some(bases.iter().map(|(_, base)| base.clone()).collect()),
        };
        assert_eq!(quick_xml::escape::unescape(&text[place.at.clone()]).unwrap(), place.says);
        told.push((place.says.into_owned(), bases));
    })
    .unwrap();
    told
}

fn said(text: &str) -> Vec<String> {
    told(text).into_iter().map(|(says, _)| says).collect()
}

#[test]
fn every_attribute_and_element_that_holds_a_uri_is_found_and_no_other() {
    for (element, attributes) in ATTRIBUTES {
        for attribute in attributes {
            let text = format!(
                "<MPD><Period id=\"no\"><{element} x=\"no\" {attribute} = 'a/{attribute}.x' duration=\"no\"/></Period></MPD>"
            );
            assert_eq!(said(&text), [format!("a/{attribute}.x")], "{element}");
        }
    }
    for element in ELEMENTS {
        let text = format!("<MPD><{element} serviceLocation=\"no\">\n  a/b \n</{element}></MPD>");
        assert_eq!(said(&text), ["a/b"]);
    }
    let other = "<MPD media=\"no\"><Title>no</Title><BaseURL/><Location> </Location><!-- <BaseURL>no</BaseURL> -->\
                 <X media=\"no\" sourceURL=\"no\"/><UTCTiming value=\"no\"/></MPD>";
    assert_eq!(said(other), [""; 0]);
}

#[test]
fn references_are_replaced_in_what_a_uri_says() {
    let text = "<MPD><BaseURL>a?x=1&amp;y=2&#x2f;</BaseURL><Period><SegmentTemplate media=\"s?a&amp;b\"/></Period></MPD>";
    assert_eq!(said(text), ["a?x=1&y=2/", "s?a&b"]);
}

#[test]
fn a_base_bears_on_what_follows_in_its_element_and_nowhere_else() {
    let text = "<MPD><BaseURL>m/</BaseURL><Location>l</Location>\
                <Period><BaseURL>p/</BaseURL>\
                <AdaptationSet><BaseURL>a/</BaseURL><SegmentTemplate media='1'/></AdaptationSet>\
                <AdaptationSet><SegmentTemplate media='2'><X/></SegmentTemplate></AdaptationSet></Period>\
                <Period><SegmentTemplate media='3'/></Period></MPD>";
    let bases = |list: &[&str]| Some(list.iter().map(|base| (*base).to_owned()).collect());
    let expected: Told = vec![
        ("m/".into(), None),
        ("l".into(), None),
        ("p/".into(), bases(&["m/"])),
        ("a/".into(), bases(&["m/", "p/"])),
        ("1".into(), bases(&["m/", "p/", "a/"])),
        ("2".into(), bases(&["m/", "p/"])),
        ("3".into(), bases(&["m/"])),
    ];
    assert_eq!(told(text), expected);
}

#[test]
fn an_mpd_without_a_base_is_given_one_where_the_schema_has_it() {
    let opening =
        |text: &'static str| find(text, |_, _| {}).unwrap().map(|o| (&text[o.at..o.at + 4], o.prefix));
    let text = "<?xml version=\"1.0\"?>\n<MPD>\n <ProgramInformation><Title/></ProgramInformation>\n <Period/></MPD>";
    assert_eq!(opening(text), Some(("<Per", "")));
    assert_eq!(opening("<dash:MPD><dash:Period/></dash:MPD>"), Some(("<das", "dash:")));
    assert_eq!(opening("<MPD><Period><BaseURL>x</BaseURL></Period></MPD>"), Some(("<Per", "")));
    assert_eq!(opening("<MPD><Location>x</Location><BaseURL>y</BaseURL></MPD>"), None);
    assert_eq!(opening("<MPD/>"), None);
}

#[test]
fn text_that_is_more_than_text_is_left_alone() {
    assert_eq!(
        said("<MPD><Location>a<!-- b --></Location><Location><![CDATA[a]]></Location></MPD>"),
        [""; 0]
    );
    for base in ["<![CDATA[https://other.example/]]>", "a<X/>b", "a<!-- b -->", "<?x?>a"] {
        let text =
            format!("<MPD><Period><BaseURL>{base}</BaseURL><SegmentTemplate media='a'/></Period></MPD>");
        assert_eq!(find(&text, |_, _| {}), Err(ManifestError::Base), "{base}");
    }
}

#[test]
fn what_is_no_mpd_is_not_told_about() {
    for text in [
        "",
        "text",
        "<html></html>",
        "<MPD><Period></MPD>",
        "<MPD>",
        "<MPD/><MPD/>",
        "<XMPD/>",
        "<MPD><BaseURL>&no;",
    ] {
        assert_eq!(find(text, |_, _| {}), Err(ManifestError::Malformed), "{text}");
    }
    let many = format!("<MPD>{}</MPD>", "<BaseURL>a</BaseURL>".repeat(BASES_MAX + 1));
    assert_eq!(find(&many, |_, _| {}), Err(ManifestError::TooManyBases));
}

proptest! {
    #[test]
    fn places_stand_in_order_and_inside_any_text(
        text in "<MPD>(\\PC|<BaseURL>|</BaseURL>|<SegmentTemplate media=|\"|'|/>|&amp;|<Period>|</Period>|<!--|-->){0,40}</MPD>",
    ) {
        let mut end = 0;
        let _ = find(&text, |place, _| {
            assert!(place.at.start >= end && text.get(place.at.clone()).is_some(), "{place:?}");
            end = place.at.end;
        });
    }
}

#[test]
fn a_manifest_tells_whether_and_when_it_changes() {
    let facts = |attributes: &str| {
        facts(format!("<?xml version=\"1.0\"?><MPD {attributes}><Period/></MPD>").as_bytes())
    };
    let changes = |seconds| {
        Some(ManifestFacts {
            dynamic: true,
            update_period: Some(std::time::Duration::from_secs_f64(seconds)),
        })
    };
    let never = Some(ManifestFacts { dynamic: false, update_period: None });
    for (attributes, expected) in [
        ("type=\"dynamic\" minimumUpdatePeriod=\"PT2S\"", changes(2.0)),
        ("minimumUpdatePeriod='PT1.5S' type='dynamic'", changes(1.5)),
        ("type=\"dynamic\" minimumUpdatePeriod=\"P0DT0H1M2.5S\"", changes(62.5)),
        ("type=\"dynamic\" minimumUpdatePeriod=\"PT0S\"", changes(1.0)),
        ("type=\"dynamic\" minimumUpdatePeriod=\"P1D\"", changes(3600.0)),
        ("type=\"dynamic\"", Some(ManifestFacts { dynamic: true, update_period: None })),
        ("type=\"static\" minimumUpdatePeriod=\"PT2S\"", never),
        ("", never),
    ] {
        assert_eq!(facts(attributes), expected, "{attributes}");
    }
    for period in ["", "P", "PT", "2S", "PT-2S", "PTS", "PT2", "P1Y", "PT2S3M", "PT1e3S", "PTinfS"] {
        let facts = facts(&format!("type=\"dynamic\" minimumUpdatePeriod=\"{period}\"")).unwrap();
        assert_eq!(facts.update_period, None, "{period}");
    }
}

#[test]
fn what_is_no_manifest_says_nothing() {
    for text in [&b""[..], b"<html></html>", b"<MPD", b"<MPD><Period>", b"<MPD></MPD><MPD/>", b"\xff", b"MPD"]
    {
        assert_eq!(facts(text), None, "{}", String::from_utf8_lossy(text));
    }
    assert!(facts(b"<dash:MPD xmlns:dash='urn:mpeg:dash:schema:mpd:2011'/>").is_some());
}
