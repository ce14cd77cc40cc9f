//! `[server]` and `[log]`, checked: listeners, threads, timeouts towards viewers, and what is logged.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// `[server]`
#[derive(Clone, Debug)]
pub struct Server {
    /// Plaintext listeners. Port 0 lets the system choose.
    pub http: Vec<SocketAddr>,
    /// TLS listeners.
    pub https: Vec<TlsListener>,
    /// The private listener for operators. None: there is none.
    pub admin: Option<SocketAddr>,
    /// Bearer token that admin requests must carry (`admin_token_file`).
    pub admin_token: Option<Secret>,
    /// Threads that serve viewers. None: one per core.
    pub threads: Option<NonZeroUsize>,
    /// Whether each of these threads is kept on a processor of its own, where there is one for each.
    pub pin_threads: bool,
    /// Whether plaintext listeners speak HTTP/2 to clients that start with its preface.
    pub h2c: bool,
    /// Whether hot bodies are sent over plaintext HTTP/1.1 without a copy.
    pub zero_copy: bool,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a client may take to send a whole request header.
    pub request_timeout: Duration,
    /// How long a kept-alive connection may stand idle between requests.
    pub idle_timeout: Duration,
    /// How long one write towards a client may take.
    pub write_timeout: Duration,
    /// How long a node that is told to stop goes on accepting, not ready.
    pub drain_delay: Duration,
    /// How long a stopping node waits for its connections to end.
    pub drain_timeout: Duration,
    /// DNS server for names that stand for servers. None: those of the system.
    pub resolver: Option<SocketAddr>,
    /// From whom headers of the PROXY protocol are taken. None: from nobody.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Path of the health check on viewers' listeners. None: there is none.
    pub health_path: Option<String>,
}

impl Server {
    /// The addresses that viewers are served at, as they are written.
    pub fn listeners(&self) -> impl Iterator<Item = SocketAddr> {
        self.http.iter().copied().chain(self.https.iter().map(|listener| listener.listen))
    }
}

/// `server.proxy_protocol`
#[derive(Clone, Debug)]
pub struct ProxyProtocol {
    /// Peers whose header is taken.
    pub from: Vec<IpNet>,
    /// Whether their connections are closed without one.
    pub required: bool,
}

/// One entry of `server.https`.
#[derive(Clone, Debug)]
pub struct TlsListener {
    /// The address. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// PEM file of authorities that vouch for other nodes. None: no client is asked for a certificate.
    pub client_ca: Option<PathBuf>,
}

/// A secret that never shows in logs or debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// Where access lines go.
    pub access: AccessLog,
    /// Access lines held for the writer; further ones are dropped and counted.
    pub queue: usize,
    /// Whether access lines tell the JA4 fingerprint of clients that come over TLS.
    pub tls_fingerprint: bool,
    /// Least severe level of the node's own messages.
    pub level: tracing::level_filters::LevelFilter,
}

/// Where access lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}
