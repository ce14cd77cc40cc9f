//! `[revocation]` and `[fleet]` as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Duration;

/// `[revocation]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Revocation {
    /// File that revocations are noted in, one line each, before they are answered; the node creates it, in a folder that
    /// exists. A relative path starts at the folder of this file. Without it they live in memory: a restart forgets those
    /// that no other node of the fleet knows.
    #[schemars(example = "/var/lib/forebay/revocations")]
    pub(in crate::config) file: Option<String>,
}

/// `[fleet]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Fleet {
    /// The Redis server (5.0 or newer) that the nodes share: `redis://[USER@]HOST[:PORT][/DB]`, or
    /// `redis+unix:///SOCKET`. Without it each node decides for itself.
    #[schemars(example = "redis://127.0.0.1:6379/0")]
    pub(in crate::config) redis: Option<String>,
    /// File with the password: visible ASCII, surrounding white space ignored.
    #[schemars(example = "/etc/forebay/redis.password")]
    pub(in crate::config) password_file: Option<String>,
    /// What every key in Redis begins with: letters, digits, `-` and `_`. Nodes with the same prefix are a fleet.
    pub(in crate::config) prefix: String,
    /// How long a request may wait for Redis. 1ms to 10s.
    pub(in crate::config) timeout: Duration,
}

impl Default for Fleet {
    fn default() -> Fleet {
        Fleet {
            redis: None,
            password_file: None,
            prefix: "forebay".to_owned(),
            timeout: Duration::new("100ms"),
        }
    }
}
