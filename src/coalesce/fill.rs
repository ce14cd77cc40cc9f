//! The fill: fetches one object from its origin and writes it to the store, whoever reads it meanwhile.
//!
//! What changes the cache goes through the engine's cache state machine ([`HttpCache`]) over the store: a miss or a
//! stale hit, then a revalidation or a write. Readers never do. What is on disk is looked up here ([`recall`]).

mod announce;
pub(super) mod change;
mod guard;
mod names;
mod owner;
pub mod playlist;
mod recall;
pub(super) mod resume;
mod select;
pub mod share;
mod stream;
pub(super) mod write;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RANGE};
use http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora_cache::{CachePhase, HitStatus, HttpCache};

use super::{Coalescer, Extent, Flight, State, Unasked};
use crate::admission::token::Claims;
use crate::asset::Kind;
use crate::cache::tags::of_confirmed;
use crate::cache::validation::{conditional_fields, confirmed_lifetime, merge_confirmed};
use crate::cache::{
    Fetched, Held, Policy, RequestDirectives, Said, Standing, Times, Verdict, is_blocking, judge, standing,
};
use crate::config::model::{DiskAdmission, Rule};
use crate::dash::{self, ManifestFacts};
use crate::hls::{self, Directives, PlaylistFacts};
use crate::origin::{
    FetchReason, FetchRequest, Framing, OriginError, OriginGroup, OriginResponse, range_field,
};
use crate::playlists::succession::Doubt;
use crate::site::Site;
use crate::store::content::slice_range;
use crate::store::object::Lifetime;
use crate::store::storage::{Admission, Hit, cache_meta};
use crate::store::tiers::Recalled;
use crate::store::{Body, Object, Provenance};
use crate::tier::Hop;
use crate::tier::loops::Passed;
use guard::Came;
use playlist::Around;
use resume::Place;

/// Statuses of the origin that a stale object stands in for (RFC 5861 section 4); any other answer is the origin's word.
const BRIDGED: [u16; 4] = [500, 502, 503, 504];

/// What is to be fetched.
#[derive(Clone)]
pub struct Job {
    /// Whose object it is.
    pub site: Arc<Site>,
    /// Where from.
    pub origin: Arc<OriginGroup>,
    /// The site's rules.
    pub rules: Arc<[Rule]>,
    /// Which of them ask something of the request that it has.
    pub held: Held,
    /// Header fields of the request that its key is made of: they are sent with every fetch of it.
    pub forward: HeaderMap,
    /// Names of the fields that its key is made of: an answer may vary by them.
    pub keyed: Arc<[HeaderName]>,
    /// What the path names.
    pub kind: Kind,
    /// What is asked of a playlist: its origin may hold the request until it has grown.
    pub directives: Directives,
    /// What is held, and stale.
    pub stale: Option<Arc<Object>>,
    /// Which bytes are asked for.
    pub extent: Extent,
    /// Names of the fields by which one of several answers is chosen: those of the key's marker, else a guess.
    pub names: Arc<[HeaderName]>,
    /// The request's fields of these names, in their normal form: sent to the origin.
    pub selected: HeaderMap,
    /// The request's fields that a rule passes on, in their normal form: sent to the origin, and not part of the key.
    pub passed_on: HeaderMap,
    /// The request's `Authorization`: sent to the origin, and not part of the key.
    pub authorization: Option<HeaderValue>,
    /// Whether the site answers for cross-origin sharing itself.
    pub cors: bool,
    /// What the request says of caching, as far as it is obeyed.
    pub wishes: RequestDirectives,
    /// Whether the answer is taken as it comes, whatever it varies by: it did so differently each time.
    pub last_try: bool,
    /// Of a fetch that nobody has asked for: what it takes of their budget.
    pub ahead: Option<Arc<dyn Unasked>>,
    /// Whether the node that the key belongs to is asked before the origin.
    pub relayed: bool,
    /// The host that the viewer has asked for, in lower case and without its port; None: nobody knows.
    pub host: Option<Arc<str>>,
    /// The node that the request came from, if it was one.
    pub hop: Option<Arc<Hop>>,
    /// The request's fields that rules have asked for: nodes that are asked are told.
    pub conditions: Option<Arc<HeaderMap>>,
    /// What the viewer's token says, as far as the key is made of it: nodes that are asked are told.
    pub claims: Option<Arc<Claims>>,
    /// `CDN-Loop` of the request.
    pub cdn_loop: Option<Passed>,
}

/// Whether the origin is asked to confirm what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conditions {
    /// It is, where something is held.
    OfHeld,
    /// It is to send its answer in any case.
    None,
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
    /// Nothing that may be used is held, and the client does not want the origin to be asked.
    pub const ONLY_IF_CACHED: Failure = Failure { status: 504, reason: "only_if_cached" };
    /// The origin has answered with an error that what is stale stands in for: the failure's status is the origin's.
    pub const ORIGIN_5XX: &'static str = "origin_5xx";
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
        // What the node keeps from an origin is told by its state, not once for each request.
        if error.is_refusal() {
            tracing::debug!(%error, "the origin was not asked");
        } else {
            tracing::warn!(%error, "origin failed");
        }
        Failure::from(&error)
    }
}

/// Runs a fetch to its end. Whatever happens, it leaves the table, and nobody is left waiting.
pub(super) async fn run(coalescer: Arc<Coalescer>, flight: Arc<Flight>, job: Job) {
    let landing = Landing { coalescer, flight };
    let generation = landing.coalescer.store.generation();
    let fill = Fill { coalescer: &landing.coalescer, flight: &landing.flight, job: &job, generation };
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
        self.flight.state.modify(|state| {
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
    /// The generation at which its origin was asked, or later ones begin.
    pub(super) generation: u64,
}

/// An answer of which some or all of the body has been read already.
pub(super) struct Answer {
    response: OriginResponse,
    /// How far its body has come.
    place: Place,
    pub(super) read: Vec<Bytes>,
    /// Whether `read` is all of it.
    pub(super) whole: bool,
    playlist: Option<PlaylistFacts>,
    manifest: Option<ManifestFacts>,
}

impl Fill<'_> {
    /// Looks in the store, both tiers of it, then asks the origin.
    async fn run(&self) {
        let mut cache = self.engine_cache();
        let Some(held) = self.look_up(&mut cache).await else {
            return self.fetch_around(&mut cache, self.job.stale.as_ref()).await;
        };
        let now = self.coalescer.clock.now();
        let object = Arc::clone(&held.object);
        if object.variants.is_some() {
            self.flight.publish(State::Varies(object));
            return;
        }
        if standing(&object.lifetime, &self.job.wishes, now) != Standing::Validate {
            self.flight.publish(State::Recalled(Arc::clone(&object)));
            self.recall_rest(held).await;
            self.learn_recalled(&object);
            return;
        }
        if !object.lifetime.is_fresh(now) && object.lifetime.bridges_revalidation(now) {
            self.flight.publish(State::Recalled(Arc::clone(&object)));
        }
        self.recall_rest(held).await;
        self.learn_recalled(&object);
        self.fetch_around(&mut cache, Some(&object).filter(|object| object.body.is_complete())).await;
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

    /// Asks the origin, with `stale` to be confirmed.
    async fn fetch_or_fail(&self, cache: &mut HttpCache, stale: Option<&Arc<Object>>) {
        let store = self.coalescer.store;
        // Read before it is looked whether what is held still stands: what is purged after this is not in the answer.
        let generation = store.generation();
        let stale = stale.filter(|stale| !store.is_gone(stale)).map(Arc::clone);
        let job = Job { stale, ..self.job.clone() };
        let fill = Fill { job: &job, generation, ..*self };
        // Boxed: its state is large.
        let fetched = Box::pin(fill.fetch(cache)).await;
        if fill.is_watched() {
            fill.note_failing(fetched.err());
        }
        if let Err(failure) = fetched {
            self.flight.publish_unless_recalled(State::Failed(failure, fill.bridge()));
        }
    }

    async fn fetch(&self, cache: &mut HttpCache) -> Result<(), Failure> {
        if self.job.wishes.only_if_cached {
            return Err(Failure::ONLY_IF_CACHED);
        }
        if let Extent::Slice(head, index) = &self.job.extent {
            return self.fetch_slice(head, *index).await;
        }
        let mut asked = self.coalescer.clock.now();
        let response = match self.first_slice() {
            Some(index) => self.begin_with(index).await?,
            None => Some(self.ask(None, Conditions::OfHeld).await?),
        };
        let Some(mut response) = response else { return Ok(()) };
        if response.header.status == StatusCode::NOT_MODIFIED {
            let stale = self.job.stale.as_ref().ok_or(Failure::UNASKED_304)?;
            if self.is_confirmed(stale, &response.header) {
                return self.confirm(cache, stale, &response.header, asked).await;
            }
            tracing::warn!(key = %self.flight.key.text, "the origin confirmed another version than it was asked about");
            asked = self.coalescer.clock.now();
            response = self.ask(None, Conditions::None).await?;
        }
        let status = response.header.status;
        if status == StatusCode::NOT_MODIFIED {
            return Err(Failure::UNASKED_304);
        }
        if BRIDGED.contains(&status.as_u16()) && self.bridge().is_some() {
            return Err(Failure { status: status.as_u16(), reason: Failure::ORIGIN_5XX });
        }
        let mut answer = self.read_playlist(response, &mut asked).await?;
        let kind = match answer.playlist {
            Some(facts) if facts.multivariant => Kind::MultivariantPlaylist,
            _ => self.job.kind,
        };
        self.note_made_here(&answer);
        let framed = answer.response.framing() != Framing::Close;
        let unread = self.job.kind.is_playlist() && status == StatusCode::OK && answer.playlist.is_none();
        let said = Said { playlist: answer.playlist, manifest: answer.manifest };
        let text = answer.read.first().filter(|_| answer.whole).map_or(&[][..], |text| text);
        let verdict = self.judge(&answer.response.header, kind, (said, text), asked);
        let is_kept = matches!(verdict, Verdict::Keep(_)) && !unread;
        if is_kept && !framed && self.is_watched() && self.bridge().is_some() {
            return Err(self.doubted(Doubt::Unframed));
        }
        let is_kept = is_kept && framed;
        // Of what is kept for others alone: what is one client's own says nothing of what others get.
        let taken = if is_kept { Some(self.guard(&answer.came())?) } else { None };
        // Boxed, as few answers are changed.
        let changed = Box::pin(self.change(&mut answer, kind, is_kept)).await?;
        if let Some(text) = answer.read.first().filter(|_| taken.is_none() && answer.playlist.is_some()) {
            self.learn_keys(text);
        }
        match (verdict, taken) {
            (Verdict::Keep(mut kept), Some(taken)) => {
                change::tell(changed, &mut kept.header, &answer);
                let text = answer.playlist.filter(|_| taken.learns).zip(answer.read.first().cloned());
                if let Some((facts, text)) = &text {
                    self.learn_names(facts, text, &answer.response.header.headers);
                }
                let fill = Fill { generation: taken.generation, ..*self };
                // Boxed: its state is large.
                let key = Box::pin(fill.keep_among(cache, *kept, kind, answer)).await?;
                if let Some(((facts, text), key)) = text.zip(key) {
                    self.learn(facts, &key, &text, taken.anew);
                }
                Ok(())
            }
            (Verdict::Keep(mut kept), None) => {
                change::tell(changed, &mut kept.header, &answer);
                self.pass_among(kept.header, kind, answer).await
            }
            (Verdict::Pass(mut header, _), _) => {
                change::tell(changed, &mut header, &answer);
                self.pass_among(*header, kind, answer).await
            }
        }
    }

    /// Asks for the object or, by a range, for one slice of it; conditionally, if a stale one is held.
    pub(super) async fn ask(
        &self,
        slice: Option<u64>,
        conditions: Conditions,
    ) -> Result<OriginResponse, Failure> {
        let mut headers = self.headers();
        let stale = self.job.stale.as_ref().filter(|_| conditions == Conditions::OfHeld);
        let conditions = stale.map(|stale| self.conditions(stale)).unwrap_or_default();
        let reason = if conditions.is_empty() { FetchReason::Miss } else { FetchReason::Revalidate };
        headers.extend(conditions);
        if let Some(index) = slice {
            let range = slice_range(index, u64::MAX);
            headers.insert(RANGE, range_field(range.start, range.end.saturating_sub(1)));
        }
        let request = FetchRequest { hold: self.hold(), ..self.request(headers, reason) };
        let mut response = self.send(&request).await?;
        self.change_header(&mut response.header);
        Ok(response)
    }

    /// Asks the origin, or the node that the key belongs to: the one way to it, but for what nobody has asked for yet.
    pub(super) async fn ask_origin(&self, request: &FetchRequest<'_>) -> Result<OriginResponse, OriginError> {
        if let Some(response) = self.ask_owner(request).await {
            return Ok(response);
        }
        // Boxed: its state is large.
        Box::pin(self.job.origin.fetch(request)).await
    }

    /// A request for what this fetch is about.
    pub(super) fn request(&self, headers: HeaderMap, reason: FetchReason) -> FetchRequest<'_> {
        FetchRequest {
            method: Method::GET,
            path_and_query: self.flight.key.target(),
            headers,
            reason,
            hold: None,
            kind: self.job.kind,
            placement: self.flight.key.placement(),
            host: self.job.host.as_deref().or_else(|| self.job.site.hosts.first().map(String::as_str)),
            claims: self.job.claims.as_deref(),
            conditions: self.job.conditions.as_deref(),
            cdn_loop: self.job.cdn_loop.as_ref(),
        }
    }

    /// The fields that ask the origin to confirm what is held; none where rules now make another text of it.
    fn conditions(&self, stale: &Object) -> HeaderMap {
        match self.changes(stale.kind).id() {
            None => conditional_fields(&stale.header),
            Some(changed) => {
                changed.asked_by(&stale.header).map(|asked| conditional_fields(&asked)).unwrap_or_default()
            }
        }
    }

    /// Where an object of this fetch comes from.
    pub(super) fn provenance(&self, tags: Option<Arc<[u64]>>) -> Provenance {
        let ahead = self.job.ahead.as_ref().map(|ahead| ahead.mark());
        Provenance { generation: self.generation, tags: tags.unwrap_or_default(), ahead }
    }

    /// The request's fields that the origin is sent with every fetch of this key.
    pub(super) fn selecting(&self) -> HeaderMap {
        let mut headers = self.told();
        headers.extend(self.job.forward.clone());
        headers
    }

    /// The request's fields that the origin is told of beside those of the key, in their normal form.
    pub(super) fn told(&self) -> HeaderMap {
        let mut headers = self.job.passed_on.clone();
        headers.extend(self.job.selected.clone());
        headers
    }

    /// The request's own fields that the origin is sent.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = self.selecting();
        if let Some(authorization) = &self.job.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        headers
    }

    /// Judges an answer; `text` is that of a playlist or manifest that has been read.
    pub(super) fn judge(
        &self,
        header: &ResponseHeader,
        kind: Kind,
        (said, text): (Said, &[u8]),
        asked: SystemTime,
    ) -> Verdict {
        let now = self.coalescer.clock.now();
        let times = Times::of(self.rule(header.status, kind));
        let around = Around {
            kind,
            site: self.flight.key.site(),
            path: self.path(),
            is_error: header.status.is_client_error() || header.status.is_server_error(),
            text,
        };
        let reload = self.job.directives.reload;
        judge(&Fetched {
            header,
            kind,
            said,
            blocking: reload.is_some_and(|reload| is_blocking(reload, said.playlist)),
            stream: around.stream(&self.coalescer.playlists),
            times: &times,
            asked,
            now,
            authorized: self.job.authorization.is_some(),
            keyed_by_it: self.job.keyed.contains(&AUTHORIZATION),
            no_store: self.job.wishes.no_store,
        })
    }

    /// The path asked for.
    pub(super) fn path(&self) -> &str {
        let target = self.flight.key.target();
        target.split('?').next().unwrap_or(target)
    }

    /// Whether the disk keeps an answer: by rule, and only if it is fresh for long enough to be worth it.
    fn disk_admission(&self, status: StatusCode, kind: Kind, lifetime: &Lifetime) -> DiskAdmission {
        let fresh = lifetime.fresh_until.duration_since(self.coalescer.clock.now()).unwrap_or_default();
        // What is one user's stays in memory.
        if fresh < self.coalescer.disk_ttl_min || self.flight.key.user_rule().is_some() {
            return DiskAdmission::Never;
        }
        self.rule(status, kind).and_then(|rule| rule.disk).unwrap_or_default()
    }

    /// The rule that applies to an answer of this status and kind.
    pub(super) fn rule(&self, status: StatusCode, kind: Kind) -> Option<&Rule> {
        Policy::new(&self.job.rules, &self.job.held, self.path(), kind).for_answer(status.as_u16(), kind)
    }

    /// Whether a failure of it is remembered, and anything that is held of it stands in.
    fn is_watched(&self) -> bool {
        self.job.kind.is_playlist() || self.job.kind == Kind::Manifest
    }

    /// What may be served because the origin fails.
    fn bridge(&self) -> Option<Arc<Object>> {
        let now = self.coalescer.clock.now();
        let stale = self.job.stale.as_ref();
        if self.is_watched() {
            return self.coalescer.stand_in_for(&self.flight.key, stale);
        }
        stale.filter(|stale| stale.lifetime.bridges_error(now)).map(Arc::clone)
    }

    /// Remembers that the origin fails, or that it does not any more. Of a playlist that was never good it is not known
    /// how long that may be; and what the origin says to one client's credentials is no word for others.
    fn note_failing(&self, failure: Option<Failure>) {
        let own = [Failure::ONLY_IF_CACHED, Failure::NO_MEMORY, Failure::INTERNAL];
        let is_said =
            |failure: &Failure| *failure == Failure::BAD_PLAYLIST || failure.reason == Failure::ORIGIN_5XX;
        let is_of_client = |failure: &Failure| self.job.authorization.is_some() && is_said(failure);
        let counts = |failure: &Failure| !own.contains(failure) && !is_of_client(failure) && self.has_good();
        if failure.is_none_or(|failure| counts(&failure)) {
            self.coalescer.note_failing(&self.flight.key, self.flight.slot, failure);
        }
    }

    /// The origin confirmed what is held (RFC 9111 section 4.3.4): its body stays, its times are new.
    async fn confirm(
        &self,
        cache: &mut HttpCache,
        stale: &Arc<Object>,
        received: &ResponseHeader,
        asked: SystemTime,
    ) -> Result<(), Failure> {
        let merged = merge_confirmed(&stale.header, received);
        let text = self.is_watched().then(|| text_of(stale.body.as_whole()?)).flatten().unwrap_or_default();
        let playlist = stale.kind.is_playlist().then(|| hls::read::read(&text).ok()).flatten();
        let manifest = (stale.kind == Kind::Manifest).then(|| dash::facts(&text)).flatten();
        let held_tags = &stale.provenance.tags;
        let said = Said { playlist, manifest };
        let (header, lifetime, tags, kept) = match self.judge(&merged, stale.kind, (said, &text), asked) {
            Verdict::Keep(kept) => {
                let by_rule = self.rule(merged.status, stale.kind).is_some_and(|rule| rule.ttl.is_some());
                let now = self.coalescer.clock.now();
                let lifetime = confirmed_lifetime(&stale.lifetime, kept.lifetime, received, by_rule, now);
                match of_confirmed(Some(held_tags), &received.headers, kept.tags) {
                    Ok(tags) => (Box::new(kept.header), lifetime, tags.unwrap_or_default(), true),
                    Err(_) => (Box::new(kept.header), lifetime, Arc::clone(held_tags), false),
                }
            }
            Verdict::Pass(header, _) => {
                (header, Lifetime::ended(self.coalescer.clock.now()), Arc::clone(held_tags), false)
            }
        };
        // What was purged before it was asked is good again.
        let ahead = stale.provenance.ahead.clone();
        let provenance = Provenance { generation: self.generation, tags, ahead };
        // Another fetch may have put another version there meanwhile: its body is not what the origin has confirmed.
        let key = &self.flight.key;
        let held = self.coalescer.store.get(key.hash, &key.text);
        let same = held.is_some_and(|held| held.body.is_same(&stale.body));
        if kept && same && cache.phase() == CachePhase::Stale {
            let disk = self.disk_admission(header.status, stale.kind, &lifetime);
            let provenance = provenance.clone();
            let admission =
                Admission { kind: stale.kind, lifetime, provenance, disk, reservation: Arc::default() };
            if let Err(error) = cache.revalidate_cache_meta(cache_meta((*header).clone(), admission)).await {
                tracing::warn!(%error, "a confirmed object could not be kept");
            }
        } else if !kept {
            self.forget_unkept();
        }
        if kept {
            self.learn_confirmed(&stale.body, playlist);
        }
        let key = self.flight.key.clone();
        let object = Arc::new(Object {
            provenance,
            shared: kept,
            encoded: stale.encoded.again(),
            carried: stale.carried.again(),
            ..Object::new(key, stale.kind, *header, lifetime, stale.body.clone())
        });
        self.flight.publish(if kept { State::Confirmed(object) } else { State::Unshared(object) });
        if let Some(facts) = playlist.filter(|_| kept) {
            self.note_confirmed();
            self.learn(facts, &self.flight.key, &text, false);
        }
        Ok(())
    }
}

impl Answer {
    /// What it says, as far as it has been read.
    fn came(&self) -> Came<'_> {
        Came { status: self.response.header.status, playlist: self.playlist, read: &self.read }
    }

    /// The length of the body, where it is known.
    pub(super) fn length(&self) -> Option<u64> {
        if self.whole {
            return Some(self.read.iter().map(|data| data.len() as u64).sum());
        }
        // Not by the framing: it may be that of the rest, where the body has broken off.
        self.place.total()
    }
}

/// The text of a complete playlist or manifest.
fn text_of(body: &Body) -> Option<Vec<u8>> {
    Some(body.chunks()?.concat())
}

/// What a complete playlist says.
fn facts_of(body: &Body) -> Option<PlaylistFacts> {
    hls::read::read(&text_of(body)?).ok()
}
