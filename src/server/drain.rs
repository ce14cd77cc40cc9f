//! How a node is told to stop: in two steps, so that load balancers learn of it before connections are refused.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::admin::Readiness;

/// Tells a node to stop; may be told more than once.
pub struct Drain {
    /// It is asked to stop.
    begun: watch::Sender<bool>,
    /// It takes no new connections.
    stop: watch::Sender<bool>,
    asked: Notify,
    readiness: Arc<Readiness>,
}

impl Drain {
    pub(super) fn new(readiness: Arc<Readiness>) -> Arc<Drain> {
        let (begun, stop) = (watch::Sender::new(false), watch::Sender::new(false));
        Arc::new(Drain { begun, stop, asked: Notify::new(), readiness })
    }

    /// Says that the node is not ready any more, and has [`Node::stopped`](super::Node::stopped) return.
    pub fn start(&self) {
        self.readiness.set_draining();
        self.begun.send_replace(true);
        self.asked.notify_one();
    }

    /// Stops accepting.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Tells when the node is asked to stop.
    pub(super) fn draining(&self) -> watch::Receiver<bool> {
        self.begun.subscribe()
    }

    /// Tells when it takes no new connections.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Returns when the node is asked to stop.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }
}
