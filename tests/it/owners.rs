//! Nodes of one tier share the keys among them: each key is fetched from the origin by its owner, and by nobody else, as
//! long as the owner is there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::support::client::{self, Http1, Request, Response};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Port, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::redis::Redis;
use crate::support::signing::{KEY_HEX, now, sign, valid};
use crate::support::wait::{Gate, within};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn urls(addresses: &[SocketAddr]) -> String {
    let urls: Vec<String> = addresses.iter().map(|address| format!("\"http://{address}\"")).collect();
    urls.join(", ")
}

fn setup(origin: &Origin, address: SocketAddr, peers: &str, fleet: &str) -> Setup {
    let keys = "keys = [{ id = \"n1\", secret_file = \"DIR/node.key\" }]";
    Setup::before(origin)
        .http(address)
        .file("node.key", SECRET)
        .more(&format!("[fleet]\n{keys}\npeers = [{peers}]\n{fleet}"))
}

/// Nodes that are one another's peers, before one origin that answers everything.
struct Tier {
    origin: Origin,
    ports: Vec<Port>,
    nodes: Vec<Edge>,
    fleet: String,
    limits: String,
}

impl Tier {
    async fn start(count: usize, fleet: &str) -> Tier {
        Tier::within(count, fleet, "").await
    }

    async fn within(count: usize, fleet: &str, limits: &str) -> Tier {
        let origin = Origin::start().await;
        origin.otherwise(|request, _| Answer::ok(body_of(request.path())).cache_control("max-age=3600"));
        let ports: Vec<Port> = (0..count).map(|_| Port::reserve()).collect();
        let mut tier =
            Tier { origin, ports, nodes: Vec::new(), fleet: fleet.to_owned(), limits: limits.to_owned() };
        for place in 0..count {
            let node = tier.start_node(place).await;
            tier.nodes.push(node);
        }
        tier
    }

    async fn start_node(&self, place: usize) -> Edge {
        let addresses: Vec<SocketAddr> = self.ports.iter().map(|port| port.address).collect();
        let fleet = self.fleet.replace("PLACE", &place.to_string());
        let setup = setup(&self.origin, addresses[place], &urls(&addresses), &fleet);
        setup.limits(&self.limits).start().await
    }

    /// Requests that a node has sent to the origin.
    async fn fetched_by(&self, place: usize) -> usize {
        let metrics = self.nodes[place].metrics().await;
        metrics.sum("forebay_origin_requests_total", &[("origin", "main")]) as usize
    }

    async fn get(&self, place: usize, path: &str) -> Response {
        let response = within(path, self.nodes[place].get(path)).await;
        assert_eq!(response.status(), 200, "{path} from node {place}: {:?}", response.head);
        assert_same_bytes(response.whole(), &body_of(path), path);
        response
    }

    fn fetched(&self) -> usize {
        self.origin.recorded().len()
    }

    /// A path that belongs to node `owner`.
    async fn path_of(&self, owner: usize, name: &str) -> String {
        for number in 0..200 {
            let path = format!("/{name}/{number}.m4s");
            let before = self.fetched_by(owner).await;
            self.get(owner, &path).await;
            let (asked, after) = (self.origin.requests(&path), self.fetched_by(owner).await);
            assert_eq!(asked, 1);
            if after > before {
                return path;
            }
        }
        panic!("node {owner} owns nothing");
    }
}

fn body_of(path: &str) -> Bytes {
    content(path.bytes().map(u64::from).sum(), 20_000 + path.len())
}

/// What the node that was asked says of the answer: the last member of `Cache-Status`.
fn outcome(response: &Response) -> String {
    let last = response.head.headers.iter().rfind(|(name, _)| name == "cache-status");
    let (_, value) = last.expect("a Cache-Status");
    let detail = value.rsplit("detail=").next().expect("a detail");
    detail.trim().to_owned()
}

/// Whichever nodes viewers come to, one after the other or at once, the origin is asked for each key once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_is_fetched_from_the_origin_once() {
    let tier = Tier::start(3, "").await;
    for number in 0..30 {
        let path = format!("/vod/{number}.m4s");
        for step in 0..3 {
            tier.get((number + step) % 3, &path).await;
        }
        assert_eq!(tier.origin.requests(&path), 1, "{path}");
    }
    let mut viewers = JoinSet::new();
    for number in 0..20 {
        for node in &tier.nodes {
            let (address, path) = (node.http(), format!("/live/{number}.m4s"));
            viewers.spawn(async move {
                let response = client::get(address, &path).await;
                assert_eq!(response.status(), 200);
                assert_same_bytes(response.whole(), &body_of(&path), &path);
            });
        }
    }
    within("all viewers", async { while viewers.join_next().await.transpose().unwrap().is_some() {} }).await;
    assert!((0..20).all(|number| tier.origin.requests(&format!("/live/{number}.m4s")) == 1));
    for place in 0..3 {
        assert!(tier.fetched_by(place).await > 0, "node {place} owns nothing");
    }
    // Nobody but the nodes learns how they tell one another apart from viewers.
    assert!(tier.origin.recorded().iter().all(|request| request.header("forebay-hop").is_none()));
}

/// When a node is killed, its keys are fetched by others, once in all, and no viewer of another node sees an error. What
/// the others own stays where it is. When it is back, it is asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_a_lost_node_go_elsewhere_and_come_back() {
    let mut tier = Tier::start(3, "hot = { requests = 1000 }").await;
    let paths: Vec<String> = (0..40).map(|number| format!("/vod/{number}.m4s")).collect();
    for path in &paths {
        tier.get(0, path).await;
    }
    let lost = tier.fetched_by(2).await;
    assert!(lost > 0 && lost < paths.len());
    tier.nodes[2].kill().await;
    for place in [0, 1] {
        for path in &paths {
            tier.get(place, path).await;
        }
    }
    assert_eq!(
        tier.fetched(),
        paths.len() + lost,
        "only the keys of the lost node are fetched again, and once"
    );

    tier.nodes[2] = tier.start_node(2).await;
    within("the node to be asked again", async {
        let mut number = 0;
        while tier.fetched_by(2).await == 0 {
            number += 1;
            tier.get(number % 2, &format!("/new/{number}.m4s")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A node that accepts connections and never answers costs the requests that find out a bounded wait, and others none: it
/// is left alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_is_left_alone() {
    let tier = Tier::start(2, "").await;
    let mine = tier.path_of(1, "before").await;
    tier.get(0, &mine).await;
    tier.nodes[1].freeze();
    let before = tier.fetched();
    for number in 0..30 {
        tier.get(0, &format!("/after/{number}.m4s")).await;
    }
    assert_eq!(tier.fetched(), before + 30);
    let metrics = tier.nodes[0].metrics().await;
    let failed = metrics.sum("forebay_peer_requests_total", &[("result", "failed")]);
    // Several only where the machine is so slow that a rest ends during the test.
    assert!((1.0..10.0).contains(&failed), "{failed} requests have waited for it");
}

/// An owner whose origin is slow is waited for, as it says that it is there: a slow origin is not asked by every node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_waits_for_its_origin_is_waited_for() {
    let tier = Tier::start(2, "").await;
    let mut waited = JoinSet::new();
    let mut gates = Vec::new();
    for number in 0..8 {
        let (path, gate) = (format!("/slow/{number}.m4s"), Gate::closed());
        tier.origin.on(&path, Answer::ok(body_of(&path)).cache_control("max-age=60").hold(&gate));
        gates.push(gate);
        for node in &tier.nodes {
            let (address, path) = (node.http(), path.clone());
            waited.spawn(async move {
                let response = client::get(address, &path).await;
                assert_eq!(response.status(), 200);
                assert_same_bytes(response.whole(), &body_of(&path), &path);
            });
        }
        tier.origin.await_requests(&path, 1).await;
    }
    // Long enough for the owners to have been asked whether they are there: by a request without an origin's answer.
    let probed = || async {
        let mut seen = 0.0;
        for node in &tier.nodes {
            let metrics = node.metrics().await;
            seen += metrics.sum("forebay_origin_requests_total", &[("origin", "fleet.peers")]);
        }
        seen > 8.0
    };
    within("the question whether the owner is there", async {
        while !probed().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    gates.iter().for_each(Gate::open);
    within("all viewers", async { while waited.join_next().await.transpose().unwrap().is_some() {} }).await;
    assert!((0..8).all(|number| tier.origin.requests(&format!("/slow/{number}.m4s")) == 1));
}

/// What belongs to another node is kept from the second request on; those who come while it is fetched share the fetch
/// whatever is kept, and playlists are kept at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_hot_is_kept_beside_its_owner() {
    let tier = Tier::start(2, "hot = { requests = 3, window = \"1h\" }").await;
    let path = tier.path_of(1, "seg").await;
    let objects = async || {
        let metrics = tier.nodes[0].metrics().await;
        metrics.sum("forebay_cache_objects", &[])
    };
    let before = objects().await;
    assert_eq!(outcome(&tier.get(0, &path).await), "miss");
    assert_eq!(objects().await, before, "it was asked for once");
    assert_eq!(outcome(&tier.get(0, &path).await), "miss");
    assert_eq!(objects().await, before);
    assert_eq!(outcome(&tier.get(0, &path).await), "miss");
    assert_eq!(objects().await, before + 1.0, "it is hot");
    assert_eq!(outcome(&tier.get(0, &path).await), "hit");
    assert_eq!(tier.origin.requests(&path), 1);

    let text = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n1.m4s\n#EXT-X-ENDLIST\n";
    for number in 0..12 {
        let path = format!("/list/{number}.m3u8");
        let answer = Answer::ok(text).header("content-type", "application/vnd.apple.mpegurl");
        tier.origin.on(&path, answer.cache_control("max-age=3600"));
        for expected in ["miss", "hit"] {
            let response = tier.nodes[0].get(&path).await;
            assert_eq!((response.status(), outcome(&response).as_str()), (200, expected), "{path}");
        }
    }
}

/// Viewers of a node that does not own the key share one fetch while it is under way, though nothing of it is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_passed_on_is_shared_while_it_comes() {
    let tier = Tier::start(2, "hot = { requests = 1000 }").await;
    let asked_before = tier.path_of(1, "x").await;
    // One that the same node owns, held in the middle.
    let (gate, mut held) = (Gate::closed(), None);
    for number in 0..200 {
        let path = format!("/held/{number}.m4s");
        let body = body_of(&path);
        let half = body.len() / 2;
        tier.origin.on(&path, Answer::ok(body).cache_control("max-age=60").gate_at(half, &gate));
        let mut first = Http1::connect(tier.nodes[0].http()).await;
        let before = tier.fetched_by(1).await;
        first.send(&Request::get(&path)).await;
        assert_eq!(first.head("GET").await.status, 200);
        if tier.fetched_by(1).await > before {
            held = Some((path, first));
            break;
        }
    }
    let (path, first) = held.expect("a key of node 1");
    assert_ne!(path, asked_before);
    let mut viewers = vec![first];
    for _ in 0..5 {
        let mut viewer = Http1::connect(tier.nodes[0].http()).await;
        viewer.send(&Request::get(&path)).await;
        assert_eq!(viewer.head("GET").await.status, 200);
        viewers.push(viewer);
    }
    gate.open();
    for viewer in &mut viewers {
        let (body, _) = viewer.rest().await;
        assert_same_bytes(&body, &body_of(&path), "what a viewer got");
    }
    assert_eq!(tier.origin.requests(&path), 1);
    assert_eq!(outcome(&tier.nodes[0].get(&path).await), "miss", "it was not kept");
    assert_eq!(tier.origin.requests(&path), 1);
}

/// Two nodes that each take the other for the owner of everything send a request one node further, and no more; viewers
/// who ask both at once wait for none of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_disagree_about_who_is_there_do_not_loop() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| Answer::ok(body_of(request.path())).cache_control("max-age=3600"));
    let (a, b) = (Port::reserve(), Port::reserve());
    let first = setup(&origin, a.address, &urls(&[b.address]), "hot = { requests = 1000 }").start().await;
    let other = setup(&origin, b.address, &urls(&[a.address]), "hot = { requests = 1000 }").start().await;
    let relayed = async |node: &Edge| node.metrics().await.sum("forebay_peer_requests_total", &[]);
    let response = within("an answer", first.get("/1.m4s")).await;
    assert_same_bytes(response.whole(), &body_of("/1.m4s"), "the body");
    assert_eq!((relayed(&first).await, relayed(&other).await), (1.0, 0.0));
    assert_eq!(origin.requests("/1.m4s"), 1);

    let gate = Gate::closed();
    origin.on("/2.m4s", Answer::ok(body_of("/2.m4s")).cache_control("max-age=3600").hold(&gate));
    let mut viewers = JoinSet::new();
    for address in [first.http(), other.http()] {
        viewers.spawn(async move { client::get(address, "/2.m4s").await });
    }
    // One for each node: neither waits for the other's.
    origin.await_requests("/2.m4s", 2).await;
    gate.open();
    while let Some(response) = within("an answer", viewers.join_next()).await {
        assert_same_bytes(response.unwrap().whole(), &body_of("/2.m4s"), "the body");
    }
    assert_eq!(origin.requests("/2.m4s"), 2);
}

/// A viewer who writes the field that nodes tell one another by is a viewer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_cannot_pass_for_a_node() {
    let tier = Tier::start(2, "").await;
    for number in 0..12 {
        let path = format!("/v/{number}.m4s");
        for place in [0, 1] {
            let request = Request::get(&path).header("forebay-hop", "peer 00");
            assert_eq!(tier.nodes[place].ask(&request).await.status(), 200);
        }
        assert_eq!(tier.origin.requests(&path), 1, "it was sent to its owner like any viewer's");
    }
}

/// A peer that is no forebay node of this fleet, or one that refuses this node, does not stand between viewers and origin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_refuses_is_gone_around() {
    let stranger = Origin::start().await;
    stranger.otherwise(|_, _| Answer::status(403));
    let origin = Origin::start().await;
    origin.otherwise(|request, _| Answer::ok(body_of(request.path())).cache_control("max-age=3600"));
    let port = Port::reserve();
    let node = setup(&origin, port.address, &urls(&[port.address, stranger.address()]), "").start().await;
    // Who owns what goes by the ports, which are others each time: of a few paths all may be the node's own.
    for number in 0..60 {
        let path = format!("/{number}.m4s");
        let response = node.get(&path).await;
        assert_eq!(response.status(), 200);
        assert_same_bytes(response.whole(), &body_of(&path), &path);
    }
    let refused = node.metrics().await.sum("forebay_peer_requests_total", &[("result", "refused")]);
    assert!(refused > 0.0 && refused == stranger.recorded().len() as f64);
}

/// Viewers of all nodes wait for the same part of a playlist: the origin holds one request for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_reload_is_held_once_at_the_origin() {
    let tier = Tier::start(3, "").await;
    let list = |last: usize| {
        let mut text = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:4\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n\
                        #EXT-X-MEDIA-SEQUENCE:0\n"
            .to_owned();
        (0..=last).for_each(|number| text.push_str(&format!("#EXTINF:4,\n{number}.m4s\n")));
        Answer::ok(text).header("content-type", "application/vnd.apple.mpegurl")
    };
    let gate = Gate::closed();
    let held = list(3).hold(&gate);
    tier.origin.script("/live.m3u8", move |request, _| {
        if request.target.contains("_HLS_msn=3") { held.clone() } else { list(2) }
    });
    for place in 0..3 {
        assert_eq!(tier.nodes[place].get("/live.m3u8").await.status(), 200);
    }
    let mut viewers = JoinSet::new();
    for place in (0..3).cycle().take(9) {
        let address = tier.nodes[place].http();
        viewers.spawn(async move { client::get(address, "/live.m3u8?_HLS_msn=3").await });
    }
    let asked = || {
        let recorded = tier.origin.recorded();
        recorded.iter().filter(|request| request.target.contains("_HLS_msn=3")).count()
    };
    within("the held request", async {
        while asked() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for place in 0..3 {
        tier.nodes[place].await_metric("forebay_parked_requests", &[], 3.0).await;
    }
    gate.open();
    while let Some(response) = within("an answer", viewers.join_next()).await {
        let response = response.unwrap();
        assert_eq!(response.status(), 200);
        assert!(String::from_utf8_lossy(response.whole()).contains("\n3.m4s"));
    }
    assert_eq!(asked(), 1);
}

/// A hot key has as many owners as it is spread over, and the origin is asked by those alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_key_is_spread_over_its_first_owners() {
    let tier =
        Tier::start(4, "name = \"edge-PLACE\"\nspread = 2\nhot = { requests = 2, window = \"1h\" }").await;
    let mut twice = 0;
    for number in 0..24 {
        let path = format!("/hot/{number}.m4s");
        for place in 0..4 {
            tier.get(place, &path).await;
        }
        assert_eq!(tier.origin.requests(&path), 1, "{path} is cold, and has one owner");
        for place in 0..4 {
            tier.get(place, &path).await;
            assert_eq!(outcome(&tier.get(place, &path).await), "hit");
        }
        assert!(tier.origin.requests(&path) <= 2, "{path}");
        twice += usize::from(tier.origin.requests(&path) == 2);
    }
    assert!(twice > 0, "no second owner was asked");
}

/// `explain` names the node that a key belongs to: the one that asks the origin for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_names_the_owner() {
    let tier = Tier::start(2, "").await;
    for number in 0..8 {
        let path = format!("/told/{number}.m4s");
        let told =
            client::get(tier.nodes[0].admin(), &format!("/explain?url=http://any.example{path}")).await;
        let told: serde_json::Value = serde_json::from_slice(told.whole()).unwrap();
        let before = tier.fetched_by(0).await;
        tier.get(1, &path).await;
        let expected = match tier.fetched_by(0).await > before {
            true => format!("{} (this node)", tier.ports[0].address),
            false => tier.ports[1].address.to_string(),
        };
        assert_eq!(told["owner"], expected.as_str(), "{path}");
    }
}

/// Slices of a large object are its owner's too: each comes from the origin once, whoever asks for which range.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_are_fetched_from_the_origin_once() {
    let tier = Tier::within(3, "", "slice_above = \"1MiB\"").await;
    for number in 0..4 {
        let path = format!("/film/{number}.mp4");
        let body = content(number, 3 * 1024 * 1024 + 77);
        let answer = Answer::ok(body.clone()).ranges().etag("\"v1\"").cache_control("max-age=3600");
        tier.origin.on(&path, answer);
        for (node, (first, last)) in
            tier.nodes.iter().zip([(1_500_000, 1_600_000), (0, 9), (2_000_000, 3_100_000)])
        {
            let request = Request::get(&path).range(&format!("bytes={first}-{last}"));
            let part = within("a part", node.ask(&request)).await;
            assert_eq!(part.status(), 206);
            assert_same_bytes(part.whole(), &body[first..=last], "a part");
        }
        for node in &tier.nodes {
            let whole = within("the whole", node.get(&path)).await;
            assert_same_bytes(whole.whole(), &body, "the whole");
        }
        let sent = tier.origin.body_bytes(&path);
        assert!(sent <= body.len() as u64, "{sent} of {} bytes", body.len());
    }
}

/// Of two listeners on one machine, a node knows which is its own; a third party's is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_asks_the_origin_itself() {
    let tier = Tier::start(1, "").await;
    for number in 0..5 {
        tier.get(0, &format!("/{number}.m4s")).await;
    }
    assert_eq!(tier.nodes[0].metrics().await.sum("forebay_peer_requests_total", &[]), 0.0);
    // Nobody listens where a peer was, and nobody else comes to.
    let (gone, port) = (Port::reserve(), Port::reserve());
    let node = setup(&tier.origin, port.address, &urls(&[port.address, gone.address]), "").start().await;
    for number in 0..20 {
        let response = node.get(&format!("/alone/{number}.m4s")).await;
        assert_eq!(response.status(), 200);
    }
}

/// Two nodes that are each other's peers, with a site that asks for tokens and has these rules.
async fn protected_pair(origin: &Origin, rules: &str) -> Vec<Edge> {
    let policy =
        "[token.viewer]\nformat = \"edgeauth\"\nkeys = [{ id = \"k1\", secret_file = \"DIR/k1.key\" }]";
    let keys = "keys = [{ id = \"n1\", secret_file = \"DIR/node.key\" }]";
    let ports = [Port::reserve(), Port::reserve()];
    let addresses = ports.each_ref().map(|port| port.address);
    let mut nodes = Vec::new();
    for (place, address) in addresses.into_iter().enumerate() {
        let fleet = format!("[fleet]\nname = \"edge-{place}\"\n{keys}\npeers = [{}]", urls(&addresses));
        let setup = Setup::before(origin).http(address).file("node.key", SECRET).file("k1.key", KEY_HEX);
        let setup = setup.site("token = \"viewer\"").more(rules).more(policy).more(&fleet);
        nodes.push(setup.start().await);
    }
    nodes
}

/// A token is checked by the node that the viewer comes to, goes no further, and is asked of viewers at every node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_checked_by_the_node_that_the_viewer_comes_to() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| Answer::ok(body_of(request.path())).cache_control("max-age=60"));
    let nodes = protected_pair(&origin, "").await;
    let token = valid("/live/*");
    let signature = token.rsplit('=').next().expect("a signature").to_owned();
    for number in 0..60 {
        let path = format!("/live/{number}.m4s");
        for node in &nodes {
            let response = node.get(&format!("{path}?hdnts={token}")).await;
            assert_eq!(response.status(), 200, "{path}");
            assert_same_bytes(response.whole(), &body_of(&path), &path);
            assert_eq!(node.get(&path).await.status(), 403, "{path}, held or not");
        }
        assert_eq!(origin.requests(&path), 1, "{path}");
    }
    for node in &nodes {
        let metrics = node.metrics().await;
        assert!(metrics.sum("forebay_hop_requests_total", &[("role", "peer")]) > 0.0);
        assert_eq!(metrics.sum("forebay_hop_refused_total", &[]), 0.0);
        assert_eq!(metrics.sum("forebay_peer_requests_total", &[("result", "refused")]), 0.0);
    }
    assert!(origin.recorded().iter().all(|request| !request.text().contains(&signature)));
}

/// A key that is made of what a token says has an owner like others: it is told what the token says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_by_claim_are_fetched_from_the_origin_once() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| {
        let who = request.header("forebay-claim-id").unwrap_or("nobody");
        Answer::ok(format!("for {who}")).cache_control("max-age=60")
    });
    let rule = "[[site.rule]]\npath = \"/live/long/*\"\nkey = { claims = [\"id\", \"data\"] }\n\
                [[site.rule]]\npath = \"/live/*\"\nkey = { claims = [\"id\"] }";
    let nodes = protected_pair(&origin, rule).await;
    for number in 0..8 {
        let path = format!("/live/{number}.m4s");
        for node in &nodes {
            for who in ["ann", "bob"] {
                let token = sign(KEY_HEX, &format!("exp={}~acl=/live/*~id={who}", now() + 3600));
                let response = node.get(&format!("{path}?hdnts={token}")).await;
                let body = String::from_utf8_lossy(response.whole()).into_owned();
                assert_eq!((response.status(), body), (200, format!("for {who}")), "{path}");
            }
        }
        assert_eq!(origin.requests(&path), 2, "{path}: one for each who asks");
    }
    // What does not fit into what nodes tell each other is nobody's but the node's that has the token.
    let long = "!".repeat(700);
    for number in 0..8 {
        let path = format!("/live/long/{number}.m4s");
        for node in &nodes {
            let token = sign(KEY_HEX, &format!("exp={}~acl=/live/*~id={long}~data={long}", now() + 3600));
            let response = node.get(&format!("{path}?hdnts={token}")).await;
            let body = String::from_utf8_lossy(response.whole()).into_owned();
            assert_eq!((response.status(), body), (200, format!("for {long}")), "{path}");
        }
    }
}

/// Rules that ask something of a request's fields hold at the owner for whom they hold where the viewer comes in, and the
/// origin is told no more than by a node alone. A token in the same field stays where it was checked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_of_rules_hold_at_the_owner() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=500"));
    let rules = "[[site.rule]]\npath = \"/live/*\"\nrequest_headers = { x-device = \"tv*\", cookie = \"*\" }\nttl = \"5000s\"";
    let nodes = protected_pair(&origin, rules).await;
    let token = valid("/live/*");
    for number in 0..60 {
        let path = format!("/live/{number}.m4s");
        for node in &nodes {
            for (device, most) in [("tv-1", 5000), ("phone", 500)] {
                let request = Request::get(&path).header("x-device", device);
                let request = request.header("cookie", &format!("hdnts={token}; theme=dark"));
                let response = node.ask(&request).await;
                assert_eq!(response.status(), 200);
                let line = response.head.headers.iter().rfind(|(name, _)| name == "cache-status").unwrap();
                let left = line.1.rsplit("ttl=").next().and_then(|left| left.split(';').next()).unwrap();
                let left: u64 = left.parse().unwrap();
                assert!(left <= most && left + 200 >= most, "{device} at {path}: {line:?}");
            }
        }
        assert_eq!(origin.requests(&path), 2, "{path}: one under each rule");
    }
    for recorded in origin.recorded() {
        assert!(recorded.header("x-device").is_none() && recorded.header("cookie").is_none());
    }
    for node in &nodes {
        assert!(node.metrics().await.sum("forebay_hop_requests_total", &[("role", "peer")]) > 0.0);
        assert!(!node.everything_written().contains("refuses a request"));
    }
}

/// A node that asks the owner of a key holds no turn in the shared tier that the owner would wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_do_not_wait_for_a_turn_of_who_asks_them() {
    let redis = Redis::start().await;
    let (origin, ports) = (Origin::start().await, [Port::reserve(), Port::reserve()]);
    origin.otherwise(|request, _| Answer::ok(body_of(request.path())).cache_control("max-age=3600"));
    let addresses = ports.each_ref().map(|port| port.address);
    let fleet = format!("bus = '{}'\nshare = {{ timeout = '1s', wait = '20s' }}", redis.url());
    let rule = "[[site.rule]]\npath = '/api/*'\nshared = true\n";
    let setup = |place: usize| setup(&origin, addresses[place], &urls(&addresses), &fleet).more(rule);
    let nodes = [setup(0).start().await, setup(1).start().await];
    for number in 0..10 {
        let path = format!("/api/{number}");
        for place in [number % 2, (number + 1) % 2] {
            let began = Instant::now();
            let response = within(&path, nodes[place].get(&path)).await;
            assert!(began.elapsed() < Duration::from_secs(20), "{path} has waited for a turn to end");
            assert_eq!(response.status(), 200);
            assert_same_bytes(response.whole(), &body_of(&path), &path);
        }
        assert_eq!(origin.requests(&path), 1, "{path}");
    }
    for node in &nodes {
        let metrics = node.metrics().await;
        for result in ["late", "unshared"] {
            assert_eq!(metrics.sum("forebay_share_requests_total", &[("result", result)]), 0.0, "{result}");
        }
    }
}
