//! What claims mean for a request, and for the answer.

use sha2::{Digest, Sha256, Sha512_256};

use super::*;
use crate::admission::token::{Answer, Renewal};
use crate::config::formats::cat::Dialect;

fn get(path: &str) -> Presented<'_> {
    Presented { host: "Edge.Example:8443", secure: true, ..Presented::get(path, NOW) }
}

fn dialect(dialect: Dialect) -> cat::Cat {
    cat::Cat { dialect, ..cat::Cat::default() }
}

#[test]
fn times_are_compared_to_the_second() {
    let at = |claims: &Json, now| says(claims, &Presented::get("/", now));
    assert_eq!(at(&json!({"exp": NOW + 1}), NOW), Ok(()));
    assert_eq!(at(&json!({"exp": NOW}), NOW), Err(Reason::Expired));
    assert_eq!(at(&json!({"exp": -1}), NOW), Err(Reason::Expired));
    assert_eq!(at(&json!({"exp": NOW as f64 + 0.5}), NOW), Ok(()));
    assert_eq!(at(&json!({"exp": NOW as f64 + 0.5}), NOW + 1), Err(Reason::Expired));
    assert_eq!(at(&json!({"nbf": NOW + 1}), NOW), Err(Reason::NotYet));
    assert_eq!(at(&json!({"nbf": NOW}), NOW), Ok(()));
    assert_eq!(at(&json!({"exp": "soon"}), NOW), Err(Reason::Malformed));
    assert_eq!(at(&json!({"iat": NOW + 99}), NOW), Ok(()));
}

#[test]
fn issuers_and_audiences_are_those_of_the_policy() {
    let options = cat::Cat {
        issuers: vec!["a".into()],
        audiences: vec!["e1".into(), "e2".into()],
        ..cat::Cat::default()
    };
    let says = |claims| says_with(&options, &claims, &get("/"));
    assert_eq!(says(json!({"iss": "a", "aud": "e2"})), Ok(()));
    assert_eq!(says(json!({"iss": "a", "aud": ["x", "e1"]})), Ok(()));
    assert_eq!(says(json!({"iss": "b", "aud": "e1"})), Err(Reason::Issuer));
    assert_eq!(says(json!({"aud": "e1"})), Err(Reason::Issuer));
    assert_eq!(says(json!({"iss": "a", "aud": ["x"]})), Err(Reason::Audience));
    assert_eq!(says(json!({"iss": "a"})), Err(Reason::Audience));
    assert_eq!(says_with(&cat::Cat::default(), &json!({"aud": "e1"}), &get("/")), Err(Reason::Audience));
}

#[test]
fn a_claim_that_is_not_known_refuses_the_token() {
    for claims in [
        json!({"9": 1}),
        json!({"-65537": "x"}),
        json!({"words": "x"}),
        json!({"cnf": {}}),
        json!({"enc": []}),
        json!({"catdpop": {}}),
        json!({"cattpk": "x"}),
        json!({"geohash": "u6sc"}),
        json!({"catgeocoord": []}),
        json!({"catgeoalt": 1}),
        json!({"catv": 2}),
        json!({"crit": ["9"]}),
        json!({"catreplay": 3}),
        json!({"catu": {"9": {"exact": "x"}}}),
        json!({"catu": {"path": {"5": "x"}}}),
        json!({"catr": {"type": 4, "expadd": 1}}),
        json!({"catr": {"type": 2, "expadd": 1, "header-name": "Transfer-Encoding"}}),
        json!({"catr": {"type": 0, "expadd": 1, "8": 307}}),
        json!({"catif": {"9": [403]}}),
        json!({"cattprint": {"type": 0, "value": "x"}}),
        json!({"or": [{"9": 1}]}),
        json!({"or": [{"sub": "u"}]}),
        json!({"nor": [{"catreplay": 1}]}),
        json!({"catu": {"path": {"regex": ["(?=x)x"]}}}),
        json!({"catu": {"path": {"regex": ["a)(b"]}}}),
        json!({"catu": {"path": {"regex": ["(a{1000}){1000}"]}}}),
    ] {
        assert_eq!(says(&claims, &get("/")), Err(Reason::UnsupportedClaim), "{claims}");
    }
    let private = cat::Cat { ignored_claims: vec![-65537], ..cat::Cat::default() };
    assert_eq!(says_with(&private, &json!({"-65537": "x", "crit": ["-65537"]}), &get("/")), Ok(()));
    assert_eq!(says(&json!({"crit": ["exp", "catu"], "catv": 1, "catifdata": "x"}), &get("/")), Ok(()));
}

#[test]
fn a_token_has_so_many_expressions_and_they_match_no_longer_text() {
    let token = |count: usize| {
        let fields: serde_json::Map<_, _> =
            (0..count).map(|at| (format!("x-{at}"), json!({"regex": "a*"}))).collect();
        json!({ "nor": [{ "cath": fields }] })
    };
    assert_eq!(says(&token(4), &get("/")), Ok(()));
    assert_eq!(says(&token(5), &get("/")), Err(Reason::UnsupportedClaim));
    let claims = json!({"catu": {"path": {"regex": "/a*"}}});
    assert_eq!(says(&claims, &get(&format!("/{}", "a".repeat(1023)))), Ok(()));
    assert_eq!(says(&claims, &get(&format!("/{}", "a".repeat(1024)))), Err(Reason::Path));
}

#[test]
fn a_claim_that_is_not_as_it_should_be_refuses_the_token() {
    for claims in [
        json!({"sub": 1}),
        json!({"catm": 1}),
        json!({"catu": []}),
        json!({"catu": {"path": {}}}),
        json!({"catu": {"path": {"exact": []}}}),
        json!({"catu": {"path": {"sha256": "short"}}}),
        json!({"catu": {"path": {"regex": ["a", "b"]}}}),
        json!({"cath": {"a b": {"exact": "x"}}}),
        json!({"catnip": ["nowhere"]}),
        json!({"catnip": [-1]}),
        json!({"catgeoiso3166": ["Sweden"]}),
        json!({"cattprint": {"type": 2, "value": ""}}),
        json!({"catreplay": 1}),
        json!({"or": []}),
        json!({"catr": {"type": 0}}),
        json!({"catr": {"expadd": 0}}),
        json!({"catif": {"exp": [200]}}),
        json!({"catif": {"exp": [403, {"X": "a\nb"}]}}),
        json!({"catr": {"type": 1, "expadd": 1, "cookie-params": ["a\r\nb"]}}),
    ] {
        assert_eq!(says(&claims, &get("/")), Err(Reason::Malformed), "{claims}");
    }
}

#[test]
fn every_part_of_the_uri_is_held_to() {
    let request = Presented { query: Some("a=1&b=2"), ..get("/live/one/seg.1.m4s") };
    for (part, value) in [
        ("scheme", "https"),
        ("host", "edge.example"),
        ("port", "8443"),
        ("path", "/live/one/seg.1.m4s"),
        ("query", "a=1&b=2"),
        ("parent-path", "/live/one"),
        ("filename", "seg.1.m4s"),
        ("stem", "seg"),
        ("extension", ".1.m4s"),
    ] {
        let refused = Err(if part == "host" { Reason::Host } else { Reason::Path });
        let with = |matches: Json| says(&json!({"catu": {part: matches}}), &request);
        let (head, tail) = value.split_at(1);
        let hex = |digest: &[u8]| format!("h'{}'", hex::encode(digest));
        let digests = [hex(&Sha256::digest(value)), hex(&Sha512_256::digest(value))];
        for fulfilled in [
            json!({"exact": value}),
            json!({"prefix": head}),
            json!({"suffix": tail}),
            json!({"contains": &value[1..2]}),
            json!({"sha256": digests[0]}),
            json!({"sha512-256": digests[1]}),
            json!({"regex": [format!("{}(.*)", regex::escape(head)), tail]}),
            json!({"prefix": head, "suffix": tail}),
            json!({"exact-match": value}),
        ] {
            assert_eq!(with(fulfilled.clone()), Ok(()), "{part} {fulfilled}");
        }
        for failed in [
            json!({"exact": head}),
            json!({"prefix": "#"}),
            json!({"suffix": "#"}),
            json!({"contains": "#"}),
            json!({"sha256": digests[1]}),
            json!({"sha512-256": digests[0]}),
            json!({"regex": ["#"]}),
            json!({"regex": [format!("{}(.*)", regex::escape(head)), "#"]}),
            json!({"prefix": head, "suffix": "#"}),
            json!({"exact": value, "contains": "#"}),
        ] {
            assert_eq!(with(failed.clone()), refused, "{part} {failed}");
        }
    }
    let both = json!({"catu": {"host": {"exact": "EDGE.example"}, "path": {"prefix": "/vod/"}}});
    assert_eq!(says(&both, &request), Err(Reason::Path));
    let plain = Presented { host: "[2001:db8::1]", secure: false, ..get("/") };
    assert_eq!(
        says(&json!({"catu": {"port": {"exact": 80}, "host": {"exact": "2001:db8::1"}}}), &plain),
        Ok(())
    );
    assert_eq!(says(&json!({"catu": {"extension": {"exact": ""}, "query": {"exact": ""}}}), &plain), Ok(()));
}

#[test]
fn a_path_is_held_to_as_it_is_meant() {
    let sneaked = Presented { normal: "/vod/a", ..get("/live/..%2fvod/a") };
    for matches in [json!({"prefix": "/live/"}), json!({"contains": "live"}), json!({"regex": ["/live/.*"]})]
    {
        assert_eq!(says(&json!({"catu": {"path": matches}}), &sneaked), Err(Reason::Path), "{matches}");
    }
    let parent = json!({"catu": {"parent-path": {"exact": "/live"}}});
    assert_eq!(says(&parent, &Presented { normal: "/", ..get("/live/%2e%2e") }), Err(Reason::Path));
    let spelled = Presented { normal: "/live/a~b", ..get("/live/a%7eb") };
    for path in ["/live/a%7eb", "/live/a~b"] {
        assert_eq!(says(&json!({"catu": {"path": {"exact": path}}}), &spelled), Ok(()));
    }
}

#[test]
fn a_path_that_climbs_is_let_in_by_nothing_that_a_token_says() {
    for path in ["/live/..%2Fvod/a", "/live/..%5Cvod/a", "/live/..;x/vod/a", "/live/%2E%2E%2Fvod/a"] {
        for claims in [
            json!({"catu": {"path": {"prefix": "/live/"}}}),
            json!({"catu": {"path": {"regex": ["/live/.*"]}}}),
            json!({"catu": {"parent-path": {"prefix": "/live"}}}),
            json!({"or": [{"catu": {"path": {"prefix": "/live/"}}}]}),
            json!({"nor": [{"catu": {"path": {"prefix": "/vod/"}}}]}),
        ] {
            assert_eq!(says(&claims, &get(path)), Err(Reason::Path), "{claims} {path}");
        }
    }
    assert_eq!(says(&json!({"catu": {"path": {"prefix": "/live/"}}}), &get("/live/a..b/..c")), Ok(()));
}

#[test]
fn methods_protocols_headers_and_fingerprints_are_held_to() {
    assert_eq!(says(&json!({"catm": ["HEAD", "GET"]}), &get("/")), Ok(()));
    assert_eq!(says(&json!({"catm": ["HEAD", "get"]}), &get("/")), Err(Reason::Method));
    assert_eq!(says(&json!({"catalpn": ["http/1.1"]}), &get("/")), Ok(()));
    assert_eq!(says(&json!({"catalpn": ["h'6832'"]}), &Presented { alpn: "h2", ..get("/") }), Ok(()));
    assert_eq!(says(&json!({"catalpn": ["h2"]}), &get("/")), Err(Reason::Alpn));
    let map = headers(&[("x-a", "one"), ("x-a", "two"), ("x-b", "three")]);
    let request = Presented { headers: &map, ..get("/") };
    assert_eq!(says(&json!({"cath": {"X-A": {"exact": "two"}, "x-b": {"prefix": "th"}}}), &request), Ok(()));
    assert_eq!(
        says(&json!({"cath": {"x-a": {"exact": "two"}, "x-b": {"exact": "th"}}}), &request),
        Err(Reason::Header)
    );
    assert_eq!(says(&json!({"cath": {"x-c": {"prefix": ""}}}), &request), Err(Reason::Header));
    let print = json!({"cattprint": {"type": 2, "value": "t13d1516h2"}});
    assert_eq!(says(&print, &Presented { ja4: Some("t13d1516h2"), ..get("/") }), Ok(()));
    assert_eq!(says(&print, &Presented { ja4: Some("t13d"), ..get("/") }), Err(Reason::TlsFingerprint));
    assert_eq!(says(&print, &get("/")), Err(Reason::TlsFingerprint));
}

#[test]
fn networks_are_held_to_in_every_form() {
    let from = |address: &str| Presented { client: address.parse().unwrap(), ..get("/") };
    let tagged = |tag: u64, inner: Value| {
        let item = Value::Tag(tag, Box::new(inner));
        let claims = vec![(Value::Int(311), Value::Array(vec![item]))];
        payload_signed(&cbor::encode(&Value::Map(claims)))
    };
    let policy = policy_with(&cat::Cat::default());
    let prefix =
        |length: i128, bytes: &[u8]| Value::Array(vec![Value::Int(length), Value::Bytes(bytes.to_vec())]);
    for (token, inside, outside) in [
        (tagged(52, Value::Bytes(vec![192, 0, 2, 1])), "192.0.2.1", "192.0.2.2"),
        (tagged(52, prefix(24, &[192, 0, 2])), "::ffff:192.0.2.9", "192.0.3.1"),
        (tagged(52, prefix(24, &[192, 0, 2, 7])), "192.0.2.9", "192.0.3.1"),
        (tagged(54, prefix(32, &[0x20, 1, 0x0d, 0xb8])), "2001:db8::9", "2001:db9::1"),
        (token_of(&json!({"catnip": ["192.0.2.0/24", 64500]})), "192.0.2.1", "192.0.3.1"),
        (token_of(&json!({"catnip": ["2001:db8::1"]})), "2001:db8::1", "2001:db8::2"),
    ] {
        assert!(admit(&policy, &token, &from(inside)).is_ok(), "{inside}");
        assert_eq!(reason(&policy, &token, &from(outside)), Reason::Ip, "{outside}");
    }
    for (tag, inner) in [
        (52, Value::Bytes(vec![1, 2, 3])),
        (52, prefix(24, &[192, 0, 2, 0, 0])),
        (52, prefix(33, &[1])),
        (54, Value::Bytes(vec![1; 4])),
        (53, Value::Bytes(vec![1; 4])),
    ] {
        assert_eq!(
            reason(&policy, &tagged(tag, inner.clone()), &from("1.1.1.1")),
            Reason::Malformed,
            "{inner:?}"
        );
    }
    assert_eq!(says(&json!({"catnip": [64500]}), &get("/")), Err(Reason::Asn));
    assert_eq!(says(&json!({"catgeoiso3166": ["SE"]}), &get("/")), Err(Reason::Geo));
}

#[test]
fn composite_claims_are_evaluated() {
    let (yes, no) = (json!({"catm": ["GET"]}), json!({"catu": {"path": {"prefix": "/vod/"}}}));
    let both = json!({"catm": ["GET"], "catu": {"path": {"prefix": "/vod/"}}});
    let says = |claims: Json| says(&claims, &get("/live/a"));
    assert_eq!(says(json!({"or": [no, yes]})), Ok(()));
    assert_eq!(says(json!({"or": [no, both]})), Err(Reason::Path));
    assert_eq!(says(json!({"and": [yes, yes]})), Ok(()));
    assert_eq!(says(json!({"and": [yes, no]})), Err(Reason::Path));
    assert_eq!(says(json!({"nor": [no, both]})), Ok(()));
    assert_eq!(says(json!({"nor": [no, yes]})), Err(Reason::Method));
    assert_eq!(says(json!({"or": [{"and": [yes, {"nor": [yes]}]}, {"or": [no, {"exp": NOW + 1}]}]})), Ok(()));
    assert_eq!(says(json!({"or": [{"exp": NOW}]})), Err(Reason::Expired));
    assert_eq!(says(json!({"and": [{"nbf": NOW + 1}]})), Err(Reason::NotYet));
    assert_eq!(says(json!({"nor": [{}]})), Err(Reason::UnsupportedClaim));
    // What cannot be told excludes nobody from being excluded.
    for (claims, reason) in [
        (json!({"catgeoiso3166": ["RU"]}), Reason::Geo),
        (json!({"catnip": [64500]}), Reason::Asn),
        (json!({"cattprint": {"type": 2, "value": "t13d"}}), Reason::TlsFingerprint),
        (json!({"or": [{"catgeoiso3166": ["US-CA"]}]}), Reason::Geo),
    ] {
        assert_eq!(says(json!({"nor": [claims]})), Err(reason), "{claims}");
    }
}

#[test]
fn replay_is_handed_on_by_identifier() {
    let policy = policy_with(&cat::Cat::default());
    for (value, once) in [(0, false), (1, true), (2, true)] {
        let token = token_of(&json!({"catreplay": value, "cti": "h'00ff'", "sub": "u"}));
        let admitted = admit(&policy, &token, &get("/")).unwrap();
        let terms = admitted.terms();
        assert_eq!(
            (terms.once, terms.id.as_deref(), terms.subject.as_deref()),
            (once, Some("h'00ff'"), Some("u"))
        );
    }
}

#[test]
fn each_dialect_has_its_own_probability_of_rejection() {
    let with = |of: Dialect, value: Json| says_with(&dialect(of), &json!({"catpor": value}), &get("/"));
    assert_eq!(with(Dialect::RustCat, json!(100)), Err(Reason::Revoked));
    assert_eq!(with(Dialect::RustCat, json!(0)), Ok(()));
    assert_eq!(with(Dialect::RustCat, json!(101)), Err(Reason::Malformed));
    assert_eq!(with(Dialect::NodeCat, json!(["1", "id", NOW])), Err(Reason::Revoked));
    assert_eq!(with(Dialect::NodeCat, json!(["0", "id", NOW])), Ok(()));
    assert_eq!(with(Dialect::Cta, json!(0)), Ok(()));
    for of in [Dialect::Cta, Dialect::Akamai] {
        assert_eq!(with(of, json!(1)), Err(Reason::UnsupportedClaim));
    }
    assert_eq!(with(Dialect::NodeCat, json!(1)), Err(Reason::UnsupportedClaim));
    let policy = policy_with(&dialect(Dialect::RustCat));
    let token = token_of(&json!({"catpor": 50}));
    let refused =
        (0..1000).filter(|second| admit(&policy, &token, &Presented::get("/", NOW + second)).is_err());
    let refused = refused.count();
    assert!((350..650).contains(&refused), "{refused} of 1000");
}

#[test]
fn regular_expressions_are_anchored_in_one_dialect() {
    let claims = json!({"catu": {"path": {"regex": ["live|vod"]}}});
    assert_eq!(says(&claims, &get("/live/a")), Err(Reason::Path));
    assert_eq!(says(&json!({"catu": {"path": {"regex": "/live/.*|/vod"}}}), &get("/live/a")), Ok(()));
    assert_eq!(
        says(&json!({"catu": {"path": {"regex": "/live/.*|/vod"}}}), &get("/vod/a")),
        Err(Reason::Path)
    );
    for of in [Dialect::NodeCat, Dialect::RustCat, Dialect::Akamai] {
        assert_eq!(says_with(&dialect(of), &claims, &get("/live/a")), Ok(()));
    }
}

fn renewed(policy: &Policy, token: &str, request: &Presented<'_>) -> Option<Renewal> {
    let query = format!("a=1&CAT={token}");
    let request = Presented { query: Some(&query), ..*request };
    policy.renew(&policy.admit(&request).unwrap(), &request)
}

#[test]
fn a_token_is_renewed_by_cookie_shortly_before_its_end() {
    let policy = policy_with(&cat::Cat::default());
    let end = 0x6830_1bc5;
    let at = |now| renewed(&policy, RENEWED, &Presented::get("/live/a", now));
    assert_eq!(at(end - 31), None);
    let Some(Renewal::Fields(fields)) = at(end - 30) else { panic!("not renewed") };
    let [(name, value)] = fields.as_slice() else { panic!("{fields:?}") };
    let value = value.to_str().unwrap();
    let (token, parameters) = value.split_once("; ").unwrap();
    let token = token.strip_prefix("CTA-Common-Access-Token=").unwrap();
    assert_eq!(
        (name.as_str(), parameters),
        ("set-cookie", "Secure; Domain=.tv4play.se; path=/; SameSite=None")
    );
    let (old, new) = (inspect(RENEWED).unwrap().claims, inspect(token).unwrap().claims);
    assert_eq!((&new["exp"], &new["iat"]), (&json!(end - 30 + 60), &json!(end - 30)));
    assert_ne!(new["cti"], old["cti"]);
    for same in ["iss", "sub", "nbf", "catr", "catreplay"] {
        assert_eq!(new[same], old[same], "{same}");
    }
    let cookie = HeaderValue::from_str(&format!("CTA-Common-Access-Token={token}")).unwrap();
    let map: HeaderMap = [(http::header::COOKIE, cookie)].into_iter().collect();
    let admitted = policy.admit(&Presented { headers: &map, ..Presented::get("/", end + 10) }).unwrap();
    assert_eq!((admitted.place, admitted.terms().expires), (TokenPlace::Cookie, Some(end + 30)));
    let other = policy.renew(&admitted, &Presented { headers: &map, ..Presented::get("/", end + 10) });
    assert!(matches!(other, Some(Renewal::Fields(_))));
}

#[test]
fn a_token_is_renewed_the_way_it_asks_for() {
    let policy = policy_with(&cat::Cat::default());
    let catr = |catr: Json| token_of(&json!({"exp": NOW + 10, "catr": catr}));
    let token =
        catr(json!({"type": "header", "expadd": 60, "header-name": "X-Next", "header-params": ["a", "b"]}));
    let Some(Renewal::Fields(fields)) = renewed(&policy, &token, &get("/live/a")) else {
        panic!("not renewed")
    };
    assert_eq!(fields[0].0, "x-next");
    assert!(fields[0].1.to_str().unwrap().ends_with("; a; b"));
    for automatic in ["redirect", "automatic"] {
        let token = catr(json!({"type": automatic, "expadd": 120, "code": 307}));
        let Some(Renewal::Instead(answer)) = renewed(&policy, &token, &get("//live/a")) else {
            panic!("not renewed")
        };
        assert_eq!(answer.status, 307);
        let location = answer.fields[0].1.to_str().unwrap();
        let new = location.strip_prefix("/.//live/a?a=1&CAT=").expect(location);
        assert_eq!(inspect(new).unwrap().claims["exp"], json!(NOW + 120));
        let Some(Renewal::Instead(answer)) = renewed(&policy, &token, &get("/\\live/a")) else {
            panic!("not renewed")
        };
        let location = answer.fields[0].1.to_str().unwrap();
        assert!(location.starts_with("/./\\live/a?"), "{location}");
    }
    let token = catr(json!({"type": "automatic", "expadd": 120}));
    let path = format!("/CAT={token}/live/a");
    let in_path = Presented { normal: "/live/a", query: Some("x=y"), ..get(&path) };
    let admitted = policy.admit(&in_path).unwrap();
    let Some(Renewal::Instead(answer)) = policy.renew(&admitted, &in_path) else { panic!("not renewed") };
    let location = answer.fields[0].1.to_str().unwrap();
    assert_eq!(answer.status, 302);
    assert!(
        location.starts_with("/CTA-Common-Access-Token=2D3R") && location.ends_with("/live/a?x=y"),
        "{location}"
    );
    let map = HeaderMap::from_iter([(
        HeaderName::from_static("cta-common-access-token"),
        HeaderValue::from_str(&token).unwrap(),
    )]);
    let by_header = Presented { headers: &map, ..get("/live/a") };
    let admitted = policy.admit(&by_header).unwrap();
    assert_eq!(admitted.place, TokenPlace::Header);
    let Some(Renewal::Fields(fields)) = policy.renew(&admitted, &by_header) else { panic!("not renewed") };
    assert_eq!(fields[0].0, "cta-common-access-token");
    // Without an end there is nothing to put off.
    assert_eq!(renewed(&policy, &token_of(&json!({"catr": {"type": 1, "expadd": 9}})), &get("/")), None);
}

#[test]
fn a_token_is_not_redirected_to_another_that_has_to_be_renewed_at_once() {
    let redirected = |dialect, catr: Json| {
        let policy = policy_with(&self::dialect(dialect));
        renewed(&policy, &token_of(&json!({"exp": NOW + 10, "catr": catr})), &get("/live/a")).is_some()
    };
    for (life, expected) in [(59, false), (60, false), (61, true)] {
        let catr = json!({"type": "redirect", "expadd": life});
        assert_eq!(redirected(Dialect::Cta, catr.clone()), expected, "{life}");
    }
    let since = json!({"type": "redirect", "expadd": 60, "deadline": NOW - 5});
    assert!(!redirected(Dialect::RustCat, since));
    let by_cookie = json!({"type": "cookie", "expadd": 60});
    assert!(redirected(Dialect::Cta, by_cookie), "what is sent along with an answer goes round in no circle");
}

#[test]
fn a_key_that_only_verifies_renews_nothing() {
    let claims = json!({"exp": NOW + 10, "catr": {"type": "cookie", "expadd": 60}});
    let token = sign(&claims, &ec(), None, &cat::Cat::default()).unwrap();
    let public = key("ec", KeyKind::Public, include_str!("ecpub.pem"));
    let renews = |key| renewed(&policy_of(&cat::Cat::default(), vec![key]), &token, &get("/"));
    assert_eq!(renews(public), None);
    assert!(matches!(renews(ec()), Some(Renewal::Fields(_))));
}

#[test]
fn dialects_differ_in_deadline_and_numbers_of_renewal() {
    let renews = |of: Dialect, catr: Json, now: u64| {
        let token = token_of(&json!({"exp": NOW + 100, "catr": catr}));
        renewed(&policy_with(&dialect(of)), &token, &Presented::get("/", now))
    };
    let relative = json!({"type": 1, "expadd": 9, "deadline": 20});
    assert!(renews(Dialect::Cta, relative.clone(), NOW + 79).is_none());
    assert!(renews(Dialect::Cta, relative, NOW + 80).is_some());
    let absolute = json!({"type": 1, "expadd": 9, "deadline": NOW + 50});
    assert!(renews(Dialect::RustCat, absolute.clone(), NOW + 49).is_none());
    assert!(renews(Dialect::RustCat, absolute, NOW + 50).is_some());
    let shifted = json!({"type": 3, "expadd": 90, "6": ["Secure"], "8": 308});
    let Some(Renewal::Instead(answer)) = renews(Dialect::Akamai, shifted, NOW + 90) else {
        panic!("not renewed")
    };
    assert_eq!(answer.status, 308);
}

#[test]
fn a_refusal_is_answered_as_the_token_asks() {
    let options =
        cat::Cat { catif_keys: vec!["k1".into()], issuer: Some("edge".into()), ..cat::Cat::default() };
    let policy = policy_with(&options);
    let token = token_of(&json!({
        "exp": NOW, "catm": ["HEAD"], "or": [{"catu": {"path": {"exact": "/b"}}}],
        "catif": {
            "exp": [307, {"Location": ["https://auth.example/?CAT=", {"iss": null, "iat": null, "sub": "u"}], "X": "y"}],
            "catm": [405, {"Allow": "HEAD"}],
            "or": [404]
        }
    }));
    let answer = |request: &Presented<'_>| -> (Reason, Arc<Answer>) {
        let denied = admit(&policy, &token, request).unwrap_err();
        (denied.reason, denied.answer.unwrap())
    };
    for now in [NOW, NOW + 5] {
        let (reason, found) = answer(&Presented::get("/a", now));
        assert_eq!((reason, found.status), (Reason::Expired, 307));
        let [(location, value), (_, other)] = found.fields.as_slice() else { panic!("{found:?}") };
        assert_eq!((location.as_str(), other.to_str().unwrap()), ("location", "y"));
        let minted = value.to_str().unwrap().strip_prefix("https://auth.example/?CAT=").unwrap();
        assert_eq!(inspect(minted).unwrap().claims, json!({"iss": "edge", "iat": now, "sub": "u"}));
        assert_eq!(inspect(minted).unwrap().kid.as_deref(), Some("k1"));
        admit(&policy, minted, &get("/")).unwrap();
    }
    let (reason, found) = answer(&Presented::get("/a", NOW - 1));
    assert_eq!((reason, found.status), (Reason::Method, 405));
    let (reason, found) = answer(&Presented { method: "HEAD", ..Presented::get("/a", NOW - 1) });
    assert_eq!((reason, found.status), (Reason::Path, 404));
}

#[test]
fn only_listed_keys_sign_for_a_token() {
    let with =
        |options: &cat::Cat, entry: Json| says_with(options, &json!({"catif": {"exp": entry}}), &get("/"));
    let signed = |claims: Json, kid: &str| json!([307, {"Location": ["https://a/?", claims]}, kid]);
    let options = cat::Cat { catif_keys: vec!["k1".into()], ..cat::Cat::default() };
    assert_eq!(with(&options, signed(json!({"sub": "u"}), "k1")), Ok(()));
    assert_eq!(with(&cat::Cat::default(), signed(json!({"sub": "u"}), "k1")), Err(Reason::UnsupportedClaim));
    assert_eq!(with(&options, signed(json!({"sub": "u"}), "Symmetric256")), Err(Reason::UnsupportedClaim));
    assert_eq!(with(&options, signed(json!({"sub": "u"}), "k9")), Err(Reason::UnsupportedClaim));
    assert_eq!(with(&options, signed(json!({"iss": null}), "k1")), Err(Reason::UnsupportedClaim));
    assert_eq!(with(&options, signed(json!({"exp": null}), "k1")), Err(Reason::UnsupportedClaim));
    assert_eq!(with(&options, json!([403, {"Content-Length": "5"}])), Err(Reason::UnsupportedClaim));
}

#[test]
fn places_and_networks_are_held_to_where_databases_know_them() {
    let geo = crate::admission::geo::tests::geo();
    let (sweden, california, nowhere) = ("192.0.2.1", "192.0.2.65", "203.0.113.1");
    let from = |claims: Json, address: &str| {
        says(&claims, &Presented { geo: Some(&geo), client: address.parse().unwrap(), ..get("/") })
    };
    assert_eq!(from(json!({"catgeoiso3166": ["se"]}), sweden), Ok(()));
    assert_eq!(from(json!({"catgeoiso3166": ["US-CA"]}), california), Ok(()));
    assert_eq!(from(json!({"catgeoiso3166": ["US-CA"]}), sweden), Err(Reason::Geo));
    assert_eq!(from(json!({"catgeoiso3166": ["SE"]}), nowhere), Err(Reason::Geo));
    assert_eq!(from(json!({"catnip": [64496]}), sweden), Ok(()));
    assert_eq!(from(json!({"catnip": [64497]}), sweden), Err(Reason::Asn));
    assert_eq!(from(json!({"catnip": ["198.51.100.1", 64496]}), sweden), Ok(()));
    let without = |code: &str| json!({"nor": [{"catgeoiso3166": [code]}]});
    assert_eq!(from(without("US"), sweden), Ok(()));
    assert_eq!(from(without("US-NY"), california), Ok(()));
    assert_eq!(from(without("US-NY"), sweden), Ok(()));
    assert_eq!(from(without("US-CA"), california), Err(Reason::Geo));
    assert_eq!(from(without("US"), nowhere), Err(Reason::Geo));
}
