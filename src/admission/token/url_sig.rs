//! Apache Traffic Server `url_sig` tokens: `?C=&E=&A=&K=&P=&S=`, or the same in base64 as a path parameter.
//!
//! `S` is the HMAC, in lower-case hexadecimal, of the parts of host and path that `P` picks, joined by `/`, then `?` and the
//! query up to and including `S=`. `P` has a digit for the host and one for each segment, of which the last repeats: `1` is
//! all of the URL, `110` host and first directory. `K` is the `id` of the key, `A` the algorithm: 1 HMAC-SHA1, 2 HMAC-MD5.
//!
//! `/a/b;urlsig=BASE64/c.ts` signs in place of the query what the base64 says (`;E=...;S=`), and of the path only what stands
//! before it: such a token is for `/a/b` and all below. The base64 is base64url without padding, as the issuer's script
//! writes it (by knowledge of that script, not by a published token).
//!
//! Decided here:
//! - `S` comes last. Behind it only `_HLS_` parameters may follow, which players add, and session tokens; in what comes
//!   before, parameters of the application are signed too.
//! - `P` picks something, and `E` is there. It is good as long as the clock is before it.
//! - Parts are those of the path in normal form, so that no path climbs out of a part that is signed.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use percent_encoding::percent_decode_str;
use sha1::Sha1;
use subtle::ConstantTimeEq;

use super::checks::Addresses;
use super::format::{Form, Format, Genuine, InPath};
use super::parameters::{Parameters, lower_hex, number, seconds, spellings};
use super::terms::{self, Terms};
use super::verdict::Reuse;
use super::{Presented, acl, locate};
use crate::admission::request::host_of;
use crate::config::formats::url_sig::UrlSig as Options;
use crate::config::model::TokenKey;
use crate::reason::Reason;

/// Digits of `P`.
const PARTS_MAX: usize = 64;

/// The highest number of a key.
const KEY_MAX: u64 = 15;

const NAMES: [&str; 6] = ["C", "E", "A", "K", "P", "S"];

/// `A`: how a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// 1: HMAC-SHA1.
    Sha1,
    /// 2: HMAC-MD5.
    Md5,
}

/// What a token is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `C`: the only client address it is good for.
    pub client: Option<IpAddr>,
    /// `E`: seconds since the Unix epoch from which it is no longer good.
    pub expires: u64,
    /// `A`.
    pub algorithm: Algorithm,
    /// `K`: the number of the key, 0 to 15.
    pub key: u8,
    /// `P`: a digit for the host and each segment, 1 for those that are signed; the last one repeats.
    pub parts: String,
}

impl Claims {
    /// All but the signature: `E=...&...&S=`.
    fn unsigned(&self, separator: char) -> String {
        let client = self.client.map_or(String::new(), |client| format!("C={client}{separator}"));
        let algorithm = match self.algorithm {
            Algorithm::Sha1 => 1,
            Algorithm::Md5 => 2,
        };
        let Claims { expires, key, parts, .. } = self;
        format!(
            "{client}E={expires}{separator}A={algorithm}{separator}K={key}{separator}P={parts}{separator}S="
        )
    }
}

/// Makes a token: the query of a URL with this host and path, `query` being what it has before. `path` begins with a slash.
pub fn sign(claims: &Claims, host: &str, path: &str, query: Option<&str>, secret: &[u8]) -> String {
    let before = query.map_or(String::new(), |query| format!("{query}&"));
    let unsigned = format!("{before}{}", claims.unsigned('&'));
    let text = format!("{}?{unsigned}", picked(host, path, &claims.parts));
    format!("{unsigned}{}", hex::encode(mac(claims.algorithm, secret, text.as_bytes())))
}

/// Makes a token to put behind `directory`, which begins with a slash and ends without: `;NAME=BASE64`. It is for all below.
pub fn sign_path(claims: &Claims, host: &str, directory: &str, name: &str, secret: &[u8]) -> String {
    let unsigned = format!(";{}", claims.unsigned(';'));
    let text = format!("{}{unsigned}", picked(host, directory, &claims.parts));
    let signed = format!("{unsigned}{}", hex::encode(mac(claims.algorithm, secret, text.as_bytes())));
    format!(";{name}={}", URL_SAFE_NO_PAD.encode(signed))
}

/// The fields of a token, taken apart but not authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// `C`.
    pub client: Option<IpAddr>,
    /// `E`, seconds since the Unix epoch.
    pub expires: u64,
    /// `A`.
    pub algorithm: Algorithm,
    /// `K`.
    pub key: String,
    /// `P`.
    pub parts: String,
    mac: Vec<u8>,
}

impl Fields {
    /// Takes a token apart: `text` is `C=...S=...`, its parameters divided by `separator`. None: it is malformed.
    pub fn parse(text: &str, separator: char) -> Option<Fields> {
        let parameters = Parameters::parse(text, separator)?;
        if parameters.last() != Some("S") || !parameters.are_among(&NAMES) {
            return None;
        }
        let signature = parameters.get("S")?;
        let (algorithm, mac) = match parameters.get("A")? {
            "1" => (Algorithm::Sha1, lower_hex::<20>(signature)?.to_vec()),
            "2" => (Algorithm::Md5, lower_hex::<16>(signature)?.to_vec()),
            _ => return None,
        };
        let parts = parameters.get("P")?;
        let is_mask = parts.bytes().all(|digit| matches!(digit, b'0' | b'1'));
        if !is_mask || !parts.contains('1') || parts.len() > PARTS_MAX {
            return None;
        }
        Some(Fields {
            client: match parameters.get("C") {
                Some(client) => Some(client.parse().ok()?),
                None => None,
            },
            expires: seconds(parameters.get("E")?)?,
            algorithm,
            key: number(parameters.get("K")?).filter(|key| *key <= KEY_MAX)?.to_string(),
            parts: parts.to_owned(),
            mac,
        })
    }

    fn terms(&self) -> Terms {
        let client = self.client.map(|client| ("C", client.to_string()));
        let others = [("K", self.key.clone()), ("P", self.parts.clone())];
        let mut terms = Terms {
            expires: Some(self.expires),
            claims: terms::Claims::new(client.into_iter().chain(others)),
            ..Terms::default()
        };
        if let Some(client) = self.client {
            terms.checks.push(Box::new(Addresses::one(client)));
        }
        terms
    }
}

/// A token as it stands in a request.
enum Sent<'t> {
    /// The query as received, up to and including `S=`.
    Query(&'t str),
    /// The path before the parameter, and what its base64 says, up to and including `S=`.
    Path(&'t str, String),
}

/// A verifier of `url_sig` tokens.
pub struct UrlSig {
    options: Options,
    keys: Vec<(Arc<str>, Box<[u8]>)>,
}

impl UrlSig {
    /// Prepares the keys, whose names are their numbers.
    pub fn new(options: &Options, keys: &[TokenKey]) -> Self {
        let keys = keys.iter().map(|key| (key.id.as_str().into(), key.bytes.0.as_slice().into())).collect();
        UrlSig { options: options.clone(), keys }
    }

    /// Takes apart what was found: `/a/b;NAME=BASE64`, or the parameters of a query.
    fn parse<'t>(&self, token: &'t str, request: &Presented<'t>) -> Option<(Fields, Sent<'t>)> {
        if !token.starts_with('/') {
            let fields = Fields::parse(token, '&')?;
            return Some((fields, Sent::Query(signed_query(request)?)));
        }
        let (before, named) = token.rsplit_once(';')?;
        let names = [self.options.sig_anchor.clone()];
        let (_, base64) = locate::parameter(named, &names)?;
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(base64).ok()?).ok()?;
        let fields = Fields::parse(text.strip_prefix(';')?, ';')?;
        let (unsigned, _) = text.rsplit_once("S=")?;
        Some((fields, Sent::Path(before, format!("{unsigned}S="))))
    }
}

impl std::fmt::Debug for UrlSig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UrlSig").field("options", &self.options).field("keys", &self.keys.len()).finish()
    }
}

impl Format for UrlSig {
    fn form(&self) -> Form {
        Form::Parameters { names: NAMES.map(str::to_owned).to_vec(), cookie_prefix: "", path_name: None }
    }

    fn authenticate(&self, token: &str, request: &Presented<'_>) -> Result<Genuine, Reason> {
        let (fields, sent) = self.parse(token, request).ok_or(Reason::Malformed)?;
        let key = self.keys.iter().find(|(id, _)| **id == *fields.key);
        let (key_id, secret) = key.ok_or(Reason::UnknownKey)?;
        let path: Cow<'_, [u8]> = percent_decode_str(request.normal).into();
        if acl::climbs(&path) {
            return Err(Reason::Path);
        }
        let is_signed = |host: &str| match &sent {
            Sent::Query(query) => {
                spellings(request).any(|path| fields.is_signed(host, path, &format!("?{query}"), secret))
            }
            Sent::Path(before, unsigned) => fields.is_signed(host, before, unsigned, secret),
        };
        let plain_host = host_of(request.host).to_ascii_lowercase();
        if !is_signed(request.host) && (plain_host == request.host || !is_signed(&plain_host)) {
            return Err(Reason::BadMac);
        }
        let mut terms = fields.terms();
        if let Sent::Path(before, _) = sent {
            let before = before.trim_end_matches('/');
            terms.checks.push(Box::new(Below(before.to_owned())));
            // What a pattern would take for something else has none.
            let is_plain = !before.contains(['*', '?', '!', '%']);
            terms.acl = is_plain.then(|| format!("{before}/*"));
        }
        Ok(Genuine { key_id: Arc::clone(key_id), terms, reuse: Reuse::ForUrl })
    }

    /// The token is found with what stands before it, which is what it signs.
    fn find_in_path<'p>(&self, path: &'p str) -> Option<InPath<'p>> {
        let names = [self.options.sig_anchor.clone()];
        let mut found = None;
        for (at, _) in path.match_indices(';') {
            let text = path.get(at + 1..)?;
            let length = text.find([';', '/']).unwrap_or(text.len());
            if locate::parameter(text.get(..length)?, &names).is_some()
                && found.replace((at, at + 1 + length)).is_some()
            {
                // Two of them are none, and all that could hold one goes.
                return Some(InPath { token: "", rest: Cow::Borrowed("/") });
            }
        }
        let (at, end) = found?;
        let rest = [path.get(..at)?, path.get(end..)?].concat();
        Some(InPath { token: path.get(..end)?, rest: Cow::Owned(rest) })
    }
}

/// The path is below this directory, as it was sent.
#[derive(Debug)]
struct Below(String);

impl terms::Check for Below {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let is_below = |path: &str| path.strip_prefix(&*self.0).is_some_and(|rest| rest.starts_with('/'));
        if spellings(request).any(is_below) { Ok(()) } else { Err(Reason::Path) }
    }
}

impl Fields {
    /// In constant time. A token that picks nothing of a URL is for no URL.
    fn is_signed(&self, host: &str, path: &str, behind: &str, secret: &[u8]) -> bool {
        let parts = picked(host, path, &self.parts);
        let text = format!("{parts}{behind}");
        !parts.is_empty() && bool::from(mac(self.algorithm, secret, text.as_bytes()).ct_eq(&self.mac))
    }
}

/// The query up to and including `S=`. None: something follows the signature that may not.
fn signed_query<'r>(request: &Presented<'r>) -> Option<&'r str> {
    let query = request.query?;
    let mut from = 0;
    for parameter in query.split('&') {
        if parameter.starts_with("S=") {
            let end = from + parameter.len();
            let mut behind = query.get(end..)?.split('&').skip(1);
            let is_free = |parameter: &str| {
                parameter.starts_with("_HLS_") || locate::parameter(parameter, request.names).is_some()
            };
            return behind.all(is_free).then(|| query.get(..from + 2))?;
        }
        from += parameter.len() + 1;
    }
    None
}

/// The parts of host and path that a mask picks, joined by `/`. Its last digit repeats; empty segments are none.
fn picked(host: &str, path: &str, mask: &str) -> String {
    let mut digits = mask.bytes();
    let mut digit = b'0';
    let mut text = String::with_capacity(host.len() + path.len());
    for part in std::iter::once(host).chain(path.split('/').filter(|part| !part.is_empty())) {
        digit = digits.next().unwrap_or(digit);
        if digit == b'1' {
            if !text.is_empty() {
                text.push('/');
            }
            text.push_str(part);
        }
    }
    text
}

/// A key of any length is one; where it could not be set up, nothing is signed.
fn mac(algorithm: Algorithm, secret: &[u8], text: &[u8]) -> Vec<u8> {
    let code = match algorithm {
        Algorithm::Sha1 => Hmac::<Sha1>::new_from_slice(secret)
            .map(|state| state.chain_update(text).finalize().into_bytes().to_vec()),
        Algorithm::Md5 => Hmac::<Md5>::new_from_slice(secret)
            .map(|state| state.chain_update(text).finalize().into_bytes().to_vec()),
    };
    code.unwrap_or_default()
}

#[cfg(test)]
mod tests;
