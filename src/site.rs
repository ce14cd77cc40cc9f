//! Which site's rules apply to a request, and those rules made ready.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use xxhash_rust::xxh3::xxh3_64;

use crate::admission::cors::Cors;
use crate::admission::geo::Geo;
use crate::admission::request::allow_value;
use crate::admission::token::{self, Claims};
use crate::asset::{self, Kind};
use crate::cache::{Held, Policy};
use crate::config::model::{self, BoundsByClaim, Coding, Config, HostPattern, Limits, Rule};
use crate::fields;
use crate::key::parts::{self, Source, Unkeyable};
use crate::key::reference::{self, is_same_host};
use crate::key::target::NotATarget;
use crate::key::{Key, QueryChoice, dropped, hash_of, is_named, target, target_of, with_key};
use crate::origin::{OriginGroup, Origins};
use crate::playlists::Playlists;
use crate::steering::Steering;

/// A site, ready to decide.
pub struct Site {
    /// Place in the configuration, which is its place in metrics too.
    pub place: usize,
    /// Its name in logs and metrics.
    pub name: String,
    /// Its host names, patterns left out; in lower case.
    pub hosts: Vec<String>,
    /// Methods it takes.
    pub methods: Vec<Method>,
    /// The value of `Allow`.
    pub allow: HeaderValue,
    /// Whether `Cache-Status` tells the key.
    pub cache_status_key: bool,
    /// Cross-origin sharing.
    pub cors: Option<Cors>,
    /// Content codings that its text is sent in, the preferred one first.
    pub encodings: Vec<Coding>,
    /// Its token policy.
    pub token: Option<Arc<token::Policy>>,
    /// Its rules; the first that matches wins.
    pub rules: Arc<[Rule]>,
    /// Whether duplicate slashes of a path count as one.
    pub merge_slashes: bool,
    /// Whether any rule has answers tell players what the edge knows.
    pub tells_cmsd: bool,
    /// Whether any rule says what paths count as.
    classifies: bool,
    /// What playlists have named.
    playlists: Arc<Playlists>,
    /// Whether any rule asks something of requests beside path and kind.
    is_conditional: bool,
    /// Whether any rule drops query parameters.
    drops: bool,
    /// Whether any rule gives bounds by what tokens say.
    bounds_by_claim: bool,
    /// Whether any rule keys by what tokens say.
    pub is_keyed_by_claims: bool,
    /// Bytes of a value in a key (`limits.key_value`).
    key_value_bytes_max: usize,
    /// Where it fetches from.
    pub origin: Arc<OriginGroup>,
    /// A number for its rules and its origin: nodes that agree on both have the same.
    pub rules_digest: u64,
    /// Where it sends players to fetch from.
    pub steering: Option<Arc<Steering>>,
}

/// A request as the rules see it: token out, target in normal form ([`crate::key::target`]).
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its path.
    pub path: &'a str,
    /// Its query.
    pub query: Option<&'a str>,
    /// What the path names.
    pub kind: Kind,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// What its token says.
    pub claims: &'a Claims,
    /// Which rules ask something of it that it has ([`Site::held`]).
    pub held: &'a Held,
}

/// A target in normal form ([`crate::key::target`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normal<'a> {
    /// The leading segment that is the token, as it was sent; empty where there is none.
    pub token: &'a str,
    /// The path after it.
    pub path: Cow<'a, str>,
    /// The query; a token in it has its encodings as they were sent.
    pub query: Option<Cow<'a, str>>,
}

/// All sites, found by host: an exact name wins over the longest `*.` pattern, and that over `*`.
pub struct Sites {
    sites: Vec<Arc<Site>>,
    exact: HashMap<String, usize>,
    /// `.example.com` patterns, longest first.
    below: Vec<(String, usize)>,
    any: Option<usize>,
    geo: Option<Geo>,
    playlists: Arc<Playlists>,
    steering: Vec<Arc<Steering>>,
    /// The nodes of this tier.
    peers: Option<Arc<OriginGroup>>,
}

impl Sites {
    /// Makes the sites of a configuration ready.
    pub fn new(config: &Config, origins: &Origins) -> Sites {
        let policies: Vec<_> = config
            .tokens
            .iter()
            .map(|policy| Arc::new(token::Policy::from_config(policy, config.limits.token_verdicts)))
            .collect();
        let geo = Geo::new(&config.geo);
        let playlists = Arc::new(Playlists::new(config.limits.playlists, config.limits.named_assets));
        let steering =
            config.steering.iter().map(|steering| Arc::new(Steering::new(steering.clone()))).collect();
        let mut sites = Sites {
            sites: Vec::new(),
            exact: HashMap::new(),
            below: Vec::new(),
            any: None,
            geo,
            playlists,
            steering,
            peers: origins.peers().cloned(),
        };
        for (place, site) in config.sites.iter().enumerate() {
            let steering = site.steering.and_then(|place| sites.steering.get(place)).map(Arc::clone);
            let shared = (&config.limits, &sites.playlists, steering);
            sites.sites.push(Arc::new(Site::new(place, site, &policies, origins, shared)));
            for pattern in &site.hosts {
                match pattern {
                    HostPattern::Any => sites.any = Some(place),
                    HostPattern::Below(suffix) => sites.below.push((suffix.clone(), place)),
                    HostPattern::Exact(name) => {
                        sites.exact.insert(name.clone(), place);
                    }
                }
            }
        }
        sites.below.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        sites
    }

    /// The node that a key of this text belongs to while all are there, and whether it is this one; None: there is one node.
    pub fn owner(&self, text: &str) -> Option<(Arc<str>, bool)> {
        let key = Key { hash: hash_of(text), text: text.into() };
        self.peers.as_ref()?.owner_name(key.placement())
    }

    /// Where addresses are, if the operator has said: what token policies go by.
    pub fn geo(&self) -> Option<&Geo> {
        self.geo.as_ref()
    }

    /// What is known of the playlists that have passed through.
    pub fn playlists(&self) -> &Arc<Playlists> {
        &self.playlists
    }

    /// Every section of content steering, whose load is to be observed.
    pub fn steering(&self) -> &[Arc<Steering>] {
        &self.steering
    }

    /// All sites, in the order of the configuration.
    pub fn all(&self) -> &[Arc<Site>] {
        &self.sites
    }

    /// The site that answers for a host (no port, any case, with or without the dot that ends a whole name).
    pub fn find(&self, host: &str) -> Option<&Arc<Site>> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let place = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.place(&host.to_ascii_lowercase())
        } else {
            self.place(host)
        };
        place.and_then(|place| self.sites.get(place))
    }

    /// The site of this name, or one of whose own hosts or host patterns this is, in any case. What only the pattern `*`
    /// takes in names no site.
    pub fn named(&self, name: &str) -> Option<&Arc<Site>> {
        let name = name.to_ascii_lowercase();
        let place = match name.as_str() {
            "*" => self.any,
            name => {
                let suffix = name.strip_prefix('*').unwrap_or(name);
                let below =
                    || self.below.iter().find(|(below, _)| suffix.ends_with(below)).map(|(_, place)| *place);
                let own = || self.sites.iter().position(|site| site.name.eq_ignore_ascii_case(name));
                self.exact.get(name).copied().or_else(own).or_else(below)
            }
        };
        place.and_then(|place| self.sites.get(place))
    }

    /// The names of all sites, in the order of the configuration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sites.iter().map(|site| site.name.as_str())
    }

    /// The token policies that sites ask for, each once.
    pub fn token_policies(&self) -> Vec<&Arc<token::Policy>> {
        let mut policies: Vec<&Arc<token::Policy>> = Vec::new();
        for policy in self.sites.iter().filter_map(|site| site.token.as_ref()) {
            if !policies.iter().any(|known| Arc::ptr_eq(known, policy)) {
                policies.push(policy);
            }
        }
        policies
    }

    fn place(&self, host: &str) -> Option<usize> {
        let below = || self.below.iter().find(|(suffix, _)| host.ends_with(suffix)).map(|(_, place)| *place);
        self.exact.get(host).copied().or_else(below).or(self.any)
    }
}

impl Site {
    /// The site's steering, where this path (normal form) is that of its manifest.
    pub fn steers(&self, path: &str) -> Option<&Arc<Steering>> {
        self.steering.as_ref().filter(|steering| steering.path() == path)
    }

    /// Whether a playlist has named this path (normal form).
    pub fn is_named_by_playlist(&self, path: &str) -> bool {
        self.playlists.assets.kind_of(&self.name, path).is_some()
    }

    /// The normal form of a target as it was sent, but that the token in it is left as it is: the leading segment of the path,
    /// and the encodings of a parameter of the query.
    ///
    /// # Errors
    /// [`NotATarget`].
    pub fn normal<'a>(&self, path: &'a str, query: Option<&'a str>) -> Result<Normal<'a>, NotATarget> {
        let path = if path.is_empty() { "/" } else { path };
        let stripped =
            self.token.as_ref().map_or(("", Cow::Borrowed(path)), |policy| policy.strip_path(path));
        // The token itself is in no key: it stays as it was sent.
        let is_left =
            |parameter: &str| self.token.as_ref().is_some_and(|policy| policy.is_token_name(parameter));
        self.normal_of(stripped, query, is_left)
    }

    /// The same of a target that has no token in it, whatever it looks like: another node has taken it out.
    ///
    /// # Errors
    /// [`NotATarget`].
    pub fn normal_without_token<'a>(
        &self,
        path: &'a str,
        query: Option<&'a str>,
    ) -> Result<Normal<'a>, NotATarget> {
        let path = if path.is_empty() { "/" } else { path };
        self.normal_of(("", Cow::Borrowed(path)), query, |_| false)
    }

    fn normal_of<'a>(
        &self,
        (token, rest): (&'a str, Cow<'a, str>),
        query: Option<&'a str>,
        is_left: impl Fn(&str) -> bool,
    ) -> Result<Normal<'a>, NotATarget> {
        let path = match rest {
            Cow::Borrowed(rest) => target::path(rest, self.merge_slashes)?,
            Cow::Owned(rest) => Cow::Owned(target::path(&rest, self.merge_slashes)?.into_owned()),
        };
        let query = query.map(|query| target::query_leaving(query, is_left)).transpose()?.flatten();
        Ok(Normal { token, path, query })
    }

    /// Path and query, in normal form and without token, of what a URI in a document of this path leads to; None: it leads
    /// to another host than the site's own ones (patterns name none), or to nothing that a request can ask for. The port
    /// of a URL does not count.
    pub fn resolve(&self, uri: &str, document: &str) -> Option<(String, Option<String>)> {
        let is_own = |_: &str, host: &str| self.hosts.iter().any(|own| is_same_host(own, host));
        let (path, query) = reference::resolve(uri, document, is_own)?;
        let normal = self.normal(&path, query).ok()?;
        Some((normal.path.into_owned(), normal.query.map(Cow::into_owned)))
    }

    /// What is known of the playlists that have passed through.
    pub fn playlists(&self) -> &Playlists {
        &self.playlists
    }

    /// What a path (normal form) names: as a rule says, else as a playlist has named it, else as its extension says.
    pub fn kind(&self, path: &str) -> Kind {
        let by_rule = || self.rules.iter().find_map(|rule| rule.classify.filter(|_| rule.is_path_of(path)));
        let by_rule = if self.classifies { by_rule() } else { None };
        by_rule
            .or_else(|| self.playlists.assets.kind_of(&self.name, path))
            .unwrap_or_else(|| asset::classify(path))
    }

    /// Bytes of the asset at a path that playlists have named.
    pub fn bytes_named(&self, path: &str) -> u64 {
        self.playlists.assets.bytes_of(&self.name, path)
    }

    /// Which rules ask something of this request that it has.
    pub fn held(&self, method: &Method, headers: &HeaderMap) -> Held {
        if self.is_conditional { Held::of(&self.rules, method, headers) } else { Held::default() }
    }

    /// Whether a target may be held under several keys.
    pub fn keys_by_request(&self) -> bool {
        self.is_conditional || self.bounds_by_claim || self.rules.iter().any(|rule| rule.key.is_of_request())
    }

    /// What the rules say about a request.
    pub fn policy<'a>(&'a self, asked: &Asked<'a>) -> Policy<'a> {
        Policy::new(&self.rules, asked.held, asked.path, asked.kind)
    }

    /// Calls `with` with the key that the site's rules give a request: its hash and its text.
    ///
    /// # Errors
    /// [`Unkeyable`]: the request passes through, and nothing of it is kept.
    pub fn with_key<T>(&self, asked: &Asked<'_>, with: impl FnOnce(u128, &str) -> T) -> Result<T, Unkeyable> {
        let policy = self.policy(asked);
        let chosen = policy.for_request();
        let key = chosen.map(|(_, rule)| &rule.key);
        let user_rule = chosen.filter(|(_, rule)| rule.key.is_by_user()).map(|(place, _)| place);
        let parts = |text: &mut String| {
            parts::append(text, key, user_rule, policy.conditions(), &self.source(asked))?;
            self.bounds(asked).into_iter().for_each(|hash| parts::append_bounds(text, hash));
            Ok(())
        };
        let listed = key.and_then(|key| key.query.as_deref());
        self.with_choice((listed, asked.path), |choice| {
            with_key(&self.name, asked.path, asked.query, choice, parts, with)
        })
    }

    /// What the origin is asked for and purges name: path and query in normal form, without the parameters that do not
    /// count. `path` has no token in it. A rule that asks something of the request beside its path has no say.
    ///
    /// # Errors
    /// [`NotATarget`]: no request can ask for it.
    pub fn target(&self, path: &str, query: Option<&str>) -> Result<String, NotATarget> {
        let path = target::path(path, self.merge_slashes)?;
        let query = query.map(target::query).transpose()?.flatten();
        let held = Held::default();
        let rule =
            Policy::new(&self.rules, &held, &path, self.kind(&path)).for_request().map(|(_, rule)| rule);
        let listed = rule.and_then(|rule| rule.key.query.as_deref());
        Ok(self.with_choice((listed, &path), |choice| target_of(&path, query.as_deref(), choice)))
    }

    /// Every target that a request for this path and query may be kept under, whatever else it has: [`Site::target`],
    /// and those of rules that ask something of the request and let other parameters count. Each once.
    ///
    /// # Errors
    /// As [`Site::target`].
    pub fn targets(&self, path: &str, query: Option<&str>) -> Result<Vec<String>, NotATarget> {
        let mut targets = vec![self.target(path, query)?];
        let path = target::path(path, self.merge_slashes)?;
        let query = query.map(target::query).transpose()?.flatten();
        let kind = self.kind(&path);
        let decides = |rule: &&Rule| {
            rule.is_conditional()
                && rule.status.is_empty()
                && (rule.kinds.is_empty() || rule.kinds.contains(&kind))
                && rule.path.as_ref().is_none_or(|glob| glob.matches(&path))
        };
        for rule in self.rules.iter().filter(decides) {
            let listed = rule.key.query.as_deref();
            let target =
                self.with_choice((listed, &path), |choice| target_of(&path, query.as_deref(), choice));
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        Ok(targets)
    }

    /// Header fields that tell the origin what the key was made of.
    pub fn forwarded(&self, asked: &Asked<'_>) -> HeaderMap {
        match self.policy(asked).for_request() {
            Some((_, rule)) if rule.key.is_of_request() => parts::forwarded(&rule.key, &self.source(asked)),
            _ => HeaderMap::new(),
        }
    }

    /// The request's fields that conditions of rules have held for, without its token: what another node is told, whose rules
    /// ask for the same. Those that say how one node is to answer the other are not a viewer's to write. None: there are none.
    pub fn conditions(&self, asked: &Asked<'_>) -> Option<HeaderMap> {
        if !self.is_conditional {
            return None;
        }
        let mut told = HeaderMap::new();
        for name in
            self.policy(asked).condition_fields().filter(|name| !fields::is_of_exchange(name.as_str()))
        {
            told.remove(name);
            for line in asked.headers.get_all(name) {
                let line = match self.token.as_ref().filter(|_| *name == COOKIE) {
                    Some(policy) => {
                        HeaderValue::from_str(&policy.strip_cookie(line.to_str().unwrap_or_default())).ok()
                    }
                    None => Some(line.clone()),
                };
                told.extend(line.filter(|line| !line.is_empty()).map(|line| (name.clone(), line)));
            }
        }
        (!told.is_empty()).then_some(told)
    }

    /// Names of fields that go with a fetch and are no part of the key.
    pub fn passed_on<'a>(&'a self, asked: &Asked<'a>) -> &'a [HeaderName] {
        self.policy(asked).for_request().map_or(&[], |(_, rule)| &rule.forward)
    }

    /// Names of the fields of a fetch that the key decides, whether the request has them or not: an answer may vary by
    /// them.
    pub fn keyed_fields(&self, asked: &Asked<'_>) -> Vec<HeaderName> {
        let Some((_, rule)) = self.policy(asked).for_request() else { return Vec::new() };
        let cookie = (!rule.key.cookies.is_empty()).then_some(COOKIE);
        let claims = rule.key.claims.iter().map(|claim| claim.field.clone());
        rule.key.headers.iter().cloned().chain(cookie).chain(claims).collect()
    }

    /// What the token of a request says, as far as its key is made of it: what a node of the next tier is told, whose rules
    /// ask for the same. Where a claim gives bounds, it is a value that gives the same ones. None: it says nothing of the kind.
    pub fn keyed_claims(&self, asked: &Asked<'_>) -> Option<Claims> {
        if !self.is_keyed_by_claims && !self.bounds_by_claim {
            return None;
        }
        let (_, rule) = self.policy(asked).for_request()?;
        let own =
            rule.key.claims.iter().filter_map(|claim| Some((&claim.name, asked.claims.get(&claim.name)?)));
        let mut keyed: Vec<(String, String)> =
            own.map(|(name, value)| (name.clone(), value.to_owned())).collect();
        if let Some((by_claim, hash)) = self.bounds_given(asked)
            && keyed.iter().all(|(name, _)| *name != by_claim.claim)
            && let Some(value) = by_claim.values.iter().find(|listed| listed.hash == hash)
        {
            keyed.push((by_claim.claim.clone(), value.value.clone()));
        }
        (!keyed.is_empty()).then(|| Claims::new(keyed))
    }

    fn source<'a>(&self, asked: &Asked<'a>) -> Source<'a> {
        Source { headers: asked.headers, claims: asked.claims, value_bytes_max: self.key_value_bytes_max }
    }

    fn with_choice<T>(
        &self,
        (listed, path): (Option<&[String]>, &str),
        with: impl FnOnce(&QueryChoice<'_>) -> T,
    ) -> T {
        let is_ignored = |parameter: &str| {
            self.token.as_ref().is_some_and(|policy| policy.is_token_name(parameter))
                || self.dropped(path).any(|name| is_named(parameter, name))
        };
        with(&QueryChoice { listed, is_ignored: &is_ignored })
    }

    /// Query parameters that count for nothing below this path (normal form), and that each viewer has for itself.
    pub fn dropped<'a>(&'a self, path: &str) -> impl Iterator<Item = &'a str> {
        dropped(if self.drops { &self.rules } else { &[] }, path)
    }

    /// What stands in the key for the bounds that its token gives a request for a playlist. Which sort of playlist that
    /// is, is not known yet: the rule is that for multivariant ones.
    fn bounds(&self, asked: &Asked<'_>) -> Option<u64> {
        self.bounds_given(asked).map(|(_, hash)| hash)
    }

    fn bounds_given<'a>(&'a self, asked: &Asked<'a>) -> Option<(&'a BoundsByClaim, u64)> {
        if !self.bounds_by_claim || !asked.kind.is_playlist() {
            return None;
        }
        let multivariant = Policy::new(&self.rules, asked.held, asked.path, Kind::MultivariantPlaylist);
        let (_, rule) = multivariant.for_request()?;
        let by_claim = rule.playlist.variants.as_ref()?.by_claim.as_ref()?;
        Some((by_claim, by_claim.hash(asked.claims.get(&by_claim.claim)?)?))
    }

    fn new(
        place: usize,
        site: &model::Site,
        policies: &[Arc<token::Policy>],
        origins: &Origins,
        (limits, playlists, steering): (&Limits, &Arc<Playlists>, Option<Arc<Steering>>),
    ) -> Site {
        Site {
            place,
            name: site.name.clone(),
            hosts: site.hosts.iter().filter_map(exact).collect(),
            methods: site.methods.clone(),
            allow: allow_value(&site.methods),
            cache_status_key: site.cache_status_key,
            cors: site.cors.as_ref().map(|cors| Cors::from_config(cors, &site.methods)),
            encodings: site.encodings.clone(),
            token: site.token.and_then(|place| policies.get(place)).map(Arc::clone),
            rules: site.rules.clone().into(),
            merge_slashes: site.merge_slashes,
            tells_cmsd: site.rules.iter().any(|rule| rule.cmsd),
            classifies: site.rules.iter().any(|rule| rule.classify.is_some()),
            playlists: Arc::clone(playlists),
            is_conditional: site.rules.iter().any(Rule::is_conditional),
            drops: site.rules.iter().any(|rule| !rule.playlist.drop_parameters.is_empty()),
            bounds_by_claim: site.rules.iter().any(gives_bounds),
            is_keyed_by_claims: site.rules.iter().any(|rule| !rule.key.claims.is_empty()),
            key_value_bytes_max: limits.key_value,
            rules_digest: rules_digest(site, origins.group(site.origin)),
            origin: Arc::clone(origins.group(site.origin)),
            steering,
        }
    }
}

/// A number for all that decides what becomes of an origin's answer on its way into the store, and where it comes from.
fn rules_digest(site: &model::Site, origin: &OriginGroup) -> u64 {
    // A node of another tier takes out of its header what others are told.
    let said = (&site.rules, site.cors.is_some(), site.merge_slashes, origin.name(), origin.is_tier());
    xxh3_64(format!("{} {said:?}", env!("CARGO_PKG_VERSION")).as_bytes())
}

fn gives_bounds(rule: &Rule) -> bool {
    rule.playlist.variants.as_ref().is_some_and(|variants| variants.by_claim.is_some())
}

/// The name that a pattern is, if it is one.
fn exact(pattern: &HostPattern) -> Option<String> {
    match pattern {
        HostPattern::Exact(name) => Some(name.clone()),
        HostPattern::Below(_) | HostPattern::Any => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::origin::OriginFamilies;
    use std::path::Path;

    #[test]
    fn the_most_exact_host_pattern_wins() {
        let site = |host: &str| format!("[[site]]\nhosts = [{host:?}]\norigin = \"main\"\n");
        let text = format!(
            "[server]\nhttp = [\"127.0.0.1:0\"]\n[origin.main]\nservers = [\"http://127.0.0.1:1\"]\n{}{}{}{}",
            site("*"),
            site("*.example.com"),
            site("*.live.example.com"),
            site("a.live.example.com"),
        );
        let config = crate::config::parse(&text, Path::new("test.toml")).unwrap();
        let families = OriginFamilies::new(&prometheus::Registry::new()).unwrap();
        let origins = Origins::new(&config.origins, &families).unwrap();
        let sites = Sites::new(&config, &origins);
        let found = |host: &str| sites.find(host).unwrap().place;
        assert_eq!(found("other.org"), 0);
        assert_eq!(found("x.example.com"), 1);
        assert_eq!(found("B.live.Example.com"), 2);
        assert_eq!(found("a.live.example.com"), 3);
        assert_eq!(found("example.com"), 0);
        assert_eq!(found("a.live.example.com."), 3);
        assert_eq!(found("a.live.example.com.."), 0);
        let named = |name: &str| sites.named(name).map(|site| site.place);
        assert_eq!(named("*"), Some(0));
        assert_eq!(named("*.Example.com"), Some(1));
        assert_eq!(named("x.example.com"), Some(1));
        assert_eq!(named("*.live.example.com"), Some(2));
        assert_eq!(named("a.live.example.com"), Some(3));
        assert_eq!(named("other.org"), None, "what only `*` takes in is no name");
    }
}
