//! Delivery directives that the node answers in an origin's place (`low_latency` of a rule, RFC 8216bis section 6.2.5).
//!
//! Such a request is one for the plain playlist, whatever directives it has: it has the plain one's key, and no directive
//! goes to the origin. A reload is held until the playlist goes as far as is asked, while one poll asks the origin for
//! all who wait ([`super::poll`]); a delta update is made of what is held ([`crate::deliver::delta`]). An origin that
//! announces either in its playlists does it itself, and gets the directives.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use pingora::Error;
use pingora::proxy::Session;

use super::answer::refused_by;
use super::lookup::{self, Found, Missed, NotFresh, Wanted};
use super::poll::{Ask, Polled};
use super::reload::{self, Answer, bounds};
use super::{Edge, RequestCtx, asked};
use crate::admission::token::Claims;
use crate::asset::Kind;
use crate::cache::{self as rules, RequestDirectives};
use crate::clock::Clock;
use crate::coalesce::{Coalescer, Failure};
use crate::config::model::{By, Late, LowLatency};
use crate::deliver::refuse::Refused;
use crate::hls::announce;
use crate::hls::directives::PREFIX;
use crate::hls::{Directives, PlaylistFacts, Reach, Reload, Skip};
use crate::outcome::Outcome;
use crate::playlists::{self, MadeHere, Playlist, Playlists};
use crate::site::{Asked, Site};
use crate::store::{Object, Store};
use crate::tier::Hop;

/// The directive that asks for a delta update.
pub(super) const SKIP: &str = "_HLS_skip=";

/// A request with directives, under a rule by which the node may answer them.
pub(crate) struct Directed {
    directives: Directives,
    rule: LowLatency,
}

/// How a hold has ended.
#[derive(Debug)]
enum Held {
    /// There was none: the playlist goes as far as is asked, or has ended.
    NotAtAll,
    /// It does now, or there is nothing to wait for.
    Until,
    /// It does not, and the time is over.
    TooLong,
    /// There is none: more is asked for than there can be, or too many are held.
    Refused(Refused),
    /// The client has left.
    Gone(Box<Error>),
}

impl Directed {
    /// What the request is; None: no directive of it is the node's to answer.
    pub(crate) fn of(site: &Site, asked: &Asked<'_>) -> Option<Directed> {
        let query = asked.query.filter(|query| asked.kind.is_playlist() && query.contains(PREFIX))?;
        let rule = site.policy(asked).for_request()?.1.low_latency;
        let directives = Directives::of(Some(query)).ok()?;
        let may_be_ours = (rule.reload == By::Edge && directives.reload.is_some())
            || (rule.delta == By::Edge && directives.skip != Skip::None);
        may_be_ours.then_some(Directed { directives, rule })
    }

    /// What the node does for a playlist that says this of itself: hold reloads, make delta updates.
    pub(crate) fn made_here(&self, facts: &PlaylistFacts) -> (bool, bool) {
        announce::made_here(facts, &self.rule)
    }

    /// What the node answers itself, if it does this for the playlist (reloads, delta updates): a reload, a delta update.
    fn ours(&self, (reload, delta): (bool, bool)) -> (Option<Reload>, bool) {
        let held = self.directives.reload.filter(|_| reload);
        // The origin's updates may lag behind what is held here, so they are of no use to a reload that the node holds.
        let skip = self.rule.delta == By::Edge && self.directives.skip != Skip::None;
        (held, skip && (delta || held.is_some()))
    }

    /// The query that the request is looked up by, and its origin asked with, if the node does this for the playlist; None:
    /// an answer of the origin must tell. Then that is a plain one's.
    pub(crate) fn query<'a>(
        &self,
        query: Option<&'a str>,
        made: Option<(bool, bool)>,
    ) -> Option<Cow<'a, str>> {
        let Some(made) = made else { return without(query, PREFIX).map(Cow::Owned) };
        match self.ours(made) {
            (None, true) if self.directives.reload.is_some() => without(query, SKIP).map(Cow::Owned),
            (None, false) => query.map(Cow::Borrowed),
            _ => without(query, PREFIX).map(Cow::Owned),
        }
    }
}

/// A query without the parameters whose names begin so; None: nothing is left.
pub(super) fn without(query: Option<&str>, prefix: &str) -> Option<String> {
    let left: Vec<&str> = query?.split('&').filter(|parameter| !parameter.starts_with(prefix)).collect();
    (!left.is_empty()).then(|| left.join("&"))
}

/// Whether an object is another variant of a playlist than the one that has grown, and older than that: it is asked for by
/// those who want it, who share the fetch.
fn is_left_behind(object: &Object, playlist: &Playlist) -> bool {
    let latest = playlist.latest();
    latest.is_some_and(|latest| latest.key != object.key && object.lifetime.created < latest.grown)
}

/// Whether an object is what the origin has sent in a playlist's place: a redirect, or that there is none. It is no use to
/// wait for that to grow. An error of the origin's own may be over in a moment.
fn is_instead(object: &Object) -> bool {
    let status = object.status();
    status.is_redirection() || status.is_client_error()
}

impl Edge {
    /// Look-up for a request whose directives may be the node's to answer.
    ///
    /// # Errors
    /// The client has left.
    pub(super) async fn answer_directed(
        &self,
        session: &mut Session,
        ctx: &RequestCtx,
        site: &Arc<Site>,
        directed: &Directed,
    ) -> pingora::Result<Answer> {
        let began = Instant::now();
        // Of its own, so that the session can be watched meanwhile.
        let header = &session.req_header().clone();
        let asked = asked(header, ctx);
        let plain = directed.query(asked.query, None);
        let plain = Asked { query: plain.as_deref(), ..asked };
        let wanted = self.wanted((header, ctx), site, plain);
        let (mut found, mut held) = (None, Held::NotAtAll);
        let mut known = self.made_here(site, &plain);
        if known.is_none() {
            // Its answer tells.
            match self.find(&wanted).await {
                Ok(first) => found = Some(first),
                Err(missed) => return Ok(Err(refused_by(missed))),
            }
            known = self.made_here(site, &plain);
        }
        let Some((playlist, made)) = known else {
            return Ok(found.ok_or_else(|| refused_by(Missed::Unkeyable)));
        };
        let made = (made.reload, made.delta);
        let (reload, skip) = directed.ours(made);
        let query = directed.query(asked.query, Some(made));
        if reload.is_none() && directed.directives.reload.is_some() {
            // The origin holds it.
            let answer = self.reload(session, ctx, site, query.as_deref()).await?;
            let asked = directed.directives.reload;
            return Ok(answer.map(|found| if skip { self.updated(found, asked) } else { found }));
        }
        // Polls are for everybody: nobody's credentials go with them, and those who have some are not held.
        if let Some(reload) = reload.filter(|_| !header.headers.contains_key(AUTHORIZATION)) {
            if let Ok(instead) = lookup::fresh(self.store, &wanted)
                && is_instead(&instead.object)
            {
                return Ok(Ok(instead));
            }
            let may_wait = !wanted.directives.only_if_cached;
            let ask = || self.ask(&wanted, &playlist);
            held = self.hold_here(session, (ctx, site.place), (&playlist, reload, may_wait), ask).await;
            match held {
                Held::Gone(gone) => return Err(gone),
                Held::Refused(refused) => return Ok(Err(refused)),
                Held::TooLong if directed.rule.late == Late::Error => return Ok(Err(reload::late())),
                Held::TooLong => found = self.last_good(&playlist, Skip::None).map(reload::late_with),
                Held::Until | Held::NotAtAll => {}
            }
        }
        found = found.filter(|_| !matches!(held, Held::Until));
        let asked = Asked { query: query.as_deref(), ..asked };
        let mut found = match found.filter(|_| asked.query == plain.query) {
            Some(found) => found,
            None => match self.find(&self.wanted((header, ctx), site, asked)).await {
                Ok(found) => found,
                Err(missed) => return Ok(Err(refused_by(missed))),
            },
        };
        if matches!(held, Held::Until) && is_left_behind(&found.object, &playlist) {
            self.ask(&wanted, &playlist)().await;
            match self.find(&self.wanted((header, ctx), site, asked)).await {
                Ok(other) => found = other,
                Err(missed) => return Ok(Err(refused_by(missed))),
            }
        }
        if matches!(held, Held::Until) {
            found = Found { outcome: Outcome::Coalesced, waited: Some(began.elapsed()), ..found };
        }
        Ok(Ok(if skip { self.updated(found, directed.directives.reload) } else { found }))
    }

    /// The playlist that is asked for, and what the node does for it; None: nothing is known of it.
    fn made_here(&self, site: &Site, plain: &Asked<'_>) -> Option<(Arc<Playlist>, MadeHere)> {
        let playlists = self.sites.playlists();
        let playlist = site.with_key(plain, |_, text| playlists.get(text)).ok().flatten()?;
        let made = playlist.made_here()?;
        Some((playlist, made))
    }

    /// Holds a reload until the playlist goes as far as is asked, if it may wait for the origin.
    async fn hold_here(
        &self,
        session: &mut Session,
        (ctx, place): (&RequestCtx, usize),
        (playlist, reload, may_wait): (&Arc<Playlist>, Reload, bool),
        ask: impl FnOnce() -> Ask,
    ) -> Held {
        let mut reached = playlist.reached();
        let Some(latest) = playlist.latest() else { return Held::NotAtAll };
        let began = reached.get();
        // What goes back has begun anew: it is not known when it will have got there.
        let is_there = |reach: Reach| {
            reach < began
                || reach.holds(reload.msn, reload.part)
                || playlist.latest().is_some_and(|latest| latest.facts.ended)
        };
        if is_there(began) {
            return Held::NotAtAll;
        }
        if !may_wait {
            return Held::Refused(refused_by(Missed::Failed(Failure::ONLY_IF_CACHED)));
        }
        let known_for = self.clock.now().duration_since(latest.fetched).unwrap_or_default();
        if bounds::is_beyond(&latest.facts, known_for, reload) {
            return Held::Refused(reload::beyond());
        }
        let _parked = match self.park(ctx, place) {
            Ok(parked) => parked,
            Err(refused) => return Held::Refused(refused),
        };
        playlist.mark_asked(self.clock.now());
        let waiting = self.polls.ensure(playlist, ask);
        let grown = async {
            loop {
                tokio::select! {
                    () = reached.changed() => {}
                    () = waiting.over() => return,
                }
                if is_there(reached.get()) {
                    return;
                }
            }
        };
        tokio::select! {
            () = grown => Held::Until,
            gone = reload::client_gone(session) => Held::Gone(gone),
            () = tokio::time::sleep(ctx.hold(playlists::hold(Some(&*latest)))) => {
                self.observer.metrics.late_hold(Some(place));
                Held::TooLong
            }
        }
    }

    /// What asks the origin for a playlist as the request does that is the first to be held for it: by the rules and the
    /// key of every request, to confirm or replace what is held. It outlives the request.
    fn ask(&self, wanted: &Wanted<'_>, playlist: &Arc<Playlist>) -> Ask {
        let (site, plain) = (wanted.site, &wanted.asked);
        let asker = Arc::new(Asker {
            coalescer: Arc::clone(&self.coalescer),
            playlists: Arc::clone(self.sites.playlists()),
            playlist: Arc::clone(playlist),
            store: self.store,
            clock: self.clock.clone(),
            wait: self.limits.coalesce_wait,
            site: Arc::clone(site),
            path: plain.path.to_owned(),
            query: plain.query.map(str::to_owned),
            kind: plain.kind,
            headers: plain.headers.clone(),
            claims: plain.claims.clone(),
            held: plain.held.clone(),
            host: wanted.host.to_owned(),
            hop: wanted.hop.cloned(),
        });
        Box::new(move || {
            let asker = Arc::clone(&asker);
            Box::pin(async move { asker.ask().await })
        })
    }
}

/// A request for a plain playlist, owned.
struct Asker {
    coalescer: Arc<Coalescer>,
    playlists: Arc<Playlists>,
    playlist: Arc<Playlist>,
    store: &'static Store,
    clock: Clock,
    wait: Duration,
    site: Arc<Site>,
    path: String,
    query: Option<String>,
    kind: Kind,
    headers: HeaderMap,
    claims: Claims,
    held: rules::Held,
    host: String,
    hop: Option<Arc<Hop>>,
}

impl Asker {
    async fn ask(&self) -> Polled {
        let asked = Asked {
            path: &self.path,
            query: self.query.as_deref(),
            kind: self.kind,
            headers: &self.headers,
            claims: &self.claims,
            held: &self.held,
        };
        let wanted = Wanted {
            site: &self.site,
            asked,
            range: None,
            directives: RequestDirectives { no_cache: true, ..RequestDirectives::default() },
            ranges_max: 1,
            holds: false,
            now: self.clock.now(),
            wait: self.wait,
            host: &self.host,
            hop: self.hop.as_ref(),
        };
        let found = match lookup::fresh(self.store, &wanted) {
            Err(NotFresh::Place(place)) => {
                lookup::otherwise(&self.coalescer, self.store, &wanted, place).await
            }
            Ok(found) => Ok(found),
            Err(NotFresh::Unkeyable) => return Polled::Over,
        };
        match found {
            Ok(found) if !found.object.shared => {
                // Else each viewer to come would be held for another poll.
                self.playlist.forget();
                Polled::Over
            }
            Ok(found) if is_instead(&found.object) => Polled::Over,
            _ if !self.is_remembered() => Polled::Over,
            _ => Polled::Asked,
        }
    }

    /// Whether what comes is told to those who wait; else the playlist has been forgotten for others, and learned anew.
    fn is_remembered(&self) -> bool {
        let known = self.playlists.get(self.playlist.text());
        known.is_some_and(|known| Arc::ptr_eq(&known, &self.playlist))
    }
}
