//! A small HTTP/1.1 client for the demo's own needs: the node's metrics, and the simulated viewers' playlists and
//! segments.
//!
//! Decides nothing about what is asked; bounds how long an answer may take and how large it may be.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderValue, Method, header};
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::v1::Connector;
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use thiserror::Error;

/// How long a whole request may take. A blocking reload is held for up to 6 s.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Bytes of an answer's body; the demo's largest segment is a fiftieth of it.
const BODY_LIMIT: usize = 8 << 20;

/// Idle connections kept for the next request.
const IDLE_CONNECTIONS: usize = 256;

/// A client of one server.
pub struct Client {
    connector: Connector,
    peer: HttpPeer,
    server: SocketAddr,
    host: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: bytes::Bytes,
}

/// A request that got no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The connection or the protocol failed.
    #[error("GET from {server}: {source}")]
    Transport {
        /// Who was asked.
        server: SocketAddr,
        /// Why it failed.
        source: Box<pingora::Error>,
    },
    /// The answer took longer than [`REQUEST_LIMIT`].
    #[error("GET from {0}: no answer within {REQUEST_LIMIT:?}")]
    TimedOut(SocketAddr),
    /// The answer is longer than [`BODY_LIMIT`].
    #[error("GET from {0}: the answer is longer than {BODY_LIMIT} bytes")]
    TooLarge(SocketAddr),
}

impl Client {
    /// A client of the server at this address.
    pub fn new(server: SocketAddr) -> Client {
        let connector = Connector::new(Some(ConnectorOptions::new(IDLE_CONNECTIONS)));
        Client {
            connector,
            peer: HttpPeer::new(server, false, String::new()),
            server,
            host: server.to_string(),
        }
    }

    /// Asks for a path with its query.
    ///
    /// # Errors
    /// [`ClientError`] when there was no complete answer; a status that tells of an error is an answer.
    pub async fn get(&self, target: &str) -> Result<Answer, ClientError> {
        tokio::time::timeout(REQUEST_LIMIT, self.get_unbounded(target))
            .await
            .unwrap_or_else(|_elapsed| Err(ClientError::TimedOut(self.server)))
    }

    async fn get_unbounded(&self, target: &str) -> Result<Answer, ClientError> {
        let failed = |source| ClientError::Transport { server: self.server, source };
        loop {
            let (mut session, reused) = self.connector.get_http_session(&self.peer).await.map_err(failed)?;
            let mut request =
                RequestHeader::build(Method::GET, target.as_bytes(), Some(2)).map_err(failed)?;
            request.insert_header(header::HOST, self.host.as_str()).map_err(failed)?;
            request.insert_header(header::USER_AGENT, USER_AGENT).map_err(failed)?;
            let answered = match session.write_request_header(Box::new(request)).await {
                Ok(_) => session.read_response().await,
                Err(error) => Err(error),
            };
            match answered {
                Ok(_) => {}
                // The server may have closed a kept connection meanwhile.
                Err(_) if reused => continue,
                Err(error) => return Err(failed(error)),
            }
            let status = session.get_status().map_or(0, |status| status.as_u16());
            let mut body = BytesMut::new();
            while let Some(chunk) = session.read_body_ref().await.map_err(failed)? {
                if body.len() + chunk.len() > BODY_LIMIT {
                    return Err(ClientError::TooLarge(self.server));
                }
                body.extend_from_slice(chunk);
            }
            self.connector.release_http_session(session, &self.peer, None).await;
            return Ok(Answer { status, body: body.freeze() });
        }
    }
}

const USER_AGENT: HeaderValue = HeaderValue::from_static("forebay-demo");
