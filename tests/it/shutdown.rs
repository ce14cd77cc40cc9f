//! A stopping node ends what it has begun, begins nothing new, and does not stay for ever.

use crate::support::client::{End, Http1, Http2, Request};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::wait::{Gate, within};

const LENGTH: usize = 500_000;

/// A node with `/1.m4s` standing at a gate in mid-body.
async fn node(server: &str) -> (Origin, Edge, Gate) {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let answer = Answer::ok(content(1, LENGTH)).cache_control("max-age=60").gate_at(100_000, &gate);
    origin.on("/1.m4s", answer);
    let edge = Setup::before(&origin).server(server).start().await;
    (origin, edge, gate)
}

/// Waits until new connections are refused, or closed without an answer.
async fn await_refusal(edge: &Edge) {
    within("refusal of new connections", async {
        loop {
            let Ok(stream) = tokio::net::TcpStream::connect(edge.http()).await else { return };
            drop(stream);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// SIGTERM: a transfer under way is finished whole, new connections are refused meanwhile, and the process ends with 0.
#[tokio::test]
async fn a_transfer_under_way_is_finished() {
    let (_origin, edge, gate) = node("drain_timeout = \"60s\"").await;
    let mut viewer = edge.open(&Request::get("/1.m4s")).await;
    viewer.head("GET").await;
    let start = viewer.at_least(100_000).await.expect("the first part");
    edge.terminate();
    await_refusal(&edge).await;
    assert!(!edge.has_ended(), "the process ended under a transfer");
    gate.open();
    let (rest, end) = viewer.rest().await;
    assert_eq!(end, End::Clean);
    assert_same_bytes(&[start, rest.to_vec()].concat(), &content(1, LENGTH), "the viewer");
    drop(viewer);
    assert_eq!(edge.ended().await.code(), Some(0));
}

/// As over HTTP/1.1, for a stream of HTTP/2.
#[tokio::test]
async fn an_http2_stream_under_way_is_finished() {
    let (_origin, edge, gate) = node("drain_timeout = \"60s\"\nh2c = true").await;
    let connection = Http2::connect(edge.http()).await;
    let mut viewer = connection.start(&Request::get("/1.m4s")).await.expect("a header");
    edge.terminate();
    await_refusal(&edge).await;
    gate.open();
    assert_same_bytes(viewer.read_to_end().await.whole(), &content(1, LENGTH), "the viewer");
    drop((viewer, connection));
    assert_eq!(edge.ended().await.code(), Some(0));
}

/// A transfer that does not end is broken off after `drain_timeout`, and the process ends with 0.
#[tokio::test]
async fn the_drain_is_bounded() {
    let (_origin, edge, _gate) = node("drain_timeout = \"300ms\"").await;
    let mut viewer = edge.open(&Request::get("/1.m4s")).await;
    viewer.head("GET").await;
    viewer.at_least(100_000).await.expect("the first part");
    edge.terminate();
    assert_eq!(edge.ended().await.code(), Some(0));
    let (_, end) = viewer.rest().await;
    assert!(matches!(end, End::Broken(_)), "a cut transfer looks whole");
}

/// An idle kept connection does not hold up the end: with a drain of ten minutes the process still ends at once.
#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let (_origin, edge, gate) = node("drain_timeout = \"10m\"\nidle_timeout = \"10m\"").await;
    gate.open();
    let mut idle = Http1::connect(edge.http()).await;
    assert_eq!(idle.ask(&Request::get("/1.m4s")).await.status(), 200);
    edge.terminate();
    assert_eq!(edge.ended().await.code(), Some(0));
}

/// A node without connections ends at once, and has written a line for every request it served.
#[tokio::test]
async fn every_access_line_is_written_before_the_end() {
    let (_origin, edge, gate) = node("drain_timeout = \"60s\"").await;
    gate.open();
    for _ in 0..50 {
        edge.get("/1.m4s").await.whole();
    }
    let (status, _) = edge.stop().await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(edge.access_lines().len(), 50);
}

/// Ctrl-C (SIGINT) ends the process in order as well.
#[tokio::test]
async fn an_interrupt_ends_it_in_order() {
    let (_origin, edge, gate) = node("drain_timeout = \"60s\"").await;
    let mut viewer = edge.open(&Request::get("/1.m4s")).await;
    viewer.head("GET").await;
    edge.interrupt();
    await_refusal(&edge).await;
    gate.open();
    let (body, end) = viewer.rest().await;
    assert_eq!(end, End::Clean);
    assert_same_bytes(&body, &content(1, LENGTH), "the viewer");
    drop(viewer);
    assert_eq!(edge.ended().await.code(), Some(0));
}
