//! Orders that are given up, and connections that nobody uses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::*;
use crate::stage::sample;

/// A control port that tells how many orders it had before, as the requests of a ledger.
struct Counting {
    address: SocketAddr,
    /// Orders that came in, and connections.
    orders: AtomicU64,
    connections: AtomicU64,
    /// The first order has come.
    asked: Notify,
    /// The first order is answered now.
    answers: Notify,
}

impl Counting {
    /// One that closes each connection after so many answers.
    async fn new(answers_each: usize) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            orders: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            asked: Notify::new(),
            answers: Notify::new(),
        });
        let own = Arc::clone(&port);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                own.connections.fetch_add(1, Ordering::Relaxed);
                let port = Arc::clone(&own);
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    for _ in 0..answers_each {
                        let Ok(Some(_)) = line(&mut stream).await else { return };
                        let requests = port.orders.fetch_add(1, Ordering::Relaxed);
                        if requests == 0 {
                            port.asked.notify_one();
                            port.answers.notified().await;
                        }
                        let ledger = Ledger { requests, ..Ledger::default() };
                        // Whoever gave up does not read it.
                        write(&mut stream, &Told::Ledger(ledger)).await.ok();
                    }
                });
            }
        });
        port
    }

    fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn requests(line: &Line) -> u64 {
    match line.order(&Order::Ledger).await.unwrap() {
        Told::Ledger(ledger) => ledger.requests,
        told => panic!("{told:?}"),
    }
}

#[tokio::test]
async fn an_order_that_was_given_up_leaves_its_answer_to_nobody() {
    let port = Counting::new(usize::MAX).await;
    let line = Line::connect(port.address).await.unwrap();
    tokio::select! {
        told = line.order(&Order::Ledger) => panic!("{told:?}"),
        () = port.asked.notified() => {}
    }
    port.answers.notify_one();
    for order in 1..5 {
        assert_eq!(requests(&line).await, order);
    }
    // One that was given up, and one for all others.
    assert_eq!(port.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_the_origin_has_closed_is_made_anew() {
    let port = Counting::new(1).await;
    port.answers.notify_one();
    let line = Line::connect(port.address).await.unwrap();
    for order in 0..4 {
        assert_eq!(requests(&line).await, order);
    }
    assert_eq!(port.connections(), 4);
}

#[tokio::test]
async fn an_origin_that_is_gone_is_an_error_that_names_the_port() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let line = Line::connect(listener.local_addr().unwrap()).await.unwrap();
    drop(listener);
    let error = format!("{:#}", line.order(&Order::Ledger).await.unwrap_err());
    assert!(error.contains("control port"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_orders_is_closed_after_its_limit_and_no_earlier() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(accept(Server::new(sample::scenario(vec![])), listener));
    let since = Instant::now();
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    let ended = line(&mut stream).await;
    assert!(!matches!(ended, Ok(Some(_))), "{ended:?}");
    assert!(since.elapsed() >= IDLE_MAX, "{:?}", since.elapsed());
}
