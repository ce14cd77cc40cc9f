//! Tokens that Cloudflare's `is_timed_hmac_valid_v0` takes: `ISSUED-MAC`, verified and signed.
//!
//! ISSUED is the time of issue in seconds since the Unix epoch, in ten digits; how long a token is good after it, the
//! policy says. MAC is the base64 of HMAC-SHA256 over the message and ISSUED. The message is what the rule hands to the
//! function, without the separator: what the policy signs of the path ([`Extent`](super::extent::Extent)), the host before
//! it where the rule joins the two, and as much of `?NAME=` as the rule's length of the separator leaves.
//!
//! Plain base64 has its padding, and stands percent-encoded in a query; the URL-safe one has none. Unused bits are zero.
//! A separator is there only before a token in the query; the rest of the query takes no part. Not checked against an
//! implementation of the rule: that the host is compared in lower case and without port.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;

use super::format::{Format, Genuine};
use super::mac::Code;
use super::terms::{self, Terms};
use super::verdict::Reuse;
use super::{Presented, extent, locate};
use crate::admission::request::host_of;
use crate::config::formats;
use crate::config::formats::hash::Hash;
use crate::config::model::{TokenKey, TokenPlace};
use crate::reason::Reason;

pub use super::extent::SignError;

/// What a token is made for.
#[derive(Clone, Copy, Debug)]
pub struct Link<'l> {
    /// The host, port aside; of importance where the policy signs it.
    pub host: &'l str,
    /// The path, as it will be requested.
    pub path: &'l str,
    /// The name that the token will have in the query; of importance where the policy signs some of the separator.
    pub name: &'l str,
}

/// Makes a token as it stands in a header field; in a query its `+`, `/` and `=` are to be percent-encoded. `issued` are
/// seconds since the Unix epoch, `secret` is the key's bytes, `options` are those of the policy.
///
/// # Errors
/// [`SignError`].
pub fn sign(
    link: &Link<'_>,
    issued: u64,
    secret: &[u8],
    options: &formats::cloudflare::Cloudflare,
) -> Result<String, SignError> {
    let digits = extent::digits(issued)?;
    let message = Message {
        host: options.with_host.then(|| host(link.host)),
        separator: options.separator.map(|unsigned| separator(link.name, unsigned)),
    };
    let mut mac = Code::new(Hash::Sha256, secret);
    message.feed(&mut mac, extent::text(&options.extent, link.path)?, &digits);
    let engine = if options.url_safe { URL_SAFE_NO_PAD } else { STANDARD };
    Ok(format!("{digits}-{}", engine.encode(mac.bytes())))
}

/// The fields of a token's text, taken apart but not authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields<'t> {
    /// Seconds since the Unix epoch at which it was issued.
    pub issued: u64,
    /// Whether its signature is in URL-safe base64.
    pub url_safe: bool,
    digits: &'t str,
    mac: [u8; 32],
}

impl<'t> Fields<'t> {
    /// Takes a token's text apart. None: it is malformed, by the rules at the head of this file.
    pub fn parse(token: &'t str) -> Option<Self> {
        let (digits, text) = token.split_once('-')?;
        let url_safe = !text.ends_with('=');
        let engine = if url_safe { URL_SAFE_NO_PAD } else { STANDARD };
        let mac = engine.decode(text).ok()?.try_into().ok()?;
        Some(Fields { issued: extent::time(digits)?, url_safe, digits, mac })
    }
}

/// A verifier of these tokens, with the state of each key after its set-up.
pub struct Cloudflare {
    keys: Vec<(Arc<str>, Code)>,
    options: formats::cloudflare::Cloudflare,
}

impl Cloudflare {
    /// Prepares the keys, in the order in which they are tried.
    pub fn new(options: &formats::cloudflare::Cloudflare, keys: &[TokenKey]) -> Self {
        let state = |key: &TokenKey| (key.id.as_str().into(), Code::new(Hash::Sha256, &key.bytes.0));
        Cloudflare { keys: keys.iter().map(state).collect(), options: options.clone() }
    }

    fn terms(&self, fields: &Fields<'_>) -> Terms {
        Terms {
            expires: Some(fields.issued.saturating_add(self.options.ttl.as_secs())),
            claims: terms::Claims::new([("issued", fields.digits.to_owned())]),
            ..Terms::default()
        }
    }
}

impl std::fmt::Debug for Cloudflare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloudflare").field("keys", &self.keys.len()).field("options", &self.options).finish()
    }
}

impl Format for Cloudflare {
    fn authenticate(&self, token: &str, request: &Presented<'_>) -> Result<Genuine, Reason> {
        let fields = Fields::parse(token)
            .filter(|fields| fields.url_safe == self.options.url_safe)
            .ok_or(Reason::Malformed)?;
        let message = Message::of(&self.options, token, request);
        for text in extent::texts(&self.options.extent, request)? {
            for (key_id, key) in &self.keys {
                let mut mac = key.clone();
                message.feed(&mut mac, text, fields.digits);
                if mac.is(&fields.mac) {
                    let mut terms = self.terms(&fields);
                    let reuse = match extent::hold(&self.options.extent, text, &mut terms) {
                        // Host and name of the token are signed as well; elsewhere than in a query there is no name.
                        _ if self.options.with_host || self.options.separator.is_some() => Reuse::ForUrl,
                        reuse => reuse,
                    };
                    return Ok(Genuine { key_id: Arc::clone(key_id), terms, reuse });
                }
            }
        }
        Err(Reason::BadMac)
    }
}

/// What is signed beside the text of the path and the time.
struct Message {
    host: Option<String>,
    separator: Option<String>,
}

impl Message {
    fn of(options: &formats::cloudflare::Cloudflare, token: &str, request: &Presented<'_>) -> Message {
        let is_it = |text: &str| text == token || percent_decode_str(text).eq(token.bytes());
        let name = || {
            let parameters = request.query.into_iter().flat_map(|query| query.split('&'));
            let mut tokens = parameters.filter_map(|text| locate::parameter(text, request.names));
            request.names.get(tokens.find(|(_, text)| is_it(text))?.0)
        };
        let in_query = options.separator.filter(|_| request.place == TokenPlace::Query);
        Message {
            host: options.with_host.then(|| host(host_of(request.host))),
            separator: in_query.and_then(|unsigned| Some(separator(name()?, unsigned))),
        }
    }

    fn feed(&self, mac: &mut Code, text: &str, digits: &str) {
        let (host, separator) = (self.host.as_deref(), self.separator.as_deref());
        for part in [host.unwrap_or_default(), text, separator.unwrap_or_default(), digits] {
            mac.update(part.as_bytes());
        }
    }
}

fn host(host: &str) -> String {
    host.to_ascii_lowercase()
}

/// What is signed of the separator, whose last bytes are not; never less than nothing, so that the path is signed whole.
fn separator(name: &str, unsigned: usize) -> String {
    let separator = format!("?{name}=");
    let signed = separator.len().saturating_sub(unsigned);
    separator.get(..signed).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
