//! The disk tier: objects that outlive memory and restarts.
//!
//! [`DiskTier`] is what the store calls: it finds, takes and removes objects, and never makes a network thread wait. It
//! knows nothing of HTTP: an object is a key, metadata bytes and a body. Below it each disk is a log-structured
//! [`volume`] of preallocated region files, whose calls block; only the threads of [`readers`] and [`writer`] make them,
//! but for reads that the page cache answers at once.
//!
//! A disk that is full, read-only, slow, failing or gone costs hits, never an answer and never a wrong byte: what it
//! does not give in time comes from the origin.

// What the store calls.
pub mod tier;
pub mod stored;
pub mod admit;

// One disk of the tier: its threads, what waits for them, and whether it is fit to be used.
pub mod drive;
pub mod queue;
pub mod writer;
pub mod readers;
pub mod health;
pub mod quota;
pub mod notes;
pub mod metrics;

// What a volume stands on: files, and the bytes in them.
pub mod device;
pub mod format;
pub mod region;
pub mod journal;

// The volume: what it holds, how it is read and written, how it comes back after a restart.
pub mod index;
pub mod stats;
pub mod volume;
pub mod recover;

// Around it.
pub mod verify;

pub use admit::Doorkeeper;
pub use drive::{DiskStat, SiteStat};
pub use journal::{NOTE_BYTES, Note};
pub use metrics::{DiskMetrics, Reason};
pub use queue::Write;
pub use quota::Quotas;
pub use stored::{DiskReadError, STORED_BYTES_MAX, Stored};
pub use tier::{DiskError, DiskTier, Offered, directory};
pub use volume::BLOCK_BYTES;
