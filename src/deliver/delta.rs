//! Delta updates that the node makes of the live playlists it holds (RFC 8216bis section 6.2.5.1).
//!
//! An update is an object of its own that hangs on the full one: with the full one's key, lifetime and provenance, and a
//! header, encoded copies and splits for tokens of its own. So it is revalidated, purged and evicted with the playlist
//! that it was made from, never tells another state than that, costs the origin nothing, and is delivered like any object.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderValue, LAST_MODIFIED};

use super::encoding::tag_with;
use super::fields;
use crate::asset::Kind;
use crate::cache::{CONTENT_DIGESTS, REPRESENTATION_DIGESTS};
use crate::hls::delta::delta;
use crate::hls::{self, Reload};
use crate::store::object::{Delta, charge};
use crate::store::{Body, Object, Store};

/// What the entity tag of a full playlist gets for that of its update: the bytes differ.
const TAG: &str = "delta";

/// The delta update of an object, made by whoever asks first. None: it goes in full, because it is no live playlist that
/// is kept and here, says nothing that could be left out, has been encoded by its origin, finds no room for an update, or does
/// not go as far as `reload` asks: a client that asks for more than there is may have the segments of another stream.
pub fn select(store: &Store, object: &Object, reload: Option<Reload>) -> Option<Arc<Object>> {
    if !object.body.is_complete() {
        return None;
    }
    let made = object.delta.get_or_init(|| make(store, object)).as_ref()?;
    reload.is_none_or(|reload| made.of.holds(reload)).then(|| Arc::clone(&made.object))
}

fn make(store: &Store, object: &Object) -> Option<Box<Delta>> {
    let is_text = object.kind == Kind::MediaPlaylist
        && object.status() == StatusCode::OK
        && !object.header.headers.contains_key(CONTENT_ENCODING);
    let body = object.body.as_whole().filter(|body| is_text && body.is_kept())?;
    let text = body.chunks()?.concat();
    let update = delta(std::str::from_utf8(&text).ok()?)?;
    let of = hls::read::read(&text).ok()?;
    let mut header = object.header.clone();
    // Digests are of the full text, and its date would call the update the same.
    for name in CONTENT_DIGESTS.iter().chain(&REPRESENTATION_DIGESTS).chain(&[LAST_MODIFIED]) {
        header.remove_header(name);
    }
    let tag = header.headers.get(ETAG).map(|tag| tag_with(tag, TAG).into_owned());
    if let Some(tag) = tag {
        fields::set(&mut header, ETAG, tag);
    }
    fields::set(&mut header, CONTENT_LENGTH, HeaderValue::from(update.len()));
    let reservation = store.take(charge(&object.key, &header, update.len() as u64))?;
    let body = Body::growing(None, Some(reservation));
    body.append(Bytes::from(update));
    body.finish();
    let made = Object::new(object.key.clone(), object.kind, header, object.lifetime, body.into());
    let provenance = object.provenance.clone();
    let made = Object { shared: object.shared, provenance, purged_at: object.purged_at, ..made };
    Some(Box::new(Delta { of, object: Arc::new(made) }))
}

#[cfg(test)]
mod tests;
