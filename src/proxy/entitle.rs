//! Entitlement: whether a token that is good still holds: not revoked, not used before where it is good once, and not
//! one stream too many of its subject.
//!
//! Asked after signature and scope were found good, and for every request: a token that was good a moment ago may have
//! been revoked since. What this node can decide alone is decided at once ([`Entitlements::decide`]); what the fleet
//! decides is a question that the request waits for ([`Entitlements::ask`]), at most `fleet.timeout`. Where nobody
//! answers, the policy's `fleet_away` says what becomes of the request: `open` goes by what this node knows, `closed`
//! refuses. Sessions that were confirmed within the window go on in both.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;
use http::header::USER_AGENT;
use pingora::proxy::Session;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use tokio::time::Instant;

use super::admit::denied_by_token;
use super::{Edge, RequestCtx};
use crate::admission::replay::{Digest, Replays, Use};
use crate::admission::revocation::{Bearer, Kind};
use crate::admission::streams::{Decision, Name, STREAMS_MAX, Seen, Stream, Streams};
use crate::clock::Clock;
use crate::config::model::{FleetAway, Limits};
use crate::deliver::refuse::Refused;
use crate::fleet::Fleet;
use crate::reason::Reason;
use crate::revoke::Revoker;
use crate::revoke::ledger::Ledger;
use crate::site::Site;

/// Seconds that an identifier is remembered at most, for tokens that do not end: ten years.
const REPLAY_SECONDS_MAX: u64 = 3650 * 86_400;

/// What a token that is good says of itself, and what its policy asks of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entitled<'r> {
    /// Policy, session, subject and key.
    pub bearer: Bearer<'r>,
    /// Whether it is good for one use.
    pub once: bool,
    /// What tells it from every other token.
    pub id: Option<&'r str>,
    /// Seconds since the Unix epoch from which it is admitted no more.
    pub ends: u64,
    /// How many streams its subject may have at once; None: it is not limited.
    pub streams: Option<u32>,
    /// How long a session counts after it was last seen.
    pub window: Duration,
    /// What becomes of it while the fleet's Redis server is away.
    pub away: FleetAway,
}

/// What is decided at once.
#[derive(Debug)]
pub(super) enum Decided {
    /// It holds.
    Holds,
    /// It does not.
    Refused(Reason),
    /// The fleet has to be asked.
    Ask(Question),
}

/// What the fleet is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    /// The identifier, and when its token ends.
    once: Option<(Digest, u64)>,
    stream: Option<(Stream, Seen)>,
    away: FleetAway,
}

impl Edge {
    /// Whether the token of an admitted request still holds.
    pub(super) fn entitle(&self, session: &Session, ctx: &RequestCtx, site: &Site) -> Decided {
        let (Some(token), Some(policy)) = (&ctx.token, &site.token) else {
            return Decided::Holds;
        };
        let (terms, asked) = (token.terms(), &policy.entitlement);
        let entitled = Entitled {
            bearer: Bearer {
                policy: &policy.name,
                session: terms.session.as_deref(),
                subject: terms.subject.as_deref(),
                key: Some(&token.verdict.key_id),
            },
            once: terms.once || (asked.once && !token.by_session),
            id: terms.id.as_deref(),
            ends: policy.end(token).unwrap_or(u64::MAX),
            streams: terms.streams.or(asked.streams),
            window: asked.stream_window,
            away: asked.fleet_away,
        };
        self.entitlements.decide(&entitled, || {
            match policy.session_of(token, &self.presented(session, ctx)) {
                Some(session) => Name::of(&[session.as_bytes()]),
                None => viewer(ctx.client, session.req_header().headers.get(USER_AGENT)),
            }
        })
    }

    /// The refusal of a request whose token does not hold: as the token asks for, else as its policy does.
    pub(super) fn not_entitled(&self, session: &Session, ctx: &mut RequestCtx, reason: Reason) -> Refused {
        let request = self.presented(session, ctx);
        let answer = ctx.token.as_ref().and_then(|token| token.terms().answer(reason, &request));
        denied_by_token(ctx, reason, answer.as_deref())
    }
}

/// Stands for the session of a token that names none, of a policy that makes no sessions.
fn viewer(client: IpAddr, agent: Option<&HeaderValue>) -> Name {
    let agent = agent.map_or(&b""[..], HeaderValue::as_bytes);
    Name::of(&[client.to_canonical().to_string().as_bytes(), agent])
}

/// What good tokens may still be refused by.
pub struct Entitlements {
    ledger: Arc<Ledger>,
    replays: Replays,
    streams: Streams,
    fleet: Option<Arc<Fleet>>,
    clock: Clock,
    metrics: EntitleMetrics,
}

struct EntitleMetrics {
    /// By the discriminants of [`Kind`].
    revoked: [IntCounter; Kind::ALL.len()],
    replays: IntGauge,
    replays_full: IntCounter,
    subjects: IntGauge,
    uncounted: IntCounter,
    /// Admitted, and refused.
    away: (IntCounter, IntCounter),
}

impl Entitlements {
    /// Empty tables within these limits, beside this ledger.
    ///
    /// # Errors
    /// When a metric is registered twice.
    pub fn new(
        limits: &Limits,
        ledger: Arc<Ledger>,
        fleet: Option<Arc<Fleet>>,
        clock: Clock,
        registry: &Registry,
    ) -> Result<Entitlements, prometheus::Error> {
        Ok(Entitlements {
            ledger,
            replays: Replays::new(limits.replays),
            streams: Streams::new(limits.stream_subjects),
            fleet,
            clock,
            metrics: EntitleMetrics::register(registry)?,
        })
    }

    /// What operators revoke with. `policies` are the names of the token policies.
    pub fn revoker(&self, policies: Vec<String>) -> Revoker {
        Revoker::new(Arc::clone(&self.ledger), self.fleet.clone(), policies, self.clock.clone())
    }

    /// Decides what can be decided at once. Uses an identifier and notes a stream where this node is alone. `session` names
    /// the session, where one is asked for.
    #[inline]
    pub(super) fn decide(&self, token: &Entitled<'_>, session: impl FnOnce() -> Name) -> Decided {
        let table = self.ledger.table();
        if !table.is_empty()
            && let Some(kind) = table.revoked(&token.bearer, self.clock.unix_seconds())
        {
            self.metrics.revoked[kind as usize].inc();
            return Decided::Refused(Reason::Revoked);
        }
        let subject = token.streams.and(token.bearer.subject);
        if !token.once && subject.is_none() {
            return Decided::Holds;
        }
        self.decide_more(token, subject.map(|subject| (subject, session())))
    }

    fn decide_more(&self, token: &Entitled<'_>, who: Option<(&str, Name)>) -> Decided {
        let now = self.clock.unix_seconds();
        let once = match (token.once, token.id) {
            (true, None) => return Decided::Refused(Reason::Malformed),
            (true, Some(id)) => {
                let ends = token.ends.min(now.saturating_add(REPLAY_SECONDS_MAX));
                Some((Digest::of(token.bearer.policy, id.as_bytes()), ends))
            }
            (false, _) => None,
        };
        let stream = who.map(|(subject, session)| self.stream(token, subject, session));
        let Some(_) = &self.fleet else {
            let used = once.map_or(Ok(()), |(digest, ends)| self.use_here(digest, ends, now));
            let decided = used.and_then(|()| match stream {
                Some((stream, seen)) if seen != Seen::Lately => self.admit_here(&stream),
                _ => Ok(()),
            });
            return decided.map_or_else(Decided::Refused, |()| Decided::Holds);
        };
        if once.is_some_and(|(digest, _)| self.replays.knows(digest, now)) {
            return Decided::Refused(Reason::Replayed);
        }
        let stream = stream.filter(|(_, seen)| *seen != Seen::Lately);
        if once.is_none() && stream.is_none() {
            return Decided::Holds;
        }
        Decided::Ask(Question { once, stream, away: token.away })
    }

    /// Asks the fleet, and decides.
    ///
    /// # Errors
    /// Why the token does not hold.
    pub(super) async fn ask(&self, question: Question) -> Result<(), Reason> {
        let Some(fleet) = &self.fleet else {
            return Err(Reason::Unavailable);
        };
        // Both questions of a request together wait no longer than one may.
        let by = fleet.deadline();
        if let Some((digest, ends)) = question.once {
            self.ask_once((fleet, by), digest, ends, question.away).await?;
        }
        match question.stream {
            Some((stream, seen)) => self.ask_stream((fleet, by), &stream, seen, question.away).await,
            None => Ok(()),
        }
    }

    async fn ask_once(
        &self,
        (fleet, by): (&Fleet, Instant),
        digest: Digest,
        ends: u64,
        away: FleetAway,
    ) -> Result<(), Reason> {
        let now = self.clock.unix_seconds();
        let life = Duration::from_secs(ends.saturating_sub(now));
        match fleet.use_once(digest, life, by).await {
            Ok(true) => {
                // For when the fleet is away; the fleet has noted it, so a full table here is no reason to refuse.
                self.replays.note(digest, ends, now);
                Ok(())
            }
            Ok(false) => Err(Reason::Replayed),
            Err(_) => self.without_fleet(away).and_then(|()| self.use_here(digest, ends, now)),
        }
    }

    async fn ask_stream(
        &self,
        (fleet, by): (&Fleet, Instant),
        stream: &Stream,
        seen: Seen,
        away: FleetAway,
    ) -> Result<(), Reason> {
        if matches!(seen, Seen::Never { others } if others >= stream.limit) {
            return Err(Reason::TooManyStreams);
        }
        match fleet.admit_stream(stream, by).await {
            Ok(true) => {
                self.streams.note(stream, self.millis());
                Ok(())
            }
            Ok(false) => {
                self.streams.forget(stream);
                Err(Reason::TooManyStreams)
            }
            Err(_) if seen == Seen::Before && away == FleetAway::Closed => Ok(()),
            Err(_) => self.without_fleet(away).and_then(|()| self.admit_here(stream)),
        }
    }

    /// Whether a decision may be made without the fleet.
    fn without_fleet(&self, away: FleetAway) -> Result<(), Reason> {
        let (admitted, refused) = &self.metrics.away;
        match away {
            FleetAway::Open => {
                admitted.inc();
                Ok(())
            }
            FleetAway::Closed => {
                refused.inc();
                Err(Reason::Unavailable)
            }
        }
    }

    fn use_here(&self, digest: Digest, ends: u64, now: u64) -> Result<(), Reason> {
        match self.replays.note(digest, ends, now) {
            Use::First => Ok(()),
            Use::Again => Err(Reason::Replayed),
            Use::Full => {
                self.metrics.replays_full.inc();
                Err(Reason::Unavailable)
            }
        }
    }

    fn admit_here(&self, stream: &Stream) -> Result<(), Reason> {
        match self.streams.admit(stream, self.millis()) {
            Decision::Admitted => Ok(()),
            Decision::TooMany => Err(Reason::TooManyStreams),
            Decision::Uncounted => {
                self.metrics.uncounted.inc();
                Ok(())
            }
        }
    }

    /// The stream of a token, and what this node knows of it.
    fn stream(&self, token: &Entitled<'_>, subject: &str, session: Name) -> (Stream, Seen) {
        let stream = Stream {
            subject: Name::of(&[token.bearer.policy.as_bytes(), subject.as_bytes()]),
            session,
            limit: token.streams.unwrap_or(STREAMS_MAX).min(STREAMS_MAX),
            window: token.window,
        };
        (stream, self.streams.look(&stream, self.millis()))
    }

    /// Forgets what has ended. Looks at everything.
    pub fn sweep(&self) {
        self.ledger.sweep();
        self.replays.sweep(self.clock.unix_seconds());
        self.streams.sweep(self.millis());
    }

    /// Sets the gauges.
    pub fn update_gauges(&self) {
        self.ledger.update_gauges();
        self.metrics.replays.set(i64::try_from(self.replays.len()).unwrap_or(i64::MAX));
        self.metrics.subjects.set(i64::try_from(self.streams.len()).unwrap_or(i64::MAX));
    }

    fn millis(&self) -> u64 {
        let since = self.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl EntitleMetrics {
    fn register(registry: &Registry) -> Result<EntitleMetrics, prometheus::Error> {
        let revoked = IntCounterVec::new(
            Opts::new("forebay_token_revoked_total", "Requests refused by a revocation, by what it names."),
            &["what"],
        )?;
        let replays = IntGauge::new(
            "forebay_token_replays",
            "Used identifiers of tokens that are good once, remembered.",
        )?;
        let replays_full = IntCounter::new(
            "forebay_token_replays_full_total",
            "Requests refused because their token's use could not be remembered.",
        )?;
        let subjects = IntGauge::new("forebay_token_stream_subjects", "Subjects whose streams are counted.")?;
        let uncounted = IntCounter::new(
            "forebay_token_streams_uncounted_total",
            "Requests whose stream was not limited because too many subjects are counted.",
        )?;
        let away = IntCounterVec::new(
            Opts::new(
                "forebay_token_fleet_away_total",
                "Decisions over tokens that the fleet should have made, by what became of them.",
            ),
            &["decided"],
        )?;
        registry.register(Box::new(revoked.clone()))?;
        registry.register(Box::new(replays.clone()))?;
        registry.register(Box::new(replays_full.clone()))?;
        registry.register(Box::new(subjects.clone()))?;
        registry.register(Box::new(uncounted.clone()))?;
        registry.register(Box::new(away.clone()))?;
        Ok(EntitleMetrics {
            revoked: Kind::ALL.map(|kind| revoked.with_label_values(&[kind.as_str()])),
            replays,
            replays_full,
            subjects,
            uncounted,
            away: (away.with_label_values(&["here"]), away.with_label_values(&["refused"])),
        })
    }
}

#[cfg(test)]
mod tests;
