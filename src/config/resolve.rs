//! From the file as written to the checked model: what values mean, and whether they go together.
//!
//! Called by [`super::parse`] with a file of the right shape. A mistake goes into the report, and a stand-in into the
//! model; a model with stand-ins is thrown away, because its report is not empty.

mod fleet;
mod geo;
mod origin;
mod purge;
mod server;
mod site;
mod steering;
mod token;

use std::collections::BTreeMap;
use std::time::Duration;

use super::diagnostic::{Report, nearest};
use super::model::Config;
use super::{raw, units};

/// The longest duration that any key takes: ten years. Keeps sums of instants and durations far from overflow.
const DURATION_MAX: Duration = Duration::from_secs(3650 * 86_400);

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The model of a file. Only to be used when the report is empty.
pub(super) fn resolve(file: &raw::File, report: &mut Report) -> Config {
    let server = server::server(report, &file.server);
    let store = server::store(report, &file.store);
    let limits = server::limits(report, &file.limits, store.memory);
    let log = server::log(report, &file.log);
    let purge = purge::purge(report, &file.purge, server.admin.is_some());
    let revocation = fleet::revocation(report, &file.revocation);
    let fleet = fleet::fleet(report, &file.fleet);
    let geo = geo::geo(report, &file.geo);
    let origins = file.origin.iter().map(|(name, origin)| origin::origin(report, name, origin));
    let mut origins: Vec<_> = origins.collect();
    origin::fallbacks(report, &file.origin, &mut origins);
    let places = token::bind::Places { written: &file.geo, geo: &geo };
    let tokens = file.token.iter().map(|(name, token)| token::policy(report, name, token, &places));
    let tokens: Vec<_> = tokens.collect();
    fleet::policies(report, file);
    fleet::rules(report, file);
    let steering = file.steering.iter();
    let steering = steering.map(|(name, raw)| steering::steering(report, name, raw, limits.connections));
    let steering: Vec<_> = steering.collect();
    let around = site::Around { memory: store.memory, tokens: &tokens, steering: &steering };
    let sites = site::sites(report, file, &around);
    let digest = digest(file);
    Config {
        server,
        store,
        limits,
        log,
        purge,
        revocation,
        fleet,
        geo,
        origins,
        tokens,
        steering,
        sites,
        digest,
    }
}

/// A digest of what nodes have in common. Names of files are part of it, what is in them is not.
fn digest(file: &raw::File) -> String {
    let mut written = serde_json::to_value(file).unwrap_or_default();
    if let Some(sections) = written.as_object_mut() {
        for own in ["server", "store", "log", "fleet", "revocation"] {
            sections.remove(own);
        }
    }
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(written.to_string().as_bytes()))
}

/// Reads a duration in a range, ends included.
fn duration(
    report: &mut Report,
    key: &str,
    written: &raw::Duration,
    min: Duration,
    max: Duration,
) -> Duration {
    match units::duration(&written.0) {
        Ok(duration) if (min..=max).contains(&duration) => duration,
        Ok(_) => {
            let remedy = format!(
                "write a duration from {} to {}",
                units::show_duration(min),
                units::show_duration(max)
            );
            report.mistake(key, format!("\"{}\" is out of range", written.0), remedy);
            min
        }
        Err(error) => {
            report.mistake(key, error.reason, error.remedy);
            min
        }
    }
}

/// Reads a size in a range of bytes, ends included.
fn size(report: &mut Report, key: &str, written: &raw::Size, min: u64, max: u64) -> u64 {
    match units::size(&written.0) {
        Ok(bytes) if (min..=max).contains(&bytes) => bytes,
        Ok(_) => {
            let remedy = if max == u64::MAX {
                format!("write {} or more", units::show_size(min))
            } else {
                format!("write a size from {} to {}", units::show_size(min), units::show_size(max))
            };
            report.mistake(key, format!("\"{}\" is out of range", written.0), remedy);
            min
        }
        Err(error) => {
            report.mistake(key, error.reason, error.remedy);
            min
        }
    }
}

/// Place of a name among the groups of a section (`origin`, `token`).
fn reference<T>(
    report: &mut Report,
    key: &str,
    section: &str,
    name: &str,
    groups: &BTreeMap<String, T>,
) -> Option<usize> {
    let place = groups.keys().position(|known| known == name);
    if place.is_none() {
        let remedy = match nearest(name, groups.keys().map(String::as_str)) {
            Some(known) => format!("did you mean \"{known}\"?"),
            None => format!("add a section [{section}.{}]", if is_label(name) { name } else { "NAME" }),
        };
        report.mistake(key, format!("there is no section [{section}.{}]", name.escape_debug()), remedy);
    }
    place
}

/// Checks a list for values that stand in it twice. `shown` are the values, in order, with the keys they stand at.
fn no_duplicates<'a>(report: &mut Report, shown: impl IntoIterator<Item = (String, &'a str)>) {
    let mut seen: BTreeMap<&str, String> = BTreeMap::new();
    for (key, value) in shown {
        match seen.get(value) {
            Some(first) => {
                let reason = format!("\"{}\" stands at {first} already", value.escape_debug());
                report.mistake(&key, reason, "remove one of them");
            }
            None => drop(seen.insert(value, key)),
        }
    }
}

/// Whether a name may stand in metric labels, logs and section headers as it is.
fn is_label(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Checks a name that is used as label.
fn label(report: &mut Report, key: &str, name: &str) {
    if !is_label(name) {
        let reason = format!("\"{}\" is not a usable name", name.escape_debug());
        report.mistake(key, reason, "use 1 to 64 ASCII letters, digits, \"-\" and \"_\"");
    }
}
