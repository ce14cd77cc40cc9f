//! A tree of nodes before one origin, as processes: three edges, two shields, Redis. However many viewers ask, and whatever of the
//! tree dies meanwhile, the origin answers each object once.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::support::client::{self, Http1, Request};
use crate::support::content::{assert_same_bytes, piece};
use crate::support::edge::{Edge, Port, Setup};
use crate::support::origin::{Answer, Origin, Recorded};
use crate::support::redis::Redis;
use crate::support::wait::{Gate, eventually};

const OBJECTS: u64 = 200;
const OBJECT_BYTES: usize = 30_000;
const CLIENTS: u64 = 3_000;

/// Objects that one client asks for.
const EACH: u64 = 4;

struct Tree {
    origin: Origin,
    shields: Vec<Edge>,
    edges: Vec<Edge>,
    _redis: Redis,
}

impl Tree {
    async fn grow() -> Tree {
        let origin = Origin::start().await;
        for number in 0..OBJECTS {
            let answer = Answer::ok(body(number)).etag(&format!("\"{number}\"")).ranges();
            origin.on(&path(number), answer.cache_control("max-age=600"));
        }
        let redis = Redis::start().await;
        let mut shields = Vec::new();
        for name in ["shield-0", "shield-1"] {
            shields.push(node(Setup::before(&origin), name, &redis).start().await);
        }
        let servers: Vec<String> = shields.iter().map(|shield| format!("http://{}", shield.http())).collect();
        let mut edges = Vec::new();
        for name in ["edge-0", "edge-1", "edge-2"] {
            let setup = Setup::with_servers(&servers).origin("tier = true\nbalance = \"owner\"");
            edges.push(node(setup, name, &redis).start().await);
        }
        Tree { origin, shields, edges, _redis: redis }
    }

    /// Has so many clients ask for objects, each on a connection of its own to an edge in turn, and compares all that they get.
    fn audience(&self, seed: u64) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let place = usize::try_from(client).expect("a small number") % self.edges.len();
            clients.spawn(view(self.edges[place].http(), client, seed));
        }
        clients
    }

    /// How often the origin was asked for each object.
    fn asked(&self) -> HashMap<String, usize> {
        let mut asked = HashMap::new();
        for request in self.origin.recorded() {
            *asked.entry(request.target).or_default() += 1;
        }
        asked
    }
}

fn node(setup: Setup, name: &str, redis: &Redis) -> Setup {
    let fleet = format!(
        "[fleet]\nname = \"{name}\"\nbus = \"{}\"\nkeys = [{{ id = \"n1\", secret_file = \"DIR/nodes.key\" }}]\n",
        redis.url()
    );
    setup.more(&fleet).file("nodes.key", "0123456789abcdef0123456789abcdef0123456789abcdef")
}

fn path(number: u64) -> String {
    format!("/vod/{number}.m4s")
}

fn body(number: u64) -> Bytes {
    piece(number, OBJECT_BYTES)
}

/// One client: some objects after each other; the first ones of all clients together are all objects.
async fn view(edge: SocketAddr, client: u64, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed.wrapping_add(client));
    let mut connection = Http1::connect(edge).await;
    for turn in 0..EACH {
        let number = if turn == 0 { client / 3 % OBJECTS } else { random.random_range(0..OBJECTS) };
        let response = connection.ask(&Request::get(&path(number))).await;
        assert_eq!(response.status(), 200, "client {client}, object {number}");
        assert_same_bytes(response.whole(), &body(number), &format!("client {client}, object {number}"));
    }
}

fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("SEED={seed}");
    seed
}

async fn done(mut clients: JoinSet<()>) {
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client that got all it asked for");
    }
}

#[tokio::test]
async fn an_audience_of_three_edges_costs_the_origin_one_request_for_each_object() {
    let tree = Tree::grow().await;
    done(tree.audience(seed())).await;
    let asked = tree.asked();
    assert_eq!(asked.len() as u64, OBJECTS);
    let more: Vec<_> = asked.iter().filter(|(_, times)| **times > 1).collect();
    assert!(more.is_empty(), "asked for more than once: {more:?}");
}

#[tokio::test]
async fn a_shield_that_dies_costs_no_client_anything_and_the_origin_what_it_owned() {
    let tree = Tree::grow().await;
    let clients = tree.audience(seed());
    eventually("the audience to be at it", || tree.origin.recorded().len() >= 40).await;
    tree.shields[0].kill().await;
    done(clients).await;
    // Whom a request has passed stands in lines of `CDN-Loop`: the dead shield's objects are those that it had asked for.
    let by_dead = |request: &&Recorded| {
        request.headers.iter().any(|(name, node)| name == "cdn-loop" && node.contains("shield-0"))
    };
    let owned = tree.origin.recorded().iter().filter(by_dead).count();
    let asked = tree.asked();
    assert_eq!(asked.len() as u64, OBJECTS);
    let total: usize = asked.values().sum();
    assert!(owned > 0, "it was killed before it had done anything");
    assert!(total as u64 <= OBJECTS + owned as u64, "{total} requests; the dead shield owned {owned}");
    assert!(asked.values().all(|times| *times <= 2), "{asked:?}");
}

/// A shield that has too much to do passes keys on; one that gets them and is its peer asks it for them, so that the origin has one
/// request for each object all the same, whatever each edge takes for too much.
#[tokio::test]
async fn what_a_laden_shield_passes_on_is_asked_of_the_origin_once() {
    const CROWD: usize = 220;
    let (origin, gate) = (Origin::start().await, Gate::closed());
    let ports = [Port::reserve(), Port::reserve()];
    let urls = ports.each_ref().map(|port| format!("http://{}", port.address));
    let node = |setup: Setup, name: &str, peers: &str| {
        let keys = "keys = [{ id = \"n1\", secret_file = \"DIR/nodes.key\" }]";
        let setup = setup.more(&format!("[fleet]\nname = \"{name}\"\n{keys}\n{peers}"));
        setup.file("nodes.key", "0123456789abcdef0123456789abcdef0123456789abcdef")
    };
    let many = "limits = { connections = 1024 }";
    let mut shields = Vec::new();
    for (place, port) in ports.iter().enumerate() {
        let setup = Setup::before(&origin).http(port.address).origin(many);
        shields.push(node(setup, &format!("shield-{place}"), &format!("peers = {urls:?}")).start().await);
    }
    let mut edges = Vec::new();
    for name in ["edge-0", "edge-1"] {
        let tier = format!("tier = true\nbalance = \"owner\"\n{many}");
        edges.push(node(Setup::with_servers(&urls).origin(&tier), name, "").start().await);
    }
    // Objects of the first shield alone.
    let mut paths = Vec::new();
    for number in 0.. {
        let path = path(number);
        let told = client::get(edges[0].admin(), &format!("/explain?url=http://any.example{path}")).await;
        let told: serde_json::Value = serde_json::from_slice(told.whole()).expect("JSON");
        if told["origin"]["owner"] == ports[0].address.to_string().as_str() {
            origin.on(&path, Answer::ok(body(number)).cache_control("max-age=600").hold(&gate));
            paths.push((path, number));
        }
        if paths.len() == CROWD {
            break;
        }
    }
    let mut clients = JoinSet::new();
    for (edge, turned) in edges.iter().zip([0, CROWD / 2]) {
        let address = edge.http();
        for place in 0..CROWD {
            let (path, number) = paths[(place + turned) % CROWD].clone();
            clients.spawn(async move {
                let response = client::get(address, &path).await;
                assert_eq!(response.status(), 200, "{path}");
                assert_same_bytes(response.whole(), &body(number), &path);
            });
        }
    }
    eventually("the origin to be asked for all", || origin.recorded().len() >= CROWD).await;
    let relayed = ("forebay_hop_requests_total", [("role", "peer")]);
    shields[0].await_metric(relayed.0, &relayed.1, 1.0).await;
    gate.open();
    done(clients).await;
    let more: Vec<_> = paths.iter().filter(|(path, _)| origin.requests(path) != 1).collect();
    // A machine that is too slow for a shield to say within a second that it is there has the other one ask the origin.
    let given_up = shields[1].metrics().await.sum("forebay_peer_requests_total", &[("result", "failed")]);
    assert!(more.is_empty() || given_up > 0.0, "not asked for once: {more:?}");
}
