//! What `format = "jwt"` can be told.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::super::diagnostic::{Report, join};
use super::jwks::{self, Jwks};
use super::{KeyError, KeyKind};

/// `[token.NAME.jwt]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Raw {
    /// Signature algorithms that are taken (RFC 7518, RFC 8037): `HS256`, `HS384`, `HS512` of shared secrets, `RS256`,
    /// `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `EdDSA` of public keys. The token alone never
    /// decides.
    #[schemars(length(min = 1), example = [Alg::ES256])]
    algorithms: Vec<Alg>,
    /// A JSON Web Key Set, beside `keys`.
    jwks: Option<jwks::Raw>,
    /// Issuers whose tokens are taken (`iss`), each with the keys that may sign for it, by `id` or `kid`; `[]`: any of
    /// the policy's keys. By default the issuer is not looked at.
    #[serde(default)]
    issuers: BTreeMap<String, Vec<String>>,
    /// Names of which the token must be for one (`aud`); `["*"]`: any. By default, a token that is for somebody is
    /// refused (RFC 7519 section 4.1.3).
    #[serde(default)]
    audiences: Vec<String>,
    /// Takes tokens without an end (`exp`).
    #[serde(default)]
    allow_without_exp: bool,
    /// A token is good for one use, by its `jti`; one without is refused.
    #[serde(default)]
    single_use: bool,
    /// What claims say. Paths that the token opens: `exact`, `prefix` (whole segments), `glob` (`*` spans `/`, `?` is
    /// one character, `!` joins patterns), `regex` (of the whole path; up to 1024 bytes of expressions, and of path). Whom it is for: `ip` (address or network),
    /// `country`, `method`, `host`. What it is: `session` (by default `sid`), `subject` (`sub`), `id` (`jti`), `streams`
    /// (how many at once). A list holds alternatives; several claims hold together.
    #[serde(default)]
    #[schemars(example = BTreeMap::from([("path", Rule::Prefix)]))]
    claims: BTreeMap<String, Rule>,
    /// A token without any claim of paths opens every path of the site.
    #[serde(default)]
    whole_site: bool,
}

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(
    clippy::upper_case_acronyms,
    missing_docs,
    reason = "the names of RFC 7518 and RFC 8037, which define them"
)]
pub enum Alg {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// What a claim says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A path, whole.
    Exact,
    /// The first segments of paths.
    Prefix,
    /// A pattern of paths.
    Glob,
    /// A regular expression of paths.
    Regex,
    /// Client addresses or networks.
    Ip,
    /// Countries of the client.
    Country,
    /// Methods.
    Method,
    /// Hosts.
    Host,
    /// The session.
    Session,
    /// The subject.
    Subject,
    /// What tells the token from others.
    Id,
    /// How many streams the subject may have at once.
    Streams,
}

impl JsonSchema for Rule {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Rule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Rule::ALL })
    }
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 12] = [
        Rule::Exact,
        Rule::Prefix,
        Rule::Glob,
        Rule::Regex,
        Rule::Ip,
        Rule::Country,
        Rule::Method,
        Rule::Host,
        Rule::Session,
        Rule::Subject,
        Rule::Id,
        Rule::Streams,
    ];

    /// Whether it says which paths a token opens.
    pub const fn is_of_paths(self) -> bool {
        matches!(self, Rule::Exact | Rule::Prefix | Rule::Glob | Rule::Regex)
    }
}

/// What such tokens are like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jwt {
    /// Algorithms that are taken.
    pub algorithms: Vec<Alg>,
    /// Keys beside the policy's.
    pub jwks: Option<Jwks>,
    /// Issuers that are taken, and the keys of each; empty: any.
    pub issuers: BTreeMap<String, Vec<String>>,
    /// Audiences, one of which the token must name; `*` is any.
    pub audiences: Vec<String>,
    /// Whether a token may have no end.
    pub allow_without_exp: bool,
    /// Whether a token is good for one use.
    pub single_use: bool,
    /// What claims say, by name.
    pub claims: BTreeMap<String, Rule>,
    /// Whether a token without any claim of paths opens everything.
    pub whole_site: bool,
}

pub(super) const NAMES: &[&str] = &["token", "jwt"];

pub(super) fn resolve(report: &mut Report, key: &str, raw: &Raw) -> Jwt {
    if raw.algorithms.is_empty() {
        let remedy = "list the algorithms of your issuer, for instance [\"ES256\"]";
        report.mistake(&join(key, "algorithms"), "is empty: no token can be verified", remedy);
    }
    let mut claims = raw.claims.clone();
    for (name, rule) in [("sid", Rule::Session), ("sub", Rule::Subject), ("jti", Rule::Id)] {
        if !claims.values().any(|known| *known == rule) {
            claims.entry(name.to_owned()).or_insert(rule);
        }
    }
    for rule in [Rule::Session, Rule::Subject, Rule::Id, Rule::Streams] {
        if let Some((name, _)) = claims.iter().filter(|(_, known)| **known == rule).nth(1) {
            let reason = "is the second claim of this kind";
            report.mistake(&join(&join(key, "claims"), name), reason, "keep one of them");
        }
    }
    if !raw.whole_site && !claims.values().any(|rule| rule.is_of_paths()) {
        let reason = "names no claim that says which paths a token opens";
        let remedy = "add one, such as path = \"prefix\", or set whole_site = true";
        report.mistake(&join(key, "claims"), reason, remedy);
    }
    Jwt {
        algorithms: raw.algorithms.clone(),
        jwks: raw.jwks.as_ref().map(|raw| jwks::resolve(report, &join(key, "jwks"), raw)),
        issuers: raw.issuers.clone(),
        audiences: raw.audiences.clone(),
        allow_without_exp: raw.allow_without_exp,
        single_use: raw.single_use,
        claims,
        whole_site: raw.whole_site,
    }
}

/// A key's bytes.
pub(super) fn key(kind: KeyKind, text: &str) -> Result<Vec<u8>, KeyError> {
    jwks::key(kind, text)
}
