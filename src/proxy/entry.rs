//! The entry: which host a request is for, and its target in the one form that everything after goes by.
//!
//! Brings the request itself into that form, so that rules, key, log and a request that passes through see the same
//! target. What was sent is kept for the token alone, since issuers sign what they link.

use http::Uri;
use http::header::{HOST, HeaderValue};
use pingora::http::RequestHeader;
use pingora::http::authority::{RawTargetAuthority, raw_target_authority};

use crate::admission::request::Refusal;
use crate::key::target;
use crate::site::Site;

/// A target as it was sent, where that is not its normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Path, with the token's leading segment.
    pub path: String,
    /// Query.
    pub query: Option<String>,
}

/// The authority that a request is for: of an absolute target, else of `Host` (RFC 9112 section 3.2.2, RFC 9113 section
/// 8.3.1). Where both stand, the engine has made sure that they are the same.
///
/// # Errors
/// [`Refusal::TargetForm`] for a target that is neither a path nor an absolute `http` or `https` URL,
/// [`Refusal::HostForm`] for several `Host` fields, or one that is no host with or without a port.
pub(crate) fn authority(header: &RequestHeader) -> Result<&str, Refusal> {
    let of_target = match absolute(header)? {
        Some((authority, _)) => Some(authority),
        None => header.uri.authority().map(|authority| authority.as_str().as_bytes()),
    };
    let mut hosts = header.headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(Refusal::HostForm);
    }
    let authority = of_target.or(host.map(HeaderValue::as_bytes)).unwrap_or_default();
    std::str::from_utf8(authority).ok().filter(|text| is_authority(text)).ok_or(Refusal::HostForm)
}

/// Brings a request's target into its normal form; `has_token` says that it may have one in its path. Gives the length of the token's leading segment, which stands before
/// it as it was sent, and the target as it was sent, where it has changed.
///
/// # Errors
/// [`Refusal::TargetEncoding`], or [`Refusal::TargetLength`] where the normal form is longer than `bytes_max`.
pub(crate) fn normalise(
    header: &mut RequestHeader,
    site: &Site,
    bytes_max: usize,
    has_token: bool,
) -> Result<(usize, Option<Sent>), Refusal> {
    let absolute = absolute(header)?;
    let raw = absolute.map_or(header.raw_path(), |(_, rest)| rest);
    let text = target::text(raw);
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*text, None),
    };
    let normal = if has_token { site.normal(path, query) } else { site.normal_without_token(path, query) };
    let normal = normal.map_err(|target::NotATarget| Refusal::TargetEncoding)?;
    let prefix = normal.token.len();
    let same = absolute.is_none()
        && header.raw_path_is_utf8()
        && path.get(prefix..) == Some(&*normal.path)
        && normal.query.as_deref() == query;
    if same {
        return Ok((prefix, None));
    }
    let mut whole = format!("{}{}", normal.token, normal.path);
    if let Some(query) = &normal.query {
        whole.push('?');
        whole.push_str(query);
    }
    if whole.len() - prefix > bytes_max {
        return Err(Refusal::TargetLength);
    }
    let sent = Sent { path: path.to_owned(), query: query.map(str::to_owned) };
    let host = absolute.and_then(|(authority, _)| HeaderValue::from_bytes(authority).ok());
    header.set_uri(with_target(&header.uri, &whole).ok_or(Refusal::TargetForm)?);
    if let Some(host) = host {
        // A static name and a value that was checked.
        let _ = header.insert_header(HOST, host);
    }
    Ok((prefix, Some(sent)))
}

/// The authority of an absolute target, and what follows it.
type Absolute<'a> = Option<(&'a [u8], &'a [u8])>;

fn absolute(header: &RequestHeader) -> Result<Absolute<'_>, Refusal> {
    let raw = header.raw_path();
    if raw.first() == Some(&b'/') {
        return Ok(None);
    }
    match raw_target_authority(raw) {
        RawTargetAuthority::Absolute { scheme, authority, path_and_query }
            if scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https") =>
        {
            Ok(Some((authority, path_and_query)))
        }
        _ => Err(Refusal::TargetForm),
    }
}

fn with_target(uri: &Uri, target: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2), or nothing.
fn is_authority(text: &str) -> bool {
    let is_host = |host: &str| {
        host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte))
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok())
    };
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        ("", port)
    } else {
        text.find(':').map_or((text, ""), |colon| text.split_at(colon))
    };
    is_host(host) && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

#[cfg(test)]
mod tests;
