//! Which site's rules apply to a request, and those rules made ready.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderValue, Method};

use crate::admission::cors::Cors;
use crate::admission::request::allow_value;
use crate::admission::token;
use crate::config::model::{self, Config, HostPattern, Rule};
use crate::origin::{OriginGroup, Origins};

/// A site, ready to decide.
pub struct Site {
    /// Place in the configuration, which is its place in metrics too.
    pub place: usize,
    /// Its name in logs and metrics.
    pub name: String,
    /// Methods it takes.
    pub methods: Vec<Method>,
    /// The value of `Allow`.
    pub allow: HeaderValue,
    /// Cross-origin sharing.
    pub cors: Option<Cors>,
    /// Its token policy.
    pub token: Option<Arc<token::Policy>>,
    /// Its rules; the first that matches wins.
    pub rules: Arc<[Rule]>,
    /// Where it fetches from.
    pub origin: Arc<OriginGroup>,
}

/// All sites, found by host: an exact name wins over the longest `*.` pattern, and that over `*`.
pub struct Sites {
    sites: Vec<Arc<Site>>,
    exact: HashMap<String, usize>,
    /// `.example.com` patterns, longest first.
    below: Vec<(String, usize)>,
    any: Option<usize>,
}

impl Sites {
    /// Makes the sites of a configuration ready.
    pub fn new(config: &Config, origins: &Origins) -> Sites {
        let policies: Vec<_> =
            config.tokens.iter().map(|policy| Arc::new(token::Policy::from_config(policy))).collect();
        let mut sites = Sites { sites: Vec::new(), exact: HashMap::new(), below: Vec::new(), any: None };
        for (place, site) in config.sites.iter().enumerate() {
            sites.sites.push(Arc::new(Site::new(place, site, &policies, origins)));
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

    /// The site that answers for a host (no port, any case).
    pub fn find(&self, host: &str) -> Option<&Arc<Site>> {
        let place = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.place(&host.to_ascii_lowercase())
        } else {
            self.place(host)
        };
        place.and_then(|place| self.sites.get(place))
    }

    fn place(&self, host: &str) -> Option<usize> {
        let below = || self.below.iter().find(|(suffix, _)| host.ends_with(suffix)).map(|(_, place)| *place);
        self.exact.get(host).copied().or_else(below).or(self.any)
    }
}

impl Site {
    fn new(place: usize, site: &model::Site, policies: &[Arc<token::Policy>], origins: &Origins) -> Site {
        Site {
            place,
            name: site.name.clone(),
            methods: site.methods.clone(),
            allow: allow_value(&site.methods),
            cors: site.cors.as_ref().map(|cors| Cors::from_config(cors, &site.methods)),
            token: site.token.and_then(|place| policies.get(place)).map(Arc::clone),
            rules: site.rules.clone().into(),
            origin: Arc::clone(origins.group(site.origin)),
        }
    }
}

/// The host of an authority: without port, brackets kept off.
pub fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.contains(':') => host,
        _ => authority,
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
    }

    #[test]
    fn a_port_is_no_part_of_the_host() {
        for (authority, host) in [
            ("a.b:80", "a.b"),
            ("a.b", "a.b"),
            ("[::1]:80", "::1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
            ("", ""),
        ] {
            assert_eq!(host_of(authority), host);
        }
    }
}
