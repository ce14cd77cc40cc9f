//! Bounds hold, and what is beyond them gets a clear answer at once.

use crate::support::client::{Http1, Request};
use crate::support::edge::Setup;
use crate::support::origin::{Answer, Origin};
use crate::support::wait::{Gate, eventually, within};

/// Connections beyond `limits.connections` are closed at accept and counted; one that ends makes room.
#[tokio::test]
async fn connections_beyond_the_cap_are_closed() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("here").cache_control("max-age=60"));
    let edge = Setup::before(&origin).limits("connections = 3").start().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut connection = Http1::connect(edge.http()).await;
        assert_eq!(connection.ask(&Request::get("/1.m4s")).await.status(), 200);
        open.push(connection);
    }
    for _ in 0..3 {
        let mut connection = Http1::connect(edge.http()).await;
        connection.send(&Request::get("/1.m4s")).await;
        assert!(connection.try_head("GET").await.is_none(), "a connection beyond the cap was served");
    }
    edge.await_metric("forebay_connections_refused_total", &[], 3.0).await;
    assert_eq!(open[0].ask(&Request::get("/1.m4s")).await.status(), 200);
    open.pop();
    within("room after a connection ended", async {
        loop {
            let mut connection = Http1::connect(edge.http()).await;
            connection.send(&Request::get("/1.m4s")).await;
            if connection.try_head("GET").await.is_some() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Whoever waits longer than `coalesce_wait` for another request's fetch gets 504; the one who started it is served.
#[tokio::test]
async fn a_wait_for_another_fetch_is_bounded() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/1.m4s", Answer::ok("late").cache_control("max-age=60").hold(&gate));
    let edge = Setup::before(&origin).limits("coalesce_wait = \"100ms\"").start().await;
    let mut first = edge.open(&Request::get("/1.m4s")).await;
    origin.await_requests("/1.m4s", 1).await;
    for _ in 0..3 {
        let response = edge.get("/1.m4s").await;
        assert_eq!((response.status(), response.outcome()), (504, "error"));
    }
    gate.open();
    assert_eq!(first.response("GET").await.whole(), "late");
    assert_eq!(edge.get("/1.m4s").await.outcome(), "hit");
    assert_eq!(origin.requests("/1.m4s"), 1);
}

/// Whoever waits longer than `coalesce_wait` for a revalidation gets the stale copy where that is allowed.
#[tokio::test]
async fn a_wait_for_a_revalidation_ends_with_the_stale_copy() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let old = Answer::ok("old").etag("\"1\"").cache_control("max-age=0, stale-if-error=60");
    let new = Answer::ok("new").etag("\"2\"").cache_control("max-age=60").hold(&gate);
    origin.on_each("/1.bin", vec![old, new]);
    let edge = Setup::before(&origin).limits("coalesce_wait = \"100ms\"").start().await;
    edge.get("/1.bin").await.whole();
    let mut first = edge.open(&Request::get("/1.bin")).await;
    origin.await_requests("/1.bin", 2).await;
    let response = edge.get("/1.bin").await;
    assert_eq!((response.status(), response.outcome()), (200, "hit_stale"));
    assert_eq!(response.whole(), "old");
    gate.open();
    assert_eq!(first.response("GET").await.status(), 200);
    assert_eq!(origin.requests("/1.bin"), 2);
}

/// Requests beyond `limits.waiters` of one fetch are answered 503 at once; the others are served.
#[tokio::test]
async fn waiters_beyond_the_cap_are_refused() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/1.m4s", Answer::ok("late").cache_control("max-age=60").hold(&gate));
    let edge = Setup::before(&origin).limits("waiters = 2").start().await;
    let first = edge.open(&Request::get("/1.m4s")).await;
    origin.await_requests("/1.m4s", 1).await;
    let mut asking = vec![first];
    for _ in 0..6 {
        asking.push(edge.open(&Request::get("/1.m4s")).await);
    }
    // With the starter counted or not, at least four of the six are beyond the cap.
    edge.await_metric("forebay_requests_total", &[("code", "503")], 4.0).await;
    gate.open();
    let mut statuses = Vec::new();
    for mut connection in asking {
        statuses.push(connection.response("GET").await.status());
    }
    assert_eq!(statuses[0], 200, "{statuses:?}");
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!((2..=3).contains(&served), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
}

/// No more than `limits.connections` requests stand at the origin; those behind wait their turn, in a bounded queue for a
/// bounded time, and are 503 beyond it.
#[tokio::test]
async fn the_origin_is_asked_no_more_than_it_may_be() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    origin.otherwise(move |_, _| Answer::ok("here").cache_control("max-age=60").hold(&held));
    let limits = "limits = { connections = 2, queue = \"20s\", queue_length = 3 }";
    let edge = Setup::before(&origin).origin(limits).start().await;
    let mut asking = Vec::new();
    for number in 0..10 {
        asking.push(edge.open(&Request::get(&format!("/{number}.m4s"))).await);
    }
    edge.await_metric("forebay_requests_total", &[("code", "503")], 5.0).await;
    eventually("both requests at the origin", || origin.recorded().len() >= 2).await;
    assert_eq!(origin.recorded().len(), 2);
    gate.open();
    let mut served = 0;
    for mut connection in asking {
        let response = connection.response("GET").await;
        match response.status() {
            200 => served += 1,
            other => assert_eq!(other, 503),
        }
    }
    assert_eq!((served, origin.most_open()), (5, 2));

    let brief = "limits = { connections = 1, queue = \"100ms\", queue_length = 10 }";
    let edge = Setup::before(&origin).origin(brief).start().await;
    let forever = Gate::closed();
    origin.on("/held.m4s", Answer::ok("late").hold(&forever));
    let _first = edge.open(&Request::get("/held.m4s")).await;
    origin.await_requests("/held.m4s", 1).await;
    assert_eq!(edge.get("/behind.m4s").await.status(), 503);
}

/// A client that sends nothing, or never finishes its header, is cut off after `request_timeout`.
#[tokio::test]
async fn a_client_that_never_finishes_its_header_is_cut_off() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("here").cache_control("max-age=60"));
    let edge = Setup::before(&origin).server("request_timeout = \"300ms\"").start().await;

    let mut half = Http1::connect(edge.http()).await;
    half.send_bytes(b"GET /1.m4s HTTP/1.1\r\nhost: edge").await;
    assert!(half.try_head("GET").await.is_none_or(|head| head.status == 408), "half a header");

    // A line every 20 ms: each read makes progress, the header as a whole does not end within its time.
    let mut slow = Http1::connect(edge.http()).await;
    slow.send_bytes(b"GET /1.m4s HTTP/1.1\r\n").await;
    for _ in 0..100 {
        slow.send_bytes(b"x: y\r\n").await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    slow.send_bytes(b"host: edge.test\r\n\r\n").await;
    assert!(slow.try_head("GET").await.is_none_or(|head| head.status == 408), "a header that trickles in");

    let mut silent = Http1::connect(edge.http()).await;
    assert!(silent.try_head("GET").await.is_none_or(|head| head.status == 408), "a silent client");
}

/// A kept connection without a request is closed after `idle_timeout`.
#[tokio::test]
async fn an_idle_client_is_cut_off() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("here").cache_control("max-age=60"));
    let edge = Setup::before(&origin).server("idle_timeout = \"1s\"").start().await;
    let mut idle = Http1::connect(edge.http()).await;
    assert_eq!(idle.ask(&Request::get("/1.m4s")).await.status(), 200);
    assert!(idle.is_closed().await);
}

/// A client that stops reading is cut off after `write_timeout`.
#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off() {
    let origin = Origin::start().await;
    let body = crate::support::content::content(1, 4 * 1024 * 1024);
    origin.on("/1.m4s", Answer::ok(body.clone()).cache_control("max-age=60"));
    let edge = Setup::before(&origin).server("write_timeout = \"200ms\"").start().await;
    let mut viewer = Http1::connect_with_tiny_buffer(edge.http()).await;
    viewer.send(&Request::get("/1.m4s")).await;
    eventually("an access line of the cut-off transfer", || !edge.access_lines().is_empty()).await;
    viewer.head("GET").await;
    let (got, end) = viewer.rest().await;
    assert!(got.len() < body.len());
    assert_ne!(end, crate::support::client::End::Clean);
    // One that reads gets all of it, unless this machine has kept it from reading for as long.
    within("the whole", async {
        loop {
            let response = edge.get("/1.m4s").await;
            assert!(body.starts_with(&response.body));
            if response.end == crate::support::client::End::Clean {
                assert_eq!(response.body.len(), body.len());
                return;
            }
        }
    })
    .await;
}
