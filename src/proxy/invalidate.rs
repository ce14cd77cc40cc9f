//! What an answer that passed through says of what is held: an unsafe method that was no error invalidates its target,
//! what `Location` and `Content-Location` name, and groups (RFC 9111 section 4.4, RFC 9875); HEAD tells that a stored
//! answer to GET is another one by now (section 4.3.5).

use std::time::Duration;

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderName, Method};
use pingora::http::{RequestHeader, ResponseHeader};

use super::{Edge, RequestCtx};
use crate::admission::request::host_of;
use crate::cache::tags;
use crate::cache::validation::{HeadUpdate, head_updates};
use crate::key::reference;
use crate::key::variant::{variance, with_variant_key};
use crate::site::{Asked, Site};
use crate::store::purges::{PurgeMode, PurgeTarget};

/// `Cache-Group-Invalidation` (RFC 9875 section 3).
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// Groups that one answer may invalidate; further ones are left alone.
const GROUPS_MAX: usize = 32;

/// How long an answer waits until the disks have noted what it invalidates; one may take longer.
const NOTES_WAIT: Duration = Duration::from_secs(1);

/// Invalidates what an answer says has changed. `over_tls` says how the request came.
pub(super) async fn invalidate(
    edge: &Edge,
    request: &RequestHeader,
    header: &ResponseHeader,
    ctx: &RequestCtx,
    over_tls: bool,
) {
    let Some(site) = &ctx.site else { return };
    // What GET would be answered with.
    let held = site.held(&Method::GET, &request.headers);
    let asked = Asked { held: &held, ..super::asked(request, ctx) };
    match request.method {
        Method::GET | Method::OPTIONS | Method::TRACE => return,
        Method::HEAD => return compare_head(edge, site, &asked, header),
        _ if !header.status.is_success() && !header.status.is_redirection() => return,
        _ => {}
    }
    invalidate_target(edge, site, &asked).await;
    let scheme = if over_tls { "https" } else { "http" };
    let own = ctx.upstream.as_ref().and_then(|upstream| upstream.host.to_str().ok());
    let base = Base { scheme, authority: super::authority(request), own, path: asked.path };
    for name in [LOCATION, CONTENT_LOCATION] {
        let named = header.headers.get(name).and_then(|value| value.to_str().ok());
        if let Some((path, query)) = named.and_then(|reference| base.resolve(reference)) {
            let Ok(normal) = site.normal(&path, query.as_deref()) else { continue };
            let kind = site.kind(&normal.path);
            let asked = Asked { path: &normal.path, query: normal.query.as_deref(), kind, ..asked };
            invalidate_target(edge, site, &asked).await;
        }
    }
    invalidate_groups(edge, site, header).await;
}

/// Invalidates what is held for a target, whatever else its keys are made of.
async fn invalidate_target(edge: &Edge, site: &Site, asked: &Asked<'_>) {
    // What has no key is not held.
    let _ = site.with_key(asked, |hash, text| edge.coalescer.invalidate(hash, text));
    if !site.keys_by_request() {
        return;
    }
    let targets = site.targets(asked.path, asked.query).unwrap_or_default();
    let named = |target| PurgeTarget::Url { site: site.name.clone(), target };
    purge(edge, targets.into_iter().map(named)).await;
}

/// Purges hard, at once for all requests from now on, and gives the disks some time to note it.
async fn purge(edge: &Edge, targets: impl Iterator<Item = PurgeTarget>) {
    edge.coalescer.begin_own_purge();
    let noting: Vec<_> = targets.map(|target| edge.store.purge(&target, PurgeMode::Hard)).collect();
    // A task of its own: it ends even if the client leaves.
    let noting = tokio::spawn(async move {
        for noted in noting {
            if let Err(error) = noted.await {
                tracing::warn!(%error, "an invalidation may be forgotten at a restart");
            }
        }
    });
    if tokio::time::timeout(NOTES_WAIT, noting).await.is_err() {
        tracing::warn!("the disks are still noting an invalidation");
    }
}

/// A stored answer to GET whose header differs from that of HEAD is removed.
fn compare_head(edge: &Edge, site: &Site, asked: &Asked<'_>, header: &ResponseHeader) {
    let compare = |hash, text: &str| {
        let held = edge.store.get(hash, text);
        if held.is_some_and(|held| head_updates(&held.header, header) == HeadUpdate::Stale) {
            edge.coalescer.invalidate(hash, text);
        }
    };
    let _ = site.with_key(asked, |hash, text| {
        match edge.store.get(hash, text).and_then(|held| held.variants.clone()) {
            Some(variants) => {
                let variance = variance(variants.epoch, &variants.names, asked.headers);
                with_variant_key(text, variants.epoch, variance, compare);
            }
            None => compare(hash, text),
        }
    });
}

async fn invalidate_groups(edge: &Edge, site: &Site, header: &ResponseHeader) {
    let Some(groups) = tags::groups(&header.headers, &CACHE_GROUP_INVALIDATION) else { return };
    let named = |tag| PurgeTarget::Tag { site: Some(site.name.clone()), tag };
    purge(edge, groups.into_iter().take(GROUPS_MAX).map(named)).await;
}

/// What references in an answer are relative to, and which of them name the same origin.
struct Base<'a> {
    scheme: &'a str,
    /// The authority asked for.
    authority: &'a str,
    /// The authority that the origin was asked for in its place.
    own: Option<&'a str>,
    path: &'a str,
}

impl Base<'_> {
    /// Path and query of a reference to the same origin (RFC 3986 section 5.2.2), dot segments left in; None: it names
    /// another one, or nothing.
    fn resolve(&self, uri: &str) -> Option<(String, Option<String>)> {
        let uri = uri.split('#').next().unwrap_or_default();
        if uri.is_empty() {
            // The document itself.
            return Some((self.path.to_owned(), None));
        }
        let is_own = |before: &str, _: &str| {
            let (scheme, authority) = before.split_once("//").unwrap_or(("", before));
            let scheme = scheme.strip_suffix(':').unwrap_or(self.scheme);
            self.is_same_origin(scheme, authority)
        };
        let (path, query) = reference::resolve(uri, self.path, is_own)?;
        Some((path.into_owned(), query.map(str::to_owned)))
    }

    fn is_same_origin(&self, scheme: &str, authority: &str) -> bool {
        let same = |other: &str| {
            host_of(authority).eq_ignore_ascii_case(host_of(other))
                && port(authority, scheme) == port(other, scheme)
        };
        (scheme.eq_ignore_ascii_case(self.scheme) && same(self.authority)) || self.own.is_some_and(same)
    }
}

fn port<'a>(authority: &'a str, scheme: &str) -> &'a str {
    let written = authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
    let default = if scheme.eq_ignore_ascii_case("https") { "443" } else { "80" };
    written.filter(|port| !port.is_empty()).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn a_reference_to_the_same_origin_is_a_path_and_a_query() {
        let base = Base { scheme: "https", authority: "a.example", own: Some("origin:8080"), path: "/d/e/f" };
        for (reference, expected) in [
            ("/x", Some("/x")),
            ("/x/../y?q#z", Some("/y?q")),
            ("g", Some("/d/e/g")),
            ("../g?", Some("/d/g?")),
            ("..", Some("/d/")),
            ("../../../../g", Some("/g")),
            ("?q", Some("/d/e/f?q")),
            ("", Some("/d/e/f")),
            ("g?a:b", Some("/d/e/g?a:b")),
            ("https://A.example:443/x", Some("/x")),
            ("//a.example/x", Some("/x")),
            ("http://origin:8080/x?y", Some("/x?y")),
            ("https://a.example", Some("/")),
            ("http://a.example/x", None),
            ("https://a.example:8443/x", None),
            ("https://b.example/x", None),
            ("//b.example/x", None),
            ("http://origin/x", None),
            ("mailto:a@a.example", None),
        ] {
            let found = base.resolve(reference).map(|(path, query)| {
                let path = crate::key::target::path(&path, true).unwrap().into_owned();
                query.map_or(path.clone(), |query| format!("{path}?{query}"))
            });
            assert_eq!(found.as_deref(), expected, "{reference}");
        }
    }
}
