//! What purges name, as hashes that are the same after every restart. Pure.
//!
//! A purge names one thing; an object has many names: its site, its target, the beginnings of its path, its tags. Decides
//! what of a key's text is its target: variants and slices follow behind further spaces and share it. An answer to a request
//! with directives (`_HLS_*`) is the playlist, too, and has its name beside its own.

use std::borrow::Cow;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::PurgeTarget;
use crate::key::undirected;
use crate::store::Object;

const SITE: u8 = 1;
const URL: u8 = 2;
const PREFIX: u8 = 3;
const TAG: u8 = 4;
const SITE_TAG: u8 = 5;

/// The hash of a tag, as objects carry it ([`crate::store::Provenance::tags`]). It outlives restarts.
pub fn tag_hash(tag: &str) -> u64 {
    xxh3_64(tag.as_bytes())
}

/// What one purge names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) hash: u128,
    /// Of a prefix: its length in bytes.
    pub(super) prefix_len: Option<u32>,
}

/// What an object is known by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    site: &'a str,
    target: &'a str,
    tags: &'a [u64],
}

impl Name {
    /// The name of a target; None: it names everything.
    pub(super) fn of(target: &PurgeTarget) -> Option<Name> {
        let whole = |hash: u128| Some(Name { hash, prefix_len: None });
        match target {
            PurgeTarget::Url { site, target } => whole(of_target(site, target)),
            PurgeTarget::Prefix { site, path } => {
                let mut hash = prefix_of(site);
                hash.update(path.as_bytes());
                let prefix_len = u32::try_from(path.len()).unwrap_or(u32::MAX);
                Some(Name { hash: hash.digest128(), prefix_len: Some(prefix_len) })
            }
            PurgeTarget::Tag { site: None, tag } => whole(of_tag(tag_hash(tag))),
            PurgeTarget::Tag { site: Some(site), tag } => whole(of_site_tag(site, tag_hash(tag))),
            PurgeTarget::Site(site) => whole(of_site(site)),
            PurgeTarget::Everything => None,
        }
    }
}

impl<'a> Known<'a> {
    pub(super) fn of(object: &'a Object) -> Known<'a> {
        Known::of_parts(&object.key.text, &object.provenance.tags)
    }

    pub(super) fn of_parts(text: &'a str, tags: &'a [u64]) -> Known<'a> {
        let mut words = text.splitn(3, ' ');
        let (site, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        Known { site, target, tags }
    }

    /// Path without query: what prefixes are of.
    fn path(&self) -> &'a str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Whether a purge of this target names it.
    pub(super) fn is_named_by(&self, target: &PurgeTarget) -> bool {
        match target {
            PurgeTarget::Url { site, target } => {
                self.site == site && (self.target == target || undirected(self.target) == *target)
            }
            PurgeTarget::Prefix { site, path } => self.site == site && self.path().starts_with(path.as_str()),
            PurgeTarget::Tag { site, tag } => {
                site.as_ref().is_none_or(|site| self.site == site) && self.tags.contains(&tag_hash(tag))
            }
            PurgeTarget::Site(site) => self.site == site,
            PurgeTarget::Everything => true,
        }
    }

    /// Shows every name, of prefixes those of the given lengths, which ascend.
    pub(super) fn each(&self, prefix_lens: impl Iterator<Item = u32>, mut see: impl FnMut(u128)) {
        see(of_site(self.site));
        see(of_target(self.site, self.target));
        if let Cow::Owned(playlist) = undirected(self.target) {
            see(of_target(self.site, &playlist));
        }
        for tag in self.tags {
            see(of_tag(*tag));
            see(of_site_tag(self.site, *tag));
        }
        let path = self.path().as_bytes();
        let mut hash = prefix_of(self.site);
        let mut hashed = 0;
        for len in prefix_lens {
            let Some(more) = usize::try_from(len).ok().and_then(|len| path.get(hashed..len)) else { break };
            hash.update(more);
            hashed += more.len();
            see(hash.digest128());
        }
    }
}

fn begun(class: u8, site: &str) -> Xxh3 {
    let mut hash = Xxh3::new();
    hash.update(&[class]);
    hash.update(site.as_bytes());
    // No site's name holds a space.
    hash.update(b" ");
    hash
}

fn of_site(site: &str) -> u128 {
    begun(SITE, site).digest128()
}

fn of_target(site: &str, target: &str) -> u128 {
    let mut hash = begun(URL, site);
    hash.update(target.as_bytes());
    hash.digest128()
}

fn prefix_of(site: &str) -> Xxh3 {
    begun(PREFIX, site)
}

fn of_tag(tag: u64) -> u128 {
    let mut hash = begun(TAG, "");
    hash.update(&tag.to_le_bytes());
    hash.digest128()
}

fn of_site_tag(site: &str, tag: u64) -> u128 {
    let mut hash = begun(SITE_TAG, site);
    hash.update(&tag.to_le_bytes());
    hash.digest128()
}
