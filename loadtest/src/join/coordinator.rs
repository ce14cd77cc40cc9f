//! The side that conducts a run with workers: it waits until all have joined, tells them what to do, answers their questions about
//! the time, and passes on what they tell. A worker of which nothing comes any more is lost; the run goes on without it.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::clock::{Clock, QUESTIONS};
use super::line::{Incoming, Outgoing, lines};
use super::message::{Hello, ToCoordinator, ToWorker, shown};
use crate::run::news::{News, What};
use crate::run::order::Order;
use crate::run::stop::Stop;

/// Workers of a run, at most.
pub(crate) const WORKERS_MAX: u32 = 256;

/// How long a connection may take to say who it is.
const HELLO_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long a worker may take to say the next thing before the run begins.
const SET_UP_WAIT_MAX: Duration = Duration::from_secs(30);

/// From a worker's message to its next one during the run, at most: there is one each second. One that takes longer is lost.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// How long a worker that is to stop may take to tell of its end.
const STOP_WAIT_MAX: Duration = Duration::from_secs(10);

/// What keeps a worker's part from being whole: so many remarks are kept of one.
const SPOILED_MAX: usize = 20;

/// Workers that have joined.
#[derive(Debug)]
pub(crate) struct Workers {
    clock: Clock,
    workers: Vec<Worker>,
}

/// Workers that know what to do.
#[derive(Debug)]
pub(crate) struct ReadyWorkers {
    clock: Clock,
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    name: String,
    incoming: Incoming,
    outgoing: Outgoing,
}

// === impl Workers ===

impl Workers {
    /// Waits until so many have joined. Who is of another version, or does not say who it is, is refused; `say` is told of everybody
    /// who comes.
    pub(crate) async fn gather(
        listener: &TcpListener,
        count: u32,
        stop: &Stop,
        mut say: impl FnMut(String),
    ) -> Result<Self> {
        ensure!((1..=WORKERS_MAX).contains(&count), "{count} workers: a run has from 1 to {WORKERS_MAX}");
        let mut workers = Vec::new();
        while workers.len() < count as usize {
            let (stream, address) = tokio::select! {
                biased;
                () = stop.asked() => bail!("interrupted while waiting for workers: {} of {count} joined", workers.len()),
                accepted = listener.accept() => accepted.context("a worker's connection")?,
            };
            match greet(stream, address, workers.len()).await {
                Ok(worker) => {
                    say(format!("{} has joined, {} of {count}", worker.name, workers.len() + 1));
                    workers.push(worker);
                }
                Err(error) => say(format!("{address} did not join: {error:#}")),
            }
        }
        Ok(Self { clock: Clock::new(), workers })
    }

    /// Tells them what to do and waits until all can begin. A worker that cannot ends the run: it has not begun.
    pub(crate) async fn ready(self, order: &Order, stop: &Stop) -> Result<ReadyWorkers> {
        let Self { clock, workers } = self;
        let count = u32::try_from(workers.len())?;
        let mut tasks = JoinSet::new();
        for (number, mut worker) in (0..count).zip(workers) {
            let order = Order { worker: number, workers: count, ..order.clone() };
            tasks.spawn(async move {
                let ready = prepare(&mut worker, order, clock).await;
                ready.map_err(|error| error.context(format!("{} cannot begin", worker.name)))?;
                anyhow::Ok((number, worker))
            });
        }
        let mut workers = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = stop.asked() => bail!("interrupted before the start"),
                one = tasks.join_next() => match one {
                    Some(one) => workers.push(one.context("a worker's task")??),
                    None => break,
                },
            }
        }
        workers.sort_by_key(|(number, _)| *number);
        Ok(ReadyWorkers { clock, workers: workers.into_iter().map(|(_, worker)| worker).collect() })
    }
}

async fn greet(stream: TcpStream, address: SocketAddr, number: usize) -> Result<Worker> {
    let (mut incoming, mut outgoing) = lines(stream)?;
    let hello: Hello = incoming.within(HELLO_WAIT_MAX).await?;
    if let Some(why) = hello.refused() {
        // It may not wait for the answer.
        outgoing.send(&ToWorker::Refused { why: why.clone() }).await.ok();
        bail!(why);
    }
    incoming.trust();
    Ok(Worker { name: format!("worker {number} ({address})"), incoming, outgoing })
}

async fn prepare(worker: &mut Worker, order: Order, clock: Clock) -> Result<()> {
    worker.outgoing.send(&ToWorker::Order(Box::new(order))).await?;
    for _ in 0..=QUESTIONS {
        match worker.incoming.within(SET_UP_WAIT_MAX).await? {
            ToCoordinator::Clock { number } => {
                worker.outgoing.send(&ToWorker::Clock { number, us: clock.now_us() }).await?;
            }
            ToCoordinator::Ready { .. } => return Ok(()),
            ToCoordinator::Failed { why } => bail!(shown(&why)),
            other @ (ToCoordinator::Second { .. } | ToCoordinator::Ended { .. }) => {
                bail!("out of turn: {}", shown(&format!("{other:?}")))
            }
        }
    }
    bail!("it asked for the time more than {QUESTIONS} times")
}

// === impl ReadyWorkers ===

impl ReadyWorkers {
    pub(crate) fn names(&self) -> Vec<String> {
        self.workers.iter().map(|worker| worker.name.clone()).collect()
    }

    /// Lets them begin at that moment, and passes on what they tell until each has ended or is lost.
    pub(crate) fn start(
        self,
        epoch: Instant,
        wall_epoch: SystemTime,
        news: &Sender<News>,
        stop: &Stop,
    ) -> Result<()> {
        let wall = wall_epoch.duration_since(SystemTime::UNIX_EPOCH).context("a time before 1970")?;
        let wall_us = u64::try_from(wall.as_micros())?;
        let us = self.clock.us_of(epoch);
        for (source, mut worker) in self.workers.into_iter().enumerate() {
            let (news, stop) = (news.clone(), stop.clone());
            tokio::spawn(async move {
                let what = match follow(source, &mut worker, us, wall_us, epoch, &news, &stop).await {
                    Ok(spoiled) => What::Ended { spoiled },
                    Err(error) => What::Lost { why: format!("{error:#}") },
                };
                // Nobody listens when the run has been given up.
                news.send(News { source, what }).await.ok();
            });
        }
        Ok(())
    }
}

/// From the start to the worker's end; what keeps its part from being whole.
async fn follow(
    source: usize,
    worker: &mut Worker,
    us: u64,
    wall_us: u64,
    epoch: Instant,
    news: &Sender<News>,
    stop: &Stop,
) -> Result<Vec<String>> {
    worker.outgoing.send(&ToWorker::Start { us, wall_us }).await?;
    let mut silence_ends = epoch + SILENCE_MAX;
    let mut is_stopped = false;
    loop {
        let wait = silence_ends.saturating_duration_since(Instant::now());
        let message = tokio::select! {
            biased;
            () = stop.asked(), if !is_stopped => {
                worker.outgoing.send(&ToWorker::Stop).await?;
                is_stopped = true;
                silence_ends = Instant::now() + STOP_WAIT_MAX;
                continue;
            }
            () = news.closed() => bail!("nobody listens any more"),
            message = timeout(wait, worker.incoming.next()) => {
                message.map_err(|_| anyhow!("nothing came for {} s", SILENCE_MAX.as_secs()))??
            }
        };
        match message.context("its connection ended")? {
            ToCoordinator::Second { second, book, usage } => {
                book.check().with_context(|| format!("what it told of second {second} cannot be"))?;
                let what = What::Second { second, book, usage: Some(usage) };
                news.send(News { source, what }).await.ok();
            }
            ToCoordinator::Ended { mut spoiled } => {
                spoiled.truncate(SPOILED_MAX);
                return Ok(spoiled.iter().map(|why| shown(why)).collect());
            }
            ToCoordinator::Failed { why } => bail!(shown(&why)),
            other @ (ToCoordinator::Clock { .. } | ToCoordinator::Ready { .. }) => {
                bail!("out of turn: {}", shown(&format!("{other:?}")))
            }
        }
        silence_ends = Instant::now() + if is_stopped { STOP_WAIT_MAX } else { SILENCE_MAX };
    }
}
