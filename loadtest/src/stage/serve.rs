//! HTTP/1.1 for the stage: requests are read, held until their answer is there, and answered as the stage says, faults and all. A
//! body is computed piece by piece into a buffer of the thread and kept nowhere. Nothing is decided here about what is answered.
//! Started by [`super::process`].

mod head;
mod send;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use http::Method;
use http::header::{ALLOW, CACHE_CONTROL};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use self::head::Head;
use super::ledger::{Book, OBJECTS_MAX};
use super::process::Ledger;
use super::reply::KEEPS_TO_ASK;
use super::{Answer, Asked, Stage};
use crate::fetch::Kind;
use crate::scenario::Scenario;

/// Connections served at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 16_384;

/// How long the next request head may take to be there as a whole.
const IDLE_MAX: Duration = Duration::from_secs(75);

/// The origin over sockets.
#[derive(Debug)]
pub(crate) struct Server {
    scenario: Scenario,
    scene: watch::Sender<Arc<Scene>>,
    limit: Arc<Semaphore>,
    made: AtomicU64,
    open: AtomicU64,
}

/// A stage at work: until the run begins, and from then on another one.
#[derive(Debug)]
struct Scene {
    stage: Stage,
    book: Book,
    /// The beginning of the run; none: the timeline stands still at it.
    epoch: Option<Instant>,
    /// Connections that had been made before.
    made_before: u64,
}

/// A connection that is there, as long as this is.
#[derive(Debug)]
struct Open<'a>(&'a AtomicU64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Server ===

impl Server {
    /// A server whose timeline stands still at the beginning of the run until [`Self::begin`].
    pub(crate) fn new(scenario: Scenario) -> Arc<Self> {
        let scene = Scene {
            stage: Stage::new(&scenario, SystemTime::now()),
            book: Book::new(OBJECTS_MAX),
            epoch: None,
            made_before: 0,
        };
        Arc::new(Self {
            scenario,
            scene: watch::Sender::new(Arc::new(scene)),
            limit: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            made: AtomicU64::new(0),
            open: AtomicU64::new(0),
        })
    }

    /// The run begins then. What was counted before is forgotten; who waits for an answer is answered on the new timeline.
    pub(crate) fn begin(&self, wall_epoch: SystemTime) -> Result<()> {
        let epoch = match SystemTime::now().duration_since(wall_epoch) {
            Ok(ago) => Instant::now().checked_sub(ago).context("the run began before the machine did")?,
            Err(ahead) => Instant::now() + ahead.duration(),
        };
        self.scene.send_replace(Arc::new(Scene {
            stage: Stage::new(&self.scenario, wall_epoch),
            book: Book::new(OBJECTS_MAX),
            epoch: Some(epoch),
            made_before: self.made.load(Ordering::Relaxed),
        }));
        Ok(())
    }

    pub(crate) fn ledger(&self) -> Ledger {
        let scene = Arc::clone(&self.scene.borrow());
        Ledger {
            connections: self.made.load(Ordering::Relaxed).saturating_sub(scene.made_before),
            connections_now: self.open.load(Ordering::Relaxed),
            faults: scene.stage.faults_met(),
            ..scene.book.ledger()
        }
    }

    /// Accepts connections for ever.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            // Never closed.
            let Ok(permit) = Arc::clone(&self.limit).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = Arc::clone(&self);
                    tokio::spawn(async move {
                        // A peer that goes away, is silent or does not read ends its connection; it notices itself.
                        server.connection(stream).await.ok();
                        drop(permit);
                    });
                }
                // Out of descriptors, or the peer has gone: others may come.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    async fn connection(&self, stream: TcpStream) -> Result<()> {
        self.made.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        let _open = Open(&self.open);
        stream.set_nodelay(true)?;
        let mut buffer = BytesMut::new();
        loop {
            let head = match tokio::time::timeout(IDLE_MAX, head::read(&stream, &mut buffer)).await? {
                Ok(Some(head)) => head,
                Ok(None) => return Ok(()),
                Err(error) => {
                    let answer = Answer::refused(Duration::ZERO, 400, "the request is not understood\n");
                    send::whole(&stream, &answer, true).await?;
                    return Err(error);
                }
            };
            if !self.exchange(&stream, &head).await? || head.closes {
                return Ok(());
            }
        }
    }

    /// One request and its answer; false when the connection is to be closed after it.
    async fn exchange(&self, stream: &TcpStream, head: &Head) -> Result<bool> {
        let asked = Asked { path: &head.path, query: head.query.as_deref(), headers: &head.headers };
        if head.method != Method::GET && head.method != Method::HEAD {
            let mut answer = Answer::refused(Duration::ZERO, 405, "only GET and HEAD\n");
            answer.set(ALLOW, "GET, HEAD");
            self.scene.borrow().book.note(asked, &answer);
            send::whole(stream, &answer, head.closes).await?;
            return Ok(true);
        }
        let mut scenes = self.scene.subscribe();
        loop {
            let scene = Arc::clone(&scenes.borrow_and_update());
            let answer = scene.answer(asked);
            scene.book.note(asked, &answer);
            tokio::select! {
                () = scene.reaches(answer.at) => {}
                // The sender lives in `self`.
                _ = scenes.changed() => continue,
                () = closed(stream) => bail!("the peer has gone"),
            }
            if answer.status.is_none() {
                return Ok(false);
            }
            let sending = send::Sending { stream, answer: &answer, path: &head.path, scene: &scene };
            return sending.all(head.method == Method::HEAD, head.closes).await;
        }
    }
}

// === impl Scene ===

impl Scene {
    /// What the stage says now. While the timeline stands still nobody may keep a playlist: it would be a stale one in the run.
    fn answer(&self, asked: Asked<'_>) -> Answer {
        let mut answer = self.stage.answer(asked, self.now());
        if self.epoch.is_none()
            && matches!(answer.kind, Some(Kind::Multivariant | Kind::Playlist | Kind::Reload))
        {
            answer.set(CACHE_CONTROL, KEEPS_TO_ASK);
        }
        answer
    }

    fn now(&self) -> Duration {
        self.epoch.map_or(Duration::ZERO, |epoch| Instant::now().saturating_duration_since(epoch))
    }

    /// Waits for a time of the run. While the timeline stands still, only its beginning is reached.
    async fn reaches(&self, at: Duration) {
        match self.epoch.and_then(|epoch| epoch.checked_add(at)) {
            _ if at <= self.now() => {}
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

/// Waits until the peer has closed its side. A further request that is there already keeps it from being seen.
async fn closed(stream: &TcpStream) {
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match stream.peek(&mut [0]).await {
            Ok(0) | Err(_) => return,
            Ok(_) => std::future::pending().await,
        }
    }
}

/// Listens there.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; is it taken? --listen names another"))
}

#[cfg(test)]
mod tests;
