//! One copy of each playlist for all viewers of a thread: who reads a text that another one still holds, gets that one's.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use anyhow::{Context, Result};
use xxhash_rust::xxh3::xxh3_128;

use super::Playlist;

/// The most playlists that are looked for, for each thread; beyond it those that nobody holds any more are forgotten, and then all.
const SHARED_MAX: usize = 8_192;

thread_local! {
    static SHARED: RefCell<HashMap<u128, Weak<Playlist>>> = RefCell::default();
}

/// Reads a playlist, or takes the one that another viewer has read from the same text.
pub(crate) fn parse(text: &[u8]) -> Result<Rc<Playlist>> {
    let digest = xxh3_128(text);
    let held = SHARED.with_borrow(|shared| shared.get(&digest).and_then(Weak::upgrade));
    if let Some(held) = held {
        return Ok(held);
    }
    let text = std::str::from_utf8(text).context("a playlist that is not UTF-8")?;
    let playlist = Rc::new(Playlist::parse(text)?);
    SHARED.with_borrow_mut(|shared| {
        if shared.len() >= SHARED_MAX {
            shared.retain(|_, held| held.strong_count() > 0);
        }
        if shared.len() >= SHARED_MAX {
            shared.clear();
        }
        shared.insert(digest, Rc::downgrade(&playlist));
    });
    Ok(playlist)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn text(sequence: usize) -> Vec<u8> {
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n#EXTINF:4,\na.m4s\n")
            .into_bytes()
    }

    #[test]
    fn the_same_text_is_one_playlist_as_long_as_somebody_holds_it() {
        let first = parse(&text(1)).unwrap();
        assert!(Rc::ptr_eq(&first, &parse(&text(1)).unwrap()));
        assert!(!Rc::ptr_eq(&first, &parse(&text(2)).unwrap()));
    }

    #[test]
    fn what_nobody_holds_is_forgotten_before_the_limit_is_passed() {
        let held = parse(&text(0)).unwrap();
        for sequence in 1..=2 * SHARED_MAX {
            parse(&text(sequence)).unwrap();
            assert!(SHARED.with_borrow(HashMap::len) <= SHARED_MAX);
        }
        assert!(Rc::ptr_eq(&held, &parse(&text(0)).unwrap()));
    }
}
