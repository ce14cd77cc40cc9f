//! EdgeAuth 2.0 tokens with HMAC-SHA256: `ip=~st=~exp=~acl=~id=~data=~hmac=`, verified and signed.
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
//! - a MAC that is not 64 lower-case hexadecimal digits.
//!
//! A token has a start (`st`, inclusive) and an end (`exp`, exclusive), both widened by the policy's leeway.

use std::net::IpAddr;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use super::{CLAIMS_MAX, Format, Grant, Presented, Reason, TOKEN_FIELDS_MAX, acl, locate};

/// Bytes of a key beyond which [`key_from_text`] refuses it: the block of SHA-256, beyond which a key is hashed first.
pub const KEY_BYTES_MAX: usize = 64;

const MAC_BYTES: usize = 32;
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

/// Makes a token. `secret` is the key's bytes, `salt` what the verifying side has as salt.
///
/// Characters of `id`, `data` and `acl` that would be taken for delimiters, in the token or where it stands, are
/// percent-encoded with lower-case digits.
pub fn sign(claims: &Claims, secret: &[u8], salt: Option<&[u8]>) -> String {
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
    let mut mac = keyed(secret);
    mac.update(text.as_bytes());
    if let Scope::Url(url) = &claims.scope {
        mac.update(b"~url=");
        mac.update(url.as_bytes());
    }
    if let Some(salt) = salt {
        mac.update(b"~salt=");
        mac.update(salt);
    }
    format!("{text}{MAC_FIELD}{}", hex::encode(mac.finalize().into_bytes()))
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
    mac: [u8; MAC_BYTES],
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
            mac: mac_bytes(mac)?,
        })
    }

    /// What keys may be made of: the names that [`crate::config::model::TokenFormat::claims`] lists.
    fn claims(&self) -> [Option<(&'static str, &'t str)>; CLAIMS_MAX] {
        let named = |name, value: Option<&'t str>| value.map(|value| (name, value));
        [named("id", self.id), named("data", self.data), named("ip", self.ip), named("acl", self.acl)]
    }

    /// Evaluates the claims of an authenticated token.
    fn allow(&self, request: &Presented<'_>, leeway: u64) -> Result<(), Reason> {
        if request.now_unix >= self.expires.saturating_add(leeway) {
            return Err(Reason::Expired);
        }
        if self.start.is_some_and(|start| request.now_unix.saturating_add(leeway) < start) {
            return Err(Reason::NotYet);
        }
        if self.ip.is_some_and(|ip| !is_address(ip, request.client)) {
            return Err(Reason::Ip);
        }
        if self.acl.is_some_and(|acl| !acl::covers(acl, request.normal)) {
            return Err(Reason::Path);
        }
        Ok(())
    }
}

/// A verifier of EdgeAuth tokens, with the state of each key after its set-up.
pub struct EdgeAuth {
    keys: Vec<Hmac<Sha256>>,
    salt: Option<Box<[u8]>>,
    leeway: u64,
}

impl EdgeAuth {
    /// Prepares the keys, in the order in which they are tried. `leeway` is counted in whole seconds.
    pub fn new<'k>(keys: impl Iterator<Item = &'k [u8]>, salt: Option<&[u8]>, leeway: Duration) -> Self {
        EdgeAuth { keys: keys.map(keyed).collect(), salt: salt.map(Box::from), leeway: leeway.as_secs() }
    }

    /// Place of the key that signed the token, if one did.
    fn authenticate(&self, fields: &Fields<'_>, request: &Presented<'_>) -> Option<usize> {
        self.keys.iter().position(|key| {
            let mut mac = key.clone();
            mac.update(fields.signed.as_bytes());
            if fields.acl.is_some() {
                return self.is_genuine(mac, fields);
            }
            mac.update(b"~url=");
            // Issuers sign what they link, or what it means.
            let normal =
                (request.normal != request.path).then_some(Presented { path: request.normal, ..*request });
            std::iter::once(*request).chain(normal).any(|request| {
                url_forms(&request).any(|form| {
                    let mut mac = mac.clone();
                    form.feed(&mut mac, &request);
                    self.is_genuine(mac, fields)
                })
            })
        })
    }

    /// Adds the salt and compares in constant time.
    fn is_genuine(&self, mut mac: Hmac<Sha256>, fields: &Fields<'_>) -> bool {
        if let Some(salt) = &self.salt {
            mac.update(b"~salt=");
            mac.update(salt);
        }
        mac.verify_slice(&fields.mac).is_ok()
    }
}

impl std::fmt::Debug for EdgeAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EdgeAuth").field("keys", &self.keys.len()).field("leeway", &self.leeway).finish()
    }
}

impl Format for EdgeAuth {
    fn verify<'t>(&self, token: &'t str, request: &Presented<'_>) -> Result<Grant<'t>, Reason> {
        let fields = Fields::parse(token).ok_or(Reason::Malformed)?;
        let key = self.authenticate(&fields, request).ok_or(Reason::BadMac)?;
        fields.allow(request, self.leeway)?;
        Ok(Grant { session: fields.id, expires: fields.expires, key, claims: fields.claims() })
    }

    /// An `acl` may hold `/`, so a token ends with the segment in which its MAC begins. Without a MAC there is no
    /// telling, and all of the path counts as token, so that no part of one is taken for a path.
    fn length_in_path(&self, text: &str) -> usize {
        let Some(mac) = locate::end_of_first(text, MAC_FIELD) else {
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

/// One of the texts that a generator may have signed as `url` for a path: with or without the query, from the path as
/// it is or decoded, escaped in one of three ways. At most twelve for one path.
#[derive(Clone, Copy)]
struct UrlForm {
    query: bool,
    decoded: bool,
    escape: Escape,
}

/// How generators escape a `url`: not at all, or everything but a set of characters, with lower-case digits.
#[derive(Clone, Copy)]
enum Escape {
    Raw,
    /// Python's `quote_plus`: a space is `+`, `~` stays.
    Python,
    /// Node's `encodeURIComponent`, with `~`, `'` and `*` escaped as well.
    Node,
}

fn url_forms(request: &Presented<'_>) -> impl Iterator<Item = UrlForm> + use<> {
    let with_query = request.parameters().next().is_some();
    let encoded = request.path.contains('%') || request.query.is_some_and(|query| query.contains('%'));
    let queries = [false, true].into_iter().take(1 + usize::from(with_query));
    queries.flat_map(move |query| {
        let decodings = [false, true].into_iter().take(1 + usize::from(encoded));
        decodings.flat_map(move |decoded| {
            let escapes = [Escape::Raw, Escape::Python, Escape::Node].into_iter();
            escapes.map(move |escape| UrlForm { query, decoded, escape })
        })
    })
}

impl UrlForm {
    fn feed(self, mac: &mut Hmac<Sha256>, request: &Presented<'_>) {
        self.feed_text(mac, request.path);
        if self.query {
            for (place, parameter) in request.parameters().enumerate() {
                self.feed_text(mac, if place == 0 { "?" } else { "&" });
                self.feed_text(mac, parameter);
            }
        }
    }

    fn feed_text(self, mac: &mut Hmac<Sha256>, text: &str) {
        if self.decoded {
            percent_decode_str(text).for_each(|byte| self.escape.feed(mac, byte));
        } else if matches!(self.escape, Escape::Raw) {
            mac.update(text.as_bytes());
        } else {
            text.bytes().for_each(|byte| self.escape.feed(mac, byte));
        }
    }
}

impl Escape {
    fn feed(self, mac: &mut Hmac<Sha256>, byte: u8) {
        let stays = match self {
            Escape::Raw => true,
            Escape::Python => byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte),
            Escape::Node => byte.is_ascii_alphanumeric() || b"-_.!()".contains(&byte),
        };
        match (self, byte) {
            _ if stays => mac.update(&[byte]),
            (Escape::Python, b' ') => mac.update(b"+"),
            _ => mac.update(&lower_hex(byte)),
        }
    }
}

/// The state of a key after its set-up. The key is brought to the block's length as RFC 2104 section 2 has it, which
/// is what makes this infallible.
fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    let mut block = [0; KEY_BYTES_MAX];
    let hashed;
    let key = if secret.len() > block.len() {
        hashed = Sha256::digest(secret);
        hashed.as_slice()
    } else {
        secret
    };
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::new(&block.into())
}

fn is_address(claim: &str, client: IpAddr) -> bool {
    let claim = percent_decode_str(claim).decode_utf8_lossy();
    claim.parse::<IpAddr>().is_ok_and(|claim| claim.to_canonical() == client.to_canonical())
}

/// Decimal digits only: no sign, no white space.
fn seconds(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Lower case only: one token has one spelling.
fn mac_bytes(text: &str) -> Option<[u8; MAC_BYTES]> {
    let mut mac = [0; MAC_BYTES];
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    hex::decode_to_slice(text, &mut mac).ok().map(|()| mac)
}

/// Percent-encodes what cannot stand in a token's value in a path, a query or a cookie, `also` excepted.
fn escaped(value: &str, also: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!*()=:@$".contains(&byte) || also.contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.extend(lower_hex(byte).map(char::from));
        }
    }
    text
}

/// `%xx`.
fn lower_hex(byte: u8) -> [u8; 3] {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
    [b'%', digit(byte >> 4), digit(byte & 15)]
}

#[cfg(test)]
mod tests;
