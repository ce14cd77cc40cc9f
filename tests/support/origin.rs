//! A scripted origin: an HTTP/1.1 server on a free loopback port that answers each path as a test wrote it down.
//!
//! What it sends, and when, follows gates that the test opens, not time (but for [`Answer::paced`], which plays a slow
//! origin under a herd). It records every request. It shares no parsing code with the node.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::wait::{Gate, eventually};

/// A request as the origin received it.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Recorded {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Everything of it, to look for what must not be there.
    pub fn text(&self) -> String {
        let headers: String = self.headers.iter().map(|(n, v)| format!("{n}: {v}\n")).collect();
        format!("{} {}\n{headers}\n{}", self.method, self.target, String::from_utf8_lossy(&self.body))
    }
}

/// How an answer's body is delimited.
#[derive(Clone, Debug)]
enum Framing {
    Length,
    ClaimedLength(u64),
    Chunked,
    UntilClose,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Whole,
    CloseAfter(usize),
    ResetAfter(usize),
    GarbageAfter(usize),
}

/// One answer of the script.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    framing: Framing,
    ending: Ending,
    before_header: Option<Gate>,
    gates: Vec<(usize, Gate)>,
    pace: Option<(usize, Duration)>,
    conditional: bool,
    ranges: bool,
    raw: Option<Bytes>,
}

impl Answer {
    /// A 200 with this body and its length.
    pub fn ok(body: impl Into<Bytes>) -> Answer {
        Answer::status(200).body(body)
    }

    /// An answer of this status without a body.
    pub fn status(status: u16) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            framing: Framing::Length,
            ending: Ending::Whole,
            before_header: None,
            gates: Vec::new(),
            pace: None,
            conditional: false,
            ranges: false,
            raw: None,
        }
    }

    /// These bytes in place of an HTTP answer; the connection closes behind them.
    pub fn raw(bytes: impl Into<Bytes>) -> Answer {
        Answer { raw: Some(bytes.into()), ..Answer::status(200) }
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Answer {
        self.body = body.into();
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Shorthand for `cache-control`.
    pub fn cache_control(self, value: &str) -> Answer {
        self.header("cache-control", value)
    }

    /// Sets the entity tag and answers a matching `If-None-Match` with 304.
    pub fn etag(mut self, tag: &str) -> Answer {
        self.conditional = true;
        self.header("etag", tag)
    }

    /// Sets the modification date and answers an equal `If-Modified-Since` with 304.
    pub fn last_modified(mut self, date: &str) -> Answer {
        self.conditional = true;
        self.header("last-modified", date)
    }

    /// Says `Accept-Ranges: bytes`, and answers a single range with 206 or 416, unless its `If-Range` names another
    /// version.
    pub fn ranges(mut self) -> Answer {
        self.ranges = true;
        self.header("accept-ranges", "bytes")
    }

    /// Sends the body in chunks, without a length.
    pub fn chunked(mut self) -> Answer {
        self.framing = Framing::Chunked;
        self
    }

    /// Sends the body without length or chunks; the closed connection ends it.
    pub fn until_close(mut self) -> Answer {
        self.framing = Framing::UntilClose;
        self
    }

    /// Announces this length, whatever the body has.
    pub fn claiming_length(mut self, length: u64) -> Answer {
        self.framing = Framing::ClaimedLength(length);
        self
    }

    /// Holds the whole answer, header included, until the gate opens.
    pub fn hold(mut self, gate: &Gate) -> Answer {
        self.before_header = Some(gate.clone());
        self
    }

    /// Holds the body from byte `offset` on until the gate opens. Gates are given in rising order.
    pub fn gate_at(mut self, offset: usize, gate: &Gate) -> Answer {
        self.gates.push((offset, gate.clone()));
        self
    }

    /// Spreads the body evenly over `duration`, in `pieces`.
    pub fn paced(mut self, pieces: usize, duration: Duration) -> Answer {
        self.pace = Some((pieces, duration));
        self
    }

    /// Closes the connection after this many bytes of the body, or of the part that is sent of it.
    pub fn close_after(mut self, bytes: usize) -> Answer {
        self.ending = Ending::CloseAfter(bytes);
        self
    }

    /// Resets the connection (RST) after this many bytes of the body, or of the part that is sent of it.
    pub fn reset_after(mut self, bytes: usize) -> Answer {
        self.ending = Ending::ResetAfter(bytes);
        self
    }

    /// Sends, after this many bytes of a body in chunks, what is no chunk, and closes the connection.
    pub fn garbage_after(mut self, bytes: usize) -> Answer {
        self.ending = Ending::GarbageAfter(bytes);
        self.chunked()
    }

    /// Whether the body is sent in chunks.
    pub fn is_chunked(&self) -> bool {
        matches!(self.framing, Framing::Chunked)
    }

    fn header_value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether the request's condition makes this a 304 (RFC 9110 section 13.2.2).
    fn not_modified_for(&self, request: &Recorded) -> bool {
        if !self.conditional || self.status != 200 {
            return false;
        }
        if let Some(condition) = request.header("if-none-match") {
            return self
                .header_value("etag")
                .is_some_and(|tag| condition.split(',').any(|t| t.trim() == tag));
        }
        request
            .header("if-modified-since")
            .is_some_and(|since| self.header_value("last-modified") == Some(since))
    }
}

impl Answer {
    /// This answer cut to the range of the request, where it has one that is honoured.
    fn cut_for(&self, request: &Recorded) -> Option<Answer> {
        let (first, last) = request.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let same = |name| self.header_value(name) == request.header("if-range");
        let condition_holds = request.header("if-range").is_none() || same("etag") || same("last-modified");
        if !self.ranges || self.status != 200 || request.method != "GET" || !condition_holds {
            return None;
        }
        let len = self.body.len();
        let (start, end) = match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) => (first, last.saturating_add(1).min(len)),
            (Ok(first), Err(_)) => (first, len),
            (Err(_), Ok(suffix)) => (len.saturating_sub(suffix), len),
            (Err(_), Err(_)) => return None,
        };
        let mut cut = self.clone();
        if start >= len {
            cut.status = 416;
            cut.body = Bytes::new();
            return Some(cut.header("content-range", &format!("bytes */{len}")));
        }
        cut.status = 206;
        cut.body = self.body.slice(start..end);
        Some(cut.header("content-range", &format!("bytes {start}-{}/{len}", end - 1)))
    }
}

/// Decides the answer from the request and from how many came for the path before it.
type Script = Arc<dyn Fn(&Recorded, usize) -> Answer + Send + Sync>;

#[derive(Default)]
struct Shared {
    scripts: Mutex<HashMap<String, Script>>,
    fallback: Mutex<Option<Script>>,
    recorded: Mutex<Vec<Recorded>>,
    answered: Mutex<HashMap<String, usize>>,
    departed: Mutex<HashMap<String, usize>>,
    body_bytes: Mutex<HashMap<String, u64>>,
    open: Mutex<Open>,
}

/// Requests under way: now, and the most there ever were at once.
#[derive(Clone, Copy, Default)]
struct Open {
    now: usize,
    most: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A socket bound to an address that others of this process may be bound to.
fn shared_socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option");
    socket.set_reuseport(true).expect("an option");
    socket.bind(address).expect("a port that is free, or this origin's own");
    socket
}

/// A running scripted origin; it stops when dropped.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Arc<TcpListener>,
    serving: Option<tokio::task::JoinHandle<()>>,
    reserved: Option<TcpSocket>,
}

impl Origin {
    /// Starts on a free port of the loopback; paths without a script are answered 404.
    pub async fn start() -> Origin {
        let listener =
            shared_socket(SocketAddr::from(([127, 0, 0, 1], 0))).listen(1024).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (shared, listening) = (Arc::new(Shared::default()), Arc::new(listener));
        let serving = Some(tokio::spawn(serve(Arc::clone(&listening), Arc::clone(&shared))));
        Origin { address, shared, listening, serving, reserved: None }
    }

    /// An origin whose port refuses connections until [`Origin::restart`].
    pub async fn refusing() -> Origin {
        let mut origin = Origin::start().await;
        origin.stop().await;
        origin
    }

    /// `http://ADDRESS:PORT`, as the configuration wants it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers every request for `path` (without query) like this.
    pub fn on(&self, path: &str, answer: Answer) {
        self.on_each(path, vec![answer]);
    }

    /// Answers the requests for `path` in this order; the last answer is repeated.
    pub fn on_each(&self, path: &str, answers: Vec<Answer>) {
        self.script(path, move |_, nth| answers[nth.min(answers.len() - 1)].clone());
    }

    /// Lets a function of the request and its number (from 0) answer `path`. Replaces an earlier script.
    pub fn script(&self, path: &str, script: impl Fn(&Recorded, usize) -> Answer + Send + Sync + 'static) {
        lock(&self.shared.scripts).insert(path.to_owned(), Arc::new(script));
        lock(&self.shared.answered).remove(path);
    }

    /// Lets a function answer every path that has no script of its own.
    pub fn otherwise(&self, script: impl Fn(&Recorded, usize) -> Answer + Send + Sync + 'static) {
        *lock(&self.shared.fallback) = Some(Arc::new(script));
    }

    /// How many requests for `path` (without query) came so far.
    pub fn requests(&self, path: &str) -> usize {
        lock(&self.shared.recorded).iter().filter(|request| request.path() == path).count()
    }

    /// Every request so far, in the order they came.
    pub fn recorded(&self) -> Vec<Recorded> {
        lock(&self.shared.recorded).clone()
    }

    /// The last request for `path`.
    pub fn last(&self, path: &str) -> Recorded {
        let recorded = lock(&self.shared.recorded);
        recorded.iter().rev().find(|request| request.path() == path).expect("a request for the path").clone()
    }

    /// Waits until at least `count` requests for `path` came.
    pub async fn await_requests(&self, path: &str, count: usize) {
        eventually(&format!("{count} origin requests for {path}"), || self.requests(path) >= count).await;
    }

    /// Waits until the client of a request for `path` has closed its connection before its answer was whole.
    pub async fn await_departed(&self, path: &str, count: usize) {
        let departed = || lock(&self.shared.departed).get(path).copied().unwrap_or_default();
        eventually(&format!("{count} fetches of {path} given up"), || departed() >= count).await;
    }

    /// Bytes of bodies written for `path` so far: not all of them need have been read.
    pub fn body_bytes(&self, path: &str) -> u64 {
        lock(&self.shared.body_bytes).get(path).copied().unwrap_or_default()
    }

    /// The most requests that were under way at once.
    pub fn most_open(&self) -> usize {
        lock(&self.shared.open).most
    }

    /// Cuts every connection and refuses new ones; the port stays reserved.
    pub async fn stop(&mut self) {
        // Bound before the listener goes, so that the port is never anybody else's.
        self.reserved = Some(shared_socket(self.address));
        // Not only closed: another test may be starting a process just now, which holds all sockets of this one for a moment.
        socket2::SockRef::from(&*self.listening).shutdown(std::net::Shutdown::Both).expect("a listener");
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }

    /// Serves again, on the same port, after [`Origin::stop`].
    pub fn restart(&mut self) {
        let socket = self.reserved.take().expect("an origin that was stopped");
        self.listening = Arc::new(socket.listen(1024).expect("a listener"));
        self.serving = Some(tokio::spawn(serve(Arc::clone(&self.listening), Arc::clone(&self.shared))));
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

async fn serve(listener: Arc<TcpListener>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let shared = Arc::clone(&shared);
            connections.spawn(async move {
                let _ = stream.set_nodelay(true);
                let _ = Connection { stream, unread: Vec::new() }.run(&shared).await;
            });
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One accepted connection with what was read beyond the last request.
struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// Whether a connection goes on after an answer.
#[derive(PartialEq)]
enum After {
    KeepAlive,
    Close,
    Reset,
    PeerLeft,
}

impl Connection {
    async fn run(mut self, shared: &Shared) -> io::Result<()> {
        while let Some(request) = self.read_request().await? {
            let path = request.path().to_owned();
            let answer = answer_for(shared, &request);
            let under_way = UnderWay::new(shared);
            let after =
                self.write_answer(shared, &request, &answer, under_way).await.unwrap_or(After::PeerLeft);
            match after {
                After::KeepAlive => {}
                After::Close => break,
                After::Reset => return self.stream.set_zero_linger(),
                After::PeerLeft => {
                    *lock(&shared.departed).entry(path).or_default() += 1;
                    break;
                }
            }
        }
        self.stream.shutdown().await
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.unread).await
    }

    async fn read_request(&mut self) -> io::Result<Option<Recorded>> {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        };
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        let method = first.next().unwrap_or_default().to_owned();
        let target = first.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut request = Recorded { method, target, headers, body: Vec::new() };
        request.body = self.read_request_body(&request).await?;
        Ok(Some(request))
    }

    async fn read_request_body(&mut self, request: &Recorded) -> io::Result<Vec<u8>> {
        if request.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            let mut body = Vec::new();
            loop {
                let line = self.take_line().await?;
                let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
                let chunk = self.take(size).await?;
                self.take(2).await?;
                if size == 0 {
                    return Ok(body);
                }
                body.extend(chunk);
            }
        }
        let length = request.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        self.take(length).await
    }

    async fn take_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|window| window == b"\r\n") {
                let line = self.take(end + 2).await?;
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < count {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// Waits at a gate; false when the client leaves meanwhile.
    async fn wait_at(&mut self, gate: &Gate) -> bool {
        loop {
            tokio::select! {
                () = gate.passed() => return true,
                read = self.stream.read_buf(&mut self.unread) => {
                    if !matches!(read, Ok(n) if n > 0) {
                        return false;
                    }
                }
            }
        }
    }

    async fn write_answer(
        &mut self,
        shared: &Shared,
        request: &Recorded,
        answer: &Answer,
        under_way: UnderWay<'_>,
    ) -> io::Result<After> {
        if let Some(gate) = &answer.before_header
            && !self.wait_at(gate).await
        {
            return Ok(After::PeerLeft);
        }
        if let Some(raw) = &answer.raw {
            drop(under_way);
            self.stream.write_all(raw).await?;
            return Ok(After::Close);
        }
        let not_modified = answer.not_modified_for(request);
        let cut = if not_modified { None } else { answer.cut_for(request) };
        let answer = cut.as_ref().unwrap_or(answer);
        let bodiless =
            not_modified || request.method == "HEAD" || answer.status == 304 || answer.status == 204;
        let header = header_block(answer, not_modified);
        if bodiless || answer.body.is_empty() {
            drop(under_way);
            self.stream.write_all(header.as_bytes()).await?;
            return if bodiless { Ok(After::KeepAlive) } else { self.write_body(answer, None, |_| {}).await };
        }
        self.stream.write_all(header.as_bytes()).await?;
        self.write_body(answer, Some(under_way), |bytes| {
            *lock(&shared.body_bytes).entry(request.path().to_owned()).or_default() += bytes as u64;
        })
        .await
    }

    async fn write_body(
        &mut self,
        answer: &Answer,
        mut under_way: Option<UnderWay<'_>>,
        written: impl Fn(usize),
    ) -> io::Result<After> {
        let sent = match answer.ending {
            Ending::Whole => answer.body.len(),
            Ending::CloseAfter(bytes) | Ending::ResetAfter(bytes) | Ending::GarbageAfter(bytes) => {
                bytes.min(answer.body.len())
            }
        };
        let chunked = matches!(answer.framing, Framing::Chunked);
        let mut start = 0;
        for (end, pause) in steps(answer, sent) {
            if end > start {
                let piece = answer.body.slice(start..end);
                if end == sent && !chunked {
                    drop(under_way.take());
                }
                if chunked {
                    self.stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
                }
                self.stream.write_all(&piece).await?;
                written(piece.len());
                if chunked {
                    self.stream.write_all(b"\r\n").await?;
                }
                self.stream.flush().await?;
                start = end;
            }
            match pause {
                Pause::None => {}
                Pause::For(duration) => tokio::time::sleep(duration).await,
                Pause::At(gate) => {
                    if !self.wait_at(&gate).await {
                        return Ok(After::PeerLeft);
                    }
                }
            }
        }
        match answer.ending {
            Ending::CloseAfter(_) => return Ok(After::Close),
            Ending::ResetAfter(_) => return Ok(After::Reset),
            Ending::GarbageAfter(_) => {
                self.stream.write_all(b"no chunk\r\n").await?;
                return Ok(After::Close);
            }
            Ending::Whole => {}
        }
        drop(under_way);
        if chunked {
            self.stream.write_all(b"0\r\n\r\n").await?;
        }
        Ok(match answer.framing {
            Framing::Length | Framing::Chunked => After::KeepAlive,
            Framing::ClaimedLength(_) | Framing::UntilClose => After::Close,
        })
    }
}

/// What happens behind a piece of the body.
enum Pause {
    None,
    For(Duration),
    At(Gate),
}

/// The pieces of a body: where each ends, and what to wait for behind it.
fn steps(answer: &Answer, len: usize) -> Vec<(usize, Pause)> {
    if let Some((pieces, duration)) = answer.pace {
        let pause = duration / u32::try_from(pieces).expect("few pieces");
        let paused = (0..pieces).map(|piece| (len * piece / pieces, Pause::For(pause)));
        return paused.chain([(len, Pause::None)]).collect();
    }
    let mut steps: Vec<(usize, Pause)> =
        answer.gates.iter().map(|(offset, gate)| ((*offset).min(len), Pause::At(gate.clone()))).collect();
    steps.push((len, Pause::None));
    steps
}

fn header_block(answer: &Answer, not_modified: bool) -> String {
    let status = if not_modified { 304 } else { answer.status };
    let mut block = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in &answer.headers {
        block.push_str(&format!("{name}: {value}\r\n"));
    }
    if !not_modified && status != 204 && status != 304 {
        match answer.framing {
            Framing::Length => block.push_str(&format!("content-length: {}\r\n", answer.body.len())),
            Framing::ClaimedLength(length) => block.push_str(&format!("content-length: {length}\r\n")),
            Framing::Chunked => block.push_str("transfer-encoding: chunked\r\n"),
            Framing::UntilClose => block.push_str("connection: close\r\n"),
        }
    }
    block.push_str("\r\n");
    block
}

fn answer_for(shared: &Shared, request: &Recorded) -> Answer {
    let path = request.path().to_owned();
    lock(&shared.recorded).push(request.clone());
    let nth = {
        let mut answered = lock(&shared.answered);
        let count = answered.entry(path.clone()).or_default();
        *count += 1;
        *count - 1
    };
    let script = lock(&shared.scripts).get(&path).cloned().or_else(|| lock(&shared.fallback).clone());
    script.map_or_else(|| Answer::status(404), |script| script(request, nth))
}

/// Counts a request as under way while it lives: until the last of its answer is sent, not longer, since the client may
/// send another one as soon as it has that.
struct UnderWay<'a>(&'a Shared);

impl<'a> UnderWay<'a> {
    fn new(shared: &'a Shared) -> UnderWay<'a> {
        let mut open = lock(&shared.open);
        open.now += 1;
        open.most = open.most.max(open.now);
        UnderWay(shared)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        lock(&self.0.open).now -= 1;
    }
}
