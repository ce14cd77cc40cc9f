//! `bind` of `[token.NAME]`: what it means, and whether the databases it needs are there.

use std::collections::BTreeMap;

use http::HeaderName;
use wildmatch::WildMatch;

use super::super::super::diagnostic::Report;
use super::super::super::model::{Geo, TokenBind};
use super::super::super::raw;
use super::super::super::territory::Territory;
use super::super::no_duplicates;
use super::super::server::network;
use super::super::site;

/// What bindings refer to.
pub(in super::super) struct Places<'a> {
    /// `[geo]` as it is written: a database that cannot be read has been told of already.
    pub(in super::super) written: &'a raw::Geo,
    /// The same, resolved.
    pub(in super::super) geo: &'a Geo,
}

/// `key` is that of `bind`.
pub(super) fn bind(report: &mut Report, key: &str, raw: &raw::Bind, places: &Places<'_>) -> TokenBind {
    let countries = territories(report, &format!("{key}.countries"), raw.countries.as_deref(), places);
    let not_countries =
        territories(report, &format!("{key}.not_countries"), raw.not_countries.as_deref(), places);
    if let Some(asns) = &raw.asns {
        let key = format!("{key}.asns");
        if places.written.asn.is_none() {
            report.mistake(&key, "needs a database of autonomous systems", "add asn to [geo], or remove it");
        }
        let shown: Vec<String> = asns.iter().map(|asn| asn.0.to_string()).collect();
        listed_once(report, &key, &shown);
    }
    let has_place = raw.countries.is_some() || raw.not_countries.is_some() || raw.asns.is_some();
    if matches!(raw.unknown, raw::UnknownPlace::Allowed) && !has_place {
        let reason = "has no effect without countries, not_countries and asns";
        report.mistake(&format!("{key}.unknown"), reason, "remove it, or add one of them");
    }
    if is_empty(raw) {
        report.mistake(
            key,
            "has no effect: it asks for nothing",
            "name what clients must have, or remove it",
        );
    }
    TokenBind {
        addresses: raw.address.as_ref().map(|written| networks(report, &format!("{key}.address"), written)),
        countries,
        not_countries,
        asns: raw.asns.as_ref().map(|asns| asns.iter().map(|asn| asn.0).collect()),
        unknown_is_allowed: matches!(raw.unknown, raw::UnknownPlace::Allowed),
        methods: raw.methods.as_ref().map(|raw| site::methods(report, &format!("{key}.methods"), raw)),
        hosts: raw.hosts.as_ref().map(|written| hosts(report, &format!("{key}.hosts"), written)),
        headers: raw
            .headers
            .as_ref()
            .map(|raw| headers(report, &format!("{key}.headers"), raw))
            .unwrap_or_default(),
        tls_fingerprints: raw
            .tls_fingerprints
            .as_ref()
            .map(|written| fingerprints(report, &format!("{key}.tls_fingerprints"), written)),
    }
}

fn is_empty(raw: &raw::Bind) -> bool {
    raw.address.is_none()
        && raw.countries.is_none()
        && raw.not_countries.is_none()
        && raw.asns.is_none()
        && raw.methods.is_none()
        && raw.hosts.is_none()
        && raw.headers.is_none()
        && raw.tls_fingerprints.is_none()
}

fn listed_once(report: &mut Report, key: &str, written: &[String]) {
    let shown = written.iter().enumerate().map(|(place, value)| (format!("{key}[{place}]"), value.as_str()));
    no_duplicates(report, shown);
}

fn networks(report: &mut Report, key: &str, written: &[String]) -> Vec<ipnet::IpNet> {
    listed_once(report, key, written);
    let one = |(place, written): (usize, &String)| network(report, &format!("{key}[{place}]"), written);
    written.iter().enumerate().filter_map(one).collect()
}

fn hosts(report: &mut Report, key: &str, written: &[String]) -> Vec<super::super::super::model::HostPattern> {
    listed_once(report, key, written);
    let one =
        |(place, written): (usize, &String)| site::host_pattern(report, &format!("{key}[{place}]"), written);
    written.iter().enumerate().filter_map(one).collect()
}

fn territories(
    report: &mut Report,
    key: &str,
    written: Option<&[String]>,
    places: &Places<'_>,
) -> Option<Vec<Territory>> {
    let written = written?;
    if places.written.country.is_none() {
        report.mistake(key, "needs a database of countries", "add country to [geo], or remove it");
    }
    listed_once(report, key, written);
    let mut territories = Vec::with_capacity(written.len());
    for (place, code) in written.iter().enumerate() {
        let key = format!("{key}[{place}]");
        let Some(territory) = Territory::parse(code) else {
            let reason = format!("\"{}\" is no code of a country or subdivision", code.escape_debug());
            let capitals = Territory::parse(&code.to_ascii_uppercase());
            let remedy = match capitals {
                Some(territory) => format!("write \"{territory}\""),
                None => "write it as ISO 3166 has it, such as \"SE\" or \"US-CA\"".to_owned(),
            };
            report.mistake(&key, reason, remedy);
            continue;
        };
        if territory.is_subdivision() && places.geo.country.is_some() && !places.geo.knows_subdivisions() {
            let reason =
                format!("\"{territory}\" is a subdivision, and the database of geo.country knows none");
            report.mistake(
                &key,
                reason,
                "name a database with cities, such as GeoLite2-City, or the country alone",
            );
        }
        territories.push(territory);
    }
    Some(territories)
}

fn headers(report: &mut Report, key: &str, raw: &BTreeMap<String, String>) -> Vec<(HeaderName, WildMatch)> {
    site::request_headers(report, key, raw).fields
}

fn fingerprints(report: &mut Report, key: &str, written: &[String]) -> Vec<WildMatch> {
    listed_once(report, key, written);
    for (place, glob) in written.iter().enumerate() {
        let is_ja4 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'*' | b'?');
        if glob.is_empty() || !glob.bytes().all(is_ja4) {
            let reason = format!("\"{}\" can be no JA4 fingerprint", glob.escape_debug());
            let remedy = "write one as access lines tell it (log.tls_fingerprint), or a glob over it";
            report.mistake(&format!("{key}[{place}]"), reason, remedy);
        }
    }
    written.iter().map(|glob| WildMatch::new(glob)).collect()
}
