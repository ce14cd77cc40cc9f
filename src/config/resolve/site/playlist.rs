//! `playlist` of a rule: what it means, and whether it can have an effect.

use xxhash_rust::xxh3::xxh3_64;

use super::super::super::diagnostic::{Report, join, nearest};
use super::super::super::model::{
    BoundsByClaim, ClaimValue, HostChange, OrderBy, PlaylistChanges, VariantBounds, VariantChoice,
    VariantOrder,
};
use super::super::super::raw;
use super::super::no_duplicates;
use super::{is_host_name, is_ipv6, rule};

/// Parameters that are dropped at most.
const PARAMETERS_MAX: usize = 8;

/// Hosts that are changed at most.
const HOSTS_MAX: usize = 32;

/// Prefixes of codecs at most.
const CODECS_MAX: usize = 32;

/// Values of a claim at most: as many copies there are of a playlist.
const VALUES_MAX: usize = 64;

/// `claims` are those of the site's tokens; None: it asks for no token. `query` is the rule's `key.query`.
pub(super) fn playlist(
    report: &mut Report,
    key: &str,
    raw: &raw::Playlist,
    claims: Option<&'static [&'static str]>,
    query: Option<&[String]>,
) -> PlaylistChanges {
    if raw.drop_parameters.is_empty() && raw.hosts.is_empty() && raw.variants.is_none() {
        let remedy = "say drop_parameters, hosts or variants, or remove it";
        report.mistake(key, "has no effect: it changes nothing", remedy);
    }
    PlaylistChanges {
        drop_parameters: parameters(report, &format!("{key}.drop_parameters"), &raw.drop_parameters, query),
        hosts: hosts(report, &format!("{key}.hosts"), raw),
        variants: raw.variants.as_ref().map(|raw| variants(report, &format!("{key}.variants"), raw, claims)),
    }
}

fn parameters(report: &mut Report, key: &str, raw: &[String], query: Option<&[String]>) -> Vec<String> {
    at_most(report, key, raw.len(), PARAMETERS_MAX);
    for (place, name) in raw.iter().enumerate() {
        let key = format!("{key}[{place}]");
        rule::query_name(report, &key, name);
        if name.starts_with("_HLS_") {
            let reason = "is a directive of the player, and always part of the key";
            report.mistake(&key, reason, "remove it");
        }
        if query.is_some_and(|query| query.contains(name)) {
            let reason = "is part of the rule's key, too";
            report.mistake(&key, reason, "remove it here or in key.query");
        }
    }
    once_each(report, key, raw);
    raw.to_vec()
}

fn hosts(report: &mut Report, key: &str, raw: &raw::Playlist) -> Vec<HostChange> {
    at_most(report, key, raw.hosts.len(), HOSTS_MAX);
    let mut changes: Vec<HostChange> = Vec::with_capacity(raw.hosts.len());
    for (from, to) in &raw.hosts {
        let key = join(key, from);
        let Some((host, port)) = authority(report, &key, from) else { continue };
        if !to.is_empty() && authority(report, &key, to).is_none() {
            continue;
        }
        if from.eq_ignore_ascii_case(to) {
            report.mistake(&key, "has no effect: it is replaced by itself", "remove it");
        }
        if changes.iter().any(|known| (&known.host, known.port) == (&host, port)) {
            report.mistake(&key, "stands here twice, in two spellings", "remove one of them");
        }
        changes.push(HostChange { host, port, to: to.to_ascii_lowercase() });
    }
    changes
}

/// `HOST` or `HOST:PORT`, in lower case.
fn authority(report: &mut Report, key: &str, written: &str) -> Option<(String, Option<u16>)> {
    let lower = written.to_ascii_lowercase();
    let split = lower.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let (host, port) = match split {
        Some((host, port)) => (host, port.parse::<u16>().ok().filter(|port| *port != 0).map(Some)),
        None => (lower.as_str(), Some(None)),
    };
    if let Some(port) = port.filter(|_| is_host_name(host) || is_ipv6(host)) {
        return Some((host.to_owned(), port));
    }
    let reason = format!("\"{}\" is not a host", written.escape_debug());
    report.mistake(key, reason, "write HOST or HOST:PORT, such as \"cdn.example\", without scheme and path");
    None
}

fn variants(
    report: &mut Report,
    key: &str,
    raw: &raw::Variants,
    claims: Option<&'static [&'static str]>,
) -> VariantChoice {
    let own = raw::Bounds {
        height_max: raw.height_max,
        height_min: raw.height_min,
        bandwidth_max: raw.bandwidth_max,
        bandwidth_min: raw.bandwidth_min,
        codecs: raw.codecs.clone(),
    };
    let bounds = self::bounds(report, key, &own);
    if bounds.is_empty() && raw.order.is_none() && raw.by_claim.is_none() {
        report.mistake(key, "has no effect: it says no bound and no order", "say one, or remove it");
    }
    let by_claim = raw.by_claim.as_ref();
    VariantChoice {
        bounds,
        order: raw.order.map(order),
        by_claim: by_claim.and_then(|raw| self::by_claim(report, &format!("{key}.by_claim"), raw, claims)),
    }
}

fn bounds(report: &mut Report, key: &str, raw: &raw::Bounds) -> VariantBounds {
    let pairs =
        [("height", raw.height_min, raw.height_max), ("bandwidth", raw.bandwidth_min, raw.bandwidth_max)];
    for (name, least, most) in pairs {
        if let (Some(least), Some(most)) = (least, most)
            && least > most
        {
            let reason = format!("{least} is more than {name}_max, {most}: no variant is within both");
            report.mistake(&format!("{key}.{name}_min"), reason, "lower it, or raise the other");
        }
    }
    let codecs = format!("{key}.codecs");
    at_most(report, &codecs, raw.codecs.len(), CODECS_MAX);
    for (place, codec) in raw.codecs.iter().enumerate() {
        if codec.is_empty() || !codec.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.') {
            let reason = format!("\"{}\" begins no codec", codec.escape_debug());
            report.mistake(&format!("{codecs}[{place}]"), reason, "write it as in CODECS, such as \"avc1\"");
        }
    }
    once_each(report, &codecs, &raw.codecs);
    VariantBounds {
        height: (raw.height_min, raw.height_max),
        bandwidth: (raw.bandwidth_min, raw.bandwidth_max),
        codecs: raw.codecs.clone(),
    }
}

fn order(raw: raw::Order) -> VariantOrder {
    let (by, down) = match raw {
        raw::Order::Bandwidth => (OrderBy::Bandwidth, false),
        raw::Order::BandwidthDown => (OrderBy::Bandwidth, true),
        raw::Order::Height => (OrderBy::Height, false),
        raw::Order::HeightDown => (OrderBy::Height, true),
        raw::Order::FrameRate => (OrderBy::FrameRate, false),
        raw::Order::FrameRateDown => (OrderBy::FrameRate, true),
    };
    VariantOrder { by, down }
}

fn by_claim(
    report: &mut Report,
    key: &str,
    raw: &raw::ByClaim,
    known: Option<&'static [&'static str]>,
) -> Option<BoundsByClaim> {
    let claim = format!("{key}.claim");
    match known {
        None => {
            let reason = "has no effect: the site asks for no token";
            report.mistake(&claim, reason, "give the site a token policy, or remove it");
        }
        Some(known) if !known.is_empty() && !known.contains(&raw.claim.as_str()) => {
            let reason = format!("\"{}\" is not a claim of the site's tokens", raw.claim.escape_debug());
            let remedy = match nearest(&raw.claim, known.iter().copied()) {
                Some(known) => format!("did you mean \"{known}\"?"),
                None => format!("write one of {}", known.join(", ")),
            };
            report.mistake(&claim, reason, remedy);
        }
        Some(_) if raw.claim.is_empty() => {
            report.mistake(&claim, "\"\" is no name", "write the name of a claim");
        }
        Some(_) => {}
    }
    let values = format!("{key}.values");
    if raw.values.is_empty() {
        report.mistake(&values, "has no effect: it lists no value", "list one, or remove by_claim");
    }
    at_most(report, &values, raw.values.len(), VALUES_MAX);
    // A map that is sorted gives them in their order.
    let listed = raw.values.iter().map(|(value, raw)| {
        let bounds = bounds(report, &join(&values, value), raw);
        let hash = xxh3_64(format!("{bounds:?}").as_bytes());
        ClaimValue { value: value.clone(), bounds, hash }
    });
    let listed = listed.collect();
    Some(BoundsByClaim { claim: raw.claim.clone(), values: listed })
}

fn at_most(report: &mut Report, key: &str, len: usize, most: usize) {
    if len > most {
        report.mistake(key, format!("names {len}, more than {most}"), "remove those that are not needed");
    }
}

fn once_each(report: &mut Report, key: &str, raw: &[String]) {
    let places = raw.iter().enumerate();
    no_duplicates(report, places.map(|(place, name)| (format!("{key}[{place}]"), name.as_str())));
}
