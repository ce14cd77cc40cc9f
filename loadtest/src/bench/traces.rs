//! The node's hit ratio beside that of plain LRU with as many bytes, under traces that a seed gives: viewers whose
//! interest follows Zipf's law, without and with one who goes through the whole catalogue once. A miss is a request that
//! the origin has got.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use super::Plan;
use crate::content::Object;
use crate::crowd::{self, Check};
use crate::origin::Origin;
use crate::report::Report;
use crate::server::{Disk, Kind, Server, Setup};
use crate::trace::{Lru, Random, Zipf};

/// Viewers, one connection each: few, so that requests arrive about in the order of the trace.
const CLIENTS: u32 = 4;

/// The exponent of the popularity law.
const EXPONENT: f64 = 0.9;

/// The part of the Zipf requests that comes before anything is counted, as one in so many.
const WARM_UP_PART: usize = 4;

/// How large the catalogue and the node are, and which traces are made.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Objects in the catalogue
    #[arg(long, default_value_t = Self::default().objects, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    objects: u32,
    /// Size of an object in KiB
    #[arg(long, default_value_t = Self::default().object_kib, value_parser = clap::value_parser!(u32).range(1..=65536))]
    object_kib: u32,
    /// Requests of the Zipf trace; a fourth of them come before anything is counted
    #[arg(long, default_value_t = Self::default().requests, value_parser = clap::value_parser!(u32).range(100..=100_000_000))]
    requests: u32,
    /// The node's memory tier in MiB
    #[arg(long, default_value_t = Self::default().memory_mib, value_parser = clap::value_parser!(u32).range(16..=65536))]
    memory_mib: u32,
    /// The node's disk tier in MiB
    #[arg(long, default_value_t = Self::default().disk_mib, value_parser = clap::value_parser!(u32).range(64..=65536))]
    disk_mib: u32,
    /// Measure the node with memory alone
    #[arg(long, conflicts_with = "no_memory_alone")]
    no_disk: bool,
    /// Measure the node with a disk tier only
    #[arg(long)]
    no_memory_alone: bool,
    /// Where the disk tier's files go [default: a temporary folder]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Seeds, one trace of each kind per seed
    #[arg(long, value_delimiter = ',', default_values_t = Self::default().seeds)]
    seeds: Vec<u64>,
}

/// One sequence of requests.
#[derive(Debug)]
struct Trace {
    name: &'static str,
    seed: u64,
    /// Object numbers.
    requests: Arc<[u32]>,
    /// How many of the first are not counted.
    warm_up: usize,
}

/// Misses of one trace, and the requests that were counted.
#[derive(Clone, Copy, Debug)]
struct Counts {
    requests: u64,
    node: u64,
    lru: u64,
}

// === impl Arguments ===

impl Default for Arguments {
    fn default() -> Self {
        Self {
            objects: 2000,
            object_kib: 256,
            requests: 20_000,
            memory_mib: 64,
            disk_mib: 128,
            no_disk: false,
            no_memory_alone: false,
            folder: None,
            seeds: vec![1],
        }
    }
}

impl Arguments {
    /// Sizes for a look rather than a figure to quote.
    pub(super) fn quick() -> Self {
        Self { requests: 10_000, ..Self::default() }
    }

    fn traces(&self) -> Vec<Trace> {
        self.seeds.iter().flat_map(|seed| [self.zipf(*seed), self.scanned(*seed)]).collect()
    }

    fn zipf(&self, seed: u64) -> Trace {
        let mut random = Random::new(seed);
        let zipf = Zipf::new(self.objects, EXPONENT, &mut random);
        let requests: Arc<[u32]> = (0..self.requests).map(|_| zipf.draw(&mut random)).collect();
        let warm_up = requests.len() / WARM_UP_PART;
        Trace { name: "zipf", seed, requests, warm_up }
    }

    /// The same, and from its middle on every second request is the scanning viewer's, until the catalogue ends.
    fn scanned(&self, seed: u64) -> Trace {
        let zipf = self.zipf(seed);
        let (before, after) = zipf.requests.split_at(zipf.requests.len() / 2);
        let mut requests = before.to_vec();
        let mut after = after.iter();
        for scanned in 0..self.objects {
            requests.push(scanned);
            requests.extend(after.next());
        }
        requests.extend(after);
        Trace { name: "zipf and a scan", requests: requests.into(), ..zipf }
    }

    fn object(&self, number: u32) -> Object {
        Object::new(&format!("trace-{number}"), u64::from(self.object_kib) * 1024, Duration::ZERO)
    }
}

// === impl Counts ===

impl Counts {
    /// The share of requests that were hits, in percent.
    fn hit_percent(&self, misses: u64) -> f64 {
        100.0 * (1.0 - misses as f64 / self.requests as f64)
    }
}

/// Plays every trace to a fresh node, with memory alone and with a disk tier, and prints one table.
pub(crate) async fn run(plan: &Plan, arguments: &Arguments, report: &mut Report) -> Result<()> {
    let Arguments { objects, object_kib, memory_mib, disk_mib, .. } = *arguments;
    report.heading(&format!(
        "traces: {objects} objects of {object_kib} KiB, Zipf exponent {EXPONENT}, memory tier {memory_mib} MiB, disk \
         tier none or {disk_mib} MiB"
    ));
    if !plan.servers.contains(&Kind::Forebay) {
        report.say("forebay: not among --servers, skipped");
        return Ok(());
    }
    let mut rows = Vec::new();
    for with_disk in [false, true] {
        if if with_disk { arguments.no_disk } else { arguments.no_memory_alone } {
            continue;
        }
        for trace in arguments.traces() {
            let counts = play(plan, arguments, &trace, with_disk).await;
            let what =
                format!("{}, seed {}{}", trace.name, trace.seed, if with_disk { ", with disk" } else { "" });
            match counts {
                Ok(counts) => rows.push(row(&what, &counts, report)),
                Err(error) => report.failure(Kind::Forebay, &format!("traces: {what}: {error:#}")),
            }
        }
    }
    report.table(&["traces", "requests", "node hits %", "LRU hits %", "node misses / LRU misses"], &rows);
    Ok(())
}

async fn play(plan: &Plan, arguments: &Arguments, trace: &Trace, with_disk: bool) -> Result<Counts> {
    let mut bytes = u64::from(arguments.memory_mib) << 20;
    let mut setup: Setup = plan.setup(&format!("{}MiB", arguments.memory_mib));
    // Removed when the node has ended: it is declared before the node is started.
    let folder;
    if with_disk {
        folder = super::disk::folder(arguments.folder.as_deref())?;
        let size = format!("{}MiB", arguments.disk_mib);
        setup.disk = Some(Disk { folder: folder.path().to_owned(), size });
        bytes += u64::from(arguments.disk_mib) << 20;
    }
    let origin = Origin::start()?;
    let server = Server::start(Kind::Forebay, &setup, &origin).await?;
    let mut misses = Vec::new();
    for part in [0..trace.warm_up, trace.warm_up..trace.requests.len()] {
        let (requests, first) = (Arc::clone(&trace.requests), part.start);
        let named = arguments.clone();
        let object = move |index: u64| named.object(requests[first + index as usize]);
        let before = origin.requests_in_all();
        let outcome = crowd::ask(server.http, CLIENTS, part.len() as u64, Check::Bytes, object).await;
        outcome.complete()?;
        misses.push(origin.requests_in_all() - before);
    }
    let capacity = usize::try_from(bytes / (u64::from(arguments.object_kib) * 1024))?;
    ensure!(capacity > 0, "the store is smaller than one object");
    let mut lru = Lru::new(capacity);
    let held: Vec<bool> = trace.requests.iter().map(|object| lru.ask(*object)).collect();
    Ok(Counts {
        requests: (trace.requests.len() - trace.warm_up) as u64,
        node: misses.pop().context("the counted part")?,
        lru: held[trace.warm_up..].iter().filter(|held| !**held).count() as u64,
    })
}

fn row(what: &str, counts: &Counts, report: &mut Report) -> Vec<String> {
    let ratio = counts.node as f64 / counts.lru.max(1) as f64;
    report.row(json!({
        "bench": "traces", "server": "forebay", "trace": what, "requests": counts.requests,
        "misses": counts.node, "lru_misses": counts.lru,
    }));
    report.target(&format!("traces: misses beside plain LRU's, {what}"), Some(ratio), 1.0, "times");
    let percent = |misses| format!("{:.1}", counts.hit_percent(misses));
    vec![
        what.to_owned(),
        counts.requests.to_string(),
        percent(counts.node),
        percent(counts.lru),
        format!("{ratio:.2}"),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn the_scan_adds_each_object_once_and_changes_nothing_else() {
        let arguments = Arguments { objects: 100, requests: 1000, ..Arguments::default() };
        for seed in 0..5 {
            let (zipf, scanned) = (arguments.zipf(seed), arguments.scanned(seed));
            assert_eq!(scanned.requests.len(), 1100);
            assert_eq!(scanned.warm_up, zipf.warm_up);
            let (before, rest) = scanned.requests.split_at(500);
            let scan: Vec<u32> = rest[..200].iter().step_by(2).copied().collect();
            let viewers = rest[..200].iter().skip(1).step_by(2).chain(&rest[200..]);
            assert_eq!(scan, (0..100).collect::<Vec<u32>>());
            assert!(before.iter().chain(viewers).eq(zipf.requests.iter()), "seed {seed}");
        }
    }

    #[test]
    fn hits_and_misses_make_a_hundred_percent() {
        let counts = Counts { requests: 200, node: 50, lru: 200 };
        assert_eq!(counts.hit_percent(counts.node), 75.0);
        assert_eq!(counts.hit_percent(counts.lru), 0.0);
    }
}
