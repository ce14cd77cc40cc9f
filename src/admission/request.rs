//! The form of a request: what no node answers, whatever is asked for.
//!
//! Decides on method, target and body announcement, and what of an authority is the host, from nothing but the request
//! and two settings of the configuration. Does not look up the site and makes no response: `proxy` turns every
//! [`Refusal`] into one.

use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Uri};

use crate::reason::Reason;

/// Why a request is refused before anything is looked up for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The target is neither a path nor an absolute `http` or `https` URL (RFC 9112 section 3.2).
    TargetForm,
    /// The target holds a malformed percent-encoding or a control character (RFC 3986 section 2.1).
    TargetEncoding,
    /// `Host` is no host, or stands there twice (RFC 9112 section 3.2).
    HostForm,
    /// The target is longer than `limits.request_target`.
    TargetLength,
    /// A GET or HEAD announces a body.
    Body,
    /// No site answers for the host.
    Host,
    /// The site does not take the method; the answer names those it takes ([`allow_value`]).
    Method,
    /// A `PURGE` from a client that is not in `purge.method_from`.
    PurgeAddress,
    /// The client has asked for keys more often than `limits.key_requests` allows.
    KeyRate,
    /// The request has passed this node before (RFC 8586).
    Loop,
    /// The token does not admit the request.
    Token(Reason),
}

impl Refusal {
    /// The status of the answer.
    pub const fn status(self) -> StatusCode {
        match self {
            Refusal::TargetForm | Refusal::TargetEncoding | Refusal::HostForm | Refusal::Body => {
                StatusCode::BAD_REQUEST
            }
            Refusal::TargetLength => StatusCode::URI_TOO_LONG,
            Refusal::Host => StatusCode::MISDIRECTED_REQUEST,
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::KeyRate => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Loop => StatusCode::LOOP_DETECTED,
            Refusal::PurgeAddress | Refusal::Token(_) => StatusCode::FORBIDDEN,
        }
    }

    /// The word for this refusal; for a token, the word of its reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::TargetForm => "target_form",
            Refusal::TargetEncoding => "target_encoding",
            Refusal::HostForm => "host_form",
            Refusal::TargetLength => "target_length",
            Refusal::Body => "body",
            Refusal::Host => "host",
            Refusal::Method => "method",
            Refusal::PurgeAddress => "purge_address",
            Refusal::KeyRate => "key_rate",
            Refusal::Loop => "loop",
            Refusal::Token(reason) => reason.as_str(),
        }
    }
}

/// Checks what needs no site: the target's form and length (at most `target_bytes_max` bytes of path and query), and
/// that GET and HEAD announce no body.
///
/// # Errors
/// [`Refusal::TargetForm`], [`Refusal::TargetLength`] or [`Refusal::Body`].
pub fn check_form(
    method: &Method,
    target: &Uri,
    headers: &HeaderMap,
    target_bytes_max: usize,
) -> Result<(), Refusal> {
    if target.path_and_query().is_some_and(|text| text.as_str().len() > target_bytes_max) {
        return Err(Refusal::TargetLength);
    }
    if !has_answerable_form(target) {
        return Err(Refusal::TargetForm);
    }
    if matches!(*method, Method::GET | Method::HEAD) && announces_body(headers) {
        return Err(Refusal::Body);
    }
    Ok(())
}

/// Checks that the site takes the method.
///
/// # Errors
/// [`Refusal::Method`].
pub fn check_method(method: &Method, methods: &[Method]) -> Result<(), Refusal> {
    if methods.contains(method) { Ok(()) } else { Err(Refusal::Method) }
}

/// The value of `Allow` for a site's methods, made once per configuration.
pub fn allow_value(methods: &[Method]) -> HeaderValue {
    let list = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    // A method consists of token characters, all of which a header value may hold.
    HeaderValue::from_str(&list).unwrap_or(HeaderValue::from_static(""))
}

/// The host of an authority, or of a pattern of one: without port, brackets kept off.
pub fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if !host.contains(':') => host,
        _ => authority,
    }
}

/// A path, alone or after scheme and host. User information is not taken (RFC 9110 section 4.2.4).
fn has_answerable_form(target: &Uri) -> bool {
    let web_scheme = target.scheme_str().is_none_or(|scheme| matches!(scheme, "http" | "https"));
    let whole = target.scheme().is_some() == target.authority().is_some();
    let no_user = target.authority().is_none_or(|authority| !authority.as_str().contains('@'));
    target.path().starts_with('/') && web_scheme && whole && no_user
}

/// Whether the header announces a body; a length that is no number counts as one.
fn announces_body(headers: &HeaderMap) -> bool {
    let has_length =
        |value: &HeaderValue| value.is_empty() || value.as_bytes().iter().any(|byte| *byte != b'0');
    headers.contains_key(TRANSFER_ENCODING) || headers.get_all(CONTENT_LENGTH).iter().any(has_length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn check(method: &Method, target: &str, headers: &[(&'static str, &'static str)]) -> Result<(), Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        check_form(method, &target.parse().unwrap(), &map, 20)
    }

    #[test]
    fn a_path_and_an_absolute_url_are_taken_and_other_forms_refused() {
        for target in ["/", "/live/a.ts?x=1", "http://host/live", "https://host:8443/", "http://host"] {
            assert_eq!(check(&Method::GET, target, &[]), Ok(()), "{target}");
        }
        for target in ["*", "host:443", "ftp://host/a", "http://user@host/a"] {
            assert_eq!(check(&Method::GET, target, &[]), Err(Refusal::TargetForm), "{target}");
        }
    }

    #[test]
    fn a_target_longer_than_the_limit_is_refused() {
        assert_eq!(check(&Method::GET, "/234567890?234567890", &[]), Ok(()));
        assert_eq!(check(&Method::GET, "http://host/234567890?234567890", &[]), Ok(()));
        assert_eq!(check(&Method::GET, "/234567890?2345678901", &[]), Err(Refusal::TargetLength));
    }

    #[test]
    fn get_and_head_bring_no_body() {
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(check(&method, "/", &[("content-length", "0")]), Ok(()));
            for header in [
                ("content-length", "1"),
                ("content-length", "+0"),
                ("content-length", ""),
                ("transfer-encoding", "chunked"),
            ] {
                assert_eq!(check(&method, "/", &[header]), Err(Refusal::Body), "{header:?}");
            }
            let two = [("content-length", "0"), ("content-length", "5")];
            assert_eq!(check(&method, "/", &two), Err(Refusal::Body));
        }
        assert_eq!(check(&Method::POST, "/", &[("content-length", "5")]), Ok(()));
    }

    #[test]
    fn a_port_is_no_part_of_the_host() {
        for (authority, host) in [
            ("a.b:80", "a.b"),
            ("a.b:", "a.b"),
            ("a.b:*", "a.b"),
            ("a.b", "a.b"),
            ("[::1]:80", "::1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
            ("", ""),
        ] {
            assert_eq!(host_of(authority), host, "{authority}");
        }
    }

    #[test]
    fn a_method_that_the_site_does_not_take_is_refused_and_the_others_are_named() {
        let methods = [Method::GET, Method::HEAD, Method::OPTIONS];
        assert_eq!(check_method(&Method::HEAD, &methods), Ok(()));
        assert_eq!(check_method(&Method::POST, &methods), Err(Refusal::Method));
        assert_eq!(check_method(&Method::from_bytes(b"get").unwrap(), &methods), Err(Refusal::Method));
        assert_eq!(allow_value(&methods), "GET, HEAD, OPTIONS");
        assert_eq!(allow_value(&[]), "");
    }

    #[test]
    fn every_refusal_has_its_status_and_word() {
        let all = [
            (Refusal::TargetForm, 400, "target_form"),
            (Refusal::TargetEncoding, 400, "target_encoding"),
            (Refusal::HostForm, 400, "host_form"),
            (Refusal::TargetLength, 414, "target_length"),
            (Refusal::Body, 400, "body"),
            (Refusal::Host, 421, "host"),
            (Refusal::Method, 405, "method"),
            (Refusal::PurgeAddress, 403, "purge_address"),
            (Refusal::Token(Reason::BadMac), 403, "bad_mac"),
        ];
        for (refusal, status, word) in all {
            assert_eq!((refusal.status().as_u16(), refusal.as_str()), (status, word));
        }
    }
}
