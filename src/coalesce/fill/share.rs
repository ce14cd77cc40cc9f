//! The shared tier's station in a fill: what another node has fetched is taken from there, and what this one fetches is put
//! there.
//!
//! Decides what may be shared, and whether what is found takes the place of what is held; how it is kept between the nodes,
//! and which purges have come since, is the [`Shelf`]'s business. Nothing here is an error: whatever fails, the origin is
//! asked as if there were no other nodes. What is found counts as what comes from disk does: it is a hit.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use http::header::SET_COOKIE;
use parking_lot::Mutex;
use pingora::http::ResponseHeader;
use pingora_cache::HttpCache;
use tokio::time::Instant;

use super::guard::Came;
use super::write::begin_write;
use super::{Fill, Job};
use crate::asset::Kind;
use crate::cache::{Policy, Standing, standing};
use crate::coalesce::{Extent, Flight, State};
use crate::config::model::DiskAdmission;
use crate::hls;
use crate::key::variant::primary_text;
use crate::playlists::MadeHere;
use crate::store::object::{Lifetime, charge};
use crate::store::storage::{Admission, cache_meta};
use crate::store::{Object, Provenance};
use crate::tier::Role;

/// By how much more a value has to be fresh than what is held to take its place: what this node has put there itself comes
/// back with a lifetime that differs by the time that writing took.
const NEWER_BY: Duration = Duration::from_millis(50);

/// Pauses between two looks at what another node fetches: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(40));

/// Values that are looked at for one fetch, at most: each further one was written meanwhile.
const VALUES_MAX: usize = 4;

/// What a node knew of the fleet's purges when it began a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// How much of them it had taken in, as the shelf tells it.
    pub place: (u64, u64),
    /// When that was.
    pub at: std::time::Instant,
}

/// What tells one value from another.
pub type Stamp = [u8; 16];

/// What a value stands for.
#[derive(Clone, Copy, Debug)]
pub struct Spot<'a> {
    /// The text of its key.
    pub key: &'a str,
    /// What its site's rules and origin are: values are shared among nodes that agree on them.
    pub rules: u64,
}

/// A value that another node has put there.
#[derive(Debug)]
pub struct Shared {
    /// What tells it from others.
    pub stamp: Stamp,
    /// What it is.
    pub kind: Kind,
    /// Status and fields.
    pub header: ResponseHeader,
    /// How long it may be used, by this node's clock.
    pub lifetime: Lifetime,
    /// Hashes of its tags.
    pub tags: Arc<[u64]>,
    /// The generation of this node's store that its fetch counts as begun at, by the purges of the fleet.
    pub generation: u64,
    /// No later than when its fetch began; None: longer ago than this node can tell.
    pub began: Option<std::time::Instant>,
    /// What the node does for the playlist in its origin's place.
    pub made: Option<MadeHere>,
    /// Its bytes.
    pub body: Bytes,
}

/// What a look at the shelf gives.
#[derive(Debug)]
pub enum Look {
    /// A value.
    Found(Box<Shared>),
    /// A value that cannot be used; it is not given again.
    Refused(Stamp, Told),
    /// Nothing, and this node is the one to fetch it.
    Turn(u64),
    /// Nothing, and another node fetches it.
    Wait,
    /// What stands there is somebody else's, and in the way: nobody's turn is known.
    Foreign,
    /// What is asked for is not shared: each node fetches its own.
    Unshared,
    /// Nobody answered in time, or nothing was asked.
    Away,
}

/// What has come of asking the shelf for what a request wants: the closed list in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Told {
    /// It was there, and fresh.
    Hit,
    /// It was there, stale, and newer than what is held.
    Stale,
    /// It was not there.
    Miss,
    /// Another node was fetching it for longer than is waited.
    Late,
    /// A purge had named it.
    Purged,
    /// What was there could not be read: damaged, or somebody else's.
    Damaged,
    /// It is not for other nodes.
    Unshared,
    /// The server did not answer, or is not asked.
    Away,
}

/// Where nodes put small objects for each other.
#[async_trait]
pub trait Shelf: Send + Sync + 'static {
    /// Bytes of a body; a longer one is not shared.
    fn object_bytes_max(&self) -> u64;

    /// How long a fetch waits for that of another node.
    fn wait(&self) -> Duration;

    /// How much of the purges this node has taken in. None: not known, so nothing that it fetches now is shared.
    fn mark(&self) -> Option<Mark>;

    /// Looks for a value other than `seen`; where there is none, and nobody fetches it, takes the turn to do so for `life`.
    async fn look(&self, spot: Spot<'_>, seen: Option<Stamp>, life: Duration) -> Look;

    /// Puts an object there, fetched when so much of the purges was taken in.
    async fn put(&self, spot: Spot<'_>, object: &Object, made: Option<MadeHere>, mark: Mark);

    /// Ends a turn; `unshared`: others are not to wait for one another.
    async fn end(&self, spot: Spot<'_>, turn: u64, unshared: bool);

    /// Counts what has come of asking.
    fn count(&self, told: Told);
}

/// The turn to fetch for all nodes; given back when it is dropped.
struct Turn {
    shelf: Arc<dyn Shelf>,
    flight: Arc<Flight>,
    rules: u64,
    number: u64,
    /// Whether what has come is for this node alone.
    unshared: Mutex<bool>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (shelf, flight) = (Arc::clone(&self.shelf), Arc::clone(&self.flight));
        let (rules, number, unshared) = (self.rules, self.number, *self.unshared.lock());
        // A turn that is not given back ends by itself.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                shelf.end(Spot { key: &flight.key.text, rules }, number, unshared).await;
            });
        }
    }
}

/// What came of asking around.
#[derive(Default)]
struct Around {
    /// What was found, and is news.
    shared: Option<Box<Shared>>,
    /// Whether it answers by itself.
    answers: bool,
    /// The turn to fetch.
    turn: Option<Turn>,
}

impl Fill<'_> {
    /// Looks whether another node has it, then asks the origin. `stale` is what is held.
    pub(super) async fn fetch_around(&self, cache: &mut HttpCache, stale: Option<&Arc<Object>>) {
        match self.shelf() {
            // Boxed, as few rules share.
            Some(shelf) => Box::pin(self.fetch_among_nodes(&shelf, cache, stale)).await,
            None => self.fetch_or_fail(cache, stale).await,
        }
    }

    async fn fetch_among_nodes(
        &self,
        shelf: &Arc<dyn Shelf>,
        cache: &mut HttpCache,
        stale: Option<&Arc<Object>>,
    ) {
        // Before anything is asked: what is purged after this is not in the answer.
        let mark = shelf.mark();
        let Around { shared, answers, turn } = self.look_around(shelf, stale).await;
        let taken = match shared {
            Some(shared) => self.take_over(cache, *shared).await,
            None => None,
        };
        let Some(object) = taken else {
            self.fetch_or_fail(cache, stale).await;
            return self.share(shelf, mark, turn).await;
        };
        if answers {
            self.flight.publish(State::Recalled(object));
            return;
        }
        let now = self.coalescer.clock.now();
        if object.lifetime.bridges_revalidation(now) && self.job.wishes.is_empty() {
            self.flight.publish(State::Recalled(Arc::clone(&object)));
        }
        // Another walk of the state machine, from what is held now.
        let mut cache = self.engine_cache();
        let job = Job { stale: Some(Arc::clone(&object)), ..self.job.clone() };
        let fill = Fill { job: &job, ..*self };
        fill.look_up(&mut cache).await;
        fill.fetch_or_fail(&mut cache, Some(&object)).await;
        self.share(shelf, mark, turn).await;
    }

    /// Where its object is shared; None: it is not.
    fn shelf(&self) -> Option<Arc<dyn Shelf>> {
        let shelf = self.coalescer.shelf.get()?;
        let (job, key) = (self.job, &self.flight.key);
        let policy = Policy::new(&job.rules, &job.held, self.path(), job.kind);
        let is_own = job.authorization.is_some() || job.wishes.no_store || key.user_rule().is_some();
        // The text of a variant's key is this node's own, and of a key whose answers vary there is no other.
        let varies = primary_text(&key.text).is_some() || !job.names.is_empty();
        let whole = matches!(job.extent, Extent::Whole);
        let apart = job.kind == Kind::Key || job.ahead.is_some() || job.wishes.only_if_cached;
        // Who asks another node for it holds no turn that that one would wait for: it shares what comes.
        let shared = policy.shares() && whole && !is_own && !varies && !apart && !job.relayed;
        (shared && !self.coalescer.is_uncacheable(self.flight.slot)).then(|| Arc::clone(shelf))
    }

    fn spot(&self) -> Spot<'_> {
        Spot { key: &self.flight.key.text, rules: self.job.site.rules_digest }
    }

    /// Asks until there is a value that is of use, or a turn, or no more time.
    async fn look_around(&self, shelf: &Arc<dyn Shelf>, stale: Option<&Arc<Object>>) -> Around {
        // An origin that holds a reload answers when it has been held.
        let wait = shelf.wait() + self.hold().unwrap_or_default();
        // The turn may be that of the node of the tier before that asks, where this one is not of the last tier either.
        let is_asked_by_tier = self.job.hop.as_ref().is_some_and(|hop| hop.role == Role::Edge);
        let patience = if is_asked_by_tier && self.job.origin.is_tier() { Duration::ZERO } else { wait };
        let until = Instant::now() + patience;
        let mut around = Around::default();
        let (mut seen, mut values, mut pause) = (None, 0, PAUSES.0);
        let mut told = Told::Miss;
        loop {
            match shelf.look(self.spot(), seen, wait).await {
                Look::Found(shared) => {
                    seen = Some(shared.stamp);
                    values += 1;
                    match self.weigh(&shared, stale) {
                        Weight::Answers => {
                            shelf.count(Told::Hit);
                            return Around { shared: Some(shared), answers: true, turn: None };
                        }
                        Weight::Newer => (around.shared, told) = (Some(shared), Told::Stale),
                        Weight::Purged => told = Told::Purged,
                        Weight::Older => {}
                    }
                }
                Look::Refused(stamp, why) => {
                    seen = Some(stamp);
                    values += 1;
                    told = why;
                }
                Look::Turn(number) => {
                    around.turn = Some(Turn {
                        shelf: Arc::clone(shelf),
                        flight: Arc::clone(self.flight),
                        rules: self.spot().rules,
                        number,
                        unshared: Mutex::new(false),
                    });
                    break;
                }
                Look::Wait if Instant::now() + pause < until => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                Look::Wait => {
                    told = Told::Late;
                    break;
                }
                Look::Foreign => {
                    told = Told::Damaged;
                    break;
                }
                Look::Unshared => {
                    told = Told::Unshared;
                    break;
                }
                Look::Away => {
                    told = Told::Away;
                    break;
                }
            }
            if values > VALUES_MAX {
                break;
            }
        }
        shelf.count(told);
        around
    }

    /// What a value is to this request, beside what is held.
    fn weigh(&self, shared: &Shared, stale: Option<&Arc<Object>>) -> Weight {
        let now = self.coalescer.clock.now();
        if self.is_purged_by_now(shared) {
            return Weight::Purged;
        }
        let is_newer = |held: &Arc<Object>| {
            held.is_purged() || shared.lifetime.fresh_until > held.lifetime.fresh_until + NEWER_BY
        };
        let same_sort =
            shared.kind == self.job.kind || (shared.kind.is_playlist() && self.job.kind.is_playlist());
        if !same_sort || !stale.is_none_or(is_newer) {
            return Weight::Older;
        }
        match standing(&shared.lifetime, &self.job.wishes, now) {
            Standing::Validate => Weight::Newer,
            _ => Weight::Answers,
        }
    }

    /// Whether a purge has named it, of those that count as later than its fetch.
    fn is_purged_by_now(&self, shared: &Shared) -> bool {
        if self.coalescer.is_invalidated_since(&self.flight.key, shared.began) {
            return true;
        }
        let generation = self.coalescer.own_purges.before(shared.began, shared.generation);
        let provenance = Provenance { generation, tags: Arc::clone(&shared.tags), ahead: None };
        let key = self.flight.key.clone();
        let body = crate::store::Body::growing(None, None).into();
        let object = Object::new(key, shared.kind, shared.header.clone(), shared.lifetime, body);
        self.coalescer.store.is_purged(&Object { provenance, ..object })
    }

    /// Keeps a value as if it had come from the origin, and remembers what it says. None: it cannot be used.
    async fn take_over(&self, cache: &mut HttpCache, shared: Shared) -> Option<Arc<Object>> {
        let store = self.coalescer.store;
        // Purges up to here are looked at below; later ones name it by this.
        let generation = store.generation();
        if self.is_purged_by_now(&shared) {
            return None;
        }
        let fill = Fill { generation, ..*self };
        let Shared { kind, header, lifetime, tags, made, body, .. } = shared;
        let facts = match kind.is_playlist() && header.status == StatusCode::OK {
            true => Some(hls::read::read(&body).ok()?),
            false => None,
        };
        // An announcement of the node's own is not the origin's word.
        let facts = facts.map(|facts| hls::PlaylistFacts {
            can_block_reload: facts.can_block_reload && !made.is_some_and(|made| made.reload),
            can_skip: facts.can_skip && !made.is_some_and(|made| made.delta),
            ..facts
        });
        let came = Came { status: header.status, playlist: facts, read: std::slice::from_ref(&body) };
        let taken = fill.guard(&came).ok()?;
        if let Some(facts) = facts.as_ref().filter(|_| taken.learns) {
            if let Some(made) = made {
                self.coalescer.playlists.get_or_insert(&self.flight.key.text).make_here(made);
            }
            self.learn_names(facts, &body, &header.headers);
        }
        let bytes = charge(&self.flight.key, &header, body.len() as u64);
        if bytes > store.object_bytes_max() {
            return None;
        }
        let reservation = Arc::new(Mutex::new(Some(store.reserve(bytes).await?)));
        let disk = self.disk_admission(header.status, kind, &lifetime);
        let provenance = Provenance { generation: taken.generation, tags, ahead: None };
        let meta = cache_meta(header, Admission { kind, lifetime, provenance, disk, reservation });
        let object = begin_write(cache, meta).await?;
        cache.miss_handler()?.write_body(body.clone(), false).await.ok()?;
        self.finish_write(cache).await;
        if !object.body.is_complete() {
            return None;
        }
        self.remove_if_invalidated(&object);
        if let Some(facts) = facts.filter(|_| taken.learns) {
            self.learn(facts, &self.flight.key, &body, taken.anew);
        }
        if disk != DiskAdmission::Never {
            store.admit_to_disk(&object, disk).await;
        }
        Some(object)
    }

    /// Puts what the origin has answered with on the shelf, and gives the turn back.
    async fn share(&self, shelf: &Arc<dyn Shelf>, mark: Option<Mark>, turn: Option<Turn>) {
        let (came, failed) = match &self.flight.state.get() {
            State::Answered(object) | State::Confirmed(object) => (Some(Arc::clone(object)), false),
            // A failure is no word on what comes next: another node tries.
            State::Failed(..) | State::Recalled(_) | State::Asked => (None, true),
            State::Unshared(object) => (None, object.status().is_server_error()),
            State::Varies(_) => (None, false),
        };
        let object = came.filter(|object| self.is_for_all(shelf, object));
        match object.as_ref().zip(mark) {
            Some((object, mark)) => {
                let made =
                    self.coalescer.playlists.get(&self.flight.key.text).filter(|_| object.kind.is_playlist());
                shelf.put(self.spot(), object, made.and_then(|playlist| playlist.made_here()), mark).await;
            }
            None => {
                if let Some(turn) = turn.as_ref().filter(|_| !failed) {
                    *turn.unshared.lock() = true;
                }
            }
        }
    }

    /// Whether an object of this fetch is for every node: kept, whole, small, and the same for all who ask.
    fn is_for_all(&self, shelf: &Arc<dyn Shelf>, object: &Arc<Object>) -> bool {
        let rule = self.rule(object.status(), object.kind);
        let small = object.body.is_complete()
            && object.body.as_whole().is_some_and(|body| body.is_kept())
            && object.body.progress().0 <= shelf.object_bytes_max();
        let key = &object.key;
        let is_here = || {
            self.coalescer.store.get(key.hash, &key.text).is_some_and(|held| held.body.is_same(&object.body))
        };
        small
            && object.shared
            && object.variants.is_none()
            && rule.is_some_and(|rule| rule.shared)
            && key.text == self.flight.key.text
            // What was for the one who asked is not in the header; where it is, it is by rule.
            && !object.header.headers.contains_key(SET_COOKIE)
            && self.flight.own.get().is_none()
            && is_here()
    }
}

/// What a value is to a request.
enum Weight {
    /// It answers.
    Answers,
    /// It is stale, and newer than what is held.
    Newer,
    /// What is held is as good.
    Older,
    /// A purge names it.
    Purged,
}

/// How long an object may still be used for anything, at `now`: fresh, or in one of its windows. Zero: not any more.
pub fn life_left(lifetime: &Lifetime, now: SystemTime) -> Duration {
    if lifetime.purged.is_some() {
        return Duration::ZERO;
    }
    let windows = lifetime.stale_while_revalidate.max(lifetime.stale_if_error);
    (lifetime.fresh_until + windows).duration_since(now).unwrap_or_default()
}
