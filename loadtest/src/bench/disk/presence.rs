//! What a disk tier costs hits that memory answers: the CPU of the same hits on two nodes, one with a disk tier and one
//! without, in turns. The target of five percent is in the noise of a busy machine: the median of many rounds tells.

use anyhow::{Context, Result};
use serde_json::json;

use super::{Arguments, folder};
use crate::bench::{Plan, hits};
use crate::content::Object;
use crate::origin::Origin;
use crate::report::{Report, median_min_max};
use crate::run::pins;
use crate::server::{Disk, Kind, Server};
use crate::wrk;

/// The most that a hit may cost with a disk tier, as a multiple of what it costs without.
const RATIO_MAX: f64 = 1.05;

/// The memory tier, which holds all there is.
const MEMORY_TIER: &str = "256MiB";

/// The disk tier.
const DISK_TIER: &str = "1GiB";

/// Connections of wrk.
const CONNECTIONS: u32 = 64;

/// Measures every size on both nodes and prints one table.
pub(super) async fn run(plan: &Plan, arguments: &Arguments, report: &mut Report) -> Result<()> {
    report.heading("disk: CPU per memory hit, with and without a disk tier");
    if wrk::version().await.is_none() {
        report.say("wrk: not installed, skipped (Debian: apt-get install wrk)");
        return Ok(());
    }
    let (server_cpus, client_cpus) = pins::split()?.unzip();
    let mut setup = plan.setup(MEMORY_TIER);
    setup.cpus = server_cpus;
    let load = wrk::Load {
        threads: hits::THREADS as u32,
        connections: CONNECTIONS,
        seconds: arguments.hit_seconds,
        cpus: client_cpus,
        host: None,
    };
    let folder = folder(arguments.folder.as_deref())?;
    let origin = Origin::start()?;
    let without = Server::start(Kind::Forebay, &setup, &origin).await?;
    setup.disk = Some(Disk { folder: folder.path().to_owned(), size: DISK_TIER.to_owned() });
    let with = Server::start(Kind::Forebay, &setup, &origin).await.context("with a disk tier")?;
    let mut rows = Vec::new();
    for (name, size, _) in hits::SIZES {
        let object = Object::new("presence", size, std::time::Duration::ZERO);
        for server in [&without, &with] {
            hits::check_hit(server, &object).await?;
            let load = wrk::Load { seconds: hits::WARM_UP_SECONDS, ..load.clone() };
            wrk::run(&load, &hits::url(server, &object)).await?;
        }
        let (mut cpu_without, mut cpu_with) = (Vec::new(), Vec::new());
        for round in 0..arguments.hit_rounds {
            for (disk, server, cpu) in [(false, &without, &mut cpu_without), (true, &with, &mut cpu_with)] {
                let sample = hits::measure(server, &object, &load).await?;
                report.row(json!({
                    "bench": "disk", "measurement": "presence", "server": "forebay", "object_bytes": size,
                    "round": round, "disk": disk, "cpu_us_per_request": sample.cpu_us_per_request,
                    "requests_per_second": sample.requests_per_second,
                }));
                cpu.push(sample.cpu_us_per_request);
            }
        }
        rows.push(row(name, &cpu_without, &cpu_with, report));
    }
    let header = ["memory hit", "without disk CPU µs/request", "with disk CPU µs/request", "with / without"];
    report.table(&header, &rows);
    Ok(())
}

fn row(name: &str, without: &[f64], with: &[f64], report: &mut Report) -> Vec<String> {
    let ratios: Vec<f64> = with.iter().zip(without).map(|(with, without)| with / without).collect();
    let cell = |values: &[f64], digits: usize| {
        let (median, min, max) = median_min_max(values);
        format!("{median:.digits$} ({min:.digits$}..{max:.digits$})")
    };
    let (median, _, _) = median_min_max(&ratios);
    let what = format!("disk: {name} memory hit, CPU with a disk tier beside without");
    report.target(&what, Some(median), RATIO_MAX, "times");
    vec![name.to_owned(), cell(without, 1), cell(with, 1), cell(&ratios, 2)]
}
