//! Bindings: clients that may use the tokens of a policy at all, by address, place, network, method, host, header and TLS
//! fingerprint; each with a reason of its own, and none of them heard of by the origin.

use std::fmt::Write;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::support::client::{self, Http1, Http2, Request};
use crate::support::edge::{Edge, Setup, refused};
use crate::support::entitled::assert_denied;
use crate::support::mmdb;
use crate::support::origin::{Answer, Origin};
use crate::support::signing::{KEY_HEX, OTHER_KEY_HEX, now, sign, valid};

/// What each host's policy asks for. Every site takes a proxy's word from loopback.
const POLICIES: [(&str, &str); 11] = [
    ("address.test", "address = [\"192.0.2.0/25\", \"2001:db8:1::/48\"]"),
    ("country.test", "countries = [\"SE\", \"US-CA\"]"),
    ("elsewhere.test", "not_countries = [\"SE\", \"US-CA\"]"),
    ("lenient.test", "not_countries = [\"SE\"]\nunknown = \"allowed\""),
    ("network.test", "asns = [64496, 4200000001]"),
    ("method.test", "methods = [\"GET\"]"),
    ("host.test", "hosts = [\"good.host.test\", \"*.below.host.test\"]"),
    ("header.test", "headers = { x-app = \"player/*\", x-model = \"?v\" }"),
    ("tls.test", "tls_fingerprints = [\"t13d*\"]"),
    ("both.test", "countries = [\"SE\"]\nmethods = [\"GET\"]"),
    ("none.test", ""),
];

/// A node with these sites, before an origin that answers everything.
async fn bound(origin: &Origin) -> Edge {
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    let mut more = String::from("[geo]\ncountry = \"DIR/city.mmdb\"\nasn = \"DIR/asn.mmdb\"\n");
    for (number, (host, bind)) in POLICIES.iter().enumerate() {
        let bind = if bind.is_empty() { String::new() } else { format!("[token.p{number}.bind]\n{bind}\n") };
        write!(
            more,
            "[token.p{number}]\nformat = \"edgeauth\"\nkeys = [{{ id = \"k\", secret_file = \"DIR/key\" }}]\n{bind}\
             [[site]]\nhosts = [\"{host}\", \"*.{host}\"]\norigin = \"main\"\ntoken = \"p{number}\"\n\
             cors = {{ origins = [\"*\"] }}\nmethods = [\"GET\", \"HEAD\", \"POST\"]\n"
        )
        .expect("a text");
    }
    Setup::before(origin)
        .hosts("[\"edge.test\"]")
        .server("trusted_proxies = [\"127.0.0.0/8\"]")
        .file("key", KEY_HEX)
        .bytes("city.mmdb", &cities())
        .bytes("asn.mmdb", &systems())
        .more(&more)
        .start()
        .await
}

fn cities() -> Vec<u8> {
    mmdb::database(
        "GeoLite2-City",
        &[
            ("192.0.2.0/26", mmdb::country("SE")),
            ("192.0.2.64/26", mmdb::city("US", &["CA"])),
            ("192.0.2.128/26", mmdb::city("US", &["NY"])),
            ("2001:db8:1::/48", mmdb::country("SE")),
            ("2001:db8:2::/48", mmdb::country("NO")),
        ],
    )
}

fn systems() -> Vec<u8> {
    mmdb::database(
        "GeoLite2-ASN",
        &[
            ("192.0.2.0/25", mmdb::asn(64496)),
            ("192.0.2.128/26", mmdb::asn(64511)),
            ("2001:db8:1::/48", mmdb::asn(4_200_000_001)),
        ],
    )
}

/// A request with a good token, from this address.
fn from(host: &str, client: &str) -> Request {
    with_method("GET", host, client)
}

fn with_method(method: &str, host: &str, client: &str) -> Request {
    let target = format!("/live/1.m4s?hdnts={}", valid("/live/*"));
    Request::new(method, &target).host(host).header("x-forwarded-for", client)
}

/// Each binding lets in whom it names, refuses the others with its own word in metric and access line, and the origin
/// hears nothing of those.
#[tokio::test]
async fn each_binding_refuses_with_its_own_reason() {
    let origin = Origin::start().await;
    let edge = bound(&origin).await;
    let header = |app: &str, model: &str| {
        from("header.test", "192.0.2.1").header("x-app", app).header("x-model", model)
    };
    let cases: Vec<(&str, Request)> = vec![
        ("", from("address.test", "192.0.2.1")),
        ("", from("address.test", "::ffff:192.0.2.1")),
        ("", from("address.test", "2001:db8:1::9")),
        ("ip", from("address.test", "192.0.2.128")),
        ("ip", from("address.test", "2001:db8:2::9")),
        ("ip", from("address.test", "203.0.113.1, 198.51.100.1")),
        ("", from("country.test", "192.0.2.1")),
        ("", from("country.test", "192.0.2.65")),
        ("", from("country.test", "2001:db8:1::1")),
        ("geo", from("country.test", "192.0.2.130")),
        ("geo", from("country.test", "2001:db8:2::1")),
        ("geo", from("country.test", "127.0.0.1")),
        ("", from("elsewhere.test", "192.0.2.130")),
        ("", from("elsewhere.test", "2001:db8:2::1")),
        ("geo", from("elsewhere.test", "192.0.2.1")),
        ("geo", from("elsewhere.test", "192.0.2.66")),
        ("geo", from("elsewhere.test", "198.51.100.1")),
        ("", from("lenient.test", "198.51.100.1")),
        ("geo", from("lenient.test", "192.0.2.1")),
        ("", from("network.test", "192.0.2.1")),
        ("", from("network.test", "2001:db8:1::1")),
        ("asn", from("network.test", "192.0.2.130")),
        ("asn", from("network.test", "198.51.100.1")),
        ("", from("method.test", "192.0.2.1")),
        ("", with_method("HEAD", "method.test", "192.0.2.1")),
        ("method", with_method("POST", "method.test", "192.0.2.1")),
        ("", from("good.host.test", "192.0.2.1")),
        ("", from("GOOD.host.test:8080", "192.0.2.1")),
        ("", from("a.b.below.host.test", "192.0.2.1")),
        ("host", from("host.test", "192.0.2.1")),
        ("host", from("below.host.test", "192.0.2.1")),
        ("host", from("xgood.host.test", "192.0.2.1")),
        ("", header("player/7", "tv")),
        ("header", header("player", "tv")),
        ("header", header("player/7", "tvv")),
        ("header", from("header.test", "192.0.2.1").header("x-app", "player/7")),
        ("tls_fingerprint", from("tls.test", "192.0.2.1")),
        ("", from("both.test", "192.0.2.1")),
        ("geo", from("both.test", "192.0.2.130")),
        ("method", with_method("POST", "both.test", "192.0.2.1")),
        ("", from("none.test", "198.51.100.1")),
    ];
    let mut expected = std::collections::BTreeMap::<&str, f64>::new();
    for (number, (reason, request)) in cases.iter().enumerate() {
        let heard = origin.recorded().len();
        let response = edge.ask(request).await;
        let lines = edge.await_access_lines(number + 1).await;
        let said = lines[number].get("reason").and_then(|word| word.as_str()).unwrap_or_default();
        assert_eq!(said, *reason, "{request:?}");
        if reason.is_empty() {
            assert_eq!(response.status(), 200, "{request:?}");
            continue;
        }
        assert_denied(&response, &format!("{reason}: {request:?}"));
        assert_eq!(origin.recorded().len(), heard, "the origin heard of {request:?}");
        *expected.entry(reason).or_default() += 1.0;
    }
    for (reason, count) in expected {
        let metrics = edge.await_metric("forebay_token_denied_total", &[("reason", reason)], count).await;
        assert_eq!(metrics.sum("forebay_token_denied_total", &[("reason", reason)]), count, "{reason}");
    }
}

/// What is wrong with the token itself is told first.
#[tokio::test]
async fn a_bad_token_is_told_before_a_bad_place() {
    let origin = Origin::start().await;
    let edge = bound(&origin).await;
    let expired = sign(KEY_HEX, &format!("exp={}~acl=/live/*", now() - 60));
    for (number, (reason, target)) in
        [("missing", "/live/1.m4s".to_owned()), ("expired", format!("/live/1.m4s?hdnts={expired}"))]
            .iter()
            .enumerate()
    {
        let request = Request::get(target).host("country.test").header("x-forwarded-for", "192.0.2.130");
        assert_denied(&edge.ask(&request).await, reason);
        assert_eq!(edge.await_access_lines(number + 1).await[number]["reason"], *reason);
    }
    assert_eq!(origin.recorded().len(), 0);
}

/// The place of a viewer is that of the address that a trusted proxy reports; nobody else's word counts.
#[tokio::test]
async fn the_place_is_that_of_the_client_behind_trusted_proxies() {
    let origin = Origin::start().await;
    let edge = bound(&origin).await;
    for (forwarded, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.130, 192.0.2.1", 200),
        ("192.0.2.1, 192.0.2.130", 403),
        ("192.0.2.1, 127.0.0.1", 200),
        ("not an address", 403),
    ] {
        assert_eq!(edge.ask(&from("country.test", forwarded)).await.status(), status, "{forwarded}");
    }
}

/// What is explained of a client elsewhere is what the node does.
#[tokio::test]
async fn a_place_is_explained_as_it_is_decided() {
    let origin = Origin::start().await;
    let edge = bound(&origin).await;
    for (host, client) in [
        ("country.test", "192.0.2.1"),
        ("country.test", "192.0.2.130"),
        ("network.test", "192.0.2.130"),
        ("elsewhere.test", "198.51.100.1"),
        ("lenient.test", "198.51.100.1"),
        ("address.test", "198.51.100.1"),
    ] {
        let request = from(host, client);
        let status = edge.ask(&request).await.status();
        let url = format!("http://{host}{}", request.target);
        let path = format!("/explain?client={client}&url={}", utf8_percent_encode(&url, NON_ALPHANUMERIC));
        let told = client::ask(edge.admin(), &Request::get(&path)).await;
        let told: serde_json::Value = serde_json::from_slice(&told.body).expect("JSON");
        assert_eq!(told["token"]["valid"], status == 200, "{host} from {client}: {told}");
        if status != 200 {
            assert_eq!((&told["status"], &told["cache"]), (&status.into(), &"denied".into()), "{told}");
        }
    }
}

/// A policy's fingerprints let in the TLS clients that have them, over both versions of HTTP, and nobody over plaintext.
#[tokio::test]
async fn a_fingerprint_lets_in_the_clients_that_have_it() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    let with = |fingerprints: &str| {
        let policy = format!(
            "[token.p]\nformat = \"edgeauth\"\nkeys = [{{ id = \"k\", secret_file = \"DIR/key\" }}]\n\
             [token.p.bind]\ntls_fingerprints = [{fingerprints}]\n"
        );
        Setup::before(&origin).tls().site("token = \"p\"").more(&policy).file("key", KEY_HEX)
    };
    let request = Request::get(&format!("/live/1.m4s?hdnts={}", valid("/live/*")));
    // A client of TLS 1.3 with a name, whose first protocol is http/1.1, or h2.
    for (fingerprints, h1, h2) in
        [("\"t13d????h1_*\"", 200, 403), ("\"x\", \"t13d????h2_*\"", 403, 200), ("\"t13*\"", 200, 200)]
    {
        let edge = with(fingerprints).start().await;
        let (address, roots) = edge.https();
        let mut one = Http1::over_tls(client::tls(address, roots, &["http/1.1"]).await.expect("a session"));
        for _ in 0..2 {
            assert_eq!(one.ask(&request).await.status(), h1, "{fingerprints}");
        }
        let two = Http2::over_tls(client::tls(address, roots, &["h2"]).await.expect("a session")).await;
        for _ in 0..2 {
            assert_eq!(two.ask(&request).await.status(), h2, "{fingerprints}");
        }
        assert_eq!(edge.ask(&request).await.status(), 403, "plaintext");
        let lines = edge.await_access_lines(5).await;
        assert!(
            lines.iter().all(|line| line.get("tls_fingerprint").is_none()),
            "nobody asked for it: {lines:?}"
        );
        let refused = lines.iter().filter(|line| line["status"] == 403);
        assert!(refused.into_iter().all(|line| line["reason"] == "tls_fingerprint"), "{lines:?}");
    }
}

/// A hello that comes byte by byte is served, and what is no hello is told so by TLS at once, also where fingerprints are
/// asked for.
#[tokio::test]
async fn an_odd_hello_changes_nothing_about_tls() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let origin = Origin::start().await;
    let edge = Setup::before(&origin).tls().log("tls_fingerprint = true").start().await;
    let (address, _) = edge.https();
    for sent in
        [&b"GET / HTTP/1.1\r\nhost: edge.test\r\n\r\n"[..], &[22, 3, 1, 0, 0], &[22, 3, 1, 0x48, 0x01]]
    {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
        stream.write_all(sent).await.expect("a peer that reads");
        let mut answer = Vec::new();
        let read =
            crate::support::wait::within("the end of the connection", stream.read_to_end(&mut answer)).await;
        // An alert (RFC 8446 section 6), or the end alone.
        assert!(read.is_err() || answer.is_empty() || answer[0] == 21, "{sent:?}: {answer:?}");
    }
    let hello = include_str!("../hellos/openssl.hex").split_whitespace().collect::<String>();
    let hello = hex::decode(hello).expect("hexadecimal digits");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    for byte in &hello {
        stream.write_all(std::slice::from_ref(byte)).await.expect("a peer that reads");
    }
    let mut answer = [0; 6];
    crate::support::wait::within("a ServerHello", stream.read_exact(&mut answer)).await.expect("an answer");
    assert_eq!((answer[0], answer[5]), (22, 2), "a ServerHello");
}

/// A policy that goes by places without a database of them does not start.
#[tokio::test]
async fn a_policy_of_countries_without_a_database_is_refused() {
    let text = "[server]\nhttp = [\"127.0.0.1:0\"]\n[origin.a]\nservers = [\"http://127.0.0.1:1\"]\n\
                [[site]]\nhosts = [\"*\"]\norigin = \"a\"\ntoken = \"p\"\n\
                [token.p]\nformat = \"edgeauth\"\nkeys = []\n[token.p.bind]\ncountries = [\"SE\"]\n";
    let refusal = refused(text).await;
    assert_eq!(refusal.code, Some(64), "{}", refusal.stderr);
    assert!(refusal.stderr.contains("token.p.bind.countries: needs a database"), "{}", refusal.stderr);
}

/// A session token that is bound to a TLS client opens for that client, over both versions of HTTP, and for no other; one of
/// a client over plaintext opens there alone.
#[tokio::test]
async fn a_session_bound_to_a_tls_client_is_good_for_it_alone() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    let setup = Setup::before(&origin)
        .tls()
        .site("token = \"p\"")
        .more(
            "[token.p]\nformat = \"edgeauth\"\nkeys = [{ id = \"k\", secret_file = \"DIR/key\" }]\n\
             [token.p.session]\nkeys = [{ id = \"s\", secret_file = \"DIR/session\" }]\nbind = [\"address\", \"tls\"]\n",
        )
        .file("key", KEY_HEX)
        .file("session", OTHER_KEY_HEX);
    let session = |address: &str, ja4: &str| {
        let fields = format!("ip={address}~exp={}~acl=/live/*~id=viewer~data=tls%3d{ja4}", now() + 3600);
        Request::get(&format!("/live/1.m4s?hdntl={}", sign(OTHER_KEY_HEX, &fields)))
    };
    // The fingerprint of the test's client, as a node tells it that was asked to.
    let telling = setup.clone().log("tls_fingerprint = true").start().await;
    let (address, roots) = telling.https();
    Http1::over_tls(client::tls(address, roots, &["http/1.1"]).await.expect("a session"))
        .ask(&Request::get("/"))
        .await;
    let line = telling.await_access_lines(1).await.remove(0);
    let ja4 = line["tls_fingerprint"].as_str().expect("a fingerprint").to_owned();

    let edge = setup.start().await;
    let (address, roots) = edge.https();
    let own = session("127.0.0.1", &ja4);
    let mut h1 = Http1::over_tls(client::tls(address, roots, &["http/1.1"]).await.expect("a session"));
    let h2 =
        Http2::over_tls(client::tls(address, roots, &["http/1.1", "h2"]).await.expect("a session")).await;
    let other = Http2::over_tls(client::tls(address, roots, &["h2"]).await.expect("a session")).await;
    let without = session("127.0.0.1", "");
    let elsewhere = session("192.0.2.1", &ja4);
    let answers = [
        (h1.ask(&own).await, ""),
        (h2.ask(&own).await, ""),
        (h2.ask(&own).await, ""),
        (other.ask(&own).await, "tls_fingerprint"),
        (edge.ask(&own).await, "tls_fingerprint"),
        (h1.ask(&elsewhere).await, "ip"),
        (h1.ask(&without).await, "tls_fingerprint"),
        (edge.ask(&without).await, ""),
    ];
    for (number, (answer, reason)) in answers.iter().enumerate() {
        assert_eq!(answer.status(), if reason.is_empty() { 200 } else { 403 }, "request {number}");
    }
    // Lines of different connections come in any order.
    let lines = edge.await_access_lines(answers.len()).await;
    let mut told: Vec<_> = lines
        .iter()
        .map(|line| line.get("reason").and_then(|word| word.as_str()).unwrap_or_default())
        .collect();
    let mut reasons: Vec<_> = answers.iter().map(|(_, reason)| *reason).collect();
    told.sort_unstable();
    reasons.sort_unstable();
    assert_eq!(told, reasons);
}

/// A policy answers with the status that it names for a reason; nobody may keep the answer, and any page may read it.
#[tokio::test]
async fn each_reason_is_answered_with_the_policy_s_status() {
    let origin = Origin::start().await;
    let policy = "[token.p]\nformat = \"edgeauth\"\nkeys = [{ id = \"k\", secret_file = \"DIR/key\" }]\n\
                  status = { missing = 401, expired = 410, path = 404, geo = 451 }\n\
                  [token.p.bind]\ncountries = [\"SE\"]\n[geo]\ncountry = \"DIR/city.mmdb\"\n";
    let edge = Setup::before(&origin)
        .site("token = \"p\"\ncors = { origins = [\"https://player.test\"] }")
        .more(policy)
        .file("key", KEY_HEX)
        .bytes("city.mmdb", &cities())
        .start()
        .await;
    let expired = sign(KEY_HEX, &format!("exp={}~acl=/live/*", now() - 60));
    let cases = [
        (401, "missing", "/live/1.m4s".to_owned()),
        (403, "malformed", "/live/1.m4s?hdnts=rubbish".to_owned()),
        (410, "expired", format!("/live/1.m4s?hdnts={expired}")),
        (404, "path", format!("/live/1.m4s?hdnts={}", valid("/vod/*"))),
        (451, "geo", format!("/live/1.m4s?hdnts={}", valid("/live/*"))),
    ];
    for (number, (status, reason, target)) in cases.iter().enumerate() {
        let response = edge.ask(&Request::get(target).header("origin", "https://player.test")).await;
        assert_eq!(response.status(), *status, "{reason}");
        assert!(response.get("cache-control").is_some_and(|value| value.contains("no-store")), "{reason}");
        assert_eq!(response.get("access-control-allow-origin"), Some("https://player.test"), "{reason}");
        assert_eq!(response.get("www-authenticate"), (*status == 401).then_some("Bearer"), "{reason}");
        let line = &edge.await_access_lines(2 * number + 1).await[2 * number];
        assert_eq!((&line["reason"], &line["status"]), (&(*reason).into(), &(*status).into()));
        let head = edge.ask(&Request::head(target)).await;
        assert_eq!(head.status(), *status, "HEAD: {reason}");
        edge.await_access_lines(2 * number + 2).await;
        edge.await_metric("forebay_token_denied_total", &[("reason", reason)], 2.0).await;
    }
    assert_eq!(origin.recorded().len(), 0, "the origin heard of a refused request");
}
