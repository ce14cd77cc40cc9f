//! What can go wrong between this node and an origin, and the closed list of words and statuses for it.
//!
//! Errors name the server for the node's own log. What reaches a viewer is [`OriginError::as_str`] and
//! [`OriginError::status`] only: neither holds an address.

use std::path::PathBuf;
use std::sync::Arc;

/// Why a fetch from an origin failed.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The request itself cannot be sent; no server was asked.
    #[error("a request for {target:?} cannot be sent to an origin: {reason}")]
    Request {
        /// The request target.
        target: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server's name could not be resolved.
    #[error("cannot resolve origin server {server}: {source}")]
    Resolve {
        /// Authority of the server.
        server: Arc<str>,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// No TCP connection: refused, unreachable.
    #[error("cannot connect to origin server {server}: {}", root(source))]
    Connect {
        /// Authority of the server.
        server: Arc<str>,
        /// What the engine said.
        source: pingora::BError,
    },
    /// TCP and TLS took longer than `timeouts.connect`.
    #[error("connecting to origin server {server} took too long")]
    ConnectTimeout {
        /// Authority of the server.
        server: Arc<str>,
    },
    /// The TLS handshake failed; most often a certificate that is not trusted or for another name.
    #[error("no TLS session with origin server {server}: {}", root(source))]
    Tls {
        /// Authority of the server.
        server: Arc<str>,
        /// What the engine said.
        source: pingora::BError,
    },
    /// The connection ended before a whole answer header had arrived.
    #[error("origin server {server} closed the connection before it answered: {}", root(source))]
    Closed {
        /// Authority of the server.
        server: Arc<str>,
        /// Whether a new connection is worth a try at once: this one had served an earlier request, or the server has
        /// said that it has not looked at this one (RFC 9113 section 8.7).
        reused: bool,
        /// What the engine said.
        source: pingora::BError,
    },
    /// No whole answer header within `timeouts.first_byte`.
    #[error("origin server {server} did not answer in time")]
    FirstByteTimeout {
        /// Authority of the server.
        server: Arc<str>,
    },
    /// What came is not an HTTP answer that can be relied on.
    #[error("origin server {server} sent a malformed answer: {reason}")]
    Malformed {
        /// Authority of the server.
        server: Arc<str>,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing more of the body within `timeouts.between_bytes`.
    #[error("the body from origin server {server} stalled")]
    BetweenBytesTimeout {
        /// Authority of the server.
        server: Arc<str>,
    },
    /// The body ended before its announced end, or its framing is wrong.
    #[error("the body from origin server {server} broke off: {reason}")]
    BrokenBody {
        /// Authority of the server.
        server: Arc<str>,
        /// What the engine said.
        reason: String,
    },
    /// The body did not end within `timeouts.total`.
    #[error("the answer of origin server {server} took too long as a whole")]
    TotalTimeout {
        /// Authority of the server.
        server: Arc<str>,
    },
    /// `limits.connections` requests are under way and `limits.queue_length` wait already.
    #[error("the queue for origin {origin} is full")]
    QueueFull {
        /// Name of the origin group.
        origin: Arc<str>,
    },
    /// No turn within `limits.queue`.
    #[error("no free connection to origin {origin} in time")]
    QueueTimeout {
        /// Name of the origin group.
        origin: Arc<str>,
    },
    /// `limits.requests_per_second` were sent, and the request could not wait, or not for long enough.
    #[error("the rate of requests to origin {origin} is used up")]
    RateLimited {
        /// Name of the origin group.
        origin: Arc<str>,
    },
    /// Most requests to the group have failed lately: nothing is sent to it for `breaker.open`.
    #[error("the circuit of origin {origin} is open")]
    CircuitOpen {
        /// Name of the origin group.
        origin: Arc<str>,
    },
    /// The names of its servers have not been resolved yet.
    #[error("no server of origin {origin} is known: its names are not resolved")]
    NoServers {
        /// Name of the origin group.
        origin: Arc<str>,
    },
}

/// The first cause of an engine's error: around it the engine says where it came by, which the node says itself.
fn root(error: &pingora::Error) -> String {
    let mut at = error;
    while let Some(cause) = &at.cause {
        let inner = cause.downcast_ref::<pingora::BError>().map(|inner| &**inner);
        match inner.or_else(|| cause.downcast_ref::<pingora::Error>()) {
            Some(inner) => at = inner,
            None => return cause.to_string(),
        }
    }
    match &at.context {
        Some(context) if !context.as_str().is_empty() => context.as_str().to_owned(),
        _ => at.etype.as_str().to_owned(),
    }
}

/// The closed list of what can go wrong; the word is the same in logs, metric labels and `Cache-Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorKind {
    /// [`OriginError::Request`]
    Request,
    /// [`OriginError::Resolve`]
    Resolve,
    /// [`OriginError::Connect`]
    Connect,
    /// [`OriginError::ConnectTimeout`]
    ConnectTimeout,
    /// [`OriginError::Tls`]
    Tls,
    /// [`OriginError::Closed`]
    Closed,
    /// [`OriginError::FirstByteTimeout`]
    FirstByteTimeout,
    /// [`OriginError::Malformed`]
    Malformed,
    /// [`OriginError::BetweenBytesTimeout`]
    BetweenBytesTimeout,
    /// [`OriginError::BrokenBody`]
    BrokenBody,
    /// [`OriginError::QueueFull`]
    QueueFull,
    /// [`OriginError::QueueTimeout`]
    QueueTimeout,
    /// [`OriginError::TotalTimeout`]
    TotalTimeout,
    /// [`OriginError::RateLimited`]
    RateLimited,
    /// [`OriginError::CircuitOpen`]
    CircuitOpen,
    /// [`OriginError::NoServers`]
    NoServers,
}

impl ErrorKind {
    /// Every kind, in the order of the discriminants.
    pub const ALL: [ErrorKind; 16] = [
        ErrorKind::Request,
        ErrorKind::Resolve,
        ErrorKind::Connect,
        ErrorKind::ConnectTimeout,
        ErrorKind::Tls,
        ErrorKind::Closed,
        ErrorKind::FirstByteTimeout,
        ErrorKind::Malformed,
        ErrorKind::BetweenBytesTimeout,
        ErrorKind::BrokenBody,
        ErrorKind::QueueFull,
        ErrorKind::QueueTimeout,
        ErrorKind::TotalTimeout,
        ErrorKind::RateLimited,
        ErrorKind::CircuitOpen,
        ErrorKind::NoServers,
    ];

    /// The word for this kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Request => "request",
            ErrorKind::Resolve => "resolve",
            ErrorKind::Connect => "connect",
            ErrorKind::ConnectTimeout => "connect_timeout",
            ErrorKind::Tls => "tls",
            ErrorKind::Closed => "closed",
            ErrorKind::FirstByteTimeout => "first_byte_timeout",
            ErrorKind::Malformed => "malformed",
            ErrorKind::BetweenBytesTimeout => "between_bytes_timeout",
            ErrorKind::BrokenBody => "broken_body",
            ErrorKind::QueueFull => "queue_full",
            ErrorKind::QueueTimeout => "queue_timeout",
            ErrorKind::TotalTimeout => "total_timeout",
            ErrorKind::RateLimited => "rate_limited",
            ErrorKind::CircuitOpen => "circuit_open",
            ErrorKind::NoServers => "no_servers",
        }
    }

    /// The status a viewer gets when nothing better is at hand: 502 for a broken exchange, 504 for one that took too
    /// long (RFC 9110 sections 15.6.3 and 15.6.5), 503 where nothing was
    /// sent to spare the origin, 400 for a request that cannot be sent.
    pub const fn status(self) -> u16 {
        match self {
            ErrorKind::Request => 400,
            ErrorKind::QueueFull
            | ErrorKind::QueueTimeout
            | ErrorKind::RateLimited
            | ErrorKind::CircuitOpen
            | ErrorKind::NoServers => 503,
            ErrorKind::ConnectTimeout
            | ErrorKind::FirstByteTimeout
            | ErrorKind::BetweenBytesTimeout
            | ErrorKind::TotalTimeout => 504,
            ErrorKind::Resolve
            | ErrorKind::Connect
            | ErrorKind::Tls
            | ErrorKind::Closed
            | ErrorKind::Malformed
            | ErrorKind::BrokenBody => 502,
        }
    }
}

impl OriginError {
    /// Which of the closed list it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            OriginError::Request { .. } => ErrorKind::Request,
            OriginError::Resolve { .. } => ErrorKind::Resolve,
            OriginError::Connect { .. } => ErrorKind::Connect,
            OriginError::ConnectTimeout { .. } => ErrorKind::ConnectTimeout,
            OriginError::Tls { .. } => ErrorKind::Tls,
            OriginError::Closed { .. } => ErrorKind::Closed,
            OriginError::FirstByteTimeout { .. } => ErrorKind::FirstByteTimeout,
            OriginError::Malformed { .. } => ErrorKind::Malformed,
            OriginError::BetweenBytesTimeout { .. } => ErrorKind::BetweenBytesTimeout,
            OriginError::BrokenBody { .. } => ErrorKind::BrokenBody,
            OriginError::QueueFull { .. } => ErrorKind::QueueFull,
            OriginError::QueueTimeout { .. } => ErrorKind::QueueTimeout,
            OriginError::TotalTimeout { .. } => ErrorKind::TotalTimeout,
            OriginError::RateLimited { .. } => ErrorKind::RateLimited,
            OriginError::CircuitOpen { .. } => ErrorKind::CircuitOpen,
            OriginError::NoServers { .. } => ErrorKind::NoServers,
        }
    }

    /// The word for it; safe to show to a viewer.
    pub const fn as_str(&self) -> &'static str {
        self.kind().as_str()
    }

    /// The status a viewer gets when nothing better is at hand.
    pub const fn status(&self) -> u16 {
        self.kind().status()
    }

    /// Whether the node itself has kept the request from the group, to spare it.
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            OriginError::QueueFull { .. }
                | OriginError::QueueTimeout { .. }
                | OriginError::RateLimited { .. }
                | OriginError::CircuitOpen { .. }
        )
    }

    /// Whether the server is to blame: not for what it was not asked.
    pub(super) const fn is_of_server(&self) -> bool {
        !self.is_refusal() && !matches!(self, OriginError::Request { .. })
    }

    /// Whether there was no connection to send the request on.
    pub(super) const fn is_unsent(&self) -> bool {
        self.is_connect() && !matches!(self, OriginError::Closed { .. })
    }

    /// Whether no answer was ever begun: what `retry.on = ["connect"]` covers.
    pub(super) const fn is_connect(&self) -> bool {
        matches!(
            self,
            OriginError::Resolve { .. }
                | OriginError::Connect { .. }
                | OriginError::ConnectTimeout { .. }
                | OriginError::Tls { .. }
                | OriginError::Closed { .. }
        )
    }
}

/// Why the origins of a configuration cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OriginSetupError {
    /// A group without servers.
    #[error("origin.{origin}: no servers; name at least one in `servers`")]
    NoServers {
        /// Name of the group.
        origin: String,
    },
    /// The value of `host`, or a server's authority, cannot stand in a `Host` header.
    #[error("origin.{origin}: {host:?} cannot be sent as Host; use a host name with an optional port")]
    Host {
        /// Name of the group.
        origin: String,
        /// The offending value.
        host: String,
    },
    /// `tls.ca` cannot be read.
    #[error("origin.{origin}: cannot read tls.ca {path}: {reason}; give a PEM file with certificates", path = path.display())]
    TlsCa {
        /// Name of the group.
        origin: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// `tls.certificate` and `tls.key` cannot be used.
    #[error(
        "origin.{origin}: cannot use tls.certificate {path} with tls.key: {reason}; give a certificate and its own key"
    )]
    TlsClient {
        /// Name of the group.
        origin: String,
        /// The file with the certificate.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An `https` server needs the system's certificate authorities, and they cannot be read.
    #[error(
        "origin.{origin}: cannot read the system's certificate authorities: {reason}; install ca-certificates or set \
         SSL_CERT_FILE"
    )]
    SystemRoots {
        /// Name of the first group with an `https` server.
        origin: String,
        /// What is wrong with them.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// The engine wraps what the system says in places of its own; those are left out, and nothing is told as nothing.
    #[test]
    fn an_engines_error_is_told_by_its_first_cause() {
        use pingora::{Error, ErrorType, OrErr};

        let refused = Err::<(), _>(std::io::Error::other("Connection refused"));
        let inner = refused.or_err(ErrorType::ConnectRefused, "to 127.0.0.1:1").unwrap_err();
        let outer = Error::because(ErrorType::ConnectRefused, "to addr, sni: x", inner);
        let error = OriginError::Connect { server: "a:1".into(), source: outer };
        assert_eq!(error.to_string(), "cannot connect to origin server a:1: Connection refused");
        let alone = Error::explain(ErrorType::ConnectionClosed, "before the header");
        assert_eq!(root(&alone), "before the header");
        assert_eq!(root(&Error::new(ErrorType::ConnectionClosed)), "ConnectionClosed");
    }

    #[test]
    fn discriminants_and_places_agree_and_words_are_distinct() {
        for (place, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            assert!(ErrorKind::ALL[..place].iter().all(|other| other.as_str() != kind.as_str()));
        }
    }
}
