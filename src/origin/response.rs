//! An origin's answer whose header has arrived, and the reading of its body.
//!
//! Decides when a body is complete and what becomes of its connection: back to the pool after a complete body, closed
//! otherwise. Called by whoever fetched; holds the group's permit until the body has ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use pingora::BError;
use pingora::connectors::http::Connector;
use pingora::http::ResponseHeader;
use pingora::protocols::http::client::HttpSession;
use tokio::time::Instant;

use super::breaker::Afterwards;
use super::eject::Record;
use super::error::OriginError;
use super::exchange::{Answered, Framing};
use super::fetch::Turn;
use super::metrics::OriginMetrics;
use super::server::{Connection, POOL_IDLE};

/// How long handing a connection back may take; it may write a TLS close.
const RELEASE_LIMIT: Duration = Duration::from_secs(1);

/// Subtracted from the idle time a server announces, so that it is not the first to close.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// An answer from an origin server. Dropped before its body has ended, it closes its connection.
pub struct OriginResponse {
    /// The header as received: fields of the connection (`Transfer-Encoding`, `Connection`) included.
    pub header: ResponseHeader,
    /// Authority of the server that answered; for logs, never for viewers.
    pub server: Arc<str>,
    framing: Framing,
    reading: Option<Reading>,
    /// The last piece, while its connection is being handed back.
    pending: Option<Bytes>,
    broken: bool,
    between_bytes: Duration,
    /// When the whole answer must have come.
    until: Instant,
    metrics: Arc<OriginMetrics>,
    account: Account,
    fault: Fault,
}

/// A body that has broken off makes its request a failure when it is given up, and none if the rest came by another one.
#[derive(Default)]
struct Fault(Option<Afterwards>);

impl Drop for Fault {
    fn drop(&mut self) {
        if let Some(circuit) = self.0.take() {
            circuit.failed();
        }
    }
}

/// Who is told what becomes of the body.
pub(super) struct Account {
    pub(super) record: Arc<Record>,
    /// Whether a whole body makes it a success of the server: by its status it is none of failure.
    pub(super) good: bool,
    pub(super) circuit: Option<Afterwards>,
}

/// What is held while the body is being read. Dropped with a connection, it gives that up.
struct Reading {
    connection: Option<Connection>,
    connector: Arc<Connector>,
    /// Whether the connection may be dead.
    suspect: bool,
    /// Bytes that are still to come of a body whose length was announced.
    left: Option<u64>,
    _turn: Turn,
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.give_up(&self.connector, self.suspect);
        }
    }
}

impl OriginResponse {
    pub(super) async fn new(
        answered: Answered,
        server: Arc<str>,
        connector: Arc<Connector>,
        turn: Turn,
        (metrics, account): (Arc<OriginMetrics>, Account),
        between_bytes: Duration,
    ) -> Self {
        let Answered { connection, header, framing, until } = answered;
        let left = if let Framing::Length(length) = framing { Some(length) } else { None };
        let connection = Some(connection);
        let reading = Some(Reading { connection, connector, suspect: false, left, _turn: turn });
        let (pending, broken) = (None, false);
        let mut response = Self {
            header,
            server,
            framing,
            reading,
            pending,
            broken,
            between_bytes,
            until,
            metrics,
            account,
            fault: Fault::default(),
        };
        if matches!(framing, Framing::NoBody | Framing::Length(0)) {
            response.finish().await;
        }
        response
    }

    /// How the end of the body is told. A body that ends with its connection ([`Framing::Close`]) cannot be known to be
    /// complete.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The next bytes of the body, never empty; None after its clean, complete end.
    ///
    /// The connection is handed back as soon as the last byte has been read. May be dropped while it waits and called
    /// again: nothing is lost.
    ///
    /// # Errors
    ///
    /// [`OriginError::BetweenBytesTimeout`] when nothing comes for `timeouts.between_bytes`, [`OriginError::TotalTimeout`]
    /// when the whole answer takes longer than `timeouts.total`, [`OriginError::BrokenBody`]
    /// when the body ends before its announced end or its framing is wrong; every later call gives the latter too.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, OriginError> {
        if self.broken {
            return Err(self.broken_off("it broke off earlier"));
        }
        let Some(reading) = self.reading.as_mut() else { return Ok(self.pending.take()) };
        let Some(connection) = reading.connection.as_mut() else { return Ok(self.pending.take()) };
        let stalled = Instant::now() + self.between_bytes;
        match tokio::time::timeout_at(stalled.min(self.until), next(&mut connection.session)).await {
            Ok(Ok((None, false))) => {
                Err(self.fail(|server| OriginError::BrokenBody { server, reason: "no end".to_owned() }))
            }
            Ok(Ok((piece, done))) => {
                let len = piece.as_ref().map_or(0, Bytes::len);
                if let Some(left) = &mut reading.left {
                    let more = left.checked_sub(len as u64);
                    *left = more.unwrap_or_default();
                    if more.is_none() || (done && more != Some(0)) {
                        let reason = "not as long as announced".to_owned();
                        return Err(self.fail(|server| OriginError::BrokenBody { server, reason }));
                    }
                }
                self.metrics.body(len);
                if !done {
                    // All that was announced is here; word of its end, of HTTP/2, may come later, and nobody need wait for it.
                    if reading.left == Some(0) && self.account.good {
                        self.account.record.succeeded();
                    }
                    return Ok(piece);
                }
                self.pending = piece;
                self.finish().await;
                Ok(self.pending.take())
            }
            Ok(Err(error)) => {
                let reason = error.etype().as_str().to_owned();
                Err(self.fail(|server| OriginError::BrokenBody { server, reason }))
            }
            Err(_elapsed) if self.until <= stalled => {
                // Nobody's failure: the reader may be the slow one.
                Err(self.end(|server| OriginError::TotalTimeout { server }))
            }
            Err(_elapsed) => {
                reading.suspect = true;
                Err(self.fail(|server| OriginError::BetweenBytesTimeout { server }))
            }
        }
    }

    /// Gives up what is left of the body: its connection is closed, and the next request has the turn.
    pub fn give_up(&mut self) {
        self.reading = None;
        self.broken = true;
    }

    /// What has broken off of the body has come by another request: for the group it is no failure.
    pub fn gone_on_with(&mut self) {
        self.fault.0 = None;
    }

    /// Hands the connection back and lets the next request have the turn.
    async fn finish(&mut self) {
        let Some(mut reading) = self.reading.take() else { return };
        if self.account.good {
            self.account.record.succeeded();
        }
        let Some(idle) = idle_time(&self.header) else { return };
        let Some(Connection { session, peer, .. }) =
            reading.connection.take_if(|connection| connection.keeps)
        else {
            return;
        };
        let release = reading.connector.release_http_session(session, &peer, Some(idle));
        // On time out the connection is dropped, and closed with that.
        let _ = tokio::time::timeout(RELEASE_LIMIT, release).await;
    }

    /// Ends the body before its time.
    fn end(&mut self, error: impl FnOnce(Arc<str>) -> OriginError) -> OriginError {
        self.give_up();
        let error = error(Arc::clone(&self.server));
        self.metrics.error(error.kind());
        error
    }

    /// The same, by the server's fault.
    fn fail(&mut self, error: impl FnOnce(Arc<str>) -> OriginError) -> OriginError {
        let error = self.end(error);
        self.account.record.broke();
        self.fault.0 = self.account.circuit.take().filter(|_| self.account.good);
        error
    }

    fn broken_off(&self, reason: &str) -> OriginError {
        OriginError::BrokenBody { server: Arc::clone(&self.server), reason: reason.to_owned() }
    }
}

/// The next bytes of a body, and whether they are its last. Neither: its connection has ended before it. May be dropped
/// while it waits: nothing is lost.
async fn next(session: &mut HttpSession) -> Result<(Option<Bytes>, bool), BError> {
    loop {
        let read = session.read_response_body().await?;
        let ended = read.is_none();
        let done = match &mut *session {
            // The library takes a stream that was reset for one that has ended until it is asked further, and behind the
            // last bytes there may be trailers, which nobody wants.
            HttpSession::H2(stream) => {
                if ended {
                    stream.read_trailers().await?;
                }
                stream.check_response_end_or_error()?
            }
            other => other.response_done(),
        };
        // The engine reports progress inside the framing as an empty piece.
        let piece = read.filter(|bytes| !bytes.is_empty());
        if piece.is_some() || ended || done {
            return Ok((piece, done));
        }
    }
}

/// How long the connection behind `header` may stay in the pool; None: it is closed at once.
fn idle_time(header: &ResponseHeader) -> Option<Duration> {
    let announced = header
        .headers
        .get(HeaderName::from_static("keep-alive"))
        .and_then(|value| value.to_str().ok())
        .and_then(|list| list.split(',').find_map(|item| item.trim().strip_prefix("timeout=")))
        .and_then(|seconds| seconds.trim().parse().ok())
        .map(Duration::from_secs);
    match announced {
        None => Some(POOL_IDLE),
        Some(announced) => {
            announced.checked_sub(KEEP_ALIVE_MARGIN).filter(|idle| !idle.is_zero()).map(|i| i.min(POOL_IDLE))
        }
    }
}
