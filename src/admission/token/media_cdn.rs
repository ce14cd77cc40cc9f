//! Tokens of Google's Media CDN: fields joined by `~`, verified and signed.
//!
//! One of `PathGlobs`, `URLPrefix` and `FullPath` says what a token is for; then come `Starts`, `Expires`, `SessionID`,
//! `Data`, `Headers` and `IPRanges`, of which `Expires` alone is required; last `Signature` (Ed25519) or `hmac`. The text
//! before it is what is signed, except that the path stands behind `FullPath` and values behind the names of `Headers`.
//!
//! Which of the two signatures counts is a matter of the policy's keys: public keys verify the one, shared keys the other
//! with the policy's hash. The names that issuers of EdgeAuth use are taken for the same fields: `acl`, `st`, `exp`, `id`,
//! `data`, and `paths` and `payload`. That, and the bounds of lists, is general knowledge of the format, which was not
//! tried against Media CDN.
//!
//! Refused as malformed, before any cryptography:
//! - a field named twice, under whichever name; a field that is not known;
//! - what a token is for, its start or its end behind `SessionID` or `Data`, and `SessionID` behind `Data`: generators
//!   write those two after the others and do not escape `~` in them, so what follows may have been chosen by a viewer;
//! - base64 with padding or with unused bits set, and hexadecimal in upper case: a token has one spelling.
//!
//! Refused too: a header field that is signed and whose value holds `~`, or `NAME=` behind a comma, which a client could
//! send in place of what was signed behind it.

mod fields;
mod url_prefix;

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ipnet::IpNet;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::checks::{Addresses, Globs};
use super::edgeauth::escaped;
use super::format::{Format, Genuine};
use super::mac::Code;
use super::terms::{self, Terms};
use super::verdict::Reuse;
use super::{KEYS_TRIED_MAX, Presented, locate};
use crate::config::formats;
use crate::config::formats::KeyKind;
use crate::config::formats::hash::Hash;
use crate::config::model::TokenKey;
use crate::reason::Reason;
use fields::Seal;
pub use fields::{Fields, Scope};
pub use url_prefix::UrlPrefix;

/// What the MAC, or the signature, of a token begins with.
const SEAL_FIELDS: [&str; 2] = ["~Signature=", "~hmac="];

/// What a token is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Path patterns: `*` spans `/`, `?` is one character. At least one, at most five; none may hold `!` or `,`.
    Globs(Vec<String>),
    /// What URLs begin with, scheme and host included.
    Prefix(String),
    /// One path, exactly as it will be requested, without query.
    Path(String),
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `PathGlobs`, `URLPrefix` or `FullPath`.
    pub target: Target,
    /// `Starts`: seconds since the Unix epoch from which it is good.
    pub starts: Option<u64>,
    /// `Expires`: seconds since the Unix epoch from which it is no longer good.
    pub expires: u64,
    /// `SessionID`
    pub session_id: Option<String>,
    /// `Data`: anything.
    pub data: Option<String>,
    /// `Headers`: names and values of header fields that a request has to have; at most five.
    pub headers: Vec<(String, String)>,
    /// `IPRanges`: networks of clients (CIDR), at most five.
    pub ip_ranges: Vec<String>,
}

/// What signs tokens.
#[derive(Debug)]
pub struct Signer(Signing);

enum Signing {
    Code(Code),
    Ed25519(Box<Ed25519KeyPair>),
}

impl std::fmt::Debug for Signing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Signing::Code(_) => "hmac",
            Signing::Ed25519(_) => "Ed25519",
        })
    }
}

impl Signer {
    /// A shared key.
    pub fn shared(hash: Hash, secret: &[u8]) -> Signer {
        Signer(Signing::Code(Code::new(hash, secret)))
    }

    /// A private key of Ed25519, which is 32 bytes. None: it is none.
    pub fn private(seed: &[u8]) -> Option<Signer> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(|pair| Signer(Signing::Ed25519(Box::new(pair))))
    }
}

/// Makes a token.
///
/// Characters of `SessionID`, `Data` and patterns that would be taken for delimiters, in the token or where it stands,
/// are percent-encoded with lower-case digits.
pub fn sign(claims: &Claims, signer: &Signer) -> String {
    let (mut sent, mut signed) = match &claims.target {
        Target::Globs(patterns) => same(format!("PathGlobs={}", escaped(&patterns.join("!"), b"%/?"))),
        Target::Prefix(prefix) => same(format!("URLPrefix={}", URL_SAFE_NO_PAD.encode(prefix))),
        Target::Path(path) => ("FullPath".to_owned(), format!("FullPath={path}")),
    };
    let mut add = |name: &str, value: &str, signed_value: &str| {
        sent.push_str(&format!("~{name}={value}"));
        signed.push_str(&format!("~{name}={signed_value}"));
    };
    let times = [("Starts", claims.starts), ("Expires", Some(claims.expires))];
    for (name, time) in times.into_iter().filter_map(|(name, time)| Some((name, time?.to_string()))) {
        add(name, &time, &time);
    }
    let texts = [("SessionID", &claims.session_id), ("Data", &claims.data)];
    for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?))) {
        let text = escaped(text, b"");
        add(name, &text, &text);
    }
    if !claims.headers.is_empty() {
        let names: Vec<_> = claims.headers.iter().map(|(name, _)| name.as_str()).collect();
        let pairs: Vec<_> = claims.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
        add("Headers", &names.join(","), &pairs.join(","));
    }
    if !claims.ip_ranges.is_empty() {
        let ranges = URL_SAFE_NO_PAD.encode(claims.ip_ranges.join(","));
        add("IPRanges", &ranges, &ranges);
    }
    match &signer.0 {
        Signing::Code(code) => {
            let mut code = code.clone();
            code.update(signed.as_bytes());
            format!("{sent}~hmac={}", hex::encode(code.bytes()))
        }
        Signing::Ed25519(pair) => {
            format!("{sent}~Signature={}", URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes())))
        }
    }
}

fn same(field: String) -> (String, String) {
    (field.clone(), field)
}

/// A verifier of these tokens.
pub struct MediaCdn {
    keys: Vec<(Arc<str>, Key)>,
    hash: Hash,
}

enum Key {
    Shared(Code),
    Public(UnparsedPublicKey<Vec<u8>>),
}

impl MediaCdn {
    /// Prepares the keys, in the order in which they are tried. A private key verifies as its public half does.
    pub fn new(options: &formats::media_cdn::MediaCdn, keys: &[TokenKey]) -> Self {
        let hash = options.hash;
        let public = |bytes: &[u8]| Key::Public(UnparsedPublicKey::new(&ED25519, bytes.to_vec()));
        let state = |key: &TokenKey| {
            let state = match key.kind {
                KeyKind::Shared => Key::Shared(Code::new(hash, &key.bytes.0)),
                KeyKind::Public => public(&key.bytes.0),
                KeyKind::Private => {
                    public(Ed25519KeyPair::from_seed_unchecked(&key.bytes.0).ok()?.public_key().as_ref())
                }
            };
            Some((key.id.as_str().into(), state))
        };
        MediaCdn { keys: keys.iter().filter_map(state).collect(), hash }
    }
}

impl std::fmt::Debug for MediaCdn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaCdn").field("keys", &self.keys.len()).field("hash", &self.hash).finish()
    }
}

impl Key {
    fn fits(&self, seal: &Seal) -> bool {
        matches!((self, seal), (Key::Shared(_), Seal::Code(_)) | (Key::Public(_), Seal::Ed25519(_)))
    }

    fn has_sealed(&self, text: &str, seal: &Seal) -> bool {
        match (self, seal) {
            (Key::Shared(code), Seal::Code(mac)) => {
                let mut code = code.clone();
                code.update(text.as_bytes());
                code.is(mac)
            }
            (Key::Public(key), Seal::Ed25519(signature)) => key.verify(text.as_bytes(), signature).is_ok(),
            _ => false,
        }
    }
}

impl Format for MediaCdn {
    fn authenticate(&self, token: &str, request: &Presented<'_>) -> Result<Genuine, Reason> {
        let fields = Fields::parse(token).ok_or(Reason::Malformed)?;
        if matches!(&fields.seal, Seal::Code(mac) if mac.len() != self.hash.bytes()) {
            return Err(Reason::Malformed);
        }
        let for_path = fields.scope == Scope::Path;
        // Issuers sign what they link, or what it means.
        let normal = (for_path && request.normal != request.path).then_some(request.normal);
        for path in std::iter::once(request.path).chain(normal) {
            let text = fields.signed_text(path, request).ok_or(Reason::Header)?;
            let mut fitting = self.keys.iter().filter(|(_, key)| key.fits(&fields.seal)).take(KEYS_TRIED_MAX);
            if let Some((key_id, _)) = fitting.find(|(_, key)| key.has_sealed(&text, &fields.seal)) {
                let reuse = match (fields.headers.is_empty(), for_path) {
                    (false, _) => Reuse::Never,
                    (true, true) => Reuse::ForUrl,
                    (true, false) => Reuse::ForToken,
                };
                return Ok(Genuine { key_id: Arc::clone(key_id), terms: terms(fields), reuse });
            }
        }
        Err(Reason::BadMac)
    }

    /// Patterns may hold `/`, so a token ends with the segment in which its signature begins. Without one there is no
    /// telling, and all of the path counts as token, so that no part of one is taken for a path.
    fn length_in_path(&self, text: &str) -> usize {
        let Some(seal) = locate::end_of_first(text, &SEAL_FIELDS) else { return text.len() };
        text.get(seal..).and_then(|rest| rest.find('/')).map_or(text.len(), |slash| seal + slash)
    }
}

/// What a token says.
fn terms(fields: Fields<'_>) -> Terms {
    let mut terms = Terms {
        not_before: fields.starts,
        expires: Some(fields.expires),
        session: fields.session_id.map(str::to_owned),
        ..Terms::default()
    };
    let mut claims = Vec::new();
    let texts = [("SessionID", fields.session_id), ("Data", fields.data)];
    claims.extend(texts.into_iter().filter_map(|(name, text)| Some((name, text?.to_owned()))));
    if let Some(ranges) = &fields.ip_ranges {
        // What is no network is nobody's.
        let networks = ranges.split(',').filter_map(network).collect();
        terms.checks.push(Box::new(Addresses(networks)));
    }
    match fields.scope {
        Scope::Globs(globs) => {
            let acl = fields::patterns(globs).unwrap_or_default().join("!");
            claims.push(("PathGlobs", globs.to_owned()));
            terms.acl = Some(acl.clone());
            terms.checks.push(Box::new(Globs(acl)));
        }
        Scope::Prefix(prefix) => {
            claims.push(("URLPrefix", prefix.to_string()));
            terms.acl = prefix.pattern();
            terms.checks.push(Box::new(prefix));
        }
        // The signature covers the path.
        Scope::Path => {}
    }
    terms.claims = terms::Claims::new(claims);
    terms
}

/// A network, or one address.
fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests;
