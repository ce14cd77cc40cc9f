//! The record of one finished request: everything that metrics, the access log and the viewer count need to know.
//!
//! Filled by the proxy from what the stations decided. It borrows its texts, so that building one allocates nothing. The
//! caller has taken the token out of path and query, and CMCD out of the query, before it fills them in.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::asset::Kind;
use crate::outcome::Outcome;

/// One finished request.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Place of the site in the list that [`super::Metrics::new`] was given; None: no site matched (421).
    pub site: Option<usize>,
    /// The site's name for the access log; empty where no site matched.
    pub site_name: &'a str,
    /// What was asked for.
    pub kind: Kind,
    /// What became of it.
    pub outcome: Outcome,
    /// Status sent; 0: the client left before there was one.
    pub status: u16,
    /// Why admission refused it.
    pub denial: Option<Denial>,
    /// Why the node could not answer, or broke off: a word of a closed list.
    pub error: Option<&'static str>,
    /// Request method.
    pub method: &'a str,
    /// Host asked for, without port.
    pub host: &'a str,
    /// Path as sent by the client, token taken out.
    pub path: &'a str,
    /// Query as sent by the client, token and CMCD taken out.
    pub query: Option<&'a str>,
    /// Version of HTTP the client spoke.
    pub protocol: Protocol,
    /// Whether the client came over TLS.
    pub tls: bool,
    /// Address of the client, after trusted proxies.
    pub client: IpAddr,
    /// `Range` header.
    pub range: Option<&'a str>,
    /// Body bytes sent.
    pub bytes: u64,
    /// From the request's first byte to the answer's first byte; None: nothing was answered.
    pub first_byte: Option<Duration>,
    /// From the request's first byte to the answer's last.
    pub total: Duration,
    /// Time spent waiting for another request's fetch to answer; None: it did not wait.
    pub coalesce_wait: Option<Duration>,
    /// Age of the stored object, in seconds.
    pub age_s: Option<i64>,
    /// Freshness left to the stored object, in seconds; negative: stale for so long.
    pub ttl_s: Option<i64>,
    /// The token's id: names the viewer's session.
    pub session: Option<&'a str>,
    /// CMCD as received, percent-decoded; several CMCD headers joined by commas.
    pub cmcd: Option<&'a str>,
    /// `User-Agent` header.
    pub user_agent: Option<&'a str>,
    /// JA4 of the client's ClientHello; None: plaintext, or not asked for.
    pub tls_fingerprint: Option<&'a str>,
    /// The node that the request came from; None: a viewer.
    pub hop: Option<&'a str>,
    /// Whether the transfer broke off before its end, on either side.
    pub aborted: bool,
    /// When the request came in.
    pub started: SystemTime,
}

/// Why admission refused a request. The word is of a closed list, the same in the access log and in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// For its token: counted in `forebay_token_denied_total`.
    Token(&'static str),
    /// For anything else: method, address, form.
    Other(&'static str),
}

impl Denial {
    /// The reason's word.
    pub const fn reason(self) -> &'static str {
        match self {
            Denial::Token(reason) | Denial::Other(reason) => reason,
        }
    }
}

/// Version of HTTP a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// The word in the access log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Http1 => "h1",
            Protocol::Http2 => "h2",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plain hit on a segment of site 0, for tests to vary.
    pub(crate) fn hit() -> Record<'static> {
        Record {
            site: Some(0),
            site_name: "live.example.com",
            kind: Kind::Segment,
            outcome: Outcome::Hit,
            status: 200,
            denial: None,
            error: None,
            method: "GET",
            host: "live.example.com",
            path: "/live/ch1/720p/seg-12.m4s",
            query: None,
            protocol: Protocol::Http1,
            tls: false,
            client: IpAddr::from([192, 0, 2, 7]),
            range: None,
            bytes: 4096,
            first_byte: Some(Duration::from_micros(80)),
            total: Duration::from_micros(120),
            coalesce_wait: None,
            age_s: None,
            ttl_s: None,
            session: None,
            cmcd: None,
            user_agent: None,
            tls_fingerprint: None,
            hop: None,
            aborted: false,
            started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        }
    }

    #[test]
    fn a_denial_gives_its_word_whatever_it_was_for() {
        assert_eq!(Denial::Token("expired").reason(), "expired");
        assert_eq!(Denial::Other("method").reason(), "method");
    }
}
