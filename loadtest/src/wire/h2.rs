//! Exchanges over a connection of HTTP/2 (RFC 9113): any number of them at once. A future that is dropped resets its stream.
//! Which connection it is, is [`super::host`]'s.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Error, Reason, RecvStream};
use http::header::{ACCEPT as ACCEPT_FIELD, RANGE, USER_AGENT as USER_AGENT_FIELD};
use http::{HeaderValue, Method, Request, Response, Version};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::body::{Sink, Wanted};
use super::head::Head;
use super::known::Known;
use super::stream::Stream;
use super::{ACCEPT, Broken, USER_AGENT, range_field};
use crate::fetch::{Exchange, Failure, Get, Outcome, Progress};

/// Flow-control window of a stream and of a connection, in bytes: as those of a browser, wide enough that the line is the limit.
const WINDOW_BYTES: (u32, u32) = (6 * 1024 * 1024, 15 * 1024 * 1024);

/// The longest list of fields of an answer, in bytes.
const FIELDS_BYTES_MAX: u32 = 16 * 1024;

/// A connection: its sender, and the task that drives it. The connection is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Multiplexed {
    sender: SendRequest<Bytes>,
    driver: Option<JoinHandle<()>>,
}

// === impl Multiplexed ===

impl Multiplexed {
    /// Begins HTTP/2 on a connection (RFC 9113 section 3.4).
    pub(crate) async fn open(stream: Stream, quiet_max: Duration) -> Result<Self, Failure> {
        let mut builder = Builder::new();
        builder
            .initial_window_size(WINDOW_BYTES.0)
            .initial_connection_window_size(WINDOW_BYTES.1)
            .max_header_list_size(FIELDS_BYTES_MAX)
            .enable_push(false);
        let (sender, connection) = match timeout(quiet_max, builder.handshake(stream)).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(failure_of(&error)),
            Err(_) => return Err(Failure::Timeout),
        };
        let driver = tokio::spawn(async move {
            // A broken connection shows in its streams.
            connection.await.ok();
        });
        Ok(Self { sender, driver: Some(driver) })
    }

    /// Who sends requests on it; none: the connection has ended.
    pub(crate) fn sender(&self) -> Option<SendRequest<Bytes>> {
        let is_open = self.driver.as_ref().is_some_and(|driver| !driver.is_finished());
        is_open.then(|| self.sender.clone())
    }

    /// No more requests on it; those under way may end.
    pub(crate) fn retire(mut self) {
        self.driver = None;
    }
}

impl Drop for Multiplexed {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}

/// Asks, and receives all of the answer. Returns what came of it.
pub(crate) async fn exchange(
    sender: SendRequest<Bytes>,
    get: &Get<'_>,
    quiet_max: Duration,
    known: &Known,
    exchange: &mut Exchange,
) -> Result<Outcome, Broken> {
    let wanted = Wanted::of(get);
    exchange.sent = Instant::now();
    let answer = ask(sender, get, quiet_max, &mut exchange.sent).await;
    exchange.end = Instant::now();
    let answer = answer.map_err(|failure| Broken { failure, answered: false })?;
    exchange.first_byte = Some(exchange.end);
    exchange.status = Some(answer.status());
    let answered = |failure| Broken { failure, answered: true };
    let head = read_head(&answer, &wanted).map_err(answered)?;
    let sink = wanted.sink(&head);
    let length = head.length;
    exchange.cache = head.cache;
    exchange.headers = head.fields;
    let mut sink = sink.map_err(answered)?;
    let (sent, first_byte) = (Some(exchange.sent), exchange.first_byte);
    let result = receive(answer.into_body(), &mut sink, quiet_max, length, |bytes| {
        exchange.bytes = bytes;
        get.tell(Progress { sent, first_byte, bytes, length });
    })
    .await;
    exchange.end = Instant::now();
    exchange.text = sink.take_text();
    result.map(|()| sink.verdict(known)).map_err(answered)
}

/// Sends the request and waits for the head of the answer.
async fn ask(
    sender: SendRequest<Bytes>,
    get: &Get<'_>,
    quiet_max: Duration,
    sent: &mut Instant,
) -> Result<Response<RecvStream>, Failure> {
    let request = request(get).ok_or(Failure::Protocol)?;
    let ask = async {
        // The server may want the number of streams to be small.
        let mut sender = sender.ready().await?;
        *sent = Instant::now();
        let (response, _) = sender.send_request(request, true)?;
        drop(sender);
        response.await
    };
    match timeout(quiet_max, ask).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failure_of(&error)),
        Err(_) => Err(Failure::Timeout),
    }
}

fn request(get: &Get<'_>) -> Option<Request<()>> {
    let mut request = Request::builder()
        .method(Method::GET)
        .version(Version::HTTP_2)
        .uri(get.url.as_str())
        .header(USER_AGENT_FIELD, USER_AGENT)
        .header(ACCEPT_FIELD, ACCEPT)
        .body(())
        .ok()?;
    let fields = request.headers_mut();
    if let Some((first, last)) = get.range {
        fields.insert(RANGE, HeaderValue::from_str(&range_field(first, last)).ok()?);
    }
    for (name, value) in get.fields {
        fields.append(name, value.clone());
    }
    Some(request)
}

fn read_head(answer: &Response<RecvStream>, wanted: &Wanted) -> Result<Head, Failure> {
    let fields = answer.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    Head::read(answer.status(), fields, wanted.reads_fields())
}

/// `told` hears at once how much has come: whoever gives the exchange up loses that.
async fn receive(
    mut body: RecvStream,
    sink: &mut Sink,
    quiet_max: Duration,
    length: Option<u64>,
    mut told: impl FnMut(u64),
) -> Result<(), Failure> {
    loop {
        let piece = match timeout(quiet_max, body.data()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(error))) => return Err(body_failure(&error, sink.bytes(), length)),
            Ok(None) => return Ok(()),
            Err(_) => return Err(Failure::Timeout),
        };
        let pushed = sink.push(&piece);
        told(sink.bytes());
        pushed?;
        body.flow_control().release_capacity(piece.len()).map_err(|error| failure_of(&error))?;
    }
}

/// A stream that ends before its announced length is malformed (RFC 9113 section 8.1.1), and was cut short all the same.
fn body_failure(error: &Error, bytes: u64, length: Option<u64>) -> Failure {
    let is_malformed = error.is_library() && error.reason() == Some(Reason::PROTOCOL_ERROR);
    match length {
        Some(length) if is_malformed && error.is_reset() && bytes < length => Failure::Short,
        _ => failure_of(error),
    }
}

/// What the peer, or the way to it, did is a short answer; what this side could not make sense of is no HTTP.
fn failure_of(error: &Error) -> Failure {
    if error.is_io() || error.is_remote() {
        return Failure::Short;
    }
    match error.reason() {
        Some(Reason::NO_ERROR | Reason::CANCEL | Reason::REFUSED_STREAM) => Failure::Short,
        Some(_) => Failure::Protocol,
        // The connection was closed on this side: its driver had seen its end.
        None => Failure::Short,
    }
}
