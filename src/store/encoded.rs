//! The encoded copies of one body: a place for each content coding, filled once, by whoever asks first.
//!
//! They hang on the object that they were made from and go with it. An object that takes its place around the same body
//! shares them. Who fills a place, and when, is decided by those who deliver.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::content::Content;
use super::object::HitHeader;
use crate::config::model::Coding;

/// Number of codings.
const CODINGS: usize = Coding::ALL.len();

/// What an object has beside its identity representation.
#[derive(Debug, Default)]
pub struct Encoded {
    /// Whether the object is sent encoded at all; found out once.
    eligible: OnceLock<bool>,
    /// None until one is wanted: most objects are media.
    copies: OnceLock<Box<Copies>>,
}

#[derive(Debug, Default)]
struct Copies {
    places: Arc<[Place; CODINGS]>,
    /// The headers of plain hits, as [`super::Object::hit_header`].
    hit_headers: [ArcSwapOption<HitHeader>; CODINGS],
}

/// The place of one encoded copy.
#[derive(Debug, Default)]
pub struct Place {
    begun: AtomicBool,
    made: OnceLock<Option<Content>>,
    ended: Notify,
}

/// The right, and the duty, to fill a place: dropped, it leaves word that there is no copy.
#[derive(Debug)]
pub struct Filling {
    places: Arc<[Place; CODINGS]>,
    coding: Coding,
}

impl Encoded {
    /// Whether the object is sent encoded, as `find_out` says the first time.
    pub fn is_eligible(&self, find_out: impl FnOnce() -> bool) -> bool {
        *self.eligible.get_or_init(find_out)
    }

    /// The place of a coding.
    pub fn place(&self, coding: Coding) -> &Place {
        &self.places()[coding as usize]
    }

    /// The header of a plain hit in a coding, made once a second.
    pub fn hit_header(&self, coding: Coding) -> &ArcSwapOption<HitHeader> {
        &self.copies().hit_headers[coding as usize]
    }

    /// The same copies, for an object around the same body.
    pub fn again(&self) -> Encoded {
        // Made if need be: a confirmation makes two objects, one to be kept and one to be sent, which share them, too.
        let copies = Copies { places: Arc::clone(self.places()), ..Copies::default() };
        Encoded { copies: OnceLock::from(Box::new(copies)), ..Encoded::default() }
    }

    /// Claims a place to fill it; None: somebody has.
    pub fn begin(&self, coding: Coding) -> Option<Filling> {
        let first = !self.place(coding).begun.swap(true, Ordering::AcqRel);
        first.then(|| Filling { places: Arc::clone(self.places()), coding })
    }

    fn places(&self) -> &Arc<[Place; CODINGS]> {
        &self.copies().places
    }

    fn copies(&self) -> &Copies {
        self.copies.get_or_init(Box::default)
    }
}

impl Place {
    /// The copy; None: it has not been made yet. Some(None): there is none, the body goes as it is.
    pub fn made(&self) -> Option<&Option<Content>> {
        self.made.get()
    }

    /// Whether somebody fills the place, or has.
    pub fn is_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Waits until the place is filled.
    pub async fn wait(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.made.get().is_some() {
                return;
            }
            ended.await;
        }
    }
}

impl Filling {
    /// Fills the place. None: the body is better sent as it is.
    pub fn finish(self, copy: Option<Content>) {
        // The one who fills does so once.
        let _ = self.place().made.set(copy);
    }

    fn place(&self) -> &Place {
        &self.places[self.coding as usize]
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.place().made.get_or_init(|| None);
        self.place().ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::store::Body;

    #[tokio::test]
    async fn one_fills_a_place_and_all_who_wait_are_told() {
        let encoded = Arc::new(Encoded::default());
        let filling = encoded.begin(Coding::Gzip).unwrap();
        assert!(encoded.begin(Coding::Gzip).is_none());
        assert!(encoded.begin(Coding::Zstd).is_some(), "each coding has its own");
        let other = encoded.again();
        let waiting = tokio::spawn(async move {
            other.place(Coding::Gzip).wait().await;
            other.place(Coding::Gzip).made().unwrap().is_some()
        });
        tokio::task::yield_now().await;
        filling.finish(Some(Body::growing(None, None).into()));
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn a_filling_that_is_dropped_leaves_word() {
        let encoded = Encoded::default();
        drop(encoded.begin(Coding::Brotli).unwrap());
        encoded.place(Coding::Brotli).wait().await;
        assert!(matches!(encoded.place(Coding::Brotli).made(), Some(None)));
    }
}
