//! Bunny token authentication: `?token=...&expires=...`, or `/bcdn_token=...&expires=.../` before the path.
//!
//! The signature is HMAC-SHA256 over `token_path` (or the URL's path), the end, the client's address where the token begins
//! with `HS256-1-` (an IPv6 address counts by its /64), and the other parameters, decoded and sorted by name. In a query
//! those are all its parameters; in a path those of the segment, and the query is free. `token_ignore_params=true` leaves
//! all others out, and what is not signed says nothing: neither countries nor limit.
//!
//! Decided here:
//! - `token_path` ends at a `/` unless the configuration says otherwise; it is compared with the normal form, and covers no
//!   path that climbs.
//! - A list of countries admits nobody whose country is not known, a list of blocked ones neither.
//! - `&` in a parameter, and `=` in its name, are refused: the signed text has no escapes, so `a=1&token_countries=CA` could
//!   be sent as one parameter `a` and lose its country. The end has ten digits, so that it cannot take some from the path.
//!   One ambiguity is left, the format's own: an address whose bytes read as a parameter can be sent as one.
//! - `limit` is held to its form and told as a claim. The node slows nobody down by it.
//! - A token for another address is `bad_mac`: the address is signed, not sent.
//! - The older forms hash the key in front of the text. In `sha256` the address, where there is one, is text; whether
//!   there is one is not said, so both are tried. `md5` covers path, end and address alone, so no other parameter counts.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::checks::Countries;
use super::format::{Form, Format, Genuine};
use super::parameters::{number, seconds};
use super::terms::{self, Check, Terms};
use super::verdict::Reuse;
use super::{Presented, TOKEN_FIELDS_MAX, acl, locate};
use crate::config::formats::bunny::{Bunny as Options, Signature};
use crate::config::model::{TokenKey, TokenPlace};
use crate::config::territory::Territory;
use crate::reason::Reason;

/// Parameters of a query that are signed with a token; a query with more is refused.
const SIGNED_PARAMETERS_MAX: usize = 64;

const HS256: &str = "HS256-";
const OF_ADDRESS: &str = "1-";
const PATH_NAME: &str = "bcdn_token";

/// Names of a token's parameters; `token` comes first.
const NAMES: [&str; 7] = [
    "token",
    "expires",
    "token_path",
    "token_countries",
    "token_countries_blocked",
    "token_ignore_params",
    "limit",
];

/// What stands as it is in a value.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What a token is made for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The URL's path, as it will be requested.
    pub path: String,
    /// `token_path`: the beginning of paths that it is for, in place of the one path.
    pub token_path: Option<String>,
    /// `expires`: seconds since the Unix epoch from which it is no longer good.
    pub expires: u64,
    /// The only client address it is good for; of IPv6, its /64.
    pub ip: Option<IpAddr>,
    /// `token_countries`: the only countries it is good in.
    pub countries: Vec<String>,
    /// `token_countries_blocked`: countries it is not good in.
    pub countries_blocked: Vec<String>,
    /// `limit`: kB/s.
    pub limit: Option<u64>,
    /// `token_ignore_params`: whether the other parameters are not signed. Countries and limit are left out then.
    pub ignore_params: bool,
    /// Further parameters of the URL's query, decoded, each name once.
    pub parameters: Vec<(String, String)>,
}

/// Makes a token of the form `HS256-`: parameters for a query or, with [`TokenPlace::Path`], the leading segment of the path
/// with its slash in front.
pub fn sign(claims: &Claims, secret: &[u8], place: TokenPlace) -> String {
    let mut signed: Vec<(&str, Cow<'_, str>)> = Vec::new();
    if claims.ignore_params {
        signed.push(("token_ignore_params", "true".into()));
    } else {
        signed.extend(claims.parameters.iter().map(|(name, value)| (name.as_str(), value.into())));
        let lists =
            [("token_countries", &claims.countries), ("token_countries_blocked", &claims.countries_blocked)];
        let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
        signed.extend(lists.map(|(name, list)| (name, list.join(",").into())));
        signed.extend(claims.limit.map(|limit| ("limit", limit.to_string().into())));
    }
    signed.extend(claims.token_path.iter().map(|path| ("token_path", path.into())));
    signed.sort();
    let path = claims.token_path.as_ref().unwrap_or(&claims.path);
    let expires = claims.expires.to_string();
    let mac = message(keyed(secret), path, &expires, claims.ip, &signed).finalize().into_bytes();
    let flag = if claims.ip.is_some() { OF_ADDRESS } else { "" };
    let mut text = format!("{HS256}{flag}{}", URL_SAFE_NO_PAD.encode(mac));
    for (name, value) in &signed {
        text.push_str(&format!(
            "&{}={}",
            utf8_percent_encode(name, PLAIN),
            utf8_percent_encode(value, PLAIN)
        ));
    }
    match place {
        TokenPlace::Path => format!("/{PATH_NAME}={text}&expires={expires}"),
        _ => format!("token={text}&expires={expires}"),
    }
}

/// The signature of a token, in one of its forms.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sealed {
    Hs256 { of_address: bool, mac: [u8; 32] },
    Sha256([u8; 32]),
    Md5([u8; 16]),
}

impl Sealed {
    fn parse(text: &str) -> Option<Sealed> {
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        if let Some(rest) = text.strip_prefix(HS256) {
            let of_address = rest.strip_prefix(OF_ADDRESS).filter(|rest| rest.len() == 43);
            let mac = bytes(of_address.unwrap_or(rest))?.try_into().ok()?;
            return Some(Sealed::Hs256 { of_address: of_address.is_some(), mac });
        }
        let bytes = bytes(text)?;
        match bytes.len() {
            32 => Some(Sealed::Sha256(bytes.try_into().ok()?)),
            16 => Some(Sealed::Md5(bytes.try_into().ok()?)),
            _ => None,
        }
    }

    fn signature(&self) -> Signature {
        match self {
            Sealed::Hs256 { .. } => Signature::Hs256,
            Sealed::Sha256(_) => Signature::Sha256,
            Sealed::Md5(_) => Signature::Md5,
        }
    }
}

/// The fields of a token, taken apart but not authenticated. What is not signed with it is not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// `expires`, seconds since the Unix epoch.
    pub expires: u64,
    /// `token_path`, decoded.
    pub token_path: Option<String>,
    /// `token_countries`.
    pub countries: Option<String>,
    /// `token_countries_blocked`.
    pub countries_blocked: Option<String>,
    /// `limit`, kB/s.
    pub limit: Option<u64>,
    /// Whether it is bound to an address; None: an older form, which does not say.
    pub is_of_address: Option<bool>,
    mac: Sealed,
    expires_text: String,
    in_path: bool,
    ignores: bool,
    /// What is signed, sorted by name.
    signed: Vec<(String, String)>,
}

impl Fields {
    /// Takes a token's text apart: that of a query's parameters, or of a leading segment. `others` are the further
    /// parameters of the query. None: it is malformed.
    pub fn parse<'a>(token: &'a str, others: impl Iterator<Item = &'a str>) -> Option<Fields> {
        let first = token.split('&').next()?;
        // A segment begins with the token, the text of a query with some name.
        let in_path = !first.contains('=');
        let own = if in_path { token.get(first.len() + 1..)? } else { token };
        let mut signed: Vec<(String, String)> = Vec::new();
        let others = others.filter(|parameter| !in_path && !parameter.is_empty());
        for parameter in own.split('&').chain(others) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if signed.len() == if in_path { TOKEN_FIELDS_MAX } else { SIGNED_PARAMETERS_MAX } {
                return None;
            }
            let (name, value) = (decoded(name)?, decoded(value)?);
            // What is signed has no escapes: with these, one list of parameters could be read as another.
            if name.contains(['&', '=']) || value.contains('&') {
                return None;
            }
            signed.push((name, value));
        }
        signed.sort();
        if signed.windows(2).any(|pair| matches!(pair, [(one, _), (other, _)] if one == other)) {
            return None;
        }
        let mut take = |name: &str| {
            let place = signed.iter().position(|(known, _)| known == name)?;
            Some(signed.remove(place).1)
        };
        let mac = if in_path { decoded(first)? } else { take("token")? };
        let expires_text = take("expires")?;
        let mac = Sealed::parse(&mac)?;
        let ignores = match signed.iter().find(|(name, _)| name == "token_ignore_params") {
            None => false,
            Some((_, value)) if value == "true" => true,
            Some(_) => return None,
        };
        // MD5 covers no parameter at all.
        let none = mac.signature() == Signature::Md5;
        signed.retain(|(name, _)| {
            !none && (!ignores || matches!(&**name, "token_ignore_params" | "token_path"))
        });
        let get = |name: &str| signed.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        Some(Fields {
            expires: seconds(&expires_text)?,
            token_path: get("token_path"),
            countries: get("token_countries"),
            countries_blocked: get("token_countries_blocked"),
            limit: match get("limit") {
                Some(limit) => Some(number(&limit)?),
                None => None,
            },
            is_of_address: match mac {
                Sealed::Hs256 { of_address, .. } => Some(of_address),
                _ => None,
            },
            mac,
            expires_text,
            in_path,
            ignores,
            signed,
        })
    }

    fn terms(&self, plain_prefix: bool) -> Terms {
        let limit = self.limit.map(|limit| limit.to_string());
        let claims = [
            ("token_path", self.token_path.clone()),
            ("token_countries", self.countries.clone()),
            ("token_countries_blocked", self.countries_blocked.clone()),
            ("limit", limit),
        ];
        let claims = claims.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let mut terms =
            Terms { expires: Some(self.expires), claims: terms::Claims::new(claims), ..Terms::default() };
        if let Some(path) = &self.token_path {
            let prefix = Prefix { path: path.clone(), plain: plain_prefix };
            terms.acl = prefix.patterns();
            terms.checks.push(Box::new(prefix));
        }
        if let Some(countries) = &self.countries {
            terms.checks.push(Box::new(Countries(list(countries))));
        }
        if let Some(countries) = &self.countries_blocked {
            terms.checks.push(Box::new(NotIn(list(countries))));
        }
        terms
    }
}

/// The path begins so.
#[derive(Debug)]
struct Prefix {
    /// Decoded.
    path: String,
    /// Whether it may end within a segment.
    plain: bool,
}

impl Prefix {
    /// As path patterns, where it holds nothing that means something else in one.
    fn patterns(&self) -> Option<String> {
        if self.path.contains(['*', '?', '!']) {
            return None;
        }
        let path = self.path.replace('%', "%25");
        Some(if self.plain || path.ends_with('/') { format!("{path}*") } else { format!("{path}!{path}/*") })
    }
}

impl Check for Prefix {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let path: Cow<'_, [u8]> = percent_decode_str(request.normal).into();
        let rest = path.strip_prefix(self.path.as_bytes()).filter(|_| !acl::climbs(&path));
        let ends =
            |rest: &[u8]| self.plain || self.path.ends_with('/') || rest.is_empty() || rest.starts_with(b"/");
        if rest.is_some_and(ends) { Ok(()) } else { Err(Reason::Path) }
    }
}

/// The client is in a country that is known, and none of these.
#[derive(Debug)]
struct NotIn(Vec<String>);

impl Check for NotIn {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let place = request.geo.map(|geo| geo.territory(request.client)).unwrap_or_default();
        // What is no code cannot be told to be another country.
        let is_out = |code: &String| Territory::parse(code).and_then(|code| place.is_in(code)) == Some(false);
        if place.country.is_some() && self.0.iter().all(is_out) { Ok(()) } else { Err(Reason::Geo) }
    }
}

/// A verifier of Bunny tokens, with the state of each key after its set-up.
pub struct Bunny {
    options: Options,
    keys: Vec<BunnyKey>,
}

struct BunnyKey {
    id: Arc<str>,
    bytes: Box<[u8]>,
    state: Hmac<Sha256>,
}

impl Bunny {
    /// Prepares the keys, in the order in which they are tried.
    pub fn new(options: &Options, keys: &[TokenKey]) -> Self {
        let keys = keys.iter().map(|key| BunnyKey {
            id: key.id.as_str().into(),
            bytes: key.bytes.0.as_slice().into(),
            state: keyed(&key.bytes.0),
        });
        Bunny { options: options.clone(), keys: keys.collect() }
    }

    fn is_genuine(&self, key: &BunnyKey, fields: &Fields, request: &Presented<'_>) -> bool {
        let sent = (request.path != request.normal).then_some(request.path);
        let mut paths = match &fields.token_path {
            Some(path) => [Some(path.as_str()), None],
            None => [Some(request.normal), sent],
        }
        .into_iter()
        .flatten();
        paths.any(|path| fields.is_signed(key, path, request.client))
    }
}

impl Fields {
    /// Whether a key has signed it for this path, in constant time.
    fn is_signed(&self, key: &BunnyKey, path: &str, client: IpAddr) -> bool {
        let older = |address: &str| {
            let text = [path, &self.expires_text, address].concat();
            let mut text = [&key.bytes, text.as_bytes()].concat();
            text.extend_from_slice(form_of(&self.signed).as_bytes());
            text
        };
        let client_text = client.to_canonical().to_string();
        let addresses = ["", &client_text];
        match &self.mac {
            Sealed::Hs256 { of_address, mac } => {
                let ip = of_address.then_some(client);
                message(key.state.clone(), path, &self.expires_text, ip, &self.signed)
                    .verify_slice(mac)
                    .is_ok()
            }
            Sealed::Sha256(digest) => {
                addresses.iter().any(|ip| Sha256::digest(older(ip)).as_slice().ct_eq(digest).into())
            }
            Sealed::Md5(digest) => {
                addresses.iter().any(|ip| Md5::digest(older(ip)).as_slice().ct_eq(digest).into())
            }
        }
    }

    /// What is signed beside the text.
    fn reuse(&self) -> Reuse {
        let free_of_query = self.in_path || self.ignores;
        let free_of_url = self.token_path.is_some() && free_of_query;
        if free_of_url && self.is_of_address == Some(false) { Reuse::ForToken } else { Reuse::ForUrl }
    }
}

impl std::fmt::Debug for Bunny {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bunny").field("options", &self.options).field("keys", &self.keys.len()).finish()
    }
}

impl Format for Bunny {
    fn form(&self) -> Form {
        let names = NAMES.map(str::to_owned).to_vec();
        Form::Parameters { names, cookie_prefix: "", path_name: Some(PATH_NAME) }
    }

    fn authenticate(&self, token: &str, request: &Presented<'_>) -> Result<Genuine, Reason> {
        let names = NAMES.map(str::to_owned);
        let is_own = |parameter: &&str| locate::parameter(parameter, &names).is_some();
        let others = request.parameters().filter(|parameter| !is_own(parameter));
        let fields = Fields::parse(token, others).ok_or(Reason::Malformed)?;
        if !self.options.signatures.contains(&fields.mac.signature()) {
            return Err(Reason::Malformed);
        }
        let signer = self.keys.iter().find(|key| self.is_genuine(key, &fields, request));
        let key_id = Arc::clone(&signer.ok_or(Reason::BadMac)?.id);
        Ok(Genuine { key_id, terms: fields.terms(self.options.plain_prefix), reuse: fields.reuse() })
    }
}

/// The text that is signed, fed to a key's state.
fn message<N: AsRef<str>, V: AsRef<str>>(
    mut mac: Hmac<Sha256>,
    path: &str,
    expires: &str,
    ip: Option<IpAddr>,
    signed: &[(N, V)],
) -> Hmac<Sha256> {
    mac.update(path.as_bytes());
    mac.update(expires.as_bytes());
    match ip.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => mac.update(&ip.octets()),
        // The network of 64 bits.
        Some(IpAddr::V6(ip)) => mac.update(&(u128::from(ip) >> 64 << 64).to_be_bytes()),
        None => {}
    }
    mac.update(form_of(signed).as_bytes());
    mac
}

/// `a=b&c=d`, nothing encoded.
fn form_of<N: AsRef<str>, V: AsRef<str>>(signed: &[(N, V)]) -> String {
    let pairs = signed.iter().map(|(name, value)| format!("{}={}", name.as_ref(), value.as_ref()));
    pairs.collect::<Vec<_>>().join("&")
}

/// As a form has it: `+` is a space.
fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(Cow::into_owned)
}

/// Codes of countries, upper case.
fn list(text: &str) -> Vec<String> {
    text.split(',').map(|code| code.trim().to_ascii_uppercase()).filter(|code| !code.is_empty()).collect()
}

/// The state of a key after its set-up; a key of any length is one.
fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    let hashed;
    let mut block = [0; 64];
    let key = if secret.len() > block.len() {
        hashed = Sha256::digest(secret);
        hashed.as_slice()
    } else {
        secret
    };
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    Hmac::new(&block.into())
}

#[cfg(test)]
mod tests;
