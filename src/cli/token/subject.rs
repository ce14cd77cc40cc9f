//! What a command is given to look at: a URL with a token, a line of a header, or a bare token, brought into the form of a
//! request. Decides where a bare token would stand; what it says is not looked at.

use anyhow::{Result, ensure};
use http::{HeaderName, HeaderValue};

use super::request::field;
use super::target::Target;
use crate::admission::token::{Policy, path_segment};
use crate::config::formats::secure_link::SecureLink;
use crate::config::model::{TokenFormat, TokenPlace, TokenPolicy};

/// What is looked at.
#[derive(Debug)]
pub(super) struct Subject {
    /// The URL, token included where it stands there.
    pub(super) target: Target,
    /// Header fields that hold the token.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether the path is one that was asked about.
    pub(super) path_is_given: bool,
}

impl Subject {
    /// Takes apart what was given. `path` is the path, or URL, of what is no URL itself.
    ///
    /// # Errors
    /// It is no URL, or the path is none.
    pub(super) fn parse(
        text: &str,
        path: Option<&str>,
        config: &TokenPolicy,
        policy: &Policy,
    ) -> Result<Self> {
        let text = text.trim();
        if Target::is_meant(text) {
            ensure!(path.is_none(), "--path is for a bare token: the URL has a path already");
            return Ok(Subject { target: Target::parse(text)?, headers: Vec::new(), path_is_given: true });
        }
        let mut subject = Subject {
            target: match path {
                Some(path) => {
                    ensure!(Target::is_meant(path), "--path {path}: a path begins with `/`");
                    Target::parse(path)?
                }
                None => Target::root(),
            },
            headers: Vec::new(),
            path_is_given: path.is_some(),
        };
        match field(text) {
            Ok(header) if is_line(text) => subject.headers.push(header),
            _ => subject.put(text, config, policy),
        }
        Ok(subject)
    }

    /// Puts a bare token where the policy looks for one.
    fn put(&mut self, text: &str, config: &TokenPolicy, policy: &Policy) {
        let target = &mut self.target;
        if config.names.is_empty() {
            match &config.format {
                TokenFormat::SecureLink(SecureLink::Word) => {
                    let rest = target.path.trim_start_matches('/');
                    let (prefix, link) = rest.split_once('/').unwrap_or(("", rest));
                    target.path = format!("/{prefix}/{text}/{link}");
                }
                TokenFormat::Bunny(_) if text.starts_with("bcdn_token=") => {
                    target.path = format!("/{text}{}", target.path);
                }
                TokenFormat::UrlSig(_) if text.starts_with(';') => {
                    target.path = super::make::behind(&target.path, text)
                }
                _ => target.add_query(text.trim_start_matches('?')),
            }
            return;
        }
        let first = config.names.first().map_or("", String::as_str);
        let (name, token) = match text.split_once('=') {
            Some((name, token)) if policy.is_token_name(text) => (name, token),
            _ => (first, text),
        };
        match config.places.first() {
            Some(TokenPlace::Path) => target.path = format!("/{name}={token}{}", target.path),
            Some(TokenPlace::PathParameter) => target.path.push_str(&format!(";{name}={token}")),
            Some(TokenPlace::Cookie) => self.push("cookie", &format!("{name}={token}")),
            Some(TokenPlace::Header) => self.push(name, token),
            _ => target.add_query(&format!("{name}={token}")),
        }
    }

    fn push(&mut self, name: &str, value: &str) {
        // What cannot stand in a header is no token there, and is reported as missing.
        if let (Ok(name), Ok(value)) = (name.parse(), value.parse()) {
            self.headers.push((name, value));
        }
    }
}

/// Whether a text is a line of a header: no token has a space behind a colon.
fn is_line(text: &str) -> bool {
    text.contains(": ")
}

/// A URL or header line with a token in it, for a value under a name.
pub(super) fn with_value(target: &Target, place: TokenPlace, name: &str, token: &str) -> String {
    match place {
        TokenPlace::Path => {
            target.with(&format!("{}{}", path_segment(name, token), target.path), target.query.as_deref())
        }
        TokenPlace::PathParameter => {
            let token =
                encoded(token, |byte| byte.is_ascii_alphanumeric() || b"-._~!$'()*+,:@=".contains(&byte));
            target.with(&format!("{};{name}={token}", target.path), target.query.as_deref())
        }
        TokenPlace::Query => {
            let mut target = target.clone();
            let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$'()*,;:@/?=".contains(&byte);
            target.add_query(&format!("{name}={}", encoded(token, is_safe)));
            target.with(&target.path, target.query.as_deref())
        }
        TokenPlace::Cookie => format!("Cookie: {name}={token}"),
        TokenPlace::Header if name.eq_ignore_ascii_case("authorization") => format!("{name}: Bearer {token}"),
        TokenPlace::Header => format!("{name}: {token}"),
    }
}

/// Percent-encodes what may not stand in a place. `%` stays in a token that needs no encoding, since the text is verified
/// as received first.
fn encoded(token: &str, is_safe: impl Fn(u8) -> bool) -> String {
    if token.bytes().all(|byte| byte == b'%' || is_safe(byte)) {
        return token.to_owned();
    }
    let mut text = String::with_capacity(token.len());
    for byte in token.bytes() {
        if is_safe(byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(percent_encoding::percent_encode_byte(byte));
        }
    }
    text
}
