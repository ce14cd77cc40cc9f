//! Finds the object that answers a request: held and fresh, held and stale, in flight, or fetched now.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, Method};

use crate::asset::Kind;
use crate::cache::Policy;
use crate::coalesce::{Coalescer, Extent, Failure, Job, Joined, State, Ticket};
use crate::deliver::plan::Plan;
use crate::deliver::range;
use crate::key::{Key, QueryChoice, with_key};
use crate::outcome::Outcome;
use crate::site::Site;
use crate::store::content::slice_of;
use crate::store::{Object, Store};

/// What is wanted.
pub(super) struct Wanted<'a> {
    /// Whose rules apply.
    pub site: &'a Site,
    /// Path, token taken out.
    pub path: &'a str,
    /// Query as received.
    pub query: Option<&'a str>,
    /// What the path names.
    pub kind: Kind,
    /// `Range`, of a GET.
    pub range: Option<&'a HeaderValue>,
    /// Time of day.
    pub now: SystemTime,
    /// How long to wait for another request's fetch (`limits.coalesce_wait`).
    pub wait: Duration,
}

/// The object that answers, and how it was come by.
pub(super) struct Found {
    /// The object.
    pub object: Arc<Object>,
    /// What became of the request.
    pub outcome: Outcome,
    /// Time spent waiting for another request's fetch.
    pub waited: Option<Duration>,
    /// Why a stale object was served: a word.
    pub reason: Option<&'static str>,
    /// The part in the fetch, held until the answer has been sent.
    #[expect(dead_code, reason = "held for its Drop")]
    pub ticket: Option<Ticket>,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// The origin's side failed.
    Failed(Failure),
    /// Another request's fetch did not answer in time.
    WaitedTooLong,
    /// Too many requests wait for the same fetch.
    TooManyWaiters,
}

impl Wanted<'_> {
    /// Which bytes a fetch of it begins with.
    fn extent(&self) -> Extent {
        let first = self.range.and_then(|field| range::first_byte(field.to_str().ok()?));
        first.map_or(Extent::Whole, |first| Extent::From(slice_of(first)))
    }
}

/// What became of a request that found a fresh object: a hit, unless the object is in slices and the one that the
/// answer begins with has to be waited for. Then it is coalesced, if that slice is being fetched, else a miss. Slices
/// after the first do not count: an answer has one outcome, told in its header before they are looked for.
pub(super) fn outcome_of_fresh(object: &Object, plan: Plan, method: &Method) -> Outcome {
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

/// Calls `with` with the key that a site's rules give a request: its hash and its text.
pub(super) fn with_site_key<T>(
    site: &Site,
    path: &str,
    query: Option<&str>,
    kind: Kind,
    with: impl FnOnce(u128, &str) -> T,
) -> T {
    let rule = Policy::new(&site.rules, path, kind).for_request();
    let listed = rule.and_then(|rule| rule.key_query.as_deref());
    let is_token =
        |parameter: &str| site.token.as_ref().is_some_and(|policy| policy.is_token_name(parameter));
    with_key(&site.name, path, query, &QueryChoice { listed, is_token: &is_token }, with)
}

/// A fresh hit, at no cost beyond the look-up.
pub(super) fn fresh(store: &Store, wanted: &Wanted<'_>) -> Result<Found, (Key, Option<Arc<Object>>)> {
    with_site_key(wanted.site, wanted.path, wanted.query, wanted.kind, |hash, text| {
        match store.get(hash, text) {
            Some(object) if object.lifetime.is_fresh(wanted.now) => {
                Ok(Found { object, outcome: Outcome::Hit, waited: None, reason: None, ticket: None })
            }
            held => Err((Key { hash, text: text.into() }, held)),
        }
    })
}

/// Anything but a fresh hit: stale while it is fetched anew, joined, fetched, or stale because the origin fails.
///
/// # Errors
/// [`Missed`].
pub(super) async fn otherwise(
    coalescer: &Arc<Coalescer>,
    wanted: &Wanted<'_>,
    key: &Key,
    held: Option<Arc<Object>>,
) -> Result<Found, Missed> {
    let job = || Job {
        origin: Arc::clone(&wanted.site.origin),
        rules: Arc::clone(&wanted.site.rules),
        kind: wanted.kind,
        blocking: wanted.query.is_some_and(|query| query.contains("_HLS_msn=")),
        stale: held.clone(),
        extent: wanted.extent(),
    };
    if let Some(object) = held.clone().filter(|held| held.lifetime.bridges_revalidation(wanted.now)) {
        coalescer.refresh(key.hash, &key.text, job);
        return Ok(Found { object, outcome: Outcome::HitStale, waited: None, reason: None, ticket: None });
    }
    let ticket = match coalescer.join(key.hash, &key.text, held.as_ref(), job) {
        Joined::Flight(ticket) => ticket,
        Joined::Landed(object) => {
            let (outcome, waited) = (Outcome::Coalesced, Some(Duration::ZERO));
            return Ok(Found { object, outcome, waited, reason: None, ticket: None });
        }
        Joined::Full => return stale_or(wanted, held, Missed::TooManyWaiters, "too_many_waiters"),
    };
    let began = Instant::now();
    let wait = (!ticket.started).then_some(wanted.wait);
    let state = ticket.answer(wait).await;
    let waited = wait.map(|_| began.elapsed());
    match state {
        Some(State::Answered(object)) if !object.body.is_readable_from_start() && !ticket.started => {
            // A body larger than is kept has streamed past: this request asks for its own.
            alone(coalescer, wanted, key, job(), waited).await
        }
        Some(State::Answered(object)) => {
            let outcome = if ticket.started { Outcome::Miss } else { Outcome::Coalesced };
            Ok(Found { object, outcome, waited, reason: None, ticket: Some(ticket) })
        }
        Some(State::Confirmed(object)) => {
            let outcome = if ticket.started { Outcome::HitRevalidated } else { Outcome::Coalesced };
            Ok(Found { object, outcome, waited, reason: None, ticket: Some(ticket) })
        }
        Some(State::Unshared(object)) if ticket.started => Ok(unshared(object, ticket, waited)),
        Some(State::Unshared(_)) => alone(coalescer, wanted, key, job(), waited).await,
        Some(State::Recalled(object)) => Ok(recalled(wanted, object, ticket)),
        Some(State::Failed(failure, bridge)) => {
            stale_or(wanted, held.or(bridge), Missed::Failed(failure), failure.reason)
        }
        Some(State::Asked) => Err(Missed::Failed(Failure { status: 502, reason: "internal" })),
        None => stale_or(wanted, held, Missed::WaitedTooLong, "coalesce_wait"),
    }
}

/// The answer turned out to be for its asker alone: this request asks for its own.
async fn alone(
    coalescer: &Arc<Coalescer>,
    wanted: &Wanted<'_>,
    key: &Key,
    job: Job,
    waited: Option<Duration>,
) -> Result<Found, Missed> {
    let held = job.stale.clone();
    let ticket = coalescer.fetch_alone(key.clone(), job);
    match ticket.answer(None).await {
        Some(State::Answered(object) | State::Confirmed(object)) => {
            Ok(Found { object, outcome: Outcome::Miss, waited, reason: None, ticket: Some(ticket) })
        }
        Some(State::Unshared(object)) => Ok(unshared(object, ticket, waited)),
        Some(State::Recalled(object)) => Ok(recalled(wanted, object, ticket)),
        Some(State::Failed(failure, bridge)) => {
            stale_or(wanted, held.or(bridge), Missed::Failed(failure), failure.reason)
        }
        Some(State::Asked) | None => Err(Missed::Failed(Failure { status: 502, reason: "internal" })),
    }
}

/// From disk: as good a hit as one from memory.
fn recalled(wanted: &Wanted<'_>, object: Arc<Object>, ticket: Ticket) -> Found {
    let fresh = object.lifetime.is_fresh(wanted.now);
    let outcome = if fresh { Outcome::Hit } else { Outcome::HitStale };
    Found { object, outcome, waited: None, reason: None, ticket: Some(ticket) }
}

fn unshared(object: Arc<Object>, ticket: Ticket, waited: Option<Duration>) -> Found {
    Found { object, outcome: Outcome::Bypass, waited, reason: None, ticket: Some(ticket) }
}

/// What is held, if it may bridge an error; else the error.
fn stale_or(
    wanted: &Wanted<'_>,
    held: Option<Arc<Object>>,
    missed: Missed,
    reason: &'static str,
) -> Result<Found, Missed> {
    match held.filter(|held| held.lifetime.bridges_error(wanted.now)) {
        Some(object) => {
            Ok(Found { object, outcome: Outcome::HitStale, waited: None, reason: Some(reason), ticket: None })
        }
        None => Err(missed),
    }
}
