//! `[origin.NAME]`, checked: servers, how one of them is chosen, and what protects them.

use std::time::Duration;

use super::{OriginHeaders, OriginTls, Proof, S3};

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
