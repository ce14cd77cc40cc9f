//! A request made of an input: what it asks for, and where the token stands in it.
//!
//! The first three bytes choose: whether the rest is a token or is signed first, the policy, and the request's traits. Then come
//! a line with the path and one with the query; all behind them is the body, the token or what is signed.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use forebay::admission::token::Presented;
use forebay::config::model::TokenPlace;
use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The time of most requests, in seconds since the Unix epoch.
pub const NOW: u64 = 1_900_000_000;

/// The host of every request.
pub const HOST: &str = "live.example.com";

/// What the body of an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A token as it is.
    Raw,
    /// What is signed, and makes a token then.
    Signed,
}

/// An input, taken apart.
#[derive(Clone, Debug)]
pub struct Asked {
    pub mode: Mode,
    /// Which of a target's policies.
    pub policy: usize,
    pub secure: bool,
    pub method: &'static str,
    pub client: IpAddr,
    pub now: u64,
    pub place: TokenPlace,
    /// Without token, as it can stand in a request.
    pub path: String,
    /// The same; empty where there is none.
    pub query: String,
    pub body: Vec<u8>,
}

/// What stands in a request once its token is in place.
#[derive(Debug)]
pub struct Sent {
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
}

impl Asked {
    /// Takes an input apart; None: it is too short.
    pub fn of(input: &[u8]) -> Option<Asked> {
        let (&[mode, policy, traits], rest) = input.split_first_chunk::<3>()?;
        let (path, rest) = line(rest);
        let (query, body) = line(rest);
        let path = sendable(&text(path), "?#");
        Some(Asked {
            mode: if mode & 1 == 0 { Mode::Raw } else { Mode::Signed },
            policy: usize::from(policy),
            secure: traits & 4 == 0,
            method: if traits & 8 == 0 { "GET" } else { "POST" },
            client: if traits & 16 == 0 {
                Ipv4Addr::new(192, 0, 2, 10).into()
            } else {
                Ipv6Addr::LOCALHOST.into()
            },
            now: [NOW, NOW + 1_000_000, 0, u64::MAX][usize::from(traits >> 5 & 3)],
            place: [TokenPlace::Query, TokenPlace::Cookie, TokenPlace::Path, TokenPlace::Header]
                [usize::from(traits & 3)],
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            query: sendable(&text(query), "#"),
            body: body.to_vec(),
        })
    }

    /// The body as text.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The request with a token. With a name it is one value, encoded where it cannot stand there as it is. Without, it is
    /// several parameters, a leading segment if it begins with `/`, or a parameter of the path if it begins with `;`.
    pub fn with_token(&self, token: &str, name: Option<&str>) -> Option<Sent> {
        let token = match name {
            Some(_) => carried(token, self.place),
            None => sendable(token, "#"),
        };
        let named = name.map_or_else(|| token.clone(), |name| format!("{name}={token}"));
        let mut sent = Sent {
            path: self.path.clone(),
            query: (!self.query.is_empty()).then(|| self.query.clone()),
            headers: HeaderMap::new(),
        };
        if token.starts_with('/') && name.is_none() {
            sent.path = format!("{token}{}", self.path).replace('?', "%3f");
            return Some(sent);
        }
        if token.starts_with(';') && name.is_none() {
            sent.path = format!("{}{token}", self.path).replace('?', "%3f");
            return Some(sent);
        }
        match self.place {
            TokenPlace::Path => sent.path = format!("/{named}{}", self.path),
            TokenPlace::Cookie => {
                let pairs = if name.is_none() { named.replace('&', "; CloudFront-") } else { named };
                let cookies = if name.is_none() { format!("CloudFront-{pairs}") } else { pairs };
                sent.headers.insert(COOKIE, HeaderValue::from_str(&cookies).ok()?);
            }
            TokenPlace::Header => {
                let name = HeaderName::from_bytes(name?.as_bytes()).ok()?;
                sent.headers.insert(name, HeaderValue::from_str(&token).ok()?);
            }
            _ if self.query.is_empty() => sent.query = Some(named),
            _ => sent.query = Some(format!("{}&{named}", self.query)),
        }
        Some(sent)
    }

    /// What a policy is shown; `normal` is the path's normal form, without token.
    pub fn presented<'r>(&self, sent: &'r Sent, normal: &'r str) -> Presented<'r> {
        Presented {
            method: self.method,
            secure: self.secure,
            host: HOST,
            path: &sent.path,
            query: sent.query.as_deref(),
            headers: &sent.headers,
            client: self.client,
            ..Presented::get(normal, self.now)
        }
    }
}

/// An input for a signed token, or with `mode` 0 a token as it is.
pub fn input(mode: u8, policy: u8, traits: u8, path: &str, query: &str, body: &[u8]) -> Vec<u8> {
    let mut input = vec![mode, policy, traits];
    input.extend_from_slice(format!("{path}\n{query}\n").as_bytes());
    input.extend_from_slice(body);
    input
}

/// The first line, and all behind it.
pub fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// A token as the node itself would write it there: as it is, or with `%` encoded too.
fn carried(token: &str, place: TokenPlace) -> String {
    let also = match place {
        TokenPlace::Path => "?#",
        TokenPlace::Query => "&#",
        _ => ";",
    };
    let stands = |c: char| c > ' ' && c != '\u{7f}' && !also.contains(c);
    if token.chars().all(stands) { token.to_owned() } else { sendable(token, &format!("%{also}")) }
}

/// A text as it can stand in a request: blanks, control characters and `also` percent-encoded.
fn sendable(text: &str, also: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for c in text.chars() {
        if c <= ' ' || c == '\u{7f}' || also.contains(c) {
            kept.push_str(&format!("%{:02x}", u32::from(c)));
        } else {
            kept.push(c);
        }
    }
    kept
}
