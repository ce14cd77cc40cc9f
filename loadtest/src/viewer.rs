//! One viewer, from its arrival to its leaving: a player without a picture.
//!
//! [`watch`] is all there is of tasks and timers. What is decided is decided without them: [`stay`] (which title, until when),
//! [`player`] (which exchange is due), [`track`] and [`live`] (what comes next in a playlist), [`deck`] (the picture), [`abr`] (the
//! rendition), [`playlist`] (the reading). All times are those at which something happened or was due, never those at which it was
//! looked at, so that a busy machine does not make a viewer's stalls.

// What there is to watch, and what a viewer makes of it.
mod playlist;
mod live;
mod abr;
mod buffer;
mod deck;

// What goes with its requests.
pub(crate) mod cmcd;
pub(crate) mod purse;

// A title, a stay, and the exchanges that are under way.
mod track;
mod player;
mod whims;
mod stay;
mod flights;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};
use url::Url;

use crate::fetch::Fetch;
use crate::measure::{Met, Recorder};
use crate::scenario::Scenario;
use crate::scenario::audience::Ticket;
use crate::scenario::catalogue::Catalogue;
use crate::token::Mint;

use flights::Flights;
use stay::Stay;

/// The least time between two looks at what is due. Timers are no finer.
const LOOK: Duration = Duration::from_millis(1);

/// What all viewers of a thread have in common.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) catalogue: Catalogue,
    /// Where the titles' entries are: scheme and authority. Or a whole URL of a stream that is not the synthetic origin's.
    pub(crate) target: Target,
    /// The start of the run, on both clocks.
    pub(crate) epoch: Instant,
    pub(crate) wall_epoch: SystemTime,
    pub(crate) recorder: Recorder,
    /// Who gives out tokens; none: the site is open.
    pub(crate) mint: Option<Mint>,
}

/// Who is asked.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A server in front of the synthetic origin: titles are below it.
    Server(Url),
    /// One multivariant (or media) playlist of somebody's own, whatever the catalogue says.
    Stream(Url),
}

/// Watches until the viewer leaves; all that it meets is told to the recorder. It waits for the ticket's time, or came too late and
/// knows it. Every stall that began is told to have ended, if by leaving; [`Met::Left`] is the last word, after [`Met::GaveUp`] too.
pub(crate) async fn watch<F: Fetch>(world: Rc<World>, ticket: Ticket, fetch: F) {
    let arrives = world.epoch + ticket.arrives;
    sleep_until(arrives).await;
    let mut stay = Box::new(Stay::new(world, ticket, arrives));
    let mut flights = Flights::new(&fetch);
    loop {
        let now = Instant::now();
        let stays = stay.step(now);
        let given_up = flights.give_up(stay.take_given_up());
        stay.gave_up(&given_up);
        if !stays {
            break;
        }
        stay.take_asks().into_iter().for_each(|ask| flights.start(ask));
        if let Some((slot, exchange)) = flights.next(stay.wake().max(now + LOOK)).await {
            stay.done(slot, &exchange);
        }
    }
    stay.met(Met::Left);
    drop(flights);
    fetch.leave();
}

// === impl World ===

impl World {
    /// A viewer has met something.
    fn met(&self, viewer: u32, met: Met) {
        #[cfg(test)]
        tests::heard(met);
        self.recorder.met(viewer, met);
    }
}
