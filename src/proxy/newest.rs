//! Plain requests for a live playlist of which a newer answer is held: one to a blocking reload.
//!
//! Whoever begins to watch asks plainly, and is answered from a copy that is kept for half a target duration, while those
//! who already watch at low latency have had a newer playlist with each part. A player that begins by the older one stays
//! behind live by its age, or asks again first (RFC 8216bis appendix C). So a hit gives way to the newest playlist that is
//! held, for as long as it would have been used itself: the origin is asked as often as before. How long viewers and the
//! caches on their way may keep it is said as of the plain one, which is less than of a reload.
//!
//! The answer is an object around the same body, with a header of its own. It hangs on the one to the reload, one on each,
//! and its header counts in the memory budget; where that has no room, it is made for one request and not kept.

use std::sync::Arc;

use http::StatusCode;
use http::header::{CACHE_CONTROL, EXPIRES};

use super::Edge;
use super::lookup::{Found, Wanted};
use super::reload::latest_object;
use crate::asset::Kind;
use crate::hls::Skip;
use crate::key::variant::primary_text;
use crate::outcome::Outcome;
use crate::store::object::charge;
use crate::store::{Lifetime, Object, Store};

impl Edge {
    /// What answers a request without directives for which this has been found.
    pub(super) fn newest(&self, wanted: &Wanted<'_>, found: Found) -> Found {
        let is_held = matches!(found.outcome, Outcome::Hit | Outcome::HitStale);
        // What stands in the playlist's place is no older playlist: a redirect, or that there is none.
        let is_playlist = found.object.kind == Kind::MediaPlaylist && found.object.status() == StatusCode::OK;
        if !is_playlist || !is_held {
            return found;
        }
        match self.newer(wanted, &found.object) {
            Some(newer) => Found { object: as_plain(self.store, &newer, &found.object), ..found },
            None => found,
        }
    }

    /// The newest answer in full that is held, if it is not this one. It goes as far at the least: of those that go as far
    /// the last to come is the latest, and one that goes less far is none.
    fn newer(&self, wanted: &Wanted<'_>, plain: &Object) -> Option<Arc<Object>> {
        // A variant is for those who ask like its first one; answers to reloads may have none.
        if primary_text(&plain.key.text).is_some() {
            return None;
        }
        let playlist = self.sites.playlists().get(&plain.key.text)?;
        if playlist.answer_to(Skip::None)?.key == plain.key {
            return None;
        }
        // Without its guard a playlist may go back, and nobody says which one is newer.
        let guards = wanted.site.policy(&wanted.asked).for_request().is_none_or(|(_, rule)| rule.guard);
        let newer = latest_object(self.store, &playlist, None, Skip::None).filter(|_| guards)?;
        // Once sent, it is gone back from no sooner than need be.
        let bridges = || wanted.directives.is_empty() && newer.lifetime.bridges_revalidation(wanted.now);
        (wanted.outcome_of_held(&newer) == Some(Outcome::Hit) || bridges()).then_some(newer)
    }
}

/// An answer to a reload, as one to a plain request that this one would answer. It is made once for all such requests, so
/// that its encoded copies are.
fn as_plain(store: &Store, newer: &Object, plain: &Object) -> Arc<Object> {
    let lifetime = Lifetime { created: newer.lifetime.created, ..plain.lifetime };
    let made = newer.plain.load_full();
    if let Some(made) = made.filter(|made| made.key == plain.key && made.lifetime == lifetime) {
        return made;
    }
    let mut header = newer.header.clone();
    for name in [CACHE_CONTROL, EXPIRES] {
        header.remove_header(&name);
        for value in plain.header.headers.get_all(&name) {
            // A name and a value that have been sent before do not fail.
            let _ = header.append_header(name.clone(), value.clone());
        }
    }
    // Those who are sent the one before may still hold it: both count then.
    let beside = store.take_spare(charge(&plain.key, &header, 0));
    let is_counted = beside.is_some();
    let made = Object::new(plain.key.clone(), newer.kind, header, lifetime, newer.body.clone());
    let made = Arc::new(Object {
        provenance: newer.provenance.clone(),
        shared: newer.shared,
        encoded: newer.encoded.again(),
        carried: newer.carried.again(),
        beside,
        ..made
    });
    if is_counted {
        newer.plain.store(Some(Arc::clone(&made)));
    }
    made
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use std::time::{Duration, UNIX_EPOCH};

    use bytes::Bytes;
    use pingora::http::ResponseHeader;
    use prometheus::Registry;

    use super::*;
    use crate::key::Key;
    use crate::store::{Accounts, Body, StoreMetrics};

    fn store(memory: u64) -> Store {
        let metrics = StoreMetrics::new(&Registry::new()).unwrap();
        Store::new(memory, 50, Accounts::default(), None, Duration::ZERO, metrics)
    }

    fn object(query: &str, cache_control: &str, second: u64) -> Object {
        let mut header = ResponseHeader::build_no_case(200, None).unwrap();
        header.append_header(CACHE_CONTROL, cache_control).unwrap();
        header.append_header("x-long", "x".repeat(4000)).unwrap();
        let body = Body::growing(None, None);
        body.append(Bytes::from_static(b"#EXTM3U\n"));
        body.finish();
        let key = Key { hash: 1, text: format!("s /a.m3u8{query}").into() };
        let lifetime = Lifetime::ended(UNIX_EPOCH + Duration::from_secs(second));
        Object::new(key, Kind::MediaPlaylist, header, lifetime, body.into())
    }

    #[test]
    fn however_many_plain_answers_are_made_of_one_to_a_reload_the_room_of_one_is_taken_until_it_goes() {
        let store = store(1 << 20);
        let newer = object("?_HLS_msn=7", "max-age=30", 0);
        let mut taken = Vec::new();
        for second in 0..100 {
            let plain = object("", "max-age=1", second);
            let made = as_plain(&store, &newer, &plain);
            assert!(made.body.is_same(&newer.body), "no byte of the body twice");
            assert!(Arc::ptr_eq(&made, &as_plain(&store, &newer, &plain)), "made once");
            assert_eq!(made.header.headers[CACHE_CONTROL], "max-age=1");
            taken.push(store.budget().used());
        }
        assert_eq!(taken, [charge(&object("", "", 0).key, &object("", "max-age=1", 0).header, 0); 100]);
        drop(newer);
        assert_eq!(store.budget().used(), 0);
    }

    #[test]
    fn a_plain_answer_that_finds_no_room_is_not_kept() {
        let store = store(1 << 10);
        let (newer, plain) = (object("?_HLS_msn=7", "max-age=30", 0), object("", "max-age=1", 0));
        let made = as_plain(&store, &newer, &plain);
        assert!(made.body.is_same(&newer.body) && made.key == plain.key);
        assert_eq!((newer.plain.load().is_none(), store.budget().used()), (true, 0));
    }
}
