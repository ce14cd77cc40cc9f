//! Answers that vary: which of several answers under one key a fetch has brought, and where it is kept (RFC 9111
//! section 4.1).
//!
//! An answer is kept as the variant for exactly those fields that the origin was sent. When it names other fields than
//! are known for its key, a new marker takes the key's place; those who wait are told, and each goes on with the key of
//! its own variant. So a field of a request reaches an origin only after the origin has named it, and only in a fetch
//! whose answer the field is part of the key of.

use std::sync::Arc;

use http::header::{HeaderMap, HeaderName};
use pingora::http::ResponseHeader;

use super::{Answer, Failure, Fill, Landing};
use crate::asset::Kind;
use crate::cache::Kept;
use crate::cache::validation::confirms;
use crate::coalesce::{State, Ticket};
use crate::config::model::DiskAdmission;
use crate::key::variant::{Settled, VARY_NAMES_MAX, primary_text, variance, variant_key, with_variant_key};
use crate::key::{Key, hash_of};
use crate::store::{Object, Variants};

impl Fill<'_> {
    /// Keeps an answer under the key that its `Vary` gives it; gives that. None: it is passed on.
    pub(super) async fn keep_among(
        &self,
        cache: &mut pingora_cache::HttpCache,
        kept: Kept,
        kind: Kind,
        answer: Answer,
    ) -> Result<Option<Key>, Failure> {
        self.give_own(&kept);
        let Some(open) = self.open_names(&answer.response.header.headers) else {
            return self.pass(kept.header, kind, answer).await.map(|()| None);
        };
        self.coalescer.note_varied(self.flight.key.site(), self.job.kind, &open);
        if self.is_kept_here(&answer.response.header.headers) {
            let key = self.flight.key.clone();
            return Box::pin(self.keep(cache, kept, kind, answer)).await.map(|()| Some(key));
        }
        Box::pin(self.mark(&open, kept, kind, answer)).await
    }

    /// Whether an answer with these fields may be kept under the key of this fetch: it varies by nothing that the key
    /// does not say.
    pub(in crate::coalesce) fn is_kept_here(&self, headers: &HeaderMap) -> bool {
        let Some(open) = self.open_names(headers) else { return false };
        let Some(marker) = self.marker() else { return open.is_empty() && self.job.names.is_empty() };
        let Some(variants) = marker.variants.as_ref().filter(|_| self.says_all(&marker, &open)) else {
            return false;
        };
        self.admit(variants, variance(variants.epoch, &variants.names, &self.told()));
        true
    }

    /// Whether the key of this fetch is that of a variant by this marker, which names all these fields.
    fn says_all(&self, marker: &Object, open: &[HeaderName]) -> bool {
        let variants = marker.variants.as_ref();
        variants.is_some_and(|variants| includes(&variants.names, open) && self.is_variant_of(variants))
    }

    /// Passes an answer on that is not kept. One that names fields which the origin was not sent is asked for again,
    /// with them: each request is told to.
    pub(super) async fn pass_among(
        &self,
        header: ResponseHeader,
        kind: Kind,
        answer: Answer,
    ) -> Result<(), Failure> {
        let open = self.open_names(&answer.response.header.headers);
        let error = answer.response.header.status.is_server_error();
        match open.filter(|open| !error && !self.job.last_try && !self.was_told_of(open)) {
            Some(open) => {
                drop(answer);
                let Some(marker) = self.marker_for(&open, DiskAdmission::Never)? else {
                    return Err(Failure::INTERNAL);
                };
                self.flight.publish(State::Varies(marker));
                Ok(())
            }
            // Boxed: its state is large.
            None => Box::pin(self.pass(header, kind, answer)).await,
        }
    }

    /// Whether a 304 confirms what is held: it names no other version, and no fields that the held one is not known to
    /// vary by.
    pub(super) fn is_confirmed(&self, stale: &Object, received: &ResponseHeader) -> bool {
        let names = |open: Vec<HeaderName>| includes(&self.job.names, &open);
        confirms(&stale.header, received) && self.open_names(&received.headers).is_some_and(names)
    }

    /// Whether the origin was sent all these fields, as far as the request has them.
    fn was_told_of(&self, names: &[HeaderName]) -> bool {
        names.iter().all(|name| self.job.names.contains(name) || self.job.passed_on.contains_key(name))
    }

    /// The fields that an answer names in `Vary` and that may differ between requests of this key. None: it varies by
    /// what no request tells (`*`), or by more than is kept.
    pub(in crate::coalesce) fn open_names(&self, headers: &HeaderMap) -> Option<Vec<HeaderName>> {
        let settled = Settled { kind: self.job.kind, cors: self.job.cors, keyed: &self.job.keyed };
        settled.open_names(headers)
    }

    /// The text of the key, without what tells this variant from others.
    fn primary(&self) -> &str {
        primary_text(&self.flight.key.text).unwrap_or(&self.flight.key.text)
    }

    /// The marker that stands in the key's place now.
    fn marker(&self) -> Option<Arc<Object>> {
        let text = self.primary();
        self.coalescer.store.get(hash_of(text), text).filter(|held| held.variants.is_some())
    }

    /// Whether this fetch's key is the key of the variant, by this marker, that the origin was asked for.
    fn is_variant_of(&self, variants: &Variants) -> bool {
        let variance = variance(variants.epoch, &variants.names, &self.told());
        with_variant_key(self.primary(), variants.epoch, variance, |_, text| *text == *self.flight.key.text)
    }

    /// Takes a place for a variant (`limits.variants`); the one that has to go for it is removed.
    fn admit(&self, variants: &Variants, variance: u128) {
        let store = self.coalescer.store;
        let is_held = |other: u128| {
            with_variant_key(self.primary(), variants.epoch, other, |hash, text| {
                store.get(hash, text).is_some() || store.is_on_disk(text)
            })
        };
        if let Some(other) = variants.admit(variance, self.coalescer.limits.variants, is_held) {
            let displaced = variant_key(self.primary(), variants.epoch, other);
            store.remove(displaced.hash, &displaced.text);
        }
    }

    /// Puts a marker into the key's place by which the answer is one of several, tells those who wait, and keeps the
    /// answer as the variant that it is.
    async fn mark(
        &self,
        open: &[HeaderName],
        kept: Kept,
        kind: Kind,
        answer: Answer,
    ) -> Result<Option<Key>, Failure> {
        if self.job.last_try {
            return self.pass(kept.header, kind, answer).await.map(|()| None);
        }
        let disk = self.disk_admission(kept.header.status, kind, &kept.lifetime);
        let Some(marker) = self.marker_for(open, disk)? else {
            // Its key was invalidated meanwhile, or has more names than may be.
            let provenance = Some(self.provenance(kept.tags));
            let streamed = self.stream(kept.header, kept.lifetime, kind, provenance, answer).await;
            return streamed.map(|()| None);
        };
        let Some(variants) = marker.variants.clone() else { return Err(Failure::INTERNAL) };
        let variance = variance(variants.epoch, &variants.names, &self.told());
        let key = variant_key(self.primary(), variants.epoch, variance);
        let slot = super::super::Lane::of(self.job).slot(key.hash);
        self.admit(&variants, variance);
        let landing = self.coalescer.enter(key.clone(), slot, false);
        let mut kept_under = None;
        if let Some(landing) = &landing {
            self.hand_over(landing);
        }
        self.flight.publish(State::Varies(Arc::clone(&marker)));
        self.coalescer.land(self.flight);
        if let Some(landing) = landing {
            let fill = Fill { flight: &landing.flight, ..*self };
            let mut cache = fill.engine_cache();
            cache.cache_miss();
            match Box::pin(fill.keep(&mut cache, kept, kind, answer)).await {
                Ok(()) => kept_under = Some(key),
                Err(failure) => landing.flight.publish(State::Failed(failure, None)),
            }
        }
        self.coalescer.store.admit_to_disk(&marker, disk).await;
        Ok(kept_under)
    }

    /// The marker for answers that vary by these fields, beside those known for the key: the one that stands there, or a
    /// new one in its place. None: there may be none.
    fn marker_for(&self, open: &[HeaderName], disk: DiskAdmission) -> Result<Option<Arc<Object>>, Failure> {
        let store = self.coalescer.store;
        let held = self.marker();
        let text = self.primary();
        let is_variant = text.len() < self.flight.key.text.len();
        let removed = is_variant && held.is_none() && !store.is_on_disk(text);
        if removed || self.coalescer.is_invalidated(self.flight) {
            return Ok(None);
        }
        let known = held.as_ref().and_then(|held| held.variants.as_ref()).map(|held| &*held.names);
        let mut names: Vec<HeaderName> = [known.unwrap_or_default(), &self.job.names, open].concat();
        sort(&mut names);
        if known.is_some_and(|known| *known == *names) {
            return Ok(held);
        }
        if names.len() > VARY_NAMES_MAX {
            return Ok(None);
        }
        let epoch = getrandom::u64().map_err(|_| Failure::INTERNAL)?;
        let key = Key { hash: hash_of(text), text: text.into() };
        let provenance = self.provenance(None);
        let variants = Variants::new(epoch, names.into());
        let now = self.coalescer.clock.now();
        let marker = Arc::new(Object::marker(key, self.job.kind, variants, provenance, disk, now));
        store.keep(&marker);
        self.remove_if_invalidated(&marker);
        Ok(Some(marker))
    }

    /// Keeps a part in the fetch of the variant for the one who started this one, and holds another until those who wait
    /// for this one have gone on to their own.
    fn hand_over(&self, landing: &Landing) {
        let ticket = Ticket::take(&landing.flight, true);
        *self.flight.next.lock() = Some(Ticket::take(&landing.flight, true));
        let waited_for = Arc::clone(self.flight);
        tokio::spawn(async move {
            waited_for.tickets_gone().await;
            let unclaimed = waited_for.next.lock().take();
            drop((ticket, unclaimed));
        });
    }
}

fn sort(names: &mut Vec<HeaderName>) {
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
}

fn includes(names: &[HeaderName], others: &[HeaderName]) -> bool {
    others.iter().all(|other| names.contains(other))
}
