//! What a playlist names, remembered: the kinds of its assets, the bytes of a segment that its parts are, and the
//! variables that others import.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use xxhash_rust::xxh3::xxh3_64;

use super::Fill;
use crate::asset::Kind;
use crate::hls::names::names_around;
use crate::hls::order::order;
use crate::hls::variables::{Around, Variables};
use crate::hls::{self, Named, PlaylistFacts};
use crate::key::reference::path_of;
use crate::key::{hash_of, query_of, undirected};
use crate::playlists::NamedTo;
use crate::playlists::assets::Defined;
use crate::playlists::media::{Next, Told};
use crate::store::Object;

/// Assets that are learned from one playlist, and keys; of more, those that stand last in it: the newest.
const NAMES_MAX: usize = 32 * 1024;

/// How long it is relied on that what a playlist has named is remembered: then all of it is named again.
const NAMED_FOR: Duration = Duration::from_secs(60);

/// Bytes of the variables that are kept of a multivariant playlist, for the playlists that import them; of one with more,
/// none are.
const DEFINED_BYTES_MAX: usize = 4096;

impl Fill<'_> {
    /// Remembers what a playlist names that is kept, or is going to be: before viewers have it, so that they ask for
    /// nothing that is not known yet. Bounded by [`NAMES_MAX`]; what is remembered already costs a look-up each.
    /// `headers` are those of the answer that it came with.
    pub(super) fn learn_names(&self, facts: &PlaylistFacts, text: &[u8], headers: &HeaderMap) {
        let Ok(text) = std::str::from_utf8(text) else { return };
        let (site, playlists) = (&self.job.site, &self.coalescer.playlists);
        let target = self.flight.key.target();
        let path = path_of(target);
        let known = (!facts.multivariant).then(|| playlists.get_or_insert(&self.flight.key.text));
        let now = self.coalescer.clock.now();
        let named_to = known.as_ref().and_then(|known| known.named_to());
        let named_to = named_to.filter(|to| now.duration_since(to.at).is_ok_and(|since| since < NAMED_FOR));
        let imported = if facts.multivariant { None } else { playlists.assets.defined(&site.name, path) };
        let around = Around { query: query_of(target), imported: imported.as_deref().unwrap_or_default() };
        let mut found = Found::of(text, &around, named_to);
        let (mut since, mut from) = named_to.map_or((now, 0), |to| (to.at, to.next));
        if !found.continues {
            found = Found::of(text, &around, None);
            (since, from) = (now, 0);
        }
        if site.tells_cmsd && known.is_some() {
            self.learn_order(text, &around, from, headers);
        }
        if let Some((uri, end)) = &found.parted
            && let Some((named, _)) = site.resolve(uri, path)
        {
            playlists.assets.name_bytes(&site.name, &named, *end);
        }
        let defined = facts.multivariant.then(|| defined(&found.variables)).flatten();
        for (kind, uri) in found.keys.0.into_iter().chain(found.others.0) {
            let Some((named, _)) = site.resolve(&uri, path) else { continue };
            // Where a query alone tells them apart, the playlist stays one.
            if named != path {
                playlists.assets.name(&site.name, &named, kind);
            }
            if let Some(variables) = defined.as_ref().filter(|_| kind == Kind::MediaPlaylist) {
                playlists.assets.define(&site.name, &named, variables);
            }
        }
        let listed = found.listed.0.iter().filter(|_| facts.is_live());
        for (named, _) in listed.filter_map(|(_, uri)| site.resolve(uri, path)) {
            playlists.assets.list_asset(&site.name, &named);
        }
        if let (Some(known), Some((next, last))) = (known, found.to) {
            known.set_named_to(NamedTo { next, last, at: since });
        }
    }

    /// Remembers how long what a media playlist lists plays and what comes after it, from the segment before number `from` on. Of a
    /// playlist that is there for some alone nothing is remembered, and nothing of what only a query tells apart: it may be of one session.
    fn learn_order(&self, text: &str, around: &Around<'_>, from: u64, headers: &HeaderMap) {
        let (site, key) = (&self.job.site, &self.flight.key);
        // The first answer that varies has come under a key that is everybody's still.
        let varies = !self.open_names(headers).is_some_and(|open| open.is_empty());
        if varies || self.job.authorization.is_some() || !key.is_for_all() {
            return;
        }
        let (by, path) = (hash_of(&undirected(&key.text)), path_of(key.target()));
        let mut left = NAMES_MAX;
        let resolve = |named: &Named<'_>| {
            let (path, query) = site.resolve(&named.uri, path)?;
            query.is_none().then_some(path)
        };
        order(text, around, from.saturating_sub(1), |named, next| {
            let Some(at) = resolve(named).filter(|_| left > 0) else { return };
            left -= 1;
            let next = next.and_then(|next| Next::after(&at, (&resolve(next)?, next.range)));
            let told = Told { duration: named.duration(), next };
            // What is listed twice, as a slate is, has two places that each say what comes next.
            let part = named.part.map_or(0, |part| part.saturating_add(1));
            let place = u128::from(named.msn.unwrap_or(0)) << 64 | u128::from(part);
            self.coalescer.playlists.media.tell(&site.name, (&at, named.range), by ^ place, told);
        });
    }

    /// Remembers what keys a playlist names that is not kept: they are nobody else's, whoever's the playlist is.
    pub(super) fn learn_keys(&self, text: &[u8]) {
        let Ok(text) = std::str::from_utf8(text) else { return };
        let (site, playlists) = (&self.job.site, &self.coalescer.playlists);
        let target = self.flight.key.target();
        let path = path_of(target);
        let imported = playlists.assets.defined(&site.name, path);
        let around = Around { query: query_of(target), imported: imported.as_deref().unwrap_or_default() };
        for (kind, uri) in Found::of(text, &around, None).keys.0 {
            if let Some((named, _)) = site.resolve(&uri, path).filter(|(named, _)| named != path) {
                playlists.assets.name(&site.name, &named, kind);
            }
        }
    }

    /// What [`Fill::learn_names`] does, of one that was on disk and has been read whole.
    pub(super) fn learn_recalled(&self, object: &Object) {
        if !object.kind.is_playlist() || object.status() != StatusCode::OK {
            return;
        }
        let Some(chunks) =
            object.body.as_whole().filter(|body| body.is_complete()).and_then(|body| body.chunks())
        else {
            return;
        };
        let text = match chunks.as_slice() {
            [text] => text.clone(),
            several => Bytes::from(several.concat()),
        };
        if let Ok(facts) = hls::read::read(&text) {
            self.learn_names(&facts, &text, &object.header.headers);
        }
    }
}

/// What is to be learned from a playlist.
struct Found<'t> {
    keys: Newest<'t>,
    others: Newest<'t>,
    /// Segments and init sections that are there.
    listed: Newest<'t>,
    variables: Variables<'t>,
    /// The number after that of the last segment, and the hash of its URI.
    to: Option<(u64, u64)>,
    /// Whether the segment that was last before is still that.
    continues: bool,
    /// The last part that is a sub-range of a segment: whose, and where it ends. Of older segments all is there.
    parted: Option<(Cow<'t, str>, u64)>,
}

impl<'t> Found<'t> {
    /// Reads a playlist; what belongs to segments that have been named is left out.
    fn of(text: &'t str, around: &Around<'_>, named_to: Option<NamedTo>) -> Found<'t> {
        let (mut keys, mut others, mut listed) = (Newest::default(), Newest::default(), Newest::default());
        let (mut to, mut continues, mut parted) = (None, true, None);
        let from = named_to.map_or(0, |to| to.next);
        // What stands before the first segment is of none of them, and looked at each time.
        let mut at = from;
        let variables = names_around(text, around, |named| {
            let is_segment = named.msn.is_some() && named.part.is_none();
            parted = end_of_part(&named).or_else(|| parted.take());
            if let Some(msn) = named.msn.filter(|_| is_segment) {
                at = msn.saturating_add(1);
                let hash = if at < from { 0 } else { xxh3_64(named.uri.as_bytes()) };
                continues &= at != from || named_to.is_none_or(|before| before.last == hash);
                to = Some((at, hash));
            }
            let position = if is_segment { at.saturating_sub(1) } else { at };
            if position >= from {
                if matches!(named.kind, Kind::Segment | Kind::Init) && !named.hint && !named.gap {
                    listed.push(named.kind, named.uri.clone());
                }
                match kind_of(&named) {
                    Kind::Key => keys.push(Kind::Key, named.uri),
                    kind => others.push(kind, named.uri),
                }
            }
        });
        // A playlist that ends earlier is another one, or an old one.
        continues &= to.is_none_or(|(next, _)| next >= from);
        Found { keys, others, listed, variables, to, continues, parted }
    }
}

/// What the resource of a named asset is: one that parts are sub-ranges of is a segment.
fn kind_of(named: &Named<'_>) -> Kind {
    if named.kind == Kind::Part && named.range.is_some() { Kind::Segment } else { named.kind }
}

/// Where a part ends that is a sub-range of a segment, and whose that is.
fn end_of_part<'t>(named: &Named<'t>) -> Option<(Cow<'t, str>, u64)> {
    let range = named.range.filter(|_| named.kind == Kind::Part && !named.hint && !named.gap)?;
    Some((named.uri.clone(), range.start.checked_add(range.len?)?))
}

/// The variables that others may import, unless they are too long.
fn defined(variables: &Variables<'_>) -> Option<Arc<Defined>> {
    let bytes: usize = variables.iter().map(|(name, value)| name.len() + value.len()).sum();
    let defined: Arc<Defined> = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    (!defined.is_empty() && bytes <= DEFINED_BYTES_MAX).then_some(defined)
}

/// The last names of a playlist, [`NAMES_MAX`] at most; one that follows itself once.
#[derive(Default)]
struct Newest<'t>(VecDeque<(Kind, Cow<'t, str>)>);

impl<'t> Newest<'t> {
    fn push(&mut self, kind: Kind, uri: Cow<'t, str>) {
        if self.0.back().is_some_and(|(before, same)| *before == kind && *same == uri) {
            return;
        }
        if self.0.len() >= NAMES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((kind, uri));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_names_the_newest_are_kept() {
        let mut newest = Newest::default();
        for number in 0..NAMES_MAX + 10 {
            newest.push(Kind::Segment, number.to_string().into());
            newest.push(Kind::Segment, number.to_string().into());
        }
        let kept: Vec<_> = newest.0.iter().map(|(_, uri)| uri.parse().unwrap_or(0)).collect();
        assert_eq!(kept, (10..NAMES_MAX + 10).collect::<Vec<usize>>());
    }

    /// What is learned of a playlist, and how far it goes then; None: it is another stream, and all is learned again.
    fn learned(text: &str, before: Option<(u64, u64)>) -> (Option<Vec<String>>, Option<(u64, u64)>) {
        let at = std::time::SystemTime::UNIX_EPOCH;
        let before = before.map(|(next, last)| NamedTo { next, last, at });
        let found = Found::of(text, &Around::default(), before);
        let uris = found.keys.0.into_iter().chain(found.others.0).map(|(_, uri)| uri.into_owned());
        (found.continues.then(|| uris.collect()), found.to)
    }

    #[test]
    fn of_a_playlist_that_grows_only_what_is_new_is_learned() {
        let playlist = |first: u64, stream: &str, parts: &str| {
            let segment = |n: u64| {
                format!("#EXT-X-KEY:METHOD=AES-128,URI=\"k{n}\"\n#EXT-X-PART:URI=\"{n}.0\"\n{stream}{n}\n")
            };
            let segments: String = (first..first + 3).map(segment).collect();
            format!("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-MAP:URI=\"i\"\n{segments}{parts}")
        };
        let (all, first) = learned(&playlist(5, "a", ""), None);
        assert_eq!(all.unwrap_or_default().len(), 10);
        let uris = |text: &str, before| learned(text, before).0;
        let named = |uris: &[&str]| Some(uris.iter().map(|uri| (*uri).to_owned()).collect());
        assert_eq!(
            uris(&playlist(5, "a", ""), first),
            named(&["k5", "i", "5.0"]),
            "what stands before a segment"
        );
        let parts = "#EXT-X-PART:URI=\"9.0\"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"9.1\"\n";
        assert_eq!(
            uris(&playlist(6, "a", parts), first),
            named(&["k6", "k8", "i", "6.0", "8.0", "a8", "9.0", "9.1"])
        );
        assert_eq!(
            uris(&playlist(8, "a", ""), first).map(|all| all.len()),
            Some(10),
            "nothing of it is known"
        );
        assert_eq!(uris(&playlist(5, "b", ""), first), None, "other segments have the same numbers");
        assert_eq!(uris(&playlist(4, "a", ""), first), None, "it goes back");
        assert_eq!(uris("#EXTM3U\n#EXT-X-MAP:URI=\"i\"\n", first), named(&["i"]));
    }

    #[test]
    fn variables_that_are_too_long_are_not_kept() {
        let read = |text: &str| {
            let variables = names_around(text, &Around::default(), |_| {});
            defined(&variables).map(|defined| defined.to_vec())
        };
        let define = |value: &str| format!("#EXT-X-DEFINE:NAME=\"a\",VALUE=\"{value}\"\n");
        assert_eq!(read(&define("b")), Some(vec![("a".into(), "b".into())]));
        assert_eq!(read(&define(&"b".repeat(DEFINED_BYTES_MAX))), None);
        assert_eq!(read("#EXTM3U\n"), None);
    }
}
