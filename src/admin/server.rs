//! The server behind the admin listener: HTTP/1.1 with bounds on connections and time.
//!
//! Decides nothing about paths; takes a bound listener, so that an address that cannot be bound is found before anything
//! is started. Runs on whatever runtime awaits it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{AdminState, router};

/// Connections open at once; further ones wait in the system's queue.
pub const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to send a request header, or keep a connection idle between requests.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one connection lasts at most, whatever its client does.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);
/// Bytes of a request header.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// How long a shutdown waits for requests under way.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// The other end of a request's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Pause after an accept that failed, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the admin routes on `listener` until `shutdown` resolves; then finishes the requests under way.
///
/// # Errors
///
/// Fails where the listener cannot be made asynchronous; never later.
pub async fn serve(
    listener: std::net::TcpListener,
    state: AdminState,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let routes = router(state);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    tokio::pin!(shutdown);
    loop {
        let (stream, peer, permit) = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = &mut shutdown => break,
        };
        let service = TowerToHyperService::new(routes.clone().layer(Extension(Peer(peer))));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // How a connection ends is its client's business.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests on the admin listener did not end in time and are cut off");
    }
    Ok(())
}

/// The next connection, its other end, and its share of [`CONNECTIONS_MAX`].
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there is always a permit.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
