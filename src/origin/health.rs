//! Active health checks: a GET to every server of a group, again and again.
//!
//! Decides when a server counts as unhealthy and when as healthy again. What follows from it is the group's decision
//! ([`super::OriginGroup`] prefers healthy servers and fails open). Runs as one task per server, started by
//! [`super::Origins::start_health_checks`].

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::sync::watch;

use super::exchange::exchange;
use super::jitter::up_to;
use super::server::Reuse;
use super::{FetchReason, FetchRequest, OriginGroup};
use crate::config::model::Health;

/// The share of the interval by which a check may come early, so that the checks of many nodes do not fall together.
const JITTER_SHARE: u32 = 10;

/// Checks server `place` of `group` until `stop` becomes true, its sender is gone, or the group is dropped.
pub(super) async fn watch(
    group: Weak<OriginGroup>,
    place: usize,
    health: Health,
    mut stop: watch::Receiver<bool>,
) {
    let mut streak = Streak::default();
    let mut pause = up_to(health.interval);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(pause) => {}
        }
        let Some(group) = group.upgrade() else { return };
        let passed = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            passed = check(&group, place, &health) => passed,
        };
        apply(&group, place, &health, &mut streak, passed);
        pause = health.interval.saturating_sub(up_to(health.interval / JITTER_SHARE));
    }
}

/// Checks in a row with the same result.
#[derive(Default)]
struct Streak {
    passed: u32,
    failed: u32,
}

/// Takes one result in, and flips the server when the streak is long enough.
fn apply(
    group: &OriginGroup,
    place: usize,
    health: &Health,
    streak: &mut Streak,
    passed: Result<(), String>,
) {
    let Some(server) = group.servers.get(place) else { return };
    match passed {
        Ok(()) => {
            *streak = Streak { passed: streak.passed.saturating_add(1), failed: 0 };
            if streak.passed >= health.healthy_after && server.set_healthy(true) {
                tracing::info!(origin = %group.name, server = %server.authority, "origin server is healthy again");
            }
        }
        Err(reason) => {
            *streak = Streak { passed: 0, failed: streak.failed.saturating_add(1) };
            if streak.failed >= health.unhealthy_after && server.set_healthy(false) {
                tracing::warn!(origin = %group.name, server = %server.authority, %reason, "origin server is unhealthy");
            }
        }
    }
}

/// One check, on a connection of its own so that it also tells whether the server accepts any.
async fn check(group: &Arc<OriginGroup>, place: usize, health: &Health) -> Result<(), String> {
    let Some(server) = group.servers.get(place) else { return Ok(()) };
    let request = FetchRequest {
        method: Method::GET,
        path_and_query: &health.path,
        headers: HeaderMap::new(),
        reason: FetchReason::HealthCheck,
        hold: None,
    };
    let answer = exchange(server, &group.connector, &group.reach, &group.metrics, &request, Reuse::Fresh);
    match tokio::time::timeout(bounded(health.timeout), answer).await {
        Ok(Ok(answered)) if answered.header.status.is_success() => Ok(()),
        Ok(Ok(answered)) => Err(format!("status {}", answered.header.status.as_u16())),
        Ok(Err(error)) => {
            group.metrics.error(error.kind());
            Err(error.to_string())
        }
        Err(_elapsed) => Err("no answer in time".to_owned()),
    }
}

/// A timeout of nothing would fail every check.
fn bounded(timeout: Duration) -> Duration {
    timeout.max(Duration::from_millis(1))
}
