//! `[[site]]` and its rules, checked.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Method};
use wildmatch::WildMatch;

use super::{PlaylistChanges, SteeringTag};
use crate::asset::Kind;

/// `[[site]]`
#[derive(Clone, Debug)]
pub struct Site {
    /// The first of its host patterns: its name in metrics and logs.
    pub name: String,
    /// Host names it answers for.
    pub hosts: Vec<HostPattern>,
    /// Place of its origin group in [`super::Config::origins`].
    pub origin: usize,
    /// Place of its token policy in [`super::Config::tokens`].
    pub token: Option<usize>,
    /// Place of its content steering in [`super::Config::steering`].
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
    /// Whether small objects are shared with other nodes, by way of [`super::Fleet::share`].
    pub shared: bool,
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
