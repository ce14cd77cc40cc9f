//! The side that joins a run: `forebay-loadtest join ADDRESS`. It is told what to do, asks what time it is, lets its share of the viewers
//! watch on threads of its own, and tells of each second. It shows nothing but what it does; the coordinator has the result.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::clock::{Answer, Clock, Offset, QUESTIONS};
use super::line::{Incoming, Outgoing, lines};
use super::message::{Hello, ToCoordinator, ToWorker};
use crate::run::crew::{Common, Crew};
use crate::run::gather::Gather;
use crate::run::news::{NEWS_MAX, News, What};
use crate::run::order::{self, Order};
use crate::run::stop::Stop;
use crate::run::usage::{Meter, Root};
use crate::run::{command, room};
use crate::server::CacheFiles;

/// How long to try to reach a coordinator that does not listen yet.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(15);

/// Between two tries.
const CONNECT_PAUSE: Duration = Duration::from_millis(200);

/// How long the coordinator may take to answer a question.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long it may take from joining to the order, and from being ready to the start: others have to join first, and a server has
/// to start.
const TURN_WAIT_MAX: Duration = Duration::from_secs(3600);

/// What `forebay-loadtest join` is given.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Where `forebay-loadtest run ... --workers N` listens
    #[arg(value_name = "ADDRESS")]
    coordinator: String,
    /// Threads of viewers; as many as there are processors for them, unless told
    #[arg(long, value_name = "N", value_parser = command::threads)]
    threads: Option<usize>,
    /// Write every request of this worker's viewers to this file, a line each
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// How its part of a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Done,
    /// This process was interrupted.
    Interrupted,
}

/// Joins a run and takes part in it to its end.
pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let threads = command::threads_or_all(arguments.threads, None)?;
    let say = |text: String| command::say(&text);
    let mut written = None;
    let working = async {
        let Some(stream) = connect(&arguments.coordinator, &stop).await? else {
            return Ok(Ended::Interrupted);
        };
        say(format!("joined {}: waiting for the start", arguments.coordinator));
        let check = |order: &Order| {
            if let Some(warning) = room::ensure_for(&order.scenario, &order.tickets())? {
                say(warning);
            }
            Ok(())
        };
        let start = |order: Order, common: &Common, wall_epoch| {
            written = order::trace(arguments.trace.as_deref(), common.epoch)?;
            let crew = order.start(threads, common, wall_epoch, written.clone())?;
            Ok((crew, threads))
        };
        Box::pin(work(stream, &stop, check, start)).await
    };
    let ended = tokio::select! {
        biased;
        () = stop.insisted() => Ended::Interrupted,
        ended = working => ended?,
    };
    if let Some(trace) = written {
        trace.finish()?;
    }
    Ok(match ended {
        Ended::Done => ExitCode::SUCCESS,
        Ended::Interrupted => ExitCode::from(command::INTERRUPTED),
    })
}

/// Takes part in the run of the coordinator at the other end. `check` says whether this process can do its part, `start` starts it
/// and returns how many sources it has.
pub(crate) async fn work(
    stream: TcpStream,
    stop: &Stop,
    check: impl FnOnce(&Order) -> Result<()>,
    start: impl FnOnce(Order, &Common, SystemTime) -> Result<(Crew, usize)>,
) -> Result<Ended> {
    let (mut incoming, mut outgoing) = lines(stream)?;
    incoming.trust();
    outgoing.send(&Hello::own()).await?;
    let order = match turn(&mut incoming, stop).await? {
        Some(ToWorker::Order(order)) => *order,
        Some(ToWorker::Refused { why }) => bail!("the coordinator refuses: {why}"),
        Some(other) => bail!("the coordinator speaks out of turn: {other:?}"),
        None => return Ok(Ended::Interrupted),
    };
    if let Err(error) = check(&order) {
        outgoing.send(&ToCoordinator::Failed { why: format!("{error:#}") }).await?;
        return Err(error);
    }
    let clock = Clock::new();
    let offset = measure(&clock, &mut incoming, &mut outgoing).await?;
    outgoing.send(&ToCoordinator::Ready { error_us: offset.error_us }).await?;
    let (us, wall_us) = match turn(&mut incoming, stop).await? {
        Some(ToWorker::Start { us, wall_us }) => (us, wall_us),
        Some(other) => bail!("the coordinator speaks out of turn: {other:?}"),
        None => return Ok(Ended::Interrupted),
    };
    let epoch = clock.moment(offset, us)?;
    let wall_epoch = SystemTime::UNIX_EPOCH + Duration::from_micros(wall_us);
    let late = Instant::now().saturating_duration_since(epoch);
    let late = (late > Duration::ZERO).then(|| format!("it heard of the start {} ms late", late.as_millis()));

    // Ending it is not always this process's own wish.
    let ends = Stop::new();
    let (news, mut told) = mpsc::channel(NEWS_MAX);
    let common = Common { epoch, duration: order.scenario.duration, stop: ends.clone(), news, cpus: None };
    let started = start(order, &common, wall_epoch);
    drop(common);
    let (crew, sources) = match started {
        Ok(started) => started,
        Err(error) => {
            outgoing.send(&ToCoordinator::Failed { why: format!("{error:#}") }).await?;
            return Err(error);
        }
    };
    let mut relay = Relay {
        outgoing,
        gather: Gather::new(sources),
        meter: Meter::start(Root::default(), CacheFiles::default(), None)?,
        spoiled: Vec::new(),
        crew,
    };
    relay.spoiled.extend(late);
    let relayed = Box::pin(relay.pass_on(&mut incoming, &mut told, &ends, stop)).await;
    // Threads that nobody listens to end by themselves.
    drop(told);
    relayed?;
    relay.crew.join();
    Ok(if stop.is_asked() { Ended::Interrupted } else { Ended::Done })
}

/// A connection to the coordinator, which may not listen yet; none: this process was interrupted while it waited.
async fn connect(address: &str, stop: &Stop) -> Result<Option<TcpStream>> {
    let deadline = Instant::now() + CONNECT_WAIT_MAX;
    loop {
        let tried = tokio::select! {
            biased;
            () = stop.asked() => return Ok(None),
            tried = timeout_at(deadline, TcpStream::connect(address)) => tried,
        };
        let why = match tried {
            Ok(Ok(stream)) => return Ok(Some(stream)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "nobody answers".to_owned(),
        };
        ensure!(
            Instant::now() + CONNECT_PAUSE < deadline,
            "cannot reach a coordinator at {address} ({why}): start one with forebay-loadtest run SCENARIO --workers N \
             --listen ADDRESS"
        );
        sleep(CONNECT_PAUSE).await;
    }
}

/// What the coordinator says when it is its turn; none: this process was interrupted while it waited.
async fn turn(incoming: &mut Incoming, stop: &Stop) -> Result<Option<ToWorker>> {
    tokio::select! {
        biased;
        () = stop.asked() => Ok(None),
        said = incoming.within(TURN_WAIT_MAX) => said.context("the coordinator").map(Some),
    }
}

async fn measure(clock: &Clock, incoming: &mut Incoming, outgoing: &mut Outgoing) -> Result<Offset> {
    let mut answers = Vec::with_capacity(QUESTIONS as usize);
    for number in 0..QUESTIONS {
        let asked_us = clock.now_us();
        outgoing.send(&ToCoordinator::Clock { number }).await?;
        match incoming.within(ANSWER_WAIT_MAX).await.context("the coordinator's clock")? {
            ToWorker::Clock { number: answered, us } if answered == number => {
                answers.push(Answer { asked_us, had_us: clock.now_us(), other_us: us });
            }
            other => bail!("the coordinator speaks out of turn: {other:?}"),
        }
    }
    Offset::of(&answers).context("the coordinator's clock makes no sense")
}

/// Passes on what this worker's threads tell.
struct Relay {
    outgoing: Outgoing,
    gather: Gather,
    meter: Meter,
    spoiled: Vec<String>,
    crew: Crew,
}

impl Relay {
    async fn pass_on(
        &mut self,
        incoming: &mut Incoming,
        told: &mut mpsc::Receiver<News>,
        ends: &Stop,
        stop: &Stop,
    ) -> Result<()> {
        while !self.gather.all_gone() {
            tokio::select! {
                biased;
                () = stop.asked(), if !ends.is_asked() => {
                    self.spoiled.push("it was interrupted".to_owned());
                    ends.ask();
                }
                said = incoming.next() => match said? {
                    Some(ToWorker::Stop) => ends.ask(),
                    Some(other) => bail!("the coordinator speaks out of turn: {other:?}"),
                    None => bail!("the coordinator is gone: the run is given up"),
                },
                news = told.recv() => self.take(news.context("the viewers' threads are gone")?)?,
            }
            while let Some((second, gathered)) = self.gather.next() {
                let usage = self.meter.begin()?.tester;
                let book = Box::new(gathered.book);
                self.outgoing.send(&ToCoordinator::Second { second, book, usage }).await?;
            }
        }
        self.spoiled.extend(self.crew.shortage());
        self.outgoing.send(&ToCoordinator::Ended { spoiled: std::mem::take(&mut self.spoiled) }).await
    }

    fn take(&mut self, news: News) -> Result<()> {
        let News { source, what } = news;
        match what {
            What::Second { second, book, .. } => return self.gather.take(source, second, &book, None),
            What::Ended { spoiled } => self.spoiled.extend(spoiled),
            What::Lost { why } => self.spoiled.push(format!("thread {source} of viewers was lost: {why}")),
        }
        self.gather.gone(source);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn a_coordinator_that_is_not_there_is_waited_for_until_this_process_is_interrupted() {
        // Bound and not listening: nobody else gets the port meanwhile.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let stop = Stop::new();
        let asks = stop.clone();
        let (connected, ()) = tokio::join!(connect(&address, &stop), async move {
            sleep(CONNECT_PAUSE * 2).await;
            asks.ask();
        });
        assert!(connected.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_coordinator_that_begins_later_is_found() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let stop = Stop::new();
        let (connected, listener) = tokio::join!(connect(&address, &stop), async move {
            sleep(CONNECT_PAUSE * 2).await;
            socket.listen(1).unwrap()
        });
        assert!(connected.unwrap().is_some());
        drop(listener);
    }
}
