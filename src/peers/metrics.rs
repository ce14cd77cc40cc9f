//! What became of requests to the nodes of this tier.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// What became of a request for a key of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Asked {
    /// The owner has answered.
    Answered,
    /// It could not be reached, or does not say that it is there.
    Failed,
    /// It does not answer requests of this node.
    Refused,
    /// Those before this node in the order of the key are away: it asks the origin itself.
    Own,
}

impl Asked {
    const ALL: [Asked; 4] = [Asked::Answered, Asked::Failed, Asked::Refused, Asked::Own];

    const fn as_str(self) -> &'static str {
        match self {
            Asked::Answered => "answered",
            Asked::Failed => "failed",
            Asked::Refused => "refused",
            Asked::Own => "own",
        }
    }
}

/// The handles, made once.
pub(super) struct PeerMetrics {
    requests: [IntCounter; Asked::ALL.len()],
}

impl PeerMetrics {
    pub(super) fn register(registry: &Registry) -> Result<PeerMetrics, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "forebay_peer_requests_total",
                "Requests to the nodes of this tier that own a key, by what became of them.",
            ),
            &["result"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        Ok(PeerMetrics { requests: Asked::ALL.map(|asked| requests.with_label_values(&[asked.as_str()])) })
    }

    pub(super) fn count(&self, asked: Asked) {
        self.requests[asked as usize].inc();
    }
}
