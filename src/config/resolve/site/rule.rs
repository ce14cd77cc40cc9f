//! `[[site.rule]]`: what it means, and whether it can ever apply.

use std::time::Duration;

use wildmatch::WildMatch;

use crate::asset::Kind;

use super::super::super::diagnostic::Report;
use super::super::super::model::{DiskAdmission, Rule};
use super::super::super::raw;
use super::super::{DURATION_MAX, duration, no_duplicates};

/// `site` is the key of the site.
pub(super) fn rules(report: &mut Report, site: &str, raw: &[raw::Rule]) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::with_capacity(raw.len());
    for (place, raw_rule) in raw.iter().enumerate() {
        let key = format!("{site}.rule[{place}]");
        let rule = rule(report, &key, raw_rule);
        if let Some(first) = rules.iter().position(|earlier| covers(earlier, &rule)) {
            let reason = format!(
                "never applies: {site}.rule[{first}] stands before it and matches all that it matches"
            );
            report.mistake(&key, reason, "put it before that rule, or remove it");
        }
        rules.push(rule);
    }
    rules
}

fn rule(report: &mut Report, key: &str, raw: &raw::Rule) -> Rule {
    ineffective(report, key, raw);
    let mut time = |name: &str, written: &Option<raw::Duration>| {
        let key = format!("{key}.{name}");
        written.as_ref().map(|written| duration(report, &key, written, Duration::ZERO, DURATION_MAX))
    };
    let ttl = time("ttl", &raw.ttl);
    let browser_ttl = time("browser_ttl", &raw.browser_ttl);
    let stale_while_revalidate = time("stale_while_revalidate", &raw.stale_while_revalidate);
    let stale_if_error = time("stale_if_error", &raw.stale_if_error);
    Rule {
        path: raw.path.as_ref().map(|written| path(report, &format!("{key}.path"), written)),
        kinds: kinds(report, &format!("{key}.kind"), raw),
        status: status(report, &format!("{key}.status"), raw),
        ttl,
        browser_ttl,
        stale_while_revalidate,
        stale_if_error,
        bypass: raw.bypass,
        key_query: raw.key.as_ref().map(|raw| query(report, &format!("{key}.key.query"), &raw.query)),
        disk: raw.disk.map(|written| match written {
            raw::DiskAdmission::Second => DiskAdmission::Second,
            raw::DiskAdmission::Always => DiskAdmission::Always,
            raw::DiskAdmission::Never => DiskAdmission::Never,
        }),
    }
}

/// Settings that cannot do anything beside others of the rule.
fn ineffective(report: &mut Report, key: &str, raw: &raw::Rule) {
    if raw.bypass {
        for (name, written) in [
            ("status", raw.status.is_some()),
            ("ttl", raw.ttl.is_some()),
            ("browser_ttl", raw.browser_ttl.is_some()),
            ("stale_while_revalidate", raw.stale_while_revalidate.is_some()),
            ("stale_if_error", raw.stale_if_error.is_some()),
            ("key", raw.key.is_some()),
            ("disk", raw.disk.is_some()),
        ] {
            if written {
                let reason = "has no effect beside bypass = true";
                report.mistake(&format!("{key}.{name}"), reason, "remove one of the two");
            }
        }
    } else if raw.status.is_some() && raw.key.is_some() {
        let reason = "has no effect beside status: the key is made before there is an answer";
        report.mistake(&format!("{key}.key"), reason, "move it to a rule without status");
    }
}

fn path(report: &mut Report, key: &str, written: &str) -> WildMatch {
    let reason = |why: &str| format!("\"{}\" {why}", written.escape_debug());
    if !written.starts_with(['/', '*']) {
        let remedy = format!("write \"/{}\" or \"*{}\"", written.escape_debug(), written.escape_debug());
        report.mistake(key, reason("matches no path: every path begins with \"/\""), remedy);
    } else if written.contains('#') || written.contains("://") {
        report.mistake(key, reason("matches no path"), "write the path alone, such as \"/live/*\"");
    }
    WildMatch::new(written)
}

fn kinds(report: &mut Report, key: &str, raw: &raw::Rule) -> Vec<Kind> {
    let Some(written) = &raw.kind else { return Vec::new() };
    let places = written.places();
    let mut kinds = Vec::with_capacity(places.len());
    for (place, word) in &places {
        match Kind::from_word(&word.0) {
            Some(kind) => kinds.push(kind),
            None => {
                let words = Kind::ALL.map(Kind::as_str).join(", ");
                let reason = format!("\"{}\" is not a kind", word.0.escape_debug());
                report.mistake(&format!("{key}{place}"), reason, format!("write one of {words}"));
            }
        }
    }
    no_duplicates(report, places.iter().map(|(place, word)| (format!("{key}{place}"), word.0.as_str())));
    kinds
}

fn status(report: &mut Report, key: &str, raw: &raw::Rule) -> Vec<u16> {
    let Some(written) = &raw.status else { return Vec::new() };
    let places = written.places();
    let words: Vec<String> = places.iter().map(|(_, status)| status.0.to_string()).collect();
    no_duplicates(
        report,
        places.iter().zip(&words).map(|((place, _), word)| (format!("{key}{place}"), word.as_str())),
    );
    places.iter().map(|(_, status)| status.0).collect()
}

fn query(report: &mut Report, key: &str, raw: &[String]) -> Vec<String> {
    for (place, name) in raw.iter().enumerate() {
        if name.is_empty() || name.contains(['&', '=', '?', '#']) {
            let reason = format!("\"{}\" is not the name of a query parameter", name.escape_debug());
            report.mistake(&format!("{key}[{place}]"), reason, "write the name alone, such as \"lang\"");
        }
    }
    no_duplicates(
        report,
        raw.iter().enumerate().map(|(place, name)| (format!("{key}[{place}]"), name.as_str())),
    );
    raw.to_vec()
}

/// Whether an earlier rule matches everything that a later one does. Says no where it is not certain.
fn covers(earlier: &Rule, later: &Rule) -> bool {
    covers_path(earlier.path.as_ref(), later.path.as_ref())
        && covers_list(&earlier.kinds, &later.kinds)
        && covers_status(earlier, later)
}

/// A glob matches all that another one matches if it matches the other's text, its wildcards taken as characters: a
/// `*` of the text can only be met by a `*`. A `?` would meet it too, though it stands for any length: then the answer
/// is not certain.
fn covers_path(earlier: Option<&WildMatch>, later: Option<&WildMatch>) -> bool {
    let Some(earlier) = earlier else { return true };
    let (pattern, text) = (earlier.to_string(), later.map_or("*".to_owned(), ToString::to_string));
    if pattern == text || matches!(pattern.as_str(), "*" | "/*") {
        return true;
    }
    let certain = !pattern.contains('?') || !text.contains('*');
    certain && earlier.matches(&text)
}

fn covers_list<T: PartialEq>(earlier: &[T], later: &[T]) -> bool {
    earlier.is_empty() || (!later.is_empty() && later.iter().all(|value| earlier.contains(value)))
}

/// Without statuses a rule applies to those that are kept by default: 200 is one, the others depend on the asset.
/// A bypass does not ask for the status.
fn covers_status(earlier: &Rule, later: &Rule) -> bool {
    if earlier.status.is_empty() {
        earlier.bypass || later.status.is_empty() || later.status == [200]
    } else {
        !later.status.is_empty() && later.status.iter().all(|status| earlier.status.contains(status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_covers_another_only_where_that_is_certain() {
        let covers = |earlier: &str, later: &str| {
            covers_path(Some(&WildMatch::new(earlier)), Some(&WildMatch::new(later)))
        };
        for (earlier, later) in [
            ("*", "/a"),
            ("/*", "*.m3u8"),
            ("/live/*", "/live/*.ts"),
            ("/live/*", "/live/?.ts"),
            ("*.ts", "/live/*.ts"),
            ("/a/?.ts", "/a/b.ts"),
            ("/a/?.ts", "/a/?.ts"),
            ("/*/seg*.ts", "/live/*/seg-?.ts"),
        ] {
            assert!(covers(earlier, later), "{earlier} {later}");
        }
        for (earlier, later) in
            [("/live/*.ts", "/live/*"), ("/a/?.ts", "/a/*.ts"), ("/a/b.ts", "/a/?.ts"), ("/live/*", "*")]
        {
            assert!(!covers(earlier, later), "{earlier} {later}");
        }
    }
}
