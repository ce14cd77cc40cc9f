//! While a run goes on: seconds come in from all sources, the other sides are read each second, events are noted, and at the end
//! there is a result, whatever happened.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until, timeout};

use super::events::Happened;
use super::gather::{BEHIND_SECONDS_MAX, Gather};
use super::news::{News, What};
use super::shift::seconds;
use super::stop::Stop;
use super::usage::Meter;
use crate::measure::summary::{Row, Summary, Usage};
use crate::measure::{Book, Chronicle, Sides};
use crate::output::progress::Progress;
use crate::scenario::Scenario;
use crate::stage::process::{Ledger, Origin};

/// How long the origin may take to tell what it was asked for; without an answer a second has the figures of none.
const LEDGER_WAIT_MAX: Duration = Duration::from_secs(1);

/// How many seconds a source may be ahead of the run's clock before what it tells makes no sense. Its own clock may be off a little.
const AHEAD_SECONDS_MAX: u64 = 5;

/// Marks of a run, at most: an event that repeats itself does not fill the memory.
const MARKS_MAX: usize = 10_000;

/// Who conducts, and what has come in so far.
#[derive(Debug)]
pub(crate) struct Conductor<'a> {
    scenario: &'a Scenario,
    epoch: Instant,
    /// What to call each source.
    names: Vec<String>,
    gather: Gather,
    chronicle: Chronicle,
    meter: Meter,
    origin: Option<&'a Origin>,
    /// Of seconds that are not whole yet.
    sides: BTreeMap<u32, Sides>,
    progress: Progress,
    marks: Vec<(f64, String)>,
    spoiled: Vec<String>,
    /// CPU seconds that workers have taken.
    workers_cpu_seconds: f64,
    /// What the server had in memory before the first viewer.
    server_idle_bytes: Option<u64>,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) summary: Summary,
    pub(crate) rows: Vec<Row>,
    pub(crate) marks: Vec<(f64, String)>,
    pub(crate) spoiled: Vec<String>,
}

// === impl Conductor ===

impl<'a> Conductor<'a> {
    pub(crate) fn new(
        scenario: &'a Scenario,
        epoch: Instant,
        names: Vec<String>,
        meter: Meter,
        origin: Option<&'a Origin>,
        progress: Progress,
    ) -> Self {
        Self {
            scenario,
            epoch,
            gather: Gather::new(names.len()),
            names,
            chronicle: Chronicle::new(scenario.warm_up, epoch),
            meter,
            origin,
            sides: BTreeMap::new(),
            progress,
            marks: Vec::new(),
            spoiled: Vec::new(),
            workers_cpu_seconds: 0.0,
            server_idle_bytes: None,
        }
    }

    /// Listens until every source is done or lost. What is read at the start is of before the first viewer.
    pub(crate) async fn listen(
        &mut self,
        news: &mut Receiver<News>,
        happened: &mut Receiver<Happened>,
        stop: &Stop,
    ) -> Result<()> {
        let last = seconds(self.scenario.duration);
        let (mut second, mut is_told, mut is_quiet) = (0, false, false);
        while !self.gather.all_gone() {
            tokio::select! {
                biased;
                // A second that is read late has what came meanwhile.
                () = sleep_until(self.epoch + Duration::from_secs(u64::from(second))), if second < last => {
                    if second == 0 {
                        let idle = self.meter.begin()?.server;
                        self.server_idle_bytes = idle.map(|server| server.resident_bytes);
                    } else {
                        let sides = self.read().await?;
                        self.sides.insert(second, sides);
                    }
                    second += 1;
                }
                () = stop.asked(), if !is_told => {
                    is_told = true;
                    self.mark(self.epoch.elapsed(), "interrupted".to_owned());
                }
                one = happened.recv(), if !is_quiet => match one {
                    Some(one) => self.happened(one),
                    None => is_quiet = true,
                },
                one = news.recv() => self.news(one.context("the viewers' threads are gone")?),
            }
            self.advance();
        }
        // What the sides took until all had left belongs to the last second.
        let sides = self.read().await?;
        self.sides.insert(second.max(1), sides);
        Ok(())
    }

    /// The result, of all that has come in.
    pub(crate) fn finish(mut self) -> Came {
        self.advance();
        while !self.gather.is_empty() {
            // Of a source that ended later than the sides were read.
            self.sides.entry(self.gather.due()).or_default();
            self.advance();
        }
        let (summary, rows) = self.chronicle.finish(&self.scenario.targets, self.server_idle_bytes);
        self.progress.finish(&summary);
        Came { summary, rows, marks: self.marks, spoiled: self.spoiled }
    }

    /// Notes something that keeps the result from being that of the scenario.
    pub(crate) fn spoil(&mut self, why: String) {
        self.spoiled.push(why);
    }

    pub(crate) fn mark(&mut self, after: Duration, text: String) {
        if self.marks.len() == MARKS_MAX {
            return;
        }
        self.progress.mark(after.as_secs_f64(), &text);
        self.marks.push((after.as_secs_f64(), text));
    }

    fn happened(&mut self, one: Happened) {
        if one.spoils {
            self.spoiled.push(one.text.clone());
        }
        self.mark(one.after, one.text);
    }

    fn news(&mut self, news: News) {
        let News { source, what } = news;
        match what {
            What::Second { second, book, usage } => {
                if let Err(error) = self.take(source, second, &book, usage) {
                    self.lose(source, &format!("what it told makes no sense: {error:#}"));
                }
                for source in self.gather.far_behind() {
                    self.lose(source, &format!("it was over {BEHIND_SECONDS_MAX} s behind the others"));
                }
            }
            What::Ended { spoiled } => {
                self.gather.gone(source);
                let name = self.name(source);
                self.spoiled.extend(spoiled.into_iter().map(|why| format!("{name}: {why}")));
            }
            What::Lost { why } => self.lose(source, &why),
        }
    }

    /// A second that cannot be over yet is refused: else it would seem that all the others are behind.
    fn take(&mut self, source: usize, second: u32, book: &Book, usage: Option<Usage>) -> Result<()> {
        let clock = self.epoch.elapsed().as_secs();
        ensure!(
            u64::from(second) <= clock + AHEAD_SECONDS_MAX,
            "second {second} when the run's clock is at {clock} s"
        );
        self.gather.take(source, second, book, usage)
    }

    fn lose(&mut self, source: usize, why: &str) {
        self.gather.gone(source);
        let text = format!("{} was lost: {why}", self.name(source));
        self.mark(self.epoch.elapsed(), text.clone());
        self.spoiled.push(text);
    }

    fn name(&self, source: usize) -> String {
        self.names.get(source).cloned().unwrap_or_else(|| format!("source {source}"))
    }

    /// Hands seconds that are whole to the chronicle.
    fn advance(&mut self) {
        while self.sides.contains_key(&self.gather.due()) {
            let Some((second, gathered)) = self.gather.next() else { break };
            let mut sides = self.sides.remove(&second).unwrap_or_default();
            self.workers_cpu_seconds += gathered.usage.cpu_seconds;
            sides.tester.cpu_seconds += self.workers_cpu_seconds;
            sides.tester.resident_bytes += gathered.usage.resident_bytes;
            let row = self.chronicle.second(second, gathered.book, sides);
            self.progress.second(&row);
        }
    }

    async fn read(&mut self) -> Result<Sides> {
        let ledger = ledger(self.origin).await;
        let fell = self.meter.server_fell;
        let at = Instant::now();
        let taken = self.meter.read()?;
        if fell.is_none() && self.meter.server_fell.is_some() {
            let text = "the server ended by itself".to_owned();
            self.mark(self.epoch.elapsed(), text.clone());
            self.spoiled.push(text);
        }
        Ok(Sides { at, server: taken.server, origin: taken.origin, tester: taken.tester, ledger })
    }
}

async fn ledger(origin: Option<&Origin>) -> Option<Ledger> {
    timeout(LEDGER_WAIT_MAX, origin?.ledger()).await.ok()?.ok()
}

#[cfg(test)]
mod tests;
