//! The control port of the origin's process: a JSON line with an order, a JSON line with what came of it. It is apart from the port
//! of the media, so that a busy origin can still be asked what it did. [`Line`] is the end of who started it ([`super::process`]).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::process::Ledger;
use super::serve::Server;

/// The longest line, in bytes: a ledger has a name of each kind and a number of each fault.
const LINE_BYTES_MAX: u64 = 256 * 1024;

/// Control connections at once.
const CONNECTIONS_MAX: usize = 16;

/// How long the origin may take to do what it is told.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);

/// How long a control connection may be without an order, and take for the answer to one; then it is closed.
const IDLE_MAX: Duration = Duration::from_secs(75);

/// What the origin is told to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// The run begins then, in nanoseconds since 1970.
    Begin {
        wall_epoch_ns: u64,
    },
    Ledger,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Told {
    Begun,
    Ledger(Ledger),
    Error(String),
}

/// A connection to the control port, made anew when it has to be. Orders wait for each other.
#[derive(Debug)]
pub(super) struct Line {
    address: SocketAddr,
    /// Taken while somebody asks, and put back after a whole answer alone: whoever gives up half-way drops it, and no later order
    /// gets the answer to theirs.
    kept: Mutex<Option<BufReader<TcpStream>>>,
}

/// Obeys for ever.
pub(super) async fn accept(server: Arc<Server>, listener: TcpListener) {
    let limit = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Never closed.
        let Ok(permit) = Arc::clone(&limit).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = Arc::clone(&server);
                tokio::spawn(async move {
                    obey(&server, BufReader::new(stream)).await.ok();
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn obey(server: &Server, mut stream: BufReader<TcpStream>) -> Result<()> {
    let idle = || format!("no order within {IDLE_MAX:?}");
    while let Some(line) = timeout(IDLE_MAX, line(&mut stream)).await.with_context(idle)?? {
        let told = match serde_json::from_str(&line) {
            Ok(Order::Begin { wall_epoch_ns }) => {
                let epoch = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(wall_epoch_ns));
                match epoch.context("no time").and_then(|epoch| server.begin(epoch)) {
                    Ok(()) => Told::Begun,
                    Err(error) => Told::Error(format!("{error:#}")),
                }
            }
            Ok(Order::Ledger) => Told::Ledger(server.ledger()),
            Err(error) => Told::Error(format!("no order: {error}")),
        };
        timeout(IDLE_MAX, write(&mut stream, &told)).await.context("an answer that nobody reads")??;
    }
    Ok(())
}

/// The next line; none at the end.
async fn line(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<String>> {
    let mut line = String::new();
    stream.take(LINE_BYTES_MAX).read_line(&mut line).await?;
    ensure!(
        line.is_empty() || line.ends_with('\n'),
        "a line that does not end, or is over {LINE_BYTES_MAX} bytes"
    );
    Ok((!line.is_empty()).then_some(line))
}

async fn write(stream: &mut BufReader<TcpStream>, message: &impl Serialize) -> Result<()> {
    let mut out = serde_json::to_vec(message)?;
    out.push(b'\n');
    stream.write_all(&out).await?;
    Ok(())
}

// === impl Line ===

impl Line {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self { address, kept: Mutex::new(Some(dial(address).await?)) })
    }

    /// Gives an order and waits for what came of it. It may be given up at any moment.
    pub(super) async fn order(&self, order: &Order) -> Result<Told> {
        let asking = async {
            let mut kept = self.kept.lock().await;
            let told = match kept.take() {
                // The other end closes a connection that had no order for a while; each order may be given twice.
                Some(stream) => match ask(stream, order).await {
                    Ok(told) => Ok(told),
                    Err(_) => ask(dial(self.address).await?, order).await,
                },
                None => ask(dial(self.address).await?, order).await,
            };
            let (stream, told) = told?;
            *kept = Some(stream);
            match told {
                Told::Error(error) => bail!("the origin: {error}"),
                told => Ok(told),
            }
        };
        let late = || format!("the origin did not answer on its control port within {ANSWER_WAIT_MAX:?}");
        timeout(ANSWER_WAIT_MAX, asking).await.with_context(late)?
    }
}

async fn dial(address: SocketAddr) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("the origin's control port {address} (has its process ended?)"))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

/// The connection comes back with the answer, and with a whole one alone.
async fn ask(mut stream: BufReader<TcpStream>, order: &Order) -> Result<(BufReader<TcpStream>, Told)> {
    write(&mut stream, order).await?;
    let line = line(&mut stream).await?.context("the origin's process has ended")?;
    Ok((stream, serde_json::from_str(&line)?))
}

#[cfg(test)]
mod tests;
