//! A group that this node is a member of: who owns a key, this node or another, and how another is asked.
//!
//! Decides how long an owner that does not answer is waited for: as long as it says that it is there. One that does not is
//! left alone for a while, and the next in the order owns its keys meanwhile. Called by [`crate::peers`].

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use http::header::{CACHE_CONTROL, HeaderValue};
use http::{HeaderMap, Method};

use super::exchange::exchange;
use super::gate::Class;
use super::members::List;
use super::ring::is_laden;
use super::server::{Reuse, Server};
use super::{FetchRequest, OriginError, OriginGroup, OriginResponse};

/// Time until an owner that has not answered is asked whether it is there; doubled each time it says so.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest time between two such questions.
const PATIENCE_MAX: Duration = Duration::from_secs(8);

/// How long the answer to it may take, with a new connection.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// How long a server is left alone that could not be reached, or did not say that it is there. Doubled with each further
/// failure, up to [`REST_MAX`].
const REST: Duration = Duration::from_secs(5);

/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(60);

/// When this process began to count.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Who a key belongs to.
pub enum Owner {
    /// This node, or nobody that it knows of.
    This,
    /// Another one.
    Other(Peer),
}

/// Another member of the group.
pub struct Peer(Arc<Server>);

/// Whether a server is left alone.
#[derive(Default)]
pub(super) struct Rest {
    /// Until when, in milliseconds since [`EPOCH`].
    until: AtomicU64,
    failures: AtomicU32,
}

impl Rest {
    pub(super) fn is_on(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && millis(EPOCH.elapsed()) < until
    }

    fn worked(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.until.store(0, Ordering::Relaxed);
        }
    }

    /// It has failed. None: it rests already, so that many requests that fail at once are one failure.
    fn failed(&self) -> Option<Duration> {
        if self.is_on() {
            return None;
        }
        let before = self.failures.fetch_add(1, Ordering::Relaxed);
        let rest = REST.saturating_mul(1_u32.checked_shl(before).unwrap_or(u32::MAX)).min(REST_MAX);
        self.until.store(millis(EPOCH.elapsed() + rest), Ordering::Relaxed);
        Some(rest)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Peer {
    /// What it is called by.
    pub fn authority(&self) -> &str {
        &self.0.authority
    }
}

impl OriginGroup {
    /// Who a key belongs to: of the first `among` members in its order that can be asked, that of number `nth`. One that
    /// has too much to do passes it on; this node never has.
    pub fn owner(&self, placement: u64, among: usize, nth: usize) -> Owner {
        let list = self.members.now();
        match pick(&list, placement, among, nth) {
            Some(place) if Some(place) != list.own => Owner::Other(Peer(Arc::clone(&list.servers[place]))),
            _ => Owner::This,
        }
    }

    /// What the member is called that a key belongs to while all are there, and whether that is this node. None: the group
    /// does not go by owners, or no member is known.
    pub fn owner_name(&self, placement: u64) -> Option<(Arc<str>, bool)> {
        let list = self.members.now();
        let place = list.order(placement)?.next()?;
        Some((Arc::clone(&list.servers.get(place)?.authority), list.own == Some(place)))
    }

    /// Asks another member.
    ///
    /// # Errors
    /// It could not be reached, or does not say that it is there, and is left alone for a while; or there is no turn.
    pub async fn ask(&self, peer: &Peer, request: &FetchRequest<'_>) -> Result<OriginResponse, OriginError> {
        let server = &peer.0;
        let (permit, mut pass) = self.enter(Class::of(request.kind), request.hold.is_some()).await?;
        let busy = server.load.enter(request);
        let answer = {
            // Boxed: it is large, and waited for beside the question whether the server is there.
            let mut asked = Box::pin(self.attempt(server, request));
            let mut patience = PATIENCE;
            loop {
                let is_there = async {
                    tokio::time::sleep(patience).await;
                    self.is_there(server, request).await
                };
                tokio::select! {
                    answer = &mut asked => break answer,
                    is_there = is_there => {
                        if !is_there {
                            break Err(OriginError::FirstByteTimeout { server: Arc::clone(&server.authority) });
                        }
                        patience = (patience * 2).min(PATIENCE_MAX);
                    }
                }
            }
        };
        if let Some(pass) = &mut pass {
            let status = answer.as_ref().map(|answered| answered.header.status.as_u16());
            pass.tell(self.judge(status, request.hold.is_some()));
        }
        match answer {
            Ok(answered) => {
                server.rest.worked();
                Ok(self.response(server, answered, (Arc::new(permit), busy), (request, pass.as_ref())).await)
            }
            Err(error) => {
                if (error.is_connect() || matches!(error, OriginError::FirstByteTimeout { .. }))
                    && let Some(rest) = server.rest.failed()
                {
                    let seconds = rest.as_secs();
                    tracing::warn!(server = %server.authority, %error, seconds, "a peer is left alone: the next ones own its keys");
                }
                Err(error)
            }
        }
    }

    /// Whether a server answers at all: it is asked for the same, without asking any origin. What it holds is no matter.
    async fn is_there(&self, server: &Server, request: &FetchRequest<'_>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("only-if-cached"));
        let probe = FetchRequest { method: Method::HEAD, headers, hold: None, ..request.clone() };
        let asked = exchange(server, &self.connector, &self.reach, &self.metrics, &probe, Reuse::Fresh);
        matches!(tokio::time::timeout(PROBE_LIMIT, Box::pin(asked)).await, Ok(Ok(_)))
    }
}

fn pick(list: &List, placement: u64, among: usize, nth: usize) -> Option<usize> {
    let is_own = |place: usize| list.own == Some(place);
    let usable = |place: &usize| is_own(*place) || list.servers[*place].is_usable();
    let order: Vec<usize> = list.order(placement)?.filter(usable).collect();
    let load = |place: usize| if is_own(place) { 0 } else { list.servers[place].load.now() };
    let all: usize = order.iter().map(|place| load(*place)).sum();
    let others = order.iter().filter(|place| !is_own(**place)).count();
    let has_room = |place: &&usize| is_own(**place) || !is_laden(load(**place), all, others);
    let first = nth.checked_rem(among.min(order.len()))?;
    order.iter().skip(first).find(has_room).or(order.get(first)).copied()
}
