//! Conditions that the tokens of several formats, or a policy, make: each refuses with its own reason. What a request does
//! not show, or the node does not know of it, fulfils none.

use std::net::IpAddr;

use http::HeaderName;
use ipnet::IpNet;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use wildmatch::WildMatch;

use super::terms::Check;
use super::{Presented, acl};
use crate::admission::client::contains;
use crate::admission::request::host_of;
use crate::config::territory::Territory;
use crate::reason::Reason;

/// Path patterns joined by `!`, in which `*` spans `/` and `?` is one character ([`acl`]).
#[derive(Debug)]
pub struct Globs(pub String);

/// One of these networks holds the client's address. IPv4 addresses mapped into IPv6 are what they stand for, in the
/// networks too.
#[derive(Debug)]
pub struct Addresses(pub Vec<IpNet>);

/// The client is in one of these countries (`SE`) or subdivisions (`US-CA`), upper case. A country holds its subdivisions;
/// what is no code holds nobody.
#[derive(Debug)]
pub struct Countries(pub Vec<String>);

/// The client is in one of these autonomous systems.
#[derive(Debug)]
pub struct Asns(pub Vec<u32>);

/// The request has one of these methods.
#[derive(Debug)]
pub struct Methods(pub Vec<String>);

/// The request is for one of these hosts, port and a final dot aside; `*.` stands for any names before the rest. Lower case.
#[derive(Debug)]
pub struct Hosts(pub Vec<String>);

/// The request has a header field with a value that a glob matches.
#[derive(Debug)]
pub struct Header(pub HeaderName, pub WildMatch);

/// The connection speaks one of these protocols (ALPN names).
#[derive(Debug)]
pub struct Alpn(pub Vec<String>);

/// The connection's TLS client has one of these JA4 fingerprints. An empty one stands for a client without any, as all over
/// plaintext are.
#[derive(Debug)]
pub struct Fingerprint(pub Vec<String>);

/// Names of the conditions that session tokens repeat.
const NETWORKS: &str = "net";
const PLACES: &str = "geo";
const SYSTEMS: &str = "asn";
const HOSTS: &str = "host";
const FINGERPRINTS: &str = "tls";

/// What is encoded in a member of a list that they name.
const SEPARATORS: &AsciiSet = &CONTROLS.add(b',').add(b'%');

/// How a session token repeats that a token is for one host: `host` without port, which a pattern is not. None: for a
/// pattern.
pub(super) fn repeated_host(host: &str) -> Option<(&'static str, String)> {
    (!host.contains(['*', '?'])).then(|| (HOSTS, joined(&[host])))
}

/// The condition of a name and a text that [`Check::repeated`] gave; a member of a list that cannot be read lets nobody in.
/// None: no condition has this name.
pub(super) fn of_repeated(name: &str, text: &str) -> Option<Box<dyn Check>> {
    let plain = |member| percent_decode_str(member).decode_utf8_lossy().into_owned();
    let members = || text.split(',').map(plain);
    Some(match name {
        NETWORKS => Box::new(Addresses(read(text))),
        PLACES => Box::new(Countries(members().collect())),
        SYSTEMS => Box::new(Asns(read(text))),
        HOSTS => Box::new(Hosts(members().filter(|member| !member.is_empty()).collect())),
        FINGERPRINTS => Box::new(Fingerprint(members().collect())),
        _ => return None,
    })
}

fn joined(members: &[impl ToString]) -> String {
    let encoded = |member: String| utf8_percent_encode(&member, SEPARATORS).to_string();
    members.iter().map(|member| encoded(member.to_string())).collect::<Vec<_>>().join(",")
}

fn read<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split(',').filter_map(|member| member.parse().ok()).collect()
}

fn require(holds: bool, reason: Reason) -> Result<(), Reason> {
    if holds { Ok(()) } else { Err(reason) }
}

impl Check for Globs {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        require(acl::covers(&self.0, request.normal), Reason::Path)
    }
}

impl Addresses {
    /// One address.
    pub fn one(address: IpAddr) -> Addresses {
        Addresses(vec![IpNet::from(address.to_canonical())])
    }
}

impl Check for Addresses {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let client = request.client.to_canonical();
        require(self.0.iter().any(|network| contains(network, client)), Reason::Ip)
    }

    fn repeated(&self) -> Option<(&'static str, String)> {
        Some((NETWORKS, joined(&self.0)))
    }
}

impl Check for Countries {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let place = request.geo.map(|geo| geo.territory(request.client)).unwrap_or_default();
        let is_in = |code: &String| {
            Territory::parse(code).is_some_and(|territory| place.is_in(territory) == Some(true))
        };
        require(self.0.iter().any(is_in), Reason::Geo)
    }

    fn repeated(&self) -> Option<(&'static str, String)> {
        Some((PLACES, joined(&self.0)))
    }
}

impl Check for Asns {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let asn = request.geo.and_then(|geo| geo.asn(request.client));
        require(asn.is_some_and(|asn| self.0.contains(&asn)), Reason::Asn)
    }

    fn repeated(&self) -> Option<(&'static str, String)> {
        Some((SYSTEMS, joined(&self.0)))
    }
}

impl Check for Methods {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        require(self.0.iter().any(|method| method == request.method), Reason::Method)
    }
}

impl Check for Hosts {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let host = host_of(request.host);
        let host = host.strip_suffix('.').unwrap_or(host);
        let ends_with = |suffix: &str| {
            let end = host.len().checked_sub(suffix.len()).and_then(|start| host.get(start..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        };
        let is = |listed: &String| match listed.strip_prefix('*') {
            Some(suffix) => ends_with(suffix),
            None => listed.eq_ignore_ascii_case(host),
        };
        require(self.0.iter().any(is), Reason::Host)
    }

    fn repeated(&self) -> Option<(&'static str, String)> {
        Some((HOSTS, joined(&self.0)))
    }
}

impl Check for Header {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let mut values = request.headers.get_all(&self.0).iter().filter_map(|value| value.to_str().ok());
        require(values.any(|value| self.1.matches(value)), Reason::Header)
    }
}

impl Check for Alpn {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        require(self.0.iter().any(|name| name == request.alpn), Reason::Alpn)
    }
}

impl Check for Fingerprint {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let ja4 = request.ja4.unwrap_or_default();
        require(self.0.iter().any(|listed| listed == ja4), Reason::TlsFingerprint)
    }

    fn repeated(&self) -> Option<(&'static str, String)> {
        Some((FINGERPRINTS, joined(&self.0)))
    }
}

#[cfg(test)]
mod tests;
