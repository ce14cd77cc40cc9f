//! Answers a request: with the object that was found, by a preflight's rules, or with a refusal.

use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use http::header::RANGE;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;

use super::lookup::{self, Found, Missed};
use super::reload::is_of_directives;
use super::{Edge, RequestCtx, path_of};
use crate::asset::Kind;
use crate::cache::{Policy, RequestDirectives, tier};
use crate::coalesce::{Failure, Ticket};
use crate::config::model::Rule;
use crate::deliver::encode::Selected;
use crate::deliver::fields::{self, Forward};
use crate::deliver::multipart::Boundary;
use crate::deliver::plan::{Plan, Terms, plan};
use crate::deliver::refuse::{self, Refused};
use crate::deliver::send;
use crate::deliver::{carry, cmsd};
use crate::key::hash_of;
use crate::key::variant::primary_text;
use crate::outcome::Outcome;
use crate::site::Site;
use crate::store::Object;
use crate::store::object::HitHeader;

impl Edge {
    /// Sends what was found.
    pub(super) async fn deliver(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        site: &Site,
        mut found: Found,
    ) -> Result<()> {
        let request = session.req_header();
        let (method, headers) = (&request.method, &request.headers);
        // What a viewer gets of its own, it gets from the node that has let it in.
        let is_viewers = ctx.hop.is_none();
        let carriage = if is_viewers { self.carriage(session, ctx, site, &found.object) } else { None };
        let rewritten = match &carriage {
            Some(carriage) => self.rewritten(session, ctx, site, &mut found.object, carriage).await,
            None => Ok(None),
        };
        let selected = match rewritten {
            Ok(Some(rewritten)) => Selected::rewritten(rewritten),
            Ok(None) if !is_viewers => Selected::default(),
            Ok(None) => self.encoder.select(method, headers, &found.object, &site.encodings).await,
            Err(_) => return self.refuse(session, ctx, BROKEN).await.map(drop),
        };
        let growing_part = found.object.length().is_none() && headers.contains_key(RANGE);
        let named = if growing_part { site.bytes_named(path_of(request, ctx)) } else { 0 };
        let terms = Terms { ranges_max: self.limits.ranges, named, boundary: Boundary::random };
        let chosen = loop {
            match plan(method, headers, &found.object, &selected, &terms) {
                Ok(chosen) => break chosen,
                Err(untold) => {
                    if Box::pin(untold.wait(&found.object)).await.is_err() {
                        return self.refuse(session, ctx, BROKEN).await.map(drop);
                    }
                }
            }
        };
        if found.object.body.as_sliced().is_some() && RequestDirectives::of(headers, false).only_if_cached {
            match lookup::held_whole(&found.object, &chosen, method) {
                Some(object) => found.object = object,
                None => {
                    let missed = Missed::Failed(Failure::ONLY_IF_CACHED);
                    return self.refuse(session, ctx, refused_by(missed)).await.map(drop);
                }
            }
        }
        if found.outcome == Outcome::Hit {
            found.outcome = lookup::outcome_of_fresh(&found.object, &chosen, method);
            ctx.outcome = found.outcome;
            if found.outcome != Outcome::Hit {
                found.forward = Some(Forward::Partial);
            }
        }
        let now = self.clock.now();
        let age = i64::try_from(found.object.lifetime.age_seconds(now)).unwrap_or(i64::MAX);
        ctx.age_and_ttl = Some((age, found.object.lifetime.ttl_seconds(now)));
        let path = path_of(request, ctx);
        let rule = || {
            let policy = Policy::new(&site.rules, &ctx.held, path, found.object.kind);
            policy.for_answer(found.object.status().as_u16(), found.object.kind)
        };
        let mut header = self.header(ctx, (&found, now), &selected, &chosen, rule);
        if let Some(cors) = ctx.cors(site) {
            fields::share(&mut header, cors.headers(&request.headers));
        }
        if let (Some(rewritten), Some(carriage)) = (&selected.rewritten, &carriage) {
            carry::tell_viewer(&mut header, rewritten, carriage.left());
        }
        if let Some(carriage) = &carriage {
            carriage.set_cookie(&mut header, session, ctx);
        }
        if is_viewers && site.tells_cmsd && rule().is_some_and(|rule| rule.cmsd) {
            self.tell_cmsd(&mut header, session, ctx, &found);
        }
        fields::append_all(&mut header, &ctx.fields);
        if !is_viewers {
            tier::tell(&mut header, &found.object, now, ctx.behind);
        }
        ctx.first_byte = Some(std::time::Instant::now());
        let downstream: &mut ServerSession = session.as_mut();
        // The ticket in `found` is held until the last byte.
        let egress = self.steerer.egress.as_deref();
        send::object(downstream, &found.object, &selected, &chosen, header, egress).await
    }

    /// The header of the answer; for a plain hit, made once a second and copied.
    pub(super) fn header<'a>(
        &self,
        ctx: &RequestCtx,
        (found, now): (&Found, SystemTime),
        selected: &Selected,
        chosen: &Plan,
        rule: impl FnOnce() -> Option<&'a Rule>,
    ) -> ResponseHeader {
        let age_seconds = found.object.lifetime.age_seconds(now);
        let ttl_seconds = found.object.lifetime.ttl_seconds(now);
        let told = found.told(
            &self.identity.names,
            now,
            ctx.site.as_ref().is_some_and(|site| site.cache_status_key),
        );
        if found.outcome != Outcome::Hit || *chosen != Plan::Whole {
            self.mark_asked(&found.object, now);
            let mut header = fields::header(&found.object, selected, chosen, &told);
            for (name, value) in found.ticket.iter().filter_map(Ticket::own).flatten() {
                fields::append(&mut header, name.clone(), value.clone());
            }
            self.change(&mut header, (&found.object, chosen), ctx, rule());
            selected.rewritten.iter().for_each(|_| carry::tell_rewritten(&mut header));
            let milliseconds = ctx.begun.elapsed().as_secs_f64() * 1000.0;
            fields::set(
                &mut header,
                fields::SERVER_TIMING,
                fields::server_timing(found.outcome, Some(milliseconds)),
            );
            return header;
        }
        let place = match selected.coding() {
            None if selected.rewritten.is_some() => found.object.carried.hit_header(),
            None => &found.object.hit_header,
            Some(coding) => found.object.encoded.hit_header(coding),
        };
        // What it says to players is not in it for another node.
        let apart = ctx.hop.is_some() && ctx.site.as_ref().is_some_and(|site| site.tells_cmsd);
        if let Some(ready) = place.load().as_deref().filter(|_| !apart)
            && (ready.age_seconds, ready.ttl_seconds) == (age_seconds, ttl_seconds)
        {
            return ready.header.clone();
        }
        let mut header = fields::header(&found.object, selected, chosen, &told);
        self.change(&mut header, (&found.object, chosen), ctx, rule());
        selected.rewritten.iter().for_each(|_| carry::tell_rewritten(&mut header));
        fields::set(&mut header, fields::SERVER_TIMING, fields::server_timing(found.outcome, None));
        self.mark_asked(&found.object, now);
        self.store.keep_on_disk(&found.object);
        if let Some(text) = primary_text(&found.object.key.text)
            && let Some(marker) = self.store.get(hash_of(text), text)
        {
            self.store.keep_on_disk(&marker);
        }
        if !apart {
            let ready = HitHeader { age_seconds, ttl_seconds, header: header.clone() };
            place.store(Some(Arc::new(ready)));
        }
        header
    }

    /// Notes that a playlist has viewers. Of plain hits, the first of each second does: often enough for what goes by it.
    fn mark_asked(&self, object: &Object, now: SystemTime) {
        if object.kind == Kind::MediaPlaylist
            && let Some(playlist) = self.sites.playlists().get(&object.key.text)
        {
            playlist.mark_asked(now);
        }
    }

    /// Makes what its rule changes in the header of every answer from an object.
    fn change(
        &self,
        header: &mut ResponseHeader,
        (object, chosen): (&Object, &Plan),
        ctx: &RequestCtx,
        rule: Option<&Rule>,
    ) {
        let Some(rule) = rule else { return };
        fields::change(header, &rule.headers);
        // Another node would keep it as the origin's word of the whole, and tell it of each range.
        let tells = rule.cmsd && ctx.hop.is_none() && header.status.as_u16() < 400;
        if let Some(site) = ctx.site.as_ref().filter(|_| tells) {
            cmsd::describe(header, &self.about(site, object, chosen));
        }
    }

    pub(super) async fn answer_preflight(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<bool> {
        ctx.outcome = Outcome::Bypass;
        ctx.first_byte = Some(std::time::Instant::now());
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = StatusCode::NO_CONTENT;
        let mut header = ResponseHeader::from(parts);
        if let Some(cors) = ctx.site.as_ref().and_then(|site| site.cors.as_ref()) {
            for (name, value) in cors.preflight(&session.req_header().headers) {
                fields::append(&mut header, name, value);
            }
        }
        send::head(session.as_mut(), header).await?;
        Ok(true)
    }

    /// Answers with a refusal or a failure.
    pub(super) async fn refuse(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        refused: Refused,
    ) -> Result<bool> {
        ctx.outcome = refused.outcome;
        if refused.outcome == Outcome::Error {
            ctx.error = Some(refused.reason);
        }
        ctx.first_byte = Some(std::time::Instant::now());
        let cors = ctx.site.as_ref().and_then(|site| ctx.cors(site));
        let extra = cors.into_iter().flat_map(|cors| cors.headers(&session.req_header().headers));
        let (header, body) = refuse::response(&refused, &self.identity.names, extra);
        if refused.status == 400 && !is_of_directives(refused.reason) {
            // What follows on this connection cannot be trusted to be a request.
            session.set_keepalive(None);
        }
        send::text(session.as_mut(), header, body).await?;
        Ok(true)
    }
}

/// A body broke off that a range was waited for.
pub(super) const BROKEN: Refused = Refused {
    status: 502,
    reason: "body_broken",
    allow: None,
    fields: Vec::new(),
    outcome: Outcome::Error,
    forward: None,
    detail: None,
};

pub(super) fn refused_by(missed: Missed) -> Refused {
    let (status, reason) = match missed {
        Missed::Failed(failure) | Missed::FailedBefore(failure) => (failure.status, failure.reason),
        Missed::WaitedTooLong => (504, "coalesce_wait"),
        Missed::Unkeyable => (502, "internal"),
        Missed::TooManyWaiters => (503, "too_many_waiters"),
    };
    let held_only = missed == Missed::Failed(Failure::ONLY_IF_CACHED);
    let unasked = held_only || matches!(missed, Missed::TooManyWaiters | Missed::FailedBefore(_));
    Refused {
        status,
        reason,
        allow: None,
        fields: Vec::new(),
        outcome: Outcome::Error,
        forward: (!unasked).then_some(Forward::Miss),
        detail: held_only.then_some(reason),
    }
}
