//! Who lets the viewers of a run watch: threads of this process, or workers that have joined. Both are told what to do, begin at
//! the same moment, and tell of each second in the same way.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::crew::{Common, Crew};
use super::order::{self, Order};
use super::stop::Stop;
use super::trace::Trace;
use crate::join::coordinator::{ReadyWorkers, Workers};

/// From the order to start to the start: threads make their viewers' worlds meanwhile.
const LEAD: Duration = Duration::from_millis(500);

/// The same for workers, who first have to hear of it.
const WORKERS_LEAD: Duration = Duration::from_secs(2);

/// Who is there.
#[derive(Debug)]
pub(crate) enum Hands {
    /// So many threads of this process.
    Own { threads: usize },
    /// Workers who have joined, and this process no viewer.
    Workers(Workers),
}

/// Those who know what to do.
#[derive(Debug)]
pub(crate) enum Ready {
    Own { threads: usize, order: Box<Order> },
    Workers(ReadyWorkers),
}

/// Those who do it.
#[derive(Debug)]
pub(crate) struct Busy {
    crew: Option<Crew>,
    trace: Option<Trace>,
}

// === impl Hands ===

impl Hands {
    pub(crate) async fn ready(self, order: Order, stop: &Stop) -> Result<Ready> {
        Ok(match self {
            Self::Own { threads } => Ready::Own { threads, order: Box::new(order) },
            Self::Workers(workers) => Ready::Workers(workers.ready(&order, stop).await?),
        })
    }
}

// === impl Ready ===

impl Ready {
    /// How long before the start they have to hear of it.
    pub(crate) fn lead(&self) -> Duration {
        match self {
            Self::Own { .. } => LEAD,
            Self::Workers(_) => WORKERS_LEAD,
        }
    }

    /// What to call each source.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::Own { threads, .. } => {
                (0..*threads).map(|thread| format!("thread {thread} of viewers")).collect()
            }
            Self::Workers(workers) => workers.names(),
        }
    }

    /// Lets them begin. The trace is that of this process's own viewers.
    pub(crate) fn start(self, common: &Common, wall_epoch: SystemTime, trace: Option<&Path>) -> Result<Busy> {
        match self {
            Self::Own { threads, order } => {
                let trace = order::trace(trace, common.epoch)?;
                let crew = order.start(threads, common, wall_epoch, trace.clone())?;
                Ok(Busy { crew: Some(crew), trace })
            }
            Self::Workers(workers) => {
                workers.start(common.epoch, wall_epoch, &common.news, &common.stop)?;
                Ok(Busy { crew: None, trace: None })
            }
        }
    }
}

// === impl Busy ===

impl Busy {
    /// What this machine ran short of, if it did; a worker tells for itself.
    pub(crate) fn shortage(&self) -> Option<String> {
        self.crew.as_ref()?.shortage()
    }

    /// When all have told of their end.
    pub(crate) fn finish(self) -> Result<()> {
        if let Some(crew) = self.crew {
            crew.join();
        }
        self.trace.map_or(Ok(()), |trace| trace.finish())
    }
}
