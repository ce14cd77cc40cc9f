//! `[[site]]` and `[[site.rule]]` as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, KindWord, OneOrMany, Size};

/// `[[site]]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Site {
    /// Host names the site answers for: `live.example.com`, `*.example.com` (any name below) or `*` (any host), without
    /// port. The first one names the site in metrics and logs.
    #[schemars(length(min = 1), example = ["*"])]
    pub(in crate::config) hosts: Vec<String>,
    /// Name of the origin group, as in `[origin.NAME]`.
    #[schemars(example = &"main")]
    pub(in crate::config) origin: String,
    /// Name of the token policy, as in `[token.NAME]`. Without it no token is asked for.
    #[schemars(example = &"viewer")]
    pub(in crate::config) token: Option<String>,
    /// Cross-origin sharing (CORS). Without it the origin's own answer headers decide.
    pub(in crate::config) cors: Option<Cors>,
    /// Methods the site takes; others are answered 405. Methods other than GET, HEAD and OPTIONS pass through, are never
    /// cached, and invalidate what they change (RFC 9111 section 4.4).
    #[serde(default = "Site::methods")]
    #[schemars(length(min = 1))]
    pub(in crate::config) methods: Vec<String>,
    /// The most that the site's objects may take of the store.
    pub(in crate::config) quota: Option<Quota>,
    /// Rules, `[[site.rule]]`: the first whose path, kind and status match wins. What no rule says is decided by the
    /// asset's kind and the origin's headers.
    #[serde(default)]
    pub(in crate::config) rule: Vec<Rule>,
}

impl Site {
    fn methods() -> Vec<String> {
        ["GET", "HEAD", "OPTIONS"].map(str::to_owned).to_vec()
    }
}

/// `cors` of a site.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Cors {
    /// Origins that may read answers, `https://HOST[:PORT]` each, or `["*"]` for any.
    #[schemars(length(min = 1), example = ["*"])]
    pub(in crate::config) origins: Vec<String>,
    /// How long a browser may remember a preflight answer. Up to 3650d.
    #[serde(default = "Cors::max_age")]
    pub(in crate::config) max_age: Duration,
}

impl Cors {
    fn max_age() -> Duration {
        Duration::new("1d")
    }
}

/// `quota` of a site.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Quota {
    /// Bytes of memory. At least 1MiB. Default: no bound but `store.memory`.
    #[schemars(example = "2GiB")]
    pub(in crate::config) memory: Option<Size>,
    /// Bytes of the disks together. At least 1MiB. Default: no bound but the disks'.
    #[schemars(example = "100GiB")]
    pub(in crate::config) disk: Option<Size>,
}

/// `[[site.rule]]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Rule {
    /// Glob over the whole path, without query; `*` also spans `/`, `?` is one character. Default: every path.
    #[schemars(example = "/live/*")]
    pub(in crate::config) path: Option<String>,
    /// Asset kind, or a list of kinds, the rule applies to. Default: every kind.
    #[schemars(example = ["segment", "init"])]
    pub(in crate::config) kind: Option<OneOrMany<KindWord>>,
    /// Answer status, or a list of statuses, the rule applies to. Default: every status that is kept without a rule.
    #[schemars(example = 200)]
    pub(in crate::config) status: Option<OneOrMany<Status>>,
    /// Freshness at the edge, in place of what the origin says; `"0s"` asks the origin every time. Up to 3650d.
    #[schemars(example = "30s")]
    pub(in crate::config) ttl: Option<Duration>,
    /// Freshness told to the browser. Up to 3650d. Default: what the origin says.
    #[schemars(example = "5s")]
    pub(in crate::config) browser_ttl: Option<Duration>,
    /// How long a stale copy may be served while it is fetched anew (RFC 5861 section 3). Up to 3650d. Default: what the
    /// origin says.
    #[schemars(example = "5m")]
    pub(in crate::config) stale_while_revalidate: Option<Duration>,
    /// How long a stale copy may be served when the origin fails (RFC 5861 section 4). Up to 3650d. Default: what the
    /// origin says.
    #[schemars(example = "1d")]
    pub(in crate::config) stale_if_error: Option<Duration>,
    /// Never cache: pass through.
    #[serde(default)]
    pub(in crate::config) bypass: bool,
    /// What tells two requests apart, beside site and path.
    pub(in crate::config) key: Option<Key>,
    /// Whether the disk keeps it: `second` (once it is asked for a second time, see `store.disk_admit_within`), `always`
    /// (at once) or `never`.
    #[schemars(example = &"never")]
    pub(in crate::config) disk: Option<DiskAdmission>,
}

/// `disk` of a rule.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum DiskAdmission {
    Second,
    Always,
    Never,
}

/// An answer status.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub(in crate::config) struct Status(#[schemars(range(min = 200, max = 599))] pub(in crate::config) u16);

/// `key` of a rule.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Key {
    /// Query parameters in the key; `[]` leaves the query out of it. Default: all but the token, `CMCD` and tracking
    /// parameters (`utm_*`, `fbclid`, `gclid`), sorted.
    #[schemars(example = ["lang"])]
    pub(in crate::config) query: Vec<String>,
}
