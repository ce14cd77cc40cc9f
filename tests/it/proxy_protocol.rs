//! Behind a load balancer that speaks the PROXY protocol, everything goes by the client that its header names; nobody else's
//! header is believed, and a connection without a good one says nothing to HTTP.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::support::client::{self, Http1, Http2, Request};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};

const REQUIRED: &str = "proxy_protocol = { from = [\"127.0.0.0/8\"] }";
const OPTIONAL: &str = "proxy_protocol = { from = [\"127.0.0.0/8\"], required = false }";
const REFUSED: &str = "forebay_proxy_protocol_refused_total";

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n";

/// A header of version 2, for this client; with no client it is the load balancer's own (`LOCAL`).
fn v2(client: Option<IpAddr>, fields: &[u8]) -> Vec<u8> {
    let (command, family, addresses) = match client {
        None => (0x20, 0x00, Vec::new()),
        Some(IpAddr::V4(client)) => (0x21, 0x11, [client.octets(), [10, 0, 0, 1]].concat()),
        Some(IpAddr::V6(client)) => (0x21, 0x21, [client.octets(), [0; 16]].concat()),
    };
    let ports: &[u8] = if client.is_some() { &[0x30, 0x39, 0x01, 0xbb] } else { &[] };
    let body = [&addresses[..], ports, fields].concat();
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, &body].concat()
}

async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=600"));
    origin
}

/// Sends these bytes on a new connection, then a request, and returns its answer's status.
async fn status_after(edge: &Edge, first: &[u8]) -> u16 {
    let mut viewer = Http1::connect(edge.http()).await;
    viewer.send_bytes(first).await;
    viewer.ask(&Request::get("/a.ts")).await.status()
}

/// Whether a connection that says these bytes is closed without a word.
async fn is_closed_after(edge: &Edge, first: &[u8]) -> bool {
    let mut viewer = Http1::connect(edge.http()).await;
    viewer.send_bytes(first).await;
    viewer.send(&Request::get("/a.ts")).await;
    viewer.try_head("GET").await.is_none()
}

fn clients(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["client_ip"].as_str().unwrap()).collect()
}

/// Both versions, both families; a header that names nobody leaves the connection's own address.
#[tokio::test]
async fn the_client_that_the_header_names_is_the_client() {
    let origin = origin().await;
    let edge = Setup::before(&origin).server(REQUIRED).start().await;
    let v6 = "2001:db8::7".parse().unwrap();
    let mapped = "::ffff:192.0.2.9".parse().unwrap();
    let headers = [
        (V1.to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::8 2001:db8::1 1 2\r\n".to_vec(), "2001:db8::8"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2("192.0.2.8".parse().ok(), &[]), "192.0.2.8"),
        (v2(Some(v6), &[0xEA, 0, 2, 1, 2]), "2001:db8::7"),
        (v2(Some(mapped), &[]), "192.0.2.9"),
        (v2(None, &[]), "127.0.0.1"),
    ];
    for (index, (header, _)) in headers.iter().enumerate() {
        assert_eq!(status_after(&edge, header).await, 200, "{}", header.escape_ascii());
        // Connections of different threads are logged in no order.
        edge.await_access_lines(index + 1).await;
    }
    let lines = edge.await_access_lines(headers.len()).await;
    assert_eq!(clients(&lines), headers.each_ref().map(|(_, client)| *client));
    assert_eq!(edge.metrics().await.sum(REFUSED, &[]), 0.0);
}

/// A header byte by byte, one that shares its packet with requests, and the requests after the first.
#[tokio::test]
async fn packets_do_not_matter_and_every_request_of_the_connection_is_the_clients() {
    let origin = origin().await;
    let edge = Setup::before(&origin).server(REQUIRED).start().await;
    for header in [V1.to_vec(), v2("192.0.2.7".parse().ok(), &[])] {
        let mut viewer = Http1::connect(edge.http()).await;
        for byte in &header {
            viewer.send_bytes(&[*byte]).await;
            tokio::task::yield_now().await;
        }
        for _ in 0..3 {
            assert_eq!(viewer.ask(&Request::get("/a.ts")).await.status(), 200);
        }
        let mut viewer = Http1::connect(edge.http()).await;
        let request = b"GET /a.ts HTTP/1.1\r\nHost: edge.test\r\n\r\n";
        viewer.send_bytes(&[&header[..], request, request].concat()).await;
        for _ in 0..2 {
            assert_eq!(viewer.response("GET").await.status(), 200);
        }
    }
    assert_eq!(clients(&edge.await_access_lines(10).await), ["192.0.2.7"; 10]);
}

#[tokio::test]
async fn a_connection_without_a_good_header_is_closed_and_counted() {
    let origin = origin().await;
    let edge = Setup::before(&origin).server(REQUIRED).start().await;
    let long = [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat();
    let mut vast = v2("192.0.2.7".parse().ok(), &[]);
    vast[14] = 0xFF;
    let checksum = v2("192.0.2.7".parse().ok(), &[3, 0, 4, 1, 2, 3, 4]);
    let mut version = v2(None, &[]);
    version[12] = 0x31;
    for (first, reason) in [
        (&b""[..], "missing"),
        (b"\x16\x03\x01\x02\x00\x01", "missing"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345\r\n", "malformed"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\n", "malformed"),
        (&version, "malformed"),
        (&long, "too_long"),
        (&vast, "too_long"),
        (&checksum, "checksum"),
    ] {
        let before = edge.metrics().await.sum(REFUSED, &[("reason", reason)]);
        assert!(is_closed_after(&edge, first).await, "{}", first.escape_ascii());
        edge.await_metric(REFUSED, &[("reason", reason)], before + 1.0).await;
    }
    let half = &V1[..20];
    let mut stream = tokio::net::TcpStream::connect(edge.http()).await.unwrap();
    stream.write_all(half).await.unwrap();
    drop(stream);
    edge.await_metric(REFUSED, &[("reason", "cut")], 1.0).await;
    // A probe that connects and leaves has done nothing wrong.
    drop(tokio::net::TcpStream::connect(edge.http()).await.unwrap());
    assert_eq!(status_after(&edge, V1).await, 200);
    assert_eq!(edge.metrics().await.sum(REFUSED, &[]), 9.0);
    assert_eq!(clients(&edge.await_access_lines(1).await), ["192.0.2.7"]);
}

/// Neither who says nothing nor who says a byte now and then holds a connection beyond the time for a request's header.
#[tokio::test]
async fn a_header_has_so_much_time() {
    let origin = origin().await;
    let server = format!("{REQUIRED}\nrequest_timeout = \"300ms\"");
    let edge = Setup::before(&origin).server(&server).tls().start().await;
    let (https, _) = edge.https();
    for address in [edge.http(), https] {
        let mut silent = Http1::connect(address).await;
        let mut slow = Http1::connect(address).await;
        slow.send_bytes(&V1[..10]).await;
        let drip = async {
            for byte in V1[10..20].iter().cycle().take(2_000) {
                slow.send_bytes(&[*byte]).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            unreachable!("twenty seconds");
        };
        tokio::select! {
            closed = silent.is_closed() => assert!(closed),
            () = drip => {}
        }
        assert!(slow.is_closed().await);
    }
    edge.await_metric(REFUSED, &[("reason", "timeout")], 4.0).await;
}

/// Who is not listed speaks for itself alone: what it says before HTTP is a request that is none.
#[tokio::test]
async fn a_header_from_elsewhere_is_not_believed() {
    let origin = origin().await;
    let elsewhere = "proxy_protocol = { from = [\"192.0.2.0/24\", \"2001:db8::/32\"] }";
    let edge = Setup::before(&origin).server(elsewhere).tls().start().await;
    for header in [V1.to_vec(), v2("192.0.2.7".parse().ok(), &[])] {
        let mut viewer = Http1::connect(edge.http()).await;
        viewer.send_bytes(&header).await;
        viewer.send(&Request::get("/a.ts")).await;
        if let Some(head) = viewer.try_head("GET").await {
            assert_eq!(head.status, 400);
        }
        let (https, roots) = edge.https();
        assert!(client::tls_after(&header, https, roots, &["http/1.1"]).await.is_err());
    }
    assert_eq!(status_after(&edge, b"").await, 200);
    let lines = edge.await_access_lines(1).await;
    assert!(lines.iter().all(|line| line["client_ip"] != "192.0.2.7"), "{lines:?}");
    assert_eq!(edge.metrics().await.sum(REFUSED, &[]), 0.0);
}

/// With `required = false` a connection may do without, whatever its first bytes have in common with a header.
#[tokio::test]
async fn where_a_header_is_not_required_nothing_is_lost_without_one() {
    let origin = origin().await;
    let server = format!("{OPTIONAL}\nh2c = true");
    let edge =
        Setup::before(&origin).server(&server).tls().site("methods = [\"GET\", \"POST\"]").start().await;
    assert_eq!(status_after(&edge, b"").await, 200);
    let post = Request::new("POST", "/a.ts").body("x");
    assert_eq!(edge.ask(&post).await.status(), 200);
    let mut slow = Http1::connect(edge.http()).await;
    for byte in b"PROP /a.ts HTTP/1.1\r\nHost: edge.test\r\n\r\n" {
        slow.send_bytes(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(slow.response("GET").await.status(), 405);
    assert_eq!(Http2::connect(edge.http()).await.get("/a.ts").await.status(), 200);
    let (https, roots) = edge.https();
    let mut viewer = Http1::over_tls(client::tls(https, roots, &["http/1.1"]).await.unwrap());
    assert_eq!(viewer.ask(&Request::get("/a.ts")).await.status(), 200);
    assert_eq!(clients(&edge.await_access_lines(5).await), ["127.0.0.1"; 5]);
    // What begins as a header has to be one.
    assert!(is_closed_after(&edge, b"PROXY nonsense\r\n").await);
    assert_eq!(status_after(&edge, V1).await, 200);
    assert_eq!(clients(&edge.await_access_lines(6).await)[5], "192.0.2.7");
}

/// Under TLS the header stands before the hello, whose fingerprint is known all the same; over HTTP/2 as over HTTP/1.1.
#[tokio::test]
async fn tls_and_its_fingerprint_come_after_the_header() {
    let origin = origin().await;
    let setup = Setup::before(&origin).server(REQUIRED).tls();
    for telling in [true, false] {
        let edge = setup.clone().log(&format!("tls_fingerprint = {telling}")).start().await;
        let (https, roots) = edge.https();
        for header in [V1.to_vec(), v2("192.0.2.7".parse().ok(), &[])] {
            let stream = client::tls_after(&header, https, roots, &["http/1.1"]).await.unwrap();
            let mut viewer = Http1::over_tls(stream);
            for _ in 0..2 {
                assert_eq!(viewer.ask(&Request::get("/a.ts")).await.status(), 200);
            }
            let stream = client::tls_after(&header, https, roots, &["h2"]).await.unwrap();
            assert_eq!(Http2::over_tls(stream).await.get("/a.ts").await.status(), 200);
        }
        let lines = edge.await_access_lines(6).await;
        assert_eq!(clients(&lines), ["192.0.2.7"; 6]);
        for line in &lines {
            let ja4 = line["tls_fingerprint"].as_str();
            assert_eq!(ja4.is_some_and(|ja4| ja4.starts_with("t13d")), telling, "{line}");
        }
        assert!(client::tls(https, roots, &["h2"]).await.is_err(), "no header, and a session all the same");
        edge.await_metric(REFUSED, &[("reason", "missing")], 1.0).await;
    }
}

/// A hot body, which plaintext connections are sent without a copy, is whole behind a header too.
#[tokio::test]
async fn bodies_without_a_copy_are_whole() {
    let origin = Origin::start().await;
    let body = content(7, 700_001);
    origin.on("/seg.ts", Answer::ok(body.clone()).cache_control("max-age=600"));
    let edge = Setup::before(&origin).server(REQUIRED).start().await;
    let mut viewer = Http1::connect(edge.http()).await;
    viewer.send_bytes(V1).await;
    for _ in 0..100 {
        let response = viewer.ask(&Request::get("/seg.ts")).await;
        assert_same_bytes(response.whole(), &body, "the body");
    }
    assert!(edge.metrics().await.sum("forebay_cache_moves_total", &[]) >= 1.0, "nothing has moved");
}

/// `trusted_proxies` goes by the address in the header: a proxy behind the load balancer is believed, a viewer is not.
/// What a client may do, here to purge, goes by it too.
#[tokio::test]
async fn forwarded_addresses_and_permissions_go_by_the_named_client() {
    let origin = origin().await;
    let mut server = String::from(REQUIRED);
    write!(server, "\ntrusted_proxies = [\"198.51.100.0/24\", \"127.0.0.0/8\"]").unwrap();
    let edge =
        Setup::before(&origin).server(&server).more("[purge]\nmethod_from = [\"192.0.2.7\"]").start().await;
    let ask = async |from: &str, method: &str| {
        let mut viewer = Http1::connect(edge.http()).await;
        viewer.send_bytes(format!("PROXY TCP4 {from} 10.0.0.1 1 2\r\n").as_bytes()).await;
        let request = Request::new(method, "/a.ts").header("x-forwarded-for", "203.0.113.9");
        viewer.ask(&request).await.status()
    };
    let asked = [
        ("198.51.100.1", "GET", 200, "203.0.113.9"),
        ("192.0.2.7", "GET", 200, "192.0.2.7"),
        ("192.0.2.7", "PURGE", 200, "192.0.2.7"),
        ("192.0.2.6", "PURGE", 403, "192.0.2.6"),
    ];
    for (number, (from, method, status, client)) in asked.into_iter().enumerate() {
        assert_eq!(ask(from, method).await, status, "{method} by {from}");
        let lines = edge.await_access_lines(number + 1).await;
        assert_eq!(clients(&lines)[number], client, "{method} by {from}");
    }
}
