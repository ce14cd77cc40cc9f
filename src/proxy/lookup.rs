//! Finds the object that answers a request: held and fresh, held and stale, in flight, or fetched now.
//!
//! Where answers vary, the key's place holds a marker, and the request goes on with the key of its own variant.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::cache::{RequestDirectives, Standing, standing};
use crate::coalesce::{Coalescer, Extent, Failure, Job, Joined, Lane, State, Ticket};
use crate::deliver::fields::{Forward, Told};
use crate::deliver::plan::Plan;
use crate::deliver::range;
use crate::hls::Directives;
use crate::key::parts::Unkeyable;
use crate::key::variant::{normal_fields, primary_text, variance, with_variant_key};
use crate::key::{Key, query_of};
use crate::outcome::Outcome;
use crate::site::{Asked, Site};
use crate::store::content::slice_of;
use crate::store::{Content, Object, Store, Variants};
use crate::tier::loops::{self, Passed};
use crate::tier::{Hop, Names, Role};

/// Markers that a request follows, at most, until its answer is taken as it comes: more of them means an origin that
/// varies each time by something else.
const MARKERS_MAX: usize = 4;

/// How often a request that has joined a fetch which a purge overtakes joins another one; then it asks for its own.
const OVERTAKEN_MAX: u32 = 3;

/// What is wanted.
pub(super) struct Wanted<'a> {
    /// Whose rules apply.
    pub site: &'a Arc<Site>,
    /// What is asked for.
    pub asked: Asked<'a>,
    /// `Range`, of a GET.
    pub range: Option<&'a HeaderValue>,
    /// What the request says of caching, as far as it is obeyed.
    pub directives: RequestDirectives,
    /// Ranges that it may ask for (`limits.ranges`).
    pub ranges_max: usize,
    /// Time of day.
    pub now: SystemTime,
    /// How long to wait for another request's fetch (`limits.coalesce_wait`, or as long as a request is held).
    pub wait: Duration,
    /// Whether the request waits for a playlist to grow: what is stale has not.
    pub holds: bool,
    /// The host asked for, without its port.
    pub host: &'a str,
    /// The node that it comes from, if it does.
    pub hop: Option<&'a Arc<Hop>>,
}

/// The object that answers, and how it was come by.
pub(super) struct Found {
    /// The object.
    pub object: Arc<Object>,
    /// What became of the request.
    pub outcome: Outcome,
    /// Why the origin was asked; None: it was not.
    pub forward: Option<Forward>,
    /// The status that the origin answered with, where it is not the object's.
    pub forward_status: Option<u16>,
    /// Time spent waiting for another request's fetch.
    pub waited: Option<Duration>,
    /// Why a stale object was served: a word.
    pub reason: Option<&'static str>,
    /// The part in the fetch, held until the answer has been sent.
    pub ticket: Option<Ticket>,
}

/// Where the answer is looked for.
pub(super) struct Place {
    /// Under which key.
    pub key: Key,
    /// What is held there, of no use as it is.
    held: Option<Arc<Object>>,
    /// The marker that has led there.
    marker: Option<Arc<Variants>>,
}

/// What a look at one place has come to.
enum Step {
    Found(Found),
    /// Answers vary, and the request has a place of its own. The part in the fetch that said so is held until the
    /// request has one in the next.
    Varies(Arc<Object>, Option<Ticket>),
}

/// What has happened to a request on its way.
#[derive(Default)]
struct Way {
    /// Whether it has started a fetch.
    started: bool,
    /// Time spent waiting for other requests' fetches.
    waited: Option<Duration>,
    /// Why the origin was asked first.
    forward: Option<Forward>,
    /// Whether the next answer is taken as it comes.
    last_try: bool,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// The origin's side failed.
    Failed(Failure),
    /// It failed a moment ago, and has not been asked again.
    FailedBefore(Failure),
    /// Another request's fetch did not answer in time.
    WaitedTooLong,
    /// Too many requests wait for the same fetch.
    TooManyWaiters,
    /// It has no key. Such requests pass through and do not come here.
    Unkeyable,
}

/// A host as it is sent to nodes of the next tier: in lower case, without its port.
pub(super) fn host_sent(host: &str) -> Arc<str> {
    let host = host.to_ascii_lowercase();
    if host.contains(':') { format!("[{host}]").into() } else { host.into() }
}

impl Wanted<'_> {
    /// Which bytes a fetch of it begins with.
    fn extent(&self) -> Extent {
        let first = self.range.and_then(|field| range::first_byte(field.to_str().ok()?, self.ranges_max));
        first.map_or(Extent::Whole, |first| Extent::From(slice_of(first)))
    }

    /// The request's fields, the token taken out of its cookies.
    fn fields(&self) -> Cow<'_, HeaderMap> {
        let Some(policy) = self.site.token.as_ref().filter(|_| self.asked.headers.contains_key(COOKIE))
        else {
            return Cow::Borrowed(self.asked.headers);
        };
        let mut fields = self.asked.headers.clone();
        fields.remove(COOKIE);
        for cookie in self.asked.headers.get_all(COOKIE).iter().filter_map(|cookie| cookie.to_str().ok()) {
            let cookie = policy.strip_cookie(cookie);
            if let Some(cookie) = HeaderValue::from_str(&cookie).ok().filter(|cookie| !cookie.is_empty()) {
                fields.append(COOKIE, cookie);
            }
        }
        Cow::Owned(fields)
    }

    /// The networks that it has passed, as it says.
    fn passed(&self) -> Option<Passed> {
        loops::received(self.asked.headers, self.hop.map_or(0, |hop| hop.nodes))
    }

    /// Which requests it may share a fetch with. What is for this request alone is fetched from the origin.
    fn lane(&self, coalescer: &Coalescer, key: &Key) -> Lane {
        let authorized = self.asked.headers.contains_key(AUTHORIZATION);
        let alone = self.is_from_peer() || authorized || self.directives.no_store;
        let relayed = !alone && coalescer.is_others(key, self.asked.kind);
        Lane::new(authorized, self.passed().as_ref(), relayed)
    }

    /// Whether another node of the tier asks: no third one is asked.
    pub(super) fn is_from_peer(&self) -> bool {
        self.hop.is_some_and(|hop| hop.role == Role::Peer)
    }

    /// The fetch of it, and whether it goes by another node.
    fn job(&self, coalescer: &Coalescer, place: &Place, last_try: bool, relayed: bool) -> Job {
        let names: Option<Arc<[HeaderName]>> = match &place.marker {
            Some(marker) => Some(marker.names.to_vec().into()),
            None if place.held.is_none() => coalescer.varied(&self.site.name, self.asked.kind),
            None => None,
        };
        let keyed: Arc<[HeaderName]> = self.site.keyed_fields(&self.asked).into();
        let names = names.unwrap_or_default();
        let claims = self.site.keyed_claims(&self.asked);
        let open: Vec<HeaderName> = names.iter().filter(|name| !keyed.contains(name)).cloned().collect();
        Job {
            site: Arc::clone(self.site),
            origin: Arc::clone(&self.site.origin),
            rules: Arc::clone(&self.site.rules),
            held: self.asked.held.clone(),
            forward: self.site.forwarded(&self.asked),
            kind: self.asked.kind,
            // Of the key: what is left out of it decides nothing. They are for playlists.
            directives: match self.asked.kind.is_playlist() {
                true => Directives::of(query_of(place.key.target())).unwrap_or_default(),
                false => Directives::default(),
            },
            stale: place.held.clone(),
            extent: self.extent(),
            selected: normal_fields(&self.fields(), &open),
            names: open.into(),
            passed_on: normal_fields(&self.fields(), self.site.passed_on(&self.asked)),
            keyed,
            authorization: self.asked.headers.get(AUTHORIZATION).cloned(),
            cors: self.site.cors.is_some(),
            wishes: self.directives,
            last_try,
            ahead: None,
            // A node that is not told all that the key is made of would ask the origin for something else.
            relayed: relayed && claims.as_ref().is_none_or(Hop::has_room_for),
            host: (!self.host.is_empty()).then(|| host_sent(self.host)),
            hop: self.hop.cloned(),
            conditions: self.site.conditions(&self.asked).map(Arc::new),
            claims: claims.map(Arc::new),
            cdn_loop: self.passed(),
        }
    }

    /// What a held object means for the request; None: the origin must be asked first.
    pub(super) fn outcome_of_held(&self, object: &Object) -> Option<Outcome> {
        match standing(&object.lifetime, &self.directives, self.now) {
            Standing::Usable => Some(Outcome::Hit),
            Standing::UsableStale => Some(Outcome::HitStale),
            Standing::Validate => None,
        }
    }

    /// Whether a stale object may be used while it is fetched anew. The client's own wishes come first.
    fn may_bridge(&self, object: &Object) -> bool {
        !self.holds
            && self.directives.is_empty()
            && !object.lifetime.is_fresh(self.now)
            && object.lifetime.bridges_revalidation(self.now)
    }
}

/// What became of a request that found a fresh object: a hit, unless the object is in slices and the one that the
/// answer begins with has to be waited for. Then it is coalesced, if that slice is being fetched, else a miss. Slices
/// after the first do not count: an answer has one outcome, told in its header before they are looked for.
pub(super) fn outcome_of_fresh(object: &Object, plan: &Plan, method: &Method) -> Outcome {
    let first = plan.first_byte().filter(|_| *method != Method::HEAD);
    match (object.body.as_sliced(), first) {
        (Some(sliced), Some(first)) if !sliced.is_held(first) => {
            if sliced.is_coming(first) {
                Outcome::Coalesced
            } else {
                Outcome::Miss
            }
        }
        _ => Outcome::Hit,
    }
}

/// The same object for a client that does not want the origin to be asked; None: not all of what is sent is held.
pub(super) fn held_whole(object: &Object, plan: &Plan, method: &Method) -> Option<Arc<Object>> {
    let sliced = object.body.as_sliced()?;
    let is_held = match plan {
        _ if *method == Method::HEAD || plan.first_byte().is_none() => true,
        Plan::Part { start, end, .. } => sliced.holds(*start..*end),
        Plan::Parts(multipart) => multipart.parts().iter().all(|part| sliced.holds(part.clone())),
        _ => sliced.holds(0..sliced.len()),
    };
    let body = Content::Sliced(sliced.held_only());
    let same = || Object::new(object.key.clone(), object.kind, object.header.clone(), object.lifetime, body);
    is_held.then(|| Arc::new(same()))
}

/// The same object for another node of the tier: no third one is asked for what is missing of it.
pub(super) fn direct(object: Arc<Object>) -> Arc<Object> {
    let Some(sliced) = object.body.as_sliced().and_then(|sliced| sliced.direct()) else { return object };
    let Object { key, kind, header, lifetime, .. } = &*object;
    Arc::new(Object::new(key.clone(), *kind, header.clone(), *lifetime, Content::Sliced(sliced)))
}

/// Why there is no fresh hit.
pub(super) enum NotFresh {
    /// Nothing that may be used as it is stands in this place.
    Place(Place),
    /// The request has no key.
    Unkeyable,
}

/// A fresh hit, at no cost beyond the look-up.
///
/// # Errors
/// [`NotFresh`].
pub(super) fn fresh(store: &Store, wanted: &Wanted<'_>) -> Result<Found, NotFresh> {
    let found = wanted.site.with_key(&wanted.asked, |hash, text| {
        let held = store.get(hash, text);
        match held.as_ref().and_then(|held| held.variants.as_ref()) {
            Some(variants) => fresh_variant(store, wanted, text, variants),
            None => fresh_object(wanted, held, || Place {
                key: Key { hash, text: text.into() },
                held: None,
                marker: None,
            }),
        }
    });
    match found {
        Ok(found) => found.map_err(NotFresh::Place),
        Err(Unkeyable) => Err(NotFresh::Unkeyable),
    }
}

/// The same for the variant that the request selects.
fn fresh_variant(
    store: &Store,
    wanted: &Wanted<'_>,
    text: &str,
    variants: &Arc<Variants>,
) -> Result<Found, Place> {
    let variance = variance(variants.epoch, &variants.names, &wanted.fields());
    with_variant_key(text, variants.epoch, variance, |hash, text| {
        fresh_object(wanted, store.get(hash, text), || Place {
            key: Key { hash, text: text.into() },
            held: None,
            marker: Some(Arc::clone(variants)),
        })
    })
}

fn fresh_object(
    wanted: &Wanted<'_>,
    held: Option<Arc<Object>>,
    place: impl FnOnce() -> Place,
) -> Result<Found, Place> {
    match held {
        Some(object) => match wanted.outcome_of_held(&object) {
            Some(outcome) => Ok(Found { outcome, ..Found::hit(object) }),
            None => Err(Place { held: Some(object), ..place() }),
        },
        None => Err(place()),
    }
}

/// Anything but a fresh hit: stale while it is fetched anew, joined, fetched, or stale because the origin fails.
///
/// # Errors
/// [`Missed`].
pub(super) async fn otherwise(
    coalescer: &Arc<Coalescer>,
    store: &Store,
    wanted: &Wanted<'_>,
    mut place: Place,
) -> Result<Found, Missed> {
    let mut way = Way::default();
    let mut followed = None;
    for _ in 0..MARKERS_MAX {
        let step = look(coalescer, wanted, &place, &mut way).await?;
        // Given back only when the request has a part in the next fetch, or its object.
        drop(followed.take());
        match step {
            Step::Found(found) => return Ok(found),
            Step::Varies(marker, ticket) => {
                let Some(variants) = &marker.variants else { break };
                let there = fresh_variant(store, wanted, &marker.key.text, variants);
                let text = there.as_ref().map_or_else(|next| &next.key.text, |found| &found.object.key.text);
                if let Some(next) = ticket.as_ref().and_then(|ticket| ticket.next(text)) {
                    // This request's own answer, with what is for it alone.
                    let state = next.answer(None).await.ok_or(Missed::INTERNAL)?;
                    return ended(wanted, &place, &way, state, next);
                }
                match there {
                    Ok(found) => return Ok(way.end_with(found)),
                    Err(next) => place = next,
                }
                followed = ticket;
            }
        }
    }
    way.last_try = true;
    alone(coalescer, wanted, &place, &mut way).await
}

/// Has what the request asks for fetched, without waiting for it, unless it is being fetched.
pub(super) fn refresh(coalescer: &Arc<Coalescer>, wanted: &Wanted<'_>) {
    let key = wanted.site.with_key(&wanted.asked, |hash, text| Key { hash, text: text.into() });
    if let Ok(key) = key {
        let place = Place { key, held: None, marker: None };
        let lane = wanted.lane(coalescer, &place.key);
        coalescer.refresh(&place.key, lane, || wanted.job(coalescer, &place, false, lane.relayed));
    }
}

/// Looks at one place: what is held there, what is being fetched, what comes of a fetch.
async fn look(
    coalescer: &Arc<Coalescer>,
    wanted: &Wanted<'_>,
    place: &Place,
    way: &mut Way,
) -> Result<Step, Missed> {
    let Place { key, held, marker } = place;
    let lane = wanted.lane(coalescer, key);
    let job = || wanted.job(coalescer, place, false, lane.relayed);
    way.forward.get_or_insert(match (held, marker) {
        (Some(held), _) if held.lifetime.is_fresh(wanted.now) => Forward::Request,
        (Some(_), _) => Forward::Stale,
        (None, Some(_)) => Forward::VaryMiss,
        (None, None) => Forward::UriMiss,
    });
    if let Some(object) = held.clone().filter(|held| wanted.may_bridge(held)) {
        if !wanted.directives.only_if_cached {
            coalescer.refresh(key, lane, job);
        }
        return Ok(Step::Found(Found { outcome: Outcome::HitStale, ..Found::hit(object) }));
    }
    if wanted.directives.only_if_cached {
        // Not joined by others, who may have the origin asked.
        return held_only(coalescer, wanted, place).await;
    }
    if wanted.directives.no_store {
        // What comes of it is for this request alone.
        return alone(coalescer, wanted, place, way).await.map(Step::Found);
    }
    let began = Instant::now();
    let mut overtaken = 0;
    let (ticket, state) = loop {
        let ticket = match coalescer.join(key, lane, held.as_ref(), job) {
            Joined::Flight(ticket) => ticket,
            Joined::Landed(object) if object.variants.is_some() => return Ok(Step::Varies(object, None)),
            Joined::Landed(object) => {
                way.waited.get_or_insert_default();
                return Ok(Step::Found(way.end_with(Found::hit(object))));
            }
            Joined::Failing(failure) => {
                way.forward = None;
                let held = coalescer.stand_in_for(key, held.as_ref());
                return stale_or(wanted, held, Missed::FailedBefore(failure), failure.reason)
                    .map(Step::Found);
            }
            Joined::Full => {
                let held = held.clone();
                return stale_or(wanted, held, Missed::TooManyWaiters, "too_many_waiters").map(Step::Found);
            }
        };
        let wait = (!ticket.started).then(|| wanted.wait.saturating_sub(began.elapsed()));
        let state = ticket.answer(wait).await;
        way.started |= ticket.started;
        if wait.is_some() {
            way.waited = Some(began.elapsed());
        }
        if !coalescer.is_overtaken(&ticket, state.as_ref()) {
            break (ticket, state);
        }
        coalescer.leave_behind(&ticket);
        overtaken += 1;
        if overtaken > OVERTAKEN_MAX {
            return alone(coalescer, wanted, place, way).await.map(Step::Found);
        }
    };
    match state {
        Some(State::Varies(marker)) => Ok(Step::Varies(marker, Some(ticket))),
        Some(State::Answered(object)) if !object.body.is_readable_from_start() && !ticket.started => {
            // A body larger than is kept has streamed past: this request asks for its own.
            alone(coalescer, wanted, place, way).await.map(Step::Found)
        }
        Some(State::Recalled(object))
            if wanted.outcome_of_held(&object).is_none() && !wanted.may_bridge(&object) =>
        {
            // Good enough for others, and not for what this request says.
            alone(coalescer, wanted, place, way).await.map(Step::Found)
        }
        Some(State::Unshared(_)) if !ticket.started => {
            alone(coalescer, wanted, place, way).await.map(Step::Found)
        }
        Some(state) => ended(wanted, place, way, state, ticket).map(Step::Found),
        None => stale_or(wanted, held.clone(), Missed::WaitedTooLong, "coalesce_wait").map(Step::Found),
    }
}

/// What the end of a fetch means for a request that may use it.
fn ended(
    wanted: &Wanted<'_>,
    place: &Place,
    way: &Way,
    state: State,
    ticket: Ticket,
) -> Result<Found, Missed> {
    let found = |object, outcome| Found {
        outcome,
        forward: way.forward,
        waited: way.waited,
        ticket: Some(ticket),
        ..Found::hit(object)
    };
    match state {
        State::Answered(object) => Ok(found(object, way.outcome_or(Outcome::Miss))),
        State::Confirmed(object) => {
            let outcome = way.outcome_or(Outcome::HitRevalidated);
            Ok(Found { forward_status: Some(304), ..found(object, outcome) })
        }
        State::Unshared(object) => Ok(found(object, Outcome::Bypass)),
        // From disk: as good a hit as one from memory.
        State::Recalled(object) => {
            let outcome = wanted.outcome_of_held(&object).unwrap_or(Outcome::HitStale);
            Ok(Found { forward: None, waited: None, ..found(object, outcome) })
        }
        State::Failed(failure, bridge) => {
            // Of a playlist, the bridge may be newer.
            let held = bridge.or(place.held.clone());
            // A cache that is cut off from the origin and holds what must be confirmed says so by 504 (RFC 9111
            // section 5.2.2.2).
            let cut_off =
                failure.status == 502 && held.as_ref().is_some_and(|held| held.lifetime.is_strict());
            let status = if cut_off { 504 } else { failure.status };
            let missed = Missed::Failed(Failure { status, ..failure });
            // It went forward, whatever it is answered with (RFC 9211 sections 2.1 and 2.2).
            let answered = (failure.reason == Failure::ORIGIN_5XX).then_some(failure.status);
            stale_or(wanted, held, missed, failure.reason).map(|found| Found {
                forward: way.forward,
                forward_status: answered,
                ..found
            })
        }
        State::Asked | State::Varies(_) => Err(Missed::INTERNAL),
    }
}

/// The answer turned out to be for its asker alone: this request asks for its own.
async fn alone(
    coalescer: &Arc<Coalescer>,
    wanted: &Wanted<'_>,
    place: &Place,
    way: &mut Way,
) -> Result<Found, Missed> {
    way.started = true;
    let ticket = coalescer.fetch_alone(place.key.clone(), wanted.job(coalescer, place, way.last_try, false));
    match ticket.answer(None).await {
        // It did not vary when it was asked for first.
        Some(State::Varies(_)) if !way.last_try => {
            way.last_try = true;
            let ticket = coalescer.fetch_alone(place.key.clone(), wanted.job(coalescer, place, true, false));
            let state = ticket.answer(None).await.ok_or(Missed::INTERNAL)?;
            ended(wanted, place, way, state, ticket)
        }
        Some(state) => ended(wanted, place, way, state, ticket),
        None => Err(Missed::INTERNAL),
    }
}

/// What the disk holds, for a client that does not want the origin to be asked.
async fn held_only(coalescer: &Arc<Coalescer>, wanted: &Wanted<'_>, place: &Place) -> Result<Step, Missed> {
    let ticket = coalescer.fetch_alone(place.key.clone(), wanted.job(coalescer, place, false, false));
    match ticket.answer(None).await {
        Some(State::Varies(marker)) => Ok(Step::Varies(marker, Some(ticket))),
        Some(State::Recalled(object))
            if wanted.outcome_of_held(&object).is_some() || wanted.may_bridge(&object) =>
        {
            ended(wanted, place, &Way::default(), State::Recalled(object), ticket).map(Step::Found)
        }
        _ => Err(Missed::Failed(Failure::ONLY_IF_CACHED)),
    }
}

impl Missed {
    const INTERNAL: Missed = Missed::Failed(Failure { status: 502, reason: "internal" });
}

impl Way {
    /// What became of a request whose fetch had this end: coalesced, if others had started it.
    fn outcome_or(&self, started: Outcome) -> Outcome {
        if self.started { started } else { Outcome::Coalesced }
    }

    /// An object that has come into the store while the request was on its way.
    fn end_with(&self, found: Found) -> Found {
        // Found as a marker on disk led there: it is a hit.
        let Some(waited) = self.waited.or(self.started.then_some(Duration::ZERO)) else { return found };
        let outcome = self.outcome_or(Outcome::Miss);
        Found { outcome, forward: self.forward, waited: (!self.started).then_some(waited), ..found }
    }
}

impl Found {
    /// As it is held.
    pub(super) fn hit(object: Arc<Object>) -> Found {
        Found {
            object,
            outcome: Outcome::Hit,
            forward: None,
            forward_status: None,
            waited: None,
            reason: None,
            ticket: None,
        }
    }

    /// What its answer says of how it came about.
    pub(super) fn told<'t>(&'t self, names: &'t Names, now: SystemTime, with_key: bool) -> Told<'t> {
        let lifetime = &self.object.lifetime;
        Told {
            names,
            outcome: self.outcome,
            forward: self.forward,
            status: match self.outcome {
                // The origin's answer is not the one that is sent.
                _ if self.forward_status.is_some() || self.outcome == Outcome::HitStale => {
                    self.forward_status
                }
                _ if self.object.body.as_sliced().is_some() => None,
                _ => Some(self.object.status().as_u16()),
            },
            age_seconds: lifetime.age_seconds(now),
            ttl_seconds: lifetime.ttl_seconds(now),
            stored: self.object.shared && self.object.body.is_kept(),
            // What tells variants apart is nobody's business.
            key: with_key.then(|| primary_text(&self.object.key.text).unwrap_or(&self.object.key.text)),
            detail: None,
        }
    }
}

/// What is held, if it may bridge an error; else the error.
fn stale_or(
    wanted: &Wanted<'_>,
    held: Option<Arc<Object>>,
    missed: Missed,
    reason: &'static str,
) -> Result<Found, Missed> {
    match held.filter(|held| held.lifetime.bridges_error(wanted.now)) {
        Some(object) => Ok(Found { outcome: Outcome::HitStale, reason: Some(reason), ..Found::hit(object) }),
        None => Err(missed),
    }
}
