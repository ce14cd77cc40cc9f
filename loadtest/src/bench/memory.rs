//! Whether the memory budget holds: far more distinct objects than fit, some of them hot for a while, and the most memory
//! the node had, resident and in anonymous files. Only the node is measured; nginx keeps bodies in files on disk, which
//! are not its memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use super::Plan;
use crate::content::{OBJECT_BYTES_MAX, Object};
use crate::http1::Client;
use crate::origin::Origin;
use crate::proc;
use crate::report::Report;
use crate::server::{Kind, Server};

/// The memory tier of the node in this benchmark.
const MEMORY_TIER: &str = "64MiB";

/// The most memory the node may ever have had, resident and in anonymous files: the memory tier and 80 MiB for everything else, in MiB.
const RESIDENT_MIB_MAX: f64 = 64.0 + 80.0;

/// Requests for distinct objects that one hot object goes along with: it is asked for after each of them.
const HOT_REQUESTS: u32 = 64;

/// How often the node's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Failed requests after which a client gives up: each may have taken as long as an exchange may.
const FAILURES_MAX: usize = 3;

/// How large the working set is and who asks for it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Distinct objects, each asked for once
    #[arg(long, default_value_t = Self::default().objects, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    objects: u32,
    /// Clients, one connection each
    #[arg(long, default_value_t = Self::default().clients, value_parser = clap::value_parser!(u32).range(1..=8000))]
    clients: u32,
    /// Size of an object in bytes
    #[arg(long, default_value_t = Self::default().object_bytes, value_parser = clap::value_parser!(u64).range(1..=OBJECT_BYTES_MAX))]
    object_bytes: u64,
}

// === impl Arguments ===

impl Default for Arguments {
    fn default() -> Self {
        Self { objects: 10_000, clients: 64, object_bytes: 512 * 1024 }
    }
}

impl Arguments {
    /// Sizes for a look rather than a figure to quote.
    pub(super) fn quick() -> Self {
        Self { objects: 2500, ..Self::default() }
    }
}

/// Requests every object once, and hot ones between them, checks every byte, and prints the node's peak memory.
pub(crate) async fn run(plan: &Plan, arguments: &Arguments, report: &mut Report) -> Result<()> {
    let Arguments { objects, clients, object_bytes } = *arguments;
    report.heading(&format!(
        "memory: {objects} distinct objects of {object_bytes} bytes, {clients} clients, memory tier {MEMORY_TIER}"
    ));
    if !plan.servers.contains(&Kind::Forebay) {
        report.say("forebay: not among --servers, skipped");
        return Ok(());
    }
    let origin = Origin::start()?;
    let server = Server::start(Kind::Forebay, &plan.setup(MEMORY_TIER), &origin).await?;
    let pid = server.pid()?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let idle_mib = mib(proc::peak_memory_bytes(pid)?);
    let start = Instant::now();
    let next = Arc::new(AtomicU32::new(0));
    let watch = Watch::start(pid);
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (next, host) = (Arc::clone(&next), server.http);
        tasks.spawn(async move { viewer(host, &next, objects, object_bytes).await });
    }
    let errors: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    let seconds = start.elapsed().as_secs_f64();
    let (most, most_files) = watch.stop().await;
    // The kernel misses no peak, but knows of no file; the samples know of files.
    let peak_mib = mib(proc::peak_memory_bytes(pid)?.max(most));
    let files_mib = mib(most_files);
    report.row(json!({
        "bench": "memory", "server": "forebay", "objects": objects, "object_bytes": object_bytes, "clients": clients,
        "idle_mib": idle_mib, "peak_mib": peak_mib, "files_mib": files_mib, "seconds": seconds, "errors": errors.len(),
        "origin_requests": origin.requests_in_all(),
    }));
    let row = vec![
        "forebay".to_owned(),
        format!("{idle_mib:.0}"),
        format!("{peak_mib:.0}"),
        format!("{files_mib:.0}"),
        format!("{seconds:.1}"),
        origin.requests_in_all().to_string(),
        errors.len().to_string(),
    ];
    report.table(
        &["memory", "idle MiB", "peak MiB", "files, peak MiB", "seconds", "origin requests", "errors"],
        &[row],
    );
    let measured = errors.is_empty().then_some(peak_mib);
    for error in errors {
        report.failure(Kind::Forebay, &format!("memory: {error}"));
    }
    report.target("memory: peak, files included", measured, RESIDENT_MIB_MAX, "MiB");
    Ok(())
}

/// Looks at the memory of a process again and again.
struct Watch {
    stop: Arc<Notify>,
    most: JoinHandle<(u64, u64)>,
}

impl Watch {
    fn start(pid: u32) -> Watch {
        let stop = Arc::new(Notify::new());
        let told = Arc::clone(&stop);
        let most = tokio::spawn(async move {
            let (mut most, mut most_files) = (0, 0);
            loop {
                most = most.max(proc::memory_bytes(pid).unwrap_or_default());
                most_files = most_files.max(proc::memory_files_bytes(pid).unwrap_or_default());
                if tokio::time::timeout(LOOK_EVERY, told.notified()).await.is_ok() {
                    return (most, most_files);
                }
            }
        });
        Watch { stop, most }
    }

    /// The most it has taken, and the most that its anonymous files have, in bytes.
    async fn stop(self) -> (u64, u64) {
        self.stop.notify_one();
        self.most.await.unwrap_or_default()
    }
}

/// Asks for one object after the other until all have been asked for, and after each for the one that is hot then;
/// returns what went wrong.
async fn viewer(host: SocketAddr, next: &AtomicU32, objects: u32, object_bytes: u64) -> Vec<String> {
    let mut errors = Vec::new();
    let mut connection = None;
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= objects || errors.len() >= FAILURES_MAX {
            return errors;
        }
        for name in [format!("memory-{index}"), format!("memory-hot-{}", index / HOT_REQUESTS)] {
            let object = Object::new(&name, object_bytes, Duration::ZERO);
            match ask(host, connection.take(), &object).await {
                Ok(client) => connection = Some(client),
                Err(error) => errors.push(format!("{error:#}")),
            }
        }
    }
}

/// One request, on the last connection if it is still good; returns the connection for the next.
async fn ask(host: SocketAddr, connection: Option<Client>, object: &Object) -> Result<Client> {
    let mut client = match connection {
        Some(client) => client,
        None => Client::connect(host).await?,
    };
    client.get(object).await?;
    Ok(client)
}
