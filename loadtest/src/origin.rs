//! The synthetic origin: an HTTP/1.1 server inside this process that computes each body from its path, can spread it
//! over a time, and remembers who was asked for when.
//!
//! It runs on threads of its own, so that busy clients do not hold up its pace. It decides nothing about caching: every
//! object may be kept for an hour.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

use crate::content::Object;

/// Threads of the origin.
const THREADS: usize = 2;

/// Connections served at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 16_384;

/// The longest request head, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long a connection may stay silent between and within request heads.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// How long one piece of a body may take to be written.
const WRITE_MAX: Duration = Duration::from_secs(60);

/// Pieces into which a paced body is cut: the first is sent at once, the last at the end of the pace.
const PACED_PIECES: u64 = 40;

/// The size of the pieces of a body that is not paced, in bytes.
const PIECE_BYTES: u64 = 64 * 1024;

/// The running origin; dropping it closes its connections.
#[derive(Debug)]
pub(crate) struct Origin {
    address: SocketAddr,
    state: Arc<State>,
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct State {
    seen: Mutex<HashMap<String, Seen>>,
    /// Requests over all paths; changes after `seen` has.
    total: watch::Sender<u64>,
    connections: Arc<Semaphore>,
}

/// What the origin remembers of one path.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    requests: u64,
    first_byte_at: Option<Instant>,
}

/// The parts of a request head that origins look at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The target, with its query.
    pub(crate) path: String,
    close: bool,
}

/// Threads of an origin's own, and a listener of theirs on a port of 127.0.0.1 that the kernel chooses.
pub(crate) fn threads_and_listener(name: &str) -> Result<(Runtime, TcpListener, SocketAddr)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name(name)
        .enable_all()
        .build()
        .context("the origin's threads")?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("the origin's listener")?;
    listener.set_nonblocking(true).context("the origin's listener")?;
    let address = listener.local_addr().context("the origin's listener")?;
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener).context("the origin's listener")?
    };
    Ok((runtime, listener, address))
}

/// Answers each request head of each connection with what `answer` makes of it, at once and for ever.
pub(crate) async fn answer_heads<A>(
    listener: TcpListener,
    answer: impl Fn(&[u8]) -> A + Clone + Send + 'static,
) where
    A: AsRef<[u8]> + Send,
{
    loop {
        // A connection that could not be accepted is the node's to make again.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let answer = answer.clone();
        tokio::spawn(async move { answer_connection(stream, answer).await.ok() });
    }
}

async fn answer_connection<A>(mut stream: TcpStream, answer: impl Fn(&[u8]) -> A) -> Result<()>
where
    A: AsRef<[u8]>,
{
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            if buffer.len() > HEAD_BYTES_MAX || stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head: Vec<u8> = buffer.drain(..end + 4).collect();
        stream.write_all(answer(&head).as_ref()).await?;
    }
}

// === impl Origin ===

impl Origin {
    /// Starts the origin on a port of 127.0.0.1 that the kernel chooses.
    pub(crate) fn start() -> Result<Self> {
        let (runtime, listener, address) = threads_and_listener("origin")?;
        let state = Arc::new(State {
            seen: Mutex::default(),
            total: watch::Sender::new(0),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        });
        runtime.spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { address, state, runtime: Some(runtime) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often this object was asked for, HEAD included.
    pub(crate) fn requests(&self, object: &Object) -> u64 {
        self.state.seen().get(&object.path).map_or(0, |seen| seen.requests)
    }

    /// How often anything was asked for.
    pub(crate) fn requests_in_all(&self) -> u64 {
        *self.state.total.borrow()
    }

    /// When the origin handed the first byte of this object's first body to the kernel.
    pub(crate) fn first_byte_at(&self, object: &Object) -> Option<Instant> {
        self.state.seen().get(&object.path).and_then(|seen| seen.first_byte_at)
    }

    /// Waits until this object has been asked for.
    pub(crate) async fn asked_for(&self, object: &Object) {
        let mut total = self.state.total.subscribe();
        // The sender lives in `self`, so this ends only when the object has been asked for.
        total.wait_for(|_| self.requests(object) > 0).await.ok();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

// === impl State ===

impl State {
    fn seen(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_request(&self, path: &str) {
        self.seen().entry(path.to_owned()).or_default().requests += 1;
        self.total.send_modify(|total| *total += 1);
    }

    fn note_first_byte(&self, path: &str) {
        self.seen().entry(path.to_owned()).or_default().first_byte_at.get_or_insert_with(Instant::now);
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok(permit) = Arc::clone(&state.connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    // A peer that goes away or stays silent ends its connection; whoever needed the body notices.
                    serve(stream, &state).await.ok();
                    drop(permit);
                });
            }
            // Out of descriptors, or the peer has gone: others may come.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(mut stream: TcpStream, state: &State) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut buffer).await? {
        let Some(request) = parse(&head) else {
            return refuse(&mut stream, "400 Bad Request").await;
        };
        let Some(object) = Object::parse(&request.path) else {
            return refuse(&mut stream, "404 Not Found").await;
        };
        match request.method.as_str() {
            "GET" => answer(&mut stream, &object, state).await?,
            "HEAD" => {
                state.note_request(&object.path);
                stream.write_all(response_head(&object).as_bytes()).await?;
            }
            _ => return refuse(&mut stream, "405 Method Not Allowed\r\nAllow: GET, HEAD").await,
        }
        if request.close {
            break;
        }
    }
    Ok(())
}

/// The next request head, without its empty line; `None` at a clean end of the connection.
pub(crate) async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = buffer[..end].to_vec();
            buffer.drain(..end + 4);
            return Ok(Some(head));
        }
        anyhow::ensure!(buffer.len() < HEAD_BYTES_MAX, "a request head over {HEAD_BYTES_MAX} bytes");
        if tokio::time::timeout(IDLE_MAX, stream.read_buf(buffer)).await.context("idle")?? == 0 {
            anyhow::ensure!(buffer.is_empty(), "the connection ended within a request head");
            return Ok(None);
        }
    }
}

pub(crate) fn parse(head: &[u8]) -> Option<Request> {
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, path, "HTTP/1.1", None) = (words.next()?, words.next()?, words.next()?, words.next()) else {
        return None;
    };
    let close = lines.filter_map(|line| line.split_once(':')).any(|(name, value)| {
        name.eq_ignore_ascii_case("connection")
            && value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"))
    });
    Some(Request { method: method.to_owned(), path: path.to_owned(), close })
}

fn response_head(object: &Object) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {}\r\nCache-Control: public, max-age=3600\r\n\
         ETag: \"{}-{}\"\r\n\r\n",
        object.size,
        object.size,
        object.pace.as_millis()
    )
}

/// Sends the head together with the first piece, then the rest at the object's pace.
async fn answer(stream: &mut TcpStream, object: &Object, state: &State) -> Result<()> {
    state.note_request(&object.path);
    let content = object.content();
    let piece_bytes =
        if object.pace.is_zero() { PIECE_BYTES } else { object.size.div_ceil(PACED_PIECES).max(1) };
    let pieces = object.size.div_ceil(piece_bytes);
    let interval = object.pace.div_f64((pieces.max(2) - 1) as f64);
    let start = tokio::time::Instant::now();
    let mut out = response_head(object).into_bytes();
    let mut sent = 0;
    while sent < object.size || sent == 0 {
        let piece = piece_bytes.min(object.size - sent);
        let head = out.len();
        out.resize(head + usize::try_from(piece)?, 0);
        content.fill(sent, &mut out[head..]);
        if sent == 0 {
            state.note_first_byte(&object.path);
        } else if !interval.is_zero() {
            tokio::time::sleep_until(start + interval.mul_f64((sent / piece_bytes) as f64)).await;
        }
        tokio::time::timeout(WRITE_MAX, stream.write_all(&out)).await.context("a stalled reader")??;
        out.clear();
        sent += piece;
        if object.size == 0 {
            break;
        }
    }
    Ok(())
}

async fn refuse(stream: &mut TcpStream, status: &str) -> Result<()> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::http1;

    #[test]
    fn a_request_head_is_understood() {
        let request = parse(b"GET /a HTTP/1.1\r\nHost: x\r\nconnection: keep-alive, Close").unwrap();
        assert_eq!(request, Request { method: "GET".into(), path: "/a".into(), close: true });
        for bad in [&b"GET /a"[..], b"GET /a HTTP/1.0", b"GET /a b HTTP/1.1", b"\xff", b""] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn bodies_of_every_size_and_pace_are_exact_on_one_connection() {
        let origin = Origin::start().unwrap();
        let mut client = http1::Client::connect(origin.address()).await.unwrap();
        for (size, pace) in [(0, 0), (1, 0), (7, 20), (39, 20), (64 * 1024, 0), (200_001, 0), (200_001, 40)] {
            let object = Object::new("a", size, Duration::from_millis(pace));
            client.get(&object).await.unwrap_or_else(|error| panic!("{size} {pace}: {error:#}"));
            assert_eq!(origin.requests(&object), 1);
            assert!(origin.first_byte_at(&object).is_some());
        }
        assert_eq!(origin.requests_in_all(), 7);
    }

    #[tokio::test]
    async fn a_paced_body_takes_its_time() {
        let origin = Origin::start().unwrap();
        let object = Object::new("a", 100_000, Duration::from_millis(200));
        let mut client = http1::Client::connect(origin.address()).await.unwrap();
        let start = Instant::now();
        let timing = client.get(&object).await.unwrap();
        assert!(start.elapsed() >= object.pace, "{:?}", start.elapsed());
        assert!(timing.first_byte_at < timing.last_byte_at);
    }

    #[tokio::test]
    async fn a_path_that_names_no_object_is_not_found() {
        let origin = Origin::start().unwrap();
        let object = Object { path: "/other".into(), size: 1, pace: Duration::ZERO };
        let error = http1::Client::connect(origin.address()).await.unwrap().get(&object).await.unwrap_err();
        assert!(format!("{error:#}").contains("status 404"), "{error:#}");
    }
}
