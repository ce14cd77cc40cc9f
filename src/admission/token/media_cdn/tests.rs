#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::super::Policy;
use super::super::probe::{self, no_bit_can_be_flipped, refusal};
use super::*;
use crate::config::formats::{TokenFormat, Word};
use crate::config::model::TokenKey;

const NAME: &str = "edge-cache-token";
const SEED: &str = "DJUcnLguVFKmVCFnWGubG1MZg7fWAnxacMjKDhVZMGI=";
const SECRET: &str = "g_SlMILiIWKqsC6Z2L7gy0sReDOqtSrJrE7CXNr5Nl8=";
const EXPIRES: u64 = 1_663_070_400;
/// Within the life of every vector.
const NOW: u64 = 1_663_030_000;

/// The three ways of signing.
const ED25519_SEAL: usize = 0;
const SHA1_SEAL: usize = 1;
const SHA256_SEAL: usize = 2;

/// The vectors that the format's owner publishes with its samples: for each target, the seal of each way of signing.
const VECTORS: [(&str, [&str; 3]); 4] = [
    (
        "URLPrefix=aHR0cDovLzEwLjIwLjMwLjQwLw~Expires=1663070400",
        [
            "Signature=OQLXEjnApFGJaGZ_jvp2R7VY5q3ic-HT3igFpi9iPsJRXtQuvPF4cxZUT-rtCqzteXx3vSRhk09FxgDQauO_DA",
            "hmac=6f5b4bb82536810d5ee111cba3e534d49c6ac3cb",
            "hmac=409722313cf6d987da44bb360e60dccc3d79764520fc5e3b57654e1d4d2c862e",
        ],
    ),
    (
        "PathGlobs=/*~Expires=1663070400",
        [
            "Signature=9pBdD_6O6LB-4V67HZ_SOc2G_jIkSZ_tMsKnVqElmPlwKB_xDiW7DKAnv8L8CmweeZquaLFlnLogbMcIV8bNCQ",
            "hmac=c1c446eea24faa31392519f975fea7eefb945625",
            "hmac=9439ecdd5c4919f76f915dea72afa85a045579794e63d8cda664f5a1140c8d93",
        ],
    ),
    (
        "FullPath~Expires=1663070400",
        [
            "Signature=X74OTNjtseIUmsab-YiOTZ8jyX_KG7v4YQWwcFpfFmjhzaX8NdweMc9Wglj8wxEsEW85g3_MBG3T9jzLZFQDCw",
            "hmac=7af78177d6bc001d5626eefe387b1774a4a99ca2",
            "hmac=365b41fd77297371d890fc9a56e4e3d3baa4c7afbd230a0e9a81c8e1bcab9420",
        ],
    ),
    (
        "PathGlobs=/*~Starts=1663027200~Expires=1663070400~SessionID=test-id~Data=test-data~Headers=Foo,BAZ\
         ~IPRanges=MjAzLjAuMTEzLjAvMjQsMjAwMTpkYjg6NGE3ZjphNzMyLzY0",
        [
            "Signature=A7u67hveGxGvP8KBWZlUuH0IsqhS4a2lcsXwy3uc4X3zaVuw7LY-2FQT1ZF8UxkSFAsDS3_0LYnXwXB2XdepDg",
            "hmac=b8242e8b76cbfbbd61b3540ed0eb60a2ec2fdbdb",
            "hmac=dda9c3d6f3b2e867a09fbb76209ea138dd81f8512210f970d1e92f90927bef4b",
        ],
    ),
];

fn key(kind: KeyKind, text: &str) -> Vec<u8> {
    Word::MediaCdn.key(kind, text).unwrap()
}

fn keys(way: usize) -> Vec<TokenKey> {
    match way {
        ED25519_SEAL => {
            let pair = Ed25519KeyPair::from_seed_unchecked(&key(KeyKind::Private, SEED)).unwrap();
            probe::keys(KeyKind::Public, &[pair.public_key().as_ref()])
        }
        _ => probe::shared(&[&key(KeyKind::Shared, SECRET)]),
    }
}

fn hash(way: usize) -> Hash {
    if way == SHA1_SEAL { Hash::Sha1 } else { Hash::Sha256 }
}

fn signer(way: usize) -> Signer {
    match way {
        ED25519_SEAL => Signer::private(&key(KeyKind::Private, SEED)).unwrap(),
        _ => Signer::shared(hash(way), &key(KeyKind::Shared, SECRET)),
    }
}

fn policy(way: usize) -> Policy {
    let format = TokenFormat::MediaCdn(formats::media_cdn::MediaCdn { hash: hash(way) });
    probe::policy(format, keys(way))
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("foo", HeaderValue::from_static("bar"));
    headers.insert("baz", HeaderValue::from_static("quux"));
    headers
}

/// The request that every vector admits.
fn request(headers: &HeaderMap) -> Presented<'_> {
    Presented {
        host: "10.20.30.40",
        headers,
        client: "203.0.113.7".parse().unwrap(),
        ..Presented::get("/example.m3u8", NOW)
    }
}

fn claims(target: Target) -> Claims {
    Claims {
        target,
        starts: None,
        expires: EXPIRES,
        session_id: None,
        data: None,
        headers: Vec::new(),
        ip_ranges: Vec::new(),
    }
}

fn globs(patterns: &[&str]) -> Target {
    Target::Globs(patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
}

/// A token over any text, well formed or not, with a right code.
fn sealed(text: &str) -> String {
    let mut code = Code::new(Hash::Sha256, &key(KeyKind::Shared, SECRET));
    code.update(text.as_bytes());
    format!("{text}~hmac={}", hex::encode(code.bytes()))
}

fn refused(token: &str, request: &Presented<'_>) -> Option<Reason> {
    refusal(&policy(SHA256_SEAL), NAME, token, request)
}

#[test]
fn the_published_tokens_are_signed_and_admitted() {
    let headers = headers();
    let pairs = [("Foo", "bar"), ("BAZ", "quux")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let all = [
        claims(Target::Prefix("http://10.20.30.40/".into())),
        claims(globs(&["/*"])),
        claims(Target::Path("/example.m3u8".into())),
        Claims {
            starts: Some(1_663_027_200),
            session_id: Some("test-id".into()),
            data: Some("test-data".into()),
            headers: pairs.to_vec(),
            ip_ranges: vec!["203.0.113.0/24".into(), "2001:db8:4a7f:a732/64".into()],
            ..claims(globs(&["/*"]))
        },
    ];
    for ((text, seals), claims) in VECTORS.into_iter().zip(all) {
        for (way, seal) in seals.into_iter().enumerate() {
            let token = format!("{text}~{seal}");
            assert_eq!(sign(&claims, &signer(way)), token);
            assert_eq!(refusal(&policy(way), NAME, &token, &request(&headers)), None, "{token}");
        }
    }
}

#[test]
fn no_bit_of_a_token_can_be_flipped() {
    let headers = headers();
    for (text, seals) in VECTORS {
        for (way, seal) in seals.into_iter().enumerate() {
            let policy = policy(way);
            no_bit_can_be_flipped(&policy, NAME, &format!("{text}~{seal}"), &request(&headers));
        }
    }
}

#[test]
fn a_token_says_what_it_is_for() {
    let headers = headers();
    let (text, seals) = VECTORS[3];
    let token = format!("{text}~{}", seals[SHA256_SEAL]);
    let admission = probe::admit(&policy(SHA256_SEAL), NAME, &token, &request(&headers)).unwrap();
    let terms = admission.terms();
    assert_eq!((terms.not_before, terms.expires), (Some(1_663_027_200), Some(EXPIRES)));
    assert_eq!((terms.session.as_deref(), terms.acl.as_deref()), (Some("test-id"), Some("/*")));
    let claims: Vec<_> = terms.claims.iter().collect();
    assert_eq!(claims, [("SessionID", "test-id"), ("Data", "test-data"), ("PathGlobs", "/*")]);
    let known = TokenFormat::MediaCdn(Default::default()).claims();
    assert!(claims.iter().all(|(name, _)| known.contains(name)));
    let prefix = sign(&claims_of_prefix(), &signer(SHA256_SEAL));
    let admission = probe::admit(&policy(SHA256_SEAL), NAME, &prefix, &request(&headers)).unwrap();
    assert_eq!(admission.terms().acl.as_deref(), Some("/exa*"));
    assert_eq!(admission.terms().claims.get("URLPrefix"), Some("http://10.20.30.40/exa"));
}

fn claims_of_prefix() -> Claims {
    claims(Target::Prefix("http://10.20.30.40/exa".into()))
}

#[test]
fn each_condition_refuses_with_its_reason() {
    let headers = headers();
    let base = request(&headers);
    let token = |claims: Claims| sign(&claims, &signer(SHA256_SEAL));
    let times = token(Claims { starts: Some(NOW), ..claims(globs(&["/*"])) });
    for (now_unix, expected) in
        [(NOW - 1, Some(Reason::NotYet)), (NOW, None), (EXPIRES - 1, None), (EXPIRES, Some(Reason::Expired))]
    {
        assert_eq!(refused(&times, &Presented { now_unix, ..base }), expected, "{now_unix}");
    }
    let two = token(claims(globs(&["/live/*", "/keys/?"])));
    for (path, expected) in [
        ("/live/a/b.ts", None),
        ("/keys/1", None),
        ("/keys/12", Some(Reason::Path)),
        ("/vod", Some(Reason::Path)),
    ] {
        assert_eq!(refused(&two, &Presented { normal: path, path, ..base }), expected, "{path}");
    }
    let prefix = token(claims_of_prefix());
    assert_eq!(refused(&prefix, &base), None);
    assert_eq!(refused(&prefix, &Presented { host: "10.20.30.41", ..base }), Some(Reason::Host));
    assert_eq!(refused(&prefix, &Presented { normal: "/other", path: "/other", ..base }), Some(Reason::Path));
    assert_eq!(refused(&prefix, &Presented { secure: true, ..base }), Some(Reason::Path));
    let ranges = ["203.0.113.0/24", "2001:db8::/32", "192.0.2.1"].map(str::to_owned).to_vec();
    let ranges = token(Claims { ip_ranges: ranges, ..claims(globs(&["/*"])) });
    for (client, expected) in [
        ("203.0.113.255", None),
        ("::ffff:203.0.113.9", None),
        ("2001:db8:1::1", None),
        ("192.0.2.1", None),
        ("192.0.2.2", Some(Reason::Ip)),
        ("2001:db9::1", Some(Reason::Ip)),
    ] {
        assert_eq!(
            refused(&ranges, &Presented { client: client.parse().unwrap(), ..base }),
            expected,
            "{client}"
        );
    }
    let nobody = token(Claims { ip_ranges: vec!["somewhere".into()], ..claims(globs(&["/*"])) });
    assert_eq!(refused(&nobody, &base), Some(Reason::Ip));
    let path = token(claims(Target::Path("/example.m3u8".into())));
    assert_eq!(refused(&path, &base), None);
    assert_eq!(refused(&path, &Presented { path: "/b", normal: "/b", ..base }), Some(Reason::BadMac));
    assert_eq!(refused(&path, &Presented { path: "/./example.m3u8", ..base }), None);
}

#[test]
fn values_of_signed_header_fields_are_looked_at_for_every_request() {
    let policy = policy(SHA256_SEAL);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let pairs = vec![pair("X-Device", "tv"), pair("X-None", "")];
    let token = sign(&Claims { headers: pairs, ..claims(globs(&["/*"])) }, &signer(SHA256_SEAL));
    let with = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-device", HeaderValue::from_static(value));
        }
        refusal(&policy, NAME, &token, &request(&headers))
    };
    for _ in 0..2 {
        assert_eq!(with(&["tv"]), None);
        for values in [&[][..], &["phone"], &["tv", "tv"]] {
            assert_eq!(with(values), Some(Reason::BadMac), "{values:?}");
        }
    }
    let joined = sign(
        &Claims { headers: vec![pair("X-Device", "tv,hd")], ..claims(globs(&["/*"])) },
        &signer(SHA256_SEAL),
    );
    let mut headers = HeaderMap::new();
    headers.append("x-device", HeaderValue::from_static("tv"));
    headers.append("x-device", HeaderValue::from_static("hd"));
    assert_eq!(refusal(&policy, NAME, &joined, &request(&headers)), None);
}

#[test]
fn no_header_field_stands_for_what_was_signed_behind_it() {
    let policy = policy(SHA256_SEAL);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let all = Claims {
        headers: vec![pair("User-Agent", "tv"), pair("X-Edge", "one")],
        ip_ranges: vec!["192.0.2.0/24".into()],
        ..claims(globs(&["/*"]))
    };
    let token = sign(&all, &signer(SHA256_SEAL));
    let with = |token: &str, agent: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("user-agent", HeaderValue::from_bytes(agent.as_bytes()).unwrap());
        headers.insert("x-edge", HeaderValue::from_static("one"));
        refusal(&policy, NAME, token, &request(&headers))
    };
    assert_eq!(with(&token, "tv"), Some(Reason::Ip));
    let (_, ranges) = token.split_once("~IPRanges=").unwrap();
    let (ranges, _) = ranges.split_once('~').unwrap();
    let short = token.replace(&format!("~IPRanges={ranges}"), "").replace("User-Agent,X-Edge", "User-Agent");
    assert_eq!(with(&short, &format!("tv,X-Edge=one~IPRanges={ranges}")), Some(Reason::Header));
    let one_name = token.replace("User-Agent,X-Edge", "User-Agent");
    assert_eq!(with(&one_name, "tv,X-Edge=one"), Some(Reason::Header));
    let agent = "Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) a=b";
    let plain = Claims { headers: vec![pair("User-Agent", agent)], ..claims(globs(&["/*"])) };
    assert_eq!(with(&sign(&plain, &signer(SHA256_SEAL)), agent), None);
    assert_eq!(with(&token, "tv\u{e9}"), Some(Reason::Header));
}

#[test]
fn the_names_of_edgeauth_are_taken() {
    let headers = headers();
    let token = sealed("st=1663027200~exp=1663070400~acl=/live/*!/example*~id=s1~data=plan=gold");
    let admission = probe::admit(&policy(SHA256_SEAL), NAME, &token, &request(&headers)).unwrap();
    let claims: Vec<_> = admission.terms().claims.iter().collect();
    assert_eq!(claims, [("SessionID", "s1"), ("Data", "plan=gold"), ("PathGlobs", "/live/*!/example*")]);
    assert_eq!(admission.terms().acl.as_deref(), Some("/live/*!/example*"));
    let commas = sealed("Expires=1663070400~paths=/live/*,/example*~payload=x");
    assert_eq!(refused(&commas, &request(&headers)), None);
}

#[test]
fn malformed_tokens_are_refused_even_with_a_right_signature() {
    let headers = headers();
    let request = request(&headers);
    for text in [
        "",
        "Expires=1663070400",
        "PathGlobs=/*",
        "PathGlobs=~Expires=1663070400",
        "PathGlobs=/a,/b!/c~Expires=1663070400",
        "PathGlobs=/a!/b!/c!/d!/e!/f~Expires=1663070400",
        "PathGlobs=/*~FullPath~Expires=1663070400",
        "PathGlobs=/*~acl=/*~Expires=1663070400",
        "FullPath=/example.m3u8~Expires=1663070400",
        "URLPrefix=aHR0cDovLzEwLjIwLjMwLjQwLw==~Expires=1663070400",
        "URLPrefix=aHR0cDovLzEwLjIwLjMwLjQwLx~Expires=1663070400",
        "URLPrefix=L2xpdmUv~Expires=1663070400",
        "PathGlobs=/*~Expires=1663070400~Expires=1663070400",
        "PathGlobs=/*~Expires=1663070400~exp=1663070400",
        "PathGlobs=/*~Expires=",
        "PathGlobs=/*~Expires=+1663070400",
        "PathGlobs=/*~Expires=99999999999999999999999",
        "PathGlobs=/*~Starts=x~Expires=1663070400",
        "PathGlobs=/*~Expires=1663070400~Unknown=1",
        "PathGlobs=/*~Expires=1663070400~",
        "PathGlobs=/*~~Expires=1663070400",
        "PathGlobs=/*~Expires=1663070400~Headers=",
        "PathGlobs=/*~Expires=1663070400~Headers=a,A",
        "PathGlobs=/*~Expires=1663070400~Headers=a b",
        "PathGlobs=/*~Expires=1663070400~Headers=a,b,c,d,e,f",
        "PathGlobs=/*~Expires=1663070400~IPRanges=!",
        "PathGlobs=/*~Expires=1663070400~Signature=x",
    ] {
        assert_eq!(refused(&sealed(text), &request), Some(Reason::Malformed), "{text}");
    }
    let good = sealed("PathGlobs=/*~Expires=1663070400");
    assert_eq!(refused(&good, &request), None);
    for token in [
        "",
        "~hmac=",
        "PathGlobs=/*~Expires=1663070400",
        &good[..good.len() - 1],
        &format!("{good}0"),
        &format!("{good}~"),
        &good.replace("hmac=", "HMAC="),
    ] {
        assert_eq!(refused(token, &request), Some(Reason::Malformed), "{token}");
    }
    let (text, seals) = VECTORS[1];
    let padded = format!("{text}~{}==", seals[ED25519_SEAL]);
    assert_eq!(refusal(&policy(ED25519_SEAL), NAME, &padded, &request), Some(Reason::Malformed));
}

#[test]
fn what_stands_in_free_text_cannot_widen_a_token() {
    let headers = headers();
    for text in [
        "Expires=1663070400~SessionID=x~PathGlobs=/*",
        "PathGlobs=/*~SessionID=x~Expires=1663070400",
        "PathGlobs=/*~Data=x~Expires=1663070400",
        "PathGlobs=/*~Expires=1663070400~Data=x~Starts=0",
        "PathGlobs=/*~Expires=1663070400~Data=x~SessionID=another",
        "PathGlobs=/*~Expires=1663070400~Data=x~y",
    ] {
        assert_eq!(refused(&sealed(text), &request(&headers)), Some(Reason::Malformed), "{text}");
    }
    let signer = signer(SHA256_SEAL);
    let escaped = sign(&Claims { data: Some("a~Expires=1".into()), ..claims(globs(&["/*"])) }, &signer);
    assert_eq!(refused(&escaped, &request(&headers)), None);
}

#[test]
fn a_signature_counts_for_keys_of_its_kind_alone() {
    let headers = headers();
    let (text, seals) = VECTORS[1];
    let token = |way: usize| format!("{text}~{}", seals[way]);
    for (of_policy, of_token, expected) in [
        (ED25519_SEAL, SHA256_SEAL, Reason::BadMac),
        (SHA256_SEAL, ED25519_SEAL, Reason::BadMac),
        (SHA256_SEAL, SHA1_SEAL, Reason::Malformed),
        (SHA1_SEAL, SHA256_SEAL, Reason::Malformed),
    ] {
        let found = refusal(&policy(of_policy), NAME, &token(of_token), &request(&headers));
        assert_eq!(found, Some(expected));
    }
    // The bytes of a public key are no shared key.
    let public = keys(ED25519_SEAL);
    let forged = sign(&claims(globs(&["/*"])), &Signer::shared(Hash::Sha256, &public[0].bytes.0));
    assert_eq!(refusal(&policy(ED25519_SEAL), NAME, &forged, &request(&headers)), Some(Reason::BadMac));
}

#[test]
fn every_key_is_tried_and_a_private_one_verifies_as_its_public_half() {
    let headers = headers();
    let mut all = probe::shared(&[b"other"]);
    all.extend(probe::keys(KeyKind::Private, &[&key(KeyKind::Private, SEED)]));
    all.extend(probe::shared(&[&key(KeyKind::Shared, SECRET)]));
    for (key, id) in all.iter_mut().zip(["a", "b", "c"]) {
        key.id = id.to_owned();
    }
    let format = TokenFormat::MediaCdn(formats::media_cdn::MediaCdn::default());
    let policy = probe::policy(format, all);
    let (text, seals) = VECTORS[0];
    for (way, id) in [(ED25519_SEAL, "b"), (SHA256_SEAL, "c")] {
        let token = format!("{text}~{}", seals[way]);
        let admission = probe::admit(&policy, NAME, &token, &request(&headers)).unwrap();
        assert_eq!(&*admission.verdict.key_id, id);
    }
}

#[test]
fn a_token_in_the_path_ends_with_the_segment_of_its_signature() {
    let headers = headers();
    for way in [ED25519_SEAL, SHA1_SEAL, SHA256_SEAL] {
        let (text, seals) = VECTORS[1];
        let path = format!("/{NAME}={text}~{}/example.m3u8", seals[way]);
        let presented = Presented { path: &path, ..request(&headers) };
        assert!(policy(way).admit(&presented).is_ok(), "{path}");
    }
    let format = MediaCdn::new(&Default::default(), &[]);
    assert_eq!(format.length_in_path("PathGlobs=/a/b"), 14);
}

#[test]
fn keys_are_read_from_base64_and_mistakes_do_not_repeat_them() {
    let plain = SECRET.replace('_', "/").replace('-', "+");
    for text in [SECRET, &plain, SECRET.trim_end_matches('=')] {
        assert_eq!(Word::MediaCdn.key(KeyKind::Shared, text).map(|key| key.len()), Ok(32), "{text}");
    }
    for (kind, text) in [
        (KeyKind::Shared, "not base64"),
        (KeyKind::Shared, ""),
        (KeyKind::Public, "AAAA"),
        (KeyKind::Private, "AAAA"),
    ] {
        let error = Word::MediaCdn.key(kind, text).unwrap_err().to_string();
        assert!(text.is_empty() || !error.contains(text), "{error}");
    }
    assert!(Signer::private(&[1; 31]).is_none());
}

#[test]
fn debug_output_shows_no_key() {
    let format = MediaCdn::new(&Default::default(), &keys(SHA256_SEAL));
    assert_eq!(format!("{format:?}"), "MediaCdn { keys: 1, hash: Sha256 }");
    assert_eq!(format!("{:?}", signer(ED25519_SEAL)), "Signer(Ed25519)");
}

proptest! {
    #[test]
    fn what_is_signed_is_admitted_and_nothing_else(
        way in 0_usize..3,
        kind in 0_usize..3,
        path in "(/[a-zA-Z0-9_.~-]{1,8}x){1,4}",
        session_id in prop::option::of(".{0,30}"),
        data in prop::option::of(".{0,30}"),
        starts in prop::option::of(0..=NOW),
        device in prop::option::of("[a-z]{0,8}"),
        from_client in any::<bool>(),
    ) {
        let target = match kind {
            0 => globs(&["/nothing", &path]),
            1 => Target::Prefix(format!("http://10.20.30.40{path}")),
            _ => Target::Path(path.clone()),
        };
        let mut fields = HeaderMap::new();
        if let Some(device) = &device {
            fields.insert("x-device", device.parse().unwrap());
        }
        let claims = Claims {
            starts,
            session_id: session_id.clone(),
            data,
            headers: device.into_iter().map(|device| ("X-Device".to_owned(), device)).collect(),
            ip_ranges: if from_client { vec!["203.0.113.0/24".into()] } else { Vec::new() },
            ..claims(target)
        };
        let token = sign(&claims, &signer(way));
        let policy = policy(way);
        let request = Presented { path: &path, normal: &path, ..request(&fields) };
        let admitted = probe::admit(&policy, NAME, &token, &request);
        prop_assert!(admitted.is_ok(), "{token} for {path}: {admitted:?}");
        let session = admitted.unwrap().terms().session.clone();
        let decoded = session.map(|id| percent_encoding::percent_decode_str(&id).decode_utf8().unwrap().into_owned());
        prop_assert_eq!(decoded, session_id);
        let elsewhere = Presented { path: "/elsewhere", normal: "/elsewhere", ..request };
        let reason = refusal(&policy, NAME, &token, &elsewhere);
        prop_assert_eq!(reason, Some(if kind == 2 { Reason::BadMac } else { Reason::Path }));
    }

    #[test]
    fn no_text_is_admitted_without_the_key(
        text in "(Expires=[0-9]{0,12}|PathGlobs=/\\*|FullPath|Headers=[a,]{0,4}|IPRanges=[A-Za-z0-9_-]{0,9}|Data=|~|.){0,12}(~hmac=[0-9a-f]{64}|~Signature=[A-Za-z0-9_-]{86})?"
    ) {
        let headers = headers();
        for way in [ED25519_SEAL, SHA256_SEAL] {
            let format = MediaCdn::new(&Default::default(), &keys(way));
            let reason = format.authenticate(&text, &request(&headers)).unwrap_err();
            prop_assert!(matches!(reason, Reason::Malformed | Reason::BadMac));
        }
    }
}

#[test]
fn so_many_keys_are_tried_on_a_token_and_no_more() {
    let seeds: Vec<[u8; 32]> = (0..=KEYS_TRIED_MAX).map(|at| [u8::try_from(at).unwrap(); 32]).collect();
    let keys: Vec<_> = seeds.iter().map(|seed| seed.as_slice()).collect();
    let policy =
        probe::policy(TokenFormat::MediaCdn(Default::default()), probe::keys(KeyKind::Private, &keys));
    let claims = claims(globs(&["/*"]));
    for (at, expected) in [(KEYS_TRIED_MAX - 1, None), (KEYS_TRIED_MAX, Some(Reason::BadMac))] {
        let token = sign(&claims, &Signer::private(&seeds[at]).unwrap());
        assert_eq!(refusal(&policy, NAME, &token, &Presented::get("/a", NOW)), expected, "{at}");
    }
}
