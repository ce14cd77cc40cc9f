//! `catr`: the token anew, with an answer or in its place, once its end is near.
//!
//! The new token says what the old one says, but for its end (`expadd` seconds from now), `iat` and `cti`. It is signed
//! with the key that verified the old one; where that only verifies, the token is good and not renewed. A token is renewed
//! while it is good, leeway not counted, and from `deadline` seconds before its end, 60 if it names none. Unverified: that
//! a `deadline` that is a time begins the renewal too, and that a token in path or query is renewed by redirect where the
//! way is `automatic`.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE};
use http::{HeaderName, HeaderValue};

use super::cbor::{Map, Value, get};
use super::conditions::{seconds, text};
use super::keys::{Key, random};
use super::names::claim;
use super::seal;
use crate::admission::token::{Answer, Presented, Renewal, locate, path_segment};
use crate::config::formats::cat::{Algorithm, Dialect};
use crate::config::model::TokenPlace;
use crate::reason::Reason;

/// Seconds before its end from which a token is renewed that does not say.
const DEADLINE_DEFAULT: u64 = 60;

/// Name of cookie and header field where a token names none.
const NAME_DEFAULT: &str = "CTA-Common-Access-Token";

/// Bytes of a new `cti`.
const ID_BYTES: usize = 16;

/// Parameters of a cookie or header field.
const PARAMETERS_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The way that the token came.
    Automatic,
    Cookie,
    Header,
    Redirect,
}

/// `catr`.
#[derive(Debug)]
pub(super) struct Catr {
    way: Way,
    life: u64,
    deadline: Option<u64>,
    absolute: bool,
    cookie: String,
    header: HeaderName,
    cookie_parameters: Vec<String>,
    header_parameters: Vec<String>,
    status: u16,
}

impl Catr {
    /// Reads one.
    pub(super) fn read(value: &Value, dialect: Dialect) -> Result<Catr, Reason> {
        let map = value.as_map().ok_or(Reason::Malformed)?;
        // Akamai's library has something else as number 5, and what follows one further on.
        let shift = i128::from(dialect == Dialect::Akamai);
        let known = |key: i128| (0..=4).contains(&key) || (5 + shift..=7 + shift).contains(&key);
        if !map.iter().all(|(key, _)| key.as_int().is_some_and(known)) {
            return Err(Reason::UnsupportedClaim);
        }
        let way = match get(map, 0).and_then(Value::as_int) {
            Some(0) => Way::Automatic,
            Some(1) => Way::Cookie,
            Some(2) => Way::Header,
            Some(3) => Way::Redirect,
            Some(_) => return Err(Reason::UnsupportedClaim),
            None => return Err(Reason::Malformed),
        };
        let cookie = get(map, 3).map_or(Ok(NAME_DEFAULT.to_owned()), text)?;
        let header = get(map, 4).map_or(Ok(NAME_DEFAULT.to_owned()), text)?;
        // A cookie's name is made of the same characters as a field's (RFC 6265 section 4.1.1).
        HeaderName::from_bytes(cookie.as_bytes()).map_err(|_| Reason::Malformed)?;
        if !crate::fields::may_be_set(&header) {
            return Err(Reason::UnsupportedClaim);
        }
        let status = match get(map, 7 + shift) {
            Some(status) => status.as_int().and_then(|status| u16::try_from(status).ok()),
            None => Some(302),
        };
        Ok(Catr {
            way,
            life: seconds(get(map, 1).ok_or(Reason::Malformed)?)?,
            deadline: get(map, 2).map(seconds).transpose()?,
            absolute: dialect == Dialect::RustCat,
            cookie,
            header: HeaderName::from_bytes(header.as_bytes()).map_err(|_| Reason::Malformed)?,
            cookie_parameters: parameters(get(map, 5 + shift))?,
            header_parameters: parameters(get(map, 6 + shift))?,
            status: status.filter(|status| (300..400).contains(status)).ok_or(Reason::Malformed)?,
        })
    }

    /// Seconds since the Unix epoch from which a token that ends then is renewed.
    pub(super) fn from(&self, expires: u64) -> u64 {
        match self.deadline {
            Some(time) if self.absolute => time,
            deadline => expires.saturating_sub(deadline.unwrap_or(DEADLINE_DEFAULT)),
        }
    }

    /// The token anew, for a request that it admits. None: it is not yet, or no longer, to be renewed.
    pub(super) fn renew(
        &self,
        algorithm: Algorithm,
        key: &Key,
        claims: &Map,
        request: &Presented<'_>,
    ) -> Option<Renewal> {
        let expires = seconds(get(claims, claim::EXP)?).ok()?;
        let now = request.now_unix;
        if now >= expires || now < self.from(expires) {
            return None;
        }
        let id = random::<ID_BYTES>()?;
        let anew = [
            (claim::EXP, Value::Int(now.saturating_add(self.life).into())),
            (claim::IAT, Value::Int(now.into())),
            (claim::CTI, Value::Bytes(id.to_vec())),
        ];
        let mut claims = claims.clone();
        for (label, value) in anew {
            match claims.iter_mut().find(|(known, _)| *known == Value::Int(label)) {
                Some((_, old)) => *old = value,
                None => claims.push((Value::Int(label), value)),
            }
        }
        let token = seal(algorithm, key, &claims)?;
        let is_due_at_once = now >= self.from(now.saturating_add(self.life));
        let way = match (self.way, request.place) {
            (Way::Automatic, TokenPlace::Cookie) => Way::Cookie,
            (Way::Automatic, TokenPlace::Header) => Way::Header,
            (Way::Automatic, _) => Way::Redirect,
            (way, _) => way,
        };
        let field = |name: HeaderName, text: &str| Some((name, HeaderValue::from_str(text).ok()?));
        Some(match way {
            Way::Cookie => {
                let text = with_parameters(format!("{}={token}", self.cookie), &self.cookie_parameters);
                Renewal::Fields(vec![field(SET_COOKIE, &text)?])
            }
            Way::Header => {
                let text = with_parameters(token, &self.header_parameters);
                Renewal::Fields(vec![field(self.header.clone(), &text)?])
            }
            // The new token would be redirected too, and so on without end.
            Way::Automatic | Way::Redirect if is_due_at_once => return None,
            Way::Automatic | Way::Redirect => {
                let fields = vec![
                    field(LOCATION, &with_token(request, &token))?,
                    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
                ];
                Renewal::Instead(Arc::new(Answer { status: self.status, fields }))
            }
        })
    }
}

fn parameters(value: Option<&Value>) -> Result<Vec<String>, Reason> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let items = value.as_array().filter(|items| items.len() <= PARAMETERS_MAX).ok_or(Reason::Malformed)?;
    let visible = |text: &String| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    items.iter().map(|item| text(item).ok().filter(visible).ok_or(Reason::Malformed)).collect()
}

fn with_parameters(mut text: String, parameters: &[String]) -> String {
    for parameter in parameters {
        text.push_str("; ");
        text.push_str(parameter);
    }
    text
}

/// The target of a request with this token in place of the one it came with: in the path if that was there, else as a
/// parameter, under the name that it has or the policy's first.
fn with_token(request: &Presented<'_>, token: &str) -> String {
    let first = request.names.first().map_or(NAME_DEFAULT, String::as_str);
    let mut target = match request.place {
        TokenPlace::Path => path_segment(first, token),
        _ => String::new(),
    };
    // A reference that begins with two slashes names a host (RFC 3986 section 4.2), and browsers take `\` for one.
    if target.is_empty() && matches!(request.path.as_bytes(), [_, b'/' | b'\\', ..]) {
        target.push_str("/.");
    }
    target.push_str(request.path);
    let mut query: Vec<String> = request.parameters().map(str::to_owned).collect();
    if request.place != TokenPlace::Path {
        let sent = request.query.into_iter().flat_map(|query| query.split('&'));
        let name =
            sent.filter_map(|sent| locate::parameter(sent, request.names)).map(|(name, _)| name).next();
        let name = name.and_then(|name| request.names.get(name)).map_or(first, String::as_str);
        query.push(format!("{name}={token}"));
    }
    if !query.is_empty() {
        target.push('?');
        target.push_str(&query.join("&"));
    }
    target
}
