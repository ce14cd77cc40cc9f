//! Cross-origin sharing: which pages may read a site's answers, and the answer to a preflight.
//!
//! Decides the headers only. Answers and denials alike carry [`Cors::headers`], since a player that may not read a
//! denial takes it for a network error and tries again for ever. A preflight passes without a token: browsers send
//! none with it. Credentialed sharing (cookies) is offered to origins that are named. Called by `proxy`.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, Method};

use super::request::allow_value;
use crate::config::model;

/// Bytes of `Access-Control-Request-Headers` that are echoed; a longer list is answered with [`ALLOWED_HEADERS`].
pub const REQUEST_HEADERS_BYTES_MAX: usize = 1024;

/// Request headers allowed where the preflight's own list is not echoed.
const ALLOWED_HEADERS: &str = "Range, If-Range, If-None-Match, If-Modified-Since, Cache-Control, Pragma";

/// Response headers that a page may read.
const EXPOSED_HEADERS: &str =
    "Cache-Status, Age, Server-Timing, CMSD-Static, CMSD-Dynamic, Content-Range, Content-Length, Date";

/// A header to add to an answer.
pub type Header = (HeaderName, HeaderValue);

/// A site's rules for cross-origin reading, with every value made once.
#[derive(Clone, Debug)]
pub struct Cors {
    /// None: any origin.
    origins: Option<Vec<String>>,
    /// Whether pages may send cookies. Never where any origin may read.
    credentials: bool,
    methods: HeaderValue,
    max_age: HeaderValue,
}

impl Cors {
    /// Prepares the rules of a site that takes `methods`.
    pub fn from_config(config: &model::Cors, methods: &[Method]) -> Cors {
        Cors {
            origins: config.origins.clone(),
            credentials: config.credentials && config.origins.is_some(),
            methods: allow_value(methods),
            max_age: HeaderValue::from(config.max_age.as_secs()),
        }
    }

    /// The headers of an answer or denial to a request with these headers. `Vary` is to be appended to what the
    /// answer has, the others replace what the origin sent.
    pub fn headers(&self, request: &HeaderMap) -> impl Iterator<Item = Header> + use<> {
        let origin = self.allowed_origin(request);
        let exposed = origin.is_some().then_some(HeaderValue::from_static(EXPOSED_HEADERS));
        let vary = self.origins.is_some().then_some(HeaderValue::from_static("Origin"));
        let credentials = self.allowed_credentials(&origin);
        present([
            (ACCESS_CONTROL_ALLOW_ORIGIN, origin),
            (ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials),
            (ACCESS_CONTROL_EXPOSE_HEADERS, exposed),
            (VARY, vary),
        ])
    }

    /// The headers of the answer (204, no body) to a preflight; one from an origin that is not listed gets no
    /// permission.
    pub fn preflight(&self, request: &HeaderMap) -> impl Iterator<Item = Header> + use<> {
        let origin = self.allowed_origin(request);
        let allowed = origin.is_some();
        let headers = request.get(ACCESS_CONTROL_REQUEST_HEADERS).filter(|list| may_be_echoed(list));
        let headers = headers.cloned().unwrap_or(HeaderValue::from_static(ALLOWED_HEADERS));
        let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        let credentials = self.allowed_credentials(&origin);
        present([
            (ACCESS_CONTROL_ALLOW_ORIGIN, origin),
            (ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials),
            (ACCESS_CONTROL_ALLOW_METHODS, allowed.then(|| self.methods.clone())),
            (ACCESS_CONTROL_ALLOW_HEADERS, allowed.then_some(headers)),
            (ACCESS_CONTROL_MAX_AGE, allowed.then(|| self.max_age.clone())),
            (VARY, Some(HeaderValue::from_static(vary))),
        ])
    }

    /// `true` for an origin whose pages may send cookies.
    fn allowed_credentials(&self, origin: &Option<HeaderValue>) -> Option<HeaderValue> {
        (self.credentials && origin.is_some()).then_some(HeaderValue::from_static("true"))
    }

    /// `*` where any origin may read, else the request's origin if it is listed.
    fn allowed_origin(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let Some(origins) = &self.origins else {
            return Some(HeaderValue::from_static("*"));
        };
        let origin = request.get(ORIGIN)?;
        let is_listed = |listed: &String| listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
        origins.iter().any(is_listed).then(|| origin.clone())
    }
}

/// Whether a request is a preflight: it asks for permission and is answered by the node itself.
pub fn is_preflight(method: &Method, request: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && request.contains_key(ORIGIN)
        && request.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whether a list of header names is short, and a list of names.
fn may_be_echoed(list: &HeaderValue) -> bool {
    let is_name_or_comma = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(byte);
    !list.is_empty()
        && list.len() <= REQUEST_HEADERS_BYTES_MAX
        && list.as_bytes().iter().all(is_name_or_comma)
}

fn present<const N: usize>(headers: [(HeaderName, Option<HeaderValue>); N]) -> impl Iterator<Item = Header> {
    headers.into_iter().filter_map(|(name, value)| Some((name, value?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use std::time::Duration;

    fn cors(origins: Option<&[&str]>) -> Cors {
        let origins = origins.map(|list| list.iter().map(|origin| (*origin).to_owned()).collect());
        let config = model::Cors { origins, credentials: false, max_age: Duration::from_secs(600) };
        Cors::from_config(&config, &[Method::GET, Method::HEAD, Method::OPTIONS])
    }

    fn request(headers: &[(&'static str, &str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn shown(headers: impl Iterator<Item = Header>) -> Vec<String> {
        headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    const EXPOSED: &str = "access-control-expose-headers: \
        Cache-Status, Age, Server-Timing, CMSD-Static, CMSD-Dynamic, Content-Range, Content-Length, Date";

    #[test]
    fn any_origin_gets_a_star_that_caches_need_not_vary_on() {
        for headers in [request(&[]), request(&[("origin", "https://a.example")])] {
            let expected = ["access-control-allow-origin: *", EXPOSED];
            assert_eq!(shown(cors(None).headers(&headers)), expected);
        }
    }

    #[test]
    fn a_listed_origin_is_echoed_and_others_get_nothing_but_vary() {
        let cors = cors(Some(&["https://a.example", "https://b.example"]));
        let listed = request(&[("origin", "https://B.example")]);
        let expected = ["access-control-allow-origin: https://B.example", EXPOSED, "vary: Origin"];
        assert_eq!(shown(cors.headers(&listed)), expected);
        for other in ["https://c.example", "https://a.example.evil", "null", "*"] {
            assert_eq!(shown(cors.headers(&request(&[("origin", other)]))), ["vary: Origin"], "{other}");
        }
        assert_eq!(shown(cors.headers(&request(&[]))), ["vary: Origin"]);
    }

    #[test]
    fn an_origin_that_is_named_may_send_cookies_where_the_site_says_so() {
        let cors = Cors { credentials: true, ..cors(Some(&["https://a.example"])) };
        let allowed = "access-control-allow-credentials: true".to_owned();
        let listed = request(&[("origin", "https://a.example")]);
        assert!(shown(cors.headers(&listed)).contains(&allowed));
        assert!(shown(cors.preflight(&listed)).contains(&allowed));
        let other = request(&[("origin", "https://b.example")]);
        assert!(!shown(cors.headers(&other)).contains(&allowed));
        assert!(!shown(cors.preflight(&other)).contains(&allowed));
        let config = model::Cors { origins: None, credentials: true, max_age: Duration::from_secs(600) };
        let any = Cors::from_config(&config, &[Method::GET]);
        assert!(!shown(any.headers(&listed)).contains(&allowed), "never with a star");
    }

    #[test]
    fn a_preflight_is_known_by_its_two_headers() {
        let whole = request(&[("origin", "https://a.example"), ("access-control-request-method", "GET")]);
        assert!(is_preflight(&Method::OPTIONS, &whole));
        assert!(!is_preflight(&Method::GET, &whole));
        assert!(!is_preflight(&Method::OPTIONS, &request(&[("origin", "https://a.example")])));
        assert!(!is_preflight(&Method::OPTIONS, &request(&[("access-control-request-method", "GET")])));
    }

    #[test]
    fn a_preflight_answer_permits_what_was_asked_for() {
        let asked = request(&[
            ("origin", "https://a.example"),
            ("access-control-request-headers", "range, x-playback-session-id"),
        ]);
        let answer = shown(cors(Some(&["https://a.example"])).preflight(&asked));
        assert_eq!(
            answer,
            [
                "access-control-allow-origin: https://a.example",
                "access-control-allow-methods: GET, HEAD, OPTIONS",
                "access-control-allow-headers: range, x-playback-session-id",
                "access-control-max-age: 600",
                "vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
            ]
        );
    }

    #[test]
    fn a_preflight_list_that_is_long_or_no_list_is_not_echoed() {
        let long = "a".repeat(REQUEST_HEADERS_BYTES_MAX + 1);
        for list in [long.as_str(), "range; drop", "\"x\"", ""] {
            let asked = request(&[("access-control-request-headers", list)]);
            let answer = shown(cors(None).preflight(&asked));
            assert!(answer.contains(&format!("access-control-allow-headers: {ALLOWED_HEADERS}")), "{list}");
        }
    }

    #[test]
    fn a_preflight_from_an_origin_that_is_not_listed_gets_no_permission() {
        let asked = request(&[("origin", "https://c.example"), ("access-control-request-method", "GET")]);
        let answer = shown(cors(Some(&["https://a.example"])).preflight(&asked));
        assert_eq!(answer, ["vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers"]);
    }
}
