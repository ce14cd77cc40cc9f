//! A whole hit: from the bytes of a request to the last byte of the answer, through all that a node consists of.
//!
//! By *loopback* a client has one connection over the system's network stack to the node's own thread, and waits for each
//! answer before it asks again: what is measured is the way there and back, the switches between two threads included.
//! *In memory* the same connection is a pipe within the process, and client and node take turns on one thread: what is
//! left is the node's own work. There the clock stands still, so that two runs do the same.

mod client;
mod origin;

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use forebay::clock::Clock;
use forebay::server::Node;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::Runtime;

use super::case::Case;
use super::site::{self, DIRECTORY, HOST, OPEN_HOST, Setting};
use super::text;
use super::token::edgeauth_token;
use client::Answer;

/// Bytes that either side of a pipe may be ahead.
const PIPE_BYTES: usize = 64 * 1024;

/// A segment of 4 KiB that anyone may have.
pub fn in_memory_4k() -> Asked<InMemory> {
    Asked::new(&Hit::plain(4 << 10), InMemory::new)
}

/// A playlist whose viewer has a token in the query, which goes into each of its URIs.
pub fn in_memory_playlist() -> Asked<InMemory> {
    Asked::new(&Hit::playlist(&Clock::manual(site::now())), InMemory::new)
}

/// A segment of 4 KiB that anyone may have.
pub fn loopback_4k() -> Asked<Loopback> {
    Asked::new(&Hit::plain(4 << 10), Loopback::new)
}

/// A playlist whose viewer has a token in the query, which goes into each of its URIs.
pub fn loopback_playlist() -> Asked<Loopback> {
    Asked::new(&Hit::playlist(&Clock::system()), Loopback::new)
}

/// A segment of 512 KiB that anyone may have.
pub fn loopback_512k() -> Asked<Loopback> {
    Asked::new(&Hit::plain(512 << 10), Loopback::new)
}

/// What is asked for.
struct Hit {
    /// What the origin answers.
    body: Vec<u8>,
    request: Vec<u8>,
    /// Bytes of body of the answer.
    expected: u64,
}

/// A way to a node.
pub trait Connection {
    /// Sends a request and reads the answer to its end; gives the bytes of its body.
    fn exchange(&mut self, request: &[u8], answer: &mut Answer) -> u64;
}

/// What is asked for again and again on one connection.
pub struct Asked<C> {
    client: RefCell<(C, Answer)>,
    request: Vec<u8>,
    expected: u64,
}

/// A connection over the loopback interface.
pub struct Loopback {
    stream: TcpStream,
    node: Option<Node>,
}

/// A connection within the process.
pub struct InMemory {
    stream: DuplexStream,
    runtime: Runtime,
    _node: Arc<Node>,
}

impl Hit {
    fn plain(bytes: usize) -> Hit {
        let request = client::request(OPEN_HOST, &format!("{DIRECTORY}segment-0001234567.m4s"));
        Hit { body: vec![7; bytes], request, expected: bytes as u64 }
    }

    fn playlist(clock: &Clock) -> Hit {
        let token = edgeauth_token(1, &[0x5A; 32], clock.unix_seconds());
        let request = client::request(HOST, &format!("{DIRECTORY}index.m3u8?hdnts={token}"));
        let text = text::ended();
        let each = "?hdnts=".len() + token.len();
        let expected = text.len() as u64 + text::uris(&text) * each as u64;
        Hit { body: text.into_bytes(), request, expected }
    }

    /// A node in front of an origin that has the body.
    fn node(&self, clock: Clock) -> Node {
        let setting = Setting::new(origin::start(self.body.clone()));
        Node::start(&setting.config, clock).expect("a node on a free port")
    }
}

impl<C: Connection> Asked<C> {
    fn new(hit: &Hit, connect: fn(&Hit) -> C) -> Asked<C> {
        let client = RefCell::new((connect(hit), Answer::default()));
        let case = Asked { client, request: hit.request.clone(), expected: hit.expected };
        // The first one is fetched.
        case.run(0);
        case.run(1);
        case.client.borrow().1.assert_hit();
        case
    }
}

impl<C: Connection> Case for Asked<C> {
    fn run(&self, _turn: u64) -> u64 {
        let (connection, answer) = &mut *self.client.borrow_mut();
        connection.exchange(&self.request, answer)
    }

    fn expected(&self) -> u64 {
        self.expected
    }

    fn body_bytes(&self) -> Option<u64> {
        Some(self.expected)
    }
}

impl Loopback {
    fn new(hit: &Hit) -> Loopback {
        let node = hit.node(Clock::system());
        let address = node.http_addresses().first().copied().expect("a listener");
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a socket's option");
        Loopback { stream, node: Some(node) }
    }
}

impl Connection for Loopback {
    fn exchange(&mut self, request: &[u8], answer: &mut Answer) -> u64 {
        self.stream.write_all(request).expect("a request");
        loop {
            let read = self.stream.read(answer.room()).expect("an answer");
            if let Some(bytes) = answer.take(read) {
                break bytes;
            }
        }
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        // The node waits for those who are connected. One that has left already is none.
        let _ = self.stream.shutdown(Shutdown::Both);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let (Ok(runtime), Some(node)) = (runtime, self.node.take()) {
            runtime.block_on(node.shutdown());
        }
    }
}

impl InMemory {
    fn new(hit: &Hit) -> InMemory {
        let node = Arc::new(hit.node(Clock::manual(site::now())));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (stream, theirs) = tokio::io::duplex(PIPE_BYTES);
        let serving = Arc::clone(&node);
        runtime.spawn(async move { serving.serve(Box::new(theirs)).await });
        InMemory { stream, runtime, _node: node }
    }
}

impl Connection for InMemory {
    fn exchange(&mut self, request: &[u8], answer: &mut Answer) -> u64 {
        let stream = &mut self.stream;
        self.runtime.block_on(async {
            stream.write_all(request).await.expect("a request");
            loop {
                let read = stream.read(answer.room()).await.expect("an answer");
                if let Some(bytes) = answer.take(read) {
                    break bytes;
                }
            }
        })
    }
}
