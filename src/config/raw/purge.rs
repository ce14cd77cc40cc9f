//! `[purge]` as it is written.

use std::collections::BTreeMap;

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
    /// File in which purges that are still to be passed on are noted, so that they outlive a restart; the node creates it, in
    /// a folder that exists. A relative path starts at the folder of this file. Without it they live in memory.
    #[schemars(example = "/var/lib/forebay/purges")]
    pub(in crate::config) forward_state: Option<String>,
    /// Where purges are passed on to, such as another CDN: `[[purge.forward]]`, at most 16. Each purge that this node is
    /// asked for is sent to each of them once it is in force here, in order, again and again until it is taken.
    #[schemars(example = [serde_json::json!({
        "name": "cdn",
        "url": "https://api.cdn.example/service/abc/purge/{tag}",
        "targets": ["tag"],
    })])]
    pub(in crate::config) forward: Vec<Forward>,
}

/// `[[purge.forward]]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Forward {
    /// Its name in metrics and in the log: letters, digits, `-` and `_`.
    #[schemars(example = &"cdn")]
    pub(in crate::config) name: String,
    /// The URL that is asked. Words in braces stand for the purge: `{id}`, `{scope}` (`url`, `prefix`, `tag`, `site` or
    /// `everything`), `{mode}` (`soft` or `hard`), `{site}`, `{path}` (of a URL or a prefix) and `{tag}`; behind a `?` they
    /// are percent-encoded. Its host is fixed. With `secret_headers` it begins with `https://`, but for loopback addresses.
    #[schemars(example = &"https://api.cdn.example/service/abc/purge/{tag}")]
    pub(in crate::config) url: String,
    /// The method. Default: `POST`.
    #[serde(default = "Forward::method")]
    pub(in crate::config) method: String,
    /// Header fields, with the same words in their values.
    #[serde(default)]
    #[schemars(example = BTreeMap::from([("surrogate-key", "{tag}")]))]
    pub(in crate::config) headers: BTreeMap<String, String>,
    /// Header fields whose values are secret: the files that hold them, surrounding white space ignored.
    #[serde(default)]
    #[schemars(example = BTreeMap::from([("fastly-key", "/etc/forebay/keys/cdn")]))]
    pub(in crate::config) secret_headers: BTreeMap<String, String>,
    /// The body, with the same words in it, as the content of JSON texts unless `headers` names another `content-type`;
    /// `""`: none. Default: a JSON object with the members `id`, `mode` and, as there are, `site`, `url`, `prefix`, `tag` and
    /// `everything`.
    #[schemars(example = &"{\"tags\": [\"{tag}\"]}")]
    pub(in crate::config) body: Option<String>,
    /// What is passed on. Default: everything; with `{tag}` tags alone, with `{path}` URLs and prefixes.
    #[schemars(example = [Scope::Tag])]
    pub(in crate::config) targets: Option<Vec<Scope>>,
    /// The key that signs, as `purge.hook` has it: the field `Forebay-Signature` over time and body.
    pub(in crate::config) sign: Option<HookKey>,
    /// How long one attempt may take. 100ms to 60s. Default: 10s.
    #[serde(default = "Forward::timeout")]
    pub(in crate::config) timeout: Duration,
    /// How often a purge is sent at most; then it is given up, and logged. Default: 20.
    #[serde(default = "Forward::attempts")]
    #[schemars(range(min = 1, max = 1000))]
    pub(in crate::config) attempts: u32,
    /// How long a purge is sent at most, from when it was asked for. 1s to 7d. Default: 1h.
    #[serde(default = "Forward::give_up")]
    pub(in crate::config) give_up: Duration,
    /// Purges that wait at most; a further one is not passed on, which the answer and the log say. Default: 1000.
    #[serde(default = "Forward::queue")]
    #[schemars(range(min = 1, max = 100_000))]
    pub(in crate::config) queue: u32,
}

/// What a purge may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Scope {
    Url,
    Prefix,
    Tag,
    Site,
    Everything,
}

impl Forward {
    fn method() -> String {
        "POST".to_owned()
    }

    fn timeout() -> Duration {
        Duration::new("10s")
    }

    const fn attempts() -> u32 {
        20
    }

    fn give_up() -> Duration {
        Duration::new("1h")
    }

    const fn queue() -> u32 {
        1000
    }
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
