//! What `format = "edgeauth"` can be told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::diagnostic::Report;
use super::hash::{Hash, HashWord};
use super::{KeyError, KeyKind, shared_only};

/// `[token.NAME.edgeauth]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Raw {
    /// The hash that all tokens of the policy are signed with: `sha256`, `sha1`, `md5`. The last two are for issuers that
    /// cannot be changed.
    #[serde(default)]
    algorithm: HashWord,
}

/// What EdgeAuth tokens are like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeAuth {
    /// The hash they are signed with.
    pub hash: Hash,
}

pub(super) const NAMES: &[&str] = &["hdnts", "hdnea", "__hdnea__", "__token__"];

pub(super) fn resolve(_report: &mut Report, _key: &str, raw: &Raw) -> EdgeAuth {
    EdgeAuth { hash: raw.algorithm.into() }
}

/// A key's bytes: hexadecimal.
pub(super) fn key(kind: KeyKind, text: &str) -> Result<Vec<u8>, KeyError> {
    shared_only(kind)?;
    super::hexadecimal(text)
}
