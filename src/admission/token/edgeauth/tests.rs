#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::*;

const KEY: &str = "52a152a152a152a152a152a152a1";
/// Within the life of every vector.
const NOW: u64 = 1_700_001_000;

const ACL: &str = "st=1700000000~exp=1700003600~acl=/*~hmac=cb48ba343c1783ea520789ffa7b9f87bab56a6ee64fbf10e222af079375df216";
const ACL_TWO: &str = "exp=1700003600~acl=/live/ch1/*!/keys/ch1/*\
    ~hmac=f390ea4ceb5710e999dd4f637c7caa885838e28677a8a8a721f5cef260a52b67";
const ACL_ID_DATA: &str = "st=1700000000~exp=1700003600~acl=/vod/*~id=sess-42~data=plan=gold\
    ~hmac=9a7076bebdaef1cb9c21b07329005c9a1c6575635eb03dede52aef25f00d7551";
const ACL_IP_SALT: &str = "ip=192.0.2.10~st=1700000000~exp=1700003600~acl=/vod/*\
    ~hmac=e4388f1208c65571ce7b173ce07c617f12c68a0d16e92bb627eb29bc61e133d3";
const URL_RAW: &str = "exp=1700003600~hmac=3e9dfdd65b2ab389cbc3c45ffcaff3d0e46be9a9f90a13c00c08db4be993bfa2";
const URL_PYTHON: &str =
    "exp=1700003600~hmac=a34c3b9ece8023bbef38ae78447b23eb4bd8b232adb370c997fccacb38601b39";
const DATA_TILDE: &str = "exp=1700003600~acl=/vod/*~data=a%3db%26c%3d~\
    ~hmac=9fa32e7769aa070b70a2533a1a5065abe9d58cfb8c082f26864b381eb379fff4";

fn key() -> Vec<u8> {
    key_from_text(KEY).unwrap()
}

fn verifier(salt: Option<&[u8]>) -> EdgeAuth {
    EdgeAuth::new([key().as_slice()].into_iter(), salt, Duration::ZERO)
}

fn presented(path: &str) -> Presented<'_> {
    Presented {
        path,
        normal: path,
        query: None,
        names: &[],
        client: "192.0.2.10".parse().unwrap(),
        now_unix: NOW,
    }
}

fn verify<'t>(token: &'t str, path: &str) -> Result<Grant<'t>, Reason> {
    verifier(None).verify(token, &presented(path))
}

fn claims(patterns: &[&str]) -> Claims {
    let scope = Scope::Acl(patterns.iter().map(|pattern| (*pattern).to_owned()).collect());
    Claims { ip: None, start: None, expires: NOW + 600, scope, id: None, data: None }
}

/// A token over any text, well formed or not, with a right MAC.
fn sealed(text: &str) -> String {
    let mut mac = keyed(&key());
    mac.update(text.as_bytes());
    format!("{text}~hmac={}", hex::encode(mac.finalize().into_bytes()))
}

#[test]
fn published_acl_tokens_are_admitted() {
    assert_eq!(
        verify(ACL, "/live/a.ts"),
        Ok(Grant {
            session: None,
            expires: 1_700_003_600,
            key: 0,
            claims: [None, None, None, Some(("acl", "/*"))]
        })
    );
    assert!(verify(ACL_TWO, "/live/ch1/a.ts").is_ok());
    assert!(verify(ACL_TWO, "/keys/ch1/1").is_ok());
    assert_eq!(verify(ACL_TWO, "/live/ch2/a.ts"), Err(Reason::Path));
    assert_eq!(verify(ACL_ID_DATA, "/vod/a.ts").unwrap().session, Some("sess-42"));
    assert_eq!(Fields::parse(ACL_ID_DATA).unwrap().data, Some("plan=gold"));
    assert!(verifier(Some(b"pepper")).verify(ACL_IP_SALT, &presented("/vod/a.ts")).is_ok());
}

#[test]
fn published_url_tokens_are_admitted_however_their_url_was_escaped() {
    for token in [URL_RAW, URL_PYTHON] {
        assert!(verify(token, "/vod/a%20b/master.m3u8").is_ok());
        assert_eq!(verify(token, "/vod/a%20b/other.m3u8"), Err(Reason::BadMac));
    }
}

#[test]
fn a_published_token_with_a_delimiter_in_its_data_is_read_from_the_right() {
    assert!(verify(DATA_TILDE, "/vod/a.ts").is_ok());
    assert_eq!(Fields::parse(DATA_TILDE).unwrap().data, Some("a%3db%26c%3d~"));
}

#[test]
fn signing_gives_the_published_tokens() {
    let vod = || Claims { expires: 1_700_003_600, start: Some(1_700_000_000), ..claims(&["/vod/*"]) };
    assert_eq!(sign(&Claims { scope: claims(&["/*"]).scope, ..vod() }, &key(), None), ACL);
    let two = Claims { expires: 1_700_003_600, ..claims(&["/live/ch1/*", "/keys/ch1/*"]) };
    assert_eq!(sign(&two, &key(), None), ACL_TWO);
    let with_id = Claims { id: Some("sess-42".into()), data: Some("plan=gold".into()), ..vod() };
    assert_eq!(sign(&with_id, &key(), None), ACL_ID_DATA);
    let with_ip = Claims { ip: Some("192.0.2.10".parse().unwrap()), ..vod() };
    assert_eq!(sign(&with_ip, &key(), Some(b"pepper")), ACL_IP_SALT);
    let url = Claims { scope: Scope::Url("/vod/a b/master.m3u8".into()), start: None, ..vod() };
    assert_eq!(sign(&url, &key(), None), URL_RAW);
}

#[test]
fn no_bit_of_a_token_can_be_flipped() {
    let salted = verifier(Some(b"pepper"));
    let plain = verifier(None);
    let cases = [
        (&plain, ACL, "/vod/a.ts"),
        (&plain, ACL_TWO, "/live/ch1/a.ts"),
        (&plain, ACL_ID_DATA, "/vod/a.ts"),
        (&salted, ACL_IP_SALT, "/vod/a.ts"),
        (&plain, URL_RAW, "/vod/a%20b/master.m3u8"),
        (&plain, DATA_TILDE, "/vod/a.ts"),
    ];
    for (verifier, token, path) in cases {
        assert!(verifier.verify(token, &presented(path)).is_ok());
        for place in 0..token.len() {
            for bit in 0..8 {
                let mut flipped = token.as_bytes().to_vec();
                flipped[place] ^= 1 << bit;
                // A token that is no text never arrives here: header values and targets are checked before.
                let Ok(flipped) = String::from_utf8(flipped) else { continue };
                let reason = verifier.verify(&flipped, &presented(path)).unwrap_err();
                assert!(matches!(reason, Reason::Malformed | Reason::BadMac), "{flipped}: {reason:?}");
            }
        }
    }
}

#[test]
fn a_token_ends_where_it_says_and_the_leeway_widens_it() {
    let at = |now_unix, leeway| {
        let token = sign(&Claims { start: Some(1_000), expires: 2_000, ..claims(&["/*"]) }, &key(), None);
        let verifier = EdgeAuth::new([key().as_slice()].into_iter(), None, Duration::from_secs(leeway));
        verifier.verify(&token, &Presented { now_unix, ..presented("/a") }).map(|_| ())
    };
    assert_eq!(at(999, 0), Err(Reason::NotYet));
    assert_eq!(at(1_000, 0), Ok(()));
    assert_eq!(at(1_999, 0), Ok(()));
    assert_eq!(at(2_000, 0), Err(Reason::Expired));
    assert_eq!(at(969, 30), Err(Reason::NotYet));
    assert_eq!(at(970, 30), Ok(()));
    assert_eq!(at(2_029, 30), Ok(()));
    assert_eq!(at(2_030, 30), Err(Reason::Expired));
}

#[test]
fn a_token_for_another_address_is_refused_and_spellings_of_one_address_are_equal() {
    let with_ip = |ip: &str, client: &str| {
        let token = sealed(&format!("ip={ip}~exp=1700003600~acl=/*"));
        let request = Presented { client: client.parse().unwrap(), ..presented("/a") };
        verifier(None).verify(&token, &request).map(|_| ())
    };
    assert_eq!(with_ip("192.0.2.10", "192.0.2.10"), Ok(()));
    assert_eq!(with_ip("192.0.2.10", "::ffff:192.0.2.10"), Ok(()));
    assert_eq!(with_ip("2001%3adb8%3a%3a1", "2001:db8:0::1"), Ok(()));
    assert_eq!(with_ip("192.0.2.11", "192.0.2.10"), Err(Reason::Ip));
    assert_eq!(with_ip("somewhere", "192.0.2.10"), Err(Reason::Ip));
}

#[test]
fn a_second_key_verifies_during_rotation_and_an_unknown_one_does_not() {
    let (old, new, unknown) = ([1_u8; 16], [2_u8; 16], [3_u8; 16]);
    let verifier = EdgeAuth::new([new.as_slice(), &old].into_iter(), None, Duration::ZERO);
    let place = |secret: &[u8]| {
        let token = sign(&claims(&["/*"]), secret, None);
        verifier.verify(&token, &presented("/a")).map(|grant| grant.key)
    };
    assert_eq!(place(&new), Ok(0));
    assert_eq!(place(&old), Ok(1));
    assert_eq!(place(&unknown), Err(Reason::BadMac));
}

#[test]
fn a_token_without_its_salt_is_refused() {
    assert_eq!(verify(ACL_IP_SALT, "/vod/a.ts"), Err(Reason::BadMac));
    assert_eq!(verifier(Some(b"pepper")).verify(ACL, &presented("/a")), Err(Reason::BadMac));
}

#[test]
fn malformed_tokens_are_refused_even_with_a_right_mac() {
    for text in [
        "acl=/*",
        "exp=~acl=/*",
        "exp=+1700003600~acl=/*",
        "exp=99999999999999999999999~acl=/*",
        "st=x~exp=1700003600~acl=/*",
        "exp=1700003600~exp=1700003600~acl=/*",
        "exp=1700003600~acl=/a/*~acl=/*",
        "exp=1700003600~acl=/a~b",
        "exp=1700003600~~acl=/*",
        "",
    ] {
        assert_eq!(verify(&sealed(text), "/a"), Err(Reason::Malformed), "{text}");
    }
    let many = format!("exp=1700003600~acl=/*~data=x{}", "~y".repeat(12));
    assert!(verify(&sealed(&many), "/a").is_ok(), "16 fields");
    assert_eq!(verify(&sealed(&format!("{many}~y")), "/a"), Err(Reason::Malformed), "17 fields");
    for token in ["", "~hmac=", "exp=1700003600~acl=/*", &ACL[..ACL.len() - 1], &format!("{ACL}0")] {
        assert_eq!(verify(token, "/a"), Err(Reason::Malformed), "{token}");
    }
    let (text, mac) = ACL.rsplit_once('=').unwrap();
    assert_eq!(verify(&format!("{text}={}", mac.to_uppercase()), "/a"), Err(Reason::Malformed));
}

#[test]
fn what_stands_in_data_or_id_cannot_widen_a_token() {
    for text in [
        "exp=1700003600~id=x~acl=/*",
        "exp=1700003600~data=x~acl=/*",
        "exp=1700003600~acl=/a/*~data=x~exp=9999999999",
        "id=x~exp=1700003600~acl=/*",
        "exp=1700003600~acl=/*~data=x~id=another",
        "exp=1700003600~acl=/*~data=x~ip=192.0.2.10",
        // The signed text of a URL token for "/x~acl=/*", or of one with such a salt, sent as an ACL token.
        "exp=1700003600~url=/x~acl=/*",
        "exp=1700003600~data=x~url=/x",
        "exp=1700003600~acl=/*~data=x~salt=pepper",
        "exp=1700003600~acl=/*~data=x~hmac=00",
    ] {
        assert_eq!(verify(&sealed(text), "/a"), Err(Reason::Malformed), "{text}");
    }
}

#[test]
fn a_url_token_may_sign_the_query_and_then_holds_for_no_other() {
    let names = ["hdnts".to_owned()];
    let token = |url: &str| sign(&Claims { scope: Scope::Url(url.into()), ..claims(&[]) }, &key(), None);
    let try_query = |token: &str, query| {
        let request = Presented { query: Some(query), names: &names, ..presented("/vod/a.m3u8") };
        verifier(None).verify(token, &request).map(|_| ())
    };
    let with_query = token("/vod/a.m3u8?lang=de&q=1");
    assert_eq!(try_query(&with_query, "lang=de&q=1"), Ok(()));
    assert_eq!(try_query(&with_query, "lang=de&hdnts=abc&q=1"), Ok(()));
    assert_eq!(try_query(&with_query, "lang=fr&q=1"), Err(Reason::BadMac));
    assert_eq!(try_query(&with_query, ""), Err(Reason::BadMac));
    assert_eq!(try_query(&token("/vod/a.m3u8"), "lang=de"), Ok(()));
}

#[test]
fn the_node_escape_of_a_url_is_accepted() {
    let token =
        |escaped: &str| sign(&Claims { scope: Scope::Url(escaped.into()), ..claims(&[]) }, &key(), None);
    let node = token("%2fvod%2fa%20b%2ait%27s!(1)%7e.m3u8");
    assert!(verify(&node, "/vod/a%20b*it's!(1)~.m3u8").is_ok());
    let python = token("%2fvod%2fa+b%2ait%27s%21%281%29~.m3u8");
    assert!(verify(&python, "/vod/a%20b*it's!(1)~.m3u8").is_ok());
    let twice = token("%2fvod%2fa%2520b.m3u8");
    assert!(verify(&twice, "/vod/a%20b.m3u8").is_ok());
}

#[test]
fn keys_longer_than_a_block_are_hashed_as_the_standard_has_it() {
    for length in [0, 1, 63, 64, 65, 200] {
        let secret = vec![7; length];
        let standard = Hmac::<Sha256>::new_from_slice(&secret).unwrap().chain_update(b"text").finalize();
        let ours = keyed(&secret).chain_update(b"text").finalize();
        assert_eq!(ours.into_bytes(), standard.into_bytes(), "{length}");
    }
}

#[test]
fn a_key_file_that_is_no_key_is_refused_without_repeating_it() {
    assert_eq!(key_from_text(" 0A0b\n"), Ok(vec![0x0a, 0x0b]));
    assert_eq!(key_from_text("\n"), Err(KeyError::Empty));
    assert_eq!(key_from_text("abc"), Err(KeyError::NotHex));
    assert_eq!(key_from_text("secret"), Err(KeyError::NotHex));
    assert_eq!(key_from_text(&"ab".repeat(65)), Err(KeyError::TooLong(65)));
    assert!(!key_from_text("secret").unwrap_err().to_string().contains("secret"));
}

#[test]
fn debug_output_shows_no_key() {
    assert_eq!(format!("{:?}", verifier(Some(b"pepper"))), "EdgeAuth { keys: 1, leeway: 0 }");
}

proptest! {
    #[test]
    fn what_is_signed_is_admitted(
        secret in prop::collection::vec(any::<u8>(), 1..100),
        id in prop::option::of(".{0,40}"),
        data in prop::option::of(".{0,40}"),
        salt in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        segments in prop::collection::vec("[a-zA-Z0-9 _~éö%+&=-]{1,8}", 1..5),
        by_url in any::<bool>(),
        start in prop::option::of(0..=NOW),
        life in 1_u64..1_000_000,
    ) {
        let path: String = segments.iter().map(|segment| {
            let kept = segment.bytes().map(|byte| match byte {
                b'%' | b' ' | 0x80.. => percent_encoding::percent_encode_byte(byte).to_owned(),
                _ => char::from(byte).to_string(),
            });
            format!("/{}", kept.collect::<String>())
        }).collect();
        let scope = if by_url { Scope::Url(path.clone()) } else { Scope::Acl(vec!["/nothing".into(), path.clone()]) };
        let claims = Claims { ip: None, start, expires: NOW + life, scope, id: id.clone(), data };
        let token = sign(&claims, &secret, salt.as_deref());
        let verifier = EdgeAuth::new([secret.as_slice()].into_iter(), salt.as_deref(), Duration::ZERO);
        let grant = verifier.verify(&token, &presented(&path));
        prop_assert!(grant.is_ok(), "{token} for {path}: {grant:?}");
        let session = grant.unwrap().session.map(|id| percent_decode_str(id).decode_utf8().unwrap().into_owned());
        prop_assert_eq!(session, id);
        let elsewhere = verifier.verify(&token, &presented("/elsewhere")).unwrap_err();
        prop_assert_eq!(elsewhere, if by_url { Reason::BadMac } else { Reason::Path });
    }

    #[test]
    fn no_text_is_admitted_without_the_key(text in "(exp=[0-9]{0,12}|st=1|acl=/\\*|id=|data=|~|%7[eE]|.){0,12}(~hmac=[0-9a-f]{64})?") {
        let reason = verify(&text, "/a").unwrap_err();
        prop_assert!(matches!(reason, Reason::Malformed | Reason::BadMac));
    }
}
