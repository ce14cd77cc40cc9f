//! An object: what the cache knows of one answer of an origin, and its body.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, ETAG, HeaderValue, LAST_MODIFIED};
use pingora::http::ResponseHeader;

use super::ahead::AheadMark;
use super::budget::Reservation;
use super::carried::Carried;
use super::content::Content;
use super::encoded::Encoded;
use super::tiers::DiskMark;
use super::variants::Variants;
use crate::asset::Kind;
use crate::hls::PlaylistFacts;
use crate::key::Key;

/// Bytes counted for an object beside its body, header fields and key: the structures that hold it.
pub const OVERHEAD_BYTES: u64 = 2048;

/// Bytes counted for one header field beside its text.
const FIELD_OVERHEAD_BYTES: u64 = 192;

/// How long an object may be used, and how (RFC 9111 section 4.2, RFC 5861).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// When the origin made the answer, as far as `Age` tells: the object's age counts from here.
    pub created: SystemTime,
    /// Until when it is fresh.
    pub fresh_until: SystemTime,
    /// How long it is fresh in all, as named when it was fetched: a confirmation that names no time gives it as long again.
    pub span: Duration,
    /// Whether that counts from when the answer came, and not from its making: it is a time of the node's own.
    pub from_coming: bool,
    /// How long after its freshness it may be served while it is fetched anew.
    pub stale_while_revalidate: Duration,
    /// How long after that it may be served when the origin fails.
    pub stale_if_error: Duration,
    /// Whether its origin forbids to serve it stale, so that no viewer's `max-stale` does (RFC 9111 section 4.2.4).
    pub strict: bool,
    /// Whether it does not change while it is fresh (RFC 8246).
    pub immutable: bool,
    /// When a soft purge ended it: it is not fresh any more, whatever the clock is set to. None: none has.
    pub purged: Option<SystemTime>,
}

impl Lifetime {
    /// A lifetime that ended when it began, without windows: of what is used once, and never again.
    pub fn ended(at: SystemTime) -> Lifetime {
        Lifetime::lasting(at, Duration::ZERO)
    }

    /// A lifetime of `span` without windows: of what the node keeps for itself.
    pub fn lasting(created: SystemTime, span: Duration) -> Lifetime {
        Lifetime {
            created,
            fresh_until: created + span,
            span,
            from_coming: false,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            strict: true,
            immutable: false,
            purged: None,
        }
    }

    /// Whether it is fresh at `now`.
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        self.purged.is_none() && now < self.fresh_until
    }

    /// Whether it may be served at `now` while it is fetched anew.
    pub fn bridges_revalidation(&self, now: SystemTime) -> bool {
        self.purged.is_none() && now < self.fresh_until + self.stale_while_revalidate
    }

    /// Whether it may be served at `now` because the origin fails.
    pub fn bridges_error(&self, now: SystemTime) -> bool {
        now < self.end() + self.stale_if_error
    }

    /// Whether it is not served stale for a viewer's wish: its origin or a purge forbids it.
    pub fn is_strict(&self) -> bool {
        self.strict || self.purged.is_some()
    }

    /// When it ended, or will.
    pub fn end(&self) -> SystemTime {
        self.purged.map_or(self.fresh_until, |at| at.min(self.fresh_until))
    }

    /// The lifetime of an object that was purged at `at`: expired, not served stale but for as long as ever when the
    /// origin fails.
    pub fn purged(&self, at: SystemTime) -> Lifetime {
        Lifetime { purged: Some(self.purged.map_or(at, |earlier| earlier.min(at))), ..*self }
    }

    /// Its age, in whole seconds (RFC 9111 section 5.1).
    pub fn age_seconds(&self, now: SystemTime) -> u64 {
        now.duration_since(self.created).unwrap_or_default().as_secs()
    }

    /// Freshness left, in whole seconds; negative: stale for so long.
    pub fn ttl_seconds(&self, now: SystemTime) -> i64 {
        let whole = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        match self.end().duration_since(now) {
            Ok(_) if self.purged.is_some() => 0,
            Ok(left) => whole(left),
            Err(past) => -whole(past.duration()),
        }
    }
}

/// Where an object comes from: what purges know it by, beside its key, and whether anybody had asked for it.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    /// The generation at which its fetch began: a purge of a later one may name it.
    pub generation: u64,
    /// Hashes of its tags (`Surrogate-Key`, `Cache-Tag`, `Cache-Groups`).
    pub tags: Arc<[u64]>,
    /// The mark of one that was fetched ahead of any request.
    pub ahead: Option<Arc<AheadMark>>,
}

/// One answer, kept or passing through. It never changes; a revalidation makes a new one around the same body.
#[derive(Debug)]
pub struct Object {
    /// What it answers.
    pub key: Key,
    /// What it is.
    pub kind: Kind,
    /// The header to answer with: status and end-to-end fields, `Cache-Control` for the viewer included, `Age` left out.
    pub header: ResponseHeader,
    /// How long it may be used.
    pub lifetime: Lifetime,
    /// Its bytes.
    pub body: Content,
    /// What purges know it by.
    pub provenance: Provenance,
    /// Of a marker: by what the answers under its key vary. It answers nothing itself.
    pub variants: Option<Arc<Variants>>,
    /// Whether it may answer other requests than the one it was fetched for.
    pub shared: bool,
    /// What it has to do with the disk.
    pub disk: DiskMark,
    /// The header of a plain hit with its `Age`, made once a second.
    pub hit_header: ArcSwapOption<HitHeader>,
    /// The generation of the soft purge that ended its lifetime; 0: none has.
    pub purged_at: u64,
    /// The generation of the latest purge that is known not to name it.
    pub checked: AtomicU64,
    /// Its encoded copies.
    pub encoded: Encoded,
    /// Where viewers' tokens go in its text.
    pub carried: Carried,
    /// Of a live playlist: its delta update, an object with its own header, copies and splits. It is made once, when one is
    /// wanted, and goes with this object; one that takes its place has its own. Some(None): there is none.
    pub delta: OnceLock<Option<Box<Delta>>>,
    /// Of an answer to a blocking reload: the same playlist as the answer to a plain request, made when one is wanted. It has
    /// this object's body, takes room of its own for the rest, and goes with this object.
    pub plain: ArcSwapOption<Object>,
    /// What it takes of the budget beside its body, where that is another object's.
    pub beside: Option<Reservation>,
}

/// The delta update of a playlist.
#[derive(Debug)]
pub struct Delta {
    /// What the playlist says that it was made of.
    pub of: PlaylistFacts,
    /// The update.
    pub object: Arc<Object>,
}

/// A header made ready for hits within one second.
#[derive(Debug)]
pub struct HitHeader {
    /// Seconds of age that it tells.
    pub age_seconds: u64,
    /// Freshness left that it tells, in seconds.
    pub ttl_seconds: i64,
    /// The header.
    pub header: ResponseHeader,
}

impl Object {
    /// An object that may be shared, is known to no disk, and that no purge names.
    pub fn new(key: Key, kind: Kind, header: ResponseHeader, lifetime: Lifetime, body: Content) -> Object {
        Object {
            key,
            kind,
            header,
            lifetime,
            body,
            provenance: Provenance::default(),
            variants: None,
            shared: true,
            disk: DiskMark::default(),
            hit_header: ArcSwapOption::empty(),
            purged_at: 0,
            checked: AtomicU64::new(0),
            encoded: Encoded::default(),
            carried: Carried::default(),
            delta: OnceLock::new(),
            plain: ArcSwapOption::empty(),
            beside: None,
        }
    }

    /// The same object, after a purge of this generation has ended its lifetime at `at`.
    pub fn expired(&self, generation: u64, at: SystemTime) -> Object {
        let lifetime = self.lifetime.purged(at);
        Object {
            provenance: self.provenance.clone(),
            variants: self.variants.clone(),
            shared: self.shared,
            disk: self.disk.again(),
            purged_at: generation,
            encoded: self.encoded.again(),
            carried: self.carried.again(),
            ..Object::new(self.key.clone(), self.kind, self.header.clone(), lifetime, self.body.clone())
        }
    }

    /// Whether a purge has ended its lifetime.
    pub fn is_purged(&self) -> bool {
        self.purged_at > 0
    }

    /// Its length, if the origin told it or the body is complete.
    pub fn length(&self) -> Option<u64> {
        match self.body.progress() {
            (len, true) => Some(len),
            _ => self.header.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok(),
        }
    }

    /// Its entity tag.
    pub fn etag(&self) -> Option<&HeaderValue> {
        self.header.headers.get(ETAG)
    }

    /// Its `Last-Modified`.
    pub fn last_modified(&self) -> Option<&HeaderValue> {
        self.header.headers.get(LAST_MODIFIED)
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.header.status
    }

    /// Bytes counted for it when its body has `body_len` bytes in memory.
    pub fn charge(&self, body_len: u64) -> u64 {
        charge(&self.key, &self.header, body_len)
    }
}

/// Bytes counted for an object with this key, header and length.
pub fn charge(key: &Key, header: &ResponseHeader, body_len: u64) -> u64 {
    let field = |(name, value): (&http::HeaderName, &HeaderValue)| {
        (name.as_str().len() + value.len()) as u64 + FIELD_OVERHEAD_BYTES
    };
    // The header is held twice when it is made ready for hits.
    let header_bytes: u64 = header.headers.iter().map(field).sum();
    // An origin may claim any length.
    (OVERHEAD_BYTES + key.text.len() as u64 + 2 * header_bytes).saturating_add(body_len)
}
