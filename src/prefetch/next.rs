//! What a player says that it will ask for next (CTA-5004: `nor`, `nrr`).
//!
//! A client's word is no more than a hint: only media of the same site is fetched for it, that a playlist has named or
//! that lies in the folder of the request, and where the site has a token policy, only what the same token admits.

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::budget::Share;
use super::metrics::{Reason, Result};
use super::{Prefetcher, Target, is_media};
use crate::coalesce::Extent;
use crate::key::reference;
use crate::site::{Asked, Site};
use crate::store::content::slice_of;

/// What is announced, as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced<'a> {
    /// The next object, relative to the request, percent-encoded; None: the one asked for.
    pub object: Option<Cow<'a, str>>,
    /// The bytes of it that will be asked for: `FIRST-LAST`, `FIRST-` or `-LENGTH`; None: all.
    pub range: Option<Cow<'a, str>>,
}

impl Prefetcher {
    /// Whether a request of this site may announce what comes next: whether it is worth looking for.
    pub fn listens(&self, site: &Site, request: &Asked<'_>) -> bool {
        let listens = self.place(site).is_some_and(|place| place.listens);
        listens && site.policy(request).for_request().is_some_and(|(_, rule)| rule.prefetch.cmcd)
    }

    /// An admitted request for this host announces what its player will ask for next. `admits` says whether its token, if the site asks
    /// for one, admits this path too.
    pub fn announce(
        &self,
        (site, host): (&Site, Option<&Arc<str>>),
        request: &Asked<'_>,
        announced: &Announced<'_>,
        admits: impl FnOnce(&str) -> bool,
    ) {
        let Some(place) = self.place(site) else { return };
        let refuse = || place.counters.count(Reason::Cmcd, Result::Refused);
        let Some((path, query)) = resolve(request, announced) else { return refuse() };
        let Ok(normal) = site.normal(&path, query.as_deref()) else { return refuse() };
        let near = folder(&normal.path) == folder(request.path);
        let named = || self.playlists.assets.kind_of(&site.name, &normal.path).is_some();
        if !is_media(site.kind(&normal.path)) || !(near || named()) || !admits(&normal.path) {
            return refuse();
        }
        let first = announced.range.as_deref().and_then(first_byte);
        let extent = first.map_or(Extent::Whole, |first| Extent::From(slice_of(first)));
        let query = normal.query.as_deref();
        let target = Target { path: &normal.path, query, extent, grows: false, host };
        self.fetch(place, &target, (Reason::Cmcd, Share::Half), || None);
    }
}

/// Path and query of what is announced, dot segments left in. None: it is no relative path (CTA-5004, `nor`).
fn resolve(request: &Asked<'_>, announced: &Announced<'_>) -> Option<(String, Option<String>)> {
    let Some(object) = &announced.object else {
        announced.range.as_ref()?;
        return Some((request.path.to_owned(), request.query.map(str::to_owned)));
    };
    let object = percent_decode_str(object).decode_utf8().ok()?;
    let (path, query) = reference::resolve(&object, request.path, |_, _| false)?;
    Some((path.into_owned(), query.map(str::to_owned)))
}

/// The first byte of a range. None: it counts from the end, or is none.
fn first_byte(range: &str) -> Option<u64> {
    let (first, last) = range.trim().split_once('-')?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(first) && is_number(last) { first.parse().ok() } else { None }
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use http::HeaderMap;

    use super::super::asked;
    use super::*;
    use crate::asset::Kind;
    use crate::cache::Held;

    fn resolved(object: &str) -> Option<String> {
        let (headers, held) = (HeaderMap::new(), Held::default());
        let request = asked(("/live/720/7.m4s", Some("a=1")), Kind::Segment, &headers, &held);
        let announced = Announced { object: Some(object.into()), range: None };
        let (path, query) = resolve(&request, &announced)?;
        Some(query.map_or(path.clone(), |query| format!("{path}?{query}")))
    }

    #[test]
    fn a_relative_path_is_resolved_and_anything_else_is_not() {
        for (object, expected) in [
            ("8.m4s", Some("/live/720/8.m4s")),
            ("..%2F1080%2F8.m4s", Some("/live/720/../1080/8.m4s")),
            ("8.m4s?b=2#x", Some("/live/720/8.m4s?b=2")),
            ("%2Fother%2F8.m4s", Some("/other/8.m4s")),
            ("?b=2", Some("/live/720/7.m4s?b=2")),
            ("a/b:c.m4s", Some("/live/720/a/b:c.m4s")),
            ("", None),
            ("http://other.example/8.m4s", None),
            ("https%3A%2F%2Fedge.example%2Flive%2F720%2F8.m4s", None),
            ("//other.example/8.m4s", None),
            ("data:video/mp4;base64,AAAA", None),
            ("a\r\nb.m4s", None),
            ("%0d%0aHost:%20x/8.m4s", None),
            ("\\\\other.example\\8.m4s", None),
            ("%ff.m4s", None),
        ] {
            assert_eq!(resolved(object).as_deref(), expected, "{object}");
        }
    }

    #[test]
    fn a_range_without_an_object_is_of_the_object_asked_for() {
        let (headers, held) = (HeaderMap::new(), Held::default());
        let request = asked(("/a.m4s", Some("b=1")), Kind::Segment, &headers, &held);
        let of = |range: Option<&str>| {
            let announced = Announced { object: None, range: range.map(Into::into) };
            resolve(&request, &announced)
        };
        assert_eq!(of(Some("9-")), Some(("/a.m4s".to_owned(), Some("b=1".to_owned()))));
        assert_eq!(of(None), None);
    }

    #[test]
    fn a_range_tells_its_first_byte() {
        for (range, first) in [
            ("0-99", Some(0)),
            ("1048576-", Some(1_048_576)),
            ("-500", None),
            ("a-b", None),
            ("5", None),
            ("+5-6", None),
            ("18446744073709551616-", None),
        ] {
            assert_eq!(first_byte(range), first, "{range}");
        }
    }
}
