//! What `format = "fastly"` can be told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::diagnostic::Report;
use super::extent::{self, Extent};
use super::hash::{Hash, ShaWord};
use super::{KeyError, KeyKind, shared_only};

/// `[token.NAME.fastly]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = Raw::example())]
pub(in crate::config) struct Raw {
    /// The hash that all tokens of the policy are signed with: `sha256`, `sha1`.
    #[serde(default)]
    algorithm: ShaWord,
    /// Leading directories of the path that are signed in its place, with the slash behind the last: of
    /// `/live/ch1/a.ts`, 2 are `/live/ch1/`. Default: the path is signed.
    #[schemars(range(min = 1, max = 32), example = 2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    directories: Option<u32>,
    /// Text that is signed in place of the path; the token opens every path that begins with it. End it with a slash.
    #[schemars(example = "/live/")]
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
}

impl Raw {
    fn example() -> Raw {
        Raw { algorithm: ShaWord::Sha256, directories: Some(2), prefix: None }
    }
}

/// What Fastly's tokens are like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fastly {
    /// The hash they are signed with.
    pub hash: Hash,
    /// What of the path is signed.
    pub extent: Extent,
}

pub(super) const NAMES: &[&str] = &["token"];

pub(super) fn resolve(report: &mut Report, key: &str, raw: &Raw) -> Fastly {
    let extent = extent::resolve(report, key, raw.directories, raw.prefix.as_deref());
    Fastly { hash: raw.algorithm.into(), extent }
}

/// A key's bytes: base64.
pub(super) fn key(kind: KeyKind, text: &str) -> Result<Vec<u8>, KeyError> {
    shared_only(kind)?;
    super::base64(text)
}
