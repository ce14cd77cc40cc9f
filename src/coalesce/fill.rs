//! The fill: fetches one object from its origin and writes it to the store, whoever reads it meanwhile.
//!
//! What changes the cache goes through the engine's cache state machine ([`HttpCache`]) over the store: a miss or a
//! stale hit, then a revalidation or a write. Readers never do. What is on disk is looked up here ([`recall`]).

mod recall;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use pingora::http::ResponseHeader;
use pingora_cache::meta::CacheMeta;
use pingora_cache::{CachePhase, HitStatus, HttpCache, NoCacheReason};

use super::{Coalescer, Extent, Flight, State};
use crate::asset::Kind;
use crate::cache::{Fetched, Policy, Times, Verdict, judge};
use crate::config::model::{DiskAdmission, Rule};
use crate::hls::{self, PlaylistFacts};
use crate::origin::{
    FetchReason, FetchRequest, Framing, OriginError, OriginGroup, OriginResponse, range_field,
};
use crate::store::content::slice_range;
use crate::store::object::{Lifetime, charge};
use crate::store::storage::{Admission, Hit, cache_key, cache_meta};
use crate::store::tiers::{DiskMark, Recalled};
use crate::store::{Body, Object};

/// Bytes of budget taken at a time for a body whose length is not known.
const STEP_BYTES: u64 = 256 * 1024;

/// What is to be fetched.
#[derive(Clone)]
pub struct Job {
    /// Where from.
    pub origin: Arc<OriginGroup>,
    /// The site's rules.
    pub rules: Arc<[Rule]>,
    /// What the path names.
    pub kind: Kind,
    /// Whether it is a request that the origin holds until a playlist has grown (`_HLS_msn`).
    pub blocking: bool,
    /// What is held, and stale.
    pub stale: Option<Arc<Object>>,
    /// Which bytes are asked for.
    pub extent: Extent,
}

/// Why a fetch has no answer; the word and the status are what viewers and logs are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// 502, 503 or 504: which of them says who is at fault. Or the origin's own 5xx.
    pub status: u16,
    /// The word.
    pub reason: &'static str,
}

impl Failure {
    pub(super) const NO_MEMORY: Failure = Failure { status: 503, reason: "no_memory" };
    pub(super) const INTERNAL: Failure = Failure { status: 502, reason: "internal" };
    const UNASKED_304: Failure = Failure { status: 502, reason: "unasked_304" };
    const BAD_PLAYLIST: Failure = Failure { status: 502, reason: "bad_playlist" };
}

impl From<&OriginError> for Failure {
    fn from(error: &OriginError) -> Failure {
        Failure { status: error.status(), reason: error.as_str() }
    }
}

impl From<OriginError> for Failure {
    fn from(error: OriginError) -> Failure {
        tracing::warn!(%error, "origin failed");
        Failure::from(&error)
    }
}

/// Runs a fetch to its end. Whatever happens, it leaves the table, and nobody is left waiting.
pub(super) async fn run(coalescer: Arc<Coalescer>, flight: Arc<Flight>, job: Job) {
    let landing = Landing { coalescer, flight };
    let fill = Fill { coalescer: &landing.coalescer, flight: &landing.flight, job: &job };
    // Boxed: a fill's state is large, and most of its life is spent waiting.
    Box::pin(fill.run()).await;
}

/// Takes a fetch out of the table when its task ends, even by a panic.
pub(super) struct Landing {
    pub(super) coalescer: Arc<Coalescer>,
    pub(super) flight: Arc<Flight>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.coalescer.land(&self.flight);
        self.flight.state.send_if_modified(|state| {
            let unanswered = matches!(state, State::Asked);
            if unanswered {
                *state = State::Failed(Failure::INTERNAL, None);
            }
            unanswered
        });
    }
}

/// A fetch at work.
#[derive(Clone, Copy)]
pub(super) struct Fill<'a> {
    pub(super) coalescer: &'a Arc<Coalescer>,
    pub(super) flight: &'a Arc<Flight>,
    pub(super) job: &'a Job,
}

/// An answer of which some or all of the body has been read already.
pub(super) struct Answer {
    response: OriginResponse,
    pub(super) read: Vec<Bytes>,
    /// Whether `read` is all of it.
    pub(super) whole: bool,
    playlist: Option<PlaylistFacts>,
}

impl Fill<'_> {
    /// Looks in the store, both tiers of it, then asks the origin.
    async fn run(&self) {
        let mut cache = self.engine_cache();
        let Some(held) = self.look_up(&mut cache).await else {
            return self.fetch_or_fail(&mut cache).await;
        };
        let now = self.coalescer.clock.now();
        let object = Arc::clone(&held.object);
        if object.lifetime.is_fresh(now) {
            self.flight.publish(State::Recalled(object));
            self.recall_rest(held).await;
            return;
        }
        if object.lifetime.bridges_revalidation(now) {
            self.flight.publish(State::Recalled(Arc::clone(&object)));
        }
        self.recall_rest(held).await;
        let stale = object.body.is_complete().then_some(object);
        let job = Job { stale, ..self.job.clone() };
        Fill { job: &job, ..*self }.fetch_or_fail(&mut cache).await;
    }

    /// Takes the state machine from the key to a miss, or to what is held: None, or an object that the request has not
    /// found in memory.
    async fn look_up(&self, cache: &mut HttpCache) -> Option<Recalled> {
        let Some((meta, mut hit)) = cache.cache_lookup().await.ok().flatten() else {
            cache.cache_miss();
            return None;
        };
        let held = hit.as_any_mut().downcast_mut::<Hit>().and_then(|hit| hit.recalled.take());
        cache.cache_found(meta, hit, HitStatus::Expired);
        let known =
            |object: &Arc<Object>| self.job.stale.as_ref().is_some_and(|stale| Arc::ptr_eq(stale, object));
        // A body that grows belongs to another fetch of this key, and ends with that.
        let whole =
            |held: &Recalled| held.rest.is_some() || held.version.is_some() || held.object.body.is_complete();
        let held = held.filter(|held| !known(&held.object) && whole(held))?;
        if held.version.is_none() { Some(held) } else { self.recall_head(held).await }
    }

    async fn fetch_or_fail(&self, cache: &mut HttpCache) {
        // Boxed: its state is large.
        if let Err(failure) = Box::pin(self.fetch(cache)).await {
            let bridge = self.job.stale.as_ref().filter(|_| self.held_bridges_error()).map(Arc::clone);
            self.flight.publish_unless_recalled(State::Failed(failure, bridge));
        }
    }

    async fn fetch(&self, cache: &mut HttpCache) -> Result<(), Failure> {
        if let Extent::Slice(head, index) = &self.job.extent {
            return self.fetch_slice(head, *index).await;
        }
        let response = match self.first_slice() {
            Some(index) => self.begin_with(index).await?,
            None => Some(self.ask(None).await?),
        };
        let Some(response) = response else { return Ok(()) };
        let status = response.header.status;
        if status == StatusCode::NOT_MODIFIED {
            let stale = self.job.stale.as_ref().ok_or(Failure::UNASKED_304)?;
            return self.confirm(cache, stale, &response.header).await;
        }
        if status.is_server_error() && self.held_bridges_error() {
            return Err(Failure { status: status.as_u16(), reason: "origin_5xx" });
        }
        let answer = self.read_playlist(response).await?;
        let kind = match answer.playlist {
            Some(facts) if facts.multivariant => Kind::MultivariantPlaylist,
            _ => self.job.kind,
        };
        let framed = answer.response.framing() != Framing::Close;
        let unread = self.job.kind.is_playlist() && status == StatusCode::OK && answer.playlist.is_none();
        match self.judge(&answer.response.header, kind, answer.playlist) {
            Verdict::Keep(header, lifetime) if framed && !unread => {
                self.keep(cache, *header, lifetime, kind, answer).await
            }
            Verdict::Keep(header, _) | Verdict::Pass(header, _) => self.pass(*header, kind, answer).await,
        }
    }

    /// Asks for the object or, by a range, for one slice of it; conditionally, if a stale one is held.
    pub(super) async fn ask(&self, slice: Option<u64>) -> Result<OriginResponse, Failure> {
        let mut headers = HeaderMap::new();
        if let Some(stale) = &self.job.stale {
            if let Some(etag) = stale.etag() {
                headers.insert(IF_NONE_MATCH, etag.clone());
            }
            if let Some(date) = stale.last_modified() {
                headers.insert(IF_MODIFIED_SINCE, date.clone());
            }
        }
        let reason = if headers.is_empty() { FetchReason::Miss } else { FetchReason::Revalidate };
        if let Some(index) = slice {
            let range = slice_range(index, u64::MAX);
            headers.insert(RANGE, range_field(range.start, range.end.saturating_sub(1)));
        }
        let path_and_query = self.flight.key.target();
        let request = FetchRequest { method: Method::GET, path_and_query, headers, reason };
        Ok(self.job.origin.fetch(&request).await?)
    }

    pub(super) fn judge(
        &self,
        header: &ResponseHeader,
        kind: Kind,
        playlist: Option<PlaylistFacts>,
    ) -> Verdict {
        let now = self.coalescer.clock.now();
        let times = Times::of(self.rule(header.status, kind));
        judge(&Fetched { header, kind, playlist, blocking: self.job.blocking, times: &times, now })
    }

    /// Whether the disk keeps an answer: by rule, and only if it is fresh for long enough to be worth it.
    fn disk_admission(&self, status: StatusCode, kind: Kind, lifetime: &Lifetime) -> DiskAdmission {
        let fresh = lifetime.fresh_until.duration_since(self.coalescer.clock.now()).unwrap_or_default();
        if fresh < self.coalescer.disk_ttl_min {
            return DiskAdmission::Never;
        }
        self.rule(status, kind).and_then(|rule| rule.disk).unwrap_or_default()
    }

    /// The rule that applies to an answer of this status and kind.
    pub(super) fn rule(&self, status: StatusCode, kind: Kind) -> Option<&Rule> {
        let target = self.flight.key.target();
        let path = target.split('?').next().unwrap_or(target);
        Policy::new(&self.job.rules, path, kind).for_answer(status.as_u16(), kind)
    }

    fn held_bridges_error(&self) -> bool {
        let now = self.coalescer.clock.now();
        self.job.stale.as_ref().is_some_and(|stale| stale.lifetime.bridges_error(now))
    }

    /// Reads a playlist whole, for its facts. One that is none never replaces a good one; without a good one to keep,
    /// what the origin sent is passed on.
    async fn read_playlist(&self, mut response: OriginResponse) -> Result<Answer, Failure> {
        let mut answer_read = Vec::new();
        if !self.job.kind.is_playlist() || response.header.status != StatusCode::OK {
            return Ok(Answer { response, read: answer_read, whole: false, playlist: None });
        }
        let mut len = 0;
        while let Some(data) = response.chunk().await? {
            len += data.len() as u64;
            answer_read.push(data);
            if len > self.coalescer.limits.playlist {
                tracing::warn!(key = %self.flight.key.text, "playlist longer than limits.playlist is passed on unread");
                return Ok(Answer { response, read: answer_read, whole: false, playlist: None });
            }
        }
        let mut text = BytesMut::new();
        answer_read.iter().for_each(|data| text.extend_from_slice(data));
        let playlist = match hls::read::read(&text) {
            Ok(facts) => Some(facts),
            Err(error) => {
                tracing::warn!(key = %self.flight.key.text, %error, "origin sent a broken playlist");
                if self.held_bridges_error() {
                    return Err(Failure::BAD_PLAYLIST);
                }
                None
            }
        };
        Ok(Answer { response, read: vec![text.freeze()], whole: true, playlist })
    }

    /// The origin confirmed what is held (RFC 9111 section 4.3.4): its body stays, its times are new.
    async fn confirm(
        &self,
        cache: &mut HttpCache,
        stale: &Arc<Object>,
        received: &ResponseHeader,
    ) -> Result<(), Failure> {
        let merged = merge_confirmed(&stale.header, received);
        let playlist = stale.kind.is_playlist().then(|| facts_of(stale.body.as_whole()?)).flatten();
        let (header, lifetime, kept) = match self.judge(&merged, stale.kind, playlist) {
            Verdict::Keep(header, lifetime) => (header, lifetime, true),
            Verdict::Pass(header, _) => (header, spent(self.coalescer.clock.now()), false),
        };
        // Another fetch may have put another version there meanwhile: its body is not what the origin has confirmed.
        let key = &self.flight.key;
        let held = self.coalescer.store.get(key.hash, &key.text);
        let same = held.is_some_and(|held| held.body.is_same(&stale.body));
        if kept && same && cache.phase() == CachePhase::Stale {
            let disk = self.disk_admission(header.status, stale.kind, &lifetime);
            let admission = Admission { kind: stale.kind, lifetime, disk, reservation: Arc::default() };
            if let Err(error) = cache.revalidate_cache_meta(cache_meta((*header).clone(), admission)).await {
                tracing::warn!(%error, "a confirmed object could not be kept");
            }
        } else if !kept {
            self.coalescer.store.remove(self.flight.key.hash, &self.flight.key.text);
        }
        self.flight.publish(State::Confirmed(Arc::new(Object {
            key: self.flight.key.clone(),
            kind: stale.kind,
            header: *header,
            lifetime,
            body: stale.body.clone(),
            shared: kept,
            disk: DiskMark::default(),
            hit_header: ArcSwapOption::empty(),
        })));
        Ok(())
    }

    /// Writes an answer to the store, readable from its header on.
    async fn keep(
        &self,
        cache: &mut HttpCache,
        mut header: ResponseHeader,
        lifetime: Lifetime,
        kind: Kind,
        mut answer: Answer,
    ) -> Result<(), Failure> {
        if let Some(version) = self.version_to_slice(&header, kind, &answer) {
            return self.keep_slices(header, lifetime, version, 0, answer.response).await;
        }
        let store = self.coalescer.store;
        let told = answer.length();
        if let Some(len) = told {
            // A static name and a number.
            let _ = header.insert_header(CONTENT_LENGTH, len);
        }
        let bytes = charge(&self.flight.key, &header, told.unwrap_or(STEP_BYTES));
        if bytes > store.object_bytes_max() {
            return self.stream(header, lifetime, kind, true, answer).await;
        }
        let reservation = store.reserve(bytes).await.ok_or(Failure::NO_MEMORY)?;
        let reservation = Arc::new(Mutex::new(Some(reservation)));
        let disk = self.disk_admission(header.status, kind, &lifetime);
        let meta = cache_meta(header, Admission { kind, lifetime, disk, reservation });
        let object = begin_write(cache, meta).await.ok_or(Failure::INTERNAL)?;
        if !answer.whole {
            self.flight.publish(State::Answered(Arc::clone(&object)));
        }
        let small = answer.whole;
        match self.write(cache, &object, &mut answer, told).await {
            Written::Whole => self.finish_write(cache).await,
            Written::Outgrown(data) => {
                let body = object.body.as_whole().ok_or(Failure::INTERNAL)?;
                body.limit_to(self.coalescer.limits.window);
                // Ends the write; the body goes on through its window.
                cache.disable(NoCacheReason::ResponseTooLarge);
                body.append(data);
                self.stream_on(&mut answer, body).await;
            }
            // A write that is not finished breaks off with the state machine that holds it.
            Written::Broken => {}
        }
        if small {
            // Small, and here already: readers find it complete.
            self.flight.publish(State::Answered(Arc::clone(&object)));
        }
        // Whoever comes from now on finds it in the store, or that it has been removed.
        self.coalescer.land(self.flight);
        store.admit_to_disk(&object, disk).await;
        if self.flight.was_joined() {
            store.wanted_again(&object);
        }
        Ok(())
    }

    /// The engine's cache state machine, on this key.
    pub(super) fn engine_cache(&self) -> HttpCache {
        let mut cache = HttpCache::new();
        cache.enable(self.coalescer.store, None, None, None, None);
        cache.set_cache_key(cache_key(&self.flight.key));
        cache
    }

    /// Writes the body as it comes.
    async fn write(
        &self,
        cache: &mut HttpCache,
        object: &Arc<Object>,
        answer: &mut Answer,
        told: Option<u64>,
    ) -> Written {
        let mut room = told.is_none().then_some(STEP_BYTES);
        let mut deserted = false;
        for data in std::mem::take(&mut answer.read) {
            if let Some(ended) = self.write_piece(cache, object, data, &mut room).await {
                return ended;
            }
        }
        while !answer.whole {
            tokio::select! {
                chunk = answer.response.chunk() => match chunk {
                    Ok(Some(data)) => {
                        if let Some(ended) = self.write_piece(cache, object, data, &mut room).await {
                            return ended;
                        }
                    }
                    Ok(None) => answer.whole = true,
                    Err(error) => {
                        tracing::warn!(key = %self.flight.key.text, %error, "a fetch broke off");
                        return Written::Broken;
                    }
                },
                () = self.flight.desertion(), if !deserted => {
                    deserted = self.goes_on(object, told);
                    if !deserted && self.coalescer.abandon(self.flight) {
                        return Written::Broken;
                    }
                }
            }
        }
        Written::Whole
    }

    /// Writes one piece. Some: the write ends here.
    async fn write_piece(
        &self,
        cache: &mut HttpCache,
        object: &Arc<Object>,
        data: Bytes,
        room: &mut Option<u64>,
    ) -> Option<Written> {
        let store = self.coalescer.store;
        if let Some(room) = room {
            while *room < data.len() as u64 {
                if object.charge(object.body.progress().0 + STEP_BYTES) > store.object_bytes_max() {
                    return Some(Written::Outgrown(data));
                }
                match (store.reserve(STEP_BYTES).await, object.body.as_whole()) {
                    (Some(step), Some(body)) => body.hold(step),
                    _ => return Some(Written::Broken),
                }
                *room += STEP_BYTES;
            }
            *room -= data.len() as u64;
        }
        match cache.miss_handler()?.write_body(data, false).await {
            Ok(()) => None,
            Err(_) => Some(Written::Broken),
        }
    }

    pub(super) async fn finish_write(&self, cache: &mut HttpCache) {
        if let Err(error) = cache.finish_miss_handler().await {
            tracing::warn!(key = %self.flight.key.text, %error, "a fetch ended short");
        }
    }

    /// Whether a fetch that nobody wants any more is worth ending: what belongs to a stream will be wanted again soon,
    /// anything else goes by `limits.abandon_below`.
    fn goes_on(&self, object: &Object, told: Option<u64>) -> bool {
        let (here, _) = object.body.progress();
        let share = u64::from(self.coalescer.limits.abandon_below);
        let streamed =
            object.kind.is_playlist() || matches!(object.kind, Kind::Segment | Kind::Part | Kind::Init);
        streamed || told.is_some_and(|told| here.saturating_mul(100) >= told.saturating_mul(share))
    }

    /// An answer that is not kept: for the one who asked, paced by its reader; its key is remembered.
    async fn pass(&self, header: ResponseHeader, kind: Kind, answer: Answer) -> Result<(), Failure> {
        self.coalescer.remember_uncacheable(self.flight.key.hash);
        if !answer.response.header.status.is_server_error() {
            self.coalescer.store.remove(self.flight.key.hash, &self.flight.key.text);
        }
        let lifetime = spent(self.coalescer.clock.now());
        self.stream(header, lifetime, kind, false, answer).await
    }

    /// Streams a body through a bounded window, to one reader or to all who came in time.
    async fn stream(
        &self,
        header: ResponseHeader,
        lifetime: Lifetime,
        kind: Kind,
        shared: bool,
        mut answer: Answer,
    ) -> Result<(), Failure> {
        let window = self.coalescer.limits.window;
        let len = answer.length().unwrap_or(window);
        // Behind the window stands the chunk that is being read, ahead of it the one that is being filled.
        let bytes = charge(&self.flight.key, &header, len.min(2 * window) + 2 * STEP_BYTES);
        let reservation = self.coalescer.store.reserve(bytes).await.ok_or(Failure::NO_MEMORY)?;
        let body = Body::growing(Some(window), Some(reservation));
        let object = Arc::new(Object {
            key: self.flight.key.clone(),
            kind,
            header,
            lifetime,
            body: Arc::clone(&body).into(),
            shared,
            disk: DiskMark::default(),
            hit_header: ArcSwapOption::empty(),
        });
        self.flight.publish(if shared { State::Answered(object) } else { State::Unshared(object) });
        for data in std::mem::take(&mut answer.read) {
            body.append(data);
        }
        self.stream_on(&mut answer, &body).await;
        Ok(())
    }

    /// Streams the rest of a body through its window, as long as anybody wants it.
    async fn stream_on(&self, answer: &mut Answer, body: &Body) {
        tokio::select! {
            ended = pump(answer, body) => if ended { body.finish() } else { body.fail() },
            () = self.abandoned() => body.fail(),
        }
    }

    /// Resolves once the fetch has left the table for want of anybody who wants it.
    async fn abandoned(&self) {
        loop {
            self.flight.tickets_gone().await;
            if self.coalescer.abandon(self.flight) {
                return;
            }
        }
    }
}

/// Takes the state machine from a miss, or a stale hit, to a write in progress; gives the object that is written.
pub(super) async fn begin_write(cache: &mut HttpCache, meta: CacheMeta) -> Option<Arc<Object>> {
    cache.set_cache_meta(meta);
    cache.set_miss_handler().await.ok()?;
    let reader = cache.miss_body_reader()?;
    Some(Arc::clone(&reader.as_any().downcast_ref::<Hit>()?.object))
}

/// How a write came out.
enum Written {
    /// All of it is there.
    Whole,
    /// It broke off, or nobody wants it any more.
    Broken,
    /// It is larger than is kept; this piece has not been written.
    Outgrown(Bytes),
}

/// Moves a body from the origin into a window. False: it broke off.
async fn pump(answer: &mut Answer, body: &Body) -> bool {
    while !answer.whole {
        body.room().await;
        match answer.response.chunk().await {
            Ok(Some(data)) => body.append(data),
            Ok(None) => answer.whole = true,
            Err(error) => {
                tracing::warn!(%error, "a transfer that is not kept broke off");
                return false;
            }
        }
    }
    true
}

impl Answer {
    /// The length of the body, where it is known.
    pub(super) fn length(&self) -> Option<u64> {
        if self.whole {
            return Some(self.read.iter().map(|data| data.len() as u64).sum());
        }
        match self.response.framing() {
            Framing::Length(len) => Some(len),
            Framing::NoBody => Some(0),
            Framing::Chunked | Framing::Close => None,
        }
    }
}

/// The stored header with the fields of a 304 in place of its own, those of the body's form excepted (RFC 9111
/// section 3.2).
fn merge_confirmed(stored: &ResponseHeader, received: &ResponseHeader) -> ResponseHeader {
    let mut merged = stored.clone();
    let kept =
        ["content-length", "content-encoding", "content-type", "content-range", "etag", "vary", "set-cookie"];
    for name in received.headers.keys().filter(|name| !kept.contains(&name.as_str())) {
        merged.remove_header(name);
        for value in received.headers.get_all(name) {
            // A name and a value that came in a header fit into one.
            let _ = merged.append_header(name, value);
        }
    }
    merged
}

/// What a complete playlist says.
fn facts_of(body: &Body) -> Option<PlaylistFacts> {
    let text: Vec<u8> = body.chunks()?.concat();
    hls::read::read(&text).ok()
}

/// The lifetime of what is used once.
fn spent(now: SystemTime) -> Lifetime {
    Lifetime {
        created: now,
        fresh_until: now,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
    }
}
