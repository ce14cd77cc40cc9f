//! Connections: kept when clean, closed when not, replaced when the server closed them meanwhile.

use std::collections::HashSet;

use parking_lot::Mutex;

use super::scripted::{Scripted, Step, answer, send};
use super::*;

#[tokio::test]
async fn a_second_fetch_uses_the_same_connection() {
    for steps in [
        answer(200, "segment"),
        vec![send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nsegment\r\n0\r\n\r\n")],
    ] {
        let server = Scripted::always(steps).await;
        let (group, _registry) = set_up(&origin(vec![server.server()]));
        for _ in 0..3 {
            let mut response = group.fetch(&get("/x")).await.unwrap();
            assert_eq!(body(&mut response).await.unwrap(), "segment");
        }
        assert!(server.seen().iter().all(|request| request.connection == 0));
    }
}

#[tokio::test]
async fn the_connection_is_free_as_soon_as_the_last_byte_is_read() {
    let server = Scripted::always(answer(200, "segment")).await;
    let (group, _registry) = set_up(&origin(vec![server.server()]));
    let mut first = group.fetch(&get("/x")).await.unwrap();
    let mut length = 0;
    while length < 7 {
        length += first.chunk().await.unwrap().unwrap().len();
    }
    // `first` is still there and its end was never asked for.
    group.fetch(&get("/y")).await.unwrap();
    assert_eq!(server.seen()[1].connection, 0);
    assert!(first.chunk().await.unwrap().is_none());
}

#[tokio::test]
async fn a_fetch_dropped_before_its_end_closes_the_connection() {
    let server = Scripted::start(|number, _| match number {
        0 => vec![send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), Step::Hold],
        _ => answer(200, "segment"),
    })
    .await;
    let (group, _registry) = set_up(&origin(vec![server.server()]));
    let mut response = group.fetch(&get("/x")).await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "half");
    assert_eq!(server.open(), 1);
    drop(response);
    eventually("the connection is closed", || server.open() == 0).await;
    let mut response = group.fetch(&get("/x")).await.unwrap();
    assert_eq!(body(&mut response).await.unwrap(), "segment");
    assert_eq!(server.seen()[1].connection, 1);
}

#[tokio::test]
async fn a_server_that_closes_idle_connections_causes_no_failure() {
    let mut steps = answer(200, "segment");
    steps.push(Step::Close);
    let server = Scripted::always(steps).await;
    let (group, registry) = set_up(&Origin { retry: one_attempt(), ..origin(vec![server.server()]) });
    for _ in 0..10 {
        let mut response = group.fetch(&get("/x")).await.unwrap();
        assert_eq!(body(&mut response).await.unwrap(), "segment");
    }
    assert_eq!(metric(&registry, "forebay_origin_retries_total", &[]), 0);
}

#[tokio::test]
async fn a_pooled_connection_closed_under_the_request_is_replaced_and_is_no_attempt() {
    // The close comes in answer to the request: no look at the idle connection could have told.
    let server = Scripted::start(|number, _| match number {
        1 => vec![Step::Close],
        _ => answer(200, "segment"),
    })
    .await;
    let (group, registry) = set_up(&Origin { retry: one_attempt(), ..origin(vec![server.server()]) });
    for _ in 0..2 {
        let mut response = group.fetch(&get("/x")).await.unwrap();
        assert_eq!(body(&mut response).await.unwrap(), "segment");
    }
    let connections: Vec<usize> = server.seen().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 1]);
    assert_eq!(metric(&registry, "forebay_origin_requests_total", &[("reason", "miss")]), 3);
    assert_eq!(metric(&registry, "forebay_origin_retries_total", &[]), 0);
    assert_eq!(metric(&registry, "forebay_origin_errors_total", &[("error", "closed")]), 0);
}

#[tokio::test]
async fn a_pool_of_dead_connections_costs_one_repeat_not_one_each() {
    // Every second request on a connection is met by a close.
    let used = Mutex::new(HashSet::new());
    let server = Scripted::start(move |_, request| match used.lock().insert(request.connection) {
        true => answer(200, "segment"),
        false => vec![Step::Close],
    })
    .await;
    let (group, _registry) = set_up(&Origin { retry: one_attempt(), ..origin(vec![server.server()]) });
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(group.fetch(&get("/x")).await.unwrap());
    }
    for response in &mut open {
        body(response).await.unwrap();
    }
    let mut response = group.fetch(&get("/x")).await.unwrap();
    assert_eq!(body(&mut response).await.unwrap(), "segment");
    assert_eq!(server.seen().len(), 5);
    assert_eq!(server.seen()[4].connection, 3);
}

#[tokio::test]
async fn a_connection_with_bytes_past_its_body_is_not_used_again() {
    let server = Scripted::start(|number, _| match number {
        0 => vec![send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsegmentHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")],
        _ => answer(200, "good"),
    })
    .await;
    let (group, _registry) = set_up(&origin(vec![server.server()]));
    let mut response = group.fetch(&get("/x")).await.unwrap();
    assert_eq!(body(&mut response).await.unwrap(), "segment");
    let mut response = group.fetch(&get("/y")).await.unwrap();
    assert_eq!(body(&mut response).await.unwrap(), "good");
    assert_eq!(server.seen()[1].connection, 1);
}

#[tokio::test]
async fn connection_close_and_a_short_keep_alive_are_honoured() {
    for field in ["Connection: close", "Keep-Alive: timeout=1, max=100"] {
        let server = Scripted::always(vec![send(format!(
            "HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: 3\r\n\r\nseg"
        ))])
        .await;
        let (group, _registry) = set_up(&origin(vec![server.server()]));
        for _ in 0..2 {
            let mut response = group.fetch(&get("/x")).await.unwrap();
            assert_eq!(body(&mut response).await.unwrap(), "seg");
        }
        assert_eq!(server.seen()[1].connection, 1, "{field}");
    }
}

#[tokio::test]
async fn two_groups_never_share_a_connection() {
    let server = Scripted::always(answer(200, "segment")).await;
    let registry = Registry::new();
    let families = OriginFamilies::new(&registry).unwrap();
    let one = origin(vec![server.server()]);
    let two = Origin { name: "two".to_owned(), ..one.clone() };
    let origins = Origins::new(&[one, two], &families).unwrap();
    for group in origins.groups() {
        let mut response = group.fetch(&get("/x")).await.unwrap();
        body(&mut response).await.unwrap();
    }
    assert_eq!(server.seen()[1].connection, 1);
}

fn one_attempt() -> Retry {
    retry(1, vec![])
}
