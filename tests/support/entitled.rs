//! Nodes whose site asks for tokens, and the tokens: what the tests of tokens that no longer hold stand on.

use std::net::SocketAddr;

use serde_json::Value;

use super::client::{Request, Response, ask};
use super::edge::{Edge, Setup};
use super::origin::{Answer, Origin};
use super::redis::Redis;
use super::signing::{KEY_HEX, OTHER_KEY_HEX, now, sign};

/// A path that every token here covers.
pub const PATH: &str = "/live/1.m4s";

/// An origin that answers everything, with what may be kept.
pub async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    origin
}

/// A node whose policy `viewer` has further lines, and that makes session tokens.
pub fn setup(origin: &Origin, policy: &str) -> Setup {
    Setup::before(origin)
        .site("token = \"viewer\"\ncors = { origins = [\"*\"] }")
        .more(&format!(
            "[token.viewer]\nformat = \"edgeauth\"\nkeys = [{{ id = \"k1\", secret_file = \"DIR/k1.key\" }}]\n{policy}\n\
             [token.viewer.session]\nkeys = [{{ id = \"s1\", secret_file = \"DIR/s1.key\" }}]"
        ))
        .file("k1.key", KEY_HEX)
        .file("s1.key", OTHER_KEY_HEX)
}

/// The same, as a member of a fleet. Redis has so long to answer that a busy machine never counts as one that is away.
pub fn member(origin: &Origin, redis: &Redis, policy: &str) -> Setup {
    setup(origin, policy).more(&format!("[fleet]\nbus = \"{}\"\ntimeout = \"10s\"", redis.url()))
}

/// Starts a member, and waits until it has reached Redis.
pub async fn join(origin: &Origin, redis: &Redis, policy: &str) -> Edge {
    let edge = member(origin, redis, policy).start().await;
    edge.await_metric("forebay_fleet_up", &[], 1.0).await;
    edge
}

/// A target with a token of a session.
pub fn by_session(session: &str) -> String {
    format!("/hdnts={}{PATH}", sign(KEY_HEX, &format!("exp={}~acl=/*~id={session}", now() + 3600)))
}

/// A target with a token as the node makes them for a subject: its session, and how many streams it may have.
pub fn by_subject(subject: &str, session: &str, streams: Option<u32>) -> String {
    let streams = streams.map_or(String::new(), |streams| format!("&n={streams}"));
    let fields = format!("exp={}~acl=/*~id={session}~data=sub={subject}{streams}", now() + 3600);
    format!("/hdntl={}{PATH}", sign(OTHER_KEY_HEX, &fields))
}

/// Whether a request is admitted; one that is not is refused as `reason` says, and as refusals are.
#[track_caller]
pub fn admits(response: &Response, reason: &str) -> bool {
    if response.status() == 200 {
        assert_eq!(response.whole(), "media");
        return true;
    }
    assert_denied(response, reason);
    assert!(!reason.is_empty(), "refused");
    false
}

/// That a request was refused as requests without a good token are: nobody may keep the answer, and any page may read it.
#[track_caller]
pub fn assert_denied(response: &Response, why: &str) {
    assert_eq!(response.status(), 403, "{why}");
    assert_eq!(response.outcome(), "denied", "{why}");
    assert!(response.get("cache-control").is_some_and(|value| value.contains("no-store")), "{why}");
    assert_eq!(response.get("access-control-allow-origin"), Some("*"), "{why}");
}

/// Requests that the node has refused for this reason.
pub async fn refused(edge: &Edge, reason: &str, count: f64) {
    let metrics = edge.await_metric("forebay_token_denied_total", &[("reason", reason)], count).await;
    assert_eq!(metrics.sum("forebay_token_denied_total", &[("reason", reason)]), count, "{reason}");
}

/// What the admin listener answers to a JSON document.
pub async fn post(admin: SocketAddr, path: &str, body: &Value) -> (u16, Value) {
    let response = ask(admin, &Request::new("POST", path).body(body.to_string())).await;
    (response.status(), serde_json::from_slice(&response.body).unwrap_or_default())
}

/// Revokes, and returns when the node has answered.
#[track_caller]
pub fn revoke(edge: &Edge, body: Value) -> impl Future<Output = Value> {
    let admin = edge.admin();
    async move {
        let (status, answer) = post(admin, "/tokens/revoke", &body).await;
        assert_eq!(status, 200, "{body}: {answer}");
        answer
    }
}
