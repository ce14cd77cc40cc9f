//! The configuration once it is known to be right: types that cannot be wrong, with every default filled in.
//!
//! Made by [`super::load`] from a file; read by every station. Nothing here is validated again at run time.

mod playlist;
mod reach;
mod steering;
mod token;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use wildmatch::WildMatch;

use crate::asset::Kind;

pub use playlist::{
    BoundsByClaim, ClaimValue, HostChange, OrderBy, PlaylistChanges, VariantBounds, VariantChoice,
    VariantOrder,
};
pub use reach::{
    ClientCertificate, Credentials, OriginHeaders, OriginTls, Proof, ProofKey, S3, S3Style, SecretFile,
};
pub use steering::{Overload, Pathway, Replacement, Steering, SteeringTag};
pub use token::{
    Carry, Entitlement, FleetAway, KeyKind, SESSION_NAME_DEFAULT, Session, Statuses, TOKEN_KEYS_MAX,
    TOKEN_NAMES_MAX, TokenBind, TokenFormat, TokenKey, TokenPlace, TokenPolicy,
};

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
    /// Who may purge, beside the operators' listener.
    pub purge: Purge,
    /// Where revocations are noted.
    pub revocation: Revocation,
    /// What nodes share.
    pub fleet: Fleet,
    /// Where addresses are.
    pub geo: Geo,
    /// Origin groups; sites refer to them by place.
    pub origins: Vec<Origin>,
    /// Token policies; sites refer to them by place.
    pub tokens: Vec<TokenPolicy>,
    /// Content steering; sites refer to it by place.
    pub steering: Vec<Steering>,
    /// Sites, in the order of the file.
    pub sites: Vec<Site>,
    /// A digest of what nodes of a fleet have in common: all but `server`, `store`, `log`, `revocation` and `fleet`, without what is in
    /// other files.
    pub digest: String,
}

impl Config {
    /// The tier that this node belongs to, as nodes of a fleet tell it: the names of the groups of nodes that it asks. Empty:
    /// it asks origins alone.
    pub fn tier(&self) -> String {
        let names: Vec<&str> =
            self.origins.iter().filter(|origin| origin.tier).map(|origin| &*origin.name).collect();
        names.join(" ")
    }

    /// Whether something asks for the fingerprints of TLS clients: they are computed only then.
    pub fn asks_for_fingerprints(&self) -> bool {
        self.log.tls_fingerprint || self.tokens.iter().any(TokenPolicy::asks_for_fingerprints)
    }
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
    /// Ranges that one request may ask for; one that asks for more gets the whole.
    pub ranges: usize,
    /// Percent of an object that must have arrived for a fetch without readers to go on.
    pub abandon_below: u8,
    /// How long a key is remembered as uncacheable, so that nobody queues behind it.
    pub uncacheable_memory: Duration,
    /// Bytes of a header field, cookie or claim in a key; a request with a longer one passes through.
    pub key_value: usize,
    /// Bytes of what is remembered of verified tokens, by each policy, and by its session tokens.
    pub token_verdicts: u64,
    /// Answers kept under one key that vary by fields of the request; a further one takes the place of the first.
    pub variants: usize,
    /// Revocations remembered; a further one is refused.
    pub revocations: usize,
    /// Used tokens remembered; while there are as many, a further one that is good once is refused.
    pub replays: usize,
    /// Subjects whose streams are counted; while there are as many, a further one's are not limited.
    pub stream_subjects: usize,
    /// Playlists whose state is remembered.
    pub playlists: usize,
    /// Assets that playlists have named, remembered.
    pub named_assets: usize,
    /// Requests held until a playlist grows, of all clients; a further one is answered 503.
    pub parked: usize,
    /// The same of one client address.
    pub parked_per_client: usize,
    /// Fetches ahead of the first request under way at once.
    pub prefetch_requests: usize,
    /// Bytes of them that are under way.
    pub prefetch_bytes: u64,
    /// Requests for keys that one client may make in a minute.
    pub key_requests: u32,
    /// Clients whose requests for keys are counted.
    pub key_clients: usize,
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

/// `[purge]`
#[derive(Clone, Debug, Default)]
pub struct Purge {
    /// Clients whose `PURGE` requests purge; empty: the method means nothing.
    pub method_from: Vec<IpNet>,
    /// `POST /purge/hook`; None: there is none.
    pub hook: Option<PurgeHook>,
    /// Where purges that are still to be passed on are noted; None: they live in memory.
    pub forward_state: Option<PathBuf>,
    /// Where purges are passed on to; their names differ.
    pub forward: Vec<Forward>,
}

/// `[[purge.forward]]`
#[derive(Clone, Debug)]
pub struct Forward {
    /// Its name.
    pub name: String,
    /// The URL, with words in braces.
    pub url: String,
    /// The method.
    pub method: Method,
    /// Fields, with words in braces in their values.
    pub headers: Vec<(HeaderName, String)>,
    /// Fields whose values are secret.
    pub secret_headers: Vec<(HeaderName, Secret)>,
    /// The body, with words in braces; None: the purge as JSON.
    pub body: Option<String>,
    /// What is passed on: words of [`Forward::SCOPES`].
    pub scopes: Vec<&'static str>,
    /// The key that signs.
    pub sign: Option<HookKey>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Attempts at most, at least one.
    pub attempts: u32,
    /// How long a purge is sent at most.
    pub give_up: Duration,
    /// Purges that wait at most, at least one.
    pub queue: usize,
}

impl Forward {
    /// What a purge may name.
    pub const SCOPES: [&'static str; 5] = ["url", "prefix", "tag", "site", "everything"];
    /// The words that may stand in braces.
    pub const WORDS: [&'static str; 6] = ["id", "scope", "mode", "site", "path", "tag"];
}

/// `hook` of `[purge]`.
#[derive(Clone, Debug)]
pub struct PurgeHook {
    /// Keys that may sign; their names differ.
    pub keys: Vec<HookKey>,
    /// How far the time of a signature may be from the node's own, before and after.
    pub window: Duration,
}

/// A key that may sign what the hook is sent.
#[derive(Clone, Debug)]
pub struct HookKey {
    /// Its name in signatures and in the log.
    pub id: String,
    /// Its bytes.
    pub secret: Secret,
}

/// `[revocation]`
#[derive(Clone, Debug, Default)]
pub struct Revocation {
    /// The file they are noted in; None: they live in memory.
    pub file: Option<PathBuf>,
}

/// Name of the origin group that peers are: of no group in a file, whose names have no dot.
pub const PEERS: &str = "fleet.peers";

/// `[fleet]`
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// The node's name. None: it has none of its own.
    pub name: Option<String>,
    /// Keys that nodes share: the first one signs, all of them verify.
    pub keys: Vec<NodeKey>,
    /// Where they meet; None: this one decides for itself.
    pub bus: Option<Bus>,
    /// The nodes of this tier; None: this one asks its origins for everything.
    pub peers: Option<Peers>,
    /// How small objects are shared.
    pub share: Share,
}

/// `peers` of `[fleet]`, and what belongs to it.
#[derive(Clone, Debug)]
pub struct Peers {
    /// The nodes as an origin group that goes by owners.
    pub group: Origin,
    /// Which of them this node is, where that is said.
    pub own: Option<String>,
    /// Requests for a key within `window` that make it hot.
    pub hot_requests: u32,
    /// The time within which they count.
    pub window: Duration,
    /// Nodes that may fetch a hot key from the origin.
    pub spread: usize,
}

/// `share` of `[fleet]`.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Bytes of a body; a longer one is not shared.
    pub object_max: u64,
    /// How long one question to Redis may take.
    pub timeout: Duration,
    /// How long a fetch waits for that of another node.
    pub wait: Duration,
}

impl Default for Share {
    fn default() -> Share {
        Share { object_max: 64 * 1024, timeout: Duration::from_millis(20), wait: Duration::from_secs(2) }
    }
}

/// A key that nodes share.
#[derive(Clone, Debug)]
pub struct NodeKey {
    /// Its name.
    pub id: String,
    /// The key.
    pub secret: Secret,
}

/// `bus` of `[fleet]`, and what belongs to it.
#[derive(Clone, Debug)]
pub struct Bus {
    /// The Redis server, without its password.
    pub redis: redis::ConnectionInfo,
    /// Its password.
    pub password: Option<Secret>,
    /// What every key in Redis begins with.
    pub prefix: String,
    /// How long a request may wait for Redis.
    pub timeout: Duration,
    /// The file of what is applied, and what is yet to be told; None: they live in memory.
    pub state: Option<PathBuf>,
    /// How long Redis keeps purges.
    pub retention: Duration,
    /// Bytes of purges that may wait for Redis.
    pub outbox: u64,
}

/// `[origin.NAME]`
#[derive(Clone, Debug)]
pub struct Origin {
    /// NAME.
    pub name: String,
    /// Servers by name.
    pub servers: Vec<OriginServer>,
    /// Names that stand for further servers. There is a server or such a name at least.
    pub discovered: Vec<Discovered>,
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
    /// How TLS is spoken to its `https` servers.
    pub tls: OriginTls,
    /// Whether its servers are nodes of the next tier.
    pub tier: bool,
    /// When the group is left alone for a while; None: never.
    pub breaker: Option<Breaker>,
    /// When one server is left alone for a while; None: never.
    pub eject: Option<Eject>,
    /// When a second server is asked for the same playlist; None: never.
    pub hedge: Option<Hedge>,
    /// Place of the group that is asked in its stead; there is no way round in a circle.
    pub fallback: Option<usize>,
    /// Which of its servers is asked.
    pub balance: Balance,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// Whether the host that viewers ask for is sent as `Host`.
    pub forward_host: bool,
    /// Changes to the header of requests.
    pub headers: OriginHeaders,
    /// The bucket of an object store that its servers hold.
    pub s3: Option<S3>,
    /// The field that proves where requests come from.
    pub proof: Option<Proof>,
}

/// Which server of a group is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Each in its turn.
    Turns,
    /// The one that the key belongs to.
    Owner,
}

/// A name that stands for servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// Whether TLS is spoken to them.
    pub tls: bool,
    /// What is looked up.
    pub records: Records,
}

/// What is looked up of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Its addresses (A and AAAA): each is a server, on this port.
    Addresses {
        /// The host name.
        host: String,
        /// The port.
        port: u16,
    },
    /// Its services (SRV, RFC 2782): each target is a server.
    Services {
        /// The name, such as `_http._tcp.example.com`.
        name: String,
    },
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
    /// Path asked for with GET.
    pub path: String,
    /// Time between two checks of one server.
    pub interval: Duration,
    /// Time after which a check has failed.
    pub timeout: Duration,
    /// Failures in a row that make a server unhealthy.
    pub unhealthy_after: u32,
    /// Successes in a row that make it healthy again.
    pub healthy_after: u32,
    /// Ranges of statuses, ends included, that are healthy.
    pub statuses: Vec<(u16, u16)>,
    /// What the body must contain.
    pub body: Option<String>,
    /// Of `https` servers: how long before its end a certificate is warned of.
    pub certificate: Duration,
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
    /// From the request to the last byte of the body.
    pub total: Duration,
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
    /// Requests in a second; None: as many as come.
    pub rate: Option<Rate>,
}

/// `limits.requests_per_second` and `limits.burst` of an origin group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests in a second, at least 1.
    pub per_second: u32,
    /// Requests that may come at once after a pause, at least 1.
    pub burst: u32,
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
    /// Percent of the requests of the last seconds that may be sent again.
    pub budget_percent: u32,
    /// The pause before the second attempt, doubled for each further one.
    pub backoff: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// Attempts in a row without a byte to go on with a body that broke off; 0: it is not gone on with. Up to 10.
    pub resume: u32,
}

/// `breaker` of an origin group.
#[derive(Clone, Debug)]
pub struct Breaker {
    /// Percent of the requests within the window that must have failed for it to open.
    pub failures_percent: u32,
    /// Requests within the window below which it stays closed.
    pub requests: u32,
    /// The time that is looked back.
    pub window: Duration,
    /// How long it stays open.
    pub open: Duration,
    /// Requests that are let through at once after that, and successes that close it.
    pub probes: u32,
}

/// `eject` of an origin group.
#[derive(Clone, Debug)]
pub struct Eject {
    /// Failures in a row.
    pub failures: u32,
    /// How long the first time; doubled each time.
    pub time: Duration,
    /// The longest time.
    pub time_max: Duration,
    /// Percent of the servers that may be ejected at once.
    pub share_percent: u32,
}

/// `hedge` of an origin group.
#[derive(Clone, Debug)]
pub struct Hedge {
    /// When the second request is sent.
    pub after: HedgeAfter,
    /// Not before this time.
    pub after_min: Duration,
    /// Percent of such requests that are asked twice.
    pub share_percent: u32,
}

/// When a second request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeAfter {
    /// After a time within which so many percent of the recent answers have begun.
    Percentile(u32),
    /// After this time.
    Time(Duration),
}

/// `[geo]`
#[derive(Clone, Debug, Default)]
pub struct Geo {
    /// Says which country, and perhaps which subdivisions, an address is in.
    pub country: Option<Arc<GeoDatabase>>,
    /// Says which autonomous system announces an address.
    pub asn: Option<Arc<GeoDatabase>>,
}

/// A MaxMind database, read whole.
pub type GeoDatabase = maxminddb::Reader<Vec<u8>>;

impl Geo {
    /// Whether the database of countries knows subdivisions.
    pub fn knows_subdivisions(&self) -> bool {
        let kind = self.country.as_ref().map(|database| database.metadata().database_type.as_str());
        kind.is_some_and(|kind| !kind.contains("Country"))
    }
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
    /// Place of its content steering in [`Config::steering`].
    pub steering: Option<usize>,
    /// Cross-origin sharing.
    pub cors: Option<Cors>,
    /// Methods it takes.
    pub methods: Vec<Method>,
    /// Content codings that playlists, manifests and JSON are sent in, the preferred one first.
    pub encodings: Vec<Coding>,
    /// Whether `Cache-Status` tells the key.
    pub cache_status_key: bool,
    /// The most that its objects may take of the store.
    pub quota: Quota,
    /// Whether duplicate slashes of a path count as one.
    pub merge_slashes: bool,
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
    /// Whether pages may send cookies; then origins are named.
    pub credentials: bool,
    /// How long a browser may remember a preflight answer.
    pub max_age: Duration,
}

/// A content coding (RFC 9110 section 8.4.1) that the node can apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Coding {
    /// `gzip` (RFC 1952).
    Gzip,
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878), within the window of RFC 9659.
    Zstd,
}

impl Coding {
    /// Every coding, in the order of the discriminants.
    pub const ALL: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

    /// Its name in `Accept-Encoding`, `Content-Encoding`, configuration and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }
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
    /// Methods it applies to; empty: all. GET stands for HEAD too.
    pub methods: Vec<Method>,
    /// Fields that the request must have. None: it asks for none.
    pub request_headers: Option<RequestHeaders>,
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
    /// What the key is made of, beside site and path.
    pub key: KeyParts,
    /// Fields of the request that go to the origin, and are no part of the key.
    pub forward: Vec<HeaderName>,
    /// Whether the disk keeps it.
    pub disk: Option<DiskAdmission>,
    /// Whether the viewer's request directives (RFC 9111 section 5.2.1) are obeyed.
    pub obey_client: bool,
    /// Changes to the header that viewers get.
    pub headers: HeaderChanges,
    /// Bytes of memory that its objects may take, where they are keyed by user. None: it is not keyed by user.
    pub quota: Option<u64>,
    /// What its paths count as. Then it has no condition but `path`.
    pub classify: Option<Kind>,
    /// Who holds reloads, and who makes delta updates.
    pub low_latency: LowLatency,
    /// What is fetched ahead.
    pub prefetch: Prefetch,
    /// Whether a playlist that goes back is kept from taking a good one's place, and a restart purges. What cannot be read
    /// never takes it.
    pub guard: bool,
    /// What is changed in playlists and manifests before they are kept.
    pub playlist: PlaylistChanges,
    /// Whether answers tell players what the edge knows (CTA-5006).
    pub cmsd: bool,
    /// What multivariant playlists and manifests are told of steering.
    pub steering: Option<SteeringTag>,
    /// Whether small objects are shared with other nodes, by way of [`Fleet::share`].
    pub shared: bool,
}

/// `low_latency` of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LowLatency {
    /// Who holds a blocking reload.
    pub reload: By,
    /// Who makes delta updates.
    pub delta: By,
    /// What a reload gets that has been held until its deadline.
    pub late: Late,
}

/// Who does something for players.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// The origin, or nobody.
    #[default]
    Origin,
    /// This node, where the origin does not.
    Edge,
}

/// What a reload gets that has been held until its deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Late {
    /// 503 (RFC 8216bis section 6.2.5.2).
    #[default]
    Error,
    /// The playlist as it is.
    Stale,
}

/// What is fetched ahead of the first request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefetch {
    /// Segments that a refreshed playlist lists for the first time, and their parts.
    pub segments: bool,
    /// What it hints at (`EXT-X-PRELOAD-HINT`).
    pub hints: bool,
    /// What players announce by CMCD (`nor`, `nrr`).
    pub cmcd: bool,
}

impl Rule {
    /// Whether it asks something of the request beside path and kind.
    pub fn is_conditional(&self) -> bool {
        !self.methods.is_empty() || self.request_headers.is_some()
    }

    /// Whether it is for this path (normal form).
    pub fn is_path_of(&self, path: &str) -> bool {
        self.path.as_ref().is_none_or(|glob| glob.matches(path))
    }
}

/// `request_headers` of a rule: fields that the request must have, all of them.
#[derive(Clone, Debug)]
pub struct RequestHeaders {
    /// Names and globs over the values; a field that is not there matches nothing.
    pub fields: Vec<(HeaderName, WildMatch)>,
    /// Stands for the condition in keys: the same for the same names and globs, whatever rule they stand in.
    pub hash: u64,
}

/// `key` of a rule.
#[derive(Clone, Debug, Default)]
pub struct KeyParts {
    /// Query parameters, in place of the default choice.
    pub query: Option<Vec<String>>,
    /// Header fields of the request.
    pub headers: Vec<HeaderName>,
    /// Cookies of the request.
    pub cookies: Vec<String>,
    /// Claims of the verified token.
    pub claims: Vec<Claim>,
}

/// A claim that is part of a key.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// The field in which the origin is told it: `Forebay-Claim-NAME`.
    pub field: HeaderName,
}

impl KeyParts {
    /// Whether it tells users apart: by a cookie, a claim or `Authorization`.
    pub fn is_by_user(&self) -> bool {
        !self.cookies.is_empty() || !self.claims.is_empty() || self.headers.contains(&AUTHORIZATION)
    }

    /// Whether there is anything beside the query.
    pub fn is_of_request(&self) -> bool {
        !self.headers.is_empty() || !self.cookies.is_empty() || !self.claims.is_empty()
    }
}

/// `headers` of a rule.
#[derive(Clone, Debug, Default)]
pub struct HeaderChanges {
    /// Fields that are set, in place of the origin's.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields that are removed.
    pub remove: Vec<HeaderName>,
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
