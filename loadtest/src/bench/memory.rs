//! Whether the memory budget holds: far more distinct objects than fit, and the largest resident memory the node had.
//! Only the node is measured; nginx keeps bodies in files, which are not its memory.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::Plan;
use crate::content::{OBJECT_BYTES_MAX, Object};
use crate::crowd::{self, Check};
use crate::origin::Origin;
use crate::proc;
use crate::report::Report;
use crate::server::{Kind, Server};

/// The memory tier of the node in this benchmark.
const MEMORY_TIER: &str = "64MiB";

/// The most resident memory the node may ever have had: the memory tier and 80 MiB for everything else, in MiB.
const RESIDENT_MIB_MAX: f64 = 64.0 + 80.0;

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
    let object = move |index| Object::new(&format!("memory-{index}"), object_bytes, Duration::ZERO);
    let outcome = crowd::ask(server.http, clients, u64::from(objects), Check::Bytes, object).await;
    let (errors, seconds) = (outcome.errors, outcome.seconds);
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
