//! Where bodies end, and which are known to be complete.

use http::Method;

use super::scripted::{Scripted, Step, answer, send};
use super::*;
use crate::origin::Framing;

/// One fetch from a server that answers with `steps`: the framing, the body or its error, the server.
async fn fetch(steps: Vec<Step>) -> (Framing, Result<Bytes, OriginError>, Scripted) {
    let server = Scripted::always(steps).await;
    let (group, _registry) = set_up(&origin(vec![server.server()]));
    let mut response = group.fetch(&get("/x")).await.unwrap();
    let body = body(&mut response).await;
    if body.is_err() {
        assert!(response.chunk().await.is_err(), "a broken body must stay broken");
    } else {
        assert!(response.chunk().await.unwrap().is_none());
    }
    (response.framing(), body, server)
}

async fn fetch_error(steps: Vec<Step>) -> OriginError {
    let server = Scripted::always(steps).await;
    let (group, _registry) = set_up(&origin(vec![server.server()]));
    match group.fetch(&get("/x")).await {
        Err(error) => error,
        Ok(response) => panic!("accepted: {:?}", response.header),
    }
}

#[tokio::test]
async fn a_length_delimited_body_is_read_to_its_end() {
    let (framing, body, _) = fetch(answer(200, "segment")).await;
    assert_eq!(framing, Framing::Length(7));
    assert_eq!(body.unwrap(), "segment");
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let text = "0123456789abcdef".repeat(64 * 1024);
    let (framing, body, _) = fetch(answer(200, &text)).await;
    assert_eq!(framing, Framing::Length(1024 * 1024));
    assert!(body.unwrap() == text);
}

#[tokio::test]
async fn a_length_delimited_body_that_breaks_off_is_an_error() {
    let steps = vec![send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), Step::Close];
    let (framing, body, _) = fetch(steps).await;
    assert_eq!(framing, Framing::Length(10));
    let error = body.unwrap_err();
    assert_eq!((error.as_str(), error.status()), ("broken_body", 502));
}

#[tokio::test]
async fn a_chunked_body_ends_with_its_last_chunk() {
    let steps = vec![
        send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nseg\r\n"),
        send("4\r\nme"),
        send("nt\r\n0\r\nTrailer: ignored\r\n\r\n"),
    ];
    let (framing, body, _) = fetch(steps).await;
    assert_eq!(framing, Framing::Chunked);
    assert_eq!(body.unwrap(), "segment");
}

#[tokio::test]
async fn a_chunked_body_without_its_last_chunk_is_an_error_wherever_it_breaks_off() {
    let whole = "3\r\nseg\r\n4\r\nment\r\n0\r\n\r\n";
    for end in 0..whole.len() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (framing, body, _) = fetch(vec![send(format!("{head}{}", &whole[..end])), Step::Close]).await;
        assert_eq!(framing, Framing::Chunked);
        assert_eq!(body.unwrap_err().as_str(), "broken_body", "broken off after {end} bytes");
    }
}

#[tokio::test]
async fn a_malformed_chunk_is_an_error() {
    for chunk in ["zz\r\nseg\r\n", "3\r\nsegment\r\n", "ffffffffffffffff\r\nseg", "-3\r\nseg\r\n"] {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (_, body, _) = fetch(vec![send(format!("{head}{chunk}")), Step::Close]).await;
        assert_eq!(body.unwrap_err().as_str(), "broken_body", "{chunk:?}");
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_told_apart() {
    for head in
        ["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"]
    {
        let (framing, body, _) = fetch(vec![send(format!("{head}segment")), Step::Close]).await;
        assert_eq!(framing, Framing::Close, "{head:?}");
        assert_eq!(body.unwrap(), "segment");
    }
}

#[tokio::test]
async fn http_1_0_with_a_length_is_length_delimited() {
    let (framing, body, _) =
        fetch(vec![send("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nseg"), Step::Close]).await;
    assert_eq!(framing, Framing::Length(3));
    assert_eq!(body.unwrap(), "seg");
}

#[tokio::test]
async fn answers_without_a_body_have_none_and_keep_their_connection() {
    for head in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 500\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let server = Scripted::always(vec![send(head)]).await;
        let (group, _registry) = set_up(&origin(vec![server.server()]));
        for _ in 0..2 {
            let mut response = group.fetch(&get("/x")).await.unwrap();
            assert_eq!(response.framing(), Framing::NoBody);
            assert!(response.chunk().await.unwrap().is_none());
        }
        assert_eq!(server.seen()[1].connection, 0, "{head:?}");
    }
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_whatever_its_length_says() {
    let server = Scripted::always(vec![send("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")]).await;
    let (group, _registry) = set_up(&origin(vec![server.server()]));
    let request = FetchRequest { method: Method::HEAD, ..get("/x") };
    let mut response = group.fetch(&request).await.unwrap();
    assert_eq!(response.framing(), Framing::NoBody);
    assert_eq!(response.header.headers["content-length"], "500");
    assert!(response.chunk().await.unwrap().is_none());
    assert!(server.seen()[0].head.starts_with("HEAD /x HTTP/1.1\r\n"));
}

#[tokio::test]
async fn an_empty_body_is_complete() {
    let (framing, body, _) = fetch(answer(200, "")).await;
    assert_eq!(framing, Framing::Length(0));
    assert!(body.unwrap().is_empty());
    let (framing, body, _) =
        fetch(vec![send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")]).await;
    assert_eq!(framing, Framing::Chunked);
    assert!(body.unwrap().is_empty());
}

#[tokio::test]
async fn interim_answers_are_skipped() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let mut steps = vec![send(interim)];
    steps.extend(answer(200, "segment"));
    let (framing, body, _) = fetch(steps).await;
    assert_eq!(framing, Framing::Length(7));
    assert_eq!(body.unwrap(), "segment");
}

#[tokio::test]
async fn endless_interim_answers_are_an_error() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(100);
    assert_eq!(fetch_error(vec![send(interim)]).await.as_str(), "malformed");
}

#[tokio::test]
async fn headers_that_cannot_be_relied_on_are_errors() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: seven\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 999 Beyond\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\0\u{1}\u{2}garbage\r\n\r\n",
    ] {
        let error = fetch_error(vec![send(head), Step::Hold]).await;
        assert_eq!((error.as_str(), error.status()), ("malformed", 502), "{head:?}");
    }
}

#[tokio::test]
async fn a_header_larger_than_any_is_an_error() {
    let flood = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(3 * 1024 * 1024));
    assert_eq!(fetch_error(vec![send(flood), Step::Hold]).await.as_str(), "malformed");
    let many: String = (0..1000).map(|n| format!("X-{n}: y\r\n")).collect();
    assert_eq!(
        fetch_error(vec![send(format!("HTTP/1.1 200 OK\r\n{many}\r\n")), Step::Hold]).await.as_str(),
        "malformed"
    );
}

#[tokio::test]
async fn equal_lengths_count_as_one() {
    let (framing, body, _) = fetch(vec![send("HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nseg")]).await;
    assert_eq!(framing, Framing::Length(3));
    assert_eq!(body.unwrap(), "seg");
}

#[tokio::test]
async fn a_redirect_is_passed_on_and_not_followed() {
    let server =
        Scripted::always(vec![send("HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n")]).await;
    let (group, _registry) = set_up(&origin(vec![server.server()]));
    let response = group.fetch(&get("/x")).await.unwrap();
    assert_eq!(response.header.status, 302);
    assert_eq!(response.header.headers["location"], "/y");
    assert_eq!(server.seen().len(), 1);
}
