//! What the rules of a site say about one request.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::asset::Kind;
use crate::config::model::{RequestHeaders, Rule};

/// Which rules ask something of the request beside path and kind, and have it. A fetch carries it, since it outlives the
/// request, and chooses by it. It takes no memory where no rule asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held(Vec<usize>);

impl Held {
    /// Asks the rules.
    pub fn of(rules: &[Rule], method: &Method, headers: &HeaderMap) -> Held {
        let rules = rules.iter().enumerate().filter(|(_, rule)| rule.is_conditional());
        Held(rules.filter(|(_, rule)| holds(rule, method, headers)).map(|(place, _)| place).collect())
    }

    fn applies(&self, rule: &Rule, place: usize) -> bool {
        !rule.is_conditional() || self.0.contains(&place)
    }
}

fn holds(rule: &Rule, method: &Method, headers: &HeaderMap) -> bool {
    // HEAD is answered by what GET has brought.
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    (rule.methods.is_empty() || rule.methods.contains(method))
        && rule.request_headers.as_ref().is_none_or(|asked| has_fields(asked, headers))
}

fn has_fields(asked: &RequestHeaders, headers: &HeaderMap) -> bool {
    asked.fields.iter().all(|(name, glob)| {
        let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        !lines.is_empty() && glob.matches(&String::from_utf8_lossy(&lines.join(&b", "[..])))
    })
}

/// The part of a site's rules that bears on one request; which of them applies may depend on the answer's status.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    rules: &'a [Rule],
    held: &'a Held,
    path: &'a str,
    kind: Kind,
}

impl<'a> Policy<'a> {
    /// The policy for a path (in normal form) of this kind; `held` is what the request had of what rules ask for.
    pub fn new(rules: &'a [Rule], held: &'a Held, path: &'a str, kind: Kind) -> Policy<'a> {
        Policy { rules, held, path, kind }
    }

    /// The first rule that applies whatever the answer will be, and its place: it decides key and bypass.
    pub fn for_request(&self) -> Option<(usize, &'a Rule)> {
        let mut rules = self.rules.iter().enumerate();
        rules.find(|(place, rule)| rule.status.is_empty() && self.applies(*place, rule, self.kind))
    }

    /// The first rule that applies to an answer of this status and kind: it decides times and changes of the header.
    pub fn for_answer(&self, status: u16, kind: Kind) -> Option<&'a Rule> {
        let fits = |rule: &Rule| rule.status.is_empty() || rule.status.contains(&status);
        let mut rules = self.rules.iter().enumerate();
        rules.find(|(place, rule)| fits(rule) && self.applies(*place, rule, kind)).map(|(_, rule)| rule)
    }

    /// Whether any rule shares any answer with other nodes.
    pub fn shares(&self) -> bool {
        let playlists = [Kind::MultivariantPlaylist, Kind::MediaPlaylist];
        let kinds = playlists.iter().filter(|_| self.kind.is_playlist()).chain(std::iter::once(&self.kind));
        let applies = |place, rule: &Rule| kinds.clone().any(|kind| self.applies(place, rule, *kind));
        self.rules.iter().enumerate().any(|(place, rule)| rule.shared && applies(place, rule))
    }

    /// What stands in the key for conditions on header fields: those that hold, of all rules for the path, whatever else
    /// these ask for. So no field decides what others get.
    pub fn conditions(&self) -> impl Iterator<Item = u64> {
        self.held_here().map(|asked| asked.hash)
    }

    /// The fields that these conditions ask for: what a node of the next tier must be sent, whose rules ask for the same.
    pub fn condition_fields(&self) -> impl Iterator<Item = &'a HeaderName> {
        self.held_here().flat_map(|asked| asked.fields.iter().map(|(name, _)| name))
    }

    fn held_here(&self) -> impl Iterator<Item = &'a RequestHeaders> {
        let (rules, path) = (self.rules, self.path);
        let held = self.held.0.iter().filter_map(move |place| rules.get(*place));
        held.filter(move |rule| rule.is_path_of(path)).filter_map(|rule| rule.request_headers.as_ref())
    }

    /// Whether a rule names this kind; a playlist that has not been read yet may be of either sort.
    fn applies(&self, place: usize, rule: &Rule, kind: Kind) -> bool {
        self.is_path_of(rule)
            && (rule.kinds.is_empty() || rule.kinds.contains(&kind))
            && self.held.applies(rule, place)
    }

    fn is_path_of(&self, rule: &Rule) -> bool {
        rule.is_path_of(self.path)
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
