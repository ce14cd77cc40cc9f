#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;

use super::super::Policy;
use super::super::probe::{self, no_bit_can_be_flipped, refusal};
use super::*;
use crate::config::formats::TokenFormat;
use crate::config::formats::extent::Extent;

const KEY: &[u8] = b"mysecrettoken";
const TOKEN: &str = "1484063787-MwxCdsONqMcO9hMLnzWdUiUSLr735AOCGoivbkwKqEI=";
const URL_SAFE: &str = "1484063787-MwxCdsONqMcO9hMLnzWdUiUSLr735AOCGoivbkwKqEI";
const ISSUED: u64 = 1_484_063_787;
const LINK: Link<'_> = Link { host: "downloads.example.com", path: "/download/cat.jpg", name: "verify" };

fn options() -> formats::cloudflare::Cloudflare {
    formats::cloudflare::Cloudflare {
        ttl: Duration::from_secs(10_800),
        with_host: false,
        extent: Extent::Path,
        separator: None,
        url_safe: false,
    }
}

fn policy(options: formats::cloudflare::Cloudflare) -> Policy {
    probe::policy(TokenFormat::Cloudflare(options), probe::shared(&[KEY]))
}

fn presented(path: &str) -> Presented<'_> {
    Presented { host: "downloads.example.com", ..Presented::get(path, ISSUED + 60) }
}

fn cat() -> Presented<'static> {
    presented("/download/cat.jpg")
}

#[test]
fn the_vector_is_signed_and_admitted() {
    assert_eq!(sign(&LINK, ISSUED, KEY, &options()).as_deref(), Ok(TOKEN));
    let policy = policy(options());
    let encoded = TOKEN.replace('=', "%3D");
    for token in [TOKEN, &encoded] {
        let admission = probe::admit(&policy, "verify", token, &cat()).unwrap();
        assert_eq!(admission.terms().expires, Some(ISSUED + 10_800));
        assert_eq!(admission.terms().claims.get("issued"), Some("1484063787"));
    }
    let other = presented("/download/dog.jpg");
    assert_eq!(refusal(&policy, "verify", TOKEN, &other), Some(Reason::BadMac));
    assert_eq!(refusal(&policy, "verify", URL_SAFE, &cat()), Some(Reason::Malformed));
}

#[test]
fn the_url_safe_form_counts_where_the_policy_says_so() {
    let options = formats::cloudflare::Cloudflare { url_safe: true, ..options() };
    assert_eq!(sign(&LINK, ISSUED, KEY, &options).as_deref(), Ok(URL_SAFE));
    let policy = policy(options);
    assert_eq!(refusal(&policy, "verify", URL_SAFE, &cat()), None);
    assert_eq!(refusal(&policy, "verify", TOKEN, &cat()), Some(Reason::Malformed));
}

#[test]
fn a_token_is_good_for_the_time_to_live_after_its_issue() {
    let policy = policy(options());
    let at = |now_unix| refusal(&policy, "verify", TOKEN, &Presented { now_unix, ..cat() });
    assert_eq!(at(ISSUED), None);
    assert_eq!(at(ISSUED + 10_799), None);
    assert_eq!(at(ISSUED + 10_800), Some(Reason::Expired));
    // The rule does not look whether the issue has come.
    assert_eq!(at(ISSUED - 60), None);
}

#[test]
fn no_bit_of_a_token_can_be_flipped() {
    no_bit_can_be_flipped(&policy(options()), "verify", TOKEN, &cat());
    let url_safe = formats::cloudflare::Cloudflare { url_safe: true, ..options() };
    no_bit_can_be_flipped(&policy(url_safe), "verify", URL_SAFE, &cat());
    let extent = Extent::Directories(1);
    let whole = formats::cloudflare::Cloudflare { with_host: true, extent, separator: Some(0), ..options() };
    let token = sign(&LINK, ISSUED, KEY, &whole).unwrap();
    no_bit_can_be_flipped(&policy(whole), "verify", &token, &cat());
}

#[test]
fn what_is_found_out_about_a_token_in_a_header_field_says_nothing_of_one_in_a_query() {
    let extent = Extent::Directories(1);
    let options = formats::cloudflare::Cloudflare { extent, separator: Some(0), ..options() };
    let without = formats::cloudflare::Cloudflare { separator: None, ..options.clone() };
    let token = sign(&LINK, ISSUED, KEY, &without).unwrap();
    let format = TokenFormat::Cloudflare(options);
    let mut config = crate::config::model::TokenPolicy::new("viewer", format, probe::shared(&[KEY]));
    config.places.push(TokenPlace::Header);
    let policy = super::super::Policy::from_config(&config, 1 << 20);
    let fields = [("verify".parse().unwrap(), token.parse().unwrap())];
    let headers: http::HeaderMap = fields.into_iter().collect();
    let in_query = |policy| refusal(policy, "verify", &token.replace('=', "%3D"), &cat());
    assert_eq!(in_query(&policy), Some(Reason::BadMac));
    assert!(policy.admit(&Presented { headers: &headers, ..cat() }).is_ok());
    assert_eq!(refusal(&policy, "verify", &token, &cat()), Some(Reason::BadMac));
    assert_eq!(in_query(&policy), Some(Reason::BadMac));
}

#[test]
fn malformed_tokens_are_refused() {
    let policy = policy(options());
    let (time, mac) = TOKEN.split_once('-').unwrap();
    for token in [
        "",
        "-",
        time,
        &format!("{time}{mac}"),
        &format!("{time}-{mac}="),
        &format!("{time}-{}", &mac[..42]),
        &format!("{time}-A{mac}"),
        &format!("{}-{mac}", &time[1..]),
        &format!("1{time}-{mac}"),
        &format!("{time}--{mac}"),
        &format!("+{}-{mac}", &time[1..]),
    ] {
        assert_eq!(refusal(&policy, "verify", token, &cat()), Some(Reason::Malformed), "{token}");
    }
    // Bits that the last character has beyond the signature's.
    let odd = TOKEN.replace("EI=", "EJ=");
    assert_eq!(refusal(&policy, "verify", &odd, &cat()), Some(Reason::Malformed));
}

#[test]
fn a_host_that_is_signed_has_to_be_the_one_asked_for() {
    let options = formats::cloudflare::Cloudflare { with_host: true, ..options() };
    let token = sign(&LINK, ISSUED, KEY, &options).unwrap();
    let policy = policy(options);
    for (host, expected) in [
        ("downloads.example.com", None),
        ("Downloads.Example.com:8443", None),
        ("downloads.example.org", Some(Reason::BadMac)),
        ("", Some(Reason::BadMac)),
    ] {
        let found = refusal(&policy, "verify", &token, &Presented { host, ..cat() });
        assert_eq!(found, expected, "{host}");
    }
    assert_eq!(refusal(&policy, "verify", TOKEN, &cat()), Some(Reason::BadMac));
}

#[test]
fn as_much_of_the_separator_is_signed_as_the_rule_leaves() {
    for (unsigned, signed) in [
        (0, "/download/cat.jpg?verify=1484063787"),
        (1, "/download/cat.jpg?verify1484063787"),
        (7, "/download/cat.jpg?1484063787"),
        (8, "/download/cat.jpg1484063787"),
        (66, "/download/cat.jpg1484063787"),
    ] {
        let options = formats::cloudflare::Cloudflare { separator: Some(unsigned), ..options() };
        let mut code = Code::new(Hash::Sha256, KEY);
        code.update(signed.as_bytes());
        let expected = format!("1484063787-{}", STANDARD.encode(code.bytes()));
        assert_eq!(sign(&LINK, ISSUED, KEY, &options), Ok(expected.clone()), "{unsigned}");
        let policy = policy(options);
        let token = utf8_percent_encode(&expected, NON_ALPHANUMERIC).to_string();
        assert_eq!(refusal(&policy, "verify", &token, &cat()), None, "{unsigned}");
        let with_query = Presented { query: Some("a=1"), ..cat() };
        assert_eq!(refusal(&policy, "verify", &token, &with_query), None, "{unsigned}");
        let whole = if unsigned < 8 { Some(Reason::BadMac) } else { None };
        assert_eq!(refusal(&policy, "verify", TOKEN, &cat()), whole, "{unsigned}");
    }
}

#[test]
fn a_token_for_a_directory_opens_what_is_below_it() {
    let options = formats::cloudflare::Cloudflare { extent: Extent::Directories(1), ..options() };
    let token = sign(&LINK, ISSUED, KEY, &options).unwrap();
    let token = utf8_percent_encode(&token, NON_ALPHANUMERIC).to_string();
    let policy = policy(options);
    let admission = probe::admit(&policy, "verify", &token, &presented("/download/a/b.ts")).unwrap();
    assert_eq!(admission.terms().acl.as_deref(), Some("/download/*"));
    for path in ["/upload/a.ts", "/a.ts", "/download/%2e%2e/a.ts"] {
        let reason = refusal(&policy, "verify", &token, &presented(path));
        assert_eq!(reason, Some(Reason::Path), "{path}");
    }
    let root = Link { path: "/cat.jpg", ..LINK };
    let options = formats::cloudflare::Cloudflare { extent: Extent::Directories(1), ..self::options() };
    assert_eq!(sign(&root, ISSUED, KEY, &options), Err(SignError::Directories));
}

#[test]
fn every_key_of_the_policy_is_tried() {
    let format = || TokenFormat::Cloudflare(options());
    let policy = probe::policy(format(), probe::shared(&[b"other", KEY]));
    assert_eq!(&*probe::admit(&policy, "verify", TOKEN, &cat()).unwrap().verdict.key_id, "k2");
    let without = probe::policy(format(), probe::shared(&[b"other"]));
    assert_eq!(refusal(&without, "verify", TOKEN, &cat()), Some(Reason::BadMac));
}

#[test]
fn debug_output_shows_no_key() {
    let text = format!("{:?}", Cloudflare::new(&options(), &probe::shared(&[KEY])));
    assert!(text.starts_with("Cloudflare { keys: 1, options:") && !text.contains("mysecret"), "{text}");
}

proptest! {
    #[test]
    fn what_is_signed_is_admitted_and_nothing_else(
        secret in prop::collection::vec(any::<u8>(), 1..100),
        path in "(/[a-zA-Z0-9_.~-]{1,8}x){3,5}",
        extent in prop::sample::select(vec![Extent::Path, Extent::Directories(1), Extent::Directories(2)]),
        with_host in any::<bool>(),
        separator in prop::option::of(0_usize..10),
        url_safe in any::<bool>(),
    ) {
        let options = formats::cloudflare::Cloudflare { with_host, extent, separator, url_safe, ..options() };
        let token = sign(&Link { path: &path, ..LINK }, ISSUED, &secret, &options).unwrap();
        let token = utf8_percent_encode(&token, NON_ALPHANUMERIC).to_string();
        let policy = probe::policy(TokenFormat::Cloudflare(options), probe::shared(&[&secret]));
        prop_assert_eq!(refusal(&policy, "verify", &token, &presented(&path)), None);
        let elsewhere = refusal(&policy, "verify", &token, &presented("/else/where/a.ts"));
        prop_assert!(matches!(elsewhere, Some(Reason::BadMac | Reason::Path)));
    }

    #[test]
    fn no_text_is_admitted_without_the_key(text in "([0-9]{9,11}|.{0,12})-?([0-9a-zA-Z+/_-]{41,44}=?|.{0,50})") {
        let format = Cloudflare::new(&options(), &probe::shared(&[KEY]));
        let reason = format.authenticate(&text, &cat()).unwrap_err();
        prop_assert!(matches!(reason, Reason::Malformed | Reason::BadMac));
    }
}

/// In a query the name is signed as well: what is remembered of a token in a path or cookie says nothing of it there.
#[test]
fn a_token_that_is_known_from_a_cookie_is_verified_anew_in_a_query() {
    use crate::config::model::{TokenPlace, TokenPolicy};
    let unnamed = formats::cloudflare::Cloudflare { extent: Extent::Directories(1), ..options() };
    let token = sign(&LINK, ISSUED, KEY, &unnamed).unwrap();
    let format = TokenFormat::Cloudflare(formats::cloudflare::Cloudflare { separator: Some(0), ..unnamed });
    let places = vec![TokenPlace::Query, TokenPlace::Cookie];
    let config = TokenPolicy { places, ..TokenPolicy::new("p", format, probe::shared(&[KEY])) };
    let policy = Policy::from_config(&config, 1 << 20);
    let cookie = format!("verify={token}").parse().unwrap();
    let headers = [(http::header::COOKIE, cookie)].into_iter().collect();
    assert!(policy.admit(&Presented { headers: &headers, ..cat() }).is_ok());
    let query = format!("verify={token}");
    let denied = policy.admit(&Presented { query: Some(&query), ..cat() }).unwrap_err();
    assert_eq!(denied.reason, Reason::BadMac);
}
