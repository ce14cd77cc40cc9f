//! Scenarios and viewers for tests of how a run is conducted: nobody asks anybody anything.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::measure::{Met, Recorder};
use crate::scenario::audience::Ticket;
use crate::scenario::{
    Abr, Arrivals, Audience, Group, Protocol, Scenario, Spread, Stream, StreamKind, Targets,
};

/// One live stream, one group, and so many viewers who come at once.
pub(crate) fn scenario(viewers: u32, seconds: u64) -> Scenario {
    let s = Duration::from_secs;
    Scenario {
        name: "fake".to_owned(),
        about: "Nobody is asked".to_owned(),
        seed: 1,
        duration: s(seconds),
        warm_up: Duration::ZERO,
        streams: vec![Stream {
            name: "channel".to_owned(),
            kind: StreamKind::Live,
            count: 1,
            segment: s(4),
            part: s(1),
            window: 6,
            length: s(60),
            bitrates: vec![1_000_000],
            audio: None,
            parts_are_ranges: false,
            key_every: None,
        }],
        audience: Audience {
            arrivals: vec![Arrivals {
                at: Duration::ZERO,
                over: Duration::ZERO,
                viewers,
                spread: Spread::Even,
            }],
            stay: None,
            zipf: 0.0,
        },
        groups: vec![Group {
            name: "all".to_owned(),
            share: 1.0,
            protocol: Protocol::H1,
            abr: Abr::Lowest,
            start_buffer: s(2),
            buffer: s(20),
            abandon: true,
            keys: true,
            line: None,
            seek_every: None,
            zap_every: None,
            cmcd: None,
            watches: Vec::new(),
        }],
        events: Vec::new(),
        faults: Vec::new(),
        token: None,
        targets: Targets::default(),
    }
}

/// So many tickets at equal distances from `at` on, who stay to the end.
pub(crate) fn tickets(viewers: u32, at: Duration, over: Duration) -> Vec<Ticket> {
    let ticket = |viewer: u32| Ticket {
        viewer,
        seed: u64::from(viewer),
        arrives: at + over * viewer / viewers,
        stays: None,
        group: 0,
        title: 0,
    };
    (0..viewers).map(ticket).collect()
}

/// A viewer who does nothing but arrive and leave, at the end or when its stay is over.
pub(crate) async fn watch(recorder: Recorder, ticket: Ticket, epoch: Instant, end: Duration) {
    recorder.met(ticket.viewer, Met::Arrived);
    let leaves = ticket.stays.map_or(end, |stays| (ticket.arrives + stays).min(end));
    sleep_until(epoch + leaves).await;
    recorder.met(ticket.viewer, Met::Left);
}
