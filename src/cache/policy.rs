//! What the rules of a site say about one request.

use std::time::Duration;

use crate::asset::Kind;
use crate::config::model::Rule;

/// The part of a site's rules that bears on one path and kind; which of them applies may depend on the answer's status.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    rules: &'a [Rule],
    path: &'a str,
    kind: Kind,
}

impl<'a> Policy<'a> {
    /// The policy for a path of this kind.
    pub fn new(rules: &'a [Rule], path: &'a str, kind: Kind) -> Policy<'a> {
        Policy { rules, path, kind }
    }

    /// The first rule that applies whatever the answer will be: it decides key and bypass.
    pub fn for_request(&self) -> Option<&'a Rule> {
        self.rules.iter().find(|rule| rule.status.is_empty() && self.applies(rule, self.kind))
    }

    /// The first rule that applies to an answer of this status and kind: it decides times.
    pub fn for_answer(&self, status: u16, kind: Kind) -> Option<&'a Rule> {
        let fits = |rule: &&Rule| rule.status.is_empty() || rule.status.contains(&status);
        self.rules.iter().filter(fits).find(|rule| self.applies(rule, kind))
    }

    /// Whether a rule names this kind; a playlist that has not been read yet may be of either sort.
    fn applies(&self, rule: &Rule, kind: Kind) -> bool {
        rule.path.as_ref().is_none_or(|glob| glob.matches(self.path))
            && (rule.kinds.is_empty() || rule.kinds.contains(&kind))
    }
}

/// What a rule says of times, owned, so that a fill can outlive the request that started it.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// Freshness at the edge.
    pub ttl: Option<Duration>,
    /// Freshness told to the browser.
    pub browser_ttl: Option<Duration>,
    /// RFC 5861 section 3.
    pub stale_while_revalidate: Option<Duration>,
    /// RFC 5861 section 4.
    pub stale_if_error: Option<Duration>,
    /// Whether the rule names the status: only then is a redirect kept.
    pub names_status: bool,
}

impl Times {
    /// The times of a rule.
    pub fn of(rule: Option<&Rule>) -> Times {
        rule.map_or_else(Times::default, |rule| Times {
            ttl: rule.ttl,
            browser_ttl: rule.browser_ttl,
            stale_while_revalidate: rule.stale_while_revalidate,
            stale_if_error: rule.stale_if_error,
            names_status: !rule.status.is_empty(),
        })
    }
}
