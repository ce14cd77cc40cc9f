//! Small objects that nodes share through Redis: one request to the origin for all of them, the same age and freshness on
//! each, and viewers who notice nothing when Redis is away, slow, or holds what is no value.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use forebay::admission::revocation::Record;
use forebay::asset::Kind;
use forebay::clock::Clock;
use forebay::coalesce::fill::share::{Look, Mark, Shelf, Spot};
use forebay::fleet::share::{Purges, Share};
use forebay::fleet::{Fleet, Joining, Keeper, Watermark};
use forebay::key::Key;
use forebay::store::purges::tag_hash;
use forebay::store::{
    Accounts, Body, Lifetime, Object, Provenance, PurgeMode, PurgeTarget, Store, StoreMetrics,
};
use pingora::http::ResponseHeader;
use prometheus::Registry;
use serde_json::json;

use crate::support::client::{Request, Response, ask, get};
use crate::support::edge::{Edge, Setup};
use crate::support::node::LocalNode;
use crate::support::origin::{Answer, Origin};
use crate::support::redis::Redis;
use crate::support::wait::{Gate, eventually, within};

const RULES: &str =
    "[[site.rule]]\npath = '/api/*'\nshared = true\n[[site.rule]]\npath = '/live/*'\nshared = true\n";

/// Nodes of one fleet before an origin; a question to Redis may take as long as a slow machine needs.
fn setup(origin: &Origin, redis: &Redis, share: &str) -> Setup {
    let fleet =
        format!("[fleet]\nbus = '{}'\nshare = {{ timeout = '1s', wait = '20s'{share} }}", redis.url());
    Setup::before(origin).more(RULES).more(&fleet)
}

async fn nodes<const N: usize>(setup: &Setup) -> [Edge; N] {
    let mut nodes = Vec::new();
    for _ in 0..N {
        nodes.push(setup.start().await);
    }
    nodes.try_into().unwrap_or_else(|_| panic!("{N} nodes"))
}

async fn stored(edge: &Edge, count: f64) {
    edge.await_metric("forebay_share_writes_total", &[("result", "stored")], count).await;
}

async fn told(edge: &Edge, result: &str) -> f64 {
    edge.metrics().await.sum("forebay_share_requests_total", &[("result", result)])
}

/// The one value that there is.
fn value_key(redis: &Redis) -> String {
    let keys: Vec<String> = redis.ask(&["KEYS", "forebay:share:*"]);
    let keys: Vec<String> = keys.into_iter().filter(|key| !key.contains(":turn:")).collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    keys[0].clone()
}

fn scripts_called(redis: &Redis) -> u64 {
    let stats: String = redis.ask(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

fn seconds(response: &Response, name: &str) -> i64 {
    response
        .get(name)
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {response:?}"))
}

fn ttl(response: &Response) -> i64 {
    let status = response.get("cache-status").expect("Cache-Status");
    let ttl = status.split("; ").find_map(|part| part.strip_prefix("ttl="));
    ttl.and_then(|ttl| ttl.parse().ok()).unwrap_or_else(|| panic!("no ttl in {status}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_has_fetched_is_a_hit_on_the_others() {
    let (origin, redis) = (Origin::start().await, Redis::start().await);
    let answer = Answer::ok("{\"a\":1}").cache_control("max-age=600").header("age", "100").etag("\"v1\"");
    origin.on("/api/x", answer.header("x-more", "as it came").header("cache-tag", "news"));
    let [one, two, three] = nodes(&setup(&origin, &redis, "")).await;
    let first = one.get("/api/x?a=1").await;
    assert_eq!(first.outcome(), "miss");
    stored(&one, 1.0).await;
    for edge in [&two, &three] {
        let other = edge.get("/api/x?a=1").await;
        assert_eq!((other.status(), other.outcome(), other.whole()), (200, "hit", first.whole()));
        assert_eq!((other.get("etag"), other.get("x-more")), (Some("\"v1\""), Some("as it came")));
        let age = seconds(&other, "age");
        assert!((100..160).contains(&age), "{age}");
        assert!((500 - 60..=500).contains(&ttl(&other)), "{other:?}");
        assert_eq!(edge.get("/api/x?a=1").await.outcome(), "hit", "from its own memory");
        assert_eq!(told(edge, "hit").await, 1.0);
    }
    assert_eq!(origin.requests("/api/x"), 1);
    let key = value_key(&redis);
    let left: i64 = redis.ask(&["PTTL", &key]);
    assert!((1..=500_000).contains(&left), "it ends when nothing of it may be used: {left}");
    // Another key is another object.
    assert_eq!(two.get("/api/x?a=2").await.outcome(), "miss");
}

/// Each of the nodes asks while the origin holds the first request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_miss_at_once_make_one_request() {
    let (origin, redis) = (Origin::start().await, Redis::start().await);
    let playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:600\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n\
                    #EXT-X-MEDIA-SEQUENCE:4\n#EXTINF:2,\n4.ts\n#EXTINF:2,\n5.ts\n";
    let nodes: [Edge; 3] = nodes(&setup(&origin, &redis, "")).await;
    for path in ["/api/x", "/live/v.m3u8?_HLS_msn=5"] {
        let (gate, before) = (Gate::closed(), scripts_called(&redis));
        let held = Answer::ok(playlist).cache_control("max-age=600").hold(&gate);
        origin.on(path.split('?').next().unwrap_or(path), held);
        let asking: Vec<_> = nodes
            .iter()
            .map(|edge| {
                let http = edge.http();
                tokio::spawn(async move { get(http, path).await })
            })
            .collect();
        // Each has looked, and those that wait have looked again.
        eventually("all nodes to have looked", || scripts_called(&redis) >= before + 12).await;
        gate.open();
        let mut outcomes = Vec::new();
        for asked in asking {
            let response = asked.await.expect("an answer");
            assert_eq!(response.status(), 200);
            outcomes.push(response.outcome().to_owned());
        }
        outcomes.sort();
        assert_eq!(outcomes, ["hit", "hit", "miss"], "{path}");
        assert_eq!(origin.requests(path.split('?').next().unwrap_or(path)), 1, "{path}");
    }
}

/// Versions of a live playlist: each is fetched once, whichever node asks for it first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_version_of_a_live_playlist_is_fetched_once() {
    let (origin, redis) = (Origin::start().await, Redis::start().await);
    origin.script("/live/v.m3u8", |request, _| {
        let (_, number) = request.target.split_once("_HLS_msn=").expect("a reload");
        let last: u64 = number.parse().expect("a number");
        Answer::ok(format!(
            "#EXTM3U\n#EXT-X-TARGETDURATION:600\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n\
             #EXT-X-MEDIA-SEQUENCE:{last}\n#EXTINF:2,\n{last}.ts\n"
        ))
    });
    let nodes: [Edge; 2] = nodes(&setup(&origin, &redis, "")).await;
    for version in 5..15_usize {
        let path = format!("/live/v.m3u8?_HLS_msn={version}");
        let (first, second) = (&nodes[version % 2], &nodes[(version + 1) % 2]);
        let one = first.get(&path).await;
        assert_eq!(one.status(), 200);
        stored(first, ((version - 5) / 2 + 1) as f64).await;
        let other = second.get(&path).await;
        assert_eq!((other.outcome(), other.whole()), ("hit", one.whole()));
        assert_eq!(origin.requests("/live/v.m3u8"), version - 4);
    }
}

/// The clock of the second node is an hour behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn age_and_freshness_are_the_same_on_nodes_whose_clocks_differ() {
    let (origin, redis) = (Origin::start().await, Redis::start().await);
    let setup = setup(&origin, &redis, "");
    let answer = Answer::ok("{}").cache_control("max-age=600, stale-while-revalidate=60");
    origin.on("/api/x", answer.header("age", "100"));
    let now = SystemTime::now();
    let clocks = [now, now - Duration::from_secs(3600)].map(Clock::manual);
    let [one, two] = clocks.clone().map(|clock| LocalNode::start_at(&setup, clock));
    let first = get(one.http(), "/api/x").await;
    eventually("it to be written", || !redis.ask::<Vec<String>>(&["KEYS", "forebay:share:*"]).is_empty())
        .await;
    eventually("the turn to end", || redis.ask::<Vec<String>>(&["KEYS", "forebay:share:turn:*"]).is_empty())
        .await;
    let other = get(two.http(), "/api/x").await;
    assert_eq!(other.outcome(), "hit");
    let told = |response: &Response| (seconds(response, "age"), ttl(response));
    let (first, other) = (told(&first), told(&other));
    assert_eq!(first.0, 100);
    // What has passed by the clock of Redis counts; those of the nodes stand still.
    assert!((other.0 - first.0) < 60 && (first.1 - other.1) < 60, "{first:?} {other:?}");
    assert!(other.0 >= first.0 && other.1 <= first.1, "{first:?} {other:?}");
    assert_eq!(origin.requests("/api/x"), 1);
}

/// What is stale is served where it may be, and confirmed by the node that found it; the others have the confirmation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_value_is_served_and_confirmed() {
    let (origin, redis) = (Origin::start().await, Redis::start().await);
    let answer = |control: &str| Answer::ok("{\"a\":1}").etag("\"v1\"").cache_control(control);
    origin.on_each("/api/x", vec![answer("max-age=0, stale-while-revalidate=600"), answer("max-age=600")]);
    let [one, two, three] = nodes(&setup(&origin, &redis, "")).await;
    assert_eq!(one.get("/api/x").await.outcome(), "miss");
    stored(&one, 1.0).await;
    let stale = two.get("/api/x").await;
    assert_eq!((stale.outcome(), &stale.whole()[..]), ("hit_stale", &b"{\"a\":1}"[..]));
    assert_eq!(told(&two, "stale").await, 1.0);
    stored(&two, 1.0).await;
    assert_eq!(origin.last("/api/x").header("if-none-match"), Some("\"v1\""));
    assert_eq!(three.get("/api/x").await.outcome(), "hit");
    assert_eq!(origin.requests("/api/x"), 2);
    // What is newer takes the place of what the first one holds.
    let newer = one.get("/api/x").await;
    assert!(newer.outcome().starts_with("hit"), "{newer:?}");
    within("the newer one to be held", async {
        while one.get("/api/x").await.outcome() != "hit" {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert_eq!((told(&one, "hit").await, origin.requests("/api/x")), (1.0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_stands_in_for_an_origin_that_fails() {
    let (origin, redis) = (Origin::start().await, Redis::start().await);
    let good = Answer::ok("good").cache_control("max-age=0, stale-if-error=600");
    origin.on_each("/api/x", vec![good, Answer::status(503)]);
    let [one, two] = nodes(&setup(&origin, &redis, "")).await;
    assert_eq!(one.get("/api/x").await.status(), 200);
    stored(&one, 1.0).await;
    let other = two.get("/api/x").await;
    assert_eq!((other.status(), other.outcome(), &other.whole()[..]), (200, "hit_stale", &b"good"[..]));
    assert!(origin.requests("/api/x") > 1, "it was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_holds_whatever_stands_in_redis() {
    let (origin, redis) = (Origin::start().await, Redis::start().await);
    origin.script("/api/x", |_, count| {
        Answer::ok(format!("{count}")).cache_control("max-age=600").header("cache-tag", "news")
    });
    let edges: [Edge; 2] = nodes(&setup(&origin, &redis, "")).await;
    for (order, mode) in [(json!({ "tag": "news" }), "hard"), (json!({ "everything": true }), "soft")] {
        let (one, two) = (&edges[0], &edges[1]);
        let before = one.get("/api/x").await;
        eventually("a value", || redis.ask::<Vec<String>>(&["KEYS", "forebay:share:*"]).len() == 1).await;
        let mut order = order;
        order["mode"] = mode.into();
        let request = Request::new("POST", "/purge").body(order.to_string());
        assert_eq!(ask(two.admin(), &request).await.status(), 200);
        let after = two.get("/api/x").await;
        assert_eq!(after.outcome(), "miss");
        assert_ne!(after.whole(), before.whole());
    }
    assert!(told(&edges[1], "purged").await >= 1.0);
}

/// What a viewer's request has changed, by a node that then asks Redis, is not what was put there before, by its key or by
/// its group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_request_has_invalidated_does_not_come_back_from_redis() {
    let (origin, redis) = (Origin::start().await, Redis::start().await);
    for path in ["/api/x", "/api/y"] {
        origin.script(path, |request, count| {
            let answer = Answer::ok(format!("{count}")).cache_control("max-age=600");
            let answer = answer.header("cache-groups", "\"news\"");
            if request.method == "POST" {
                answer.header("cache-group-invalidation", "\"news\"")
            } else {
                answer
            }
        });
    }
    // Of the site, so before the rules.
    let fleet = format!("[fleet]\nbus = '{}'\nshare = {{ timeout = '1s', wait = '20s' }}", redis.url());
    let setup = Setup::before(&origin).site("methods = [\"GET\", \"POST\"]").more(RULES).more(&fleet);
    let [one, two] = nodes(&setup).await;
    for path in ["/api/x", "/api/y"] {
        one.get(path).await;
    }
    stored(&one, 2.0).await;
    assert_eq!(two.get("/api/x").await.outcome(), "hit");
    assert_eq!(one.ask(&Request::new("POST", "/api/x").body("change")).await.status(), 200);
    for path in ["/api/x", "/api/y"] {
        let after = one.get(path).await;
        assert_eq!(
            (after.outcome(), origin.requests(path)),
            ("miss", if path == "/api/x" { 3 } else { 2 }),
            "{path}"
        );
    }
    // What is put there afterwards is taken.
    stored(&one, 4.0).await;
    let ask = Request::new("POST", "/purge").body(json!({ "everything": true, "wait": "20s" }).to_string());
    assert_eq!(crate::support::client::ask(two.admin(), &ask).await.status(), 200);
    two.get("/api/x").await;
    stored(&two, 1.0).await;
    assert_eq!(one.get("/api/x").await.outcome(), "hit");
}

/// A stream begins anew: its old segments are in Redis still, under the names of its new ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stream_had_before_it_began_anew_does_not_come_back_from_redis() {
    let (origin, redis) = (Origin::start().await, Redis::start().await);
    let list = |from: u64, tags: &str| {
        let lines: String = (from..from + 3).map(|number| format!("#EXTINF:4,\nseg{number}.ts\n")).collect();
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{from}\n{tags}{lines}")
    };
    let segments = |round: &'static str| {
        origin.otherwise(move |_, _| Answer::ok(round).cache_control("max-age=600"));
    };
    origin.on("/live/v.m3u8", Answer::ok(list(100, "")));
    segments("old");
    let setup = setup(&origin, &redis, "");
    let clocks = [(); 2].map(|()| Clock::manual(SystemTime::now()));
    let nodes = clocks.clone().map(|clock| LocalNode::start_at(&setup, clock));
    for node in &nodes {
        node.get("/live/v.m3u8").await;
        for number in [0, 1] {
            assert_eq!(&node.get(&format!("/live/seg{number}.ts")).await.whole()[..], b"old");
        }
        eventually("the values", || redis.ask::<Vec<String>>(&["KEYS", "forebay:share:*"]).len() == 3).await;
    }
    origin.on("/live/v.m3u8", Answer::ok(list(0, "#EXT-X-DISCONTINUITY\n")));
    segments("new");
    // The clock of Redis stands, as it were.
    for key in redis.ask::<Vec<String>>(&["KEYS", "forebay:share:*"]) {
        if String::from_utf8_lossy(&redis.ask::<Vec<u8>>(&["GET", &key])).contains("#EXTM3U") {
            redis.ask::<i64>(&["DEL", &key]);
        }
    }
    for (node, clock) in nodes.iter().zip(clocks) {
        clock.advance(Duration::from_secs(5));
        node.get("/live/v.m3u8").await;
        for number in [0, 1] {
            assert_eq!(&node.get(&format!("/live/seg{number}.ts")).await.whole()[..], b"new", "{number}");
        }
    }
}

/// A node that was started after a value was put there uses it, unless anything was purged in between: it does not know what.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_uses_nothing_of_before_a_purge_that_was_told_before_its_start() {
    let (origin, redis) = (Origin::start().await, Redis::start().await);
    origin.on("/api/x", Answer::ok("x").cache_control("max-age=600"));
    let setup = setup(&origin, &redis, "");
    let one = setup.start().await;
    one.get("/api/x").await;
    stored(&one, 1.0).await;
    assert_eq!(setup.start().await.get("/api/x").await.outcome(), "hit");
    let request = Request::new("POST", "/purge").body(json!({ "everything": true }).to_string());
    assert_eq!(ask(one.admin(), &request).await.status(), 200);
    let late = setup.start().await;
    assert_eq!(late.get("/api/x").await.outcome(), "miss");
    assert_eq!(told(&late, "purged").await, 1.0);
}

/// Each of these is fetched by each node, and nothing of it is in Redis.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_for_all_is_not_shared() {
    let (origin, redis) = (Origin::start().await, Redis::start().await);
    let kept = || Answer::ok("x").cache_control("public, max-age=600");
    origin.on("/api/large", Answer::ok(vec![b'x'; 4097]).cache_control("max-age=600"));
    origin.on("/api/header", kept().header("x-long", &"y".repeat(40_000)));
    origin.on("/api/varies", kept().header("vary", "x-device"));
    origin.on("/api/cookie", kept().header("set-cookie", "a=1"));
    origin.on("/api/private", Answer::ok("x").cache_control("private, max-age=600"));
    origin.on("/api/authorized", kept());
    origin.on("/api/user/x", kept());
    origin.on("/elsewhere", kept());
    let user = "[[site.rule]]\npath = '/api/user/*'\nkey = { cookies = ['session'] }\n";
    let setup = Setup::before(&origin).more(user).more(RULES).more(&format!(
        "[fleet]\nbus = '{}'\nshare = {{ timeout = '1s', object_max = '4KiB' }}",
        redis.url()
    ));
    let [one, two] = nodes(&setup).await;
    let request = |path: &str| {
        let request = Request::get(path).header("cookie", "session=1");
        if path == "/api/authorized" { request.header("authorization", "Basic eDp5") } else { request }
    };
    for path in [
        "/api/large",
        "/api/header",
        "/api/varies",
        "/api/cookie",
        "/api/private",
        "/api/authorized",
        "/api/user/x",
        "/elsewhere",
    ] {
        for edge in [&one, &two] {
            let response = edge.ask(&request(path)).await;
            assert_eq!(response.status(), 200, "{path}");
            assert!(["miss", "bypass"].contains(&response.outcome()), "{path}: {response:?}");
        }
        assert!(origin.requests(path) >= 2, "{path}");
    }
    let keys: Vec<String> = redis.ask(&["KEYS", "forebay:share:*"]);
    assert!(keys.iter().all(|key| key.contains(":turn:")), "{keys:?}");
}

/// Nodes with other rules for the site share nothing, and do not take each other's place either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_other_rules_share_nothing() {
    let (origin, redis) = (Origin::start().await, Redis::start().await);
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nhttps://a.test/1.ts\n#EXT-X-ENDLIST\n";
    origin.on("/live/v.m3u8", Answer::ok(text).cache_control("max-age=600"));
    let plain = setup(&origin, &redis, "");
    let rules =
        "[[site.rule]]\npath = '/live/*'\nshared = true\nplaylist = { hosts = { 'a.test' = 'b.test' } }";
    let fleet = format!("[fleet]\nbus = '{}'\nshare = {{ timeout = '1s' }}", redis.url());
    let changed = Setup::before(&origin).more(rules).more(&fleet);
    let [one, other] = nodes(&plain).await;
    let [two, another] = nodes(&changed).await;
    one.get("/live/v.m3u8").await;
    two.get("/live/v.m3u8").await;
    stored(&one, 1.0).await;
    stored(&two, 1.0).await;
    let [plain, changed] = [other.get("/live/v.m3u8").await, another.get("/live/v.m3u8").await];
    assert_eq!((plain.outcome(), &plain.whole()[..]), ("hit", text.as_bytes()));
    assert_eq!(
        (changed.outcome(), &changed.whole()[..]),
        ("hit", text.replace("a.test", "b.test").as_bytes())
    );
    assert_eq!(origin.requests("/live/v.m3u8"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_value_is_a_miss_and_is_overwritten() {
    let (origin, redis) = (Origin::start().await, Redis::start().await);
    origin.on("/api/x", Answer::ok("x").cache_control("max-age=600"));
    let edges: [Edge; 6] = nodes(&setup(&origin, &redis, "")).await;
    edges[0].get("/api/x").await;
    stored(&edges[0], 1.0).await;
    let key = value_key(&redis);
    let length: usize = redis.ask(&["STRLEN", &key]);
    let damages: [Vec<Vec<&str>>; 5] = [
        vec![vec!["SETRANGE", &key, "90", "\u{1}\u{2}\u{3}"]],
        vec![vec!["SET", &key, "somebody else's"]],
        vec![vec!["SET", &key, ""]],
        vec![vec!["DEL", &key], vec!["RPUSH", &key, "a list"]],
        vec![vec!["SETRANGE", &key, "400000", "x"]],
    ];
    for (edge, damage) in edges[1..].iter().zip(damages) {
        for words in &damage {
            let _: redis::Value = redis.ask(words);
        }
        let response = edge.get("/api/x").await;
        assert_eq!(
            (response.status(), response.outcome(), &response.whole()[..]),
            (200, "miss", &b"x"[..]),
            "{damage:?}"
        );
        stored(edge, 1.0).await;
        assert_eq!(told(edge, "damaged").await, 1.0, "{damage:?}");
        assert_eq!(redis.ask::<usize>(&["STRLEN", &key]), length, "{damage:?}");
    }
}

/// Viewers get what the origin has, and no request waits for longer than the shared tier may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_notice_nothing_when_redis_is_away() {
    let (origin, mut redis) = (Origin::start().await, Redis::start().await);
    origin.otherwise(|_, _| Answer::ok("x").cache_control("max-age=600"));
    let fleet = format!("[fleet]\nbus = '{}'\nshare = {{ timeout = '200ms' }}", redis.url());
    let edge = Setup::before(&origin).more(RULES).more(&fleet).start().await;
    redis.pause();
    let begun = Instant::now();
    for number in 0..200 {
        assert_eq!(edge.get(&format!("/api/{number}")).await.outcome(), "miss");
    }
    // Had each waited once for its turn and once for its place, it had been so much longer.
    let taken = begun.elapsed();
    let away = told(&edge, "away").await;
    assert_eq!(away, 200.0);
    assert!(taken < Duration::from_millis(200) * 400, "{taken:?}");
    redis.kill();
    eventually("the node to notice", || edge.everything_written().contains("is away")).await;
    assert_eq!(edge.get("/api/killed").await.outcome(), "miss");
    redis.start_again().await;
    let mut number = 0;
    within("something to be shared again", async {
        while edge.metrics().await.sum("forebay_share_writes_total", &[("result", "stored")]) < 1.0 {
            number += 1;
            assert_eq!(edge.get(&format!("/api/again/{number}")).await.outcome(), "miss");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A node that has taken the turn and is killed keeps others for no longer than they wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_in_its_turn_does_not_stop_the_others() {
    let (origin, redis) = (Origin::start().await, Redis::start().await);
    let gate = Gate::closed();
    let answer = Answer::ok("x").cache_control("max-age=600");
    origin.on_each("/api/x", vec![answer.clone().hold(&gate), answer]);
    let fleet = format!("[fleet]\nbus = '{}'\nshare = {{ timeout = '1s', wait = '300ms' }}", redis.url());
    let [one, two] = nodes(&Setup::before(&origin).more(RULES).more(&fleet)).await;
    let _unanswered = one.open(&Request::get("/api/x")).await;
    eventually("the first to ask", || origin.requests("/api/x") == 1).await;
    one.kill().await;
    let response = two.get("/api/x").await;
    assert_eq!((response.status(), response.outcome()), (200, "miss"));
    gate.open();
}

/// What a node has taken in of the fleet's purges, as the test says it.
struct Told {
    applied: Mutex<Option<Watermark>>,
    /// Places of purges in the bus, and the generation of the store just before each was applied here.
    purges: Mutex<Vec<(Watermark, u64)>>,
    remembered_from: Watermark,
}

impl Purges for Told {
    fn watermark(&self) -> Option<Watermark> {
        *self.applied.lock().expect("a place")
    }

    fn generation_at(&self, place: Watermark) -> Option<u64> {
        let purges = self.purges.lock().expect("purges");
        let first = purges.iter().find(|(purge, _)| *purge > place).map(|(_, before)| *before);
        (place >= self.remembered_from).then(|| first.unwrap_or(u64::MAX))
    }
}

struct Nobody;

impl Keeper for Nobody {
    fn records(&self) -> Vec<Arc<Record>> {
        Vec::new()
    }

    fn merge(&self, _: Vec<Record>) {}
}

fn place(millis: u64) -> Watermark {
    Watermark { millis, sequence: 0 }
}

/// One node has applied a purge; another has not yet, and puts there what it has fetched meanwhile, which may be of before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_puts_there_that_has_not_applied_a_purge_yet_is_purged() {
    let redis = Redis::start().await;
    let metrics = StoreMetrics::new(&Registry::new()).expect("metrics");
    let store = Store::new(4 << 20, 10, Accounts::default(), None, Duration::ZERO, metrics);
    let before = store.generation();
    let target = PurgeTarget::Tag { site: None, tag: "news".to_owned() };
    store.purge(&target, PurgeMode::Hard).await.expect("no disk that could fail");
    let node = async |applied: Option<u64>| {
        let told = Arc::new(Told {
            applied: Mutex::new(applied.map(place)),
            purges: Mutex::new(vec![(place(7), before)]),
            remembered_from: place(3),
        });
        let text = format!(
            "[server]\nhttp = ['127.0.0.1:0']\n[fleet]\nbus = '{}'\nshare = {{ timeout = '1s' }}\n[origin.main]\n\
             servers = ['http://127.0.0.1:1']\n[[site]]\nhosts = ['*']\norigin = 'main'\n",
            redis.url()
        );
        let config =
            forebay::config::parse(&text, std::path::Path::new("forebay.toml")).expect("a configuration");
        let bus = config.fleet.bus.as_ref().expect("a bus");
        let runtime = tokio::runtime::Handle::current();
        let held = StoreMetrics::new(&Registry::new()).expect("metrics");
        let held = Store::new(4 << 20, 10, Accounts::default(), None, Duration::ZERO, held);
        let joining = Joining {
            name: None,
            digest: config.digest.clone(),
            tier: String::new(),
            // The store of a fleet lives as long as the process.
            store: Box::leak(Box::new(held)),
            has_disks: false,
            keeper: Arc::new(Nobody),
        };
        let fleet = Fleet::start(bus, joining, &Registry::new(), &runtime).expect("a fleet");
        eventually("the node to be connected", || fleet.away().is_none()).await;
        let purges = Arc::clone(&told) as Arc<dyn Purges>;
        (
            Share::new(fleet, config.fleet.share, purges, Clock::system(), &Registry::new()).expect("a tier"),
            told,
        )
    };
    let (behind, told) = node(Some(5)).await;
    let (ahead, _) = node(Some(7)).await;
    let spot = Spot { key: "s /api/x", rules: 1 };
    let object = || {
        let key = Key { hash: 1, text: spot.key.into() };
        let header = ResponseHeader::build(200, None).expect("a header");
        let body = Body::growing(None, None);
        body.append(Bytes::from_static(b"x"));
        body.finish();
        let provenance = Provenance { tags: [tag_hash("news")].into(), ..Provenance::default() };
        let lifetime = Lifetime::lasting(SystemTime::now(), Duration::from_secs(600));
        Object { provenance, ..Object::new(key, Kind::Other, header, lifetime, body.into()) }
    };
    let purged_there = async |seen| match ahead.look(spot, seen, Duration::from_secs(60)).await {
        Look::Found(shared) => {
            let provenance = Provenance { generation: shared.generation, ..object().provenance };
            (shared.stamp, store.is_purged(&Object { provenance, ..object() }))
        }
        other => panic!("{other:?}"),
    };
    let mark = behind.mark().expect("a mark");
    behind.put(spot, &object(), None, mark).await;
    let (stamp, purged) = purged_there(None).await;
    assert!(purged, "fetched by a node that had not applied the purge, after it");
    *told.applied.lock().expect("a place") = Some(place(7));
    behind.put(spot, &object(), None, behind.mark().expect("a mark")).await;
    let (stamp, purged) = purged_there(Some(stamp)).await;
    assert!(!purged, "fetched after the purge");
    behind.put(spot, &object(), None, Mark { place: (2, 0), at: Instant::now() }).await;
    let look = ahead.look(spot, Some(stamp), Duration::from_secs(60)).await;
    assert!(matches!(look, Look::Refused(_, forebay::coalesce::fill::share::Told::Purged)), "{look:?}");
    *told.applied.lock().expect("a place") = None;
    assert_eq!(behind.mark(), None, "what is not known is not shared");
}
