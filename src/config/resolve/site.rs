//! `[[site]]`: what it means. Its rules are in [`rule`].

mod playlist;
mod rule;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use http::{Method, Uri};

use super::super::diagnostic::{Report, join};
use super::super::model::{Coding, Cors, HostPattern, Quota, Rule, Site, Steering, TokenPolicy};
use super::super::raw;
use super::{DURATION_MAX, duration, no_duplicates, origin, reference, size};
pub(super) use rule::request_headers;

/// What sites refer to, resolved.
pub(super) struct Around<'a> {
    /// `store.memory`, in bytes.
    pub(super) memory: u64,
    /// Token policies, in the order in which sites refer to them.
    pub(super) tokens: &'a [TokenPolicy],
    /// Content steering, in the order in which sites refer to it.
    pub(super) steering: &'a [Steering],
}

pub(super) fn sites(report: &mut Report, file: &raw::File, around: &Around<'_>) -> Vec<Site> {
    if file.site.is_empty() {
        report.mistake("site", "there is no site", "add [[site]] with hosts = [\"*\"] and the origin's name");
    }
    let mut taken = HashMap::new();
    let sites: Vec<_> = file
        .site
        .iter()
        .enumerate()
        .map(|(place, raw)| site(report, &format!("site[{place}]"), raw, file, around, &mut taken))
        .collect();
    if sites.is_empty() {
        return sites;
    }
    let origins = file.site.iter().map(|site| site.origin.as_str());
    let origins = origins.chain(file.origin.values().filter_map(|origin| origin.fallback.as_deref()));
    unused(report, "origin", &file.origin, &origins.collect::<Vec<_>>());
    let tokens = file.site.iter().filter_map(|site| site.token.as_deref());
    unused(report, "token", &file.token, &tokens.collect::<Vec<_>>());
    let steering = file.site.iter().filter_map(|site| site.steering.as_deref());
    unused(report, "steering", &file.steering, &steering.collect::<Vec<_>>());
    sites
}

/// A section that no site refers to has no effect. Says nothing while there is no site, or a reference leads nowhere: it may be
/// meant for the section.
fn unused<T>(report: &mut Report, section: &str, groups: &BTreeMap<String, T>, used: &[&str]) {
    if used.iter().any(|name| !groups.contains_key(*name)) {
        return;
    }
    for name in groups.keys().filter(|name| !used.contains(&name.as_str())) {
        let remedy = format!("add {section} = \"{}\" to a site, or remove the section", name.escape_debug());
        report.mistake(&join(section, name), "has no effect: no site refers to it", remedy);
    }
}

fn site(
    report: &mut Report,
    key: &str,
    raw: &raw::Site,
    file: &raw::File,
    around: &Around<'_>,
    taken: &mut HashMap<HostPattern, String>,
) -> Site {
    let mut hosts = Vec::with_capacity(raw.hosts.len());
    for (place, written) in raw.hosts.iter().enumerate() {
        let key = format!("{key}.hosts[{place}]");
        let Some(pattern) = host_pattern(report, &key, written) else { continue };
        match taken.get(&pattern) {
            Some(first) => {
                let reason = format!("\"{written}\" stands at {first} already");
                report.mistake(&key, reason, "let one site answer for it");
            }
            None => drop(taken.insert(pattern.clone(), key)),
        }
        hosts.push(pattern);
    }
    let group = reference(report, &format!("{key}.origin"), "origin", &raw.origin, &file.origin);
    let token = raw
        .token
        .as_ref()
        .and_then(|name| reference(report, &format!("{key}.token"), "token", name, &file.token));
    let site_methods = methods(report, &format!("{key}.methods"), &raw.methods);
    if let Some(origin) = file.origin.get(&raw.origin) {
        origin::site(report, key, origin, &site_methods, &hosts);
    }
    let claims = token.and_then(|place| around.tokens.get(place)).map(|policy| policy.format.claims());
    let claims = if raw.token.is_some() { Some(claims.unwrap_or_default()) } else { None };
    let steering_key = format!("{key}.steering");
    let steering = raw
        .steering
        .as_ref()
        .and_then(|name| reference(report, &steering_key, "steering", name, &file.steering));
    let steered = steering.and_then(|place| around.steering.get(place));
    let of_site = rule::OfSite { methods: &site_methods, claims, memory: around.memory, steering: steered };
    let rules = rule::rules(report, key, &raw.rule, &of_site);
    if let Some(steered) = steered {
        steerable(report, (key, &steering_key), steered, &site_methods, &rules);
    }
    Site {
        name: hosts.first().map(host_name).unwrap_or_default(),
        hosts,
        origin: group.unwrap_or_default(),
        token,
        cors: raw.cors.as_ref().map(|raw| cors(report, &format!("{key}.cors"), raw)),
        merge_slashes: raw.merge_slashes,
        encodings: encodings(report, &format!("{key}.encodings"), &raw.encodings),
        cache_status_key: raw.cache_status_key,
        quota: quota(report, &format!("{key}.quota"), raw.quota.as_ref(), !file.store.disk.is_empty()),
        steering,
        rules,
        methods: site_methods,
    }
}

/// Whether the site's steering manifest can be asked for, and no rule is meant for its path.
fn steerable(
    report: &mut Report,
    (site, key): (&str, &str),
    steering: &Steering,
    methods: &[Method],
    rules: &[Rule],
) {
    if !methods.contains(&Method::GET) {
        let reason =
            "has no effect: the site's methods do not name GET, with which players ask for the manifest";
        report.mistake(key, reason, "add \"GET\" to methods, or remove it");
    }
    let names = |rule: &Rule| rule.path.as_ref().is_some_and(|path| *path == steering.path.as_str());
    for (place, _) in rules.iter().enumerate().filter(|(_, rule)| names(rule)) {
        let reason =
            format!("never applies: the node itself serves {} ([steering.{}])", steering.path, steering.name);
        report.mistake(
            &format!("{site}.rule[{place}].path"),
            reason,
            "remove the rule, or give the steering another path",
        );
    }
}

fn encodings(report: &mut Report, key: &str, raw: &[raw::Coding]) -> Vec<Coding> {
    let coding = |raw: &raw::Coding| match raw {
        raw::Coding::Zstd => Coding::Zstd,
        raw::Coding::Brotli => Coding::Brotli,
        raw::Coding::Gzip => Coding::Gzip,
    };
    let codings: Vec<Coding> = raw.iter().map(coding).collect();
    let shown = codings.iter().enumerate();
    no_duplicates(report, shown.map(|(place, coding)| (format!("{key}[{place}]"), coding.as_str())));
    codings
}

/// The least that a quota may be.
const QUOTA_BYTES_MIN: u64 = 1 << 20;

fn quota(report: &mut Report, key: &str, raw: Option<&raw::Quota>, has_disk: bool) -> Quota {
    let Some(raw) = raw else { return Quota::default() };
    if raw.disk.is_some() && !has_disk {
        let remedy = "remove it, or add store.disk";
        report.mistake(&format!("{key}.disk"), "has no effect without a disk", remedy);
    }
    let mut bytes = |name: &str, written: &Option<raw::Size>| {
        let key = format!("{key}.{name}");
        written.as_ref().map(|written| size(report, &key, written, QUOTA_BYTES_MIN, u64::MAX))
    };
    Quota { memory: bytes("memory", &raw.memory), disk: bytes("disk", &raw.disk) }
}

fn host_name(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Below(suffix) => format!("*{suffix}"),
        HostPattern::Exact(name) => name.clone(),
    }
}

pub(super) fn host_pattern(report: &mut Report, key: &str, written: &str) -> Option<HostPattern> {
    let name = written.to_ascii_lowercase();
    if name == "*" {
        return Some(HostPattern::Any);
    }
    let (below, rest) = match name.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, name.as_str()),
    };
    let reason = |why: &str| format!("\"{}\" {why}", written.escape_debug());
    let (reason, remedy) = if rest.contains("://") || rest.contains('/') {
        (reason("is an address, not a host name"), "write the host name alone, such as \"live.example.com\"")
    } else if is_ipv6(rest) || is_host_name(rest) {
        return Some(if below { HostPattern::Below(format!(".{rest}")) } else { HostPattern::Exact(name) });
    } else if rest
        .rsplit_once(':')
        .is_some_and(|(host, port)| is_host_name(host) && port.parse::<u16>().is_ok())
    {
        (reason("has a port"), "remove the port; a site answers on every listener")
    } else if rest.contains('*') {
        let remedy = "write \"*\" for any host, or \"*.\" and a name for any host below it";
        (reason("has a \"*\" where none may stand"), remedy)
    } else if rest.ends_with('.') {
        (reason("ends with a dot"), "remove the dot")
    } else if !rest.is_ascii() {
        (reason("is not ASCII"), "write the name as it is sent, in Punycode (\"xn--...\")")
    } else {
        (
            reason("is not a host name"),
            "write a name such as \"live.example.com\", \"*.example.com\" or \"*\"",
        )
    };
    report.mistake(key, reason, remedy);
    None
}

/// RFC 1123 section 2.1, with `_`, which some private names have.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_ipv6(name: &str) -> bool {
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}

fn cors(report: &mut Report, key: &str, raw: &raw::Cors) -> Cors {
    let place = |place: usize| format!("{key}.origins[{place}]");
    let any = raw.origins.iter().any(|origin| origin == "*");
    if any && raw.origins.len() > 1 {
        let reason = "\"*\" allows every origin, so the others have no effect";
        report.mistake(&format!("{key}.origins"), reason, "write [\"*\"], or the others alone");
    }
    if any && raw.credentials {
        let reason = "browsers take no credentials where any origin is allowed (\"*\")";
        report.mistake(&format!("{key}.credentials"), reason, "name the origins, or remove it");
    }
    for (number, written) in raw.origins.iter().enumerate().filter(|(_, written)| *written != "*") {
        if !is_web_origin(written) {
            let reason = format!("\"{}\" is not a web origin", written.escape_debug());
            let remedy = "write https://HOST[:PORT] in lower case, without path and \"/\"";
            report.mistake(&place(number), reason, remedy);
        }
    }
    no_duplicates(
        report,
        raw.origins.iter().enumerate().map(|(number, origin)| (place(number), origin.as_str())),
    );
    Cors {
        origins: (!any).then(|| raw.origins.clone()),
        credentials: raw.credentials && !any,
        max_age: duration(report, &format!("{key}.max_age"), &raw.max_age, Duration::ZERO, DURATION_MAX),
    }
}

/// The serialised origin that a browser sends (RFC 6454 section 6.2): compared byte by byte, so it is written the same.
fn is_web_origin(written: &str) -> bool {
    let Some(authority) = written.strip_prefix("https://").or_else(|| written.strip_prefix("http://")) else {
        return false;
    };
    let plain =
        !authority.contains(['/', '@', '?', '#']) && !written.bytes().any(|byte| byte.is_ascii_uppercase());
    plain
        && written.parse::<Uri>().is_ok_and(|uri| {
            let host = uri.host().unwrap_or_default();
            (is_host_name(host) || is_ipv6(host))
                && (uri.port_u16().is_some() || host.len() == authority.len())
        })
}

/// Methods, by name; also those of a rule.
pub(super) fn methods(report: &mut Report, key: &str, raw: &[String]) -> Vec<Method> {
    let mut methods = Vec::with_capacity(raw.len());
    for (place, word) in raw.iter().enumerate() {
        let key = format!("{key}[{place}]");
        match Method::from_bytes(word.as_bytes()) {
            Ok(Method::CONNECT | Method::TRACE) => {
                report.mistake(&key, format!("{word} is not passed on"), "remove it");
            }
            Ok(method) if word.bytes().any(|byte| byte.is_ascii_lowercase()) => {
                let reason = format!("\"{method}\" has lower case letters, and methods tell case apart");
                report.mistake(&key, reason, format!("write \"{}\"", word.to_ascii_uppercase()));
            }
            Ok(method) => methods.push(method),
            Err(_) => {
                let reason = format!("\"{}\" is not a method", word.escape_debug());
                report.mistake(&key, reason, "write names such as \"GET\"");
            }
        }
    }
    no_duplicates(
        report,
        raw.iter().enumerate().map(|(place, word)| (format!("{key}[{place}]"), word.as_str())),
    );
    methods
}
