//! The formats of tokens: for each, what a configuration can tell it (as written and as meant), what its key files hold,
//! and the names and places its tokens have by default. What a token's text means is said in [`crate::admission::token`].

pub mod edgeauth;
pub mod jwks;
pub mod jwt;
pub mod cdni;
pub mod cat;
pub mod cloudfront;
pub mod secure_link;
pub mod url_sig;
pub mod bunny;
pub mod cloudflare;
pub mod fastly;
pub mod media_cdn;
pub mod extent;
pub mod hash;

use std::borrow::Cow;

use base64::Engine;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::diagnostic::{Report, join};
use super::model::TokenPlace;
use super::raw;

/// The format of a token, and what it has been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFormat {
    /// Akamai EdgeAuth 2.0.
    EdgeAuth(edgeauth::EdgeAuth),
    /// JSON Web Tokens (RFC 7519) with path claims.
    Jwt(jwt::Jwt),
    /// CDNI URI signing (RFC 9246).
    Cdni(cdni::Cdni),
    /// Common Access Tokens (CTA-5007).
    Cat(cat::Cat),
    /// Amazon CloudFront signed URLs and cookies.
    CloudFront(cloudfront::CloudFront),
    /// nginx `secure_link`.
    SecureLink(secure_link::SecureLink),
    /// Apache Traffic Server `url_sig`.
    UrlSig(url_sig::UrlSig),
    /// Bunny token authentication.
    Bunny(bunny::Bunny),
    /// Cloudflare `is_timed_hmac_valid_v0`.
    Cloudflare(cloudflare::Cloudflare),
    /// Fastly's VCL token.
    Fastly(fastly::Fastly),
    /// Google Media CDN tokens.
    MediaCdn(media_cdn::MediaCdn),
}

/// `format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// Akamai EdgeAuth 2.0.
    EdgeAuth,
    /// JSON Web Tokens (RFC 7519) with path claims.
    Jwt,
    /// CDNI URI signing (RFC 9246).
    Cdni,
    /// Common Access Tokens (CTA-5007).
    Cat,
    /// Amazon CloudFront signed URLs and cookies.
    CloudFront,
    /// nginx `secure_link`.
    #[serde(rename = "secure_link")]
    SecureLink,
    /// Apache Traffic Server `url_sig`.
    #[serde(rename = "url_sig")]
    UrlSig,
    /// Bunny token authentication.
    Bunny,
    /// Cloudflare `is_timed_hmac_valid_v0`.
    Cloudflare,
    /// Fastly's VCL token.
    Fastly,
    /// Google Media CDN tokens.
    #[serde(rename = "media_cdn")]
    MediaCdn,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// It signs and verifies (`secret_file`).
    Shared,
    /// It verifies (`public_key_file`).
    Public,
    /// It signs what its public half verifies (`private_key_file`).
    Private,
}

/// Why a text is no key: `reason` and `remedy`, neither of which repeats the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; {remedy}")]
pub struct KeyError {
    /// What is wrong with it; follows the name of the file.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

impl KeyError {
    /// A mistake and its remedy.
    pub fn new(reason: impl Into<String>, remedy: impl Into<String>) -> KeyError {
        KeyError { reason: reason.into(), remedy: remedy.into() }
    }
}

const PARAMETER_QUERY_COOKIE: &[TokenPlace] =
    &[TokenPlace::PathParameter, TokenPlace::Query, TokenPlace::Cookie];
const PATH_QUERY_COOKIE: &[TokenPlace] = &[TokenPlace::Path, TokenPlace::Query, TokenPlace::Cookie];
const PATH_QUERY: &[TokenPlace] = &[TokenPlace::Path, TokenPlace::Query];
const PATH_QUERY_COOKIE_HEADER: &[TokenPlace] =
    &[TokenPlace::Path, TokenPlace::Query, TokenPlace::Cookie, TokenPlace::Header];
const QUERY_COOKIE: &[TokenPlace] = &[TokenPlace::Query, TokenPlace::Cookie];
const QUERY: &[TokenPlace] = &[TokenPlace::Query];

impl JsonSchema for Word {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Format".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Word::ALL.map(Word::as_str) })
    }
}

impl Word {
    /// Every format.
    pub const ALL: [Word; 11] = [
        Word::EdgeAuth,
        Word::Jwt,
        Word::Cdni,
        Word::Cat,
        Word::CloudFront,
        Word::SecureLink,
        Word::UrlSig,
        Word::Bunny,
        Word::Cloudflare,
        Word::Fastly,
        Word::MediaCdn,
    ];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Word::EdgeAuth => "edgeauth",
            Word::Jwt => "jwt",
            Word::Cdni => "cdni",
            Word::Cat => "cat",
            Word::CloudFront => "cloudfront",
            Word::SecureLink => "secure_link",
            Word::UrlSig => "url_sig",
            Word::Bunny => "bunny",
            Word::Cloudflare => "cloudflare",
            Word::Fastly => "fastly",
            Word::MediaCdn => "media_cdn",
        }
    }

    /// Names that its tokens have by default. Empty: a token of this format is several parameters, whose names the
    /// format knows.
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Word::EdgeAuth => edgeauth::NAMES,
            Word::Jwt => jwt::NAMES,
            Word::Cdni => cdni::NAMES,
            Word::Cat => cat::NAMES,
            Word::CloudFront => cloudfront::NAMES,
            Word::SecureLink => secure_link::NAMES,
            Word::UrlSig => url_sig::NAMES,
            Word::Bunny => bunny::NAMES,
            Word::Cloudflare => cloudflare::NAMES,
            Word::Fastly => fastly::NAMES,
            Word::MediaCdn => media_cdn::NAMES,
        }
    }

    /// Places that its tokens stand in by default.
    pub const fn places(self) -> &'static [TokenPlace] {
        match self {
            Word::EdgeAuth => PATH_QUERY_COOKIE,
            Word::Jwt => PATH_QUERY_COOKIE,
            Word::Cdni => PARAMETER_QUERY_COOKIE,
            Word::Cat => PATH_QUERY_COOKIE_HEADER,
            Word::CloudFront => QUERY_COOKIE,
            Word::SecureLink => QUERY,
            Word::UrlSig => QUERY,
            Word::Bunny => PATH_QUERY,
            Word::Cloudflare => QUERY,
            Word::Fastly => QUERY,
            Word::MediaCdn => PATH_QUERY_COOKIE,
        }
    }

    /// A key's bytes from the text of its file, white space around it ignored.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn key(self, kind: KeyKind, text: &str) -> Result<Vec<u8>, KeyError> {
        match self {
            Word::EdgeAuth => edgeauth::key(kind, text),
            Word::Jwt => jwt::key(kind, text),
            Word::Cdni => cdni::key(kind, text),
            Word::Cat => cat::key(kind, text),
            Word::CloudFront => cloudfront::key(kind, text),
            Word::SecureLink => secure_link::key(kind, text),
            Word::UrlSig => url_sig::key(kind, text),
            Word::Bunny => bunny::key(kind, text),
            Word::Cloudflare => cloudflare::key(kind, text),
            Word::Fastly => fastly::key(kind, text),
            Word::MediaCdn => media_cdn::key(kind, text),
        }
    }
}

impl TokenFormat {
    /// Its word.
    pub const fn word(&self) -> Word {
        match self {
            TokenFormat::EdgeAuth(_) => Word::EdgeAuth,
            TokenFormat::Jwt(_) => Word::Jwt,
            TokenFormat::Cdni(_) => Word::Cdni,
            TokenFormat::Cat(_) => Word::Cat,
            TokenFormat::CloudFront(_) => Word::CloudFront,
            TokenFormat::SecureLink(_) => Word::SecureLink,
            TokenFormat::UrlSig(_) => Word::UrlSig,
            TokenFormat::Bunny(_) => Word::Bunny,
            TokenFormat::Cloudflare(_) => Word::Cloudflare,
            TokenFormat::Fastly(_) => Word::Fastly,
            TokenFormat::MediaCdn(_) => Word::MediaCdn,
        }
    }

    /// Whether a policy without keys can admit nothing.
    pub const fn needs_keys(&self) -> bool {
        match self {
            TokenFormat::Jwt(options) => options.jwks.is_none(),
            TokenFormat::Cdni(options) => options.jwks.is_none(),
            _ => true,
        }
    }

    /// Whether its tokens can say by themselves whom they were made for.
    pub const fn has_subject(&self) -> bool {
        matches!(self, TokenFormat::Jwt(_) | TokenFormat::Cdni(_) | TokenFormat::Cat(_))
    }

    /// Names of what its tokens say that a rule's `key.claims` may name; empty: any name.
    pub const fn claims(&self) -> &'static [&'static str] {
        match self {
            TokenFormat::EdgeAuth(_) => &["id", "data", "ip", "acl"],
            TokenFormat::Jwt(_) => &[],
            TokenFormat::Cdni(_) => &[],
            TokenFormat::Cat(_) => &[],
            TokenFormat::CloudFront(_) => &["Resource", "IpAddress", "Key-Pair-Id"],
            TokenFormat::SecureLink(_) => &["expires"],
            TokenFormat::UrlSig(_) => &["C", "K", "P"],
            TokenFormat::Bunny(_) => &["token_path", "token_countries", "token_countries_blocked", "limit"],
            TokenFormat::Cloudflare(_) => &["issued"],
            TokenFormat::Fastly(_) => &["expires"],
            TokenFormat::MediaCdn(_) => &["SessionID", "Data", "PathGlobs", "URLPrefix"],
        }
    }
}

/// What the table of a policy's format means. The table of another format is a mistake.
pub(super) fn resolve(report: &mut Report, key: &str, options: &raw::TokenPolicy) -> TokenFormat {
    let word = options.format;
    let given = [
        (Word::EdgeAuth, options.edgeauth.is_some()),
        (Word::Jwt, options.jwt.is_some()),
        (Word::Cdni, options.cdni.is_some()),
        (Word::Cat, options.cat.is_some()),
        (Word::CloudFront, options.cloudfront.is_some()),
        (Word::SecureLink, options.secure_link.is_some()),
        (Word::UrlSig, options.url_sig.is_some()),
        (Word::Bunny, options.bunny.is_some()),
        (Word::Cloudflare, options.cloudflare.is_some()),
        (Word::Fastly, options.fastly.is_some()),
        (Word::MediaCdn, options.media_cdn.is_some()),
    ];
    for (other, _) in given.into_iter().filter(|(other, is_given)| *is_given && *other != word) {
        let reason = format!("has no effect: the format is \"{}\"", word.as_str());
        report.mistake(&join(key, other.as_str()), reason, "remove it, or change the format");
    }
    let own = join(key, word.as_str());
    match word {
        Word::EdgeAuth => TokenFormat::EdgeAuth(edgeauth::resolve(
            report,
            &own,
            options.edgeauth.as_ref().unwrap_or(&Default::default()),
        )),
        Word::Jwt => {
            TokenFormat::Jwt(jwt::resolve(report, &own, options.jwt.as_ref().unwrap_or(&Default::default())))
        }
        Word::Cdni => TokenFormat::Cdni(cdni::resolve(
            report,
            &own,
            options.cdni.as_ref().unwrap_or(&Default::default()),
        )),
        Word::Cat => {
            let written = Default::default();
            let written = options.cat.as_ref().unwrap_or(&written);
            TokenFormat::Cat(cat::resolve(report, &own, written, options.keys.as_deref().unwrap_or_default()))
        }
        Word::CloudFront => TokenFormat::CloudFront(cloudfront::resolve(
            report,
            &own,
            options.cloudfront.as_ref().unwrap_or(&Default::default()),
        )),
        Word::SecureLink => TokenFormat::SecureLink(secure_link::resolve(
            report,
            &own,
            options.secure_link.as_ref().unwrap_or(&Default::default()),
        )),
        Word::UrlSig => TokenFormat::UrlSig(url_sig::resolve(
            report,
            &own,
            options.url_sig.as_ref().unwrap_or(&Default::default()),
        )),
        Word::Bunny => TokenFormat::Bunny(bunny::resolve(
            report,
            &own,
            options.bunny.as_ref().unwrap_or(&Default::default()),
        )),
        Word::Cloudflare => {
            TokenFormat::Cloudflare(cloudflare::resolve(report, &own, options.cloudflare.as_ref()))
        }
        Word::Fastly => TokenFormat::Fastly(fastly::resolve(
            report,
            &own,
            options.fastly.as_ref().unwrap_or(&Default::default()),
        )),
        Word::MediaCdn => TokenFormat::MediaCdn(media_cdn::resolve(
            report,
            &own,
            options.media_cdn.as_ref().unwrap_or(&Default::default()),
        )),
    }
}

/// Refuses keys that are not shared.
fn shared_only(kind: KeyKind) -> Result<(), KeyError> {
    if kind == KeyKind::Shared {
        return Ok(());
    }
    Err(KeyError::new(
        "is of no use: tokens of this format are signed with shared keys",
        "give `secret_file`",
    ))
}

/// Bytes in hexadecimal.
fn hexadecimal(text: &str) -> Result<Vec<u8>, KeyError> {
    hex::decode(text.trim()).map_err(|error| match error {
        hex::FromHexError::OddLength => KeyError::new(
            "holds an odd number of hexadecimal digits",
            "write two digits for each byte of the key",
        ),
        _ => KeyError::new(
            "does not hold hexadecimal digits only",
            "write the key as hexadecimal digits on one line",
        ),
    })
}

/// Bytes as they stand there: visible ASCII.
fn plain(text: &str) -> Result<Vec<u8>, KeyError> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.as_bytes().to_vec());
    }
    let reason = "holds something else than visible ASCII characters";
    Err(KeyError::new(reason, "write the key on one line, without spaces"))
}

/// Bytes in base64, plain or URL-safe, with or without padding (RFC 4648 sections 4 and 5).
fn base64(text: &str) -> Result<Vec<u8>, KeyError> {
    let plain: String = text
        .trim()
        .chars()
        .map(|letter| match letter {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    let bytes = base64::engine::general_purpose::STANDARD_NO_PAD.decode(plain.trim_end_matches('='));
    match bytes {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(KeyError::new("does not hold base64", "write the key in base64 on one line")),
    }
}
