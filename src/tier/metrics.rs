//! What is counted of requests between nodes.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::hop::Role;
use super::signature::Refusal;

/// Counters, their handles made once.
#[derive(Debug)]
pub struct TierMetrics {
    /// By the discriminants of [`Role`].
    requests: [IntCounter; Role::ALL.len()],
    /// By the discriminants of [`Refusal`].
    refused: [IntCounter; Refusal::ALL.len()],
    loops: IntCounter,
    behind: IntCounter,
}

impl TierMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When they are registered already.
    pub fn register(registry: &Registry) -> Result<TierMetrics, prometheus::Error> {
        let family =
            |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        let requests = family(
            "forebay_hop_requests_total",
            "Requests of other nodes, by what they are to this one: edge, peer.",
            "role",
        )?;
        let refused = family(
            "forebay_hop_refused_total",
            "Requests that said without proof that they are another node's, and were taken for viewers', by reason.",
            "reason",
        )?;
        let loops = IntCounter::new(
            "forebay_loops_total",
            "Requests that had passed this node before, answered 508.",
        )?;
        let behind = IntCounter::new(
            "forebay_hop_behind_total",
            "Requests of nodes that knew of later purges than this one did in time.",
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(loops.clone()))?;
        registry.register(Box::new(behind.clone()))?;
        Ok(TierMetrics {
            requests: Role::ALL.map(|role| requests.with_label_values(&[role.as_str()])),
            refused: Refusal::ALL.map(|reason| refused.with_label_values(&[reason.as_str()])),
            loops,
            behind,
        })
    }

    /// Counts a request of another node.
    pub fn request(&self, role: Role) {
        self.requests[role as usize].inc();
    }

    /// Counts one that is not believed to be.
    pub fn refused(&self, reason: Refusal) {
        self.refused[reason as usize].inc();
    }

    /// Counts a loop.
    pub fn looped(&self) {
        self.loops.inc();
    }

    /// Counts a request whose node is ahead of this one.
    pub fn behind(&self) {
        self.behind.inc();
    }
}
