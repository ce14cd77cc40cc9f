//! Names that stand for servers: who joins is asked, who leaves is not, and what cannot be looked up changes nothing.

use crate::support::dns::Dns;
use crate::support::edge::{Edge, Port, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::wait::eventually;

fn before(dns: &Dns, servers: &str, more: &str) -> Setup {
    Setup::with_servers(&[servers.to_owned()])
        .server(&format!("resolver = \"{}\"", dns.address()))
        .origin(&format!("timeouts = {{ connect = \"1s\" }}\n{more}"))
}

async fn servers(edge: &Edge, count: f64) {
    let name = "forebay_origin_servers";
    let labels: &[(&str, &str)] = &[("origin", "main")];
    crate::support::wait::within(&format!("{count} servers"), async {
        while edge.metrics().await.sum(name, labels) != count {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Targets of a service are asked as they come and go; while DNS fails, the last ones stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_come_and_go_with_the_records_of_a_service() {
    let dns = Dns::start().await;
    let (one, two) = (Origin::start().await, Origin::start().await);
    for origin in [&one, &two] {
        origin.otherwise(|request, _| Answer::ok(request.path().to_owned()).cache_control("no-store"));
    }
    dns.host("a.example", &[[127, 0, 0, 1]]);
    dns.host("b.example", &[[127, 0, 0, 1]]);
    let (first, second) = (one.address().port(), two.address().port());
    dns.service("_http._tcp.origin.example", &[(1, 5, first, "a.example")]);
    let health = "health = { path = \"/health\", interval = \"20ms\", timeout = \"1m\" }";
    let edge = before(&dns, "srv://_http._tcp.origin.example", health).start().await;
    // The first request may come before the first answer of the DNS server.
    assert_eq!(edge.get("/1").await.status(), 200);
    assert_eq!(one.requests("/1"), 1);
    assert_eq!(one.last("/1").header("host"), Some(format!("a.example:{first}").as_str()));
    servers(&edge, 1.0).await;

    dns.service("_http._tcp.origin.example", &[(1, 5, first, "a.example"), (1, 5, second, "b.example")]);
    servers(&edge, 2.0).await;
    // Checks follow.
    two.await_requests("/health", 3).await;
    for number in 0..6 {
        assert_eq!(edge.get(&format!("/both/{number}")).await.status(), 200);
    }
    let asked = |origin: &Origin, prefix: &str| {
        origin.recorded().iter().filter(|request| request.path().starts_with(prefix)).count()
    };
    assert_eq!((asked(&one, "/both/"), asked(&two, "/both/")), (3, 3));

    dns.service("_http._tcp.origin.example", &[(1, 5, second, "b.example"), (9, 5, first, "a.example")]);
    servers(&edge, 1.0).await;
    for number in 0..4 {
        assert_eq!(edge.get(&format!("/second/{number}")).await.status(), 200);
    }
    assert_eq!((asked(&one, "/second/"), asked(&two, "/second/")), (0, 4));

    let so_far = dns.asked();
    dns.fail(true);
    eventually("questions that fail", || dns.asked() > so_far + 2).await;
    dns.service("_http._tcp.origin.example", &[]);
    dns.fail(false);
    let so_far = dns.asked();
    eventually("questions without an answer", || dns.asked() > so_far + 2).await;
    assert_eq!(edge.get("/third").await.status(), 200, "the last servers stay");
    assert_eq!(two.requests("/third"), 1);
    let healthy = edge.metrics().await;
    let of = |server: String| healthy.sum("forebay_origin_healthy", &[("server", server.as_str())]);
    assert_eq!(of(format!("a.example:{first}")), 0.0, "who has left is not told of");
    assert_eq!(edge.everything_written().matches("a server has left").count(), 1);
}

/// Every address of a host is a server. A node whose servers are not known starts, says 503, and answers as soon as they
/// are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_before_its_servers_are_known() {
    let dns = Dns::start().await;
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("x").cache_control("no-store"));
    let port = origin.address().port();
    let edge = before(&dns, &format!("dns://origin.example:{port}"), "").start().await;
    assert_eq!(edge.get("/early").await.status(), 503);
    let metrics = edge.metrics().await;
    assert_eq!(metrics.sum("forebay_origin_errors_total", &[("error", "no_servers")]), 1.0);
    dns.host("origin.example", &[[127, 0, 0, 1]]);
    servers(&edge, 1.0).await;
    assert_eq!(edge.get("/1").await.status(), 200);
    assert_eq!(origin.last("/1").header("host"), Some(format!("origin.example:{port}").as_str()));
}

/// Nodes whose peers are the addresses behind a name know themselves among them, and share the keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_behind_a_name_share_the_keys() {
    let dns = Dns::start().await;
    let origin = Origin::start().await;
    origin.otherwise(|request, _| Answer::ok(request.path().to_owned()).cache_control("max-age=3600"));
    dns.host("forebay.cdn.svc", &[[127, 0, 0, 3], [127, 0, 0, 1], [127, 0, 0, 2]]);
    let ports = Port::reserve_on(&[[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]]);
    let mut nodes = Vec::new();
    for Port { address, .. } in &ports {
        let fleet = "[fleet]\nkeys = [{ id = \"n1\", secret_file = \"DIR/node.key\" }]";
        let setup = Setup::before(&origin)
            .http(*address)
            .server(&format!("resolver = \"{}\"", dns.address()))
            .file("node.key", "0123456789abcdef0123456789abcdef")
            .more(&format!("{fleet}\npeers = \"dns://forebay.cdn.svc:{}\"", address.port()));
        nodes.push(setup.start().await);
    }
    for node in &nodes {
        let name = "forebay_origin_servers";
        node.await_metric(name, &[("origin", "fleet.peers")], 3.0).await;
    }
    // Who owns what goes by the port, which is another each time: of a few keys a node may own none.
    for number in 0..80 {
        let path = format!("/{number}.m4s");
        for node in &nodes {
            assert_eq!(&node.get(&path).await.whole()[..], path.as_bytes());
        }
        assert_eq!(origin.requests(&path), 1, "{path}");
    }
    for node in &nodes {
        let metrics = node.metrics().await;
        assert!(metrics.sum("forebay_origin_requests_total", &[("origin", "main")]) > 0.0);
        assert!(metrics.sum("forebay_peer_requests_total", &[("result", "answered")]) > 0.0);
    }
}

/// With `balance = "owner"` a key is asked of one server, whatever else is asked, and of the next while that is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_asked_of_the_server_that_owns_it() {
    let mut origins = Vec::new();
    for _ in 0..3 {
        let origin = Origin::start().await;
        origin.otherwise(|_, _| Answer::ok("x").cache_control("max-age=0"));
        origins.push(origin);
    }
    let urls: Vec<String> = origins.iter().map(Origin::url).collect();
    let edge = Setup::with_servers(&urls)
        .origin("balance = \"owner\"\nhealth = { path = \"/health\", interval = \"20ms\", timeout = \"1m\" }")
        .start()
        .await;
    let asked = |origins: &[Origin], path: &str| -> Vec<usize> {
        origins.iter().map(|origin| origin.requests(path)).collect()
    };
    // Which server owns what goes by their ports, which are others each time: twenty keys may all be of two.
    let (mut paths, mut owners) = (Vec::new(), Vec::new());
    while owners.len() < 20 || !(0..3).all(|place| owners.contains(&place)) {
        let path = format!("/{}", paths.len());
        for _ in 0..3 {
            assert_eq!(edge.get(&path).await.status(), 200);
        }
        let counts = asked(&origins, &path);
        assert!(counts.contains(&3) && counts.iter().sum::<usize>() == 3, "{path}: {counts:?}");
        owners.extend(counts.iter().position(|count| *count == 3));
        paths.push(path);
        assert!(paths.len() < 1000, "a server owns nothing: {owners:?}");
    }

    origins[0].stop().await;
    let unhealthy = || async {
        let server = origins[0].address().to_string();
        edge.metrics().await.sum("forebay_origin_healthy", &[("server", server.as_str())]) == 0.0
    };
    crate::support::wait::within("the check to fail", async {
        while !unhealthy().await {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    for (path, owner) in paths.iter().zip(&owners) {
        let before = asked(&origins, path);
        assert_eq!(edge.get(path).await.status(), 200);
        let after = asked(&origins, path);
        if *owner == 0 {
            assert_eq!(after[0], before[0]);
        } else {
            assert_eq!(after[*owner], before[*owner] + 1, "a key moved that need not");
        }
    }
}
