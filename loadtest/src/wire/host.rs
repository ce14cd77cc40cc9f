//! One viewer's connections to one scheme, host and port: who may use which, who waits, and what becomes of a connection
//! afterwards. As browsers do it: up to six of HTTP/1.1, the one that was used last first; or one of HTTP/2.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::Site;
use super::h2::Multiplexed;
use super::stream::Stream;

/// Connections of HTTP/1.1 that a viewer has to a host at most, in use or not.
pub(crate) const CONNECTIONS_MAX: usize = 6;

/// How long a connection that nobody uses is good for.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// The connections of a viewer to a host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) site: Site,
    /// One for each connection in use; those who wait are served in their order.
    slots: Semaphore,
    idle: RefCell<Vec<Connection>>,
    /// The server was asked for HTTP/2 and would not have it.
    pub(crate) refuses_h2: Cell<bool>,
    /// Held by whoever makes the connection of HTTP/2.
    opening: Semaphore,
    multiplexed: RefCell<Option<(u32, Multiplexed)>>,
    generation: Cell<u32>,
}

/// A connection of HTTP/1.1 between exchanges.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    /// Whether there was an exchange on it.
    pub(crate) used: bool,
    pub(crate) since: Instant,
}

/// The right to an exchange on the connection of HTTP/2, and which one it is, counted from 1.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) sender: SendRequest<Bytes>,
    pub(crate) generation: u32,
}

// === impl Host ===

impl Host {
    pub(crate) fn new(site: Site) -> Self {
        Self {
            site,
            slots: Semaphore::new(CONNECTIONS_MAX),
            idle: RefCell::default(),
            refuses_h2: Cell::new(false),
            opening: Semaphore::new(1),
            multiplexed: RefCell::default(),
            generation: Cell::new(0),
        }
    }

    /// Waits for the right to use a connection. Given back when it is dropped.
    pub(crate) async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.slots.acquire().await.ok()
    }

    /// An idle connection that is still open; what is not, is dropped.
    pub(crate) fn take_idle(&self, now: Instant) -> Option<Connection> {
        loop {
            let mut connection = self.idle.borrow_mut().pop()?;
            if now.saturating_duration_since(connection.since) < IDLE_MAX && connection.stream.is_fresh() {
                return Some(connection);
            }
        }
    }

    /// Closes the idle connections: the one that was used last had been closed by the server, and so have those that wait for
    /// longer.
    pub(crate) fn drop_idle(&self) {
        self.idle.borrow_mut().clear();
    }

    /// For the next exchange. Its holder still has the slot, so that there are no more than slots.
    pub(crate) fn put_idle(&self, connection: Connection) {
        self.idle.borrow_mut().push(connection);
    }

    /// Waits for the right to make the connection of HTTP/2.
    pub(crate) async fn opening(&self) -> Option<SemaphorePermit<'_>> {
        self.opening.acquire().await.ok()
    }

    /// The connection of HTTP/2, if it is open and a later one than `after`.
    pub(crate) fn lease(&self, after: u32) -> Option<Lease> {
        let multiplexed = self.multiplexed.borrow();
        let (generation, multiplexed) = multiplexed.as_ref().filter(|(generation, _)| *generation > after)?;
        Some(Lease { sender: multiplexed.sender()?, generation: *generation })
    }

    /// From now on this is the connection of HTTP/2; what is under way on the one before may end.
    pub(crate) fn put_multiplexed(&self, multiplexed: Multiplexed) -> Option<Lease> {
        let generation = self.generation.get() + 1;
        self.generation.set(generation);
        let before = self.multiplexed.replace(Some((generation, multiplexed)));
        if let Some((_, before)) = before {
            before.retire();
        }
        self.lease(generation - 1)
    }
}
