//! How an origin is spoken to, as it is written: `tls`, `headers`, `s3` and `proof` of `[origin.NAME]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `tls` of an origin group.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct OriginTls {
    /// PEM file of authorities trusted beside the system's. A relative path starts at the folder of this file.
    #[schemars(example = "/etc/forebay/tls/origin-ca.pem")]
    pub(in crate::config) ca: Option<String>,
    /// Whether the authorities of `ca` alone are trusted, and the system's are not.
    #[serde(default)]
    pub(in crate::config) ca_only: bool,
    /// The server name that is asked for, and that the certificate must be for. Default: the host of each server.
    #[schemars(example = "origin.example.com")]
    pub(in crate::config) sni: Option<String>,
    /// PEM file of the certificate that the node shows to servers that ask for one, the node's own first. Needs `key`.
    #[schemars(example = "/etc/forebay/tls/node.crt")]
    pub(in crate::config) certificate: Option<String>,
    /// PEM file of its private key.
    #[schemars(example = "/etc/forebay/tls/node.key")]
    pub(in crate::config) key: Option<String>,
}

/// `headers` of an origin group.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct OriginHeaders {
    /// Fields that every request gets, in place of those of the same name: a text, or `{ file = PATH }` for a secret that
    /// stands in a file, surrounding white space ignored.
    #[schemars(example = BTreeMap::from([("x-cdn", "forebay")]))]
    pub(in crate::config) set: BTreeMap<String, FieldValue>,
    /// Fields that no request has.
    #[schemars(example = ["user-agent"])]
    pub(in crate::config) remove: Vec<String>,
}

/// The value of a field.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(in crate::config) enum FieldValue {
    /// As it stands.
    Text(String),
    /// The text of a file.
    File(FieldFile),
}

/// Where a field's value stands.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(in crate::config) struct FieldFile {
    /// The file.
    #[schemars(example = "/etc/forebay/keys/origin")]
    pub(in crate::config) file: String,
}

/// `s3` of an origin group.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct S3 {
    /// Region that requests are signed for.
    #[schemars(example = "eu-central-1")]
    pub(in crate::config) region: String,
    /// Name of the bucket.
    #[schemars(example = &"vod")]
    pub(in crate::config) bucket: String,
    /// Where the bucket stands in requests: `path` (the first segment of the path) or `virtual` (before the host).
    #[serde(default)]
    pub(in crate::config) style: S3Style,
    /// File with the access key's id. The three files are read again when they change, so credentials may be temporary.
    #[schemars(example = "/etc/forebay/keys/s3-id")]
    pub(in crate::config) access_key_file: String,
    /// File with the secret access key.
    #[schemars(example = "/etc/forebay/keys/s3-secret")]
    pub(in crate::config) secret_key_file: String,
    /// File with the session token of temporary credentials.
    #[schemars(example = "/etc/forebay/keys/s3-token")]
    pub(in crate::config) session_token_file: Option<String>,
    /// What stands before the path in names of objects, without `/` at its ends.
    #[schemars(example = "films/2026")]
    pub(in crate::config) prefix: Option<String>,
    /// Query parameters of viewers that go to the store; all others are left out.
    #[serde(default)]
    #[schemars(example = ["versionId"])]
    pub(in crate::config) query: Vec<String>,
}

/// `style` of `s3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum S3Style {
    #[default]
    Path,
    Virtual,
}

/// `proof` of an origin group.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Proof {
    /// Name of the field.
    #[serde(default = "Proof::header")]
    pub(in crate::config) header: String,
    /// Keys that prove: each gives a proof of its own, up to 4. To rotate, add the new one, change the origin, and take the
    /// old one away.
    #[schemars(length(min = 1, max = 4), example = [ProofKey::example()])]
    pub(in crate::config) keys: Vec<ProofKey>,
}

impl Proof {
    fn header() -> String {
        "X-Forebay-Proof".to_owned()
    }
}

/// A key that proves where requests come from.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ProofKey {
    /// Its name in the field: letters, digits, `-` and `_`.
    #[schemars(example = &"p1")]
    pub(in crate::config) id: String,
    /// File that holds it: at least 32 characters, surrounding white space ignored. The characters themselves are the key.
    #[schemars(example = "/etc/forebay/keys/proof")]
    pub(in crate::config) secret_file: String,
}

impl ProofKey {
    fn example() -> ProofKey {
        ProofKey { id: "p1".to_owned(), secret_file: "/etc/forebay/keys/proof".to_owned() }
    }
}
