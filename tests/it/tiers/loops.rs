//! Loops of nodes end where they began, and a made-up one is the liar's alone.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use super::{behind, cdn_loop, named, shield};
use crate::support::client::{Http1, Request};
use crate::support::edge::Setup;
use crate::support::node::LocalNode;
use crate::support::origin::{Answer, Origin};
use crate::support::wait::{Gate, within};

/// A listener whose server is known later.
pub(super) async fn relay() -> (SocketAddr, tokio::sync::watch::Sender<Option<SocketAddr>>) {
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
