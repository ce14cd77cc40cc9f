//! One run: the server and the origin are started, viewers come and go as the scenario says, events happen, and what was
//! measured is returned. Called by `run`, `capacity` and `compare`.
//!
//! Viewers run on threads of this process ([`crew`]) or with workers that have joined ([`crate::join`]; [`hands`]); both tell of each
//! second ([`news`]), which becomes whole when all have told ([`gather`]), and a row with what the other sides took ([`conduct`]). A
//! [`rehearsal`] has the same viewers in computed time.

pub(crate) mod command;
mod conduct;
pub(crate) mod crew;
mod events;
pub(crate) mod gather;
pub(crate) mod hands;
pub(crate) mod news;
pub(crate) mod order;
pub(crate) mod pins;
mod probe;
mod rehearsal;
pub(crate) mod room;
pub(crate) mod shift;
mod stand;
pub(crate) mod stop;
pub(crate) mod trace;
pub(crate) mod usage;

#[cfg(test)]
pub(crate) mod fake;

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::conduct::{Came, Conductor};
use self::crew::Common;
use self::hands::Hands;
use self::news::NEWS_MAX;
use self::order::Order;
use self::stand::Stand;
use self::stop::Stop;
use self::usage::Meter;
use crate::machine;
use crate::measure::summary::{Row, Summary};
use crate::output::RUN_VERSION;
use crate::output::progress::Progress;
use crate::proc;
use crate::scenario::Scenario;
use crate::scenario::audience;
use crate::server::{Kind, Server, Setup};
use crate::stage::process::Origin;
use crate::viewer::Target;
use crate::wire::Reach;

/// What is to be run, and against what.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    pub(crate) against: Against,
    /// Threads of viewers.
    pub(crate) threads: usize,
    /// Processors for the server, and for viewers and origin, in `taskset -c` form.
    pub(crate) pins: Option<(String, String)>,
    /// Every request of every viewer is written here, a line each.
    pub(crate) trace: Option<std::path::PathBuf>,
    /// Whether progress is shown.
    pub(crate) shows: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Against {
    /// A server of this kind, started for the run in front of the synthetic origin.
    Started(Kind, Setup),
    /// A server that runs already. The synthetic origin listens where told, if the server is to ask it.
    Running { target: Target, reach: Reach, origin: Option<std::net::SocketAddr> },
    /// Nobody: a rehearsal in computed time.
    Rehearsal,
}

/// A finished run, as it is written to `run.json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Finished {
    /// Version of this form: 1.
    pub(crate) version: u32,
    /// What was measured: `forebay`, `nginx`, ..., or a URL.
    pub(crate) server: String,
    pub(crate) machine: Value,
    /// The scenario as it was run.
    pub(crate) scenario: Value,
    pub(crate) summary: Summary,
    pub(crate) rows: Vec<Row>,
    /// What happened, in order: seconds from the start, and what.
    pub(crate) marks: Vec<(f64, String)>,
    /// What keeps this from being the result of the whole scenario (an interruption, a worker that was lost, a server that
    /// ended); nothing does in a run as it should be.
    #[serde(default)]
    pub(crate) spoiled: Vec<String>,
}

/// Runs it, with these hands, to its end or until it is to stop.
pub(crate) async fn run_until(plan: &Plan, hands: Hands, stop: &Stop) -> Result<Finished> {
    let running = async {
        match &plan.against {
            Against::Rehearsal => rehearsed(plan, stop).await,
            Against::Started(..) | Against::Running { .. } => Box::pin(played(plan, hands, stop)).await,
        }
    };
    tokio::select! {
        biased;
        () = stop.insisted() => bail!("interrupted twice: nothing is kept"),
        finished = running => finished,
    }
}

async fn rehearsed(plan: &Plan, stop: &Stop) -> Result<Finished> {
    let rehearsal = rehearsal::run(plan, stop).await?;
    let mut spoiled = rehearsal.ended.spoiled();
    spoiled.extend(rehearsal.untraced);
    spoiled.extend(interrupted(stop, rehearsal.lasted));
    let came = Came {
        summary: rehearsal.summary,
        rows: rehearsal.rows,
        marks: rehearsal::marks(&plan.scenario, rehearsal.lasted),
        spoiled,
    };
    finished(plan, came).await
}

async fn played(plan: &Plan, hands: Hands, stop: &Stop) -> Result<Finished> {
    let warning = match &hands {
        Hands::Own { .. } => room::ensure_for(&plan.scenario, &audience::tickets(&plan.scenario))?,
        Hands::Workers(_) => None,
    };
    let stand = tokio::select! {
        biased;
        () = stop.asked() => bail!("interrupted before the start"),
        stand = Box::pin(Stand::start(plan)) => stand?,
    };
    let came = Box::pin(conduct(plan, stand, hands, warning, stop)).await?;
    finished(plan, came).await
}

/// From the first viewer to the last.
async fn conduct(
    plan: &Plan,
    stand: Stand,
    hands: Hands,
    warning: Option<String>,
    stop: &Stop,
) -> Result<Came> {
    let scenario = &plan.scenario;
    // Locals are dropped from the last one on: wherever this ends, the server ends before the origin that it asks.
    let Stand { root, way, origin, server } = stand;
    let order = Order { scenario: scenario.clone(), way, worker: 0, workers: 1 };
    let hands = hands.ready(order, stop).await?;
    let (lead, names) = (hands.lead(), hands.names());
    let (epoch, wall_epoch) = (Instant::now() + lead, whole_us(SystemTime::now() + lead));
    if let Some(origin) = &origin {
        origin.begin(wall_epoch).await.context("the origin's start")?;
    }
    let cache = server.as_ref().map(Server::cache_files).unwrap_or_default();
    let meter = Meter::start(root.clone(), cache, origin.as_ref().map(Origin::pid))?;
    let name = stand::name(&plan.against);
    let progress = Progress::new(&scenario.name, &name, scenario.duration, plan.shows);
    let mut conductor = Conductor::new(scenario, epoch, names, meter, origin.as_ref(), progress);
    if let Some(warning) = warning {
        conductor.mark(Duration::ZERO, warning);
    }

    let (tell, mut news) = mpsc::channel(NEWS_MAX);
    let cpus = plan.pins.as_ref().map(|(_, others)| proc::parse_cpu_list(others)).transpose()?;
    let common = Common { epoch, duration: scenario.duration, stop: stop.clone(), news: tell, cpus };
    let busy = hands.start(&common, wall_epoch, plan.trace.as_deref())?;
    drop(common);
    let (tell, mut happened) = mpsc::channel(NEWS_MAX);
    let timeline = events::timeline(scenario);
    let events = tokio::spawn(events::perform(timeline, epoch, server, root, tell, stop.clone()));
    let listened = conductor.listen(&mut news, &mut happened, stop).await;
    // The server ends before the origin that it asks.
    events.abort();
    drop(events.await);
    listened?;
    if let Some(why) = busy.shortage() {
        conductor.spoil(why);
    }
    if let Err(error) = busy.finish() {
        conductor.spoil(format!("{error:#}"));
    }
    if let Some(why) = interrupted(stop, epoch.elapsed()) {
        conductor.spoil(why);
    }
    Ok(conductor.finish())
}

/// Whoever is told of a time by message has it in whole microseconds.
fn whole_us(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

fn interrupted(stop: &Stop, after: Duration) -> Option<String> {
    stop.is_asked().then(|| format!("interrupted after {:.1} s", after.as_secs_f64()))
}

async fn finished(plan: &Plan, came: Came) -> Result<Finished> {
    let setup = match &plan.against {
        Against::Started(_, setup) => setup.clone(),
        Against::Running { .. } | Against::Rehearsal => Setup::default(),
    };
    Ok(Finished {
        version: RUN_VERSION,
        server: stand::name(&plan.against),
        machine: Box::pin(machine::facts(&setup)).await,
        scenario: serde_json::to_value(&plan.scenario)?,
        summary: came.summary,
        rows: came.rows,
        marks: came.marks,
        spoiled: came.spoiled,
    })
}
