//! Streams at once, and tokens that are good once: on one node, over two, and while Redis is away.

use std::time::{Duration, UNIX_EPOCH};

use forebay::clock::Clock;

use crate::support::edge::Edge;
use crate::support::entitled::{PATH, admits, by_session, by_subject, join, origin, refused, setup};
use crate::support::node::LocalNode;
use crate::support::redis::Redis;
use crate::support::signing::{KEY_HEX, now, sign};
use crate::support::wait::within;

/// Far more than a test takes, so that no session leaves its place by time.
const LONG: &str = "streams = 2\nstream_window = \"1h\"";

#[tokio::test]
async fn a_subject_has_so_many_streams_and_those_that_are_known_go_on() {
    let origin = origin().await;
    let edge = setup(&origin, LONG).start().await;
    let get =
        async |subject, session| admits(&edge.get(&by_subject(subject, session, None)).await, "too many");
    assert!(get("alice", "a").await && get("alice", "b").await);
    assert!(!get("alice", "c").await);
    assert!(get("alice", "a").await && get("alice", "b").await, "known ones go on");
    assert!(get("bob", "c").await, "another subject's");
    refused(&edge, "too_many_streams", 1.0).await;
    // The token's own number goes before the policy's.
    let third = edge.get(&by_subject("alice", "c", Some(3))).await;
    assert!(admits(&third, ""));
    assert!(!admits(&edge.get(&by_subject("alice", "d", Some(3))).await, "too many"));
    assert!(!admits(&edge.get(&by_subject("carol", "d", Some(0))).await, "too many"), "none at all");
    // Who has no subject is not limited.
    for session in ["e", "f", "g"] {
        assert!(admits(&edge.get(&by_session(session)).await, ""));
    }
    assert_eq!(edge.metrics().await.sum("forebay_token_stream_subjects", &[]), 2.0);
}

/// A format whose tokens have no subject has one by the claim that the policy names.
#[tokio::test]
async fn a_claim_that_the_policy_names_is_the_subject() {
    let origin = origin().await;
    let edge = setup(&origin, "subject = \"data\"\nstreams = 1\nstream_window = \"1h\"").start().await;
    let get = async |who: &str, session: &str| {
        let fields = format!("exp={}~acl=/*~id={session}~data={who}", now() + 3600);
        admits(&edge.get(&format!("/hdnts={}{PATH}", sign(KEY_HEX, &fields))).await, "too many")
    };
    assert!(get("alice", "a").await && get("bob", "b").await);
    assert!(!get("alice", "c").await);
    assert!(get("alice", "a").await);
}

/// With a clock that the test moves: the place of a session that has been silent for the window is free.
#[tokio::test]
async fn a_session_that_is_silent_for_the_window_leaves_its_place() {
    let origin = origin().await;
    let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(now()));
    let folder = tempfile::tempdir().unwrap();
    for (name, key) in
        [("k1.key", crate::support::signing::KEY_HEX), ("s1.key", crate::support::signing::OTHER_KEY_HEX)]
    {
        std::fs::write(folder.path().join(name), key).unwrap();
    }
    let policy = format!(
        "[token.viewer]\nformat = \"edgeauth\"\nkeys = [{{ id = \"k1\", secret_file = \"{0}/k1.key\" }}]\n\
         streams = 1\n[token.viewer.session]\nkeys = [{{ id = \"s1\", secret_file = \"{0}/s1.key\" }}]",
        folder.path().display()
    );
    let setup = crate::support::edge::Setup::before(&origin)
        .site("token = \"viewer\"\ncors = { origins = [\"*\"] }")
        .more(&policy);
    let node = LocalNode::start_at(&setup, clock.clone());
    let get = async |session| admits(&node.get(&by_subject("alice", session, None)).await, "too many");
    assert!(get("a").await);
    clock.advance(Duration::from_secs(20));
    assert!(!get("b").await);
    assert!(get("a").await, "it is noted again");
    clock.advance(Duration::from_secs(29));
    assert!(!get("b").await, "seen 29 seconds ago");
    clock.advance(Duration::from_secs(1));
    assert!(get("b").await, "silent for 30 seconds");
    assert!(!get("a").await);
    node.stop().await;
}

#[tokio::test]
async fn streams_are_counted_over_all_nodes() {
    let (origin, redis) = (origin().await, Redis::start().await);
    let (one, other) = (join(&origin, &redis, LONG).await, join(&origin, &redis, LONG).await);
    let get =
        async |edge: &Edge, session| admits(&edge.get(&by_subject("alice", session, None)).await, "too many");
    assert!(get(&one, "a").await && get(&other, "b").await);
    assert!(!get(&one, "c").await && !get(&other, "c").await);
    assert!(get(&other, "a").await && get(&one, "b").await, "known ones go on wherever they come to");
    refused(&one, "too_many_streams", 1.0).await;
    // What was decided is not asked again: within a third of the window the node knows it.
    let asked = one.metrics().await.sum("forebay_fleet_requests_total", &[("request", "stream")]);
    for _ in 0..5 {
        assert!(get(&one, "a").await);
    }
    let metrics = one.metrics().await;
    assert_eq!(metrics.sum("forebay_fleet_requests_total", &[("request", "stream")]), asked);
}

/// Waits until a node knows that Redis is away.
async fn is_away(edge: &Edge) {
    within("the node to notice", async {
        while edge.metrics().await.sum("forebay_fleet_up", &[]) != 0.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn while_redis_is_away_an_open_policy_counts_here_and_a_closed_one_refuses_what_is_new() {
    let origin = origin().await;
    for way in ["open", "closed"] {
        let mut redis = Redis::start().await;
        let policy = format!("{LONG}\nfleet_away = \"{way}\"");
        let (one, other) = (join(&origin, &redis, &policy).await, join(&origin, &redis, &policy).await);
        let get = async |edge: &Edge, session| {
            admits(&edge.get(&by_subject("alice", session, None)).await, "too many, or unavailable")
        };
        assert!(get(&one, "a").await && get(&other, "b").await);
        redis.kill();
        is_away(&one).await;
        assert!(get(&one, "a").await, "{way}: a session that is known goes on");
        let is_open = way == "open";
        assert_eq!(get(&one, "c").await, is_open, "{way}: a second one on this node");
        assert!(!get(&one, "d").await, "{way}: a third one");
        let metrics = one.metrics().await;
        let decided = if is_open { "here" } else { "refused" };
        assert_eq!(
            metrics.sum("forebay_token_fleet_away_total", &[("decided", decided)]),
            2.0 - f64::from(u8::from(is_open))
        );
        refused(
            &one,
            if is_open { "too_many_streams" } else { "unavailable" },
            if is_open { 1.0 } else { 2.0 },
        )
        .await;
        redis.start_again().await;
        for edge in [&one, &other] {
            edge.await_metric("forebay_fleet_up", &[], 1.0).await;
        }
        // Redis has lost what was there, and decides again; what this node has counted itself still counts.
        assert_eq!(get(&one, "e").await, !is_open, "{way}");
        assert!(get(&other, "f").await, "{way}");
    }
}

const ONCE: &str = "replay = \"once\"";

/// What the node knows of the signature does not admit the second request.
#[tokio::test]
async fn a_token_that_is_good_once_opens_one_request() {
    let origin = origin().await;
    let edge = setup(&origin, ONCE).start().await;
    let target = by_session("4711");
    assert!(admits(&edge.get(&target).await, ""));
    for _ in 0..3 {
        assert!(!admits(&edge.get(&target).await, "replayed"));
    }
    // The same token, written otherwise.
    let spelled = target.replace("hdnts=exp", "hdnts=%65xp").replace('~', "%7E");
    assert!(!admits(&edge.get(&spelled).await, "replayed"));
    let (start, mac) = target.split_once("hmac=").unwrap();
    let (mac, path) = mac.split_once('/').unwrap();
    let upper = format!("{start}hmac={}/{path}", mac.to_uppercase());
    assert_ne!(edge.get(&upper).await.status(), 200);
    assert!(admits(&edge.get(&by_session("4712")).await, ""), "another token");
    // The node's own tokens are for the rest of the stream.
    for _ in 0..3 {
        assert!(admits(&edge.get(&by_subject("alice", "4711", None)).await, ""));
    }
    assert_eq!(edge.metrics().await.sum("forebay_token_replays", &[]), 2.0);
}

#[tokio::test]
async fn a_token_that_is_good_once_is_so_for_all_nodes() {
    let (origin, redis) = (origin().await, Redis::start().await);
    let (one, other) = (join(&origin, &redis, ONCE).await, join(&origin, &redis, ONCE).await);
    for session in ["4711", "4712"] {
        let target = by_session(session);
        assert!(admits(&one.get(&target).await, ""));
        assert!(!admits(&other.get(&target).await, "replayed"));
        assert!(!admits(&one.get(&target).await, "replayed"));
    }
    refused(&other, "replayed", 2.0).await;
    let keys: Vec<String> = redis.ask(&["KEYS", "forebay:replay:*"]);
    assert_eq!(keys.len(), 2);
}

#[tokio::test]
async fn while_redis_is_away_an_open_policy_takes_a_token_once_on_each_node_and_a_closed_one_takes_none() {
    let origin = origin().await;
    for way in ["open", "closed"] {
        let mut redis = Redis::start().await;
        let policy = format!("{ONCE}\nfleet_away = \"{way}\"");
        let (one, other) = (join(&origin, &redis, &policy).await, join(&origin, &redis, &policy).await);
        let used = by_session("used");
        assert!(admits(&one.get(&used).await, ""));
        redis.kill();
        is_away(&one).await;
        is_away(&other).await;
        let is_open = way == "open";
        assert!(!admits(&one.get(&used).await, "replayed"), "{way}: this node knows it");
        assert_eq!(admits(&other.get(&used).await, "unavailable"), is_open, "{way}: the other does not");
        let fresh = by_session("fresh");
        assert_eq!(admits(&one.get(&fresh).await, "unavailable"), is_open, "{way}");
        assert!(!admits(&one.get(&fresh).await, "replayed, or unavailable"), "{way}");
        redis.start_again().await;
        one.await_metric("forebay_fleet_up", &[], 1.0).await;
        assert!(admits(&one.get(&by_session("after")).await, ""), "{way}");
    }
}
