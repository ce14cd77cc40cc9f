//! One exchange over a connection of HTTP/1.1 (RFC 9112): the request is written, the answer is read into room that the
//! thread has once, so that a connection that waits has no buffer of its own. Which connection it is, and what happens to it
//! afterwards, is [`super::host`]'s.

pub(crate) mod answer;
pub(crate) mod chunked;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::Write;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};
use url::Position;

use self::answer::Answer;
use super::known::Known;
use super::{ACCEPT, Broken, USER_AGENT, authority, range_field};
use crate::fetch::{Exchange, Failure, Get, Outcome, Progress};

/// Room for one read, in bytes.
const READ_BYTES: usize = 128 * 1024;

/// Typical length of a request, in bytes.
const REQUEST_BYTES: usize = 512;

thread_local! {
    static ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Asks, and receives all of the answer. Returns what came of it, and whether the connection may be used again.
pub(crate) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    get: &Get<'_>,
    quiet_max: Duration,
    known: &Known,
    exchange: &mut Exchange,
) -> Result<(Outcome, bool), Broken> {
    let mut answer = Answer::new(get);
    let request = request(get);
    exchange.sent = Instant::now();
    let mut result = send(stream, &request, quiet_max).await;
    drop(request);
    if result.is_ok() {
        result = receive(stream, get, &mut answer, quiet_max, exchange).await;
    }
    exchange.end = Instant::now();
    answer.tell(exchange);
    match result {
        Ok(()) => Ok((answer.verdict(known), answer.keeps_alive())),
        Err(failure) => Err(Broken { failure, answered: answer.is_heard() }),
    }
}

/// The request as it is sent.
fn request(get: &Get<'_>) -> Vec<u8> {
    let mut text = Vec::with_capacity(REQUEST_BYTES);
    let target = &get.url[Position::BeforePath..Position::AfterQuery];
    // Writing to a vector does not fail.
    write!(
        text,
        "GET {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {USER_AGENT}\r\nAccept: {ACCEPT}\r\n",
        authority(get.url)
    )
    .ok();
    if let Some((first, last)) = get.range {
        write!(text, "Range: {}\r\n", range_field(first, last)).ok();
    }
    for (name, value) in get.fields {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text
}

async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
    quiet_max: Duration,
) -> Result<(), Failure> {
    let send = async {
        stream.write_all(request).await?;
        stream.flush().await
    };
    match timeout(quiet_max, send).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Failure::Short),
        Err(_) => Err(Failure::Timeout),
    }
}

async fn receive<S: AsyncRead + Unpin>(
    stream: &mut S,
    get: &Get<'_>,
    answer: &mut Answer,
    quiet_max: Duration,
    exchange: &mut Exchange,
) -> Result<(), Failure> {
    let mut timer = pin!(sleep(quiet_max));
    let mut heard_at = Instant::now();
    poll_fn(|cx| {
        loop {
            let read = ROOM.with_borrow_mut(|room| {
                let mut buffer = ReadBuf::new(room);
                let read = Pin::new(&mut *stream).poll_read(cx, &mut buffer);
                read.map(|read| match read {
                    Ok(()) if buffer.filled().is_empty() => answer.end().map(|()| true),
                    Ok(()) => answer.take(buffer.filled()),
                    Err(_) => Err(Failure::Short),
                })
            });
            let Poll::Ready(read) = read else {
                ready!(poll_quiet(timer.as_mut(), heard_at + quiet_max, cx));
                return Poll::Ready(Err(Failure::Timeout));
            };
            // Told at once: whoever gives the exchange up loses what came by then.
            if let Some(head) = answer.head().filter(|_| exchange.first_byte.is_none()) {
                (exchange.first_byte, exchange.cache) = (Some(Instant::now()), head.cache);
            }
            exchange.bytes = answer.bytes();
            let Exchange { sent, first_byte, bytes, .. } = *exchange;
            let length = answer.head().and_then(|head| head.length);
            get.tell(Progress { sent: Some(sent), first_byte, bytes, length });
            if read? {
                return Poll::Ready(Ok(()));
            }
            heard_at = Instant::now();
        }
    })
    .await
}

/// Waits until a time that may have moved since the timer was set.
fn poll_quiet(mut timer: Pin<&mut Sleep>, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        ready!(timer.as_mut().poll(cx));
        if timer.deadline() >= until {
            return Poll::Ready(());
        }
        timer.as_mut().reset(until);
    }
}
