//! `[token.NAME]` once it is known to be right.

use std::time::Duration;

use http::{HeaderName, Method};
use ipnet::IpNet;
use wildmatch::WildMatch;

use super::{HostPattern, Secret};
pub use crate::config::formats::{KeyKind, TokenFormat};
use crate::config::territory::Territory;
use crate::reason::Reason;

/// Keys of a policy: each of them may be tried on a token that names none. As many as `url_sig` has numbers.
pub const TOKEN_KEYS_MAX: usize = 16;

/// Names that the tokens of a policy may have.
pub const TOKEN_NAMES_MAX: usize = 16;

/// What the node's own tokens are called unless `session.name` says otherwise.
pub const SESSION_NAME_DEFAULT: &str = "hdntl";

/// `[token.NAME]`
#[derive(Clone, Debug)]
pub struct TokenPolicy {
    /// NAME.
    pub name: String,
    /// The wire format, and what it has been told.
    pub format: TokenFormat,
    /// Keys in the order they are tried; the first one signs.
    pub keys: Vec<TokenKey>,
    /// Names the token may have, in order; empty where it is several parameters, whose names the format knows.
    pub names: Vec<String>,
    /// Places it may stand in, in order.
    pub places: Vec<TokenPlace>,
    /// How the token reaches the segments.
    pub carry: Carry,
    /// Other hosts whose URIs carry it; lower case.
    pub carry_hosts: Vec<String>,
    /// Clock difference tolerated.
    pub leeway: Duration,
    /// Statuses of refusals.
    pub status: Statuses,
    /// The claim that is the subject of a token that says none.
    pub subject: Option<String>,
    /// What is asked of tokens that are good.
    pub entitlement: Entitlement,
    /// What every client that uses its tokens must have.
    pub bind: TokenBind,
    /// The token that the node makes itself.
    pub session: Option<Session>,
    /// `salt` hashed with every token, never sent.
    pub salt: Option<Secret>,
}

impl TokenPolicy {
    /// A policy of this format with these keys and every default, as one that names nothing else has.
    pub fn new(name: &str, format: TokenFormat, keys: Vec<TokenKey>) -> TokenPolicy {
        let word = format.word();
        TokenPolicy {
            name: name.to_owned(),
            format,
            keys,
            names: word.names().iter().map(|name| (*name).to_owned()).collect(),
            places: word.places().to_vec(),
            carry: if word.places().contains(&TokenPlace::Path) { Carry::Path } else { Carry::None },
            carry_hosts: Vec::new(),
            leeway: Duration::ZERO,
            status: Statuses::default(),
            subject: None,
            entitlement: Entitlement::default(),
            bind: TokenBind::default(),
            session: None,
            salt: None,
        }
    }
}

/// What a token policy asks of tokens that are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entitlement {
    /// Streams that a subject may have at once where its token does not say; None: any number.
    pub streams: Option<u32>,
    /// How long a session counts as a stream after it was last seen.
    pub stream_window: Duration,
    /// Whether every token is good for one request, also one that does not ask for it.
    pub once: bool,
    /// What becomes of requests while the fleet's Redis server is away.
    pub fleet_away: FleetAway,
}

impl Default for Entitlement {
    fn default() -> Entitlement {
        Entitlement {
            streams: None,
            stream_window: Duration::from_secs(30),
            once: false,
            fleet_away: FleetAway::Open,
        }
    }
}

/// `fleet_away` of a token policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FleetAway {
    /// The node decides by what it knows itself.
    #[default]
    Open,
    /// What the fleet has to decide is refused.
    Closed,
}

impl TokenPolicy {
    /// Whether something of it asks for the fingerprints of TLS clients.
    pub fn asks_for_fingerprints(&self) -> bool {
        let of_session = self.session.as_ref().is_some_and(|session| session.bind_tls);
        of_session || self.bind.tls_fingerprints.is_some() || matches!(self.format, TokenFormat::Cat(_))
    }
}

/// `bind` of a policy; of a list None: it asks for nothing.
#[derive(Clone, Debug, Default)]
pub struct TokenBind {
    /// Networks that hold the client's address.
    pub addresses: Option<Vec<IpNet>>,
    /// Countries and subdivisions that the client is in one of.
    pub countries: Option<Vec<Territory>>,
    /// Countries and subdivisions that the client is in none of.
    pub not_countries: Option<Vec<Territory>>,
    /// Autonomous systems that announce the client's address.
    pub asns: Option<Vec<u32>>,
    /// Whether a client whose place is not known is let in.
    pub unknown_is_allowed: bool,
    /// Methods; GET stands for HEAD too.
    pub methods: Option<Vec<Method>>,
    /// Hosts asked for.
    pub hosts: Option<Vec<HostPattern>>,
    /// Header fields, all of them, each with a glob over one of its lines.
    pub headers: Vec<(HeaderName, WildMatch)>,
    /// Globs over the TLS client's JA4 fingerprint.
    pub tls_fingerprints: Option<Vec<WildMatch>>,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKey {
    /// Its name in logs and metrics, and in tokens where the format names keys.
    pub id: String,
    /// What it is for.
    pub kind: KeyKind,
    /// Its bytes, in the form that [`crate::config::formats::Word::key`] gives.
    pub bytes: Secret,
}

/// The status of each refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses([u16; Reason::ALL.len()]);

impl Statuses {
    /// The status of a reason.
    pub fn of(&self, reason: Reason) -> u16 {
        self.0[reason as usize]
    }

    /// Sets the status of a reason.
    pub fn set(&mut self, reason: Reason, status: u16) {
        self.0[reason as usize] = status;
    }
}

impl Default for Statuses {
    fn default() -> Statuses {
        Statuses([403; Reason::ALL.len()])
    }
}

/// `session` of a policy.
#[derive(Clone, Debug)]
pub struct Session {
    /// Keys in the order they are tried; the first one signs.
    pub keys: Vec<TokenKey>,
    /// The token's name.
    pub name: String,
    /// How long it is good.
    pub life: Duration,
    /// Whether it opens what the first token opens, rather than the playlist's directory.
    pub scope_of_token: bool,
    /// Further paths that it opens.
    pub also: Vec<String>,
    /// Whether it is bound to the client's address.
    pub bind_address: bool,
    /// Whether it is bound to the TLS client's fingerprint.
    pub bind_tls: bool,
    /// Claims of the first token that it repeats.
    pub claims: Vec<String>,
}

/// Where a token may stand in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// The leading path segment, `/NAME=TOKEN/...`.
    Path,
    /// A path parameter, `;NAME=TOKEN`, in any segment (RFC 3986 section 3.3).
    PathParameter,
    /// A query parameter.
    Query,
    /// A cookie.
    Cookie,
    /// A header field.
    Header,
}

impl TokenPlace {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            TokenPlace::Path => "path",
            TokenPlace::PathParameter => "path_parameter",
            TokenPlace::Query => "query",
            TokenPlace::Cookie => "cookie",
            TokenPlace::Header => "header",
        }
    }
}

/// How a token reaches the segments of a playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// As leading path segment, which relative URIs inherit.
    Path,
    /// As a parameter of every URI.
    Query,
    /// As a cookie.
    Cookie,
    /// Not at all.
    None,
}
