#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use http::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use proptest::prelude::*;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn normal(fields: &[(&'static str, &str)]) -> Option<String> {
    let name: HeaderName = fields[0].0.parse().unwrap();
    normal_value(&headers(fields), &name).map(|value| String::from_utf8(value.into_owned()).unwrap())
}

#[test]
fn fields_that_say_the_same_have_one_normal_value() {
    for (fields, expected) in [
        (&[("accept-language", "DE-de ,en;q=0.5")][..], "de-de, en;q=0.5"),
        (&[("accept-language", "de-de"), ("accept-language", ", en;q=0.5")], "de-de, en;q=0.5"),
        (&[("accept", "text/html;x=\"a , b\" ,  */*")], "text/html;x=\"a , b\", */*"),
        (&[("cookie", "a=1"), ("cookie", "b=2")], "a=1; b=2"),
        (&[("user-agent", "A (B,C)")], "A (B,C)"),
        (&[("user-agent", "A (B, C)")], "A (B, C)"),
        (&[("x-any", "1"), ("x-any", "2")], "1, 2"),
    ] {
        assert_eq!(normal(fields).as_deref(), Some(expected), "{fields:?}");
    }
}

#[test]
fn accept_encoding_is_the_codings_taken() {
    for (field, expected) in [
        ("gzip, deflate, br", Some("br, gzip")),
        ("BR;q=1.0, x-gzip;q=0.5", Some("br, gzip")),
        ("gzip;q=0, br", Some("br")),
        ("gzip; q = 0.000", None),
        ("*", Some("br, gzip, zstd")),
        ("*;q=0, zstd", Some("zstd")),
        ("*, br;q=0", Some("gzip, zstd")),
        ("identity", None),
        ("", None),
    ] {
        assert_eq!(normal(&[("accept-encoding", field)]).as_deref(), expected, "{field:?}");
    }
}

#[test]
fn an_absent_field_differs_from_an_empty_one() {
    let names = [ACCEPT, USER_AGENT];
    let absent = variance(1, &names, &headers(&[]));
    let empty = variance(1, &names, &headers(&[("accept", "")]));
    let other = variance(1, &names, &headers(&[("user-agent", "")]));
    assert!(absent != empty && empty != other && absent != other);
}

#[test]
fn a_variant_tells_epoch_and_values_apart_and_nobody_what_they_are() {
    let names = [AUTHORIZATION];
    let of = |epoch, value| {
        variant_key("s /a?b", epoch, variance(epoch, &names, &headers(&[("authorization", value)])))
    };
    let key = of(7, "Basic c2VjcmV0");
    assert!(key.text.starts_with("s /a?b ~0000000000000007-") && !key.text.contains("c2VjcmV0"));
    assert_eq!((key.site(), key.target(), key.is_slice()), ("s", "/a?b", false));
    assert_eq!(primary_text(&key.text), Some("s /a?b"));
    assert_eq!(primary_text("s /a?b"), None);
    assert_eq!(key, of(7, "Basic c2VjcmV0"));
    assert!(key.text != of(7, "Basic b3RoZXI=").text && key.text != of(8, "Basic c2VjcmV0").text);
}

#[test]
fn what_the_node_settles_is_no_choice() {
    let keyed = [HeaderName::from_static("x-device")];
    let open =
        |kind, cors, name: &str| Settled { kind, cors, keyed: &keyed }.leaves_open(&name.parse().unwrap());
    for name in ["range", "host", "if-none-match", "x-device", "x-original-url", "via"] {
        assert!(!open(Kind::Other, false, name), "{name}");
    }
    for name in ["cookie", "authorization", "accept-language", "user-agent"] {
        assert!(open(Kind::MediaPlaylist, true, name), "{name}");
    }
    assert!(open(Kind::Segment, false, "accept-encoding") && !open(Kind::Api, false, "accept-encoding"));
    for name in ["origin", "access-control-request-method"] {
        assert!(open(Kind::Other, false, name) && !open(Kind::Other, true, name), "{name}");
    }
}

proptest! {
    #[test]
    fn a_normal_value_is_its_own_normal_value(value in "[ -~]{0,40}", place in 0_usize..4) {
        let name = [ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCEPT, COOKIE][place].clone();
        let mut received = HeaderMap::new();
        received.insert(name.clone(), value.parse().unwrap());
        let names = [name];
        let normal = normal_fields(&received, &names);
        prop_assert_eq!(&normal_fields(&normal, &names), &normal);
        prop_assert_eq!(variance(1, &names, &received), variance(1, &names, &normal));
    }
}
