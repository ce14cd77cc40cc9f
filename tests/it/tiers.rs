//! Tiers: nodes before nodes. The nearest to the origin decides what is shared, the one that the viewer comes to decides
//! about the viewer, and nobody takes a viewer for a node.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use forebay::clock::Clock;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::certificate::Nodes;
use crate::support::client::{self, Http1, Request, Response, ask};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Port, Setup, await_metric};
use crate::support::node::LocalNode;
use crate::support::origin::{Answer, Origin, Recorded};
use crate::support::redis::Redis;
use crate::support::signing::{KEY_HEX, now, sign, valid};
use crate::support::wait::{Gate, within};

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

async fn purge(node: &LocalNode, order: serde_json::Value) {
    let response = ask(node.admin(), &Request::new("POST", "/purge").body(order.to_string())).await;
    assert_eq!(response.status(), 200, "{order}");
}

// === What is shared ===

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

// === Loops ===

/// A listener whose server is known later.
async fn relay() -> (SocketAddr, tokio::sync::watch::Sender<Option<SocketAddr>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (to, server) = tokio::sync::watch::channel(None::<SocketAddr>);
    tokio::spawn(async move {
        while let Ok((mut outside, _)) = listener.accept().await {
            let Some(server) = *server.borrow() else { continue };
            tokio::spawn(async move {
                let Ok(mut inside) = TcpStream::connect(server).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    (address, to)
}

/// Two nodes that are each other's origin: the first one that sees its own name says so, at once, whatever is asked for.
#[tokio::test]
async fn a_loop_of_nodes_ends_where_it_began() {
    for names in [Some(("a", "b")), None] {
        let (address, to) = relay().await;
        let name = |setup: Setup, name: Option<&str>| match name {
            Some(name) => named(setup, name),
            None => setup,
        };
        let site = "methods = [\"GET\", \"HEAD\", \"POST\"]";
        let first = name(behind(address).site(site), names.map(|names| names.0)).start().await;
        let second = name(behind(first.http()).site(site), names.map(|names| names.1)).start().await;
        to.send_replace(Some(second.http()));
        for request in [
            Request::get("/a.m4s"),
            Request::get("/live/v.m3u8"),
            Request::new("POST", "/a").body("x"),
            Request::get("/a.key"),
        ] {
            let response = within("an answer", first.ask(&request)).await;
            assert_eq!(response.status(), 508, "{} {}", request.method, request.target);
        }
        let metrics = first.await_metric("forebay_loops_total", &[], 4.0).await;
        assert_eq!(metrics.sum("forebay_loops_total", &[]), 4.0, "each went around once");
        assert!(first.everything_written().contains("has passed this node before"));
        assert_eq!(second.metrics().await.sum("forebay_loops_total", &[]), 0.0);
    }
}

/// What a viewer says of the networks before is passed on, with this node behind it, whichever way the request takes.
#[tokio::test]
async fn the_list_of_networks_is_added_to_and_never_shortened() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("body"));
    let node = LocalNode::start(&shield(&origin), 0);
    for path in ["/a.m4s", "/a.key"] {
        let request = Request::get(path).header("cdn-loop", "one;x=1").header("cdn-loop", "two");
        assert_eq!(node.ask(&request).await.status(), 200);
        let sent = origin.last(path);
        assert_eq!(cdn_loop(&sent), "one;x=1, two, shield");
        let looped = node.ask(&Request::get(path).header("cdn-loop", "one, Shield;y")).await;
        assert_eq!((looped.status(), looped.get("cache-control")), (508, Some("no-store")));
    }
    node.stop().await;
}

/// Who names a node of the next tier among the networks he has passed is refused by that, and nobody else is: not those who wait
/// for the same, nor those who come later.
#[tokio::test]
async fn a_made_up_loop_is_the_liars_alone() {
    let (origin, gate) = (Origin::start().await, Gate::closed());
    origin.on("/a.m4s", Answer::ok("media").cache_control("max-age=60").hold(&gate));
    let shield = LocalNode::start(&shield(&origin), 0);
    let edges = ["e1", "e2"].map(|name| LocalNode::start(&named(behind(shield.http()), name), 0));
    let liar = Request::get("/a.m4s").header("cdn-loop", "shield");
    assert_eq!(edges[0].ask(&liar).await.status(), 508);
    let mut viewers = Vec::new();
    // Those behind a network of their own share what they ask for as others do.
    for place in 0..12 {
        let mut viewer = Http1::connect(edges[place % 2].http()).await;
        viewer.send(&Request::get("/a.m4s").header("cdn-loop", "front")).await;
        viewers.push(viewer);
        if place == 6 {
            assert_eq!(edges[0].ask(&liar).await.status(), 508);
        }
    }
    origin.await_requests("/a.m4s", 1).await;
    gate.open();
    for mut viewer in viewers {
        assert_eq!(within("an answer", viewer.response("GET")).await.status(), 200);
    }
    assert_eq!(origin.requests("/a.m4s"), 1, "of all edges together");
    for node in edges.into_iter().chain([shield]) {
        node.stop().await;
    }
}

// === Who is a node ===

const POLICY: &str =
    "[token.viewer]\nformat = \"edgeauth\"\nkeys = [{ id = \"k1\", secret_file = \"DIR/k1.key\" }]";

fn protected(setup: Setup) -> Setup {
    setup.site("token = \"viewer\"\ncors = { origins = [\"*\"] }").more(POLICY).file("k1.key", KEY_HEX)
}

/// A token is checked once, where the viewer comes in: it goes no further, and the shield asks nobody but viewers for one.
#[tokio::test]
async fn a_token_is_checked_at_the_edge_alone() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    let shield = protected(shield(&origin)).start().await;
    let edge = protected(named(behind(shield.http()), "edge-1")).start().await;
    let path = "/live/1.m4s";
    let token = valid("/live/*");
    let response = edge.get(&format!("{path}?hdnts={token}")).await;
    assert_eq!((response.status(), response.whole().as_ref()), (200, &b"media"[..]));
    assert_eq!(response.head.count("access-control-allow-origin"), 1, "the edge says it, and says it once");
    assert_eq!(edge.get(path).await.status(), 403);
    assert_eq!(shield.get(path).await.status(), 403, "a viewer who goes around the edge");
    let signature = token.rsplit('=').next().expect("a signature");
    let lines = shield.await_access_lines(2).await;
    assert_eq!(lines[0]["node"], "edge-1");
    assert_eq!(lines[1]["node"], json!(null));
    let written = shield.everything_written();
    assert!(!written.contains(signature) && !written.contains("v1;k="), "{written}");
    assert!(!origin.last(path).text().contains(signature));
}

/// What says that it is a node's and is not is a viewer's: it is told what any viewer is told, and counted by why.
#[tokio::test]
async fn a_forged_late_or_moved_hop_is_a_viewers() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    let node = protected(shield(&origin)).server("h2c = true").start().await;
    let path = "/live/1.m4s?a=1";
    let this = ("GET", "edge.test", path);
    let bare = node.get(path).await;
    let good = || hop(SECRET, "n1", now(), "", this);
    let cases = [
        ("signature", hop(OTHER_SECRET, "n1", now(), "", this)),
        ("signature", hop(SECRET, "n1", now(), "", ("GET", "edge.test", "/live/1.m4s?a=2"))),
        ("signature", hop(SECRET, "n1", now(), "", ("HEAD", "edge.test", path))),
        ("signature", hop(SECRET, "n1", now(), "", ("GET", "other.test", path))),
        ("signature", good().replace("n=edge-1", "n=edge-2")),
        ("expired", hop(SECRET, "n1", now() - 62, "", this)),
        ("expired", hop(SECRET, "n1", now() + 70, "", this)),
        ("unknown_key", hop(SECRET, "n2", now(), "", this)),
        ("unsigned", format!("v1;t={};r=edge;n=edge-1;d=1", now())),
        ("version", good().replace("v1;", "v2;")),
        ("malformed", hop(SECRET, "n1", now(), ";x=1", this)),
        ("malformed", String::new()),
    ];
    let mut expected = std::collections::BTreeMap::<&str, f64>::new();
    for (reason, field) in cases {
        let response = node.ask(&Request::get(path).header("forebay-hop", &field)).await;
        assert_eq!((response.status(), response.whole()), (403, bare.whole()), "{reason}: {field}");
        let reason = if field.is_empty() { "version" } else { reason };
        *expected.entry(reason).or_default() += 1.0;
        for (word, count) in &expected {
            let metrics = node.await_metric("forebay_hop_refused_total", &[("reason", word)], *count).await;
            assert_eq!(metrics.sum("forebay_hop_refused_total", &[("reason", word)]), *count, "{field}");
        }
    }
    assert_eq!(origin.recorded().len(), 0);
    let twice = Request::get(path).header("forebay-hop", &good()).header("forebay-hop", &good());
    assert_eq!(node.ask(&twice).await.status(), 403);
    let response = node.ask(&Request::get(path).header("forebay-hop", &good())).await;
    assert_eq!(response.status(), 200, "what is signed as the format says");
    assert!(response.get("cdn-cache-control").is_some_and(|told| told.starts_with("max-age=")));
    assert_eq!(origin.last("/live/1.m4s").header("forebay-hop"), None);
    let h2 = client::Http2::connect(node.http()).await;
    assert_eq!(h2.ask(&Request::get(path).header("forebay-hop", &good())).await.status(), 200);
    assert_eq!(h2.get(path).await.status(), 403);
}

/// Without keys a node of the next tier is an origin like others, and this node a client like others to it.
#[tokio::test]
async fn without_keys_a_node_is_a_client_of_the_next() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60").header("surrogate-key", "a"));
    let open = LocalNode::start(&Setup::before(&origin), 0);
    let edge = LocalNode::start(&behind(open.http()), 0);
    let response = edge.get("/1.m4s").await;
    assert_eq!((response.status(), outcome(&response)), (200, "miss".to_owned()));
    assert_eq!(outcome(&edge.get("/1.m4s").await), "hit");
    let metrics = open.metrics().await;
    assert_eq!(metrics.sum("forebay_hop_refused_total", &[("reason", "unsigned")]), 1.0);
    let closed = LocalNode::start(&protected(Setup::before(&origin)), 0);
    let edge_of_closed = LocalNode::start(&behind(closed.http()), 0);
    assert_eq!(edge_of_closed.get("/1.m4s").await.status(), 403);
    for node in [edge, open, edge_of_closed, closed] {
        node.stop().await;
    }
}

/// An origin that is no tier cannot say what only nodes may say.
#[tokio::test]
async fn an_origin_is_not_believed_to_be_a_node() {
    let origin = Origin::start().await;
    let answer = Answer::ok("body").cache_control("max-age=5").header("cdn-cache-control", "max-age=100");
    origin.on("/a.bin", answer.header("forebay-ttl", "1000000").header("forebay-tags", "0000000000000001"));
    let node = LocalNode::start_at(&shield(&origin), standing_clock());
    let response = node.get("/a.bin").await;
    assert_eq!(last(&response, "ttl"), "100");
    assert_eq!((response.get("forebay-ttl"), response.get("forebay-tags")), (None, None));
    assert_eq!(response.get("cdn-cache-control"), Some("max-age=100"), "as for every network behind");
    node.stop().await;
}

/// The shield's sites are found by the host that the viewer has asked for.
#[tokio::test]
async fn the_shield_sees_the_viewers_host() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("one").cache_control("max-age=60"));
    let shield = LocalNode::start(&shield(&origin).hosts("[\"live.example.com\"]"), 0);
    let edge = LocalNode::start(&named(behind(shield.http()), "edge"), 0);
    for path in ["/a.m4s", "/a.key"] {
        let known = edge.ask(&Request::get(path).host("LIVE.example.com:8080")).await;
        assert_eq!(known.status(), 200, "{path}");
        let unknown = edge.ask(&Request::get(&format!("/other{path}")).host("vod.example.com")).await;
        assert_eq!(unknown.status(), 421, "{path}");
    }
    edge.stop().await;
    shield.stop().await;
}

/// A certificate of the nodes' authority makes a request a node's; a client without one is a viewer, and another
/// authority's opens nothing.
#[tokio::test]
async fn a_certificate_makes_a_request_a_nodes() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    let (nodes, strangers) = (Nodes::new(), Nodes::new());
    let setup = protected(Setup::before(&origin)).tls_for_nodes(&nodes.authority_pem());
    let node = setup.start().await;
    let (address, roots) = node.https();
    let ask = async |stream| Http1::over_tls(stream).ask(&Request::get("/live/1.m4s")).await;
    let viewer = client::tls(address, roots, &["http/1.1"]).await.expect("a viewer's connection");
    assert_eq!(ask(viewer).await.status(), 403);
    let known = ask(client::tls_as(address, roots, &["http/1.1"], Some(nodes.shown()))
        .await
        .expect("a node's connection"))
    .await;
    assert_eq!((known.status(), known.whole().as_ref()), (200, &b"media"[..]));
    assert!(known.get("cdn-cache-control").is_some());
    let over_h2 =
        client::tls_as(address, roots, &["h2"], Some(nodes.shown())).await.expect("a node's connection");
    assert_eq!(client::Http2::over_tls(over_h2).await.get("/live/1.m4s").await.status(), 200);
    // In TLS 1.3 a client learns only when it reads that its certificate was not taken.
    if let Ok(stream) = client::tls_as(address, roots, &["http/1.1"], Some(strangers.shown())).await {
        let mut connection = Http1::over_tls(stream);
        connection.send(&Request::get("/live/1.m4s")).await;
        assert!(connection.try_head("GET").await.is_none());
    }
    assert_eq!(origin.requests("/live/1.m4s"), 1);
}

// === What passes through, and what is held ===

/// Keys need a token at the edge, and count against its limit of single clients; the shield takes the edges' word for both.
#[tokio::test]
async fn keys_and_other_methods_pass_through_all_tiers() {
    let origin = Origin::start().await;
    origin.otherwise(|request, number| Answer::ok(format!("{} {number}", request.method)));
    let limited = |setup: Setup| {
        protected(setup).limits("key_requests = 2").site("methods = [\"GET\", \"HEAD\", \"POST\"]")
    };
    let shield = LocalNode::start(&limited(shield(&origin)), 0);
    let edge = LocalNode::start(&limited(named(behind(shield.http()), "edge")), 0);
    let path = "/live/1.key";
    let of = |session: &str| {
        let fields = format!("exp={}~acl=/live/*~id={session}", now() + 3600);
        format!("{path}?hdnts={}", sign(KEY_HEX, &fields))
    };
    assert_eq!((edge.get(path).await.status(), shield.get(path).await.status()), (403, 403));
    for session in ["a", "b", "c"] {
        for _ in 0..2 {
            let response = edge.get(&of(session)).await;
            assert_eq!((response.status(), response.get("cache-control")), (200, Some("no-store")));
        }
        assert_eq!(edge.get(&of(session)).await.status(), 429, "the edge counts");
    }
    assert_eq!(origin.requests(path), 6, "the shield does not");
    let posted = Request::new("POST", &of("d")).body("challenge");
    assert_eq!(edge.ask(&posted).await.status(), 200);
    let sent = origin.last(path);
    assert_eq!(
        (sent.method.as_str(), sent.body.as_slice(), sent.target.as_str()),
        ("POST", &b"challenge"[..], path)
    );
    assert_eq!(sent.header("forebay-hop"), None);
    let metrics = shield.metrics().await;
    assert_eq!(metrics.sum("forebay_hop_requests_total", &[("role", "edge")]), 7.0);
    edge.stop().await;
    shield.stop().await;
}

/// A key that is made of what a token says is the same one at the shield, which sees no token; by rule, what it says is in
/// it, and nothing else of it.
#[tokio::test]
async fn keys_by_claim_are_the_same_at_every_tier() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| {
        let who = request.header("forebay-claim-id").unwrap_or("nobody");
        Answer::ok(format!("for {who}")).cache_control("max-age=60")
    });
    let rule = "[[site.rule]]\npath = \"/live/*\"\nkey = { claims = [\"id\"] }";
    let by_claim = |setup: Setup| {
        let setup = setup.site("token = \"viewer\"").more(rule).more(POLICY);
        setup.file("k1.key", KEY_HEX)
    };
    let shield = LocalNode::start(&named(by_claim(Setup::before(&origin)), "shield"), 0);
    let edges = ["e1", "e2"].map(|name| LocalNode::start(&named(by_claim(behind(shield.http())), name), 0));
    for edge in &edges {
        for who in ["ann", "bob; s=\"1\""] {
            let token = sign(KEY_HEX, &format!("exp={}~acl=/live/*~id={who}~data=secret", now() + 3600));
            let cookie = format!("hdnts={}", token.replace("; ", "%3B%20").replace('"', "%22"));
            let response = edge.ask(&Request::get("/live/1.m4s").header("cookie", &cookie)).await;
            let body = String::from_utf8_lossy(response.whole()).into_owned();
            assert_eq!(response.status(), 200, "{body}");
            assert!(body.starts_with("for ann") || body.starts_with("for bob"), "{body}");
        }
    }
    assert_eq!(origin.requests("/live/1.m4s"), 2, "one for each, whichever edge they come to");
    for recorded in origin.recorded() {
        assert!(!recorded.text().contains("secret"), "{}", recorded.text());
    }
    for node in edges.into_iter().chain([shield]) {
        node.stop().await;
    }
}

/// Rules that ask something of a request's fields hold at the shield for whom they hold at the edge.
#[tokio::test]
async fn conditions_of_rules_are_the_same_at_every_tier() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=5"));
    let rule = "[[site.rule]]\npath = \"/live/*\"\nrequest_headers = { x-device = \"tv*\" }\nttl = \"50s\"";
    let clock = standing_clock();
    let shield = LocalNode::start_at(&shield(&origin).more(rule), clock.clone());
    let edge = LocalNode::start_at(&named(behind(shield.http()).more(rule), "edge"), clock.clone());
    for _ in 0..2 {
        for (device, ttl) in [("tv-1", "50"), ("phone", "5"), ("tv-2", "50")] {
            let response = edge.ask(&Request::get("/live/1.m4s").header("x-device", device)).await;
            assert_eq!(last(&response, "ttl"), ttl, "{device}");
        }
    }
    assert_eq!(origin.requests("/live/1.m4s"), 2);
    assert!(origin.recorded().iter().all(|request| request.header("x-device").is_none()));
    edge.stop().await;
    shield.stop().await;
}

/// A film in slices is one at every tier: a cold range costs the slices that it lies in, also at the origin.
#[tokio::test]
async fn large_objects_come_in_slices_through_every_tier() {
    let (origin, film) = (Origin::start().await, content(9, 5_000_000));
    origin.on("/film.mp4", Answer::ok(film.clone()).cache_control("max-age=60").etag("\"1\"").ranges());
    let sliced = |setup: Setup| setup.limits("slice_above = \"1MiB\"");
    let shield = LocalNode::start(&sliced(shield(&origin)), 0);
    let edge = LocalNode::start(&sliced(named(behind(shield.http()), "edge")), 0);
    let part = edge.ask(&Request::get("/film.mp4").range("bytes=3000000-3000099")).await;
    assert_eq!(part.status(), 206);
    assert_same_bytes(part.whole(), &film[3_000_000..3_000_100], "a part");
    assert!(origin.body_bytes("/film.mp4") < 3 << 20, "{} bytes", origin.body_bytes("/film.mp4"));
    assert_same_bytes(edge.get("/film.mp4").await.whole(), &film, "the whole");
    assert_same_bytes(edge.get("/film.mp4").await.whole(), &film, "the whole once more");
    assert!(last(&edge.get("/film.mp4").await, "ttl").parse::<u64>().is_ok_and(|ttl| ttl <= 60));
    edge.stop().await;
    shield.stop().await;
}

const PLAYLIST: &str = "/live/v.m3u8";

fn playlist(next: u64, parts: u64) -> String {
    let segments: String = (next - 3..next).map(|msn| format!("#EXTINF:2,\n{msn}.m4s\n")).collect();
    let parts: String =
        (0..parts).map(|part| format!("#EXT-X-PART:DURATION=0.5,URI=\"{next}.{part}.m4s\"\n")).collect();
    format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n\
         #EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-MEDIA-SEQUENCE:{}\n{segments}{parts}",
        next - 3
    )
}

fn is_reload(request: &Recorded) -> bool {
    request.target.contains("_HLS_msn")
}

async fn parked(node: &LocalNode, count: usize) {
    within(&format!("{count} parked requests"), async {
        while node.metrics().await.sum("forebay_parked_requests", &[]) != count as f64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Crowds that wait at two edges are one request that the shield holds for each of them, and one at the origin; parts that
/// grow come through both while they grow.
#[tokio::test]
async fn a_blocking_reload_is_held_at_every_tier_and_once_at_the_origin() {
    let (origin, gate, growth) = (Origin::start().await, Gate::closed(), Gate::closed());
    let held = gate.clone();
    origin.script(PLAYLIST, move |request, _| match is_reload(request) {
        true => Answer::ok(playlist(10, 3)).hold(&held),
        false => Answer::ok(playlist(10, 2)),
    });
    let part = content(3, 60_000);
    let growing = Answer::ok(part.clone()).chunked().cache_control("max-age=60").gate_at(20_000, &growth);
    origin.on("/live/10.2.m4s", growing);
    let clock = standing_clock();
    // One client of the shield is a node with a crowd before it: limits of single clients are not for it.
    let shield = LocalNode::start_at(&shield(&origin).limits("parked_per_client = 1"), clock.clone());
    let edges =
        ["e1", "e2"].map(|name| LocalNode::start_at(&named(behind(shield.http()), name), clock.clone()));
    let mut viewers = Vec::new();
    for edge in &edges {
        edge.get(PLAYLIST).await;
        for _ in 0..5 {
            let mut viewer = Http1::connect(edge.http()).await;
            viewer.send(&Request::get(&format!("{PLAYLIST}?_HLS_msn=10&_HLS_part=2"))).await;
            viewers.push(viewer);
        }
        parked(edge, 5).await;
    }
    parked(&shield, 2).await;
    origin.await_requests(PLAYLIST, 2).await;
    gate.open();
    for mut viewer in viewers {
        let response = within("an answer", viewer.response("GET")).await;
        assert_eq!(response.status(), 200);
        assert_same_bytes(response.whole(), playlist(10, 3).as_bytes(), "a viewer");
    }
    assert_eq!(origin.requests(PLAYLIST), 2, "the plain one, and one that is held");
    let mut first = Http1::connect(edges[0].http()).await;
    first.send(&Request::get("/live/10.2.m4s")).await;
    within("a header", first.head("GET")).await;
    let begun = within("what there is of it", first.at_least(20_000)).await.expect("a growing part");
    growth.open();
    let (rest, _) = first.rest().await;
    assert_same_bytes(&[&begun[..], &rest[..]].concat(), &part, "a part");
    for node in edges.into_iter().chain([shield]) {
        node.stop().await;
    }
}

/// A node that holds a request of another one answers before that one gives up: the viewer gets what the shield has to say,
/// and not a timeout of its own.
#[tokio::test]
async fn the_shield_gives_up_a_hold_before_the_edge_does() {
    let origin = Origin::start().await;
    let never = Gate::closed();
    let held = never.clone();
    origin.script(PLAYLIST, move |request, _| match is_reload(request) {
        true => Answer::ok(playlist(10, 3)).hold(&held),
        false => Answer::ok(playlist(10, 2)),
    });
    let shield = LocalNode::start(&shield(&origin), 0);
    let once = behind(shield.http()).origin("retry = { attempts = 1 }");
    let edge = LocalNode::start(&named(once, "edge"), 0);
    edge.get(PLAYLIST).await;
    let reload = format!("{PLAYLIST}?_HLS_msn=10&_HLS_part=2");
    let response = within("an answer", edge.get(&reload)).await;
    let late = |node: &LocalNode| {
        let admin = node.admin();
        async move { crate::support::edge::metrics(admin).await.sum("forebay_late_holds_total", &[]) }
    };
    assert_eq!((late(&shield).await, late(&edge).await), (1.0, 0.0), "{:?}", response.head);
    never.open();
    edge.stop().await;
    shield.stop().await;
}

/// A viewer's token is put into its own copy of a playlist by the edge; what nodes pass to each other has nobody's.
#[tokio::test]
async fn what_is_a_viewers_own_is_made_at_the_edge_alone() {
    let origin = Origin::start().await;
    let text = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n";
    origin.on("/live/m.m3u8", Answer::ok(text).cache_control("max-age=60"));
    let carrying = |setup: Setup| {
        let policy = POLICY.replace("[token.viewer]\n", "[token.viewer]\ncarry = \"query\"\n");
        let setup = setup.site("token = \"viewer\"\nencodings = [\"gzip\"]").more(&policy);
        setup.file("k1.key", KEY_HEX)
    };
    let shield = LocalNode::start(&named(carrying(Setup::before(&origin)), "shield"), 0);
    let edge = LocalNode::start(&named(carrying(behind(shield.http())), "edge"), 0);
    for _ in 0..2 {
        let token = valid("/live/*");
        let response = edge.get(&format!("/live/m.m3u8?hdnts={token}")).await;
        let body = String::from_utf8_lossy(response.whole()).into_owned();
        assert_eq!(body.matches("hdnts=").count(), 1, "{body}");
    }
    let field = hop(SECRET, "n1", now(), "", ("GET", "edge.test", "/live/m.m3u8"));
    let between =
        Request::get("/live/m.m3u8").header("forebay-hop", &field).header("accept-encoding", "gzip");
    let response = shield.ask(&between).await;
    assert_same_bytes(response.whole(), text.as_bytes(), "between nodes");
    assert_eq!((response.get("vary"), response.get("content-encoding")), (None, None));
    edge.stop().await;
    shield.stop().await;
}

/// A shield that cannot be reached is an origin that cannot be reached.
#[tokio::test]
async fn an_edge_outlives_its_shield() {
    let origin = Origin::start().await;
    origin.on("/a.bin", Answer::ok("one").cache_control("max-age=10, stale-if-error=50"));
    let clock = standing_clock();
    let (address, to) = relay().await;
    let shield = LocalNode::start_at(&shield(&origin), clock.clone());
    to.send_replace(Some(shield.http()));
    let edge = LocalNode::start_at(&named(behind(address), "edge"), clock.clone());
    edge.get("/a.bin").await;
    to.send_replace(None);
    shield.stop().await;
    clock.advance(Duration::from_secs(20));
    let response = edge.get("/a.bin").await;
    assert_eq!((response.status(), outcome(&response)), (200, "hit_stale".to_owned()));
    assert!(matches!(edge.get("/b.bin").await.status(), 502 | 504));
    edge.stop().await;
}

// === Other ways between nodes ===

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
        answer(request.path()).cache_control("max-age=100").header("age", "10").etag("\"1\"")
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
                assert!((10..=20).contains(&age) && (80..=90).contains(&ttl), "{age} {ttl}");
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
