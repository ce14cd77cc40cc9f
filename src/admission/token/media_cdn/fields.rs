//! The fields of a Media CDN token, taken apart but not authenticated.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;

use super::super::edgeauth::seconds;
use super::super::{Presented, TOKEN_FIELDS_MAX, mac};
use super::url_prefix::UrlPrefix;

/// Patterns in `PathGlobs`, networks in `IPRanges`, names in `Headers`; a token with more is malformed. The first two
/// are the format's own bounds.
const LIST_MAX: usize = 5;

/// Bytes of a signature of Ed25519 (RFC 8032 section 5.1.6).
const SIGNATURE_BYTES: usize = 64;

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope<'t> {
    /// `PathGlobs`, as written: patterns, joined by `!` or by `,`.
    Globs(&'t str),
    /// `URLPrefix`.
    Prefix(UrlPrefix),
    /// `FullPath`: the path that was signed and not sent.
    Path,
}

/// What a token is signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seal {
    /// `Signature`
    Ed25519([u8; SIGNATURE_BYTES]),
    /// `hmac`
    Code(Vec<u8>),
}

/// The fields of a token's text. Under whichever name a field came, it has the format's own here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields<'t> {
    /// What it is for.
    pub scope: Scope<'t>,
    /// `Starts`, seconds since the Unix epoch.
    pub starts: Option<u64>,
    /// `Expires`, seconds since the Unix epoch.
    pub expires: u64,
    /// `SessionID`, as written.
    pub session_id: Option<&'t str>,
    /// `Data`, as written.
    pub data: Option<&'t str>,
    /// `Headers`: names of header fields whose values were signed and not sent.
    pub headers: Vec<&'t str>,
    /// `IPRanges`, joined by `,`.
    pub ip_ranges: Option<String>,
    pub(super) seal: Seal,
    signed: &'t str,
}

impl<'t> Fields<'t> {
    /// Takes a token's text apart. None: it is malformed, by the rules at the head of [`super`].
    pub fn parse(token: &'t str) -> Option<Self> {
        let (signed, seal) = token.rsplit_once('~')?;
        let seal = match seal.split_once('=')? {
            ("Signature", text) => Seal::Ed25519(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?),
            ("hmac", text) => Seal::Code(mac::from_hex(text)?),
            _ => return None,
        };
        let mut raw = Raw::default();
        for (count, piece) in signed.split('~').enumerate() {
            if count + 1 >= TOKEN_FIELDS_MAX {
                return None;
            }
            raw.take(piece)?;
        }
        Some(Fields {
            scope: raw.scope?,
            starts: match raw.starts {
                Some(starts) => Some(seconds(starts)?),
                None => None,
            },
            expires: seconds(raw.expires?)?,
            session_id: raw.session_id,
            data: raw.data,
            headers: raw.headers.unwrap_or_default(),
            ip_ranges: raw.ip_ranges,
            seal,
            signed,
        })
    }

    /// The text that was signed, if it was signed for `path` and the header fields of a request. None: a field's value
    /// would read as more than a value in it.
    pub(super) fn signed_text(&self, path: &str, request: &Presented<'_>) -> Option<String> {
        let mut text = String::with_capacity(self.signed.len() + path.len());
        for piece in self.signed.split('~') {
            if !text.is_empty() {
                text.push('~');
            }
            if piece == "FullPath" {
                text.push_str("FullPath=");
                text.push_str(path);
            } else if piece.starts_with("Headers=") {
                let pairs =
                    self.headers.iter().map(|name| pair(name, request)).collect::<Option<Vec<_>>>()?;
                text.push_str("Headers=");
                text.push_str(&pairs.join(","));
            } else {
                text.push_str(piece);
            }
        }
        Some(text)
    }
}

/// `NAME=VALUE` of a header field. General knowledge of the format, not tried against it: a field that is not there has
/// an empty value, and several of one name have theirs joined by commas.
///
/// None: the value is not ASCII, or holds `~` or `,NAME=`. It is the client's, and has no escapes: with these it could
/// stand for fields that were signed behind it and are not sent, such as `IPRanges`.
fn pair(name: &str, request: &Presented<'_>) -> Option<String> {
    let values = request.headers.get_all(name).iter().map(|value| value.to_str().ok());
    let value = values.collect::<Option<Vec<_>>>()?.join(",");
    let is_pair = |piece: &str| {
        piece.split_once('=').is_some_and(|(name, _)| HeaderName::from_bytes(name.as_bytes()).is_ok())
    };
    let is_plain = !value.contains('~') && !value.split(',').skip(1).any(is_pair);
    is_plain.then(|| format!("{name}={value}"))
}

/// Values as they are found; a field that must not come (again) is refused by [`Raw::take`].
#[derive(Default)]
struct Raw<'t> {
    scope: Option<Scope<'t>>,
    starts: Option<&'t str>,
    expires: Option<&'t str>,
    session_id: Option<&'t str>,
    data: Option<&'t str>,
    headers: Option<Vec<&'t str>>,
    ip_ranges: Option<String>,
}

impl<'t> Raw<'t> {
    fn take(&mut self, piece: &'t str) -> Option<()> {
        let free_text = self.session_id.is_some() || self.data.is_some();
        let (name, value) = match piece.split_once('=') {
            Some((name, value)) if name != "FullPath" => (name, value),
            None if piece == "FullPath" => (piece, ""),
            _ => return None,
        };
        match name {
            "PathGlobs" | "paths" | "acl" | "URLPrefix" | "FullPath" if !free_text => {
                let scope = match name {
                    "FullPath" => Scope::Path,
                    "URLPrefix" => Scope::Prefix(UrlPrefix::parse(&text(value)?)?),
                    _ => Scope::Globs(Some(value).filter(|globs| patterns(globs).is_some())?),
                };
                once(&mut self.scope, scope)
            }
            "Starts" | "st" if !free_text => once(&mut self.starts, value),
            "Expires" | "exp" if !free_text => once(&mut self.expires, value),
            "SessionID" | "id" if self.data.is_none() => once(&mut self.session_id, value),
            "Data" | "data" | "payload" => once(&mut self.data, value),
            "Headers" => once(&mut self.headers, names(value)?),
            "IPRanges" => {
                once(&mut self.ip_ranges, text(value).filter(|list| list.split(',').count() <= LIST_MAX)?)
            }
            _ => None,
        }
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    if slot.is_some() {
        return None;
    }
    *slot = Some(value);
    Some(())
}

/// The patterns of `PathGlobs`: joined by `!` or by `,`, not by both.
pub(super) fn patterns(globs: &str) -> Option<Vec<&str>> {
    let (bangs, commas) = (globs.contains('!'), globs.contains(','));
    let list: Vec<_> = globs.split(if commas { ',' } else { '!' }).collect();
    let fits = list.len() <= LIST_MAX && list.iter().all(|pattern| !pattern.is_empty());
    (fits && !(bangs && commas)).then_some(list)
}

fn names(list: &str) -> Option<Vec<&str>> {
    let names: Vec<_> = list.split(',').collect();
    let known = |at: usize, name: &str| {
        let before = names.iter().take(at);
        before.into_iter().any(|other| other.eq_ignore_ascii_case(name))
    };
    let valid =
        |(at, name): (usize, &&str)| HeaderName::from_bytes(name.as_bytes()).is_ok() && !known(at, name);
    (names.len() <= LIST_MAX && names.iter().enumerate().all(valid)).then_some(names)
}

/// The text in a value of base64.
fn text(value: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(value).ok()?).ok()
}
