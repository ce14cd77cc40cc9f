//! The tags of an answer: the words by which it can be purged.
//!
//! An origin names them in `Surrogate-Key` (separated by spaces), `Cache-Tag` (by commas) or `Cache-Groups` (RFC 9875:
//! a List of Strings). They are one set, in which case counts. What is kept of a tag is its hash.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{BareItem, List, ListEntry, Parser};
use xxhash_rust::xxh3::xxh3_64;

use super::directives::joined;
pub use crate::store::purges::tag_hash;

/// Tags separated by spaces. Viewers do not get it.
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// Tags separated by commas. Viewers do not get it.
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// Groups (RFC 9875 section 2). Viewers get it.
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");

/// Hashes of tags, as a node of the next tier tells them ([`super::tier`]): 16 hexadecimal digits each, separated by spaces.
/// Viewers do not get it.
pub const FOREBAY_TAGS: HeaderName = HeaderName::from_static("forebay-tags");

/// Most tags of an object. An answer with more is not kept: a purge could miss it.
pub const TAGS_MAX: usize = 256;

/// Most bytes of a tag. An answer with a longer one is not kept.
pub const TAG_BYTES_MAX: usize = 1024;

/// An answer has more tags than [`TAGS_MAX`], or one longer than [`TAG_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {TAGS_MAX} tags, or one of more than {TAG_BYTES_MAX} bytes")]
pub struct TooManyTags;

/// The hashes of an answer's tags, sorted, each once. None: it has no field that names any.
///
/// # Errors
/// [`TooManyTags`].
pub fn of(headers: &HeaderMap) -> Result<Option<Arc<[u64]>>, TooManyTags> {
    let mut tags = Tags::default();
    let mut named = false;
    for (field, separator) in [(&SURROGATE_KEY, b' '), (&CACHE_TAG, b',')] {
        for line in headers.get_all(field).iter().map(HeaderValue::as_bytes) {
            named = true;
            let words = line.split(|byte| *byte == separator || (*byte == b'\t' && separator == b' '));
            words.map(<[u8]>::trim_ascii).try_for_each(|tag| tags.add(tag))?;
        }
    }
    if let Some(groups) = groups(headers, &CACHE_GROUPS) {
        named = true;
        groups.iter().try_for_each(|group| tags.add(group.as_bytes()))?;
    }
    for line in headers.get_all(FOREBAY_TAGS).iter().filter_map(|line| line.to_str().ok()) {
        named = true;
        // A node writes nothing else.
        let mut hashes = line.split(' ').filter_map(|digits| u64::from_str_radix(digits, 16).ok());
        hashes.try_for_each(|hash| tags.add_hash(hash))?;
    }
    Ok(named.then(|| tags.hashes.into()))
}

/// The tags of an object that an origin has confirmed by an answer (304) with these fields: `held`, those it had;
/// `merged`, those that [`of`] finds in the header brought up to date. Tags that viewers do not get stand in no stored
/// header, so they stay unless the answer names new ones.
///
/// # Errors
/// [`TooManyTags`].
pub fn of_confirmed(
    held: Option<&Arc<[u64]>>,
    received: &HeaderMap,
    merged: Option<Arc<[u64]>>,
) -> Result<Option<Arc<[u64]>>, TooManyTags> {
    let replaced = [SURROGATE_KEY, CACHE_TAG, FOREBAY_TAGS].iter().any(|name| received.contains_key(name));
    let (Some(held), false) = (held, replaced) else { return Ok(merged) };
    let mut tags = Tags { hashes: held.to_vec() };
    merged.iter().flat_map(|merged| merged.iter()).try_for_each(|hash| tags.add_hash(*hash))?;
    Ok(Some(tags.hashes.into()))
}

/// The groups that an answer names; a field that is no List of Strings is ignored (RFC 9875 section 2).
pub fn groups(headers: &HeaderMap, field: &HeaderName) -> Option<Vec<String>> {
    let lines = joined(headers, field)?;
    let list = Parser::new(&lines).parse::<List>().ok()?;
    list.into_iter()
        .map(|entry| match entry {
            ListEntry::Item(item) => match item.bare_item {
                BareItem::String(group) => Some(group.as_str().to_owned()),
                _ => None,
            },
            ListEntry::InnerList(_) => None,
        })
        .collect()
}

/// Hashes, sorted.
#[derive(Default)]
struct Tags {
    hashes: Vec<u64>,
}

impl Tags {
    fn add(&mut self, tag: &[u8]) -> Result<(), TooManyTags> {
        match tag.len() {
            0 => Ok(()),
            1..=TAG_BYTES_MAX => self.add_hash(xxh3_64(tag)),
            _ => Err(TooManyTags),
        }
    }

    fn add_hash(&mut self, hash: u64) -> Result<(), TooManyTags> {
        match self.hashes.binary_search(&hash) {
            Ok(_) => Ok(()),
            Err(_) if self.hashes.len() == TAGS_MAX => Err(TooManyTags),
            Err(place) => {
                self.hashes.insert(place, hash);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        fields.iter().map(pair).fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        })
    }

    fn hashes(tags: &[&str]) -> Option<Arc<[u64]>> {
        let mut hashes: Vec<u64> = tags.iter().map(|tag| tag_hash(tag)).collect();
        hashes.sort_unstable();
        Some(hashes.into())
    }

    #[test]
    fn every_field_that_names_tags_is_read_and_each_tag_counts_once() {
        for (fields, tags) in [
            (&[("surrogate-key", " live  news\tsport live ")][..], &["live", "news", "sport"][..]),
            (&[("surrogate-key", "a"), ("surrogate-key", "b")], &["a", "b"]),
            (&[("cache-tag", "a, b c,,a , d")], &["a", "b c", "d"]),
            (
                &[("cache-groups", "\"scripts\", \"a, b\";x=1"), ("cache-groups", "\"c\"")],
                &["scripts", "a, b", "c"],
            ),
            (&[("surrogate-key", "a b"), ("cache-tag", "b,c"), ("cache-groups", "\"c\"")], &["a", "b", "c"]),
            (&[("surrogate-key", "")], &[]),
            (&[("surrogate-key", "Live live")], &["Live", "live"]),
        ] {
            assert_eq!(of(&headers(fields)).unwrap(), hashes(tags), "{fields:?}");
        }
        assert_eq!(of(&headers(&[("content-type", "a/b")])).unwrap(), None);
    }

    #[test]
    fn groups_that_are_no_list_of_strings_are_ignored() {
        for value in ["scripts", "\"a", "\"a\", b", "(\"a\" \"b\")", "\"a\", 1", "\u{e9}"] {
            assert_eq!(of(&headers(&[("cache-groups", value)])).unwrap(), None, "{value}");
        }
    }

    #[test]
    fn an_answer_with_too_many_or_too_long_tags_is_refused() {
        let tags = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(of(&headers(&[("surrogate-key", &tags(TAGS_MAX))])).unwrap().unwrap().len(), TAGS_MAX);
        assert_eq!(of(&headers(&[("surrogate-key", &tags(TAGS_MAX + 1))])), Err(TooManyTags));
        assert!(of(&headers(&[("cache-tag", &"x".repeat(TAG_BYTES_MAX))])).is_ok());
        assert_eq!(of(&headers(&[("cache-tag", &"x".repeat(TAG_BYTES_MAX + 1))])), Err(TooManyTags));
    }

    #[test]
    fn a_hash_of_a_tag_is_the_same_everywhere() {
        assert_eq!(tag_hash(""), 0x2D06_8005_38D3_94C2);
    }

    #[test]
    fn a_confirmed_object_keeps_its_tags_unless_new_ones_are_named() {
        let held = hashes(&["old", "group"]).unwrap();
        let confirmed = |fields: &[(&'static str, &str)], merged: &[(&'static str, &str)]| {
            of_confirmed(Some(&held), &headers(fields), of(&headers(merged)).unwrap()).unwrap()
        };
        assert_eq!(confirmed(&[], &[]), hashes(&["old", "group"]));
        assert_eq!(confirmed(&[], &[("cache-groups", "\"group\"")]), hashes(&["old", "group"]));
        let new = [("cache-groups", "\"new\"")];
        assert_eq!(confirmed(&new, &new), hashes(&["old", "group", "new"]));
        let keys = [("surrogate-key", "k")];
        assert_eq!(confirmed(&keys, &keys), hashes(&["k"]));
        assert_eq!(of_confirmed(None, &headers(&[]), None).unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange_for_tags(
            lines in prop::collection::vec((0..3_usize, prop::collection::vec(any::<u8>(), 0..60)), 0..4),
        ) {
            let mut map = HeaderMap::new();
            for (field, bytes) in lines {
                if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                    map.append([SURROGATE_KEY, CACHE_TAG, CACHE_GROUPS][field].clone(), value);
                }
            }
            if let Ok(Some(hashes)) = of(&map) {
                prop_assert!(hashes.windows(2).all(|pair| pair[0] < pair[1]));
            }
        }
    }
}
