//! A run for the tests of the output: made up by a seed, but counted by the recorder and the chronicle like a real one.
//!
//! Viewers come within ten seconds and play segments of 4 s; the origin is out for ten seconds, in which some of the pictures stand
//! still; then the server is started anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::json;
use tokio::time::{Instant, advance};

use crate::fetch::{Cache, Exchange, Failure, Kind, Outcome};
use crate::measure::summary::Usage;
use crate::measure::{Chronicle, Met, Recorder, Sides};
use crate::run::Finished;
use crate::scenario::*;
use crate::stage::process::{Asked, Ledger};

const VIEWERS: u32 = 800;
const SECONDS: u32 = 120;
const WARM_UP_SECONDS: u32 = 10;
const OUTAGE: std::ops::Range<u32> = 50..60;
const RESTART: u32 = 85;

/// The run of this seed, at a server of this name: each name has a speed of its own.
pub(crate) fn run(seed: u64, server: &str) -> Finished {
    static MADE: Mutex<BTreeMap<(u64, String), Finished>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap();
    made.entry((seed, server.to_owned())).or_insert_with(|| make(seed, server)).clone()
}

fn make(seed: u64, server: &str) -> Finished {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(made_up(seed, server))
}

async fn made_up(seed: u64, server: &str) -> Finished {
    let slowness = 1.0 + f64::from(server.bytes().map(u32::from).sum::<u32>() % 11) / 8.0;
    let epoch = Instant::now();
    let recorder = Recorder::new();
    let warm_up = Duration::from_secs(u64::from(WARM_UP_SECONDS));
    let mut chronicle = Chronicle::new(warm_up, epoch);
    let mut play = Play { random: Pcg64Mcg::seed_from_u64(seed), slowness, asked: 0, bytes: 0 };
    let mut usage = (Usage::default(), Usage::default(), Usage::default());
    for second in 1..=SECONDS {
        advance(Duration::from_secs(1)).await;
        play.second(&recorder, second);
        let (server, sides) = (play.used(second, &mut usage), usage);
        let sides = Sides {
            at: Instant::now(),
            server,
            origin: Some(sides.1),
            tester: sides.2,
            ledger: Some(play.ledger()),
        };
        chronicle.second(second, recorder.drain(), sides);
    }
    let scenario = scenario(seed);
    let (summary, rows) = chronicle.finish(&scenario.targets, Some(38_000_000));
    Finished {
        version: super::RUN_VERSION,
        server: server.to_owned(),
        machine: json!({
            "cpu": "AMD EPYC 7763 64-Core Processor", "cores": 4, "kernel": "6.12.48", "tcp": "bbr",
            "date": "2026-11-21T20:15:00Z", "loadtest": "0.1.0", "forebay": "forebay 0.1.0", "nginx": null,
        }),
        scenario: serde_json::to_value(scenario).unwrap(),
        summary,
        rows,
        marks: vec![
            (f64::from(OUTAGE.start), "fault: outage of the origin begins, **/*.m4s".to_owned()),
            (f64::from(OUTAGE.end), "fault: outage of the origin ends".to_owned()),
            (f64::from(RESTART), "restart of the server <SIGTERM>".to_owned()),
            (f64::from(RESTART) + 1.4, "server answers again".to_owned()),
        ],
        spoiled: Vec::new(),
    }
}

struct Play {
    random: Pcg64Mcg,
    slowness: f64,
    /// Of the origin.
    asked: u64,
    bytes: u64,
}

impl Play {
    fn second(&mut self, recorder: &Recorder, second: u32) {
        for viewer in 0..VIEWERS {
            // A quarter before the kick-off, the others in the ten seconds around it.
            let arrives = if viewer % 4 == 0 { viewer % 20 } else { 20 + viewer % 13 };
            if second == arrives + 1 {
                recorder.met(viewer, Met::Arrived);
                let after = Duration::from_secs_f64((0.15 + self.tail() * 0.2) * self.slowness);
                recorder.met(viewer, Met::Started { after, zapped: false });
                self.ask(recorder, viewer, Kind::Multivariant, second);
                self.ask(recorder, viewer, Kind::Init, second);
            } else if second > arrives + 1 {
                self.play(recorder, viewer, second);
            }
        }
    }

    fn play(&mut self, recorder: &Recorder, viewer: u32, second: u32) {
        let stalls = viewer.is_multiple_of(9) && OUTAGE.contains(&second);
        if stalls && second == OUTAGE.start + 5 {
            recorder.met(viewer, Met::StallBegan);
        }
        if viewer.is_multiple_of(9) && second == OUTAGE.end + 1 {
            recorder.met(viewer, Met::StallEnded { after: Duration::from_millis(6_000) });
        }
        if (second + viewer).is_multiple_of(4) {
            self.ask(recorder, viewer, Kind::Segment, second);
        }
        if (second + viewer) % 4 == 1 {
            self.ask(recorder, viewer, Kind::Playlist, second);
            let (by, interval) = (Duration::from_secs_f64(self.tail() * 0.004), Duration::from_secs(4));
            recorder.met(viewer, Met::Late { by, interval });
        }
        let bitrate = if (second + viewer) % 40 < 8 { 3_000_000 } else { 6_000_000 };
        recorder.met(
            viewer,
            Met::Played { media: Duration::from_millis(if stalls { 400 } else { 1_000 }), bitrate },
        );
        recorder.met(viewer, Met::Behind(Duration::from_secs_f64(11.0 + self.tail() * 1.5)));
        if self.random.random_range(0..400) == 0 {
            recorder.met(viewer, Met::Switched { from: 6_000_000, to: 3_000_000 });
            recorder.met(viewer, Met::Wasted(400_000));
        }
        if second > 100 && self.random.random_range(0..50) == 0 {
            recorder.met(viewer, Met::Left);
        }
    }

    fn ask(&mut self, recorder: &Recorder, viewer: u32, kind: Kind, second: u32) {
        let is_out = OUTAGE.contains(&second) && kind == Kind::Segment;
        let cache = match self.random.random_range(0..100) {
            _ if is_out => Cache::Stale,
            0 => Cache::Miss,
            1..=2 => Cache::Collapsed,
            3 if kind == Kind::Playlist => Cache::Revalidated,
            _ => Cache::Hit,
        };
        let asks_origin = matches!(cache, Cache::Miss | Cache::Revalidated);
        let bytes = match kind {
            Kind::Segment => 3_000_000 + u64::from(viewer) * 100,
            _ => 1_400,
        };
        let slow = if asks_origin { 40.0 } else { 1.0 } * if is_out { 60.0 } else { 1.0 };
        let first = Duration::from_secs_f64((0.0008 + self.tail() * 0.0012) * slow * self.slowness);
        let (due, status) = (Instant::now(), if is_out && viewer.is_multiple_of(97) { 503 } else { 200 });
        let is_down = second == RESTART && viewer.is_multiple_of(7);
        let exchange = Exchange {
            due,
            sent: due,
            first_byte: (!is_down).then_some(due + first),
            end: due + first + Duration::from_secs_f64(bytes as f64 / 40e6 * self.slowness),
            status: (!is_down).then(|| StatusCode::from_u16(status).unwrap()),
            headers: HeaderMap::new(),
            cache: if is_down { Cache::Unknown } else { cache },
            bytes: if is_down || status != 200 { 0 } else { bytes },
            text: bytes::Bytes::new(),
            connected: kind == Kind::Multivariant,
            outcome: if is_down { Outcome::Failed(Failure::Connect) } else { Outcome::Whole },
        };
        self.asked += u64::from(asks_origin);
        self.bytes += if asks_origin { bytes } else { 0 };
        recorder.exchange(
            viewer,
            kind,
            &format!("/media/live/arena/v1/{}.3000000.m4s", 900 + second / 4),
            &exchange,
        );
    }

    /// Mostly small, rarely large.
    fn tail(&mut self) -> f64 {
        -self.random.random::<f64>().max(1e-9).ln()
    }

    /// CPU so far and memory now of server, origin and tester; of the server none while it starts.
    fn used(&mut self, second: u32, usage: &mut (Usage, Usage, Usage)) -> Option<Usage> {
        let share = (f64::from(second.min(40)) / 40.0).powi(2);
        let mut jitter = || 0.9 + self.random.random::<f64>() * 0.2;
        if second == RESTART {
            usage.0.cpu_seconds = 0.0;
        }
        usage.0.cpu_seconds += 0.62 * share * self.slowness * jitter();
        usage.1.cpu_seconds += 0.08 * jitter();
        usage.2.cpu_seconds += 0.95 * share * jitter();
        usage.0.resident_bytes = (38e6 + 150e6 * share * self.slowness * jitter()) as u64;
        (usage.1.resident_bytes, usage.2.resident_bytes) = (21_000_000, (14e6 + 60e6 * share) as u64);
        (second != RESTART).then_some(usage.0)
    }

    fn ledger(&self) -> Ledger {
        let asked = |requests: u64, objects: u64, most_for: &str| Asked {
            objects: objects.max(1).min(requests),
            requests,
            most: if requests > objects { 3 } else { 1 },
            most_for: most_for.to_owned(),
        };
        let (segments, playlists) = (self.asked * 6 / 10, self.asked * 4 / 10);
        Ledger {
            beyond: Default::default(),
            requests: self.asked,
            bytes: self.bytes,
            connections: 12 + self.asked / 50,
            connections_now: 4,
            kinds: [
                (
                    "segment".to_owned(),
                    asked(segments, segments * 99 / 100, "/media/live/arena/v1/905.3000000.m4s"),
                ),
                ("playlist".to_owned(), asked(playlists, playlists, "/media/live/arena/v1.m3u8")),
            ]
            .into(),
            faults: vec![7],
        }
    }
}

fn scenario(seed: u64) -> Scenario {
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    Scenario {
        name: "kick-off".to_owned(),
        about: "Everybody comes within ten seconds & wants the <same> channel.".to_owned(),
        seed,
        duration: seconds(SECONDS),
        warm_up: seconds(WARM_UP_SECONDS),
        streams: vec![Stream {
            name: "arena".to_owned(),
            kind: StreamKind::Live,
            count: 1,
            segment: seconds(4),
            part: Duration::from_millis(500),
            window: 6,
            length: seconds(600),
            bitrates: vec![1_000_000, 3_000_000, 6_000_000],
            audio: Some(128_000),
            parts_are_ranges: false,
            key_every: None,
        }],
        audience: Audience {
            arrivals: vec![Arrivals {
                at: seconds(20),
                over: seconds(10),
                viewers: VIEWERS,
                spread: Spread::Rush,
            }],
            stay: None,
            zipf: 0.0,
        },
        groups: vec![Group {
            name: "all".to_owned(),
            share: 1.0,
            protocol: Protocol::H2,
            abr: Abr::Throughput,
            start_buffer: seconds(4),
            buffer: seconds(30),
            abandon: true,
            keys: true,
            line: None,
            seek_every: None,
            zap_every: None,
            cmcd: None,
            watches: Vec::new(),
        }],
        events: vec![Event { at: seconds(RESTART), what: Deed::Restart }],
        faults: vec![Fault {
            at: seconds(OUTAGE.start),
            over: seconds(OUTAGE.end - OUTAGE.start),
            paths: "**/*.m4s".to_owned(),
            share: 1.0,
            what: Wrong::Outage,
        }],
        token: None,
        targets: Targets::default(),
    }
}
