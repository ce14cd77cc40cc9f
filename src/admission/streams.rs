//! How many streams a subject has at once: sessions seen within a sliding window.
//!
//! Decides for this node alone; `fleet` asks for all nodes. A session that is known goes on, whatever the limit; a new one
//! beyond it is refused until one of the others has not been seen for the window. When the table is full, subjects it
//! has no place for are admitted without a limit, and counted: turning paying viewers away would be worse. Called for
//! tokens whose streams are limited, after signature and scope were found good.
//!
//! A session that was noted within the last third of the window costs a read of one shard, and writes nothing.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::RwLock;
use xxhash_rust::xxh3::Xxh3;

/// Streams that a subject may have at once, at most.
pub const STREAMS_MAX: u32 = 1000;

/// Locks that the table is spread over.
const SHARDS: usize = 256;

/// Stands for a subject under a policy, or for a session: the same on every node.
///
/// Both are text that an issuer has signed, or the viewer's own address and software; who made two of the same digest
/// would share one place with themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name(u128);

impl Name {
    /// Of parts; the same text cut elsewhere is another name.
    pub fn of(parts: &[&[u8]]) -> Name {
        let mut hash = Xxh3::new();
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Name(hash.digest128())
    }

    /// As hexadecimal text.
    pub fn to_hex(self) -> String {
        format!("{:032x}", self.0)
    }
}

/// What of a subject's streams is asked.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Whose.
    pub subject: Name,
    /// Which.
    pub session: Name,
    /// How many the subject may have at once.
    pub limit: u32,
    /// How long a session counts after it was last seen.
    pub window: Duration,
}

/// What this node knows of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Noted within the last third of the window: it goes on, and nothing is noted.
    Lately,
    /// Noted within the window: it goes on, and is to be noted again.
    Before,
    /// Not known; so many others are.
    Never {
        /// Sessions of the subject within the window.
        others: u32,
    },
}

/// What became of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes on.
    Admitted,
    /// The subject has as many as it may.
    TooMany,
    /// It goes on, uncounted: the table is full.
    Uncounted,
}

/// The sessions of subjects.
#[derive(Debug)]
pub struct Streams {
    shards: Box<[RwLock<HashMap<Name, Subject, Placed>>]>,
    subjects: AtomicUsize,
    limit: usize,
}

#[derive(Debug)]
struct Subject {
    /// Milliseconds.
    window: u64,
    sessions: Vec<Session>,
}

#[derive(Debug)]
struct Session {
    name: Name,
    /// Milliseconds since the Unix epoch.
    noted: AtomicU64,
}

impl Streams {
    /// Of at most `limit` subjects at once.
    pub fn new(limit: usize) -> Streams {
        Streams {
            shards: (0..SHARDS).map(|_| RwLock::new(HashMap::with_hasher(Placed))).collect(),
            subjects: AtomicUsize::new(0),
            limit,
        }
    }

    /// What is known of a session, without noting it. `now` in milliseconds since the Unix epoch.
    pub fn look(&self, stream: &Stream, now: u64) -> Seen {
        let window = millis(stream.window);
        let shard = self.shard(stream.subject).read();
        let Some(subject) = shard.get(&stream.subject) else {
            return Seen::Never { others: 0 };
        };
        let mut others = 0;
        for session in &subject.sessions {
            let age = now.saturating_sub(session.noted.load(Ordering::Relaxed));
            if age >= window {
                continue;
            }
            if session.name == stream.session {
                return if age < window / 3 { Seen::Lately } else { Seen::Before };
            }
            others += 1;
        }
        Seen::Never { others }
    }

    /// Decides over a session, and notes it if it goes on.
    pub fn admit(&self, stream: &Stream, now: u64) -> Decision {
        self.enter(stream, now, stream.limit)
    }

    /// Notes a session that goes on by somebody else's decision.
    pub fn note(&self, stream: &Stream, now: u64) {
        self.enter(stream, now, STREAMS_MAX);
    }

    /// Forgets a session that does not go on by somebody else's decision.
    pub fn forget(&self, stream: &Stream) {
        if let Some(subject) = self.shard(stream.subject).write().get_mut(&stream.subject) {
            subject.sessions.retain(|session| session.name != stream.session);
        }
    }

    /// Forgets sessions that have not been seen for their window. Called now and then.
    pub fn sweep(&self, now: u64) {
        for shard in &self.shards {
            self.forget_ended(&mut shard.write(), now);
        }
    }

    /// Subjects known.
    pub fn len(&self) -> usize {
        self.subjects.load(Ordering::Relaxed)
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn enter(&self, stream: &Stream, now: u64, limit: u32) -> Decision {
        let window = millis(stream.window);
        let mut shard = self.shard(stream.subject).write();
        if let Some(subject) = shard.get_mut(&stream.subject) {
            subject.window = window;
            subject.forget_ended(now);
            if let Some(known) = subject.sessions.iter().find(|session| session.name == stream.session) {
                known.noted.store(now, Ordering::Relaxed);
                return Decision::Admitted;
            }
            if subject.sessions.len() >= limit as usize {
                return Decision::TooMany;
            }
            subject.sessions.push(Session { name: stream.session, noted: now.into() });
            return Decision::Admitted;
        }
        if limit == 0 {
            return Decision::TooMany;
        }
        if !self.take_place() {
            self.forget_ended(&mut shard, now);
            if !self.take_place() {
                return Decision::Uncounted;
            }
        }
        let sessions = vec![Session { name: stream.session, noted: now.into() }];
        shard.insert(stream.subject, Subject { window, sessions });
        Decision::Admitted
    }

    fn shard(&self, subject: Name) -> &RwLock<HashMap<Name, Subject, Placed>> {
        &self.shards[(subject.0 >> 64) as usize % SHARDS]
    }

    fn take_place(&self) -> bool {
        let more = |count| (count < self.limit).then_some(count + 1);
        self.subjects.try_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn forget_ended(&self, shard: &mut HashMap<Name, Subject, Placed>, now: u64) {
        let before = shard.len();
        shard.retain(|_, subject| {
            subject.forget_ended(now);
            !subject.sessions.is_empty()
        });
        self.subjects.fetch_sub(before - shard.len(), Ordering::Relaxed);
        if shard.capacity() > 4 * shard.len().max(16) {
            shard.shrink_to_fit();
        }
    }
}

impl Subject {
    fn forget_ended(&mut self, now: u64) {
        let window = self.window;
        let living = |session: &Session| now.saturating_sub(session.noted.load(Ordering::Relaxed)) < window;
        self.sessions.retain(living);
    }
}

/// Names are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct Placed;

impl std::hash::BuildHasher for Placed {
    type Hasher = Place;

    fn build_hasher(&self) -> Place {
        Place(0)
    }
}

struct Place(u64);

impl std::hash::Hasher for Place {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, name: u128) {
        // The low half: the high one chose the shard.
        self.0 = name as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn millis(window: Duration) -> u64 {
    u64::try_from(window.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
