//! The origin of a live Low-Latency stream: it holds a blocking reload until the part exists, publishes parts when it is
//! told to, and remembers what it was asked for and when it answered. On threads of its own, as the other origin.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::stream::{FIRST_EDGE, Wanted, playlist, wanted};
use crate::content::{Content, Digest};
use crate::origin::{parse, read_head, threads_and_listener};

/// How long a reload or a part is held at most; then 503.
const HOLD_MAX: Duration = Duration::from_secs(30);

/// The running origin; dropping it closes its connections.
#[derive(Debug)]
pub(crate) struct LiveOrigin {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    part_ms: u64,
    part_bytes: usize,
    /// The last part there is.
    edge: watch::Sender<u64>,
    told: Mutex<Told>,
    /// The playlist that ends with the last part there is, as an answer: made once, so that an origin without a node
    /// before it costs as little as may be.
    answer: RwLock<Arc<[u8]>>,
    /// The last part of each playlist that was published, by the digest of its text.
    edges: RwLock<HashMap<Digest, u64>>,
}

/// What the origin was asked for, and what it answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Requests for the playlist as it is.
    pub(crate) plain: u64,
    /// Blocking reloads, by the part that they wait for.
    pub(crate) reloads: HashMap<u64, u64>,
    /// When the first answer to a reload was handed to the kernel.
    pub(crate) reloads_answered: HashMap<u64, SystemTime>,
    /// Requests for parts.
    pub(crate) parts: HashMap<u64, u64>,
    /// Requests for what there is not.
    pub(crate) refused: u64,
}

// === impl LiveOrigin ===

impl LiveOrigin {
    /// Starts the origin with the stream as it begins; nothing comes to it before [`Self::publish`].
    pub(crate) fn start(part_ms: u64, part_bytes: usize) -> Result<Self> {
        let (runtime, listener, address) = threads_and_listener("live-origin")?;
        let shared = Arc::new(Shared {
            part_ms,
            part_bytes,
            edge: watch::Sender::new(FIRST_EDGE),
            told: Mutex::default(),
            answer: RwLock::new(Arc::default()),
            edges: RwLock::default(),
        });
        shared.enter(FIRST_EDGE);
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, runtime: Some(runtime) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// One part more, to whoever waits for it.
    pub(crate) fn publish(&self) {
        let next = *self.shared.edge.borrow() + 1;
        self.shared.enter(next);
        self.shared.edge.send_replace(next);
    }

    /// What it was asked for so far.
    pub(crate) fn told(&self) -> Told {
        self.shared.told().clone()
    }

    /// The last part of the playlist with this digest; `None` when it never had such a playlist.
    pub(crate) fn edge_of(&self, digest: Digest) -> Option<u64> {
        self.shared.edges.read().unwrap_or_else(PoisonError::into_inner).get(&digest).copied()
    }
}

impl Drop for LiveOrigin {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the playlist that ends with this part.
    fn enter(&self, edge: u64) {
        let text = playlist(edge, self.part_ms);
        let digest = Digest::of(text.as_bytes());
        let answer = ok("application/vnd.apple.mpegurl", text.as_bytes());
        *self.answer.write().unwrap_or_else(PoisonError::into_inner) = answer.into();
        self.edges.write().unwrap_or_else(PoisonError::into_inner).insert(digest, edge);
    }

    /// Waits until the part exists; false when it did not come in time.
    async fn hold(&self, part: u64) -> bool {
        let mut edge = self.edge.subscribe();
        // The sender lives as long as this.
        tokio::time::timeout(HOLD_MAX, edge.wait_for(|edge| *edge >= part)).await.is_ok()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move { serve(stream, &shared).await.ok() });
            }
            // Out of descriptors, or the peer has gone: others may come.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut buffer).await? {
        let request = parse(&head).context("a request head that is not understood")?;
        ensure!(request.method == "GET", "{} is not answered", request.method);
        let edge = *shared.edge.borrow();
        let wanted = wanted(&request.path).filter(|wanted| match wanted {
            Wanted::Playlist => true,
            // What comes next is waited for, and nothing beyond it.
            Wanted::Reload(part) | Wanted::Part(part) => *part <= edge + 1,
        });
        match wanted {
            None => {
                shared.told().refused += 1;
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await?;
            }
            Some(wanted) => answer(&mut stream, wanted, &request.path, shared).await?,
        }
    }
    Ok(())
}

async fn answer(stream: &mut TcpStream, wanted: Wanted, path: &str, shared: &Shared) -> Result<()> {
    match wanted {
        Wanted::Playlist => shared.told().plain += 1,
        Wanted::Reload(part) => *shared.told().reloads.entry(part).or_default() += 1,
        Wanted::Part(part) => *shared.told().parts.entry(part).or_default() += 1,
    }
    if let Wanted::Reload(part) | Wanted::Part(part) = wanted
        && !shared.hold(part).await
    {
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await?;
        return Ok(());
    }
    let out = if let Wanted::Part(_) = wanted {
        let mut bytes = vec![0; shared.part_bytes];
        Content::of(path).fill(0, &mut bytes);
        ok("video/mp4", &bytes).into()
    } else {
        Arc::clone(&shared.answer.read().unwrap_or_else(PoisonError::into_inner))
    };
    if let Wanted::Reload(part) = wanted {
        shared.told().reloads_answered.entry(part).or_insert_with(SystemTime::now);
    }
    stream.write_all(&out).await?;
    Ok(())
}

/// A whole 200.
fn ok(content_type: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
