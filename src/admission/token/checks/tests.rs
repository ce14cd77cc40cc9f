#![allow(clippy::unwrap_used, reason = "tests")]

use http::HeaderMap;

use super::*;
use crate::admission::geo::tests::geo;

fn request() -> Presented<'static> {
    Presented::get("/live/1.m4s", 0)
}

fn texts(words: &str) -> Vec<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

/// Those of the words that a check admits, each put into a request.
fn admitted<'w>(
    check: &dyn Check,
    words: &'w str,
    reason: Reason,
    put: impl Fn(&'w str) -> Presented<'w>,
) -> Vec<&'w str> {
    let is_admitted = |word: &'w str| match check.check(&put(word)) {
        Ok(()) => true,
        Err(other) => {
            assert_eq!(other, reason, "{word}: {check:?}");
            false
        }
    };
    words.split_whitespace().filter(|word| is_admitted(word)).collect()
}

#[test]
fn an_address_is_in_its_networks_however_it_is_written() {
    let clients = "192.0.2.0 192.0.2.127 192.0.2.128 ::ffff:192.0.2.1 198.51.100.7 198.51.100.8 2001:db8::1 2001:db8:1::1";
    let cases = [
        ("192.0.2.0/25", "192.0.2.0 192.0.2.127 ::ffff:192.0.2.1"),
        ("::ffff:192.0.2.0/121", "192.0.2.0 192.0.2.127 ::ffff:192.0.2.1"),
        ("198.51.100.7/32", "198.51.100.7"),
        ("2001:db8::/48", "2001:db8::1"),
        ("0.0.0.0/0", "192.0.2.0 192.0.2.127 192.0.2.128 ::ffff:192.0.2.1 198.51.100.7 198.51.100.8"),
        ("192.0.2.128/32 2001:db8:1::/48", "192.0.2.128 2001:db8:1::1"),
        ("", ""),
    ];
    for (networks, expected) in cases {
        let check = Addresses(networks.split_whitespace().map(|network| network.parse().unwrap()).collect());
        let put = |client: &str| Presented { client: client.parse().unwrap(), ..request() };
        let expected: Vec<_> = expected.split_whitespace().collect();
        assert_eq!(admitted(&check, clients, Reason::Ip, put), expected, "{networks}");
    }
    let mapped = Addresses::one("::ffff:192.0.2.7".parse().unwrap());
    let put = |client: &str| Presented { client: client.parse().unwrap(), ..request() };
    assert_eq!(admitted(&mapped, "192.0.2.7 192.0.2.8", Reason::Ip, put), ["192.0.2.7"]);
}

/// 192.0.2.1 is in Sweden, 192.0.2.64 in California, 192.0.2.128 in West Berkshire in England, 127.0.0.1 nowhere.
#[test]
fn a_client_is_in_its_country_and_its_subdivisions() {
    let geo = geo();
    let clients = "192.0.2.1 192.0.2.64 192.0.2.128 127.0.0.1";
    let cases = [
        ("SE", "192.0.2.1"),
        ("US", "192.0.2.64"),
        ("US-CA", "192.0.2.64"),
        ("US-NY CA", ""),
        ("GB-WBK", "192.0.2.128"),
        ("SE GB-ENG", "192.0.2.1 192.0.2.128"),
        ("se Sweden ZZ", ""),
        ("", ""),
    ];
    for (codes, expected) in cases {
        let check = Countries(texts(codes));
        let put = |client: &str| Presented { client: client.parse().unwrap(), geo: Some(&geo), ..request() };
        let expected: Vec<_> = expected.split_whitespace().collect();
        assert_eq!(admitted(&check, clients, Reason::Geo, put), expected, "{codes}");
    }
    assert_eq!(Countries(texts("SE")).check(&request()), Err(Reason::Geo), "without a database");
}

#[test]
fn a_client_is_in_its_autonomous_system() {
    let geo = geo();
    let put = |client: &str| Presented { client: client.parse().unwrap(), geo: Some(&geo), ..request() };
    let clients = "192.0.2.1 2001:db8::1 127.0.0.1";
    assert_eq!(admitted(&Asns(vec![64496, 1]), clients, Reason::Asn, put), ["192.0.2.1"]);
    assert_eq!(admitted(&Asns(vec![4_200_000_001]), clients, Reason::Asn, put), ["2001:db8::1"]);
    assert_eq!(Asns(vec![64496]).check(&request()), Err(Reason::Asn), "without a database");
}

#[test]
fn methods_are_told_apart_by_case() {
    let put = |method| Presented { method, ..request() };
    assert_eq!(
        admitted(&Methods(texts("GET POST")), "GET get POST HEAD", Reason::Method, put),
        ["GET", "POST"]
    );
}

#[test]
fn a_host_is_compared_without_its_port_and_case() {
    let hosts = "live.example.com LIVE.example.com:8443 example.com a.b.example.com xlive.example.com \
                 example.com.evil.test [2001:db8::1] [2001:db8::1]:8080 live.example.com.";
    let cases = [
        ("live.example.com", "live.example.com LIVE.example.com:8443 live.example.com."),
        (
            "*.example.com",
            "live.example.com LIVE.example.com:8443 a.b.example.com xlive.example.com live.example.com.",
        ),
        ("2001:db8::1", "[2001:db8::1] [2001:db8::1]:8080"),
        ("*", hosts),
        ("*.com.evil.test example.com", "example.com example.com.evil.test"),
    ];
    for (listed, expected) in cases {
        let put = |host| Presented { host, ..request() };
        let expected: Vec<_> = expected.split_whitespace().collect();
        assert_eq!(admitted(&Hosts(texts(listed)), hosts, Reason::Host, put), expected, "{listed}");
    }
}

#[test]
fn one_line_of_a_field_has_to_match() {
    let name = HeaderName::from_static("x-app");
    let check = Header(name.clone(), WildMatch::new("player/?*"));
    let mut headers = HeaderMap::new();
    assert_eq!(check.check(&Presented { headers: &headers, ..request() }), Err(Reason::Header));
    for (line, expected) in [
        (&b"other"[..], Err(Reason::Header)),
        (b"Player/7", Err(Reason::Header)),
        (b"player/\xff", Err(Reason::Header)),
        (b"player/7", Ok(())),
    ] {
        headers.append(&name, http::HeaderValue::from_bytes(line).unwrap());
        assert_eq!(check.check(&Presented { headers: &headers, ..request() }), expected, "{line:?}");
    }
}

#[test]
fn protocols_and_fingerprints_are_compared_whole() {
    let put = |alpn| Presented { alpn, ..request() };
    assert_eq!(admitted(&Alpn(texts("h2 h3")), "h2 http/1.1 h", Reason::Alpn, put), ["h2"]);
    let ja4 = "t13d1516h2_8daaf6152771_e5627efa2ab1";
    let put = |ja4| Presented { ja4: Some(ja4), ..request() };
    let others = "t13d1516h2_8daaf6152771_e5627efa2ab1 t13d1516h2 t13d1516h2_8daaf6152771_e5627efa2ab2";
    assert_eq!(admitted(&Fingerprint(texts(ja4)), others, Reason::TlsFingerprint, put), [ja4]);
    assert_eq!(
        Fingerprint(texts(ja4)).check(&request()),
        Err(Reason::TlsFingerprint),
        "a client without one"
    );
}

/// What is bound to a client without a fingerprint is good for such a client alone.
#[test]
fn a_client_without_a_fingerprint_is_one_of_its_own() {
    let check = Fingerprint(vec![String::new()]);
    assert_eq!(check.check(&request()), Ok(()));
    let known = Presented { ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1"), ..request() };
    assert_eq!(check.check(&known), Err(Reason::TlsFingerprint));
}
