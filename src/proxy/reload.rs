//! Blocking playlist reload (RFC 8216bis section 6.2.5.2): requests that name what a playlist has to hold before it is
//! sent.
//!
//! A request for what the latest good answer holds is answered from that. One for more is held: there is one fetch for
//! each playlist and set of directives, which the origin holds in turn, and the first answer that goes far enough wakes
//! all who wait for as much or less, whatever they have asked with: a playlist in full answers those who wait for a delta
//! update too, which is made of it here. So the origin is asked in full for both, where somebody waits for that. A hold has a
//! deadline, and its own limits ([`super::parking`]); a client that leaves ends it. The fetch goes on: somebody will ask next.

pub(super) mod bounds;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;

use super::answer::refused_by;
use super::edge_made::{Directed, SKIP, without};
use super::lookup::{self, Found, Missed, NotFresh, Place, Wanted};
use super::parking::Parked;
use super::{Edge, RequestCtx, asked};
use crate::asset::Kind;
use crate::config::model::Late;
use crate::deliver::delta;
use crate::deliver::fields::Forward;
use crate::deliver::refuse::Refused;
use crate::hls::directives::{self, DirectiveError};
use crate::hls::{Directives, Reload, Skip};
use crate::key::query_of;
use crate::observe::Denial;
use crate::outcome::Outcome;
use crate::playlists::{self, Playlist};
use crate::site::{Asked, Site};
use crate::store::{Object, Store};

/// Statuses of an answer in whose place the last good playlist is sent, as long as that may stand in for an error.
const BRIDGED: [u16; 4] = [500, 502, 503, 504];

/// A reload that asks for more than the playlist can have.
const BEYOND: &str = "hls_beyond";

/// A reload that was held until its deadline.
const LATE: &str = "hold_deadline";

/// What answers a request, or why nothing does.
pub(super) type Answer = Result<Found, Refused>;

/// What becomes of a request before anything is waited for.
enum Begun {
    /// It is answered, or refused.
    Ended(Answer),
    /// It waits.
    Waits(Waiting),
}

/// A request that waits for a playlist to grow.
struct Waiting {
    /// What for.
    reload: Reload,
    /// In which form.
    skip: Skip,
    /// Whether the form is known, so that others' answers may do.
    shares: bool,
    /// The playlist, if it is known.
    playlist: Option<Arc<Playlist>>,
    /// What it is looked up by, and its origin asked with, where that is not the request's own query.
    query: Option<String>,
    /// Where its own answer is looked for.
    place: Place,
    /// How long.
    hold: Duration,
    /// What it gets then.
    late: Late,
}

/// Whether a refusal says that directives are wrong: what follows on the connection is a request all the same.
pub(super) fn is_of_directives(reason: &str) -> bool {
    reason.starts_with("hls_")
}

/// Whether a request is one for a playlist with directives.
pub(super) fn is_directed(kind: Kind, header: &RequestHeader) -> bool {
    kind.is_playlist() && header.uri.query().is_some_and(|query| query.contains(directives::PREFIX))
}

impl Edge {
    /// Finds what answers a request for a playlist with directives, and waits for it. `directed`: they may be the node's to
    /// answer.
    ///
    /// # Errors
    /// The client has left.
    pub(super) async fn find_directed(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        site: &Arc<Site>,
        directed: Option<&Directed>,
    ) -> pingora::Result<Answer> {
        let began = Instant::now();
        let answer = match directed {
            None => self.reload(session, ctx, site, None).await,
            Some(directed) => self.answer_directed(session, ctx, site, directed).await,
        };
        match &answer {
            Ok(Err(refused)) if refused.outcome == Outcome::Denied => {
                ctx.denial = Some(Denial::Other(refused.reason));
            }
            Ok(_) => {}
            Err(_gone) => {
                ctx.outcome = Outcome::Coalesced;
                ctx.coalesce_wait = Some(began.elapsed());
            }
        }
        answer
    }

    /// Has the origin answer, which holds reloads. `query` stands in for the request's own.
    ///
    /// # Errors
    /// The client has left.
    pub(super) async fn reload(
        &self,
        session: &mut Session,
        ctx: &RequestCtx,
        site: &Arc<Site>,
        query: Option<&str>,
    ) -> pingora::Result<Answer> {
        let header = session.req_header();
        let asked = Asked { query: query.or(header.uri.query()), ..asked(header, ctx) };
        match self.begin((header, ctx), site, asked).await {
            Begun::Ended(answer) => Ok(answer),
            Begun::Waits(waiting) => self.hold(session, ctx, (site, query), waiting).await,
        }
    }

    /// What can be said at once.
    async fn begin(
        &self,
        (header, ctx): (&RequestHeader, &RequestCtx),
        site: &Arc<Site>,
        asked: Asked<'_>,
    ) -> Begun {
        let playlist = site.with_key(&asked, |_, text| self.sites.playlists().get(text)).ok().flatten();
        let latest = playlist.as_ref().and_then(|playlist| playlist.latest());
        if latest.as_ref().is_some_and(|latest| latest.facts.ended) {
            return Begun::Ended(self.ended((header, ctx), site, asked, playlist.as_deref()).await);
        }
        let directives = match Directives::of(asked.query) {
            Ok(directives) => directives,
            Err(error) => return Begun::Ended(Err(misunderstood(error))),
        };
        let wanted = self.wanted((header, ctx), site, asked);
        let Some(reload) = directives.reload else {
            return Begun::Ended(self.find(&wanted).await.map_err(refused_by));
        };
        let known = playlist.as_deref().filter(|_| !directives.other);
        let wants_update = !directives.other && directives.skip != Skip::None;
        let in_form = |found| if wants_update { self.updated(found, Some(reload)) } else { found };
        let wanted = Wanted { holds: true, ..wanted };
        if let Some(known) = known {
            if directives.skip == Skip::None {
                known.mark_asked_in_full(wanted.now);
            }
            if let Some(found) = self.held(&wanted, known, Some(reload), directives.skip) {
                return Begun::Ended(Ok(in_form(found)));
            }
        }
        let query = known.and_then(|known| query_in_full(known, &wanted, directives.skip));
        let asked = Asked { query: query.as_deref().or(asked.query), ..asked };
        let wanted = Wanted { asked, ..wanted };
        let beyond = latest.as_ref().is_some_and(|latest| {
            let known_for = wanted.now.duration_since(latest.fetched).unwrap_or_default();
            bounds::is_beyond(&latest.facts, known_for, reload)
        });
        if beyond {
            return Begun::Ended(Err(self::beyond()));
        }
        let place = match lookup::fresh(self.store, &wanted) {
            Ok(found) => return Begun::Ended(Ok(in_form(found))),
            Err(NotFresh::Unkeyable) => return Begun::Ended(Err(refused_by(Missed::Unkeyable))),
            Err(NotFresh::Place(place)) => place,
        };
        if wanted.directives.only_if_cached {
            // It does not wait for the origin.
            return Begun::Ended(self.find(&wanted).await.map_err(refused_by));
        }
        let rule = site.policy(&asked).for_request();
        let late = rule.map(|(_, rule)| rule.low_latency.late).unwrap_or_default();
        Begun::Waits(Waiting {
            reload,
            skip: directives.skip,
            shares: !directives.other,
            playlist,
            query,
            place,
            hold: ctx.hold(playlists::hold(latest.as_deref())),
            late,
        })
    }

    /// Answers a request for a playlist that has ended: directives mean nothing there.
    async fn ended(
        &self,
        header: (&RequestHeader, &RequestCtx),
        site: &Arc<Site>,
        asked: Asked<'_>,
        playlist: Option<&Playlist>,
    ) -> Answer {
        let query = directives::without_directives(asked.query);
        let wanted = self.wanted(header, site, Asked { query: query.as_deref(), ..asked });
        if let Some(found) = playlist.and_then(|playlist| self.held(&wanted, playlist, None, Skip::None)) {
            return Ok(found);
        }
        self.find(&wanted).await.map_err(refused_by)
    }

    /// The latest good answer, if it goes as far as is asked and may be used: fresh, or stale while it is fetched anew.
    fn held(
        &self,
        wanted: &Wanted<'_>,
        playlist: &Playlist,
        reload: Option<Reload>,
        skip: Skip,
    ) -> Option<Found> {
        let object = self.furthest(playlist, reload, skip)?;
        if let Some(outcome) = wanted.outcome_of_held(&object) {
            return Some(Found { outcome, ..Found::hit(object) });
        }
        let bridges = wanted.directives.is_empty() && object.lifetime.bridges_revalidation(self.clock.now());
        if !bridges || wanted.directives.only_if_cached {
            return None;
        }
        // By its own key, whatever is asked for of it: one fetch for all.
        let asked = Asked { query: query_of(object.key.target()), ..wanted.asked };
        lookup::refresh(&self.coalescer, &Wanted { asked, ..*wanted });
        Some(Found { outcome: Outcome::HitStale, ..Found::hit(object) })
    }

    /// Waits.
    async fn hold(
        &self,
        session: &mut Session,
        ctx: &RequestCtx,
        (site, query): (&Arc<Site>, Option<&str>),
        waiting: Waiting,
    ) -> pingora::Result<Answer> {
        let metrics = &self.observer.metrics;
        let _parked = match self.park(ctx, site.place) {
            Ok(parked) => parked,
            Err(refused) => return Ok(Err(refused)),
        };
        let began = Instant::now();
        let Waiting { reload, skip, shares, mut playlist, query: in_full, place, hold, late } = waiting;
        if let Some(playlist) = &playlist {
            playlist.mark_asked(self.clock.now());
        }
        let key = place.key.text.clone();
        // Of its own, so that the session can be watched meanwhile.
        let header = session.req_header().clone();
        let ended = {
            let query = in_full.as_deref().or(query).or(header.uri.query());
            let asked = Asked { query, ..asked(&header, ctx) };
            let wanted = self.wanted((&header, ctx), site, asked);
            // The deadline is the one below, whoever has started the fetch.
            let wanted = Wanted { holds: true, wait: hold * 2, ..wanted };
            // One of which nothing is known may become known by another answer.
            let grown = async {
                if !shares {
                    return std::future::pending().await;
                }
                let known = match &playlist {
                    Some(known) => Arc::clone(known),
                    None => self.sites.playlists().known(&key).await,
                };
                self.grown(&wanted, &known, reload, skip).await
            };
            tokio::select! {
                biased;
                found = lookup::otherwise(&self.coalescer, self.store, &wanted, place) => Ok(found),
                found = grown => {
                    Ok(Ok(Found { outcome: Outcome::Coalesced, waited: Some(began.elapsed()), ..found }))
                }
                gone = client_gone(session) => Err(gone),
                () = tokio::time::sleep(hold) => Ok(Err(Missed::WaitedTooLong)),
            }
        };
        let found = ended?;
        playlist = playlist.or_else(|| self.sites.playlists().get(&key));
        let playlist = playlist.as_deref();
        let instead = |forward, reason, status| {
            let object = playlist.and_then(|playlist| self.last_good(playlist, skip))?;
            let found = Found { forward, forward_status: status, reason: Some(reason), ..late_with(object) };
            Some(found)
        };
        Ok(match found {
            Ok(found) => {
                let status = found.object.status().as_u16();
                let bridge = if BRIDGED.contains(&status) {
                    instead(found.forward, crate::coalesce::Failure::ORIGIN_5XX, Some(status))
                } else {
                    None
                };
                let wants_update = shares && skip != Skip::None;
                let in_form = |found| if wants_update { self.updated(found, Some(reload)) } else { found };
                Ok(bridge.unwrap_or_else(|| in_form(found)))
            }
            Err(Missed::WaitedTooLong) => {
                metrics.late_hold(Some(site.place));
                let last_good = || self.last_good(playlist?, skip).map(late_with);
                let bridge = if late == Late::Stale { last_good() } else { None };
                bridge.ok_or_else(self::late)
            }
            Err(missed) => {
                let refused = refused_by(missed);
                instead(refused.forward, refused.reason, None).ok_or(refused)
            }
        })
    }

    /// Counts a request that is about to be held.
    ///
    /// # Errors
    /// The answer to one of too many.
    pub(super) fn park(&self, ctx: &RequestCtx, place: usize) -> Result<Parked<'_>, Refused> {
        let metrics = &self.observer.metrics;
        self.parking.park(ctx.counted_client(), metrics.parked(Some(place))).map_err(|full| {
            metrics.parking_refused(Some(place), full.as_str());
            refused(503, full.as_str(), Outcome::Error)
        })
    }

    /// Resolves once an answer has come that goes as far as is asked, whoever has asked for it, or the last of all.
    async fn grown(&self, wanted: &Wanted<'_>, playlist: &Playlist, reload: Reload, skip: Skip) -> Found {
        let mut reached = playlist.reached();
        let began = reached.get();
        loop {
            // What goes back has begun anew: it is not known when it will have got there.
            let anew = reached.get() < began;
            let found = if anew {
                // An update would be one of the new stream, of which nobody has the segments that it leaves out.
                latest_object(self.store, playlist, None, Skip::None)
            } else {
                let ended = playlist.latest().is_some_and(|latest| latest.facts.ended);
                self.furthest(playlist, Some(reload).filter(|_| !ended), skip)
            };
            if let Some(object) = found
                && let Some(outcome) = wanted.outcome_of_held(&object)
            {
                return Found { outcome, ..Found::hit(object) };
            }
            reached.changed().await;
        }
    }

    /// The last good playlist, while it may stand in for what does not come: as asked for, else in full.
    pub(super) fn last_good(&self, playlist: &Playlist, skip: Skip) -> Option<Arc<Object>> {
        let last = self.furthest(playlist, None, skip);
        last.filter(|object| object.lifetime.bridges_error(self.clock.now()))
    }

    /// What is held of the latest good answer that has this form or is in full, and goes so far: of the one that goes further, if
    /// that is still held.
    fn furthest(&self, playlist: &Playlist, reload: Option<Reload>, skip: Skip) -> Option<Arc<Object>> {
        let held = |skip| latest_object(self.store, playlist, reload, skip);
        if skip == Skip::None {
            return held(skip);
        }
        let reach = |skip| playlist.answer_to(skip).map(|latest| (latest.facts.ended, latest.facts.reach));
        if reach(skip) < reach(Skip::None) {
            held(Skip::None).or_else(|| held(skip))
        } else {
            held(skip).or_else(|| held(Skip::None))
        }
    }

    /// The delta update of what was found, where there is one and it goes as far as is asked. What the origin has sent to those who
    /// wish for an update goes as it is.
    pub(super) fn updated(&self, found: Found, reload: Option<Reload>) -> Found {
        if query_of(found.object.key.target()).is_some_and(|query| query.contains(SKIP)) {
            return found;
        }
        match delta::select(self.store, &found.object, reload) {
            Some(object) => Found { object, ..found },
            None => found,
        }
    }
}

/// The query without the wish for a delta update, where the playlist is asked for in full.
fn query_in_full(playlist: &Playlist, wanted: &Wanted<'_>, skip: Skip) -> Option<String> {
    let in_full = skip != Skip::None && playlist.is_asked_in_full(wanted.now);
    in_full.then(|| without(wanted.asked.query, SKIP)).flatten()
}

/// What is held of the latest good answer that has this form, if that goes so far.
pub(super) fn latest_object(
    store: &Store,
    playlist: &Playlist,
    reload: Option<Reload>,
    skip: Skip,
) -> Option<Arc<Object>> {
    let latest = playlist.answer_to(skip)?;
    if reload.is_some_and(|reload| !latest.facts.holds(reload)) {
        return None;
    }
    let object = store.get(latest.key.hash, &latest.key.text)?;
    object.variants.is_none().then_some(object)
}

/// Resolves when the client leaves.
pub(super) async fn client_gone(session: &mut Session) -> Box<pingora::Error> {
    let downstream: &mut ServerSession = session.as_mut();
    // Without this, what the client sends meanwhile for its next request would be lost.
    downstream.is_body_done();
    let gone = downstream.read_body_or_idle(true).await.err();
    let left = || pingora::Error::explain(pingora::ErrorType::ConnectionClosed, "the client has left");
    gone.unwrap_or_else(left).into_down()
}

/// The answer to a reload that asks for more than there can be.
pub(super) fn beyond() -> Refused {
    refused(400, BEYOND, Outcome::Denied)
}

/// What answers in place of a playlist that has not come, in time or at all: the last good one.
pub(super) fn late_with(object: Arc<Object>) -> Found {
    let (forward, reason) = (Some(Forward::Miss), Some(LATE));
    Found { outcome: Outcome::HitStale, forward, reason, ..Found::hit(object) }
}

/// The answer to a reload that was held until its deadline.
pub(super) fn late() -> Refused {
    Refused { forward: Some(Forward::Miss), ..refused(503, LATE, Outcome::Error) }
}

fn misunderstood(error: DirectiveError) -> Refused {
    refused(400, error.as_str(), Outcome::Denied)
}

fn refused(status: u16, reason: &'static str, outcome: Outcome) -> Refused {
    Refused { status, reason, allow: None, fields: Vec::new(), outcome, forward: None, detail: None }
}
