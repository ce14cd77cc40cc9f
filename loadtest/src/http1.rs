//! A small HTTP/1.1 client that checks what it receives: one request at a time on one connection, bodies with
//! Content-Length only, every byte compared with what the object has to hold.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::content::Object;

/// The longest response head, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The longest body of an answer that is kept whole, in bytes.
const PLAIN_BYTES_MAX: usize = 1024 * 1024;

/// Room for one read, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How long one exchange may take, from the request to the last byte.
pub(crate) const EXCHANGE_MAX: Duration = Duration::from_secs(30);

/// The receive buffer of a viewer that never reads, in bytes; the kernel takes at least its own minimum.
const STALLED_RECEIVE_BYTES: u32 = 4096;

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    host: SocketAddr,
    buffer: BytesMut,
}

/// A response head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    status: u16,
    fields: Vec<(String, String)>,
}

/// When the body of one whole and exact response came.
#[derive(Clone, Debug)]
pub(crate) struct Timing {
    pub(crate) asked_at: Instant,
    /// When the first byte of the body had been received; the time of the head when the body is empty.
    pub(crate) first_byte_at: Instant,
    pub(crate) last_byte_at: Instant,
    /// Whether the cache said that it held the object.
    pub(crate) hit: bool,
}

/// A viewer that has asked for an object and never reads; its request stands until it is dropped.
#[derive(Debug)]
pub(crate) struct Stalled {
    _stream: TcpStream,
}

/// A whole answer, whatever it is.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) status: u16,
    /// Whether the cache said that it held the object.
    pub(crate) hit: bool,
    pub(crate) body: Vec<u8>,
}

// === impl Client ===

impl Client {
    /// Connects to a server.
    pub(crate) async fn connect(host: SocketAddr) -> Result<Self> {
        let stream = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(host))
            .await
            .with_context(|| format!("no connection to {host} within {CONNECT_MAX:?}"))?
            .with_context(|| format!("no connection to {host}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host, buffer: BytesMut::new() })
    }

    /// Asks for an object and receives it. An answer that is not a 200, is of another length, is cut off, or differs
    /// in one byte is an error. After an error the connection is of no further use.
    pub(crate) async fn get(&mut self, object: &Object) -> Result<Timing> {
        self.limited(object, true).await
    }

    /// The same without a look at the bytes, whose check costs more than receiving them: for measuring throughput,
    /// after the same objects have been checked.
    pub(crate) async fn skim(&mut self, object: &Object) -> Result<Timing> {
        self.limited(object, false).await
    }

    /// Sends a request and receives its answer, which has a Content-Length. After an error the connection is of no
    /// further use.
    pub(crate) async fn plain(&mut self, method: &str, path: &str, body: &str) -> Result<Plain> {
        self.ask(method, path, &[], body).await
    }

    /// The same with further fields of the request's header.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Result<Plain> {
        tokio::time::timeout(EXCHANGE_MAX, self.exchange_plain(method, path, fields, body))
            .await
            .with_context(|| format!("{path}: not complete within {EXCHANGE_MAX:?}"))?
            .with_context(|| path.to_owned())
    }

    async fn exchange_plain(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Result<Plain> {
        let host = self.host;
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: forebay-loadtest\r\n{fields}{length}\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await.context("sending the request")?;
        let head = self.read_head().await?;
        let length = head.values("content-length").next().context("a response without Content-Length")?;
        let length: usize = length.parse().context("Content-Length")?;
        ensure!(length <= PLAIN_BYTES_MAX, "a body of {length} bytes");
        while self.buffer.len() < length {
            self.read().await.with_context(|| format!("after {} of {length} bytes", self.buffer.len()))?;
        }
        let body = self.buffer.split_to(length).to_vec();
        Ok(Plain { status: head.status, hit: head.is_hit(), body })
    }

    async fn limited(&mut self, object: &Object, compare: bool) -> Result<Timing> {
        tokio::time::timeout(EXCHANGE_MAX, self.exchange(object, compare))
            .await
            .with_context(|| format!("{}: not complete within {EXCHANGE_MAX:?}", object.path))?
            .with_context(|| object.path.clone())
    }

    async fn exchange(&mut self, object: &Object, compare: bool) -> Result<Timing> {
        let asked_at = Instant::now();
        self.stream.write_all(request(object, self.host).as_bytes()).await.context("sending the request")?;
        let head = self.read_head().await?;
        let mut first_byte_at = Instant::now();
        check_head(&head, object)?;
        let content = object.content();
        let mut received = 0;
        while received < object.size {
            if self.buffer.is_empty() {
                self.read().await.with_context(|| format!("after {received} of {} bytes", object.size))?;
            }
            if received == 0 {
                first_byte_at = Instant::now();
            }
            ensure!(self.buffer.len() as u64 <= object.size - received, "more bytes than its Content-Length");
            if compare && let Some(at) = content.first_difference(received, &self.buffer) {
                bail!("wrong byte at {at}");
            }
            received += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(Timing { asked_at, first_byte_at, last_byte_at: Instant::now(), hit: head.is_hit() })
    }

    async fn read_head(&mut self) -> Result<Head> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = parse_head(&self.buffer[..end])?;
                self.buffer.advance(end + 4);
                return Ok(head);
            }
            ensure!(self.buffer.len() < HEAD_BYTES_MAX, "a response head over {HEAD_BYTES_MAX} bytes");
            self.read().await.context("before the end of the response head")?;
        }
    }

    async fn read(&mut self) -> Result<()> {
        self.buffer.reserve(READ_BYTES);
        ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection ended");
        Ok(())
    }
}

// === impl Stalled ===

impl Stalled {
    /// Asks for an object with the smallest receive buffer there is and reads nothing.
    pub(crate) async fn start(host: SocketAddr, object: &Object) -> Result<Self> {
        let socket = TcpSocket::new_v4().context("a socket")?;
        socket.set_recv_buffer_size(STALLED_RECEIVE_BYTES).context("a small receive buffer")?;
        let mut stream = socket.connect(host).await.with_context(|| format!("no connection to {host}"))?;
        stream.write_all(request(object, host).as_bytes()).await.context("sending the request")?;
        Ok(Self { _stream: stream })
    }
}

// === impl Head ===

impl Head {
    /// The values of a field, in order.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether the cache nearest to the client says that it held the object: the last member of Cache-Status (RFC 9211
    /// section 2) has the parameter `hit`, or X-Cache, as nginx is configured here, says HIT.
    fn is_hit(&self) -> bool {
        let nearest = self.values("cache-status").flat_map(|value| value.split(',')).last();
        nearest.is_some_and(|member| {
            member.split(';').skip(1).any(|parameter| matches!(parameter.trim(), "hit" | "hit=?1"))
        }) || self.values("x-cache").any(|value| value == "HIT")
    }
}

fn request(object: &Object, host: SocketAddr) -> String {
    format!("GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: forebay-loadtest\r\n\r\n", object.path)
}

fn check_head(head: &Head, object: &Object) -> Result<()> {
    ensure!(head.status == 200, "status {}", head.status);
    let length = head.values("content-length").next().context("a response without Content-Length")?;
    ensure!(length.parse() == Ok(object.size), "Content-Length {length} instead of {}", object.size);
    Ok(())
}

fn parse_head(head: &[u8]) -> Result<Head> {
    let text = std::str::from_utf8(head).context("the response head is not UTF-8")?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status =
        first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("not an HTTP/1.1 status line: {first:?}"))?;
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').with_context(|| format!("not a header field: {line:?}"))?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok(Head { status, fields })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    /// A server that sends these bytes to its first client, whatever is asked, and closes.
    async fn answering(bytes: Vec<u8>) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_buf(&mut BytesMut::new()).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            stream.read_buf(&mut BytesMut::new()).await.ok();
        });
        address
    }

    async fn error_of(answer: &str, body: &[u8]) -> String {
        let object = Object::new("a", 10, Duration::ZERO);
        let address = answering([answer.as_bytes(), body].concat()).await;
        let error = Client::connect(address).await.unwrap().get(&object).await.unwrap_err();
        format!("{error:#}")
    }

    #[tokio::test]
    async fn an_answer_that_is_not_whole_and_exact_is_an_error_that_says_why() {
        let mut body = vec![0; 10];
        Object::new("a", 10, Duration::ZERO).content().fill(0, &mut body);
        let mut wrong = body.clone();
        wrong[6] ^= 1;
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
        assert!(error_of(ok, &wrong).await.contains("wrong byte at 6"));
        assert!(error_of(ok, &body[..9]).await.contains("after 9 of 10 bytes"));
        assert!(error_of(ok, &[&body[..], b"x"].concat()).await.contains("more bytes"));
        assert!(
            error_of("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"").await.contains("instead of 10")
        );
        assert!(error_of("HTTP/1.1 200 OK\r\n\r\n", b"").await.contains("without Content-Length"));
        assert!(error_of("HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n", b"").await.contains("status 503"));
        assert!(error_of("what?\r\n\r\n", b"").await.contains("not an HTTP/1.1 status line"));
        assert!(error_of("", b"").await.contains("the connection ended"));
    }

    #[test]
    fn a_hit_is_told_from_a_miss() {
        let hit =
            |field: &str| parse_head(format!("HTTP/1.1 200 OK\r\n{field}").as_bytes()).unwrap().is_hit();
        assert!(hit("Cache-Status: forebay; hit; ttl=30"));
        assert!(hit("cache-status: shield; fwd=miss, forebay;hit"));
        assert!(hit("X-Cache: HIT"));
        assert!(!hit("Cache-Status: forebay; fwd=uri-miss; detail=hit"));
        assert!(!hit("Cache-Status: shield; hit, forebay; fwd=miss"));
        assert!(!hit("X-Cache: MISS"));
    }
}
