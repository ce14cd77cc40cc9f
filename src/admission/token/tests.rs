#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::edgeauth::{Claims, Scope, sign};
use super::*;
use crate::config::model::{KeyKind, Secret, Session, TokenKey};

mod sessions;

const NOW: u64 = 1_700_001_000;
const SECRET: &[u8] = &[7; 16];

fn key(id: &str, byte: u8) -> TokenKey {
    TokenKey { id: id.into(), kind: KeyKind::Shared, bytes: Secret(vec![byte; 16]) }
}

fn config() -> TokenPolicy {
    TokenPolicy::new("viewer", TokenFormat::EdgeAuth(Default::default()), vec![key("k2", 7), key("k1", 8)])
}

fn policy() -> Policy {
    Policy::from_config(&config(), 1 << 20)
}

fn policy_with(places: &[TokenPlace]) -> Policy {
    Policy::from_config(&TokenPolicy { places: places.to_vec(), ..config() }, 1 << 20)
}

fn claims(acl: &str) -> Claims {
    Claims {
        ip: None,
        start: None,
        expires: NOW + 600,
        scope: Scope::Acl(vec![acl.to_owned()]),
        id: Some("s1".into()),
        data: None,
    }
}

fn token(acl: &str) -> String {
    sign(&claims(acl), SECRET, None)
}

fn headers(cookies: &[&str]) -> HeaderMap {
    cookies.iter().map(|cookie| (COOKIE, HeaderValue::from_bytes(cookie.as_bytes()).unwrap())).collect()
}

fn admit(policy: &Policy, path: &str, query: Option<&str>, cookies: &[&str]) -> Result<Admission, Denied> {
    let headers = headers(cookies);
    let normal = policy.strip_path(path).1;
    let client = "192.0.2.10".parse().unwrap();
    policy.admit(&Presented {
        query,
        headers: &headers,
        client,
        normal: &normal,
        ..Presented::get(path, NOW)
    })
}

fn reason(policy: &Policy, path: &str, query: Option<&str>, cookies: &[&str]) -> Reason {
    admit(policy, path, query, cookies).unwrap_err().reason
}

/// Cookies of the site's own are not all ASCII; the token beside them counts, and a second one is seen.
#[test]
fn a_token_is_found_beside_a_cookie_that_is_not_ascii() {
    let (policy, token) = (policy(), token("/live/*"));
    let beside = format!("name=Zo\u{eb}; hdnts={token}");
    assert_eq!(admit(&policy, "/live/a.ts", None, &[&beside]).unwrap().place, TokenPlace::Cookie);
    let first = format!("hdnts={token}");
    assert_eq!(reason(&policy, "/live/a.ts", None, &[&first, &beside]), Reason::Malformed);
}

#[test]
fn a_token_that_stands_where_none_is_looked_for_is_not_told() {
    let policy = policy();
    for (path, expected) in [
        ("/live/hdnts=secret/a.ts", "/live/"),
        ("//hdnts=secret/a.ts", "//"),
        ("/live%2fhdnts%3Dsecret/a.ts", "/live%2f"),
        ("/live/a.ts;x=1;%68dnts=secret", "/live/a.ts;x=1;"),
        ("/live%3Bhdnts=secret", "/live%3B"),
        ("/%zz/hdnts=secret", "/%zz/"),
        ("/hdnts=a~hmac=b/live/hdnea=secret/a.ts", "/live/"),
        ("/live/xhdnts=1/hdnts/a.ts", "/live/xhdnts=1/hdnts/a.ts"),
        ("/live/%2", "/live/%2"),
    ] {
        assert_eq!(policy.told_path(path), expected, "{path}");
    }
}

#[test]
fn a_token_is_found_in_each_place_under_each_name() {
    let policy = policy();
    let token = token("/live/*");
    for name in ["hdnts", "hdnea", "__hdnea__", "__token__"] {
        let path = format!("/{name}={token}/live/a.ts");
        let admitted = admit(&policy, &path, Some("x=1"), &[]).unwrap();
        assert_eq!(admitted.place, TokenPlace::Path);
        let terms = admitted.terms();
        assert_eq!((terms.session.as_deref(), terms.expires), (Some("s1"), Some(NOW + 600)));
        assert_eq!(&*admitted.verdict.key_id, "k2");
        let prefix = path.strip_suffix("/live/a.ts").unwrap();
        assert_eq!(policy.strip_path(&path), (prefix, Cow::Borrowed("/live/a.ts")));
        let query = format!("x=1&{name}={token}&y=2");
        let admitted = admit(&policy, "/live/a.ts", Some(&query), &[]).unwrap();
        assert_eq!(admitted.place, TokenPlace::Query);
        let cookie = format!("x=1; {name}=\"{token}\"; y=2");
        let cookies = ["a=b", cookie.as_str()];
        let admitted = admit(&policy, "/live/a.ts", None, &cookies).unwrap();
        assert_eq!(admitted.place, TokenPlace::Cookie);
    }
}

#[test]
fn percent_encoded_spellings_of_a_token_are_the_same_token() {
    let policy = policy();
    let plain = token("/live/*");
    let lower = plain.replace('~', "%7e").replace('=', "%3d").replace('/', "%2f").replace('*', "%2a");
    for spelled in [plain.replace('~', "%7E"), plain.replace('=', "%3D"), plain.replace('/', "%2F"), lower] {
        for path in [format!("/hdnts={spelled}/live/a.ts"), format!("/%68dnts%3D{spelled}/live/a.ts")] {
            assert!(admit(&policy, &path, None, &[]).is_ok(), "{path}");
            assert_eq!(policy.strip_path(&path).1, "/live/a.ts");
        }
        let query = format!("hdnts={spelled}");
        assert!(admit(&policy, "/live/a.ts", Some(&query), &[]).is_ok(), "{query}");
        assert!(admit(&policy, "/live/a.ts", None, &[&query]).is_ok(), "{query}");
        let twice = query.replace('%', "%25").replace('~', "%257e");
        assert!(admit(&policy, "/live/a.ts", Some(&twice), &[]).is_err(), "{twice}");
    }
}

#[test]
fn each_reason_is_given_for_its_cause() {
    let policy = policy();
    let with = |token: &str, path: &str| reason(&policy, path, Some(&format!("hdnts={token}")), &[]);
    assert_eq!(reason(&policy, "/live/a.ts", None, &[]), Reason::Missing);
    assert_eq!(with("", "/live/a.ts"), Reason::Malformed);
    assert_eq!(with("abc", "/live/a.ts"), Reason::Malformed);
    assert_eq!(with(&sign(&claims("/*"), &[9; 16], None), "/live/a.ts"), Reason::BadMac);
    assert_eq!(with(&token("/vod/*").replace("/vod/*", "/live/*"), "/live/a.ts"), Reason::BadMac);
    let signed = |claims: Claims| sign(&claims, SECRET, None);
    assert_eq!(with(&signed(Claims { expires: NOW, ..claims("/*") }), "/a"), Reason::Expired);
    assert_eq!(with(&signed(Claims { start: Some(NOW + 1), ..claims("/*") }), "/a"), Reason::NotYet);
    let elsewhere = Some("192.0.2.11".parse().unwrap());
    assert_eq!(with(&signed(Claims { ip: elsewhere, ..claims("/*") }), "/a"), Reason::Ip);
    assert_eq!(with(&token("/vod/*"), "/live/a.ts"), Reason::Path);
    assert_eq!(with(&token("/live/*"), "/live/../vod/a.ts"), Reason::Path);
}

#[test]
fn a_second_key_verifies_and_is_named() {
    let policy = policy();
    let query = format!("hdnts={}", sign(&claims("/*"), &[8; 16], None));
    assert_eq!(admit(&policy, "/a", Some(&query), &[]).unwrap().verdict.key_id.as_ref(), "k1");
}

#[test]
fn a_token_named_twice_is_refused_wherever_the_two_stand() {
    let policy = policy();
    let good = token("/*");
    let (parameter, path) = (format!("hdnts={good}"), format!("/hdnts={good}/a"));
    let twice = format!("{parameter}&{parameter}");
    let hidden = format!("{parameter}&%68dnts=x");
    let cookies = [parameter.as_str(), parameter.as_str()];
    assert_eq!(reason(&policy, "/a", Some(&twice), &[]), Reason::Malformed);
    assert_eq!(reason(&policy, "/a", Some(&hidden), &[]), Reason::Malformed);
    assert_eq!(reason(&policy, "/a", None, &cookies), Reason::Malformed);
    let other = format!("hdnts={}", token("/a*"));
    assert_eq!(reason(&policy, "/a", Some(&parameter), &[&other]), Reason::Malformed);
    assert_eq!(reason(&policy, "/a", Some(&other), &[&parameter]), Reason::Malformed);
    assert_eq!(reason(&policy, &path, Some(&parameter), &[]), Reason::Malformed);
    let two_segments = format!("/hdnea={good}{path}");
    let nested = format!("/hdnts={good}{path}");
    assert_eq!(reason(&policy, &nested, None, &[]), Reason::Malformed);
    assert_eq!(reason(&policy, &two_segments, None, &[]), Reason::Malformed);
    assert_eq!(policy.strip_path(&two_segments).1, "/a");
}

/// A player sends a cookie along with the URI that has the same token already.
#[test]
fn the_same_token_in_url_and_cookie_is_one() {
    let policy = policy();
    let parameter = format!("hdnts={}", token("/*"));
    let encoded = parameter.replace('~', "%7E");
    let path = format!("/{parameter}/a");
    for (target, query, cookies) in [
        ("/a", Some(parameter.as_str()), &[encoded.as_str()][..]),
        (path.as_str(), None, &[parameter.as_str()][..]),
    ] {
        let headers = headers(cookies);
        let request = Presented { query, headers: &headers, normal: "/a", ..Presented::get(target, NOW) };
        assert!(policy.admit(&request).is_ok(), "{target} {query:?} {cookies:?}");
    }
}

#[test]
fn of_tokens_with_different_names_the_first_place_counts() {
    let policy = policy();
    let (good, stale) = (token("/*"), sign(&Claims { expires: 1, ..claims("/*") }, SECRET, None));
    let path = format!("/hdnts={good}/a");
    let cookie = format!("hdnea={stale}");
    assert_eq!(admit(&policy, &path, None, &[&cookie]).unwrap().place, TokenPlace::Path);
    let path = format!("/hdnts={stale}/a");
    let cookie = format!("hdnea={good}");
    assert_eq!(reason(&policy, &path, None, &[&cookie]), Reason::Expired);
    let query = format!("hdnea={stale}&hdnts={good}");
    assert!(admit(&policy, "/a", Some(&query), &[]).is_ok());
}

#[test]
fn a_place_that_the_policy_does_not_name_is_not_looked_into_but_shows_no_token_either() {
    let policy = policy_with(&[TokenPlace::Query]);
    let good = token("/*");
    let path = format!("/hdnts={good}/a");
    let cookies = [&path[1..]];
    assert_eq!(reason(&policy, &path, None, &cookies), Reason::Missing);
    assert_eq!(policy.strip_path(&path).1, "/a");
}

#[test]
fn the_path_of_a_refused_request_shows_nothing_of_its_token() {
    let policy = policy();
    let good = token("/live/*");
    for (spoilt, rest) in [
        (good.replace("~hmac=", "~hmax="), "/"),
        (good.replace("exp=", "exp=x"), "/live/a.ts"),
        (good.replace("~id=", "~id=x"), "/live/a.ts"),
        ("x".repeat(5_000), "/"),
        (good.clone() + "0", "/live/a.ts"),
    ] {
        let path = format!("/hdnts={spoilt}/live/a.ts");
        assert!(admit(&policy, &path, None, &[]).is_err(), "{path}");
        assert_eq!(policy.strip_path(&path).1, rest, "{path}");
    }
}

#[test]
fn a_token_longer_than_the_bound_is_malformed() {
    let policy = policy();
    let long = |length| {
        let fill = length - sign(&Claims { data: Some(String::new()), ..claims("/*") }, SECRET, None).len();
        let token = sign(&Claims { data: Some("x".repeat(fill)), ..claims("/*") }, SECRET, None);
        assert_eq!(token.len(), length);
        format!("hdnts={token}")
    };
    assert!(admit(&policy, "/a", Some(&long(TOKEN_BYTES_MAX)), &[]).is_ok());
    assert_eq!(reason(&policy, "/a", Some(&long(TOKEN_BYTES_MAX + 1)), &[]), Reason::Malformed);
}

#[test]
fn a_token_from_query_or_cookie_is_carried_on_as_path_segment() {
    let policy = policy();
    for acl in ["/live/*", "/live/?.ts", "/live/a b?.ts", "/live/é%3f/*"] {
        let token = token(acl);
        let spelled = percent_encoding::utf8_percent_encode(&token, percent_encoding::NON_ALPHANUMERIC);
        let (query, path) =
            (format!("hdnea={spelled}"), if acl.contains('é') { "/live/é?/a" } else { "/live/a.ts" });
        let path = if acl.contains(' ') { "/live/a%20b1.ts" } else { path };
        let first = admit(&policy, path, Some(&query), &[]).unwrap();
        let normal = Presented::get(path, NOW);
        let token = policy.carried(&first, &normal);
        let carried = format!("{}{path}", path_segment(token.name, &token.text));
        assert!(carried.starts_with("/hdnea="));
        assert!(!carried.contains('?') || path.contains('?'));
        let second = admit(&policy, &carried, None, &[]).unwrap();
        assert_eq!(second.place, TokenPlace::Path);
        assert_eq!(second.terms().session, first.terms().session);
        assert_eq!(policy.carried(&second, &normal).text, token.text);
    }
}

#[test]
fn token_parameters_and_cookies_are_taken_out_and_nothing_else() {
    let policy = policy();
    assert!(
        policy.is_token_name("hdnts") && policy.is_token_name("%68dnts") && policy.is_token_name("__token__")
    );
    assert!(!policy.is_token_name("hdntsx") && !policy.is_token_name("token") && !policy.is_token_name(""));
    assert_eq!(policy.strip_query("a=1&hdnts=x&_HLS_msn=2&%68dnea=y"), "a=1&_HLS_msn=2");
    assert_eq!(policy.strip_cookie("a=1; hdnts=x; b=2"), "a=1; b=2");
    assert_eq!(policy.strip_path("/hdnts=exp=1~hmac=0/live/a.ts").1, "/live/a.ts");
    assert_eq!(policy.strip_path("/live/a.ts"), ("", Cow::Borrowed("/live/a.ts")));
}

#[test]
fn debug_output_shows_no_token() {
    let policy = policy();
    let token = token("/*");
    let path = format!("/hdnts={token}/a");
    let shown = format!("{:?}", admit(&policy, &path, None, &[]).unwrap());
    assert!(!shown.contains("hmac") && shown.contains("s1"), "{shown}");
}

proptest! {
    #[test]
    fn no_request_makes_admission_panic_or_passes_without_the_key(
        path in "(/|%|hdnts|hdnea|=|%3D|~|%7e|hmac=|exp=1|acl=/\\*|\\PC){0,24}",
        query in prop::option::of("(&|hdnts=|%68dnts|=|~hmac=|[0-9a-f]{64}|%|\\PC){0,16}"),
        cookie in "(;|hdnts=|\"|=|~hmac=|[0-9a-f]{64}|\\PC){0,16}",
    ) {
        let policy = policy();
        let cookies = [cookie.as_str()];
        prop_assume!(HeaderValue::from_bytes(cookie.as_bytes()).is_ok());
        prop_assert!(admit(&policy, &path, query.as_deref(), &cookies).is_err());
        let stripped = policy.strip_path(&path).1;
        prop_assert!(path.ends_with(&*stripped) || stripped == "/");
        let _ = policy.strip_cookie(&cookie);
        if let Some(query) = &query {
            prop_assert!(!policy.strip_query(query).split('&').any(|name| policy.is_token_name(name)));
        }
    }
}
