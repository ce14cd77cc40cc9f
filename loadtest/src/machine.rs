//! What a result depends on: the machine, the versions, and the limits this process runs under.

use std::fs;

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::proc::{allowed_cpus, congestion_control, field};
use crate::server::{Kind, Setup};
use crate::wrk;

/// The facts that stand above a table of results; what cannot be found out is null.
pub(crate) async fn facts(setup: &Setup) -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    let date = tokio::process::Command::new("date").args(["-u", "+%FT%TZ"]).output().await.ok();
    json!({
        "cpu": field(&cpuinfo, "model name"),
        "cores": allowed_cpus().ok().map(|cpus| cpus.len()),
        "kernel": kernel.map(|text| text.trim().to_owned()),
        "tcp": congestion_control(),
        "date": date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        "loadtest": env!("CARGO_PKG_VERSION"),
        "forebay": Kind::Forebay.version(setup).await,
        "nginx": Kind::Nginx.version(setup).await,
        "varnish": Kind::Varnish.version(setup).await,
        "ats": Kind::Ats.version(setup).await,
        "wrk": wrk::version().await,
    })
}

/// Raises the limit of open descriptors to what this process may have, for the servers it starts as well. Returns the
/// limit that holds now; unlimited is the largest number.
pub(crate) fn raise_descriptor_limit() -> Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open descriptors")?;
    Ok(limit.current.unwrap_or(u64::MAX))
}
