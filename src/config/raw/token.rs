//! `[token.NAME]` as it is written.

mod bind;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Duration;
use crate::config::formats;
use crate::config::model::SESSION_NAME_DEFAULT;
pub(in crate::config) use bind::{Bind, UnknownPlace};

/// `[token.NAME]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TokenPolicy {
    /// The wire format: `edgeauth` (Akamai EdgeAuth 2.0), `jwt` (RFC 7519), `cdni` (RFC 9246), `cat` (CTA-5007),
    /// `cloudfront`, `secure_link` (nginx), `url_sig` (Apache Traffic Server), `bunny`, `cloudflare`, `fastly`,
    /// `media_cdn` (Google). What belongs to one format alone stands in a table of its name.
    #[schemars(example = &"edgeauth")]
    pub(in crate::config) format: formats::Word,
    /// Keys in the order they are tried; the first one signs. To rotate, put the new key first and take the old one away
    /// once its tokens have ended. A key file holds one key in the form that the format's tools write it in, surrounding
    /// white space ignored; relative paths start at the folder of this file. At most 16; a
    /// token of `jwt`, `cdni`, `cat` or `media_cdn` that names no key is tried with the first 8 that fit it.
    #[schemars(example = [TokenKey::example()])]
    pub(in crate::config) keys: Option<Vec<TokenKey>>,
    /// Names the token may have, in the order they are looked for. By default those of the format: `hdnts`, `hdnea`,
    /// `__hdnea__`, `__token__` for `edgeauth`. Not for formats whose tokens are several parameters. At most 16.
    #[schemars(example = ["hdnts"])]
    pub(in crate::config) names: Option<Vec<String>>,
    /// Places the token may stand in, in the order they are looked at: `path` (leading segment, `/NAME=TOKEN/...`),
    /// `path_parameter` (`;NAME=TOKEN` anywhere in the path), `query`, `cookie`, `header` (a field of this name; of
    /// `authorization`, what follows `Bearer`). By default those of the format: `path`, `query`, `cookie` for `edgeauth`.
    #[schemars(example = [TokenPlace::Path, TokenPlace::Query, TokenPlace::Cookie])]
    pub(in crate::config) places: Option<Vec<TokenPlace>>,
    /// How the token, or that of `session` where there is one, reaches the segments of a playlist. `path`: as leading
    /// path segment; `query`: as parameter of every URI; `cookie`, only with `session`; `none`. By default `path`, where `places` or
    /// `session` allow it, else `none`.
    #[schemars(example = Carry::Path)]
    pub(in crate::config) carry: Option<Carry>,
    /// Other hosts whose URIs in playlists carry the token too, beside the one asked for and the site's own.
    #[serde(default)]
    #[schemars(example = ["cdn2.example.com"])]
    pub(in crate::config) carry_hosts: Vec<String>,
    /// Clock difference tolerated when start and end of a token are compared. Up to 1h.
    #[serde(default = "TokenPolicy::leeway")]
    pub(in crate::config) leeway: Duration,
    /// Statuses of refusals, by reason, from 400 to 499 without 405, 407 and 426; 403 for those that are not named: `missing`, `malformed`, `bad_mac`,
    /// `unknown_key`, `expired`, `not_yet`, `path`, `ip`, `geo`, `asn`, `method`, `host`, `header`, `alpn`,
    /// `tls_fingerprint`, `issuer`, `audience`, `unsupported_claim`, `replayed`, `too_many_streams`, `revoked`,
    /// `unavailable`.
    #[serde(default)]
    #[schemars(example = status())]
    pub(in crate::config) status: BTreeMap<String, u16>,
    /// The claim that says whom a token was made for, of formats whose tokens have no subject of their own, or where it
    /// does not say one: limits of streams and revocations by subject go by it. EdgeAuth: `id`, `data`.
    #[schemars(example = &"data")]
    pub(in crate::config) subject: Option<String>,
    /// Streams that a subject may have at once, unless its token names a number of its own: sessions that asked for
    /// something within `stream_window`. A new one beyond them is refused. Without it, and without one in the token, there
    /// may be any number. A token without a subject is not limited.
    #[schemars(range(min = 1, max = 1000), example = 3)]
    pub(in crate::config) streams: Option<u32>,
    /// How long a session counts as a stream after it was last seen. 1s to 1h.
    #[serde(default = "TokenPolicy::stream_window")]
    pub(in crate::config) stream_window: Duration,
    /// How often a token may be used. `allowed`: any number of times, unless it asks for one; `once`: for one request, best
    /// with `session`, whose tokens open the rest. A token that is good once and has no identifier is refused as
    /// malformed.
    #[serde(default = "TokenPolicy::replay")]
    pub(in crate::config) replay: Replay,
    /// What becomes of requests whose token is good once or whose streams are limited, while the fleet's Redis server does
    /// not answer. `open`: the node decides by what it knows itself; `closed`: they are refused as `unavailable`, but for
    /// sessions that were seen within `stream_window`.
    #[serde(default = "TokenPolicy::fleet_away")]
    pub(in crate::config) fleet_away: FleetAway,
    /// What every client that uses tokens of the policy must have, whatever they say: each condition refuses with a
    /// reason of its own. A client's address and place are those after `server.trusted_proxies`.
    pub(in crate::config) bind: Option<Bind>,
    /// A second token, made by the node once a playlist has been opened: it opens the rest of the stream.
    pub(in crate::config) session: Option<Session>,
    /// File with the `salt` that is hashed with every token and never sent: text, surrounding white space ignored. Of
    /// `format = "edgeauth"` alone.
    #[schemars(example = "/etc/forebay/keys/salt")]
    pub(in crate::config) salt_file: Option<String>,
    /// Of `format = "edgeauth"` alone.
    pub(in crate::config) edgeauth: Option<formats::edgeauth::Raw>,
    /// Of `format = "jwt"` alone.
    pub(in crate::config) jwt: Option<formats::jwt::Raw>,
    /// Of `format = "cdni"` alone.
    pub(in crate::config) cdni: Option<formats::cdni::Raw>,
    /// Of `format = "cat"` alone.
    pub(in crate::config) cat: Option<formats::cat::Raw>,
    /// Of `format = "cloudfront"` alone.
    pub(in crate::config) cloudfront: Option<formats::cloudfront::Raw>,
    /// Of `format = "secure_link"` alone.
    pub(in crate::config) secure_link: Option<formats::secure_link::Raw>,
    /// Of `format = "url_sig"` alone.
    pub(in crate::config) url_sig: Option<formats::url_sig::Raw>,
    /// Of `format = "bunny"` alone.
    pub(in crate::config) bunny: Option<formats::bunny::Raw>,
    /// Of `format = "cloudflare"` alone.
    pub(in crate::config) cloudflare: Option<formats::cloudflare::Raw>,
    /// Of `format = "fastly"` alone.
    pub(in crate::config) fastly: Option<formats::fastly::Raw>,
    /// Of `format = "media_cdn"` alone.
    pub(in crate::config) media_cdn: Option<formats::media_cdn::Raw>,
}

impl TokenPolicy {
    fn leeway() -> Duration {
        Duration::new("0s")
    }

    fn stream_window() -> Duration {
        Duration::new("30s")
    }

    fn replay() -> Replay {
        Replay::Allowed
    }

    fn fleet_away() -> FleetAway {
        FleetAway::Open
    }
}

/// `replay`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Replay {
    Allowed,
    Once,
}

/// `fleet_away`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum FleetAway {
    Open,
    Closed,
}

/// An example of `status`.
fn status() -> BTreeMap<String, u16> {
    [("expired".to_owned(), 410)].into()
}

/// One entry of `keys`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TokenKey {
    /// The key's name in logs and metrics, and in tokens where the format names keys: letters, digits, `-` and `_`.
    #[schemars(example = &"k1")]
    pub(in crate::config) id: String,
    /// File with a key that signs and verifies.
    #[schemars(example = "/etc/forebay/keys/k1")]
    #[schemars(example = "/etc/forebay/keys/k1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) secret_file: Option<String>,
    /// File with a key that verifies.
    #[schemars(example = "/etc/forebay/keys/k1.pub")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) public_key_file: Option<String>,
    /// File with a key that signs, and verifies as its public half does: for formats whose tokens the node renews, and for
    /// `forebay token sign`.
    #[schemars(example = "/etc/forebay/keys/k1.pem")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) private_key_file: Option<String>,
}

impl TokenKey {
    fn example() -> TokenKey {
        TokenKey {
            id: "k1".to_owned(),
            secret_file: Some("/etc/forebay/keys/k1".to_owned()),
            public_key_file: None,
            private_key_file: None,
        }
    }
}

/// `[token.NAME.session]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Session {
    /// Keys, the same on all nodes of a fleet, in hexadecimal; the first one signs. To rotate, put the new key second on
    /// all nodes, then first on all, and take the old one away once its tokens have ended. At most 16.
    #[schemars(length(min = 1), example = [TokenKey::example()])]
    pub(in crate::config) keys: Vec<TokenKey>,
    /// Its name.
    #[serde(default = "Session::name")]
    pub(in crate::config) name: String,
    /// How long it is good. From 1m to 30d.
    #[serde(default = "Session::life")]
    pub(in crate::config) life: Duration,
    /// What it opens: `directory`, that of the playlist and all below, or `token`, what the first token opens.
    #[serde(default = "Session::scope")]
    pub(in crate::config) scope: SessionScope,
    /// Further paths that it opens: `*` spans `/`, `?` is one character.
    #[serde(default)]
    #[schemars(example = ["/keys/*"])]
    pub(in crate::config) also: Vec<String>,
    /// What of the viewer it is bound to beside what the first token is bound to: `address`, `tls` (the JA4 fingerprint).
    #[serde(default)]
    pub(in crate::config) bind: Vec<SessionBinding>,
    /// Claims of the first token that it repeats, for rules with `key.claims`.
    #[serde(default)]
    pub(in crate::config) claims: Vec<String>,
}

impl Session {
    fn name() -> String {
        SESSION_NAME_DEFAULT.to_owned()
    }

    fn life() -> Duration {
        Duration::new("24h")
    }

    fn scope() -> SessionScope {
        SessionScope::Directory
    }
}

/// `scope` of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum SessionScope {
    Directory,
    Token,
}

/// One entry of `bind` of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum SessionBinding {
    Address,
    Tls,
}

/// One entry of `places`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum TokenPlace {
    Path,
    PathParameter,
    Query,
    Cookie,
    Header,
}

/// `carry`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Carry {
    Path,
    Query,
    Cookie,
    None,
}
