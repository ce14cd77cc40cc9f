//! What stands around the claims: text, CBOR, COSE, keys.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

#[test]
fn tokens_of_other_implementations_are_verified() {
    let audiences = cat::Cat { audiences: vec!["service".into()], ..cat::Cat::default() };
    let policy = policy_with(&audiences);
    let plain = policy_with(&cat::Cat::default());
    let at = |now| Presented::get("/live/a.m3u8", now);
    let admitted = admit(&plain, TIMES, &at(NOW)).unwrap();
    assert_eq!(admitted.terms().expires, Some(1_963_080_379));
    assert_eq!(admitted.terms().not_before, Some(1_742_161_068));
    assert_eq!(&*admitted.verdict.key_id, "akamai_key_hs256");
    assert_eq!(reason(&plain, TIMES, &at(1_742_161_067)), Reason::NotYet);
    assert_eq!(reason(&plain, TIMES, &at(1_963_080_379)), Reason::Expired);
    let admitted = admit(&plain, ISSUER, &at(NOW)).unwrap();
    assert_eq!((admitted.terms().claims.get("iss"), admitted.terms().expires), (Some("jonas"), None));
    let admitted = admit(&plain, RENEWED, &at(1_747_983_241)).unwrap();
    assert_eq!(admitted.terms().session.as_deref(), Some("c7a49ffd-cc79-4ce5-9331-6b126bcdd1dd"));
    assert_eq!((admitted.terms().expires, admitted.terms().renews), (Some(0x6830_1bc5), true));
    let admitted = admit(&policy, AUDIENCE, &at(1_762_282_100)).unwrap();
    assert_eq!(admitted.terms().subject.as_deref(), Some("user123"));
    assert_eq!(admitted.terms().id.as_deref(), Some("5bbc4265efa018b8b58cb9942cb081f1"));
}

#[test]
fn inspecting_shows_claims_by_name() {
    let shown = inspect(TIMES).unwrap();
    assert_eq!((shown.algorithm, shown.kid.as_deref()), (Algorithm::Hs256, Some("akamai_key_hs256")));
    assert_eq!(shown.claims, json!({"exp": 1963080379, "nbf": 1742161068, "iat": 1742161068}));
    let shown = inspect(RENEWED).unwrap();
    assert_eq!(shown.kid.as_deref(), Some("Symmetric256"));
    let catr = json!({"type": "cookie", "expadd": 60, "deadline": 30, "cookie-name": "CTA-Common-Access-Token",
        "cookie-params": ["Secure", "Domain=.tv4play.se", "path=/", "SameSite=None"]});
    assert_eq!(shown.claims["catr"], catr);
    assert_eq!(inspect("abc"), Err(Reason::Malformed));
}

#[test]
fn what_is_signed_by_name_is_shown_by_name() {
    let claims = json!({
        "iss": "auth", "sub": "u1", "exp": NOW + 60, "cti": "id-1", "crit": ["catu", "-65537"],
        "catnip": ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7", 64500],
        "catu": {"host": {"exact": "a.example"}, "path": {"prefix": "/live/", "sha256": format!("h'{}'", "ab".repeat(32)),
            "regex": ["/live/(.*)/.*", "one"]}},
        "catm": ["GET"], "cath": {"x-a": {"contains": "b"}}, "catreplay": 0, "catv": 1,
        "or": [{"catm": ["GET"]}, {"exp": 5, "catgeoiso3166": ["SE"]}],
        "catr": {"type": "redirect", "expadd": 60, "code": 307},
        "catif": {"exp": [307, {"Location": ["https://auth/?CAT=", {"iss": null, "cti": "h'00ff'"}]}, "k1"]},
        "cattprint": {"type": 2, "value": "t13d"}, "-65537": "private"
    });
    let options = cat::Cat {
        ignored_claims: vec![-65537],
        catif_keys: vec!["k1".into()],
        issuer: Some("edge".into()),
        ..cat::Cat::default()
    };
    let token = sign(&claims, &shared("k1"), None, &options).unwrap();
    assert_eq!(inspect(&token).unwrap().claims, claims);
}

#[test]
fn no_bit_of_a_token_can_be_changed() {
    let options = cat::Cat { algorithms: Algorithm::ALL.to_vec(), ..cat::Cat::default() };
    let policy = policy_of(
        &options,
        vec![ec(), rsa(), shared("akamai_key_hs256"), shared("Symmetric256"), shared("k1")],
    );
    let claims = json!({"exp": NOW + 60});
    let cut = sign(&claims, &shared("k1"), Some(Algorithm::Hs256Cut), &options).unwrap();
    let by_ec = sign(&claims, &ec(), None, &options).unwrap();
    let by_rsa = sign(&claims, &rsa(), None, &options).unwrap();
    for token in [TIMES, ISSUER, cut.as_str(), by_ec.as_str(), by_rsa.as_str()] {
        let request = Presented::get("/", NOW);
        admit(&policy, token, &request).unwrap();
        for bit in 0..token.len() * 8 {
            let mut changed = token.as_bytes().to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let Ok(changed) = String::from_utf8(changed) else { continue };
            let found = policy.format.authenticate(&changed, &request).map(drop).unwrap_err();
            let known = [Reason::Malformed, Reason::BadMac, Reason::UnknownKey];
            assert!(known.contains(&found), "bit {bit} of {token}: {found:?}");
        }
        for bit in 0..token.len() * 6 {
            let mut bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
            if bit / 8 < bytes.len() {
                bytes[bit / 8] ^= 1 << (bit % 8);
                let changed = URL_SAFE_NO_PAD.encode(bytes);
                assert!(policy.format.authenticate(&changed, &request).is_err(), "bit {bit}");
            }
        }
    }
}

#[test]
fn a_key_named_otherwise_is_unknown_and_a_wrong_key_is_no_signer() {
    let policy = policy_of(&cat::Cat::default(), vec![shared("k2")]);
    let request = Presented::get("/", NOW);
    assert_eq!(reason(&policy, TIMES, &request), Reason::UnknownKey);
    let other = key("akamai_key_hs256", KeyKind::Shared, &"00".repeat(32));
    assert_eq!(reason(&policy_of(&cat::Cat::default(), vec![other]), TIMES, &request), Reason::BadMac);
    let kids = [("k2".to_owned(), b"akamai_key_hs256".to_vec())].into();
    let named = cat::Cat { kids, ..cat::Cat::default() };
    assert_eq!(
        &*admit(&policy_of(&named, vec![shared("k2")]), TIMES, &request).unwrap().verdict.key_id,
        "k2"
    );
    // Without a name, each key is tried.
    let key = Key::new(&shared("k2"), None).unwrap();
    let bare =
        cose::seal(Algorithm::Hs256, b"", &[0xa0], |signed| key.prove(Algorithm::Hs256, signed)).unwrap();
    assert!(admit(&policy, &bare, &request).is_ok());
}

#[test]
fn algorithms_are_those_that_the_policy_lists_and_the_key_is_for() {
    let request = Presented::get("/", NOW);
    let claims = json!({"sub": "u"});
    let all = cat::Cat { algorithms: Algorithm::ALL.to_vec(), ..cat::Cat::default() };
    for (key, public, algorithm) in [
        (shared("k1"), None, Algorithm::Hs256),
        (shared("k1"), None, Algorithm::Hs256Cut),
        (ec(), Some(super::key("ec", KeyKind::Public, include_str!("ecpub.pem"))), Algorithm::Es256),
        (rsa(), Some(super::key("rsa", KeyKind::Public, include_str!("rsapub.pem"))), Algorithm::Ps256),
    ] {
        let token = sign(&claims, &key, Some(algorithm), &all).unwrap();
        assert_eq!(inspect(&token).unwrap().algorithm, algorithm);
        let verifier = public.unwrap_or(key);
        admit(&policy_of(&all, vec![verifier.clone()]), &token, &request).unwrap();
        let others = Algorithm::ALL.into_iter().filter(|other| *other != algorithm).collect();
        let without = policy_of(&cat::Cat { algorithms: others, ..cat::Cat::default() }, vec![verifier]);
        assert_eq!(reason(&without, &token, &request), Reason::UnknownKey);
    }
    assert!(!cat::Cat::default().algorithms.contains(&Algorithm::Hs256Cut));
    assert_eq!(sign(&claims, &shared("k1"), Some(Algorithm::Es256), &all), Err(SignError::Key));
    assert_eq!(sign(&json!([]), &shared("k1"), None, &all), Err(SignError::NotAnObject));
}

#[test]
fn a_high_s_is_taken_unless_the_policy_says_otherwise() {
    let strict = cat::Cat { high_s: false, ..cat::Cat::default() };
    let lenient = cat::Cat::default();
    let request = Presented::get("/", NOW);
    for _ in 0..8 {
        // What is signed here is low whichever of the two comes out.
        let token = sign(&json!({"sub": "u"}), &ec(), None, &strict).unwrap();
        admit(&policy_of(&strict, vec![ec()]), &token, &request).unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        let from = bytes.len() - 32;
        keys::negate(&mut bytes[from..]);
        let high = URL_SAFE_NO_PAD.encode(bytes);
        assert_eq!(reason(&policy_of(&strict, vec![ec()]), &high, &request), Reason::BadMac);
        admit(&policy_of(&lenient, vec![ec()]), &high, &request).unwrap();
    }
}

#[test]
fn the_envelope_has_one_spelling() {
    let policy = policy_with(&cat::Cat::default());
    let request = Presented::get("/", NOW);
    let bytes = URL_SAFE_NO_PAD.decode(TIMES).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        let found = policy.format.authenticate(&URL_SAFE_NO_PAD.encode(bytes), &request).map(drop);
        assert_eq!(found, Err(Reason::Malformed), "{what}");
    };
    let spliced = |at: usize, remove: usize, with: &[u8]| {
        let mut changed = bytes.clone();
        changed.splice(at..at + remove, with.iter().copied());
        changed
    };
    refused(&spliced(bytes.len(), 0, &[0]), "a byte behind it");
    refused(&spliced(3, 1, &[0x98, 4]), "an array with a longer length");
    refused(&spliced(8, 1, &[0xb8, 1]), "a map with a longer length");
    refused(&spliced(8, 1, &[0xa0]), "parts shifted");
    refused(&spliced(2, 1, &[0xd2]), "a MAC in the tag of a signature");
    refused(&spliced(0, 3, &[]), "no tag");
    refused(&spliced(8, 1, &[0xa2, 0x05, 0x41, 0x00]), "an initialisation vector");
    refused(&spliced(8, 1, &[0xa2, 0x04, 0x41, 0x00]), "two keys");
    // Tag 61 may be left out, and padding be there.
    let found = policy.format.authenticate(&URL_SAFE_NO_PAD.encode(spliced(0, 2, &[])), &request);
    assert!(found.is_ok());
    for text in [format!("{TIMES}="), format!("{TIMES}A"), format!(" {TIMES}"), TIMES.replace('E', "+")] {
        assert!(policy.format.authenticate(&text, &request).is_err(), "{text}");
    }
    let padded = base64::engine::general_purpose::URL_SAFE.encode(spliced(0, 2, &[]));
    assert!(padded.ends_with('='));
    assert!(policy.format.authenticate(&padded, &request).is_ok());
}

#[test]
fn cbor_is_read_strictly_and_within_bounds() {
    let read = |hex: &str| cbor::decode(&hex::decode(hex).unwrap(), cbor::Lengths::Any);
    for refused in [
        "",
        "18",
        "5f41004100ff",
        "9f00ff",
        "bf0000ff",
        "a200000000",
        "a14000",
        "a18000",
        "f8ff",
        "e0",
        "1c",
        "62c328",
        "0000",
        "9bffffffffffffffff",
        "5bffffffffffffffff",
        "bbffffffffffffffff00",
    ] {
        assert_eq!(read(refused), None, "{refused}");
    }
    assert_eq!(read("3903e7"), Some(Value::Int(-1000)));
    assert_eq!(read("3bffffffffffffffff"), Some(Value::Int(-(1 << 64))));
    assert_eq!(read("f93e00"), Some(Value::Float(1.5)));
    assert_eq!(read("f90001"), Some(Value::Float(2_f64.powi(-24))));
    assert_eq!(read("fac2280000"), Some(Value::Float(-42.0)));
    assert_eq!(read("1800"), Some(Value::Int(0)));
    assert_eq!(cbor::decode(&[0x18, 0], cbor::Lengths::Shortest), None);
    let nested = |levels: usize| cbor::decode(&[vec![0x81; levels], vec![0]].concat(), cbor::Lengths::Any);
    assert!(nested(cbor::DEPTH_MAX).is_some());
    assert_eq!(nested(cbor::DEPTH_MAX + 1), None);
    let items = |count: usize| {
        let head = [0x99, (count >> 8) as u8, count as u8];
        cbor::decode(&[head.to_vec(), vec![0; count]].concat(), cbor::Lengths::Any)
    };
    assert!(items(cbor::ITEMS_MAX - 1).is_some());
    assert_eq!(items(cbor::ITEMS_MAX), None);
    let entries = |count: usize| {
        let keys = (0..count).flat_map(|key| [0x18, 100 + key as u8, 0]);
        let bytes = [0xb8, count as u8].into_iter().chain(keys).collect::<Vec<u8>>();
        cbor::decode(&bytes, cbor::Lengths::Any)
    };
    assert!(entries(cbor::ENTRIES_MAX).is_some());
    assert_eq!(entries(cbor::ENTRIES_MAX + 1), None);
}

#[test]
fn keys_that_are_none_are_refused_with_a_remedy() {
    let refused = |kind, text: &str| Word::Cat.key(kind, text).unwrap_err().to_string();
    assert!(refused(KeyKind::Shared, "0011").contains("2 bytes"));
    assert!(refused(KeyKind::Shared, "no").contains("hexadecimal"));
    assert!(refused(KeyKind::Public, "abc").contains("PUBLIC KEY"));
    assert!(refused(KeyKind::Private, include_str!("ecpub.pem")).contains("PRIVATE KEY"));
    let short = include_str!("rsa1024pub.pem");
    assert!(refused(KeyKind::Public, short).contains("2048"));
    assert!(refused(KeyKind::Public, include_str!("ec384pub.pem")).contains("P-256"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_signed_is_admitted_and_nothing_else(
        path in "(/[a-zA-Z0-9_.~-]{0,7}x){1,4}",
        by in 0_usize..4,
        life in 1_u64..1_000_000,
        sub in "\\PC{0,20}",
    ) {
        let options = cat::Cat { algorithms: Algorithm::ALL.to_vec(), ..cat::Cat::default() };
        let keys = || vec![shared("k1"), ec(), rsa()];
        let (key, algorithm) = match by {
            0 => (shared("k1"), Algorithm::Hs256),
            1 => (shared("k1"), Algorithm::Hs256Cut),
            2 => (ec(), Algorithm::Es256),
            _ => (rsa(), Algorithm::Ps256),
        };
        let matches = json!({"host": {"exact": "h"}, "path": {"prefix": path}});
        let claims = json!({"exp": NOW + life, "sub": &sub, "catu": matches});
        let token = sign(&claims, &key, Some(algorithm), &options).unwrap();
        let policy = policy_of(&options, keys());
        let request = Presented { host: "h", ..Presented::get(&path, NOW) };
        let admitted = admit(&policy, &token, &request);
        prop_assert!(admitted.is_ok(), "{token} for {path}: {admitted:?}");
        prop_assert_eq!(admitted.unwrap().terms().subject.clone(), Some(sub));
        let elsewhere = format!("/UP{path}");
        let other = Presented { path: &elsewhere, normal: &elsewhere, ..request };
        prop_assert_eq!(reason(&policy, &token, &other), Reason::Path);
        prop_assert_eq!(reason(&policy, &token, &Presented { host: "hh", ..request }), Reason::Host);
        prop_assert_eq!(reason(&policy, &token, &Presented { now_unix: NOW + life, ..request }), Reason::Expired);
        // Keys of the right names and another kind each.
        let named = |id: &str, key: TokenKey| TokenKey { id: id.to_owned(), ..key };
        let turned = vec![named("k1", ec()), named("ec", rsa()), named("rsa", shared("k1"))];
        prop_assert_eq!(reason(&policy_of(&options, turned), &token, &request), Reason::BadMac);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let policy = policy_with(&cat::Cat::default());
        let request = Presented::get("/a", NOW);
        let _ = policy.format.authenticate(&text, &request);
        let _ = inspect(&text);
        let _ = inspect(&URL_SAFE_NO_PAD.encode(&bytes));
        prop_assert!(policy.format.authenticate(&URL_SAFE_NO_PAD.encode(&bytes), &request).is_err());
    }

    #[test]
    fn arbitrary_signed_claims_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let policy = policy_with(&cat::Cat::default());
        let token = payload_signed(&bytes);
        let _ = admit(&policy, &token, &Presented::get("/a", NOW));
        let _ = inspect(&token);
    }

    #[test]
    fn arbitrary_values_of_claims_never_panic(label in prop::sample::select(vec![
        1, 2, 3, 4, 5, 6, 7, 41, 42, 43, 45, 308, 309, 310, 311, 312, 313, 314, 315, 316, 320, 322, 323, 324]),
        value in values())
    {
        let written = cbor::encode(&value);
        prop_assert_eq!(cbor::decode(&written, cbor::Lengths::Shortest), Some(value.clone()));
        let token = payload_signed(&cbor::encode(&Value::Map(vec![(Value::Int(label), value)])));
        let _ = admit(&policy_with(&cat::Cat::default()), &token, &Presented::get("/a", NOW));
        let _ = inspect(&token);
    }
}

fn values() -> impl Strategy<Value = Value> {
    let number = prop_oneof![-9_i128..9, (0_i128..1 << 64)];
    let leaf = prop_oneof![
        number.prop_map(Value::Int),
        "[a-z/.*()+\\[]{0,8}".prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..33).prop_map(Value::Bytes),
        Just(Value::Null),
        Just(Value::Bool(true)),
        any::<i32>().prop_map(|number| Value::Float(number.into())),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let entries = prop::collection::btree_map(-3_i128..9, inner.clone(), 0..4);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            entries.prop_map(|entries| {
                Value::Map(entries.into_iter().map(|(key, value)| (Value::Int(key), value)).collect())
            }),
            (prop::sample::select(vec![52_u64, 54, 1]), inner)
                .prop_map(|(tag, inner)| Value::Tag(tag, Box::new(inner))),
        ]
    })
}
