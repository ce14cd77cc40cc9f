//! The exchanges of one viewer that are under way. Each is boxed while it lasts, so that a viewer that waits for its next segment is
//! small.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::time::{Instant, sleep_until};

use super::player::{Ask, SLOTS};
use crate::fetch::{Exchange, Fetch, Get, GivenUp, Kind};

pub(crate) struct Flights<'a, F> {
    fetch: &'a F,
    slots: [Option<Flight<'a>>; SLOTS],
}

/// An exchange that is under way.
struct Flight<'a> {
    kind: Kind,
    exchange: Pin<Box<dyn Future<Output = Exchange> + 'a>>,
}

// === impl Flights ===

impl<'a, F: Fetch> Flights<'a, F> {
    pub(crate) fn new(fetch: &'a F) -> Self {
        Self { fetch, slots: Default::default() }
    }

    pub(crate) fn start(&mut self, ask: Ask) {
        let fetch = self.fetch;
        let (slot, kind) = (ask.slot, ask.kind);
        let exchange = async move {
            let Ask { url, range, fields, due, body, progress, .. } = &ask;
            let progress = progress.as_deref();
            fetch.get(Get { url, range: *range, fields, due: *due, body: *body, progress }).await
        };
        self.slots[slot] = Some(Flight { kind, exchange: Box::pin(exchange) });
    }

    /// Gives exchanges up; returns what had come of them.
    pub(crate) fn give_up(&mut self, slots: [bool; SLOTS]) -> Vec<(Kind, GivenUp)> {
        let mut all = Vec::new();
        for (slot, _) in self.slots.iter_mut().zip(slots).filter(|(_, given_up)| *given_up) {
            if let Some(Flight { kind, exchange }) = slot.take() {
                drop(exchange);
                all.extend(self.fetch.take_dropped().into_iter().map(|given_up| (kind, given_up)));
            }
        }
        all
    }

    /// The next exchange that is over; none: it is time. An answer that is there goes before the timer.
    pub(crate) async fn next(&mut self, wake: Instant) -> Option<(usize, Exchange)> {
        let mut timer = pin!(sleep_until(wake));
        poll_fn(|context| {
            for (index, slot) in self.slots.iter_mut().enumerate() {
                if let Some(flight) = slot
                    && let Poll::Ready(exchange) = flight.exchange.as_mut().poll(context)
                {
                    *slot = None;
                    return Poll::Ready(Some((index, exchange)));
                }
            }
            timer.as_mut().poll(context).map(|()| None)
        })
        .await
    }
}
