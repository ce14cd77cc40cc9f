//! The configuration file as it is written: one struct per section, one field per key, the default beside it.
//!
//! The doc comments on the fields are the manual: [`super::reference`] prints them into `conf/forebay.toml` and the JSON
//! Schema. Types here say what a value looks like (text, number, list); what it means is decided by `super::resolve`.

mod fleet;
mod geo;
mod origin;
mod playlist;
mod purge;
mod reach;
mod site;
mod steering;
mod token;
mod values;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use fleet::{Fleet, NodeKey, Revocation, Sharing};
pub(super) use geo::Geo;
pub(super) use origin::{
    Balance, Breaker, Eject, Health, Hedge, Origin, OriginLimits, OriginTimeouts, Retry,
};
pub(super) use playlist::{Bounds, ByClaim, Order, Playlist, Variants};
pub(super) use purge::{Forward, HookKey, Purge, PurgeHook, Scope};
pub(super) use reach::{FieldValue, OriginHeaders, OriginTls, Proof, S3, S3Style};
pub(super) use site::{
    By, Coding, Cors, DiskAdmission, HeaderChanges, Key, Late, LowLatency, Prefetch, Quota, Rule, Site,
};
pub(super) use steering::{Overload, Pathway, Steered, Steering};
pub(super) use token::{
    Bind, Carry, FleetAway, Replay, Session, SessionBinding, SessionScope, TokenKey, TokenPlace, TokenPolicy,
    UnknownPlace,
};
pub(super) use values::{BitRate, Duration, KindWord, OneOrMany, Share, Size};

/// Configuration of a forebay node.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Listeners, threads and timeouts towards viewers.
    #[serde(default)]
    pub(super) server: Server,
    /// The cache.
    #[serde(default)]
    pub(super) store: Store,
    /// Bounds on everything that outside input can grow.
    #[serde(default)]
    pub(super) limits: Limits,
    /// What is logged, and where.
    #[serde(default)]
    pub(super) log: Log,
    /// Who may purge, beside the operators' listener.
    #[serde(default)]
    pub(super) purge: Purge,
    /// Tokens that are refused although they are good: what of them outlives a restart.
    #[serde(default)]
    pub(super) revocation: Revocation,
    /// What nodes share: revocations, the tokens that are good once, and the streams that a subject has at once.
    #[serde(default)]
    pub(super) fleet: Fleet,
    /// Where addresses are, for what goes by country or network: MaxMind databases (`.mmdb`), which the operator supplies
    /// and keeps up to date. Each is read at start, up to 512MiB, into memory of its own beside `store.memory`.
    #[serde(default)]
    pub(super) geo: Geo,
    /// Groups of origin servers, by name: letters, digits, `-` and `_`. Sites refer to them by name.
    #[serde(default)]
    pub(super) origin: BTreeMap<String, Origin>,
    /// Token policies, by name: letters, digits, `-` and `_`. Sites refer to them by name. A site without a token
    /// policy answers everybody.
    #[serde(default)]
    pub(super) token: BTreeMap<String, TokenPolicy>,
    /// Content steering (RFC 8216bis section 7, ETSI TS 103 998), by name: letters, digits, `-` and `_`. Sites refer to it by
    /// name; it tells players from which of several networks to fetch.
    #[serde(default)]
    pub(super) steering: BTreeMap<String, Steering>,
    /// Sites: which host names are answered, from which origin, under which rules. The site whose pattern names the
    /// host exactly wins, then the longest `*.` pattern, then `*`.
    #[serde(default)]
    pub(super) site: Vec<Site>,
}

/// `[server]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Server {
    /// Plaintext listeners, `ADDRESS:PORT` each. Port 0 lets the system choose. `[::]:80` takes IPv4 too where the
    /// system allows it.
    #[schemars(example = ["127.0.0.1:8080"])]
    pub(super) http: Vec<String>,
    /// TLS listeners. Certificate and key are PEM files; relative paths start at the folder of this file.
    #[schemars(example = [Https::example()])]
    pub(super) https: Vec<Https>,
    /// The private listener for operators: metrics, health, purge, reload. Without it there is none. An address that is
    /// not loopback needs `admin_token_file`.
    #[schemars(example = "127.0.0.1:9090")]
    pub(super) admin: Option<String>,
    /// File with the bearer token that admin requests must carry: visible ASCII, surrounding white space ignored.
    #[schemars(example = "/etc/forebay/admin.token")]
    pub(super) admin_token_file: Option<String>,
    /// Threads that serve viewers. Default: one per core.
    #[schemars(range(min = 1, max = 1024), example = 4)]
    pub(super) threads: Option<u32>,
    /// Keep each of these threads on a processor of its own, where there are as many threads as processors. Say false where
    /// others want the same processors.
    pub(super) pin_threads: bool,
    /// Whether plaintext listeners speak HTTP/2 to clients that start with its preface (RFC 9113 section 3.3).
    pub(super) h2c: bool,
    /// Send hot bodies over plaintext HTTP/1.1 from the kernel's page cache, without a copy. A body of 64KiB to 16MiB
    /// that has been asked for a few times moves there; it counts in `store.memory` as before, but may not show in the
    /// resident memory of the process. Without plaintext listeners, or where the system refuses it, nothing moves.
    pub(super) zero_copy: bool,
    /// Addresses and networks (CIDR) whose `X-Forwarded-For` is believed.
    #[schemars(example = ["10.0.0.0/8"])]
    pub(super) trusted_proxies: Vec<String>,
    /// How long a client may take to send a whole request header. 1ms to 1h.
    pub(super) request_timeout: Duration,
    /// How long a kept-alive connection may stand idle between requests. 1ms to 1d.
    pub(super) idle_timeout: Duration,
    /// How long one write towards a client, of up to 512KiB, may take: the default cuts off readers slower than about
    /// 140 kbit/s. 1ms to 1h.
    pub(super) write_timeout: Duration,
    /// How long a node that is told to stop goes on as before but says that it is not ready (`/readyz`, steering manifests), so that
    /// load balancers and players go elsewhere before it accepts no more. 0s to 1h.
    pub(super) drain_delay: Duration,
    /// How long a stopping node waits for its connections to end; `"0s"` does not wait. Up to 1d.
    pub(super) drain_timeout: Duration,
    /// DNS server, `ADDRESS:PORT`, that is asked for the servers behind `dns://` and `srv://`. Default: those of
    /// `/etc/resolv.conf`.
    #[schemars(example = "127.0.0.1:53")]
    pub(super) resolver: Option<String>,
    /// Load balancers that begin each connection with a header of the PROXY protocol, version 1 or 2, which names the client:
    /// its address counts from then on as the peer's, also for `trusted_proxies`. For viewers' listeners, plaintext and
    /// TLS. A connection whose header is wrong, or has not come within `request_timeout`, is closed. Without it no header is taken.
    #[schemars(example = ProxyProtocol::example())]
    pub(super) proxy_protocol: Option<ProxyProtocol>,
    /// Path at which viewers' listeners say whether the node should get traffic, for the health checks of load balancers: 200,
    /// or 503 while it starts or drains. It is the node's for every host, whatever its site, and shows in no access line
    /// and no viewer count. Without it there is none; the admin listener has `/readyz`.
    #[schemars(example = "/.well-known/forebay/ready")]
    pub(super) health_path: Option<String>,
}

impl Default for Server {
    fn default() -> Server {
        Server {
            http: Vec::new(),
            https: Vec::new(),
            admin: None,
            admin_token_file: None,
            threads: None,
            pin_threads: true,
            h2c: false,
            zero_copy: true,
            trusted_proxies: Vec::new(),
            request_timeout: Duration::new("10s"),
            idle_timeout: Duration::new("60s"),
            write_timeout: Duration::new("30s"),
            drain_delay: Duration::new("0s"),
            drain_timeout: Duration::new("30s"),
            resolver: None,
            proxy_protocol: None,
            health_path: None,
        }
    }
}

/// `server.proxy_protocol`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProxyProtocol {
    /// Addresses and networks (CIDR) of the load balancers. Whoever can connect from there can say to be anybody; what
    /// connects from elsewhere is never believed, and its header is a request that is no HTTP.
    #[schemars(length(min = 1), example = ["10.0.0.0/8"])]
    pub(super) from: Vec<String>,
    /// Whether connections from there must begin with a header, so that nobody goes around it; otherwise they may.
    #[serde(default = "required")]
    pub(super) required: bool,
}

impl ProxyProtocol {
    fn example() -> ProxyProtocol {
        ProxyProtocol { from: vec!["10.0.0.0/8".to_owned()], required: required() }
    }
}

fn required() -> bool {
    true
}

/// One entry of `server.https`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Https {
    /// `ADDRESS:PORT`. Port 0 lets the system choose.
    #[schemars(example = "[::]:443")]
    pub(super) listen: String,
    /// PEM file with the certificate chain, the server's own certificate first.
    #[schemars(example = "/etc/forebay/tls/live.crt")]
    pub(super) cert: String,
    /// PEM file with the private key, not encrypted.
    #[schemars(example = "/etc/forebay/tls/live.key")]
    pub(super) key: String,
    /// PEM file of authorities that vouch for other nodes: a client that shows a certificate of one of them is a node of the
    /// tier before, which has checked its viewers' tokens. Clients without a certificate are viewers, as ever.
    #[schemars(example = "/etc/forebay/tls/nodes-ca.pem")]
    pub(super) client_ca: Option<String>,
}

impl Https {
    fn example() -> Https {
        Https {
            listen: "[::]:443".to_owned(),
            cert: "/etc/forebay/tls/live.crt".to_owned(),
            key: "/etc/forebay/tls/live.key".to_owned(),
            client_ca: None,
        }
    }
}

/// `[store]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Store {
    /// Memory for bodies and their metadata, those in flight included. At least 16MiB.
    pub(super) memory: Size,
    /// Disks under the memory, one folder each. What is on them outlives a restart. Without any, memory is all there
    /// is.
    #[schemars(example = [Disk::example()])]
    pub(super) disk: Vec<Disk>,
    /// Once a disk is full, an object enters it when it is asked for a second time within so long; `"0s"`: at the first.
    /// Up to 30d.
    pub(super) disk_admit_within: Duration,
    /// An object that is fresh for less than this stays in memory. Up to 30d.
    pub(super) disk_ttl_min: Duration,
}

impl Default for Store {
    fn default() -> Store {
        Store {
            memory: Size::new("1GiB"),
            disk: Vec::new(),
            disk_admit_within: Duration::new("1h"),
            disk_ttl_min: Duration::new("60s"),
        }
    }
}

/// One entry of `store.disk`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Disk {
    /// Folder that is the node's alone; it must exist. A relative path starts at the folder of this file.
    #[schemars(example = "/var/cache/forebay")]
    pub(super) path: String,
    /// Bytes that the folder may take, all included. At least 64MiB.
    #[schemars(example = "400GiB")]
    pub(super) size: Size,
}

impl Disk {
    fn example() -> Disk {
        Disk { path: "/var/cache/forebay".to_owned(), size: Size::new("400GiB") }
    }
}

/// `[limits]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    /// Viewers' connections open at once; further ones are closed at accept.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(super) connections: u32,
    /// Length of a request target (path and query); a longer one is answered 414. 64B to 32KiB.
    pub(super) request_target: Size,
    /// Length of a playlist; a longer one is passed on unread and not kept. 1KiB to 64MiB.
    pub(super) playlist: Size,
    /// Percent of `store.memory` that one object may take whole; a larger one is kept in slices where its origin takes
    /// byte ranges, else it streams through `window` and is not kept.
    #[schemars(range(min = 1, max = 50))]
    pub(super) object_share: u8,
    /// Length beyond which an object is kept in slices of 1MiB, each fetched when it is asked for, where its origin
    /// takes byte ranges and tells versions apart by a strong `ETag` or a `Last-Modified`. So is an object of more than
    /// 1MiB that is first asked for by a range. At least 1MiB. What is longer than 64GiB streams through `window`.
    pub(super) slice_above: Size,
    /// Part of a large or uncacheable body held between origin and viewer. At least 256KiB, at most a quarter of
    /// `store.memory`; where the default is more than that, it is that quarter.
    pub(super) window: Size,
    /// How long a request waits for another request's fetch to answer; then it gets a stale copy where one may be used,
    /// else 504. A request that is held until a playlist grows has its own deadline. 100ms to 30s.
    pub(super) coalesce_wait: Duration,
    /// Requests that wait for one fetch at once; further ones are answered 503.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(super) waiters: u32,
    /// Ranges that one request may ask for (RFC 9110 section 14.2); one that asks for more gets the whole.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) ranges: u32,
    /// Percent of an object that must have arrived for a fetch without readers to go on. Playlists, segments, parts and
    /// init segments go on in any case.
    #[schemars(range(min = 0, max = 100))]
    pub(super) abandon_below: u8,
    /// How long a key is remembered as uncacheable, so that nobody queues behind it; `"0s"` does not remember. Up to
    /// 1d.
    pub(super) uncacheable_memory: Duration,
    /// Bytes of a header field, cookie or claim that a rule's `key` names; a request with a longer one passes through
    /// and is not cached. 16B to 4KiB.
    pub(super) key_value: Size,
    /// Bytes of what is remembered of verified tokens, by each token policy, and by its session tokens. From 64KiB.
    pub(super) token_verdicts: Size,
    /// Answers kept under one key that vary by fields of the request, as the origin's `Vary` says; a further one
    /// takes the place of the one that was kept first.
    #[schemars(range(min = 1, max = 1024))]
    pub(super) variants: u32,
    /// Revocations remembered at once, those included that were taken back and have not ended; a further one is refused.
    /// Nodes of one fleet need the same.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) revocations: u32,
    /// Tokens that are good once and have been used, remembered until they end; while there are as many, a further one is
    /// refused. 40 bytes each.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub(super) replays: u32,
    /// Subjects whose streams are counted at once; while there are as many, a further one's streams are not limited. About
    /// 150 bytes each.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(super) stream_subjects: u32,
    /// Playlists whose state is remembered: how far they go, when they last grew. About 500 bytes each, and the variables of
    /// their multivariant playlist, 4 KiB at most. One beyond them takes the place of the one that has not been asked for for
    /// longest.
    #[schemars(range(min = 64, max = 10_000_000))]
    pub(super) playlists: u32,
    /// Assets that playlists have named, remembered with their kind, so that they count as what they are whatever their
    /// extension. About 60 bytes each, and of segments of sites with `cmsd` 300 more as a rule, 700 at most; one beyond them takes
    /// another's place.
    #[schemars(range(min = 64, max = 100_000_000))]
    pub(super) named_assets: u32,
    /// Requests that are held until a playlist grows (`_HLS_msn`), of all clients; a further one is answered 503.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(super) parked: u32,
    /// The same of one client address.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(super) parked_per_client: u32,
    /// Fetches ahead of the first request under way at once.
    #[schemars(range(min = 1, max = 100_000))]
    pub(super) prefetch_requests: u32,
    /// Bytes of them that are under way; what there is no room for is not begun, or given up unless a viewer has joined.
    /// 1MiB to half of `store.memory`; where the default is more than that, it is that half.
    pub(super) prefetch_bytes: Size,
    /// Requests for keys and licences that one client may make in a minute: a session where a token says one, else an
    /// address (of IPv6, a network of 64 bits). A further one is answered 429.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) key_requests: u32,
    /// Clients whose requests for keys are counted; beyond them, one that has been silent for longest counts anew. About 100
    /// bytes each.
    #[schemars(range(min = 64, max = 10_000_000))]
    pub(super) key_clients: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 100_000,
            request_target: Size::new("8KiB"),
            playlist: Size::new("4MiB"),
            object_share: 10,
            slice_above: Size::new("16MiB"),
            window: Size::new("8MiB"),
            coalesce_wait: Duration::new("10s"),
            waiters: 100_000,
            ranges: 16,
            abandon_below: 50,
            uncacheable_memory: Duration::new("60s"),
            key_value: Size::new("1KiB"),
            token_verdicts: Size::new("16MiB"),
            variants: 32,
            revocations: 100_000,
            replays: 1_000_000,
            stream_subjects: 100_000,
            playlists: 16_384,
            named_assets: 262_144,
            parked: 200_000,
            parked_per_client: 1024,
            prefetch_requests: 16,
            prefetch_bytes: Size::new("64MiB"),
            key_requests: 120,
            key_clients: 65_536,
        }
    }
}

/// `[log]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    /// Where access lines go: `"stdout"`, `"off"`, or the path of a file, appended to. A relative path starts at the
    /// working directory.
    pub(super) access: String,
    /// Access lines held for the writer; further ones are dropped and counted.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub(super) queue: u32,
    /// Whether access lines tell the JA4 fingerprint of clients that come over TLS (`tls_fingerprint`). It tells players
    /// apart by their software, not viewers.
    pub(super) tls_fingerprint: bool,
    /// Least severe level of the node's own messages: `off`, `error`, `warn`, `info`, `debug` or `trace`. The lines that
    /// tell of listeners, and who purged what (`forebay::audit`), are shown at every level.
    pub(super) level: Level,
}

impl Default for Log {
    fn default() -> Log {
        Log { access: "stdout".to_owned(), queue: 8192, tls_fingerprint: false, level: Level::Info }
    }
}

/// `log.level`
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}
