//! `[steering.NAME]`: what it means.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Uri;

use super::super::diagnostic::{Report, join};
use super::super::model::{Overload, Pathway, Replacement, Steering, SteeringTag};
use super::super::{raw, units};
use super::{DAY, duration, label, no_duplicates, origin};

/// Bits per second of a bound of egress, at least.
const EGRESS_MIN: u64 = 1000;

/// Bytes of a pathway's ID.
const ID_BYTES_MAX: usize = 64;

/// Query parameters of a pathway.
const PARAMS_MAX: usize = 16;

/// Bytes of the name, and of the value, of a parameter.
const PARAM_BYTES_MAX: usize = 1024;

/// `connections` are those that the node takes at once.
pub(super) fn steering(report: &mut Report, name: &str, raw: &raw::Steering, connections: usize) -> Steering {
    let key = join("steering", name);
    label(report, &key, name);
    let ttl_key = format!("{key}.ttl");
    let ttl = duration(report, &ttl_key, &raw.ttl, Duration::from_secs(1), DAY);
    if ttl.subsec_nanos() != 0 {
        report.mistake(&ttl_key, "is no whole number of seconds", "write whole seconds, such as \"300s\"");
    }
    path(report, &format!("{key}.path"), &raw.path, "/steering.json");
    let pathways = pathways(report, &format!("{key}.pathways"), &raw.pathways);
    if let Some(written) = &raw.successor {
        successor(report, &format!("{key}.successor"), written);
    }
    Steering {
        name: name.to_owned(),
        path: raw.path.clone(),
        ttl,
        node: raw.pathways.iter().position(|pathway| pathway.node).unwrap_or_default(),
        pathways,
        replace: raw.replace,
        successor: raw.successor.clone(),
        overload: overload(report, &format!("{key}.overload"), raw.overload.as_ref(), connections),
    }
}

/// One spelling of a path, which is its normal form: no request for it is missed.
pub(super) fn path(report: &mut Report, key: &str, written: &str, example: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(plain);
    if !written.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_segment)) {
        let reason = format!("\"{}\" is not a path that the node can serve", written.escape_debug());
        let remedy = format!(
            "write a path such as \"{example}\": letters, digits, \"-\", \".\", \"_\", \"~\" between single \"/\""
        );
        report.mistake(key, reason, remedy);
    }
}

fn pathways(report: &mut Report, key: &str, raw: &[raw::Pathway]) -> Vec<Pathway> {
    let place = |place: usize| format!("{key}[{place}]");
    for (number, pathway) in raw.iter().enumerate() {
        if !is_id(&pathway.id) {
            let reason = format!("\"{}\" is not a pathway's ID", pathway.id.escape_debug());
            let remedy = "use 1 to 64 ASCII letters, digits, \".\", \"-\" and \"_\"";
            report.mistake(&format!("{}.id", place(number)), reason, remedy);
        }
    }
    let ids = raw
        .iter()
        .enumerate()
        .map(|(number, pathway)| (format!("{}.id", place(number)), pathway.id.as_str()));
    no_duplicates(report, ids);
    let mut own = raw.iter().enumerate().filter(|(_, pathway)| pathway.node);
    if own.next().is_none() {
        report.mistake(key, "none is this node's own", "add node = true to the pathway that leads here");
    }
    for (number, _) in own {
        let reason = "a second pathway of this node: players would fetch the same from it";
        report.mistake(&format!("{}.node", place(number)), reason, "let one pathway be the node's");
    }
    weights(report, key, raw);
    raw.iter().enumerate().map(|(number, raw)| pathway(report, &place(number), raw)).collect()
}

fn weights(report: &mut Report, key: &str, raw: &[raw::Pathway]) {
    if raw.iter().all(|pathway| pathway.weight.is_none()) {
        return;
    }
    for (number, _) in raw.iter().enumerate().filter(|(_, pathway)| pathway.weight.is_none()) {
        let reason = "has no weight, and others have";
        report.mistake(&format!("{key}[{number}]"), reason, "give each a weight, or none");
    }
    if raw.iter().all(|pathway| pathway.weight.unwrap_or_default() == 0) {
        report.mistake(key, "all weights are 0", "give at least one a weight of 1 or more");
    }
}

fn is_id(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

fn pathway(report: &mut Report, key: &str, raw: &raw::Pathway) -> Pathway {
    let replaces = raw.host.is_some() || !raw.params.is_empty();
    if raw.node && replaces {
        let reason = "is this node's own, so nothing of its URIs is replaced";
        report.mistake(key, reason, "remove host and params, or node");
    }
    let host = raw.host.as_ref().map(|written| origin::host(report, &format!("{key}.host"), written));
    params(report, &format!("{key}.params"), &raw.params);
    Pathway {
        id: raw.id.clone(),
        replacement: replaces.then(|| Replacement { host, params: raw.params.clone() }),
        weight: raw.weight,
    }
}

fn params(report: &mut Report, key: &str, raw: &BTreeMap<String, String>) {
    if raw.len() > PARAMS_MAX {
        report.mistake(key, format!("has {} parameters", raw.len()), format!("name at most {PARAMS_MAX}"));
    }
    for (name, value) in raw {
        let usable = !name.is_empty() && name.len() <= PARAM_BYTES_MAX && value.len() <= PARAM_BYTES_MAX;
        if !usable {
            let reason = "has no name, or is longer than 1024 bytes";
            report.mistake(&join(key, name), reason, "write a name and a value of up to 1024 bytes each");
        }
    }
}

fn successor(report: &mut Report, key: &str, written: &str) {
    let usable = written.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    });
    if !usable || written.contains('#') {
        let reason = format!("\"{}\" is not the URL of a steering server", written.escape_debug());
        report.mistake(key, reason, "write an absolute URL, such as \"https://HOST/steering.json\"");
    }
}

fn overload(report: &mut Report, key: &str, raw: Option<&raw::Overload>, connections: usize) -> Overload {
    let Some(raw) = raw else {
        return Overload { viewers: None, connections: None, egress: None, until: 100 };
    };
    if raw.viewers.is_none() && raw.connections.is_none() && raw.egress.is_none() {
        let remedy = "add viewers, connections or egress, or remove it";
        report.mistake(key, "has no effect without a bound", remedy);
    }
    if raw.connections.is_some_and(|bound| bound >= connections as u64) {
        let reason = format!("is never exceeded: limits.connections is {connections}");
        report.mistake(&format!("{key}.connections"), reason, "lower it below limits.connections");
    }
    let egress = raw.egress.as_ref().and_then(|written| egress(report, &format!("{key}.egress"), &written.0));
    Overload { viewers: raw.viewers, connections: raw.connections, egress, until: raw.until }
}

/// A bound in bits per second, [`EGRESS_MIN`] at least.
fn egress(report: &mut Report, key: &str, written: &str) -> Option<u64> {
    match units::bit_rate(written) {
        Ok(bits) if bits >= EGRESS_MIN => return Some(bits),
        Ok(_) => {
            let reason = format!("\"{written}\" is less than 1kbit/s");
            report.mistake(key, reason, "write a bit rate, such as \"8Gbit/s\"");
        }
        Err(error) => report.mistake(key, error.reason, error.remedy),
    }
    None
}

/// What a rule puts into playlists: `key` is that of its `steering`, `of_site` what its site refers to.
pub(super) fn tag(
    report: &mut Report,
    key: &str,
    raw: &raw::Steered,
    of_site: Option<&Steering>,
) -> Option<SteeringTag> {
    let wanted = match raw {
        raw::Steered::Switch(false) => return None,
        raw::Steered::Switch(true) => None,
        raw::Steered::Pathway(id) => Some(id),
    };
    let Some(steering) = of_site else {
        let remedy = "add steering = \"NAME\" to the site, with a section [steering.NAME]";
        report.mistake(key, "the site has no steering", remedy);
        return None;
    };
    if let Some(id) = wanted {
        let remedy = "write the id of a pathway that playlists name, or true for this node's own";
        match steering.pathways.iter().find(|pathway| pathway.id == *id) {
            None => {
                let reason = format!("[steering.{}] has no pathway \"{}\"", steering.name, id.escape_debug());
                report.mistake(key, reason, remedy);
            }
            Some(pathway) if pathway.replacement.is_some() => {
                let reason = format!("players make \"{id}\" of this node's own: no playlist names it");
                report.mistake(key, reason, remedy);
            }
            Some(_) => {}
        }
    }
    let own = steering.pathways.get(steering.node).map(|pathway| &pathway.id);
    let pathway = wanted.or(own)?.clone();
    Some(SteeringTag { server_uri: steering.path.clone(), pathway, replace: steering.replace })
}
