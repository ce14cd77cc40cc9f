//! Plain requests for a live playlist of which a newer answer is held: one to a blocking reload.
//!
//! Whoever begins to watch asks plainly, and is answered from a copy that is kept for half a target duration, while those
//! who already watch at low latency have had a newer playlist with each part. A player that begins by the older one stays
//! behind live by its age, or asks again first (RFC 8216bis appendix C). So a hit gives way to the newest playlist that is
//! held, for as long as it would have been used itself: the origin is asked as often as before. How long viewers and the
//! caches on their way may keep it is said as of the plain one, which is less than of a reload.

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
use crate::store::{Lifetime, Object};

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
            Some(newer) => Found { object: as_plain(&newer, &found.object), ..found },
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
fn as_plain(newer: &Object, plain: &Object) -> Arc<Object> {
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
    let made = Object::new(plain.key.clone(), newer.kind, header, lifetime, newer.body.clone());
    let made = Arc::new(Object {
        provenance: newer.provenance.clone(),
        shared: newer.shared,
        encoded: newer.encoded.again(),
        carried: newer.carried.again(),
        ..made
    });
    newer.plain.store(Some(Arc::clone(&made)));
    made
}
