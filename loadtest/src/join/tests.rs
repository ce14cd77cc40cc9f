//! A run shared among workers, over real connections, with viewers who ask nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::coordinator::Workers;
use super::line::lines;
use super::message::{Hello, ToCoordinator, ToWorker};
use super::worker::{Ended, work};
use crate::measure::Recorder;
use crate::run::crew::{Crew, by_thread};
use crate::run::fake;
use crate::run::news::{NEWS_MAX, News, What};
use crate::run::order::{Order, Way};
use crate::run::stop::Stop;
use crate::scenario::audience::Ticket;
use crate::wire::{Network, Reach};

/// The seed of scenarios in which every worker's machine has no descriptor left.
const SHORT_SEED: u64 = 24;

/// When each viewer began, by the worker's own clock.
type Begun = Arc<Mutex<Vec<(u32, u32, Instant)>>>;

fn order(viewers: u32, seconds: u64) -> Order {
    let way = Way::local("127.0.0.1:1".parse().unwrap(), None);
    Order { scenario: fake::scenario(viewers, seconds), way, worker: 0, workers: 1 }
}

/// A worker whose viewers only come and go.
fn spawn_worker(address: SocketAddr, begun: &Begun, stop: &Stop) -> JoinHandle<Result<Ended>> {
    let (begun, stop) = (Arc::clone(begun), stop.clone());
    tokio::spawn(async move {
        let stream = TcpStream::connect(address).await?;
        Box::pin(work(
            stream,
            &stop,
            |_| Ok(()),
            move |order, common, _wall| {
                let mut tickets = fake::tickets(
                    order.scenario.audience.arrivals[0].viewers,
                    Duration::from_millis(100),
                    Duration::from_millis(700),
                );
                tickets.retain(|ticket| ticket.viewer % order.workers == order.worker);
                let order_seed = order.scenario.seed;
                let (epoch, end, worker) = (common.epoch, common.duration, order.worker);
                let crew =
                    Crew::start(by_thread(tickets, order.workers, 2), common, move |recorder: &Recorder| {
                        let (recorder, begun) = (recorder.clone(), Arc::clone(&begun));
                        Ok(move |ticket: Ticket| {
                            let due = epoch + ticket.arrives;
                            begun.lock().unwrap().push((worker, ticket.viewer, due));
                            fake::watch(recorder.clone(), ticket, epoch, end)
                        })
                    })?;
                if order_seed != SHORT_SEED {
                    return Ok((crew, 2));
                }
                let network = Network::new(Reach::default())?;
                network.note_shortage(&std::io::Error::from_raw_os_error(24));
                Ok((crew.over(network), 2))
            },
        ))
        .await
    })
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// All news until every one of the sources has ended or is lost.
async fn until_all_ended(news: &mut Receiver<News>, sources: usize) -> Vec<News> {
    let mut all: Vec<News> = Vec::new();
    let is_end = |news: &News| !matches!(news.what, What::Second { .. });
    while all.iter().filter(|news| is_end(news)).count() < sources {
        let one = tokio::time::timeout(Duration::from_secs(60), news.recv()).await;
        all.push(one.unwrap_or_else(|_| panic!("silence after {all:?}")).unwrap());
    }
    all
}

async fn started(workers: Workers, order: &Order, stop: &Stop) -> (Receiver<News>, Instant) {
    let ready = workers.ready(order, stop).await.unwrap();
    let (tell, news) = mpsc::channel(NEWS_MAX);
    let epoch = Instant::now() + Duration::from_millis(500);
    ready.start(epoch, SystemTime::now(), &tell, stop).unwrap();
    (news, epoch)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_share_the_viewers_and_begin_together() {
    let ((listener, address), stop, begun) = (listener().await, Stop::new(), Begun::default());
    let tasks: Vec<_> = (0..3).map(|_| spawn_worker(address, &begun, &Stop::new())).collect();
    let workers = Workers::gather(&listener, 3, &stop, |_| {}).await.unwrap();
    let mut order = order(100, 2);
    order.scenario.seed = SHORT_SEED;
    let (mut news, epoch) = started(workers, &order, &stop).await;
    let all = until_all_ended(&mut news, 3).await;
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), Ended::Done);
    }
    let begun = begun.lock().unwrap().clone();
    let mut viewers: Vec<_> = begun.iter().map(|(_, viewer, _)| *viewer).collect();
    viewers.sort_unstable();
    assert_eq!(viewers, (0..100).collect::<Vec<_>>());
    for (worker, viewer, due) in begun {
        assert_eq!(viewer % 3, worker);
        let meant = epoch + Duration::from_millis(100) + Duration::from_millis(700) * viewer / 100;
        let apart = meant.saturating_duration_since(due).max(due.saturating_duration_since(meant));
        // Half of the fastest of twenty round trips on the loopback, on a machine that does much else.
        assert!(apart < Duration::from_millis(50), "viewer {viewer} of worker {worker}: {apart:?} apart");
    }
    for source in 0..3 {
        let seconds: Vec<_> = all
            .iter()
            .filter(|news| news.source == source)
            .filter_map(|news| match &news.what {
                What::Second { second, usage, .. } => Some((*second, usage.unwrap().resident_bytes > 0)),
                _ => None,
            })
            .collect();
        assert_eq!(seconds, [(1, true), (2, true)], "worker {source}");
        let spoiled = all.iter().filter(|news| news.source == source).find_map(|news| match &news.what {
            What::Ended { spoiled } => Some(spoiled.join("; ")),
            _ => None,
        });
        assert!(spoiled.unwrap().contains("files and sockets"), "worker {source} was short of them");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_connection_ends_is_lost_and_the_others_go_on() {
    let ((listener, address), stop, begun) = (listener().await, Stop::new(), Begun::default());
    let good = spawn_worker(address, &begun, &Stop::new());
    // This one does all that is asked, and is gone when it is to begin.
    let gone = tokio::spawn(async move {
        let (mut incoming, mut outgoing) = lines(TcpStream::connect(address).await.unwrap()).unwrap();
        incoming.trust();
        outgoing.send(&Hello::own()).await.unwrap();
        let order: ToWorker = incoming.within(Duration::from_secs(60)).await.unwrap();
        assert!(matches!(order, ToWorker::Order(_)));
        outgoing.send(&ToCoordinator::Ready { error_us: 1 }).await.unwrap();
        let start: ToWorker = incoming.within(Duration::from_secs(60)).await.unwrap();
        assert!(matches!(start, ToWorker::Start { .. }));
    });
    let workers = Workers::gather(&listener, 2, &stop, |_| {}).await.unwrap();
    let (mut news, _) = started(workers, &order(10, 2), &stop).await;
    let all = until_all_ended(&mut news, 2).await;
    gone.await.unwrap();
    assert_eq!(good.await.unwrap().unwrap(), Ended::Done);
    let lost: Vec<_> = all
        .iter()
        .filter_map(|news| if let What::Lost { why } = &news.what { Some(why.as_str()) } else { None })
        .collect();
    assert_eq!(lost, ["its connection ended"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_coordinator_stops_the_workers_do_and_tell_what_there_is() {
    let ((listener, address), stop, begun) = (listener().await, Stop::new(), Begun::default());
    let task = spawn_worker(address, &begun, &Stop::new());
    let workers = Workers::gather(&listener, 1, &stop, |_| {}).await.unwrap();
    let (mut news, epoch) = started(workers, &order(10, 3_600), &stop).await;
    tokio::time::sleep_until(epoch + Duration::from_millis(1_200)).await;
    stop.ask();
    let all = until_all_ended(&mut news, 1).await;
    assert!(matches!(&all.last().unwrap().what, What::Ended { spoiled } if spoiled.is_empty()), "{all:?}");
    assert!(all.iter().any(|news| matches!(news.what, What::Second { second: 2, .. })), "{all:?}");
    assert_eq!(task.await.unwrap().unwrap(), Ended::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_interrupted_says_so() {
    let ((listener, address), stop, begun) = (listener().await, Stop::new(), Begun::default());
    let own = Stop::new();
    let task = spawn_worker(address, &begun, &own);
    let workers = Workers::gather(&listener, 1, &stop, |_| {}).await.unwrap();
    let (mut news, epoch) = started(workers, &order(10, 3_600), &stop).await;
    tokio::time::sleep_until(epoch + Duration::from_millis(200)).await;
    own.ask();
    let all = until_all_ended(&mut news, 1).await;
    let What::Ended { spoiled } = &all.last().unwrap().what else { panic!("{all:?}") };
    assert_eq!(spoiled, &["it was interrupted"]);
    assert_eq!(task.await.unwrap().unwrap(), Ended::Interrupted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_coordinator_is_gone_gives_up() {
    let ((listener, address), stop, begun) = (listener().await, Stop::new(), Begun::default());
    let task = spawn_worker(address, &begun, &Stop::new());
    let workers = Workers::gather(&listener, 1, &stop, |_| {}).await.unwrap();
    let (news, epoch) = started(workers, &order(10, 3_600), &stop).await;
    tokio::time::sleep_until(epoch + Duration::from_millis(200)).await;
    drop(news);
    let error = task.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("gone"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_worker_of_this_version_is_refused_and_the_others_are_waited_for() {
    let ((listener, address), stop, begun) = (listener().await, Stop::new(), Begun::default());
    let strangers = tokio::spawn(async move {
        let mut said = Vec::new();
        for hello in [
            "GET / HTTP/1.1\r\n\r\n".to_owned(),
            "{\"program\":\"forebay-loadtest\",\"protocol\":1,\"version\":\"0.0.0\"}\n".to_owned(),
            "x".repeat(100_000),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(hello.as_bytes()).await.ok();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.ok();
            said.push(String::from_utf8(answer).unwrap());
        }
        said
    });
    let gathering = tokio::spawn(async move {
        let mut heard = Vec::new();
        let workers = Workers::gather(&listener, 1, &Stop::new(), |text| heard.push(text)).await;
        (workers, heard)
    });
    let said = strangers.await.unwrap();
    assert!(said[1].contains("refused") && said[1].contains("0.0.0"), "{said:?}");
    let task = spawn_worker(address, &begun, &Stop::new());
    let (workers, heard) = gathering.await.unwrap();
    assert_eq!(heard.len(), 4, "{heard:?}");
    assert!(heard[3].contains("worker 0") && heard[3].contains("1 of 1"), "{heard:?}");
    let (mut news, _) = started(workers.unwrap(), &order(4, 1), &stop).await;
    until_all_ended(&mut news, 1).await;
    assert_eq!(task.await.unwrap().unwrap(), Ended::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_do_its_part_ends_the_run_before_it_begins_and_is_named() {
    let ((listener, address), stop) = (listener().await, Stop::new());
    let task = tokio::spawn(async move {
        let stream = TcpStream::connect(address).await?;
        let start = |_, _: &_, _| bail!("never asked to");
        Box::pin(work(stream, &Stop::new(), |_| bail!("the limit of open descriptors is 7"), start)).await
    });
    let workers = Workers::gather(&listener, 1, &stop, |_| {}).await.unwrap();
    let error = workers.ready(&order(10, 2), &stop).await.unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("worker 0") && text.contains("the limit of open descriptors is 7"), "{text}");
    assert!(task.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_workers_can_be_interrupted() {
    let ((listener, _), stop) = (listener().await, Stop::new());
    stop.ask();
    let error = Workers::gather(&listener, 2, &stop, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("0 of 2 joined"), "{error}");
}
