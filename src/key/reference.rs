//! What a URI reference refers to (RFC 3986 section 4.2): something beside the document, a path of its host, another
//! host, or nothing that HTTP fetches; and its path and query, where it leads to the same site.

use std::borrow::Cow;

use crate::admission::request;
use crate::key::target;

/// A reference, as far as one is told from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// Relative to the document, its query included (`?x`).
    Relative,
    /// A path from the root of the document's host.
    Rooted,
    /// An absolute `http` or `https` URL, or one without scheme (`//host/path`).
    Url {
        /// Its host, without port.
        host: &'a str,
        /// Where in the reference the authority has ended.
        path_at: usize,
    },
    /// Anything else: `data:`, `skd:`, a bare fragment, nothing, a URL with user information, and what browsers take to
    /// another host than others.
    Other,
}

impl<'a> Reference<'a> {
    /// Reads a reference.
    pub fn of(uri: &'a str) -> Reference<'a> {
        if is_read_in_two_ways(uri) {
            return Reference::Other;
        }
        let rest = match scheme(uri) {
            Some(scheme) if is_http(scheme) => uri.get(scheme.len() + 1..).unwrap_or_default(),
            Some(_) => return Reference::Other,
            None => uri,
        };
        if let Some(authority) = rest.strip_prefix("//") {
            let len = authority.find(['/', '?', '#']).unwrap_or(authority.len());
            let host = host_of(authority.get(..len).unwrap_or_default());
            let path_at = uri.len() - authority.len() + len;
            return host.map_or(Reference::Other, |host| Reference::Url { host, path_at });
        }
        if rest.len() != uri.len() || uri.is_empty() || uri.starts_with('#') {
            // `http:` without an authority is nothing that players agree on.
            return Reference::Other;
        }
        if rest.starts_with('/') { Reference::Rooted } else { Reference::Relative }
    }
}

/// Path and query of a reference in a document of this path (RFC 3986 section 5.2.2), not yet in normal form: dot segments
/// are left in, a fragment is left out. `is_own` says whether a URL is the site's, by what stands before its path
/// (`https://HOST:PORT` or `//HOST:PORT`) and its host without port. None: it leads elsewhere, or to nothing that HTTP
/// fetches, or begins with a variable of a playlist that nobody knows.
pub fn resolve<'a>(
    uri: &'a str,
    document: &str,
    is_own: impl FnOnce(&str, &str) -> bool,
) -> Option<(Cow<'a, str>, Option<&'a str>)> {
    let uri = uri.split('#').next().unwrap_or_default();
    let (target, is_whole) = match Reference::of(uri) {
        Reference::Url { host, path_at } => {
            let (before, target) = uri.split_at_checked(path_at)?;
            (is_own(before, host).then_some(target)?, true)
        }
        Reference::Rooted => (uri, true),
        Reference::Relative if uri.starts_with("{$") => return None,
        Reference::Relative => (uri, false),
        Reference::Other => return None,
    };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let path = match (path, is_whole) {
        ("", true) => Cow::Borrowed("/"),
        ("", false) => Cow::Owned(document.to_owned()),
        (path, true) => Cow::Borrowed(path),
        (path, false) => {
            let folder = document.rfind('/').and_then(|last| document.get(..=last)).unwrap_or("/");
            Cow::Owned([folder, path].concat())
        }
    };
    Some((path, query))
}

/// The path of a reference or of what follows its authority: all before query and fragment.
pub fn path_of(uri: &str) -> &str {
    uri.find(['?', '#']).and_then(|end| uri.get(..end)).unwrap_or(uri)
}

/// The path, in normal form, that a reference in a document at `base` (a path in normal form) leads to, whatever host it
/// names. None: it leads to nothing that HTTP fetches.
pub fn path_beside(uri: &str, base: &str) -> Option<String> {
    let (path, _) = resolve(uri, base, |_, _| true)?;
    target::path(&path, false).ok().map(Cow::into_owned)
}

/// Whether two hosts are the same, in any case and with or without the dot that ends a whole name.
pub fn is_same_host(one: &str, other: &str) -> bool {
    let whole = |host| str::strip_suffix(host, ".").unwrap_or(host);
    whole(one).eq_ignore_ascii_case(whole(other))
}

/// Whether browsers read a reference as one with another host than RFC 3986 does: they leave control characters out, and
/// take `\` for `/`.
fn is_read_in_two_ways(uri: &str) -> bool {
    let mut first = uri.bytes();
    let slashes = [first.next(), first.next()];
    let is_slash = |byte: &Option<u8>| matches!(byte, Some(b'/' | b'\\'));
    let is_authority = slashes.iter().all(is_slash) && slashes.contains(&Some(b'\\'));
    is_authority || uri.bytes().any(|byte| byte.is_ascii_control())
}

/// The scheme of a URI that has one (RFC 3986 section 3.1).
fn scheme(uri: &str) -> Option<&str> {
    let (scheme, _) = uri.split_once(':')?;
    let mut letters = scheme.bytes();
    let first = letters.next()?.is_ascii_alphabetic();
    let others = letters.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    (first && others).then_some(scheme)
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// The host of an authority, brackets of an IPv6 address left out; None where there is none, or user information.
fn host_of(authority: &str) -> Option<&str> {
    if authority.contains('@') {
        return None;
    }
    Some(request::host_of(authority)).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_told_by_its_beginning() {
        let url = |host, path_at| Reference::Url { host, path_at };
        for (uri, expected) in [
            ("a.ts", Reference::Relative),
            ("../a.ts", Reference::Relative),
            ("?x=1", Reference::Relative),
            ("./a:b.ts", Reference::Relative),
            ("1a:b", Reference::Relative),
            ("/a.ts", Reference::Rooted),
            ("https://h.example/a", url("h.example", 17)),
            ("HTTP://h.example:8080?x", url("h.example", 21)),
            ("//h.example", url("h.example", 11)),
            ("http://[::1]:80/a", url("::1", 15)),
            ("data:text/plain,a", Reference::Other),
            ("skd://key", Reference::Other),
            ("seg:1.ts", Reference::Other),
            ("http:a", Reference::Other),
            ("http:/a", Reference::Other),
            ("http://user@h.example/", Reference::Other),
            ("https:///a", Reference::Other),
            ("/\\h.example/a", Reference::Other),
            ("\\\\h.example/a", Reference::Other),
            ("\\/h.example/a", Reference::Other),
            ("/\t/h.example/a", Reference::Other),
            ("ht\ttps://h.example/a", Reference::Other),
            ("https://h.example\\.own.example/a", url("h.example\\.own.example", 30)),
            ("video\\a.ts", Reference::Relative),
            ("#top", Reference::Other),
            ("", Reference::Other),
        ] {
            assert_eq!(Reference::of(uri), expected, "{uri}");
        }
    }

    #[test]
    fn a_reference_to_the_own_host_is_a_path_and_a_query() {
        let own = |before: &str, host: &str| before.ends_with("own.example:8080") && host == "own.example";
        for (uri, expected) in [
            ("a.ts", Some(("/d/e/a.ts", None))),
            ("../a.ts?x=1#t", Some(("/d/e/../a.ts", Some("x=1")))),
            ("?x?y", Some(("/d/e/f", Some("x?y")))),
            ("/a.ts?", Some(("/a.ts", Some("")))),
            ("http://own.example:8080/a.ts", Some(("/a.ts", None))),
            ("//own.example:8080?x", Some(("/", Some("x")))),
            ("?u=http://other.example", Some(("/d/e/f", Some("u=http://other.example")))),
            ("a{$x}.ts", Some(("/d/e/a{$x}.ts", None))),
            ("http://own.example/a.ts", None),
            ("https://other.example/a.ts", None),
            ("{$base}/a.ts", None),
            ("data:text/plain,a", None),
            ("skd://key", None),
            ("#t", None),
            ("", None),
        ] {
            let found = resolve(uri, "/d/e/f", own);
            assert_eq!(found, expected.map(|(path, query)| (Cow::Borrowed(path), query)), "{uri}");
        }
    }

    #[test]
    fn a_reference_leads_to_a_path() {
        for (uri, expected) in [
            ("a.ts?x=1", Some("/d/a.ts")),
            ("../a.ts", Some("/a.ts")),
            ("./e/../a%2Dts", Some("/d/a-ts")),
            ("?x", Some("/d/v.m3u8")),
            ("/a.ts#f", Some("/a.ts")),
            ("https://h.example/a/b.ts?x", Some("/a/b.ts")),
            ("//h.example", Some("/")),
            ("data:,a", None),
        ] {
            assert_eq!(path_beside(uri, "/d/v.m3u8").as_deref(), expected, "{uri}");
        }
    }

    #[test]
    fn hosts_are_the_same_in_any_case() {
        assert!(is_same_host("A.example.", "a.EXAMPLE"));
        assert!(!is_same_host("a.example", "b.a.example"));
    }
}
