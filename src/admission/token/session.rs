//! Session tokens: made by the node once a playlist has been opened, good for the rest of the stream.
//!
//! They have the wire form of EdgeAuth ([`super::edgeauth`]) and keys of their own, the same on all nodes of a fleet. `acl`
//! is the stream's directory, `id` the session of the token that opened the playlist, or a digest of that token, the
//! client's address and its user agent: a link that is shared makes as many sessions as viewers. `data` repeats what
//! limits and rules need, as a form: `sub` subject, `n` streams at once, `c.NAME` claims, and the first token's own
//! conditions on the client and the host ([`super::terms::Check::repeated`]): `net` networks, `geo` places, `asn` systems,
//! `host` names, `tls` fingerprints. Other conditions of the first token hold for the playlist alone.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::USER_AGENT;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::edgeauth::{self, EdgeAuth, Scope};
use super::format::{Format, Genuine};
use super::terms::{Claims, Terms};
use super::verdict::{Verdict, Verdicts};
use super::{Presented, TOKEN_BYTES_MAX, acl, checks};
use crate::config::formats::edgeauth::EdgeAuth as Options;
use crate::config::model;
use crate::reason::Reason;

/// Bytes of what a session token repeats of the token that opened the playlist. Claims beyond are left out; where what
/// limits the token is beyond, none is made.
const REPEATED_BYTES_MAX: usize = 1024;

/// Characters of a session's name that is made of a digest.
const SESSION_DIGITS: usize = 24;

/// What stands as it is in a value of the form.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'@');

/// The session tokens of a policy.
#[derive(Debug)]
pub(super) struct Sessions {
    /// The token's name.
    pub(super) name: String,
    /// Verdicts on them.
    pub(super) verdicts: Verdicts,
    format: EdgeAuth,
    config: model::Session,
}

impl Sessions {
    pub(super) fn new(config: &model::Session, verdict_bytes: u64) -> Sessions {
        Sessions {
            name: config.name.clone(),
            verdicts: Verdicts::new(verdict_bytes),
            format: EdgeAuth::new(&Options::default(), &config.keys, None),
            config: config.clone(),
        }
    }

    /// Makes a session token for the request of a playlist that a token has opened: its text, and the patterns of the
    /// paths that it opens. None: there is none for this path, which climbs or holds what a pattern would take for
    /// something else, or what limits the token does not fit.
    pub(super) fn mint(&self, opened: &Verdict, request: &Presented<'_>) -> Option<(String, Vec<String>)> {
        let key = self.config.keys.first()?;
        let terms = &opened.terms;
        let path: Cow<'_, [u8]> = percent_decode_str(request.normal).into();
        if acl::climbs(&path) {
            return None;
        }
        let mut opens: Vec<String> = match terms.acl.as_ref().filter(|_| self.config.scope_of_token) {
            Some(acl) => acl.split('!').map(str::to_owned).collect(),
            None => vec![below(directory(request.normal))?],
        };
        opens.extend(self.config.also.iter().cloned());
        let claims = edgeauth::Claims {
            ip: self.config.bind_address.then_some(request.client),
            start: None,
            expires: request.now_unix.saturating_add(self.config.life.as_secs()),
            scope: Scope::Acl(opens.clone()),
            id: Some(terms.session.clone().unwrap_or_else(|| session_of(opened, request))),
            data: Some(self.repeated(opened, request)?).filter(|form| !form.is_empty()),
        };
        let token = edgeauth::sign(&claims, &key.bytes.0, None);
        (encoded_bytes(&token) <= TOKEN_BYTES_MAX).then_some((token, opens))
    }

    /// Seconds that one is good for.
    pub(super) fn life(&self) -> u64 {
        self.config.life.as_secs()
    }

    /// What it repeats, as a form. None: what limits the token does not fit.
    fn repeated(&self, opened: &Verdict, request: &Presented<'_>) -> Option<String> {
        let terms = &opened.terms;
        let mut form = String::new();
        let mut add = |name: &str, value: &str| {
            let pair = format!("{name}={}", utf8_percent_encode(value, PLAIN));
            let fits = form.len() + pair.len() < REPEATED_BYTES_MAX;
            if fits {
                if !form.is_empty() {
                    form.push('&');
                }
                form.push_str(&pair);
            }
            fits.then_some(())
        };
        if let Some(subject) = &terms.subject {
            add("sub", subject)?;
        }
        if let Some(streams) = terms.streams {
            add("n", &streams.to_string())?;
        }
        for (name, value) in terms.checks.iter().filter_map(|check| check.repeated()) {
            add(name, &value)?;
        }
        if self.config.bind_tls {
            // A client without a fingerprint is bound to having none.
            add("tls", request.ja4.unwrap_or_default())?;
        }
        for name in &self.config.claims {
            if let Some(value) = terms.claims.get(name) {
                let _ = add(&format!("c.{name}"), value);
            }
        }
        Some(form)
    }
}

impl Format for Sessions {
    fn authenticate(&self, token: &str, request: &Presented<'_>) -> Result<Genuine, Reason> {
        let mut genuine = self.format.authenticate(token, request)?;
        let terms = &mut genuine.terms;
        // Only what this node's like has signed comes here, so nothing of it is unknown. What was escaped for the wire
        // form is undone: revocations and limits go by the session that the first token names.
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        terms.session = terms.session.as_deref().map(plain);
        let data = terms.claims.get("data").map(plain);
        let mut claims = Vec::new();
        for (name, value) in
            data.iter().flat_map(|data| data.split('&')).filter_map(|pair| pair.split_once('='))
        {
            let value = plain(value);
            match name {
                "sub" => terms.subject = Some(value),
                "n" => terms.streams = value.parse().ok(),
                _ => match checks::of_repeated(name, &value) {
                    Some(check) => terms.checks.push(check),
                    None => claims.extend(name.strip_prefix("c.").map(|name| (name.to_owned(), value))),
                },
            }
        }
        terms.claims = Claims::new(claims);
        Ok(genuine)
    }

    fn length_in_path(&self, text: &str) -> usize {
        self.format.length_in_path(text)
    }
}

/// Makes a session token outside of a node: for a path that a token with these terms has opened. None: there is none for
/// this path, or the policy has no key for it.
pub fn sign(config: &model::Session, terms: Terms, request: &Presented<'_>) -> Option<String> {
    let opened = Verdict::new("", "", "".into(), terms);
    Sessions::new(config, 0).mint(&opened, request).map(|(token, _)| token)
}

/// The directory of a path, with the slash that ends it.
pub fn directory(path: &str) -> &str {
    path.rfind('/').and_then(|slash| path.get(..=slash)).unwrap_or("/")
}

/// The pattern of all that is below a directory.
fn below(directory: &str) -> Option<String> {
    let plain = !percent_decode_str(directory).any(|byte| matches!(byte, b'*' | b'?' | b'!'));
    plain.then(|| format!("{directory}*"))
}

/// Bytes of a token once it stands in a URI, at most: it may be percent-encoded there, `%` included.
fn encoded_bytes(token: &str) -> usize {
    let stays = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!*(),;=:@/".contains(&byte);
    token.bytes().map(|byte| if stays(byte) { 1 } else { 3 }).sum()
}

/// The session of a token that names none: a digest of it, the client's address and its user agent.
pub(super) fn session_of(opened: &Verdict, request: &Presented<'_>) -> String {
    let mut digest = Sha256::new();
    // A zero byte is in neither text nor address: nobody's address and user agent run together to those of another.
    digest.update(opened.text.as_bytes());
    digest.update([0]);
    digest.update(request.client.to_string());
    digest.update([0]);
    digest.update(request.headers.get(USER_AGENT).map_or(&b""[..], |value| value.as_bytes()));
    let mut text = hex::encode(digest.finalize());
    text.truncate(SESSION_DIGITS);
    text
}

/// A session token and the name it is carried under.
#[derive(Clone, Debug)]
pub struct Carried<'a> {
    /// Its name. Empty: the text is several parameters, names included.
    pub name: &'a str,
    /// Its text.
    pub text: Arc<str>,
    /// Patterns of the paths that a session token opens; empty where it is not one that was made now.
    pub opens: Vec<String>,
    /// Seconds that it is good for from now on; None: without end.
    pub life: Option<u64>,
    /// Whether it is the token that the request was admitted by.
    pub is_admitted: bool,
}
