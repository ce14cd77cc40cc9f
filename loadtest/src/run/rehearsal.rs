//! A run in computed time: one thread whose clock stands still and jumps to what is due next, viewers who ask the origin's
//! timeline itself. It starts nothing and measures nothing, and is the same each time.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::shift::{Ended, Shift};
use super::stop::Stop;
use super::trace::{Trace, Traced};
use super::{Plan, events, order};
use crate::measure::summary::{Row, Summary};
use crate::measure::{Chronicle, Recorder, Sides};
use crate::output::progress::Progress;
use crate::rehearse::{Rehearsed, Source};
use crate::scenario::Scenario;
use crate::scenario::audience::{self, Ticket};
use crate::scenario::catalogue::Catalogue;
use crate::stage::Stage;
use crate::stage::process::Ledger;
use crate::token::Mint;
use crate::viewer::{self, Target, World};

/// What a viewer without a line of its own receives, in bits per second.
const LINE: u64 = 50_000_000;

/// When each rehearsal begins: 2026-01-01, 00:00 UTC. Tokens and dates in playlists follow from it.
const WALL_EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// Where viewers believe the server to be.
const SERVER: &str = "http://rehearsal.invalid/";

/// What came of it.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    pub(crate) summary: Summary,
    pub(crate) rows: Vec<Row>,
    pub(crate) ended: Ended,
    /// Why its trace is not whole, if it is not.
    pub(crate) untraced: Option<String>,
    /// Computed time to its end.
    pub(crate) lasted: Duration,
}

/// What is rehearsed.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) scenario: Scenario,
    pub(crate) tickets: Vec<Ticket>,
    pub(crate) shows: bool,
    pub(crate) stop: Stop,
}

/// Rehearses a plan.
pub(crate) async fn run(plan: &Plan, stop: &Stop) -> Result<Rehearsal> {
    let script = Script {
        scenario: plan.scenario.clone(),
        tickets: audience::tickets(&plan.scenario),
        shows: plan.shows,
        stop: stop.clone(),
    };
    let (told, tells) = tokio::sync::oneshot::channel();
    let trace = plan.trace.clone();
    // The clock is the thread's: no other runtime's time stands still.
    std::thread::Builder::new()
        .name("rehearsal".to_owned())
        .spawn(move || told.send(with_viewers(script, trace.as_deref())).ok())
        .context("a thread for the rehearsal")?;
    tells.await.context("the rehearsal ended by a defect of the load tester (standard error has it)")?
}

/// With the viewers of a run, and the origin's timeline.
fn with_viewers(script: Script, trace: Option<&Path>) -> Result<Rehearsal> {
    let scenario = script.scenario.clone();
    let mut written: Option<Trace> = None;
    let wall_epoch = SystemTime::UNIX_EPOCH + WALL_EPOCH;
    let source = Rc::new(Source::new(Stage::new(&scenario, wall_epoch)));
    let ledger = || Some(source.ledger());
    let mut rehearsal = rehearse(script, ledger, |recorder, epoch| {
        written = order::trace(trace, epoch)?;
        let (trace, source) = (written.clone(), Rc::clone(&source));
        let world = Rc::new(World {
            catalogue: Catalogue::of(&scenario),
            target: Target::Server(SERVER.parse().context(SERVER)?),
            epoch,
            wall_epoch,
            recorder: recorder.clone(),
            mint: scenario.token.as_ref().map(|token| Mint::new(token, wall_epoch)),
            scenario,
        });
        Ok(move |ticket: Ticket| {
            let line = world.scenario.groups[ticket.group].line.unwrap_or(LINE);
            let fetch = Rehearsed::new(Rc::clone(&source), epoch, line);
            viewer::watch(Rc::clone(&world), ticket.clone(), Traced::new(fetch, ticket.viewer, trace.clone()))
        })
    })?;
    let traced = written.map_or(Ok(()), |trace| trace.finish());
    rehearsal.untraced = traced.err().map(|error| format!("{error:#}"));
    Ok(rehearsal)
}

/// With any viewers: `make` makes what lets a ticket watch, `ledger` tells what an origin was asked for, if there is one. To be
/// called from a thread that has no runtime.
pub(crate) fn rehearse<W, V>(
    script: Script,
    ledger: impl Fn() -> Option<Ledger>,
    make: impl FnOnce(&Recorder, Instant) -> Result<W>,
) -> Result<Rehearsal>
where
    W: Fn(Ticket) -> V,
    V: Future<Output = ()> + 'static,
{
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().context("a runtime")?;
    LocalSet::new().block_on(&runtime, async {
        let Script { scenario, tickets, shows, stop } = script;
        let epoch = Instant::now();
        let recorder = Recorder::new();
        let watch = make(&recorder, epoch)?;
        let mut chronicle = Chronicle::new(scenario.warm_up, epoch);
        let mut progress = Progress::new(&scenario.name, "rehearsal", scenario.duration, shows);
        let shift = Shift { tickets, epoch, duration: scenario.duration, stop };
        let tell = async |second, book| {
            let row = chronicle.second(second, book, Sides { ledger: ledger(), ..Sides::default() });
            progress.second(&row);
            true
        };
        let ended = shift.run(&recorder, watch, tell).await;
        let (summary, rows) = chronicle.finish(&scenario.targets, None);
        progress.finish(&summary);
        Ok(Rehearsal { summary, rows, ended, untraced: None, lasted: epoch.elapsed() })
    })
}

/// What would have happened until then: seconds from the start, and what. Nothing is done to anybody.
pub(crate) fn marks(scenario: &Scenario, lasted: Duration) -> Vec<(f64, String)> {
    let timeline = events::timeline(scenario).into_iter().filter(|due| due.at <= lasted);
    timeline.map(|due| (due.at.as_secs_f64(), due.text)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::cell::RefCell;

    use rand::{Rng, RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;
    use tokio::time::sleep_until;

    use super::*;
    use crate::measure::Met;
    use crate::run::fake;

    fn script(viewers: u32, seconds: u64) -> Script {
        let scenario = fake::scenario(viewers, seconds);
        let tickets = fake::tickets(viewers, Duration::from_millis(300), Duration::from_secs(2));
        Script { scenario, tickets, shows: false, stop: Stop::new() }
    }

    /// Who did what at which millisecond, of viewers who act at random times that follow from their seed.
    fn acts() -> (Rehearsal, Vec<(u128, u32, u64)>) {
        let acts = Rc::new(RefCell::new(Vec::new()));
        let rehearsal = rehearse(
            script(200, 60),
            || None,
            |recorder, epoch| {
                let (recorder, acts) = (recorder.clone(), Rc::clone(&acts));
                Ok(move |ticket: Ticket| {
                    let (recorder, acts) = (recorder.clone(), Rc::clone(&acts));
                    let mut random = Pcg64Mcg::seed_from_u64(ticket.seed);
                    async move {
                        recorder.met(ticket.viewer, Met::Arrived);
                        while epoch.elapsed() < Duration::from_secs(60) {
                            acts.borrow_mut().push((
                                epoch.elapsed().as_millis(),
                                ticket.viewer,
                                random.next_u64(),
                            ));
                            let pause = Duration::from_micros(random.random_range(1..5_000_000));
                            sleep_until((Instant::now() + pause).min(epoch + Duration::from_secs(60))).await;
                        }
                        recorder.met(ticket.viewer, Met::Left);
                    }
                })
            },
        )
        .unwrap();
        (rehearsal, acts.take())
    }

    #[test]
    fn a_rehearsal_takes_no_time_and_a_repetition_is_the_same_in_everything() {
        let ((first, first_acts), (second, second_acts)) = (acts(), acts());
        assert!(first_acts.len() > 200 * 60 / 5, "{}", first_acts.len());
        assert_eq!(first_acts, second_acts);
        assert_eq!(first.rows, second.rows);
        assert_eq!(first.rows.len(), 60);
        assert_eq!(first.rows.iter().map(|row| row.arrived).sum::<u32>(), 200);
        // Who is there at the end has not left.
        assert_eq!(first.rows.iter().map(|row| row.left).sum::<u32>(), 0);
    }

    #[test]
    fn a_rehearsal_that_is_to_stop_ends_with_what_there_is() {
        let mut script = script(10, 3_600);
        let stop = Stop::new();
        script.stop = stop.clone();
        let rehearsal = rehearse(
            script,
            || None,
            |recorder, epoch| {
                let recorder = recorder.clone();
                Ok(move |ticket: Ticket| {
                    let (recorder, stop) = (recorder.clone(), stop.clone());
                    async move {
                        recorder.met(ticket.viewer, Met::Arrived);
                        sleep_until(epoch + Duration::from_millis(9_500)).await;
                        stop.ask();
                        std::future::pending::<()>().await;
                    }
                })
            },
        )
        .unwrap();
        assert_eq!(rehearsal.rows.len(), 10);
        assert_eq!(rehearsal.lasted.as_millis(), 9_500);
        assert_eq!(rehearsal.rows.iter().map(|row| row.arrived).sum::<u32>(), 10);
    }

    #[test]
    fn a_trace_that_does_not_fit_spoils_a_rehearsal_and_keeps_what_it_found() {
        let full = Path::new("/dev/full");
        let rehearsal = with_viewers(script(10, 30), Some(full)).unwrap();
        assert!(rehearsal.untraced.unwrap().contains("not whole"));
        assert_eq!(rehearsal.rows.len(), 30);
        assert!(rehearsal.summary.requests.count > 0);
        assert_eq!(with_viewers(script(10, 30), None).unwrap().untraced, None);
    }

    #[tokio::test]
    async fn a_run_outside_is_not_moved_by_a_rehearsals_clock() {
        let before = Instant::now();
        std::thread::spawn(|| {
            rehearse(
                script(1, 3_600),
                || None,
                |recorder, epoch| {
                    let recorder = recorder.clone();
                    Ok(move |ticket| fake::watch(recorder.clone(), ticket, epoch, Duration::from_secs(3_600)))
                },
            )
        })
        .join()
        .unwrap()
        .unwrap();
        assert!(before.elapsed() < Duration::from_secs(600));
    }
}
