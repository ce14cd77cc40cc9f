//! What `format = "url_sig"` can be told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::diagnostic::{Report, join};
use super::{KeyError, KeyKind, shared_only};

/// `[token.NAME.url_sig]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Raw {
    /// Name of the path parameter that holds a token in base64, `;urlsig=...`, where `places` has `path_parameter`. Of the
    /// policy's keys, the one whose `id` is the token's `K` verifies: name them `0` to `15`.
    #[serde(default = "Raw::sig_anchor")]
    pub(in crate::config) sig_anchor: String,
}

impl Raw {
    fn sig_anchor() -> String {
        "urlsig".to_owned()
    }
}

impl Default for Raw {
    fn default() -> Raw {
        Raw { sig_anchor: Raw::sig_anchor() }
    }
}

/// What such tokens are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlSig {
    /// Name of the path parameter.
    pub sig_anchor: String,
}

impl Default for UrlSig {
    fn default() -> UrlSig {
        UrlSig { sig_anchor: Raw::sig_anchor() }
    }
}

pub(super) const NAMES: &[&str] = &[];

pub(super) fn resolve(report: &mut Report, key: &str, raw: &Raw) -> UrlSig {
    let name = &raw.sig_anchor;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
        let reason = format!("\"{}\" is no name of a path parameter", name.escape_debug());
        let remedy = "write 1 to 64 letters, digits, \"-\" and \"_\"";
        report.mistake(&join(key, "sig_anchor"), reason, remedy);
    }
    UrlSig { sig_anchor: name.clone() }
}

/// A key's bytes: the text as it stands there.
pub(super) fn key(kind: KeyKind, text: &str) -> Result<Vec<u8>, KeyError> {
    shared_only(kind)?;
    super::plain(text)
}
