//! A viewer's token: how it goes with each request, and what the server gives in its place.
//!
//! Decides what a player would send: a token in the path of the entry, which relative URIs inherit; one in the query of the
//! entry, after which the playlist's URIs say what is asked for; cookies as a browser keeps them (RFC 6265 section 5); or a field
//! on every request. Whether the token is good, the server says.

use std::net::IpAddr;
use std::time::Duration;

use cookie::Cookie;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use url::Url;

use crate::scenario::Carry;
use crate::token::NAME;

/// The most cookies that are kept; the one that was set first goes for a further one.
const COOKIES_MAX: usize = 16;

/// The longest cookie that is kept, name and value, in bytes (RFC 6265 section 6.1).
const COOKIE_BYTES_MAX: usize = 4096;

/// What a viewer has been given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Purse {
    token: Option<(Box<str>, Carry)>,
    cookies: Vec<Kept>,
}

/// A cookie, and where it goes (RFC 6265 section 5.3).
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    name: Box<str>,
    value: Box<str>,
    /// The host that has set it, or the domain that it named.
    domain: Box<str>,
    /// Whether it goes to that host alone.
    host_only: bool,
    path: Box<str>,
    /// Whether it goes over TLS alone.
    secure: bool,
    /// When it is forgotten; none: with the viewer.
    ends: Option<Instant>,
}

// === impl Purse ===

impl Purse {
    /// Without a token, which changes nothing.
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    pub(crate) fn with(token: String, carry: Carry) -> Self {
        Self { token: Some((token.into(), carry)), cookies: Vec::new() }
    }

    /// The URL of an entry as the portal gives it out: with the token in it, if that is how it is carried. Where it goes by
    /// cookie, the entry has it in the query, and the answer sets the cookie.
    pub(crate) fn entry(&self, entry: &Url) -> Url {
        let mut url = entry.clone();
        match &self.token {
            // A slash of the token is no end of its segment.
            Some((token, Carry::Path)) => {
                url.set_path(&format!("/{NAME}={}{}", token.replace('/', "%2F"), entry.path()));
            }
            Some((token, Carry::Query | Carry::Cookie)) => {
                let before = entry.query().map(|query| format!("{query}&")).unwrap_or_default();
                url.set_query(Some(&format!("{before}{NAME}={token}")));
            }
            Some((_, Carry::Header)) | None => {}
        }
        url
    }

    /// Adds what goes with a request to this URL.
    pub(crate) fn fields(&self, url: &Url, fields: &mut Vec<(HeaderName, HeaderValue)>) {
        if let Some((token, Carry::Header)) = &self.token
            && let Ok(value) = HeaderValue::from_str(token)
        {
            fields.push((HeaderName::from_static(NAME), value));
        }
        if self.cookies.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut matching: Vec<&Kept> =
            self.cookies.iter().filter(|cookie| cookie.goes_to(url, now)).collect();
        // Those of longer paths first, else in the order in which they were set (RFC 6265 section 5.4).
        matching.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let text =
            matching.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect::<Vec<_>>();
        if let (false, Ok(value)) = (text.is_empty(), HeaderValue::from_str(&text.join("; "))) {
            fields.push((COOKIE, value));
        }
    }

    /// Takes what an answer gives (`Set-Cookie`).
    pub(crate) fn take(&mut self, url: &Url, headers: &HeaderMap) {
        for line in headers.get_all(SET_COOKIE) {
            let Some(kept) = line.to_str().ok().and_then(|line| Kept::read(line, url, Instant::now())) else {
                continue;
            };
            self.cookies.retain(|other| !other.is_replaced_by(&kept));
            if kept.ends.is_some_and(|ends| ends <= Instant::now()) {
                continue;
            }
            if self.cookies.len() == COOKIES_MAX {
                self.cookies.remove(0);
            }
            self.cookies.push(kept);
        }
    }
}

// === impl Kept ===

impl Kept {
    /// What a line sets for this URL; none: nothing that a browser would keep.
    fn read(line: &str, url: &Url, now: Instant) -> Option<Self> {
        let cookie = Cookie::parse(line).ok()?;
        let host = url.host_str()?;
        let named = cookie.domain().map(|domain| domain.trim_start_matches('.').to_ascii_lowercase());
        let named = named.filter(|domain| !domain.is_empty());
        let bytes = cookie.name().len() + cookie.value().len();
        let secure = cookie.secure().unwrap_or_default();
        let foreign = named.as_ref().is_some_and(|domain| !is_below(host, domain));
        if bytes > COOKIE_BYTES_MAX
            || cookie.name().is_empty()
            || foreign
            || (secure && url.scheme() != "https")
        {
            return None;
        }
        let path = cookie.path().filter(|path| path.starts_with('/')).unwrap_or_else(|| folder(url.path()));
        // No date is compared: a server that means a time to come says it with Max-Age too.
        let ended = cookie.expires_datetime().is_some_and(|date| date.unix_timestamp() <= 0);
        let life = match cookie.max_age() {
            Some(age) => Some(Duration::try_from(age).unwrap_or_default()),
            None => ended.then_some(Duration::ZERO),
        };
        Some(Self {
            name: cookie.name().into(),
            value: cookie.value().into(),
            host_only: named.is_none(),
            domain: named.unwrap_or_else(|| host.to_owned()).into(),
            path: path.into(),
            secure,
            ends: life.and_then(|life| now.checked_add(life)),
        })
    }

    fn goes_to(&self, url: &Url, now: Instant) -> bool {
        let Some(host) = url.host_str() else { return false };
        let host = if self.host_only { host == &*self.domain } else { is_below(host, &self.domain) };
        host && self.covers(url.path())
            && (!self.secure || url.scheme() == "https")
            && self.ends.is_none_or(|ends| now < ends)
    }

    /// Whether a path is the cookie's own or below it (RFC 6265 section 5.1.4).
    fn covers(&self, path: &str) -> bool {
        path.strip_prefix(&*self.path)
            .is_some_and(|rest| rest.is_empty() || self.path.ends_with('/') || rest.starts_with('/'))
    }

    fn is_replaced_by(&self, other: &Self) -> bool {
        (&self.name, &self.domain, &self.path) == (&other.name, &other.domain, &other.path)
    }
}

/// Whether a host is a domain, or below it (RFC 6265 section 5.1.3). Addresses have nothing below them.
fn is_below(host: &str, domain: &str) -> bool {
    let is_address = host.parse::<IpAddr>().is_ok() || host.starts_with('[');
    host == domain || (!is_address && host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
}

/// The path of a cookie that names none: that of the request up to its last slash (RFC 6265 section 5.1.4).
fn folder(path: &str) -> &str {
    match path.rfind('/') {
        Some(end) if end > 0 => &path[..end],
        _ => "/",
    }
}

#[cfg(test)]
mod tests;
