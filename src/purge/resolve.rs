//! From what is asked for to what the store is told: the site, and the key that a viewer's request would have.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri};

use super::Refusal;
use super::order::{Named, Order, refusal};
use crate::admission::request;
use crate::key::target::NotATarget;
use crate::site::{Site, Sites};
use crate::store::purges::PurgeTarget;

/// The targets of an order. `target_bytes_max` is `limits.request_target`.
///
/// # Errors
/// A [`Refusal`] with the word `url` or `site`.
pub(super) fn targets(
    sites: &Sites,
    target_bytes_max: usize,
    order: &Order,
) -> Result<Vec<PurgeTarget>, Refusal> {
    let site = |name: &str| named_site(sites, name);
    match &order.named {
        Named::Urls(urls) => {
            let one = |(place, url): (usize, &String)| {
                let field = if urls.len() == 1 { "url".to_owned() } else { format!("url[{place}]") };
                let (site, uri) = absolute(sites, target_bytes_max, &field, url)?;
                url_targets(site, uri.path(), uri.query())
            };
            Ok(urls.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?.concat())
        }
        Named::Prefix { prefix, site: None } => {
            let (site, uri) = absolute(sites, target_bytes_max, "prefix", prefix)?;
            Ok(vec![prefix_target(site, uri.path(), uri.query())?])
        }
        Named::Prefix { prefix, site: Some(name) } => {
            let path = prefix.parse::<PathAndQuery>().ok().filter(|_| prefix.starts_with('/'));
            let path = path.ok_or_else(|| {
                let reason = "prefix: beside site it must be a path; write one that begins with \"/\" and is \
                              percent-encoded, or an absolute URL without site";
                refusal("url", reason)
            })?;
            Ok(vec![prefix_target(site(name)?, path.path(), path.query())?])
        }
        Named::Tags { tags, site: name } => {
            let name = name.as_deref().map(site).transpose()?.map(|site| site.name.clone());
            Ok(tags.iter().map(|tag| PurgeTarget::Tag { site: name.clone(), tag: tag.clone() }).collect())
        }
        Named::Site(name) => Ok(vec![PurgeTarget::Site(site(name)?.name.clone())]),
        Named::Everything => Ok(vec![PurgeTarget::Everything]),
    }
}

/// The targets of a URL of a site: one, unless rules that ask something of the request let other parameters count. Tokens
/// may still be in path and query.
pub(super) fn url_targets(site: &Site, path: &str, query: Option<&str>) -> Result<Vec<PurgeTarget>, Refusal> {
    let targets = site.targets(&without_token(site, path), query).map_err(not_a_target)?;
    let named = |target| PurgeTarget::Url { site: site.name.clone(), target };
    Ok(targets.into_iter().map(named).collect())
}

/// All paths of a site that begin so.
fn prefix_target(site: &Site, path: &str, query: Option<&str>) -> Result<PurgeTarget, Refusal> {
    if query.is_some() {
        let reason =
            "prefix: has a query, and a prefix is of paths; remove \"?\" and what follows, or give url";
        return Err(refusal("url", reason));
    }
    let path = &*without_token(site, path);
    Ok(PurgeTarget::Prefix { site: site.name.clone(), path: site.target(path, None).map_err(not_a_target)? })
}

fn not_a_target(_: NotATarget) -> Refusal {
    let reason = "is no URL that viewers can ask for: it has a malformed percent-encoding or a control character; write \
                  it as it is sent";
    refusal("url", reason)
}

fn without_token<'a>(site: &Site, path: &'a str) -> Cow<'a, str> {
    site.token.as_ref().map_or(Cow::Borrowed(path), |policy| policy.strip_path(path).1)
}

/// The site that answers for an absolute URL, and the URL.
fn absolute<'a>(
    sites: &'a Sites,
    target_bytes_max: usize,
    field: &str,
    text: &str,
) -> Result<(&'a Site, Uri), Refusal> {
    let form = |why: &str| refusal("url", format!("{field}: {why}"));
    let remedy =
        "write the absolute URL that viewers ask for, such as \"https://live.example.com/index.m3u8\"";
    let uri: Uri = text.parse().map_err(|_| {
        form("is no URL; write it as it is sent, with what a URL cannot hold percent-encoded")
    })?;
    let authority = uri.authority().ok_or_else(|| form(&format!("has no scheme and host; {remedy}")))?;
    request::check_form(&Method::GET, &uri, &HeaderMap::new(), target_bytes_max).map_err(|refused| {
        if refused == request::Refusal::TargetLength {
            form("is longer than limits.request_target, so that no request could have asked for it; shorten it")
        } else {
            form(&format!("is not a URL that viewers can ask for; {remedy}"))
        }
    })?;
    let host = request::host_of(authority.as_str());
    let site = sites.find(host).ok_or_else(|| {
        let reason = format!(
            "{field}: no site answers for the host \"{}\"; correct the host, or add it to the hosts of a site",
            host.escape_debug()
        );
        refusal("site", reason)
    })?;
    Ok((site, uri))
}

/// The site of this name, or one of whose own hosts this is. What only `*` answers for names no site: a mistyped name
/// must not empty the site that takes every host.
fn named_site<'a>(sites: &'a Sites, name: &str) -> Result<&'a Site, Refusal> {
    sites.named(name).map(|site| &**site).ok_or_else(|| {
        let known: Vec<String> = sites.names().take(8).map(|name| format!("\"{name}\"")).collect();
        let reason = format!(
            "site: no site has the name or the host \"{}\"; there are {}",
            name.escape_debug(),
            known.join(", ")
        );
        refusal("site", reason)
    })
}
