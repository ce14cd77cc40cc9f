#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;
use crate::key::Key;
use crate::store::{Body, Lifetime};

const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

fn chosen(field: &str, preference: &[Coding]) -> Option<Coding> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, field.parse().unwrap());
    choose(&headers, preference)
}

fn header(fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut header = ResponseHeader::build_no_case(200, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, *value).unwrap();
    }
    header
}

fn object(kind: Kind, fields: &[(&'static str, &str)]) -> Object {
    let lifetime = Lifetime::ended(UNIX_EPOCH);
    let key = Key { hash: 1, text: "0 /".into() };
    Object::new(key, kind, header(fields), lifetime, Body::growing(None, None).into())
}

#[test]
fn a_request_takes_the_coding_that_it_weighs_most() {
    for (field, expected) in [
        ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
        ("gzip, deflate, br", Some(Coding::Brotli)),
        ("GZIP", Some(Coding::Gzip)),
        ("x-gzip", Some(Coding::Gzip)),
        ("gzip;q=1.0, br;q=0.9", Some(Coding::Gzip)),
        ("gzip;q=0.001", Some(Coding::Gzip)),
        ("gzip ; q=0.5 , br ; Q=0.6", Some(Coding::Brotli)),
        ("gzip;q=0", None),
        ("gzip;q=0.000", None),
        ("*", Some(Coding::Zstd)),
        ("*, zstd;q=0", Some(Coding::Brotli)),
        ("*;q=0", None),
        ("*;q=0, br", Some(Coding::Brotli)),
        ("identity", None),
        ("identity;q=0, gzip;q=0.1", Some(Coding::Gzip)),
        ("identity;q=0", None),
        ("identity;q=0.5, gzip;q=0.4", None),
        ("identity;q=0.5, gzip;q=0.5", Some(Coding::Gzip)),
        ("deflate", None),
        ("", None),
        ("gzip;q=1.001", None),
        ("gzip;q=0.1234", None),
        ("gzip;q=-1, br;q=0.1", Some(Coding::Brotli)),
        ("gzip;level=9", None),
        ("gzip;q=0, gzip", None),
    ] {
        assert_eq!(chosen(field, &ALL), expected, "{field}");
    }
    assert_eq!(chosen("gzip, br, zstd", &[Coding::Gzip, Coding::Zstd]), Some(Coding::Gzip));
    assert_eq!(chosen("gzip, br, zstd", &[]), None);
    assert_eq!(choose(&HeaderMap::new(), &ALL), None);
    let mut lines = HeaderMap::new();
    lines.append(ACCEPT_ENCODING, HeaderValue::from_static("deflate"));
    lines.append(ACCEPT_ENCODING, HeaderValue::from_static("br"));
    assert_eq!(choose(&lines, &ALL), Some(Coding::Brotli));
}

#[test]
fn each_representation_has_a_tag_of_its_own() {
    for (origin, coded) in
        [("\"v1\"", "\"v1-br\""), ("W/\"v1\"", "W/\"v1-br\""), ("\"\"", "\"-br\""), ("v1", "v1-br")]
    {
        let origin = HeaderValue::from_static(origin);
        assert_eq!(tag(&origin, Some(Coding::Brotli)).to_str().unwrap(), coded);
        assert_eq!(*tag(&origin, None), origin);
    }
}

#[test]
fn vary_is_one_field_that_keeps_what_was_there() {
    for (before, after) in [
        (&[] as &[&str], "Accept-Encoding"),
        (&["Origin"], "Origin, Accept-Encoding"),
        (&["Origin", "X-A,X-B"], "Origin, X-A, X-B, Accept-Encoding"),
        (&["accept-encoding"], "accept-encoding"),
        (&["*"], "*"),
    ] {
        let fields: Vec<_> = before.iter().map(|value| ("vary", *value)).collect();
        let mut header = header(&fields);
        vary(&mut header);
        assert_eq!(header.headers.get_all(VARY).iter().collect::<Vec<_>>(), [after]);
    }
}

#[test]
fn text_is_eligible_and_media_is_not() {
    let typed = |text: &'static str| [("content-type", text)];
    for kind in [Kind::MediaPlaylist, Kind::MultivariantPlaylist, Kind::Manifest, Kind::Api] {
        assert!(is_eligible(&object(kind, &[])), "{kind:?}");
        assert!(!is_eligible(&object(kind, &[("content-encoding", "gzip")])));
        assert!(!is_eligible(&object(kind, &[("cache-control", "max-age=1, No-Transform")])));
    }
    for kind in [Kind::Segment, Kind::Part, Kind::Init, Kind::Key, Kind::Image] {
        assert!(!is_eligible(&object(kind, &typed("application/json"))), "{kind:?}");
    }
    for (text, expected) in [
        ("application/json; charset=utf-8", true),
        ("Application/Problem+JSON", true),
        ("application/vnd.apple.mpegurl", true),
        ("audio/mpegurl", true),
        ("application/dash+xml", true),
        ("text/html", false),
        ("video/mp4", false),
        ("+json", false),
    ] {
        assert_eq!(is_eligible(&object(Kind::Other, &typed(text))), expected, "{text}");
    }
    assert!(!is_eligible(&object(Kind::Other, &[])));
    let private = Object { shared: false, ..object(Kind::Api, &[]) };
    assert!(!is_eligible(&private));
    let mut missing = object(Kind::Api, &[]);
    missing.header.set_status(404).unwrap();
    assert!(!is_eligible(&missing));
}

fn any_member() -> impl Strategy<Value = (String, Option<u16>)> {
    let names = prop::sample::select(vec!["gzip", "br", "zstd", "identity", "*", "deflate"]);
    (names.prop_map(str::to_owned), prop::option::of(0_u16..=1000))
}

fn written(members: &[(String, Option<u16>)]) -> String {
    let texts = members.iter().map(|(name, weight)| match weight {
        Some(weight) => format!("{name};q={}.{:03}", weight / 1000, weight % 1000),
        None => name.clone(),
    });
    texts.collect::<Vec<_>>().join(", ")
}

proptest! {
    #[test]
    fn the_choice_agrees_with_a_reading_member_by_member(
        members in prop::collection::vec(any_member(), 0..6),
        preference in Just(ALL.to_vec()).prop_shuffle(),
    ) {
        let of = |name: &str| members.iter().find(|(n, _)| n == name).map(|(_, weight)| weight.unwrap_or(1000));
        let weight = |coding: &Coding| of(coding.as_str()).or(of("*")).unwrap_or(0);
        let most = preference.iter().map(weight).max().unwrap();
        let chosen = chosen(&written(&members), &preference);
        if most == 0 || of("identity").is_some_and(|identity| identity > most) {
            prop_assert_eq!(chosen, None);
        } else {
            prop_assert_eq!(chosen, preference.iter().find(|coding| weight(coding) == most).copied());
        }
    }

    #[test]
    fn arbitrary_fields_are_read_without_harm(field in "[ -~]{0,60}") {
        let _ = chosen(&field, &ALL);
    }
}
