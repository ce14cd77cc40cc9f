//! `[origin.NAME]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reach::{OriginHeaders, OriginTls, Proof, S3};
use super::{Duration, Share};

/// `[origin.NAME]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Origin {
    /// The group's servers: `http://HOST[:PORT]` or `https://HOST[:PORT]`, without path. Or names that stand for servers
    /// which come and go: `dns://HOST[:PORT]` for every address of a host, `srv://NAME` for every target of a record such
    /// as `_http._tcp.origin.example.com`; `dns+https://` and `srv+https://` with TLS. They are resolved again when the
    /// records expire, after 1s to 30s; while that fails, the last servers stay. At most 256 servers.
    #[schemars(length(min = 1), example = ["http://127.0.0.1:8000"])]
    pub(in crate::config) servers: Vec<String>,
    /// The `Host` sent to the servers. Default: each server's own; where they are nodes (`tier`), the viewer's, without port.
    #[schemars(example = "origin.example.com")]
    pub(in crate::config) host: Option<String>,
    /// Active health check of every server. Without it every server counts as healthy.
    pub(in crate::config) health: Option<Health>,
    /// Timeouts towards the servers.
    #[serde(default)]
    pub(in crate::config) timeouts: OriginTimeouts,
    /// What the group may be asked at once.
    #[serde(default)]
    pub(in crate::config) limits: OriginLimits,
    /// What is tried again, for GET and HEAD.
    #[serde(default)]
    pub(in crate::config) retry: Retry,
    /// Trust towards `https` servers.
    pub(in crate::config) tls: Option<OriginTls>,
    /// Whether the servers are nodes of the next tier, such as shields: requests to them are signed with `fleet.keys`, and
    /// what they say of freshness goes before this node's rules.
    #[serde(default)]
    pub(in crate::config) tier: bool,
    /// When the whole group is left alone for a while because most requests fail (circuit breaker). Failures are no
    /// connection, no answer in time, a malformed answer, a body that breaks off, and the 5xx statuses of `retry.on`.
    #[serde(default)]
    pub(in crate::config) breaker: Breaker,
    /// When one server of several is left alone for a while because it fails again and again; the same failures count.
    #[serde(default)]
    pub(in crate::config) eject: Eject,
    /// A second request for playlists and manifests whose answer is late, to another server where there is one; the first
    /// good answer counts. Default: none is sent.
    pub(in crate::config) hedge: Option<Hedge>,
    /// NAME of the `[origin.NAME]` that GET and HEAD requests go to when the circuit of this group is open, when none of
    /// its servers is usable, and when a request has failed after its last attempt.
    #[schemars(example = &"backup")]
    pub(in crate::config) fallback: Option<String>,
    /// Which server is asked: `"turns"`, each in its turn, or `"owner"`, the one that a key belongs to by consistent
    /// hashing, so that equal caches hold different objects. One that is unhealthy, or has more than 1.25 times its share of
    /// the requests under way, passes its keys on to the next.
    #[serde(default)]
    pub(in crate::config) balance: Balance,
    /// Whether HTTP/2 is spoken: to `https` servers that agree to it (ALPN), others get HTTP/1.1; to `http` servers without
    /// asking (RFC 9113 section 3.3).
    #[serde(default)]
    pub(in crate::config) http2: bool,
    /// Whether the `Host` sent is the host that viewers ask for, in place of `host`. The sites of the group then have one
    /// host name each.
    #[serde(default)]
    pub(in crate::config) forward_host: bool,
    /// Changes to the header of requests to the servers, after all that the node and its rules put there.
    #[serde(default)]
    pub(in crate::config) headers: OriginHeaders,
    /// The servers are those of an object store (S3 or compatible): requests are signed (AWS Signature Version 4), and paths
    /// name objects of a bucket.
    pub(in crate::config) s3: Option<S3>,
    /// A field that proves to the servers that requests come from this node or one of its keys.
    pub(in crate::config) proof: Option<Proof>,
}

/// `balance` of an origin group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Balance {
    /// Each in its turn.
    #[default]
    Turns,
    /// The server that the key belongs to.
    Owner,
}

/// `health` of an origin group.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Health {
    /// Path asked for with GET.
    #[schemars(example = "/healthz")]
    pub(in crate::config) path: String,
    /// Time between two checks of one server. 10ms to 1h.
    #[serde(default = "Health::interval")]
    pub(in crate::config) interval: Duration,
    /// Time after which a check has failed. 1ms to 1h.
    #[serde(default = "Health::timeout")]
    pub(in crate::config) timeout: Duration,
    /// Failures in a row that make a server unhealthy.
    #[serde(default = "Health::unhealthy_after")]
    #[schemars(range(min = 1, max = 1000))]
    pub(in crate::config) unhealthy_after: u32,
    /// Successes in a row that make it healthy again.
    #[serde(default = "Health::healthy_after")]
    #[schemars(range(min = 1, max = 1000))]
    pub(in crate::config) healthy_after: u32,
    /// Statuses that are healthy, from 200 to 599: single ones and ranges. At most 32.
    #[serde(default = "Health::status")]
    pub(in crate::config) status: Vec<String>,
    /// Text that the first 64 KiB of the body must contain. Default: the body is not looked at.
    #[schemars(example = &"ok")]
    pub(in crate::config) body: Option<String>,
    /// Of `https` servers: how long before its end a certificate is warned of. 0s to 365d.
    #[serde(default = "Health::certificate")]
    pub(in crate::config) certificate: Duration,
}

impl Health {
    fn interval() -> Duration {
        Duration::new("2s")
    }

    fn timeout() -> Duration {
        Duration::new("1s")
    }

    fn unhealthy_after() -> u32 {
        3
    }

    fn healthy_after() -> u32 {
        2
    }

    fn status() -> Vec<String> {
        vec!["200-299".to_owned()]
    }

    fn certificate() -> Duration {
        Duration::new("7d")
    }
}

/// `timeouts` of an origin group.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct OriginTimeouts {
    /// TCP and TLS together. 1ms to 1h.
    pub(in crate::config) connect: Duration,
    /// From the request sent to the first byte of the answer's header. 1ms to 1h.
    pub(in crate::config) first_byte: Duration,
    /// Between two reads of a body. 1ms to 1h.
    pub(in crate::config) between_bytes: Duration,
    /// From the request to the last byte of the body, growing bodies included; what an origin may hold a reload for is
    /// added. 1ms to 1d.
    pub(in crate::config) total: Duration,
}

impl Default for OriginTimeouts {
    fn default() -> OriginTimeouts {
        OriginTimeouts {
            connect: Duration::new("2s"),
            first_byte: Duration::new("10s"),
            between_bytes: Duration::new("10s"),
            total: Duration::new("1h"),
        }
    }
}

/// `limits` of an origin group.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct OriginLimits {
    /// Requests under way at once. Blocking reloads (`_HLS_msn`), which the origin holds until a playlist has grown, take
    /// half of them at most: one for each playlist with viewers and part that they wait for.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) connections: u32,
    /// How long a request waits for its turn; `"0s"` does not wait. Up to 1h.
    pub(in crate::config) queue: Duration,
    /// Requests that wait for their turn; further ones are refused at once. Playlists and manifests go first.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub(in crate::config) queue_length: u32,
    /// Requests that this node sends to the group in a second, further attempts and what passes through included, health
    /// checks not. Who comes too early waits as for a turn. 0 is no limit.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(in crate::config) requests_per_second: u32,
    /// Requests that may be sent at once after a pause. 0 stands for a tenth of `requests_per_second`, at least one.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(in crate::config) burst: u32,
}

impl Default for OriginLimits {
    fn default() -> OriginLimits {
        OriginLimits {
            connections: 256,
            queue: Duration::new("2s"),
            queue_length: 10_000,
            requests_per_second: 0,
            burst: 0,
        }
    }
}

/// `retry` of an origin group.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Retry {
    /// Attempts in all, the first included; 1 tries nothing again.
    #[schemars(range(min = 1, max = 10))]
    pub(in crate::config) attempts: u32,
    /// What is tried again: `"connect"` (no connection, or one closed before any answer) and statuses from 400 to 599
    /// as text.
    pub(in crate::config) on: Vec<String>,
    /// Share of the requests of the last 10 s that may be sent again, second requests of `hedge` included; 5 more are
    /// allowed in any case. Where a server cannot be connected to and another one has not failed last, that one is asked
    /// beside it. `0%` to `100%`.
    pub(in crate::config) budget: Share,
    /// The pause before the second attempt, doubled for each further one; of each pause a random part of up to half is
    /// left out. 0s to 1m.
    pub(in crate::config) backoff: Duration,
    /// The longest pause. 0s to 1m.
    pub(in crate::config) backoff_max: Duration,
    /// Attempts in a row, none of which brings a byte, to have the rest of a body sent that broke off; 0 breaks the
    /// transfer to the viewers, too.
    #[schemars(range(min = 0, max = 10))]
    pub(in crate::config) resume: u32,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            attempts: 2,
            on: ["connect", "502", "503", "504"].map(str::to_owned).to_vec(),
            budget: Share::new("20%"),
            backoff: Duration::new("20ms"),
            backoff_max: Duration::new("200ms"),
            resume: 3,
        }
    }
}

/// `breaker` of an origin group.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Breaker {
    /// Whether there is one.
    pub(in crate::config) enabled: bool,
    /// Share of the requests within `window` that must have failed for it to open. `1%` to `100%`.
    pub(in crate::config) failures: Share,
    /// Requests within `window` below which it stays closed.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) requests: u32,
    /// The time that is looked back. 100ms to 10m.
    pub(in crate::config) window: Duration,
    /// How long it stays open: nothing is sent to the group meanwhile. 10ms to 10m.
    pub(in crate::config) open: Duration,
    /// Requests that are let through at once after that. So many successes close it, a failure opens it again.
    #[schemars(range(min = 1, max = 1000))]
    pub(in crate::config) probes: u32,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker {
            enabled: true,
            failures: Share::new("90%"),
            requests: 20,
            window: Duration::new("10s"),
            open: Duration::new("5s"),
            probes: 3,
        }
    }
}

/// `eject` of an origin group.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Eject {
    /// Whether servers are ejected. A group's only server never is.
    pub(in crate::config) enabled: bool,
    /// Failures in a row.
    #[schemars(range(min = 1, max = 1000))]
    pub(in crate::config) failures: u32,
    /// How long the first time, doubled each time; it begins anew when a server has stood for `time_max`. 10ms to 1h.
    pub(in crate::config) time: Duration,
    /// The longest time. 10ms to 1d.
    pub(in crate::config) time_max: Duration,
    /// Share of the servers that may be ejected at once, one at least and never all of them. `0%` to `100%`.
    pub(in crate::config) share: Share,
}

impl Default for Eject {
    fn default() -> Eject {
        Eject {
            enabled: true,
            failures: 5,
            time: Duration::new("10s"),
            time_max: Duration::new("5m"),
            share: Share::new("50%"),
        }
    }
}

/// `hedge` of an origin group.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Hedge {
    /// When the second request is sent: `"p50"` to `"p99"`, the time within which so many percent of the group's recent
    /// answers to such requests have begun, once there are 20; or a duration from 1ms to 1m.
    #[schemars(example = &"p95")]
    pub(in crate::config) after: String,
    /// Not before this time. 0s to 1m.
    #[serde(default = "Hedge::after_min")]
    pub(in crate::config) after_min: Duration,
    /// Share of such requests of the last 10 s that may be sent twice; one more is allowed in any case. They count against
    /// `retry.budget` too. `1%` to `100%`.
    #[serde(default = "Hedge::share")]
    pub(in crate::config) share: Share,
}

impl Hedge {
    fn after_min() -> Duration {
        Duration::new("50ms")
    }

    fn share() -> Share {
        Share::new("5%")
    }
}
