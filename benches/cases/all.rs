//! The list of what is measured, by group and name. `benches/instructions.rs` repeats it, for its names have to be written out.

use super::case::Case;
use super::{freshness, hit, key, playlist, range, store, token};

/// What is done with each case; it is made only where it is wanted.
pub trait Visitor {
    /// Takes a case.
    fn visit<C: Case>(&mut self, group: &str, name: &str, make: fn() -> C);

    /// Takes a case that several threads have at once.
    fn visit_threads<C: Case + Sync>(&mut self, group: &str, name: &str, threads: usize, make: fn() -> C);
}

/// Shows every case, in the order in which a request meets them.
pub fn visit(visitor: &mut impl Visitor) {
    visitor.visit("key", "segment", key::segment);
    visitor.visit("key", "reload", key::reload);
    visitor.visit("key", "respelled", key::respelled);
    visitor.visit("token", "edgeauth_cold", token::edgeauth_cold);
    visitor.visit("token", "edgeauth_warm", token::edgeauth_warm);
    visitor.visit("token", "jwt_hs256_cold", token::jwt_hs256_cold);
    visitor.visit("token", "jwt_es256_cold", token::jwt_es256_cold);
    visitor.visit("token", "jwt_es256_warm", token::jwt_es256_warm);
    visitor.visit("store", "hit", store::hit);
    visitor.visit_threads("store", "hit_4_threads", 4, store::hit);
    visitor.visit("store", "miss", store::miss);
    visitor.visit_threads("store", "miss_4_threads", 4, store::miss);
    visitor.visit("freshness", "segment", freshness::segment);
    visitor.visit("freshness", "live_playlist", freshness::live_playlist);
    visitor.visit("freshness", "live_playlist_read", freshness::live_playlist_read);
    visitor.visit("range", "one", range::one);
    visitor.visit("range", "eight", range::eight);
    visitor.visit("playlist", "split_live", playlist::split_live);
    visitor.visit("playlist", "split_vod", playlist::split_vod);
    visitor.visit("playlist", "gather_live", playlist::gather_live);
    visitor.visit("playlist", "gather_vod", playlist::gather_vod);
    visitor.visit("hit", "in_memory_4k", hit::in_memory_4k);
    visitor.visit("hit", "in_memory_playlist", hit::in_memory_playlist);
    visitor.visit("hit", "loopback_4k", hit::loopback_4k);
    visitor.visit("hit", "loopback_playlist", hit::loopback_playlist);
    visitor.visit("hit", "loopback_512k", hit::loopback_512k);
}
