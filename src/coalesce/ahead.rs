//! Fetches that nobody has asked for yet: how they differ from others, and who is told what could be fetched so.
//!
//! Such a fetch is an ordinary one: a viewer who comes meanwhile joins it. Until then it is withdrawn whenever it would
//! cost more than it may: where its origin fails or answers with an error, where the answer is not what every viewer
//! would get, and where there is no room for it. What it was withdrawn from is as if it had never been; a fetch that
//! somebody has joined is a viewer's, and goes on as such.

use std::sync::Arc;

use super::fill::{Failure, Fill, Job};
use super::{Coalescer, Flight, Lane};
use crate::hls::PlaylistFacts;
use crate::key::Key;
use crate::origin::{FetchReason, FetchRequest, Framing, OriginResponse, Permit};
use crate::store::AheadMark;

/// Who is told of playlists that have been kept.
pub trait Foresight: Send + Sync {
    /// A media playlist has come and is held.
    fn learned(&self, learned: &Learned<'_>);
}

/// A media playlist that has come.
#[derive(Clone, Copy, Debug)]
pub struct Learned<'a> {
    /// The key it is held under.
    pub key: &'a Key,
    /// What it says.
    pub facts: PlaylistFacts,
    /// What the one before it said; None: there has been none.
    pub before: Option<PlaylistFacts>,
    /// Its text.
    pub text: &'a [u8],
    /// The host that was asked for it.
    pub host: Option<&'a Arc<str>>,
}

/// What a fetch that nobody has asked for takes of the budget of such fetches, until it is dropped.
pub trait Unasked: Send + Sync {
    /// The turn with the origin that was taken for it; None: it has been used.
    fn turn(&self) -> Option<Permit>;

    /// Its body has so many bytes, or has grown to so many where its length is not `told`. False: there is no room.
    fn takes(&self, bytes: u64, told: bool) -> bool;

    /// Whether its object is not complete yet, as far as is known. An answer that is complete is then one of too early.
    fn grows(&self) -> bool;

    /// The origin could not be asked, or has failed.
    fn origin_failed(&self);

    /// All of what was to be fetched is held: so many bytes.
    fn held(&self, bytes: u64);

    /// The mark of its object.
    fn mark(&self) -> Arc<AheadMark>;
}

impl Failure {
    /// Nobody has joined a fetch ahead, and it is not worth going on. Nobody is told.
    const WITHDRAWN: Failure = Failure { status: 503, reason: "withdrawn" };

    /// Whether it is that.
    pub(super) fn is_withdrawn(self) -> bool {
        self == Failure::WITHDRAWN
    }
}

impl Coalescer {
    /// Has this one told of playlists from now on; the first one stays.
    pub fn tell(&self, foresight: Arc<dyn Foresight>) {
        let _ = self.foresight.set(foresight);
    }

    /// Whether fetching this key ahead could be of use: it is not being fetched, and the last answer under it could be
    /// shared.
    pub fn may_fetch_ahead(&self, key: &Key, relayed: bool) -> bool {
        let slot = Lane::plain(relayed).slot(key.hash);
        !self.is_uncacheable(slot) && !self.shard(slot).lock().contains_key(&slot)
    }

    /// Starts a fetch that nobody has asked for, with the job that `job` makes, which says as `relayed` does whether another
    /// node is asked. False: one is in flight, or what it would bring has come.
    pub fn fetch_ahead(self: &Arc<Self>, key: &Key, relayed: bool, job: impl FnOnce() -> Job) -> bool {
        let slot = Lane::plain(relayed).slot(key.hash);
        let mut flights = self.shard(slot).lock();
        // A fetch leaves the table after its object has come into the store: look there again.
        let held = self.store.get(key.hash, &key.text);
        let now = self.clock.now();
        if flights.contains_key(&slot) || held.is_some_and(|held| held.lifetime.is_fresh(now)) {
            return false;
        }
        let flight = Flight::new(key.clone(), slot, true);
        flights.insert(slot, Arc::clone(&flight));
        drop(flights);
        // No ticket is taken: those that there are, are viewers'.
        tokio::spawn(super::fill::run(Arc::clone(self), flight, job()));
        true
    }
}

impl Fill<'_> {
    /// Asks the origin: in the turn that was taken for a fetch ahead, or as for any viewer.
    pub(super) async fn send(&self, request: &FetchRequest<'_>) -> Result<OriginResponse, Failure> {
        let Some(ahead) = &self.job.ahead else { return Ok(self.ask_origin(request).await?) };
        let Some(turn) = ahead.turn() else {
            // Nothing is asked twice for nobody.
            self.withdraw()?;
            return Ok(self.ask_origin(request).await?);
        };
        let unasked = FetchRequest { reason: FetchReason::Prefetch, ..request.clone() };
        let answer = match self.ask_owner(&unasked).await {
            Some(response) => Ok(response),
            // Boxed: its state is large.
            None => Box::pin(self.job.origin.fetch_once(&unasked, turn)).await,
        };
        match answer {
            Ok(response) if response.header.status.is_success() => {
                let too_early = ahead.grows() && matches!(response.framing(), Framing::Length(_));
                if too_early || self.is_for_some(&response) {
                    self.withdraw()?;
                }
                return Ok(response);
            }
            Ok(response) => {
                if response.header.status.is_server_error() {
                    ahead.origin_failed();
                }
            }
            Err(error) => {
                tracing::debug!(key = %self.flight.key.text, %error, "a fetch ahead failed");
                ahead.origin_failed();
            }
        }
        self.withdraw()?;
        Ok(self.ask_origin(request).await?)
    }

    /// Whether an answer depends on fields that a viewer's request might have.
    fn is_for_some(&self, response: &OriginResponse) -> bool {
        self.open_names(&response.header.headers).is_none_or(|open| !open.is_empty())
    }

    /// Counts the bytes of a body that comes ahead.
    ///
    /// # Errors
    /// There is no room for them, and nobody has joined.
    pub(super) fn count_ahead(&self, bytes: u64, told: bool) -> Result<(), Failure> {
        match &self.job.ahead {
            Some(ahead) if !ahead.takes(bytes, told) => self.withdraw(),
            _ => Ok(()),
        }
    }

    /// What was fetched ahead is held.
    pub(super) fn note_held_ahead(&self, bytes: u64) {
        if let Some(ahead) = &self.job.ahead {
            ahead.held(bytes);
        }
    }

    /// Whether the origin may be asked once more; a fetch ahead that nobody has joined is withdrawn.
    pub(super) fn may_ask_again(&self) -> bool {
        self.job.ahead.is_none() || self.withdraw().is_ok()
    }

    /// Ends a fetch ahead that nobody has joined.
    ///
    /// # Errors
    /// It has ended, and nobody can join it any more.
    fn withdraw(&self) -> Result<(), Failure> {
        if self.coalescer.abandon(self.flight) { Err(Failure::WITHDRAWN) } else { Ok(()) }
    }
}
