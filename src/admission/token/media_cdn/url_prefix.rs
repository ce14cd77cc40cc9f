//! The prefix of URLs that a Media CDN token is for, and the check that holds the token to it.
//!
//! The host is compared whole, so that `https://a` is no prefix of `https://a.b`; the path need not end with a segment.

use super::super::terms::Check;
use super::super::{Presented, acl, checks};
use crate::admission::request::host_of;
use crate::reason::Reason;

/// A prefix of URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPrefix {
    secure: bool,
    /// In lower case, without the scheme's own port.
    authority: String,
    path: String,
    query: Option<String>,
}

impl UrlPrefix {
    /// Takes a prefix apart. None: it does not begin with scheme and host.
    pub fn parse(url: &str) -> Option<UrlPrefix> {
        let (secure, rest) = match url.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, url.strip_prefix("http://")?),
        };
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (rest, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        let authority = without_port(authority, secure);
        (!authority.is_empty()).then(|| UrlPrefix { secure, authority, path: path.to_owned(), query })
    }

    /// The pattern of the paths that it covers, where one can say it.
    pub(super) fn pattern(&self) -> Option<String> {
        if self.query.is_some() { None } else { acl::from_prefix(&self.path) }
    }
}

impl std::fmt::Display for UrlPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)?;
        self.query.as_ref().map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

impl Check for UrlPrefix {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        if without_port(request.host, request.secure) != self.authority {
            return Err(Reason::Host);
        }
        let covered = match &self.query {
            None => acl::begins(&self.path, request.normal),
            Some(query) => {
                // With a query, the path before it is whole.
                let found = request.parameters().collect::<Vec<_>>().join("&");
                *self.path == *request.normal && found.starts_with(query.as_str())
            }
        };
        if covered && request.secure == self.secure { Ok(()) } else { Err(Reason::Path) }
    }

    fn repeated(&self) -> Option<(&'static str, String)> {
        checks::repeated_host(host_of(&self.authority))
    }
}

/// An authority in lower case, without the scheme's own port.
fn without_port(authority: &str, secure: bool) -> String {
    let port = if secure { ":443" } else { ":80" };
    authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn check(prefix: &str, secure: bool, host: &str, path: &str, query: Option<&str>) -> Result<(), Reason> {
        let names = ["edge-cache-token".to_owned()];
        let request = Presented { secure, host, query, names: &names, ..Presented::get(path, 0) };
        UrlPrefix::parse(prefix).unwrap().check(&request)
    }

    #[test]
    fn scheme_and_host_are_compared_whole_and_the_path_from_its_beginning() {
        for prefix in [
            "https://a.example",
            "https://A.example/",
            "https://a.example:443/live/ch",
            "https://a.example/live/ch1/a.ts",
        ] {
            assert_eq!(check(prefix, true, "a.example", "/live/ch1/a.ts", None), Ok(()), "{prefix}");
            assert_eq!(check(prefix, true, "A.example:443", "/live/ch1/a.ts", None), Ok(()), "{prefix}");
            for host in ["a.example.org", "b.a.example", "a.example:8443", "a.exampl", ""] {
                assert_eq!(check(prefix, true, host, "/live/ch1/a.ts", None), Err(Reason::Host), "{host}");
            }
            assert_eq!(check(prefix, false, "a.example", "/live/ch1/a.ts", None), Err(Reason::Path));
        }
        let live = "https://a.example/live/";
        for path in ["/live", "/vod/a.ts", "/live/../vod/a.ts", "/live/%2e%2e/vod/a.ts", "/"] {
            assert_eq!(check(live, true, "a.example", path, None), Err(Reason::Path), "{path}");
        }
    }

    #[test]
    fn a_session_token_repeats_the_host() {
        let (name, text) = UrlPrefix::parse("https://A.example:8443/live/").unwrap().repeated().unwrap();
        let repeated = checks::of_repeated(name, &text).unwrap();
        let of = |host| Presented { host, ..Presented::get("/x", 0) };
        assert_eq!(repeated.check(&of("a.example:8443")), Ok(()));
        assert_eq!(repeated.check(&of("b.example:8443")), Err(Reason::Host));
    }

    #[test]
    fn a_prefix_with_a_query_is_for_that_path() {
        let prefix = "http://a/p?x=1";
        assert_eq!(check(prefix, false, "a", "/p", Some("x=1")), Ok(()));
        assert_eq!(check(prefix, false, "a", "/p", Some("edge-cache-token=t&x=1&y=2")), Ok(()));
        for (path, query) in [("/p", Some("x=2")), ("/p", None), ("/p2", Some("x=1")), ("/p/q", Some("x=1"))]
        {
            assert_eq!(check(prefix, false, "a", path, query), Err(Reason::Path), "{path} {query:?}");
        }
        assert_eq!(UrlPrefix::parse(prefix).unwrap().pattern(), None);
        assert_eq!(UrlPrefix::parse("http://a/live/").unwrap().pattern().as_deref(), Some("/live/*"));
        assert_eq!(UrlPrefix::parse(prefix).unwrap().to_string(), prefix);
    }

    #[test]
    fn what_has_no_scheme_or_host_is_no_prefix() {
        for text in ["", "/live/", "a.example/live/", "ftp://a/", "https://", "http:///live/", "HTTP://a/"] {
            assert_eq!(UrlPrefix::parse(text), None, "{text}");
        }
    }
}
