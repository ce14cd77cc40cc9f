#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use http::HeaderMap;
use proptest::prelude::*;

use super::super::{Denied, Policy};
use super::*;
use crate::config::formats::Word;
use crate::config::model::{Secret, TokenFormat, TokenPolicy};

/// The public half of the published key, as `RSAPublicKey`.
const PUBLISHED_KEY: &str = "30818902818100c0ee48bd808fe5472808a0e8d5d72ca6831e8560597327ecf501331a2e8e7b9cbe7b01abd685bebc1d863c100d\
    06254f7141d315687068805dde8825985d251909633ff8ce7e65c750ada45149cb9c9a7ea0e04bd8d8ae16da9c5ba87f2f9948a4\
    3f18abe3511e04f2e330eccabdbcf3432f5eff3cc8415444292a7fef2d66cb0203010001";
const RSA_2048: &str = include_str!("rsa-2048.pem");
/// Within the life of every published token.
const NOW: u64 = 1_250_000_000;
const CANNED: &str = "Expires=1258237200&Signature=Nql641NHEUkUaXQHZINK1FZ~SYeUSoBJMxjdgqrzIdzV2gyEXPDNv0pYdWJkflDKJ3\
    xIu7lbwRpSkG98NBlgPi4ZJpRRnVX4kXAJK6tdNx6FucDB7OVqzcxkxHsGFd8VCG1BkC-Afh9~lOCMIYHIaiOB6~5jt9w2EOwi6sIIqrg_\
    &Key-Pair-Id=PK123456789754";
/// With white space inside.
const CUSTOM_1: &str = "Policy=eyAKICAgIlN0YXRlbWVudCI6IFt7IAogICAgICAiUmVzb3VyY2UiOiJodHRwOi8vZDYwNDcyMWZ4YWFxeTkuY2xv\
    dWRmcm9udC5uZXQvdHJhaW5pbmcvKiIsIAogICAgICAiQ29uZGl0aW9uIjp7IAogICAgICAgICAiSXBBZGRyZXNzIjp7IkFXUzpTb3VyY2VJcCI6\
    IjE0NS4xNjguMTQzLjAvMjQifSwgCiAgICAgICAgICJEYXRlTGVzc1RoYW4iOnsiQVdTOkVwb2NoVGltZSI6MTI1ODIzNzIwMH0gICAgICAKICAg\
    ICAgfSAKICAgfV0gCn0K&Signature=cPFtRKvUfYNYmxek6ZNs6vgKEZP6G3Cb4cyVt~FjqbHOnMdxdT7eT6pYmhHYzuDsFH4Jpsctke2Ux6PCX\
    cKxUcTIm8SO4b29~1QvhMl-CIojki3Hd3~Unxjw7Cpo1qRjtvrimW0DPZBZYHFZtiZXsaPt87yBP9GWnTQoaVysMxQ_\
    &Key-Pair-Id=PK123456789754";
const CUSTOM_2: &str = "Policy=eyAKICAgIlN0YXRlbWVudCI6IFt7IAogICAgICAiUmVzb3VyY2UiOiJodHRwOi8vKiIsIAogICAgICAiQ29uZGl0\
    aW9uIjp7IAogICAgICAgICAiSXBBZGRyZXNzIjp7IkFXUzpTb3VyY2VJcCI6IjIxNi45OC4zNS4xLzMyIn0sCiAgICAgICAgICJEYXRlR3JlYXRl\
    clRoYW4iOnsiQVdTOkVwb2NoVGltZSI6MTI0MTA3Mzc5MH0sCiAgICAgICAgICJEYXRlTGVzc1RoYW4iOnsiQVdTOkVwb2NoVGltZSI6MTI1NTY3\
    NDcxNn0KICAgICAgfSAKICAgfV0gCn0K&Signature=rc~5Qbbm8EJXjUTQ6Cn0LAxR72g1DOPrTmdtfbWVVgQNw0q~KHUAmBa2Zv1Wjj8dDET4X\
    SL~Myh44CLQdu4dOH~N9huH7QfPSR~O4tIOS1WWcP~2JmtVPoQyLlEc8YHRCuN3nVNZJ0m4EZcXXNAS-0x6Zco2SYx~hywTRxWR~5Q_\
    &Key-Pair-Id=PK123456789754";

fn policy_with(any_scheme: bool) -> Policy {
    let key = |id: &str, kind, bytes: Vec<u8>| TokenKey { id: id.into(), kind, bytes: Secret(bytes) };
    let private = Word::CloudFront.key(KeyKind::Private, RSA_2048).unwrap();
    let public = Signer::of(&private).unwrap().public();
    let keys = vec![
        key("PK123456789754", KeyKind::Public, hex::decode(PUBLISHED_KEY).unwrap()),
        key("RSA", KeyKind::Public, public),
        key("RSA-private", KeyKind::Private, private),
        key("EC", KeyKind::Private, ec_key()),
    ];
    let format = TokenFormat::CloudFront(Options { any_scheme });
    Policy::from_config(&TokenPolicy::new("viewer", format, keys), 1 << 20)
}

fn policy() -> Policy {
    policy_with(false)
}

fn rsa_key() -> Vec<u8> {
    Word::CloudFront.key(KeyKind::Private, RSA_2048).unwrap()
}

/// The same for the whole run, so that policy and token agree.
fn ec_key() -> Vec<u8> {
    static KEY: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
        pair.unwrap().as_ref().to_vec()
    });
    KEY.clone()
}

fn admit_request(policy: &Policy, request: &Presented<'_>) -> Result<Arc<str>, Reason> {
    let admitted = policy.admit(request);
    admitted.map(|admitted| Arc::clone(&admitted.verdict.key_id)).map_err(|Denied { reason, .. }| reason)
}

fn presented<'r>(host: &'r str, path: &'r str, query: &'r str, client: &str) -> Presented<'r> {
    let client = client.parse().unwrap();
    Presented { host, query: Some(query), client, ..Presented::get(path, NOW) }
}

const HOST: &str = "d604721fxaaqy9.cloudfront.net";

#[test]
fn published_tokens_are_admitted_whatever_white_space_their_policies_have() {
    let policy = policy();
    let query = format!("large=yes&license=yes&{CANNED}");
    let canned = presented(HOST, "/horizon.jpg", &query, "192.0.2.1");
    assert_eq!(admit_request(&policy, &canned).as_deref(), Ok("PK123456789754"));
    assert_eq!(admit_request(&policy, &Presented { secure: true, ..canned }), Err(Reason::BadMac));
    assert_eq!(admit_request(&policy, &Presented { host: "other", ..canned }), Err(Reason::BadMac));
    assert_eq!(admit_request(&policy, &Presented { query: Some(CANNED), ..canned }), Err(Reason::BadMac));
    assert!(admit_request(&policy_with(true), &Presented { secure: true, ..canned }).is_ok());

    let custom = presented(HOST, "/training/a/b.ts", CUSTOM_1, "145.168.143.9");
    assert_eq!(admit_request(&policy, &custom).as_deref(), Ok("PK123456789754"));
    assert_eq!(
        admit_request(&policy, &presented(HOST, "/a.ts", CUSTOM_1, "145.168.143.9")),
        Err(Reason::Path)
    );
    assert_eq!(admit_request(&policy, &presented(HOST, "/training/", CUSTOM_1, "1.2.3.4")), Err(Reason::Ip));
    assert_eq!(admit_request(&policy, &Presented { host: "other", ..custom }), Err(Reason::Host));
    assert_eq!(admit_request(&policy, &Presented { secure: true, ..custom }), Err(Reason::Path));
    assert_eq!(
        admit_request(&policy, &Presented { now_unix: 1_258_237_200, ..custom }),
        Err(Reason::Expired)
    );

    let everything = presented("any.example", "/a.ts", CUSTOM_2, "216.98.35.1");
    assert!(admit_request(&policy, &everything).is_ok());
    assert_eq!(
        admit_request(&policy, &Presented { now_unix: 1_241_073_789, ..everything }),
        Err(Reason::NotYet)
    );
}

#[test]
fn what_a_policy_says_stands_in_terms_and_claims() {
    let request = presented(HOST, "/training/a.ts", CUSTOM_1, "145.168.143.9");
    let admitted = policy().admit(&request).unwrap();
    let claims: Vec<_> = admitted.terms().claims.iter().collect();
    let resource = "http://d604721fxaaqy9.cloudfront.net/training/*";
    let expected =
        [("Resource", resource), ("Key-Pair-Id", "PK123456789754"), ("IpAddress", "145.168.143.0/24")];
    assert_eq!(claims, expected);
    assert_eq!(admitted.terms().acl.as_deref(), Some("/training/*"));
}

#[test]
fn cookies_are_the_same_token_with_a_prefix() {
    let mut headers = HeaderMap::new();
    let cookies = CUSTOM_1.split('&').map(|cookie| format!("CloudFront-{cookie}")).collect::<Vec<_>>();
    headers.append("cookie", cookies.join("; ").parse().unwrap());
    let request = Presented {
        headers: &headers,
        query: None,
        ..presented(HOST, "/training/a.ts", "", "145.168.143.9")
    };
    assert!(admit_request(&policy(), &request).is_ok());
}

#[test]
fn what_is_signed_with_each_kind_of_key_is_admitted() {
    let policy = policy();
    for (id, key) in [("RSA", rsa_key()), ("RSA-private", rsa_key()), ("EC", ec_key())] {
        let canned = Claims::Canned { url: "http://h:81/a%20b?x=1".into(), expires: NOW + 1 };
        let query = format!("x=1&{}", sign(&canned, id, &key).unwrap());
        assert_eq!(admit_request(&policy, &presented("h:81", "/a%20b", &query, "::1")).as_deref(), Ok(id));
        assert_eq!(admit_request(&policy, &presented("h:81", "/a", &query, "::1")), Err(Reason::BadMac));
        let query = sign(&custom("http*://h/*", NOW + 1), id, &key).unwrap();
        assert_eq!(admit_request(&policy, &presented("h", "/a", &query, "::1")).as_deref(), Ok(id));
        let sha1 = query.replace("&Hash-Algorithm=SHA256", "");
        let expected = if id == "EC" { Reason::UnsupportedClaim } else { Reason::BadMac };
        assert_eq!(admit_request(&policy, &presented("h", "/a", &sha1, "::1")), Err(expected));
    }
    assert_eq!(sign(&custom("*", 1), "x", b"none"), Err(SignError::Key));
    let quoted = Claims::Canned { url: "http://h/\"".into(), expires: 1 };
    assert_eq!(sign(&quoted, "x", &rsa_key()), Err(SignError::Url));
}

fn custom(resource: &str, end: u64) -> Claims {
    let condition = Condition { end: Moment { seconds: end }, start: None, address: None };
    Claims::Custom(Statement { resource: resource.into(), condition })
}

/// A genuine token over any policy.
fn sealed(policy: &str) -> String {
    let signature = Signer::of(&ec_key()).unwrap().sign(policy.as_bytes()).unwrap();
    let (policy, signature) = (encoded(policy.as_bytes()), encoded(&signature));
    format!("Policy={policy}&Signature={signature}&Key-Pair-Id=EC&Hash-Algorithm=SHA256")
}

#[test]
fn a_policy_that_says_more_than_is_understood_is_refused() {
    let policy = policy();
    let end = r#""DateLessThan":{"AWS:EpochTime":1300000000}"#;
    let with =
        |condition: &str| format!(r#"{{"Statement":[{{"Resource":"*","Condition":{{{condition}}}}}]}}"#);
    let found =
        |policy_text: &str| admit_request(&policy, &presented("h", "/a", &sealed(policy_text), "1.2.3.4"));
    assert!(found(&with(end)).is_ok());
    let address = |ip: &str| with(&format!(r#"{end},"IpAddress":{{"AWS:SourceIp":"{ip}"}}"#));
    assert!(found(&address("1.2.3.4")).is_ok() && found(&address("0.0.0.0/0")).is_ok());
    assert_eq!(found(&address("1.2.3.5")), Err(Reason::Ip));
    for text in [
        with(""),
        with(&format!(r#"{end},"Bool":{{"aws:SecureTransport":"true"}}"#)),
        with(&format!("{end},{end}")),
        with(r#""DateLessThan":{"AWS:EpochTime":"1300000000"}"#),
        with(r#""DateLessThan":{"AWS:EpochTime":1300000000,"x":1}"#),
        address("somewhere"),
        with(end).replace(r#""Resource":"*","#, ""),
        with(end).replace(r#""Resource""#, r#""Effect":"Deny","Resource""#),
        with(end).replace(r#"{"Statement""#, r#"{"Version":1,"Statement""#),
        format!(r#"{{"Statement":[{0},{0}]}}"#, &with(end)[14..with(end).len() - 2]),
        r#"{"Statement":[]}"#.to_owned(),
    ] {
        assert_eq!(found(&text), Err(Reason::UnsupportedClaim), "{text}");
    }
    for text in ["", "{", &"[".repeat(500), &format!("{}x", with(end))] {
        let reason = found(text).unwrap_err();
        assert!(matches!(reason, Reason::Malformed | Reason::UnsupportedClaim), "{text}: {reason:?}");
    }
}

#[test]
fn no_wildcard_of_a_resource_reaches_beyond_its_part_of_the_url() {
    let check = |resource: &str, secure, host: &str, path: &str, query: &str| {
        let request = Presented { secure, ..presented(host, path, query, "::1") };
        let request = Presented { query: (!query.is_empty()).then_some(query), ..request };
        Resource::new(resource, false).check(&request)
    };
    assert_eq!(check("http*://h/a/*", true, "h", "/a/b", ""), Ok(()));
    assert_eq!(check("http*://h/a/*", false, "H", "/a/b", "x=1"), Ok(()));
    assert_eq!(check("http*://h/a/*", true, "h", "/x://h/a/b", ""), Err(Reason::Path));
    assert_eq!(check("http://*.e.com/a/*", false, "x.e.com", "/a/b", ""), Ok(()));
    assert_eq!(check("http://*.e.com/a/*", false, "evil", "/.e.com/a/b", ""), Err(Reason::Host));
    assert_eq!(check("http://h/a?.ts", false, "h", "/a1.ts", ""), Ok(()));
    assert_eq!(check("http://h/a.ts", false, "h", "/a.ts", "x=1"), Err(Reason::Path));
    assert_eq!(check("http://h/a.ts?x=*", false, "h", "/a.ts", "x=1"), Ok(()));
    assert_eq!(check("*", true, "h", "/a", ""), Ok(()));
    assert_eq!(check("http://*", false, "h", "/a", ""), Ok(()));
    assert_eq!(check("http://h/a/*", false, "h", "/a/..%2fb", ""), Err(Reason::Path));
    let climbing = Presented { path: "/a/../b", normal: "/b", ..presented("h", "/", "", "::1") };
    assert_eq!(Resource::new("http://h/a/*", false).check(&climbing), Err(Reason::Path));
}

#[test]
fn a_canned_policy_cannot_be_made_to_read_as_another() {
    // Signed for one address; as a canned policy of a crafted URL it would be free of it.
    let text = r#"{"Statement":[{"Resource":"http://h/*","Condition":{"IpAddress":{"AWS:SourceIp":"1.2.3.4"}},"Condition":{"DateLessThan":{"AWS:EpochTime":1300000000}}}]}"#;
    let token = sealed(text);
    let signature = token.split('&').nth(1).unwrap();
    let query = format!("Expires=1300000000&{signature}&Key-Pair-Id=EC&Hash-Algorithm=SHA256");
    let path = r#"/*","Condition":{"IpAddress":{"AWS:SourceIp":"1.2.3.4"}}"#;
    assert_eq!(admit_request(&policy(), &presented("h", path, &query, "::1")), Err(Reason::Malformed));
}

#[test]
fn no_bit_of_a_token_can_be_flipped() {
    let policy = policy();
    let ec = sign(&custom("*", NOW + 1), "EC", &ec_key()).unwrap();
    let canned = format!("large=yes&license=yes&{CANNED}");
    for (path, query) in [("/horizon.jpg", canned.as_str()), ("/training/a", CUSTOM_1), ("/a", &ec)] {
        assert!(admit_request(&policy, &presented(HOST, path, query, "145.168.143.9")).is_ok());
        for place in 0..query.len() {
            for bit in 0..8 {
                let mut flipped = query.as_bytes().to_vec();
                flipped[place] ^= 1 << bit;
                let Ok(flipped) = String::from_utf8(flipped) else { continue };
                let reason =
                    admit_request(&policy, &presented(HOST, path, &flipped, "145.168.143.9")).unwrap_err();
                let known = [Reason::Malformed, Reason::BadMac, Reason::UnknownKey, Reason::UnsupportedClaim];
                assert!(known.contains(&reason), "{flipped}: {reason:?}");
            }
        }
    }
}

#[test]
fn malformed_tokens_are_refused() {
    let found = |query: &str| admit_request(&policy(), &presented(HOST, "/a", query, "::1"));
    assert_eq!(found("x=1"), Err(Reason::Missing));
    assert_eq!(found(&CANNED.replace("PK123456789754", "PK0")), Err(Reason::UnknownKey));
    assert_eq!(found(&format!("{CANNED}&Hash-Algorithm=MD5")), Err(Reason::UnsupportedClaim));
    for query in [
        "Expires=1258237200&Key-Pair-Id=PK123456789754",
        "Expires=1258237200&Signature=AAAA",
        "Signature=AAAA&Key-Pair-Id=PK123456789754",
        "Expires=01258237200&Signature=AAAA&Key-Pair-Id=PK123456789754",
        "Expires=1258237200&Signature=AB==&Key-Pair-Id=PK123456789754",
        "Expires=1258237200&Signature=AB__&Key-Pair-Id=PK123456789754",
        "Expires=1258237200&Signature=A&Key-Pair-Id=PK123456789754",
        "Policy=AAAA&Expires=1258237200&Signature=AAAA&Key-Pair-Id=PK123456789754",
        "Policy=~~~~&Signature=AAAA&Key-Pair-Id=PK123456789754",
    ] {
        assert_eq!(found(query), Err(Reason::Malformed), "{query}");
    }
}

#[test]
fn a_key_file_that_is_no_key_is_refused() {
    let reason = |kind, text: &str| Word::CloudFront.key(kind, text).unwrap_err().reason;
    assert!(reason(KeyKind::Shared, RSA_2048).contains("of no use"));
    assert!(reason(KeyKind::Public, RSA_2048).contains("no key in PEM"));
    assert!(reason(KeyKind::Public, "text").contains("no key in PEM"));
    let short = "-----BEGIN PUBLIC KEY-----\nMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDA7ki9gI/lRygIoOjV1yymgx6F\n\
        YFlzJ+z1ATMaLo57nL57AavWhb68HYY8EA0GJU9xQdMVaHBogF3eiCWYXSUZCWM/\n\
        +M5+ZcdQraRRScucmn6g4EvY2K4W2pxbqH8vmUikPxir41EeBPLjMOzKvbzzQy9e\n/zzIQVREKSp/7y1mywIDAQAB\n\
        -----END PUBLIC KEY-----\n";
    assert!(reason(KeyKind::Public, short).contains("2048"));
}

#[test]
fn a_public_key_file_gives_the_half_that_verifies() {
    let rsa = Word::CloudFront.key(KeyKind::Public, include_str!("rsa-2048.pub.pem")).unwrap();
    assert_eq!(rsa, Signer::of(&rsa_key()).unwrap().public());
    let point = Word::CloudFront.key(KeyKind::Public, include_str!("p256.pub.pem")).unwrap();
    assert_eq!((point.len(), point.first()), (65, Some(&4)));
}

#[test]
fn debug_output_shows_no_key() {
    assert!(format!("{:?}", CloudFront::new(&Options::default(), &[])).ends_with("keys: 0 }"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_is_admitted_and_nothing_else(path in "(/[a-zA-Z0-9][a-zA-Z0-9 ._~é-]{0,7}){1,4}", life in 1_u64..1_000_000, star in any::<bool>()) {
        let path = percent_encoding::utf8_percent_encode(&path, percent_encoding::CONTROLS).to_string().replace(' ', "%20");
        let resource = format!("http://h{}", if star { "/*" } else { &path });
        let canned = Claims::Canned { url: format!("http://h{path}"), expires: NOW + life };
        for claims in [custom(&resource, NOW + life), canned] {
            let query = sign(&claims, "EC", &ec_key()).unwrap();
            let found = admit_request(&policy(), &presented("h", &path, &query, "::1"));
            prop_assert!(found.is_ok(), "{query} for {path}: {found:?}");
            let policy = policy();
            let refused = |host, path: &str, query: &str| {
                let found = admit_request(&policy, &presented(host, path, query, "::1"));
                matches!(found, Err(Reason::BadMac | Reason::Path | Reason::Host))
            };
            prop_assert!(star && query.starts_with("Policy") || refused("h", "/else/where", &query), "{query}");
            prop_assert!(refused("hh", &path, &query), "{query}");
            // P-256 too, but not the key that signed.
            let other = query.replace("Key-Pair-Id=EC", "Key-Pair-Id=RSA");
            prop_assert!(refused("h", &path, &other), "{other}");
        }
    }

    #[test]
    fn no_text_is_admitted_without_the_key(
        query in "(Expires=1300000000|Policy=|Signature=|Key-Pair-Id=EC|Hash-Algorithm=SHA256|&|[A-Za-z0-9~-]{4,8}|_|\\PC){0,12}",
    ) {
        prop_assert!(admit_request(&policy(), &presented("h", "/a", &query, "::1")).is_err());
    }
}

#[test]
fn a_session_token_repeats_the_host_of_a_resource_that_names_one() {
    let repeated = |resource| Resource::new(resource, true).repeated();
    for resource in
        ["https://a.example/live/*", "https://a.example:8443/live/*", "https://a.example:*/live/*"]
    {
        assert_eq!(repeated(resource), Some(("host", "a.example".into())), "{resource}");
    }
    for resource in ["https://*.example/live/*", "https://a?.example/*", "*", "http*://*"] {
        assert_eq!(repeated(resource), None, "{resource}");
    }
}
