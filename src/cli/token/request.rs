//! The request that a token is looked at for, and what of it nobody has said.
//!
//! Turns arguments into what admission is given; decides nothing about tokens, but which refusals say nothing because
//! the command line does not say what they are about.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use clap::Args;
use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::subject::Subject;
use crate::admission::geo::{Geo, Place};
use crate::admission::token::{Policy, Presented};
use crate::config::territory::Territory;
use crate::key::target;
use crate::reason::Reason;

/// What a request is like.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Request")]
pub(super) struct RequestArgs {
    /// Address of the client.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) ip: Option<IpAddr>,
    /// Time to verify for, in seconds since the Unix epoch. Default: now.
    #[arg(long, value_name = "UNIX")]
    pub(super) at: Option<u64>,
    /// Method. Default: GET.
    #[arg(long, value_name = "METHOD")]
    pub(super) method: Option<String>,
    /// Header field. May be repeated.
    #[arg(long, value_name = "NAME: VALUE", value_parser = field)]
    pub(super) header: Vec<(HeaderName, HeaderValue)>,
    /// Cookie, `NAME=VALUE`, or several with `; ` between them. May be repeated.
    #[arg(long, value_name = "COOKIE")]
    pub(super) cookie: Vec<HeaderValue>,
    /// Country or subdivision of the client, such as SE or US-CA. Default: what the databases of the configuration say of
    /// --ip.
    #[arg(long, value_name = "CODE", value_parser = territory)]
    pub(super) country: Option<Territory>,
    /// Number of the client's autonomous system.
    #[arg(long, value_name = "NUMBER")]
    pub(super) asn: Option<u32>,
    /// JA4 fingerprint of the TLS client.
    #[arg(long, value_name = "FINGERPRINT")]
    pub(super) ja4: Option<String>,
    /// Application protocol (ALPN): h2 or http/1.1.
    #[arg(long, value_name = "NAME")]
    pub(super) alpn: Option<String>,
}

/// A request.
pub(super) struct Request<'a> {
    args: &'a RequestArgs,
    subject: &'a Subject,
    headers: HeaderMap,
    geo: Option<Geo>,
    at: u64,
    normal: String,
}

impl<'a> Request<'a> {
    /// The request of arguments with a token. `geo` is used where no place is given, `now` where no time is.
    ///
    /// # Errors
    /// The path is none.
    pub(super) fn new(
        args: &'a RequestArgs,
        subject: &'a Subject,
        policy: &Policy,
        geo: Option<&Geo>,
        now: u64,
    ) -> Result<Self> {
        let mut headers: HeaderMap = args
            .header
            .iter()
            .chain(&subject.headers)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for cookie in &args.cookie {
            headers.append(COOKIE, cookie.clone());
        }
        let stripped = policy.strip_path(&subject.target.path).1;
        let normal = target::path(&stripped, true).ok();
        let normal =
            normal.with_context(|| format!("`{stripped}` is no path: percent-encode what it holds"))?;
        let geo = if args.country.is_some() || args.asn.is_some() {
            let country = args.country.map(Territory::country);
            let part = args.country.filter(|territory| territory.is_subdivision());
            Some(Geo::supposed(Place { country, subdivisions: [part, None], asn: args.asn }))
        } else {
            geo.cloned()
        };
        let at = args.at.unwrap_or(now);
        Ok(Request { args, subject, headers, geo, at, normal: normal.into_owned() })
    }

    /// As admission is given it.
    pub(super) fn presented(&self) -> Presented<'_> {
        let target = &self.subject.target;
        Presented {
            method: self.args.method.as_deref().unwrap_or("GET"),
            secure: target.is_secure(),
            host: target.authority(),
            normal: &self.normal,
            query: target.query.as_deref(),
            headers: &self.headers,
            client: self.args.ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            geo: self.geo.as_ref(),
            ja4: self.args.ja4.as_deref(),
            alpn: self.args.alpn.as_deref().unwrap_or("http/1.1"),
            ..Presented::get(&target.path, self.at)
        }
    }

    /// The same over TLS.
    pub(super) fn over_tls(&self) -> Presented<'_> {
        Presented { secure: true, ..self.presented() }
    }

    /// What a refusal is about where the arguments do not say it, and the argument that would.
    pub(super) fn unsaid(&self, reason: Reason) -> Option<(&'static str, &'static str)> {
        let args = self.args;
        let has_host = !self.subject.target.site.is_empty();
        let (is_said, what, remedy) = match reason {
            Reason::Path => (self.subject.path_is_given, "the path", "--path"),
            Reason::Host => (has_host, "the host, and what depends on it,", "a whole URL"),
            Reason::Ip => (args.ip.is_some(), "the address", "--ip"),
            Reason::Geo => (
                args.country.is_some() || self.geo.is_some() && args.ip.is_some(),
                "the country",
                "--country",
            ),
            Reason::Asn => {
                (args.asn.is_some() || self.geo.is_some() && args.ip.is_some(), "the network", "--asn")
            }
            Reason::Method => (args.method.is_some(), "the method", "--method"),
            Reason::Header => (!args.header.is_empty(), "the header", "--header"),
            Reason::Alpn => (args.alpn.is_some(), "the protocol", "--alpn"),
            Reason::TlsFingerprint => (args.ja4.is_some(), "the fingerprint", "--ja4"),
            _ => return None,
        };
        (!is_said).then_some((what, remedy))
    }
}

/// A header field.
pub(super) fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let remedy = || format!("`{text}` is no header field: write NAME: VALUE");
    let (name, value) = text.split_once(':').ok_or_else(remedy)?;
    let name = name.trim().parse().map_err(|_| remedy())?;
    Ok((name, value.trim().parse().map_err(|_| remedy())?))
}

fn territory(text: &str) -> Result<Territory, String> {
    let remedy = || format!("`{text}` is no country or subdivision: write a code such as SE or US-CA");
    Territory::parse(&text.to_ascii_uppercase()).ok_or_else(remedy)
}
