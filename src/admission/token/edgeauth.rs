//! EdgeAuth 2.0 tokens: `ip=~st=~exp=~acl=~id=~data=~hmac=`, verified and signed, with HMAC-SHA256, -SHA1 or -MD5 as
//! the policy says and never as a token does.
//!
//! The MAC covers the text before `~hmac=` as received, then `~url=PATH` in a token without `acl`, then `~salt=SALT`
//! where there is a salt; neither is sent. Where tokens stand and how long they may be is [`super`]'s.
//!
//! Refused as malformed, before any cryptography:
//! - a field named twice, or a field that is never sent (`url`, `salt`), which would let the signed text of one token
//!   be read as another;
//! - `ip`, `st`, `exp` or `acl` behind `id` or `data`. Generators write those two last and do not all escape `~` in
//!   them, so what follows them may have been chosen by whoever chose their values. A piece that is no field belongs
//!   to the `id` or `data` before it.
//! - a MAC that is not as many lower-case hexadecimal digits as the policy's hash has.
//!
//! A token has a start (`st`, inclusive) and an end (`exp`, exclusive), both widened by the policy's leeway.

use std::net::IpAddr;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::checks::{Addresses, Globs};
use super::format::{Format, Genuine};
use super::mac::{self, Code};
use super::terms::{self, Terms};
use super::verdict::Reuse;
use super::{Presented, TOKEN_FIELDS_MAX, locate};
use crate::config::formats;
use crate::config::formats::hash::Hash;
use crate::config::model::TokenKey;
use crate::reason::Reason;

mod url;

/// Bytes that are hashed at most to find out which URL a token without `acl` is for: those of URL and token, for each form
/// that a generator may have signed and for each key. Forms beyond it are not tried.
const URL_BYTES_MAX: usize = 256 << 10;

/// Bytes of a key beyond which [`key_from_text`] refuses it: the block of every hash, beyond which a key is hashed first.
pub const KEY_BYTES_MAX: usize = mac::BLOCK_BYTES;

const MAC_FIELD: &str = "~hmac=";

/// What a token is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Path patterns: `*` spans `/`, `?` is one character. At least one; none may hold `!`, which joins them.
    Acl(Vec<String>),
    /// One path, exactly as it will be requested; the query is not covered unless it is part of the text.
    Url(String),
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `ip`: the only client address it is good for.
    pub ip: Option<IpAddr>,
    /// `st`: seconds since the Unix epoch from which it is good.
    pub start: Option<u64>,
    /// `exp`: seconds since the Unix epoch from which it is no longer good.
    pub expires: u64,
    /// `acl`, or the path of a URL token.
    pub scope: Scope,
    /// `id`: the session.
    pub id: Option<String>,
    /// `data`: anything.
    pub data: Option<String>,
}

/// What a policy has beside its keys that goes into a signature.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signing<'s> {
    /// The hash.
    pub hash: Hash,
    /// The salt.
    pub salt: Option<&'s [u8]>,
}

/// Makes a token with HMAC-SHA256. `secret` is the key's bytes, `salt` what the verifying side has as salt.
pub fn sign(claims: &Claims, secret: &[u8], salt: Option<&[u8]>) -> String {
    sign_with(claims, secret, &Signing { salt, ..Signing::default() })
}

/// Makes a token. `secret` is the key's bytes.
///
/// Characters of `id`, `data` and `acl` that would be taken for delimiters, in the token or where it stands, are
/// percent-encoded with lower-case digits.
pub fn sign_with(claims: &Claims, secret: &[u8], signing: &Signing<'_>) -> String {
    let mut fields = Vec::with_capacity(6);
    if let Some(ip) = claims.ip {
        fields.push(format!("ip={ip}"));
    }
    if let Some(start) = claims.start {
        fields.push(format!("st={start}"));
    }
    fields.push(format!("exp={}", claims.expires));
    if let Scope::Acl(patterns) = &claims.scope {
        fields.push(format!("acl={}", escaped(&patterns.join("!"), b"%/?")));
    }
    if let Some(id) = &claims.id {
        fields.push(format!("id={}", escaped(id, b"")));
    }
    if let Some(data) = &claims.data {
        fields.push(format!("data={}", escaped(data, b"")));
    }
    let text = fields.join("~");
    let mut mac = Code::new(signing.hash, secret);
    mac.update(text.as_bytes());
    if let Scope::Url(url) = &claims.scope {
        mac.update(b"~url=");
        mac.update(url.as_bytes());
    }
    if let Some(salt) = signing.salt {
        mac.update(b"~salt=");
        mac.update(salt);
    }
    format!("{text}{MAC_FIELD}{}", hex::encode(mac.bytes()))
}

/// Why a text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing but white space.
    #[error("the key is empty; `forebay token keygen` makes one")]
    Empty,
    /// An odd number of digits, or something that is no digit.
    #[error("the key is not hexadecimal with an even number of digits; `forebay token keygen` makes one")]
    NotHex,
    /// Too long.
    #[error("the key has {0} bytes, more than {KEY_BYTES_MAX}")]
    TooLong(usize),
}

/// A key's bytes from the text of a key file: hexadecimal, white space around it ignored.
///
/// # Errors
/// [`KeyError`], which does not repeat the text.
pub fn key_from_text(text: &str) -> Result<Vec<u8>, KeyError> {
    let key = hex::decode(text.trim()).map_err(|_| KeyError::NotHex)?;
    match key.len() {
        0 => Err(KeyError::Empty),
        length if length > KEY_BYTES_MAX => Err(KeyError::TooLong(length)),
        _ => Ok(key),
    }
}

/// The fields of a token's text, taken apart but not authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields<'t> {
    /// `ip`, as written.
    pub ip: Option<&'t str>,
    /// `st`, seconds since the Unix epoch.
    pub start: Option<u64>,
    /// `exp`, seconds since the Unix epoch.
    pub expires: u64,
    /// `acl`, as written; a token without it is a URL token.
    pub acl: Option<&'t str>,
    /// `id`, as written.
    pub id: Option<&'t str>,
    /// `data`, as written.
    pub data: Option<&'t str>,
    signed: &'t str,
    mac: Vec<u8>,
}

impl<'t> Fields<'t> {
    /// Takes a token's text apart, from the right. None: it is malformed, by the rules at the head of this file.
    pub fn parse(token: &'t str) -> Option<Self> {
        let (signed, mac) = token.rsplit_once(MAC_FIELD)?;
        let mut raw = RawFields::default();
        let mut offset = 0;
        for (count, piece) in signed.split('~').enumerate() {
            if count + 1 >= TOKEN_FIELDS_MAX {
                return None;
            }
            raw.take(signed, offset, piece)?;
            offset += piece.len() + 1;
        }
        Some(Fields {
            ip: raw.ip,
            start: match raw.start {
                Some(start) => Some(seconds(start)?),
                None => None,
            },
            expires: seconds(raw.expires?)?,
            acl: raw.acl,
            id: raw.id,
            data: raw.data,
            signed,
            mac: mac::from_hex(mac)?,
        })
    }

    /// What it says.
    fn terms(&self) -> Terms {
        let named = [("id", self.id), ("data", self.data), ("ip", self.ip), ("acl", self.acl)];
        let claims = named.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned())));
        let mut terms = Terms {
            not_before: self.start,
            expires: Some(self.expires),
            session: self.id.map(str::to_owned),
            id: Some(hex::encode(&self.mac)),
            acl: self.acl.map(str::to_owned),
            claims: terms::Claims::new(claims),
            ..Terms::default()
        };
        if let Some(ip) = self.ip {
            let address = percent_decode_str(ip).decode_utf8_lossy().parse().ok();
            // What is no address is nobody's.
            terms.checks.push(Box::new(address.map_or(Addresses(Vec::new()), Addresses::one)));
        }
        if let Some(acl) = self.acl {
            terms.checks.push(Box::new(Globs(acl.to_owned())));
        }
        terms
    }
}

/// A verifier of EdgeAuth tokens, with the state of each key after its set-up.
pub struct EdgeAuth {
    keys: Vec<(Arc<str>, Code)>,
    hash: Hash,
    salt: Option<Box<[u8]>>,
}

impl EdgeAuth {
    /// Prepares the keys, in the order in which they are tried.
    pub fn new(options: &formats::edgeauth::EdgeAuth, keys: &[TokenKey], salt: Option<&[u8]>) -> Self {
        let hash = options.hash;
        let state = |key: &TokenKey| (key.id.as_str().into(), Code::new(hash, &key.bytes.0));
        EdgeAuth { keys: keys.iter().map(state).collect(), hash, salt: salt.map(Box::from) }
    }

    /// Place of the key that signed the token, if one did.
    fn signer(&self, fields: &Fields<'_>, request: &Presented<'_>) -> Option<usize> {
        if fields.acl.is_some() {
            return self.keys.iter().position(|(_, key)| {
                let mut mac = key.clone();
                mac.update(fields.signed.as_bytes());
                self.is_genuine(mac, fields)
            });
        }
        // Issuers sign what they link, or what it means.
        let normal =
            (request.normal != request.path).then_some(Presented { path: request.normal, ..*request });
        let mut text = Vec::new();
        let mut hashed = 0;
        for request in std::iter::once(*request).chain(normal) {
            for form in url::forms(&request) {
                text.clear();
                text.extend_from_slice(fields.signed.as_bytes());
                text.extend_from_slice(b"~url=");
                form.append(&mut text, &request);
                hashed += text.len() * self.keys.len();
                if hashed > URL_BYTES_MAX {
                    return None;
                }
                let signs = |(_, key): &(Arc<str>, Code)| {
                    let mut mac = key.clone();
                    mac.update(&text);
                    self.is_genuine(mac, fields)
                };
                if let Some(signer) = self.keys.iter().position(signs) {
                    return Some(signer);
                }
            }
        }
        None
    }

    /// Adds the salt and compares in constant time.
    fn is_genuine(&self, mut mac: Code, fields: &Fields<'_>) -> bool {
        if let Some(salt) = &self.salt {
            mac.update(b"~salt=");
            mac.update(salt);
        }
        mac.is(&fields.mac)
    }
}

impl std::fmt::Debug for EdgeAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EdgeAuth").field("keys", &self.keys.len()).field("hash", &self.hash).finish()
    }
}

impl Format for EdgeAuth {
    fn authenticate(&self, token: &str, request: &Presented<'_>) -> Result<Genuine, Reason> {
        let fields = Fields::parse(token)
            .filter(|fields| fields.mac.len() == self.hash.bytes())
            .ok_or(Reason::Malformed)?;
        let (key_id, _) =
            self.signer(&fields, request).and_then(|place| self.keys.get(place)).ok_or(Reason::BadMac)?;
        let reuse = if fields.acl.is_some() { Reuse::ForToken } else { Reuse::ForUrl };
        Ok(Genuine { key_id: Arc::clone(key_id), terms: fields.terms(), reuse })
    }

    /// An `acl` may hold `/`, so a token ends with the segment in which its MAC begins. Without a MAC there is no
    /// telling, and all of the path counts as token, so that no part of one is taken for a path.
    fn length_in_path(&self, text: &str) -> usize {
        let Some(mac) = locate::end_of_first(text, &[MAC_FIELD]) else {
            return text.len();
        };
        text.get(mac..).and_then(|rest| rest.find('/')).map_or(text.len(), |slash| mac + slash)
    }
}

/// Field values as they are found; a field that must not come (again) is refused by [`RawFields::take`].
#[derive(Default)]
struct RawFields<'t> {
    ip: Option<&'t str>,
    start: Option<&'t str>,
    expires: Option<&'t str>,
    acl: Option<&'t str>,
    id: Option<&'t str>,
    data: Option<&'t str>,
    /// Where the value of the latest `id` or `data` begins; 0 before the first.
    free_text_from: usize,
}

impl<'t> RawFields<'t> {
    fn take(&mut self, signed: &'t str, offset: usize, piece: &'t str) -> Option<()> {
        let free_text = self.id.is_some() || self.data.is_some();
        let (name, value) = piece.split_once('=').unwrap_or(("", piece));
        let slot = match name {
            "ip" => &mut self.ip,
            "st" => &mut self.start,
            "exp" => &mut self.expires,
            "acl" => &mut self.acl,
            "id" if self.data.is_none() => &mut self.id,
            "data" => &mut self.data,
            "id" | "url" | "salt" | "hmac" => return None,
            _ => return self.continue_free_text(signed, offset + piece.len()),
        };
        if slot.is_some() || (free_text && name != "data") {
            return None;
        }
        *slot = Some(value);
        if matches!(name, "id" | "data") {
            self.free_text_from = offset + name.len() + 1;
        }
        Some(())
    }

    fn continue_free_text(&mut self, signed: &'t str, end: usize) -> Option<()> {
        let slot = if self.data.is_some() { &mut self.data } else { &mut self.id };
        *slot.as_mut()? = signed.get(self.free_text_from..end)?;
        Some(())
    }
}

/// Decimal digits only: no sign, no white space.
pub(super) fn seconds(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Percent-encodes what cannot stand in a token's value in a path, a query or a cookie, `also` excepted.
pub(super) fn escaped(value: &str, also: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!*()=:@$".contains(&byte) || also.contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.extend(url::lower_hex(byte).map(char::from));
        }
    }
    text
}

#[cfg(test)]
mod tests;
