//! What happens during a run, at its time: deeds are done to the server, and faults and the end of tokens are noted as they begin and
//! end. It changes nothing but the server; the origin and the mint know of theirs by themselves.

use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep_until};

use super::stop::Stop;
use super::usage::Root;
use crate::scenario::{Deed, Fault, Scenario, Wrong};
use crate::server::{Kind, Purged, Server};

/// Something that has happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Happened {
    /// When it began, from the start of the run.
    pub(crate) after: Duration,
    pub(crate) text: String,
    /// Whether the run is not that of the scenario for it.
    pub(crate) spoils: bool,
}

/// Something that is to happen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Due {
    pub(crate) at: Duration,
    pub(crate) text: String,
    /// What is to be done to the server; none: it is noted alone.
    deed: Option<Deed>,
}

/// All that is to happen before the end, in order.
pub(crate) fn timeline(scenario: &Scenario) -> Vec<Due> {
    let note = |at, text| Due { at, text, deed: None };
    let mut timeline = Vec::new();
    for event in &scenario.events {
        timeline.push(Due { at: event.at, text: deed_text(&event.what), deed: Some(event.what.clone()) });
    }
    for fault in &scenario.faults {
        timeline.push(note(fault.at, format!("{} begins", fault_text(fault))));
        timeline.push(note(fault.at + fault.over, format!("{} ends", fault_text(fault))));
    }
    if let Some(at) = scenario.token.as_ref().and_then(|token| token.wave_at) {
        timeline.push(note(at, "all tokens expire".to_owned()));
    }
    timeline.retain(|due| due.at < scenario.duration);
    timeline.sort_by_key(|due| due.at);
    timeline
}

/// Does what is to be done, and tells of it, until nothing more is due or the run is to stop. Returns the server, which goes on.
pub(crate) async fn perform(
    timeline: Vec<Due>,
    epoch: Instant,
    mut server: Option<Server>,
    root: Root,
    tell: Sender<Happened>,
    stop: Stop,
) -> Option<Server> {
    for due in timeline {
        let happened = tokio::select! {
            biased;
            () = stop.asked() => break,
            happened = async {
                sleep_until(epoch + due.at).await;
                happen(&due, epoch, server.as_mut(), &root, &tell).await
            } => happened,
        };
        if tell.send(happened).await.is_err() {
            break;
        }
    }
    server
}

async fn happen(
    due: &Due,
    epoch: Instant,
    server: Option<&mut Server>,
    root: &Root,
    tell: &Sender<Happened>,
) -> Happened {
    let after = epoch.elapsed();
    let say = |text: String, spoils| Happened { after, text, spoils };
    let Some(deed) = &due.deed else { return say(due.text.clone(), false) };
    let not_done = |why: &str, spoils| say(format!("{}: not done, {why}", due.text), spoils);
    let server = match server {
        None => return not_done("the run has not started this server", false),
        Some(server) if server.kind == Kind::Direct => {
            return not_done("viewers ask the origin itself", false);
        }
        Some(server) if server.process.is_none() => {
            return not_done("the server did not come back from what was done before", true);
        }
        Some(server) => server,
    };
    match deed {
        Deed::Purge { prefix, hard } => match server.purge(prefix, *hard).await {
            Ok(Purged::Done) => say(format!("{}, {} ms", due.text, ms_since(epoch, after)), false),
            Ok(Purged::NotOffered) => {
                say(format!("{}: {} has nothing for it", due.text, server.kind.as_str()), false)
            }
            Err(error) => say(format!("{} failed: {error:#}", due.text), true),
        },
        Deed::Restart | Deed::Kill => {
            // Noted as it begins: plots are to show when the server went, too.
            tell.send(say(due.text.clone(), false)).await.ok();
            root.set(None);
            let restarted = server.restart(*deed == Deed::Kill).await;
            root.set(server.pid().ok());
            match restarted {
                Ok(()) => Happened {
                    after: epoch.elapsed(),
                    text: format!("the server answers again after {} ms", ms_since(epoch, after)),
                    spoils: false,
                },
                Err(error) => say(format!("{} failed: {error:#}", due.text), true),
            }
        }
    }
}

fn ms_since(epoch: Instant, after: Duration) -> u128 {
    epoch.elapsed().saturating_sub(after).as_millis()
}

fn deed_text(deed: &Deed) -> String {
    match deed {
        Deed::Purge { prefix, hard: true } => format!("hard purge of {prefix}"),
        Deed::Purge { prefix, hard: false } => format!("soft purge of {prefix}"),
        Deed::Restart => "restart of the server".to_owned(),
        Deed::Kill => "the server is killed".to_owned(),
    }
}

fn fault_text(fault: &Fault) -> String {
    let what = match fault.what {
        Wrong::Delay(by) => format!("delay of {} ms", by.as_millis()),
        Wrong::Status(status) => format!("status {status}"),
        Wrong::Throttle(bits) => format!("throttle to {bits} bit/s"),
        Wrong::Break(share) => format!("broken transfers after {:.0} %", share * 100.0),
        Wrong::Length(bytes) => format!("lengths wrong by {bytes} bytes"),
        Wrong::Corrupt(_) => "wrong bytes".to_owned(),
        Wrong::Stale => "stale playlists".to_owned(),
        Wrong::Backward(segments) => format!("playlists {segments} segments back"),
        Wrong::Outage => "outage".to_owned(),
    };
    let share = if fault.share < 1.0 { format!(" for {:.0} %", fault.share * 100.0) } else { String::new() };
    format!("origin: {what}{share} of {}", fault.paths)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::run::fake;
    use crate::scenario::{Carry, Event, Token};
    use crate::server::Setup;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn eventful() -> Scenario {
        let mut scenario = fake::scenario(1, 10);
        let purge = Deed::Purge { prefix: "/media/live/".to_owned(), hard: false };
        scenario.events = vec![Event { at: s(6), what: Deed::Restart }, Event { at: s(2), what: purge }];
        let what = Wrong::Outage;
        scenario.faults = vec![Fault { at: s(5), over: s(20), paths: "**".to_owned(), share: 0.5, what }];
        scenario.token = Some(Token { carry: Carry::Query, lifetime: s(60), wave_at: Some(s(3)) });
        scenario
    }

    #[test]
    fn the_timeline_has_all_that_happens_before_the_end_in_order() {
        let found: Vec<_> =
            timeline(&eventful()).into_iter().map(|due| (due.at.as_secs(), due.text)).collect();
        let expected = [
            (2, "soft purge of /media/live/"),
            (3, "all tokens expire"),
            (5, "origin: outage for 50 % of ** begins"),
            (6, "restart of the server"),
        ];
        assert_eq!(found, expected.map(|(at, text)| (at, text.to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn things_happen_at_their_times_and_a_server_of_somebody_else_is_left_alone() {
        let (tell, mut told) = tokio::sync::mpsc::channel(16);
        let epoch = Instant::now() + s(1);
        let server = perform(timeline(&eventful()), epoch, None, Root::default(), tell, Stop::new()).await;
        assert!(server.is_none());
        let mut found = Vec::new();
        while let Some(one) = told.recv().await {
            assert!(!one.spoils, "{one:?}");
            found.push((one.after.as_secs(), one.text));
        }
        assert_eq!(found.iter().map(|(after, _)| *after).collect::<Vec<_>>(), [2, 3, 5, 6]);
        assert!(found[0].1.contains("not done") && found[3].1.contains("not done"), "{found:?}");
    }

    #[tokio::test]
    async fn what_is_not_done_says_why_and_spoils_the_run_where_the_server_did_not_come_back() {
        let origin = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
        let (tell, _told) = tokio::sync::mpsc::channel(16);
        let root = Root::default();
        let due = |deed: Deed| Due { at: s(0), text: deed_text(&deed), deed: Some(deed) };
        for deed in [Deed::Restart, Deed::Kill, Deed::Purge { prefix: "/".to_owned(), hard: true }] {
            let due = due(deed);
            let mut server = Server::before(Kind::Direct, &Setup::default(), origin, None).await.unwrap();
            let direct = happen(&due, Instant::now(), Some(&mut server), &root, &tell).await;
            assert!(direct.text.contains("the origin itself") && !direct.spoils, "{direct:?}");
            // As after a restart that failed: it has no process.
            server.kind = Kind::Nginx;
            let gone = happen(&due, Instant::now(), Some(&mut server), &root, &tell).await;
            assert!(gone.text.contains("did not come back") && gone.spoils, "{gone:?}");
            let others = happen(&due, Instant::now(), None, &root, &tell).await;
            assert!(others.text.contains("has not started this server") && !others.spoils, "{others:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_happens_after_the_run_is_to_stop() {
        let (tell, mut told) = tokio::sync::mpsc::channel(16);
        let (stop, epoch) = (Stop::new(), Instant::now());
        let performing = perform(timeline(&eventful()), epoch, None, Root::default(), tell, stop.clone());
        let stopping = async {
            sleep_until(epoch + s(4)).await;
            stop.ask();
        };
        tokio::join!(performing, stopping);
        let count = std::iter::from_fn(|| told.try_recv().ok()).count();
        assert_eq!(count, 2);
    }
}
