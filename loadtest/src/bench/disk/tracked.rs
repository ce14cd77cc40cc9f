//! What it takes to know what is on disk: the time until a restarted node serves from it, and the memory per object that
//! it tracks. The objects are put there as viewers would, by asking twice.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{Arguments, folder};
use crate::bench::Plan;
use crate::content::Object;
use crate::crowd::{self, Check};
use crate::origin::Origin;
use crate::report::{Report, median_min_max};
use crate::server::{Disk, Kind, Server, Setup};
use crate::trace::Random;
use crate::{http1, metrics, proc};

/// The sample that tells how many objects are on disk.
pub(super) const OBJECTS_ON_DISK: &str = r#"forebay_cache_objects{tier="disk"}"#;

/// The memory tier.
const MEMORY_TIER: &str = "256MiB";

/// The most resident memory the node may ever have had, its memory tier full: the tier and 80 MiB for all else, in MiB.
const RESIDENT_MIB_MAX: f64 = 256.0 + 80.0;

/// The most memory a tracked object may take, in bytes.
const TRACKED_BYTES_MAX: f64 = 256.0;

/// The longest time from the start of the process to its first answer from disk, in seconds.
const START_UP_SECONDS_MAX: f64 = 2.0;

/// Starts of the node that are timed.
const START_UPS: u32 = 3;

/// Size of an object in bytes: small, for it is their number that counts.
const OBJECT_BYTES: u64 = 64;

/// Bytes on disk that one of them is sure not to take.
const RECORD_BYTES_MAX: u64 = 2048;

/// Viewers.
const CLIENTS: u32 = 32;

/// Objects, of half a megabyte each, that fill the memory tier before its largest extent is read.
const FILLING_OBJECTS: u64 = 1000;

/// How long the disk may take nothing before what has not come is given up.
const SETTLED: Duration = Duration::from_secs(3);

/// The longest a start-up is waited for.
const START_UP_WAIT_MAX: Duration = Duration::from_secs(60);

/// The share of the objects that must be on disk for the measurement to mean anything.
const ON_DISK_MIN: f64 = 0.9;

/// One node's memory with a number of objects on its disk, in MiB.
#[derive(Clone, Copy, Debug)]
struct Memory {
    tracked: f64,
    idle: f64,
    /// The most it ever had, after the memory tier was filled.
    peak: f64,
}

/// Times of one start, in seconds from the start of the process.
#[derive(Clone, Copy, Debug)]
struct StartUp {
    ready: f64,
    from_disk: f64,
    /// All objects are tracked again.
    recovered: f64,
}

/// Fills a volume in two steps: start-up is measured after the first, memory after the second.
pub(super) async fn run(plan: &Plan, arguments: &Arguments, report: &mut Report) -> Result<()> {
    let Arguments { tracked, start_up, .. } = *arguments;
    report.heading(&format!(
        "disk: start-up with {start_up} objects on disk, memory with {tracked}, memory tier {MEMORY_TIER}"
    ));
    let (empty, full) = (folder(arguments.folder.as_deref())?, folder(arguments.folder.as_deref())?);
    let size = format!("{}MiB", ((u64::from(tracked.max(start_up)) * RECORD_BYTES_MAX) >> 20) + 1024);
    let setup = |folder: &Path| -> Setup {
        let disk = Disk { folder: folder.to_owned(), size: size.clone() };
        Setup { disk: Some(disk), ..plan.setup(MEMORY_TIER) }
    };
    let on_disk = fill(&setup(full.path()), 0, start_up, report).await?;
    measure_start_up(&setup(full.path()), start_up, on_disk, report).await?;
    let on_disk = fill(&setup(full.path()), start_up, tracked, report).await?;
    let with = memory(&setup(full.path()), on_disk).await.context("the node with objects on disk")?;
    let without = memory(&setup(empty.path()), 0.0).await.context("the node with nothing on disk")?;
    print_memory(&with, &without, report);
    Ok(())
}

/// Asks twice for each object from `first` on up to `end`, and waits until they are on disk; returns how many are.
async fn fill(setup: &Setup, first: u32, end: u32, report: &Report) -> Result<f64> {
    let origin = Origin::start()?;
    let server = Server::start(Kind::Forebay, setup, &origin).await?;
    let admin = server.admin.context("the node has named no admin address")?;
    let start = Instant::now();
    if first > 0 {
        metrics::settle(admin, OBJECTS_ON_DISK, f64::from(first), SETTLED).await?;
    }
    let object = move |index: u64| tracked_object(first + (index / 2) as u32);
    let requests = u64::from(end.saturating_sub(first)) * 2;
    crowd::ask(server.http, CLIENTS, requests, Check::Bytes, object).await.complete()?;
    let on_disk = metrics::settle(admin, OBJECTS_ON_DISK, f64::from(end), SETTLED).await?;
    report.say(&format!("{on_disk} objects on disk after {:.0} s", start.elapsed().as_secs_f64()));
    ensure!(on_disk >= ON_DISK_MIN * f64::from(end), "{on_disk} of {end} objects are on disk");
    Ok(on_disk)
}

async fn measure_start_up(setup: &Setup, objects: u32, on_disk: f64, report: &mut Report) -> Result<()> {
    let mut starts = Vec::new();
    for round in 0..START_UPS {
        let start = one_start_up(setup, objects, on_disk, u64::from(round)).await?;
        report.row(json!({
            "bench": "disk", "measurement": "start-up", "server": "forebay", "round": round, "objects": on_disk,
            "ready_seconds": start.ready, "from_disk_seconds": start.from_disk, "recovered_seconds": start.recovered,
        }));
        starts.push(start);
    }
    let cell = |value: fn(&StartUp) -> f64| {
        let (median, min, max) = median_min_max(&starts.iter().map(value).collect::<Vec<f64>>());
        format!("{median:.2} ({min:.2}..{max:.2})")
    };
    let row = vec![
        format!("{on_disk:.0} objects"),
        cell(|start| start.ready),
        cell(|start| start.from_disk),
        cell(|start| start.recovered),
    ];
    report.table(&["start-up", "ready s", "first answer from disk s", "all tracked s"], &[row]);
    let slowest = starts.iter().map(|start| start.from_disk).fold(0.0, f64::max);
    report.target("disk: start-up to the first answer from disk", Some(slowest), START_UP_SECONDS_MAX, "s");
    Ok(())
}

/// Starts the node and asks for one object after the other until an answer is from its disk: each is asked for once,
/// so that it cannot be from memory.
async fn one_start_up(setup: &Setup, objects: u32, on_disk: f64, seed: u64) -> Result<StartUp> {
    let origin = Origin::start()?;
    let start = Instant::now();
    let server = Server::start(Kind::Forebay, setup, &origin).await?;
    let ready = start.elapsed().as_secs_f64();
    let mut client = http1::Client::connect(server.http).await?;
    let mut from_disk = None;
    for number in Random::new(seed).order(objects) {
        if client.get(&tracked_object(number)).await?.hit {
            from_disk = Some(start.elapsed().as_secs_f64());
            break;
        }
        ensure!(start.elapsed() < START_UP_WAIT_MAX, "no answer from disk within {START_UP_WAIT_MAX:?}");
    }
    let from_disk = from_disk.context("no object was on disk any more")?;
    let admin = server.admin.context("the node has named no admin address")?;
    metrics::settle(admin, OBJECTS_ON_DISK, on_disk, SETTLED).await?;
    Ok(StartUp { ready, from_disk, recovered: start.elapsed().as_secs_f64() })
}

/// Starts the node on its volume, waits until it tracks so many objects, and reads its memory.
async fn memory(setup: &Setup, on_disk: f64) -> Result<Memory> {
    let origin = Origin::start()?;
    let server = Server::start(Kind::Forebay, setup, &origin).await?;
    let pid = server.pid()?;
    let admin = server.admin.context("the node has named no admin address")?;
    let tracked = metrics::settle(admin, OBJECTS_ON_DISK, on_disk.max(f64::MIN_POSITIVE), SETTLED).await?;
    ensure!(tracked >= on_disk, "{tracked} of {on_disk} objects are tracked again after the restart");
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let idle = mib(proc::resident_bytes(pid)?);
    let object = |index| Object::new(&format!("filling-{index}"), 512 * 1024, Duration::ZERO);
    crowd::ask(server.http, CLIENTS, FILLING_OBJECTS, Check::Bytes, object).await.complete()?;
    Ok(Memory { tracked, idle, peak: mib(proc::peak_memory_bytes(pid)?) })
}

fn print_memory(with: &Memory, without: &Memory, report: &mut Report) {
    let per_object = (with.idle - without.idle) * f64::from(1 << 20) / with.tracked;
    let rows: Vec<Vec<String>> = [without, with]
        .into_iter()
        .map(|memory| {
            let name = format!("{:.0} objects on disk", memory.tracked);
            vec![name, format!("{:.0}", memory.idle), format!("{:.0}", memory.peak)]
        })
        .collect();
    report.table(&["memory", "idle MiB", "peak MiB, memory tier full"], &rows);
    report.say(&format!("{per_object:.0} bytes of memory per tracked object"));
    report.row(json!({
        "bench": "disk", "measurement": "memory", "server": "forebay", "objects": with.tracked,
        "idle_mib": with.idle, "peak_mib": with.peak, "idle_mib_without": without.idle,
        "peak_mib_without": without.peak, "bytes_per_object": per_object,
    }));
    report.target("disk: memory per tracked object", Some(per_object), TRACKED_BYTES_MAX, "bytes");
    report.target("disk: peak resident, tracked objects included", Some(with.peak), RESIDENT_MIB_MAX, "MiB");
}

fn tracked_object(number: u32) -> Object {
    Object::new(&format!("tracked-{number}"), OBJECT_BYTES, Duration::ZERO)
}
