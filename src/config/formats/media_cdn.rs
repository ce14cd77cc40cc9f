//! What `format = "media_cdn"` can be told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::diagnostic::Report;
use super::hash::{Hash, ShaWord};
use super::{KeyError, KeyKind};

/// Bytes of an Ed25519 key, public or private (RFC 8032 section 5.1.5).
pub const ED25519_KEY_BYTES: usize = 32;

/// `[token.NAME.media_cdn]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Raw {
    /// The hash of tokens that are signed with shared keys: `sha256`, `sha1`. Public keys are of Ed25519.
    #[serde(default)]
    algorithm: ShaWord,
}

/// What Media CDN's tokens are like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaCdn {
    /// The hash of tokens that are signed with shared keys.
    pub hash: Hash,
}

pub(super) const NAMES: &[&str] = &["edge-cache-token", "Edge-Cache-Cookie"];

pub(super) fn resolve(_report: &mut Report, _key: &str, raw: &Raw) -> MediaCdn {
    MediaCdn { hash: raw.algorithm.into() }
}

/// A key's bytes: base64. A key of Ed25519 is the point, or the seed, alone.
pub(super) fn key(kind: KeyKind, text: &str) -> Result<Vec<u8>, KeyError> {
    let bytes = super::base64(text)?;
    if kind == KeyKind::Shared || bytes.len() == ED25519_KEY_BYTES {
        return Ok(bytes);
    }
    let reason = format!("holds {} bytes; an Ed25519 key has {ED25519_KEY_BYTES}", bytes.len());
    Err(KeyError::new(reason, "write the bare key in base64, without PEM lines"))
}
