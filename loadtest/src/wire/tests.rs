//! Viewers against small servers that do exactly what a test tells them, over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod http1;
mod http2;
mod load;
mod tls;

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::Instant;
use url::Url;

use super::{Browser, Network, Patience, Reach};
use crate::content::expected;
use crate::fetch::{Body, Cache, Exchange, Fetch, Get, GivenUp};
use crate::scenario::Protocol;

/// An object of 5,000 bytes.
const PATH: &str = "/media/vod/a/v0/1.5000.m4s";

/// Longer than anything takes that does not fail.
const LONG: Duration = Duration::from_secs(20);

/// One side of a connection that reads requests and writes what it is told.
struct Peer {
    stream: TcpStream,
    from: SocketAddr,
}

/// A server: what it does with each connection, counted from 0, runs beside the test.
async fn serve<F, D>(deed: F) -> SocketAddr
where
    F: Fn(usize, Peer) -> D + 'static,
    D: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        for index in 0.. {
            let (stream, from) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::task::spawn_local(deed(index, Peer { stream, from }));
        }
    });
    address
}

/// Runs a test on one thread with its servers.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let within = async { tokio::time::timeout(3 * LONG, test).await.expect("the test hangs") };
    LocalSet::new().block_on(&runtime, within);
}

fn network() -> Arc<Network> {
    Network::new(Reach::default()).unwrap()
}

/// How long viewers of [`impatient`] wait.
const SOON: Duration = Duration::from_secs(3);

/// A network whose viewers wait no longer than that.
fn impatient() -> Arc<Network> {
    Network::with(Reach::default(), Patience { connect_max: SOON, quiet_max: SOON }).unwrap()
}

fn h1() -> Browser {
    network().browser(0, Protocol::H1, None)
}

fn url(address: SocketAddr, path: &str) -> Url {
    Url::parse(&format!("http://{address}{path}")).unwrap()
}

async fn get_with(
    browser: &Browser,
    url: &Url,
    body: Body,
    range: Option<(u64, Option<u64>)>,
    fields: &[(HeaderName, HeaderValue)],
) -> Exchange {
    browser.get(Get { url, range, fields, due: Instant::now(), body, progress: None }).await
}

async fn media(browser: &Browser, address: SocketAddr, path: &str) -> Exchange {
    get_with(browser, &url(address, path), Body::Media, None, &[]).await
}

async fn text(browser: &Browser, address: SocketAddr, path: &str) -> Exchange {
    get_with(browser, &url(address, path), Body::Text { bytes_max: 1000 }, None, &[]).await
}

/// What has come of an exchange that is given up: sooner, or later where nothing had come yet.
async fn dropped(browser: &Browser, address: SocketAddr) -> GivenUp {
    for wait_ms in [20, 200, 2_000, 10_000] {
        let due = Instant::now();
        let given_up = media(browser, address, PATH);
        tokio::time::timeout(Duration::from_millis(wait_ms), given_up).await.unwrap_err();
        let [given_up] = browser.take_dropped()[..] else { panic!("one was given up") };
        assert!(given_up.due >= due, "{given_up:?}");
        if given_up.bytes > 0 {
            assert!(given_up.first_byte.is_some_and(|at| at >= given_up.due), "{given_up:?}");
            return given_up;
        }
    }
    panic!("nothing came");
}

/// Bytes of an object, from a position on.
fn content(path: &str, first: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    expected(path).unwrap().content.fill(first, &mut out);
    out
}

/// The answer with this body.
fn ok(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

fn counter() -> Rc<Cell<usize>> {
    Rc::default()
}

/// Waits until something is so.
async fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

// === impl Peer ===

impl Peer {
    /// The head of the next request; none: the viewer has closed.
    async fn request(&mut self) -> Option<String> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read(&mut byte).await {
                Ok(1) => head.push(byte[0]),
                _ => return None,
            }
        }
        Some(String::from_utf8(head).unwrap())
    }

    async fn send(&mut self, bytes: &[u8]) {
        // A viewer may have left.
        self.stream.write_all(bytes).await.ok();
    }

    /// Waits until the viewer closes.
    async fn gone(&mut self) {
        while self.stream.read(&mut [0; 1000]).await.is_ok_and(|count| count > 0) {}
    }
}
