//! Viewers that wait for the next part of a live Low-Latency stream: how often the origin is asked for them all, and how
//! long after its answer each of them has the first byte of its own.
//!
//! Every viewer has a connection and an address of its own, reloads the playlist for the part that comes next, and, when
//! it has it, for the one after that. A share of them fetches each part too. The stream goes on by the clock of this
//! machine, and both ends of a wake-up are read from it. Viewers, who would have machines of their own, give way to the
//! node where both want a processor.

mod origin;
mod stream;
mod viewer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::origin::{LiveOrigin, Told};
use self::stream::FIRST_EDGE;
use self::viewer::{VIEWERS_MAX, Viewer};
use super::Plan;
use crate::child::Guarded;
use crate::proc;
use crate::report::Report;
use crate::server::node;
use crate::server::{Kind, Server, Setup};

/// Connections that are being made at the same time.
const CONNECTING_MAX: usize = 64;

/// From the last viewer's first reload to the first part: time in which a busy node parks them all.
const SETTLE: Duration = Duration::from_secs(1);

/// The most a viewer may be woken after the origin's answer, in milliseconds (99th percentile).
const WAKE_MS_MAX: f64 = 50.0;

/// Descriptors that are needed beside those of the viewers' connections.
const DESCRIPTORS_BESIDE: u64 = 500;

/// How far the viewers' threads give way to the node and the origin (nice(2)).
const GIVES_WAY: i32 = 10;

/// Further errors of this many are counted alone.
const ERRORS_SHOWN_MAX: usize = 5;

/// How many viewers wait, and for what.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Viewers, one connection and one address each
    #[arg(long, default_value_t = Self::default().clients, value_parser = clap::value_parser!(u32).range(1..=i64::from(VIEWERS_MAX)))]
    clients: u32,
    /// Parts that are published
    #[arg(long, default_value_t = Self::default().parts, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    parts: u64,
    /// Milliseconds of a part
    #[arg(long, default_value_t = Self::default().part_ms, value_parser = clap::value_parser!(u64).range(20..=10_000))]
    part_ms: u64,
    /// Size of a part in bytes
    #[arg(long, default_value_t = Self::default().part_bytes, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    part_bytes: u32,
    /// Worker threads of the node; all processors that this process may run on, unless told
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// One in so many viewers fetches the parts too; the others reload the playlist alone
    #[arg(long, default_value_t = Self::default().one_fetches_in, value_parser = clap::value_parser!(u32).range(1..))]
    one_fetches_in: u32,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { clients: 5000, parts: 40, part_ms: 500, part_bytes: 60_000, threads: None, one_fetches_in: 10 }
    }
}

impl Arguments {
    /// Sizes for a look rather than a figure to quote.
    pub(super) fn quick() -> Self {
        Self { clients: 2000, parts: 20, ..Self::default() }
    }
}

/// What one viewer met: its reloads and the times of their answers, and why it ended early, if it did.
#[derive(Debug, Default)]
struct Met {
    /// The part waited for, and when the request was sent and the first byte of its answer was there.
    reloads: Vec<(u64, SystemTime, SystemTime)>,
    /// Parts fetched.
    parts: u64,
    error: Option<String>,
}

/// What all viewers of one server met.
#[derive(Debug)]
struct Outcome {
    told: Told,
    /// Distinct parts that viewers waited for.
    distinct: u64,
    /// Playlists that viewers got by reload, and parts.
    reloads: u64,
    parts: u64,
    /// Reloads sent after the origin had answered for that part: answered at once, and no wake-up.
    late: u64,
    /// From the origin's answer to a waiting viewer's first byte, in microseconds.
    wake_us: Histogram<u64>,
    errors: Vec<String>,
    cost: Option<Cost>,
}

/// What the server took.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// CPU while the stream went on, and that time.
    cpu: Duration,
    /// CPU of viewers and origin meanwhile.
    beside: Duration,
    time: Duration,
    idle_bytes: u64,
    parked_bytes: u64,
    peak_bytes: u64,
}

/// Parks the viewers at every server and prints one table.
pub(crate) async fn run(plan: &Plan, arguments: &Arguments, report: &mut Report) -> Result<()> {
    let Arguments { clients, parts, part_ms, part_bytes, one_fetches_in, .. } = *arguments;
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => u32::try_from(proc::allowed_cpus()?.len())?,
    };
    let arguments = &Arguments { threads: Some(threads), ..arguments.clone() };
    report.heading(&format!(
        "parked: {clients} viewers, an address each, wait for the next of {parts} parts of {part_ms} ms; one in \
         {one_fetches_in} fetches the part ({part_bytes} bytes) too"
    ));
    let mut rows = Vec::new();
    for kind in &plan.servers {
        if kind.is_peer() {
            report.say(&format!("{}: knows no blocking reload, skipped", kind.as_str()));
            continue;
        }
        // Without a server between, the other end of each connection is this process's own.
        let ends = if *kind == Kind::Direct { 2 } else { 1 };
        let needed = u64::from(clients) * ends + DESCRIPTORS_BESIDE;
        ensure!(
            needed <= plan.descriptors,
            "{}: {clients} viewers need {needed} open descriptors, the limit is {}: raise the hard limit (ulimit -Hn, or \
             LimitNOFILE= of the service this runs in), or ask for fewer with --clients",
            kind.as_str(),
            plan.descriptors
        );
        let origin = Arc::new(LiveOrigin::start(part_ms, part_bytes as usize)?);
        let server = match kind {
            Kind::Forebay => Some(
                node::start_with(
                    &Setup { threads, ..plan.setup("256MiB") },
                    origin.address(),
                    &site(clients),
                    &[],
                )
                .await
                .context("starting forebay")?,
            ),
            _ => None,
        };
        let outcome = park(server.as_ref(), &origin, arguments).await?;
        rows.push(row(*kind, arguments, &outcome, report));
        if *kind == Kind::Forebay {
            set_targets(&outcome, report);
        }
    }
    let (met, costs): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    report.table(
        &[
            "parked",
            "waited for",
            "origin reloads",
            "of one, most",
            "origin part requests, most",
            "plain",
            "wake p50 ms",
            "p99 ms",
            "max ms",
            "late",
            "errors",
        ],
        &met,
    );
    let costs: Vec<_> = costs.into_iter().flatten().collect();
    if !costs.is_empty() {
        report.table(
            &[
                "cost",
                "cores",
                "CPU µs/reload",
                "viewers' µs",
                "MiB idle",
                "MiB parked",
                "KB/viewer",
                "peak MiB",
            ],
            &costs,
        );
    }
    Ok(())
}

/// One site for every host, and limits that hold the viewers.
fn site(clients: u32) -> String {
    let room = clients + 1000;
    format!(
        "[limits]\nconnections = {room}\nwaiters = {room}\nparked = {room}\n\n\
         [[site]]\nhosts = [\"*\"]\norigin = \"main\"\n"
    )
}

async fn park(server: Option<&Server>, origin: &Arc<LiveOrigin>, arguments: &Arguments) -> Result<Outcome> {
    let host = server.map_or_else(|| origin.address(), |server| server.http);
    let pid = server.and_then(|server| server.process.as_ref()).map(Guarded::id);
    let memory = || pid.map(proc::memory_bytes).transpose();
    let idle_bytes = memory()?;
    let last = FIRST_EDGE + arguments.parts;
    let (release, released) = watch::channel(false);
    let (ready, mut all_ready) = watch::channel(0);
    let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
    let viewers = Viewers::start()?;
    let mut tasks = JoinSet::new();
    for index in 0..arguments.clients {
        let (origin, connecting) = (Arc::clone(origin), Arc::clone(&connecting));
        let (ready, mut released) = (ready.clone(), released.clone());
        let part_bytes =
            index.is_multiple_of(arguments.one_fetches_in).then_some(arguments.part_bytes as usize);
        let viewer = async move {
            let connected = {
                let _permit = connecting.acquire().await;
                start(index, host, &origin).await
            };
            ready.send_modify(|count| *count += 1);
            // The sender is dropped only after it has sent.
            released.wait_for(|released| *released).await.ok();
            let mut met = Met::default();
            let watched = match connected {
                Ok((mut viewer, edge)) => {
                    watch_to(last, edge, &mut viewer, part_bytes, &origin, &mut met).await
                }
                Err(error) => Err(error),
            };
            met.error = watched.err().map(|error| format!("{error:#}"));
            met
        };
        tasks.spawn_on(viewer, viewers.handle()?);
    }
    all_ready.wait_for(|count| *count == arguments.clients).await.context("the viewers")?;
    release.send_replace(true);
    tokio::time::sleep(SETTLE).await;

    let parked_bytes = memory()?;
    let cpu = || pid.map(proc::tree_cpu).transpose();
    let own = || proc::tree_cpu(std::process::id());
    let (before, own_before, start) = (cpu()?, own()?, Instant::now());
    let mut clock = tokio::time::interval(Duration::from_millis(arguments.part_ms));
    for _ in 0..arguments.parts {
        clock.tick().await;
        origin.publish();
    }
    let met = tasks.join_all().await;
    let (after, own_after, time) = (cpu()?, own()?, start.elapsed());
    let peak_bytes = pid.map(proc::peak_memory_bytes).transpose()?;
    let mut outcome = judge(origin.told(), met)?;
    if let (Some(before), Some(after), Some(idle_bytes), Some(parked_bytes), Some(peak_bytes)) =
        (before, after, idle_bytes, parked_bytes, peak_bytes)
    {
        let cpu = after.saturating_sub(before);
        let beside = own_after.saturating_sub(own_before).saturating_sub(cpu);
        outcome.cost = Some(Cost { cpu, beside, time, idle_bytes, parked_bytes, peak_bytes });
    }
    Ok(outcome)
}

/// Threads for the viewers alone, which end when this is dropped.
struct Viewers(Option<Runtime>);

impl Viewers {
    fn start() -> Result<Self> {
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        // Where it fails, the viewers are in the node's way as much as others.
        threads.thread_name("viewers").enable_all().on_thread_start(|| {
            let _ = rustix::process::nice(GIVES_WAY);
        });
        Ok(Self(Some(threads.build().context("the viewers' threads")?)))
    }

    fn handle(&self) -> Result<&tokio::runtime::Handle> {
        Ok(self.0.as_ref().context("the viewers' threads")?.handle())
    }
}

impl Drop for Viewers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Connects, and looks where the stream is.
async fn start(index: u32, host: SocketAddr, origin: &LiveOrigin) -> Result<(Viewer, u64)> {
    let mut viewer = Viewer::connect(index, host).await?;
    let got = viewer.playlist().await?;
    let edge = origin.edge_of(got.digest).context("a playlist that the origin never had")?;
    Ok((viewer, edge))
}

/// Follows the stream from `edge` to its last part.
async fn watch_to(
    last: u64,
    mut edge: u64,
    viewer: &mut Viewer,
    part_bytes: Option<usize>,
    origin: &LiveOrigin,
    met: &mut Met,
) -> Result<()> {
    while edge < last {
        let wanted = edge + 1;
        let got = viewer.reload(wanted).await?;
        edge = origin.edge_of(got.digest).context("a playlist that the origin never had")?;
        ensure!(edge >= wanted, "the playlist that was to have part {wanted} ends with {edge}");
        met.reloads.push((wanted, got.asked_at, got.first_byte_at));
        if let Some(bytes) = part_bytes {
            viewer.part(edge, bytes).await?;
            met.parts += 1;
        }
    }
    Ok(())
}

fn judge(told: Told, met: Vec<Met>) -> Result<Outcome> {
    let mut outcome = Outcome {
        told,
        distinct: 0,
        reloads: 0,
        parts: 0,
        late: 0,
        wake_us: Histogram::new(3).context("a histogram")?,
        errors: Vec::new(),
        cost: None,
    };
    let mut distinct = std::collections::HashSet::new();
    for one in met {
        outcome.parts += one.parts;
        outcome.errors.extend(one.error);
        for (part, asked_at, first_byte_at) in one.reloads {
            distinct.insert(part);
            outcome.reloads += 1;
            let answered = outcome.told.reloads_answered.get(&part);
            match answered.filter(|answered| asked_at < **answered) {
                Some(answered) => {
                    let wake = first_byte_at.duration_since(*answered).context("the clock was set back")?;
                    outcome.wake_us.record(wake.as_micros() as u64)?;
                }
                // Answered from what the node held already.
                None => outcome.late += 1,
            }
        }
    }
    outcome.distinct = distinct.len() as u64;
    Ok(outcome)
}

fn most(counts: &std::collections::HashMap<u64, u64>) -> u64 {
    counts.values().copied().max().unwrap_or_default()
}

/// The origin is to be asked once for each part that anybody waited for, and once for each part.
fn set_targets(outcome: &Outcome, report: &mut Report) {
    let measured = |value: f64| outcome.errors.is_empty().then_some(value);
    let told = &outcome.told;
    let asked: u64 = told.reloads.values().sum();
    report.target(
        "parked: origin playlist requests for each (msn, part) waited for",
        measured(asked as f64 / outcome.distinct.max(1) as f64),
        1.0,
        "",
    );
    report.target("parked: origin requests for a part, most", measured(most(&told.parts) as f64), 1.0, "");
    let woken = !outcome.wake_us.is_empty();
    report.target(
        "parked: wake-up after the origin's answer, p99",
        measured(milliseconds(&outcome.wake_us, 0.99)).filter(|_| woken),
        WAKE_MS_MAX,
        "ms",
    );
}

/// The row of what viewers met, and that of what it cost.
fn row(
    kind: Kind,
    arguments: &Arguments,
    outcome: &Outcome,
    report: &mut Report,
) -> (Vec<String>, Option<Vec<String>>) {
    let (name, told) = (kind.as_str(), &outcome.told);
    let asked: u64 = told.reloads.values().sum();
    let wake = [0.5, 0.99, 1.0].map(|quantile| milliseconds(&outcome.wake_us, quantile));
    for error in outcome.errors.iter().take(ERRORS_SHOWN_MAX) {
        report.failure(kind, &format!("parked: {error}"));
    }
    if outcome.errors.len() > ERRORS_SHOWN_MAX {
        report.failure(
            kind,
            &format!("parked: {} more viewers ended early", outcome.errors.len() - ERRORS_SHOWN_MAX),
        );
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let cost = outcome.cost.map(|cost| {
        let cpu = cost.cpu.as_secs_f64();
        [
            cpu / cost.time.as_secs_f64(),
            cpu * 1e6 / outcome.reloads.max(1) as f64,
            cost.beside.as_secs_f64() * 1e6 / outcome.reloads.max(1) as f64,
            mib(cost.idle_bytes),
            mib(cost.parked_bytes),
            cost.parked_bytes.saturating_sub(cost.idle_bytes) as f64 / 1e3 / f64::from(arguments.clients),
            mib(cost.peak_bytes),
        ]
    });
    report.row(json!({
        "bench": "parked", "server": name, "clients": arguments.clients, "parts": arguments.parts,
        "part_ms": arguments.part_ms, "part_bytes": arguments.part_bytes, "one_fetches_in": arguments.one_fetches_in,
        "threads": arguments.threads,
        "waited_for": outcome.distinct, "origin_reloads": asked, "origin_reloads_for_a_part_most": most(&told.reloads),
        "origin_part_requests_most": most(&told.parts), "origin_plain_requests": told.plain,
        "origin_refused": told.refused, "reloads": outcome.reloads, "parts_fetched": outcome.parts,
        "late": outcome.late, "woken": outcome.wake_us.len(), "wake_ms_p50": wake[0], "wake_ms_p99": wake[1],
        "wake_ms_max": wake[2], "errors": outcome.errors.len(), "cores": cost.map(|cost| cost[0]),
        "us_per_reload": cost.map(|cost| cost[1]),
        "viewers_us_per_reload": cost.map(|cost| cost[2]), "idle_mib": cost.map(|cost| cost[3]),
        "parked_mib": cost.map(|cost| cost[4]), "kb_per_viewer": cost.map(|cost| cost[5]),
        "peak_mib": cost.map(|cost| cost[6]),
    }));
    let counts = [outcome.distinct, asked, most(&told.reloads), most(&told.parts), told.plain];
    let mut row = vec![name.to_owned()];
    row.extend(counts.map(|count| count.to_string()));
    row.extend(wake.map(|time| format!("{time:.1}")));
    row.extend([outcome.late.to_string(), outcome.errors.len().to_string()]);
    let costs = cost.map(|[cores, micros, beside, idle, parked, each, peak]| {
        let mut row = vec![name.to_owned(), format!("{cores:.2}")];
        row.extend([micros, beside, idle, parked].map(|value| format!("{value:.0}")));
        row.extend([format!("{each:.1}"), format!("{peak:.0}")]);
        row
    });
    (row, costs)
}

fn milliseconds(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}
