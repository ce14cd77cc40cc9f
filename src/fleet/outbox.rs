//! Purges that are yet to be told, and the file that they and the standing are noted in.
//!
//! Bounded in bytes (`fleet.outbox`): beyond it the oldest become one purge of everything, hard if one of them was. A purge
//! is noted before it is answered, and taken out when Redis has it. Whoever calls may wait for a disk; what others want to
//! know of it they read beside ([`Seen`]).

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::message::{Message, PurgeId};
use super::state::{Kept, Line, Standing, StateFile};
use crate::store::purges::PurgeMode;

/// What waits, and what is noted.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: VecDeque<(Message, u64)>,
    bytes: u64,
    bytes_max: u64,
    node: String,
    standing: Option<Standing>,
    file: Option<StateFile>,
    seen: Arc<Seen>,
}

/// What is known of an outbox without waiting for a disk.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Purges that wait.
    pub(super) waiting: AtomicUsize,
    /// Why what waits would not outlive a kill; None: it would, or there is no file.
    pub(super) trouble: Mutex<Option<String>>,
}

/// Purges that have become one of everything.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Folded {
    /// Those.
    pub(super) ids: Vec<PurgeId>,
    /// That one.
    pub(super) into: PurgeId,
}

impl Outbox {
    /// What the file has kept, where there is one.
    ///
    /// # Errors
    /// When the file cannot be read or created.
    pub(super) fn open(
        file: Option<&Path>,
        node: &str,
        bytes_max: u64,
    ) -> io::Result<(Outbox, Option<String>)> {
        let (file, kept) = match file {
            Some(path) => StateFile::open(path).map(|(file, kept)| (Some(file), kept))?,
            None => (None, Kept::default()),
        };
        let mut outbox = Outbox {
            waiting: VecDeque::new(),
            bytes: 0,
            bytes_max,
            node: node.to_owned(),
            standing: kept.standing,
            file,
            seen: Arc::default(),
        };
        kept.outbox.into_iter().for_each(|message| outbox.add(message));
        outbox.seen.waiting.store(outbox.waiting.len(), Ordering::Relaxed);
        if kept.damage.is_some() {
            // There may have been purges in it that nobody else knows of.
            outbox.put(Message::everything(node, PurgeMode::Soft));
        }
        Ok((outbox, kept.damage))
    }

    /// How far this node had come, as noted last.
    pub(super) fn standing(&self) -> Option<Standing> {
        self.standing.clone()
    }

    /// What is known of it without waiting.
    pub(super) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    /// Those that have waited longest.
    pub(super) fn first(&self, count: usize) -> Vec<Message> {
        self.waiting.iter().take(count).map(|(message, _)| message.clone()).collect()
    }

    /// Their identifiers.
    pub(super) fn ids(&self) -> Vec<PurgeId> {
        self.waiting.iter().map(|(message, _)| message.id).collect()
    }

    /// Adds a purge, and notes it. What had to go for it is given back.
    pub(super) fn put(&mut self, message: Message) -> Option<Folded> {
        self.add(message.clone());
        let folded = self.fold();
        if folded.is_some() {
            // What was noted no longer holds.
            self.note(None);
        } else {
            self.note(Some(Line::Untold(message)));
        }
        folded
    }

    /// Takes out what Redis has.
    pub(super) fn told(&mut self, ids: &[PurgeId]) {
        self.waiting.retain(|(message, _)| !ids.contains(&message.id));
        self.bytes = self.waiting.iter().map(|(_, bytes)| bytes).sum();
        self.note(Some(Line::Told(ids.to_vec())));
    }

    /// Notes how far this node has come.
    pub(super) fn stand(&mut self, standing: &Standing) {
        self.standing = Some(standing.clone());
        self.note(Some(Line::applied(standing)));
    }

    fn add(&mut self, message: Message) {
        let bytes = message.to_text().len() as u64;
        self.bytes += bytes;
        self.waiting.push_back((message, bytes));
    }

    /// Has the oldest become one, until there is room for a quarter.
    fn fold(&mut self) -> Option<Folded> {
        if self.bytes <= self.bytes_max {
            return None;
        }
        let mut ids = Vec::new();
        let mut mode = PurgeMode::Soft;
        while self.bytes > self.bytes_max / 4 * 3
            && let Some((message, bytes)) = self.waiting.pop_front()
        {
            self.bytes -= bytes;
            ids.push(message.id);
            if message.mode == PurgeMode::Hard {
                mode = PurgeMode::Hard;
            }
        }
        let all = Message::everything(&self.node, mode);
        let into = all.id;
        let bytes = all.to_text().len() as u64;
        self.bytes += bytes;
        self.waiting.push_front((all, bytes));
        Some(Folded { ids, into })
    }

    /// Notes a line, or all anew.
    fn note(&mut self, line: Option<Line>) {
        self.seen.waiting.store(self.waiting.len(), Ordering::Relaxed);
        let Some(file) = &mut self.file else { return };
        let all = || {
            let standing = self.standing.iter().map(Line::applied);
            standing.chain(self.waiting.iter().map(|(message, _)| Line::Untold(message.clone()))).collect()
        };
        let noted = match line {
            Some(line) => file.note(&[line], all),
            None => file.rewrite(all()),
        };
        let trouble = noted.err().map(|error| error.to_string());
        let mut known = self.seen.trouble.lock();
        if let Some(error) = trouble.as_deref().filter(|_| known.is_none()) {
            tracing::error!(
                error,
                "fleet.state cannot be written: a restart may forget purges that wait for Redis"
            );
        }
        *known = trouble;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::store::purges::PurgeTarget;

    fn message(count: usize, mode: PurgeMode) -> Message {
        let target = PurgeTarget::Tag { site: None, tag: format!("{count:0100}") };
        Message { id: PurgeId::random(), node: "n".to_owned(), mode, targets: vec![target] }
    }

    #[test]
    fn beyond_its_bound_the_oldest_become_one_purge_of_everything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet");
        for hard in [false, true] {
            let _ = std::fs::remove_file(&path);
            let (mut outbox, damage) = Outbox::open(Some(&path), "n", 4096).unwrap();
            assert_eq!(damage, None);
            let mut folded = None;
            for count in 0..1000 {
                let mode = if hard && count == 0 { PurgeMode::Hard } else { PurgeMode::Soft };
                folded = outbox.put(message(count, mode)).or(folded);
                assert!(outbox.bytes <= 4096 + 256, "{}", outbox.bytes);
            }
            let first = outbox.first(1).remove(0);
            assert!(first.is_everything());
            assert_eq!((first.mode == PurgeMode::Hard, first.id), (hard, folded.unwrap().into));
            let (again, _) = Outbox::open(Some(&path), "n", 4096).unwrap();
            assert_eq!(again.first(1000), outbox.first(1000));
        }
    }

    #[test]
    fn what_may_have_been_in_a_damaged_file_is_told_as_everything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet");
        std::fs::write(&path, "something else\n").unwrap();
        let (outbox, damage) = Outbox::open(Some(&path), "n", 4096).unwrap();
        assert!(damage.is_some() && outbox.standing().is_none());
        assert!(outbox.first(2).iter().all(Message::is_everything) && outbox.ids().len() == 1);
        let (outbox, damage) = Outbox::open(Some(&path), "n", 4096).unwrap();
        assert_eq!((damage, outbox.ids().len()), (None, 1), "it is told once it was told");
    }
}
