//! A whole hit: from the bytes of a request to the last byte of the answer, through all that a node consists of.
//!
//! By *loopback* a client has one connection over the system's network stack to the node's own thread, and waits for each
//! answer before it asks again: what is measured is the way there and back, the switches between two threads included.
//! *In memory* the same connection is a pipe within the process, and client and node take turns on one thread: what is
//! left is the node's own work. There the clock stands still, so that two runs do the same.

mod client;
mod origin;

use std::cell::{Cell, RefCell};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
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
pub fn in_memory_4k() -> InMemory {
    InMemory::new(&Hit::plain(4 << 10))
}

/// A playlist whose viewer has a token in the query, which goes into each of its URIs.
pub fn in_memory_playlist() -> InMemory {
    InMemory::new(&Hit::playlist(&Clock::manual(site::now())))
}

/// A segment of 4 KiB that anyone may have.
pub fn loopback_4k() -> Loopback {
    Loopback::new(&Hit::plain(4 << 10))
}

/// A playlist whose viewer has a token in the query, which goes into each of its URIs.
pub fn loopback_playlist() -> Loopback {
    Loopback::new(&Hit::playlist(&Clock::system()))
}

/// A segment of 512 KiB that anyone may have.
pub fn loopback_512k() -> Loopback {
    Loopback::new(&Hit::plain(512 << 10))
}

/// What is asked for.
struct Hit {
    /// What the origin answers.
    body: Vec<u8>,
    request: Vec<u8>,
    /// Bytes of body of the answer.
    expected: u64,
}

/// A connection over the loopback interface.
pub struct Loopback {
    client: Cell<Option<(TcpStream, Answer)>>,
    request: Vec<u8>,
    expected: u64,
    node: RefCell<Option<Node>>,
}

/// A connection within the process.
pub struct InMemory {
    client: Cell<Option<(DuplexStream, Answer)>>,
    request: Vec<u8>,
    expected: u64,
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

impl Loopback {
    fn new(hit: &Hit) -> Loopback {
        let node = hit.node(Clock::system());
        let address = node.http_addresses().first().copied().expect("a listener");
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a socket's option");
        let client = Cell::new(Some((stream, Answer::default())));
        let case = Loopback {
            client,
            request: hit.request.clone(),
            expected: hit.expected,
            node: RefCell::new(Some(node)),
        };
        // The first one is fetched.
        case.run(0);
        case.run(1);
        let client = case.client.take().expect("a connection");
        client.1.assert_hit();
        case.client.set(Some(client));
        case
    }
}

impl Case for Loopback {
    fn run(&self, _turn: u64) -> u64 {
        let Some((mut stream, mut answer)) = self.client.take() else { return 0 };
        stream.write_all(&self.request).expect("a request");
        let bytes = loop {
            let read = stream.read(answer.room()).expect("an answer");
            if let Some(bytes) = answer.take(read) {
                break bytes;
            }
        };
        self.client.set(Some((stream, answer)));
        bytes
    }

    fn expected(&self) -> u64 {
        self.expected
    }

    fn body_bytes(&self) -> Option<u64> {
        Some(self.expected)
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        drop(self.client.take());
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
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let serving = Arc::clone(&node);
        runtime.spawn(async move { serving.serve(Box::new(theirs)).await });
        let client = Cell::new(Some((ours, Answer::default())));
        let (request, expected) = (hit.request.clone(), hit.expected);
        let case = InMemory { client, request, expected, runtime, _node: node };
        // The first one is fetched.
        case.run(0);
        case.run(1);
        let client = case.client.take().expect("a connection");
        client.1.assert_hit();
        case.client.set(Some(client));
        case
    }
}

impl Case for InMemory {
    fn run(&self, _turn: u64) -> u64 {
        let Some((mut stream, mut answer)) = self.client.take() else { return 0 };
        let exchange = async {
            stream.write_all(&self.request).await.expect("a request");
            loop {
                let read = stream.read(answer.room()).await.expect("an answer");
                if let Some(bytes) = answer.take(read) {
                    break bytes;
                }
            }
        };
        let bytes = self.runtime.block_on(exchange);
        self.client.set(Some((stream, answer)));
        bytes
    }

    fn expected(&self) -> u64 {
        self.expected
    }

    fn body_bytes(&self) -> Option<u64> {
        Some(self.expected)
    }
}
