//! What is tried again, where, and what comes out when the attempts run out.

use http::Method;

use super::scripted::{Refusing, Scripted, Step, answer, send};
use super::*;

#[tokio::test]
async fn a_503_is_tried_again_on_the_other_server() {
    let bad = Scripted::always(answer(503, "busy")).await;
    let good = Scripted::always(answer(200, "segment")).await;
    let (group, registry) = set_up(&origin(vec![bad.server(), good.server()]));
    for _ in 0..4 {
        let mut response = group.fetch(&get("/x")).await.unwrap();
        assert_eq!(response.header.status, 200);
        assert_eq!(&*response.server, good.server().authority());
        assert_eq!(body(&mut response).await.unwrap(), "segment");
    }
    assert_eq!(
        (bad.seen().len(), good.seen().len()),
        (2, 4),
        "the bad server has every other turn, not every one"
    );
    let sent = bad.seen().len() + good.seen().len();
    assert_eq!(metric(&registry, "forebay_origin_requests_total", &[("reason", "miss")]), sent as u64);
    assert_eq!(metric(&registry, "forebay_origin_retries_total", &[]), bad.seen().len() as u64);
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_on_the_other_server() {
    let good = Scripted::always(answer(200, "segment")).await;
    let refusing = Refusing::start();
    let (group, registry) = set_up(&origin(vec![refusing.server(), good.server()]));
    for _ in 0..4 {
        let mut response = group.fetch(&get("/x")).await.unwrap();
        assert_eq!(body(&mut response).await.unwrap(), "segment");
    }
    assert_eq!(metric(&registry, "forebay_origin_errors_total", &[("error", "connect")]), 2);
    assert_eq!(metric(&registry, "forebay_origin_requests_total", &[]), 4);
}

#[tokio::test]
async fn a_connection_closed_before_its_answer_is_tried_again() {
    for first in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let server = Scripted::start(move |number, _| match number {
            0 => vec![send(first), Step::Close],
            _ => answer(200, "segment"),
        })
        .await;
        let (group, _registry) = set_up(&origin(vec![server.server()]));
        let mut response = group.fetch(&get("/x")).await.unwrap();
        assert_eq!(body(&mut response).await.unwrap(), "segment");
        assert_eq!(server.seen().len(), 2);
    }
}

#[tokio::test]
async fn when_attempts_run_out_the_answer_in_hand_is_returned() {
    let server = Scripted::always(answer(503, "busy")).await;
    let (group, _registry) = set_up(&origin(vec![server.server()]));
    let mut response = group.fetch(&get("/x")).await.unwrap();
    assert_eq!(response.header.status, 503);
    assert_eq!(body(&mut response).await.unwrap(), "busy");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn an_answer_in_hand_is_better_than_a_later_error() {
    let server = Scripted::start(|number, _| match number {
        0 => answer(503, "busy"),
        _ => vec![Step::Close],
    })
    .await;
    let (group, _registry) = set_up(&origin(vec![server.server()]));
    let mut response = group.fetch(&get("/x")).await.unwrap();
    assert_eq!(response.header.status, 503);
    assert_eq!(body(&mut response).await.unwrap(), "busy");
}

#[tokio::test]
async fn attempts_are_bounded() {
    let server = Scripted::always(vec![Step::Close]).await;
    let mut config = origin(vec![server.server()]);
    config.retry.attempts = 4;
    let (group, registry) = set_up(&config);
    let error = group.fetch(&get("/x")).await.err().unwrap();
    assert_eq!((error.as_str(), error.status()), ("closed", 502));
    assert_eq!(server.seen().len(), 4);
    assert_eq!(metric(&registry, "forebay_origin_errors_total", &[("error", "closed")]), 4);
}

#[tokio::test]
async fn without_on_connect_a_refused_connection_is_final() {
    let good = Scripted::always(answer(200, "segment")).await;
    let refusing = Refusing::start();
    let mut config = origin(vec![refusing.server(), good.server()]);
    config.retry.on_connect = false;
    let (group, _registry) = set_up(&config);
    let error = group.fetch(&get("/x")).await.err().unwrap();
    assert_eq!((error.as_str(), error.status()), ("connect", 502));
    assert!(good.seen().is_empty());
}

#[tokio::test]
async fn a_status_not_named_is_final() {
    let server = Scripted::always(answer(500, "broken")).await;
    let (group, _registry) = set_up(&origin(vec![server.server()]));
    assert_eq!(group.fetch(&get("/x")).await.unwrap().header.status, 500);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_method_that_changes_things_is_sent_once() {
    let server = Scripted::start(|number, _| match number {
        0 => answer(200, "kept alive"),
        _ => vec![Step::Close],
    })
    .await;
    let (group, _registry) = set_up(&origin(vec![server.server()]));
    body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap();
    let request = FetchRequest { method: Method::DELETE, ..get("/x") };
    assert_eq!(group.fetch(&request).await.err().unwrap().as_str(), "closed");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn healthy_servers_take_turns() {
    let servers = [Scripted::always(answer(200, "a")).await, Scripted::always(answer(200, "b")).await];
    let (group, _registry) = set_up(&origin(servers.iter().map(Scripted::server).collect()));
    for _ in 0..6 {
        body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap();
    }
    assert_eq!(servers.each_ref().map(|server| server.seen().len()), [3, 3]);
}

#[test]
fn pauses_grow_and_are_bounded() {
    let pauses = (Duration::from_millis(20), Duration::from_millis(200));
    let backoff = |attempt| crate::origin::fetch::backoff(attempt, pauses);
    for attempt in 1..40 {
        let pause = backoff(attempt);
        assert!(pause >= pauses.0 / 2 && pause <= pauses.1, "{attempt}: {pause:?}");
    }
    assert!(backoff(1) <= pauses.0);
    assert!(backoff(30) >= pauses.1 / 2);
    assert_eq!(crate::origin::fetch::backoff(3, (Duration::ZERO, Duration::ZERO)), Duration::ZERO);
}
