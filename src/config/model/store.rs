//! `[store]` and `[limits]`, checked: the budgets of the cache, and the bounds on what outside input can grow.

use std::path::PathBuf;
use std::time::Duration;

/// `[store]`
#[derive(Clone, Debug)]
pub struct Store {
    /// Bytes of memory for bodies and their metadata, in flight ones included.
    pub memory: u64,
    /// Disks under the memory.
    pub disks: Vec<Disk>,
    /// Once a disk is full, an object enters it when it is asked for a second time within so long; zero: at the first.
    pub disk_admit_within: Duration,
    /// An object that is fresh for less than this stays in memory.
    pub disk_ttl_min: Duration,
}

/// One entry of `store.disk`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The folder.
    pub path: PathBuf,
    /// Bytes that it may take.
    pub size: u64,
}

/// `[limits]`
#[derive(Clone, Debug)]
pub struct Limits {
    /// Viewers' connections open at once; further ones are closed at accept.
    pub connections: usize,
    /// Bytes of a request target (path and query).
    pub request_target: usize,
    /// Bytes of a playlist; a longer one is passed on unread and not kept.
    pub playlist: u64,
    /// Percent of `store.memory` that one object may take whole; a larger one is kept in slices, or streams through
    /// `window` and is not kept.
    pub object_share: u8,
    /// Bytes beyond which an object is kept in slices where its origin allows.
    pub slice_above: u64,
    /// Bytes of a large or uncacheable body held between origin and viewer.
    pub window: u64,
    /// How long a request waits for another request's fetch to answer; then it gets a stale copy, or 504.
    pub coalesce_wait: Duration,
    /// Requests that wait for one fetch at once; further ones are answered 503.
    pub waiters: usize,
    /// Ranges that one request may ask for; one that asks for more gets the whole.
    pub ranges: usize,
    /// Percent of an object that must have arrived for a fetch without readers to go on.
    pub abandon_below: u8,
    /// How long a key is remembered as uncacheable, so that nobody queues behind it.
    pub uncacheable_memory: Duration,
    /// Bytes of a header field, cookie or claim in a key; a request with a longer one passes through.
    pub key_value: usize,
    /// Bytes of what is remembered of verified tokens, by each policy, and by its session tokens.
    pub token_verdicts: u64,
    /// Answers kept under one key that vary by fields of the request; a further one takes the place of the first.
    pub variants: usize,
    /// Revocations remembered; a further one is refused.
    pub revocations: usize,
    /// Used tokens remembered; while there are as many, a further one that is good once is refused.
    pub replays: usize,
    /// Subjects whose streams are counted; while there are as many, a further one's are not limited.
    pub stream_subjects: usize,
    /// Playlists whose state is remembered.
    pub playlists: usize,
    /// Assets that playlists have named, remembered.
    pub named_assets: usize,
    /// Requests held until a playlist grows, of all clients; a further one is answered 503.
    pub parked: usize,
    /// The same of one client address.
    pub parked_per_client: usize,
    /// Fetches ahead of the first request under way at once.
    pub prefetch_requests: usize,
    /// Bytes of them that are under way.
    pub prefetch_bytes: u64,
    /// Requests for keys that one client may make in a minute.
    pub key_requests: u32,
    /// Clients whose requests for keys are counted.
    pub key_clients: usize,
}
