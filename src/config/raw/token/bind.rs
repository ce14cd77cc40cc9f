//! `bind` of `[token.NAME]` as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `bind` of `[token.NAME]`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Bind {
    /// Addresses and networks (CIDR) of clients, after `server.trusted_proxies`. Refused with reason `ip`.
    #[schemars(length(min = 1), example = ["10.0.0.0/8"])]
    pub(in crate::config) address: Option<Vec<String>>,
    /// Countries (ISO 3166-1, such as `SE`) and subdivisions (ISO 3166-2, such as `US-CA`) that clients are in; needs
    /// `geo.country`. Reason `geo`.
    #[schemars(length(min = 1), example = ["SE", "NO"])]
    pub(in crate::config) countries: Option<Vec<String>>,
    /// Countries and subdivisions that no client may be in, also where one of `countries` holds it. Reason `geo`.
    #[schemars(length(min = 1), example = ["US-CA"])]
    pub(in crate::config) not_countries: Option<Vec<String>>,
    /// Numbers of the autonomous systems that announce clients' addresses; needs `geo.asn`. Reason `asn`.
    #[schemars(length(min = 1), example = [64496])]
    pub(in crate::config) asns: Option<Vec<Asn>>,
    /// What becomes of a client whose country or autonomous system the database does not know, or not to the
    /// subdivision that `not_countries` names: `refused` or `allowed`.
    #[serde(default = "Bind::unknown")]
    pub(in crate::config) unknown: UnknownPlace,
    /// Methods; GET stands for HEAD too. Reason `method`.
    #[schemars(length(min = 1), example = ["GET"])]
    pub(in crate::config) methods: Option<Vec<String>>,
    /// Hosts asked for, `*.` and a name for any host below it. Reason `host`.
    #[schemars(length(min = 1), example = ["*.example.com"])]
    pub(in crate::config) hosts: Option<Vec<String>>,
    /// Header fields that a request must have, each with a glob over one of its lines (`*` is any text, `?` one
    /// character). Reason `header`.
    #[schemars(example = BTreeMap::from([("x-app", "player/*")]))]
    pub(in crate::config) headers: Option<BTreeMap<String, String>>,
    /// Globs over the JA4 fingerprint of TLS clients; a client over plaintext, or without a fingerprint, is refused. It
    /// tells families of players apart, and is no secret: whoever wants to can send that of another. Reason
    /// `tls_fingerprint`.
    #[schemars(length(min = 1), example = ["t13d1516h2_8daaf6152771_*"])]
    pub(in crate::config) tls_fingerprints: Option<Vec<String>>,
}

impl Bind {
    fn unknown() -> UnknownPlace {
        UnknownPlace::Refused
    }
}

/// Number of an autonomous system (RFC 6793).
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub(in crate::config) struct Asn(
    #[schemars(range(min = 1, max = 4_294_967_295_u32))] pub(in crate::config) u32,
);

/// `unknown`
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum UnknownPlace {
    Refused,
    Allowed,
}
