//! The configuration once it is known to be right: types that cannot be wrong, with every default filled in.
//!
//! Made by [`super::load`] from a file; read by every station. Nothing here is validated again at run time.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use http::Method;
use ipnet::IpNet;
use wildmatch::WildMatch;

use crate::asset::Kind;

/// A complete, checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listeners, threads and timeouts towards viewers.
    pub server: Server,
    /// The cache's budgets.
    pub store: Store,
    /// Bounds on everything that outside input can grow.
    pub limits: Limits,
    /// What is logged, and where.
    pub log: Log,
    /// Origin groups; sites refer to them by place.
    pub origins: Vec<Origin>,
    /// Token policies; sites refer to them by place.
    pub tokens: Vec<TokenPolicy>,
    /// Sites, in the order of the file.
    pub sites: Vec<Site>,
}

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
    /// How long a stopping node waits for its connections to end.
    pub drain_timeout: Duration,
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
}

/// A secret that never shows in logs or debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct Store {
    /// Bytes of memory for bodies and their metadata, in flight ones included.
    pub memory: u64,
    /// Disks under the memory.
    pub disks: Vec<Disk>,
    /// Once a disk is full, an object enters it when it is asked for a second time within so long; zero: at the first.
    pub disk_admit_within: Duration,
    /// An object that is fresh for less than this stays in memory.
    pub disk_ttl_min: Duration,
}

/// One entry of `store.disk`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The folder.
    pub path: PathBuf,
    /// Bytes that it may take.
    pub size: u64,
}

/// `[limits]`
#[derive(Clone, Debug)]
pub struct Limits {
    /// Viewers' connections open at once; further ones are closed at accept.
    pub connections: usize,
    /// Bytes of a request target (path and query).
    pub request_target: usize,
    /// Bytes of a playlist; a longer one is passed on unread and not kept.
    pub playlist: u64,
    /// Percent of `store.memory` that one object may take whole; a larger one is kept in slices, or streams through
    /// `window` and is not kept.
    pub object_share: u8,
    /// Bytes beyond which an object is kept in slices where its origin allows.
    pub slice_above: u64,
    /// Bytes of a large or uncacheable body held between origin and viewer.
    pub window: u64,
    /// How long a request waits for another request's fetch to answer; then it gets a stale copy, or 504.
    pub coalesce_wait: Duration,
    /// Requests that wait for one fetch at once; further ones are answered 503.
    pub waiters: usize,
    /// Percent of an object that must have arrived for a fetch without readers to go on.
    pub abandon_below: u8,
    /// How long a key is remembered as uncacheable, so that nobody queues behind it.
    pub uncacheable_memory: Duration,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// Where access lines go.
    pub access: AccessLog,
    /// Access lines held for the writer; further ones are dropped and counted.
    pub queue: usize,
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

/// `[origin.NAME]`
#[derive(Clone, Debug)]
pub struct Origin {
    /// NAME.
    pub name: String,
    /// At least one server.
    pub servers: Vec<OriginServer>,
    /// The `Host` sent; None: the server's own authority.
    pub host: Option<String>,
    /// Active health check; None: every server counts as healthy.
    pub health: Option<Health>,
    /// Timeouts towards its servers.
    pub timeouts: OriginTimeouts,
    /// What it may be asked at once.
    pub limits: OriginLimits,
    /// What is tried again.
    pub retry: Retry,
    /// Extra PEM file of authorities trusted for `https` servers.
    pub tls_ca: Option<PathBuf>,
}

/// One server of an origin group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginServer {
    /// Whether TLS is spoken to it.
    pub tls: bool,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl OriginServer {
    /// `host` or `host:port`, with the default port of the scheme left out and IPv6 addresses in brackets.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default_port = if self.tls { 443 } else { 80 };
        if self.port == default_port { host } else { format!("{host}:{}", self.port) }
    }
}

/// `health` of an origin group.
#[derive(Clone, Debug)]
pub struct Health {
    /// Path asked for with GET; a 2xx answer is healthy.
    pub path: String,
    /// Time between two checks of one server.
    pub interval: Duration,
    /// Time after which a check has failed.
    pub timeout: Duration,
    /// Failures in a row that make a server unhealthy.
    pub unhealthy_after: u32,
    /// Successes in a row that make it healthy again.
    pub healthy_after: u32,
}

/// `timeouts` of an origin group.
#[derive(Clone, Debug)]
pub struct OriginTimeouts {
    /// TCP and TLS together.
    pub connect: Duration,
    /// From the request sent to the first byte of the answer's header.
    pub first_byte: Duration,
    /// Between two reads of a body.
    pub between_bytes: Duration,
}

/// `limits` of an origin group.
#[derive(Clone, Debug)]
pub struct OriginLimits {
    /// Requests under way at once.
    pub connections: usize,
    /// How long a request waits for its turn.
    pub queue: Duration,
    /// Requests that wait for their turn; further ones are refused at once.
    pub queue_length: usize,
}

/// `retry` of an origin group, for GET and HEAD.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// Failures to connect (or a connection closed before any answer) are tried again.
    pub on_connect: bool,
    /// Statuses that are tried again.
    pub on_status: Vec<u16>,
}

/// `[token.NAME]`
#[derive(Clone, Debug)]
pub struct TokenPolicy {
    /// NAME.
    pub name: String,
    /// The wire format.
    pub format: TokenFormat,
    /// Keys in the order they are tried; the first one signs.
    pub keys: Vec<TokenKey>,
    /// Names the token may have, in order.
    pub names: Vec<String>,
    /// Places it may stand in, in order.
    pub places: Vec<TokenPlace>,
    /// How the token reaches the segments.
    pub carry: Carry,
    /// Clock difference tolerated.
    pub leeway: Duration,
    /// `salt` hashed with every token, never sent.
    pub salt: Option<Secret>,
}

/// The format of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFormat {
    /// Akamai EdgeAuth 2.0, HMAC-SHA256.
    EdgeAuth,
}

/// A signing key.
#[derive(Clone, Debug)]
pub struct TokenKey {
    /// Its name in logs and metrics.
    pub id: String,
    /// Its bytes.
    pub secret: Secret,
}

/// Where a token may stand in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// The leading path segment, `/NAME=TOKEN/...`.
    Path,
    /// A query parameter.
    Query,
    /// A cookie.
    Cookie,
}

/// How a token reaches the segments of a playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// As leading path segment, which relative URIs inherit.
    Path,
}

/// `[[site]]`
#[derive(Clone, Debug)]
pub struct Site {
    /// The first of its host patterns: its name in metrics and logs.
    pub name: String,
    /// Host names it answers for.
    pub hosts: Vec<HostPattern>,
    /// Place of its origin group in [`Config::origins`].
    pub origin: usize,
    /// Place of its token policy in [`Config::tokens`].
    pub token: Option<usize>,
    /// Cross-origin sharing.
    pub cors: Option<Cors>,
    /// Methods it takes.
    pub methods: Vec<Method>,
    /// The most that its objects may take of the store.
    pub quota: Quota,
    /// Rules; the first that matches wins.
    pub rules: Vec<Rule>,
}

/// A host pattern: lower case, no port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `*`: any host.
    Any,
    /// `*.example.com`: any name below; holds `.example.com`.
    Below(String),
    /// One name.
    Exact(String),
}

/// `cors` of a site.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Origins that may read answers; None: any (`*`).
    pub origins: Option<Vec<String>>,
    /// How long a browser may remember a preflight answer.
    pub max_age: Duration,
}

/// `quota` of a site, in bytes; None: no bound of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Of memory.
    pub memory: Option<u64>,
    /// Of the disks together.
    pub disk: Option<u64>,
}

/// `[[site.rule]]`
#[derive(Clone, Debug)]
pub struct Rule {
    /// Glob over the path; `*` also spans `/`, `?` is one character. None: every path.
    pub path: Option<WildMatch>,
    /// Asset kinds it applies to; empty: all.
    pub kinds: Vec<Kind>,
    /// Answer statuses it applies to; empty: all that are kept by default.
    pub status: Vec<u16>,
    /// Freshness at the edge.
    pub ttl: Option<Duration>,
    /// Freshness told to the browser.
    pub browser_ttl: Option<Duration>,
    /// How long a stale copy may be served while it is fetched anew.
    pub stale_while_revalidate: Option<Duration>,
    /// How long a stale copy may be served when the origin fails.
    pub stale_if_error: Option<Duration>,
    /// Never cache: pass through.
    pub bypass: bool,
    /// Query parameters in the key, in place of the default choice.
    pub key_query: Option<Vec<String>>,
    /// Whether the disk keeps it.
    pub disk: Option<DiskAdmission>,
}

/// When the disk keeps an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskAdmission {
    /// Once it is asked for a second time within `store.disk_admit_within`.
    #[default]
    Second,
    /// At once.
    Always,
    /// Not at all.
    Never,
}
