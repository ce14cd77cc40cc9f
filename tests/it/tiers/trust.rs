//! Who is taken for a node: who signs its requests, or has a certificate; nobody else, and no viewer.

use serde_json::json;

use super::{OTHER_SECRET, SECRET, behind, hop, last, named, outcome, protected, shield, standing_clock};
use crate::support::certificate::Nodes;
use crate::support::client::{self, Http1, Request};
use crate::support::edge::Setup;
use crate::support::node::LocalNode;
use crate::support::origin::{Answer, Origin};
use crate::support::signing::{now, valid};

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
        ("expired", hop(SECRET, "n1", now() + 600, "", this)),
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
