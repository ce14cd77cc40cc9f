//! What the node tells about itself: one record per request, turned into metrics, an access line and a viewer count.
//!
//! [`Observer::record`] is called once per request, at its end, on the network threads: it takes no lock that all
//! requests share, makes no label look-up and never waits. What it decides is only where a record goes; what a request
//! was is decided by the stations before it, and the token must already be out of every text it is given.

// What comes in.
pub mod record;

// Where it goes.
pub mod access_log;
pub mod cmcd;
pub mod metrics;
pub mod staleness;
pub mod viewers;

// The node's own messages.
pub mod log;
mod timestamp;

use std::sync::Arc;
use std::time::Instant;

pub use access_log::AccessLog;
pub use metrics::Metrics;
pub use record::{Denial, Protocol, Record};
pub use staleness::Staleness;
pub use viewers::Viewers;

/// Everything a finished request is told to.
#[derive(Debug)]
pub struct Observer {
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// One line per request.
    pub access_log: AccessLog,
    /// Who watches what.
    pub viewers: Arc<Viewers>,
    /// Whether access lines tell fingerprints of TLS clients, where they are known.
    pub tls_fingerprints: bool,
}

impl Observer {
    /// Counts, logs and remembers the viewer of one finished request. `now` is when it ended.
    pub fn record(&self, record: &Record<'_>, now: Instant) {
        self.metrics.record(record);
        self.viewers.record(record, now);
        self.access_log.record(record);
    }
}
