#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::super::{Denied, Policy};
use super::*;
use crate::config::model::{KeyKind, Secret, TokenFormat, TokenPolicy};

const KEY: &[u8] = b"SecurityKey";
const END: u64 = 1_598_024_587;
const NOW: u64 = END - 100;
const V4: &str = "1.2.3.4";
const V6: &str = "2001:db8:85a3::8a2e:370:7334";

/// Published tokens: path, parameters between token and end, client, token.
const QUERIES: [(&str, &str, &str, &str); 12] = [
    ("/300kb.jpg", "", V4, "HS256-o10JRWlsAItyAsdKS6jJKjabHN4FrFsplDHPV1idcX4"),
    ("/300kb.jpg", "token_countries=CA%2CUS&", V4, "HS256-i5s3Uv7mnrFfN5nznwU2BxhILpnipYeE18TapV0WNFM"),
    (
        "/300kb.jpg",
        "token_countries_blocked=RU%2CCN&",
        V4,
        "HS256-JS8dSuBSjSH-W2-xhdkCPC36-2rlxfDCQJjlNMPqKZQ",
    ),
    ("/300kb.jpg", "token_countries_blocked=CA&", V4, "HS256-zKGmNRBaHRmB4THCwmIQK5U21wH-S9KaJ6Ht7Kq9Zlw"),
    ("/abc/300kb.jpg", "token_path=%2Fabc&", V4, "HS256-uVZvT3SbEoVKYJyDJgbcsDmSFf73cv-uNUVaJiKWpbQ"),
    ("/300kb.jpg", "token_ignore_params=true&", V4, "HS256-1lwWBD_c1IAGSj1UKPoxreu8ePDQ-Z9FoWLcRn_RRH0"),
    ("/300kb.jpg", "limit=1000&", V4, "HS256-DAVapqNNED3Z7JkjRTYX0UOIHNtbHEuuhRNEc4A7mMQ"),
    ("/300kb.jpg", "", V4, "HS256-1-L2rISTLcujMY9UFf2tbZ41d5i-Bme1g1oTK_Z2QMLJk"),
    ("/300kb.jpg", "", V6, "HS256-1-Z1BaGdhTZdU4iANcyKpurFR2VgCNdqC6hlBv5x_TyaI"),
    ("/abc/300kb.jpg", "token_path=%2Fabc&", V4, "HS256-1-wag9tC0r1QWfg-2eMj5QcdzgPLCIdQb-D0WVU1Mhg2w"),
    ("/300kb.jpg", "token_ignore_params=true&", V4, "HS256-1-rWalmQRJ-A_qrb08-JoeU3b-gOS5mJiJjPOfDWa0gsQ"),
    (
        "/300kb.jpg",
        "token_countries_blocked=RU%2CCN&",
        V6,
        "HS256-1-XGkCf_JKNfOrpWAM_CIYjZBbVHbB4U1mxHg8pXJtBNc",
    ),
];
const PATHS: [(&str, &str, &str, &str); 4] = [
    ("/abc/", "token_countries=CA%2CUS&", V4, "HS256-1-4lIDGI2_t3wiTmopXzB7z71wtZKTe1Ic0lDlL72iAJw"),
    ("/abc/", "token_countries=CA%2CUS&", V6, "HS256-1-LGpoP8i1bV4P1kN4NrO_iYxLJuLAD2R3Clstsy9kWAc"),
    ("/abc/", "limit=5000&", V4, "HS256-1-X01Z6A9xAo1_ds1XFf9y8gAIzk_JpmoevOx7EtgMQhY"),
    // Of an older release of the issuer's library.
    ("/", "token_countries=CA&token_path=%2F&", V4, "HS256-JWU7jhpnBGI-O54AYDAtrlZT86Ied4RTO2-Y8mUj60A"),
];

fn policy_with(options: Options) -> Policy {
    let key = |id: &str, secret: &[u8]| TokenKey {
        id: id.into(),
        kind: KeyKind::Shared,
        bytes: Secret(secret.to_vec()),
    };
    let keys = vec![key("k2", b"another"), key("k1", KEY)];
    Policy::from_config(&TokenPolicy::new("viewer", TokenFormat::Bunny(options), keys), 1 << 20)
}

fn policy() -> Policy {
    policy_with(Options::default())
}

/// The verdict on a request, whatever the country: countries need a database.
fn admit(policy: &Policy, path: &str, query: Option<&str>, client: &str) -> Result<Arc<str>, Reason> {
    let (_, normal) = policy.strip_path(path);
    let client = client.parse().unwrap();
    let request = Presented { path, query, client, ..Presented::get(&normal, NOW) };
    match policy.admit(&request) {
        Ok(admitted) => Ok(Arc::clone(&admitted.verdict.key_id)),
        Err(Denied { reason, .. }) => Err(reason),
    }
}

fn expected(parameters: &str) -> Result<Arc<str>, Reason> {
    // Without a database no country is known, so that a genuine token is refused for its country.
    if parameters.contains("countries") { Err(Reason::Geo) } else { Ok("k1".into()) }
}

fn claims(path: &str) -> Claims {
    Claims { path: path.into(), expires: END, ..Claims::default() }
}

#[test]
fn published_tokens_are_admitted_in_query_and_path() {
    for (path, parameters, client, token) in QUERIES {
        let query = format!("token={token}&{parameters}expires={END}");
        assert_eq!(admit(&policy(), path, Some(&query), client), expected(parameters), "{query}");
    }
    for (path, parameters, client, token) in PATHS {
        let path = format!("/bcdn_token={token}&{parameters}expires={END}{path}");
        assert_eq!(admit(&policy(), &path, None, client), expected(parameters), "{path}");
        assert_eq!(admit(&policy(), &path, Some("_HLS_msn=1"), client), expected(parameters), "{path}");
    }
}

#[test]
fn signing_gives_the_published_tokens() {
    let lists = |text: &str, name: &str| match text.split_once(&format!("{name}=")) {
        Some((_, rest)) => rest.split('&').next().unwrap().split("%2C").map(str::to_owned).collect(),
        None => Vec::new(),
    };
    let cases = QUERIES.map(|case| (case, false)).into_iter().chain(PATHS.map(|case| (case, true)));
    for ((path, parameters, client, token), in_path) in cases {
        let claims = Claims {
            ip: token.starts_with("HS256-1-").then(|| client.parse().unwrap()),
            countries: lists(parameters, "token_countries"),
            countries_blocked: lists(parameters, "token_countries_blocked"),
            limit: lists(parameters, "limit").first().map(|limit| limit.parse().unwrap()),
            ignore_params: parameters.contains("ignore"),
            token_path: lists(parameters, "token_path").first().map(|path| path.replace("%2F", "/")),
            ..claims(path)
        };
        let (place, name) =
            if in_path { (TokenPlace::Path, "/bcdn_token") } else { (TokenPlace::Query, "token") };
        assert_eq!(sign(&claims, KEY, place), format!("{name}={token}&{parameters}expires={END}"));
    }
}

#[test]
fn no_bit_of_a_token_can_be_flipped() {
    let policy = policy();
    let refused = |reason: Reason| matches!(reason, Reason::Malformed | Reason::BadMac | Reason::Missing);
    for (path, parameters, client, token) in QUERIES {
        let whole = format!("token={token}&{parameters}expires={END}");
        for flipped in flips(&whole) {
            let found = admit(&policy, path, Some(&flipped), client);
            assert!(found.as_ref().is_err_and(|reason| refused(*reason)), "{flipped}: {found:?}");
        }
    }
    for (path, parameters, client, token) in PATHS {
        for flipped in flips(&format!("bcdn_token={token}&{parameters}expires={END}")) {
            let found = admit(&policy, &format!("/{flipped}{path}"), None, client);
            assert!(found.as_ref().is_err_and(|reason| refused(*reason)), "{flipped}: {found:?}");
        }
    }
}

/// Every text that differs in one bit and does not mean the same (`%2F` and `%2f` do).
fn flips(whole: &str) -> Vec<String> {
    let mut flips = Vec::new();
    for place in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.as_bytes().to_vec();
            flipped[place] ^= 1 << bit;
            let Ok(flipped) = String::from_utf8(flipped) else { continue };
            if percent_decode_str(&flipped).ne(percent_decode_str(whole)) {
                flips.push(flipped);
            }
        }
    }
    flips
}

#[test]
fn each_reason_is_given_for_its_cause() {
    let policy = policy();
    let with =
        |claims: &Claims, path: &str| admit(&policy, path, Some(&sign(claims, KEY, TokenPlace::Query)), V4);
    assert_eq!(admit(&policy, "/a", None, V4), Err(Reason::Missing));
    assert_eq!(with(&Claims { expires: NOW, ..claims("/a") }, "/a"), Err(Reason::Expired));
    assert_eq!(with(&claims("/a"), "/b"), Err(Reason::BadMac));
    assert_eq!(with(&Claims { ip: Some(V6.parse().unwrap()), ..claims("/a") }, "/a"), Err(Reason::BadMac));
    let blocked = Claims { countries_blocked: vec!["RU".into()], ..claims("/a") };
    assert_eq!(with(&blocked, "/a"), Err(Reason::Geo));
    let scoped = Claims { token_path: Some("/live/".into()), ..claims("/a") };
    assert_eq!(with(&scoped, "/vod/a"), Err(Reason::Path));
    let good = "HS256-o10JRWlsAItyAsdKS6jJKjabHN4FrFsplDHPV1idcX4";
    for query in [
        format!("token={good}"),
        format!("expires={END}"),
        format!("token={good}=&expires={END}"),
        format!("token={good}&expires={END}&expires={END}"),
        format!("token={good}&expires={END}&x=1&x=2"),
        format!("token={good}&expires={END}&x=1%262"),
        format!("token={good}&expires={END}&token_ignore_params=1"),
        format!("token={good}&expires={END}&limit=fast"),
        format!("token={}&expires={END}", good.trim_start_matches("HS256-")),
        format!("token={good}&expires=1{END}"),
    ] {
        assert_eq!(admit(&policy, "/300kb.jpg", Some(&query), V4), Err(Reason::Malformed), "{query}");
    }
}

#[test]
fn a_token_path_ends_at_a_slash_unless_told_otherwise() {
    let try_path = |plain_prefix, token_path: &str, path: &str| {
        let policy = policy_with(Options { plain_prefix, ..Options::default() });
        let claims = Claims { token_path: Some(token_path.into()), ..claims("/") };
        admit(&policy, path, Some(&sign(&claims, KEY, TokenPlace::Query)), V4).is_ok()
    };
    for (path, boundary, plain) in [
        ("/abc", true, true),
        ("/abc/", true, true),
        ("/abc/d.ts", true, true),
        ("/abcd", false, true),
        ("/ab", false, false),
        ("/%61bc/d.ts", true, true),
        ("/abc%2f..%2fd", false, false),
    ] {
        assert_eq!(
            (try_path(false, "/abc", path), try_path(true, "/abc", path)),
            (boundary, plain),
            "{path}"
        );
    }
    assert!(try_path(false, "/abc/", "/abc/d.ts") && !try_path(false, "/abc/", "/abc"));
    assert!(try_path(false, "/a*!?", "/a%2A!%3F/d.ts") && !try_path(false, "/a*", "/ab/c"));
}

#[test]
fn what_a_session_token_may_repeat_is_what_the_token_covers() {
    let patterns = |path: &str, plain| Prefix { path: path.into(), plain }.patterns();
    assert_eq!(patterns("/abc", false).as_deref(), Some("/abc!/abc/*"));
    assert_eq!(patterns("/abc/", false).as_deref(), Some("/abc/*"));
    assert_eq!(patterns("/abc", true).as_deref(), Some("/abc*"));
    assert_eq!(patterns("/a%b/", false).as_deref(), Some("/a%25b/*"));
    assert_eq!(patterns("/a*b/", false), None);
}

#[test]
fn what_is_not_signed_says_nothing() {
    let token = sign(&Claims { ignore_params: true, ..claims("/a") }, KEY, TokenPlace::Query);
    let query = format!("{token}&token_countries=SE&limit=7&x=1");
    let request = Presented { query: Some(&query), ..Presented::get("/a", NOW) };
    let admitted = policy().admit(&request).unwrap();
    assert_eq!(admitted.terms().claims.iter().count(), 0);
    let token = sign(
        &Claims { parameters: vec![("x".into(), "1 é".into())], ..claims("/a") },
        KEY,
        TokenPlace::Query,
    );
    assert!(admit(&policy(), "/a", Some(&token), V4).is_ok(), "{token}");
    assert_eq!(admit(&policy(), "/a", Some(&format!("{token}&y=1")), V4), Err(Reason::BadMac));
    assert_eq!(admit(&policy(), "/a", Some(&token.replace("x=", "y=")), V4), Err(Reason::BadMac));
}

#[test]
fn countries_are_allowed_or_blocked_and_an_unknown_one_is_refused() {
    let geo = crate::admission::geo::tests::geo();
    let lists = |allowed: &[&str], blocked: &[&str]| {
        let own = |list: &[&str]| list.iter().map(|code| (*code).to_owned()).collect();
        Claims { countries: own(allowed), countries_blocked: own(blocked), ..claims("/a") }
    };
    let found = |claims: &Claims, client: &str| {
        let query = sign(claims, KEY, TokenPlace::Query);
        let client = client.parse().unwrap();
        let request = Presented { query: Some(&query), client, geo: Some(&geo), ..Presented::get("/a", NOW) };
        policy().admit(&request).map(|_| ()).map_err(|denied| denied.reason)
    };
    let (sweden, unknown) = ("192.0.2.1", "203.0.113.200");
    assert_eq!(found(&lists(&["CA", "se"], &[]), sweden), Ok(()));
    assert_eq!(found(&lists(&["CA"], &[]), sweden), Err(Reason::Geo));
    assert_eq!(found(&lists(&[], &["RU", "CN"]), sweden), Ok(()));
    assert_eq!(found(&lists(&[], &["RU", "SE"]), sweden), Err(Reason::Geo));
    assert_eq!(found(&lists(&[], &["nowhere"]), sweden), Err(Reason::Geo));
    assert_eq!(found(&lists(&[], &["RU"]), unknown), Err(Reason::Geo));
}

#[test]
fn an_ipv6_client_is_good_within_its_network() {
    let token = sign(&Claims { ip: Some(V6.parse().unwrap()), ..claims("/a") }, KEY, TokenPlace::Query);
    assert!(admit(&policy(), "/a", Some(&token), "2001:db8:85a3::1").is_ok());
    assert_eq!(admit(&policy(), "/a", Some(&token), "2001:db8:85a3:1::1"), Err(Reason::BadMac));
}

#[test]
fn older_forms_are_taken_only_where_the_configuration_says_so() {
    let advanced = |text: &str| URL_SAFE_NO_PAD.encode(Sha256::digest(text));
    let basic = |text: &str| URL_SAFE_NO_PAD.encode(Md5::digest(text));
    let older =
        policy_with(Options { signatures: vec![Signature::Sha256, Signature::Md5], plain_prefix: false });
    for (token, path, parameters) in [
        (advanced(&format!("SecurityKey/a{END}")), "/a", ""),
        (advanced(&format!("SecurityKey/a{END}{V4}")), "/a", ""),
        (
            advanced(&format!("SecurityKey/a/{END}limit=7&token_path=/a/")),
            "/a/b",
            "&token_path=%2Fa%2F&limit=7",
        ),
        (basic(&format!("SecurityKey/a{END}")), "/a", ""),
        (basic(&format!("SecurityKey/a{END}{V4}")), "/a", "&x=1&token_countries=SE"),
    ] {
        let query = format!("token={token}&expires={END}{parameters}");
        assert_eq!(admit(&older, path, Some(&query), V4).as_deref(), Ok("k1"), "{query}");
        assert_eq!(admit(&policy(), path, Some(&query), V4), Err(Reason::Malformed), "{query}");
        assert!(admit(&older, "/c", Some(&query), V4).is_err());
        for flipped in flips(&format!("token={token}")) {
            let query = format!("{flipped}&expires={END}{parameters}");
            assert!(admit(&older, path, Some(&query), V4).is_err(), "{query}");
        }
    }
    let current = sign(&claims("/a"), KEY, TokenPlace::Query);
    assert_eq!(admit(&older, "/a", Some(&current), V4), Err(Reason::Malformed));
}

#[test]
fn debug_output_shows_no_key() {
    let shown = format!("{:?}", policy());
    assert!(!shown.contains("SecurityKey") && !shown.contains("83, 101"), "{shown}");
}

proptest! {
    #[test]
    fn what_is_signed_is_admitted_and_nothing_else(
        secret in prop::collection::vec(any::<u8>(), 1..100),
        segments in prop::collection::vec("[a-zA-Z0-9_~-]{1,8}", 2..5),
        scoped in any::<bool>(),
        ignore_params in any::<bool>(),
        in_path in any::<bool>(),
        ip in prop::option::of(any::<u128>()),
        limit in prop::option::of(any::<u64>()),
        value in "[^&]{0,20}",
    ) {
        let path = format!("/{}", segments.join("/"));
        let client = ip.map_or(V4.parse().unwrap(), |bits| IpAddr::V6(bits.into()));
        let claims = Claims {
            token_path: scoped.then(|| format!("/{}", segments[0])),
            ip: ip.map(|_| client),
            limit,
            ignore_params,
            parameters: vec![("Ωx".into(), value)],
            ..claims(&path)
        };
        let place = if in_path { TokenPlace::Path } else { TokenPlace::Query };
        let token = sign(&claims, &secret, place);
        let (sent, query) = if in_path { (format!("{token}{path}"), None) } else { (path.clone(), Some(token.as_str())) };
        let with = |secret: &[u8]| {
            let key = TokenKey { id: "k".into(), kind: KeyKind::Shared, bytes: Secret(secret.to_vec()) };
            let config = TokenPolicy::new("viewer", TokenFormat::Bunny(Options::default()), vec![key]);
            Policy::from_config(&config, 1 << 20)
        };
        let (policy, client) = (with(&secret), client.to_string());
        let found = admit(&policy, &sent, query, &client);
        prop_assert!(found.is_ok(), "{token} for {path}: {found:?}");
        let elsewhere = if in_path { format!("{token}/UP.{path}") } else { format!("/UP.{path}") };
        let refused = admit(&policy, &elsewhere, query, &client);
        prop_assert_eq!(refused, Err(if scoped { Reason::Path } else { Reason::BadMac }));
        if ip.is_some() {
            prop_assert_eq!(admit(&policy, &sent, query, "192.0.2.1"), Err(Reason::BadMac));
        }
        let longer = [secret.as_slice(), &[1]].concat();
        prop_assert_eq!(admit(&with(&longer), &sent, query, &client), Err(Reason::BadMac));
    }

    #[test]
    fn no_text_is_admitted_without_the_key(
        query in "(token=|expires=|token_path=|&|=|%2F|HS256-|1-|[A-Za-z0-9_-]{43}|1598024587|\\PC){0,12}",
        path in "(/|bcdn_token=|&|expires=1598024587|HS256-|[A-Za-z0-9_-]{43}|\\PC){0,8}",
    ) {
        let all = vec![Signature::Hs256, Signature::Sha256, Signature::Md5];
        let policy = policy_with(Options { signatures: all, plain_prefix: true });
        prop_assert!(admit(&policy, &path, Some(&query), V4).is_err());
    }
}
