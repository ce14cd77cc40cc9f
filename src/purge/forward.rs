//! Purges passed on, to another CDN or whoever else keeps what this node has purged: `[[purge.forward]]`.
//!
//! Each place has a queue and a task of its own, which sends one purge at a time, in the order in which they were asked for,
//! until it is taken: again after a pause that grows, at most `attempts` times and for `give_up`. Each time it has the same
//! `Idempotency-Key`, so a receiver that goes by it does a purge once whose answer was lost. What is sent is decided by
//! [`message`], what outlives a restart by [`journal`]. Called by [`super::Purger`] once a purge is in force here, and on
//! the node alone that was asked for it: one that other nodes have told of has been passed on by them.

mod journal;
mod message;
mod metrics;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::audit;
use crate::clock::Clock;
use crate::config::model;
use crate::fleet::message::PurgeId;
use crate::store::purges::{PurgeMode, PurgeTarget};
use journal::Journal;
pub use journal::JournalError;
use message::{Message, Sent};
use metrics::{ForwardMetrics, Outcome};

/// Pauses between two attempts: the first, and the longest. Each is a random part of it, from the half on.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// A purge that is to be passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// What tells it from others: the key by which it is done once.
    pub id: String,
    /// What it names.
    pub target: PurgeTarget,
    /// What becomes of it.
    pub mode: PurgeMode,
    /// When it was asked for, in milliseconds since 1970.
    pub at: u64,
}

/// Passes purges on.
pub struct Forwarder {
    lines: Vec<Arc<Line>>,
    journal: Option<Arc<Journal>>,
    clock: Clock,
}

/// A place, and what waits for it.
struct Line {
    config: model::Forward,
    waiting: Mutex<Waiting>,
    added: Notify,
    metrics: ForwardMetrics,
    journal: Option<Arc<Journal>>,
    clock: Clock,
}

#[derive(Default)]
struct Waiting {
    purges: VecDeque<Arc<Passed>>,
    /// Purges that room has been taken for, and that are being noted in the journal.
    coming: usize,
    /// Attempts for the first one.
    attempts: u32,
    /// What came of the last attempt that failed.
    failure: Option<String>,
}

impl Forwarder {
    /// Takes up what is noted in the journal, and sends until the runtime ends.
    ///
    /// # Errors
    /// When the journal cannot be used, or a metric is registered twice.
    pub fn start(
        config: &model::Purge,
        clock: Clock,
        registry: &Registry,
        runtime: &Handle,
    ) -> Result<Forwarder, ForwardError> {
        let names: Vec<&str> = config.forward.iter().map(|forward| forward.name.as_str()).collect();
        let opened = config.forward_state.as_deref().map(|path: &Path| Journal::open(path, &names));
        let (journal, mut noted) = match opened.transpose()? {
            Some((journal, noted)) => (Some(Arc::new(journal)), noted),
            None => (None, Vec::new()),
        };
        let metrics = ForwardMetrics::register(registry, &names)?;
        let mut lines = Vec::new();
        for (config, metrics) in config.forward.iter().zip(metrics) {
            let mine = noted.extract_if(.., |(name, _)| *name == config.name);
            let purges: VecDeque<_> = mine.map(|(_, purge)| Arc::new(purge)).collect();
            metrics.pending(purges.len());
            let line = Arc::new(Line {
                config: config.clone(),
                waiting: Mutex::new(Waiting { purges, ..Waiting::default() }),
                added: Notify::new(),
                metrics,
                journal: journal.clone(),
                clock: clock.clone(),
            });
            runtime.spawn(Arc::clone(&line).run());
            lines.push(line);
        }
        Ok(Forwarder { lines, journal, clock })
    }

    /// Has purges passed on, each under an identifier of its own; returns when they are noted in the journal. Gives what is
    /// told of it: for each place that takes any of them, how many are sent to it, and how many are not, because too many wait.
    pub async fn pass_on(&self, id: PurgeId, targets: &[PurgeTarget], mode: PurgeMode) -> Value {
        let now = self.clock.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
        let at = u64::try_from(now).unwrap_or(u64::MAX);
        let purges = targets.iter().enumerate().map(|(number, target)| {
            Arc::new(Passed { id: format!("{id}-{number}"), target: target.clone(), mode, at })
        });
        let purges: Vec<_> = purges.collect();
        let mut told = serde_json::Map::new();
        let mut noted = Vec::new();
        for line in &self.lines {
            let takes = |purge: &&Arc<Passed>| line.config.scopes.contains(&purge.target.scope());
            let mine: Vec<_> = purges.iter().filter(takes).map(Arc::clone).collect();
            if mine.is_empty() {
                continue;
            }
            let (taken, full) = mine.split_at(line.take_room(mine.len()));
            for purge in full {
                line.ended(purge, Outcome::Full, None);
            }
            noted.extend(taken.iter().map(|purge| (Arc::clone(line), Arc::clone(purge))));
            told.insert(line.config.name.clone(), json!({ "sent": taken.len(), "full": full.len() }));
        }
        let journal = self.journal.clone();
        // A task of its own: it goes on when the one who asked does not wait.
        let added = tokio::spawn(async move {
            if let Some(journal) = journal {
                let entries = noted.iter().map(|(line, purge)| (line.config.name.clone(), Arc::clone(purge)));
                journal.add(entries.collect()).await;
            }
            for (line, purge) in noted {
                line.add(purge);
            }
        });
        // It fails only while the runtime ends.
        let _ = added.await;
        Value::Object(told)
    }

    /// What waits: for each place, how many purges, and how it stands with the first one.
    pub fn waiting(&self) -> Value {
        let of = |line: &Arc<Line>| {
            let waiting = line.waiting.lock();
            let first = waiting.purges.front().map(|purge| {
                let mut shown = super::describe(&purge.target);
                shown["id"] = purge.id.as_str().into();
                shown["at"] = (purge.at / 1000).into();
                shown["attempts"] = waiting.attempts.into();
                shown["failure"] = waiting.failure.as_deref().into();
                shown
            });
            json!({ "name": line.config.name, "waiting": waiting.purges.len(), "first": first })
        };
        json!({ "forwards": self.lines.iter().map(of).collect::<Vec<_>>() })
    }
}

/// Why purges cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A metric is registered twice.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Line {
    /// Takes room for so many purges, as far as there is room; gives for how many.
    fn take_room(&self, purges: usize) -> usize {
        let mut waiting = self.waiting.lock();
        let room = self.config.queue.saturating_sub(waiting.purges.len() + waiting.coming).min(purges);
        waiting.coming += room;
        room
    }

    /// Adds a purge that room has been taken for.
    fn add(&self, purge: Arc<Passed>) {
        let mut waiting = self.waiting.lock();
        waiting.coming = waiting.coming.saturating_sub(1);
        waiting.purges.push_back(purge);
        self.metrics.pending(waiting.purges.len());
        drop(waiting);
        self.added.notify_one();
    }

    /// Is done with the first one; gives what came of its last attempt that failed.
    fn next(&self) -> Option<String> {
        let mut waiting = self.waiting.lock();
        waiting.purges.pop_front();
        waiting.attempts = 0;
        self.metrics.pending(waiting.purges.len());
        waiting.failure.take()
    }

    fn note_failure(&self, attempts: u32, failure: String) {
        let mut waiting = self.waiting.lock();
        waiting.attempts = attempts;
        waiting.failure = Some(failure);
    }

    async fn run(self: Arc<Self>) {
        let message = Arc::new(Message::new(&self.config));
        loop {
            let first = self.waiting.lock().purges.front().map(Arc::clone);
            let Some(purge) = first else {
                self.added.notified().await;
                continue;
            };
            let outcome = self.deliver(&message, &purge).await;
            if let Some(journal) = &self.journal {
                Arc::clone(journal).remove(self.config.name.clone(), purge.id.clone()).await;
            }
            let failure = self.next().filter(|_| outcome != Outcome::Taken);
            self.ended(&purge, outcome, failure.as_deref());
        }
    }

    /// Sends a purge until it is taken, refused, or given up.
    async fn deliver(&self, message: &Arc<Message>, purge: &Arc<Passed>) -> Outcome {
        let mut pause = PAUSES.0;
        for attempt in 1..=self.config.attempts {
            let (sending, sent, now) = (Arc::clone(message), Arc::clone(purge), self.clock.unix_seconds());
            let sent = tokio::task::spawn_blocking(move || sending.send(&sent, now)).await;
            let (failure, after) = match sent {
                Ok(Sent::Taken) => return Outcome::Taken,
                Ok(Sent::Refused(why)) => {
                    self.note_failure(attempt, why);
                    return Outcome::Refused;
                }
                Ok(Sent::Failed(why, after)) => (why, after),
                // The runtime ends, and with it this task.
                Err(_) => ("was not sent".to_owned(), None),
            };
            if attempt == 1 {
                let (name, id) = (&self.config.name, &purge.id);
                tracing::warn!(name, id, failure, "a purge could not be passed on yet: it is sent again");
            }
            self.metrics.count(Outcome::Failed);
            self.note_failure(attempt, failure);
            let asked_at = Duration::from_millis(purge.at);
            let age = Duration::from_secs(now).saturating_sub(asked_at);
            if age >= self.config.give_up || attempt == self.config.attempts {
                break;
            }
            let half = pause / 2;
            let part = f64::from(u32::try_from(getrandom::u64().unwrap_or(0) >> 32).unwrap_or(0))
                / f64::from(u32::MAX);
            let least = after.unwrap_or_default().min(PAUSES.1);
            tokio::time::sleep((half + half.mul_f64(part)).max(least)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
        Outcome::GivenUp
    }

    /// Counts and logs how it went with a purge.
    fn ended(&self, purge: &Passed, outcome: Outcome, failure: Option<&str>) {
        self.metrics.count(outcome);
        audit::passed_on(
            &self.config.name,
            &purge.id,
            (&purge.target, purge.mode),
            outcome.as_str(),
            failure,
        );
    }
}

impl std::fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarder").field("places", &self.lines.len()).finish_non_exhaustive()
    }
}
