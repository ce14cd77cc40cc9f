//! One thread's viewers: each begins when its ticket says, nobody waits for anybody else, and each second what they met is handed
//! on. What a viewer does is a parameter. It goes by tokio's clock, so that a rehearsal can have it in computed time.

use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::stop::Stop;
use crate::measure::{Book, Recorder};
use crate::scenario::audience::Ticket;

/// How long viewers may take to leave when the run is over; those who take longer are ended.
const LEAVE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Viewers who come, in order of arrival, and how long they can watch.
#[derive(Debug)]
pub(crate) struct Shift {
    pub(crate) tickets: Vec<Ticket>,
    pub(crate) epoch: Instant,
    pub(crate) duration: Duration,
    pub(crate) stop: Stop,
}

/// How a shift ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Viewers whose task panicked: a defect of the tester.
    pub(crate) broken: u64,
    /// Viewers who were there still when leaving had taken too long.
    pub(crate) cut_off: usize,
}

/// The seconds of a run: the last one may be a part of one, and then counts as one.
pub(crate) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).unwrap_or(u32::MAX).max(1)
}

// === impl Shift ===

impl Shift {
    /// Lets them watch to the end, or until it is to stop. To be called within a [`tokio::task::LocalSet`]. The last second is told of
    /// when all have left. When `tell` finds nobody who listens, it ends at once.
    pub(crate) async fn run<V>(
        self,
        recorder: &Recorder,
        watch: impl Fn(Ticket) -> V,
        mut tell: impl AsyncFnMut(u32, Book) -> bool,
    ) -> Ended
    where
        V: Future<Output = ()> + 'static,
    {
        let Self { tickets, epoch, duration, stop } = self;
        let (mut tickets, mut viewers) = (tickets.into_iter().peekable(), JoinSet::new());
        let (mut second, last, mut ended) = (1, seconds(duration), Ended::default());
        let asked = stop.asked();
        tokio::pin!(asked);
        loop {
            let over = if second < last { Duration::from_secs(u64::from(second)) } else { duration };
            // Without a ticket it is never reached.
            let arrival = tickets.peek().map_or(duration, |ticket| ticket.arrives);
            tokio::select! {
                biased;
                () = &mut asked => break,
                () = sleep_until(epoch + over) => {
                    if second == last {
                        break;
                    }
                    if !tell(second, recorder.drain()).await {
                        return ended;
                    }
                    second += 1;
                }
                () = sleep_until(epoch + arrival), if tickets.peek().is_some() => {
                    let now = epoch.elapsed();
                    while let Some(ticket) = tickets.next_if(|ticket| ticket.arrives <= now) {
                        viewers.spawn_local(watch(ticket));
                    }
                }
                Some(left) = viewers.join_next(), if !viewers.is_empty() => ended.note(left.err()),
            }
        }
        recorder.close();
        ended.cut_off = leave(&mut viewers, &mut ended, &stop).await;
        if stop.is_asked() {
            second = u32::try_from(epoch.elapsed().as_secs())
                .unwrap_or(last)
                .saturating_add(1)
                .clamp(second, last);
        }
        tell(second, recorder.drain()).await;
        ended
    }
}

/// Waits until all have left, as long as they may take; returns how many had to be ended. Nobody waits when the run is to stop.
async fn leave(viewers: &mut JoinSet<()>, ended: &mut Ended, stop: &Stop) -> usize {
    let all_left = async {
        while let Some(left) = viewers.join_next().await {
            ended.note(left.err());
        }
    };
    tokio::select! {
        biased;
        () = stop.asked() => {}
        _ = timeout(LEAVE_WAIT_MAX, all_left) => {}
    }
    let cut_off = if stop.is_asked() { 0 } else { viewers.len() };
    // An ended task closes its connections when it is dropped, which is here.
    viewers.shutdown().await;
    cut_off
}

// === impl Ended ===

impl Ended {
    fn note(&mut self, error: Option<JoinError>) {
        self.broken += u64::from(error.is_some_and(|error| error.is_panic()));
    }

    /// What keeps these viewers from being those of the scenario, if anything does.
    pub(crate) fn spoiled(self) -> Vec<String> {
        let mut spoiled = Vec::new();
        if self.broken > 0 {
            spoiled.push(format!(
                "{} viewers ended by a defect of the load tester (its standard error has it)",
                self.broken
            ));
        }
        if self.cut_off > 0 {
            spoiled.push(format!(
                "{} viewers had not left {} s after the end and were ended: what they met last is missing",
                self.cut_off,
                LEAVE_WAIT_MAX.as_secs()
            ));
        }
        spoiled
    }
}

#[cfg(test)]
mod tests;
