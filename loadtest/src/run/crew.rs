//! The threads that viewers run on: a single-threaded runtime each, so that nothing a viewer has needs a lock. Which thread a viewer
//! belongs to follows from its number alone. What viewers do is a parameter; [`super::order`] has the real thing.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::sync::mpsc::Sender;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::news::{News, What};
use super::shift::{Ended, Shift};
use super::stop::Stop;
use crate::measure::Recorder;
use crate::scenario::audience::Ticket;
use crate::wire::Network;

/// Threads of viewers in one process, at most.
pub(crate) const THREADS_MAX: usize = 256;

/// What all threads have in common.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) epoch: Instant,
    pub(crate) duration: Duration,
    pub(crate) stop: Stop,
    pub(crate) news: Sender<News>,
    /// Processors that they may run on; none: any.
    pub(crate) cpus: Option<Vec<u32>>,
}

/// The threads. They end by themselves when the run is over or is to stop, and tell of it.
#[derive(Debug)]
pub(crate) struct Crew {
    threads: Vec<JoinHandle<()>>,
    /// What their viewers ask over, if it is known to them.
    network: Option<Arc<Network>>,
}

/// Tells that a source is lost, unless it has told how it ended: a thread that panics says so too.
struct Last {
    source: usize,
    news: Sender<News>,
    what: Option<What>,
}

/// The viewers of one of so many workers, by threads. The lists keep the order of arrival.
pub(crate) fn by_thread(tickets: Vec<Ticket>, workers: u32, threads: usize) -> Vec<Vec<Ticket>> {
    let mut lists: Vec<Vec<Ticket>> = (0..threads.max(1)).map(|_| Vec::new()).collect();
    for ticket in tickets {
        let thread = (ticket.viewer / workers.max(1)) as usize % lists.len();
        lists[thread].push(ticket);
    }
    lists
}

// === impl Crew ===

impl Crew {
    /// Starts a thread for each list. `make` is called in each thread once, and makes what lets a ticket watch.
    pub(crate) fn start<M, W, V>(lists: Vec<Vec<Ticket>>, common: &Common, make: M) -> Result<Self>
    where
        M: Fn(&Recorder) -> Result<W> + Clone + Send + 'static,
        W: Fn(Ticket) -> V,
        V: Future<Output = ()> + 'static,
    {
        let mut threads = Vec::with_capacity(lists.len());
        for (source, tickets) in lists.into_iter().enumerate() {
            let (common, make) = (common.clone(), make.clone());
            let thread = std::thread::Builder::new()
                .name(format!("viewers-{source}"))
                .spawn(move || {
                    let mut last = Last { source, news: common.news.clone(), what: None };
                    last.what = Some(match work(source, tickets, common, make) {
                        Ok(ended) => What::Ended { spoiled: ended.spoiled() },
                        Err(error) => What::Lost { why: format!("{error:#}") },
                    });
                })
                .context("a thread for viewers")?;
            threads.push(thread);
        }
        Ok(Self { threads, network: None })
    }

    /// The same threads, whose viewers ask over this.
    pub(crate) fn over(self, network: Arc<Network>) -> Self {
        Self { network: Some(network), ..self }
    }

    /// What this machine ran short of while they watched, if it did: errors that are no fault of the server's.
    pub(crate) fn shortage(&self) -> Option<String> {
        self.network.as_ref()?.shortage().map(str::to_owned)
    }

    /// Waits for threads that have told of their end.
    pub(crate) fn join(self) {
        for thread in self.threads {
            // One that has panicked has told so.
            thread.join().ok();
        }
    }
}

fn work<M, W, V>(source: usize, tickets: Vec<Ticket>, common: Common, make: M) -> Result<Ended>
where
    M: Fn(&Recorder) -> Result<W>,
    W: Fn(Ticket) -> V,
    V: Future<Output = ()> + 'static,
{
    let Common { epoch, duration, stop, news, cpus } = common;
    if let Some(cpus) = cpus {
        pin(&cpus)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime")?;
    let recorder = Recorder::new();
    LocalSet::new().block_on(&runtime, async {
        let watch = make(&recorder)?;
        let shift = Shift { tickets, epoch, duration, stop };
        let tell = async |second, book| {
            let what = What::Second { second, book: Box::new(book), usage: None };
            news.send(News { source, what }).await.is_ok()
        };
        Ok(shift.run(&recorder, watch, tell).await)
    })
}

/// Keeps this thread to these processors.
fn pin(cpus: &[u32]) -> Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus.iter().map(|cpu| *cpu as usize).filter(|cpu| *cpu < CpuSet::MAX_CPU) {
        set.set(cpu);
    }
    sched_setaffinity(None, &set).with_context(|| format!("cannot run viewers on processors {cpus:?}"))
}

impl Drop for Last {
    fn drop(&mut self) {
        let what = self.what.take().unwrap_or_else(|| What::Lost {
            why: "its thread ended by a defect of the load tester (standard error has it)".to_owned(),
        });
        self.news.blocking_send(News { source: self.source, what }).ok();
    }
}

#[cfg(test)]
mod tests;
