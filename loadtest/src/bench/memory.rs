//! Whether the memory budget holds: far more distinct objects than fit, and the largest resident memory the node had.
//! Only the node is measured; nginx keeps bodies in files, which are not its memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use serde_json::json;
use tokio::task::JoinSet;

use super::Plan;
use crate::content::{OBJECT_BYTES_MAX, Object};
use crate::http1::Client;
use crate::origin::Origin;
use crate::proc;
use crate::report::Report;
use crate::server::{Kind, Server};

/// The memory tier of the node in this benchmark.
const MEMORY_TIER: &str = "64MiB";

/// The most resident memory the node may ever have had: the memory tier and 80 MiB for everything else, in MiB.
const RESIDENT_MIB_MAX: f64 = 64.0 + 80.0;

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

/// Requests every object once, checks every byte, and prints the node's peak memory.
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
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (next, host) = (Arc::clone(&next), server.http);
        tasks.spawn(async move { viewer(host, &next, objects, object_bytes).await });
    }
    let errors: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    let seconds = start.elapsed().as_secs_f64();
    let peak_mib = mib(proc::peak_memory_bytes(pid)?);
    report.row(json!({
        "bench": "memory", "server": "forebay", "objects": objects, "object_bytes": object_bytes, "clients": clients,
        "idle_mib": idle_mib, "peak_mib": peak_mib, "seconds": seconds, "errors": errors.len(),
        "origin_requests": origin.requests_in_all(),
    }));
    let row = vec![
        "forebay".to_owned(),
        format!("{idle_mib:.0}"),
        format!("{peak_mib:.0}"),
        format!("{seconds:.1}"),
        origin.requests_in_all().to_string(),
        errors.len().to_string(),
    ];
    report.table(&["memory", "idle MiB", "peak MiB", "seconds", "origin requests", "errors"], &[row]);
    let measured = errors.is_empty().then_some(peak_mib);
    for error in errors {
        report.failure(Kind::Forebay, &format!("memory: {error}"));
    }
    report.target("memory: peak resident", measured, RESIDENT_MIB_MAX, "MiB");
    Ok(())
}

/// Asks for one object after the other until all have been asked for; returns what went wrong.
async fn viewer(host: SocketAddr, next: &AtomicU32, objects: u32, object_bytes: u64) -> Vec<String> {
    let mut errors = Vec::new();
    let mut connection = None;
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= objects || errors.len() == FAILURES_MAX {
            return errors;
        }
        let object = Object::new(&format!("memory-{index}"), object_bytes, Duration::ZERO);
        match ask(host, connection.take(), &object).await {
            Ok(client) => connection = Some(client),
            Err(error) => errors.push(format!("{error:#}")),
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
