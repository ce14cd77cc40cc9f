//! Objects in slices: what becomes one, and how its slices are fetched.
//!
//! An object that is too large to be kept whole is kept as a *head*: its header, its length and its validator. Its bytes
//! are slices, each an object of its own under a key that names version and number ([`crate::key::slice_key`]), with a
//! flight of its own: viewers of one slice share its fetch, and viewers of others do not wait for it. The fill comes
//! here with answers that are too large and with fetches that begin with a range; readers come here through
//! [`SliceSource`]. What a part is, and which validators may join parts, is decided in [`crate::store::Version`].
//!
//! A slice that is not of its head's version ends the head: transfers from it break off, the next request begins anew.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, IF_RANGE, RANGE};
use parking_lot::Mutex;
use pingora::http::ResponseHeader;
use tokio::time::Instant;

use super::fill::resume::Place;
use super::fill::write::begin_write;
use super::fill::{Answer, Conditions, Failure, Fill, Job, Landing};
use super::{Coalescer, Flight, Joined, Lane, State, is_remembered};
use crate::asset::Kind;
use crate::cache::{CONTENT_DIGESTS, Kept, RequestDirectives, Verdict};
use crate::config::model::DiskAdmission;
use crate::hls::Directives;
use crate::key::{Key, slice_key};
use crate::origin::{ContentRange, FetchReason, Framing, OriginResponse, range_field};
use crate::store::content::slice_range;
use crate::store::object::{Lifetime, charge};
use crate::store::storage::{Admission, cache_meta};
use crate::store::tiers::DiskMark;
use crate::store::{Body, BodyError, Content, Object, SLICE_BYTES, SliceSource, Sliced, Version};

/// How long a slice stays usable. Its head says whether it is; unused slices are evicted for want of room.
const SLICE_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Which bytes a fetch asks its origin for.
#[derive(Clone, Debug)]
pub enum Extent {
    /// All of them.
    Whole,
    /// Those of this slice: a range that begins in it is wanted. All of them, where that will not do.
    From(u64),
    /// A slice of an object of which the head is held.
    Slice(Arc<Head>, u64),
}

/// What the slices of an object have in common.
#[derive(Debug)]
pub struct Head {
    /// The object's key.
    key: Key,
    /// Its version.
    version: Version,
}

/// Fetches the slices of one head.
struct Source {
    coalescer: Arc<Coalescer>,
    head: Arc<Head>,
    /// Hash of the version.
    hash: u128,
    /// What a slice's fetch is made from.
    job: Job,
}

impl Failure {
    /// The origin has another version by now, or gives no more parts of it.
    const CHANGED: Failure = Failure { status: 502, reason: "version_changed" };
    /// The origin refuses a slice.
    const SLICE_REFUSED: &'static str = "slice_refused";
}

// === Source: slices for readers ===

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("head", &self.head).finish_non_exhaustive()
    }
}

impl Source {
    fn key(&self, index: u64) -> Key {
        slice_key(&self.head.key.text, self.hash, index)
    }

    fn slot(&self, key: &Key) -> u128 {
        Lane::plain(self.job.relayed).slot(key.hash)
    }

    fn job(&self, index: u64) -> Job {
        // It is asked for by all who read the head, and none of them speaks for the others.
        let extent = Extent::Slice(Arc::clone(&self.head), index);
        Job { extent, cdn_loop: None, ..self.job.clone() }
    }
}

#[async_trait]
impl SliceSource for Source {
    fn held(&self, index: u64) -> Option<Arc<Body>> {
        let key = self.key(index);
        self.coalescer.store.get(key.hash, &key.text)?.body.as_whole().cloned()
    }

    fn is_stored(&self, index: u64) -> bool {
        let key = self.key(index);
        let store = self.coalescer.store;
        store.get(key.hash, &key.text).is_some() || store.is_on_disk(&key.text)
    }

    fn is_coming(&self, index: u64) -> bool {
        let key = self.key(index);
        let slot = self.slot(&key);
        self.coalescer.shard(slot).lock().contains_key(&slot)
    }

    async fn fetch(&self, index: u64) -> Result<Arc<Body>, BodyError> {
        let key = self.key(index);
        let joined = if self.job.wishes.only_if_cached {
            // Not joined by readers who may have the origin asked.
            Joined::Flight(self.coalescer.fetch_alone(key.clone(), self.job(index)))
        } else {
            self.coalescer.join_as(&key, self.slot(&key), None, true, || self.job(index))
        };
        let object = match joined {
            Joined::Landed(object) => object,
            Joined::Full | Joined::Failing(_) => return Err(BodyError::Broken),
            Joined::Flight(ticket) => match ticket.answer(Some(self.coalescer.limits.coalesce_wait)).await {
                Some(State::Answered(object) | State::Recalled(object)) => object,
                Some(_) => return Err(BodyError::Broken),
                None => {
                    tracing::warn!(key = %key.text, "a slice did not come within limits.coalesce_wait");
                    return Err(BodyError::Broken);
                }
            },
        };
        object.body.as_whole().cloned().ok_or(BodyError::Broken)
    }

    fn held_only(&self) -> Arc<dyn SliceSource> {
        let wishes = RequestDirectives { only_if_cached: true, ..RequestDirectives::default() };
        Arc::new(Source {
            coalescer: Arc::clone(&self.coalescer),
            head: Arc::clone(&self.head),
            hash: self.hash,
            job: Job { wishes, ..self.job.clone() },
        })
    }

    fn direct(&self) -> Option<Arc<dyn SliceSource>> {
        self.job.relayed.then(|| -> Arc<dyn SliceSource> {
            Arc::new(Source {
                coalescer: Arc::clone(&self.coalescer),
                head: Arc::clone(&self.head),
                hash: self.hash,
                job: Job { relayed: false, ..self.job.clone() },
            })
        })
    }

    fn fetch_ahead(&self, index: u64) {
        if !self.job.wishes.only_if_cached && self.held(index).is_none() {
            let key = self.key(index);
            let lane = Lane::plain(self.job.relayed);
            self.coalescer.refresh(&key, lane, || self.job(index));
        }
    }
}

impl Coalescer {
    /// Enters the table with a fetch that is under way already, of a slice or a variant. None: its object is here, or
    /// another fetch of it is.
    pub(super) fn enter(self: &Arc<Self>, key: Key, slot: u128, background: bool) -> Option<Landing> {
        let mut flights = self.shard(slot).lock();
        if self.store.get(key.hash, &key.text).is_some() {
            return None;
        }
        let Entry::Vacant(place) = flights.entry(slot) else { return None };
        let flight = Flight::new(key, slot, background);
        place.insert(Arc::clone(&flight));
        Some(Landing { coalescer: Arc::clone(self), flight })
    }

    /// Whether the origin of this key failed to give slices not long ago.
    fn is_unsliceable(&self, hash: u128) -> bool {
        is_remembered(&self.unsliceable, hash)
    }

    /// Remembers that, for `limits.uncacheable_memory`.
    fn remember_unsliceable(&self, hash: u128) {
        self.unsliceable.insert(hash, Instant::now() + self.limits.uncacheable_memory);
    }

    /// Drops a head whose version is no more what the origin has.
    fn forget(&self, head: &Head) {
        let held = self.store.get(head.key.hash, &head.key.text);
        let same = |held: &Arc<Object>| held.body.as_sliced().is_some_and(|s| *s.version() == head.version);
        if held.as_ref().is_some_and(same) {
            self.store.remove(head.key.hash, &head.key.text);
        }
    }
}

// === Fill: what becomes an object in slices ===

impl Fill<'_> {
    /// The slice that the first fetch asks for; None: it asks for the whole. What is read whole, never shared, or held
    /// whole and to be confirmed, is not asked for in parts.
    pub(super) fn first_slice(&self) -> Option<u64> {
        let wanted = match self.job.extent {
            Extent::From(index) => Some(index),
            Extent::Whole | Extent::Slice(..) => None,
        };
        let index = match &self.job.stale {
            None => wanted?,
            Some(stale) => {
                let len = stale.body.as_sliced()?.len();
                wanted.filter(|index| !slice_range(*index, len).is_empty()).unwrap_or(0)
            }
        };
        let kind = self.job.kind;
        let shared = kind != Kind::Key && !self.coalescer.is_uncacheable(self.flight.slot);
        let whole = kind.is_playlist() || self.job.directives.reload.is_some();
        // What is changed is read whole.
        (shared && !whole && self.may_slice() && self.changes(kind).id().is_none()).then_some(index)
    }

    /// Fetches an object that is not held, or held in slices and stale, by a range. Some: the answer of the whole
    /// object, to be treated as such; None: the fetch has been settled here.
    ///
    /// A slice beyond the end is an answer to one viewer and of no use to those who have joined the fetch: the first
    /// slice is asked for in its place. So is the whole in place of a part that is none of this object or cannot be kept.
    pub(super) async fn begin_with(&self, mut index: u64) -> Result<Option<OriginResponse>, Failure> {
        let asked = self.coalescer.clock.now();
        let mut response = self.ask(Some(index), Conditions::OfHeld).await?;
        if response.header.status == StatusCode::RANGE_NOT_SATISFIABLE && index > 0 {
            index = 0;
            response = self.ask(Some(index), Conditions::OfHeld).await?;
        }
        let status = response.header.status;
        let is_part = matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE)
            // An origin that tells a part from the whole by nothing but the field.
            || response.header.headers.contains_key(CONTENT_RANGE);
        if !is_part {
            return Ok(Some(response));
        }
        if let Some(part) = part_of(&response.header, response.framing()).filter(|part| is_slice(part, index))
        {
            response.header = header_of_whole(&response.header, part.total);
            if part.bytes() == part.total {
                return Ok(Some(response));
            }
            let judged = self.judge(&response.header, self.job.kind, Default::default(), asked);
            let version = Version::of(&response.header.headers, part.total, self.coalescer.clock.now());
            let here = self.is_kept_here(&response.header.headers);
            if let (Verdict::Keep(kept), Some(version), true) = (judged, version, here) {
                self.give_own(&kept);
                self.keep_slices(*kept, version, index, response).await?;
                return Ok(None);
            }
        }
        // Its connection is closed with it.
        drop(response);
        self.ask(None, Conditions::OfHeld).await.map(Some)
    }

    /// The version of an answer that is to be kept in slices: a whole one, too large to be kept whole, from an origin
    /// that takes ranges.
    pub(super) fn version_to_slice(
        &self,
        header: &ResponseHeader,
        kind: Kind,
        answer: &Answer,
    ) -> Option<Version> {
        let len = answer.length()?;
        let store = self.coalescer.store;
        let too_large = len > self.coalescer.limits.slice_above
            || charge(&self.flight.key, header, len) > store.object_bytes_max()
            || store.disk_object_bytes_max().is_some_and(|most| charge(&self.flight.key, header, len) > most);
        let unread = !answer.whole && answer.read.is_empty() && !kind.is_playlist();
        if !too_large || !unread || header.status != StatusCode::OK || !self.may_slice() {
            return None;
        }
        let takes_ranges = header.headers.get_all(ACCEPT_RANGES).iter().any(names_bytes);
        takes_ranges.then(|| Version::of(&header.headers, len, self.coalescer.clock.now())).flatten()
    }

    /// Keeps the head of an object, and the slice whose bytes `response` begins with. What follows the slice is left
    /// unread.
    pub(super) async fn keep_slices(
        &self,
        kept: Kept,
        version: Version,
        index: u64,
        response: OriginResponse,
    ) -> Result<(), Failure> {
        let Kept { mut header, lifetime, tags, .. } = kept;
        let held = self.job.stale.as_ref().and_then(|stale| stale.body.as_sliced());
        let version = version.begin_epoch(held.map(|held| held.version()));
        let len = version.len;
        let range = slice_range(index, len);
        self.count_ahead(range.end - range.start, true)?;
        // A static name and a number.
        let _ = header.insert_header(CONTENT_LENGTH, len);
        let hash = version.hash();
        let mut place = Place::of_part(&version, range.start, range.end);
        let disk = self.slice_admission();
        let content = self.sliced(&header, version).await?;
        let key = self.flight.key.clone();
        let object = Object::new(key, self.job.kind, header, lifetime, Content::Sliced(content));
        let provenance = self.provenance(tags);
        let object = Arc::new(Object { disk: DiskMark::of(disk), provenance, ..object });
        // Entered before the head is seen: who reads it waits for this slice, and does not ask for it again.
        let slice = slice_key(&self.flight.key.text, hash, index);
        let slot = Lane::plain(self.job.relayed).slot(slice.hash);
        let landing = self.coalescer.enter(slice, slot, true);
        self.coalescer.store.keep(&object);
        self.remove_if_invalidated(&object);
        self.flight.publish(State::Answered(Arc::clone(&object)));
        if let Some(landing) = landing {
            let fill = Fill { flight: &landing.flight, ..*self };
            if let Err(failure) = fill.write_slice(response, &mut place, range.end - range.start).await {
                landing.flight.publish(State::Failed(failure, None));
            }
            if place.has_changed() {
                self.coalescer.store.remove_this(&object);
            }
        }
        // Last: it may wait for the disk.
        self.coalescer.store.admit_to_disk(&object, disk).await;
        Ok(())
    }

    /// The content of a head with this header: its slices are fetched from this fill's origin.
    pub(super) async fn sliced(
        &self,
        header: &ResponseHeader,
        version: Version,
    ) -> Result<Arc<Sliced>, Failure> {
        let key = self.flight.key.clone();
        let reservation =
            self.coalescer.store.reserve(charge(&key, header, 0)).await.ok_or(Failure::NO_MEMORY)?;
        let source = Source {
            coalescer: Arc::clone(self.coalescer),
            hash: version.hash(),
            head: Arc::new(Head { key, version: version.clone() }),
            job: Job {
                directives: Directives::default(),
                stale: None,
                extent: Extent::Whole,
                authorization: None,
                wishes: RequestDirectives::default(),
                ahead: None,
                ..self.job.clone()
            },
        };
        Ok(Sliced::new(version, Arc::new(source), Some(reservation)))
    }

    /// Fetches a slice of a version. Anything but exactly its bytes is not used.
    pub(super) async fn fetch_slice(&self, head: &Head, index: u64) -> Result<(), Failure> {
        let range = slice_range(index, head.version.len);
        let mut headers = self.selecting();
        headers.insert(RANGE, range_field(range.start, range.end.saturating_sub(1)));
        headers.insert(IF_RANGE, head.version.validator.clone());
        let response = self.ask_origin(&self.request(headers, FetchReason::Miss)).await?;
        let status = response.header.status;
        if !matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            let status = status.as_u16();
            tracing::warn!(key = %self.flight.key.text, status, "the origin refused a slice");
            return Err(Failure { status, reason: Failure::SLICE_REFUSED });
        }
        let exact = |part: &ContentRange| part.total == head.version.len && is_slice(part, index);
        if !part_of(&response.header, response.framing()).is_some_and(|part| exact(&part))
            || !head.version.has_part(&response.header.headers)
        {
            tracing::warn!(key = %self.flight.key.text, "the object changed at its origin while it was kept in slices");
            self.coalescer.forget(head);
            if status == StatusCode::OK && head.version.has_part(&response.header.headers) {
                // Not another version: it gives no part of this one. Asked anew, it would come to the same.
                self.coalescer.remember_unsliceable(head.key.hash);
            }
            return Err(Failure::CHANGED);
        }
        let mut place = Place::of_part(&head.version, range.start, range.end);
        let written = self.write_slice(response, &mut place, range.end - range.start).await;
        if place.has_changed() {
            self.coalescer.forget(head);
        }
        written
    }

    /// Writes the `len` bytes of an answer from `place` on to the store as this flight's slice, readable as they arrive.
    /// It goes on without readers: a slice is small, and what has been asked for may be asked for again.
    async fn write_slice(
        &self,
        mut response: OriginResponse,
        place: &mut Place,
        len: u64,
    ) -> Result<(), Failure> {
        let header = slice_header(len);
        let bytes = charge(&self.flight.key, &header, len);
        let reservation = self.coalescer.store.reserve(bytes).await.ok_or(Failure::NO_MEMORY)?;
        let reservation = Arc::new(Mutex::new(Some(reservation)));
        let lifetime = Lifetime::lasting(self.coalescer.clock.now(), SLICE_LIFETIME);
        let disk = self.slice_admission();
        let provenance = self.provenance(None);
        let meta =
            cache_meta(header, Admission { kind: self.job.kind, lifetime, provenance, disk, reservation });
        let mut cache = self.engine_cache();
        cache.cache_miss();
        let object = begin_write(&mut cache, meta).await.ok_or(Failure::INTERNAL)?;
        self.flight.publish(State::Answered(Arc::clone(&object)));
        loop {
            let data = match self.next(&mut response, place).await {
                Ok(Some(data)) => data,
                Ok(None) => break,
                Err(error) => {
                    // A write that is not finished breaks off with the state machine that holds it.
                    self.note_broken(&error);
                    return Ok(());
                }
            };
            let Some(writer) = cache.miss_handler() else { return Ok(()) };
            if writer.write_body(data, false).await.is_err() {
                return Ok(());
            }
        }
        // The flight stays until the disk has the slice: it may leave memory meanwhile, and is not to be fetched twice.
        self.finish_write(&mut cache).await;
        if object.body.is_complete() {
            self.note_held_ahead(len);
        }
        if self.is_only_passed_on(&object) {
            self.coalescer.store.remove_this(&object);
            return Ok(());
        }
        self.coalescer.store.admit_to_disk(&object, disk).await;
        Ok(())
    }

    /// Whether the disk keeps slices, and heads, of this object: at once, unless a rule says never. What is fetched in
    /// parts is too large to be fetched twice.
    fn slice_admission(&self) -> DiskAdmission {
        match self.rule(StatusCode::OK, self.job.kind).and_then(|rule| rule.disk) {
            _ if self.flight.key.user_rule().is_some() => DiskAdmission::Never,
            Some(DiskAdmission::Never) => DiskAdmission::Never,
            _ => DiskAdmission::Always,
        }
    }

    /// Whether the store keeps an object as large as a slice, and the origin gives slices as far as is known.
    fn may_slice(&self) -> bool {
        if self.job.authorization.is_some() {
            // Slices are fetched for whoever reads them, and nobody's credentials are used for others.
            return false;
        }
        let bytes = charge(&self.flight.key, &slice_header(SLICE_BYTES), SLICE_BYTES);
        // Beside the key's own text stands that of version and number.
        bytes + SLICE_KEY_BYTES_MAX <= self.coalescer.store.object_bytes_max()
            && !self.coalescer.is_unsliceable(self.flight.key.hash)
    }
}

/// Bytes that the key of a slice is longer than its head's, at most.
const SLICE_KEY_BYTES_MAX: u64 = 64;

/// The part that an answer says it is, if its framing does not gainsay it.
pub(super) fn part_of(header: &ResponseHeader, framing: Framing) -> Option<ContentRange> {
    if header.status != StatusCode::PARTIAL_CONTENT {
        return None;
    }
    let part = ContentRange::parse(header.headers.get(CONTENT_RANGE)?)?;
    let framed = match framing {
        Framing::Length(len) => len == part.bytes(),
        Framing::Chunked => true,
        Framing::Close | Framing::NoBody => false,
    };
    framed.then_some(part)
}

/// Whether a part is all of this slice.
fn is_slice(part: &ContentRange, index: u64) -> bool {
    slice_range(index, part.total) == (part.first..part.last + 1)
}

/// The header of the whole, made from that of a part (RFC 9110 section 15.3.7.3).
fn header_of_whole(part: &ResponseHeader, total: u64) -> ResponseHeader {
    let mut header = part.clone();
    // A status below 600, a static name and a number are always taken.
    let _ = header.set_status(StatusCode::OK);
    header.remove_header(&CONTENT_RANGE);
    for name in &CONTENT_DIGESTS {
        header.remove_header(name);
    }
    let _ = header.insert_header(CONTENT_LENGTH, total);
    header
}

/// The header that a slice is kept with: viewers are sent its head's.
fn slice_header(len: u64) -> ResponseHeader {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = StatusCode::PARTIAL_CONTENT;
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    ResponseHeader::from(parts)
}

fn names_bytes(list: &HeaderValue) -> bool {
    list.as_bytes().split(|byte| *byte == b',').any(|unit| unit.trim_ascii().eq_ignore_ascii_case(b"bytes"))
}
