//! What of a request a token is verified against.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use http::HeaderMap;

use super::locate;
use crate::admission::geo::Geo;
use crate::config::model::TokenPlace;

static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

/// What of a request a token is verified against. [`super::Policy::admit`] is given it with the path as it was sent,
/// token included; formats get it with the token taken off.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'r> {
    /// The method.
    pub method: &'r str,
    /// Whether it came over TLS.
    pub secure: bool,
    /// The authority it was sent to, as sent: host, and port where one was named.
    pub host: &'r str,
    /// The path as received, still percent-encoded: what an issuer signs.
    pub path: &'r str,
    /// The same in normal form ([`crate::key::target`]), without token: what the node goes by, and so what a scope must
    /// cover.
    pub normal: &'r str,
    /// The query as received, token parameters included.
    pub query: Option<&'r str>,
    /// Names of token parameters, which are no part of the query that a token can sign.
    pub names: &'r [String],
    /// The header fields.
    pub headers: &'r HeaderMap,
    /// The client's address.
    pub client: IpAddr,
    /// Where addresses are, if the node knows.
    pub geo: Option<&'r Geo>,
    /// The TLS client's JA4 fingerprint, if it is known.
    pub ja4: Option<&'r str>,
    /// The application protocol's name (ALPN): `h2` or `http/1.1`.
    pub alpn: &'r str,
    /// Where the token stood.
    pub place: TokenPlace,
    /// Seconds since the Unix epoch.
    pub now_unix: u64,
}

impl<'r> Presented<'r> {
    /// A GET for a path in normal form, and nothing else: for tools and tests to change.
    pub fn get(path: &'r str, now_unix: u64) -> Presented<'r> {
        Presented {
            method: "GET",
            secure: false,
            host: "",
            path,
            normal: path,
            query: None,
            names: &[],
            headers: &NO_HEADERS,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            geo: None,
            ja4: None,
            alpn: "http/1.1",
            place: TokenPlace::Query,
            now_unix,
        }
    }

    /// The query's parameters, as received, without those that are tokens.
    pub fn parameters(&self) -> impl Iterator<Item = &'r str> + use<'r> {
        let names = self.names;
        let parameters = self.query.into_iter().flat_map(|query| query.split('&'));
        parameters.filter(move |parameter| locate::parameter(parameter, names).is_none())
    }
}
