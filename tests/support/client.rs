//! A strict HTTP client for tests: it tells a clean end from a broken transfer, reads at the pace the test wants, and
//! leaves when told. HTTP/1.1 is written out here over any byte stream; HTTP/2 is the `h2` crate. It shares no parsing
//! code with the node.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::wait::within;

/// Bytes that a connection has room for when it reads.
const READ_BYTES: usize = 64 * 1024;

/// A request to send. Without a `host` header of its own it goes to `edge.test`.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// The version on the request line of HTTP/1.
    pub version: &'static str,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Request {
        Request {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
            version: "HTTP/1.1",
        }
    }

    pub fn get(target: &str) -> Request {
        Request::new("GET", target)
    }

    pub fn head(target: &str) -> Request {
        Request::new("HEAD", target)
    }

    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn host(self, host: &str) -> Request {
        self.header("host", host)
    }

    pub fn range(self, range: &str) -> Request {
        self.header("range", range)
    }

    /// Sends this body with its length.
    pub fn body(mut self, body: impl Into<Bytes>) -> Request {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.header("content-length", &length)
    }

    pub fn http_1_0(mut self) -> Request {
        self.version = "HTTP/1.0";
        self
    }

    fn host_value(&self) -> &str {
        self.headers.iter().find(|(n, _)| n == "host").map_or("edge.test", |(_, host)| host)
    }

    fn to_http1(&self) -> Vec<u8> {
        let mut text =
            format!("{} {} {}\r\nhost: {}\r\n", self.method, self.target, self.version, self.host_value());
        for (name, value) in self.headers.iter().filter(|(n, _)| n != "host") {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Status and headers of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// How often this header stands.
    pub fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(n, _)| n == name).count()
    }

    /// The `detail` parameter of Cache-Status: the outcome word.
    #[track_caller]
    pub fn outcome(&self) -> &str {
        let status = self.get("cache-status").unwrap_or_else(|| panic!("no Cache-Status in {self:?}"));
        let detail = status.split(';').map(str::trim).find_map(|part| part.strip_prefix("detail="));
        match detail {
            Some(word) => word.trim_matches('"'),
            None if status.split(';').any(|part| part.trim() == "hit") => "hit",
            None => panic!("no detail in Cache-Status: {status}"),
        }
    }
}

/// How a transfer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// As announced: the length, the last chunk, END_STREAM.
    Clean,
    /// Short of it; what happened, in words.
    Broken(String),
}

/// An answer read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    pub head: Head,
    pub body: Bytes,
    pub end: End,
}

impl Response {
    pub fn status(&self) -> u16 {
        self.head.status
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    #[track_caller]
    pub fn outcome(&self) -> &str {
        self.head.outcome()
    }

    /// The body; panics unless the transfer ended cleanly.
    #[track_caller]
    pub fn whole(&self) -> &Bytes {
        assert_eq!(self.end, End::Clean, "after {} bytes of {:?}", self.body.len(), self.head);
        &self.body
    }
}

/// A byte stream below HTTP.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// What is left of a body.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rest {
    Bytes(u64),
    Chunk(u64),
    BeforeChunk,
    UntilClose,
    Done,
}

/// A client connection of HTTP/1.
pub struct Http1 {
    wire: Box<dyn Wire>,
    unread: BytesMut,
    rest: Rest,
}

impl Http1 {
    /// Connects over plain TCP.
    pub async fn connect(address: SocketAddr) -> Http1 {
        Http1::over(tcp(address).await)
    }

    /// Connects with a receive buffer so small that an unread body soon stops the sender.
    pub async fn connect_with_tiny_buffer(address: SocketAddr) -> Http1 {
        Http1::over(tcp_with_tiny_buffer(address).await)
    }

    fn over(stream: TcpStream) -> Http1 {
        Http1 { wire: Box::new(stream), unread: BytesMut::new(), rest: Rest::Done }
    }

    /// Speaks HTTP/1 inside an established TLS session.
    pub fn over_tls(stream: TlsStream<TcpStream>) -> Http1 {
        Http1 { wire: Box::new(stream), unread: BytesMut::new(), rest: Rest::Done }
    }

    /// Sends a request.
    pub async fn send(&mut self, request: &Request) {
        self.send_bytes(&request.to_http1()).await;
    }

    /// Sends bytes as they are. A connection that the node has already closed is noticed when the answer is read.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = within("room to send a request", self.wire.write_all(bytes)).await;
        let _ = self.wire.flush().await;
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        self.unread.reserve(READ_BYTES);
        within("bytes from the node", self.wire.read_buf(&mut self.unread)).await
    }

    /// Reads the header of the answer to `request`; None when the connection ends without one.
    pub async fn try_head(&mut self, method: &str) -> Option<Head> {
        loop {
            let end = loop {
                if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                    break end;
                }
                match self.fill().await {
                    Ok(n) if n > 0 => {}
                    _ => return None,
                }
            };
            let text = self.unread.split_to(end + 4);
            let head = parse_head(&text[..end]);
            if head.status >= 200 {
                self.rest = rest_of(&head, method);
                return Some(head);
            }
        }
    }

    /// Reads the header of the answer; panics when there is none.
    pub async fn head(&mut self, method: &str) -> Head {
        self.try_head(method).await.expect("an answer before the connection's end")
    }

    /// The next bytes of the body; None at its clean end.
    pub async fn next(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            match self.rest {
                Rest::Done | Rest::Bytes(0) => {
                    self.rest = Rest::Done;
                    return None;
                }
                Rest::BeforeChunk => {
                    if let Err(broken) = self.read_chunk_size().await {
                        return Some(Err(broken));
                    }
                    continue;
                }
                _ => {}
            }
            if self.unread.is_empty() {
                match self.fill().await {
                    Ok(n) if n > 0 => {}
                    Ok(_) if self.rest == Rest::UntilClose => {
                        self.rest = Rest::Done;
                        return None;
                    }
                    Ok(_) => return Some(Err(format!("closed with {:?} to come", self.rest))),
                    Err(error) => return Some(Err(format!("{error} with {:?} to come", self.rest))),
                }
            }
            return Some(self.take_body().await);
        }
    }

    /// Takes what is there of the body, at most to the end of a length or chunk.
    async fn take_body(&mut self) -> Result<Bytes, String> {
        let there = self.unread.len();
        let take = match self.rest {
            Rest::Bytes(left) | Rest::Chunk(left) => there.min(usize::try_from(left).unwrap_or(usize::MAX)),
            _ => there,
        };
        let bytes = self.unread.split_to(take);
        match self.rest {
            Rest::Bytes(left) => self.rest = Rest::Bytes(left - take as u64),
            Rest::Chunk(left) if left == take as u64 => {
                let line_end = self.take_line().await?;
                if !line_end.is_empty() {
                    return Err(format!("a chunk is followed by {line_end:?}"));
                }
                self.rest = Rest::BeforeChunk;
            }
            Rest::Chunk(left) => self.rest = Rest::Chunk(left - take as u64),
            _ => {}
        }
        Ok(bytes.freeze())
    }

    async fn read_chunk_size(&mut self) -> Result<(), String> {
        let line = self.take_line().await?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size =
            u64::from_str_radix(digits, 16).map_err(|error| format!("chunk size {line:?}: {error}"))?;
        if size > 0 {
            self.rest = Rest::Chunk(size);
            return Ok(());
        }
        while !self.take_line().await?.is_empty() {}
        self.rest = Rest::Done;
        Ok(())
    }

    async fn take_line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|window| window == b"\r\n") {
                let line = self.unread.split_to(end + 2);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            match self.fill().await {
                Ok(n) if n > 0 => {}
                Ok(_) => return Err("closed before the last chunk".to_owned()),
                Err(error) => return Err(format!("{error} before the last chunk")),
            }
        }
    }

    /// Reads at least `count` bytes of the body.
    pub async fn at_least(&mut self, count: usize) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        while body.len() < count {
            match self.next().await {
                Some(bytes) => body.extend_from_slice(&bytes?),
                None => return Err(format!("the body ended after {} bytes", body.len())),
            }
        }
        Ok(body)
    }

    /// Reads the body to its end.
    pub async fn rest(&mut self) -> (Bytes, End) {
        let mut body = Vec::new();
        let end = loop {
            match self.next().await {
                Some(Ok(bytes)) => body.extend_from_slice(&bytes),
                Some(Err(broken)) => break End::Broken(broken),
                None => break End::Clean,
            }
        };
        (Bytes::from(body), end)
    }

    /// Sends a request and reads its answer to the end.
    pub async fn ask(&mut self, request: &Request) -> Response {
        self.send(request).await;
        self.response(&request.method).await
    }

    /// Reads an answer to its end.
    pub async fn response(&mut self, method: &str) -> Response {
        let head = self.head(method).await;
        let (body, end) = self.rest().await;
        Response { head, body, end }
    }

    /// Whether the node closes the connection without sending anything more.
    pub async fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && !matches!(self.fill().await, Ok(n) if n > 0)
    }
}

fn parse_head(text: &[u8]) -> Head {
    let text = String::from_utf8_lossy(text).into_owned();
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("not a status line: {status_line:?}"));
    let headers = lines
        .map(|line| line.split_once(':').unwrap_or_else(|| panic!("not a header line: {line:?}")))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Head { status, headers }
}

/// RFC 9112 section 6.3.
fn rest_of(head: &Head, method: &str) -> Rest {
    if method == "HEAD" || head.status == 204 || head.status == 304 {
        return Rest::Done;
    }
    if head.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        assert!(head.get("content-length").is_none(), "both length and chunks: {head:?}");
        return Rest::BeforeChunk;
    }
    match head.get("content-length") {
        Some(length) => Rest::Bytes(length.parse().unwrap_or_else(|_| panic!("content-length: {length:?}"))),
        None => Rest::UntilClose,
    }
}

async fn tcp(address: SocketAddr) -> TcpStream {
    let stream = within("a connection", TcpStream::connect(address)).await.expect("a listening node");
    stream.set_nodelay(true).expect("an option");
    stream
}

async fn tcp_with_tiny_buffer(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("an option");
    within("a connection", socket.connect(address)).await.expect("a listening node")
}

/// One request on a connection of its own.
pub async fn ask(address: SocketAddr, request: &Request) -> Response {
    let mut connection = Http1::connect(address).await;
    connection.ask(request).await
}

/// GET on a connection of its own.
pub async fn get(address: SocketAddr, target: &str) -> Response {
    ask(address, &Request::get(target)).await
}

/// A client connection of HTTP/2.
#[derive(Clone)]
pub struct Http2 {
    send: h2::client::SendRequest<Bytes>,
    scheme: &'static str,
}

impl Http2 {
    /// Connects over plain TCP with prior knowledge (RFC 9113 section 3.3).
    pub async fn connect(address: SocketAddr) -> Http2 {
        Http2::over(tcp(address).await, "http").await
    }

    /// Speaks HTTP/2 inside an established TLS session.
    pub async fn over_tls(stream: TlsStream<TcpStream>) -> Http2 {
        Http2::over(stream, "https").await
    }

    async fn over(stream: impl Wire + 'static, scheme: &'static str) -> Http2 {
        // The connection's window is far larger than a stream's, so that an unread stream stops only itself.
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(65_535).initial_connection_window_size(16 * 1024 * 1024);
        let handshake = builder.handshake::<_, Bytes>(stream);
        let (send, connection) = within("an HTTP/2 handshake", handshake).await.expect("HTTP/2");
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Http2 { send, scheme }
    }

    /// Sends a request and waits for the answer's header.
    pub async fn start(&self, request: &Request) -> Result<Http2Body, String> {
        let uri = format!("{}://{}{}", self.scheme, request.host_value(), request.target);
        let mut builder = http::Request::builder().method(request.method.as_str()).uri(uri);
        for (name, value) in request.headers.iter().filter(|(n, _)| n != "host") {
            builder = builder.header(name, value);
        }
        let head = builder.body(()).expect("a valid request");
        let mut send = within("a free stream", self.send.clone().ready()).await.map_err(|e| e.to_string())?;
        let (response, mut stream) =
            send.send_request(head, request.body.is_empty()).map_err(|error| error.to_string())?;
        if !request.body.is_empty() {
            stream.send_data(request.body.clone(), true).map_err(|error| error.to_string())?;
        }
        let (parts, body) =
            within("an HTTP/2 answer", response).await.map_err(|e| e.to_string())?.into_parts();
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        Ok(Http2Body { head: Head { status: parts.status.as_u16(), headers }, body, taken: 0 })
    }

    /// Sends a request and reads its answer to the end.
    pub async fn ask(&self, request: &Request) -> Response {
        let mut body = self.start(request).await.expect("an answer");
        body.read_to_end().await
    }

    /// GET, read to the end.
    pub async fn get(&self, target: &str) -> Response {
        self.ask(&Request::get(target)).await
    }
}

/// An answer of HTTP/2 whose body is read at the test's pace. Dropped unread, it resets the stream.
pub struct Http2Body {
    pub head: Head,
    body: h2::RecvStream,
    taken: u64,
}

impl Http2Body {
    /// The next bytes of the body; None at its clean end. Reading gives the window back.
    pub async fn next(&mut self) -> Option<Result<Bytes, String>> {
        match within("HTTP/2 data", self.body.data()).await? {
            Ok(bytes) => {
                let _ = self.body.flow_control().release_capacity(bytes.len());
                self.taken += bytes.len() as u64;
                Some(Ok(bytes))
            }
            Err(error) => Some(Err(error.to_string())),
        }
    }

    /// Reads the body to its end; a length that was announced must be kept.
    pub async fn read_to_end(&mut self) -> Response {
        let mut body = Vec::new();
        let end = loop {
            match self.next().await {
                Some(Ok(bytes)) => body.extend_from_slice(&bytes),
                Some(Err(broken)) => break End::Broken(broken),
                None => break self.clean_end(),
            }
        };
        Response { head: self.head.clone(), body: Bytes::from(body), end }
    }

    fn clean_end(&self) -> End {
        let announced = self.head.get("content-length").and_then(|length| length.parse::<u64>().ok());
        match announced {
            Some(length) if length != self.taken && self.taken > 0 => {
                End::Broken(format!("END_STREAM after {} of {length} bytes", self.taken))
            }
            _ => End::Clean,
        }
    }
}

/// A TLS session with the node, offering these ALPN protocols.
pub async fn tls(
    address: SocketAddr,
    roots: &Arc<rustls::RootCertStore>,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    connect_tls((b"", address), roots, alpn, None).await
}

/// The same, with a certificate and its key for who asks for one.
pub async fn tls_as(
    address: SocketAddr,
    roots: &Arc<rustls::RootCertStore>,
    alpn: &[&str],
    shown: Option<Shown>,
) -> std::io::Result<TlsStream<TcpStream>> {
    connect_tls((b"", address), roots, alpn, shown).await
}

/// As [`tls`], on a connection that begins with these bytes.
pub async fn tls_after(
    first: &[u8],
    address: SocketAddr,
    roots: &Arc<rustls::RootCertStore>,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    connect_tls((first, address), roots, alpn, None).await
}

/// A client's certificates and their key.
type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

async fn connect_tls(
    (first, address): (&[u8], SocketAddr),
    roots: &Arc<rustls::RootCertStore>,
    alpn: &[&str],
    shown: Option<Shown>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(Arc::clone(roots));
    let mut config = match shown {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).expect("a certificate and its key"),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = rustls::pki_types::ServerName::try_from("edge.test").expect("a name");
    let mut stream = tcp(address).await;
    stream.write_all(first).await?;
    within("a TLS handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}
