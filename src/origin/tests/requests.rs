//! What an origin is told, and what it is not.

use http::{HeaderValue, header};

use super::scripted::{Scripted, answer};
use super::*;
use crate::origin::OriginSetupError;

#[tokio::test]
async fn only_the_named_headers_are_sent() {
    let server = Scripted::always(answer(200, "segment")).await;
    let (group, registry) = set_up(&origin(vec![server.server()]));
    let mut headers = HeaderMap::new();
    headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"a\""));
    headers.append(header::VIA, HeaderValue::from_static("1.1 child"));
    headers.append(header::HOST, HeaderValue::from_static("evil.example"));
    headers.append(header::CONNECTION, HeaderValue::from_static("close"));
    headers.append(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    headers.append(header::CONTENT_LENGTH, HeaderValue::from_static("4"));
    let request = FetchRequest { headers, reason: FetchReason::Revalidate, ..get("/live/a.m3u8?_HLS_msn=3") };
    body(&mut group.fetch(&request).await.unwrap()).await.unwrap();

    let seen = &server.seen()[0];
    assert!(seen.head.starts_with("GET /live/a.m3u8?_HLS_msn=3 HTTP/1.1\r\n"));
    assert_eq!(seen.header("host"), [server.server().authority()]);
    assert_eq!(seen.header("accept-encoding"), ["identity"]);
    assert_eq!(seen.header("user-agent"), [concat!("forebay/", env!("CARGO_PKG_VERSION"))]);
    assert_eq!(seen.header("via"), ["1.1 child", "1.1 forebay"]);
    assert_eq!(seen.header("if-none-match"), ["\"a\""]);
    assert!(seen.header("cdn-loop")[0].starts_with("forebay-"), "{}", seen.head);
    assert_eq!(seen.head.lines().filter(|line| line.contains(": ")).count(), 7, "{}", seen.head);
    assert_eq!(metric(&registry, "forebay_origin_requests_total", &[("reason", "revalidate")]), 1);
    assert_eq!(metric(&registry, "forebay_origin_response_bytes_total", &[("origin", "main")]), 7);
    assert_eq!(metric(&registry, "forebay_origin_first_byte_seconds", &[("origin", "main")]), 1);
}

#[tokio::test]
async fn the_configured_host_and_the_callers_coding_take_the_place_of_the_defaults() {
    let server = Scripted::always(answer(200, "segment")).await;
    let config = Origin { host: Some("live.example.com".to_owned()), ..origin(vec![server.server()]) };
    let (group, _registry) = set_up(&config);
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    group.fetch(&FetchRequest { headers, ..get("/x") }).await.unwrap();
    assert_eq!(server.seen()[0].header("host"), ["live.example.com"]);
    assert_eq!(server.seen()[0].header("accept-encoding"), ["gzip"]);
    assert_eq!(group.upstream_peer(&Method::GET).await.unwrap().host, "live.example.com");
}

#[tokio::test]
async fn a_target_that_would_break_the_request_line_is_never_sent() {
    let server = Scripted::always(answer(200, "segment")).await;
    let (group, _registry) = set_up(&origin(vec![server.server()]));
    for target in ["", "x", "http://evil.example/", "/a b", "/a\r\nX: y", "/a\0", "/a\u{7f}"] {
        let error = group.fetch(&get(target)).await.err().unwrap();
        assert_eq!((error.as_str(), error.status()), ("request", 400), "{target:?}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn all_addresses_of_a_name_are_tried() {
    // `localhost` commonly stands for ::1 and 127.0.0.1; the server listens on the latter only.
    let server = Scripted::always(answer(200, "segment")).await;
    let place = OriginServer { host: "localhost".to_owned(), ..server.server() };
    let mut config = origin(vec![place]);
    config.retry.attempts = 1;
    let (group, _registry) = set_up(&config);
    for _ in 0..2 {
        body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap();
    }
    assert_eq!(server.seen()[1].connection, 0);
    assert_eq!(server.seen()[0].header("host"), [format!("localhost:{}", server.address.port())]);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_an_error_of_its_own() {
    let place = OriginServer { tls: false, host: "no-such-host.invalid".to_owned(), port: 80 };
    let (group, registry) = set_up(&origin(vec![place]));
    let error = group.fetch(&get("/x")).await.err().unwrap();
    assert_eq!((error.as_str(), error.status()), ("resolve", 502));
    assert_eq!(group.upstream_peer(&Method::GET).await.err().unwrap().as_str(), "resolve");
    assert_eq!(metric(&registry, "forebay_origin_requests_total", &[]), 0);
}

#[tokio::test]
async fn a_peer_for_the_engine_is_bounded_and_refuses_upgrades() {
    use pingora::upstreams::peer::{HttpUpstreamRequestPolicy, Peer};
    let server = Scripted::always(answer(200, "segment")).await;
    let (group, registry) = set_up(&origin(vec![server.server()]));
    let mut chosen = group.upstream_peer(&Method::GET).await.unwrap();
    let options = &chosen.peer.options;
    assert_eq!(chosen.peer.address().as_inet(), Some(&server.address));
    assert_eq!(options.total_connection_timeout, Some(PATIENCE));
    assert_eq!(options.read_timeout, Some(PATIENCE));
    assert_eq!(options.http_upstream_request_policy, HttpUpstreamRequestPolicy::deny_upgrades());
    assert_eq!((options.alpn.get_min_http_version(), options.alpn.get_max_http_version()), (1, 1));
    assert!(options.verify_cert && options.verify_hostname);
    chosen.count_request();
    chosen.count_body(9).unwrap();
    chosen.connect_failed();
    assert_eq!(metric(&registry, "forebay_origin_requests_total", &[("reason", "bypass")]), 1);
    assert_eq!(metric(&registry, "forebay_origin_response_bytes_total", &[]), 9);
    assert_eq!(metric(&registry, "forebay_origin_errors_total", &[("error", "connect")]), 1);
}

#[test]
fn a_host_that_cannot_be_sent_is_a_set_up_error() {
    let families = OriginFamilies::new(&Registry::new()).unwrap();
    for host in ["", "a b", "a\r\nX: y", "käse.example"] {
        let place = OriginServer { tls: false, host: "127.0.0.1".to_owned(), port: 80 };
        let config = Origin { host: Some(host.to_owned()), ..origin(vec![place]) };
        let error = Origins::new(&[config], &families).err().unwrap();
        assert!(matches!(error, OriginSetupError::Host { .. }), "{host:?}: {error}");
    }
}

#[test]
fn a_new_configuration_forgets_the_servers_of_the_old_one() {
    let registry = Registry::new();
    let families = OriginFamilies::new(&registry).unwrap();
    let place = |port| OriginServer { tls: false, host: "127.0.0.1".to_owned(), port };
    let _old = Origins::new(&[origin(vec![place(1)])], &families).unwrap();
    let _new = Origins::new(&[origin(vec![place(2)])], &families).unwrap();
    assert_eq!(metric(&registry, "forebay_origin_healthy", &[("server", "127.0.0.1:1")]), 0);
    assert_eq!(metric(&registry, "forebay_origin_healthy", &[("server", "127.0.0.1:2")]), 1);
    assert!(OriginFamilies::new(&registry).is_err(), "families are registered once");
}

#[test]
fn reasons_and_their_places_agree() {
    for (place, reason) in FetchReason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, place);
    }
}
