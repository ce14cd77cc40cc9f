//! The PROXY protocol: connections that a load balancer passes on begin with a header that names the client.
//!
//! Decides from whom such a header is taken, and what becomes of a connection that lacks it or has a wrong one. The address
//! that it names takes the place of the peer's in the engine's own record of the connection, so that everything after it
//! goes by the client: rates, places, tokens, access lines, `X-Forwarded-For`. On TLS listeners this happens before the
//! handshake, on plaintext ones before the first byte of HTTP.

pub mod header;

use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;
use pingora::listeners::{PreTlsCallback, PreTlsProcess};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream};
use pingora::{Error, ErrorType, Result};
use pingora_timeout::timeout;
use prometheus::IntCounter;
use tokio::io::{AsyncRead, AsyncReadExt};

use self::header::{Progress, Wrong};
use crate::admission::client;
use crate::config::model;
use crate::observe::Metrics;

/// Bytes that are made room for at once: headers come whole in one read.
const READ_BYTES: usize = 256;

/// Why a connection was closed before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It does not begin with a header.
    Missing,
    /// What it begins with has not the form.
    Malformed,
    /// The header is longer than any that is read.
    TooLong,
    /// The header's checksum is another.
    Checksum,
    /// The header did not come in time.
    Timeout,
    /// The connection ended in the middle of the header.
    Cut,
}

impl Refusal {
    const ALL: [Refusal; 6] = [
        Refusal::Missing,
        Refusal::Malformed,
        Refusal::TooLong,
        Refusal::Checksum,
        Refusal::Timeout,
        Refusal::Cut,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Refusal::Missing => "missing",
            Refusal::Malformed => "malformed",
            Refusal::TooLong => "too_long",
            Refusal::Checksum => "checksum",
            Refusal::Timeout => "timeout",
            Refusal::Cut => "cut",
        }
    }
}

/// Takes headers, each for so long and no longer.
pub(super) struct ProxyProtocol {
    from: Vec<IpNet>,
    required: bool,
    limit: Duration,
    /// In the order of [`Refusal::ALL`].
    refused: [IntCounter; Refusal::ALL.len()],
}

impl ProxyProtocol {
    /// Takes headers as the configuration says, waiting for each at most `limit`.
    pub(super) fn new(
        config: &model::ProxyProtocol,
        limit: Duration,
        metrics: &Metrics,
    ) -> Arc<ProxyProtocol> {
        Arc::new(ProxyProtocol {
            from: config.from.clone(),
            required: config.required,
            limit,
            refused: Refusal::ALL.map(|refusal| metrics.proxy_protocol_refused(refusal.as_str())),
        })
    }

    /// The plaintext connection, its header taken; None where it has to be closed. One over TLS has been here before its
    /// handshake.
    pub(super) async fn receive(&self, stream: Stream) -> Option<Stream> {
        if !stream.as_any().is::<TcpStream>() {
            return Some(stream);
        }
        let mut stream = stream.into_any().downcast::<TcpStream>().ok()?;
        self.take(&mut stream).await.ok()?;
        Some(stream)
    }

    /// Takes the header of a connection, if the peer is one of whom headers are taken.
    async fn take(&self, stream: &mut TcpStream) -> std::result::Result<(), Refusal> {
        let digest = stream.get_socket_digest();
        let peer = digest.as_ref().and_then(|digest| digest.peer_addr()?.as_inet().copied());
        if !peer.is_some_and(|peer| self.is_taken_from(peer.ip())) {
            return Ok(());
        }
        let mut received = Vec::new();
        let taken = timeout(self.limit, read(stream, &mut received)).await;
        let (bytes, client) = match taken.unwrap_or(Err(Refusal::Timeout)) {
            Ok(header) => header,
            Err(Refusal::Missing) if !self.required => (0, None),
            Err(refusal) => {
                // Every refusal stands in the list.
                if let Some(place) = Refusal::ALL.iter().position(|one| *one == refusal) {
                    self.refused.get(place).map(IntCounter::inc);
                }
                return Err(refusal);
            }
        };
        stream.rewind(received.get(bytes..).unwrap_or_default());
        if let Some(client) = client {
            let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
            // It is new: nobody has asked it for the address yet.
            let _ = digest.peer_addr.set(Some(SocketAddr::Inet(client)));
            stream.set_socket_digest(digest);
        }
        Ok(())
    }

    fn is_taken_from(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.from.iter().any(|network| client::contains(network, peer))
    }
}

/// The bytes of a connection's header, and the client that it names. What was received is in `received`, what follows the
/// header included. A connection that ends before its first byte, as probes do, has nothing to refuse.
async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    received: &mut Vec<u8>,
) -> std::result::Result<(usize, Option<std::net::SocketAddr>), Refusal> {
    loop {
        received.reserve(READ_BYTES);
        match stream.read_buf(received).await {
            Ok(0) | Err(_) if received.is_empty() => return Ok((0, None)),
            Ok(0) | Err(_) => return Err(Refusal::Cut),
            Ok(_) => {}
        }
        return match header::read(received) {
            Progress::More => continue,
            Progress::Whole { bytes, client } => Ok((bytes, client)),
            Progress::Absent => Err(Refusal::Missing),
            Progress::Wrong(Wrong::Malformed) => Err(Refusal::Malformed),
            Progress::Wrong(Wrong::TooLong) => Err(Refusal::TooLong),
            Progress::Wrong(Wrong::Checksum) => Err(Refusal::Checksum),
        };
    }
}

/// What TLS connections pass before their handshake: first the header, then `next`.
struct BeforeTls {
    proxy: Arc<ProxyProtocol>,
    next: Option<PreTlsCallback>,
}

/// What the engine has TLS connections pass before their handshake, if there is anything.
pub(super) fn before_tls(
    proxy: Option<&Arc<ProxyProtocol>>,
    next: Option<PreTlsCallback>,
) -> Option<PreTlsCallback> {
    match proxy {
        Some(proxy) => Some(Arc::new(BeforeTls { proxy: Arc::clone(proxy), next })),
        None => next,
    }
}

#[async_trait]
impl PreTlsProcess for BeforeTls {
    async fn process(&self, stream: &mut TcpStream) -> Result<()> {
        if let Err(refusal) = self.proxy.take(stream).await {
            let context = format!("no good header of the PROXY protocol: {}", refusal.as_str());
            return Err(Error::explain(ErrorType::HandshakeError, context));
        }
        match &self.next {
            Some(next) => next.process(stream).await,
            None => Ok(()),
        }
    }
}
