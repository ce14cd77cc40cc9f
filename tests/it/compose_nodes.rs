//! The nodes of `conf/docker`, as they are configured there but for addresses: what the demo's origin has comes through a shield
//! and two edges, and the origin is asked once.

use std::net::SocketAddr;
use std::path::Path;

use forebay::clock::Clock;
use forebay::demo::origin::DemoOrigin;

use crate::support::edge::Edge;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/docker/nodes");

/// Starts a node by its file there, before this server.
async fn start(name: &str, before: SocketAddr) -> Edge {
    let directory = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read_to_string(Path::new(FOLDER).join(name)).unwrap();
    for file in ["admin.token", "node.key"] {
        std::fs::write(directory.path().join(file), read(file)).unwrap();
    }
    // What is mounted is there.
    let cache = directory.path().join("cache");
    std::fs::create_dir(&cache).unwrap();
    let text = read(&format!("{name}.toml"))
        .replace("0.0.0.0:8080", "127.0.0.1:0")
        .replace("0.0.0.0:9090", "127.0.0.1:0")
        .replace("/var/lib/forebay", &cache.display().to_string())
        .replace("http://shield:8080", &format!("http://{before}"))
        .replace("http://origin:8000", &format!("http://{before}"));
    // There is no Redis here, and ports are chosen too late for nodes to name each other.
    let left_out = ["bus = ", "state = ", "peers = "];
    let lines: Vec<_> =
        text.lines().filter(|line| !left_out.iter().any(|start| line.starts_with(start))).collect();
    Edge::run(&lines.join("\n"), directory).await
}

#[tokio::test]
async fn two_edges_and_a_shield_ask_the_origin_once() {
    let origin = DemoOrigin::new(Clock::system()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = origin.clone();
    let server = tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
    let shield = start("shield", address).await;
    let edges = [start("edge-1", shield.http()).await, start("edge-2", shield.http()).await];

    let path = "/live/360p/init.mp4";
    let mut bodies = Vec::new();
    for edge in &edges {
        let playlist = edge.get("/live/index.m3u8").await;
        assert!(String::from_utf8_lossy(playlist.whole()).starts_with("#EXTM3U"), "{:?}", playlist.head);
        let (first, second) = (edge.get(path).await, edge.get(path).await);
        assert_eq!((first.status(), second.status()), (200, 200));
        // The shield's word stands before the edge's own.
        let told = second.head.headers.iter().rfind(|(name, _)| name == "cache-status").expect("a word");
        assert!(told.1.contains("; hit"), "{:?}", second.head);
        bodies.extend([first.whole().clone(), second.whole().clone()]);
        let health = edge.get("/.well-known/forebay/ready").await;
        assert_eq!(&health.whole()[..], b"ready\n");
    }
    assert!(bodies.iter().all(|body| *body == bodies[0] && !body.is_empty()));
    assert_eq!(origin.requests(path), 1);
    server.abort();
}
