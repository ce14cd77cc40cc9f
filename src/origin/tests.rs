//! The promises of the origin station, against scripted servers on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod cap;
mod framing;
mod health;
mod protect;
mod queue;
mod http2;
mod requests;
mod retry;
mod reuse;
mod scripted;
mod second;
mod timeouts;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use prometheus::Registry;

use super::{FetchReason, FetchRequest, OriginError, OriginFamilies, OriginGroup, OriginResponse, Origins};
use crate::asset::Kind;
use crate::config::model::{
    Balance, Origin, OriginHeaders, OriginLimits, OriginServer, OriginTimeouts, OriginTls, Retry,
};

/// Longer than anything on loopback takes: a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// For what is meant to run out while the test waits for it.
const SHORT: Duration = Duration::from_millis(50);

/// For what is meant to run out when the test says so, and not because the machine stood still.
const LONG: Duration = Duration::from_secs(3600);

/// An origin group of `servers`, patient, with two attempts.
fn origin(servers: Vec<OriginServer>) -> Origin {
    Origin {
        name: "main".to_owned(),
        servers,
        discovered: Vec::new(),
        host: None,
        health: None,
        timeouts: OriginTimeouts {
            connect: PATIENCE,
            first_byte: PATIENCE,
            between_bytes: PATIENCE,
            total: 10 * PATIENCE,
        },
        limits: limits(16, PATIENCE, 16),
        retry: retry(2, vec![502, 503, 504]),
        tls: OriginTls::default(),
        tier: false,
        breaker: None,
        eject: None,
        hedge: None,
        fallback: None,
        balance: Balance::Turns,
        http2: false,
        forward_host: false,
        headers: OriginHeaders::default(),
        s3: None,
        proof: None,
    }
}

/// Without a rate.
fn limits(connections: usize, queue: Duration, queue_length: usize) -> OriginLimits {
    OriginLimits { connections, queue, queue_length, rate: None }
}

/// Short pauses, and a budget that is never used up.
fn retry(attempts: u32, on_status: Vec<u16>) -> Retry {
    Retry {
        attempts,
        on_connect: true,
        on_status,
        budget_percent: 100,
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(4),
        resume: 3,
    }
}

/// The group, and the registry its metrics are in.
fn set_up(origin: &Origin) -> (Arc<OriginGroup>, Registry) {
    let registry = Registry::new();
    let families = OriginFamilies::new(&registry).unwrap();
    let origins = Origins::new(std::slice::from_ref(origin), &families).unwrap();
    (Arc::clone(origins.group(0)), registry)
}

fn get(path_and_query: &str) -> FetchRequest<'_> {
    let (headers, reason) = (HeaderMap::new(), FetchReason::Miss);
    let (hold, kind, placement) = (None, Kind::Segment, 0);
    let (host, claims, conditions, cdn_loop) = (None, None, None, None);
    FetchRequest {
        method: Method::GET,
        path_and_query,
        headers,
        reason,
        hold,
        kind,
        placement,
        host,
        claims,
        conditions,
        cdn_loop,
    }
}

/// The rest of the body, or why it broke off.
async fn body(response: &mut OriginResponse) -> Result<Bytes, OriginError> {
    let mut all = BytesMut::new();
    while let Some(piece) = response.chunk().await? {
        assert!(!piece.is_empty());
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// Waits until `condition` holds, also where the clock stands; the deadline is what fails.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::task::yield_now().await;
    }
}

/// So much time passes at once for everything that waits here.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Stops the clock of the test until this is dropped: it goes on by [`tokio::time::advance`] alone. A paused clock jumps
/// where nothing is left but to wait for a socket, unless a thread is busy.
struct StandingClock(
    #[expect(dead_code, reason = "ends the thread when dropped")] std::sync::mpsc::SyncSender<()>,
);

impl StandingClock {
    fn new() -> Self {
        let (busy, done) = std::sync::mpsc::sync_channel(1);
        tokio::task::spawn_blocking(move || done.recv());
        tokio::time::pause();
        Self(busy)
    }
}

/// The sum of the values (for histograms, of the counts) of all metrics called `name` whose labels include `labels`.
fn metric(registry: &Registry, name: &str, labels: &[(&str, &str)]) -> u64 {
    let families = registry.gather();
    let metrics =
        families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
    let matching = metrics.filter(|metric| {
        labels.iter().all(|(name, value)| {
            metric.get_label().iter().any(|label| label.name() == *name && label.value() == *value)
        })
    });
    matching
        .map(|metric| {
            let number = metric.get_counter().get_value() + metric.get_gauge().get_value();
            number as u64 + metric.get_histogram().get_sample_count()
        })
        .sum()
}
