//! What a marker says: by which request fields the answers under its key vary, and which of them are kept.
//!
//! A marker is an object without a body, in the place of the key. Its epoch is part of the key of each variant, so that
//! all variants are out of reach, in memory and on disk, once the marker is gone or another one has taken its place.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderName;
use parking_lot::Mutex;
use pingora::http::ResponseHeader;

use super::tiers::DiskMark;
use super::{Body, Lifetime, Object, Provenance};
use crate::asset::Kind;
use crate::config::model::DiskAdmission;
use crate::key::Key;

/// How long a marker stays usable: its variants say when they are stale.
const MARKER_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The content of a marker.
#[derive(Debug)]
pub struct Variants {
    /// Tells the variants of this marker from those of an earlier one; random.
    pub epoch: u64,
    /// Names of the fields, in lower case and sorted.
    pub names: Box<[HeaderName]>,
    /// Variances of the variants that were kept since the marker came into memory.
    kept: Mutex<Vec<u128>>,
}

impl Variants {
    /// Of this epoch, by these names; none is kept yet.
    pub fn new(epoch: u64, names: Box<[HeaderName]>) -> Variants {
        Variants { epoch, names, kept: Mutex::default() }
    }

    /// Takes one of `most` places for a variant; a place whose variant `is_held` no more is given anew. Gives the variant
    /// that has to go for it where all are taken: the one that came first, so that nobody keeps a place by asking for
    /// what nobody else will.
    pub fn admit(&self, variance: u128, most: usize, is_held: impl Fn(u128) -> bool) -> Option<u128> {
        let mut kept = self.kept.lock();
        if kept.contains(&variance) {
            return None;
        }
        if kept.len() >= most {
            kept.retain(|variance| is_held(*variance));
        }
        let displaced = (kept.len() >= most && most > 0).then(|| kept.remove(0));
        kept.push(variance);
        displaced
    }
}

impl Object {
    /// A marker for the place of `key`.
    pub fn marker(
        key: Key,
        kind: Kind,
        variants: Variants,
        provenance: Provenance,
        disk: DiskAdmission,
        now: SystemTime,
    ) -> Object {
        let header = ResponseHeader::from(http::Response::new(()).into_parts().0);
        let lifetime = Lifetime::lasting(now, MARKER_LIFETIME);
        let body = Body::growing(None, None);
        body.finish();
        let variants = Some(Arc::new(variants));
        let disk = DiskMark::of(disk);
        Object { variants, provenance, disk, ..Object::new(key, kind, header, lifetime, body.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_further_variant_gets_the_place_of_one_that_is_held_no_more_or_came_first() {
        let variants = Variants::new(1, [http::header::ACCEPT].into());
        assert_eq!([1, 2, 1].map(|variance| variants.admit(variance, 2, |_| true)), [None; 3]);
        assert_eq!(variants.admit(3, 2, |held| held != 2), None);
        assert_eq!(variants.admit(2, 2, |_| true), Some(1));
        assert_eq!(variants.admit(1, 2, |_| true), Some(3));
    }
}
