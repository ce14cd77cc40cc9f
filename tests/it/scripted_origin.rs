//! The scripted origin and the strict client hold what the other tests rely on.

use bytes::Bytes;

use crate::support::client::{End, Http1, Http2, Request, ask, get};
use crate::support::content::{assert_same_bytes, content};
use crate::support::origin::{Answer, Origin};
use crate::support::wait::Gate;

/// Length, chunks and the closed connection each delimit a body, and the client reads all three to a clean end.
#[tokio::test]
async fn every_framing_ends_cleanly() {
    let origin = Origin::start().await;
    let body = content(1, 300_000);
    origin.on("/length", Answer::ok(body.clone()));
    origin.on("/chunked", Answer::ok(body.clone()).chunked());
    origin.on("/close", Answer::ok(body.clone()).until_close());
    for path in ["/length", "/chunked", "/close"] {
        let response = get(origin.address(), path).await;
        assert_same_bytes(response.whole(), &body, path);
    }
    assert_eq!(origin.requests("/length"), 1);
    assert_eq!(get(origin.address(), "/none").await.status(), 404);
}

/// A body cut short is broken for the client, whether closed or reset, with length or with chunks.
#[tokio::test]
async fn a_cut_body_is_broken() {
    let origin = Origin::start().await;
    let body = content(2, 100_000);
    origin.on("/closed", Answer::ok(body.clone()).close_after(60_000));
    origin.on("/reset", Answer::ok(body.clone()).reset_after(60_000));
    origin.on("/chunked", Answer::ok(body.clone()).chunked().close_after(60_000));
    origin.on("/short", Answer::ok(body.clone()).claiming_length(100_001));
    for path in ["/closed", "/reset", "/chunked", "/short"] {
        let response = get(origin.address(), path).await;
        assert_eq!(response.status(), 200);
        assert!(matches!(response.end, End::Broken(_)), "{path}: {:?}", response.end);
    }
    origin.on("/raw", Answer::raw(&b"HTTP/1.1 200 OK\r\ncontent-le"[..]));
    let mut connection = Http1::connect(origin.address()).await;
    connection.send(&Request::get("/raw")).await;
    assert!(connection.try_head("GET").await.is_none());
}

/// A gate holds what stands behind it, and nothing before it.
#[tokio::test]
async fn a_gate_holds_the_rest_of_a_body() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let body = content(3, 1000);
    origin.on("/gated", Answer::ok(body.clone()).gate_at(400, &gate));
    let mut connection = Http1::connect(origin.address()).await;
    connection.send(&Request::get("/gated")).await;
    connection.head("GET").await;
    let first = connection.at_least(400).await.expect("the first part");
    assert_eq!(first.len(), 400);
    gate.open();
    let (rest, end) = connection.rest().await;
    assert_eq!(end, End::Clean);
    assert_same_bytes(&[first, rest.to_vec()].concat(), &body, "both parts");
}

/// A client that leaves at a gate is noticed as departed.
#[tokio::test]
async fn a_departed_client_is_noticed() {
    let origin = Origin::start().await;
    origin.on("/held", Answer::ok(Bytes::from_static(b"x")).hold(&Gate::closed()));
    let mut connection = Http1::connect(origin.address()).await;
    connection.send(&Request::get("/held")).await;
    origin.await_requests("/held", 1).await;
    drop(connection);
    origin.await_departed("/held", 1).await;
}

/// Conditions are answered with 304 where the script has a validator, and bodies of requests are recorded.
#[tokio::test]
async fn conditions_and_bodies_are_understood() {
    let origin = Origin::start().await;
    origin.on("/tagged", Answer::ok("abc").etag("\"v1\""));
    let same = ask(origin.address(), &Request::get("/tagged").header("if-none-match", "\"v1\"")).await;
    assert_eq!((same.status(), same.body.len()), (304, 0));
    let other = ask(origin.address(), &Request::get("/tagged").header("if-none-match", "\"v2\"")).await;
    assert_eq!(other.status(), 200);
    ask(origin.address(), &Request::new("POST", "/tagged?a=b").body("posted")).await;
    let recorded = origin.last("/tagged");
    assert_eq!((recorded.method.as_str(), recorded.target.as_str()), ("POST", "/tagged?a=b"));
    assert_eq!(recorded.body, b"posted");
}

/// A stopped origin refuses connections on the same port until it is restarted.
#[tokio::test]
async fn a_stopped_origin_refuses_until_restarted() {
    let mut origin = Origin::start().await;
    origin.on_each("/x", vec![Answer::ok("one"), Answer::ok("two")]);
    let address = origin.address();
    assert_eq!(get(address, "/x").await.body, "one");
    origin.stop().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    origin.restart();
    assert_eq!(get(address, "/x").await.body, "two");
    assert_eq!(origin.requests("/x"), 2);
}

/// The HTTP/2 client tells END_STREAM behind the whole body from END_STREAM short of it and from a reset.
#[tokio::test]
async fn the_http2_client_knows_a_broken_stream() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let answer = http::Response::builder().header("content-length", "6").body(()).expect("an answer");
            let mut body = respond.send_response(answer, false).expect("a stream");
            match request.uri().path() {
                "/whole" => body.send_data(Bytes::from_static(b"abcdef"), true).expect("data"),
                "/short" => {
                    body.send_data(Bytes::from_static(b"abc"), false).expect("data");
                    body.send_trailers(http::HeaderMap::new()).expect("an end");
                }
                _ => {
                    body.send_data(Bytes::from_static(b"abc"), false).expect("data");
                    body.send_reset(h2::Reason::INTERNAL_ERROR);
                }
            }
        }
    });
    let connection = Http2::connect(address).await;
    assert_eq!(connection.get("/whole").await.whole(), "abcdef");
    let short = connection.get("/short").await;
    assert!(matches!(short.end, End::Broken(_)), "{:?}", short.end);
    // A reset may overtake the header; then there is no answer at all.
    if let Ok(mut body) = connection.start(&Request::get("/reset")).await {
        assert!(matches!(body.read_to_end().await.end, End::Broken(_)));
    }
}
