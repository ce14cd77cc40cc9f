//! The configuration once it is known to be right: types that cannot be wrong, with every default filled in.
//!
//! Made by [`super::load`] from a file; read by every station. Nothing here is validated again at run time.

mod playlist;
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
    /// What nodes share; None: this one decides for itself.
    pub fleet: Option<Fleet>,
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
}

impl Config {
    /// Whether something asks for the fingerprints of TLS clients: they are computed only then.
    pub fn asks_for_fingerprints(&self) -> bool {
        self.log.tls_fingerprint || self.tokens.iter().any(TokenPolicy::asks_for_fingerprints)
    }
}

/// `[server]`
#[derive(Clone, Debug)]
pub struct Server {
    /// The node's name. None: it has none of its own.
    pub name: Option<String>,
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

/// `[fleet]`, where it names a server.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The Redis server, without its password.
    pub redis: redis::ConnectionInfo,
    /// Its password.
    pub password: Option<Secret>,
    /// What every key in Redis begins with.
    pub prefix: String,
    /// How long a request may wait for Redis.
    pub timeout: Duration,
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
