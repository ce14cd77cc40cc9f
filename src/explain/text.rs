//! An explanation for people: a line for each thing that is known.

use std::fmt;
use std::time::Duration;

use super::{AnswerTold, Explanation, RuleTold};
use crate::config::units::show_duration;

/// Columns of the words before a line's text.
const LABEL_COLUMNS: usize = 10;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |label: &str, text: &dyn fmt::Display| writeln!(f, "{label:<LABEL_COLUMNS$}{text}");
        line("cache", &self.verdict())?;
        if let Some(site) = &self.site {
            line("site", site)?;
        }
        if let Some(token) = &self.token {
            let valid = if token.valid { "valid" } else { "refused" };
            line("token", &format_args!("{valid}: {}", token.explanation))?;
        }
        if let Some(kind) = self.kind {
            line("kind", &kind)?;
        }
        match &self.request_rule {
            Some(rule) => line("rule", rule)?,
            None if self.origin.is_some() => line("rule", &"none matches the request")?,
            None => {}
        }
        if let Some(key) = &self.key {
            line("key", &key.escape_debug())?;
        }
        if let Some(owner) = &self.owner {
            line("owner", owner)?;
        }
        if let Some(origin) = &self.origin {
            let (name, servers) = (&origin.name, origin.servers.join(", "));
            line("origin", &format_args!("{name} ({servers}): {} {}", origin.method, origin.target))?;
            if !origin.fields.is_empty() {
                line("  with", &origin.fields.join(", "))?;
            }
            if let Some(owner) = &origin.owner {
                line("  owner", owner)?;
            }
            if let Some(circuit) = origin.circuit {
                line("  circuit", &circuit)?;
            }
        }
        match &self.answer {
            Some(answer) => answer.write(f),
            None => Ok(()),
        }
    }
}

impl Explanation {
    fn verdict(&self) -> String {
        let reason = self.reason.unwrap_or_default();
        match (self.cache, self.status) {
            ("store", _) => "store: the answer is kept".to_owned(),
            ("pass", _) => format!("pass: the answer is not kept ({reason})"),
            ("bypass", _) => format!("bypass: passed through to the origin (by {reason})"),
            ("denied", Some(status)) => format!("denied: answered {status} ({reason})"),
            ("preflight", _) => "preflight: answered by the site's CORS rules".to_owned(),
            ("steering", _) => "steering: answered with the site's steering manifest".to_owned(),
            _ => "unknown: a playlist's freshness depends on what it says; give its text".to_owned(),
        }
    }
}

impl AnswerTold {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |label: &str, text: &dyn fmt::Display| writeln!(f, "{label:<LABEL_COLUMNS$}{text}");
        line("answer", &self.status)?;
        match &self.rule {
            Some(rule) => line("  rule", rule)?,
            None => line("  rule", &"none matches the answer")?,
        }
        if let (Some(ttl), Some(from)) = (self.ttl_seconds, &self.ttl_explanation) {
            line("  ttl", &format_args!("{}: {from}", shown(ttl)))?;
        }
        let (swr, sie) = (self.stale_while_revalidate_seconds, self.stale_if_error_seconds);
        if let (Some(swr), Some(sie)) = (swr, sie) {
            let (swr, sie) = (shown(swr), shown(sie));
            line("  stale", &format_args!("{swr} while it is fetched anew, {sie} when the origin fails"))?;
        }
        if !self.varies_by.is_empty() {
            let names = self.varies_by.join(", ");
            line("  varies", &format_args!("by {names}: one of several answers under the key"))?;
        }
        match &self.viewer_cache_control {
            Some(value) => line("  viewers", &format_args!("Cache-Control: {}", value.escape_debug())),
            None => line("  viewers", &"no Cache-Control"),
        }
    }
}

impl fmt::Display for RuleTold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.map(|line| format!(" (line {line})")).unwrap_or_default();
        write!(f, "{}{line}: {}", self.place, self.matched.join(", "))
    }
}

fn shown(seconds: f64) -> String {
    show_duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}
