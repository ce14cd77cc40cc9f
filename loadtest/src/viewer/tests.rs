//! Whole viewers, against a tiny origin on a clock that is computed: what they ask for and when, and what they meet, to the
//! millisecond.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod live;
mod low_latency;
mod model;
mod title;
mod tokens;

use std::cell::RefCell;
use std::time::SystemTime;

use super::*;
use crate::scenario::audience::Ticket;
use crate::scenario::{Abr, Audience, Group, Protocol, Scenario, Targets, Token};
use model::{Model, Seen};

thread_local! {
    static HEARD: RefCell<Vec<(Instant, Met)>> = const { RefCell::new(Vec::new()) };
}

/// Notes what a viewer meets, and when it tells.
pub(super) fn heard(met: Met) {
    HEARD.with_borrow_mut(|heard| heard.push((Instant::now(), met)));
}

/// What came of a viewer.
pub(super) struct Watched {
    pub(super) epoch: Instant,
    pub(super) met: Vec<(Instant, Met)>,
    pub(super) seen: Vec<Seen>,
    /// When it had left.
    pub(super) left: Duration,
}

impl Watched {
    pub(super) fn mets(&self) -> Vec<Met> {
        self.met.iter().map(|(_, met)| *met).collect()
    }

    /// Milliseconds from the arrival or the wish to the picture, for each start.
    pub(super) fn starts(&self) -> Vec<(u128, bool)> {
        let start = |met: &Met| match met {
            Met::Started { after, zapped } => Some((after.as_millis(), *zapped)),
            _ => None,
        };
        self.mets().iter().filter_map(start).collect()
    }

    /// Lengths of the stalls in milliseconds. Each that began has ended.
    pub(super) fn stalls(&self) -> Vec<u128> {
        let began = self.mets().iter().filter(|met| **met == Met::StallBegan).count();
        let stall = |met: &Met| match met {
            Met::StallEnded { after } => Some(after.as_millis()),
            _ => None,
        };
        let stalls: Vec<u128> = self.mets().iter().filter_map(stall).collect();
        assert_eq!(began, stalls.len(), "stalls that began, and that ended");
        stalls
    }

    /// How far it was behind the live edge, in milliseconds, each time that it told.
    pub(super) fn behind(&self) -> Vec<u128> {
        let behind = |met: &Met| match met {
            Met::Behind(behind) => Some(behind.as_millis()),
            _ => None,
        };
        self.mets().iter().filter_map(behind).collect()
    }

    pub(super) fn played(&self) -> Duration {
        let played = |met: &Met| match met {
            Met::Played { media, .. } => *media,
            _ => Duration::ZERO,
        };
        self.mets().iter().map(played).sum()
    }

    pub(super) fn wasted(&self) -> u64 {
        let wasted = |met: &Met| match met {
            Met::Wasted(bytes) => *bytes,
            _ => 0,
        };
        self.mets().iter().map(wasted).sum()
    }

    /// Milliseconds of the run at which a path that contains this was asked for.
    pub(super) fn asked(&self, part: &str) -> Vec<u128> {
        self.seen.iter().filter(|seen| seen.path.contains(part)).map(|seen| seen.at.as_millis()).collect()
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.seen.iter().map(|seen| seen.path.clone()).collect()
    }
}

pub(super) fn group() -> Group {
    Group {
        name: "all".into(),
        share: 1.0,
        protocol: Protocol::H1,
        abr: Abr::Lowest,
        start_buffer: Duration::from_secs(4),
        buffer: Duration::from_secs(8),
        abandon: true,
        keys: true,
        line: None,
        seek_every: None,
        zap_every: None,
        cmcd: None,
        watches: Vec::new(),
    }
}

pub(super) fn ticket(seed: u64) -> Ticket {
    Ticket { viewer: 0, seed, arrives: Duration::ZERO, stays: None, group: 0, title: 0 }
}

/// Somebody who leaves after so long.
pub(super) fn stays(seconds: u64) -> Ticket {
    Ticket { stays: Some(Duration::from_secs(seconds)), ..ticket(1) }
}

pub(super) fn world(group: Group, token: Option<Token>, epoch: Instant) -> Rc<World> {
    let wall_epoch = SystemTime::UNIX_EPOCH + model::WALL_EPOCH;
    let scenario = Scenario {
        name: "test".into(),
        about: String::new(),
        seed: 1,
        duration: Duration::from_secs(120),
        warm_up: Duration::ZERO,
        streams: Vec::new(),
        audience: Audience { arrivals: Vec::new(), stay: None, zipf: 0.0 },
        groups: vec![group],
        events: Vec::new(),
        faults: Vec::new(),
        token,
        targets: Targets::default(),
    };
    let mint = scenario.token.as_ref().map(|token| Mint::new(token, wall_epoch));
    Rc::new(World {
        catalogue: Catalogue::of(&scenario),
        scenario,
        target: Target::Stream(Url::parse("http://edge/media/x/index.m3u8").unwrap()),
        epoch,
        wall_epoch,
        recorder: Recorder::new(),
        mint,
    })
}

/// Lets somebody of the group watch what the model has, to the end.
pub(super) async fn watched(group: Group, ticket: Ticket, model: Model) -> Watched {
    let world = world(group, None, model.epoch);
    watched_in(world, ticket, model).await
}

pub(super) async fn watched_in(world: Rc<World>, ticket: Ticket, model: Model) -> Watched {
    HEARD.take();
    let (epoch, seen) = (model.epoch, Rc::clone(&model.seen));
    watch(world, ticket, model).await;
    let met = HEARD.take();
    assert_eq!(met.first().map(|(_, met)| *met), Some(Met::Arrived));
    assert_eq!(met.last().map(|(_, met)| *met), Some(Met::Left));
    let late: Vec<_> =
        met.iter().filter(|(_, met)| matches!(met, Met::Late { by, .. } if !by.is_zero())).collect();
    assert!(late.is_empty(), "nothing is late on a clock that waits: {late:?}");
    Watched { epoch, met, seen: seen.take(), left: epoch.elapsed() }
}

/// Ten thousand viewers wait most of the time. What each of them takes then, without what it shares.
#[tokio::test(start_paused = true)]
async fn a_waiting_viewer_is_small() {
    let epoch = Instant::now();
    let future = watch(world(group(), None, epoch), ticket(1), Model::vod(5));
    let own = std::mem::size_of_val(&future) + std::mem::size_of::<Stay>();
    assert!(
        own < 4 << 10,
        "{own} bytes: future {}, stay {}",
        std::mem::size_of_val(&future),
        std::mem::size_of::<Stay>()
    );
}
