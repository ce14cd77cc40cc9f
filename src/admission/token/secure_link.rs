//! nginx `secure_link` tokens: the MD5 of an expression ([`crate::config::formats::secure_link::Expression`]), or of a link and a word.
//!
//! A bare MD5 is no MAC: with the secret in front it can be lengthened by whoever has one token, and it is fast to guess
//! for short secrets. The format is here so that links that exist can be served; policies that use it are warned of when
//! they are made.
//!
//! The two forms, which a policy chooses between:
//! - `?md5=MD5&expires=SECONDS`, MD5 in base64url without padding. The end is good as long as the clock is before it
//!   (nginx counts the second itself too), and is there exactly where the expression covers it.
//! - `/PREFIX/MD5/LINK`, MD5 in lower-case hexadecimal over LINK and the secret, PREFIX one segment. LINK is the path as
//!   received, with the query where it was signed with it. PREFIX is not signed: a link is good below every one of a site.
//!
//! An expression is hashed without delimiters but its own: where two variables touch, as `$uri$remote_addr` of the default
//! do, what ends the one may begin the other, and a link for `/a` and 12.0.0.1 is one for `/a1` and 2.0.0.1 too.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::COOKIE;
use md5::{Digest, Md5};
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq;

use super::format::{Form, Format, Genuine, InPath};
use super::parameters::{Parameters, lower_hex, seconds};
use super::terms::{Claims, Terms};
use super::verdict::Reuse;
use super::{Presented, locate};
use crate::admission::request::host_of;
use crate::config::formats::secure_link::{Expression, Part, SecureLink as Options};
use crate::config::model::TokenKey;
use crate::reason::Reason;

const MD5_BYTES: usize = 16;

/// The token for a request: its parameters, as they stand in the query. `expires` is in seconds since the Unix epoch; it is
/// left out where the expression has no end.
///
/// `names` are those of the parameters: of the MD5, and of the end.
pub fn sign(
    expression: &Expression,
    names: (&str, &str),
    request: &Presented<'_>,
    expires: u64,
    secret: &[u8],
) -> String {
    let expires = expires.to_string();
    let digest = digest(expression, request, &expires, secret);
    let md5 = format!("{}={}", names.0, URL_SAFE_NO_PAD.encode(digest));
    if expression.has_end() { format!("{md5}&{}={expires}", names.1) } else { md5 }
}

/// The segment that goes before a link, in `/PREFIX/MD5/LINK`. `link` has no slash in front.
pub fn sign_link(link: &str, secret: &[u8]) -> String {
    hex::encode(Md5::new().chain_update(link).chain_update(secret).finalize())
}

/// What a token says, taken apart but not authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Seconds since the Unix epoch from which it is no longer good; None: it does not end.
    pub expires: Option<u64>,
    expires_text: String,
    md5: [u8; MD5_BYTES],
}

impl Fields {
    /// Takes a token's text apart. None: it is malformed.
    pub fn parse(options: &Options, token: &str) -> Option<Fields> {
        let Options::Expression { expression, md5, expires } = options else {
            return Some(Fields { expires: None, expires_text: String::new(), md5: lower_hex(token)? });
        };
        let parameters = Parameters::parse(token, '&')?;
        let expires_text = if expression.has_end() { parameters.get(expires)? } else { "" };
        let end = if expression.has_end() { Some(seconds(expires_text)?) } else { None };
        let bytes = URL_SAFE_NO_PAD.decode(parameters.get(md5)?).ok()?;
        Some(Fields { expires: end, expires_text: expires_text.to_owned(), md5: bytes.try_into().ok()? })
    }

    fn terms(&self) -> Terms {
        let expires = self.expires.map(|expires| ("expires", expires.to_string()));
        Terms { expires: self.expires, claims: Claims::new(expires), ..Terms::default() }
    }
}

/// A verifier of `secure_link` tokens.
pub struct SecureLink {
    options: Options,
    reuse: Reuse,
    keys: Vec<(Arc<str>, Box<[u8]>)>,
}

impl SecureLink {
    /// Prepares the keys, in the order in which they are tried.
    pub fn new(options: &Options, keys: &[TokenKey]) -> Self {
        tracing::warn!(
            "tokens of format \"secure_link\" are bare MD5 sums: use it for links that exist, not for new ones"
        );
        let keys = keys.iter().map(|key| (key.id.as_str().into(), key.bytes.0.as_slice().into())).collect();
        SecureLink { reuse: reuse(options), options: options.clone(), keys }
    }

    fn is_genuine(&self, fields: &Fields, request: &Presented<'_>, secret: &[u8]) -> bool {
        let is = |digest: [u8; MD5_BYTES]| bool::from(digest.ct_eq(&fields.md5));
        let Options::Expression { expression, .. } = &self.options else {
            let Some(link) = link(request.path) else { return false };
            let plain = Md5::new().chain_update(link);
            // nginx hashes what follows, query included.
            let with_query = request.query.map(|query| plain.clone().chain_update("?").chain_update(query));
            let forms = std::iter::once(plain).chain(with_query);
            return forms.into_iter().any(|form| is(form.chain_update(secret).finalize().into()));
        };
        is(digest(expression, request, &fields.expires_text, secret))
    }
}

impl std::fmt::Debug for SecureLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecureLink").field("options", &self.options).field("keys", &self.keys.len()).finish()
    }
}

impl Format for SecureLink {
    fn form(&self) -> Form {
        let names = match &self.options {
            Options::Expression { expression, md5, expires } => {
                let end = expression.has_end().then_some(expires);
                std::iter::once(md5).chain(end).cloned().collect()
            }
            Options::Word => Vec::new(),
        };
        Form::Parameters { names, cookie_prefix: "", path_name: None }
    }

    fn authenticate(&self, token: &str, request: &Presented<'_>) -> Result<Genuine, Reason> {
        let fields = Fields::parse(&self.options, token).ok_or(Reason::Malformed)?;
        let signer = self.keys.iter().find(|(_, secret)| self.is_genuine(&fields, request, secret));
        let (key_id, _) = signer.ok_or(Reason::BadMac)?;
        Ok(Genuine { key_id: Arc::clone(key_id), terms: fields.terms(), reuse: self.reuse })
    }

    fn find_in_path<'p>(&self, path: &'p str) -> Option<InPath<'p>> {
        if self.options != Options::Word {
            return None;
        }
        let (prefix, behind) = path.strip_prefix('/')?.split_once('/')?;
        let (token, link) = behind.split_once('/')?;
        let is_digest = token.len() == 2 * MD5_BYTES && lower_hex::<MD5_BYTES>(token).is_some();
        is_digest.then(|| InPath { token, rest: Cow::Owned(format!("/{prefix}/{link}")) })
    }
}

/// What of a request the digest covers.
fn reuse(options: &Options) -> Reuse {
    let Options::Expression { expression, .. } = options else { return Reuse::ForUrl };
    if expression.parts().iter().any(|part| matches!(part, Part::Cookie(_) | Part::Http(_))) {
        return Reuse::Never;
    }
    let is_of_token = |part: &Part| matches!(part, Part::Text(_) | Part::Secret | Part::Expires);
    if expression.parts().iter().all(is_of_token) { Reuse::ForToken } else { Reuse::ForUrl }
}

/// What follows the first segment of a path.
fn link(path: &str) -> Option<&str> {
    path.strip_prefix('/')?.split_once('/').map(|(_, link)| link)
}

fn digest(expression: &Expression, request: &Presented<'_>, expires: &str, secret: &[u8]) -> [u8; MD5_BYTES] {
    let mut digest = Md5::new();
    for part in expression.parts() {
        feed(&mut digest, part, request, expires, secret);
    }
    digest.finalize().into()
}

/// Adds a part. What a request does not have is empty, as in nginx.
fn feed(digest: &mut Md5, part: &Part, request: &Presented<'_>, expires: &str, secret: &[u8]) {
    match part {
        Part::Text(text) => digest.update(text),
        Part::Secret => digest.update(secret),
        Part::Expires => digest.update(expires),
        Part::Uri => percent_decode_str(request.normal).for_each(|byte| digest.update([byte])),
        Part::Args => {
            for (place, parameter) in request.parameters().enumerate() {
                digest.update(if place == 0 { "" } else { "&" });
                digest.update(parameter);
            }
        }
        Part::Arg(name) => {
            let value = request.parameters().find_map(|parameter| {
                let (known, value) = parameter.split_once('=')?;
                known.eq_ignore_ascii_case(name).then_some(value)
            });
            digest.update(value.unwrap_or_default());
        }
        Part::Host => digest.update(host_of(request.host).to_ascii_lowercase()),
        Part::RemoteAddr => digest.update(request.client.to_canonical().to_string()),
        Part::Scheme => digest.update(if request.secure { "https" } else { "http" }),
        Part::Cookie(name) => {
            let fields = request.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
            let names = [name.clone()];
            let found =
                fields.flat_map(|field| field.split(';')).find_map(|pair| locate::cookie(pair, &names));
            digest.update(found.map_or("", |(_, value)| value));
        }
        Part::Http(name) => {
            digest.update(request.headers.get(name.as_str()).map_or(&b""[..], |value| value.as_bytes()));
        }
    }
}

#[cfg(test)]
mod tests;
