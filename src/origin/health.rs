//! Active health checks: a GET to every server of a group, again and again, and now and then a look at its certificate.
//!
//! Decides when a server counts as unhealthy and when as healthy again: by its status, what its body contains, and
//! whether there is a connection at all, which an expired certificate prevents. What follows from it is the group's decision
//! ([`super::OriginGroup`] prefers healthy servers and fails open). Runs as one task per server, started by
//! [`super::Origins::start_health_checks`].

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::sync::watch;

use super::certificate::Watch;
use super::exchange::{Answered, exchange};
use super::jitter::up_to;
use super::server::{Reuse, Server};
use super::{FetchReason, FetchRequest, OriginGroup};
use crate::asset::Kind;
use crate::config::model::Health;

/// The share of the interval by which a check may come early, so that the checks of many nodes do not fall together.
const JITTER_SHARE: u32 = 10;

/// Bytes of a body in which the text of `health.body` must be found.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Checks a server of `group` until it leaves it, `stop` becomes true, its sender is gone, or the group is dropped.
pub(super) async fn watch(
    group: Weak<OriginGroup>,
    server: Arc<Server>,
    health: Health,
    mut stop: watch::Receiver<bool>,
) {
    let mut streak = Streak::default();
    let mut pause = up_to(health.interval);
    let mut certificate = Watch::default();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(pause) => {}
        }
        let Some(group) = group.upgrade().filter(|group| group.members.holds(&server)) else { return };
        let passed = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            passed = check(&group, &server, &health) => passed,
        };
        if !group.members.holds(&server) {
            return;
        }
        apply(&group, &server, &health, &mut streak, passed);
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = certificate.look(&group, &server, &health) => {}
        }
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
    server: &Server,
    health: &Health,
    streak: &mut Streak,
    passed: Result<(), String>,
) {
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
async fn check(group: &Arc<OriginGroup>, server: &Server, health: &Health) -> Result<(), String> {
    let request = FetchRequest {
        method: Method::GET,
        path_and_query: &health.path,
        headers: HeaderMap::new(),
        reason: FetchReason::HealthCheck,
        hold: None,
        kind: Kind::Other,
        placement: 0,
        host: None,
        claims: None,
        conditions: None,
        cdn_loop: None,
    };
    let checked = async {
        let answer = exchange(server, &group.connector, &group.reach, &group.metrics, &request, Reuse::Fresh);
        let mut answered = answer.await.map_err(|error| {
            group.metrics.error(error.kind());
            error.to_string()
        })?;
        let status = answered.header.status.as_u16();
        if !health.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
            return Err(format!("status {status}"));
        }
        match &health.body {
            Some(text) => find(&mut answered, text.as_bytes()).await,
            None => Ok(()),
        }
    };
    match tokio::time::timeout(bounded(health.timeout), checked).await {
        Ok(result) => result,
        Err(_elapsed) => Err("no answer in time".to_owned()),
    }
}

/// Looks for `text` in the beginning of a body.
async fn find(answered: &mut Answered, text: &[u8]) -> Result<(), String> {
    let mut read = Vec::new();
    let finder = memchr::memmem::Finder::new(text);
    while read.len() < BODY_BYTES_MAX {
        let piece = answered.connection.session.read_response_body().await;
        let Some(piece) = piece.map_err(|error| format!("the body: {}", error.etype().as_str()))? else {
            break;
        };
        // What has been searched is searched again only as far as the text may begin in it.
        let from = read.len().saturating_sub(text.len() - 1);
        read.extend_from_slice(&piece[..piece.len().min(BODY_BYTES_MAX - read.len())]);
        if finder.find(&read[from..]).is_some() {
            return Ok(());
        }
    }
    Err("the body does not contain the text of health.body".to_owned())
}

/// A timeout of nothing would fail every check.
fn bounded(timeout: Duration) -> Duration {
    timeout.max(Duration::from_millis(1))
}
