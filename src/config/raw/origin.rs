//! `[origin.NAME]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Duration;

/// `[origin.NAME]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Origin {
    /// The group's servers: `http://HOST[:PORT]` or `https://HOST[:PORT]`, without path.
    #[schemars(length(min = 1), example = ["http://127.0.0.1:8000"])]
    pub(in crate::config) servers: Vec<String>,
    /// The `Host` sent to the servers. Default: each server's own.
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
}

/// `health` of an origin group.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Health {
    /// Path asked for with GET; a 2xx answer is healthy.
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
}

impl Default for OriginTimeouts {
    fn default() -> OriginTimeouts {
        OriginTimeouts {
            connect: Duration::new("2s"),
            first_byte: Duration::new("10s"),
            between_bytes: Duration::new("10s"),
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
    /// Requests that wait for their turn; further ones are refused at once.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub(in crate::config) queue_length: u32,
}

impl Default for OriginLimits {
    fn default() -> OriginLimits {
        OriginLimits { connections: 256, queue: Duration::new("2s"), queue_length: 10_000 }
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
}

impl Default for Retry {
    fn default() -> Retry {
        Retry { attempts: 2, on: ["connect", "502", "503", "504"].map(str::to_owned).to_vec() }
    }
}

/// `tls` of an origin group.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct OriginTls {
    /// PEM file of authorities trusted beside the system's. A relative path starts at the folder of this file.
    #[schemars(example = "/etc/forebay/tls/origin-ca.pem")]
    pub(in crate::config) ca: String,
}
