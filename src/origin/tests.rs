//! The promises of the origin station, against scripted servers on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod cap;
mod framing;
mod health;
mod requests;
mod retry;
mod reuse;
mod scripted;
mod timeouts;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use prometheus::Registry;

use super::{FetchReason, FetchRequest, OriginError, OriginFamilies, OriginGroup, OriginResponse, Origins};
use crate::config::model::{Origin, OriginLimits, OriginServer, OriginTimeouts, Retry};

/// Longer than anything on loopback takes: a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// For what is meant to run out.
const SHORT: Duration = Duration::from_millis(50);

/// An origin group of `servers`, patient, with two attempts.
fn origin(servers: Vec<OriginServer>) -> Origin {
    Origin {
        name: "main".to_owned(),
        servers,
        host: None,
        health: None,
        timeouts: OriginTimeouts { connect: PATIENCE, first_byte: PATIENCE, between_bytes: PATIENCE },
        limits: OriginLimits { connections: 16, queue: PATIENCE, queue_length: 16 },
        retry: Retry { attempts: 2, on_connect: true, on_status: vec![502, 503, 504] },
        tls_ca: None,
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
    FetchRequest { method: Method::GET, path_and_query, headers, reason, hold: None }
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

/// Waits until `condition` holds; the poll only spares the processor, the deadline is what fails.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
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
