//! Fetches of keys that belong to another node of the tier: that one is asked before the origin, and what it gives is kept
//! here only while the key is hot.

use std::sync::Arc;

use super::Fill;
use crate::asset::Kind;
use crate::coalesce::{Coalescer, Lane};
use crate::key::Key;
use crate::origin::{FetchRequest, OriginResponse};
use crate::peers::Peers;
use crate::store::Object;

impl Coalescer {
    /// Has the nodes of the tier asked from now on for what is theirs; the first ones stay.
    pub fn ask_peers(&self, peers: Arc<Peers>) {
        let _ = self.peers.set(peers);
    }

    /// Whether another node is to be asked for a key: it belongs to one, and could be shared the last time.
    pub fn is_others(&self, key: &Key, kind: Kind) -> bool {
        let lane = Lane::plain(true);
        kind != Kind::Key
            && self.peers.get().is_some_and(|peers| peers.is_others(key))
            && !self.is_uncacheable(lane.slot(key.hash))
    }
}

impl Fill<'_> {
    /// Asks the owner of the key. None: the origin is to be asked.
    pub(in crate::coalesce) async fn ask_owner(&self, request: &FetchRequest<'_>) -> Option<OriginResponse> {
        let peers = self.coalescer.peers.get().filter(|_| self.job.relayed)?;
        peers.count(&self.flight.key);
        // Boxed, as it is large, and not every node has any.
        Box::pin(peers.ask(&self.flight.key, request)).await
    }

    /// Whether an object is let go when it has been sent to those who came while it was fetched: another node keeps it, and
    /// too few ask for it here. Playlists are small, what is fetched ahead is about to be asked for, and an error's life is
    /// short.
    pub(in crate::coalesce) fn is_only_passed_on(&self, object: &Object) -> bool {
        let Some(peers) = self.coalescer.peers.get().filter(|_| self.job.relayed) else { return false };
        let keeps = object.kind.is_playlist()
            || object.kind == Kind::Manifest
            || self.job.ahead.is_some()
            || !object.status().is_success()
            // Its owner has gone, and this node has come after it.
            || !peers.is_others(&self.flight.key);
        !keeps && !peers.is_hot(&self.flight.key, u32::from(self.flight.was_joined()))
    }
}
