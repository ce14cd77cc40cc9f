//! Objects as a fill leaves them, and a store for them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay::asset::Kind;
use forebay::key::{Key, hash_of};
use forebay::store::object::charge;
use forebay::store::{Accounts, Body, Lifetime, Object, Store, StoreMetrics};
use pingora::http::ResponseHeader;
use prometheus::Registry;

use super::site;

/// Bytes of a chunk in which bodies come from an origin.
const CHUNK_BYTES: usize = 64 * 1024;

/// A store of so many bytes, for as long as the process lives.
pub fn store(memory: u64) -> &'static Store {
    let metrics = StoreMetrics::new(&Registry::new()).expect("a registry of its own");
    Box::leak(Box::new(Store::new(memory, 10, Accounts::default(), None, Duration::ZERO, metrics)))
}

/// A key of this text.
pub fn key(text: String) -> Key {
    Key { hash: hash_of(&text), text: text.into() }
}

/// A complete object, kept.
pub fn kept(store: &Store, key: Key, kind: Kind, body: &[u8]) -> Arc<Object> {
    let mut header = ResponseHeader::build(200, None).expect("a header");
    for (name, value) in [
        ("content-type", "video/mp4"),
        ("etag", "\"65a4e1d6-1c2000\""),
        ("last-modified", "Fri, 15 Jan 2027 07:59:50 GMT"),
        ("cache-control", "max-age=3600"),
        ("accept-ranges", "bytes"),
    ] {
        header.append_header(name, value).expect("a field");
    }
    header.append_header("content-length", body.len().to_string()).expect("a field");
    let reservation = store.take(charge(&key, &header, body.len() as u64)).expect("room");
    let written = Body::growing(None, Some(reservation));
    body.chunks(CHUNK_BYTES).for_each(|chunk| written.append(Bytes::copy_from_slice(chunk)));
    written.finish();
    let lifetime = Lifetime::lasting(site::now(), Duration::from_secs(3600));
    let object = Arc::new(Object::new(key, kind, header, lifetime, written.into()));
    store.insert(Arc::clone(&object));
    object
}
