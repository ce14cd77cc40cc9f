//! An HTTP/2 client over plaintext with prior knowledge (RFC 9113 section 3.3) that checks what it receives, and one
//! that never gives flow-control capacity back. One request per connection. Called by the stalled-reader benchmark.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use h2::client::{Builder, ResponseFuture};
use http::Request;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::content::Object;
use crate::http1::EXCHANGE_MAX;

/// Flow-control window of a viewer that reads, per stream and per connection, in bytes.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Flow-control window of a viewer that never reads, in bytes: the protocol's own initial value.
const STALLED_WINDOW_BYTES: u32 = 65_535;

/// A viewer that has asked for an object and never releases capacity; its request stands until it is dropped.
#[derive(Debug)]
pub(crate) struct Stalled {
    _tasks: JoinSet<()>,
}

// === impl Stalled ===

impl Stalled {
    /// Asks for an object; what fits into the window is received, nothing more.
    pub(crate) async fn start(host: SocketAddr, object: &Object) -> Result<Self> {
        let (response, mut tasks) = ask(host, object, STALLED_WINDOW_BYTES).await?;
        tasks.spawn(async move {
            // Holds the body unread until the task is ended; a failed response holds nobody up, and the times show it.
            let _held = response.await;
            std::future::pending::<()>().await;
        });
        Ok(Self { _tasks: tasks })
    }
}

/// Asks for an object on a connection of its own and receives it. Returns the time from the request to the last byte.
/// An answer that is not a 200, is cut off, or differs in one byte is an error.
pub(crate) async fn get(host: SocketAddr, object: &Object) -> Result<Duration> {
    tokio::time::timeout(EXCHANGE_MAX, exchange(host, object))
        .await
        .with_context(|| format!("{}: not complete within {EXCHANGE_MAX:?}", object.path))?
        .with_context(|| object.path.clone())
}

async fn exchange(host: SocketAddr, object: &Object) -> Result<Duration> {
    let asked_at = Instant::now();
    let (response, _tasks) = ask(host, object, WINDOW_BYTES).await?;
    let response = response.await.context("the response")?;
    ensure!(response.status() == 200, "status {}", response.status());
    let mut body = response.into_body();
    let content = object.content();
    let mut received = 0;
    while let Some(piece) = body.data().await {
        let piece = piece.with_context(|| format!("after {received} of {} bytes", object.size))?;
        ensure!(piece.len() as u64 <= object.size - received, "more than {} bytes", object.size);
        if let Some(at) = content.first_difference(received, &piece) {
            bail!("wrong byte at {at}");
        }
        received += piece.len() as u64;
        body.flow_control().release_capacity(piece.len()).context("flow control")?;
    }
    ensure!(received == object.size, "ended after {received} of {} bytes", object.size);
    Ok(asked_at.elapsed())
}

/// Connects and sends the request. The tasks drive the connection and end when they are dropped.
async fn ask(host: SocketAddr, object: &Object, window_bytes: u32) -> Result<(ResponseFuture, JoinSet<()>)> {
    let stream = TcpStream::connect(host).await.with_context(|| format!("no connection to {host}"))?;
    stream.set_nodelay(true)?;
    let mut builder = Builder::new();
    builder.initial_window_size(window_bytes).initial_connection_window_size(window_bytes);
    let (sender, connection) = builder.handshake::<_, Bytes>(stream).await.context("the HTTP/2 handshake")?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // A broken connection shows in the response.
        connection.await.ok();
    });
    let request = Request::get(format!("http://{host}{}", object.path)).body(()).context("the request")?;
    let mut sender = sender.ready().await.context("the HTTP/2 connection")?;
    let (response, _) = sender.send_request(request, true).context("sending the request")?;
    Ok((response, tasks))
}
