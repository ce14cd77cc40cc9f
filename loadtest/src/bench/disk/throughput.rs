//! Hits from disk beside raw reads of the same bytes: once with the files in the page cache, which shows what the node
//! costs, and once without, which shows whether it keeps the disk busy. nginx is measured beside the node.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};
use serde_json::json;

use super::{Arguments, folder};
use crate::bench::Plan;
use crate::content::Object;
use crate::crowd::{self, Check};
use crate::metrics;
use crate::origin::Origin;
use crate::report::{Report, median_min_max};
use crate::server::{Disk, Kind, Server};
use crate::trace::Random;

/// Size of an object in bytes.
const OBJECT_BYTES: u64 = 2 << 20;

/// The node's memory tier: a few objects of the catalogue at a time.
const MEMORY_TIER: &str = "64MiB";

/// Connections, and threads of the raw reads.
const READERS: u32 = 16;

/// Bytes of one raw read.
const READ_BYTES: usize = 256 * 1024;

/// Rounds of requests, at most, by which the catalogue gets on disk.
const FILL_ROUNDS_MAX: u32 = 8;

/// Connections of these rounds: few, so that the disk keeps up.
const FILL_CLIENTS: u32 = 2;

/// How long the disk may take nothing before what has not come is given up.
const SETTLED: Duration = Duration::from_secs(3);

/// The share of the catalogue that must be on disk for the measurement to mean anything.
const ON_DISK_MIN: f64 = 0.99;

/// Whether the files are in the page cache when a round begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageCache {
    Warm,
    Cold,
}

/// Who reads.
#[derive(Debug)]
enum Reader {
    Server(Box<Server>),
    /// Threads, from one file per object in this folder.
    Raw(Arc<Path>),
}

/// One reader's rounds.
#[derive(Debug)]
struct Column {
    reader: Reader,
    /// Where its files are.
    folder: PathBuf,
    warm: Vec<f64>,
    cold: Vec<f64>,
    /// Requests of all rounds that the origin got.
    origin_requests: u64,
    origin: Option<Origin>,
}

// === impl PageCache ===

impl PageCache {
    fn as_str(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }
}

// === impl Reader ===

impl Reader {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Server(server) => server.kind.as_str(),
            Self::Raw(_) => "raw reads",
        }
    }

    /// Reads every object once in this order; returns megabytes per second.
    async fn read(&self, order: Arc<[u32]>, check: Check) -> Result<f64> {
        let count = order.len() as u64;
        match self {
            Self::Server(server) => {
                let object = move |index: u64| object(order[index as usize]);
                let outcome = crowd::ask(server.http, READERS, count, check, object).await.complete()?;
                Ok(outcome.megabytes_per_second())
            }
            Self::Raw(folder) => {
                let folder = Arc::clone(folder);
                let start = Instant::now();
                tokio::task::spawn_blocking(move || read_raw(&folder, &order)).await??;
                Ok((count * OBJECT_BYTES) as f64 / 1e6 / start.elapsed().as_secs_f64())
            }
        }
    }
}

/// Fills the servers' disks and the raw files, then reads them in turns.
pub(super) async fn run(plan: &Plan, arguments: &Arguments, report: &mut Report) -> Result<()> {
    let catalogue = arguments.catalogue;
    report.heading(&format!(
        "disk: {catalogue} objects of {OBJECT_BYTES} bytes from disk, {READERS} connections, memory tier {MEMORY_TIER}"
    ));
    let folder = folder(arguments.folder.as_deref())?;
    let mut columns = Vec::new();
    for kind in plan.servers.iter().filter(|kind| **kind != Kind::Direct) {
        columns.push(fill(plan, *kind, &folder.path().join(kind.as_str()), catalogue).await?);
    }
    columns.push(raw(folder.path().join("raw"), catalogue).await?);
    let seed = u64::from(catalogue);
    let mut random = Random::new(seed);
    for column in &mut columns {
        let before = column.asked();
        // Every byte is compared once, before anything is measured.
        column.reader.read(random.order(catalogue).into(), Check::Bytes).await?;
        column.origin_requests += column.asked() - before;
    }
    for page_cache in [PageCache::Warm, PageCache::Cold] {
        for round in 0..arguments.rounds {
            for column in &mut columns {
                let rate = column.round(page_cache, random.order(catalogue)).await?;
                report.row(json!({
                    "bench": "disk", "measurement": "throughput", "server": column.reader.as_str(), "round": round,
                    "page_cache": page_cache.as_str(), "seed": seed, "megabytes_per_second": rate,
                }));
            }
        }
    }
    print(&columns, arguments, report);
    Ok(())
}

// === impl Column ===

impl Column {
    fn new(reader: Reader, folder: PathBuf, origin: Option<Origin>) -> Self {
        Self { reader, folder, warm: Vec::new(), cold: Vec::new(), origin_requests: 0, origin }
    }

    fn asked(&self) -> u64 {
        self.origin.as_ref().map_or(0, Origin::requests_in_all)
    }

    async fn round(&mut self, page_cache: PageCache, order: Vec<u32>) -> Result<f64> {
        match page_cache {
            PageCache::Cold => {
                let folder = self.folder.clone();
                tokio::task::spawn_blocking(move || forget(&folder)).await??;
            }
            // Whatever the rounds of others have pushed out comes back.
            PageCache::Warm => {
                self.reader.read(order.clone().into(), Check::Length).await?;
            }
        }
        let before = self.asked();
        let rate = self.reader.read(order.into(), Check::Length).await?;
        self.origin_requests += self.asked() - before;
        match page_cache {
            PageCache::Warm => self.warm.push(rate),
            PageCache::Cold => self.cold.push(rate),
        }
        Ok(rate)
    }
}

/// Starts a server and has it put the whole catalogue on its disk: the second request for an object is what makes it
/// worth that.
async fn fill(plan: &Plan, kind: Kind, folder: &Path, catalogue: u32) -> Result<Column> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let bytes = u64::from(catalogue) * OBJECT_BYTES;
    let mut setup = plan.setup(MEMORY_TIER);
    // Room for half as much again, and a few regions: nothing is evicted.
    let size = format!("{}MiB", (bytes + bytes / 2 + (1 << 30)) >> 20);
    setup.disk = Some(Disk { folder: folder.to_owned(), size });
    let origin = Origin::start()?;
    let server = Server::start(kind, &setup, &origin).await?;
    let twice = u64::from(catalogue) * 2;
    let (mut on_disk, least) = (0.0, f64::from(catalogue));
    for _ in 0..FILL_ROUNDS_MAX {
        // Two requests in a row, so that the second finds the object in memory. What the disk sheds comes again.
        let object = |index: u64| object((index / 2) as u32);
        crowd::ask(server.http, FILL_CLIENTS, twice, Check::Length, object).await.complete()?;
        let Some(admin) = server.admin else { break };
        on_disk = metrics::settle(admin, super::tracked::OBJECTS_ON_DISK, least, SETTLED).await?;
        if on_disk >= least {
            break;
        }
    }
    if server.admin.is_some() {
        ensure!(
            on_disk >= ON_DISK_MIN * least,
            "{on_disk} of {catalogue} objects are on disk after {FILL_ROUNDS_MAX} rounds of two requests for each"
        );
    }
    Ok(Column::new(Reader::Server(Box::new(server)), folder.to_owned(), Some(origin)))
}

/// Writes the catalogue to files.
async fn raw(folder: PathBuf, catalogue: u32) -> Result<Column> {
    let path: Arc<Path> = folder.as_path().into();
    let target = Arc::clone(&path);
    tokio::task::spawn_blocking(move || -> Result<()> {
        std::fs::create_dir_all(&target)?;
        let mut body = vec![0; usize::try_from(OBJECT_BYTES)?];
        for number in 0..catalogue {
            object(number).content().fill(0, &mut body);
            File::create(target.join(number.to_string()))?.write_all(&body)?;
        }
        Ok(())
    })
    .await?
    .with_context(|| folder.display().to_string())?;
    Ok(Column::new(Reader::Raw(path), folder, None))
}

fn read_raw(folder: &Path, order: &[u32]) -> Result<()> {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut buffer = vec![0; READ_BYTES];
                    while let Some(number) = order.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                        let mut file = File::open(folder.join(number.to_string()))?;
                        while file.read(&mut buffer)? > 0 {
                            std::hint::black_box(&buffer);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        readers.into_iter().try_for_each(|reader| match reader.join() {
            Ok(result) => result,
            Err(_) => anyhow::bail!("a reading thread panicked"),
        })
    })
}

/// Has the kernel write all files below a folder to disk and drop them from the page cache.
fn forget(folder: &Path) -> Result<()> {
    let listed = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in listed {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            forget(&path)?;
            continue;
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            // A server may remove its own temporary files.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        file.sync_all().with_context(|| path.display().to_string())?;
        fadvise(&file, 0, None, Advice::DontNeed).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn print(columns: &[Column], arguments: &Arguments, report: &mut Report) {
    let cell = |values: &[f64], digits: usize| {
        let (median, min, max) = median_min_max(values);
        format!("{median:.digits$} ({min:.digits$}..{max:.digits$})")
    };
    let requests = u64::from(arguments.catalogue) * (1 + 2 * u64::from(arguments.rounds));
    let mut rows = Vec::new();
    for column in columns {
        let from_origin = match column.origin {
            Some(_) => format!("{} of {requests}", column.origin_requests),
            None => "-".to_owned(),
        };
        let name = column.reader.as_str().to_owned();
        rows.push(vec![name, cell(&column.warm, 0), cell(&column.cold, 0), from_origin]);
    }
    let of = |name: &str| columns.iter().find(|column| column.reader.as_str() == name);
    let ratios = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<f64>>();
    for other in ["raw reads", "nginx"] {
        if let (Some(node), Some(other)) = (of("forebay"), of(other)) {
            rows.push(vec![
                format!("forebay / {}", other.reader.as_str()),
                cell(&ratios(&node.warm, &other.warm), 2),
                cell(&ratios(&node.cold, &other.cold), 2),
            ]);
        }
    }
    report.table(&["disk hits", "page cache warm MB/s", "page cache cold MB/s", "origin requests"], &rows);
    if let Some(node) = of("forebay") {
        let share = 100.0 * node.origin_requests as f64 / requests as f64;
        report.target("disk: requests for what is on disk that the origin got", Some(share), 1.0, "%");
    }
}

fn object(number: u32) -> Object {
    Object::new(&format!("disk-{number}"), OBJECT_BYTES, Duration::ZERO)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn raw_files_hold_the_catalogue_and_are_read_also_after_they_were_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut column = raw(folder.path().join("raw"), 3).await.unwrap();
        for number in 0..3 {
            let body = std::fs::read(folder.path().join(format!("raw/{number}"))).unwrap();
            assert_eq!(body.len() as u64, OBJECT_BYTES);
            assert_eq!(object(number).content().first_difference(0, &body), None);
        }
        for page_cache in [PageCache::Warm, PageCache::Cold] {
            assert!(column.round(page_cache, vec![2, 0, 1]).await.unwrap() > 0.0);
        }
        assert_eq!((column.warm.len(), column.cold.len()), (1, 1));
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_raw(folder.path(), &[7]).is_err());
    }
}
