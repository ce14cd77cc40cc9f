//! HTTP/2: one connection, any number of exchanges, and what goes wrong on it.

use std::cell::RefCell;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};

use super::*;
use crate::fetch::{Failure, Outcome};

type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// A server that does this with each request; connections are counted.
async fn serve_h2<F, D>(connections: Rc<Cell<usize>>, builder: Builder, deed: F) -> SocketAddr
where
    F: Fn(usize, Asked) -> D + Clone + 'static,
    D: Future<Output = ()> + 'static,
{
    serve(move |index, peer| {
        connections.set(connections.get() + 1);
        let (builder, deed) = (builder.clone(), deed.clone());
        async move {
            let mut connection = builder.handshake(peer.stream).await.unwrap();
            while let Some(Ok(asked)) = connection.accept().await {
                tokio::task::spawn_local(deed(index, asked));
            }
        }
    })
    .await
}

/// Answers with this body, announced as of this length.
fn answer((_, mut respond): Asked, body: Vec<u8>, length: Option<usize>) {
    let mut response = Response::builder().header("cache-status", "a; hit");
    if let Some(length) = length {
        response = response.header("content-length", length);
    }
    let mut stream = respond.send_response(response.body(()).unwrap(), false).unwrap();
    stream.send_data(body.into(), true).unwrap();
}

fn h2() -> Browser {
    network().browser(7, Protocol::H2, None)
}

#[test]
fn exchanges_share_one_connection_and_none_waits_for_another() {
    run(async {
        let (connections, asked) = (counter(), Rc::new(RefCell::new(Vec::new())));
        let held = asked.clone();
        let address = serve_h2(connections.clone(), Builder::new(), move |_, asked| {
            held.borrow_mut().push(asked);
            std::future::ready(())
        })
        .await;
        let browser = Rc::new(h2());
        let mut tasks = Vec::new();
        for _ in 0..20 {
            let browser = browser.clone();
            tasks.push(tokio::task::spawn_local(async move { media(&browser, address, PATH).await }));
        }
        until(|| asked.borrow().len() == 20).await;
        // The last one first.
        while let Some(one) = asked.borrow_mut().pop() {
            assert_eq!(
                (one.0.uri().path(), one.0.uri().authority().unwrap().as_str()),
                (PATH, &*address.to_string())
            );
            answer(one, content(PATH, 0, 5000), Some(5000));
        }
        let mut connected = 0;
        for task in tasks {
            let exchange = task.await.unwrap();
            assert_eq!((exchange.outcome, exchange.bytes), (Outcome::Whole, 5000));
            assert!(exchange.cache.is_hit() && exchange.first_byte.is_some());
            connected += usize::from(exchange.connected);
        }
        assert_eq!((connections.get(), connected), (1, 1));
    });
}

#[test]
fn each_fault_of_a_server_has_its_word_over_h2_too() {
    run(async {
        let body = content(PATH, 0, 5000);
        let mut wrong = body.clone();
        wrong[0] ^= 128;
        let failed = Outcome::Failed;
        for (name, body, length, outcome) in [
            ("whole", body.clone(), None, Outcome::Whole),
            ("a byte", wrong, Some(5000), Outcome::Mismatch),
            ("ends early", body[..4000].to_vec(), Some(5000), failed(Failure::Short)),
            ("not announced", body[..4000].to_vec(), None, failed(Failure::Length)),
            ("announced too little", body[..4000].to_vec(), Some(4000), failed(Failure::Length)),
            ("announced too much", body, Some(5001), failed(Failure::Length)),
        ] {
            let address = serve_h2(counter(), Builder::new(), move |_, asked| {
                answer(asked, body.clone(), length);
                std::future::ready(())
            })
            .await;
            assert_eq!(media(&h2(), address, PATH).await.outcome, outcome, "{name}");
        }
    });
}

#[test]
fn a_stream_that_is_reset_or_a_connection_that_ends_is_short_and_another_protocol_is_none() {
    run(async {
        let address = serve_h2(counter(), Builder::new(), |_, (_, mut respond)| async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(content(PATH, 0, 1000).into(), false).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.send_reset(Reason::INTERNAL_ERROR);
        })
        .await;
        let exchange = media(&h2(), address, PATH).await;
        assert_eq!((exchange.outcome, exchange.bytes), (Outcome::Failed(Failure::Short), 1000));
        let address = serve(|_, peer| async { drop(peer) }).await;
        assert_eq!(media(&h2(), address, PATH).await.outcome, Outcome::Failed(Failure::Short));
        let address = serve(|_, mut peer| async move {
            peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            peer.gone().await;
        })
        .await;
        assert_eq!(media(&h2(), address, PATH).await.outcome, Outcome::Failed(Failure::Protocol));
        let address = serve(|_, mut peer| async move { peer.gone().await }).await;
        let browser = impatient().browser(0, Protocol::H2, None);
        assert_eq!(media(&browser, address, PATH).await.outcome, Outcome::Failed(Failure::Timeout));
    });
}

#[test]
fn an_exchange_that_is_given_up_resets_its_stream_and_leaves_the_connection() {
    run(async {
        let (connections, reset, asked) = (counter(), Rc::new(Cell::new(None)), counter());
        let (seen, count) = (reset.clone(), asked.clone());
        let address = serve_h2(connections.clone(), Builder::new(), move |_, one| {
            let (seen, count) = (seen.clone(), count.clone());
            async move {
                count.set(count.get() + 1);
                if count.get() > 1 {
                    return answer(one, content(PATH, 0, 5000), None);
                }
                let (_, mut respond) = one;
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                stream.send_data(content(PATH, 0, 1000).into(), false).unwrap();
                seen.set(std::future::poll_fn(|cx| stream.poll_reset(cx)).await.ok());
            }
        })
        .await;
        let browser = Rc::new(h2());
        let asking = browser.clone();
        let task = tokio::task::spawn_local(async move { media(&asking, address, PATH).await });
        until(|| asked.get() == 1).await;
        task.abort();
        until(|| reset.get().is_some()).await;
        assert_eq!(reset.get(), Some(Reason::CANCEL));
        assert_eq!(media(&browser, address, PATH).await.outcome, Outcome::Whole);
        assert_eq!(connections.get(), 1);
    });
}

#[test]
fn a_connection_that_ended_meanwhile_is_replaced_and_a_request_that_was_lost_is_sent_once_more() {
    run(async {
        let connections = counter();
        let count = connections.clone();
        let asked = counter();
        let seen = asked.clone();
        let address = serve(move |index, peer| {
            count.set(index + 1);
            let seen = seen.clone();
            async move {
                let mut connection = h2::server::handshake(peer.stream).await.unwrap();
                // The first connection has an answer for one request, the second one none, but it is a new one.
                let answers = [1, 0, 9][index];
                for served in 0.. {
                    let Some(Ok(one)) = connection.accept().await else { return };
                    seen.set(seen.get() + 1);
                    if served == answers {
                        return;
                    }
                    answer(one, content(PATH, 0, 5000), None);
                }
            }
        })
        .await;
        let browser = h2();
        assert_eq!(media(&browser, address, PATH).await.outcome, Outcome::Whole);
        // Lost on the first connection, and once more on the second: there is no third try.
        let lost = media(&browser, address, PATH).await;
        assert_eq!((lost.outcome, lost.connected), (Outcome::Failed(Failure::Short), true));
        assert_eq!(asked.get(), 3);
        assert_eq!(media(&browser, address, PATH).await.outcome, Outcome::Whole);
        assert_eq!(connections.get(), 3);
    });
}

#[test]
fn a_server_that_allows_one_stream_is_asked_one_after_the_other() {
    run(async {
        let (at_once, most) = (counter(), counter());
        let (now, peak) = (at_once.clone(), most.clone());
        let mut builder = Builder::new();
        builder.max_concurrent_streams(1);
        let address = serve_h2(counter(), builder, move |_, one| {
            let (now, peak) = (now.clone(), peak.clone());
            async move {
                now.set(now.get() + 1);
                peak.set(peak.get().max(now.get()));
                tokio::time::sleep(Duration::from_millis(5)).await;
                now.set(now.get() - 1);
                answer(one, content(PATH, 0, 5000), None);
            }
        })
        .await;
        let browser = h2();
        // The server's settings have come with the first answer.
        assert_eq!(media(&browser, address, PATH).await.outcome, Outcome::Whole);
        let (a, b, c) = tokio::join!(
            media(&browser, address, PATH),
            media(&browser, address, PATH),
            media(&browser, address, PATH)
        );
        assert_eq!([a.outcome, b.outcome, c.outcome], [Outcome::Whole; 3]);
        assert_eq!(most.get(), 1);
    });
}

#[test]
fn fields_beyond_their_limit_are_no_http() {
    run(async {
        let address = serve_h2(counter(), Builder::new(), |_, (_, mut respond)| async move {
            let response = Response::builder().header("x-long", "x".repeat(20_000)).body(()).unwrap();
            respond.send_response(response, true).ok();
            std::future::pending::<()>().await;
        })
        .await;
        assert_eq!(media(&h2(), address, PATH).await.outcome, Outcome::Failed(Failure::Protocol));
    });
}

#[test]
fn exchanges_of_a_slow_line_share_it() {
    run(async {
        const BIG: &str = "/media/vod/a/v0/1.500000.m4s";
        let address = serve_h2(counter(), Builder::new(), |_, one| async move {
            answer(one, content(BIG, 0, 500_000), Some(500_000));
        })
        .await;
        let browser = network().browser(0, Protocol::H2, Some(8_000_000));
        let (a, b) = tokio::join!(media(&browser, address, BIG), media(&browser, address, BIG));
        assert_eq!([a.outcome, b.outcome], [Outcome::Whole; 2]);
        let took = (a.end.max(b.end) - a.sent).as_secs_f64();
        assert!(took > 0.95, "a megabyte within {took} s");
    });
}

#[test]
fn a_viewer_that_leaves_closes_its_connection() {
    run(async {
        let gone = counter();
        let count = gone.clone();
        let address = serve(move |_, peer| {
            let count = count.clone();
            async move {
                let mut connection = h2::server::handshake(peer.stream).await.unwrap();
                while let Some(Ok(one)) = connection.accept().await {
                    answer(one, content(PATH, 0, 5000), None);
                }
                count.set(count.get() + 1);
            }
        })
        .await;
        let (left, dropped) = (h2(), h2());
        assert_eq!(media(&left, address, PATH).await.outcome, Outcome::Whole);
        assert_eq!(media(&dropped, address, PATH).await.outcome, Outcome::Whole);
        assert_eq!(gone.get(), 0);
        left.leave();
        until(|| gone.get() == 1).await;
        drop(dropped);
        until(|| gone.get() == 2).await;
    });
}

#[test]
fn what_came_of_a_stream_that_is_given_up_is_told_once_and_of_a_whole_one_never() {
    run(async {
        let asked = counter();
        let address = serve_h2(counter(), Builder::new(), move |_, (request, mut respond): Asked| {
            asked.set(asked.get() + 1);
            let is_first = asked.get() == 1;
            async move {
                if is_first {
                    return answer((request, respond), content(PATH, 0, 5000), Some(5000));
                }
                let response = Response::builder().header("content-length", 5000).header("x-cache", "HIT");
                let response = response.body(()).unwrap();
                let mut stream = respond.send_response(response, false).unwrap();
                stream.send_data(content(PATH, 0, 2000).into(), false).unwrap();
                std::future::pending().await
            }
        })
        .await;
        let browser = h2();
        assert_eq!(media(&browser, address, PATH).await.outcome, Outcome::Whole);
        assert_eq!(browser.take_dropped(), []);
        let given_up = dropped(&browser, address).await;
        assert_eq!((given_up.bytes, given_up.cache, given_up.connected), (2000, Cache::Hit, false));
        assert_eq!(browser.take_dropped(), []);
    });
}
