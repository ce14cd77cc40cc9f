//! Counts viewers' connections, closes those beyond the cap, and bounds the time a request's header may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;
use pingora_timeout::fast_timeout::fast_sleep;
use prometheus::{IntCounter, IntGauge};
use tokio::sync::watch;

use super::proxy_protocol::ProxyProtocol;
use super::zero_copy;
use crate::observe::Metrics;
use crate::proxy::HeaderArrival;
use crate::store::arena::Arena;

/// The connections that are open.
pub(super) struct Connections {
    count: AtomicUsize,
    max: usize,
    gauge: IntGauge,
    refused: IntCounter,
    closed: watch::Sender<bool>,
}

impl Connections {
    pub(super) fn new(metrics: &Metrics, max: usize) -> Arc<Connections> {
        Arc::new(Connections {
            count: AtomicUsize::new(0),
            max,
            gauge: metrics.connections().clone(),
            refused: metrics.connections_refused().clone(),
            closed: watch::Sender::new(false),
        })
    }

    /// Connections open now.
    pub(super) fn open(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Says that the node has ended.
    pub(super) fn close_for_good(&self) {
        self.closed.send_replace(true);
    }

    /// Resolves when the node has ended.
    pub(super) async fn closed_for_good(&self) {
        // The sender lives as long as `self`.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
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

/// An application whose connections are counted, and sent what is in the arena without a copy where they are plaintext.
pub(super) struct Counted<A> {
    app: Arc<A>,
    connections: Arc<Connections>,
    /// What plaintext connections are sent without a copy.
    arena: Option<Arc<Arena>>,
    /// What takes the header that a load balancer puts before what plaintext connections say.
    proxy: Option<Arc<ProxyProtocol>>,
}

impl<A> Clone for Counted<A> {
    fn clone(&self) -> Self {
        Counted {
            app: Arc::clone(&self.app),
            connections: Arc::clone(&self.connections),
            arena: self.arena.clone(),
            proxy: self.proxy.clone(),
        }
    }
}

impl<A> Counted<A> {
    pub(super) fn new(
        app: A,
        connections: Arc<Connections>,
        arena: Option<Arc<Arena>>,
        proxy: Option<Arc<ProxyProtocol>>,
    ) -> Counted<A> {
        Counted { app: Arc::new(app), connections, arena, proxy }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Counted<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _open = self.connections.enter()?;
        let stream = match &self.proxy {
            // Boxed, so that connections do not carry the state of a wait.
            Some(proxy) => Box::pin(proxy.receive(stream)).await?,
            None => stream,
        };
        let stream = match &self.arena {
            Some(arena) => zero_copy::wrap(stream, arena),
            None => stream,
        };
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

/// An application that gives each request's header so much time and no more.
pub(super) struct Timed<A> {
    app: Arc<A>,
    /// From the opening of a connection to the end of its first header.
    first: Duration,
    /// From the end of an answer to the end of the next header.
    next: Duration,
}

impl<A> Timed<A> {
    pub(super) fn new(app: A, request_timeout: Duration, idle_timeout: Duration) -> Timed<A> {
        Timed { app: Arc::new(app), first: request_timeout, next: idle_timeout + request_timeout }
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> HttpServerApp for Timed<A> {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if session.is_http2() {
            // Its header has come already.
            return self.app.process_new_http(session, shutdown).await;
        }
        let reused = session.take_connection_user_context().is_some();
        let limit = if reused { self.next } else { self.first };
        let arrival = Arc::new(HeaderArrival::default());
        session.set_connection_user_context(Some(Box::new(Arc::clone(&arrival))));
        tokio::select! {
            biased;
            reusable = self.app.process_new_http(session, shutdown) => reusable,
            () = missing_header(&arrival, limit) => None,
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.app.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.app.server_options()
    }

    async fn http_cleanup(&self) {
        self.app.http_cleanup().await;
    }
}

/// Resolves if the header has not come within `limit`.
async fn missing_header(arrival: &HeaderArrival, limit: Duration) {
    fast_sleep(limit).await;
    if arrival.has_come() {
        std::future::pending::<()>().await;
    }
}
