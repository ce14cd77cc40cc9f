//! Which bodies stand in the arena: those that have proved hot over plaintext HTTP/1.1, where the kernel sends them
//! without a copy.
//!
//! Every body is filled on the heap, so that one which nobody asks for again costs nothing extra. A hot one is copied
//! once, by one task on a thread that serves nobody, and swapped in; readers of the old chunks go on with those. While
//! they do, both copies count in the budget. A move that would have to wait is left out: the body is counted anew.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::arena::Arena;
use super::{Body, Budget, Object, Store};

/// How often a body has to be read for plaintext HTTP/1.1, whole or in part, before it moves.
pub const HOT_SENDS: u32 = 8;

/// Bytes of the smallest body that moves: what a smaller one costs is not the copy.
pub const MOVED_BYTES_MIN: u64 = 64 * 1024;

/// Bytes of the largest body that moves. Its pages are given back at once, by the thread that evicts it: 2 to 3 ms.
pub const MOVED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Hot bodies that may wait for the one that is being moved.
const MOVES_WAITING_MAX: usize = 4;

/// Old copies of moved bodies take at most this part of the budget: one eighth.
const OLD_COPIES_SHARE: u64 = 8;

/// Where a body says that it is hot.
#[derive(Clone, Debug)]
pub(super) struct HotBodies(mpsc::Sender<Arc<Body>>);

/// Moves hot bodies into the arena, one after the other.
#[derive(Debug)]
pub struct Mover {
    arena: Arc<Arena>,
    hot: mpsc::Receiver<Arc<Body>>,
    /// What old copies may take of the store's budget.
    old_copies: Arc<Budget>,
}

impl HotBodies {
    /// Asks for a move; false if too many wait already.
    pub(super) fn offer(&self, body: &Arc<Body>) -> bool {
        self.0.try_send(Arc::clone(body)).is_ok()
    }
}

impl Mover {
    pub(super) fn new(arena: Arc<Arena>, memory: u64) -> (Mover, HotBodies) {
        let (offer, hot) = mpsc::channel(MOVES_WAITING_MAX);
        (Mover { arena, hot, old_copies: Budget::new(memory / OLD_COPIES_SHARE) }, HotBodies(offer))
    }

    /// Moves what is hot into the arena, until the runtime ends.
    pub async fn run(mut self, store: &'static Store) {
        while let Some(body) = self.hot.recv().await {
            let (arena, old_copies) = (Arc::clone(&self.arena), Arc::clone(&self.old_copies));
            let moving = tokio::task::spawn_blocking(move || store.move_body(&body, &arena, &old_copies));
            if let Err(error) = moving.await {
                tracing::error!(%error, "a body was not moved");
            }
        }
    }
}

impl Store {
    /// Has hot bodies moved into the arena, once what this gives runs.
    pub fn use_arena(&mut self, arena: Arc<Arena>) -> Mover {
        let (mover, hot) = Mover::new(Arc::clone(&arena), self.budget().total());
        self.hot = Some((arena, hot));
        mover
    }

    /// Has a body counted that is kept from now on.
    pub(super) fn watch(&self, object: &Object) {
        if let (Some((_, hot)), Some(body)) = (&self.hot, object.body.as_whole())
            && (MOVED_BYTES_MIN..=MOVED_BYTES_MAX).contains(&object.body.held_bytes())
        {
            body.watch(hot);
        }
    }

    /// Moves one body, unless there is no room for its two copies.
    fn move_body(&self, body: &Body, arena: &Arc<Arena>, old_copies: &Arc<Budget>) {
        let (len, _) = body.progress();
        let room = || {
            // What is least wanted goes: a full cache has no room else.
            Some([old_copies.try_take(len)?, self.take_evicting(len)?])
        };
        let moved = !body.is_moved() && arena.is_usable() && {
            match room() {
                Some(room) => body.move_chunks(|chunk| arena.keep(chunk), room),
                None => false,
            }
        };
        if moved {
            self.metrics.moves.inc();
        } else {
            body.count_anew();
        }
    }
}

#[cfg(test)]
mod tests;
