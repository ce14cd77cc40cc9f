//! The look-up of a key in the memory tier, among as many objects as an edge holds of a few channels.

use forebay::asset::Kind;
use forebay::key::Key;
use forebay::store::Store;

use super::case::Case;
use super::objects;

/// Objects held. Their bodies are small, for look-ups do not read them.
const OBJECTS: u64 = 10_000;

/// Bytes of each.
const BODY_BYTES: usize = 1024;

/// A step through the keys that visits each once, and no two neighbours after each other.
const STRIDE: u64 = 7_919;

/// Look-ups of these keys.
pub struct LookUp {
    store: &'static Store,
    keys: Vec<Key>,
    expected: u64,
}

/// Of keys that are held.
pub fn hit() -> LookUp {
    let (store, keys) = filled();
    LookUp { store, keys, expected: BODY_BYTES as u64 }
}

/// Of keys that are not.
pub fn miss() -> LookUp {
    let (store, _) = filled();
    let keys = (0..OBJECTS).map(|place| objects::key(text(place, "m3u8"))).collect();
    LookUp { store, keys, expected: 0 }
}

fn filled() -> (&'static Store, Vec<Key>) {
    let store = objects::store(256 << 20);
    let keys: Vec<Key> = (0..OBJECTS).map(|place| objects::key(text(place, "m4s"))).collect();
    for key in &keys {
        objects::kept(store, key.clone(), Kind::Segment, &[0; BODY_BYTES]);
    }
    (store, keys)
}

fn text(place: u64, extension: &str) -> String {
    format!("live.example.com /live/channel-{}/1080p/segment-{:010}.{extension}", place % 100, place / 100)
}

impl Case for LookUp {
    fn run(&self, turn: u64) -> u64 {
        let Some(key) = self.keys.get((turn.wrapping_mul(STRIDE) % OBJECTS) as usize) else {
            return u64::MAX;
        };
        let object = self.store.get(key.hash, &key.text);
        object.and_then(|object| object.length()).unwrap_or_default()
    }

    fn expected(&self) -> u64 {
        self.expected
    }
}
