//! One origin fetch serves every viewer of an object, and no viewer can slow, break or own it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::support::client::{End, Http1, Http2, Request};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::Setup;
use crate::support::origin::{Answer, Origin};
use crate::support::wait::{Gate, eventually, within};

const MIB: usize = 1024 * 1024;

/// Reads a body while comparing it, so that a thousand of them need not be held; counts the reader at its first byte.
async fn read_exactly(connection: &mut Http1, expected: &Bytes, started: &AtomicUsize, who: usize) {
    let mut at = 0;
    while let Some(piece) = connection.next().await {
        let piece = piece.unwrap_or_else(|broken| panic!("client {who} after {at} bytes: {broken}"));
        assert!(at + piece.len() <= expected.len(), "client {who}: more than the body");
        assert_same_bytes(&piece, &expected[at..at + piece.len()], "a piece of the body");
        if at == 0 {
            started.fetch_add(1, Ordering::AcqRel);
        }
        at += piece.len();
    }
    assert_eq!(at, expected.len(), "client {who}");
}

/// 200 players ask for one cold segment at once: the origin sees one request, every player gets every byte, and each has
/// bytes before the origin has sent its last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_segment_is_fetched_once() {
    const CLIENTS: usize = 200;
    let origin = Origin::start().await;
    let body = content(1, 2 * MIB);
    let last_byte = Gate::closed();
    let answer = Answer::ok(body.clone()).cache_control("max-age=60").gate_at(body.len() - 1, &last_byte);
    origin.on("/live/1.m4s", answer);
    let edge = Setup::before(&origin).start().await;

    let started = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for who in 0..CLIENTS {
        let (address, body, started) = (edge.http(), body.clone(), Arc::clone(&started));
        clients.spawn(async move {
            let mut connection = Http1::connect(address).await;
            connection.send(&Request::get("/live/1.m4s")).await;
            let head = connection.head("GET").await;
            assert_eq!(head.status, 200);
            read_exactly(&mut connection, &body, &started, who).await;
            head.outcome().to_owned()
        });
    }
    eventually("first bytes at every client", || started.load(Ordering::Acquire) == CLIENTS).await;
    assert!(clients.try_join_next().is_none(), "a client ended before the origin's last byte");
    last_byte.open();

    let outcomes = clients.join_all().await;
    assert_eq!(origin.requests("/live/1.m4s"), 1);
    assert_eq!(outcomes.iter().filter(|word| *word == "miss").count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|word| *word == "coalesced").count(), CLIENTS - 1, "{outcomes:?}");
    let after = edge.get("/live/1.m4s").await;
    assert_eq!((after.outcome(), after.whole()), ("hit", &body));
}

/// A thousand players ask for one cold 2 MB segment that the origin delivers over a second: one request, no error, every
/// body exact.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_share_one_fetch() {
    const CLIENTS: usize = 1000;
    let origin = Origin::start().await;
    let body = content(2, 2 * MIB);
    let answer = Answer::ok(body.clone()).cache_control("max-age=60").paced(20, Duration::from_secs(1));
    origin.on("/live/2.m4s", answer);
    let edge = Setup::before(&origin).start().await;

    let started = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for who in 0..CLIENTS {
        let (address, body, started) = (edge.http(), body.clone(), Arc::clone(&started));
        clients.spawn(async move {
            let mut connection = Http1::connect(address).await;
            connection.send(&Request::get("/live/2.m4s")).await;
            assert_eq!(connection.head("GET").await.status, 200);
            read_exactly(&mut connection, &body, &started, who).await;
        });
    }
    clients.join_all().await;
    assert_eq!(origin.requests("/live/2.m4s"), 1);
}

/// The first viewer over HTTP/1.1 never reads: the second gets the whole object meanwhile, and the first still can
/// afterwards.
#[tokio::test]
async fn a_first_viewer_that_never_reads_does_not_slow_the_second_over_http1() {
    let origin = Origin::start().await;
    let body = content(3, 4 * MIB);
    origin.on("/live/3.m4s", Answer::ok(body.clone()).cache_control("max-age=60"));
    let edge = Setup::before(&origin).start().await;

    let mut first = Http1::connect_with_tiny_buffer(edge.http()).await;
    first.send(&Request::get("/live/3.m4s")).await;
    origin.await_requests("/live/3.m4s", 1).await;
    let second = edge.get("/live/3.m4s").await;
    assert_same_bytes(second.whole(), &body, "the second viewer");

    let first = first.response("GET").await;
    assert_same_bytes(first.whole(), &body, "the first viewer");
    assert_eq!(origin.requests("/live/3.m4s"), 1);
}

/// The first viewer over HTTP/2 never gives its window back: a second one, on another connection and on the same one,
/// gets the whole object meanwhile.
#[tokio::test]
async fn a_first_viewer_that_never_reads_does_not_slow_the_second_over_http2() {
    let origin = Origin::start().await;
    let body = content(4, 4 * MIB);
    origin.on("/live/4.m4s", Answer::ok(body.clone()).cache_control("max-age=60"));
    let edge = Setup::before(&origin).server("h2c = true").start().await;

    let connection = Http2::connect(edge.http()).await;
    let mut first = connection.start(&Request::get("/live/4.m4s")).await.expect("a header");
    let other = Http2::connect(edge.http()).await;
    assert_same_bytes(other.get("/live/4.m4s").await.whole(), &body, "another connection");
    assert_same_bytes(connection.get("/live/4.m4s").await.whole(), &body, "the same connection");

    let first = first.read_to_end().await;
    assert_same_bytes(first.whole(), &body, "the first viewer");
    assert_eq!(origin.requests("/live/4.m4s"), 1);
}

/// The first viewer leaves in mid-body: the second gets the rest from the same fetch.
#[tokio::test]
async fn a_leaving_first_viewer_does_not_end_the_fetch_over_http1() {
    let origin = Origin::start().await;
    let body = content(5, MIB);
    let rest = Gate::closed();
    let answer = Answer::ok(body.clone()).cache_control("max-age=60").gate_at(100_000, &rest);
    origin.on("/live/5.m4s", answer);
    let edge = Setup::before(&origin).start().await;

    let mut first = edge.open(&Request::get("/live/5.m4s")).await;
    assert_eq!(first.head("GET").await.outcome(), "miss");
    first.at_least(1000).await.expect("first bytes");
    let mut second = edge.open(&Request::get("/live/5.m4s")).await;
    assert_eq!(second.head("GET").await.outcome(), "coalesced");
    let start = second.at_least(1000).await.expect("first bytes");
    drop(first);
    rest.open();
    let (tail, end) = second.rest().await;
    assert_eq!(end, End::Clean);
    assert_same_bytes(&[start, tail.to_vec()].concat(), &body, "the second viewer");
    assert_eq!(origin.requests("/live/5.m4s"), 1);
}

/// As over HTTP/1.1, with the first viewer resetting its stream.
#[tokio::test]
async fn a_leaving_first_viewer_does_not_end_the_fetch_over_http2() {
    let origin = Origin::start().await;
    let body = content(6, MIB);
    let rest = Gate::closed();
    let answer = Answer::ok(body.clone()).cache_control("max-age=60").gate_at(50_000, &rest);
    origin.on("/live/6.m4s", answer);
    let edge = Setup::before(&origin).server("h2c = true").start().await;

    let connection = Http2::connect(edge.http()).await;
    let mut first = connection.start(&Request::get("/live/6.m4s")).await.expect("a header");
    first.next().await.expect("data").expect("data");
    let mut second = connection.start(&Request::get("/live/6.m4s")).await.expect("a header");
    drop(first);
    rest.open();
    let second = second.read_to_end().await;
    assert_same_bytes(second.whole(), &body, "the second viewer");
    assert_eq!(origin.requests("/live/6.m4s"), 1);
}

/// A fetch that lost its last reader below `abandon_below` is given up; nothing of it is kept.
#[tokio::test]
async fn a_fetch_nobody_reads_is_given_up_early() {
    let origin = Origin::start().await;
    let body = content(7, MIB);
    let (early, late) = (Gate::closed(), Gate::closed());
    let answer = Answer::ok(body.clone()).cache_control("max-age=60");
    let gated = answer.clone().gate_at(100_000, &early).gate_at(200_000, &late);
    origin.on_each("/big.bin", vec![gated, answer]);
    let edge = Setup::before(&origin).limits("abandon_below = 50").start().await;

    let mut viewer = edge.open(&Request::get("/big.bin")).await;
    viewer.head("GET").await;
    viewer.at_least(1000).await.expect("first bytes");
    drop(viewer);
    early.open();
    origin.await_departed("/big.bin", 1).await;
    let next = edge.get("/big.bin").await;
    assert_eq!(next.outcome(), "miss");
    assert_same_bytes(next.whole(), &body, "the next viewer");
    assert_eq!(origin.requests("/big.bin"), 2);
}

/// A fetch that lost its last reader above `abandon_below` goes on, and the object is kept.
#[tokio::test]
async fn a_fetch_nobody_reads_is_finished_late() {
    let origin = Origin::start().await;
    let body = content(8, MIB);
    let (late, last) = (Gate::closed(), Gate::closed());
    let answer = Answer::ok(body.clone()).cache_control("max-age=60");
    origin.on("/big.bin", answer.gate_at(MIB * 8 / 10, &late).gate_at(MIB - 1, &last));
    let edge = Setup::before(&origin).limits("abandon_below = 50").start().await;

    let mut viewer = edge.open(&Request::get("/big.bin")).await;
    viewer.head("GET").await;
    viewer.at_least(MIB * 8 / 10).await.expect("most of it");
    drop(viewer);
    late.open();
    last.open();
    edge.await_metric("forebay_cache_objects", &[], 1.0).await;
    let next = edge.get("/big.bin").await;
    assert_eq!(next.outcome(), "hit");
    assert_same_bytes(next.whole(), &body, "the next viewer");
    assert_eq!(origin.requests("/big.bin"), 1);
}

/// Viewers who come while the origin still prepares its header wait for that one answer, and a slow object does not hold
/// up another one.
#[tokio::test]
async fn waiting_for_one_object_does_not_hold_up_another() {
    let origin = Origin::start().await;
    let header = Gate::closed();
    origin.on("/live/slow.m4s", Answer::ok("slow").cache_control("max-age=60").hold(&header));
    origin.on("/live/quick.m4s", Answer::ok("quick").cache_control("max-age=60"));
    let edge = Setup::before(&origin).start().await;

    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(edge.open(&Request::get("/live/slow.m4s")).await);
    }
    origin.await_requests("/live/slow.m4s", 1).await;
    assert_eq!(edge.get("/live/quick.m4s").await.whole(), "quick");
    header.open();
    for mut connection in waiting {
        let response = within("the slow answer", connection.response("GET")).await;
        assert_eq!(response.whole(), "slow");
    }
    assert_eq!(origin.requests("/live/slow.m4s"), 1);
}

/// Viewers who wait for the same update of a Low-Latency playlist are one request at the origin, which holds it; another
/// update is another request, and all are answered when the origin answers.
#[tokio::test]
async fn a_blocking_reload_is_one_origin_request_for_all() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    origin.script("/live.m3u8", move |request, _| {
        let text = format!(
            "#EXTM3U\n#EXT-X-TARGETDURATION:600\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.0\n\
             #EXT-X-PART-INF:PART-TARGET=0.33\n#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:2,\n1.m4s\n## {}\n",
            request.target
        );
        Answer::ok(text).hold(&held)
    });
    let edge = Setup::before(&origin).start().await;
    let mut waiting = Vec::new();
    for viewer in 0..20 {
        let target = match viewer % 2 {
            0 => "/live.m3u8?_HLS_msn=2&_HLS_part=0",
            _ => "/live.m3u8?_HLS_part=1&_HLS_msn=2",
        };
        waiting.push((viewer % 2, edge.open(&Request::get(target)).await));
    }
    origin.await_requests("/live.m3u8", 2).await;
    gate.open();
    for (part, mut connection) in waiting {
        let response = connection.response("GET").await;
        let text = String::from_utf8_lossy(response.whole()).into_owned();
        assert!(text.contains("_HLS_msn=2") && text.contains(&format!("_HLS_part={part}")), "{text}");
    }
    assert_eq!(origin.requests("/live.m3u8"), 2);
}

/// A fetch in the background whose answer is not kept has no reader, and never will have one that matters.
#[tokio::test]
async fn a_refresh_that_cannot_be_kept_is_given_up() {
    const PATH: &str = "/seg/refresh.m4s";
    let origin = Origin::start().await;
    let old = Answer::ok("old").cache_control("max-age=0, stale-while-revalidate=600");
    let unkept = Answer::ok(content(1, 32 << 20)).cache_control("no-store");
    origin.on_each(PATH, vec![old, unkept]);
    let edge = Setup::before(&origin).limits("window = \"256KiB\"").start().await;
    assert_eq!(edge.get(PATH).await.outcome(), "miss");
    assert_eq!(edge.get(PATH).await.outcome(), "hit_stale");
    origin.await_departed(PATH, 1).await;
}
