//! What a policy asks of every client that uses its tokens, whatever they say (`[token.NAME.bind]`).
//!
//! Decides only what the conditions of the configuration are as [`Check`]s, each of which refuses with its own reason; most
//! are those that tokens make too ([`super::checks`]). They are evaluated after the token's own: a client is told first
//! what is wrong with its token.
//!
//! An address that the databases do not know is nowhere: by default it is refused, also by a list of countries that are
//! not let in.

use wildmatch::WildMatch;

use super::Presented;
use super::checks::{Addresses, Asns, Header, Hosts, Methods};
use super::terms::Check;
use crate::admission::geo::Place;
use crate::config::model::{HostPattern, TokenBind};
use crate::config::territory::Territory;
use crate::reason::Reason;

/// The conditions of a policy, in the order in which they are evaluated.
pub(super) fn checks(bind: &TokenBind) -> Vec<Box<dyn Check>> {
    let mut checks: Vec<Box<dyn Check>> = Vec::new();
    if let Some(methods) = &bind.methods {
        checks.push(Box::new(Methods(with_head(methods))));
    }
    if let Some(hosts) = &bind.hosts {
        checks.push(Box::new(Hosts(hosts.iter().map(written).collect())));
    }
    if let Some(addresses) = &bind.addresses {
        checks.push(Box::new(Addresses(addresses.clone())));
    }
    if bind.countries.is_some() || bind.not_countries.is_some() {
        checks.push(Box::new(Places {
            inside: bind.countries.clone(),
            outside: bind.not_countries.clone().unwrap_or_default(),
            unknown_is_allowed: bind.unknown_is_allowed,
        }));
    }
    if let Some(asns) = &bind.asns {
        checks.push(Box::new(Systems {
            asns: Asns(asns.clone()),
            unknown_is_allowed: bind.unknown_is_allowed,
        }));
    }
    for (name, glob) in &bind.headers {
        checks.push(Box::new(Header(name.clone(), glob.clone())));
    }
    if let Some(globs) = &bind.tls_fingerprints {
        checks.push(Box::new(Fingerprints(globs.clone())));
    }
    checks
}

/// The names of methods; GET stands for HEAD too.
fn with_head(methods: &[http::Method]) -> Vec<String> {
    let mut names: Vec<String> = methods.iter().map(|method| method.as_str().to_owned()).collect();
    if methods.contains(&http::Method::GET) && !methods.contains(&http::Method::HEAD) {
        names.push(http::Method::HEAD.as_str().to_owned());
    }
    names
}

/// A host pattern as [`Hosts`] takes it.
fn written(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Below(suffix) => format!("*{suffix}"),
        HostPattern::Exact(name) => name.clone(),
    }
}

/// Where clients may be, and where not.
#[derive(Debug)]
struct Places {
    /// None: anywhere.
    inside: Option<Vec<Territory>>,
    outside: Vec<Territory>,
    unknown_is_allowed: bool,
}

impl Places {
    fn allow(&self, place: &Place) -> bool {
        if place.country.is_none() {
            return self.unknown_is_allowed;
        }
        let is_in = |territory: &Territory| place.is_in(*territory) == Some(true);
        // A client in a country of which a subdivision is kept out may be there, as long as its own is not known.
        let may_be_in = |territory: &Territory| {
            place.subdivisions.iter().all(Option::is_none) && place.country == Some(territory.country())
        };
        let kept_out =
            |territory: &Territory| is_in(territory) || (!self.unknown_is_allowed && may_be_in(territory));
        self.inside.as_ref().is_none_or(|inside| inside.iter().any(is_in))
            && !self.outside.iter().any(kept_out)
    }
}

impl Check for Places {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let place = request.geo.map(|geo| geo.territory(request.client)).unwrap_or_default();
        if self.allow(&place) { Ok(()) } else { Err(Reason::Geo) }
    }
}

/// Autonomous systems that clients may be in.
#[derive(Debug)]
struct Systems {
    asns: Asns,
    unknown_is_allowed: bool,
}

impl Check for Systems {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let is_unknown = || request.geo.and_then(|geo| geo.asn(request.client)).is_none();
        if self.unknown_is_allowed && is_unknown() {
            return Ok(());
        }
        self.asns.check(request)
    }
}

/// Fingerprints that TLS clients may have.
#[derive(Debug)]
struct Fingerprints(Vec<WildMatch>);

impl Check for Fingerprints {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let is = |ja4| self.0.iter().any(|glob| glob.matches(ja4));
        if request.ja4.is_some_and(is) { Ok(()) } else { Err(Reason::TlsFingerprint) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn territories(codes: &str) -> Vec<Territory> {
        codes.split_whitespace().map(|code| Territory::parse(code).unwrap()).collect()
    }

    fn place(code: &str) -> Place {
        let Some(territory) = Territory::parse(code) else { return Place::default() };
        let part = territory.is_subdivision().then_some(territory);
        Place { country: Some(territory.country()), subdivisions: [part, None], asn: None }
    }

    #[test]
    fn places_are_let_in_by_country_and_subdivision() {
        // inside, outside, who gets in, who does not; where the unknown are refused
        let cases = [
            (Some("SE NO"), "", "SE NO", "US US-CA DK ?"),
            (Some("US"), "", "US US-CA US-NY", "CA SE ?"),
            (Some("US-CA SE"), "", "US-CA SE", "US US-NY CA ?"),
            (None, "US", "SE CA", "US US-CA ?"),
            (None, "US-CA", "SE US-NY", "US-CA US ?"),
            (Some("US"), "US-CA", "US-NY", "US-CA US SE ?"),
        ];
        for (inside, outside, good, bad) in cases {
            let places = Places {
                inside: inside.map(territories),
                outside: territories(outside),
                unknown_is_allowed: false,
            };
            for (codes, expected) in [(good, true), (bad, false)] {
                for code in codes.split_whitespace() {
                    assert_eq!(places.allow(&place(code)), expected, "{code}: {places:?}");
                }
            }
        }
    }

    #[test]
    fn the_unknown_are_let_in_where_the_policy_says_so() {
        let places = Places {
            inside: Some(territories("US")),
            outside: territories("US-CA"),
            unknown_is_allowed: true,
        };
        for (code, expected) in [("?", true), ("US", true), ("US-NY", true), ("US-CA", false), ("SE", false)]
        {
            assert_eq!(places.allow(&place(code)), expected, "{code}");
        }
    }
}
