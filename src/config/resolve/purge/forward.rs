//! `[[purge.forward]]`: what it means, and whether every purge that it takes has what it asks for.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Uri};

use super::super::super::diagnostic::Report;
use super::super::super::files;
use super::super::super::model::{Forward, Secret};
use super::super::super::raw;
use super::super::{DAY, duration, label, no_duplicates};

/// Places that purges are passed on to, at most.
const FORWARDS_MAX: usize = 16;

/// Fields that the node sets itself.
const OWN_FIELDS: [&str; 5] =
    ["content-length", "transfer-encoding", "connection", "idempotency-key", "forebay-signature"];

pub(super) fn forwards(report: &mut Report, raw: &[raw::Forward]) -> Vec<Forward> {
    if raw.len() > FORWARDS_MAX {
        let reason = format!("are {} places to pass purges on to", raw.len());
        report.mistake("purge.forward", reason, format!("write {FORWARDS_MAX} at most"));
    }
    let names = raw.iter().enumerate();
    no_duplicates(
        report,
        names.map(|(place, raw)| (format!("purge.forward[{place}].name"), raw.name.as_str())),
    );
    raw.iter()
        .enumerate()
        .map(|(place, raw)| forward(report, &format!("purge.forward[{place}]"), raw))
        .collect()
}

fn forward(report: &mut Report, key: &str, raw: &raw::Forward) -> Forward {
    label(report, &format!("{key}.name"), &raw.name);
    url(report, &format!("{key}.url"), raw);
    let method = Method::from_bytes(raw.method.as_bytes()).unwrap_or_else(|_| {
        let reason = format!("\"{}\" is no method", raw.method.escape_debug());
        report.mistake(&format!("{key}.method"), reason, "write one such as \"POST\" or \"PURGE\"");
        Method::POST
    });
    let headers: Vec<_> = raw
        .headers
        .iter()
        .filter_map(|(name, value)| {
            let key = format!("{key}.headers.{name}");
            if HeaderValue::from_str(value).is_err() {
                report.mistake(&key, "holds what no field can", "write visible ASCII characters and spaces");
            }
            Some((field(report, &key, name)?, value.clone()))
        })
        .collect();
    let secret_headers: Vec<_> = raw
        .secret_headers
        .iter()
        .filter_map(|(name, file)| {
            let key = format!("{key}.secret_headers.{name}");
            let secret = files::secret_text(report, &key, file)?;
            if HeaderValue::from_str(&secret).is_err() {
                let reason = format!("file \"{file}\" holds what no field can");
                report.mistake(&key, reason, "write one line of visible ASCII characters and spaces");
            }
            Some((field(report, &key, name)?, Secret(secret.into_bytes())))
        })
        .collect();
    let templates = std::iter::once((format!("{key}.url"), raw.url.as_str()))
        .chain(raw.headers.iter().map(|(name, value)| (format!("{key}.headers.{name}"), value.as_str())))
        .chain(raw.body.iter().map(|body| (format!("{key}.body"), body.as_str())));
    let templates: Vec<_> = templates.collect();
    let mut used = Vec::new();
    for (key, template) in &templates {
        for word in words(template) {
            if Forward::WORDS.contains(&word) {
                used.push(word);
            } else {
                let known = Forward::WORDS.map(|word| format!("{{{word}}}")).join(", ");
                report.mistake(key, format!("{{{word}}} stands for nothing"), format!("use {known}"));
            }
        }
    }
    let day = DAY;
    Forward {
        name: raw.name.clone(),
        url: raw.url.clone(),
        method,
        headers,
        secret_headers,
        body: raw.body.clone(),
        scopes: scopes(report, &format!("{key}.targets"), raw, &used),
        sign: raw.sign.as_ref().map(|raw| super::key(report, &format!("{key}.sign"), raw)),
        timeout: duration(
            report,
            &format!("{key}.timeout"),
            &raw.timeout,
            Duration::from_millis(100),
            Duration::from_secs(60),
        ),
        attempts: within(report, &format!("{key}.attempts"), raw.attempts, 1000),
        give_up: duration(report, &format!("{key}.give_up"), &raw.give_up, Duration::from_secs(1), 7 * day),
        queue: usize::try_from(within(report, &format!("{key}.queue"), raw.queue, 100_000)).unwrap_or(1),
    }
}

fn within(report: &mut Report, key: &str, written: u32, most: u32) -> u32 {
    if !(1..=most).contains(&written) {
        report.mistake(key, format!("{written} is out of range"), format!("write a number from 1 to {most}"));
        return 1;
    }
    written
}

/// The words in braces; braces around anything but lower-case letters are text.
fn words(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).filter_map(|after| {
        let (word, _) = after.split_once('}')?;
        (!word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase())).then_some(word)
    })
}

/// What has all that is asked for.
fn scopes(report: &mut Report, key: &str, raw: &raw::Forward, used: &[&str]) -> Vec<&'static str> {
    let has = |scope: &str, word: &str| match word {
        "path" => matches!(scope, "url" | "prefix"),
        "tag" => scope == "tag",
        "site" => scope != "everything",
        _ => true,
    };
    let lacks = |scope: &str| used.iter().find(|word| !has(scope, word)).copied();
    let Some(written) = &raw.targets else {
        let scopes: Vec<_> = Forward::SCOPES.into_iter().filter(|scope| lacks(scope).is_none()).collect();
        if scopes.is_empty() {
            let reason = "would be empty: no purge has all the words that are used";
            report.mistake(key, reason, "use {path} or {tag}, not both");
        }
        return scopes;
    };
    if written.is_empty() {
        report.mistake(
            key,
            "is empty: nothing would be passed on",
            "name what is, or remove the whole entry",
        );
    }
    let mut scopes = Vec::new();
    for scope in written {
        let word = match scope {
            raw::Scope::Url => "url",
            raw::Scope::Prefix => "prefix",
            raw::Scope::Tag => "tag",
            raw::Scope::Site => "site",
            raw::Scope::Everything => "everything",
        };
        if let Some(lacking) = lacks(word) {
            let reason = format!("\"{word}\" has nothing that {{{lacking}}} stands for");
            report.mistake(key, reason, "take it out of the list, or write two entries");
        }
        if !scopes.contains(&word) {
            scopes.push(word);
        }
    }
    scopes
}

fn field(report: &mut Report, key: &str, name: &str) -> Option<HeaderName> {
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        report.mistake(key, "is no name of a field", "use letters, digits and \"-\"");
        return None;
    };
    if OWN_FIELDS.contains(&parsed.as_str()) {
        report.mistake(key, "is set by the node", "remove it");
        return None;
    }
    Some(parsed)
}

/// The host is the operator's: no purge may name it.
fn url(report: &mut Report, key: &str, raw: &raw::Forward) {
    let written = raw.url.as_str();
    // A path begins with a slash.
    let plain = Forward::WORDS
        .iter()
        .fold(written.replace("{path}", "/x"), |url, word| url.replace(&format!("{{{word}}}"), "x"));
    let uri: Option<Uri> = plain.parse().ok();
    let authority = uri.as_ref().and_then(|uri| uri.authority()).map(|authority| authority.as_str());
    let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
    let is_fixed = authority.is_some_and(|authority| {
        let behind = written.split_once("://").map(|(_, behind)| behind).unwrap_or_default();
        let begins_path = |rest: &str| rest.is_empty() || rest.starts_with('/') || rest.starts_with("{path}");
        behind.strip_prefix(authority).is_some_and(begins_path)
    });
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_here = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    match uri.as_ref().and_then(|uri| uri.scheme_str()) {
        Some("https" | "http") if !is_fixed => {
            let reason = format!("\"{}\" has no fixed host", written.escape_debug());
            report.mistake(
                key,
                reason,
                "write https://HOST/PATH, with words in braces in the path or behind a ?",
            );
        }
        Some("https") => {}
        Some("http") if is_here || raw.secret_headers.is_empty() => {}
        Some("http") => {
            let reason = format!(
                "\"{}\" is asked without TLS: others could read secret_headers",
                written.escape_debug()
            );
            report.mistake(key, reason, "write https://");
        }
        _ => {
            let reason = format!("\"{}\" is no URL", written.escape_debug());
            report.mistake(key, reason, "write https://HOST/PATH");
        }
    }
}
