#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use http::HeaderMap;
use proptest::prelude::*;

use super::super::{Denied, Policy};
use super::*;
use crate::config::formats::secure_link::ExpressionError;
use crate::config::model::{KeyKind, Secret, TokenFormat, TokenPlace, TokenPolicy};

/// Before the end of the published token.
const NOW: u64 = 1_700_000_000;
const PUBLISHED: &str = "md5=_e4Nc3iduzkWRm01TBBNYw&expires=2147483647";
const DEFAULT: &str = "$secure_link_expires$uri$remote_addr $secret";

fn key(id: &str, secret: &[u8]) -> TokenKey {
    TokenKey { id: id.into(), kind: KeyKind::Shared, bytes: Secret(secret.to_vec()) }
}

fn policy_of(options: Options, keys: Vec<TokenKey>) -> Policy {
    let mut config = TokenPolicy::new("viewer", TokenFormat::SecureLink(options), keys);
    config.places.push(TokenPlace::Path);
    Policy::from_config(&config, 1 << 20)
}

fn policy(expression: &str) -> Policy {
    let options = Options::Expression {
        expression: Expression::parse(expression).unwrap(),
        md5: "md5".into(),
        expires: "expires".into(),
    };
    policy_of(options, vec![key("k2", b"another"), key("k1", b"secret")])
}

fn admit(policy: &Policy, path: &str, query: &str) -> Result<Arc<str>, Reason> {
    let request = Presented { query: Some(query), ..Presented::get(path, NOW) };
    admit_request(policy, &request)
}

fn admit_request(policy: &Policy, request: &Presented<'_>) -> Result<Arc<str>, Reason> {
    let (_, normal) = policy.strip_path(request.normal);
    let admitted = policy.admit(&Presented { normal: &normal, ..*request });
    admitted.map(|admitted| Arc::clone(&admitted.verdict.key_id)).map_err(|Denied { reason, .. }| reason)
}

fn sign_with(expression: &str, request: &Presented<'_>, expires: u64) -> String {
    sign(&Expression::parse(expression).unwrap(), ("md5", "expires"), request, expires, b"secret")
}

#[test]
fn the_published_token_is_admitted_and_signing_gives_it() {
    assert_eq!(admit(&policy(DEFAULT), "/s/link", PUBLISHED).as_deref(), Ok("k1"));
    assert_eq!(sign_with(DEFAULT, &Presented::get("/s/link", NOW), 2_147_483_647), PUBLISHED);
    assert_eq!(
        Options::default(),
        Options::Expression {
            expression: Expression::parse(DEFAULT).unwrap(),
            md5: "md5".into(),
            expires: "expires".into(),
        }
    );
}

#[test]
fn the_published_link_with_a_word_is_admitted_and_signing_gives_it() {
    assert_eq!(sign_link("link", b"secret"), "5e814704a28d9bc1914ff19fa0c4a00a");
    let policy = policy_of(Options::Word, vec![key("k1", b"secret")]);
    let path = "/p/5e814704a28d9bc1914ff19fa0c4a00a/link";
    assert!(admit(&policy, path, "").is_ok());
    assert_eq!(policy.strip_path(path).1, "/p/link");
    assert_eq!(admit(&policy, "/p/5e814704a28d9bc1914ff19fa0c4a00a/other", ""), Err(Reason::BadMac));
    assert_eq!(admit(&policy, "/p/5E814704A28D9BC1914FF19FA0C4A00A/link", ""), Err(Reason::Missing));
    assert_eq!(admit(&policy, "/p/link", ""), Err(Reason::Missing));
    let deep = format!("/p/{}/a/b.ts", sign_link("a/b.ts", b"secret"));
    assert!(admit(&policy, &deep, "x=1").is_ok());
    let with_query = format!("/p/{}/a/b.ts", sign_link("a/b.ts?x=1", b"secret"));
    assert!(admit(&policy, &with_query, "x=1").is_ok());
    assert_eq!(admit(&policy, &with_query, "x=2"), Err(Reason::BadMac));
}

#[test]
fn no_bit_of_a_token_can_be_flipped() {
    let parameters = policy(DEFAULT);
    let word = policy_of(Options::Word, vec![key("k1", b"secret")]);
    let path = "/p/5e814704a28d9bc1914ff19fa0c4a00a/link";
    for (policy, whole, path_alone) in [(&parameters, PUBLISHED, None), (&word, path, Some(()))] {
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.as_bytes().to_vec();
                flipped[place] ^= 1 << bit;
                let Ok(flipped) = String::from_utf8(flipped) else { continue };
                // The prefix is no part of the token.
                if path_alone.is_some() && place == 1 {
                    continue;
                }
                let admitted = match path_alone {
                    Some(()) => admit(policy, &flipped, ""),
                    None => admit(policy, "/s/link", &flipped),
                };
                let reason = admitted.unwrap_err();
                let expected = [Reason::Malformed, Reason::BadMac, Reason::Missing];
                assert!(expected.contains(&reason), "{flipped}: {reason:?}");
            }
        }
    }
}

#[test]
fn each_reason_is_given_for_its_cause() {
    let policy = policy(DEFAULT);
    let request = Presented::get("/s/link", NOW);
    assert_eq!(admit(&policy, "/s/link", ""), Err(Reason::Missing));
    for query in [
        "md5=_e4Nc3iduzkWRm01TBBNYw",
        "expires=2147483647",
        "md5=&expires=2147483647",
        "md5=_e4Nc3iduzkWRm01TBBNYw==&expires=2147483647",
        "md5=_e4Nc3iduzkWRm01TBBNYx&expires=2147483647",
        "md5=_e4Nc3iduzkWRm01TBBNYw&expires=+2147483647",
        "md5=_e4Nc3iduzkWRm01TBBNYw&expires=",
        "md5=_e4Nc3iduzkWRm01TBBNYw&expires=2147483647&expires=2147483647",
    ] {
        assert_eq!(admit(&policy, "/s/link", query), Err(Reason::Malformed), "{query}");
    }
    assert_eq!(admit(&policy, "/s/other", PUBLISHED), Err(Reason::BadMac));
    let elsewhere = Presented { client: "192.0.2.1".parse().unwrap(), query: Some(PUBLISHED), ..request };
    assert_eq!(admit_request(&policy, &elsewhere), Err(Reason::BadMac));
    assert_eq!(admit(&policy, "/s/link", &sign_with(DEFAULT, &request, NOW)), Err(Reason::Expired));
    assert!(admit(&policy, "/s/link", &sign_with(DEFAULT, &request, NOW + 1)).is_ok());
}

#[test]
fn every_variable_is_covered() {
    let mut headers = HeaderMap::new();
    headers.append("cookie", "a=1; sid=\"abc\"".parse().unwrap());
    headers.append("x-device", "tv".parse().unwrap());
    let names = ["md5".to_owned(), "expires".to_owned()];
    let request = Presented {
        query: Some("q=%20&r=2"),
        names: &names,
        headers: &headers,
        host: "CDN.example.com:8443",
        secure: true,
        ..Presented::get("/a%20b", NOW)
    };
    let expression =
        "$secret|$uri|$args|$arg_R|$host|$remote_addr|${scheme}|$cookie_sid|$http_x_device|$cookie_none";
    let text = "secret|/a b|q=%20&r=2|2|cdn.example.com|127.0.0.1|https|abc|tv|";
    let expected = format!("md5={}", URL_SAFE_NO_PAD.encode(Md5::digest(text)));
    assert_eq!(sign_with(expression, &request, 0), expected);
    let policy = policy(expression);
    let query = format!("q=%20&{expected}&r=2");
    let with_token = Presented { query: Some(&query), ..request };
    assert!(admit_request(&policy, &with_token).is_ok());
    let mut other = headers.clone();
    other.insert("x-device", "pc".parse().unwrap());
    let other_device = Presented { headers: &other, ..with_token };
    assert_eq!(admit_request(&policy, &other_device), Err(Reason::BadMac), "a verdict is not used again");
}

#[test]
fn an_end_that_is_not_covered_is_no_part_of_the_token() {
    let policy = policy("$uri $secret");
    let token = sign_with("$uri $secret", &Presented::get("/a", NOW), NOW - 1);
    assert!(admit(&policy, "/a", &format!("{token}&expires=1")).is_ok());
}

#[test]
fn an_expression_that_is_none_is_refused_with_what_is_wrong() {
    assert_eq!(Expression::parse("$uri"), Err(ExpressionError::NoSecret));
    assert_eq!(Expression::parse("$secret$urI"), Err(ExpressionError::Unknown("urI".into())));
    assert_eq!(Expression::parse("$secret$"), Err(ExpressionError::Unknown(String::new())));
    assert_eq!(Expression::parse("$secret$arg_"), Err(ExpressionError::Unknown("arg_".into())));
    assert_eq!(Expression::parse("${secret"), Err(ExpressionError::Open));
    assert_eq!(Expression::parse(&format!("$secret{}", " ".repeat(1018))), Err(ExpressionError::TooLong));
    assert!(Expression::parse(&format!("$secret{}", " ".repeat(1017))).is_ok());
}

#[test]
fn debug_output_shows_no_key() {
    let shown = format!("{:?}", policy(DEFAULT));
    assert!(!shown.contains("another") && !shown.contains("115, 101"), "{shown}");
}

/// What the head of the format says of its signed text.
#[test]
fn what_the_digest_does_not_delimit_is_told_and_text_between_variables_delimits_it() {
    let at = |expression: &str, path, client: &str| {
        let signed = Presented { client: "12.0.0.1".parse().unwrap(), ..Presented::get("/a", NOW) };
        let query = sign_with(expression, &signed, NOW + 9);
        let client = client.parse().unwrap();
        admit_request(
            &policy(expression),
            &Presented { query: Some(&query), client, ..Presented::get(path, NOW) },
        )
        .is_ok()
    };
    for (expression, moved) in [(DEFAULT, true), ("$secure_link_expires$uri $remote_addr $secret", false)] {
        assert!(at(expression, "/a", "12.0.0.1"));
        assert_eq!(at(expression, "/a1", "2.0.0.1"), moved, "{expression}");
        assert!(!at(expression, "/a", "2.0.0.1"));
    }
    let word = policy_of(Options::Word, vec![key("k1", b"secret")]);
    let digest = sign_link("link", b"secret");
    for (path, expected) in [("p", true), ("other", true), ("p/q", false)] {
        let path = format!("/{path}/{digest}/link");
        assert_eq!(admit(&word, &path, "").is_ok(), expected, "{path}");
    }
}

proptest! {
    #[test]
    fn what_is_signed_is_admitted(
        secret in prop::collection::vec(any::<u8>(), 1..40),
        path in "(/[a-z0-9_-]{1,8}){1,4}",
        address in any::<u32>(),
        life in 1_u64..1_000_000,
    ) {
        let request = Presented { client: std::net::Ipv4Addr::from(address).into(), ..Presented::get(&path, NOW) };
        let token = sign(&Expression::default(), ("md5", "expires"), &request, NOW + life, &secret);
        let policy = policy_of(Options::default(), vec![key("k", &secret)]);
        let admitted = admit_request(&policy, &Presented { query: Some(&token), ..request });
        prop_assert!(admitted.is_ok(), "{token} for {path}: {admitted:?}");
        let elsewhere = admit_request(&policy, &Presented { query: Some(&token), ..Presented::get("/else", NOW) });
        prop_assert_eq!(elsewhere, Err(Reason::BadMac));
    }

    #[test]
    fn no_text_is_admitted_without_the_key(query in "(md5=|expires=|&|=|%|[A-Za-z0-9_-]{22}|[0-9]{1,12}|\\PC){0,10}", path in "(/|[0-9a-f]{32}|\\PC){0,6}") {
        let policies = [policy(DEFAULT), policy_of(Options::Word, vec![key("k1", b"secret")])];
        for policy in &policies {
            prop_assert!(admit(policy, &path, &query).is_err());
        }
    }
}
