//! A rule as it is told: its place in the configuration, and what of it matched.

use serde::Serialize;

use crate::config::model::Rule;
use crate::site::Site;

/// A rule that applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleTold {
    /// Its key in the configuration, such as `site[0].rule[1]`.
    pub place: String,
    /// Its line there, where the file is at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Its conditions, all of which hold.
    pub matched: Vec<String>,
}

impl RuleTold {
    /// `rule` is one of the site's own.
    pub(super) fn new(site: &Site, rule: &Rule) -> RuleTold {
        let place = site.rules.iter().position(|own| std::ptr::eq(own, rule)).unwrap_or_default();
        RuleTold { place: format!("site[{}].rule[{place}]", site.place), line: None, matched: matched(rule) }
    }
}

fn matched(rule: &Rule) -> Vec<String> {
    let mut matched = Vec::new();
    if let Some(path) = &rule.path {
        matched.push(format!("the path matches {path}"));
    }
    if !rule.kinds.is_empty() {
        let kinds: Vec<_> = rule.kinds.iter().map(|kind| kind.as_str()).collect();
        matched.push(format!("the kind is {}", kinds.join(" or ")));
    }
    if !rule.methods.is_empty() {
        let methods: Vec<_> = rule.methods.iter().map(http::Method::as_str).collect();
        matched.push(format!("the method is {}", methods.join(" or ")));
    }
    for (name, glob) in rule.request_headers.iter().flat_map(|asked| &asked.fields) {
        matched.push(format!("{name} matches {glob}"));
    }
    if !rule.status.is_empty() {
        let statuses: Vec<_> = rule.status.iter().map(u16::to_string).collect();
        matched.push(format!("the status is {}", statuses.join(" or ")));
    }
    if !rule.methods.is_empty() {
        let methods: Vec<_> = rule.methods.iter().map(http::Method::as_str).collect();
        matched.push(format!("the method is {}", methods.join(" or ")));
    }
    for (name, glob) in rule.request_headers.iter().flat_map(|asked| &asked.fields) {
        matched.push(format!("the field {name} matches {glob}"));
    }
    if matched.is_empty() {
        matched.push("it has no conditions".to_owned());
    }
    matched
}
