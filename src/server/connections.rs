//! Counts viewers' connections, and closes those beyond the cap.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use prometheus::{IntCounter, IntGauge};
use tokio::sync::Notify;

use crate::observe::Metrics;

/// The connections that are open.
pub(super) struct Connections {
    count: AtomicUsize,
    max: usize,
    gauge: IntGauge,
    refused: IntCounter,
    closed: Notify,
}

impl Connections {
    pub(super) fn new(metrics: &Metrics, max: usize) -> Arc<Connections> {
        Arc::new(Connections {
            count: AtomicUsize::new(0),
            max,
            gauge: metrics.connections().clone(),
            refused: metrics.connections_refused().clone(),
            closed: Notify::new(),
        })
    }

    pub(super) fn count(&self) -> &AtomicUsize {
        &self.count
    }

    /// Says that the node has ended.
    pub(super) fn close_for_good(&self) {
        self.closed.notify_waiters();
    }

    /// Resolves when the node has ended.
    pub(super) async fn closed_for_good(&self) {
        self.closed.notified().await;
    }

    fn enter(self: &Arc<Self>) -> Option<Open> {
        if self.count.fetch_add(1, Ordering::AcqRel) >= self.max {
            self.count.fetch_sub(1, Ordering::AcqRel);
            self.refused.inc();
            return None;
        }
        self.gauge.inc();
        Some(Open(Arc::clone(self)))
    }
}

/// One open connection.
struct Open(Arc<Connections>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.gauge.dec();
    }
}

/// An application whose connections are counted.
pub(super) struct Counted<A> {
    app: Arc<A>,
    connections: Arc<Connections>,
}

impl<A> Counted<A> {
    pub(super) fn new(app: A, connections: Arc<Connections>) -> Counted<A> {
        Counted { app: Arc::new(app), connections }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Counted<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _open = self.connections.enter()?;
        let mut again = self.app.process_new(stream, shutdown).await;
        while let Some(stream) = again {
            again = self.app.process_new(stream, shutdown).await;
        }
        None
    }

    async fn cleanup(&self) {
        self.app.cleanup().await;
    }
}
