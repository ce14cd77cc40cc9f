//! An origin's answer whose header has arrived, and the reading of its body.
//!
//! Decides when a body is complete and what becomes of its connection: back to the pool after a complete body, closed
//! otherwise. Called by whoever fetched; holds the group's permit until the body has ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use pingora::connectors::http::Connector;
use pingora::http::ResponseHeader;

use super::error::OriginError;
use super::exchange::{Answered, Framing};
use super::gate::Permit;
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
    metrics: Arc<OriginMetrics>,
}

/// What is held while the body is being read.
struct Reading {
    connection: Connection,
    connector: Arc<Connector>,
    _permit: Arc<Permit>,
}

impl OriginResponse {
    pub(super) async fn new(
        answered: Answered,
        server: Arc<str>,
        connector: Arc<Connector>,
        permit: Arc<Permit>,
        metrics: Arc<OriginMetrics>,
        between_bytes: Duration,
    ) -> Self {
        let Answered { connection, header, framing } = answered;
        let reading = Some(Reading { connection, connector, _permit: permit });
        let mut response =
            Self { header, server, framing, reading, pending: None, broken: false, between_bytes, metrics };
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
    /// [`OriginError::BetweenBytesTimeout`] when nothing comes for `timeouts.between_bytes`, [`OriginError::BrokenBody`]
    /// when the body ends before its announced end or its framing is wrong; every later call gives the latter too.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, OriginError> {
        if self.broken {
            return Err(self.broken_off("it broke off earlier"));
        }
        let Some(reading) = self.reading.as_mut() else { return Ok(self.pending.take()) };
        let session = &mut reading.connection.session;
        let next = async {
            loop {
                match session.read_response_body().await {
                    // The engine reports progress inside the framing as an empty piece.
                    Ok(Some(bytes)) if bytes.is_empty() && !session.response_done() => {}
                    other => return other,
                }
            }
        };
        match tokio::time::timeout(self.between_bytes, next).await {
            Ok(Ok(None)) if !session.response_done() => {
                Err(self.fail(|server| OriginError::BrokenBody { server, reason: "no end".to_owned() }))
            }
            Ok(Ok(piece)) => {
                let done = session.response_done();
                let piece = piece.filter(|bytes| !bytes.is_empty());
                self.metrics.body(piece.as_ref().map_or(0, Bytes::len));
                if !done {
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
            Err(_elapsed) => Err(self.fail(|server| OriginError::BetweenBytesTimeout { server })),
        }
    }

    /// Hands the connection back and lets the next request have the turn.
    async fn finish(&mut self) {
        let Some(Reading { connection, connector, _permit: permit }) = self.reading.take() else { return };
        let Some(idle) = idle_time(&self.header) else { return };
        let Connection { session, peer, .. } = connection;
        let release = connector.release_http_session(session, &peer, Some(idle));
        // On time out the connection is dropped, and closed with that.
        let _ = tokio::time::timeout(RELEASE_LIMIT, release).await;
        drop(permit);
    }

    fn fail(&mut self, error: impl FnOnce(Arc<str>) -> OriginError) -> OriginError {
        self.reading = None;
        self.broken = true;
        let error = error(Arc::clone(&self.server));
        self.metrics.error(error.kind());
        error
    }

    fn broken_off(&self, reason: &str) -> OriginError {
        OriginError::BrokenBody { server: Arc::clone(&self.server), reason: reason.to_owned() }
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
