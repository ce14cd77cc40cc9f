#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::admission::token::Claims;
use crate::cache::Held;
use crate::key::Key;
use crate::origin::{OriginFamilies, Origins};
use crate::site::{Asked, Sites};

fn request(target: &[u8], host: Option<&str>) -> RequestHeader {
    let mut header = RequestHeader::build("GET", target, None).unwrap();
    if let Some(host) = host {
        header.insert_header(HOST, host).unwrap();
    }
    header
}

#[test]
fn an_absolute_target_names_the_host_and_a_path_leaves_it_to_the_field() {
    assert_eq!(authority(&request(b"/a", Some("a.test:80"))), Ok("a.test:80"));
    assert_eq!(authority(&request(b"http://b.test/a", Some("a.test"))), Ok("b.test"));
    assert_eq!(authority(&request(b"HTTPS://b.test", None)), Ok("b.test"));
    assert_eq!(authority(&request(b"/a", None)), Ok(""));
    for target in [&b"ftp://b.test/a"[..], b"*", b"a", b"?a", b"//b.test/a"] {
        let expected = if target[0] == b'/' { Ok("a.test") } else { Err(Refusal::TargetForm) };
        assert_eq!(authority(&request(target, Some("a.test"))), expected);
    }
}

#[test]
fn a_host_that_is_none_is_refused() {
    for host in ["a.test", "A.test.", "a.test:", "a.test:65535", "[::1]", "[::1]:80", "", "127.0.0.1:1"] {
        assert_eq!(authority(&request(b"/", Some(host))), Ok(host));
    }
    for host in [
        "a.test:65536",
        "a.test:80:80",
        "a.test:x",
        "a.test/",
        "a.test?x",
        "a@b.test",
        "a b",
        "[::1",
        "[a.test]",
        "::1",
        "[::1]x",
        "a.test,b.test\\",
    ] {
        assert_eq!(authority(&request(b"/", Some(host))), Err(Refusal::HostForm), "{host}");
    }
}

/// A site for any host, with this line in its rule, and whether slashes in a row count as one.
fn site(rule: &str, merge_slashes: bool) -> Arc<Site> {
    let text = format!(
        "[server]\nhttp = [\"127.0.0.1:0\"]\n[origin.main]\nservers = [\"http://127.0.0.1:1\"]\n\
         [[site]]\nhosts = [\"*\"]\norigin = \"main\"\nmerge_slashes = {merge_slashes}\n[[site.rule]]\n{rule}\n"
    );
    let config = crate::config::parse(&text, Path::new("test.toml")).unwrap();
    let families = OriginFamilies::new(&prometheus::Registry::new()).unwrap();
    let origins = Origins::new(&config.origins, &families).unwrap();
    Arc::clone(Sites::new(&config, &origins).find("a.test").unwrap())
}

/// The key of a request for this target, and the path that its rules are found by; None: it is refused.
fn key(site: &Site, target: &str) -> Option<(Key, String)> {
    let mut header = RequestHeader::build("GET", target.as_bytes(), None).ok()?;
    header.insert_header(HOST, "a.test").ok()?;
    normalise(&mut header, site, 8192, true).ok()?;
    let path = header.uri.path();
    let (held, claims) = (Held::default(), Claims::default());
    let kind = crate::asset::classify(path);
    let asked = Asked {
        path,
        query: header.uri.query(),
        kind,
        headers: &header.headers,
        claims: &claims,
        held: &held,
    };
    let key = site.with_key(&asked, |hash, text| Key { hash, text: text.into() }).ok()?;
    Some((key, path.to_owned()))
}

/// What a target means, told by its definition: segments and parameters, each decoded as far as decoding is no change of
/// meaning (RFC 3986 section 6.2.2), dots followed, parameters of one name in their order.
type Meaning = (Vec<Vec<u8>>, BTreeMap<Vec<u8>, Vec<Vec<u8>>>);

fn meaning(target: &str, listed: bool) -> Meaning {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut segments: Vec<Vec<u8>> = Vec::new();
    let sent: Vec<Vec<u8>> = path.split('/').skip(1).map(plain).collect();
    for (place, segment) in sent.iter().enumerate() {
        let last = place + 1 == sent.len();
        match segment.as_slice() {
            b"." if last => segments.push(Vec::new()),
            b"." => {}
            b".." => {
                segments.pop();
                if last {
                    segments.push(Vec::new());
                }
            }
            b"" if !last => {}
            segment => segments.push(segment.to_vec()),
        }
    }
    let mut parameters: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for parameter in query.split('&').map(plain) {
        let name = parameter.split(|byte| *byte == b'=').next().unwrap().to_vec();
        let counts = if listed { name == b"a" } else { name != b"CMCD" && !name.starts_with(b"utm_") };
        if (counts && !name.is_empty()) || name.starts_with(b"_HLS_") {
            parameters.entry(name).or_default().push(parameter);
        }
    }
    (segments, parameters)
}

/// One spelling of text: unreserved characters as they are, all that was encoded and is not unreserved in upper case.
fn plain(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let decoded = u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap();
            rest = &tail[2..];
            if decoded.is_ascii_alphanumeric() || b"-._~".contains(&decoded) {
                out.push(decoded);
            } else {
                out.extend_from_slice(format!("%{decoded:02X}").as_bytes());
            }
        } else if byte.is_ascii_graphic() && !b"\\\"<>^{|}`".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    out
}

/// Targets from few pieces, so that pairs often mean the same in another spelling.
fn targets() -> impl Strategy<Value = String> {
    let path = proptest::collection::vec(
        prop::sample::select(vec![
            "/", "/", "a", "%61", "b", "..", ".", "%2e", "%2E", "%2f", "%2F", ";", "%3b", "\\", "%5c", "%25",
            "%252e", "%3f", "%23", "é", "%c3%a9", "[", "%5B", "~", "%7E", "+", "%20", ":", "@",
        ]),
        0..7,
    );
    let query = proptest::collection::vec(
        prop::sample::select(vec![
            "&",
            "&",
            "a=1",
            "a=2",
            "b=1",
            "%61=1",
            "a%3d1",
            "a",
            "=",
            "1",
            "utm_x=1",
            "CMCD=1",
            "%26",
            "_HLS_msn=1",
            "%5fHLS_msn=1",
            ";",
            "?",
            "/",
            "..",
            "+",
            "%2B",
            "%20",
        ]),
        0..6,
    );
    (path, prop::option::of(query)).prop_map(|(path, query)| {
        let query = query.map_or_else(String::new, |query| format!("?{}", query.concat()));
        format!("/{}{query}", path.concat())
    })
}

proptest! {
    /// Two targets have one key if and only if the origin is asked for the same, which is if and only if they mean the same.
    #[test]
    fn two_targets_have_one_key_only_if_they_mean_the_same(
        one in targets(), other in targets(), detour: bool, listed: bool,
    ) {
        // Random targets seldom mean the same: every other pair is one target and a detour to it.
        let joint = if one.contains('?') { '&' } else { '?' };
        let roundabout = || format!("{}{joint}&CMCD=%2e", one.replacen('/', "/x/%2e./", 1));
        let other = if detour { roundabout() } else { other };
        let rule = if listed { "key = { query = [\"a\"] }" } else { "ttl = \"1s\"" };
        let site = site(rule, true);
        let (one_key, one_path) = key(&site, &one).unwrap();
        let (other_key, other_path) = key(&site, &other).unwrap();
        let same = meaning(&one, listed) == meaning(&other, listed);
        prop_assert_eq!(one_key.text == other_key.text, same, "{} {}: {} {}", &one, &other, &one_key.text, &other_key.text);
        prop_assert_eq!(one_key.target() == other_key.target(), same);
        // The rules see one path for one key.
        prop_assert!(!same || one_path == other_path);
    }

    /// What the origin is asked for is in normal form already: asked for it, a node before that origin asks for the same.
    #[test]
    fn what_the_origin_is_asked_for_has_the_same_key(target in targets(), merge_slashes: bool) {
        let site = site("ttl = \"1s\"", merge_slashes);
        let (first, path) = key(&site, &target).unwrap();
        let (again, path_again) = key(&site, first.target()).unwrap();
        prop_assert_eq!(&first, &again);
        prop_assert_eq!(path, path_again);
        prop_assert!(!first.target().contains(' ') && first.target().starts_with('/'));
    }
}
