//! The nodes of a tier, each the owner of some keys: it alone asks the origin for them, and the others ask it.
//!
//! Decides whether a key belongs to another node, which of several is asked for a hot one, whether what comes from it is
//! kept here too, and what becomes of a request that it does not answer: the next owner is asked, or the origin. Called by
//! the fill ([`crate::coalesce::fill`]). A request that another node has sent is never sent on: nodes that disagree about
//! who is there send a request one node further at most.

mod metrics;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora::http::ResponseHeader;
use prometheus::Registry;
use quick_cache::sync::Cache;
use xxhash_rust::xxh3::xxh3_64;

use crate::config::model::Fleet;
use crate::key::Key;
use crate::origin::{FetchRequest, OriginGroup, OriginResponse, Owner, Peer};
use metrics::{Asked, PeerMetrics};

/// Keys of other nodes that are counted at most. One that is forgotten is cold again.
const COUNTED_KEYS_MAX: usize = 65_536;

/// Owners that are asked for one request at most; then the origin is.
const OWNERS_ASKED_MAX: usize = 2;

/// `Cache-Status` (RFC 9211).
const CACHE_STATUS: &str = "cache-status";

/// The nodes of this tier.
pub struct Peers {
    group: Arc<OriginGroup>,
    hot_requests: u32,
    window: Duration,
    /// How many owners a hot key has, and which of them this node asks.
    spread: (usize, usize),
    /// Requests for keys of other nodes, and when the first of them came.
    counted: Cache<u128, (Instant, u32)>,
    metrics: PeerMetrics,
}

impl Peers {
    /// The nodes of `group`, which is made of `fleet.peers`. None: there are none.
    ///
    /// # Errors
    /// When a metric is registered twice.
    pub fn new(
        fleet: &Fleet,
        group: Option<&Arc<OriginGroup>>,
        registry: &Registry,
    ) -> Result<Option<Arc<Peers>>, prometheus::Error> {
        let Some((peers, group)) = fleet.peers.as_ref().zip(group) else { return Ok(None) };
        let name = fleet.name.as_deref().or(peers.own.as_deref()).unwrap_or_default();
        // Without a name of its own a node takes one that holds as long as it runs.
        let number = if name.is_empty() { getrandom::u64().unwrap_or(0) } else { xxh3_64(name.as_bytes()) };
        let nth = usize::try_from(number % peers.spread.max(1) as u64).unwrap_or(0);
        Ok(Some(Arc::new(Peers {
            group: Arc::clone(group),
            hot_requests: peers.hot_requests,
            window: peers.window,
            spread: (peers.spread, nth),
            counted: Cache::new(COUNTED_KEYS_MAX),
            metrics: PeerMetrics::register(registry)?,
        })))
    }

    /// Whether another node is to be asked for a key.
    pub fn is_others(&self, key: &Key) -> bool {
        matches!(self.owner(key), Owner::Other(_))
    }

    /// Counts a request for a key of another node.
    pub fn count(&self, key: &Key) {
        let now = Instant::now();
        let counted = match self.counted.get(&key.hash) {
            Some((since, count)) if now.duration_since(since) < self.window => {
                (since, count.saturating_add(1))
            }
            _ => (now, 1),
        };
        self.counted.insert(key.hash, counted);
    }

    /// Whether a key has been asked for often enough to be kept here, `more` requests beside those that have been counted.
    pub fn is_hot(&self, key: &Key, more: u32) -> bool {
        let counted = self.counted.get(&key.hash).filter(|(since, _)| since.elapsed() < self.window);
        counted.map_or(0, |(_, count)| count).saturating_add(more) >= self.hot_requests
    }

    /// Asks the owner of a key, and the next one where that cannot be reached. None: the origin is to be asked.
    pub async fn ask(&self, key: &Key, request: &FetchRequest<'_>) -> Option<OriginResponse> {
        let mut last: Option<Peer> = None;
        for _ in 0..OWNERS_ASKED_MAX {
            let Owner::Other(peer) = self.owner(key) else {
                self.metrics.count(Asked::Own);
                return None;
            };
            if last.is_some_and(|last| last.authority() == peer.authority()) {
                // It is there, and has no answer.
                return None;
            }
            match self.group.ask(&peer, request).await {
                Ok(response) if is_refusal(&response.header) => {
                    let status = response.header.status.as_u16();
                    tracing::warn!(
                        peer = peer.authority(),
                        status,
                        "a peer refuses a request; the origin is asked"
                    );
                    self.metrics.count(Asked::Refused);
                    return None;
                }
                Ok(response) => {
                    self.metrics.count(Asked::Answered);
                    return Some(response);
                }
                Err(error) => {
                    tracing::debug!(peer = peer.authority(), %error, "a peer does not answer");
                    self.metrics.count(Asked::Failed);
                }
            }
            last = Some(peer);
        }
        None
    }

    fn owner(&self, key: &Key) -> Owner {
        let (spread, nth) = self.spread;
        let is_spread = spread > 1 && self.is_hot(key, 0);
        let (among, nth) = if is_spread { (spread, nth) } else { (1, 0) };
        self.group.owner(key.placement(), among, nth)
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("group", self.group.name()).finish_non_exhaustive()
    }
}

/// Whether an answer is a node's own word about the request, and not what it or its origin has for it: an error that came
/// neither from what it holds nor from its origin, as far as it says. What stands for an origin that fails (502, 504) is
/// no such word: the same origin would be asked again.
fn is_refusal(header: &ResponseHeader) -> bool {
    let status = header.status.as_u16();
    if status < 400 || matches!(status, 502 | 504) {
        return false;
    }
    // The last member is the node's own: those before it are of the nodes and caches behind it.
    let own = header.headers.get_all(CACHE_STATUS).iter().filter_map(|value| value.to_str().ok()).next_back();
    let own = own.and_then(|list| split_outside_quotes(list).last());
    let says = |parameter: &str| {
        let parameter = parameter.trim();
        parameter == "hit" || parameter.starts_with("fwd=") || parameter.starts_with("fwd-status=")
    };
    !own.is_some_and(|member| member.split(';').any(says))
}

/// The members of a list (RFC 9651 section 3.1), whose strings may hold commas.
fn split_outside_quotes(list: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    list.split(move |c| {
        let ends = c == ',' && !is_quoted;
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = c == '\\' && is_quoted && !is_escaped;
        ends
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn answer(status: u16, cache_status: Option<&str>) -> ResponseHeader {
        let mut header = ResponseHeader::build(status, None).unwrap();
        if let Some(value) = cache_status {
            header.insert_header("cache-status", value).unwrap();
        }
        header
    }

    #[test]
    fn a_nodes_own_refusal_is_told_from_its_origins_answer() {
        let refusals = [
            answer(403, Some("forebay; detail=denied")),
            answer(503, Some("forebay; detail=error")),
            answer(404, None),
            answer(429, Some("origin-cache; hit, forebay; detail=denied")),
            answer(403, Some("shield-1; hit; key=\"a, b\", edge-2; detail=denied")),
        ];
        let answers = [
            answer(200, None),
            answer(404, Some("forebay; hit; ttl=3; detail=hit")),
            answer(404, Some("forebay; fwd=uri-miss; fwd-status=404; ttl=0; detail=miss")),
            answer(503, Some("forebay; fwd=uri-miss; detail=error")),
            answer(403, Some("shield-1; detail=denied, edge-2; key=\"a, \\\"b\"; fwd=uri-miss")),
            answer(502, Some("forebay; detail=error")),
            answer(504, None),
        ];
        assert!(refusals.iter().all(is_refusal));
        assert!(!answers.iter().any(is_refusal));
    }
}
