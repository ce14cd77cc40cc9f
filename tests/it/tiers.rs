//! Tiers: nodes before nodes. The nearest to the origin decides what is shared, the one that the viewer comes to decides
//! about the viewer, and nobody takes a viewer for a node.

mod loops;
mod passing;
mod trust;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use forebay::clock::Clock;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;
use tokio::task::JoinSet;

use crate::support::client::{self, Request, Response, ask};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Port, Setup, await_metric};
use crate::support::node::LocalNode;
use crate::support::origin::{Answer, Origin, Recorded};
use crate::support::redis::Redis;
use crate::support::signing::{KEY_HEX, now, valid};
use crate::support::wait::Gate;

/// What the nodes of these tests share.
const SECRET: &str = "a-secret-of-nodes-0123456789abcdef";

const OTHER_SECRET: &str = "another-secret-0123456789abcdefghij";

/// The node of this name, which shares the key.
fn named(setup: Setup, name: &str) -> Setup {
    setup
        .more(&format!("[fleet]\nname = \"{name}\"\nkeys = [{{ id = \"n1\", secret_file = \"DIR/nodes\" }}]"))
        .file("nodes", SECRET)
}

/// A node before this origin.
fn shield(origin: &Origin) -> Setup {
    named(Setup::before(origin), "shield")
}

/// A node before the one that listens here.
fn behind(server: SocketAddr) -> Setup {
    Setup::with_servers(&[format!("http://{server}")]).origin("tier = true")
}

fn standing_clock() -> Clock {
    Clock::manual(SystemTime::now())
}

/// The members of a list that may stand in several lines.
fn members(response: &Response, name: &str) -> Vec<String> {
    let lines = response.head.headers.iter().filter(|(n, _)| n == name);
    lines.flat_map(|(_, line)| line.split(", ")).map(str::to_owned).collect()
}

/// A parameter of the last member of `Cache-Status`: that of the node that was asked.
fn last(response: &Response, parameter: &str) -> String {
    let members = members(response, "cache-status");
    let member = members.last().unwrap_or_else(|| panic!("no Cache-Status in {response:?}"));
    let found = member.split("; ").find_map(|part| part.strip_prefix(parameter)?.strip_prefix('='));
    found.unwrap_or_default().to_owned()
}

/// `CDN-Loop` as the origin has received it, all lines of it.
fn cdn_loop(request: &Recorded) -> String {
    let lines = request.headers.iter().filter(|(name, _)| name == "cdn-loop").map(|(_, line)| line.as_str());
    lines.collect::<Vec<_>>().join(", ")
}

fn outcome(response: &Response) -> String {
    last(response, "detail")
}

fn age(response: &Response) -> u64 {
    response.get("age").and_then(|age| age.parse().ok()).expect("an age")
}

/// A hop field made by the published format alone.
fn hop(secret: &str, key: &str, time: u64, said: &str, request: (&str, &str, &str)) -> String {
    hop_as("edge", secret, (key, time, said), request)
}

/// The same, of a node of this role.
fn hop_as(
    role: &str,
    secret: &str,
    (key, time, said): (&str, u64, &str),
    (method, host, target): (&str, &str, &str),
) -> String {
    let text = format!("v1;k={key};t={time};r={role};n=edge-1;d=1{said}");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key length");
    mac.update(format!("forebay hop\n{method}\n{host}\n{target}\n{text}\n").as_bytes());
    format!("{text};s={}", hex::encode(mac.finalize().into_bytes()))
}

const POLICY: &str =
    "[token.viewer]\nformat = \"edgeauth\"\nkeys = [{ id = \"k1\", secret_file = \"DIR/k1.key\" }]";

/// Viewers need a token.
fn protected(setup: Setup) -> Setup {
    setup.site("token = \"viewer\"\ncors = { origins = [\"*\"] }").more(POLICY).file("k1.key", KEY_HEX)
}

async fn purge(node: &LocalNode, order: serde_json::Value) {
    let response = ask(node.admin(), &Request::new("POST", "/purge").body(order.to_string())).await;
    assert_eq!(response.status(), 200, "{order}");
}

/// Three edges with crowds before them are one request to the origin, and every viewer gets every byte.
#[tokio::test]
async fn many_edges_are_one_request_to_the_origin() {
    let (origin, body, gate) = (Origin::start().await, content(7, 700_001), Gate::closed());
    origin.on("/v/1.m4s", Answer::ok(body.clone()).cache_control("max-age=60").gate_at(200_000, &gate));
    let shield = LocalNode::start(&shield(&origin), 0);
    let edges: Vec<LocalNode> = (0..3)
        .map(|place| LocalNode::start(&named(behind(shield.http()), &format!("edge-{place}")), 0))
        .collect();
    let mut viewers = JoinSet::new();
    for place in 0..24 {
        let address = edges[place % 3].http();
        viewers.spawn(async move { client::get(address, "/v/1.m4s").await });
    }
    origin.await_requests("/v/1.m4s", 1).await;
    gate.open();
    while let Some(response) = viewers.join_next().await {
        let response = response.expect("a viewer");
        assert_eq!(response.status(), 200);
        assert_same_bytes(response.whole(), &body, "a viewer");
    }
    assert_eq!(origin.requests("/v/1.m4s"), 1);
    let sent = origin.last("/v/1.m4s");
    assert_eq!(sent.header("forebay-hop"), None, "the origin is no node");
    assert!(cdn_loop(&sent).ends_with(", shield"), "{sent:?}");
    let metrics = await_metric(shield.admin(), "forebay_hop_requests_total", &[("role", "edge")], 3.0).await;
    assert_eq!(metrics.sum("forebay_hop_refused_total", &[]), 0.0);
    assert_eq!(metrics.sum("forebay_viewers", &[]), 0.0, "the edges have counted them");
    for node in edges.into_iter().chain([shield]) {
        node.stop().await;
    }
}

/// What an edge that came late gets is as old as it is, and ends when it would have ended next to the origin. Rules of lower
/// tiers make it no longer, and viewers see nothing of what nodes tell each other.
#[tokio::test]
async fn an_object_ends_at_every_tier_when_it_ends_at_the_first() {
    let origin = Origin::start().await;
    let answer = || Answer::ok("body").cache_control("max-age=100").header("age", "10").etag("\"1\"");
    origin.on("/a.bin", answer().header("surrogate-key", "a"));
    let clock = standing_clock();
    let longer = "[[site.rule]]\npath = \"/*\"\nttl = \"1h\"";
    let first = LocalNode::start_at(&shield(&origin), clock.clone());
    let second = LocalNode::start_at(&named(behind(first.http()).more(longer), "middle"), clock.clone());
    let third = LocalNode::start_at(&named(behind(second.http()).more(longer), "edge"), clock.clone());
    clock.advance(Duration::from_secs(1));
    let response = third.get("/a.bin").await;
    assert_eq!((age(&response), last(&response, "ttl")), (10, "90".to_owned()));
    clock.advance(Duration::from_secs(30));
    let late = LocalNode::start_at(&named(behind(second.http()).more(longer), "late"), clock.clone());
    for node in [&first, &second, &third, &late] {
        let response = node.get("/a.bin").await;
        assert_eq!((age(&response), last(&response, "ttl")), (40, "60".to_owned()), "{:?}", response.head);
        for name in ["forebay-ttl", "forebay-tags", "cdn-cache-control", "surrogate-key"] {
            assert_eq!(response.get(name), None);
        }
        assert_eq!(response.get("cache-control"), Some("max-age=100"), "the origin's word to browsers");
    }
    clock.advance(Duration::from_millis(59_900));
    for node in [&third, &late] {
        assert_eq!(outcome(&node.get("/a.bin").await), "hit");
    }
    assert_eq!(origin.requests("/a.bin"), 1);
    clock.advance(Duration::from_millis(200));
    let response = third.get("/a.bin").await;
    assert_ne!(outcome(&response), "hit");
    assert_eq!((origin.requests("/a.bin"), last(&response, "ttl")), (2, "90".to_owned()));
    for node in [third, late, second, first] {
        node.stop().await;
    }
}

/// Times below a second come through as they are: playlists of low latency live on them.
#[tokio::test]
async fn a_playlist_that_is_fresh_for_half_a_second_is_fresh_for_what_is_left_of_it() {
    let origin = Origin::start().await;
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:5\n#EXTINF:1,\n5.ts\n";
    origin.on("/live/v.m3u8", Answer::ok(text));
    let clock = standing_clock();
    let shield = LocalNode::start_at(&shield(&origin), clock.clone());
    let edge = LocalNode::start_at(&named(behind(shield.http()), "edge"), clock.clone());
    shield.get("/live/v.m3u8").await;
    clock.advance(Duration::from_millis(300));
    assert_eq!(outcome(&edge.get("/live/v.m3u8").await), "miss");
    clock.advance(Duration::from_millis(190));
    assert_eq!(outcome(&edge.get("/live/v.m3u8").await), "hit");
    assert_eq!(origin.requests("/live/v.m3u8"), 1);
    clock.advance(Duration::from_millis(20));
    assert_ne!(outcome(&edge.get("/live/v.m3u8").await), "hit");
    edge.stop().await;
    shield.stop().await;
}

/// An edge whose shield serves what is stale does not make it fresh again, and ends with it.
#[tokio::test]
async fn what_is_stale_at_the_shield_is_stale_at_the_edge() {
    let origin = Origin::start().await;
    let whole = Answer::ok("one").cache_control("max-age=10, stale-if-error=50").etag("\"1\"");
    origin.on_each("/a.bin", vec![whole, Answer::status(503)]);
    let clock = standing_clock();
    let shield = LocalNode::start_at(&shield(&origin), clock.clone());
    let edge = LocalNode::start_at(&named(behind(shield.http()), "edge"), clock.clone());
    let late = LocalNode::start_at(&named(behind(shield.http()), "late"), clock.clone());
    edge.get("/a.bin").await;
    clock.advance(Duration::from_secs(30));
    for node in [&edge, &late, &edge, &late] {
        let asked = origin.requests("/a.bin");
        let response = node.get("/a.bin").await;
        assert_eq!((response.status(), age(&response)), (200, 30), "{:?}", response.head);
        assert!(last(&response, "ttl").parse::<i64>().is_ok_and(|ttl| ttl <= 0), "{:?}", response.head);
        assert!(origin.requests("/a.bin") > asked, "each has it asked for again");
    }
    clock.advance(Duration::from_secs(31));
    for node in [&edge, &late] {
        assert_eq!(node.get("/a.bin").await.status(), 503, "its time is over everywhere");
    }
    for node in [edge, late, shield] {
        node.stop().await;
    }
}

/// Tags that viewers never see are known at the edge: a purge by tag there names what has come through the shield, also
/// after the shield has only confirmed it.
#[tokio::test]
async fn tags_reach_the_edge() {
    let origin = Origin::start().await;
    let whole =
        Answer::ok("one").cache_control("max-age=60").etag("\"1\"").header("cache-tag", "news, sport");
    origin.on("/a.bin", whole);
    origin.on("/b.bin", Answer::ok("other").cache_control("max-age=600"));
    let clock = standing_clock();
    let shield = LocalNode::start_at(&shield(&origin), clock.clone());
    let edge = LocalNode::start_at(&named(behind(shield.http()), "edge"), clock.clone());
    edge.get("/b.bin").await;
    for confirmed in [false, true] {
        edge.get("/a.bin").await;
        if confirmed {
            clock.advance(Duration::from_secs(61));
            assert_eq!(outcome(&edge.get("/a.bin").await), "hit_revalidated");
        }
        assert_eq!(outcome(&edge.get("/a.bin").await), "hit");
        purge(&edge, json!({ "tag": "sport", "mode": "hard" })).await;
        assert_eq!(outcome(&edge.get("/a.bin").await), "miss");
        assert_eq!(outcome(&edge.get("/b.bin").await), "hit");
    }
    edge.stop().await;
    shield.stop().await;
}

/// `Cache-Status` and `Via` have a member for each node, the nearest to the origin first; a hit keeps those that the object
/// came with.
#[tokio::test]
async fn every_node_adds_itself_behind_the_one_before_it() {
    let origin = Origin::start().await;
    origin.on("/a.bin", Answer::ok("body").cache_control("max-age=60"));
    let shield = LocalNode::start(&shield(&origin), 0);
    let edge = LocalNode::start(&named(behind(shield.http()), "7.edge"), 0);
    shield.get("/a.bin").await;
    for word in ["miss", "hit"] {
        let response = edge.get("/a.bin").await;
        let status = members(&response, "cache-status");
        assert_eq!(status.len(), 2, "{status:?}");
        assert!(status[0].starts_with("shield; hit; ttl="), "{status:?}");
        assert!(status[1].starts_with("\"7.edge\"; ") && status[1].ends_with(word), "{status:?}");
        assert_eq!(members(&response, "via").last().map(String::as_str), Some("1.1 7.edge"));
    }
    assert_eq!(origin.last("/a.bin").header("via"), Some("1.1 shield"));
    edge.stop().await;
    shield.stop().await;
}

/// Over HTTP/2 a node is known as over HTTP/1.1, whichever way the request takes; so is a viewer.
#[tokio::test]
async fn a_node_is_known_over_http2() {
    let origin = Origin::start().await;
    origin
        .otherwise(|request, _| Answer::ok(format!("{} media", request.method)).cache_control("max-age=60"));
    let open = |setup: Setup| protected(setup).site("methods = [\"GET\", \"HEAD\", \"POST\"]");
    let shield = open(shield(&origin)).server("h2c = true").start().await;
    let edge = open(named(behind(shield.http()).origin("http2 = true"), "edge")).start().await;
    let of = |path: &str| format!("{path}?b=2&a=%2F&hdnts={}", valid("/live/*"));
    for (request, body) in [
        (Request::get(&of("/live/1.m4s")), "GET media"),
        (Request::get(&of("/live/1.key")), "GET media"),
        (Request::new("POST", &of("/live/1")).body("x"), "POST media"),
    ] {
        let request = request.host("Edge.Test:8443").header("connection", "cdn-loop, forebay-hop");
        let request = request.header("forebay-ttl", "9").header("cdn-cache-control", "max-age=9");
        let response = edge.ask(&request).await;
        assert_eq!(
            (response.status(), response.whole().as_ref()),
            (200, body.as_bytes()),
            "{}",
            request.target
        );
        let sent = origin.recorded().pop().expect("a request");
        assert_eq!(cdn_loop(&sent), "edge, shield");
        assert!(sent.header("forebay-ttl").is_none() && sent.header("forebay-hop").is_none());
    }
    let metrics = shield.metrics().await;
    assert_eq!(metrics.sum("forebay_hop_requests_total", &[("role", "edge")]), 3.0);
    assert_eq!(metrics.sum("forebay_hop_refused_total", &[]), 0.0);
}

/// A rule may ask for fields that say how a node is to answer: those stay between the viewer and the node that he came to, and so
/// does his token. What else a condition asks for is told.
#[tokio::test]
async fn conditions_do_not_steer_what_nodes_ask_of_each_other() {
    let (origin, body) = (Origin::start().await, content(3, 5_000));
    let answer = Answer::ok(body.clone()).etag("\"1\"").cache_control("max-age=60").ranges();
    origin.otherwise(move |_, _| answer.clone());
    let rule = |field: &str| {
        format!(
            "[[site.rule]]\npath = \"/live/{field}/*\"\nrequest_headers = {{ {field} = \"*\" }}\nttl = \"50s\"\n"
        )
    };
    let rules: String = ["range", "if-none-match", "cookie", "cache-control"].map(rule).concat();
    let with = |setup: Setup| {
        let setup = setup.site("token = \"viewer\"").more(&rules).more(POLICY);
        setup.file("k1.key", KEY_HEX)
    };
    let shield = named(with(Setup::before(&origin)), "shield").start().await;
    let edge = named(with(behind(shield.http())), "edge").start().await;
    let token = valid("/live/*");
    let of = |path: &str| format!("{path}?hdnts={token}");
    let part = edge.ask(&Request::get(&of("/live/range/1.m4s")).range("bytes=1000-1999")).await;
    assert_eq!(part.status(), 206);
    assert_same_bytes(part.whole(), &body[1000..2000], "a part");
    let other = Request::get(&of("/live/if-none-match/1.m4s")).header("if-none-match", "\"1\"");
    assert_eq!(edge.ask(&other).await.status(), 304);
    let other = Request::get(&of("/live/if-none-match/1.m4s")).header("if-none-match", "\"2\"");
    let whole = edge.ask(&other).await;
    assert_same_bytes(whole.whole(), &body, "the whole");
    let other = Request::get(&of("/live/cache-control/1.m4s")).header("cache-control", "no-cache");
    assert_eq!(edge.ask(&other).await.status(), 200, "no rule has it obeyed");
    let cookie = format!("hdnts={token}; theme=dark");
    let response = edge.ask(&Request::get("/live/cookie/1.m4s").header("cookie", &cookie)).await;
    assert_same_bytes(response.whole(), &body, "the whole");
    assert!(last(&response, "ttl").parse::<u64>().is_ok_and(|ttl| ttl <= 50), "the rule holds at the shield");
    assert_eq!(shield.metrics().await.sum("forebay_hop_refused_total", &[]), 0.0);
}

/// Two edges that share keys before two shields that do: each object is one request to the origin, through each node once at most,
/// and lives as long as its origin has said wherever it is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiers_of_peers_before_tiers_of_peers() {
    let origin = Origin::start().await;
    let answer = |path: &str| Answer::ok(content(path.len() as u64, 30_000));
    origin.otherwise(move |request, _| {
        answer(request.path()).cache_control("max-age=1000").header("age", "10").etag("\"1\"")
    });
    let ports: Vec<Port> = (0..4).map(|_| Port::reserve()).collect();
    let url = |place: usize| format!("http://{}", ports[place].address);
    let node = |setup: Setup, place: usize, peers: [usize; 2]| {
        let fleet = format!(
            "[fleet]\nname = \"node-{place}\"\nkeys = [{{ id = \"n1\", secret_file = \"DIR/nodes\" }}]\n\
             peers = {:?}\nhot = {{ requests = 1 }}",
            peers.map(url)
        );
        let setup = setup.site("methods = [\"GET\", \"HEAD\", \"POST\"]");
        protected(setup).http(ports[place].address).file("nodes", SECRET).more(&fleet)
    };
    let mut nodes = Vec::new();
    for place in [2, 3] {
        nodes.push(node(Setup::before(&origin), place, [2, 3]).start().await);
    }
    for place in [0, 1] {
        let shields = Setup::with_servers(&[url(2), url(3)]).origin("tier = true\nbalance = \"owner\"");
        nodes.push(node(shields, place, [0, 1]).start().await);
    }
    let edges = &nodes[2..];
    let token = valid("/live/*");
    for number in 0..10 {
        let path = format!("/live/{number}.m4s");
        for edge in edges {
            for _ in 0..2 {
                let request = Request::get(&format!("{path}?hdnts={token}")).header("cdn-loop", "front");
                let response = edge.ask(&request).await;
                assert_eq!(response.status(), 200, "{response:?}");
                assert_same_bytes(response.whole(), &content(path.len() as u64, 30_000), &path);
                let (age, ttl) = (age(&response), last(&response, "ttl").parse::<u64>().expect("a ttl"));
                assert!((10..=200).contains(&age) && (800..=990).contains(&ttl), "{age} {ttl}");
                for told in ["forebay-ttl", "forebay-tags", "forebay-hop", "cdn-cache-control"] {
                    assert_eq!(response.get(told), None);
                }
                let said = members(&response, "cache-status");
                assert!((2..=4).contains(&said.len()), "{said:?}");
            }
        }
        assert_eq!(origin.requests(&path), 1, "{path}");
        let way = cdn_loop(&origin.last(&path));
        let mut names: Vec<&str> = way.split(", ").collect();
        assert_eq!(names.remove(0), "front");
        assert!(matches!(names.len(), 2 | 3), "{way}: the shields agree with the edges about who owns what");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), way.split(", ").count() - 1, "{way}");
    }
    for request in [
        Request::new("POST", &format!("/live/p?hdnts={token}")).body("x"),
        Request::get(&format!("/live/1.key?hdnts={token}")),
    ] {
        let response = edges[0].ask(&request.header("cdn-loop", "front")).await;
        assert_eq!(response.status(), 200);
        let way = cdn_loop(&origin.recorded().pop().expect("a request"));
        assert!(way == "front, node-0, node-2" || way == "front, node-0, node-3", "{way}");
    }
    for node in &nodes {
        let metrics = node.metrics().await;
        assert_eq!(metrics.sum("forebay_hop_refused_total", &[]), 0.0);
        assert_eq!(metrics.sum("forebay_loops_total", &[]), 0.0);
        assert_eq!(metrics.sum("forebay_peer_requests_total", &[("result", "refused")]), 0.0);
    }
}

/// A node that lags behind its fleet says so at once when a peer asks whether it is there: else it would count as gone, for as long
/// as it lags. Requests for something wait for its purges.
#[tokio::test]
async fn a_node_that_lags_behind_says_that_it_is_there() {
    let (origin, redis) = (Origin::start().await, Redis::start().await);
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    let fleet = format!(
        "[fleet]\nname = \"peer\"\nbus = \"{}\"\ntimeout = \"1500ms\"\n\
         keys = [{{ id = \"n1\", secret_file = \"DIR/nodes\" }}]",
        redis.url()
    );
    let node = Setup::before(&origin).more(&fleet).file("nodes", SECRET).start().await;
    let path = "/live/1.m4s";
    let ahead = |method: &str| {
        let said = ("n1", now(), ";w=18446744073709551615-0");
        let field = hop_as("peer", SECRET, said, (method, "edge.test", path));
        Request::new(method, path).header("forebay-hop", &field).header("cache-control", "only-if-cached")
    };
    let asked = node.ask(&ahead("HEAD")).await;
    assert_eq!(asked.status(), 504, "it holds nothing, and its origin is not asked");
    assert_eq!(node.metrics().await.sum("forebay_hop_behind_total", &[]), 0.0);
    assert_eq!(node.ask(&ahead("GET")).await.status(), 504);
    assert_eq!(node.metrics().await.sum("forebay_hop_behind_total", &[]), 1.0, "it has waited for that");
    assert_eq!(origin.recorded().len(), 0);
}
