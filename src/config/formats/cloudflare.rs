//! What `format = "cloudflare"` can be told.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::diagnostic::Report;
use super::super::raw;
use super::super::units;
use super::extent::{self, Extent};
use super::{KeyError, KeyKind, shared_only};

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// `[token.NAME.cloudflare]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = Raw::example())]
pub(in crate::config) struct Raw {
    /// How long a token is good after its issue, which is all the time that it tells. 1s to 366d.
    #[schemars(example = "3h")]
    ttl: raw::Duration,
    /// What is signed, beside the issue time: `path`, or `host_path`, the host name in lower case and the path.
    #[serde(default)]
    message: Message,
    /// Leading directories of the path that are signed in its place, with the slash behind the last: of
    /// `/live/ch1/a.ts`, 2 are `/live/ch1/`. Default: the path is signed.
    #[schemars(range(min = 1, max = 32), example = 2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    directories: Option<u32>,
    /// Text that is signed in place of the path; the token opens every path that begins with it. End it with a slash.
    #[schemars(example = "/live/")]
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    /// Length of the separator, in bytes: what of the `?NAME=` before the token is not signed, counted from its end. 0
    /// signs all of it, as rules without this argument do. Default: none of it is signed.
    #[schemars(range(min = 0, max = 66), example = 8)]
    #[serde(skip_serializing_if = "Option::is_none")]
    separator: Option<u32>,
    /// Whether signatures are in URL-safe base64 without padding (the rule's flag `s`), not in plain base64.
    #[serde(default)]
    url_safe: bool,
}

impl Raw {
    fn example() -> Raw {
        Raw {
            ttl: raw::Duration::new("3h"),
            message: Message::Path,
            directories: None,
            prefix: None,
            separator: None,
            url_safe: false,
        }
    }
}

/// `message`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Message {
    #[default]
    Path,
    HostPath,
}

/// What Cloudflare's tokens are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloudflare {
    /// How long one is good after its issue.
    pub ttl: Duration,
    /// Whether the host is signed before the path.
    pub with_host: bool,
    /// What of the path is signed.
    pub extent: Extent,
    /// Bytes before the token that are not signed, where some of the separator is.
    pub separator: Option<usize>,
    /// Whether signatures are in URL-safe base64 without padding.
    pub url_safe: bool,
}

pub(super) const NAMES: &[&str] = &["verify"];

pub(super) fn resolve(report: &mut Report, key: &str, raw: Option<&Raw>) -> Cloudflare {
    let Some(raw) = raw else {
        let remedy =
            "add a table with it, such as { ttl = \"3h\" }: the tokens tell their issue, not their end";
        report.mistake(&format!("{key}.ttl"), "is missing", remedy);
        return Cloudflare {
            ttl: SECOND,
            with_host: false,
            extent: Extent::Path,
            separator: None,
            url_safe: false,
        };
    };
    Cloudflare {
        ttl: ttl(report, &format!("{key}.ttl"), &raw.ttl.0),
        with_host: raw.message == Message::HostPath,
        extent: extent::resolve(report, key, raw.directories, raw.prefix.as_deref()),
        separator: raw.separator.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        url_safe: raw.url_safe,
    }
}

/// A mistake yields the shortest.
fn ttl(report: &mut Report, key: &str, text: &str) -> Duration {
    match units::duration(text) {
        Ok(ttl) if (SECOND..=YEAR).contains(&ttl) => ttl,
        Ok(_) => {
            report.mistake(key, format!("\"{text}\" is out of range"), "write a duration from 1s to 366d");
            SECOND
        }
        Err(error) => {
            report.mistake(key, error.reason, error.remedy);
            SECOND
        }
    }
}

/// A key's bytes: those of its text.
pub(super) fn key(kind: KeyKind, text: &str) -> Result<Vec<u8>, KeyError> {
    shared_only(kind)?;
    super::plain(text)
}
