//! The threads of a node: those that serve viewers, and the one beside them for the operator's listener and for what goes on
//! by itself.
//!
//! Decides how many serve, where they run and what they do first. A connection stays with the thread that has accepted it.

mod processors;

use std::sync::Arc;

use pingora::apps::ServerApp;
use pingora::server::ListenFds;
use pingora::services::Service as _;
use pingora::services::listening::Service;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;

use super::StartError;
use super::connections::Connections;
use crate::config::model::Server;
use crate::wake;
use processors::Processors;

/// A runtime whose tasks end when it is dropped, wherever that is: a node may end, or not start, within another's tasks.
pub(super) struct Threads {
    handle: Handle,
    runtime: Option<Runtime>,
}

/// A thread for viewers that does not serve yet.
pub(super) struct ViewerThread {
    runtime: Threads,
    processors: Option<Processors>,
    place: usize,
}

/// How many threads serve viewers.
pub(super) fn count(server: &Server) -> usize {
    server.threads.map_or_else(cores, std::num::NonZero::get)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

// === impl Threads ===

impl Threads {
    fn start(builder: &mut Builder) -> Result<Threads, StartError> {
        let runtime = builder.enable_all().build().map_err(StartError::Threads)?;
        Ok(Threads { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// The operator's listener, health checks and what else goes on by itself: a thread of their own.
    pub(super) fn control() -> Result<Threads, StartError> {
        Threads::start(Builder::new_multi_thread().worker_threads(1).thread_name("forebay-control"))
    }

    /// What starts tasks there.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs on the calling thread until `future` has ended.
    fn run(mut self, future: impl Future<Output = ()>) {
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(future);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

// === impl ViewerThread ===

impl ViewerThread {
    /// As many as [`count`] says.
    pub(super) fn all(server: &Server) -> Result<Vec<ViewerThread>, StartError> {
        let count = count(server);
        let processors = Processors::of(count, cores(), server.pin_threads);
        let thread = |place| {
            let runtime = viewer_runtime(processors.clone())?;
            Ok(ViewerThread { runtime, processors: processors.clone(), place })
        };
        (0..count).map(thread).collect()
    }

    /// Accepts viewers until `stopping`, and serves them until the node has ended.
    pub(super) fn serve<A: ServerApp + Send + Sync + 'static>(
        self,
        (mut service, fds): (Service<A>, ListenFds),
        stopping: watch::Receiver<bool>,
        connections: Arc<Connections>,
    ) -> Result<(), StartError> {
        let serve = async move {
            wake::relay_here();
            service.start_service(Some(fds), stopping, 1).await;
            connections.closed_for_good().await;
        };
        let thread = move || {
            if let Some(processors) = &self.processors {
                processors.keep(self.place);
            }
            self.runtime.run(serve);
        };
        let started = std::thread::Builder::new().name("forebay-viewers".to_owned()).spawn(thread);
        started.map(drop).map_err(StartError::Threads)
    }
}

/// A connection stays with it, and wakes nobody else's.
///
/// What another thread has woken goes before what has become readable, and one that it tells of many viewers ([`wake`]) wakes them
/// in a row: whom one answer wakes are sent it before the next requests of those who have it are read.
fn viewer_runtime(processors: Option<Processors>) -> Result<Threads, StartError> {
    let mut builder = Builder::new_current_thread();
    // Of those it starts for what takes long.
    builder.on_thread_start(move || {
        if let Some(processors) = &processors {
            processors.release();
        }
    });
    Threads::start(builder.global_queue_interval(1))
}
