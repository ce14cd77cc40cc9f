//! What `format = "bunny"` can be told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::diagnostic::{Report, join};
use super::{KeyError, KeyKind, shared_only};

/// `[token.NAME.bunny]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Raw {
    /// Forms of signatures that are taken: `hs256` (HMAC-SHA256, `HS256-...`), and two older ones that are no MACs and are
    /// for links that exist: `sha256` (advanced) and `md5` (basic).
    #[serde(default = "Raw::signatures")]
    pub(in crate::config) signatures: Vec<Signature>,
    /// Whether `token_path` is any beginning of the path, as it is with Bunny, where `/abc` opens `/abcd` too. By default
    /// it ends at a `/`: `/abc` opens `/abc` and all below `/abc/`.
    #[serde(default)]
    pub(in crate::config) token_path_plain_prefix: bool,
}

impl Raw {
    fn signatures() -> Vec<Signature> {
        vec![Signature::Hs256]
    }
}

impl Default for Raw {
    fn default() -> Raw {
        Raw { signatures: Raw::signatures(), token_path_plain_prefix: false }
    }
}

/// A form of signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// HMAC-SHA256, with `HS256-` in front.
    Hs256,
    /// SHA-256 of key and text.
    Sha256,
    /// MD5 of key and text.
    Md5,
}

/// What such tokens are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bunny {
    /// Forms of signatures that are taken.
    pub signatures: Vec<Signature>,
    /// Whether `token_path` may end within a segment.
    pub plain_prefix: bool,
}

impl Default for Bunny {
    fn default() -> Bunny {
        Bunny { signatures: Raw::signatures(), plain_prefix: false }
    }
}

pub(super) const NAMES: &[&str] = &[];

pub(super) fn resolve(report: &mut Report, key: &str, raw: &Raw) -> Bunny {
    if raw.signatures.is_empty() {
        report.mistake(&join(key, "signatures"), "is empty", "write \"hs256\", or remove it");
    }
    Bunny { signatures: raw.signatures.clone(), plain_prefix: raw.token_path_plain_prefix }
}

/// A key's bytes: the text as it stands there.
pub(super) fn key(kind: KeyKind, text: &str) -> Result<Vec<u8>, KeyError> {
    shared_only(kind)?;
    super::plain(text)
}
