//! Purges of tags in a full memory tier while clients read: how long the answer of a purge takes, and that nothing that
//! was there before a purge is served as a hit to a request that was sent after its answer.
//!
//! The origin changes all objects of a tag just before that is purged, so an old body shows.

mod origin;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Plan;
use crate::http1::{Client, Plain};
use crate::metrics;
use crate::report::Report;
use crate::server::Kind;
use crate::server::node;
use crate::trace::Random;
use origin::{Origin, path_of, version_of};

/// Connections that fill the cache.
const FILLERS: u64 = 32;

/// The most that a purge's answer may take, in milliseconds.
const ANSWER_MS_MAX: f64 = 10.0;

/// Memory of the node for each object, in bytes: more than one is charged with, so that none is evicted.
const OBJECT_BYTES: u64 = 8 * 1024;

/// The least memory of the node, in MiB.
const MEMORY_MIB_MIN: u64 = 256;

/// How long the number of objects is waited for.
const SETTLED: Duration = Duration::from_secs(2);

/// How much is stored, purged and read.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Objects in the memory tier
    #[arg(long, default_value_t = Self::default().objects, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    objects: u64,
    /// Objects of one tag
    #[arg(long, default_value_t = Self::default().tagged, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    tagged: u64,
    /// Purges, each of a tag, soft and hard in turns
    #[arg(long, default_value_t = Self::default().purges, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    purges: u64,
    /// Milliseconds from one purge's answer to the next purge
    #[arg(long, default_value_t = Self::default().pause_ms, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pause_ms: u64,
    /// Clients that read meanwhile, one connection each
    #[arg(long, default_value_t = Self::default().readers, value_parser = clap::value_parser!(u64).range(1..=1000))]
    readers: u64,
}

/// What readers and the one who purges share.
struct Shared {
    /// For each tag, the version below which nothing may be served any more.
    floors: Vec<AtomicU64>,
    done: AtomicBool,
    reads: AtomicU64,
    hits: AtomicU64,
}

// === impl Arguments ===

impl Default for Arguments {
    fn default() -> Self {
        Self { objects: 1_000_000, tagged: 1000, purges: 1000, pause_ms: 10, readers: 16 }
    }
}

impl Arguments {
    /// Sizes for a look rather than a figure to quote.
    pub(super) fn quick() -> Self {
        Self { objects: 200_000, purges: 200, ..Self::default() }
    }

    fn tags(&self) -> u64 {
        self.objects.div_ceil(self.tagged)
    }
}

/// Fills a node, purges tags of it while it is read, and prints one table. Of the servers, only the node has tags.
pub(crate) async fn run(plan: &Plan, arguments: &Arguments, report: &mut Report) -> Result<()> {
    let Arguments { objects, tagged, purges, pause_ms, readers } = *arguments;
    if !plan.servers.contains(&Kind::Forebay) {
        return Ok(());
    }
    report.heading(&format!(
        "purge: {purges} purges of tags of {tagged} objects each, among {objects} objects, with {readers} clients reading"
    ));
    let origin = Origin::start(arguments.tags())?;
    let memory = (objects * OBJECT_BYTES / (1024 * 1024)).max(MEMORY_MIB_MIN);
    let server = node::start(&plan.setup(&format!("{memory}MiB")), origin.address()).await?;
    let admin = server.admin.context("the node's admin listener")?;
    fill(server.http, arguments).await?;
    let held =
        metrics::settle(admin, "forebay_cache_objects{tier=\"memory\"}", objects as f64, SETTLED).await?;
    ensure!(held >= objects as f64, "the node holds {held} of {objects} objects");
    let shared = Arc::new(Shared {
        floors: (0..arguments.tags()).map(|_| AtomicU64::new(0)).collect(),
        done: AtomicBool::new(false),
        reads: AtomicU64::new(0),
        hits: AtomicU64::new(0),
    });
    let mut reading = JoinSet::new();
    for reader in 0..readers {
        reading.spawn(read(server.http, Arc::clone(&shared), arguments.clone(), reader));
    }
    let pause = Duration::from_millis(pause_ms);
    let purged = purge(admin, &origin, &shared, purges, pause).await;
    shared.done.store(true, Ordering::SeqCst);
    let mut stale = 0;
    for result in reading.join_all().await {
        match result {
            Ok(found) => stale += found,
            Err(error) => report.failure(Kind::Forebay, &format!("purge: {error:#}")),
        }
    }
    if stale > 0 {
        report.failure(Kind::Forebay, &format!("purge: {stale} hits with what was there before a purge"));
    }
    tell(&purged?, held, stale, &shared, report);
    Ok(())
}

/// Stores every object.
async fn fill(http: SocketAddr, arguments: &Arguments) -> Result<()> {
    let (objects, tagged) = (arguments.objects, arguments.tagged);
    let mut filling = JoinSet::new();
    for filler in 0..FILLERS {
        filling.spawn(async move {
            let mut client = Client::connect(http).await?;
            for number in (filler..objects).step_by(FILLERS as usize) {
                client.plain("GET", &path_of(number / tagged, number), "").await?.whole()?;
            }
            anyhow::Ok(())
        });
    }
    filling.join_all().await.into_iter().collect()
}

/// Reads objects at random until the purges are done; gives the hits that were older than they may be.
async fn read(http: SocketAddr, shared: Arc<Shared>, arguments: Arguments, seed: u64) -> Result<u64> {
    let mut client = Client::connect(http).await?;
    let mut random = Random::new(seed);
    let mut stale = 0;
    while !shared.done.load(Ordering::SeqCst) {
        let number = random.next() % arguments.objects;
        let tag = number / arguments.tagged;
        let floor = shared.floors[tag as usize].load(Ordering::SeqCst);
        let answer = client.plain("GET", &path_of(tag, number), "").await?.whole()?;
        let version = version_of(&answer.body).context("a body without a version")?;
        shared.reads.fetch_add(1, Ordering::Relaxed);
        shared.hits.fetch_add(u64::from(answer.hit), Ordering::Relaxed);
        // Not a hit alone: nothing that is served may be older.
        stale += u64::from(version < floor);
    }
    Ok(stale)
}

/// Purges one tag after the other; gives the times of the answers in microseconds.
async fn purge(
    admin: SocketAddr,
    origin: &Origin,
    shared: &Shared,
    purges: u64,
    pause: Duration,
) -> Result<Histogram<u64>> {
    let mut times = Histogram::new(3).context("a histogram")?;
    let mut client = Client::connect(admin).await?;
    let tags = shared.floors.len() as u64;
    let mut before = 0;
    for number in 0..purges {
        let tag = number % tags;
        let version = origin.change(tag);
        let mode = if number % 2 == 0 { "soft" } else { "hard" };
        let order = json!({ "tag": format!("t{tag}"), "site": "*", "mode": mode }).to_string();
        let begun = Instant::now();
        let answer = client.plain("POST", "/purge", &order).await?.whole()?;
        times.record(begun.elapsed().as_micros() as u64)?;
        shared.floors[tag as usize].fetch_max(version, Ordering::SeqCst);
        let told: Value = serde_json::from_slice(&answer.body).context("the answer of a purge")?;
        let generation = told["generation"].as_u64().context("an answer without a generation")?;
        ensure!(generation > before, "generation {generation} after {before}");
        before = generation;
        tokio::time::sleep(pause).await;
    }
    Ok(times)
}

fn tell(times: &Histogram<u64>, held: f64, stale: u64, shared: &Shared, report: &mut Report) {
    let ms = |us: u64| us as f64 / 1000.0;
    let answers = [ms(times.value_at_quantile(0.5)), ms(times.value_at_quantile(0.99)), ms(times.max())];
    let (reads, hits) = (shared.reads.load(Ordering::Relaxed), shared.hits.load(Ordering::Relaxed));
    report.row(json!({
        "bench": "purge", "server": "forebay", "objects": held, "purges": times.len(), "answer_ms_p50": answers[0],
        "answer_ms_p99": answers[1], "answer_ms_max": answers[2], "reads": reads, "hits": hits, "stale": stale,
    }));
    let mut row = vec!["forebay".to_owned(), format!("{held}"), times.len().to_string()];
    row.extend(answers.map(|answer| format!("{answer:.2}")));
    row.extend([reads, hits, stale].map(|count| count.to_string()));
    let header = ["purge", "objects", "purges", "p50 ms", "p99 ms", "max ms", "reads", "hits", "stale"];
    report.table(&header, &[row]);
    let measured = (stale == 0).then_some(answers[1]);
    report.target("purge: answer, p99", measured, ANSWER_MS_MAX, "ms");
}

impl Plain {
    /// The answer, if it is a 200.
    fn whole(self) -> Result<Plain> {
        ensure!(self.status == 200, "status {}: {}", self.status, String::from_utf8_lossy(&self.body));
        Ok(self)
    }
}
