//! What makes two requests the same: the key of an object.
//!
//! A key is the site, the path in normal form ([`target`]), the query parameters that count, sorted by name, and what a
//! rule adds of the request ([`parts`]). Parameters that carry a token, CMCD or tracking never count; `_HLS_*` directives
//! always do (RFC 8216bis section 6.2.5). What is asked of the origin is made from the same parts, so an origin's answer
//! can depend on nothing that is not in the key.
//!
//! Its text: `SITE TARGET[ @PARTS][ ~VARIANT][ #SLICE]`. No part of it holds a space.

pub mod parts;
pub mod reference;
pub mod target;
pub mod variant;

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::LazyLock;

use percent_encoding::percent_decode_str;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

use crate::config::model::Rule;

/// Names of query parameters that never count unless a rule lists them.
const TRACKING: [&str; 2] = ["fbclid", "gclid"];

/// What begins the name of a directive (RFC 8216bis section 6.2.5).
const DIRECTIVE_PREFIX: &str = "_HLS_";

/// What stands between the text of an object's key and the number of its slice.
const SLICE_MARK: &str = " #";

/// The seed of the hash: different in each process, so that nobody can prepare keys that collide.
static SEED: LazyLock<u64> = LazyLock::new(|| getrandom::u64().unwrap_or(0x9E37_79B9_7F4A_7C15));

/// A key: its 128-bit hash, and the text that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Hash of `text`, seeded for this process.
    pub hash: u128,
    /// `SITE PATH?QUERY`: the site's name and what the origin is asked for; behind it ` @PARTS` of the request that a rule
    /// names, ` ~EPOCH-VARIANCE` of a variant and ` #VERSION-INDEX` of a slice.
    pub text: Box<str>,
}

impl Key {
    /// The name of its site.
    pub fn site(&self) -> &str {
        self.text.split_once(' ').map_or("", |(site, _)| site)
    }

    /// What the origin is asked for: path and query.
    pub fn target(&self) -> &str {
        self.text.split(' ').nth(1).unwrap_or("/")
    }

    /// The place of the rule, among those of its site, that keys by user: such an object is one user's.
    pub fn user_rule(&self) -> Option<usize> {
        let (_, place) = self.text.split_once(parts::USER_MARK)?;
        place.split(['&', ' ']).next()?.parse().ok()
    }

    /// What stands in it for the bounds that a claim gives ([`parts::append_bounds`]).
    pub fn bounds(&self) -> Option<u64> {
        let (_, parts) = self.text.split_once(parts::PARTS_MARK)?;
        let parts = parts.split(' ').next()?;
        let digits = parts.split('&').find_map(|part| part.strip_prefix(parts::BOUNDS_MARK))?;
        u64::from_str_radix(digits, 16).ok()
    }

    /// Whether all who ask for its target have it: it holds nothing else of their requests.
    pub fn is_for_all(&self) -> bool {
        self.text.matches(' ').count() == 1
    }

    /// Which of equal servers it belongs to: the same for all that is asked of one object, and on every node.
    pub fn placement(&self) -> u64 {
        let whole = self.text.split(SLICE_MARK).next().unwrap_or_default();
        xxh3_64(undirected(whole).as_bytes())
    }

    /// Whether it is the key of a slice.
    pub fn is_slice(&self) -> bool {
        self.text.contains(SLICE_MARK)
    }
}

/// The key of a slice of the object under a key of this text: that text and ` #VERSION-INDEX`. No request has such a key,
/// for a space is part of nothing that a request brings. Slices of two versions have different keys.
pub fn slice_key(text: &str, version: u128, index: u64) -> Key {
    let text = format!("{text}{SLICE_MARK}{version:032x}-{index}");
    Key { hash: hash_of(&text), text: text.into() }
}

/// The query of a key's target.
pub fn query_of(target: &str) -> Option<&str> {
    target.split_once('?').map(|(_, query)| query)
}

/// The text of a key without the directives in its query (`_HLS_*`), and without its variant: the same for all that is
/// asked of one playlist.
pub fn undirected(text: &str) -> Cow<'_, str> {
    let text = variant::primary_text(text).unwrap_or(text);
    if !text.contains(DIRECTIVE_PREFIX) {
        return Cow::Borrowed(text);
    }
    let Some((before, after)) = text.split_once('?') else { return Cow::Borrowed(text) };
    let (query, parts) = after.split_at(after.find(' ').unwrap_or(after.len()));
    let mut plain = before.to_owned();
    let kept = query.split('&').filter(|parameter| !parameter.starts_with(DIRECTIVE_PREFIX));
    for (place, parameter) in kept.enumerate() {
        plain.push(if place == 0 { '?' } else { '&' });
        plain.push_str(parameter);
    }
    plain.push_str(parts);
    Cow::Owned(plain)
}

/// Query parameters that rules drop from all that is below a path (normal form), whatever else these rules ask for.
pub fn dropped<'r>(rules: &'r [Rule], path: &str) -> impl Iterator<Item = &'r str> {
    let drops = rules.iter().filter(|rule| !rule.playlist.drop_parameters.is_empty());
    let here = drops.filter(|rule| rule.is_path_of(path));
    here.flat_map(|rule| &rule.playlist.drop_parameters).map(String::as_str)
}

/// Whether a query parameter has this name, in whatever spelling.
pub fn is_named(parameter: &str, known: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default();
    let is_encoded = name.contains('%') || known.contains('%');
    !name.is_empty()
        && (known == name || (is_encoded && percent_decode_str(name).eq(percent_decode_str(known))))
}

/// The hash of a key of this text, in this process.
pub fn hash_of(text: &str) -> u128 {
    xxh3_128_with_seed(text.as_bytes(), *SEED)
}

/// The hash of a path within a site, in this process: of no key, and without putting the two together.
pub fn hash_within(site: &str, path: &str) -> u128 {
    xxh3_128_with_seed(path.as_bytes(), xxh3_64_with_seed(site.as_bytes(), *SEED))
}

/// A number that stands for a site wherever its name would be too long. It outlives restarts and reordered sites.
pub fn site_id(site: &str) -> u16 {
    let [low, high, ..] = xxh3_64(site.as_bytes()).to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// Which query parameters count.
#[derive(Clone, Copy)]
pub struct QueryChoice<'a> {
    /// A rule's `key.query`, in place of the default choice.
    pub listed: Option<&'a [String]>,
    /// Whether a parameter carries the site's token, or a rule drops it.
    pub is_ignored: &'a dyn Fn(&str) -> bool,
}

impl QueryChoice<'_> {
    fn counts(&self, parameter: &str) -> bool {
        let name = parameter.split('=').next().unwrap_or_default();
        if name.is_empty() || (self.is_ignored)(parameter) {
            return false;
        }
        if name.starts_with(DIRECTIVE_PREFIX) {
            return true;
        }
        match self.listed {
            Some(listed) => listed.iter().any(|kept| kept == name),
            None => !is_noise(name),
        }
    }
}

/// Whether a parameter of this name says nothing about the object: CMCD or tracking.
fn is_noise(name: &str) -> bool {
    name.eq_ignore_ascii_case("CMCD") || name.starts_with("utm_") || TRACKING.contains(&name)
}

/// Calls `with` with the key of a request, made in a buffer that is used again: its hash and its text. Path and query
/// are in normal form; `parts` appends what else the key is made of.
///
/// # Errors
/// Those of `parts`: then there is no key.
pub fn with_key<T, E>(
    site: &str,
    path: &str,
    query: Option<&str>,
    choice: &QueryChoice<'_>,
    parts: impl FnOnce(&mut String) -> Result<(), E>,
    with: impl FnOnce(u128, &str) -> T,
) -> Result<T, E> {
    thread_local! {
        static BUFFER: RefCell<String> = const { RefCell::new(String::new()) };
    }
    BUFFER.with_borrow_mut(|text| {
        text.clear();
        // Writing to a string cannot fail.
        let _ = write!(text, "{site} {path}");
        if let Some(query) = query {
            append_query(text, query, choice);
        }
        parts(text)?;
        Ok(with(hash_of(text), text))
    })
}

/// What the origin is asked for: path and query, in normal form, the parameters that count alone.
pub fn target_of(path: &str, query: Option<&str>, choice: &QueryChoice<'_>) -> String {
    let mut text = path.to_owned();
    if let Some(query) = query {
        append_query(&mut text, query, choice);
    }
    text
}

/// Appends `?` and the parameters that count, sorted by name; those of one name stay in their order, which can matter.
fn append_query(text: &mut String, query: &str, choice: &QueryChoice<'_>) {
    let mut kept: Vec<&str> = query.split('&').filter(|parameter| choice.counts(parameter)).collect();
    kept.sort_by_key(|parameter| parameter.split('=').next());
    for (place, parameter) in kept.iter().enumerate() {
        text.push(if place == 0 { '?' } else { '&' });
        text.push_str(parameter);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn text(query: Option<&str>, listed: Option<&[String]>) -> String {
        let choice = QueryChoice { listed, is_ignored: &|parameter| parameter.starts_with("hdnts=") };
        let nothing = |_: &mut String| Ok::<(), parts::Unkeyable>(());
        with_key("3", "/a/b.m3u8", query, &choice, nothing, |_, text| text.to_owned()).unwrap()
    }

    #[test]
    fn token_cmcd_and_tracking_parameters_are_not_in_the_key() {
        assert_eq!(
            text(Some("hdnts=exp=1~hmac=2&CMCD=sid&utm_source=x&fbclid=1&gclid=2&"), None),
            "3 /a/b.m3u8"
        );
        assert_eq!(text(None, None), "3 /a/b.m3u8");
    }

    #[test]
    fn other_parameters_are_in_the_key_sorted_by_name_alone() {
        assert_eq!(text(Some("b=2&a=1&b=1"), None), "3 /a/b.m3u8?a=1&b=2&b=1");
        assert_ne!(text(Some("b=1&b=2"), None), text(Some("b=2&b=1"), None));
    }

    #[test]
    fn directives_of_low_latency_hls_are_always_in_the_key() {
        assert_eq!(
            text(Some("_HLS_part=1&x=1&_HLS_msn=9"), Some(&["lang".to_owned()])),
            "3 /a/b.m3u8?_HLS_msn=9&_HLS_part=1"
        );
    }

    #[test]
    fn a_key_without_directives_is_the_same_for_all_of_them() {
        for (text, plain) in [
            ("s /a.m3u8", "s /a.m3u8"),
            ("s /a.m3u8?_HLS_msn=1", "s /a.m3u8"),
            ("s /a.m3u8?_HLS_msn=1&_HLS_part=2&x=1 @c.a=_HLS_ ~1-2", "s /a.m3u8?x=1 @c.a=_HLS_"),
            ("s /_HLS_a?b=1", "s /_HLS_a?b=1"),
        ] {
            assert_eq!(undirected(text), plain);
        }
    }

    #[test]
    fn a_rule_replaces_the_choice() {
        assert_eq!(text(Some("utm_x=1&lang=de&q=1"), Some(&["lang".to_owned()])), "3 /a/b.m3u8?lang=de");
    }

    #[test]
    fn a_key_knows_its_target() {
        let key = Key { hash: 0, text: "3 /a%20b?x=1".into() };
        assert_eq!(key.target(), "/a%20b?x=1");
        assert_eq!(key.user_rule(), None);
        let key = Key { hash: 0, text: "3 /a?x=1 @u.12&c.a=1 ~0-1 #2".into() };
        assert_eq!((key.site(), key.target(), key.user_rule()), ("3", "/a?x=1", Some(12)));
        assert_eq!(key.bounds(), None);
    }

    #[test]
    fn a_key_knows_its_bounds() {
        for text in ["3 /p.0?p.1", "3 /a?x=1 @h.p.2=p.3"] {
            let mut text = text.to_owned();
            assert_eq!(Key { hash: 0, text: text.as_str().into() }.bounds(), None);
            parts::append_bounds(&mut text, 0xAB);
            text.push_str(" ~0-1 #2");
            let key = Key { hash: 0, text: text.into() };
            assert_eq!(key.bounds(), Some(0xAB), "{}", key.text);
        }
    }

    #[test]
    fn a_slice_has_a_key_of_its_own_for_the_same_target() {
        let key = Key { hash: 0, text: "3 /a?x=1".into() };
        let slice = slice_key(&key.text, 0xAB, 7);
        assert_eq!(&*slice.text, "3 /a?x=1 #000000000000000000000000000000ab-7");
        assert_eq!(slice.target(), "/a?x=1");
        assert!(slice.is_slice() && !key.is_slice());
        for other in [slice_key(&key.text, 0xAB, 8), slice_key(&key.text, 0xAC, 7)] {
            assert_ne!((slice.hash, &slice.text), (other.hash, &other.text));
        }
        assert_eq!(slice, slice_key(&key.text, 0xAB, 7));
    }
}
