#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::super::{Denied, Policy};
use super::*;
use crate::config::model::{KeyKind, Secret, TokenFormat, TokenPlace, TokenPolicy};

const KEY: &[u8] = b"YicZbmr6KlxfxPTJ3p9vYhARdPQ9WJYZ";
const END: u64 = 1_453_846_938;
const NOW: u64 = END - 100;
const PATH: &str = "/downloads/expensive-app.exe";
const PUBLISHED: &str = "C=1.2.3.4&E=1453846938&A=1&K=2&P=1&S=8c5cfa440458233452ee9b5b570063a0e71827f2";

fn policy_with(secret: &[u8]) -> Policy {
    let key = |id: &str, secret: &[u8]| TokenKey {
        id: id.into(),
        kind: KeyKind::Shared,
        bytes: Secret(secret.to_vec()),
    };
    let format = TokenFormat::UrlSig(Options::default());
    let mut config = TokenPolicy::new("viewer", format, vec![key("0", b"another"), key("2", secret)]);
    config.places.push(TokenPlace::PathParameter);
    Policy::from_config(&config, 1 << 20)
}

fn policy() -> Policy {
    policy_with(KEY)
}

fn presented<'r>(path: &'r str, query: &'r str) -> Presented<'r> {
    let query = (!query.is_empty()).then_some(query);
    Presented { host: "foo.com", client: "1.2.3.4".parse().unwrap(), query, ..Presented::get(path, NOW) }
}

fn admit_request(policy: &Policy, request: &Presented<'_>) -> Result<Arc<str>, Reason> {
    let (_, normal) = policy.strip_path(request.normal);
    let admitted = policy.admit(&Presented { normal: &normal, ..*request });
    admitted.map(|admitted| Arc::clone(&admitted.verdict.key_id)).map_err(|Denied { reason, .. }| reason)
}

fn admit(path: &str, query: &str) -> Result<Arc<str>, Reason> {
    admit_request(&policy(), &presented(path, query))
}

fn claims(parts: &str) -> Claims {
    let client = Some("1.2.3.4".parse().unwrap());
    Claims { client, expires: END, algorithm: Algorithm::Sha1, key: 2, parts: parts.into() }
}

#[test]
fn the_published_token_is_admitted_and_signing_gives_it() {
    assert_eq!(admit(PATH, PUBLISHED).as_deref(), Ok("2"));
    assert_eq!(sign(&claims("1"), "foo.com", PATH, None, KEY), PUBLISHED);
}

#[test]
fn parts_are_picked_as_the_mask_says_and_its_last_digit_repeats() {
    assert_eq!(picked("h", "/a/b/c", "1"), "h/a/b/c");
    assert_eq!(picked("h", "/a/b/c", "01"), "a/b/c");
    assert_eq!(picked("h", "/a/b/c", "110"), "h/a");
    assert_eq!(picked("h", "//a/b/c/", "0101"), "a/c");
    let query = sign(&claims("110"), "foo.com", "/downloads/any", None, KEY);
    assert!(admit("/downloads/x/y.ts", &query).is_ok());
    assert_eq!(admit("/other/x/y.ts", &query), Err(Reason::BadMac));
    let query = sign(&claims("0001"), "foo.com", PATH, None, KEY);
    assert_eq!(admit(PATH, &query), Err(Reason::BadMac), "it picks nothing of this path");
    let query = sign(&claims("01"), "foo.com", PATH, None, KEY);
    assert!(admit_request(&policy(), &Presented { host: "bar.com", ..presented(PATH, &query) }).is_ok());
}

#[test]
fn a_path_that_climbs_leaves_no_part_that_is_signed() {
    let query = sign(&claims("110"), "foo.com", "/downloads/any", None, KEY);
    let climbing = Presented { path: "/downloads/../secret", normal: "/secret", ..presented("/", &query) };
    assert_eq!(admit_request(&policy(), &climbing), Err(Reason::BadMac));
    assert_eq!(admit("/downloads/..%2fsecret", &query), Err(Reason::Path));
}

#[test]
fn no_bit_of_a_token_can_be_flipped() {
    let in_path = format!("/live{}/a.ts", sign_path(&claims("1"), "foo.com", "/live", "urlsig", KEY));
    assert_eq!(admit(&in_path, "").as_deref(), Ok("2"));
    let policy = policy();
    for (whole, path) in
        [(PUBLISHED, None), (in_path.trim_start_matches("/live").trim_end_matches("/a.ts"), Some(()))]
    {
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.as_bytes().to_vec();
                flipped[place] ^= 1 << bit;
                let Ok(flipped) = String::from_utf8(flipped) else { continue };
                let found = match path {
                    None => admit_request(&policy, &presented(PATH, &flipped)),
                    Some(()) => admit_request(&policy, &presented(&format!("/live{flipped}/a.ts"), "")),
                };
                assert!(found.is_err(), "{flipped}");
            }
        }
    }
}

#[test]
fn each_reason_is_given_for_its_cause() {
    let signed = |claims: &Claims| admit(PATH, &sign(claims, "foo.com", PATH, None, KEY));
    assert_eq!(admit(PATH, ""), Err(Reason::Missing));
    assert_eq!(signed(&Claims { expires: NOW, ..claims("1") }), Err(Reason::Expired));
    assert_eq!(signed(&Claims { client: Some("1.2.3.5".parse().unwrap()), ..claims("1") }), Err(Reason::Ip));
    assert_eq!(signed(&Claims { key: 3, ..claims("1") }), Err(Reason::UnknownKey));
    assert_eq!(signed(&Claims { key: 0, ..claims("1") }), Err(Reason::BadMac));
    assert_eq!(admit("/downloads/other", PUBLISHED), Err(Reason::BadMac));
    assert!(signed(&Claims { algorithm: Algorithm::Md5, client: None, ..claims("1") }).is_ok());
    for parts in ["", "0", "000", "12", &"1".repeat(65)] {
        assert_eq!(signed(&claims(parts)), Err(Reason::Malformed), "{parts}");
    }
    assert_eq!(signed(&Claims { expires: 1, ..claims("1") }), Err(Reason::Malformed));
    assert_eq!(signed(&Claims { key: 16, ..claims("1") }), Err(Reason::Malformed));
    let (unsigned, signature) = PUBLISHED.split_once("S=").unwrap();
    for query in [
        format!("{unsigned}S={}", signature.to_uppercase()),
        format!("{unsigned}S={signature}00"),
        format!("S={signature}&{}", unsigned.trim_end_matches('&')),
        format!("{PUBLISHED}&x=1"),
        format!("{PUBLISHED}&E=1453846938"),
        PUBLISHED.replace("A=1", "A=3"),
        PUBLISHED.replace("K=2", "K=02"),
        PUBLISHED.replace("C=1.2.3.4", "C=here"),
    ] {
        assert_eq!(admit(PATH, &query), Err(Reason::Malformed), "{query}");
    }
}

#[test]
fn parameters_before_the_signature_are_signed_and_players_may_add_theirs_behind() {
    let query = sign(&claims("1"), "foo.com", PATH, Some("x=1&y"), KEY);
    assert!(query.starts_with("x=1&y&C=") && admit(PATH, &query).is_ok());
    assert!(admit(PATH, &format!("{query}&_HLS_msn=7&_HLS_part=1")).is_ok());
    assert_eq!(admit(PATH, &query.replace("x=1", "x=2")), Err(Reason::BadMac));
    assert_eq!(admit(PATH, &format!("z=1&{query}")), Err(Reason::BadMac));
    assert_eq!(admit(PATH, &query.replace("x=1&y&", "")), Err(Reason::BadMac));
}

#[test]
fn a_token_in_the_path_opens_what_is_below() {
    let token = sign_path(&claims("1"), "foo.com", "/live/ch1", "urlsig", KEY);
    assert!(admit(&format!("/live/ch1{token}/a.ts"), "").is_ok());
    assert!(admit(&format!("/live/ch1{token}/hd/a.ts"), "x=1").is_ok());
    assert_eq!(policy().strip_path(&format!("/live/ch1{token}/a.ts")).1, "/live/ch1/a.ts");
    assert_eq!(admit(&format!("/live/ch2{token}/a.ts"), ""), Err(Reason::BadMac));
    assert_eq!(admit(&format!("/live{token}/ch1/a.ts"), ""), Err(Reason::BadMac));
    assert_eq!(admit(&format!("/live/ch1{token}{token}/a.ts"), ""), Err(Reason::Malformed));
    assert_eq!(admit("/live/ch1;urlsig=/a.ts", ""), Err(Reason::Malformed));
    let path = format!("/live/ch1{token}/../../vod/a.ts");
    let climbing = Presented { path: &path, normal: "/vod/a.ts", ..presented("/", "") };
    assert_eq!(admit_request(&policy(), &climbing), Err(Reason::Path));
    let path = format!("/live/ch1{token}/a.ts");
    let admitted = policy().admit(&Presented { normal: "/live/ch1/a.ts", ..presented(&path, "") }).unwrap();
    assert_eq!(admitted.terms().acl.as_deref(), Some("/live/ch1/*"));
    assert_eq!(admitted.place, TokenPlace::PathParameter);
}

#[test]
fn a_host_counts_with_and_without_its_port() {
    let host = |host| admit_request(&policy(), &Presented { host, ..presented(PATH, PUBLISHED) });
    assert!(host("foo.com:8080").is_ok() && host("FOO.com").is_ok());
    assert_eq!(host("bar.com"), Err(Reason::BadMac));
}

#[test]
fn debug_output_shows_no_key() {
    let shown = format!("{:?}", policy());
    assert!(!shown.contains("YicZ") && !shown.contains("89, 105"), "{shown}");
}

proptest! {
    #[test]
    fn what_is_signed_is_admitted_and_nothing_else(
        secret in prop::collection::vec(any::<u8>(), 1..100),
        path in "(/[a-z0-9_-]{1,8}){1,4}",
        mask in "1[01]{0,5}",
        md5 in any::<bool>(),
        in_path in any::<bool>(),
    ) {
        let policy = policy_with(&secret);
        let algorithm = if md5 { Algorithm::Md5 } else { Algorithm::Sha1 };
        let claims = Claims { algorithm, ..claims(&mask) };
        let (path, other, query) = if in_path {
            let token = sign_path(&claims, "foo.com", &path, "urlsig", &secret);
            (format!("{path}{token}/a.ts"), format!("/UP{path}{token}/a.ts"), String::new())
        } else {
            (path.clone(), format!("/UP{path}"), sign(&claims, "foo.com", &path, None, &secret))
        };
        let found = admit_request(&policy, &presented(&path, &query));
        prop_assert!(found.is_ok(), "{path} {mask}: {found:?}");
        let elsewhere = Presented { host: "bar.com", ..presented(&path, &query) };
        prop_assert_eq!(admit_request(&policy, &elsewhere), Err(Reason::BadMac));
        // The mask decides which segments count; the first one after the host does where it says so.
        if mask.len() == 1 || mask.starts_with("11") {
            prop_assert_eq!(admit_request(&policy, &presented(&other, &query)), Err(Reason::BadMac));
        }
        let longer = [secret.as_slice(), &[1]].concat();
        let by_another = admit_request(&policy_with(&longer), &presented(&path, &query));
        prop_assert_eq!(by_another, Err(Reason::BadMac));
    }

    #[test]
    fn no_text_is_admitted_without_the_key(
        query in "(C=1.2.3.4|E=1453846938|A=1|A=2|K=2|P=1|S=[0-9a-f]{32}|S=[0-9a-f]{40}|&|=|%|\\PC){0,14}",
        path in "(/|;|urlsig=|[A-Za-z0-9_-]{0,60}|\\PC){0,8}",
    ) {
        prop_assert!(admit(&path, &query).is_err());
    }
}
