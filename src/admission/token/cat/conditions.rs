//! Claims that are conditions on a request, alone and within composite claims (`or`, `nor`, `and`).
//!
//! A condition that the node cannot tell (where an address is, without a database; a fingerprint, without TLS) is not
//! fulfilled, and within `nor` the request is refused too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderName;
use ipnet::IpNet;

use super::Rules;
use super::cbor::{Map, Value, get};
use super::matching::Matches;
use super::names::{claim, part, tls};
use crate::admission::request::host_of;
use crate::admission::token::checks::{Addresses, Alpn, Asns, Countries, Fingerprint, Methods};
use crate::admission::token::{Check, Presented};
use crate::config::territory::Territory;
use crate::reason::Reason;

const TAG_IPV4: u64 = 52;
const TAG_IPV6: u64 = 54;

/// What the node must know of a request to tell whether it fulfils a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Country,
    /// The subdivision, of those who are in this country.
    Subdivision(Territory),
    Asn,
    Fingerprint,
}

/// Conditions that hold together: a claim set, or what of the token itself is conditions.
#[derive(Debug, Default)]
pub(super) struct Set {
    pub(super) checks: Vec<Box<dyn Check>>,
    /// The reasons that they refuse with.
    pub(super) reasons: Vec<Reason>,
    needs: Vec<Needs>,
}

impl Set {
    fn add(&mut self, check: impl Check + 'static, reasons: &[Reason]) {
        self.checks.push(Box::new(check));
        self.reasons.extend_from_slice(reasons);
    }

    /// Reads one claim.
    ///
    /// # Errors
    /// [`Reason::UnsupportedClaim`] where it is none of those that are conditions, [`Reason::Malformed`] where it is one
    /// that is not as it should be.
    pub(super) fn read(&mut self, label: i128, value: &Value, rules: &Rules) -> Result<(), Reason> {
        match label {
            claim::ISS => {
                let issuer = value.as_text().ok_or(Reason::Malformed)?;
                let issuers = &rules.options.issuers;
                if !issuers.is_empty() && !issuers.iter().any(|known| known == issuer) {
                    self.add(Never(Reason::Issuer), &[Reason::Issuer]);
                }
            }
            claim::AUD => {
                let audiences = texts(value)?;
                if !audiences.iter().any(|audience| rules.options.audiences.contains(audience)) {
                    self.add(Never(Reason::Audience), &[Reason::Audience]);
                }
            }
            claim::EXP => self.add(Before(seconds(value)?), &[Reason::Expired]),
            claim::NBF => self.add(NotBefore(seconds(value)?), &[Reason::NotYet]),
            claim::OR | claim::NOR | claim::AND => self.composite(label, value, rules)?,
            claim::CATU => self.uri(value, rules)?,
            claim::CATM => self.add(Methods(texts(value)?), &[Reason::Method]),
            claim::CATALPN => self.add(Alpn(texts(value)?), &[Reason::Alpn]),
            claim::CATH => self.headers(value, rules)?,
            claim::CATNIP => self.networks(value)?,
            claim::CATGEOISO3166 => {
                let mut codes = texts(value)?;
                codes.iter_mut().for_each(|code| code.make_ascii_uppercase());
                self.needs.push(Needs::Country);
                for code in &codes {
                    // What is no code would hold nobody, and so exclude nobody.
                    let territory = Territory::parse(code).ok_or(Reason::Malformed)?;
                    if territory.is_subdivision() {
                        self.needs.push(Needs::Subdivision(territory.country()));
                    }
                }
                self.add(Countries(codes), &[Reason::Geo]);
            }
            claim::CATTPRINT => {
                let map = value.as_map().ok_or(Reason::Malformed)?;
                if map.len() != 2 || get(map, tls::TYPE) != Some(&Value::Int(tls::JA4)) {
                    return Err(Reason::UnsupportedClaim);
                }
                let print = get(map, tls::VALUE).ok_or(Reason::Malformed)?;
                // An empty one would stand for clients without any.
                let print = text(print).ok().filter(|print| !print.is_empty()).ok_or(Reason::Malformed)?;
                self.needs.push(Needs::Fingerprint);
                self.add(Fingerprint(vec![print]), &[Reason::TlsFingerprint]);
            }
            _ => return Err(Reason::UnsupportedClaim),
        }
        Ok(())
    }

    fn composite(&mut self, label: i128, value: &Value, rules: &Rules) -> Result<(), Reason> {
        let sets = value.as_array().filter(|sets| !sets.is_empty()).ok_or(Reason::Malformed)?;
        let read = |set: &Value| {
            let claims: &Map = set.as_map().ok_or(Reason::Malformed)?;
            let mut read = Set::default();
            for (key, value) in claims {
                let label = key.as_int().ok_or(Reason::UnsupportedClaim)?;
                read.read(label, value, rules)?;
            }
            Ok(read)
        };
        let sets = sets.iter().map(read).collect::<Result<Vec<Set>, Reason>>()?;
        let mut reasons: Vec<Reason> = sets.iter().flat_map(|set| set.reasons.iter().copied()).collect();
        for set in &sets {
            self.needs.extend_from_slice(&set.needs);
        }
        if reasons.is_empty() {
            reasons.push(Reason::UnsupportedClaim);
        }
        match label {
            claim::OR => self.add(AnyOf(sets), &reasons),
            claim::NOR => {
                reasons.push(Reason::UnsupportedClaim);
                self.add(NoneOf(sets), &reasons);
            }
            _ => self.add(AllOf(sets), &reasons),
        }
        Ok(())
    }

    fn uri(&mut self, value: &Value, rules: &Rules) -> Result<(), Reason> {
        let parts = value.as_map().ok_or(Reason::Malformed)?;
        for (key, value) in parts {
            let part = key.as_int().and_then(Part::of).ok_or(Reason::UnsupportedClaim)?;
            let lower = matches!(part, Part::Scheme | Part::Host);
            let matches = Matches::read(value, &rules.patterns, lower)?;
            let reason = if part == Part::Host { Reason::Host } else { Reason::Path };
            self.add(Uri { part, matches, reason }, &[reason]);
        }
        Ok(())
    }

    fn headers(&mut self, value: &Value, rules: &Rules) -> Result<(), Reason> {
        for (key, value) in value.as_map().ok_or(Reason::Malformed)? {
            let name = key.as_text().ok_or(Reason::UnsupportedClaim)?;
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Reason::Malformed)?;
            let matches = Matches::read(value, &rules.patterns, false)?;
            self.add(Field { name, matches }, &[Reason::Header]);
        }
        Ok(())
    }

    fn networks(&mut self, value: &Value) -> Result<(), Reason> {
        let (mut networks, mut asns) = (Vec::new(), Vec::new());
        for item in value.as_array().ok_or(Reason::Malformed)? {
            match item {
                Value::Int(asn) => asns.push(u32::try_from(*asn).map_err(|_| Reason::Malformed)?),
                other => networks.push(network(other).ok_or(Reason::Malformed)?),
            }
        }
        if !asns.is_empty() {
            self.needs.push(Needs::Asn);
        }
        self.add(Origin { networks: Addresses(networks), asns: Asns(asns) }, &[Reason::Ip, Reason::Asn]);
        Ok(())
    }

    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        self.checks.iter().try_for_each(|check| check.check(request))
    }

    /// Whether all that it needs is known of a request.
    fn can_tell(&self, request: &Presented<'_>) -> Result<(), Reason> {
        if self.needs.is_empty() {
            return Ok(());
        }
        let place = request.geo.map(|geo| geo.place(request.client)).unwrap_or_default();
        let unknown = |needs: &Needs| match needs {
            Needs::Country => place.country.is_none().then_some(Reason::Geo),
            Needs::Subdivision(country) => {
                let is_there = place.country == Some(*country) && place.subdivisions[0].is_none();
                is_there.then_some(Reason::Geo)
            }
            Needs::Asn => place.asn.is_none().then_some(Reason::Asn),
            Needs::Fingerprint => request.ja4.is_none().then_some(Reason::TlsFingerprint),
        };
        self.needs.iter().find_map(unknown).map_or(Ok(()), Err)
    }
}

/// A condition that no request fulfils.
#[derive(Debug)]
pub(super) struct Never(pub(super) Reason);

impl Check for Never {
    fn check(&self, _: &Presented<'_>) -> Result<(), Reason> {
        Err(self.0)
    }
}

/// `exp` within a composite claim: exact, since what widens a condition narrows its negation.
#[derive(Debug)]
struct Before(u64);

impl Check for Before {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        if request.now_unix < self.0 { Ok(()) } else { Err(Reason::Expired) }
    }
}

/// `nbf` within a composite claim.
#[derive(Debug)]
struct NotBefore(u64);

impl Check for NotBefore {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        if request.now_unix >= self.0 { Ok(()) } else { Err(Reason::NotYet) }
    }
}

/// `or`
#[derive(Debug)]
struct AnyOf(Vec<Set>);

impl Check for AnyOf {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let mut first = None;
        for set in &self.0 {
            match set.check(request) {
                Ok(()) => return Ok(()),
                Err(reason) => first = first.or(Some(reason)),
            }
        }
        Err(first.unwrap_or(Reason::UnsupportedClaim))
    }
}

/// `nor`
#[derive(Debug)]
struct NoneOf(Vec<Set>);

impl Check for NoneOf {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        for set in &self.0 {
            set.can_tell(request)?;
            if set.check(request).is_ok() {
                // It is refused for what it fulfils.
                return Err(set.reasons.first().copied().unwrap_or(Reason::UnsupportedClaim));
            }
        }
        Ok(())
    }
}

/// `and`
#[derive(Debug)]
struct AllOf(Vec<Set>);

impl Check for AllOf {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        self.0.iter().try_for_each(|set| set.check(request))
    }
}

/// `catnip`
#[derive(Debug)]
struct Origin {
    networks: Addresses,
    asns: Asns,
}

impl Check for Origin {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        if self.networks.check(request).is_ok() {
            return Ok(());
        }
        let by_asn = self.asns.check(request);
        if self.networks.0.is_empty() { by_asn } else { by_asn.map_err(|_| Reason::Ip) }
    }

    /// Of networks and systems in one list, a session token could only repeat that both are asked for.
    fn repeated(&self) -> Option<(&'static str, String)> {
        match (self.networks.0.is_empty(), self.asns.0.is_empty()) {
            (_, true) => self.networks.repeated(),
            (true, false) => self.asns.repeated(),
            (false, false) => None,
        }
    }
}

/// An address or prefix: tagged as RFC 9164 has it, or text.
pub(super) fn network(value: &Value) -> Option<IpNet> {
    let (tag, inner) = match value {
        Value::Text(text) => {
            let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
            return text.parse::<IpNet>().ok().or_else(address).map(|network| network.trunc());
        }
        Value::Tag(tag @ (TAG_IPV4 | TAG_IPV6), inner) => (*tag, &**inner),
        _ => return None,
    };
    let size = if tag == TAG_IPV4 { 4 } else { 16 };
    let (length, bytes) = match inner {
        Value::Bytes(bytes) if bytes.len() == size => (size * 8, bytes),
        // Zero bytes at the end and bits behind the prefix should not be there (section 3.1.2), and often are.
        Value::Array(items) => match items.as_slice() {
            [Value::Int(length), Value::Bytes(bytes)] if bytes.len() <= size => {
                (usize::try_from(*length).ok()?, bytes)
            }
            _ => return None,
        },
        _ => return None,
    };
    let mut whole = [0; 16];
    whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let address = match tag {
        TAG_IPV4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(whole.get(..4)?).ok()?)),
        _ => IpAddr::from(Ipv6Addr::from(whole)),
    };
    IpNet::new(address, u8::try_from(length).ok()?).ok().map(|network| network.trunc())
}

/// `cath`: one of the field's values fulfils the match map.
#[derive(Debug)]
struct Field {
    name: HeaderName,
    matches: Matches,
}

impl Check for Field {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let mut values = request.headers.get_all(&self.name).iter().filter_map(|value| value.to_str().ok());
        if values.any(|value| self.matches.hold(value, None)) { Ok(()) } else { Err(Reason::Header) }
    }
}

/// `catu`: a part of the URI. The path is in normal form, as the node goes by it; an entry for all of it may name it as it was
/// sent.
#[derive(Debug)]
struct Uri {
    part: Part,
    matches: Matches,
    reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Scheme,
    Host,
    Port,
    Path,
    Query,
    ParentPath,
    Filename,
    Stem,
    Extension,
}

impl Part {
    fn of(label: i128) -> Option<Part> {
        Some(match label {
            part::SCHEME => Part::Scheme,
            part::HOST => Part::Host,
            part::PORT => Part::Port,
            part::PATH => Part::Path,
            part::QUERY => Part::Query,
            part::PARENT_PATH => Part::ParentPath,
            part::FILENAME => Part::Filename,
            part::STEM => Part::Stem,
            part::EXTENSION => Part::Extension,
            _ => return None,
        })
    }

    fn of_path(self, path: &str) -> &str {
        let (parent, filename) = path.rsplit_once('/').unwrap_or(("", path));
        let (stem, extension) = filename.split_at(filename.find('.').unwrap_or(filename.len()));
        match self {
            Part::ParentPath => parent,
            Part::Filename => filename,
            Part::Stem => stem,
            Part::Extension => extension,
            _ => path,
        }
    }
}

impl Check for Uri {
    fn check(&self, request: &Presented<'_>) -> Result<(), Reason> {
        let holds = |text: &str| self.matches.hold(text, None);
        let fulfilled = match self.part {
            Part::Scheme => holds(if request.secure { "https" } else { "http" }),
            Part::Host => {
                let host = host_of(request.host);
                holds(&host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase())
            }
            Part::Port => {
                let port = request.host.rsplit_once(':').map(|(_, port)| port);
                let port =
                    port.filter(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
                holds(port.unwrap_or(if request.secure { "443" } else { "80" }))
            }
            Part::Query => holds(&request.parameters().collect::<Vec<_>>().join("&")),
            // Not for parts of the path: what is a part as it was sent need not be one of what is meant.
            Part::Path => self.matches.hold(request.normal, Some(request.path)),
            part => holds(part.of_path(request.normal)),
        };
        if fulfilled { Ok(()) } else { Err(self.reason) }
    }
}

/// Text, or bytes that are text.
pub(super) fn text(value: &Value) -> Result<String, Reason> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::Bytes(bytes) => String::from_utf8(bytes.clone()).map_err(|_| Reason::Malformed),
        _ => Err(Reason::Malformed),
    }
}

/// Texts, or one.
fn texts(value: &Value) -> Result<Vec<String>, Reason> {
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        one => Ok(vec![text(one)?]),
    }
}

/// A NumericDate (RFC 8392 section 2): the first whole second that is not before it. One before 1970 is the first.
pub(super) fn seconds(value: &Value) -> Result<u64, Reason> {
    match value {
        Value::Int(number) => Ok(u64::try_from(*number).unwrap_or(0)),
        Value::Float(number) if number.is_finite() => Ok(number.ceil().max(0.0) as u64),
        _ => Err(Reason::Malformed),
    }
}
