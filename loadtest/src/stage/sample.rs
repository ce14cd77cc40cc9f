//! Scenarios for tests of the origin.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Answer, Asked, Content, Stage};
use crate::scenario::{Audience, Fault, Scenario, Stream, StreamKind, Targets, Wrong};

/// 2026-01-01T00:00:00Z.
pub(crate) fn wall_epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A live stream `sport` of 4 s segments, a Low-Latency one `news` of 2 s segments in parts of 0.5 s, and a title `film` of 19 s.
pub(crate) fn scenario(faults: Vec<Fault>) -> Scenario {
    Scenario {
        name: "sample".into(),
        about: "for tests".into(),
        seed: 7,
        duration: Duration::from_secs(60),
        warm_up: Duration::ZERO,
        streams: vec![
            stream("sport", StreamKind::Live),
            stream("news", StreamKind::LowLatency),
            stream("film", StreamKind::Vod),
        ],
        audience: Audience { arrivals: Vec::new(), stay: None, zipf: 0.0 },
        groups: Vec::new(),
        events: Vec::new(),
        faults,
        token: None,
        targets: Targets::default(),
    }
}

pub(crate) fn stream(name: &str, kind: StreamKind) -> Stream {
    let low = kind == StreamKind::LowLatency;
    Stream {
        name: name.into(),
        kind,
        count: 1,
        segment: Duration::from_secs(if low { 2 } else { 4 }),
        part: ms(500),
        window: 6,
        length: Duration::from_secs(19),
        bitrates: vec![400_000, 1_600_000],
        audio: Some(64_000),
        parts_are_ranges: false,
        key_every: None,
    }
}

/// The fault, on everything, from the third to the tenth second.
pub(crate) fn fault(what: Wrong) -> Fault {
    Fault { at: Duration::from_secs(3), over: Duration::from_secs(7), paths: "/**".into(), share: 1.0, what }
}

pub(crate) fn stage(faults: Vec<Fault>) -> Stage {
    Stage::new(&scenario(faults), wall_epoch())
}

pub(crate) fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    fields.iter().map(field).collect()
}

/// What the stage answers to a target at a time of the run.
pub(crate) fn ask(stage: &Stage, target: &str, now: Duration, fields: &[(&'static str, &str)]) -> Answer {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    stage.answer(Asked { path, query, headers: &headers(fields) }, now)
}

pub(crate) fn text(answer: &Answer) -> String {
    match &answer.body {
        Content::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
        Content::Media { .. } => panic!("no text: {answer:?}"),
    }
}

/// The text of a playlist that has to be there.
pub(crate) fn get(stage: &Stage, target: &str, now: Duration) -> String {
    let answer = ask(stage, target, now, &[]);
    assert_eq!(answer.status, Some(200), "{target} at {now:?}: {answer:?}");
    text(&answer)
}
