//! Purges of a fleet: what one node is told is in force on all, whatever was away meanwhile, and who has not heard is named.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Http1, Request, ask, get};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::redis::Redis;
use crate::support::wait::{eventually, within};

/// Every path answers for an hour, tagged with its first folder, and may be used while the origin fails.
async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| {
        let folder = request.path().split('/').nth(1).unwrap_or_default().to_owned();
        Answer::ok("media").cache_control("max-age=3600, stale-if-error=3600").header("cache-tag", &folder)
    });
    origin
}

/// The same, with a switch that has it fail.
async fn failing_origin() -> (Origin, Arc<AtomicBool>) {
    let (origin, fails) = (Origin::start().await, Arc::new(AtomicBool::new(false)));
    let switch = Arc::clone(&fails);
    origin.otherwise(move |_, _| {
        if switch.load(Ordering::SeqCst) {
            return Answer::status(500);
        }
        Answer::ok("media").cache_control("max-age=3600, stale-if-error=3600").header("cache-tag", "a")
    });
    (origin, fails)
}

/// A node of this name.
fn member(origin: &Origin, redis: &Redis, name: &str, more: &str) -> Setup {
    Setup::before(origin)
        .more(&format!("[fleet]\nbus = \"{}\"\nname = \"{name}\"\ntimeout = \"10s\"\n{more}", redis.url()))
}

/// The same, which does not wait long for Redis.
fn quick(origin: &Origin, redis: &Redis, name: &str) -> Setup {
    Setup::before(origin).more(&format!("[fleet]\nbus = \"{}\"\nname = \"{name}\"", redis.url()))
}

async fn join(origin: &Origin, redis: &Redis, name: &str) -> Edge {
    here(member(origin, redis, name, "").start().await).await
}

/// Waits until a node has reached Redis.
async fn here(edge: Edge) -> Edge {
    edge.await_metric("forebay_fleet_up", &[], 1.0).await;
    edge
}

async fn away(edge: &Edge) {
    within("the node to notice that Redis is away", async {
        while edge.metrics().await.sum("forebay_fleet_up", &[]) != 0.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Purges over the admin listener; gives status and document.
async fn post(edge: &Edge, order: Value, key: Option<&str>) -> (u16, Value) {
    let mut request = Request::new("POST", "/purge");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let response = ask(edge.admin(), &request.body(order.to_string())).await;
    (response.status(), serde_json::from_slice(&response.body).unwrap())
}

/// Purges a tag; it is to be in force here.
async fn purge(edge: &Edge, tag: &str) -> Value {
    let (status, told) = post(edge, json!({ "tag": tag }), None).await;
    assert_eq!(status, 200, "{told}");
    told
}

async fn fleet_of(edge: &Edge) -> Value {
    serde_json::from_slice(&get(edge.admin(), "/api/fleet").await.body).unwrap()
}

async fn expired(edge: &Edge, reason: &str) -> f64 {
    edge.metrics().await.sum("forebay_fleet_expired_total", &[("reason", reason)])
}

async fn warm(edges: &[&Edge], paths: &[&str]) {
    for edge in edges {
        for path in paths {
            assert_eq!(edge.get(path).await.status(), 200);
            assert_eq!(edge.get(path).await.outcome(), "hit", "{path}");
        }
    }
}

/// Waits until as many purges of other nodes were applied.
async fn applied(edge: &Edge, count: f64) {
    edge.await_metric("forebay_fleet_purges_total", &[("direction", "applied")], count).await;
}

async fn all_hits(edge: &Edge, paths: &[&str]) {
    for path in paths {
        assert_eq!(edge.get(path).await.outcome(), "hit", "{path}");
    }
}

async fn no_hit(edge: &Edge, path: &str) {
    assert_ne!(edge.get(path).await.outcome(), "hit", "{path}");
}

/// Each way to ask, on either node, is in force on both; what is not named stays.
#[tokio::test]
async fn a_purge_on_one_node_is_in_force_on_all() {
    let (origin, redis) = (origin().await, Redis::start().await);
    let method = "[purge]\nmethod_from = [\"127.0.0.1\"]";
    let one = here(member(&origin, &redis, "one", method).start().await).await;
    let other = join(&origin, &redis, "other").await;
    let mut count = 0.0;
    for (order, named) in [
        (json!({ "url": "http://edge.test/a/1.m4s" }), "/a/1.m4s"),
        (json!({ "prefix": "http://edge.test/a/" }), "/a/2.m4s"),
        (json!({ "tag": "a", "mode": "hard" }), "/a/1.m4s"),
    ] {
        for (asked, told) in [(&one, &other), (&other, &one)] {
            warm(&[&one, &other], &["/a/1.m4s", "/a/2.m4s", "/b/1.m4s"]).await;
            let mut order = order.clone();
            order["wait"] = "20s".into();
            let (status, answer) = post(asked, order, None).await;
            assert_eq!((status, &answer["fleet"]["told"]), (200, &json!(true)), "{answer}");
            assert_eq!(answer["fleet"]["applied"], json!(["one", "other"]), "{answer}");
            assert_eq!(answer["fleet"]["missing"], json!([]), "{answer}");
            for edge in [asked, told] {
                no_hit(edge, named).await;
                all_hits(edge, &["/b/1.m4s"]).await;
            }
        }
        count += 1.0;
        applied(&one, count).await;
    }
    // The log of either says of the other's what it says of its own.
    let written = other.everything_written();
    let lines = written.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let audit: Vec<Value> = lines.filter(|line| line["target"] == "forebay::audit").collect();
    for (by, result) in [("admin", "purged"), ("fleet", "applied")] {
        let said = |what: &str| {
            let line = audit.iter().find(|line| line["by"] == by && line["what"] == what).expect(&written);
            assert_eq!((&line["result"], line["mode"].is_string()), (&json!(result), true), "{line}");
            (line["site"].clone(), line["named"].clone())
        };
        assert_eq!(said("url"), (json!("*"), json!("/a/1.m4s")));
        assert_eq!(said("prefix"), (json!("*"), json!("/a/")));
        assert_eq!(said("tag"), (Value::Null, json!("a")));
    }
    // The method on viewers' listeners.
    warm(&[&one, &other], &["/a/1.m4s"]).await;
    assert_eq!(one.ask(&Request::new("PURGE", "/a/1.m4s")).await.status(), 200);
    applied(&other, 4.0).await;
    no_hit(&other, "/a/1.m4s").await;
    let told = one.metrics().await.sum("forebay_fleet_purges_total", &[("direction", "told")]);
    assert_eq!(told, 4.0);
}

/// Redis is away: each node purges alone and says so. When it is back each applies what the others were asked, once: what is
/// fetched afterwards stays.
#[tokio::test]
async fn purges_while_redis_is_away_reach_the_others_when_it_is_back() {
    let (origin, mut redis) = (origin().await, Redis::start().await);
    let (one, other) = (join(&origin, &redis, "one").await, join(&origin, &redis, "other").await);
    redis.save();
    redis.kill();
    away(&one).await;
    away(&other).await;
    warm(&[&one, &other], &["/a/1", "/b/1", "/c/1"]).await;
    let told = purge(&one, "a").await;
    assert_eq!(told["fleet"]["told"], false, "{told}");
    assert!(told["fleet"]["reason"].as_str().unwrap().contains("when Redis is back"), "{told}");
    purge(&other, "b").await;
    no_hit(&one, "/a/1").await;
    all_hits(&other, &["/a/1", "/c/1"]).await;
    assert_eq!(one.metrics().await.sum("forebay_fleet_outbox_purges", &[]), 1.0);
    let ready = get(one.admin(), "/readyz").await;
    let report: Value = serde_json::from_slice(&ready.body).unwrap();
    assert_eq!(ready.status(), 200, "{report}");
    assert!(report["warnings"][0]["detail"].as_str().unwrap().contains("1 purges wait"), "{report}");
    redis.start_saved().await;
    applied(&one, 1.0).await;
    applied(&other, 1.0).await;
    no_hit(&one, "/b/1").await;
    no_hit(&other, "/a/1").await;
    warm(&[&one, &other], &["/a/1", "/b/1"]).await;
    // Both go on reading: what comes later is applied, and nothing is applied twice.
    purge(&one, "d").await;
    purge(&other, "e").await;
    applied(&one, 2.0).await;
    applied(&other, 2.0).await;
    for edge in [&one, &other] {
        all_hits(edge, &["/a/1", "/b/1", "/c/1"]).await;
        let metrics = edge.metrics().await;
        assert_eq!(metrics.sum("forebay_fleet_expired_total", &[]), 0.0, "nothing was lost");
        assert_eq!(metrics.sum("forebay_fleet_purges_total", &[("direction", "applied")]), 2.0);
        assert_eq!(metrics.sum("forebay_fleet_outbox_purges", &[]), 0.0);
    }
}

/// A node that was down reads what it missed before it serves; what nobody purged is a hit from its disk.
#[tokio::test]
async fn a_node_that_was_down_applies_what_it_missed_before_it_serves() {
    let (origin, redis) = (origin().await, Redis::start().await);
    let one = join(&origin, &redis, "one").await;
    let folder = tempfile::tempdir().unwrap();
    let setup = on_disk(&origin, &redis, "other", folder.path(), true);
    let other = here(setup.start().await).await;
    warm(&[&other], &["/a/1.m4s", "/b/1.m4s"]).await;
    other.stop().await;
    purge(&one, "a").await;
    let other = setup.start().await;
    assert_eq!(get(other.admin(), "/readyz").await.status(), 200);
    other.await_recovered().await;
    no_hit(&other, "/a/1.m4s").await;
    all_hits(&other, &["/b/1.m4s"]).await;
    assert_eq!(other.metrics().await.sum("forebay_fleet_expired_total", &[]), 0.0);
}

/// A node whose disk has a folder outside, and whose state has too.
fn on_disk(origin: &Origin, redis: &Redis, name: &str, folder: &std::path::Path, has_state: bool) -> Setup {
    let disk = folder.join("disk");
    std::fs::create_dir_all(&disk).unwrap();
    let state = if has_state { format!("state = {:?}", folder.join("state")) } else { String::new() };
    member(origin, redis, name, &state)
        .store(&format!("disk = [{{ path = {disk:?}, size = \"256MiB\" }}]\ndisk_admit_within = \"0s\""))
}

/// What a node with a disk has applied is not known without a state, with a damaged one, and after Redis has trimmed what it
/// missed: it expires all, and uses it while the origin fails.
#[tokio::test]
async fn a_node_that_cannot_know_what_it_missed_expires_everything() {
    let ((origin, fails), redis) = (failing_origin().await, Redis::start().await);
    let one = join(&origin, &redis, "one").await;
    for reason in ["unknown", "damaged", "missed"] {
        let folder = tempfile::tempdir().unwrap();
        let setup = on_disk(&origin, &redis, "other", folder.path(), reason != "unknown");
        let other = here(setup.start().await).await;
        warm(&[&other], &["/a/1.m4s", "/b/1.m4s"]).await;
        other.stop().await;
        if reason == "damaged" {
            std::fs::write(folder.path().join("state"), "forebay fleet 1\nrubbish\n").unwrap();
        }
        if reason == "missed" {
            purge(&one, "a").await;
            redis.ask::<i64>(&["XTRIM", "forebay:purges", "MAXLEN", "0"]);
        }
        let before = expired(&one, "").await;
        let other = here(setup.start().await).await;
        other.await_recovered().await;
        let word = if reason == "damaged" { "unknown" } else { reason };
        assert_eq!(expired(&other, word).await, 1.0, "{reason}");
        fails.store(true, Ordering::SeqCst);
        let kept = other.get("/b/1.m4s").await;
        assert_eq!(kept.status(), 200, "{reason}: it is kept for when the origin fails");
        assert_ne!(kept.outcome(), "hit", "{reason}");
        fails.store(false, Ordering::SeqCst);
        within("it to be asked for again", async {
            while other.get("/b/1.m4s").await.outcome() != "hit" {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        if reason == "damaged" {
            // It may have held purges that nobody else was told.
            warm(&[&one], &["/z/1"]).await;
            applied(&one, 1.0).await;
        }
        assert_eq!(expired(&one, "").await, before);
    }
    // The stream goes on for those that have missed nothing.
    assert_eq!(one.metrics().await.sum("forebay_fleet_expired_total", &[]), 0.0);
}

/// Redis forgets all it was told, by a restart or at once: nobody knows what others were told, so all expire all, once.
#[tokio::test]
async fn when_redis_loses_what_it_was_told_all_nodes_expire_everything() {
    let (origin, mut redis) = (origin().await, Redis::start().await);
    let (one, other) = (join(&origin, &redis, "one").await, join(&origin, &redis, "other").await);
    for round in 1..=2 {
        warm(&[&one, &other], &["/a/1", "/b/1"]).await;
        if round == 1 {
            redis.start_again().await;
        } else {
            redis.ask::<String>(&["FLUSHALL"]);
        }
        for edge in [&one, &other] {
            edge.await_metric("forebay_fleet_expired_total", &[("reason", "lost")], f64::from(round)).await;
            no_hit(edge, "/a/1").await;
        }
        // They share one stream again.
        here_both(&one, &other).await;
        warm(&[&one, &other], &["/a/1", "/b/1"]).await;
        let (status, told) = post(&one, json!({ "tag": "a", "wait": "30s" }), None).await;
        assert_eq!((status, &told["fleet"]["applied"]), (200, &json!(["one", "other"])), "{told}");
        no_hit(&other, "/a/1").await;
        all_hits(&other, &["/b/1"]).await;
    }
    assert_eq!(expired(&one, "lost").await, 2.0);
}

/// Waits until both nodes are listed, and have come equally far.
async fn here_both(one: &Edge, other: &Edge) {
    within("both nodes in the list", async {
        loop {
            let (told, too) = (fleet_of(one).await, fleet_of(other).await);
            let listed = told["nodes"].as_array().unwrap();
            if listed.len() == 2
                && told["epoch"] == too["epoch"]
                && listed.iter().all(|node| node["watermark"] == told["watermark"])
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Redis comes back with an older state than it had told: who had read further finds out, and has all expire all.
#[tokio::test]
async fn when_redis_goes_back_in_time_who_has_read_further_tells_the_others() {
    let (origin, mut redis) = (origin().await, Redis::start().await);
    let (one, other) = (join(&origin, &redis, "one").await, join(&origin, &redis, "other").await);
    redis.save();
    purge(&one, "a").await;
    applied(&other, 1.0).await;
    warm(&[&one, &other], &["/b/1"]).await;
    redis.start_saved().await;
    for edge in [&one, &other] {
        edge.await_metric("forebay_fleet_expired_total", &[("reason", "lost")], 1.0).await;
        no_hit(edge, "/b/1").await;
    }
}

/// A node that stands still is named, and so is one that only the list knows; both, where they come to themselves or are
/// forgotten, are waited for no more.
#[tokio::test]
async fn who_has_not_applied_a_purge_is_named() {
    let (origin, redis) = (origin().await, Redis::start().await);
    let (one, other) = (join(&origin, &redis, "one").await, join(&origin, &redis, "other").await);
    here_both(&one, &other).await;
    other.pause();
    let (status, told) = post(&one, json!({ "tag": "a", "wait": "3s" }), Some("k")).await;
    assert_eq!(status, 202, "{told}");
    let named = (&told["fleet"]["applied"], &told["fleet"]["missing"]);
    assert_eq!(named, (&json!(["one"]), &json!(["other"])), "{told}");
    let (status, said) = forebay_purge(&one, &["--tag", "b", "--wait=3s"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("applied by one\nnot applied by other\n"), "{said}");
    other.resume();
    // The same order again: no second purge, and how it stands now.
    let (status, again) = post(&one, json!({ "tag": "a", "wait": "30s" }), Some("k")).await;
    assert_eq!((status, &again["repeated"], &again["id"]), (200, &json!(true), &told["id"]), "{again}");
    assert_eq!(again["fleet"]["missing"], json!([]), "{again}");
    let (status, said) = forebay_purge(&one, &["--tag", "b", "--wait"]);
    assert_eq!(status, Some(0), "{said}");
    // A node that has left is not waited for.
    other.stop().await;
    let (status, told) = post(&one, json!({ "tag": "a", "wait": "30s" }), None).await;
    assert_eq!((status, &told["fleet"]["applied"]), (200, &json!(["one"])), "{told}");
    let now = redis.ask::<(i64, i64)>(&["TIME"]).0 * 1000;
    let ghost = r#"{"run":"r","epoch":"","watermark":"","config":"c","version":"v"}"#;
    for (seen, status) in [(now, 202), (now - 60_000, 200)] {
        redis.ask::<i64>(&["HSET", "forebay:nodes", "ghost", &format!("{seen} {ghost}")]);
        assert_eq!(post(&one, json!({ "tag": "a", "wait": "3s" }), None).await.0, status);
    }
}

/// Runs the command against a node.
fn forebay_purge(edge: &Edge, words: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_forebay"))
        .arg("purge")
        .args(words)
        .args(["--admin", &format!("http://{}", edge.admin())])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Purges that were answered while Redis was away outlive a kill, where there is a state.
#[tokio::test]
async fn what_waits_for_redis_outlives_a_kill() {
    let (origin, mut redis) = (origin().await, Redis::start().await);
    let other = join(&origin, &redis, "other").await;
    let folder = tempfile::tempdir().unwrap();
    let setup = member(&origin, &redis, "one", &format!("state = {:?}", folder.path().join("state")));
    let one = here(setup.start().await).await;
    redis.save();
    redis.kill();
    away(&one).await;
    away(&other).await;
    warm(&[&other], &["/a/1", "/b/1"]).await;
    assert_eq!(purge(&one, "a").await["fleet"]["told"], false);
    one.kill().await;
    // It serves without Redis, and says so.
    let one = setup.start().await;
    assert_eq!(one.metrics().await.sum("forebay_fleet_outbox_purges", &[]), 1.0);
    all_hits(&other, &["/a/1"]).await;
    redis.start_saved().await;
    applied(&other, 1.0).await;
    no_hit(&other, "/a/1").await;
    all_hits(&other, &["/b/1"]).await;
    within("an empty outbox", async {
        while one.metrics().await.sum("forebay_fleet_outbox_purges", &[]) != 0.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// More than the outbox holds: the others expire everything, so that nothing of it is missed.
#[tokio::test]
async fn a_full_outbox_becomes_a_purge_of_everything() {
    let (origin, mut redis) = (origin().await, Redis::start().await);
    let one = here(member(&origin, &redis, "one", "outbox = \"64KiB\"").start().await).await;
    let other = join(&origin, &redis, "other").await;
    redis.save();
    redis.kill();
    away(&one).await;
    away(&other).await;
    warm(&[&one, &other], &["/a/1"]).await;
    for count in 0..3 {
        let tags: Vec<String> = (0..40).map(|tag| format!("{count}-{tag}-{}", "t".repeat(900))).collect();
        assert_eq!(post(&one, json!({ "tag": tags }), None).await.0, 200);
    }
    all_hits(&one, &["/a/1"]).await;
    redis.start_saved().await;
    applied(&other, 1.0).await;
    within("everything to be expired", async {
        while other.get("/a/1").await.outcome() == "hit" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(one.everything_written().contains("fleet.outbox is full"));
    all_hits(&one, &["/a/1"]).await;
}

/// Many purges on two nodes at once: each applies all of the other, in whatever order.
#[tokio::test]
async fn nodes_that_purge_at_once_come_to_the_same() {
    let (origin, redis) = (origin().await, Redis::start().await);
    let (one, other) = (join(&origin, &redis, "one").await, join(&origin, &redis, "other").await);
    let paths: Vec<String> = (0..20).map(|count| format!("/{count}/1")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    warm(&[&one, &other], &paths).await;
    let half = |edge: &Edge, first: usize| {
        let address = edge.admin();
        async move {
            for tag in (first..20).step_by(2) {
                let order = json!({ "tag": tag.to_string() }).to_string();
                assert_eq!(ask(address, &Request::new("POST", "/purge").body(order)).await.status(), 200);
            }
        }
    };
    tokio::join!(half(&one, 0), half(&other, 1));
    applied(&one, 10.0).await;
    applied(&other, 10.0).await;
    here_both(&one, &other).await;
    for edge in [&one, &other] {
        for path in &paths {
            no_hit(edge, path).await;
        }
    }
}

/// An order with an id is done once, whichever node it comes to again; with another order the id is refused.
#[tokio::test]
async fn an_order_that_comes_again_is_answered_again_and_not_done_again() {
    let (origin, redis) = (origin().await, Redis::start().await);
    let (one, other) = (join(&origin, &redis, "one").await, join(&origin, &redis, "other").await);
    let (status, told) = post(&one, json!({ "tag": "a", "id": "cms-1" }), None).await;
    assert_eq!((status, told.get("repeated")), (200, None), "{told}");
    applied(&other, 1.0).await;
    warm(&[&one, &other], &["/a/1"]).await;
    for edge in [&one, &other] {
        let (status, again) = post(edge, json!({ "tag": "a" }), Some("\"cms-1\"")).await;
        assert_eq!((status, &again["repeated"]), (200, &json!(true)), "{again}");
        assert_eq!((&again["id"], &again["targets"]), (&told["id"], &told["targets"]));
        all_hits(edge, &["/a/1"]).await;
        let (status, refused) = post(edge, json!({ "tag": "b", "id": "cms-1" }), None).await;
        assert_eq!((status, &refused["reason"]), (409, &json!("id")), "{refused}");
    }
    assert_eq!(redis.ask::<i64>(&["XLEN", "forebay:purges"]), 2, "the beginning, and one purge");
    post(&one, json!({ "tag": "a", "id": "cms-2" }), None).await;
    applied(&other, 2.0).await;
    no_hit(&other, "/a/1").await;
}

/// Its sender has not waited for the slowest node, and sends it to another one, or the first node has died before it could
/// say what had become of it: what was fetched since stays.
#[tokio::test]
async fn an_order_that_comes_again_before_it_is_answered_is_not_done_again() {
    let (origin, redis) = (origin().await, Redis::start().await);
    let (one, other) = (join(&origin, &redis, "one").await, join(&origin, &redis, "other").await);
    let hung = join(&origin, &redis, "hung").await;
    one.await_metric("forebay_fleet_nodes", &[], 3.0).await;
    hung.pause();
    let order = json!({ "tag": "a", "wait": "30s" });
    let (first, second) = tokio::join!(post(&one, order, Some("k")), async {
        applied(&other, 1.0).await;
        let known = || redis.ask::<Vec<String>>(&["KEYS", "forebay:asked:*"]).pop();
        let answered = |key: &String| redis.ask::<String>(&["GET", key]).contains("\"status\":\"purged\"");
        eventually("it to be known what became of it", || known().is_some_and(|key| answered(&key))).await;
        warm(&[&other], &["/a/1"]).await;
        let second = post(&other, json!({ "tag": "a" }), Some("k")).await;
        all_hits(&other, &["/a/1"]).await;
        hung.resume();
        second
    });
    assert_eq!((first.0, &second.1["repeated"]), (200, &json!(true)), "{first:?} {second:?}");
    // As a node leaves it that is killed between the two.
    let id = first.1["id"].as_str().unwrap();
    let third = join(&origin, &redis, "third").await;
    let (status, told) = post(&one, json!({ "tag": "a" }), None).await;
    assert_eq!(status, 200);
    assert_ne!(told["id"], id);
    applied(&third, 1.0).await;
    let key = redis.ask::<Vec<String>>(&["KEYS", "forebay:asked:*"]).pop().unwrap();
    let mut said: Value = serde_json::from_str(&redis.ask::<String>(&["GET", &key])).unwrap();
    (said["id"], said["body"]) = (told["id"].clone(), Value::Null);
    redis.ask::<String>(&["SET", &key, &said.to_string()]);
    warm(&[&third], &["/a/1"]).await;
    let (status, again) = post(&third, json!({ "tag": "a" }), Some("k")).await;
    assert_eq!((status, &again["id"]), (200, &told["id"]), "{again}");
    all_hits(&third, &["/a/1"]).await;
}

/// Who asks does not wait as long as it takes: the order is done all the same, and is known when it comes again.
#[tokio::test]
async fn an_order_is_done_once_also_when_who_asked_has_left() {
    let (origin, redis) = (origin().await, Redis::start().await);
    let one = here(quick(&origin, &redis, "one").start().await).await;
    warm(&[&one], &["/a/1"]).await;
    redis.pause();
    let order = json!({ "tag": "a" });
    let mut leaves = Http1::connect(one.admin()).await;
    let asked = Request::new("POST", "/purge").header("idempotency-key", "cms-1").body(order.to_string());
    leaves.send(&asked).await;
    // Redis is waited for longer than this. On a machine that stands still the answer may be there all the same.
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(leaves);
    within("the purge", async {
        while one.get("/a/1").await.outcome() == "hit" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    redis.resume();
    warm(&[&one], &["/a/1"]).await;
    let (status, again) = post(&one, order, Some("cms-1")).await;
    assert_eq!((status, &again["repeated"]), (200, &json!(true)), "{again}");
    all_hits(&one, &["/a/1"]).await;
}

/// What a node of another version tells and this one does not understand is never passed over.
#[tokio::test]
async fn a_purge_that_does_not_read_purges_everything() {
    let (origin, redis) = (origin().await, Redis::start().await);
    let one = join(&origin, &redis, "one").await;
    warm(&[&one], &["/a/1"]).await;
    let told = fleet_of(&one).await;
    let (epoch, last) = (told["epoch"].as_str().unwrap(), told["watermark"].as_str().unwrap());
    let mut words = vec!["XADD", "forebay:purges", "*", "kind", "purge", "epoch", epoch, "prev", last];
    words.extend(["mode", "soft", "purge", "{\"by\":\"colour\"}"]);
    let at: String = redis.ask(&words);
    redis.ask::<i64>(&["HSET", "forebay:purge-state", "last", &at]);
    applied(&one, 1.0).await;
    no_hit(&one, "/a/1").await;
    assert_eq!(one.metrics().await.sum("forebay_fleet_expired_total", &[]), 0.0);
}

/// Nodes see who is there, how far, and whether they run the same configuration.
#[tokio::test]
async fn nodes_see_each_other_and_whether_their_configurations_differ() {
    let (origin, redis) = (origin().await, Redis::start().await);
    let (one, other) = (join(&origin, &redis, "one").await, join(&origin, &redis, "other").await);
    here_both(&one, &other).await;
    let told = fleet_of(&one).await;
    assert_eq!(
        (&told["node"], &told["bus"], &told["config_versions"]),
        (&json!("one"), &json!("here"), &json!(1))
    );
    assert_eq!(told["nodes"][0]["this"], true, "{told}");
    assert_eq!(told["nodes"][1]["name"], "other", "{told}");
    assert_eq!(told["nodes"][0]["config"], told["nodes"][1]["config"], "{told}");
    // A node of another tier has a configuration of its own, as it should.
    let lower = here(member(&origin, &redis, "lower", "").origin("tier = true").start().await).await;
    one.await_metric("forebay_fleet_nodes", &[], 3.0).await;
    let told = fleet_of(&one).await;
    let of = |name: &str| told["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name).cloned();
    assert_ne!(of("lower").unwrap()["config"], of("one").unwrap()["config"], "{told}");
    assert_eq!(
        (&of("lower").unwrap()["tier"], &told["config_versions"]),
        (&json!("main"), &json!(1)),
        "{told}"
    );
    lower.stop().await;
    let third = member(&origin, &redis, "third", "").site("encodings = [\"gzip\"]").start().await;
    one.await_metric("forebay_fleet_config_versions", &[], 2.0).await;
    one.await_said("nodes of one tier run different configurations").await;
    third.stop().await;
    one.await_said("all nodes of a tier run the same configuration").await;
    let alone = Setup::before(&origin).start().await;
    assert_eq!(fleet_of(&alone).await, json!({ "bus": "off" }));
    let lag = one.metrics().await.sum("forebay_fleet_watermark_seconds", &[]);
    assert!((0.0..60.0).contains(&lag), "{lag}");
}

/// Redis takes a purge and its answer does not come: it is told again, stands in the stream once, and is applied once.
#[tokio::test]
async fn a_purge_that_may_have_been_told_is_told_again_and_applied_once() {
    let (origin, redis) = (origin().await, Redis::start().await);
    let (one, other) =
        (here(quick(&origin, &redis, "one").start().await).await, join(&origin, &redis, "other").await);
    here_both(&one, &other).await;
    warm(&[&other], &["/a/1"]).await;
    redis.pause();
    let told = purge(&one, "a").await;
    assert_eq!(told["fleet"]["told"], false, "{told}");
    redis.resume();
    applied(&other, 1.0).await;
    no_hit(&other, "/a/1").await;
    one.await_metric("forebay_fleet_up", &[], 1.0).await;
    other.await_metric("forebay_fleet_up", &[], 1.0).await;
    // What comes later is told behind it.
    let (status, told) = post(&one, json!({ "tag": "b", "wait": "30s" }), None).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(redis.ask::<i64>(&["XLEN", "forebay:purges"]), 3, "the beginning, and two purges");
    applied(&other, 2.0).await;
    assert_eq!(one.metrics().await.sum("forebay_fleet_outbox_purges", &[]), 0.0);
}

/// A node with a disk starts while Redis is away: it serves, says so, and applies what it missed when it can. One without a
/// state expires all then.
#[tokio::test]
async fn a_node_that_starts_without_redis_serves_and_applies_what_it_missed_later() {
    let (origin, mut redis) = (origin().await, Redis::start().await);
    let one = join(&origin, &redis, "one").await;
    for has_state in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let setup = on_disk(&origin, &redis, "other", folder.path(), has_state);
        let other = here(setup.start().await).await;
        warm(&[&other], &["/a/1.m4s", "/b/1.m4s"]).await;
        other.stop().await;
        purge(&one, "a").await;
        redis.save();
        redis.kill();
        let other = setup.start().await;
        other.await_recovered().await;
        all_hits(&other, &["/a/1.m4s", "/b/1.m4s"]).await;
        let ready = get(other.admin(), "/readyz").await;
        let report: Value = serde_json::from_slice(&ready.body).unwrap();
        assert_eq!((ready.status(), &report["warnings"][0]["name"]), (200, &json!("fleet")), "{report}");
        redis.start_saved().await;
        let other = here(other).await;
        no_hit(&other, "/a/1.m4s").await;
        if has_state {
            all_hits(&other, &["/b/1.m4s"]).await;
        } else {
            no_hit(&other, "/b/1.m4s").await;
        }
        assert_eq!(expired(&other, "unknown").await, if has_state { 0.0 } else { 1.0 });
        one.await_metric("forebay_fleet_up", &[], 1.0).await;
    }
}

/// Two nodes of one name are told apart, and it is logged.
#[tokio::test]
async fn two_nodes_of_one_name_are_waited_for_both() {
    let (origin, redis) = (origin().await, Redis::start().await);
    let (one, other) = (join(&origin, &redis, "same").await, join(&origin, &redis, "same").await);
    let said = "two nodes have the same fleet.name";
    eventually("one of them to say so", || {
        (one.everything_written() + &other.everything_written()).contains(said)
    })
    .await;
    here_both(&one, &other).await;
    let (status, told) = post(&one, json!({ "tag": "a", "wait": "30s" }), None).await;
    assert_eq!((status, told["fleet"]["applied"].as_array().map(Vec::len)), (200, Some(2)), "{told}");
}
