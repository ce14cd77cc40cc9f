//! `[[site]]` and `[[site.rule]]` as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, KindWord, OneOrMany, Playlist, Size, Steered};

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
    /// Name of the content steering, as in `[steering.NAME]`. Without it the site serves no steering manifest.
    #[schemars(example = &"viewer")]
    pub(in crate::config) steering: Option<String>,
    /// Cross-origin sharing (CORS). Without it the origin's own answer headers decide.
    pub(in crate::config) cors: Option<Cors>,
    /// Methods the site takes; others are answered 405. Methods other than GET, HEAD and OPTIONS pass through, are never
    /// cached, and invalidate what they change (RFC 9111 section 4.4).
    #[serde(default = "Site::methods")]
    #[schemars(length(min = 1))]
    pub(in crate::config) methods: Vec<String>,
    /// Content codings in which playlists, manifests and JSON are sent to clients that accept them, the preferred one
    /// first; `[]` turns it off. Each body is encoded once for each coding, and the copy counts in `store.memory`.
    /// Segments, parts, keys and images are never encoded, nor is what its origin has encoded or marks `no-transform`,
    /// nor anything longer than `limits.playlist`.
    #[serde(default = "Site::encodings")]
    pub(in crate::config) encodings: Vec<Coding>,
    /// Whether `Cache-Status` tells the key of what answers (RFC 9211 section 2.8). For finding out why two requests
    /// share an answer, or do not.
    #[serde(default)]
    pub(in crate::config) cache_status_key: bool,
    /// The most that the site's objects may take of the store.
    pub(in crate::config) quota: Option<Quota>,
    /// Whether duplicate slashes of a path count as one, `/a//b` as `/a/b`. Set it to `false` for an origin with `//` in
    /// the names of its objects, such as an object store; then no token and no rule may take `//` for `/` either.
    #[serde(default = "Site::merge_slashes")]
    pub(in crate::config) merge_slashes: bool,
    /// Rules, `[[site.rule]]`: the first whose path, kind, status, methods and request headers match wins. What no rule
    /// says is decided by the asset's kind and the origin's headers.
    #[serde(default)]
    pub(in crate::config) rule: Vec<Rule>,
}

impl Site {
    fn methods() -> Vec<String> {
        ["GET", "HEAD", "OPTIONS"].map(str::to_owned).to_vec()
    }

    fn merge_slashes() -> bool {
        true
    }

    fn encodings() -> Vec<Coding> {
        vec![Coding::Zstd, Coding::Brotli, Coding::Gzip]
    }
}

/// A member of `encodings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(in crate::config) enum Coding {
    #[serde(rename = "zstd")]
    Zstd,
    #[serde(rename = "br")]
    Brotli,
    #[serde(rename = "gzip")]
    Gzip,
}

/// `cors` of a site.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Cors {
    /// Origins that may read answers, `https://HOST[:PORT]` each, or `["*"]` for any.
    #[schemars(length(min = 1), example = ["*"])]
    pub(in crate::config) origins: Vec<String>,
    /// Whether pages may send cookies with their requests, as `carry = "cookie"` of a token needs it. Only with origins
    /// that are named.
    #[serde(default)]
    pub(in crate::config) credentials: bool,
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
    /// Glob over the whole path, without query and in normal form; `*` also spans `/`, `?` is one character. Default:
    /// every path.
    #[schemars(example = "/live/*")]
    pub(in crate::config) path: Option<String>,
    /// Asset kind, or a list of kinds, the rule applies to. Default: every kind.
    #[schemars(example = ["segment", "init"])]
    pub(in crate::config) kind: Option<OneOrMany<KindWord>>,
    /// Answer status, or a list of statuses, the rule applies to. Default: every status that is kept without a rule.
    #[schemars(example = 200)]
    pub(in crate::config) status: Option<OneOrMany<Status>>,
    /// Methods the rule applies to; GET stands for HEAD too. Default: every method of the site.
    #[schemars(length(min = 1), example = ["GET"])]
    pub(in crate::config) methods: Option<Vec<String>>,
    /// Header fields that a request must have for the rule to apply, each with a glob over its value (`*` is any text,
    /// `?` one character; several lines are one value, joined by `, `). A field that is not there matches nothing. The
    /// match is part of the key, so what it decides is nobody else's.
    #[schemars(example = BTreeMap::from([("x-device", "tv*")]))]
    pub(in crate::config) request_headers: Option<BTreeMap<String, String>>,
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
    /// What tells two requests apart, beside site and path. What it names of a request is sent to the origin with the
    /// fetch, and nothing else of it is. A rule keyed by cookies, claims or `authorization` is keyed by user: its
    /// objects stay in memory, within the rule's `quota`.
    pub(in crate::config) key: Option<Key>,
    /// Header fields of a request that go to the origin with the fetch although they are no part of the key, such as
    /// `traceparent`. The origin must not choose its answer by them without a `Vary` that says so: all viewers would get
    /// what was chosen for one.
    #[serde(default)]
    #[schemars(example = ["traceparent"])]
    pub(in crate::config) forward: Vec<String>,
    /// Whether the disk keeps it: `second` (once it is asked for a second time, see `store.disk_admit_within`), `always`
    /// (at once) or `never`.
    #[schemars(example = &"never")]
    pub(in crate::config) disk: Option<DiskAdmission>,
    /// Obey the request directives of viewers (`Cache-Control: no-cache`, `max-age` and so on, RFC 9111 section 5.2.1).
    /// A player must not be able to hammer the origin, so they are not obeyed by default.
    #[serde(default)]
    pub(in crate::config) obey_client: bool,
    /// Changes to the header of the origin's answers on their way to viewers, stored ones too. Not of the node's own
    /// answers, such as errors.
    pub(in crate::config) headers: Option<HeaderChanges>,
    /// Bytes of memory that the objects of a rule keyed by user may take together, beside the site's `quota`; beyond
    /// them the oldest go. 1MiB to `store.memory`. Default: a tenth of `store.memory`.
    #[schemars(example = "64MiB")]
    pub(in crate::config) quota: Option<Size>,
    /// What these paths count as, whatever their extension says: an asset kind, such as `key` for a licence service. Of a
    /// rule with `path` alone as condition.
    #[schemars(example = &"key")]
    pub(in crate::config) classify: Option<KindWord>,
    /// Low-Latency HLS and blocking playlist reload (RFC 8216bis section 6.2.5).
    pub(in crate::config) low_latency: Option<LowLatency>,
    /// What is fetched ahead of the first request, of renditions that have viewers: `segments` that a refreshed playlist
    /// lists for the first time, with their parts; `hints` (`EXT-X-PRELOAD-HINT`); `cmcd`, what players announce as their next
    /// object (`nor`, `nrr`). For the first two it stands in the rule for the playlists, for `cmcd` in that for what players
    /// ask for. Bounded by `limits.prefetch_requests` and `limits.prefetch_bytes`. Default: nothing.
    #[serde(default)]
    #[schemars(example = ["segments", "hints"])]
    pub(in crate::config) prefetch: Vec<Prefetch>,
    /// Whether a live playlist that goes back, has no segments, or becomes of the other sort is kept from taking a good
    /// one's place; the good one is served for `stale_if_error`, then the answer is an error. Also whether what a stream had
    /// is purged when it begins anew. What cannot be read, or is not whole, never takes its place.
    #[serde(default = "Rule::guard")]
    pub(in crate::config) guard: bool,
    /// Changes to playlists and manifests, made once, before they are kept; lines that are not changed stay byte for byte.
    #[schemars(example = serde_json::json!({
        "drop_parameters": ["sid"],
        "hosts": { "origin.example": "cdn.example" },
        "variants": { "height_max": 1080, "codecs": ["avc1", "mp4a"], "order": "-bandwidth" },
    }))]
    pub(in crate::config) playlist: Option<Playlist>,
    /// Whether answers tell players what the edge knows (`CMSD-Static`, `CMSD-Dynamic`, CTA-5006).
    #[serde(default)]
    pub(in crate::config) cmsd: bool,
    /// Whether multivariant playlists and DASH manifests tell players of the site's steering: `true`, or the ID of the
    /// pathway that variants without one belong to and that players begin with; `true` is this node's own.
    #[schemars(example = Steered::Switch(true))]
    pub(in crate::config) steering: Option<Steered>,
    /// Whether what is kept is shared with the other nodes of the fleet, by way of the Redis server of `fleet.bus`, up to
    /// `fleet.share.object_max`: for playlists and answers of an API. One node fetches for all. Never shared are one user's
    /// objects, answers to requests with `Authorization`, answers that vary, keys, and what is fetched ahead.
    #[serde(default)]
    pub(in crate::config) shared: bool,
}

/// `low_latency` of a rule.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct LowLatency {
    /// Who holds a blocking reload until the playlist has grown: `origin` (it is passed on, one for each part), or `edge`:
    /// the node announces it for live playlists of an origin that does not, and holds viewers while it asks the origin once
    /// for all of them.
    #[serde(default)]
    pub(in crate::config) reload: By,
    /// Who makes delta updates: `origin`, or `edge`: the node announces and makes them where the origin does not.
    #[serde(default)]
    pub(in crate::config) delta: By,
    /// What a reload gets that is held until its deadline of three target durations: `error` (503), or `stale`: the
    /// playlist as it is.
    #[serde(default)]
    pub(in crate::config) late: Late,
}

/// `reload` and `delta` of `low_latency`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum By {
    #[default]
    Origin,
    Edge,
}

/// `late` of `low_latency`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Late {
    #[default]
    Error,
    Stale,
}

/// One of `prefetch`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Prefetch {
    Segments,
    Hints,
    Cmcd,
}

impl Rule {
    const fn guard() -> bool {
        true
    }
}

/// `headers` of a rule.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct HeaderChanges {
    /// Fields to set, in place of the origin's.
    #[serde(default)]
    #[schemars(example = BTreeMap::from([("x-robots-tag", "noindex")]))]
    pub(in crate::config) set: BTreeMap<String, String>,
    /// Names of fields to remove.
    #[serde(default)]
    #[schemars(example = ["server"])]
    pub(in crate::config) remove: Vec<String>,
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
    /// parameters (`utm_*`, `fbclid`, `gclid`), sorted by name.
    #[schemars(example = ["lang"])]
    pub(in crate::config) query: Option<Vec<String>>,
    /// Header fields of the request; one that is not there is told from one that is empty.
    #[serde(default)]
    #[schemars(example = ["accept-language"])]
    pub(in crate::config) headers: Vec<String>,
    /// Cookies of the request.
    #[serde(default)]
    pub(in crate::config) cookies: Vec<String>,
    /// Claims of the site's verified token (EdgeAuth: `id`, `data`, `ip`, `acl`), told to the origin as
    /// `Forebay-Claim-NAME`. A request whose token lacks one passes through and is not cached.
    #[serde(default)]
    pub(in crate::config) claims: Vec<String>,
}
