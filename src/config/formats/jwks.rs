//! `[token.NAME.jwt.jwks]` and `[token.NAME.cdni.jwks]`: a JSON Web Key Set (RFC 7517), from a file or by URL; and what
//! the key files of both formats hold.

use std::net::IpAddr;
use std::time::Duration;

use jsonwebtoken::{DecodingKey, EncodingKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::diagnostic::{Report, join};
use super::super::{files, raw, units};
use super::{KeyError, KeyKind};

/// Bytes of a key set, from a file or by URL.
pub const JWKS_BYTES_MAX: u64 = 1 << 20;

/// Bytes below which a shared secret is refused: the output of SHA-256 (RFC 7518 section 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// A set without keys.
const NO_KEYS: &str = r#"{"keys":[]}"#;

/// `jwks`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Raw {
    /// File with the key set, read once; in place of a URL.
    #[schemars(example = "/etc/forebay/keys/jwks.json")]
    file: Option<String>,
    /// URL of the key set: `https`, or `http` on this host. Redirects are not followed.
    #[schemars(example = "https://id.example.com/.well-known/jwks.json")]
    url: Option<String>,
    /// Time between two fetches of the URL. From 10s to 7d.
    #[serde(default = "Raw::refresh")]
    refresh: raw::Duration,
    /// Least time between two fetches, when the last one has failed or a token names a key that is not in the set. From
    /// 1s to 1h.
    #[serde(default = "Raw::retry")]
    retry: raw::Duration,
    /// Time for one fetch. From 100ms to 60s.
    #[serde(default = "Raw::timeout")]
    timeout: raw::Duration,
    /// Time that keys are used when the URL cannot be fetched; after it, tokens are refused as `unavailable`. From 1m
    /// to 30d.
    #[serde(default = "Raw::stale")]
    stale: raw::Duration,
}

impl Raw {
    fn refresh() -> raw::Duration {
        raw::Duration::new("15m")
    }

    fn retry() -> raw::Duration {
        raw::Duration::new("10s")
    }

    fn timeout() -> raw::Duration {
        raw::Duration::new("5s")
    }

    fn stale() -> raw::Duration {
        raw::Duration::new("24h")
    }
}

/// Where a key set comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Jwks {
    /// The text of a file, which is a JSON object.
    Text(String),
    /// A URL.
    Url(Fetch),
}

/// How a key set is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Its URL.
    pub url: String,
    /// Time between two fetches.
    pub refresh: Duration,
    /// Least time between two fetches.
    pub retry: Duration,
    /// Time for one fetch.
    pub timeout: Duration,
    /// Time that keys are used after the last fetch that succeeded.
    pub stale: Duration,
}

/// A mistake yields a set without keys.
pub(super) fn resolve(report: &mut Report, key: &str, written: &Raw) -> Jwks {
    match (&written.file, &written.url) {
        (Some(file), None) => text(report, &join(key, "file"), file),
        (None, Some(url)) => {
            let of = |report: &mut Report, name: &str, written: &raw::Duration, range| {
                duration(report, &join(key, name), written, range)
            };
            let seconds = Duration::from_secs;
            let fetch = Fetch {
                url: url.clone(),
                refresh: of(report, "refresh", &written.refresh, (seconds(10), seconds(7 * 86_400))),
                retry: of(report, "retry", &written.retry, (seconds(1), seconds(3600))),
                timeout: of(report, "timeout", &written.timeout, (Duration::from_millis(100), seconds(60))),
                stale: of(report, "stale", &written.stale, (seconds(60), seconds(30 * 86_400))),
            };
            check_url(report, &join(key, "url"), url);
            Jwks::Url(fetch)
        }
        _ => {
            report.mistake(key, "has no key set, or two", "give one of file and url");
            Jwks::Text(NO_KEYS.to_owned())
        }
    }
}

fn text(report: &mut Report, key: &str, file: &str) -> Jwks {
    let text = files::read_bounded(&files::path(report, file), JWKS_BYTES_MAX)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned()));
    let is_set = |text: &String| {
        let value: Option<serde_json::Value> = serde_json::from_str(text).ok();
        value.is_some_and(|value| value.get("keys").is_some_and(|keys| keys.is_array()))
    };
    match text {
        Ok(text) if is_set(&text) => return Jwks::Text(text),
        Ok(_) => report.mistake(
            key,
            format!("file \"{file}\" is no JSON Web Key Set"),
            "write a JSON object with the list \"keys\"",
        ),
        Err(reason) => report.mistake(key, format!("file \"{file}\" {reason}"), "name a key set (RFC 7517)"),
    }
    Jwks::Text(NO_KEYS.to_owned())
}

fn check_url(report: &mut Report, key: &str, url: &str) {
    let uri: Option<http::Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
    let scheme = uri.as_ref().and_then(|uri| uri.scheme_str()).unwrap_or_default();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_here = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    match scheme {
        "https" if !host.is_empty() => {}
        "http" if is_here => {}
        "http" => {
            let reason =
                format!("\"{}\" is fetched without TLS: others could change the keys", url.escape_debug());
            report.mistake(key, reason, "write https://");
        }
        _ => {
            let reason = format!("\"{}\" is no URL of a key set", url.escape_debug());
            report.mistake(key, reason, "write https://HOST/PATH");
        }
    }
}

fn duration(
    report: &mut Report,
    key: &str,
    written: &raw::Duration,
    (min, max): (Duration, Duration),
) -> Duration {
    match units::duration(&written.0) {
        Ok(duration) if (min..=max).contains(&duration) => return duration,
        Ok(_) => {
            let (min, max) = (units::show_duration(min), units::show_duration(max));
            let remedy = format!("write a duration from {min} to {max}");
            report.mistake(key, format!("\"{}\" is out of range", written.0), remedy);
        }
        Err(error) => report.mistake(key, error.reason, error.remedy),
    }
    min
}

/// A key's bytes: the secret itself, or a PEM or a JSON Web Key as text. A text that begins with `{` is a JSON Web Key.
pub(super) fn key(kind: KeyKind, text: &str) -> Result<Vec<u8>, KeyError> {
    let text = text.trim();
    let bytes = text.as_bytes();
    if text.starts_with('{') {
        let jwk: Option<serde_json::Value> = serde_json::from_str(text).ok();
        let kty =
            jwk.as_ref().and_then(|jwk| jwk.get("kty")).and_then(|kty| kty.as_str()).unwrap_or_default();
        return match (kind, kty) {
            (KeyKind::Shared, "oct") | (KeyKind::Public, "EC" | "RSA" | "OKP") => Ok(bytes.to_vec()),
            (KeyKind::Private, _) => {
                Err(KeyError::new("is a JSON Web Key", "write a private key as PEM (PKCS #8)"))
            }
            (KeyKind::Shared, _) => {
                Err(KeyError::new("is no shared JSON Web Key", "give one whose \"kty\" is \"oct\""))
            }
            (KeyKind::Public, _) => Err(KeyError::new(
                "is no public JSON Web Key",
                "give one whose \"kty\" is \"EC\", \"RSA\" or \"OKP\"",
            )),
        };
    }
    let is_good = match kind {
        KeyKind::Shared => {
            let secret = super::plain(text)?;
            if secret.len() < SECRET_BYTES_MIN {
                let reason = format!("holds {} bytes, fewer than {SECRET_BYTES_MIN}", secret.len());
                return Err(KeyError::new(reason, "write a longer secret (RFC 7518 section 3.2)"));
            }
            return Ok(secret);
        }
        KeyKind::Public => public(bytes).is_some(),
        KeyKind::Private => private(bytes).is_some(),
    };
    match kind {
        _ if is_good => Ok(bytes.to_vec()),
        KeyKind::Private => Err(KeyError::new(
            "holds no private key in PEM (PKCS #8)",
            "`openssl pkcs8 -topk8 -nocrypt` writes one",
        )),
        _ => Err(KeyError::new(
            "holds no public key in PEM",
            "write one that begins with \"-----BEGIN PUBLIC KEY-----\"",
        )),
    }
}

/// The key in a PEM with a public key.
pub(crate) fn public(pem: &[u8]) -> Option<DecodingKey> {
    if !pem.starts_with(b"-----BEGIN PUBLIC KEY-----") && !pem.starts_with(b"-----BEGIN RSA PUBLIC KEY-----")
    {
        return None;
    }
    let readers = [DecodingKey::from_ec_pem, DecodingKey::from_ed_pem, DecodingKey::from_rsa_pem];
    readers.into_iter().find_map(|read| read(pem).ok())
}

/// The key in a PEM with a private key.
pub(crate) fn private(pem: &[u8]) -> Option<EncodingKey> {
    if !pem.starts_with(b"-----BEGIN PRIVATE KEY-----")
        && !pem.starts_with(b"-----BEGIN RSA PRIVATE KEY-----")
    {
        return None;
    }
    let readers = [EncodingKey::from_ec_pem, EncodingKey::from_ed_pem, EncodingKey::from_rsa_pem];
    readers.into_iter().find_map(|read| read(pem).ok())
}
