#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::super::Policy;
use super::super::probe::{self, no_bit_can_be_flipped, refusal};
use super::*;
use crate::config::formats::extent::Extent;
use crate::config::formats::hash::Hash;
use crate::config::formats::{KeyKind, TokenFormat, Word};

const KEY: &str = "iqFPeN2u+Z0Lm5IrsKaOFKRqEU5Gw8ePtaEkHZWuD24=";
const SHA1: &str = "1536399430_2ff701d4b75cbafce1919e87647b07177fa7bee2";
const SHA256: &str = "1536399430_9f80a504781a76a08e15c8a7058840adddb6f797d7fff473842369f31d95d08c";
/// Within the life of the vectors.
const NOW: u64 = 1_536_399_000;

fn key() -> Vec<u8> {
    Word::Fastly.key(KeyKind::Shared, KEY).unwrap()
}

fn options(hash: Hash, extent: Extent) -> formats::fastly::Fastly {
    formats::fastly::Fastly { hash, extent }
}

fn policy(hash: Hash, extent: Extent) -> Policy {
    probe::policy(TokenFormat::Fastly(options(hash, extent)), probe::shared(&[&key()]))
}

fn presented(path: &str) -> Presented<'_> {
    Presented::get(path, NOW)
}

#[test]
fn the_vectors_are_signed_and_admitted_where_the_policy_has_their_hash() {
    for (hash, token, other) in [(Hash::Sha1, SHA1, SHA256), (Hash::Sha256, SHA256, SHA1)] {
        let options = options(hash, Extent::Path);
        assert_eq!(sign("/foo/bar.html", 1_536_399_430, &key(), &options).as_deref(), Ok(token));
        let policy = policy(hash, Extent::Path);
        let admission = probe::admit(&policy, "token", token, &presented("/foo/bar.html")).unwrap();
        assert_eq!(admission.terms().expires, Some(1_536_399_430));
        assert_eq!(admission.terms().claims.get("expires"), Some("1536399430"));
        assert_eq!(&*admission.verdict.key_id, "k1");
        assert_eq!(refusal(&policy, "token", other, &presented("/foo/bar.html")), Some(Reason::Malformed));
        assert_eq!(refusal(&policy, "token", token, &presented("/foo/other.html")), Some(Reason::BadMac));
    }
}

#[test]
fn a_token_ends_when_it_says() {
    let policy = policy(Hash::Sha256, Extent::Path);
    let at = |now_unix| {
        let request = Presented { now_unix, ..presented("/foo/bar.html") };
        refusal(&policy, "token", SHA256, &request)
    };
    assert_eq!(at(1_536_399_429), None);
    assert_eq!(at(1_536_399_430), Some(Reason::Expired));
}

#[test]
fn no_bit_of_a_token_can_be_flipped() {
    for (hash, token) in [(Hash::Sha1, SHA1), (Hash::Sha256, SHA256)] {
        no_bit_can_be_flipped(&policy(hash, Extent::Path), "token", token, &presented("/foo/bar.html"));
    }
    let extent = Extent::Directories(1);
    let token = sign("/foo/bar.html", NOW + 60, &key(), &options(Hash::Sha256, extent.clone())).unwrap();
    no_bit_can_be_flipped(&policy(Hash::Sha256, extent), "token", &token, &presented("/foo/x/y.ts"));
}

/// What is signed for `/seg1` and 700000000 is what is signed for `/seg` and 1700000000, and so is the MAC.
#[test]
fn no_digit_of_a_path_passes_for_one_of_the_time() {
    let mac = |text: &str| {
        let mut code = Code::new(Hash::Sha256, &key());
        code.update(text.as_bytes());
        hex::encode(code.bytes())
    };
    let policy = policy(Hash::Sha256, Extent::Path);
    let sealed = mac("/seg11700000000");
    let try_at = |path, time: &str| refusal(&policy, "token", &format!("{time}_{sealed}"), &presented(path));
    assert_eq!(try_at("/seg1", "1700000000"), None);
    assert_eq!(try_at("/seg", "11700000000"), Some(Reason::Malformed));
    assert_eq!(try_at("/seg11", "700000000"), Some(Reason::Malformed));
    assert_eq!(sign("/seg", 11_700_000_000, &key(), &Default::default()), Err(SignError::Time));
}

#[test]
fn malformed_tokens_are_refused() {
    let policy = policy(Hash::Sha1, Extent::Path);
    let (time, mac) = SHA1.split_once('_').unwrap();
    for token in [
        "",
        "_",
        time,
        mac,
        &format!("{time}{mac}"),
        &format!("{time}_{}", mac.to_uppercase()),
        &format!("{time}_{}", &mac[1..]),
        &format!("{time}_{mac}0"),
        &format!("+{}_{mac}", &time[1..]),
        &format!("{time}__{mac}"),
        &format!(" {time}_{mac}"),
    ] {
        let found = refusal(&policy, "token", token, &presented("/foo/bar.html"));
        assert_eq!(found, Some(Reason::Malformed), "{token}");
    }
}

#[test]
fn a_token_for_directories_opens_what_is_below_them_and_nothing_else() {
    let extent = Extent::Directories(2);
    let options = options(Hash::Sha256, extent.clone());
    let token = sign("/live/ch1/index.m3u8", NOW + 60, &key(), &options).unwrap();
    for warm in [false, true] {
        let policy = policy(Hash::Sha256, extent.clone());
        if warm {
            let admission = probe::admit(&policy, "token", &token, &presented("/live/ch1/a.ts")).unwrap();
            assert_eq!(admission.terms().acl.as_deref(), Some("/live/ch1/*"));
        }
        for path in ["/live/ch1/a.ts", "/live/ch1/", "/live/ch1/hd/a.ts"] {
            assert_eq!(refusal(&policy, "token", &token, &presented(path)), None, "{path}");
        }
        for path in ["/live/ch2/a.ts", "/live/ch1", "/live/ch11/a.ts", "/a.ts", "/live/ch1/%2e%2e/ch2/a.ts"] {
            let reason = refusal(&policy, "token", &token, &presented(path));
            assert!(matches!(reason, Some(Reason::Path | Reason::BadMac)), "{path}: {reason:?}");
        }
        // What the node goes by is the normal form.
        let climbing = Presented { normal: "/live/ch2/a.ts", ..presented("/live/ch1/../ch2/a.ts") };
        assert!(refusal(&policy, "token", &token, &climbing).is_some());
    }
    assert_eq!(sign("/live/a.ts", NOW + 60, &key(), &options), Err(SignError::Directories));
    let policy = policy(Hash::Sha256, extent);
    assert_eq!(refusal(&policy, "token", &token, &presented("/live/a.ts")), Some(Reason::Path));
}

#[test]
fn a_token_for_a_prefix_opens_what_begins_with_it() {
    let extent = Extent::Prefix("/live/".to_owned());
    let options = options(Hash::Sha256, extent.clone());
    let token = sign("/live/a.ts", NOW + 60, &key(), &options).unwrap();
    let policy = policy(Hash::Sha256, extent);
    for path in ["/live/a.ts", "/live/ch1/a.ts"] {
        assert_eq!(refusal(&policy, "token", &token, &presented(path)), None, "{path}");
    }
    for path in ["/vod/a.ts", "/live"] {
        assert_eq!(refusal(&policy, "token", &token, &presented(path)), Some(Reason::Path), "{path}");
    }
    assert_eq!(sign("/vod/a.ts", NOW + 60, &key(), &options), Err(SignError::Prefix));
}

#[test]
fn every_key_of_the_policy_is_tried() {
    let format = || TokenFormat::Fastly(options(Hash::Sha1, Extent::Path));
    let policy = probe::policy(format(), probe::shared(&[b"other", &key()]));
    let admission = probe::admit(&policy, "token", SHA1, &presented("/foo/bar.html")).unwrap();
    assert_eq!(&*admission.verdict.key_id, "k2");
    let without = probe::policy(format(), probe::shared(&[b"other"]));
    assert_eq!(refusal(&without, "token", SHA1, &presented("/foo/bar.html")), Some(Reason::BadMac));
}

#[test]
fn debug_output_shows_no_key() {
    let text = format!("{:?}", Fastly::new(&Default::default(), &probe::shared(&[b"secret"])));
    assert!(text.starts_with("Fastly { keys: 1, options:") && !text.contains("secret"), "{text}");
}

proptest! {
    #[test]
    fn what_is_signed_is_admitted_and_nothing_else(
        secret in prop::collection::vec(any::<u8>(), 1..100),
        segments in prop::collection::vec("[a-zA-Z0-9_.~-]{1,8}x", 3..6),
        extent in prop::sample::select(vec![Extent::Path, Extent::Directories(1), Extent::Directories(2)]),
        hash in prop::sample::select(vec![Hash::Sha1, Hash::Sha256]),
        life in 1_u64..1_000_000,
    ) {
        let path = format!("/{}", segments.join("/"));
        let options = options(hash, extent);
        let token = sign(&path, NOW + life, &secret, &options).unwrap();
        let policy = probe::policy(TokenFormat::Fastly(options), probe::shared(&[&secret]));
        prop_assert_eq!(refusal(&policy, "token", &token, &presented(&path)), None);
        let elsewhere = refusal(&policy, "token", &token, &presented("/else/where/a.ts"));
        prop_assert!(matches!(elsewhere, Some(Reason::BadMac | Reason::Path)));
    }

    #[test]
    fn no_text_is_admitted_without_the_key(text in "([0-9]{9,11}|.{0,12})_?([0-9a-f]{40}|[0-9a-f]{64}|.{0,70})") {
        for hash in [Hash::Sha1, Hash::Sha256] {
            let format = Fastly::new(&options(hash, Extent::Path), &probe::shared(&[&key()]));
            let reason = format.authenticate(&text, &presented("/a")).unwrap_err();
            prop_assert!(matches!(reason, Reason::Malformed | Reason::BadMac));
        }
    }
}
