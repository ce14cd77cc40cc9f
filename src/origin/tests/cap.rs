//! The cap on a group: who may go, who waits, who is refused.

use super::scripted::{Refusing, Scripted, Step, answer, send};
use super::*;

/// A server whose first answer never ends, and a group that asks it one request at a time.
async fn narrow(queue: Duration, queue_length: usize) -> (Scripted, Arc<OriginGroup>, Registry) {
    let server = Scripted::start(|number, _| match number {
        0 => vec![send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), Step::Hold],
        _ => answer(200, "segment"),
    })
    .await;
    let config = Origin { limits: limits(1, queue, queue_length), ..origin(vec![server.server()]) };
    let (group, registry) = set_up(&config);
    (server, group, registry)
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let (server, group, registry) = narrow(PATIENCE, 0).await;
    let held = group.fetch(&get("/x")).await.unwrap();
    let error = group.fetch(&get("/y")).await.err().unwrap();
    assert_eq!((error.as_str(), error.status()), ("queue_full", 503));
    assert_eq!(server.seen().len(), 1);
    assert_eq!(metric(&registry, "forebay_origin_errors_total", &[("error", "queue_full")]), 1);
    drop(held);
    assert!(group.fetch(&get("/y")).await.is_ok(), "a dropped answer gives its turn back");
}

#[tokio::test]
async fn a_request_waits_no_longer_than_the_queue_allows() {
    let (server, group, registry) = narrow(SHORT, 1).await;
    let held = group.fetch(&get("/x")).await.unwrap();
    let error = group.fetch(&get("/y")).await.err().unwrap();
    assert_eq!((error.as_str(), error.status()), ("queue_timeout", 503));
    assert_eq!(server.seen().len(), 1);
    assert_eq!(metric(&registry, "forebay_origin_queued_requests", &[]), 0);
    drop(held);
}

#[tokio::test]
async fn a_waiting_request_goes_when_its_turn_comes() {
    let (_server, group, registry) = narrow(PATIENCE, 1).await;
    let held = group.fetch(&get("/x")).await.unwrap();
    let waiting = tokio::spawn({
        let group = Arc::clone(&group);
        async move { body(&mut group.fetch(&get("/y")).await.unwrap()).await.unwrap() }
    });
    eventually("one waits", || metric(&registry, "forebay_origin_queued_requests", &[]) == 1).await;
    assert_eq!(group.fetch(&get("/z")).await.err().unwrap().as_str(), "queue_full");
    drop(held);
    assert_eq!(waiting.await.unwrap(), "segment");
    assert_eq!(metric(&registry, "forebay_origin_queued_requests", &[]), 0);
}

#[tokio::test]
async fn a_waiting_request_that_goes_away_leaves_its_place() {
    let (_server, group, registry) = narrow(PATIENCE, 1).await;
    let held = group.fetch(&get("/x")).await.unwrap();
    let waiting = tokio::spawn({
        let group = Arc::clone(&group);
        async move { group.fetch(&get("/y")).await.map(|_| ()) }
    });
    eventually("one waits", || metric(&registry, "forebay_origin_queued_requests", &[]) == 1).await;
    waiting.abort();
    eventually("none waits", || metric(&registry, "forebay_origin_queued_requests", &[]) == 0).await;
    drop(held);
    assert!(group.fetch(&get("/z")).await.is_ok());
}

#[tokio::test]
async fn the_turn_is_free_when_the_body_has_ended_though_the_answer_is_kept() {
    let server = Scripted::always(answer(200, "segment")).await;
    let limits = super::limits(1, SHORT, 0);
    let (group, _registry) = set_up(&Origin { limits, ..origin(vec![server.server()]) });
    let mut kept = group.fetch(&get("/x")).await.unwrap();
    body(&mut kept).await.unwrap();
    assert!(group.fetch(&get("/y")).await.is_ok());
    drop(kept);
}

#[tokio::test]
async fn a_broken_body_gives_its_turn_back() {
    let server =
        Scripted::always(vec![send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), Step::Close]).await;
    let limits = super::limits(1, SHORT, 0);
    let (group, _registry) = set_up(&Origin { limits, ..origin(vec![server.server()]) });
    let mut broken = group.fetch(&get("/x")).await.unwrap();
    body(&mut broken).await.unwrap_err();
    assert!(group.fetch(&get("/y")).await.is_ok());
    drop(broken);
}

#[tokio::test]
async fn a_passed_through_request_counts_in_the_cap() {
    let (_server, group, _registry) = narrow(PATIENCE, 0).await;
    let passing = group.upstream_peer(&Method::GET).await.unwrap();
    assert_eq!(group.fetch(&get("/x")).await.err().unwrap().as_str(), "queue_full");
    assert_eq!(group.upstream_peer(&Method::GET).await.err().unwrap().as_str(), "queue_full");
    drop(passing);
    assert!(group.fetch(&get("/x")).await.is_ok());
}

#[tokio::test]
async fn what_nobody_waits_for_leaves_a_quarter_of_the_turns_and_one_at_least() {
    for (connections, spare) in [(1, 0), (2, 1), (4, 3), (16, 12)] {
        let limits = super::limits(connections, SHORT, 0);
        let (group, _registry) = set_up(&Origin { limits, ..origin(vec![Refusing::start().server()]) });
        let turns: Vec<_> = std::iter::from_fn(|| group.spare_turn()).take(100).collect();
        assert_eq!(turns.len(), spare, "of {connections}");
        drop(turns);
        assert_eq!(group.spare_turn().is_some(), spare > 0);
    }
}

#[tokio::test]
async fn a_turn_that_was_taken_before_is_one_attempt_and_given_back() {
    let server = Scripted::always(answer(503, "busy")).await;
    let limits = super::limits(2, SHORT, 0);
    let (group, registry) = set_up(&Origin { limits, ..origin(vec![server.server()]) });
    let request = FetchRequest { reason: FetchReason::Prefetch, ..get("/x") };
    let turn = group.spare_turn().unwrap();
    assert!(group.spare_turn().is_none());
    let response = group.fetch_once(&request, turn).await.unwrap();
    assert_eq!(response.header.status, 503);
    assert_eq!(server.seen().len(), 1);
    drop(response);
    assert!(group.spare_turn().is_some());
    assert_eq!(metric(&registry, "forebay_origin_requests_total", &[("reason", "prefetch")]), 1);
    assert_eq!(metric(&registry, "forebay_origin_retries_total", &[]), 0);
}

#[tokio::test]
async fn what_the_origin_holds_leaves_half_of_the_turns() {
    let server = Scripted::start(|_, seen| match seen.head.contains("_HLS_msn") {
        true => vec![Step::Hold],
        false => answer(200, "segment"),
    })
    .await;
    let config = Origin { limits: limits(4, SHORT, 16), ..origin(vec![server.server()]) };
    let (group, registry) = set_up(&config);
    let reload = |msn: u64| {
        let group = Arc::clone(&group);
        tokio::spawn(async move {
            let target = format!("/v.m3u8?_HLS_msn={msn}");
            let request = FetchRequest { hold: Some(PATIENCE), ..get(&target) };
            group.fetch(&request).await.err().map(|error| error.as_str())
        })
    };
    let held = [reload(1), reload(2)];
    eventually("two are held", || server.seen().len() == 2).await;
    assert_eq!(reload(3).await.unwrap(), Some("queue_timeout"), "a third one has no turn");
    let mut segments = Vec::new();
    for _ in 0..2 {
        segments.push(group.fetch(&get("/1.m4s")).await.unwrap());
    }
    assert_eq!(metric(&registry, "forebay_origin_errors_total", &[]), 1);
    held[0].abort();
    eventually("its connection is closed", || server.open() < 4).await;
    let third = reload(4);
    eventually("a third one goes", || server.seen().len() == 5).await;
    third.abort();
    held[1].abort();
}
