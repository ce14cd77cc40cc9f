//! Amazon CloudFront signed URLs and cookies: `Expires` or `Policy`, with `Signature`, `Key-Pair-Id` and `Hash-Algorithm`; the
//! names of cookies begin with `CloudFront-`.
//!
//! A canned policy is not sent: the verifier makes it anew from the URL and `Expires`. A custom policy is sent, and verified
//! over its bytes as received; what it says is read only then. The base64 is the standard one, padded, with `-`, `_` and `~`
//! for `+`, `=` and `/`.
//!
//! Decided here:
//! - Signatures are RSASSA-PKCS1-v1_5 with SHA-1, or with SHA-256 where `Hash-Algorithm` says `SHA256`, or ECDSA on P-256 in
//!   DER with SHA-256. ECDSA with SHA-1 is refused as `unsupported_claim`.
//! - A policy has one statement with a `Resource`, a `DateLessThan`, and no condition but `DateGreaterThan` and `IpAddress`;
//!   anything else is `unsupported_claim`: what is not understood must not be passed over.
//! - The scheme, host and path of a `Resource` are each matched with their own part of the URL, so that no wildcard of one
//!   reaches into the next. One without `://` is matched with the whole URL.
//! - A URL with a quotation mark, a backslash or a control character has no canned policy, which would read otherwise than
//!   meant.
//! - The query takes part as received, without the token's parameters.
//! - That the cookie for `Hash-Algorithm` begins with `CloudFront-` is by analogy with the others, and that the places go
//!   before each other in the order of the policy is the node's rule.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use ring::rand::SystemRandom;
use ring::signature::{
    self, ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::{Deserialize, Serialize};

use super::checks::{self, Addresses};
use super::format::{Form, Format, Genuine};
use super::parameters::{Parameters, number, spellings};
use super::terms::{self, Check, Terms};
use super::verdict::Reuse;
use super::{Presented, acl};
use crate::admission::request::host_of;
use crate::config::formats::cloudfront::CloudFront as Options;
use crate::config::model::{KeyKind, TokenKey};
use crate::reason::Reason;

const NAMES: [&str; 5] = ["Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm"];

/// What a custom policy says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The URLs it is for: `*` is any text, `?` one character.
    #[serde(rename = "Resource")]
    pub resource: String,
    /// On what conditions.
    #[serde(rename = "Condition")]
    pub condition: Condition,
}

/// The conditions of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The end.
    #[serde(rename = "DateLessThan")]
    pub end: Moment,
    /// The start.
    #[serde(rename = "DateGreaterThan", default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Moment>,
    /// The client's address or network.
    #[serde(rename = "IpAddress", default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Source>,
}

/// A time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// Seconds since the Unix epoch.
    #[serde(rename = "AWS:EpochTime")]
    pub seconds: u64,
}

/// Where requests come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// An address, or a network such as `192.0.2.0/24`.
    #[serde(rename = "AWS:SourceIp")]
    pub network: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "Statement")]
    statement: Vec<Statement>,
}

/// What a token is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claims {
    /// A canned policy.
    Canned {
        /// The whole URL, with scheme, host and query.
        url: String,
        /// Seconds since the Unix epoch from which it is no longer good.
        expires: u64,
    },
    /// A custom policy.
    Custom(Statement),
}

/// Why a token could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Not PKCS #8 or `RSAPrivateKey` with an RSA key of 2048 to 4096 bits, nor PKCS #8 with one on P-256.
    #[error("the key is neither an RSA key of 2048 to 4096 bits nor an ECDSA key on P-256 in PKCS #8")]
    Key,
    /// A URL that a canned policy cannot hold.
    #[error("the URL has a quotation mark, a backslash or a control character")]
    Url,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// Makes a token with SHA-256: the parameters of a query. Those of cookies are the same, with `CloudFront-` before each name.
///
/// # Errors
/// [`SignError`].
pub fn sign(claims: &Claims, key_id: &str, private_key: &[u8]) -> Result<String, SignError> {
    let (policy, first) = match claims {
        Claims::Canned { url, expires } => {
            (canned(url, &expires.to_string()).ok_or(SignError::Url)?, format!("Expires={expires}"))
        }
        Claims::Custom(statement) => {
            let document = Document { statement: vec![statement.clone()] };
            let policy = serde_json::to_string(&document).map_err(|_| SignError::Url)?;
            let first = format!("Policy={}", encoded(policy.as_bytes()));
            (policy, first)
        }
    };
    let signature = Signer::of(private_key)?.sign(policy.as_bytes())?;
    Ok(format!("{first}&Signature={}&Key-Pair-Id={key_id}&Hash-Algorithm=SHA256", encoded(&signature)))
}

enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
}

impl Signer {
    fn of(key: &[u8]) -> Result<Signer, SignError> {
        if let Ok(pair) = RsaKeyPair::from_pkcs8(key).or_else(|_| RsaKeyPair::from_der(key)) {
            return Ok(Signer::Rsa(Box::new(pair)));
        }
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key, &SystemRandom::new());
        pair.map(|pair| Signer::Ecdsa(Box::new(pair))).map_err(|_| SignError::Key)
    }

    fn public(&self) -> Vec<u8> {
        match self {
            Signer::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Signer::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignError> {
        let random = SystemRandom::new();
        match self {
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let signed = pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature);
                signed.map(|()| signature).map_err(|_| SignError::Random)
            }
            Signer::Ecdsa(pair) => pair
                .sign(&random, text)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SignError::Random),
        }
    }
}

/// `Hash-Algorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// The default.
    Sha1,
    /// `SHA256`.
    Sha256,
}

/// The fields of a token, taken apart but not authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// `Expires` of a canned policy, as written, or the bytes of a custom one.
    pub policy: Sent,
    /// `Key-Pair-Id`.
    pub key_id: String,
    /// `Hash-Algorithm`.
    pub hash: Hash,
    signature: Vec<u8>,
}

/// What is sent of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Its end, in seconds since the Unix epoch.
    Expires(u64),
    /// All of it, as text.
    Policy(String),
}

impl Fields {
    /// Takes the parameters of a token apart.
    ///
    /// # Errors
    /// [`Reason::Malformed`], or [`Reason::UnsupportedClaim`] for another hash.
    pub fn parse(token: &str) -> Result<Fields, Reason> {
        let malformed = Reason::Malformed;
        let parameters = Parameters::parse(token, '&').filter(|parameters| parameters.are_among(&NAMES));
        let parameters = parameters.ok_or(malformed)?;
        let policy = match (parameters.get("Expires"), parameters.get("Policy")) {
            (Some(expires), None) => Sent::Expires(number(expires).ok_or(malformed)?),
            (None, Some(policy)) => {
                let policy = decoded(policy).and_then(|policy| String::from_utf8(policy).ok());
                Sent::Policy(policy.ok_or(malformed)?)
            }
            _ => return Err(malformed),
        };
        Ok(Fields {
            policy,
            key_id: parameters.get("Key-Pair-Id").ok_or(malformed)?.to_owned(),
            hash: match parameters.get("Hash-Algorithm") {
                None | Some("SHA1") => Hash::Sha1,
                Some("SHA256") => Hash::Sha256,
                Some(_) => return Err(Reason::UnsupportedClaim),
            },
            signature: parameters.get("Signature").and_then(decoded).ok_or(malformed)?,
        })
    }
}

impl Statement {
    /// Reads a custom policy.
    ///
    /// # Errors
    /// [`Reason::Malformed`]: it is no JSON; [`Reason::UnsupportedClaim`]: it says something that is not known here.
    pub fn parse(policy: &str) -> Result<Statement, Reason> {
        let document: Result<Document, serde_json::Error> = serde_json::from_str(policy);
        match document.map(|document| <[Statement; 1]>::try_from(document.statement)) {
            Ok(Ok([statement])) => Ok(statement),
            Ok(Err(_)) => Err(Reason::UnsupportedClaim),
            Err(error) if error.is_data() => Err(Reason::UnsupportedClaim),
            Err(_) => Err(Reason::Malformed),
        }
    }

    fn terms(&self, key_id: &str, any_scheme: bool) -> Result<Terms, Reason> {
        let Condition { end, start, address } = &self.condition;
        let mut claims = vec![("Resource", self.resource.clone()), ("Key-Pair-Id", key_id.to_owned())];
        let resource = Resource::new(&self.resource, any_scheme);
        let mut terms = Terms {
            expires: Some(end.seconds),
            not_before: start.as_ref().map(|start| start.seconds),
            acl: resource.patterns(),
            ..Terms::default()
        };
        if let Some(Source { network }) = address {
            let one = network.parse::<IpAddr>().map(Addresses::one);
            let addresses = one.or_else(|_| network.parse::<IpNet>().map(|network| Addresses(vec![network])));
            terms.checks.push(Box::new(addresses.map_err(|_| Reason::UnsupportedClaim)?));
            claims.push(("IpAddress", network.clone()));
        }
        terms.checks.push(Box::new(resource));
        terms.claims = terms::Claims::new(claims);
        Ok(terms)
    }
}

/// The `Resource` of a policy, taken apart.
#[derive(Debug)]
struct Resource {
    /// None: any, or that of the whole URL.
    scheme: Option<String>,
    /// None: the path has it too.
    host: Option<String>,
    /// Path and query, with host and scheme where those are None.
    path: String,
    /// Whether scheme and host are in the path.
    whole: bool,
}

impl Resource {
    fn new(text: &str, any_scheme: bool) -> Resource {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Resource { scheme: None, host: None, path: text.to_owned(), whole: true };
        };
        let scheme = (!any_scheme).then(|| scheme.to_owned());
        match rest.find('/').and_then(|slash| rest.split_at_checked(slash)) {
            Some((host, path)) => Resource {
                scheme,
                host: Some(host.to_ascii_lowercase()),
                path: path.to_owned(),
                whole: false,
            },
            None => Resource { scheme, host: None, path: rest.to_owned(), whole: false },
        }
    }

    /// Path patterns that a session token may repeat: none where the query or the host is meant too.
    fn patterns(&self) -> Option<String> {
        let plain = self.host.is_some() && !self.path.contains(['?', '!', '%']);
        plain.then(|| self.path.clone())
    }
}

impl Check for Resource {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let is = |pattern: &str, text: &str| acl::matches(pattern.as_bytes(), text.as_bytes());
        let scheme = scheme_of(request.secure);
        if self.scheme.as_ref().is_some_and(|pattern| !is(pattern, scheme)) {
            return Err(Reason::Path);
        }
        let host = request.host.to_ascii_lowercase();
        if self.host.as_ref().is_some_and(|pattern| !is(pattern, &host)) {
            return Err(Reason::Host);
        }
        let path: Cow<'_, [u8]> = percent_decode_str(request.normal).into();
        let covers = |path: &str| {
            let mut text = match (self.whole, &self.host) {
                (true, _) => format!("{scheme}://{host}"),
                (false, None) => host.clone(),
                (false, Some(_)) => String::new(),
            };
            append_target(&mut text, path, request);
            is(&self.path, &text)
        };
        if !acl::climbs(&path) && spellings(request).any(covers) { Ok(()) } else { Err(Reason::Path) }
    }

    fn repeated(&self) -> Option<(&'static str, String)> {
        checks::repeated_host(host_of(self.host.as_deref()?))
    }
}

/// A verifier of CloudFront tokens.
pub struct CloudFront {
    options: Options,
    keys: Vec<(Arc<str>, Vec<u8>)>,
}

impl CloudFront {
    /// Prepares the keys, whose names are values of `Key-Pair-Id`. Of a private key the public half verifies.
    pub fn new(options: &Options, keys: &[TokenKey]) -> Self {
        let public = |key: &TokenKey| match key.kind {
            KeyKind::Private => Signer::of(&key.bytes.0).map(|signer| signer.public()).unwrap_or_default(),
            KeyKind::Public | KeyKind::Shared => key.bytes.0.clone(),
        };
        let keys = keys.iter().map(|key| (key.id.as_str().into(), public(key))).collect();
        CloudFront { options: options.clone(), keys }
    }

    /// Whether the canned policy of the URL that was asked for is signed.
    fn is_canned(
        &self,
        fields: &Fields,
        expires: u64,
        key: &[u8],
        request: &Presented<'_>,
    ) -> Result<bool, Reason> {
        let schemes = [request.secure, !request.secure];
        let sent = (request.path != request.normal).then_some(request.path);
        for secure in schemes.into_iter().take(1 + usize::from(self.options.any_scheme)) {
            for path in std::iter::once(request.normal).chain(sent) {
                let mut url = format!("{}://{}", scheme_of(secure), request.host);
                append_target(&mut url, path, request);
                let policy = canned(&url, &expires.to_string()).ok_or(Reason::Malformed)?;
                if fields.is_signed(policy.as_bytes(), key)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl Fields {
    /// Whether a key has signed a text.
    fn is_signed(&self, text: &[u8], key: &[u8]) -> Result<bool, Reason> {
        // The published tokens are signed with a key of 1024 bits, which no configuration takes.
        let short = cfg!(test);
        let is_point = key.first() == Some(&4);
        let algorithm: &'static dyn VerificationAlgorithm = match (is_point, self.hash) {
            (true, Hash::Sha256) => &ECDSA_P256_SHA256_ASN1,
            (true, Hash::Sha1) => return Err(Reason::UnsupportedClaim),
            (false, Hash::Sha1) if short => &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
            (false, Hash::Sha1) => &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            (false, Hash::Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
        };
        Ok(UnparsedPublicKey::new(algorithm, key).verify(text, &self.signature).is_ok())
    }
}

impl std::fmt::Debug for CloudFront {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CloudFront").field("options", &self.options).field("keys", &self.keys.len()).finish()
    }
}

impl Format for CloudFront {
    fn form(&self) -> Form {
        let names = NAMES.map(str::to_owned).to_vec();
        Form::Parameters { names, cookie_prefix: "CloudFront-", path_name: None }
    }

    fn authenticate(&self, token: &str, request: &Presented<'_>) -> Result<Genuine, Reason> {
        let fields = Fields::parse(token)?;
        let key = self.keys.iter().find(|(id, _)| **id == *fields.key_id);
        let (key_id, key) = key.ok_or(Reason::UnknownKey)?;
        let (is_genuine, reuse) = match &fields.policy {
            Sent::Expires(expires) => (self.is_canned(&fields, *expires, key, request)?, Reuse::ForUrl),
            Sent::Policy(policy) => (fields.is_signed(policy.as_bytes(), key)?, Reuse::ForToken),
        };
        if !is_genuine {
            return Err(Reason::BadMac);
        }
        let terms = match &fields.policy {
            Sent::Expires(expires) => {
                let claims = terms::Claims::new([("Key-Pair-Id", fields.key_id.clone())]);
                Terms { expires: Some(*expires), claims, ..Terms::default() }
            }
            Sent::Policy(policy) => {
                Statement::parse(policy)?.terms(&fields.key_id, self.options.any_scheme)?
            }
        };
        Ok(Genuine { key_id: Arc::clone(key_id), terms, reuse })
    }
}

/// The canned policy of a URL. None: the URL would read as something else in it.
fn canned(url: &str, expires: &str) -> Option<String> {
    let is_plain = url.chars().all(|c| !matches!(c, '"' | '\\') && !c.is_control());
    let tail = r#"","Condition":{"DateLessThan":{"AWS:EpochTime":"#;
    is_plain.then(|| [r#"{"Statement":[{"Resource":""#, url, tail, expires, "}}}]}"].concat())
}

/// Appends path and query, without the parameters of tokens.
fn append_target(url: &mut String, path: &str, request: &Presented<'_>) {
    url.push_str(path);
    for (place, parameter) in request.parameters().enumerate() {
        let _ = write!(url, "{}{parameter}", if place == 0 { '?' } else { '&' });
    }
}

fn scheme_of(secure: bool) -> &'static str {
    if secure { "https" } else { "http" }
}

fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes).replace('+', "-").replace('=', "_").replace('/', "~")
}

/// One spelling of each text: padded, unused bits zero.
fn decoded(text: &str) -> Option<Vec<u8>> {
    if text.contains(['+', '=', '/']) {
        return None;
    }
    STANDARD.decode(text.replace('-', "+").replace('_', "=").replace('~', "/")).ok()
}

#[cfg(test)]
mod tests;
