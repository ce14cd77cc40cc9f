#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::super::probe;
use super::*;
use crate::config::formats::TokenFormat;

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
    with_keys(&[&key()], salt)
}

fn with_keys(secrets: &[&[u8]], salt: Option<&[u8]>) -> EdgeAuth {
    EdgeAuth::new(&Default::default(), &probe::shared(secrets), salt)
}

fn presented(path: &str) -> Presented<'_> {
    Presented { client: "192.0.2.10".parse().unwrap(), ..Presented::get(path, NOW) }
}

fn verify(token: &str, path: &str) -> Result<Genuine, Reason> {
    verify_by(&verifier(None), token, &presented(path))
}

fn verify_by(verifier: &EdgeAuth, token: &str, request: &Presented<'_>) -> Result<Genuine, Reason> {
    verify_with(verifier, token, request, 0)
}

fn verify_with(
    verifier: &EdgeAuth,
    token: &str,
    request: &Presented<'_>,
    leeway: u64,
) -> Result<Genuine, Reason> {
    let genuine = verifier.authenticate(token, request)?;
    genuine.terms.allow(request, leeway)?;
    Ok(genuine)
}

/// The reason of a refusal. None: it is admitted.
fn refusal(verified: Result<Genuine, Reason>) -> Option<Reason> {
    verified.err()
}

fn claims(patterns: &[&str]) -> Claims {
    let scope = Scope::Acl(patterns.iter().map(|pattern| (*pattern).to_owned()).collect());
    Claims { ip: None, start: None, expires: NOW + 600, scope, id: None, data: None }
}

/// A token over any text, well formed or not, with a right MAC.
fn sealed(text: &str) -> String {
    let mut mac = Code::new(Hash::Sha256, &key());
    mac.update(text.as_bytes());
    format!("{text}~hmac={}", hex::encode(mac.bytes()))
}

#[test]
fn published_acl_tokens_are_admitted() {
    let genuine = verify(ACL, "/live/a.ts").unwrap();
    assert_eq!((genuine.terms.not_before, genuine.terms.expires), (Some(1_700_000_000), Some(1_700_003_600)));
    assert_eq!((&*genuine.key_id, genuine.reuse), ("k1", Reuse::ForToken));
    assert_eq!(genuine.terms.acl.as_deref(), Some("/*"));
    assert_eq!(genuine.terms.claims, terms::Claims::new([("acl", "/*".to_owned())]));
    assert!(verify(ACL_TWO, "/live/ch1/a.ts").is_ok());
    assert!(verify(ACL_TWO, "/keys/ch1/1").is_ok());
    assert_eq!(refusal(verify(ACL_TWO, "/live/ch2/a.ts")), Some(Reason::Path));
    let terms = verify(ACL_ID_DATA, "/vod/a.ts").unwrap().terms;
    assert_eq!((terms.session.as_deref(), terms.claims.get("id")), (Some("sess-42"), Some("sess-42")));
    assert_eq!(terms.claims.get("data"), Some("plan=gold"));
    assert_eq!(Fields::parse(ACL_ID_DATA).unwrap().data, Some("plan=gold"));
    assert!(verify_by(&verifier(Some(b"pepper")), ACL_IP_SALT, &presented("/vod/a.ts")).is_ok());
}

#[test]
fn published_url_tokens_are_admitted_however_their_url_was_escaped() {
    for token in [URL_RAW, URL_PYTHON] {
        let genuine = verify(token, "/vod/a%20b/master.m3u8").unwrap();
        assert_eq!((genuine.reuse, genuine.terms.acl), (Reuse::ForUrl, None));
        assert_eq!(refusal(verify(token, "/vod/a%20b/other.m3u8")), Some(Reason::BadMac));
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

/// The vectors of the other hashes, and one that was published by somebody else, with salt and a key text of seven digits.
#[test]
fn published_tokens_of_every_hash_are_admitted_where_the_policy_has_it() {
    let sha1 = "st=1700000000~exp=1700003600~acl=/*~hmac=f85ca98730b0a9bd8016cea875b3da8f7ad0926a";
    let md5 = "st=1700000000~exp=1700003600~acl=/*~hmac=3d65cf4b3adb577269acc3ad1e1ab69b";
    let tokens = [(Hash::Sha256, ACL), (Hash::Sha1, sha1), (Hash::Md5, md5)];
    for (hash, _) in tokens {
        let options = formats::edgeauth::EdgeAuth { hash };
        let verifier = EdgeAuth::new(&options, &probe::shared(&[&key()]), None);
        for (of_token, token) in tokens {
            let expected = if of_token == hash { None } else { Some(Reason::Malformed) };
            let found = refusal(verify_by(&verifier, token, &presented("/a")));
            assert_eq!(found, expected, "{token} as {hash:?}");
        }
    }
    for (hash, token) in tokens {
        let claims = Claims { start: Some(1_700_000_000), expires: 1_700_003_600, ..claims(&["/*"]) };
        assert_eq!(sign_with(&claims, &key(), &Signing { hash, salt: None }), token);
    }
}

/// That generator drops the odd digit of its key text; a configuration refuses such a text instead.
#[test]
fn a_token_published_with_an_odd_key_and_a_salt_is_admitted_with_the_digit_dropped() {
    let token = "st=1506351323~exp=1506351923~acl=/wngg_VOK3DIVL0001D/media/wngg_VOK3DIVL0001D_nl_1280x720_28_1*\
        ~hmac=328466b8743199db56f95cb059107e58";
    let secret = hex::decode(&"35654df"[..6]).unwrap();
    let options = formats::edgeauth::EdgeAuth { hash: Hash::Md5 };
    let salt = Some(&b"kbbvmcla96rg29vlg01"[..]);
    let verifier = EdgeAuth::new(&options, &probe::shared(&[&secret]), salt);
    let path = "/wngg_VOK3DIVL0001D/media/wngg_VOK3DIVL0001D_nl_1280x720_28_1.m3u8";
    let request = Presented::get(path, 1_506_351_400);
    assert!(verify_by(&verifier, token, &request).is_ok());
    let unsalted = EdgeAuth::new(&options, &probe::shared(&[&secret]), None);
    assert_eq!(refusal(verify_by(&unsalted, token, &request)), Some(Reason::BadMac));
}

#[test]
fn no_bit_of_a_token_can_be_flipped() {
    let cases = [
        (None, Hash::Sha256, ACL, "/vod/a.ts"),
        (None, Hash::Sha256, ACL_TWO, "/live/ch1/a.ts"),
        (None, Hash::Sha256, ACL_ID_DATA, "/vod/a.ts"),
        (Some("pepper"), Hash::Sha256, ACL_IP_SALT, "/vod/a.ts"),
        (None, Hash::Sha256, URL_RAW, "/vod/a%20b/master.m3u8"),
        (None, Hash::Sha256, DATA_TILDE, "/vod/a.ts"),
        (
            None,
            Hash::Sha1,
            "st=1700000000~exp=1700003600~acl=/*~hmac=f85ca98730b0a9bd8016cea875b3da8f7ad0926a",
            "/vod/a.ts",
        ),
        (
            None,
            Hash::Md5,
            "st=1700000000~exp=1700003600~acl=/*~hmac=3d65cf4b3adb577269acc3ad1e1ab69b",
            "/vod/a.ts",
        ),
    ];
    for (salt, hash, token, path) in cases {
        let format = TokenFormat::EdgeAuth(formats::edgeauth::EdgeAuth { hash });
        let policy = probe::policy_with_salt(format, probe::shared(&[&key()]), salt.map(str::as_bytes));
        probe::no_bit_can_be_flipped(&policy, "hdnts", token, &presented(path));
    }
}

#[test]
fn a_token_ends_where_it_says_and_the_leeway_widens_it() {
    let at = |now_unix, leeway| {
        let token = sign(&Claims { start: Some(1_000), expires: 2_000, ..claims(&["/*"]) }, &key(), None);
        verify_with(&verifier(None), &token, &Presented { now_unix, ..presented("/a") }, leeway).map(|_| ())
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
        verify_by(&verifier(None), &token, &request).map(|_| ())
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
    let verifier = with_keys(&[&new, &old], None);
    let signer = |secret: &[u8]| {
        let token = sign(&claims(&["/*"]), secret, None);
        verify_by(&verifier, &token, &presented("/a")).map(|genuine| genuine.key_id.to_string())
    };
    assert_eq!(signer(&new).as_deref(), Ok("k1"));
    assert_eq!(signer(&old).as_deref(), Ok("k2"));
    assert_eq!(signer(&unknown), Err(Reason::BadMac));
}

#[test]
fn a_token_without_its_salt_is_refused() {
    assert_eq!(refusal(verify(ACL_IP_SALT, "/vod/a.ts")), Some(Reason::BadMac));
    let salted = verifier(Some(b"pepper"));
    assert_eq!(refusal(verify_by(&salted, ACL, &presented("/a"))), Some(Reason::BadMac));
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
        assert_eq!(refusal(verify(&sealed(text), "/a")), Some(Reason::Malformed), "{text}");
    }
    let many = format!("exp=1700003600~acl=/*~data=x{}", "~y".repeat(12));
    assert!(verify(&sealed(&many), "/a").is_ok(), "16 fields");
    assert_eq!(refusal(verify(&sealed(&format!("{many}~y")), "/a")), Some(Reason::Malformed), "17 fields");
    for token in ["", "~hmac=", "exp=1700003600~acl=/*", &ACL[..ACL.len() - 1], &format!("{ACL}0")] {
        assert_eq!(refusal(verify(token, "/a")), Some(Reason::Malformed), "{token}");
    }
    let (text, mac) = ACL.rsplit_once('=').unwrap();
    assert_eq!(refusal(verify(&format!("{text}={}", mac.to_uppercase()), "/a")), Some(Reason::Malformed));
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
        assert_eq!(refusal(verify(&sealed(text), "/a")), Some(Reason::Malformed), "{text}");
    }
}

#[test]
fn a_url_token_may_sign_the_query_and_then_holds_for_no_other() {
    let names = ["hdnts".to_owned()];
    let token = |url: &str| sign(&Claims { scope: Scope::Url(url.into()), ..claims(&[]) }, &key(), None);
    let try_query = |token: &str, query| {
        let request = Presented { query: Some(query), names: &names, ..presented("/vod/a.m3u8") };
        verify_by(&verifier(None), token, &request).map(|_| ())
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
fn so_many_bytes_are_hashed_for_the_spellings_of_a_url_and_no_more() {
    let secrets: Vec<[u8; 16]> = (0..16).map(|at| [at; 16]).collect();
    let secrets: Vec<&[u8]> = secrets.iter().map(|secret| secret.as_slice()).collect();
    let verifier = with_keys(&secrets, None);
    let token = |path: &str| {
        // By the last key.
        let signed = Claims { scope: Scope::Url(path.to_owned()), ..claims(&[]) };
        sign(&signed, secrets[15], None)
    };
    let short = format!("/{}", "a".repeat(500));
    assert!(verify_by(&verifier, &token(&short), &presented(&short)).is_ok());
    let long = format!("/{}", "a".repeat(URL_BYTES_MAX / 16));
    assert_eq!(refusal(verify_by(&verifier, &token(&long), &presented(&long))), Some(Reason::BadMac));
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
    assert_eq!(format!("{:?}", verifier(Some(b"pepper"))), "EdgeAuth { keys: 1, hash: Sha256 }");
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
        hash in prop::sample::select(&[Hash::Sha256, Hash::Sha1, Hash::Md5][..]),
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
        let token = sign_with(&claims, &secret, &Signing { hash, salt: salt.as_deref() });
        let options = formats::edgeauth::EdgeAuth { hash };
        let verifier = EdgeAuth::new(&options, &probe::shared(&[&secret]), salt.as_deref());
        let genuine = verify_by(&verifier, &token, &presented(&path));
        prop_assert!(genuine.is_ok(), "{token} for {path}: {genuine:?}");
        let session = genuine.unwrap().terms.session;
        let session = session.map(|id| percent_decode_str(&id).decode_utf8().unwrap().into_owned());
        prop_assert_eq!(session, id);
        let elsewhere = verify_by(&verifier, &token, &presented("/elsewhere")).unwrap_err();
        prop_assert_eq!(elsewhere, if by_url { Reason::BadMac } else { Reason::Path });
    }

    #[test]
    fn no_text_is_admitted_without_the_key(text in "(exp=[0-9]{0,12}|st=1|acl=/\\*|id=|data=|~|%7[eE]|.){0,12}(~hmac=[0-9a-f]{64})?") {
        let reason = verify(&text, "/a").unwrap_err();
        prop_assert!(matches!(reason, Reason::Malformed | Reason::BadMac));
    }
}
