//! HTTP/1.1: who gets which connection, what is sent, and which word stands for what went wrong.

use std::cell::RefCell;
use std::net::IpAddr;

use tokio::sync::Notify;

use super::*;
use crate::fetch::{Failure, Outcome};
use crate::wire::dial::source;
use crate::wire::host::CONNECTIONS_MAX;
use crate::wire::{HOSTS_MAX, authority};

/// What a viewer makes of these bytes as the answer, with the connection closed behind them.
async fn outcome_of(answer: Vec<u8>) -> Exchange {
    let address = serve(move |_, mut peer| {
        let answer = answer.clone();
        async move {
            peer.request().await;
            peer.send(&answer).await;
        }
    })
    .await;
    media(&h1(), address, PATH).await
}

#[test]
fn each_fault_of_a_server_has_its_word() {
    run(async {
        let body = content(PATH, 0, 5000);
        let mut wrong = body.clone();
        wrong[4999] ^= 1;
        let head =
            |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        let failed = Outcome::Failed;
        for (name, answer, outcome, bytes) in [
            ("whole", ok(&body), Outcome::Whole, 5000),
            ("until the end", [b"HTTP/1.1 200 OK\r\n\r\n", &body[..]].concat(), Outcome::Whole, 5000),
            ("a byte", ok(&wrong), Outcome::Mismatch, 5000),
            ("cut off", [&head(5000)[..], &body[..4000]].concat(), failed(Failure::Short), 4000),
            ("cut off in the head", head(5000)[..20].to_vec(), failed(Failure::Short), 0),
            ("no answer", Vec::new(), failed(Failure::Short), 0),
            ("announced too much", [&head(5010)[..], &body].concat(), failed(Failure::Length), 0),
            ("announced too little", [&head(4990)[..], &body].concat(), failed(Failure::Length), 0),
            (
                "not announced",
                [b"HTTP/1.1 200 OK\r\n\r\n", &body[..4000]].concat(),
                failed(Failure::Length),
                4000,
            ),
            ("no HTTP", b"SSH-2.0-x\r\n\r\n".to_vec(), failed(Failure::Protocol), 0),
        ] {
            let exchange = outcome_of(answer).await;
            assert_eq!((exchange.outcome, exchange.bytes), (outcome, bytes), "{name}");
            assert_eq!(exchange.first_byte.is_some(), exchange.status.is_some(), "{name}");
        }
    });
}

#[test]
fn silence_and_refusal_have_their_words_and_times() {
    run(async {
        let address = serve(|index, mut peer| async move {
            peer.request().await;
            if index > 0 {
                peer.send(&ok(&content(PATH, 0, 5000))[..1000]).await;
            }
            peer.gone().await;
        })
        .await;
        let browser = impatient().browser(0, Protocol::H1, None);
        for answered in [false, true] {
            let exchange = media(&browser, address, PATH).await;
            assert_eq!(exchange.outcome, Outcome::Failed(Failure::Timeout));
            assert_eq!(exchange.first_byte.is_some(), answered);
            assert!(exchange.end - exchange.sent >= SOON, "{exchange:?}");
        }
        // Bound and not listening, so that nobody else listens there either.
        let nobody = tokio::net::TcpSocket::new_v4().unwrap();
        nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let exchange = media(&browser, nobody.local_addr().unwrap(), PATH).await;
        assert_eq!((exchange.outcome, exchange.status), (Outcome::Failed(Failure::Connect), None));
        let other = Url::parse("ftp://a.test/").unwrap();
        let exchange = get_with(&browser, &other, Body::Media, None, &[]).await;
        assert_eq!(exchange.outcome, Outcome::Failed(Failure::Protocol));
    });
}

#[test]
fn a_server_that_goes_on_slowly_is_not_silent() {
    run(async {
        let address = serve(|_, mut peer| async move {
            peer.request().await;
            for piece in ok(&content(PATH, 0, 5000)).chunks(500) {
                peer.send(piece).await;
                tokio::time::sleep(SOON / 8).await;
            }
        })
        .await;
        let exchange = media(&impatient().browser(0, Protocol::H1, None), address, PATH).await;
        assert_eq!(exchange.outcome, Outcome::Whole);
        assert!(exchange.end - exchange.sent > SOON, "{exchange:?}");
    });
}

#[test]
fn a_request_says_what_it_is_told_to_say() {
    run(async {
        let heads = Rc::new(RefCell::new(Vec::new()));
        let seen = heads.clone();
        let address = serve(move |_, mut peer| {
            let seen = seen.clone();
            async move {
                while let Some(head) = peer.request().await {
                    seen.borrow_mut().push(head);
                    let body = content(PATH, 100, 50);
                    let head = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 100-149/5000\r\n";
                    peer.send(format!("{head}Content-Length: 50\r\n\r\n").as_bytes()).await;
                    peer.send(&body).await;
                }
            }
        })
        .await;
        let reach = Reach { connect_to: Some(address), ..Reach::default() };
        let browser = Network::new(reach).unwrap().browser(0, Protocol::H1, None);
        let url = Url::parse(&format!("http://user:word@cdn.test:8080{PATH}?CMCD=bl%3D1#part")).unwrap();
        let cookie = [(HeaderName::from_static("cookie"), HeaderValue::from_static("a=b"))];
        let exchange = get_with(&browser, &url, Body::Media, Some((100, Some(149))), &cookie).await;
        assert_eq!((exchange.outcome, exchange.bytes), (Outcome::Whole, 50));
        let head = heads.borrow_mut().remove(0);
        assert!(
            head.starts_with(&format!("GET {PATH}?CMCD=bl%3D1 HTTP/1.1\r\nHost: cdn.test:8080\r\n")),
            "{head}"
        );
        assert!(
            head.contains("\r\nRange: bytes=100-149\r\n") && head.contains("\r\ncookie: a=b\r\n"),
            "{head}"
        );
        assert_eq!(authority(&url), "cdn.test:8080");
        let exchange = get_with(&browser, &url, Body::Media, Some((100, None)), &[]).await;
        assert_eq!(exchange.outcome, Outcome::Failed(Failure::Length), "not all that was asked for");
        assert!(heads.borrow()[0].contains("\r\nRange: bytes=100-\r\n"));
    });
}

#[test]
fn a_connection_is_used_again_unless_the_server_closes_it() {
    run(async {
        let connections = counter();
        let count = connections.clone();
        let address = serve(move |index, mut peer| {
            count.set(index + 1);
            async move {
                while let Some(head) = peer.request().await {
                    let closes = head.contains("/last");
                    let field = if closes { "Connection: close\r\n" } else { "" };
                    peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{field}\r\na").as_bytes())
                        .await;
                    if closes {
                        return;
                    }
                }
            }
        })
        .await;
        let browser = h1();
        let mut connected = Vec::new();
        for path in ["/a", "/b", "/last", "/c", "/d"] {
            let exchange = text(&browser, address, path).await;
            assert_eq!((exchange.outcome, &exchange.text[..]), (Outcome::Whole, &b"a"[..]));
            connected.push(exchange.connected);
        }
        assert_eq!(connected, [true, false, false, true, false]);
        assert_eq!(connections.get(), 2);
    });
}

/// A server whose connections answer so many requests each and then close, without an answer to the next one.
async fn answering(requests: &'static [usize], seen: Rc<Cell<usize>>) -> SocketAddr {
    serve(move |index, mut peer| {
        let seen = seen.clone();
        async move {
            for _ in 0..requests[index] {
                if peer.request().await.is_none() {
                    return;
                }
                seen.set(seen.get() + 1);
                peer.send(&ok(b"a")).await;
            }
            if peer.request().await.is_some() {
                seen.set(seen.get() + 1);
            }
        }
    })
    .await
}

#[test]
fn a_request_on_a_connection_that_was_closed_meanwhile_is_sent_once_more_and_no_other() {
    run(async {
        let seen = counter();
        let browser = h1();
        let address = answering(&[1, 1, 0, 0], seen.clone()).await;
        assert_eq!(text(&browser, address, "/").await.outcome, Outcome::Whole);
        let again = text(&browser, address, "/").await;
        assert_eq!((again.outcome, again.connected, seen.get()), (Outcome::Whole, true, 3));
        // The connection is closed, and so is the one for the second try: there is no third.
        let failed = text(&browser, address, "/").await;
        assert_eq!((failed.outcome, failed.connected), (Outcome::Failed(Failure::Short), true));
        assert_eq!(seen.get(), 5);
        // A connection that was never good is not stale.
        assert_eq!(text(&browser, address, "/").await.outcome, Outcome::Failed(Failure::Short));
        assert_eq!(seen.get(), 6);
    });
}

#[test]
fn when_a_connection_was_closed_meanwhile_those_that_wait_for_longer_are_left_as_well() {
    run(async {
        let (open, asked, gate) = (counter(), counter(), Rc::new(Notify::new()));
        let (now, count, go) = (open.clone(), asked.clone(), gate.clone());
        let address = serve(move |index, mut peer| {
            now.set(now.get() + 1);
            let (now, count, go) = (now.clone(), count.clone(), go.clone());
            async move {
                peer.request().await;
                count.set(count.get() + 1);
                if index < CONNECTIONS_MAX {
                    go.notified().await;
                }
                peer.send(&ok(b"a")).await;
                // The first connections have no second answer, but do not end either before they are asked.
                peer.request().await;
                now.set(now.get() - 1);
            }
        })
        .await;
        let browser = Rc::new(h1());
        let mut tasks = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let browser = browser.clone();
            tasks.push(tokio::task::spawn_local(async move { text(&browser, address, "/").await }));
        }
        until(|| asked.get() == CONNECTIONS_MAX).await;
        gate.notify_waiters();
        for task in tasks {
            assert_eq!(task.await.unwrap().outcome, Outcome::Whole);
        }
        let again = text(&browser, address, "/").await;
        assert_eq!((again.outcome, again.connected), (Outcome::Whole, true));
        until(|| open.get() == 1).await;
    });
}

#[test]
fn an_answer_that_has_begun_is_not_asked_for_again() {
    run(async {
        let seen = counter();
        let count = seen.clone();
        let address = serve(move |_, mut peer| {
            let count = count.clone();
            async move {
                peer.request().await;
                peer.send(&ok(b"a")).await;
                peer.request().await;
                count.set(count.get() + 1);
                peer.send(b"H").await;
            }
        })
        .await;
        let browser = h1();
        assert_eq!(text(&browser, address, "/").await.outcome, Outcome::Whole);
        assert_eq!(text(&browser, address, "/").await.outcome, Outcome::Failed(Failure::Short));
        assert_eq!(seen.get(), 1);
    });
}

#[test]
fn a_seventh_request_waits_for_the_first_that_is_done_in_the_order_of_asking() {
    run(async {
        let (asked, open) = (Rc::new(RefCell::new(Vec::new())), counter());
        let go = Rc::new(Notify::new());
        let (log, count, gate) = (asked.clone(), open.clone(), go.clone());
        let address = serve(move |index, mut peer| {
            count.set(index + 1);
            let (log, gate) = (log.clone(), gate.clone());
            async move {
                while let Some(head) = peer.request().await {
                    log.borrow_mut().push(head.split(' ').nth(1).unwrap().to_owned());
                    gate.notified().await;
                    peer.send(&ok(b"a")).await;
                }
            }
        })
        .await;
        let browser = Rc::new(h1());
        let mut tasks = Vec::new();
        for index in 0..CONNECTIONS_MAX + 4 {
            let browser = browser.clone();
            let path = format!("/{index}");
            tasks.push(tokio::task::spawn_local(async move { text(&browser, address, &path).await }));
        }
        until(|| asked.borrow().len() == CONNECTIONS_MAX).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(open.get(), CONNECTIONS_MAX);
        // Who waits and leaves, keeps nobody up.
        tasks.remove(CONNECTIONS_MAX + 1).abort();
        for index in [CONNECTIONS_MAX, CONNECTIONS_MAX + 2, CONNECTIONS_MAX + 3] {
            go.notify_one();
            until(|| asked.borrow().last() == Some(&format!("/{index}"))).await;
        }
        for _ in 0..CONNECTIONS_MAX {
            go.notify_one();
        }
        for task in tasks {
            // One permit of a Notify is all it keeps.
            while !task.is_finished() {
                go.notify_one();
                tokio::task::yield_now().await;
            }
            assert_eq!(task.await.unwrap().outcome, Outcome::Whole);
        }
        assert_eq!((open.get(), asked.borrow().len()), (CONNECTIONS_MAX, CONNECTIONS_MAX + 3));
    });
}

#[test]
fn an_exchange_that_is_given_up_closes_its_connection_and_frees_its_place() {
    run(async {
        let (asked, gone) = (counter(), counter());
        let (asked_here, gone_here) = (asked.clone(), gone.clone());
        let address = serve(move |_, mut peer| {
            let (asked, gone) = (asked_here.clone(), gone_here.clone());
            async move {
                let head = peer.request().await.unwrap();
                asked.set(asked.get() + 1);
                if head.contains("/never") {
                    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await;
                    peer.gone().await;
                    gone.set(gone.get() + 1);
                } else {
                    peer.send(&ok(b"a")).await;
                    peer.gone().await;
                }
            }
        })
        .await;
        let browser = Rc::new(h1());
        let mut tasks = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let browser = browser.clone();
            tasks.push(tokio::task::spawn_local(async move { text(&browser, address, "/never").await }));
        }
        until(|| asked.get() == CONNECTIONS_MAX).await;
        for task in tasks {
            task.abort();
        }
        assert_eq!(text(&browser, address, "/").await.outcome, Outcome::Whole);
        until(|| gone.get() == CONNECTIONS_MAX).await;
    });
}

#[test]
fn a_viewer_comes_from_an_address_of_its_own_and_closes_everything_when_it_leaves() {
    run(async {
        let (from, gone) = (Rc::new(RefCell::new(Vec::new())), counter());
        let (log, count) = (from.clone(), gone.clone());
        let address = serve(move |_, mut peer| {
            let (log, count) = (log.clone(), count.clone());
            async move {
                peer.request().await;
                log.borrow_mut().push(peer.from.ip());
                peer.send(&ok(b"a")).await;
                peer.gone().await;
                count.set(count.get() + 1);
            }
        })
        .await;
        let network = network();
        let browsers: Vec<_> =
            [0, 1, 70_000].map(|viewer| network.browser(viewer, Protocol::H1, None)).into();
        for browser in &browsers {
            text(browser, address, "/").await;
        }
        let expected: Vec<IpAddr> = [0, 1, 70_000].map(|viewer| source(viewer).into()).into();
        assert_eq!(*from.borrow(), expected);
        assert_eq!(gone.get(), 0);
        browsers.iter().for_each(Fetch::leave);
        until(|| gone.get() == 3).await;
    });
}

#[test]
fn connections_to_hosts_that_were_left_are_closed_when_there_are_too_many() {
    run(async {
        let gone = counter();
        let count = gone.clone();
        let address = serve(move |_, mut peer| {
            let count = count.clone();
            async move {
                peer.request().await;
                peer.send(&ok(b"a")).await;
                peer.gone().await;
                count.set(count.get() + 1);
            }
        })
        .await;
        let reach = Reach { connect_to: Some(address), ..Reach::default() };
        let browser = Network::new(reach).unwrap().browser(0, Protocol::H1, None);
        for index in 0..HOSTS_MAX + 3 {
            let url = Url::parse(&format!("http://host-{index}.test/")).unwrap();
            let exchange = get_with(&browser, &url, Body::Media, None, &[]).await;
            assert_eq!(exchange.outcome, Outcome::Whole);
        }
        until(|| gone.get() == 3).await;
        assert_eq!(browser.hosts.borrow().len(), HOSTS_MAX);
    });
}

#[test]
fn a_viewer_on_a_slow_line_holds_its_server_up() {
    run(async {
        const BIG: &str = "/media/vod/a/v0/1.2000000.m4s";
        let sent = counter();
        let count = sent.clone();
        let address = serve(move |_, mut peer| {
            let count = count.clone();
            async move {
                peer.request().await;
                let answer = ok(&content(BIG, 0, 2_000_000));
                // What the server's side holds is none of the viewer's.
                socket2::SockRef::from(&peer.stream).set_send_buffer_size(64 * 1024).unwrap();
                for piece in answer.chunks(10_000) {
                    peer.send(piece).await;
                    count.set(count.get() + piece.len());
                }
            }
        })
        .await;
        let browser = network().browser(0, Protocol::H1, Some(8_000_000));
        let slow = media(&browser, address, BIG);
        let watch = async {
            tokio::time::sleep(Duration::from_millis(1000)).await;
            sent.get()
        };
        let (slow, after_a_second) = tokio::join!(slow, watch);
        assert_eq!(slow.outcome, Outcome::Whole);
        let took = (slow.end - slow.sent).as_secs_f64();
        assert!(took > 1.9, "{took}");
        // A megabyte, 200 ms ahead, and the buffers that the kernel doubles.
        assert!(after_a_second < 1_800_000, "{after_a_second}");
    });
}

#[test]
fn an_answer_that_is_no_success_is_an_answer() {
    run(async {
        let address = serve(|_, mut peer| async move {
            while peer.request().await.is_some() {
                peer.send(b"HTTP/1.1 403 Forbidden\r\nX-Why: expired\r\nX-Cache: MISS\r\nContent-Length: 3\r\n\r\nno!").await;
            }
        })
        .await;
        let browser = h1();
        let exchange = media(&browser, address, PATH).await;
        assert_eq!((exchange.outcome, exchange.bytes, exchange.cache), (Outcome::Whole, 3, Cache::Miss));
        assert_eq!(exchange.status.unwrap(), 403);
        assert_eq!(exchange.headers["x-why"], "expired");
        assert_eq!(&text(&browser, address, "/").await.text[..], b"no!");
    });
}

#[test]
fn what_came_of_an_exchange_that_is_given_up_is_told_once_and_of_a_whole_one_never() {
    run(async {
        let address = serve(|_, mut peer| async move {
            while let Some(request) = peer.request().await {
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nX-Cache: HIT\r\n\r\n";
                let answer = [&head[..], &content(PATH, 0, 5000)].concat();
                let count = if request.contains("whole") { answer.len() } else { answer.len() - 3000 };
                peer.send(&answer[..count]).await;
            }
        })
        .await;
        let browser = h1();
        let field = (HeaderName::from_static("x-wanted"), HeaderValue::from_static("whole"));
        let whole = get_with(&browser, &url(address, PATH), Body::Media, None, &[field]).await;
        assert_eq!((whole.outcome, browser.take_dropped()), (Outcome::Whole, vec![]));
        let given_up = dropped(&browser, address).await;
        assert_eq!((given_up.bytes, given_up.cache), (2000, Cache::Hit));
        assert_eq!(browser.take_dropped(), []);
    });
}
