//! `[purge]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Duration;

/// `[purge]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Purge {
    /// Addresses and networks (CIDR) of clients, after `server.trusted_proxies`, whose `PURGE` requests on viewers'
    /// listeners purge the URL they are for. Others get 403. Empty: the method means nothing.
    #[schemars(example = ["10.0.0.0/8"])]
    pub(in crate::config) method_from: Vec<String>,
    /// `POST /purge/hook` on the admin listener, for programs that have no operator's token and sign what they send
    /// instead: `Forebay-Signature: t=SECONDS, id=KEY, v1=HEX`, where HEX is HMAC-SHA256 with the key over SECONDS, `.`
    /// and the body.
    pub(in crate::config) hook: Option<PurgeHook>,
}

/// `hook` of `[purge]`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct PurgeHook {
    /// Keys that may sign. To rotate, add the new one, change the sender, and take the old one away. A secret file holds
    /// at least 16 visible ASCII characters, surrounding white space ignored; the characters themselves are the key.
    /// Relative paths start at the folder of this file.
    #[schemars(length(min = 1), example = [HookKey::example()])]
    pub(in crate::config) keys: Vec<HookKey>,
    /// How far the time of a signature may be from the node's own, before and after. Within it no signature is taken
    /// twice. 1s to 1h.
    #[serde(default = "PurgeHook::window")]
    pub(in crate::config) window: Duration,
}

impl PurgeHook {
    fn window() -> Duration {
        Duration::new("5m")
    }
}

/// One entry of `keys`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct HookKey {
    /// The key's name in signatures and in the log: letters, digits, `-` and `_`.
    #[schemars(example = &"cms")]
    pub(in crate::config) id: String,
    /// File with the key.
    #[schemars(example = "/etc/forebay/keys/cms")]
    pub(in crate::config) secret_file: String,
}

impl HookKey {
    fn example() -> HookKey {
        HookKey { id: "cms".to_owned(), secret_file: "/etc/forebay/keys/cms".to_owned() }
    }
}
