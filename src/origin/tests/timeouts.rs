//! Each wait has its own limit and its own word. The servers here never go on, so nothing depends on the machine.

use super::scripted::{Scripted, Step, answer, send};
use super::*;

#[tokio::test]
async fn a_server_that_does_not_answer_is_a_first_byte_time_out() {
    for started in ["", "HTTP/1.1 200 OK\r\nX-Slow: "] {
        let server = Scripted::always(vec![send(started), Step::Hold]).await;
        let mut config = origin(vec![server.server()]);
        config.timeouts.first_byte = SHORT;
        let (group, registry) = set_up(&config);
        let error = group.fetch(&get("/x")).await.err().unwrap();
        assert_eq!((error.as_str(), error.status()), ("first_byte_timeout", 504));
        assert_eq!(metric(&registry, "forebay_origin_errors_total", &[("error", "first_byte_timeout")]), 1);
        // The server may come to read it later than that.
        eventually("it was asked", || !server.seen().is_empty()).await;
        eventually("the connection is closed", || server.open() == 0).await;
        assert_eq!(server.seen().len(), 1, "a time out is not tried again");
    }
}

#[tokio::test]
async fn a_body_that_stalls_is_a_between_bytes_time_out() {
    for head in ["Content-Length: 10", "Transfer-Encoding: chunked", "Connection: close"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n4\r\nhalf");
        let server = Scripted::always(vec![send(answer), Step::Hold]).await;
        let mut config = origin(vec![server.server()]);
        config.timeouts.between_bytes = SHORT;
        let (group, registry) = set_up(&config);
        let mut response = group.fetch(&get("/x")).await.unwrap();
        let error = body(&mut response).await.unwrap_err();
        assert_eq!((error.as_str(), error.status()), ("between_bytes_timeout", 504), "{head}");
        assert!(response.chunk().await.is_err());
        assert_eq!(
            metric(&registry, "forebay_origin_errors_total", &[("error", "between_bytes_timeout")]),
            1
        );
        eventually("the connection is closed", || server.open() == 0).await;
    }
}

#[tokio::test]
async fn a_server_that_never_finishes_its_handshake_is_a_connect_time_out() {
    // Accepts TCP, and waits for a plaintext request that a TLS client never sends.
    let server = Scripted::always(vec![]).await;
    let mut place = server.server();
    place.tls = true;
    let mut config = origin(vec![place]);
    config.timeouts.connect = SHORT;
    config.retry.attempts = 1;
    let (group, registry) = set_up(&config);
    let error = group.fetch(&get("/x")).await.err().unwrap();
    assert_eq!((error.as_str(), error.status()), ("connect_timeout", 504));
    assert_eq!(metric(&registry, "forebay_origin_requests_total", &[]), 0, "nothing was sent");
}

#[tokio::test]
async fn a_wait_for_a_piece_that_is_given_up_loses_nothing() {
    let go = Arc::new(tokio::sync::Notify::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn({
        let go = Arc::clone(&go);
        async move {
            use tokio::io::AsyncWriteExt;
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nseg").await.unwrap();
            go.notified().await;
            stream.write_all(b"ment").await.unwrap();
            go.notified().await;
        }
    });
    let place = OriginServer { tls: false, host: "127.0.0.1".to_owned(), port: address.port() };
    let (group, _registry) = set_up(&origin(vec![place]));
    let mut response = group.fetch(&get("/x")).await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "seg");
    for _ in 0..3 {
        let given_up = tokio::time::timeout(Duration::from_millis(1), response.chunk()).await;
        assert!(given_up.is_err());
    }
    go.notify_one();
    assert_eq!(body(&mut response).await.unwrap(), "ment");
    go.notify_one();
    server.await.unwrap();
}

fn held(path_and_query: &str, hold: Duration) -> FetchRequest<'_> {
    FetchRequest { hold: Some(hold), ..get(path_and_query) }
}

/// Returns when this much time has passed, by the time out of a request that is not held.
async fn times_out_after(limit: Duration) {
    let never = Scripted::always(vec![Step::Hold]).await;
    let mut config = origin(vec![never.server()]);
    config.timeouts.first_byte = limit;
    let (group, _registry) = set_up(&config);
    assert_eq!(group.fetch(&get("/x")).await.err().unwrap().as_str(), "first_byte_timeout");
}

#[tokio::test]
async fn a_request_that_is_held_on_purpose_gets_that_time_as_well() {
    let go = Arc::new(tokio::sync::Notify::new());
    let waits = Step::Await(Arc::clone(&go));
    let server = Scripted::start(move |_, _| [vec![waits.clone()], answer(200, "playlist")].concat()).await;
    let mut config = origin(vec![server.server()]);
    config.timeouts.first_byte = SHORT;
    config.timeouts.between_bytes = SHORT;
    let (group, _registry) = set_up(&config);
    let longer = tokio::spawn({
        let group = Arc::clone(&group);
        async move { body(&mut group.fetch(&held("/x", PATIENCE)).await.unwrap()).await.unwrap() }
    });
    eventually("it is held", || server.seen().len() == 1).await;
    times_out_after(SHORT).await;
    go.notify_one();
    assert_eq!(longer.await.unwrap(), "playlist");
    let error = group.fetch(&held("/x", SHORT)).await.err().unwrap();
    assert_eq!(error.as_str(), "first_byte_timeout", "the hold ends too");
}

#[tokio::test]
async fn another_attempt_is_not_held_for_as_long_again() {
    const HOLD: Duration = PATIENCE;
    let go = Arc::new(tokio::sync::Notify::new());
    let waits = Step::Await(Arc::clone(&go));
    let server = Scripted::start(move |number, _| match number {
        0 => [vec![waits.clone()], answer(503, "late")].concat(),
        _ => vec![Step::Hold],
    })
    .await;
    let mut config = origin(vec![server.server()]);
    config.timeouts.first_byte = HOLD * 4;
    let (group, _registry) = set_up(&config);
    let retried = tokio::spawn({
        let group = Arc::clone(&group);
        async move { group.fetch(&held("/retried", HOLD)).await.map(|answer| answer.header.status) }
    });
    eventually("it is held", || server.seen().len() == 1).await;
    pass(HOLD).await;
    go.notify_one();
    eventually("a second attempt", || server.seen().len() == 2).await;
    // Begun later, with half of the hold: it ends first only if the other one's began anew.
    let other = tokio::spawn({
        let group = Arc::clone(&group);
        async move { group.fetch(&held("/other", HOLD / 2)).await.map(|_| ()) }
    });
    eventually("another request", || server.seen().len() == 3).await;
    pass(HOLD * 4).await;
    tokio::select! {
        biased;
        status = retried => assert_eq!(status.unwrap().unwrap(), 503, "what was in hand"),
        _ = other => panic!("the second attempt was held anew"),
    }
}
