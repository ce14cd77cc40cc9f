//! Revocations: which sessions, subjects and keys are refused although their tokens are good, and until when.
//!
//! Decides by what it was told; who may tell it, what of it outlives a restart and which other nodes learn of it is
//! decided by `revoke` and `fleet`. A revocation names an identity, not a token: whatever token says it is refused, one
//! that is issued afterwards too, until the revocation ends or is taken back.
//!
//! Asked on every request with a good token: nothing revoked costs one load, else a look-up reads a snapshot of one shard
//! and waits for nobody. A change copies one shard.
//!
//! Nodes tell each other what they were told, in no certain order. So each identity has one record, and of two the newer
//! one stands ([`Record::outranks`]): whatever the order, every node comes to the same. What was taken back is therefore
//! remembered until it would have ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use hashbrown::HashTable;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of a session, subject or key identifier that can be named.
pub const VALUE_BYTES_MAX: usize = 1024;

/// Seconds from now that a revocation lasts at most: 90 days.
pub const LIFE_SECONDS_MAX: u64 = 90 * 86_400;

/// Seconds that one lasts where nothing is said: a day.
pub const LIFE_SECONDS_DEFAULT: u64 = 86_400;

/// Snapshots that the table consists of; with the highest limit, one holds about 4000 records.
const SHARDS: usize = 256;

/// What a revocation names of a token. The word is the same in requests, answers, files and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The session that a token was made for.
    Session,
    /// Whom a token was made for.
    Subject,
    /// The key that it is signed with.
    Key,
}

impl Kind {
    /// Every kind, in the order of the discriminants.
    pub const ALL: [Kind; 3] = [Kind::Session, Kind::Subject, Kind::Key];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Session => "session",
            Kind::Subject => "subject",
            Kind::Key => "key",
        }
    }

    /// The kind of a word.
    pub fn of(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Whose tokens are refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// What of a token is compared.
    pub kind: Kind,
    /// With what.
    pub value: Box<str>,
    /// The only token policy it is about; None: every policy.
    pub policy: Option<Box<str>>,
}

/// What is known of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub identity: Identity,
    /// Seconds since the Unix epoch at which it ends, and is forgotten.
    pub until: u64,
    /// Milliseconds since the Unix epoch at which it was given or taken back.
    pub at: u64,
    /// Whether it was taken back.
    pub restored: bool,
}

impl Record {
    /// Whether this one stands where both are known: the newer one; of two from the same millisecond the one that
    /// refuses, and refuses for longer.
    pub fn outranks(&self, other: &Record) -> bool {
        let rank = |record: &Record| (record.at, !record.restored, record.until);
        rank(self) > rank(other)
    }

    /// Whether tokens are refused for it.
    pub fn is_in_force(&self, now: u64) -> bool {
        !self.restored && self.until > now
    }
}

/// What a good token says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bearer<'r> {
    /// The policy that admitted it.
    pub policy: &'r str,
    /// Its session.
    pub session: Option<&'r str>,
    /// Its subject.
    pub subject: Option<&'r str>,
    /// The key that verified it.
    pub key: Option<&'r str>,
}

/// There is no place for a further record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} revocations are remembered, as many as `limits.revocations` allows: raise it, or wait until some have ended"
)]
pub struct Full(pub usize);

/// What became of records that were handed in.
#[derive(Debug, Default)]
pub struct Merged {
    /// Those that were news, as they stand now.
    pub changed: Vec<Arc<Record>>,
    /// How many found no place.
    pub refused: usize,
}

/// The records of a node.
#[derive(Debug)]
pub struct Revocations {
    shards: Box<[ArcSwap<Shard>]>,
    /// Records of each kind, by its discriminant: a kind without any is not looked up.
    by_kind: [AtomicUsize; Kind::ALL.len()],
    seed: u64,
    limit: usize,
    /// Held while records change, never by requests.
    changing: Mutex<()>,
}

type Shard = HashTable<Arc<Record>>;

impl Revocations {
    /// None yet, and at most `limit`. `seed` is random: it decides where records stand.
    pub fn new(limit: usize, seed: u64) -> Revocations {
        Revocations {
            shards: (0..SHARDS).map(|_| ArcSwap::from_pointee(Shard::new())).collect(),
            by_kind: [const { AtomicUsize::new(0) }; Kind::ALL.len()],
            seed,
            limit,
            changing: Mutex::new(()),
        }
    }

    /// What of a token is revoked now; None: nothing. `now` is in seconds since the Unix epoch.
    #[inline]
    pub fn revoked(&self, bearer: &Bearer<'_>, now: u64) -> Option<Kind> {
        let values = [bearer.session, bearer.subject, bearer.key];
        let named = Kind::ALL.into_iter().zip(values);
        let asked = named.filter(|(kind, _)| self.by_kind[*kind as usize].load(Ordering::Acquire) > 0);
        asked
            .filter_map(|(kind, value)| Some((kind, value?)))
            .find(|(kind, value)| self.names(*kind, value, bearer.policy, now))
            .map(|(kind, _)| kind)
    }

    /// Takes records in where they are news. Every request that begins after this returned is decided by them. One that
    /// has ended, or that a newer one stands against, is none. A further one beyond the limit finds no place.
    pub fn merge(&self, records: impl IntoIterator<Item = Record>, now: u64) -> Merged {
        self.take_in(records.into_iter().filter(|record| record.until > now), now)
    }

    fn take_in(&self, records: impl IntoIterator<Item = Record>, now: u64) -> Merged {
        let _changing = self.changing.lock();
        let hashed = |record: Record| (self.hash(record.identity.kind, &record.identity.value), record);
        let mut records: Vec<(u64, Record)> = records.into_iter().map(hashed).collect();
        records.sort_by_key(|(hash, record)| (place(*hash), record.at));
        let mut merged = Merged::default();
        let mut room = self.limit.saturating_sub(self.len());
        if room < records.len() {
            self.forget_ended(now);
            room = self.limit.saturating_sub(self.len());
        }
        for group in records.chunk_by(|(one, _), (other, _)| place(*one) == place(*other)) {
            let shard = &self.shards[place(group[0].0)];
            let mut table = Shard::clone(&shard.load());
            let before = merged.changed.len();
            for (hash, record) in group {
                match self.put(&mut table, *hash, record, &mut room) {
                    Some(Ok(changed)) => merged.changed.push(changed),
                    Some(Err(Full(_))) => merged.refused += 1,
                    None => {}
                }
            }
            if merged.changed.len() > before {
                shard.store(Arc::new(table));
            }
        }
        merged
    }

    /// Revokes, from `at` (milliseconds since the Unix epoch) on. Newer than what is known, whatever the clock says.
    ///
    /// # Errors
    /// When there are as many records as the limit allows.
    pub fn revoke(&self, identity: Identity, until: u64, at: u64) -> Result<Arc<Record>, Full> {
        let mut record = Record { identity, until, at, restored: false };
        loop {
            record.at = at.max(self.record(&record.identity).map_or(0, |known| known.at + 1));
            let mut merged = self.take_in([record.clone()], at / 1000);
            match merged.changed.pop() {
                Some(record) => return Ok(record),
                None if merged.refused > 0 => return Err(Full(self.limit)),
                // Somebody else was faster, and is to be outranked.
                None => {}
            }
        }
    }

    /// Takes a revocation back; None: none is in force for this identity.
    pub fn restore(&self, identity: &Identity, at: u64) -> Option<Arc<Record>> {
        loop {
            let known = self.record(identity).filter(|known| known.is_in_force(at / 1000))?;
            let record = Record { restored: true, at: at.max(known.at + 1), ..Record::clone(&known) };
            if let Some(record) = self.take_in([record], at / 1000).changed.pop() {
                return Some(record);
            }
        }
    }

    /// Forgets what has ended. Called now and then.
    pub fn sweep(&self, now: u64) {
        let _changing = self.changing.lock();
        self.forget_ended(now);
    }

    /// Every record that has not ended, those that were taken back included.
    pub fn records(&self, now: u64) -> Vec<Arc<Record>> {
        let shards = self.shards.iter().map(ArcSwap::load_full);
        let living = |shard: Arc<Shard>| {
            let living = shard.iter().filter(|record| record.until > now).cloned();
            living.collect::<Vec<_>>()
        };
        shards.flat_map(living).collect()
    }

    /// Records held, those that were taken back included.
    pub fn len(&self) -> usize {
        self.by_kind.iter().map(|count| count.load(Ordering::Acquire)).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many the table may hold.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// What is known of an identity.
    pub fn record(&self, identity: &Identity) -> Option<Arc<Record>> {
        let hash = self.hash(identity.kind, &identity.value);
        self.shards[place(hash)].load().find(hash, |record| record.identity == *identity).cloned()
    }

    fn names(&self, kind: Kind, value: &str, policy: &str, now: u64) -> bool {
        let hash = self.hash(kind, value);
        let names = |record: &Arc<Record>| {
            let identity = &record.identity;
            identity.kind == kind
                && *identity.value == *value
                && identity.policy.as_deref().is_none_or(|only| only == policy)
                && record.is_in_force(now)
        };
        self.shards[place(hash)].load().find(hash, names).is_some()
    }

    /// None: it is no news.
    fn put(
        &self,
        table: &mut Shard,
        hash: u64,
        record: &Record,
        room: &mut usize,
    ) -> Option<Result<Arc<Record>, Full>> {
        if let Some(known) = table.find_mut(hash, |known| known.identity == record.identity) {
            if !record.outranks(known) {
                return None;
            }
            *known = Arc::new(record.clone());
            return Some(Ok(Arc::clone(known)));
        }
        if *room == 0 {
            return Some(Err(Full(self.limit)));
        }
        *room -= 1;
        let record = Arc::new(record.clone());
        let rehash = |record: &Arc<Record>| self.hash(record.identity.kind, &record.identity.value);
        table.insert_unique(hash, Arc::clone(&record), rehash);
        self.by_kind[record.identity.kind as usize].fetch_add(1, Ordering::Release);
        Some(Ok(record))
    }

    /// With `changing` held.
    fn forget_ended(&self, now: u64) {
        for shard in &self.shards {
            let table = shard.load();
            if table.iter().all(|record| record.until > now) {
                continue;
            }
            let mut left = Shard::clone(&table);
            left.retain(|record| {
                let stays = record.until > now;
                if !stays {
                    self.by_kind[record.identity.kind as usize].fetch_sub(1, Ordering::Release);
                }
                stays
            });
            shard.store(Arc::new(left));
        }
    }

    fn hash(&self, kind: Kind, value: &str) -> u64 {
        xxh3_64_with_seed(value.as_bytes(), self.seed ^ kind as u64)
    }
}

/// Which shard a hash belongs to. The table inside goes by other bits.
fn place(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

#[cfg(test)]
mod tests;
