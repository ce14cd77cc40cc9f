//! What a rule says of header fields, cookies and claims: in its key, in its conditions, and in what viewers get.

use std::collections::BTreeMap;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use wildmatch::WildMatch;
use xxhash_rust::xxh3::Xxh3Default;

use crate::config::diagnostic::{Report, join, nearest};
use crate::config::model::{Claim, HeaderChanges, KeyParts, RequestHeaders};
use crate::config::raw;
use crate::config::resolve::no_duplicates;
use crate::fields;

/// Names in each list of a key at most.
const KEY_NAMES_MAX: usize = 16;

/// `claims` are those of the site's tokens; None: it asks for no token.
pub(super) fn key(
    report: &mut Report,
    key: &str,
    raw: &raw::Key,
    claims: Option<&'static [&'static str]>,
) -> KeyParts {
    let said = [raw.headers.len(), raw.cookies.len(), raw.claims.len()];
    if raw.query.is_none() && said == [0; 3] {
        let remedy = "name query parameters, headers, cookies or claims, or remove it";
        report.mistake(key, "has no effect: it names nothing", remedy);
    }
    for (name, len) in ["headers", "cookies", "claims"].iter().zip(said) {
        if len > KEY_NAMES_MAX {
            let reason = format!("names {len} fields, more than {KEY_NAMES_MAX}");
            report.mistake(&format!("{key}.{name}"), reason, "name those that tell answers apart");
        }
    }
    KeyParts {
        query: raw.query.as_ref().map(|names| query(report, &format!("{key}.query"), names)),
        headers: headers(report, &format!("{key}.headers"), &raw.headers),
        cookies: cookies(report, &format!("{key}.cookies"), &raw.cookies),
        claims: self::claims(report, &format!("{key}.claims"), &raw.claims, claims),
    }
}

fn query(report: &mut Report, key: &str, raw: &[String]) -> Vec<String> {
    for (place, name) in raw.iter().enumerate() {
        query_name(report, &format!("{key}[{place}]"), name);
    }
    once_each(report, key, raw);
    raw.to_vec()
}

/// The name of a query parameter, in normal form.
pub(in super::super) fn query_name(report: &mut Report, key: &str, name: &str) {
    if name.is_empty() || name.contains(['&', '=', '?', '#']) {
        let reason = format!("\"{}\" is not the name of a query parameter", name.escape_debug());
        report.mistake(key, reason, "write the name alone, such as \"lang\"");
    } else if !is_normal_name(name) {
        let reason = format!("\"{}\" matches no parameter in normal form", name.escape_debug());
        let remedy = "encode what is not a letter, a digit or one of \"-._~\" as %XX, in upper case";
        report.mistake(key, reason, remedy);
    }
}

/// Whether a parameter of this name can come: requests are compared in normal form (`src/key/target.rs`).
fn is_normal_name(name: &str) -> bool {
    let is_hex = |digit: &u8| digit.is_ascii_digit() || (b'A'..=b'F').contains(digit);
    let encodings = name.split('%').skip(1);
    name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte))
        && encodings
            .into_iter()
            .all(|rest| rest.as_bytes().get(..2).is_some_and(|two| two.iter().all(is_hex)))
}

fn headers(report: &mut Report, key: &str, raw: &[String]) -> Vec<HeaderName> {
    let mut names = Vec::with_capacity(raw.len());
    for (place, written) in raw.iter().enumerate() {
        let key = format!("{key}[{place}]");
        let Some(name) = field_name(report, &key, written) else { continue };
        if name == "cookie" {
            let remedy = "name the cookies in key.cookies";
            report.mistake(&key, "is different for nearly every request", remedy);
        } else if fields::is_withheld(name.as_str()) {
            let reason =
                format!("{name} is what a client could make up to be taken for another; no origin gets it");
            report.mistake(&key, reason, "remove it");
        } else if !fields::may_be_keyed(name.as_str()) {
            let reason =
                format!("{name} does not choose an answer, it says how one is to be sent or checked");
            report.mistake(&key, reason, "remove it");
        }
        names.push(name);
    }
    fields_once_each(report, key, raw);
    names
}

/// Fields that go to the origin beside those of the key.
pub(super) fn forward(report: &mut Report, key: &str, raw: &[String], parts: &KeyParts) -> Vec<HeaderName> {
    if raw.len() > KEY_NAMES_MAX {
        let reason = format!("names {} fields, more than {KEY_NAMES_MAX}", raw.len());
        report.mistake(key, reason, "name those that the origin cannot do without");
    }
    let names = headers(report, key, raw);
    for (place, name) in names.iter().enumerate() {
        let key = format!("{key}[{place}]");
        if *name == AUTHORIZATION {
            report.mistake(&key, "has no effect: authorization goes to the origin in any case", "remove it");
        } else if parts.headers.contains(name) {
            let reason = "has no effect: the key names it, and what the key names goes to the origin";
            report.mistake(&key, reason, "remove one of the two");
        }
    }
    names
}

fn cookies(report: &mut Report, key: &str, raw: &[String]) -> Vec<String> {
    for (place, name) in raw.iter().enumerate() {
        let is_name = HeaderName::from_bytes(name.as_bytes()).is_ok();
        if !is_name {
            let reason = format!("\"{}\" is not the name of a cookie", name.escape_debug());
            report.mistake(&format!("{key}[{place}]"), reason, "write the name alone, such as \"tier\"");
        }
    }
    once_each(report, key, raw);
    raw.to_vec()
}

fn claims(
    report: &mut Report,
    key: &str,
    raw: &[String],
    known: Option<&'static [&'static str]>,
) -> Vec<Claim> {
    let Some(known) = known else {
        if !raw.is_empty() {
            let reason = "has no effect: the site asks for no token";
            report.mistake(key, reason, "give the site a token policy, or remove it");
        }
        return Vec::new();
    };
    let mut claims = Vec::with_capacity(raw.len());
    for (place, name) in raw.iter().enumerate() {
        if !known.is_empty() && !known.contains(&name.as_str()) {
            let reason = format!("\"{}\" is not a claim of the site's tokens", name.escape_debug());
            let remedy = match nearest(name, known.iter().copied()) {
                Some(known) => format!("did you mean \"{known}\"?"),
                None => format!("write one of {}", known.join(", ")),
            };
            report.mistake(&format!("{key}[{place}]"), reason, remedy);
        } else if let Ok(field) = HeaderName::from_bytes(format!("forebay-claim-{name}").as_bytes()) {
            claims.push(Claim { name: name.clone(), field });
        }
    }
    once_each(report, key, raw);
    claims
}

/// Fields that a request must have. The order in which they are written says nothing.
pub(in super::super::super) fn request_headers(
    report: &mut Report,
    key: &str,
    raw: &BTreeMap<String, String>,
) -> RequestHeaders {
    if raw.is_empty() {
        report.mistake(key, "has no effect: it names nothing", "name a field, or remove it");
    }
    let mut fields = Vec::with_capacity(raw.len());
    for (written, glob) in raw {
        let key = join(key, written);
        let Some(name) = field_name(report, &key, written) else { continue };
        if fields::is_of_connection(name.as_str()) {
            let reason = format!("{name} belongs to one connection");
            report.mistake(&key, reason, "remove it");
        }
        fields.push((name, WildMatch::new(glob)));
    }
    fields.sort_by(|(a, _): &(HeaderName, _), (b, _)| a.as_str().cmp(b.as_str()));
    let mut hash = Xxh3Default::new();
    for (name, glob) in &fields {
        let glob = glob.to_string();
        for text in [name.as_str(), glob.as_str()] {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
    }
    RequestHeaders { fields, hash: hash.digest() }
}

/// Changes to what viewers get.
pub(super) fn changes(report: &mut Report, key: &str, raw: &raw::HeaderChanges) -> HeaderChanges {
    if raw.set.is_empty() && raw.remove.is_empty() {
        report.mistake(key, "has no effect: it names nothing", "name a field, or remove it");
    }
    let mut changes = HeaderChanges::default();
    for (written, value) in &raw.set {
        let key = join(&format!("{key}.set"), written);
        let Some(name) = changeable(report, &key, written) else { continue };
        match HeaderValue::from_str(value) {
            Ok(value) => changes.set.push((name, value)),
            Err(_) => {
                let reason = format!("\"{}\" is not the value of a field", value.escape_debug());
                report.mistake(&key, reason, "write printable ASCII characters");
            }
        }
    }
    for (place, written) in raw.remove.iter().enumerate() {
        let key = format!("{key}.remove[{place}]");
        let Some(name) = changeable(report, &key, written) else { continue };
        if changes.set.iter().any(|(set, _)| *set == name) {
            report.mistake(
                &key,
                format!("{name} is set, too"),
                "remove one of the two; set takes the old value's place",
            );
        }
        changes.remove.push(name);
    }
    fields_once_each(report, &format!("{key}.remove"), &raw.remove);
    changes
}

fn changeable(report: &mut Report, key: &str, written: &str) -> Option<HeaderName> {
    let name = field_name(report, key, written)?;
    if !fields::may_be_set(name.as_str()) {
        let reason =
            format!("{name} says how a message is framed, made or checked, and is the node's to write");
        report.mistake(key, reason, "remove it");
    }
    Some(name)
}

fn field_name(report: &mut Report, key: &str, written: &str) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(written.as_bytes()).ok();
    if name.is_none() {
        let reason = format!("\"{}\" is not the name of a header field", written.escape_debug());
        report.mistake(key, reason, "write the name alone, such as \"accept-language\"");
    }
    name
}

fn once_each(report: &mut Report, key: &str, raw: &[String]) {
    no_duplicates(
        report,
        raw.iter().enumerate().map(|(place, name)| (format!("{key}[{place}]"), name.as_str())),
    );
}

/// Names of fields are equal in any case.
fn fields_once_each(report: &mut Report, key: &str, raw: &[String]) {
    let lower: Vec<String> = raw.iter().map(|name| name.to_ascii_lowercase()).collect();
    once_each(report, key, &lower);
}
